//! What nobody thought of: random work, faults, crashes and reboots, from a seed.
//!
//! `FARAMESH_SIM_SEEDS` says how many seeds, `FARAMESH_SEED` replays one.

use super::disk::Unsynced;
use super::steps::{Dice, Fault};
use super::{End, Machine, SEGMENT_BYTES, Twin};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Seeds where nobody says how many: seconds.
const SEEDS: u64 = 300;
/// Lives of the daemon in one seed, and what happens in one.
const LIVES: usize = 6;
const EVENTS: usize = 40;

#[test]
fn whatever_happens_what_was_answered_stays_and_the_daemon_serves_again() {
    if let Ok(seed) = std::env::var("FARAMESH_SEED") {
        return drop(run(seed.parse().unwrap()));
    }
    let seeds = std::env::var("FARAMESH_SIM_SEEDS").map_or(SEEDS, |count| count.parse().unwrap());
    let mut all = Twin::default();
    for seed in 0..seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(twin) => all.add(&twin),
            Err(failure) => {
                eprintln!("replay with FARAMESH_SEED={seed}");
                resume_unwind(failure);
            }
        }
    }
    println!("{seeds} seeds: {all:?}");
    // Chance that meets nothing proves nothing.
    for (met, each) in [
        (all.answered, 50),
        (all.refused, 1),
        (all.snapshots, 1),
        (all.records.len() as u64, 100),
    ] {
        assert!(met >= each * seeds, "{met} in {seeds} seeds");
    }
}

fn run(seed: u64) -> Twin {
    let mut dice = Dice::of(seed);
    let mut machine = Machine::new();
    for _ in 0..LIVES {
        start(&mut machine, &mut dice);
        for _ in 0..EVENTS {
            if live(&mut machine, &mut dice).is_err() {
                break;
            }
        }
        die(&mut machine, &mut dice);
    }
    machine.must_serve();
    machine.stop().unwrap();
    machine.twin
}

/// Starts, some of which fail; the last one must not.
fn start(machine: &mut Machine, dice: &mut Dice) {
    while dice.one_in(3) {
        let fault = fault(dice);
        machine.steps.arm(dice.below(12), fault);
        if dice.one_in(4) {
            machine.disk.set_available(dice.next() % SEGMENT_BYTES);
        }
        let started = machine.start().and_then(|()| machine.settle());
        machine.steps.disarm();
        if let Err(End::Said(why)) = started {
            assert!(!why.is_empty());
        }
        die(machine, dice);
    }
    machine.must_serve();
}

fn fault(dice: &mut Dice) -> Fault {
    match dice.below(6) {
        0 => Fault::Fails,
        1 => Fault::FailsButPersists,
        2 => Fault::FailsPartly(dice.below(1_500)),
        3 => Fault::CrashBefore,
        4 => Fault::CrashTorn(dice.below(1_500)),
        _ => Fault::CrashAfter,
    }
}

/// One thing happens.
fn live(machine: &mut Machine, dice: &mut Dice) -> Result<(), End> {
    match dice.below(20) {
        0..=4 => {
            let bytes = if dice.one_in(40) {
                20_000
            } else {
                dice.below(1_500)
            };
            machine.call(1 + dice.below(5), bytes);
        }
        5 => machine.report(),
        6..=9 => drop(machine.serve()),
        10..=12 => machine.commit()?,
        13 => machine.prepare()?,
        14 if dice.one_in(2) => machine.signer.persist(),
        14 => {
            let torn = dice.one_in(6).then(|| dice.below(2_000));
            machine.snapshot(torn);
        }
        15 => {
            machine.clock.advance(dice.next() % 5_000);
            if dice.one_in(3) {
                let step = i64::try_from(dice.next() % 200_000).unwrap() - 100_000;
                machine.clock.step(step);
            }
        }
        16 => {
            let full = dice.one_in(3);
            machine.disk.set_available(if full { 0 } else { u64::MAX });
        }
        17 => machine.settle_unless_full()?,
        18 if dice.one_in(4) => {
            machine.apply();
            machine.activate();
        }
        19 if dice.one_in(3) => {
            let fault = fault(dice);
            machine.steps.arm(dice.below(10), fault);
        }
        _ => {}
    }
    Ok(())
}

/// The end of a life: asked for, killed, or without power.
fn die(machine: &mut Machine, dice: &mut Dice) {
    machine.steps.disarm();
    match dice.below(6) {
        0 => {
            machine.disk.set_available(u64::MAX);
            machine.stop().unwrap_or_default();
        }
        1 => machine.signer.kill(),
        2 => machine.lose_power(Unsynced::Lost, dice),
        3 => machine.lose_power(Unsynced::Any, dice),
        4 => machine.lose_power(Unsynced::Kept, dice),
        _ => {}
    }
    machine.kill_daemon();
}

impl Twin {
    fn add(&mut self, other: &Twin) {
        self.records
            .extend(other.records.iter().map(|_| Vec::new()));
        self.answered += other.answered;
        self.refused += other.refused;
        self.mended += other.mended;
        self.snapshots += other.snapshots;
    }
}

impl std::fmt::Debug for Twin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} records, {} calls answered, {} refused, {} snapshots, {} torn batches cut by hand",
            self.records.len(),
            self.answered,
            self.refused,
            self.snapshots,
            self.mended
        )
    }
}

impl Machine {
    fn settle_unless_full(&mut self) -> Result<(), End> {
        for _ in 0..3 {
            self.serve();
            self.prepare()?;
            self.commit()?;
        }
        Ok(())
    }

    /// The operator activates what lies in `next`.
    fn activate(&mut self) {
        let key = self.policy_pub();
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let store = crate::store::PolicyStore::new(&self.config.policy_dir, key, super::STACK);
        let candidate = store.unwrap().next_candidate(self.manifests, None).unwrap();
        let shared = &daemon.sequencer.shared;
        let queued = shared
            .desk()
            .event(crate::sequencer::Event::Activate(candidate));
        daemon.waiting.extend(queued);
    }
}
