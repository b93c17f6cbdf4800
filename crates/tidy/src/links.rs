//! Markdown links: where they point, and whether something is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::File;

/// Returns every relative link, in a document of the root or of `docs/`, to nothing. `paths` holds
/// every file of the house, those without text included.
#[must_use]
pub fn broken_links(files: &[File], paths: &BTreeSet<String>) -> Vec<String> {
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .map(|it| (it.path.as_str(), it.text.as_str()))
        .collect();
    let mut breaches = Vec::new();
    for file in files.iter().filter(|it| is_document(&it.path)) {
        for link in links(&file.text) {
            if let Err(why) = resolve(&file.path, link, paths, &texts) {
                breaches.push(format!("{}: the link `{link}` {why}", file.path));
            }
        }
    }
    breaches
}

/// Returns every path in backticks, in the given document, that names no file or folder. What is
/// planned is listed in `not_yet`, and leaves that list when it arrives. A path with a placeholder
/// (`<noun>`, `*`, `…`) is not checked.
#[must_use]
pub fn wrong_paths(file: &File, paths: &BTreeSet<String>, not_yet: &[&str]) -> Vec<String> {
    let text = without_fences(&file.text);
    let named = text.split('`').skip(1).step_by(2);
    let mut breaches = Vec::new();
    for path in named.filter(|it| it.starts_with("crates/") || it.starts_with("docs/")) {
        let placeholder = path.contains(['<', '*', '…', '{', ' ']);
        if !placeholder && !exists(path, paths) && !not_yet.contains(&path) {
            breaches.push(format!(
                "{}: `{path}` is not there; name the file that is, or list it as not yet there",
                file.path
            ));
        }
    }
    breaches
}

/// Returns every row of `not_yet` that has arrived.
#[must_use]
pub fn arrived(paths: &BTreeSet<String>, not_yet: &[&str]) -> Vec<String> {
    not_yet
        .iter()
        .filter(|path| exists(path, paths))
        .map(|path| format!("`{path}` has arrived: remove its row from NOT_YET"))
        .collect()
}

/// Returns whether a path is a Markdown document that readers of the repository open.
#[must_use]
pub fn is_document(path: &str) -> bool {
    path.ends_with(".md") && (!path.contains('/') || path.starts_with("docs/"))
}

fn exists(path: &str, paths: &BTreeSet<String>) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    let within = paths.range(folder.clone()..).next();
    paths.contains(path) || within.is_some_and(|it| it.starts_with(&folder))
}

fn resolve(
    from: &str,
    link: &str,
    paths: &BTreeSet<String>,
    texts: &BTreeMap<&str, &str>,
) -> Result<(), String> {
    if ["https://", "http://", "mailto:"]
        .iter()
        .any(|it| link.starts_with(it))
    {
        return Ok(());
    }
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (link, None),
    };
    let path = if path.is_empty() {
        from.to_owned()
    } else {
        join(from, path).ok_or("leaves the repository")?
    };
    if !path.is_empty() && !exists(&path, paths) {
        return Err(format!("points to `{path}`, which is not there"));
    }
    let (Some(anchor), Some(text)) = (anchor, texts.get(path.as_str())) else {
        return Ok(());
    };
    let found = if path.ends_with(".md") {
        headings(text).contains(anchor)
    } else {
        let line = anchor.strip_prefix('L').and_then(|it| it.parse().ok());
        line.is_some_and(|it: usize| (1..=text.lines().count()).contains(&it))
    };
    if found {
        Ok(())
    } else {
        Err(format!("names `#{anchor}`, which `{path}` does not have"))
    }
}

/// Returns `link`, as written in the file `from`, as a path from the root.
fn join(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Returns the targets of all inline links and link definitions outside code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose_lines(text) {
        // What stands between backticks shows a link, it is none; a link around code is one.
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            let before = &line[..line.len() - rest.len() + start];
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            if before.matches('`').count() % 2 == 0 {
                let target = rest[..end].split_whitespace().next().unwrap_or_default();
                found.push(target.trim_start_matches('<').trim_end_matches('>'));
            }
            rest = &rest[end..];
        }
        let definition = line.strip_prefix('[').and_then(|it| it.split_once("]: "));
        if let Some((_, target)) = definition {
            found.push(target.trim());
        }
    }
    found
}

/// Returns the anchors that GitHub gives the headings.
fn headings(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose_lines(text) {
        let title = line.trim_start_matches('#');
        let depth = line.len() - title.len();
        if !(1..=6).contains(&depth) || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'))
            .map(|it| if it == ' ' { '-' } else { it })
            .collect();
        let mut anchor = slug.clone();
        let mut repeats = 0;
        while !anchors.insert(anchor) {
            repeats += 1;
            anchor = format!("{slug}-{repeats}");
        }
    }
    anchors
}

fn without_fences(text: &str) -> String {
    prose_lines(text).collect::<Vec<_>>().join("\n")
}

fn prose_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> usize {
        let files = vec![
            File::new("docs/a.md", text),
            File::new(
                "docs/b.md",
                "# One Two: three\n\n```\n# not a heading\n```\n## Twice\n## Twice\n",
            ),
            File::new("crates/x/src/lib.rs", "//! X.\n"),
        ];
        let paths = files.iter().map(|it| it.path.clone()).collect();
        broken_links(&files, &paths).len()
    }

    #[test]
    fn links_that_lead_somewhere_are_silent() {
        for good in [
            "[b](b.md) and [x](../crates/x/src/lib.rs#L1)",
            "[b](./b.md#one-two-three)",
            "[b](b.md#twice-1 \"title\")",
            "[folder](../crates/x) [web](https://example.org/none)",
            "# Here\n[up](#here)",
            "`[shown](none.md)`\n```\n[shown](none.md)\n```\n",
            "[the `code`](b.md)\n\n[ref]: b.md",
        ] {
            assert_eq!(broken(good), 0, "{good}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for bad in [
            "[c](c.md)",
            "[b](b.md#four)",
            "[b](b.md#not-a-heading)",
            "[x](../crates/x/src/lib.rs#L9)",
            "[x](../../outside.md)",
            "[half](../crates/x/src/li)",
            "[`code`](none.md)",
            "[ref]: none.md",
        ] {
            assert_eq!(broken(bad), 1, "{bad}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_found() {
        let paths = BTreeSet::from(["crates/x/src/lib.rs".to_owned()]);
        let check =
            |text: &str| wrong_paths(&File::new("A.md", text), &paths, &["docs/soon.md"]).len();
        assert_eq!(
            check("`crates/x/src/lib.rs`, `crates/x`, `crates/<y>/src`, `docs/soon.md`"),
            0
        );
        assert_eq!(check("see `crates/x/src/main.rs`"), 1);
        assert_eq!(check("see `docs/later.md`"), 1);
    }

    #[test]
    fn a_row_of_what_has_arrived_is_found() {
        let paths = BTreeSet::from(["crates/x/src/lib.rs".to_owned()]);
        assert_eq!(arrived(&paths, &["crates/x/src", "docs/soon.md"]).len(), 1);
    }
}
