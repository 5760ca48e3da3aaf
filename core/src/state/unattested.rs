//! Since when something in the journal has been seen by no witness.
//!
//! An attestation covers the records below its checkpoint; by the time it is recorded others have followed. So the times
//! of the records that wait are remembered, about one a second: enough to say since when the oldest of them waits.
//!
//! Invariant: what is said is never too short. Where times were forgotten, the record is taken for an older one.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Records closer together than this share a time, milliseconds: lags are minutes.
const SPACING_MS: u64 = 1_000;
/// Times that are remembered: a quarter of an hour at full detail, 16 KiB. Then every second one is forgotten.
const MARKS_MAX: usize = 1_024;

/// The records that no witness has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Unattested {
    /// (first record, its time on the boot clock), rising: the record, and those that follow it up to the next mark.
    marks: VecDeque<(u64, u64)>,
    /// Behind the last record that is no attestation itself.
    end: u64,
    /// The boot that the times belong to.
    boot_id: String,
}

impl Unattested {
    /// A record that a witness shall see. An attestation is none: it says what was seen, and would never come to rest.
    pub(super) fn record(&mut self, seq: u64, boot_ms: u64) {
        self.end = seq + 1;
        let apart = |(_, last): &(u64, u64)| boot_ms >= last.saturating_add(SPACING_MS);
        if !self.marks.back().is_none_or(apart) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back((seq, boot_ms));
    }

    /// The daemon started. Times of another boot cannot be compared with those of this one: what waited then waits since
    /// now.
    pub(super) fn start(&mut self, boot_id: &str, boot_ms: u64) {
        if self.boot_id != boot_id {
            boot_id.clone_into(&mut self.boot_id);
            self.marks.truncate(1);
            if let Some((_, since_ms)) = self.marks.front_mut() {
                *since_ms = boot_ms;
            }
        }
    }

    /// Witnesses have seen every record below `size`.
    pub(super) fn attested(&mut self, size: u64) {
        if self.end <= size {
            self.marks.clear();
        }
        while self.marks.get(1).is_some_and(|(seq, _)| *seq <= size) {
            self.marks.pop_front();
        }
    }

    /// Since when the oldest of them waits, on the boot clock; `None`: there is none.
    pub(super) fn since_ms(&self) -> Option<u64> {
        self.marks.front().map(|(_, boot_ms)| *boot_ms)
    }

    /// Whether a state of so many records can hold this.
    pub(super) fn fits(&self, size: u64) -> bool {
        let rising = |a: &(u64, u64), b: &(u64, u64)| a.0 < b.0 && a.1 <= b.1;
        self.marks.len() <= MARKS_MAX
            && self.end <= size
            && self.marks.back().is_none_or(|(seq, _)| *seq < self.end)
            && self.marks.iter().is_sorted_by(|a, b| rising(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_waits_waits_since_the_first_record_behind_what_was_seen() {
        let mut unattested = Unattested::default();
        assert_eq!(unattested.since_ms(), None);
        for seq in 0..10 {
            unattested.record(seq, 5_000 + seq * 2_000);
        }
        assert_eq!(unattested.since_ms(), Some(5_000));
        unattested.attested(4);
        assert_eq!(unattested.since_ms(), Some(13_000));
        unattested.attested(9);
        assert_eq!(unattested.since_ms(), Some(23_000));
        unattested.attested(10);
        assert_eq!(unattested.since_ms(), None);
        unattested.record(11, 90_000);
        assert_eq!(unattested.since_ms(), Some(90_000));
    }

    #[test]
    fn another_boot_begins_the_waiting_anew_and_the_same_boot_does_not() {
        let mut unattested = Unattested::default();
        unattested.start("a", 100);
        unattested.record(0, 100);
        unattested.record(1, 9_000);
        unattested.start("a", 20_000);
        assert_eq!(unattested.since_ms(), Some(100));
        unattested.start("b", 50);
        assert_eq!(unattested.since_ms(), Some(50));
        unattested.attested(1);
        assert_eq!(unattested.since_ms(), Some(50), "record 1 still waits");
    }

    proptest! {
        #[test]
        fn what_is_said_is_never_too_short_and_what_is_remembered_is_bounded(
            steps in proptest::collection::vec((0u64..5_000, any::<prop::sample::Index>(), 0u8..40), 1..4_000)
        ) {
            let mut unattested = Unattested::default();
            let (mut times, mut now, mut seen) = (Vec::new(), 0, 0);
            for (step, pick, what) in steps {
                now += step;
                unattested.record(times.len() as u64, now);
                times.push(now);
                if what == 0 {
                    seen = seen.max(pick.index(times.len() + 1));
                    unattested.attested(seen as u64);
                }
                let true_since = times.get(seen).copied();
                let said = unattested.since_ms();
                prop_assert_eq!(said.is_some(), true_since.is_some());
                prop_assert!(said <= true_since);
                prop_assert!(unattested.fits(times.len() as u64));
            }
        }
    }
}
