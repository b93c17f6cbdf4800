//! Symbolic links: where they lead, by their text alone and through the links that a tree holds.

use domain::tree::Entry;
use ports::workspaces::Error;

use crate::manifest::{Held, View, content_at_base};
use crate::names::Kind;

/// The longest target, in bytes: the kernel's own limit.
const TARGET_BYTES_MAX: usize = 4_095;
/// The most links that lead from one to the next, as in the kernel.
const HOPS_MAX: usize = 40;

/// Returns why a link leads out of the tree. A `..` may stand only at the front: after a name it
/// would climb from wherever that name leads, which may be another link.
pub(super) fn escape(path: &str, target: &str) -> Option<&'static str> {
    let drive = target.as_bytes().get(1) == Some(&b':');
    if target.is_empty() {
        return Some("points nowhere");
    }
    if target.len() > TARGET_BYTES_MAX {
        return Some("has a target that is too long");
    }
    if target.starts_with(['/', '\\']) || drive {
        return Some("is absolute");
    }
    if target.contains('\\') || target.chars().any(char::is_control) {
        return Some("has a backslash or control character in its target");
    }
    let depth = path.matches('/').count();
    let mut climbed = 0;
    let mut named = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if named => return Some("climbs with `..` after a name"),
            ".." => climbed += 1,
            _ => named = true,
        }
    }
    (climbed > depth).then_some("leaves the tree")
}

/// Returns the link of the tree through which `target` leads out of it, or that it never gets past.
/// A link that is fine by itself may lead through one that the base has always held.
pub(super) fn escape_through(
    view: &View<'_>,
    path: &str,
    target: &str,
) -> Result<Option<String>, Error> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut place: Vec<String> = folder
        .split('/')
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect();
    let mut ahead = parts(target);
    let mut hops = 0;
    let mut last = path.to_owned();
    while let Some(part) = ahead.pop() {
        if part == ".." {
            if place.pop().is_none() {
                return Ok(Some(last));
            }
            continue;
        }
        place.push(part);
        let here = place.join("/");
        let Some(target) = link_at(view, &here)? else {
            continue;
        };
        hops += 1;
        last = here;
        if hops > HOPS_MAX || target.starts_with(['/', '\\']) {
            return Ok(Some(last));
        }
        place.pop();
        ahead.extend(parts(&target));
    }
    Ok(None)
}

/// Returns the parts of a target, the first of them last.
fn parts(target: &str) -> Vec<String> {
    target
        .split('/')
        .filter(|it| !matches!(*it, "" | "."))
        .rev()
        .map(str::to_owned)
        .collect()
}

fn link_at(view: &View<'_>, path: &str) -> Result<Option<String>, Error> {
    match view.at(path) {
        Some(Held::Changed(Entry::Symlink { target })) => Ok(Some(target.clone())),
        Some(Held::Base(name)) if name.kind == Kind::Symlink => {
            let target = content_at_base(view.base, name)?;
            Ok(Some(String::from_utf8_lossy(&target).into_owned()))
        }
        Some(Held::Changed(_) | Held::Base(_)) | None => Ok(None),
    }
}
