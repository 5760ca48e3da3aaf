//! What an agent may ask: `Govern`, `Can`, `ReportOutcome`.
//!
//! Invariants: a connection's caller is fixed when it is accepted, from what the kernel says; each request goes
//! `accept` → `attest` → engine, and whatever ends it earlier is a denial that is counted. A "no" is an ordinary reply.
#![forbid(unsafe_code)]

use crate::engine::{Answer, Engine, Lane, Refusal};
use crate::listen;
use crate::reply::{self, Audience};
use crate::sessions::Session;
use faramesh_core::call;
use faramesh_core::decision::Code;
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::record::{Door, Outcome};
use faramesh_proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Notify, oneshot};
use tonic::{Request, Response, Status};

/// Untrusted words that come with an outcome, bytes: as the wire says.
const OUTCOME_DETAIL_BYTES_MAX: usize = 256;
/// SHA-256.
const DIGEST_BYTES: usize = 32;

/// Who is at the other end of a connection, as far as it will ever be known.
#[derive(Debug, Clone)]
pub enum Who {
    /// A process of a sealed session.
    Member {
        /// The session, agent and user.
        caller: Caller,
        /// The session's id: its lane, and what refusals are counted by.
        session: Arc<str>,
        /// Decisions that the session was given.
        calls: Arc<AtomicU64>,
    },
    /// Outside any session, where that is allowed at all: development.
    Unattested {
        /// The peer's user.
        uid: u32,
    },
    /// Nobody that the kernel vouches for: every call is refused with this reason.
    Unverified(String),
}

impl Who {
    /// A member of a sealed session.
    #[must_use]
    pub fn member(session: &Session) -> Who {
        Who::Member {
            caller: Caller::Session {
                session: session.id.clone(),
                agent: session.agent.clone(),
                uid: session.uid,
            },
            session: session.id.clone(),
            calls: session.calls.clone(),
        }
    }

    fn session(&self) -> Option<&str> {
        match self {
            Who::Member { session, .. } => Some(session),
            Who::Unattested { .. } | Who::Unverified(_) => None,
        }
    }
}

/// Whether calls are taken, and how many wait for their answer.
#[derive(Clone, Default)]
pub struct Intake(Arc<IntakeState>);

#[derive(Default)]
struct IntakeState {
    closed: AtomicBool,
    waiting: AtomicUsize,
    empty: Notify,
}

/// A call that waits for its answer.
struct Waiting(Arc<IntakeState>);

impl Intake {
    /// From here on every call is `DAEMON_NOT_READY`.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// Returns when no call waits for its answer.
    pub async fn empty(&self) {
        loop {
            let empty = self.0.empty.notified();
            if self.0.waiting.load(Ordering::Relaxed) == 0 {
                return;
            }
            empty.await;
        }
    }

    fn enter(&self) -> Result<Waiting, Refusal> {
        if self.is_closed() {
            return Err(Refusal::new(
                Code::DaemonNotReady,
                "the daemon is draining and takes no more calls",
            ));
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Waiting(self.0.clone()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            // One permit is kept for a drain that has not begun to wait.
            self.0.empty.notify_one();
        }
    }
}

/// The agent's side of one connection.
pub struct AgentService {
    engine: Engine,
    intake: Intake,
    who: Who,
}

impl AgentService {
    /// For a connection of `who`.
    #[must_use]
    pub fn new(engine: Engine, intake: Intake, who: Who) -> AgentService {
        AgentService {
            engine,
            intake,
            who,
        }
    }

    /// One question, from bytes to an answer that is durable, or to a refusal.
    async fn decide(&self, request: v1::GovernRequest, door: Door) -> v1::GovernReply {
        match self.submit(&request, door) {
            Ok((waiting, answer)) => {
                let answer = settled(answer).await;
                drop(waiting);
                match answer {
                    Ok(committed) => reply::committed(committed, Audience::Agent),
                    Err(refusal) => reply::refused(&refusal),
                }
            }
            Err(refusal) => reply::refused(&refusal),
        }
    }

    fn submit(
        &self,
        request: &v1::GovernRequest,
        door: Door,
    ) -> Result<(Waiting, oneshot::Receiver<Answer>), Refusal> {
        let waiting = self
            .intake
            .enter()
            .map_err(|refusal| self.counted(refusal))?;
        let attested = self
            .attested(request)
            .map_err(|refusal| self.counted(refusal))?;
        // The engine counts its own refusals.
        let answer = self.engine.submit(self.lane(), attested, door)?;
        if let Who::Member { calls, .. } = &self.who {
            calls.fetch_add(1, Ordering::Relaxed);
        }
        Ok((waiting, answer))
    }

    fn attested(&self, request: &v1::GovernRequest) -> Result<Attested, Refusal> {
        let caller = self.caller()?;
        let call = call::accept(&request.tool, &request.agent, &request.arguments)
            .map_err(|invalid| Refusal::new(Code::CallInvalid, invalid.to_string()))?;
        attest(call, caller)
            .map_err(|unverified| Refusal::new(Code::IdentityUnverified, unverified.to_string()))
    }

    fn caller(&self) -> Result<Caller, Refusal> {
        match &self.who {
            Who::Member { caller, .. } => Ok(caller.clone()),
            Who::Unattested { uid } => Ok(Caller::Unattested { uid: *uid }),
            Who::Unverified(reason) => Err(Refusal::new(Code::IdentityUnverified, reason.clone())),
        }
    }

    fn lane(&self) -> Lane {
        match &self.who {
            Who::Member { session, .. } => Lane::session(session),
            Who::Unattested { uid } => Lane::user(*uid),
            // Never submits.
            Who::Unverified(_) => Lane::user(u32::MAX),
        }
    }

    fn counted(&self, refusal: Refusal) -> Refusal {
        self.engine.dropped(self.who.session(), refusal.code);
        refusal
    }

    async fn report(&self, request: v1::OutcomeRequest) -> Result<(), Refusal> {
        let waiting = self
            .intake
            .enter()
            .map_err(|refusal| self.counted(refusal))?;
        let caller = self.caller().map_err(|refusal| self.counted(refusal))?;
        let session = match caller {
            Caller::Session { session, .. } => Some(session.to_string()),
            Caller::Unattested { .. } => None,
        };
        let outcome = outcome(request, session).map_err(|refusal| self.counted(refusal))?;
        let answer = self.engine.report(self.lane(), outcome)?;
        let answer = settled(answer).await.map(|_committed| ());
        drop(waiting);
        answer
    }
}

/// An answer, or why there is none. After a fatal error the engine stays silent and the process ends.
async fn settled(answer: oneshot::Receiver<Answer>) -> Answer {
    answer.await.unwrap_or_else(|_| {
        Err(Refusal::internal(
            "the decision was lost before it was recorded",
        ))
    })
}

fn outcome(request: v1::OutcomeRequest, session: Option<String>) -> Result<Outcome, Refusal> {
    let invalid = |message: &str| Refusal::new(Code::CallInvalid, message);
    let status = match request.status() {
        v1::OutcomeStatus::Succeeded => "succeeded",
        v1::OutcomeStatus::Failed => "failed",
        v1::OutcomeStatus::Unknown => "unknown",
        v1::OutcomeStatus::Unspecified => {
            return Err(invalid("status: succeeded, failed or unknown must be said"));
        }
    };
    let result_digest = match request.result_digest.len() {
        0 => None,
        DIGEST_BYTES => request.result_digest.as_slice().try_into().ok(),
        _ => return Err(invalid("result_digest: neither empty nor 32 bytes")),
    };
    if request.detail.len() > OUTCOME_DETAIL_BYTES_MAX {
        return Err(invalid("detail: more than 256 bytes"));
    }
    Ok(Outcome {
        session,
        of: request.leaf_index,
        status: status.to_owned(),
        result_digest,
        detail: request.detail,
    })
}

#[tonic::async_trait]
impl v1::agent_server::Agent for AgentService {
    async fn govern(
        &self,
        request: Request<v1::GovernRequest>,
    ) -> Result<Response<v1::GovernReply>, Status> {
        listen::arrived(&request);
        Ok(Response::new(
            self.decide(request.into_inner(), Door::Govern).await,
        ))
    }

    async fn can(
        &self,
        request: Request<v1::GovernRequest>,
    ) -> Result<Response<v1::GovernReply>, Status> {
        listen::arrived(&request);
        Ok(Response::new(
            self.decide(request.into_inner(), Door::Probe).await,
        ))
    }

    async fn report_outcome(
        &self,
        request: Request<v1::OutcomeRequest>,
    ) -> Result<Response<v1::OutcomeReply>, Status> {
        listen::arrived(&request);
        let reply = match self.report(request.into_inner()).await {
            Ok(()) => v1::OutcomeReply::default(),
            Err(refusal) => v1::OutcomeReply {
                code: refusal.code.as_str().to_owned(),
                message: refusal.message,
            },
        };
        Ok(Response::new(reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> v1::OutcomeRequest {
        v1::OutcomeRequest {
            leaf_index: 7,
            status: v1::OutcomeStatus::Succeeded.into(),
            result_digest: vec![],
            detail: String::new(),
        }
    }

    #[test]
    fn an_outcome_names_its_decision_and_its_session() {
        let outcome = outcome(report(), Some("s1".into())).unwrap();
        assert_eq!(
            (
                outcome.of,
                outcome.status.as_str(),
                outcome.session.as_deref()
            ),
            (7, "succeeded", Some("s1"))
        );
    }

    #[test]
    fn an_outcome_without_a_status_or_with_half_a_digest_or_a_novel_is_invalid() {
        let cases = [
            v1::OutcomeRequest {
                status: 0,
                ..report()
            },
            v1::OutcomeRequest {
                status: 99,
                ..report()
            },
            v1::OutcomeRequest {
                result_digest: vec![0; 31],
                ..report()
            },
            v1::OutcomeRequest {
                detail: "x".repeat(257),
                ..report()
            },
        ];
        for case in cases {
            assert_eq!(outcome(case, None).unwrap_err().code, Code::CallInvalid);
        }
    }

    /// Nothing that an agent can send reaches `INTERNAL`: it takes a sequencer that drops a call.
    #[tokio::test]
    async fn a_call_that_the_sequencer_lost_is_internal_and_never_a_permit() {
        let (sequencer, answer) = oneshot::channel();
        drop(sequencer);
        assert_eq!(settled(answer).await.unwrap_err().code, Code::Internal);
    }

    #[tokio::test]
    async fn a_closed_intake_refuses_and_empties_when_the_last_call_is_answered() {
        let intake = Intake::default();
        let waiting = intake.enter().unwrap();
        intake.close();
        assert_eq!(intake.enter().err().unwrap().code, Code::DaemonNotReady);
        let emptied = tokio::spawn({
            let intake = intake.clone();
            async move { intake.empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!emptied.is_finished());
        drop(waiting);
        emptied.await.unwrap();
    }
}
