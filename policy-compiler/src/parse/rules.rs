//! Rules and their clauses.

use super::Parser;
use super::expressions::has_fault;
use super::values::glues;
use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::lex::{Kind, Token};
use crate::number::Number;
use crate::syntax::{Clause, ClauseBody, Rule, Value, ValueKind, Word};
use crate::vocabulary::{self, CLAUSES, CLAUSES_SHOWN, CONNECTIVES, Place, nearest};

impl Parser<'_> {
    pub(super) fn rule(&mut self, place: Place) -> Rule {
        let effect = self.bump_word();
        self.rule_after(effect, place)
    }

    pub(super) fn rule_after(&mut self, mut effect: Word, place: Place) -> Rule {
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
        span = span.to(self.before());
        Rule {
            effect,
            tool,
            clauses,
            span,
        }
    }

    pub(super) fn tool(&mut self, effect: &Word) -> Option<Word> {
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
                self.report(if self.is_sign("[") {
                    finding.help("write a rule for each tool, or a pattern such as `stripe/*`")
                } else if spaced {
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

    pub(super) fn clauses(&mut self, place: Place) -> Vec<Clause> {
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
                || place.shape(word).is_some();
            if ends {
                return clauses;
            }
            self.stray(token, word, clauses.is_empty());
            if self.is_sign("{") {
                self.skip_block();
            } else {
                self.bump();
            }
            self.skip_clause();
        }
    }

    /// Something behind a tool or a clause that continues neither.
    fn stray(&mut self, token: &Token, word: &str, bare: bool) {
        if token.kind == Kind::Bad {
            return;
        }
        let near = nearest(
            word,
            CLAUSES.iter().copied().chain(CONNECTIVES.iter().copied()),
        );
        let shown = quoted(self.text_of(token.span));
        let finding = match (&token.kind, near) {
            (Kind::Word, _) => {
                Diagnostic::new(Number::UnknownClause, format!("unknown clause {shown}")).note(
                    format!("a rule's clauses are {}", alternatives(CLAUSES_SHOWN)),
                )
            }
            _ => Diagnostic::new(
                Number::UnexpectedToken,
                format!("unexpected {shown} in a rule"),
            ),
        };
        let finding = finding.at(token.span, "").suggest(near);
        let next = match self.peek_at(1).kind {
            Kind::Sign(sign) => sign,
            _ => "",
        };
        self.report(match token.kind {
            Kind::Word => match foreign(word) {
                Some(instead) => finding.help(instead),
                None => finding,
            },
            Kind::Sign("=") if next == ">" => finding.help("write `>=`"),
            Kind::Sign("=") if next == "<" => finding.help("write `<=`"),
            Kind::Sign("=") if next == "~" => finding.help("write `matches \"…\"`"),
            Kind::Sign("~") => finding.help("write `matches \"…\"`"),
            Kind::Sign("=") => finding.help("write `==` to compare"),
            Kind::Sign("!") if next == "~" => finding.help("write `not x matches \"…\"`"),
            Kind::Sign("!") => {
                finding.help("a denial that nothing overrides is written `deny! tool`")
            }
            Kind::Sign("%") => finding.help("calculations have `+`, `-` and `*`"),
            Kind::Sign("/") => {
                finding.help("calculations have `+`, `-` and `*`: `x / 2 > 5` is `x > 10`")
            }
            Kind::Sign(";") => finding.help("rules stand on lines of their own, without `;`"),
            Kind::Sign("?") => finding.help("there is no `? :`: write a rule for each case"),
            Kind::Sign(":") => finding.help(
                "a time of day is compared by its parts: `time.hour >= 9 and time.minute >= 30`",
            ),
            Kind::Sign(",") if bare => {
                finding.help("write a rule for each tool, or a pattern such as `stripe/*`")
            }
            Kind::Sign("{") => finding.help("a rule has clauses and no block: `permit tool if …`"),
            Kind::Sign(",") => {
                finding.help("clauses follow each other without commas; numbers have no separators")
            }
            _ => finding,
        });
    }

    /// `if EXPR`, `reason "…"`, `query k=v`.
    pub(super) fn clause(&mut self) -> Option<Clause> {
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
        let body = match keyword.text.as_str() {
            "query" | "header" | "headers" => self.pair(&keyword),
            _ => self.value().map(ClauseBody::Value),
        };
        if body.is_none() {
            self.skip_clause();
        }
        body.map(|body| Clause { keyword, body })
    }

    /// `k=v`, `"k" = "v"`, `"k=v"`.
    fn pair(&mut self, keyword: &Word) -> Option<ClauseBody> {
        let key = self.value()?;
        let text = match &key.kind {
            ValueKind::Bare(text) | ValueKind::Text(text) => text.as_str(),
            _ => "",
        };
        let word = |text: &str| Word {
            text: text.to_string(),
            span: key.span,
        };
        if self.take_sign("=") && !text.is_empty() {
            let key = word(text);
            let value = self.value()?;
            return Some(ClauseBody::Pair { key, value });
        }
        if let Some((name, value)) = text.split_once('=') {
            let value = Value {
                kind: ValueKind::Text(value.to_string()),
                span: key.span,
            };
            return Some(ClauseBody::Pair {
                key: word(name),
                value,
            });
        }
        self.report(
            Diagnostic::new(
                Number::UnexpectedToken,
                format!("{} takes a name and a value", quoted(&keyword.text)),
            )
            .at(key.span, "expected `name=value`"),
        );
        None
    }

    /// Skips to a clause, a rule or the end of the block.
    pub(super) fn skip_clause(&mut self) {
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

/// What other languages call it.
fn foreign(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "between" => "write `x >= 1 and x <= 5`",
        "is" | "eq" | "equals" => "write `==`",
        "isnt" | "ne" => "write `!=`",
        "lt" => "write `<`",
        "lte" | "le" => "write `<=`",
        "gt" => "write `>`",
        "gte" | "ge" => "write `>=`",
        "includes" | "include" => "write `contains`",
        "like" | "regex" | "match" | "glob" => "write `matches \"…\"` with a regular expression",
        "unless" => "write `if not (…)`",
        "where" | "provided" => "write `if`",
        "then" | "else" | "elif" => "write a rule for each case: the first that matches decides",
        "because" => "write `reason \"…\"`",
        _ => return None,
    })
}
