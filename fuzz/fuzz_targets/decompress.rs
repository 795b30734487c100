//! Compressed bodies, each taken for every kind, whole and in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::directory::decompress::fuzz(bytes));
