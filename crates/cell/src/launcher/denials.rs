//! Attempts that were refused: answered here, outside the cell, and counted on the way.
//!
//! A refused call is held by the kernel until the launcher answers it with the same error number a
//! plain filter would, so the program sees no difference and each attempt is counted before its
//! caller goes on. Nothing is sent until the engine asks: however often a program tries, there is
//! one number for each kind of attempt, and nobody is flooded.
//!
//! When the launcher dies, the kernel itself refuses what is held and what comes after.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::kernel;
use crate::launcher::attempts;
use crate::link::{Counts, MESSAGE_BYTES_MAX};

/// Most kinds of attempts that are told apart; together with [`NAME_BYTES_MAX`] it keeps a report
/// within one message.
pub(crate) const NAMES_MAX: usize = 256;
/// Most bytes of the name of an attempt.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// Most bytes of a number with what surrounds it and the name.
const COUNT_BYTES_MAX: usize = 32;
const _: () = assert!(
    (NAMES_MAX + 2) * (NAME_BYTES_MAX + COUNT_BYTES_MAX) < MESSAGE_BYTES_MAX,
    "a full report must fit into one message"
);
/// What attempts beyond [`NAMES_MAX`] kinds are counted as.
const OTHERS: &str = "other refused calls";
/// Most calls answered before the launcher looks at what else there is to do.
const ANSWERS_AT_ONCE: usize = 128;

/// The refused attempts of one cell.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    /// Where the kernel tells of refused calls; none before the cell is sealed, after its last
    /// process, and where the kernel does not tell.
    listener: Option<OwnedFd>,
    /// Since it was last told.
    counts: BTreeMap<Cow<'static, str>, u64>,
}

impl Denials {
    /// Listens from now on.
    pub(crate) fn listen(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
    }

    /// Returns what can be read when calls are held, if anything.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Counts and refuses what is held, without waiting for more.
    pub(crate) fn answer(&mut self) -> io::Result<()> {
        for _ in 0..ANSWERS_AT_ONCE {
            let Some(listener) = &self.listener else {
                return Ok(());
            };
            match held(listener)? {
                Held::Nothing => return Ok(()),
                Held::NoMore => self.listener = None,
                Held::Call => {
                    // One that was killed before it was heard has done nothing and was told nothing.
                    if let Some(call) = kernel::receive_call(listener.as_fd())? {
                        // First counted, then answered: whoever sees the answer finds the count.
                        count(
                            &mut self.counts,
                            attempts::name(call.number, &call.arguments),
                        );
                        kernel::refuse_call(listener.as_fd(), call, libc::EPERM)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns what was refused since this was last called.
    pub(crate) fn take(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
            .into_iter()
            .map(|(name, count)| (name.into_owned(), count))
            .collect()
    }

    /// Takes back what could not be told.
    pub(crate) fn put_back(&mut self, counts: Counts) {
        for (name, more) in counts {
            let so_far = self.counts.entry(Cow::from(name)).or_default();
            *so_far = so_far.saturating_add(more);
        }
    }
}

enum Held {
    Nothing,
    Call,
    /// The last process of the cell is gone.
    NoMore,
}

fn held(listener: &OwnedFd) -> io::Result<Held> {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    let no_patience = Timespec {
        tv_sec: 0,
        tv_nsec: Duration::ZERO.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&no_patience)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [polled] = polled;
    let revents = polled.revents();
    Ok(if revents.contains(PollFlags::IN) {
        Held::Call
    } else if revents.is_empty() {
        Held::Nothing
    } else {
        Held::NoMore
    })
}

fn count(counts: &mut BTreeMap<Cow<'static, str>, u64>, name: Cow<'static, str>) {
    let is_new_and_too_many = counts.len() >= NAMES_MAX && !counts.contains_key(&name);
    let name = if is_new_and_too_many {
        Cow::from(OTHERS)
    } else {
        name
    };
    let so_far = counts.entry(name).or_default();
    *so_far = so_far.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_attempts_are_bounded_and_none_is_lost() {
        let mut denials = Denials::default();
        for number in 0..NAMES_MAX + 7 {
            count(&mut denials.counts, Cow::from(format!("call {number}")));
        }
        count(&mut denials.counts, Cow::from("call 0"));
        let told = denials.take();
        assert_eq!(told.len(), NAMES_MAX + 1);
        assert_eq!(told.get(OTHERS), Some(&7));
        assert_eq!(told.get("call 0"), Some(&2));
        assert_eq!(denials.take(), Counts::new());
    }

    #[test]
    fn what_could_not_be_told_is_told_later() {
        let mut denials = Denials::default();
        count(&mut denials.counts, Cow::from("mount"));
        let told = denials.take();
        count(&mut denials.counts, Cow::from("mount"));
        denials.put_back(told);
        assert_eq!(denials.take(), Counts::from([("mount".to_owned(), 2)]));
    }

    #[test]
    fn a_full_report_fits_into_a_message() {
        let counts: Counts = (0..=NAMES_MAX)
            .map(|number| (format!("{number:0>NAME_BYTES_MAX$}"), u64::MAX))
            .collect();
        let report = serde_json::to_vec(&crate::link::Report::Denied(counts)).unwrap();
        assert!(report.len() <= MESSAGE_BYTES_MAX);
    }
}
