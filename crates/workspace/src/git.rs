//! The `git` program as plumbing: an environment of our own, nothing of the user's but the objects.

use std::ffi::{OsStr, OsString};
use std::io::{BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use ports::workspaces::Error;

use crate::disk::failed;

/// The most that is read of one answer, in bytes.
const OUTPUT_BYTES_MAX: u64 = 1 << 30;
/// The most that is kept of what git complains, in bytes.
const COMPLAINT_BYTES_MAX: usize = 4_096;

/// Settings that override whatever a repository says: nothing is executed, nothing is fetched.
const SETTINGS: [&str; 16] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.pager=cat",
    "core.editor=false",
    "core.sshCommand=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.alternateRefsCommand=false",
    "credential.helper=",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*",
    "log.showSignature=false",
];

/// The program, found once.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    program: PathBuf,
    path: OsString,
}

/// One call, not yet run.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    name: String,
    input: Vec<u8>,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) output: Vec<u8>,
    /// What it complained.
    pub(crate) complaint: String,
}

impl Git {
    /// Returns the `git` program that `PATH` names.
    pub(crate) fn find() -> Result<Self, Error> {
        let path =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let program = std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join("git"))
            .find(|program| program.is_file())
            .ok_or_else(|| {
                Error::Unusable("there is no `git` program on PATH; install git".into())
            })?;
        Ok(Self { program, path })
    }

    /// Returns a call on the repository at `git_dir`.
    pub(crate) fn on<S: AsRef<OsStr>>(&self, git_dir: &Path, arguments: &[S]) -> Call {
        let mut call = self.anywhere(Path::new("/"), arguments);
        call.command.env("GIT_DIR", git_dir);
        call
    }

    /// Returns a call that looks for a repository from `folder` upwards.
    pub(crate) fn anywhere<S: AsRef<OsStr>>(&self, folder: &Path, arguments: &[S]) -> Call {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", &self.path)
            .envs([
                ("HOME", "/nonexistent"),
                ("LC_ALL", "C"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_ATTR_NOSYSTEM", "1"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_OPTIONAL_LOCKS", "0"),
                ("GIT_NO_REPLACE_OBJECTS", "1"),
                ("GIT_NO_LAZY_FETCH", "1"),
                ("GIT_LITERAL_PATHSPECS", "1"),
                ("GIT_ALLOW_PROTOCOL", ""),
                ("GIT_COMMITTER_NAME", "Palisade"),
                ("GIT_COMMITTER_EMAIL", "palisade@localhost"),
            ])
            .current_dir(folder)
            .arg("--no-pager");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(arguments);
        let name = arguments
            .first()
            .map(|it| it.as_ref().to_string_lossy().into_owned())
            .unwrap_or_default();
        Call {
            command,
            name,
            input: Vec::new(),
        }
    }
}

impl Call {
    /// Adds one variable to the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Makes what it writes durable before it ends.
    pub(crate) fn durable(self) -> Self {
        self.env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "core.fsync")
            .env("GIT_CONFIG_VALUE_0", "committed,reference")
    }

    /// Gives it this to read.
    pub(crate) fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = bytes;
        self
    }

    /// Runs it and returns its answer, whatever the exit code.
    pub(crate) fn finish(mut self) -> Result<Finished, Error> {
        let name = self.name.clone();
        let input = std::mem::take(&mut self.input);
        let (output, code, complaint) = self.pipe(
            move |stdin| {
                // A child that ends without reading it all has said enough with its exit code.
                drop(stdin.write_all(&input));
                Ok(())
            },
            |stdout| {
                let mut output = Vec::new();
                stdout
                    .take(OUTPUT_BYTES_MAX)
                    .read_to_end(&mut output)
                    .map_err(failed(format!("reading the answer of git {name}")))?;
                Ok(output)
            },
        )?;
        Ok(Finished {
            code,
            output,
            complaint,
        })
    }

    /// Runs it and returns what it printed; another exit code than 0 is an error.
    pub(crate) fn output(self) -> Result<Vec<u8>, Error> {
        let name = self.name.clone();
        let finished = self.finish()?;
        if finished.code == 0 {
            Ok(finished.output)
        } else {
            Err(finished.error(&name))
        }
    }

    /// Runs it and returns what it printed as text, without the space around it.
    pub(crate) fn text(self) -> Result<String, Error> {
        let output = self.output()?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }

    /// Runs it, feeding it in one thread while `take` reads in this one, and returns what `take`
    /// made, the exit code and the complaint. When `take` fails, the child is killed.
    pub(crate) fn pipe<T>(
        mut self,
        feed: impl FnOnce(&mut ChildStdin) -> Result<(), Error> + Send,
        take: impl FnOnce(&mut BufReader<ChildStdout>) -> Result<T, Error>,
    ) -> Result<(T, i32, String), Error> {
        let name = self.name;
        let doing = || format!("running git {name}");
        let lost = || failed(doing())(std::io::Error::other("a pipe is missing"));
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed(doing()))?;
        let mut stdin = child.stdin.take().ok_or_else(lost)?;
        let mut stdout = BufReader::with_capacity(1 << 16, child.stdout.take().ok_or_else(lost)?);
        let stderr = child.stderr.take().ok_or_else(lost)?;
        thread::scope(|scope| {
            let complaints = scope.spawn(move || complaint(stderr));
            let fed = scope.spawn(move || feed(&mut stdin));
            let taken = take(&mut stdout);
            if taken.is_err() {
                kill(&mut child);
            }
            drop(stdout);
            let panicked = |_| failed(doing())(std::io::Error::other("a thread panicked"));
            let fed = fed.join().map_err(panicked)?;
            let complaint = complaints.join().map_err(panicked)?;
            let status = child.wait().map_err(failed(doing()))?;
            let taken = taken?;
            // What git says about an early end tells more than the broken pipe that it left.
            match fed {
                Err(error) if status.success() || !is_broken_pipe(&error) => Err(error),
                Err(_) | Ok(()) => Ok((taken, status.code().unwrap_or(-1), complaint)),
            }
        })
    }
}

impl Finished {
    /// Returns the error that this end is for subcommand `name`.
    pub(crate) fn error(&self, name: &str) -> Error {
        git_error(name, self.code, &self.complaint)
    }
}

/// Returns the error for a subcommand that ended with `code`.
pub(crate) fn git_error(name: &str, code: i32, complaint: &str) -> Error {
    if complaint.contains("No space left on device") || complaint.contains("Disk quota exceeded") {
        return Error::DiskFull {
            doing: format!("running git {name}"),
        };
    }
    let output = if complaint.is_empty() {
        format!("it ended with code {code} and said nothing")
    } else {
        complaint.to_owned()
    };
    Error::Git {
        command: name.to_owned(),
        output,
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}

fn kill(child: &mut Child) {
    // It fails only when the child is gone already.
    drop(child.kill());
}

/// Reads everything, so that the child never blocks, and keeps the end.
fn complaint(mut stderr: ChildStderr) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut chunk = [0; 4_096];
    while let Ok(count) = stderr.read(&mut chunk) {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * COMPLAINT_BYTES_MAX {
            kept.drain(..kept.len() - COMPLAINT_BYTES_MAX);
        }
    }
    let from = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
    String::from_utf8_lossy(&kept[from..]).trim().to_owned()
}
