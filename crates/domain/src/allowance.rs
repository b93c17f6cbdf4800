//! Allowances: what all sessions of a work together may leave on disk and print. What was used is
//! counted off the record, so a restart changes nothing, and whoever raises an allowance lets the
//! work go on.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::checkpoint::State;
use crate::session;

/// What a work may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// On disk: its checkpoints, its caches, and the layer of the session under way, in bytes.
    pub disk_bytes: u64,
    /// Files and folders in them.
    pub files: u64,
    /// What its agents print, in bytes.
    pub output_bytes: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            disk_bytes: 10 << 30,
            files: 2_000_000,
            output_bytes: 1 << 30,
        }
    }
}

/// What a work has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// On disk, in bytes.
    pub disk_bytes: u64,
    /// Files and folders there.
    pub files: u64,
    /// Printed, in bytes.
    pub output_bytes: u64,
}

impl Used {
    /// Returns what the record says: what its checkpoints keep, each tree once, and what its sessions
    /// printed that are over.
    #[must_use]
    pub fn of(case: &Case) -> Self {
        let mut used = Self::default();
        let mut trees = BTreeSet::new();
        for taken in case.checkpoints.values().filter_map(State::checkpoint) {
            if trees.insert(taken.tree.digest) {
                used = used.and(taken.bytes, taken.files);
            }
        }
        let ends = case.sessions.values().filter_map(session::State::end);
        used.output_bytes = ends.fold(0, |sum, it| sum.saturating_add(it.output_bytes));
        used
    }

    /// Returns the same with more on disk.
    #[must_use]
    pub const fn and(self, bytes: u64, files: u64) -> Self {
        Self {
            disk_bytes: self.disk_bytes.saturating_add(bytes),
            files: self.files.saturating_add(files),
            ..self
        }
    }

    /// Returns what is left of an allowance.
    #[must_use]
    pub const fn left(&self, of: &Allowance) -> Allowance {
        Allowance {
            disk_bytes: of.disk_bytes.saturating_sub(self.disk_bytes),
            files: of.files.saturating_sub(self.files),
            output_bytes: of.output_bytes.saturating_sub(self.output_bytes),
        }
    }

    /// Returns what is used up, in a sentence that names what to raise; nothing when all is within.
    #[must_use]
    pub fn over(&self, of: &Allowance) -> Option<String> {
        let mut told = Vec::new();
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        if self.disk_bytes >= of.disk_bytes {
            told.push(format!(
                "{} MiB of disk were written by the work, {} MiB are allowed (`work_disk_mib`)",
                mib(self.disk_bytes),
                mib(of.disk_bytes)
            ));
        }
        if self.files >= of.files {
            told.push(format!(
                "{} files were written by the work, {} are allowed (`work_files`)",
                self.files, of.files
            ));
        }
        if self.output_bytes >= of.output_bytes {
            told.push(format!(
                "{} MiB were printed by its agents, {} MiB are allowed (`work_output_mib`)",
                mib(self.output_bytes),
                mib(of.output_bytes)
            ));
        }
        (!told.is_empty()).then(|| told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn each_thing_that_is_used_up_is_named_with_what_to_raise() {
        let of = Allowance {
            disk_bytes: 10 << 20,
            files: 5,
            output_bytes: 3 << 20,
        };
        let used = Used::default();
        assert_eq!(used.over(&of), None);
        let used = used.and(10 << 20, 4);
        let told = used.over(&of).unwrap();
        assert!(told.contains("`work_disk_mib`") && !told.contains("`work_files`"));
        let left = used.left(&of);
        assert_eq!(
            vec![left.disk_bytes, left.files, left.output_bytes],
            vec![0, 1, 3 << 20]
        );
        let used = Used {
            output_bytes: 4 << 20,
            ..used.and(u64::MAX, u64::MAX)
        };
        assert_eq!(used.left(&of).disk_bytes, 0);
        let told = used.over(&of).unwrap();
        assert!(told.contains("4 MiB were printed"), "{told}");
        assert!(told.contains("`work_files`"), "{told}");
    }
}
