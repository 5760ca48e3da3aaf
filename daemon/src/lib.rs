//! `farameshd`: adapters around the core, no decisions.

pub mod config;
