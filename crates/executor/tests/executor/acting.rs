//! What each action does, and what it answers.

use wire::execution::action::{FetchMetricsSummary, GetStagingConfigValues, Window};
use wire::execution::reply::Told;
use wire::execution::{Action, Failure, Status, Summary};

use crate::scene::{Scene, digest, git, now, word};

#[test]
fn an_artifact_is_deployed_and_only_a_receipt_comes_back() {
    let scene = Scene::new();
    let running = scene.start();
    let answer = running.execute(&scene.request(scene.deploy("release one")));
    let receipt = answer.receipt();
    assert_eq!((receipt.ok, receipt.status), (true, Status::Succeeded));
    let wanted = Summary::DeployStaging {
        version: digest(b"release one"),
        url_id: word("staging-web"),
    };
    assert_eq!(receipt.summary, Some(wanted));
    let app = std::fs::read_to_string(scene.path("staging").join("app")).unwrap();
    assert_eq!(app, "release one");
    let told = running.get(&format!("/receipts/{}", receipt.request_id));
    assert_eq!(told.receipt(), receipt);
    assert_eq!(
        running
            .get("/receipts/exec_00000000000000000000000zzz")
            .status,
        404
    );
    let metrics = running.get("/metrics").text;
    let line = "palisade_executor_actions_total{action=\"deploy_staging\",status=\"succeeded\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn a_deployment_that_fails_or_is_not_seen_is_no_success() {
    for (mode, failure) in [
        ("fail", Failure::ProgramFailed),
        ("forget", Failure::NotSeen),
    ] {
        let mut scene = Scene::new();
        scene.deploy_mode = mode;
        let running = scene.start();
        let receipt = running
            .execute(&scene.request(scene.deploy("two")))
            .receipt();
        assert_eq!((receipt.ok, receipt.status), (false, Status::Failed));
        assert_eq!(
            (receipt.failure, receipt.summary),
            (Some(failure), None),
            "{mode}"
        );
    }
}

#[test]
fn an_artifact_that_is_not_there_or_is_another_is_not_deployed() {
    let scene = Scene::new();
    let running = scene.start();
    let action = scene.deploy("three");
    let name = digest(b"three").to_string().replace("b3:", "");
    let file = scene.path("artifacts").join(name);
    std::fs::write(&file, "exchanged").unwrap();
    let request = scene.request(action);
    assert_eq!(running.execute(&request).code(), "artifact_mismatch");
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert_eq!(running.execute(&request).code(), "artifact_missing");
    assert_eq!(scene.runs(), 0);
    // Nothing was done, so the permit is good for what it was given for.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "three").unwrap();
    assert!(running.execute(&request).receipt().ok);
}

#[test]
fn a_commit_is_published_forward_only_into_the_namespace() {
    let scene = Scene::new();
    let running = scene.start();
    let first = scene.commit("first", None);
    let second = scene.commit("second", Some(&first));
    let aside = scene.commit("aside", None);
    let ask = |commit, expected| running.execute(&scene.request(scene.publish(commit, expected)));
    let receipt = ask(&first, None).receipt();
    let branch = "agents/palisade/fix".to_owned();
    let wanted = Summary::PublishChange {
        remote: word("forge"),
        branch,
        commit: first.clone(),
        pull_request: None,
    };
    assert_eq!(receipt.summary, Some(wanted));
    let forge = scene.path("forge.git");
    let held = || git(&forge, &["rev-parse", "refs/heads/agents/palisade/fix"]);
    assert_eq!(held(), first.as_str());
    assert_eq!(ask(&second, None).code(), "target_moved");
    assert_eq!(ask(&aside, Some(&first)).code(), "not_forward");
    let missing = "c".repeat(40).parse().unwrap();
    assert_eq!(ask(&missing, Some(&first)).code(), "artifact_missing");
    assert!(ask(&second, Some(&first)).receipt().ok);
    assert_eq!(held(), second.as_str());
    let refs = git(&forge, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/heads/agents/palisade/fix");
}

#[test]
fn the_forges_own_pre_receive_decides() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    let hook = scene.path("forge.git").join("hooks").join("pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let running = scene.start();
    let commit = scene.commit("first", None);
    let receipt = running
        .execute(&scene.request(scene.publish(&commit, None)))
        .receipt();
    assert_eq!(receipt.failure, Some(Failure::TargetRefused));
    assert_eq!(git(&scene.path("forge.git"), &["for-each-ref"]), "");
}

#[test]
fn nothing_of_the_sources_configuration_runs() {
    let scene = Scene::new();
    let source = scene.path("source.git");
    let ran = scene.path("staging").join("ran");
    let command = format!("touch {}", ran.display());
    for name in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "credential.helper",
    ] {
        git(&source, &["config", name, &command]);
    }
    let hook = source.join("hooks").join("pre-push");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\n{command}\nexit 1\n")).unwrap();
    let running = scene.start();
    let commit = scene.commit("first", None);
    assert!(
        running
            .execute(&scene.request(scene.publish(&commit, None)))
            .receipt()
            .ok
    );
    assert!(!ran.exists());
}

#[test]
fn tests_are_told_in_counts_and_names() {
    let scene = Scene::new();
    let running = scene.start();
    let green = running
        .execute(&scene.request(scene.test("green")))
        .receipt();
    let counts = |passed, failed, failed_names| {
        let suite = word(if failed == 0 { "green" } else { "red" });
        Some(Summary::RunTests {
            suite,
            passed,
            failed,
            skipped: 0,
            failed_names,
        })
    };
    assert_eq!((green.ok, green.summary), (true, counts(2, 0, vec![])));
    let red = running.execute(&scene.request(scene.test("red"))).receipt();
    assert_eq!((red.ok, red.failure), (false, Some(Failure::TestsFailed)));
    assert_eq!(red.summary, counts(1, 1, vec!["c::b".to_owned()]));
    let silent = running
        .execute(&scene.request(scene.test("silent")))
        .receipt();
    assert_eq!(silent.failure, Some(Failure::ProgramFailed));
    let other = running.execute(&scene.request(scene.test("other")));
    assert_eq!(other.code(), "not_allowed");
}

#[test]
fn values_are_told_of_listed_keys_and_of_secrets_only_that_they_are_there() {
    let scene = Scene::new();
    let running = scene.start();
    let ask = |keys: &[&str]| {
        let keys = keys.iter().map(|it| word(it)).collect();
        let action = Action::GetStagingConfigValues(GetStagingConfigValues { keys });
        running.execute(&scene.request(action))
    };
    let receipt = ask(&["HOST", "PORT", "TOKEN"]).receipt();
    let values = [
        (word("HOST"), Told::Value(Some("db.staging".to_owned()))),
        (word("PORT"), Told::Value(None)),
        (word("TOKEN"), Told::IsPresent(true)),
    ];
    let values = values.into();
    assert_eq!(
        receipt.summary,
        Some(Summary::GetStagingConfigValues { values })
    );
    // In the file, but not in the list; and as other names are written.
    for key in ["PLAIN", "host", "TOKEN_"] {
        assert_eq!(ask(&["HOST", key]).code(), "not_allowed", "{key}");
    }
}

#[test]
fn a_metric_is_summed_up_over_enough_groups() {
    let scene = Scene::new();
    let at = now().0 - 1_000;
    let line = |group: &str, value: f64| {
        format!("{{\"at\":{at},\"group\":\"{group}\",\"value\":{value}}}\n")
    };
    let file = scene.path("latency.ndjson");
    std::fs::write(&file, line("a", 1.0) + &line("a", 2.0)).unwrap();
    let running = scene.start();
    let ask = |metric: &str| {
        let metric = word(metric);
        let window = Window::Hour;
        let action = Action::FetchMetricsSummary(FetchMetricsSummary { metric, window });
        running.execute(&scene.request(action))
    };
    assert_eq!(ask("latency").code(), "group_too_small");
    assert_eq!(ask("raw").code(), "not_allowed");
    std::fs::write(&file, line("a", 1.0) + &line("a", 2.0) + &line("b", 6.0)).unwrap();
    let summary = ask("latency").receipt().summary.unwrap();
    let Summary::FetchMetricsSummary {
        samples,
        groups,
        mean,
        maximum,
        ..
    } = summary
    else {
        panic!("{summary:?}");
    };
    assert_eq!((samples, groups), (3, 2));
    assert!((mean - 3.0).abs() < 1e-9 && (maximum - 6.0).abs() < 1e-9);
}
