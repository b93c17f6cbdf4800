//! JSON as the executor reads it: of bounded size and depth, and no key twice. Two readers that
//! take different ones of two equal keys are how a request is approved as one thing and done as
//! another.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The deepest nesting.
pub const DEPTH_MAX: usize = 16;

/// The most entries of one object or array.
pub const ENTRIES_MAX: usize = 256;

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is over the size that its reader allows.
    #[error("the document is over {0} bytes")]
    TooLarge(usize),
    /// It is nested too deep.
    #[error("the document is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// An object or array has too many entries.
    #[error("an object or array has more than {ENTRIES_MAX} entries")]
    TooMany,
    /// An object has a key twice.
    #[error("an object has a key twice")]
    DuplicateKey,
    /// It is not JSON.
    #[error("the document is not JSON (line {line}, column {column})")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

/// Reads one JSON document of at most `bytes_max` bytes. What it says in a fault never repeats
/// what was read.
///
/// # Errors
/// When it is too large, too deep, no JSON, or has a key twice.
pub fn read(bytes: &[u8], bytes_max: usize) -> Result<Value, Fault> {
    if bytes.len() > bytes_max {
        return Err(Fault::TooLarge(bytes_max));
    }
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = Level(DEPTH_MAX).deserialize(&mut source);
    let value = value.and_then(|it| source.end().map(|()| it));
    value.map_err(|error| {
        let told = error.to_string();
        [
            (DEEP, Fault::TooDeep),
            (MANY, Fault::TooMany),
            (TWICE, Fault::DuplicateKey),
        ]
        .into_iter()
        .find(|(mark, _)| told.starts_with(mark))
        .map_or(
            Fault::Malformed {
                line: error.line(),
                column: error.column(),
            },
            |(_, fault)| fault,
        )
    })
}

// The reader's errors are texts: these are the ones that only `Level` writes.
const DEEP: &str = "\u{1}deep";
const MANY: &str = "\u{1}many";
const TWICE: &str = "\u{1}twice";

/// Reads a value that may be nested so many levels.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        let below = self.0.checked_sub(1).map(Self);
        below.ok_or_else(|| E::custom(DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(Value::Number(it.into()))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(Value::Number(it.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, it: f64) -> Result<Value, E> {
        let number = Number::from_f64(it).map(Value::Number);
        number.ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(Value::String(it.to_owned()))
    }

    fn visit_string<E>(self, it: String) -> Result<Value, E> {
        Ok(Value::String(it))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = entries.next_element_seed(below)? {
            if values.len() == ENTRIES_MAX {
                return Err(A::Error::custom(MANY));
            }
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(TWICE));
            }
            if values.len() == ENTRIES_MAX {
                return Err(A::Error::custom(MANY));
            }
            values.insert(key, entries.next_value_seed(below)?);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Value, Fault> {
        read(text.as_bytes(), 1 << 16)
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"a":{"b":1,"b":1}}]}"#,
        ] {
            assert_eq!(of(text), Err(Fault::DuplicateKey), "{text}");
        }
        assert_eq!(
            of(r#"{"a":1,"A":2}"#).unwrap(),
            serde_json::json!({"a":1,"A":2})
        );
    }

    #[test]
    fn depth_size_and_count_are_bounded() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(of(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(of(&nested(DEPTH_MAX + 1)), Err(Fault::TooDeep));
        assert_eq!(of(&nested(5_000)), Err(Fault::TooDeep));
        let wide = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(of(&wide(ENTRIES_MAX)).is_ok());
        assert_eq!(of(&wide(ENTRIES_MAX + 1)), Err(Fault::TooMany));
        assert_eq!(read(b"[1]", 2), Err(Fault::TooLarge(2)));
    }

    #[test]
    fn what_is_not_one_document_is_refused() {
        for text in [
            "",
            "{",
            "{}{}",
            "{} x",
            "{'a':1}",
            "[1,]",
            "NaN",
            "1e999",
            "\"\\ud800\"",
            "\u{feff}{}",
        ] {
            assert!(matches!(of(text), Err(Fault::Malformed { .. })), "{text}");
        }
        assert!(read(b"\"\xff\"", 9).is_err());
        // A text that looks like our own mark is no fault of its own.
        assert_eq!(of("\"\\u0001deep\"").unwrap(), "\u{1}deep");
    }

    proptest! {
        #[test]
        fn it_reads_what_any_reader_reads(text in ".{0,64}") {
            let plain = serde_json::from_str::<Value>(&text).ok();
            if let Ok(read) = of(&text) {
                prop_assert_eq!(Some(read), plain);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _either = read(&bytes, 1 << 10).is_ok();
        }
    }
}
