//! Consensus diffs, applied to a few lines.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::directory::diff::fuzz(bytes));
