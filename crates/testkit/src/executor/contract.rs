//! What every executor keeps to, one function per rule. [`crate::executor_contract`] makes a test of
//! each.
#![expect(clippy::unwrap_used, reason = "a contract suite is made of tests")]

use std::sync::Arc;

use domain::ExecutionId;
use domain::action::Status;
use ports::executor::{Error, Executor, Request};

/// An executor, and what is asked of it.
pub struct Setting {
    /// The executor.
    pub executor: Arc<dyn Executor>,
    /// Returns a request of this identifier that succeeds; another identifier is another effect.
    pub approved: Box<dyn Fn(u128) -> Request>,
    /// Returns one that nobody approved.
    pub unapproved: Box<dyn Fn(u128) -> Request>,
    /// Counts what took effect.
    pub effects: Box<dyn Fn() -> usize>,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Setting")
    }
}

/// Makes a fresh one.
pub type Make<'a> = &'a dyn Fn() -> Setting;

/// Makes one test of each rule. The argument is called once per test and returns a closure that
/// makes a fresh executor.
#[macro_export]
macro_rules! executor_contract {
    ($make:expr) => {
        $crate::executor_contract! { @rules $make;
            what_is_described_is_what_can_be_asked_for
            what_is_understood_is_understood_again
            what_is_no_action_is_not_understood
            a_request_sent_again_is_done_once
            another_request_of_the_same_identifier_is_refused
            what_nobody_approved_is_refused
            a_receipt_is_told_of_what_was_asked_and_nothing_else
        }
    };
    (@rules $make:expr; $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let make = $make();
            $crate::executor::contract::$rule(&make);
        }
    )*};
}

/// What is told of an action is what a proposal of it comes to.
pub fn what_is_described_is_what_can_be_asked_for(make: Make<'_>) {
    let setting = make();
    let told = setting.executor.describe().unwrap();
    let request = (setting.approved)(1);
    let understood = setting
        .executor
        .understand(&request.name, &request.arguments)
        .unwrap();
    let described = told.action(&request.name).unwrap();
    assert_eq!(described.lane, understood.lane);
    assert_eq!(described.needs, understood.needs);
    assert_eq!(told.target, request.target);
    assert!(!told.requester.is_empty());
}

/// The form it is kept in is the form it is read in.
pub fn what_is_understood_is_understood_again(make: Make<'_>) {
    let setting = make();
    let request = (setting.approved)(1);
    let one = setting
        .executor
        .understand(&request.name, &request.arguments)
        .unwrap();
    let spaced = request
        .arguments
        .replace(':', " : ")
        .replace("b3 : ", "b3:");
    let other = setting.executor.understand(&one.name, &spaced).unwrap();
    assert_eq!(one, other);
    let again = setting.executor.understand(&one.name, &one.arguments);
    assert_eq!(again.unwrap(), one);
}

/// The list is closed, and so are the arguments.
pub fn what_is_no_action_is_not_understood(make: Make<'_>) {
    let setting = make();
    for (name, arguments) in [("sh", "{}"), ("", "{}"), ("deploy_production", "{}")] {
        let error = setting.executor.understand(name, arguments);
        assert!(matches!(error, Err(Error::Unfit(_))), "{name}");
    }
    let name = (setting.approved)(1).name;
    for arguments in ["", "[]", "1", "{", "null"] {
        let error = setting.executor.understand(&name, arguments);
        assert!(matches!(error, Err(Error::Unfit(_))), "{arguments}");
    }
}

/// The same request gets the same receipt, however often it is sent.
pub fn a_request_sent_again_is_done_once(make: Make<'_>) {
    let setting = make();
    let request = (setting.approved)(1);
    let before = (setting.effects)();
    let receipt = setting.executor.execute(&request).unwrap();
    assert_eq!(receipt.status, Status::Succeeded);
    for _ in 0..3 {
        assert_eq!(setting.executor.execute(&request).unwrap(), receipt);
    }
    assert_eq!((setting.effects)(), before + 1);
}

/// An identifier stands for one request.
pub fn another_request_of_the_same_identifier_is_refused(make: Make<'_>) {
    let setting = make();
    setting.executor.execute(&(setting.approved)(1)).unwrap();
    let mut other = (setting.approved)(2);
    other.id = ExecutionId::from_bits(1);
    let refused = setting.executor.execute(&other);
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert_eq!((setting.effects)(), 1);
}

/// Nothing is done without an approval.
pub fn what_nobody_approved_is_refused(make: Make<'_>) {
    let setting = make();
    let refused = setting.executor.execute(&(setting.unapproved)(1));
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert_eq!((setting.effects)(), 0);
}

/// Receipts are of what was asked.
pub fn a_receipt_is_told_of_what_was_asked_and_nothing_else(make: Make<'_>) {
    let setting = make();
    let request = (setting.approved)(1);
    let receipt = setting.executor.execute(&request).unwrap();
    assert_eq!(setting.executor.receipt(request.id).unwrap(), Some(receipt));
    let other = ExecutionId::from_bits(77);
    assert_eq!(setting.executor.receipt(other).unwrap(), None);
}
