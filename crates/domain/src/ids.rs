//! All identifiers, in one list: a prefix that says what is named, and 128 bits (UUIDv7 outside,
//! TypeID text form: 26 characters of Crockford base32, see the TypeID specification 0.3).

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

/// Why a text is not an identifier of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier of the form `{prefix}_` and 26 base32 characters")]
pub struct NotAnId {
    /// The prefix that was wanted.
    pub prefix: &'static str,
    /// What was given.
    pub text: String,
}

fn encode(bits: u128, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    for place in (0..LENGTH).rev() {
        let index = usize::try_from((bits >> (5 * place)) & 31).unwrap_or(0);
        out.write_char(char::from(ALPHABET[index]))?;
    }
    Ok(())
}

fn decode(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    // 26 characters hold 130 bits: the first may use only three of its five.
    if bytes.len() != LENGTH || !(b'0'..=b'7').contains(&bytes[0]) {
        return None;
    }
    bytes.iter().try_fold(0_u128, |bits, byte| {
        let digit = ALPHABET.iter().position(|it| it == byte)?;
        Some((bits << 5) | u128::try_from(digit).ok()?)
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What every identifier of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Returns the identifier with these bits.
            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// Returns the bits.
            #[must_use]
            pub const fn bits(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(concat!($prefix, "_"))?;
                encode(self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| NotAnId { prefix: $prefix, text: String::from(text) })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Names an action that the executor is to be asked for.
    ActionId = "action";
    /// Names an ambiguity.
    AmbiguityId = "amb";
    /// Names a checkpoint.
    CheckpointId = "ckpt";
    /// Names an effect in the outbox.
    EffectId = "eff";
    /// Names an event: the only key for deduplication.
    EventId = "evt";
    /// Names one request to the executor: who sends it again gets the same answer.
    ExecutionId = "exec";
    /// Names a review finding.
    FindingId = "find";
    /// Names a goal.
    GoalId = "goal";
    /// Names a standing grant for actions of the executor.
    GrantId = "grant";
    /// Names a message to an agent.
    MessageId = "msg";
    /// Names an approval for one action of the executor.
    PermitId = "permit";
    /// Names a plan.
    PlanId = "plan";
    /// Names a promotion.
    PromotionId = "prom";
    /// Names one execution of a formula.
    RunId = "run";
    /// Names one lifetime of an agent in a cell.
    SessionId = "sess";
    /// Names a unit of delegated work.
    WorkId = "work";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString as _;

    #[test]
    fn text_form_is_the_one_of_the_typeid_specification() {
        // valid.json of the specification: 01890a5d-ac96-774b-bcce-b302099a8057
        let id = WorkId::from_bits(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);
        assert_eq!(id.to_string(), "work_01h455vb4pex5vsknk084sn02q");
    }

    #[test]
    fn another_prefix_is_refused() {
        let error = "run_01h455vb4pex5vsknk084sn02q"
            .parse::<WorkId>()
            .unwrap_err();
        assert_eq!(error.prefix, "work");
    }

    #[test]
    fn a_text_over_128_bits_is_refused() {
        assert!("work_8zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<WorkId>().is_err());
    }

    proptest! {
        #[test]
        fn every_id_reads_back(bits: u128) {
            let id = SessionId::from_bits(bits);
            prop_assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        }

        #[test]
        fn text_sorts_like_bits(a: u128, b: u128) {
            let (a, b) = (RunId::from_bits(a), RunId::from_bits(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
