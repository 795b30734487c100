//! Lists of subprotocol versions.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::wire::protover::fuzz_protover(bytes));
