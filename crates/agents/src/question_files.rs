//! Questions dropped as files: `ambiguities/*.md` in the session's drop, each taken once.
//!
//! The drop belongs to the agent, so nothing in it is trusted: files are opened beneath the drop
//! without following links or waiting for a writer, must be regular, have one name and stay below
//! a cap. Names that begin with `.` or end with `.tmp` or `~` are someone's unfinished writing and
//! are left alone, so that a careful agent can write aside and rename.
//!
//! A file is finished when it holds something and has kept still for [`SETTLED`]; or when the agent
//! says that its session is over, or is gone: then what is there is what there is. The first finished
//! version counts. A file that is changed or removed afterwards changes nothing, and is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use domain::Digest;
use domain::agent::Signal;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::fs::{fstat, mkdirat, openat2, statat};
use rustix::io::Errno;

use crate::session::QuestionFile;
use crate::signal_line::{PRIORITIES, PRIORITY_DEFAULT};

/// The name of the folder in the drop.
pub(crate) const FOLDER: &str = "ambiguities";

/// One question file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 32 << 10;

/// Question files taken in one session.
pub(crate) const FILES_MAX: usize = 1_000;

/// How long a file keeps still before it counts as finished.
pub(crate) const SETTLED: Duration = Duration::from_millis(500);

/// Names looked at in one scan: a folder of a million files must not stop the reader.
const NAMES_MAX: usize = 10_000;

/// Whether more looks at the drop may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Yes: what is being written can wait.
    Passing,
    /// The agent has nothing more to say: what is there is taken as it is.
    Last,
}

/// Returns every question file that lies in a session's drop, read once as a session reads it: the
/// signals in their stored form, and a complaint about whatever is no question.
///
/// # Errors
/// When the drop itself cannot be opened.
pub fn left_in(drop: &std::path::Path) -> std::io::Result<Vec<Result<String, String>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let drop = rustix::fs::open(drop, flags, Mode::empty())?;
    let found = QuestionFiles::default().scan(&drop, Duration::ZERO, Look::Last);
    Ok(found
        .into_iter()
        .map(|file| {
            file.map(|signal| format!("{signal:?}"))
                .map_err(|(why, _)| why)
        })
        .collect())
}

/// The reader of one session's question files.
#[derive(Debug, Default)]
pub(crate) struct QuestionFiles {
    known: BTreeMap<Vec<u8>, Known>,
    folder_refused: bool,
    cap_told: bool,
    names_told: bool,
}

/// What is known of a file by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Seen, and not yet finished; it looks like this since then.
    Waiting(Facts, Duration),
    /// Taken: how it looked, and what it held.
    Taken(Facts, Digest),
    /// Refused, or told to have changed; never looked at again.
    Closed,
}

/// What changes with a file, whatever its writer does to hide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    inode: u64,
    bytes: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl QuestionFiles {
    /// Makes the folder in the drop, where there is none.
    pub(crate) fn make(drop: &OwnedFd) -> Result<Self, Errno> {
        match mkdirat(drop, FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Returns what is finished in the folder and was not before, in the order of names. The time
    /// is of any clock that goes on.
    pub(crate) fn scan(&mut self, drop: &OwnedFd, now: Duration, look: Look) -> Vec<QuestionFile> {
        let folder = match open(drop, FOLDER.as_bytes(), OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return self.changes(None, &BTreeSet::new()),
            Err(error) => return self.refuse_folder(error),
        };
        let (names, all) = match names(&folder) {
            Ok(names) => names,
            Err(error) => return self.refuse_folder(error),
        };
        let mut files = Vec::new();
        if all {
            files.extend(self.changes(Some(&folder), &names));
        } else if !std::mem::replace(&mut self.names_told, true) {
            let why = format!("{FOLDER} holds more than {NAMES_MAX} names; clear it up");
            files.push(Err((why, FOLDER.to_owned())));
        }
        let mut done = self.done();
        for name in names {
            if !matches!(self.known.get(&name), None | Some(Known::Waiting(..))) {
                continue;
            }
            if done >= FILES_MAX {
                files.extend(self.tell_cap());
                break;
            }
            let told = self.look_at(&folder, name, now, look);
            done += usize::from(told.is_some());
            files.extend(told);
        }
        files
    }

    /// Looks at a file that is not taken yet.
    fn look_at(
        &mut self,
        folder: &OwnedFd,
        name: Vec<u8>,
        now: Duration,
        look: Look,
    ) -> Option<QuestionFile> {
        let before = self.known.get(&name).copied();
        let (known, told) = match fit(folder, &name) {
            // It went away again before anybody took it.
            Err(Unfit::Gone) => {
                self.known.remove(&name);
                return None;
            }
            Err(Unfit::For(why)) => (Known::Closed, Some(refused(&name, &why))),
            Ok(facts) => {
                let since = match before {
                    Some(Known::Waiting(was, since)) if was == facts => since,
                    Some(_) | None => now,
                };
                let still = facts.bytes > 0 && now.saturating_sub(since) >= SETTLED;
                if look == Look::Last || still {
                    match read(folder, &name) {
                        Ok((text, digest, read)) if look == Look::Last || read == facts => {
                            (Known::Taken(read, digest), Some(Ok(question(&text))))
                        }
                        // Somebody wrote while it was read.
                        Ok((_, _, read)) => (Known::Waiting(read, now), None),
                        Err(why) => (Known::Closed, Some(refused(&name, &why))),
                    }
                } else {
                    (Known::Waiting(facts, since), None)
                }
            }
        };
        self.known.insert(name, known);
        told
    }

    /// Returns what happened to files that were taken, each once.
    fn changes(
        &mut self,
        folder: Option<&OwnedFd>,
        names: &BTreeSet<Vec<u8>>,
    ) -> Vec<QuestionFile> {
        let mut told = Vec::new();
        for (name, known) in &mut self.known {
            let Known::Taken(facts, digest) = *known else {
                continue;
            };
            let now = folder
                .filter(|_| names.contains(name))
                .and_then(|folder| stat(folder, name).ok());
            let what = match now {
                Some(now) if Facts::of(&now) == facts => continue,
                Some(_) => "changed",
                None => "removed",
            };
            *known = Known::Closed;
            let why = format!("{what} after it was taken; the first version counts ({digest})");
            told.push(refused(name, &why));
        }
        told
    }

    /// Returns how many files are done with.
    fn done(&self) -> usize {
        let done = |it: &&Known| matches!(it, Known::Taken(..) | Known::Closed);
        self.known.values().filter(done).count()
    }

    fn refuse_folder(&mut self, error: Errno) -> Vec<QuestionFile> {
        let mut told = self.changes(None, &BTreeSet::new());
        if !std::mem::replace(&mut self.folder_refused, true) {
            let why = format!("{FOLDER} is not a readable folder of the drop: {error}");
            told.push(Err((why, FOLDER.to_owned())));
        }
        told
    }

    fn tell_cap(&mut self) -> Option<QuestionFile> {
        let told = std::mem::replace(&mut self.cap_told, true);
        (!told).then(|| {
            let why = format!("{FOLDER} holds more than {FILES_MAX} files; the rest is not read");
            Err((why, FOLDER.to_owned()))
        })
    }
}

impl Facts {
    fn of(stat: &Stat) -> Self {
        let nanoseconds = |it| i64::try_from(it).unwrap_or(i64::MAX);
        Self {
            inode: stat.st_ino,
            bytes: stat.st_size,
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        }
    }
}

/// Why a file is none that can be taken.
enum Unfit {
    /// It is not there any more.
    Gone,
    /// For what it is.
    For(String),
}

fn refused(name: &[u8], why: &str) -> QuestionFile {
    let name = String::from_utf8_lossy(name).into_owned();
    Err((format!("{FOLDER}/{name}: {why}"), name))
}

fn stat(folder: &OwnedFd, name: &[u8]) -> Result<Stat, Errno> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Returns how a file looks from outside, if it may be opened at all.
fn fit(folder: &OwnedFd, name: &[u8]) -> Result<Facts, Unfit> {
    if !name.ends_with(b".md") {
        return Err(Unfit::For("only files named *.md are questions".to_owned()));
    }
    let facts = stat(folder, name).map_err(|error| match error {
        Errno::NOENT => Unfit::Gone,
        other => Unfit::For(format!("cannot be looked at: {other}")),
    })?;
    may_be_read(&facts).map_err(Unfit::For)?;
    Ok(Facts::of(&facts))
}

fn may_be_read(facts: &Stat) -> Result<(), String> {
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Err("a link is not followed".to_owned()),
        FileType::Directory
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => return Err("not a regular file".to_owned()),
    }
    if facts.st_nlink != 1 {
        return Err("a file with several names is not read".to_owned());
    }
    if usize::try_from(facts.st_size).unwrap_or(usize::MAX) > FILE_BYTES_MAX {
        return Err(over());
    }
    Ok(())
}

fn over() -> String {
    format!("over {FILE_BYTES_MAX} bytes")
}

fn open(beneath: &OwnedFd, name: &[u8], kind: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(beneath, name, flags, Mode::empty(), resolve)
}

/// Returns the finished names, and whether these are all there are.
fn names(folder: &OwnedFd) -> Result<(BTreeSet<Vec<u8>>, bool), Errno> {
    let mut names = BTreeSet::new();
    let mut looked_at = 0;
    for entry in Dir::read_from(folder)?.map_while(Result::ok) {
        looked_at += 1;
        if looked_at > NAMES_MAX {
            return Ok((names, false));
        }
        let name = entry.file_name().to_bytes();
        if is_finished(name) {
            names.insert(name.to_vec());
        }
    }
    Ok((names, true))
}

fn is_finished(name: &[u8]) -> bool {
    !name.starts_with(b".") && !name.ends_with(b".tmp") && !name.ends_with(b"~")
}

/// Reads a file once, and returns with its text how it looked once it was read.
fn read(folder: &OwnedFd, name: &[u8]) -> Result<(String, Digest, Facts), String> {
    let file = open(folder, name, OFlags::NOCTTY).map_err(|error| match error {
        Errno::LOOP => "a link is not followed".to_owned(),
        Errno::NXIO => "not a regular file".to_owned(),
        other => format!("cannot be opened: {other}"),
    })?;
    let look = |file: &OwnedFd| {
        let facts = fstat(file).map_err(|error| format!("cannot be looked at: {error}"))?;
        may_be_read(&facts).map(|()| Facts::of(&facts))
    };
    look(&file)?;
    let file = File::from(file);
    let cap = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    // The size above may be of a moment ago: the cap holds for what is really read.
    (&file)
        .take(cap + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(over());
    }
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let facts = look(&OwnedFd::from(file))?;
    let digest = Digest::from_bytes(*blake3::hash(&bytes).as_bytes());
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    Ok((text, digest, facts))
}

/// Returns the question in a file. A first line `Priority: P1` proposes one; any other first line
/// is part of the report, which is never lost for a typing error.
fn question(text: &str) -> Signal {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let proposed = first
        .split_once(':')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("priority"))
        .map(|(_, value)| value.trim().to_ascii_uppercase())
        .filter(|value| PRIORITIES.contains(&value.as_str()));
    match proposed {
        Some(priority) => Signal::Ask {
            report: rest.trim_start_matches(['\r', '\n']).to_owned(),
            priority,
        },
        None => Signal::Ask {
            report: text.to_owned(),
            priority: PRIORITY_DEFAULT.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{mkfifoat, open as open_at};
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::PathBuf;

    struct Drop {
        _folder: tempfile::TempDir,
        path: PathBuf,
        handle: OwnedFd,
        files: QuestionFiles,
        now: Duration,
    }

    fn drop_folder() -> Drop {
        let folder = tempfile::tempdir().unwrap();
        let handle = open_at(folder.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let files = QuestionFiles::make(&handle).unwrap();
        let path = folder.path().join(FOLDER);
        Drop {
            _folder: folder,
            path,
            handle,
            files,
            now: Duration::ZERO,
        }
    }

    impl Drop {
        /// Looks until all that keeps still has been taken.
        fn scan(&mut self) -> Vec<String> {
            let mut told = self.look(Look::Passing);
            self.now += SETTLED;
            told.extend(self.look(Look::Passing));
            told
        }

        /// Looks once, a tenth of [`SETTLED`] after the last time.
        fn look(&mut self, look: Look) -> Vec<String> {
            self.now += SETTLED / 10;
            self.files
                .scan(&self.handle, self.now, look)
                .into_iter()
                .map(|file| match file {
                    Ok(Signal::Ask { report, priority }) => format!("{priority} {report}"),
                    Ok(other) => format!("{other:?}"),
                    Err((why, _)) => format!("! {why}"),
                })
                .collect()
        }
    }

    #[test]
    fn each_file_is_taken_once_in_the_order_of_names() {
        let mut drop = drop_folder();
        fs::write(drop.path.join("b.md"), "priority: p0\n\nsecond").unwrap();
        fs::write(drop.path.join("a.md"), "first").unwrap();
        assert_eq!(drop.scan(), ["P2 first", "P0 second"]);
        fs::write(drop.path.join("c.md"), "Priority: P7\nthird").unwrap();
        assert_eq!(drop.scan(), ["P2 Priority: P7\nthird"]);
        assert!(drop.scan().is_empty());
    }

    #[test]
    fn the_first_version_counts_and_what_is_done_to_it_is_told_once() {
        let mut drop = drop_folder();
        let path = |name: &str| drop.path.join(name);
        let (kept, replaced, removed) = (path("a.md"), path("b.md"), path("c.md"));
        for place in [&kept, &replaced, &removed] {
            fs::write(place, "first").unwrap();
        }
        let (aside, digest) = (path(".d"), blake3::hash(b"first").to_hex());
        assert_eq!(drop.scan(), ["P2 first"; 3]);
        fs::write(&kept, "other").unwrap();
        fs::write(&aside, "first").unwrap();
        fs::rename(&aside, &replaced).unwrap();
        fs::remove_file(&removed).unwrap();
        let told = |name: &str, what: &str| {
            format!(
                "! ambiguities/{name}: {what} after it was taken; the first version counts (b3:{digest})"
            )
        };
        assert_eq!(
            drop.look(Look::Passing),
            [
                told("a.md", "changed"),
                told("b.md", "changed"),
                told("c.md", "removed"),
            ]
        );
        fs::write(&kept, "again").unwrap();
        fs::write(&removed, "back").unwrap();
        assert!(drop.scan().is_empty(), "told once, and never taken again");
        assert!(drop.look(Look::Last).is_empty());
    }

    #[test]
    fn all_that_is_taken_is_told_when_its_folder_goes() {
        let mut drop = drop_folder();
        fs::write(drop.path.join("a.md"), "first").unwrap();
        assert_eq!(drop.scan(), ["P2 first"]);
        fs::remove_dir_all(&drop.path).unwrap();
        let told = drop.look(Look::Passing);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("a.md: removed after"), "{told:?}");
    }

    #[test]
    fn a_file_is_taken_when_it_keeps_still_and_not_before() {
        let mut drop = drop_folder();
        let path = drop.path.join("a.md");
        let mut file = File::create(&path).unwrap();
        for piece in ["one ", "two ", "three"] {
            drop.now += SETTLED * 2;
            assert!(drop.look(Look::Passing).is_empty(), "it has just changed");
            file.write_all(piece.as_bytes()).unwrap();
        }
        assert!(drop.look(Look::Passing).is_empty());
        assert!(drop.look(Look::Passing).is_empty(), "not for long enough");
        drop.now += SETTLED;
        assert_eq!(drop.look(Look::Passing), ["P2 one two three"]);
    }

    #[test]
    fn an_empty_file_is_waited_for_until_the_end() {
        let mut drop = drop_folder();
        fs::write(drop.path.join("a.md"), "").unwrap();
        fs::write(drop.path.join("b.md"), "").unwrap();
        assert!(drop.scan().is_empty());
        fs::write(drop.path.join("b.md"), "at last").unwrap();
        assert_eq!(
            drop.look(Look::Last),
            ["! ambiguities/a.md: it is empty", "P2 at last"]
        );
    }

    #[test]
    fn what_is_half_written_at_the_end_is_taken_as_it_is() {
        let mut drop = drop_folder();
        fs::write(drop.path.join("a.md"), "## Question\nWhich reg").unwrap();
        assert_eq!(drop.look(Look::Last), ["P2 ## Question\nWhich reg"]);
    }

    #[test]
    fn more_names_than_are_looked_at_are_told_once() {
        let mut drop = drop_folder();
        for number in 0..=NAMES_MAX {
            File::create(drop.path.join(format!(".{number}"))).unwrap();
        }
        let told = drop.scan();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("more than 10000 names"), "{told:?}");
        assert!(drop.scan().is_empty());
    }

    #[test]
    fn unfinished_writing_is_left_until_it_is_renamed() {
        let mut drop = drop_folder();
        for name in [".q.md", "q.md.tmp", "q.md~"] {
            fs::write(drop.path.join(name), "half").unwrap();
        }
        assert!(drop.scan().is_empty());
        fs::rename(drop.path.join(".q.md"), drop.path.join("q.md")).unwrap();
        assert_eq!(drop.scan(), ["P2 half"]);
    }

    #[test]
    fn nothing_but_a_plain_small_text_is_taken_and_nothing_is_waited_for() {
        let mut drop = drop_folder();
        let secret = drop.path.with_file_name("secret");
        fs::write(&secret, "secret").unwrap();
        let path = |name: &str| drop.path.join(name);
        std::os::unix::fs::symlink(&secret, path("a-link.md")).unwrap();
        fs::hard_link(&secret, path("b-hard.md")).unwrap();
        mkfifoat(&drop.handle, "ambiguities/c-pipe.md", Mode::RWXU).unwrap();
        fs::create_dir(path("d-folder.md")).unwrap();
        File::create(path("e-giant.md"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        fs::write(path("f-bytes.md"), b"\xff\xfe").unwrap();
        let socket = std::os::unix::net::UnixListener::bind(path("g-socket.md")).unwrap();
        fs::write(path("h.txt"), "why?").unwrap();
        fs::write(drop.path.join(OsStr::from_bytes(b"i\xff.md")), "fine").unwrap();
        assert_eq!(
            drop.look(Look::Last),
            [
                "! ambiguities/a-link.md: a link is not followed",
                "! ambiguities/b-hard.md: a file with several names is not read",
                "! ambiguities/c-pipe.md: not a regular file",
                "! ambiguities/d-folder.md: not a regular file",
                "! ambiguities/e-giant.md: over 32768 bytes",
                "! ambiguities/f-bytes.md: not UTF-8 text",
                "! ambiguities/g-socket.md: not a regular file",
                "! ambiguities/h.txt: only files named *.md are questions",
                "P2 fine",
            ]
        );
        std::mem::drop(socket);
        assert!(drop.scan().is_empty());
    }

    #[test]
    fn five_hundred_at_once_are_all_taken_and_the_cap_is_told_once() {
        let mut drop = drop_folder();
        for number in 0..500 {
            fs::write(drop.path.join(format!("{number:04}.md")), "q").unwrap();
        }
        assert_eq!(drop.scan().len(), 500);
        for number in 500..=FILES_MAX {
            fs::write(drop.path.join(format!("{number:04}.md")), "q").unwrap();
        }
        let second = drop.scan();
        assert_eq!(second.len(), FILES_MAX - 500 + 1);
        assert!(second.last().unwrap().contains("more than 1000 files"));
        assert!(drop.scan().is_empty());
    }

    #[test]
    fn a_folder_swapped_for_a_link_is_refused_once() {
        let mut drop = drop_folder();
        fs::remove_dir(&drop.path).unwrap();
        std::os::unix::fs::symlink("/etc", &drop.path).unwrap();
        let told = drop.scan();
        assert!(told[0].contains("not a readable folder"), "{told:?}");
        assert!(drop.scan().is_empty());
        fs::remove_file(&drop.path).unwrap();
        assert!(drop.scan().is_empty());
    }
}
