//! `farameshd`: adapters around the core, no decisions.
//!
//! The modules are listed in the order in which the daemon lives and then in which a call passes.

/// `daemon.toml`: every path and every number.
pub mod config;

/// STARTING → INITIALIZING → READY → DRAINING → HALT.
pub mod lifecycle;

/// The daemon gives up what it does not need.
pub mod confine;

/// What systemd is told.
pub mod notify;

/// Who may connect, how many, for how long.
pub mod listen;

/// What the kernel says of a peer.
pub mod peers;

/// Which process belongs to which launched agent.
pub mod sessions;

/// How a launched process tree becomes a session.
pub mod attach;

/// What an agent may ask.
pub mod agent_service;

/// What an operator may ask.
pub mod admin;

/// The handle on everything below: what the doors hold.
pub mod attest;

pub mod engine;

/// The clock port.
pub mod clock;

/// One thread decides, in one order.
mod sequencer;
/// The policy directory, read.
pub mod store;

/// Records become durable, answers leave.
pub mod journal;

/// What is made of the journal behind its back.
mod upkeep;

/// The only constructors of a reply.
pub mod reply;

/// All of the above below the doors in one thread, with everything that can go wrong.
#[cfg(test)]
mod simulation;
