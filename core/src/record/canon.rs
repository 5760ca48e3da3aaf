//! Canonical JSON objects with known keys, written and read in one pass without a tree.
//!
//! Invariants:
//! - The writer is given keys in ascending order and writes RFC 8785; the header's keys fall in between by themselves.
//! - The reader accepts exactly what the writer writes: the same keys in the same order, no spaces, the shortest
//!   escapes, no leading zeros. So bytes that decode are canonical, and nothing has to be encoded again to know it.
//!   It is not a JSON parser: it knows which key comes next.

use std::borrow::Cow;

use crate::json;
use crate::record::{Header, RunMode, Time, VERSION};
use crate::tree::Hash;

use super::{Error, Malformed};

/// RFC 8785 numbers are doubles: an integer below this is one in every language.
pub(super) const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The header's keys in order; every kind has them all.
const HEADER_KEYS: [&str; 8] = [
    "boot_ms", "kind", "mode", "prev", "seq", "stack", "v", "wall_ms",
];

/// Writes one object.
pub(super) struct Writer<'h> {
    out: String,
    header: Option<(&'h Header, &'static str)>,
    header_next: usize,
    last_key: &'static str,
    too_big: Option<&'static str>,
}

impl<'h> Writer<'h> {
    /// A record of this kind: the header's keys are written where their place is.
    pub(super) fn record(header: &'h Header, kind: &'static str) -> Self {
        Writer {
            header: Some((header, kind)),
            ..Writer::object(512)
        }
    }

    /// An object without a header.
    pub(super) fn object(capacity: usize) -> Self {
        Writer {
            out: String::with_capacity(capacity),
            header: None,
            header_next: 0,
            last_key: "",
            too_big: None,
        }
    }

    pub(super) fn str(&mut self, key: &'static str, value: &str) {
        self.key(key);
        json::write_string(value, &mut self.out);
    }

    pub(super) fn optional_str(&mut self, key: &'static str, value: Option<&str>) {
        self.key(key);
        match value {
            Some(value) => json::write_string(value, &mut self.out),
            None => self.out.push_str("null"),
        }
    }

    pub(super) fn bool(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn uint(&mut self, key: &'static str, value: u64) {
        self.key(key);
        if value > INTEGER_MAX {
            self.too_big = Some(key);
        }
        push_digits(&mut self.out, value);
    }

    pub(super) fn optional_uint(&mut self, key: &'static str, value: Option<u64>) {
        match value {
            Some(value) => self.uint(key, value),
            None => self.optional_str(key, None),
        }
    }

    pub(super) fn int(&mut self, key: &'static str, value: i64) {
        self.key(key);
        if value.unsigned_abs() > INTEGER_MAX {
            self.too_big = Some(key);
        }
        if value < 0 {
            self.out.push('-');
        }
        push_digits(&mut self.out, value.unsigned_abs());
    }

    /// 64 hex digits.
    pub(super) fn hash(&mut self, key: &'static str, value: &Hash) {
        self.key(key);
        self.out.push('"');
        push_hex(&mut self.out, value);
        self.out.push('"');
    }

    pub(super) fn optional_hash(&mut self, key: &'static str, value: Option<&Hash>) {
        match value {
            Some(value) => self.hash(key, value),
            None => self.optional_str(key, None),
        }
    }

    /// `sha256:` and 64 hex digits: a digest that people see elsewhere too.
    pub(super) fn digest(&mut self, key: &'static str, value: &Hash) {
        self.key(key);
        self.out.push_str("\"sha256:");
        push_hex(&mut self.out, value);
        self.out.push('"');
    }

    pub(super) fn optional_digest(&mut self, key: &'static str, value: Option<&Hash>) {
        match value {
            Some(value) => self.digest(key, value),
            None => self.optional_str(key, None),
        }
    }

    pub(super) fn strings<S: AsRef<str>>(
        &mut self,
        key: &'static str,
        values: impl IntoIterator<Item = S>,
    ) {
        self.key(key);
        self.out.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            json::write_string(value.as_ref(), &mut self.out);
        }
        self.out.push(']');
    }

    /// An array of objects, each written by `write`.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        values: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Writer<'_>, T),
    ) {
        self.key(key);
        self.out.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            let mut inner = Writer::object(0);
            std::mem::swap(&mut inner.out, &mut self.out);
            inner.out.push('{');
            inner.last_key = "";
            let begin = inner.out.len();
            write(&mut inner, value);
            debug_assert!(
                inner.out.len() > begin,
                "an object here has at least one key"
            );
            inner.out.push('}');
            self.too_big = self.too_big.or(inner.too_big);
            std::mem::swap(&mut inner.out, &mut self.out);
        }
        self.out.push(']');
    }

    /// The object's bytes.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.header_before(None);
        self.out.push('}');
        match self.too_big {
            None => Ok(self.out.into_bytes()),
            Some(field) => Err(Error::NumberTooBig { field }),
        }
    }

    fn key(&mut self, key: &'static str) {
        self.header_before(Some(key));
        self.plain_key(key);
    }

    fn plain_key(&mut self, key: &'static str) {
        debug_assert!(self.last_key < key, "keys are written in order");
        self.last_key = key;
        match self.out.as_bytes().last() {
            None => self.out.push('{'),
            Some(b'{') => {}
            Some(_) => self.out.push(','),
        }
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    /// Writes the header's keys that come before `key`, or all that are left.
    fn header_before(&mut self, key: Option<&'static str>) {
        let Some((header, kind)) = self.header.take() else {
            return;
        };
        while let Some(next) = HEADER_KEYS
            .get(self.header_next)
            .filter(|next| key.is_none_or(|key| **next < key))
        {
            self.header_next += 1;
            match *next {
                "boot_ms" => self.uint(next, header.time.boot_ms),
                "kind" => self.str(next, kind),
                "mode" => self.str(next, header.mode.as_str()),
                "prev" => self.hash(next, &header.prev),
                "seq" => self.uint(next, header.seq),
                "stack" => self.str(next, &header.stack),
                "v" => self.uint(next, VERSION),
                _ => self.uint(next, header.time.wall_ms),
            }
        }
        self.header = Some((header, kind));
    }
}

fn push_digits(out: &mut String, value: u64) {
    let mut digits = [0u8; 20];
    let mut rest = value;
    let mut len = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        len += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend(
        digits
            .iter()
            .skip(digits.len() - len)
            .map(|digit| char::from(*digit)),
    );
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(
                DIGITS
                    .get(usize::from(nibble))
                    .map_or('?', |digit| char::from(*digit)),
            );
        }
    }
}

/// Reads one object.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    header: Option<PartialHeader<'a>>,
    header_next: usize,
    first: bool,
}

/// What has been read of the header.
#[derive(Default)]
struct PartialHeader<'a> {
    kind: &'a str,
    mode: Option<RunMode>,
    prev: Hash,
    seq: u64,
    stack: Cow<'a, str>,
    boot_ms: u64,
    wall_ms: u64,
}

/// A record's header, borrowed from its text.
#[derive(Debug, Clone)]
pub(crate) struct HeaderRef<'a> {
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) stack: Cow<'a, str>,
    pub(crate) mode: RunMode,
    pub(crate) time: Time,
}

impl HeaderRef<'_> {
    pub(super) fn into_owned(self) -> Header {
        Header {
            seq: self.seq,
            prev: self.prev,
            stack: self.stack.into_owned(),
            mode: self.mode,
            time: self.time,
        }
    }
}

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a> {
    /// A record; `kind` is what its header must say.
    pub(super) fn record(text: &'a str, kind: &'a str) -> Self {
        Reader {
            header: Some(PartialHeader {
                kind,
                ..PartialHeader::default()
            }),
            ..Reader::object(text)
        }
    }

    /// An object without a header.
    pub(super) fn object(text: &'a str) -> Self {
        Reader {
            text,
            at: 0,
            header: None,
            header_next: 0,
            first: true,
        }
    }

    pub(super) fn str(&mut self, key: &'static str) -> Read<Cow<'a, str>> {
        self.key(key)?;
        self.string()
    }

    pub(super) fn string_of(&mut self, key: &'static str) -> Read<String> {
        self.str(key).map(Cow::into_owned)
    }

    pub(super) fn optional_str(&mut self, key: &'static str) -> Read<Option<Cow<'a, str>>> {
        self.key(key)?;
        if self.skip("null") {
            Ok(None)
        } else {
            self.string().map(Some)
        }
    }

    pub(super) fn bool(&mut self, key: &'static str) -> Read<bool> {
        self.key(key)?;
        if self.skip("true") {
            Ok(true)
        } else if self.skip("false") {
            Ok(false)
        } else {
            Err(self.malformed("neither true nor false"))
        }
    }

    pub(super) fn uint(&mut self, key: &'static str) -> Read<u64> {
        self.key(key)?;
        self.digits()
    }

    pub(super) fn u32(&mut self, key: &'static str) -> Read<u32> {
        let at = self.at;
        u32::try_from(self.uint(key)?).map_err(|_| Malformed {
            at,
            why: "a number is too large for its field",
        })
    }

    pub(super) fn optional_uint(&mut self, key: &'static str) -> Read<Option<u64>> {
        self.key(key)?;
        if self.skip("null") {
            Ok(None)
        } else {
            self.digits().map(Some)
        }
    }

    pub(super) fn int(&mut self, key: &'static str) -> Read<i64> {
        self.key(key)?;
        let negative = self.skip("-");
        let magnitude = i64::try_from(self.digits()?).unwrap_or(i64::MAX);
        match (negative, magnitude) {
            (true, 0) => Err(self.malformed("minus zero")),
            (true, magnitude) => Ok(-magnitude),
            (false, magnitude) => Ok(magnitude),
        }
    }

    pub(super) fn hash(&mut self, key: &'static str) -> Read<Hash> {
        self.key(key)?;
        self.hash_value("\"")
    }

    pub(super) fn optional_hash(&mut self, key: &'static str) -> Read<Option<Hash>> {
        self.key(key)?;
        if self.skip("null") {
            Ok(None)
        } else {
            self.hash_value("\"").map(Some)
        }
    }

    pub(super) fn digest(&mut self, key: &'static str) -> Read<Hash> {
        self.key(key)?;
        self.hash_value("\"sha256:")
    }

    pub(super) fn optional_digest(&mut self, key: &'static str) -> Read<Option<Hash>> {
        self.key(key)?;
        if self.skip("null") {
            Ok(None)
        } else {
            self.hash_value("\"sha256:").map(Some)
        }
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Read<Vec<String>> {
        self.key(key)?;
        self.array(|reader| reader.string().map(Cow::into_owned))
    }

    /// An array of strings that is left out where it would be empty.
    pub(super) fn strings_if_any(&mut self, key: &'static str) -> Read<Vec<String>> {
        if !self.is_next(key)? {
            return Ok(Vec::new());
        }
        let values = self.strings(key)?;
        if values.is_empty() {
            return Err(self.malformed("an empty list that should be left out"));
        }
        Ok(values)
    }

    /// An array of objects, each read by `read`.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Reader<'a>) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.key(key)?;
        self.array(|reader| {
            let mut inner = Reader {
                at: reader.at,
                ..Reader::object(reader.text)
            };
            let value = read(&mut inner)?;
            inner.expect("}", "an object has more keys than it should")?;
            reader.at = inner.at;
            Ok(value)
        })
    }

    /// The end of a record: nothing may follow.
    pub(super) fn finish(mut self) -> Read<HeaderRef<'a>> {
        self.header_before(None)?;
        self.expect("}", "an unknown or misplaced key")?;
        if self.at != self.text.len() {
            return Err(self.malformed("bytes after the record"));
        }
        match self.header.take() {
            Some(PartialHeader {
                mode: Some(mode),
                prev,
                seq,
                stack,
                boot_ms,
                wall_ms,
                ..
            }) => Ok(HeaderRef {
                seq,
                prev,
                stack,
                mode,
                time: Time { wall_ms, boot_ms },
            }),
            _ => Err(self.malformed("no header")),
        }
    }

    fn key(&mut self, key: &'static str) -> Read<()> {
        self.header_before(Some(key))?;
        self.plain_key(key)
    }

    /// Whether that key comes next: past the header's that stand before it.
    fn is_next(&mut self, key: &'static str) -> Read<bool> {
        self.header_before(Some(key))?;
        let rest = self.rest().strip_prefix(",\"");
        let rest = rest.and_then(|rest| rest.strip_prefix(key));
        Ok(rest.is_some_and(|rest| rest.starts_with("\":")))
    }

    fn plain_key(&mut self, key: &'static str) -> Read<()> {
        let begin = if std::mem::take(&mut self.first) {
            "{\""
        } else {
            ",\""
        };
        if self.skip(begin) && self.skip(key) && self.skip("\":") {
            Ok(())
        } else {
            Err(self.malformed("not the key that belongs here"))
        }
    }

    fn header_before(&mut self, key: Option<&'static str>) -> Read<()> {
        let Some(mut header) = self.header.take() else {
            return Ok(());
        };
        while let Some(next) = HEADER_KEYS
            .get(self.header_next)
            .filter(|next| key.is_none_or(|key| **next < key))
        {
            self.header_next += 1;
            self.plain_key(next)?;
            match *next {
                "boot_ms" => header.boot_ms = self.digits()?,
                "kind" => {
                    if self.string()? != header.kind {
                        return Err(self.malformed("two kinds"));
                    }
                }
                "mode" => {
                    let mode = RunMode::parse(&self.string()?);
                    header.mode = Some(mode.ok_or_else(|| self.malformed("unknown mode"))?);
                }
                "prev" => header.prev = self.hash_value("\"")?,
                "seq" => header.seq = self.digits()?,
                "stack" => header.stack = self.string()?,
                "v" => {
                    if self.digits()? != VERSION {
                        return Err(self.malformed("unknown version"));
                    }
                }
                _ => header.wall_ms = self.digits()?,
            }
        }
        self.header = Some(header);
        Ok(())
    }

    fn string(&mut self) -> Read<Cow<'a, str>> {
        self.expect("\"", "not a string")?;
        let begin = self.at;
        let rest = self.rest();
        let plain = rest
            .bytes()
            .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
        let plain = plain.ok_or_else(|| self.malformed("a string without an end"))?;
        self.at += plain;
        if self.skip("\"") {
            return Ok(Cow::Borrowed(
                self.text.get(begin..begin + plain).unwrap_or_default(),
            ));
        }
        let mut text = rest.get(..plain).unwrap_or_default().to_owned();
        loop {
            let rest = self.rest();
            let run = rest
                .bytes()
                .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            let run = run.ok_or_else(|| self.malformed("a string without an end"))?;
            text.push_str(rest.get(..run).unwrap_or_default());
            self.at += run;
            if self.skip("\"") {
                return Ok(Cow::Owned(text));
            }
            text.push(self.escape()?);
        }
    }

    /// One escape, in the only form that the writer would use for its character.
    fn escape(&mut self) -> Read<char> {
        for (escape, character) in [
            ("\\\"", '"'),
            ("\\\\", '\\'),
            ("\\b", '\u{8}'),
            ("\\t", '\t'),
            ("\\n", '\n'),
            ("\\f", '\u{c}'),
            ("\\r", '\r'),
        ] {
            if self.skip(escape) {
                return Ok(character);
            }
        }
        let digits = self
            .rest()
            .strip_prefix("\\u00")
            .and_then(|rest| rest.get(..2));
        let lower = digits.filter(|digits| {
            digits
                .bytes()
                .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        });
        match lower.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) if code < 0x20 && !matches!(code, 8 | 9 | 10 | 12 | 13) => {
                self.at += "\\u0000".len();
                Ok(char::from(code))
            }
            _ => Err(self.malformed("an escape that is not canonical")),
        }
    }

    fn digits(&mut self) -> Read<u64> {
        let rest = self.rest();
        let len = rest
            .bytes()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        let digits = rest.get(..len).unwrap_or_default();
        if len > 1 && digits.starts_with('0') {
            return Err(self.malformed("a leading zero"));
        }
        match digits.parse() {
            Ok(value) if value <= INTEGER_MAX => {
                self.at += len;
                Ok(value)
            }
            _ => Err(self.malformed("not an integer below 2^53")),
        }
    }

    fn hash_value(&mut self, begin: &'static str) -> Read<Hash> {
        self.expect(begin, "not a digest")?;
        let hash = self.rest().get(..64).and_then(crate::checkpoint::unhex);
        let hash = hash.ok_or_else(|| self.malformed("not 64 lower-case hex digits"))?;
        self.at += 64;
        self.expect("\"", "a digest that is too long")?;
        Ok(hash)
    }

    fn array<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        self.expect("[", "not an array")?;
        let mut values = Vec::new();
        if self.skip("]") {
            return Ok(values);
        }
        loop {
            values.push(read(self)?);
            if self.skip("]") {
                return Ok(values);
            }
            self.expect(",", "an array without an end")?;
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, expected: &str) -> bool {
        let found = self.rest().as_bytes().starts_with(expected.as_bytes());
        if found {
            self.at += expected.len();
        }
        found
    }

    fn expect(&mut self, expected: &'static str, why: &'static str) -> Read<()> {
        if self.skip(expected) {
            Ok(())
        } else {
            Err(self.malformed(why))
        }
    }

    pub(super) const fn malformed(&self, why: &'static str) -> Malformed {
        Malformed { at: self.at, why }
    }
}
