//! The event log and the artifacts, kept in SQLite and on disk.
