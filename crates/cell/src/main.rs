//! The launcher as a program of its own, for tests and benches; `palisade` carries the same one.

use std::process::ExitCode;

fn main() -> ExitCode {
    palisade_cell::launcher::main()
}
