//! GitHub's REST API, of version 2022-11-28; also GitHub Enterprise's, below `/api/v3`.

use super::{Dialect, Repository, Wanted, query};

/// The most that it tells at once.
const PAGE_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct GitHub;

impl Dialect for GitHub {
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", "2022-11-28"),
        ]
    }

    fn scheme(&self) -> &'static str {
        "Bearer "
    }

    fn path(&self, repository: &Repository) -> String {
        format!("/repos/{}/{}/pulls", repository.owner, repository.name)
    }

    fn page(&self, repository: &Repository, wanted: Wanted<'_>, page: u32) -> String {
        query(&[
            ("state", "open"),
            ("head", &format!("{}:{}", repository.owner, wanted.head)),
            ("base", wanted.what.base.as_str()),
            ("per_page", &PAGE_MAX.to_string()),
            ("page", &page.to_string()),
        ])
    }

    fn is_last(&self, length: usize) -> bool {
        length < PAGE_MAX
    }

    fn is_there(&self, status: u16) -> bool {
        // Also for what is no good; looking for it tells which.
        status == 422
    }
}
