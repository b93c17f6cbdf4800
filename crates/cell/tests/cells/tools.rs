//! The programs a cell offers by name, and the walls it may be accepted to lack.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ports::cells::{Access, Bind, CellSpec, Cells, Error};

use crate::scene::{World, cells, cells_without, finish, prints, shell};

fn offering(script: &str, programs: &[(&str, &str)]) -> CellSpec {
    let programs = programs
        .iter()
        .map(|(name, program)| ((*name).to_owned(), PathBuf::from(program)))
        .collect();
    CellSpec {
        env: BTreeMap::from([("PATH".to_owned(), "/palisade/tools".to_owned())]),
        programs: Some(programs),
        ..shell(script)
    }
}

#[test]
fn only_what_is_offered_is_found() {
    let script = "ls; cat /etc/hostname; grep x /dev/null; \
        (: >/palisade/tools/new) 2>/dev/null && echo wrote; \
        rm /palisade/tools/ls 2>/dev/null && echo removed; /usr/bin/ls /palisade/tools";
    let spec = offering(script, &[("ls", "/usr/bin/ls"), ("cat", "/bin/cat")]);
    let outcome = finish(cells().launch(&spec).unwrap());
    assert_eq!(outcome.stdout, "cell\ncat\nls\n", "{outcome:?}");
    assert!(outcome.stderr.contains("grep"), "{outcome:?}");
    let none = offering("/usr/bin/ls -A /palisade/tools", &[]);
    assert_eq!(prints(&none), "");
}

#[test]
fn a_mounted_program_is_offered_under_another_name() {
    let world = World::new();
    world.write("tool", "#!/bin/sh\necho \"tool: $1\"\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.path("tool"), executable).unwrap();
    let mut spec = offering("speak up", &[("speak", "/palisade/bin/tool")]);
    spec.binds.push(Bind {
        source: world.path("tool"),
        target: "/palisade/bin/tool".into(),
        access: Access::ReadOnly,
    });
    assert_eq!(prints(&spec), "tool: up\n");
}

#[test]
fn what_cannot_be_offered_is_refused() {
    for (name, program, why) in [
        ("ls", "/usr/bin/no-such-program", "no such program"),
        ("ls", "/etc/hostname", "no executable"),
        ("ls", "/usr/bin", "no executable"),
        ("ls", "usr/bin/ls", "absolute"),
        ("ls", "/usr/../usr/bin/ls", "absolute"),
        ("", "/usr/bin/ls", "one part"),
        ("a/b", "/usr/bin/ls", "one part"),
        ("..", "/usr/bin/ls", "one part"),
    ] {
        let error = cells()
            .launch(&offering("true", &[(name, program)]))
            .unwrap_err();
        assert!(
            matches!(&error, Error::Setup { why: told, .. } if told.contains(why)),
            "{name:?} {program}: {error}"
        );
    }
}

#[test]
fn nothing_is_mounted_where_programs_are_offered() {
    let world = World::new();
    for target in ["/palisade", "/palisade/tools", "/palisade/tools/ls"] {
        let mut spec = shell("true");
        spec.binds.push(Bind {
            source: world.path("base"),
            target: target.into(),
            access: Access::ReadOnly,
        });
        let error = cells().launch(&spec).unwrap_err();
        assert!(matches!(error, Error::Setup { .. }), "{target}: {error}");
    }
}

#[test]
fn landlock_may_be_missing_only_when_that_is_accepted() {
    let weak = cells_without("no-landlock-kernel");
    let mut spec = shell("echo runs");
    let error = weak.launch(&spec).unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported { wall, why } if wall == "landlock" && why.contains("lsm=")),
        "{error}"
    );
    spec.accepted.push("landlock".to_owned());
    let launched = weak.launch(&spec).unwrap();
    let walls = launched.cell.walls();
    let wall = walls.iter().find(|wall| wall.name == "landlock").unwrap();
    let told = wall.state.as_ref().unwrap_err();
    assert!(
        wall.required && told.starts_with("missing, accepted by the operator"),
        "{wall:?}"
    );
    assert_eq!(finish(launched).stdout, "runs\n");
    // Where it is there, accepting that it is missing changes nothing.
    let walls = cells().launch(&spec).unwrap().cell.walls();
    let wall = walls.iter().find(|wall| wall.name == "landlock").unwrap();
    assert!(wall.state.is_ok(), "{wall:?}");
}

#[test]
fn other_walls_cannot_be_accepted_to_be_missing() {
    for name in ["seccomp", "namespaces", "network", "", "Landlock"] {
        let mut spec = shell("true");
        spec.accepted.push(name.to_owned());
        let error = cells().launch(&spec).unwrap_err();
        assert!(
            matches!(&error, Error::Setup { why, .. } if why.contains("landlock")),
            "{name:?}: {error}"
        );
    }
}

#[test]
fn a_probe_tells_of_a_kernel_without_landlock() {
    let walls = cells_without("no-landlock-kernel").probe();
    let wall = walls.iter().find(|wall| wall.name == "landlock").unwrap();
    assert!(wall.required && wall.state.is_err(), "{wall:?}");
}
