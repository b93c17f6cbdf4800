//! The door: what leaves for a model is looked through for secrets first. What is seen is told by
//! its kind and place, never by itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use ports::models::Watched;
use secrets::{Scanner, Watch};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Fields that only providers write and read: long random texts, in which credentials turn up by
/// chance. Canaries are looked for in them all the same.
const SEALED_FIELDS: [&str; 3] = ["signature", "encrypted_content", "thoughtSignature"];

/// What one session's requests are looked through for.
#[derive(Debug)]
pub struct Door {
    watch: Watch,
    accepted: BTreeSet<String>,
}

impl Door {
    /// Returns a door for these values; fingerprints in `accepted` pass.
    #[must_use]
    pub fn new(watched: &[Watched], accepted: &[String]) -> Self {
        let values = watched
            .iter()
            .map(|it| (it.of.as_str(), it.value.as_slice()));
        Self {
            watch: Watch::of(values),
            accepted: accepted.iter().cloned().collect(),
        }
    }

    /// Returns what must not leave, if a request holds it: looks at it as it is, and at every text in
    /// it as the model would read it, also under a name that is there twice.
    ///
    /// # Errors
    /// When the request is no JSON, or nested too deeply.
    pub fn look(
        &self,
        scanner: &Scanner,
        body: &[u8],
    ) -> Result<Option<String>, serde_json::Error> {
        if let Some(seen) = self.sighting(body) {
            return Ok(Some(seen));
        }
        let seen = RefCell::new(None);
        let look = |text: &str, is_sealed: bool| {
            let found = if is_sealed {
                self.sighting(text.as_bytes())
            } else {
                self.text(scanner, text)
            };
            let goes_on = found.is_none();
            if let Some(found) = found {
                seen.borrow_mut().get_or_insert(found);
            }
            goes_on
        };
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = Texts {
            look: &look,
            is_sealed: false,
        }
        .deserialize(&mut reader)
        .and_then(|()| reader.end());
        match (seen.into_inner(), read) {
            (Some(seen), _) => Ok(Some(seen)),
            (None, Ok(())) => Ok(None),
            (None, Err(error)) => Err(error),
        }
    }

    fn sighting(&self, bytes: &[u8]) -> Option<String> {
        let seen = self.watch.look(bytes)?;
        Some(format!(
            "a value of {} was seen {} in a request to a model",
            seen.of,
            seen.form.name()
        ))
    }

    fn text(&self, scanner: &Scanner, text: &str) -> Option<String> {
        if let Some(seen) = self.sighting(text.as_bytes()) {
            return Some(seen);
        }
        let hits = scanner.scan(text.as_bytes());
        let hit = hits
            .iter()
            .find(|it| !self.accepted.contains(&it.fingerprint))?;
        Some(format!(
            "what looks like a credential ({}, fingerprint {}) was seen in a request to a model",
            hit.rule, hit.fingerprint
        ))
    }
}

/// Hands every text of a JSON value to `look`, until it says that it has seen enough.
#[derive(Clone, Copy)]
struct Texts<'a> {
    look: &'a dyn Fn(&str, bool) -> bool,
    is_sealed: bool,
}

impl Texts<'_> {
    fn take<E: Error>(self, text: &str) -> Result<(), E> {
        if (self.look)(text, self.is_sealed) {
            Ok(())
        } else {
            Err(E::custom("seen"))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            self.take(&name)?;
            let is_sealed = self.is_sealed || SEALED_FIELDS.contains(&name.as_str());
            fields.next_value_seed(Self { is_sealed, ..self })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CANARY: &str = "q7Zr0vTn2KxWm5Lp";

    fn door() -> Door {
        let watched = Watched {
            of: "the canary `a`".to_owned(),
            value: CANARY.as_bytes().to_vec(),
        };
        Door::new(&[watched], &[])
    }

    fn look(door: &Door, request: &Value) -> Option<String> {
        let scanner = Scanner::standard().unwrap();
        door.look(&scanner, request.to_string().as_bytes()).unwrap()
    }

    fn key() -> String {
        format!("{}{}", "AKIA", "Z7Q2M4X6P5R3T2WV")
    }

    #[test]
    fn a_canary_is_seen_however_it_is_written() {
        let split: String = CANARY.chars().flat_map(|it| [it, '\n']).collect();
        let reversed: String = CANARY.chars().rev().collect();
        for text in [CANARY, &split, &reversed] {
            let seen = look(
                &door(),
                &json!({"messages": [{"content": format!("x {text} y")}]}),
            );
            let told = seen.unwrap();
            assert!(
                told.contains("the canary `a`") && !told.contains("q7Zr"),
                "{told}"
            );
        }
        assert!(look(&door(), &json!({"signature": CANARY})).is_some());
        assert!(look(&door(), &json!({"a": {CANARY: 1}})).is_some());
    }

    #[test]
    fn a_credential_is_seen_unless_it_was_accepted() {
        let request = json!({"messages": [{"content": format!("AWS key {}\n", key())}]});
        let told = look(&door(), &request).unwrap();
        assert!(!told.contains(&key()), "{told}");
        let hit = &Scanner::standard()
            .unwrap()
            .scan(format!("AWS key {}\n", key()).as_bytes())[0];
        let accepting = Door::new(&[], std::slice::from_ref(&hit.fingerprint));
        assert_eq!(look(&accepting, &request), None);
    }

    #[test]
    fn plain_requests_pass() {
        let request =
            json!({"model": "m", "messages": [{"role": "user", "content": "mend the test"}]});
        assert_eq!(look(&door(), &request), None);
    }

    #[test]
    fn nothing_hides_behind_a_name_that_is_there_twice_or_in_escapes() {
        let scanner = Scanner::standard().unwrap();
        let escaped: String = CANARY.bytes().map(|it| format!("\\u{it:04x}")).collect();
        let body = format!("{{\"content\": \"{escaped}\", \"content\": \"plain\"}}");
        assert!(door().look(&scanner, body.as_bytes()).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_read_does_not_pass() {
        let scanner = Scanner::standard().unwrap();
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for body in [deep.as_str(), "{", "{} {}", ""] {
            assert!(door().look(&scanner, body.as_bytes()).is_err());
        }
    }
}
