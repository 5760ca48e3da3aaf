//! `faramesh explain`: what a finding's number means, and why a call is decided as it is.
#![forbid(unsafe_code)]

pub mod number;

pub mod call;

use crate::args::{ExplainArgs, ExplainCommand, Global};
use crate::failure::Failure;
use crate::output::Output;

/// Explains what was asked for.
///
/// # Errors
/// There is no such number (64), or the call cannot be decided.
pub fn run(global: &Global, args: &ExplainArgs, output: &Output) -> Result<u8, Failure> {
    if let Some(ExplainCommand::Call(args)) = &args.command {
        return call::run(global, args, output);
    }
    match &args.number {
        _ if args.list => Ok(number::list(output)),
        Some(number) => number::page(number, output),
        None => Err(Failure::usage("what shall be explained?")
            .next("name a finding's number, say `faramesh explain E0103`, or --list")),
    }
}
