//! The launcher of the suite: with every wall, or for controls without those that are named.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).as_deref() == Some("__cell".as_ref()) {
        cell::launcher::main()
    } else {
        cell::launcher::main_weak()
    }
}
