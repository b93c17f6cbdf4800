//! The `[models]` table: which models sessions may ask, what they may take, and who is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::egress::Host;
use domain::formula::is_name;
use domain::model::{CLASS_MODELS_MAX, Model};
use domain::usage::{Cap, Money};
use engine::catalog::sheet::Table;
use engine::settings;
use judges::ModelJudges;
use ports::judges::Judges as _;
use ports::models::{CLASSES_MAX, Caps, Egress, HOSTS_MAX, Tape};

use super::{globs_of, positive};

/// What `tape` says to answer from one.
const REPLAY: &str = "replay:";

/// What may leave for package registries in one session, in MiB.
const SENT_MIB: u64 = 16;

/// What may come in from them.
const RECEIVED_MIB: u64 = 2_048;

/// The table, understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Models {
    /// What the engine keeps to.
    pub(crate) settings: settings::Models,
    /// The control socket of a broker that runs as a service; none starts one when it is needed.
    pub(crate) broker: Option<PathBuf>,
}

impl Models {
    /// The same, with what may be reached beside models.
    pub(super) fn with(mut self, egress: Option<Egress>) -> Self {
        self.settings.egress = egress;
        self
    }
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
            classes: table
                .table("classes")
                .map(|it| classes(&it))
                .unwrap_or_default(),
            egress: None,
        },
        broker: broker(table),
    };
    table.finish();
    models
}

/// Reads the `[egress]` table: hosts that roles may fetch packages from, as far as broker.toml lists
/// them, too.
pub(super) fn egress(table: &Table<'_>) -> Egress {
    let hosts = table.texts("hosts");
    if hosts.len() > HOSTS_MAX {
        table.fault("hosts", format!("at most {HOSTS_MAX} hosts"));
    }
    for host in hosts.iter().filter(|it| Host::parse(it).is_none()) {
        let told = format!(
            "`{host}` is no host's name with its port, such as `static.crates.io:443`; addresses and \
             wildcards are none"
        );
        table.fault("hosts", told);
    }
    let mib = |key, usual: u64| {
        positive(table, key)
            .unwrap_or(usual)
            .saturating_mul(1 << 20)
    };
    let egress = Egress {
        hosts,
        sent_bytes_max: mib("sent_mib", SENT_MIB),
        received_bytes_max: mib("received_mib", RECEIVED_MIB),
    };
    table.finish();
    egress
}

/// Reads a class of models written as `CLASS=PROVIDER/MODEL[,PROVIDER/MODEL]`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn class(text: &str) -> Result<(String, Vec<Model>), String> {
    let (name, list) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not written CLASS=PROVIDER/MODEL"))?;
    let list: Vec<_> = list.split(',').map(str::to_string).collect();
    Ok((name.to_string(), members(name, &list)?))
}

fn classes(table: &Table<'_>) -> BTreeMap<String, Vec<Model>> {
    let lists = table.all_lists();
    if lists.len() > CLASSES_MAX {
        table.fault("", format!("at most {CLASSES_MAX} classes"));
    }
    let mut classes = BTreeMap::new();
    for (name, list) in lists {
        match members(&name, &list) {
            Ok(members) => drop(classes.insert(name, members)),
            Err(told) => table.fault(&name, told),
        }
    }
    classes
}

fn members(name: &str, list: &[String]) -> Result<Vec<Model>, String> {
    if !is_name(name) {
        let told = "is no name of a class: lower-case letters, digits, `-`, `_`";
        return Err(format!("`{name}` {told}"));
    }
    if list.is_empty() || list.len() > CLASS_MODELS_MAX {
        return Err(format!("a class has 1 to {CLASS_MODELS_MAX} models"));
    }
    let read = |it: &String| {
        Model::parse(it)
            .ok_or_else(|| format!("`{it}` is no model, such as `anthropic/claude-sonnet-4-5`"))
    };
    list.iter().map(read).collect()
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
    // A name without a provider may be a class: what it stands for is known when a run begins.
    if name.contains('/')
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
