//! What a session needs around it in a test: folders, a task, and someone who listens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::SessionId;
use domain::agent::Signal;
use domain::session::ToolCall;
use ports::agents::{Limits, Listener, Report, Stream, Task, Verdict};
use ports::cells::{Access, Bind, Cell, CellSpec, Layers, Limits as CellLimits, Tree, Writes};

use super::{lock, must, read};

/// The folders of one session and its task; the folders go with it.
#[derive(Debug)]
pub struct Setting {
    folder: tempfile::TempDir,
    /// The task, to be changed as a test likes.
    pub task: Task,
}

impl Setting {
    /// Makes the setting of a builder's first round: an empty plain workspace, a brief with prompt
    /// and empty context, an empty drop, and deadlines that no test reaches by chance.
    ///
    /// # Panics
    /// When the folders cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let folder = must(tempfile::tempdir(), &std::env::temp_dir());
        let make = |name: &str| {
            let path = folder.path().join(name);
            must(std::fs::create_dir(&path), &path);
            path
        };
        let (brief, drop, dir) = (make("brief"), make("drop"), make("tree"));
        let prompt = "Make it work.\n".to_owned();
        for (name, text) in [
            ("prompt.md", prompt.as_str()),
            (
                "context.json",
                r#"{"findings":[],"violations":[],"answers":[]}"#,
            ),
        ] {
            let path = brief.join(name);
            must(std::fs::write(&path, text), &path);
        }
        let binds = Self::binds(&brief, &drop);
        let task = Task {
            session: SessionId::from_bits(1),
            epoch: 3,
            role: "builder".to_owned(),
            round: 1,
            prompt,
            brief,
            drop,
            cell: CellSpec {
                argv: Vec::new(),
                env: BTreeMap::new(),
                cwd: "/workspace".into(),
                workspace: Some(Tree {
                    layers: Layers::Plain { dir },
                    git_dir: None,
                    writes: Writes::everywhere(),
                }),
                binds,
                layered: Vec::new(),
                masks: Vec::new(),
                programs: None,
                accepted: Vec::new(),
                limits: CellLimits::default(),
            },
            model_socket: None,
            model: None,
            may_fetch_packages: false,
            limits: Limits {
                wall: Duration::from_secs(120),
                first_word: Duration::from_secs(120),
                idle: Duration::from_secs(120),
                ..Limits::default()
            },
        };
        Self { folder, task }
    }

    /// Returns the binds that every session's cell comes with: its brief and its drop.
    #[must_use]
    pub fn binds(brief: &Path, drop: &Path) -> Vec<Bind> {
        let places = [
            (brief, "/brief", Access::ReadOnly),
            (drop, "/.agent", Access::Writable),
        ];
        let bind = |(source, target, access): (&Path, &str, _)| Bind {
            source: source.to_path_buf(),
            target: target.into(),
            access,
        };
        places.map(bind).into()
    }

    /// Returns the folder of all of it, for files of the test's own.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Returns the workspace's folder.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    /// Returns the text of a file of the workspace.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        read(&self.tree().join(path))
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self::new()
    }
}

/// A listener that keeps all it hears and stops the session when told to.
#[derive(Default)]
pub struct Recorder {
    reports: Mutex<Vec<Report>>,
    cell: Mutex<Option<Arc<dyn Cell>>>,
    stop: AtomicBool,
    stop_at: Option<fn(&Report) -> bool>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reports = &self.reports;
        out.debug_struct("Recorder")
            .field("reports", reports)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Makes a recorder that answers the first report of this kind, and all after it, with a stop.
    #[must_use]
    pub fn stopping_at(report: fn(&Report) -> bool) -> Self {
        Self {
            stop_at: Some(report),
            ..Self::default()
        }
    }

    /// Stops the session at the next poll or report.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Returns all reports so far.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        lock(&self.reports).clone()
    }

    /// Returns the signals that were reported as such.
    #[must_use]
    pub fn signals(&self) -> Vec<Signal> {
        let reports = self.reports().into_iter();
        reports
            .filter_map(|report| match report {
                Report::Signal(_, signal) => Some(signal),
                Report::Started
                | Report::Output(..)
                | Report::Malformed(..)
                | Report::Late(_)
                | Report::Called(_) => None,
            })
            .collect()
    }

    /// Returns the late signals.
    #[must_use]
    pub fn late(&self) -> Vec<Signal> {
        let reports = self.reports().into_iter();
        reports
            .filter_map(|report| match report {
                Report::Late(signal) => Some(signal),
                Report::Started
                | Report::Output(..)
                | Report::Malformed(..)
                | Report::Signal(..)
                | Report::Called(_) => None,
            })
            .collect()
    }

    /// Returns the tools that the agent called.
    #[must_use]
    pub fn called(&self) -> Vec<ToolCall> {
        let reports = self.reports().into_iter();
        reports
            .filter_map(|report| match report {
                Report::Called(call) => Some(call),
                Report::Started
                | Report::Output(..)
                | Report::Malformed(..)
                | Report::Signal(..)
                | Report::Late(_) => None,
            })
            .collect()
    }

    /// Returns why signals were malformed.
    #[must_use]
    pub fn malformed(&self) -> Vec<String> {
        let reports = self.reports().into_iter();
        reports
            .filter_map(|report| match report {
                Report::Malformed(why, _) => Some(why),
                Report::Started
                | Report::Output(..)
                | Report::Signal(..)
                | Report::Late(_)
                | Report::Called(_) => None,
            })
            .collect()
    }

    /// Returns what was kept of one stream, as text.
    #[must_use]
    pub fn output(&self, wanted: Stream) -> String {
        let mut bytes = Vec::new();
        for report in self.reports() {
            match report {
                Report::Output(stream, piece) if stream == wanted => bytes.extend(piece),
                Report::Output(..)
                | Report::Started
                | Report::Malformed(..)
                | Report::Signal(..)
                | Report::Late(_)
                | Report::Called(_) => {}
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the control of the cell, once it was handed over.
    #[must_use]
    pub fn running(&self) -> Option<Arc<dyn Cell>> {
        lock(&self.cell).clone()
    }

    fn verdict(&self) -> Verdict {
        if self.stop.load(Ordering::Acquire) {
            Verdict::Stop
        } else {
            Verdict::Continue
        }
    }
}

impl Listener for Recorder {
    fn report(&self, report: Report) -> Verdict {
        if self.stop_at.is_some_and(|stops| stops(&report)) {
            self.stop();
        }
        lock(&self.reports).push(report);
        self.verdict()
    }

    fn poll(&self) -> Verdict {
        self.verdict()
    }

    fn cell(&self, cell: Arc<dyn Cell>) {
        lock(&self.cell).replace(cell);
    }
}
