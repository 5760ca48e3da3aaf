//! `faramesh completions`: a completion script on stdout.
#![forbid(unsafe_code)]

use crate::args::{Cli, CompletionsArgs};
use crate::failure::{Failure, exit};
use clap::CommandFactory;
use std::io::Write;

/// Prints the script.
///
/// # Errors
/// Never: a reader that went away is not our failure.
pub fn run(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "faramesh", &mut script);
    let _ = std::io::stdout().lock().write_all(&script);
    Ok(exit::OK)
}
