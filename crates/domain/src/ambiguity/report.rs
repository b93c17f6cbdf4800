//! The form of a filed question: six Markdown sections, in order. A filing that does not keep the
//! form is not lost: it becomes a report whose question is its raw text.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Priority;

/// The headings, in order.
pub const SECTIONS: [&str; 6] = [
    "Question",
    "Why It Blocks Progress",
    "Options Considered",
    "Recommended Option",
    "Impact",
    "Default Held",
];

/// The largest filing, in bytes.
pub const BYTES_MAX: usize = 32 * 1024;

/// The most faults of one filing that are kept: enough to see what is wrong with its form.
const FAULTS_MAX: usize = 20;

/// The most characters of a filing that one fault repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// Words that raise a question to P1 whatever the agent proposed: what they touch cannot be
/// mended by a later answer.
const GRAVE: [&str; 6] = [
    "migration",
    "authentication",
    "authorization",
    "payment",
    "delete data",
    "credential",
];

/// The six sections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What is not clear.
    pub question: String,
    /// Why it blocks.
    pub why: String,
    /// What could be done: two or more.
    pub options: Vec<String>,
    /// One of the options.
    pub recommended: String,
    /// What hangs on it.
    pub impact: String,
    /// What is assumed until it is answered.
    pub default_held: String,
}

/// A filing as understood: the report, and everything that was wrong with its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filing {
    /// The report; for a malformed filing, the raw text is the question.
    pub report: Report,
    /// The priority: as proposed, or raised by rule; never less than P2 for a malformed filing.
    pub priority: Priority,
    /// Everything that was wrong.
    pub malformed: Vec<String>,
}

/// Reads a filing. Never refuses: what cannot be understood is kept as malformed.
#[must_use]
pub fn read(raw: &str, proposed: &str) -> Filing {
    let text = printable(raw);
    let mut faults = Vec::new();
    if raw.len() > BYTES_MAX {
        faults.push(format!("{} bytes, the limit is {BYTES_MAX}", raw.len()));
    }
    let sections = sections(&text, &mut faults);
    let options = options(&sections[2]);
    if faults.is_empty() && options.len() < 2 {
        faults.push(String::from(
            "`Options Considered` lists fewer than two options",
        ));
    }
    let known = |it: &String| normalized(it) == normalized(&sections[3]);
    let numbered = |it: &str| {
        it.trim()
            .parse::<usize>()
            .is_ok_and(|it| (1..=options.len()).contains(&it))
    };
    if faults.is_empty() && !options.iter().any(known) && !numbered(&sections[3]) {
        faults.push(String::from("`Recommended Option` is none of the options"));
    }
    let Some(proposed) = Priority::named(proposed.trim()) else {
        faults.push(format!(
            "`{}` is not a priority from P0 to P3",
            quoted(&printable(proposed))
        ));
        return malformed(&text, Priority::P2, faults);
    };
    if !faults.is_empty() {
        // A bad form makes no question less grave than it was meant.
        return malformed(&text, proposed.min(Priority::P2), faults);
    }
    let [question, why, _, recommended, impact, default_held] = sections;
    let report = Report {
        question,
        why,
        options,
        recommended,
        impact,
        default_held,
    };
    let priority = raised(proposed, &written(&report));
    Filing {
        report,
        priority,
        malformed: Vec::new(),
    }
}

/// Writes a report in the form that [`read`] understands.
#[must_use]
pub fn written(report: &Report) -> String {
    let options: Vec<_> = report.options.iter().map(|it| format!("- {it}")).collect();
    let bodies = [
        report.question.as_str(),
        &report.why,
        &options.join("\n"),
        &report.recommended,
        &report.impact,
        &report.default_held,
    ];
    let parts: Vec<_> = SECTIONS
        .iter()
        .zip(bodies)
        .map(|(name, body)| format!("## {name}\n{body}\n"))
        .collect();
    parts.join("\n")
}

/// Returns a text in the form that equal texts share: lower case, single spaces, no punctuation
/// at the end.
#[must_use]
pub fn normalized(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
    words
        .join(" ")
        .trim_end_matches(['.', '?', '!', ' '])
        .to_string()
}

fn malformed(text: &str, priority: Priority, mut faults: Vec<String>) -> Filing {
    let more = faults.len().saturating_sub(FAULTS_MAX);
    if more > 0 {
        faults.truncate(FAULTS_MAX);
        faults.push(format!("and {more} more"));
    }
    let cut: String = text.chars().take(BYTES_MAX / 4).collect();
    let report = Report {
        question: cut,
        why: String::from("(the filing is malformed; its raw text is the question)"),
        options: Vec::new(),
        recommended: String::new(),
        impact: String::new(),
        default_held: String::from("(none was stated)"),
    };
    Filing {
        report,
        priority: raised(priority, text),
        malformed: faults,
    }
}

/// Returns the priority that a text deserves, whatever it was filed with.
fn raised(priority: Priority, text: &str) -> Priority {
    let lowered = text.to_lowercase();
    if GRAVE.iter().any(|it| lowered.contains(it)) {
        priority.min(Priority::P1)
    } else {
        priority
    }
}

/// Control characters could move the operator's cursor; only line feeds and tabs pass.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|it| !it.is_control() || matches!(it, '\n' | '\t'))
        .collect()
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

fn sections(text: &str, faults: &mut Vec<String>) -> [String; 6] {
    let mut found: [String; 6] = Default::default();
    let mut seen = Vec::new();
    for line in text.lines() {
        if let Some(heading) = heading(line) {
            match SECTIONS
                .iter()
                .position(|it| normalized(it) == normalized(heading))
            {
                Some(index) => seen.push(index),
                None => faults.push(format!(
                    "`{}` is not one of the six sections",
                    quoted(heading)
                )),
            }
        } else if let Some(index) = seen.last() {
            found[*index].push_str(line);
            found[*index].push('\n');
        } else if !line.trim().is_empty() && !line.starts_with("Priority:") {
            faults.push(String::from("text before the first section"));
        }
    }
    for (index, name) in SECTIONS.iter().enumerate() {
        found[index] = found[index].trim().to_string();
        match seen.iter().filter(|it| **it == index).count() {
            0 => faults.push(format!("`{name}` is missing")),
            1 if found[index].is_empty() => faults.push(format!("`{name}` is empty")),
            1 => {}
            _ => faults.push(format!("`{name}` appears more than once")),
        }
    }
    if !seen.is_sorted() {
        faults.push(String::from("the sections are not in order"));
    }
    faults.dedup();
    found
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let depth = line.len() - title.len();
    ((1..=3).contains(&depth) && title.starts_with(' ')).then(|| title.trim())
}

fn options(section: &str) -> Vec<String> {
    let bullets = section.lines().filter_map(|line| {
        let line = line.trim_start();
        let rest = line
            .strip_prefix("- ")
            .or_else(|| line.strip_prefix("* "))
            .or_else(|| {
                let (number, rest) = line.split_once(['.', ')'])?;
                number.parse::<u32>().is_ok().then_some(rest)
            })?;
        Some(rest.trim().to_string())
    });
    bullets.filter(|it| !it.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn report() -> Report {
        Report {
            question: "Which region?".into(),
            why: "The bucket name differs.".into(),
            options: vec!["eu".into(), "us".into()],
            recommended: "eu".into(),
            impact: "Latency.".into(),
            default_held: "eu".into(),
        }
    }

    #[test]
    fn a_written_report_reads_back() {
        let filing = read(&written(&report()), "P2");
        assert_eq!(filing.malformed, [""; 0]);
        assert_eq!((filing.report, filing.priority), (report(), Priority::P2));
    }

    #[test]
    fn a_missing_section_is_kept_as_malformed_with_its_raw_text() {
        let filing = read("## Question\nWhich?\n", "P0");
        assert_eq!(filing.priority, Priority::P0);
        assert!(filing.report.question.contains("Which?"));
        assert!(
            filing
                .malformed
                .iter()
                .any(|it| it.contains("`Default Held` is missing"))
        );
    }

    #[test]
    fn sections_out_of_order_are_malformed() {
        let mut lines: Vec<_> = SECTIONS
            .iter()
            .map(|it| format!("## {it}\n- a\n- b\n"))
            .collect();
        lines.swap(0, 1);
        let filing = read(&lines.join("\n"), "P2");
        assert!(
            filing
                .malformed
                .iter()
                .any(|it| it.contains("not in order"))
        );
    }

    #[test]
    fn grave_words_raise_the_priority_and_never_lower_it() {
        let grave = Report {
            impact: "It needs a migration.".into(),
            ..report()
        };
        assert_eq!(read(&written(&grave), "P3").priority, Priority::P1);
        assert_eq!(read(&written(&grave), "P0").priority, Priority::P0);
    }

    #[test]
    fn a_broken_form_never_lowers_a_priority() {
        for (proposed, text, expected) in [
            ("P0", "?", Priority::P0),
            ("P1", "?", Priority::P1),
            ("P3", "?", Priority::P2),
            ("urgent", "?", Priority::P2),
            ("P3", "drop the payment table?", Priority::P1),
        ] {
            assert_eq!(read(text, proposed).priority, expected, "{proposed} {text}");
        }
    }

    #[test]
    fn escape_sequences_never_reach_a_terminal() {
        let filing = read("\u{1b}[2J gone", "P2");
        assert!(!filing.report.question.contains('\u{1b}'));
    }

    #[test]
    fn an_answer_section_written_by_an_agent_is_not_an_answer() {
        let text = format!("{}\n## Answer\nyes\n", written(&report()));
        assert!(!read(&text, "P1").malformed.is_empty());
    }

    #[test]
    fn a_filing_of_faults_alone_is_kept_short() {
        let many: String = (0..1_000).map(|it| format!("# {it}\n")).collect();
        let filing = read(&many, "P2");
        assert_eq!(filing.malformed.len(), FAULTS_MAX + 1);
        assert!(filing.malformed[FAULTS_MAX].ends_with("more"), "{filing:?}");
        let long = format!("# {}\n", "x".repeat(BYTES_MAX));
        let faults: usize = read(&long, &long).malformed.iter().map(String::len).sum();
        assert!(faults < 1_000, "{faults}");
    }

    proptest! {
        #[test]
        fn nothing_an_agent_writes_is_lost_or_panics(text in "\\PC{0,200}", priority in ".{0,4}") {
            let filing = read(&text, &priority);
            prop_assert!(!filing.malformed.is_empty());
            prop_assert_eq!(filing.report.question, text);
        }
    }
}
