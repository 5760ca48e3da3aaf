//! Limits that hold on one side only, and protections that reach only what is named as expected.

use super::Agent;
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::lower::{Declares, LoweredRule};
use crate::number::Number;
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{Ask, Field, Op, Order, RuleEffect, Step};
use faramesh_core::policy::pattern;
use std::collections::BTreeSet;

/// Parts of an argument's name by which it is something that is paid, refunded or counted out. A limit of a page's length
/// or of a temperature is not.
const AMOUNTS: &[&str] = &[
    "amount", "charge", "cost", "fee", "payment", "payout", "price", "qty", "quantity", "refund",
    "total", "transfer",
];

/// Parts of a tool's name by which it works on files.
const OF_FILES: &[&str] = &[
    "dir",
    "directory",
    "file",
    "files",
    "filesystem",
    "folder",
    "fs",
    "notebook",
    "path",
    "paths",
];

/// What a test is true of, read with the `not`s around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Everything below a number.
    Below,
    /// Nothing below a number.
    Above,
}

/// `permit stripe/refund if session.sum(stripe/refund.amount) + amount < $500`: a refund of -100000 is below that.
pub(super) fn unbounded_below(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let mut seen: BTreeSet<(&str, &[String])> = BTreeSet::new();
    let permits = agent
        .rules
        .iter()
        .filter(|lowered| lowered.rule.effect == RuleEffect::Permit);
    for lowered in permits {
        // A cap over what was summed up is what a negative amount undermines.
        if !sums(agent, lowered) {
            continue;
        }
        let sides = sides(agent, lowered);
        let below = sides.iter().filter(|(side, ..)| *side == Side::Below);
        for (_, tools, path) in below {
            let bounded = sides
                .iter()
                .any(|(side, _, other)| *side == Side::Above && other == path);
            if bounded
                || !seen.insert((*tools, path))
                || !is_amount(path)
                || is_never_negative(agent, tools, path)
                || is_refused_before(agent, tools, path)
            {
                continue;
            }
            let name = path.join(".");
            diagnostics.push(
                Diagnostic::new(
                    Number::UnboundedBelow,
                    format!("a negative {} passes this limit", quoted(&name)),
                )
                .at(
                    lowered.condition.unwrap_or(lowered.head),
                    "every number below the limit, and so below zero",
                )
                .help(format!(
                    "declare `arg {name}: money` in a `tool` block of {}, or test `{name} >= 0` too",
                    quoted(tools)
                )),
            );
        }
    }
}

/// Whether a rule's condition reads a sum.
fn sums(agent: &Agent<'_>, lowered: &LoweredRule) -> bool {
    lowered.rule.condition.iter().any(|op| {
        let Op::Test(test) = op else { return false };
        let read = agent.tables.read_by(*test);
        read.iter().any(|field| matches!(field, Field::Sum { .. }))
    })
}

fn is_amount(path: &[String]) -> bool {
    let last = path.last().map(|name| name.to_ascii_lowercase());
    last.is_some_and(|name| AMOUNTS.iter().any(|part| name.contains(part)))
}

/// The schemas of these tools say that it is no number below zero.
fn is_never_negative(agent: &Agent<'_>, tools: &str, path: &[String]) -> bool {
    match agent.declared.argument(tools, path) {
        Declares::Kind(kind) => !kind.may_be_negative(),
        _ => false,
    }
}

/// Another rule denies or defers what is below some number that is not negative.
fn is_refused_before(agent: &Agent<'_>, tools: &str, path: &[String]) -> bool {
    let refusing = agent
        .rules
        .iter()
        .take(super::WIDE_RULES_MAX)
        .filter(|lowered| {
            lowered.rule.effect != RuleEffect::Permit
                && pattern::matches(&lowered.rule.pattern, tools)
        });
    let mut sides = refusing.flat_map(|lowered| sides(agent, lowered));
    sides.any(|(side, _, other)| side == Side::Below && other == path)
}

/// Which arguments of which tools a rule bounds, on which side; where another number decides it, such as a sum, too.
fn sides<'a>(agent: &'a Agent<'_>, lowered: &'a LoweredRule) -> Vec<(Side, &'a str, &'a [String])> {
    let mut found = Vec::new();
    // From the end: what an operator joins stands before it.
    let mut plain = vec![true];
    for op in lowered.rule.condition.iter().rev() {
        let Some(plainly) = plain.pop() else { break };
        match op {
            Op::And | Op::Or => plain.extend([plainly, plainly]),
            Op::Not => plain.push(!plainly),
            Op::Const(_) => {}
            Op::Test(test) => {
                let Some((field, Ask::Compare(order, number))) = agent.tables.test(*test) else {
                    continue;
                };
                let is_below = matches!(order, Order::Less | Order::LessOrEqual) == plainly;
                let side = if is_below { Side::Below } else { Side::Above };
                // A bound below zero is meant, and a lower one that is none of these bounds nothing here.
                if number < &Decimal::ZERO {
                    continue;
                }
                bounded(agent, field, &lowered.rule.pattern, &mut |tools, path| {
                    found.push((side, tools, path));
                });
            }
        }
    }
    found
}

fn bounded<'a>(
    agent: &'a Agent<'_>,
    field: &'a Field,
    tools: &'a str,
    take: &mut impl FnMut(&'a str, &'a [String]),
) {
    match field {
        Field::Args(path) => take(tools, path),
        Field::Sum { pattern, path, .. } => take(pattern, path),
        Field::Calculated(steps) => {
            for step in steps {
                if let Step::Field(part) = step
                    && let Some(Field::Args(path)) = agent.tables.of(*part)
                {
                    take(tools, path);
                }
            }
        }
        _ => {}
    }
}

/// `paths { … }` beside `permit files/write` without a schema.
pub(super) fn paths_by_name(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let Some(paths) = agent.paths else { return };
    let unchecked = agent.rules.iter().find(|lowered| {
        let tools = lowered.rule.pattern.as_str();
        lowered.rule.effect == RuleEffect::Permit
            && is_of_files(tools)
            && agent.declared.argument_names(tools).is_empty()
    });
    let Some(lowered) = unchecked else { return };
    let tools = &lowered.rule.pattern;
    diagnostics.push(
        Diagnostic::new(
            Number::PathsByName,
            format!(
                "which arguments of {} are paths is guessed by their names",
                quoted(tools)
            ),
        )
        .at(lowered.head, "no schema declares its arguments")
        .at(paths, "checks what is known to be a path")
        .help(format!(
            "declare them: `tool {tools} {{ arg target: path.edit }}`"
        )),
    );
}

fn is_of_files(tools: &str) -> bool {
    let words = tools.split(|letter: char| !letter.is_ascii_alphanumeric());
    words
        .map(str::to_ascii_lowercase)
        .any(|word| OF_FILES.contains(&word.as_str()))
}
