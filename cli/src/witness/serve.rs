//! A witness's door: HTTP/1.1 on a Unix socket or a loopback address.
//!
//! Invariants: everything that comes in has a limit in bytes and in time; one question is judged at a time, on the one
//! thread; nothing that was sent is printed but through `Untrusted`.
#![forbid(unsafe_code)]

use super::address::Address;
use super::keeper::{Heads, Keeper, Sign, Verdict};
use super::wire::{ADD_CHECKPOINT, BODY_BYTES_MAX, SIZE_TYPE};
use crate::failure::Failure;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

/// Connections at once: an anchor has one, and a witness serves a handful of logs.
const CONNECTIONS_MAX: usize = 32;
/// A connection lives so long at most, so that nobody holds a place by saying little.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// For a request's head, and again for its body: some kilobytes.
const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request's head that are held: a line and a few headers. The least that the library takes.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 32;
/// After a connection that could not be accepted: descriptors may have run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// An open door.
pub enum Door {
    /// A Unix socket.
    Unix(UnixListener),
    /// A loopback address.
    Loopback(TcpListener),
}

impl Door {
    /// Opens it. A socket that a dead witness left is replaced; its group may connect, others not.
    ///
    /// # Errors
    /// Somebody listens there, or this user may not.
    pub async fn open(address: &Address) -> Result<Door, Failure> {
        let failed = |e: &io::Error| {
            Failure::unavailable(format!("cannot listen on `{address}`: {e}"))
                .next("give another --listen, or stop who listens there")
        };
        match address {
            Address::Unix(path) => {
                remove_dead(path).await.map_err(|e| failed(&e))?;
                let listener = UnixListener::bind(path).map_err(|e| failed(&e))?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
                    .map_err(|e| failed(&e))?;
                Ok(Door::Unix(listener))
            }
            Address::Loopback(address, _) => TcpListener::bind(address)
                .await
                .map(Door::Loopback)
                .map_err(|e| failed(&e)),
        }
    }

    /// Where it is; a port that was asked for as 0 is known now.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<Address, Failure> {
        let unknown = |e: io::Error| Failure::internal(format!("no address: {e}"));
        match self {
            Door::Unix(listener) => {
                let address = listener.local_addr().map_err(unknown)?;
                let path = address.as_pathname().unwrap_or(Path::new("/"));
                Ok(Address::Unix(path.to_owned()))
            }
            Door::Loopback(listener) => {
                let address = listener.local_addr().map_err(unknown)?;
                Ok(Address::Loopback(address, String::new()))
            }
        }
    }
}

async fn remove_dead(path: &Path) -> io::Result<()> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.file_type().is_socket() {
        return Err(io::Error::other("something that is no socket stands there"));
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// Who is told of each verdict.
pub type Told = Arc<dyn Fn(&Verdict) + Send + Sync>;

/// Serves until `stop`. Connections that are open then are dropped: whoever asked asks again.
pub async fn serve<H, S>(
    door: Door,
    keeper: Keeper<H, S>,
    told: Told,
    stop: impl Future<Output = ()>,
) where
    H: Heads + Send + 'static,
    S: Sign + Send + 'static,
{
    let keeper = Arc::new(Mutex::new(keeper));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accepting = async {
        loop {
            // A place first: whoever comes when all are taken waits in the kernel's queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = match &door {
                Door::Unix(listener) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| Stream::Unix(stream)),
                Door::Loopback(listener) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| Stream::Loopback(stream)),
            };
            let (keeper, told) = (Arc::clone(&keeper), Arc::clone(&told));
            match accepted {
                Ok(Stream::Unix(stream)) => {
                    tokio::spawn(async move {
                        converse(stream, keeper, told).await;
                        drop(place);
                    });
                }
                Ok(Stream::Loopback(stream)) => {
                    tokio::spawn(async move {
                        converse(stream, keeper, told).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop => {}
    }
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Loopback(tokio::net::TcpStream),
}

async fn converse<H, S>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    keeper: Arc<Mutex<Keeper<H, S>>>,
    told: Told,
) where
    H: Heads + Send + 'static,
    S: Sign + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (keeper, told) = (Arc::clone(&keeper), Arc::clone(&told));
        async move { Ok::<_, Infallible>(answer(request, &keeper, &told).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever ends it, there is nothing to be done: the asker sees it end.
    drop(tokio::time::timeout(CONNECTION_TIME_MAX, connection).await);
}

async fn answer<H: Heads, S: Sign>(
    request: Request<Incoming>,
    keeper: &Mutex<Keeper<H, S>>,
    told: &Told,
) -> Response<Full<Bytes>> {
    if request.uri().path() != ADD_CHECKPOINT {
        return plain(
            StatusCode::NOT_FOUND,
            "no such path: post to /add-checkpoint\n",
        );
    }
    if request.method() != Method::POST {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return refused;
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(READ_TIME_MAX, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too long or broken\n",
            );
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
    };
    let time_s = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let verdict = keeper
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .submit(&body, time_s);
    told(&verdict);
    response(&verdict)
}

fn response(verdict: &Verdict) -> Response<Full<Bytes>> {
    let status =
        StatusCode::from_u16(verdict.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match verdict {
        Verdict::Cosigned { line, .. } => plain(status, line),
        Verdict::Known { size } | Verdict::Fork { size, .. } => {
            let mut answer = plain(status, &format!("{size}\n"));
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(SIZE_TYPE));
            answer
        }
        Verdict::UnknownLog { .. } => plain(status, "this witness does not know that log\n"),
        Verdict::NotSigned { .. } => plain(status, "not signed by the log's pinned key\n"),
        Verdict::NotConsistent { why, .. } => plain(status, &format!("{why}\n")),
        Verdict::Malformed(why) => plain(status, &format!("{why}\n")),
        // What is wrong with its files is nobody's business but its operator's.
        Verdict::Trouble(_) => plain(status, "the witness cannot cosign now\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
