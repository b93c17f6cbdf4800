//! Feeds what the fuzzer makes up to the target.
#![no_main]

#[path = "../src/signal_line.rs"]
mod signal_line;

libfuzzer_sys::fuzz_target!(|data: &[u8]| signal_line::run(data));
