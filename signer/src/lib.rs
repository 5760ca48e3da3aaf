//! faramesh-signer: holds the log keys of one stack and signs only what extends the head that it last confirmed.
//!
//! One process, one thread, one connection. It is given leaf hashes and never a root, so that appending is the only
//! thing that can be asked of it; see [`log`]. The files are in the order in which a start goes through them.

/// The log: what is confirmed, what is not yet, and every refusal. Pure.
pub mod log;

/// The secret halves of the log's keys.
pub mod keys;

/// The state directory: the keys, and the head as it was last persisted.
pub mod store;

/// What the process gives up before it answers anybody.
pub mod confine;

/// The socket: one peer, one connection, one answer to one question.
pub mod serve;

/// What systemd is told.
pub mod notify;

/// All that the compiler cannot check.
pub mod sys;
