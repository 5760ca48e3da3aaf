//! The daemon's end of the conversation with `faramesh-signer`.
//!
//! One answer to one question, in order. `Advance` may be sent before the frames are written and its answer read after:
//! the signer's head moves in memory only, and a signer that loses the connection drops an unconfirmed head, so a crash
//! between the two leaves what a crash between the ordinary steps leaves: bytes above the head that no note covers.
//! `Durable` is sent without waiting; its answer is read before the next one.
//!
//! A signer that is *gone* (closed, silent, unreachable) is not one that *refuses*: the first ends the process to be
//! restarted, the second halts it for good. Nonsense counts as a refusal.
#![forbid(unsafe_code)]

use faramesh_proto::frame::{self, Broken, SIGNER_BYTES_MAX};
use faramesh_proto::v1::{
    self, Adopt, Advance, Durable, NextEpoch, SignerHello, SignerReply, SignerRequest, SwitchEpoch,
    signer_reply, signer_request,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A signer that does not answer for so long is gone. It signs in 20 µs and fsyncs at most once a second.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The signer's last confirmed head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerHead {
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root.
    pub root: [u8; 32],
    /// The journal's origin, as the signer names it.
    pub origin: String,
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
    /// The key that signs beside it.
    pub epoch: EpochKey,
}

/// The key of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochKey {
    /// The epoch.
    pub number: u64,
    /// The Ed25519 public key.
    pub public_key: [u8; 32],
}

/// Why the signer did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum SignerFault {
    /// Not there, or no longer.
    #[error("the signer is gone: {0}")]
    Gone(String),
    /// It answered no.
    #[error("the signer refuses: {0}")]
    Refused(String),
    /// It answered something else than was asked.
    #[error("the signer answered what was not asked: {0}")]
    Nonsense(String),
}

/// What a conversation goes over: a socket, or in tests a signer in the same process.
pub trait Line: Read + Write + Debug + Send {
    /// Whether the other end has closed, without waiting.
    fn is_gone(&self) -> bool;
}

impl Line for UnixStream {
    fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut fds, Some(&at_once)).is_ok()
            && fds.iter().any(|fd| fd.revents().intersects(ended))
    }
}

/// A connection. Whoever holds it is the only one that speaks on it.
#[derive(Debug)]
pub struct SignerClient {
    line: Box<dyn Line>,
    /// The size of a `Durable` whose answer has not been read.
    owed: Option<u64>,
}

impl SignerClient {
    /// Connects to the signer's socket and checks that `uid` listens there.
    ///
    /// # Errors
    /// [`SignerFault::Gone`] where nobody listens; [`SignerFault::Refused`] where somebody else does.
    pub fn connect(path: &Path, uid: u32) -> Result<SignerClient, SignerFault> {
        let gone = |error: io::Error| SignerFault::Gone(format!("`{}`: {error}", path.display()));
        let stream = UnixStream::connect(path).map_err(gone)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|error| gone(error.into()))?
            .uid
            .as_raw();
        // The listening socket is made by the signer's parent (systemd, `faramesh serve`): root may stand behind it.
        if peer != uid && peer != 0 {
            return Err(SignerFault::Refused(format!(
                "`{}` is served by uid {peer}, where uid {uid} is configured as the signer's",
                path.display()
            )));
        }
        SignerClient::over(stream)
    }

    /// Speaks over a connected stream.
    ///
    /// # Errors
    /// [`SignerFault::Gone`] where the stream cannot be given a time limit.
    pub fn over(stream: UnixStream) -> Result<SignerClient, SignerFault> {
        let limited = stream
            .set_read_timeout(Some(ANSWER_MAX))
            .and_then(|()| stream.set_write_timeout(Some(ANSWER_MAX)));
        limited.map_err(|error| SignerFault::Gone(error.to_string()))?;
        Ok(SignerClient::on(Box::new(stream)))
    }

    /// Speaks on a line that never keeps it waiting for ever.
    #[must_use]
    pub fn on(line: Box<dyn Line>) -> SignerClient {
        SignerClient { line, owed: None }
    }

    /// Asks for the last confirmed head. An unconfirmed one is dropped.
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn hello(&mut self) -> Result<SignerHead, SignerFault> {
        self.send(signer_request::Kind::Hello(SignerHello {}))?;
        self.head()
    }

    /// Shows the signer a note of its own that is on disk, with the leaves from its head to it; that is its head then.
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn adopt(
        &mut self,
        note: String,
        from_size: u64,
        leaves: &[[u8; 32]],
    ) -> Result<SignerHead, SignerFault> {
        self.send(signer_request::Kind::Adopt(Adopt {
            note,
            from_size,
            leaf_hashes: leaves.concat(),
        }))?;
        self.head()
    }

    /// Asks for the note of the tree that `leaves` make of the one of `from_size`; [`SignerClient::note`] reads it.
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn ask_advance(&mut self, from_size: u64, leaves: &[[u8; 32]]) -> Result<(), SignerFault> {
        self.send(signer_request::Kind::Advance(Advance {
            from_size,
            leaf_hashes: leaves.concat(),
        }))
    }

    /// The answer to [`SignerClient::ask_advance`].
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn note(&mut self) -> Result<String, SignerFault> {
        self.settle()?;
        match self.receive()? {
            signer_reply::Kind::Note(note) => Ok(note),
            other => Err(unasked(&other)),
        }
    }

    /// Says that the head of `size` is on disk, without waiting for the answer.
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn tell_durable(&mut self, size: u64) -> Result<(), SignerFault> {
        self.settle()?;
        self.send(signer_request::Kind::Durable(Durable { size }))?;
        self.owed = Some(size);
        Ok(())
    }

    /// Reads the answer to the last `Durable`, where it has not been read.
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn settle(&mut self) -> Result<(), SignerFault> {
        let Some(size) = self.owed.take() else {
            return Ok(());
        };
        let head = self.head()?;
        if head.size == size {
            Ok(())
        } else {
            Err(SignerFault::Nonsense(format!(
                "its head is {} after `durable {size}`",
                head.size
            )))
        }
    }

    /// Asks for the next epoch's key, which is on the signer's disk then. Asked again, it is the same one.
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn next_epoch(&mut self) -> Result<EpochKey, SignerFault> {
        self.settle()?;
        self.send(signer_request::Kind::NextEpoch(NextEpoch {}))?;
        match self.receive()? {
            signer_reply::Kind::EpochKey(key) => epoch_key(&key),
            other => Err(unasked(&other)),
        }
    }

    /// Says that the record which names this key is on disk under a note of the key before. When it is answered, the key
    /// before is erased.
    ///
    /// # Errors
    /// Any [`SignerFault`].
    pub fn switch_epoch(&mut self, key: &EpochKey) -> Result<(), SignerFault> {
        self.settle()?;
        self.send(signer_request::Kind::SwitchEpoch(SwitchEpoch {
            number: key.number,
            public_key: key.public_key.to_vec(),
        }))?;
        let head = self.head()?;
        if head.epoch == *key {
            Ok(())
        } else {
            Err(SignerFault::Nonsense(format!(
                "it is in epoch {} after a switch to {}",
                head.epoch.number, key.number
            )))
        }
    }

    /// Whether the other end has closed, without waiting: looked at while there is nothing to sign.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.line.is_gone()
    }

    fn head(&mut self) -> Result<SignerHead, SignerFault> {
        let head = match self.receive()? {
            signer_reply::Kind::Head(head) => head,
            other => return Err(unasked(&other)),
        };
        let epoch = head.epoch.unwrap_or_default();
        Ok(SignerHead {
            epoch: epoch_key(&epoch)?,
            size: head.size,
            root: exact(&head.root, "root")?,
            origin: head.origin,
            public_key: exact(&head.public_key, "public key")?,
        })
    }

    fn send(&mut self, kind: signer_request::Kind) -> Result<(), SignerFault> {
        let request = SignerRequest { kind: Some(kind) };
        frame::write(&mut self.line, &request, SIGNER_BYTES_MAX).map_err(fault)
    }

    fn receive(&mut self) -> Result<signer_reply::Kind, SignerFault> {
        let reply: SignerReply = frame::read(&mut self.line, SIGNER_BYTES_MAX).map_err(fault)?;
        match reply.kind {
            Some(signer_reply::Kind::Refusal(refusal)) => {
                Err(SignerFault::Refused(refusal.message))
            }
            Some(kind) => Ok(kind),
            None => Err(SignerFault::Nonsense("an empty reply".into())),
        }
    }
}

fn epoch_key(key: &v1::EpochKey) -> Result<EpochKey, SignerFault> {
    Ok(EpochKey {
        number: key.number,
        public_key: exact(&key.public_key, "public key")?,
    })
}

fn exact(bytes: &[u8], what: &str) -> Result<[u8; 32], SignerFault> {
    <[u8; 32]>::try_from(bytes)
        .map_err(|_| SignerFault::Nonsense(format!("a {what} of {} bytes", bytes.len())))
}

fn fault(broken: Broken) -> SignerFault {
    match broken {
        Broken::Closed | Broken::Io(_) => SignerFault::Gone(broken.to_string()),
        Broken::TooLong { .. } | Broken::Malformed(_) => SignerFault::Nonsense(broken.to_string()),
    }
}

fn unasked(kind: &signer_reply::Kind) -> SignerFault {
    let what = match kind {
        signer_reply::Kind::Head(_) => "a head",
        signer_reply::Kind::Note(_) => "a note",
        signer_reply::Kind::Refusal(_) => "a refusal",
        signer_reply::Kind::EpochKey(_) => "an epoch's key",
    };
    SignerFault::Nonsense(what.into())
}
