//! What one caller's calls added up to, and when: sums and counts over the last hour, or since the caller began.
//!
//! Invariant: an answer is exact, or there is none. What was forgotten, what was lost, and what nobody counted yet make
//! every answer that would need it *maybe*, and so never help a caller.

use crate::decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Contributions to one window that are remembered one by one, the oldest gives way: about 200 KiB, and more calls in an
/// hour than one a second. Totals since the caller began need none of them.
pub const CONTRIBUTIONS_MAX: usize = 4_096;

/// Contributions to all windows of one caller that are remembered one by one: 32 bytes each, some 150 where a sum needs
/// more than 18 digits, so 256 KiB, and a little over a gigabyte for a thousand callers of the worst kind, however many
/// windows a policy asks for. Beyond it the window that remembers the most forgets its oldest: what is called often
/// pays, and what is rare keeps its past.
pub const CALLERS_CONTRIBUTIONS_MAX: usize = 2 * CONTRIBUTIONS_MAX;

/// What one record adds to the windows: (name, exact number, or `None` where the summed argument was absent or is no
/// number that can be summed, such as one below zero).
pub type Effects = Vec<(String, Option<Decimal>)>;

/// Since when a window is counted at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Since {
    /// The record that put a policy in force which asks for it, where none before did.
    pub(super) seq: u64,
    /// Its time on the boot clock.
    pub(super) boot_ms: u64,
}

/// The windows of one caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Windows {
    by_name: BTreeMap<String, Window>,
    /// Contributions that all of them remember: counted anew where a snapshot is read.
    #[serde(skip)]
    remembered: usize,
    /// The caller's first decision.
    first: Option<u64>,
    /// The last decision whose effects are not known any more: its detail was erased, or is not what was committed to.
    lost_ms: Option<u64>,
}

/// One window: running totals, and what they were before each of the last contributions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Window {
    total: Total,
    last: VecDeque<Contribution>,
    /// The time of the youngest contribution that is not remembered one by one any more.
    forgotten_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contribution {
    boot_ms: u64,
    before: Total,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Total {
    sum: Decimal,
    /// Contributions without a number.
    absent: u64,
}

impl Default for Total {
    fn default() -> Total {
        Total {
            sum: Decimal::ZERO,
            absent: 0,
        }
    }
}

impl Windows {
    /// Takes in what a decision added; `None`: it is not known any more.
    pub(super) fn take(
        &mut self,
        seq: u64,
        boot_ms: u64,
        effects: Option<&Effects>,
        counted: &BTreeMap<String, Since>,
    ) {
        self.first.get_or_insert(seq);
        let Some(effects) = effects else {
            self.lost_ms = Some(boot_ms);
            return;
        };
        for (name, value) in effects {
            if !counted.contains_key(name) {
                continue;
            }
            if !self.by_name.contains_key(name) {
                self.by_name.insert(name.clone(), Window::default());
            }
            if let Some(window) = self.by_name.get_mut(name) {
                let before = window.last.len();
                window.add(boot_ms, value.as_ref());
                self.remembered = self.remembered + window.last.len() - before;
            }
            self.forget();
        }
    }

    /// Keeps to [`CALLERS_CONTRIBUTIONS_MAX`].
    fn forget(&mut self) {
        if self.remembered <= CALLERS_CONTRIBUTIONS_MAX {
            return;
        }
        let longest = self.by_name.values_mut().max_by_key(|one| one.last.len());
        if let Some(window) = longest {
            window.forget_oldest();
            self.remembered -= 1;
        }
    }

    /// Nothing asks for the others any more.
    pub(super) fn keep(&mut self, counted: &BTreeMap<String, Since>) {
        self.by_name.retain(|name, _| counted.contains_key(name));
        self.recount();
    }

    fn recount(&mut self) {
        self.remembered = self.by_name.values().map(|one| one.last.len()).sum();
    }

    /// After they were read from a snapshot: counts what is remembered. `false` where they cannot have been made here.
    pub(super) fn read_back(&mut self, counted: &BTreeMap<String, Since>) -> bool {
        self.recount();
        let sound = |(name, window): (&String, &Window)| {
            counted.contains_key(name)
                && window.last.len() <= CONTRIBUTIONS_MAX
                && window.last.iter().is_sorted_by_key(|one| one.boot_ms)
        };
        self.remembered <= CALLERS_CONTRIBUTIONS_MAX && self.by_name.iter().all(sound)
    }

    /// What the window holds from `from_ms` on (`None`: since the caller began), where that is known exactly.
    pub(super) fn sum(&self, name: &str, from_ms: Option<u64>, since: Since) -> Option<Decimal> {
        let within = |past_ms: u64| from_ms.is_none_or(|from_ms| past_ms >= from_ms);
        let uncounted = self.first.is_some_and(|first| first < since.seq);
        if (uncounted && within(since.boot_ms)) || self.lost_ms.is_some_and(within) {
            return None;
        }
        match self.by_name.get(name) {
            Some(window) => window.sum(from_ms),
            None => Some(Decimal::ZERO),
        }
    }
}

impl Window {
    fn add(&mut self, boot_ms: u64, value: Option<&Decimal>) {
        // The boot clock does not go back; where a record says so, the later time holds, so that the order does.
        let last_ms = self.last.back().map_or(0, |last| last.boot_ms);
        let boot_ms = boot_ms.max(last_ms);
        if self.last.len() >= CONTRIBUTIONS_MAX {
            self.forget_oldest();
        }
        self.last.push_back(Contribution {
            boot_ms,
            before: self.total.clone(),
        });
        // What would lower a sum is no contribution to it: the sum is unknown from here on.
        let value = value.filter(|value| !value.is_negative());
        match value.and_then(|value| self.total.sum.plus(value)) {
            Some(sum) => self.total.sum = sum,
            None => self.total.absent = self.total.absent.saturating_add(1),
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.last.pop_front() {
            self.forgotten_ms = Some(oldest.boot_ms);
        }
    }

    fn sum(&self, from_ms: Option<u64>) -> Option<Decimal> {
        let before = match from_ms {
            None => &Total::default(),
            Some(from_ms) => {
                if self
                    .forgotten_ms
                    .is_some_and(|forgotten| forgotten >= from_ms)
                {
                    return None;
                }
                let first = self.last.partition_point(|one| one.boot_ms < from_ms);
                self.last.get(first).map_or(&self.total, |one| &one.before)
            }
        };
        if self.total.absent > before.absent {
            return None;
        }
        self.total.sum.minus(&before.sum)
    }
}
