//! faramesh-index: follows one stack's journal and answers where in it something is.
//!
//! In the order in which a record passes: [`journal`] reads files, [`follow`] takes what a signed note covers,
//! [`entry`] is what is kept of a record, [`store`] writes it down with the position, [`query`] answers from there, and
//! [`serve`] carries the answers.
//!
//! Invariants:
//! - The journal is only read. Nothing that is written here is evidence, and nothing that the journal's records commit
//!   to beside themselves (arguments, inputs, messages) is kept here: so there is nothing to erase.
//! - A record is indexed once a note that the pinned key signed covers it, and in one write with the position after it.
//! - What lies in the store is derived: where it is missing, of another journal or of another version, it is made anew.
#![forbid(unsafe_code)]

pub mod journal;

pub mod follow;

pub mod entry;

pub mod store;

pub mod query;

pub mod serve;

pub mod notify;
