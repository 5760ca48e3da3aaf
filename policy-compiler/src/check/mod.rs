//! What a policy probably does not mean: checks over a whole agent. Warnings only; an error under `--strict`.
//!
//! Invariant: at most [`WIDE_RULES_MAX`] times the number of rules, so that a hundred thousand do not stop the compiler.

use crate::conditions::Tables;
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::lower::LoweredRule;
use crate::number::Number;
use crate::source::Span;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::{Ask, Field, Op, Order, RuleEffect};
use faramesh_core::policy::pattern;
use std::collections::{HashMap, HashSet};

/// Unconditional rules over several tools that are remembered, and pairs that are looked at: bounds the work on a
/// hostile file.
const WIDE_RULES_MAX: usize = 256;

/// All checks of one agent's rules.
pub(crate) fn agent(
    rules: &[LoweredRule],
    tables: &Tables,
    default: Effect,
    diagnostics: &mut Findings,
) {
    unreachable(rules, diagnostics);
    absent_field_denies(rules, tables, diagnostics);
    cover_hole(rules, tables, default, diagnostics);
    claimed(rules, diagnostics);
}

/// Tools that unconditional rules decided already.
#[derive(Default)]
struct Decided<'r> {
    exact: HashMap<&'r str, Span>,
    wide: Vec<(&'r str, Span)>,
}

impl<'r> Decided<'r> {
    /// The rule that decides everything that the pattern speaks of. The pattern is read as a tool's name: its stars
    /// then match exactly where a wider star stands.
    fn by(&self, of: &str) -> Option<Span> {
        let exact = self.exact.get(of).copied();
        exact.or_else(|| {
            self.wide
                .iter()
                .find(|(wide, _)| pattern::matches(wide, of))
                .map(|(_, span)| *span)
        })
    }

    fn add(&mut self, of: &'r str, span: Span) {
        self.exact.entry(of).or_insert(span);
        if of.contains('*') && self.wide.len() < WIDE_RULES_MAX {
            self.wide.push((of, span));
        }
    }
}

/// Rules behind an unconditional one of the same or a wider pattern; `deny!` rules are asked first.
fn unreachable(rules: &[LoweredRule], diagnostics: &mut Findings) {
    let mut decided = Decided::default();
    for hard in [true, false] {
        for lowered in rules
            .iter()
            .filter(|lowered| (lowered.rule.effect == RuleEffect::DenyHard) == hard)
        {
            let rule = &lowered.rule;
            if let Some(earlier) = decided.by(&rule.pattern) {
                diagnostics.push(
                    Diagnostic::new(Number::UnreachableRule, "this rule never applies")
                        .at(lowered.head, "never reached")
                        .at(earlier, "decides all these tools already")
                        .help("remove it, move it up, or give the other rule a condition"),
                );
            } else if rule.condition.is_empty() {
                decided.add(&rule.pattern, lowered.head);
            }
        }
    }
}

/// `deny! * if args.path matches …` refuses every tool that has no `path`.
fn absent_field_denies(rules: &[LoweredRule], tables: &Tables, diagnostics: &mut Findings) {
    for lowered in rules {
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
fn cover_hole(rules: &[LoweredRule], tables: &Tables, default: Effect, diagnostics: &mut Findings) {
    if default != Effect::Deny {
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
        if rule.effect.effect() == Effect::Deny {
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

/// `permit http/get if host == "…"`: the caller says which host it is.
fn claimed(rules: &[LoweredRule], diagnostics: &mut Findings) {
    for lowered in rules
        .iter()
        .filter(|lowered| lowered.rule.effect == RuleEffect::Permit)
    {
        for word in &lowered.claimed {
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
