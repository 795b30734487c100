//! Which processors have the fast TLS provider, by the word of the kernel.
//!
//! A second opinion: `src/crypto/tls/gate.rs` asks the processor itself, and a gate that
//! never opened would leave half of the tests out without a word. Called by the tests that
//! go through all providers. Spec: none.

/// Whether the kernel lists every feature that the fast provider wants; `None` where it
/// lists none.
pub fn can_run_graviola() -> Option<bool> {
    let wanted: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["aes", "pclmulqdq", "bmi1", "bmi2", "adx", "avx", "avx2", "ssse3"],
        "aarch64" => &["asimd", "aes", "pmull", "sha2"],
        _ => return Some(false),
    };
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"))?;
    let has: Vec<&str> = line.split_whitespace().collect();
    Some(wanted.iter().all(|feature| has.contains(feature)))
}
