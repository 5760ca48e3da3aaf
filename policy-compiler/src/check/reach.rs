//! Rules that never apply: behind others that decide already, or by a condition that nothing satisfies.

use super::truths::{ByTools, Search, Tree, Want};
use super::{Agent, WIDE_RULES_MAX};
use crate::diagnostic::{Diagnostic, Findings};
use crate::number::Number;
use crate::source::Span;
use faramesh_core::policy::artifact::RuleEffect;
use faramesh_core::policy::pattern;
use std::collections::{HashMap, HashSet};

/// Earlier rules with conditions that are looked at together, of the same pattern and of wider ones.
const EARLIER_MAX: usize = 16;

/// Tools that unconditional rules decided already.
#[derive(Default)]
struct Decided<'r> {
    exact: HashMap<&'r str, Span>,
    wide: Vec<(&'r str, Span)>,
    /// Where those stand that are `deny!`.
    hard: HashSet<Span>,
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

/// Rules in the order in which they are asked: `deny!` first.
pub(super) fn never_applies(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let trees: Vec<Option<Tree>> = agent
        .rules
        .iter()
        .map(|lowered| Tree::of(&lowered.rule.condition))
        .collect();
    let tree = |index: usize| trees.get(index).and_then(Option::as_ref);
    let mut search = Search::new(agent.tables, agent.declared);
    let mut decided = Decided::default();
    let mut asked = ByTools::default();
    let is_hard = |index: &usize| {
        let lowered = agent.rules.get(*index);
        lowered.is_some_and(|lowered| lowered.rule.effect == RuleEffect::DenyHard)
    };
    let (hard, others): (Vec<usize>, Vec<usize>) = (0..agent.rules.len()).partition(is_hard);
    for index in hard.into_iter().chain(others) {
        let (Some(lowered), Some(own)) = (agent.rules.get(index), tree(index)) else {
            continue;
        };
        let rule = &lowered.rule;
        let tools = rule.pattern.as_str();
        if let Some(earlier) = decided.by(tools) {
            diagnostics.push(
                Diagnostic::new(Number::UnreachableRule, "this rule never applies")
                    .at(lowered.head, "never reached")
                    .at(earlier, "decides all these tools already")
                    .help(if decided.hard.contains(&earlier) {
                        "remove it, or give the `deny!` a condition: wherever it stands, it is asked first"
                    } else {
                        "remove it, move it up, or give the other rule a condition"
                    }),
            );
            continue;
        }
        if rule.condition.is_empty() {
            decided.add(tools, lowered.head);
            if is_hard(&index) {
                decided.hard.insert(lowered.head);
            }
        } else if !search.possible(tools, &[(own, Want::Yes)]) {
            diagnostics.push(
                Diagnostic::new(Number::NeverHolds, "nothing satisfies this condition")
                    .at(
                        lowered
                            .condition
                            .or(lowered.request)
                            .unwrap_or(lowered.head),
                        "no call makes it true",
                    )
                    .help("the rule never decides: mend the condition, or remove the rule"),
            );
            continue;
        } else if !own.has_constant() && !search.possible(tools, &[(own, Want::No)]) {
            diagnostics.push(
                Diagnostic::new(
                    Number::ConstantCondition,
                    "every value satisfies this condition",
                )
                .at(
                    lowered.condition.unwrap_or(lowered.head),
                    "no call makes it false",
                )
                .help("remove it; to ask only whether the argument is there, write `has`"),
            );
        }
        let earlier = asked.over(tools, EARLIER_MAX);
        let mut goals = vec![(own, Want::Yes)];
        goals.extend(
            earlier
                .iter()
                .filter_map(|earlier| Some((tree(*earlier)?, Want::NotYes))),
        );
        if goals.len() > 1 && !search.possible(tools, &goals) {
            let last = earlier.iter().max().and_then(|last| agent.rules.get(*last));
            let several = earlier.len() > 1;
            diagnostics.push(
                Diagnostic::new(Number::UnreachableRule, "this rule never applies")
                    .at(lowered.head, "never reached")
                    .at(
                        last.map_or(lowered.head, |last| last.head),
                        if several {
                            "this and the rules before it decide all these calls already"
                        } else {
                            "decides all these calls already"
                        },
                    )
                    .help(if last.is_some_and(|last| last.rule.effect == RuleEffect::DenyHard) {
                        "remove it, or change the `deny!`: wherever it stands, it is asked first"
                    } else {
                        "remove it, or move it up"
                    }),
            );
        }
        asked.add(tools, index, WIDE_RULES_MAX);
    }
}
