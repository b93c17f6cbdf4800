//! Metrics from a Prometheus API: what it says is summed up, bounded, or not believed.

use serde_json::{Value, json};
use wire::execution::action::{FetchMetricsSummary, Window};
use wire::execution::{Action, Summary};

use crate::scene::{Answer, SECRET, Scene, word};
use crate::service::{Service, closed_port, json, reply};

fn source(port: u16) -> String {
    format!(
        "{{ prometheus = \"http://127.0.0.1:{port}/metrics-api\", \
         query = \"avg by (pod) (rate(latency_seconds{{job='a b'}}[{{window}}]))\", secret = \"TOKEN\", \
         timeout_seconds = 1 }}"
    )
}

fn asks(scene: &Scene) -> Answer {
    let running = scene.start();
    let (metric, window) = (word("latency"), Window::Hour);
    let action = Action::FetchMetricsSummary(FetchMetricsSummary { metric, window });
    running.execute(&scene.request(action))
}

fn vector(values: &[&str]) -> Value {
    let series: Vec<_> = values
        .iter()
        .enumerate()
        .map(
            |(at, it)| json!({"metric": {"pod": at.to_string()}, "value": [1_790_000_000.042, it]}),
        )
        .collect();
    json!({"status": "success", "data": {"resultType": "vector", "result": series}})
}

#[test]
fn a_fixed_query_is_asked_and_its_series_are_summed_up() {
    let service = Service::plain(|_| json("200 OK", &vector(&["1.5", "2.5", "8"])));
    let mut scene = Scene::new();
    scene.latency = source(service.port);
    let summary = asks(&scene).receipt().summary.unwrap();
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
    assert_eq!((samples, groups), (3, 3));
    assert!((mean - 4.0).abs() < 1e-9 && (maximum - 8.0).abs() < 1e-9);
    let asked = service.asked.lock().unwrap()[0].clone();
    let query =
        "avg%20by%20%28pod%29%20%28rate%28latency_seconds%7Bjob%3D%27a%20b%27%7D%5B1h%5D%29%29";
    let wanted = format!("GET /metrics-api/api/v1/query?query={query}&time=");
    assert!(asked.line.starts_with(&wanted), "{}", asked.line);
    assert_eq!(
        asked.header("authorization"),
        Some(format!("Bearer {SECRET}").as_str())
    );
    assert_eq!(scene.reached().len(), 1);
}

#[test]
fn too_few_series_are_not_told() {
    let service = Service::plain(|_| json("200 OK", &vector(&["1.5"])));
    let mut scene = Scene::new();
    scene.latency = source(service.port);
    assert_eq!(asks(&scene).code(), "group_too_small");
}

#[test]
fn what_does_not_answer_as_it_should_is_not_believed() {
    let elsewhere = Service::plain(|_| json("200 OK", &vector(&["1", "2"])));
    let away = format!("location: http://127.0.0.1:{}/\r\n", elsewhere.port);
    let mut warned = vector(&["1", "2"]);
    warned["warnings"] = json!(["a store was not asked"]);
    let whole = json("200 OK", &vector(&["1", "2"]));
    for (at, told) in [
        reply("401 No", "", b"{}"),
        reply("503 Later", "", vector(&["1", "2"]).to_string().as_bytes()),
        reply("302 Moved", &away, b""),
        reply("200 OK", "", &vec![b' '; 17 << 20]),
        reply("200 OK", "", b"<html>"),
        json("200 OK", &warned),
        whole[..whole.len() - 2].to_vec(),
        Vec::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let service = Service::plain(move |_| told.clone());
        let mut scene = Scene::new();
        scene.latency = source(service.port);
        assert_eq!(asks(&scene).code(), "unavailable", "{at}");
        assert_eq!(service.lines().len(), 1, "{at}");
    }
    assert_eq!(elsewhere.lines(), Vec::<String>::new());
    let mut scene = Scene::new();
    scene.latency = source(closed_port());
    assert_eq!(asks(&scene).code(), "unavailable");
}

#[test]
fn an_address_in_the_clear_and_a_query_without_a_window_are_not_taken() {
    for (from, to, why) in [
        (
            "http://127.0.0.1",
            "http://metrics.example.org",
            "not the address of a service",
        ),
        ("[{window}]", "[5m]", "must hold `{window}`"),
        ("\"TOKEN\"", "\"OTHER\"", "none of [secrets]"),
        ("timeout_seconds", "patience", "unknown field `patience`"),
    ] {
        let mut scene = Scene::new();
        scene.latency = source(9090).replace(from, to);
        scene.configure();
        let told = scene.refusal_to_start();
        assert!(told.contains(why), "{told}");
    }
}
