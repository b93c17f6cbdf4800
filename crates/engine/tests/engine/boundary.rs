//! What a plan, a role and the operator's settings become in a session's cell, and what is kept of
//! it on record.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::agent::{EndReason, RefusalReason, Signal};
use domain::event::Event;
use domain::{WorkId, session};
use palisade_engine::views::{detail, dossier::Dossier};
use ports::artifacts::Artifacts as _;
use ports::cells::{CellSpec, Layers};

use super::house::{AGENT, FILES, House, good};

/// Patience of agents: far over what any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The cells that sessions of a work were prepared with, as they are on record.
fn recorded(house: &House, work: WorkId) -> Vec<CellSpec> {
    let events = house.events(work).into_iter();
    let digests = events.filter_map(|it| match it {
        Event::Session(_, session::Event::Prepared(it)) => it.cell,
        _ => None,
    });
    let specs = digests.map(|it| house.artifacts.get(&it).unwrap());
    specs
        .map(|it| serde_json::from_slice(&it).unwrap())
        .collect()
}

fn writable(spec: &CellSpec) -> Vec<&str> {
    let places = spec.workspace.as_ref().unwrap().writes.writable.iter();
    places.map(|it| it.to_str().unwrap()).collect()
}

#[test]
fn a_plan_of_two_folders_leaves_the_rest_read_only_for_every_role() {
    let mut files = FILES.to_vec();
    files.extend([(".gitignore", "/target\n"), ("ci/deploy.sh", "true\n")]);
    let house = House::of(&files).agent(AGENT, |stage| match stage.role() {
        "docs" => {
            stage.signal(Signal::Refuse {
                reason: RefusalReason::AlreadyDone,
                detail: "nothing to say".to_owned(),
            });
        }
        _ => good(stage),
    });
    let work = house.submit("---\nallow: [src/**, tests/**]\n---\n# T\n");
    house.run();
    let specs = recorded(&house, work);
    let [builder, tester, reviewer, docs] = &specs[..] else {
        panic!("{} sessions", specs.len());
    };
    assert_eq!(writable(builder), ["src", "target", "tests"]);
    assert!(writable(tester).contains(&"tests"), "{tester:?}");
    assert_eq!(writable(reviewer), [""; 0]);
    let layers = &reviewer.workspace.as_ref().unwrap().layers;
    assert!(matches!(layers, Layers::ReadOnly { .. }), "{layers:?}");
    // Markdown may lie anywhere in what the plan allows, and nowhere else.
    assert_eq!(writable(docs), ["src", "target", "tests"]);
    for spec in &specs {
        let writes = &spec.workspace.as_ref().unwrap().writes;
        for path in ["ci/deploy.sh", "README.md", "gate.sh", "new/folder"] {
            assert!(!writes.admit(Path::new(path)), "{path}: {writes:?}");
        }
        let at = |place: &str| {
            spec.binds
                .iter()
                .filter(|it| it.target == Path::new(place))
                .count()
        };
        assert_eq!((at("/brief"), at("/.agent")), (1, 1), "{:?}", spec.binds);
        assert_eq!(spec.argv, ["/fake/scripted"], "what runs is on record");
    }
}

#[test]
fn what_earlier_sessions_made_is_part_of_the_tree() {
    let house = House::new(|stage| {
        if stage.role() == "builder" {
            stage.write("extra/made.txt", "new\n");
        }
        good(stage);
    });
    // The docs role writes Markdown in the root; then other folders are read-only, new ones too.
    let spec = "---\nallow: [src/**, tests/**, extra/**, \"*.md\"]\n---\n# T\n";
    let work = house.submit(spec);
    house.run();
    let specs = recorded(&house, work);
    let tester = &specs[1].workspace.as_ref().unwrap().writes;
    assert!(!tester.admit(Path::new("gate.sh")), "{tester:?}");
    let docs = &specs.last().unwrap().workspace.as_ref().unwrap().writes;
    assert!(docs.admit(Path::new("extra/more.md")) && docs.admit(Path::new("new.md")));
}

#[test]
fn a_gate_and_what_is_protected_are_read_only_unless_the_plan_names_them() {
    let house = House::new(good);
    let wide = house.submit("# T\n");
    let named = house.submit("---\nprotected: [gate.sh]\n---\n# T\n");
    house.run();
    let admits = |work| {
        let specs = recorded(&house, work);
        let writes = specs[0].workspace.clone().unwrap().writes;
        (
            writes.admit(Path::new("gate.sh")),
            writes.admit(Path::new("src/lib.txt")),
        )
    };
    assert_eq!(admits(wide), (false, true));
    assert_eq!(admits(named), (true, true));
}

#[test]
fn programs_of_plan_and_role_are_all_that_is_found_by_name() {
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    let house = House::new(move |stage| {
        if stage.role() == "builder" {
            *heard.lock().unwrap() = stage.brief("prompt.md");
        }
        good(stage);
    });
    let work = house.submit("---\ncommands: [sh, env]\n---\n# T\n");
    house.run();
    for spec in recorded(&house, work) {
        let programs = spec.programs.unwrap();
        let names: Vec<_> = programs.keys().map(String::as_str).collect();
        assert_eq!(names, ["env", "sh"]);
        assert!(programs["sh"].ends_with("bin/sh"), "{programs:?}");
        assert_eq!(spec.env["PATH"], "/palisade/tools");
    }
    let prompt = told.lock().unwrap();
    assert!(
        prompt.contains("these and `palisade-agent`: env, sh."),
        "{prompt}"
    );
    let free = House::new(good);
    let work = free.submit("# T\n");
    free.run();
    let spec = recorded(&free, work).remove(0);
    assert_eq!(
        (spec.programs, spec.env["PATH"].as_str()),
        (None, "/usr/bin:/bin")
    );
}

#[test]
fn a_program_that_is_not_to_be_had_keeps_the_session_from_starting() {
    let house = House::new(good);
    let work = house.submit("---\ncommands: [sh, no-such-program]\n---\n# T\n");
    house.run();
    let reason = house.told(work).join("; ");
    for word in [
        "`no-such-program` cannot be found",
        "/usr/bin, /bin",
        "`path`",
    ] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(recorded(&house, work), [], "no cell was made");
    assert_eq!(house.workspaces.open_sessions(), [], "nothing is left open");
}

#[test]
fn accepted_downgrades_and_limits_are_those_of_the_settings() {
    let mut house = House::new(good);
    house.settings.accepted_downgrades = vec!["landlock".to_owned()];
    house.settings.cell_limits.disk_bytes = 7 << 20;
    let work = house.submit("# T\n");
    house.run();
    for spec in recorded(&house, work) {
        assert_eq!(spec.accepted, ["landlock"]);
        assert_eq!(spec.limits.disk_bytes, 7 << 20);
    }
}

fn denied(house: &House, work: WorkId) -> Vec<(String, u64)> {
    let told = |event: Event| match event {
        Event::Session(_, session::Event::AttemptDenied { what, count }) => Some((what, count)),
        _ => None,
    };
    house.events(work).into_iter().filter_map(told).collect()
}

#[test]
fn what_the_kernel_refuses_is_on_record_and_in_the_dossier() {
    let house = House::new(|stage| {
        if stage.role() == "builder" {
            stage.denied("socket(AF_VSOCK)", 3);
            // The listener is asked in between.
            stage.wait_until(PATIENCE, || true);
            stage.denied("socket(AF_VSOCK)", 1);
            stage.denied("ptrace", 1);
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    house.run();
    let told = denied(&house, work);
    let sum = |kind: &str| -> u64 {
        let same = told.iter().filter(|(what, _)| what == kind);
        same.map(|(_, count)| count).sum()
    };
    assert_eq!((sum("socket(AF_VSOCK)"), sum("ptrace")), (4, 1), "{told:?}");
    let lines = detail::read(&house.log, &house.board(), work)
        .unwrap()
        .sessions;
    let builder = lines.iter().find(|it| it.about.role == "builder").unwrap();
    let mut seen = builder.denied.clone();
    seen.sort();
    assert_eq!(
        seen,
        [("ptrace".to_owned(), 1), ("socket(AF_VSOCK)".to_owned(), 4)]
    );
    let (_, state) = house.promotion(work);
    let domain::promotion::State::Ready(proposal) = state else {
        panic!("{}", state.name());
    };
    let dossier = house.artifacts.get(&proposal.dossier).unwrap();
    let dossier: Dossier = serde_json::from_slice(&dossier).unwrap();
    let of_builder = dossier
        .sessions
        .iter()
        .find(|it| it.role == "builder")
        .unwrap();
    let expected = ["ptrace (1 times)", "socket(AF_VSOCK) (4 times)"];
    assert_eq!(of_builder.denied, expected);
}

#[test]
fn an_agent_that_keeps_trying_does_not_fill_the_log() {
    let house = House::new(|stage| {
        if stage.role() == "builder" {
            for _ in 0..500 {
                stage.denied("ptrace", 1);
                stage.wait_until(PATIENCE, || true);
            }
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    house.run();
    let told = denied(&house, work);
    assert!(told.len() <= 11, "{told:?}");
    assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 500);
}

#[test]
fn a_session_over_its_quota_ends_so_and_the_next_one_is_told() {
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&prompts);
    let house = House::new(move |stage| {
        if stage.role() == "builder" {
            let mut prompts = heard.lock().unwrap();
            prompts.push(stage.brief("prompt.md"));
            if prompts.len() == 1 {
                stage.outgrow((1 << 30) + 1, 12);
                return;
            }
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    house.run();
    let ends: Vec<_> = house
        .events(work)
        .into_iter()
        .filter_map(|it| match it {
            Event::Session(_, session::Event::Ended(end)) => Some(end.reason),
            _ => None,
        })
        .collect();
    let measured = "1025 MiB and 12 files were written, at most 1024 MiB and 500000 files may be";
    let is_told = |it: &EndReason| matches!(it, EndReason::OverQuota { detail } if detail.starts_with(measured));
    assert!(is_told(&ends[0]), "{ends:?}");
    let prompts = prompts.lock().unwrap();
    assert!(
        prompts[1].contains(measured) && prompts[1].contains("disk_mib"),
        "{}",
        prompts[1]
    );
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

#[test]
fn a_mount_is_layered_for_the_work_and_bound_where_it_has_no_layer() {
    let mut house = House::new(good);
    let (tools, cache) = (house.folder().join("tools"), house.folder().join("cache"));
    for folder in [&tools, &cache] {
        std::fs::create_dir(folder).unwrap();
    }
    let mount = |source: &PathBuf, layer: Option<&str>| palisade_engine::settings::Mount {
        source: source.clone(),
        target: source.clone(),
        layer: layer.map(str::to_owned),
    };
    house.settings.mounts = vec![mount(&tools, None), mount(&cache, Some("cache"))];
    let work = house.submit("# T\n");
    house.run();
    let specs = recorded(&house, work);
    let uppers: Vec<_> = specs.iter().map(|it| &it.layered[0].upper).collect();
    assert!(
        uppers.iter().all(|it| *it == uppers[0]),
        "sessions share it: {uppers:?}"
    );
    assert!(
        specs
            .iter()
            .all(|it| it.binds.iter().any(|bind| bind.target == tools))
    );
    assert!(specs.iter().all(|it| it.layered[0].target == cache));
}
