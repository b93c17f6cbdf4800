//! Whole drafts on machines made of temporary folders.

use super::probe::fake::Machine;
use super::*;
use crate::config::Overlays;

fn ground(machine: &Machine) -> Ground {
    let root = machine.probe.repo.clone();
    Ground {
        git: root.join(".git"),
        state: root.join(".git/palisade"),
        root,
        home: Some(machine.probe.home.clone()),
        own: None,
    }
}

fn settings(machine: &Machine) -> (String, engine::Settings) {
    let ground = ground(machine);
    let draft = draft(&machine.probe, &ground)
        .map_err(|it| it.error)
        .unwrap();
    let text = draft.files[0].text.clone();
    let config = Config::parse(text.clone(), true, &ground).unwrap();
    (
        text,
        config.settings(&ground.state, "operator:ada", vec![], Overlays::Work),
    )
}

#[test]
fn only_what_the_repository_uses_is_switched_on() {
    let mut machine = Machine::new();
    machine.repo("Cargo.toml", "");
    machine.program(".cargo/bin/cargo");
    machine.home(".cargo/registry/x", "");
    machine.system("usr/bin/node", "");
    machine.home(".npm/_cacache/x", "");
    let (text, settings) = settings(&machine);
    let targets: Vec<_> = settings
        .mounts
        .iter()
        .map(|it| it.target.to_str().unwrap())
        .collect();
    assert_eq!(
        targets,
        ["/home/agent/.cargo/bin", "/home/agent/.cargo/registry"]
    );
    assert!(
        text.contains("# target = \"/home/agent/.npm/_cacache\""),
        "{text}"
    );
    assert!(text.contains("# npm_config_offline = \"true\""), "{text}");
    assert_eq!(settings.env["CARGO_NET_OFFLINE"], "true");
    assert!(!settings.env.contains_key("npm_config_offline"));
    assert!(settings.env["PATH"].starts_with("/home/agent/.cargo/bin:"));
}

#[test]
fn what_is_commented_out_is_valid_too() {
    let mut machine = Machine::new();
    machine.program(".cargo/bin/cargo");
    machine.home(".cargo/registry/x", "");
    machine.system("usr/bin/node", "");
    machine.home(".npm/_cacache/x", "");
    machine.program(".opencode/bin/opencode");
    let (text, before) = settings(&machine);
    assert_eq!(before.mounts, []);
    let offered = ["[[mount]]", "source =", "target =", "layer ="];
    let is_setting = |it: &str| offered.iter().any(|start| it.starts_with(start));
    let switched_on: Vec<_> = text
        .lines()
        .map(|it| {
            it.strip_prefix("# ")
                .filter(|it| is_setting(it))
                .unwrap_or(it)
        })
        .collect();
    let config = Config::parse(switched_on.join("\n"), true, &ground(&machine)).unwrap();
    let state = &machine.probe.repo;
    let after = config.settings(state, "operator:ada", vec![], Overlays::Work);
    assert_eq!(after.mounts.len(), 4, "{text}");
}

#[test]
fn credentials_in_what_is_mounted_are_covered() {
    let mut machine = Machine::new();
    machine.repo("Cargo.toml", "");
    machine.program(".cargo/bin/cargo");
    machine.home(".cargo/bin/api-token.txt", "");
    let (_, settings) = settings(&machine);
    let masks: Vec<_> = settings
        .masks
        .iter()
        .map(|it| it.to_str().unwrap())
        .collect();
    assert_eq!(
        masks,
        [
            "/home/agent/.cargo/bin/api-token.txt",
            "/home/agent/.cargo/credentials",
            "/home/agent/.cargo/credentials.toml",
        ]
    );
}

#[test]
fn a_dangerous_place_is_said_and_not_shown() {
    let mut machine = Machine::new();
    machine.repo("pom.xml", "");
    machine.home("bin/java", "");
    machine.home(".ssh/id_rsa", "");
    let home = machine.probe.home.display().to_string();
    machine.probe.variables.insert("JAVA_HOME", home);
    let (text, settings) = settings(&machine);
    assert_eq!(settings.mounts, []);
    assert!(text.contains("# NOTE:"), "{text}");
    let unwrapped = text.replace("\n# ", " ");
    assert!(unwrapped.contains("whole home"), "{text}");
}

#[test]
fn an_empty_repository_gets_files_that_hold() {
    let machine = Machine::new();
    let (_, settings) = settings(&machine);
    assert_eq!(settings.mounts, []);
    assert_eq!(settings.masks, Vec::<PathBuf>::new());
}

#[test]
fn names_that_need_quoting_are_quoted() {
    let mut machine = Machine::new();
    machine.repo("go.mod", "");
    machine.home("a \"b\" \\c/pkg/x", "");
    machine.program("a \"b\" \\c/bin/go");
    let (_, settings) = settings(&machine);
    assert_eq!(
        settings.mounts[0].source,
        machine.probe.home.join("a \"b\" \\c")
    );
}

#[test]
fn nothing_is_overwritten_unless_asked() {
    let machine = Machine::new();
    let root = &machine.probe.repo;
    let file = |text: &str| File {
        path: GATES,
        text: text.to_string(),
    };
    assert!(
        write(root, &file("one"), false)
            .map_err(|it| it.error)
            .unwrap()
    );
    assert!(
        !write(root, &file("two"), false)
            .map_err(|it| it.error)
            .unwrap()
    );
    assert_eq!(std::fs::read_to_string(root.join(GATES)).unwrap(), "one");
    assert!(
        write(root, &file("two"), true)
            .map_err(|it| it.error)
            .unwrap()
    );
    assert_eq!(std::fs::read_to_string(root.join(GATES)).unwrap(), "two");
}

#[test]
fn a_link_in_the_repository_leads_nowhere() {
    let machine = Machine::new();
    let (root, home) = (&machine.probe.repo, &machine.probe.home);
    std::os::unix::fs::symlink(home.join("victim"), root.join(FILE)).unwrap();
    let file = File {
        path: FILE,
        text: "x".to_string(),
    };
    assert!(!write(root, &file, false).map_err(|it| it.error).unwrap());
    assert!(write(root, &file, true).map_err(|it| it.error).unwrap());
    assert!(!home.join("victim").exists());
    std::os::unix::fs::symlink(home, root.join(FOLDER)).unwrap();
    let file = File {
        path: GATES,
        text: "x".to_string(),
    };
    assert!(write(root, &file, true).is_err());
    assert!(!home.join("gates.toml").exists());
}
