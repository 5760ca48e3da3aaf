//! The shim: starts an agent in the strongest confinement that this host gives, measures it, and stays to end it.
//!
//! Three processes, in the order in which they appear:
//!
//! ```text
//! shim     holds the connection to the daemon, forwards signals, returns the agent's exit status
//!  └ keeper   parent of the tree: every orphan of the agent becomes its child; ends the tree when the shim dies
//!     └ agent    confines itself, is probed, waits for the daemon's word, executes the command
//! ```
//!
//! Invariants:
//! - Every process here has one thread until the agent's exec: a second thread would not be confined.
//! - Nothing is executed before the daemon has read the probes and answered SEALED.
//! - The agent never holds the connection to the daemon, and no descriptor above 2 survives its exec;
//!   those below are no way to a network.
//! - When the daemon, the shim or the keeper is gone, the tree is ended: whichever is left does it.
//! - Nothing is reported as enforced that was not refused when it was tried from inside.
#![deny(unsafe_code)]

/// The command line.
pub mod args;
/// The conversation with the daemon.
pub mod attach;
/// The session's cgroup.
pub mod cgroup;
/// What the agent's process does to itself, step by step, before it executes the command.
pub mod confine;
/// Which environment variables an agent may have.
pub mod environment;
/// The staying processes: signals, statuses, and the end of the tree.
pub mod family;
/// Landlock: which files, ports and peers are left.
pub mod landlock_rules;
/// What is tried from inside, and how the answers are read.
pub mod probe;
/// seccomp: how the lists become filters.
pub mod seccomp;
mod sys;
/// seccomp: the lists.
pub mod syscalls;

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::net::AddressFamily;

/// Why there is no agent, and the status that says so (see `sysexits.h`).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// 64 usage, 69 no daemon, 70 a fault of our own or of the kernel, 77 refused, 78 the host is not set up.
    pub status: u8,
    /// For the person at the terminal.
    pub message: String,
}

impl Failure {
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// No daemon, or it went away.
    pub const UNAVAILABLE: u8 = 69;
    /// Something that should work did not.
    pub const INTERNAL: u8 = 70;
    /// The daemon, or a required layer that is missing, refuses.
    pub const REFUSED: u8 = 77;
    /// Users or directories are not set up.
    pub const CONFIGURATION: u8 = 78;

    pub(crate) fn new(status: u8, message: impl Display) -> Self {
        Self {
            status,
            message: message.to_string(),
        }
    }
}

/// The whole program. Returns in the shim only; the keeper and the agent end inside.
pub fn run(
    args: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let options = match args::parse(args) {
        Ok(args::Asked::Run(options)) => options,
        Ok(args::Asked::Help) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            say(&format!("{error}\n{}", args::USAGE));
            return ExitCode::from(Failure::USAGE);
        }
    };
    match start(options, environment::sort(environment)) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            say(&failure.message);
            ExitCode::from(failure.status)
        }
    }
}

/// Attach, fork, confine, measure, seal, wait: the story of a session.
fn start(options: args::Options, environment: environment::Sorted) -> Result<u8, Failure> {
    let user = family::Starter::current();
    local_streams()?;
    let cgroup = cgroup::prepare(user, &options);
    let mut daemon = attach::connect(&options.attach)?;
    let bound = attach::hello(&mut daemon, &options, &environment, cgroup.name())?;
    let plan = confine::Plan::new(user, options, environment, cgroup, bound)?;
    plan.announce();
    family::Family::fork(plan, daemon)?.seal()?.stay()
}

/// The three descriptors that the agent keeps must not be a way out: a connection that is open already asks neither
/// seccomp nor Landlock any more.
fn local_streams() -> Result<(), Failure> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    for (name, stream) in [
        ("input", input.as_fd()),
        ("output", output.as_fd()),
        ("error", error.as_fd()),
    ] {
        // What is no socket has no domain.
        let domain = rustix::net::sockopt::socket_domain(stream).ok();
        if domain.is_some_and(|domain| domain != AddressFamily::UNIX) {
            return Err(Failure::new(
                Failure::REFUSED,
                format!(
                    "standard {name} is a connection to a network, which no rule of the agent's could close: put a pipe there"
                ),
            ));
        }
    }
    Ok(())
}

/// One message to the person at the terminal. Text from elsewhere is made printable.
pub(crate) fn say(message: &str) {
    for line in message.lines() {
        let printable: String = line
            .chars()
            .flat_map(|c| {
                if c.is_control() {
                    c.escape_default().collect()
                } else {
                    vec![c]
                }
            })
            .collect();
        eprintln!("faramesh-agent: {printable}");
    }
}
