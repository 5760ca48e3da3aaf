//! The daemon's sockets, from outside.
#![forbid(unsafe_code)]

use crate::failure::{Failure, exit};
use faramesh_proto::v1::admin_client::AdminClient;
use faramesh_proto::v1::agent_client::AgentClient;
use faramesh_proto::v1::index_client::IndexClient;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for a reply that is not a stream: a decision takes a millisecond, draining up to ten seconds.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug)]
pub enum NoConnection {
    /// Nobody listens: no socket, or one that a dead daemon left.
    NotRunning,
    /// This user may not, or the host has a fault.
    Refused(Failure),
}

impl NoConnection {
    /// As a failure of a command that needs the daemon.
    pub fn into_failure(self) -> Failure {
        match self {
            NoConnection::NotRunning => Failure::unavailable("the daemon of this stack does not run")
                .next("start it: `systemctl start faramesh@STACK`, `faramesh serve`, or `faramesh dev` to try it out"),
            NoConnection::Refused(failure) => failure,
        }
    }
}

/// Runs one command's conversation on a runtime of its own.
///
/// # Errors
/// What the conversation says, or the runtime cannot be made.
pub fn block_on<T>(conversation: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::internal(format!("cannot start a runtime: {e}")))?
        .block_on(conversation)
}

/// The operators' side.
///
/// # Errors
/// [`NoConnection`].
pub async fn admin(socket: &Path) -> Result<AdminClient<Channel>, NoConnection> {
    Ok(AdminClient::new(channel(socket).await?))
}

/// The agents' side.
///
/// # Errors
/// [`NoConnection`].
pub async fn agent(socket: &Path) -> Result<AgentClient<Channel>, NoConnection> {
    Ok(AgentClient::new(channel(socket).await?))
}

/// The index's side: only places, see `indexed`.
///
/// # Errors
/// [`NoConnection`].
pub async fn index(socket: &Path) -> Result<IndexClient<Channel>, NoConnection> {
    match channel(socket).await {
        Ok(channel) => Ok(IndexClient::new(channel)),
        Err(NoConnection::Refused(failure)) if failure.exit == exit::PERMISSION => {
            Err(NoConnection::Refused(failure.next(
                "run the command as root, or as a member of the group `faramesh-audit`",
            )))
        }
        Err(other) => Err(other),
    }
}

async fn channel(socket: &Path) -> Result<Channel, NoConnection> {
    // Connected here and not by tonic, so that the reason is known and one command is one connection.
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                NoConnection::NotRunning
            }
            ErrorKind::PermissionDenied => NoConnection::Refused(
                Failure::permission(format!(
                    "this user may not connect to `{}`",
                    socket.display()
                ))
                .next("run the command as root, or as a member of the group `faramesh-operators`"),
            ),
            _ => NoConnection::Refused(Failure::io("connect to", socket, &error)),
        })?;
    let once = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let stream = once.lock().ok().and_then(|mut held| held.take());
        async move {
            stream
                .map(TokioIo::new)
                .ok_or_else(|| std::io::Error::from(ErrorKind::BrokenPipe))
        }
    });
    Endpoint::from_static("http://faramesh.invalid")
        .connect_with_connector(connector)
        .await
        .map_err(|_| NoConnection::NotRunning)
}

/// Waits for a reply, but not for ever.
///
/// # Errors
/// The daemon refused the request as such, or is gone. A governance "no" is a reply and no error.
pub async fn reply<T>(
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    reply_of("daemon", answer).await
}

/// The same of another process.
///
/// # Errors
/// The same.
pub async fn reply_of<T>(
    who: &str,
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(REPLY_TIMEOUT, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refusal_of(who, &status)),
        Err(_) => Err(Failure::unavailable(format!(
            "the {who} did not answer within {} s",
            REPLY_TIMEOUT.as_secs()
        ))),
    }
}

/// What a transport status means for a command.
pub fn refusal(status: &tonic::Status) -> Failure {
    refusal_of("daemon", status)
}

fn refusal_of(who: &str, status: &tonic::Status) -> Failure {
    use tonic::Code;
    let message = format!(
        "the {who} refused the request: {}",
        crate::untrusted::Untrusted(status.message())
    );
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => Failure::permission(message),
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted | Code::NotFound => {
            Failure::data(message)
        }
        Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Unknown => Failure::unavailable(format!(
            "the {who} went away: {}",
            crate::untrusted::Untrusted(status.message())
        ))
        .next("see `faramesh status`, and ask again"),
        _ => Failure::internal(message),
    }
}
