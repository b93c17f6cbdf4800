//! What `POST /execute` costs beside its effect: reading, judging, two records that are on disk before
//! they are believed, and the guard. Against a bare handler that appends a line and syncs it once.
//!
//! `cargo bench -p palisade-executor --bench execute`. Both are processes of their own, behind unix
//! sockets, with their files in the target folder; who asks keeps a connection and sends the next
//! request when the last is answered. The action reads one key of a file of one line. Both are measured
//! in turns; of each turn the middle and the 99th of a hundred are taken, and of these the medians.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use domain::{Digest, ExecutionId, GrantId, Timestamp};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use wire::execution::action::GetStagingConfigValues;
use wire::execution::approval::Version;
use wire::execution::{Action, Approval, Envelope, Grant, Kind, Request, SigningKey};

/// Turns of each measure; odd, so that there is a middle one.
const ROUNDS: usize = 15;

/// Clients at once, and how many requests each sends in a turn.
const CLIENTS: [(usize, usize); 3] = [(1, 200), (16, 40), (64, 20)];

/// About as much as the executor writes for one request.
const LINE_BYTES: usize = 1_500;

/// The argument that makes this program the bare handler.
const BARE: &str = "__bare";

const REQUESTER: &str = "service:engine";

/// Numbers of requests: no two are the same.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A process that is asked; it ends with the benchmark.
struct Served {
    child: Child,
    socket: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(BARE) {
        let socket = PathBuf::from(arguments.next().unwrap());
        let file = PathBuf::from(arguments.next().unwrap());
        bare(&socket, &file);
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let scene = Scene::new(folder.path());
    let bare = scene.start_bare();
    let executor = scene.start();
    println!("{ROUNDS} turns each; medians of turns, in milliseconds");
    println!("| clients | way | p50 | p99 | requests a second |");
    println!("|---|---|---|---|---|");
    for (clients, each) in CLIENTS {
        let mut turns = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (served, turns) in [&bare, &executor].iter().zip(&mut turns) {
                turns.push(turn(&scene, &served.socket, clients, each));
            }
        }
        let [bare, executor] = turns.map(|it| middle(&it));
        for (name, it) in [("bare, one sync", bare), ("executor", executor)] {
            println!(
                "| {clients} | {name} | {:.2} | {:.2} | {:.0} |",
                it[0], it[1], it[2]
            );
        }
        println!(
            "| {clients} | ratio | {:.2} | {:.2} | {:.2} |",
            executor[0] / bare[0],
            executor[1] / bare[1],
            executor[2] / bare[2]
        );
    }
}

/// Returns the median of each column.
fn middle(turns: &[[f64; 3]]) -> [f64; 3] {
    [0, 1, 2].map(|column| {
        let mut all: Vec<_> = turns.iter().map(|it| it[column]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    })
}

/// One turn: the middle and the 99th of a hundred of all requests, and how many there were a second.
fn turn(scene: &Scene<'_>, socket: &Path, clients: usize, each: usize) -> [f64; 3] {
    // What signs and writes requests is not measured.
    let bodies: Vec<Vec<Vec<u8>>> = (0..clients)
        .map(|_| (0..each).map(|_| scene.body()).collect())
        .collect();
    let streams: Vec<_> = bodies
        .iter()
        .map(|_| UnixStream::connect(socket).unwrap())
        .collect();
    let began = Instant::now();
    let mut all: Vec<f64> = std::thread::scope(|scope| {
        let asking: Vec<_> = bodies
            .iter()
            .zip(streams)
            .map(|(bodies, mut stream)| {
                scope.spawn(move || {
                    let asked = bodies.iter().map(|it| ask(&mut stream, it));
                    asked.map(|it| it.as_secs_f64() * 1e3).collect::<Vec<_>>()
                })
            })
            .collect();
        asking
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect()
    });
    let whole = began.elapsed().as_secs_f64();
    all.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    let rate = all.len() as f64 / whole;
    [all[all.len() / 2], all[all.len() * 99 / 100], rate]
}

fn ask(stream: &mut UnixStream, request: &[u8]) -> Duration {
    let began = Instant::now();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "the connection was closed");
        answer.extend_from_slice(&piece[..length]);
        let Some(end) = answer.windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|it| it.strip_prefix("content-length: "));
        if answer.len() == end + 4 + length.unwrap().parse::<usize>().unwrap() {
            let text = String::from_utf8_lossy(&answer);
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            return began.elapsed();
        }
    }
}

/// Everything an executor needs.
struct Scene<'a> {
    folder: &'a Path,
    approval: Envelope,
}

impl<'a> Scene<'a> {
    fn new(folder: &'a Path) -> Self {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        std::fs::write(at("values.toml"), "HOST = \"db.staging\"\n").unwrap();
        std::fs::write(at("revoked"), "# identifiers\n").unwrap();
        let config = format!(
            "target = \"staging\"\nstate = \"{}\"\nrevoked = \"{}\"\n\
             [limits]\nrequests_per_minute = 100000000\naudit_bytes = 4294967296\n\
             [[peers]]\nprincipal = \"{REQUESTER}\"\nuid = {}\n\
             [[keys]]\nprincipal = \"operator:ada\"\nkey = \"{}\"\n\
             [secrets]\nTOKEN = \"environment\"\n\
             [actions.get_staging_config_values]\nfile = \"{}\"\n\
             keys = {{ HOST = \"value\", TOKEN = {{ secret = \"TOKEN\" }} }}\n",
            at("state"),
            at("revoked"),
            rustix::process::geteuid().as_raw(),
            key.verifying().written(),
            at("values.toml"),
        );
        std::fs::write(at("executor.toml"), &config).unwrap();
        for name in ["values.toml", "revoked", "executor.toml"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(at(name), mode).unwrap();
        }
        let approval = grant(Digest::from_bytes(
            *blake3::hash(config.as_bytes()).as_bytes(),
        ));
        Self {
            folder,
            approval: approval.seal(&key),
        }
    }

    /// Returns a request that nobody has sent yet, with its head.
    fn body(&self) -> Vec<u8> {
        let action = Action::GetStagingConfigValues(GetStagingConfigValues {
            keys: BTreeSet::from(["HOST".parse().unwrap()]),
        });
        let request = Request {
            request_id: ExecutionId::from_bits(NEXT.fetch_add(1, Ordering::Relaxed).into()),
            lane: action.kind().lane(),
            target: "staging".parse().unwrap(),
            approval: Some(self.approval.clone()),
            action,
        };
        let body = request.value().to_string();
        let head = format!(
            "POST /execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body.as_bytes()].concat()
    }

    fn start(&self) -> Served {
        let socket = self.folder.join("executor.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-executor"));
        command
            .args(["serve", "--config"])
            .arg(self.folder.join("executor.toml"))
            .arg("--socket")
            .arg(&socket)
            .env_clear()
            .env("TOKEN", "planted-Deploy-Token-0123456789");
        started(command, socket)
    }

    fn start_bare(&self) -> Served {
        let socket = self.folder.join("bare.sock");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg(BARE)
            .arg(&socket)
            .arg(self.folder.join("bare.log"));
        started(command, socket)
    }
}

fn grant(policy: Digest) -> Approval {
    #[expect(clippy::disallowed_methods, reason = "an approval is for now")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(since.as_millis()).unwrap();
    Approval::Grant(Grant {
        version: Version::One,
        grant_id: GrantId::from_bits(1),
        actions: BTreeSet::from([Kind::GetStagingConfigValues]),
        targets: BTreeSet::from(["staging".parse().unwrap()]),
        policy,
        requester: REQUESTER.to_owned(),
        approver: "operator:ada".to_owned(),
        not_before: Timestamp(now - 3_600_000),
        expires: Timestamp(now + 3_600_000 * 12),
        uses_max: u32::MAX,
    })
}

fn started(mut command: Command, socket: PathBuf) -> Served {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready"), "{ready}");
    Served { child, socket }
}

/// Answers each request when a line is on disk, and does nothing else: each on its own.
fn bare(socket: &Path, file: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        let file = Arc::new(file);
        println!("ready");
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let file = Arc::clone(&file);
            let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let file = Arc::clone(&file);
                async move {
                    drop(request.into_body().collect().await.unwrap());
                    let synced = tokio::task::spawn_blocking(move || {
                        (&*file).write_all(&[b'x'; LINE_BYTES]).unwrap();
                        file.sync_data().unwrap();
                    });
                    synced.await.unwrap();
                    let body = Full::new(Bytes::from_static(b"{\"ok\":true}"));
                    Ok::<_, Infallible>(hyper::Response::new(body))
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer);
            drop(tokio::spawn(served));
        }
    });
}
