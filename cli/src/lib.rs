//! `faramesh`: the operator's command line.
//!
//! Which room this is: everything here runs with the rights of whoever typed the command. It compiles and signs
//! policies, lays out a stack's files, starts the other programs and reads what they wrote. It decides no call and
//! holds no log key. Read it in this order: what can be typed, where things lie, how text is printed, what is signed,
//! whom we trust with a path, then one file a command.
#![deny(unsafe_code)]

pub mod args;
pub mod failure;

pub mod layout;

pub mod journal;
pub mod proofs;

pub mod files;
pub mod names;
pub mod output;
pub mod untrusted;

pub mod policies;
pub mod sign;

pub mod changes;
pub mod constructs;
pub mod fixtures;
pub mod indexed;
pub mod moment;
pub mod replay;
pub mod search;
pub mod setup;
pub mod source;
pub mod trial;

pub mod accounts;
pub mod siblings;
pub mod trust;

pub mod anchor;
pub mod witness;

pub mod client;
pub mod stack;
pub mod supervise;
mod sys;

pub mod commands;
