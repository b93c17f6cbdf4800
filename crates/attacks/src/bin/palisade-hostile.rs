//! The hostile agent as a program of its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    palisade_attacks::hostile::main(std::env::args_os())
}
