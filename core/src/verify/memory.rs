//! What an auditor keeps between two verifications, so that the second reads only what is new.
//!
//! Invariants:
//! - It is kept at a note whose signature was checked, of a journal in which nothing was wrong up to there.
//! - It is never believed alone: [`Continuation::fits`] wants that very note at that very place, signed, and the tree that it
//!   remembers to have the note's root. What it says of the records before the note is as good as the place it was kept in.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, PublicKey};
use crate::frame::{self, Frame, Item};
use crate::tree::{Hash, Head};

use super::merge::State;

/// Begins the bytes. Another version is not read: the whole journal is.
const MAGIC: &[u8; 16] = b"faramesh verify1";

/// The heads that are kept: an attestation comes minutes after its checkpoint.
const HEADS_KEPT: usize = 4_096;

/// What verification goes on from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Continuation {
    state: State,
    /// The note's frame, in its segment.
    note: (u64, u64),
}

/// Why bytes are not a continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAContinuation {
    /// Written by another version, or something else altogether.
    #[error("it is of another version")]
    Version,
    /// Some of its bytes are others.
    #[error("its checksum does not match")]
    Checksum,
    /// It cannot be read.
    #[error("it is malformed")]
    Malformed,
}

/// Why the journal is not the one that was read, at the place that was remembered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTheSame {
    /// No frame, a record, or another note.
    #[error("the checkpoint that was read there is not there any more")]
    NoNote,
    /// The note does not hold.
    #[error("the checkpoint that was read there is not the pinned key's: {0}")]
    Note(#[from] crate::checkpoint::Error),
    /// What is remembered is not what the note signs.
    #[error("what was remembered is not what the checkpoint signs")]
    Root,
}

impl Continuation {
    /// `end` is the byte after the note's frame. `None` where the note is too long to be one.
    pub(super) fn of(state: &State, end: u64) -> Option<Self> {
        let begin = end.checked_sub(frame_len(state.told.last_note.as_deref()?)?)?;
        Some(Continuation {
            state: state.with_heads(HEADS_KEPT),
            note: (begin, end),
        })
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// The head that was verified.
    pub const fn head(&self) -> Head {
        self.state.signed()
    }

    /// The note that was verified last.
    pub fn note(&self) -> &str {
        self.state.told.last_note.as_deref().unwrap_or_default()
    }

    /// The segment that it lies in, by the leaf index in its name.
    pub const fn segment(&self) -> u64 {
        self.state.segment()
    }

    /// The bytes that it takes in that segment. What comes after them is new.
    pub const fn place(&self) -> Range<u64> {
        self.note.0..self.note.1
    }

    /// Whether a head can be compared without reading again what was read: it lies behind, or was that of a late note.
    pub fn can_compare(&self, head: &Head) -> bool {
        head.size >= self.head().size || self.state.head_of(head.size).is_some()
    }

    /// Checks that the bytes at [`Continuation::place`] are still that note, and that it signs what is remembered.
    ///
    /// # Errors
    /// [`NotTheSame`]: then the whole journal has to be read, against [`Continuation::head`].
    pub fn fits(&self, bytes: &[u8], key: &PublicKey) -> Result<(), NotTheSame> {
        let note = match frame::read(bytes, 0) {
            Item::Frame {
                frame: Frame::Note(note),
                ..
            } if note == self.note().as_bytes() => note,
            _ => return Err(NotTheSame::NoNote),
        };
        let head = key.open::<Checkpoint>(note)?.into_inner().head;
        let frontier = &self.state.frontier;
        let remembered = Head {
            size: frontier.size(),
            root: frontier.root(),
        };
        if head == remembered && head == self.head() && head.size == self.state.next_seq {
            Ok(())
        } else {
            Err(NotTheSame::Root)
        }
    }

    /// Bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The inverse of [`Continuation::to_bytes`].
    ///
    /// # Errors
    /// [`NotAContinuation`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAContinuation> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(NotAContinuation::Version)?;
        let (digest, body) = rest
            .split_first_chunk::<32>()
            .ok_or(NotAContinuation::Malformed)?;
        if Hash::from(Sha256::digest(body)) != *digest {
            return Err(NotAContinuation::Checksum);
        }
        postcard::from_bytes(body).map_err(|_| NotAContinuation::Malformed)
    }
}

fn frame_len(note: &str) -> Option<u64> {
    u64::try_from(frame::HEADER_LEN + note.len()).ok()
}

/// A frontier as its canonical bytes.
pub(super) mod frontier {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::tree::Frontier;

    pub(crate) fn serialize<S: Serializer>(frontier: &Frontier, to: S) -> Result<S::Ok, S::Error> {
        frontier.to_bytes().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Frontier, D::Error> {
        Frontier::from_bytes(&Vec::<u8>::deserialize(from)?).map_err(D::Error::custom)
    }
}
