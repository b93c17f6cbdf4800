//! What must hold of any plan of migrations whose statements may run: a second reader, made after
//! the databases' manuals and not after our parser, finds in none of them what must not be there.

use executor::plans::{Dialect, statements};

/// What a statement may begin with, on either database.
const BEGINNINGS: &[&str] = &[
    "alter", "analyze", "comment", "create", "delete", "drop", "from", "grant", "insert", "merge",
    "pragma", "reindex", "replace", "revoke", "select", "table", "truncate", "update", "values",
    "with",
];

/// What reaches files, wherever it is named.
const REACHING: &[&str] = &[
    "lo_export",
    "lo_import",
    "pg_read_file",
    "pg_ls_dir",
    "dblink",
    "set_config",
    "query_to_xml",
];

/// The same, on SQLite.
const REACHING_SQLITE: &[&str] = &["load_extension", "readfile", "writefile", "edit"];

/// Judges a plan, and reads what may run once more.
pub(crate) fn run(bytes: &[u8]) {
    for dialect in [Dialect::Postgresql, Dialect::Sqlite] {
        let Ok(all) = statements(bytes, dialect) else {
            continue;
        };
        for statement in all {
            look(&statement, dialect);
            let alone = format!("-- migration: V1__a\n{statement}");
            let again = statements(alone.as_bytes(), dialect);
            assert_eq!(again, Ok(vec![statement]), "it is another when it is alone");
        }
    }
}

fn look(statement: &str, dialect: Dialect) {
    let read = read(statement, dialect);
    let first = read.words.first().map(String::as_str).unwrap_or_default();
    assert!(
        BEGINNINGS.contains(&first),
        "it begins like no migration: {statement}"
    );
    let reaching = match dialect {
        Dialect::Postgresql => REACHING,
        Dialect::Sqlite => REACHING_SQLITE,
    };
    for word in &read.words {
        assert!(
            !reaching.contains(&word.as_str()),
            "it names {word}: {statement}"
        );
        assert!(
            word != "refinery_schema_history",
            "it names the history: {statement}"
        );
    }
    if dialect == Dialect::Postgresql {
        assert_eq!(read.ends, 0, "it is more than one statement: {statement}");
        assert!(
            !read.is_unicode,
            "it has names that are written otherwise: {statement}"
        );
        assert!(!["system", "role", "database"].contains(&second(&read.words)));
    }
}

fn second(words: &[String]) -> &str {
    words.get(1).map(String::as_str).unwrap_or_default()
}

/// What a reader finds outside of texts and comments.
#[derive(Default)]
struct Read {
    words: Vec<String>,
    /// How many semicolons.
    ends: usize,
    is_unicode: bool,
}

fn read(statement: &str, dialect: Dialect) -> Read {
    let mut read = Read::default();
    let mut rest = statement;
    while let Some(next) = rest.chars().next() {
        let length = if rest.starts_with("--") {
            rest.find(['\n', '\r']).unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest, dialect)
        } else if next == '\'' {
            text(rest, '\'', false).1
        } else if next == '"' || (dialect == Dialect::Sqlite && next == '`') {
            let (name, length) = text(rest, next, false);
            read.words.push(name.to_lowercase());
            length
        } else if dialect == Dialect::Sqlite && next == '[' {
            let end = rest.find(']').unwrap_or(rest.len() - 1);
            read.words.push(rest[1..end].to_lowercase());
            end + 1
        } else if next == '$' && dialect == Dialect::Postgresql {
            dollars(rest)
        } else if next.is_ascii_alphabetic() || next == '_' || !next.is_ascii() {
            word(rest, dialect, &mut read)
        } else {
            read.ends += usize::from(next == ';');
            next.len_utf8()
        };
        rest = &rest[length..];
    }
    read
}

/// Returns the length of a name, and of the text behind it when it is the beginning of one.
fn word(rest: &str, dialect: Dialect, read: &mut Read) -> usize {
    let is_part = |it: char| it.is_ascii_alphanumeric() || "_$".contains(it) || !it.is_ascii();
    let length = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
    let (name, after) = rest.split_at(length);
    if dialect == Dialect::Postgresql && name.eq_ignore_ascii_case("e") && after.starts_with('\'') {
        return length + text(after, '\'', true).1;
    }
    read.is_unicode |=
        name.eq_ignore_ascii_case("u") && (after.starts_with("&'") || after.starts_with("&\""));
    read.words.push(name.to_lowercase());
    length
}

/// Returns what is between quotes, which are doubled within, and its length with them.
fn text(rest: &str, quote: char, has_escapes: bool) -> (String, usize) {
    let mut inside = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, it)) = characters.next() {
        if has_escapes && it == '\\' {
            characters.next();
        } else if it == quote {
            if characters.next_if(|(_, next)| *next == quote).is_none() {
                return (inside, at + it.len_utf8());
            }
            inside.push(it);
        } else {
            inside.push(it);
        }
    }
    (inside, rest.len())
}

/// Returns the length of a comment: PostgreSQL's are nested.
fn comment(rest: &str, dialect: Dialect) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") && (depth == 0 || dialect == Dialect::Postgresql) {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Returns the length of a text between dollars, or of a dollar.
fn dollars(rest: &str) -> usize {
    let Some(end) = rest[1..].find('$').map(|it| it + 2) else {
        return 1;
    };
    let tag = &rest[1..end - 1];
    let is_tag = tag
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || it == '_' || !it.is_ascii())
        && !tag.starts_with(|it: char| it.is_ascii_digit());
    if !is_tag {
        return 1;
    }
    let close = rest[end..].find(&rest[..end]);
    close.map_or(rest.len(), |it| end + it + end)
}
