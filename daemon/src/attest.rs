//! What witnesses said of the journal, checked before it is recorded.
//!
//! A process beside the daemon asks them and brings back a note. Nothing of it is believed: the log's own signature, the
//! cosignatures of pinned keys, and that the checkpoint is one that this daemon made durable itself.
//!
//! Invariant: an attestation that is recorded names a head of this journal. So a log key that somebody else holds cannot
//! make the daemon vouch for another tree.
#![forbid(unsafe_code)]

use crate::engine::Refusal;
use faramesh_core::checkpoint::{self, PublicKey};
use faramesh_core::cosign::Witnesses;
use faramesh_core::record::Attestation;
use faramesh_core::tree::{Hash, Head};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Heads that are remembered: a minute at a thousand batches a second, in 2.5 MiB. A witness that takes longer is asked
/// about a newer one.
const HEADS_MAX: usize = 65_536;

/// The heads that this run made durable, and the one that it began with.
#[derive(Debug)]
pub(crate) struct Heads(Mutex<VecDeque<Head>>);

impl Heads {
    pub(crate) fn new(first: Head) -> Heads {
        Heads(Mutex::new(VecDeque::from([first])))
    }

    /// Journal: a head became durable.
    pub(crate) fn push(&self, head: Head) {
        let mut heads = self.lock();
        if heads.len() >= HEADS_MAX {
            heads.pop_front();
        }
        heads.push_back(head);
    }

    /// The root of so many records, where that was a head.
    fn root(&self, size: u64) -> Option<Hash> {
        let heads = self.lock();
        let at = heads.binary_search_by_key(&size, |head| head.size).ok()?;
        heads.get(at).map(|head| head.root)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Head>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attestation that became a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The record's number.
    pub seq: u64,
    /// Records that are attested.
    pub size: u64,
    /// The pinned witnesses whose cosignatures hold, sorted.
    pub witnesses: Vec<String>,
}

/// Why a note was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotAttested {
    /// Nobody could attest anything.
    #[error("no witness is pinned: run `faramesh apply --witnesses FILE` and restart the daemon")]
    NobodyPinned,
    /// No note of this log, or a pinned witness's line that does not hold.
    #[error(transparent)]
    Note(#[from] checkpoint::Error),
    /// Too few pinned witnesses.
    #[error("{found} of the {wanted} witnesses that the policy wants cosigned it")]
    Quorum {
        /// Different pinned keys whose cosignatures hold.
        found: usize,
        /// What the policy in force wants.
        wanted: usize,
    },
    /// Signed by the log's key, of a size that is a head here, and another tree: somebody else signs with that key.
    #[error(
        "the log's key signed another tree of {size} records: whoever holds it forks this journal; keep the note, run \
         `faramesh audit verify`"
    )]
    AnotherTree {
        /// Its records.
        size: u64,
    },
    /// Not among the heads that are remembered.
    #[error("{size} records are no head that this run made durable: bring a newer one")]
    NoHead {
        /// Its records.
        size: u64,
    },
    /// An older one.
    #[error("{attested} records are attested already")]
    Already {
        /// How many.
        attested: u64,
    },
    /// The journal takes no record.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The pinned witnesses, and how far they have seen the journal.
#[derive(Debug)]
pub(crate) struct Witnessed {
    key: PublicKey,
    pinned: Witnesses,
    heads: Arc<Heads>,
    attested: AtomicU64,
    /// Since when the oldest record waits that no witness has seen, boot clock; [`NOTHING_WAITS`].
    waits_since_ms: AtomicU64,
}

const NOTHING_WAITS: u64 = u64::MAX;

impl Witnessed {
    pub(crate) fn new(
        key: PublicKey,
        pinned: Witnesses,
        heads: Arc<Heads>,
        attested: u64,
    ) -> Witnessed {
        Witnessed {
            key,
            pinned,
            heads,
            attested: AtomicU64::new(attested),
            waits_since_ms: AtomicU64::new(NOTHING_WAITS),
        }
    }

    /// Records that are attested.
    pub(crate) fn size(&self) -> u64 {
        self.attested.load(Ordering::Relaxed)
    }

    /// So many are attested now.
    pub(crate) fn recorded(&self, size: u64) {
        self.attested.fetch_max(size, Ordering::Relaxed);
    }

    /// Sequencer: since when something waits, with each record.
    pub(crate) fn waits(&self, since_ms: Option<u64>) {
        let since_ms = since_ms.unwrap_or(NOTHING_WAITS);
        self.waits_since_ms.store(since_ms, Ordering::Relaxed);
    }

    pub(crate) fn waits_since_ms(&self) -> Option<u64> {
        let since_ms = self.waits_since_ms.load(Ordering::Relaxed);
        (since_ms != NOTHING_WAITS).then_some(since_ms)
    }

    /// What a note proves, as it is recorded.
    pub(crate) fn check(&self, note: &str, quorum: usize) -> Result<Attestation, NotAttested> {
        if self.pinned.is_empty() {
            return Err(NotAttested::NobodyPinned);
        }
        let cosigned = self.pinned.open(note.as_bytes(), &self.key)?;
        let Head { size, root } = cosigned.checkpoint().head;
        match self.heads.root(size) {
            Some(ours) if ours == root => {}
            Some(_) => return Err(NotAttested::AnotherTree { size }),
            None => return Err(NotAttested::NoHead { size }),
        }
        if !cosigned.reaches(quorum) {
            return Err(NotAttested::Quorum {
                found: cosigned.by().len(),
                wanted: quorum.max(1),
            });
        }
        let attested = self.size();
        if size <= attested {
            return Err(NotAttested::Already { attested });
        }
        let by = cosigned.by().iter();
        Ok(Attestation {
            size,
            root,
            witnesses: by.map(|by| by.witness.to_string()).collect(),
            note: note.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};
    use faramesh_core::checkpoint::{Checkpoint, KeyName};
    use faramesh_core::cosign::WitnessKey;

    fn private(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn log() -> PublicKey {
        let bytes = private(1).verifying_key().to_bytes();
        PublicKey::new(KeyName::origin("shop", &bytes).unwrap(), &bytes).unwrap()
    }

    fn witness(seed: u8) -> WitnessKey {
        let bytes = private(seed).verifying_key().to_bytes();
        WitnessKey::new(KeyName::new(&format!("w{seed}")).unwrap(), &bytes).unwrap()
    }

    fn head(size: u64, root: u8) -> Head {
        let root = [root; 32];
        Head { size, root }
    }

    /// Pins these; began with 3 records, and made 5 and 9 durable.
    fn witnessed(pinned: &[u8]) -> Witnessed {
        let heads = Arc::new(Heads::new(head(3, 3)));
        heads.push(head(5, 5));
        heads.push(head(9, 9));
        let pinned = pinned.iter().map(|seed| witness(*seed)).collect();
        Witnessed::new(log(), Witnesses::new(pinned).unwrap(), heads, 3)
    }

    fn note(head: Head, by: &[u8]) -> String {
        let origin = log().name().clone();
        let checkpoint = Checkpoint { origin, head };
        let sign = |seed: u8| move |text: &[u8]| private(seed).sign(text).to_bytes();
        let mut note = log().seal(&checkpoint, sign(1)).unwrap();
        let opened = log().open::<Checkpoint>(note.as_bytes()).unwrap();
        for seed in by {
            note += &witness(*seed).cosign(&opened, 1, sign(*seed)).unwrap();
        }
        note
    }

    #[test]
    fn what_enough_pinned_witnesses_cosigned_of_this_runs_own_heads_is_taken() {
        let witnessed = witnessed(&[2, 3]);
        let note = note(head(9, 9), &[3, 2, 7]);
        let attestation = witnessed.check(&note, 2).unwrap();
        assert_eq!((attestation.size, attestation.root), (9, [9; 32]));
        assert_eq!(attestation.witnesses, ["w2", "w3"]);
        assert_eq!(attestation.note, note);
        witnessed.recorded(9);
        let again = witnessed.check(&note, 2);
        assert!(matches!(again, Err(NotAttested::Already { attested: 9 })));
    }

    #[test]
    fn too_few_or_unpinned_witnesses_attest_nothing() {
        let short = witnessed(&[2, 3]).check(&note(head(9, 9), &[2, 2, 7]), 2);
        let (found, wanted) = (1, 2);
        assert!(
            matches!(short, Err(NotAttested::Quorum { found: f, wanted: w }) if (f, w) == (found, wanted))
        );
        let none = witnessed(&[2]).check(&note(head(9, 9), &[]), 0);
        assert!(matches!(
            none,
            Err(NotAttested::Quorum {
                found: 0,
                wanted: 1
            })
        ));
        let nobody = witnessed(&[]).check(&note(head(9, 9), &[2]), 1);
        assert!(matches!(nobody, Err(NotAttested::NobodyPinned)));
    }

    /// Whoever stole the log's key and fooled a witness still makes the daemon say nothing about his tree.
    #[test]
    fn another_tree_is_not_vouched_for_whoever_signed_it() {
        let witnessed = witnessed(&[2]);
        let forked = witnessed.check(&note(head(9, 8), &[2]), 1);
        assert!(matches!(forked, Err(NotAttested::AnotherTree { size: 9 })));
        for size in [4, 7, 10] {
            let unknown = witnessed.check(&note(head(size, 9), &[2]), 1);
            assert!(matches!(unknown, Err(NotAttested::NoHead { .. })), "{size}");
        }
        let genuine = note(head(9, 9), &[2]);
        let changed = genuine.replace("\n9\n", "\n5\n");
        assert!(matches!(
            witnessed.check(&changed, 1),
            Err(NotAttested::Note(_))
        ));
    }

    #[test]
    fn the_heads_that_are_remembered_are_bounded_and_the_newest() {
        let heads = Heads::new(head(1, 1));
        for size in 2..=HEADS_MAX as u64 + 1 {
            heads.push(head(size, 1));
        }
        assert_eq!(heads.root(1), None);
        assert_eq!(heads.root(2), Some([1; 32]));
        assert_eq!(heads.root(HEADS_MAX as u64 + 1), Some([1; 32]));
    }
}
