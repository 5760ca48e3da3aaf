//! A small regular expression as a table: what a search stands at, and where each byte of a text leads it.
//!
//! The subset construction over the automaton that the regex engine's compiler makes. It asks only whether something is
//! found, so a search ends where the first match does, and which match it is plays no role.
//!
//! Invariant: a table finds what its automaton finds, or there is none.

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;
use std::collections::HashMap;

/// States of an automaton beyond which no table is tried: sets of them are small and copied.
const STATES_MAX: usize = 256;
const WORD_BITS: usize = 64;
/// Nothing can be found any more.
const DEAD: u16 = u16::MAX;
/// Something is found.
const FOUND: u16 = u16::MAX - 1;

/// States of an automaton, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Set([u64; STATES_MAX / WORD_BITS]);

impl Set {
    /// Adds a state; whether it was not there.
    fn add(&mut self, state: StateID) -> bool {
        let bit = 1_u64 << (state.as_usize() % WORD_BITS);
        let Some(word) = self.0.get_mut(state.as_usize() / WORD_BITS) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; STATES_MAX / WORD_BITS]
    }

    /// The places of its states.
    fn iter(&self) -> impl Iterator<Item = usize> {
        (0..).zip(self.0).flat_map(|(word, bits)| {
            let left = |bits: &u64| Some(bits & bits.wrapping_sub(1));
            std::iter::successors(Some(bits), left)
                .take_while(|bits| *bits != 0)
                .map(move |bits| word * WORD_BITS + bits.trailing_zeros() as usize)
        })
    }
}

/// What a search can stand at, and where it goes.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Of each byte, its class.
    classes: Box<[u8; 256]>,
    /// Of each row, for each class the place where the next row begins, or [`DEAD`], or [`FOUND`].
    next: Vec<u16>,
    /// Of each row, whether something is found if the text ends there.
    at_end: Vec<bool>,
    /// How many classes there are.
    width: usize,
    /// Where a search begins.
    start: u16,
}

impl Table {
    /// The automaton as a table of at most so many bytes; `None`: it takes more, or asks of its surroundings more than
    /// where the text begins and ends.
    pub(super) fn new(automaton: &NFA, bytes_max: usize) -> Option<Table> {
        if automaton.states().len() > STATES_MAX {
            return None;
        }
        Building::new(automaton, bytes_max).table()
    }

    /// Whether something is found in a text.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let mut row = self.start;
        if row >= FOUND {
            return row == FOUND;
        }
        for byte in text.as_bytes() {
            let class = self.classes.get(usize::from(*byte)).copied().unwrap_or(0);
            let place = usize::from(row) + usize::from(class);
            row = self.next.get(place).copied().unwrap_or(DEAD);
            if row >= FOUND {
                return row == FOUND;
            }
        }
        let at_end = self.at_end.get(usize::from(row) / self.width);
        at_end.copied().unwrap_or(false)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> usize {
        self.next.len() * size_of::<u16>()
    }
}

/// A table in the making.
struct Building<'n> {
    automaton: &'n NFA,
    entries_max: usize,
    /// One byte of each class.
    bytes: Vec<u8>,
    rows: HashMap<Set, u16>,
    /// Sets whose rows are still empty, in the order of their rows.
    sets: Vec<Set>,
    waiting: Vec<StateID>,
    table: Table,
}

impl<'n> Building<'n> {
    fn new(automaton: &'n NFA, bytes_max: usize) -> Building<'n> {
        let classes = automaton.byte_classes();
        let mut of_bytes = Box::new([0; 256]);
        let mut bytes: Vec<u8> = Vec::new();
        for (byte, class) in (0..=u8::MAX).zip(of_bytes.iter_mut()) {
            *class = classes.get(byte);
            if usize::from(*class) == bytes.len() {
                bytes.push(byte);
            }
        }
        Building {
            automaton,
            // Places are 16 bits, less the two words.
            entries_max: (bytes_max / size_of::<u16>()).min(usize::from(FOUND)),
            table: Table {
                classes: of_bytes,
                next: Vec::new(),
                at_end: Vec::new(),
                width: bytes.len(),
                start: DEAD,
            },
            bytes,
            rows: HashMap::new(),
            sets: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn table(mut self) -> Option<Table> {
        let mut first = Set::default();
        first.add(self.automaton.start_unanchored());
        self.table.start = self.row(&first, true)?;
        let mut done = 0;
        while let Some(set) = self.sets.get(done).copied() {
            // Most classes lead where the one before did.
            let mut last = (Set::default(), DEAD);
            for class in 0..self.bytes.len() {
                let byte = self.bytes.get(class).copied()?;
                let led = self.step(&set, byte);
                if led != last.0 {
                    last = (led, self.row(&led, false)?);
                }
                let place = done * self.table.width + class;
                *self.table.next.get_mut(place)? = last.1;
            }
            done += 1;
        }
        Some(self.table)
    }

    /// Where a byte leads.
    fn step(&self, set: &Set, byte: u8) -> Set {
        let mut led = Set::default();
        for place in set.iter() {
            let next = match self.automaton.states().get(place) {
                Some(State::ByteRange { trans }) if trans.matches_byte(byte) => Some(trans.next),
                Some(State::Sparse(sparse)) => sparse.matches_byte(byte),
                Some(State::Dense(dense)) => dense.matches_byte(byte),
                _ => None,
            };
            if let Some(next) = next {
                led.add(next);
            }
        }
        led
    }

    /// The row of a set of states and of all that follows without a byte; `None`: the table grows too large.
    fn row(&mut self, from: &Set, at_start: bool) -> Option<u16> {
        let (set, is_found) = self.follow(from, at_start, false)?;
        if is_found {
            return Some(FOUND);
        }
        if set.is_empty() {
            return Some(DEAD);
        }
        // The first row alone is of the text's start.
        if !at_start && let Some(row) = self.rows.get(&set) {
            return Some(*row);
        }
        let (_, at_end) = self.follow(from, at_start, true)?;
        let row = self.table.next.len();
        if row + self.table.width > self.entries_max {
            return None;
        }
        let row = u16::try_from(row).ok()?;
        self.table
            .next
            .resize(self.table.next.len() + self.table.width, DEAD);
        self.table.at_end.push(at_end);
        self.sets.push(set);
        if !at_start {
            self.rows.insert(set, row);
        }
        Some(row)
    }

    /// Everything that follows without a byte, and whether something is found; `None`: it asks what no table knows.
    fn follow(&mut self, from: &Set, at_start: bool, at_end: bool) -> Option<(Set, bool)> {
        let (mut set, mut is_found) = (*from, false);
        self.waiting.clear();
        self.waiting
            .extend(from.iter().filter_map(|place| StateID::new(place).ok()));
        while let Some(state) = self.waiting.pop() {
            let waiting = &mut self.waiting;
            let mut go = |next: StateID| {
                if set.add(next) {
                    waiting.push(next);
                }
            };
            match self.automaton.states().get(state.as_usize())? {
                State::Union { alternates } => alternates.iter().copied().for_each(go),
                State::BinaryUnion { alt1, alt2 } => {
                    go(*alt1);
                    go(*alt2);
                }
                State::Capture { next, .. } => go(*next),
                State::Look { look, next } => {
                    let holds = match look {
                        Look::Start => at_start,
                        Look::End => at_end,
                        _ => return None,
                    };
                    if holds {
                        go(*next);
                    }
                }
                State::Match { .. } => is_found = true,
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Fail => {}
            }
        }
        Some((set, is_found))
    }
}
