//! What may run on PostgreSQL: listed kinds of statement, by a parser of its own SQL, without the
//! functions that reach files, programs or other servers. The wall behind this one is what the role
//! may do, which is looked at before each plan.

use sqlparser::ast::{
    CreateFunction, CreateFunctionBody, Expr, ObjectType, Statement, Value, ValueWithSpan,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Dialect, Piece, cut, has_odd_characters, is_plain, words};

/// How deep a statement may be nested.
const DEPTH_MAX: usize = 50;

/// Names of PostgreSQL's own that begin like those of its administration and are harmless.
const HARMLESS: [&str; 8] = [
    "pg_catalog",
    "pg_default",
    "pg_get_serial_sequence",
    "pg_lsn",
    "pg_temp",
    "pg_trgm",
    "pg_typeof",
    "pg_column_size",
];

/// Functions that reach files, other servers or settings, or run a text as SQL.
const FORBIDDEN: [&str; 22] = [
    "lo_import",
    "lo_export",
    "set_config",
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "table_to_xml",
    "table_to_xmlschema",
    "schema_to_xml",
    "schema_to_xmlschema",
    "database_to_xml",
    "database_to_xmlschema",
    "database_to_xml_and_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "crosstab",
    "crosstabn",
    "connectby",
    "xpath_table",
    "file_fdw",
];

/// What the body of a function may not hold besides: a text run as SQL cannot be judged.
const FORBIDDEN_IN_BODIES: [&str; 4] = ["execute", "copy", "do", "load"];

/// Extensions that PostgreSQL itself lets ordinary roles make, and that reach nothing outside.
const EXTENSIONS: [&str; 18] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "seg",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
];

/// Judges a statement.
pub(super) fn judge(piece: &Piece<'_>) -> Result<(), &'static str> {
    are_harmless(&piece.tokens)?;
    let statement = parse(&piece.tokens)?;
    is_listed(&statement)
}

fn parse(tokens: &[TokenWithSpan]) -> Result<Statement, &'static str> {
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens.to_vec());
    let statement = parser
        .parse_statement()
        .map_err(|_| "it is not understood, and only what is understood may run")?;
    if parser.peek_token().token == Token::EOF {
        Ok(statement)
    } else {
        Err("it does not end where a statement ends")
    }
}

fn are_harmless(tokens: &[TokenWithSpan]) -> Result<(), &'static str> {
    for word in words(tokens) {
        let is_administration = word.starts_with("pg_") && !HARMLESS.contains(&word.as_str());
        if is_administration || word.starts_with("dblink") || FORBIDDEN.contains(&word.as_str()) {
            return Err("it names what reaches files, programs, other servers or settings");
        }
    }
    Ok(())
}

/// Returns whether a statement is of a kind that may run.
fn is_listed(statement: &Statement) -> Result<(), &'static str> {
    match statement {
        Statement::CreateFunction(it) => may_be_made(it),
        Statement::CreateExtension(it) => {
            let is_known = EXTENSIONS.contains(&it.name.value.as_str());
            is_known
                .then_some(())
                .ok_or("the extension is not a listed one")
        }
        Statement::CreateIndex(it) if it.concurrently => {
            Err("CONCURRENTLY does not run in a transaction, and a plan is one")
        }
        Statement::Drop { object_type, .. } => match object_type {
            ObjectType::Collation
            | ObjectType::Index
            | ObjectType::MaterializedView
            | ObjectType::Schema
            | ObjectType::Sequence
            | ObjectType::Table
            | ObjectType::Type
            | ObjectType::View => Ok(()),
            ObjectType::Database
            | ObjectType::Role
            | ObjectType::Stage
            | ObjectType::Stream
            | ObjectType::User
            | ObjectType::Warehouse => Err("what it drops is not the plan's to drop"),
        },
        // Without an object, it is a role that is granted.
        Statement::Grant(it) if it.objects.is_none() => Err("a plan grants no roles"),
        Statement::Revoke(it) if it.objects.is_none() => Err("a plan revokes no roles"),
        Statement::AlterIndex { .. }
        | Statement::AlterPolicy(_)
        | Statement::AlterSchema(_)
        | Statement::AlterTable(_)
        | Statement::AlterType(_)
        | Statement::AlterView { .. }
        | Statement::Analyze(_)
        | Statement::Comment { .. }
        | Statement::CreateDomain(_)
        | Statement::CreateIndex(_)
        | Statement::CreatePolicy(_)
        | Statement::CreateSchema { .. }
        | Statement::CreateSequence { .. }
        | Statement::CreateTable(_)
        | Statement::CreateTrigger(_)
        | Statement::CreateType { .. }
        | Statement::CreateView(_)
        | Statement::Delete(_)
        | Statement::DropDomain(_)
        | Statement::DropFunction(_)
        | Statement::DropPolicy(_)
        | Statement::DropTrigger(_)
        | Statement::Grant(_)
        | Statement::Insert(_)
        | Statement::Merge(_)
        | Statement::Query(_)
        | Statement::Revoke(_)
        | Statement::Truncate(_)
        | Statement::Update(_) => Ok(()),
        _ => Err("a statement of its kind may not run"),
    }
}

/// Returns whether a function may be made: in a language that is confined, of a body without SQL
/// that is only put together when it runs.
fn may_be_made(function: &CreateFunction) -> Result<(), &'static str> {
    let language = function.language.as_ref().map(|it| it.value.to_lowercase());
    if !matches!(language.as_deref(), Some("sql" | "plpgsql")) {
        return Err("a function is written in sql or plpgsql, and says so");
    }
    let sets = function.set_params.iter();
    let mut sets = sets.map(|it| it.name.to_string().to_lowercase());
    if sets.any(|it| it != "search_path") {
        return Err("a function sets nothing but search_path");
    }
    match &function.function_body {
        Some(
            CreateFunctionBody::AsBeforeOptions {
                body,
                link_symbol: None,
            }
            | CreateFunctionBody::AsAfterOptions(body),
        ) => is_harmless_body(body),
        // The words of an expression are looked at with the statement's.
        Some(CreateFunctionBody::Return(_)) => Ok(()),
        _ => Err("the body of a function is one text"),
    }
}

fn is_harmless_body(body: &Expr) -> Result<(), &'static str> {
    let Expr::Value(ValueWithSpan { value, .. }) = body else {
        return Err("the body of a function is one text");
    };
    let text = match value {
        Value::SingleQuotedString(it) => it,
        Value::DollarQuotedString(it) => &it.value,
        _ => return Err("the body of a function is one text between ' or $"),
    };
    if has_odd_characters(text) {
        return Err("the body of the function has control characters");
    }
    let pieces = cut(text, Dialect::Postgresql).map_err(|(_, why)| why)?;
    for piece in pieces {
        is_plain(&piece.tokens)?;
        are_harmless(&piece.tokens)?;
        if words(&piece.tokens).any(|it| FORBIDDEN_IN_BODIES.contains(&it.as_str())) {
            return Err("the body of a function has no EXECUTE, COPY, DO or LOAD");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::Plan;
    use super::super::{Dialect, Judged};

    fn judge(sql: &str) -> Result<(), String> {
        let plan = Plan::read(format!("-- migration: V1__a\n{sql}").as_bytes());
        let judged = Judged::of(plan.map_err(|it| it.to_string())?, Dialect::Postgresql);
        judged.map(drop).map_err(|it| it[0].to_string())
    }

    const REFUSED: &[&str] = &[
        // Files and programs.
        "COPY t TO PROGRAM 'id'",
        "COPY t FROM PROGRAM 'id'",
        "COPY t TO '/tmp/x'",
        "COPY t FROM '/etc/passwd'",
        "COPY (SELECT 1) TO STDOUT",
        "copy/**/t/**/to/**/program 'id'",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_catalog.lo_export(1, '/tmp/x')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT \"pg_read_file\"('/etc/passwd')",
        "SELECT PG_READ_BINARY_FILE('/etc/passwd')",
        "SELECT * FROM pg_ls_dir('/')",
        "INSERT INTO t SELECT pg_read_file('/etc/passwd')",
        "CREATE TABLE t (a text DEFAULT pg_read_file('/etc/passwd'))",
        "CREATE VIEW v AS SELECT * FROM pg_stat_file('/etc/passwd')",
        "WITH a AS (SELECT pg_read_file('x')) SELECT * FROM a",
        "SELECT U&\"pg\\005fread_file\"('/etc/passwd')",
        "SELECT U&'\\0061'",
        "SELECT * FROM dblink('dbname=x', 'SELECT 1') AS t(a int)",
        "SELECT query_to_xml('COPY t TO PROGRAM ''id''', true, true, '')",
        // Languages and extensions.
        "CREATE EXTENSION plpython3u",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION \"file_fdw\"",
        "CREATE LANGUAGE plpython3u",
        "DO $$ BEGIN NULL; END $$",
        "DO LANGUAGE plpython3u $$ import os $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS $$ return 1 $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/tmp/x.so', 'f'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'pg_read_file'",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'x'; END $$",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE ''x''; END'",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN COPY t TO '/x'; END $$",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT pg_read_file('x') $$",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT U&\"pg\\005fread_file\"('x') $$",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS E'SELECT pg\\137read_file(1)'",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql SET role = 'x' AS $$ SELECT 1 $$",
        "LOAD '/tmp/x.so'",
        // Servers, roles, settings.
        "ALTER SYSTEM SET archive_command = 'id'",
        "CREATE SERVER s FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE t (a int) SERVER s",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET search_path = x",
        "RESET ROLE",
        "SELECT set_config('role', 'postgres', false)",
        "CREATE ROLE x SUPERUSER",
        "ALTER ROLE x SUPERUSER",
        "CREATE USER x",
        "GRANT pg_execute_server_program TO x",
        "GRANT admins TO x",
        "CREATE DATABASE x",
        "DROP DATABASE x",
        "DROP ROLE x",
        "DISCARD ALL",
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()",
        "CREATE RULE r AS ON INSERT TO t DO NOTHING",
        // Transactions.
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "ROLLBACK",
        "END",
        "SAVEPOINT a",
        "PREPARE TRANSACTION 'a'",
        "CALL p()",
        "CREATE INDEX CONCURRENTLY i ON t (a)",
        "VACUUM",
        "LISTEN a",
        "EXPLAIN ANALYZE DELETE FROM t",
        "PREPARE p AS SELECT 1",
        // What two readers understand differently.
        "\\! id",
        "\\copy t from 'x'",
        "SELECT 1 \\gexec",
        "SELECT $1",
        "SELECT /* a /* b */ c */ 1",
        "SELECT E'\\'; COPY t TO PROGRAM ''id'' --'",
        "SELECT 1 -- a\rCOPY t TO PROGRAM 'id'",
        "SELECT\u{b}1",
        "SELECT\u{a0}1",
        "SELECT 1;\u{0}",
        "SELECT a$b$c",
        "SELECT 1 SELECT 2",
        "SELECT 'a",
        "UPDATE refinery_schema_history SET name = 'x'",
        "UPDATE \"Refinery_Schema_History\" SET name = 'x'",
    ];

    #[test]
    fn what_reaches_files_programs_or_servers_is_refused() {
        for sql in REFUSED {
            assert!(judge(sql).is_err(), "{sql}");
            let hidden = format!("CREATE TABLE a (b int);\n/* ; */ -- ;\n{sql};\nSELECT 1;");
            assert!(judge(&hidden).is_err(), "{hidden}");
        }
    }

    #[test]
    fn the_statement_is_told_by_its_number() {
        let told = judge("SELECT ';'; -- ;\n\nCOPY t TO 'x'; SELECT 2").unwrap_err();
        assert!(told.starts_with("statement 2 of V1__a: "), "{told}");
    }

    #[test]
    fn what_migrations_are_made_of_may_run() {
        for sql in [
            "CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, \
             made timestamptz DEFAULT now())",
            "CREATE TABLE m (a int, b date) PARTITION BY RANGE (b)",
            "ALTER TABLE users ADD COLUMN name text, ALTER COLUMN email DROP NOT NULL",
            "ALTER TABLE users ADD CONSTRAINT c CHECK (length(email) > 3) NOT VALID",
            "ALTER TABLE users RENAME COLUMN name TO full_name",
            "CREATE UNIQUE INDEX i ON users USING btree (lower(email)) WHERE name IS NOT NULL",
            "CREATE TYPE mood AS ENUM ('sad', 'ok')",
            "ALTER TYPE mood ADD VALUE 'happy'",
            "CREATE SEQUENCE s START 10",
            "CREATE OR REPLACE VIEW v AS SELECT id, role FROM users",
            "CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM users",
            "CREATE SCHEMA IF NOT EXISTS app",
            "CREATE DOMAIN d AS text CHECK (VALUE <> '')",
            "CREATE EXTENSION IF NOT EXISTS pg_trgm",
            "INSERT INTO users (email) VALUES ('a;b''c'), ('M\u{fc}ller') ON CONFLICT DO NOTHING",
            "UPDATE users SET role = 'copy to program' WHERE id = 1",
            "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
            "DELETE FROM users USING b WHERE b.id = users.id",
            "TRUNCATE a, b",
            "SELECT setval(pg_get_serial_sequence('users', 'id'), 100)",
            "COMMENT ON TABLE users IS 'who'",
            "GRANT SELECT, INSERT ON users TO app",
            "GRANT USAGE ON SCHEMA app TO app",
            "REVOKE ALL ON users FROM public",
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN \
             NEW.made := now(); RETURN NEW; END $body$",
            "CREATE FUNCTION one() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
            "CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()",
            "DROP TRIGGER t ON users",
            "DROP TABLE IF EXISTS a, b CASCADE",
            "DROP FUNCTION touch()",
            "CREATE POLICY p ON users USING (true)",
            "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        ] {
            assert_eq!(judge(sql), Ok(()), "{sql}");
        }
    }
}
