//! Rules: pattern, clauses and condition to what the core decides by.

use super::{Draft, LoweredRule, Lowering};
use crate::conditions;
use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::render;
use crate::source::Span;
use crate::syntax::{Clause, ClauseBody, Rule as RuleSyntax, Value, ValueKind, Word};
use crate::vocabulary;
use faramesh_core::policy::artifact::{
    LIST_MAX, LONG_TEXT_BYTES_MAX, RULES_MAX, Rule, TEXT_BYTES_MAX,
};
use faramesh_core::policy::pattern;
use std::collections::BTreeSet;

impl Lowering<'_> {
    pub(super) fn rule(&mut self, syntax: &RuleSyntax, draft: &mut Draft) {
        draft.rules_seen += 1;
        if draft.rules_seen > RULES_MAX {
            if draft.rules_seen == RULES_MAX + 1 {
                let message = format!("an agent with more than {RULES_MAX} rules");
                self.report(
                    Diagnostic::new(Number::TooManyRules, message)
                        .at(syntax.span, "the first that is too many"),
                );
            }
            return;
        }
        let clauses = self.clauses(&syntax.clauses);
        let condition = clauses.condition.map(|(span, condition)| {
            (
                span,
                conditions::lower(condition, &mut draft.tables, self.diagnostics),
            )
        });
        let tool = syntax.tool.as_ref().and_then(|tool| self.pattern(tool));
        let effect = vocabulary::effect(&syntax.effect.text);
        let (Some(tool), Some(effect), true) = (tool, effect, clauses.sound) else {
            return;
        };
        let (condition, program, claimed) = match condition {
            None => (None, Vec::new(), Vec::new()),
            Some((span, Some(lowered))) => (Some(span), lowered.program, lowered.claimed),
            Some((_, None)) => return,
        };
        let Some(text) = self.text(syntax) else {
            return;
        };
        let line = u32::try_from(self.lines.line(syntax.effect.span.start) + 1).unwrap_or(u32::MAX);
        let head = syntax
            .tool
            .as_ref()
            .map_or(syntax.effect.span, |tool| syntax.effect.span.to(tool.span));
        let notify = clauses.notify.into_iter().collect();
        let rule = Rule {
            effect,
            pattern: tool,
            condition: program,
            reason: clauses.reason,
            notify,
            reeval: false,
            text,
        };
        draft.rules.push(LoweredRule {
            line,
            rule,
            head,
            condition,
            claimed,
        });
    }

    fn pattern(&mut self, tool: &Word) -> Option<String> {
        match pattern::check(&tool.text) {
            Ok(()) => Some(tool.text.clone()),
            Err(why) => {
                let why = match why {
                    pattern::PatternInvalid::Name { source, .. } => source.to_string(),
                    pattern::PatternInvalid::DoubleStar { .. } => {
                        String::from("`**` does not exist; a trailing `/*` is everything below")
                    }
                };
                let message = format!("{} is no tool and no pattern", quoted(&tool.text));
                self.report(Diagnostic::new(Number::BadPattern, message).at(tool.span, why));
                None
            }
        }
    }

    fn text(&mut self, syntax: &RuleSyntax) -> Option<String> {
        let text = render::rule(syntax);
        if text.len() > LONG_TEXT_BYTES_MAX {
            let message = format!("a rule of more than {LONG_TEXT_BYTES_MAX} bytes");
            self.report(Diagnostic::new(Number::StringTooLong, message).at(syntax.effect.span, ""));
            return None;
        }
        Some(text)
    }

    fn clauses<'s>(&mut self, clauses: &'s [Clause]) -> Clauses<'s> {
        let mut read = Clauses {
            condition: None,
            reason: None,
            notify: BTreeSet::new(),
            sound: true,
        };
        let mut reason_at = None;
        for clause in clauses {
            let keyword = &clause.keyword;
            match (&clause.body, keyword.text.as_str()) {
                (ClauseBody::Condition(condition), _) => {
                    if let Some((first, _)) = read.condition {
                        self.twice(keyword, first, "join the conditions with `and`");
                        read.sound = false;
                    }
                    read.condition = Some((condition.span, condition));
                }
                (ClauseBody::Value(value), "reason") => {
                    if let Some(first) = reason_at.replace(keyword.span) {
                        self.twice(keyword, first, "keep one");
                        read.sound = false;
                    }
                    read.reason = self.clause_text(keyword, value, TEXT_BYTES_MAX);
                    read.sound &= read.reason.is_some();
                }
                (ClauseBody::Value(value), "notify") => {
                    match self.clause_text(keyword, value, TEXT_BYTES_MAX) {
                        Some(team) if read.notify.len() < LIST_MAX => {
                            read.notify.insert(team);
                        }
                        _ => read.sound = false,
                    }
                }
                (ClauseBody::Value(_) | ClauseBody::Pair { .. }, _) => {
                    self.clause_not_supported(clause);
                    read.sound = false;
                }
            }
        }
        read
    }

    fn twice(&mut self, keyword: &Word, first: Span, help: &str) {
        self.report(
            Diagnostic::new(
                Number::DuplicateClause,
                format!("{} is given twice", quoted(&keyword.text)),
            )
            .at(keyword.span, "again here")
            .at(first, "first here")
            .help(help),
        );
    }

    /// The text of `reason` and `notify`; a team may be bare.
    fn clause_text(&mut self, keyword: &Word, value: &Value, bytes_max: usize) -> Option<String> {
        let text = match &value.kind {
            ValueKind::Text(text) => Some(text),
            ValueKind::Bare(text) if keyword.text == "notify" => Some(text),
            _ => None,
        };
        let span = value.span;
        match text {
            Some(text) if text.len() > bytes_max => {
                let message = format!("{} has more than {bytes_max} bytes", quoted(&keyword.text));
                self.report(Diagnostic::new(Number::StringTooLong, message).at(span, ""));
                None
            }
            Some(text) if !text.trim().is_empty() => Some(text.clone()),
            _ => {
                let message = format!("{} takes a text", quoted(&keyword.text));
                self.report(
                    Diagnostic::new(Number::BadValue, message).at(span, "expected text in quotes"),
                );
                None
            }
        }
    }

    fn clause_not_supported(&mut self, clause: &Clause) {
        let keyword = &clause.keyword;
        let why = vocabulary::clause(&keyword.text)
            .flatten()
            .unwrap_or("not here");
        let span = match &clause.body {
            ClauseBody::Value(value) | ClauseBody::Pair { value, .. } => {
                keyword.span.to(value.span)
            }
            ClauseBody::Condition(condition) => keyword.span.to(condition.span),
        };
        let finding = Diagnostic::new(
            Number::ClauseNotSupported,
            format!(
                "clause {} is not supported by this version",
                quoted(&keyword.text)
            ),
        )
        .at(span, why);
        self.report(match keyword.text.as_str() {
            word @ ("method" | "host" | "path") => finding.help(format!(
                "what the caller claims can be tested: `if args.{word} == \"…\"`"
            )),
            _ => finding.help("remove it, if the rule is right without it"),
        });
    }
}

struct Clauses<'s> {
    condition: Option<(Span, &'s crate::syntax::Expr)>,
    reason: Option<String>,
    notify: BTreeSet<String>,
    /// No clause had a fault.
    sound: bool,
}
