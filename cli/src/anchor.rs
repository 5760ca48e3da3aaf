//! Anchoring: having the journal's newest checkpoint cosigned by witnesses, and keeping the proof.
//!
//! A process of its own, as a user of the auditors' group: it reads the journal and writes nowhere in it, and it alone
//! speaks HTTP. The daemon takes from it no more than a signed note, which it checks itself.
//!
//! One round: the newest checkpoint of the journal (`follow`), asked of each witness with the proof from what that one
//! knows (`ask`), the signatures joined into one note, the note appended to the anchor file (`file`) and handed to the
//! daemon. `round` is the page to read.

/// The conversation with one witness.
pub mod ask;
/// The append-only file.
pub mod file;
/// The newest checkpoint, and proofs from the journal's files.
pub mod follow;
/// One round.
pub mod round;
