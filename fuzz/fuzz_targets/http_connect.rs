//! What a program says to a port for HTTP CONNECT, in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::proxy::http_connect::fuzz(bytes));
