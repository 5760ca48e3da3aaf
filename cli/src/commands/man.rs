//! `faramesh man`: the manual pages, one a command, and the completion scripts beside them.
#![forbid(unsafe_code)]

use crate::args::{Cli, ManArgs};
use crate::failure::{Failure, exit};
use crate::files;
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// Writes `faramesh*.1` into the directory and the scripts into `completions/` below it.
///
/// # Errors
/// A file cannot be written.
pub fn run(args: &ManArgs, output: &Output) -> Result<u8, Failure> {
    files::ensure_plain_dir(&args.dir)?;
    clap_mangen::generate_to(Cli::command(), &args.dir)
        .map_err(|e| Failure::io("write into", &args.dir, &e))?;
    let completions = args.dir.join("completions");
    files::ensure_plain_dir(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        script(shell, &completions)?;
    }
    output.note(format!("written {}", args.dir.display()));
    Ok(exit::OK)
}

fn script(shell: Shell, dir: &Path) -> Result<(), Failure> {
    clap_complete::generate_to(shell, &mut Cli::command(), "faramesh", dir)
        .map(drop)
        .map_err(|e| Failure::io("write into", dir, &e))
}
