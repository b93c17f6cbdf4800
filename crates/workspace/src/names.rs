//! The names of a base: every path that a cell can see, sorted, with what the base holds there.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::Write as _;

use ports::workspaces::Error;
use unicode_normalization::UnicodeNormalization as _;

/// What a path of the base is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A regular file that may be executed.
    Executable,
    /// A symbolic link.
    Symlink,
    /// A commit of another repository; an empty folder in the workspace.
    Submodule,
}

/// One path of the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Relative to the root; bytes, because git allows any.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) kind: Kind,
    /// The git object, in hexadecimal.
    pub(crate) object: String,
    /// Its length in bytes; 0 until it is materialised.
    pub(crate) bytes: u64,
    /// When it was materialised, in seconds since the epoch.
    pub(crate) seconds: u64,
}

/// All of them, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    entries: Vec<Name>,
}

impl Kind {
    /// Returns git's mode for it.
    pub(crate) const fn mode(self) -> u32 {
        match self {
            Self::File => 0o100_644,
            Self::Executable => 0o100_755,
            Self::Symlink => 0o120_000,
            Self::Submodule => 0o160_000,
        }
    }

    /// Returns the kind with this mode, as git prints it; group-writable files of old are files.
    pub(crate) fn of_mode(mode: &str) -> Option<Self> {
        match mode {
            "100644" | "100664" => Some(Self::File),
            "100755" => Some(Self::Executable),
            "120000" => Some(Self::Symlink),
            "160000" => Some(Self::Submodule),
            _ => None,
        }
    }
}

impl Names {
    /// Returns the names in `ls-tree -r -z` output; a tree no checkout could hold is refused.
    pub(crate) fn of_ls_tree(output: &[u8]) -> Result<Self, Error> {
        let entries = output
            .split(|byte| *byte == 0)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (kind, object, path) = ls_tree_line(line)?;
                Ok(Name {
                    path: path.to_vec(),
                    kind,
                    object,
                    bytes: 0,
                    seconds: 0,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Self::of(entries)
    }

    /// Returns these names, sorted; doubled ones and unsafe ones are refused.
    pub(crate) fn of(mut entries: Vec<Name>) -> Result<Self, Error> {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for name in &entries {
            check_path(&name.path)?;
        }
        if let Some(pair) = entries.windows(2).find(|it| it[0].path == it[1].path) {
            return Err(refused(&pair[0].path, "the tree holds it twice"));
        }
        Ok(Self { entries })
    }

    /// Returns all, sorted by path.
    pub(crate) fn all(&self) -> &[Name] {
        &self.entries
    }

    /// Returns what the base holds at exactly this path.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Name> {
        let at = self
            .entries
            .binary_search_by(|it| it.path.as_slice().cmp(path));
        at.ok().and_then(|at| self.entries.get(at))
    }

    /// Returns everything beneath a folder, one after the other: for whoever asks whether there is
    /// any. `""` is the root.
    pub(crate) fn beneath<'a>(&'a self, folder: &'a [u8]) -> impl Iterator<Item = &'a Name> {
        // As `folder/` compares with the path, without a copy that ends so.
        let before = |path: &[u8]| {
            let (same, rest) = path.split_at(path.len().min(folder.len()));
            same.cmp(folder).then_with(|| match rest.first() {
                Some(byte) => byte.cmp(&b'/'),
                None => Ordering::Less,
            }) == Ordering::Less
        };
        let from = if folder.is_empty() {
            0
        } else {
            self.entries.partition_point(|it| before(&it.path))
        };
        let is_beneath = move |path: &[u8]| {
            folder.is_empty()
                || path
                    .strip_prefix(folder)
                    .is_some_and(|it| it.first() == Some(&b'/'))
        };
        let rest = self.entries.get(from..).unwrap_or_default();
        rest.iter().take_while(move |it| is_beneath(&it.path))
    }

    /// Returns everything beneath a folder; `""` is the root.
    pub(crate) fn under(&self, folder: &[u8]) -> &[Name] {
        if folder.is_empty() {
            return &self.entries;
        }
        let mut prefix = folder.to_vec();
        prefix.push(b'/');
        let from = self
            .entries
            .partition_point(|it| it.path.as_slice() < prefix.as_slice());
        let length = self.entries[from..].partition_point(|it| it.path.starts_with(&prefix));
        &self.entries[from..from + length]
    }

    /// Returns what differs in `newer`: paths that are gone, and new or changed entries.
    pub(crate) fn changes<'a>(&'a self, newer: &'a Self) -> (Vec<&'a Name>, Vec<&'a Name>) {
        let gone = self
            .entries
            .iter()
            .filter(|it| newer.get(&it.path).is_none())
            .collect();
        let changed = newer
            .entries
            .iter()
            .filter(|it| {
                self.get(&it.path)
                    .is_none_or(|old| old.kind != it.kind || old.object != it.object)
            })
            .collect();
        (gone, changed)
    }

    /// Returns every name and folder by its case-folded form.
    pub(crate) fn folded(&self) -> Folded {
        let paths = self.entries.iter().map(|it| it.path.as_slice());
        folded(paths.filter_map(|it| std::str::from_utf8(it).ok()))
    }

    /// Returns the form that [`Names::read`] reads.
    pub(crate) fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for name in &self.entries {
            let head = format!(
                "{:o} {} {} {}\t",
                name.kind.mode(),
                name.object,
                name.bytes,
                name.seconds
            );
            // Writing to a vector cannot fail.
            drop(out.write_all(head.as_bytes()));
            out.extend_from_slice(&name.path);
            out.push(0);
        }
        out
    }

    /// Returns the names that [`Names::written`] wrote, or `None` when they are damaged.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let entries = bytes
            .split(|byte| *byte == 0)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let tab = line.iter().position(|byte| *byte == b'\t')?;
                let mut head = std::str::from_utf8(&line[..tab]).ok()?.split(' ');
                Some(Name {
                    kind: Kind::of_mode(head.next()?)?,
                    object: head.next()?.to_owned(),
                    bytes: head.next()?.parse().ok()?,
                    seconds: head.next()?.parse().ok()?,
                    path: line[tab + 1..].to_vec(),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self { entries })
    }
}

/// Returns the parts of one line of `ls-tree -z`: kind, object, path.
pub(crate) fn ls_tree_line(line: &[u8]) -> Result<(Kind, String, &[u8]), Error> {
    let strange = || Error::Git {
        command: "ls-tree".into(),
        output: format!("cannot read `{}`", line.escape_ascii()),
    };
    let tab = line
        .iter()
        .position(|byte| *byte == b'\t')
        .ok_or_else(strange)?;
    let head = std::str::from_utf8(&line[..tab]).map_err(|_| strange())?;
    let mut words = head.split(' ');
    let kind = words.next().and_then(Kind::of_mode).ok_or_else(strange)?;
    let object = words.nth(1).ok_or_else(strange)?;
    Ok((kind, object.to_owned(), &line[tab + 1..]))
}

/// Names and folders by their case-folded form.
pub(crate) type Folded = HashMap<String, Vec<String>>;

/// Returns these paths and their folders by their case-folded form.
pub(crate) fn folded<'a>(paths: impl Iterator<Item = &'a str>) -> Folded {
    let mut folded = Folded::new();
    let mut last = "";
    for path in paths {
        for prefix in prefixes(path) {
            // Sorted paths share their folders with the one before.
            if prefix.len() < path.len() && last.starts_with(&path[..=prefix.len()]) {
                continue;
            }
            let spellings = folded.entry(fold(prefix)).or_default();
            if !spellings.iter().any(|it| it == prefix) {
                spellings.push(prefix.to_owned());
            }
        }
        last = path;
    }
    folded
}

/// Returns the form that two names share when some disk takes them for one: without regard to case
/// (through capitals, so that `ß` and `SS` meet) and to how accents are written.
pub(crate) fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.nfd()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfd()
        .collect()
}

/// Returns a path's folders from the top, and then the path itself.
pub(crate) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .map(|(at, _)| &path[..at])
        .chain(std::iter::once(path))
}

/// Refuses a path that must never be made on disk.
pub(crate) fn check_path(path: &[u8]) -> Result<(), Error> {
    for part in path.split(|byte| *byte == b'/') {
        if part.is_empty() || part == b"." || part == b".." {
            return Err(refused(path, "it is not a plain relative path"));
        }
        if part.eq_ignore_ascii_case(b".git") {
            return Err(refused(path, "`.git` cannot be part of a tree"));
        }
        if part.contains(&0) || part.len() > 255 {
            return Err(refused(path, "a component has a NUL or over 255 bytes"));
        }
    }
    Ok(())
}

fn refused(path: &[u8], why: &str) -> Error {
    Error::Unusable(format!(
        "the path `{}` cannot be worked with: {why}; run `git fsck` and rewrite the commit",
        path.escape_ascii()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(path: &str) -> Name {
        Name {
            path: path.into(),
            kind: Kind::File,
            object: String::new(),
            bytes: 0,
            seconds: 0,
        }
    }

    proptest! {
        /// `!`, `.` and `-` sort before the slash, letters and accents after it.
        #[test]
        fn what_lies_beneath_is_what_is_under(
            paths in proptest::collection::btree_set("[a!.é](/?[ab!.-]){0,5}", 0..40),
            folder in "([a!.é](/?[ab!.-]){0,4})?",
        ) {
            // Sorted, as the set is.
            let entries = paths.iter().map(|it| name(it)).collect();
            let names = Names { entries };
            let beneath: Vec<&Name> = names.beneath(folder.as_bytes()).collect();
            let under: Vec<&Name> = names.under(folder.as_bytes()).iter().collect();
            prop_assert_eq!(beneath, under);
        }
    }
}
