//! Tests of the watch: each form, what stands between, and streams cut anywhere.

use proptest::prelude::*;

use super::*;

const VALUE: &str = "q7Zr0vTn2K+xWm5Lp/9Ab";

fn watch() -> Watch {
    Watch::of([("`.env`", VALUE.as_bytes())])
}

fn seen(text: &str) -> Option<Form> {
    watch().look(text.as_bytes()).map(|it| it.form)
}

/// Base64 as any other program writes it.
fn encoded(bytes: &[u8]) -> String {
    let mut out = String::from_utf8(base64(bytes, 0)).unwrap();
    // The last digits, when the length is no multiple of three.
    if !bytes.len().is_multiple_of(3) {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(3), 0);
        let whole = String::from_utf8(base64(&padded, 0)).unwrap();
        out = whole[..=out.len()].to_owned();
    }
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

#[test]
fn base64_is_what_others_write() {
    for (plain, wanted) in [
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
    ] {
        assert_eq!(encoded(plain.as_bytes()), wanted);
    }
}

#[test]
fn every_form_is_seen() {
    let hexadecimal: String = VALUE.bytes().map(|it| format!("{it:02x}")).collect();
    let reversed: String = VALUE.chars().rev().collect();
    assert_eq!(seen(&format!("TOKEN={VALUE}\n")), Some(Form::Plain));
    assert_eq!(seen(&reversed), Some(Form::Reversed));
    assert_eq!(seen(&hexadecimal), Some(Form::Hexadecimal));
    assert_eq!(seen(&hexadecimal.to_uppercase()), Some(Form::Hexadecimal));
    assert_eq!(
        seen(&VALUE.replace('+', "%2B").replace('/', "%2F")),
        Some(Form::Percent)
    );
    for before in ["", "a", "ab", "abc", "TOKEN="] {
        let whole = encoded(format!("{before}{VALUE} and more").as_bytes());
        assert_eq!(seen(&whole), Some(Form::Base64), "after `{before}`");
        let other = whole.replace('+', "-").replace('/', "_");
        assert_eq!(seen(&other), Some(Form::Base64), "in the other alphabet");
    }
}

#[test]
fn what_stands_between_hides_nothing() {
    let spaced: String = VALUE.chars().flat_map(|it| [it, ' ']).collect();
    assert_eq!(seen(&spaced), Some(Form::Plain));
    let wrapped: String = encoded(format!("{:60}{VALUE}", "x").as_bytes())
        .as_bytes()
        .chunks(16)
        .map(|it| format!("{}\n", String::from_utf8_lossy(it)))
        .collect();
    assert_eq!(seen(&wrapped), Some(Form::Base64));
    let wide: Vec<u8> = VALUE.bytes().flat_map(|it| [it, 0]).collect();
    assert!(watch().look(&wide).is_some());
    let dump: String = VALUE.bytes().map(|it| format!("{it:02X}:")).collect();
    assert_eq!(seen(&dump), Some(Form::Hexadecimal));
}

#[test]
fn ordinary_text_is_passed_over() {
    for text in [
        "",
        "nothing to see",
        "q7Zr0vTn2K",
        &VALUE[1..VALUE.len() - 8],
    ] {
        assert_eq!(seen(text), None, "{text}");
    }
    assert!(Watch::default().look(VALUE.as_bytes()).is_none());
    let short = Watch::of([("short", &b"a1-b2"[..])]);
    assert!(short.is_empty(), "too little to be recognised by");
}

#[test]
fn a_sighting_tells_the_owner_and_never_the_value() {
    let sighting = watch().look(VALUE.as_bytes()).unwrap();
    assert_eq!(sighting.of, "`.env`");
    for told in [format!("{sighting:?}"), format!("{:?}", watch())] {
        assert!(!told.to_lowercase().contains("q7zr0vtn"), "{told}");
    }
}

#[test]
fn without_an_automaton_the_answer_is_the_same() {
    let mut watch = watch();
    watch.automaton = None;
    assert!(watch.look(VALUE.as_bytes()).is_some());
    assert!(watch.look(b"nothing to see here at all").is_none());
    assert_eq!(watch.all(VALUE.as_bytes()).len(), 1);
}

#[test]
fn all_owners_in_a_text_are_told() {
    let watch = Watch::of([
        ("a", &b"q7Zr0vTn2KxWm5Lp"[..]),
        ("b", &b"Zk3x9Qm1Tn7bL0wA"[..]),
    ]);
    let all = watch.all(b"Zk3x9Qm1Tn7bL0wA q7Zr0vTn2KxWm5Lp Zk3x9Qm1Tn7bL0wA");
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_beginning_is_unsettled_until_it_is_none() {
    let watch = watch();
    let mut stream = Stream::default();
    assert_eq!(stream.feed(&watch, b"text q7Z-r0v"), None);
    assert_eq!(stream.unsettled(&watch), "q7Z-r0v".len());
    assert_eq!(stream.feed(&watch, b" other"), None);
    assert_eq!(stream.unsettled(&watch), 0);
    assert_eq!(stream.feed(&watch, b"q7Zr0v"), None);
    assert_eq!(stream.feed(&watch, &vec![b' '; HELD_BYTES_MAX]), None);
    assert_eq!(stream.unsettled(&watch), 0, "nothing is held for ever");
}

#[test]
fn what_passes_is_seen_in_every_form_and_only_then() {
    let hexadecimal: String = VALUE.bytes().map(|it| format!("{it:02X}")).collect();
    let reversed: String = VALUE.chars().rev().collect();
    let spread: String = VALUE.chars().flat_map(|it| [it, '\n']).collect();
    let based = encoded(format!("ab{VALUE} and more").as_bytes());
    for form in [VALUE, &hexadecimal, &reversed, &spread, &based] {
        let text = format!(
            "{}{form}{}",
            "plain text. ".repeat(40),
            "and more. ".repeat(40)
        );
        for size in [1, 3, 64, 10_000] {
            let (watch, mut passing) = (watch(), Passing::default());
            let mut pieces = text.as_bytes().chunks(size);
            assert!(
                pieces.any(|it| passing.feed(&watch, it).is_some()),
                "{form}"
            );
            let (mut passing, near) = (Passing::default(), text.replace("Tn2", "Tn3"));
            let mut pieces = near.as_bytes().chunks(size);
            assert!(form != VALUE || pieces.all(|it| passing.feed(&watch, it).is_none()));
        }
    }
}

proptest! {
    #[test]
    fn a_value_is_seen_however_it_is_cut(
        before in "[ -~]{0,40}",
        after in "[ -~]{0,40}",
        cuts in proptest::collection::vec(1_usize..9, 1..60),
    ) {
        let text = format!("{before}{VALUE}{after}");
        let watch = watch();
        let (mut stream, mut rest, mut settled) = (Stream::default(), text.as_bytes(), Vec::new());
        let mut held: Vec<u8> = Vec::new();
        let mut is_seen = false;
        let (mut passing, mut is_passing_seen) = (Passing::default(), false);
        let mut pieces = Vec::new();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (piece, more) = rest.split_at(cut.min(rest.len()));
            rest = more;
            pieces.push(piece);
            held.extend(piece);
            if stream.feed(&watch, piece).is_some() {
                is_seen = true;
                break;
            }
            let keep = held.len() - stream.unsettled(&watch).min(held.len());
            settled.extend(held.drain(..keep));
        }
        prop_assert!(is_seen);
        for piece in pieces {
            is_passing_seen |= passing.feed(&watch, piece).is_some();
        }
        prop_assert!(is_passing_seen);
        // What was let go before the value was whole holds at most the first letters of it.
        let let_go = String::from_utf8_lossy(&settled).into_owned();
        prop_assert!(!let_go.contains(&VALUE[..6]) || before.contains(&VALUE[..6]), "{let_go}");
    }

    #[test]
    fn any_value_is_seen_in_every_form(
        value in proptest::collection::vec(any::<u8>(), 32..80),
        before in proptest::collection::vec(any::<u8>(), 0..5),
    ) {
        let watch = Watch::of([("x", value.as_slice())]);
        let mut text = before;
        text.extend(&value);
        text.extend(b"tail");
        prop_assert!(watch.look(encoded(&text).as_bytes()).is_some());
        let hexadecimal: Vec<u8> = text.iter().flat_map(|it| hex(*it)).collect();
        prop_assert!(watch.look(&hexadecimal).is_some());
    }
}
