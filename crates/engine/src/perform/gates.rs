//! RunGates: deterministic checks, each in a fresh cell on the proposal's tree. Evidence is bound
//! to the digests of the gate and the tree, and used again only for the same two.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domain::case::{Case, Command};
use domain::conclude::{self, Said};
use domain::formula::{Gate, Kind};
use domain::gate::{self, Ended, Evidence, Tests};
use domain::policy::GateFact;
use domain::run::Activity;
use domain::tree::Tree;
use domain::{Digest, EffectId, Millis, RunId, SessionId, WorkId, work};
use ports::cells::{Cell, Exit, Launched};

use super::tripwire::Alarm;
use super::{Bench, bare, junit, test_output};
use crate::recorder::Error;
use crate::views::dossier::evidence_key;
use crate::world::digest_of;

/// The end of a gate's output that is kept, in bytes.
const LOG_BYTES_MAX: usize = 1024 * 1024;

/// The end of a gate's standard output that is read for test results, in bytes.
const OUTPUT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The largest test report that is read, in bytes.
const REPORT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How often a running gate is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Performs the effect.
///
/// # Errors
/// When the log, the store or the disk fails, or the engine is stopping: the effect stays.
pub fn perform(bench: &Bench<'_>, work: WorkId, id: RunId, effect: EffectId) -> Result<(), Error> {
    let case = bench.recorder.load(work)?;
    let Some((wanted, tree, base)) = asked(&case) else {
        return bench.recorder.settle(effect);
    };
    let said = match all_say(bench, work, &wanted, &tree, &base) {
        Err(Error::Incident(detail)) => after_incident(bench, &wanted, &tree, &detail)?,
        other => match other? {
            Some(said) => said,
            None if bench.is_stopping() => return Ok(()),
            // The work was called off meanwhile: nobody waits for the outcome any more.
            None => return bench.recorder.settle(effect),
        },
    };
    bench.recorder.submit(work, Some(effect), |case| {
        if asked(case).is_none_or(|(_, now, _)| now != tree) {
            return Ok::<Vec<Command>, Error>(vec![]);
        }
        Ok(conclude::gates(case, id, said.clone()))
    })?;
    Ok(())
}

/// Returns what no gate says any more: the step has failed, and is nobody's to mend but the
/// operator's.
fn after_incident(
    bench: &Bench<'_>,
    wanted: &[Gate],
    tree: &Tree,
    detail: &str,
) -> Result<Vec<Said>, Error> {
    let told = format!("incident: {detail}");
    let log = bench.recorder.world().artifacts.put(told.as_bytes())?;
    let said = wanted.iter().map(|gate| Said {
        fact: GateFact {
            gate: gate.name.clone(),
            tree: tree.digest,
            reasons: vec![told.clone()],
        },
        log,
        has_run: false,
    });
    Ok(said.collect())
}

/// Returns what each gate says; nothing when it was interrupted by the end of the engine or the
/// work.
fn all_say(
    bench: &Bench<'_>,
    work: WorkId,
    wanted: &[Gate],
    tree: &Tree,
    base: &Tree,
) -> Result<Option<Vec<Said>>, Error> {
    let mut said = Vec::new();
    for gate in wanted {
        let before = look(bench, work, gate, base)?;
        let now = look(bench, work, gate, tree)?;
        let (Some(before), Some(now)) = (before, now) else {
            return Ok(None);
        };
        let (tests_before, tests_now) = (tests(bench, &before)?, tests(bench, &now)?);
        // A command that the base could start is the change's to mend, and no fault of the setup.
        let has_run = now.ended != Ended::NotStarted || before.ended != Ended::NotStarted;
        let reasons = if has_run {
            gate::judge(gate, now.ended, &tests_now, Some(&tests_before))
        } else {
            let log = bench.recorder.world().artifacts.get(&now.log)?;
            let told = String::from_utf8_lossy(&log);
            vec![format!("its command could not be started: {}", told.trim())]
        };
        let fact = GateFact {
            gate: gate.name.clone(),
            tree: tree.digest,
            reasons,
        };
        said.push(Said {
            fact,
            log: now.log,
            has_run,
        });
    }
    Ok(Some(said))
}

/// Returns the gates that are asked for, and the trees they look at.
fn asked(case: &Case) -> Option<(Vec<Gate>, Tree, Tree)> {
    if matches!(case.work(), Some((_, work::State::Closed(..)))) {
        return None;
    }
    let active = case.active()?;
    let (step, activity) = active.current()?;
    let (Activity::Gates, Kind::Gate { gates }) = (activity, &active.run.formula.step(step)?.kind)
    else {
        return None;
    };
    let wanted = active.run.gates.iter();
    let wanted = wanted
        .filter(|it| gates.is_empty() || gates.contains(&it.name))
        .cloned();
    // After a rebase, the base of the tree is another than the run's; gates compare with that.
    Some((wanted.collect(), active.tree.clone(), bare(&active.tree)))
}

fn tests(bench: &Bench<'_>, evidence: &Evidence) -> Result<Tests, Error> {
    let bytes = bench.recorder.world().artifacts.get(&evidence.tests)?;
    serde_json::from_slice(&bytes)
        .map_err(|it| Error::Fault(format!("the tests of gate `{}`: {it}", evidence.gate)))
}

/// Returns what a gate says of a tree: from the record, or by running it; nothing when it was
/// interrupted by the end of the engine or the work.
fn look(
    bench: &Bench<'_>,
    work: WorkId,
    gate: &Gate,
    tree: &Tree,
) -> Result<Option<Evidence>, Error> {
    let world = bench.recorder.world();
    let tree = world
        .workspaces
        .prepare(&tree.base, &bench.settings.secrets)
        .map(|base| {
            if tree.manifest.is_none() {
                base
            } else {
                tree.clone()
            }
        })?;
    let definition = serde_json::to_vec(gate)
        .map_err(|it| Error::Fault(format!("gate `{}`: {it}", gate.name)))?;
    let definition = digest_of(&definition);
    let key = evidence_key(definition, tree.digest);
    if let gate::State::Recorded(known) = bench.recorder.evidence(key)? {
        return Ok(Some(known));
    }
    let Some(seen) = run(bench, work, gate, &tree)? else {
        return Ok(None);
    };
    let text = serde_json::to_vec(&seen.tests)
        .map_err(|it| Error::Fault(format!("gate `{}`: {it}", gate.name)))?;
    let digests = world.artifacts.put_all(&[&text, &seen.log])?;
    let count = |it: &[String]| u64::try_from(it.len()).unwrap_or(u64::MAX);
    let evidence = Evidence {
        gate: gate.name.clone(),
        definition,
        tree: tree.digest,
        ended: seen.ended,
        executed: count(&seen.tests.executed),
        failed: count(&seen.tests.failed),
        skipped: count(&seen.tests.skipped),
        tests: digests.first().copied().unwrap_or(Digest::ZERO),
        log: digests.get(1).copied().unwrap_or(Digest::ZERO),
        wall: seen.wall,
    };
    // What never ran proves nothing and is tried again next time.
    if seen.ended == Ended::NotStarted {
        return Ok(Some(evidence));
    }
    bench.recorder.record_evidence(key, evidence).map(Some)
}

struct Seen {
    ended: Ended,
    tests: Tests,
    log: Vec<u8>,
    wall: Millis,
}

fn run(bench: &Bench<'_>, work: WorkId, gate: &Gate, tree: &Tree) -> Result<Option<Seen>, Error> {
    let world = bench.recorder.world();
    let layers = layers_of(work, gate, tree)?;
    let alarm = Alarm::of(bench.watch(&tree.base)?);
    let mut cell = bench.gate_cell(layers, tree)?;
    cell.argv = command(&gate.argv);
    let began = Instant::now();
    let (ended, log, out) = match world.cells.launch(&cell) {
        Ok(launched) => {
            let (log, out) = (Tail::of(LOG_BYTES_MAX), Tail::of(OUTPUT_BYTES_MAX));
            match supervise(bench, work, gate, launched, &log, &out, &alarm) {
                Ok(ended) => (ended, log.taken(), out.taken()),
                Err(error) => {
                    // The error that came first is the one to tell.
                    let (Ok(()) | Err(_)) = world.workspaces.close(layers);
                    return Err(error);
                }
            }
        }
        Err(error) => {
            let told = error.to_string().into_bytes();
            (Some(Ended::NotStarted), told, Vec::new())
        }
    };
    let wall = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let ended = match ended {
        Some(Ended::Exited { code: 126 | 127 }) if is_looked_up(&gate.argv) => {
            Some(Ended::NotStarted)
        }
        other => other,
    };
    let report = match (&gate.junit, ended) {
        (Some(path), Some(_)) => world.workspaces.read_left(layers, path, REPORT_BYTES_MAX)?,
        (None, _) | (_, None) => None,
    };
    world.workspaces.close(layers)?;
    world.workspaces.remove_caches(&layers.to_string())?;
    alarm.check(report.as_deref())?;
    let Some(ended) = ended else { return Ok(None) };
    let tests = match (&gate.junit, report) {
        // A report that was promised and is not there, or cannot be read, counts as no test.
        (Some(_), report) => {
            let read = report.and_then(|it| junit::read(&it).ok());
            read.unwrap_or(Tests {
                reported: true,
                ..Tests::default()
            })
        }
        (None, _) => test_output::read(&String::from_utf8_lossy(&out), &gate.name, ended),
    };
    Ok(Some(Seen {
        ended,
        tests,
        log,
        wall,
    }))
}

/// Returns what a gate's scratch copy is called: the same after a crash, so that what a killed
/// engine left is made anew and removed.
fn layers_of(work: WorkId, gate: &Gate, tree: &Tree) -> Result<SessionId, Error> {
    let name = serde_json::to_vec(&(work, gate, tree.digest))
        .map_err(|it| Error::Fault(format!("gate `{}`: {it}", gate.name)))?;
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest_of(&name).as_bytes()[..16]);
    Ok(SessionId::from_bits(u128::from_be_bytes(bits)))
}

/// A program without a slash is looked up in the cell's own `PATH`, and one of the tree (`./check`)
/// in the workspace, by `env`, which says 127 when there is none.
fn command(argv: &[String]) -> Vec<String> {
    let mut command = Vec::new();
    if argv.first().is_some_and(|it| !it.starts_with('/')) {
        command.extend(["/usr/bin/env".to_string(), "--".to_string()]);
    }
    command.extend(argv.iter().cloned());
    command
}

/// Returns whether `env` finds the program, and says 126 or 127 when it cannot be run.
fn is_looked_up(argv: &[String]) -> bool {
    argv.first()
        .is_some_and(|it| !it.starts_with('/') || it.ends_with("/env"))
}

/// The end of what was printed, at most so many bytes.
struct Tail {
    bytes: Mutex<VecDeque<u8>>,
    limit: usize,
}

impl Tail {
    const fn of(limit: usize) -> Self {
        Self {
            bytes: Mutex::new(VecDeque::new()),
            limit,
        }
    }

    fn add(&self, bytes: &[u8]) {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let over = kept.len().saturating_sub(self.limit);
        kept.drain(..over);
    }

    fn taken(&self) -> Vec<u8> {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *kept).into()
    }
}

fn supervise(
    bench: &Bench<'_>,
    work: WorkId,
    gate: &Gate,
    launched: Launched,
    log: &Tail,
    out: &Tail,
    alarm: &Alarm,
) -> Result<Option<Ended>, Error> {
    let Launched { streams, cell } = launched;
    drop(streams.stdin);
    let (stdout, stderr) = (streams.stdout, streams.stderr);
    thread::scope(|scope| {
        scope.spawn(|| drain(stdout, &[log, out], alarm, cell.as_ref()));
        scope.spawn(|| drain(stderr, &[log], alarm, cell.as_ref()));
        let ended = wait(bench, work, gate, cell.as_ref());
        if ended.is_err() {
            // Nobody watches it any more, and its streams are read to their end.
            let (Ok(()) | Err(_)) = cell.kill();
        }
        ended
    })
}

fn drain(mut from: Box<dyn Read + Send>, to: &[&Tail], alarm: &Alarm, cell: &dyn Cell) {
    let (mut buffer, mut stream) = ([0; 16 * 1024], secrets::Stream::default());
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                alarm.hear(&mut stream, &buffer[..count], cell);
                to.iter().for_each(|it| it.add(&buffer[..count]));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn wait(
    bench: &Bench<'_>,
    work: WorkId,
    gate: &Gate,
    cell: &dyn Cell,
) -> Result<Option<Ended>, Error> {
    let failed = |it: ports::cells::Error| Error::Fault(format!("gate `{}`: {it}", gate.name));
    let mut waited = Duration::ZERO;
    let mut head = ports::log::Position::default();
    loop {
        if let Some(exit) = cell.wait(LOOK).map_err(failed)? {
            return Ok(Some(match exit {
                Exit::Code(code) => Ended::Exited { code },
                Exit::Signal(signal) => Ended::Killed { signal },
                Exit::OverQuota { .. } => Ended::OverQuota,
            }));
        }
        waited += LOOK;
        let over = Duration::from_millis(gate.wall.0) <= waited;
        if over || bench.is_stopping() || is_closed(bench, work, &mut head)? {
            cell.kill().map_err(failed)?;
            cell.wait(Duration::from_secs(10)).map_err(failed)?;
            return Ok(over.then_some(Ended::TimedOut));
        }
    }
}

fn is_closed(
    bench: &Bench<'_>,
    work: WorkId,
    seen: &mut ports::log::Position,
) -> Result<bool, Error> {
    let head = bench.recorder.world().log.head()?;
    if *seen == head {
        return Ok(false);
    }
    *seen = head;
    Ok(matches!(
        bench.recorder.load(work)?.work(),
        Some((_, work::State::Closed(..)))
    ))
}
