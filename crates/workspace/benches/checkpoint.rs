//! Checkpoints against what every tool uses (`git add -A && git write-tree` with an index of its
//! own) and against the floor (read and hash the changed bytes, append them to one file, one sync).
//!
//! `cargo bench -p palisade-workspace --bench checkpoint [-- --quick] [-- --files 10000]
//! [-- --changed 100] [-- --strict]`. Each round runs all three, one after the other, so that a
//! noisy machine disturbs all alike; medians of the rounds are compared. Each row that misses a
//! goal says so, and `--strict` fails then. One line of JSON for each row ends the output.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::process::ExitCode;
use std::time::Duration;

use ground::Ground;
use measures::{Chain, Crowd, Row};

#[path = "checkpoint/ground.rs"]
mod ground;
#[path = "checkpoint/measures.rs"]
mod measures;

/// What the source system allowed a checkpoint, in milliseconds.
const CHECKPOINT_BUDGET: f64 = 500.0;
/// What it allowed a validation, in milliseconds.
const VALIDATION_BUDGET: f64 = 1_000.0;
/// What it allowed each watched session, in MiB.
const MEMORY_BUDGET: f64 = 50.0;
/// How many changed files a second it kept up with.
const CHANGES_BUDGET: f64 = 100.0;

/// How much faster than git a checkpoint of so many changed files is to be in the largest
/// repository.
const TIMES_GIT: [(usize, f64); 3] = [(100, 100.0), (1_000, 15.0), (10_000, 8.0)];
/// The repository that these are for.
const LARGE_FILES: usize = 100_000;
/// The most that a checkpoint of many files is to take, in times of the floor.
const TIMES_FLOOR: f64 = 2.5;
/// From how many changed files on.
const FLOOR_FROM: usize = 1_000;
/// How much faster than `git worktree add` a workspace is to be opened.
const TIMES_WORKTREE: f64 = 500.0;
/// How much more a late checkpoint, or one in a larger repository, may take.
const TIMES_SAME: f64 = 1.3;

/// What is measured.
#[derive(Clone, Debug)]
struct Plan {
    /// Files of the repositories.
    files: Vec<usize>,
    /// Changed files, half of them edited and half new.
    changed: Vec<usize>,
    /// Rounds; odd, so that there is a middle one.
    rounds: usize,
    /// Checkpoints of one session, and how many of the last of each half are compared.
    chain: (usize, usize),
    /// Sessions at once.
    crowd: usize,
    /// Files of a rollback.
    rolled_back: usize,
    /// Whether a missed goal is a failure.
    strict: bool,
}

fn main() -> ExitCode {
    let plan = plan();
    let (mut lines, mut goals) = (Vec::new(), Goals::default());
    println!(
        "budgets of the source: checkpoint {CHECKPOINT_BUDGET} ms, validation {VALIDATION_BUDGET} ms, \
         {CHANGES_BUDGET} changed files a second, {MEMORY_BUDGET} MiB for each session"
    );
    for files in &plan.files {
        println!("\n{files} files (load {})", load());
        let ground = Ground::make(*files);
        println!(
            "base made ready in {:.1} s; git worktree add {:.1} s",
            ground.prepared.as_secs_f64(),
            ground.worktree.as_secs_f64()
        );
        let opened = measures::open(&ground, plan.rounds);
        println!(
            "open a workspace {:.2} ms: {:.0} x faster than git worktree add",
            millis(opened),
            ground.worktree.as_secs_f64() / opened.as_secs_f64()
        );
        let times = ground.worktree.as_secs_f64() / opened.as_secs_f64();
        if *files >= LARGE_FILES {
            let what = format!("opening, {files} files: times of git");
            goals.at_least(&what, times, TIMES_WORKTREE);
        }
        lines.push(serde_json::json!({
            "bench": "open", "files": files, "ms": rounded(millis(opened)),
            "git_worktree_add_ms": rounded(millis(ground.worktree)),
        }));
        println!(
            "changed   capture (stored)     judge       sum     floor (stored)       git   x floor   git x"
        );
        for changed in &plan.changed {
            let row = measures::checkpoint(&ground, *changed, plan.rounds);
            print_row(&row);
            goals.checkpoint(*files, &row);
            lines.push(line(*files, &row));
        }
        let (ours, git) = measures::rollback(&ground, plan.rolled_back, plan.rounds);
        println!(
            "rollback of {} files: restore and open {:.1} ms, git {:.1} ms: {:.1} x",
            plan.rolled_back,
            millis(ours),
            millis(git),
            git.as_secs_f64() / ours.as_secs_f64()
        );
        let what = format!("rollback, {files} files: times of git");
        goals.at_least(&what, git.as_secs_f64() / ours.as_secs_f64(), 1.0);
        lines.push(serde_json::json!({
            "bench": "rollback", "files": files, "changed": plan.rolled_back,
            "ms": rounded(millis(ours)), "git_ms": rounded(millis(git)),
        }));
    }
    let ground = Ground::make(plan.files[0]);
    let chain = measures::chain(&ground, plan.chain);
    print_chain(&chain, plan.chain, &mut lines);
    let grown = chain.late.as_secs_f64() / chain.early.as_secs_f64();
    goals.at_most(
        "the last of a chain: times of an early one",
        grown,
        TIMES_SAME,
    );
    let crowd = measures::crowd(&ground, plan.crowd);
    print_crowd(&crowd, plan.crowd, &mut lines);
    goals.at_most("MiB of an idle session", crowd.idle_mib, MEMORY_BUDGET);
    let each = crowd.per_second * measures::USUAL_FILES as f64;
    goals.at_least("changed files a second", each, CHANGES_BUDGET);
    lines.iter().for_each(|it| println!("{it}"));
    goals.end(plan.strict)
}

/// What was missed.
#[derive(Default)]
struct Goals {
    missed: Vec<String>,
    /// What each number of changed files took in the first repository, in milliseconds.
    smaller: Vec<(usize, f64)>,
}

impl Goals {
    fn at_least(&mut self, what: &str, is: f64, goal: f64) {
        self.note(is >= goal, format!("{what}: {is:.2}, goal at least {goal}"));
    }

    fn at_most(&mut self, what: &str, is: f64, goal: f64) {
        self.note(is <= goal, format!("{what}: {is:.2}, goal at most {goal}"));
    }

    fn note(&mut self, is_met: bool, told: String) {
        if !is_met {
            println!("  MISSED  {told}");
            self.missed.push(told);
        }
    }

    fn checkpoint(&mut self, files: usize, row: &Row) {
        let (changed, ours) = (row.changed, millis(row.capture) + millis(row.judge));
        let named = |what: &str| format!("{changed} of {files} files: {what}");
        self.at_most(
            &named("ms of capture"),
            millis(row.capture),
            CHECKPOINT_BUDGET,
        );
        self.at_most(
            &named("ms of judging"),
            millis(row.judge),
            VALIDATION_BUDGET,
        );
        self.at_least(&named("times of git"), row.to_git, 1.0);
        let goal = TIMES_GIT.iter().find(|it| it.0 == changed);
        if let Some((_, goal)) = goal.filter(|_| files >= LARGE_FILES) {
            self.at_least(&named("times of git"), row.to_git, *goal);
        }
        if changed >= FLOOR_FROM {
            self.at_most(&named("times of the floor"), row.to_floor, TIMES_FLOOR);
        }
        match self.smaller.iter().find(|it| it.0 == changed) {
            Some((_, before)) => {
                let grown = ours / before;
                self.at_most(&named("times of fewer files"), grown, TIMES_SAME);
            }
            None => self.smaller.push((changed, ours)),
        }
    }

    fn end(&self, is_strict: bool) -> ExitCode {
        println!("{} goals missed", self.missed.len());
        self.missed.iter().for_each(|it| println!("  {it}"));
        ExitCode::from(u8::from(is_strict && !self.missed.is_empty()))
    }
}

/// Reads the command line; cargo itself passes `--bench`.
fn plan() -> Plan {
    let mut plan = Plan {
        files: vec![10_000, 100_000],
        changed: vec![1, 100, 1_000, 10_000],
        rounds: 7,
        chain: (400, 20),
        crowd: 20,
        rolled_back: 1_000,
        strict: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {}
            "--quick" => {
                plan = Plan {
                    files: vec![500, 2_000],
                    changed: vec![1, 10, 100],
                    rounds: 3,
                    chain: (40, 5),
                    crowd: 4,
                    rolled_back: 100,
                    strict: plan.strict,
                }
            }
            "--files" => plan.files = vec![words.next().unwrap().parse().unwrap()],
            "--changed" => plan.changed = vec![words.next().unwrap().parse().unwrap()],
            "--strict" => plan.strict = true,
            "--rounds" => plan.rounds = words.next().unwrap().parse().unwrap(),
            other => {
                panic!("{other}: only --quick, --files, --changed, --rounds and --strict are known")
            }
        }
    }
    plan
}

fn print_row(row: &Row) {
    let ours = millis(row.capture) + millis(row.judge);
    println!(
        "{:>7} {:>7.2}ms {:>8.2} {:>7.2}ms {:>7.2}ms {:>7.2}ms {:>8.2} {:>7.1}ms   {:>7.2} {:>7.1}",
        row.changed,
        millis(row.capture),
        millis(row.stored),
        millis(row.judge),
        ours,
        millis(row.floor),
        millis(row.floor_stored),
        millis(row.git),
        row.to_floor,
        row.to_git
    );
}

fn line(files: usize, row: &Row) -> serde_json::Value {
    serde_json::json!({
        "bench": "checkpoint", "files": files, "changed": row.changed,
        "capture_ms": rounded(millis(row.capture)), "judge_ms": rounded(millis(row.judge)),
        "stored_ms": rounded(millis(row.stored)),
        "floor_ms": rounded(millis(row.floor)), "floor_stored_ms": rounded(millis(row.floor_stored)),
        "git_ms": rounded(millis(row.git)),
        "of_floor": rounded(row.to_floor), "git_of_ours": rounded(row.to_git),
        "capture_of_floor": rounded(row.capture_to_floor),
    })
}

fn print_chain(
    chain: &Chain,
    (length, sample): (usize, usize),
    lines: &mut Vec<serde_json::Value>,
) {
    println!(
        "\n{length} checkpoints of one session: around the {}th {:.2} ms, around the last {:.2} ms",
        length / 10,
        millis(chain.early),
        millis(chain.late)
    );
    lines.push(serde_json::json!({
        "bench": "chain", "checkpoints": length, "sample": sample,
        "early_ms": rounded(millis(chain.early)), "late_ms": rounded(millis(chain.late)),
    }));
}

fn print_crowd(crowd: &Crowd, sessions: usize, lines: &mut Vec<serde_json::Value>) {
    println!(
        "{sessions} sessions at once: {:.0} checkpoints a second, median {:.1} ms, p99 {:.1} ms, \
         {:.2} MiB for each idle session (the source allowed {MEMORY_BUDGET})",
        crowd.per_second,
        millis(crowd.median),
        millis(crowd.p99),
        crowd.idle_mib
    );
    lines.push(serde_json::json!({
        "bench": "crowd", "sessions": sessions, "per_second": rounded(crowd.per_second),
        "median_ms": rounded(millis(crowd.median)), "p99_ms": rounded(millis(crowd.p99)),
        "idle_mib": rounded(crowd.idle_mib),
    }));
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
