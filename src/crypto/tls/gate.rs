//! Which processors may run graviola.
//!
//! graviola panics on its first use where a feature is missing that it checks for, and
//! meets an unknown instruction where one is missing that it only says it needs (on x86_64
//! it checks bmi1 but not bmi2). So this list is both of its lists. Not a measure of
//! speed. Called by `Provider::best`. Spec: graviola 0.4, `src/low/{x86_64,aarch64}/cpu.rs`
//! and the list of architectures in its README.

/// Which of [`NEEDED`] a processor has, in that order.
pub(super) type Features = [bool; NEEDED.len()];

/// Whether a processor with these features can run graviola.
pub(super) fn allows_graviola(features: &Features) -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && features.iter().all(|&has| has)
}

/// What graviola needs of a processor.
#[cfg(target_arch = "x86_64")]
pub(super) const NEEDED: [&str; 8] = ["aes", "pclmulqdq", "bmi1", "bmi2", "adx", "avx", "avx2", "ssse3"];

/// The features of the processor we run on, as the operating system lets us use them.
#[cfg(target_arch = "x86_64")]
pub(super) fn detect() -> Features {
    use std::arch::is_x86_feature_detected as has;
    [has!("aes"), has!("pclmulqdq"), has!("bmi1"), has!("bmi2"), has!("adx"), has!("avx"), has!("avx2"), has!("ssse3")]
}

/// What graviola needs of a processor.
#[cfg(target_arch = "aarch64")]
pub(super) const NEEDED: [&str; 4] = ["neon", "aes", "pmull", "sha2"];

/// The features of the processor we run on, as the operating system lets us use them.
#[cfg(target_arch = "aarch64")]
pub(super) fn detect() -> Features {
    use std::arch::is_aarch64_feature_detected as has;
    [has!("neon"), has!("aes"), has!("pmull"), has!("sha2")]
}

/// graviola is not written for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) const NEEDED: [&str; 0] = [];

/// Nothing to detect.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn detect() -> Features {
    []
}
