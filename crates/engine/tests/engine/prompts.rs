//! Prompts: what a session is told is what is on record, by the template its run was pinned to.

use std::sync::{Arc, Mutex};

use domain::event::Event;
use domain::{WorkId, session};
use palisade_engine::answers;
use palisade_engine::prompt::Told;
use ports::artifacts::Artifacts as _;
use testkit::agents::Stage;

use super::house::{AGENT, FILES, House, good};

const SPEC: &str = "# Make it new\n\nReplace the old.\n";
const OWN: &str = ".palisade/formulas/prompts/session.md";

/// What each session was told, as the log knows it.
fn told(house: &House, work: WorkId) -> Vec<Told> {
    let digests = house.events(work).into_iter().filter_map(|it| match it {
        Event::Session(_, session::Event::Prepared(it)) => it.prompt,
        _ => None,
    });
    let texts = digests.map(|it| house.artifacts.get(&it).unwrap());
    texts
        .map(|it| serde_json::from_slice(&it).unwrap())
        .collect()
}

fn listening(files: &[(&str, &str)]) -> (House, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let house = House::of(files).agent(AGENT, move |stage: &mut Stage<'_>| {
        ears.lock().unwrap().push(stage.brief("prompt.md"));
        if stage.role() == "builder" && stage.round() == 2 {
            stage.write("src/colour", "blue\n");
        }
        good(stage);
    });
    (house, heard)
}

#[test]
fn what_is_on_record_is_what_was_told() {
    let (house, heard) = listening(FILES);
    let work = house.submit(SPEC);
    house.run();
    let told = told(&house, work);
    let texts: Vec<_> = told.iter().map(|it| it.text.clone()).collect();
    assert_eq!(texts, *heard.lock().unwrap());
    assert_eq!(told.len(), 4);
    let part = |name: &str| told[1].parts.iter().find(|it| it.name == name).unwrap();
    assert!(part("task").bytes > 100 && !part("task").is_cut);
    assert_eq!(part("change").bytes, "src/lib.txt (4 bytes)".len());
    assert!(told[1].text.contains("- src/lib.txt (4 bytes)\n"));
}

#[test]
fn a_run_keeps_the_template_that_it_began_with() {
    let mut files = FILES.to_vec();
    files.push((
        OWN,
        "OURS: {{ task }}\n{% for it in notes %}{{ it.text }}\n{% endfor %}",
    ));
    let (house, _) = listening(&files);
    let work = house.submit(SPEC);
    house.run();
    house.collect();
    house
        .workspaces
        .push("main", &[(OWN, Some("THEIRS: {{ task }}"))]);
    let (id, _) = house.promotion(work);
    answers::rework(&house.recorder(), work, id, "make it blue").unwrap();
    house.run();
    let told = told(&house, work);
    assert!(told.len() > 4);
    for it in &told {
        assert!(it.text.starts_with("OURS: "), "{}", it.text);
        assert_eq!(it.template, OWN);
    }
    assert!(told[4].text.ends_with("The operator says: make it blue\n"));
    let next = house.submit(SPEC);
    house.run();
    let told = self::told(&house, next);
    assert!(told[0].text.starts_with("THEIRS: "), "{}", told[0].text);
}

#[test]
fn a_template_with_faults_starts_no_run() {
    let mut files = FILES.to_vec();
    files.push((
        OWN,
        "{{ task }}\n{{ tusk }} {% for it in gates %}{{ it.log }}{% endfor %}\n",
    ));
    let (house, heard) = listening(&files);
    let work = house.submit(SPEC);
    house.run();
    let reason = house.reason(work);
    for wanted in [":2:4: `tusk` is not known here", "`log` is not known here"] {
        assert!(reason.contains(wanted), "{reason}");
    }
    assert_eq!(heard.lock().unwrap().len(), 0);
}

#[test]
fn a_prompt_that_cannot_hold_what_must_not_be_cut_starts_no_agent() {
    let mut files = FILES.to_vec();
    let long = format!("{{{{ task }}}}{}", "{% for it in held %}x{% endfor %}");
    files.push((OWN, long.as_str()));
    let formula = include_str!("../../../../formulas/work-cycle.toml");
    let task = "Carry out the specification in /brief/spec.md.";
    let formula = formula.replace(task, &"word ".repeat(50_000));
    files.push((".palisade/formulas/work-cycle.toml", &formula));
    let (house, heard) = listening(&files);
    let work = house.submit(SPEC);
    house.run();
    let reason = house.reason(work);
    assert!(reason.contains("what is never cut (task: "), "{reason}");
    assert_eq!(heard.lock().unwrap().len(), 0);
}
