//! What an auditor can prove from a journal's bytes.
//!
//! Segments are given in order; memory stays bounded however long the journal is. Everything is looked at: frames and
//! checksums, each record's canonical form, number and link, each commitment, the tree at every note, the notes'
//! signatures, and whether the story that the records tell can be true.
//!
//! The work is in two parts. [`scan`] is a pure function of one segment's bytes, and nearly all of the work: any number of
//! segments can be scanned at once. [`Verifier::merge`] takes what was scanned in the journal's order and judges what one
//! record says against those before it. How the scans were divided changes nothing of what is found.
//!
//! Invariants:
//! - Nothing that was found is left unsaid: findings beyond [`FINDINGS_MAX`] are counted, and the worst level is kept.
//! - Three statements are never confused: that the journal agrees with itself, that it extends a head that was trusted
//!   before, and that somebody outside attests it.
//! - A note whose signature was not checked is evidence of nothing. Its size and root are compared all the same, and where
//!   they differ the signature is checked first.
//! - Each place that is reported is that of the first record at which the fault can lie.

mod memory;
mod merge;
mod scan;
mod story;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Error, LogKey, PublicKey};
use crate::cosign::Witnesses;
use crate::tree::Head;

pub use memory::{Continuation, NotAContinuation, NotTheSame};
pub use merge::Verifier;
pub use scan::{Scanned, scan};

/// Findings that are kept one by one: enough to see a pattern, little enough to keep.
pub const FINDINGS_MAX: usize = 1_000;

/// Spans that are kept one by one.
pub const SPANS_MAX: usize = 1_000;

/// How bad a finding is; the order is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Worth knowing.
    #[default]
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

/// What a finding is about: a word that programs can rely on, where the sentence is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Bytes that are no frame.
    Frame,
    /// A segment that does not begin where the one before ended.
    Segment,
    /// Bytes that are no record.
    Record,
    /// A record that is not the next one: some are missing, or it was put in, moved or repeated.
    Number,
    /// A record that is not the one that its successor names.
    Link,
    /// A record of another stack.
    Stack,
    /// What lies beside a record is not what it commits to.
    Detail,
    /// A checkpoint that does not stand where it could.
    Checkpoint,
    /// A checkpoint that the key did not sign.
    Signature,
    /// A checkpoint of other records.
    Root,
    /// A key's epoch that could not have begun so.
    Epoch,
    /// A record that nobody could have written then.
    Story,
    /// A policy that no activation had put in force.
    Policy,
    /// A clock that ran back or was set.
    Clock,
    /// A start after a crash, or one that cut a torn tail.
    Start,
    /// Calls that were refused before they could be recorded.
    Dropped,
    /// Records that no checkpoint covers.
    Unsigned,
    /// Records that were given up.
    Gap,
    /// Records whose bodies are gone.
    Removal,
    /// A detail that is gone.
    Erasure,
    /// A head that was trusted before is not in the journal.
    Trusted,
    /// What witnesses signed is not in the journal, or does not hold.
    Attested,
    /// No key was pinned.
    Key,
}

impl Fault {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Frame => "frame",
            Fault::Segment => "segment",
            Fault::Record => "record",
            Fault::Number => "number",
            Fault::Link => "link",
            Fault::Stack => "stack",
            Fault::Detail => "detail",
            Fault::Checkpoint => "checkpoint",
            Fault::Signature => "signature",
            Fault::Root => "root",
            Fault::Epoch => "epoch",
            Fault::Story => "story",
            Fault::Policy => "policy",
            Fault::Clock => "clock",
            Fault::Start => "start",
            Fault::Dropped => "dropped",
            Fault::Unsigned => "unsigned",
            Fault::Gap => "gap",
            Fault::Removal => "removal",
            Fault::Erasure => "erasure",
            Fault::Trusted => "trusted",
            Fault::Attested => "attested",
            Fault::Key => "key",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about.
    pub fault: Fault,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// What held.
    pub kind: SpanKind,
    /// First record.
    pub from: u64,
    /// Last record.
    pub to: u64,
}

/// Which checkpoints' signatures are checked. The text of every one of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signatures {
    /// The last of each segment (and where that does not hold, the ones before it until one does) and the last of each
    /// epoch: a root that a later signed root covers is authentic.
    #[default]
    Ends,
    /// All.
    Every,
}

/// Witnesses whose word is taken, and how many of them it needs.
#[derive(Debug, Clone)]
pub struct Quorum {
    /// Their pinned keys.
    pub witnesses: Witnesses,
    /// So many of them; 0 counts as 1.
    pub count: usize,
}

/// What is pinned of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinned {
    /// The origin key alone: whose epoch a checkpoint lies in is not looked at, and whoever holds that key could have
    /// written all of it anew.
    Origin(Box<PublicKey>),
    /// The origin key and the key of the first epoch: every checkpoint needs both signatures of its place.
    Log(Box<LogKey>),
}

impl Pinned {
    /// From the two lines of a `log.pub`, or from the first alone.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim_end_matches('\n').contains('\n') {
            Ok(Pinned::Log(Box::new(LogKey::parse(text)?)))
        } else {
            Ok(Pinned::Origin(Box::new(PublicKey::parse_vkey(text)?)))
        }
    }

    /// The key that signs every checkpoint.
    pub fn origin(&self) -> &PublicKey {
        match self {
            Pinned::Origin(key) => key,
            Pinned::Log(key) => key.origin(),
        }
    }
}

impl From<PublicKey> for Pinned {
    fn from(key: PublicKey) -> Self {
        Pinned::Origin(Box::new(key))
    }
}

impl From<LogKey> for Pinned {
    fn from(key: LogKey) -> Self {
        Pinned::Log(Box::new(key))
    }
}

/// What verification is given besides the journal.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The log's pinned keys. Without them signatures cannot be checked.
    pub key: Option<Pinned>,
    /// Which signatures to check.
    pub signatures: Signatures,
    /// Heads that were trusted before, from notes that were kept elsewhere.
    pub trusted: Vec<Head>,
    /// For the journal's own attestations.
    pub quorum: Option<Quorum>,
    /// Heads that enough witnesses signed, from notes that were kept elsewhere. The caller has checked them.
    pub attested: Vec<Head>,
}

/// A segment, or what of it was not read before.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The leaf index that its name says.
    pub first: u64,
    /// Where in the segment `bytes` begins: 0, or where a frame does.
    pub from: usize,
    /// From there to the segment's end.
    pub bytes: &'a [u8],
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Records seen.
    pub records: u64,
    /// Of those, the first so many whose bodies were removed: their hashes alone were seen.
    pub removed: u64,
    /// Notes seen.
    pub notes: u64,
    /// Of those, the ones whose signature was checked.
    pub signatures_checked: u64,
    /// Records that a valid note covers.
    pub signed: u64,
    /// Records after the last valid note: nobody was answered on them, or they are being written.
    pub unsigned_tail: u64,
    /// The last valid note: keep it elsewhere, and the next verification can be held against it.
    pub last_note: Option<String>,
    /// Calls that were refused before they could become records, as the journal counts them.
    pub dropped_calls: u64,
    /// In order of their discovery.
    pub findings: Vec<Finding>,
    /// Findings that were not kept.
    pub findings_left_out: u64,
    /// Development and not enforcing, in order of their ends.
    pub spans: Vec<Span>,
    /// Spans that were not kept.
    pub spans_left_out: u64,
    /// The journal agrees with itself and with the pinned key.
    pub self_consistent: Answer,
    /// It extends the heads that were trusted before.
    pub extends_trusted: Answer,
    /// It holds what witnesses signed.
    pub holds_attested: Answer,
    /// The first so many records are attested by enough pinned witnesses.
    pub attested: Option<u64>,
    worst: Level,
}

impl Report {
    /// 0 holds, 1 broken, 2 cannot tell.
    pub fn exit_code(&self) -> u8 {
        let answers = [self.extends_trusted, self.holds_attested];
        if self.worst == Level::Broken || answers.contains(&Answer::No) {
            1
        } else if self.worst == Level::CannotTell || answers.contains(&Answer::CannotTell) {
            2
        } else {
            0
        }
    }
}
