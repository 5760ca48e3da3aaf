//! faramesh-signer: holds the log keys of one stack.
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use faramesh_core::checkpoint::{NOTE_BYTES_MAX, hex};
use faramesh_core::tree::Frontier;
use faramesh_signer::serve::{self, Service};
use faramesh_signer::store::{self, Store};
use faramesh_signer::{confine, notify::Notify, sys};

/// A note, and a frontier of at most 64 nodes in hex.
const CHECKPOINT_BYTES_MAX: u64 = NOTE_BYTES_MAX as u64 + 8 * 1024;

/// Holds the log keys of one stack and signs what extends its log. The listening socket is descriptor 3.
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
    /// Make the state and its keys where there are none, and print the two public key lines.
    Init(StateArgs),
    /// Print the confirmed head, its size and root; with --back move it back first. For `faramesh audit abandon`.
    Abandon(AbandonArgs),
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

#[derive(Args)]
struct AbandonArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Move back to the checkpoint on standard input: a line with the frontier in hex, then the note.
    #[arg(long, requires = "epoch")]
    back: bool,
    /// The epoch that is due behind it.
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
}

/// Everything that ends the process, each with its exit code.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("there is no user `{0}`")]
    NoUser(String),
    #[error("descriptor 3 is closed: the signer is started with its listening socket there")]
    NoDescriptor,
    #[error("the checkpoint to go back to cannot be read: {0}")]
    Checkpoint(String),
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
        (Some(Command::Abandon(args)), _) => abandon(&args),
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
    reason = "the public key lines are the answer of `init`"
)]
fn init(args: &StateArgs) -> Result<(), Error> {
    print!("{}", store::init(&args.state, &args.stack)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the head is the answer of `abandon`")]
fn abandon(args: &AbandonArgs) -> Result<(), Error> {
    let mut text = String::new();
    let back = if args.back {
        std::io::stdin()
            .take(CHECKPOINT_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| Error::Checkpoint(error.to_string()))?;
        let (frontier, note) = text
            .split_once('\n')
            .and_then(|(frontier, note)| Some((bytes_of(frontier)?, note)))
            .ok_or_else(|| Error::Checkpoint("no frontier in hex".into()))?;
        let frontier = Frontier::from_bytes(&frontier)
            .map_err(|error| Error::Checkpoint(error.to_string()))?;
        Some((frontier, note, args.epoch.unwrap_or_default()))
    } else {
        None
    };
    let head = store::abandon(&args.state.state, &args.state.stack, back)?;
    println!("{} {}", head.size, hex(&head.root));
    Ok(())
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

fn run(args: &ServeArgs, inherited: Option<std::os::fd::OwnedFd>) -> Result<(), Error> {
    let peer_uid = peer_uid(args)?;
    let listener = serve::listener(inherited.ok_or(Error::NoDescriptor)?)?;
    let (store, log) = Store::open(&args.state, &args.stack)?;
    log.lock_keys_in_memory();
    let stop = serve::stop_signals()?;
    let notify = Notify::from_environment();
    if !confine::enter(&args.state)? {
        tracing::warn!(
            "this kernel has no Landlock: files are guarded by the system-call filter and their modes alone"
        );
    }
    tracing::info!(size = log.head().size, epoch = log.epoch().0, origin = %log.public().name(), "serving");
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
        Error::Store(store::Error::Damaged { .. } | store::Error::NotAbandoned(_))
        | Error::Checkpoint(_) => 65,
        Error::Store(store::Error::InUse(_) | store::Error::Io { .. }) => 69,
        Error::Store(store::Error::Unsafe { .. }) => 77,
        Error::Serve(serve::Error::Store(_) | serve::Error::Io { .. }) => 69,
        Error::Confine(_) => 70,
        Error::NoUser(_)
        | Error::NoDescriptor
        | Error::Store(store::Error::NoKey(_) | store::Error::Stack(_) | store::Error::Old(_))
        | Error::Serve(serve::Error::NoSocket(_)) => 78,
    }
}
