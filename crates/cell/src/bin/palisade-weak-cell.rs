//! A launcher that leaves out the walls its argument names, for the negative controls of tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    palisade_cell::launcher::main_weak()
}
