//! How somebody begins: a folder of the program's own making, a key, and it serves.

use std::process::{Command, Output};

use serde_json::Value;

use crate::scene::{Scene, git};

/// Runs the program with these arguments.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_palisade-executor"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output()
        .unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_init_writes_serves_as_soon_as_a_key_is_added() {
    let scene = Scene::new();
    let at = |name: &str| scene.path(name).display().to_string();
    git(&scene.path("."), &["init", "-q", "--bare", "other.git"]);
    let (folder, publish) = (at("own"), format!("forge={}", at("forge.git")));
    let arguments = [
        "init",
        &folder,
        "--source",
        &at("source.git"),
        "--publish",
        &publish,
        "--publish",
        &format!("a.b={}", at("other.git")),
        "--deploy",
        &at("deploy"),
        "--staging",
        &at("staging"),
    ];
    let made = run(&arguments);
    assert!(made.status.success(), "{made:?}");
    let settings = scene.path("own/executor.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    // It serves nobody before somebody's approvals count.
    std::fs::copy(&settings, scene.path("executor.toml")).unwrap();
    let serve = ["serve", "--config", &at("own/executor.toml"), "--socket"];
    let early = run(&[&serve[..], &[&at("own/executor.sock")]].concat());
    assert!(complaint(&early).contains("keys"), "{early:?}");
    let key = scene.key.verifying().written();
    let row = format!("[[keys]]\nprincipal = \"operator:ada\"\nkey = \"{key}\"\n");
    std::fs::write(scene.path("executor.toml"), text + &row).unwrap();
    let running = scene.start_as_it_is();
    let told: Value = running.get("/actions").value();
    let names: Vec<_> = told["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["deploy_staging", "publish_change"]);
    // What is there stays as it is.
    assert!(complaint(&run(&arguments)).contains("is there already"));
}

#[test]
fn init_gives_no_power_by_itself() {
    let scene = Scene::new();
    let folder = scene.path("own").display().to_string();
    let forge = format!("forge={}", scene.path("forge.git").display());
    let source = scene.path("source.git").display().to_string();
    let publish = ["--source", &source, "--publish", &forge];
    for (more, why) in [
        (vec![], "can do nothing"),
        (
            vec!["--source", &source, "--publish", "forge"],
            "NAME=REPOSITORY",
        ),
        (
            vec!["--source", &source, "--publish", "../x=/"],
            "not a word",
        ),
        ([&publish[..], &publish[2..]].concat(), "said twice"),
        (
            vec!["--source", "/proc/none", "--publish", &forge],
            "/proc/none",
        ),
        (
            [&publish[..], &["--requester", "operator:ada"]].concat(),
            "no operator",
        ),
    ] {
        let refused = run(&[&["init", &folder][..], &more].concat());
        assert!(complaint(&refused).contains(why), "{more:?}: {refused:?}");
        assert!(!scene.path("own").exists(), "nothing is left of {more:?}");
    }
}

#[test]
fn an_artifact_is_kept_by_its_content() {
    let scene = Scene::new();
    let file = scene.path("artifact.tar");
    std::fs::write(&file, "bytes").unwrap();
    let artifacts = scene.path("artifacts");
    let kept = run(&[
        "artifact",
        file.to_str().unwrap(),
        "--into",
        artifacts.to_str().unwrap(),
    ]);
    let digest = String::from_utf8(kept.stdout).unwrap();
    assert_eq!(digest.trim(), crate::scene::digest(b"bytes").to_string());
    let name = digest.trim().replace("b3:", "");
    assert_eq!(std::fs::read(artifacts.join(name)).unwrap(), b"bytes");
    let absent = run(&[
        "artifact",
        "/proc/none",
        "--into",
        artifacts.to_str().unwrap(),
    ]);
    assert!(complaint(&absent).contains("/proc/none"));
    assert_eq!(std::fs::read_dir(artifacts).unwrap().count(), 1);
}
