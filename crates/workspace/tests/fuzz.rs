//! The fuzz target of the import filter, run briefly; `fuzz/` runs the same function for longer.

extern crate palisade_workspace as workspace;

use std::path::Path;

#[path = "../../../fuzz/src/import_filter.rs"]
mod import_filter;
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;

#[test]
fn any_change_of_an_agent_is_judged_and_what_passes_is_harmless() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/import_filter");
    seeded::each(&seeds, 2_000, import_filter::run);
}
