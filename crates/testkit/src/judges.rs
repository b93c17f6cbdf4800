//! A fake of judges: it answers as a test says, and remembers what it was asked.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use ports::judges::{Error, Judges, Question};

pub mod contract;

/// What the fake answers to a question.
pub type Answers = dyn Fn(&Question) -> Result<String, Error> + Send + Sync;

/// The fake. It knows every model but those whose name begins with `unknown`.
pub struct FakeJudges {
    answers: Box<Answers>,
    asked: Mutex<Vec<Question>>,
}

impl FakeJudges {
    /// Returns a fake that answers so.
    pub fn new(
        answers: impl Fn(&Question) -> Result<String, Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answers: Box::new(answers),
            asked: Mutex::default(),
        }
    }

    /// Returns what it was asked until now.
    #[must_use]
    pub fn asked(&self) -> Vec<Question> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for FakeJudges {
    fn default() -> Self {
        Self::new(|_| Err(Error::Odd("nobody expected a question".to_owned())))
    }
}

impl fmt::Debug for FakeJudges {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FakeJudges").finish_non_exhaustive()
    }
}

impl Judges for FakeJudges {
    fn knows(&self, model: &str) -> Result<(), Error> {
        if model.is_empty() || model.starts_with("unknown") {
            return Err(Error::Unknown(format!(
                "nobody speaks to the model `{model}`"
            )));
        }
        Ok(())
    }

    fn ask(&self, question: &Question) -> Result<String, Error> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(question.clone());
        drop(asked);
        self.knows(&question.model)?;
        if question.patience.is_zero() {
            return Err(Error::TooSlow(question.patience));
        }
        // As over a real socket: nobody answers where nobody listens.
        std::os::unix::net::UnixStream::connect(&question.socket).map_err(|source| {
            Error::Broken {
                doing: "reaching the session's socket",
                source,
            }
        })?;
        (self.answers)(question)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    fn fake() -> impl Fn() -> Arc<dyn ports::judges::Judges> {
        || Arc::new(super::FakeJudges::default())
    }

    crate::judges_contract!(fake);
}
