//! Specifications: Markdown with an optional YAML front matter that bounds the work.

use domain::formula::{PROGRAMS_MAX, is_name, program_fault};
use domain::plan::Budget;
use domain::{Millis, SessionId, WorkId};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::globs;

/// The largest specification, in bytes.
pub const BYTES_MAX: usize = 1024 * 1024;

/// A specification, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// A name for people: from the front matter, else from the file's name.
    pub name: String,
    /// The first heading, else the name.
    pub title: String,
    /// The text without front matter, for the agents.
    pub body: String,
    /// Globs of paths the work may change.
    pub allow: Vec<String>,
    /// Globs of paths it may not.
    pub deny: Vec<String>,
    /// Protected files that the operator allows by naming them here.
    pub protected: Vec<String>,
    /// Programs that sessions find by name, beside those of their role; empty names none.
    pub commands: Vec<String>,
    /// The branch it is meant for; none for the one the repository is on.
    pub target: Option<String>,
    /// Names of works that must be completed first.
    pub depends_on: Vec<String>,
    /// What it may spend.
    pub budget: Budget,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FrontMatter {
    name: Option<String>,
    allow: Option<Vec<String>>,
    deny: Vec<String>,
    protected: Vec<String>,
    commands: Vec<Spanned<String>>,
    target: Option<String>,
    depends_on: Vec<String>,
    budget: FrontBudget,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FrontBudget {
    sessions: Option<u32>,
    rounds: Option<u32>,
    minutes: Option<u64>,
}

/// Reads a specification; `stem` is the file's name without its extension.
///
/// # Errors
/// Says what is wrong with it and how to mend it.
pub fn read(raw: &[u8], stem: &str) -> Result<Spec, String> {
    if raw.len() > BYTES_MAX {
        return Err(format!(
            "the specification has more than the {BYTES_MAX} bytes that are read"
        ));
    }
    let text = std::str::from_utf8(raw).map_err(|it| format!("it is not UTF-8: {it}"))?;
    // Some editors begin a file with a mark; the front matter that follows it bounds all the same.
    let (front, body) = split(text.trim_start_matches('\u{feff}'))?;
    let front: FrontMatter = if front.trim().is_empty() {
        FrontMatter::default()
    } else {
        serde_saphyr::from_str(front).map_err(|it| format!("the front matter: {it}"))?
    };
    if body.trim().is_empty() {
        return Err("it says nothing below the front matter".to_string());
    }
    for (key, list) in [
        ("allow", front.allow.as_deref().unwrap_or_default()),
        ("deny", &front.deny),
        ("protected", &front.protected),
    ] {
        if let Some(told) = list.iter().find_map(|it| globs::fault(it)) {
            return Err(format!("the front matter: `{key}`: {told}"));
        }
    }
    let commands = commands(front.commands)?;
    let name = front.name.unwrap_or_else(|| slug(stem));
    if let Some(meant) = meant(&name) {
        return Err(format!(
            "`{name}` on a command line means {meant}, so no work is called so; set another `name:` \
             in the front matter"
        ));
    }
    if !is_name(&name) {
        let rule = "lower-case letters, digits, `-`, a letter first";
        return Err(format!(
            "`{name}` is not a name: {rule}; set `name:` in the front matter"
        ));
    }
    let default = Budget::default();
    let budget = Budget {
        sessions: front.budget.sessions.unwrap_or(default.sessions),
        rounds: front.budget.rounds.unwrap_or(default.rounds),
        wall: front.budget.minutes.map_or(default.wall, Millis::from_mins),
    };
    Ok(Spec {
        title: title(body).unwrap_or_else(|| name.clone()),
        name,
        body: body.to_string(),
        // Without a word about it, everything that is not protected may be changed in the sealed
        // workspace: the roles narrow it, and nothing leaves without a decision.
        allow: front.allow.unwrap_or_else(|| vec!["**".to_string()]),
        deny: front.deny,
        protected: front.protected,
        commands,
        target: front.target,
        depends_on: front.depends_on,
        budget,
    })
}

/// Returns what a name stands for already where a work can be named.
fn meant(name: &str) -> Option<&'static str> {
    let begins = |prefix: &str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|it| it.starts_with('_'))
    };
    if begins(WorkId::PREFIX) {
        Some("the identifier of a work")
    } else if begins(SessionId::PREFIX) {
        Some("the identifier of a session")
    } else if name == "latest" {
        Some("the session that was asked for last")
    } else {
        None
    }
}

/// Returns the programs that are named; what is wrong is told with its place in the specification.
fn commands(named: Vec<Spanned<String>>) -> Result<Vec<String>, String> {
    if named.len() > PROGRAMS_MAX {
        return Err(format!(
            "the front matter: `commands` names more than {PROGRAMS_MAX} programs"
        ));
    }
    let faults = named.iter().filter_map(|it| {
        let fault = program_fault(&it.value)?;
        // The front matter begins below the line that opens it.
        let (line, column) = (it.referenced.line() + 1, it.referenced.column());
        Some(format!(
            "the front matter: {line}:{column}: `commands`: {fault}"
        ))
    });
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() {
        Ok(named.into_iter().map(|it| it.value).collect())
    } else {
        Err(faults.join("\n"))
    }
}

fn split(text: &str) -> Result<(&str, &str), String> {
    let Some(rest) = text
        .strip_prefix("---\n")
        .or_else(|| text.strip_prefix("---\r\n"))
    else {
        let first = text.lines().find(|it| !it.trim().is_empty());
        if first.is_some_and(|it| it.trim() == "---") {
            // Read as text, it would bound nothing.
            let mend = "put it on the first line, with nothing before or after it";
            return Err(format!("`---` opens a front matter only there: {mend}"));
        }
        return Ok(("", text));
    };
    let mut offset = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Ok((&rest[..offset], &rest[offset + line.len()..]));
        }
        offset += line.len();
    }
    Err("the front matter begins with `---` and never ends; close it with another".to_string())
}

fn title(body: &str) -> Option<String> {
    let line = body.lines().find(|it| it.starts_with('#'))?;
    let title = line.trim_start_matches('#').trim();
    let printable: String = title
        .chars()
        .filter(|it| !it.is_control())
        .take(120)
        .collect();
    (!printable.is_empty()).then_some(printable)
}

fn slug(stem: &str) -> String {
    let lowered = stem.to_lowercase();
    let kept = lowered
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' });
    let joined: String = kept.collect();
    let parts: Vec<_> = joined.split('-').filter(|it| !it.is_empty()).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_markdown_file_is_a_specification() {
        let spec = read(b"# Add a flag\n\nPlease.\n", "Add_Flag").unwrap();
        assert_eq!(
            (spec.name.as_str(), spec.title.as_str()),
            ("add-flag", "Add a flag")
        );
        assert_eq!(spec.allow, ["**"]);
    }

    #[test]
    fn no_work_is_called_what_means_another_on_a_command_line() {
        let (work, session) = (WorkId::from_bits(7), SessionId::from_bits(7));
        let names = [work.to_string(), session.to_string(), "latest".to_owned()];
        for name in names {
            let text = format!("---\nname: {name}\n---\n# T\n");
            let told = read(text.as_bytes(), "spec").unwrap_err();
            assert!(told.contains("on a command line means"), "{told}");
        }
        assert!(read(b"# T\n", "latest").is_err());
        assert!(read(b"# T\n", "work-on-it").is_ok());
    }

    #[test]
    fn the_front_matter_bounds_the_work() {
        let text =
            "---\nname: x\nallow: [src/**]\ndeny: [src/secret/**]\nbudget: {rounds: 2}\n---\n# T\n";
        let spec = read(text.as_bytes(), "spec").unwrap();
        assert_eq!(
            (spec.allow, spec.budget.rounds),
            (vec!["src/**".to_string()], 2)
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = read(b"---\nalow: [src]\n---\n# T\n", "spec").unwrap_err();
        assert!(error.contains("alow"), "{error}");
    }

    #[test]
    fn a_front_matter_is_never_read_as_text() {
        let marked = "\u{feff}---\r\nallow: [docs/**]\r\n---\r\n# T\r\n";
        assert_eq!(read(marked.as_bytes(), "spec").unwrap().allow, ["docs/**"]);
        for text in [
            "\n---\nallow: []\n---\n# T\n",
            "--- \nallow: []\n---\n# T\n",
        ] {
            let error = read(text.as_bytes(), "spec").unwrap_err();
            assert!(error.contains("first line"), "{error}");
        }
    }

    #[test]
    fn a_malformed_glob_is_refused_before_anything_runs() {
        let error = read(b"---\nallow: [\"src/[a\"]\n---\n# T\n", "spec").unwrap_err();
        assert!(
            error.contains("`allow`") && error.contains("src/[a"),
            "{error}"
        );
    }

    #[test]
    fn a_malformed_program_is_told_with_its_place() {
        let of = |list: &str| {
            let text = format!("---\nname: x\ncommands: [{list}]\n---\n# T\n");
            read(text.as_bytes(), "spec").map(|it| it.commands)
        };
        assert_eq!(of("cargo, sh").unwrap(), ["cargo", "sh"]);
        let told = of("sh, ./x, \"\"").unwrap_err();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].contains(": 3:16: `commands`: `./x`"), "{told}");
        assert!(lines[1].contains(": 3:21: `commands`: "), "{told}");
    }

    #[test]
    fn an_open_front_matter_is_refused() {
        assert!(
            read(b"---\nallow: []\n# T\n", "spec")
                .unwrap_err()
                .contains("never ends")
        );
    }
}
