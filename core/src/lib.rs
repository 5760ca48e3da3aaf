//! The trusted core: what a call is, what a policy says of it, and what is written down.
//!
//! Pure by construction: no I/O, no clock, no randomness, no async, no globals, no unsafe. Time, salts and the
//! kernel's facts arrive as arguments. The modules are listed in the order of the flow, which is the order to read
//! them in.
#![forbid(unsafe_code)]

pub mod call;
pub mod checkpoint;
pub mod cosign;
pub mod decimal;
pub mod decision;
pub mod frame;
pub mod identity;
pub mod json;
pub mod pipeline;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod record;
pub mod recover;
pub mod state;
pub mod tree;
pub mod verify;
