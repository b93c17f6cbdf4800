//! A Prometheus API as a source of a metric: one fixed query over the window, of which each series is
//! a group, or each value of a label.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use domain::Timestamp;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use wire::execution::Code;
use wire::execution::action::Window;

use crate::actions::Means;
use crate::web::{Service, Site, percent};

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 4 << 10;

/// What in a query stands for the window.
const WINDOW: &str = "{window}";

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prometheus {
    /// Where its API is; `/api/v1/query` is below it.
    #[serde(rename = "prometheus")]
    site: Site,
    /// PromQL with `{window}` in it.
    query: String,
    /// The label whose values are the groups; without it each series is one.
    group: Option<String>,
    /// The secret that is its token, if it wants one.
    pub(super) secret: Option<String>,
    /// Certificates that are believed for it, instead of this machine's.
    authority: Option<PathBuf>,
    #[serde(default = "usual_timeout_seconds")]
    timeout_seconds: u64,
}

const fn usual_timeout_seconds() -> u64 {
    30
}

/// An answer. What else is in it is not looked at.
#[derive(Deserialize)]
struct Answered {
    status: String,
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Instant>),
    Matrix(Vec<Range>),
}

#[derive(Deserialize)]
struct Instant {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Range {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Prometheus {
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("`fetch_metrics_summary`: {what}"));
        if !self.query.contains(WINDOW) {
            return wrong("a `query` must hold `{window}`: what is told is said to be over one");
        }
        if self.query.len() > QUERY_BYTES_MAX {
            return wrong("a `query` is over 4096 bytes");
        }
        Ok(())
    }

    /// Returns the values of a window until now, and how many groups they come from.
    pub(super) fn read(&self, window: Window, means: Means<'_>) -> Result<(Vec<f64>, u64), Code> {
        let query = self.query.replace(WINDOW, window.name());
        let path = format!(
            "/api/v1/query?query={}&time={}&timeout={}s",
            percent(&query),
            seconds(means.now),
            self.timeout_seconds
        );
        let mut request = Request::new(Full::new(Bytes::new()));
        let path = self.site.path(&path);
        *request.uri_mut() = path.parse().map_err(|_| Code::Unavailable)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(name) = &self.secret {
            let token = means.secrets.get(name).and_then(|it| it.header("Bearer "));
            headers.insert(AUTHORIZATION, token.ok_or(Code::Unavailable)?);
        }
        let service = Service {
            site: &self.site,
            authority: self.authority.as_deref(),
            patience: Duration::from_secs(self.timeout_seconds),
            bytes_max: ANSWER_BYTES_MAX,
            connections: means.connections,
        };
        let answer = service.ask(request).map_err(|_| Code::Unavailable)?;
        if answer.status != 200 {
            return Err(Code::Unavailable);
        }
        self.understand(&answer.body).ok_or(Code::Unavailable)
    }

    fn understand(&self, body: &[u8]) -> Option<(Vec<f64>, u64)> {
        let answered: Answered = serde_json::from_slice(body).ok()?;
        // A warning says that something is missing: then it is no sum.
        if answered.status != "success" || !answered.warnings.is_empty() {
            return None;
        }
        let mut values = Vec::new();
        let mut groups = BTreeSet::new();
        let mut take = |labels: BTreeMap<String, String>, text: &str| {
            let value: f64 = text.parse().ok()?;
            if value.is_finite() {
                values.push(value);
                groups.insert(self.group(labels));
            }
            Some(())
        };
        match answered.data {
            Data::Vector(all) => {
                for series in all {
                    take(series.metric, &series.value.1)?;
                }
            }
            Data::Matrix(all) => {
                for series in all {
                    for (_, text) in &series.values {
                        take(series.metric.clone(), text)?;
                    }
                }
            }
        }
        Some((values, u64::try_from(groups.len()).unwrap_or(u64::MAX)))
    }

    /// Returns the group that a series is of: all of its labels, or the one that is configured.
    fn group(&self, mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        if let Some(label) = &self.group {
            labels.retain(|it, _| it == label);
        }
        labels
    }
}

/// Returns a moment as it is written in a query.
fn seconds(at: Timestamp) -> String {
    format!("{}.{:03}", at.0 / 1_000, at.0 % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(more: &str) -> Prometheus {
        let text =
            format!("prometheus = \"http://127.0.0.1:9090\"\nquery = \"up[{{window}}]\"\n{more}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn series_or_values_of_a_label_are_groups() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"tenant":"a","pod":"1"},"values":[[1,"1"],[2,"NaN"],[3,"3"]]},
            {"metric":{"tenant":"a","pod":"2"},"values":[[1,"5"]]},
            {"metric":{"tenant":"b","pod":"3"},"values":[[1,"+Inf"]]}]}}"#;
        let values = vec![1.0, 3.0, 5.0];
        assert_eq!(source("").understand(body), Some((values.clone(), 2)));
        let by_tenant = source("group = \"tenant\"").understand(body);
        assert_eq!(by_tenant, Some((values, 1)));
    }

    #[test]
    fn what_is_not_whole_or_no_number_is_no_answer() {
        let vector = |more: &str, value: &str| {
            format!(
                "{{\"status\":\"success\"{more},\"data\":{{\"resultType\":\"vector\",\"result\":[\
                 {{\"metric\":{{}},\"value\":[1,{value}]}}]}}}}"
            )
        };
        let read = |text: &str| source("").understand(text.as_bytes());
        assert_eq!(read(&vector("", "\"2.5\"")), Some((vec![2.5], 1)));
        assert_eq!(
            read(&vector(",\"infos\":[\"a\"]", "\"2\"")),
            Some((vec![2.0], 1))
        );
        for text in [
            vector(",\"warnings\":[\"a store was not asked\"]", "\"2\""),
            vector("", "\"two\""),
            vector("", "2"),
            vector("", "\"2\"").replace("success", "error"),
            vector("", "\"2\"").replace("vector", "scalar"),
            "{\"status\":\"success\"}".to_owned(),
            "<html>".to_owned(),
        ] {
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn a_query_is_over_the_window() {
        assert!(source("").check().is_ok());
        let mut without = source("");
        without.query = "up[5m]".to_owned();
        assert!(without.check().is_err());
        assert_eq!(seconds(Timestamp(1_790_000_000_042)), "1790000000.042");
    }
}
