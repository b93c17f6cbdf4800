//! What every adapter of cells must keep: run [`all`] on it.
//!
//! The programs are the system's own small ones (`/bin/sh`, `/bin/cat`, …). Each rule stands by
//! itself, so that an adapter's test can name them one by one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, called from the tests of adapters"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use ports::cells::{Access, Bind, CellSpec, Cells, Error, Exit, Launched, Limits};

/// Long enough for any machine; nothing waits for it unless the adapter is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs every rule.
///
/// # Panics
/// When one is broken.
pub fn all(cells: &dyn Cells) {
    exit_codes_are_told(cells);
    a_killing_signal_is_told(cells);
    the_three_streams_are_pipes(cells);
    waiting_without_patience_returns_at_once(cells);
    wait_repeats_its_answer(cells);
    kill_ends_all(cells);
    the_end_of_the_first_program_ends_all(cells);
    kill_after_the_end_does_nothing(cells);
    a_paused_cell_goes_on_after_resume(cells);
    a_paused_cell_can_be_killed(cells);
    the_environment_is_exact(cells);
    arguments_arrive_as_they_are(cells);
    a_missing_program_is_told(cells);
    binds_appear_at_their_targets(cells);
}

/// Returns a cell without workspace and binds that runs `argv` in `/`.
#[must_use]
pub fn spec(argv: &[&str]) -> CellSpec {
    CellSpec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: "/".into(),
        workspace: None,
        binds: Vec::new(),
        layered: Vec::new(),
        masks: Vec::new(),
        programs: None,
        accepted: Vec::new(),
        limits: Limits::default(),
    }
}

fn shell(script: &str) -> CellSpec {
    spec(&["/bin/sh", "-c", script])
}

fn launch(cells: &dyn Cells, spec: &CellSpec) -> Launched {
    cells.launch(spec).unwrap()
}

fn end(launched: &Launched) -> Exit {
    launched.cell.wait(PATIENCE).unwrap().unwrap()
}

/// Reads a stream to its end: it ends when no process of the cell holds it any more.
fn text(launched: &mut Launched) -> String {
    let mut text = String::new();
    launched.streams.stdout.read_to_string(&mut text).unwrap();
    text
}

fn line(launched: &mut Launched) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while launched.streams.stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

/// Keeps: the exit code of the program is the cell's.
///
/// # Panics
/// When the rule is broken.
pub fn exit_codes_are_told(cells: &dyn Cells) {
    for code in [0, 1, 42, 255] {
        let launched = launch(cells, &shell(&format!("exit {code}")));
        assert_eq!(end(&launched), Exit::Code(code));
    }
}

/// Keeps: a program that dies by a signal is told apart from one that exits.
///
/// # Panics
/// When the rule is broken.
pub fn a_killing_signal_is_told(cells: &dyn Cells) {
    let launched = launch(cells, &shell("kill -9 $$; exec sleep 1000"));
    assert_eq!(end(&launched), Exit::Signal(9));
}

/// Keeps: standard input, output and error are each a pipe of their own.
///
/// # Panics
/// When the rule is broken.
pub fn the_three_streams_are_pipes(cells: &dyn Cells) {
    let mut launched = launch(cells, &shell("cat; echo oops >&2"));
    launched.streams.stdin.write_all(b"hello").unwrap();
    launched.streams.stdin = Box::new(std::io::sink());
    assert_eq!(text(&mut launched), "hello");
    let mut complaint = String::new();
    launched
        .streams
        .stderr
        .read_to_string(&mut complaint)
        .unwrap();
    assert_eq!(complaint, "oops\n");
    assert_eq!(end(&launched), Exit::Code(0));
}

/// Keeps: a wait without patience tells that the program still runs.
///
/// # Panics
/// When the rule is broken.
pub fn waiting_without_patience_returns_at_once(cells: &dyn Cells) {
    let launched = launch(cells, &spec(&["/bin/cat"]));
    assert_eq!(launched.cell.wait(Duration::ZERO).unwrap(), None);
    launched.cell.kill().unwrap();
    assert_eq!(end(&launched), Exit::Signal(9));
}

/// Keeps: the answer of a wait is the same ever after.
///
/// # Panics
/// When the rule is broken.
pub fn wait_repeats_its_answer(cells: &dyn Cells) {
    let launched = launch(cells, &shell("exit 7"));
    for _ in 0..3 {
        assert_eq!(end(&launched), Exit::Code(7));
    }
    assert_eq!(
        launched.cell.wait(Duration::ZERO).unwrap(),
        Some(Exit::Code(7))
    );
}

/// Keeps: a kill ends every process, even one in a session of its own without its parents.
///
/// # Panics
/// When the rule is broken.
pub fn kill_ends_all(cells: &dyn Cells) {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = shell("(setsid sleep 1000 &) ; sleep 1000 & echo up; sleep 1000");
    // Something of the cell's own in the environment, as every real session has.
    spec.binds.push(bind(folder.path(), "/brief"));
    spec.env.insert("BRIEF".to_owned(), "/brief".to_owned());
    let mut launched = launch(cells, &spec);
    assert_eq!(line(&mut launched), "up");
    launched.cell.kill().unwrap();
    assert_eq!(end(&launched), Exit::Signal(9));
    // All of them hold the output: its end is theirs.
    assert_eq!(text(&mut launched), "");
}

/// Keeps: with the first program end those it left behind.
///
/// # Panics
/// When the rule is broken.
pub fn the_end_of_the_first_program_ends_all(cells: &dyn Cells) {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = shell("(setsid sleep 1000 &) ; sleep 1000 & echo up; exit 3");
    spec.binds.push(bind(folder.path(), "/brief"));
    spec.env.insert("BRIEF".to_owned(), "/brief".to_owned());
    let mut launched = launch(cells, &spec);
    assert_eq!(text(&mut launched), "up\n");
    assert_eq!(end(&launched), Exit::Code(3));
}

/// Keeps: a kill after the end is no error and changes nothing.
///
/// # Panics
/// When the rule is broken.
pub fn kill_after_the_end_does_nothing(cells: &dyn Cells) {
    let launched = launch(cells, &shell("exit 5"));
    assert_eq!(end(&launched), Exit::Code(5));
    launched.cell.kill().unwrap();
    launched.cell.kill().unwrap();
    assert_eq!(end(&launched), Exit::Code(5));
}

/// Keeps: what is paused stands, and goes on where it stood.
///
/// # Panics
/// When the rule is broken.
pub fn a_paused_cell_goes_on_after_resume(cells: &dyn Cells) {
    let mut launched = launch(cells, &spec(&["/bin/cat"]));
    launched.streams.stdin.write_all(b"one\n").unwrap();
    launched.streams.stdin.flush().unwrap();
    assert_eq!(line(&mut launched), "one");
    launched.cell.pause().unwrap();
    launched.streams.stdin.write_all(b"two\n").unwrap();
    launched.streams.stdin.flush().unwrap();
    assert_eq!(launched.cell.wait(Duration::ZERO).unwrap(), None);
    launched.cell.resume().unwrap();
    assert_eq!(line(&mut launched), "two");
    launched.streams.stdin = Box::new(std::io::sink());
    assert_eq!(end(&launched), Exit::Code(0));
}

/// Keeps: a pause does not protect from a kill.
///
/// # Panics
/// When the rule is broken.
pub fn a_paused_cell_can_be_killed(cells: &dyn Cells) {
    let launched = launch(cells, &spec(&["/bin/cat"]));
    launched.cell.pause().unwrap();
    launched.cell.kill().unwrap();
    assert_eq!(end(&launched), Exit::Signal(9));
}

/// Keeps: the environment is the one that was asked for, nothing inherited and nothing added.
///
/// # Panics
/// When the rule is broken.
pub fn the_environment_is_exact(cells: &dyn Cells) {
    let mut spec = spec(&["/usr/bin/env"]);
    spec.env
        .insert("GREETING".to_owned(), "hello = world".to_owned());
    let mut launched = launch(cells, &spec);
    let output = text(&mut launched);
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["GREETING=hello = world", "PATH=/usr/bin:/bin"]);
}

/// Keeps: no shell looks at the arguments.
///
/// # Panics
/// When the rule is broken.
pub fn arguments_arrive_as_they_are(cells: &dyn Cells) {
    let words = ["a b", "$HOME", "*", "", "'", "x\ny"];
    let argv: Vec<&str> = ["/usr/bin/printf", "%s|"]
        .into_iter()
        .chain(words)
        .collect();
    let mut launched = launch(cells, &spec(&argv));
    assert_eq!(text(&mut launched), "a b|$HOME|*||'|x\ny|");
}

/// Keeps: a program that is not there is an error that names it, and nothing runs.
///
/// # Panics
/// When the rule is broken.
pub fn a_missing_program_is_told(cells: &dyn Cells) {
    match cells.launch(&spec(&["/usr/bin/no-such-program"])) {
        Err(Error::Program { program, .. }) => assert_eq!(program, "/usr/bin/no-such-program"),
        other => panic!("a missing program gave {other:?}"),
    }
}

/// Keeps: a bind is where the specification says, and a writable one can be written.
///
/// # Panics
/// When the rule is broken.
pub fn binds_appear_at_their_targets(cells: &dyn Cells) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "given").unwrap();
    let mut spec = shell("cat /exchange/in; echo taken > /exchange/out");
    spec.binds.push(bind(folder.path(), "/exchange"));
    let mut launched = launch(cells, &spec);
    assert_eq!(text(&mut launched), "given");
    assert_eq!(end(&launched), Exit::Code(0));
    let out = std::fs::read_to_string(folder.path().join("out")).unwrap();
    assert_eq!(out, "taken\n");
}

fn bind(source: &Path, target: &str) -> Bind {
    Bind {
        source: source.to_owned(),
        target: target.into(),
        access: Access::Writable,
    }
}
