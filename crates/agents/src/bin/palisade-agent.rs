//! The client of agents as a program of its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    palisade_agents::client::main(std::env::args_os())
}
