//! The engine's port over our own client: it keeps the contract that the fake keeps.

use std::sync::Arc;

use domain::ExecutionId;
use ports::executor::Request;
use serde_json::json;
use testkit::executor::contract::Setting;
use wire::execution::{Client, canonical};

use crate::scene::Scene;

fn product() -> impl Fn() -> Setting {
    || {
        let scene = Arc::new(Scene::new());
        let running = scene.start();
        let executor = Arc::new(Client::new(&running.socket));
        // The program lives as long as what asks it.
        let running = Arc::new(running);
        let asked = |scene: &Scene, id: u128| {
            let request = scene.request(scene.deploy(&format!("artifact {id}")));
            let envelope = request.approval.as_ref().map(|it| json!(it).to_string());
            Request {
                id: ExecutionId::from_bits(id),
                name: request.action.kind().name().to_owned(),
                arguments: canonical::text(&request.action.arguments()),
                target: request.target.to_string(),
                envelope: envelope.unwrap_or_default(),
            }
        };
        let (one, two, three) = (Arc::clone(&scene), Arc::clone(&scene), scene);
        Setting {
            executor,
            approved: Box::new(move |id| asked(&one, id)),
            // Signed, but for something else.
            unapproved: Box::new(move |id| Request {
                envelope: asked(&two, id + 1_000).envelope,
                ..asked(&two, id)
            }),
            effects: Box::new(move || {
                let _alive = &running;
                three.runs()
            }),
        }
    }
}

testkit::executor_contract!(product);
