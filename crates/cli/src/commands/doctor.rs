//! `palisade doctor`: tries everything that a session will need, and says how to mend what fails.

use std::path::Path;

use clap::Parser;
use domain::formula::Gate;
use engine::catalog::{GATES, Source};
use ports::cells::ACCEPTABLE;
use serde::Serialize;

use super::Common;
use super::init::credentials;
use crate::boundary;
use crate::config::{Config, FILE};
use crate::context::{self, Place};
use crate::exit::{Exit, Outcome};
use crate::reading;
use crate::terminal;

mod attack;
mod downgrade;
pub(crate) mod leaks;
mod machine;
mod mounts;
mod trial;

/// Less than this is little for checkouts and builds, in bytes.
const FREE_BYTES_MIN: u64 = 5 << 30;
/// The oldest git whose plumbing does all that is asked of it.
const GIT_MIN: (u64, u64) = (2, 36);
/// Words in the name of a variable that speak of a secret.
const SECRET_WORDS: [&str; 6] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "API_KEY",
    "ACCESS_KEY",
];

/// Try everything that a session needs, and say how to mend what fails
///
/// Tries the walls of this machine, git, the disk, `palisade.toml` with every mount and mask, the
/// gates, and whether the last commit holds credentials; at last it seals a small cell with all of it and looks around inside.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Let hostile agents loose in real cells, and keep the result as evidence that runs refer to.
    #[arg(long, conflicts_with_all = ["accept_downgrade", "withdraw_downgrade"])]
    attack: bool,
    /// Accept, on record, that a wall is missing on this machine: one with a second wall behind it.
    /// Every later screen says so.
    #[arg(long, value_name = "REASON", conflicts_with = "withdraw_downgrade")]
    accept_downgrade: Option<String>,
    /// Accept it no longer.
    #[arg(long)]
    withdraw_downgrade: bool,
    /// What the program has planted in itself.
    #[arg(long, hide = true, requires = "attack")]
    canary: Option<String>,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// As it should be.
    Good,
    /// Worth a look; nothing is kept from running.
    Warning,
    /// The machine lacks it.
    Missing,
    /// A file of the operator's is wrong.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is.
    pub(crate) subject: String,
    /// How it was found.
    pub(crate) state: State,
    /// Whether nothing runs without it.
    pub(crate) required: bool,
    /// What was found, and how to mend it.
    pub(crate) told: String,
}

impl Finding {
    /// Returns a finding of something that nothing depends on.
    pub(crate) fn new(subject: &str, state: State, told: impl Into<String>) -> Self {
        Self {
            subject: subject.to_string(),
            state,
            required: false,
            told: told.into(),
        }
    }

    /// Returns the same of something that nothing runs without.
    pub(crate) fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }
}

#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
    exit: u8,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    if args.attack {
        return attack::run(common, args.canary.as_deref());
    }
    if let Some(reason) = &args.accept_downgrade {
        return downgrade::accept(&common.context()?, reason);
    }
    if args.withdraw_downgrade {
        return downgrade::withdraw(&common.context()?);
    }
    let place = common.place();
    let mut findings = Vec::new();
    // A configuration that is wrong keeps the state from being opened, and is told below.
    let context = common.context().ok();
    let accepted = context
        .as_ref()
        .map_or(&[][..], |it| &it.settings.accepted_downgrades);
    match &place {
        Ok(place) => findings.extend(examine(place, accepted)?),
        Err(failure) => {
            findings.extend(walls(
                &context::sealed(&std::env::current_exe()?, None).probe(),
                accepted,
            ));
            findings.push(git());
            findings.push(
                Finding::new("repository", State::Wrong, failure.error.to_string()).required(),
            );
        }
    }
    let exit = exit(&findings);
    if common.json {
        let exit = exit.code();
        terminal::json(&Report { findings, exit })?;
    } else {
        show(&findings, exit);
    }
    if let Some(context) = &context {
        boundary::say_record(&context.recorder.machine()?);
    }
    Ok(exit)
}

fn examine(place: &Place, accepted: &[String]) -> Result<Vec<Finding>, crate::exit::Failure> {
    std::fs::create_dir_all(&place.state)?;
    let cells = context::sealed(&std::env::current_exe()?, Some(&place.state));
    let probed = cells.probe();
    let mut findings = machine::examine();
    findings.extend(walls(&probed, accepted));
    findings.push(git());
    findings.push(disk(&place.state));
    findings.push(reserve(&place.state));
    findings.push(repository(place));
    let (gates, found) = gates(&place.root);
    let config = Config::read(&place.ground());
    match config {
        Err(faults) => {
            let wrong = faults.iter().map(ToString::to_string);
            findings.extend(wrong.map(|it| Finding::new(FILE, State::Wrong, it).required()));
            findings.extend(found);
        }
        Ok(config) => {
            let overlays = context::overlays(&config, &probed);
            let settings =
                config.settings(&place.state, &place.environment.operator, vec![], overlays);
            findings.push(file(&config));
            findings.push(layers(&config, &probed));
            findings.extend(leaks::examine(place, &settings.secrets));
            findings.extend(variables(&settings));
            findings.extend(mounts::examine(&settings.mounts, &settings.masks));
            findings.extend(found);
            if findings.iter().all(|it| it.state != State::Missing) {
                findings.extend(trial::run(cells.as_ref(), &settings, overlays, &gates));
            }
        }
    }
    Ok(findings)
}

fn walls(probed: &[ports::cells::Wall], accepted: &[String]) -> Vec<Finding> {
    let finding = |wall: &ports::cells::Wall| {
        let (state, told) = match &wall.state {
            Ok(by) => (State::Good, by.clone()),
            Err(why) if accepted.contains(&wall.name) => {
                let told = format!("missing, which is accepted on record: {why}");
                (State::Warning, told)
            }
            Err(why) if wall.required => (State::Missing, missing(&wall.name, why)),
            Err(why) => (State::Warning, why.clone()),
        };
        Finding {
            subject: wall.name.clone(),
            state,
            required: wall.required,
            told,
        }
    };
    probed.iter().map(finding).collect()
}

/// Says how a missing wall can be lived with, if it can.
fn missing(wall: &str, why: &str) -> String {
    if ACCEPTABLE.contains(&wall) {
        format!("{why}; or accept it on record: palisade doctor --accept-downgrade REASON")
    } else {
        why.to_string()
    }
}

fn git() -> Finding {
    let found = context::git_version();
    let version = match &found {
        Ok(version) => version,
        Err(why) => {
            return Finding::new("git", State::Missing, format!("{why}; install git")).required();
        }
    };
    let (major, minor) = GIT_MIN;
    let mut parts = version
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|it| it.parse().ok());
    let state = match (parts.next(), parts.next()) {
        (Some(a), Some(b)) if (a, b) >= GIT_MIN => {
            return Finding::new("git", State::Good, version).required();
        }
        _ => State::Missing,
    };
    Finding::new(
        "git",
        state,
        format!("{version} is too old; {major}.{minor} or later is needed"),
    )
    .required()
}

fn disk(state: &Path) -> Finding {
    let place = state.display();
    match rustix::fs::statvfs(state) {
        Err(error) => Finding::new("disk", State::Warning, format!("{place}: {error}")),
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let told = format!("{} MiB free at {place}", free >> 20);
            if free < FREE_BYTES_MIN {
                let mend = "little for checkouts and builds; free some, or keep state elsewhere with PALISADE_STATE";
                Finding::new("disk", State::Warning, format!("{told}: {mend}"))
            } else {
                Finding::new("disk", State::Good, told)
            }
        }
    }
}

/// The reserve is made by the first run, so none is no fault of a new state.
fn reserve(state: &Path) -> Finding {
    const SUBJECT: &str = "reserve";
    let reserve = context::reserve(state);
    let (held, wanted) = (reserve.held(), reserve.wanted());
    if held >= wanted {
        let told = format!("{} MiB are held for a full disk", held >> 20);
        return Finding::new(SUBJECT, State::Good, told);
    }
    if !state.join("events.sqlite").exists() {
        return Finding::new(SUBJECT, State::Good, "made by the first run");
    }
    let told = format!(
        "{} of {} MiB are held for a full disk; the next run takes it back when there is room",
        held >> 20,
        wanted >> 20
    );
    Finding::new(SUBJECT, State::Warning, told)
}

fn repository(place: &Place) -> Finding {
    let root = place.root.display();
    match context::git(&place.root, "HEAD") {
        Ok(commit) => {
            let commit: String = commit.chars().take(12).collect();
            Finding::new("repository", State::Good, format!("{root} at {commit}"))
        }
        Err(_) => Finding::new(
            "repository",
            State::Wrong,
            format!("{root} has no commit yet; make a first one, for works to start from"),
        ),
    }
    .required()
}

fn file(config: &Config) -> Finding {
    if config.exists {
        Finding::new(FILE, State::Good, "valid")
    } else {
        Finding::new(
            FILE,
            State::Warning,
            "not there, so cells see the system only; `palisade init` writes one for review",
        )
    }
}

/// Overlays are required unless the operator has declared the fallback.
fn layers(config: &Config, probed: &[ports::cells::Wall]) -> Finding {
    let broken = probed
        .iter()
        .find(|it| it.name == context::OVERLAY)
        .and_then(|it| it.state.as_ref().err());
    match (broken, config.plain_copy) {
        (None, _) => {
            Finding::new("workspaces", State::Good, "layers over a shared base").required()
        }
        (Some(_), true) => Finding::new(
            "workspaces",
            State::Warning,
            "plain copies, as `plain_copy_fallback` declares; mounts have no writable layers",
        ),
        (Some(why), false) => Finding::new(
            "workspaces",
            State::Missing,
            format!("{why}; or declare `plain_copy_fallback = true` in {FILE}"),
        )
        .required(),
    }
}

fn variables(settings: &engine::Settings) -> Vec<Finding> {
    let speaks = |it: &&String| {
        let name = it.to_uppercase();
        SECRET_WORDS.iter().any(|word| name.contains(word))
    };
    let named = settings.env.keys().filter(speaks);
    let told = |it: &String| format!("`{it}` sounds like a secret; every agent can read it");
    named
        .map(|it| Finding::new("[env]", State::Warning, told(it)))
        .collect()
}

/// Returns the gates of the working tree, and how they were found.
fn gates(root: &Path) -> (Vec<Gate>, Vec<Finding>) {
    let text = match reading::of_repository(root, GATES) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let told =
                "not there: nothing can be promoted without a gate; `palisade init` guesses some";
            return (Vec::new(), vec![Finding::new(GATES, State::Warning, told)]);
        }
        Err(error) => {
            let told = format!("cannot be read: {error}");
            return (Vec::new(), vec![Finding::new(GATES, State::Wrong, told)]);
        }
    };
    let name = GATES.to_string();
    let (gates, faults) = engine::catalog::gates::read(&Source { name, text });
    let mut wrong: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let relative = |it: &&Gate| {
        let program = it.argv.first();
        program.is_some_and(|it| it.contains('/') && !it.starts_with('/'))
    };
    wrong.extend(gates.iter().filter(relative).map(|it| {
        let (name, program) = (&it.name, it.argv[0].trim_start_matches("./"));
        format!("gate `{name}`: write \"/workspace/{program}\" for a program of the tree")
    }));
    let found = if !wrong.is_empty() {
        let wrong = wrong.into_iter();
        wrong
            .map(|it| Finding::new(GATES, State::Wrong, it))
            .collect()
    } else if gates.is_empty() {
        let told = "names no gate: nothing can be promoted until it does";
        vec![Finding::new(GATES, State::Warning, told)]
    } else {
        let names: Vec<_> = gates.iter().map(|it| it.name.as_str()).collect();
        vec![Finding::new(GATES, State::Good, names.join(", "))]
    };
    (gates, found)
}

/// Returns the exit code: what the machine lacks weighs more than what a file says.
fn exit(findings: &[Finding]) -> Exit {
    let has = |state: State| findings.iter().any(|it| it.state == state);
    if has(State::Missing) {
        Exit::Unsupported
    } else if has(State::Wrong) {
        Exit::Usage
    } else {
        Exit::Done
    }
}

fn show(findings: &[Finding], exit: Exit) {
    let width = findings
        .iter()
        .map(|it| it.subject.chars().count())
        .max()
        .unwrap_or(0);
    for finding in findings {
        let (word, style) = match finding.state {
            State::Good => ("ok", terminal::GOOD),
            State::Warning => ("warning", terminal::WARN),
            State::Missing => ("missing", terminal::BAD),
            State::Wrong => ("wrong", terminal::BAD),
        };
        let word = terminal::styled(&format!("{word:<7}"), style);
        let need = if finding.required {
            "required"
        } else {
            "optional"
        };
        let need = terminal::styled(need, terminal::DIM);
        let told = terminal::printable(&finding.told);
        terminal::data(format_args!(
            "{word}  {:<width$}  {need}  {told}",
            finding.subject
        ));
    }
    let warnings = findings
        .iter()
        .filter(|it| it.state == State::Warning)
        .count();
    terminal::say(match exit {
        Exit::Unsupported => "this machine cannot run sessions: mend what is missing".to_string(),
        Exit::Usage => "mend what is wrong, then call `palisade doctor` again".to_string(),
        Exit::Done | Exit::Failed | Exit::Refused | Exit::InputRequired if warnings > 0 => {
            format!("sessions can run; {warnings} to look at")
        }
        Exit::Done | Exit::Failed | Exit::Refused | Exit::InputRequired => {
            "sessions can run".to_string()
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_weighs_more_than_the_files() {
        let found = |state| Finding::new("x", state, "");
        assert_eq!(
            exit(&[found(State::Good), found(State::Warning)]),
            Exit::Done
        );
        assert_eq!(
            exit(&[found(State::Wrong), found(State::Good)]),
            Exit::Usage
        );
        assert_eq!(
            exit(&[found(State::Wrong), found(State::Missing)]),
            Exit::Unsupported
        );
    }

    #[test]
    fn only_a_required_wall_is_missing() {
        let wall = |required, state: Result<&str, &str>| ports::cells::Wall {
            name: "w".to_string(),
            required,
            state: state.map(ToString::to_string).map_err(ToString::to_string),
        };
        let states: Vec<_> = walls(
            &[
                wall(true, Ok("ABI 7")),
                wall(false, Err("no cgroups")),
                wall(true, Err("none; update the kernel")),
            ],
            &[],
        )
        .into_iter()
        .map(|it| it.state)
        .collect();
        assert_eq!(states, [State::Good, State::Warning, State::Missing]);
    }

    #[test]
    fn gates_are_read_as_sessions_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let state = || gates(dir.path()).1[0].state;
        assert_eq!(state(), State::Warning);
        let write = |text: &str| {
            std::fs::create_dir_all(dir.path().join(".palisade")).unwrap();
            std::fs::write(dir.path().join(GATES), text).unwrap();
        };
        write("# none\n");
        assert_eq!(state(), State::Warning);
        write("[[gate]]\nname = \"t\"\nargv = [\"./run\"]\n");
        let (_, found) = gates(dir.path());
        assert_eq!(found[0].state, State::Wrong);
        assert!(found[0].told.contains("\"/workspace/run\""), "{found:?}");
        write("[[gate]]\nname = \"t\"\nargv = [\"true\"]\n");
        assert_eq!(state(), State::Good);
        write("[[gate]]\nname = \"T!\"\n");
        assert_eq!(state(), State::Wrong);
        assert!(gates(dir.path()).1.len() > 1, "one finding for each fault");
    }

    #[test]
    fn overlays_are_required_unless_the_fallback_is_declared() {
        let dir = tempfile::tempdir().unwrap();
        let ground = crate::config::ground::Ground {
            root: dir.path().to_path_buf(),
            git: dir.path().join(".git"),
            state: dir.path().join(".git/palisade"),
            home: None,
            own: None,
        };
        let config = |text: &str| Config::parse(text.to_string(), true, &ground).unwrap();
        let broken = [ports::cells::Wall {
            name: "overlay".to_string(),
            required: false,
            state: Err("no".to_string()),
        }];
        let state = |text: &str| layers(&config(text), &broken).state;
        assert_eq!(state(""), State::Missing);
        assert_eq!(state("plain_copy_fallback = true\n"), State::Warning);
        assert_eq!(layers(&config(""), &[]).state, State::Good);
    }
}
