//! Whom a rule believes, and what a person who approves can see.

use super::Agent;
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use faramesh_core::policy::artifact::{Field, Op, RuleEffect};
use faramesh_core::policy::pattern;

/// `permit http/get if host == "…"`: the caller says which host it is.
pub(super) fn claimed(agent: &Agent<'_>, diagnostics: &mut Findings) {
    for lowered in agent
        .rules
        .iter()
        .filter(|lowered| lowered.rule.effect == RuleEffect::Permit)
    {
        for word in &lowered.claimed {
            // The rule has the broker's word for it too.
            let vouched = lowered.rule.condition.iter().any(|op| {
                let Op::Test(test) = op else { return false };
                let field = agent.tables.test(*test).map(|(field, _)| field);
                matches!(
                    (field, word.text.as_str()),
                    (Some(Field::Host), "host") | (Some(Field::Method), "method")
                )
            });
            if vouched {
                continue;
            }
            diagnostics.push(
                Diagnostic::new(
                    Number::ClaimedFact,
                    format!(
                        "this permit rests on {}, which the caller claims",
                        quoted(&word.text)
                    ),
                )
                .at(
                    word.span,
                    "door `govern` cannot know it; it would be a fact at door `egress`",
                )
                .help(format!(
                    "write `args.{}` to say that the claim is meant",
                    word.text
                )),
            );
        }
    }
}

/// `redact stripe/refund args: ["amount"]` beside `defer stripe/refund if amount > $100`.
pub(super) fn redacted_deferral(agent: &Agent<'_>, diagnostics: &mut Findings) {
    if agent.redacted.is_empty() {
        return;
    }
    for lowered in agent
        .rules
        .iter()
        .filter(|lowered| lowered.rule.effect == RuleEffect::Defer)
    {
        let tools = &lowered.rule.pattern;
        let read = lowered.rule.condition.iter().flat_map(|op| match op {
            Op::Test(test) => agent.tables.read_by(*test),
            _ => Vec::new(),
        });
        let hidden = read
            .filter_map(|field| match field {
                Field::Args(path) | Field::Length(path) => Some(path),
                _ => None,
            })
            .find_map(|path| {
                agent.redacted.iter().find(|(of, hidden, _)| {
                    (path.starts_with(hidden) || hidden.starts_with(path))
                        && (pattern::matches(of, tools) || pattern::matches(tools, of))
                })
            });
        let Some((_, hidden, span)) = hidden else {
            continue;
        };
        let name = hidden.join(".");
        diagnostics.push(
            Diagnostic::new(
                Number::RedactedDeferral,
                format!(
                    "whoever approves cannot see {}, which decides that they are asked",
                    quoted(&name)
                ),
            )
            .at(*span, "records do not keep it")
            .at(lowered.condition.unwrap_or(lowered.head), "defers by it")
            .help("redact another argument, or defer by one that is shown"),
        );
    }
}
