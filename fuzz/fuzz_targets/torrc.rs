//! Lines of a torrc, read and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::config::torrc::fuzz_torrc(bytes));
