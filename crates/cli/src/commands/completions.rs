//! `palisade completions`: scripts that complete command lines.

use clap::{CommandFactory as _, Parser};
use clap_complete::{Shell, generate};

use super::Cli;
use crate::exit::Exit;
use crate::terminal;

/// Print a script that completes command lines in a shell
///
/// For bash: `palisade completions bash > ~/.local/share/bash-completion/completions/palisade`.
/// For zsh, into a folder of `fpath` as `_palisade`; for fish, into
/// `~/.config/fish/completions/palisade.fish`.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Exit {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "palisade", &mut script);
    terminal::put(&String::from_utf8_lossy(&script));
    Exit::Done
}
