//! What the log says about itself: epochs of its key, snapshots, what was removed or erased, who attests it.
//!
//! A record of each is written the moment the thing is decided, and before it is done where it takes something away: so a
//! reader finds the reason for whatever is missing, and what is missing without one is tampering.

use super::canon::{Reader, Writer};
use super::{Error, Malformed, SENTENCE_BYTES_MAX, at_most, cut, name};
use crate::checkpoint::NOTE_BYTES_MAX;
use crate::tree::Hash;

/// Spans in one erasure: who has more writes more records.
pub const ERASED_SPANS_MAX: usize = 4_096;
/// Witnesses that an attestation names: as many as a note has signatures.
const WITNESSES_MAX: usize = 16;
/// A public key's line: a name of at most 200 bytes, an id and a key.
const VKEY_BYTES_MAX: usize = 512;

/// An event of the log itself. One variant a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// Nothing happened for a while: the time of an idle journal is attested too.
    Heartbeat,
    /// Another epoch key signs from the next checkpoint on; the one that covers this record is the old key's last.
    Epoch(Epoch),
    /// The state after so many records was written to a file.
    Snapshot(Snapshot),
    /// Record bodies will be removed; their hashes stay.
    Removal(Removal),
    /// What lies beside some records will be erased; the records stay.
    Erasure(Erasure),
    /// Witnesses signed a checkpoint.
    Attestation(Attestation),
    /// An operator gave up records that the signer had confirmed and that are lost.
    Gap(Gap),
}

/// See [`LogEvent::Epoch`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// Of the epoch that begins; the first epoch is 1 and needs no record.
    pub number: u64,
    /// Its public key's line (C2SP signed-note vkey).
    pub key: String,
}

/// See [`LogEvent::Snapshot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Records whose fold it is; always fewer than this record's own number.
    pub size: u64,
    /// SHA-256 of the file's bytes.
    pub digest: Hash,
}

/// See [`LogEvent::Removal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// First record whose body goes: 0, or where the removal before ended.
    pub from: u64,
    /// The first that stays.
    pub to: u64,
    /// The manifest's number and the artifact that were in force at `to`, where one was.
    pub in_force: Option<(u64, Hash)>,
    /// Why: `retention` and its limit.
    pub reason: String,
}

/// See [`LogEvent::Erasure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// (first, last) numbers of records, rising, both inclusive. Only decisions have something to erase.
    pub spans: Vec<(u64, u64)>,
    /// The operator's user.
    pub uid: u32,
    /// Why, in the operator's words; it must not name what is erased.
    pub reason: String,
}

/// See [`LogEvent::Attestation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Records that the checkpoint covers.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Names of the witnesses whose signatures the daemon checked, sorted.
    pub witnesses: Vec<String>,
    /// The checkpoint with the log's and the witnesses' signatures: the evidence itself.
    pub note: String,
}

/// See [`LogEvent::Gap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Records that the signer had confirmed.
    pub confirmed: u64,
    /// Their root.
    pub root: Hash,
    /// Records that the journal still had: what it goes on from.
    pub kept: u64,
    /// The operator's user.
    pub uid: u32,
    /// Why, in the operator's words.
    pub reason: String,
}

impl LogEvent {
    /// The word in a record's `kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            LogEvent::Heartbeat => "heartbeat",
            LogEvent::Epoch(_) => "epoch",
            LogEvent::Snapshot(_) => "snapshot",
            LogEvent::Removal(_) => "removal",
            LogEvent::Erasure(_) => "erasure",
            LogEvent::Attestation(_) => "attestation",
            LogEvent::Gap(_) => "gap",
        }
    }
}

pub(super) fn encode(w: &mut Writer<'_>, event: &LogEvent) -> Result<(), Error> {
    match event {
        LogEvent::Heartbeat => {}
        LogEvent::Epoch(epoch) => {
            name("key", &epoch.key, VKEY_BYTES_MAX)?;
            w.str("key", &epoch.key);
            w.uint("number", epoch.number);
        }
        LogEvent::Snapshot(snapshot) => {
            w.digest("digest", &snapshot.digest);
            w.uint("size", snapshot.size);
        }
        LogEvent::Removal(removal) => {
            w.uint("from", removal.from);
            w.optional_uint("number", removal.in_force.map(|(number, _)| number));
            w.optional_digest(
                "policy",
                removal.in_force.as_ref().map(|(_, policy)| policy),
            );
            w.str("reason", &cut(&removal.reason, SENTENCE_BYTES_MAX));
            w.uint("to", removal.to);
        }
        LogEvent::Erasure(erasure) => {
            at_most("spans", erasure.spans.len(), ERASED_SPANS_MAX)?;
            w.str("reason", &cut(&erasure.reason, SENTENCE_BYTES_MAX));
            w.objects("spans", &erasure.spans, |w, (first, last)| {
                w.uint("first", *first);
                w.uint("last", *last);
            });
            w.uint("uid", erasure.uid.into());
        }
        LogEvent::Attestation(attestation) => {
            at_most("witnesses", attestation.witnesses.len(), WITNESSES_MAX)?;
            for witness in &attestation.witnesses {
                name("witnesses", witness, VKEY_BYTES_MAX)?;
            }
            name("note", &attestation.note, NOTE_BYTES_MAX)?;
            w.str("note", &attestation.note);
            w.hash("root", &attestation.root);
            w.uint("size", attestation.size);
            w.strings("witnesses", &attestation.witnesses);
        }
        LogEvent::Gap(gap) => {
            w.uint("confirmed", gap.confirmed);
            w.uint("kept", gap.kept);
            w.str("reason", &cut(&gap.reason, SENTENCE_BYTES_MAX));
            w.hash("root", &gap.root);
            w.uint("uid", gap.uid.into());
        }
    }
    Ok(())
}

/// `None` for a word that is no event's.
pub(super) fn decode(kind: &str, r: &mut Reader<'_>) -> Option<Result<LogEvent, Malformed>> {
    let event = match kind {
        "heartbeat" => Ok(LogEvent::Heartbeat),
        "epoch" => epoch(r).map(LogEvent::Epoch),
        "snapshot" => snapshot(r).map(LogEvent::Snapshot),
        "removal" => removal(r).map(LogEvent::Removal),
        "erasure" => erasure(r).map(LogEvent::Erasure),
        "attestation" => attestation(r).map(LogEvent::Attestation),
        "gap" => gap(r).map(LogEvent::Gap),
        _ => return None,
    };
    Some(event)
}

fn epoch(r: &mut Reader<'_>) -> Result<Epoch, Malformed> {
    Ok(Epoch {
        key: r.string_of("key")?,
        number: r.uint("number")?,
    })
}

fn snapshot(r: &mut Reader<'_>) -> Result<Snapshot, Malformed> {
    Ok(Snapshot {
        digest: r.digest("digest")?,
        size: r.uint("size")?,
    })
}

fn removal(r: &mut Reader<'_>) -> Result<Removal, Malformed> {
    let from = r.uint("from")?;
    let in_force = match (r.optional_uint("number")?, r.optional_digest("policy")?) {
        (Some(number), Some(policy)) => Some((number, policy)),
        (None, None) => None,
        _ => return Err(r.malformed("a number without a policy, or a policy without a number")),
    };
    Ok(Removal {
        from,
        in_force,
        reason: r.string_of("reason")?,
        to: r.uint("to")?,
    })
}

fn erasure(r: &mut Reader<'_>) -> Result<Erasure, Malformed> {
    let reason = r.string_of("reason")?;
    let spans = r.objects("spans", |r| Ok((r.uint("first")?, r.uint("last")?)))?;
    let mut next = 0;
    for (first, last) in &spans {
        if *first < next || last < first {
            return Err(r.malformed("spans that do not rise"));
        }
        next = last.saturating_add(1);
    }
    Ok(Erasure {
        spans,
        uid: r.u32("uid")?,
        reason,
    })
}

fn attestation(r: &mut Reader<'_>) -> Result<Attestation, Malformed> {
    Ok(Attestation {
        note: r.string_of("note")?,
        root: r.hash("root")?,
        size: r.uint("size")?,
        witnesses: r.strings("witnesses")?,
    })
}

fn gap(r: &mut Reader<'_>) -> Result<Gap, Malformed> {
    let (confirmed, kept) = (r.uint("confirmed")?, r.uint("kept")?);
    let reason = r.string_of("reason")?;
    Ok(Gap {
        confirmed,
        root: r.hash("root")?,
        kept,
        uid: r.u32("uid")?,
        reason,
    })
}
