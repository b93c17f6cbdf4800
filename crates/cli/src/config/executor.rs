//! The `[executor]` table: where the one that acts is asked.

use std::path::PathBuf;

use engine::catalog::sheet::Table;

/// Reads the table.
pub(super) fn read(table: &Table<'_>) -> Option<PathBuf> {
    let socket = PathBuf::from(table.required_text("socket"));
    table.finish();
    if socket.is_absolute() {
        return Some(socket);
    }
    table.fault(
        "socket",
        "`socket` is the absolute path of the executor's socket",
    );
    None
}
