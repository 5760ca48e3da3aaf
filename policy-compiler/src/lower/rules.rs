//! Rules: pattern, clauses and condition to what the core decides by.

use super::clauses::ClauseTest;
use super::{Draft, LoweredRule, Lowering};
use crate::conditions::{self, Scope, Tables};
use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::render;
use crate::source::Span;
use crate::syntax::{Clause, ClauseBody, Rule as RuleSyntax, Value, ValueKind, Word};
use crate::vocabulary;
use faramesh_core::policy::artifact::{
    Field, LIST_MAX, LONG_TEXT_BYTES_MAX, Op, RULES_MAX, Rule, TEXT_BYTES_MAX,
};
use faramesh_core::policy::pattern;
use std::collections::{BTreeSet, HashMap};

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
        let tool = syntax.tool.as_ref().and_then(|tool| self.pattern(tool));
        let scope = Scope {
            declared: &draft.declared,
            pattern: tool.as_deref().unwrap_or("*"),
        };
        let condition = clauses.condition.map(|(span, condition)| {
            (
                span,
                conditions::lower(condition, scope, &mut draft.tables, self.diagnostics),
            )
        });
        let effect = vocabulary::effect(&syntax.effect.text);
        let (Some(tool), Some(effect), true) = (tool, effect, clauses.sound) else {
            return;
        };
        let (condition, lowered) = match condition {
            None => (None, conditions::Lowered::default()),
            Some((span, Some(lowered))) => (Some(span), lowered),
            Some((_, None)) => return,
        };
        let conditions::Lowered {
            program,
            claimed,
            compared,
        } = lowered;
        let request = clauses.tests.first().map(|test| test.at);
        let program = joined(clauses.tests, program, &mut draft.tables);
        if let Some((number, message)) = conditions::limit(&program) {
            let help =
                "split the condition into several rules; values of one field go into one `in […]`";
            self.report(
                Diagnostic::new(number, message)
                    .at(condition.unwrap_or(syntax.effect.span), "")
                    .help(help),
            );
            return;
        }
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
            reeval: clauses.reeval,
            text,
        };
        draft.rules.push(LoweredRule {
            line,
            rule,
            head,
            condition,
            request,
            claimed,
            compared,
        });
    }

    pub(super) fn pattern(&mut self, tool: &Word) -> Option<String> {
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
            tests: Vec::new(),
            reeval: false,
            sound: true,
        };
        let mut once_at: HashMap<&str, Span> = HashMap::new();
        for clause in clauses {
            let keyword = &clause.keyword;
            let word = keyword.text.as_str();
            let repeats = matches!(word, "notify" | "query" | "header" | "headers");
            let kind = if word == "when" { "if" } else { word };
            if !repeats && let Some(first) = once_at.insert(kind, keyword.span) {
                let help = match kind {
                    "if" => "join the conditions with `and`",
                    "method" => "write a list for one of several: `method [GET, POST]`",
                    "host" | "port" | "path" | "door" => "write a rule for each",
                    _ => "keep one",
                };
                self.twice(keyword, first, help);
                read.sound = false;
            }
            let taken = match (&clause.body, word) {
                (ClauseBody::Condition(condition), _) => {
                    read.condition = Some((condition.span, condition));
                    Some(())
                }
                (ClauseBody::Value(value), "reason") => {
                    read.reason = self.clause_text(keyword, value, TEXT_BYTES_MAX);
                    read.reason.as_ref().map(|_| ())
                }
                (ClauseBody::Value(value), "notify") => self
                    .clause_text(keyword, value, TEXT_BYTES_MAX)
                    .filter(|_| read.notify.len() < LIST_MAX)
                    .map(|team| {
                        read.notify.insert(team);
                    }),
                (ClauseBody::Value(value), "reeval") => self
                    .reeval(keyword, value)
                    .map(|reeval| read.reeval = reeval),
                (ClauseBody::Value(value), _) => self
                    .request_clause(keyword, value)
                    .map(|test| read.tests.push(test)),
                (ClauseBody::Pair { key, value }, _) => self
                    .pair_clause(keyword, key, value)
                    .map(|test| read.tests.push(test)),
            };
            read.sound &= taken.is_some();
        }
        read.sound &= self.compatible(&read.tests);
        read
    }

    /// `query k=a query k=b`: no request has both.
    fn compatible(&mut self, tests: &[ClauseTest]) -> bool {
        let mut sound = true;
        for (index, test) in tests.iter().enumerate() {
            let earlier = tests.iter().take(index);
            let Some(first) = earlier
                .filter(|first| first.field == test.field)
                .filter(|_| matches!(test.field, Field::Query(_) | Field::Header(_)))
                .find(|first| first.ask != test.ask)
            else {
                continue;
            };
            self.report(
                Diagnostic::new(
                    Number::DuplicateClause,
                    format!("{} is given twice", quoted(&test.field.to_string())),
                )
                .at(test.at, "again here, with another value")
                .at(first.at, "first here")
                .help("no request has both values: write a rule for each"),
            );
            sound = false;
        }
        sound
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
}

/// The clauses' tests, in their order, and the condition's program behind them.
fn joined(mut tests: Vec<ClauseTest>, condition: Vec<Op>, tables: &mut Tables) -> Vec<Op> {
    tests.sort_by(|a, b| (a.rank(), &a.field).cmp(&(b.rank(), &b.field)));
    tests.dedup_by(|a, b| a.field == b.field && a.ask == b.ask);
    let mut program = Vec::new();
    for test in tests {
        let field = tables.field(test.field);
        let first = program.is_empty();
        program.push(tables.ask(field, test.ask));
        if !first {
            program.push(Op::And);
        }
    }
    let both = !program.is_empty() && !condition.is_empty();
    program.extend(condition);
    if both {
        program.push(Op::And);
    }
    program
}

struct Clauses<'s> {
    condition: Option<(Span, &'s crate::syntax::Expr)>,
    reason: Option<String>,
    notify: BTreeSet<String>,
    /// What `method`, `host`, … ask.
    tests: Vec<ClauseTest>,
    reeval: bool,
    /// No clause had a fault.
    sound: bool,
}
