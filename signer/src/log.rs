//! The log as the signer knows it: the frontier of the confirmed head, at most one head that is signed and not yet
//! confirmed, and the key.
//!
//! Invariants:
//! - Every head that is signed was computed here, by appending leaf hashes to the confirmed frontier.
//! - At most one head is unconfirmed. It is dropped with the connection that asked for it; the daemon can bring it back
//!   only by showing its note, which this key signed.
//! - The confirmed head never goes back, but where an operator gives up what is lost ([`Log::go_back`]).
#![forbid(unsafe_code)]

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{self, Checkpoint, PublicKey};
use faramesh_core::tree::{self, Frontier, Hash, Head};

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
    /// A request without a question.
    #[error("the request is empty")]
    Empty,
    /// The tree is full, or our own signature does not hold.
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

/// See the module.
pub struct Log {
    /// Boxed, so that its page can be kept out of swap and never moves.
    key: Box<SigningKey>,
    public: PublicKey,
    confirmed: Signed,
    pending: Option<Signed>,
}

impl Log {
    /// From what the store holds; it has checked that they belong together.
    #[must_use]
    pub const fn new(key: Box<SigningKey>, public: PublicKey, confirmed: Signed) -> Self {
        Log {
            key,
            public,
            confirmed,
            pending: None,
        }
    }

    /// The origin key, without its secret half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Keeps the key's page out of swap.
    ///
    /// # Errors
    /// Where the process may lock no more memory.
    pub fn lock_key_in_memory(&self) -> std::io::Result<()> {
        crate::sys::lock_in_memory(&*self.key)
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
        let checkpoint = Checkpoint {
            origin: self.public.name().clone(),
            head: head_of(&frontier),
        };
        let note = self
            .public
            .seal(&checkpoint, |text| self.key.sign(text).to_bytes())
            .map_err(|error| Refusal::CannotSign(error.to_string()))?;
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

    /// A note of this key that is on disk and ahead of the confirmed head becomes the confirmed one.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed.
    pub fn adopt(&mut self, note: &str, from: u64, leaf_hashes: &[u8]) -> Result<(), Refusal> {
        let checkpoint = self
            .public
            .open::<Checkpoint>(note.as_bytes())
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
        1
    }

    /// The connection is gone: what it has not confirmed is forgotten.
    pub fn drop_unconfirmed(&mut self) {
        self.pending = None;
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

    fn log(seed: u8) -> Log {
        let key = Box::new(SigningKey::from_bytes(&[seed; 32]));
        let bytes = key.verifying_key().to_bytes();
        let public = PublicKey::new(KeyName::origin("shop", &bytes).unwrap(), &bytes).unwrap();
        Log::new(
            key,
            public,
            Signed {
                frontier: Frontier::new(),
                note: None,
            },
        )
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
        let signed = log.public().open::<Checkpoint>(note.as_bytes()).unwrap();
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
}
