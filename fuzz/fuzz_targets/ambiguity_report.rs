//! Feeds what the fuzzer makes up to the target.
#![no_main]

#[path = "../src/ambiguity_report.rs"]
mod ambiguity_report;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ambiguity_report::run(data));
