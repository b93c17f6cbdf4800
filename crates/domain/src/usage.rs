//! Usage: what calls to language models took, in tokens and money, and what they may take.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// An amount of money, in millionths of a US dollar.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Money(pub u64);

impl Money {
    /// Returns the sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the difference, or nothing at all.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Returns the amount written as dollars with up to six places, such as `2.50`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 6 {
            return None;
        }
        let scale = 10_u64.pow(6_u32.saturating_sub(u32::try_from(part.len()).ok()?));
        let part = part.parse::<u64>().ok()?.checked_mul(scale)?;
        let whole = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?;
        whole.checked_add(part).map(Self)
    }
}

/// As dollars, with four places.
impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = self.0.saturating_add(50) / 100;
        write!(out, "${}.{:04}", rounded / 10_000, rounded % 10_000)
    }
}

/// Tokens, as providers count them. What is read from a cache or written to it is not in `input`,
/// and what was thought is in `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Read, and nowhere cached.
    pub input: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Written to the provider's cache.
    pub cache_write: u64,
    /// Written, thoughts included.
    pub output: u64,
    /// Those of `output` that were thoughts, as far as the provider tells.
    pub reasoning: u64,
}

impl Tokens {
    /// Returns all of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.output)
    }

    /// Returns the sum, kind by kind.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_sub(other.input),
            cache_read: self.cache_read.saturating_sub(other.cache_read),
            cache_write: self.cache_write.saturating_sub(other.cache_write),
            output: self.output.saturating_sub(other.output),
            reasoning: self.reasoning.saturating_sub(other.reasoning),
        }
    }
}

/// What calls took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Calls made.
    pub calls: u64,
    /// Those of them whose tokens were estimated, at least in part.
    pub estimated: u64,
    /// Those of them whose price nobody knows; they are not in `money`.
    pub unpriced: u64,
    /// Tokens.
    pub tokens: Tokens,
    /// Money.
    pub money: Money,
}

impl Usage {
    /// Returns the sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            estimated: self.estimated.saturating_add(other.estimated),
            unpriced: self.unpriced.saturating_add(other.unpriced),
            tokens: self.tokens.plus(other.tokens),
            money: self.money.plus(other.money),
        }
    }

    /// Returns what came on top of an earlier reading of the same account.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            estimated: self.estimated.saturating_sub(earlier.estimated),
            unpriced: self.unpriced.saturating_sub(earlier.unpriced),
            tokens: self.tokens.minus(earlier.tokens),
            money: self.money.minus(earlier.money),
        }
    }

    /// Returns whether nothing was called.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.calls == 0 && self.tokens.total() == 0 && self.money.0 == 0
    }

    /// Returns what of it counts against a budget.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        Amount {
            tokens: self.tokens.total(),
            money: self.money,
        }
    }
}

/// What one model took of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsage {
    /// Who answered: a provider's name in `broker.toml`.
    pub provider: String,
    /// The model that was asked.
    pub model: String,
    /// What it took.
    pub usage: Usage,
}

/// What counts against a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens of every kind.
    pub tokens: u64,
    /// Money.
    pub money: Money,
}

impl Amount {
    /// Returns the sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            money: self.money.plus(other.money),
        }
    }

    /// Returns the difference, or nothing at all.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            money: self.money.minus(other.money),
        }
    }
}

/// The most that may be taken; what is not said is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Tokens of every kind.
    pub tokens: Option<u64>,
    /// Money.
    pub money: Option<Money>,
}

impl Cap {
    /// Returns what is left after `taken`.
    #[must_use]
    pub fn left(&self, taken: Amount) -> Self {
        Self {
            tokens: self.tokens.map(|it| it.saturating_sub(taken.tokens)),
            money: self.money.map(|it| it.minus(taken.money)),
        }
    }

    /// Returns the tighter of both, tokens and money each.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let tighter = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self {
            tokens: tighter(self.tokens, other.tokens),
            money: tighter(self.money.map(|it| it.0), other.money.map(|it| it.0)).map(Money),
        }
    }

    /// Returns why no more may be taken, if that is so.
    #[must_use]
    pub fn reached(&self, taken: Amount) -> Option<Reached> {
        match (self.tokens, self.money) {
            (Some(cap), _) if taken.tokens >= cap => Some(Reached::Tokens {
                taken: taken.tokens,
                cap,
            }),
            (_, Some(cap)) if taken.money >= cap => Some(Reached::Money {
                taken: taken.money,
                cap,
            }),
            (Some(_) | None, Some(_) | None) => None,
        }
    }
}

/// A cap that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// That of tokens.
    Tokens {
        /// What was taken.
        taken: u64,
        /// What might be.
        cap: u64,
    },
    /// That of money.
    Money {
        /// What was taken.
        taken: Money,
        /// What might be.
        cap: Money,
    },
}

impl fmt::Display for Reached {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens { taken, cap } => write!(out, "{taken} of {cap} tokens are used"),
            Self::Money { taken, cap } => write!(out, "{taken} of {cap} are spent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn money_is_read_and_shown() {
        assert_eq!(Money::parse("2.50"), Some(Money(2_500_000)));
        assert_eq!(Money::parse("3"), Some(Money(3_000_000)));
        assert_eq!(Money::parse("0.000001"), Some(Money(1)));
        for wrong in [
            "",
            "-1",
            ".5",
            "1.",
            "1.0000001",
            "1e3",
            "99999999999999999999",
        ] {
            assert_eq!(Money::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Money(2_500_049).to_string(), "$2.5000");
        assert_eq!(Money(999_999).to_string(), "$1.0000");
    }

    #[test]
    fn a_cap_is_reached_by_tokens_or_by_money() {
        let cap = Cap {
            tokens: Some(10),
            money: Some(Money(5)),
        };
        let taken = |tokens, money| Amount {
            tokens,
            money: Money(money),
        };
        assert_eq!(cap.reached(taken(9, 4)), None);
        let tokens = cap.reached(taken(10, 0)).unwrap();
        assert_eq!(tokens.to_string(), "10 of 10 tokens are used");
        assert!(matches!(
            cap.reached(taken(0, 5)),
            Some(Reached::Money { .. })
        ));
        assert_eq!(Cap::default().reached(taken(u64::MAX, u64::MAX)), None);
        assert_eq!(cap.left(taken(4, 9)).tokens, Some(6));
        assert_eq!(cap.left(taken(4, 9)).money, Some(Money(0)));
    }

    #[test]
    fn the_tighter_of_two_caps_holds() {
        let one = Cap {
            tokens: Some(10),
            money: None,
        };
        let two = Cap {
            tokens: Some(20),
            money: Some(Money(1)),
        };
        assert_eq!(
            one.and(&two),
            Cap {
                tokens: Some(10),
                money: Some(Money(1))
            }
        );
    }
}
