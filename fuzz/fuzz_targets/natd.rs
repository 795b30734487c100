//! What comes to a port for natd, in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::proxy::redirected::fuzz(bytes));
