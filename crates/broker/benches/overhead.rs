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

/// Events of a paced one, and how far they are apart.
const PACED: usize = 500;
const PACE: Duration = Duration::from_millis(10);

/// What moments are counted from.
static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

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
                    if body.contains("paced") {
                        if pace(&mut stream).is_err() {
                            return;
                        }
                        continue;
                    }
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

/// A model that writes at the pace of real ones: each event says when it was sent.
fn pace(stream: &mut TcpStream) -> std::io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    for _ in 0..PACED {
        std::thread::sleep(PACE);
        let at = BEGAN.elapsed().as_nanos();
        let text = EVENT.replace(" word", &format!("at {at:020}"));
        stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())?;
    }
    stream.write_all(b"0\r\n\r\n")
}

/// Returns how long each event of a paced reply was on its way, in microseconds.
fn delays(way: &Way, body: &str) -> Vec<f64> {
    let mut stream = way.connect();
    ask(&mut *stream, body);
    let (mut piece, mut all) = (vec![0; 64 << 10], Vec::new());
    let mut delays = Vec::new();
    while !all.ends_with(b"0\r\n\r\n") {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the reply was cut");
        let now = BEGAN.elapsed();
        let text = String::from_utf8_lossy(&piece[..read]).into_owned();
        for (at, _) in text.match_indices("at 0") {
            if let Some(sent) = text.get(at + 3..at + 23) {
                let sent = Duration::from_nanos(sent.parse().unwrap());
                delays.push(now.saturating_sub(sent).as_secs_f64() * 1e6);
            }
        }
        all.extend_from_slice(&piece[..read]);
        all.drain(..all.len().saturating_sub(5));
    }
    delays
}

fn measure_paced(ways: &[(&str, Way)], body: &str) {
    println!("a model of 100 events a second ({PACED} events): each on its way");
    for (name, way) in ways {
        let mut delays = delays(way, body);
        delays.sort_by(f64::total_cmp);
        println!(
            "  {name:<8} median {:>6.0} µs   of a hundred the last but one {:>6.0} µs",
            delays[delays.len() / 2],
            delays[delays.len() * 98 / 100]
        );
    }
}

#[derive(Clone)]
enum Way {
    Direct(u16),
    Broker(PathBuf),
}

impl Way {
    fn connect(&self) -> Box<dyn Both> {
        match self {
            Self::Direct(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).unwrap();
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            }
            Self::Broker(socket) => Box::new(UnixStream::connect(socket).unwrap()),
        }
    }
}

fn ask(stream: &mut dyn Both, body: &str) {
    let length = body.len();
    let request = format!(
        "POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
}

/// One call: the time to the first byte and to the last, and all bytes.
fn call(way: &Way, body: &str) -> (Duration, Duration, usize) {
    let began = Instant::now();
    let mut stream = way.connect();
    ask(&mut *stream, body);
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
    measure_paced(&ways, &prompt("paced", 4 << 10));
    runtime.shutdown_background();
}
