//! `farameshd`: adapters around the core, no decisions.

pub mod config;

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
