//! Which rules may apply to a call, without asking each: the cost of a decision grows with the rules that could match
//! and not with those that are there.
//!
//! Invariant: what is drawn are rules whose pattern matches, `deny!` rules first, each group in file order; and every
//! rule whose pattern matches and that is not drawn is surely *no*.

use crate::policy::artifact::{AgentPolicy, Rule, RuleEffect};
use crate::policy::conditions::Asking;
use crate::policy::keys::{Group, Ruled};
use crate::policy::pattern;
use crate::policy::scratch::{Cursor, Scratch};
use std::collections::HashMap;
use std::collections::binary_heap::PeekMut;

/// Literal segments at a pattern's head by which it is filed; a deeper pattern is filed under its first ones.
const HEAD_SEGMENTS_MAX: usize = 6;

/// Rules filed by what their pattern begins with, else by what it ends with, and within by their keys.
///
/// Their ranks, in the order of evaluation, are what the lists hold.
#[derive(Debug)]
pub(crate) struct Index {
    /// Rank to place.
    order: Vec<u32>,
    /// Whether a rule's pattern matches every tool under which it is filed; by rank.
    sure: Vec<bool>,
    lists: Lists,
    groups: Vec<Group>,
    /// Patterns without a star, by name.
    exact: HashMap<Box<str>, u32>,
    /// Patterns with a star, by literal head.
    below: HashMap<Box<str>, u32>,
    /// Patterns whose first segment has a star, by their last one, which has none.
    ending: HashMap<Box<str>, u32>,
    /// Patterns with a star in both.
    top: Option<u32>,
}

/// Every list of ranks, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Lists(Vec<u32>);

/// Where a list stands: ascending ranks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct List {
    from: u32,
    to: u32,
}

impl List {
    pub(crate) const fn is_empty(self) -> bool {
        self.from == self.to
    }
}

impl Lists {
    pub(crate) fn add(&mut self, ranks: &[u32]) -> List {
        // An artifact's limits keep the lists far below 2^32.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let from = place(self.0.len());
        self.0.extend_from_slice(ranks);
        List {
            from,
            to: place(self.0.len()),
        }
    }

    pub(crate) fn ranks(&self, list: List) -> &[u32] {
        self.0
            .get(list.from as usize..list.to as usize)
            .unwrap_or_default()
    }

    /// Lets a list's rules be among those that are asked.
    pub(crate) fn draw(&self, list: List, seen: &mut Scratch) {
        if let Some(first) = self.ranks(list).first() {
            seen.draw(Cursor {
                rank: *first,
                next: list.from + 1,
                to: list.to,
            });
        }
    }
}

impl Index {
    pub(crate) fn new(agent: &AgentPolicy) -> Index {
        let numbered = || (0_u32..).zip(&agent.rules);
        let hard = numbered().filter(|(_, rule)| rule.effect == RuleEffect::DenyHard);
        let others = numbered().filter(|(_, rule)| rule.effect != RuleEffect::DenyHard);
        let ordered: Vec<(u32, &Rule)> = hard.chain(others).collect();
        let mut index = Index {
            order: ordered.iter().map(|(number, _)| *number).collect(),
            sure: Vec::with_capacity(ordered.len()),
            lists: Lists::default(),
            groups: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
            ending: HashMap::new(),
            top: None,
        };
        let (mut groups, mut filed) = (0, Vec::with_capacity(ordered.len()));
        for (rank, (_, rule)) in (0_u32..).zip(ordered) {
            let (group, sure) = index.file(&rule.pattern, &mut groups);
            filed.push((group, rank));
            index.sure.push(sure);
        }
        filed.sort_unstable();
        let of = Ruled {
            order: &index.order,
            rules: &agent.rules,
            tests: &agent.tests,
        };
        let mut ranks = Vec::new();
        for of_group in filed.chunk_by(|a, b| a.0 == b.0) {
            ranks.clear();
            ranks.extend(of_group.iter().map(|(_, rank)| *rank));
            index.groups.push(Group::new(&ranks, &of, &mut index.lists));
        }
        index
    }

    /// The group of a pattern, and whether the pattern matches every tool that draws from it.
    fn file(&mut self, pattern: &str, groups: &mut u32) -> (u32, bool) {
        let (map, key, sure) = match pattern::literal_head(pattern) {
            None => (&mut self.exact, pattern, true),
            Some("") => match pattern.rsplit('/').next() {
                Some(last) if !last.contains('*') => (&mut self.ending, last, false),
                _ => {
                    let top = self.top.get_or_insert_with(|| fresh(groups));
                    return (*top, pattern == "*");
                }
            },
            Some(head) => {
                let filed = first_segments(head);
                let rest = pattern.strip_prefix(filed);
                (&mut self.below, filed, rest == Some("/*"))
            }
        };
        if let Some(group) = map.get(key) {
            return (*group, sure);
        }
        let group = fresh(groups);
        map.insert(key.into(), group);
        (group, sure)
    }

    /// Draws the rules that may apply to the call.
    pub(crate) fn draw(&self, asking: &mut Asking<'_, '_>, tool: &str) {
        let find = |map: &HashMap<Box<str>, u32>, key: &str| {
            if map.is_empty() {
                None
            } else {
                map.get(key).copied()
            }
        };
        let heads = tool
            .match_indices('/')
            .take(HEAD_SEGMENTS_MAX)
            .filter_map(|(at, _)| find(&self.below, tool.get(..at)?));
        let last = tool
            .rsplit('/')
            .next()
            .and_then(|last| find(&self.ending, last));
        let groups = [find(&self.exact, tool), self.top, last]
            .into_iter()
            .flatten();
        for group in groups.chain(heads) {
            if let Some(group) = self.groups.get(group as usize) {
                group.draw(asking, &self.lists);
            }
        }
    }

    /// The next rule that was drawn and whose pattern matches, with its place in the file.
    pub(crate) fn next<'r>(
        &self,
        seen: &mut Scratch,
        tool: &str,
        rules: &'r [Rule],
    ) -> Option<(u32, &'r Rule)> {
        loop {
            let mut first = seen.drawn.peek_mut()?;
            let rank = first.0.rank;
            if first.0.next < first.0.to {
                first.0.rank = *self.lists.0.get(first.0.next as usize)?;
                first.0.next += 1;
                drop(first);
            } else {
                PeekMut::pop(first);
            }
            let number = *self.order.get(rank as usize)?;
            let rule = rules.get(number as usize)?;
            let sure = self.sure.get(rank as usize).copied().unwrap_or(false);
            if sure || pattern::matches(&rule.pattern, tool) {
                return Some((number, rule));
            }
        }
    }
}

const fn fresh(groups: &mut u32) -> u32 {
    let group = *groups;
    *groups += 1;
    group
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
    use crate::call::accept;
    use crate::identity::{Caller, attest};
    use crate::pipeline::Question;
    use crate::policy::artifact::{Artifact, Runtime, capabilities};
    use crate::policy::facts::Facts;
    use crate::policy::{Policy, Supposed};
    use crate::record::{Door, Time};
    use crate::state::State;

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

    /// Places of the rules that are drawn for a tool, in order.
    fn asked(rules: &[Rule], tool: &str) -> Vec<u32> {
        let agent = AgentPolicy {
            rules: rules.to_vec(),
            ..AgentPolicy::default()
        };
        let mut artifact = Artifact {
            requires: Vec::new(),
            runtime: Runtime::default(),
            agents: vec![agent],
            declarations: Vec::new(),
        };
        artifact.requires = capabilities::of(&artifact);
        let policy = Policy::of(&artifact).unwrap();
        let caller = Caller::Unattested { uid: 1 };
        let attested = attest(accept(tool, "", b"{}").unwrap(), caller).unwrap();
        let facts = Facts {
            rules: policy.rules("").unwrap(),
            question: Question {
                attested: &attested,
                door: Door::Govern,
                now: Time {
                    wall_ms: 0,
                    boot_ms: 0,
                },
                supposed: &Supposed::nothing(),
            },
            state: &State::new(),
        };
        let mut scratch = Scratch::default();
        let mut asking = Asking::begin(facts, &mut scratch);
        let index = facts.rules.index();
        index.draw(&mut asking, tool);
        let next = || index.next(asking.seen, tool, rules);
        std::iter::from_fn(next).map(|(place, _)| place).collect()
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
        let of = |tool| asked(&rules, tool);
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
        let of = |tool| asked(&rules, tool);
        assert_eq!(of("1/2/3/4/5/6/7/8/9"), [0, 1]);
        assert_eq!(of("1/2/3/4/5/6/7/x/9"), [1]);
        assert_eq!(of("1/2/3/4/5/6"), Vec::<u32>::new());
    }

    #[test]
    fn a_tool_draws_only_from_rules_that_begin_or_end_like_it() {
        let patterns = (0..5_000).flat_map(|n| {
            [
                format!("svc{n}/read"),
                format!("svc{n}/*"),
                format!("*/x{n}"),
            ]
        });
        let rules: Vec<Rule> = patterns
            .map(|pattern| rule(RuleEffect::Permit, &pattern))
            .collect();
        let agent = AgentPolicy {
            rules,
            ..AgentPolicy::default()
        };
        let index = Index::new(&agent);
        assert_eq!(index.groups.len(), 15_000);
        assert_eq!(asked(&agent.rules, "svc7/x8"), [22, 26]);
        assert_eq!(asked(&agent.rules, "svc7/read"), [21, 22]);
        assert_eq!(asked(&agent.rules, "other"), [0_u32; 0]);
    }
}
