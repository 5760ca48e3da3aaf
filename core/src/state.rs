//! What decisions remember: a fold over records. The same journal always makes the same state.
//!
//! Invariant: nothing else changes it. The sequencer applies a record's body when it gives out its number; recovery
//! applies the bodies of the journal in order, with the effects that lie in the details beside the decisions.

mod snapshot;
mod unattested;
mod windows;

pub use snapshot::{Point, SNAPSHOT_BYTES_MAX, SealedSegment, Snapshot, SnapshotInvalid};
pub use windows::{CALLERS_CONTRIBUTIONS_MAX, CONTRIBUTIONS_MAX, Effects};

use crate::decimal::Decimal;
use crate::decision::Effect;
use crate::record::{
    self, Activation, Body, BodyView, Door, Epoch, Gap, LogEvent, Removal, SessionStart, Time,
};
use crate::tree::Hash;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use unattested::Unattested;
use windows::{Since, Windows};

/// Permits of one caller that wait for their outcome; the oldest gives way. 8 KiB a session, and four times the calls
/// that one connection may have in flight.
const OPEN_PERMITS_MAX: usize = 1_024;

/// The fold.
///
/// A copy is cheap: sessions are shared until one of both changes, and then that session alone is copied (at most some
/// 256 KiB, see [`CALLERS_CONTRIBUTIONS_MAX`]).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    next_seq: u64,
    in_force: Option<InForce>,
    #[serde(with = "snapshot::shared")]
    sessions: BTreeMap<String, Arc<Session>>,
    /// Callers outside any session: development, where any of them can be any other. They begin with the daemon.
    outside: Calls,
    /// What the policy in force asks to be counted, by name, and since when one does.
    counted: BTreeMap<String, Since>,
    epoch: Option<Epoch>,
    attested: Option<Attested>,
    /// What they have not seen.
    unattested: Unattested,
    /// Below this number bodies were removed.
    removed: u64,
    /// What an operator gave up last: so many records that the signer had confirmed, their root, where it went on.
    given_up: Option<(u64, Hash, u64)>,
}

/// How far witnesses have seen the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attested {
    /// Records that a cosigned checkpoint covers.
    pub size: u64,
    /// When that was recorded.
    pub time: Time,
}

/// The policy that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its manifest's number.
    pub number: u64,
    /// Its artifact's SHA-256.
    pub digest: [u8; 32],
}

/// A session that is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The agent that it is.
    pub agent: String,
    /// The user of its processes.
    pub uid: u32,
    /// What it may write: a relative path in a call is read from here. Empty: not known.
    pub workspace: String,
    /// Layers that were probed from inside, and whether each was measured as holding.
    layers: BTreeMap<String, bool>,
    calls: Calls,
}

/// What is known of a caller's calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Calls {
    began_ms: u64,
    /// Decisions that it was given.
    count: u64,
    open: OpenPermits,
    windows: Windows,
}

/// What lies beside a record that was read back.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// The detail's bytes; empty where they were erased.
    pub detail: &'a [u8],
    /// The salt that the record's commitment to it was made with.
    pub salt: &'a [u8; 16],
}

impl Calls {
    fn since(time: Time) -> Calls {
        Calls {
            began_ms: time.boot_ms,
            ..Calls::default()
        }
    }
}

impl Session {
    /// Decisions that it was given.
    pub const fn calls(&self) -> u64 {
        self.calls.count
    }

    /// Whether a layer holds: it was probed, or some that it consists of (`landlock` of `landlock.fs.read`, …), and each
    /// of them was measured as holding. `None`: none of them was probed.
    pub fn holds(&self, layer: &str) -> Option<bool> {
        let part = |name: &str| {
            name.strip_prefix(layer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut probed = self
            .layers
            .iter()
            .filter(|(name, _)| part(name))
            .map(|(_, holds)| *holds)
            .peekable();
        probed.peek()?;
        Some(probed.all(|holds| holds))
    }
}

/// Numbers of permits whose outcome was not reported, in rising order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct OpenPermits(VecDeque<u64>);

impl OpenPermits {
    fn add(&mut self, seq: u64) {
        if self.0.len() >= OPEN_PERMITS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(seq);
    }

    fn holds(&self, seq: u64) -> bool {
        self.0.binary_search(&seq).is_ok()
    }

    fn close(&mut self, seq: u64) -> bool {
        let place = self.0.binary_search(&seq).ok();
        place.and_then(|place| self.0.remove(place)).is_some()
    }
}

/// Why a record cannot be the next one. In recovery it means that the journal is not ours; live, that we are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// Another number is due.
    #[error("record {found} where record {due} is due")]
    Number {
        /// What it says.
        found: u64,
        /// What is due.
        due: u64,
    },
    /// A manifest's number that does not rise.
    #[error("activation of manifest {found} after manifest {in_force}")]
    ManifestNotRising {
        /// What it says.
        found: u64,
        /// The one before.
        in_force: u64,
    },
    /// A session starts twice.
    #[error("session `{0}` starts while it lives")]
    SessionTwice(String),
    /// A decision for, or the end of, a session that is not alive.
    #[error("session `{0}` is not alive")]
    NoSuchSession(String),
    /// An epoch that is not the next one.
    #[error("epoch {found} begins after epoch {before}")]
    Epoch {
        /// What it says.
        found: u64,
        /// The one before.
        before: u64,
    },
    /// An attestation of records that were not yet there.
    #[error("record {seq} says that {size} records are attested")]
    AttestedAhead {
        /// What it says.
        size: u64,
        /// Its own number.
        seq: u64,
    },
    /// A gap that does not lie where the journal goes on, or in which nothing is lost.
    #[error("record {seq} says that of {confirmed} records {kept} were kept")]
    Gap {
        /// Records that there were.
        confirmed: u64,
        /// Records that it says were kept.
        kept: u64,
        /// Its own number.
        seq: u64,
    },
    /// A removal that does not begin where the one before ended, or takes what is not there.
    #[error(
        "record {seq} removes bodies from {from} to {to}, and those below {removed} are removed"
    )]
    Removal {
        /// Where it begins.
        from: u64,
        /// The first that stays.
        to: u64,
        /// Where the one before ended.
        removed: u64,
        /// Its own number.
        seq: u64,
    },
    /// An outcome of what is no permit of that caller, or whose outcome is known.
    #[error("record {0} is no permit of this caller that waits for its outcome")]
    NoSuchPermit(u64),
}

impl State {
    /// The state before the first record.
    pub fn new() -> State {
        State::default()
    }

    /// Takes in the record of that number.
    ///
    /// # Errors
    /// It cannot follow; the state is then unchanged.
    pub fn apply(&mut self, seq: u64, time: Time, body: &Body) -> Result<(), OutOfOrder> {
        self.take(seq, time, &Change::of(body))
    }

    /// The same for a record that was read back. A decision's effects are believed where its detail is what the record
    /// committed to; else they are lost, and windows over that time have no answer.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn apply_view(
        &mut self,
        seq: u64,
        time: Time,
        body: &BodyView,
        beside: Beside<'_>,
    ) -> Result<(), OutOfOrder> {
        let change = Change::of_view(body, beside, !self.counted.is_empty());
        self.take(seq, time, &change)
    }

    fn take(&mut self, seq: u64, time: Time, change: &Change<'_>) -> Result<(), OutOfOrder> {
        if seq != self.next_seq {
            return Err(OutOfOrder::Number {
                found: seq,
                due: self.next_seq,
            });
        }
        match change {
            Change::Activation(activation) => {
                let in_force = self.in_force.map(|policy| policy.number);
                if let Some(in_force) = in_force.filter(|in_force| *in_force >= activation.number) {
                    return Err(OutOfOrder::ManifestNotRising {
                        found: activation.number,
                        in_force,
                    });
                }
                self.in_force = Some(InForce {
                    number: activation.number,
                    digest: activation.digest,
                });
                self.count_from(seq, time, &activation.windows);
            }
            Change::Start { boot_id } => {
                self.outside = Calls::since(time);
                self.unattested.start(boot_id, time.boot_ms);
            }
            Change::SessionStart(start) => {
                if self.sessions.contains_key(&start.session) {
                    return Err(OutOfOrder::SessionTwice(start.session.clone()));
                }
                let session = Session {
                    agent: start.agent.clone(),
                    uid: start.uid,
                    workspace: start.workspace.clone(),
                    layers: start
                        .probes
                        .iter()
                        .map(|(layer, enforced, _)| (layer.clone(), *enforced))
                        .collect(),
                    calls: Calls::since(time),
                };
                self.sessions
                    .insert(start.session.clone(), Arc::new(session));
            }
            Change::SessionEnd(session) => {
                self.sessions
                    .remove(*session)
                    .ok_or_else(|| OutOfOrder::NoSuchSession((*session).to_owned()))?;
            }
            Change::Decision {
                session,
                permit,
                effects,
            } => {
                if let Some(calls) = calls_mut(&mut self.outside, &mut self.sessions, *session) {
                    calls.count = calls.count.saturating_add(1);
                    let effects = effects.as_deref();
                    let boot_ms = time.boot_ms;
                    calls.windows.take(seq, boot_ms, effects, &self.counted);
                    if *permit {
                        calls.open.add(seq);
                    }
                }
            }
            Change::Outcome { session, of } => {
                // Looked at first: what is refused must not copy a session that a snapshot shares.
                let awaited = self.awaits_outcome(*session, *of);
                let calls = calls_mut(&mut self.outside, &mut self.sessions, *session);
                if !awaited || !calls.is_some_and(|calls| calls.open.close(*of)) {
                    return Err(OutOfOrder::NoSuchPermit(*of));
                }
            }
            Change::Log(event) => self.about_the_log(seq, time, event)?,
            Change::None => {}
        }
        if !matches!(change, Change::Log(LogEvent::Attestation(_))) {
            self.unattested.record(seq, time.boot_ms);
        }
        self.next_seq += 1;
        Ok(())
    }

    fn about_the_log(&mut self, seq: u64, time: Time, event: &LogEvent) -> Result<(), OutOfOrder> {
        match event {
            LogEvent::Epoch(epoch) => {
                let before = self.epoch();
                if before.checked_add(1) != Some(epoch.number) {
                    return Err(OutOfOrder::Epoch {
                        found: epoch.number,
                        before,
                    });
                }
                self.epoch = Some(epoch.clone());
            }
            LogEvent::Attestation(attestation) => {
                if attestation.size > seq {
                    return Err(OutOfOrder::AttestedAhead {
                        size: attestation.size,
                        seq,
                    });
                }
                let attested = self.attested.map_or(0, |attested| attested.size);
                if attestation.size > attested {
                    let size = attestation.size;
                    self.attested = Some(Attested { size, time });
                    self.unattested.attested(size);
                }
            }
            LogEvent::Removal(removal) => {
                let Removal { from, to, .. } = *removal;
                if from != self.removed || to <= from || to > seq {
                    let removed = self.removed;
                    return Err(OutOfOrder::Removal {
                        from,
                        to,
                        removed,
                        seq,
                    });
                }
                self.removed = to;
            }
            LogEvent::Gap(gap) => {
                let Gap {
                    confirmed,
                    root,
                    kept,
                    ..
                } = *gap;
                if kept != seq || confirmed <= kept {
                    return Err(OutOfOrder::Gap {
                        confirmed,
                        kept,
                        seq,
                    });
                }
                self.given_up = Some((confirmed, root, kept));
            }
            LogEvent::Heartbeat | LogEvent::Snapshot(_) | LogEvent::Erasure(_) => {}
        }
        Ok(())
    }

    /// The epoch whose key signs the checkpoints after the last record: 1 until a record says another.
    pub fn epoch(&self) -> u64 {
        self.epoch.as_ref().map_or(1, |epoch| epoch.number)
    }

    /// The last epoch's record; `None` in the first, whose key is pinned.
    pub const fn epoch_record(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// Up to where witnesses attest the journal, and when that was recorded.
    pub const fn attested(&self) -> Option<Attested> {
        self.attested
    }

    /// For how long the oldest record has waited that no witness has seen, milliseconds on the boot clock, to a second at
    /// best and never too short. Attestations wait for nobody, and a reboot begins the waiting anew. `None`: none waits.
    pub fn unattested_ms(&self, now: Time) -> Option<u64> {
        let since_ms = self.unattested.since_ms()?;
        Some(now.boot_ms.saturating_sub(since_ms))
    }

    /// Since when it waits, milliseconds on the boot clock: see [`State::unattested_ms`].
    pub fn unattested_since_ms(&self) -> Option<u64> {
        self.unattested.since_ms()
    }

    /// What a policy asks for is counted from here on, and what one before it asked for too, from there on.
    fn count_from(&mut self, seq: u64, time: Time, windows: &[String]) {
        let boot_ms = time.boot_ms;
        let from_here = Since { seq, boot_ms };
        let since = |name: &String| self.counted.get(name).copied().unwrap_or(from_here);
        self.counted = windows
            .iter()
            .map(|name| (name.clone(), since(name)))
            .collect();
        self.outside.windows.keep(&self.counted);
        for session in self.sessions.values_mut() {
            Arc::make_mut(session).calls.windows.keep(&self.counted);
        }
    }

    /// Whether a record says that this was given up.
    pub fn has_given_up(&self, gap: &Gap) -> bool {
        self.given_up == Some((gap.confirmed, gap.root, gap.kept))
    }

    /// Records below this number have no bodies any more: a `removal` record says so.
    pub const fn removed(&self) -> u64 {
        self.removed
    }

    /// The number that the next record gets.
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The policy of the last activation.
    pub const fn in_force(&self) -> Option<InForce> {
        self.in_force
    }

    /// Whether that record is a permit of this caller (`None`: outside any session) whose outcome was not reported yet.
    /// Of a caller that does not report its outcomes only the last thousand are remembered.
    pub fn awaits_outcome(&self, session: Option<&str>, of: u64) -> bool {
        self.calls(session)
            .is_some_and(|calls| calls.open.holds(of))
    }

    /// What the window of that name holds for a caller (`None`: outside any session): what its records before this one
    /// added in the last `window_ms` milliseconds of the boot clock, or since it began. A record of the same millisecond
    /// counts. Names are those of [`crate::policy::windows`]. No answer is *maybe*: no such caller, nothing counted for
    /// all of that time, a summand without a number, or more contributions than are remembered.
    pub fn counted(
        &self,
        session: Option<&str>,
        name: &str,
        window_ms: Option<u64>,
        now: Time,
    ) -> Option<Decimal> {
        let since = *self.counted.get(name)?;
        let from_ms = window_ms.map(|window_ms| now.boot_ms.saturating_sub(window_ms));
        self.calls(session)?.windows.sum(name, from_ms, since)
    }

    /// Decisions that a caller was given before this one; callers outside any session together, since the daemon's start.
    pub fn call_count(&self, session: Option<&str>) -> Option<u64> {
        self.calls(session).map(|calls| calls.count)
    }

    /// Milliseconds on the boot clock since a caller began; outside any session: since the daemon's start.
    pub fn duration_ms(&self, session: Option<&str>, now: Time) -> Option<u64> {
        self.calls(session)
            .map(|calls| now.boot_ms.saturating_sub(calls.began_ms))
    }

    fn calls(&self, session: Option<&str>) -> Option<&Calls> {
        match session {
            None => Some(&self.outside),
            Some(id) => self.sessions.get(id).map(|session| &session.calls),
        }
    }

    /// A session, while it is alive.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id).map(Arc::as_ref)
    }

    /// Every session that is alive, by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (&str, &Session)> {
        self.sessions
            .iter()
            .map(|(id, session)| (id.as_str(), session.as_ref()))
    }
}

fn calls_mut<'s>(
    outside: &'s mut Calls,
    sessions: &'s mut BTreeMap<String, Arc<Session>>,
    session: Option<&str>,
) -> Option<&'s mut Calls> {
    match session {
        None => Some(outside),
        Some(id) => sessions
            .get_mut(id)
            .map(|session| &mut Arc::make_mut(session).calls),
    }
}

/// What a record changes, whether it is being written or was read back.
enum Change<'a> {
    Start {
        boot_id: &'a str,
    },
    Activation(&'a Activation),
    SessionStart(&'a SessionStart),
    SessionEnd(&'a str),
    Decision {
        session: Option<&'a str>,
        /// Something may be done on it: a probe is none.
        permit: bool,
        /// `None`: they are lost.
        effects: Option<Cow<'a, Effects>>,
    },
    Outcome {
        session: Option<&'a str>,
        of: u64,
    },
    Log(&'a LogEvent),
    None,
}

impl<'a> Change<'a> {
    fn of(body: &'a Body) -> Change<'a> {
        match body {
            Body::Activation(activation) => Change::Activation(activation),
            Body::SessionStart(start) => Change::SessionStart(start),
            Body::SessionEnd { session, .. } => Change::SessionEnd(session),
            Body::Decision(decision) => Change::Decision {
                session: decision.session.as_deref(),
                permit: decision.decision.effect == Effect::Permit && decision.door == Door::Govern,
                effects: Some(Cow::Borrowed(&decision.effects)),
            },
            Body::Outcome(outcome) => Change::Outcome {
                session: outcome.session.as_deref(),
                of: outcome.of,
            },
            Body::Start(start) => Change::Start {
                boot_id: &start.boot_id,
            },
            Body::Log(event) => Change::Log(event),
            Body::Stop { .. } | Body::Dropped { .. } | Body::ClockStep { .. } => Change::None,
        }
    }

    /// `counts`: some policy asks what decisions add up to. Where none does, nothing looks into the details.
    fn of_view(body: &'a BodyView, beside: Beside<'_>, counts: bool) -> Change<'a> {
        match body {
            BodyView::Activation(activation) => Change::Activation(activation),
            BodyView::SessionStart(start) => Change::SessionStart(start),
            BodyView::SessionEnd { session, .. } => Change::SessionEnd(session),
            BodyView::Decision(decision) => Change::Decision {
                session: decision.session.as_deref(),
                permit: decision.effect == Effect::Permit && decision.door == Door::Govern,
                effects: if counts {
                    effects(&decision.detail, beside).map(Cow::Owned)
                } else {
                    Some(Cow::Owned(Effects::new()))
                },
            },
            BodyView::Outcome(outcome) => Change::Outcome {
                session: outcome.session.as_deref(),
                of: outcome.of,
            },
            BodyView::Start(start) => Change::Start {
                boot_id: &start.boot_id,
            },
            BodyView::Log(event) => Change::Log(event),
            BodyView::Stop { .. } | BodyView::Dropped { .. } | BodyView::ClockStep { .. } => {
                Change::None
            }
        }
    }
}

/// A decision's effects, where its detail is what the record committed to.
fn effects(committed: &[u8; 32], beside: Beside<'_>) -> Option<Effects> {
    let is_it = record::commitment(beside.salt, beside.detail) == *committed;
    is_it
        .then(|| record::detail_effects(beside.detail))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Attestation, DecisionRecord, Outcome};

    const AT: Time = Time {
        wall_ms: 0,
        boot_ms: 0,
    };

    fn activation(number: u64) -> Body {
        let policy_mode = "enforce".to_owned();
        Body::Activation(Activation {
            number,
            digest: [7; 32],
            manifest: [8; 32],
            policy_mode,
            windows: Vec::new(),
        })
    }

    fn start(session: &str) -> Body {
        Body::SessionStart(Box::new(SessionStart {
            session: session.to_owned(),
            agent: "bot".to_owned(),
            uid: 1001,
            pid: 2,
            start_ticks: 3,
            boot_id: String::new(),
            workspace: String::new(),
            cgroup: String::new(),
            command: Vec::new(),
            stripped_env: Vec::new(),
            probes: Vec::new(),
        }))
    }

    fn end(session: &str) -> Body {
        Body::SessionEnd {
            session: session.to_owned(),
            reason: "exit".to_owned(),
            calls: 0,
        }
    }

    #[test]
    fn records_are_taken_in_order_and_each_once() {
        let mut state = State::new();
        assert_eq!(state.apply(0, AT, &Body::ClockStep { step_ms: 1 }), Ok(()));
        for seq in [0, 2] {
            let refused = state.apply(seq, AT, &Body::ClockStep { step_ms: 1 });
            assert_eq!(refused, Err(OutOfOrder::Number { found: seq, due: 1 }));
        }
        assert_eq!(state.next_seq(), 1);
    }

    #[test]
    fn epochs_follow_one_another_and_the_first_needs_no_record() {
        let epoch = |number| {
            let key = String::new();
            Body::Log(LogEvent::Epoch(Epoch { number, key }))
        };
        let mut state = State::new();
        assert_eq!(state.epoch(), 1);
        for found in [0, 1, 3] {
            let refused = state.apply(0, AT, &epoch(found));
            assert_eq!(refused, Err(OutOfOrder::Epoch { found, before: 1 }));
        }
        state.apply(0, AT, &epoch(2)).unwrap();
        assert_eq!(state.epoch(), 2);
    }

    #[test]
    fn a_gap_lies_where_the_journal_goes_on_and_bodies_are_removed_from_the_oldest_on() {
        let gap = |confirmed, kept| Gap {
            confirmed,
            root: [3; 32],
            kept,
            uid: 0,
            reason: String::new(),
        };
        let removal = |from, to| {
            Body::Log(LogEvent::Removal(Removal {
                from,
                to,
                in_force: None,
                reason: String::new(),
            }))
        };
        let body = |gap| Body::Log(LogEvent::Gap(gap));
        let mut state = State::new();
        state.apply(0, AT, &Body::Log(LogEvent::Heartbeat)).unwrap();
        for (confirmed, kept) in [(9, 0), (9, 2), (1, 1)] {
            let refused = state.apply(1, AT, &body(gap(confirmed, kept)));
            assert!(matches!(refused, Err(OutOfOrder::Gap { .. })), "{kept}");
        }
        state.apply(1, AT, &body(gap(9, 1))).unwrap();
        assert!(state.has_given_up(&gap(9, 1)));
        assert!(!state.has_given_up(&gap(8, 1)));
        for (from, to) in [(0, 0), (1, 2), (0, 3)] {
            let refused = state.apply(2, AT, &removal(from, to));
            assert!(matches!(refused, Err(OutOfOrder::Removal { .. })), "{to}");
        }
        state.apply(2, AT, &removal(0, 2)).unwrap();
        state.apply(3, AT, &removal(2, 3)).unwrap();
        assert_eq!(state.removed(), 3);
    }

    #[test]
    fn what_is_attested_only_grows_and_is_never_ahead_of_the_journal() {
        let attestation = |size| {
            Body::Log(LogEvent::Attestation(Attestation {
                size,
                root: [0; 32],
                witnesses: Vec::new(),
                note: String::new(),
            }))
        };
        let mut state = State::new();
        state.apply(0, AT, &Body::Log(LogEvent::Heartbeat)).unwrap();
        let ahead = OutOfOrder::AttestedAhead { size: 2, seq: 1 };
        assert_eq!(state.apply(1, AT, &attestation(2)), Err(ahead));
        state.apply(1, AT, &attestation(1)).unwrap();
        state.apply(2, AT, &attestation(0)).unwrap();
        assert_eq!(state.attested(), Some(Attested { size: 1, time: AT }));
    }

    #[test]
    fn a_record_waits_until_an_attestation_covers_it_and_attestations_wait_for_nobody() {
        let at = |boot_ms| Time {
            wall_ms: 0,
            boot_ms,
        };
        let attestation = |size| {
            Body::Log(LogEvent::Attestation(Attestation {
                size,
                root: [0; 32],
                witnesses: Vec::new(),
                note: String::new(),
            }))
        };
        let heartbeat = Body::Log(LogEvent::Heartbeat);
        let mut state = State::new();
        assert_eq!(state.unattested_ms(at(9)), None);
        state.apply(0, at(1_000), &heartbeat).unwrap();
        state.apply(1, at(4_000), &heartbeat).unwrap();
        assert_eq!(state.unattested_ms(at(5_000)), Some(4_000));
        state.apply(2, at(6_000), &attestation(1)).unwrap();
        assert_eq!(state.unattested_ms(at(7_000)), Some(3_000));
        state.apply(3, at(8_000), &attestation(2)).unwrap();
        assert_eq!(state.unattested_ms(at(90_000)), None);
        state.apply(4, at(91_000), &heartbeat).unwrap();
        assert_eq!(state.unattested_ms(at(91_000)), Some(0));
    }

    #[test]
    fn the_last_activation_is_in_force_and_numbers_only_rise() {
        let mut state = State::new();
        assert_eq!(state.in_force(), None);
        state.apply(0, AT, &activation(4)).unwrap();
        for number in [4, 3] {
            let refused = state.apply(1, AT, &activation(number));
            assert_eq!(
                refused,
                Err(OutOfOrder::ManifestNotRising {
                    found: number,
                    in_force: 4
                })
            );
        }
        state.apply(1, AT, &activation(9)).unwrap();
        assert_eq!(
            state.in_force(),
            Some(InForce {
                number: 9,
                digest: [7; 32]
            })
        );
    }

    #[test]
    fn a_session_is_alive_from_its_start_to_its_end() {
        let mut state = State::new();
        state.apply(0, AT, &start("s1")).unwrap();
        assert_eq!(
            state.session("s1").map(|session| session.agent.as_str()),
            Some("bot")
        );
        assert_eq!(
            state.apply(1, AT, &start("s1")),
            Err(OutOfOrder::SessionTwice("s1".to_owned()))
        );
        state.apply(1, AT, &end("s1")).unwrap();
        assert_eq!(state.session("s1"), None);
        assert_eq!(
            state.apply(2, AT, &end("s1")),
            Err(OutOfOrder::NoSuchSession("s1".to_owned()))
        );
    }

    fn decision(session: Option<&str>, effect: Effect, door: Door) -> Body {
        let mut decision =
            crate::decision::Decision::refused(crate::decision::Code::PolicyDeny, "");
        decision.effect = effect;
        Body::Decision(Box::new(DecisionRecord {
            session: session.map(str::to_owned),
            agent: "bot".to_owned(),
            attested: session.is_some(),
            uid: 1001,
            door,
            tool: "a/b".to_owned(),
            policy: [7; 32],
            decision,
            effects: Vec::new(),
            arguments: "{}".to_owned(),
            args_salt: [0; 16],
            detail_salt: [0; 16],
        }))
    }

    fn outcome(session: Option<&str>, of: u64) -> Body {
        Body::Outcome(Outcome {
            session: session.map(str::to_owned),
            of,
            status: "succeeded".to_owned(),
            result_digest: None,
            detail: String::new(),
        })
    }

    /// Records from 0 on.
    fn state(bodies: &[Body]) -> State {
        let mut state = State::new();
        for (seq, body) in (0..).zip(bodies) {
            state.apply(seq, AT, body).unwrap();
        }
        state
    }

    #[test]
    fn an_outcome_is_taken_once_and_only_from_the_session_that_was_permitted() {
        let permit = decision(Some("s1"), Effect::Permit, Door::Govern);
        let mut state = state(&[start("s1"), start("s2"), permit]);
        for (session, of) in [
            (Some("s2"), 2),
            (None, 2),
            (Some("gone"), 2),
            (Some("s1"), 1),
        ] {
            let refused = state.apply(3, AT, &outcome(session, of));
            assert_eq!(refused, Err(OutOfOrder::NoSuchPermit(of)), "{session:?}");
            assert!(!state.awaits_outcome(session, of), "{session:?}");
        }
        assert!(state.awaits_outcome(Some("s1"), 2));
        state.apply(3, AT, &outcome(Some("s1"), 2)).unwrap();
        let again = state.apply(4, AT, &outcome(Some("s1"), 2));
        assert_eq!(again, Err(OutOfOrder::NoSuchPermit(2)));
    }

    #[test]
    fn a_denial_a_deferral_and_a_probe_have_no_outcome() {
        for (effect, door) in [
            (Effect::Deny, Door::Govern),
            (Effect::Defer, Door::Govern),
            (Effect::Permit, Door::Probe),
        ] {
            for session in [Some("s1"), None] {
                let state = state(&[start("s1"), decision(session, effect, door)]);
                assert!(!state.awaits_outcome(session, 1), "{effect:?} {door:?}");
            }
        }
    }

    #[test]
    fn of_a_session_that_reports_nothing_the_last_thousand_permits_are_remembered() {
        let mut bodies = vec![start("s1")];
        let permit = || decision(Some("s1"), Effect::Permit, Door::Govern);
        bodies.extend((0..=OPEN_PERMITS_MAX).map(|_| permit()));
        let state = state(&bodies);
        assert!(!state.awaits_outcome(Some("s1"), 1));
        assert!(state.awaits_outcome(Some("s1"), 2));
    }
}
