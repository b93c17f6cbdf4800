//! Durable appends of the SQLite log against the floor: a bare file with the same group commit.
//!
//! `cargo bench -p palisade-store`. Each round runs every cell of the table once, one after the
//! other, so that a noisy machine disturbs all alike; the medians of the rounds are compared. One line of JSON for each number of
//! callers ends the output; `-- --quiet` runs short rounds and prints nothing else, `-- --threads N`
//! runs one number of callers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use domain::{EffectId, EventId, Timestamp};
use palisade_store::log::SqliteLog;
use ports::log::{Append, Batch, EventLog, NewEffect, NewEvent};

/// Bytes of data in each event.
const DATA_BYTES: usize = 512;

/// Events of a stream, after which its caller begins another: sessions and works have tens. Their
/// names sort by time, as the real ones do.
const STREAM_EVENTS: u64 = 50;

/// Callers that wait for their own append before the next.
const THREADS: [usize; 3] = [1, 16, 64];

/// Rounds; odd, so that there is a middle one.
const ROUNDS: usize = 9;

/// How long a cell runs in one round.
const RUN: Duration = Duration::from_millis(700);

/// The same in short rounds.
const RUN_QUIET: Duration = Duration::from_millis(150);

/// What may be asked for.
struct Options {
    quiet: bool,
    /// Only this number of callers.
    threads: Option<usize>,
}

/// Appends per second of one number of callers, a figure for each round.
struct Cell {
    threads: usize,
    floor: Vec<f64>,
    sqlite: Vec<f64>,
}

fn main() {
    let options = options();
    let run = if options.quiet { RUN_QUIET } else { RUN };
    let wanted = |it: &usize| options.threads.is_none_or(|only| only == *it);
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut cells: Vec<Cell> = THREADS
        .into_iter()
        .filter(wanted)
        .map(|threads| Cell {
            threads,
            floor: Vec::new(),
            sqlite: Vec::new(),
        })
        .collect();
    for round in 0..ROUNDS {
        for cell in &mut cells {
            let path = folder.path().join(format!("{round}-{}", cell.threads));
            cell.floor.push(run_floor(&path, cell.threads, run));
            let path = path.with_extension("db");
            cell.sqlite.push(run_sqlite(&path, cell.threads, run));
        }
    }
    if !options.quiet {
        print_table(&cells);
    }
    for cell in &cells {
        println!("{}", line(cell));
    }
}

/// Reads the command line; cargo itself passes `--bench`.
fn options() -> Options {
    let mut options = Options {
        quiet: false,
        threads: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {}
            "--quiet" => options.quiet = true,
            "--threads" => options.threads = Some(words.next().unwrap().parse().unwrap()),
            other => panic!("{other}: only --quiet and --threads N are known"),
        }
    }
    options
}

fn print_table(cells: &[Cell]) {
    println!("durable appends per second, {DATA_BYTES} bytes of data, median (best) of {ROUNDS}");
    println!("threads  file + fdatasync       SqliteLog              ratio (of medians, best)");
    for cell in cells {
        let (low, high) = (summary(&cell.floor), summary(&cell.sqlite));
        println!(
            "{:>7}  {:>8.0} ({:>8.0})    {:>8.0} ({:>8.0})    {:.2}, {:.2}",
            cell.threads,
            low.0,
            low.1,
            high.0,
            high.1,
            high.0 / low.0,
            high.1 / low.1
        );
    }
}

/// Returns the medians of a cell as one line of JSON.
fn line(cell: &Cell) -> String {
    let paired: Vec<f64> = cell
        .sqlite
        .iter()
        .zip(&cell.floor)
        .map(|it| it.0 / it.1)
        .collect();
    let (low, high) = (summary(&cell.floor).0, summary(&cell.sqlite).0);
    serde_json::json!({
        "bench": "append",
        "threads": cell.threads,
        "rounds": ROUNDS,
        "floor_per_second": low.round(),
        "sqlite_per_second": high.round(),
        "ratio": (high / low * 1_000.0).round() / 1_000.0,
        "ratio_of_rounds": (summary(&paired).0 * 1_000.0).round() / 1_000.0,
    })
    .to_string()
}

/// Returns the median and the best.
fn summary(rates: &[f64]) -> (f64, f64) {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    (rates[rates.len() / 2], rates[rates.len() - 1])
}

/// Runs callers side by side for a while and returns how many appends a second they got.
fn measure(threads: usize, run: Duration, append: impl Fn(usize, u64) + Sync) -> f64 {
    let begun = Instant::now();
    let done: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|thread| {
                let append = &append;
                scope.spawn(move || {
                    let mut number = 0;
                    while begun.elapsed() < run {
                        append(thread, number);
                        number += 1;
                    }
                    number
                })
            })
            .collect();
        callers.into_iter().map(|it| it.join().unwrap()).sum()
    });
    let done = u32::try_from(done).unwrap();
    f64::from(done) / begun.elapsed().as_secs_f64()
}

/// One thread appends the data of all who wait to a file, syncs it once, and answers them.
fn run_floor(path: &Path, threads: usize, run: Duration) -> f64 {
    type Waiting = (Vec<u8>, SyncSender<()>);
    let mut file = File::create(path).unwrap();
    let (requests, waiting): (SyncSender<Waiting>, Receiver<Waiting>) = sync_channel(1_024);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok((mut bytes, answer)) = waiting.recv() {
                let mut answers = vec![answer];
                while let Ok((more, answer)) = waiting.try_recv() {
                    bytes.extend_from_slice(&more);
                    answers.push(answer);
                }
                file.write_all(&bytes).unwrap();
                file.sync_data().unwrap();
                answers.into_iter().for_each(|it| it.send(()).unwrap());
            }
        });
        let rate = measure(threads, run, |thread, number| {
            let (answer, answered) = sync_channel(1);
            let bytes = data(thread, number).into_bytes();
            requests.send((bytes, answer)).unwrap();
            answered.recv().unwrap();
        });
        drop(requests);
        rate
    })
}

fn run_sqlite(path: &Path, threads: usize, run: Duration) -> f64 {
    let log = SqliteLog::open(path).unwrap();
    measure(threads, run, |thread, number| {
        log.append(batch(thread, number)).unwrap();
    })
}

fn data(thread: usize, number: u64) -> String {
    let head = format!("{{\"thread\":{thread},\"number\":{number},\"text\":\"");
    format!("{head}{:x<1$}\"}}", "", DATA_BYTES - head.len() - 2)
}

fn batch(thread: usize, number: u64) -> Batch {
    // Sorted by time first, like the identifiers of the real clock.
    let bits = (u128::from(number) << 64) | u128::try_from(thread).unwrap();
    let name = format!("{:013}{thread:013}", number / STREAM_EVENTS);
    let correlation = format!("work_{name}");
    let event = NewEvent {
        id: EventId::from_bits(bits),
        kind: "io.palisade.session.progressed.v1".to_owned(),
        time: Timestamp(1_767_225_600_000 + number),
        actor: "engine".to_owned(),
        epoch: 1,
        correlation: correlation.clone(),
        causation: Some(EffectId::from_bits(bits).to_string()),
        traceparent: None,
        data: data(thread, number),
    };
    let effect = NewEffect {
        id: EffectId::from_bits(bits),
        correlation,
        body: "{\"effect\":\"launch\",\"session\":\"sess_01h455vb4pex5vsknk084sn02q\"}".to_owned(),
    };
    Batch {
        appends: vec![Append {
            stream: format!("session/sess_{name}"),
            expected: number % STREAM_EVENTS,
            events: vec![event],
        }],
        effects: vec![effect],
        settled: Vec::new(),
    }
}
