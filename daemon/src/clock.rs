//! The clock port: the one place where the daemon learns the time.
//!
//! Both clocks are read together, because every record carries both: windows run on the boot clock, which nobody can
//! set; calendars and people read the wall clock, which anybody with the right privilege can. A test passes a clock of
//! its own to [`crate::engine::Engine`]'s constructor; nothing in the environment or the configuration selects one.
#![forbid(unsafe_code)]

use faramesh_core::record::Time;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// The wall clock moving against the boot clock by more than this is a record of its own, milliseconds.
/// NTP slews by 0.5 ms a second and steps beyond 128 ms, a leap second is one: five seconds are nobody's housekeeping.
pub const STEP_MS_MAX: i64 = 5_000;

/// Whoever waits for a time looks at the clock so often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Tells the time. Implementations never fail and never block; the boot clock never goes backwards.
pub trait Clock: Send + Sync {
    /// Both clocks, read together.
    fn now(&self) -> Time;

    /// Returns when the boot clock has reached `boot_ms`, or soon after.
    fn reached(&self, boot_ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let left = boot_ms.saturating_sub(self.now().boot_ms);
                if left == 0 {
                    return;
                }
                // A timer stands still while the machine is suspended, and the boot clock does not.
                tokio::time::sleep(Duration::from_millis(left).min(LOOK_AGAIN)).await;
            }
        })
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time {
            wall_ms: milliseconds(clock_gettime(ClockId::Realtime)),
            boot_ms: milliseconds(clock_gettime(ClockId::Boottime)),
        }
    }
}

/// A time before the epoch reads as the epoch: it is wrong anyway, and order never rests on it.
fn milliseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000)
        .saturating_add(nanoseconds / 1_000_000)
}

/// A clock that stands until it is set: for tests, which pass it to the constructor.
#[derive(Debug)]
pub struct SetClock(watch::Sender<Time>);

impl SetClock {
    /// Stands at `time`.
    #[must_use]
    pub fn at(time: Time) -> SetClock {
        SetClock(watch::Sender::new(time))
    }

    /// Lets `ms` pass on both clocks.
    pub fn advance(&self, ms: u64) {
        self.change(|time| {
            time.wall_ms = time.wall_ms.saturating_add(ms);
            time.boot_ms = time.boot_ms.saturating_add(ms);
        });
    }

    /// Moves the wall clock alone, as somebody who sets it does.
    pub fn step(&self, ms: i64) {
        self.change(|time| time.wall_ms = time.wall_ms.saturating_add_signed(ms));
    }

    fn change(&self, how: impl FnOnce(&mut Time)) {
        self.0.send_modify(how);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Time {
        *self.0.borrow()
    }

    fn reached(&self, boot_ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut time = self.0.subscribe();
        Box::pin(async move {
            // The sender is ours: there is no error.
            drop(time.wait_for(|time| time.boot_ms >= boot_ms).await);
        })
    }
}

/// How far the wall clock has moved against the boot clock since it was last looked at.
///
/// The first reading, and each reported step, becomes the new reference, so that a slow slew is reported once it has
/// added up and a step is reported once.
#[derive(Debug, Clone, Copy)]
pub struct StepWatch {
    /// wall − boot at the reference, milliseconds.
    offset_ms: i64,
}

impl StepWatch {
    /// Takes `time` as the reference.
    #[must_use]
    pub fn from(time: Time) -> StepWatch {
        StepWatch {
            offset_ms: offset(time),
        }
    }

    /// The step since the reference, where it is more than [`STEP_MS_MAX`]; the reference stays until
    /// [`StepWatch::accept`].
    #[must_use]
    pub fn step(&self, now: Time) -> Option<i64> {
        let step = offset(now).saturating_sub(self.offset_ms);
        (step.saturating_abs() > STEP_MS_MAX).then_some(step)
    }

    /// The step is on its way to the journal: `now` is the reference from here.
    pub fn accept(&mut self, now: Time) {
        self.offset_ms = offset(now);
    }
}

fn offset(time: Time) -> i64 {
    let wall = i64::try_from(time.wall_ms).unwrap_or(i64::MAX);
    let boot = i64::try_from(time.boot_ms).unwrap_or(i64::MAX);
    wall.saturating_sub(boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Time = Time {
        wall_ms: 1_800_000_000_000,
        boot_ms: 60_000,
    };

    #[test]
    fn time_that_passes_is_no_step() {
        let clock = SetClock::at(NOON);
        let watch = StepWatch::from(clock.now());
        clock.advance(3_600_000);
        assert_eq!(watch.step(clock.now()), None);
    }

    #[test]
    fn five_seconds_are_no_step_and_one_millisecond_more_is() {
        let clock = SetClock::at(NOON);
        let watch = StepWatch::from(clock.now());
        clock.step(5_000);
        assert_eq!(watch.step(clock.now()), None);
        clock.step(1);
        assert_eq!(watch.step(clock.now()), Some(5_001));
    }

    #[test]
    fn a_step_back_and_forth_is_two_steps_and_each_is_reported_once() {
        let clock = SetClock::at(NOON);
        let mut watch = StepWatch::from(clock.now());
        clock.step(-86_400_000);
        assert_eq!(watch.step(clock.now()), Some(-86_400_000));
        watch.accept(clock.now());
        assert_eq!(watch.step(clock.now()), None);
        clock.step(86_400_000);
        assert_eq!(watch.step(clock.now()), Some(86_400_000));
    }

    #[test]
    fn the_machines_clocks_move_forward() {
        let first = SystemClock.now();
        assert!(first.wall_ms > 1_600_000_000_000);
        assert!(SystemClock.now().boot_ms >= first.boot_ms);
    }
}
