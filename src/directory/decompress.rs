//! Bodies of directory answers, decompressed while they arrive: whatever C tor's caches send.
//!
//! Holds a window and no document: what comes out goes on at once. Not how a body is announced
//! (`http`), nor what it says. Called by `client`, between the two. Spec: dir-spec, "Standards
//! compliance"; RFC 1950 to 1952, RFC 8878; the header of lzma is that of its first format,
//! before containers. C tor: lib/compress.
//!
//! C tor: one stream may follow another, and what they become counts together.
//! Differs: what is not called compressed is taken as it is; C tor looks at its first bytes.
//! Checksums of zstd are passed over; C tor's caches make none, and every document has a digest.

use core::ops::Range;

use lzma_rust2::{Action, LzmaStream, Status};
use miniz_oxide::inflate::stream::{InflateState, MinReset, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use ruzstd::decoding::FrameDecoder;

use super::Error;
use super::http::{Ask, Encoding, Head};

/// The encodings that can be read here, for requests that say so.
pub const OFFERED: [Encoding; 5] = Encoding::ALL;
/// Output that a body may become before anybody asks how much it was. C tor:
/// `CHECK_FOR_COMPRESSION_BOMB_AFTER`.
pub const BOMB_FROM: u64 = 5 * 1024 * 1024;
/// Then it is at most so many times longer. C tor: `MAX_UNCOMPRESSION_FACTOR`.
pub const BOMB_FACTOR: u64 = 25;
/// The largest window of zstd: that of the level 9 with which C tor's caches compress.
pub const MAX_ZSTD_WINDOW: u64 = 4 * 1024 * 1024;
/// The largest dictionary of lzma: that of the preset 6 with which C tor's caches compress. C
/// tor itself takes up to 16 megabytes.
pub const MAX_LZMA_DICTIONARY: u32 = 8 * 1024 * 1024;
/// Bits of context in lzma, on which its tables depend. Chosen by liblzma: `LZMA_LCLP_MAX`.
pub const MAX_LZMA_CONTEXT: u32 = 4;
/// Streams that follow each other in one body, each of which must be begun; ours.
pub const MAX_STREAMS: u32 = 1024;
/// The longest head of a gzip stream, with names and comments that nobody reads; ours.
pub const MAX_GZIP_HEAD: usize = 1024;
/// How much longer than what it becomes a body may be, for heads and ends of streams; ours.
const SLACK: usize = 64 * 1024;
/// Bytes that are given at once; ours.
const PIECE: usize = 16 * 1024;

/// Takes what comes out; its error ends the matter.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

/// Decompresses one body.
pub struct Decompressor {
    decoder: Decoder,
    most: usize,
    taken: usize,
    given: usize,
    streams: u32,
    /// One stream ended, and no other began.
    is_between: bool,
    failed: Option<Error>,
    out: Box<[u8]>,
}

/// What one step did.
#[derive(Clone, Copy, Default)]
struct Step {
    /// Bytes of the input that are done with.
    consumed: usize,
    /// Bytes of the output.
    written: usize,
    /// It did something, though nothing of that may show.
    has_moved: bool,
    /// The stream ended.
    is_over: bool,
}

impl Decompressor {
    /// For a body that becomes at most so many bytes.
    pub fn new(encoding: Encoding, most: usize) -> Decompressor {
        Decompressor {
            decoder: Decoder::new(encoding),
            most,
            taken: 0,
            given: 0,
            streams: 0,
            is_between: true,
            failed: None,
            out: vec![0; PIECE].into(),
        }
    }

    /// For the body of an answer. To an anonymous request it may not be compressed in every
    /// way.
    pub fn for_answer(ask: &Ask<'_>, head: &Head) -> Result<Decompressor, Error> {
        let encoding = head.encoding.filter(|encoding| !ask.is_anonymous() || encoding.is_for_strangers());
        Ok(Decompressor::new(encoding.ok_or(Error::EncodingRefused)?, ask.most()))
    }

    /// Takes the next bytes, and gives what they become.
    pub fn push(&mut self, bytes: &[u8], give: &mut Sink<'_>) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.push_all(bytes, give);
        self.failed = result.err();
        result
    }

    /// All came.
    pub fn finish(mut self, give: &mut Sink<'_>) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while !self.is_between {
            let step = self.decoder.finish(&mut self.out)?;
            self.account(step, give)?;
            if !step.is_over && !step.has_moved {
                return Err(Error::AnswerCut);
            }
        }
        match self.decoder {
            Decoder::Identity => Ok(()),
            _ if self.decoder.has_rest() => Err(Error::CompressionMalformed),
            _ if self.streams == 0 => Err(Error::AnswerCut),
            _ => Ok(()),
        }
    }

    fn push_all(&mut self, bytes: &[u8], give: &mut Sink<'_>) -> Result<(), Error> {
        let mut rest = bytes;
        loop {
            if self.is_between {
                if rest.is_empty() && !self.decoder.has_rest() {
                    return Ok(());
                }
                self.begin()?;
            }
            let step = self.decoder.step(rest, &mut self.out)?;
            rest = rest.get(step.consumed..).unwrap_or_default();
            self.account(step, give)?;
            if !step.is_over && !step.has_moved {
                return if rest.is_empty() { Ok(()) } else { Err(Error::CompressionMalformed) };
            }
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.is_between = false;
        self.streams += 1;
        self.decoder.reset();
        if self.streams > MAX_STREAMS { Err(Error::CompressionMalformed) } else { Ok(()) }
    }

    /// Counts what came and went, before any of it is given.
    fn account(&mut self, step: Step, give: &mut Sink<'_>) -> Result<(), Error> {
        self.taken += step.consumed;
        self.given += step.written;
        self.is_between = step.is_over;
        if self.given > self.most || self.taken > self.most.saturating_add(SLACK) {
            return Err(Error::DocumentTooLong);
        }
        let (taken, given) = (self.taken as u64, self.given as u64);
        if given >= BOMB_FROM && given > taken.saturating_mul(BOMB_FACTOR) {
            return Err(Error::CompressionBomb);
        }
        let written = self.out.get(..step.written).unwrap_or_default();
        if written.is_empty() { Ok(()) } else { give(written) }
    }
}

/// One stream at a time, of one kind.
enum Decoder {
    Identity,
    Zlib(Box<InflateState>),
    Gzip(Box<Gzip>),
    Zstd(Box<Zstd>),
    Lzma(Box<Lzma>),
}

impl Decoder {
    fn new(encoding: Encoding) -> Decoder {
        match encoding {
            Encoding::Identity => Decoder::Identity,
            Encoding::Deflate => Decoder::Zlib(InflateState::new_boxed(DataFormat::Zlib)),
            Encoding::Gzip => Decoder::Gzip(Box::new(Gzip::new())),
            Encoding::Zstd => Decoder::Zstd(Box::new(Zstd::new())),
            Encoding::Lzma => Decoder::Lzma(Box::default()),
        }
    }

    /// Another stream begins.
    fn reset(&mut self) {
        match self {
            Decoder::Identity | Decoder::Zstd(_) => {}
            Decoder::Zlib(state) => state.reset_as(MinReset),
            Decoder::Gzip(gzip) => gzip.reset(),
            Decoder::Lzma(lzma) => lzma.stream = None,
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Error> {
        match self {
            Decoder::Identity => Ok(copy(input, out)),
            Decoder::Zlib(state) => inflated(state, input, out),
            Decoder::Gzip(gzip) => gzip.step(input, out),
            Decoder::Zstd(zstd) => zstd.step(input, out),
            Decoder::Lzma(lzma) => lzma.step(input, out, Action::Run),
        }
    }

    /// The same, when there is no more. Only lzma may not have said yet what it knows.
    fn finish(&mut self, out: &mut [u8]) -> Result<Step, Error> {
        match self {
            Decoder::Identity => Ok(Step { is_over: true, ..Step::default() }),
            Decoder::Lzma(lzma) => lzma.step(&[], out, Action::Finish),
            _ => Ok(Step::default()),
        }
    }

    /// Whether bytes are left that belong to the next stream.
    fn has_rest(&self) -> bool {
        matches!(self, Decoder::Lzma(lzma) if !lzma.waiting.is_empty())
    }
}

fn copy(input: &[u8], out: &mut [u8]) -> Step {
    let length = input.len().min(out.len());
    if let (Some(from), Some(to)) = (input.get(..length), out.get_mut(..length)) {
        to.copy_from_slice(from);
    }
    Step { consumed: length, written: length, has_moved: length > 0, is_over: false }
}

fn inflated(state: &mut InflateState, input: &[u8], out: &mut [u8]) -> Result<Step, Error> {
    let result = inflate(state, input, out, MZFlush::None);
    let is_over = match result.status {
        Ok(status) => status == MZStatus::StreamEnd,
        // It had nothing to do.
        Err(MZError::Buf) => false,
        Err(_) => return Err(Error::CompressionMalformed),
    };
    let (consumed, written) = (result.bytes_consumed, result.bytes_written);
    Ok(Step { consumed, written, has_moved: consumed > 0 || written > 0, is_over })
}

/// Moves bytes from the front of `input` until `waiting` has so many; gives how many were
/// moved.
fn gather(waiting: &mut Vec<u8>, wanted: usize, input: &[u8]) -> usize {
    let taken = input.get(..wanted.saturating_sub(waiting.len())).unwrap_or(input);
    waiting.extend_from_slice(taken);
    taken.len()
}

/// A step that only took bytes in.
fn waited(consumed: usize) -> Step {
    Step { consumed, has_moved: consumed > 0, ..Step::default() }
}

// --- gzip --------------------------------------------------------------------------------

/// A head, deflated bytes, and their checksum and length.
struct Gzip {
    inflate: Box<InflateState>,
    part: GzipPart,
    /// Of the head or the end, until it is all there.
    waiting: Vec<u8>,
    checksum: u32,
    length: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GzipPart {
    Head,
    Body,
    End,
}

const GZIP_END: usize = 8;

impl Gzip {
    fn new() -> Gzip {
        let inflate = InflateState::new_boxed(DataFormat::Raw);
        Gzip { inflate, part: GzipPart::Head, waiting: Vec::new(), checksum: 0, length: 0 }
    }

    fn reset(&mut self) {
        self.inflate.reset_as(MinReset);
        self.part = GzipPart::Head;
        self.waiting.clear();
        (self.checksum, self.length) = (0, 0);
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Error> {
        match self.part {
            GzipPart::Head => {
                // The head says only byte by byte how long it is.
                let Some(next) = input.get(..1) else { return Ok(Step::default()) };
                self.waiting.extend_from_slice(next);
                if is_gzip_head(&self.waiting)? {
                    self.waiting.clear();
                    self.part = GzipPart::Body;
                }
                Ok(waited(1))
            }
            GzipPart::Body => {
                let step = inflated(&mut self.inflate, input, out)?;
                let written = out.get(..step.written).unwrap_or_default();
                self.checksum = crc32(self.checksum, written);
                self.length = self.length.wrapping_add(u32::try_from(step.written).unwrap_or(u32::MAX));
                if step.is_over {
                    self.part = GzipPart::End;
                }
                Ok(Step { is_over: false, has_moved: step.has_moved || step.is_over, ..step })
            }
            GzipPart::End => {
                let consumed = gather(&mut self.waiting, GZIP_END, input);
                let expected = [self.checksum.to_le_bytes(), self.length.to_le_bytes()].concat();
                match self.waiting.len() {
                    GZIP_END if self.waiting == expected => Ok(Step { is_over: true, ..waited(consumed) }),
                    GZIP_END => Err(Error::CompressionMalformed),
                    _ => Ok(waited(consumed)),
                }
            }
        }
    }
}

/// Flags of a gzip head: what follows its ten bytes.
const HEAD_CHECKSUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xE0;

/// Whether a head is all there. RFC 1952, section 2.3.
fn is_gzip_head(head: &[u8]) -> Result<bool, Error> {
    const FRONT: [u8; 3] = [0x1F, 0x8B, 8];
    if !head.iter().zip(FRONT).all(|(byte, expected)| *byte == expected) || head.len() > MAX_GZIP_HEAD {
        return Err(Error::CompressionMalformed);
    }
    let Some((fixed, mut rest)) = head.split_at_checked(10) else { return Ok(false) };
    let flags = fixed.get(3).copied().unwrap_or(RESERVED);
    if flags & RESERVED != 0 {
        return Err(Error::CompressionMalformed);
    }
    if flags & EXTRA != 0 {
        let Some(([low, high], after)) = rest.split_first_chunk() else { return Ok(false) };
        let Some(after) = after.get(usize::from(u16::from_le_bytes([*low, *high]))..) else { return Ok(false) };
        rest = after;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Ok(false) };
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    Ok(rest.len() >= if flags & HEAD_CHECKSUM != 0 { 2 } else { 0 })
}

/// The CRC-32 of what came before and these bytes. RFC 1952, section 8.
fn crc32(before: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!before, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        CRC_TABLE.get(usize::from(low ^ byte)).copied().unwrap_or(0) ^ (crc >> 8)
    })
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let (mut at, mut number) = (0, 0_u32);
    while at < table.len() {
        let (mut crc, mut bit) = (number, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        (at, number) = (at + 1, number + 1);
    }
    table
};

// --- zstd --------------------------------------------------------------------------------

/// One frame, block by block. A block may be a thousand times as long as what it is written
/// in, so that no two are decoded before what came of the first is gone.
struct Zstd {
    decoder: FrameDecoder,
    /// Of a head or of a block, until it is all there.
    waiting: Vec<u8>,
    /// The head of the frame was read, and whether it announces a checksum.
    begun: Option<bool>,
    /// The last block was decoded.
    is_last: bool,
}

/// The longest block, as it is written and as it becomes. RFC 8878, section 3.1.1.2.4.
const MAX_ZSTD_BLOCK: usize = 128 * 1024;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

impl Zstd {
    fn new() -> Zstd {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_ZSTD_WINDOW);
        Zstd { decoder, waiting: Vec::new(), begun: None, is_last: false }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Error> {
        if self.decoder.can_collect() > 0 {
            return self.decode(&[], out);
        }
        if self.is_last {
            (self.begun, self.is_last) = (None, false);
            return Ok(Step { is_over: true, has_moved: true, ..Step::default() });
        }
        let Some(has_checksum) = self.begun else { return self.head(input) };
        let wanted = zstd_block(&self.waiting, has_checksum)?.len;
        let consumed = gather(&mut self.waiting, wanted, input);
        let block = zstd_block(&self.waiting, has_checksum)?;
        if self.waiting.len() < block.len {
            return Ok(waited(consumed));
        }
        let waiting = core::mem::take(&mut self.waiting);
        let step = self.decode(&waiting, out)?;
        self.waiting = waiting;
        self.waiting.clear();
        self.is_last = block.is_last;
        Ok(Step { consumed, has_moved: true, ..step })
    }

    fn head(&mut self, input: &[u8]) -> Result<Step, Error> {
        let wanted = zstd_head_len(&self.waiting)?;
        let consumed = gather(&mut self.waiting, wanted, input);
        if self.waiting.len() == zstd_head_len(&self.waiting)? {
            self.decoder.init(&*self.waiting).map_err(|_| Error::CompressionMalformed)?;
            self.begun = Some(self.waiting.get(4).is_some_and(|descriptor| descriptor & 4 != 0));
            self.waiting.clear();
        }
        Ok(waited(consumed))
    }

    /// Decodes a whole block, or gives what is there if it is empty.
    fn decode(&mut self, block: &[u8], out: &mut [u8]) -> Result<Step, Error> {
        let result = self.decoder.decode_from_to(block, out);
        let (consumed, written) = result.map_err(|_| Error::CompressionMalformed)?;
        if consumed != block.len() {
            return Err(Error::CompressionMalformed);
        }
        Ok(Step { written, has_moved: true, ..Step::default() })
    }
}

/// How long the head of a frame is, or at least how long. RFC 8878, section 3.1.1.1.
fn zstd_head_len(head: &[u8]) -> Result<usize, Error> {
    if !head.iter().zip(ZSTD_MAGIC).all(|(byte, expected)| *byte == expected) {
        return Err(Error::CompressionMalformed);
    }
    let Some(descriptor) = head.get(ZSTD_MAGIC.len()) else { return Ok(ZSTD_MAGIC.len() + 1) };
    let is_single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or(0);
    let size = match descriptor >> 6 {
        0 => usize::from(is_single),
        bits => 1 << bits,
    };
    Ok(ZSTD_MAGIC.len() + 1 + usize::from(!is_single) + dictionary + size)
}

/// What the head of a block says.
struct ZstdBlock {
    /// How long it is, with its head, and with the checksum if that comes next.
    len: usize,
    is_last: bool,
}

/// RFC 8878, section 3.1.1.2.
fn zstd_block(bytes: &[u8], has_checksum: bool) -> Result<ZstdBlock, Error> {
    let Some(([a, b, c], _)) = bytes.split_first_chunk() else { return Ok(ZstdBlock { len: 3, is_last: false }) };
    let head = u32::from_le_bytes([*a, *b, *c, 0]);
    let (is_last, kind, size) = (head & 1 != 0, head >> 1 & 3, usize::try_from(head >> 3).unwrap_or(usize::MAX));
    if kind == 3 || size > MAX_ZSTD_BLOCK {
        return Err(Error::CompressionMalformed);
    }
    // One byte, so many times.
    let body = if kind == 1 { 1 } else { size };
    let checksum = if is_last && has_checksum { 4 } else { 0 };
    Ok(ZstdBlock { len: 3 + body + checksum, is_last })
}

// --- lzma --------------------------------------------------------------------------------

/// One stream of the old format: 13 bytes of head, and no checksum.
#[derive(Default)]
struct Lzma {
    stream: Option<LzmaStream>,
    /// Of the head, until it is all there; then what was behind the stream before this.
    waiting: Vec<u8>,
}

const LZMA_HEAD: usize = 13;

impl Lzma {
    fn step(&mut self, input: &[u8], out: &mut [u8], action: Action) -> Result<Step, Error> {
        let Some(stream) = &mut self.stream else { return self.head(input) };
        let is_waiting = !self.waiting.is_empty();
        let source = if is_waiting { &self.waiting } else { input };
        let action = if is_waiting { Action::Run } else { action };
        let result = stream.process(source, out, action).map_err(|_| match action {
            Action::Run => Error::CompressionMalformed,
            Action::Finish => Error::AnswerCut,
        })?;
        let is_over = result.status == Status::StreamEnd;
        let behind: Vec<u8> = if is_over { stream.unused_input().to_vec() } else { Vec::new() };
        let used: Range<usize> = 0..if is_waiting { result.bytes_consumed } else { 0 };
        self.waiting.drain(used);
        self.waiting.splice(0..0, behind);
        let consumed = if is_waiting { 0 } else { result.bytes_consumed };
        let has_moved = result.bytes_consumed > 0 || result.bytes_produced > 0;
        Ok(Step { consumed, written: result.bytes_produced, has_moved, is_over })
    }

    fn head(&mut self, input: &[u8]) -> Result<Step, Error> {
        let consumed = gather(&mut self.waiting, LZMA_HEAD, input);
        let Some((&[properties, a, b, c, d, ref size @ ..], _)) = self.waiting.split_first_chunk::<LZMA_HEAD>() else {
            return Ok(waited(consumed));
        };
        let (properties, dictionary) = (u32::from(properties), u32::from_le_bytes([a, b, c, d]));
        let (lc, lp, pb) = (properties % 9, properties / 9 % 5, properties / 45);
        if pb > 4 || lc + lp > MAX_LZMA_CONTEXT || dictionary > MAX_LZMA_DICTIONARY {
            return Err(Error::CompressionMalformed);
        }
        let stream = LzmaStream::new(u64::from_le_bytes(*size), lc, lp, pb, dictionary, None);
        self.stream = Some(stream.map_err(|_| Error::CompressionMalformed)?);
        self.waiting.drain(..LZMA_HEAD);
        Ok(Step { has_moved: true, ..waited(consumed) })
    }
}

/// Any bytes as each kind of body, whole and in pieces: both must become the same.
pub fn fuzz(bytes: &[u8]) {
    const MOST: usize = 1 << 20;
    for encoding in Encoding::ALL {
        let read = |step: usize| {
            let (mut decompressor, mut all) = (Decompressor::new(encoding, MOST), Vec::new());
            let mut give = |bytes: &[u8]| {
                all.extend_from_slice(bytes);
                Ok(())
            };
            let pushed = bytes.chunks(step.max(1)).try_for_each(|piece| decompressor.push(piece, &mut give));
            let result = pushed.and_then(|()| decompressor.finish(&mut give));
            assert!(all.len() <= MOST);
            result.map(|()| all)
        };
        let whole = read(bytes.len());
        for step in [1, 7, 100] {
            let cut = read(step);
            // Of two faults, which shows first may depend on the cut.
            assert!(cut == whole || (cut.is_err() && whole.is_err()), "{encoding:?}");
        }
    }
}

#[cfg(test)]
mod tests;
