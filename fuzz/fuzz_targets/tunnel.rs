//! A tunnel and its far ends, and a list of what they do.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::circuit::far::fuzz_tunnel(bytes));
