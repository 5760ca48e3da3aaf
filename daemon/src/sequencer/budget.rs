//! What each caller's records take of the journal: one that floods it must not fill the disk for everybody.
//!
//! An hour begins with a caller's first record after its last hour, on the boot clock. A call is looked at before it is
//! decided, so a caller may go over its budget by one record.
#![forbid(unsafe_code)]

use crate::engine::{Lane, Refusal};
use faramesh_core::decision::Code;
use std::collections::HashMap;

/// How long a budget lasts, milliseconds.
const HOUR_MS: u64 = 3_600_000;
/// Callers that are remembered before those whose hour is over are forgotten: four times the sessions that there can be.
const CALLERS: usize = 4_096;

pub(crate) struct Budget {
    /// Bytes; 0: without limit.
    hourly: u64,
    spent: HashMap<Lane, Spent>,
}

struct Spent {
    since_ms: u64,
    bytes: u64,
}

impl Spent {
    const fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.since_ms.saturating_add(HOUR_MS)
    }
}

impl Budget {
    pub(crate) fn new(hourly: u64) -> Budget {
        Budget {
            hourly,
            spent: HashMap::new(),
        }
    }

    /// Why a caller's next record is refused.
    pub(crate) fn refusal(&self, lane: &Lane, now_ms: u64) -> Option<Refusal> {
        let spent = self.spent.get(lane)?;
        if spent.bytes < self.hourly || spent.is_over(now_ms) {
            return None;
        }
        let left_ms = spent
            .since_ms
            .saturating_add(HOUR_MS)
            .saturating_sub(now_ms);
        let seconds = u32::try_from(left_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
        let why = format!(
            "this caller's records have taken {} bytes of the journal within an hour",
            spent.bytes
        );
        Some(Refusal::new(Code::Overloaded, why).again_after(seconds))
    }

    /// A caller's record was pushed.
    pub(crate) fn spend(&mut self, lane: &Lane, bytes: u64, now_ms: u64) {
        if self.hourly == 0 {
            return;
        }
        if self.spent.len() >= CALLERS && !self.spent.contains_key(lane) {
            self.spent.retain(|_, spent| !spent.is_over(now_ms));
        }
        let fresh = Spent {
            since_ms: now_ms,
            bytes: 0,
        };
        let spent = match self.spent.get_mut(lane) {
            Some(spent) => spent,
            None => self.spent.entry(lane.clone()).or_insert(fresh),
        };
        if spent.is_over(now_ms) {
            *spent = Spent {
                since_ms: now_ms,
                bytes: 0,
            };
        }
        spent.bytes = spent.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_spent_its_hour_waits_for_the_next_and_nobody_else_does() {
        let mut budget = Budget::new(100);
        let (a, b) = (Lane::session("a"), Lane::session("b"));
        budget.spend(&a, 99, 1_000);
        assert!(budget.refusal(&a, 1_000).is_none());
        budget.spend(&a, 50, 2_000);
        let refusal = budget.refusal(&a, 1_000 + HOUR_MS - 1_500).unwrap();
        assert_eq!(refusal.code, Code::Overloaded);
        assert_eq!(
            refusal.resolution(),
            faramesh_core::decision::Resolution::RetryAfterSeconds(2)
        );
        assert!(budget.refusal(&b, 2_000).is_none());
        assert!(budget.refusal(&a, 1_000 + HOUR_MS).is_none());
        budget.spend(&a, 99, 1_000 + HOUR_MS);
        assert!(budget.refusal(&a, 2_000 + HOUR_MS).is_none(), "a new hour");
    }

    #[test]
    fn callers_whose_hour_is_over_are_forgotten_and_without_a_limit_none_is_remembered() {
        let mut budget = Budget::new(1);
        for caller in 0..CALLERS + 10 {
            budget.spend(
                &Lane::session(&caller.to_string()),
                1,
                caller as u64 * HOUR_MS,
            );
        }
        assert!(budget.spent.len() <= CALLERS);
        let mut unlimited = Budget::new(0);
        unlimited.spend(&Lane::session("a"), u64::MAX, 0);
        assert!(unlimited.spent.is_empty());
    }
}
