//! The operators' door: `Status`, `Activate`, `Drain`, `Sessions`, `DryRun`, `Tail`, `Attest`, `NewEpoch`.
//!
//! Invariants: only root and the operators' group get here (in development the same user), and never a process of a
//! session; nothing here decides a call of an agent: a dry run is recorded as a probe and grants nothing.
#![forbid(unsafe_code)]

use crate::attest::NotAttested;
use crate::config::{Config, Mode};
use crate::engine::{self, Engine, Lane, Refusal, Tailed};
use crate::listen::{self, InFlight};
use crate::peers::{self, Peer, Unverified};
use crate::reply::{self, Audience};
use crate::sessions::Sessions;
use faramesh_core::call;
use faramesh_core::decision::Code;
use faramesh_core::identity::{Caller, attest};
use faramesh_core::policy::artifact::Mode as PolicyMode;
use faramesh_core::record::{Door, ERASED_SPANS_MAX, Erasure};
use faramesh_proto::v1;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// Why a peer may not use this door.
#[derive(Debug, thiserror::Error)]
pub enum NotAnOperator {
    /// The kernel does not vouch for it.
    #[error(transparent)]
    Unverified(#[from] Unverified),
    /// It belongs to a session.
    #[error("process {0} is inside a session")]
    InsideSession(u32),
    /// Another user.
    #[error("uid {0} is neither root nor an operator")]
    Stranger(u32),
}

/// What every operator's connection shares.
#[derive(Clone)]
pub struct Admin {
    /// Names and groups.
    pub config: Arc<Config>,
    /// What is asked.
    pub engine: Engine,
    /// What is shown.
    pub sessions: Sessions,
    /// Where the daemon is in its life.
    pub phase: watch::Receiver<v1::Phase>,
    /// Asks it to drain.
    pub drain: mpsc::Sender<&'static str>,
    /// When it started.
    pub started: Instant,
}

impl Admin {
    /// Looks at a peer once, when it connects. The socket's mode has let it through already; the kernel is asked all
    /// the same, because a directory's mode is easily changed.
    ///
    /// # Errors
    /// [`NotAnOperator`].
    pub fn admit(&self, stream: &UnixStream) -> Result<u32, NotAnOperator> {
        let peer = Peer::of(stream)?;
        if self.sessions.is_inside(&peer)? {
            return Err(NotAnOperator::InsideSession(peer.process.pid));
        }
        let allowed = peer.uid == 0
            || match self.config.mode {
                Mode::Development => peer.uid == self.config.uid,
                Mode::Enforced => self.is_operator(&peer)?,
            };
        if !allowed {
            return Err(NotAnOperator::Stranger(peer.uid));
        }
        Ok(peer.uid)
    }

    fn is_operator(&self, peer: &Peer) -> Result<bool, Unverified> {
        let status = peers::status(peer.process.pid)?;
        peer.still_there()?;
        let is = |gid: &u32| Some(*gid) == self.config.operators_gid;
        Ok(status.gids.iter().any(is) || status.groups.iter().any(is))
    }

    fn status(&self) -> v1::StatusReply {
        let engine = self.engine.status();
        v1::StatusReply {
            phase: (*self.phase.borrow()).into(),
            stack: self.config.stack.clone(),
            mode: match self.config.mode {
                Mode::Enforced => "enforced",
                Mode::Development => "development",
            }
            .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_digest: digest_text(engine.policy_digest),
            policy_number: engine.policy_number,
            pending_number: engine.pending_number.unwrap_or(0),
            journal_size: engine.journal_size,
            sessions: u64::try_from(self.sessions.list().len()).unwrap_or(u64::MAX),
            capabilities: engine::capabilities()
                .iter()
                .map(|&word| word.to_owned())
                .collect(),
            warnings: engine.warnings,
            refusing: engine
                .refusing
                .map_or(String::new(), |refusal| refusal.to_string()),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            pid: std::process::id(),
            origin: engine.origin,
            policy_mode: match engine.policy_mode {
                PolicyMode::Enforce => "enforce",
                PolicyMode::Shadow => "shadow",
            }
            .to_owned(),
        }
    }

    async fn dry_run(
        &self,
        request: v1::GovernRequest,
        uid: u32,
    ) -> Result<v1::GovernReply, Refusal> {
        let call = call::accept(&request.tool, &request.agent, &request.arguments)
            .map_err(|invalid| Refusal::new(Code::CallInvalid, invalid.to_string()))?;
        let attested = attest(call, Caller::Unattested { uid })
            .map_err(|unverified| Refusal::new(Code::IdentityUnverified, unverified.to_string()))?;
        let answer = self
            .engine
            .submit(Lane::operator(), attested, Door::Probe)?;
        let lost = || {
            Err(Refusal::internal(
                "the decision was lost before it was recorded",
            ))
        };
        let committed = answer.await.unwrap_or_else(|_| lost())?;
        Ok(reply::committed(committed, Audience::Operator))
    }
}

/// One operator's connection.
pub struct AdminService {
    admin: Admin,
    uid: u32,
}

impl AdminService {
    /// For a connection of `uid`.
    #[must_use]
    pub fn new(admin: Admin, uid: u32) -> AdminService {
        AdminService { admin, uid }
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        listen::arrived(&request);
        Ok(Response::new(self.admin.status()))
    }

    async fn activate(
        &self,
        request: Request<v1::ActivateRequest>,
    ) -> Result<Response<v1::ActivateReply>, Status> {
        listen::arrived(&request);
        let reply = match self
            .admin
            .engine
            .activate(request.into_inner().number)
            .await
        {
            Ok(activated) => v1::ActivateReply {
                activated: true,
                message: String::new(),
                policy_digest: digest_text(activated.digest),
                policy_number: activated.number,
            },
            Err(refused) => {
                let status = self.admin.engine.status();
                v1::ActivateReply {
                    activated: false,
                    message: refused.to_string(),
                    policy_digest: digest_text(status.policy_digest),
                    policy_number: status.policy_number,
                }
            }
        };
        Ok(Response::new(reply))
    }

    async fn new_epoch(
        &self,
        request: Request<v1::NewEpochRequest>,
    ) -> Result<Response<v1::NewEpochReply>, Status> {
        listen::arrived(&request);
        let begun = self.admin.engine.new_epoch().await;
        tracing::info!(
            uid = self.uid,
            ok = begun.is_ok(),
            "an operator asks for a new epoch"
        );
        let reply = match begun {
            Ok((epoch, record)) => v1::NewEpochReply {
                begun: true,
                message: String::new(),
                number: epoch.number,
                key: epoch.key,
                seq: record.seq(),
            },
            Err(refusal) => v1::NewEpochReply {
                message: refusal.to_string(),
                ..v1::NewEpochReply::default()
            },
        };
        Ok(Response::new(reply))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainReply>, Status> {
        listen::arrived(&request);
        tracing::info!(uid = self.uid, "an operator asks to drain");
        // A full channel: it was asked already.
        let _ = self.admin.drain.try_send("drain");
        Ok(Response::new(v1::DrainReply {}))
    }

    async fn sessions(
        &self,
        request: Request<v1::SessionsRequest>,
    ) -> Result<Response<v1::SessionsReply>, Status> {
        listen::arrived(&request);
        let sessions = self
            .admin
            .sessions
            .list()
            .iter()
            .map(crate::sessions::Session::to_wire)
            .collect();
        Ok(Response::new(v1::SessionsReply { sessions }))
    }

    async fn dry_run(
        &self,
        request: Request<v1::GovernRequest>,
    ) -> Result<Response<v1::GovernReply>, Status> {
        listen::arrived(&request);
        let reply = self.admin.dry_run(request.into_inner(), self.uid).await;
        Ok(Response::new(
            reply.unwrap_or_else(|refusal| reply::refused(&refusal)),
        ))
    }

    async fn erase(
        &self,
        request: Request<v1::EraseRequest>,
    ) -> Result<Response<v1::EraseReply>, Status> {
        listen::arrived(&request);
        let v1::EraseRequest { spans, reason } = request.into_inner();
        let spans =
            spans_of(&spans, self.admin.engine.durable()).map_err(Status::invalid_argument)?;
        if reason.trim().is_empty() || reason.chars().any(char::is_control) {
            return Err(Status::invalid_argument(
                "say why, in one line: the reason is recorded for ever",
            ));
        }
        tracing::info!(
            uid = self.uid,
            spans = spans.len(),
            "an operator erases details"
        );
        let erasure = Erasure {
            spans,
            uid: self.uid,
            reason,
        };
        match self.admin.engine.erase(erasure).await {
            Ok(record) => Ok(Response::new(v1::EraseReply { record })),
            Err(refusal) => Err(Status::unavailable(refusal.to_string())),
        }
    }

    type TailStream = TailStream;

    async fn tail(
        &self,
        request: Request<v1::TailRequest>,
    ) -> Result<Response<TailStream>, Status> {
        listen::arrived(&request);
        let in_flight = request.extensions().get::<InFlight>().cloned();
        let v1::TailRequest { from, follow } = request.into_inner();
        let records = self
            .admin
            .engine
            .tail(from, follow)
            .map_err(|refusal| Status::unavailable(refusal.to_string()))?;
        Ok(Response::new(TailStream {
            records,
            _in_flight: in_flight,
        }))
    }

    async fn attest(
        &self,
        request: Request<v1::AttestRequest>,
    ) -> Result<Response<v1::AttestReply>, Status> {
        listen::arrived(&request);
        let engine = &self.admin.engine;
        let done = engine.attest(&request.into_inner().note).await;
        if let Err(refused) = &done {
            tracing::warn!(uid = self.uid, %refused, "a cosigned checkpoint was not recorded");
        }
        Ok(Response::new(attested(engine, done)))
    }
}

fn attested(
    engine: &Engine,
    done: Result<crate::attest::Recorded, NotAttested>,
) -> v1::AttestReply {
    match done {
        Ok(recorded) => v1::AttestReply {
            recorded: true,
            message: String::new(),
            seq: recorded.seq,
            size: recorded.size,
            witnesses: recorded.witnesses,
        },
        Err(refused) => v1::AttestReply {
            recorded: matches!(refused, NotAttested::Already { .. }),
            message: refused.to_string(),
            seq: 0,
            size: engine.attested_size(),
            witnesses: Vec::new(),
        },
    }
}

/// Records as they become durable. While it lives its connection is not idle.
pub struct TailStream {
    records: mpsc::Receiver<Tailed>,
    _in_flight: Option<InFlight>,
}

impl Stream for TailStream {
    type Item = Result<v1::TailRecord, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_recv(cx).map(|tailed| {
            tailed.map(
                |Tailed {
                     seq,
                     record,
                     detail,
                 }| {
                    Ok(v1::TailRecord {
                        seq,
                        record,
                        detail,
                    })
                },
            )
        })
    }
}

/// Spans that rise, of records that are there.
fn spans_of(spans: &[v1::Span], durable: u64) -> Result<Vec<(u64, u64)>, String> {
    if spans.is_empty() || spans.len() > ERASED_SPANS_MAX {
        return Err(format!("name 1 to {ERASED_SPANS_MAX} spans"));
    }
    let mut next = 0;
    for span in spans {
        if span.first < next || span.last < span.first {
            return Err("the spans do not rise".to_owned());
        }
        if span.last >= durable {
            return Err(format!("there is no record {} yet", span.last));
        }
        next = span.last + 1;
    }
    Ok(spans.iter().map(|span| (span.first, span.last)).collect())
}

fn digest_text(digest: [u8; 32]) -> String {
    use std::fmt::Write;
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_do_not_rise_or_are_not_there_yet_are_refused() {
        let span = |(first, last)| v1::Span { first, last };
        let of = |list: &[(u64, u64)]| {
            let list: Vec<_> = list.iter().copied().map(span).collect();
            spans_of(&list, 10)
        };
        assert_eq!(of(&[(0, 0), (3, 9)]), Ok(vec![(0, 0), (3, 9)]));
        for wrong in [
            &[][..],
            &[(3, 2)],
            &[(3, 4), (4, 5)],
            &[(0, 10)],
            &[(0, u64::MAX)],
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_digest_is_written_as_policies_name_it() {
        let text = digest_text([0xab; 32]);
        assert_eq!(text, format!("sha256:{}", "ab".repeat(32)));
    }
}
