//! The socket: one peer, one connection, one answer to one question, and the head on disk at most a second later.
//!
//! Invariants:
//! - A connection is served only if the kernel says that its peer is the one user we were told.
//! - A new connection of that user supersedes the old one; with the old one goes its unconfirmed head.
//! - A confirmed head is persisted [`PERSIST_AFTER`] after it was confirmed at the latest, and at a clean stop. Where that
//!   fails the process ends: the daemon must not run far ahead of a head that a restart would forget.
//! - No message is believed in its length, and a peer that does not read its answers is closed, not waited for.
#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use faramesh_core::checkpoint::PublicKey;
use faramesh_proto::frame::{self, Broken, PREFIX_BYTES, SIGNER_BYTES_MAX};
use faramesh_proto::v1::{
    EpochKey, SignerHead, SignerRefusal, SignerReply, SignerRequest, signer_reply, signer_request,
};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use crate::log::{Log, Refusal};
use crate::notify::Notify;
use crate::store::{self, Keep, Store};

/// The design allows a second; the rest is for the disk.
const PERSIST_AFTER: Duration = Duration::from_millis(800);

/// An `Adopt` carries every leaf above the persisted head, 131,071 at most: a busier log is persisted earlier.
const UNPERSISTED_MAX: u64 = 65_536;

/// Read at once from the socket.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Descriptor 3.
    #[error("descriptor 3 is not a listening Unix stream socket: {0}")]
    NoSocket(&'static str),
    /// The head could not be persisted.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The loop's own means.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Checks that a descriptor is a listening Unix stream socket. `LISTEN_FDS` and `LISTEN_PID` are not asked: whoever starts
/// the signer without systemd cannot know its pid before it exists, and the socket speaks for itself.
///
/// # Errors
/// [`Error::NoSocket`].
pub fn listener(fd: OwnedFd) -> Result<UnixListener, Error> {
    let no = Error::NoSocket;
    if sockopt::socket_domain(&fd) != Ok(rustix::net::AddressFamily::UNIX) {
        return Err(no("not a Unix socket"));
    }
    if sockopt::socket_type(&fd) != Ok(rustix::net::SocketType::STREAM) {
        return Err(no("not a stream socket"));
    }
    if sockopt::socket_acceptconn(&fd) != Ok(true) {
        return Err(no("nobody has called listen on it"));
    }
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true).map_err(|source| Error::Io {
        what: "make the socket non-blocking",
        source,
    })?;
    Ok(listener)
}

/// SIGTERM and SIGINT as a descriptor. They are blocked from here on.
///
/// # Errors
/// As the kernel says.
pub fn stop_signals() -> Result<SignalFd, Error> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
        .map_err(|errno| Error::Io {
            what: "watch for signals",
            source: errno.into(),
        })
}

/// The running signer.
pub struct Service {
    /// The log.
    pub log: Log,
    /// Where it is kept.
    pub store: Store,
    /// Where the daemon connects.
    pub listener: UnixListener,
    /// When to stop.
    pub stop: SignalFd,
    /// The daemon's user.
    pub peer_uid: u32,
    /// Who is told.
    pub notify: Notify,
}

/// The one connection, and what has been read of it.
struct Connection {
    stream: UnixStream,
    inbox: Vec<u8>,
}

/// What the persisted head lacks.
struct Unpersisted {
    since: Instant,
    from: u64,
}

impl Service {
    /// Serves until a signal asks to stop; the head is persisted then.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(mut self) -> Result<(), Error> {
        let mut connection: Option<Connection> = None;
        let mut unpersisted: Option<Unpersisted> = None;
        let mut next_alive = Instant::now();
        self.notify.ready();
        loop {
            let ready = self.wait(connection.as_ref(), unpersisted.as_ref(), next_alive)?;
            if ready.stop {
                self.notify.stopping();
                if unpersisted.is_some() {
                    self.store.persist(&self.log)?;
                }
                tracing::info!(size = self.log.head().size, "stopped");
                return Ok(());
            }
            if ready.listener
                && let Some(stream) = self.accept()
            {
                self.log.drop_unconfirmed();
                connection = Some(Connection {
                    stream,
                    inbox: Vec::new(),
                });
            } else if ready.connection
                && let Some(open) = &mut connection
            {
                let before = self.log.head().size;
                match self.converse(open) {
                    Ok(()) => {}
                    Err(Ended::Connection(why)) => {
                        tracing::info!("connection closed: {why}");
                        self.log.drop_unconfirmed();
                        connection = None;
                    }
                    Err(Ended::Store(error)) => return Err(error.into()),
                }
                if self.log.head().size > before && unpersisted.is_none() {
                    unpersisted = Some(Unpersisted {
                        since: Instant::now(),
                        from: before,
                    });
                }
            }
            if unpersisted
                .as_ref()
                .is_some_and(|behind| self.is_due(behind))
            {
                self.store.persist(&self.log)?;
                unpersisted = None;
            }
            if let Some(interval) = self
                .notify
                .watchdog()
                .filter(|_| Instant::now() >= next_alive)
            {
                self.notify.alive();
                next_alive = Instant::now() + interval;
            }
        }
    }

    fn is_due(&self, behind: &Unpersisted) -> bool {
        behind.since.elapsed() >= PERSIST_AFTER
            || self.log.head().size - behind.from >= UNPERSISTED_MAX
    }

    /// Sleeps until something is there to do.
    fn wait(
        &self,
        connection: Option<&Connection>,
        unpersisted: Option<&Unpersisted>,
        next_alive: Instant,
    ) -> Result<Ready, Error> {
        let now = Instant::now();
        let persist = unpersisted.map(|behind| behind.since + PERSIST_AFTER);
        let alive = self.notify.watchdog().map(|_| next_alive);
        let until = [persist, alive].into_iter().flatten().min();
        let timeout = until
            .map(|until| until.saturating_duration_since(now))
            .and_then(|wait| Timespec::try_from(wait).ok());
        let mut fds = vec![
            PollFd::new(&self.stop, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        fds.extend(
            connection.map(|open| PollFd::from_borrowed_fd(open.stream.as_fd(), PollFlags::IN)),
        );
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::Io {
                    what: "wait",
                    source: errno.into(),
                });
            }
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = || ready.next().unwrap_or(false);
        Ok(Ready {
            stop: next(),
            listener: next(),
            connection: next(),
        })
    }

    /// The next connection, if its peer is the daemon's user.
    fn accept(&self) -> Option<UnixStream> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            // Whoever it was has gone again, or we are short of something: the next one may do better.
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!("cannot accept a connection: {error}");
                }
                return None;
            }
        };
        let peer = sockopt::socket_peercred(&stream).ok()?;
        if peer.uid.as_raw() != self.peer_uid {
            tracing::warn!(
                uid = peer.uid.as_raw(),
                pid = peer.pid.as_raw_nonzero(),
                "refused a peer of another user"
            );
            return None;
        }
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    }

    /// Reads what is there and answers every whole message. An error closes the connection.
    fn converse(&mut self, open: &mut Connection) -> Result<(), Ended> {
        let closed = open.read()?;
        while let Some(request) = open.next_message()? {
            let reply = answer(&mut self.log, &self.store, request)?;
            let bytes = frame::encode(&reply, SIGNER_BYTES_MAX)?;
            // Answers are small; where the socket's buffer is full of them the peer does not read.
            open.stream.write_all(&bytes).map_err(Broken::Io)?;
        }
        if closed {
            Err(Broken::Closed.into())
        } else {
            Ok(())
        }
    }
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The next connection may do better.
    #[error(transparent)]
    Connection(#[from] Broken),
    /// The process ends: what is on disk decides.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The answer to one request: all of the protocol that is not the socket's.
///
/// # Errors
/// Where a key or a head could not be put on disk, or erased from it. Whoever asked gets no answer, and the process ends.
pub fn answer(
    log: &mut Log,
    store: &dyn Keep,
    request: SignerRequest,
) -> Result<SignerReply, store::Error> {
    use signer_request::Kind;
    let answer = match request.kind {
        Some(Kind::Hello(_)) => Ok(head_reply(log)),
        Some(Kind::Advance(advance)) => log
            .advance(advance.from_size, &advance.leaf_hashes)
            .map(|note| signer_reply::Kind::Note(note.to_owned())),
        Some(Kind::Durable(durable)) => log.durable(durable.size).map(|()| head_reply(log)),
        Some(Kind::Adopt(adopt)) => log
            .adopt(&adopt.note, adopt.from_size, &adopt.leaf_hashes)
            .map(|()| head_reply(log)),
        Some(Kind::NextEpoch(_)) => Ok(next_epoch(log, store)?),
        Some(Kind::SwitchEpoch(switch)) => {
            match log.switch_epoch(switch.number, &switch.public_key) {
                Ok(ended) => {
                    // Persisted first: a crash before it leaves the old epoch with both keys, one after it the new epoch
                    // with a key too many, which the next start erases.
                    store.persist(log)?;
                    store.erase(ended)?;
                    tracing::info!(epoch = switch.number, "switched; the key before is erased");
                    Ok(head_reply(log))
                }
                Err(refusal) => Err(refusal),
            }
        }
        None => Err(Refusal::Empty),
    };
    let kind = answer.unwrap_or_else(|refusal| refuse(&refusal));
    Ok(SignerReply { kind: Some(kind) })
}

/// The next key is on disk before anybody learns of it, so that no record names a key that a crash could lose.
fn next_epoch(log: &mut Log, store: &dyn Keep) -> Result<signer_reply::Kind, store::Error> {
    if log.next_epoch().is_none() {
        let next = store.make_next(log)?;
        next.lock_in_memory();
        log.hold_next(next);
    }
    let (current, key) = log.epoch();
    let next = log.next_epoch().unwrap_or(key);
    Ok(signer_reply::Kind::EpochKey(epoch_key(
        current.saturating_add(1),
        next,
    )))
}

fn epoch_key(number: u64, key: &PublicKey) -> EpochKey {
    let public_key = key.as_bytes().to_vec();
    EpochKey { number, public_key }
}

fn head_reply(log: &Log) -> signer_reply::Kind {
    let head = log.head();
    let (number, key) = log.epoch();
    signer_reply::Kind::Head(SignerHead {
        size: head.size,
        root: head.root.to_vec(),
        origin: log.public().name().to_string(),
        public_key: log.public().as_bytes().to_vec(),
        epoch: Some(epoch_key(number, key)),
    })
}

/// What [`Service::wait`] found.
struct Ready {
    stop: bool,
    listener: bool,
    connection: bool,
}

fn refuse(refusal: &Refusal) -> signer_reply::Kind {
    let message = refusal.to_string();
    tracing::warn!("refused: {message}");
    signer_reply::Kind::Refusal(SignerRefusal { message })
}

impl Connection {
    /// Reads until nothing more is there. Returns whether the peer has closed.
    fn read(&mut self) -> Result<bool, Broken> {
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.inbox.len() <= PREFIX_BYTES + SIGNER_BYTES_MAX {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(count) => self
                    .inbox
                    .extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
        // A whole message is there in any case; what remains is read after it was answered.
        Ok(false)
    }

    /// The next whole message, taken out of the inbox.
    fn next_message(&mut self) -> Result<Option<SignerRequest>, Broken> {
        let Some((prefix, rest)) = self.inbox.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = frame::length(*prefix, SIGNER_BYTES_MAX)?;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let request = frame::decode(body)?;
        self.inbox.drain(..PREFIX_BYTES + length);
        Ok(Some(request))
    }
}
