//! What one decision notes while it is made, in memory that the next one uses again.
//!
//! Invariants: [`Scratch::begin`] makes everything in it stale at once, by a new stamp; so no decision sees another's
//! notes, and what was allocated stays. The work that grows with a call's values is bounded by the [`Budget`], which
//! every decision begins with whole.

use crate::policy::conditions::Truth;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Steps of search work in one decision. A step is about two nanoseconds on the machine of `docs/performance.md`: a byte
/// looked up in a table. So all searches of one decision together take about a tenth of a second at worst, in which
/// nobody else is served; a hundred small expressions on 32 KiB of text take a fifteenth of it.
pub const SEARCH_STEPS_MAX: u64 = 50_000_000;

/// What is left of a decision's search work: counted in steps and not in time, so that the same call comes to the same
/// decision on every machine.
#[derive(Debug, Default)]
pub(crate) struct Budget(u64);

impl Budget {
    /// Takes that many steps; `None`, and takes none, where fewer are left: then nothing is searched, and what was asked
    /// is *maybe*.
    #[must_use]
    pub(crate) fn take(&mut self, steps: usize) -> Option<()> {
        self.0 = self.0.checked_sub(u64::try_from(steps).ok()?)?;
        Some(())
    }
}

/// Memory for decisions, one after the other. It grows to what the largest policy needed and is then not allocated
/// again.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The present decision's; a multiple of [`STAMP_STEP`].
    stamp: u32,
    /// Of each test, its truth with the stamp of the decision that put it.
    truths: Vec<u32>,
    /// Of each field, the stamp of the last decision that read it.
    read_at: Vec<u32>,
    /// Of each field, the stamp of the last decision that missed it.
    missing_at: Vec<u32>,
    /// Fields that were read, each once.
    pub(crate) read: Vec<u32>,
    /// Fields that made a test *maybe* in a rule that may apply, each once.
    pub(crate) missing: Vec<u32>,
    /// Places of the rules that apply or may, down to the first that applies.
    pub(crate) possible: Vec<u32>,
    /// Places of the closed schemas that speak of the tool.
    pub(crate) closed: Vec<u32>,
    /// What these searches may still cost.
    pub(crate) budget: Budget,
    /// Lists of rules that are still to be asked, the one with the lowest rank on top.
    pub(crate) drawn: BinaryHeap<Reverse<Cursor>>,
}

/// What is left of a list of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    /// The first.
    pub(crate) rank: u32,
    /// Where the one behind it stands, and where the list ends.
    pub(crate) next: u32,
    pub(crate) to: u32,
}

/// The lowest bits of a kept truth say which it is.
const STAMP_STEP: u32 = 4;

impl Scratch {
    /// Forgets, and makes room.
    pub(crate) fn begin(&mut self, tests: usize, fields: usize) {
        self.stamp = self.stamp.wrapping_add(STAMP_STEP);
        if self.stamp == 0 {
            // Every stamp was given out once: old ones could be taken for new ones.
            for stamps in [&mut self.truths, &mut self.read_at, &mut self.missing_at] {
                stamps.fill(0);
            }
            self.stamp = STAMP_STEP;
        }
        grow(&mut self.truths, tests);
        grow(&mut self.read_at, fields);
        grow(&mut self.missing_at, fields);
        self.read.clear();
        self.missing.clear();
        self.possible.clear();
        self.closed.clear();
        self.budget = Budget(SEARCH_STEPS_MAX);
        self.drawn.clear();
    }

    pub(crate) fn draw(&mut self, list: Cursor) {
        self.drawn.push(Reverse(list));
    }

    /// What a test came out as, if it was put in this decision.
    pub(crate) fn truth(&self, test: u32) -> Option<Truth> {
        let kept = *self.truths.get(test as usize)?;
        if kept & !(STAMP_STEP - 1) != self.stamp {
            return None;
        }
        match kept & (STAMP_STEP - 1) {
            1 => Some(Truth::No),
            2 => Some(Truth::Maybe),
            3 => Some(Truth::Yes),
            _ => None,
        }
    }

    pub(crate) fn keep(&mut self, test: u32, truth: Truth) {
        let code = match truth {
            Truth::No => 1,
            Truth::Maybe => 2,
            Truth::Yes => 3,
        };
        if let Some(slot) = self.truths.get_mut(test as usize) {
            *slot = self.stamp | code;
        }
    }

    pub(crate) fn note_read(&mut self, field: u32) {
        note(&mut self.read_at, self.stamp, field, &mut self.read);
    }

    pub(crate) fn note_missing(&mut self, field: u32) {
        note(&mut self.missing_at, self.stamp, field, &mut self.missing);
    }
}

fn grow(stamps: &mut Vec<u32>, to: usize) {
    if stamps.len() < to {
        stamps.resize(to, 0);
    }
}

fn note(stamps: &mut [u32], stamp: u32, field: u32, list: &mut Vec<u32>) {
    if let Some(slot) = stamps.get_mut(field as usize)
        && *slot != stamp
    {
        *slot = stamp;
        list.push(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_sees_nothing_of_the_one_before_even_when_stamps_begin_anew() {
        let mut scratch = Scratch::default();
        for stamp in [0, u32::MAX - 3, u32::MAX - 7] {
            scratch.stamp = stamp;
            scratch.begin(2, 2);
            scratch.keep(1, Truth::Yes);
            scratch.note_read(1);
            scratch.note_read(1);
            assert_eq!(
                (scratch.truth(1), scratch.read.len()),
                (Some(Truth::Yes), 1)
            );
            for _ in 0..3 {
                scratch.begin(2, 2);
                assert_eq!((scratch.truth(1), scratch.read.len()), (None, 0));
            }
        }
    }
}
