//! Pull requests, at forges that speak as GitHub's API and as Forgejo's: each is asked, believed and
//! disbelieved alike.

use std::sync::{Arc, Mutex};

use palisade_executor::stage::Stage;
use serde_json::{Value, json};
use wire::execution::reply::Opened;
use wire::execution::{Action, Failure, Receipt, Status, Summary};

use crate::scene::{Answer, SECRET, Scene, git, posted, word};
use crate::service::{Asked, Service, closed_port, json, reply};

const KINDS: [&str; 2] = ["github", "forgejo"];
const BRANCH: &str = "agents/palisade/fix";

/// What a forge says instead of what it should; none to do as it should.
type Lie = dyn Fn(&Asked, &mut Vec<Value>) -> Option<Vec<u8>> + Send + Sync;

/// A forge that keeps its pull requests.
struct Forge {
    service: Service,
    kind: &'static str,
    open: Arc<Mutex<Vec<Value>>>,
}

impl Forge {
    fn new(kind: &'static str, lie: Box<Lie>) -> Self {
        let open = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&open);
        let service = Service::plain(move |asked| {
            let mut open = kept.lock().unwrap();
            if let Some(told) = lie(asked, &mut open) {
                return told;
            }
            if asked.line.starts_with("GET ") {
                listed(kind, asked, &open)
            } else {
                opened(kind, asked, &mut open)
            }
        });
        Self {
            service,
            kind,
            open,
        }
    }

    fn honest(kind: &'static str) -> Self {
        Self::new(kind, Box::new(|_, _| None))
    }

    /// Returns the remote that has this forge.
    fn remote(&self, scene: &Scene) -> String {
        remote(scene, self.kind, self.service.port)
    }

    /// Returns how often it was asked to open one.
    fn posts(&self) -> usize {
        let lines = self.service.lines();
        lines.iter().filter(|it| it.starts_with("POST ")).count()
    }
}

fn remote(scene: &Scene, kind: &str, port: u16) -> String {
    format!(
        "{{ path = \"{}\", forge = {{ kind = \"{kind}\", api = \"http://127.0.0.1:{port}/base\", \
         repository = \"owner/project\", secret = \"TOKEN\", bases = [\"main\"], \
         url_id = \"forge-pulls\", timeout_seconds = 2 }} }}",
        scene.path("forge.git").display()
    )
}

/// A pull request as both tell of it.
fn pull(number: u64, head: &str) -> Value {
    let repo = json!({"full_name": "owner/project"});
    json!({
        "number": number, "state": "open", "title": "of somebody",
        "head": {"ref": head, "repo": repo}, "base": {"ref": "main", "repo": repo},
    })
}

fn listed(kind: &str, asked: &Asked, open: &[Value]) -> Vec<u8> {
    let query = asked.line.split_once('?').unwrap().1;
    let value = |name: &str| {
        let name = format!("{name}=");
        let query = query.split(' ').next().unwrap();
        let found = query.split('&').find_map(|it| it.strip_prefix(&name));
        found.map(str::to_owned)
    };
    let page: usize = value("page").unwrap().parse().unwrap();
    // Forgejo tells as many as its installation allows, whatever is asked for.
    let most = if kind == "github" { 100 } else { 30 };
    let head = value("head").map(|it| it.replace("owner%3A", "").replace("%2F", "/"));
    assert_eq!(head.is_some(), kind == "github");
    let matching = open
        .iter()
        .filter(|it| head.as_ref().is_none_or(|head| it["head"]["ref"] == **head));
    let found: Vec<_> = matching.skip((page - 1) * most).take(most).collect();
    json("200 OK", &json!(found))
}

fn opened(kind: &str, asked: &Asked, open: &mut Vec<Value>) -> Vec<u8> {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let head = body["head"].as_str().unwrap();
    if open.iter().any(|it| it["head"]["ref"] == head) {
        let status = if kind == "github" { "422 No" } else { "409 No" };
        return json(status, &json!({"message": "already exists"}));
    }
    let made = pull(u64::try_from(open.len()).unwrap() + 1, head);
    open.push(made.clone());
    json("201 Created", &made)
}

fn number(receipt: &Receipt) -> Option<u64> {
    let Some(Summary::PublishChange { pull_request, .. }) = &receipt.summary else {
        return None;
    };
    pull_request.as_ref().map(|it| it.number)
}

/// Has a first commit proposed.
fn proposes(scene: &Scene) -> Answer {
    let running = scene.start();
    let commit = scene.commit("first", None);
    running.execute(&scene.request(scene.propose(&commit, None)))
}

fn is_pushed(scene: &Scene) -> bool {
    git(&scene.path("forge.git"), &["for-each-ref"]).contains(BRANCH)
}

#[test]
fn a_pull_request_is_opened_once_with_what_was_approved() {
    for kind in KINDS {
        let forge = Forge::honest(kind);
        let mut scene = Scene::new();
        scene.remote = forge.remote(&scene);
        let running = scene.start();
        let commit = scene.commit("first", None);
        let receipt = running
            .execute(&scene.request(scene.propose(&commit, None)))
            .receipt();
        let wanted = Summary::PublishChange {
            remote: word("forge"),
            branch: BRANCH.to_owned(),
            commit: commit.clone(),
            pull_request: Some(Opened {
                number: 1,
                url_id: word("forge-pulls"),
            }),
        };
        assert_eq!(
            (receipt.ok, receipt.summary),
            (true, Some(wanted)),
            "{kind}"
        );
        let asked = forge.service.asked.lock().unwrap().clone();
        let post = asked
            .iter()
            .find(|it| it.line.starts_with("POST "))
            .unwrap();
        let (path, token) = if kind == "github" {
            (
                "/base/repos/owner/project/pulls",
                format!("Bearer {SECRET}"),
            )
        } else {
            (
                "/base/api/v1/repos/owner/project/pulls",
                format!("token {SECRET}"),
            )
        };
        assert_eq!(post.line, format!("POST {path} HTTP/1.1"));
        assert!(
            asked
                .iter()
                .all(|it| it.header("authorization") == Some(&token))
        );
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(
            body,
            json!({
                "title": "Refuse empty passwords", "body": "As was asked.\n\nWith `$(a)` test.",
                "head": BRANCH, "base": "main",
            })
        );
        // The next commit of the branch is in the same one.
        let second = scene.commit("second", Some(&commit));
        let on = running.execute(&scene.request(scene.propose(&second, Some(&commit))));
        assert_eq!(
            (number(&on.receipt()), forge.posts()),
            (Some(1), 1),
            "{kind}"
        );
        let reached = scene.reached();
        assert!(reached.iter().all(|it| it.0 == forge.service.port) && reached.len() >= 3);
    }
}

#[test]
fn one_that_is_open_is_found_behind_any_number_of_others() {
    for kind in KINDS {
        let forge = Forge::honest(kind);
        let mut others: Vec<_> = (1..=130).map(|it| pull(it, "other")).collect();
        // Those of a fork, of another base, and of what was closed are not ours.
        for (number, side, key) in [
            (131, "head", "repo"),
            (132, "base", "ref"),
            (133, "", "state"),
        ] {
            let mut lookalike = pull(number, BRANCH);
            match key {
                "repo" => lookalike[side][key] = json!({"full_name": "fork/project"}),
                "ref" => lookalike[side][key] = json!("release"),
                _ => lookalike[key] = json!("closed"),
            }
            others.push(lookalike);
        }
        others.push(pull(134, BRANCH));
        forge.open.lock().unwrap().extend(others);
        let mut scene = Scene::new();
        scene.remote = forge.remote(&scene);
        let receipt = proposes(&scene).receipt();
        assert_eq!((number(&receipt), forge.posts()), (Some(134), 0), "{kind}");
    }
}

#[test]
fn one_that_came_meanwhile_or_without_a_word_is_found() {
    for kind in KINDS {
        for status in ["exists", "500 Broken", ""] {
            let lie = move |asked: &Asked, open: &mut Vec<Value>| {
                let is_post = asked.line.starts_with("POST ");
                if is_post {
                    open.push(pull(7, BRANCH));
                }
                match status {
                    "exists" => None,
                    // It has done it, and says that it has not, or nothing at all.
                    "" => is_post.then(Vec::new),
                    status => is_post.then(|| reply(status, "", b"")),
                }
            };
            let forge = Forge::new(kind, Box::new(lie));
            let mut scene = Scene::new();
            scene.remote = forge.remote(&scene);
            let receipt = proposes(&scene).receipt();
            assert_eq!(
                (receipt.ok, number(&receipt)),
                (true, Some(7)),
                "{kind} {status}"
            );
            assert_eq!(forge.posts(), 1);
        }
    }
}

#[test]
fn what_a_forge_does_not_do_is_told_and_the_commit_is_there_all_the_same() {
    let elsewhere = Service::plain(|_| json("200 OK", &json!([])));
    let away = format!("location: http://127.0.0.1:{}/\r\n", elsewhere.port);
    let huge = vec![b'['; 5 << 20];
    let cases: Vec<(&str, Vec<u8>, Failure)> = vec![
        ("GET", reply("401 No", "", b"{}"), Failure::TargetRefused),
        ("GET", reply("404 No", "", b"{}"), Failure::TargetRefused),
        (
            "GET",
            reply("301 Moved", &away, b""),
            Failure::TargetRefused,
        ),
        (
            "GET",
            reply("503 Later", "", b""),
            Failure::TargetUnreachable,
        ),
        ("GET", reply("200 OK", "", &huge), Failure::Unreadable),
        ("GET", reply("200 OK", "", b"<html>"), Failure::Unreadable),
        (
            "GET",
            reply("200 OK", "", b"{\"a\":1}"),
            Failure::Unreadable,
        ),
        ("GET", Vec::new(), Failure::TargetUnreachable),
        ("POST", reply("401 No", "", b"{}"), Failure::TargetRefused),
        ("POST", reply("422 No", "", b"{}"), Failure::TargetRefused),
        (
            "POST",
            reply("307 Moved", &away, b""),
            Failure::TargetRefused,
        ),
    ];
    for (at, (method, told, failure)) in cases.into_iter().enumerate() {
        let kind = KINDS[at % 2];
        let lie = move |asked: &Asked, _: &mut Vec<Value>| {
            asked.line.starts_with(method).then(|| told.clone())
        };
        let forge = Forge::new(kind, Box::new(lie));
        let mut scene = Scene::new();
        scene.remote = forge.remote(&scene);
        let receipt = proposes(&scene).receipt();
        let found = (receipt.status, receipt.failure, number(&receipt));
        assert_eq!(found, (Status::Failed, Some(failure), None), "{at}");
        assert!(is_pushed(&scene) && receipt.summary.is_some(), "{at}");
    }
    assert_eq!(elsewhere.lines(), Vec::<String>::new());
}

#[test]
fn a_forge_that_falls_silent_leaves_it_unknown_and_it_is_found_later() {
    for kind in KINDS {
        // It takes the wish, and says nothing for longer than is waited.
        let (gone, waited) = std::sync::mpsc::channel::<()>();
        let waited = Mutex::new(waited);
        let lie = move |asked: &Asked, _: &mut Vec<Value>| {
            if asked.line.starts_with("POST ") {
                assert!(waited.lock().unwrap().recv().is_err());
                return Some(Vec::new());
            }
            None
        };
        let forge = Forge::new(kind, Box::new(lie));
        let mut scene = Scene::new();
        scene.remote = forge.remote(&scene);
        let running = scene.start();
        let commit = scene.commit("first", None);
        let request = scene.request(scene.propose(&commit, None));
        // Looking for it gets no answer either: the forge is still at the wish.
        let receipt = running.execute(&request).receipt();
        let told = (receipt.status, receipt.failure);
        assert_eq!(told, (Status::Unknown, None), "{kind}");
        drop(gone);
        running.kill();
        forge.open.lock().unwrap().push(pull(9, BRANCH));
        let running = scene.start();
        let receipt = running.execute(&request).receipt();
        assert_eq!(
            (receipt.is_reconciled, number(&receipt)),
            (true, Some(9)),
            "{kind}"
        );
        assert_eq!(forge.posts(), 1, "{kind}");
    }
}

#[test]
fn a_forge_that_is_not_there_is_told() {
    let mut scene = Scene::new();
    scene.remote = remote(&scene, "github", closed_port());
    let receipt = proposes(&scene).receipt();
    assert_eq!(receipt.failure, Some(Failure::TargetUnreachable));
    assert!(is_pushed(&scene));
}

#[test]
fn what_may_not_be_proposed_is_not_even_pushed() {
    let forge = Forge::honest("github");
    let mut scene = Scene::new();
    scene.remote = forge.remote(&scene);
    let running = scene.start();
    let commit = scene.commit("first", None);
    let with = |change: &dyn Fn(&mut wire::execution::action::PullRequest)| {
        let Action::PublishChange(mut asked) = scene.propose(&commit, None) else {
            panic!("another action");
        };
        asked.pull_request.iter_mut().for_each(change);
        running
            .execute(&scene.request(Action::PublishChange(asked)))
            .code()
    };
    assert_eq!(with(&|it| it.base = word("release")), "not_allowed");
    // A credential that nobody here holds, of a form that is known.
    let key = format!("key: AKIA{}", "Q3EGRZ7LMN2PXSTB");
    assert_eq!(
        with(&|it| it.text = key.parse().unwrap()),
        "secret_in_request"
    );
    assert_eq!(
        with(&|it| it.title = SECRET.parse().unwrap()),
        "secret_in_request"
    );
    running.kill();
    assert!(!is_pushed(&scene) && forge.service.lines().is_empty());
    // And where there is no forge, there are no pull requests.
    scene.remote = String::new();
    assert_eq!(proposes(&scene).code(), "not_allowed");
}

#[test]
fn a_death_after_it_was_opened_opens_no_second() {
    for kind in KINDS {
        let forge = Forge::honest(kind);
        let mut scene = Scene::new();
        scene.remote = forge.remote(&scene);
        let mut running = scene.start_halting(Stage::Performed.name());
        let commit = scene.commit("first", None);
        let request = scene.request(scene.propose(&commit, None));
        let mut stream = running.connect();
        let body = posted(request.value().to_string().as_bytes());
        std::io::Write::write_all(&mut stream, &body).unwrap();
        assert_eq!(running.says(), Stage::Performed.name());
        running.kill();
        let running = scene.start();
        let receipt = running.execute(&request).receipt();
        let told = (receipt.is_reconciled, number(&receipt), forge.posts());
        assert_eq!(told, (true, Some(1), 1), "{kind}");
    }
}
