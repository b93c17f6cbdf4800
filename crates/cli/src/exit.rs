//! Exit codes: what a script can rely on. Shown at the end of `palisade --help`.

use std::process::ExitCode;

/// How a command ended, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for is done.
    Done = 0,
    /// Something failed: a work, a check, a port.
    Failed = 1,
    /// The command line or a file of the operator is wrong; nothing was done.
    Usage = 2,
    /// A rule said no; nothing was changed.
    Refused = 3,
    /// Works wait for the operator: answers or a decision.
    InputRequired = 4,
    /// This machine cannot seal a cell; nothing was run.
    Unsupported = 5,
}

/// Every code with its meaning, for the help.
pub(crate) const ALL: [(Exit, &str); 6] = [
    (Exit::Done, "everything asked for is done"),
    (Exit::Failed, "something failed: a work, a check, a disk"),
    (
        Exit::Usage,
        "the command line or a file is wrong; nothing was done",
    ),
    (Exit::Refused, "a rule said no; nothing was changed"),
    (
        Exit::InputRequired,
        "works wait for your answers or decision",
    ),
    (
        Exit::Unsupported,
        "this machine cannot seal a cell; nothing was run",
    ),
];

impl Exit {
    /// Returns the number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error with the exit code it leads to and, where there is one, the mend.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong, with its causes.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// Returns a failure with a code of its own.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            error: anyhow::Error::msg(message.into()),
        }
    }

    /// Returns a mistake of the operator's.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let exit = match error.downcast_ref::<engine::Error>() {
            Some(
                engine::Error::Refused(_)
                | engine::Error::Lease { .. }
                | engine::Error::Breaker { .. }
                | engine::Error::Machine(_)
                | engine::Error::Action(_)
                | engine::Error::Grant(_)
                | engine::Error::Executor(ports::executor::Error::Refused { .. }),
            ) => Exit::Refused,
            Some(
                engine::Error::Invalid(_)
                | engine::Error::Executor(ports::executor::Error::Unfit(_)),
            ) => Exit::Usage,
            Some(
                engine::Error::Log(_)
                | engine::Error::Artifacts(_)
                | engine::Error::Workspaces(_)
                | engine::Error::Unreadable { .. }
                | engine::Error::Contended(_)
                | engine::Error::Fault(_)
                | engine::Error::Incident(_)
                | engine::Error::NoRoom(_)
                | engine::Error::Executor(
                    ports::executor::Error::NotNow { .. }
                    | ports::executor::Error::Absent(_)
                    | ports::executor::Error::Silent(_),
                )
                | engine::Error::Free(_)
                | engine::Error::Io { .. },
            )
            | None => Exit::Failed,
        };
        Self { exit, error }
    }
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_found_beforehand_is_a_mistake_of_the_operators() {
        let exit = |error: engine::Error| Failure::from(error).exit;
        let text = || "why".to_string();
        assert_eq!(exit(engine::Error::Invalid(text())), Exit::Usage);
        assert_eq!(exit(engine::Error::Fault(text())), Exit::Failed);
    }
}
