//! What the index keeps of a record: by what it can be found, and where it lies. All of it stands in the record itself;
//! nothing of what lies beside a record, which can be redacted or erased, comes in here.

use crate::journal::Place;
use faramesh_core::decision::{Code, Effect};
use faramesh_core::record::{BodyView, Door, LogEvent, RecordView};
use faramesh_core::tree::Hash;
use serde::{Deserialize, Serialize};

/// The words in a record's `kind`. The place in this list is what is stored: words are added at its end.
pub const KINDS: [&str; 16] = [
    "start",
    "stop",
    "activation",
    "decision",
    "outcome",
    "session_start",
    "session_end",
    "dropped",
    "clock_step",
    "heartbeat",
    "epoch",
    "snapshot",
    "removal",
    "erasure",
    "attestation",
    "gap",
];

/// One record, as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where its frame begins: the segment's first record, and the byte.
    pub segment: u64,
    /// See above.
    pub offset: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// By the host's wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Index in [`KINDS`].
    pub kind: u8,
    /// By what else it can be found.
    pub facets: Facets,
}

/// By what a record can be found beside its number, time and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Facets {
    /// Of a decision.
    Decision {
        /// Its session.
        session: Option<String>,
        /// The agent that it was decided for.
        agent: String,
        /// The tool.
        tool: String,
        /// 0 permit, 1 defer, 2 deny.
        effect: u8,
        /// Its code's word.
        code: Option<String>,
        /// Whether it was asked for without acting.
        probe: bool,
    },
    /// Of an outcome.
    Outcome {
        /// Who reported.
        session: Option<String>,
        /// The decision that it is about.
        of: u64,
    },
    /// Of a session's start.
    SessionStart {
        /// Its id.
        session: String,
        /// The agent that it is.
        agent: String,
    },
    /// Of a session's end.
    SessionEnd {
        /// Its id.
        session: String,
    },
    /// Of all others.
    None,
}

impl Entry {
    /// What is kept of a record.
    pub fn of(view: &RecordView, leaf: Hash, place: Place) -> Entry {
        Entry {
            segment: place.segment,
            offset: place.offset,
            leaf,
            wall_ms: view.header.time.wall_ms,
            kind: kind_number(kind(&view.body)),
            facets: facets(&view.body),
        }
    }

    /// The word of its kind; empty for one that a later version wrote.
    pub fn kind(&self) -> &'static str {
        KINDS
            .get(usize::from(self.kind))
            .copied()
            .unwrap_or_default()
    }

    /// The session that it belongs to.
    pub fn session(&self) -> Option<&str> {
        match &self.facets {
            Facets::Decision { session, .. } | Facets::Outcome { session, .. } => {
                session.as_deref()
            }
            Facets::SessionStart { session, .. } | Facets::SessionEnd { session } => Some(session),
            Facets::None => None,
        }
    }

    /// The agent that it is about.
    pub fn agent(&self) -> Option<&str> {
        match &self.facets {
            Facets::Decision { agent, .. } | Facets::SessionStart { agent, .. } => Some(agent),
            _ => None,
        }
    }

    /// How much memory it holds, roughly, in bytes.
    pub fn held_bytes(&self) -> usize {
        let names = match &self.facets {
            Facets::Decision {
                session,
                agent,
                tool,
                code,
                ..
            } => {
                session.as_ref().map_or(0, String::len)
                    + agent.len()
                    + tool.len()
                    + code.as_ref().map_or(0, String::len)
            }
            Facets::Outcome { session, .. } => session.as_ref().map_or(0, String::len),
            Facets::SessionStart { session, agent } => session.len() + agent.len(),
            Facets::SessionEnd { session } => session.len(),
            Facets::None => 0,
        };
        size_of::<Entry>() + names
    }
}

/// The number of a kind's word in [`KINDS`]; beyond the list for a word that is not in it.
pub fn kind_number(word: &str) -> u8 {
    let found = KINDS.iter().position(|kind| *kind == word);
    u8::try_from(found.unwrap_or(KINDS.len())).unwrap_or(u8::MAX)
}

/// A stored effect's word.
pub const fn effect_word(number: u8) -> &'static str {
    match number {
        0 => Effect::Permit.as_str(),
        1 => Effect::Defer.as_str(),
        _ => Effect::Deny.as_str(),
    }
}

/// The number under which an effect is stored; `None` where it is no effect's word.
pub fn effect_number(word: &str) -> Option<u8> {
    (0..3).find(|number| effect_word(*number) == word)
}

const fn kind(body: &BodyView) -> &'static str {
    match body {
        BodyView::Start(_) => "start",
        BodyView::Stop { .. } => "stop",
        BodyView::Activation(_) => "activation",
        BodyView::Decision(_) => "decision",
        BodyView::Outcome(_) => "outcome",
        BodyView::SessionStart(_) => "session_start",
        BodyView::SessionEnd { .. } => "session_end",
        BodyView::Dropped { .. } => "dropped",
        BodyView::ClockStep { .. } => "clock_step",
        BodyView::Log(event) => event.kind(),
    }
}

fn facets(body: &BodyView) -> Facets {
    match body {
        BodyView::Decision(decision) => Facets::Decision {
            session: decision.session.clone(),
            agent: decision.agent.clone(),
            tool: decision.tool.clone(),
            effect: match decision.effect {
                Effect::Permit => 0,
                Effect::Defer => 1,
                Effect::Deny => 2,
            },
            code: decision.code.map(Code::as_str).map(str::to_owned),
            probe: decision.door == Door::Probe,
        },
        BodyView::Outcome(outcome) => Facets::Outcome {
            session: outcome.session.clone(),
            of: outcome.of,
        },
        BodyView::SessionStart(start) => Facets::SessionStart {
            session: start.session.clone(),
            agent: start.agent.clone(),
        },
        BodyView::SessionEnd { session, .. } => Facets::SessionEnd {
            session: session.clone(),
        },
        _ => Facets::None,
    }
}

/// Up to which record the bodies are removed, where the record says so.
pub const fn removed_to(body: &BodyView) -> Option<u64> {
    match body {
        BodyView::Log(LogEvent::Removal(removal)) => Some(removal.to),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_has_its_number_and_no_other_word_has_one() {
        for effect in [Effect::Permit, Effect::Defer, Effect::Deny] {
            let number = effect_number(effect.as_str()).unwrap();
            assert_eq!(effect_word(number), effect.as_str());
        }
        assert_eq!(effect_number("PERMIT"), None);
        assert_eq!(effect_number(""), None);
    }
}
