//! The fuzz target of filed questions, run briefly; `fuzz/` runs the same function for longer.

extern crate palisade_domain as domain;

use std::path::Path;

#[path = "../../../fuzz/src/ambiguity_report.rs"]
mod ambiguity_report;
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;

#[test]
fn any_filing_of_an_agent_is_a_report_or_kept_as_malformed() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/ambiguity_report");
    seeded::each(&seeds, 20_000, ambiguity_report::run);
}
