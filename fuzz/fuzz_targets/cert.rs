//! Tor's own certificates, and RSA identities.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::crypto::cert::fuzz(bytes));
