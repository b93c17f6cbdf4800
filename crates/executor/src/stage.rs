//! The stages of a request: a death after any of them has one meaning.

/// A stage that a request has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was read. A death here: nothing happened.
    Received,
    /// It was judged and everything it needs is there. A death here: nothing happened.
    Judged,
    /// Its intent is on disk. A death here: the target is looked at.
    Recorded,
    /// The effect has happened. A death here: the target is looked at.
    Performed,
    /// Its receipt is on disk. A death here: the receipt is told when asked again.
    Settled,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Received,
        Self::Judged,
        Self::Recorded,
        Self::Performed,
        Self::Settled,
    ];

    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Judged => "judged",
            Self::Recorded => "recorded",
            Self::Performed => "performed",
            Self::Settled => "settled",
        }
    }
}

/// Who is told of stages: nobody, in the product.
pub trait Stages: Send + Sync {
    /// Is called when a request has passed a stage.
    fn passed(&self, stage: Stage);
}

/// Takes no notice.
#[derive(Clone, Copy, Debug)]
pub struct Unnoticed;

impl Stages for Unnoticed {
    fn passed(&self, _: Stage) {}
}
