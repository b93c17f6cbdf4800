//! The program: it says when it is ready, what is wrong with its settings, and ends with its input.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ports::models::Models as _;
use testkit::models::contract::grant;

fn start(folder: &Path, settings: &str) -> Child {
    let key = folder.join("key");
    std::fs::write(&key, crate::scene::KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(folder.join("broker.toml"), settings).unwrap();
    Command::new(env!("CARGO_BIN_EXE_palisade-broker"))
        .arg("--config")
        .arg(folder.join("broker.toml"))
        .arg("--run")
        .arg(folder.join("run"))
        .arg("--tapes")
        .arg(folder.join("tapes"))
        .arg("--until-input-ends")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn it_serves_until_its_input_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(
        folder.path(),
        &crate::scene::settings(1, Path::new("key"), ""),
    );
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let client = wire::Client::new(folder.path().join("run").join(wire::message::CONTROL));
    assert!(client.open(&grant(1, 1)).unwrap().exists());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(client.account(grant(1, 1).session).is_err());
}

#[test]
fn it_says_where_its_settings_are_wrong() {
    for (settings, wanted) in [
        ("[anthropic]\nmodel = 1\n", "broker.toml:2:1: "),
        (
            "[anthropic]\nmodels = [\"a\"]\nkey.environment = \"NOT_SET\"\n",
            "`NOT_SET` is not set",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start(folder.path(), settings);
        let mut told = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(told.contains(wanted), "{told}");
    }
}

/// Runs `palisade-broker keys …` with this input; returns whether it succeeded, and all that it said.
fn keys(store: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_palisade-broker"))
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
    drop(std::io::Write::write_all(
        &mut child.stdin.take().unwrap(),
        input.as_bytes(),
    ));
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_sealed_key_is_used_and_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("keys");
    let watch = secrets::Watch::of([("the key", crate::scene::KEY.as_bytes())]);
    let mut all = String::new();
    for (arguments, succeeds) in [
        (&["list"][..], true),
        (&["add", "anthropic"], true),
        (&["add", "anthropic"], false),
        (&["add", "spare"], true),
        (&["remove", "spare"], true),
        (&["remove", "spare"], false),
        (&["list"], true),
    ] {
        let (succeeded, said) = keys(&store, arguments, crate::scene::KEY);
        assert_eq!(succeeded, succeeds, "{arguments:?}: {said}");
        all.push_str(&said);
    }
    assert!(all.ends_with("anthropic: opens\n"), "{all}");
    assert_eq!(watch.look(all.as_bytes()), None);
    // What it says stands in the settings, relative to them.
    assert!(all.contains("keys/anthropic.age\"\n"), "{all}");
    let body = r#"{"usage":{"input_tokens":1,"output_tokens":1}}"#;
    let act = crate::scene::always("200 OK", "application/json", body);
    let provider = crate::scene::Provider::new(act);
    let settings = format!(
        "identity = \"keys/identity.txt\"\n[anthropic]\nupstream = \"http://127.0.0.1:{}\"\n\
         models = [\"claude-*\"]\nkey.age = \"keys/anthropic.age\"\n",
        provider.port
    );
    let mut child = start(folder.path(), &settings);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let client = wire::Client::new(folder.path().join("run").join(wire::message::CONTROL));
    let agent = crate::scene::Agent {
        socket: client.open(&grant(1, 1)).unwrap(),
    };
    let got = agent.post("/anthropic/v1/messages", r#"{"model":"claude-a"}"#);
    assert_eq!(got.status, 200);
    let key = provider.asked()[0].header("x-api-key").map(str::to_owned);
    assert_eq!(key.as_deref(), Some(crate::scene::KEY));
    drop(child.stdin.take());
    let mut told = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(told, "");
}

#[test]
fn the_settings_that_the_readme_gives_are_settings() {
    let readme = include_str!("../../../../README.md");
    let printed = readme
        .lines()
        .filter_map(|it| it.strip_prefix("printf '")?.split_once("' >> "));
    let printed: Vec<String> = printed.map(|(it, _)| it.replace("\\n", "\n")).collect();
    assert_eq!(printed.len(), 3, "{printed:?}");
    // One file may hold all of them, as it does when the lines are run one after the other.
    for text in printed.iter().chain([&printed.concat()]) {
        let none = |_: &Path| Err(std::io::Error::other("none"));
        let config = palisade_broker::Config::parse("broker.toml", text, &none);
        assert!(config.is_ok(), "{text}{config:?}");
    }
}
