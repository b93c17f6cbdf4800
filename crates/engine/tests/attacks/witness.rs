//! The oracle over the record: reads the log as a stranger would, by rules written a second time,
//! and says what should not stand there.

use std::collections::{BTreeMap, BTreeSet};

use domain::event::Event;
use domain::{
    AmbiguityId, Digest, FindingId, PromotionId, SessionId, WorkId, ambiguity, finding, promotion,
    session, work,
};
use palisade_engine::recorder::decoded;
use ports::log::{EventLog, Position};

use super::suite::Seen;

/// What is known of a promotion while reading.
#[derive(Default)]
struct Proposed {
    dossier: Option<Digest>,
    is_open: bool,
    is_approved: bool,
}

/// What is known while reading.
#[derive(Default)]
struct Reading {
    works: BTreeMap<String, WorkId>,
    agents: BTreeSet<String>,
    promotions: BTreeMap<PromotionId, Proposed>,
    questions: BTreeMap<AmbiguityId, ambiguity::Ambiguity>,
    answered: BTreeSet<AmbiguityId>,
    findings: BTreeMap<FindingId, (SessionId, Digest)>,
    ended: BTreeSet<SessionId>,
    epochs: BTreeMap<String, u64>,
    lease: u64,
}

/// Reads the whole log; says the first thing that should not be there.
pub(crate) fn record_is_lawful(log: &dyn EventLog) -> Seen {
    let mut reading = Reading::default();
    for recorded in log.read_all(Position(0), usize::MAX).unwrap() {
        let event = decoded(&recorded).unwrap();
        reading.belongs(&recorded.stream, &recorded.event.correlation)?;
        reading.fenced(recorded.event.epoch, &event)?;
        reading.event(event)?;
    }
    Ok(())
}

impl Reading {
    /// A stream belongs to one correlation for ever.
    fn belongs(&mut self, stream: &str, correlation: &str) -> Seen {
        let Ok(work) = correlation.parse::<WorkId>() else {
            return Ok(());
        };
        match self.works.insert(stream.to_owned(), work) {
            Some(before) if before != work => Err(format!("{stream} was moved by another work")),
            Some(_) | None => Ok(()),
        }
    }

    fn fenced(&mut self, epoch: u64, event: &Event) -> Seen {
        if let Event::Lease(name, domain::lease::Event::Acquired { epoch, .. }) = event {
            self.epochs.insert(name.clone(), *epoch);
            self.lease = *epoch;
            return Ok(());
        }
        match epoch {
            0 => Ok(()),
            old if old < self.lease => Err("a fenced engine went on".to_owned()),
            _ => Ok(()),
        }
    }

    fn event(&mut self, event: Event) -> Seen {
        match event {
            Event::Session(id, event) => self.session(id, event),
            Event::Promotion(id, event) => self.promotion(id, event),
            Event::Ambiguity(id, event) => self.question(id, event),
            Event::Finding(id, event) => self.finding(id, event),
            Event::Work(_, work::Event::Debited(_)) => Ok(()),
            _ => Ok(()),
        }
    }

    fn session(&mut self, id: SessionId, event: session::Event) -> Seen {
        if self.ended.contains(&id) {
            return Err("something happened to a session after its end".to_owned());
        }
        match event {
            session::Event::Requested(about) => drop(self.agents.insert(about.agent)),
            session::Event::Ended(_) => drop(self.ended.insert(id)),
            _ => {}
        }
        Ok(())
    }

    fn promotion(&mut self, id: PromotionId, event: promotion::Event) -> Seen {
        let known = self.promotions.entry(id).or_default();
        match event {
            promotion::Event::Proposed(proposal) => {
                (known.dossier, known.is_open) = (Some(proposal.dossier), true);
            }
            promotion::Event::Blocked { .. }
            | promotion::Event::Refused { .. }
            | promotion::Event::Overtaken { .. } => known.is_open = false,
            promotion::Event::Approved(approval) => {
                let name = approval.by.strip_prefix("operator:");
                let Some(name) = name.map(str::to_lowercase) else {
                    return Err(format!("{} approved", approval.by));
                };
                if self.agents.contains(&name) {
                    return Err("an author approved".to_owned());
                }
                if Some(approval.dossier) != known.dossier {
                    return Err("another dossier was approved".to_owned());
                }
                if known.is_approved {
                    return Err("approved twice".to_owned());
                }
                if !known.is_open {
                    return Err("approved what was not open".to_owned());
                }
                known.is_approved = true;
            }
            promotion::Event::Dispatched { .. } if !known.is_approved => {
                return Err("dispatched without approval".to_owned());
            }
            promotion::Event::Dispatched { .. } | promotion::Event::Promoted { .. } => {}
        }
        Ok(())
    }

    fn question(&mut self, id: AmbiguityId, event: ambiguity::Event) -> Seen {
        match event {
            ambiguity::Event::Filed(asked) => {
                if self.questions.insert(id, asked).is_some() {
                    return Err("a filed question was changed".to_owned());
                }
            }
            ambiguity::Event::Answered { by, .. } => {
                if !by.starts_with("operator:") {
                    return Err(format!("{by} answered"));
                }
                if !self.answered.insert(id) {
                    return Err("answered twice".to_owned());
                }
            }
            ambiguity::Event::Applied | ambiguity::Event::Closed => {}
        }
        Ok(())
    }

    fn finding(&mut self, id: FindingId, event: finding::Event) -> Seen {
        match event {
            finding::Event::Reported(it) => {
                self.findings.insert(id, (it.session, it.tree));
            }
            finding::Event::Confirmed { session, tree } => {
                self.findings.insert(id, (session, tree));
            }
            finding::Event::Resolved(finding::Resolver::Operator { name, .. }) => {
                if !name.starts_with("operator:") {
                    return Err(format!("{name} resolved a finding"));
                }
            }
            finding::Event::Resolved(finding::Resolver::Recheck { session, tree }) => {
                let (seen_by, seen_in) = self.findings[&id];
                if session == seen_by {
                    return Err("a session resolved its own finding".to_owned());
                }
                if tree == seen_in {
                    return Err("resolved on the tree it was found in".to_owned());
                }
            }
        }
        Ok(())
    }
}
