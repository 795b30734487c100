//! How a body travels: as it is, or compressed in one of the ways clients take.
//!
//! Only compresses; a client's side of it is not here. Called by `cache/mod.rs`, which keeps
//! what is asked for often, and by `cache/http.rs` for the names. Spec: dir-spec, "Standards
//! compliance". C tor: `feature/dircache/dircache.c` for what is preferred,
//! `lib/compress/compress_lzma.c` for the format of lzma, the old one without a container.

use std::io::Write;

use lzma_rust2::{LzmaOptions, LzmaWriter};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Encoding {
    Identity,
    /// The format of zlib.
    Deflate,
    Zstd,
    Lzma,
}

/// Whether a body is kept and sent many times, or made for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Kept,
    Passing,
}

/// How hard zlib and lzma try at what is kept, and zlib at what is not; ours.
const KEPT_LEVEL: u8 = 6;
const KEPT_LZMA_PRESET: u32 = 1;
const PASSING_LEVEL: u8 = 1;

impl Encoding {
    /// What is preferred first. C tor: lzma only for what is compressed beforehand.
    const PREFERRED: [Encoding; 4] = [Encoding::Lzma, Encoding::Zstd, Encoding::Deflate, Encoding::Identity];

    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Deflate => "deflate",
            Encoding::Zstd => "x-zstd",
            Encoding::Lzma => "x-tor-lzma",
        }
    }

    /// The best of those a client lists.
    pub(super) fn best<'a>(listed: impl Iterator<Item = &'a str> + Clone, usage: Use) -> Encoding {
        let fits = |encoding: &Encoding| usage == Use::Kept || *encoding != Encoding::Lzma;
        let is_listed = |encoding: &Encoding| listed.clone().any(|name| name == encoding.name());
        let best = Encoding::PREFERRED.into_iter().filter(fits).find(is_listed);
        best.unwrap_or(Encoding::Identity)
    }

    /// A body as it travels.
    pub(super) fn encode(self, body: &[u8], usage: Use) -> Vec<u8> {
        match (self, usage) {
            (Encoding::Identity, _) => body.to_vec(),
            (Encoding::Deflate, Use::Kept) => miniz_oxide::deflate::compress_to_vec_zlib(body, KEPT_LEVEL),
            (Encoding::Deflate, Use::Passing) => miniz_oxide::deflate::compress_to_vec_zlib(body, PASSING_LEVEL),
            (Encoding::Zstd, _) => compress_to_vec(body, CompressionLevel::Fastest),
            (Encoding::Lzma, _) => lzma(body).expect("a vector takes all that is written to it"),
        }
    }
}

fn lzma(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let options = LzmaOptions::with_preset(KEPT_LZMA_PRESET);
    let mut writer = LzmaWriter::new_use_header(Vec::new(), &options, None)?;
    writer.write_all(body)?;
    writer.finish()
}
