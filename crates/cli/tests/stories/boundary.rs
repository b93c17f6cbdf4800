//! The boundary as the operator set it: what a plan names is what the kernel lets an agent write and
//! find, and the record says so.

use serde_json::Value;

use crate::house::House;

/// An agent whose builder runs a script, and who has nothing to add in any other role.
fn story(script: &str) -> String {
    let idle = |role: &str, step: &str| format!("[[turn]]\nrole = \"{role}\"\nsteps = [{step}]\n");
    let nothing = "{ refuse = \"already_done\", detail = \"nothing to say\" }";
    let builder = format!(
        "[[turn]]\nrole = \"builder\"\nsteps = [{{ run = [\"sh\", \"-c\", '''{script}'''] }}, \
         {{ write = \"src/bye\", text = \"bye\\n\" }}, {{ done = \"wrote src/bye\" }}]\n"
    );
    builder
        + &idle("tester", nothing)
        + &idle("reviewer", "{ done = \"fine\" }")
        + &idle("docs", nothing)
}

fn cell(house: &House, about: &str) -> Value {
    let said = house.run(&["show", about, "--cell", "--json"]);
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

#[test]
fn a_plan_of_two_folders_makes_a_third_unwritable_by_the_kernel() {
    let script = r#"
        set -e
        refused() {
            if sh -c "$1" 2>/tmp/told; then echo "went through: $1"; exit 1; fi
            grep -q "Read-only file system" /tmp/told || { cat /tmp/told; exit 1; }
        }
        refused "echo x >ci/deploy.sh"
        refused "echo x >ci/new"
        refused "rm ci/deploy.sh"
        refused "mkdir third"
        refused "echo x >README.md"
        refused "mv src/hello ci/hello"
        mkdir src/deep && echo x >src/deep/file && rm -r src/deep
        echo x >docs/made && rm docs/made
        echo x >target/output
        [ "$(cat ci/deploy.sh)" = deploy ]"#;
    let house = House::with(&story(script));
    house.put("repo/ci/deploy.sh", "deploy\n");
    house.put("repo/README.md", "a house\n");
    house.put("repo/.gitignore", "/target\n");
    house.git(&["add", "--all"]);
    house.git(&["commit", "--quiet", "--message", "a third folder"]);
    let front = "---\nallow: [src/**, docs/**]\n---\n";
    house.put("spec.md", &format!("{front}# Say goodbye\n\nWrite it.\n"));
    let said = house.take("spec");
    assert_eq!(said.code, 4, "{said:?}");
    assert!(!said.err.contains("turned away"), "{said:?}");
    let id = house.session("spec", "builder");
    let writes = &cell(&house, &id)["spec"]["workspace"]["writes"];
    let expected = serde_json::json!(["docs", "src", "target"]);
    assert_eq!(writes["writable"], expected);
    assert_eq!(house.approve(&[]).code, 0);
    let landed = house.git(&["ls-tree", "-r", "--name-only", "palisade/main"]);
    assert!(
        landed.contains("src/bye") && !landed.contains("target"),
        "{landed}"
    );
}

#[test]
fn a_plan_s_commands_are_the_programs_on_the_path() {
    let script = r#"
        [ "$PATH" = /palisade/bin:/palisade/tools ] || exit 1
        for name in sh grep palisade-agent; do command -v $name || exit 2; done
        if command -v sed; then exit 3; fi
        echo found | grep -q found"#;
    let house = House::with(&story(script));
    let front = "---\ncommands: [sh, grep]\n---\n";
    house.put("spec.md", &format!("{front}# Say goodbye\n\nWrite it.\n"));
    let said = house.take("spec");
    assert_eq!(said.code, 4, "{said:?}");
    let shown = cell(&house, "spec");
    let programs = shown["spec"]["programs"].as_object().unwrap();
    let names: Vec<_> = programs.keys().collect();
    assert_eq!(names, ["grep", "sh"]);
}

#[test]
fn a_command_that_is_nowhere_is_told_before_anything_runs() {
    let house = House::with(&story("true"));
    let front = "---\ncommands: [sh, no-such-program]\n---\n";
    house.put("spec.md", &format!("{front}# Say goodbye\n\nWrite it.\n"));
    let said = house.take("spec");
    assert_eq!(said.code, 1, "{said:?}");
    for word in ["`no-such-program` cannot be found", "/usr/bin"] {
        assert!(said.err.contains(word), "{word}: {said:?}");
    }
    house.put("bad.md", "---\nname: bad\ncommands: [./x]\n---\n# T\n");
    let said = house.take("bad");
    assert_eq!(said.code, 2, "{said:?}");
    let told = "3:12: `commands`: `./x` is a path";
    assert!(said.err.contains(told), "{said:?}");
}

#[test]
fn the_cell_of_a_session_is_on_record_and_shown() {
    let house = House::with(&story("true"));
    let settings = "[limits]\ndisk_mib = 64\n[env]\nCOLOUR = \"dark-red\"\n";
    house.put("repo/palisade.toml", settings);
    house.put("spec.md", "# Say goodbye\n\nWrite `src/bye`.\n");
    assert_eq!(house.take("spec").code, 4);
    let id = house.session("spec", "builder");
    let said = house.run(&["show", &id, "--cell"]);
    for word in [
        "write scope",
        "landlock",
        "KEPT BY",
        "64.0 MiB",
        "gate.sh",
        "/.agent",
        "/brief",
        "/palisade/bin/palisade-agent play /brief/story.toml",
        "COLOUR",
        "all that is in /palisade/bin /usr/local/bin",
        "Denied by the kernel",
    ] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    assert!(!said.out.contains("dark-red"), "names only: {}", said.out);
    let shown = cell(&house, &id);
    let digest = shown["cell"].as_str().unwrap();
    assert!(said.out.contains(digest), "{digest}: {}", said.out);
    assert_eq!(shown["spec"]["limits"]["disk_bytes"], 64 << 20);
    assert_eq!(shown["spec"]["env"]["COLOUR"], "dark-red");
    let latest = cell(&house, "latest");
    assert_eq!(latest["id"], cell(&house, "spec")["id"]);
    assert_eq!(latest["about"]["role"], "docs");
    let reviewer = house.session("spec", "reviewer");
    let said = house.run(&["show", &reviewer, "--cell"]);
    let line = said.out.lines().find(|it| it.contains("writable")).unwrap();
    assert!(line.ends_with("nothing"), "{}", said.out);
}

#[test]
fn a_session_that_outgrows_its_disk_is_ended_and_the_next_one_told() {
    let script = r#"
        grep -q "too much was written to disk" /brief/prompt.md && exit 0
        while :; do head -c 1048576 /dev/zero >>src/big; done"#;
    let house = House::with(&story(script));
    house.put("repo/palisade.toml", "[limits]\ndisk_mib = 8\n");
    let said = house.take("spec");
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("at most 8 MiB"), "{said:?}");
    let id = house.session("spec", "builder");
    assert_eq!(cell(&house, &id)["end"]["reason"]["reason"], "over_quota");
    let shown = house.run(&["show", &id, "--cell"]).out;
    let line = shown
        .lines()
        .find(|it| it.contains("files on disk"))
        .unwrap();
    assert!(!line.contains("missing"), "{shown}");
    assert_eq!(house.approve(&[]).code, 0);
    let landed = house.git(&["ls-tree", "-r", "--name-only", "palisade/main"]);
    assert!(!landed.contains("src/big"), "{landed}");
}
