//! Plans of migrations: one contract, kept by SQLite and PostgreSQL alike, and the walls of each.

use palisade_executor::stage::Stage;
use wire::execution::action::DbMigrationPlan;
use wire::execution::reply::{Migrated, Statement};
use wire::execution::{Action, Failure, Receipt, Status, Summary};

use crate::authority::Authority;
use crate::databases::{Database, Postgresql, Sqlite, USUAL};
use crate::scene::{PASSWORD, Running, Scene, posted, word};

const ONE: (&str, &str) = (
    "V1__people",
    "CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL UNIQUE);\n\
     -- one; not two\nCREATE TABLE pets (name text);",
);
const TWO: (&str, &str) = (
    "V2__ada",
    "INSERT INTO people VALUES (1, 'Ada;'), (2, 'Grace');",
);
const THREE: (&str, &str) = ("V3__age", "ALTER TABLE people ADD COLUMN age integer;");

/// How many plans wait for a lock on the server.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND application_name = 'palisade-executor'";

/// Each case, against each database.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $case() {
                let mut scene = crate::scene::Scene::new();
                let database = super::Sqlite::of(&mut scene);
                super::$case(&scene, &database);
            })*
        }
        mod postgresql {
            $(#[test]
            #[ignore = "needs PostgreSQL; ./check runs it"]
            fn $case() {
                let mut scene = crate::scene::Scene::new();
                let database = super::Postgresql::of(&mut scene);
                super::$case(&scene, &database);
            })*
        }
    };
}

cases![
    a_plan_is_applied_once_and_told_in_counts,
    a_longer_plan_goes_on_where_the_shorter_ended,
    a_rehearsal_really_runs_and_leaves_nothing,
    another_history_is_refused,
    a_lock_that_another_holds_is_not_waited_for_without_end,
    a_refused_statement_changes_nothing_and_takes_no_permit,
    a_statement_that_fails_takes_everything_back,
    what_is_put_off_to_the_end_takes_everything_back_there,
    what_is_no_plan_does_not_run,
    a_death_in_any_stage_changes_nothing_in_the_end,
    fifty_duplicates_at_once_are_one_effect,
];

fn run(plan: &DbMigrationPlan) -> Action {
    Action::RunDbMigrationPlan(plan.clone())
}

fn rehearse(plan: &DbMigrationPlan) -> Action {
    Action::RehearseDbMigrationPlan(plan.clone())
}

fn told(receipt: &Receipt) -> Migrated {
    let summary = receipt.summary.clone().unwrap();
    let (Summary::RunDbMigrationPlan(it) | Summary::RehearseDbMigrationPlan(it)) = summary else {
        panic!("{summary:?}");
    };
    it
}

fn apply(scene: &Scene, running: &Running, plan: &DbMigrationPlan) -> Receipt {
    running.execute(&scene.request(run(plan))).receipt()
}

fn a_plan_is_applied_once_and_told_in_counts(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    let plan = scene.plan(database.name(), &[ONE, TWO]);
    let request = scene.request(run(&plan));
    let answer = running.execute(&request);
    let receipt = answer.receipt();
    assert_eq!((receipt.ok, receipt.status), (true, Status::Succeeded));
    let wanted = Migrated {
        database: plan.database.clone(),
        plan: plan.plan,
        taken_back: false,
        applied: 2,
        applied_names: vec![word("V1__people"), word("V2__ada")],
        version: Some(2),
        tables_before: Some(0),
        tables_after: Some(2),
        rows: Some(2),
        stopped: None,
    };
    assert_eq!(told(&receipt), wanted);
    assert_eq!(
        database.ask("SELECT name FROM people ORDER BY id"),
        "Ada;\nGrace"
    );
    assert_eq!(database.history(), "1\n2");
    // Again: the same receipt. With another permit: nothing is left to do.
    assert_eq!(running.execute(&request), answer);
    let again = apply(scene, &running, &plan);
    assert_eq!((again.ok, told(&again).applied), (true, 0));
    assert_eq!(database.ask("SELECT count(*) FROM people"), "2");
    let audit = std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap();
    assert!(!audit.contains("INSERT") && !audit.contains(PASSWORD));
}

fn a_longer_plan_goes_on_where_the_shorter_ended(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    assert!(apply(scene, &running, &scene.plan(database.name(), &[ONE])).ok);
    let longer = scene.plan(database.name(), &[ONE, TWO, THREE]);
    let receipt = apply(scene, &running, &longer);
    let names = vec![word("V2__ada"), word("V3__age")];
    assert_eq!(told(&receipt).applied_names, names);
    assert_eq!(database.ask("SELECT count(age) FROM people"), "0");
    assert_eq!(database.history(), "1\n2\n3");
}

fn a_rehearsal_really_runs_and_leaves_nothing(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    let plan = scene.plan(database.name(), &[ONE, TWO]);
    let receipt = running.execute(&scene.request(rehearse(&plan))).receipt();
    let it = told(&receipt);
    assert!(receipt.ok && it.taken_back);
    let counts = (it.applied, it.tables_before, it.tables_after, it.rows);
    assert_eq!(counts, (2, Some(0), Some(2), Some(2)));
    assert_eq!(it.version, None);
    assert_eq!(database.tables(), "");
    assert!(!database.has_history());
    // It tells what would go wrong, too.
    let bad = ("V2__bad", "INSERT INTO people VALUES (1, NULL)");
    let plan = scene.plan(database.name(), &[ONE, bad]);
    let receipt = running.execute(&scene.request(rehearse(&plan))).receipt();
    assert_eq!(receipt.failure, Some(Failure::ConstraintViolated));
    assert_eq!(database.tables(), "");
    // And with what a rehearsal runs on, nothing is applied.
    let mut request = scene.request(rehearse(&plan));
    request.action = run(&plan);
    request.lane = run(&plan).kind().lane();
    assert_eq!(running.execute(&request).code(), "permit_required");
}

fn another_history_is_refused(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    assert!(apply(scene, &running, &scene.plan(database.name(), &[ONE, TWO])).ok);
    let other = ("V2__ada", "INSERT INTO people VALUES (3, 'Eve');");
    let renamed = ("V2__eve", TWO.1);
    let late = ("V1__late", "CREATE TABLE late (a integer);");
    for migrations in [
        &[ONE, other, THREE][..],
        &[ONE, renamed, THREE],
        &[ONE, THREE],
        &[TWO, THREE],
        &[ONE],
        &[late, TWO],
    ] {
        let plan = scene.plan(database.name(), migrations);
        for action in [run(&plan), rehearse(&plan)] {
            let answer = running.execute(&scene.request(action));
            assert_eq!(answer.code(), "history_diverged", "{migrations:?}");
        }
    }
    assert_eq!(database.tables(), "people\npets");
    assert_eq!(database.history(), "1\n2");
}

fn a_lock_that_another_holds_is_not_waited_for_without_end(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    let first = ("V1__held", "CREATE TABLE held (a integer);");
    assert!(apply(scene, &running, &scene.plan(database.name(), &[first])).ok);
    let second = (
        "V2__more",
        "CREATE TABLE more (a integer); ALTER TABLE held ADD COLUMN b text;",
    );
    let plan = scene.plan(database.name(), &[first, second]);
    let held = database.hold();
    let receipt = apply(scene, &running, &plan);
    assert_eq!(
        (receipt.status, receipt.failure),
        (Status::Failed, Some(Failure::LockTimeout))
    );
    assert!(told(&receipt).taken_back);
    drop(held);
    assert_eq!(database.tables(), "held");
    assert_eq!(database.history(), "1");
    assert!(apply(scene, &running, &plan).ok);
    assert_eq!(database.tables(), "held\nmore");
}

fn a_refused_statement_changes_nothing_and_takes_no_permit(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    for sql in [
        "ATTACH DATABASE '/tmp/x' AS x",
        "COPY people TO PROGRAM 'id'",
        "COMMIT",
        "BEGIN",
        "\\! id",
        "DELETE FROM refinery_schema_history",
        "SELECT load_extension('x')",
        "VACUUM INTO '/tmp/x'",
    ]
    .into_iter()
    .filter(|it| database.name() == "app" || !it.contains("load_extension"))
    {
        let plan = scene.plan(database.name(), &[ONE, ("V2__bad", sql)]);
        let request = scene.request(run(&plan));
        // Nothing was begun, so the same request is refused for the same reason again.
        for _ in 0..2 {
            assert_eq!(
                running.execute(&request).code(),
                "statement_refused",
                "{sql}"
            );
        }
    }
    assert_eq!(database.tables(), "");
    assert!(!database.has_history());
}

fn a_statement_that_fails_takes_everything_back(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    let planted = "INSERT INTO pets VALUES ('x');\nINSERT INTO people VALUES (7, 'planted-data'), \
                   (7, 'planted-data');";
    for (sql, failure, number) in [
        (planted, Failure::ConstraintViolated, 2),
        (
            "INSERT INTO missing VALUES (1)",
            Failure::StatementFailed,
            1,
        ),
        (database.endless(), Failure::TimedOut, 1),
    ] {
        let plan = scene.plan(database.name(), &[ONE, ("V2__bad", sql), THREE]);
        let answer = running.execute(&scene.request(run(&plan)));
        let receipt = answer.receipt();
        assert_eq!(
            (receipt.status, receipt.failure),
            (Status::Failed, Some(failure)),
            "{sql}"
        );
        let it = told(&receipt);
        let migration = word("V2__bad");
        let statement = number;
        assert_eq!(
            it.stopped,
            Some(Statement {
                migration,
                statement
            })
        );
        assert!(it.taken_back && it.tables_after.is_none() && it.version.is_none());
        assert!(!answer.text.contains("planted-data") && !answer.text.contains("missing"));
        assert_eq!(database.tables(), "");
        assert!(!database.has_history());
    }
    let audit = std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap();
    assert!(!audit.contains("planted-data"));
}

fn what_is_put_off_to_the_end_takes_everything_back_there(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    let late = (
        "V2__late",
        "CREATE TABLE toys (owner integer REFERENCES people (id) DEFERRABLE INITIALLY DEFERRED);\n\
         INSERT INTO toys VALUES (7);",
    );
    let mended = ("V3__mended", "INSERT INTO people VALUES (7, 'Eve');");
    let bad = scene.plan(database.name(), &[ONE, late]);
    for action in [rehearse(&bad), run(&bad)] {
        let receipt = running.execute(&scene.request(action)).receipt();
        assert_eq!(receipt.failure, Some(Failure::ConstraintViolated));
        let it = told(&receipt);
        assert!(it.taken_back && it.stopped.is_none());
        assert_eq!(database.tables(), "");
    }
    let good = scene.plan(database.name(), &[ONE, late, mended]);
    for action in [rehearse(&good), run(&good)] {
        assert_eq!(database.tables(), "");
        assert!(running.execute(&scene.request(action)).receipt().ok);
    }
    assert_eq!(database.tables(), "people\npets\ntoys");
}

fn what_is_no_plan_does_not_run(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    let ask = |plan: &DbMigrationPlan| running.execute(&scene.request(run(plan))).code();
    let huge = format!("{};{}", ONE.1, " ".repeat(4 << 20));
    assert_eq!(
        ask(&scene.plan(database.name(), &[("V1__huge", &huge)])),
        "plan_invalid"
    );
    assert_eq!(
        ask(&scene.plan(database.name(), &[("up", ONE.1)])),
        "plan_invalid"
    );
    assert_eq!(ask(&scene.plan(database.name(), &[])), "plan_invalid");
    assert_eq!(ask(&scene.plan("other", &[ONE])), "not_allowed");
    let plan = scene.plan(database.name(), &[ONE]);
    let file = scene
        .path("plans")
        .join(plan.plan.to_string().replace("b3:", ""));
    std::fs::write(&file, "-- migration: V1__other\nDROP TABLE people;\n").unwrap();
    assert_eq!(ask(&plan), "artifact_mismatch");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask(&plan), "artifact_missing");
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert_eq!(ask(&plan), "artifact_missing");
    assert_eq!(database.tables(), "");
}

fn a_death_in_any_stage_changes_nothing_in_the_end(scene: &Scene, database: &dyn Database) {
    let mut migrations = Vec::new();
    let names: Vec<_> = (1..=5).map(|it| format!("V{it}__t{it}")).collect();
    let texts: Vec<_> = (1..=5)
        .map(|it| format!("CREATE TABLE t{it} (a integer);"))
        .collect();
    for (stage, (name, text)) in Stage::ALL.into_iter().zip(names.iter().zip(&texts)) {
        // What did not happen in the stage before is not in the history, so not in the plan.
        migrations.push((name.as_str(), text.as_str()));
        let plan = scene.plan(database.name(), &migrations);
        let request = scene.request(run(&plan));
        let mut running = scene.start_halting(stage.name());
        std::thread::scope(|scope| {
            let socket = running.socket.clone();
            let body = request.value().to_string();
            scope.spawn(move || {
                use std::io::{Read as _, Write as _};
                let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
                stream.write_all(&posted(body.as_bytes())).unwrap();
                // Nothing comes back from who is dead.
                drop(stream.read_to_end(&mut Vec::new()));
            });
            assert_eq!(running.says(), stage.name());
            running.kill();
        });
        let table = &name[4..];
        let is_there = || database.tables().lines().any(|it| it == table);
        let running = scene.start();
        let receipt = running.execute(&request).receipt();
        let told_of = (
            receipt.status,
            receipt.failure,
            receipt.is_reconciled,
            is_there(),
        );
        let wanted = match stage {
            // Nothing had been begun: the same request is carried out now.
            Stage::Received | Stage::Judged => (Status::Succeeded, None, false, true),
            // It had been begun, and the history shows that nothing of it happened.
            Stage::Recorded => (Status::Failed, Some(Failure::NotPerformed), true, false),
            // It had happened, and the history shows it.
            Stage::Performed => (Status::Succeeded, None, true, true),
            Stage::Settled => (Status::Succeeded, None, false, true),
        };
        assert_eq!(told_of, wanted, "{}", stage.name());
        if stage == Stage::Recorded {
            migrations.pop();
        } else {
            let it = told(&receipt);
            assert_eq!(it.applied_names, vec![word(name)], "{}", stage.name());
        }
    }
}

fn fifty_duplicates_at_once_are_one_effect(scene: &Scene, database: &dyn Database) {
    let running = scene.start();
    let plan = scene.plan(database.name(), &[ONE, TWO]);
    let request = scene.request(run(&plan));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| running.execute(&request)))
            .collect();
        senders.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(answers[0].receipt().ok);
    assert!(answers.iter().all(|it| *it == answers[0]));
    assert_eq!(database.ask("SELECT count(*) FROM people"), "2");
}

#[test]
#[ignore = "needs PostgreSQL; ./check runs it"]
fn a_role_that_may_reach_files_or_programs_runs_no_plan() {
    let mut scene = Scene::new();
    let server = Postgresql::of(&mut scene);
    let running = scene.start();
    let plan = scene.plan("pg", &[ONE]);
    let ask = || running.execute(&scene.request(run(&plan))).code();
    for (give, take) in [
        (
            "ALTER ROLE migrator SUPERUSER",
            "ALTER ROLE migrator NOSUPERUSER",
        ),
        (
            "ALTER ROLE migrator CREATEROLE",
            "ALTER ROLE migrator NOCREATEROLE",
        ),
        (
            "ALTER ROLE migrator REPLICATION",
            "ALTER ROLE migrator NOREPLICATION",
        ),
        (
            "GRANT pg_execute_server_program TO migrator",
            "REVOKE pg_execute_server_program FROM migrator",
        ),
        (
            "GRANT pg_read_server_files TO migrator",
            "REVOKE pg_read_server_files FROM migrator",
        ),
        (
            "GRANT pg_write_server_files TO migrator",
            "REVOKE pg_write_server_files FROM migrator",
        ),
        // Not its own, and not inherited: it could still become the other.
        (
            "CREATE ROLE strong SUPERUSER; ALTER ROLE migrator NOINHERIT; GRANT strong TO migrator",
            "REVOKE strong FROM migrator; ALTER ROLE migrator INHERIT",
        ),
        (
            "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO migrator",
            "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM migrator",
        ),
        (
            "GRANT EXECUTE ON FUNCTION lo_export(oid, text) TO migrator",
            "REVOKE EXECUTE ON FUNCTION lo_export(oid, text) FROM migrator",
        ),
    ] {
        server.ask(give);
        assert_eq!(ask(), "role_too_strong", "{give}");
        assert_eq!(server.tables(), "");
        server.ask(take);
    }
    assert!(apply(&scene, &running, &plan).ok);
}

#[test]
#[ignore = "needs PostgreSQL; ./check runs it"]
fn nothing_reaches_the_servers_files_and_without_the_walls_it_does() {
    let mut scene = Scene::new();
    let server = Postgresql::of(&mut scene);
    let running = scene.start();
    let tricks = |file: &str| {
        [
            format!("COPY (SELECT 1) TO PROGRAM 'cat > {file}'"),
            format!("COPY (SELECT 1) TO '{file}'"),
            format!("cOpY/* */(SELECT 1)\n-- ;\nTO/**/'{file}'"),
            format!("SELECT lo_export(4711, '{file}')"),
            format!("SELECT \"lo_export\"(4711, $a${file}$a$)"),
            format!("SELECT U&\"lo\\005fexport\"(4711, '{file}')"),
            format!("DO $x$ BEGIN EXECUTE 'COPY (SELECT 1) TO ''{file}'''; END $x$"),
            format!(
                "DO $$ BEGIN EXECUTE 'CO' || 'PY (SELECT 1) TO PROGRAM ''cat > {file}'''; END $$"
            ),
            format!("SELECT E'\\''; COPY (SELECT 1) TO '{file}' --'"),
            format!("SELECT query_to_xml('SELECT lo_export(4711, ''{file}'')', true, true, '')"),
        ]
    };
    server.ask("SELECT lo_from_bytea(4711, 'x')");
    let file = server.file("reached");
    for trick in tricks(&file.display().to_string()) {
        let plan = scene.plan("pg", &[ONE, ("V2__trick", &trick)]);
        let code = running.execute(&scene.request(run(&plan))).code();
        assert_eq!(code, "statement_refused", "{trick}");
        // The wall behind it: the role may not, even if nobody had read the statement.
        assert!(!server.does(&trick), "{trick}");
        assert!(!file.exists(), "{trick}");
        // The control: the very same statement reaches the file where there are no walls.
        server.ask(&trick);
        assert!(file.exists(), "{trick}");
        std::fs::remove_file(&file).unwrap();
    }
    assert_eq!(server.tables(), "");
}

#[test]
#[ignore = "needs PostgreSQL; ./check runs it"]
fn two_plans_never_run_at_once_and_none_drops_its_history() {
    let mut scene = Scene::new();
    let server = Postgresql::of(&mut scene);
    let running = scene.start();
    let plan = scene.plan("pg", &[ONE]);
    let held = server.hold_by("SELECT pg_advisory_xact_lock(x'70616c6973616465'::bigint);");
    let receipt = apply(&scene, &running, &plan);
    assert_eq!(receipt.failure, Some(Failure::LockTimeout));
    drop(held);
    assert!(apply(&scene, &running, &plan).ok);
    for (sql, failure) in [
        (
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public;",
            Failure::StatementFailed,
        ),
        (
            "ALTER SCHEMA public RENAME TO old; CREATE SCHEMA public;",
            Failure::StatementFailed,
        ),
        (
            "CREATE TABLE pg_catalog.x (a integer)",
            Failure::TargetRefused,
        ),
    ] {
        let plan = scene.plan("pg", &[ONE, ("V2__bad", sql)]);
        let receipt = apply(&scene, &running, &plan);
        assert_eq!(receipt.failure, Some(failure), "{sql}");
        assert_eq!(
            (server.tables(), server.history()),
            ("people\npets".to_owned(), "1".to_owned())
        );
    }
}

#[test]
#[ignore = "needs PostgreSQL; ./check runs it"]
fn a_wrong_password_or_no_server_is_no_reason_to_say_more() {
    let mut scene = Scene::new();
    let server = Postgresql::of(&mut scene);
    let nowhere = server.configured_at("/nonexistent", "nowhere", "migrator", USUAL);
    let nobody = server.configured("nobody", "nobody", USUAL);
    scene.more.push_str(&(nowhere + &nobody));
    let running = scene.start();
    for name in ["nowhere", "nobody"] {
        let answer = running.execute(&scene.request(run(&scene.plan(name, &[ONE]))));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "unavailable")
        );
        assert!(!answer.text.contains("nobody") && !answer.text.contains(PASSWORD));
    }
}

#[test]
#[ignore = "needs PostgreSQL; ./check runs it"]
fn a_death_in_the_middle_of_a_statement_is_told_when_the_server_is_through_with_it() {
    let mut scene = Scene::new();
    let server = Postgresql::of(&mut scene);
    let patient = "lock_timeout_seconds = 120\nstatement_timeout_seconds = 120";
    let patient = server.configured("patient", "migrator", patient);
    scene.more.push_str(&patient);
    let running = scene.start();
    let first = ("V1__held", "CREATE TABLE held (a integer);");
    assert!(apply(&scene, &running, &scene.plan("patient", &[first])).ok);
    let second = (
        "V2__more",
        "CREATE TABLE more (a integer); ALTER TABLE held ADD COLUMN b text;",
    );
    let plan = scene.plan("patient", &[first, second]);
    let request = scene.request(run(&plan));
    let held = server.hold();
    std::thread::scope(|scope| {
        let socket = running.socket.clone();
        let body = request.value().to_string();
        scope.spawn(move || {
            use std::io::{Read as _, Write as _};
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.write_all(&posted(body.as_bytes())).unwrap();
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let end = std::time::Instant::now() + crate::scene::PATIENCE;
        while server.ask(WAITING) != "1" {
            assert!(std::time::Instant::now() < end, "it never came to wait");
        }
        running.kill();
    });
    // The lock is held still, and with it what the dead one had asked for.
    let running = scene.start();
    assert_eq!(server.ask(WAITING), "0");
    let receipt = running.execute(&request).receipt();
    assert_eq!(
        (receipt.status, receipt.failure, receipt.is_reconciled),
        (Status::Failed, Some(Failure::NotPerformed), true)
    );
    drop(held);
    assert_eq!(
        (server.tables(), server.history()),
        ("held".to_owned(), "1".to_owned())
    );
    assert!(apply(&scene, &running, &plan).ok);
}

#[test]
#[ignore = "needs PostgreSQL; ./check runs it"]
fn another_machine_is_reached_by_tls_and_by_its_authority_alone() {
    let mut scene = Scene::new();
    let (right, wrong) = (Authority::new(), Authority::new());
    let own = right.issues();
    let server = Postgresql::start_with_tls(&own.pem, &own.key.serialize_pem());
    for (name, authority) in [("right", &right), ("wrong", &wrong)] {
        let file = scene.path(&format!("{name}.pem"));
        std::fs::write(&file, authority.0.pem()).unwrap();
        let settings = format!("authority = \"{}\"\n{USUAL}", file.display());
        scene
            .more
            .push_str(&server.configured_at("localhost", name, "migrator", &settings));
    }
    let bare = server.configured_at("127.0.0.1", "bare", "migrator", USUAL);
    scene.more.push_str(&bare);
    let running = scene.start();
    let ask = |name| running.execute(&scene.request(run(&scene.plan(name, &[ONE]))));
    assert_eq!(ask("wrong").code(), "unavailable");
    // The server takes none without TLS.
    assert_eq!(ask("bare").code(), "unavailable");
    assert_eq!(server.tables(), "");
    assert!(ask("right").receipt().ok);
    assert_eq!(server.tables(), "people\npets");
    running.kill();
    let other = server.configured_at("db.example.org", "other", "migrator", USUAL);
    scene.more.push_str(&other);
    scene.configure();
    assert!(
        scene
            .refusal_to_start()
            .contains("db.example.org is another machine")
    );
}
