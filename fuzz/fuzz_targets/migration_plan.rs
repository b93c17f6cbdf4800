//! Feeds what the fuzzer makes up to the target.
#![no_main]

#[path = "../src/migration_plan.rs"]
mod migration_plan;

libfuzzer_sys::fuzz_target!(|data: &[u8]| migration_plan::run(data));
