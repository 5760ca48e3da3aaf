//! `farameshd`: adapters around the core, no decisions.

/// `daemon.toml`: every path and every number.
pub mod config;

/// The daemon gives up what it does not need.
pub mod confine;

/// Who may connect, how many, for how long.
pub mod listen;

/// What the kernel says of a peer.
pub mod peers;

/// The clock port.
pub mod clock;
/// The handle on everything below: what the doors hold.
pub mod engine;
/// Records become durable, answers leave.
pub mod journal;
/// The only constructors of a reply.
pub mod reply;
/// One thread decides, in one order.
mod sequencer;
/// The policy directory, read.
pub mod store;

/// What systemd is told.
pub mod notify;
