//! The way to the executor: its client, by the socket that the operator has named.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ports::executor::Executor;
use wire::execution::Client;

use crate::config::Config;
use crate::context::Place;

/// How long an action is waited for in one go. It goes on when nobody waits, and the same request
/// sent again gets its receipt: so nobody who wants to stop waits longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the socket that is asked, if the operator has named one.
pub(crate) fn socket(place: &Place, config: &Config) -> Option<PathBuf> {
    let own = place.environment.executor.clone();
    own.or_else(|| config.executor.clone())
}

/// Returns the way to the executor, if the operator has named one.
pub(crate) fn way(place: &Place, config: &Config) -> Option<Arc<dyn Executor>> {
    let socket = socket(place, config)?;
    Some(Arc::new(Client::new(socket).with_patience(PATIENCE)))
}
