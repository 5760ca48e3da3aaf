//! The doors themselves: who may connect, how many, and for how long.
//!
//! Invariants:
//! - A socket appears under its path only when it is bound, listening, and has its mode and group: it is made under
//!   another name and renamed. A path that a live process answers on is never taken.
//! - Nothing is held without an end: every connection has a deadline for its first bytes, for the rest of a request,
//!   and for silence; what is over a limit costs its own user, never another's.
//! - A connection counts as idle while no call is in flight, whatever bytes it sends: pings and dripping frames do not
//!   keep it. Where a place is needed the longest idle one gives way.
//! - What a peer may buffer here is bounded: [`RECEIVING_MAX`] requests of a holder are read at a time.
#![forbid(unsafe_code)]

use crate::config::Limits;
use faramesh_core::decision::Code;
use rustix::fs::{Mode as FileMode, Uid};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tower::{Layer, Service};

/// Largest gRPC message from a peer, bytes: 1 MiB of arguments, the longest names, and the fields around them. A
/// little beyond that is still decoded, so that it is answered `CALL_INVALID` and not by a reset.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024 + 256 * 1024;
/// The HTTP/2 preface (RFC 9113, 3.4): no client of ours sends less at first.
const PREFACE_BYTES: u64 = 24;
/// Requests of one holder (session, or user outside any) that may be arriving at once: 32 × 1.25 MiB = 40 MiB.
const RECEIVING_MAX: usize = 32;
/// HTTP/2 windows, bytes: what a peer may send unread, a stream and a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The connection's: four streams' worth, 128 MiB over 1,024 hostile connections.
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
/// Headers of a request, bytes: ours are under 300.
const HEADER_BYTES_MAX: u32 = 8 * 1024;
/// Streams reset before their request was looked at, a connection: beyond it the connection is told to calm down.
const RESET_BEFORE_ACCEPT_MAX: usize = 20;
/// Streams that we had to reset, a connection.
const LOCAL_RESET_MAX: usize = 64;
/// Calls given up by the peer beyond those answered, a connection: a client that cancels now and then stays below.
const ABANDONED_MAX: u64 = 100;
/// Time for a connection to end by itself once it was told to.
const GRACE: Duration = Duration::from_secs(1);
/// Connections accepted per second on one socket once its burst is used up: each costs some reads of /proc on the
/// thread that decides, so that a thousand a second are at most a few per cent of it.
const ACCEPTS_PER_SECOND: u32 = 1_000;
/// Connections waiting to be accepted, a socket: the kernel's default bound.
const BACKLOG: u32 = 4_096;

/// Where refusals that never reached the sequencer are counted: (session, code).
pub type CountDropped = Arc<dyn Fn(Option<&str>, Code) + Send + Sync>;

/// Why a socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("`{}` is taken by a live process: stop it first", .0.display())]
    Taken(PathBuf),
    /// Something else lies there.
    #[error("`{}` is there and is not a socket: remove it", .0.display())]
    NotASocket(PathBuf),
    /// The system says no.
    #[error("cannot make the socket `{}`: {source}", path.display())]
    System {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes a listening socket at `path` with its mode and, where given, its group. One left by a dead process is replaced.
///
/// # Errors
/// [`SocketError`].
pub fn bind(path: &Path, mode: u32, gid: Option<u32>) -> Result<UnixListener, SocketError> {
    let system = |source: io::Error| SocketError::System {
        path: path.to_path_buf(),
        source,
    };
    refuse_taken(path)?;
    let staged = staged(path);
    remove_if_there(&staged).map_err(system)?;
    let listener = listening(&staged).map_err(system)?;
    let finished = || -> io::Result<()> {
        if let Some(gid) = gid {
            rustix::fs::chown(&staged, None::<Uid>, Some(rustix::fs::Gid::from_raw(gid)))?;
        }
        rustix::fs::chmod(&staged, FileMode::from_raw_mode(mode))?;
        std::fs::rename(&staged, path)
    };
    finished().map_err(system)?;
    Ok(listener)
}

/// Fails where a live process answers on `path`, or something else than a socket lies there.
///
/// # Errors
/// [`SocketError`].
pub fn refuse_taken(path: &Path) -> Result<(), SocketError> {
    let system = |source: io::Error| SocketError::System {
        path: path.to_path_buf(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_path_buf()));
        }
        Ok(_) => {}
    }
    // Only a refusal says that nobody listens: a full backlog or a missing right is somebody.
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        _ => Err(SocketError::Taken(path.to_path_buf())),
    }
}

fn staged(path: &Path) -> PathBuf {
    // Shorter than any of our sockets' names, so that it fits wherever they do.
    path.with_file_name(".new")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn listening(path: &Path) -> io::Result<UnixListener> {
    let socket = tokio::net::UnixSocket::new_stream()?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// All connections of all gRPC doors.
#[derive(Clone)]
pub struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    dropped: CountDropped,
    epoch: Instant,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    next: u64,
    live: BTreeMap<u64, Arc<Connection>>,
    /// One semaphore a holder, for as long as one of its connections lives.
    receiving: HashMap<Holder, Arc<Semaphore>>,
}

/// Whose share a connection counts against when requests arrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Session(String),
    User(u32),
}

/// One connection, as the sweep sees it.
struct Connection {
    uid: u32,
    session: Option<String>,
    opened_ms: u64,
    bytes_read: AtomicU64,
    in_flight: AtomicU32,
    /// When the last call ended.
    active_ms: AtomicU64,
    answered: AtomicU64,
    abandoned: AtomicU64,
    told_to_end_ms: AtomicU64,
    closed: AtomicBool,
    told_to_end: Notify,
    reader: Mutex<Option<Waker>>,
    receiving: Arc<Semaphore>,
}

/// Whom a door lets in, and what it serves: the connection's own routes, which know their caller.
pub struct Admitted {
    /// The peer's user.
    pub uid: u32,
    /// Its session, where it is in one.
    pub session: Option<String>,
    /// What this connection may ask.
    pub routes: Routes,
}

impl Connections {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits, dropped: CountDropped) -> Connections {
        Connections {
            shared: Arc::new(Shared {
                limits,
                dropped,
                epoch: Instant::now(),
                registry: Mutex::default(),
            }),
        }
    }

    /// Accepts on one socket for ever. `admit` looks at each peer once; `None` closes the connection.
    pub async fn serve(
        self,
        listener: UnixListener,
        admit: impl Fn(&UnixStream) -> Option<Admitted>,
    ) {
        let burst = self.shared.limits.connections_per_uid_max.max(1);
        let mut pace = Pace::new(burst, ACCEPTS_PER_SECOND);
        loop {
            pace.wait().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(admitted) = admit(&stream) {
                        self.take(stream, admitted);
                    }
                }
                Err(error) => {
                    // Out of descriptors or memory: make room and let the system breathe.
                    tracing::warn!(%error, "cannot accept a connection");
                    self.end_longest_idle(&self.registry(), None);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Ends connections that are over a deadline, for ever.
    pub async fn sweep(self) {
        let limits = &self.shared.limits;
        let shortest = limits
            .handshake_ms
            .min(limits.idle_ms)
            .min(limits.request_ms);
        let every = Duration::from_millis((shortest / 4).clamp(5, 1_000));
        loop {
            tokio::time::sleep(every).await;
            let now = self.now_ms();
            for connection in self.registry().live.values() {
                self.judge(connection, now);
            }
        }
    }

    /// Closes every connection of a session, at once.
    pub fn close_session(&self, session: &str) {
        for connection in self.registry().live.values() {
            if connection.session.as_deref() == Some(session) {
                connection.close();
            }
        }
    }

    /// Tells every connection to end once its calls are answered.
    pub fn end_all(&self) {
        let now = self.now_ms();
        for connection in self.registry().live.values() {
            connection.tell_to_end(now);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.registry().live.len()
    }

    fn judge(&self, connection: &Connection, now: u64) {
        let limits = &self.shared.limits;
        let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
        let told = connection.told_to_end_ms.load(Ordering::Relaxed);
        let silent = connection.bytes_read.load(Ordering::Relaxed) < PREFACE_BYTES;
        let idle = connection.in_flight.load(Ordering::Relaxed) == 0;
        let since_active = now.saturating_sub(connection.active_ms.load(Ordering::Relaxed));
        let never_spoke = silent && now.saturating_sub(connection.opened_ms) >= limits.handshake_ms;
        let overstays = told != 0 && idle && now.saturating_sub(told) >= grace.min(limits.idle_ms);
        if never_spoke || overstays {
            connection.close();
        } else if idle && since_active >= limits.idle_ms {
            connection.tell_to_end(now);
        }
    }

    fn take(&self, stream: UnixStream, admitted: Admitted) {
        let Admitted {
            uid,
            session,
            routes,
        } = admitted;
        let name = session.clone();
        let Some((id, connection)) = self.register(uid, session) else {
            (self.shared.dropped)(name.as_deref(), Code::Overloaded);
            return;
        };
        let guard = Guard {
            connection: connection.clone(),
            connections: self.clone(),
        };
        let gone = Arc::new(Notify::new());
        let io = Guarded {
            stream,
            connection: connection.clone(),
            gone: gone.clone(),
        };
        let connections = self.clone();
        tokio::spawn(async move {
            // The stream of connections holds this one and then waits: its end would be taken for a shutdown.
            let incoming = tokio_stream::StreamExt::chain(
                tokio_stream::once(Ok::<_, io::Error>(io)),
                tokio_stream::pending(),
            );
            let until = async {
                tokio::select! {
                    () = connection.told_to_end.notified() => {}
                    () = gone.notified() => {}
                }
            };
            let served = server(&connections.shared.limits)
                .layer(guard)
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, until)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, uid, "connection failed");
            }
            connections.forget(id);
        });
    }

    /// Finds a place for a connection: its user's longest idle one gives way, then anybody's.
    fn register(&self, uid: u32, session: Option<String>) -> Option<(u64, Arc<Connection>)> {
        let limits = &self.shared.limits;
        let mut registry = self.registry();
        let of_user = registry
            .live
            .values()
            .filter(|other| other.uid == uid && !other.is_closed())
            .count();
        let in_all = registry
            .live
            .values()
            .filter(|other| !other.is_closed())
            .count();
        let full = |count: usize, max: u32| count >= usize::try_from(max).unwrap_or(usize::MAX);
        if full(of_user, limits.connections_per_uid_max)
            && !self.end_longest_idle(&registry, Some(uid))
        {
            return None;
        }
        if full(in_all, limits.connections_max) && !self.end_longest_idle(&registry, None) {
            return None;
        }
        let holder = session.clone().map_or(Holder::User(uid), Holder::Session);
        let receiving = registry
            .receiving
            .entry(holder)
            .or_insert_with(|| Arc::new(Semaphore::new(RECEIVING_MAX)))
            .clone();
        let now = self.now_ms();
        let connection = Arc::new(Connection {
            uid,
            session,
            opened_ms: now,
            bytes_read: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            active_ms: AtomicU64::new(now),
            answered: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            told_to_end_ms: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            told_to_end: Notify::new(),
            reader: Mutex::default(),
            receiving,
        });
        let id = registry.next;
        registry.next += 1;
        registry.live.insert(id, connection.clone());
        Some((id, connection))
    }

    fn end_longest_idle(&self, registry: &Registry, uid: Option<u32>) -> bool {
        let longest = registry
            .live
            .values()
            .filter(|other| uid.is_none_or(|uid| other.uid == uid))
            .filter(|other| other.in_flight.load(Ordering::Relaxed) == 0 && !other.is_closed())
            .min_by_key(|other| other.active_ms.load(Ordering::Relaxed));
        if let Some(connection) = longest {
            connection.close();
        }
        longest.is_some()
    }

    fn forget(&self, id: u64) {
        let mut registry = self.registry();
        registry.live.remove(&id);
        // A semaphore that only the map holds belongs to nobody.
        registry
            .receiving
            .retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
    }

    fn now_ms(&self) -> u64 {
        // Never 0, which stands for "not told".
        u64::try_from(self.shared.epoch.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.shared
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// HTTP/2 as we speak it.
fn server(limits: &Limits) -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_BEFORE_ACCEPT_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESET_MAX))
        // A peer that vanished without closing cannot happen on a Unix socket, one that is stopped can.
        .http2_keepalive_interval(Some(Duration::from_millis(limits.idle_ms)))
        .http2_keepalive_timeout(Some(Duration::from_millis(limits.handshake_ms)))
}

impl Connection {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// At once: the next read fails and the connection is dropped.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.told_to_end.notify_one();
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// By GOAWAY: what is in flight is answered, a client that wants more connects again.
    fn tell_to_end(&self, now_ms: u64) {
        let told =
            self.told_to_end_ms
                .compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if told.is_ok() {
            self.told_to_end.notify_one();
        }
    }
}

/// A stream whose bytes are counted and that can be closed from outside.
struct Guarded {
    stream: UnixStream,
    connection: Arc<Connection>,
    gone: Arc<Notify>,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.gone.notify_one();
    }
}

impl Connected for Guarded {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() {
            let mut reader = self
                .connection
                .reader
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match reader.as_mut() {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *reader = Some(cx.waker().clone()),
            }
        } else {
            let bytes = u64::try_from(buf.filled().len() - before).unwrap_or_default();
            self.connection
                .bytes_read
                .fetch_add(bytes, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Around each request of a connection: counts it, and bounds how long it may take to arrive.
#[derive(Clone)]
struct Guard {
    connection: Arc<Connection>,
    connections: Connections,
}

impl<S> Layer<S> for Guard {
    type Service = GuardedService<S>;

    fn layer(&self, inner: S) -> GuardedService<S> {
        GuardedService {
            inner,
            guard: self.clone(),
        }
    }
}

#[derive(Clone)]
struct GuardedService<S> {
    inner: S,
    guard: Guard,
}

impl<S> Service<http::Request<Body>> for GuardedService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Send + Clone + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let flight = Flight::begin(&self.guard);
        // `poll_ready` was asked of this one: call it, and leave the clone behind.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let guard = self.guard.clone();
        Box::pin(async move {
            let arriving = Duration::from_millis(guard.connections.shared.limits.request_ms);
            let deadline = tokio::time::Instant::now() + arriving;
            let place = tokio::time::timeout_at(
                deadline,
                guard.connection.receiving.clone().acquire_owned(),
            )
            .await;
            let Ok(Ok(place)) = place else {
                guard.count(Code::Overloaded);
                return Ok(flight.answer(late(
                    "too many requests of this session are arriving at once",
                )));
            };
            let receiving = Receiving(Arc::new(Arriving {
                place: Mutex::new(Some(place)),
                arrived: AtomicBool::new(false),
            }));
            request.extensions_mut().insert(InFlight(flight.clone()));
            request.extensions_mut().insert(receiving.clone());
            let answered = tokio::select! {
                biased;
                answered = inner.call(request) => answered,
                () = receiving.late(deadline) => Ok(late("the request did not arrive in time")),
            };
            if let Ok(response) = &answered
                && refused_by_framing(response)
            {
                guard.count(Code::CallInvalid);
            }
            answered.map(|response| flight.answer(response))
        })
    }
}

impl Guard {
    fn count(&self, code: Code) {
        (self.connections.shared.dropped)(self.connection.session.as_deref(), code);
    }
}

fn late(message: &str) -> http::Response<Body> {
    tonic::Status::deadline_exceeded(message).into_http()
}

/// Whether gRPC itself refused the request: too large, too late, not a message, no such method. Our own services never
/// do.
fn refused_by_framing(response: &http::Response<Body>) -> bool {
    response
        .headers()
        .get("grpc-status")
        .is_some_and(|status| status.as_bytes() != b"0")
}

/// A call in flight: its connection is not idle.
struct Flight {
    guard: Guard,
    answered: AtomicBool,
}

/// Keeps a connection from being idle for as long as it lives: held by a reply that streams.
#[derive(Clone)]
pub struct InFlight(#[expect(dead_code, reason = "its drop is its use")] Arc<Flight>);

impl Flight {
    fn begin(guard: &Guard) -> Arc<Flight> {
        guard.connection.in_flight.fetch_add(1, Ordering::Relaxed);
        Arc::new(Flight {
            guard: guard.clone(),
            answered: AtomicBool::new(false),
        })
    }

    fn answer(&self, response: http::Response<Body>) -> http::Response<Body> {
        self.answered.store(true, Ordering::Relaxed);
        response
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let connection = &self.guard.connection;
        connection
            .active_ms
            .store(self.guard.connections.now_ms(), Ordering::Relaxed);
        connection.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.answered.load(Ordering::Relaxed) {
            connection.answered.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let abandoned = connection.abandoned.fetch_add(1, Ordering::Relaxed) + 1;
        if abandoned
            > connection
                .answered
                .load(Ordering::Relaxed)
                .saturating_add(ABANDONED_MAX)
            && !connection.is_closed()
        {
            self.guard.count(Code::Overloaded);
            connection.close();
        }
    }
}

/// A request that is still arriving. The handler says when it has all of it.
#[derive(Clone)]
pub struct Receiving(Arc<Arriving>);

struct Arriving {
    place: Mutex<Option<OwnedSemaphorePermit>>,
    arrived: AtomicBool,
}

impl Receiving {
    /// All of the request is here: its place is free for the next, and its deadline is met.
    pub fn arrived(&self) {
        self.0.arrived.store(true, Ordering::Relaxed);
        self.0
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Ends at the deadline if the request has not arrived by then; never otherwise.
    async fn late(&self, deadline: tokio::time::Instant) {
        // Polled after the handler: a request that came in one piece costs no timer.
        if !self.0.arrived.load(Ordering::Relaxed) {
            tokio::time::sleep_until(deadline).await;
        }
        if self.0.arrived.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// Notes that the request has arrived, in handlers.
pub fn arrived<T>(request: &tonic::Request<T>) {
    if let Some(receiving) = request.extensions().get::<Receiving>() {
        receiving.arrived();
    }
}

/// A token bucket.
struct Pace {
    burst: f64,
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Pace {
    fn new(burst: u32, per_second: u32) -> Pace {
        Pace {
            burst: burst.into(),
            per_second: per_second.into(),
            tokens: burst.into(),
            filled: Instant::now(),
        }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        let gained = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            tokio::time::sleep(Duration::from_secs_f64(
                (1.0 - self.tokens) / self.per_second,
            ))
            .await;
        }
        self.tokens -= 1.0;
    }
}
