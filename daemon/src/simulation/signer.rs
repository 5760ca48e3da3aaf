//! The real signer, without its process: its log, its state directory and its answers, on a line in memory.

use super::steps::{Killed, Step, Steps};
use crate::journal::signer_client::Line;
use faramesh_core::checkpoint::LogKey;
use faramesh_proto::frame::{PREFIX_BYTES, SIGNER_BYTES_MAX, decode, encode, length};
use faramesh_proto::v1::{SignerRequest, signer_request};
use faramesh_signer::log::Log;
use faramesh_signer::serve::answer;
use faramesh_signer::store::{self, Keep as _, Store};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files of the state directory, by name.
type Files = Vec<(String, Vec<u8>)>;

struct Host {
    dir: PathBuf,
    stack: String,
    /// The running process, where one runs.
    running: Option<(Store, Log)>,
    /// Which connection is served.
    connection: u64,
    /// The directory before the last change of it, while that change may not be durable.
    before: Option<Files>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Signer {
    host: Arc<Mutex<Host>>,
    steps: Steps,
}

impl Signer {
    /// A signer of `stack` that has signed nothing.
    pub(super) fn new(dir: &Path, stack: &str, steps: Steps) -> (Signer, LogKey) {
        let key = store::init(dir, stack).unwrap();
        let host = Host {
            dir: dir.to_path_buf(),
            stack: stack.to_owned(),
            running: None,
            connection: 0,
            before: None,
        };
        let signer = Signer {
            host: Arc::new(Mutex::new(host)),
            steps,
        };
        (signer, key)
    }

    /// A connection, with a signer that is started where none runs; the connection before it is closed.
    pub(super) fn connect(&self) -> Box<dyn Line> {
        let mut host = self.lock();
        if host.running.is_none() {
            let (path, stack) = (host.dir.clone(), host.stack.clone());
            host.running = Some(Store::open(&path, &stack).unwrap());
        }
        let (_, log) = host.running.as_mut().unwrap();
        log.drop_unconfirmed();
        host.connection += 1;
        let connection = host.connection;
        drop(host);
        Box::new(Wire {
            signer: self.clone(),
            connection,
            inbox: Vec::new(),
            outbox: VecDeque::new(),
        })
    }

    /// The head that it has confirmed, where it runs.
    pub(super) fn confirmed(&self) -> Option<u64> {
        let host = self.lock();
        host.running.as_ref().map(|(_, log)| log.head().size)
    }

    /// Writes its head, as it does within a second. Where that fails, it ends.
    pub(super) fn persist(&self) {
        let mut host = self.lock();
        if host.running.is_none() {
            return;
        }
        host.before = Some(host.files());
        drop(host);
        let persist = || {
            let host = self.lock();
            let (store, log) = host.running.as_ref().unwrap();
            store.persist(log).unwrap();
        };
        // A signer that is killed takes nobody with it.
        let steps = self.steps.clone();
        let taken = catch_unwind(AssertUnwindSafe(|| {
            steps.take(Step::Persist, persist, |bytes| self.leave_torn(bytes))
        }));
        match taken {
            Ok(Ok(())) => self.lock().before = None,
            Ok(Err(_)) => self.kill(),
            Err(killed) if killed.is::<Killed>() => self.kill(),
            Err(other) => resume_unwind(other),
        }
    }

    /// The process is gone, and all that it had not written.
    pub(super) fn kill(&self) {
        self.lock().running = None;
    }

    /// It is gone, and of its last change of the directory there is all or nothing: it renames.
    pub(super) fn lose_power(&self, keep: bool) {
        let mut host = self.lock();
        host.running = None;
        if let Some(before) = host.before.take().filter(|_| !keep) {
            host.put_back(&before);
        }
    }

    /// What a crash within a write leaves beside the head.
    fn leave_torn(&self, bytes: usize) {
        let host = self.lock();
        let head = std::fs::read(host.dir.join("head")).unwrap();
        let torn = &head[..bytes.min(head.len())];
        std::fs::write(host.dir.join("head.new"), torn).unwrap();
    }

    fn lock(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn files(&self) -> Files {
        let entries = std::fs::read_dir(&self.dir).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                let name = entry.file_name().to_str().unwrap().to_owned();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    fn put_back(&self, before: &Files) {
        for (name, _) in self.files() {
            if !before.iter().any(|(kept, _)| *kept == name) {
                std::fs::remove_file(self.dir.join(name)).unwrap();
            }
        }
        for (name, bytes) in before {
            // Written in place, so that it keeps its mode.
            std::fs::write(self.dir.join(name), bytes).unwrap();
        }
    }
}

/// The daemon's end of a connection.
struct Wire {
    signer: Signer,
    connection: u64,
    inbox: Vec<u8>,
    outbox: VecDeque<u8>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection {}", self.connection)
    }
}

impl Wire {
    fn ask(&mut self, request: SignerRequest) -> io::Result<()> {
        let step = Step::Ask(match &request.kind {
            Some(signer_request::Kind::Hello(_)) => "hello",
            Some(signer_request::Kind::Adopt(_)) => "adopt",
            Some(signer_request::Kind::Advance(_)) => "advance",
            Some(signer_request::Kind::Durable(_)) => "durable",
            Some(signer_request::Kind::NextEpoch(_)) => "next epoch",
            Some(signer_request::Kind::SwitchEpoch(_)) => "switch epoch",
            _ => "other",
        });
        let (signer, outbox) = (self.signer.clone(), &mut self.outbox);
        let work = || {
            let mut host = signer.lock();
            let (store, log) = host.running.as_mut().unwrap();
            let reply = answer(log, store, request).unwrap();
            outbox.extend(encode(&reply, SIGNER_BYTES_MAX).unwrap());
        };
        signer.steps.take(step, work, |_| {})
    }

    fn closed(&self) -> io::Result<()> {
        if self.is_gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.closed()?;
        self.inbox.extend(bytes);
        while let Some((prefix, rest)) = self.inbox.split_first_chunk::<PREFIX_BYTES>() {
            let length = length(*prefix, SIGNER_BYTES_MAX).unwrap();
            let Some(body) = rest.get(..length) else {
                break;
            };
            let request = decode(body).unwrap();
            self.inbox.drain(..PREFIX_BYTES + length);
            let asked = self.ask(request);
            if asked.is_err() {
                // A message that did not arrive whole: there is no connection any more.
                self.connection = u64::MAX;
            }
            asked?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.outbox.is_empty() || self.is_gone() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        // One step an answer, not one a read: its first byte comes alone.
        if into.len() == 1 {
            self.signer.steps.take(Step::Hear, || {}, |_| {})?;
        }
        self.outbox.read(into)
    }
}

impl Line for Wire {
    fn is_gone(&self) -> bool {
        let host = self.signer.lock();
        host.running.is_none() || host.connection != self.connection
    }
}
