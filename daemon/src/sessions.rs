//! Sessions: which process belongs to which launched agent.
//!
//! Invariants:
//! - A process is a member because the kernel says so: by its cgroup when enforced (nobody but root can enter or leave
//!   it), by descent from the session's shim in development (where nothing is claimed against the same user).
//! - A session that is not sealed decides nothing: its members are unverified.
//! - Two live sessions never share a cgroup or a shim.
#![forbid(unsafe_code)]

use crate::config::Mode;
use crate::peers::{Peer, Process, Unverified};
use faramesh_proto::v1;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A session's id on its way through the daemon.
pub type SessionId = Arc<str>;

/// All live sessions.
#[derive(Clone)]
pub struct Sessions {
    mode: Mode,
    max: usize,
    live: Arc<Mutex<BTreeMap<SessionId, Session>>>,
}

/// One launched agent.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose policy holds.
    pub agent: Arc<str>,
    /// The user that its processes run under.
    pub uid: u32,
    /// The process that attached it and stays.
    pub shim: Process,
    /// Its cgroup (v2), or empty.
    pub cgroup: String,
    /// Milliseconds since the Unix epoch.
    pub started_wall_ms: u64,
    /// Once sealed: the confined process and what was measured from inside.
    pub sealed: Option<Sealed>,
    /// Decisions that it was given.
    pub calls: Arc<AtomicU64>,
}

/// What is known of a session once its agent may exec.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The confined process.
    pub process: Process,
    /// As the shim reported and the daemon compared.
    pub probes: Vec<v1::Probe>,
}

/// Where a peer belongs.
#[derive(Debug, Clone)]
pub enum Membership {
    /// To a sealed session.
    Member(Box<Session>),
    /// To a session that is not sealed yet, or to one under another user than its own.
    Unsealed(SessionId),
    /// To none.
    Outside,
}

/// Why a session cannot be added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many.
    #[error("{0} sessions are live, more than that are not held")]
    TooMany(usize),
    /// Its cgroup or shim is another one's.
    #[error("the cgroup or the shim belongs to session `{0}`")]
    Shared(SessionId),
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new(mode: Mode, max: u32) -> Sessions {
        Sessions {
            mode,
            max: usize::try_from(max).unwrap_or(usize::MAX),
            live: Arc::default(),
        }
    }

    /// Adds one that is bound.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn bind(&self, session: Session) -> Result<(), Refused> {
        let mut live = self.live();
        if live.len() >= self.max {
            return Err(Refused::TooMany(self.max));
        }
        let shares = |other: &&Session| {
            other.shim == session.shim
                || (!session.cgroup.is_empty() && other.cgroup == session.cgroup)
        };
        if let Some(other) = live.values().find(shares) {
            return Err(Refused::Shared(other.id.clone()));
        }
        live.insert(session.id.clone(), session);
        Ok(())
    }

    /// Its record is durable: calls of it are decided from here.
    pub fn seal(&self, id: &str, sealed: Sealed) {
        if let Some(session) = self.live().get_mut(id) {
            session.sealed = Some(sealed);
        }
    }

    /// It is over. Returns it, the first time.
    pub fn end(&self, id: &str) -> Option<Session> {
        self.live().remove(id)
    }

    /// All of them, in the order of their ids.
    #[must_use]
    pub fn list(&self) -> Vec<Session> {
        self.live().values().cloned().collect()
    }

    /// Where a peer belongs, by what the kernel says of it.
    ///
    /// # Errors
    /// [`Unverified`] where the kernel does not say.
    pub fn of(&self, peer: &Peer) -> Result<Membership, Unverified> {
        let found = match self.mode {
            Mode::Enforced => self.by_cgroup(peer)?,
            Mode::Development => self.by_lineage(peer)?,
        };
        Ok(match found {
            None => Membership::Outside,
            Some(session) if session.sealed.is_none() || session.uid != peer.uid => {
                Membership::Unsealed(session.id)
            }
            Some(session) => Membership::Member(Box::new(session)),
        })
    }

    /// Whether a peer is in any session, by either sign: for doors that no agent may use.
    ///
    /// # Errors
    /// [`Unverified`] where the kernel does not say: such a peer is not let in.
    pub fn is_inside(&self, peer: &Peer) -> Result<bool, Unverified> {
        Ok(self.by_cgroup(peer)?.is_some() || self.by_lineage(peer)?.is_some())
    }

    fn by_cgroup(&self, peer: &Peer) -> Result<Option<Session>, Unverified> {
        let Some(cgroup) = peer.cgroup()? else {
            return Ok(None);
        };
        Ok(self.find(|session| !session.cgroup.is_empty() && session.cgroup == cgroup))
    }

    fn by_lineage(&self, peer: &Peer) -> Result<Option<Session>, Unverified> {
        let lineage = peer.lineage()?;
        Ok(self.find(|session| lineage.contains(&session.shim)))
    }

    fn find(&self, wanted: impl Fn(&Session) -> bool) -> Option<Session> {
        self.live()
            .values()
            .find(|session| wanted(session))
            .cloned()
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<SessionId, Session>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// As the operators' door shows it.
    #[must_use]
    pub fn to_wire(&self) -> v1::Session {
        v1::Session {
            id: self.id.to_string(),
            agent: self.agent.to_string(),
            uid: self.uid,
            pid: self
                .sealed
                .as_ref()
                .map_or(self.shim.pid, |sealed| sealed.process.pid),
            state: if self.sealed.is_some() {
                "sealed"
            } else {
                "bound"
            }
            .to_owned(),
            started_wall_ms: self.started_wall_ms,
            calls: self.calls.load(Ordering::Relaxed),
            probes: self
                .sealed
                .as_ref()
                .map(|sealed| sealed.probes.clone())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn peer() -> Peer {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        Peer::of(&ours).unwrap()
    }

    fn session(id: &str, shim: Process, uid: u32, cgroup: &str) -> Session {
        Session {
            id: id.into(),
            agent: "support".into(),
            uid,
            shim,
            cgroup: cgroup.into(),
            started_wall_ms: 0,
            sealed: None,
            calls: Arc::default(),
        }
    }

    fn sealed(process: Process) -> Sealed {
        Sealed {
            process,
            probes: vec![],
        }
    }

    const ELSEWHERE: Process = Process {
        pid: 1,
        start_ticks: u64::MAX,
    };

    #[test]
    fn a_descendant_of_the_shim_is_a_member_only_once_the_session_is_sealed() {
        let peer = peer();
        let sessions = Sessions::new(Mode::Development, 8);
        assert!(matches!(sessions.of(&peer).unwrap(), Membership::Outside));
        sessions
            .bind(session("s1", peer.process, peer.uid, ""))
            .unwrap();
        assert!(matches!(
            sessions.of(&peer).unwrap(),
            Membership::Unsealed(_)
        ));
        sessions.seal("s1", sealed(peer.process));
        assert!(matches!(sessions.of(&peer).unwrap(), Membership::Member(_)));
        assert!(sessions.end("s1").is_some());
        assert!(matches!(sessions.of(&peer).unwrap(), Membership::Outside));
    }

    #[test]
    fn when_enforced_descent_makes_no_member_but_keeps_out_of_the_operators_door() {
        let peer = peer();
        let sessions = Sessions::new(Mode::Enforced, 8);
        sessions
            .bind(session("s1", peer.process, peer.uid, "/faramesh/none/s1"))
            .unwrap();
        sessions.seal("s1", sealed(peer.process));
        assert!(matches!(sessions.of(&peer).unwrap(), Membership::Outside));
        assert!(sessions.is_inside(&peer).unwrap());
    }

    #[test]
    fn when_enforced_the_cgroup_makes_a_member_of_the_sessions_own_user_alone() {
        let peer = peer();
        let Some(cgroup) = peer.cgroup().unwrap() else {
            eprintln!("SKIPPED: no cgroup v2 on this host");
            return;
        };
        let sessions = Sessions::new(Mode::Enforced, 8);
        sessions
            .bind(session("s1", ELSEWHERE, peer.uid, &cgroup))
            .unwrap();
        sessions.seal("s1", sealed(ELSEWHERE));
        assert!(matches!(sessions.of(&peer).unwrap(), Membership::Member(_)));
        sessions.end("s1");
        sessions
            .bind(session("s2", ELSEWHERE, peer.uid + 1, &cgroup))
            .unwrap();
        sessions.seal("s2", sealed(ELSEWHERE));
        assert!(matches!(
            sessions.of(&peer).unwrap(),
            Membership::Unsealed(_)
        ));
    }

    #[test]
    fn two_sessions_share_neither_cgroup_nor_shim_and_there_is_a_limit() {
        let sessions = Sessions::new(Mode::Enforced, 2);
        sessions.bind(session("s1", ELSEWHERE, 1, "/a/1")).unwrap();
        let other = Process {
            pid: 2,
            start_ticks: 2,
        };
        assert_eq!(
            sessions.bind(session("s2", other, 1, "/a/1")),
            Err(Refused::Shared("s1".into()))
        );
        assert_eq!(
            sessions.bind(session("s2", ELSEWHERE, 1, "/a/2")),
            Err(Refused::Shared("s1".into()))
        );
        sessions.bind(session("s2", other, 1, "/a/2")).unwrap();
        let third = Process {
            pid: 3,
            start_ticks: 3,
        };
        assert_eq!(
            sessions.bind(session("s3", third, 1, "/a/3")),
            Err(Refused::TooMany(2))
        );
    }
}
