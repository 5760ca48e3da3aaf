//! Values: words, strings, numbers, lists, objects, and words glued together from what touches.

use super::Parser;
use crate::diagnostic::Diagnostic;
use crate::lex::Kind;
use crate::number::Number;
use crate::quantity;
use crate::source::Span;
use crate::syntax::{Member, Quantity, Value, ValueKind, Word};
use faramesh_core::policy::artifact::{CONDITION_DEPTH_MAX, TEXT_BYTES_MAX};

impl Parser<'_> {
    /// A value, or a finding and `None`.
    pub(super) fn value(&mut self) -> Option<Value> {
        let token = self.peek();
        match &token.kind {
            Kind::Text(index) => {
                self.bump();
                let text = self.tokens.strings.get(*index).cloned().unwrap_or_default();
                Some(Value {
                    kind: ValueKind::Text(text),
                    span: token.span,
                })
            }
            Kind::Sign("[") => self.list_value(),
            Kind::Word
                if self.word() == "env" && matches!(self.peek_at(1).kind, Kind::Sign("(")) =>
            {
                Some(self.env())
            }
            Kind::Sign("{") => self.object_value(),
            Kind::Sign("-") if self.negates() => {
                self.bump();
                let number = self.bump().span;
                let kind = self.quantity(number).map_or(ValueKind::Bad, |quantity| {
                    ValueKind::Number(quantity.negated())
                });
                Some(Value {
                    kind,
                    span: token.span.to(number),
                })
            }
            Kind::Number if !self.glues_after() => {
                self.bump();
                let kind = self
                    .quantity(token.span)
                    .map_or(ValueKind::Bad, ValueKind::Number);
                Some(Value {
                    kind,
                    span: token.span,
                })
            }
            kind if glues(kind) => {
                let word = self.glue();
                Some(Value {
                    kind: ValueKind::Bare(word.text),
                    span: word.span,
                })
            }
            _ => {
                self.unexpected("a value");
                None
            }
        }
    }

    pub(super) fn list_value(&mut self) -> Option<Value> {
        let open = self.bump().span;
        let mut values = Vec::new();
        self.depth += 1;
        if self.too_deep(open) {
            self.depth -= 1;
            return None;
        }
        let close = loop {
            if self.is_sign("]") {
                break Some(self.bump().span);
            }
            match self.value() {
                Some(value) => values.push(value),
                None => break None,
            }
            if !self.take_sign(",") && !self.is_sign("]") {
                self.unexpected("`,` or `]`");
                break None;
            }
        };
        self.depth -= 1;
        Some(Value {
            kind: ValueKind::List(values),
            span: open.to(close?),
        })
    }

    /// `env("NAME")`.
    fn env(&mut self) -> Value {
        let start = self.bump().span;
        let open = self.bump().span;
        let name = match &self.peek().kind {
            Kind::Text(index) if self.peek_at(1).kind == Kind::Sign(")") => {
                self.tokens.strings.get(*index).cloned()
            }
            _ => None,
        };
        let sane = |name: &String| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && name.len() <= TEXT_BYTES_MAX
        };
        if let Some(name) = name.filter(sane) {
            self.bump();
            let close = self.bump().span;
            return Value {
                kind: ValueKind::Env(name),
                span: start.to(close),
            };
        }
        self.report(
            Diagnostic::new(
                Number::UnexpectedToken,
                "`env` takes the name of a variable",
            )
            .at(open, "expected `env(\"NAME\")`"),
        );
        let span = start.to(self.skip_to_parenthesis(open));
        Value {
            kind: ValueKind::Bad,
            span,
        }
    }

    /// `{ a: 1, "b.c": [2] }`; a comma between members may be missing where a line ends.
    fn object_value(&mut self) -> Option<Value> {
        let start = self.peek().span;
        let members = self.members()?;
        Some(Value {
            kind: ValueKind::Object(members),
            span: start.to(self.before()),
        })
    }

    /// The members of an object, from its `{` to its `}`.
    pub(super) fn members(&mut self) -> Option<Vec<Member>> {
        let from = self.at;
        let open = self.bump().span;
        self.depth += 1;
        let deep = self.too_deep(open);
        let mut members = Vec::new();
        let closed = !deep
            && loop {
                if self.take_sign("}") {
                    break true;
                }
                if self.peek().kind == Kind::End {
                    self.unclosed_object(open);
                    break false;
                }
                match self.member() {
                    Some(member) => members.push(member),
                    None => break false,
                }
                if !self.take_sign(",") && !self.is_sign("}") && !self.peek().first {
                    self.unexpected("`,` or `}`");
                    break false;
                }
            };
        self.depth -= 1;
        if !closed {
            // One fault is one finding: what is behind the object is read on.
            self.at = from;
            self.skip_block();
        }
        closed.then_some(members)
    }

    fn unclosed_object(&mut self, open: Span) {
        if !std::mem::replace(&mut self.unwinding, true) {
            self.report(
                Diagnostic::new(Number::UnclosedBlock, "an object is not closed")
                    .at(open, "opened here")
                    .help("write the missing `}`"),
            );
        }
    }

    fn member(&mut self) -> Option<Member> {
        let key = self.member_key()?;
        if !self.take_sign(":") && !self.take_sign("=") {
            self.unexpected("`:` and a value");
            return None;
        }
        let facts = std::mem::replace(&mut self.naming_facts, false);
        let value = self.value();
        self.naming_facts = facts;
        Some(Member { key, value: value? })
    }

    /// `a`, `to.domain`, `"b.c"`.
    fn member_key(&mut self) -> Option<Vec<Word>> {
        let token = self.peek();
        if let Kind::Text(index) = &token.kind {
            self.bump();
            let text = self.tokens.strings.get(*index).cloned().unwrap_or_default();
            return Some(vec![Word {
                text,
                span: token.span,
            }]);
        }
        let start = self.at;
        let mut parts = Vec::new();
        loop {
            if self.peek().kind != Kind::Word {
                self.unexpected("a name, bare or in quotes");
                return None;
            }
            parts.push(self.bump_word());
            if !(self.is_sign(".") && self.touches()) {
                break;
            }
            self.bump();
        }
        if self.naming_facts && self.is_sign("(") && self.touches() {
            self.at = start;
            return self.function_key();
        }
        Some(parts)
    }

    /// `session.sum(stripe/refund.amount, window=1h)`: one part, as a text in quotes would be.
    fn function_key(&mut self) -> Option<Vec<Word>> {
        let expr = self.name();
        if super::expressions::has_fault(&expr) {
            return None;
        }
        Some(vec![Word {
            text: crate::render::condition(&expr),
            span: expr.span,
        }])
    }

    /// `-` and a number that touches it, and nothing that glues behind.
    fn negates(&self) -> bool {
        let (sign, number, behind) = (self.peek(), self.peek_at(1), self.peek_at(2));
        let touches = sign.span.end == number.span.start;
        let glued = number.span.end == behind.span.start && glues(&behind.kind);
        number.kind == Kind::Number && touches && !glued
    }

    /// Glues what touches: `stripe/*`, `api.example.com`, `1.0.0`.
    pub(super) fn glue(&mut self) -> Word {
        let mut span = self.bump().span;
        while self.glues_on() || self.pads(span) {
            span = span.to(self.bump().span);
        }
        Word {
            text: self.text_of(span).to_string(),
            span,
        }
    }

    /// The `=` at the end of a key in base64: `ed25519:3JWl…Q=`.
    fn pads(&self, word: Span) -> bool {
        (self.is_sign("=") || self.is_sign("=="))
            && self.touches()
            && self.text_of(word).starts_with("ed25519:")
    }

    /// Whether the token at hand touches the one before it and belongs to the same glued word.
    pub(super) fn glues_on(&self) -> bool {
        let token = self.peek();
        let next = self.peek_at(1);
        let colon_ends = token.kind == Kind::Sign(":")
            && !(next.span.start == token.span.end && glues(&next.kind));
        self.touches() && glues(&token.kind) && !colon_ends
    }

    pub(super) fn glues_after(&self) -> bool {
        let (token, next) = (self.peek(), self.peek_at(1));
        let colon = next.kind == Kind::Sign(":");
        token.span.end == next.span.start && glues(&next.kind) && !colon
    }

    pub(super) fn quantity(&mut self, span: Span) -> Option<Quantity> {
        match quantity::parse(self.text_of(span), span) {
            Ok(quantity) => Some(quantity),
            Err(finding) => {
                self.report(*finding);
                None
            }
        }
    }

    /// From behind a `(` to its partner; a finding where there is none.
    fn skip_to_parenthesis(&mut self, open: Span) -> Span {
        let mut depth = 1_usize;
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Sign("(") => depth += 1,
                Kind::Sign(")") => depth -= 1,
                Kind::End | Kind::Sign("{" | "}") => {
                    self.report(
                        Diagnostic::new(Number::UnclosedBlock, "a parenthesis is not closed")
                            .at(open, "opened here")
                            .help("write the missing `)`"),
                    );
                    return open;
                }
                _ => {}
            }
            self.bump();
            if depth == 0 {
                return token.span;
            }
        }
    }

    /// Says so once, when conditions or lists nest more than a person reads.
    pub(super) fn too_deep(&mut self, at: Span) -> bool {
        let deep = self.depth > CONDITION_DEPTH_MAX;
        if deep {
            self.report(
                Diagnostic::new(
                    Number::TooDeep,
                    format!("nested more than {CONDITION_DEPTH_MAX} deep"),
                )
                .at(at, "")
                .help("split the condition into rules"),
            );
        }
        deep
    }
}

/// Tokens that glue to one word where they touch.
pub(super) fn glues(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Word
            | Kind::Number
            | Kind::Sign("/" | "*" | "." | ":" | "-" | "+" | "@" | "%" | "?" | "~")
    )
}
