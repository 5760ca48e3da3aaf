//! One file a command.
#![forbid(unsafe_code)]

use crate::args::{AuditCommand, Cli, Command, Format, PolicyCommand, WitnessCommand};
use crate::failure::Failure;
use crate::output::Output;

pub mod init;

pub mod check;

pub mod fmt;

pub mod test;

pub mod explain;

pub mod plan;

pub mod apply;

pub mod rollback;

pub mod policy;

pub mod serve;

pub mod dev;

pub mod run;

pub mod status;

pub mod govern;

pub mod audit;

pub mod anchor;

pub mod index;
pub mod witness;

pub mod stop;

pub mod completions;

pub mod man;

/// Runs one command and says with what status to exit.
///
/// # Errors
/// What the command says.
pub fn run(cli: Cli, output: &Output) -> Result<u8, Failure> {
    let global = &cli.global;
    fits(global.format, &cli.command)?;
    match cli.command {
        Command::Init => init::run(global, output),
        Command::Check(args) => check::run(global, &args, output),
        Command::Fmt(args) => fmt::run(global, &args, output),
        Command::Test(args) => test::run(global, &args, output),
        Command::Explain(args) => explain::run(global, &args, output),
        Command::Plan(args) => plan::run(global, &args, output),
        Command::Apply(args) => apply::run(global, &args, output),
        Command::Rollback(args) => rollback::run(global, &args, output),
        Command::Policy(policy) => match policy.command {
            PolicyCommand::List => policy::list(global, output),
            PolicyCommand::Show(args) => policy::show(global, &args, output),
        },
        Command::Serve => serve::run(global, output),
        Command::Dev(args) => dev::run(global, &args, output),
        Command::Run(args) => run::run(global, &args, output),
        Command::Status => status::run(global, output),
        Command::Govern(args) => govern::run(global, &args, output),
        Command::Audit(audit) => match audit.command {
            AuditCommand::Verify(args) => audit::verify::run(global, &args, output),
            AuditCommand::Tail(args) => audit::tail::run(global, &args, output),
            AuditCommand::Show(args) => audit::show::run(global, &args, output),
            AuditCommand::Prove(args) => audit::prove::prove(global, &args, output),
            AuditCommand::VerifyProof(args) => audit::prove::verify_proof(global, &args, output),
            AuditCommand::Replay(args) => audit::replay::run(global, &args, output),
            AuditCommand::Export(args) => audit::export::run(global, &args, output),
            AuditCommand::Erase(args) => audit::erase::run(global, &args, output),
            AuditCommand::Ls(args) => audit::ls::run(global, &args, output),
            AuditCommand::Stats(args) => audit::stats::run(global, &args, output),
            AuditCommand::Trace(args) => audit::trace::run(global, &args, output),
            AuditCommand::Abandon(args) => audit::abandon::run(global, &args, output),
        },
        Command::Anchor(args) => anchor::run(global, &args, output),
        Command::Witness(witness) => match witness.command {
            WitnessCommand::Init(args) => witness::init(global, &args, output),
            WitnessCommand::Serve(args) => witness::run(global, &args, output),
        },
        Command::Index(args) => index::run(global, &args, output),
        Command::Stop => stop::run(global, output),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args, output),
    }
}

/// Two forms belong to one command each.
fn fits(format: Format, command: &Command) -> Result<(), Failure> {
    match (format, command) {
        (Format::Text | Format::Json, _) | (Format::Sarif, Command::Check(_)) => Ok(()),
        (Format::Sarif, _) => Err(Failure::usage("`--format sarif` is a form of findings")
            .next("only `faramesh check` prints it; elsewhere choose text or json")),
        (Format::Yaml, Command::Policy(policy))
            if matches!(policy.command, PolicyCommand::Show(_)) =>
        {
            Ok(())
        }
        (Format::Yaml, _) => Err(Failure::usage("`--format yaml` is a form of policies")
            .next("only `faramesh policy show` prints it; elsewhere choose text or json")),
    }
}
