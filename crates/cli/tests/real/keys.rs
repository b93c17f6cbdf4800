//! The provider's key, planted at the broker: after a whole work it is nowhere but at the provider.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use testkit::scripted_model::Turn;

use crate::cycle::{completes, play};
use crate::house::{Said, said};
use crate::road::{Hand, KEY, Road, cast};

/// How often the machine's processes are looked at while the work goes on.
const LOOK: Duration = Duration::from_millis(10);

/// What the agent tries, to find the key from within its cell.
const SEARCH: &str = "env; for it in /proc/[0-9]*; do tr '\\0' '\\n' <$it/environ | grep -v MESSAGING_TOKEN; \
    tr '\\0' ' ' <$it/cmdline; echo; done; find /palisade /brief /.agent /home /run /tmp -type f | \
    head -50; grep -rs planted /palisade/model.sock /brief /home /run /tmp /etc | head; \
    echo searched";

/// Returns whether bytes hold the key, plainly or in the encodings in which it could travel.
fn holds(bytes: &[u8]) -> bool {
    let reversed: String = KEY.chars().rev().collect();
    let hex: String = KEY.bytes().map(|it| format!("{it:02x}")).collect();
    let forms = [KEY, &reversed, &hex, &base64(KEY)[..KEY.len()]].map(str::to_owned);
    forms
        .iter()
        .any(|form| bytes.windows(form.len()).any(|it| it == form.as_bytes()))
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| char::from(LETTERS[usize::try_from(bits & 63).unwrap()]);
    let pieces = text.as_bytes().chunks(3).map(|piece| {
        let bits =
            piece.iter().fold(0u32, |sum, it| sum << 8 | u32::from(*it)) << (8 * (3 - piece.len()));
        [18, 12, 6, 0].map(|shift| letter(bits >> shift))
    });
    pieces.flatten().collect()
}

/// Returns the files below a folder that hold the key, but for the broker's own store.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && path.file_name().is_some_and(|it| it != "keys") {
            found.extend(files(&path));
        } else if kind.is_file() && holds(&fs::read(&path).unwrap_or_default()) {
            found.push(path);
        }
    }
    found
}

/// Returns what of any process that can be looked at holds the key: its arguments, its environment.
fn processes() -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let own = all.filter(|it| it.file_name().to_string_lossy().parse::<u32>().is_ok());
    own.flat_map(|it| ["cmdline", "environ"].map(|name| it.path().join(name)))
        .filter(|it| holds(&fs::read(it).unwrap_or_default()))
        .collect()
}

/// Runs a command, and returns how it ended and what of any process held the key meanwhile.
fn watched(road: &Road, arguments: &[&str]) -> (Said, Vec<PathBuf>) {
    let child = road.house.start_with_output(arguments);
    let (ended, end) = channel();
    let waiting = std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        ended.send(()).unwrap();
        said(&output)
    });
    let mut seen = Vec::new();
    let mut looks = 0;
    while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(LOOK) {
        seen.extend(processes());
        looks += 1;
    }
    assert!(looks > 10, "the work was over before anybody looked");
    (waiting.join().unwrap(), seen)
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn the_key_is_at_the_provider_and_nowhere_else() {
    let hand = Hand::CLAUDE;
    let script = |hand: &Hand, role: &str, round| {
        let mut turns = play(hand, role, round);
        turns.insert(0, hand.run(SEARCH));
        turns
    };
    let road = Road::new(hand, cast(hand, script));
    road.house
        .put("repo/palisade.toml", "[models]\ntape = \"record\"\n");
    let agent = road.agent();
    let (said, seen) = watched(&road, &["run", "../spec.md", "--agent", &agent]);
    assert_eq!((said.code, seen), (4, Vec::new()), "{}", said.err);
    completes(&road);
    assert_eq!(files(&road.house.path("")), Vec::<PathBuf>::new());
    // What every cell showed its agent went to the model: the search found only the dummy.
    let asked = road.provider.asked();
    let bodies: String = asked.iter().map(|it| it.body.to_string()).collect();
    assert!(bodies.contains("searched") && bodies.contains("ANTHROPIC_API_KEY=palisade-no-key"));
    assert!(!holds(bodies.as_bytes()), "a cell knew the key");
    assert!(!asked.is_empty());
    for it in &asked {
        assert_eq!(
            it.header("x-api-key"),
            Some(KEY),
            "the provider is given it"
        );
        let others = it.headers.iter().filter(|(name, _)| name != "x-api-key");
        let others: String = others.map(|(_, value)| value.as_str()).collect();
        assert!(!holds(others.as_bytes()), "{others}");
    }
    for arguments in [
        ["log", "--json"],
        ["show", "spec"],
        ["timeline", "spec"],
        ["tape", "list"],
    ] {
        let said = road.house.run(&arguments);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(!holds(format!("{said:?}").as_bytes()), "{arguments:?}");
    }
}

/// The control of the one above: wherever the key is put, the look finds it.
#[test]
fn a_key_that_is_somewhere_is_found() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
    let reversed: String = KEY.chars().rev().collect();
    for (number, form) in [KEY.to_owned(), base64(KEY), reversed].iter().enumerate() {
        let path = folder.path().join(format!("deep/{number}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("before {form} after")).unwrap();
    }
    assert_eq!(files(folder.path()).len(), 3);
    for in_environment in [true, false] {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo ready; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if in_environment {
            command.env("SOMETHING", KEY);
        } else {
            command.arg(KEY);
        }
        let mut child = command.spawn().unwrap();
        let mut line = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let own = PathBuf::from(format!("/proc/{}", child.id()));
        let found = processes();
        assert!(found.iter().any(|it| it.starts_with(&own)), "{found:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    let said = Turn::Say(KEY);
    assert!(holds(format!("{said:?}").as_bytes()));
}
