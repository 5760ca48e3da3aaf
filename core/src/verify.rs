//! What an auditor can prove from a journal's bytes.
//!
//! Segments are fed in order; memory stays bounded however long the journal is. Everything is looked at: frames and
//! checksums, each record's canonical form, number and link, each commitment, the tree at every note, every note's
//! signature, and whether the story that the records tell can be true.
//!
//! Invariants:
//! - Nothing that was found is left unsaid: findings beyond [`FINDINGS_MAX`] are counted, and the worst level is kept.
//! - Three statements are never confused: that the journal agrees with itself, that it extends a head that was trusted
//!   before, and that somebody outside attests it. The last is never claimed here: there are no witnesses yet.

use crate::checkpoint::{self, Checkpoint, PublicKey, Statement as _};
use crate::frame::{self, Frame, Frames, Item, StoredRecord};
use crate::record::{self, Activation, BodyView, DecisionView, Header, RecordView, RunMode};
use crate::tree::{self, Frontier, Hash, Head};

/// Findings that are kept one by one: enough to see a pattern, little enough to keep.
pub const FINDINGS_MAX: usize = 1_000;

/// Spans that are kept one by one.
pub const SPANS_MAX: usize = 1_000;

/// A wall clock that is set back by less than this is a clock that is being disciplined.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// How bad a finding is; the order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Worth asking about; the evidence holds.
    Warning,
    /// Whether the evidence holds cannot be said.
    CannotTell,
    /// The evidence does not hold.
    Broken,
}

impl Level {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::CannotTell => "cannot tell",
            Level::Broken => "broken",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is, for people.
    pub what: String,
    /// The record that it is about, or before which it lies.
    pub seq: u64,
    /// The segment's name.
    pub segment: String,
    /// Byte offset of the frame in it.
    pub offset: usize,
}

/// Answer to one of the three questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It cannot be said.
    CannotTell,
    /// Nothing was given to check against.
    NotAsked,
}

impl Answer {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::CannotTell => "cannot tell",
            Answer::NotAsked => "not asked",
        }
    }
}

/// What a span of records was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Development mode: any process of the user could have been any agent.
    Development,
    /// The policy in force did not enforce.
    NotEnforcing,
}

impl SpanKind {
    /// The words in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            SpanKind::Development => "development",
            SpanKind::NotEnforcing => "not enforcing",
        }
    }
}

/// Records in which something held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What held.
    pub kind: SpanKind,
    /// First record.
    pub from: u64,
    /// Last record.
    pub to: u64,
}

/// What verification is given besides the journal.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The pinned origin key. Without it signatures cannot be checked.
    pub key: Option<PublicKey>,
    /// A head that was trusted before, from a note that was kept elsewhere.
    pub trusted: Option<Head>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Records seen.
    pub records: u64,
    /// Notes seen.
    pub notes: u64,
    /// Records that a valid note covers.
    pub signed: u64,
    /// Records after the last valid note: nobody was answered on them, or they are being written.
    pub unsigned_tail: u64,
    /// The last valid note: keep it elsewhere, and the next verification can be held against it.
    pub last_note: Option<String>,
    /// Calls that were refused before they could become records, as the journal counts them.
    pub dropped_calls: u64,
    /// In order.
    pub findings: Vec<Finding>,
    /// Findings that were not kept.
    pub findings_left_out: u64,
    /// Development and not enforcing, in order of their ends.
    pub spans: Vec<Span>,
    /// Spans that were not kept.
    pub spans_left_out: u64,
    /// The journal agrees with itself and with the pinned key.
    pub self_consistent: Answer,
    /// It extends the head that was trusted before.
    pub extends_trusted: Answer,
    /// Up to which record somebody outside attests it. Always `None`: there are no witnesses yet.
    pub attested: Option<u64>,
    worst: Level,
}

impl Report {
    /// 0 holds, 1 broken, 2 cannot tell.
    pub const fn exit_code(&self) -> u8 {
        match (self.worst, self.extends_trusted) {
            (Level::Broken, _) | (_, Answer::No) => 1,
            (Level::CannotTell, _) | (_, Answer::CannotTell) => 2,
            _ => 0,
        }
    }
}

/// Verification under way.
#[derive(Debug)]
pub struct Verifier {
    options: Options,
    report: Report,
    segment: String,
    frontier: Frontier,
    /// The record number that should come next. Follows the records after a gap, unlike the frontier.
    next_seq: u64,
    /// The leaf before; `None` after damage, where it is not known.
    prev: Option<Hash>,
    /// Why roots cannot be recomputed any more.
    tree_lost: bool,
    signed_head: Head,
    /// The origin that the first note names, where none is pinned.
    origin: Option<String>,
    /// Damage with no valid note after it yet: `CannotTell` unless one comes. The first is enough.
    damage: Option<Finding>,
    stack: Option<String>,
    story: Story,
}

/// What the records tell, as far as the next one is judged by it.
#[derive(Debug, Default)]
struct Story {
    last: Option<Header>,
    boot_id: Option<String>,
    running: bool,
    policy: Option<Activation>,
    /// Open spans: first record.
    development: Option<u64>,
    not_enforcing: Option<u64>,
}

impl Verifier {
    /// Nothing seen yet.
    pub fn new(options: Options) -> Self {
        let report = Report {
            records: 0,
            notes: 0,
            signed: 0,
            unsigned_tail: 0,
            last_note: None,
            dropped_calls: 0,
            findings: Vec::new(),
            findings_left_out: 0,
            spans: Vec::new(),
            spans_left_out: 0,
            self_consistent: Answer::CannotTell,
            extends_trusted: Answer::NotAsked,
            attested: None,
            worst: Level::Info,
        };
        let mut verifier = Verifier {
            options,
            report,
            segment: String::new(),
            frontier: Frontier::new(),
            next_seq: 0,
            prev: Some([0; 32]),
            tree_lost: false,
            signed_head: Head {
                size: 0,
                root: tree::empty_root(),
            },
            origin: None,
            damage: None,
            stack: None,
            story: Story::default(),
        };
        verifier.compare_with_trusted(0);
        verifier
    }

    /// The next segment: its name, the leaf index that the name says, all of its bytes.
    pub fn segment(&mut self, name: &str, first: u64, bytes: &[u8]) {
        name.clone_into(&mut self.segment);
        if first != self.next_seq && frame::written_len(bytes) > 0 {
            let what = format!(
                "the segment's name says record {first}, and record {} should come next",
                self.next_seq
            );
            self.find(Level::Broken, what, 0);
            self.lose_tree();
            self.next_seq = first;
            self.prev = None;
        }
        let mut from = Some(0);
        while let Some(offset) = from.take() {
            for item in Frames::from(bytes, offset) {
                match item {
                    Item::Frame {
                        at,
                        frame: Frame::Record(stored),
                    } => self.record(&stored, at.start),
                    Item::Frame {
                        at,
                        frame: Frame::Note(note),
                    } => self.note(note, at.start),
                    Item::End { .. } => {}
                    Item::Bad { offset, why } => {
                        self.bad_frame(offset, why);
                        from = frame::resync(bytes, offset);
                    }
                }
            }
        }
    }

    /// The end of the journal.
    pub fn finish(mut self) -> Report {
        if let Some(mut damage) = self.damage.take() {
            damage.what.push_str(", after the last checkpoint: a torn write, or damage; a start of the daemon decides");
            self.keep(damage);
        }
        self.report.records = self.next_seq;
        self.report.signed = self.signed_head.size;
        self.report.unsigned_tail = self.next_seq.saturating_sub(self.signed_head.size);
        if self.report.unsigned_tail > 0 {
            let what = format!(
                "{} records after the last checkpoint: nobody was answered on them",
                self.report.unsigned_tail
            );
            self.find(Level::Warning, what, 0);
        }
        self.close_spans();
        self.conclude_trusted();
        if self.options.key.is_none()
            && (self.report.extends_trusted != Answer::Yes || self.trusted_is_behind())
        {
            self.find(
                Level::CannotTell,
                "key not pinned: no signature could be checked".into(),
                0,
            );
        }
        self.report.self_consistent = match self.report.worst {
            Level::Info | Level::Warning => Answer::Yes,
            Level::CannotTell => Answer::CannotTell,
            Level::Broken => Answer::No,
        };
        self.report
    }

    fn record(&mut self, stored: &StoredRecord<'_>, offset: usize) {
        let leaf = tree::leaf_hash(stored.record);
        match record::decode(stored.record) {
            Ok(view) => {
                self.link(&view.header, offset);
                self.commitments(&view.body, stored, offset);
                self.story(&view, offset);
                self.next_seq = view.header.seq + 1;
            }
            Err(why) => {
                self.find(Level::Broken, why.to_string(), offset);
                self.next_seq += 1;
            }
        }
        self.prev = Some(leaf);
        if self.frontier.push(leaf).is_err() {
            self.lose_tree();
        }
        self.compare_with_trusted(offset);
    }

    /// Number, link to the record before, stack.
    fn link(&mut self, header: &Header, offset: usize) {
        if header.seq != self.next_seq {
            // After damage the numbers go on somewhere else, which is its consequence and not a finding of its own.
            if self.prev.is_some() {
                let what = format!(
                    "a record says that it is number {}, and {} should come",
                    header.seq, self.next_seq
                );
                self.find(Level::Broken, what, offset);
            }
            self.lose_tree();
        }
        if self.prev.is_some_and(|prev| prev != header.prev) {
            self.find(
                Level::Broken,
                format!("record {} does not name the record before it", header.seq),
                offset,
            );
        }
        let stack = self.stack.get_or_insert_with(|| {
            let pinned = self.options.key.as_ref().and_then(|key| key.name().stack());
            pinned.map_or_else(|| header.stack.clone(), str::to_owned)
        });
        if *stack != header.stack {
            let what = format!(
                "record {} is of stack `{}`, and the journal of `{stack}`",
                header.seq, header.stack
            );
            self.find(Level::Broken, what, offset);
        }
    }

    /// What a decision commits to lies beside it.
    fn commitments(&mut self, body: &BodyView, stored: &StoredRecord<'_>, offset: usize) {
        let BodyView::Decision(decision) = body else {
            if !stored.detail.is_empty()
                || *stored.args_salt != [0; 16]
                || *stored.detail_salt != [0; 16]
            {
                self.find(
                    Level::Broken,
                    "something lies beside a record that has no detail".into(),
                    offset,
                );
            }
            return;
        };
        if stored.detail.is_empty() {
            self.find(
                Level::Broken,
                "a decision's detail is missing, and no record says that it was erased".into(),
                offset,
            );
        } else if record::commitment(stored.detail_salt, stored.detail) != decision.detail {
            self.find(
                Level::Broken,
                "a decision's detail is not the one that was recorded".into(),
                offset,
            );
        } else if let Some(arguments) = record::detail_arguments(stored.detail)
            && record::commitment(stored.args_salt, arguments.as_bytes()) != decision.args
        {
            self.find(
                Level::Broken,
                "a decision's arguments or their salt are not those that were recorded".into(),
                offset,
            );
        }
    }

    /// Whether the record can follow those before it: clocks, starts and stops, the policy in force.
    fn story(&mut self, view: &RecordView, offset: usize) {
        let (header, seq) = (&view.header, view.header.seq);
        self.clocks(view, offset);
        self.mode_span(header);
        match &view.body {
            BodyView::Start(start) => {
                if self.story.running {
                    let what = format!(
                        "the daemon started at record {seq} without having stopped: a crash, or a kill"
                    );
                    self.find(Level::Info, what, offset);
                }
                if start.cut_bytes > 0 {
                    let what = format!(
                        "the start at record {seq} cut a torn tail of {} bytes",
                        start.cut_bytes
                    );
                    self.find(Level::Info, what, offset);
                }
                self.story.running = true;
                self.story.boot_id = Some(start.boot_id.clone());
            }
            BodyView::Stop { .. } => self.story.running = false,
            BodyView::Activation(activation) => self.activation(activation, seq, offset),
            BodyView::Decision(decision) => {
                self.must_run(seq, offset);
                self.decided_by(decision, seq, offset);
            }
            BodyView::Outcome(outcome) => {
                self.must_run(seq, offset);
                if outcome.of >= seq {
                    self.find(
                        Level::Broken,
                        format!("the outcome at record {seq} is about a later record"),
                        offset,
                    );
                }
            }
            BodyView::SessionStart(_) => self.must_run(seq, offset),
            BodyView::Dropped { counts } => {
                let count = counts.iter().map(|(_, _, count)| count).sum::<u64>();
                self.report.dropped_calls += count;
                self.find(
                    Level::Info,
                    format!("{count} calls were refused before they could be recorded"),
                    offset,
                );
            }
            BodyView::ClockStep { step_ms } => {
                self.find(
                    Level::Warning,
                    format!("the wall clock was set by {step_ms} ms"),
                    offset,
                );
            }
            BodyView::SessionEnd { .. } | BodyView::Log(_) => {}
        }
        self.story.last = Some(header.clone());
    }

    fn clocks(&mut self, view: &RecordView, offset: usize) {
        let Some(last) = &self.story.last else { return };
        let (now, before) = (view.header.time, last.time);
        let rebooted = match &view.body {
            BodyView::Start(start) => self.story.boot_id.as_ref() != Some(&start.boot_id),
            // Between a crash and the start's own record a few others are written in the new boot.
            _ => !self.story.running,
        };
        if now.boot_ms < before.boot_ms && !rebooted {
            self.find(
                Level::Warning,
                "the boot clock ran back within one run".into(),
                offset,
            );
        }
        if now.wall_ms + CLOCK_TOLERANCE_MS < before.wall_ms {
            let what = format!(
                "the wall clock ran back by {} ms",
                before.wall_ms - now.wall_ms
            );
            self.find(Level::Warning, what, offset);
        }
    }

    fn must_run(&mut self, seq: u64, offset: usize) {
        if !self.story.running {
            // Said once: from here it is taken to run.
            self.story.running = true;
            self.find(
                Level::Broken,
                format!("record {seq} was written while no daemon ran: no start before it"),
                offset,
            );
        }
    }

    fn activation(&mut self, activation: &Activation, seq: u64, offset: usize) {
        if let Some(before) = &self.story.policy
            && activation.number <= before.number
        {
            let what = format!(
                "manifest {} was activated after manifest {}",
                activation.number, before.number
            );
            self.find(Level::Broken, what, offset);
        }
        if activation.policy_mode == "enforce" {
            self.end_span(SpanKind::NotEnforcing, seq);
        } else {
            self.story.not_enforcing.get_or_insert(seq);
        }
        self.story.policy = Some(activation.clone());
    }

    fn decided_by(&mut self, decision: &DecisionView, seq: u64, offset: usize) {
        if self
            .story
            .policy
            .as_ref()
            .is_none_or(|policy| policy.digest != decision.policy)
            && self.prev.is_some()
        {
            let what =
                format!("record {seq} was decided by a policy that no activation had put in force");
            self.find(Level::Broken, what, offset);
        }
    }

    fn mode_span(&mut self, header: &Header) {
        match header.mode {
            RunMode::Development => {
                self.story.development.get_or_insert(header.seq);
            }
            RunMode::Enforced => self.end_span(SpanKind::Development, header.seq),
        }
    }

    fn end_span(&mut self, kind: SpanKind, before: u64) {
        let open = match kind {
            SpanKind::Development => &mut self.story.development,
            SpanKind::NotEnforcing => &mut self.story.not_enforcing,
        };
        if let Some(from) = open.take() {
            if self.report.spans.len() < SPANS_MAX {
                self.report.spans.push(Span {
                    kind,
                    from,
                    to: before.saturating_sub(1),
                });
            } else {
                self.report.spans_left_out += 1;
            }
        }
    }

    fn close_spans(&mut self) {
        for kind in [SpanKind::Development, SpanKind::NotEnforcing] {
            self.end_span(kind, self.next_seq);
        }
    }

    fn note(&mut self, note: &[u8], offset: usize) {
        self.report.notes += 1;
        let checkpoint = match self.open_note(note) {
            Ok(checkpoint) => checkpoint,
            Err(why) => return self.find(Level::Broken, why, offset),
        };
        // A note after damage shows that the damage is no torn tail.
        if let Some(mut damage) = self.damage.take() {
            damage.level = Level::Broken;
            damage.what.push_str(", and a checkpoint follows it");
            self.keep(damage);
        }
        let Head { size, root } = checkpoint.head;
        if size != self.next_seq {
            let what = format!(
                "a checkpoint signs {size} records where {} were read",
                self.next_seq
            );
            self.find(Level::Broken, what, offset);
        } else if size <= self.signed_head.size {
            self.find(
                Level::Broken,
                format!("a checkpoint of {size} records comes a second time"),
                offset,
            );
        } else if !self.tree_lost && root != self.frontier.root() {
            self.find(
                Level::Broken,
                format!("the first {size} records are not those that were signed"),
                offset,
            );
            self.lose_tree();
        }
        if size > self.signed_head.size {
            self.signed_head = checkpoint.head;
            self.report.last_note = Some(String::from_utf8_lossy(note).into_owned());
        }
    }

    /// Verified where a key is pinned, else as it stands.
    fn open_note(&mut self, note: &[u8]) -> Result<Checkpoint, String> {
        if let Some(key) = &self.options.key {
            return match key.open::<Checkpoint>(note) {
                Ok(checkpoint) => Ok(checkpoint.into_inner()),
                Err(why) => Err(format!("a checkpoint is not the pinned key's: {why}")),
            };
        }
        let text = checkpoint::unverified_text(note).map_err(|why| why.to_string())?;
        let checkpoint =
            Checkpoint::parse(text).map_err(|why| format!("not a checkpoint: {why}"))?;
        let origin = self
            .origin
            .get_or_insert_with(|| checkpoint.origin.to_string());
        if checkpoint.origin.as_str() == origin {
            Ok(checkpoint)
        } else {
            Err(format!(
                "a checkpoint is of `{}`, and the journal of `{origin}`",
                checkpoint.origin
            ))
        }
    }

    fn bad_frame(&mut self, offset: usize, why: frame::Damage) {
        self.lose_tree();
        self.prev = None;
        if self.damage.is_none() {
            let (what, segment) = (why.to_string(), self.segment.clone());
            self.damage = Some(Finding {
                level: Level::CannotTell,
                what,
                seq: self.next_seq,
                segment,
                offset,
            });
        }
    }

    /// Records are missing or others: roots say nothing any more. What made it so is a finding already.
    const fn lose_tree(&mut self) {
        self.tree_lost = true;
    }

    fn compare_with_trusted(&mut self, offset: usize) {
        let Some(trusted) = self
            .options
            .trusted
            .filter(|trusted| trusted.size == self.frontier.size())
        else {
            return;
        };
        if !self.tree_lost && trusted.root == self.frontier.root() {
            self.report.extends_trusted = Answer::Yes;
        } else {
            self.report.extends_trusted = Answer::No;
            let what = format!(
                "the first {} records are not those of the head that you trusted before",
                trusted.size
            );
            self.find_against_trusted(what, offset);
        }
    }

    fn conclude_trusted(&mut self) {
        let Some(trusted) = self.options.trusted else {
            return;
        };
        if self.signed_head.size < trusted.size {
            self.report.extends_trusted = Answer::No;
            let what = format!(
                "the journal holds {} signed records, and the head that you trusted before {}",
                self.signed_head.size, trusted.size
            );
            self.find_against_trusted(what, 0);
        } else if self.report.extends_trusted == Answer::NotAsked {
            self.report.extends_trusted = Answer::CannotTell;
        }
    }

    fn trusted_is_behind(&self) -> bool {
        self.options
            .trusted
            .is_none_or(|trusted| trusted.size < self.next_seq)
    }

    fn find(&mut self, level: Level, what: String, offset: usize) {
        self.keep(Finding {
            level,
            what,
            seq: self.next_seq,
            segment: self.segment.clone(),
            offset,
        });
    }

    fn keep(&mut self, finding: Finding) {
        self.report.worst = self.report.worst.max(finding.level);
        self.list(finding);
    }

    /// A journal that does not extend what was trusted may still agree with itself: the two are not mixed.
    fn find_against_trusted(&mut self, what: String, offset: usize) {
        let segment = self.segment.clone();
        self.list(Finding {
            level: Level::Broken,
            what,
            seq: self.next_seq,
            segment,
            offset,
        });
    }

    fn list(&mut self, finding: Finding) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            self.report.findings_left_out += 1;
        }
    }
}
