//! `faramesh explain`: what a finding's number means, how a recorded call was decided, and how one would be.
#![forbid(unsafe_code)]

pub mod number;

pub mod call;

pub mod record;

use crate::args::{ExplainArgs, ExplainCommand, Global};
use crate::failure::Failure;
use crate::output::Output;

/// Explains what was asked for.
///
/// # Errors
/// There is no such number (64) or record (65), or the call cannot be decided.
pub fn run(global: &Global, args: &ExplainArgs, output: &Output) -> Result<u8, Failure> {
    if let Some(ExplainCommand::Call(args)) = &args.command {
        return call::run(global, args, output);
    }
    match &args.number {
        _ if args.list => Ok(number::list(output)),
        // A finding's number begins with a letter.
        Some(number) => match number.parse() {
            Ok(seq) => record::run(global, seq, output),
            Err(_) => number::page(number, output),
        },
        None => Err(Failure::usage("what shall be explained?")
            .next("name a finding's number, say `faramesh explain E0103`, or --list")),
    }
}
