//! A scene: a folder with everything an executor needs, the program, and a client of it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::egress::Verdict;
use domain::tree::Commit;
use domain::{Digest, ExecutionId, GrantId, PermitId, Timestamp};
use palisade_executor::audit::{self, Entry, Line};
use serde_json::Value;
use wire::execution::action::{
    DbMigrationPlan, DeployStaging, PublishChange, PullRequest, RunTests,
};
use wire::execution::approval::{Open, Version};
use wire::execution::{
    Action, Approval, Code, Envelope, Grant, Kind, Permit, Receipt, Request, SigningKey, Word,
};

/// How long a test waits before it calls something stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const REQUESTER: &str = "service:engine";
/// The password of the role that migrates.
pub(crate) const PASSWORD: &str = "planted-Database-Password-0123456789";
pub(crate) const SECRET: &str = "planted-Deploy-Token-0123456789";

const HOUR: u64 = 3_600_000;

/// What deploys here: takes a note of each run, then does what it is told by its arguments.
const DEPLOY: &str = r#"#!/bin/sh
echo run >> "$TARGET/runs"
echo "token is $TOKEN"
test "$1" = fail && exit 3
cp "$ARTIFACT" "$TARGET/app"
test "$1" = forget || echo "$VERSION" > "$TARGET/released"
"#;

/// What tests here: leaves a report.
const SUITE: &str = r#"#!/bin/sh
case "$1" in
  green) body='<testcase name="a"/><testcase name="b"/>'; code=0 ;;
  red) body='<testcase name="a"/><testcase classname="c" name="b"><failure/></testcase>'; code=1 ;;
  leak) body="<testcase name=\"$TOKEN\"><failure/></testcase>"; code=1 ;;
  silent) exit 1 ;;
esac
echo "$TOKEN"
echo "<t>$body</t>" > /out/report.xml
exit $code
"#;

pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: SigningKey,
    /// What is appended to the configuration.
    pub(crate) more: String,
    /// What further values may be asked for.
    pub(crate) more_keys: String,
    /// What `[secrets]` says.
    pub(crate) secrets: String,
    /// The executor's own environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) limits: String,
    pub(crate) deploy_mode: &'static str,
    /// What is appended to how it deploys.
    pub(crate) deploy_more: String,
    /// What is pushed to; the repository here if nothing is said.
    pub(crate) remote: String,
    /// Where latencies come from; a file here if nothing is said.
    pub(crate) latency: String,
    pub(crate) uid: u32,
    next: std::sync::atomic::AtomicU64,
}

pub(crate) struct Running {
    child: Child,
    pub(crate) socket: PathBuf,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// The first line, after `ready`.
    pub(crate) address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn word(text: &str) -> Word {
    text.parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "an approval is for now")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs git in a folder, away from whatever the tester has configured.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@example.org"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a@example.org"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn git_program() -> PathBuf {
    std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|it| it.join("git"))
        .find(|it| it.is_file())
        .unwrap()
        .canonicalize()
        .unwrap()
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["artifacts", "plans", "staging", "tree", "state"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(at("state"), private).unwrap();
        write(&at("deploy"), DEPLOY, 0o755);
        write(&at("suite"), SUITE, 0o755);
        write(&at("revoked"), "# identifiers, one a line\n", 0o644);
        write(
            &at("values.toml"),
            "HOST = \"db.staging\"\nPLAIN = \"yes\"\n",
            0o644,
        );
        write(&at("TOKEN"), SECRET, 0o600);
        write(&at("DATABASE_PASSWORD"), PASSWORD, 0o600);
        write(&at("app.db"), "", 0o600);
        git(folder.path(), &["init", "-q", "--bare", "source.git"]);
        git(folder.path(), &["init", "-q", "--bare", "forge.git"]);
        Self {
            folder,
            key: SigningKey::from_seed(&[1; 32]).unwrap(),
            more: String::new(),
            more_keys: String::new(),
            secrets: "TOKEN = \"credential\"\nDATABASE_PASSWORD = \"credential\"".to_owned(),
            env: Vec::new(),
            limits: String::new(),
            deploy_mode: "well",
            deploy_more: String::new(),
            remote: String::new(),
            latency: String::new(),
            uid: rustix::process::geteuid().as_raw(),
            next: std::sync::atomic::AtomicU64::new(1),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        let pin = |path: &Path| digest(&std::fs::read(path).unwrap());
        let git = git_program();
        let suite = |name: &str| {
            format!(
                "[actions.run_tests.suites.{name}]\nprogram = \"suite\"\narguments = [\"{name}\"]\n\
                 folder = \"{}\"\nsecrets = {{ TOKEN = \"TOKEN\" }}\n",
                at("tree")
            )
        };
        let (uid, public) = (self.uid, self.key.verifying().written());
        format!(
            "target = \"staging\"\nstate = \"{state}\"\nrevoked = \"{revoked}\"\n\
             [limits]\n{limits}\n\
             [[peers]]\nprincipal = \"{REQUESTER}\"\nuid = {uid}\n\
             [[keys]]\nprincipal = \"operator:ada\"\nkey = \"{public}\"\n\
             [secrets]\n{secrets}\n\
             [programs.deploy]\npath = \"{deploy}\"\ndigest = \"{deploy_digest}\"\n\
             [programs.suite]\npath = \"{suite_path}\"\ndigest = \"{suite_digest}\"\n\
             [programs.git]\npath = \"{git}\"\ndigest = \"{git_digest}\"\n\
             [actions.deploy_staging]\nprogram = \"deploy\"\narguments = [\"{mode}\"]\n\
             secrets = {{ TOKEN = \"TOKEN\" }}\nartifacts = \"{artifacts}\"\nfolder = \"{staging}\"\n\
             released = \"released\"\nurl_id = \"staging-web\"\n{deploy_more}\n\
             [actions.publish_change]\nprogram = \"git\"\nsource = \"{source}\"\n\
             namespace = \"agents/palisade\"\nremotes = {{ forge = {remote} }}\n\
             [actions.get_staging_config_values]\nfile = \"{values}\"\n\
             keys = {{ HOST = \"value\", PORT = \"value\", TOKEN = {{ secret = \"TOKEN\" }}{more_keys} }}\n\
             [actions.fetch_metrics_summary]\ngroups_min = 2\n\
             metrics = {{ latency = {latency} }}\n\
             [actions.run_db_migration_plan]\nplans = \"{plans}\"\n\
             [actions.run_db_migration_plan.databases.app]\nkind = \"sqlite\"\nfile = \"{app}\"\n\
             lock_timeout_seconds = 1\nstatement_timeout_seconds = 2\n\
             {green}{red}{leak}{silent}{more}",
            plans = at("plans"),
            app = at("app.db"),
            state = at("state"),
            revoked = at("revoked"),
            limits = self.limits,
            secrets = self.secrets,
            more_keys = self.more_keys,
            deploy = at("deploy"),
            deploy_digest = pin(&self.path("deploy")),
            suite_path = at("suite"),
            suite_digest = pin(&self.path("suite")),
            git = git.display(),
            git_digest = pin(&git),
            mode = self.deploy_mode,
            artifacts = at("artifacts"),
            staging = at("staging"),
            source = at("source.git"),
            deploy_more = self.deploy_more,
            remote = if self.remote.is_empty() {
                format!("\"{}\"", at("forge.git"))
            } else {
                self.remote.clone()
            },
            values = at("values.toml"),
            latency = if self.latency.is_empty() {
                format!("{{ file = \"{}\" }}", at("latency.ndjson"))
            } else {
                self.latency.clone()
            },
            green = suite("green"),
            red = suite("red"),
            leak = suite("leak"),
            silent = suite("silent"),
            more = self.more,
        )
    }

    pub(crate) fn configure(&self) {
        write(&self.path("executor.toml"), &self.config(), 0o644);
    }

    /// Starts the product.
    pub(crate) fn start(&self) -> Running {
        self.configure();
        self.start_as_it_is()
    }

    /// Starts the product with what `executor.toml` says already.
    pub(crate) fn start_as_it_is(&self) -> Running {
        let program = env!("CARGO_BIN_EXE_palisade-executor");
        self.spawn(Command::new(program))
    }

    /// Starts the program that stands still at a stage.
    pub(crate) fn start_halting(&self, stage: &str) -> Running {
        self.configure();
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-executor-halting"));
        command.arg0(stage);
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Running {
        let socket = self.path("executor.sock");
        let mut child = command
            .args(["serve", "--config"])
            .arg(self.path("executor.toml"))
            .arg("--socket")
            .arg(&socket)
            .env_clear()
            .env("CREDENTIALS_DIRECTORY", self.folder.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(Ok(ready)) = lines.next() else {
            let mut told = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut told)
                .unwrap();
            panic!("it did not start: {told}");
        };
        let address = ready.strip_prefix("ready").unwrap().trim().to_owned();
        Running {
            child,
            socket,
            lines,
            address,
        }
    }

    /// Tries to start the product, and returns what it says when it does not.
    pub(crate) fn refusal_to_start(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_palisade-executor"))
            .args(["serve", "--config"])
            .arg(self.path("executor.toml"))
            .arg("--socket")
            .arg(self.path("executor.sock"))
            .env_clear()
            .env("CREDENTIALS_DIRECTORY", self.folder.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn policy(&self) -> Digest {
        digest(self.config().as_bytes())
    }

    /// Returns bits that no other identifier of this scene has.
    pub(crate) fn bits(&self) -> u128 {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        u128::from(next)
    }

    pub(crate) fn permit(&self, action: &Action) -> Permit {
        Permit {
            version: Version::One,
            permit_id: PermitId::from_bits(self.bits()),
            action: action.kind(),
            arguments: action.digest(),
            subject: action.subject(),
            lane: action.kind().lane(),
            target: word("staging"),
            policy: self.policy(),
            author: "agent:claude".to_owned(),
            requester: REQUESTER.to_owned(),
            approver: "operator:ada".to_owned(),
            open: Open::default(),
            not_before: Timestamp(now().0 - HOUR),
            expires: Timestamp(now().0 + HOUR),
        }
    }

    pub(crate) fn grant(&self) -> Grant {
        Grant {
            version: Version::One,
            grant_id: GrantId::from_bits(self.bits()),
            actions: Kind::ALL
                .into_iter()
                .filter(|it| !it.needs_permit())
                .collect(),
            targets: BTreeSet::from([word("staging")]),
            policy: self.policy(),
            requester: REQUESTER.to_owned(),
            approver: "operator:ada".to_owned(),
            not_before: Timestamp(now().0 - HOUR),
            expires: Timestamp(now().0 + HOUR),
            uses_max: 100,
        }
    }

    /// Returns a request with what it needs.
    pub(crate) fn request(&self, action: Action) -> Request {
        let approval = if action.kind().needs_permit() {
            Approval::Permit(self.permit(&action))
        } else {
            Approval::Grant(self.grant())
        };
        self.with(action, approval.seal(&self.key))
    }

    pub(crate) fn with(&self, action: Action, approval: Envelope) -> Request {
        Request {
            request_id: ExecutionId::from_bits(self.bits()),
            lane: action.kind().lane(),
            target: word("staging"),
            approval: Some(approval),
            action,
        }
    }

    /// Puts an artifact where it is looked for, and returns the action that deploys it.
    pub(crate) fn deploy(&self, text: &str) -> Action {
        let artifact = digest(text.as_bytes());
        let name = artifact.to_string().replace("b3:", "");
        write(&self.path("artifacts").join(name), text, 0o644);
        Action::DeployStaging(DeployStaging { artifact })
    }

    /// Makes a commit in the source, after a parent if there is one.
    pub(crate) fn commit(&self, text: &str, parent: Option<&Commit>) -> Commit {
        let source = self.path("source.git");
        let tree = git(&source, &["hash-object", "-w", "-t", "tree", "/dev/null"]);
        let mut arguments = vec!["commit-tree", "-m", text, &tree];
        if let Some(parent) = parent {
            arguments.extend(["-p", parent.as_str()]);
        }
        git(&source, &arguments).parse().unwrap()
    }

    pub(crate) fn publish(&self, commit: &Commit, expected: Option<&Commit>) -> Action {
        Action::PublishChange(PublishChange {
            remote: word("forge"),
            branch: word("fix"),
            commit: commit.clone(),
            expected: expected.cloned(),
            pull_request: None,
        })
    }

    /// Puts a plan where it is looked for, and returns what names it.
    pub(crate) fn plan(&self, database: &str, migrations: &[(&str, &str)]) -> DbMigrationPlan {
        let text: String = migrations
            .iter()
            .map(|(name, sql)| format!("-- migration: {name}\n{sql}\n"))
            .collect();
        let plan = digest(text.as_bytes());
        let name = plan.to_string().replace("b3:", "");
        write(&self.path("plans").join(name), &text, 0o644);
        let database = word(database);
        DbMigrationPlan { database, plan }
    }

    /// The same, with a pull request afterwards.
    pub(crate) fn propose(&self, commit: &Commit, expected: Option<&Commit>) -> Action {
        let Action::PublishChange(mut asked) = self.publish(commit, expected) else {
            panic!("another action");
        };
        asked.pull_request = Some(PullRequest {
            base: word("main"),
            title: "Refuse empty passwords".parse().unwrap(),
            text: "As was asked.\n\nWith `$(a)` test.".parse().unwrap(),
        });
        Action::PublishChange(asked)
    }

    pub(crate) fn test(&self, suite: &str) -> Action {
        Action::RunTests(RunTests { suite: word(suite) })
    }

    /// Returns how often the deploying program has run.
    pub(crate) fn runs(&self) -> usize {
        let runs = std::fs::read_to_string(self.path("staging").join("runs"));
        runs.map_or(0, |it| it.lines().count())
    }

    /// Returns the verified audit.
    pub(crate) fn audit(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        audit::read(&self.path("state/audit.jsonl"), &mut |it| lines.push(it)).unwrap();
        lines
    }

    /// Returns what was reached, or wanted to be: each with what became of it.
    pub(crate) fn reached(&self) -> Vec<(u16, Verdict)> {
        let all = self.audit().into_iter().filter_map(|it| match it.entry {
            Entry::Reached { connections, .. } => Some(connections),
            Entry::Started { .. }
            | Entry::Refused(_)
            | Entry::Intent(_)
            | Entry::Settled(_)
            | Entry::Incident { .. }
            | Entry::Torn { .. } => None,
        });
        all.flatten().map(|it| (it.port, it.verdict)).collect()
    }

    /// Returns the codes of all refusals on record.
    pub(crate) fn refusals(&self) -> Vec<Code> {
        let codes = self.audit().into_iter().filter_map(|it| match it.entry {
            Entry::Refused(it) => Some(it.code),
            Entry::Started { .. }
            | Entry::Reached { .. }
            | Entry::Intent(_)
            | Entry::Settled(_)
            | Entry::Incident { .. }
            | Entry::Torn { .. } => None,
        });
        codes.collect()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn receipt(&self) -> Receipt {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_value(self.value()).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        let value = self.value();
        value["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Running {
    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes as they are and returns the answer; none when the connection just ends.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        // Who is turned away in the middle hears so all the same.
        drop(stream.write_all(bytes));
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all));
        answer(&all)
    }

    pub(crate) fn post(&self, body: &[u8]) -> Answer {
        self.raw(&posted(body)).unwrap()
    }

    pub(crate) fn execute(&self, request: &Request) -> Answer {
        self.post(request.value().to_string().as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        self.raw(head.as_bytes()).unwrap()
    }

    /// Waits until it says a line.
    pub(crate) fn says(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Kills it as the kernel does: at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn posted(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /execute HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn answer(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, text) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let text = text.to_owned();
    Some(Answer { status, text })
}
