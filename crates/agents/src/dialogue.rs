//! A dialogue: what is said into an agent program's standard input, and what its output means.
//!
//! A program that only reads a prompt needs none. Programs that stream what they do, ask for
//! permission or take another prompt are understood line by line here, between the plain threads of
//! [`crate::conduct`] and the rules of one driver.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use domain::agent::Signal;
use domain::session::ToolCall;

use crate::lines::{Line, Lines};

/// The longest line of a program's protocol that is understood, in bytes; longer ones are output
/// like any other.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Things to say that may wait for a program that does not read.
const UNSAID_MAX: usize = 64;

/// One program's way of talking, for one session.
pub(crate) trait Dialogue: Send {
    /// Returns what is said first.
    fn begin(&mut self, prompt: &str) -> Vec<Step>;

    /// Returns what follows from a line of standard output.
    fn hear(&mut self, line: &[u8]) -> Vec<Step>;

    /// Returns what follows from a line that is too long to be understood.
    fn overlong(&mut self) -> Vec<Step> {
        Vec::new()
    }

    /// Returns what asks the program to stop; nothing if it has no word for that.
    fn cancel(&mut self) -> Vec<Step>;
}

/// What follows from something heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This is written into the program's standard input, with nothing added.
    Say(String),
    /// Its standard input is closed.
    Close,
    /// The agent has called a tool, or wanted to.
    Called(ToolCall),
    /// The program tells this of its work, in its own protocol.
    Tell(Signal),
    /// The program has ended its work, and this is what it comes to if the agent itself has said
    /// nothing else.
    Ended(Signal),
}

/// A dialogue shared between the threads of a session.
#[derive(Clone)]
pub(crate) struct Talk {
    dialogue: Arc<Mutex<Box<dyn Dialogue>>>,
    unsaid: SyncSender<Option<String>>,
}

/// What is still to be written into standard input.
pub(crate) struct Mouth(Receiver<Option<String>>);

impl Talk {
    /// Begins a dialogue.
    pub(crate) fn begin(mut dialogue: Box<dyn Dialogue>, prompt: &str) -> (Self, Mouth) {
        let (unsaid, says) = sync_channel(UNSAID_MAX);
        let steps = dialogue.begin(prompt);
        let talk = Self {
            dialogue: Arc::new(Mutex::new(dialogue)),
            unsaid,
        };
        // There is room for what is said first.
        talk.say_now(steps);
        (talk, Mouth(says))
    }

    /// Returns what takes the pieces of standard output.
    pub(crate) fn ear(&self) -> Ear {
        Ear {
            talk: self.clone(),
            lines: Lines::new(LINE_BYTES_MAX),
        }
    }

    /// Asks the program to stop; tells whether it has a word for that and could be told.
    pub(crate) fn cancel(&self) -> bool {
        let steps = self.with(|it| it.cancel());
        !steps.is_empty() && self.say_now(steps)
    }

    fn with(&self, act: impl FnOnce(&mut dyn Dialogue) -> Vec<Step>) -> Vec<Step> {
        let mut dialogue = self.dialogue.lock().unwrap_or_else(PoisonError::into_inner);
        act(dialogue.as_mut())
    }

    /// Says without waiting for a program that does not read.
    fn say_now(&self, steps: Vec<Step>) -> bool {
        steps.into_iter().all(|step| match said(step) {
            Ok(text) => !matches!(self.unsaid.try_send(text), Err(TrySendError::Full(_))),
            Err(_) => true,
        })
    }
}

/// Takes standard output apart.
pub(crate) struct Ear {
    talk: Talk,
    lines: Lines,
}

impl Ear {
    /// Takes a piece of output; returns what it tells of the work. Waits while the program does
    /// not read what it is told: its own full pipe holds it then, and its deadlines.
    pub(crate) fn hear(&mut self, piece: &[u8]) -> Vec<Word> {
        let lines = self.lines.push(piece);
        let mut words = Vec::new();
        for line in lines {
            let steps = self.talk.with(|it| match &line {
                Line::Whole(line) => it.hear(line),
                Line::Overlong(_) => it.overlong(),
            });
            for step in steps {
                match said(step) {
                    // A mouth that is gone has nobody to talk to any more.
                    Ok(text) => drop(self.talk.unsaid.send(text)),
                    Err(word) => words.push(word),
                }
            }
        }
        words
    }
}

/// What a program's protocol tells of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Which tool was called.
    Called(ToolCall),
    /// How it goes.
    Told(Signal),
    /// How it ended, if the agent itself has said nothing else.
    Ended(Signal),
}

fn said(step: Step) -> Result<Option<String>, Word> {
    match step {
        Step::Say(text) => Ok(Some(text)),
        Step::Close => Ok(None),
        Step::Called(call) => Err(Word::Called(call)),
        Step::Tell(signal) => Err(Word::Told(signal)),
        Step::Ended(signal) => Err(Word::Ended(signal)),
    }
}

impl Mouth {
    /// Writes what is said until standard input is to be closed, or nobody reads it.
    pub(crate) fn speak(self, mut stdin: Box<dyn Write + Send>) {
        while let Ok(Some(text)) = self.0.recv() {
            let written = stdin.write_all(text.as_bytes());
            if written.and_then(|()| stdin.flush()).is_err() {
                break;
            }
        }
        drop(stdin);
        // What comes later is taken and dropped, so that nobody waits for room.
        while self.0.recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Echoes each line, ends at `end`, and knows a word for stopping.
    struct Echo;

    impl Dialogue for Echo {
        fn begin(&mut self, prompt: &str) -> Vec<Step> {
            vec![Step::Say(format!("prompt {prompt}\n"))]
        }

        fn hear(&mut self, line: &[u8]) -> Vec<Step> {
            let line = String::from_utf8_lossy(line).into_owned();
            if line == "end" {
                let ended = Signal::Done { summary: line };
                return vec![Step::Ended(ended), Step::Close];
            }
            vec![Step::Say(format!("{line}\n"))]
        }

        fn cancel(&mut self) -> Vec<Step> {
            vec![Step::Say("stop\n".to_owned())]
        }
    }

    #[derive(Clone)]
    struct Sink(std::sync::mpsc::Sender<String>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_understood_however_they_arrive() {
        let (to, said) = channel();
        let (talk, mouth) = Talk::begin(Box::new(Echo), "p");
        let mut ear = talk.ear();
        let speaking = std::thread::spawn(move || mouth.speak(Box::new(Sink(to))));
        assert!(ear.hear(b"on").is_empty());
        assert!(ear.hear(b"e\ntwo\n").is_empty());
        assert!(talk.cancel());
        let summary = "end".to_owned();
        let ended = Word::Ended(Signal::Done { summary });
        assert_eq!(ear.hear(b"end\nafter\n"), [ended]);
        drop((ear, talk));
        speaking.join().unwrap();
        let said: String = said.iter().collect();
        assert_eq!(said, "prompt p\none\ntwo\nstop\n");
    }

    #[test]
    fn a_program_that_does_not_read_cannot_be_asked_to_stop() {
        let (talk, _mouth) = Talk::begin(Box::new(Echo), "p");
        assert!((0..UNSAID_MAX).any(|_| !talk.cancel()));
    }
}
