//! Both policies for one class of calls, walked together: depth first over the variables, with every truth that is
//! still possible.
//!
//! A truth is a set of *no*, *maybe*, *yes*; that of a variable without a value is all three. From these the possible
//! results of both sides follow, never too few. A branch ends where nothing is left to find: the results are the same
//! or known already, or what is left of the two lists of rules is the same list.

use super::oracle::{MAYBE, NO, UNKNOWN, YES};
use super::values::{Class, Form, Key, Variable};
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::Op;
use std::collections::BTreeMap;

/// Variables of one class of calls; each takes a level of recursion.
pub(super) const VARIABLES_MAX: usize = 400;

/// One rule as the search sees it; what stands before the rules is one that denies hard.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) effect: Effect,
    pub(super) hard: bool,
    /// Over global tests; empty: always.
    pub(super) program: Vec<Op>,
    /// The same for the same program.
    pub(super) id: u32,
}

/// One policy for a class of calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    pub(super) entries: Vec<Entry>,
    pub(super) default: Option<Effect>,
    pub(super) shadow: bool,
    /// Tests that say what paths refuse.
    pub(super) paths: Vec<u32>,
}

/// What is compared: what the caller is answered, or what enforcing would answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lens {
    Answer,
    Verdict,
}

/// From which effect to which.
pub(super) type Step = (Effect, Effect);

/// The class chosen for each variable, where one is.
pub(super) type Chosen = Vec<Option<usize>>;

/// How a search ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) found: BTreeMap<Step, Chosen>,
    /// Whether everything was looked at.
    pub(super) finished: bool,
    pub(super) steps: u64,
}

const EFFECTS: [Effect; 3] = [Effect::Permit, Effect::Defer, Effect::Deny];

pub(super) struct Search<'s> {
    pub(super) sides: &'s [Side; 2],
    pub(super) variables: &'s [Variable],
    /// For each global test the variables that it depends on.
    pub(super) variables_of: &'s [Vec<usize>],
    /// For each global test whether no variable carries it: it is answered once all that it depends on are chosen.
    pub(super) is_joint: &'s [bool],
    /// Answers a test between variables, once all are chosen.
    pub(super) joint: &'s mut dyn FnMut(u32, &Chosen) -> u8,
    /// Whether a choice can be at all; of more chosen, never sooner.
    pub(super) possible: &'s dyn Fn(&Chosen) -> bool,
    pub(super) lens: Lens,
    pub(super) steps_max: u64,
}

struct State {
    answers: Vec<u8>,
    chosen: Chosen,
    outcome: Outcome,
}

impl Search<'_> {
    /// Looks for one choice for each step from an effect to another. `fixed` are the tests that stand fast.
    pub(super) fn run(&mut self, fixed: &[(u32, u8)]) -> Outcome {
        let mut state = State {
            answers: vec![UNKNOWN; self.variables_of.len()],
            chosen: vec![None; self.variables.len()],
            outcome: Outcome::default(),
        };
        for (test, answer) in fixed {
            if let Some(slot) = state.answers.get_mut(*test as usize) {
                *slot = *answer;
            }
        }
        state.outcome.finished = self.explore(&mut state).is_some();
        state.outcome
    }

    /// `None` where the steps are used up.
    fn explore(&mut self, state: &mut State) -> Option<()> {
        if !(self.possible)(&state.chosen) {
            return Some(());
        }
        let [before, after] = self.sides;
        let truths = [
            truths(before, &state.answers, &mut state.outcome.steps),
            truths(after, &state.answers, &mut state.outcome.steps),
        ];
        if state.outcome.steps > self.steps_max {
            return None;
        }
        let [of_before, of_after] = &truths;
        let results = [
            self.results(before, of_before, &state.answers),
            self.results(after, of_after, &state.answers),
        ];
        let open = open_steps(results, &state.outcome.found);
        if open.is_empty() || same_rest(before, of_before, after, of_after, &state.answers) {
            return Some(());
        }
        let Some(variable) = self.next(&truths, state) else {
            for step in open {
                state.outcome.found.insert(step, state.chosen.clone());
            }
            return Some(());
        };
        let settled = results.iter().all(|results| results.count_ones() == 1);
        if settled {
            for step in open {
                state.outcome.found.insert(step, state.chosen.clone());
            }
            return Some(());
        }
        let count = self.variables.get(variable)?.classes.len();
        for class in 0..count {
            if self.fits(variable, class, state) {
                self.choose(variable, class, state);
                let done = self.explore(state);
                self.forget(variable, state);
                done?;
            }
        }
        Some(())
    }

    /// A value below another argument needs that one to be an object; a value that is none has nothing below.
    fn fits(&self, variable: usize, class: usize, state: &State) -> bool {
        let class_of = |variable: usize, class: usize| -> Option<&Class> {
            self.variables.get(variable)?.classes.get(class)
        };
        let (Some(own), Some(candidate)) =
            (self.variables.get(variable), class_of(variable, class))
        else {
            return false;
        };
        let Key::Argument(path) = &own.key else {
            return true;
        };
        let mut others = self.variables.iter().zip(&state.chosen).enumerate();
        others.all(|(other, (variable, chosen))| {
            let (Key::Argument(theirs), Some(chosen)) = (&variable.key, chosen) else {
                return true;
            };
            let Some(form) = class_of(other, *chosen).map(|class| class.form) else {
                return true;
            };
            let is_below = |inner: &[String], outer: &[String]| {
                inner.len() > outer.len() && inner.starts_with(outer)
            };
            if is_below(path, theirs) {
                candidate.form == Form::Absent || form == Form::Object
            } else if is_below(theirs, path) {
                form == Form::Absent || candidate.form == Form::Object
            } else {
                true
            }
        })
    }

    fn choose(&mut self, variable: usize, class: usize, state: &mut State) {
        if let Some(slot) = state.chosen.get_mut(variable) {
            *slot = Some(class);
        }
        let Some(own) = self.variables.get(variable) else {
            return;
        };
        let Some(class) = own.classes.get(class) else {
            return;
        };
        for (test, answer) in own.tests.iter().zip(&class.answers) {
            if let Some(slot) = state.answers.get_mut(*test as usize) {
                *slot = *answer;
            }
        }
        for (test, needs) in (0_u32..).zip(self.variables_of) {
            let joint = self.is_joint.get(test as usize).copied().unwrap_or(false);
            let complete = joint
                && needs.contains(&variable)
                && needs
                    .iter()
                    .all(|need| state.chosen.get(*need).is_some_and(Option::is_some));
            if complete {
                let answer = (self.joint)(test, &state.chosen);
                if let Some(slot) = state.answers.get_mut(test as usize) {
                    *slot = answer;
                }
            }
        }
    }

    fn forget(&self, variable: usize, state: &mut State) {
        if let Some(slot) = state.chosen.get_mut(variable) {
            *slot = None;
        }
        for (test, needs) in self.variables_of.iter().enumerate() {
            if needs.contains(&variable)
                && let Some(slot) = state.answers.get_mut(test)
            {
                *slot = UNKNOWN;
            }
        }
    }

    /// The variable to choose next: of the first rule that differs and is not settled, else of the first not settled.
    fn next(&self, truths: &[Vec<u8>; 2], state: &State) -> Option<usize> {
        let [before, after] = self.sides;
        let [of_before, of_after] = truths;
        let rest_before = rest(before, of_before);
        let rest_after = rest(after, of_after);
        let common = rest_before
            .iter()
            .zip(&rest_after)
            .take_while(|(a, b)| a == b)
            .count();
        let differing = rest_after
            .iter()
            .skip(common)
            .chain(rest_before.iter().skip(common));
        let shared = rest_after.iter().take(common);
        for item in differing.chain(shared) {
            let open = item
                .open
                .and_then(|entry| self.open_variable(&entry.program, state));
            if open.is_some() {
                return open;
            }
        }
        let paths = after.paths.iter().chain(&before.paths);
        paths
            .copied()
            .find_map(|test| self.open_variable(&[Op::Test(test)], state))
    }

    /// The first variable without a value that a program depends on; the outermost of its ancestors first.
    fn open_variable(&self, program: &[Op], state: &State) -> Option<usize> {
        let is_open = |variable: &usize| matches!(state.chosen.get(*variable), Some(None));
        let variable = program.iter().find_map(|op| {
            let Op::Test(test) = op else { return None };
            let needs = self.variables_of.get(*test as usize)?;
            needs.iter().copied().find(is_open)
        })?;
        let Key::Argument(path) = &self.variables.get(variable)?.key else {
            return Some(variable);
        };
        let above = |(number, other): (usize, &Variable)| match &other.key {
            Key::Argument(outer)
                if outer.len() < path.len() && path.starts_with(outer) && is_open(&number) =>
            {
                Some((outer.len(), number))
            }
            _ => None,
        };
        let outermost = self.variables.iter().enumerate().filter_map(above).min();
        Some(outermost.map_or(variable, |(_, number)| number))
    }

    /// The possible results, as a set of bits by effect.
    fn results(&self, side: &Side, truths: &[u8], answers: &[u8]) -> u8 {
        let mut results = 0;
        for (effect, hard) in verdicts(side, truths) {
            for refused in refusals(side, answers) {
                let effect = effect.max(refused);
                let shown = match self.lens {
                    Lens::Answer if side.shadow && !hard => Effect::Permit,
                    _ => effect,
                };
                results |= bit(shown);
            }
        }
        results
    }
}

const fn bit(effect: Effect) -> u8 {
    match effect {
        Effect::Permit => 1,
        Effect::Defer => 2,
        Effect::Deny => 4,
    }
}

fn of_bits(bits: u8) -> impl Iterator<Item = Effect> {
    EFFECTS
        .into_iter()
        .filter(move |effect| bits & bit(*effect) != 0)
}

/// Steps that are possible and not found yet.
fn open_steps([before, after]: [u8; 2], found: &BTreeMap<Step, Chosen>) -> Vec<Step> {
    of_bits(before)
        .flat_map(|from| of_bits(after).map(move |to| (from, to)))
        .filter(|step| step.0 != step.1 && !found.contains_key(step))
        .collect()
}

fn truths(side: &Side, answers: &[u8], steps: &mut u64) -> Vec<u8> {
    side.entries
        .iter()
        .map(|entry| {
            *steps += 1 + entry.program.len() as u64;
            truth(&entry.program, answers)
        })
        .collect()
}

/// The possible truths of a program.
fn truth(program: &[Op], answers: &[u8]) -> u8 {
    if program.is_empty() {
        return YES;
    }
    let mut stack: Vec<u8> = Vec::new();
    for op in program {
        let value = match op {
            Op::Test(test) => answers.get(*test as usize).copied().unwrap_or(UNKNOWN),
            Op::Const(true) => YES,
            Op::Const(false) => NO,
            Op::Not => {
                let top = stack.pop().unwrap_or(UNKNOWN);
                (top & MAYBE)
                    | if top & YES != 0 { NO } else { 0 }
                    | if top & NO != 0 { YES } else { 0 }
            }
            Op::And | Op::Or => {
                let b = stack.pop().unwrap_or(UNKNOWN);
                let a = stack.pop().unwrap_or(UNKNOWN);
                join(a, b, *op == Op::Or)
            }
        };
        stack.push(value);
    }
    stack.pop().unwrap_or(UNKNOWN)
}

/// Every minimum, or maximum, of a truth of the one and a truth of the other.
fn join(a: u8, b: u8, or: bool) -> u8 {
    let mut joined = 0;
    for one in [NO, MAYBE, YES] {
        for other in [NO, MAYBE, YES] {
            if a & one != 0 && b & other != 0 {
                joined |= if or { one.max(other) } else { one.min(other) };
            }
        }
    }
    joined
}

/// Every verdict that first match, three-valued, can come to: its effect, and whether some `deny!` applies or may.
fn verdicts(side: &Side, truths: &[u8]) -> Vec<(Effect, bool)> {
    // What is possible so far: the strictest rule that may apply, and whether one of them is hard.
    let mut open: Vec<(Option<Effect>, bool)> = vec![(None, false)];
    let mut closed: Vec<(Effect, bool)> = Vec::new();
    let add = |list: &mut Vec<(Effect, bool)>, item| {
        if !list.contains(&item) {
            list.push(item);
        }
    };
    for (entry, truth) in side.entries.iter().zip(truths) {
        let mut next: Vec<(Option<Effect>, bool)> = Vec::new();
        for (best, hard) in &open {
            let with = (
                Some(best.map_or(entry.effect, |best| best.max(entry.effect))),
                *hard || entry.hard,
            );
            if truth & NO != 0 && !next.contains(&(*best, *hard)) {
                next.push((*best, *hard));
            }
            if truth & MAYBE != 0 && !next.contains(&with) {
                next.push(with);
            }
            if truth & YES != 0 {
                add(&mut closed, (with.0.unwrap_or(entry.effect), with.1));
            }
        }
        open = next;
        if open.is_empty() {
            break;
        }
    }
    let default = side.default.unwrap_or(Effect::Deny);
    for (best, hard) in open {
        add(
            &mut closed,
            (best.map_or(default, |best| best.max(default)), hard),
        );
    }
    closed
}

/// What paths can refuse.
fn refusals(side: &Side, answers: &[u8]) -> Vec<Effect> {
    let joined = side.paths.iter().fold(YES, |joined, test| {
        join(
            joined,
            answers.get(*test as usize).copied().unwrap_or(UNKNOWN),
            false,
        )
    });
    [
        (YES, Effect::Permit),
        (MAYBE, Effect::Defer),
        (NO, Effect::Deny),
    ]
    .into_iter()
    .filter(|(truth, _)| joined & truth != 0)
    .map(|(_, effect)| effect)
    .collect()
}

/// What is left of a list of rules once those that are surely no are gone, down to the first that surely applies.
#[derive(Debug, Clone, Copy)]
struct Left<'e> {
    effect: Effect,
    hard: bool,
    truth: u8,
    id: u32,
    open: Option<&'e Entry>,
}

impl PartialEq for Left<'_> {
    fn eq(&self, other: &Self) -> bool {
        let settled = self.truth.count_ones() == 1;
        self.effect == other.effect
            && self.hard == other.hard
            && self.truth == other.truth
            && (settled || self.id == other.id)
    }
}

fn rest<'e>(side: &'e Side, truths: &[u8]) -> Vec<Left<'e>> {
    let mut left = Vec::new();
    for (entry, truth) in side.entries.iter().zip(truths) {
        if *truth == NO {
            continue;
        }
        left.push(Left {
            effect: entry.effect,
            hard: entry.hard,
            truth: *truth,
            id: entry.id,
            open: (truth.count_ones() > 1).then_some(entry),
        });
        if *truth == YES {
            break;
        }
    }
    left
}

/// Whether both sides come to the same result whatever is still open.
fn same_rest(
    before: &Side,
    of_before: &[u8],
    after: &Side,
    of_after: &[u8],
    answers: &[u8],
) -> bool {
    let open_paths = |side: &Side| {
        let mut open: Vec<(u32, u8)> = side
            .paths
            .iter()
            .map(|test| {
                (
                    *test,
                    answers.get(*test as usize).copied().unwrap_or(UNKNOWN),
                )
            })
            .filter(|(_, answer)| *answer != YES)
            .collect();
        open.sort_unstable();
        open
    };
    let left = rest(before, of_before);
    let ends = left.last().is_some_and(|last| last.truth == YES);
    left == rest(after, of_after)
        && (ends || before.default == after.default)
        && before.shadow == after.shadow
        && open_paths(before) == open_paths(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(effect: Effect, program: &[Op], id: u32) -> Entry {
        Entry {
            effect,
            hard: false,
            program: program.to_vec(),
            id,
        }
    }

    #[test]
    fn a_truth_that_is_open_keeps_every_truth_of_its_condition() {
        assert_eq!(truth(&[Op::Test(0), Op::Not], &[YES | MAYBE]), NO | MAYBE);
        assert_eq!(
            truth(&[Op::Test(0), Op::Test(1), Op::And], &[UNKNOWN, NO]),
            NO
        );
        assert_eq!(
            truth(&[Op::Test(0), Op::Test(1), Op::Or], &[UNKNOWN, MAYBE]),
            MAYBE | YES
        );
    }

    #[test]
    fn verdicts_are_those_of_first_match_with_every_maybe() {
        let side = Side {
            entries: vec![
                entry(Effect::Deny, &[Op::Test(0)], 0),
                entry(Effect::Permit, &[], 1),
            ],
            default: Some(Effect::Defer),
            ..Side::default()
        };
        assert_eq!(verdicts(&side, &[MAYBE, YES]), [(Effect::Deny, false)]);
        assert_eq!(verdicts(&side, &[NO, YES]), [(Effect::Permit, false)]);
        assert_eq!(
            verdicts(&side, &[UNKNOWN, YES]),
            [(Effect::Deny, false), (Effect::Permit, false)]
        );
        assert_eq!(verdicts(&side, &[NO, NO]), [(Effect::Defer, false)]);
    }
}
