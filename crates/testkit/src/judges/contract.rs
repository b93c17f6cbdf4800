//! What everybody who asks judges keeps to, one function per rule. [`crate::judges_contract`] makes a
//! test of each.
#![expect(clippy::unwrap_used, reason = "a contract suite is made of tests")]

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ports::judges::{Error, Judges, Question};

/// Makes a fresh one.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Judges>;

/// Makes one test of each rule. The argument is called once per test and returns a closure that
/// makes fresh judges.
#[macro_export]
macro_rules! judges_contract {
    ($make:expr) => {
        $crate::judges_contract! { @rules $make;
            a_model_that_nobody_speaks_to_is_told
            where_nobody_listens_nobody_answers
            without_patience_there_is_no_answer
        }
    };
    (@rules $make:expr; $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let make = $make();
            $crate::judges::contract::$rule(&make);
        }
    )*};
}

/// Returns a question to a model over a socket.
#[must_use]
pub fn question(model: &str, socket: &Path) -> Question {
    Question {
        socket: socket.to_owned(),
        model: model.to_owned(),
        prompt: "Is it clear?".to_owned(),
        schema: r#"{"type":"object","properties":{"pass":{"type":"boolean"}}}"#.to_owned(),
        earlier: Vec::new(),
        tokens_max: 1_000,
        patience: Duration::from_secs(30),
    }
}

/// What cannot be asked is known before, and told when it is asked all the same.
pub fn a_model_that_nobody_speaks_to_is_told(make: Make<'_>) {
    let judges = make();
    assert!(judges.knows("anthropic/claude-haiku-4-5").is_ok());
    for name in ["", "unknown-model"] {
        assert!(
            matches!(judges.knows(name), Err(Error::Unknown(_))),
            "{name}"
        );
        let asked = judges.ask(&question(name, Path::new("/nowhere")));
        assert!(matches!(asked, Err(Error::Unknown(_))), "{name}");
    }
}

/// A socket that is gone is told as such.
pub fn where_nobody_listens_nobody_answers(make: Make<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let asked = make().ask(&question(
        "anthropic/claude",
        &folder.path().join("gone.sock"),
    ));
    assert!(matches!(asked, Err(Error::Broken { .. })), "{asked:?}");
}

/// Asking never takes longer than it may, though nobody ever replies.
pub fn without_patience_there_is_no_answer(make: Make<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("model.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let mut asked = question("anthropic/claude", &socket);
    asked.patience = Duration::ZERO;
    let answer = make().ask(&asked);
    assert!(matches!(answer, Err(Error::TooSlow(_))), "{answer:?}");
}
