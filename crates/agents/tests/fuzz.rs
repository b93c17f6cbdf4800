//! The fuzz target of the signal channel, run briefly; `fuzz/` runs the same function for longer.

extern crate palisade_agents as agents;

use std::path::Path;

#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;
#[path = "../../../fuzz/src/signal_line.rs"]
mod signal_line;

#[test]
fn any_line_of_an_agent_is_a_signal_or_refused() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/signal_line");
    seeded::each(&seeds, 20_000, signal_line::run);
}
