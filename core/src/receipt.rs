//! Receipts: what a reply carries, and what a third party can conclude from it offline.
//!
//! Invariant: a [`VerifiedReceipt`] is made by [`Receipt::verify`] alone: its record is canonical, is the leaf at the
//! index that it names, of a tree whose head the pinned origin key signed, in the stack that the key belongs to.

use std::ops::Deref;

use crate::checkpoint::{self, Checkpoint, PublicKey};
use crate::record::{self, BodyView, DecisionView, Header, Malformed};
use crate::tree::{self, Hash};

/// What a reply carries, as it came: worth nothing before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The record's canonical bytes: the Merkle leaf.
    pub record: Vec<u8>,
    /// Its index in the tree, counted from 0.
    pub leaf_index: u64,
    /// RFC 6962 inclusion path, leaf to root.
    pub path: Vec<Hash>,
    /// The checkpoint as a signed note.
    pub checkpoint: String,
    /// `SHA-256(salt ‖ canonical arguments)` is the record's `args`.
    pub args_salt: [u8; 16],
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The record.
    #[error(transparent)]
    Record(#[from] Malformed),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The path.
    #[error("the record is not in the signed tree: {0}")]
    Inclusion(#[from] tree::Error),
    /// Another leaf's number.
    #[error("the record says that it is number {said}, the receipt {index}")]
    Index {
        /// The record's `seq`.
        said: u64,
        /// The receipt's leaf index.
        index: u64,
    },
    /// Another stack's record.
    #[error("the record is another stack's")]
    Stack,
    /// Not a decision.
    #[error("the record is not a decision")]
    NotADecision,
}

/// A decision that a pinned origin key vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// The record's header: time, mode, number.
    pub header: Header,
    /// Its leaf hash: with the origin, what a receipt is known by when it comes a second time.
    pub leaf: Hash,
    decision: DecisionView,
    args_salt: [u8; 16],
}

impl Receipt {
    /// Checks record, path, note and signature. Time, effect, tool, arguments and reuse are for the caller to judge.
    ///
    /// # Errors
    /// Where any of it does not hold.
    pub fn verify(&self, origin: &PublicKey) -> Result<VerifiedReceipt, Error> {
        let view = record::decode(&self.record)?;
        let checkpoint = origin.open::<Checkpoint>(self.checkpoint.as_bytes())?;
        let leaf = tree::leaf_hash(&self.record);
        let head = &checkpoint.head;
        tree::verify_inclusion(&leaf, self.leaf_index, head.size, &self.path, &head.root)?;
        if view.header.seq != self.leaf_index {
            return Err(Error::Index {
                said: view.header.seq,
                index: self.leaf_index,
            });
        }
        if origin.name().stack() != Some(view.header.stack.as_str()) {
            return Err(Error::Stack);
        }
        match view.body {
            BodyView::Decision(decision) => Ok(VerifiedReceipt {
                header: view.header,
                leaf,
                decision: *decision,
                args_salt: self.args_salt,
            }),
            _ => Err(Error::NotADecision),
        }
    }
}

impl VerifiedReceipt {
    /// Whether the decision was about these arguments, in their canonical text.
    pub fn is_about(&self, canonical_arguments: &str) -> bool {
        record::commitment(&self.args_salt, canonical_arguments.as_bytes()) == self.decision.args
    }
}

impl Deref for VerifiedReceipt {
    type Target = DecisionView;

    fn deref(&self) -> &DecisionView {
        &self.decision
    }
}
