//! Snapshots: the fold over the first so many records as a file, so that a start needs the rest alone.
//!
//! The bytes are a line that names the form and its version, then the parts in postcard. Postcard because there is one
//! way to write each value, hashes and counters stay as small as they are, and nobody but the daemon reads the inside:
//! whoever audits takes the file's SHA-256, which stands in a `snapshot` record, and folds the journal.
//!
//! Invariants:
//! - What decodes encodes to the same bytes, keeps every limit of the live state, and describes one place.
//! - Nothing here is believed because it parses: [`crate::recover`] proves the tree of it by the signer's checkpoints, and
//!   the whole of it by its digest in a record behind it.

use super::{OPEN_PERMITS_MAX, Session, State};
use crate::record::Time;
use crate::tree::{Frontier, Hash};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The form and its version. Another form is another line; an old one is then passed over, and the journal read from an
/// earlier place.
const MAGIC: &[u8] = b"faramesh snapshot 1\n";

/// Largest file, bytes. A thousand sessions with some windows take a few MiB; a thousand of the worst kind (see
/// [`super::CALLERS_CONTRIBUTIONS_MAX`]) take a gigabyte, and reading that would cost more than it saves.
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// A place between two records, and what everything before it comes to: all that is needed to go on from there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Point {
    /// The tree over the records before.
    pub frontier: Frontier,
    /// Leaf hash of the last of them, the next record's `prev`; zeros where there is none.
    pub last_leaf: Hash,
    /// The fold over them.
    pub state: State,
    /// The last one's time, and the boot that it belongs to.
    pub last: Option<(Time, String)>,
}

/// A segment that was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSegment {
    /// Its first record: its name.
    pub first: u64,
    /// Its size, bytes.
    pub bytes: u64,
}

/// A snapshot file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The journal's origin: a snapshot of another one is told at once.
    pub origin: String,
    /// The place.
    pub point: Point,
    /// The segments before it that were there, in order: a start that does not read them still misses one that is gone.
    pub segments: Vec<SealedSegment>,
}

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotInvalid {
    /// Over [`SNAPSHOT_BYTES_MAX`].
    #[error("a snapshot takes at most {SNAPSHOT_BYTES_MAX} bytes")]
    TooLong,
    /// Not ours, or of another version.
    #[error("not a snapshot of this version")]
    Form,
    /// The bytes are not what this encodes to.
    #[error("the bytes are damaged")]
    Bytes,
    /// It parses and cannot be.
    #[error("the parts do not fit: {0}")]
    Unsound(&'static str),
}

#[derive(Serialize)]
struct Written<'a> {
    origin: &'a str,
    frontier: Vec<u8>,
    last_leaf: &'a Hash,
    state: &'a State,
    last: &'a Option<(Time, String)>,
    segments: &'a [SealedSegment],
}

#[derive(Deserialize)]
struct Parts {
    origin: String,
    frontier: Vec<u8>,
    last_leaf: Hash,
    state: State,
    last: Option<(Time, String)>,
    segments: Vec<SealedSegment>,
}

impl Snapshot {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`SnapshotInvalid::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotInvalid> {
        let Point {
            frontier,
            last_leaf,
            state,
            last,
        } = &self.point;
        let written = Written {
            origin: &self.origin,
            frontier: frontier.to_bytes(),
            last_leaf,
            state,
            last,
            segments: &self.segments,
        };
        let bytes =
            postcard::to_extend(&written, MAGIC.to_vec()).map_err(|_| SnapshotInvalid::TooLong)?;
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(SnapshotInvalid::TooLong);
        }
        Ok(bytes)
    }

    /// The inverse of [`Snapshot::encode`]. It proves nothing about where the bytes come from.
    ///
    /// # Errors
    /// [`SnapshotInvalid`].
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotInvalid> {
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(SnapshotInvalid::TooLong);
        }
        let body = bytes.strip_prefix(MAGIC).ok_or(SnapshotInvalid::Form)?;
        let parts: Parts = postcard::from_bytes(body).map_err(|_| SnapshotInvalid::Bytes)?;
        let frontier = Frontier::from_bytes(&parts.frontier).map_err(|_| SnapshotInvalid::Bytes)?;
        let mut snapshot = Snapshot {
            origin: parts.origin,
            point: Point {
                frontier,
                last_leaf: parts.last_leaf,
                state: parts.state,
                last: parts.last,
            },
            segments: parts.segments,
        };
        snapshot.check().map_err(SnapshotInvalid::Unsound)?;
        if snapshot.encode()? == bytes {
            Ok(snapshot)
        } else {
            Err(SnapshotInvalid::Bytes)
        }
    }

    /// SHA-256 of a snapshot's bytes: what a `snapshot` record holds.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> Hash {
        Sha256::digest(bytes).into()
    }

    /// Whether the parts can have been one journal's, within every limit of the live state.
    fn check(&mut self) -> Result<(), &'static str> {
        let size = self.point.frontier.size();
        if self.point.state.next_seq != size {
            return Err("the state and the tree are of different places");
        }
        if self.point.last.is_some() != (size > 0) {
            return Err("a last record without records, or records without a last one");
        }
        let rising = self.segments.is_sorted_by(|a, b| a.first < b.first);
        if !rising || self.segments.last().is_some_and(|last| last.first >= size) {
            return Err("the segments are not in order");
        }
        self.point.state.check()
    }
}

impl State {
    fn check(&mut self) -> Result<(), &'static str> {
        let size = self.next_seq;
        if self.removed > size || self.attested.is_some_and(|attested| attested.size > size) {
            return Err("more is removed or attested than there is");
        }
        if !self.unattested.fits(size) {
            return Err("what waits for a witness cannot be");
        }
        let State {
            outside,
            sessions,
            counted,
            ..
        } = self;
        // Nobody shares them yet, so nothing is copied.
        let sessions = sessions
            .values_mut()
            .map(|session| &mut std::sync::Arc::make_mut(session).calls);
        for calls in std::iter::once(outside).chain(sessions) {
            let open = &calls.open.0;
            let in_order = open.iter().is_sorted_by(|a, b| a < b);
            let past = open.back().is_none_or(|last| *last < size);
            if open.len() > OPEN_PERMITS_MAX || !in_order || !past {
                return Err("open permits that cannot be");
            }
            if !calls.windows.read_back(counted) {
                return Err("windows that cannot be");
            }
        }
        Ok(())
    }
}

/// Sessions are shared between copies of a state in memory, and plain in a file.
pub(super) mod shared {
    use super::Session;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    pub(in crate::state) fn serialize<S: Serializer>(
        sessions: &BTreeMap<String, Arc<Session>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(sessions.iter().map(|(id, session)| (id, session.as_ref())))
    }

    pub(in crate::state) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Arc<Session>>, D::Error> {
        let sessions = BTreeMap::<String, Session>::deserialize(deserializer)?;
        let shared = sessions
            .into_iter()
            .map(|(id, session)| (id, Arc::new(session)));
        Ok(shared.collect())
    }
}

#[cfg(test)]
mod tests;
