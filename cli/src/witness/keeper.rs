//! What a witness judges and remembers.
//!
//! Invariants:
//! - The head that it knows is durable before the cosignature exists: a crash between the two only makes the asker ask
//!   again. It is read from its file for every question, so that a write that failed, or that failed and happened all the
//!   same, leaves nothing in memory that the disk does not hold.
//! - The head that it knows is the log's own signed note and is verified whenever it is read: a damaged file is an error
//!   and never an empty log.
//! - One question at a time: [`Keeper::submit`] takes `&mut self` and does not wait for anything but the disk.
#![forbid(unsafe_code)]

use super::wire::Submission;
use faramesh_core::checkpoint::{self, Checkpoint, PublicKey, Statement, Verified};
use faramesh_core::cosign::WitnessKey;
use faramesh_core::tree::{self, Head, empty_root};
use std::io;

/// Where the last cosigned checkpoints lie.
///
/// A write that returns is durable. One that fails may have happened.
pub trait Heads {
    /// The note that was written last for an origin.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, origin: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces it.
    ///
    /// # Errors
    /// It is not known to be durable.
    fn write(&mut self, origin: &str, note: &[u8]) -> io::Result<()>;

    /// Keeps two notes of one log that contradict each other: together they prove that it forked.
    ///
    /// # Errors
    /// They cannot be kept.
    fn evidence(&mut self, origin: &str, cosigned: &[u8], other: &[u8]) -> io::Result<()>;
}

/// Signs with the witness's key.
pub trait Sign {
    /// The public half.
    fn public(&self) -> &WitnessKey;
    /// An Ed25519 signature.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Cosigned: the line. 200.
    Cosigned {
        /// Which log.
        origin: String,
        /// Records that the checkpoint covers.
        size: u64,
        /// The signature line.
        line: String,
    },
    /// Not the size that it knows: that size. 409.
    Known {
        /// Records of the checkpoint that it cosigned last.
        size: u64,
    },
    /// As many records as it knows, and another root, signed by the log: a fork. 409 with the size.
    Fork {
        /// Which log.
        origin: String,
        /// Records of both.
        size: u64,
        /// Whether both notes were kept.
        kept: bool,
    },
    /// A log that nobody pinned here. 404.
    UnknownLog {
        /// As the checkpoint says.
        origin: String,
    },
    /// Not signed by the log's pinned key. 403.
    NotSigned {
        /// Why.
        why: checkpoint::Error,
    },
    /// The proof does not lead from the known head to this one. 422.
    NotConsistent {
        /// Which log.
        origin: String,
        /// Known records.
        known: u64,
        /// Records of the checkpoint.
        size: u64,
        /// Why.
        why: tree::Error,
    },
    /// Not of the form, or sizes that cannot be. 400.
    Malformed(&'static str),
    /// Its own files are not as they should be. 500.
    Trouble(String),
}

impl Verdict {
    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        match self {
            Verdict::Cosigned { .. } => 200,
            Verdict::Malformed(_) => 400,
            Verdict::NotSigned { .. } => 403,
            Verdict::UnknownLog { .. } => 404,
            Verdict::Known { .. } | Verdict::Fork { .. } => 409,
            Verdict::NotConsistent { .. } => 422,
            Verdict::Trouble(_) => 500,
        }
    }
}

/// A witness without its door.
pub struct Keeper<H, S> {
    logs: Vec<PublicKey>,
    heads: H,
    key: S,
}

impl<H: Heads, S: Sign> Keeper<H, S> {
    /// For these logs. Every head is read once: a damaged one is found before anybody is answered.
    ///
    /// # Errors
    /// Which head, and what is wrong with it.
    pub fn new(logs: Vec<PublicKey>, heads: H, key: S) -> Result<Keeper<H, S>, String> {
        let keeper = Keeper { logs, heads, key };
        for log in &keeper.logs {
            keeper.known(log)?;
        }
        Ok(keeper)
    }

    /// The logs, and how many records of each it has cosigned.
    pub fn logs(&self) -> impl Iterator<Item = (&PublicKey, Result<u64, String>)> {
        self.logs
            .iter()
            .map(|log| (log, self.known(log).map(|(known, _)| known.size)))
    }

    /// Judges one `add-checkpoint`, in the order of the specification. `time_s` is the wall clock's, seconds since the
    /// Unix epoch.
    pub fn submit(&mut self, body: &[u8], time_s: u64) -> Verdict {
        let Submission { old, proof, note } = match Submission::parse(body) {
            Ok(submission) => submission,
            Err(why) => return Verdict::Malformed(why),
        };
        let origin = match origin(&note) {
            Ok(origin) => origin,
            Err(why) => return Verdict::Malformed(why),
        };
        let Some(log) = self.logs.iter().find(|log| log.name().as_str() == origin) else {
            return Verdict::UnknownLog { origin };
        };
        let checkpoint = match log.open::<Checkpoint>(&note) {
            Ok(checkpoint) => checkpoint,
            Err(why) => return Verdict::NotSigned { why },
        };
        let new = checkpoint.head;
        if old > new.size {
            return Verdict::Malformed("the old size is larger than the checkpoint's");
        }
        let (known, known_note) = match self.known(log) {
            Ok(known) => known,
            Err(why) => return Verdict::Trouble(why),
        };
        // The log signed two roots for one size: that is proof, whatever size was asked about.
        if new.size == known.size && new.root != known.root {
            let kept = self.heads.evidence(&origin, &known_note, &note).is_ok();
            return Verdict::Fork {
                origin,
                size: new.size,
                kept,
            };
        }
        if old != known.size {
            return Verdict::Known { size: known.size };
        }
        if let Err(why) = tree::verify_consistency(&known, &new, &proof) {
            return Verdict::NotConsistent {
                origin,
                known: known.size,
                size: new.size,
                why,
            };
        }
        self.cosign(origin, &checkpoint, &note, time_s)
    }

    /// Everything was checked. First the disk, then the signature.
    fn cosign(
        &mut self,
        origin: String,
        checkpoint: &Verified<Checkpoint>,
        note: &[u8],
        time_s: u64,
    ) -> Verdict {
        if let Err(error) = self.heads.write(&origin, note) {
            return Verdict::Trouble(format!(
                "cannot make the checkpoint of `{origin}` durable, so it is not cosigned: {error}"
            ));
        }
        let key = &self.key;
        let signed = key
            .public()
            .cosign(checkpoint, time_s, |message| key.sign(message));
        match signed {
            Ok(line) => Verdict::Cosigned {
                origin,
                size: checkpoint.head.size,
                line,
            },
            Err(error) => Verdict::Trouble(format!("cannot cosign: {error}")),
        }
    }

    /// The head of a log as it lies on disk, and its note; nothing cosigned yet is the empty tree.
    fn known(&self, log: &PublicKey) -> Result<(Head, Vec<u8>), String> {
        let origin = log.name().as_str();
        let note = self
            .heads
            .read(origin)
            .map_err(|error| format!("cannot read the head of `{origin}`: {error}"))?;
        let Some(note) = note else {
            let empty = Head {
                size: 0,
                root: empty_root(),
            };
            return Ok((empty, Vec::new()));
        };
        let checkpoint = log
            .open::<Checkpoint>(&note)
            .map_err(|error| format!("the head of `{origin}` is damaged: {error}"))?;
        Ok((checkpoint.head, note))
    }
}

/// Whose checkpoint it claims to be.
fn origin(note: &[u8]) -> Result<String, &'static str> {
    let text =
        checkpoint::unverified_text(note).map_err(|_| "the checkpoint is not a signed note")?;
    let checkpoint = Checkpoint::parse(text)?;
    Ok(checkpoint.origin.to_string())
}
