//! Verdicts: closed types, ordered by strictness, that nobody may drop.

use serde::{Deserialize, Serialize};

/// When to ask again after a refusal that passes by itself: longer than a restart of the daemon.
pub const RETRY_AFTER_SECONDS: u32 = 2;

/// What is answered. `Ord` is strictness: permit < defer < deny.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// The call may proceed.
    Permit,
    /// A person has to decide first.
    Defer,
    /// The call is refused.
    Deny,
}

impl Effect {
    /// The word in records, policies and replies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Effect::Permit => "permit",
            Effect::Defer => "defer",
            Effect::Deny => "deny",
        }
    }
}

/// Why, for programs. Each has a page in `docs/codes.md` and a test that reaches it, or stands there as reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A rule, or the default, denies.
    PolicyDeny,
    /// A rule, or the default, defers.
    PolicyDefer,
    /// A fact that the deciding rule reads was absent or of the wrong type.
    Indeterminate,
    /// The call is not a call: malformed, too deep, too large.
    CallInvalid,
    /// The kernel does not say that the caller is this agent.
    IdentityUnverified,
    /// A layer that policy requires was not measured as enforced.
    EnforcementMissing,
    /// The call names a path that the policy's `paths` refuses, or defers to a person.
    PathDenied,
    /// The daemon does not decide now: starting, draining.
    DaemonNotReady,
    /// A decision could not be made durable.
    JournalUnavailable,
    /// A queue or a limit of the caller's own is full.
    Overloaded,
    /// Our own fault.
    Internal,
}

impl Code {
    /// Every code, for tests and tables.
    pub const ALL: [Code; 11] = [
        Code::PolicyDeny,
        Code::PolicyDefer,
        Code::Indeterminate,
        Code::CallInvalid,
        Code::IdentityUnverified,
        Code::EnforcementMissing,
        Code::PathDenied,
        Code::DaemonNotReady,
        Code::JournalUnavailable,
        Code::Overloaded,
        Code::Internal,
    ];

    /// The word on the wire and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::PolicyDeny => "POLICY_DENY",
            Code::PolicyDefer => "POLICY_DEFER",
            Code::Indeterminate => "INDETERMINATE",
            Code::CallInvalid => "CALL_INVALID",
            Code::IdentityUnverified => "IDENTITY_UNVERIFIED",
            Code::EnforcementMissing => "ENFORCEMENT_MISSING",
            Code::PathDenied => "PATH_DENIED",
            Code::DaemonNotReady => "DAEMON_NOT_READY",
            Code::JournalUnavailable => "JOURNAL_UNAVAILABLE",
            Code::Overloaded => "OVERLOADED",
            Code::Internal => "INTERNAL",
        }
    }
}

/// What the asker can do about a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing to do: permitted.
    None,
    /// A rule blocks it.
    RuleBlock,
    /// A person has to look; there is no approval path yet.
    ManualAudit,
    /// The same call may go through later.
    RetryAfterSeconds(u32),
}

/// One value that the candidate rules read, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// `args.amount`, `tool`, `agent`.
    pub field: String,
    /// Who vouches for it: `claimed`, `daemon`, `kernel`, `broker`.
    pub source: &'static str,
    /// Canonical JSON text of the value, or `None` where it was absent (or `null`); [`REDACTED`] where the policy hides it.
    pub value: Option<String>,
    /// Of a hidden value: (index among the agent's tests, result) of each test that the candidate rules put to it. So the
    /// inputs are enough to decide again.
    pub results: Vec<(u32, TestResult)>,
}

/// The policy's verdict on one call, with everything that the record keeps of how it came about.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is answered. In shadow mode a permit may stand here while `would` holds the policy's own verdict.
    pub effect: Effect,
    /// Shadow mode only: what enforcing would have answered.
    pub would: Option<Effect>,
    /// Absent on a plain permit.
    pub code: Option<Code>,
    /// Index of the deciding rule in its agent's list; `None`: the default decided.
    pub rule: Option<u32>,
    /// For people: the rule's `reason`, or our own words.
    pub message: String,
    /// What to do next.
    pub resolution: Resolution,
    /// Every field whose test came out *maybe*, sorted, each once.
    pub missing: Vec<String>,
    /// Whom the policy wants told: the union over the rules of the winning effect that were possible.
    pub notify: Vec<String>,
    /// Every field that a candidate rule read, sorted, each once.
    pub inputs: Vec<Input>,
    /// What records keep in place of the arguments, where the policy redacts some of them.
    pub redacted: Option<Box<Redacted>>,
}

/// Arguments without what a policy redacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// Canonical text, with [`REDACTED`] in each redacted argument's place.
    pub arguments: String,
    /// Which, as a policy writes them, sorted, each once.
    pub names: Vec<String>,
}

/// What stands in the place of a redacted value.
pub const REDACTED: &str = "[redacted]";

/// What a test came out as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kleene's")]
pub enum TestResult {
    No,
    Maybe,
    Yes,
}

impl TestResult {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            TestResult::No => "no",
            TestResult::Maybe => "maybe",
            TestResult::Yes => "yes",
        }
    }
}

impl Decision {
    /// A refusal that no rule made: no call, no identity, no daemon. It is never shadowed.
    pub fn refused(code: Code, message: impl Into<String>) -> Decision {
        Decision {
            effect: Effect::Deny,
            would: None,
            code: Some(code),
            rule: None,
            message: message.into(),
            resolution: match code {
                Code::DaemonNotReady | Code::JournalUnavailable | Code::Overloaded => {
                    Resolution::RetryAfterSeconds(RETRY_AFTER_SECONDS)
                }
                Code::PolicyDeny | Code::Indeterminate | Code::PathDenied => Resolution::RuleBlock,
                Code::PolicyDefer
                | Code::CallInvalid
                | Code::IdentityUnverified
                | Code::EnforcementMissing
                | Code::Internal => Resolution::ManualAudit,
            },
            missing: Vec::new(),
            notify: Vec::new(),
            inputs: Vec::new(),
            redacted: None,
        }
    }
}
