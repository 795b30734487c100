//! What a program says to a SOCKS port, in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::proxy::socks::fuzz_socks(bytes));
