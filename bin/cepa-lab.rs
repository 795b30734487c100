//! `cepa-lab`.
#![forbid(unsafe_code)]
fn main() {}
