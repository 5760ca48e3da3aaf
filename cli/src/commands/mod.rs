//! One file a command.
#![forbid(unsafe_code)]

use crate::args::{AuditCommand, Cli, Command};
use crate::failure::Failure;
use crate::output::Output;

pub mod init;

pub mod check;

pub mod plan;

pub mod apply;

pub mod serve;

pub mod dev;

pub mod run;

pub mod status;

pub mod govern;

pub mod audit;

pub mod stop;

pub mod completions;

pub mod man;

/// Runs one command and says with what status to exit.
///
/// # Errors
/// What the command says.
pub fn run(cli: Cli, output: &Output) -> Result<u8, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Init => init::run(global, output),
        Command::Check(args) => check::run(global, &args, output),
        Command::Plan(args) => plan::run(global, &args, output),
        Command::Apply(args) => apply::run(global, &args, output),
        Command::Serve => serve::run(global, output),
        Command::Dev(args) => dev::run(global, &args, output),
        Command::Run(args) => run::run(global, &args, output),
        Command::Status => status::run(global, output),
        Command::Govern(args) => govern::run(global, &args, output),
        Command::Audit(audit) => match audit.command {
            AuditCommand::Verify(args) => audit::verify::run(global, &args, output),
            AuditCommand::Tail(args) => audit::tail::run(global, &args, output),
            AuditCommand::Show(args) => audit::show::run(global, &args, output),
        },
        Command::Stop => stop::run(global, output),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args, output),
    }
}
