//! The executor's program for tests: it says when a request has passed the stage whose name it was
//! started by, and stands still there until it is killed.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use palisade_executor::stage::{Stage, Stages};
use palisade_executor::{bridge, program};

/// Stands still at a stage.
struct Halting(String);

impl Stages for Halting {
    fn passed(&self, stage: Stage) {
        if stage.name() != self.0 {
            return;
        }
        let mut out = std::io::stdout();
        drop(writeln!(out, "{}", stage.name()).and_then(|()| out.flush()));
        loop {
            std::thread::park();
        }
    }
}

fn main() -> ExitCode {
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
    // The product has no argument for a stage: it is handed in as the name this is started by.
    let stage = std::env::args().next().unwrap_or_default();
    let stage = stage.rsplit('/').next().unwrap_or_default().to_owned();
    program::main(Arc::new(Halting(stage)), variable)
}

#[expect(clippy::disallowed_methods, reason = "as the product does")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
