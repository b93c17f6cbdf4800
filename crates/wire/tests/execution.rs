//! What is said to the executor has golden data: what is signed and stored today reads back for
//! ever. `PALISADE_BLESS=1` writes the files anew; the difference is then a change of the form.
#![expect(
    clippy::unwrap_used,
    reason = "a sample that cannot be made must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::formula::Lane;
use domain::tree::Commit;
use domain::{Digest, ExecutionId, GrantId, PermitId, Timestamp};
use palisade_wire::execution::action::{
    DbMigrationPlan, DeployStaging, FetchMetricsSummary, GetStagingConfigValues, PublishChange,
    PullRequest, RunTests, Window,
};
use palisade_wire::execution::approval::{Fault, Open, PAYLOAD_TYPE, Version};
use palisade_wire::execution::reply::{Evidence, Migrated, Opened, Statement, Told};
use palisade_wire::execution::request::{self, REQUEST_BYTES_MAX};
use palisade_wire::execution::{
    Action, Approval, Code, Failure, Grant, Kind, Permit, Problem, Receipt, Request, SigningKey,
    Status, Summary, Word, canonical, strict,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const BITS: u128 = 0x0189_0a5d_ac96_774b_bcce_b302_099a_8057;
const AT: Timestamp = Timestamp(1_790_000_000_000);

fn word(text: &str) -> Word {
    text.parse().unwrap()
}

fn commit(digit: char) -> Commit {
    digit.to_string().repeat(40).parse().unwrap()
}

fn actions() -> Vec<Action> {
    let artifact = Digest::from_bytes([7; 32]);
    let keys = ["DATABASE_HOST", "DATABASE_PASSWORD"].map(word).into();
    vec![
        Action::DeployStaging(DeployStaging { artifact }),
        Action::FetchMetricsSummary(FetchMetricsSummary {
            metric: word("latency"),
            window: Window::Hour,
        }),
        Action::GetStagingConfigValues(GetStagingConfigValues { keys }),
        Action::PublishChange(PublishChange {
            remote: word("forge"),
            branch: word("fix-login"),
            commit: commit('a'),
            expected: Some(commit('b')),
            pull_request: None,
        }),
        Action::RunTests(RunTests {
            suite: word("unit"),
        }),
        Action::RehearseDbMigrationPlan(plan()),
        Action::RunDbMigrationPlan(plan()),
    ]
}

fn plan() -> DbMigrationPlan {
    DbMigrationPlan {
        database: word("app"),
        plan: Digest::from_bytes([8; 32]),
    }
}

fn migrated(is_rehearsal: bool) -> Migrated {
    Migrated {
        database: word("app"),
        plan: plan().plan,
        taken_back: is_rehearsal,
        applied: 2,
        applied_names: vec![word("V2__add_email"), word("V3__fill_email")],
        version: Some(if is_rehearsal { 1 } else { 3 }),
        tables_before: Some(4),
        tables_after: Some(5),
        rows: Some(1_200),
        stopped: None,
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32]).unwrap()
}

fn permit() -> Approval {
    let action = &actions()[3];
    Approval::Permit(Permit {
        version: Version::One,
        permit_id: PermitId::from_bits(BITS),
        action: action.kind(),
        arguments: action.digest(),
        subject: action.subject(),
        lane: Lane::Execute,
        target: word("staging"),
        policy: Digest::from_bytes([9; 32]),
        author: "agent:claude".to_owned(),
        requester: "service:engine".to_owned(),
        approver: "operator:ada".to_owned(),
        open: Open::default(),
        not_before: AT,
        expires: Timestamp(AT.0 + 3_600_000),
    })
}

fn grant() -> Approval {
    Approval::Grant(Grant {
        version: Version::One,
        grant_id: GrantId::from_bits(BITS),
        actions: BTreeSet::from([Kind::RunTests, Kind::FetchMetricsSummary]),
        targets: BTreeSet::from([word("staging")]),
        policy: Digest::from_bytes([9; 32]),
        requester: "service:engine".to_owned(),
        approver: "operator:ada".to_owned(),
        not_before: AT,
        expires: Timestamp(AT.0 + 86_400_000),
        uses_max: 100,
    })
}

fn request(action: Action) -> Request {
    let lane = action.kind().lane();
    Request {
        request_id: ExecutionId::from_bits(BITS),
        action,
        lane,
        target: word("staging"),
        approval: Some(permit().seal(&key())),
    }
}

fn summaries() -> Vec<Summary> {
    let values = BTreeMap::from([
        (
            word("DATABASE_HOST"),
            Told::Value(Some("db.staging".to_owned())),
        ),
        (word("DATABASE_NAME"), Told::Value(None)),
        (word("DATABASE_PASSWORD"), Told::IsPresent(true)),
    ]);
    vec![
        Summary::DeployStaging {
            version: Digest::from_bytes([7; 32]),
            url_id: word("staging-web"),
        },
        Summary::FetchMetricsSummary {
            metric: word("latency"),
            window: Window::Hour,
            samples: 120,
            groups: 12,
            minimum: 0.25,
            maximum: 9.5,
            mean: 1.125,
            p95: 4.0,
        },
        Summary::GetStagingConfigValues { values },
        Summary::PublishChange {
            remote: word("forge"),
            branch: "agents/palisade/fix-login".to_owned(),
            commit: commit('a'),
            pull_request: None,
        },
        Summary::RunTests {
            suite: word("unit"),
            passed: 41,
            failed: 1,
            skipped: 2,
            failed_names: vec!["login::refuses".to_owned()],
        },
        Summary::RehearseDbMigrationPlan(migrated(true)),
        Summary::RunDbMigrationPlan(migrated(false)),
    ]
}

fn receipt(action: Kind, status: Status, what: Result<Summary, Failure>) -> Receipt {
    let failure = match &what {
        Ok(_) => None,
        Err(failure) => Some(*failure),
    };
    Receipt {
        request_id: ExecutionId::from_bits(BITS),
        action,
        ok: status == Status::Succeeded,
        status,
        summary: what.ok(),
        failure,
        is_reconciled: false,
        evidence: Evidence {
            sequence: 12,
            digest: Digest::from_bytes([3; 32]),
            at: AT,
        },
    }
}

/// Compares with a golden file, or writes it.
fn golden(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    let written = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    if std::env::var_os("PALISADE_BLESS").is_some_and(|it| it == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &written).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written, "{name}");
}

#[test]
fn requests_are_as_their_golden_files() {
    for action in actions() {
        let request = request(action);
        let name = request.action.kind().name();
        let value = request.value();
        golden(&format!("request-{name}"), &value);
        let bytes = value.to_string();
        assert_eq!(Request::read(bytes.as_bytes()).unwrap(), request);
        assert_eq!(canonical::digest(&value), request.digest());
    }
}

#[test]
fn receipts_and_problems_are_as_their_golden_files() {
    let mut all: Vec<_> = actions()
        .iter()
        .zip(summaries())
        .map(|(action, it)| receipt(action.kind(), Status::Succeeded, Ok(it)))
        .collect();
    let kind = Kind::DeployStaging;
    all.push(receipt(kind, Status::Failed, Err(Failure::ProgramFailed)));
    let mut stopped = migrated(false);
    let migration = word("V3__fill_email");
    let at = Statement {
        migration,
        statement: 2,
    };
    (stopped.taken_back, stopped.stopped) = (true, Some(at));
    let mut half = receipt(
        Kind::RunDbMigrationPlan,
        Status::Failed,
        Err(Failure::ConstraintViolated),
    );
    half.summary = Some(Summary::RunDbMigrationPlan(stopped));
    all.push(half);
    golden("receipts", &json!(all));
    let read: Vec<Receipt> = serde_json::from_value(json!(all)).unwrap();
    assert_eq!(read, all);
    let problems: Vec<_> = Code::ALL.iter().map(|it| Problem::of(*it)).collect();
    golden("problems", &json!(problems));
}

#[test]
fn a_pull_request_is_as_its_golden_file() {
    let asked = request(Action::PublishChange(PublishChange {
        remote: word("forge"),
        branch: word("fix-login"),
        commit: commit('a'),
        expected: None,
        pull_request: Some(PullRequest {
            base: word("main"),
            title: "Refuse empty passwords".parse().unwrap(),
            text: "Said in #12.\n\n- a test that was red".parse().unwrap(),
        }),
    }));
    golden("request-pull_request", &asked.value());
    let bytes = asked.value().to_string();
    assert_eq!(Request::read(bytes.as_bytes()).unwrap(), asked);
    let summary = Summary::PublishChange {
        remote: word("forge"),
        branch: "agents/palisade/fix-login".to_owned(),
        commit: commit('a'),
        pull_request: Some(Opened {
            number: 12,
            url_id: word("forge-pulls"),
        }),
    };
    let told = receipt(Kind::PublishChange, Status::Succeeded, Ok(summary));
    golden("receipt-pull_request", &json!(told));
    let read: Receipt = serde_json::from_value(json!(told)).unwrap();
    assert_eq!(read, told);
}

#[test]
fn approvals_and_their_signatures_are_as_their_golden_files() {
    for (name, approval) in [("permit", permit()), ("grant", grant())] {
        let envelope = approval.seal(&key());
        golden(
            &format!("approval-{name}"),
            &json!({"approval": approval, "key": key().verifying().written(), "envelope": envelope}),
        );
        assert_eq!(
            Approval::open(&envelope, &key().verifying()).unwrap(),
            approval
        );
    }
}

#[test]
fn what_is_signed_and_is_no_approval_is_not_read() {
    let written = json!(permit());
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = written.clone();
        change(&mut value);
        value.to_string()
    };
    for text in [
        with(&|it| it["more"] = json!(1)),
        with(&|it| it["version"] = json!("2")),
        with(&|it| it["kind"] = json!("grant")),
        with(&|it| it["lane"] = json!("all")),
        with(&|it| it["open"]["p2"] = json!(0)),
        with(&|it| it["expires"] = json!("tomorrow")),
        with(&|it| drop(it.as_object_mut().unwrap().remove("author"))),
        json!([written]).to_string(),
        written
            .to_string()
            .replacen('{', "{\"kind\":\"permit\",", 1),
    ] {
        let envelope = key().seal(PAYLOAD_TYPE, text.as_bytes());
        let read = Approval::open(&envelope, &key().verifying());
        assert_eq!(read, Err(Fault::Shape), "{text}");
    }
    assert!(Approval::open(&key().seal("text/plain", b"{}"), &key().verifying()).is_err());
}

#[test]
fn only_a_request_is_read() {
    let written = request(actions()[4].clone()).value();
    let text = written.to_string();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = written.clone();
        change(&mut value);
        Request::read(value.to_string().as_bytes())
    };
    for read in [
        with(&|it| it["extra"] = json!(1)),
        with(&|it| it["action"] = json!(["run_tests"])),
        with(&|it| it["action"] = json!({"run_tests": {}})),
        with(&|it| it["lane"] = json!("Execute")),
        with(&|it| it["target"] = json!("staging\n")),
        with(&|it| it["request_id"] = json!("permit_01h455vb4pex5vsknk084sn02q")),
        with(&|it| it["approval"]["signatures"] = json!({})),
        with(&|it| it["approval"]["more"] = json!(1)),
        with(&|it| *it = json!([it])),
        with(&|it| *it = Value::Array(it.as_object().unwrap().values().cloned().collect())),
        with(&|it| drop(it.as_object_mut().unwrap().remove("target"))),
    ] {
        assert_eq!(read, Err(request::Fault::Shape));
    }
    let twice = text.replacen('{', "{\"action\":\"deploy_staging\",", 1);
    let read = Request::read(twice.as_bytes());
    assert_eq!(read, Err(strict::Fault::DuplicateKey.into()));
    let long = format!("{text}{}", " ".repeat(REQUEST_BYTES_MAX));
    let read = Request::read(long.as_bytes());
    assert_eq!(read, Err(strict::Fault::TooLarge(REQUEST_BYTES_MAX).into()));
}

proptest! {
    /// Nobody can make of one signed approval another one: every changed field of what was signed
    /// needs another signature.
    #[test]
    fn a_permit_cannot_be_bent(at: proptest::sample::Index, byte: u8) {
        use base64::Engine as _;
        let base64 = base64::engine::general_purpose::STANDARD;
        let envelope = permit().seal(&key());
        let mut payload = base64.decode(&envelope.payload).unwrap();
        let at = at.index(payload.len());
        prop_assume!(payload[at] != byte);
        payload[at] = byte;
        let bent = palisade_wire::execution::Envelope { payload: base64.encode(&payload), ..envelope };
        prop_assert!(Approval::open(&bent, &key().verifying()).is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        prop_assert!(Request::read(&bytes).is_err());
    }

    /// Whatever is read is written the same: there is one text for one request.
    #[test]
    fn what_is_read_is_written_the_same(suite in "[a-z][a-z0-9_-]{0,20}", bits: u128) {
        let request = Request {
            request_id: ExecutionId::from_bits(bits),
            action: Action::RunTests(RunTests { suite: word(&suite) }),
            lane: Lane::DryRun,
            target: word("staging"),
            approval: None,
        };
        let read = Request::read(request.value().to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.value(), request.value());
    }
}
