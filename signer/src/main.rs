//! faramesh-signer: holds the log key of one stack.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use faramesh_signer::serve::{self, Service};
use faramesh_signer::store::{self, Store};
use faramesh_signer::{confine, notify::Notify, sys};

/// Holds the log key of one stack and signs what extends its log. The listening socket is descriptor 3.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<ServeArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Make the state and its key where there are none, and print the public key line.
    Init(StateArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// The state directory, mode 0700.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The stack's name.
    #[arg(long, value_name = "NAME")]
    stack: String,
    /// The only user that is answered.
    #[arg(long, value_name = "UID", required_unless_present = "peer_user")]
    peer_uid: Option<u32>,
    /// The same by name.
    #[arg(long, value_name = "USER", conflicts_with = "peer_uid")]
    peer_user: Option<String>,
}

#[derive(Args)]
struct StateArgs {
    /// The state directory, mode 0700.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The stack's name.
    #[arg(long, value_name = "NAME")]
    stack: String,
}

/// Everything that ends the process, each with its exit code.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("there is no user `{0}`")]
    NoUser(String),
    #[error("descriptor 3 is closed: the signer is started with its listening socket there")]
    NoDescriptor,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Confine(#[from] confine::Error),
    #[error(transparent)]
    Serve(#[from] serve::Error),
}

fn main() -> ExitCode {
    // First of all: nothing else may have opened a descriptor.
    let inherited = sys::take_listen_fd();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let done = match (cli.command, cli.serve) {
        (Some(Command::Init(state)), _) => init(&state),
        (None, Some(serve)) => run(&serve, inherited),
        // clap has asked for one of them.
        (None, None) => return ExitCode::from(64),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(exit_code(&error))
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the public key line is the answer of `init`"
)]
fn init(args: &StateArgs) -> Result<(), Error> {
    println!("{}", store::init(&args.state, &args.stack)?.vkey());
    Ok(())
}

fn run(args: &ServeArgs, inherited: Option<std::os::fd::OwnedFd>) -> Result<(), Error> {
    let peer_uid = peer_uid(args)?;
    let listener = serve::listener(inherited.ok_or(Error::NoDescriptor)?)?;
    let (store, log) = Store::open(&args.state, &args.stack)?;
    if let Err(error) = log.lock_key_in_memory() {
        tracing::warn!("the key's page may be swapped out: {error}; raise RLIMIT_MEMLOCK");
    }
    let stop = serve::stop_signals()?;
    let notify = Notify::from_environment();
    if !confine::enter(&args.state)? {
        tracing::warn!(
            "this kernel has no Landlock: files are guarded by the system-call filter and their modes alone"
        );
    }
    tracing::info!(size = log.head().size, origin = %log.public().name(), "serving");
    Ok(Service {
        log,
        store,
        listener,
        stop,
        peer_uid,
        notify,
    }
    .run()?)
}

fn peer_uid(args: &ServeArgs) -> Result<u32, Error> {
    match (&args.peer_user, args.peer_uid) {
        (Some(name), _) => match nix::unistd::User::from_name(name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            _ => Err(Error::NoUser(name.clone())),
        },
        (None, Some(uid)) => Ok(uid),
        // clap has refused this.
        (None, None) => Err(Error::NoUser(String::new())),
    }
}

/// sysexits: 65 damaged, 69 not now, 70 ours, 77 not allowed, 78 set up wrongly. systemd restarts on neither 65 nor 78.
const fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Store(store::Error::Damaged { .. }) => 65,
        Error::Store(store::Error::InUse(_) | store::Error::Io { .. }) => 69,
        Error::Store(store::Error::Unsafe { .. }) => 77,
        Error::Serve(serve::Error::Store(_) | serve::Error::Io { .. }) => 69,
        Error::Confine(_) => 70,
        Error::NoUser(_)
        | Error::NoDescriptor
        | Error::Store(store::Error::NoKey(_) | store::Error::Stack(_))
        | Error::Serve(serve::Error::NoSocket(_)) => 78,
    }
}
