//! A broker as a service: engines of other users come as far as their own sessions, and no further.
//! Only root can act as others; without it there is nothing to try.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use ports::models::{Error, Models as _, Tape};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use testkit::models::contract::grant;

use crate::scene::{Agent, PATIENCE, Scene, always};

const ENGINE: u32 = 65_534;
const OTHER: u32 = 65_533;
const STRANGER: u32 = 65_532;

/// Acts as another user, in a thread of its own: the kernel knows users by thread.
fn acting_as<T: Send>(user: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let user = Uid::from_raw(user);
            set_thread_res_uid(user, user, user).unwrap();
            act()
        });
        acting.join().unwrap()
    })
}

/// Returns whether anybody answers at a socket.
fn is_answered(socket: &std::path::Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = b"GET /anthropic/v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut byte = [0];
    stream.write_all(ask).is_ok() && matches!(stream.read(&mut byte), Ok(1))
}

#[test]
fn a_session_is_for_whom_it_was_opened_and_nobody_else() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let body = r#"{"usage":{"input_tokens":1,"output_tokens":1}}"#;
    let peers = format!("peers = [{ENGINE}, {OTHER}]");
    let scene = Scene::with(always("200 OK", "application/json", body), &peers);
    // The folder for temporary files lets nobody else through.
    let open = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(scene.folder.path(), open).unwrap();
    let client = &scene.client;
    let socket = acting_as(ENGINE, || client.open(&grant(1, 1)).unwrap());
    let agent = Agent {
        socket: socket.clone(),
    };
    let status = acting_as(ENGINE, || {
        let ask = r#"{"model":"claude-a"}"#;
        agent.post("/anthropic/v1/messages", ask).status
    });
    assert_eq!(status, 200);
    acting_as(OTHER, || {
        let session = grant(1, 1).session;
        assert!(!is_answered(&socket));
        assert!(matches!(client.account(session), Err(Error::NotFound(_))));
        assert!(matches!(client.close(session), Err(Error::NotFound(_))));
        let again = client.open(&grant(1, 1));
        assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");
        assert!(is_answered(&client.open(&grant(2, 2)).unwrap()));
        let run = socket.parent().unwrap();
        assert!(std::fs::read_dir(run).is_err(), "nor sees which there are");
    });
    acting_as(STRANGER, || {
        assert!(!is_answered(&socket));
        let refused = client.open(&grant(3, 3));
        assert!(
            matches!(refused, Err(Error::Unreachable { .. })),
            "{refused:?}"
        );
    });
    let account = acting_as(ENGINE, || client.close(grant(1, 1).session).unwrap());
    assert_eq!(account.total().calls, 1);
}

#[test]
fn a_tape_is_played_to_whom_it_was_recorded_for() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let body = r#"{"usage":{"input_tokens":1,"output_tokens":1}}"#;
    let peers = format!("peers = [{ENGINE}, {OTHER}]");
    let scene = Scene::with(always("200 OK", "application/json", body), &peers);
    let open = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(scene.folder.path(), open).unwrap();
    let client = &scene.client;
    let mut taped = grant(1, 1);
    taped.tape = Tape::Record;
    let name = acting_as(ENGINE, || {
        let socket = client.open(&taped).unwrap();
        let ask = r#"{"model":"claude-a"}"#;
        let got = Agent { socket }.post("/anthropic/v1/messages", ask);
        assert_eq!(got.status, 200);
        client.close(taped.session).unwrap().tape.unwrap()
    });
    let mut replayed = grant(2, 2);
    for name in [name, taped.work.to_string()] {
        replayed.tape = Tape::Replay(name);
        let refused = acting_as(OTHER, || client.open(&replayed));
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        acting_as(ENGINE, || {
            client.open(&replayed).unwrap();
            client.close(replayed.session).unwrap();
        });
    }
}

#[test]
fn without_peers_nobody_else_comes_near() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scene = Scene::new();
    let open = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(scene.folder.path(), open).unwrap();
    let agent = scene.open(&grant(1, 1));
    assert!(is_answered(&agent.socket));
    assert!(!acting_as(ENGINE, || is_answered(&agent.socket)));
    let refused = acting_as(ENGINE, || scene.client.open(&grant(2, 2)));
    assert!(
        matches!(refused, Err(Error::Unreachable { .. })),
        "{refused:?}"
    );
}
