//! What the histories are played with: formulas, roles, gates, and the values they name.

use palisade_domain::formula::{Action, Check, Formula, Gate, Judge, Kind, Lane, Role, Step};
use palisade_domain::tree::{Commit, Tree};
use palisade_domain::{Digest, Millis};

/// The one with a session after the landing.
pub(crate) const AFTERMATH: usize = 3;

pub(crate) fn commit(number: u128) -> Commit {
    match format!("{number:040x}").parse() {
        Ok(commit) => commit,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn digest(number: u128) -> Digest {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&number.to_be_bytes());
    Digest::from_bytes(bytes)
}

/// The tree number `number` on `base`, with changes.
pub(crate) fn tree(base: &Commit, number: u128) -> Tree {
    Tree {
        base: base.clone(),
        manifest: Some(digest(number)),
        digest: digest(number),
    }
}

pub(crate) fn base() -> Tree {
    Tree {
        base: commit(1),
        manifest: None,
        digest: digest(1),
    }
}

pub(crate) fn roles() -> Vec<Role> {
    let role = |name: &str, lane, may_report_findings| Role {
        name: name.into(),
        description: String::new(),
        lane,
        write: if lane == Lane::ReadOnly {
            vec![]
        } else {
            vec!["**".into()]
        },
        deny: vec![],
        may_set_executable: false,
        may_report_findings,
        tools: vec![],
        documents_only: false,
        guards_tests: false,
        model: None,
        may_fetch_packages: false,
        may_propose: Vec::new(),
    };
    vec![
        role("builder", Lane::DryRun, false),
        role("tester", Lane::DryRun, false),
        role("reviewer", Lane::ReadOnly, true),
        role("writer", Lane::DryRun, false),
    ]
}

pub(crate) fn gates() -> Vec<Gate> {
    let gate = |name: &str| Gate {
        name: name.into(),
        argv: vec!["true".into()],
        wall: Millis(1),
        junit: None,
        tests_min: 0,
    };
    vec![gate("unit"), gate("style")]
}

fn step(id: &str, needs: &[&str], kind: Kind, on_fail: Option<&str>) -> Step {
    Step {
        id: id.into(),
        needs: needs.iter().map(|it| String::from(*it)).collect(),
        kind,
        on_fail: on_fail.map(String::from),
    }
}

fn session(role: &str, accept: Vec<Check>) -> Kind {
    let lane = if role == "reviewer" {
        Lane::ReadOnly
    } else {
        Lane::DryRun
    };
    Kind::Session {
        role: role.into(),
        lane,
        prompt: String::new(),
        accept,
        attempts: 3,
        wall: Millis(100),
    }
}

fn judge() -> Kind {
    Kind::Judge(Judge {
        model: "anthropic/claude".into(),
        prompt: "triage".into(),
        schema: String::new(),
        verdict: "pass".into(),
        passes: vec![],
        reasons: None,
        files: None,
        attempts: 2,
        tokens: 1,
        wall: Millis(100),
    })
}

fn check(gates: &[&str]) -> Kind {
    Kind::Gate {
        gates: gates.iter().map(|it| String::from(*it)).collect(),
    }
}

const PROMOTE: Kind = Kind::Action {
    action: Action::Promote,
};

/// A judge before anything is built, and one between the gates and the decision.
fn with_judges(build: Step) -> Vec<Step> {
    vec![
        step("triage", &[], judge(), None),
        Step {
            needs: vec!["triage".into()],
            ..build
        },
        step("check", &["build"], check(&[]), Some("build")),
        step("critique", &["check"], judge(), Some("build")),
        step("decide", &["critique", "check"], Kind::Decision, None),
        step("promote", &["decide"], PROMOTE, None),
    ]
}

/// Returns formula `number`; each is checked to be without fault.
pub(crate) fn formula(number: usize) -> Formula {
    let build = || {
        let kind = session("builder", vec![Check::HasChanges]);
        step("build", &[], kind, None)
    };
    let review = |needs: &[&str]| {
        let kind = session("reviewer", vec![Check::NoOpenFindings]);
        step("review", needs, kind, Some("build"))
    };
    let tester = || session("tester", vec![]);
    let writer = || session("writer", vec![]);
    let steps = match number {
        // The shipped way of working.
        0 => vec![
            build(),
            step("check-build", &["build"], check(&[]), Some("build")),
            step("test", &["check-build"], tester(), None),
            step("check-test", &["test"], check(&["unit"]), Some("build")),
            review(&["check-test"]),
            step("docs", &["review"], writer(), None),
            step("check-docs", &["docs"], check(&[]), Some("docs")),
            step("decide", &["check-docs"], Kind::Decision, None),
            step("promote", &["decide"], PROMOTE, None),
        ],
        // Two branches that are not in order, and a gate that is alone.
        1 => vec![
            step("lint", &[], check(&["style"]), None),
            step("docs", &["build"], writer(), None),
            review(&["build"]),
            build(),
            step(
                "check",
                &["docs", "review", "lint"],
                check(&[]),
                Some("build"),
            ),
            step("decide", &["check"], Kind::Decision, None),
            step("promote", &["decide"], PROMOTE, None),
        ],
        // A session after the last gate: what was checked is not what is decided on.
        2 => vec![
            build(),
            step("check", &["build"], check(&[]), Some("build")),
            review(&["build"]),
            step("docs", &["check", "review"], writer(), None),
            step("decide", &["docs"], Kind::Decision, None),
            step("promote", &["decide"], PROMOTE, None),
        ],
        // A session between decision and landing, and one after it.
        AFTERMATH => vec![
            build(),
            step("check", &["build"], check(&[]), Some("build")),
            review(&["check"]),
            step("decide", &["review"], Kind::Decision, None),
            step("polish", &["decide"], tester(), None),
            step("promote", &["polish"], PROMOTE, None),
            step("report", &["promote"], writer(), None),
        ],
        _ => with_judges(build()),
    };
    let formula = Formula {
        name: format!("formula-{number}"),
        description: String::new(),
        steps,
    };
    assert_eq!(formula.faults(&roles(), &gates()), []);
    formula
}
