//! Secrets of this very machine: sealed by our own program, and in nobody else's reach.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scene::{SECRET, Scene};
use crate::sources;

/// Runs `palisade-executor keys …`; returns whether it succeeded, and all that it said.
fn keys(store: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_palisade-executor"))
        .args(["keys", "--store"])
        .arg(store)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever wants none hears nothing.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_suite_holds_with_secrets_that_our_own_program_sealed() {
    let mut scene = Scene::new();
    std::fs::remove_file(scene.path("TOKEN")).unwrap();
    let store = scene.path("keys");
    let (succeeded, said) = keys(&store, &["add", "TOKEN"], &format!("{SECRET}\n"));
    assert!(succeeded, "{said}");
    // What it says is what executor.toml wants.
    let (secret, place) = said.split_once('\n').unwrap();
    scene.secrets = format!("{secret}\n[age]\n{place}");
    sources::hold(&scene);
    // Without its identity it is closed, and nothing is served.
    std::fs::remove_file(store.join("identity.txt")).unwrap();
    let told = scene.refusal_to_start();
    assert!(told.contains("`TOKEN`") && !told.contains(SECRET), "{told}");
}

#[test]
fn the_suite_holds_with_secrets_of_the_service() {
    sources::hold(&Scene::new());
    let mut scene = Scene::new();
    std::fs::remove_file(scene.path("TOKEN")).unwrap();
    scene.secrets = "TOKEN = \"environment\"".to_owned();
    scene.env = vec![("TOKEN".to_owned(), SECRET.to_owned())];
    sources::hold(&scene);
}

#[test]
fn secrets_are_kept_told_and_removed_in_the_words_of_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("keys");
    let mut all = String::new();
    for (arguments, succeeds) in [
        (&["list"][..], true),
        (&["add", "TOKEN"], true),
        (&["add", "TOKEN"], false),
        (&["add", "../TOKEN"], false),
        (&["add", "SPARE"], true),
        (&["remove", "SPARE"], true),
        (&["remove", "SPARE"], false),
        (&["list"], true),
    ] {
        let (succeeded, said) = keys(&store, arguments, SECRET);
        assert_eq!(succeeded, succeeds, "{arguments:?}: {said}");
        all.push_str(&said);
    }
    assert!(all.ends_with("TOKEN: opens\n"), "{all}");
    assert!(!all.contains(SECRET));
    let (succeeded, said) = keys(&store, &["add", "WEAK"], "short");
    assert!(!succeeded && said.contains("12 to 16384 bytes"), "{said}");
}

#[test]
fn a_state_folder_that_others_may_enter_is_not_used_and_the_mend_is_told() {
    let scene = Scene::new();
    scene.configure();
    for mode in [0o755, 0o750, 0o711] {
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(scene.path("state"), open).unwrap();
        let told = scene.refusal_to_start();
        assert!(told.contains("chmod 700"), "{told}");
        assert!(!scene.path("state/audit.jsonl").exists());
    }
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(scene.path("state"), closed).unwrap();
    drop(scene.start());
}

#[test]
#[cfg(not(feature = "aws"))]
fn who_names_a_parameter_of_aws_is_told_how_to_build_it_in() {
    let mut scene = Scene::new();
    scene.secrets = "TOKEN = { ssm = \"/palisade/staging/deploy-token\" }".to_owned();
    scene.configure();
    assert!(scene.refusal_to_start().contains("say in [aws]"));
    scene.more = "[aws]\nregion = \"eu-central-1\"\ncredentials = \"environment\"\n\
                  roles = { execute = \"arn:aws:iam::123456789012:role/palisade-executor-execute\" }\n"
        .to_owned();
    scene.configure();
    let told = scene.refusal_to_start();
    assert!(told.contains("--features aws"), "{told}");
    assert!(!scene.path("state/audit.jsonl").exists());
}
