//! What must hold of anything that the executor is about to say: no secret that it has loaded is in
//! it, in any form.

use executor::guard::{Guard, forms};

/// The first byte chooses the form, the second is the secret's length; the secret and what stands
/// around it follow.
pub(crate) fn run(bytes: &[u8]) {
    let [form, length, rest @ ..] = bytes else {
        return;
    };
    let (secret, around) = rest.split_at(rest.len().min(usize::from(*length)));
    let Some(guard) = Guard::of_one("planted", secret) else {
        return;
    };
    let forms = forms(secret);
    let form = &forms[usize::from(*form) % forms.len()];
    let (before, after) = around.split_at(around.len() / 2);
    // A half of an escape or of an encoded byte before it is another text.
    let before: Vec<u8> = before.iter().copied().filter(|it| *it != b'\\').collect();
    let reply = [&before, b" ".as_slice(), form, b" ", after].concat();
    assert!(
        guard.look(&reply).is_some(),
        "a secret gets out as {:?}",
        String::from_utf8_lossy(form)
    );
    // The control: without the guard it would.
    assert!(Guard::of_none().look(&reply).is_none());
}
