//! What a rule makes of a call that lacks what it asks for.

use super::{Agent, WIDE_RULES_MAX};
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::{Ask, Field, Op, Order, RuleEffect};
use faramesh_core::policy::pattern;
use std::collections::{HashMap, HashSet};

/// `deny! * if args.path matches …` refuses every tool that has no `path`.
pub(super) fn absent_field_denies(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let tables = agent.tables;
    for lowered in agent.rules {
        let rule = &lowered.rule;
        if rule.effect.effect() != Effect::Deny || rule.pattern != "*" {
            continue;
        }
        let asked = || {
            rule.condition.iter().filter_map(|op| match op {
                Op::Test(index) => tables.test(*index),
                _ => None,
            })
        };
        let guarded: HashSet<&Field> = asked()
            .filter(|(_, ask)| **ask == Ask::Has)
            .map(|(field, _)| field)
            .collect();
        let unguarded = asked().find_map(|(field, ask)| match field {
            Field::Args(path) if *ask != Ask::Has && !guarded.contains(field) => {
                Some(path.join("."))
            }
            _ => None,
        });
        if let Some(name) = unguarded {
            diagnostics.push(
                Diagnostic::new(
                    Number::AbsentFieldDenies,
                    format!(
                        "this refuses every tool that has no {}",
                        quoted(&format!("args.{name}"))
                    ),
                )
                .at(
                    lowered.condition.unwrap_or(lowered.head),
                    "neither yes nor no where the argument is absent",
                )
                .help(format!("write `has args.{name} and …`")),
            );
        }
    }
}

/// One field of one pattern's calls, compared with one number.
type Threshold<'r> = (&'r str, &'r Field, &'r Decimal);

/// `permit x if amount < 500` with `permit x if amount >= 500`: a call without an amount falls through.
pub(super) fn cover_hole(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let (rules, tables) = (agent.rules, agent.tables);
    if agent.default != Effect::Deny {
        return;
    }
    let mut seen: HashMap<Threshold<'_>, Vec<(Order, Span)>> = HashMap::new();
    let mut asked = 0_usize;
    for (index, lowered) in rules.iter().enumerate() {
        let rule = &lowered.rule;
        let [Op::Test(test)] = rule.condition.as_slice() else {
            continue;
        };
        let Some((field @ Field::Args(path), Ask::Compare(order, number))) = tables.test(*test)
        else {
            continue;
        };
        if rule.effect.effect() == Effect::Deny || agent.declared.requires(&rule.pattern, path) {
            continue;
        }
        let others = seen
            .entry((rule.pattern.as_str(), field, number))
            .or_default();
        let partner = others
            .iter()
            .find(|(other, _)| complement(*other) == *order)
            .map(|(_, span)| *span);
        if others.iter().all(|(other, _)| other != order) {
            others.push((*order, lowered.head));
        }
        // Somebody thought of the call without it: a later rule for everything, or one that asks `has`.
        let asks_has = |op: &Op| matches!(op, Op::Test(index) if tables.test(*index) == Some((field, &Ask::Has)));
        let caught = || {
            let late = rules.iter().skip(index).any(|later| {
                later.rule.condition.is_empty()
                    && pattern::matches(&later.rule.pattern, &rule.pattern)
            });
            late || rules.iter().any(|other| {
                pattern::matches(&other.rule.pattern, &rule.pattern)
                    && other.rule.condition.iter().any(asks_has)
            })
        };
        if let Some(partner) = partner
            && asked < WIDE_RULES_MAX
            && {
                asked += 1;
                !caught()
            }
        {
            let name = path.join(".");
            diagnostics.push(
                Diagnostic::new(
                    Number::CoverHole,
                    format!(
                        "every {} is covered, but a call without one is denied",
                        quoted(&name)
                    ),
                )
                .at(lowered.condition.unwrap_or(lowered.head), "covers the rest")
                .at(partner, "covers a part")
                .help(format!(
                    "say what holds without it: `permit {} if not has {name}`",
                    rule.pattern
                ))
                .help(format!(
                    "or refuse such calls as no calls: `tool \"{}\" {{ arg {name}: money required }}`",
                    rule.pattern
                )),
            );
        }
    }
}

const fn complement(order: Order) -> Order {
    match order {
        Order::Less => Order::GreaterOrEqual,
        Order::LessOrEqual => Order::Greater,
        Order::Greater => Order::LessOrEqual,
        Order::GreaterOrEqual => Order::Less,
    }
}

/// `deny api/* method DELETE` before `permit api/*`: at a door that sees no request, nobody knows whether it applies.
pub(super) fn unknown_at_door(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let mut looked_at = 0_usize;
    for (index, lowered) in agent.rules.iter().enumerate() {
        let Some(clause) = lowered.request else {
            continue;
        };
        let asks_door = lowered.rule.condition.iter().any(|op| {
            matches!(op, Op::Test(test) if agent.tables.test(*test).is_some_and(|(field, _)| *field == Field::Door))
        });
        if asks_door || lowered.rule.effect == RuleEffect::Permit {
            continue;
        }
        looked_at += 1;
        if looked_at > WIDE_RULES_MAX {
            return;
        }
        let tools = &lowered.rule.pattern;
        let later = match lowered.rule.effect {
            RuleEffect::DenyHard => agent.rules,
            _ => agent.rules.get(index..).unwrap_or_default(),
        };
        let permit = later.iter().find(|other| {
            other.rule.effect == RuleEffect::Permit
                && other.request.is_none()
                && (pattern::matches(tools, &other.rule.pattern)
                    || pattern::matches(&other.rule.pattern, tools))
        });
        let Some(permit) = permit else { continue };
        let consequence = match lowered.rule.effect {
            RuleEffect::Defer => "so there every such call is deferred",
            _ => "so there every such call is denied",
        };
        diagnostics.push(
            Diagnostic::new(
                Number::UnknownAtDoor,
                "whether this rule applies is unknown at door `govern`",
            )
            .at(
                clause,
                format!("the request is not seen there, {consequence}"),
            )
            .at(permit.head, "this permit is not reached there")
            .help("write `door egress` in the rule to speak of requests only"),
        );
    }
}
