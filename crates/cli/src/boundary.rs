//! The standing of this machine's boundary: what the attack suite found on this kernel, and what
//! the operator has accepted to be missing. Said wherever it matters.

use domain::Digest;
use domain::machine::{Downgrade, State, Trial};
use engine::views::dossier::NO_ATTACK_RECORD;
use ports::cells::{ACCEPTABLE, Wall};

use crate::again;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::terminal::{self, BAD, WARN, styled};

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the release of the kernel that runs.
pub(crate) fn kernel() -> String {
    let about = rustix::system::uname();
    about.release().to_string_lossy().into_owned()
}

/// Returns the last run of the suite, if it is about this kernel and version.
pub(crate) fn trial(machine: &State) -> Option<&Trial> {
    let kernel = kernel();
    machine
        .trial
        .as_ref()
        .filter(|it| it.is_about(&kernel, VERSION))
}

/// Returns the record that runs rely on: of this kernel and version, with everything stopped.
pub(crate) fn record(machine: &State) -> Option<Digest> {
    trial(machine).filter(|it| it.passed()).map(|it| it.record)
}

/// Returns what the operator has accepted, if it is about this kernel.
pub(crate) fn downgrade(machine: &State) -> Option<&Downgrade> {
    let kernel = kernel();
    machine.downgrade.as_ref().filter(|it| it.kernel == kernel)
}

/// Says a downgrade, on every screen for as long as it stands.
pub(crate) fn say_downgrade(machine: &State) {
    if let Some(downgrade) = downgrade(machine) {
        terminal::say(styled(&terminal::printable(&downgrade.to_string()), BAD));
    } else if let Some(other) = &machine.downgrade {
        let told = format!(
            "a downgrade was accepted for kernel {}, and does not hold for this one",
            other.kernel
        );
        terminal::say(styled(&terminal::printable(&told), WARN));
    }
}

/// Says where the walls stand with the suite: the record, or that there is none.
pub(crate) fn say_record(machine: &State) {
    match trial(machine) {
        Some(trial) if trial.passed() => terminal::say(styled(
            &format!(
                "attack record {}: {} attempts, all stopped",
                trial.record.short(),
                trial.attempts
            ),
            terminal::DIM,
        )),
        Some(trial) => terminal::say(styled(&failed(trial), BAD)),
        None => terminal::say(styled(NO_ATTACK_RECORD, WARN)),
    }
}

/// Asks for a passing record before a run. At a terminal it offers to make one now; where nobody
/// can be asked it says so and goes on, and the dossier says it again.
pub(crate) fn ask_for_record(context: &mut Context) -> Result<(), Failure> {
    let machine = context.recorder.machine()?;
    if record(&machine).is_some() {
        return Ok(());
    }
    say_record(&machine);
    if !terminal::is_interactive() {
        return Ok(());
    }
    let answer = terminal::ask("try the walls of this machine now? [Y/n]")?;
    match answer.as_deref().map(str::trim) {
        Some("" | "y" | "Y" | "yes") => {
            if again::attack(&context.place.root)? {
                context.settings.attack_record = record(&context.recorder.machine()?);
                Ok(())
            } else {
                let told = "not every attempt was stopped; nothing was run";
                Err(Failure::new(Exit::Failed, told))
            }
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns the missing walls that are required, told apart: those that can be accepted, and those
/// that cannot, with why they are missing.
pub(crate) fn missing(walls: &[Wall]) -> (Vec<String>, Vec<String>) {
    let missing = walls.iter().filter(|it| it.required && it.state.is_err());
    let (can, cannot): (Vec<_>, Vec<_>) =
        missing.partition(|it| ACCEPTABLE.contains(&it.name.as_str()));
    let told = |it: &Wall| {
        let why = it.state.as_ref().err().map_or("", String::as_str);
        format!("{}: {why}", it.name)
    };
    (
        can.into_iter().map(|it| it.name.clone()).collect(),
        cannot.into_iter().map(told).collect(),
    )
}

fn failed(trial: &Trial) -> String {
    format!(
        "{} of {} attempts of the attack suite were not stopped: palisade doctor --attack",
        trial.failed, trial.attempts
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;

    fn machine(kernel: &str, version: &str, failed: u32) -> State {
        State {
            trial: Some(Trial {
                kernel: kernel.to_string(),
                version: version.to_string(),
                record: Digest::ZERO,
                attempts: 10,
                failed,
                at: Timestamp(1),
            }),
            downgrade: Some(Downgrade {
                kernel: kernel.to_string(),
                walls: vec!["landlock".to_string()],
                by: "operator:ada".to_string(),
                reason: "old".to_string(),
                at: Timestamp(1),
            }),
        }
    }

    #[test]
    fn only_a_passing_record_of_this_kernel_and_version_counts() {
        assert_eq!(record(&State::default()), None);
        assert_eq!(record(&machine(&kernel(), VERSION, 1)), None);
        assert_eq!(record(&machine("2.6", VERSION, 0)), None);
        assert_eq!(record(&machine(&kernel(), "0", 0)), None);
        assert!(record(&machine(&kernel(), VERSION, 0)).is_some());
    }

    #[test]
    fn a_downgrade_holds_for_its_kernel_only() {
        assert!(downgrade(&machine("2.6", VERSION, 0)).is_none());
        let machine = machine(&kernel(), VERSION, 0);
        assert_eq!(
            downgrade(&machine).unwrap().to_string(),
            "DOWNGRADED: landlock missing, accepted by operator:ada: old"
        );
    }

    #[test]
    fn what_can_be_accepted_is_told_apart() {
        let wall = |name: &str, required, state: Result<&str, &str>| Wall {
            name: name.to_string(),
            required,
            state: state.map(ToString::to_string).map_err(ToString::to_string),
        };
        let (can, cannot) = missing(&[
            wall("landlock", true, Err("none")),
            wall("seccomp", true, Err("gone")),
            wall("namespaces", true, Ok("user")),
            wall("memory limit", false, Err("no cgroup")),
        ]);
        assert_eq!(can, ["landlock"]);
        assert_eq!(cannot, ["seccomp: gone"]);
    }
}
