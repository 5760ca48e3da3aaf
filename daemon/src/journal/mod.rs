//! The journal: records become durable here, and answers leave from here.
#![forbid(unsafe_code)]

/// What an operator gave up.
pub mod abandoned;
/// The journal thread: the order of a batch, [`Committed`], [`Fatal`].
pub mod commit;
/// Between the sequencer and the journal: the open batch and the space it may take.
mod handoff;
/// Start: lock, ask the signer, judge, adopt, cut, fold.
pub mod recover;
/// Segments and the disk port.
pub mod segment;
/// What a start found is made durable before the signer is told of it.
mod settle;
/// The daemon's end of the conversation with the signer.
pub mod signer_client;
/// Files of the fold, for a start that reads the end of the journal alone.
pub mod snapshots;
/// Reading behind the writer.
pub mod tail;

pub(crate) use commit::Committer;
pub use commit::{Committed, CommittedParts, Decided, Fatal, RuleShown};
pub(crate) use handoff::{Before, Draft, Durable, Handoff, Need, Room};

/// Space that each batch reserves for its note, bytes: a frame's header, an origin of at most 82 bytes in the text and in
/// both signature lines, an epoch's and a size's digits, a root and two signatures in base64 make under 570.
pub(crate) const NOTE_FRAME_BYTES_MAX: u64 = 640;
