//! X.509 certificates, and P-256 private keys.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::crypto::x509::fuzz(bytes));
