//! `palisade stats`: what checkpoints, judgements and messages cost and came to.

use std::net::SocketAddr;

use clap::Parser;
use domain::WorkId;
use domain::allowance::{Allowance, Used};
use engine::views::health;
use engine::views::stats::{self, Latency, Stats};
use serde::Serialize;

use super::{Common, status};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::bytes;
use crate::table::Table;
use crate::terminal;

mod prometheus;

/// Show what checkpoints, judgements and messages cost and came to
///
/// Counted off the whole log: latencies of capture and judgement and how long agents stood still
/// for them, counts, failures and breakers, what waits to be done, and the disk. With --prometheus
/// in the text format of Prometheus; with --serve, over HTTP at `/metrics`, until Ctrl-C.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Print them for Prometheus.
    #[arg(long)]
    prometheus: bool,
    /// Serve them for Prometheus on this address, which must be a loopback one.
    #[arg(long, value_name = "127.0.0.1:PORT", conflicts_with = "prometheus")]
    serve: Option<SocketAddr>,
}

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    stats: Stats,
    works: Vec<WorkDisk>,
    disk: Option<Disk>,
    reserve: Option<Held>,
    /// Memory that programs can have, in bytes.
    memory_free: Option<u64>,
    degraded: Vec<String>,
}

/// How full the disk is that the state is on, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
struct Disk {
    /// What the operator may still use.
    free: u64,
    /// All of it.
    total: u64,
}

/// The reserve for what must be recorded on a full disk, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
struct Held {
    held: u64,
    wanted: u64,
}

/// What an open work takes.
#[derive(Debug, Serialize)]
struct WorkDisk {
    work: WorkId,
    name: String,
    /// The writable layer of the session under way, in bytes.
    layer_bytes: u64,
    /// The files of its last checkpoint, in bytes.
    kept_bytes: u64,
    /// What all its checkpoints, the layer and its agents' output came to.
    used: Used,
    /// What they may come to.
    allowed: Allowance,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    if let Some(address) = args.serve {
        return prometheus::serve(&context, address);
    }
    let shown = shown(&context)?;
    if args.prometheus {
        terminal::put(&prometheus::text(&shown));
    } else if common.json {
        terminal::json(&shown)?;
    } else {
        print(&shown);
    }
    Ok(Exit::Done)
}

fn shown(context: &Context) -> Result<Shown, Failure> {
    let world = context.recorder.world();
    let board = context.board()?;
    let mut works = Vec::new();
    for line in board.lines() {
        let Some(case) = board
            .cases
            .get(&line.work)
            .filter(|_| !status::is_over(&line))
        else {
            continue;
        };
        // A session that ends just now has no layer any more.
        let layer = case
            .live_session()
            .and_then(|(id, _)| world.workspaces.look(id).ok());
        let last = case
            .checkpoints
            .values()
            .rev()
            .find_map(|it| it.checkpoint());
        works.push(WorkDisk {
            work: line.work,
            name: line.name,
            layer_bytes: layer.map_or(0, |it| it.bytes),
            kept_bytes: last.map_or(0, |it| it.bytes_total),
            used: Used::of(case).and(
                layer.map_or(0, |it| it.bytes),
                layer.map_or(0, |it| it.entries),
            ),
            allowed: context.settings.allowance,
        });
    }
    let free = world.machine.free(&context.place.state).ok();
    Ok(Shown {
        stats: stats::read(world.log.as_ref())?,
        works,
        disk: free.map(|it| Disk {
            free: it.disk,
            total: it.disk_total,
        }),
        reserve: context.recorder.reserve().map(|it| Held {
            held: it.held(),
            wanted: it.wanted(),
        }),
        memory_free: free.map(|it| it.memory),
        degraded: health::open_breakers(world.log.as_ref())?,
    })
}

fn print(shown: &Shown) {
    let stats = &shown.stats;
    let mut table = Table::new(&["LATENCY", "COUNT", "P50", "P95", "P99", "MAX"]);
    let rows = [
        ("capture", stats.capture),
        ("judge", stats.judge),
        ("held still", stats.held),
    ];
    for (name, it) in rows {
        table.row([
            name.into(),
            it.count.to_string().into(),
            millis(it.p50).into(),
            millis(it.p95).into(),
            millis(it.p99).into(),
            millis(it.max).into(),
        ]);
    }
    table.print(0);
    counts(shown);
    for told in &shown.degraded {
        terminal::say(terminal::styled(&terminal::printable(told), terminal::BAD));
    }
}

fn counts(shown: &Shown) {
    let stats = &shown.stats;
    let mut table = Table::new(&["", ""]);
    let listed = |counts: Vec<(&str, u64)>| {
        let words: Vec<_> = counts
            .iter()
            .map(|(it, count)| format!("{it} {count}"))
            .collect();
        words.join(", ")
    };
    let of = |counts: &std::collections::BTreeMap<&'static str, u64>| {
        listed(counts.iter().map(|(it, count)| (*it, *count)).collect())
    };
    let kept = format!("{} files, {}", stats.files, bytes(stats.bytes));
    let failures = stats
        .failures
        .iter()
        .map(|(it, count)| (it.as_str(), *count));
    let breakers: Vec<_> = stats
        .breakers
        .iter()
        .map(|(it, state)| format!("{it} {state}"))
        .collect();
    let remembered = format!(
        "{} answers known from before, {} found by reading",
        stats.remembered, stats.read
    );
    let rows = [
        ("checkpoints", of(&stats.checkpoints)),
        ("judged", of(&stats.judgements)),
        ("captured", kept),
        ("remembered", remembered),
        ("messages", of(&stats.messages)),
        ("rollbacks", of(&stats.rollbacks)),
        ("pauses", stats.pauses.to_string()),
        ("denied", stats.denied.to_string()),
        ("sessions", of(&stats.sessions)),
        ("failures", listed(failures.collect())),
        ("breakers", breakers.join(", ")),
        ("queue", stats.queue.to_string()),
    ];
    for (word, text) in rows.iter().filter(|(_, it)| !it.is_empty()) {
        table.row([(*word).into(), text.into()]);
    }
    for it in &shown.works {
        let text = format!(
            "{} written, {} kept; in all {} of {}, {} of {} files, {} of {} printed",
            bytes(it.layer_bytes),
            bytes(it.kept_bytes),
            bytes(it.used.disk_bytes),
            bytes(it.allowed.disk_bytes),
            it.used.files,
            it.allowed.files,
            bytes(it.used.output_bytes),
            bytes(it.allowed.output_bytes),
        );
        table.row([it.name.as_str().into(), text.into()]);
    }
    if let Some(disk) = shown.disk {
        let text = format!("{} of {} free", bytes(disk.free), bytes(disk.total));
        table.row(["disk".into(), text.into()]);
    }
    if let Some(memory) = shown.memory_free {
        table.row(["memory".into(), format!("{} free", bytes(memory)).into()]);
    }
    if let Some(reserve) = shown.reserve {
        let text = format!("{} of {} held", bytes(reserve.held), bytes(reserve.wanted));
        table.row(["reserve".into(), text.into()]);
    }
    table.print(0);
}

/// Returns microseconds as milliseconds.
fn millis(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10)
}

/// Returns the quantiles of a latency with their values.
const fn quantiles(it: &Latency) -> [(&'static str, u64); 3] {
    [("0.5", it.p50), ("0.95", it.p95), ("0.99", it.p99)]
}
