//! Tokens to the syntax tree, with recovery: one fault is one finding, and what follows it is still read.
//!
//! Invariants: every loop moves forward or ends; recursion is bounded by [`BLOCK_DEPTH_MAX`] and
//! [`CONDITION_DEPTH_MAX`]; a tree that comes with an error is never lowered.

use crate::diagnostic::{Diagnostic, Findings, alternatives, quoted};
use crate::lex::{Kind, Token, Tokens};
use crate::number::Number;
use crate::quantity;
use crate::source::Span;
use crate::syntax::{
    Block, Clause, ClauseBody, Expr, ExprKind, File, Item, Operator, Quantity, Rule, Setting,
    Value, ValueKind, Word,
};
use crate::vocabulary::{self, CLAUSES, CONNECTIVES, EFFECTS, Place, Shape, nearest};
use faramesh_core::policy::artifact::CONDITION_DEPTH_MAX;

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
        diagnostics,
    };
    File {
        items: parser.items(Place::Top, None),
    }
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
            (Kind::Sign("{"), Kind::Text(_)) => {
                diagnostic.help("the JSON form is not supported by this version")
            }
            _ => diagnostic,
        });
    }
}

// Items.
impl Parser<'_> {
    fn items(&mut self, place: Place, open: Option<Span>) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            let before = self.at;
            match &self.peek().kind {
                Kind::End => {
                    if let Some(open) = open
                        && !std::mem::replace(&mut self.unwinding, true)
                    {
                        self.report(
                            Diagnostic::new(Number::UnclosedBlock, "a block is not closed")
                                .at(open, "opened here")
                                .help("write the missing `}`"),
                        );
                    }
                    break;
                }
                Kind::Sign("}") => {
                    let brace = self.bump().span;
                    if open.is_some() {
                        break;
                    }
                    self.report(
                        Diagnostic::new(Number::UnclosedBlock, "a `}` that closes nothing")
                            .at(brace, "")
                            .help("remove it, or look for a block that was closed too early"),
                    );
                }
                Kind::Word => {
                    if let Some(open) = open
                        && self.leaves(place, open)
                    {
                        break;
                    }
                    self.unwinding = false;
                    items.extend(self.statement(place));
                }
                _ => {
                    self.unexpected(if place.holds_rules() {
                        "a rule or a setting"
                    } else {
                        "a setting"
                    });
                    if self.is_sign("{") {
                        self.skip_block();
                    } else {
                        self.bump();
                    }
                    self.recover();
                }
            }
            if self.at == before {
                self.bump();
            }
        }
        items
    }

    /// A word that can only stand at the top, first on its line: a brace is missing above.
    fn leaves(&mut self, place: Place, open: Span) -> bool {
        let token = self.peek();
        let word = self.word();
        let block =
            matches!(Place::Top.entry(word), Some(entry) if matches!(entry.shape, Shape::Block(_)));
        let column_one = self
            .text
            .get(..token.span.start)
            .is_none_or(|before| before.is_empty() || before.ends_with('\n'));
        if !block || place.entry(word).is_some() || !column_one {
            return false;
        }
        if !self.unwinding {
            self.unwinding = true;
            self.report(
                Diagnostic::new(Number::UnclosedBlock, "a block is not closed")
                    .at(open, "opened here")
                    .at(
                        token.span,
                        format!("{} starts before it is closed", quoted(word)),
                    )
                    .help("write the missing `}`"),
            );
        }
        true
    }

    fn statement(&mut self, place: Place) -> Option<Item> {
        let word = self.word();
        if place.holds_rules() && vocabulary::effect(word).is_some() {
            return Some(Item::Rule(self.rule(place)));
        }
        match place.entry(word).map(|entry| entry.shape) {
            Some(Shape::Value) => self.setting(),
            Some(Shape::Line) => Some(self.line(place)),
            Some(Shape::Block(inner)) => self.block(inner),
            None if place.holds_rules() => self.unknown(place),
            None => self.free_setting(),
        }
    }

    /// Skips to what may start an item: a word that is first on its line, or the end of the block.
    fn recover(&mut self) {
        let mut open = 0_usize;
        loop {
            let token = self.peek();
            match token.kind {
                Kind::End => return,
                Kind::Sign("{") => open += 1,
                Kind::Sign("}") if open == 0 => return,
                Kind::Sign("}") => open -= 1,
                Kind::Word if token.first && open == 0 => return,
                _ => {}
            }
            self.bump();
        }
    }

    /// `key value`, `key = value`, `key: value`.
    fn setting(&mut self) -> Option<Item> {
        let key = self.bump_word();
        let joined = self.take_sign("=") || self.take_sign(":");
        if !joined && self.peek().first {
            self.report(
                Diagnostic::new(
                    Number::UnexpectedToken,
                    format!("{} has no value", quoted(&key.text)),
                )
                .at(key.span, "expected a value behind it"),
            );
            return None;
        }
        let Some(mut value) = self.value() else {
            self.recover();
            return None;
        };
        if let ValueKind::Bare(text) = &mut value.kind
            && self.is_sign("!")
            && self.touches()
        {
            // `default deny!` reads as one word, so that what is said of it is said of the whole.
            text.push('!');
            value.span = value.span.to(self.bump().span);
        }
        let span = key.span.to(value.span);
        Some(Item::Setting(Setting {
            key,
            values: vec![value],
            span,
        }))
    }

    /// `rate_limit "x": 10 per minute`: everything up to the line's end, or to the next setting on it.
    fn line(&mut self, place: Place) -> Item {
        let key = self.bump_word();
        let mut values = Vec::new();
        let mut span = key.span;
        loop {
            while self.take_sign("=") || self.take_sign(":") || self.take_sign(",") {}
            let token = self.peek();
            let ends = matches!(token.kind, Kind::End | Kind::Sign("{" | "}"));
            let next = place.entry(self.word()).is_some() && !values.is_empty();
            if ends || token.first || next {
                break;
            }
            match self.value() {
                Some(value) => {
                    span = span.to(value.span);
                    values.push(value);
                }
                None => {
                    self.recover();
                    break;
                }
            }
        }
        if self.is_sign("{") {
            self.skip_block();
        }
        Item::Setting(Setting { key, values, span })
    }

    /// `keyword label { … }`.
    fn block(&mut self, inner: Place) -> Option<Item> {
        let keyword = self.bump_word();
        let mut labels = Vec::new();
        while !self.is_sign("{") {
            let token = self.peek();
            let takes =
                !token.first && matches!(token.kind, Kind::Word | Kind::Text(_) | Kind::Number);
            match takes.then(|| self.value()).flatten() {
                Some(label) => labels.push(label),
                None => {
                    let found = self.peek();
                    if found.kind != Kind::Bad {
                        let yaml = found.kind == Kind::Sign(":");
                        let finding = Diagnostic::new(
                            Number::UnexpectedToken,
                            format!("{} has no block", quoted(&keyword.text)),
                        )
                        .at(keyword.span, "expected `{` after this");
                        self.report(if yaml {
                            finding.help("the YAML form is not supported by this version: write `runtime { … }`, `agent \"name\" { … }`")
                        } else {
                            finding
                        });
                    }
                    self.recover();
                    return None;
                }
            }
        }
        let open = self.peek().span;
        if self.blocks >= BLOCK_DEPTH_MAX {
            self.report(
                Diagnostic::new(
                    Number::TooDeep,
                    format!("blocks nest more than {BLOCK_DEPTH_MAX} deep"),
                )
                .at(open, ""),
            );
            self.skip_block();
            return None;
        }
        let items = if inner == Place::Opaque {
            self.skip_block();
            Vec::new()
        } else {
            self.bump();
            self.blocks += 1;
            let items = self.items(inner, Some(open));
            self.blocks -= 1;
            items
        };
        let head = keyword.span.to(open);
        Some(Item::Block(Block {
            keyword,
            labels,
            items,
            head,
        }))
    }

    fn skip_block(&mut self) {
        let open = self.peek().span;
        let mut depth = 0_usize;
        loop {
            match self.bump().kind {
                Kind::Sign("{") => depth += 1,
                Kind::Sign("}") => depth = depth.saturating_sub(1),
                Kind::End => {
                    self.report(
                        Diagnostic::new(Number::UnclosedBlock, "a block is not closed")
                            .at(open, "opened here")
                            .help("write the missing `}`"),
                    );
                    self.unwinding = true;
                    return;
                }
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// A setting whose key is no word of this block's list: a value, or labels and a block.
    fn free_setting(&mut self) -> Option<Item> {
        let next = self.peek_at(1);
        let opens = |token: &Token| matches!(token.kind, Kind::Sign("{"));
        let labelled = matches!(next.kind, Kind::Word | Kind::Text(_))
            && !next.first
            && opens(self.peek_at(2));
        if opens(next) || labelled {
            return self.block(Place::Settings(""));
        }
        self.setting()
    }

    /// A word that is not known here: says so and reads on as what it most likely was.
    fn unknown(&mut self, place: Place) -> Option<Item> {
        let word = self.bump_word();
        let effects = EFFECTS.iter().map(|(name, _)| *name);
        let clauses = CLAUSES.iter().map(|(name, _)| *name);
        let entries = place.entries().iter().map(|entry| entry.word);
        let near = match self.diagnostics.is_full() {
            true => None,
            false => nearest(&word.text, effects.chain(clauses).chain(entries)),
        };
        let looks_like_rule = self.looks_like_rule();
        let is_effect = match near {
            Some(near) => vocabulary::effect(near).is_some(),
            None if place.elsewhere(&word.text).is_some() => false,
            None => place == Place::Rules || looks_like_rule,
        };
        // Cut apart by a character that was reported: the word is not what was written.
        let reported = self.peek().kind == Kind::Bad && self.touches();
        if reported {
            self.recover();
            return None;
        }
        if is_effect {
            let known = alternatives(["permit", "defer", "deny", "deny!"]);
            self.report(
                Diagnostic::new(
                    Number::UnknownEffect,
                    format!("unknown effect {}", quoted(&word.text)),
                )
                .at(word.span, "a rule starts with its effect")
                .suggest(near)
                .note(format!("effects are {known}")),
            );
            return Some(Item::Rule(self.rule_after(word, place)));
        }
        if near.is_some_and(|near| vocabulary::clause(near).is_some())
            || vocabulary::clause(&word.text).is_some()
        {
            self.unknown_clause(&word, near);
        } else {
            let elsewhere = place.elsewhere(&word.text);
            let mut finding = Diagnostic::new(
                Number::UnknownWord,
                format!("unknown word {} in {}", quoted(&word.text), place.noun()),
            )
            .at(word.span, "");
            finding = match elsewhere {
                Some(other) => finding.help(format!(
                    "{} belongs into {}",
                    quoted(&word.text),
                    other.noun()
                )),
                None => finding.suggest(near),
            };
            self.report(finding);
        }
        // Its block is read for faults of its own and then forgotten: the finding above stands for it.
        while !self.peek().first
            && matches!(self.peek().kind, Kind::Word | Kind::Text(_))
            && !self.is_sign("{")
        {
            self.bump();
        }
        if self.is_sign("{") {
            self.skip_block();
        } else {
            self.recover();
        }
        None
    }

    /// What follows could be a tool: a bare word or string on this line, with neither `=` nor a block behind it.
    fn looks_like_rule(&self) -> bool {
        let token = self.peek();
        let tool = matches!(token.kind, Kind::Word | Kind::Sign("*"));
        let slash = matches!(self.peek_at(1).kind, Kind::Sign("/"));
        let clause = matches!(self.peek_at(1).kind, Kind::Word)
            && vocabulary::clause(self.text_of(self.peek_at(1).span)).is_some();
        !token.first && tool && (slash || clause || matches!(token.kind, Kind::Sign("*")))
    }

    fn unknown_clause(&mut self, word: &Word, near: Option<&'static str>) {
        let finding = if vocabulary::clause(&word.text).is_some() {
            Diagnostic::new(
                Number::UnexpectedToken,
                format!("{} stands outside a rule", quoted(&word.text)),
            )
        } else {
            Diagnostic::new(
                Number::UnknownClause,
                format!("unknown clause {}", quoted(&word.text)),
            )
        };
        let known = alternatives(["if", "reason", "notify"]);
        self.report(
            finding
                .at(word.span, "")
                .suggest(near)
                .note(format!("a rule's clauses are {known}")),
        );
    }
}

// Values.
impl Parser<'_> {
    /// A value, or a finding and `None`.
    fn value(&mut self) -> Option<Value> {
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
                self.bump();
                let span = token.span.to(self.skip_parentheses());
                Some(Value {
                    kind: ValueKind::Env,
                    span,
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

    fn list_value(&mut self) -> Option<Value> {
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

    /// Glues what touches: `stripe/*`, `api.example.com`, `1.0.0`.
    fn glue(&mut self) -> Word {
        let mut span = self.bump().span;
        while self.glues_on() {
            span = span.to(self.bump().span);
        }
        Word {
            text: self.text_of(span).to_string(),
            span,
        }
    }

    /// Whether the token at hand touches the one before it and belongs to the same glued word.
    fn glues_on(&self) -> bool {
        let token = self.peek();
        let next = self.peek_at(1);
        let colon_ends = token.kind == Kind::Sign(":")
            && !(next.span.start == token.span.end && glues(&next.kind));
        self.touches() && glues(&token.kind) && !colon_ends
    }

    fn glues_after(&self) -> bool {
        let (token, next) = (self.peek(), self.peek_at(1));
        let colon = next.kind == Kind::Sign(":");
        token.span.end == next.span.start && glues(&next.kind) && !colon
    }

    fn quantity(&mut self, span: Span) -> Option<Quantity> {
        match quantity::parse(self.text_of(span), span) {
            Ok(quantity) => Some(quantity),
            Err(finding) => {
                self.report(*finding);
                None
            }
        }
    }

    /// From `(` to its partner; a finding where there is none.
    fn skip_parentheses(&mut self) -> Span {
        let open = self.bump().span;
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
    fn too_deep(&mut self, at: Span) -> bool {
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
fn glues(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Word
            | Kind::Number
            | Kind::Sign("/" | "*" | "." | ":" | "-" | "+" | "@" | "%" | "?" | "~")
    )
}

// Rules.
impl Parser<'_> {
    fn rule(&mut self, place: Place) -> Rule {
        let effect = self.bump_word();
        self.rule_after(effect, place)
    }

    fn rule_after(&mut self, mut effect: Word, place: Place) -> Rule {
        if self.is_sign("!") && self.touches() {
            effect.span = effect.span.to(self.bump().span);
            effect.text.push('!');
            if effect.text.trim_end_matches('!').len() != effect.text.len()
                && vocabulary::effect(&effect.text).is_none()
                && vocabulary::effect(effect.text.trim_end_matches('!')).is_some()
            {
                self.report(
                    Diagnostic::new(
                        Number::UnknownEffect,
                        format!("unknown effect {}", quoted(&effect.text)),
                    )
                    .at(effect.span, "")
                    .note("only `deny!` has an exclamation mark: a denial that nothing overrides"),
                );
            }
        }
        let tool = self.tool(&effect);
        let mut span = tool
            .as_ref()
            .map_or(effect.span, |tool| effect.span.to(tool.span));
        let clauses = self.clauses(place);
        if let Some(before) = self
            .at
            .checked_sub(1)
            .and_then(|at| self.tokens.tokens.get(at))
        {
            span = span.to(before.span);
        }
        Rule {
            effect,
            tool,
            clauses,
            span,
        }
    }

    fn tool(&mut self, effect: &Word) -> Option<Word> {
        let token = self.peek();
        let word = self.word();
        let keyword = vocabulary::clause(word).is_some()
            || (vocabulary::effect(word).is_some() && !self.glues_after());
        match &token.kind {
            Kind::Text(index) => {
                self.bump();
                let text = self.tokens.strings.get(*index).cloned().unwrap_or_default();
                Some(Word {
                    text,
                    span: token.span,
                })
            }
            kind if glues(kind) && (!keyword || self.glues_after()) => Some(self.glue()),
            _ => {
                let finding = Diagnostic::new(
                    Number::MissingTool,
                    format!("{} names no tool", quoted(&effect.text)),
                )
                .at(
                    effect.span.after(),
                    "expected a tool, such as `stripe/refund`, `stripe/*` or `*`",
                );
                let spaced = self.is_sign("!");
                self.report(if spaced {
                    finding.help("write `deny!` without a space")
                } else if keyword && !token.first {
                    finding.help(format!(
                        "{} is a word of the language: a tool of that name needs quotes",
                        quoted(word)
                    ))
                } else {
                    finding
                });
                self.skip_clause();
                None
            }
        }
    }

    fn clauses(&mut self, place: Place) -> Vec<Clause> {
        let mut clauses = Vec::new();
        loop {
            let token = self.peek();
            let word = self.word();
            if vocabulary::clause(word).is_some() {
                clauses.extend(self.clause());
                continue;
            }
            let ends = token.first
                || matches!(token.kind, Kind::End | Kind::Sign("}"))
                || vocabulary::effect(word).is_some()
                || place.entry(word).is_some();
            if ends {
                return clauses;
            }
            self.stray(token, word);
            if self.is_sign("{") {
                self.skip_block();
            } else {
                self.bump();
            }
            self.skip_clause();
        }
    }

    /// Something behind a tool or a clause that continues neither.
    fn stray(&mut self, token: &Token, word: &str) {
        if token.kind == Kind::Bad {
            return;
        }
        let near = nearest(
            word,
            CLAUSES
                .iter()
                .map(|(name, _)| *name)
                .chain(CONNECTIVES.iter().copied()),
        );
        let shown = quoted(self.text_of(token.span));
        let finding = match (&token.kind, near) {
            (Kind::Word, _) => {
                Diagnostic::new(Number::UnknownClause, format!("unknown clause {shown}")).note(
                    format!(
                        "a rule's clauses are {}",
                        alternatives(["if", "reason", "notify"])
                    ),
                )
            }
            _ => Diagnostic::new(
                Number::UnexpectedToken,
                format!("unexpected {shown} in a rule"),
            ),
        };
        let finding = finding.at(token.span, "").suggest(near);
        self.report(match token.kind {
            Kind::Sign("=") => finding.help("write `==` to compare"),
            Kind::Sign("{") => finding.help("a rule has clauses and no block: `permit tool if …`"),
            Kind::Sign(",") => {
                finding.help("clauses follow each other without commas; numbers have no separators")
            }
            _ => finding,
        });
    }

    /// `if EXPR`, `reason "…"`, `query k=v`.
    fn clause(&mut self) -> Option<Clause> {
        let keyword = self.bump_word();
        let _ = self.take_sign(":") || self.take_sign("=");
        if matches!(keyword.text.as_str(), "if" | "when") {
            self.depth = 0;
            let condition = self.or();
            if has_fault(&condition) {
                self.skip_clause();
            }
            return Some(Clause {
                keyword,
                body: ClauseBody::Condition(condition),
            });
        }
        let Some(value) = self.value() else {
            self.skip_clause();
            return None;
        };
        let mut values = vec![value];
        if matches!(keyword.text.as_str(), "query" | "header" | "headers") && self.take_sign("=") {
            values.extend(self.value());
        }
        Some(Clause {
            keyword,
            body: ClauseBody::Values(values),
        })
    }

    /// Skips to a clause, a rule or the end of the block.
    fn skip_clause(&mut self) {
        let mut open = 0_usize;
        loop {
            let token = self.peek();
            let word = self.word();
            match token.kind {
                Kind::End => return,
                Kind::Sign("{") => open += 1,
                Kind::Sign("}") if open == 0 => return,
                Kind::Sign("}") => open -= 1,
                Kind::Word if open == 0 => {
                    let starts =
                        vocabulary::clause(word).is_some() || vocabulary::effect(word).is_some();
                    if starts || (token.first && !CONNECTIVES.contains(&word)) {
                        return;
                    }
                }
                _ => {}
            }
            self.bump();
        }
    }
}

fn has_fault(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Bad => true,
        ExprKind::Or(parts) | ExprKind::And(parts) | ExprKind::List(parts) => {
            parts.iter().any(has_fault)
        }
        ExprKind::Not(inner) | ExprKind::Has(inner) => has_fault(inner),
        ExprKind::Binary { left, right, .. } => has_fault(left) || has_fault(right),
        _ => false,
    }
}

// Conditions: `or` binds least, then `and`, `not`, comparisons, `+ -`, `*`.
impl Parser<'_> {
    fn or(&mut self) -> Expr {
        self.chain(Self::and, &["or"], "||", ExprKind::Or)
    }

    fn and(&mut self) -> Expr {
        self.chain(Self::not, &["and"], "&&", ExprKind::And)
    }

    fn chain(
        &mut self,
        part: fn(&mut Self) -> Expr,
        words: &[&str],
        sign: &str,
        make: fn(Vec<Expr>) -> ExprKind,
    ) -> Expr {
        let first = part(self);
        let mut parts = vec![first];
        while words.contains(&self.word()) || self.is_sign(sign) {
            self.bump();
            let next = part(self);
            let fault = matches!(next.kind, ExprKind::Bad);
            parts.push(next);
            if fault {
                break;
            }
        }
        match (parts.len(), parts.pop()) {
            (1, Some(only)) => only,
            (_, Some(last)) => {
                let span = parts
                    .first()
                    .map_or(last.span, |first| first.span.to(last.span));
                parts.push(last);
                Expr {
                    kind: make(parts),
                    span,
                }
            }
            (_, None) => Expr {
                kind: ExprKind::Bad,
                span: self.peek().span,
            },
        }
    }

    fn not(&mut self) -> Expr {
        let start = self.peek().span;
        if !(self.take_word("not") || self.take_sign("!")) {
            return self.comparison();
        }
        self.nested(start, |parser| {
            let inner = parser.not();
            let span = start.to(inner.span);
            Expr {
                kind: ExprKind::Not(Box::new(inner)),
                span,
            }
        })
    }

    /// Runs `inner` one level deeper, or reports that it is too deep.
    fn nested(&mut self, at: Span, inner: impl FnOnce(&mut Self) -> Expr) -> Expr {
        self.depth += 1;
        let expr = if self.too_deep(at) {
            Expr {
                kind: ExprKind::Bad,
                span: at,
            }
        } else {
            inner(self)
        };
        self.depth -= 1;
        expr
    }

    fn comparison(&mut self) -> Expr {
        let left = self.sum();
        let negated = self.word() == "not" && self.text_of(self.peek_at(1).span) == "in";
        if negated {
            let span = self.bump().span;
            self.report(
                Diagnostic::new(Number::UnexpectedToken, "`not` stands before the test")
                    .at(span, "")
                    .help("write `not x in […]`"),
            );
        }
        let Some(operator) = self.comparison_operator() else {
            return left;
        };
        let expr = self.binary(left, operator, Self::sum);
        if let Some(second) = self.comparison_operator() {
            let span = self.peek().span;
            self.report(
                Diagnostic::new(
                    Number::ChainedComparison,
                    format!("{} follows a comparison", quoted(second.as_str())),
                )
                .at(span, "")
                .help("write two comparisons and join them with `and`"),
            );
            return Expr {
                kind: ExprKind::Bad,
                span: expr.span,
            };
        }
        expr
    }

    fn binary(&mut self, left: Expr, operator: Operator, right: fn(&mut Self) -> Expr) -> Expr {
        let sign = self.bump().span;
        let right = right(self);
        let span = left.span.to(right.span);
        Expr {
            kind: ExprKind::Binary {
                operator,
                sign,
                left: Box::new(left),
                right: Box::new(right),
            },
            span,
        }
    }

    fn comparison_operator(&self) -> Option<Operator> {
        Some(match &self.peek().kind {
            Kind::Sign("==") => Operator::Equal,
            Kind::Sign("!=") => Operator::NotEqual,
            Kind::Sign("<") => Operator::Less,
            Kind::Sign("<=") => Operator::LessOrEqual,
            Kind::Sign(">") => Operator::Greater,
            Kind::Sign(">=") => Operator::GreaterOrEqual,
            Kind::Word => match self.word() {
                "in" => Operator::In,
                "matches" => Operator::Matches,
                "contains" => Operator::Contains,
                "starts_with" | "startsWith" => Operator::StartsWith,
                "ends_with" | "endsWith" => Operator::EndsWith,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn sum(&mut self) -> Expr {
        self.arithmetic(
            Self::product,
            &[("+", Operator::Add), ("-", Operator::Subtract)],
        )
    }

    fn product(&mut self) -> Expr {
        self.arithmetic(Self::operand, &[("*", Operator::Multiply)])
    }

    fn arithmetic(&mut self, part: fn(&mut Self) -> Expr, signs: &[(&str, Operator)]) -> Expr {
        let mut left = part(self);
        let depth = self.depth;
        while let Some((_, operator)) = signs.iter().find(|(sign, _)| self.is_sign(sign)) {
            self.depth += 1;
            if self.too_deep(self.peek().span) {
                left = Expr {
                    kind: ExprKind::Bad,
                    span: left.span,
                };
                break;
            }
            left = self.binary(left, *operator, part);
        }
        self.depth = depth;
        left
    }

    fn operand(&mut self) -> Expr {
        let token = self.peek();
        let bad = Expr {
            kind: ExprKind::Bad,
            span: token.span,
        };
        match &token.kind {
            Kind::Sign("(") => self.parenthesised(),
            Kind::Sign("[") => self.list(),
            Kind::Sign("-") if matches!(self.peek_at(1).kind, Kind::Number) => {
                self.bump();
                let number = self.bump().span;
                let span = token.span.to(number);
                self.quantity(number).map_or(bad, |quantity| Expr {
                    kind: ExprKind::Number(negative(quantity)),
                    span,
                })
            }
            Kind::Number => {
                self.bump();
                let quantity = self.quantity(token.span);
                quantity.map_or(bad, |quantity| Expr {
                    kind: ExprKind::Number(quantity),
                    span: token.span,
                })
            }
            Kind::Text(index) => {
                self.bump();
                let text = self.tokens.strings.get(*index).cloned().unwrap_or_default();
                Expr {
                    kind: ExprKind::Text(text),
                    span: token.span,
                }
            }
            Kind::Word if !is_keyword(self.word()) => self.name(),
            Kind::Word if self.word() == "has" => self.has(),
            Kind::Word
                if matches!(self.peek_at(1).kind, Kind::Sign("(")) && self.word() == "contains" =>
            {
                self.contains_call()
            }
            _ => {
                self.unexpected("a condition: a name, a value or `(`");
                bad
            }
        }
    }

    fn parenthesised(&mut self) -> Expr {
        let open = self.bump().span;
        self.nested(open, |parser| {
            let inner = parser.or();
            if has_fault(&inner) {
                return Expr {
                    kind: ExprKind::Bad,
                    span: open,
                };
            }
            let close = parser.peek().span;
            if !parser.take_sign(")") {
                parser.unclosed(open, ")");
                return Expr {
                    kind: ExprKind::Bad,
                    span: open,
                };
            }
            Expr {
                kind: inner.kind,
                span: open.to(close),
            }
        })
    }

    fn unclosed(&mut self, open: Span, sign: &str) {
        let token = self.peek();
        if token.kind != Kind::Bad {
            let found = if token.kind == Kind::End {
                String::from("the file ends")
            } else {
                quoted(self.text_of(token.span))
            };
            self.report(
                Diagnostic::new(
                    Number::UnclosedBlock,
                    format!("expected `{sign}`, found {found}"),
                )
                .at(token.span, format!("expected an operator or `{sign}`"))
                .at(open, "opened here"),
            );
        }
    }

    fn list(&mut self) -> Expr {
        let open = self.bump().span;
        self.nested(open, |parser| {
            let mut parts = Vec::new();
            while !parser.is_sign("]") {
                let part = parser.operand();
                if has_fault(&part) {
                    return Expr {
                        kind: ExprKind::Bad,
                        span: open,
                    };
                }
                parts.push(part);
                if !parser.take_sign(",") && !parser.is_sign("]") {
                    parser.unclosed(open, "]");
                    return Expr {
                        kind: ExprKind::Bad,
                        span: open,
                    };
                }
            }
            let close = parser.bump().span;
            Expr {
                kind: ExprKind::List(parts),
                span: open.to(close),
            }
        })
    }

    fn has(&mut self) -> Expr {
        let start = self.bump().span;
        let inner = self.operand();
        let span = start.to(inner.span);
        Expr {
            kind: ExprKind::Has(Box::new(inner)),
            span,
        }
    }

    /// The older spelling `contains(list, "x")`.
    fn contains_call(&mut self) -> Expr {
        let sign = self.bump().span;
        let open = self.bump().span;
        self.nested(open, |parser| {
            let bad = Expr {
                kind: ExprKind::Bad,
                span: open,
            };
            let left = parser.operand();
            if has_fault(&left) {
                return bad;
            }
            if !parser.take_sign(",") {
                parser.unexpected("`,`");
                return bad;
            }
            let right = parser.operand();
            let close = parser.peek().span;
            if has_fault(&right) {
                return bad;
            }
            if !parser.take_sign(")") {
                parser.unclosed(open, ")");
                return bad;
            }
            let (left, right) = (Box::new(left), Box::new(right));
            Expr {
                kind: ExprKind::Binary {
                    operator: Operator::Contains,
                    sign,
                    left,
                    right,
                },
                span: sign.to(close),
            }
        })
    }

    /// `true`, `amount`, `args.to.domain`, `purpose("x")`.
    fn name(&mut self) -> Expr {
        let first = self.bump_word();
        let mut span = first.span;
        if matches!(first.text.as_str(), "true" | "false") {
            return Expr {
                kind: ExprKind::Bool(first.text == "true"),
                span,
            };
        }
        let mut parts = vec![first];
        while self.is_sign(".") && self.touches() {
            self.bump();
            let token = self.peek();
            if token.kind != Kind::Word || !self.touches() {
                let finding = Diagnostic::new(Number::UnexpectedToken, "a name ends with a point")
                    .at(span.to(token.span), "expected a word behind `.`");
                self.report(if token.kind == Kind::Number {
                    finding.help("elements of a list have no names: use `contains`")
                } else {
                    finding
                });
                return Expr {
                    kind: ExprKind::Bad,
                    span,
                };
            }
            let part = self.bump_word();
            span = span.to(part.span);
            parts.push(part);
        }
        if self.is_sign("(") && self.touches() {
            let text = self.text_of(span).to_string();
            let close = self.skip_parentheses();
            return Expr {
                kind: ExprKind::Call {
                    name: Word { text, span },
                },
                span: span.to(close),
            };
        }
        if self.is_sign("[") && self.touches() {
            let bracket = self.peek().span;
            self.report(
                Diagnostic::new(
                    Number::UnexpectedToken,
                    "elements of a list cannot be named",
                )
                .at(bracket, "")
                .help("fields are written `args.a.b`; use `contains` for lists"),
            );
            return Expr {
                kind: ExprKind::Bad,
                span,
            };
        }
        Expr {
            kind: ExprKind::Name(parts),
            span,
        }
    }
}

/// Words that are no operand.
fn is_keyword(word: &str) -> bool {
    // `host`, `method` and `path` start clauses too, but inside a condition they are arguments.
    CONNECTIVES.contains(&word)
        || vocabulary::effect(word).is_some()
        || matches!(word, "if" | "when" | "reason" | "notify" | "reeval")
}

fn negative(quantity: Quantity) -> Quantity {
    Quantity {
        value: format!("-{}", quantity.value),
        shown: format!("-{}", quantity.shown),
        ..quantity
    }
}
