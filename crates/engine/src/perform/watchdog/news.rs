//! News: what has become known since a session's brief was written, and concerns it: answers,
//! findings of others, words of gates. Compared with the log, so nothing depends on who learnt it.

use std::collections::BTreeMap;

use domain::ambiguity::{self, Answer, Priority};
use domain::case::Case;
use domain::finding;
use domain::message::{Message, Topic};
use domain::severity::Severity;
use domain::{AmbiguityId, Digest, FindingId, SessionId, WorkId, conclude};

use crate::steering::ACKNOWLEDGE_WITHIN;

/// The most that is told of one answer or finding, in characters.
const TEXT_CHARS_MAX: usize = 4_000;

/// What a session knows.
#[derive(Debug, Default)]
pub(super) struct News {
    answers: BTreeMap<AmbiguityId, Option<Answer>>,
    findings: BTreeMap<FindingId, bool>,
    gates: BTreeMap<String, (Digest, Vec<String>)>,
}

/// One thing that is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) topic: Topic,
    pub(super) severity: Severity,
    pub(super) text: String,
}

impl Item {
    fn of(topic: Topic, severity: Severity, text: &str) -> Self {
        let text = text.chars().take(TEXT_CHARS_MAX).collect();
        Self {
            topic,
            severity,
            text,
        }
    }

    /// Returns the message that tells it. What is critical needs an acknowledgement.
    pub(super) fn message(self, work: WorkId, session: SessionId) -> Message {
        let is_critical = self.severity == Severity::Critical;
        Message {
            work,
            session,
            topic: self.topic,
            severity: self.severity,
            text: self.text,
            from: conclude::ENGINE.to_string(),
            acknowledge_within: is_critical.then_some(ACKNOWLEDGE_WITHIN),
        }
    }
}

impl News {
    /// Returns what a session knows whose brief was written of this case.
    pub(super) fn known(case: &Case, session: SessionId) -> Self {
        let mut news = Self::default();
        drop(news.since(case, session));
        news
    }

    /// Returns what is new since this was last asked.
    pub(super) fn since(&mut self, case: &Case, session: SessionId) -> Vec<Item> {
        let mut items = Vec::new();
        for (id, state) in &case.ambiguities {
            let (about, answer) = match state {
                ambiguity::State::Answered(about, answer)
                | ambiguity::State::Applied(about, answer)
                | ambiguity::State::Closed(about, Some(answer)) => (about, Some(answer)),
                ambiguity::State::Open(about) | ambiguity::State::Closed(about, None) => {
                    (about, None)
                }
                ambiguity::State::Absent => continue,
            };
            let known = self.answers.insert(*id, answer.cloned()).flatten();
            if let Some(answer) = answer
                && known.as_ref() != Some(answer)
            {
                items.push(answered(about, answer));
            }
        }
        for (id, state) in &case.findings {
            let (about, is_open) = match state {
                finding::State::Open(about, ..) => (about, true),
                finding::State::Resolved(about, _) => (about, false),
                finding::State::Absent => continue,
            };
            let before = self.findings.insert(*id, is_open);
            // Whoever reported it knows it.
            if before != Some(is_open) && (about.session != session || before.is_some()) {
                items.push(reviewed(about, is_open));
            }
        }
        let facts = case.active().map(|it| it.gates.as_slice());
        for fact in facts.unwrap_or_default() {
            let word = (fact.tree, fact.reasons.clone());
            let known = self.gates.insert(fact.gate.clone(), word.clone());
            if known != Some(word) {
                items.push(judged(&fact.gate, fact.tree, &fact.reasons));
            }
        }
        items
    }
}

/// An answer that confirms what was assumed is good to know; one that does not changes the work.
fn answered(about: &ambiguity::Ambiguity, answer: &Answer) -> Item {
    let told = about.told(answer);
    let normalized = ambiguity::report::normalized;
    let held = &about.report.default_held;
    let confirms = *answer == Answer::Default || normalized(&told) == normalized(held);
    let severity = match about.priority {
        _ if confirms => Severity::Info,
        Priority::P0 => Severity::Critical,
        Priority::P1 | Priority::P2 | Priority::P3 => Severity::Warning,
    };
    let change = if confirms {
        "as you assumed"
    } else {
        "another than what is assumed so far: change what leans on that"
    };
    let question = &about.report.question;
    let text =
        format!("The operator has answered ({change}).\nQuestion: {question}\nAnswer: {told}");
    Item::of(Topic::Answer, severity, &text)
}

fn reviewed(about: &finding::Finding, is_open: bool) -> Item {
    let place = format!("{}:{} [{}]", about.file, about.line, about.rule);
    let (severity, word) = if is_open {
        (Severity::Error, "A finding is open")
    } else {
        (Severity::Info, "A finding is resolved")
    };
    let text = format!("{word}: {place} {}", about.text);
    Item::of(Topic::Review, severity, &text)
}

fn judged(gate: &str, tree: Digest, reasons: &[String]) -> Item {
    let tree = tree.short();
    if reasons.is_empty() {
        let text = format!("Gate `{gate}` is green on tree {tree}.");
        return Item::of(Topic::GateResult, Severity::Info, &text);
    }
    let text = format!(
        "Gate `{gate}` is red on tree {tree}: {}",
        reasons.join("; ")
    );
    Item::of(Topic::GateResult, Severity::Error, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::RunId;
    use domain::ambiguity::Ambiguity;
    use domain::finding::Finding;

    const ME: SessionId = SessionId::from_bits(1);
    const OTHER: SessionId = SessionId::from_bits(2);

    fn question(priority: Priority) -> Ambiguity {
        let report = ambiguity::Report {
            question: "Which colour?".to_owned(),
            why: String::new(),
            options: vec!["red".to_owned(), "blue".to_owned()],
            recommended: String::new(),
            impact: String::new(),
            default_held: "red".to_owned(),
        };
        Ambiguity {
            work: WorkId::from_bits(1),
            run: RunId::from_bits(1),
            session: ME,
            step: "build".to_owned(),
            role: "builder".to_owned(),
            priority,
            key: ambiguity::report::normalized(&report.question),
            report,
            malformed: vec![],
        }
    }

    fn answered_case(priority: Priority, answer: Answer) -> Case {
        let mut case = Case::default();
        let state = ambiguity::State::Answered(question(priority), answer);
        case.ambiguities.insert(AmbiguityId::from_bits(1), state);
        case
    }

    fn told(priority: Priority, answer: Answer) -> Item {
        let mut before = Case::default();
        let open = ambiguity::State::Open(question(priority));
        before.ambiguities.insert(AmbiguityId::from_bits(1), open);
        let mut news = News::known(&before, ME);
        assert_eq!(news.since(&before, ME), []);
        let after = answered_case(priority, answer);
        let mut items = news.since(&after, ME);
        assert_eq!(items.len(), 1, "{items:?}");
        assert_eq!(news.since(&after, ME), [], "told once");
        items.remove(0)
    }

    #[test]
    fn an_answer_weighs_what_it_changes() {
        let other = || Answer::Option { number: 2 };
        let same = told(Priority::P0, Answer::Option { number: 1 });
        assert_eq!((same.topic, same.severity), (Topic::Answer, Severity::Info));
        assert_eq!(told(Priority::P2, Answer::Default).severity, Severity::Info);
        assert_eq!(told(Priority::P2, other()).severity, Severity::Warning);
        let grave = told(Priority::P0, other());
        assert_eq!(grave.severity, Severity::Critical);
        assert!(grave.text.contains("Answer: blue"), "{}", grave.text);
        let message = grave.message(WorkId::from_bits(1), ME);
        assert_eq!(message.acknowledge_within, Some(ACKNOWLEDGE_WITHIN));
        let message = same.message(WorkId::from_bits(1), ME);
        assert_eq!(message.acknowledge_within, None);
    }

    #[test]
    fn what_the_brief_says_is_no_news() {
        let case = answered_case(Priority::P0, Answer::Default);
        assert_eq!(News::known(&case, ME).since(&case, ME), []);
    }

    #[test]
    fn a_finding_is_news_to_all_but_who_reported_it() {
        let finding = |session| Finding {
            work: WorkId::from_bits(1),
            run: RunId::from_bits(1),
            session,
            tree: Digest::ZERO,
            file: "src/a".to_owned(),
            line: 3,
            rule: "taste".to_owned(),
            text: "bad".to_owned(),
        };
        let mut case = Case::default();
        for (number, session) in [(1, ME), (2, OTHER)] {
            let open = finding::State::Open(finding(session), session, Digest::ZERO);
            case.findings.insert(FindingId::from_bits(number), open);
        }
        let mut news = News::default();
        let items = news.since(&case, ME);
        let texts: Vec<_> = items.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["A finding is open: src/a:3 [taste] bad"]);
        let by = finding::Resolver::Operator {
            name: "operator:ada".to_owned(),
            reason: "no".to_owned(),
        };
        let resolved = finding::State::Resolved(finding(ME), by);
        case.findings.insert(FindingId::from_bits(1), resolved);
        let items = news.since(&case, ME);
        assert_eq!(items.len(), 1, "{items:?}");
        assert_eq!(items[0].severity, Severity::Info);
    }

    #[test]
    fn a_gate_is_told_red_and_green() {
        let red = judged("unit", Digest::ZERO, &["exit code 1".to_owned()]);
        assert_eq!(
            (red.topic, red.severity),
            (Topic::GateResult, Severity::Error)
        );
        assert!(red.text.contains("exit code 1"), "{}", red.text);
        let green = judged("unit", Digest::ZERO, &[]);
        assert_eq!(green.severity, Severity::Info);
    }
}
