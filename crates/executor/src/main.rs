//! The executor's program.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use palisade_executor::stage::Unnoticed;
use palisade_executor::{bridge, program};

fn main() -> ExitCode {
    // Before anything else: the launcher of a cell has one thread and nothing open.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|it| it == program::CELL)
    {
        return cell::launcher::main();
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|it| it == bridge::BRIDGE)
    {
        return bridge::main();
    }
    program::main(Arc::new(Unnoticed), variable)
}

#[expect(
    clippy::disallowed_methods,
    reason = "secrets may be in the executor's own environment, and nowhere else is it read"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
