//! Feeds what the fuzzer makes up to the target.
#![no_main]

#[path = "../src/import_filter.rs"]
mod import_filter;

libfuzzer_sys::fuzz_target!(|data: &[u8]| import_filter::run(data));
