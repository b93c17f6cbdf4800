//! Batches of small artifacts against the floor: hash the bytes, append them to one file, sync it
//! once. And against one file for each, which is how large ones are kept.
//!
//! `cargo bench -p palisade-store --bench artifacts`. Each round runs every cell of the table once,
//! one after the other, so that a noisy machine disturbs all alike; the medians of the rounds are
//! compared. Then 400 batches are put into one store, with the floor beside each, and the 400th is
//! compared with the 40th. Lines of JSON end the output; `-- --quiet` runs few rounds and prints
//! nothing else.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use palisade_store::artifacts::{DiskArtifacts, Options};
use ports::artifacts::Artifacts;
use serde_json::json;

/// Artifacts in a batch, and the rounds: odd, so that there is a middle one.
const BATCHES: [(usize, usize); 4] = [(1, 31), (100, 31), (1_000, 15), (10_000, 7)];

/// The same in few rounds.
const BATCHES_QUIET: [(usize, usize); 3] = [(1, 5), (100, 5), (1_000, 3)];

/// Artifacts in each of the batches of one store that grows.
const GROWING_BATCH: usize = 100;

/// The batches that are compared, each the middle of a window.
const GROWING: [usize; 2] = [40, 400];

/// Batches before and after the one that is compared.
const WINDOW: usize = 15;

/// Milliseconds of one number of artifacts, a figure for each round.
struct Cell {
    artifacts: usize,
    floor: Vec<f64>,
    packed: Vec<f64>,
    loose: Vec<f64>,
    again: Vec<f64>,
}

/// Milliseconds of each batch of a store that grows, and of the floor beside it.
#[derive(Default)]
struct Growth {
    floor: Vec<f64>,
    packed: Vec<f64>,
    /// Opening the store and looking for one artifact, after each batch that is compared.
    opened: Vec<f64>,
}

fn main() {
    let quiet = std::env::args()
        .skip(1)
        .fold(false, |quiet, word| match word.as_str() {
            "--bench" => quiet,
            "--quiet" => true,
            other => panic!("{other}: only --quiet is known"),
        });
    let folder = tempfile::tempdir_in(".").unwrap();
    let batches = if quiet { &BATCHES_QUIET[..] } else { &BATCHES };
    let cells: Vec<Cell> = batches
        .iter()
        .map(|(artifacts, rounds)| run_cell(folder.path(), *artifacts, *rounds))
        .collect();
    let growth = run_growth(&folder.path().join("growing"));
    if !quiet {
        print_tables(&cells, &growth);
    }
    for cell in &cells {
        println!("{}", line(cell));
    }
    println!("{}", growth_line(&growth));
}

fn run_cell(folder: &Path, artifacts: usize, rounds: usize) -> Cell {
    let at = |name: &str| folder.join(format!("{name}-{artifacts}"));
    let mut floor = appended(&at("floor"));
    let packed = DiskArtifacts::open(&at("packed")).unwrap();
    let options = Options {
        packed_bytes_max: 0,
        ..Options::default()
    };
    let loose = DiskArtifacts::open_with(&at("loose"), options).unwrap();
    let mut cell = Cell {
        artifacts,
        floor: Vec::new(),
        packed: Vec::new(),
        loose: Vec::new(),
        again: Vec::new(),
    };
    // The first round finds folders and files that were just made, and is not counted.
    for round in 0..=rounds {
        let blobs = blobs(round, artifacts);
        let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        let figures = [
            timed(|| run_floor(&mut floor, &blobs)),
            timed(|| drop(packed.put_all(&blobs).unwrap())),
            timed(|| drop(loose.put_all(&blobs).unwrap())),
            timed(|| drop(packed.put_all(&blobs).unwrap())),
        ];
        if round > 0 {
            let columns = [
                &mut cell.floor,
                &mut cell.packed,
                &mut cell.loose,
                &mut cell.again,
            ];
            for (column, figure) in columns.into_iter().zip(figures) {
                column.push(figure);
            }
        }
    }
    cell
}

fn run_growth(folder: &Path) -> Growth {
    std::fs::create_dir_all(folder).unwrap();
    let mut floor = appended(&folder.join("floor"));
    let root = folder.join("packed");
    let store = DiskArtifacts::open(&root).unwrap();
    let mut growth = Growth::default();
    for batch in 0..GROWING[1] + WINDOW {
        let blobs = blobs(1_000 + batch, GROWING_BATCH);
        let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        growth.floor.push(timed(|| run_floor(&mut floor, &blobs)));
        growth
            .packed
            .push(timed(|| drop(store.put_all(&blobs).unwrap())));
        if GROWING.contains(&(batch + 1)) {
            let wanted = store.put(blobs[0]).unwrap();
            let open = || {
                assert!(
                    DiskArtifacts::open(&root)
                        .unwrap()
                        .contains(&wanted)
                        .unwrap()
                );
            };
            let figures: Vec<f64> = (0..9).map(|_| timed(open)).collect();
            growth.opened.push(median(&figures));
        }
    }
    growth
}

fn appended(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

fn run_floor(file: &mut File, blobs: &[&[u8]]) {
    let mut gathered = std::io::BufWriter::with_capacity(1 << 20, &mut *file);
    for blob in blobs {
        std::hint::black_box(blake3::hash(blob));
        gathered.write_all(blob).unwrap();
    }
    gathered.flush().unwrap();
    drop(gathered);
    file.sync_data().unwrap();
}

fn timed(run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    milliseconds(begun.elapsed())
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// Returns artifacts of 2 to 10 KiB that no other round has.
fn blobs(round: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let mut bytes = vec![0; 2_048 + number * 97 % 8_192];
            let mut hasher = blake3::Hasher::new();
            hasher
                .update(&round.to_le_bytes())
                .update(&number.to_le_bytes());
            hasher.finalize_xof().fill(&mut bytes);
            bytes
        })
        .collect()
}

fn print_tables(cells: &[Cell], growth: &Growth) {
    println!("putting a batch of 2 to 10 KiB each, ms, median (best) of interleaved rounds");
    println!("artifacts  hash+append+sync      packs                 one file each         again");
    for cell in cells {
        let columns = [&cell.floor, &cell.packed, &cell.loose, &cell.again];
        let columns = columns.map(|it| format!("{:>9.2} ({:>8.2})", median(it), best(it)));
        println!("{:>9}  {}", cell.artifacts, columns.join("  "));
        println!(
            "{:>9}  packs {:.2} x the floor, one file each {:.2} x",
            "",
            median(&cell.packed) / median(&cell.floor),
            median(&cell.loose) / median(&cell.floor),
        );
    }
    println!();
    println!(
        "the Nth batch of {GROWING_BATCH} in one store, ms, median of {} around it",
        2 * WINDOW
    );
    for (batch, opened) in GROWING.into_iter().zip(&growth.opened) {
        println!(
            "{batch:>9}  floor {:>8.2}  packs {:>8.2}  opening the store {opened:>8.2}",
            median(window(&growth.floor, batch)),
            median(window(&growth.packed, batch)),
        );
    }
}

/// Returns the medians of a cell as one line of JSON.
fn line(cell: &Cell) -> String {
    json!({
        "bench": "artifacts",
        "artifacts": cell.artifacts,
        "rounds": cell.floor.len(),
        "floor_ms": thousandths(median(&cell.floor)),
        "packed_ms": thousandths(median(&cell.packed)),
        "loose_ms": thousandths(median(&cell.loose)),
        "again_ms": thousandths(median(&cell.again)),
        "ratio": thousandths(median(&cell.packed) / median(&cell.floor)),
        "ratio_of_rounds": thousandths(median(&ratios(&cell.packed, &cell.floor))),
        "loose_ratio": thousandths(median(&cell.loose) / median(&cell.floor)),
    })
    .to_string()
}

fn growth_line(growth: &Growth) -> String {
    let [early, late] = GROWING.map(|it| median(window(&growth.packed, it)));
    let paired = ratios(&growth.packed, &growth.floor);
    let [early_paired, late_paired] = GROWING.map(|it| median(window(&paired, it)));
    json!({
        "bench": "artifacts_growing",
        "batch_of": GROWING_BATCH,
        "batch_40_ms": thousandths(early),
        "batch_400_ms": thousandths(late),
        "ratio": thousandths(late / early),
        "ratio_to_floor_at_40": thousandths(early_paired),
        "ratio_to_floor_at_400": thousandths(late_paired),
        "opened_ms": growth.opened.iter().copied().map(thousandths).collect::<Vec<_>>(),
    })
    .to_string()
}

fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|it| it.0 / it.1).collect()
}

fn window(figures: &[f64], batch: usize) -> &[f64] {
    &figures[batch - WINDOW..batch + WINDOW]
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn best(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

fn thousandths(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}
