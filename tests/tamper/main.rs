//! What an adversary can do to a journal, and at which of the three levels it is found.
//!
//! `journal` writes genuine journals with the core alone. `matrix` has one test for each tampering: who does it, where the
//! fault is named, and what is not found without a head or a witness. `exhaustive` tries every sequence of a few moves on
//! small journals: what verifies is a prefix of the genuine one, and the list of what stays unnoticed is exact.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a journal that cannot be made is a failed test"
)]

mod exhaustive;
mod journal;
mod matrix;
