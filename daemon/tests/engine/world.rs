//! A world in a few lines: a stack's directories and keys, a signer, a disk that can fail, an engine.

use faramesh_core::call;
use faramesh_core::checkpoint::{
    ArtifactStatement, Checkpoint, KeyName, LogKey, Manifest, PublicKey, Statement, compose, hex,
};
use faramesh_core::decision::Effect;
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::policy::artifact::{self, AgentPolicy, Artifact, Rule, RuleEffect, Runtime};
use faramesh_core::record::{Door, Time};
use faramesh_core::tree::{Frontier, Hash, Head};
use faramesh_daemon::clock::SetClock;
use faramesh_daemon::config::{AgentUser, Config, Limits, Mode};
use faramesh_daemon::engine::{Answer, Engine, Lane, Opened, Ports, Refusal, StartFailure};
use faramesh_daemon::journal::Committed;
use faramesh_daemon::journal::recover::{NotRecovered, Recovered, recover};
use faramesh_daemon::journal::segment::{Disk, JournalDir, SegmentFile};
use faramesh_daemon::journal::signer_client::SignerClient;
use faramesh_proto::frame::{SIGNER_BYTES_MAX, read, write};
use faramesh_proto::v1::{
    EpochKey, SignerHead, SignerRefusal, SignerReply, SignerRequest, signer_reply, signer_request,
};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub(crate) const STACK: &str = "world";

/// Noon of some day, a minute after boot.
pub(crate) const NOON: Time = Time {
    wall_ms: 1_800_000_000_000,
    boot_ms: 60_000,
};

pub(crate) struct World {
    _dir: TempDir,
    pub(crate) config: Config,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) disk: Arc<FaultyDisk>,
    pub(crate) signer: Signer,
    policy_key: Key,
}

impl World {
    /// A stack with policy 1 waiting in `next`, and a signer that has signed nothing.
    pub(crate) fn new() -> World {
        World::with_journal_in(None)
    }

    /// The same, with the journal somewhere else.
    pub(crate) fn with_journal_in(journal: Option<&Path>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let log_key = Key::of(1, |public| KeyName::origin(STACK, public).unwrap());
        let policy_key = Key::of(2, |_| KeyName::policy(STACK).unwrap());
        for sub in ["journal", "policy/artifacts", "policy/manifests", "run"] {
            std::fs::create_dir_all(path.join(sub)).unwrap();
        }
        let genesis = epoch_key(log_key.public.name(), 1).public;
        let pinned = LogKey::new(log_key.public.clone(), genesis).unwrap();
        std::fs::write(path.join("log.pub"), pinned.to_string()).unwrap();
        std::fs::write(path.join("policy.pub"), policy_key.public.vkey()).unwrap();
        let uid = rustix::process::getuid().as_raw();
        let config = Config {
            stack: STACK.into(),
            origin: log_key.public.name().to_string(),
            mode: Mode::Development,
            uid,
            policy_dir: path.join("policy"),
            policy_pub: path.join("policy.pub"),
            log_pub: path.join("log.pub"),
            journal_dir: journal.map_or_else(|| path.join("journal"), Path::to_path_buf),
            run_dir: path.join("run"),
            signer_socket: path.join("signer.sock"),
            signer_uid: uid,
            operators_gid: None,
            default_run_as: None,
            session_cgroup_roots: vec![],
            hidden_paths: vec![],
            segment_bytes: 64 * 1024,
            warnings: vec![],
            limits: Limits::STANDARD,
            agents: vec![AgentUser {
                user: "me".into(),
                uid,
                gid: uid,
            }],
        };
        let world = World {
            signer: Signer::start(&config.signer_socket, log_key, pinned),
            disk: FaultyDisk::new(&config.journal_dir),
            clock: Arc::new(SetClock::at(NOON)),
            _dir: dir,
            config,
            policy_key,
        };
        world.apply(1, &policy(Effect::Permit));
        world
    }

    pub(crate) fn log_key(&self) -> PublicKey {
        self.signer.public.clone()
    }

    /// What `apply` leaves: artifact, note, manifest, `next`.
    pub(crate) fn apply(&self, number: u64, artifact: &Artifact) {
        self.apply_signed_by(number, artifact, &self.policy_key);
    }

    pub(crate) fn apply_signed_by(&self, number: u64, artifact: &Artifact, key: &Key) {
        let bytes = artifact::encode(artifact).unwrap();
        let digest = artifact::digest(&bytes);
        let dir = &self.config.policy_dir;
        let path = dir.join("artifacts").join(hex(&digest));
        std::fs::write(&path, bytes).unwrap();
        let note = key.seal(&ArtifactStatement {
            stack: STACK.into(),
            digest,
        });
        std::fs::write(path.with_extension("note"), note).unwrap();
        let manifest = key.seal(&Manifest {
            stack: STACK.into(),
            number,
            digest,
            time: "2026-11-20T12:00:00Z".into(),
            signed_by: "tester(0)".into(),
        });
        std::fs::write(dir.join("next"), manifest).unwrap();
    }

    /// A key of the right name that is not the pinned one.
    pub(crate) fn strangers_key(&self) -> Key {
        Key::of(9, |_| KeyName::policy(STACK).unwrap())
    }

    pub(crate) fn open(&self) -> Result<Opened, StartFailure> {
        let ports = Ports {
            clock: Arc::clone(&self.clock) as _,
            disk: self.disk.process(),
        };
        Opened::open(&self.config, ports)
    }

    /// What a start would go on from; what it cuts is cut.
    pub(crate) fn recovered(&self) -> Result<Recovered, NotRecovered> {
        let signer = SignerClient::connect(&self.config.signer_socket, self.config.signer_uid)?;
        recover(
            &self.config.journal_dir,
            &*self.disk.process(),
            self.config.segment_bytes,
            &self.signer.pinned,
            signer,
        )
    }

    pub(crate) async fn start(&self) -> Engine {
        self.open().unwrap().start().await.unwrap()
    }

    /// Every byte of the journal, by file name.
    pub(crate) fn journal_bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(&self.config.journal_dir).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|name| name == "seg"))
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    }

    /// Changes one segment.
    pub(crate) fn change_segment(&self, index: usize, how: impl FnOnce(&mut Vec<u8>)) {
        let (path, mut bytes) = self.journal_bytes().swap_remove(index);
        how(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

/// A policy with one agent, `bot`, and one rule over everything.
pub(crate) fn policy(effect: Effect) -> Artifact {
    let effect = match effect {
        Effect::Permit => RuleEffect::Permit,
        Effect::Defer => RuleEffect::Defer,
        Effect::Deny => RuleEffect::Deny,
    };
    Artifact {
        requires: vec!["rules".into()],
        runtime: Runtime::default(),
        declarations: vec![],
        agents: vec![AgentPolicy {
            name: "bot".into(),
            run_as: None,
            default: Effect::Deny,
            metadata: vec![],
            rules: vec![Rule {
                effect,
                pattern: "*".into(),
                condition: vec![],
                reason: None,
                notify: vec![],
                reeval: false,
                text: format!("{effect:?} *"),
            }],
            ..AgentPolicy::default()
        }],
    }
}

/// A call of the agent `bot` from outside any session.
pub(crate) fn call(arguments: &str) -> Attested {
    let call = call::accept("shop/refund", "bot", arguments.as_bytes()).unwrap();
    attest(call, Caller::Unattested { uid: 1001 }).unwrap()
}

pub(crate) fn submit(engine: &Engine, lane: &str) -> Result<oneshot::Receiver<Answer>, Refusal> {
    engine.submit(
        Lane::session(lane),
        call(r#"{"amount":80,"order":"A-1"}"#),
        Door::Govern,
    )
}

pub(crate) async fn ask(engine: &Engine) -> Committed {
    submit(engine, "s").unwrap().await.unwrap().unwrap()
}

/// Every durable record as text, with its detail.
pub(crate) async fn journal(engine: &Engine) -> Vec<(String, String)> {
    let mut tail = engine.tail(0, false).unwrap();
    let mut records = Vec::new();
    while let Some(record) = tail.recv().await {
        assert_eq!(record.seq, records.len() as u64);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        records.push((text(record.record), text(record.detail)));
    }
    records
}

/// The kinds of all records, in order.
pub(crate) async fn kinds(engine: &Engine) -> Vec<String> {
    let kind = |record: &str| {
        let (_, rest) = record.split_once(r#""kind":""#).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    journal(engine)
        .await
        .iter()
        .map(|(record, _)| kind(record))
        .collect()
}

/// A key pair.
#[derive(Clone)]
pub(crate) struct Key {
    secret: ed25519_dalek::SigningKey,
    pub(crate) public: PublicKey,
}

impl Key {
    pub(crate) fn of(seed: u8, name: impl FnOnce(&[u8; 32]) -> KeyName) -> Key {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let bytes = secret.verifying_key().to_bytes();
        Key {
            public: PublicKey::new(name(&bytes), &bytes).unwrap(),
            secret,
        }
    }

    pub(crate) fn seal<S: Statement>(&self, statement: &S) -> String {
        use ed25519_dalek::Signer as _;
        self.public
            .seal(statement, |text| self.secret.sign(text).to_bytes())
            .unwrap()
    }
}

/// The key of an epoch of that origin.
fn epoch_key(origin: &KeyName, number: u64) -> Key {
    let seed = u8::try_from(number).unwrap() + 100;
    Key::of(seed, |_| KeyName::epoch(origin, number).unwrap())
}

/// How the signer behaves from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    /// Answers `Advance` with no.
    Refuses,
    /// Closes the connection instead of answering `Advance`.
    Leaves,
    /// Signs, then closes the connection when it hears `Durable`.
    LeavesAfterTheNote,
    /// Signs a tree that nobody asked for.
    SignsAnotherTree,
    /// Closes the connection instead of answering `SwitchEpoch`.
    LeavesBeforeTheSwitch,
    /// Signs with the origin key alone.
    SignsOnce,
    /// Closes the connection at once.
    Gone,
}

/// A signer on a thread: the protocol as DESIGN has it, and moods.
pub(crate) struct Signer {
    pub(crate) public: PublicKey,
    /// What is pinned of its log.
    pub(crate) pinned: LogKey,
    state: Arc<Mutex<SignerState>>,
}

struct SignerState {
    mood: Mood,
    confirmed: Frontier,
    unconfirmed: Option<Frontier>,
    connection: Option<UnixStream>,
    /// The epoch whose key signs.
    epoch: u64,
    /// Which connection is served: what still comes from one before is not answered, as in the real one.
    serving: u64,
}

impl Signer {
    fn start(path: &Path, key: Key, pinned: LogKey) -> Signer {
        let listener = UnixListener::bind(path).unwrap();
        let state = Arc::new(Mutex::new(SignerState {
            mood: Mood::Honest,
            confirmed: Frontier::new(),
            unconfirmed: None,
            connection: None,
            epoch: 1,
            serving: 0,
        }));
        let signer = Signer {
            public: key.public.clone(),
            pinned,
            state: Arc::clone(&state),
        };
        let key = Arc::new(key);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let copy = stream.try_clone().unwrap();
                // A new connection supersedes the one before.
                let number = {
                    let mut state = state.lock().unwrap();
                    state.serving += 1;
                    if let Some(old) = state.connection.replace(copy) {
                        drop(old.shutdown(std::net::Shutdown::Both));
                    }
                    state.serving
                };
                let (state, key) = (Arc::clone(&state), Arc::clone(&key));
                std::thread::spawn(move || serve(stream, number, &state, &key));
            }
        });
        signer
    }

    pub(crate) fn set(&self, mood: Mood) {
        let mut state = self.state.lock().unwrap();
        state.mood = mood;
        if let (Mood::Gone, Some(connection)) = (mood, &state.connection) {
            connection.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.state.lock().unwrap().confirmed.size()
    }

    /// The epoch whose key signs.
    pub(crate) fn epoch(&self) -> u64 {
        self.state.lock().unwrap().epoch
    }

    /// A signer that was put back from a copy of that epoch.
    pub(crate) fn go_to_epoch(&self, epoch: u64) {
        self.state.lock().unwrap().epoch = epoch;
    }

    /// The signer's disk is older than it was: it persists its head up to a second late.
    pub(crate) fn forget_everything_confirmed(&self) {
        self.state.lock().unwrap().confirmed = Frontier::new();
    }
}

fn serve(mut stream: UnixStream, number: u64, state: &Mutex<SignerState>, key: &Key) {
    while let Ok(request) = read::<SignerRequest>(&mut stream, SIGNER_BYTES_MAX) {
        let mut locked = state.lock().unwrap();
        if locked.serving != number {
            return;
        }
        let Some(kind) = answer(request.kind.unwrap(), &mut locked, key) else {
            drop(stream.shutdown(std::net::Shutdown::Both));
            return;
        };
        drop(locked);
        let reply = SignerReply { kind: Some(kind) };
        if write(&mut stream, &reply, SIGNER_BYTES_MAX).is_err() {
            return;
        }
    }
}

fn answer(
    request: signer_request::Kind,
    state: &mut SignerState,
    key: &Key,
) -> Option<signer_reply::Kind> {
    let mood = state.mood;
    match request {
        signer_request::Kind::Hello(_) => state.unconfirmed = None,
        signer_request::Kind::Adopt(adopt) => {
            assert_eq!(adopt.from_size, state.confirmed.size());
            let frontier = extended(&state.confirmed, &adopt.leaf_hashes);
            let opened = key.public.open::<Checkpoint>(adopt.note.as_bytes());
            assert_eq!(opened.unwrap().head, head(&frontier));
            state.confirmed = frontier;
        }
        signer_request::Kind::Durable(_) if mood == Mood::LeavesAfterTheNote => return None,
        signer_request::Kind::Durable(durable) => {
            let unconfirmed = state.unconfirmed.take().unwrap();
            assert_eq!(durable.size, unconfirmed.size());
            state.confirmed = unconfirmed;
        }
        signer_request::Kind::NextEpoch(_) => {
            let number = state.epoch + 1;
            let next = epoch_key(key.public.name(), number);
            return Some(signer_reply::Kind::EpochKey(EpochKey {
                number,
                public_key: next.public.as_bytes().to_vec(),
            }));
        }
        signer_request::Kind::SwitchEpoch(_) if mood == Mood::LeavesBeforeTheSwitch => return None,
        signer_request::Kind::SwitchEpoch(switch) => {
            assert!(state.unconfirmed.is_none(), "no head is unconfirmed");
            assert_eq!(switch.number, state.epoch + 1);
            let next = epoch_key(key.public.name(), switch.number);
            assert_eq!(switch.public_key, next.public.as_bytes());
            state.epoch = switch.number;
        }
        signer_request::Kind::Advance(advance) => {
            assert_eq!(advance.from_size, state.confirmed.size());
            assert!(
                state.unconfirmed.is_none(),
                "one unconfirmed head at a time"
            );
            let mut frontier = extended(&state.confirmed, &advance.leaf_hashes);
            match mood {
                Mood::Leaves | Mood::Gone => return None,
                Mood::Refuses => {
                    let message = "I do not like this tree".into();
                    return Some(signer_reply::Kind::Refusal(SignerRefusal { message }));
                }
                Mood::SignsAnotherTree => frontier.push([9; 32]).unwrap(),
                _ => {}
            }
            let checkpoint = Checkpoint {
                origin: key.public.name().clone(),
                head: head(&frontier),
            };
            let epoch = epoch_key(key.public.name(), state.epoch);
            let note = match mood {
                Mood::SignsOnce => key.seal(&checkpoint),
                _ => seal_by_both(&checkpoint, key, &epoch),
            };
            state.unconfirmed = Some(frontier);
            return Some(signer_reply::Kind::Note(note));
        }
    }
    let Head { size, root } = head(&state.confirmed);
    Some(signer_reply::Kind::Head(SignerHead {
        size,
        root: root.to_vec(),
        origin: key.public.name().to_string(),
        public_key: key.public.as_bytes().to_vec(),
        epoch: Some(EpochKey {
            number: state.epoch,
            public_key: epoch_key(key.public.name(), state.epoch)
                .public
                .as_bytes()
                .to_vec(),
        }),
    }))
}

fn seal_by_both(checkpoint: &Checkpoint, origin: &Key, epoch: &Key) -> String {
    use ed25519_dalek::Signer as _;
    compose(
        checkpoint,
        &[
            (&origin.public, &|text| origin.secret.sign(text).to_bytes()),
            (&epoch.public, &|text| epoch.secret.sign(text).to_bytes()),
        ],
    )
}

fn extended(frontier: &Frontier, leaves: &[u8]) -> Frontier {
    let mut frontier = frontier.clone();
    for leaf in leaves.chunks(32) {
        frontier.push(Hash::try_from(leaf).unwrap()).unwrap();
    }
    frontier
}

fn head(frontier: &Frontier) -> Head {
    Head {
        size: frontier.size(),
        root: frontier.root(),
    }
}

/// What a step of the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, and nothing reached the disk.
    Fails,
    /// It fails, and everything reached the disk.
    FailsButPersists,
    /// It fails, and half of it reached the disk.
    FailsHalfWritten,
    /// The process is killed before it.
    KilledBefore,
    /// The process is killed in the middle of it.
    KilledHalfway,
    /// The process is killed after it.
    KilledAfter,
}

/// The journal's directory, with faults. A killed process never comes back from the step: its thread stays there.
pub(crate) struct FaultyDisk {
    inner: JournalDir,
    plan: Arc<Plan>,
    /// Which processes are alive: those of this number. Held while a segment is prepared.
    generation: Mutex<usize>,
}

/// The disk as one process has it. Its other threads live on in a test after a step that never returns, where a killed
/// process takes them along: after [`FaultyDisk::heal`] they prepare nothing any more.
struct Process {
    disk: Arc<FaultyDisk>,
    number: usize,
}

#[derive(Default)]
struct Plan {
    /// The fault, and before how many more writes and syncs.
    fault: Mutex<Option<(usize, Fault)>>,
    full: Mutex<bool>,
    reached: tokio::sync::Notify,
    /// Segments that were prepared.
    prepared: Mutex<usize>,
    prepared_another: tokio::sync::Notify,
}

impl FaultyDisk {
    fn new(dir: &Path) -> Arc<FaultyDisk> {
        Arc::new(FaultyDisk {
            inner: JournalDir::new(dir),
            plan: Arc::default(),
            generation: Mutex::new(0),
        })
    }

    /// The disk for a process.
    fn process(self: &Arc<FaultyDisk>) -> Arc<dyn Disk> {
        Arc::new(Process {
            disk: Arc::clone(self),
            number: *self.generation.lock().unwrap(),
        })
    }

    /// The `steps`th write or sync from now meets `fault`.
    pub(crate) fn plan(&self, steps: usize, fault: Fault) {
        *self.plan.fault.lock().unwrap() = Some((steps, fault));
    }

    /// No fault is left to come, and the process that met one is gone with all its threads.
    pub(crate) fn heal(&self) {
        *self.generation.lock().unwrap() += 1;
        *self.plan.fault.lock().unwrap() = None;
    }

    /// Returns once the planned fault has come.
    pub(crate) async fn fault(&self) {
        self.plan.reached.notified().await;
    }

    /// Returns once so many segments were prepared.
    pub(crate) async fn prepared(&self, count: usize) {
        while *self.plan.prepared.lock().unwrap() < count {
            self.plan.prepared_another.notified().await;
        }
    }

    /// From now on there is no space (or again some) for a segment.
    pub(crate) fn full(&self, full: bool) {
        *self.plan.full.lock().unwrap() = full;
    }
}

impl Disk for Process {
    fn prepare(&self, bytes: u64) -> io::Result<()> {
        let alive = self.disk.generation.lock().unwrap();
        if *alive != self.number {
            return Err(io::Error::other("this process was killed"));
        }
        if *self.disk.plan.full.lock().unwrap() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.inner.prepare(bytes)?;
        *self.disk.plan.prepared.lock().unwrap() += 1;
        self.disk.plan.prepared_another.notify_one();
        Ok(())
    }

    fn install(&self, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        let inner = self.disk.inner.install(first)?;
        let plan = Arc::clone(&self.disk.plan);
        Ok(Box::new(FaultySegment { inner, plan }))
    }

    fn open(&self, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        let inner = self.disk.inner.open(first)?;
        let plan = Arc::clone(&self.disk.plan);
        Ok(Box::new(FaultySegment { inner, plan }))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.inner.sync_names()
    }
}

struct FaultySegment {
    inner: Box<dyn SegmentFile>,
    plan: Arc<Plan>,
}

impl FaultySegment {
    fn step(
        &self,
        whole: impl Fn() -> io::Result<()>,
        half: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        let fault = {
            let mut planned = self.plan.fault.lock().unwrap();
            match &mut *planned {
                Some((0, fault)) => {
                    let fault = *fault;
                    *planned = None;
                    Some(fault)
                }
                Some((steps, _)) => {
                    *steps -= 1;
                    None
                }
                None => None,
            }
        };
        let Some(fault) = fault else {
            return whole();
        };
        match fault {
            Fault::Fails | Fault::KilledBefore => {}
            Fault::FailsButPersists | Fault::KilledAfter => whole()?,
            Fault::FailsHalfWritten | Fault::KilledHalfway => half()?,
        }
        self.plan.reached.notify_one();
        if matches!(
            fault,
            Fault::KilledBefore | Fault::KilledHalfway | Fault::KilledAfter
        ) {
            loop {
                std::thread::park();
            }
        }
        Err(io::Error::other("injected"))
    }
}

impl SegmentFile for FaultySegment {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.step(
            || self.inner.write_at(bytes, offset),
            || self.inner.write_at(&bytes[..bytes.len() / 2], offset),
        )
    }

    fn sync(&self) -> io::Result<()> {
        self.step(|| self.inner.sync(), || Ok(()))
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }
}
