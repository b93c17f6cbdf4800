//! Telling: messages reach the agent, are told again until it has understood, and then the operator
//! is asked. What has become known since the brief was written is told as well.

use domain::case::{Case, Command};
use domain::message::{self, Message, Next};
use domain::session::{self, Pause};
use domain::{MessageId, conclude};

use super::{Seen, Watchdog};
use crate::recorder::Error;

impl Watchdog<'_> {
    pub(super) fn tell(&self, case: &Case, seen: &mut Seen) -> Result<(), Error> {
        let now = self.bench.recorder.world().clock.now();
        for item in seen.news.since(case, self.id) {
            self.queue(&item.message(self.work, self.id))?;
        }
        let mine = |it: &message::State| it.message().is_some_and(|it| it.session == self.id);
        for (id, state) in case.messages.iter().filter(|(_, it)| mine(it)) {
            match state.next(now) {
                // Whoever stands still cannot answer.
                Next::Escalate if seen.paused.is_some() => {}
                Next::Nothing => {}
                Next::Deliver => self.submit(|| {
                    let deliver = message::Command::Deliver { at: now };
                    vec![Command::Message(*id, deliver)]
                })?,
                Next::Escalate => self.submit(|| self.escalate(*id))?,
            }
        }
        let case = self.bench.recorder.load(self.work)?;
        let mine = case.messages.iter().filter(|(_, it)| mine(it));
        seen.letters.write(mine)
    }

    fn escalate(&self, id: MessageId) -> Vec<Command> {
        let by = conclude::ENGINE.to_string();
        let why = format!("message {id} was not acknowledged");
        vec![
            Command::Message(id, message::Command::Escalate),
            Command::Session(self.id, session::Command::Pause(Pause { by, why })),
        ]
    }

    /// Writes a message to the agent; it is told with the next look.
    pub(super) fn queue(&self, message: &Message) -> Result<(), Error> {
        let id = MessageId::from_bits(self.bench.recorder.fresh());
        self.submit(|| {
            let queue = message::Command::Queue(message.clone());
            vec![Command::Message(id, queue)]
        })
    }
}
