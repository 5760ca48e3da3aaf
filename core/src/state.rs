//! What decisions remember: a fold over records. The same journal always makes the same state.
//!
//! Invariant: nothing else changes it. The sequencer applies a record's body when it gives out its number; recovery
//! applies the bodies of the journal in order.

use crate::record::{Activation, Body, BodyView, SessionStart};
use std::collections::BTreeMap;

/// The fold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    next_seq: u64,
    in_force: Option<InForce>,
    sessions: BTreeMap<String, Session>,
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
                };
                self.sessions.insert(start.session.clone(), session);
            }
            Change::SessionEnd(session) => {
                self.sessions
                    .remove(*session)
                    .ok_or_else(|| OutOfOrder::NoSuchSession((*session).to_owned()))?;
            }
            Change::Decision(session) => {
                if let Some(session) = session.and_then(|id| self.sessions.get_mut(id)) {
                    session.calls = session.calls.saturating_add(1);
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
    Decision(Option<&'a str>),
    None,
}

impl<'a> Change<'a> {
    fn of(body: &'a Body) -> Change<'a> {
        match body {
            Body::Activation(activation) => Change::Activation(activation),
            Body::SessionStart(start) => Change::SessionStart(start),
            Body::SessionEnd { session, .. } => Change::SessionEnd(session),
            Body::Decision(decision) => Change::Decision(decision.session.as_deref()),
            Body::Start(_)
            | Body::Stop { .. }
            | Body::Outcome(_)
            | Body::Dropped { .. }
            | Body::ClockStep { .. } => Change::None,
        }
    }

    fn of_view(body: &'a BodyView) -> Change<'a> {
        match body {
            BodyView::Activation(activation) => Change::Activation(activation),
            BodyView::SessionStart(start) => Change::SessionStart(start),
            BodyView::SessionEnd { session, .. } => Change::SessionEnd(session),
            BodyView::Decision(decision) => Change::Decision(decision.session.as_deref()),
            BodyView::Start(_)
            | BodyView::Stop { .. }
            | BodyView::Outcome(_)
            | BodyView::Dropped { .. }
            | BodyView::ClockStep { .. } => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
