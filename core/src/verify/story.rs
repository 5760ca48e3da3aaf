//! Whether a record can follow those before it: clocks, starts and stops, the policy in force.

use serde::{Deserialize, Serialize};

use crate::record::{Activation, RunMode, Time};
use crate::tree::Hash;

use super::merge::Verifier;
use super::scan::{Said, Told};
use super::{Fault, Level, Span, SpanKind};

/// A wall clock that is set back by less than this is a clock that is being disciplined.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// What the records tell, as far as the next one is judged by it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Story {
    /// When the last record was written: (wall, boot).
    last: Option<(u64, u64)>,
    boot_id: Option<String>,
    running: bool,
    /// The last activation: its number, and what it put in force.
    policy: Option<(u64, Hash)>,
    /// Where the reading began amid the journal: what was in force there is not known yet.
    unknown: Option<Unknown>,
    /// Open spans: first record.
    development: Option<u64>,
    not_enforcing: Option<u64>,
}

/// The policy that was in force where the reading began, as far as records show it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Unknown {
    /// What the first decision names, before any activation.
    policy: Option<Hash>,
    /// The number of the first activation.
    next_number: Option<u64>,
}

impl Story {
    /// The records before are not there: the daemon ran, under some policy.
    pub(super) fn begin_amid(&mut self) {
        self.running = true;
        self.unknown = Some(Unknown::default());
    }
}

impl Verifier {
    /// What a record tells, against what was told before.
    pub(super) fn story(&mut self, said: &Said, policy: Option<&Hash>) {
        let seq = said.seq;
        self.clocks(said);
        self.mode_span(said.mode, seq);
        match &said.told {
            Told::Start(start) => {
                let (boot_id, cut_bytes) = &**start;
                self.start(boot_id, *cut_bytes, seq);
            }
            Told::Stop => self.state.story.running = false,
            Told::Activation(activation) => self.activation(activation, seq),
            Told::Decision(_) => {
                self.must_run(seq);
                self.decided_by(policy, seq);
            }
            Told::Outcome { of } => {
                self.must_run(seq);
                if *of >= seq {
                    let what = format!("the outcome at record {seq} is about a later record");
                    self.find(Level::Broken, Fault::Story, what);
                }
            }
            Told::SessionStart => self.must_run(seq),
            Told::Dropped(count) => {
                let told = &mut self.state.told;
                told.dropped_calls = told.dropped_calls.saturating_add(*count);
                let what = format!("{count} calls were refused before they could be recorded");
                self.find(Level::Info, Fault::Dropped, what);
            }
            Told::ClockStep(step_ms) => {
                let what = format!("the wall clock was set by {step_ms} ms");
                self.find(Level::Warning, Fault::Clock, what);
            }
            Told::SessionEnd | Told::Log(_) => {}
        }
        self.state.story.last = Some((said.time.wall_ms, said.time.boot_ms));
    }

    fn start(&mut self, boot_id: &str, cut_bytes: u64, seq: u64) {
        if self.state.story.running {
            let what = format!(
                "the daemon started at record {seq} without having stopped: a crash, or a kill"
            );
            self.find(Level::Info, Fault::Start, what);
        }
        if cut_bytes > 0 {
            let what = format!("the start at record {seq} cut a torn tail of {cut_bytes} bytes");
            self.find(Level::Info, Fault::Start, what);
        }
        self.state.story.running = true;
        self.state.story.boot_id = Some(boot_id.to_owned());
    }

    fn clocks(&mut self, said: &Said) {
        let story = &self.state.story;
        let Some((wall_ms, boot_ms)) = story.last else {
            return;
        };
        let now: Time = said.time;
        let rebooted = match &said.told {
            Told::Start(start) => story.boot_id.as_ref() != Some(&start.0),
            // Between a crash and the start's own record a few others are written in the new boot.
            _ => !story.running,
        };
        if now.boot_ms < boot_ms && !rebooted {
            let what = "the boot clock ran back within one run".into();
            self.find(Level::Warning, Fault::Clock, what);
        }
        if now.wall_ms.saturating_add(CLOCK_TOLERANCE_MS) < wall_ms {
            let what = format!("the wall clock ran back by {} ms", wall_ms - now.wall_ms);
            self.find(Level::Warning, Fault::Clock, what);
        }
    }

    fn must_run(&mut self, seq: u64) {
        if !self.state.story.running {
            // Said once: from here it is taken to run.
            self.state.story.running = true;
            let what = format!("record {seq} was written while no daemon ran: no start before it");
            self.find(Level::Broken, Fault::Story, what);
        }
    }

    fn activation(&mut self, activation: &Activation, seq: u64) {
        if let Some((before, _)) = self.state.story.policy
            && activation.number <= before
        {
            let what = format!(
                "manifest {} was activated after manifest {before}",
                activation.number
            );
            self.find(Level::Broken, Fault::Policy, what);
        }
        if activation.policy_mode == "enforce" {
            self.end_span(SpanKind::NotEnforcing, seq);
        } else {
            self.state.story.not_enforcing.get_or_insert(seq);
        }
        if let Some(unknown) = &mut self.state.story.unknown {
            unknown.next_number.get_or_insert(activation.number);
        }
        self.state.story.policy = Some((activation.number, activation.digest));
    }

    fn decided_by(&mut self, policy: Option<&Hash>, seq: u64) {
        let story = &mut self.state.story;
        let in_force = match (&story.policy, &mut story.unknown) {
            (Some((_, digest)), _) => Some(*digest),
            (None, Some(unknown)) => {
                Some(*unknown.policy.get_or_insert(*policy.unwrap_or(&[0; 32])))
            }
            (None, None) => None,
        };
        if in_force.as_ref() != policy && self.state.prev.is_some() {
            let what =
                format!("record {seq} was decided by a policy that no activation had put in force");
            self.find(Level::Broken, Fault::Policy, what);
        }
    }

    /// What a removal says was in force where the rest begins.
    pub(super) fn policy_at_the_beginning(&mut self, in_force: Option<(u64, Hash)>, seq: u64) {
        let Some(unknown) = self.state.story.unknown.take() else {
            return;
        };
        let digest = in_force.map(|(_, digest)| digest);
        let number = in_force.map_or(0, |(number, _)| number);
        if unknown.policy.is_some() && unknown.policy != digest
            || unknown
                .next_number
                .is_some_and(|next| in_force.is_some() && next <= number)
        {
            let what = format!(
                "the policy of the first records that are left is not the one that record {seq} says was in force there"
            );
            self.find(Level::Broken, Fault::Policy, what);
        }
        let story = &mut self.state.story;
        story.policy = story.policy.or(in_force);
    }

    fn mode_span(&mut self, mode: RunMode, seq: u64) {
        match mode {
            RunMode::Development => {
                self.state.story.development.get_or_insert(seq);
            }
            RunMode::Enforced => self.end_span(SpanKind::Development, seq),
        }
    }

    fn end_span(&mut self, kind: SpanKind, before: u64) {
        let open = match kind {
            SpanKind::Development => &mut self.state.story.development,
            SpanKind::NotEnforcing => &mut self.state.story.not_enforcing,
        };
        if let Some(from) = open.take() {
            let to = before.saturating_sub(1);
            self.state.keep_span(Span { kind, from, to });
        }
    }

    /// The end of the journal ends what is still open.
    pub(super) fn close_spans(&mut self) {
        for kind in [SpanKind::Development, SpanKind::NotEnforcing] {
            self.end_span(kind, self.state.next_seq);
        }
    }
}
