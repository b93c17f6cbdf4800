//! What may run on SQLite: statements that begin with a listed word, and nothing that is named like
//! what reaches files. The wall behind this one is SQLite's own authorizer.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Piece, words};

/// What a statement may begin with.
const KINDS: [&str; 12] = [
    "alter", "analyze", "create", "delete", "drop", "insert", "pragma", "reindex", "replace",
    "select", "update", "with",
];

/// Pragmas that change nothing but the data's own, or only tell.
pub(in super::super) const PRAGMAS: [&str; 11] = [
    "application_id",
    // What full-text search asks of itself.
    "data_version",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Functions that reach files, here or in SQLite's own shell.
const FORBIDDEN: [&str; 8] = [
    "edit",
    "fsdir",
    "fts3_tokenizer",
    "load_extension",
    "lsdir",
    "readfile",
    "writefile",
    "zipfile",
];

/// Returns whether a semicolon after these tokens ends the statement: a trigger's ends after END.
pub(super) fn ends(piece: &[TokenWithSpan]) -> bool {
    let mut first = words(piece).take(3);
    let is_trigger = first.next().as_deref() == Some("create") && first.any(|it| it == "trigger");
    let last = |back: usize| piece.iter().rev().nth(back).map(|it| &it.token);
    let is_end = matches!(last(0), Some(Token::Word(it)) if it.value.eq_ignore_ascii_case("end"));
    !is_trigger || (is_end && last(1) == Some(&Token::SemiColon))
}

/// Judges a statement.
pub(super) fn judge(piece: &Piece<'_>) -> Result<(), &'static str> {
    let first = match piece.tokens.first().map(|it| &it.token) {
        Some(Token::Word(it)) if it.quote_style.is_none() => it.value.to_lowercase(),
        _ => return Err("it does not begin like a statement"),
    };
    if !KINDS.contains(&first.as_str()) {
        return Err("a statement of its kind may not run");
    }
    if words(&piece.tokens).any(|it| FORBIDDEN.contains(&it.as_str())) {
        return Err("it names what reaches files");
    }
    if first == "pragma" && !is_listed(&piece.tokens) {
        return Err("the pragma is not a listed one");
    }
    Ok(())
}

fn is_listed(tokens: &[TokenWithSpan]) -> bool {
    let is_qualified = tokens.get(2).is_some_and(|it| it.token == Token::Period);
    let name = tokens.get(if is_qualified { 3 } else { 1 });
    let name = name.and_then(|it| match &it.token {
        Token::Word(it) => Some(it.value.to_lowercase()),
        _ => None,
    });
    name.is_some_and(|it| PRAGMAS.contains(&it.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::Plan;
    use super::super::{Dialect, Judged};

    fn judge(sql: &str) -> Result<usize, String> {
        let plan = Plan::read(format!("-- migration: V1__a\n{sql}").as_bytes());
        let judged = Judged::of(plan.map_err(|it| it.to_string())?, Dialect::Sqlite);
        judged
            .map(|it| it.statements[0].len())
            .map_err(|it| it[0].to_string())
    }

    #[test]
    fn what_reaches_files_is_refused() {
        for sql in [
            "ATTACH DATABASE '/tmp/x' AS x",
            "attach/**/'/tmp/x' as x",
            "DETACH x",
            "VACUUM",
            "VACUUM INTO '/tmp/x'",
            "SELECT load_extension('/tmp/x.so')",
            "SELECT \"load_extension\"('/tmp/x.so')",
            "SELECT [Load_Extension]('/tmp/x.so')",
            "SELECT `readfile`('/etc/passwd')",
            "INSERT INTO t SELECT writefile('/tmp/x', 'y')",
            "SELECT edit('x')",
            "PRAGMA writable_schema = ON",
            "PRAGMA main.writable_schema = 1",
            "PRAGMA \"journal_mode\" = OFF",
            "PRAGMA temp_store_directory = '/tmp'",
            "PRAGMA",
            "BEGIN",
            "COMMIT",
            "END",
            "ROLLBACK",
            "SAVEPOINT a",
            "RELEASE a",
            "EXPLAIN SELECT 1",
            ".shell id",
            ".read x",
            "\\! id",
            "SELECT 1 \u{1}",
            "SELECT 'a",
            "DELETE FROM refinery_schema_history",
            "DELETE FROM [refinery_schema_history]",
            "SELECT ?1",
        ] {
            assert!(judge(sql).is_err(), "{sql}");
            let hidden = format!("CREATE TABLE a (b); /* ; */ {sql};\nSELECT 1;");
            assert!(judge(&hidden).is_err(), "{hidden}");
        }
    }

    #[test]
    fn statements_are_cut_where_they_end() {
        for (sql, count) in [
            ("", 0),
            ("-- nothing\n;;", 0),
            ("CREATE TABLE a (b TEXT DEFAULT ';')", 1),
            ("CREATE TABLE \"a;b\" (c); SELECT '--'; -- ;\nSELECT 2;", 3),
            (
                "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET b = CASE WHEN 1 THEN 2 \
                 END; DELETE FROM c; END; SELECT 1",
                2,
            ),
            ("PRAGMA user_version = 3; PRAGMA main.user_version", 2),
            ("WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a", 1),
            ("REPLACE INTO a VALUES (x'00', 'M\u{fc}ller')", 1),
        ] {
            assert_eq!(judge(sql), Ok(count), "{sql}");
        }
    }
}
