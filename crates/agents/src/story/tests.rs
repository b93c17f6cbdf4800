//! Stories are read with all their faults, and the right turn is found.

use super::*;
use domain::agent::RefusalReason;

fn faults(source: &str) -> Vec<String> {
    let faults = Story::parse(source).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

fn story(source: &str) -> Story {
    Story::parse(source).unwrap_or_else(|faults| panic!("{faults:?}"))
}

#[test]
fn every_verb_is_read() {
    let source = r###"
[[turn]]
role = "builder"
round = 1
when = "fresh"
steps = [
  { write = "a", text = "b", executable = true },
  { append = "a", text = "b" },
  { replace = "a", old = "b", new = "c" },
  { delete = "a" },
  { rename = "a", to = "b" },
  { symlink = "a", to = "/etc/passwd" },
  { fifo = "a" },
  { sparse = "a", bytes = 1_000 },
  { require = "a", contains = "b" },
  { wait_for = "a", may_fail = true },
  { run = ["cargo", "test"], expect = 101 },
  { print = "hello", stream = "err" },
  { flood = 0x10 },
  { progress = "p" },
  { ask = { question = "q", why = "w", options = ["a", "b"], recommend = "a", impact = "i", default = "b", priority = "P0" } },
  { finding = { file = "f", line = 3, rule = "r", text = "t" }, epoch = 9 },
  { done = "d" },
  { refuse = "too_large", detail = "x" },
  { fail = "f" },
  { raw = "{" },
  { garbage = 2 },
  { sleep_ms = 1 },
  { hang = true },
  { background = true },
  { exit = 3 },
  { kill_self = 9 },
]
"###;
    let story = story(source);
    assert_eq!(story.source(), source);
    let steps = &story.turns[0].steps;
    assert_eq!(steps.len(), 26);
    assert_eq!((steps[0].line, steps[0].verb), (7, "write"));
    assert!(steps[9].may_fail && !steps[8].may_fail);
    assert_eq!(
        steps[7].act,
        Act::Sparse {
            path: "a".to_owned(),
            bytes: 1_000
        }
    );
    assert_eq!(
        steps[12].act,
        Act::Flood {
            bytes: 16,
            stream: Stream::Out
        }
    );
    assert_eq!(
        steps[17].act,
        Act::Say {
            signal: Signal::Refuse {
                reason: RefusalReason::TooLarge,
                detail: "x".to_owned()
            },
            epoch: None
        }
    );
    assert!(matches!(&steps[14].act, Act::Say {
        signal: Signal::Ask { report, priority }, ..
    } if report.starts_with("## Question") && priority == "P0"));
    assert!(matches!(steps[15].act, Act::Say { epoch: Some(9), .. }));
}

#[test]
fn all_faults_are_told_with_their_places() {
    let source = r#"title = "x"
[[turn]]
role = 7
when = "later"
steps = [
  { write = "a" },
  { done = "x", detail = "y" },
  { done = "x", fail = "y" },
  { dance = true },
  "done",
  { ask = { question = "ö", why = "w", options = ["a"], recommend = "a", impact = "i", default = "b" } },
  { exit = 256 },
  { kill_self = 99 },
  { hang = false },
  { refuse = "bored" },
  { run = [] },
  { finding = { file = "f", rule = "r", txt = "t" } },
]
[[turn]]
rolle = "x"
"#;
    let told = faults(source);
    let expected = [
        "1:1: the story has no `title`",
        "3:8: `role` must be a text",
        "4:8: `when` must be `fresh`, `findings`, `violations` or `answers`",
        "6:3: `text` is missing",
        "7:17: the step `done` has no `detail`",
        "8:3: a step has one verb, here are done, fail",
        "9:3: a step needs a verb: one of write, ",
        "10:3: this must be a table",
        "11:11: a question weighs at least two options",
        "12:12: `exit` must be an exit code from 0 to 255",
        "13:17: `kill_self` must be the number of a signal, 1 to 31",
        "14:12: `hang` must be true",
        "15:14: `refuse` must be `unmet_dependency`, `too_large` or `already_done`",
        "16:11: `run` must be a list of texts, at least one",
        "17:15: `text` is missing",
        "17:41: a finding has no `txt`",
        "19:1: `steps` is missing",
        "20:1: a turn has no `rolle`",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\nshould be\n{expected}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let told = faults("[[turn]]\nsteps = [\n  { done = },\n]\n");
    assert!(told[0].starts_with("3:"), "{told:?}");
    assert_eq!(faults(""), ["1:1: `turn` is missing"]);
    assert!(faults(&" ".repeat(STORY_BYTES_MAX + 1))[0].contains("over"));
}

#[test]
fn the_most_specific_turn_is_played_and_of_equals_the_last() {
    let story = story(
        r#"
[[turn]]
steps = [{ done = "any" }]
[[turn]]
role = "builder"
steps = [{ done = "builder, early" }]
[[turn]]
role = "builder"
steps = [{ done = "builder" }]
[[turn]]
role = "builder"
round = 2
steps = [{ done = "builder 2" }]
[[turn]]
role = "builder"
when = "findings"
steps = [{ done = "builder, findings" }]
[[turn]]
role = "reviewer"
round = 1
when = "fresh"
steps = [{ done = "reviewer, fresh" }]
"#,
    );
    let fresh = Brought::default();
    let findings = Brought {
        findings: true,
        ..fresh
    };
    for (role, round, brought, expected) in [
        ("docs", 1, fresh, "any"),
        ("builder", 1, fresh, "builder"),
        ("builder", 2, fresh, "builder 2"),
        ("builder", 3, findings, "builder, findings"),
        ("builder", 2, findings, "builder, findings"),
        ("reviewer", 1, fresh, "reviewer, fresh"),
        ("reviewer", 1, findings, "any"),
    ] {
        let steps = story.steps_for(&Scene {
            role: role.to_owned(),
            round,
            brought,
        });
        let Act::Say { signal, .. } = &steps.unwrap()[0].act else {
            panic!("no signal");
        };
        let summary = expected.to_owned();
        assert_eq!(*signal, Signal::Done { summary }, "{role} {round}");
    }
}

#[test]
fn no_turn_fits_nothing() {
    let story = story("[[turn]]\nrole = \"builder\"\nsteps = []\n");
    let scene = Scene {
        role: "docs".to_owned(),
        round: 1,
        brought: Brought::default(),
    };
    assert!(story.steps_for(&scene).is_none());
}
