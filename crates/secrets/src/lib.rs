//! Credentials in bytes: known formats are found, and known values are watched for.
//!
//! Nothing in here keeps, prints or returns a value that was found. Whoever asks learns the rule,
//! the place, and a fingerprint by which the operator can accept what is no secret.
#![forbid(unsafe_code)]

pub mod held;
pub mod plausible;
pub mod rules;
pub mod scanner;
pub mod watch;

pub use scanner::{Hit, Scanner};
pub use watch::{Form, Passing, Sighting, Stream, Watch};
