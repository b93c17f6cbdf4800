//! The CloudEvents 1.0 form of a stored event, for everything that leaves the house.

use jiff::Timestamp;
use ports::log::Recorded;
use serde_json::{Map, Value, json};

/// The only tenant of a log on one machine.
const TENANT: &str = "local";

/// Returns the event as a CloudEvents 1.0 envelope in JSON format. `source` is a URI reference
/// that names this installation, such as `urn:palisade:local`.
///
/// `aggregateversion` and `epoch` are strings, since an integer of CloudEvents has 32 bits.
#[must_use]
pub fn envelope(recorded: &Recorded, source: &str) -> Value {
    let event = &recorded.event;
    let mut envelope = Map::new();
    let mut put = |name: &str, value: Value| envelope.insert(name.to_owned(), value);
    put("specversion", json!("1.0"));
    put("id", json!(event.id));
    put("source", json!(source));
    put("type", json!(event.kind));
    put("time", json!(time(event.time).to_string()));
    put("subject", json!(recorded.stream));
    put(
        "dataschema",
        json!(format!("urn:palisade:schema:{}", event.kind)),
    );
    put("tenantid", json!(TENANT));
    put("correlationid", json!(event.correlation));
    if let Some(causation) = &event.causation {
        put("causationid", json!(causation));
    }
    if let Some(traceparent) = &event.traceparent {
        put("traceparent", json!(traceparent));
    }
    put("aggregateversion", json!(recorded.version.to_string()));
    put("actor", json!(event.actor));
    put("epoch", json!(event.epoch.to_string()));
    put("prevhash", json!(recorded.previous));
    // The log holds nothing but objects; an event from elsewhere still leaves as what it is.
    let (kind, data) = match serde_json::from_str(&event.data) {
        Ok(data) => ("application/json", data),
        Err(_) => ("text/plain", json!(event.data)),
    };
    put("datacontenttype", json!(kind));
    put("data", data);
    Value::Object(envelope)
}

/// Returns the moment; the log refuses what is over [`ports::log::TIME_MAX`].
fn time(time: domain::Timestamp) -> Timestamp {
    i64::try_from(time.0)
        .ok()
        .and_then(|it| Timestamp::from_millisecond(it).ok())
        .unwrap_or(Timestamp::MAX)
}
