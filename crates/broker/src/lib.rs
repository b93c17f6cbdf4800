//! The broker: the only way from a cell to a model. Keys are added here, budgets kept, secrets
//! stopped and exchanges taped; whoever reaches a session's socket acts in its name and budget.
//!
//! It is async inside (ADR 0010), since it holds many idle connections; the engine speaks to it
//! through `wire`, which blocks.
#![forbid(unsafe_code)]

pub mod bill;
pub mod broker;
pub mod config;
pub mod control;
pub mod door;
pub mod egress;
pub mod exchange;
pub mod fallback;
pub mod key;
pub mod ledger;
pub mod meter;
pub mod prices;
pub mod refusal;
pub mod relay;
pub mod route;
pub mod sending;
pub mod serving;
pub mod session;
pub mod tape;
pub mod tunnel;
pub mod upstream;

use std::sync::Arc;

pub use broker::{Broker, Fault, Folders};
pub use config::Config;

/// Serves a broker's control socket until the process ends; returns once it can be asked.
///
/// # Errors
/// When the control socket cannot be made.
pub fn start(broker: &Arc<Broker>) -> Result<(), Fault> {
    let path = broker.run().join(wire::message::CONTROL);
    let listener = broker::listen(&path, &broker.config.peers).map_err(|source| Fault::Io {
        doing: format!("listening at {}", path.display()),
        source,
    })?;
    drop(tokio::spawn(control::serve(Arc::clone(broker), listener)));
    Ok(())
}
