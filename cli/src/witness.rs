//! Witnesses: somebody else who saw how long the journal is.
//!
//! A witness is another user, or better another host. It keeps the last checkpoint that it signed for each log, and
//! signs another only where a consistency proof shows that it extends that one: so whoever holds the log's key and its
//! disk cannot take back what a witness has seen. The protocol is C2SP tlog-witness, the signature C2SP
//! tlog-cosignature.
//!
//! Who asks is `anchor`; who answers is `serve`, which speaks HTTP, over `keeper`, which judges. Nothing of this runs in
//! the daemon.

/// Where it listens.
pub mod address;
/// What a witness judges and remembers.
pub mod keeper;
/// Its door: HTTP on a Unix socket or a loopback address.
pub mod serve;
/// Its key and its files.
pub mod state;
/// What is sent to it.
pub mod wire;
