//! `fetch_metrics_summary`: a configured metric in sum, over a window, from a file of samples or a
//! Prometheus API. Less than the configured number of groups is not summed up: a sum of one is that
//! one.

mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use domain::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use wire::execution::action::{FetchMetricsSummary, Window};
use wire::execution::{Code, Summary, Word};

use self::prometheus::Prometheus;
use super::{Means, Outcome, Prepared};

/// The most that is read of a file of samples, in bytes.
const SAMPLES_BYTES_MAX: u64 = 64 << 20;

/// The fewest groups that may be configured to be summed up.
const GROUPS_MIN: u64 = 2;

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The fewest groups that are summed up.
    groups_min: u64,
    metrics: BTreeMap<Word, Metric>,
}

/// Where a metric comes from.
#[derive(Debug)]
enum Metric {
    /// Lines of `{"at": milliseconds, "group": text, "value": number}`.
    File(PathBuf),
    /// A query.
    Prometheus(Prometheus),
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    file: PathBuf,
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        let is_file = table.contains_key("file");
        let metric = if is_file {
            table.try_into().map(|Written { file }| Self::File(file))
        } else {
            table.try_into().map(Self::Prometheus)
        };
        metric.map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
struct Sample {
    at: Timestamp,
    group: String,
    value: f64,
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.groups_min < GROUPS_MIN {
            return Err(format!(
                "`fetch_metrics_summary`: `groups_min` must be at least {GROUPS_MIN}"
            ));
        }
        self.queries().try_for_each(Prometheus::check)
    }

    /// Returns the names of the secrets that are taken.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.queries().filter_map(|it| it.secret.as_deref())
    }

    fn queries(&self) -> impl Iterator<Item = &Prometheus> {
        self.metrics.values().filter_map(|it| match it {
            Metric::File(_) => None,
            Metric::Prometheus(it) => Some(it),
        })
    }

    pub(super) fn prepare<'a>(
        &'a self,
        asked: &'a FetchMetricsSummary,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        let metric = self.metrics.get(&asked.metric).ok_or(Code::NotAllowed)?;
        let (values, groups) = metric.read(asked.window, means)?;
        if groups < self.groups_min {
            return Err(Code::GroupTooSmall);
        }
        let summary = sum(asked, values, groups).ok_or(Code::GroupTooSmall)?;
        Ok(Prepared {
            before: None,
            perform: Box::new(move || Outcome::Done(summary)),
        })
    }
}

impl Metric {
    /// Returns the values of a window until now, and how many groups they come from.
    fn read(&self, window: Window, means: Means<'_>) -> Result<(Vec<f64>, u64), Code> {
        match self {
            Self::File(file) => samples(file, window, means.now),
            Self::Prometheus(it) => it.read(window, means),
        }
    }
}

fn samples(file: &Path, window: Window, now: Timestamp) -> Result<(Vec<f64>, u64), Code> {
    let file = File::open(file).map_err(|_| Code::Unavailable)?;
    let from = Timestamp(now.0.saturating_sub(window.span().0));
    let mut values = Vec::new();
    let mut groups = BTreeSet::new();
    for line in BufReader::new(file.take(SAMPLES_BYTES_MAX)).lines() {
        let line = line.map_err(|_| Code::Unavailable)?;
        // A line that is no sample is none: whoever appends may be in its middle.
        let Ok(sample) = serde_json::from_str::<Sample>(&line) else {
            continue;
        };
        if sample.at >= from && sample.at <= now && sample.value.is_finite() {
            values.push(sample.value);
            groups.insert(sample.group);
        }
    }
    Ok((values, u64::try_from(groups.len()).unwrap_or(u64::MAX)))
}

fn sum(asked: &FetchMetricsSummary, mut values: Vec<f64>, groups: u64) -> Option<Summary> {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    // The nearest rank: a value that was really measured.
    let rank = (count * 95).div_ceil(100).checked_sub(1)?;
    let mut mean = 0.0;
    let mut seen = 0.0;
    for value in &values {
        seen += 1.0;
        mean += (value - mean) / seen;
    }
    Some(Summary::FetchMetricsSummary {
        metric: asked.metric.clone(),
        window: asked.window,
        samples: u64::try_from(count).ok()?,
        groups,
        minimum: *values.first()?,
        maximum: *values.last()?,
        mean,
        p95: *values.get(rank)?,
    })
}

/// Returns the schemas of arguments and summary.
pub(super) fn schemas() -> (Value, Value) {
    let word = json!({"$ref": "#/components/schemas/Word"});
    let window = json!({"enum": Window::ALL.map(Window::name)});
    let count = json!({"type": "integer", "minimum": 0});
    let number = json!({"type": "number"});
    let arguments = json!({"metric": word, "window": window});
    let summary = json!({
        "metric": word, "window": window, "samples": count, "groups": count,
        "minimum": number, "maximum": number, "mean": number, "p95": number,
    });
    (arguments, summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(10_000_000);

    #[test]
    fn only_the_window_counts_and_only_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latency.ndjson");
        let lines = concat!(
            "{\"at\":9999999,\"group\":\"a\",\"value\":1}\n",
            "{\"at\":9999998,\"group\":\"b\",\"value\":3.5}\n",
            "{\"at\":9000000,\"group\":\"c\",\"value\":100}\n",
            "{\"at\":10000001,\"group\":\"d\",\"value\":100}\n",
            "{\"at\":9999998,\"group\":\"e\",\"value\":\"raw\"}\n",
            "{\"at\":99999",
        );
        std::fs::write(&file, lines).unwrap();
        let read = |window| samples(&file, window, NOW).unwrap();
        assert_eq!(read(Window::FiveMinutes), (vec![1.0, 3.5], 2));
        assert_eq!(read(Window::Hour).1, 3);
    }

    #[test]
    fn a_sum_is_of_what_was_measured() {
        let asked = FetchMetricsSummary {
            metric: "latency".parse().unwrap(),
            window: Window::Hour,
        };
        let values = (1..=100).map(f64::from).rev().collect();
        let Some(Summary::FetchMetricsSummary {
            minimum,
            maximum,
            mean,
            p95,
            samples,
            ..
        }) = sum(&asked, values, 7)
        else {
            panic!("no sum");
        };
        assert_eq!((minimum, maximum, p95, samples), (1.0, 100.0, 95.0, 100));
        assert!((mean - 50.5).abs() < 1e-9);
        assert_eq!(sum(&asked, Vec::new(), 7), None);
    }
}
