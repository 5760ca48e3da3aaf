//! Which rules speak of a tool, without asking each: the cost of a decision grows with the rules that could match and
//! not with those that are there.
//!
//! Invariant: `candidates` yields exactly the rules whose pattern matches, `deny!` rules first, each group in file order.

use crate::policy::artifact::{Rule, RuleEffect};
use crate::policy::pattern;
use std::collections::HashMap;

/// Literal segments at a pattern's head by which it is filed; a deeper pattern is filed under its first ones.
const HEAD_SEGMENTS_MAX: usize = 6;
/// Lists that one tool can draw from: its exact name, the top, and each of its heads.
const LISTS_MAX: usize = HEAD_SEGMENTS_MAX + 2;

/// Rules filed by what their pattern begins with. The lists hold ranks, ascending.
#[derive(Debug)]
pub(crate) struct Index {
    /// Rank to rule: `deny!` first.
    order: Vec<u32>,
    /// Patterns without a star, by name.
    exact: HashMap<Box<str>, Vec<u32>>,
    /// Patterns with a star, by literal head.
    below: HashMap<Box<str>, Vec<u32>>,
    /// Patterns whose first segment has a star.
    top: Vec<u32>,
}

impl Index {
    pub(crate) fn new(rules: &[Rule]) -> Index {
        let numbered = || (0_u32..).zip(rules);
        let hard = numbered().filter(|(_, rule)| rule.effect == RuleEffect::DenyHard);
        let others = numbered().filter(|(_, rule)| rule.effect != RuleEffect::DenyHard);
        let ordered: Vec<(u32, &Rule)> = hard.chain(others).collect();
        let mut index = Index {
            order: ordered.iter().map(|(number, _)| *number).collect(),
            exact: HashMap::new(),
            below: HashMap::new(),
            top: Vec::new(),
        };
        for (rank, (_, rule)) in (0_u32..).zip(ordered) {
            match pattern::literal_head(&rule.pattern) {
                None => index
                    .exact
                    .entry(rule.pattern.as_str().into())
                    .or_default()
                    .push(rank),
                Some("") => index.top.push(rank),
                Some(head) => index
                    .below
                    .entry(first_segments(head).into())
                    .or_default()
                    .push(rank),
            }
        }
        index
    }

    /// The rules whose pattern matches the tool, in the order of evaluation, with their place in the file.
    pub(crate) fn candidates<'r>(
        &self,
        tool: &str,
        rules: &'r [Rule],
    ) -> impl Iterator<Item = (u32, &'r Rule)> {
        let mut lists = self.lists(tool);
        std::iter::from_fn(move || self.next_match(&mut lists, tool, rules))
    }

    /// Everything that could match the tool: what names it exactly first, then what may match it.
    fn lists(&self, tool: &str) -> [&[u32]; LISTS_MAX] {
        let mut lists: [&[u32]; LISTS_MAX] = [&[]; LISTS_MAX];
        let heads = tool
            .match_indices('/')
            .take(HEAD_SEGMENTS_MAX)
            .filter_map(|(at, _)| tool.get(..at));
        let below = heads.map(|head| {
            if self.below.is_empty() {
                None
            } else {
                self.below.get(head)
            }
        });
        let found = [self.exact.get(tool), Some(&self.top)]
            .into_iter()
            .chain(below);
        for (list, found) in lists.iter_mut().zip(found) {
            *list = found.map_or(&[], Vec::as_slice);
        }
        lists
    }

    /// Takes ranks from the lists' heads, the lowest first, until one's rule matches.
    fn next_match<'r>(
        &self,
        lists: &mut [&[u32]; LISTS_MAX],
        tool: &str,
        rules: &'r [Rule],
    ) -> Option<(u32, &'r Rule)> {
        loop {
            let first = |list: &mut &[u32]| list.split_first().map(|(rank, _)| *rank);
            let heads = lists.iter_mut().enumerate();
            let (rank, place) = heads
                .filter_map(|(place, list)| Some((first(list)?, place)))
                .min()?;
            let list = lists.get_mut(place)?;
            *list = list.get(1..)?;
            let number = *self.order.get(rank as usize)?;
            let rule = rules.get(number as usize)?;
            if place == 0 || pattern::matches(&rule.pattern, tool) {
                return Some((number, rule));
            }
        }
    }
}

/// At most [`HEAD_SEGMENTS_MAX`] segments of a head.
fn first_segments(head: &str) -> &str {
    let end = head
        .match_indices('/')
        .nth(HEAD_SEGMENTS_MAX - 1)
        .map_or(head.len(), |(at, _)| at);
    head.get(..end).unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(effect: RuleEffect, pattern: &str) -> Rule {
        Rule {
            effect,
            pattern: pattern.to_owned(),
            condition: Vec::new(),
            reason: None,
            notify: Vec::new(),
            reeval: false,
            text: String::new(),
        }
    }

    #[test]
    fn deny_hard_comes_first_and_the_rest_in_file_order_across_all_lists() {
        use RuleEffect::{Deny, DenyHard, Permit};
        let rules = [
            rule(Permit, "a/b/c"),
            rule(Permit, "a/*"),
            rule(Deny, "x"),
            rule(DenyHard, "*"),
            rule(Permit, "a/b/*"),
            rule(Deny, "a/b/c"),
            rule(DenyHard, "a/b/c"),
            rule(Permit, "*/b/*"),
            rule(Permit, "a/b/d*"),
        ];
        let index = Index::new(&rules);
        let of = |tool| {
            index
                .candidates(tool, &rules)
                .map(|(number, _)| number)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("a/b/c"), [3, 6, 0, 1, 4, 5, 7]);
        assert_eq!(of("x"), [3, 2]);
        assert_eq!(of("a/b"), [3, 1]);
    }

    #[test]
    fn heads_deeper_than_are_filed_still_match_only_what_they_say() {
        let rules = [
            rule(RuleEffect::Deny, "1/2/3/4/5/6/7/8/*"),
            rule(RuleEffect::Deny, "1/2/3/4/5/6/*"),
        ];
        let index = Index::new(&rules);
        let of = |tool| {
            index
                .candidates(tool, &rules)
                .map(|(number, _)| number)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("1/2/3/4/5/6/7/8/9"), [0, 1]);
        assert_eq!(of("1/2/3/4/5/6/7/x/9"), [1]);
        assert_eq!(of("1/2/3/4/5/6"), Vec::<u32>::new());
    }

    #[test]
    fn a_tool_draws_only_from_rules_that_begin_like_it() {
        let patterns = (0..5_000).flat_map(|n| [format!("svc{n}/read"), format!("svc{n}/*")]);
        let rules: Vec<Rule> = patterns
            .map(|pattern| rule(RuleEffect::Permit, &pattern))
            .collect();
        let index = Index::new(&rules);
        let drawn = |tool| {
            index
                .lists(tool)
                .iter()
                .map(|list| list.len())
                .sum::<usize>()
        };
        assert_eq!(
            (drawn("svc7/read"), drawn("svc7/write"), drawn("other")),
            (2, 1, 0)
        );
    }
}
