//! What SQLite says, in the words of the port.

use std::sync::Arc;

use ports::log::Error;
use rusqlite::ErrorCode;

/// Returns the port's error for one of SQLite's.
pub(super) fn fault(doing: &str, source: rusqlite::Error) -> Error {
    shared(doing, &Arc::new(source))
}

/// Returns the port's error for one of SQLite's that several callers are told.
pub(super) fn shared(doing: &str, source: &Arc<rusqlite::Error>) -> Error {
    let doing = match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => return Error::DiskFull,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return Error::Damaged(format!("{doing}: {source}"));
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("{doing}: another process has held the log for too long; try again")
        }
        _ => doing.to_owned(),
    };
    Error::Io {
        doing,
        source: Box::new(Arc::clone(source)),
    }
}
