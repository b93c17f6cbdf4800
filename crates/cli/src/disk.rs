//! The disk that the state is on: how much is free, and whether that is too little.

use std::path::Path;

use serde::Serialize;

/// Less than this share free, one part in so many, is nearly full …
const SHARE_MIN: u64 = 50;

/// … and so is less than this, in bytes.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// How full a disk is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Disk {
    /// What the operator may still use.
    pub(crate) free: u64,
    /// All of it.
    pub(crate) total: u64,
}

impl Disk {
    /// Looks at the disk that a folder is on.
    pub(crate) fn of(folder: &Path) -> std::io::Result<Self> {
        let it = rustix::fs::statvfs(folder)?;
        Ok(Self {
            free: it.f_bavail.saturating_mul(it.f_frsize),
            total: it.f_blocks.saturating_mul(it.f_frsize),
        })
    }

    /// Returns whether what is free may soon not do.
    pub(crate) const fn is_nearly_full(self) -> bool {
        self.free < FREE_BYTES_MIN || self.free < self.total / SHARE_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_little_by_share_or_by_size() {
        let disk = |free, total| Disk { free, total };
        assert!(disk(0, 0).is_nearly_full());
        assert!(disk(100 << 20, 200 << 20).is_nearly_full());
        assert!(disk(1 << 30, 100 << 30).is_nearly_full());
        assert!(!disk(3 << 30, 100 << 30).is_nearly_full());
        let here = Disk::of(Path::new("/")).unwrap();
        assert!(here.free <= here.total);
    }
}
