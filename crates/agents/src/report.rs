//! The report of a question: six sections of Markdown, in one order.

/// The headings, in order.
pub(crate) const HEADINGS: [&str; 6] = [
    "Question",
    "Why It Blocks Progress",
    "Options Considered",
    "Recommended Option",
    "Impact",
    "Default Held",
];

/// One report, in bytes.
pub(crate) const REPORT_BYTES_MAX: usize = 32 << 10;

/// Options a question must weigh.
const OPTIONS_MIN: usize = 2;

/// Why a text is not the report of a question.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A section is not where it belongs.
    #[error("the heading `## {wanted}` is missing or out of order; the order is: {order}", order = HEADINGS.join(", "))]
    Missing {
        /// The heading.
        wanted: &'static str,
    },
    /// There is a section that is not one of the six.
    #[error("`## {found}` is not one of the six sections: {order}", order = HEADINGS.join(", "))]
    Extra {
        /// The heading.
        found: String,
    },
    /// A section says nothing.
    #[error("the section `{heading}` is empty")]
    Empty {
        /// The heading.
        heading: &'static str,
    },
    /// There is nothing to choose from.
    #[error("a question weighs at least two options, each a line that begins with `- `")]
    Options,
    /// There is something before the first section.
    #[error("the report must begin with `## Question`")]
    Preface,
    /// The report is too long.
    #[error("the report is over {REPORT_BYTES_MAX} bytes")]
    Long,
}

/// The sections of a question.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    pub(crate) question: String,
    pub(crate) why: String,
    pub(crate) options: Vec<String>,
    pub(crate) recommend: String,
    pub(crate) impact: String,
    pub(crate) default: String,
}

/// A report with all six sections.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question(String);

impl Question {
    /// Puts a report together.
    pub(crate) fn of(sections: &Sections) -> Result<Self, Error> {
        let options: Vec<String> = sections
            .options
            .iter()
            .map(|option| format!("- {}", option.trim()))
            .collect();
        let bodies = [
            &sections.question,
            &sections.why,
            &options.join("\n"),
            &sections.recommend,
            &sections.impact,
            &sections.default,
        ];
        let parts: Vec<String> = HEADINGS
            .iter()
            .zip(bodies)
            .map(|(heading, body)| format!("## {heading}\n\n{}\n", body.trim()))
            .collect();
        Self::read(&parts.join("\n"))
    }

    /// Reads a report someone wrote.
    pub(crate) fn read(text: &str) -> Result<Self, Error> {
        if text.len() > REPORT_BYTES_MAX {
            return Err(Error::Long);
        }
        let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("## "), found.last_mut()) {
                (Some(heading), _) => found.push((heading.trim(), Vec::new())),
                (None, Some((_, body))) => body.push(line.trim()),
                (None, None) if line.trim().is_empty() => {}
                (None, None) => return Err(Error::Preface),
            }
        }
        for (at, wanted) in HEADINGS.into_iter().enumerate() {
            let (heading, body) = found.get(at).ok_or(Error::Missing { wanted })?;
            if !heading.eq_ignore_ascii_case(wanted) {
                return Err(Error::Missing { wanted });
            }
            let said = body.iter().filter(|line| !matches!(**line, "" | "-"));
            if said.count() == 0 {
                return Err(Error::Empty { heading: wanted });
            }
            let options = body.iter().filter(|line| is_option(line)).count();
            if wanted == HEADINGS[2] && options < OPTIONS_MIN {
                return Err(Error::Options);
            }
        }
        match found.get(HEADINGS.len()) {
            Some((heading, _)) => Err(Error::Extra {
                found: (*heading).to_owned(),
            }),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the report.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn is_option(line: &str) -> bool {
    let bulleted = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "));
    let numbered = line.split_once(". ").and_then(|(number, rest)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then_some(rest)
    });
    bulleted
        .or(numbered)
        .is_some_and(|rest| !rest.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Sections {
        Sections {
            question: "Which port?".to_owned(),
            why: "The test needs one.".to_owned(),
            options: vec!["80".to_owned(), "8080".to_owned()],
            recommend: "8080".to_owned(),
            impact: "One line.".to_owned(),
            default: "8080".to_owned(),
        }
    }

    #[test]
    fn a_report_reads_back_from_its_text() {
        let report = Question::of(&sections()).unwrap().into_text();
        assert_eq!(
            report,
            "## Question\n\nWhich port?\n\n## Why It Blocks Progress\n\nThe test needs one.\n\n\
             ## Options Considered\n\n- 80\n- 8080\n\n## Recommended Option\n\n8080\n\n\
             ## Impact\n\nOne line.\n\n## Default Held\n\n8080\n"
        );
        assert_eq!(Question::read(&report).unwrap().into_text(), report);
    }

    #[test]
    fn every_deviation_is_told() {
        let report = Question::of(&sections()).unwrap().into_text();
        for (text, why) in [
            (
                report.replace("## Impact", "## Cost"),
                "`## Impact` is missing",
            ),
            (report.replace("## Impact", ""), "`## Impact` is missing"),
            (report.replace("One line.", " "), "`Impact` is empty"),
            (report.replace("- 80\n", ""), "at least two options"),
            (format!("Hello\n{report}"), "must begin with"),
            (
                format!("{report}## Answer\n\nyes\n"),
                "`## Answer` is not one",
            ),
            (
                report.replace("One line.", &"x".repeat(40_000)),
                "over 32768",
            ),
        ] {
            let error = Question::read(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        for option in [vec![], vec![String::new(), " ".to_owned()]] {
            let mut sections = sections();
            sections.options = option;
            assert!(Question::of(&sections).is_err());
        }
        let mut injected = sections();
        injected.question = "Q?\n## Answer\nyes".to_owned();
        assert!(Question::of(&injected).is_err());
    }
}
