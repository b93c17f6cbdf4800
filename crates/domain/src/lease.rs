//! Leases: who may use something that only one may use. The epoch only ever grows, so that a
//! holder who slept through its expiry is recognised.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Millis, Timestamp};

/// What is known of a lease. The default is free and never held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The number of times it was acquired.
    pub epoch: u64,
    /// Who holds it and until when.
    pub holder: Option<(String, Timestamp)>,
}

/// What one may ask of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Takes it, if it is free or expired.
    Acquire {
        /// For whom.
        owner: String,
        /// For how long.
        span: Millis,
        /// The time.
        now: Timestamp,
    },
    /// Keeps it longer.
    Renew {
        /// The epoch it was acquired with.
        epoch: u64,
        /// For how long from now.
        span: Millis,
        /// The time.
        now: Timestamp,
    },
    /// Gives it back.
    Release {
        /// The epoch it was acquired with.
        epoch: u64,
    },
}

/// What has happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was taken.
    Acquired {
        /// By whom.
        owner: String,
        /// With this epoch.
        epoch: u64,
        /// Until then.
        expires: Timestamp,
    },
    /// It is kept longer.
    Renewed {
        /// Until then.
        expires: Timestamp,
    },
    /// It was given back.
    Released,
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Acquired { .. } => "io.palisade.lease.acquired.v1",
            Self::Renewed { .. } => "io.palisade.lease.renewed.v1",
            Self::Released => "io.palisade.lease.released.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody holds it.
    #[error("held by {owner}")]
    Held {
        /// Who.
        owner: String,
        /// Until when.
        expires: Timestamp,
    },
    /// It was acquired by somebody else since.
    #[error("epoch {given} is not the current one, {current}")]
    Fenced {
        /// What was shown.
        given: u64,
        /// What is true.
        current: u64,
    },
    /// Nobody holds it.
    #[error("the lease is free")]
    Free,
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when somebody else holds it or did since.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    let check = |epoch: u64| match &state.holder {
        _ if epoch != state.epoch => Err(Refusal::Fenced {
            given: epoch,
            current: state.epoch,
        }),
        None => Err(Refusal::Free),
        Some(_) => Ok(()),
    };
    match command {
        Command::Acquire { owner, span, now } => match &state.holder {
            Some((holder, expires)) if now < *expires && *holder != owner => Err(Refusal::Held {
                owner: holder.clone(),
                expires: *expires,
            }),
            Some(_) | None => {
                let epoch = state.epoch.saturating_add(1);
                Ok(vec![Event::Acquired {
                    owner,
                    epoch,
                    expires: now.after(span),
                }])
            }
        },
        Command::Renew { epoch, span, now } => {
            check(epoch)?;
            Ok(vec![Event::Renewed {
                expires: now.after(span),
            }])
        }
        Command::Release { epoch } => {
            check(epoch)?;
            Ok(vec![Event::Released])
        }
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(mut state: State, event: &Event) -> State {
    match event {
        Event::Acquired {
            owner,
            epoch,
            expires,
        } => {
            state.epoch = *epoch;
            state.holder = Some((owner.clone(), *expires));
        }
        Event::Renewed { expires } => {
            if let Some((_, until)) = &mut state.holder {
                *until = *expires;
            }
        }
        Event::Released => state.holder = None,
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_command() -> impl Strategy<Value = Command> {
        let owner = prop_oneof![Just(String::from("a")), Just(String::from("b"))];
        prop_oneof![
            (owner, 0..50_u64, 0..200_u64).prop_map(|(owner, span, now)| Command::Acquire {
                owner,
                span: Millis(span),
                now: Timestamp(now)
            }),
            (0..6_u64, 0..200_u64).prop_map(|(epoch, now)| Command::Renew {
                epoch,
                span: Millis(10),
                now: Timestamp(now)
            }),
            (0..6_u64).prop_map(|epoch| Command::Release { epoch }),
        ]
    }

    proptest! {
        #[test]
        fn an_epoch_never_goes_back(commands in prop::collection::vec(any_command(), 0..60)) {
            let mut state = State::default();
            for command in commands {
                let shown = match &command {
                    Command::Renew { epoch, .. } | Command::Release { epoch } => Some(*epoch),
                    Command::Acquire { .. } => None,
                };
                let before = state.epoch;
                if let Ok(events) = decide(&state, command) {
                    prop_assert!(shown.is_none_or(|it| it == before), "a fenced holder got through");
                    state = events.iter().fold(state, evolve);
                }
                prop_assert!(before <= state.epoch);
            }
        }
    }

    #[test]
    fn a_live_lease_is_not_taken_from_its_holder() {
        let state = State {
            epoch: 1,
            holder: Some(("a".into(), Timestamp(10))),
        };
        let acquire = |now| Command::Acquire {
            owner: "b".into(),
            span: Millis(5),
            now: Timestamp(now),
        };
        assert!(matches!(
            decide(&state, acquire(9)),
            Err(Refusal::Held { .. })
        ));
        assert!(decide(&state, acquire(10)).is_ok());
    }
}
