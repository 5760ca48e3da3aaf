//! The conversation with the daemon: HELLO, BOUND, PROBES, then SEALED or REFUSED. Blocking, one message at a time.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use faramesh_proto::frame::{self, ATTACH_BYTES_MAX, Broken};
use faramesh_proto::v1::attach_message::Kind;
use faramesh_proto::v1::{AttachMessage, Bound, Hello};

use crate::Failure;
use crate::args::Options;
use crate::environment::Sorted;

/// How long the daemon may take for an answer: it writes a record to disk before it gives one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The command line is recorded up to this many bytes.
const COMMAND_BYTES_MAX: usize = 4096;

/// Connects to attach.sock.
///
/// # Errors
/// 69 where nobody listens, 77 where this user may not.
pub fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    let connection = UnixStream::connect(socket).map_err(|cause| match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::new(Failure::REFUSED, format!("`{}` may only be used by root: {cause}", socket.display()))
        }
        _ => Failure::new(
            Failure::UNAVAILABLE,
            format!("DAEMON_NOT_READY: no daemon listens on `{}`: {cause}; start it with `faramesh serve`", socket.display()),
        ),
    })?;
    let timed = connection
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .and_then(|()| connection.set_write_timeout(Some(ANSWER_TIMEOUT)));
    timed.map_err(|cause| {
        Failure::new(Failure::INTERNAL, format!("cannot set a timeout: {cause}"))
    })?;
    Ok(connection)
}

/// Says who we are, and is told the session and how to confine.
///
/// # Errors
/// 77 with the daemon's words where it refuses; 69 where it goes away.
pub fn hello(
    daemon: &mut UnixStream,
    options: &Options,
    environment: &Sorted,
    cgroup: &str,
) -> Result<Bound, Failure> {
    let hello = Hello {
        protocol: faramesh_proto::ATTACH_PROTOCOL,
        agent: options.agent.clone(),
        workspace: options.workspace.to_string_lossy().into_owned(),
        cgroup: cgroup.to_owned(),
        command: bounded(&options.command),
        stripped_env: environment.removed_names(),
    };
    send(daemon, Kind::Hello(hello))?;
    match receive(daemon)? {
        Kind::Bound(bound) => Ok(bound),
        other => Err(unexpected(&other)),
    }
}

/// Sends one message.
///
/// # Errors
/// 69: the daemon is gone.
pub fn send(daemon: &mut UnixStream, kind: Kind) -> Result<(), Failure> {
    frame::write(
        daemon,
        &AttachMessage { kind: Some(kind) },
        ATTACH_BYTES_MAX,
    )
    .map_err(|broken| gone(&broken))
}

/// Waits for one message that is not a refusal.
///
/// # Errors
/// 77 where the daemon refuses, 69 where it is gone.
pub fn receive(daemon: &mut UnixStream) -> Result<Kind, Failure> {
    let message: AttachMessage =
        frame::read(daemon, ATTACH_BYTES_MAX).map_err(|broken| gone(&broken))?;
    match message.kind {
        Some(Kind::Refused(refused)) => Err(Failure::new(
            Failure::REFUSED,
            format!("{}: {}", refused.code, refused.message),
        )),
        Some(kind) => Ok(kind),
        None => Err(Failure::new(
            Failure::INTERNAL,
            "the daemon sent an empty message",
        )),
    }
}

/// The daemon said something else than what was its turn.
pub fn unexpected(kind: &Kind) -> Failure {
    let name = match kind {
        Kind::Hello(_) => "HELLO",
        Kind::Bound(_) => "BOUND",
        Kind::Probes(_) => "PROBES",
        Kind::Sealed(_) => "SEALED",
        Kind::Refused(_) => "REFUSED",
    };
    Failure::new(
        Failure::INTERNAL,
        format!("the daemon sent {name} out of turn"),
    )
}

fn gone(broken: &Broken) -> Failure {
    match broken {
        Broken::Closed | Broken::Io(_) => Failure::new(
            Failure::UNAVAILABLE,
            format!("DAEMON_NOT_READY: the daemon did not answer: {broken}"),
        ),
        Broken::TooLong { .. } | Broken::Malformed(_) => Failure::new(Failure::INTERNAL, broken),
    }
}

/// The command for the record: whole arguments while they fit.
fn bounded(command: &[OsString]) -> Vec<String> {
    let mut left = COMMAND_BYTES_MAX;
    let words = command
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    words
        .take_while(|word| match left.checked_sub(word.len()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        })
        .collect()
}
