//! Trees as git commits: one `git fast-import` stream of what changed, on top of the base.

use std::io::{Read as _, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::tree::{Commit, Entry};
use ports::artifacts::Artifacts;
use ports::workspaces::{CommitText, Error};

use crate::disk::{failed, store_failed};
use crate::git::{Git, git_error};
use crate::manifest::Changes;
use crate::names::check_path;
use crate::spelling::{git_name, is_in_dot_git};

/// Where a commit is written.
#[derive(Clone, Copy)]
pub(crate) struct Press<'a> {
    pub(crate) git: &'a Git,
    /// The controller's own repository; the ref that an import needs lives there for its length.
    pub(crate) own: &'a Path,
    pub(crate) artifacts: &'a dyn Artifacts,
    /// Where the objects go, if not into the controller's own repository.
    pub(crate) objects: Option<&'a Path>,
}

impl Press<'_> {
    /// Writes `changes` on `base` as a commit and returns it.
    pub(crate) fn print(
        &self,
        base: &Commit,
        changes: &Changes,
        text: &CommitText,
    ) -> Result<Commit, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("refs/palisade/import/{}-{count}", std::process::id());
        let arguments = [
            "fast-import",
            "--quiet",
            "--done",
            "--force",
            "--date-format=raw",
            "--cat-blob-fd=1",
        ];
        let mut call = self.git.on(self.own, &arguments);
        if let Some(objects) = self.objects {
            call = call.env("GIT_OBJECT_DIRECTORY", objects).durable();
        }
        let (answer, code, complaint) = call.pipe(
            |stdin| {
                let mut buffered = std::io::BufWriter::with_capacity(1 << 16, stdin);
                self.stream(&mut buffered, &name, base, changes, text)
            },
            |stdout| {
                let mut answer = String::new();
                stdout
                    .take(4_096)
                    .read_to_string(&mut answer)
                    .map_err(failed("reading the answer of git fast-import"))?;
                Ok(answer)
            },
        )?;
        self.forget(&name)?;
        if code != 0 {
            return Err(git_error("fast-import", code, &complaint));
        }
        answer.trim().parse().map_err(|_| Error::Git {
            command: "fast-import".into(),
            output: format!("it answered `{}`", answer.trim()),
        })
    }

    fn forget(&self, name: &str) -> Result<(), Error> {
        let mut call = self.git.on(self.own, &["update-ref", "-d", name]);
        if let Some(objects) = self.objects {
            call = call.env("GIT_OBJECT_DIRECTORY", objects);
        }
        call.output().map(drop)
    }

    fn stream(
        &self,
        out: &mut dyn Write,
        name: &str,
        base: &Commit,
        changes: &Changes,
        text: &CommitText,
    ) -> Result<(), Error> {
        let sending = || failed("sending a commit to git");
        let who = format!("{} <{}>", person(&text.name), person(&text.email));
        let when = format!("{} +0000", text.seconds);
        let mut message = text.message.replace('\0', "");
        if !message.ends_with('\n') {
            message.push('\n');
        }
        let head = format!(
            "commit {name}\nmark :1\nauthor {who} {when}\ncommitter {who} {when}\ndata {}\n{}\nfrom {base}\n",
            message.len(),
            message
        );
        out.write_all(head.as_bytes()).map_err(sending())?;
        // Deletions first: what takes a deleted file's place may need its name for a folder.
        for (path, entry) in changes {
            if matches!(entry, Entry::Deleted) {
                writeln!(out, "D {}", quoted(path)).map_err(sending())?;
            }
        }
        for (path, entry) in changes {
            let (mode, content) = match entry {
                Entry::File {
                    content,
                    executable,
                    bytes: _,
                } => {
                    let bytes = self
                        .artifacts
                        .get(content)
                        .map_err(store_failed(format!("reading `{path}` of the tree")))?;
                    (if *executable { "100755" } else { "100644" }, bytes)
                }
                Entry::Symlink { target } => ("120000", target.as_bytes().to_vec()),
                Entry::Deleted | Entry::Foreign { .. } => continue,
            };
            let head = format!("M {mode} inline {}\ndata {}\n", quoted(path), content.len());
            out.write_all(head.as_bytes())
                .and_then(|()| out.write_all(&content))
                .and_then(|()| out.write_all(b"\n"))
                .map_err(sending())?;
        }
        out.write_all(b"\nget-mark :1\ndone\n")
            .and_then(|()| out.flush())
            .map_err(sending())
    }
}

/// Returns whether git can hold this change at all.
pub(crate) fn is_showable(path: &str, entry: &Entry) -> bool {
    check_path(path.as_bytes()).is_ok()
        && !is_in_dot_git(path)
        && !matches!(entry, Entry::Foreign { .. })
}

/// Refuses what the import filter should never have let through.
pub(crate) fn check(path: &str, entry: &Entry) -> Result<(), Error> {
    check_path(path.as_bytes())?;
    if let Entry::Foreign { what, rule: _ } = entry {
        return Err(Error::Unusable(format!(
            "`{path}` is {what} and cannot be part of a commit; restore it first"
        )));
    }
    match git_name(path) {
        Some(why) => Err(Error::Unusable(format!(
            "`{path}` cannot be part of a commit: {why}; restore it first"
        ))),
        None => Ok(()),
    }
}

/// Returns a name or address without what would end it early.
fn person(text: &str) -> String {
    text.chars()
        .filter(|it| !it.is_control() && !matches!(it, '<' | '>'))
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Returns a path in the quoted form of `git fast-import`.
fn quoted(path: &str) -> String {
    let mut out = String::from("\"");
    for character in path.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            '\0'..='\x1f' | '\x7f' => {
                out.push_str(&octal(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

fn octal(character: char) -> String {
    format!("\\{:03o}", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_as_c_strings() {
        for (path, expected) in [
            ("a b", r#""a b""#),
            ("q\"b\\", r#""q\"b\\""#),
            ("a\nD all", r#""a\012D all""#),
            ("ü", "\"ü\""),
        ] {
            assert_eq!(quoted(path), expected);
        }
    }

    #[test]
    fn people_cannot_smuggle_lines() {
        assert_eq!(person("A <b>\ncommitter x"), "A bcommitter x");
    }
}
