//! Starts this program again: with canaries in its own environment and on its own command line, and
//! as the doctor that a run asks for.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::exit::Failure;

/// The variable in which a program that is about to attack itself has its canary.
const VARIABLE: &str = "PALISADE_CANARY";
/// The argument that says the same.
pub(crate) const ARGUMENT: &str = "--canary";

/// Begins this very command anew, with a canary; returns only if that fails.
pub(crate) fn with_canary(canary: &str) -> Failure {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error.into(),
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let error = Command::new(own)
        .arg0("palisade")
        .args(arguments)
        .args([ARGUMENT, canary])
        .env(VARIABLE, canary)
        .exec();
    error.into()
}

/// Runs the attack suite as a command of its own and returns whether all was stopped.
pub(crate) fn attack(repository: &Path) -> Result<bool, Failure> {
    let status = Command::new(std::env::current_exe()?)
        .arg0("palisade")
        .args(["doctor", "--attack", "--repo"])
        .arg(repository)
        .status()?;
    Ok(status.success())
}
