//! Relay cells of both formats.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::wire::relay::fuzz_relay_cell(bytes));
