//! One trial: stages a scene, lets the hostile program try, and looks at the world.

mod cell_of;
mod judging;
mod listening;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ports::cells::{Cells, Exit, Launched};
use rustix::process::Signal;

use crate::attempt::{Attempt, Control, Ending, Given, Oracle};
use crate::collecting::{self, Session};
use crate::honeypots::Honeypots;
use crate::hostile::NAME;
use crate::processes;
use crate::scene::Scene;
use crate::suite::Ground;
pub(crate) use judging::holds;
use listening::{Kept, Listener};

/// Longest time for a program to say that it is ready, or how it went.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for a cell to end once it is released or killed.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// How long the careless engine waits for an end that it only asked for.
const POLITE_PATIENCE: Duration = Duration::from_millis(300);
/// Time between two looks at something that changes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The wall that tells what the kernel refuses.
const RECORD: &str = "denied attempts";
/// More CPU time than this is more than the limit of one second, and what the kernel grants on top.
pub(crate) const CPU_SECONDS_MAX: u64 = 3;

/// What became of one trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What did not hold, with the oracle that says so.
    pub breaches: Vec<(Oracle, String)>,
    /// What the program itself said, and how it ended.
    pub said: String,
    /// What the kernel's record of refusals named.
    pub denied: Vec<String>,
}

impl Outcome {
    /// Returns whether everything held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.breaches.is_empty()
    }

    /// Returns whether this oracle says that something did not hold.
    #[must_use]
    pub fn fails(&self, oracle: Oracle) -> bool {
        self.breaches.iter().any(|(it, _)| *it == oracle)
    }
}

/// What a trial looks at.
pub(crate) struct Stage<'a> {
    pub(crate) ground: &'a Ground<'a>,
    pub(crate) attempt: &'a Attempt,
    /// Of the control, none for the trial with every wall.
    pub(crate) control: Option<&'a Control>,
    pub(crate) scene: Scene,
    pub(crate) pots: Honeypots,
    pub(crate) session: Option<Session>,
    pub(crate) bystander: Option<Child>,
    /// What the processes of this trial carry on their command lines.
    pub(crate) token: String,
}

impl Stage<'_> {
    /// Returns everything that the cell is given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &Given> {
        let more = self.control.map_or(&[][..], |it| it.given);
        self.attempt.given.iter().chain(more)
    }

    pub(crate) fn is_careless(&self) -> bool {
        self.control.is_some_and(|it| it.careless)
    }
}

/// Runs an attempt, with every wall or as its control says.
pub(crate) fn run(
    ground: &Ground<'_>,
    cells: &dyn Cells,
    attempt: &Attempt,
    control: Option<&Control>,
) -> Result<Outcome, String> {
    let failed = |doing: &'static str| move |error: io::Error| format!("{doing}: {error}");
    let number = ground.next_number();
    let token = format!("{}-{number}", ground.token);
    let scene = ground.stage(number).map_err(failed("staging the scene"))?;
    let key = ground.key(number);
    let pots = Honeypots::listen(&scene.sockets(), &token, key)
        .map_err(failed("listening on the host"))?;
    let mut stage = Stage {
        ground,
        attempt,
        control,
        scene,
        pots,
        session: None,
        bystander: None,
        token,
    };
    if stage.given().any(|it| matches!(it, Given::Session)) {
        let session = ground.open_session(number).map_err(|it| it.to_string())?;
        stage.session = Some(session);
    }
    if attempt.act.contains(&"{bystander}") {
        let bystander = ground.bystander("bystander");
        stage.bystander = Some(bystander.map_err(failed("starting a bystander"))?);
    }
    let outcome = try_it(&mut stage, cells);
    if let Some(bystander) = &mut stage.bystander {
        drop(bystander.kill());
        drop(bystander.wait());
    }
    outcome
}

/// Something that runs the program.
pub(crate) enum Running {
    Cell(Launched),
    /// Outside of any cell, as a control.
    Process(Box<Child>),
}

fn try_it(stage: &mut Stage<'_>, cells: &dyn Cells) -> Result<Outcome, String> {
    let is_scoped = stage.given().any(|it| matches!(it, Given::Scoped));
    let mut before = None;
    let mut running = start(stage, cells)?;
    let kept = if stage.is_careless() {
        Kept::Everything
    } else {
        Kept::UpToACap
    };
    let mut listener = Listener::begin(&mut running, kept).ok_or("the program has no output")?;
    let mut world = judging::World::default();
    if let Running::Cell(launched) = &running {
        let walls = launched.cell.walls();
        world.is_on_record = walls.iter().any(|it| it.name == RECORD && it.state.is_ok());
    }
    if listener.wait_for_ready(PATIENCE) {
        world.before = processes::traits(&processes::with_token(&stage.token));
        before = Some(stage.scene.guarded(is_scoped));
        listener.go();
        watch(stage, &mut running, &mut listener, &mut world);
    } else {
        world
            .breaches
            .push((Oracle::EndsInTime, "it never was ready".to_owned()));
    }
    end(stage, &mut running, &mut listener, &mut world)?;
    world.printed = listener.finish(PATIENCE, &mut world.breaches);
    world.heard.extend(stage.pots.heard());
    if stage.attempt.act == ["inherited"] && stage.ground.heard_by_what_is_open() {
        let told = "a socket that was left open heard something".to_owned();
        world.heard.push(told);
    }
    collect(stage, &mut world);
    let after = stage.scene.guarded(is_scoped);
    world.changed = before.map_or_else(
        || vec!["there was no look before".to_owned()],
        |before| crate::tree::differences(&before, &after),
    );
    Ok(judging::judge(stage, world))
}

fn start(stage: &Stage<'_>, cells: &dyn Cells) -> Result<Running, String> {
    let spec = cell_of::spec(stage);
    if stage.control.is_some_and(|it| it.outside) {
        use std::os::unix::process::CommandExt as _;
        return Command::new(&stage.ground.hostile)
            .arg0(NAME)
            .args(spec.argv.iter().skip(1))
            .env_clear()
            .current_dir(stage.scene.path("upper"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(|child| Running::Process(Box::new(child)))
            .map_err(|error| format!("starting the program outside: {error}"));
    }
    cells
        .launch(&spec)
        .map(Running::Cell)
        .map_err(|error| error.to_string())
}

/// Looks at the program once it has said how it went, while it still holds what it got.
fn watch(
    stage: &Stage<'_>,
    running: &mut Running,
    listener: &mut Listener,
    world: &mut judging::World,
) {
    if stage.attempt.ending == Ending::ByItself {
        // It never says anything: it is over its limit, or the limit ends it.
        let begun = Instant::now();
        while running.wait(LOOK_AGAIN).is_none() && begun.elapsed() < END_PATIENCE {
            let cpu = processes::cpu_seconds(&processes::with_token(&stage.token));
            if cpu > CPU_SECONDS_MAX {
                let told = format!("it took {cpu} s of CPU time and goes on");
                world.breaches.push((Oracle::EndsInTime, told));
                return;
            }
        }
        return;
    }
    world.said = listener.wait_for_outcome(PATIENCE);
    let processes = processes::with_token(&stage.token);
    world.after = processes::traits(&processes);
    world.measure(stage, &processes);
    world.heard.extend(stage.pots.look_around());
    if let Running::Cell(launched) = &*running {
        let denied = launched.cell.denied();
        world.denied.extend(denied.into_iter().map(|it| it.what));
    }
    if stage.attempt.act.iter().any(|it| it.ends_with("-init"))
        && running.wait(Duration::ZERO).is_some()
    {
        let told = "the cell ended when its init was attacked".to_owned();
        world.breaches.push((Oracle::EndsInTime, told));
    }
}

/// Ends the cell as the attempt says, and sees to it that it does end.
fn end(
    stage: &Stage<'_>,
    running: &mut Running,
    listener: &mut Listener,
    world: &mut judging::World,
) -> Result<(), String> {
    listener.release();
    let mut ended = None;
    if stage.is_careless() && stage.attempt.oracle == Oracle::EndsInTime {
        if stage.attempt.act.contains(&"ignore-endings") {
            processes::signal(&processes::with_token(&stage.token), Signal::TERM);
        }
        ended = running.wait(POLITE_PATIENCE);
        if ended.is_none() {
            let told = "it was asked to end and did not".to_owned();
            world.breaches.push((Oracle::EndsInTime, told));
        }
    }
    if stage.attempt.ending == Ending::Killed || stage.attempt.ending == Ending::ByItself {
        running.kill();
    }
    if ended.is_none() {
        ended = running.wait(END_PATIENCE);
    }
    if ended.is_none() {
        let told = format!("it goes on {} s after its end", END_PATIENCE.as_secs());
        world.breaches.push((Oracle::EndsInTime, told));
        running.kill();
        ended = running.wait(END_PATIENCE);
    }
    world.exit = ended;
    if let Running::Cell(launched) = &*running {
        let denied = launched.cell.denied();
        world.denied.extend(denied.into_iter().map(|it| it.what));
    }
    let left = alive(&stage.token);
    if !left.is_empty() {
        let told = format!("{} of its processes live on", left.len());
        world.breaches.push((Oracle::DiesWhole, told));
        processes::signal(&left, Signal::KILL);
        let begun = Instant::now();
        while !alive(&stage.token).is_empty() {
            if begun.elapsed() > END_PATIENCE {
                return Err("processes of the cell cannot be ended".to_owned());
            }
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Returns what lives. A process that ended while it was looked at may have left another behind
/// that began too late to be seen: then there is another look.
fn alive(token: &str) -> Vec<PathBuf> {
    loop {
        let found = processes::with_token(token);
        let (alive, ended): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|it| processes::is_alive(it));
        if !alive.is_empty() || ended.is_empty() {
            return alive;
        }
    }
}

fn collect(stage: &Stage<'_>, world: &mut judging::World) {
    let folder = stage.scene.path("drop");
    let upper = cell_of::upper(stage);
    let collected = if stage.is_careless() {
        let own_git = stage
            .given()
            .any(|it| matches!(it, Given::OwnGit))
            .then(|| stage.scene.path("host/repo/.git"));
        let collected = collecting::carelessly(upper, folder, own_git);
        if let Some(session) = &stage.session {
            stage.ground.close(session);
        }
        collected
    } else {
        match &stage.session {
            Some(session) => stage.ground.collect(session, &folder),
            None => Ok(stage.ground.questions(&folder)),
        }
    };
    match collected {
        Ok(collected) => world.collected = collected,
        Err(error) => world.breaches.push((Oracle::CollectsWell, error)),
    }
}

impl Running {
    /// Waits for the end; `None` when it still runs.
    fn wait(&mut self, patience: Duration) -> Option<Exit> {
        match self {
            Self::Cell(launched) => launched.cell.wait(patience).ok().flatten(),
            Self::Process(child) => {
                let begun = Instant::now();
                loop {
                    if let Ok(Some(status)) = child.try_wait() {
                        return Some(Exit::Code(status.code().unwrap_or(-1)));
                    }
                    if begun.elapsed() >= patience {
                        return None;
                    }
                    std::thread::yield_now();
                }
            }
        }
    }

    fn kill(&mut self) {
        match self {
            // Either is gone already when it fails.
            Self::Cell(launched) => drop(launched.cell.kill()),
            Self::Process(child) => drop(child.kill()),
        }
    }
}

/// Returns a place of the scene by the name that a list of what is given uses: in braces a place
/// that attempts name, otherwise a path of the scene.
pub(crate) fn place(stage: &Stage<'_>, name: &str) -> PathBuf {
    let filled = fill(stage, name);
    if Path::new(&filled).is_absolute() {
        filled.into()
    } else {
        stage.scene.path(&filled)
    }
}

/// Puts the places of the scene in where a text names them.
pub(crate) fn fill(stage: &Stage<'_>, text: &str) -> String {
    let mut filled = text.to_owned();
    let bystander = stage.bystander.as_ref().map(Child::id).unwrap_or_default();
    let canary = stage.ground.agents_canary();
    for (name, value) in stage
        .scene
        .places()
        .into_iter()
        .chain(stage.pots.places())
        .chain([("{bystander}", bystander.to_string()), ("{canary}", canary)])
    {
        filled = filled.replace(name, &value);
    }
    filled
}
