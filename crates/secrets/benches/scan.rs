//! Throughput of the scanner over the files of a folder, and what it finds there.
//!
//! `cargo bench -p palisade-secrets -- FOLDER…`; without a folder, over this repository's `crates`.
//! Files are read first, so that the disk is not measured. Each round scans all of them; the median
//! of the rounds counts. `--hits` prints every hit, for tuning.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use palisade_secrets::{Hit, Scanner};

/// Rounds; odd, so that there is a middle one.
const ROUNDS: usize = 5;

fn main() {
    let mut shows_hits = false;
    let mut folders: Vec<PathBuf> = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--hits" => shows_hits = true,
            "--bench" | "--quiet" => {}
            folder => folders.push(folder.into()),
        }
    }
    if folders.is_empty() {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    }
    let began = Instant::now();
    let scanner = Scanner::standard().unwrap();
    println!(
        "building the scanner: {:.1} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    for folder in &folders {
        let mut files = Vec::new();
        gather(folder, &mut files);
        measure(&scanner, folder, &files, shows_hits);
    }
}

fn measure(scanner: &Scanner, folder: &Path, files: &[(PathBuf, Vec<u8>)], shows_hits: bool) {
    let bytes: usize = files.iter().map(|(_, it)| it.len()).sum();
    let mut rates = Vec::new();
    let mut found: Vec<(&Path, Hit)> = Vec::new();
    for _ in 0..ROUNDS {
        found.clear();
        let began = Instant::now();
        for (path, content) in files {
            found.extend(
                scanner
                    .scan(content)
                    .into_iter()
                    .map(|it| (path.as_path(), it)),
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        rates.push(bytes as f64 / began.elapsed().as_secs_f64() / 1e6);
    }
    rates.sort_by(f64::total_cmp);
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, hit) in &found {
        *rules.entry(hit.rule).or_default() += 1;
        if shows_hits {
            let (line, column) = (hit.line, hit.column);
            println!(
                "  {}:{line}:{column} {} {}",
                path.display(),
                hit.rule,
                hit.fingerprint
            );
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_thousand = found.len() as f64 * 1e3 / files.len().max(1) as f64;
    println!(
        "{}: {} files, {:.1} MB, {:.0} MB/s, {} hits, {per_thousand:.2} for 1,000 files {rules:?}",
        folder.display(),
        files.len(),
        f64::from(u32::try_from(bytes / 1_000).unwrap_or(u32::MAX)) / 1e3,
        rates[ROUNDS / 2],
        found.len(),
    );
}

fn gather(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(about) = path.symlink_metadata() else {
            continue;
        };
        if about.is_dir() && !path.ends_with(".git") && !path.ends_with("target") {
            gather(&path, files);
        } else if about.is_file() && about.len() < 32 << 20 {
            files.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
}
