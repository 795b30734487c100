//! The body of every relay message, and what they carry.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::wire::relay_msg::fuzz_relay_message(bytes));
