//! All events, in one list: which stream each belongs to, and how it is stored.

use alloc::format;
use alloc::string::String;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    ActionId, AmbiguityId, CheckpointId, Digest, FindingId, GoalId, GrantId, MessageId, PlanId,
    PromotionId, RunId, SessionId, WorkId, action, ambiguity, breaker, checkpoint, finding, gate,
    goal, grant, lease, machine, message, output, plan, promotion, run, session, work,
};

macro_rules! nouns {
    ($($(#[$doc:meta])* $noun:ident($id:ty, $module:ident) in $stream:literal;)*) => {
        /// Something that has happened, and to what.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {$(
            $(#[$doc])*
            $noun($id, $module::Event),
        )*}

        impl Event {
            /// Returns the CloudEvents `type` under which it is stored.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {$(
                    Self::$noun(_, event) => event.kind(),
                )*}
            }

            /// Returns the name of its stream.
            #[must_use]
            pub fn stream(&self) -> String {
                match self {$(
                    Self::$noun(id, _) => format!(concat!($stream, "/{}"), id),
                )*}
            }

            /// Reads an event back from the name of its stream and its stored data.
            ///
            /// # Errors
            /// When the stream is of no known noun, or the data is not one of its events.
            pub fn read<'de, D: Deserializer<'de>>(stream: &str, data: D) -> Result<Self, D::Error> {
                let (noun, id) = stream.split_once('/').unwrap_or((stream, ""));
                match noun {
                    $($stream => {
                        let id: $id = id.parse().map_err(D::Error::custom)?;
                        Ok(Self::$noun(id, $module::Event::deserialize(data)?))
                    })*
                    _ => Err(D::Error::custom(format!("no noun owns the stream `{stream}`"))),
                }
            }
        }

        /// Writes the data only; [`Event::stream`] and [`Event::kind`] are kept beside it.
        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {$(
                    Self::$noun(_, event) => event.serialize(serializer),
                )*}
            }
        }
    };
}

nouns! {
    /// To an action of the executor.
    Action(ActionId, action) in "action";
    /// To a question.
    Ambiguity(AmbiguityId, ambiguity) in "ambiguity";
    /// To a breaker, by the name of its service.
    Breaker(String, breaker) in "breaker";
    /// To a checkpoint.
    Checkpoint(CheckpointId, checkpoint) in "checkpoint";
    /// To the evidence of one gate on one tree.
    Evidence(Digest, gate) in "evidence";
    /// To a finding.
    Finding(FindingId, finding) in "finding";
    /// To a goal.
    Goal(GoalId, goal) in "goal";
    /// To a standing grant for actions.
    Grant(GrantId, grant) in "grant";
    /// To a lease, by the name of what is leased.
    Lease(String, lease) in "lease";
    /// To the machine that cells are made on.
    Machine(String, machine) in "machine";
    /// To a message to an agent.
    Message(MessageId, message) in "message";
    /// To the output of a session.
    Output(SessionId, output) in "output";
    /// To a plan.
    Plan(PlanId, plan) in "plan";
    /// To a promotion.
    Promotion(PromotionId, promotion) in "promotion";
    /// To a run.
    Run(RunId, run) in "run";
    /// To a session.
    Session(SessionId, session) in "session";
    /// To a work.
    Work(WorkId, work) in "work";
}

impl Event {
    /// Returns what it is called in a list: `work submitted`.
    #[must_use]
    pub fn title(&self) -> String {
        let kind = self
            .kind()
            .trim_start_matches("io.palisade.")
            .trim_end_matches(".v1");
        kind.replace(['.', '_'], " ")
    }
}
