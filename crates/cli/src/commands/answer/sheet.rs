//! The answers file: `[[answer]]` tables, each naming a question and one answer.

use domain::AmbiguityId;
use domain::ambiguity::Answer;
use engine::catalog::sheet::{Faults, Sheet, Table};
use engine::catalog::{FileFault, Source};

/// The keys of which one answers.
const ANSWERS: [&str; 3] = ["take", "option", "text"];

/// What a file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// The answers.
    pub(crate) given: Vec<(AmbiguityId, Answer)>,
    /// How many questions it names without an answer.
    pub(crate) left_open: usize,
}

/// Reads an answers file.
///
/// # Errors
/// Every fault with its place; then nothing of the file counts.
pub(crate) fn read(name: &str, text: &str) -> Result<Answers, Vec<FileFault>> {
    let source = Source {
        name: name.to_string(),
        text: text.to_string(),
    };
    let faults = Faults::of(&source);
    let sheet = Sheet::parse(&source, &faults);
    let root = sheet.root(&faults);
    let mut answers = Answers {
        given: Vec::new(),
        left_open: 0,
    };
    let mut named = Vec::new();
    for table in root.tables("answer") {
        let question = question(&table, &named);
        named.extend(question);
        let answer = answer(&table);
        table.finish();
        match (question, answer) {
            (Some(id), Some(answer)) => answers.given.push((id, answer)),
            (Some(_), None) => answers.left_open += 1,
            (None, _) => {}
        }
    }
    root.finish();
    let found = faults.sorted();
    if found.is_empty() {
        Ok(answers)
    } else {
        Err(found)
    }
}

fn question(table: &Table<'_>, named: &[AmbiguityId]) -> Option<AmbiguityId> {
    let text = table.required_text("question");
    if text.is_empty() {
        return None;
    }
    match text.parse::<AmbiguityId>() {
        Ok(id) if named.contains(&id) => {
            table.fault("question", format!("{id} is answered above already"));
            None
        }
        Ok(id) => Some(id),
        Err(error) => {
            table.fault("question", format!("{error}; see `palisade queue`"));
            None
        }
    }
}

fn answer(table: &Table<'_>) -> Option<Answer> {
    let default = table
        .one_of("take", &[("default", ())])
        .map(|()| Answer::Default);
    let option = table
        .number("option")
        .and_then(|it| match u32::try_from(it) {
            Ok(number @ 1..) => Some(Answer::Option { number }),
            Ok(0) | Err(_) => {
                table.fault("option", "options are counted from 1");
                None
            }
        });
    let text = table.text("text").and_then(|text| {
        if text.trim().is_empty() {
            table.fault(
                "text",
                "the answer is empty; write one, or take the line out",
            );
            None
        } else {
            Some(Answer::Text { text })
        }
    });
    let mut given: Vec<_> = [default, option, text].into_iter().flatten().collect();
    if given.len() > 1 {
        let last = ANSWERS
            .into_iter()
            .max_by_key(|it| table.span_of(it).start)
            .unwrap_or("text");
        table.fault(
            last,
            "a question has one answer: `take`, `option` or `text`",
        );
    }
    given.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bits: u128) -> AmbiguityId {
        AmbiguityId::from_bits(bits)
    }

    fn told(text: &str) -> Vec<String> {
        let faults = read("a.toml", text).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_kind_of_answer_is_read() {
        let text = format!(
            "[[answer]]\nquestion = \"{}\"\ntake = \"default\"\n\n[[answer]]\nquestion = \"{}\"\n\
             option = 2\n\n[[answer]]\nquestion = \"{}\"\ntext = \"neither\"\n\n[[answer]]\n\
             question = \"{}\"\n",
            id(1),
            id(2),
            id(3),
            id(4)
        );
        let answers = read("a.toml", &text).unwrap();
        let text = "neither".to_string();
        let wanted = vec![
            (id(1), Answer::Default),
            (id(2), Answer::Option { number: 2 }),
            (id(3), Answer::Text { text }),
        ];
        assert_eq!((answers.given, answers.left_open), (wanted, 1));
    }

    #[test]
    fn every_fault_has_its_place() {
        let known = id(1);
        let text = format!(
            "[[answer]]\nquestion = \"amb_1\"\ntake = \"all\"\n\n[[answer]]\n\
             question = \"{known}\"\noption = 0\ntext = \" \"\n\n[[answer]]\n\
             question = \"{known}\"\nanswer = 1\n"
        );
        assert_eq!(
            told(&text),
            [
                "a.toml:2:12: `amb_1` is not an identifier of the form `amb_` and 26 base32 \
                 characters; see `palisade queue`",
                "a.toml:3:8: `all` is none of `default`",
                "a.toml:7:10: options are counted from 1",
                "a.toml:8:8: the answer is empty; write one, or take the line out",
                &format!("a.toml:11:12: {known} is answered above already"),
                "a.toml:12:1: `answer` is not known here; known are `option`, `question`, \
                 `take`, `text`",
            ]
        );
    }

    #[test]
    fn two_answers_to_one_question_are_a_fault() {
        let text = format!(
            "[[answer]]\nquestion = \"{}\"\noption = 1\ntake = \"default\"\n",
            id(1)
        );
        assert_eq!(
            told(&text),
            ["a.toml:4:8: a question has one answer: `take`, `option` or `text`"]
        );
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        assert_eq!(
            told("[[gate]]\nname = \"unit\"\n"),
            ["a.toml:1:3: `gate` is not known here; known are `answer`"]
        );
    }
}
