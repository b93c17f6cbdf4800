//! Prices: what a million tokens cost, as data with a date. A model without a row has no price.

use domain::usage::{Money, Tokens};
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use toml::Spanned;

use crate::config::Fault;

/// The table that is shipped.
pub const SHIPPED: &str = include_str!("../prices.toml");

/// The most rows of a table.
const ROWS_MAX: usize = 1_000;

/// What models cost.
#[derive(Clone, Debug)]
pub struct Prices {
    /// The day on which the prices were looked up.
    pub as_of: String,
    rows: Vec<Row>,
    ceiling: Option<Price>,
}

/// What a million tokens of one model cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    input: Money,
    cache_read: Money,
    cache_write: Money,
    output: Money,
}

/// What a model costs, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// By its row.
    Listed(Price),
    /// Nobody knows; the operator's ceiling stands in.
    Ceiling(Price),
    /// Nobody knows.
    Unknown,
}

#[derive(Clone, Debug)]
struct Row {
    provider: String,
    model: GlobMatcher,
    price: Price,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    as_of: Spanned<String>,
    #[serde(rename = "note")]
    _note: String,
    #[serde(default)]
    price: Vec<FileRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    provider: String,
    model: Spanned<String>,
    input: Spanned<String>,
    output: Spanned<String>,
    cache_read: Option<Spanned<String>>,
    cache_write: Option<Spanned<String>>,
}

impl Price {
    /// A price of nothing: models on one's own machines.
    pub const FREE: Self = Self {
        input: Money(0),
        cache_read: Money(0),
        cache_write: Money(0),
        output: Money(0),
    };

    /// Returns a price without any discount for what is cached.
    #[must_use]
    pub const fn flat(input: Money, output: Money) -> Self {
        Self {
            input,
            cache_read: input,
            cache_write: input,
            output,
        }
    }

    /// Returns what tokens cost, rounded up.
    #[must_use]
    pub fn of(&self, tokens: &Tokens) -> Money {
        let part = |count: u64, price: Money| u128::from(count).saturating_mul(price.0.into());
        let sum = part(tokens.input, self.input)
            .saturating_add(part(tokens.cache_read, self.cache_read))
            .saturating_add(part(tokens.cache_write, self.cache_write))
            .saturating_add(part(tokens.output, self.output));
        Money(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

impl Prices {
    /// Reads a table.
    ///
    /// # Errors
    /// The first fault, with line and column.
    pub fn parse(name: &str, text: &str, ceiling: Option<Price>) -> Result<Self, Fault> {
        let file: File = toml::from_str(text).map_err(|it| Fault::syntax(name, text, &it))?;
        let fault =
            |span: std::ops::Range<usize>, why: String| Fault::at(name, text, span.start, why);
        let day = file.as_of.get_ref();
        if day.parse::<jiff::civil::Date>().is_err() {
            let why = "`as_of` is no day, such as 2026-11-20";
            return Err(fault(file.as_of.span(), why.to_owned()));
        }
        if file.price.len() > ROWS_MAX {
            return Err(fault(0..0, format!("more than {ROWS_MAX} prices")));
        }
        let mut rows = Vec::new();
        for row in &file.price {
            let money = |it: &Spanned<String>| {
                Money::parse(it.get_ref()).ok_or_else(|| {
                    let why = "this is no amount of dollars, such as \"2.50\"";
                    fault(it.span(), why.to_owned())
                })
            };
            let model = GlobBuilder::new(row.model.get_ref())
                .empty_alternates(true)
                .build()
                .map_err(|it| fault(row.model.span(), format!("no pattern: {}", it.kind())))?
                .compile_matcher();
            let input = money(&row.input)?;
            let cached = |it: &Option<Spanned<String>>| it.as_ref().map_or(Ok(input), money);
            let price = Price {
                input,
                output: money(&row.output)?,
                cache_read: cached(&row.cache_read)?,
                cache_write: cached(&row.cache_write)?,
            };
            rows.push(Row {
                provider: row.provider.clone(),
                model,
                price,
            });
        }
        Ok(Self {
            as_of: day.clone(),
            rows,
            ceiling,
        })
    }

    /// Returns what a model costs. The first row that fits counts.
    #[must_use]
    pub fn of(&self, provider: &str, model: &str) -> Known {
        let row = self
            .rows
            .iter()
            .find(|it| it.provider == provider && it.model.is_match(model));
        match (row, self.ceiling) {
            (Some(row), _) => Known::Listed(row.price),
            (None, Some(ceiling)) => Known::Ceiling(ceiling),
            (None, None) => Known::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens {
            input: 1_000_000,
            cache_read: 1_000_000,
            cache_write: 0,
            output: 100_000,
            reasoning: 50_000,
        }
    }

    #[test]
    fn the_shipped_table_is_read_and_says_its_date() {
        let prices = Prices::parse("prices.toml", SHIPPED, None).unwrap();
        assert!(prices.as_of.starts_with("20"));
        assert_ne!(prices.of("anthropic", "claude-sonnet-4-5"), Known::Unknown);
        assert_eq!(
            prices.of("anthropic", "claude-of-the-future"),
            Known::Unknown
        );
        // A name that only begins like a known one is another model, with another price.
        assert_eq!(prices.of("openai", "gpt-5.99"), Known::Unknown);
    }

    #[test]
    fn money_follows_the_kinds_of_tokens_and_is_rounded_up() {
        let text = "as_of = \"2026-01-01\"\nnote = \"\"\n[[price]]\nprovider = \"p\"\nmodel = \"m*\"\n\
            input = \"3\"\noutput = \"15\"\ncache_read = \"0.30\"\n";
        let prices = Prices::parse("p.toml", text, None).unwrap();
        let Known::Listed(price) = prices.of("p", "m1") else {
            panic!("not listed");
        };
        assert_eq!(price.of(&tokens()), Money(3_000_000 + 300_000 + 1_500_000));
        let one = Tokens {
            cache_read: 1,
            ..Tokens::default()
        };
        assert_eq!(price.of(&one), Money(1));
    }

    #[test]
    fn a_ceiling_stands_in_for_an_unknown_price() {
        let ceiling = Price::flat(Money(10), Money(20));
        let prices = Prices::parse("prices.toml", SHIPPED, Some(ceiling)).unwrap();
        assert_eq!(prices.of("x", "y"), Known::Ceiling(ceiling));
    }

    #[test]
    fn faults_have_a_place() {
        let text = "as_of = \"2026-01-01\"\nnote = \"\"\n[[price]]\nprovider = \"p\"\nmodel = \"m\"\n\
            input = \"three\"\noutput = \"15\"\n";
        let fault = Prices::parse("p.toml", text, None).unwrap_err();
        assert!(fault.to_string().starts_with("p.toml:6:9: "), "{fault}");
        let fault = Prices::parse("p.toml", "as_of = \"soon\"\nnote = \"\"\n", None).unwrap_err();
        assert!(fault.to_string().starts_with("p.toml:1:9: "), "{fault}");
    }
}
