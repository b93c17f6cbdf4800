//! Peers of other users: who is configured comes in, and of who is not, not a byte is read. Only
//! root can act as others; without it there is nothing to try.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::scene::{Scene, posted};

const ENGINE: u32 = 65_534;
const STRANGER: u32 = 65_533;

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

fn chmod(scene: &Scene, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(scene.folder.path(), mode).unwrap();
}

#[test]
fn a_peer_of_another_user_comes_in_and_a_stranger_is_not_read() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    let mut scene = Scene::new();
    scene.uid = ENGINE;
    chmod(&scene, 0o711);
    let running = scene.start();
    assert_eq!(
        std::fs::metadata(&running.socket).unwrap().mode() & 0o777,
        0o666
    );
    let request = scene.request(scene.deploy("one"));
    let receipt = acting_as(ENGINE, || running.execute(&request).receipt());
    assert!(receipt.ok);
    // Root itself is a stranger here, too.
    for user in [STRANGER, 0] {
        let sent = acting_as(user, || {
            let mut stream = UnixStream::connect(&running.socket).unwrap();
            let body = request.value().to_string();
            drop(stream.write_all(&posted(body.as_bytes())));
            let mut heard = Vec::new();
            drop(stream.read_to_end(&mut heard));
            heard
        });
        assert_eq!(sent, b"", "{user}");
    }
    assert_eq!(
        scene
            .refusals()
            .iter()
            .map(|it| it.name())
            .collect::<Vec<_>>(),
        ["peer_not_allowed", "peer_not_allowed"]
    );
    let others = acting_as(STRANGER, || {
        std::fs::remove_file(&running.socket).is_err()
            && std::fs::write(scene.path("state/audit.jsonl"), "").is_err()
    });
    assert!(others, "a stranger can neither replace nor change anything");
}

#[test]
fn a_socket_is_of_one_user_unless_peers_of_others_are_named() {
    let scene = Scene::new();
    let running = scene.start();
    assert_eq!(
        std::fs::metadata(&running.socket).unwrap().mode() & 0o777,
        0o600
    );
    running.kill();
    let mut scene = Scene::new();
    scene.uid = STRANGER;
    // Closed to peers, or open to whoever wants to put a socket in its place.
    for mode in [0o700, 0o777, 0o1777] {
        chmod(&scene, mode);
        scene.configure();
        let told = scene.refusal_to_start();
        assert!(told.contains("the socket's folder"), "{mode:o}: {told}");
    }
}
