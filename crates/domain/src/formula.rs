//! Formulas, roles and gates: data read from the trusted base or the shipped defaults, pinned by
//! digest in every run. What is wrong with one is found here; where it stands in a file, outside.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Millis;

pub mod judge;

pub use judge::Judge;

/// The most steps of a formula.
pub const STEPS_MAX: usize = 64;

/// How far a step may reach. Each lane includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// The workspace is mounted read-only.
    ReadOnly,
    /// Writes land in the sealed workspace; nothing leaves.
    DryRun,
    /// Named actions, with a permit.
    Execute,
}

/// A declared way of working: steps that form a checked graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formula {
    /// Its name, such as `work-cycle`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The steps, in order of preference.
    pub steps: Vec<Step>,
}

/// One step of a formula.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name within the formula.
    pub id: String,
    /// Steps that must have passed before.
    pub needs: Vec<String>,
    /// What is done.
    pub kind: Kind,
    /// The step to which the work is sent back when this one does not pass; none ends the run.
    pub on_fail: Option<String>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// An agent works in a cell.
    Session {
        /// Which role it plays.
        role: String,
        /// How far it may reach.
        lane: Lane,
        /// What it is asked to do, in the formula's words.
        prompt: String,
        /// What must hold at its end, beyond an accepted proposal.
        accept: Vec<Check>,
        /// How often it is started anew after a session that ended badly.
        attempts: u32,
        /// How long one session may last.
        wall: Millis,
    },
    /// A language model is asked once, for an answer of a declared form.
    Judge(Judge),
    /// Deterministic checks on the proposal.
    Gate {
        /// Names in `gates.toml`; empty means all of them.
        gates: Vec<String>,
    },
    /// The operator decides.
    Decision,
    /// An approved effect.
    Action {
        /// Which one.
        action: Action,
    },
}

/// What must hold at the end of a session, checked by code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The session changed at least one file, in this or an earlier round.
    HasChanges,
    /// No finding is open.
    NoOpenFindings,
}

/// An effect that a formula can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Lands the approved change on the target branch.
    Promote,
}

/// What an agent in this role may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a line of a role file, and they are independent"
)]
pub struct Role {
    /// Its name, such as `builder`.
    pub name: String,
    /// What it is for, told to the agent.
    pub description: String,
    /// The furthest lane it may be used in.
    pub lane: Lane,
    /// Globs of paths it may write; empty means none.
    pub write: Vec<String>,
    /// Globs it may not write although `write` matches.
    pub deny: Vec<String>,
    /// Whether it may set executable bits.
    pub may_set_executable: bool,
    /// Whether it may report findings.
    pub may_report_findings: bool,
    /// Programs it finds by name; empty leaves all that the machine offers, unless the plan names
    /// some.
    pub tools: Vec<String>,
    /// Whether it writes documentation only: what can be built or run is turned away by content.
    pub documents_only: bool,
    /// Whether it may neither delete nor skip a test.
    pub guards_tests: bool,
    /// The class of models it is given; none leaves the class `default`, or its agent's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether it may reach the package registries that the operator has listed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub may_fetch_packages: bool,
    /// Names of the executor's actions that it may propose; a human decides on each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_propose: Vec<String>,
}

/// A deterministic check: a command run in a fresh cell on the proposal's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// The command: a program and its arguments, never a shell string.
    pub argv: Vec<String>,
    /// How long it may take.
    pub wall: Millis,
    /// Where the runner leaves its JUnit XML, relative to the tree; none reads the output.
    pub junit: Option<String>,
    /// How many tests must at least be executed; a gate that runs no tests sets it to zero openly.
    pub tests_min: u32,
}

impl Gate {
    /// Returns the file of the tree that the command is, as far as its words tell: a program with a
    /// relative path, or the script that a shell or an interpreter is given.
    #[must_use]
    pub fn script(&self) -> Option<&str> {
        const INTERPRETERS: [&str; 9] = [
            "sh", "bash", "dash", "zsh", "ksh", "python", "python3", "perl", "ruby",
        ];
        let program = self.argv.first()?.as_str();
        let name = program.rsplit('/').next().unwrap_or(program);
        let script = if INTERPRETERS.contains(&name) {
            self.argv.get(1).map(String::as_str)?
        } else if program.contains('/') {
            program
        } else {
            return None;
        };
        let script = script.strip_prefix("./").unwrap_or(script);
        (!script.is_empty() && !script.starts_with(['/', '-'])).then_some(script)
    }
}

/// Something wrong with a formula, role or gate: which item, which field, and what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The index of the step or gate; none for the whole.
    pub item: Option<usize>,
    /// The field.
    pub field: &'static str,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Formula {
    /// Returns the step with this name.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|it| it.id == id)
    }

    /// Returns the names of all steps that lean on `id`, directly or not, and `id` itself.
    #[must_use]
    pub fn downstream(&self, id: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([String::from(id)]);
        loop {
            let before = found.len();
            for step in &self.steps {
                if step.needs.iter().any(|it| found.contains(it)) {
                    found.insert(step.id.clone());
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Returns everything that is wrong with the formula; `roles` and `gates` are those at hand.
    #[must_use]
    pub fn faults(&self, roles: &[Role], gates: &[Gate]) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            let message = format!("a formula has 1 to {STEPS_MAX} steps");
            faults.push(Fault {
                item: None,
                field: "step",
                message,
            });
        }
        for (index, step) in self.steps.iter().enumerate() {
            let mut fault = |field, message| {
                faults.push(Fault {
                    item: Some(index),
                    field,
                    message,
                });
            };
            if !is_name(&step.id) {
                fault(
                    "id",
                    format!(
                        "`{}` is not a name: lower-case letters, digits, `-`",
                        step.id
                    ),
                );
            }
            if self.steps[..index].iter().any(|it| it.id == step.id) {
                fault("id", format!("`{}` names an earlier step already", step.id));
            }
            for need in &step.needs {
                if self.step(need).is_none() {
                    fault("needs", format!("there is no step `{need}`"));
                } else if self.downstream(&step.id).contains(need) {
                    fault(
                        "needs",
                        format!("`{need}` leans on `{}` itself: a circle", step.id),
                    );
                }
            }
            if let Some(to) = &step.on_fail {
                self.on_fail_faults(step, to, &mut fault);
            }
            kind_faults(step, roles, gates, &mut fault);
        }
        self.decision_faults(&mut faults);
        faults
    }

    fn on_fail_faults(&self, step: &Step, to: &str, fault: &mut impl FnMut(&'static str, String)) {
        match self.step(to) {
            None => fault("on_fail", format!("there is no step `{to}`")),
            Some(target) if !matches!(target.kind, Kind::Session { .. }) => {
                fault(
                    "on_fail",
                    format!("`{to}` is not a session, so nobody could mend anything"),
                );
            }
            Some(_) if !self.downstream(to).contains(&step.id) => {
                fault(
                    "on_fail",
                    format!("`{to}` does not come before `{}`", step.id),
                );
            }
            Some(_) => {}
        }
    }

    /// An action without a decision before it would be a promotion nobody approved; a decision
    /// without the word of every gate would be one about nothing.
    fn decision_faults(&self, faults: &mut Vec<Fault>) {
        for (index, step) in self.steps.iter().enumerate() {
            let decided = self.steps.iter().any(|it| {
                it.kind == Kind::Decision
                    && step.id != it.id
                    && self.downstream(&it.id).contains(&step.id)
            });
            if matches!(step.kind, Kind::Action { .. }) && !decided {
                let message = format!("no decision comes before the action `{}`", step.id);
                faults.push(Fault {
                    item: Some(index),
                    field: "needs",
                    message,
                });
            }
            // Every gate of the formula is required, so a decision before it could only be blocked.
            let early = self.steps.iter().filter(|it| {
                matches!(it.kind, Kind::Gate { .. }) && !self.downstream(&it.id).contains(&step.id)
            });
            for gate in early.filter(|_| step.kind == Kind::Decision) {
                let message = format!("the decision does not wait for the gate step `{}`", gate.id);
                faults.push(Fault {
                    item: Some(index),
                    field: "needs",
                    message,
                });
            }
        }
    }
}

fn kind_faults(
    step: &Step,
    roles: &[Role],
    gates: &[Gate],
    fault: &mut impl FnMut(&'static str, String),
) {
    match &step.kind {
        Kind::Session {
            role,
            lane,
            attempts,
            wall,
            ..
        } => {
            match roles.iter().find(|it| it.name == *role) {
                None => fault("role", format!("there is no role `{role}`")),
                Some(known) if known.lane < *lane => {
                    fault(
                        "lane",
                        format!("role `{role}` may not be used in this lane"),
                    );
                }
                Some(_) => {}
            }
            if *lane == Lane::Execute {
                fault(
                    "lane",
                    "a session never has the lane `execute`; use an action".into(),
                );
            }
            if *attempts == 0 {
                fault("attempts", "at least 1".into());
            }
            if wall.0 == 0 {
                fault("wall", "more than nothing".into());
            }
        }
        Kind::Judge(judge) => judge.faults(fault),
        Kind::Gate { gates: wanted } => {
            for name in wanted {
                if !gates.iter().any(|it| it.name == *name) {
                    fault("gates", format!("there is no gate `{name}` in gates.toml"));
                }
            }
        }
        Kind::Decision | Kind::Action { .. } => {}
    }
}

impl Role {
    /// Returns everything that is wrong with the role.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |field, message| {
            faults.push(Fault {
                item: None,
                field,
                message,
            });
        };
        if !is_name(&self.name) {
            fault(
                "name",
                format!(
                    "`{}` is not a name: lower-case letters, digits, `-`",
                    self.name
                ),
            );
        }
        if let Some(message) = programs_fault(&self.tools) {
            fault("tools", message);
        }
        if let Some(class) = self.model.as_ref().filter(|it| !is_name(it)) {
            let told = format!("`{class}` is no class of models: lower-case letters, digits, `-`");
            fault("model", told);
        }
        if self.lane == Lane::ReadOnly && !self.write.is_empty() {
            fault(
                "write",
                "a role in the lane `read_only` writes nothing".into(),
            );
        }
        if self.lane == Lane::Execute {
            fault(
                "lane",
                "no role has the lane `execute`: agents propose, the executor acts".into(),
            );
        }
        faults
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_false(it: &bool) -> bool {
    !*it
}

/// Returns everything that is wrong with a list of gates.
#[must_use]
pub fn gate_faults(gates: &[Gate]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, gate) in gates.iter().enumerate() {
        let mut fault = |field, message| {
            faults.push(Fault {
                item: Some(index),
                field,
                message,
            });
        };
        if !is_name(&gate.name) {
            fault(
                "name",
                format!(
                    "`{}` is not a name: lower-case letters, digits, `-`",
                    gate.name
                ),
            );
        }
        if gates[..index].iter().any(|it| it.name == gate.name) {
            fault(
                "name",
                format!("`{}` names an earlier gate already", gate.name),
            );
        }
        if gate.argv.first().is_none_or(String::is_empty) {
            fault("argv", "names no program".into());
        }
        if gate.wall.0 == 0 {
            fault("wall", "more than nothing".into());
        }
    }
    faults
}

/// The most programs that a plan or a role may name.
pub const PROGRAMS_MAX: usize = 256;

/// Says what is wrong with a list of programs by name, if anything is: each is the name of a file,
/// without a folder.
#[must_use]
pub fn programs_fault(names: &[String]) -> Option<String> {
    if names.len() > PROGRAMS_MAX {
        return Some(format!("at most {PROGRAMS_MAX} programs can be named"));
    }
    names.iter().find_map(|it| program_fault(it))
}

/// Says what is wrong with the name of a program, if anything is.
#[must_use]
pub fn program_fault(name: &str) -> Option<String> {
    let shown = name.escape_debug();
    if name.is_empty() {
        Some("the name of a program is empty".into())
    } else if name.contains('/') {
        Some(format!(
            "`{shown}` is a path; name the program alone, and add its folder to `path` in \
             palisade.toml"
        ))
    } else if matches!(name, "." | "..") || name.len() > 255 {
        Some(format!("`{shown}` is not the name of a file"))
    } else if name.chars().any(|it| it.is_control() || it.is_whitespace()) {
        Some(format!(
            "`{shown}` is not the name of one program; arguments are the agent's to give"
        ))
    } else {
        None
    }
}

/// Returns whether `text` is a name: 1 to 64 of `a-z`, `0-9`, `-` and `_`, a letter first.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let rest = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=64).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && text.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn role(name: &str, lane: Lane) -> Role {
        Role {
            name: name.into(),
            description: String::new(),
            lane,
            write: vec![],
            deny: vec![],
            may_set_executable: false,
            may_report_findings: false,
            tools: vec![],
            documents_only: false,
            guards_tests: false,
            model: None,
            may_fetch_packages: false,
            may_propose: Vec::new(),
        }
    }

    fn session(id: &str, needs: &[&str]) -> Step {
        let kind = Kind::Session {
            role: "builder".into(),
            lane: Lane::DryRun,
            prompt: String::new(),
            accept: vec![],
            attempts: 1,
            wall: Millis(1),
        };
        step(id, needs, kind)
    }

    fn step(id: &str, needs: &[&str], kind: Kind) -> Step {
        let needs = needs.iter().map(|it| String::from(*it)).collect();
        Step {
            id: id.into(),
            needs,
            kind,
            on_fail: None,
        }
    }

    fn faults(steps: Vec<Step>) -> Vec<String> {
        let formula = Formula {
            name: "f".into(),
            description: String::new(),
            steps,
        };
        let faults = formula.faults(&[role("builder", Lane::DryRun)], &[]);
        faults.into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn the_script_of_a_gate_is_found_in_its_command() {
        let script = |argv: &[&str]| {
            let gate = Gate {
                name: "unit".into(),
                argv: argv.iter().map(|it| (*it).into()).collect(),
                wall: Millis(1),
                junit: None,
                tests_min: 1,
            };
            gate.script().map(String::from)
        };
        for argv in [
            &["./ci/check.sh", "fast"][..],
            &["ci/check.sh"],
            &["sh", "ci/check.sh", "fast"],
            &["/usr/bin/python3", "./ci/check.sh"],
        ] {
            assert_eq!(script(argv).as_deref(), Some("ci/check.sh"), "{argv:?}");
        }
        for argv in [
            &["cargo", "test"][..],
            &["/usr/bin/make", "check"],
            &["python3", "-m", "pytest"],
            &["sh", "-c", "true"],
            &["bash"],
        ] {
            assert_eq!(script(argv), None, "{argv:?}");
        }
    }

    #[test]
    fn a_circle_is_found_from_each_of_its_steps() {
        let found = faults(vec![session("a", &["b"]), session("b", &["a"])]);
        assert_eq!(
            found,
            [
                "`b` leans on `a` itself: a circle",
                "`a` leans on `b` itself: a circle"
            ]
        );
    }

    #[test]
    fn an_action_without_a_decision_is_refused() {
        let action = step(
            "land",
            &["a"],
            Kind::Action {
                action: Action::Promote,
            },
        );
        let found = faults(vec![session("a", &[]), action]);
        assert_eq!(found, ["no decision comes before the action `land`"]);
    }

    #[test]
    fn a_decision_that_does_not_wait_for_every_gate_is_refused() {
        let check = || step("check", &["a"], Kind::Gate { gates: vec![] });
        let early = step("decide", &["a"], Kind::Decision);
        assert_eq!(
            faults(vec![session("a", &[]), check(), early]),
            ["the decision does not wait for the gate step `check`"]
        );
        let late = step("decide", &["check"], Kind::Decision);
        assert_eq!(faults(vec![session("a", &[]), check(), late]), [""; 0]);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut second = session("a", &["nowhere"]);
        second.on_fail = Some("gone".into());
        let gate = step(
            "g",
            &[],
            Kind::Gate {
                gates: vec!["unit".into()],
            },
        );
        let found = faults(vec![session("a", &[]), second, gate]);
        assert_eq!(
            found,
            [
                "`a` names an earlier step already",
                "there is no step `nowhere`",
                "there is no step `gone`",
                "there is no gate `unit` in gates.toml"
            ]
        );
    }

    #[test]
    fn sending_back_goes_to_an_earlier_session() {
        let mut last = session("b", &["a"]);
        last.on_fail = Some("a".into());
        assert_eq!(faults(vec![session("a", &[]), last]), [""; 0]);
        let mut first = session("a", &[]);
        first.on_fail = Some("b".into());
        assert_eq!(
            faults(vec![first, session("b", &["a"])]),
            ["`b` does not come before `a`"]
        );
    }

    #[test]
    fn a_read_only_role_that_writes_is_refused() {
        let role = Role {
            write: vec!["**".into()],
            ..role("reviewer", Lane::ReadOnly)
        };
        assert_eq!(role.faults().len(), 1);
    }

    #[test]
    fn programs_are_named_without_folders_and_arguments() {
        let named = |it: &str| programs_fault(&[it.into()]);
        for name in ["cargo", "g++", "python3.12", "[", "a..b"] {
            assert_eq!(named(name), None, "{name}");
        }
        for name in ["", "./x", "/bin/sh", "..", "cargo test", "a\0", "a\n"] {
            assert!(named(name).is_some(), "{name}");
        }
        assert!(named(&"x".repeat(256)).is_some());
        assert!(programs_fault(&vec![String::from("x"); PROGRAMS_MAX + 1]).is_some());
        let mut role = role("builder", Lane::DryRun);
        role.tools.push("bin/x".into());
        assert_eq!(role.faults()[0].field, "tools");
    }
}
