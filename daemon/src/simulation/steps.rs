//! Every durable step of the machine passes here, and here it is decided what becomes of it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(seed: u64) -> Dice {
        let mut dice = Dice(seed ^ 0x9e6c_63d0_876a_3f6b);
        dice.next();
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A step that changes, or relies on, what survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// An empty file.
    Create,
    /// Bytes into a file; how many.
    Write(usize),
    /// fdatasync.
    SyncData,
    /// fsync of a file.
    SyncFile,
    /// Another name.
    Rename,
    /// A name less.
    Remove,
    /// fsync of the directory.
    SyncDir,
    /// A message to the signer.
    Ask(&'static str),
    /// The signer's answer is read.
    Hear,
    /// The signer writes its head.
    Persist,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// An error, and nothing was done.
    Fails,
    /// An error, and it was done all the same.
    FailsButPersists,
    /// An error after so many bytes (of a write), or with a part of it durable (of a sync).
    FailsPartly(usize),
    /// The process is killed before it.
    CrashBefore,
    /// The process is killed after so many bytes of a write.
    CrashTorn(usize),
    /// The process is killed after it.
    CrashAfter,
}

impl Fault {
    pub(super) fn is_crash(self) -> bool {
        matches!(
            self,
            Fault::CrashBefore | Fault::CrashTorn(_) | Fault::CrashAfter
        )
    }
}

/// What a killed process unwinds with: nothing of it runs on.
pub(super) struct Killed;

#[derive(Default)]
struct Plan {
    /// Every step since the count began.
    passed: Vec<Step>,
    armed: Option<(usize, Fault)>,
    fired: Option<(Step, Fault)>,
}

/// Shared by the disk, the line to the signer and the signer's own disk: one order over all.
#[derive(Clone, Default)]
pub(super) struct Steps(Arc<Mutex<Plan>>);

impl Steps {
    /// Begins to count anew; the step of this number meets `fault`.
    pub(super) fn arm(&self, number: usize, fault: Fault) {
        self.with(|plan| {
            plan.passed.clear();
            plan.armed = Some((number, fault));
        });
    }

    /// No fault any more; returns the one that was met.
    pub(super) fn disarm(&self) -> Option<(Step, Fault)> {
        self.with(|plan| {
            plan.armed = None;
            plan.fired.take()
        })
    }

    /// The steps since the count began, which begins anew.
    pub(super) fn take_passed(&self) -> Vec<Step> {
        self.with(|plan| std::mem::take(&mut plan.passed))
    }

    /// Takes a step: `whole` does it, `part` does so much of it. Both tell the model only, and do not fail.
    pub(super) fn take(
        &self,
        step: Step,
        whole: impl FnOnce(),
        part: impl FnOnce(usize),
    ) -> io::Result<()> {
        let fault = self.with(|plan| {
            let number = plan.passed.len();
            plan.passed.push(step);
            let fault = plan
                .armed
                .filter(|(at, _)| *at == number)
                .map(|armed| armed.1);
            if let Some(fault) = fault {
                plan.fired = Some((step, fault));
            }
            fault
        });
        match fault {
            None => {
                whole();
                return Ok(());
            }
            Some(Fault::Fails | Fault::CrashBefore) => {}
            Some(Fault::FailsButPersists | Fault::CrashAfter) => whole(),
            Some(Fault::FailsPartly(bytes) | Fault::CrashTorn(bytes)) => part(bytes),
        }
        if fault.is_some_and(Fault::is_crash) {
            std::panic::resume_unwind(Box::new(Killed));
        }
        Err(io::Error::other("injected"))
    }

    fn with<T>(&self, how: impl FnOnce(&mut Plan) -> T) -> T {
        how(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
