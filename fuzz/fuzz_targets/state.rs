//! The file `state` of a C tor, or of anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::client::state::fuzz(bytes));
