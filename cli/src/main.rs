//! Parses the command line, runs one command, and turns its answer into an exit status.

use clap::Parser;
use clap::error::ErrorKind;
use faramesh_cli::args::Cli;
use faramesh_cli::failure::exit;
use faramesh_cli::{commands, output::Output};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is the reader's business: there is nobody left to tell.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(exit::USAGE),
            };
        }
    };
    let output = Output::new(&cli.global);
    match commands::run(cli, &output) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}
