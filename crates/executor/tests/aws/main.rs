//! Secrets from AWS, with moto in its place: who may do what is enforced, and every call is recorded
//! on its way. `./check` installs moto and runs these.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot set up must fail it"
)]

#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../executor/scene.rs"]
mod scene;
#[path = "../executor/sources.rs"]
mod sources;

mod callers;
mod moto;
mod policies;
mod refusals;
mod road;

use crate::moto::Cloud;

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn the_suite_holds_with_secrets_of_aws() {
    let cloud = Cloud::new();
    sources::hold(&cloud.scene);
}
