//! Strict JSON in, canonical text out.
//!
//! Invariants: a [`Value`] that came from [`parse`] is within every limit below, its objects are sorted by UTF-16 code
//! units without duplicates, and its numbers are exact. So `parse(v.canonical()) == v`, and equal values have equal
//! text: RFC 8785 (JCS) with exact decimals where JCS has doubles.

use crate::decimal::{Decimal, DecimalInvalid};
use std::cmp::Ordering;

/// Bytes of a document: a tool's arguments are text for a person or a query, not a file.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Arrays and objects open at once: bounds the recursion of everything that walks a value.
pub const DEPTH_MAX: usize = 32;
/// Members of an object up to which a plain search beats a binary one.
const LINEAR_SEARCH_MAX: usize = 8;

/// A parsed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`, which policies treat as absent.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Exact.
    Number(Decimal),
    /// Unescaped.
    String(Box<str>),
    /// In the order given.
    Array(Vec<Value>),
    /// In canonical order.
    Object(Object),
}

/// Members sorted by key in UTF-16 order, each key once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object(Vec<(Box<str>, Value)>);

/// Where and why a document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct JsonInvalid {
    /// Byte offset from the document's first.
    pub at: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// Everything that can be wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Beyond [`BYTES_MAX`].
    #[error("more than {BYTES_MAX} bytes")]
    TooLarge,
    /// Not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// A byte order mark.
    #[error("a byte order mark")]
    ByteOrderMark,
    /// It ends too early.
    #[error("unexpected end")]
    End,
    /// A byte that cannot stand there.
    #[error("unexpected character")]
    Unexpected,
    /// More after the document.
    #[error("more after the document's end")]
    Trailing,
    /// Beyond [`DEPTH_MAX`].
    #[error("more than {DEPTH_MAX} levels of nesting")]
    TooDeep,
    /// A key that the object has already, after unescaping.
    #[error("duplicate key")]
    DuplicateKey,
    /// A control character that is not escaped.
    #[error("unescaped control character")]
    ControlCharacter,
    /// A backslash with something unknown behind it.
    #[error("unknown escape")]
    Escape,
    /// Half of a surrogate pair.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// A number that is none, or beyond the limits of exact decimals.
    #[error("{0}")]
    Number(DecimalInvalid),
}

/// Parses a whole document.
///
/// # Errors
/// Everything that RFC 8259 does not allow, duplicate keys, lone surrogates, and documents beyond the limits.
pub fn parse(input: &[u8]) -> Result<Value, JsonInvalid> {
    if input.len() > BYTES_MAX {
        return Err(JsonInvalid {
            at: BYTES_MAX,
            problem: Problem::TooLarge,
        });
    }
    if input.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonInvalid {
            at: 0,
            problem: Problem::ByteOrderMark,
        });
    }
    let text = std::str::from_utf8(input).map_err(|error| JsonInvalid {
        at: error.valid_up_to(),
        problem: Problem::Utf8,
    })?;
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at == text.len() {
        Ok(value)
    } else {
        parser.fail(Problem::Trailing)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Value, JsonInvalid> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.nested(Parser::object),
            Some(b'[') => self.nested(Parser::array),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.unexpected(),
        }
    }

    fn nested(
        &mut self,
        parse: fn(&mut Parser<'a>) -> Result<Value, JsonInvalid>,
    ) -> Result<Value, JsonInvalid> {
        if self.depth == DEPTH_MAX {
            return self.fail(Problem::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let value = parse(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value, JsonInvalid> {
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            if !self.separator(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn object(&mut self) -> Result<Value, JsonInvalid> {
        let from = self.at;
        let mut members: Vec<(Box<str>, Value)> = Vec::new();
        let mut ascending = true;
        if self.take(b'}') {
            return Ok(Value::Object(Object(members)));
        }
        loop {
            let key = self.key()?;
            ascending &= members
                .last()
                .is_none_or(|(last, _)| utf16_cmp(last, &key) == Ordering::Less);
            let value = self.value()?;
            members.push((key, value));
            if !self.separator(b'}')? {
                break;
            }
        }
        if !ascending {
            members.sort_by(|(a, _), (b, _)| utf16_cmp(a, b));
            let twice = members
                .iter()
                .zip(members.iter().skip(1))
                .find(|((a, _), (b, _))| a == b);
            if let Some(((key, _), _)) = twice {
                return Err(self.duplicate(from, key));
            }
        }
        Ok(Value::Object(Object(members)))
    }

    /// A key, its colon, and the space up to the value.
    fn key(&mut self) -> Result<Box<str>, JsonInvalid> {
        if self.peek() != Some(b'"') {
            return self.unexpected();
        }
        let key = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return self.unexpected();
        }
        self.skip_space();
        Ok(key)
    }

    /// Where the second of two equal keys stands, in the object whose first key is at `from` and which parses.
    #[cold]
    fn duplicate(&mut self, from: usize, key: &str) -> JsonInvalid {
        self.at = from;
        let mut seen = false;
        loop {
            let at = self.at;
            match self.key() {
                Ok(found) if *found == *key && seen => {
                    return JsonInvalid {
                        at,
                        problem: Problem::DuplicateKey,
                    };
                }
                Ok(found) => seen |= *found == *key,
                Err(error) => return error,
            }
            if let Err(error) = self.value().and_then(|_| self.separator(b'}')) {
                return error;
            }
        }
    }

    /// After an item: true at a comma, false at the end.
    fn separator(&mut self, end: u8) -> Result<bool, JsonInvalid> {
        self.skip_space();
        if self.take(b',') {
            self.skip_space();
            return Ok(true);
        }
        if self.take(end) {
            Ok(false)
        } else {
            self.unexpected()
        }
    }

    fn string(&mut self) -> Result<Box<str>, JsonInvalid> {
        self.at += 1;
        let (first, end) = self.run()?;
        if end == b'"' {
            return Ok(first.into());
        }
        let mut text = String::from(first);
        loop {
            text.push(self.escape()?);
            let (run, end) = self.run()?;
            text.push_str(run);
            if end == b'"' {
                return Ok(text.into_boxed_str());
            }
        }
    }

    /// The characters up to the next quote or backslash, which it steps over and returns.
    fn run(&mut self) -> Result<(&'a str, u8), JsonInvalid> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = memchr::memchr2(b'"', b'\\', rest.as_bytes());
        let (run, after) = rest
            .split_at_checked(found.unwrap_or(rest.len()))
            .unwrap_or((rest, ""));
        // Without a way out in the middle, so that it is done many bytes at a time.
        if run.bytes().fold(false, |found, byte| found | (byte < 0x20)) {
            self.at += run.bytes().take_while(|byte| *byte >= 0x20).count();
            return self.fail(Problem::ControlCharacter);
        }
        self.at += run.len();
        match after.bytes().next() {
            Some(end) => {
                self.at += 1;
                Ok((run, end))
            }
            None => self.fail(Problem::End),
        }
    }

    /// The character that is meant, from behind the backslash on.
    fn escape(&mut self) -> Result<char, JsonInvalid> {
        let from = self.at - 1;
        let Some(kind) = self.peek() else {
            return self.fail(Problem::End);
        };
        self.at += 1;
        Ok(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(from),
            _ => {
                return Err(JsonInvalid {
                    at: from,
                    problem: Problem::Escape,
                });
            }
        })
    }

    /// `\uXXXX`, or two of them that are a surrogate pair; `from` is the first backslash.
    fn unicode_escape(&mut self, from: usize) -> Result<char, JsonInvalid> {
        let first = self.hex4(from)?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        let lone = JsonInvalid {
            at: from,
            problem: Problem::LoneSurrogate,
        };
        let second_from = self.at;
        if first >= 0xdc00 || !(self.take(b'\\') && self.take(b'u')) {
            return Err(lone);
        }
        let second = self.hex4(second_from)?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(lone);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(lone)
    }

    fn hex4(&mut self, from: usize) -> Result<u32, JsonInvalid> {
        let mut value = 0;
        for _ in 0..4 {
            let Some(byte) = self.peek() else {
                return self.fail(Problem::End);
            };
            let Some(digit) = char::from(byte).to_digit(16) else {
                return Err(JsonInvalid {
                    at: from,
                    problem: Problem::Escape,
                });
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, JsonInvalid> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        match Decimal::scan(rest) {
            Ok((number, length)) => {
                self.at += length;
                Ok(Value::Number(number))
            }
            Err(DecimalInvalid::Malformed { at }) => {
                self.at += at;
                self.unexpected()
            }
            Err(limit) => self.fail(Problem::Number(limit)),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonInvalid> {
        for byte in word.bytes() {
            if !self.take(byte) {
                return self.unexpected();
            }
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn unexpected<T>(&self) -> Result<T, JsonInvalid> {
        self.fail(if self.at < self.text.len() {
            Problem::Unexpected
        } else {
            Problem::End
        })
    }

    fn fail<T>(&self, problem: Problem) -> Result<T, JsonInvalid> {
        Err(JsonInvalid {
            at: self.at,
            problem,
        })
    }
}

impl Object {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if self.0.len() <= LINEAR_SEARCH_MAX {
            return self
                .0
                .iter()
                .find(|(name, _)| **name == *key)
                .map(|(_, value)| value);
        }
        let index = self
            .0
            .binary_search_by(|(name, _)| utf16_cmp(name, key))
            .ok()?;
        self.0.get(index).map(|(_, value)| value)
    }

    /// Members in canonical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// See [`Value::held_bytes`].
    pub fn held_bytes(&self) -> usize {
        let own = self.0.capacity() * size_of::<(Box<str>, Value)>();
        self.0.iter().fold(own, |sum, (key, value)| {
            sum + key.len() + value.held_bytes()
        })
    }
}

impl Value {
    /// Bytes that it holds beside itself: a document of brackets and small numbers takes some seventy times its text.
    pub fn held_bytes(&self) -> usize {
        match self {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => {
                let own = items.capacity() * size_of::<Value>();
                items.iter().fold(own, |sum, item| sum + item.held_bytes())
            }
            Value::Object(object) => object.held_bytes(),
        }
    }

    /// The canonical text.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    /// Appends the canonical text.
    pub fn write_canonical(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(number) => number.write_to(out),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => write_array(items, out),
            Value::Object(object) => object.write_canonical(out),
        }
    }
}

impl Object {
    /// Appends the canonical text.
    pub fn write_canonical(&self, out: &mut String) {
        out.push('{');
        for (index, (key, value)) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_string(key, out);
            out.push(':');
            value.write_canonical(out);
        }
        out.push('}');
    }
}

/// Appends an array's canonical text.
pub(crate) fn write_array(items: &[Value], out: &mut String) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        item.write_canonical(out);
    }
    out.push(']');
}

/// Appends `text` as a JSON string in its canonical form: only what must be escaped is.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    // Nearly every string is plain; without a way out in the middle, this is done many bytes at a time.
    if text
        .bytes()
        .fold(false, |found, byte| found | must_be_escaped(byte))
    {
        write_escaped(text, out);
    } else {
        out.push_str(text);
    }
    out.push('"');
}

const fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_escaped(text: &str, out: &mut String) {
    for character in text.chars() {
        if character.is_ascii() && must_be_escaped(character as u8) {
            write_escape(character, out);
        } else {
            out.push(character);
        }
    }
}

fn write_escape(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        other => {
            out.push_str("\\u00");
            for shift in [4, 0] {
                out.push(char::from_digit((u32::from(other) >> shift) & 0xf, 16).unwrap_or('0'));
            }
        }
    }
}

/// The order of keys in canonical text: by UTF-16 code units, which for ASCII is the order of bytes.
pub fn utf16_cmp(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        a.cmp(b)
    } else {
        a.encode_utf16().cmp(b.encode_utf16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(input: &[u8]) -> (usize, Problem) {
        let error = parse(input).unwrap_err();
        (error.at, error.problem)
    }

    fn canonical(input: &str) -> String {
        parse(input.as_bytes()).unwrap().canonical()
    }

    #[test]
    fn a_document_becomes_canonical_text() {
        for (given, expected) in [
            (
                " { \"b\" : 1.50 , \"a\" : [ true , false , null ] }\r\n\t",
                r#"{"a":[true,false,null],"b":1.5}"#,
            ),
            (
                r#""\u0041\/\b\f\n\r\t\"\\\u001f\u007f""#,
                "\"A/\\b\\f\\n\\r\\t\\\"\\\\\\u001f\u{7f}\"",
            ),
            (r#""\ud83d\ude00\u00e9""#, "\"😀é\""),
            ("{}", "{}"),
            ("[]", "[]"),
            ("-0", "0"),
            ("1e21", "1e+21"),
            ("9007199254740993", "9007199254740993"),
        ] {
            assert_eq!(canonical(given), expected, "{given}");
        }
    }

    #[test]
    fn keys_are_sorted_by_utf16_code_units() {
        // The example of RFC 8785: the surrogates of the emoji sort before U+FB33.
        let given = "{\"\u{20ac}\":1,\"\\r\":2,\"\u{fb33}\":3,\"1\":4,\"\u{1f600}\":5,\"\u{80}\":6,\"\u{f6}\":7}";
        let expected = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(canonical(given), expected);
    }

    #[test]
    fn duplicate_keys_are_refused_even_when_one_is_escaped() {
        assert_eq!(
            refused(br#"{"amount":80,"amount":80000}"#),
            (13, Problem::DuplicateKey)
        );
        assert_eq!(
            refused(br#"{"z":{"b":1},"amount":80,"x":0,"\u0061mount":80000}"#),
            (31, Problem::DuplicateKey)
        );
        assert_eq!(
            refused(br#"[{"a":1},{"a":1,"b":[],"a":1}]"#),
            (23, Problem::DuplicateKey)
        );
    }

    #[test]
    fn invalid_utf8_and_byte_order_marks_are_refused() {
        assert_eq!(refused(b"{\"a\":\"\xff\"}"), (6, Problem::Utf8));
        assert_eq!(refused(b"\"\xed\xa0\x80\""), (1, Problem::Utf8));
        assert_eq!(refused(b"\"\xc0\xaf\""), (1, Problem::Utf8));
        assert_eq!(refused(b"\xef\xbb\xbf{}"), (0, Problem::ByteOrderMark));
    }

    #[test]
    fn lone_surrogates_are_refused() {
        for text in [
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\n""#,
            r#""\ude00\ud83d""#,
        ] {
            assert_eq!(
                refused(text.as_bytes()),
                (1, Problem::LoneSurrogate),
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused_and_at_the_limit_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(32).as_bytes()).is_ok());
        assert_eq!(refused(nested(33).as_bytes()), (32, Problem::TooDeep));
        assert_eq!(
            refused("[".repeat(1_000_000).as_bytes()),
            (32, Problem::TooDeep)
        );
        let objects = format!("{}1{}", "{\"a\":".repeat(33), "}".repeat(33));
        assert_eq!(refused(objects.as_bytes()).1, Problem::TooDeep);
        // Depth is what is open at once, not what was ever opened.
        assert!(parse(format!("[{}[]]", "[],".repeat(100)).as_bytes()).is_ok());
    }

    #[test]
    fn documents_beyond_a_mebibyte_are_refused_and_of_a_mebibyte_are_not() {
        let document = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        assert!(parse(document(BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(
            refused(document(BYTES_MAX + 1).as_bytes()),
            (BYTES_MAX, Problem::TooLarge)
        );
    }

    #[test]
    fn numbers_beyond_the_limits_are_refused() {
        assert_eq!(
            refused(b"[1e1001]"),
            (1, Problem::Number(DecimalInvalid::ExponentOutOfRange))
        );
        let digits = format!("[{}]", "7".repeat(1_001));
        assert_eq!(
            refused(digits.as_bytes()),
            (1, Problem::Number(DecimalInvalid::TooManyDigits))
        );
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_goes_wrong() {
        for (text, at, problem) in [
            ("", 0, Problem::End),
            ("  ", 2, Problem::End),
            ("{", 1, Problem::End),
            ("{\"a\"", 4, Problem::End),
            ("{\"a\":", 5, Problem::End),
            ("\"abc", 4, Problem::End),
            ("\"\\u00", 5, Problem::End),
            ("tru", 3, Problem::End),
            ("{} {}", 3, Problem::Trailing),
            ("1 2", 2, Problem::Trailing),
            ("01", 1, Problem::Unexpected),
            ("-", 1, Problem::End),
            ("1.x", 2, Problem::Unexpected),
            ("nul!", 3, Problem::Unexpected),
            ("{a:1}", 1, Problem::Unexpected),
            ("{'a':1}", 1, Problem::Unexpected),
            ("{\"a\":1,}", 7, Problem::Unexpected),
            ("[1,]", 3, Problem::Unexpected),
            ("[1 2]", 3, Problem::Unexpected),
            ("{\"a\" 1}", 5, Problem::Unexpected),
            ("// x\n1", 0, Problem::Unexpected),
            ("NaN", 0, Problem::Unexpected),
            ("\u{a0}1", 0, Problem::Unexpected),
            ("\"a\nb\"", 2, Problem::ControlCharacter),
            ("\"\\x41\"", 1, Problem::Escape),
            ("\"\\u00g0\"", 1, Problem::Escape),
            ("\"\\u+041\"", 1, Problem::Escape),
        ] {
            assert_eq!(refused(text.as_bytes()), (at, problem), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_found_in_small_and_large_objects() {
        for count in [3, 300] {
            let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{n}")).collect();
            let Value::Object(object) =
                parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap()
            else {
                panic!()
            };
            assert_eq!(object.get("k2"), Some(&Value::Number(Decimal::from(2))));
            assert_eq!(object.get("k"), None);
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_text_keeps_the_value_and_is_a_fixpoint(value in values(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let parsed = parse(text.as_bytes()).unwrap();
            let canonical = parsed.canonical();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&canonical).unwrap(), value);
            let again = parse(canonical.as_bytes()).unwrap();
            prop_assert_eq!(again.canonical(), canonical);
            prop_assert_eq!(again, parsed);
        }

        #[test]
        fn whatever_comes_in_is_parsed_or_refused_and_serde_json_parses_all_that_we_do(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if parse(&bytes).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            }
        }

        #[test]
        fn near_json_is_parsed_or_refused_and_serde_json_parses_all_that_we_do(text in "[\\[\\]{}:, \"\\\\u0-9ae.\\-tnf]{0,24}") {
            match parse(text.as_bytes()) {
                Ok(value) => {
                    // serde_json gives up on numbers that no double holds, which we keep.
                    let numbers_are_large = value.canonical().contains("e+");
                    prop_assert!(numbers_are_large || serde_json::from_str::<serde_json::Value>(&text).is_ok());
                }
                Err(error) => prop_assert!(error.at <= text.len()),
            }
        }

        #[test]
        fn keys_compare_as_their_utf16_does(a: String, b: String) {
            let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
            prop_assert_eq!(utf16_cmp(&a, &b), units(&a).cmp(&units(&b)));
        }
    }
}
