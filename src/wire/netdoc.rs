//! Directory documents, cut into items: a keyword line, its arguments, perhaps an object.
//!
//! Attaches no meaning: which keywords there are, how often and in which order, is for
//! those who know the document. Copies nothing, keeps where each item lies (signatures
//! cover ranges of a document), and takes a document whole or piece by piece. Called by
//! `directory` and `onion`. Spec: dir-spec, "Document meta-format".
//!
//! Where the two programs differ on bad input, and what is done here:
//! - Empty lines, comments and white space before a keyword: C tor skips them, Arti refuses
//!   them. Refused; no document has any.
//! - A last line without its end: Arti refuses it, C tor takes it. Taken, because the
//!   decrypted layers of a C tor's onion-service descriptor end so.
//! - Text that is not UTF-8, a `NUL`, a byte-order mark: C tor's authorities refuse them in
//!   what relays send them, Arti everywhere. Refused.

use super::Error;
use crate::base::text;
use core::ops::Range;

/// A place in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// How many bytes come before it.
    pub offset: usize,
    /// The number of its line, from 1.
    pub line: usize,
}

impl Position {
    /// The front of a document.
    pub const START: Position = Position { offset: 0, line: 1 };
}

/// What is wrong with a document, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub error: Error,
    /// The front of the line at which it shows.
    pub at: Position,
}

/// One item of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its keyword; with its `@` if it is an annotation, without an `opt` before it.
    pub keyword: &'a str,
    /// The rest of its line, after one space or tab.
    pub rest: &'a str,
    /// The object after its line.
    pub object: Option<Object<'a>>,
    /// The front of its line.
    pub at: Position,
    /// The number of bytes up to the end of the item, with the end of its last line.
    pub len: usize,
}

impl<'a> Item<'a> {
    /// Whether it was added by whoever stored the document, and is not part of it.
    pub fn is_annotation(&self) -> bool {
        self.keyword.starts_with('@')
    }

    /// The arguments, which spaces and tabs part.
    pub fn args(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.rest.split([' ', '\t']).filter(|arg| !arg.is_empty())
    }

    /// Where the item is in its document.
    pub fn span(&self) -> Range<usize> {
        self.at.offset..self.at.offset + self.len
    }
}

/// What stands between a BEGIN and an END line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// What the lines call it.
    pub label: &'a str,
    /// Lines with the characters of base64, each with its end.
    pub base64: &'a str,
}

impl Object<'_> {
    /// Its bytes.
    pub fn decode(&self) -> Result<Vec<u8>, Error> {
        let mut joined = String::with_capacity(self.base64.len());
        joined.extend(self.base64.split('\n'));
        text::from_base64(&joined).map_err(|_| Error::BadObjectBase64)
    }
}

/// Cuts a document into items.
///
/// After a [`Fault`] it goes on at a later line, so that one bad entry need not cost a
/// whole answer; whoever wants all or nothing stops there.
#[derive(Clone, Debug)]
pub struct Tokenizer<'a> {
    here: Scan<'a>,
}

impl<'a> Tokenizer<'a> {
    /// Of a whole document.
    pub fn new(document: &'a [u8]) -> Self {
        Tokenizer::last_piece(document, Position::START)
    }

    /// Of a piece that begins at `at`, where an item begins, and after which more comes.
    ///
    /// It ends before the first item that is not known to be all there. The next piece
    /// begins at [`Tokenizer::position`]: keep the bytes from there and add to them. Of
    /// [`MAX_ITEM_LEN`] bytes there is always something to take.
    pub fn piece(bytes: &'a [u8], at: Position) -> Self {
        Tokenizer { here: Scan { bytes, at, is_last: false } }
    }

    /// Of the last piece, that begins at `at`.
    pub fn last_piece(bytes: &'a [u8], at: Position) -> Self {
        Tokenizer { here: Scan { bytes, at, is_last: true } }
    }

    /// Where the next item begins.
    pub fn position(&self) -> Position {
        self.here.at
    }
}

impl<'a> Iterator for Tokenizer<'a> {
    type Item = Result<Item<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut ahead = self.here;
        let item = item(&mut ahead).transpose()?;
        self.here = ahead;
        Some(item)
    }
}

/// Adds a line to a document.
pub fn write_line(out: &mut String, keyword: &str, args: &[&str]) {
    out.push_str(keyword);
    for arg in args {
        out.push(' ');
        out.push_str(arg);
    }
    out.push('\n');
}

/// Adds an object to a document.
pub fn write_object(out: &mut String, label: &str, data: &[u8]) {
    out.push_str(&format!("{BEGIN}{label}{DASHES}\n"));
    for line in data.chunks(BASE64_LINE_BYTES) {
        out.push_str(&text::base64(line));
        out.push('\n');
    }
    out.push_str(&format!("{END}{label}{DASHES}\n"));
}

/// A place to read lines from. A copy looks ahead.
#[derive(Clone, Copy, Debug)]
struct Scan<'a> {
    bytes: &'a [u8],
    at: Position,
    is_last: bool,
}

impl<'a> Scan<'a> {
    /// The next line without its end; `None` if it is not all there.
    fn line(&mut self) -> Result<Option<&'a str>, Fault> {
        let at = self.at;
        let window = self.bytes.get(..=MAX_LINE_LEN).unwrap_or(self.bytes);
        let line = match find_newline(window) {
            Some(len) => self.take(len, 1),
            None if self.bytes.len() > MAX_LINE_LEN => {
                self.take(MAX_LINE_LEN, 0);
                return Err(Fault { error: Error::LineTooLong, at });
            }
            None if self.is_last && !self.bytes.is_empty() => self.take(self.bytes.len(), 0),
            None => return Ok(None),
        };
        match core::str::from_utf8(line) {
            Ok(line) => Ok(Some(line)),
            Err(_) => Err(Fault { error: Error::NotUtf8, at }),
        }
    }

    /// The next `len` bytes; then skips `newlines` more.
    fn take(&mut self, len: usize, newlines: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at_checked(len).unwrap_or((self.bytes, &[]));
        self.bytes = rest.get(newlines..).unwrap_or_default();
        self.at = Position { offset: self.at.offset + len + newlines, line: self.at.line + newlines };
        taken
    }

    /// Whether the next line begins an object; `None` if that is not all there.
    fn begins_object(&self) -> Option<bool> {
        let is_cut = self.bytes.len() < BEGIN.len() && BEGIN.as_bytes().starts_with(self.bytes);
        if is_cut && !self.is_last { None } else { Some(self.bytes.starts_with(BEGIN.as_bytes())) }
    }
}

/// The next item; `None` if there is none or it is not all there.
fn item<'a>(scan: &mut Scan<'a>) -> Result<Option<Item<'a>>, Fault> {
    let at = scan.at;
    let Some(line) = scan.line()? else { return Ok(None) };
    let (keyword, rest) = keyword_line(line, at).map_err(|error| Fault { error, at })?;
    let object = match scan.begins_object() {
        None => return Ok(None),
        Some(false) => None,
        Some(true) => match object(scan)? {
            None => return Ok(None),
            object => object,
        },
    };
    Ok(Some(Item { keyword, rest, object, at, len: scan.at.offset - at.offset }))
}

fn keyword_line(line: &str, at: Position) -> Result<(&str, &str), Error> {
    if at.offset == 0 && line.starts_with(['\u{FEFF}', '\u{FFFE}']) {
        return Err(Error::ByteOrderMark);
    }
    if line.is_empty() {
        return Err(Error::EmptyLine);
    }
    if has_nul(line.as_bytes()) {
        return Err(Error::NulInDocument);
    }
    let (keyword, rest) = split_keyword(line);
    if keyword == "opt" && !rest.is_empty() {
        let (keyword, rest) = split_keyword(rest.trim_start_matches([' ', '\t']));
        // A second `opt` could not be told from the first when written again.
        let good = is_keyword(keyword) && keyword != "opt";
        return if good { Ok((keyword, rest)) } else { Err(Error::BadKeyword) };
    }
    let bare = keyword.strip_prefix('@').unwrap_or(keyword);
    if is_keyword(bare) { Ok((keyword, rest)) } else { Err(Error::BadKeyword) }
}

/// Splits at the first space or tab.
fn split_keyword(line: &str) -> (&str, &str) {
    let end = line.bytes().position(|c| c == b' ' || c == b'\t').unwrap_or(line.len());
    let (keyword, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    (keyword, rest.get(1..).unwrap_or_default())
}

fn is_keyword(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-') && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

/// The object that begins at the next line; `None` if it is not all there.
fn object<'a>(scan: &mut Scan<'a>) -> Result<Option<Object<'a>>, Fault> {
    let at = scan.at;
    let Some(line) = scan.line()? else { return Ok(None) };
    let label = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
    let Some(label) = label.filter(|label| label.split(' ').all(is_keyword)) else {
        return Err(Fault { error: Error::BadObjectBegin, at });
    };
    let data = *scan;
    let Some(end) = object_end(scan)? else { return Ok(None) };
    if end.label.strip_suffix(DASHES) != Some(label) {
        return Err(Fault { error: Error::BadObjectEnd, at: end.at });
    }
    let base64 = data.bytes.get(..end.at.offset - data.at.offset).and_then(|bytes| core::str::from_utf8(bytes).ok());
    Ok(Some(Object { label, base64: base64.unwrap_or_default() }))
}

/// The line that ends an object.
struct ObjectEnd<'a> {
    /// What it calls the object, and dashes.
    label: &'a str,
    at: Position,
}

/// Passes over an object's lines and the one that ends it; `None` if that is not there.
fn object_end<'a>(scan: &mut Scan<'a>) -> Result<Option<ObjectEnd<'a>>, Fault> {
    let data = scan.at.offset;
    loop {
        let before = *scan;
        let fault = |error| Err(Fault { error, at: before.at });
        let Some(line) = scan.line()? else {
            return if scan.is_last { fault(Error::BadObjectEnd) } else { Ok(None) };
        };
        if let Some(label) = line.strip_prefix(END) {
            return Ok(Some(ObjectEnd { label, at: before.at }));
        }
        if !is_base64(line.as_bytes()) {
            // The object was not ended, and this may well be the next item.
            *scan = before;
            return fault(Error::BadObjectBase64);
        }
        if scan.at.offset - data > MAX_OBJECT_LEN {
            return fault(Error::ObjectTooLong);
        }
    }
}

/// Whether all of `line` is of the alphabet. Like the two below it looks at every byte,
/// without leaving early, so that it becomes a few comparisons of vectors.
fn is_base64(line: &[u8]) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() | (c == b'+') | (c == b'/') | (c == b'=');
    line.iter().fold(true, |all, &c| all & good(c))
}

fn find_newline(bytes: &[u8]) -> Option<usize> {
    let (chunks, tail) = bytes.as_chunks::<16>();
    let is_newline = |&c: &u8| c == b'\n';
    for (n, chunk) in chunks.iter().enumerate() {
        if chunk.iter().fold(false, |found, c| found | is_newline(c)) {
            return chunk.iter().position(is_newline).map(|at| n * 16 + at);
        }
    }
    tail.iter().position(is_newline).map(|at| bytes.len() - tail.len() + at)
}

fn has_nul(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &c| found | (c == 0))
}

/// Cuts `bytes` whole and in pieces; both must give the same, items must lie where they
/// say, and what is written from them must be cut into them again.
pub fn fuzz_netdoc(bytes: &[u8]) {
    let whole: Vec<_> = Tokenizer::new(bytes).collect();
    for step in [1, 7] {
        assert_eq!(cut_in_pieces(bytes, step), whole);
    }
    let mut again = String::new();
    for item in whole.iter().flatten() {
        assert!(bytes.get(item.span()).is_some_and(|span| !span.is_empty()));
        write_line(&mut again, item.keyword, &[item.rest]);
        if let Some(Object { label, base64 }) = item.object {
            again.push_str(&format!("{BEGIN}{label}{DASHES}\n{base64}{END}{label}{DASHES}\n"));
        }
    }
    let facts =
        |item: &Item<'_>| (item.keyword.to_owned(), item.rest.to_owned(), item.object.map(|o| o.base64.to_owned()));
    let cut: Vec<_> = Tokenizer::new(again.as_bytes()).flatten().map(|item| facts(&item)).collect();
    assert_eq!(cut, whole.iter().flatten().map(facts).collect::<Vec<_>>());
}

/// As a caller does that gets `step` more bytes at a time.
fn cut_in_pieces(bytes: &[u8], step: usize) -> Vec<Result<Item<'_>, Fault>> {
    let mut found = Vec::new();
    let mut at = Position::START;
    for end in (0..bytes.len()).step_by(step) {
        let piece = bytes.get(at.offset..end.max(at.offset)).unwrap_or_default();
        let mut tokenizer = Tokenizer::piece(piece, at);
        found.extend(&mut tokenizer);
        at = tokenizer.position();
    }
    found.extend(Tokenizer::last_piece(bytes.get(at.offset..).unwrap_or_default(), at));
    found
}

/// The longest line. Chosen by C tor: `MAX_LINE_LENGTH`.
pub const MAX_LINE_LEN: usize = 128 * 1024;
/// The longest object, before it is decoded. Chosen by C tor: `MAX_UNPARSED_OBJECT_SIZE`.
pub const MAX_OBJECT_LEN: usize = 128 * 1024;
/// No item is longer: its line, the lines around its object, and the object with one line
/// too many.
pub const MAX_ITEM_LEN: usize = 4 * (MAX_LINE_LEN + 1) + MAX_OBJECT_LEN;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Bytes that make a line of 64 characters, as every document has them.
const BASE64_LINE_BYTES: usize = 48;

#[cfg(test)]
mod tests;
