//! The real broker, through its control socket, keeps what every way to models does.

use std::sync::Arc;

use ports::models::Models;

use crate::scene::Scene;

/// A scene that lives as long as the client of its broker.
struct Kept(Scene);

impl Models for Kept {
    fn open(
        &self,
        grant: &ports::models::Grant,
    ) -> Result<std::path::PathBuf, ports::models::Error> {
        self.0.client.open(grant)
    }

    fn account(
        &self,
        session: domain::SessionId,
    ) -> Result<ports::models::Account, ports::models::Error> {
        self.0.client.account(session)
    }

    fn close(
        &self,
        session: domain::SessionId,
    ) -> Result<ports::models::Account, ports::models::Error> {
        self.0.client.close(session)
    }
}

fn real() -> impl Fn() -> Arc<dyn Models> {
    || Arc::new(Kept(Scene::new()))
}

testkit::models_contract!(real);
