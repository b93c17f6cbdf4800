//! That a text is one JSON object, found out without building it.

use std::fmt;

use ports::log::{Batch, Error};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Checks that the data of each event and the body of each effect is one JSON object.
pub(super) fn check(batch: &Batch) -> Result<(), Error> {
    for event in batch.appends.iter().flat_map(|it| &it.events) {
        check_text("event", &event.id, &event.data)?;
    }
    for effect in &batch.effects {
        check_text("effect", &effect.id, &effect.body)?;
    }
    Ok(())
}

fn check_text(what: &str, id: &dyn fmt::Display, text: &str) -> Result<(), Error> {
    match serde_json::from_str::<Object>(text) {
        Ok(Object) => Ok(()),
        Err(error) => Err(Error::Malformed(format!("{what} {id}: {error}"))),
    }
}

/// A JSON object of any content, within the parser's bounds of depth and number range.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Walk)?;
        Ok(Self)
    }
}

/// Any JSON value. Unlike [`IgnoredAny`] it is parsed as strictly as when it is read.
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)?;
        Ok(Self)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = IgnoredAny;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<IgnoredAny, A::Error> {
        while let Some((IgnoredAny, Anything)) = map.next_entry()? {}
        Ok(IgnoredAny)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<IgnoredAny, A::Error> {
        while let Some(Anything) = list.next_element()? {}
        Ok(IgnoredAny)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<IgnoredAny, E> {
        Ok(IgnoredAny)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<IgnoredAny, E> {
        Ok(IgnoredAny)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<IgnoredAny, E> {
        Ok(IgnoredAny)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<IgnoredAny, E> {
        if value.is_finite() {
            return Ok(IgnoredAny);
        }
        Err(E::custom("a number out of range"))
    }

    fn visit_str<E>(self, _value: &str) -> Result<IgnoredAny, E> {
        Ok(IgnoredAny)
    }

    fn visit_unit<E>(self) -> Result<IgnoredAny, E> {
        Ok(IgnoredAny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        check_text("event", &"evt", text).is_ok()
    }

    #[test]
    fn only_one_whole_object_is_accepted() {
        for good in ["{}", r#" {"a":[1,-2,3.5,null,true,"x\n",{"b":{}}]} "#] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "\"{}\"",
            "{",
            "{}{}",
            "{} x",
            "{a:1}",
            r#"{"a":1,}"#,
            r#"{"a":1e999}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_to_be_read_is_refused() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(&nested(100)));
        assert!(!accepts(&nested(100_000)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_parser(text in r#"[\{\}\[\]:,"a01.e\- ]{0,12}"#) {
            let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            prop_assert_eq!(accepts(&text), parsed.is_ok());
        }
    }
}
