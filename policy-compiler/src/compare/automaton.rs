//! Texts told apart by tests: every combination of answers that some text gives, each with one such text.
//!
//! All tests are run side by side, byte by byte, as finite automata, and the states that can be reached together are
//! walked breadth first. That is exact, for regular expressions too: each state in which a text may end is one
//! combination, and a combination that no reached state has, no text has. Only valid texts (UTF-8, or names of tools)
//! are walked.
//!
//! Bounded by [`Limits::states`] and by work; beyond, [`Walk::complete`] is false and what was found is only some of it.

use super::Limits;
use regex_automata::hybrid::{LazyStateID, dfa};
use regex_automata::util::start;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Memory that one regular expression's states may take, bytes: it holds some ten thousand of them.
const EXPRESSION_STATES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Positions of automata that one walk may visit: some seconds of work.
const POSITIONS_MAX: usize = 60_000_000;

/// What one byte may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Byte(u8),
    /// A letter of either case.
    Folded(u8),
    NotSlash,
    Any,
}

impl Set {
    const fn has(self, byte: u8) -> bool {
        match self {
            Set::Byte(own) => own == byte,
            Set::Folded(own) => own.eq_ignore_ascii_case(&byte),
            Set::NotSlash => byte != b'/',
            Set::Any => true,
        }
    }
}

/// A position of a shape.
#[derive(Debug, Clone, Copy)]
enum Token {
    One(Set),
    /// Any number, none too.
    Many(Set),
    /// The text is one of these if it ends here.
    End(u32),
}

/// A language without alternatives: letters, and gaps between them.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape(Vec<Token>);

impl Shape {
    pub(super) fn text(mut self, text: &str) -> Shape {
        self.0
            .extend(text.bytes().map(|byte| Token::One(Set::Byte(byte))));
        self
    }

    pub(super) fn folded(mut self, text: &str) -> Shape {
        self.0
            .extend(text.bytes().map(|byte| Token::One(Set::Folded(byte))));
        self
    }

    /// Anything, nothing too.
    pub(super) fn any(mut self) -> Shape {
        self.0.push(Token::Many(Set::Any));
        self
    }

    /// Any one byte.
    fn one(mut self) -> Shape {
        self.0.push(Token::One(Set::Any));
        self
    }

    /// One byte or more of a segment.
    pub(super) fn in_segment(mut self) -> Shape {
        self.0
            .extend([Token::One(Set::NotSlash), Token::Many(Set::NotSlash)]);
        self
    }

    /// What a pattern of tools, or a glob of paths, speaks of.
    pub(super) fn pattern(pattern: &str) -> Shape {
        if pattern == "*" {
            return Shape::default().any();
        }
        let (body, below) = match pattern.strip_suffix("/*") {
            Some(body) => (body, true),
            None => (pattern, false),
        };
        let mut shape = Shape::default();
        for (index, part) in body.split('*').enumerate() {
            if index > 0 {
                shape = shape.in_segment();
            }
            shape = shape.text(part);
        }
        if below {
            // One byte or more: a slash with nothing behind it is not below.
            shape.text("/").one().any()
        } else {
            shape
        }
    }

    /// A text in which `*` is any characters, none too.
    pub(super) fn glob(glob: &str) -> Shape {
        let mut shape = Shape::default();
        for (index, part) in glob.split('*').enumerate() {
            if index > 0 {
                shape = shape.any();
            }
            shape = shape.text(part);
        }
        shape
    }
}

/// What counts as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    Text,
    ToolName,
    AgentName,
}

/// The tests to tell apart, by number.
#[derive(Debug, Default)]
pub(super) struct Tests {
    shapes: Vec<Token>,
    starts: Vec<u32>,
    expressions: Vec<(u32, Expression)>,
    /// Shapes and expressions that are about what follows the last slash.
    last_starts: Vec<u32>,
    /// Characters are counted up to here; 0: not at all.
    pub(super) count_to: u32,
    /// Something could not be made an automaton.
    incomplete: bool,
}

#[derive(Debug)]
struct Expression {
    dfa: dfa::DFA,
    cache: dfa::Cache,
    states: Vec<LazyStateID>,
    numbers: HashMap<LazyStateID, u32>,
    last_segment: bool,
}

/// A regular expression's state once it was found in the text.
const FOUND: u32 = u32::MAX;

impl Tests {
    pub(super) fn shape(&mut self, number: u32, shape: Shape) {
        let start = self.push(number, shape);
        self.starts.push(start);
    }

    /// The same, of the part behind the last slash.
    pub(super) fn shape_of_last(&mut self, number: u32, shape: Shape) {
        let start = self.push(number, shape);
        self.last_starts.push(start);
    }

    fn push(&mut self, number: u32, shape: Shape) -> u32 {
        let start = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
        self.shapes.extend(shape.0);
        self.shapes.push(Token::End(number));
        start
    }

    pub(super) fn expression(&mut self, number: u32, source: &str, last_segment: bool) {
        match Expression::new(source, last_segment) {
            Some(expression) => self.expressions.push((number, expression)),
            None => self.incomplete = true,
        }
    }
}

impl Expression {
    fn new(source: &str, last_segment: bool) -> Option<Expression> {
        let config = dfa::Config::new()
            .match_kind(regex_automata::MatchKind::All)
            .cache_capacity(EXPRESSION_STATES_BYTES_MAX)
            .skip_cache_capacity_check(false)
            .minimum_cache_clear_count(Some(0));
        let dfa = dfa::DFA::builder().configure(config).build(source).ok()?;
        let cache = dfa.create_cache();
        Some(Expression {
            dfa,
            cache,
            states: Vec::new(),
            numbers: HashMap::new(),
            last_segment,
        })
    }

    /// States stay valid because the cache is never cleared: where it would have to be, the engine gives up instead.
    fn number(&mut self, state: LazyStateID) -> u32 {
        if state.is_match() {
            return FOUND;
        }
        let next = u32::try_from(self.states.len()).unwrap_or(FOUND);
        match self.numbers.entry(state) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                free.insert(next);
                self.states.push(state);
                next
            }
        }
    }

    fn start(&mut self) -> Option<u32> {
        let config = start::Config::new().anchored(regex_automata::Anchored::No);
        let state = self.dfa.start_state(&mut self.cache, &config).ok()?;
        Some(self.number(state))
    }

    fn step(&mut self, state: u32, byte: u8) -> Option<u32> {
        if self.last_segment && byte == b'/' {
            return self.start();
        }
        if state == FOUND {
            return Some(FOUND);
        }
        let from = *self.states.get(state as usize)?;
        let to = self.dfa.next_state(&mut self.cache, from, byte).ok()?;
        (!to.is_quit()).then(|| self.number(to))
    }

    fn is_found(&mut self, state: u32) -> Option<bool> {
        if state == FOUND {
            return Some(true);
        }
        let from = *self.states.get(state as usize)?;
        let to = self.dfa.next_eoi_state(&mut self.cache, from).ok()?;
        Some(to.is_match())
    }
}

/// One combination of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Numbers of the tests that say yes, ascending, each once.
    pub(super) yes: Vec<u32>,
    /// A shortest text that gives it.
    pub(super) text: String,
}

/// Every combination, or some.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) found: Vec<Found>,
    pub(super) complete: bool,
}

/// A joint state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// Which set of positions of the shapes.
    positions: u32,
    valid: u8,
    characters: u32,
    expressions: Box<[u32]>,
}

struct Walker<'t> {
    tests: &'t mut Tests,
    alphabet: Alphabet,
    sets: Vec<Box<[u32]>>,
    set_numbers: HashMap<Box<[u32]>, u32>,
    steps: HashMap<(u32, u8), u32>,
    work: usize,
}

/// Finds every combination of answers.
pub(super) fn walk(mut tests: Tests, alphabet: Alphabet, limits: &Limits) -> Walk {
    let incomplete = tests.incomplete;
    let bytes = representatives(&tests, alphabet);
    let mut walker = Walker {
        tests: &mut tests,
        alphabet,
        sets: Vec::new(),
        set_numbers: HashMap::new(),
        steps: HashMap::new(),
        work: 0,
    };
    let mut found = Vec::new();
    let finished = walker.explore(&bytes, limits, &mut found);
    Walk {
        found,
        complete: finished.is_some() && !incomplete,
    }
}

impl Walker<'_> {
    /// `None` where a limit or an engine ended it early.
    fn explore(&mut self, bytes: &[u8], limits: &Limits, found: &mut Vec<Found>) -> Option<()> {
        let start = self.start()?;
        let mut seen = HashMap::from([(start.clone(), ())]);
        let mut reached: Vec<(State, usize, u8)> = vec![(start, 0, 0)];
        let mut answers: HashMap<(Vec<u32>, u32), ()> = HashMap::new();
        let mut at = 0;
        while let Some((state, _, _)) = reached.get(at) {
            let state = state.clone();
            if is_whole(state.valid, self.alphabet) {
                let yes = self.answers(&state)?;
                if answers
                    .insert((yes.clone(), state.characters), ())
                    .is_none()
                {
                    let text = spelled(&reached, at);
                    found.push(Found { yes, text });
                }
            }
            for byte in bytes {
                let valid = next_valid(state.valid, *byte, self.alphabet);
                if valid == INVALID {
                    continue;
                }
                let next = self.step(&state, *byte, valid)?;
                if seen.insert(next.clone(), ()).is_none() {
                    if reached.len() >= limits.states || self.work > POSITIONS_MAX {
                        return None;
                    }
                    reached.push((next, at, *byte));
                }
            }
            at += 1;
        }
        Some(())
    }

    fn start(&mut self) -> Option<State> {
        let mut positions = self.tests.starts.clone();
        positions.extend(&self.tests.last_starts);
        let positions = self.close(positions);
        let expressions = self
            .tests
            .expressions
            .iter_mut()
            .map(|(_, expression)| expression.start())
            .collect::<Option<_>>()?;
        Some(State {
            positions,
            valid: 0,
            characters: 0,
            expressions,
        })
    }

    fn step(&mut self, from: &State, byte: u8, valid: u8) -> Option<State> {
        let positions = self.step_positions(from.positions, byte);
        let mut expressions = from.expressions.clone();
        for (state, (_, expression)) in expressions.iter_mut().zip(&mut self.tests.expressions) {
            *state = expression.step(*state, byte)?;
        }
        let begins = byte & 0xC0 != 0x80;
        Some(State {
            positions,
            valid,
            characters: (from.characters + u32::from(begins)).min(self.tests.count_to),
            expressions,
        })
    }

    fn step_positions(&mut self, from: u32, byte: u8) -> u32 {
        if let Some(known) = self.steps.get(&(from, byte)) {
            return *known;
        }
        let Some(positions) = self.sets.get(from as usize) else {
            return from;
        };
        self.work += positions.len() + 1;
        let mut next: Vec<u32> = Vec::new();
        for position in positions {
            match self.tests.shapes.get(*position as usize) {
                Some(Token::One(set)) if set.has(byte) => next.push(position + 1),
                Some(Token::Many(set)) if set.has(byte) => next.push(*position),
                _ => {}
            }
        }
        if byte == b'/' {
            // What is about the last part begins anew; what it had is of a part that is not the last.
            let first_last = self.tests.last_starts.iter().min().copied();
            if let Some(first) = first_last {
                next.retain(|position| *position < first || self.is_of_whole(*position));
                next.extend(&self.tests.last_starts);
            }
        }
        let next = self.close(next);
        self.steps.insert((from, byte), next);
        next
    }

    /// Whether the position is within a shape that is about the whole text.
    fn is_of_whole(&self, position: u32) -> bool {
        let before = |starts: &[u32]| {
            starts
                .iter()
                .filter(|start| **start <= position)
                .max()
                .copied()
        };
        before(&self.tests.starts) > before(&self.tests.last_starts)
    }

    /// Adds what is reached without a byte, and gives the set its number.
    fn close(&mut self, mut positions: Vec<u32>) -> u32 {
        let mut at = 0;
        while let Some(position) = positions.get(at).copied() {
            if let Some(Token::Many(_)) = self.tests.shapes.get(position as usize) {
                positions.push(position + 1);
            }
            at += 1;
        }
        positions.sort_unstable();
        positions.dedup();
        let positions: Box<[u32]> = positions.into();
        if let Some(known) = self.set_numbers.get(&positions) {
            return *known;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(positions.clone());
        self.set_numbers.insert(positions, number);
        number
    }

    fn answers(&mut self, state: &State) -> Option<Vec<u32>> {
        let positions = self.sets.get(state.positions as usize)?;
        let mut yes: Vec<u32> = positions
            .iter()
            .filter_map(|position| match self.tests.shapes.get(*position as usize) {
                Some(Token::End(number)) => Some(*number),
                _ => None,
            })
            .collect();
        for (inner, (number, expression)) in
            state.expressions.iter().zip(&mut self.tests.expressions)
        {
            if expression.is_found(*inner)? {
                yes.push(*number);
            }
        }
        yes.sort_unstable();
        yes.dedup();
        Some(yes)
    }
}

/// The text that leads to a state.
fn spelled(reached: &[(State, usize, u8)], mut at: usize) -> String {
    let mut bytes = Vec::new();
    while let Some((_, from, byte)) = reached.get(at) {
        if at == 0 {
            break;
        }
        bytes.push(*byte);
        at = *from;
    }
    bytes.reverse();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One byte for each class of bytes that no test tells apart, those that read well first.
fn representatives(tests: &Tests, alphabet: Alphabet) -> Vec<u8> {
    let mut own = [false; 256];
    let mut mark = |byte: u8| {
        if let Some(slot) = own.get_mut(usize::from(byte)) {
            *slot = true;
        }
    };
    mark(b'/');
    if alphabet == Alphabet::ToolName {
        mark(b'.');
    }
    for token in &tests.shapes {
        if let Token::One(Set::Byte(byte)) = token {
            mark(*byte);
        }
        if let Token::One(Set::Folded(byte)) = token {
            mark(byte.to_ascii_lowercase());
            mark(byte.to_ascii_uppercase());
        }
    }
    let mut classes: HashMap<(u8, u8, Vec<u8>), ()> = HashMap::new();
    let mut chosen = Vec::new();
    for byte in in_order_of_looks() {
        if next_valid_kind(byte, alphabet) == INVALID {
            continue;
        }
        let mine = own.get(usize::from(byte)).copied().unwrap_or(false);
        let of_expressions = tests
            .expressions
            .iter()
            .map(|(_, expression)| expression.dfa.byte_classes().get(byte))
            .collect();
        let key = (
            if mine { byte } else { 0 },
            next_valid_kind(byte, alphabet),
            of_expressions,
        );
        if classes.insert(key, ()).is_none() {
            chosen.push(byte);
        }
    }
    chosen
}

fn in_order_of_looks() -> impl Iterator<Item = u8> {
    let letters = b"xyzabcdefghijklmnopqrstuvw".iter().copied();
    let rest = |byte: &u8| !byte.is_ascii_lowercase();
    let shown = (b'!'..=b'~').filter(rest);
    let digits = b'0'..=b'9';
    let other = (0..=u8::MAX).filter(|byte| !(b'!'..=b'~').contains(byte));
    letters.chain(digits).chain(shown).chain(other)
}

/// No text goes on like this.
const INVALID: u8 = u8::MAX;

/// What kind of byte it is for validity, so that bytes that lead apart are told apart.
fn next_valid_kind(byte: u8, alphabet: Alphabet) -> u8 {
    match alphabet {
        Alphabet::ToolName => {
            if byte.is_ascii_alphanumeric() || b"_-:./".contains(&byte) {
                u8::from(byte == b'.') + 2 * u8::from(byte == b'/')
            } else {
                INVALID
            }
        }
        Alphabet::AgentName => {
            if byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte) {
                0
            } else {
                INVALID
            }
        }
        Alphabet::Text => match byte {
            0..=0x7F => 0,
            0x80..=0x8F => 1,
            0x90..=0x9F => 2,
            0xA0..=0xBF => 3,
            0xC2..=0xDF => 4,
            0xE0 => 5,
            0xE1..=0xEC | 0xEE..=0xEF => 6,
            0xED => 7,
            0xF0 => 8,
            0xF1..=0xF3 => 9,
            0xF4 => 10,
            _ => INVALID,
        },
    }
}

/// The state of validity after a byte. Text: how UTF-8 goes on. Tools: what stands in the present part.
fn next_valid(state: u8, byte: u8, alphabet: Alphabet) -> u8 {
    match alphabet {
        // 0: nothing yet; 1: a name.
        Alphabet::AgentName => 1,
        // 0: a part begins; 1: `.`; 2: `..`; 3: something that may stand alone.
        Alphabet::ToolName => match (state, byte) {
            (0, b'/') | (1, b'/') | (2, b'/') => INVALID,
            (3, b'/') => 0,
            (0, b'.') => 1,
            (1, b'.') => 2,
            _ => 3,
        },
        // 0: between characters; 1, 2, 3: as many bytes to come; 4 … 7: the next one is bounded.
        Alphabet::Text => match (state, byte) {
            (0, 0..=0x7F) | (1, 0x80..=0xBF) => 0,
            (0, 0xC2..=0xDF) => 1,
            (0, 0xE0) => 4,
            (0, 0xED) => 5,
            (0, 0xE1..=0xEF) => 2,
            (0, 0xF0) => 6,
            (0, 0xF4) => 7,
            (0, 0xF1..=0xF3) => 3,
            (2, 0x80..=0xBF) | (4, 0xA0..=0xBF) | (5, 0x80..=0x9F) => 1,
            (3, 0x80..=0xBF) | (6, 0x90..=0xBF) | (7, 0x80..=0x8F) => 2,
            _ => INVALID,
        },
    }
}

const fn is_whole(state: u8, alphabet: Alphabet) -> bool {
    match alphabet {
        Alphabet::Text => state == 0,
        Alphabet::ToolName => state == 3,
        Alphabet::AgentName => state == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::default()
    }

    #[test]
    fn every_combination_of_patterns_gets_a_tool_and_no_other() {
        let patterns = ["*", "stripe/*", "stripe/refund", "*/refund", "db/*_read"];
        let mut tests = Tests::default();
        for (number, pattern) in (0..).zip(patterns) {
            tests.shape(number, Shape::pattern(pattern));
        }
        let walk = walk(tests, Alphabet::ToolName, &limits());
        assert!(walk.complete);
        for found in &walk.found {
            faramesh_core::call::check_tool_name(&found.text).unwrap();
            let really: Vec<u32> = (0..)
                .zip(patterns)
                .filter(|(_, pattern)| {
                    faramesh_core::policy::pattern::matches(pattern, &found.text)
                })
                .map(|(number, _)| number)
                .collect();
            assert_eq!(found.yes, really, "{}", found.text);
        }
        let sets: Vec<&[u32]> = walk.found.iter().map(|found| &*found.yes).collect();
        for expected in [&[0][..], &[0, 1], &[0, 1, 2, 3], &[0, 3], &[0, 4]] {
            assert!(sets.contains(&expected), "{expected:?} of {sets:?}");
        }
        assert_eq!(sets.len(), 5, "{sets:?}");
    }

    #[test]
    fn expressions_and_texts_are_told_apart_exactly() {
        let mut tests = Tests::default();
        tests.expression(0, "^/etc/", false);
        tests.shape(1, Shape::default().text("/etc/passwd"));
        tests.shape(2, Shape::default().text("/etc/").any());
        let walk = walk(tests, Alphabet::Text, &limits());
        assert!(walk.complete);
        let mut sets: Vec<_> = walk.found.iter().map(|found| found.yes.clone()).collect();
        sets.sort();
        assert_eq!(sets, [vec![], vec![0, 1, 2], vec![0, 2]]);
    }

    #[test]
    fn the_last_part_of_a_name_begins_anew_behind_each_slash() {
        let mut tests = Tests::default();
        tests.shape_of_last(0, Shape::default().text("refund"));
        tests.shape(1, Shape::pattern("stripe/*"));
        let walk = walk(tests, Alphabet::ToolName, &limits());
        assert!(walk.complete);
        let mut sets: Vec<_> = walk.found.iter().map(|found| found.yes.clone()).collect();
        sets.sort();
        assert_eq!(sets, [vec![], vec![0], vec![0, 1], vec![1]]);
        for found in &walk.found {
            let last = found.text.rsplit('/').next().unwrap();
            assert_eq!(found.yes.contains(&0), last == "refund", "{}", found.text);
        }
    }
}
