//! The CloudEvents form, held against golden files.

use domain::{Digest, EventId, Timestamp};
use palisade_store::log::envelope;
use ports::log::{NewEvent, Position, Recorded};
use serde_json::Value;

fn recorded() -> Recorded {
    Recorded {
        position: Position(9),
        stream: "work/work_01h455vb4pex5vsknk084sn02q".to_owned(),
        version: 2,
        event: NewEvent {
            id: EventId::from_bits(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057),
            kind: "io.palisade.work.submitted.v1".to_owned(),
            time: Timestamp(1_767_225_600_123),
            actor: "operator:ada".to_owned(),
            epoch: u64::from(u32::MAX),
            correlation: "work_01h455vb4pex5vsknk084sn02q".to_owned(),
            causation: Some("eff_01h455vb4pex5vsknk084sn02q".to_owned()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            data: r#"{"title":"Mend the gate","round":1}"#.to_owned(),
        },
        previous: Digest::from_bytes([0xab; 32]),
        hash: Digest::from_bytes([0xcd; 32]),
    }
}

#[test]
fn an_event_with_everything() {
    let golden: Value = serde_json::from_str(include_str!("../golden/envelope.json")).unwrap();
    assert_eq!(envelope(&recorded(), "urn:palisade:local"), golden);
}

#[test]
fn what_is_absent_is_left_out() {
    let mut sparse = recorded();
    sparse.event.causation = None;
    sparse.event.traceparent = None;
    let envelope = envelope(&sparse, "urn:palisade:local");
    for name in ["causationid", "traceparent"] {
        assert!(envelope.get(name).is_none(), "{name}");
    }
}

#[test]
fn every_attribute_is_one_that_the_specification_allows() {
    let envelope = envelope(&recorded(), "urn:palisade:local");
    for (name, value) in envelope.as_object().unwrap() {
        let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        assert!(name.len() <= 20 && name.bytes().all(plain), "{name}");
        let filled = value.as_str().is_some_and(|it| !it.is_empty());
        assert!(filled || name == "data", "{name} is {value}");
    }
}
