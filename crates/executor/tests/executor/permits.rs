//! Approvals: each way in which one is not for a request has its own refusal, and nothing happens.

use domain::Timestamp;
use domain::formula::Lane;
use wire::execution::approval::Open;
use wire::execution::{Action, Approval, Grant, Permit, SigningKey};

use crate::scene::{REQUESTER, Scene, now, word};

const DAY: u64 = 86_400_000;

#[test]
fn a_permit_is_for_one_call_and_nothing_like_it() {
    let scene = Scene::new();
    let running = scene.start();
    let action = scene.deploy("one");
    let other = scene.deploy("two");
    let with = |change: &dyn Fn(&mut Permit)| {
        let mut permit = scene.permit(&action);
        change(&mut permit);
        let envelope = Approval::Permit(permit).seal(&scene.key);
        running
            .execute(&scene.with(action.clone(), envelope))
            .code()
    };
    let digest = domain::Digest::ZERO;
    let cases: &[(&str, &dyn Fn(&mut Permit))] = &[
        ("approval_mismatch", &|it| it.arguments = other.digest()),
        ("approval_mismatch", &|it| it.subject = other.subject()),
        ("approval_mismatch", &|it| it.subject = None),
        ("approval_mismatch", &|it| {
            it.action = wire::execution::Kind::PublishChange;
        }),
        ("approval_mismatch", &|it| it.lane = Lane::DryRun),
        ("approval_mismatch", &|it| it.target = word("production")),
        ("approval_mismatch", &|it| {
            it.requester = "service:other".to_owned();
        }),
        ("approval_mismatch", &|it| {
            it.approver = "operator:eve".to_owned();
        }),
        ("policy_changed", &|it| it.policy = digest),
        ("approval_expired", &|it| {
            it.expires = Timestamp(now().0 - 1);
        }),
        ("approval_not_yet_valid", &|it| {
            it.not_before = Timestamp(now().0 + 60_000);
        }),
        ("approval_too_long", &|it| {
            it.expires = Timestamp(now().0 + 2 * DAY);
        }),
        ("same_principal", &|it| it.author = "agent:Ada".to_owned()),
        ("same_principal", &|it| it.author = REQUESTER.to_owned()),
        ("same_principal", &|it| it.author = String::new()),
        ("blocked", &|it| it.open = Open { p0: 1, p1: 0 }),
        ("blocked", &|it| it.open = Open { p0: 0, p1: 1 }),
    ];
    for (wanted, change) in cases {
        assert_eq!(with(*change), *wanted);
    }
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.refusals().len(), cases.len());
    // The control: the same permit, unchanged, is one.
    assert_eq!(with(&|_| {}), "");
    assert_eq!(scene.runs(), 1);
}

#[test]
fn only_an_operators_key_that_was_not_revoked_signs() {
    let scene = Scene::new();
    let running = scene.start();
    let action = scene.deploy("one");
    let permit = Approval::Permit(scene.permit(&action));
    let code = |request| running.execute(&request).code();
    let stranger = SigningKey::from_seed(&[2; 32]).unwrap();
    let forged = permit.seal(&stranger);
    assert_eq!(
        code(scene.with(action.clone(), forged.clone())),
        "key_unknown"
    );
    let mut claimed = forged;
    claimed.signatures[0].keyid = scene.key.verifying().id();
    assert_eq!(
        code(scene.with(action.clone(), claimed)),
        "signature_invalid"
    );
    let mut none = scene.request(action.clone());
    none.approval = None;
    assert_eq!(code(none), "approval_required");
    let mut retyped = permit.seal(&scene.key);
    retyped.payload_type = "text/plain".to_owned();
    assert_eq!(
        code(scene.with(action.clone(), retyped)),
        "approval_malformed"
    );
    let good = permit.seal(&scene.key);
    let revoked = scene.path("revoked");
    for (line, wanted) in [
        (permit.id(), "approval_revoked"),
        (
            format!("{} lost with a laptop", scene.key.verifying().id()),
            "key_revoked",
        ),
    ] {
        std::fs::write(&revoked, format!("{line}\n")).unwrap();
        assert_eq!(code(scene.with(action.clone(), good.clone())), wanted);
    }
    // A list that is not there revokes everything.
    std::fs::remove_file(&revoked).unwrap();
    assert_eq!(
        code(scene.with(action.clone(), good.clone())),
        "key_revoked"
    );
    std::fs::write(&revoked, "").unwrap();
    assert_eq!(scene.runs(), 0);
    assert_eq!(code(scene.with(action, good)), "");
}

#[test]
fn a_grant_is_for_named_actions_and_so_many_times() {
    let scene = Scene::new();
    let running = scene.start();
    let ask = |action: Action, change: &dyn Fn(&mut Grant)| {
        let mut grant = scene.grant();
        change(&mut grant);
        running.execute(&scene.with(action, Approval::Grant(grant).seal(&scene.key)))
    };
    let keys = || {
        let keys = [word("HOST")].into();
        Action::GetStagingConfigValues(wire::execution::action::GetStagingConfigValues { keys })
    };
    assert_eq!(ask(scene.deploy("one"), &|_| {}).code(), "permit_required");
    assert_eq!(
        ask(keys(), &|it| it.actions.clear()).code(),
        "approval_mismatch"
    );
    assert_eq!(
        ask(keys(), &|it| it.targets.clear()).code(),
        "approval_mismatch"
    );
    let late = |it: &mut Grant| it.expires = Timestamp(now().0 - 1);
    assert_eq!(ask(keys(), &late).code(), "approval_expired");
    let long = |it: &mut Grant| it.expires = Timestamp(now().0 + 40 * DAY);
    assert_eq!(ask(keys(), &long).code(), "approval_too_long");
    assert_eq!(ask(keys(), &|it| it.uses_max = 0).code(), "approval_used");
    let mut grant = scene.grant();
    grant.uses_max = 2;
    let envelope = Approval::Grant(grant).seal(&scene.key);
    let codes: Vec<_> = (0..3)
        .map(|_| {
            running
                .execute(&scene.with(keys(), envelope.clone()))
                .code()
        })
        .collect();
    assert_eq!(codes, ["", "", "approval_used"]);
    running.kill();
    // Uses are counted by the audit, so the next executor knows them.
    let running = scene.start();
    assert_eq!(
        running.execute(&scene.with(keys(), envelope)).code(),
        "approval_used"
    );
}

#[test]
fn lane_and_target_are_the_actions() {
    let scene = Scene::new();
    let running = scene.start();
    let mut request = scene.request(scene.deploy("one"));
    request.target = word("production");
    assert_eq!(running.execute(&request).code(), "wrong_target");
    let mut request = scene.request(scene.deploy("one"));
    request.lane = Lane::ReadOnly;
    assert_eq!(running.execute(&request).code(), "wrong_lane");
    assert_eq!(scene.runs(), 0);
}
