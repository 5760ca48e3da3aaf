//! Whom a rule believes, and what a person who approves can see.

use super::Agent;
use crate::conditions::{Compared, is_shouted};
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::syntax::Word;
use faramesh_core::policy::artifact::{Ask, Field, Op, RuleEffect};
use faramesh_core::policy::pattern;
use std::collections::BTreeSet;

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

/// `permit pay if currency == USD`: the caller brings a `USD` of its own.
pub(super) fn name_for_text(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let pairs = agent.rules.iter().flat_map(|lowered| &lowered.compared);
    let pairs: Vec<&Compared> = pairs.collect();
    if pairs.is_empty() {
        return;
    }
    let used = used_otherwise(agent);
    for pair in pairs {
        let doubtful = |name: &&Word| is_shouted(&name.text) || !used.contains(name.text.as_str());
        let Some(name) = pair.names.iter().find(doubtful) else {
            continue;
        };
        // That it is nearly another name says more.
        if diagnostics.says(Number::DoubtfulName, name.span) {
            continue;
        }
        let text = &name.text;
        let what = if pair.ordered { "a value" } else { "a text" };
        let message = format!("{} is an argument here, not {what}", quoted(text));
        let finding = Diagnostic::new(Number::NameForText, message)
            .at(name.span, "the caller sets both sides of this comparison");
        let finding = match pair.ordered {
            true => finding.help(format!("give it a value in the policy: `var {text} …`")),
            false => finding.help(format!("if the text is meant, write `\"{text}\"`")),
        };
        diagnostics.push(finding.help(format!("if the argument is meant, write `args.{text}`")));
    }
}

/// Arguments that some test reads other than to compare two of them: the policy knows them as arguments.
fn used_otherwise<'a>(agent: &Agent<'a>) -> BTreeSet<&'a str> {
    let tests = agent
        .rules
        .iter()
        .flat_map(|lowered| &lowered.rule.condition);
    let read = tests.flat_map(|op| match op {
        Op::Test(test) => match agent.tables.test(*test) {
            Some((_, Ask::CompareField(..))) | None => Vec::new(),
            Some(_) => agent.tables.read_by(*test),
        },
        _ => Vec::new(),
    });
    read.filter_map(|field| match field {
        Field::Args(path) | Field::Length(path) => match path.as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        },
        _ => None,
    })
    .collect()
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
