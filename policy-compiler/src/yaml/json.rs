//! JSON, strictly: no comments, no trailing commas, nothing behind the value, and a place for each value.
//!
//! Invariants: what is read here is what `serde_json` reads (a property test compares them), less duplicate keys; recursion
//! is bounded by [`super::DEPTH_MAX`].

use super::{DEPTH_MAX, Key, Members, NODES_MAX, Node, NodeKind, too_deep, too_many};
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;

/// Reads a document. `None`: it is not JSON, which was said.
pub(super) fn read(text: &str, diagnostics: &mut Findings) -> Option<Node> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        nodes: 0,
        diagnostics,
    };
    reader.space();
    let node = reader.value().and_then(|node| {
        reader.space();
        match reader.peek() {
            None => Ok(node),
            Some(_) => Err(reader.unexpected("the end of the file")),
        }
    });
    match node {
        Ok(node) => Some(node),
        Err(finding) => {
            diagnostics.push(*finding);
            None
        }
    }
}

type Read<T> = Result<T, Box<Diagnostic>>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    nodes: usize,
    diagnostics: &'a mut Findings,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn space(&mut self) {
        let bytes = self.rest().bytes();
        self.at += bytes
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
    }

    fn take(&mut self, character: char) -> bool {
        let taken = self.peek() == Some(character);
        if taken {
            self.at += character.len_utf8();
        }
        taken
    }

    fn fault(&self, span: Span, message: String, label: String) -> Box<Diagnostic> {
        Box::new(Diagnostic::new(Number::NotJson, message).at(span, label))
    }

    fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        let rest = self.rest();
        let bytes = rest
            .find(|character: char| !character.is_alphanumeric())
            .unwrap_or(rest.len());
        let bytes = match bytes {
            0 => rest.chars().next().map_or(0, char::len_utf8),
            _ => bytes,
        };
        let span = Span::new(self.at, self.at + bytes);
        let message = match bytes {
            0 => String::from("the file ends too early"),
            _ => format!(
                "unexpected {} in JSON",
                quoted(rest.get(..bytes).unwrap_or(""))
            ),
        };
        let finding = *self.fault(span, message, format!("expected {expected}"));
        Box::new(
            if rest.starts_with("//") || rest.starts_with("/*") || rest.starts_with('#') {
                finding.help("JSON has no comments; the YAML form has them")
            } else if rest.starts_with('\'') {
                finding.help("JSON has double quotes only")
            } else {
                finding
            },
        )
    }

    fn value(&mut self) -> Read<Node> {
        let start = self.at;
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Box::new(too_many(Span::new(start, start))));
        }
        let kind = match self.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::list)?,
            Some('"') => NodeKind::Text(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node {
            kind,
            span: Span::new(start, self.at),
        })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Read<NodeKind>) -> Read<NodeKind> {
        if self.depth >= DEPTH_MAX {
            return Err(Box::new(too_deep(Span::new(self.at, self.at + 1))));
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn object(&mut self) -> Read<NodeKind> {
        let mut members = Members::default();
        if self.take('}') {
            return Ok(NodeKind::Map(members.members));
        }
        loop {
            let start = self.at;
            if self.peek() != Some('"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let text = self.string()?;
            let span = Span::new(start, self.at);
            self.space();
            if !self.take(':') {
                return Err(self.unexpected("`:`"));
            }
            self.space();
            let node = self.value()?;
            members.push(Key { text, span }, node, self.diagnostics);
            self.space();
            if self.take('}') {
                return Ok(NodeKind::Map(members.members));
            }
            self.comma('}', "`,` or `}`")?;
        }
    }

    fn list(&mut self) -> Read<NodeKind> {
        let mut nodes = Vec::new();
        if self.take(']') {
            return Ok(NodeKind::List(nodes));
        }
        loop {
            nodes.push(self.value()?);
            self.space();
            if self.take(']') {
                return Ok(NodeKind::List(nodes));
            }
            self.comma(']', "`,` or `]`")?;
        }
    }

    fn comma(&mut self, close: char, expected: &str) -> Read<()> {
        let comma = self.at;
        if !self.take(',') {
            return Err(self.unexpected(expected));
        }
        self.space();
        if self.peek() == Some(close) {
            return Err(self.fault(
                Span::new(comma, comma + 1),
                String::from("a comma with nothing behind it"),
                String::from("JSON has no trailing commas: remove it"),
            ));
        }
        Ok(())
    }

    fn word(&mut self) -> Read<NodeKind> {
        let rest = self.rest();
        let bytes = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        let kind = match rest.get(..bytes) {
            Some("true") => NodeKind::Bool(true),
            Some("false") => NodeKind::Bool(false),
            Some("null") => NodeKind::Null,
            _ => return Err(self.unexpected("a value")),
        };
        self.at += bytes;
        Ok(kind)
    }

    fn number(&mut self) -> Read<NodeKind> {
        let rest = self.rest();
        let bytes = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
            .count();
        let shown = rest.get(..bytes).unwrap_or("");
        if !is_number(shown) {
            let span = Span::new(self.at, self.at + bytes);
            return Err(self.fault(
                span,
                format!("{} is no number in JSON", quoted(shown)),
                String::from("amounts, durations and sizes with their unit stand in quotes"),
            ));
        }
        self.at += bytes;
        Ok(NodeKind::Number(shown.to_string()))
    }

    fn string(&mut self) -> Read<String> {
        let start = self.at;
        let rest = self.rest();
        let mut value = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = start + at + 1;
                    return Ok(value);
                }
                '\\' => match escape(rest.get(at + 1..).unwrap_or("")) {
                    Some((character, bytes)) => {
                        value.push(character);
                        for _ in 0..bytes {
                            characters.next();
                        }
                    }
                    None => {
                        let span = Span::new(start + at, start + at + 1);
                        return Err(self.fault(
                            span,
                            String::from("an escape that JSON does not have"),
                            String::from("write a backslash itself as `\\\\`"),
                        ));
                    }
                },
                '\u{0}'..='\u{1f}' => break,
                _ => value.push(character),
            }
        }
        let line = rest.find('\n').unwrap_or(rest.len());
        Err(self.fault(
            Span::new(
                start,
                start + rest.get(..line).unwrap_or("").trim_end().len(),
            ),
            String::from("a string without an end"),
            String::from("no double quote on this line"),
        ))
    }
}

/// What an escape stands for, and how many bytes (all ASCII) it has behind its backslash.
fn escape(rest: &str) -> Option<(char, usize)> {
    let plain = match rest.as_bytes().first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = hexadecimal(rest.get(1..5)?)?;
            if !(0xd800..0xdc00).contains(&first) {
                return char::from_u32(first).map(|character| (character, 5));
            }
            let second = rest.get(5..11).and_then(|pair| pair.strip_prefix("\\u"))?;
            let low = hexadecimal(second)?.checked_sub(0xdc00)?;
            let both = 0x10000 + ((first - 0xd800) << 10) + low;
            return (low < 0x400)
                .then(|| char::from_u32(both))?
                .map(|character| (character, 11));
        }
        _ => return None,
    };
    Some((plain, 1))
}

fn hexadecimal(digits: &str) -> Option<u32> {
    let sound = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    sound.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Whether this is a number as JSON writes them.
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at).unwrap_or(""), text.get(at + 1..)),
        None => (text, None),
    };
    let exponent = exponent.map(|part| part.strip_prefix(['+', '-']).unwrap_or(part));
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ours(text: &str) -> Result<Node, Vec<Number>> {
        let mut found = Findings::default();
        let node = read(text, &mut found);
        let numbers: Vec<Number> = found
            .into_vec()
            .iter()
            .map(|finding| finding.number)
            .collect();
        match node {
            Some(node) if numbers.is_empty() => Ok(node),
            _ => Err(numbers),
        }
    }

    fn same(node: &Node, value: &serde_json::Value) -> bool {
        match (&node.kind, value) {
            (NodeKind::Null, serde_json::Value::Null) => true,
            (NodeKind::Bool(a), serde_json::Value::Bool(b)) => a == b,
            (NodeKind::Number(a), serde_json::Value::Number(b)) => {
                serde_json::from_str::<serde_json::Number>(a).is_ok_and(|a| a == *b)
            }
            (NodeKind::Text(a), serde_json::Value::String(b)) => a == b,
            (NodeKind::List(a), serde_json::Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (NodeKind::Map(a), serde_json::Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|((key, a), (name, b))| key.text == *name && same(a, b))
            }
            _ => false,
        }
    }

    fn agree(text: &str) {
        let theirs = serde_json::from_str::<serde_json::Value>(text);
        match (ours(text), theirs) {
            (Ok(node), Ok(value)) => assert!(same(&node, &value), "{text}\n{node:?}\n{value}"),
            (Ok(node), Err(why)) => {
                // Too large for them and sound all the same.
                assert!(
                    why.to_string().contains("out of range"),
                    "{text}\n{node:?}\n{why}"
                );
            }
            (Err(numbers), theirs) => {
                let twice = numbers.contains(&Number::DuplicateKey);
                assert!(twice || theirs.is_err(), "{text}\n{numbers:?}");
            }
        }
    }

    fn cases() -> ProptestConfig {
        let seed: u64 = std::env::var("FARAMESH_SEED").map_or_else(
            |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
            |seed| seed.parse().unwrap_or(0),
        );
        println!("FARAMESH_SEED={seed}");
        ProptestConfig {
            cases: 2_000,
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(seed),
            ..ProptestConfig::default()
        }
    }

    fn soup() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\"",
            "\"\\u00e4\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\x\"",
            "\"\\/\"",
            "\"\t\"",
            "\"",
            "1",
            "-",
            "0",
            "01",
            "1.5",
            "1.",
            "e5",
            "1e+5",
            "-0",
            "true",
            "false",
            "null",
            "nul",
            "'a'",
            "// x",
            " ",
            "\n",
            "\u{feff}",
            "\u{a0}",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn document() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "1",
            "-2.5e3",
            "true",
            "null",
            "\"a\\n\\\"\"",
            "\"\\u00e4ß\"",
            "[]",
            "{}",
        ])
        .prop_map(String::from);
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|parts| format!("[ {} ]", parts.join(" ,"))),
                prop::collection::vec(("[a-c]{1,2}", inner), 0..4).prop_map(|members| {
                    let members: Vec<String> = members
                        .into_iter()
                        .map(|(key, value)| format!("\"{key}\" : {value}"))
                        .collect();
                    format!("{{{}}}", members.join(",\n"))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn what_is_read_as_json_is_what_serde_json_reads(text in prop_oneof![soup(), document(), any::<String>()]) {
            agree(&text);
        }
    }
}
