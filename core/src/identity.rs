//! A call together with what the kernel says of its caller.

use crate::call::Call;
use std::sync::Arc;

/// Who is at the other end, found out by the daemon and never by asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process of a sealed session: the kernel says so.
    Session {
        /// The session's id.
        session: Arc<str>,
        /// The agent that the session was launched as.
        agent: Arc<str>,
        /// The peer's user.
        uid: u32,
    },
    /// Outside any session: a development caller of the same user, or an operator's question. It names the agent itself.
    Unattested {
        /// The peer's user.
        uid: u32,
    },
}

/// A call of a known caller. Only [`attest`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    call: Call,
    caller: Caller,
}

/// Why the caller is not who it says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityUnverified {
    /// A process of one agent's session names another one.
    #[error("the call names agent `{claimed}`, its process belongs to agent `{attested}`")]
    ClaimDiffers {
        /// What the call says.
        claimed: String,
        /// What the kernel says.
        attested: String,
    },
}

/// Puts the caller's facts to the call. A claimed name is only compared; an empty claim is filled in.
///
/// # Errors
/// The call names another agent than the session's.
pub fn attest(call: Call, caller: Caller) -> Result<Attested, IdentityUnverified> {
    if let Caller::Session { agent, .. } = &caller {
        let claimed = call.agent_claim();
        if !claimed.is_empty() && claimed != &**agent {
            return Err(IdentityUnverified::ClaimDiffers {
                claimed: claimed.to_owned(),
                attested: agent.to_string(),
            });
        }
    }
    Ok(Attested { call, caller })
}

impl Attested {
    /// The call.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// The caller.
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The agent that the call is decided for: the session's, or outside any session the one that was named.
    pub fn agent(&self) -> &str {
        match &self.caller {
            Caller::Session { agent, .. } => agent,
            Caller::Unattested { .. } => self.call.agent_claim(),
        }
    }

    /// Whether the kernel says so.
    pub const fn is_attested(&self) -> bool {
        matches!(self.caller, Caller::Session { .. })
    }

    /// The session, where there is one.
    pub fn session(&self) -> Option<&str> {
        match &self.caller {
            Caller::Session { session, .. } => Some(session),
            Caller::Unattested { .. } => None,
        }
    }

    /// The peer's user.
    pub const fn uid(&self) -> u32 {
        match self.caller {
            Caller::Session { uid, .. } | Caller::Unattested { uid } => uid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::accept;

    fn claiming(agent: &str) -> Call {
        accept("t", agent, b"{}").unwrap()
    }

    fn session_of(agent: &str) -> Caller {
        Caller::Session {
            session: "s1".into(),
            agent: agent.into(),
            uid: 1001,
        }
    }

    #[test]
    fn a_session_that_claims_another_agent_is_refused() {
        let refused = attest(claiming("admin-bot"), session_of("support-bot")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the call names agent `admin-bot`, its process belongs to agent `support-bot`"
        );
    }

    #[test]
    fn a_session_that_claims_nothing_or_itself_is_its_agent() {
        for claim in ["", "support-bot"] {
            let attested = attest(claiming(claim), session_of("support-bot")).unwrap();
            assert_eq!(
                (attested.agent(), attested.session(), attested.uid()),
                ("support-bot", Some("s1"), 1001)
            );
            assert!(attested.is_attested());
        }
    }

    #[test]
    fn outside_a_session_the_claim_names_the_agent_and_nothing_is_attested() {
        let attested = attest(claiming("support-bot"), Caller::Unattested { uid: 1000 }).unwrap();
        assert_eq!(
            (attested.agent(), attested.session(), attested.uid()),
            ("support-bot", None, 1000)
        );
        assert!(!attested.is_attested());
    }
}
