//! What a proxy answers that is to connect for us.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::proxy::outward::fuzz(bytes));
