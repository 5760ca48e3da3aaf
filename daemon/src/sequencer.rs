//! The sequencer: one thread decides, in one order.
//!
//! [`Desk`] holds what waits: the daemon's own events first, then calls, one queue a lane, served in turn, so that a full
//! lane stops nobody else's. [`Sequencer`] takes from it on the runtime's own thread: it decides, gives out the number,
//! encodes, and pushes into the journal's open batch, where the record becomes durable and the answer leaves.
//!
//! Invariants:
//! - The state, the policy in force and the previous leaf hash change only when a record was pushed, and with each.
//! - What is pushed is in the journal or the process ends: nothing here ever takes a number back.
//! - No error makes a permit: whoever is not pushed is refused, or waits.
#![forbid(unsafe_code)]

use crate::clock::{Clock, StepWatch};
use crate::engine::{Answer, InForce, Lane, Refusal, Shared};
use crate::journal::{Before, Decided, Draft, Need, Room, RuleShown};
use crate::store::Candidate;
use faramesh_core::decision::Code;
use faramesh_core::identity::Attested;
use faramesh_core::pipeline::{self, Question};
use faramesh_core::policy::{Scratch, Supposed};
use faramesh_core::record::{
    self, Body, DecisionRecord, Door, Header, LogEvent, Outcome, RunMode, Time,
};
use faramesh_core::state::State;
use faramesh_core::tree::{self, Hash};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What each caller's records take of the journal.
mod budget;

pub(crate) use budget::Budget;

/// Memory of the calls that wait in one lane, bytes: a few of the largest text. One call always has a place, whatever it
/// takes: a mebibyte of brackets takes some seventy.
const LANE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The same of all lanes, where again one call always has a place: what the memory figure can bear beside all else.
const DESK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The daemon's own events that wait: each of a thousand sessions can end at once.
const EVENTS_MAX: usize = 4_096;
/// (session, code) pairs that are counted between two `dropped` records; the rest is counted without its session.
const DROPPED_KEYS_MAX: usize = 256;
/// A `dropped` record waits so long for another record to share its batch with.
const DROPPED_WAIT: Duration = Duration::from_secs(1);
/// Submissions served before the runtime looks at its sockets again: about 50 µs of deciding.
const SERVED_IN_A_ROW: usize = 16;
/// Random bytes that are fetched with one system call: salts for 128 decisions.
const SALTS_BYTES: usize = 4_096;

/// What a lane holds.
pub(crate) enum Submission {
    /// A call to decide.
    Call {
        /// The call and its caller.
        attested: Attested,
        /// The way in.
        door: Door,
    },
    /// What an agent says became of a permitted call.
    Report(Outcome),
}

/// The daemon's own.
pub(crate) enum Event {
    /// A record to append.
    Append(Body),
    /// A verified manifest to put in force.
    Activate(Candidate),
}

/// Something that waits, and for whom.
pub(crate) struct Queued<T> {
    what: T,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued<Submission>>,
    bytes: usize,
}

/// What waits for the sequencer. Owned by the runtime's thread; the lock around it is never contended.
pub(crate) struct Desk {
    lanes: HashMap<Lane, Queue>,
    /// Lanes with something in them, each once, the next one first.
    turn: VecDeque<Lane>,
    bytes: usize,
    lane_calls_max: usize,
    events: VecDeque<Queued<Event>>,
    dropped: BTreeMap<(String, &'static str), u64>,
    dropped_since: Option<Instant>,
    drain: Drain,
    /// Since when something waits without anything being taken.
    waiting_since: Option<Instant>,
}

/// How far a drain has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Drain {
    No,
    /// Finish what is queued, then stop for this reason.
    Asked(String),
    /// The last record is pushed.
    Done,
}

impl Desk {
    /// An empty one, whose lanes hold `lane_calls_max` each.
    pub(crate) fn new(lane_calls_max: usize) -> Desk {
        Desk {
            lanes: HashMap::new(),
            turn: VecDeque::new(),
            bytes: 0,
            lane_calls_max,
            events: VecDeque::new(),
            dropped: BTreeMap::new(),
            dropped_since: None,
            drain: Drain::No,
            waiting_since: None,
        }
    }

    /// Puts a submission at the end of its lane.
    pub(crate) fn submit(
        &mut self,
        lane: &Lane,
        submission: Submission,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        if self.drain != Drain::No {
            return Err(draining());
        }
        let bytes = submission.bytes();
        let queue = self.lanes.entry(lane.clone()).or_default();
        let lane_is_full = queue.waiting.len() >= self.lane_calls_max
            || (!queue.waiting.is_empty() && queue.bytes + bytes > LANE_BYTES_MAX);
        if lane_is_full {
            return Err(Refusal::new(
                Code::Overloaded,
                format!("{} calls of this caller wait already", queue.waiting.len()),
            ));
        }
        if self.bytes != 0 && self.bytes + bytes > DESK_BYTES_MAX {
            if queue.waiting.is_empty() {
                self.lanes.remove(lane);
            }
            return Err(Refusal::new(
                Code::Overloaded,
                "the calls that wait hold too much memory",
            ));
        }
        let (answer, receiver) = oneshot::channel();
        if queue.waiting.is_empty() {
            self.turn.push_back(lane.clone());
        }
        queue.waiting.push_back(Queued {
            what: submission,
            answer,
        });
        queue.bytes += bytes;
        self.bytes += bytes;
        self.waiting_since.get_or_insert_with(Instant::now);
        Ok(receiver)
    }

    /// Puts an event at the end of the daemon's own queue.
    pub(crate) fn event(&mut self, event: Event) -> Result<oneshot::Receiver<Answer>, Refusal> {
        if self.drain == Drain::Done {
            return Err(draining());
        }
        if self.events.len() >= EVENTS_MAX {
            return Err(Refusal::new(
                Code::Overloaded,
                "too many events of the daemon's own wait already",
            ));
        }
        let (answer, receiver) = oneshot::channel();
        self.events.push_back(Queued {
            what: event,
            answer,
        });
        self.waiting_since.get_or_insert_with(Instant::now);
        Ok(receiver)
    }

    /// Counts a refusal.
    pub(crate) fn count_dropped(&mut self, session: Option<&str>, code: Code) {
        let mut key = (session.unwrap_or("-").to_owned(), code.as_str());
        if self.dropped.len() >= DROPPED_KEYS_MAX && !self.dropped.contains_key(&key) {
            "-".clone_into(&mut key.0);
        }
        *self.dropped.entry(key).or_default() += 1;
        self.dropped_since.get_or_insert_with(Instant::now);
    }

    fn forget_dropped(&mut self) {
        self.dropped.clear();
        self.dropped_since = None;
    }

    /// Takes no more calls; stops when nothing waits any more.
    pub(crate) fn drain(&mut self, reason: &str) {
        if self.drain == Drain::No {
            self.drain = Drain::Asked(reason.to_owned());
        }
    }

    /// For so long something has waited without anything being taken.
    pub(crate) fn stuck(&self) -> Duration {
        self.waiting_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.turn.is_empty()
    }

    /// Something was taken (or nothing is left to take).
    fn moved(&mut self) {
        self.waiting_since = (!self.is_empty()).then(Instant::now);
    }

    fn next_event(&mut self) -> Option<Queued<Event>> {
        self.events.pop_front()
    }

    /// The next submission: the first of the lane whose turn it is, which then waits for all others.
    fn next_submission(&mut self) -> Option<(Lane, Queued<Submission>)> {
        let lane = self.turn.pop_front()?;
        let queue = self.lanes.get_mut(&lane)?;
        let queued = queue.waiting.pop_front()?;
        let bytes = queued.what.bytes();
        queue.bytes -= bytes;
        self.bytes -= bytes;
        if queue.waiting.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.turn.push_back(lane.clone());
        }
        Some((lane, queued))
    }

    /// Undoes [`Desk::next_submission`]: it is this one's turn again.
    fn put_back(&mut self, lane: Lane, queued: Queued<Submission>) {
        let bytes = queued.what.bytes();
        let queue = self.lanes.entry(lane.clone()).or_default();
        queue.waiting.push_front(queued);
        queue.bytes += bytes;
        self.bytes += bytes;
        self.turn.retain(|other| *other != lane);
        self.turn.push_front(lane);
    }
}

fn draining() -> Refusal {
    Refusal::new(Code::DaemonNotReady, "the daemon is stopping")
}

impl Submission {
    fn bytes(&self) -> usize {
        match self {
            Submission::Call { attested, .. } => attested.call().held_bytes(),
            Submission::Report(_) => 0,
        }
    }
}

/// What one round of serving came to.
pub(crate) enum Served {
    /// There may be more: let the runtime look at its sockets first.
    More,
    /// Nothing waits.
    Nothing,
    /// The journal has no room at the moment.
    NoRoom,
    /// The last record is pushed.
    Stopped,
}

/// Why something was not pushed.
enum NotPushed {
    /// Later it may be.
    Later,
    /// It is refused.
    Refused(Refusal),
}

/// Everything that a decision depends on; owned by the one task that decides.
pub(crate) struct Sequencer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) steps: StepWatch,
    /// A journal that is idle for so long gets a heartbeat; 0: never.
    pub(crate) heartbeat_ms: u64,
    /// When one was tried last, on the boot clock.
    pub(crate) heartbeat_tried_ms: u64,
    pub(crate) budget: Budget,
    /// What the record that was pushed last takes of the journal.
    pub(crate) pushed_bytes: u64,
    pub(crate) state: State,
    pub(crate) in_force: Arc<InForce>,
    /// Leaf hash of the last record.
    pub(crate) prev: Hash,
    /// The last record's time, and the boot that it belongs to.
    pub(crate) last: Option<(Time, String)>,
    pub(crate) stack: String,
    pub(crate) mode: RunMode,
    pub(crate) salts: Salts,
    /// Memory of the decision before, used again.
    pub(crate) scratch: Scratch,
}

impl Sequencer {
    /// Serves until the engine drains. Never returns after a fatal error: then nothing is served any more.
    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            match self.serve() {
                Served::More => tokio::task::yield_now().await,
                Served::NoRoom => shared.handoff.taken.notified().await,
                Served::Nothing => self.wait_for_work().await,
                Served::Stopped => return,
            }
        }
    }

    /// Until something is queued, or something of our own is due. Either way the next round looks at everything.
    async fn wait_for_work(&self) {
        let dropped = self.shared.desk().dropped_since;
        let dropped = async {
            match dropped {
                Some(since) => tokio::time::sleep_until((since + DROPPED_WAIT).into()).await,
                None => std::future::pending().await,
            }
        };
        let heartbeat = async {
            match self.heartbeat_due_ms() {
                Some(due_ms) => self.clock.reached(due_ms).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shared.work.notified() => {}
            () = dropped => {}
            () = heartbeat => {}
        }
    }

    /// When the journal has been idle for long enough, on the boot clock.
    fn heartbeat_due_ms(&self) -> Option<u64> {
        let (last, _) = self.last.as_ref()?;
        let idle_since_ms = last.boot_ms.max(self.heartbeat_tried_ms);
        (self.heartbeat_ms > 0).then(|| idle_since_ms.saturating_add(self.heartbeat_ms))
    }

    /// Nothing waits: the time of an idle journal is attested too.
    fn serve_heartbeat(&mut self) -> Served {
        let now_ms = self.clock.now().boot_ms;
        if self.heartbeat_due_ms().is_none_or(|due_ms| now_ms < due_ms) {
            return Served::Nothing;
        }
        let heartbeat = Body::Log(LogEvent::Heartbeat);
        match self.push(Need::Call, None, |_, _| (heartbeat, None)) {
            Ok(()) => Served::Nothing,
            Err(NotPushed::Later) => Served::NoRoom,
            // It is not worth the last space of a full disk, and is tried again when the next one is due.
            Err(NotPushed::Refused(_)) => {
                self.heartbeat_tried_ms = now_ms;
                Served::Nothing
            }
        }
    }

    /// One round: a few of what waits, until there is nothing or no room.
    pub(crate) fn serve(&mut self) -> Served {
        if self.push_dropped().is_err() {
            return Served::NoRoom;
        }
        for _ in 0..SERVED_IN_A_ROW {
            let event = self.shared.desk().next_event();
            let done = match event {
                Some(event) => self.serve_event(event),
                None => {
                    let submission = self.shared.desk().next_submission();
                    match submission {
                        Some((lane, queued)) => self.serve_submission(lane, queued),
                        None => return self.serve_drain(),
                    }
                }
            };
            self.shared.desk().moved();
            if done.is_err() {
                return Served::NoRoom;
            }
        }
        Served::More
    }

    /// The next batch carries what was dropped, and where nothing else makes one, this does.
    fn push_dropped(&mut self) -> Result<(), NoRoom> {
        let counts = {
            let desk = self.shared.desk();
            let Some(since) = desk.dropped_since else {
                return Ok(());
            };
            let stopping = desk.drain != Drain::No;
            if desk.is_empty() && since.elapsed() < DROPPED_WAIT && !stopping {
                return Ok(());
            }
            let counts = desk.dropped.iter();
            counts
                .map(|((session, code), count)| (session.clone(), (*code).to_owned(), *count))
                .collect()
        };
        let pushed = self.push(Need::Own, None, |_, _| (Body::Dropped { counts }, None));
        let mut desk = self.shared.desk();
        match pushed {
            Err(NotPushed::Later) => return Err(NoRoom),
            // No space at all: the counts go on, and are tried again a second from now.
            Err(NotPushed::Refused(refusal)) if refusal.code == Code::JournalUnavailable => {
                desk.dropped_since = Some(Instant::now());
            }
            Err(NotPushed::Refused(refusal)) => {
                tracing::error!(%refusal, "refusals were counted and cannot be recorded");
                desk.forget_dropped();
            }
            Ok(()) => desk.forget_dropped(),
        }
        Ok(())
    }

    fn serve_event(&mut self, queued: Queued<Event>) -> Result<(), NoRoom> {
        let Queued { what, answer } = queued;
        match what {
            Event::Append(body) => {
                let mut slot = Some(answer);
                let pushed = self.push(Need::Own, Some(&mut slot), |_, _| (body.clone(), None));
                match (pushed, slot) {
                    (Err(NotPushed::Later), Some(answer)) => {
                        let what = Event::Append(body);
                        self.shared
                            .desk()
                            .events
                            .push_front(Queued { what, answer });
                        Err(NoRoom)
                    }
                    (Err(NotPushed::Refused(refusal)), Some(answer)) => {
                        drop(answer.send(Err(refusal)));
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            Event::Activate(candidate) => self.serve_activation(candidate, answer),
        }
    }

    /// Calls with a lower number were decided by the old policy; the next one is decided by the new one.
    fn serve_activation(
        &mut self,
        candidate: Candidate,
        answer: oneshot::Sender<Answer>,
    ) -> Result<(), NoRoom> {
        let body = Body::Activation(candidate.activation());
        let mut slot = Some(answer);
        // An operator may be about to forbid something: that can have the last space of a full disk.
        let pushed = self.push(Need::Own, Some(&mut slot), |_, _| (body, None));
        match (pushed, slot) {
            (Ok(()), _) => {
                self.in_force = Arc::new(InForce {
                    number: candidate.number,
                    policy: candidate.policy,
                });
                self.shared.set_in_force(Arc::clone(&self.in_force));
                Ok(())
            }
            (Err(NotPushed::Later), Some(answer)) => {
                let what = Event::Activate(candidate);
                self.shared
                    .desk()
                    .events
                    .push_front(Queued { what, answer });
                Err(NoRoom)
            }
            (Err(NotPushed::Refused(refusal)), Some(answer)) => {
                drop(answer.send(Err(refusal)));
                Ok(())
            }
            (Err(_), None) => Ok(()),
        }
    }

    fn serve_submission(&mut self, lane: Lane, queued: Queued<Submission>) -> Result<(), NoRoom> {
        let Queued { what, answer } = queued;
        let mut slot = Some(answer);
        let now_ms = self.clock.now().boot_ms;
        let pushed = match (self.budget.refusal(&lane, now_ms), &what) {
            (Some(refusal), _) => Err(NotPushed::Refused(refusal)),
            (None, Submission::Call { attested, door }) => self.decide(attested, *door, &mut slot),
            (None, Submission::Report(outcome)) => self.report(outcome, &mut slot),
        };
        if pushed.is_ok() && !lane.is_operators() {
            self.budget.spend(&lane, self.pushed_bytes, now_ms);
        }
        match (pushed, slot) {
            (Err(NotPushed::Later), Some(answer)) => {
                self.shared.desk().put_back(lane, Queued { what, answer });
                Err(NoRoom)
            }
            (Err(NotPushed::Refused(refusal)), Some(answer)) => {
                self.shared
                    .desk()
                    .count_dropped(lane.session_id(), refusal.code);
                drop(answer.send(Err(refusal)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn decide(
        &mut self,
        attested: &Attested,
        door: Door,
        answer: &mut Option<oneshot::Sender<Answer>>,
    ) -> Result<(), NotPushed> {
        let [args_salt, detail_salt] = self.salts.next().map_err(NotPushed::Refused)?;
        let in_force = Arc::clone(&self.in_force);
        let reveal = in_force.policy.artifact().runtime.reveal_rule;
        let revealed = reveal.unwrap_or(self.mode == RunMode::Development);
        let mut scratch = std::mem::take(&mut self.scratch);
        let pushed = self.push(Need::Call, Some(answer), |state, now| {
            let policy = &in_force.policy;
            let question = Question {
                attested,
                door,
                now,
                supposed: &Supposed::nothing(),
            };
            let decision = pipeline::decide_in(&mut scratch, &question, policy, state);
            let rule = decision.rule.and_then(|number| {
                let rules = &policy.agent(attested.agent())?.rules;
                let rule = rules.get(usize::try_from(number).ok()?)?;
                Some(RuleShown {
                    number: number + 1,
                    text: rule.text.as_str().into(),
                    revealed,
                })
            });
            let decided = Box::new(Decided {
                effect: decision.effect,
                would: decision.would,
                code: decision.code,
                message: decision.message.clone(),
                resolution: decision.resolution.clone(),
                missing: decision.missing.clone(),
                rule,
                args_salt,
            });
            let effects = policy.windows().effects(attested, door, &decision);
            let body = Body::Decision(Box::new(DecisionRecord {
                session: attested.session().map(str::to_owned),
                agent: attested.agent().to_owned(),
                attested: attested.is_attested(),
                uid: attested.uid(),
                door,
                tool: attested.call().tool().to_owned(),
                policy: *policy.digest(),
                decision,
                effects,
                arguments: attested.call().arguments_text().to_owned(),
                args_salt,
                detail_salt,
            }));
            (body, Some(decided))
        });
        self.scratch = scratch;
        pushed
    }

    /// An outcome is about a permit of the same caller: nobody else's story is told here, and none twice.
    fn report(
        &mut self,
        outcome: &Outcome,
        answer: &mut Option<oneshot::Sender<Answer>>,
    ) -> Result<(), NotPushed> {
        let session = outcome.session.as_deref();
        if !self.state.awaits_outcome(session, outcome.of) {
            return Err(NotPushed::Refused(Refusal::new(
                Code::CallInvalid,
                format!(
                    "leaf_index: record {} is no permit of this caller that waits for its outcome",
                    outcome.of
                ),
            )));
        }
        self.push(Need::Call, Some(answer), |_, _| {
            (Body::Outcome(outcome.clone()), None)
        })
    }

    fn serve_drain(&mut self) -> Served {
        let drain = self.shared.desk().drain.clone();
        let reason = match drain {
            Drain::No => return self.serve_heartbeat(),
            Drain::Done => return Served::Stopped,
            Drain::Asked(reason) => reason,
        };
        match self.push(Need::Own, None, |_, _| (Body::Stop { reason }, None)) {
            Ok(()) => {
                self.shared.desk().drain = Drain::Done;
                self.shared.handoff.close();
                Served::Stopped
            }
            Err(_) => Served::NoRoom,
        }
    }

    /// Gives the next number to what `make` makes of the state and the time, and pushes it. A step of the clock is
    /// pushed before it. `answer` is taken exactly when the record was pushed.
    fn push(
        &mut self,
        need: Need,
        answer: Option<&mut Option<oneshot::Sender<Answer>>>,
        make: impl FnOnce(&State, Time) -> (Body, Option<Box<Decided>>),
    ) -> Result<(), NotPushed> {
        let now = self.clock.now();
        if let Some(step_ms) = self.steps.step(now) {
            self.push_at(now, need, Body::ClockStep { step_ms }, None, None)?;
            self.steps.accept(now);
        }
        let (body, decided) = make(&self.state, now);
        self.push_at(now, need, body, decided, answer)
    }

    fn push_at(
        &mut self,
        time: Time,
        need: Need,
        body: Body,
        decided: Option<Box<Decided>>,
        answer: Option<&mut Option<oneshot::Sender<Answer>>>,
    ) -> Result<(), NotPushed> {
        let seq = self.state.next_seq();
        let header = Header {
            seq,
            prev: self.prev,
            stack: self.stack.clone(),
            mode: self.mode,
            time,
        };
        let encoded = record::encode(&header, &body)
            .map_err(|error| NotPushed::Refused(not_encoded(&body, &error)))?;
        let leaf = tree::leaf_hash(&encoded.record);
        let room = self.shared.handoff.room(&encoded, need).map_err(no_room)?;
        // From here the record cannot fail to be pushed. A copy of the state costs a count for each session.
        let before = room.rotates().then(|| {
            Box::new(Before {
                state: self.state.clone(),
                last_leaf: self.prev,
                last: self.last.clone(),
            })
        });
        self.state.apply(seq, time, &body).map_err(|error| {
            NotPushed::Refused(Refusal::internal(format!("out of order: {error}")))
        })?;
        self.shared
            .witnessed
            .waits(self.state.unattested_since_ms());
        let epoch = match &body {
            Body::Log(LogEvent::Epoch(epoch)) => Some(epoch.clone()),
            _ => None,
        };
        let draft = Draft {
            seq,
            encoded,
            leaf,
            decided,
            epoch,
            answer: answer.and_then(Option::take),
        };
        self.pushed_bytes = room.bytes();
        room.push(draft, before);
        self.prev = leaf;
        self.last = match (body, self.last.take()) {
            (Body::Start(start), _) => Some((time, start.boot_id)),
            (_, Some((_, boot_id))) => Some((time, boot_id)),
            (_, None) => Some((time, String::new())),
        };
        Ok(())
    }
}

/// A call whose record would be too long is no call of ours; anything else is our fault.
fn not_encoded(body: &Body, error: &record::Error) -> Refusal {
    match (body, error) {
        (Body::Decision(_), record::Error::TooLong { .. }) => Refusal::new(
            Code::CallInvalid,
            "the call is larger than a record of it can be",
        ),
        _ => Refusal::internal(format!("cannot record it: {error}")),
    }
}

/// The journal has no room at the moment.
struct NoRoom;

fn no_room(room: Room) -> NotPushed {
    match room {
        Room::Later | Room::Stopped => NotPushed::Later,
        Room::Full(why) => NotPushed::Refused(Refusal::journal_unavailable(&why)),
        Room::TooLarge => NotPushed::Refused(Refusal::new(
            Code::CallInvalid,
            "the call is larger than a segment of the journal can hold",
        )),
    }
}

/// Fresh randomness for commitments, fetched in blocks.
pub(crate) struct Salts {
    bytes: Box<[u8; SALTS_BYTES]>,
    used: usize,
}

impl Salts {
    pub(crate) fn new() -> Salts {
        Salts {
            bytes: Box::new([0; SALTS_BYTES]),
            used: SALTS_BYTES,
        }
    }

    /// Not random: what a simulation does follows from its seed alone.
    #[cfg(test)]
    pub(crate) fn fixed() -> Salts {
        Salts {
            bytes: Box::new([7; SALTS_BYTES]),
            used: 0,
        }
    }

    fn next(&mut self) -> Result<[[u8; 16]; 2], Refusal> {
        const TAKEN: usize = 32;
        if self.used + TAKEN > SALTS_BYTES {
            getrandom::fill(&mut *self.bytes)
                .map_err(|error| Refusal::internal(format!("no randomness: {error}")))?;
            self.used = 0;
        }
        let fresh = self.bytes.get(self.used..).unwrap_or_default();
        let (pairs, _) = fresh.as_chunks::<16>();
        let [args, detail, ..] = pairs else {
            return Err(Refusal::internal("no randomness left"));
        };
        let salts = [*args, *detail];
        self.used += TAKEN;
        Ok(salts)
    }
}
