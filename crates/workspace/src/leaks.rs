//! What looks like a credential in a base that agents would see, or in what they bring home.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use domain::Digest;
use domain::tree::{Change, Commit, Entry, ImportRules, Rule, Violation};
use ports::workspaces::{Error, Leak, Secrets};
use secrets::Scanner;
use secrets::scanner::SCAN_BYTES_MAX;

use crate::base::Yard;
use crate::blobs;
use crate::disk;
use crate::filter::Contents;
use crate::git::Git;
use crate::globs::DenyOnly;
use crate::names::{Kind, Names};
use crate::repository::Repository;

/// The most objects whose search is remembered, over all bases.
const KNOWN_MAX: usize = 1_000_000;

/// The most changed files whose search is remembered in memory.
const PROPOSALS_MAX: usize = 100_000;

/// The largest content that is searched before it is judged, in bytes.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// The most threads that search at once.
const THREADS_MAX: usize = 8;

/// The most leaks that are told of one base.
const LEAKS_MAX: usize = 10_000;

/// What was found in one content: line, rule, fingerprint.
type Found = Vec<(u64, String, String)>;

/// Returns what looks like a credential in the commit that `revision` names, without making
/// anything ready. What an earlier search in `state` has remembered is not searched again, and
/// nothing is written without it.
///
/// # Errors
/// When there is no such commit, or git fails.
pub fn credentials_at(
    repository: &Path,
    revision: &str,
    secrets: &Secrets,
    state: Option<&Path>,
) -> Result<Vec<Leak>, Error> {
    let git = Git::find()?;
    let user = Repository::find(&git, repository)?;
    let commit = user.resolve(revision)?;
    let yard = Yard {
        git: &git,
        own: user.git_dir(),
        state: repository,
    };
    let hidden = DenyOnly::of(&secrets.globs)?;
    let visible = yard.names_at(&commit)?.all().to_vec();
    let visible = visible
        .into_iter()
        .filter(|it| !hidden.matches_bytes(&it.path))
        .collect();
    let known = state.filter(|it| it.is_dir()).map(|it| it.join("searched"));
    let search = Search {
        git: &git,
        repository: user.git_dir(),
        known: known.as_deref(),
    };
    search.leaks(&commit, &Names::of(visible)?, &secrets.accepted)
}

/// A search through a commit.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    pub(crate) git: &'a Git,
    pub(crate) repository: &'a Path,
    /// Where it is remembered what was searched.
    pub(crate) known: Option<&'a Path>,
}

impl Search<'_> {
    /// Returns a fault when agents would see a credential that is not accepted.
    pub(crate) fn check(
        &self,
        commit: &Commit,
        names: &Names,
        accepted: &[String],
    ) -> Result<(), Error> {
        let found = self.leaks(commit, names, accepted)?;
        if found.is_empty() {
            return Ok(());
        }
        let base = commit.clone();
        Err(Error::Secrets { base, found })
    }

    fn leaks(
        &self,
        commit: &Commit,
        names: &Names,
        accepted: &[String],
    ) -> Result<Vec<Leak>, Error> {
        let is_file = |kind: Kind| matches!(kind, Kind::File | Kind::Executable);
        let files = || names.all().iter().filter(|it| is_file(it.kind));
        let wanted: BTreeSet<&str> = files().map(|it| it.object.as_str()).collect();
        let mut known = self.remembered();
        let fresh: Vec<&str> = wanted
            .iter()
            .filter(|it| !known.contains_key(**it))
            .copied()
            .collect();
        if !fresh.is_empty() {
            if known.len() + fresh.len() > KNOWN_MAX {
                known.retain(|object, _| wanted.contains(object.as_str()));
            }
            known.extend(self.searched(&fresh)?);
            self.remember(&known)?;
        }
        let mut leaks = Vec::new();
        for name in files() {
            let path = String::from_utf8_lossy(&name.path);
            let found = known.get(&name.object).map_or(&[][..], Vec::as_slice);
            leaks.extend(found.iter().map(|it| leak(&path, it)));
        }
        // What `git log` shows of the one commit that agents see.
        blobs::each(
            self.git,
            self.repository,
            &[commit.as_str()],
            SCAN_BYTES_MAX,
            |_, bytes| {
                let place = format!("(the commit {} itself)", commit.short());
                leaks.extend(scan(scanner()?, &bytes).iter().map(|it| leak(&place, it)));
                Ok(())
            },
        )?;
        leaks.retain(|it| !accepted.contains(&it.fingerprint));
        leaks.sort_unstable();
        leaks.truncate(LEAKS_MAX);
        Ok(leaks)
    }

    /// Searches objects on several threads while git is still reading.
    fn searched(&self, objects: &[&str]) -> Result<HashMap<String, Found>, Error> {
        let scanner = scanner()?;
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(THREADS_MAX);
        let (sender, receiver) = mpsc::sync_channel::<(String, Vec<u8>)>(threads);
        let receiver = Mutex::new(receiver);
        let found = Mutex::new(HashMap::new());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let next = lock(&receiver).recv();
                        let Ok((object, bytes)) = next else { return };
                        let hits = scan(scanner, &bytes);
                        lock(&found).insert(object, hits);
                    }
                });
            }
            let handed = blobs::each(
                self.git,
                self.repository,
                objects,
                SCAN_BYTES_MAX,
                |object, bytes| {
                    // Somebody receives until the sender is dropped.
                    let (Ok(()) | Err(_)) = sender.send((object.to_owned(), bytes));
                    Ok(())
                },
            );
            drop(sender);
            handed
        })?;
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        if found.len() == objects.len() {
            return Ok(found);
        }
        Err(Error::Unusable(
            "the search for credentials has lost a file; begin again".into(),
        ))
    }

    /// One line for each object: its name, then `line:rule:fingerprint` for each hit.
    fn remembered(&self) -> HashMap<String, Found> {
        let file = self.known.map(|it| it.join(Scanner::version()));
        let text = file.and_then(|it| fs::read_to_string(it).ok());
        let text = text.unwrap_or_default();
        text.lines().filter_map(read_line).collect()
    }

    fn remember(&self, known: &HashMap<String, Found>) -> Result<(), Error> {
        let Some(folder) = self.known else {
            return Ok(());
        };
        let mut text = String::new();
        for (object, found) in known {
            text.push_str(object);
            for (line, rule, fingerprint) in found {
                // Writing to a string cannot fail.
                let (Ok(()) | Err(_)) = write!(text, " {line}:{rule}:{fingerprint}");
            }
            text.push('\n');
        }
        disk::private_folder(folder)?;
        disk::write_whole(&folder.join(Scanner::version()), text.as_bytes())
    }
}

/// What was found in changed files, so that a tree that is judged again is not searched again.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    known: Mutex<HashMap<Digest, Searched>>,
}

/// The search of one content.
#[derive(Debug)]
struct Searched {
    found: Found,
    /// Whether a judgement has asked for it.
    is_asked: bool,
}

impl Proposals {
    /// Returns what a changed file holds that is not accepted.
    pub(crate) fn judge(
        &self,
        contents: &Contents<'_>,
        change: &Change,
        rules: &ImportRules,
    ) -> Result<Vec<Violation>, Error> {
        let mut violations = Vec::new();
        let Entry::File { content, bytes, .. } = &change.entry else {
            return Ok(violations);
        };
        // What is too large is turned away for that.
        if *bytes > rules.file_bytes_max {
            return Ok(violations);
        }
        for (line, rule, fingerprint) in self.found(contents, change, content)? {
            if rules.accepted_secrets.contains(&fingerprint) {
                continue;
            }
            let (path, title) = (&change.path, Scanner::title(&rule));
            violations.push(Violation {
                path: path.clone(),
                rule: Rule::Secret,
                detail: format!(
                    "line {line} of `{path}` holds what looks like {title} ({rule}, fingerprint \
                     {fingerprint}); remove it, and use an obvious placeholder where an example \
                     is needed"
                ),
            });
        }
        Ok(violations)
    }

    fn found(
        &self,
        contents: &Contents<'_>,
        change: &Change,
        content: &Digest,
    ) -> Result<Found, Error> {
        if let Some(known) = lock(&self.known).get_mut(content) {
            // What was searched ahead was searched for this judgement.
            contents.count(known.is_asked);
            known.is_asked = true;
            return Ok(known.found.clone());
        }
        contents.count(false);
        let bytes = contents.read(content, &change.path)?;
        let found = scan(scanner()?, &bytes);
        self.remember(*content, found.clone(), true);
        Ok(found)
    }

    /// Searches a content that will be judged soon, unless it would be long waited for.
    pub(crate) fn search_ahead(&self, digest: &Digest, content: &[u8]) {
        if content.len() > AHEAD_BYTES_MAX || lock(&self.known).contains_key(digest) {
            return;
        }
        // Whoever judges tells that there is no scanner.
        if let Ok(scanner) = scanner() {
            self.remember(*digest, scan(scanner, content), false);
        }
    }

    fn remember(&self, content: Digest, found: Found, is_asked: bool) {
        let mut known = lock(&self.known);
        if known.len() >= PROPOSALS_MAX {
            known.clear();
        }
        let searched = known.entry(content).or_insert(Searched { found, is_asked });
        searched.is_asked |= is_asked;
    }
}

/// Returns the scanner of this process: its expressions are compiled once.
pub(crate) fn scanner() -> Result<&'static Scanner, Error> {
    static SCANNER: OnceLock<Result<Scanner, String>> = OnceLock::new();
    SCANNER
        .get_or_init(|| Scanner::standard().map_err(|it| it.to_string()))
        .as_ref()
        .map_err(|it| Error::Unusable(it.clone()))
}

fn scan(scanner: &Scanner, bytes: &[u8]) -> Found {
    let hits = scanner.scan(bytes).into_iter();
    hits.map(|it| (it.line, it.rule.to_owned(), it.fingerprint))
        .collect()
}

fn leak(path: &str, (line, rule, fingerprint): &(u64, String, String)) -> Leak {
    Leak {
        path: path.to_owned(),
        line: *line,
        rule: rule.clone(),
        fingerprint: fingerprint.clone(),
    }
}

fn read_line(line: &str) -> Option<(String, Found)> {
    let mut words = line.split(' ');
    let object = words.next().filter(|it| matches!(it.len(), 40 | 64))?;
    let hit = |word: &str| {
        let mut parts = word.split(':');
        let line = parts.next()?.parse().ok()?;
        let (rule, fingerprint) = (parts.next()?, parts.next()?);
        Some((line, rule.to_owned(), fingerprint.to_owned()))
    };
    let found = words.map(hit).collect::<Option<Found>>()?;
    Some((object.to_owned(), found))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_reads_back_or_not_at_all() {
        let object = "0".repeat(40);
        let line = format!("{object} 3:npm-token:0123456789abcdef 9:x:y");
        let (name, found) = read_line(&line).unwrap();
        assert_eq!(name, object);
        assert_eq!(found.len(), 2);
        assert_eq!(read_line(&object).unwrap().1, []);
        for broken in [
            "",
            "short",
            &format!("{object} 3:npm"),
            &format!("{object} x:a:b"),
        ] {
            assert_eq!(read_line(broken), None, "{broken}");
        }
    }
}
