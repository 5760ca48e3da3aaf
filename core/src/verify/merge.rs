//! What one record says against those before it: numbers, chain, roots, and what was known before.
//!
//! Invariants:
//! - [`State`] is all that is known of what was read. Whoever keeps it can go on from there and comes to the same report.
//! - Damage is judged by the next note whose signature holds: before one it may be a torn write.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, EpochKeys, LogKey};
use crate::frame;
use crate::record::{Attestation, Epoch, Erasure, LogEvent, Removal};
use crate::tree::{self, Frontier, Hash, Head};

use super::memory::{self, Continuation};
use super::scan::{At, Beside, Note, Said, Scanned, Told, What};
use super::story::Story;
use super::{
    Answer, FINDINGS_MAX, Fault, Finding, Level, Options, Piece, Pinned, Report, SPANS_MAX, Span,
    scan,
};

/// The last notes' heads, which attestations are compared with: hours of a busy journal, and 20 MB.
const HEADS_MAX: usize = 1 << 19;

/// Erased details that no record has explained yet: 6 MB. An erasure that touches more of them at once is not believed.
const ERASED_MAX: usize = 1 << 18;

/// A frame's place, and the record that it is or that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The leaf index in the segment's name.
    segment: u64,
    offset: u64,
    seq: u64,
}

/// The first records are not there, and it was not read yet why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Missing {
    /// The first that is there.
    pub(super) to: u64,
    /// Whether their hashes were given.
    hashes: bool,
}

/// Everything that is known of what was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// The segment and the byte that are being read.
    segment: u64,
    offset: u64,
    #[serde(with = "memory::frontier")]
    pub(super) frontier: Frontier,
    /// The record number that should come next. Follows the records after a gap, unlike the frontier.
    pub(super) next_seq: u64,
    /// The leaf before; `None` after damage, where it is not known.
    pub(super) prev: Option<Hash>,
    /// Why roots cannot be recomputed any more.
    tree_lost: bool,
    /// The last note whose signature holds; with no key pinned, the last.
    signed: (u64, Hash),
    /// Size of the last note.
    noted: u64,
    /// The record before, and the first that no good note covers.
    last: Option<Place>,
    uncovered: Option<Place>,
    heads: VecDeque<(u64, Hash)>,
    /// The origin that the first note names, where none is pinned.
    origin: Option<String>,
    stack: Option<String>,
    /// Damage with no valid note after it yet: `CannotTell` unless one comes. The first is enough.
    damage: Option<Finding>,
    /// The last epoch that began behind a note, by its number and key; the first has none.
    epoch: Option<(u64, String)>,
    /// Records that named an epoch are gone: the keys are not known before the next one.
    epoch_unknown: bool,
    /// Decisions whose details are gone, in the order of their numbers.
    erased: Vec<Place>,
    pub(super) missing: Option<Missing>,
    removed: u64,
    attested: u64,
    pub(super) story: Story,
    pub(super) told: Tally,
}

/// What goes into the report as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    notes: u64,
    signatures_checked: u64,
    pub(super) last_note: Option<String>,
    pub(super) dropped_calls: u64,
    findings: Vec<Finding>,
    findings_left_out: u64,
    pub(super) spans: Vec<Span>,
    pub(super) spans_left_out: u64,
    pub(super) worst: Level,
}

/// A head that the journal must hold.
#[derive(Debug, Clone, Copy)]
struct Known {
    head: Head,
    of: Whose,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Auditor,
    Witnesses,
}

/// Verification under way.
#[derive(Debug)]
pub struct Verifier {
    pub(super) options: Options,
    pub(super) state: State,
    /// The keys that are due here, where the first epoch's is pinned and the chain from it is known.
    epochs: Option<EpochKeys>,
    /// The epoch that begins behind the next note.
    announced: Option<Epoch>,
    /// In the order of their sizes.
    known: Vec<Known>,
    /// The first of them that was not compared yet.
    known_next: usize,
    continuation: Option<Continuation>,
    /// Removals and erasures that no checkpoint covers yet, with their records' numbers.
    claims: Vec<(u64, LogEvent)>,
}

impl Verifier {
    /// Nothing seen yet.
    pub fn new(options: Options) -> Self {
        let state = State {
            segment: 0,
            offset: 0,
            frontier: Frontier::new(),
            next_seq: 0,
            prev: Some([0; 32]),
            tree_lost: false,
            signed: (0, tree::empty_root()),
            noted: 0,
            last: None,
            uncovered: None,
            heads: VecDeque::new(),
            origin: None,
            stack: None,
            damage: None,
            epoch: None,
            epoch_unknown: false,
            erased: Vec::new(),
            missing: None,
            removed: 0,
            attested: 0,
            story: Story::default(),
            told: Tally::default(),
        };
        Verifier::with(options, state)
    }

    /// Goes on from what was kept. The caller gives the rest of the segment at which it ended, after its last note.
    pub fn resume(options: Options, continuation: Continuation) -> Self {
        let mut verifier = Verifier::with(options, continuation.state().clone());
        verifier.continuation = Some(continuation);
        verifier
    }

    fn with(options: Options, state: State) -> Self {
        let of = |heads: &[Head], of| -> Vec<Known> {
            let known = heads.iter().map(|head| Known {
                head: *head,
                of,
                answer: Answer::CannotTell,
            });
            known.collect()
        };
        let mut known = of(&options.trusted, Whose::Auditor);
        known.extend(of(&options.attested, Whose::Witnesses));
        known.sort_by_key(|known| known.head.size);
        let known_next = known.partition_point(|known| known.head.size < state.frontier.size());
        let mut others = Vec::new();
        for known in known.iter_mut().take(known_next) {
            if let Some(root) = state.head_of(known.head.size) {
                known.answer = Answer::from(root == known.head.root);
                others.extend((root != known.head.root).then_some((known.head.size, known.of)));
            }
        }
        let mut verifier = Verifier {
            epochs: epochs_at(&options, &state),
            announced: None,
            options,
            state,
            known,
            known_next,
            continuation: None,
            claims: Vec::new(),
        };
        for (size, of) in others {
            verifier.find_other(size, of);
        }
        verifier.compare_known();
        verifier
    }

    /// The hash of one of the records whose bodies were removed, in order from the first. Before anything else.
    pub fn removed_leaf(&mut self, leaf: Hash) {
        self.state.prev = Some(leaf);
        if self.state.frontier.push(leaf).is_err() {
            self.lose_tree();
        }
        self.compare_known();
    }

    /// The end of the records whose bodies were removed, where their last hashes fill no tile: the tree over all of them, and
    /// the last one's hash. False where it is not a tree over what was given before.
    pub fn removed_end(&mut self, frontier: &Frontier, last_leaf: Hash) -> bool {
        let given = &self.state.frontier;
        let whole = given.nodes().len();
        let extends = frontier.nodes().get(..whole) == Some(given.nodes())
            && frontier.size() >= given.size()
            && frontier.size() - given.size() < 1 << given.size().trailing_zeros().min(62);
        if extends {
            self.state.frontier = frontier.clone();
            self.state.prev = Some(last_leaf);
            self.compare_known();
        }
        extends
    }

    /// The next segment: the leaf index that its name says, and all of its bytes.
    pub fn segment(&mut self, first: u64, bytes: &[u8]) {
        let piece = Piece {
            first,
            from: 0,
            bytes,
        };
        let scanned = scan(bytes, &self.options);
        self.merge(&piece, scanned);
    }

    /// The next segment, as it was scanned with the same options.
    pub fn merge(&mut self, piece: &Piece<'_>, scanned: Scanned) {
        if scanned.is_empty() {
            return;
        }
        self.state.segment = piece.first;
        self.state.offset = piece.from as u64;
        if piece.from == 0 && piece.first != self.state.next_seq {
            self.jump(piece.first);
        }
        let Scanned {
            items,
            stacks,
            policies,
            last_note,
        } = scanned;
        for (index, At { offset, what }) in items.into_iter().enumerate() {
            self.state.offset = (piece.from + offset) as u64;
            match what {
                What::Record { leaf, said } => {
                    let stack = match &said {
                        Ok(said) => stacks.get(said.stack).map(String::as_str),
                        Err(_) => None,
                    };
                    let policy = match &said {
                        Ok(Said {
                            told: Told::Decision(index),
                            ..
                        }) => policies.get(*index),
                        _ => None,
                    };
                    match &said {
                        Ok(said) => self.record(said, stack.unwrap_or_default(), policy),
                        Err(why) => {
                            self.find(Level::Broken, Fault::Record, why.to_string());
                            self.passed(self.state.next_seq);
                        }
                    }
                    self.push(leaf);
                }
                What::Note(note) => {
                    let end = self.state.offset + (note.at.end - offset) as u64;
                    let sound = self.note(note, piece.bytes);
                    if sound && last_note == Some(index) {
                        self.keep_continuation(end);
                    }
                }
                What::Bad(why) => self.bad_frame(why),
            }
        }
    }

    /// The end of the journal.
    pub fn finish(self) -> Report {
        self.finish_and_keep().0
    }

    /// The end of the journal; and where it holds, what the next verification can go on from.
    pub fn finish_and_keep(mut self) -> (Report, Option<Continuation>) {
        self.explain_what_is_missing();
        if let Some(mut damage) = self.state.damage.take() {
            damage.what.push_str(", after the last checkpoint: a torn write, or damage; a start of the daemon decides");
            self.keep(damage);
        }
        let signed = self.state.signed.0;
        let unsigned_tail = self.state.next_seq.saturating_sub(signed);
        if unsigned_tail > 0 {
            let what = format!(
                "{unsigned_tail} records after the last checkpoint: nobody was answered on them"
            );
            let at = self.state.uncovered;
            self.find_at(at, Level::Warning, Fault::Unsigned, what);
        }
        self.close_spans();
        let extends_trusted = self.conclude_known(Whose::Auditor);
        let holds_attested = self.conclude_known(Whose::Witnesses);
        if self.options.key.is_none()
            && (extends_trusted != Answer::Yes || self.trusted_is_behind())
        {
            let what = "key not pinned: no signature could be checked".into();
            self.find_at(None, Level::CannotTell, Fault::Key, what);
        }
        let told = self.state.told;
        let attested = (self.known.iter())
            .filter(|known| known.of == Whose::Witnesses && known.answer == Answer::Yes)
            .map(|known| known.head.size)
            .chain([self.state.attested])
            .max()
            .filter(|size| *size > 0);
        let report = Report {
            records: self.state.next_seq,
            removed: self.state.removed,
            notes: told.notes,
            signatures_checked: told.signatures_checked,
            signed,
            unsigned_tail,
            last_note: told.last_note,
            dropped_calls: told.dropped_calls,
            findings: told.findings,
            findings_left_out: told.findings_left_out,
            spans: told.spans,
            spans_left_out: told.spans_left_out,
            self_consistent: match told.worst {
                Level::Info | Level::Warning => Answer::Yes,
                Level::CannotTell => Answer::CannotTell,
                Level::Broken => Answer::No,
            },
            extends_trusted,
            holds_attested,
            attested,
            worst: told.worst,
        };
        let continuation = self.continuation.filter(|_| report.exit_code() == 0);
        (report, continuation)
    }

    /// A segment that does not begin where the one before ended: at the very beginning the bodies before may have been
    /// removed, which a record has to say.
    fn jump(&mut self, first: u64) {
        let nothing_read = self.state.last.is_none() && self.state.next_seq == 0;
        if nothing_read && self.state.damage.is_none() {
            let hashes = self.state.frontier.size() == first;
            self.state.missing = Some(Missing { to: first, hashes });
            self.state.story.begin_amid();
            self.state.epoch_unknown = self.epochs.take().is_some();
            if !hashes {
                self.lose_tree();
                self.state.prev = None;
                // Nothing can be compared with, which is not the same as being another.
                self.known_next = self.known.len();
            }
            self.state.noted = first.saturating_sub(1);
            self.state.uncovered = Some(Place {
                seq: 0,
                ..self.place()
            });
        } else {
            let what = format!(
                "the segment's name says record {first}, and record {} should come next",
                self.state.next_seq
            );
            self.find(Level::Broken, Fault::Segment, what);
            self.lose_tree();
            self.state.prev = None;
        }
        self.state.next_seq = first;
    }

    fn record(&mut self, said: &Said, stack: &str, policy: Option<&Hash>) {
        self.link(said, stack);
        self.beside(said);
        self.story(said, policy);
        if let Told::Log(event) = &said.told {
            self.about_the_log(event, said.seq);
        }
        self.passed(said.seq);
    }

    /// Number, link to the record before, stack.
    fn link(&mut self, said: &Said, stack: &str) {
        let expected = self.state.next_seq;
        if said.seq != expected {
            // After damage the numbers go on somewhere else, which is its consequence and not a finding of its own.
            if self.state.prev.is_some() {
                let what = if said.seq > expected {
                    let count = said.seq - expected;
                    format!(
                        "record {} comes where {expected} should: {count} are missing",
                        said.seq
                    )
                } else {
                    format!(
                        "record {} comes where {expected} should: it was put in, moved or repeated",
                        said.seq
                    )
                };
                self.find(Level::Broken, Fault::Number, what);
            }
            self.lose_tree();
        } else if self.state.prev.is_some_and(|prev| prev != said.prev) {
            let what = match said.seq.checked_sub(1) {
                Some(before) => format!(
                    "record {before} is not the one that record {} names as the one before it: one of the two was changed",
                    said.seq
                ),
                None => "the first record names one before it".to_owned(),
            };
            self.find_at(self.state.last, Level::Broken, Fault::Link, what);
        }
        let own = self.state.stack.get_or_insert_with(|| {
            let pinned = (self.options.key.as_ref()).and_then(|key| key.origin().name().stack());
            pinned.unwrap_or(stack).to_owned()
        });
        if *own != stack {
            let what = format!(
                "record {} is of stack `{stack}`, and the journal of `{own}`",
                said.seq
            );
            self.find(Level::Broken, Fault::Stack, what);
        }
    }

    /// What a decision commits to lies beside it, or is erased and some record says so.
    fn beside(&mut self, said: &Said) {
        match said.beside {
            Beside::Committed => {}
            Beside::Other(what) => self.find(Level::Broken, Fault::Detail, what.into()),
            Beside::Erased if self.state.erased.len() < ERASED_MAX => {
                let place = self.place();
                self.state.erased.push(place);
            }
            Beside::Erased => self.find(Level::Broken, Fault::Erasure, UNEXPLAINED.into()),
        }
    }

    /// The next record is the one after `seq`, and this one was the last.
    fn passed(&mut self, seq: u64) {
        let place = self.place();
        self.state.last = Some(place);
        self.state.uncovered.get_or_insert(place);
        self.state.next_seq = seq.saturating_add(1);
    }

    fn push(&mut self, leaf: Hash) {
        self.state.prev = Some(leaf);
        if self.state.frontier.push(leaf).is_err() {
            self.lose_tree();
        }
        self.compare_known();
    }

    /// Whether everything was in order up to here: then the root is that of these records and the signature was checked.
    fn note(&mut self, mut note: Note, bytes: &[u8]) -> bool {
        self.state.told.notes += 1;
        let fault = (note.said.as_ref().ok()).and_then(|checkpoint| self.judge(checkpoint.head));
        if let (Some(key), Some(_)) = (&self.options.key, &fault) {
            note.check(bytes, key.origin());
        }
        self.state.told.signatures_checked += u64::from(note.checked);
        let Checkpoint { origin, head } = match note.said {
            Ok(checkpoint) => checkpoint,
            Err(why) => {
                self.find(Level::Broken, Fault::Signature, why);
                return false;
            }
        };
        if self.options.key.is_none() {
            let own = self.state.origin.get_or_insert_with(|| origin.to_string());
            if own != origin.as_str() {
                let what = format!("a checkpoint is of `{origin}`, and the journal of `{own}`");
                self.find(Level::Broken, Fault::Checkpoint, what);
                return false;
            }
        }
        if note.checked && !self.signed_by_epoch(bytes.get(note.at.clone()).unwrap_or_default()) {
            return false;
        }
        let holds = note.checked || self.options.key.is_none();
        // A note after damage shows that the damage is no torn tail.
        if holds && let Some(mut damage) = self.state.damage.take() {
            damage.level = Level::Broken;
            damage.what.push_str(", and a checkpoint follows it");
            self.keep(damage);
        }
        match &fault {
            Some((fault @ Fault::Root, what)) => {
                self.find_at(self.state.uncovered, Level::Broken, *fault, what.clone());
                self.lose_tree();
            }
            Some((fault, what)) => self.find(Level::Broken, *fault, what.clone()),
            None => {
                self.state.uncovered = None;
                if self.state.heads.len() == HEADS_MAX {
                    self.state.heads.pop_front();
                }
                self.state.heads.push_back((head.size, head.root));
            }
        }
        self.state.noted = self.state.noted.max(head.size);
        if holds && head.size > self.state.signed.0 {
            self.state.signed = (head.size, head.root);
            let text = bytes.get(note.at).unwrap_or_default();
            self.state.told.last_note = Some(String::from_utf8_lossy(text).into_owned());
        }
        let in_order = holds && fault.is_none();
        if in_order {
            self.believe_claims();
        }
        in_order
    }

    /// What a record says of what is missing counts from the checkpoint on that covers it: anybody can write a record.
    fn believe_claims(&mut self) {
        for (seq, event) in std::mem::take(&mut self.claims) {
            match event {
                LogEvent::Removal(removal) => self.removal(&removal, seq),
                LogEvent::Erasure(erasure) => self.erasure(&erasure),
                _ => {}
            }
        }
    }

    /// Whether the key of the epoch that a note lies in signed it too. The epoch that a record announced begins behind it.
    fn signed_by_epoch(&mut self, note: &[u8]) -> bool {
        let Some(Pinned::Log(log)) = &self.options.key else {
            return true;
        };
        let log: LogKey = (**log).clone();
        if self.state.epoch_unknown {
            // The first epoch's key may still be the one.
            let first = EpochKeys::begin(&log);
            if first.open(note).is_ok() {
                self.epochs = Some(first);
                self.state.epoch_unknown = false;
            }
        }
        let signed = match &mut self.epochs {
            Some(keys) => keys.note(note).map(|_| keys.number()),
            None => Ok(0),
        };
        if let Err(why) = signed {
            let what = format!("a checkpoint is not signed by the key of its epoch: {why}");
            self.find(Level::Broken, Fault::Epoch, what);
            return false;
        }
        if let Some(epoch) = self.announced.take() {
            self.epochs = EpochKeys::after(&log, Some(&epoch)).ok();
            self.state.epoch_unknown = self.epochs.is_none();
            self.state.epoch = Some((epoch.number, epoch.key));
        }
        true
    }

    /// The next epoch's key is vouched for by the key before.
    fn epoch(&mut self, epoch: &Epoch, seq: u64) {
        let Some(Pinned::Log(log)) = &self.options.key else {
            return;
        };
        let follows = match &mut self.epochs {
            Some(keys) => keys.announce(epoch),
            None => EpochKeys::after(log, Some(epoch)).map(drop),
        };
        match follows {
            Ok(()) => self.announced = Some(epoch.clone()),
            Err(why) => self.find(Level::Broken, Fault::Epoch, format!("record {seq}: {why}")),
        }
    }

    /// What is wrong with a note of this head here.
    fn judge(&self, Head { size, root }: Head) -> Option<(Fault, String)> {
        let state = &self.state;
        if size != state.next_seq {
            let what = format!(
                "a checkpoint signs {size} records where {} were read",
                state.next_seq
            );
            Some((Fault::Checkpoint, what))
        } else if size <= state.noted {
            let what = format!("a checkpoint of {size} records comes a second time");
            Some((Fault::Checkpoint, what))
        } else if !state.tree_lost && root != state.frontier.root() {
            let from = state.uncovered.map_or(size, |place| place.seq);
            let what = format!(
                "the first {size} records are not those that were signed: one from {from} on was changed"
            );
            Some((Fault::Root, what))
        } else {
            None
        }
    }

    fn bad_frame(&mut self, why: frame::Damage) {
        self.lose_tree();
        self.state.prev = None;
        if self.state.damage.is_none() {
            let place = self.place();
            self.state.damage = Some(finding(
                place,
                Level::CannotTell,
                Fault::Frame,
                why.to_string(),
            ));
        }
    }

    /// Records are missing or others: roots say nothing any more. What made it so is a finding already.
    pub(super) const fn lose_tree(&mut self) {
        self.state.tree_lost = true;
    }

    fn about_the_log(&mut self, event: &LogEvent, seq: u64) {
        match event {
            LogEvent::Heartbeat => {}
            LogEvent::Epoch(epoch) => self.epoch(epoch, seq),
            LogEvent::Snapshot(snapshot) => {
                if snapshot.size > seq {
                    let what =
                        format!("record {seq} names a state of records that are yet to come");
                    self.find(Level::Broken, Fault::Story, what);
                }
            }
            LogEvent::Removal(removal) if removal.to > seq || removal.from > removal.to => {
                let what = format!("record {seq} removes records that are yet to come");
                self.find(Level::Broken, Fault::Removal, what);
            }
            LogEvent::Erasure(erasure)
                if erasure.spans.last().is_some_and(|(_, last)| *last >= seq) =>
            {
                let what = format!("record {seq} erases records that are yet to come");
                self.find(Level::Broken, Fault::Erasure, what);
            }
            LogEvent::Removal(_) | LogEvent::Erasure(_) => self.claims.push((seq, event.clone())),
            LogEvent::Attestation(attestation) => self.attestation(attestation, seq),
            LogEvent::Gap(gap) if gap.kept > seq => {
                let what = format!("record {seq} keeps records over a gap that are yet to come");
                self.find(Level::Broken, Fault::Gap, what);
            }
            LogEvent::Gap(gap) => {
                let what = format!(
                    "an operator (uid {}) gave up records {} to {}, which the signer had confirmed: {}",
                    gap.uid,
                    gap.kept,
                    gap.confirmed.saturating_sub(1),
                    gap.reason
                );
                self.find(Level::Warning, Fault::Gap, what);
            }
        }
    }

    /// Bodies that are gone are gone because a record says so, with the policy that was in force where the rest begins.
    fn removal(&mut self, removal: &Removal, seq: u64) {
        let Some(missing) = self
            .state
            .missing
            .filter(|missing| missing.to <= removal.to)
        else {
            return;
        };
        self.state.missing = None;
        self.state.removed = missing.to;
        if !missing.hashes {
            let what = format!(
                "the first {} records are removed, as record {seq} says, and the tiles that hold their hashes are missing or \
                 incomplete: no root can be computed again",
                missing.to
            );
            self.find(Level::CannotTell, Fault::Removal, what);
        }
        if self.state.epoch_unknown {
            let what = format!(
                "the records that named the epochs' keys before record {} are removed: until the next epoch the origin's \
                 signatures alone are checked",
                missing.to
            );
            self.find(Level::Warning, Fault::Epoch, what);
        }
        if missing.to == removal.to {
            self.policy_at_the_beginning(removal.in_force, seq);
        }
    }

    /// What an erasure names may be empty from here on and before.
    fn erasure(&mut self, erasure: &Erasure) {
        let is_named = |seq: u64| {
            let index = erasure.spans.partition_point(|(_, last)| *last < seq);
            erasure
                .spans
                .get(index)
                .is_some_and(|(first, _)| *first <= seq)
        };
        self.state.erased.retain(|place| !is_named(place.seq));
    }

    /// Witnesses' word counts where their keys are pinned, and for what the journal holds.
    fn attestation(&mut self, attestation: &Attestation, seq: u64) {
        let head = Head {
            size: attestation.size,
            root: attestation.root,
        };
        if head.size > seq {
            let what = format!("record {seq} says that records are attested which are yet to come");
            return self.find(Level::Broken, Fault::Attested, what);
        }
        let heads = &self.state.heads;
        let index = heads.partition_point(|(size, _)| *size < head.size);
        let held = match heads.get(index) {
            Some((size, root)) if *size == head.size => Answer::from(*root == head.root),
            _ if heads.front().is_none_or(|(size, _)| *size > head.size) => Answer::CannotTell,
            _ => Answer::No,
        };
        if held == Answer::No && !self.state.tree_lost {
            let what = format!(
                "record {seq} says that witnesses signed {} records with another root than theirs",
                head.size
            );
            return self.find(Level::Broken, Fault::Attested, what);
        }
        let (Some(key), Some(quorum)) = (&self.options.key, &self.options.quorum) else {
            return;
        };
        match quorum
            .witnesses
            .open(attestation.note.as_bytes(), key.origin())
        {
            Ok(cosigned) if cosigned.checkpoint().head != head => {
                let what =
                    format!("the checkpoint in record {seq} is not the one that the record names");
                self.find(Level::Broken, Fault::Attested, what);
            }
            Ok(cosigned) if !cosigned.reaches(quorum.count) => {
                let what = format!(
                    "the checkpoint in record {seq} has {} of the {} pinned witnesses' signatures that it needs",
                    cosigned.by().len(),
                    quorum.count.max(1)
                );
                self.find(Level::Info, Fault::Attested, what);
            }
            Ok(_) if held == Answer::Yes && !self.state.tree_lost => {
                self.state.attested = self.state.attested.max(head.size);
            }
            Ok(_) => {
                let what = format!(
                    "record {seq} attests {} records, longer ago than heads are remembered; give the note with --attested",
                    head.size
                );
                self.find(Level::Info, Fault::Attested, what);
            }
            Err(why) => {
                let what = format!("what record {seq} says witnesses signed does not hold: {why}");
                self.find(Level::Broken, Fault::Attested, what);
            }
        }
    }

    /// What is gone and was not explained to the end.
    fn explain_what_is_missing(&mut self) {
        if let Some(missing) = self.state.missing.take() {
            let what = format!(
                "the journal begins with record {}, and no record says that those before were removed",
                missing.to
            );
            let place = Place {
                segment: missing.to,
                offset: 0,
                seq: 0,
            };
            self.find_at(Some(place), Level::Broken, Fault::Removal, what);
        }
        for place in std::mem::take(&mut self.state.erased) {
            self.find_at(
                Some(place),
                Level::Broken,
                Fault::Erasure,
                UNEXPLAINED.into(),
            );
        }
    }

    fn compare_known(&mut self) {
        let size = self.state.frontier.size();
        while let Some(known) = self.known.get(self.known_next)
            && known.head.size == size
        {
            let holds = !self.state.tree_lost && known.head.root == self.state.frontier.root();
            let of = known.of;
            if let Some(known) = self.known.get_mut(self.known_next) {
                known.answer = Answer::from(holds);
            }
            self.known_next += 1;
            if !holds {
                self.find_other(size, of);
            }
        }
    }

    fn find_other(&mut self, size: u64, of: Whose) {
        let (fault, whose) = of.words();
        let what = format!("the first {size} records are not those of the head that {whose}");
        self.find_against_known(fault, what);
    }

    fn conclude_known(&mut self, of: Whose) -> Answer {
        let signed = self.state.signed.0;
        let mut answers = Vec::new();
        for index in 0..self.known.len() {
            let Some(known) = self.known.get_mut(index).filter(|known| known.of == of) else {
                continue;
            };
            if signed < known.head.size {
                let already = known.answer == Answer::No;
                known.answer = Answer::No;
                let (fault, whose) = of.words();
                let what = format!(
                    "the journal holds {signed} signed records, and the head that {whose} {}",
                    known.head.size
                );
                if !already {
                    self.find_against_known(fault, what);
                }
            }
            answers.extend(self.known.get(index).map(|known| known.answer));
        }
        [Answer::No, Answer::CannotTell, Answer::Yes]
            .into_iter()
            .find(|answer| answers.contains(answer))
            .unwrap_or(Answer::NotAsked)
    }

    fn trusted_is_behind(&self) -> bool {
        let trusted = self.options.trusted.iter().map(|head| head.size).max();
        trusted.is_none_or(|size| size < self.state.next_seq)
    }

    /// The last good note of a piece: from its end another run can go on.
    fn keep_continuation(&mut self, end: u64) {
        if self.state.damage.is_none() && self.state.told.worst <= Level::Warning {
            self.continuation = Continuation::of(&self.state, end);
        }
    }

    fn place(&self) -> Place {
        Place {
            segment: self.state.segment,
            offset: self.state.offset,
            seq: self.state.next_seq,
        }
    }

    pub(super) fn find(&mut self, level: Level, fault: Fault, what: String) {
        let place = self.place();
        self.keep(finding(place, level, fault, what));
    }

    /// The same at another place; `None` is that of the whole journal.
    pub(super) fn find_at(&mut self, at: Option<Place>, level: Level, fault: Fault, what: String) {
        let place = at.unwrap_or(Place {
            offset: 0,
            ..self.place()
        });
        self.keep(finding(place, level, fault, what));
    }

    fn keep(&mut self, finding: Finding) {
        self.state.told.worst = self.state.told.worst.max(finding.level);
        self.list(finding);
    }

    /// A journal that does not hold what was known may still agree with itself: the statements are not mixed.
    fn find_against_known(&mut self, fault: Fault, what: String) {
        let place = self.place();
        self.list(finding(place, Level::Broken, fault, what));
    }

    fn list(&mut self, finding: Finding) {
        if self.state.told.findings.len() < FINDINGS_MAX {
            self.state.told.findings.push(finding);
        } else {
            self.state.told.findings_left_out += 1;
        }
    }
}

const UNEXPLAINED: &str = "a decision's detail is missing, and no record says that it was erased";

impl From<bool> for Answer {
    fn from(holds: bool) -> Self {
        if holds { Answer::Yes } else { Answer::No }
    }
}

impl Whose {
    const fn words(self) -> (Fault, &'static str) {
        match self {
            Whose::Auditor => (Fault::Trusted, "you trusted before"),
            Whose::Witnesses => (Fault::Attested, "witnesses signed"),
        }
    }
}

impl State {
    /// How many spans and findings there are bounds what is kept of them.
    pub(super) fn keep_span(&mut self, span: Span) {
        if self.told.spans.len() < SPANS_MAX {
            self.told.spans.push(span);
        } else {
            self.told.spans_left_out += 1;
        }
    }

    pub(super) const fn segment(&self) -> u64 {
        self.segment
    }

    pub(super) const fn signed(&self) -> Head {
        Head {
            size: self.signed.0,
            root: self.signed.1,
        }
    }

    /// The root of the note of that size, where it is still known.
    pub(super) fn head_of(&self, size: u64) -> Option<Hash> {
        let index = self.heads.partition_point(|(noted, _)| *noted < size);
        let (_, root) = self.heads.get(index).filter(|(noted, _)| *noted == size)?;
        Some(*root)
    }

    /// A copy with at most so many heads: an attestation lags by minutes.
    pub(super) fn with_heads(&self, max: usize) -> Self {
        let skip = self.heads.len().saturating_sub(max);
        let mut copy = self.clone();
        drop(copy.heads.drain(..skip));
        copy
    }
}

/// The keys that are due behind the note at which a state was kept.
fn epochs_at(options: &Options, state: &State) -> Option<EpochKeys> {
    let Some(Pinned::Log(log)) = &options.key else {
        return None;
    };
    let last = state.epoch.clone();
    let last = last.map(|(number, key)| Epoch { number, key });
    let keys = EpochKeys::after(log, last.as_ref()).ok();
    keys.filter(|_| !state.epoch_unknown)
}

fn finding(place: Place, level: Level, fault: Fault, what: String) -> Finding {
    Finding {
        level,
        fault,
        what,
        seq: place.seq,
        segment: format!("{:020}.seg", place.segment),
        offset: usize::try_from(place.offset).unwrap_or(usize::MAX),
    }
}
