//! A stand-in of GitHub's API that somebody else wrote: what our own scripts believe of it, it does.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use wire::execution::{Receipt, Summary};

use crate::scene::{SECRET, Scene, answer, write};
use crate::service::closed_port;

const SEED: &str = "tokens:\n  TOKEN:\n    login: octocat\n    scopes: [repo]\ngithub:\n  users:\n    \
    - login: octocat\n  repos:\n    - owner: octocat\n      name: project\n      auto_init: true\n";

struct StandIn {
    child: Child,
    port: u16,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("forge/node_modules")
}

fn start(scene: &Scene) -> StandIn {
    let port = closed_port();
    let seed = scene.path("seed.yaml");
    write(&seed, &SEED.replace("TOKEN", SECRET), 0o644);
    let mut child = Command::new(folder().join("node-linux/bin/node"))
        .arg(folder().join("emulate/dist/index.js"))
        .args(["start", "--service", "github", "--port"])
        .arg(port.to_string())
        .arg("--seed")
        .arg(seed)
        .current_dir(scene.folder.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = out.lines();
    assert!(
        lines.any(|it| it.unwrap().contains("Ready")),
        "it did not start"
    );
    // Whatever else it says must find somebody who reads it.
    std::thread::spawn(move || lines.for_each(drop));
    StandIn { child, port }
}

fn number(receipt: &Receipt) -> Option<u64> {
    let Some(Summary::PublishChange { pull_request, .. }) = &receipt.summary else {
        return None;
    };
    pull_request.as_ref().map(|it| it.number)
}

/// Returns the titles of what is open.
fn titles(port: u16) -> Vec<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let ask = format!(
        "GET /repos/octocat/project/pulls HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let list: Value = answer(&all).unwrap().value();
    let list = list.as_array().unwrap();
    list.iter()
        .map(|it| it["title"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
#[ignore = "needs a program from npm: .ci/forge-for-tests, which ./check runs"]
fn at_a_stand_in_of_github_a_pull_request_is_opened_once() {
    let mut scene = Scene::new();
    let github = start(&scene);
    scene.remote = format!(
        "{{ path = \"{}\", forge = {{ kind = \"github\", api = \"http://127.0.0.1:{}\", \
         repository = \"octocat/project\", secret = \"TOKEN\", bases = [\"main\"], url_id = \"pulls\" }} }}",
        scene.path("forge.git").display(),
        github.port
    );
    let running = scene.start();
    let first = scene.commit("first", None);
    let opened = running
        .execute(&scene.request(scene.propose(&first, None)))
        .receipt();
    assert!(opened.ok, "{opened:?}");
    let second = scene.commit("second", Some(&first));
    let again = running
        .execute(&scene.request(scene.propose(&second, Some(&first))))
        .receipt();
    assert_eq!((again.ok, number(&again)), (true, number(&opened)));
    assert_eq!(titles(github.port), ["Refuse empty passwords"]);
}
