//! Judging a checkpoint within a time: what takes longer goes on beside the watch, and until it is
//! done the checkpoint is on record as not judged.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use domain::tree::{Change, ImportRules, Tree};
use ports::workspaces::{Error, Judgement, Workspaces};

/// What is judged.
#[derive(Clone)]
pub(super) struct Matter {
    pub(super) before: Tree,
    pub(super) tree: Tree,
    pub(super) changes: Vec<Change>,
    pub(super) rules: ImportRules,
}

/// A judgement that is under way.
#[derive(Debug)]
pub(super) struct Judging {
    verdict: Receiver<Verdict>,
}

/// What was found, and how long it took in microseconds.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) judgement: Result<Judgement, Error>,
    pub(super) micros: u64,
}

/// What became of a judgement.
#[derive(Debug)]
pub(super) enum Word {
    /// It is there.
    Is(Verdict),
    /// It takes longer.
    NotYet,
    /// Whoever judged is gone without a word.
    Lost,
}

impl Judging {
    /// Begins to judge.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(super) fn begin(workspaces: Arc<dyn Workspaces>, matter: Matter) -> std::io::Result<Self> {
        let (sender, verdict) = mpsc::sync_channel(1);
        let judge = move || {
            let began = Instant::now();
            let Matter {
                before,
                tree,
                changes,
                rules,
            } = matter;
            let judgement = workspaces.judgement(&before, &tree, &changes, &rules);
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            // Whoever asked may be gone: then nobody needs the answer.
            drop(sender.send(Verdict { judgement, micros }));
        };
        let builder = thread::Builder::new().name("judge".to_owned());
        builder.spawn(judge)?;
        Ok(Self { verdict })
    }

    /// Waits for the verdict, at most so long.
    pub(super) fn within(&self, patience: Duration) -> Word {
        match self.verdict.recv_timeout(patience) {
            Ok(verdict) => Word::Is(verdict),
            Err(RecvTimeoutError::Timeout) => Word::NotYet,
            Err(RecvTimeoutError::Disconnected) => Word::Lost,
        }
    }
}
