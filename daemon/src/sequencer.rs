//! The sequencer: one thread decides, in one order.
//!
//! [`Desk`] holds what waits: the daemon's own events first, then calls, one queue a lane, served in turn, so that a full
//! lane stops nobody else's.
#![forbid(unsafe_code)]

use crate::engine::{Answer, Lane, Refusal};
use faramesh_core::decision::Code;
use faramesh_core::identity::Attested;
use faramesh_core::record::{Body, Door};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;
use tokio::sync::oneshot;

/// Bytes of arguments that wait in one lane: eight calls of the largest size.
const LANE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of arguments that wait in all lanes: what the memory figure can bear beside everything else.
const DESK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The daemon's own events that wait: each of a thousand sessions can end at once.
const EVENTS_MAX: usize = 4_096;
/// (session, code) pairs that are counted between two `dropped` records; the rest is counted without its session.
const DROPPED_KEYS_MAX: usize = 256;

/// What a lane holds.
pub(crate) enum Submission {
    /// A call to decide.
    Call { attested: Attested, door: Door },
    /// A record of an agent's own making: an outcome.
    Report(Body),
}

pub(crate) struct Queued {
    pub(crate) submission: Submission,
    pub(crate) answer: oneshot::Sender<Answer>,
}

impl Queued {
    fn bytes(&self) -> usize {
        match &self.submission {
            Submission::Call { attested, .. } => attested.call().arguments_text().len(),
            Submission::Report(_) => 0,
        }
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    bytes: usize,
}

/// What waits for the sequencer.
#[derive(Default)]
pub(crate) struct Desk {
    lanes: HashMap<Lane, Queue>,
    /// Lanes with something in them, each once, the next one first.
    turn: VecDeque<Lane>,
    bytes: usize,
    lane_calls_max: usize,
    events: VecDeque<Event>,
    dropped: BTreeMap<(String, &'static str), u64>,
    pub(crate) draining: bool,
    /// Since when something waits without anything being taken.
    waiting_since: Option<Instant>,
}

/// The daemon's own.
pub(crate) enum Event {
    /// A record to append.
    Append {
        body: Body,
        answer: oneshot::Sender<Answer>,
    },
}
