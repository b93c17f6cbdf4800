//! Files and folders that are their owner's alone: made whole or not at all, and not believed when
//! anybody else could have looked in.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, RenameFlags};
use zeroize::Zeroizing;

/// What others may do with a file of ours: nothing.
const OTHERS: u32 = 0o077;

/// Why a file or folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read, made or written.
    #[error("{doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others could read the file, too.
    #[error(
        "{0} holds a secret and is open to others or not your own: run `chmod 600` on it, as the user \
         whose it is"
    )]
    OpenFile(PathBuf),
    /// Others could enter the folder, too, or it is somebody else's.
    #[error(
        "the folder {0} must be its user's alone: run `chown` to the user that this runs as, and \
         `chmod 700` on it"
    )]
    OpenFolder(PathBuf),
    /// It is there already, and nothing is written over.
    #[error("{0} is there already")]
    Taken(PathBuf),
    /// It is larger than what is wanted.
    #[error("{path} is over {bytes_max} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The most it may have, in bytes.
        bytes_max: usize,
    },
}

/// Reads a file that is its owner's alone; it is no link.
///
/// # Errors
/// When it cannot be read, is open to others, or larger than it may be.
pub fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = doing("reading", path);
    // Nor is it a pipe that keeps whoever opens it waiting.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)
        .map_err(&unreadable)?;
    // Of the open file, so that nobody can change it between the look and the reading.
    let metadata = file.metadata().map_err(&unreadable)?;
    if !is_own(&metadata) || !metadata.is_file() {
        return Err(Fault::OpenFile(path.to_path_buf()));
    }
    // Of the right size at once, so that no copy stays behind in memory that was given back.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 2));
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(&unreadable)?;
    if bytes.len() > bytes_max {
        return Err(Fault::TooLarge {
            path: path.to_path_buf(),
            bytes_max,
        });
    }
    Ok(bytes)
}

/// Writes a new file that is its owner's alone: durably, whole or not at all, and over no other.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    install(path, bytes, 0o600, RenameFlags::NOREPLACE)
}

/// Writes a file that is its owner's alone, in the place of another if there is one: at every moment
/// it is the old one or the new one, whole.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    install(path, bytes, mode & !OTHERS, RenameFlags::empty())
}

/// Makes a folder that only its owner may enter, or sees to it that it is one.
///
/// # Errors
/// When it cannot be made, or is there and is not its user's alone; it is never changed.
pub fn folder(path: &Path) -> Result<(), Fault> {
    let fault = doing("making the folder", path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(&fault)?;
    // What a link leads to is somebody else's choice.
    let metadata = path.symlink_metadata().map_err(&fault)?;
    if is_own(&metadata) && metadata.is_dir() {
        Ok(())
    } else {
        Err(Fault::OpenFolder(path.to_path_buf()))
    }
}

fn install(path: &Path, bytes: &[u8], mode: u32, flags: RenameFlags) -> Result<(), Fault> {
    let fault = doing("writing", path);
    let parent = path
        .parent()
        .filter(|it| !it.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Two who write at once each have a name of their own.
    let (temporary, mut file) = temporary(parent, mode).map_err(&fault)?;
    let done = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| {
            let here = rustix::fs::CWD;
            Ok(rustix::fs::renameat_with(
                here, &temporary, here, path, flags,
            )?)
        });
    if let Err(source) = done {
        // Half a file is none.
        drop(fs::remove_file(&temporary));
        return Err(if source.kind() == io::ErrorKind::AlreadyExists {
            Fault::Taken(path.to_path_buf())
        } else {
            fault(source)
        });
    }
    // Its name must last as long as its content.
    File::open(parent)
        .and_then(|it| it.sync_all())
        .map_err(fault)
}

/// Makes a file of a name that nobody has.
fn temporary(folder: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    for number in 0..TRIES_MAX {
        let name = format!(".new-{}-{number}", std::process::id());
        let path = folder.join(name);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path);
        match made {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(
        "too many half-written `.new-*` files lie there; remove them",
    ))
}

/// How many names are tried for a file in the making: each other one was left by a death.
const TRIES_MAX: u32 = 64;

fn is_own(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & OTHERS == 0
}

fn doing<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Fault + 'a {
    move |source| Fault::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_read_only_when_it_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        create(&path, b"text").unwrap();
        assert_eq!(*read(&path, 4).unwrap(), b"text");
        assert!(matches!(read(&path, 3), Err(Fault::TooLarge { .. })));
        for open in [0o644, 0o640, 0o604, 0o610] {
            mode(&path, open);
            assert!(
                matches!(read(&path, 4), Err(Fault::OpenFile(_))),
                "{open:o}"
            );
        }
        mode(&path, 0o600);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link, 4), Err(Fault::Io { .. })));
        assert!(matches!(read(folder.path(), 4), Err(Fault::OpenFile(_))));
    }

    #[test]
    fn what_is_there_is_not_written_over_and_nothing_half_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        create(&path, b"first").unwrap();
        assert!(matches!(create(&path, b"second"), Err(Fault::Taken(_))));
        let dangling = folder.path().join("link");
        symlink("nowhere", &dangling).unwrap();
        assert!(matches!(create(&dangling, b"x"), Err(Fault::Taken(_))));
        assert_eq!(*read(&path, 9).unwrap(), b"first");
        replace(&path, b"third", 0o500).unwrap();
        assert_eq!(*read(&path, 9).unwrap(), b"third");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o500);
        let mut all = names(folder.path());
        all.sort();
        assert_eq!(all, ["it", "link"]);
    }

    #[test]
    fn what_a_death_left_half_written_stands_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let left = format!(".new-{}-0", std::process::id());
        fs::write(folder.path().join(left), "half").unwrap();
        let path = folder.path().join("it");
        create(&path, b"whole").unwrap();
        assert_eq!(*read(&path, 9).unwrap(), b"whole");
    }

    #[test]
    fn of_many_who_write_at_once_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        let written = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8_u8)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || create(path, &[number; 4096]).is_ok())
                })
                .collect();
            let ended = all.into_iter().map(|it| it.join().unwrap());
            ended.filter(|it| *it).count()
        });
        assert_eq!(written, 1);
        let bytes = read(&path, 4096).unwrap();
        assert!(bytes.len() == 4096 && bytes.iter().all(|it| *it == bytes[0]));
        assert_eq!(names(folder.path()), ["it"]);
    }

    #[test]
    fn a_folder_that_others_may_enter_or_a_link_leads_to_is_none() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        folder(&path).unwrap();
        folder(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        for open in [0o755, 0o750, 0o701, 0o777] {
            mode(&path, open);
            let told = folder(&path).unwrap_err();
            assert!(matches!(told, Fault::OpenFolder(_)), "{open:o}");
            assert!(told.to_string().contains("chmod 700"), "{told}");
            // It is told, and not mended behind anybody's back.
            assert_eq!(path.metadata().unwrap().mode() & 0o777, open);
        }
        mode(&path, 0o700);
        let link = parent.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(folder(&link), Err(Fault::OpenFolder(_))));
        let file = parent.path().join("file");
        create(&file, b"x").unwrap();
        assert!(folder(&file).is_err());
    }

    #[test]
    fn a_folder_of_somebody_else_is_none() {
        // Root's own, as an ordinary user; an ordinary user's, as root.
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("theirs");
        if rustix::process::geteuid().is_root() {
            fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            mode(&path, 0o700);
            assert!(matches!(folder(&path), Err(Fault::OpenFolder(_))));
        } else {
            assert!(folder(Path::new("/proc/1")).is_err());
        }
    }
}
