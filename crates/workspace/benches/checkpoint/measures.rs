//! What is measured, each beside what it is compared with.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use domain::SessionId;
use domain::tree::Tree;
use ports::workspaces::{Captured, Workspaces as _};

use crate::ground::{Ground, git, rules, settle, write};

/// Changed files of each checkpoint in a chain and in a crowd.
pub(crate) const USUAL_FILES: usize = 100;
/// Checkpoints of each session in a crowd.
const CROWD_ROUNDS: usize = 5;

/// Medians of one number of changed files.
pub(crate) struct Row {
    pub(crate) changed: usize,
    pub(crate) capture: Duration,
    pub(crate) judge: Duration,
    /// What of the capture the artifact store took.
    pub(crate) stored: Duration,
    pub(crate) floor: Duration,
    /// What of the floor writing and syncing took.
    pub(crate) floor_stored: Duration,
    pub(crate) git: Duration,
    /// The median of the rounds' own ratios: capture and judgement to the floor, capture alone to
    /// the floor, and git to capture and judgement.
    pub(crate) to_floor: f64,
    pub(crate) capture_to_floor: f64,
    pub(crate) to_git: f64,
}

pub(crate) struct Chain {
    pub(crate) early: Duration,
    pub(crate) late: Duration,
}

pub(crate) struct Crowd {
    pub(crate) per_second: f64,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) idle_mib: f64,
}

/// Opens a workspace on the bare base.
pub(crate) fn open(ground: &Ground, rounds: usize) -> Duration {
    drop(ground.open(1, &ground.tree));
    let taken = (0..rounds).map(|round| {
        settle(ground.folder());
        let number = 10 + u128::try_from(round).unwrap();
        timed(|| ground.open(number, &ground.tree)).0
    });
    median(taken.collect())
}

/// A checkpoint of a running session, the floor, and git.
pub(crate) fn checkpoint(ground: &Ground, changed: usize, rounds: usize) -> Row {
    let number = 1_000 + u128::try_from(changed).unwrap();
    let upper = ground.open(number, &ground.tree);
    let worktree = ground.worktree();
    let paths = ground.paths(changed);
    let (mut capture, mut judge) = (Vec::new(), Vec::new());
    let (mut floors, mut gits) = (Vec::new(), Vec::new());
    let (mut stored, mut floors_stored) = (Vec::new(), Vec::new());
    let mut last: Option<Tree> = None;
    // The first round warms all three and is not counted.
    for round in 0..=rounds {
        write(&upper, &paths, round);
        write(&worktree, &paths, round);
        settle(ground.folder());
        ground.artifacts.taken();
        let (took, captured) = timed(|| recapture(ground, number));
        let put = ground.artifacts.taken();
        assert_eq!(captured.changes.len(), changed, "all changes are seen");
        assert_ne!(last, Some(captured.tree.clone()));
        let (judged, violations) = timed(|| judged(ground, &captured));
        assert_eq!(violations, 0);
        last = Some(captured.tree);
        settle(ground.folder());
        let (floor, floor_put) = timed(|| floor(&upper, &paths, &ground.folder().join("floor")));
        settle(ground.folder());
        let (by_git, _) = timed(|| {
            git(&worktree, &["add", "-A"]);
            git(&worktree, &["write-tree"])
        });
        if round > 0 {
            capture.push(took);
            judge.push(judged);
            stored.push(put);
            floors.push(floor);
            floors_stored.push(floor_put);
            gits.push(by_git);
        }
    }
    git(&worktree, &["reset", "-q", "--hard"]);
    let ours: Vec<Duration> = capture.iter().zip(&judge).map(|(a, b)| *a + *b).collect();
    Row {
        changed,
        to_floor: ratio(&ours, &floors),
        capture_to_floor: ratio(&capture, &floors),
        to_git: ratio(&gits, &ours),
        capture: median(capture),
        judge: median(judge),
        stored: median(stored),
        floor: median(floors),
        floor_stored: median(floors_stored),
        git: median(gits),
    }
}

/// A rollback to an earlier checkpoint, made ready for a cell; and git doing the same in place.
pub(crate) fn rollback(ground: &Ground, files: usize, rounds: usize) -> (Duration, Duration) {
    let worktree = ground.worktree();
    let paths = ground.paths(files);
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let number = 5_000 + u128::try_from(round).unwrap();
        let upper = ground.open(number, &ground.tree);
        for folder in [&upper, &worktree] {
            write(folder, &paths, round * 2);
        }
        let good = recapture(ground, number).tree;
        git(&worktree, &["add", "-A"]);
        let wanted = git(&worktree, &["write-tree"]);
        for folder in [&upper, &worktree] {
            write(folder, &paths, round * 2 + 1);
            fs::write(folder.join("src/junk"), "junk").unwrap();
        }
        let bad = recapture(ground, number).tree;
        settle(ground.folder());
        let (took, ()) = timed(|| {
            let changed = ground.workspaces.changes(&good, &bad).unwrap();
            let paths: Vec<String> = changed.into_iter().map(|it| it.path).collect();
            let restored = ground.workspaces.restore(&bad, &good, &paths).unwrap();
            assert_eq!(restored, good);
            drop(ground.open(number + 1_000, &restored));
        });
        ours.push(took);
        settle(ground.folder());
        let (took, _) = timed(|| {
            git(&worktree, &["read-tree", "-u", "--reset", &wanted]);
            git(&worktree, &["clean", "-fdq"])
        });
        gits.push(took);
        assert_eq!(git(&worktree, &["diff", "--name-only"]), "");
        git(&worktree, &["reset", "-q", "--hard", "HEAD"]);
    }
    (median(ours), median(gits))
}

/// Many checkpoints of one session on files that take turns.
pub(crate) fn chain(ground: &Ground, (length, sample): (usize, usize)) -> Chain {
    let number = 8_000;
    let upper = ground.open(number, &ground.tree);
    let paths = ground.paths(USUAL_FILES * 4);
    // From the first on all of them are changed, so that only their number in the chain differs.
    write(&upper, &paths, 0);
    let mut taken = Vec::new();
    for round in 0..length {
        let turn = paths.chunks(USUAL_FILES).nth(round % 4).unwrap();
        write(&upper, turn, round + 1);
        settle(ground.folder());
        let (took, _) = timed(|| {
            let captured = recapture(ground, number);
            judged(ground, &captured)
        });
        taken.push(took);
    }
    let early = length / 10;
    Chain {
        early: median(taken[early.saturating_sub(sample / 2)..early + sample / 2].to_vec()),
        late: median(taken[length - sample..].to_vec()),
    }
}

/// Sessions that all checkpoint at once, and then do nothing.
pub(crate) fn crowd(ground: &Ground, sessions: usize) -> Crowd {
    let paths = ground.paths(USUAL_FILES);
    let before = resident_mib();
    let numbers: Vec<u128> = (0..sessions)
        .map(|it| 9_000 + u128::try_from(it).unwrap())
        .collect();
    let uppers: Vec<_> = numbers
        .iter()
        .map(|it| ground.open(*it, &ground.tree))
        .collect();
    let mut taken = Vec::new();
    let mut wall = Duration::ZERO;
    for round in 0..CROWD_ROUNDS {
        for (place, upper) in uppers.iter().enumerate() {
            write(upper, &paths, round * sessions + place);
        }
        settle(ground.folder());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let running: Vec<_> = numbers
                .iter()
                .map(|number| {
                    scope.spawn(move || {
                        timed(|| {
                            let captured = recapture(ground, *number);
                            judged(ground, &captured)
                        })
                        .0
                    })
                })
                .collect();
            taken.extend(running.into_iter().map(|it| it.join().unwrap()));
        });
        wall += begun.elapsed();
    }
    let idle_mib = (resident_mib() - before).max(0.0) / sessions as f64;
    let per_second = taken.len() as f64 / wall.as_secs_f64();
    taken.sort_unstable();
    let p99 = taken[(taken.len() * 99).div_ceil(100) - 1];
    Crowd {
        per_second,
        median: median(taken),
        p99,
        idle_mib,
    }
}

fn recapture(ground: &Ground, number: u128) -> Captured {
    let mut look = |_: &str, _: &[u8]| ControlFlow::Continue(());
    let session = SessionId::from_bits(number);
    let captured = ground.workspaces.recapture(session, &mut look);
    captured.unwrap().unwrap()
}

fn judged(ground: &Ground, captured: &Captured) -> usize {
    let (tree, changes) = (&captured.tree, &captured.changes);
    let judged = ground
        .workspaces
        .judge(&ground.tree, tree, changes, &rules());
    judged.unwrap().len()
}

/// Reads and hashes the files, appends them to one file, and syncs it once; returns how long the
/// latter took.
fn floor(upper: &Path, paths: &[String], file: &Path) -> Duration {
    let mut all = Vec::new();
    let mut digests = Vec::new();
    for path in paths {
        let content = fs::read(upper.join(path)).unwrap();
        digests.push(*blake3::hash(&content).as_bytes());
        all.extend_from_slice(&content);
    }
    let begun = Instant::now();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .unwrap();
    file.write_all(&all).unwrap();
    file.write_all(&digests.concat()).unwrap();
    file.sync_data().unwrap();
    begun.elapsed()
}

fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let made = act();
    (begun.elapsed(), made)
}

fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

fn ratio(these: &[Duration], those: &[Duration]) -> f64 {
    let paired = these.iter().zip(those);
    let mut ratios: Vec<f64> = paired
        .map(|(a, b)| a.as_secs_f64() / b.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn resident_mib() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1_024.0
}
