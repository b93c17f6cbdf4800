//! What every way to models keeps to, one function per rule. [`crate::models_contract`] makes a test
//! of each.
#![expect(clippy::unwrap_used, reason = "a contract suite is made of tests")]

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use domain::usage::{Amount, Cap, Usage};
use domain::{GoalId, SessionId, WorkId};
use ports::models::{Before, Caps, Error, Grant, MODELS_MAX, Models, Tape, Watched};

/// Makes a fresh one.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Models>;

/// Makes one test of each rule. The argument is called once per test and returns a closure that
/// makes a fresh way to models.
#[macro_export]
macro_rules! models_contract {
    ($make:expr) => {
        $crate::models_contract! { @rules $make;
            each_session_has_a_socket_of_its_own
            an_open_session_is_not_opened_again
            a_closed_session_has_no_socket_and_can_be_closed_again
            a_closed_session_can_be_opened_again
            what_was_never_opened_is_not_found
            a_new_account_is_empty
            nothing_is_opened_when_the_log_knows_that_nothing_is_left
            what_one_session_reserves_is_not_there_for_another
            a_grant_over_a_limit_is_refused
        }
    };
    (@rules $make:expr; $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let make = $make();
            $crate::models::contract::$rule(&make);
        }
    )*};
}

/// Returns a grant without bounds.
#[must_use]
pub fn grant(session: u128, work: u128) -> Grant {
    Grant {
        session: SessionId::from_bits(session),
        work: WorkId::from_bits(work),
        goal: GoalId::from_bits(1),
        role: "builder".to_owned(),
        models: Vec::new(),
        caps: Caps::default(),
        before: Before::default(),
        sent_bytes_max: 1 << 30,
        tape: Tape::Off,
        watched: Vec::new(),
        accepted: Vec::new(),
        classes: Vec::new(),
        asks_models: true,
        egress: None,
    }
}

fn tokens(count: u64) -> Cap {
    Cap {
        tokens: Some(count),
        money: None,
    }
}

/// Two sessions never share a socket, and each can be connected to.
pub fn each_session_has_a_socket_of_its_own(make: Make<'_>) {
    let models = make();
    let one = models.open(&grant(1, 1)).unwrap();
    let two = models.open(&grant(2, 1)).unwrap();
    assert_ne!(one, two);
    for socket in [one, two] {
        UnixStream::connect(socket).unwrap();
    }
}

/// Opening twice is an error, and harms nothing.
pub fn an_open_session_is_not_opened_again(make: Make<'_>) {
    let models = make();
    let socket = models.open(&grant(1, 1)).unwrap();
    let again = models.open(&grant(1, 1));
    assert!(matches!(again, Err(Error::AlreadyOpen(_))), "{again:?}");
    UnixStream::connect(socket).unwrap();
}

/// Closing ends it; closing again changes nothing.
pub fn a_closed_session_has_no_socket_and_can_be_closed_again(make: Make<'_>) {
    let models = make();
    let socket = models.open(&grant(1, 1)).unwrap();
    let account = models.close(SessionId::from_bits(1)).unwrap();
    assert!(!socket.exists());
    assert!(UnixStream::connect(socket).is_err());
    assert_eq!(models.close(SessionId::from_bits(1)).unwrap(), account);
    assert_eq!(models.account(SessionId::from_bits(1)).unwrap(), account);
}

/// An effect that is performed twice finds what it needs.
pub fn a_closed_session_can_be_opened_again(make: Make<'_>) {
    let models = make();
    models.open(&grant(1, 1)).unwrap();
    models.close(SessionId::from_bits(1)).unwrap();
    UnixStream::connect(models.open(&grant(1, 1)).unwrap()).unwrap();
}

/// What is not known is said to be so.
pub fn what_was_never_opened_is_not_found(make: Make<'_>) {
    let models = make();
    let unknown = SessionId::from_bits(9);
    assert!(matches!(models.account(unknown), Err(Error::NotFound(_))));
    assert!(matches!(models.close(unknown), Err(Error::NotFound(_))));
}

/// Nothing is taken before anything was asked.
pub fn a_new_account_is_empty(make: Make<'_>) {
    let models = make();
    models.open(&grant(1, 1)).unwrap();
    let account = models.account(SessionId::from_bits(1)).unwrap();
    assert_eq!(account.total(), Usage::default());
    assert_eq!((account.sent_bytes, account.refused), (0, 0));
    assert_eq!(account.halt, None);
}

/// What was taken before counts, by whichever bound.
pub fn nothing_is_opened_when_the_log_knows_that_nothing_is_left(make: Make<'_>) {
    let taken = Amount {
        tokens: 100,
        ..Amount::default()
    };
    for scope in 0..3 {
        let models = make();
        let mut over = grant(1, 1);
        match scope {
            0 => (over.caps.work, over.before.work) = (tokens(100), taken),
            1 => (over.caps.goal, over.before.goal) = (tokens(100), taken),
            _ => (over.caps.day, over.before.day) = (tokens(100), taken),
        }
        let refused = models.open(&over);
        assert!(matches!(refused, Err(Error::OverBudget(_))), "{refused:?}");
    }
}

/// Reserved is reserved, until it is given back.
pub fn what_one_session_reserves_is_not_there_for_another(make: Make<'_>) {
    let models = make();
    let bounded = |session, work| {
        let mut grant = grant(session, work);
        grant.caps.session = tokens(100);
        grant.caps.goal = tokens(100);
        grant
    };
    models.open(&bounded(1, 1)).unwrap();
    let refused = models.open(&bounded(2, 2));
    assert!(matches!(refused, Err(Error::OverBudget(_))), "{refused:?}");
    models.close(SessionId::from_bits(1)).unwrap();
    models.open(&bounded(2, 2)).unwrap();
}

/// Everything has a limit.
pub fn a_grant_over_a_limit_is_refused(make: Make<'_>) {
    let models = make();
    let mut many = grant(1, 1);
    many.models = vec!["m".to_owned(); MODELS_MAX + 1];
    assert!(matches!(models.open(&many), Err(Error::Refused(_))));
    let mut large = grant(1, 1);
    large.watched = vec![Watched {
        of: "x".to_owned(),
        value: vec![b'x'; 1 << 20],
    }];
    assert!(matches!(models.open(&large), Err(Error::Refused(_))));
}
