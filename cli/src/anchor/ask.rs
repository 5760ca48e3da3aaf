//! The conversation with one witness: C2SP tlog-witness from the asker's side.
//!
//! Two of its answers look alike and mean opposite things. A 409 with a size says where the witness is: then the proof is
//! made from there. A 409 with the size of our own checkpoint, or a 422 to a proof that holds for our own journal, says
//! that it saw another history.
#![forbid(unsafe_code)]

use super::follow::{self, Newest};
use crate::failure::Failure;
use crate::output::Output;
use crate::untrusted::Untrusted;
use crate::witness::address::Address;
use crate::witness::wire::{self, ADD_CHECKPOINT, SIZE_TYPE, Submission};
use faramesh_core::checkpoint::KeyName;
use faramesh_core::cosign::Witnesses;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// One question, from connecting to the last byte: a cosignature takes a disk's fsync, ssh some round trips.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
/// An answer's bytes: sixteen signature lines.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Questions in one round: the first may be answered by a size, and somebody else may push meanwhile.
const QUESTIONS_MAX: usize = 4;

/// Signature lines by pinned witnesses, each checked.
pub type Lines = Vec<(KeyName, String)>;

/// What came instead of a cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It saw the same number of records with another root, or records that ours do not extend.
    Fork {
        /// Records that it knows.
        known: u64,
    },
    /// It saw more records than there are here.
    Rollback {
        /// Records that it knows.
        known: u64,
        /// Records that there are.
        size: u64,
    },
    /// It does not know this log.
    UnknownLog,
    /// It does not take the log's signature.
    NotSigned,
    /// It is not there, or not well.
    Unreachable(String),
    /// It answered what the protocol does not have.
    Nonsense(String),
    /// Our own journal gives no proof.
    Journal(Failure),
}

impl Trouble {
    /// Whether history was changed, here or at the witness.
    pub const fn is_alarm(&self) -> bool {
        matches!(self, Trouble::Fork { .. } | Trouble::Rollback { .. })
    }

    /// A word for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Trouble::Fork { .. } => "fork",
            Trouble::Rollback { .. } => "rollback",
            Trouble::UnknownLog => "unknown_log",
            Trouble::NotSigned => "not_signed",
            Trouble::Unreachable(_) => "unreachable",
            Trouble::Nonsense(_) => "nonsense",
            Trouble::Journal(_) => "journal",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Fork { known } => write!(
                f,
                "FORK: the first {known} records here are not those that it cosigned; the journal was rewritten, or the witness lies"
            ),
            Trouble::Rollback { known, size } => write!(
                f,
                "ROLLBACK: it cosigned {known} records and there are {size} here; the journal was cut, is an old copy, or the witness lies"
            ),
            Trouble::UnknownLog => {
                f.write_str("it does not know this log: put log.pub into its logs/")
            }
            Trouble::NotSigned => {
                f.write_str("it pins another key for this log: compare its logs/ with log.pub")
            }
            Trouble::Unreachable(why) => f.write_str(why),
            Trouble::Nonsense(why) => write!(f, "it does not keep to the protocol: {why}"),
            Trouble::Journal(failure) => f.write_str(&failure.message),
        }
    }
}

/// A witness, and how far it was when it was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where.
    pub address: Address,
    /// Records that it knows, as far as we know.
    pub known: u64,
}

impl Asked {
    /// One that was never asked.
    pub fn new(address: Address) -> Asked {
        Asked { address, known: 0 }
    }
}

/// Asks for a cosignature on the newest checkpoint.
///
/// # Errors
/// [`Trouble`]. A rollback is said where `newest` is older than what the witness knows: the caller looks whether the
/// journal has grown meanwhile.
pub async fn cosignature(
    asked: &mut Asked,
    dir: &Path,
    newest: &Newest,
    pinned: &Witnesses,
    output: Output,
) -> Result<Lines, Trouble> {
    let head = newest.head();
    for _ in 0..QUESTIONS_MAX {
        let old = asked.known;
        if old > head.size {
            return Err(Trouble::Rollback {
                known: old,
                size: head.size,
            });
        }
        let dir = dir.to_owned();
        let proof =
            tokio::task::spawn_blocking(move || follow::consistency(&dir, old, &head, &output))
                .await
                .map_err(|e| Trouble::Unreachable(format!("the proof was not made: {e}")))?;
        let (_, proof) = proof.map_err(Trouble::Journal)?;
        let note = newest.note.clone();
        let body = Submission { old, proof, note }.body();
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, post(&asked.address, body));
        let answer = answer.await.map_err(|_| {
            Trouble::Unreachable(format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()))
        })??;
        match answer.status {
            StatusCode::OK => {
                let lines = answer.lines(newest, pinned)?;
                asked.known = head.size;
                return Ok(lines);
            }
            StatusCode::CONFLICT => match answer.known()? {
                known if known == old && old == head.size => return Err(Trouble::Fork { known }),
                known if known == old => {
                    return Err(Trouble::Nonsense(format!(
                        "it knows {known} records and refuses a proof from there"
                    )));
                }
                known => asked.known = known,
            },
            StatusCode::UNPROCESSABLE_ENTITY => return Err(Trouble::Fork { known: old }),
            StatusCode::NOT_FOUND => return Err(Trouble::UnknownLog),
            StatusCode::FORBIDDEN => return Err(Trouble::NotSigned),
            status => {
                let said = format!("{} {}", status.as_u16(), Untrusted(answer.text.trim_end()));
                return Err(match status.is_server_error() {
                    true => Trouble::Unreachable(format!("it is in trouble: {said}")),
                    false => Trouble::Nonsense(said),
                });
            }
        }
    }
    let why = "it moves on faster than it is asked".to_owned();
    Err(Trouble::Unreachable(why))
}

struct Answer {
    status: StatusCode,
    is_size: bool,
    text: String,
}

impl Answer {
    fn lines(&self, newest: &Newest, pinned: &Witnesses) -> Result<Lines, Trouble> {
        let lines = pinned
            .lines(&newest.checkpoint, &self.text)
            .map_err(|e| Trouble::Nonsense(Untrusted(&e.to_string()).to_string()))?;
        if lines.is_empty() {
            let why = "it signed with no key that is pinned here: compare its witness.pub";
            return Err(Trouble::Nonsense(why.to_owned()));
        }
        Ok(lines)
    }

    fn known(&self) -> Result<u64, Trouble> {
        let size = self.text.strip_suffix('\n').and_then(wire::size);
        size.filter(|_| self.is_size).ok_or_else(|| {
            Trouble::Nonsense(format!(
                "409 without a size: {}",
                Untrusted(self.text.trim_end())
            ))
        })
    }
}

async fn post(address: &Address, body: Vec<u8>) -> Result<Answer, Trouble> {
    let gone = |e: io::Error| Trouble::Unreachable(format!("cannot be reached: {e}"));
    match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(gone)?;
            exchange(stream, address, body).await
        }
        Address::Loopback(at, _) => {
            let stream = TcpStream::connect(at).await.map_err(gone)?;
            exchange(stream, address, body).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &Address,
    body: Vec<u8>,
) -> Result<Answer, Trouble> {
    let broken = |e: &dyn fmt::Display| Trouble::Unreachable(format!("it broke off: {e}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    let talking = AbortOnDrop(tokio::spawn(async move { drop(connection.await) }));
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}{ADD_CHECKPOINT}", address.prefix()))
        .header(HOST, address.host())
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| broken(&e))?;
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let is_size = kind.is_some_and(|value| value.as_bytes() == SIZE_TYPE.as_bytes());
    let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|e| broken(&e))?
        .to_bytes();
    drop(talking);
    let text = String::from_utf8(bytes.to_vec())
        .map_err(|_| Trouble::Nonsense("its answer is not UTF-8".to_owned()))?;
    Ok(Answer {
        status,
        is_size,
        text,
    })
}

/// The connection ends with the question, however that ends.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
