//! The text of `palisade.toml`: commented, to be read by somebody who sees it for the first time.

use std::fmt::Write as _;
use std::path::Path;

use domain::rollback::Strategy;
use engine::settings::Checkpoints;
use ports::{agents, cells};

use super::family::{Family, Shown};

/// The widest line of a comment, in characters.
const WIDTH: usize = 98;

const HEAD: &str = "\
# What agents and gates may see and use of this machine. Written by `palisade init` for your review.
#
# They run in cells: no network, no secrets, an empty home at /home/agent, the system's programs
# (/usr) read-only, and a sealed tree of this repository at /workspace. Everything else they see is
# named here. A setting that is missing means less power, and a mistake is refused with its line.
#
# Paths in this file are those of this machine; keep it out of a repository that others share, or
# let each of them run `palisade init`. After a change run `palisade doctor`: it tries everything.
";

const MASKS: &str = "
# Places in the cell that are covered by something empty and unreadable: every file that is known,
# or looks, to hold credentials. One that is not there costs nothing, and holds when a mount is
# widened later.
";

/// Returns the text for these families. `masks` are those of every family and those that were found.
pub(crate) fn render(families: &[Family], masks: &[String], remarks: &[String]) -> String {
    let mut text = HEAD.to_string();
    for remark in remarks {
        text.push_str("#\n");
        text.push_str(&comment(&format!("NOTE: {remark}")));
    }
    text.push_str(
        "\n# How many sessions and gates run at once; without it, as many as there are cores and memory.\n\
         # slots = 2\n\n\
         # The agent that acts when `palisade run` is given none; paths are from this folder.\n\
         # agent = \"command:./agent.sh\"\n",
    );
    list_of_paths(&mut text, families);
    text.push_str(MASKS);
    text.push_str("masks = [\n");
    for mask in masks {
        line(&mut text, format_args!("    {},", quoted(mask)));
    }
    text.push_str("]\n");
    text.push_str(
        "\n# More files (globs) that need an approval of their own wherever they change, beside this one,\n\
         # .palisade, the settings of continuous integration and git hooks. Such as \"deploy/**\".\n\
         protected = []\n\
         \n# More files (globs) that are secrets by their name: agents do not see them, and what they\n\
         # propose may not hold them. .env, keys and the like are known already. Such as \"**/*.tfvars\".\n\
         secrets = []\n\
         \n# What looks like a credential in some file and is none, by the fingerprint that `palisade doctor`\n\
         # shows. Everything else that looks like one keeps works from starting.\n\
         # [[accepted_secret]]\n\
         # fingerprint = \"0123456789abcdef\"\n\
         # reason = \"made up for the tests\"\n\
         \n# Where the kernel cannot lay a writable layer over a folder, sessions may get a plain copy of the\n\
         # tree instead. It is slower, and every session says so. Only used where layers really fail.\n\
         plain_copy_fallback = false\n\
         \n# Folders and files of this machine that cells see. `source` is here, `target` in the cell (the\n\
         # same place, if left out). They are read-only; with `layer = \"name\"`, each work may write to a\n\
         # private layer over them that is thrown away with it: this is for caches.\n",
    );
    for family in families {
        mounts(&mut text, family);
    }
    limits(&mut text);
    checkpoints(&mut text);
    models(&mut text);
    variables(&mut text, families);
    text
}

fn list_of_paths(text: &mut String, families: &[Family]) {
    text.push_str(
        "\n# Folders of programs in the cell, searched before /usr/local/bin, /usr/bin and /bin.\npath = [\n",
    );
    for family in families {
        for folder in &family.path {
            let mark = mark(family);
            let folder = quoted(&folder.display().to_string());
            line(text, format_args!("    {mark}{folder}, # {}", family.name));
        }
    }
    text.push_str("]\n");
}

fn mark(family: &Family) -> &'static str {
    if family.used_for.is_some() { "" } else { "# " }
}

fn mounts(text: &mut String, family: &Family) {
    text.push('\n');
    match &family.used_for {
        Some(file) => line(
            text,
            format_args!("# {}: the repository has {file}.", family.name),
        ),
        None => line(
            text,
            format_args!(
                "# {}: found on this machine, not used by the repository; take out the `# ` to show it.",
                family.name
            ),
        ),
    }
    for note in &family.notes {
        text.push_str(&comment(note));
    }
    if family.used_for.is_some() && family.is_found() && family.mounts.is_empty() {
        text.push_str("# Nothing to mount: what it needs is in the system's folders.\n");
    }
    for (index, shown) in family.mounts.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        mount(text, mark(family), shown);
    }
}

fn mount(text: &mut String, mark: &str, shown: &Shown) {
    let path = |it: &Path| quoted(&it.display().to_string());
    line(text, format_args!("{mark}[[mount]] # {}", shown.what));
    line(text, format_args!("{mark}source = {}", path(&shown.source)));
    if shown.target != shown.source {
        line(text, format_args!("{mark}target = {}", path(&shown.target)));
    }
    if let Some(layer) = shown.layer {
        line(text, format_args!("{mark}layer = {}", quoted(layer)));
    }
}

#[expect(clippy::too_many_lines, reason = "a table: one row for each limit")]
fn limits(text: &mut String) {
    let (cell, agent) = (cells::Limits::default(), agents::Limits::default());
    let room = engine::settings::Room::of(cell.memory_bytes);
    let work = domain::allowance::Allowance::default();
    text.push_str(
        "\n# The limits of every cell, and of what may come out of it. The numbers are those that hold\n\
         # anyway; take out the `# ` to change one.\n[limits]\n",
    );
    let rows = [
        (
            "memory_mib",
            cell.memory_bytes >> 20,
            "of all its processes, or of each where there are no cgroups",
        ),
        ("processes", cell.processes, "processes and threads at once"),
        (
            "file_mib",
            cell.file_bytes >> 20,
            "the largest file it may write",
        ),
        (
            "tmp_mib",
            cell.tmp_bytes >> 20,
            "its /tmp and its home, each, in memory",
        ),
        (
            "disk_mib",
            cell.disk_bytes >> 20,
            "what it may write to its tree and caches together, while it writes",
        ),
        (
            "disk_files",
            cell.disk_files,
            "files and folders there, build output and all",
        ),
        (
            "disk_free_mib",
            room.disk_bytes >> 20,
            "disk that must be free, or no session starts",
        ),
        (
            "memory_free_mib",
            room.memory_bytes >> 20,
            "memory that must be free for each cell, or none starts",
        ),
        (
            "session_minutes",
            agent.wall.as_secs() / 60,
            "how long an agent may work in one session",
        ),
        (
            "first_word_seconds",
            agent.first_word.as_secs(),
            "how long it may take to print or signal anything at all",
        ),
        (
            "idle_seconds",
            agent.idle.as_secs(),
            "how long it may be silent before it is ended",
        ),
        (
            "stall_minutes",
            agent.stall.as_secs() / 60,
            "how long it may print, and neither signal anything nor change its tree",
        ),
        (
            "changed_files",
            crate::config::FILES_MAX,
            "files that one proposal may change",
        ),
        (
            "changed_mib",
            crate::config::TOTAL_BYTES_MAX >> 20,
            "their size together",
        ),
        (
            "work_disk_mib",
            work.disk_bytes >> 20,
            "what all sessions of a work may write: checkpoints, caches and the present layer",
        ),
        ("work_files", work.files, "files and folders there"),
        (
            "work_output_mib",
            work.output_bytes >> 20,
            "what all agents of a work may print",
        ),
    ];
    for (name, value, what) in rows {
        line(text, format_args!("# {name} = {value} # {what}"));
    }
}

fn models(text: &mut String) {
    text.push_str(
        "\n# What agents may ask of language models. Providers and keys are not in here but in broker.toml, in\n\
         # ~/.config/palisade or the state folder. What is not bounded here is not bounded: set budgets.\n\
         [models]\n\
         # allowed = [\"claude-*\"]         # narrower than what broker.toml allows\n\
         # session_tokens = 2_000_000\n\
         # work_usd = \"5.00\"             # also goal_ and day_, in tokens or usd\n\
         # tape = \"record\"               # or \"off\", or \"replay:NAME\"\n\
         # judge = \"anthropic/claude-haiku-4-5\"   # whom formulas' judges ask\n\
         # every_agent = true            # also for agents that do not need a model\n\
         # broker = \"/run/…/control.sock\" # a broker that runs as a service\n",
    );
}

fn checkpoints(text: &mut String) {
    let it = Checkpoints::default();
    text.push_str(
        "\n# When a running session's tree is kept and judged. A tree with a critical violation (a secret,\n\
         # a protected file, a way out of the tree) is put back by `on_violation`: \"paths\" takes back what\n\
         # breaks rules, \"smart\" also what names it, \"full\" everything; \"tell\" only tells the agent.\n\
         [checkpoints]\n",
    );
    let policy = it.on_violation.map_or("tell", Strategy::name);
    line(text, format_args!("# on_violation = {}", quoted(policy)));
    let rows = [
        (
            "quiet_seconds",
            it.quiet.as_secs(),
            "without a write, after one",
        ),
        (
            "interval_seconds",
            it.interval.as_secs(),
            "since the last one, while it writes",
        ),
        ("size_mib", it.bytes >> 20, "written since the last one"),
        (
            "judging_seconds",
            it.judging.as_secs(),
            "judging one may take before it counts as not judged yet",
        ),
        (
            "pause_minutes",
            it.pause.as_secs() / 60,
            "a session may stand still that you paused",
        ),
        (
            "escalation_minutes",
            it.escalation.as_secs() / 60,
            "it may that Palisade paused, for you to look",
        ),
    ];
    for (name, value, what) in rows {
        line(text, format_args!("# {name} = {value} # {what}"));
    }
}

fn variables(text: &mut String, families: &[Family]) {
    text.push_str(
        "\n# Variables in the cell, beside HOME, LANG, PATH, TERM, TMPDIR and USER. Nothing is inherited from\n\
         # your shell. Never put a secret here: agents see them all.\n[env]\n",
    );
    for family in families {
        for (name, value) in &family.env {
            line(
                text,
                format_args!("{}{name} = {}", mark(family), quoted(value)),
            );
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    if writeln!(text, "{line}").is_err() {
        text.push('\n');
    }
}

/// Returns a text as TOML writes it.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Returns a text as lines of comment.
pub(crate) fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_string();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = "#".to_string();
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}
