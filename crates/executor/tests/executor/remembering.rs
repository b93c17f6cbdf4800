//! What the executor believes stays where it was: its audit, the list of what was revoked, and the
//! folder both are in.

use wire::execution::Code;

use crate::scene::{Scene, write};

#[test]
fn a_permit_that_was_used_stays_used_when_the_audit_is_gone() {
    let mut scene = Scene::new();
    let running = scene.start();
    let used = scene.request(scene.deploy("one"));
    assert!(running.execute(&used).receipt().ok);
    let later = scene.request(scene.deploy("two"));
    assert!(running.execute(&later).receipt().ok);
    running.kill();
    let audit = scene.path("state/audit.jsonl");
    let text = std::fs::read_to_string(&audit).unwrap();
    let first = text.lines().next().unwrap().to_owned() + "\n";
    let running = scene.start();
    running.kill();
    for left in [None, Some(""), Some(first.as_str())] {
        std::fs::remove_file(&audit).unwrap_or_default();
        if let Some(left) = left {
            write(&audit, left, 0o600);
        }
        let told = scene.refusal_to_start();
        assert!(told.contains("is forgotten"), "{left:?}: {told}");
    }
    // Under another policy nothing counts that was given before.
    std::fs::remove_file(&audit).unwrap();
    scene.more = "# the record was lost\n".to_owned();
    let running = scene.start();
    assert_eq!(running.execute(&used).code(), Code::PolicyChanged.name());
    assert_eq!(scene.runs(), 2);
}

#[test]
fn nothing_is_done_on_a_record_that_was_taken_away() {
    let scene = Scene::new();
    let running = scene.start();
    let audit = scene.path("state/audit.jsonl");
    std::fs::rename(&audit, scene.path("elsewhere")).unwrap();
    std::fs::write(&audit, "").unwrap();
    let answer = running.execute(&scene.request(scene.deploy("one")));
    assert_eq!(answer.code(), Code::AuditFailed.name());
    assert_eq!(scene.runs(), 0);
}

#[test]
fn it_does_not_start_on_what_it_cannot_believe() {
    let scene = Scene::new();
    scene.configure();
    let revoked = scene.path("revoked");
    std::fs::write(&revoked, "a0b1 the bare name of a key's file\n").unwrap();
    assert!(scene.refusal_to_start().contains("revoked:1: "));
    std::fs::remove_file(&revoked).unwrap();
    assert!(scene.refusal_to_start().contains("it must be there"));
    write(&revoked, "", 0o644);
    let text = scene.config();
    let staging = scene.path("staging").display().to_string();
    for folder in ["state", "state/deeper", "."] {
        let folder = scene.path(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let text = text.replace(
            &format!("folder = \"{staging}\""),
            &format!("folder = \"{}\"", folder.display()),
        );
        write(&scene.path("executor.toml"), &text, 0o644);
        let told = scene.refusal_to_start();
        assert!(
            told.contains("what the executor believes") || told.contains("may not lie in"),
            "{told}"
        );
    }
}
