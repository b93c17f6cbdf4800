//! The scripted agent: acts out a [`Story`] inside its cell, the same every time.
//!
//! It is a real program in a real cell that speaks through the real channel; only the model is
//! missing. The demo, the tests and the hostile-agent suite are made of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Task};
use ports::cells::Cells;

use crate::conduct::{conduct, furnished, launch_failed};
use crate::story::Story;
use crate::surroundings::{BRIEF, CLIENT, PROGRAMS, furnish};

/// The name of the story in the brief.
const STORY: &str = "story.toml";

/// The driver of the scripted agent.
pub struct ScriptedDriver {
    story: Story,
    cells: Arc<dyn Cells>,
    agent_program: PathBuf,
}

impl ScriptedDriver {
    /// Makes a driver that acts out `story`. `agent_program` is the client on the host, a program
    /// that is [`crate::client`] when called `palisade-agent`.
    #[must_use]
    pub fn new(story: Story, cells: Arc<dyn Cells>, agent_program: PathBuf) -> Self {
        Self {
            story,
            cells,
            agent_program,
        }
    }
}

impl fmt::Debug for ScriptedDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ScriptedDriver")
            .field("agent_program", &self.agent_program)
            .finish_non_exhaustive()
    }
}

impl Driver for ScriptedDriver {
    fn name(&self) -> String {
        "scripted".to_owned()
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            governed: true,
            leave: Leave::Never,
            asked_to_stop: false,
            speaks_pause: false,
            follow_up: false,
            reports_usage: false,
        }
    }

    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        furnish(task, &self.agent_program);
        let client = Path::new(PROGRAMS).join(CLIENT).display().to_string();
        task.cell.argv = vec![client, "play".to_owned(), format!("{BRIEF}/{STORY}")];
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        let task = match furnished(self, task) {
            Ok(task) => task,
            Err(why) => return launch_failed(why),
        };
        let path = task.brief.join(STORY);
        if let Err(error) = std::fs::write(&path, self.story.source()) {
            let path = path.display();
            return launch_failed(format!("the story cannot be written to `{path}`: {error}"));
        }
        conduct(&*self.cells, &task, listener)
    }
}
