//! Exactly once: duplicates, replays, and a death in each stage.

use std::io::{Read as _, Write as _};

use palisade_executor::audit::Entry;
use palisade_executor::stage::Stage;
use wire::execution::{Approval, Failure, Status};

use crate::scene::{PATIENCE, Scene, answer, git, posted};

#[test]
fn fifty_duplicates_at_once_are_one_effect_and_one_receipt() {
    let scene = Scene::new();
    let running = scene.start();
    let request = scene.request(scene.deploy("one"));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| running.execute(&request)))
            .collect();
        senders.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(answers[0].receipt().ok);
    assert!(answers.iter().all(|it| *it == answers[0]));
    assert_eq!(scene.runs(), 1);
}

#[test]
fn duplicates_of_what_takes_long_hold_up_nobody() {
    let scene = Scene::new();
    let request = scene.request(scene.deploy("one"));
    let mut running = scene.start_halting("recorded");
    let body = posted(request.value().to_string().as_bytes());
    let mut first = running.connect();
    first.write_all(&body).unwrap();
    assert_eq!(running.says(), "recorded");
    // More than there are threads, and all connections but a few.
    let mut duplicates: Vec<_> = (0..120)
        .map(|_| {
            let mut stream = running.connect();
            stream.write_all(&body).unwrap();
            stream.set_nonblocking(true).unwrap();
            (stream, Vec::new())
        })
        .collect();
    // Those that there is no room for to wait are told so at once, with when to come again.
    let mut told = 0;
    let until = std::time::Instant::now() + PATIENCE;
    while told < 120 - 64 && std::time::Instant::now() < until {
        duplicates.retain_mut(|(stream, all)| {
            let ended = stream.read_to_end(all).is_ok();
            if ended {
                let text = String::from_utf8_lossy(all).to_lowercase();
                assert!(text.contains("retry-after: 5"), "{text}");
                let answer = answer(all).unwrap();
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (409, "in_progress")
                );
                told += 1;
            }
            !ended
        });
        std::thread::yield_now();
    }
    assert_eq!(told, 120 - 64);
    // And whoever asks for something else is answered, also by what needs a thread.
    let other = format!("/receipts/{}", domain::ExecutionId::from_bits(scene.bits()));
    assert_eq!(running.get(&other).code(), "no_receipt");
    assert_eq!(running.get("/healthz").status, 200);
    running.kill();
}

#[test]
fn the_same_permit_in_many_requests_at_once_is_one_effect() {
    let scene = Scene::new();
    let running = scene.start();
    let action = scene.deploy("one");
    let approval = Approval::Permit(scene.permit(&action)).seal(&scene.key);
    let requests: Vec<_> = (0..16)
        .map(|_| scene.with(action.clone(), approval.clone()))
        .collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = requests
            .iter()
            .map(|it| scope.spawn(|| running.execute(it)))
            .collect();
        senders.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let done = answers.iter().filter(|it| it.status == 200).count();
    let used = answers
        .iter()
        .filter(|it| it.status == 403 && it.code() == "approval_used")
        .count();
    assert_eq!((done, used, scene.runs()), (1, 15, 1));
}

#[test]
fn a_replay_gets_the_same_receipt_also_of_the_next_executor() {
    let scene = Scene::new();
    let request = scene.request(scene.deploy("one"));
    let running = scene.start();
    let first = running.execute(&request);
    assert_eq!(running.execute(&request), first);
    running.kill();
    let running = scene.start();
    assert_eq!(running.execute(&request), first);
    let mut other = request.clone();
    other.action = scene.deploy("two");
    assert_eq!(running.execute(&other).code(), "conflict");
    let mut again = request;
    again.request_id = domain::ExecutionId::from_bits(scene.bits());
    assert_eq!(running.execute(&again).code(), "approval_used");
    assert_eq!(scene.runs(), 1);
}

#[test]
fn a_death_in_any_stage_changes_nothing_in_the_end() {
    for stage in Stage::ALL {
        let scene = Scene::new();
        let commit = scene.commit("first", None);
        let request = scene.request(scene.publish(&commit, None));
        let mut running = scene.start_halting(stage.name());
        std::thread::scope(|scope| {
            let socket = running.socket.clone();
            let body = request.value().to_string();
            scope.spawn(move || {
                let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
                stream.write_all(&posted(body.as_bytes())).unwrap();
                // Nothing comes back from who is dead.
                drop(stream.read_to_end(&mut Vec::new()));
            });
            assert_eq!(running.says(), stage.name());
            running.kill();
        });
        let forge = scene.path("forge.git");
        let branches = || git(&forge, &["for-each-ref", "--format=%(objectname)"]);
        let is_there = branches() == commit.as_str();
        let running = scene.start();
        let receipt = running.execute(&request).receipt();
        let told = (
            receipt.status,
            receipt.failure,
            receipt.is_reconciled,
            branches() == commit.as_str(),
        );
        let wanted = match stage {
            // Nothing had been begun: the same request is carried out now.
            Stage::Received | Stage::Judged => (Status::Succeeded, None, false, true),
            // It had been begun, and the target shows that it did not happen: it is not tried again.
            Stage::Recorded => (Status::Failed, Some(Failure::NotPerformed), true, false),
            // It had happened, and the target shows it.
            Stage::Performed => (Status::Succeeded, None, true, true),
            Stage::Settled => (Status::Succeeded, None, false, true),
        };
        assert_eq!(told, wanted, "{}", stage.name());
        assert_eq!(is_there, matches!(stage, Stage::Performed | Stage::Settled));
        let intents = scene
            .audit()
            .iter()
            .filter(|it| matches!(it.entry, Entry::Intent(_)))
            .count();
        assert_eq!(intents, 1, "{}", stage.name());
    }
}

#[test]
fn what_the_target_does_not_tell_stays_unknown_and_is_never_tried_again() {
    let scene = Scene::new();
    let request = scene.request(scene.deploy("one"));
    let mut running = scene.start_halting("recorded");
    std::thread::scope(|scope| {
        let socket = running.socket.clone();
        let body = request.value().to_string();
        scope.spawn(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.write_all(&posted(body.as_bytes())).unwrap();
            drop(stream.read_to_end(&mut Vec::new()));
        });
        assert_eq!(running.says(), "recorded");
        running.kill();
    });
    for _ in 0..2 {
        let running = scene.start();
        let receipt = running.execute(&request).receipt();
        assert_eq!((receipt.ok, receipt.status), (false, Status::Unknown));
        assert_eq!(scene.runs(), 0);
        running.kill();
    }
    // And its permit is used up.
    let running = scene.start();
    let mut again = request;
    again.request_id = domain::ExecutionId::from_bits(scene.bits());
    assert_eq!(running.execute(&again).code(), "approval_used");
}

#[test]
fn an_audit_that_is_full_denies() {
    let mut scene = Scene::new();
    // The first line fits, and not much more.
    scene.limits = "audit_bytes = 700".to_owned();
    let running = scene.start();
    let request = scene.request(scene.deploy("one"));
    let answer = running.execute(&request);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "audit_failed")
    );
    assert_eq!(scene.runs(), 0);
    assert!(!scene.path("staging").join("app").exists());
    // The rest of it answers still, and says that it is so.
    assert_eq!(running.get("/healthz").status, 200);
}

#[test]
fn nobody_starts_on_an_audit_that_was_changed() {
    let scene = Scene::new();
    let running = scene.start();
    assert!(
        running
            .execute(&scene.request(scene.deploy("one")))
            .receipt()
            .ok
    );
    running.kill();
    let path = scene.path("state/audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("agents", "Agents")
            .replace("operator:ada", "operator:eve"),
    )
    .unwrap();
    let told = scene.refusal_to_start();
    assert!(told.contains("was changed at line 2"), "{told}");
    std::fs::write(&path, text).unwrap();
    let running = scene.start();
    assert_eq!(running.get("/readyz").status, 200);
}
