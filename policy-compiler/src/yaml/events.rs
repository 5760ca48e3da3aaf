//! YAML, the part of it that can be read in one way only: one document of mappings, lists and scalars.
//!
//! Refused here: anchors, aliases and merge keys (a document says what it says where it says it, and a short one never
//! stands for a long one), tags and directives, further documents, keys that are not text, tabs before the first word of a
//! line, and unquoted scalars that versions of YAML read differently (`yes`, `on`, `010`, `1:30`).

use super::json::is_number;
use super::{DEPTH_MAX, Key, Members, NODES_MAX, Node, NodeKind, too_deep, too_many};
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;
use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError};
use std::borrow::Cow;

/// Anchors and aliases that are named one by one.
const ALIASES_NAMED_MAX: usize = 4;

/// Words that YAML 1.1 reads as true or false and YAML 1.2 as text.
const OLD_BOOLEANS: &[(&str, bool)] = &[
    ("yes", true),
    ("y", true),
    ("on", true),
    ("no", false),
    ("n", false),
    ("off", false),
];

/// Reads a document. `None`: it is not YAML that can be read, which was said.
pub(super) fn read(text: &str, diagnostics: &mut Findings) -> Option<Node> {
    if tabs(text, diagnostics) {
        return None;
    }
    let mut options = Options::default();
    options.emit_comments = false;
    options.strict_indentation = false;
    options.emit_unresolved_aliases = true;
    options.emit_anchor_events = true;
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut reader = Reader {
        text,
        open: Vec::new(),
        root: None,
        documents: 0,
        aliases: 0,
        nodes: 0,
        diagnostics,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if let Some(tag) = span.tag_span() {
                    let tag = reader.span(&tag);
                    reader.refuse_tag(tag);
                }
                let span = reader.span(&span);
                if !reader.event(event, span) {
                    return None;
                }
            }
            Err(error) => {
                reader.fault(&error);
                return None;
            }
        }
    }
    let root = reader.root.take();
    if root.is_none() {
        diagnostics.push(
            Diagnostic::new(Number::NotYaml, "the file holds no document")
                .help("write a mapping: `agent: { id: name, default: deny, rules: [] }`"),
        );
    }
    root
}

/// Says so of the first tab that stands where a line is indented.
fn tabs(text: &str, diagnostics: &mut Findings) -> bool {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line.get(..indent).and_then(|indent| indent.find('\t'))
            && !line.trim().is_empty()
        {
            diagnostics.push(
                Diagnostic::new(Number::YamlTab, "a tab where a line of YAML is indented")
                    .at(Span::new(at + tab, at + tab + 1), "")
                    .help("indent with spaces: how wide a tab is, nobody knows"),
            );
            return true;
        }
        at += line.len();
    }
    false
}

/// A list or mapping that is being read.
enum Open {
    List(Vec<Node>, Span),
    Map {
        members: Members,
        key: Option<Key>,
        span: Span,
    },
}

struct Reader<'a> {
    text: &'a str,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    aliases: usize,
    nodes: usize,
    diagnostics: &'a mut Findings,
}

impl Reader<'_> {
    fn span(&self, span: &granit_parser::Span) -> Span {
        let place = |marker: &granit_parser::Marker| {
            let mut at = marker.byte_offset().unwrap_or(0).min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (place(&span.start), place(&span.end));
        Span::new(start, end.max(start))
    }

    fn fault(&mut self, error: &ScanError) {
        let mut at = error
            .marker()
            .byte_offset()
            .unwrap_or(0)
            .min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            self.diagnostics.push(too_deep(Span::new(at, at)));
            return;
        }
        let why: String = error
            .info()
            .chars()
            .filter(|character| !character.is_control() && !crate::lex::is_invisible(*character))
            .take(200)
            .collect();
        let rest = self.text.get(at..).unwrap_or("");
        let finding = Diagnostic::new(Number::NotYaml, "this cannot be read as YAML")
            .at(Span::new(at, at), why);
        self.diagnostics.push(match rest.chars().next() {
            Some('\t') => finding.help("YAML is indented with spaces"),
            Some('%' | '@' | '`' | '*' | '&' | '!') => finding.help("put the text into quotes"),
            _ => finding,
        });
    }

    /// Takes one event; `false`: there is no use in going on.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_, version) => self.document(span, version.is_some()),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse_alias(span);
                self.node(NodeKind::Bad, span)
            }
            Event::Anchor(..) => {
                self.refuse_alias(span);
                true
            }
            Event::Scalar(value, style, _, tag) => {
                let kind = match style {
                    _ if tag.is_some() => NodeKind::Bad,
                    ScalarStyle::Plain if self.wants_key() => self.plain_key(value, span),
                    ScalarStyle::Plain => self.plain(value, span),
                    _ => NodeKind::Text(value.into_owned()),
                };
                self.node(kind, span)
            }
            Event::SequenceStart(..) => self.start(Open::List(Vec::new(), span), span),
            Event::MappingStart(..) => {
                let open = Open::Map {
                    members: Members::default(),
                    key: None,
                    span,
                };
                self.start(open, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            _ => true,
        }
    }

    fn document(&mut self, span: Span, directive: bool) -> bool {
        self.documents += 1;
        if self.documents > 1 {
            self.diagnostics.push(
                Diagnostic::new(Number::SeveralDocuments, "a second document in one file")
                    .at(span, "it starts here")
                    .help("a policy is one document: remove `---`, or make two files of it"),
            );
            return false;
        }
        if directive {
            self.diagnostics.push(
                Diagnostic::new(Number::YamlTag, "a directive in YAML")
                    .at(span, "above this")
                    .help("remove it: policies are YAML 1.2 without tags"),
            );
        }
        true
    }

    fn refuse_tag(&mut self, span: Span) {
        self.diagnostics.push(
            Diagnostic::new(Number::YamlTag, "a tag in YAML")
                .at(span, "")
                .help("remove the tag; put text that starts with `!` into quotes"),
        );
    }

    /// An anchor or an alias; a document made of them is not drawn out.
    fn refuse_alias(&mut self, span: Span) {
        self.aliases += 1;
        if self.aliases > ALIASES_NAMED_MAX {
            return;
        }
        let shown = self.text.get(span.range()).unwrap_or("");
        let (what, help) = if shown.starts_with('&') {
            ("an anchor", "write the value out wherever it is meant")
        } else {
            (
                "an alias",
                "put a pattern that starts with `*` into quotes; write other values out where they are meant",
            )
        };
        self.diagnostics.push(
            Diagnostic::new(
                Number::YamlAlias,
                format!("{} is {what} in YAML", quoted(shown)),
            )
            .at(span, "")
            .help(help),
        );
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn start(&mut self, open: Open, span: Span) -> bool {
        if self.open.len() >= DEPTH_MAX {
            self.diagnostics.push(too_deep(span));
            return false;
        }
        if self.wants_key() {
            self.bad_key(span, "a list or a mapping");
        }
        self.open.push(open);
        true
    }

    fn end(&mut self, close: Span) -> bool {
        match self.open.pop() {
            Some(Open::List(nodes, span)) => self.node(NodeKind::List(nodes), span.to(close)),
            Some(Open::Map { members, span, .. }) => {
                self.node(NodeKind::Map(members.members), span.to(close))
            }
            None => true,
        }
    }

    fn bad_key(&mut self, span: Span, what: &str) {
        self.diagnostics.push(
            Diagnostic::new(Number::BadKey, format!("{what} as a key"))
                .at(span, "expected text")
                .help("put the key into quotes"),
        );
    }

    /// Puts a finished value where it belongs.
    fn node(&mut self, kind: NodeKind, span: Span) -> bool {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.diagnostics.push(too_many(span));
            return false;
        }
        match self.open.last_mut() {
            None => self.root = Some(Node { kind, span }),
            Some(Open::List(nodes, _)) => nodes.push(Node { kind, span }),
            Some(Open::Map { members, key, .. }) => match key.take() {
                Some(key) => members.push(key, Node { kind, span }, self.diagnostics),
                None => {
                    // What is no text was reported; its value is read and left out with it.
                    let text = match kind {
                        NodeKind::Text(text) => text,
                        _ => format!("\u{0}{}", span.start),
                    };
                    *key = Some(Key { text, span });
                }
            },
        }
        true
    }

    fn plain_key(&mut self, value: Cow<'_, str>, span: Span) -> NodeKind {
        if value == "<<" {
            self.diagnostics.push(
                Diagnostic::new(Number::YamlAlias, "a merge key in YAML")
                    .at(span, "")
                    .help("write the merged members out"),
            );
            return NodeKind::Bad;
        }
        match scalar(&value) {
            Scalar::Text | Scalar::OldBoolean(_) => NodeKind::Text(value.into_owned()),
            Scalar::Null => {
                self.bad_key(span, "nothing");
                NodeKind::Bad
            }
            Scalar::Bool(_) => {
                self.bad_key(span, "true or false");
                NodeKind::Bad
            }
            Scalar::Number | Scalar::OddNumber(_) => {
                self.bad_key(span, "a number");
                NodeKind::Bad
            }
        }
    }

    fn plain(&mut self, value: Cow<'_, str>, span: Span) -> NodeKind {
        match scalar(&value) {
            Scalar::Text => NodeKind::Text(value.into_owned()),
            Scalar::Null => NodeKind::Null,
            Scalar::Bool(value) => NodeKind::Bool(value),
            Scalar::Number => NodeKind::Number(value.into_owned()),
            Scalar::OldBoolean(meant) => {
                self.diagnostics.push(
                    Diagnostic::new(
                        Number::AmbiguousScalar,
                        format!("{} without quotes", quoted(&value)),
                    )
                    .at(span, format!("`{meant}` in YAML 1.1, text in YAML 1.2"))
                    .help(format!(
                        "write `{meant}`, or the word in quotes if the word is meant"
                    )),
                );
                NodeKind::Bad
            }
            Scalar::OddNumber(how) => {
                self.diagnostics.push(
                    Diagnostic::new(
                        Number::AmbiguousScalar,
                        format!("{} without quotes", quoted(&value)),
                    )
                    .at(span, how)
                    .help("write a plain decimal number, or put it into quotes if text is meant"),
                );
                NodeKind::Bad
            }
        }
    }
}

/// What an unquoted scalar is.
enum Scalar {
    Null,
    Bool(bool),
    Number,
    Text,
    OldBoolean(bool),
    OddNumber(&'static str),
}

fn scalar(value: &str) -> Scalar {
    match value {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" => return Scalar::Bool(true),
        "false" => return Scalar::Bool(false),
        _ => {}
    }
    if is_number(value) {
        return Scalar::Number;
    }
    let lower = value.to_ascii_lowercase();
    let old = [("true", true), ("false", false)];
    if let Some((_, meant)) = OLD_BOOLEANS
        .iter()
        .chain(&old)
        .find(|(word, _)| *word == lower)
    {
        return Scalar::OldBoolean(*meant);
    }
    odd_number(&lower).map_or(Scalar::Text, Scalar::OddNumber)
}

/// Numbers that are read in more than one way.
fn odd_number(lower: &str) -> Option<&'static str> {
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(lower);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if matches!(unsigned, ".inf" | ".nan") {
        return Some("no number that can be compared");
    }
    if unsigned.starts_with("0x") || unsigned.starts_with("0o") || unsigned.starts_with("0b") {
        return Some("a number that is not decimal");
    }
    if digits(unsigned) && unsigned.len() > 1 && unsigned.starts_with('0') {
        return Some("octal in YAML 1.1, decimal in YAML 1.2");
    }
    if lower.starts_with('+') && is_number(unsigned) {
        return Some("a number with a plus sign");
    }
    let sixty = unsigned.contains(':') && unsigned.split(':').all(digits);
    if sixty && unsigned.split(':').all(|part| part.len() <= 2) {
        return Some("a number to the base 60 in YAML 1.1, text in YAML 1.2");
    }
    if unsigned.contains('_') && digits(&unsigned.replace('_', "")) {
        return Some("a number in YAML 1.1, text in YAML 1.2");
    }
    let dotted = unsigned.split_once('.');
    if dotted.is_some_and(|(whole, fraction)| {
        (whole.is_empty() && digits(fraction)) || (digits(whole) && fraction.is_empty())
    }) {
        return Some("a number without digits on one side of its point");
    }
    None
}

/// Whether a scalar without quotes is this text to every reader.
pub(super) fn is_plain(text: &str) -> bool {
    matches!(scalar(text), Scalar::Text)
}
