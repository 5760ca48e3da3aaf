//! Tokens to the syntax tree, with recovery: one fault is one finding, and what follows it is still read.
//!
//! Invariants: every loop moves forward or ends; recursion is bounded by [`BLOCK_DEPTH_MAX`] and
//! [`CONDITION_DEPTH_MAX`]; a tree that comes with an error is never lowered.

mod expressions;
mod items;
mod rules;
mod values;

use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::lex::{Kind, Token, Tokens};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Expr, File, Word};
use crate::vocabulary::Place;

/// Blocks in blocks: the language needs three.
const BLOCK_DEPTH_MAX: usize = 16;

/// Reads a file; findings go to `diagnostics`.
pub(crate) fn parse(text: &str, tokens: &Tokens, diagnostics: &mut Findings) -> File {
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        blocks: 0,
        depth: 0,
        unwinding: false,
        naming_facts: false,
        diagnostics,
    };
    File {
        items: parser.items(Place::Top, None),
    }
}

/// Reads a condition that stands by itself, in a text of its own.
pub(crate) fn condition(text: &str, tokens: &Tokens, diagnostics: &mut Findings) -> Expr {
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        blocks: 0,
        depth: 0,
        unwinding: false,
        naming_facts: false,
        diagnostics,
    };
    let expr = parser.or();
    if !expressions::has_fault(&expr) && parser.peek().kind != Kind::End {
        parser.unexpected("the end of the condition, or an operator");
    }
    expr
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a Tokens,
    at: usize,
    /// Open blocks.
    blocks: usize,
    /// Open parentheses, lists and negations of the condition at hand.
    depth: usize,
    /// A block was left open and its parents close silently.
    unwinding: bool,
    /// Keys of the object at hand may be functions: in `given`.
    naming_facts: bool,
    diagnostics: &'a mut Findings,
}

static END: Token = Token {
    kind: Kind::End,
    span: Span::new(0, 0),
    first: true,
};

// The cursor.
impl<'a> Parser<'a> {
    fn peek(&self) -> &'a Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &'a Token {
        let tokens = &self.tokens.tokens;
        tokens
            .get(self.at + ahead)
            .or(tokens.last())
            .unwrap_or(&END)
    }

    fn bump(&mut self) -> &'a Token {
        let token = self.peek();
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    fn text_of(&self, span: Span) -> &'a str {
        self.text.get(span.range()).unwrap_or("")
    }

    /// The bare word at hand, or the empty text.
    fn word(&self) -> &'a str {
        let token = self.peek();
        if token.kind == Kind::Word {
            self.text_of(token.span)
        } else {
            ""
        }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek().kind, Kind::Sign(at_hand) if at_hand == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let taken = self.is_sign(sign);
        if taken {
            self.bump();
        }
        taken
    }

    fn take_word(&mut self, word: &str) -> bool {
        let taken = self.word() == word;
        if taken {
            self.bump();
        }
        taken
    }

    fn bump_word(&mut self) -> Word {
        let span = self.bump().span;
        Word {
            text: self.text_of(span).to_string(),
            span,
        }
    }

    /// Whether the token at hand touches the one before it.
    fn touches(&self) -> bool {
        let before = self
            .at
            .checked_sub(1)
            .and_then(|at| self.tokens.tokens.get(at));
        before.is_some_and(|before| before.span.end == self.peek().span.start)
    }

    /// Where the token before the one at hand stands.
    fn before(&self) -> Span {
        self.at
            .checked_sub(1)
            .and_then(|at| self.tokens.tokens.get(at))
            .map_or(self.peek().span, |token| token.span)
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn unexpected(&mut self, expected: &str) {
        let token = self.peek();
        let diagnostic = match token.kind {
            Kind::Bad => return,
            Kind::End => Diagnostic::new(Number::UnexpectedToken, "the file ends too early"),
            _ => Diagnostic::new(
                Number::UnexpectedToken,
                format!("unexpected {}", quoted(self.text_of(token.span))),
            ),
        };
        let diagnostic = diagnostic.at(token.span, format!("expected {expected}"));
        let next = &self.peek_at(1).kind;
        self.report(match (&token.kind, next) {
            (Kind::Sign("/"), Kind::Sign("/" | "*")) => diagnostic.help("comments start with `#`"),
            (Kind::Sign("/"), _) if expected.starts_with("a condition") => {
                diagnostic.help("regular expressions stand in quotes: `x matches \"^a+$\"`")
            }
            (Kind::Sign("{"), Kind::Text(_)) => {
                diagnostic.help("JSON is read from files whose names end in `.json`")
            }
            _ => diagnostic,
        });
    }
}
