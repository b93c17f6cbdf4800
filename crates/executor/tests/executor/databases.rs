//! Databases for tests: a file of SQLite's, and a PostgreSQL server of the test's own.

use std::any::Any;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::scene::{PASSWORD, Scene};

/// Who a server runs as when the tests run as root, which it refuses.
const NOBODY: u32 = 65_534;

/// The superuser of a server, of whom executors do not know.
const SUPERUSER_PASSWORD: &str = "superuser";

/// Timeouts that a test can wait for.
pub(crate) const USUAL: &str = "lock_timeout_seconds = 1\nstatement_timeout_seconds = 2";

/// A database that plans run against.
pub(crate) trait Database {
    /// What it is called in the configuration.
    fn name(&self) -> &'static str;

    /// Asks something as somebody who may, and returns the rows, one a line.
    fn ask(&self, sql: &str) -> String;

    /// Holds what the table `held` needs to be changed, until it is dropped.
    fn hold(&self) -> Box<dyn Any>;

    /// A statement that does not end by itself.
    fn endless(&self) -> &'static str;

    /// Returns the names of all tables but the history, one a line.
    fn tables(&self) -> String;

    /// Returns the versions of the history, one a line; nothing when there is none.
    fn history(&self) -> String {
        if self.has_history() {
            self.ask("SELECT version FROM refinery_schema_history ORDER BY version")
        } else {
            String::new()
        }
    }

    fn has_history(&self) -> bool;
}

/// A file of SQLite's.
pub(crate) struct Sqlite(PathBuf);

impl Sqlite {
    pub(crate) fn of(scene: &mut Scene) -> Self {
        Self(scene.path("app.db"))
    }

    fn open(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.0).unwrap()
    }
}

impl Database for Sqlite {
    fn name(&self) -> &'static str {
        "app"
    }

    fn ask(&self, sql: &str) -> String {
        let connection = self.open();
        let mut prepared = connection.prepare(sql).unwrap();
        let rows = prepared.query_map([], |row| {
            let value: rusqlite::types::Value = row.get(0)?;
            Ok(match value {
                rusqlite::types::Value::Text(it) => it,
                rusqlite::types::Value::Integer(it) => it.to_string(),
                it @ (rusqlite::types::Value::Null
                | rusqlite::types::Value::Real(_)
                | rusqlite::types::Value::Blob(_)) => format!("{it:?}"),
            })
        });
        let rows: Result<Vec<_>, _> = rows.unwrap().collect();
        rows.unwrap().join("\n")
    }

    fn hold(&self) -> Box<dyn Any> {
        let connection = self.open();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Box::new(connection)
    }

    fn endless(&self) -> &'static str {
        "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT count(*) FROM n"
    }

    fn tables(&self) -> String {
        self.ask(
            "SELECT name FROM sqlite_schema WHERE type = 'table' \
             AND name NOT IN ('refinery_schema_history', 'sqlite_sequence') ORDER BY name",
        )
    }

    fn has_history(&self) -> bool {
        let count = "SELECT count(*) FROM sqlite_schema WHERE name = 'refinery_schema_history'";
        self.ask(count) == "1"
    }
}

/// A server with one database, whose role `migrator` is an ordinary one.
pub(crate) struct Postgresql {
    folder: tempfile::TempDir,
    programs: PathBuf,
    server: Child,
    port: u16,
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        // At once, with all its processes.
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap_or_default();
        drop(self.server.wait());
    }
}

/// Returns a program of PostgreSQL's, as somebody it accepts, that dies with us.
fn program(programs: &Path, name: &str) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.arg(format!("--reuid={NOBODY}"));
        command.arg(format!("--regid={NOBODY}"));
        command.arg("--clear-groups");
    }
    command
        .args(["--pdeathsig", "QUIT", "--"])
        .arg(programs.join(name))
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/bin:/bin");
    command
}

/// Gives a file to whom the server runs as.
fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Starts a server and waits until it is ready.
fn serve(programs: &Path, data: &Path) -> Child {
    let mut server = program(programs, "postgres")
        .arg("-D")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(server.stderr.take().unwrap());
    let (ready, is_ready) = std::sync::mpsc::channel();
    // Somebody must read on, or the server stands still.
    std::thread::spawn(move || {
        let mut told = String::new();
        for line in log.lines().map_while(Result::ok) {
            told.push_str(&line);
            told.push('\n');
            if line.contains("ready to accept connections") {
                drop(ready.send(Ok(())));
            }
        }
        drop(ready.send(Err(told)));
    });
    let started = is_ready.recv_timeout(crate::scene::PATIENCE).unwrap();
    started.unwrap_or_else(|told| panic!("PostgreSQL did not start: {told}"));
    server
}

/// Returns where the newest PostgreSQL's programs are: Debian has them beside the path.
fn programs() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let debian = debian.flatten().map(|it| it.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<_> = std::env::split_paths(&path).chain(debian).collect();
    let wanted = ["initdb", "postgres", "psql"];
    all.retain(|folder| wanted.iter().all(|it| folder.join(it).is_file()));
    all.sort();
    all.pop()
        .expect("PostgreSQL is not installed (apt install postgresql)")
}

impl Postgresql {
    /// Starts one and tells the scene of it.
    pub(crate) fn of(scene: &mut Scene) -> Self {
        let server = Self::start(None);
        scene
            .more
            .push_str(&server.configured("pg", "migrator", USUAL));
        server
    }

    /// Starts one that is reached by TLS, too, with this certificate and key.
    pub(crate) fn start_with_tls(certificate: &str, key: &str) -> Self {
        Self::start(Some((certificate, key)))
    }

    fn start(tls: Option<(&str, &str)>) -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let own = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, private).unwrap();
            give(&path);
            path
        };
        give(folder.path());
        let password = own("password", SUPERUSER_PASSWORD);
        let data = folder.path().join("data");
        let made = program(&programs, "initdb")
            .arg("--pgdata")
            .arg(&data)
            .arg("--pwfile")
            .arg(&password)
            .args(["--username=postgres", "--auth=scram-sha-256", "--no-sync"])
            .args(["--encoding=UTF8", "--no-locale"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let socket = folder.path().display();
        let mut port = 5_432;
        let network = if let Some((certificate, key)) = tls {
            // Another may take it before the server does; then the server does not start.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            port = free.local_addr().unwrap().port();
            let who = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
            std::fs::write(data.join("pg_hba.conf"), who).unwrap();
            format!(
                "listen_addresses = '127.0.0.1'\nport = {port}\nssl = on\n\
                 ssl_cert_file = '{}'\nssl_key_file = '{}'\n",
                own("server.pem", certificate).display(),
                own("server.key", key).display()
            )
        } else {
            "listen_addresses = ''\n".to_owned()
        };
        let settings = format!(
            "unix_socket_directories = '{socket}'\nfsync = off\nmax_connections = 20\n\
             shared_buffers = 8MB\ndynamic_shared_memory_type = mmap\nlog_min_messages = log\n\
             {network}"
        );
        std::fs::write(data.join("postgresql.conf"), settings).unwrap();
        let server = serve(&programs, &data);
        let server = Self {
            folder,
            programs,
            server,
            port,
        };
        server.ask_in(
            "postgres",
            &format!("CREATE ROLE migrator LOGIN PASSWORD '{PASSWORD}'"),
        );
        server.ask_in("postgres", "CREATE DATABASE app OWNER migrator");
        server
    }

    /// Returns the lines of executor.toml that tell of it.
    pub(crate) fn configured(&self, name: &str, user: &str, more: &str) -> String {
        let folder = self.folder.path().display().to_string();
        self.configured_at(&folder, name, user, more)
    }

    /// The same, by another way to it.
    pub(crate) fn configured_at(&self, host: &str, name: &str, user: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "[actions.run_db_migration_plan.databases.{name}]\nkind = \"postgresql\"\n\
             host = \"{host}\"\nport = {port}\ndatabase = \"app\"\nuser = \"{user}\"\n\
             password = \"DATABASE_PASSWORD\"\n\
             {more}\n"
        )
    }

    fn psql(&self, user: &str, password: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet"])
            .args(["--set", "ON_ERROR_STOP=1"])
            .arg("--host")
            .arg(self.folder.path())
            .args(["--username", user, "--dbname", database])
            .args(["--port", &self.port.to_string()])
            .env_clear()
            .env("PGPASSWORD", password);
        command
    }

    fn ask_in(&self, database: &str, sql: &str) -> String {
        let mut psql = self.psql("postgres", SUPERUSER_PASSWORD, database);
        let output = psql.args(["--command", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Asks as the role that migrates, past the executor; returns whether the server did it.
    pub(crate) fn does(&self, sql: &str) -> bool {
        let mut psql = self.psql("migrator", PASSWORD, "app");
        let output = psql.args(["--command", sql]).output().unwrap();
        output.status.success()
    }

    /// Holds in a transaction what some statement takes, until it is dropped.
    pub(crate) fn hold_by(&self, sql: &str) -> Box<dyn Any> {
        let mut psql = self
            .psql("postgres", SUPERUSER_PASSWORD, "app")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = psql.stdin.take().unwrap();
        writeln!(input, "BEGIN; {sql} SELECT 'it is held';").unwrap();
        let told = BufReader::new(psql.stdout.take().unwrap()).lines();
        assert!(told.map_while(Result::ok).any(|it| it == "it is held"));
        let input = Some(input);
        Box::new(Holding { input, psql })
    }

    /// Returns a file that the server may write.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Database for Postgresql {
    fn name(&self) -> &'static str {
        "pg"
    }

    fn ask(&self, sql: &str) -> String {
        self.ask_in("app", sql)
    }

    fn hold(&self) -> Box<dyn Any> {
        self.hold_by("LOCK TABLE held;")
    }

    fn endless(&self) -> &'static str {
        "SELECT count(*) FROM generate_series(1, 1000000000000)"
    }

    fn tables(&self) -> String {
        self.ask(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' \
             AND tablename <> 'refinery_schema_history' ORDER BY 1",
        )
    }

    fn has_history(&self) -> bool {
        self.ask("SELECT to_regclass('public.refinery_schema_history') IS NOT NULL") == "t"
    }
}

/// A client that holds a lock until its input ends.
struct Holding {
    input: Option<std::process::ChildStdin>,
    psql: Child,
}

impl Drop for Holding {
    fn drop(&mut self) {
        drop(self.input.take());
        // The server has let go of the lock when the client has ended.
        drop(self.psql.wait());
    }
}
