//! The audit's file: private, of one writer at a time, and durable when it says so.

use std::fs::{File, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Fault, Head, Line, read};

/// Where lines are written to.
pub(crate) trait Sink: Send {
    /// Writes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything that was written durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Takes back what follows after so many bytes, durably.
    fn shorten(&mut self, bytes: u64) -> io::Result<()>;
}

/// The file.
#[derive(Debug)]
pub(crate) struct AuditFile {
    file: File,
    path: PathBuf,
}

impl AuditFile {
    /// Opens or makes the file, verifies what it holds and takes away an unfinished line.
    pub(crate) fn open(path: &Path, take: &mut dyn FnMut(Line)) -> Result<(Self, Head), Fault> {
        let io = |doing| {
            move |source| Fault::Io {
                path: path.to_path_buf(),
                doing,
                source,
            }
        };
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(path)
            .map_err(io("opening"))?;
        let metadata = file.metadata().map_err(io("looking at it"))?;
        let own = metadata.uid() == rustix::process::geteuid().as_raw();
        if !own || !metadata.is_file() || metadata.mode() & 0o077 != 0 {
            return Err(Fault::NotPrivate(path.to_path_buf()));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Fault::InUse(path.to_path_buf())),
            Err(TryLockError::Error(error)) => return Err(io("locking")(error)),
        }
        // Its name must last as long as its content.
        let folder = path.parent().unwrap_or(Path::new("/"));
        let folder = File::open(folder).map_err(io("opening its folder"))?;
        folder.sync_all().map_err(io("making its name durable"))?;
        let head = read(path, take)?;
        let path = path.to_path_buf();
        let mut file = Self { file, path };
        if head.torn_bytes > 0 {
            file.shorten(head.bytes)
                .map_err(io("taking away an unfinished line"))?;
        }
        Ok((file, head))
    }
}

impl Sink for AuditFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What is written to a file that has no name any more is read by nobody.
        let (open, named) = (self.file.metadata()?, self.path.symlink_metadata()?);
        if (open.dev(), open.ino()) != (named.dev(), named.ino()) {
            return Err(io::Error::other("another file stands in its place"));
        }
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn shorten(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.sync_all()
    }
}
