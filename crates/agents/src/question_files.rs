//! Questions dropped as files: `ambiguities/*.md` in the session's drop, each read once.
//!
//! The drop belongs to the agent, so nothing in it is trusted: files are opened beneath the drop
//! without following links or waiting for a writer, must be regular, have one name and stay below
//! a cap. Names that begin with `.` or end with `.tmp` or `~` are someone's unfinished writing and
//! are left alone, so that a careful agent can write aside and rename.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use domain::agent::Signal;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;

use crate::session::QuestionFile;
use crate::signal_line::{PRIORITIES, PRIORITY_DEFAULT};

/// The name of the folder in the drop.
pub(crate) const FOLDER: &str = "ambiguities";

/// One question file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 32 << 10;

/// Question files taken in one session.
pub(crate) const FILES_MAX: usize = 1_000;

/// Names looked at in one scan: a folder of a million files must not stop the reader.
const NAMES_MAX: usize = 10_000;

/// Returns every question file that lies in a session's drop, read once as a session reads it: the
/// signals in their stored form, and a complaint about whatever is no question.
///
/// # Errors
/// When the drop itself cannot be opened.
pub fn left_in(drop: &std::path::Path) -> std::io::Result<Vec<Result<String, String>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let drop = rustix::fs::open(drop, flags, Mode::empty())?;
    let found = QuestionFiles::default().scan(&drop);
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
    seen: BTreeSet<Vec<u8>>,
    folder_refused: bool,
    cap_told: bool,
}

impl QuestionFiles {
    /// Makes the folder in the drop, where there is none.
    pub(crate) fn make(drop: &OwnedFd) -> Result<Self, Errno> {
        match mkdirat(drop, FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Returns what is new in the folder, in the order of names.
    pub(crate) fn scan(&mut self, drop: &OwnedFd) -> Vec<QuestionFile> {
        let folder = match open(drop, FOLDER.as_bytes(), OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Vec::new(),
            Err(error) => return self.refuse_folder(error),
        };
        let fresh: BTreeSet<Vec<u8>> = match names(&folder) {
            Ok(names) => names
                .filter(|name| is_finished(name) && !self.seen.contains(name))
                .collect(),
            Err(error) => return self.refuse_folder(error),
        };
        let mut files = Vec::new();
        for name in fresh {
            if self.seen.len() >= FILES_MAX {
                files.extend(self.tell_cap());
                break;
            }
            files.push(read(&folder, &name).map_err(|why| {
                let name = String::from_utf8_lossy(&name).into_owned();
                (format!("{FOLDER}/{name}: {why}"), name)
            }));
            self.seen.insert(name);
        }
        files
    }

    fn refuse_folder(&mut self, error: Errno) -> Vec<QuestionFile> {
        if std::mem::replace(&mut self.folder_refused, true) {
            return Vec::new();
        }
        let why = format!("{FOLDER} is not a readable folder of the drop: {error}");
        vec![Err((why, FOLDER.to_owned()))]
    }

    fn tell_cap(&mut self) -> Option<QuestionFile> {
        let told = std::mem::replace(&mut self.cap_told, true);
        (!told).then(|| {
            let why = format!("{FOLDER} holds more than {FILES_MAX} files; the rest is not read");
            Err((why, FOLDER.to_owned()))
        })
    }
}

fn open(beneath: &OwnedFd, name: &[u8], kind: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(beneath, name, flags, Mode::empty(), resolve)
}

fn names(folder: &OwnedFd) -> Result<impl Iterator<Item = Vec<u8>>, Errno> {
    let entries = Dir::read_from(folder)?;
    Ok(entries
        .take(NAMES_MAX)
        .map_while(Result::ok)
        .map(|entry| entry.file_name().to_bytes().to_vec()))
}

fn is_finished(name: &[u8]) -> bool {
    !name.starts_with(b".") && !name.ends_with(b".tmp") && !name.ends_with(b"~")
}

fn read(folder: &OwnedFd, name: &[u8]) -> Result<Signal, String> {
    if !name.ends_with(b".md") {
        return Err("only files named *.md are questions".to_owned());
    }
    let file = open(folder, name, OFlags::empty()).map_err(|error| match error {
        Errno::LOOP => "a link is not followed".to_owned(),
        Errno::NXIO => "not a regular file".to_owned(),
        other => format!("cannot be opened: {other}"),
    })?;
    let facts = fstat(&file).map_err(|error| format!("cannot be looked at: {error}"))?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        return Err("not a regular file".to_owned());
    }
    if facts.st_nlink != 1 {
        return Err("a file with several names is not read".to_owned());
    }
    let over = || format!("over {FILE_BYTES_MAX} bytes");
    let cap = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    if u64::try_from(facts.st_size).unwrap_or(u64::MAX) > cap {
        return Err(over());
    }
    let mut bytes = Vec::new();
    // The size above may be of a moment ago: the cap holds for what is really read.
    File::from(file)
        .take(cap + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(over());
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    Ok(question(&text))
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
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::PathBuf;

    struct Drop {
        _folder: tempfile::TempDir,
        path: PathBuf,
        handle: OwnedFd,
        files: QuestionFiles,
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
        }
    }

    impl Drop {
        fn scan(&mut self) -> Vec<String> {
            self.files
                .scan(&self.handle)
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
    fn each_file_is_read_once_in_the_order_of_names() {
        let mut drop = drop_folder();
        fs::write(drop.path.join("b.md"), "priority: p0\n\nsecond").unwrap();
        fs::write(drop.path.join("a.md"), "first").unwrap();
        assert_eq!(drop.scan(), ["P2 first", "P0 second"]);
        fs::write(drop.path.join("a.md"), "changed my mind").unwrap();
        fs::write(drop.path.join("c.md"), "Priority: P7\nthird").unwrap();
        assert_eq!(drop.scan(), ["P2 Priority: P7\nthird"]);
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
            drop.scan(),
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
