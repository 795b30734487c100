//! A datagram that comes to the port for look-ups.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::proxy::dns::fuzz(bytes));
