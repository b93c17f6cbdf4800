//! An agent without a process: [`FakeDriver`], for fast tests of what is built upon drivers.
//!
//! A closure plays the agent. It changes the session's tree and speaks through its [`Stage`], which
//! keeps the rules every driver keeps: the first terminal signal decides the end, later signals are
//! late, and a session that the engine stops is stopped.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domain::agent::{EndReason, Signal};
use domain::session::{ToolCall, ToolKind};
use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Report, Stream, Task, Verdict};
use ports::cells::{Cell, Denied, Error, Exit, Layers, Wall};
use rustix::fs::{CWD, FileType, Mode, mknodat};

mod setting;

pub use setting::{Recorder, Setting};

/// Between two questions whether to go on, while the agent waits.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// The agent's part.
type Part = dyn Fn(&mut Stage<'_>) + Send + Sync;

/// A driver whose agent is a closure.
pub struct FakeDriver {
    name: String,
    part: Box<Part>,
    tasks: Mutex<Vec<Task>>,
}

impl FakeDriver {
    /// Makes a driver with this name whose every session plays `part`, which can tell sessions
    /// apart by [`Stage::role`] and [`Stage::round`].
    #[must_use]
    pub fn new(name: &str, part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static) -> Self {
        Self {
            name: name.to_owned(),
            part: Box::new(part),
            tasks: Mutex::new(Vec::new()),
        }
    }

    /// Returns the tasks that were run, in order.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        lock(&self.tasks).clone()
    }
}

impl fmt::Debug for FakeDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FakeDriver")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Driver for FakeDriver {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            governed: true,
            leave: Leave::Never,
            asked_to_stop: false,
            speaks_pause: false,
            follow_up: false,
            reports_usage: false,
        }
    }

    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        task.cell.argv = vec![format!("/fake/{}", self.name)];
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        lock(&self.tasks).push(task.clone());
        let cell = Arc::new(FakeCell::default());
        let mut stage = Stage {
            task: &task,
            listener,
            cell: Arc::clone(&cell),
            end: None,
            output_bytes: 0,
            malformed: 0,
            late: 0,
        };
        listener.cell(Arc::clone(&cell) as Arc<dyn Cell>);
        stage.report(Report::Started);
        (self.part)(&mut stage);
        let killed = cell.state().exit;
        let reason = stage.end.unwrap_or(match killed {
            Some(Exit::Signal(signal)) => EndReason::NoSignal {
                code: None,
                killed_by: Some(signal),
            },
            Some(Exit::OverQuota { bytes, files }) => EndReason::OverQuota {
                detail: task.cell.limits.outgrown(bytes, files),
            },
            Some(Exit::Code(code)) => no_signal(code),
            None => no_signal(0),
        });
        cell.end(Exit::Code(0));
        Outcome {
            reason,
            output_bytes: stage.output_bytes,
            malformed: stage.malformed,
            late: stage.late,
        }
    }
}

const fn no_signal(code: i32) -> EndReason {
    EndReason::NoSignal {
        code: Some(code),
        killed_by: None,
    }
}

/// What the closure acts on: one session.
pub struct Stage<'a> {
    task: &'a Task,
    listener: &'a dyn Listener,
    cell: Arc<FakeCell>,
    end: Option<EndReason>,
    output_bytes: u64,
    malformed: u32,
    late: u32,
}

impl fmt::Debug for Stage<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stage")
            .field("session", &self.task.session)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Stage<'_> {
    /// Returns the task.
    #[must_use]
    pub const fn task(&self) -> &Task {
        self.task
    }

    /// Returns the role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.task.role
    }

    /// Returns the round.
    #[must_use]
    pub const fn round(&self) -> u32 {
        self.task.round
    }

    /// Returns the text of a file of the brief.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn brief(&self, name: &str) -> String {
        read(&self.task.brief.join(name))
    }

    /// Returns what the agent sees in a file of the workspace, whichever layer holds it.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        let tops = self.top().into_iter();
        let layers = tops.chain(self.lowers().iter().map(PathBuf::as_path));
        let mut found = layers.map(|layer| layer.join(path));
        // The top-most that has anything there; a whiteout is no file.
        found
            .find(|path| fs::symlink_metadata(path).is_ok())
            .filter(|path| path.is_file())
            .map(|path| read(&path))
    }

    /// Writes a file of the workspace, making its folders.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&mut self, path: &str, text: &str) {
        let path = self.writable(path);
        if let Some(folder) = path.parent() {
            must(fs::create_dir_all(folder), folder);
        }
        match fs::symlink_metadata(&path) {
            // A whiteout is replaced, never written through.
            Ok(facts) if !facts.is_file() => must(fs::remove_file(&path), &path),
            Ok(_) | Err(_) => {}
        }
        must(fs::write(&path, text), &path);
    }

    /// Deletes a file of the workspace; in an overlay, leaves a whiteout where a lower layer holds
    /// it.
    ///
    /// # Panics
    /// When it cannot be deleted.
    pub fn delete(&mut self, path: &str) {
        let top = self.writable(path);
        if fs::symlink_metadata(&top).is_ok() {
            must(fs::remove_file(&top), &top);
        }
        if self.lowers().iter().any(|it| it.join(path).exists()) {
            if let Some(folder) = top.parent() {
                must(fs::create_dir_all(folder), folder);
            }
            let kind = FileType::CharacterDevice;
            let made = mknodat(CWD, &top, kind, Mode::empty(), 0);
            must(made.map_err(Into::into), &top);
        }
    }

    /// Reports a signal in the session's own epoch.
    pub fn signal(&mut self, signal: Signal) -> Verdict {
        if self.is_dead() {
            return Verdict::Stop;
        }
        if self.end.is_some() {
            self.late += 1;
            return self.report(Report::Late(signal));
        }
        let end = match &signal {
            Signal::Progress { .. }
            | Signal::Ask { .. }
            | Signal::Finding { .. }
            | Signal::Acknowledge { .. }
            | Signal::ProposeAction { .. } => None,
            Signal::Done { summary } => Some(EndReason::Done {
                summary: summary.clone(),
            }),
            Signal::Refuse { reason, detail } => Some(EndReason::Refused {
                refusal: *reason,
                detail: detail.clone(),
            }),
            Signal::Fail { reason } => Some(EndReason::Failed {
                detail: reason.clone(),
            }),
        };
        let verdict = self.report(Report::Signal(self.task.epoch, signal));
        // A stop that answers the terminal signal comes after it.
        match end {
            Some(end) if self.end.is_none() || verdict == Verdict::Stop => self.end = Some(end),
            Some(_) | None => {}
        }
        verdict
    }

    /// Reports a signal that is not terminal in an epoch that may not be the session's own.
    pub fn signal_with(&mut self, epoch: u64, signal: Signal) -> Verdict {
        self.report(Report::Signal(epoch, signal))
    }

    /// Tells that a tool was called, or why it was not permitted.
    pub fn call(&mut self, tool: &str, subject: &str, refused: Option<&str>) -> Verdict {
        self.report(Report::Called(ToolCall {
            tool: tool.to_owned(),
            kind: ToolKind::Run,
            subject: subject.to_owned(),
            refused: refused.map(str::to_owned),
        }))
    }

    /// Signals that the work is done.
    pub fn done(&mut self, summary: &str) -> Verdict {
        self.signal(Signal::Done {
            summary: summary.to_owned(),
        })
    }

    /// Signals progress.
    pub fn progress(&mut self, text: &str) -> Verdict {
        self.signal(Signal::Progress {
            text: text.to_owned(),
        })
    }

    /// Asks a question.
    pub fn ask(&mut self, priority: &str, report: &str) -> Verdict {
        self.signal(Signal::Ask {
            report: report.to_owned(),
            priority: priority.to_owned(),
        })
    }

    /// Reports a finding.
    pub fn finding(&mut self, file: &str, line: u32, rule: &str, text: &str) -> Verdict {
        self.signal(Signal::Finding {
            file: file.to_owned(),
            line,
            rule: rule.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Prints.
    pub fn print(&mut self, text: &str) -> Verdict {
        self.output_bytes += u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.report(Report::Output(Stream::Out, text.as_bytes().to_vec()))
    }

    /// Says something that is no signal.
    pub fn malformed(&mut self, why: &str, raw: &str) -> Verdict {
        self.malformed += 1;
        self.report(Report::Malformed(why.to_owned(), raw.to_owned()))
    }

    /// Ends the session for this reason, unless its end is decided already: a deadline, a crash.
    pub fn end(&mut self, reason: EndReason) {
        self.end.get_or_insert(reason);
    }

    /// Has the kernel refuse something, so often.
    pub fn denied(&mut self, what: &str, count: u64) {
        self.cell.state().denied.push(Denied {
            what: what.to_owned(),
            count,
        });
    }

    /// Writes more than the cell's disk quota, as far as anyone can tell: the cell is ended.
    pub fn outgrow(&mut self, bytes: u64, files: u64) {
        self.cell.end(Exit::OverQuota { bytes, files });
    }

    /// Hangs until the engine stops the session or kills its cell. Pauses last while they last.
    ///
    /// # Panics
    /// When neither happens for `patience`.
    pub fn hang(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.is_over() {
            assert!(Instant::now() < until, "nobody ended the hanging session");
            thread::sleep(POLL_EVERY);
        }
    }

    /// Waits until `condition` holds; returns false when the session is ended before.
    ///
    /// # Panics
    /// When neither happens for `patience`.
    pub fn wait_until(&mut self, patience: Duration, condition: impl Fn() -> bool) -> bool {
        let until = Instant::now() + patience;
        loop {
            if self.is_over() {
                return false;
            }
            if condition() {
                return true;
            }
            assert!(
                Instant::now() < until,
                "what the agent waits for never came"
            );
            thread::sleep(POLL_EVERY);
        }
    }

    /// Tells whether the session is to end, or its cell has.
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        if self.listener.poll() == Verdict::Stop {
            self.end.get_or_insert(EndReason::Stopped);
            return true;
        }
        self.cell.state().exit.is_some()
    }

    /// Reports, unless the cell was killed; waits before and after while it is paused.
    fn report(&mut self, report: Report) -> Verdict {
        if self.is_dead() {
            return Verdict::Stop;
        }
        let verdict = self.listener.report(report);
        if verdict == Verdict::Stop {
            self.end.get_or_insert(EndReason::Stopped);
        }
        self.cell.stand();
        verdict
    }

    /// Waits while the cell is paused, and tells whether it was killed.
    fn is_dead(&self) -> bool {
        self.cell.stand();
        self.cell.state().exit.is_some()
    }

    /// Returns where changes of the tree land.
    fn top(&self) -> Option<&Path> {
        match &self.task.cell.workspace.as_ref()?.layers {
            Layers::Overlay { upper, .. } => Some(upper),
            Layers::Plain { dir } => Some(dir),
            Layers::ReadOnly { .. } => None,
        }
    }

    fn writable(&self, path: &str) -> PathBuf {
        let top = self.top().expect("this session has no writable workspace");
        top.join(path)
    }

    fn lowers(&self) -> &[PathBuf] {
        match self.task.cell.workspace.as_ref().map(|tree| &tree.layers) {
            Some(Layers::Overlay { lowers, .. } | Layers::ReadOnly { lowers }) => lowers,
            Some(Layers::Plain { .. }) | None => &[],
        }
    }
}

/// The cell of a fake session: nothing but its switches.
#[derive(Debug, Default)]
struct FakeCell {
    state: Mutex<CellState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CellState {
    paused: bool,
    exit: Option<Exit>,
    denied: Vec<Denied>,
}

impl FakeCell {
    fn state(&self) -> MutexGuard<'_, CellState> {
        lock(&self.state)
    }

    fn end(&self, exit: Exit) {
        self.state().exit.get_or_insert(exit);
        self.changed.notify_all();
    }

    fn set_paused(&self, paused: bool) {
        self.state().paused = paused;
        self.changed.notify_all();
    }

    /// Stands while the cell is paused.
    fn stand(&self) {
        let standing = |state: &mut CellState| state.paused && state.exit.is_none();
        drop(self.changed.wait_while(self.state(), standing));
    }
}

impl Cell for FakeCell {
    fn wait(&self, patience: Duration) -> Result<Option<Exit>, Error> {
        let running = |state: &mut CellState| state.exit.is_none();
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), patience, running)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(state.exit)
    }

    fn kill(&self) -> Result<(), Error> {
        self.end(Exit::Signal(9));
        Ok(())
    }

    fn pause(&self) -> Result<(), Error> {
        self.set_paused(true);
        Ok(())
    }

    fn resume(&self) -> Result<(), Error> {
        self.set_paused(false);
        Ok(())
    }

    fn walls(&self) -> Vec<Wall> {
        Vec::new()
    }

    fn denied(&self) -> Vec<Denied> {
        std::mem::take(&mut self.state().denied)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::panic,
    reason = "a test whose files are not there cannot go on"
)]
fn must<T>(result: std::io::Result<T>, path: &Path) -> T {
    result.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(path: &Path) -> String {
    must(fs::read_to_string(path), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(setting: &Setting, part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static) -> Outcome {
        FakeDriver::new("fake", part).run(setting.task.clone(), &Recorder::default())
    }

    #[test]
    fn the_first_terminal_signal_decides_and_the_rest_is_late() {
        let setting = Setting::new();
        let recorder = Recorder::default();
        let driver = FakeDriver::new("fake", |stage| {
            stage.progress("on it");
            stage.done("first");
            stage.done("second");
        });
        let outcome = driver.run(setting.task, &recorder);
        let summary = "first".to_owned();
        assert_eq!(outcome.reason, EndReason::Done { summary });
        assert_eq!((outcome.late, recorder.late().len()), (1, 1));
        assert_eq!(recorder.signals().len(), 2);
        assert_eq!(driver.tasks().len(), 1);
    }

    #[test]
    fn a_part_without_a_word_is_no_signal() {
        assert_eq!(play(&Setting::new(), |_| {}).reason, no_signal(0));
    }

    #[test]
    fn a_stop_ends_a_hanging_part() {
        let recorder = Recorder::stopping_at(|report| matches!(report, Report::Signal(..)));
        let driver = FakeDriver::new("fake", |stage| {
            stage.progress("on it");
            stage.hang(Duration::from_secs(60));
        });
        let outcome = driver.run(Setting::new().task, &recorder);
        assert_eq!(outcome.reason, EndReason::Stopped);
    }

    #[test]
    fn layers_are_read_through_and_changes_land_on_top() {
        let mut setting = Setting::new();
        let lower = setting.folder().join("lower");
        let upper = setting.tree();
        fs::create_dir(&lower).unwrap();
        fs::write(lower.join("kept"), "below").unwrap();
        fs::write(lower.join("changed"), "below").unwrap();
        setting.task.cell.workspace.as_mut().unwrap().layers = Layers::Overlay {
            lowers: vec![lower.clone()],
            upper,
            work: setting.folder().join("work"),
        };
        let outcome = play(&setting, |stage| {
            assert_eq!(stage.read("kept").as_deref(), Some("below"));
            stage.write("changed", "above");
            stage.write("new/file", "above");
            assert_eq!(stage.read("changed").as_deref(), Some("above"));
            stage.done("changed");
        });
        assert_eq!(outcome.reason.name(), "done");
        assert_eq!(setting.text("new/file"), "above");
        assert_eq!(read(&lower.join("changed")), "below");
    }

    #[test]
    fn a_killed_part_says_nothing_any_more() {
        let recorder = Arc::new(Recorder::default());
        let heard = Arc::clone(&recorder);
        let driver = FakeDriver::new("fake", move |stage| {
            if let Some(cell) = heard.running() {
                cell.kill().unwrap();
            }
            stage.done("too late");
        });
        let outcome = driver.run(Setting::new().task, &*recorder);
        let killed_by = Some(9);
        let code = None;
        assert_eq!(outcome.reason, EndReason::NoSignal { code, killed_by });
        assert!(recorder.signals().is_empty());
    }
}
