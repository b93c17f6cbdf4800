//! Any program as an agent: `--agent "command:./agent.sh --flag"`.
//!
//! The program finds in its cell:
//!
//! | what | where |
//! |---|---|
//! | the work's tree | `/workspace`, the working directory |
//! | the prompt | standard input, and `prompt.md` in `$PALISADE_BRIEF` (`/brief`, read-only) |
//! | the signal pipe | `$PALISADE_SIGNALS`: one JSON object a line, see [`crate::signal_line`] |
//! | a place for questions | `/.agent/ambiguities/*.md`, read at every signal and at the end |
//! | the client | `palisade-agent` in the path, see [`crate::client`] |
//! | its model, if it may have one | `$PALISADE_MODEL_URL`, an address on loopback |
//! | who it is | `$PALISADE_ROLE`, `$PALISADE_ROUND`, `$PALISADE_EPOCH` |
//!
//! A shell script needs no client:
//! `echo '{"signal":"done","summary":"it builds"}' > "$PALISADE_SIGNALS"`.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Task};
use ports::cells::Cells;

use crate::conduct::{conduct, furnished, launch_failed};
use crate::surroundings::{SYSTEM_PATH, admit, furnish, lead_to_model};

/// Words in one agent command: a limit on everything.
const WORDS_MAX: usize = 256;

/// Why a text is not the command of an agent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no program.
    #[error("an agent command needs a program, such as `command:./agent.sh`")]
    Empty,
    /// A quote is opened and not closed.
    #[error("the {0} in the agent command is never closed")]
    Unclosed(&'static str),
    /// There is nothing after the last backslash.
    #[error("the agent command ends in the middle of a `\\` escape")]
    Escape,
    /// Too many words.
    #[error("the agent command has over {WORDS_MAX} words")]
    Long,
    /// The program is not there.
    #[error("the agent program `{program}` does not exist: {why}")]
    Missing {
        /// The program as given.
        program: String,
        /// Where was looked, and how to mend it.
        why: String,
    },
    /// The program is there but cannot be run.
    #[error("the agent program `{program}` cannot be run: {why}")]
    NotRunnable {
        /// The program as found.
        program: String,
        /// Why, and how to mend it.
        why: String,
    },
}

/// Returns the words of an agent command, with the program as an absolute path of the host.
///
/// Quotes and backslashes group words as in a shell; nothing else is special and no shell runs.
/// A program with a `/` is looked up from `cwd`, one without in the system's program folders.
///
/// # Errors
/// When the text has no words, an open quote, or names no program that can be run.
pub fn parse(spec: &str, cwd: &Path) -> Result<Vec<String>, Error> {
    let mut argv = words(spec)?;
    let program = argv
        .first()
        .filter(|it| !it.is_empty())
        .ok_or(Error::Empty)?;
    let path = if program.contains('/') {
        cwd.join(program)
    } else {
        SYSTEM_PATH
            .iter()
            .map(|folder| Path::new(folder).join(program))
            .find(|path| path.is_file())
            .ok_or_else(|| Error::Missing {
                program: program.clone(),
                why: format!(
                    "it is not in {}; name a file of yours with a slash, as in `./{program}`",
                    SYSTEM_PATH.join(", ")
                ),
            })?
    };
    argv[0] = runnable(program, &path)?;
    Ok(argv)
}

fn runnable(program: &str, path: &Path) -> Result<String, Error> {
    let facts = std::fs::metadata(path).map_err(|error| Error::Missing {
        program: program.to_owned(),
        why: format!("{}: {error}", path.display()),
    })?;
    let not_runnable = |why: &str| Error::NotRunnable {
        program: path.display().to_string(),
        why: why.to_owned(),
    };
    if !facts.is_file() {
        return Err(not_runnable("it is not a file"));
    }
    if facts.permissions().mode() & 0o111 == 0 {
        return Err(not_runnable("it is not executable; `chmod +x` mends that"));
    }
    let absolute = std::path::absolute(path).map_err(|error| not_runnable(&error.to_string()))?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| not_runnable("its path is not UTF-8 text"))
}

/// Returns the words of a text as a shell would group them.
fn words(text: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or(Error::Unclosed("single quote"))? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => {
                let escaped = rest.next().ok_or(Error::Escape)?;
                word.get_or_insert_default().push(escaped);
            }
            other => word.get_or_insert_default().push(other),
        }
        if words.len() > WORDS_MAX {
            return Err(Error::Long);
        }
    }
    words.extend(word);
    Ok(words)
}

fn double_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), Error> {
    loop {
        match rest.next().ok_or(Error::Unclosed("double quote"))? {
            '"' => return Ok(()),
            '\\' => match rest.next().ok_or(Error::Escape)? {
                special @ ('"' | '\\' | '$' | '`') => word.push(special),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

/// The driver of any program.
pub struct CommandDriver {
    argv: Vec<String>,
    cells: Arc<dyn Cells>,
    agent_program: PathBuf,
}

impl CommandDriver {
    /// Makes a driver for a command as [`parse`] returns it. `agent_program` is the client on the
    /// host, a program that is [`crate::client`] when called `palisade-agent`.
    #[must_use]
    pub fn new(argv: Vec<String>, cells: Arc<dyn Cells>, agent_program: PathBuf) -> Self {
        Self {
            argv,
            cells,
            agent_program,
        }
    }
}

impl fmt::Debug for CommandDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CommandDriver")
            .field("argv", &self.argv)
            .field("agent_program", &self.agent_program)
            .finish_non_exhaustive()
    }
}

impl Driver for CommandDriver {
    fn name(&self) -> String {
        let program = self.argv.first().map(Path::new);
        let name = program.and_then(Path::file_name).unwrap_or_default();
        format!("command:{}", name.to_string_lossy())
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
        let (program, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| Error::Empty.to_string())?;
        let program = admit(task, Path::new(program), &self.agent_program)
            .map_err(|why| format!("the agent program {why}"))?;
        furnish(task, &self.agent_program);
        task.cell.argv = [program].into_iter().chain(arguments.to_vec()).collect();
        lead_to_model(task);
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        match furnished(self, task) {
            Ok(task) => conduct(&*self.cells, &task, listener),
            Err(why) => launch_failed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn quotes_and_backslashes_group_words() {
        for (text, expected) in [
            ("", &[][..]),
            ("  a   b ", &["a", "b"]),
            (r#"a "b c" 'd e'"#, &["a", "b c", "d e"]),
            (r"a\ b c", &["a b", "c"]),
            (r#"'' "" x"#, &["", "", "x"]),
            (r#"a"b"'c'd"#, &["abcd"]),
            (r#""\$x \n \"q\"" '\n'"#, &[r#"$x \n "q""#, r"\n"]),
            (
                "$HOME `id` ; a|b > c *",
                &["$HOME", "`id`", ";", "a|b", ">", "c", "*"],
            ),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_open_is_refused() {
        assert_eq!(words("a 'b").unwrap_err(), Error::Unclosed("single quote"));
        assert_eq!(words("a \"b").unwrap_err(), Error::Unclosed("double quote"));
        assert_eq!(words("a\\").unwrap_err(), Error::Escape);
        assert_eq!(words("\"a\\").unwrap_err(), Error::Escape);
        assert_eq!(words(&"a ".repeat(300)).unwrap_err(), Error::Long);
    }

    proptest! {
        #[test]
        fn single_quotes_carry_anything(parts in prop::collection::vec("[^']{0,12}", 0..6)) {
            let text: String = parts.iter().map(|it| format!("'{it}' ")).collect();
            prop_assert_eq!(words(&text).unwrap(), parts);
        }
    }

    #[test]
    fn a_program_is_found_or_the_error_says_where_was_looked() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("agent.sh");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let at = |spec| parse(spec, folder.path());
        let error = at("./agent.sh").unwrap_err().to_string();
        assert!(error.contains("chmod +x"), "{error}");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let argv = at("./agent.sh --flag 'a b'").unwrap();
        assert_eq!(argv[1..], ["--flag", "a b"]);
        assert!(Path::new(&argv[0]).is_absolute());
        assert!(Path::new(&argv[0]).ends_with("agent.sh"));
        assert!(at("sh -c x").unwrap()[0].ends_with("/sh"));
        assert_eq!(at("  ").unwrap_err(), Error::Empty);
        assert_eq!(at("''").unwrap_err(), Error::Empty);
        let error = at("agent.sh").unwrap_err().to_string();
        assert!(error.contains("`./agent.sh`"), "{error}");
        let error = at("./other.sh").unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
        let error = at("./").unwrap_err().to_string();
        assert!(error.contains("not a file"), "{error}");
    }
}
