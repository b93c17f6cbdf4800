//! What must hold of any bytes that are sent to the executor as a request.

use wire::execution::{Action, Request};

/// Reads a request, and holds what was understood against what was sent.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(request) = Request::read(bytes) else {
        return;
    };
    let sent: serde_json::Value = serde_json::from_slice(bytes).expect("what was read is JSON");
    let mut understood = request.value();
    // That there is no approval may be said or not.
    if sent.get("approval").is_some_and(serde_json::Value::is_null) {
        understood["approval"] = serde_json::Value::Null;
    }
    assert_eq!(
        understood, sent,
        "something was understood that was not said"
    );
    let again = Request::read(request.value().to_string().as_bytes());
    let again = again.expect("what was written can be read");
    assert_eq!(
        again.digest(),
        request.digest(),
        "one request has two digests"
    );
    let action = Action::read(request.action.kind().name(), &request.action.arguments());
    assert_eq!(action.as_ref(), Ok(&request.action));
    let text = request.action.arguments().to_string();
    assert!(
        text.is_ascii()
            && !text.contains(['$', ';', '|', '&', '`', ' ', '/', '\\', '\'', '*', '~']),
        "an argument means something to a shell or a path: {text}"
    );
}
