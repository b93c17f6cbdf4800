//! The `[limits]` table: what one cell and one work may use, and what may come out of them.

use engine::catalog::sheet::Table;

use super::positive;

/// The limits that are set; the others keep their defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) memory_mib: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) file_mib: Option<u64>,
    pub(super) tmp_mib: Option<u64>,
    pub(super) disk_mib: Option<u64>,
    pub(super) disk_files: Option<u64>,
    pub(super) disk_free_mib: Option<u64>,
    pub(super) memory_free_mib: Option<u64>,
    pub(super) first_word_seconds: Option<u64>,
    pub(super) idle_seconds: Option<u64>,
    pub(super) stall_minutes: Option<u64>,
    pub(super) session_minutes: Option<u64>,
    pub(super) changed_files: Option<u64>,
    pub(super) changed_mib: Option<u64>,
    pub(super) work_disk_mib: Option<u64>,
    pub(super) work_files: Option<u64>,
    pub(super) work_output_mib: Option<u64>,
}

impl Limits {
    /// Reads the table.
    pub(super) fn from(table: &Table<'_>) -> Self {
        let limits = Self {
            memory_mib: positive(table, "memory_mib"),
            processes: positive(table, "processes"),
            file_mib: positive(table, "file_mib"),
            tmp_mib: positive(table, "tmp_mib"),
            disk_mib: positive(table, "disk_mib"),
            disk_files: positive(table, "disk_files"),
            disk_free_mib: positive(table, "disk_free_mib"),
            memory_free_mib: positive(table, "memory_free_mib"),
            first_word_seconds: positive(table, "first_word_seconds"),
            idle_seconds: positive(table, "idle_seconds"),
            stall_minutes: positive(table, "stall_minutes"),
            session_minutes: positive(table, "session_minutes"),
            changed_files: positive(table, "changed_files"),
            changed_mib: positive(table, "changed_mib"),
            work_disk_mib: positive(table, "work_disk_mib"),
            work_files: positive(table, "work_files"),
            work_output_mib: positive(table, "work_output_mib"),
        };
        table.finish();
        limits
    }
}
