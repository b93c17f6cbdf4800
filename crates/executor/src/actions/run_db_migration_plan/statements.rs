//! The first wall: what of a plan may run at all, judged before anything is recorded. Migrations
//! are cut into statements; each must be of a listed kind, and of text that two readers cannot
//! understand differently. What is not understood is refused.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's lists have hundreds of entries; what is not named is plain text, or refused"
)]

mod postgresql;
mod sqlite;

use serde::Deserialize;
use sqlparser::dialect::{Dialect as Grammar, PostgreSqlDialect, SQLiteDialect};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace, Word};
use wire::execution::reply::Statement as Place;

pub(super) use self::sqlite::PRAGMAS;
use super::plan::{Migration, Plan};

/// The table that the migration library keeps its history in.
pub(super) const HISTORY: &str = "refinery_schema_history";

/// The most statements of a plan.
const STATEMENTS_MAX: usize = 16_384;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// PostgreSQL's.
    Postgresql,
    /// SQLite's.
    Sqlite,
}

/// A plan whose every statement may run.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(super) plan: Plan,
    /// Of each migration, its statements.
    pub(super) statements: Vec<Vec<String>>,
}

/// A statement may not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("statement {} of {}: {why}", place.statement, place.migration)]
pub(crate) struct Refused {
    pub(crate) place: Place,
    pub(crate) why: &'static str,
}

/// One statement as it is cut out.
struct Piece<'a> {
    text: &'a str,
    /// Its tokens, without spaces and comments.
    tokens: Vec<TokenWithSpan>,
}

impl Judged {
    /// Judges a plan, and tells everything that may not run.
    pub(crate) fn of(plan: Plan, dialect: Dialect) -> Result<Self, Vec<Refused>> {
        let mut refused = Vec::new();
        let mut statements = Vec::new();
        let mut count = 0;
        for migration in &plan.migrations {
            let judged = migration_statements(migration, dialect, &mut refused);
            count += judged.len();
            statements.push(judged);
            if count > STATEMENTS_MAX {
                refused.push(at(migration, 1, "a plan has at most 16384 statements"));
                break;
            }
        }
        if refused.is_empty() {
            Ok(Self { plan, statements })
        } else {
            Err(refused)
        }
    }

    /// Returns every statement, in the order they run in.
    pub(crate) fn into_statements(self) -> Vec<String> {
        self.statements.into_iter().flatten().collect()
    }
}

fn at(migration: &Migration, statement: usize, why: &'static str) -> Refused {
    Refused {
        place: Place {
            migration: migration.name.clone(),
            statement: u32::try_from(statement).unwrap_or(u32::MAX),
        },
        why,
    }
}

fn migration_statements(
    migration: &Migration,
    dialect: Dialect,
    refused: &mut Vec<Refused>,
) -> Vec<String> {
    let pieces = match cut(&migration.sql, dialect) {
        Ok(pieces) => pieces,
        Err((statement, why)) => {
            refused.push(at(migration, statement, why));
            return Vec::new();
        }
    };
    for (number, piece) in (1..).zip(&pieces) {
        let judged = is_plain(&piece.tokens).and_then(|()| match dialect {
            Dialect::Postgresql => postgresql::judge(piece),
            Dialect::Sqlite => sqlite::judge(piece),
        });
        if let Err(why) = judged {
            refused.push(at(migration, number, why));
        }
    }
    pieces.iter().map(|it| it.text.to_owned()).collect()
}

/// Cuts SQL into statements; a fault names the statement that it is in.
fn cut(sql: &str, dialect: Dialect) -> Result<Vec<Piece<'_>>, (usize, &'static str)> {
    if has_odd_characters(sql) {
        return Err((
            1,
            "it has control characters, or a line's end that is not everybody's",
        ));
    }
    let tokens = tokens(sql, dialect).map_err(|why| (1, why))?;
    let lines = Lines::of(sql);
    let mut pieces = Vec::new();
    let mut piece: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        let number = pieces.len() + 1;
        let text = lines.between(token.span.start, token.span.end);
        if !may_hold_anything(&token.token) && !text.is_ascii() {
            return Err((
                number,
                "it has other than ASCII outside of texts, names and comments",
            ));
        }
        match &token.token {
            Token::Whitespace(Whitespace::MultiLineComment(comment)) if comment.contains("/*") => {
                return Err((
                    number,
                    "a comment is in a comment, which is read in two ways",
                ));
            }
            // Where the two readers disagree about what ends the text.
            Token::EscapedStringLiteral(_) if text.contains("\\'") => {
                return Err((number, "write a quote in a text as ''"));
            }
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon if ends(&piece, dialect) => {
                lines.take(&mut piece, token.span.start, &mut pieces);
            }
            _ => piece.push(token),
        }
    }
    lines.take_rest(&mut piece, &mut pieces);
    Ok(pieces)
}

/// Returns whether a semicolon after these tokens ends the statement.
fn ends(piece: &[TokenWithSpan], dialect: Dialect) -> bool {
    match dialect {
        Dialect::Postgresql => true,
        Dialect::Sqlite => sqlite::ends(piece),
    }
}

fn tokens(sql: &str, dialect: Dialect) -> Result<Vec<TokenWithSpan>, &'static str> {
    let grammar: &dyn Grammar = match dialect {
        Dialect::Postgresql => &PostgreSqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    };
    Tokenizer::new(grammar, sql)
        .tokenize_with_location()
        .map_err(|_| "a text, a name or a comment has no end")
}

fn has_odd_characters(sql: &str) -> bool {
    let mut rest = sql.chars().peekable();
    while let Some(it) = rest.next() {
        let is_end_of_line = it == '\r' && rest.peek() == Some(&'\n');
        if it.is_control() && !matches!(it, '\n' | '\t') && !is_end_of_line {
            return true;
        }
    }
    false
}

/// Returns whether a token's text is a person's words, in any language.
fn may_hold_anything(token: &Token) -> bool {
    match token {
        Token::Word(Word { quote_style, .. }) => quote_style.is_some(),
        Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::Whitespace(
            Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
        ) => true,
        _ => false,
    }
}

/// Refuses what is written so that readers disagree about it, or is no SQL.
fn is_plain(tokens: &[TokenWithSpan]) -> Result<(), &'static str> {
    for (here, next) in tokens
        .iter()
        .zip(tokens.iter().skip(1).map(Some).chain([None]))
    {
        match &here.token {
            Token::UnicodeStringLiteral(_) => return Err("texts and names are written without U&"),
            Token::Word(it)
                if it.quote_style.is_none()
                    && it.value.eq_ignore_ascii_case("u")
                    && next.is_some_and(|it| it.token == Token::Ampersand) =>
            {
                return Err("texts and names are written without U&");
            }
            Token::Word(it) if it.quote_style.is_none() && it.value.contains('$') => {
                return Err("a name with $ is read in two ways; quote it");
            }
            Token::Word(it) if it.value.eq_ignore_ascii_case(HISTORY) => {
                return Err("the history of migrations is the executor's own");
            }
            Token::Backslash => return Err("commands of a client program are no SQL"),
            Token::Placeholder(_) => return Err("a plan has no parameters"),
            Token::DollarQuotedString(it)
                if it.tag.iter().any(|it| {
                    !it.bytes()
                        .all(|it| it.is_ascii_alphanumeric() || it == b'_')
                        || it.starts_with(|it: char| it.is_ascii_digit())
                }) =>
            {
                return Err("the tag of a text between $ is letters, digits and underscores");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the names and keywords of some tokens in lower case, quoted or not.
fn words(tokens: &[TokenWithSpan]) -> impl Iterator<Item = String> {
    tokens.iter().filter_map(|it| match &it.token {
        Token::Word(it) => Some(it.value.to_lowercase()),
        // What one reader takes for a text, another takes for a name.
        Token::DoubleQuotedString(it) => Some(it.to_lowercase()),
        _ => None,
    })
}

/// Where lines begin.
struct Lines<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(sql: &'a str) -> Self {
        let ends = sql.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { sql, starts }
    }

    fn offset(&self, place: Location) -> usize {
        let index = |it: u64| usize::try_from(it.saturating_sub(1)).unwrap_or(usize::MAX);
        let start = self.starts.get(index(place.line)).copied();
        let start = start.unwrap_or(self.sql.len());
        let line = &self.sql[start..];
        let within = line.char_indices().nth(index(place.column));
        within.map_or(self.sql.len(), |(at, _)| start + at)
    }

    fn between(&self, start: Location, end: Location) -> &'a str {
        let start = self.offset(start);
        &self.sql[start..self.offset(end).max(start)]
    }

    fn take(&self, piece: &mut Vec<TokenWithSpan>, end: Location, to: &mut Vec<Piece<'a>>) {
        let tokens = std::mem::take(piece);
        if let Some(first) = tokens.first() {
            let text = self.between(first.span.start, end).trim_end();
            to.push(Piece { text, tokens });
        }
    }

    fn take_rest(&self, piece: &mut Vec<TokenWithSpan>, to: &mut Vec<Piece<'a>>) {
        let tokens = std::mem::take(piece);
        if let Some(first) = tokens.first() {
            let text = self.sql[self.offset(first.span.start)..].trim_end();
            to.push(Piece { text, tokens });
        }
    }
}
