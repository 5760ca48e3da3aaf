//! Every durable step × every fault × what a reboot makes of it.
//!
//! A story is told once without a fault, to count its steps; then once for each step and fault. Afterwards the machine is
//! started again and again: as it is, after a loss of power that keeps nothing, everything, or any part of what was not
//! synced; and each time the three sentences hold.

use super::disk::Unsynced;
use super::steps::{Dice, Fault, Step};
use super::{End, Machine};

/// What the machine goes through. Each is told from the beginning for every fault.
type Story = fn(&mut Machine) -> Result<(), End>;

/// The first start of all: the first segment is made, and the policy activated.
fn first_start(machine: &mut Machine) -> Result<(), End> {
    machine.start()?;
    machine.settle()?;
    machine.signer.persist();
    machine.stop()
}

/// Batches, among them one that begins a segment, and a clean stop.
fn work(machine: &mut Machine) -> Result<(), End> {
    for round in 0..3 {
        machine.call(2, 900);
        machine.settle()?;
        if round == 1 {
            machine.signer.persist();
        }
    }
    machine.stop()
}

/// A start over a tail that has to be cut and a note that has to be adopted.
fn start_again(machine: &mut Machine) -> Result<(), End> {
    machine.start()?;
    machine.settle()?;
    machine.call(1, 10);
    machine.settle()
}

/// Ready for [`work`]: one start, a few calls, the next segment prepared and the one in use nearly full.
fn before_work() -> Machine {
    let mut machine = Machine::new();
    machine.start().unwrap();
    machine.settle().unwrap();
    machine.call(2, 900);
    machine.settle().unwrap();
    machine
}

/// Ready for [`start_again`]: a batch whose note was written and never synced, behind it the torn beginning of another.
fn before_start_again() -> Machine {
    let mut machine = before_work();
    machine.signer.persist();
    machine.call(1, 10);
    machine.settle().unwrap();
    // Killed between the note and the fdatasync: the note is in the page cache and no signer confirmed it.
    machine.call(1, 10);
    machine.serve();
    kill_before(&mut machine, Step::SyncData);
    // The signer forgets what it did not persist; a torn frame lies behind the note.
    machine.signer.kill();
    tear_the_tail(&machine);
    machine
}

fn kill_before(machine: &mut Machine, step: Step) {
    // advance, frames, hear the note, write the note, fdatasync: whichever comes first of this kind.
    for number in 0.. {
        machine.steps.arm(number, Fault::CrashBefore);
        let end = machine.commit();
        let (met, _) = machine.steps.disarm().unwrap();
        assert_eq!(end, Err(End::Killed));
        if met == step {
            return;
        }
        machine.start().unwrap();
        machine.settle().unwrap();
        machine.call(1, 10);
        machine.serve();
    }
}

/// A write that was interrupted, as a reader sees it: longer than the next batch, which so cannot cover it by chance.
fn tear_the_tail(machine: &Machine) {
    use crate::journal::segment::{Files, list, segment_path};
    let dir = &machine.config.journal_dir;
    let path = segment_path(dir, *list(dir).unwrap().last().unwrap());
    let end = faramesh_core::frame::written_len(&std::fs::read(&path).unwrap());
    let file = machine.disk.open(&path).unwrap();
    let torn = [&b"FMJ1\x01\0\x07"[..], &[0x55; 1_500]].concat();
    file.write_at(&torn, end as u64).unwrap();
}

/// The faults that a step of this kind can meet.
fn faults(step: Step, every_byte: bool) -> Vec<Fault> {
    let mut faults = vec![
        Fault::Fails,
        Fault::FailsButPersists,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ];
    match step {
        Step::Write(bytes) => {
            let torn = |at| [Fault::CrashTorn(at), Fault::FailsPartly(at)];
            let stride = if every_byte && bytes < 8 * 1024 {
                1
            } else {
                (bytes / 5).max(1)
            };
            faults.extend((1..bytes).step_by(stride).flat_map(torn));
        }
        Step::SyncData | Step::SyncFile => faults.push(Fault::FailsPartly(1)),
        Step::Persist => faults.extend((0..400).step_by(80).map(Fault::CrashTorn)),
        _ => {}
    }
    faults
}

/// What happens to the machine between the fault and the next start.
#[derive(Debug, Clone, Copy)]
enum Aftermath {
    /// The daemon alone is started again.
    Restart,
    /// The signer is killed too.
    SignerKilled,
    /// The power fails.
    Power(Unsynced),
    /// A start that goes well, and then the power fails.
    RestartThenPower(Unsynced),
    /// A recovery that goes well, and the power fails before the first record of the new run.
    RecoveryThenPower(Unsynced),
}

const AFTERMATHS: [Aftermath; 8] = [
    Aftermath::Restart,
    Aftermath::SignerKilled,
    Aftermath::Power(Unsynced::Lost),
    Aftermath::Power(Unsynced::Kept),
    Aftermath::Power(Unsynced::Any),
    Aftermath::RestartThenPower(Unsynced::Lost),
    Aftermath::RecoveryThenPower(Unsynced::Lost),
    Aftermath::RecoveryThenPower(Unsynced::Any),
];

fn through(machine: &mut Machine, aftermath: Aftermath, dice: &mut Dice) {
    machine.kill_daemon();
    machine.steps.disarm();
    match aftermath {
        Aftermath::Restart => {}
        Aftermath::SignerKilled => machine.signer.kill(),
        Aftermath::Power(unsynced) => machine.lose_power(unsynced, dice),
        Aftermath::RestartThenPower(unsynced) => {
            machine.must_serve();
            machine.signer.persist();
            machine.lose_power(unsynced, dice);
        }
        Aftermath::RecoveryThenPower(unsynced) => {
            // What a recovery tells the signer, the signer may write at once.
            machine
                .start()
                .unwrap_or_else(|end| panic!("it does not start: {end:?}"));
            machine.signer.persist();
            machine.lose_power(unsynced, dice);
        }
    }
    machine.must_serve();
    machine.stop().unwrap();
}

/// All steps of a story with all their faults, every one with one aftermath; with `all`, with all of them.
fn tell(make: fn() -> Machine, story: Story, all: bool) {
    let mut machine = make();
    machine.steps.take_passed();
    story(&mut machine).unwrap();
    let steps = machine.steps.take_passed();
    assert!(steps.len() >= 10, "{steps:?}");
    drop(machine);
    let mut rows = 0_usize;
    for (number, step) in steps.iter().enumerate() {
        for fault in faults(*step, all) {
            let torn = matches!(fault, Fault::CrashTorn(_) | Fault::FailsPartly(_));
            let aftermaths: Vec<Aftermath> = if all && !torn {
                AFTERMATHS.to_vec()
            } else if torn {
                vec![AFTERMATHS[rows % AFTERMATHS.len()]]
            } else {
                vec![
                    AFTERMATHS[rows % AFTERMATHS.len()],
                    AFTERMATHS[(rows + 3) % AFTERMATHS.len()],
                    AFTERMATHS[(rows + 6) % AFTERMATHS.len()],
                ]
            };
            for aftermath in aftermaths {
                let row = Row {
                    number,
                    step: *step,
                    fault,
                    aftermath,
                };
                row.holds(make(), story);
                rows += 1;
            }
        }
    }
    println!("{} steps, {rows} rows", steps.len());
}

#[derive(Debug)]
struct Row {
    number: usize,
    step: Step,
    fault: Fault,
    aftermath: Aftermath,
}

impl Row {
    fn holds(&self, mut machine: Machine, story: Story) {
        let said = Say(self);
        machine.steps.arm(self.number, self.fault);
        let ended = story(&mut machine);
        let met = machine.steps.disarm();
        assert_eq!(
            met,
            Some((self.step, self.fault)),
            "the story is always the same"
        );
        if let Err(End::Said(why)) = &ended {
            assert!(!why.is_empty());
        }
        // A failed sync is never tried again: the process ends.
        if self.step == Step::SyncData && !self.fault.is_crash() {
            assert!(matches!(&ended, Err(End::Said(_))), "{ended:?}");
            let passed = machine.steps.take_passed();
            assert_eq!(
                passed.len(),
                self.number + 1,
                "nothing is tried after a failed sync"
            );
        }
        let mut dice = Dice::of(self.number as u64);
        through(&mut machine, self.aftermath, &mut dice);
        drop(said);
    }
}

/// Says which row it was, where it fails.
struct Say<'a>(&'a Row);

impl Drop for Say<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("row: {:?}", self.0);
        }
    }
}

fn long() -> bool {
    std::env::var_os("FARAMESH_TEST_LONG").is_some()
}

#[test]
fn every_step_of_a_first_start_may_fail_tear_or_crash() {
    tell(Machine::new, first_start, long());
}

#[test]
fn every_step_of_work_and_a_clean_stop_may_fail_tear_or_crash() {
    tell(before_work, work, long());
}

#[test]
fn every_step_of_a_start_over_a_torn_tail_may_fail_tear_or_crash() {
    tell(before_start_again, start_again, long());
}

/// One batch, torn at every byte of its frames and of its note, as a process and as a machine.
#[test]
fn a_batch_may_tear_at_every_byte() {
    let mut machine = before_work();
    machine.call(1, 10);
    machine.serve();
    machine.steps.take_passed();
    machine.commit().unwrap();
    let steps = machine.steps.take_passed();
    let mut rows = 0;
    for (number, step) in steps.iter().enumerate() {
        let Step::Write(bytes) = *step else { continue };
        for torn in 1..bytes {
            let row = Row {
                number,
                step: *step,
                fault: Fault::CrashTorn(torn),
                aftermath: [Aftermath::Restart, Aftermath::Power(Unsynced::Kept)][torn % 2],
            };
            row.holds(before_work(), |machine| {
                machine.call(1, 10);
                machine.serve();
                machine.commit()
            });
            rows += 1;
        }
    }
    assert!(rows > 500, "{rows}");
}
