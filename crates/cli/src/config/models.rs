//! The `[models]` table: which models sessions may ask, what they may take, and who is asked.

use std::path::PathBuf;

use domain::usage::{Cap, Money};
use engine::catalog::sheet::Table;
use engine::settings;
use judges::ModelJudges;
use ports::judges::Judges as _;
use ports::models::{Caps, Tape};

use super::{globs_of, positive};

/// What `tape` says to answer from one.
const REPLAY: &str = "replay:";

/// The table, understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Models {
    /// What the engine keeps to.
    pub(crate) settings: settings::Models,
    /// The control socket of a broker that runs as a service; none starts one when it is needed.
    pub(crate) broker: Option<PathBuf>,
}

/// Reads the table; what it does not say keeps its default.
pub(super) fn read(table: &Table<'_>) -> Models {
    let usual = settings::Models::default();
    let models = Models {
        settings: settings::Models {
            allowed: globs_of(table, "allowed"),
            caps: Caps {
                session: cap(table, "session_tokens", "session_usd"),
                work: cap(table, "work_tokens", "work_usd"),
                goal: cap(table, "goal_tokens", "goal_usd"),
                day: cap(table, "day_tokens", "day_usd"),
            },
            sent_bytes_max: positive(table, "sent_mib")
                .map_or(usual.sent_bytes_max, |it| it.saturating_mul(1 << 20)),
            tape: tape(table),
            judge: judge(table),
            for_every_agent: table.truth("every_agent", usual.for_every_agent),
        },
        broker: broker(table),
    };
    table.finish();
    models
}

fn cap(table: &Table<'_>, tokens: &'static str, money: &'static str) -> Cap {
    Cap {
        tokens: positive(table, tokens),
        money: table.text(money).map(|text| {
            let read = Money::parse(&text);
            if read.is_none() {
                let told = format!("`{money}` is an amount of dollars, such as \"2.50\"");
                table.fault(money, told);
            }
            read.unwrap_or_default()
        }),
    }
}

fn tape(table: &Table<'_>) -> Tape {
    let Some(text) = table.text("tape") else {
        return Tape::Off;
    };
    match (text.as_str(), text.strip_prefix(REPLAY)) {
        ("off", _) => Tape::Off,
        ("record", _) => Tape::Record,
        (_, Some(name)) if !name.is_empty() => Tape::Replay(name.to_string()),
        _ => {
            let told = "`tape` is \"off\", \"record\" or \"replay:\" and the name of a tape";
            table.fault("tape", told);
            Tape::Off
        }
    }
}

fn judge(table: &Table<'_>) -> String {
    let name = table.text("judge").unwrap_or_default();
    if !name.is_empty()
        && let Err(error) = ModelJudges.knows(&name)
    {
        table.fault("judge", error.to_string());
    }
    name
}

fn broker(table: &Table<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(table.text("broker")?);
    if !path.is_absolute() {
        table.fault(
            "broker",
            "`broker` is the absolute path of a control socket",
        );
    }
    Some(path)
}
