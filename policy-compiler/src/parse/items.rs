//! Items: what stands at the top of a file and in its blocks.

use super::{BLOCK_DEPTH_MAX, Parser};
use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::lex::{Kind, Token};
use crate::number::Number;
use crate::quantity;
use crate::source::Span;
use crate::syntax::{Block, Example, Item, Setting, Value, ValueKind, Word};
use crate::vocabulary::{self, CLAUSES, CLAUSES_SHOWN, EFFECTS, Place, Shape, nearest};

impl Parser<'_> {
    pub(super) fn items(&mut self, place: Place, open: Option<Span>) -> Vec<Item> {
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
    pub(super) fn leaves(&mut self, place: Place, open: Span) -> bool {
        let token = self.peek();
        let word = self.word();
        let block = Place::starts_stack_block(word);
        let column_one = self
            .text
            .get(..token.span.start)
            .is_none_or(|before| before.is_empty() || before.ends_with('\n'));
        if !block || place.shape(word).is_some() || !column_one {
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

    pub(super) fn statement(&mut self, place: Place) -> Option<Item> {
        let word = self.word();
        if place == Place::Examples && vocabulary::effect(word).is_some() {
            return Some(Item::Example(self.example()));
        }
        if place.holds_rules() && vocabulary::effect(word).is_some() {
            return Some(Item::Rule(self.rule(place)));
        }
        match place.shape(word) {
            Some(Shape::Value) => self.setting(),
            Some(Shape::Line) => Some(self.line(place)),
            Some(Shape::Block(inner)) => self.block(inner, false),
            Some(Shape::MaybeBlock(inner)) => self.block(inner, true),
            None if place.holds_rules() => self.unknown(place),
            None => match nearest(word, place.words()).and_then(|near| place.shape(near)) {
                // Misspelt: what follows it is read as what it most likely was.
                Some(Shape::Line) => Some(self.line(place)),
                _ => self.free_setting(),
            },
        }
    }

    /// `permit stripe/refund { amount: 80 } code X given { time.hour: 3 }`.
    fn example(&mut self) -> Example {
        let mut effect = self.bump_word();
        if self.is_sign("!") && self.touches() {
            effect.span = effect.span.to(self.bump().span);
            effect.text.push('!');
        }
        let tool = self.tool(&effect);
        let mut example = Example {
            span: effect.span,
            effect,
            tool,
            arguments: Vec::new(),
            code: None,
            given: Vec::new(),
        };
        if example.tool.is_some() {
            self.example_rest(&mut example);
        }
        example.span = example.span.to(self.before());
        example
    }

    fn example_rest(&mut self, example: &mut Example) {
        if self.is_sign("{") {
            match self.members() {
                Some(arguments) => example.arguments = arguments,
                None => return,
            }
        }
        loop {
            if self.take_word("code") {
                let effect = vocabulary::effect(self.word()).is_some();
                if self.peek().kind != Kind::Word || effect || example.code.is_some() {
                    self.unexpected("one code, such as `INDETERMINATE`");
                    return self.recover();
                }
                example.code = Some(self.bump_word());
            } else if self.word() == "given" && example.given.is_empty() {
                self.bump();
                if !self.is_sign("{") {
                    self.unexpected("`{`");
                    return self.recover();
                }
                self.naming_facts = true;
                let given = self.members();
                self.naming_facts = false;
                match given {
                    Some(given) => example.given = given,
                    None => return,
                }
            } else {
                return;
            }
        }
    }

    /// Skips to what may start an item: a word that is first on its line, or the end of the block.
    pub(super) fn recover(&mut self) {
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
    pub(super) fn setting(&mut self) -> Option<Item> {
        let key = self.bump_word();
        let joined = self.take_sign("=") || self.take_sign(":");
        if !joined && self.peek().first {
            let finding = Diagnostic::new(
                Number::UnexpectedToken,
                format!("{} has no value", quoted(&key.text)),
            )
            .at(key.span, "expected a value behind it");
            self.report(match quantity::is_currency(&key.text) {
                true => quantity::currency(finding, "500"),
                false => finding,
            });
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
    pub(super) fn line(&mut self, place: Place) -> Item {
        let key = self.bump_word();
        let mut values = Vec::new();
        let mut span = key.span;
        loop {
            while self.take_sign("=") || self.take_sign(":") || self.take_sign(",") {}
            let token = self.peek();
            let ends = matches!(token.kind, Kind::End | Kind::Sign("{" | "}"));
            // A layer is no effect: what follows on the line is a rule.
            let rule = key.text == "require" && vocabulary::effect(self.word()).is_some();
            let next = (rule || place.shape(self.word()).is_some()) && !values.is_empty();
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
    pub(super) fn block(&mut self, inner: Place, without_items: bool) -> Option<Item> {
        let keyword = self.bump_word();
        let mut labels: Vec<Value> = Vec::new();
        while !self.is_sign("{") {
            if let (true, Some(label)) = (without_items, labels.last()) {
                let head = keyword.span.to(label.span);
                return Some(Item::Block(Block {
                    keyword,
                    labels,
                    items: Vec::new(),
                    head,
                }));
            }
            let token = self.peek();
            let takes = !token.first
                && matches!(
                    token.kind,
                    Kind::Word | Kind::Text(_) | Kind::Number | Kind::Sign("*")
                );
            match takes.then(|| self.value()).flatten() {
                Some(label) => labels.push(label),
                None => {
                    let found = self.peek();
                    if found.kind != Kind::Bad {
                        let yaml = found.kind == Kind::Sign(":");
                        let (what, expected) = match without_items {
                            true => ("name", "expected a name after this"),
                            false => ("block", "expected `{` after this"),
                        };
                        let finding = Diagnostic::new(
                            Number::UnexpectedToken,
                            format!("{} has no {what}", quoted(&keyword.text)),
                        )
                        .at(keyword.span, expected);
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
        self.bump();
        self.blocks += 1;
        let items = self.items(inner, Some(open));
        self.blocks -= 1;
        let head = keyword.span.to(open);
        Some(Item::Block(Block {
            keyword,
            labels,
            items,
            head,
        }))
    }

    pub(super) fn skip_block(&mut self) {
        let open = self.peek().span;
        let mut depth = 0_usize;
        loop {
            match self.bump().kind {
                Kind::Sign("{") => depth += 1,
                Kind::Sign("}") => depth = depth.saturating_sub(1),
                Kind::End => {
                    if !std::mem::replace(&mut self.unwinding, true) {
                        self.report(
                            Diagnostic::new(Number::UnclosedBlock, "a block is not closed")
                                .at(open, "opened here")
                                .help("write the missing `}`"),
                        );
                    }
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
    pub(super) fn free_setting(&mut self) -> Option<Item> {
        let next = self.peek_at(1);
        let opens = |token: &Token| matches!(token.kind, Kind::Sign("{"));
        let labelled = matches!(next.kind, Kind::Word | Kind::Text(_))
            && !next.first
            && opens(self.peek_at(2));
        if opens(next) || labelled {
            return self.block(Place::Settings(""), false);
        }
        self.setting()
    }

    /// A word that is not known here: says so and reads on as what it most likely was.
    pub(super) fn unknown(&mut self, place: Place) -> Option<Item> {
        let word = self.bump_word();
        let effects = EFFECTS.iter().map(|(name, _)| *name);
        let clauses = CLAUSES.iter().copied();
        let entries = place.words();
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
            let finding = Diagnostic::new(
                Number::UnknownWord,
                format!("unknown word {} in {}", quoted(&word.text), place.noun()),
            )
            .at(word.span, "");
            self.report(place.advise(finding, &word.text, near));
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
    pub(super) fn looks_like_rule(&self) -> bool {
        let token = self.peek();
        let tool = matches!(token.kind, Kind::Word | Kind::Sign("*"));
        let slash = matches!(self.peek_at(1).kind, Kind::Sign("/"));
        let clause = matches!(self.peek_at(1).kind, Kind::Word)
            && vocabulary::clause(self.text_of(self.peek_at(1).span)).is_some();
        !token.first && tool && (slash || clause || matches!(token.kind, Kind::Sign("*")))
    }

    pub(super) fn unknown_clause(&mut self, word: &Word, near: Option<&'static str>) {
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
        let known = alternatives(CLAUSES_SHOWN);
        self.report(
            finding
                .at(word.span, "")
                .suggest(near)
                .note(format!("a rule's clauses are {known}")),
        );
    }
}
