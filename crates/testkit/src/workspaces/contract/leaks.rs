//! What must not be shown, and what must not be brought home.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use domain::tree::{ImportRules, Rule, Tree};
use ports::workspaces::{Error, Leak, Secrets};

use super::{Repository, base, session, written};

/// Returns a key as people commit it. It stands nowhere as it is.
fn key() -> String {
    let body = "q7Zr0vTn2KxWm5LpB3cDe8Fg".repeat(4);
    let kind = "PRIVATE KEY-----";
    format!("-----BEGIN {kind}\n{body}\n-----END {kind}\n")
}

/// What agents would see is searched; each way to mend it works.
pub fn a_base_with_a_credential_is_not_made_ready(repository: &dyn Repository) {
    let workspaces = repository.workspaces();
    let text = format!("one\n{}", key());
    let head = repository.push(&[("deploy/notes", Some(&text))]);
    let prepare = |globs: &[&str], accepted: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        let secrets = Secrets {
            globs: owned(globs),
            accepted: owned(accepted),
        };
        workspaces.prepare(&head, &secrets)
    };
    let found = |answer: Result<Tree, Error>| -> Vec<Leak> {
        let Err(Error::Secrets { base, found }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(base, head);
        found
    };
    let leaks = found(prepare(&[], &[]));
    assert_eq!(leaks.len(), 1, "{leaks:?}");
    assert_eq!(leaks[0].path, "deploy/notes");
    assert!((2..=3).contains(&leaks[0].line), "{leaks:?}");
    let told = prepare(&[], &[]).unwrap_err().to_string();
    assert!(told.contains(&leaks[0].fingerprint) && told.contains("deploy/notes:"));
    assert!(!format!("{told}{leaks:?}").contains("q7Zr0vTn2K"), "{told}");
    assert_eq!(found(prepare(&["other"], &["0123456789abcdef"])), leaks);
    prepare(&["deploy/"], &[]).unwrap();
    prepare(&[], &[&leaks[0].fingerprint]).unwrap();
    assert_eq!(
        found(prepare(&[], &[])),
        leaks,
        "accepted once is not accepted for ever"
    );
}

/// An agent may not bring one home either.
pub fn a_credential_in_a_change_is_told_and_may_be_accepted(repository: &dyn Repository) {
    let (base, workspaces) = (base(repository), repository.workspaces());
    let text = key();
    written(repository, 1, &base, &[("src/key", &text), ("src/x", "x")]);
    let captured = workspaces.capture(session(1)).unwrap();
    let everything = || vec!["**".to_owned()];
    let mut rules = ImportRules {
        role_paths: everything(),
        plan_allowed: everything(),
        plan_denied: vec![],
        protected: vec![],
        secrets: vec![],
        accepted_secrets: vec![],
        may_set_executable: false,
        file_bytes_max: 1_000,
        total_bytes_max: 1_000,
        files_max: 5,
        documents_only: false,
        guards_tests: false,
    };
    let judge = |rules: &ImportRules| {
        workspaces
            .judge(&base, &captured.tree, &captured.changes, rules)
            .unwrap()
    };
    let found = judge(&rules);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].path.as_str(), found[0].rule),
        ("src/key", Rule::Secret)
    );
    assert!(!found[0].detail.contains("q7Zr0vTn2K"), "{found:?}");
    let hexadecimal = |it: &&str| it.len() == 16 && it.bytes().all(|it| it.is_ascii_hexdigit());
    let mut words = found[0]
        .detail
        .split(|it: char| !it.is_ascii_alphanumeric());
    let fingerprint = words.find(hexadecimal).unwrap();
    rules.accepted_secrets.push(fingerprint.to_owned());
    assert_eq!(judge(&rules), []);
}

/// What an agent may see anyway tells nothing when it turns up.
pub fn withheld_values_are_those_that_nothing_shown_holds(repository: &dyn Repository) {
    let env = "LEVEL=info\nTOKEN=q7Zr0vTn2KxWm5Lp\nSHOWN_KEY=Zk3x9Qm1Tn7bL0wA\n";
    let head = repository.push(&[
        (".env", Some(env)),
        ("shown", Some("it is Zk3x9Qm1Tn7bL0wA")),
    ]);
    let workspaces = repository.workspaces();
    let secrets = Secrets {
        globs: vec![".env*".to_owned()],
        accepted: vec![],
    };
    workspaces.prepare(&head, &secrets).unwrap();
    let withheld = workspaces.withheld(&head, &secrets).unwrap();
    let values: Vec<_> = withheld.iter().map(|it| it.value.as_slice()).collect();
    assert_eq!(values, [b"q7Zr0vTn2KxWm5Lp"]);
    assert_eq!(withheld[0].path, ".env");
    assert!(!format!("{withheld:?}").contains("q7Zr"));
}

/// Looking comes before keeping.
pub fn what_was_left_is_shown_and_not_kept(repository: &dyn Repository) {
    let (base, workspaces) = (base(repository), repository.workspaces());
    let top = written(repository, 1, &base, &[("a", "two"), ("n/new", "new")]);
    std::os::unix::fs::symlink("a", top.join("link")).unwrap();
    let mut shown = BTreeMap::new();
    let mut look = |path: &str, content: &[u8]| {
        shown.insert(
            path.to_owned(),
            String::from_utf8_lossy(content).into_owned(),
        );
        ControlFlow::Continue(())
    };
    workspaces.look_through(session(1), &mut look).unwrap();
    let expected = [("a", "two"), ("link", "a"), ("n/new", "new")];
    let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
    assert_eq!(shown, BTreeMap::from(expected));
    let mut count = 0;
    let mut once = |_: &str, _: &[u8]| {
        count += 1;
        ControlFlow::Break(())
    };
    workspaces.look_through(session(1), &mut once).unwrap();
    assert_eq!(count, 1, "enough is enough");
    let answer = workspaces.look_through(session(2), &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(answer, Err(Error::NotFound(_))), "{answer:?}");
}
