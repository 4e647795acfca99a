#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dash_fuzz::pickle(bytes));
