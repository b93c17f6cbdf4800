//! Who is turned away and why, on record but not without end.

use std::sync::PoisonError;

use domain::ExecutionId;
use wire::execution::{Code, Problem};

use super::Executor;
use crate::audit::{Entry, Refused};
use crate::peer::Peer;
use crate::rate::Pace;

impl Executor {
    /// Returns as whom a peer asks, if it may and has not asked too often.
    ///
    /// # Errors
    /// When it may not; of too many in a minute one is recorded, with how many there were.
    pub fn admit(&self, peer: &Peer) -> Result<&str, Problem> {
        let Some(requester) = self.config.principal(peer) else {
            return Err(self.refuse_stranger(peer));
        };
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = rate.count(requester, (self.world.now)());
        drop(rate);
        match pace {
            Pace::Fine => Ok(requester),
            Pace::First(times) => Err(self.refuse_all(peer, None, Code::RateLimited, times)),
            Pace::Further => Err(self.unrecorded(Code::RateLimited)),
        }
    }

    /// Refuses who is nobody here, on record but not without end.
    pub(crate) fn refuse_stranger(&self, peer: &Peer) -> Problem {
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pace = strangers.count("", (self.world.now)());
        drop(strangers);
        match pace {
            Pace::Fine => self.refuse(peer, None, Code::PeerNotAllowed),
            Pace::First(times) => self.refuse_all(peer, None, Code::PeerNotAllowed, times),
            Pace::Further => self.unrecorded(Code::PeerNotAllowed),
        }
    }

    /// Refuses a request, on record.
    pub(crate) fn refuse(&self, peer: &Peer, id: Option<ExecutionId>, code: Code) -> Problem {
        self.refuse_all(peer, id, code, 1)
    }

    fn refuse_all(&self, peer: &Peer, id: Option<ExecutionId>, code: Code, times: u64) -> Problem {
        let refused = Refused {
            peer: peer.to_string(),
            request_id: id,
            code,
            times,
        };
        let recorded = self
            .audit
            .record((self.world.now)(), Entry::Refused(refused));
        // What cannot be recorded is refused for that.
        let code = if recorded.is_ok() {
            code
        } else {
            Code::AuditFailed
        };
        let mut problem = self.unrecorded(code);
        problem.request_id = id;
        problem
    }

    /// Records that a secret was seen on its way out.
    pub(crate) fn incident(&self, id: Option<ExecutionId>, seen: &secrets::Sighting, place: &str) {
        self.metrics.incident();
        let entry = Entry::Incident {
            request_id: id,
            secret: seen.of.clone(),
            form: seen.form.name().to_owned(),
            place: place.to_owned(),
        };
        // It is stopped whether or not that can be told.
        drop(self.audit.record((self.world.now)(), entry));
    }

    fn unrecorded(&self, code: Code) -> Problem {
        self.metrics.refused(code);
        Problem::of(code)
    }

    pub(super) fn stopped(
        &self,
        peer: &Peer,
        id: Option<ExecutionId>,
        seen: &secrets::Sighting,
    ) -> Problem {
        self.incident(id, seen, "request");
        self.refuse(peer, id, Code::SecretInRequest)
    }
}
