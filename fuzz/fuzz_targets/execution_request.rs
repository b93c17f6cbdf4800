//! Feeds what the fuzzer makes up to the target.
#![no_main]

#[path = "../src/execution_request.rs"]
mod execution_request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| execution_request::run(data));
