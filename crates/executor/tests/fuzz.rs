//! The fuzz targets of the executor, run briefly; `fuzz/` runs the same functions for longer.

extern crate palisade_executor as executor;

use std::path::{Path, PathBuf};

#[path = "../../../fuzz/src/execution_request.rs"]
mod execution_request;
#[path = "../../../fuzz/src/migration_plan.rs"]
mod migration_plan;
#[path = "../../../fuzz/src/reply_guard.rs"]
mod reply_guard;
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;

fn seeds(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target)
}

#[test]
fn any_request_is_understood_as_it_was_said_or_refused() {
    seeded::each(&seeds("execution_request"), 20_000, execution_request::run);
}

#[test]
fn no_statement_that_may_run_reaches_out_whoever_reads_it() {
    seeded::each(&seeds("migration_plan"), 5_000, migration_plan::run);
}

#[test]
fn no_loaded_secret_passes_in_any_form() {
    seeded::each(&seeds("reply_guard"), 2_000, reply_guard::run);
}
