//! Feeds what the fuzzer makes up to the target.
#![no_main]

#[path = "../src/reply_guard.rs"]
mod reply_guard;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reply_guard::run(data));
