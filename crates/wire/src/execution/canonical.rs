//! Canonical JSON (RFC 8785): one text for one value, so that a digest of arguments means the
//! arguments.

use domain::Digest;
use serde_json::{Number, Value};

/// Returns the canonical text of a value.
#[must_use]
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Returns the digest of a value's canonical text.
#[must_use]
pub fn digest(value: &Value) -> Digest {
    Digest::from_bytes(*blake3::hash(text(value).as_bytes()).as_bytes())
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
        Value::Number(it) => out.push_str(&number(it)),
        Value::String(it) => string(it, out),
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(value, out);
            }
            out.push(']');
        }
        Value::Object(values) => {
            let mut entries: Vec<_> = values.iter().collect();
            // By UTF-16 code units, as the standard wants; that is not the order of UTF-8.
            entries.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            out.push('{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                string(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if u32::from(control) < 0x20 => {
                let code = u32::from(control);
                let digit = |shift: u32| char::from_digit(code >> shift & 15, 16).unwrap_or('0');
                out.push_str("\\u00");
                out.extend([digit(4), digit(0)]);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// The largest whole number that every reader of JSON reads exactly.
const WHOLE_MAX: u64 = (1 << 53) - 1;

fn number(number: &Number) -> String {
    let whole = number
        .as_i64()
        .map(|it| (it.unsigned_abs(), it.to_string()))
        .or_else(|| number.as_u64().map(|it| (it, it.to_string())));
    match whole {
        Some((size, text)) if size <= WHOLE_MAX => text,
        // A finite number always has a value as a double.
        Some(_) | None => fraction(number.as_f64().unwrap_or(0.0)),
    }
}

/// Returns a double as ECMAScript writes it: the shortest digits that read back as the same.
fn fraction(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (digits, point) = shortest(value.abs());
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let cut = |at: i32| digits.split_at(usize::try_from(at).unwrap_or(0));
    let body = if (count..=21).contains(&point) {
        format!("{digits}{}", zeros(point - count))
    } else if point > 0 && point <= 21 {
        let (before, after) = cut(point);
        format!("{before}.{after}")
    } else if point > -6 && point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = cut(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let sign = if point > 0 { "+" } else { "-" };
        format!("{first}{dot}{rest}e{sign}{}", (point - 1).abs())
    };
    if value < 0.0 {
        format!("-{body}")
    } else {
        body
    }
}

/// Returns the shortest digits, without zeros around them, and where the point stands after them.
/// The library's own writer breaks a tie to the even digit, as the standard wants; `{:e}` does not.
fn shortest(value: f64) -> (String, i32) {
    let written = Number::from_f64(value).map_or_else(String::new, |it| it.to_string());
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{before}{after}");
    let zeros = all.len() - all.trim_start_matches('0').len();
    let point = i32::try_from(before.len()).unwrap_or(0) - i32::try_from(zeros).unwrap_or(0)
        + exponent.parse::<i32>().unwrap_or(0);
    (all.trim_matches('0').to_owned(), point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_as_in_appendix_b_of_the_standard() {
        for (bits, wanted) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(fraction(f64::from_bits(bits)), wanted);
        }
    }

    #[test]
    fn objects_are_sorted_and_escaped_as_in_the_standard() {
        let value = serde_json::json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis",
        });
        let order: Vec<_> = [
            "\\r",
            "1",
            "\u{80}",
            "\u{f6}",
            "\u{20ac}",
            "\u{1f600}",
            "\u{fb33}",
        ]
        .into();
        let text = text(&value);
        let places: Vec<_> = order
            .iter()
            .map(|it| text.find(&format!("\"{it}\":")).unwrap())
            .collect();
        assert!(places.is_sorted(), "{text}");
        let value = serde_json::json!({"string": "\u{20ac}$\u{f}\u{a}A'\u{42}\u{22}\u{5c}\\\"/", "literals": [null, true, false]});
        assert_eq!(
            super::text(&value),
            "{\"literals\":[null,true,false],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|it| Value::Object(it.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_is_written_the_same(value in values()) {
            let written = text(&value);
            let read: Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(text(&read), written);
        }

        #[test]
        fn every_double_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(fraction(value).parse::<f64>().unwrap(), value);
        }
    }
}
