//! The operator's command. One program with four faces: `palisade`, the client `palisade-agent`
//! that agents call inside their cells, the launcher that seals a cell, and the hostile agent
//! `palisade-hostile` that `palisade doctor --attack` lets loose in cells.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

mod acting;
mod again;
mod boundary;
mod commands;
mod config;
mod context;
mod exit;
mod keys;
mod lock;
mod models;
mod moment;
mod naming;
mod reading;
mod table;
mod terminal;

/// The hidden argument under which the program seals a cell.
pub(crate) const CELL_ARGUMENT: &str = "__cell";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let name = Path::new(&called).file_name();
    if name == Some(OsStr::new("palisade-agent")) {
        return agents::client::main(std::env::args_os());
    }
    if name == Some(OsStr::new(attacks::hostile::NAME)) {
        return attacks::hostile::main(std::env::args_os());
    }
    if arguments.next().as_deref() == Some(OsStr::new(CELL_ARGUMENT)) {
        return cell::launcher::main();
    }
    commands::main()
}
