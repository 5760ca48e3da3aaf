//! The log as the signer knows it: the frontier of the confirmed head, at most one head that is signed and not yet
//! confirmed, and the keys: the origin's, the current epoch's, and the next epoch's once it was asked for.
//!
//! Invariants:
//! - Every head that is signed was computed here, by appending leaf hashes to the confirmed frontier, and both keys signed it.
//! - At most one head is unconfirmed. It is dropped with the connection that asked for it; the daemon can bring it back
//!   only by showing its note, which these keys signed.
//! - The confirmed head never goes back, but where an operator gives up what is lost ([`Log::go_back`]). The epoch never
//!   does: it rises by one, to the key that was asked for before, and never while a head is unconfirmed.
#![forbid(unsafe_code)]

use faramesh_core::checkpoint::{self, Checkpoint, EpochKeys, LogKey, PublicKey, Statement as _};
use faramesh_core::record::Epoch;
use faramesh_core::tree::{self, Frontier, Hash, Head};

use crate::keys::{CannotSign, Pair};

/// Why a request is refused. The message goes to the daemon, which halts with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The daemon builds on another head.
    #[error("the confirmed head has {confirmed} records, and the request builds on {from}")]
    OtherBase {
        /// Ours.
        confirmed: u64,
        /// Asked.
        from: u64,
    },
    /// A second advance before the first was confirmed.
    #[error("a head of {0} records is signed and not yet confirmed")]
    Unconfirmed(u64),
    /// Nothing to append.
    #[error("no leaf hashes were given")]
    NoLeaves,
    /// Not a whole number of hashes.
    #[error("leaf hashes come in 32 bytes each, and {0} bytes were given")]
    Ragged(usize),
    /// A confirmation of a head that is not the unconfirmed one.
    #[error("no head of {0} records is waiting to be confirmed")]
    NotPending(u64),
    /// A note to adopt that this key did not sign.
    #[error("the note to adopt is not this signer's: {0}")]
    ForeignNote(checkpoint::Error),
    /// A note to adopt that signs another tree than the leaves lead to.
    #[error(
        "the note to adopt signs {0} records, and the leaf hashes do not lead to its tree from the confirmed head"
    )]
    OtherTree(u64),
    /// An operator's way back that leads nowhere back.
    #[error(
        "the confirmed head has {confirmed} records: giving up leads back from it, and not to {to}"
    )]
    NotBack {
        /// Ours.
        confirmed: u64,
        /// Asked.
        to: u64,
    },
    /// The key that is due behind that checkpoint is erased.
    #[error(
        "the epoch behind that checkpoint is {due}, and its key was erased when epoch {current} began: the log cannot go on \
         from there; a new stack has to begin"
    )]
    EpochIsOver {
        /// Due there.
        due: u64,
        /// Ours.
        current: u64,
    },
    /// Another epoch than the next.
    #[error("epoch {current} is the current one, and a switch to {asked} was asked for")]
    NotNextEpoch {
        /// Ours.
        current: u64,
        /// Asked.
        asked: u64,
    },
    /// The key of the next epoch was never asked for.
    #[error("epoch {0} has no key yet")]
    NoNextKey(u64),
    /// The journal's record names another key.
    #[error(
        "the key of epoch {0} that the journal names is not the one that this signer holds: \
         its state and the journal are not of one time"
    )]
    OtherEpochKey(u64),
    /// A request without a question.
    #[error("the request is empty")]
    Empty,
    /// The tree is full, or a key is out of reach.
    #[error("cannot sign: {0}")]
    CannotSign(String),
}

/// A head, and the note that signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The tree.
    pub frontier: Frontier,
    /// The note; `None` for the tree without leaves.
    pub note: Option<String>,
}

/// The keys that a log signs with.
pub struct Keys {
    /// What is pinned of the log.
    pub pinned: LogKey,
    /// The origin's.
    pub origin: Pair,
    /// The current epoch's number and key.
    pub epoch: (u64, Pair),
    /// The next epoch's, where it was made already.
    pub next: Option<Pair>,
}

/// See the module.
pub struct Log {
    keys: Keys,
    confirmed: Signed,
    pending: Option<Signed>,
}

impl Log {
    /// From what the store holds; it has checked that they belong together.
    #[must_use]
    pub const fn new(keys: Keys, confirmed: Signed) -> Self {
        Log {
            keys,
            confirmed,
            pending: None,
        }
    }

    /// The origin key, without its secret half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        self.keys.origin.public()
    }

    /// The current epoch, and its key without the secret half.
    #[must_use]
    pub const fn epoch(&self) -> (u64, &PublicKey) {
        (self.keys.epoch.0, self.keys.epoch.1.public())
    }

    /// The next epoch's key, where it was made already.
    #[must_use]
    pub fn next_epoch(&self) -> Option<&PublicKey> {
        self.keys.next.as_ref().map(Pair::public)
    }

    /// Takes the next epoch's key, which is on disk.
    pub fn hold_next(&mut self, next: Pair) {
        self.keys.next = Some(next);
    }

    /// From here on the next epoch's key signs. Returns the number of the epoch that ended: its key has to be erased, after
    /// the change was persisted.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed.
    pub fn switch_epoch(&mut self, number: u64, public_key: &[u8]) -> Result<u64, Refusal> {
        let current = self.keys.epoch.0;
        if Some(number) != current.checked_add(1) {
            let asked = number;
            return Err(Refusal::NotNextEpoch { current, asked });
        }
        if let Some(pending) = &self.pending {
            return Err(Refusal::Unconfirmed(pending.frontier.size()));
        }
        match self.next_epoch() {
            None => return Err(Refusal::NoNextKey(number)),
            Some(next) if next.as_bytes() != public_key => {
                return Err(Refusal::OtherEpochKey(number));
            }
            Some(_) => {}
        }
        if let Some(next) = self.keys.next.take() {
            self.keys.epoch = (number, next);
        }
        Ok(current)
    }

    /// Keeps the pages of all keys out of swap.
    pub fn lock_keys_in_memory(&self) {
        let Keys {
            origin,
            epoch: (_, epoch),
            next,
            ..
        } = &self.keys;
        for pair in [origin, epoch].into_iter().chain(next) {
            pair.lock_in_memory();
        }
    }

    /// The last confirmed head.
    pub const fn confirmed(&self) -> &Signed {
        &self.confirmed
    }

    /// Size and root of the last confirmed head.
    #[must_use]
    pub fn head(&self) -> Head {
        head_of(&self.confirmed.frontier)
    }

    /// Appends leaf hashes and signs the new head, which then waits to be confirmed.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed.
    pub fn advance(&mut self, from: u64, leaf_hashes: &[u8]) -> Result<&str, Refusal> {
        if let Some(pending) = &self.pending {
            return Err(Refusal::Unconfirmed(pending.frontier.size()));
        }
        let frontier = self.extended(from, leaf_hashes)?;
        let note = self.sign(&frontier)?;
        let pending = self.pending.insert(Signed {
            frontier,
            note: Some(note),
        });
        Ok(pending.note.as_deref().unwrap_or_default())
    }

    /// The unconfirmed head is on disk: it is the confirmed one from here.
    ///
    /// # Errors
    /// [`Refusal`] where no head of this size is unconfirmed.
    pub fn durable(&mut self, size: u64) -> Result<(), Refusal> {
        match self
            .pending
            .take_if(|pending| pending.frontier.size() == size)
        {
            Some(pending) => {
                self.confirmed = pending;
                Ok(())
            }
            None => Err(Refusal::NotPending(size)),
        }
    }

    /// A note of these keys that is on disk and ahead of the confirmed head becomes the confirmed one.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed.
    pub fn adopt(&mut self, note: &str, from: u64, leaf_hashes: &[u8]) -> Result<(), Refusal> {
        let checkpoint = self
            .due()
            .and_then(|keys| keys.open(note.as_bytes()))
            .map_err(Refusal::ForeignNote)?;
        let frontier = self.extended(from, leaf_hashes)?;
        if head_of(&frontier) != checkpoint.head {
            return Err(Refusal::OtherTree(checkpoint.head.size));
        }
        self.pending = None;
        self.confirmed = Signed {
            frontier,
            note: Some(note.to_owned()),
        };
        Ok(())
    }

    /// An operator gives up every record behind the checkpoint `note` over `frontier`; `epoch` is the one whose key is due
    /// behind it. No daemon can ask for this: it is done offline, on the state directory.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed.
    pub fn go_back(&mut self, frontier: Frontier, note: &str, epoch: u64) -> Result<(), Refusal> {
        let (confirmed, to) = (self.confirmed.frontier.size(), frontier.size());
        if to >= confirmed {
            return Err(Refusal::NotBack { confirmed, to });
        }
        let current = self.current_epoch();
        if epoch != current {
            return Err(Refusal::EpochIsOver {
                due: epoch,
                current,
            });
        }
        let note = match to {
            0 => None,
            _ => {
                let checkpoint = self
                    .public()
                    .open::<Checkpoint>(note.as_bytes())
                    .map_err(Refusal::ForeignNote)?;
                if checkpoint.head != head_of(&frontier) {
                    return Err(Refusal::OtherTree(checkpoint.head.size));
                }
                Some(note.to_owned())
            }
        };
        self.pending = None;
        self.confirmed = Signed { frontier, note };
        Ok(())
    }

    const fn current_epoch(&self) -> u64 {
        self.keys.epoch.0
    }

    /// The connection is gone: what it has not confirmed is forgotten.
    pub fn drop_unconfirmed(&mut self) {
        self.pending = None;
    }

    /// Both signatures. They are not checked here: the keys fit their public halves, and the daemon checks every note
    /// before it asks for another.
    fn sign(&self, frontier: &Frontier) -> Result<String, Refusal> {
        let checkpoint = Checkpoint {
            origin: self.public().name().clone(),
            head: head_of(frontier),
        };
        let text = checkpoint.text();
        let cannot = |error: CannotSign| Refusal::CannotSign(error.to_string());
        let (origin, epoch) = (&self.keys.origin, &self.keys.epoch.1);
        let by_origin = origin.sign(text.as_bytes()).map_err(cannot)?;
        let by_epoch = epoch.sign(text.as_bytes()).map_err(cannot)?;
        Ok(checkpoint::compose(
            &checkpoint,
            &[
                (origin.public(), &|_| by_origin),
                (epoch.public(), &|_| by_epoch),
            ],
        ))
    }

    /// What a note has to be signed by.
    fn due(&self) -> Result<EpochKeys, checkpoint::Error> {
        let (number, key) = self.epoch();
        let key = key.vkey();
        let began = (number > checkpoint::FIRST_EPOCH).then_some(Epoch { number, key });
        EpochKeys::after(&self.keys.pinned, began.as_ref())
    }

    fn extended(&self, from: u64, leaf_hashes: &[u8]) -> Result<Frontier, Refusal> {
        let confirmed = self.confirmed.frontier.size();
        if from != confirmed {
            return Err(Refusal::OtherBase { confirmed, from });
        }
        let (leaves, rest): (&[Hash], _) = leaf_hashes.as_chunks::<32>();
        match (leaves, rest) {
            (_, [_, ..]) => return Err(Refusal::Ragged(leaf_hashes.len())),
            ([], _) => return Err(Refusal::NoLeaves),
            _ => {}
        }
        let mut frontier = self.confirmed.frontier.clone();
        for leaf in leaves {
            frontier
                .push(*leaf)
                .map_err(|error: tree::Error| Refusal::CannotSign(error.to_string()))?;
        }
        Ok(frontier)
    }
}

fn head_of(frontier: &Frontier) -> Head {
    Head {
        size: frontier.size(),
        root: frontier.root(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::checkpoint::KeyName;

    fn epoch_pair(origin: &KeyName, number: u64) -> Pair {
        let seed = [u8::try_from(number).unwrap() + 100; 32];
        Pair::of_seed(&seed, |_| KeyName::epoch(origin, number)).unwrap()
    }

    fn log(seed: u8) -> Log {
        let origin = Pair::of_seed(&[seed; 32], |key| KeyName::origin("shop", key)).unwrap();
        let epoch = epoch_pair(origin.public().name(), 1);
        let pinned = LogKey::new(origin.public().clone(), epoch.public().clone()).unwrap();
        Log::new(
            Keys {
                pinned,
                origin,
                epoch: (1, epoch),
                next: None,
            },
            Signed {
                frontier: Frontier::new(),
                note: None,
            },
        )
    }

    fn with_next(mut log: Log) -> (Log, [u8; 32]) {
        let next = epoch_pair(log.public().name(), log.epoch().0 + 1);
        let bytes = *next.public().as_bytes();
        log.hold_next(next);
        (log, bytes)
    }

    fn leaves(range: std::ops::Range<u8>) -> Vec<u8> {
        range.flat_map(|n| [n; 32]).collect()
    }

    #[test]
    fn a_head_is_confirmed_only_after_it_was_signed_and_is_said_to_be_durable() {
        let mut log = log(1);
        assert_eq!(log.durable(0), Err(Refusal::NotPending(0)));
        let note = log.advance(0, &leaves(0..3)).unwrap().to_owned();
        assert_eq!(log.head().size, 0);
        assert_eq!(log.durable(2), Err(Refusal::NotPending(2)));
        assert_eq!(log.advance(0, &leaves(0..1)), Err(Refusal::Unconfirmed(3)));
        log.durable(3).unwrap();
        let signed = log.due().unwrap().open(note.as_bytes()).unwrap();
        assert_eq!(signed.head, log.head());
        assert_eq!(log.durable(3), Err(Refusal::NotPending(3)));
    }

    #[test]
    fn an_operator_leads_back_to_a_checkpoint_of_its_own_and_nowhere_else() {
        let mut log = log(1);
        let mut three = Frontier::new();
        for leaf in 0..3 {
            three.push([leaf; 32]).unwrap();
        }
        let note = log.advance(0, &leaves(0..3)).unwrap().to_owned();
        log.durable(3).unwrap();
        let not_back = Err(Refusal::NotBack {
            confirmed: 3,
            to: 3,
        });
        assert_eq!(log.go_back(three.clone(), &note, 1), not_back);
        log.advance(3, &leaves(3..5)).unwrap();
        log.durable(5).unwrap();
        let over = Err(Refusal::EpochIsOver { due: 2, current: 1 });
        assert_eq!(log.go_back(three.clone(), &note, 2), over);
        let foreign = super::tests::log(2)
            .advance(0, &leaves(0..3))
            .unwrap()
            .to_owned();
        let refused = log.go_back(three.clone(), &foreign, 1);
        assert!(matches!(refused, Err(Refusal::ForeignNote(_))));
        let mut other = Frontier::new();
        other.push([0; 32]).unwrap();
        assert_eq!(log.go_back(other, &note, 1), Err(Refusal::OtherTree(3)));
        assert_eq!(log.head().size, 5);
        log.go_back(three, &note, 1).unwrap();
        assert_eq!(log.head().size, 3);
        log.advance(3, &leaves(9..10)).unwrap();
        log.durable(4).unwrap();
        log.go_back(Frontier::new(), "", 1).unwrap();
        assert_eq!((log.head().size, &log.confirmed().note), (0, &None));
    }

    #[test]
    fn only_the_confirmed_head_is_extended() {
        let mut log = log(1);
        log.advance(0, &leaves(0..3)).unwrap();
        log.durable(3).unwrap();
        for from in [0, 2, 4] {
            assert_eq!(
                log.advance(from, &leaves(0..1)),
                Err(Refusal::OtherBase { confirmed: 3, from })
            );
        }
        assert_eq!(log.advance(3, &[]), Err(Refusal::NoLeaves));
        assert_eq!(log.advance(3, &[0; 33]), Err(Refusal::Ragged(33)));
        assert_eq!(log.head().size, 3);
    }

    #[test]
    fn what_was_dropped_comes_back_by_its_own_note_and_by_no_other() {
        let mut log = log(1);
        let note = log.advance(0, &leaves(0..3)).unwrap().to_owned();
        log.drop_unconfirmed();
        assert_eq!(log.durable(3), Err(Refusal::NotPending(3)));
        let foreign = super::tests::log(2)
            .advance(0, &leaves(0..3))
            .unwrap()
            .to_owned();
        assert!(matches!(
            log.adopt(&foreign, 0, &leaves(0..3)),
            Err(Refusal::ForeignNote(_))
        ));
        assert!(matches!(
            log.adopt(&note, 0, &leaves(1..4)),
            Err(Refusal::OtherTree(3))
        ));
        assert!(matches!(
            log.adopt(&note, 0, &leaves(0..2)),
            Err(Refusal::OtherTree(3))
        ));
        assert!(matches!(
            log.adopt(&note, 1, &leaves(0..3)),
            Err(Refusal::OtherBase { .. })
        ));
        log.adopt(&note, 0, &leaves(0..3)).unwrap();
        assert_eq!(
            (log.head().size, log.confirmed().note.as_deref()),
            (3, Some(note.as_str()))
        );
        assert!(matches!(log.adopt(&note, 3, &[]), Err(Refusal::NoLeaves)));
    }
    #[test]
    fn an_epoch_begins_once_forward_with_its_own_key_and_never_under_an_unconfirmed_head() {
        let mut plain = log(1);
        assert_eq!(plain.switch_epoch(2, &[0; 32]), Err(Refusal::NoNextKey(2)));
        let (mut log, key) = with_next(plain);
        let no = |asked| Err(Refusal::NotNextEpoch { current: 1, asked });
        for asked in [0, 1, 3, u64::MAX] {
            assert_eq!(log.switch_epoch(asked, &key), no(asked));
        }
        assert_eq!(
            log.switch_epoch(2, &[0; 32]),
            Err(Refusal::OtherEpochKey(2))
        );
        let old = log.advance(0, &leaves(0..3)).unwrap().to_owned();
        assert_eq!(log.switch_epoch(2, &key), Err(Refusal::Unconfirmed(3)));
        log.durable(3).unwrap();
        let before = log.due().unwrap();
        assert_eq!(log.switch_epoch(2, &key), Ok(1));
        let twice = Err(Refusal::NotNextEpoch {
            current: 2,
            asked: 2,
        });
        assert_eq!(log.switch_epoch(2, &key), twice);
        let new = log.advance(3, &leaves(3..4)).unwrap().to_owned();
        let after = log.due().unwrap();
        assert_eq!(before.open(old.as_bytes()).unwrap().epoch(), 1);
        assert_eq!(after.open(new.as_bytes()).unwrap().epoch(), 2);
        assert!(before.open(new.as_bytes()).is_err());
        assert!(after.open(old.as_bytes()).is_err());
    }

    #[test]
    fn a_note_of_the_epoch_before_is_not_adopted() {
        let (mut log, key) = with_next(log(1));
        let note = log.advance(0, &leaves(0..3)).unwrap().to_owned();
        log.drop_unconfirmed();
        log.switch_epoch(2, &key).unwrap();
        assert!(matches!(
            log.adopt(&note, 0, &leaves(0..3)),
            Err(Refusal::ForeignNote(_))
        ));
    }
}
