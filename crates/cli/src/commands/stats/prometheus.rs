//! Stats for Prometheus: the text format, and a server that answers on loopback alone.

use std::fmt::Write as _;
use std::net::SocketAddr;

use engine::views::stats::{Latency, Stats};
use tiny_http::{Header, Method, Response, Server};

use super::{Shown, WorkDisk, quantiles};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// The version of the text format that is written.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const FAILURES: &str = "palisade_service_failures_total";
const BREAKER: &str = "palisade_breaker_open";
const STATE: &str = "palisade_breaker_state";
const RESERVE: &str = "palisade_reserve_bytes";
const LAYER: &str = "palisade_work_layer_bytes";
const KEPT: &str = "palisade_work_kept_bytes";
const FREE: &str = "palisade_disk_free_bytes";
const MEMORY: &str = "palisade_memory_free_bytes";

/// Answers requests for `/metrics` until the process ends.
pub(super) fn serve(context: &Context, address: SocketAddr) -> Outcome {
    if !address.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "{address} can be reached from outside, and what is served names your works; give a \
             loopback address such as 127.0.0.1:9464"
        )));
    }
    let server = Server::http(address)
        .map_err(|it| Failure::new(Exit::Failed, format!("{address} cannot be served: {it}")))?;
    terminal::say(format!(
        "serving http://{}/metrics until Ctrl-C",
        server.server_addr()
    ));
    for request in server.incoming_requests() {
        let is_metrics = request.url() == "/metrics" && *request.method() == Method::Get;
        let response = if is_metrics {
            match super::shown(context) {
                Ok(shown) => Response::from_string(text(&shown)).with_header(content_type()?),
                Err(failure) => {
                    terminal::complain(&failure.error);
                    Response::from_string("the log cannot be read\n").with_status_code(500)
                }
            }
        } else {
            Response::from_string("see /metrics\n").with_status_code(404)
        };
        // Whoever asked may have gone.
        drop(request.respond(response));
    }
    Ok(Exit::Done)
}

fn content_type() -> Result<Header, Failure> {
    Header::from_bytes("Content-Type", CONTENT_TYPE)
        .map_err(|()| Failure::new(Exit::Failed, "the header cannot be written"))
}

/// Returns the stats in the text format of Prometheus.
pub(super) fn text(shown: &Shown) -> String {
    let mut page = Page::default();
    let stats = &shown.stats;
    page.latencies(stats);
    page.counts(stats);
    page.head(FAILURES, "Failures of a service.", "counter");
    for (service, count) in &stats.failures {
        page.labelled(FAILURES, "service", service, *count);
    }
    page.head(BREAKER, "Whether a service is left alone.", "gauge");
    for (service, state) in &stats.breakers {
        page.labelled(BREAKER, "service", service, u64::from(*state != "closed"));
    }
    page.head(
        STATE,
        "How a breaker stands: 1 for the state it is in.",
        "gauge",
    );
    for (service, now) in &stats.breakers {
        for state in ["closed", "open", "half_open"] {
            let is_in = u64::from(*now == state);
            page.put(format_args!(
                "{STATE}{{service=\"{}\",state=\"{state}\"}} {is_in}",
                escaped(service)
            ));
        }
    }
    page.head(LAYER, "What the session under way has written.", "gauge");
    for it in &shown.works {
        page.labelled(LAYER, "work", &it.work.to_string(), it.layer_bytes);
    }
    page.head(KEPT, "Files of the last checkpoint.", "gauge");
    for it in &shown.works {
        page.labelled(KEPT, "work", &it.work.to_string(), it.kept_bytes);
    }
    page.allowances(shown);
    if let Some(reserve) = shown.reserve {
        page.head(
            RESERVE,
            "Disk held back for what must be recorded.",
            "gauge",
        );
        page.line(RESERVE, reserve.held);
    }
    if let Some(disk) = shown.disk {
        page.head(FREE, "What is free where the state is.", "gauge");
        page.line(FREE, disk.free);
    }
    if let Some(memory) = shown.memory_free {
        page.head(MEMORY, "Memory that programs can have.", "gauge");
        page.line(MEMORY, memory);
    }
    page.text
}

/// A page of metrics.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn latencies(&mut self, stats: &Stats) {
        let latencies = [
            ("capture", "Time to capture a checkpoint.", &stats.capture),
            ("judge", "Time to judge a checkpoint.", &stats.judge),
            ("held", "Time a cell stood still for one.", &stats.held),
        ];
        for (what, help, latency) in latencies {
            let name = format!("palisade_checkpoint_{what}_seconds");
            self.summary(&name, help, latency);
        }
    }

    fn counts(&mut self, stats: &Stats) {
        let counts = [
            ("checkpoints", "trigger", &stats.checkpoints),
            ("checkpoints_judged", "verdict", &stats.judgements),
            ("messages", "event", &stats.messages),
            ("rollbacks", "event", &stats.rollbacks),
            ("sessions_ended", "reason", &stats.sessions),
        ];
        for (what, label, counts) in counts {
            let name = format!("palisade_{what}_total");
            self.head(&name, &format!("How many, by {label}."), "counter");
            for (value, count) in counts {
                self.labelled(&name, label, value, *count);
            }
        }
        let numbers = [
            (
                "checkpoint_bytes_total",
                "Bytes captured.",
                "counter",
                stats.bytes,
            ),
            (
                "checkpoint_files_total",
                "Files captured.",
                "counter",
                stats.files,
            ),
            ("pauses_total", "Pauses.", "counter", stats.pauses),
            (
                "judging_remembered_total",
                "Questions to contents whose answer was known from before.",
                "counter",
                stats.remembered,
            ),
            (
                "judging_read_total",
                "Questions to contents that one was read for.",
                "counter",
                stats.read,
            ),
            (
                "denied_total",
                "Attempts that the kernel refused.",
                "counter",
                stats.denied,
            ),
            (
                "queue_depth",
                "Effects that wait to be performed.",
                "gauge",
                stats.queue,
            ),
        ];
        for (what, help, kind, value) in numbers {
            let name = format!("palisade_{what}");
            self.head(&name, help, kind);
            self.line(&name, value);
        }
    }

    /// What works have used of what they may use.
    fn allowances(&mut self, shown: &Shown) {
        type Of = fn(&WorkDisk) -> (u64, u64);
        let kinds: [(&str, &str, Of); 3] = [
            ("disk_bytes", "Bytes on disk", |it| {
                (it.used.disk_bytes, it.allowed.disk_bytes)
            }),
            ("files", "Files on disk", |it| {
                (it.used.files, it.allowed.files)
            }),
            ("output_bytes", "Bytes printed", |it| {
                (it.used.output_bytes, it.allowed.output_bytes)
            }),
        ];
        for (what, help, of) in kinds {
            let used = format!("palisade_work_{what}");
            let allowed = format!("{used}_max");
            self.head(
                &used,
                &format!("{help} by all sessions of a work."),
                "gauge",
            );
            for it in &shown.works {
                self.labelled(&used, "work", &it.work.to_string(), of(it).0);
            }
            self.head(&allowed, &format!("{help} that a work may take."), "gauge");
            for it in &shown.works {
                self.labelled(&allowed, "work", &it.work.to_string(), of(it).1);
            }
        }
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        if writeln!(self.text, "{line}").is_err() {
            self.text.push('\n');
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.put(format_args!("# HELP {name} {help}"));
        self.put(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, name: &str, value: u64) {
        self.put(format_args!("{name} {value}"));
    }

    fn labelled(&mut self, name: &str, label: &str, value: &str, number: u64) {
        self.put(format_args!(
            "{name}{{{label}=\"{}\"}} {number}",
            escaped(value)
        ));
    }

    fn summary(&mut self, name: &str, help: &str, latency: &Latency) {
        self.head(name, help, "summary");
        for (quantile, micros) in quantiles(latency) {
            let seconds = seconds(micros);
            self.put(format_args!("{name}{{quantile=\"{quantile}\"}} {seconds}"));
        }
        self.put(format_args!("{name}_sum {}", seconds(latency.sum)));
        self.put(format_args!("{name}_count {}", latency.count));
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_a_summary_in_seconds() {
        let mut page = Page::default();
        page.summary("x_seconds", "X.", &Latency::of(vec![1_500, 2_000_000]));
        let wanted = "# HELP x_seconds X.\n# TYPE x_seconds summary\n\
                      x_seconds{quantile=\"0.5\"} 0.001500\nx_seconds{quantile=\"0.95\"} 2.000000\n\
                      x_seconds{quantile=\"0.99\"} 2.000000\nx_seconds_sum 2.001500\nx_seconds_count 2\n";
        assert_eq!(page.text, wanted);
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        assert_eq!(escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    }
}
