//! Actions by the built programs: what an agent has made is published and deployed by the executor,
//! when the operator has signed for it, once, with a receipt.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use engine::world::digest_of;
use serde_json::Value;

use crate::house::{GOOD, House, Said};

/// What deploys here. Where there is a gate it waits for a word through it.
const DEPLOY: &str = r#"#!/bin/sh
[ -p "$TARGET/gate" ] && read word < "$TARGET/gate"
echo run >> "$TARGET/runs"
cp "$ARTIFACT" "$TARGET/app"
echo "$VERSION" > "$TARGET/released"
"#;

/// What tests here.
const SUITE: &str = r#"#!/bin/sh
echo '<t><testcase name="a"/><testcase name="b"/></t>' > /out/report.xml
"#;

/// A house whose change has landed, with an executor and an operator who has a key.
struct Scene {
    house: House,
    executor: Option<Running>,
}

struct Running {
    child: Child,
    _lines: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn private(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn value(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

/// Returns the one action of a list of one.
fn only(said: &Said) -> Value {
    let all = value(said);
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{said:?}");
    all[0].clone()
}

impl Scene {
    fn new() -> Self {
        let house = House::with(GOOD);
        let mut scene = Self {
            house,
            executor: None,
        };
        let said = scene.house.take("spec");
        assert_eq!(said.code, 4, "{said:?}");
        let said = scene.house.approve(&[]);
        assert_eq!(said.code, 0, "{said:?}");
        scene.house.put("deploy", DEPLOY);
        scene.house.put("suite", SUITE);
        scene.house.put("revoked", "# identifiers, one a line\n");
        for program in ["deploy", "suite"] {
            private(&scene.house.path(program), 0o755);
        }
        for folder in ["artifacts", "staging", "state"] {
            fs::create_dir(scene.house.path(folder)).unwrap();
        }
        private(&scene.house.path("state"), 0o700);
        let forge = scene.house.path("forge.git");
        scene
            .house
            .git(&["init", "-q", "--bare", forge.to_str().unwrap()]);
        let socket = scene.socket();
        scene.house.put(
            "repo/palisade.toml",
            &format!("[executor]\nsocket = \"{}\"\n", socket.display()),
        );
        let row = value(&scene.house.run(&["keys", "init", "--json"]));
        let row = row["row"].as_str().unwrap().to_owned();
        scene.house.put("executor.toml", &scene.config(&row));
        private(&scene.house.path("executor.toml"), 0o644);
        scene.start();
        scene
    }

    fn socket(&self) -> PathBuf {
        self.house.path("executor.sock")
    }

    fn config(&self, keys: &str) -> String {
        let at = |path: &str| self.house.path(path).canonicalize().unwrap();
        let git = ["/usr/local/bin/git", "/usr/bin/git", "/bin/git"];
        let git = git.into_iter().map(Path::new).find(|it| it.is_file());
        let git = git.unwrap().canonicalize().unwrap();
        let program = |name: &str, path: &Path| {
            let digest = digest_of(&fs::read(path).unwrap());
            let path = path.display();
            format!("[programs.{name}]\npath = \"{path}\"\ndigest = \"{digest}\"\n")
        };
        format!(
            "target = \"staging\"\nstate = {state:?}\nrevoked = {revoked:?}\n\
             [[peers]]\nprincipal = \"service:engine\"\nuid = {uid}\n{keys}\n{programs}\
             [actions.deploy_staging]\nprogram = \"deploy\"\narguments = []\nsecrets = {{}}\n\
             artifacts = {artifacts:?}\nfolder = {staging:?}\nreleased = \"released\"\n\
             url_id = \"staging-web\"\n\
             [actions.publish_change]\nprogram = \"git\"\nsource = {source:?}\n\
             namespace = \"agents/palisade\"\nremotes = {{ forge = {forge:?} }}\n\
             [actions.run_tests.suites.smoke]\nprogram = \"suite\"\narguments = []\n\
             folder = {staging:?}\nsecrets = {{}}\n",
            state = at("state"),
            revoked = at("revoked"),
            uid = rustix::process::geteuid().as_raw(),
            programs = [
                program("deploy", &at("deploy")),
                program("suite", &at("suite")),
                program("git", &git),
            ]
            .concat(),
            artifacts = at("artifacts"),
            staging = at("staging"),
            source = at("repo/.git"),
            forge = at("forge.git"),
        )
    }

    fn start(&mut self) {
        let program = Path::new(env!("CARGO_BIN_EXE_palisade")).with_file_name("palisade-executor");
        let built = "build the executor first: cargo build -p palisade-executor";
        assert!(program.is_file(), "{built}");
        let mut child = Command::new(program)
            .args(["serve", "--config"])
            .arg(self.house.path("executor.toml"))
            .arg("--socket")
            .arg(self.socket())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        lines.read_line(&mut ready).unwrap();
        if !ready.starts_with("ready") {
            let mut told = String::new();
            let error = child.stderr.as_mut().unwrap();
            error.read_to_string(&mut told).unwrap();
            panic!("it did not start: {told}");
        }
        self.executor = Some(Running {
            child,
            _lines: lines,
        });
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.house.run(arguments)
    }

    fn publish(&self) -> Said {
        self.run(&[
            "actions",
            "propose",
            "publish_change",
            "--json",
            "--work",
            "spec",
            "--why",
            "it has landed",
            "--set",
            "remote=forge",
            "--set",
            "branch=bye",
            "--set",
            "commit=@landed",
        ])
    }

    fn deploy(&self, text: &str) -> String {
        let artifact = digest_of(text.as_bytes());
        let name = artifact.to_string().replace("b3:", "");
        self.house.put(&format!("artifacts/{name}"), text);
        let artifact = format!("artifact={artifact}");
        let said = self.run(&[
            "actions",
            "propose",
            "deploy_staging",
            "--json",
            "--work",
            "spec",
            "--why",
            "to be looked at",
            "--set",
            &artifact,
        ]);
        only(&said)["id"].as_str().unwrap().to_owned()
    }

    fn runs(&self) -> usize {
        let runs = fs::read_to_string(self.house.path("staging/runs"));
        runs.map_or(0, |it| it.lines().count())
    }
}

#[test]
fn what_has_landed_is_published_once_when_the_operator_has_signed_for_it() {
    let scene = Scene::new();
    let said = scene.publish();
    assert_eq!(said.code, 4, "{said:?}");
    let proposed = only(&said);
    let id = proposed["id"].as_str().unwrap();
    assert_eq!(proposed["state"], "proposed");
    let author = proposed["authors"][0].as_str().unwrap();
    assert!(author.starts_with("agent:scripted:"), "{author}");
    let commit = proposed["arguments"]["commit"].as_str().unwrap();
    // It waits where everything waits that the operator decides on.
    for place in ["queue", "status", "decide"] {
        let said = scene.run(&[place]);
        let told = format!("{}{}", said.out, said.err);
        assert!(told.contains("publish_change"), "{place}: {said:?}");
    }
    let waiting = value(&scene.run(&["decide", "--json"]));
    assert_eq!(waiting[0]["action"]["id"], id);
    let said = scene.run(&["actions", "approve", id, "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let done = only(&said);
    assert_eq!(done["state"], "succeeded", "{done}");
    assert_eq!(
        done["receipt_text"]["summary"]["branch"],
        "agents/palisade/bye"
    );
    assert_eq!(done["approval"]["requester"], "service:engine");
    let forge = scene.house.path("forge.git");
    let forge = format!("--git-dir={}", forge.display());
    let held = scene
        .house
        .git(&[&forge, "rev-parse", "refs/heads/agents/palisade/bye"]);
    assert_eq!(held.trim(), commit);
    let again = scene.run(&["actions", "approve", id]);
    assert_eq!(again.code, 3, "{again:?}");
    let receipts = value(&scene.run(&["actions", "receipts", "--json"]));
    assert_eq!(receipts[0]["receipt_text"], done["receipt_text"]);
    let shown = scene.run(&["actions", "show", id]);
    assert!(
        shown.out.contains("receipt") && shown.out.contains("permit_"),
        "{shown:?}"
    );
    let told = scene.run(&["timeline", "spec"]);
    assert!(told.out.contains("publish_change"), "{told:?}");
}

#[test]
fn an_executor_that_is_away_is_told_and_asked_again() {
    let mut scene = Scene::new();
    let id = scene.deploy("one");
    let said = scene.run(&["actions", "approve", &id, "--no-dispatch"]);
    assert_eq!(said.code, 4, "{said:?}");
    scene.executor = None;
    let said = scene.run(&["actions", "dispatch"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.out.contains("cannot be reached"), "{said:?}");
    let status = scene.run(&["status"]);
    assert!(status.err.contains("gave no answer"), "{status:?}");
    scene.start();
    // It is asked again when it is time, by whoever runs.
    let said = scene.run(&["actions", "dispatch", &id, "--wait", "60"]);
    let mut state = only(&scene.run(&["actions", "receipts", &id, "--json"]));
    for _ in 0..200 {
        if state["state"] == "succeeded" {
            break;
        }
        scene.run(&["actions", "dispatch", &id]);
        state = only(&scene.run(&["actions", "receipts", &id, "--json"]));
    }
    assert_eq!(state["state"], "succeeded", "{said:?}");
    assert_eq!(scene.runs(), 1);
}

#[test]
fn a_killed_palisade_repeats_the_same_request_and_gets_its_receipt() {
    let scene = Scene::new();
    let gate = scene.house.path("staging/gate");
    let made = Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    private(&gate, 0o666);
    let id = scene.deploy("one");
    let said = scene.run(&["actions", "approve", &id, "--no-dispatch"]);
    assert_eq!(said.code, 4, "{said:?}");
    let mut asking = scene.house.start(&["actions", "dispatch", &id]);
    // This opens when the program in its cell waits at the other end.
    let mut open = fs::OpenOptions::new().write(true).open(&gate).unwrap();
    asking.kill().unwrap();
    asking.wait().unwrap();
    let state = only(&scene.run(&["actions", "receipts", &id, "--json"]));
    assert_eq!(state["state"], "dispatched");
    fs::remove_file(&gate).unwrap();
    open.write_all(b"go\n").unwrap();
    drop(open);
    let said = scene.run(&["actions", "dispatch", &id]);
    assert!(said.out.contains("succeeded"), "{said:?}");
    assert_eq!(scene.runs(), 1, "it was done once");
}

#[test]
fn a_standing_grant_runs_tests_and_nothing_that_needs_a_permit() {
    let scene = Scene::new();
    let said = scene.run(&[
        "actions",
        "grant",
        "deploy_staging",
        "--uses",
        "1",
        "--within",
        "1h",
    ]);
    assert_eq!(said.code, 3, "{said:?}");
    let said = scene.run(&[
        "actions",
        "grant",
        "run_tests",
        "--uses",
        "1",
        "--within",
        "7d",
    ]);
    assert_eq!(said.code, 0, "{said:?}");
    let propose = |why: &str| {
        scene.run(&[
            "actions",
            "propose",
            "run_tests",
            "--json",
            "--set",
            "suite=smoke",
            "--why",
            why,
        ])
    };
    let done = only(&propose("to see"));
    assert_eq!(done["state"], "succeeded", "{done}");
    assert_eq!(done["receipt_text"]["summary"]["passed"], 2);
    let grants = value(&scene.run(&["actions", "grants", "--json"]));
    assert_eq!(
        (&grants[0]["used"], &grants[0]["is_over"]),
        (&1.into(), &true.into())
    );
    let waits = only(&propose("to see more"));
    assert_eq!(waits["state"], "proposed", "the grant is used up");
    // Who proposes what nobody else made is its author.
    let blocked = scene.run(&["actions", "approve", waits["id"].as_str().unwrap()]);
    assert_eq!(blocked.code, 3, "{blocked:?}");
    assert!(blocked.err.contains("author and approver"), "{blocked:?}");
}

#[test]
fn what_cannot_be_meant_is_told_and_a_no_is_final() {
    let scene = Scene::new();
    for (arguments, part) in [
        (vec!["--set", "suite=smoke; id"], "not a word"),
        (vec!["--arguments", "[]"], "JSON object"),
        (vec!["--set", "suite"], "FIELD=TEXT"),
        (vec!["--set", "suite=@landed"], "@landed"),
    ] {
        let mut all = vec!["actions", "propose", "run_tests", "--why", "to see"];
        all.extend(arguments);
        let said = scene.run(&all);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(part), "{said:?}");
    }
    let stale = scene.run(&[
        "actions",
        "propose",
        "publish_change",
        "--json",
        "--work",
        "spec",
        "--why",
        "it is wanted",
        "--set",
        "remote=forge",
        "--set",
        "branch=bye",
        "--set",
        "commit=0123456789012345678901234567890123456789",
    ]);
    let stale = only(&stale);
    assert!(
        stale["blocks"][0]
            .as_str()
            .unwrap()
            .contains("propose it anew"),
        "{stale}"
    );
    let id = stale["id"].as_str().unwrap();
    let said = scene.run(&["actions", "approve", id]);
    assert_eq!(said.code, 3, "{said:?}");
    let said = scene.run(&["actions", "deny", id, "--reason", "it is stale"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = scene.run(&["actions", "approve", id]);
    assert_eq!(said.code, 3, "{said:?}");
    let told = scene.run(&["actions", "describe"]);
    assert!(told.out.contains("run_tests (needs a grant)"), "{told:?}");
}

#[test]
fn approvals_are_given_in_the_same_sitting_as_on_proposals() {
    let scene = Scene::new();
    let id = scene.deploy("one");
    let said = scene.run(&["decide", &id, "--approve"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("succeeded"), "{said:?}");
    let id = scene.deploy("two");
    let said = scene.run(&["decide", &id, "--deny", "not today"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(scene.runs(), 1);
}

#[test]
fn a_key_is_made_rotated_and_revoked() {
    let scene = Scene::new();
    let keys = value(&scene.run(&["keys", "list", "--json"]));
    let first = keys[0]["id"].as_str().unwrap().to_owned();
    let again = scene.run(&["keys", "init"]);
    assert_eq!(again.code, 3, "{again:?}");
    let next = value(&scene.run(&["keys", "rotate", "--json"]));
    assert!(
        next["revoked_line"].as_str().unwrap().starts_with(&first),
        "{next}"
    );
    // The executor does not know the new one yet.
    let id = scene.deploy("one");
    let said = scene.run(&["actions", "approve", &id]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("key_unknown"), "{said:?}");
    let id = scene.deploy("two");
    let said = scene.run(&["actions", "approve", &id, "--key", &first]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = scene.run(&["keys", "revoke", &first, "--reason", "rotated", "--json"]);
    let line = value(&said)["revoked_line"].as_str().unwrap().to_owned();
    scene.house.put("revoked", &format!("{line}\n"));
    let id = scene.deploy("three");
    let said = scene.run(&["actions", "approve", &id, "--key", &first]);
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(scene.runs(), 1);
    // Nothing of a key is in the repository or in what the engine keeps.
    let config = scene.house.path(".config/palisade/keys");
    for entry in fs::read_dir(config).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        if let Some(seed) = kept["seed"].as_str() {
            assert!(!crate::house::holds(&scene.house.path("repo"), seed));
        }
    }
}
