//! Services that somebody else wrote: a stand-in of GitHub's API, and Prometheus itself. What our own
//! scripts do, they do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use wire::execution::action::{FetchMetricsSummary, Window};
use wire::execution::{Action, Receipt, Summary};

use crate::scene::{Answer, PATIENCE, SECRET, Scene, answer, word, write};
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

fn start_github(scene: &Scene) -> StandIn {
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

/// Asks a service that may not be up yet.
fn get(port: u16, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let ask = format!("GET {path} HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok()?;
    answer(&all)
}

/// Returns the titles of what is open.
fn titles(port: u16) -> Vec<String> {
    let list: Value = get(port, "/repos/octocat/project/pulls").unwrap().value();
    let list = list.as_array().unwrap();
    list.iter()
        .map(|it| it["title"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
#[ignore = "needs a program from npm: .ci/forge-for-tests, which ./check runs"]
fn at_a_stand_in_of_github_a_pull_request_is_opened_once() {
    let mut scene = Scene::new();
    let github = start_github(&scene);
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

#[test]
#[ignore = "needs a program: apt install prometheus, which ./check looks for"]
fn a_real_prometheus_is_understood() {
    let mut scene = Scene::new();
    let port = closed_port();
    let settings = scene.path("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: self\n    static_configs:\n      \
         - targets: ['127.0.0.1:{port}']\n"
    );
    write(&settings, &text, 0o644);
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", settings.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            scene.path("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let prometheus = StandIn { child, port };
    let until = std::time::Instant::now() + PATIENCE;
    // It has scraped itself when it knows what its own garbage costs.
    let path = "/api/v1/query?query=go_gc_duration_seconds";
    while !get(port, path).is_some_and(|it| it.text.contains("quantile")) {
        assert!(
            std::time::Instant::now() < until,
            "it did not scrape itself"
        );
        std::thread::yield_now();
    }
    let ask = |scene: &Scene| {
        let running = scene.start();
        let (metric, window) = (word("latency"), Window::FiveMinutes);
        let action = Action::FetchMetricsSummary(FetchMetricsSummary { metric, window });
        running.execute(&scene.request(action))
    };
    let source = |more: &str| {
        format!(
            "{{ prometheus = \"http://127.0.0.1:{}\", \
             query = \"go_gc_duration_seconds[{{window}}]\"{more} }}",
            prometheus.port
        )
    };
    scene.latency = source("");
    let summary = ask(&scene).receipt().summary.unwrap();
    let Summary::FetchMetricsSummary {
        samples, groups, ..
    } = summary
    else {
        panic!("{summary:?}");
    };
    assert!(groups == 5 && samples >= 5, "{samples} of {groups}");
    // All are of one job, and a sum of one is that one.
    scene.latency = source(", group = \"job\"");
    assert_eq!(ask(&scene).code(), "group_too_small");
}
