//! `governance.fms.yaml` and `governance.fms.json`: the same policy as data.
//!
//! A document is read into a small tree with places ([`Node`]) and then written down in the words of the language, each
//! piece with the place that it came from ([`transcribe`]). The language's own parser reads that, and the places in its
//! tree and its findings are led back. So there is one grammar and one meaning, and whatever the language learns the other
//! forms have learnt too.
//!
//! Invariants: what a document says in two ways is refused, never chosen from (duplicate keys, merge keys, `yes`); a text
//! of the document stays inside the place that it was given, however it is spelt; nothing is expanded, so that no document
//! becomes larger than it is.

mod events;
mod json;
pub(crate) mod places;
mod rows;
mod transcribe;
mod write;

pub use write::{json as render_json, tree_as_json, tree_as_yaml, yaml as render_yaml};

use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::parse as language;
use crate::source::{SourceFile, Span};
use crate::syntax;
use crate::vocabulary::{self, Place, Shape};
use std::collections::HashMap;

/// Lists and mappings in one another. The deepest block of the language needs eight; arguments in `examples` the rest.
const DEPTH_MAX: usize = 64;
/// Scalars, lists and mappings of a document: 100,000 rules of usual length need half a million.
const NODES_MAX: usize = 2_000_000;

/// How a policy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The policy language.
    Fms,
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
}

impl Form {
    /// By the end of the file's name: `.yaml`, `.yml`, `.json`, and the language for every other.
    pub fn of(name: &str) -> Form {
        let ends = |end: &str| {
            name.len() >= end.len()
                && name
                    .get(name.len() - end.len()..)
                    .is_some_and(|last| last.eq_ignore_ascii_case(end))
        };
        if ends(".json") {
            Form::Json
        } else if ends(".yaml") || ends(".yml") {
            Form::Yaml
        } else {
            Form::Fms
        }
    }

    /// For messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Form::Fms => "the policy language",
            Form::Yaml => "YAML",
            Form::Json => "JSON",
        }
    }
}

/// A document's value and where it stands.
#[derive(Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it stands; a mapping of YAML may end behind its last line.
    pub span: Span,
}

/// A value of a document.
#[derive(Debug)]
pub enum NodeKind {
    /// `null`, or nothing at all.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// As written; sound JSON.
    Number(String),
    /// Without its quotes.
    Text(String),
    /// In order.
    List(Vec<Node>),
    /// In order, each key once.
    Map(Vec<(Key, Node)>),
    /// Was reported.
    Bad,
}

impl NodeKind {
    /// What it is, in a message.
    pub const fn noun(&self) -> &'static str {
        match self {
            NodeKind::Null => "nothing",
            NodeKind::Bool(_) => "true or false",
            NodeKind::Number(_) => "a number",
            NodeKind::Text(_) => "text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
            NodeKind::Bad => "what was refused",
        }
    }
}

/// A key of a mapping.
#[derive(Debug)]
pub struct Key {
    /// Without its quotes.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// The members of one mapping while it is read; a key that stands twice is a finding, and its second value is left out.
#[derive(Debug, Default)]
struct Members {
    members: Vec<(Key, Node)>,
    seen: HashMap<String, Span>,
}

impl Members {
    fn push(&mut self, key: Key, node: Node, diagnostics: &mut Findings) {
        if let Some(first) = self.seen.get(&key.text) {
            diagnostics.push(
                Diagnostic::new(
                    Number::DuplicateKey,
                    format!("the key {} stands twice", quoted(&key.text)),
                )
                .at(key.span, "again here")
                .at(*first, "first here")
                .help("remove one: neither the first nor the last is silently preferred"),
            );
            return;
        }
        self.seen.insert(key.text.clone(), key.span);
        self.members.push((key, node));
    }
}

/// Reads a document that is no policy, with a place for each value: the same YAML and JSON as a policy's, so that a file
/// beside it cannot be read in two ways either.
///
/// # Errors
/// It is no such document, or says something twice.
pub fn document(source: &SourceFile, form: Form) -> Result<Node, Vec<Diagnostic>> {
    let mut diagnostics = Findings::default();
    crate::lex::refuse_forbidden(&source.text, &mut diagnostics);
    let node = match form {
        _ if diagnostics.has_errors() => None,
        Form::Json => json::read(&source.text, &mut diagnostics),
        Form::Yaml | Form::Fms => events::read(&source.text, &mut diagnostics),
    };
    match node {
        Some(node) if !diagnostics.has_errors() => Ok(node),
        _ => Err(diagnostics.into_vec()),
    }
}

/// Reads a document of this form; findings go to `diagnostics`. `None`: it is no such document, which was said.
pub(crate) fn parse(text: &str, form: Form, diagnostics: &mut Findings) -> Option<syntax::File> {
    crate::lex::refuse_forbidden(text, diagnostics);
    if diagnostics.has_errors() {
        return None;
    }
    let document = match form {
        Form::Json => json::read(text, diagnostics),
        Form::Yaml | Form::Fms => events::read(text, diagnostics),
    }?;
    let mut transcript = transcribe::transcribe(text, &document, diagnostics);
    let mut found = Findings::default();
    let tokens = crate::lex::lex(transcript.text(), &mut found);
    let mut file = language::parse(transcript.text(), &tokens, &mut found);
    diagnostics.append(found, |span| transcript.origin(span));
    places::of_file(&mut file, &mut transcript);
    Some(file)
}

/// The finding for a file that looks like another form than its name says.
pub(crate) fn other_form(text: &str, form: Form) -> Option<Diagnostic> {
    let (at, line) = first_line(text)?;
    let looks = looks_like(line)?;
    if looks == form || (looks == Form::Json && form == Form::Yaml) {
        return None;
    }
    let (name, end) = match looks {
        Form::Fms => ("the policy language", "governance.fms"),
        Form::Yaml => ("YAML", "governance.fms.yaml"),
        Form::Json => ("JSON", "governance.fms.json"),
    };
    Some(
        Diagnostic::new(
            Number::OtherForm,
            format!(
                "this looks like {name}, and its name says {}",
                form.as_str()
            ),
        )
        .at(Span::new(at, at + line.len()), "")
        .help(format!("give it a name such as `{end}`")),
    )
}

/// The first line that says something, and where it starts.
fn first_line(text: &str) -> Option<(usize, &str)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let shown = line.trim_start_matches('\u{feff}').trim();
        if !shown.is_empty() && !shown.starts_with('#') {
            return Some((at + line.find(shown).unwrap_or(0), shown));
        }
        at += line.len();
    }
    None
}

/// What a file that starts with this line surely is.
fn looks_like(line: &str) -> Option<Form> {
    let word_bytes = line
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_-!".contains(byte))
        .count();
    let (word, rest) = (line.get(..word_bytes)?, line.get(word_bytes..)?);
    if line.starts_with('{') {
        return Some(Form::Json);
    }
    let without_comment = rest.split(" #").next().unwrap_or("").trim_end();
    if line == "---" || line.starts_with("- ") || (word_bytes > 0 && without_comment == ":") {
        return Some(Form::Yaml);
    }
    let block =
        matches!(shape(Place::Top, word), Some(Shape::Block(_))) && rest.trim_end().ends_with('{');
    let rule = vocabulary::effect(word).is_some() && rest.starts_with([' ', '\t']);
    (block || rule).then_some(Form::Fms)
}

/// How what follows this word is read, where it is known in this place.
pub(crate) fn shape(place: Place, word: &str) -> Option<Shape> {
    place.entry(word).map(|entry| entry.shape)
}

/// The words of a place, for suggestions.
fn words(place: Place) -> impl Iterator<Item = &'static str> {
    place.words()
}

/// What stands in a block of this word.
pub(crate) fn block_place(place: Place, word: &str) -> Place {
    match shape(place, word) {
        Some(Shape::Block(inner) | Shape::MaybeBlock(inner)) => inner,
        _ => Place::Settings(""),
    }
}

/// JSON text that is known to be sound, as a value of the language.
pub(crate) fn json_as_object(text: &str, out: &mut String) {
    match json::read(text, &mut Findings::default()) {
        Some(node) => transcribe::data(&node, out),
        None => out.push_str("null"),
    }
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::new(
        Number::DocumentTooDeep,
        format!("lists and mappings nest more than {DEPTH_MAX} deep"),
    )
    .at(span, "")
}

fn too_many(span: Span) -> Diagnostic {
    Diagnostic::new(
        Number::DocumentTooDeep,
        format!("the document has more than {NODES_MAX} values"),
    )
    .at(span, "")
}
