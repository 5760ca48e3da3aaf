//! One thread follows the journal, and one socket answers.
//!
//! Invariants: the follower is the only writer of the store; a question sees the store as it was at one moment, and its
//! answer says up to which record that was; whoever may connect may ask everything, so the socket's mode is the right.

use crate::follow::{Follower, Step};
use crate::query::{self, Refusal};
use crate::store::{Error, Store, View};
use faramesh_proto::v1::index_server::{Index, IndexServer};
use faramesh_proto::v1::{
    Coverage, GetReply, GetRequest, ListReply, ListRequest, StatsReply, StatsRequest, TraceReply,
    TraceRequest,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

/// How often the journal is looked at: what was decided is found so much later. A look that finds nothing reads a
/// window at the journal's end.
const POLL: Duration = Duration::from_millis(200);
/// After so many looks it is seen whether segments were written anew: an erasure does that.
const LOOKS_AT_FILES: u32 = 10;
/// So many looks in a row at the same thing behind the last note: then it is not a batch that is being written.
const PATIENCE: u32 = 15;
/// Questions that are answered at a time; the others wait. Each holds a page at most.
const QUESTIONS_AT_ONCE: usize = 4;
/// The longest question: a filter's names.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What the follower says of itself.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// There is more, and it is being read.
    pub catching_up: bool,
    /// Why it does not get on, or empty.
    pub trouble: String,
}

/// What both sides share.
pub struct Shared {
    store: Store,
    follower: Follower,
    condition: Mutex<Condition>,
    stop: AtomicBool,
}

/// Somebody who watches the follower go on.
pub trait Watcher: Send {
    /// So many bytes of so many are behind, with so many records.
    fn progress(&mut self, bytes: u64, of: u64, records: u64);
    /// It has come to the end.
    fn arrived(&mut self, records: u64);
}

impl Shared {
    /// What a follower and a service work on.
    pub fn new(store: Store, follower: Follower) -> Arc<Shared> {
        Arc::new(Shared {
            store,
            follower,
            condition: Mutex::new(Condition {
                catching_up: true,
                trouble: String::new(),
            }),
            stop: AtomicBool::new(false),
        })
    }

    /// How many records are indexed.
    ///
    /// # Errors
    /// The store does not work.
    pub fn size(&self) -> Result<u64, Error> {
        Ok(self.store.position()?.size())
    }

    /// How the follower is.
    pub fn condition(&self) -> Condition {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_condition(&self, condition: Condition) {
        let mut held = self
            .condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if held.trouble != condition.trouble && !condition.trouble.is_empty() {
            tracing::warn!("{}", condition.trouble);
        }
        *held = condition;
    }

    /// Lets the follower end after what it does now.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Follows until it is told to stop.
    ///
    /// # Errors
    /// The store does not work.
    pub fn follow(&self, watcher: &mut dyn Watcher) -> Result<(), Error> {
        let (mut read, mut arrived, mut looks) = (0, false, 0_u32);
        let mut behind: (String, u32) = (String::new(), 0);
        while !self.stop.load(Ordering::Relaxed) {
            let position = self.store.position()?;
            let step = match self.follower.step(&position) {
                Ok(step) => step,
                Err(error) => Step::Nothing(Some(format!(
                    "cannot read `{}`: {error}",
                    self.follower.journal().dir().display()
                ))),
            };
            match step {
                Step::Batch(batch) => {
                    self.store.add(&batch)?;
                    read += batch.bytes;
                    if !arrived {
                        let all = self.follower.journal().bytes();
                        watcher.progress(read, all, batch.after.size());
                    }
                    self.set_condition(Condition {
                        catching_up: !arrived,
                        trouble: String::new(),
                    });
                    continue;
                }
                Step::Moved(position) => {
                    self.store.move_to(&position)?;
                    continue;
                }
                Step::Foreign(why) => {
                    tracing::warn!("the journal is another one: {why}; the index is made anew");
                    self.store.clear(self.follower.key())?;
                    (read, arrived) = (0, false);
                    continue;
                }
                Step::Nothing(None) => behind = (String::new(), 0),
                Step::Nothing(Some(what)) if what == behind.0 => behind.1 += 1,
                Step::Nothing(Some(what)) => behind = (what, 0),
            }
            if self.store.forget_removed()? {
                continue;
            }
            if looks.is_multiple_of(LOOKS_AT_FILES) {
                // What cannot be read now is read at the next look.
                if let Err(error) = self.store.follow_rewritten(self.follower.journal()) {
                    tracing::warn!("{error}");
                }
            }
            looks = looks.wrapping_add(1);
            if !arrived {
                watcher.arrived(position.size());
                arrived = true;
            }
            let trouble = match behind.1 >= PATIENCE {
                true => format!(
                    "the index does not get on behind record {}: {}; run `faramesh audit verify`",
                    position.size(),
                    behind.0
                ),
                false => self.condition().trouble,
            };
            let trouble = if behind.0.is_empty() {
                String::new()
            } else {
                trouble
            };
            self.set_condition(Condition {
                catching_up: false,
                trouble,
            });
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn coverage(&self, view: &View<'_>) -> Coverage {
        let condition = self.condition();
        let name = self.follower.key().name();
        Coverage {
            stack: name.stack().unwrap_or_default().to_owned(),
            origin: name.as_str().to_owned(),
            size: view.position.size(),
            root: view.position.frontier.root().to_vec(),
            removed: view.position.removed,
            catching_up: condition.catching_up,
            trouble: condition.trouble,
        }
    }
}

/// Answers questions.
#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
}

impl Service {
    /// Answers on a thread that may wait for a disk, from one moment's store.
    async fn answer<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&View<'_>, Coverage) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let closed = |_| Status::unavailable("the index stops");
        let _room = self.room.acquire().await.map_err(closed)?;
        let shared = self.shared.clone();
        let task = tokio::task::spawn_blocking(move || {
            let view = shared.store.view()?;
            let coverage = shared.coverage(&view);
            answer(&view, coverage)
        });
        match task.await {
            Ok(Ok(reply)) => Ok(Response::new(reply)),
            Ok(Err(Refusal::Question(why))) => Err(Status::invalid_argument(why)),
            Ok(Err(Refusal::Store(error))) => {
                tracing::error!("{error}");
                Err(Status::internal(error.to_string()))
            }
            Err(_) => Err(Status::internal("the question made the index fail")),
        }
    }
}

#[tonic::async_trait]
impl Index for Service {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let request = request.into_inner();
        self.answer(move |view, coverage| {
            let (places, next) = query::list(view, &request)?;
            Ok(ListReply {
                coverage: Some(coverage),
                places,
                next,
            })
        })
        .await
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsReply>, Status> {
        let request = request.into_inner();
        self.answer(move |view, coverage| {
            let mut reply = query::stats(view, &request)?;
            reply.coverage = Some(coverage);
            Ok(reply)
        })
        .await
    }

    async fn trace(&self, request: Request<TraceRequest>) -> Result<Response<TraceReply>, Status> {
        let request = request.into_inner();
        self.answer(move |view, coverage| {
            let (places, next) = query::trace(view, &request)?;
            Ok(TraceReply {
                coverage: Some(coverage),
                places,
                next,
            })
        })
        .await
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetReply>, Status> {
        let seq = request.into_inner().seq;
        self.answer(move |view, coverage| {
            Ok(GetReply {
                coverage: Some(coverage),
                place: query::get(view, seq)?,
            })
        })
        .await
    }
}

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something that is no socket lies there.
    #[error("`{}` is there and is not a socket: remove it", .0.display())]
    NotASocket(PathBuf),
    /// The system says no.
    #[error("cannot make the socket `{}`: {source}", path.display())]
    System {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Makes the listening socket, in the place of one that a dead process left: the caller holds the index's lock. Its group
/// is the process's.
///
/// # Errors
/// [`SocketError`].
pub fn bind(path: &Path, mode: u32) -> Result<std::os::unix::net::UnixListener, SocketError> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let system = |source| SocketError::System {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        _ => {}
    }
    // Nobody may connect before it has its mode: it gets its name last.
    let staged = path.with_file_name(".new-index");
    let _ = std::fs::remove_file(&staged);
    let listener = std::os::unix::net::UnixListener::bind(&staged).map_err(system)?;
    listener.set_nonblocking(true).map_err(system)?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(mode)).map_err(system)?;
    std::fs::rename(&staged, path).map_err(system)?;
    Ok(listener)
}

/// Answers on a socket until `until` comes.
///
/// # Errors
/// The socket does not work.
pub async fn serve(
    shared: Arc<Shared>,
    listener: std::os::unix::net::UnixListener,
    until: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let listener = UnixListener::from_std(listener)?;
    let service = Service {
        shared,
        room: Arc::new(Semaphore::new(QUESTIONS_AT_ONCE)),
    };
    let service = IndexServer::new(service).max_decoding_message_size(REQUEST_BYTES_MAX);
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(
            tokio_stream::wrappers::UnixListenerStream::new(listener),
            until,
        )
        .await?;
    Ok(())
}
