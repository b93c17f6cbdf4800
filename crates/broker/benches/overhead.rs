//! What the broker adds to a call, against the same call made directly over the loopback.
//!
//! `cargo bench -p palisade-broker`. The provider answers at once with a stream of events. Measured
//! are the time to the first byte of the reply, the time of a whole short reply for each of its
//! events, and the throughput of a long one. Both ways are measured in turns; medians count. A
//! connection of its own for each call on both ways, as agents without a pool have it, and one that
//! is kept on the way from broker to provider.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_broker::{Broker, Config, Folders, start};
use ports::models::Models as _;
use testkit::models::contract::grant;

/// Rounds of each measure; odd, so that there is a middle one.
const ROUNDS: usize = 301;

/// Rounds of the long reply.
const LONG_ROUNDS: usize = 15;

/// Events of a short reply.
const SHORT: usize = 200;

/// Events of a long one.
const LONG: usize = 200_000;

const EVENT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n";

fn provider() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                while let Some(body) = request(&mut stream) {
                    let events = if body.contains("long") { LONG } else { SHORT };
                    if reply(&mut stream, events).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).ok().filter(|it| *it > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_lowercase();
        let length = length
            .lines()
            .find_map(|it| it.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |it| it.parse().unwrap()) {
            return Some(body.to_owned());
        }
    }
}

/// Short replies go out event by event, long ones as fast as they can.
fn reply(stream: &mut TcpStream, events: usize) -> std::io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let at_once = if events > SHORT { 256 } else { 1 };
    let text = EVENT.repeat(at_once);
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    for _ in 0..events / at_once {
        stream.write_all(chunk.as_bytes())?;
    }
    stream.write_all(b"0\r\n\r\n")
}

#[derive(Clone)]
enum Way {
    Direct(u16),
    Broker(PathBuf),
}

/// One call: the time to the first byte and to the last, and all bytes.
fn call(way: &Way, body: &str) -> (Duration, Duration, usize) {
    let began = Instant::now();
    let mut stream: Box<dyn Both> = match way {
        Way::Direct(port) => {
            let stream = TcpStream::connect(("127.0.0.1", *port)).unwrap();
            stream.set_nodelay(true).unwrap();
            Box::new(stream)
        }
        Way::Broker(socket) => Box::new(UnixStream::connect(socket).unwrap()),
    };
    let length = body.len();
    let request = format!(
        "POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut piece = vec![0; 256 << 10];
    let mut end = Vec::new();
    let (mut first, mut bytes) = (None, 0);
    while !end.ends_with(b"0\r\n\r\n") {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the reply was cut after {bytes} bytes");
        first.get_or_insert_with(|| began.elapsed());
        bytes += read;
        end.extend_from_slice(&piece[..read]);
        end.drain(..end.len().saturating_sub(5));
    }
    (first.unwrap(), began.elapsed(), bytes)
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn measure(ways: &[(&str, Way)], title: &str, body: &str, rounds: usize) {
    let mut first = vec![Vec::new(); ways.len()];
    let mut each = vec![Vec::new(); ways.len()];
    let mut rate = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (at, (_, way)) in ways.iter().enumerate() {
            let (start, whole, bytes) = call(way, body);
            first[at].push(start.as_secs_f64() * 1e6);
            #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
            {
                each[at].push(whole.as_secs_f64() * 1e6 / SHORT as f64);
                rate[at].push(bytes as f64 / whole.as_secs_f64() / 1e6);
            }
        }
    }
    println!("{title} ({rounds} rounds)");
    for (at, (name, _)) in ways.iter().enumerate() {
        println!(
            "  {name:<8} first byte {:>8.0} µs   each of {SHORT} events {:>6.2} µs   {:>7.1} MB/s",
            median(first[at].clone()),
            median(each[at].clone()),
            median(rate[at].clone())
        );
    }
}

fn main() {
    let port = provider();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[limits]\nrequests_per_minute = 1000000\nreply_mib = 1024\n[anthropic]\nupstream = \
         \"http://127.0.0.1:{port}\"\nmodels = [\"*\"]\nkey.environment = \"KEY\"\n"
    );
    let config = Config::parse("broker.toml", &text, &|_| {
        Err(std::io::Error::other("none"))
    });
    let folders = Folders {
        run: folder.path().join("run"),
        tapes: folder.path().join("tapes"),
    };
    let clock = Arc::new(testkit::clock::FakeClock::default());
    let key = |_: &str| Some("planted-canary-key-0123456789".to_owned());
    let broker = Arc::new(Broker::new(config.unwrap(), folders, clock, &key).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let guard = runtime.enter();
    start(&broker).unwrap();
    drop(guard);
    let client = wire::Client::new(broker.run().join(wire::message::CONTROL));
    let socket = client.open(&grant(1, 1)).unwrap();
    let ways = [
        ("direct", Way::Direct(port)),
        ("broker", Way::Broker(socket)),
    ];
    let prompt = |kind: &str, bytes: usize| {
        let content = "lorem ipsum dolor sit amet ".repeat(bytes / 27);
        format!(
            "{{\"model\":\"claude-a\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{kind} {content}\"}}]}}"
        )
    };
    measure(
        &ways,
        "short reply, request of 4 KB",
        &prompt("short", 4 << 10),
        ROUNDS,
    );
    measure(
        &ways,
        "short reply, request of 256 KB",
        &prompt("short", 256 << 10),
        ROUNDS,
    );
    measure(
        &ways,
        "long reply, request of 4 KB",
        &prompt("long", 4 << 10),
        LONG_ROUNDS,
    );
    runtime.shutdown_background();
}
