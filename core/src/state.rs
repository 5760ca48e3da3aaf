//! What decisions remember: a fold over records. The same journal always makes the same state.
//!
//! Invariant: nothing else changes it. The sequencer applies a record's body when it gives out its number; recovery
//! applies the bodies of the journal in order.

use crate::decision::Effect;
use crate::record::{Activation, Body, BodyView, Door, SessionStart};
use std::collections::{BTreeMap, VecDeque};

/// Permits of one caller that wait for their outcome; the oldest gives way. 8 KiB a session, and four times the calls
/// that one connection may have in flight.
const OPEN_PERMITS_MAX: usize = 1_024;

/// The fold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    next_seq: u64,
    in_force: Option<InForce>,
    sessions: BTreeMap<String, Session>,
    /// Of callers outside any session: development, where any of them can be any other.
    open_outside: OpenPermits,
}

/// The policy that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Its manifest's number.
    pub number: u64,
    /// Its artifact's SHA-256.
    pub digest: [u8; 32],
}

/// A session that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The agent that it is.
    pub agent: String,
    /// The user of its processes.
    pub uid: u32,
    /// Decisions that it was given.
    pub calls: u64,
    open: OpenPermits,
}

/// Numbers of permits whose outcome was not reported, in rising order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    pub fn apply(&mut self, seq: u64, body: &Body) -> Result<(), OutOfOrder> {
        self.take(seq, &Change::of(body))
    }

    /// The same for a record that was read back.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn apply_view(&mut self, seq: u64, body: &BodyView) -> Result<(), OutOfOrder> {
        self.take(seq, &Change::of_view(body))
    }

    fn take(&mut self, seq: u64, change: &Change<'_>) -> Result<(), OutOfOrder> {
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
            }
            Change::SessionStart(start) => {
                if self.sessions.contains_key(&start.session) {
                    return Err(OutOfOrder::SessionTwice(start.session.clone()));
                }
                let session = Session {
                    agent: start.agent.clone(),
                    uid: start.uid,
                    calls: 0,
                    open: OpenPermits::default(),
                };
                self.sessions.insert(start.session.clone(), session);
            }
            Change::SessionEnd(session) => {
                self.sessions
                    .remove(*session)
                    .ok_or_else(|| OutOfOrder::NoSuchSession((*session).to_owned()))?;
            }
            Change::Decision { session, permit } => {
                let session = session.map(|id| self.sessions.get_mut(id));
                let open = match session {
                    None => Some(&mut self.open_outside),
                    Some(None) => None,
                    Some(Some(session)) => {
                        session.calls = session.calls.saturating_add(1);
                        Some(&mut session.open)
                    }
                };
                if let Some(open) = open.filter(|_| *permit) {
                    open.add(seq);
                }
            }
            Change::Outcome { session, of } => {
                let open = match session {
                    None => Some(&mut self.open_outside),
                    Some(id) => self.sessions.get_mut(*id).map(|session| &mut session.open),
                };
                if !open.is_some_and(|open| open.close(*of)) {
                    return Err(OutOfOrder::NoSuchPermit(*of));
                }
            }
            Change::None => {}
        }
        self.next_seq += 1;
        Ok(())
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
        let open = match session {
            None => Some(&self.open_outside),
            Some(id) => self.sessions.get(id).map(|session| &session.open),
        };
        open.is_some_and(|open| open.holds(of))
    }

    /// A session, while it is alive.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// Every session that is alive, by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (&str, &Session)> {
        self.sessions
            .iter()
            .map(|(id, session)| (id.as_str(), session))
    }
}

/// What a record changes, whether it is being written or was read back.
enum Change<'a> {
    Activation(&'a Activation),
    SessionStart(&'a SessionStart),
    SessionEnd(&'a str),
    Decision {
        session: Option<&'a str>,
        /// Something may be done on it: a probe is none.
        permit: bool,
    },
    Outcome {
        session: Option<&'a str>,
        of: u64,
    },
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
            },
            Body::Outcome(outcome) => Change::Outcome {
                session: outcome.session.as_deref(),
                of: outcome.of,
            },
            Body::Start(_) | Body::Stop { .. } | Body::Dropped { .. } | Body::ClockStep { .. } => {
                Change::None
            }
        }
    }

    fn of_view(body: &'a BodyView) -> Change<'a> {
        match body {
            BodyView::Activation(activation) => Change::Activation(activation),
            BodyView::SessionStart(start) => Change::SessionStart(start),
            BodyView::SessionEnd { session, .. } => Change::SessionEnd(session),
            BodyView::Decision(decision) => Change::Decision {
                session: decision.session.as_deref(),
                permit: decision.effect == Effect::Permit && decision.door == Door::Govern,
            },
            BodyView::Outcome(outcome) => Change::Outcome {
                session: outcome.session.as_deref(),
                of: outcome.of,
            },
            BodyView::Start(_)
            | BodyView::Stop { .. }
            | BodyView::Dropped { .. }
            | BodyView::ClockStep { .. } => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DecisionRecord, Outcome};

    fn activation(number: u64) -> Body {
        let policy_mode = "enforce".to_owned();
        Body::Activation(Activation {
            number,
            digest: [7; 32],
            manifest: [8; 32],
            policy_mode,
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
        assert_eq!(state.apply(0, &Body::ClockStep { step_ms: 1 }), Ok(()));
        for seq in [0, 2] {
            let refused = state.apply(seq, &Body::ClockStep { step_ms: 1 });
            assert_eq!(refused, Err(OutOfOrder::Number { found: seq, due: 1 }));
        }
        assert_eq!(state.next_seq(), 1);
    }

    #[test]
    fn the_last_activation_is_in_force_and_numbers_only_rise() {
        let mut state = State::new();
        assert_eq!(state.in_force(), None);
        state.apply(0, &activation(4)).unwrap();
        for number in [4, 3] {
            let refused = state.apply(1, &activation(number));
            assert_eq!(
                refused,
                Err(OutOfOrder::ManifestNotRising {
                    found: number,
                    in_force: 4
                })
            );
        }
        state.apply(1, &activation(9)).unwrap();
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
        state.apply(0, &start("s1")).unwrap();
        assert_eq!(
            state.session("s1").map(|session| session.agent.as_str()),
            Some("bot")
        );
        assert_eq!(
            state.apply(1, &start("s1")),
            Err(OutOfOrder::SessionTwice("s1".to_owned()))
        );
        state.apply(1, &end("s1")).unwrap();
        assert_eq!(state.session("s1"), None);
        assert_eq!(
            state.apply(2, &end("s1")),
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
            line: None,
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
            state.apply(seq, body).unwrap();
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
            let refused = state.apply(3, &outcome(session, of));
            assert_eq!(refused, Err(OutOfOrder::NoSuchPermit(of)), "{session:?}");
            assert!(!state.awaits_outcome(session, of), "{session:?}");
        }
        assert!(state.awaits_outcome(Some("s1"), 2));
        state.apply(3, &outcome(Some("s1"), 2)).unwrap();
        let again = state.apply(4, &outcome(Some("s1"), 2));
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
