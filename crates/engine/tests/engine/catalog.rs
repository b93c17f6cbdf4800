//! Where formulas, roles and gates come from: the trusted base, else the operator, else Palisade;
//! never an agent's tree.

use std::sync::Arc;

use domain::due::Wait;
use domain::work::Ending;
use palisade_engine::catalog::{self, SHIPPED_FORMULAS, SHIPPED_ROLES, Source};
use palisade_engine::settings::Fallback;
use ports::workspaces::Workspaces as _;
use testkit::artifacts::MemoryArtifacts;
use testkit::workspaces::MemoryWorkspaces;

use super::house::{FILES, GATES, House, good};

const SHORT: &str = r#"
name = "work-cycle"
[[step]]
id = "build"
kind = "session"
role = "builder"
lane = "dry_run"
prompt = "Build it."
[[step]]
id = "check"
kind = "gate"
needs = ["build"]
[[step]]
id = "decide"
kind = "decision"
needs = ["check"]
[[step]]
id = "promote"
kind = "action"
action = "promote"
needs = ["decide"]
"#;

fn base(files: &[(&str, &str)]) -> MemoryWorkspaces {
    MemoryWorkspaces::of(Arc::new(MemoryArtifacts::default()), files)
}

fn operators(text: &str) -> Fallback {
    Fallback {
        path: catalog::GATES.to_owned(),
        source: "operator:gates.toml".to_owned(),
        text: text.to_owned(),
    }
}

fn load(workspaces: &MemoryWorkspaces, fallbacks: &[Fallback]) -> catalog::Catalog {
    let head = workspaces.resolve("HEAD").unwrap();
    catalog::load(workspaces, &head, fallbacks, "work-cycle").unwrap()
}

#[test]
fn what_is_shipped_has_no_faults() {
    let workspaces = base(&[("README.md", "x")]);
    let head = workspaces.resolve("HEAD").unwrap();
    for (name, _) in SHIPPED_FORMULAS {
        let gates = [operators(GATES)];
        let found = catalog::load(&workspaces, &head, &gates, name).unwrap();
        assert_eq!(found.formula.name, *name);
    }
    for (name, text) in SHIPPED_ROLES {
        let text = (*text).to_owned();
        let source = Source {
            name: format!("shipped:roles/{name}"),
            text,
        };
        let (role, faults) = catalog::roles::read(&source);
        assert_eq!((role.name.as_str(), faults), (*name, vec![]));
    }
}

#[test]
fn the_base_wins_over_the_operator_and_both_over_what_is_shipped() {
    let gates = "[[gate]]\nname = \"own\"\nargv = [\"/bin/true\"]\n";
    let own = base(&[
        (".palisade/formulas/work-cycle.toml", SHORT),
        (".palisade/gates.toml", gates),
    ]);
    let found = load(&own, &[operators(GATES)]);
    assert_eq!(found.formula.steps.len(), 4);
    assert_eq!(found.gates[0].name, "own");
    let sources: Vec<_> = found.pinned.iter().map(|it| it.source.as_str()).collect();
    let expected = [
        ".palisade/formulas/work-cycle.toml",
        "shipped:roles/builder",
        "shipped:formulas/prompts/session",
        ".palisade/gates.toml",
    ];
    assert_eq!(sources, expected);

    let found = load(&base(&[("README.md", "x")]), &[operators(GATES)]);
    assert_eq!(found.formula.steps.len(), 9);
    assert_eq!(found.gates[0].name, "unit");
    assert!(
        found
            .pinned
            .iter()
            .any(|it| it.source == "operator:gates.toml")
    );
}

#[test]
fn every_fault_of_the_base_is_told_and_the_work_fails() {
    let broken = SHORT.replace("needs = [\"build\"]", "needs = [\"nothing\"]\nodd = 1");
    let mut files = FILES.to_vec();
    files.push((".palisade/formulas/work-cycle.toml", &broken));
    let house = House::of(&files).agent(super::house::AGENT, good);
    let work = house.submit("# Any\n\nThing.\n");
    house.run();
    let reason = house.reason(work);
    assert!(reason.contains("there is no step `nothing`"), "{reason}");
    assert!(reason.contains("`odd` is not known here"), "{reason}");
}

#[test]
fn an_agents_tree_is_never_the_catalog() {
    // The plan even allows it: what the agent writes becomes a proposal, and rules only once it is
    // the base.
    let mut house = House::of(FILES).agent(super::house::AGENT, |stage| {
        if stage.role() == "builder" {
            stage.write(".palisade/formulas/work-cycle.toml", SHORT);
            stage.write(
                ".palisade/gates.toml",
                "[[gate]]\nname = \"own\"\nargv = [\"/bin/true\"]\n",
            );
        }
        good(stage);
    });
    house.settings.protected.clear();
    let work = house.submit("# Take over\n\nThe catalog.\n");
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    let told = house.told(work);
    assert!(told.contains(&"review passed".to_owned()), "{told:?}");
    let case = house.case(work);
    let active = case.active().unwrap();
    assert_eq!(active.run.gates[0].name, "unit");
    house.promote(work);

    let next = house.submit("# Next\n\nOne.\n");
    house.run();
    let case = house.case(next);
    assert_eq!(
        case.active().unwrap().run.formula.steps.len(),
        4,
        "now it is the base"
    );
    assert!(!matches!(
        house.ending(next),
        Some(Ending::Completed { .. })
    ));
}
