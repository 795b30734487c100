use super::*;
use crate::base::random::{Entropy, Seeded};
use crate::base::text::unhex;
use proptest::prelude::*;
use std::io::Write;

const MOST: usize = 8 << 20;
const COMPRESSED: [Encoding; 4] = [Encoding::Lzma, Encoding::Zstd, Encoding::Deflate, Encoding::Gzip];

fn encode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Identity => bytes.to_vec(),
        Encoding::Deflate => miniz_oxide::deflate::compress_to_vec_zlib(bytes, 9),
        Encoding::Gzip => {
            let length = u32::try_from(bytes.len()).unwrap();
            let deflated = miniz_oxide::deflate::compress_to_vec(bytes, 9);
            let end = [crc32(0, bytes).to_le_bytes(), length.to_le_bytes()].concat();
            [&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3][..], &deflated, &end].concat()
        }
        Encoding::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
        Encoding::Lzma => {
            let options = lzma_rust2::LzmaOptions::with_preset(6);
            let mut writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
    }
}

/// What a body becomes, in pieces of that length, and how it ends.
fn read(encoding: Encoding, body: &[u8], piece: usize, most: usize) -> (Vec<u8>, Result<(), Error>) {
    let (mut decompressor, mut all) = (Decompressor::new(encoding, most), Vec::new());
    let mut give = |bytes: &[u8]| {
        all.extend_from_slice(bytes);
        Ok(())
    };
    let pushed = body.chunks(piece).try_for_each(|piece| decompressor.push(piece, &mut give));
    let result = pushed.and_then(|()| decompressor.finish(&mut give));
    (all, result)
}

/// Lines that look like a directory's, and compress as well.
fn document(length: usize) -> Vec<u8> {
    let mut entropy = Seeded(8);
    let mut out = Vec::new();
    while out.len() < length {
        let mut bytes = [0; 24];
        entropy.fill(&mut bytes);
        out.extend_from_slice(b"onion-key\nntor-onion-key ");
        out.extend_from_slice(crate::base::text::base64_unpadded(&bytes).as_bytes());
        out.extend_from_slice(b"\np accept 20-23,43,53,79-81,88,110,143,194,220,389,443,464,531,543-544\n");
    }
    out.truncate(length);
    out
}

const TEXT: &[u8] = b"onion-key\nntor-onion-key AAAAAAAAAAAAAAAAAAAA\nonion-key\n";

/// `TEXT` by the libraries with which C tor's caches compress, as they call them: liblzma 5.4
/// with preset 6, libzstd 1.5.4 as a stream with level 9, zlib 1.2.13 with level 9.
const VECTORS: [(Encoding, &str); 4] = [
    (
        Encoding::Lzma,
        "5d00008000ffffffffffffffff00379b896bb39ff3668a5e64968d32cbe1907d89ca01bcbe172ed4fa1fffff7c5c0000",
    ),
    (Encoding::Zstd, "28b52ffd0060250100e06f6e696f6e2d6b65790a6e746f722d20410a6f6e696f6e2d6b65790a0200b8844931eb"),
    (Encoding::Deflate, "78dacbcfcbcccfd3cd4eade4ca2bc92fd2cd8771151cb1002eb83417001ff0120e"),
    (Encoding::Gzip, "1f8b0800000000000203cbcfcbcccfd3cd4eade4ca2bc92fd2cd8771151cb1002eb83417000529f97538000000"),
];

#[test]
fn what_c_tors_libraries_make_is_read_at_every_cut_and_not_when_cut_off() {
    for (encoding, hex) in VECTORS {
        let body = unhex(hex);
        assert_eq!(Encoding::detect(&body), Some(encoding));
        for piece in 1..=body.len() {
            assert_eq!(read(encoding, &body, piece, MOST), (TEXT.to_vec(), Ok(())), "{encoding:?} by {piece}");
        }
        // The last byte of lzma says nothing more.
        for length in 0..body.len() - usize::from(encoding == Encoding::Lzma) {
            let (out, result) = read(encoding, &body[..length], 5, MOST);
            assert_eq!(result, Err(Error::AnswerCut), "{encoding:?} {length}");
            assert!(TEXT.starts_with(&out));
        }
    }
}

/// Of C tor's src/test/test_util.c, `test_util_decompress_concatenated_impl`.
#[test]
fn streams_may_follow_each_other() {
    let mut random = vec![0; 4096];
    Seeded(5).fill(&mut random);
    for encoding in COMPRESSED {
        let (first, second) = (encode(encoding, &random[..2048]), encode(encoding, &random[2048..]));
        for piece in [1, 3, 100, 5000] {
            assert_eq!(read(encoding, &[&first[..], &second].concat(), piece, MOST), (random.clone(), Ok(())));
        }
        let (out, result) = read(encoding, &[&first[..], &second[..second.len() - 1]].concat(), 7, MOST);
        assert_eq!((out.starts_with(&random[..2048]), result), (true, Err(Error::AnswerCut)), "{encoding:?}");
    }
    let hex = VECTORS.map(|(encoding, hex)| (encoding, hex.repeat(3)));
    for (encoding, hex) in hex {
        assert_eq!(read(encoding, &unhex(&hex), 11, MOST), (TEXT.repeat(3), Ok(())));
    }
}

/// Of the same, `test_util_decompress_junk_impl`.
#[test]
fn junk_is_refused_wherever_it_stands() {
    let junk = b"This shouldn't be a compressed string by any means.";
    let mut random = vec![0; 4096];
    Seeded(6).fill(&mut random);
    for encoding in COMPRESSED {
        for piece in [1, 10, 5000] {
            assert_eq!(read(encoding, junk, piece, MOST), (Vec::new(), Err(Error::CompressionMalformed)));
            let good = encode(encoding, &random);
            let (out, result) = read(encoding, &[&good, &junk[..]].concat(), piece, MOST);
            assert_eq!((out == random, result), (true, Err(Error::CompressionMalformed)), "{encoding:?}");
        }
    }
}

/// Zlib and gzip have checksums of what they become; of zstd and lzma only some bytes show it.
#[test]
fn a_byte_that_changed_shows_where_there_are_checksums() {
    let text = document(3000);
    for encoding in [Encoding::Deflate, Encoding::Gzip] {
        let body = encode(encoding, &text);
        // Of a gzip head, the time and what made it say nothing; nor do the last bits before the
        // checksum.
        let (head, end) = if encoding == Encoding::Gzip { (4..10, GZIP_END) } else { (0..0, 4) };
        for at in (0..body.len()).filter(|at| !head.contains(at) && at + end + 1 != body.len()) {
            let mut bad = body.clone();
            bad[at] ^= 0x10;
            assert!(read(encoding, &bad, 100, MOST).1.is_err(), "{encoding:?} {at}");
        }
    }
}

#[test]
fn long_bodies_read_alike_however_they_are_cut() {
    let text = document(700_000);
    for encoding in Encoding::ALL {
        let body = encode(encoding, &text);
        for piece in [498, 1 << 14, usize::MAX] {
            let (out, result) = read(encoding, &body, piece, MOST);
            assert_eq!((out == text, result), (true, Ok(())), "{encoding:?} by {piece}");
        }
    }
}

#[test]
fn a_body_becomes_no_more_than_was_expected() {
    let text = document(100_000);
    for encoding in Encoding::ALL {
        let body = encode(encoding, &text);
        assert_eq!(read(encoding, &body, 400, text.len()).1, Ok(()));
        let (out, result) = read(encoding, &body, 400, text.len() - 1);
        assert_eq!(result, Err(Error::DocumentTooLong), "{encoding:?}");
        assert!(out.len() < text.len());
    }
    // Nor is it endless, though nothing comes of it.
    let empty = encode(Encoding::Deflate, b"");
    let (_, result) = read(Encoding::Deflate, &empty.repeat(MAX_STREAMS as usize + 1), 4000, MOST);
    assert_eq!(result, Err(Error::CompressionMalformed));
    let stored = [&[0x78, 1][..], &[0, 0, 0, 0xFF, 0xFF].repeat(20_000)].concat();
    assert_eq!(read(Encoding::Deflate, &stored, 4000, 10).1, Err(Error::DocumentTooLong));
}

/// C tor's `test_util_decompress_dos_impl`, and the shape of the lab's bomb: zeros without end.
#[test]
fn a_bomb_is_left_before_it_is_large() {
    let zeros = vec![0; 6 << 20];
    for encoding in COMPRESSED {
        let body = encode(encoding, &zeros);
        for piece in [50, 1 << 20] {
            let (out, result) = read(encoding, &body, piece, usize::MAX / 2);
            assert_eq!(result, Err(Error::CompressionBomb), "{encoding:?}");
            assert!(out.len() as u64 <= BOMB_FROM, "{encoding:?} {}", out.len());
        }
        // Below five megabytes nobody asks.
        assert_eq!(read(encoding, &encode(encoding, &zeros[..5_000_000]), 4096, MOST).1, Ok(()));
        // C tor's TROVE-2026-022: each is small, all of them are not.
        let small = encode(encoding, &zeros[..1 << 20]);
        assert_eq!(read(encoding, &small.repeat(6), 4096, usize::MAX / 2).1, Err(Error::CompressionBomb));
    }
    let honest = document(6 << 20);
    assert_eq!(read(Encoding::Deflate, &encode(Encoding::Deflate, &honest), 4096, MOST).1, Ok(()));
}

/// One byte that becomes 128 kilobytes, over and over.
#[test]
fn blocks_of_zstd_are_decoded_one_by_one() {
    let block = |is_last: u32| (is_last | 1 << 1 | 0x2_0000 << 3).to_le_bytes()[..3].to_vec();
    let head = [&ZSTD_MAGIC[..], &[0, 0x60]].concat();
    let body = [&head[..], &[block(0), vec![7]].concat().repeat(30), &block(1), &[7]].concat();
    let mut largest = 0;
    let mut decompressor = Decompressor::new(Encoding::Zstd, MOST);
    let mut count = 0;
    let mut give = |bytes: &[u8]| {
        assert!(bytes.iter().all(|byte| *byte == 7));
        largest = largest.max(bytes.len());
        count += bytes.len();
        Ok(())
    };
    decompressor.push(&body, &mut give).unwrap();
    decompressor.finish(&mut give).unwrap();
    assert_eq!((count, largest), (31 << 17, PIECE));
}

#[test]
fn heads_that_ask_for_too_much_are_refused() {
    let refused = |encoding, body: &[u8]| {
        (1..=body.len()).for_each(|piece| {
            assert_eq!(read(encoding, body, piece, MOST), (Vec::new(), Err(Error::CompressionMalformed)));
        });
    };
    // Windows: eight megabytes, and what a frame of one segment says of itself.
    refused(Encoding::Zstd, &[&ZSTD_MAGIC[..], &[0, 0x68, 1, 0, 0]].concat());
    refused(Encoding::Zstd, &[&ZSTD_MAGIC[..], &[0xA0, 0, 0, 0x41, 0, 1, 0, 0]].concat());
    // A dictionary that we have not, a block of a kind that nobody defined, one that is too long.
    refused(Encoding::Zstd, &[&ZSTD_MAGIC[..], &[1, 0x50, 9, 1, 0, 0]].concat());
    refused(Encoding::Zstd, &[&ZSTD_MAGIC[..], &[0, 0x50, 7, 0, 0]].concat());
    refused(Encoding::Zstd, &[&ZSTD_MAGIC[..], &[0, 0x50, 1, 0, 0xFF]].concat());
    // A dictionary of lzma, and its contexts.
    let lzma =
        |properties: u8, dictionary: u32| [&[properties][..], &dictionary.to_le_bytes(), &[0xFF; 8], &[0; 5]].concat();
    refused(Encoding::Lzma, &lzma(0x5D, MAX_LZMA_DICTIONARY + 1));
    refused(Encoding::Lzma, &lzma(0x5D, u32::MAX));
    refused(Encoding::Lzma, &lzma(9 * 3 + 3, 4096));
    refused(Encoding::Lzma, &lzma(225, 4096));
    // A gzip head that does not end, and flags of nobody's.
    refused(Encoding::Gzip, &[0x1F, 0x8B, 8, 0x20, 0, 0, 0, 0, 0, 3]);
    let endless = [&[0x1F, 0x8B, 8, NAME, 0, 0, 0, 0, 0, 3][..], &[b'x'; MAX_GZIP_HEAD]].concat();
    assert_eq!(read(Encoding::Gzip, &endless, 100, MOST).1, Err(Error::CompressionMalformed));
}

#[test]
fn a_gzip_head_may_say_more() {
    let plain = unhex(VECTORS[3].1);
    let flags = HEAD_CHECKSUM | EXTRA | NAME | COMMENT;
    let head = [&[0x1F, 0x8B, 8, flags, 0, 0, 0, 0, 0, 3, 2, 0][..], b"\0\0name\0comment\0", &[1, 2]].concat();
    let body = [&head, &plain[10..]].concat();
    for piece in 1..body.len() {
        assert_eq!(read(Encoding::Gzip, &body, piece, MOST), (TEXT.to_vec(), Ok(())));
    }
}

#[test]
fn what_takes_the_output_may_stop_it() {
    let mut decompressor = Decompressor::new(Encoding::Deflate, MOST);
    let body = encode(Encoding::Deflate, &document(50_000));
    let mut times = 0;
    let mut give = |_: &[u8]| {
        times += 1;
        Err(Error::LineTwice)
    };
    assert_eq!(decompressor.push(&body, &mut give), Err(Error::LineTwice));
    assert_eq!(decompressor.push(&body, &mut give), Err(Error::LineTwice));
    assert_eq!(decompressor.finish(&mut give), Err(Error::LineTwice));
    assert_eq!(times, 1);
}

#[test]
fn an_answer_to_a_stranger_is_not_compressed_in_every_way() {
    let head = |encoding| Head { status: 200, encoding, length: None, date: None };
    let made = |ask: Ask<'_>, encoding| Decompressor::for_answer(&ask, &head(encoding)).map(|it| it.most);
    for encoding in Encoding::ALL {
        assert_eq!(made(Ask::Microdescs(&[[0; 32]; 3]), Some(encoding)), Ok(3 * super::super::microdesc::MAX_LEN));
        let expected = if encoding.is_for_strangers() {
            Ok(super::super::http::MAX_HS_DESCRIPTOR)
        } else {
            Err(Error::EncodingRefused)
        };
        assert_eq!(made(Ask::HsDescriptor(&[0; 32]), Some(encoding)), expected);
    }
    assert_eq!(made(Ask::OwnDescriptor, None), Err(Error::EncodingRefused));
}

/// RFC 1952 gives the algorithm; the value is the one by which CRC-32 is known.
#[test]
fn the_checksum_of_gzip_is_the_known_one() {
    assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
    assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xCBF4_3926);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_encoded_is_read_again(
        bytes in proptest::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..3000),
        piece in 1..400_usize,
    ) {
        for encoding in Encoding::ALL {
            prop_assert_eq!(read(encoding, &encode(encoding, &bytes), piece, MOST), (bytes.clone(), Ok(())));
        }
    }

    /// Whatever becomes of it, it becomes the same in pieces, and nobody panics.
    #[test]
    fn mutants_do_no_harm(
        length in 0..3000_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = document(length);
        for encoding in COMPRESSED {
            let mut body = encode(encoding, &text);
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            fuzz(&body);
            fuzz(&body[..cut.index(body.len())]);
        }
    }
}
