//! ArcSight Common Event Format, version 0: an event a line.
//!
//! `CEF:0|vendor|product|version|class|name|severity|key=value …`. In the header `\` and `|` are escaped, in a value `\` and
//! `=`, line breaks become `\n` and `\r`; every other control character, and what reorders text, is written as an escape
//! before that. Text that an agent wrote stands in values only.
#![forbid(unsafe_code)]

use super::signed::Covering;
use super::{Form, Row, Summary};
use crate::untrusted::is_deceptive;
use faramesh_core::checkpoint::hex;
use faramesh_core::decision::Effect;
use faramesh_core::record::BodyView;
use std::io::{self, Write};

/// A value of the longest kind, in characters; a longer one is cut and ends in `…`. The journal has the whole.
const VALUE_CHARS_MAX: usize = 4_000;
/// `msg` has a limit of its own in the format.
const MESSAGE_CHARS_MAX: usize = 1_023;

pub(super) struct Cef {
    out: Box<dyn Write>,
    head: String,
    line: String,
}

impl Cef {
    pub(super) fn new(out: Box<dyn Write>, head: Option<&Covering>) -> Cef {
        Cef {
            out,
            head: head.map_or_else(String::new, |covering| {
                let head = covering.head;
                format!("{} {} {}", covering.origin, head.size, hex(&head.root))
            }),
            line: String::new(),
        }
    }

    fn labelled(&mut self, number: u8, label: &str, text: &str) {
        if !text.is_empty() {
            self.value(&format!("cs{number}Label"), label, VALUE_CHARS_MAX);
            self.value(&format!("cs{number}"), text, VALUE_CHARS_MAX);
        }
    }

    fn value(&mut self, key: &str, text: &str, chars_max: usize) {
        self.line.push(' ');
        self.line.push_str(key);
        self.line.push('=');
        value(text, chars_max, &mut self.line);
    }
}

impl Form for Cef {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let header = &row.view.header;
        let kind = super::super::kind(&row.view.body);
        let (class, severity) = match &row.view.body {
            BodyView::Decision(d) => match d.effect {
                Effect::Permit => (format!("decision.{}", d.effect.as_str()), 2),
                Effect::Defer => (format!("decision.{}", d.effect.as_str()), 5),
                Effect::Deny => (format!("decision.{}", d.effect.as_str()), 7),
            },
            _ => (kind.to_owned(), 1),
        };
        self.line.clear();
        self.line.push_str("CEF:0");
        for field in [
            "Faramesh",
            "Faramesh",
            env!("CARGO_PKG_VERSION"),
            &class,
            &kind.replace('_', " "),
            &severity.to_string(),
        ] {
            self.line.push('|');
            head_field(field, &mut self.line);
        }
        self.line.push('|');
        self.line.push_str(&format!("rt={}", header.time.wall_ms));
        self.value("externalId", &row.seq.to_string(), VALUE_CHARS_MAX);
        self.value("cat", kind, VALUE_CHARS_MAX);
        self.value("dvchost", &header.stack, VALUE_CHARS_MAX);
        self.value("dvcexternalid", header.mode.as_str(), VALUE_CHARS_MAX);
        if let BodyView::Decision(d) = &row.view.body {
            self.value("act", d.effect.as_str(), VALUE_CHARS_MAX);
            if let Some(code) = d.code {
                self.value("reason", code.as_str(), VALUE_CHARS_MAX);
            }
            self.value("suser", &d.agent, VALUE_CHARS_MAX);
            self.value("suid", &d.uid.to_string(), VALUE_CHARS_MAX);
            self.value("request", &d.tool, VALUE_CHARS_MAX);
            self.value("requestMethod", d.door.as_str(), VALUE_CHARS_MAX);
            self.labelled(1, "session", d.session.as_deref().unwrap_or_default());
            if let Some(detail) = row.detail() {
                self.labelled(2, "arguments", &detail.args);
                if !detail.message.is_empty() {
                    self.value("msg", &detail.message, MESSAGE_CHARS_MAX);
                }
            }
            self.labelled(6, "policy", &crate::policies::digest_text(&d.policy));
        } else {
            self.value("msg", &row.text, MESSAGE_CHARS_MAX);
        }
        self.labelled(3, "leafHash", &hex(&row.leaf));
        self.labelled(4, "prevLeafHash", &hex(&header.prev));
        let head = std::mem::take(&mut self.head);
        self.labelled(
            5,
            "checkpoint",
            if row.signed { &head } else { "none: unsigned" },
        );
        self.head = head;
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    fn end(&mut self, _: &Summary<'_>) -> io::Result<()> {
        self.out.flush()
    }
}

/// A field of the header. No line break may stand there, so it is written as a space.
fn head_field(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '|' => out.push_str("\\|"),
            '\n' | '\r' => out.push(' '),
            c if is_deceptive(c) => out.push_str(&format!("\\\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
}

/// A value of the extension. Its own backslashes are doubled, so an escape of ours cannot be forged.
fn value(text: &str, chars_max: usize, out: &mut String) {
    let mut chars = text.chars();
    for c in chars.by_ref().take(chars_max) {
        match c {
            '\\' => out.push_str("\\\\"),
            '=' => out.push_str("\\="),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if is_deceptive(c) => out.push_str(&format!("\\\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    if chars.next().is_some() {
        out.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_header_nor_a_value_can_be_broken_out_of() {
        let mut head = String::new();
        head_field("a|b\\c\nd\u{1b}", &mut head);
        assert_eq!(head, "a\\|b\\\\c d\\\\u{1b}");
        let mut text = String::new();
        value("x act=permit\\ \r\n|\u{1b}[2J\u{202e}", 100, &mut text);
        assert_eq!(text, "x act\\=permit\\\\ \\r\\n|\\\\u{1b}[2J\\\\u{202e}");
        let mut long = String::new();
        value(&"é".repeat(12), 10, &mut long);
        assert_eq!(long, format!("{}…", "é".repeat(10)));
    }
}
