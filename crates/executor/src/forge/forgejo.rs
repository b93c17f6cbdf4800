//! The REST API of Forgejo and of Gitea, which it comes from, below `/api/v1`.

use super::{Dialect, Repository, Wanted, query};

/// How many are asked for at once; an installation may tell fewer.
const PAGE_MAX: usize = 50;

#[derive(Debug)]
pub(super) struct Forgejo;

impl Dialect for Forgejo {
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn scheme(&self) -> &'static str {
        "token "
    }

    fn path(&self, repository: &Repository) -> String {
        format!(
            "/api/v1/repos/{}/{}/pulls",
            repository.owner, repository.name
        )
    }

    fn page(&self, _: &Repository, _: Wanted<'_>, page: u32) -> String {
        // It does not look for a branch, so all that are open are looked through.
        query(&[
            ("state", "open"),
            ("limit", &PAGE_MAX.to_string()),
            ("page", &page.to_string()),
        ])
    }

    fn is_last(&self, _: usize) -> bool {
        // How many a page may hold is the installation's to say: the last one is empty.
        false
    }

    fn is_there(&self, status: u16) -> bool {
        status == 409
    }
}
