//! The only constructors of a reply on the wire.
//!
//! Invariant: a `GovernReply` with a permit is made in [`committed`] and nowhere else, from a [`Committed`], which only
//! the journal makes, after its fdatasync. A refusal is a denial, always.
#![forbid(unsafe_code)]

use crate::engine::Refusal;
use crate::journal::{Committed, CommittedParts, RuleShown};
use faramesh_core::decision::{Effect, Resolution};
use faramesh_core::pipeline;
use faramesh_proto::v1;

/// For whom a reply is: an agent sees the rule only where policy reveals it, and of what is missing only
/// its own arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever asks on an agent's socket.
    Agent,
    /// Whoever asks on the admin socket.
    Operator,
}

/// The reply to a call whose record is durable. A record that is not a decision (it never is, here) denies.
#[must_use]
pub fn committed(committed: Committed, audience: Audience) -> v1::GovernReply {
    let CommittedParts {
        seq,
        record,
        path,
        note,
        decided,
    } = committed.into_parts();
    let Some(decided) = decided else {
        return refused(&Refusal::internal(
            "the journal answered with another record",
        ));
    };
    let rule = decided
        .rule
        .filter(|rule| rule.revealed || audience == Audience::Operator);
    let (message, missing) = match audience {
        Audience::Operator => (decided.message, decided.missing),
        Audience::Agent => pipeline::shown_to_agent(&decided.message, &decided.missing),
    };
    v1::GovernReply {
        effect: wire_effect(decided.effect).into(),
        code: decided
            .code
            .map_or(String::new(), |code| code.as_str().to_owned()),
        message,
        resolution: wire_resolution(&decided.resolution, rule.as_ref()),
        receipt: Some(v1::Receipt {
            record,
            leaf_index: seq,
            path: path.iter().map(|hash| hash.to_vec()).collect(),
            checkpoint: note.as_ref().to_owned(),
            args_salt: decided.args_salt.to_vec(),
        }),
        missing,
        rule: rule.map(|rule| v1::RuleRef {
            number: rule.number,
            text: rule.text.as_ref().to_owned(),
        }),
        would: decided
            .would
            .map_or(v1::Effect::Unspecified, wire_effect)
            .into(),
    }
}

/// The reply to a call that was not decided: a denial with a code and without a receipt.
#[must_use]
pub fn refused(refusal: &Refusal) -> v1::GovernReply {
    v1::GovernReply {
        effect: v1::Effect::Deny.into(),
        code: refusal.code.as_str().to_owned(),
        message: refusal.message.clone(),
        resolution: wire_resolution(&refusal.resolution(), None),
        receipt: None,
        missing: Vec::new(),
        rule: None,
        would: v1::Effect::Unspecified.into(),
    }
}

fn wire_effect(effect: Effect) -> v1::Effect {
    match effect {
        Effect::Permit => v1::Effect::Permit,
        Effect::Defer => v1::Effect::Defer,
        Effect::Deny => v1::Effect::Deny,
    }
}

fn wire_resolution(resolution: &Resolution, rule: Option<&RuleShown>) -> Option<v1::Resolution> {
    use v1::resolution::Kind;
    let kind = match resolution {
        Resolution::None => return None,
        Resolution::RuleBlock => {
            Kind::RuleBlock(rule.map_or(String::new(), |rule| format!("rule {}", rule.number)))
        }
        Resolution::ManualAudit => Kind::ManualAudit(true),
        Resolution::RetryAfterSeconds(seconds) => Kind::RetryAfterSeconds(*seconds),
    };
    Some(v1::Resolution { kind: Some(kind) })
}
