//! The deciding and recording half of the daemon and the signer, in one thread, on a disk and a line that fail, tear and
//! crash at any step.
//!
//! Everything that decides, records, orders and recovers is the product's own code: the sequencer, the journal thread's
//! steps, the segments' order, the signer's log and state directory. Only what a kernel does is ours ([`disk`]), and the
//! line to the signer ([`signer`]). A killed process unwinds from the step where it is killed; nothing of it runs on.
//!
//! After every crash and start, against a slow twin of the log (a vector of records):
//! - every answered call is in the journal: at the moment of its answer it lies durably on the disk's platter;
//! - nothing that was in the journal is lost, neither a record that was durable nor one that a start went on from;
//! - the daemon serves, or it says why it does not; and where no fault is left, it serves.
//!
//! [`table`] goes through every durable step and every fault, [`seeds`] through what nobody thought of.
#![cfg(test)]

mod disk;
mod seeds;
mod signer;
mod steps;
mod table;

use crate::clock::SetClock;
use crate::config::{AgentUser, Config, Limits, Mode};
use crate::engine::{Answer, Engine, Lane, Opened, Ports, Refusal};
use crate::journal::segment::{self, Files, JournalDir};
use crate::journal::signer_client::SignerClient;
use crate::journal::snapshots;
use crate::journal::{Committed, Committer, Durable};
use crate::sequencer::{Event, Salts, Sequencer, Served};
use disk::{Disk, Unsynced};
use faramesh_core::call;
use faramesh_core::checkpoint::{
    ArtifactStatement, Checkpoint, KeyName, LogKey, Manifest, PublicKey, Statement, hex,
};
use faramesh_core::decision::Effect;
use faramesh_core::frame::{self, Frame, Frames, Item};
use faramesh_core::identity::{Caller, attest};
use faramesh_core::policy::artifact::{self, AgentPolicy, Artifact, Rule, RuleEffect, Runtime};
use faramesh_core::receipt::Receipt;
use faramesh_core::record::{self, Body, Door, LogEvent, Outcome, Time};
use faramesh_core::state::{Beside, Snapshot, State};
use faramesh_core::tree::{Hash, leaf_hash};
use faramesh_core::verify::{self, Options, Verifier};
use signer::Signer;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use steps::{Dice, Killed, Steps};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

const STACK: &str = "simulated";
/// Noon of some day, a minute after boot.
const NOON: Time = Time {
    wall_ms: 1_800_000_000_000,
    boot_ms: 60_000,
};
/// A handful of records fills a segment.
const SEGMENT_BYTES: u64 = 12 * 1024;
/// What a start says of a batch whose note survived a loss of power and whose records did not (docs/journal-format.md, 9).
const TORN_BEFORE_ITS_NOTE: &str = "the journal is damaged before the signed head";
/// Where directories are made: memory, where there is some, because a simulated disk needs no real one.
const MEMORY: &str = "/dev/shm";

/// A machine with one stack.
struct Machine {
    _dir: TempDir,
    config: Config,
    key: LogKey,
    policy_key: ed25519_dalek::SigningKey,
    steps: Steps,
    disk: Disk,
    signer: Signer,
    clock: Arc<SetClock>,
    /// Loss of power so far: each is another boot.
    boots: u32,
    manifests: u64,
    twin: Twin,
    daemon: Option<Daemon>,
}

/// A running daemon.
struct Daemon {
    engine: Engine,
    sequencer: Sequencer,
    committer: Committer,
    disk: Arc<dyn segment::Disk>,
    waiting: Vec<oneshot::Receiver<Answer>>,
    /// It ended by itself: nothing may be answered from here.
    ended: bool,
}

/// What has to be there, found in the simplest way that there is.
#[derive(Default)]
struct Twin {
    /// Every record that ever was in the journal.
    records: Vec<Vec<u8>>,
    /// Calls that were answered.
    answered: u64,
    permits: Vec<u64>,
    /// Refusals that callers were given.
    refused: u64,
    /// Torn batches that a person cut.
    mended: u64,
    /// Snapshots that were written and recorded.
    snapshots: u64,
}

/// How a daemon came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// It was killed.
    Killed,
    /// It said why.
    Said(String),
}

/// Runs a piece of the daemon. What is killed unwinds to here.
fn alive<T>(piece: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(piece)) {
        Ok(done) => Some(done),
        Err(killed) if killed.is::<Killed>() => None,
        Err(failure) => resume_unwind(failure),
    }
}

impl Machine {
    /// A machine on which policy 1 waits to be activated and nothing was ever started.
    fn new() -> Machine {
        let dir = TempDir::new_in(MEMORY).unwrap_or_else(|_| TempDir::new().unwrap());
        let path = dir.path();
        for sub in ["journal", "policy/artifacts", "run"] {
            std::fs::create_dir_all(path.join(sub)).unwrap();
        }
        let steps = Steps::default();
        let (signer, key) = Signer::new(&path.join("signer"), STACK, steps.clone());
        let policy_key = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
        let machine = Machine {
            config: config(path, &key),
            disk: Disk::new(&path.join("journal"), steps.clone()),
            clock: Arc::new(SetClock::at(NOON)),
            key,
            policy_key,
            steps,
            signer,
            boots: 0,
            manifests: 0,
            twin: Twin::default(),
            daemon: None,
            _dir: dir,
        };
        std::fs::write(&machine.config.log_pub, machine.key.to_string()).unwrap();
        std::fs::write(&machine.config.policy_pub, machine.policy_pub().vkey()).unwrap();
        let mut machine = machine;
        machine.apply();
        machine
    }

    fn policy_pub(&self) -> PublicKey {
        let name = KeyName::policy(STACK).unwrap();
        PublicKey::new(name, self.policy_key.verifying_key().as_bytes()).unwrap()
    }

    /// What `apply` leaves: artifact, note, and the next manifest in `next`. Policies permit and deny in turn.
    fn apply(&mut self) {
        use ed25519_dalek::Signer as _;
        self.manifests += 1;
        let bytes = artifact::encode(&policy(self.manifests)).unwrap();
        let digest = artifact::digest(&bytes);
        let public = self.policy_pub();
        let path = self.config.policy_dir.join("artifacts").join(hex(&digest));
        std::fs::write(&path, bytes).unwrap();
        fn seal<S: Statement>(
            public: &PublicKey,
            key: &ed25519_dalek::SigningKey,
            statement: &S,
        ) -> String {
            public
                .seal(statement, |text| key.sign(text).to_bytes())
                .unwrap()
        }
        let note = ArtifactStatement {
            stack: STACK.into(),
            digest,
        };
        let note = seal(&public, &self.policy_key, &note);
        std::fs::write(path.with_extension("note"), note).unwrap();
        let manifest = Manifest {
            stack: STACK.into(),
            number: self.manifests,
            digest,
            time: "2026-11-20T12:00:00Z".into(),
            signed_by: "tester(0)".into(),
        };
        let manifest = seal(&public, &self.policy_key, &manifest);
        std::fs::write(self.config.policy_dir.join("next"), manifest).unwrap();
    }

    /// Starts a daemon: recovery, the `start` record, the activation of what waits in `next`.
    ///
    /// # Errors
    /// How it ended instead.
    fn start(&mut self) -> Result<(), End> {
        assert!(self.daemon.is_none());
        let ports = Ports {
            clock: Arc::clone(&self.clock) as _,
            disk: self.journal_dir(),
        };
        let signer = || Ok(SignerClient::on(self.signer.connect()));
        let opened = alive(|| Opened::open_with(&self.config, ports, signer)).ok_or(End::Killed)?;
        let opened = opened.map_err(|refused| {
            assert!([65, 69, 78].contains(&refused.exit_code()));
            End::Said(refused.to_string())
        })?;
        let Opened {
            mut sequencer,
            committer,
            mut start,
            candidate,
            ..
        } = opened;
        self.went_on(&sequencer.state);
        sequencer.salts = Salts::fixed();
        if self.boots > 0 {
            start.boot_id = format!("{:08}-boot", self.boots);
        }
        let shared = Arc::clone(&sequencer.shared);
        let mut waiting = vec![
            shared
                .desk()
                .event(Event::Append(Body::Start(start)))
                .unwrap(),
        ];
        let activation = candidate.map(Event::Activate);
        waiting.extend(activation.map(|event| shared.desk().event(event).unwrap()));
        self.daemon = Some(Daemon {
            engine: Engine::in_one_thread(shared),
            sequencer,
            committer,
            disk: self.journal_dir(),
            waiting,
            ended: false,
        });
        Ok(())
    }

    fn journal_dir(&self) -> Arc<dyn segment::Disk> {
        Arc::new(JournalDir::over(
            &self.config.journal_dir,
            self.disk.clone(),
        ))
    }

    /// Starts, with no fault left anywhere, and serves: or it is a failure of the test.
    #[track_caller]
    fn must_serve(&mut self) {
        self.steps.disarm();
        self.disk.set_available(u64::MAX);
        let mut started = self.start();
        if let Err(End::Said(why)) = &started
            && why.contains(TORN_BEFORE_ITS_NOTE)
        {
            self.mend();
            started = self.start();
        }
        if let Err(end) = started {
            panic!("nothing is wrong any more, and the daemon does not start: {end:?}");
        }
        self.settle()
            .unwrap_or_else(|end| panic!("it does not serve: {end:?}"));
        let before = self.twin.answered;
        self.call(1, 10);
        self.settle()
            .unwrap_or_else(|end| panic!("it does not serve: {end:?}"));
        assert_eq!(self.twin.answered, before + 1, "one call, one answer");
        self.everything_holds();
    }

    /// A loss of power left the note of a batch that was never synced, and not all of its records. The daemon cannot tell
    /// that from damage and leaves it to a person, who finds that nobody was answered on it, and cuts it.
    fn mend(&mut self) {
        let files = self.files();
        let mut found = records_of(&files);
        let kept = self.twin.records.len();
        assert!(
            found.starts_with(&self.twin.records),
            "it is no harmless one"
        );
        found.truncate(kept);
        let mut records = 0;
        for (name, bytes) in &files {
            let mut cut = 0;
            for item in Frames::new(bytes) {
                let Item::Frame { at, frame } = item else {
                    break;
                };
                match frame {
                    Frame::Record(_) => records += 1,
                    Frame::Note(_) if records <= kept => cut = at.end,
                    Frame::Note(_) => {}
                }
            }
            let written = frame::written_len(bytes);
            if cut < written {
                let path = self.config.journal_dir.join(name);
                let file = self.disk.open(&path).unwrap();
                file.write_at(&vec![0; written - cut], cut as u64).unwrap();
                file.sync().unwrap();
            }
        }
        self.twin.mended += 1;
    }

    /// Queues calls with arguments of about so many bytes.
    fn call(&mut self, count: usize, bytes: usize) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        for number in 0..count {
            let arguments = format!(r#"{{"order":"A-{number}","text":"{}"}}"#, "x".repeat(bytes));
            let call = call::accept("shop/refund", "bot", arguments.as_bytes()).unwrap();
            let attested = attest(call, Caller::Unattested { uid: 1001 }).unwrap();
            match daemon
                .engine
                .submit(Lane::user(1001), attested, Door::Govern)
            {
                Ok(answer) => daemon.waiting.push(answer),
                Err(refusal) => self.twin.refuse(&refusal),
            }
        }
    }

    /// Reports what became of the last permit, where there is one; a second report is refused.
    fn report(&mut self) {
        let (Some(daemon), Some(of)) = (&mut self.daemon, self.twin.permits.last()) else {
            return;
        };
        let outcome = Outcome {
            session: None,
            of: *of,
            status: "succeeded".into(),
            result_digest: None,
            detail: String::new(),
        };
        match daemon.engine.report(Lane::user(1001), outcome) {
            Ok(answer) => daemon.waiting.push(answer),
            Err(refusal) => self.twin.refuse(&refusal),
        }
    }

    /// One round of the sequencer. True where something may be left to do.
    fn serve(&mut self) -> bool {
        let Some(daemon) = &mut self.daemon else {
            return false;
        };
        matches!(daemon.sequencer.serve(), Served::More)
    }

    /// One step of the journal thread.
    ///
    /// # Errors
    /// How the daemon ended at it.
    fn commit(&mut self) -> Result<(), End> {
        self.hear_answers();
        let refused = self.twin.refused;
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| !daemon.ended) else {
            return Ok(());
        };
        match alive(|| daemon.committer.step(Duration::ZERO)) {
            Some(true) => {}
            Some(false) => daemon.ended = true,
            None => {
                self.hear_answers();
                self.daemon = None;
                return Err(End::Killed);
            }
        }
        self.hear_answers();
        let daemon = self.daemon.as_mut().unwrap();
        let durable = daemon.committer.handoff.watch().borrow().clone();
        match durable {
            Durable::Size(size) | Durable::Closed(size) => self.became_durable(size),
            Durable::Fatal(fatal) => {
                assert_eq!(
                    refused, self.twin.refused,
                    "whose batch failed hears nothing"
                );
                // Whatever is tried with it now, nothing leaves.
                daemon.sequencer.serve();
                daemon.committer.step(Duration::ZERO);
                self.hear_answers();
                let daemon = self.daemon.take().unwrap();
                for mut silent in daemon.waiting {
                    assert_eq!(silent.try_recv(), Err(TryRecvError::Empty));
                }
                assert!([65, 69].contains(&fatal.exit_code()), "{fatal}");
                return Err(End::Said(fatal.to_string()));
            }
        }
        Ok(())
    }

    /// One step of the thread that prepares segments.
    ///
    /// # Errors
    /// How the daemon ended at it.
    fn prepare(&mut self) -> Result<(), End> {
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| !daemon.ended) else {
            return Ok(());
        };
        let handoff = &daemon.committer.handoff;
        if alive(|| handoff.prepare_if_wanted(&*daemon.disk)).is_none() {
            self.daemon = None;
            return Err(End::Killed);
        }
        Ok(())
    }

    /// Lets the daemon do all that it has to do.
    ///
    /// # Errors
    /// How it ended at it.
    fn settle(&mut self) -> Result<(), End> {
        for _ in 0..1_000 {
            let more = self.serve();
            self.prepare()?;
            self.commit()?;
            let Some(daemon) = &self.daemon else {
                return Ok(());
            };
            if daemon.ended || (!more && daemon.waiting.is_empty()) {
                return Ok(());
            }
        }
        panic!("the daemon goes round in circles");
    }

    /// The upkeep thread's snapshot, where one is due: written whole and recorded, or torn and never recorded.
    fn snapshot(&mut self, torn_at: Option<usize>) {
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| !daemon.ended) else {
            return;
        };
        let due = &daemon.committer.upkeep.due;
        let Some(snapshot) = due.take() else {
            return;
        };
        let dir = &self.config.journal_dir;
        let bytes = snapshot.encode().unwrap();
        let size = snapshot.point.frontier.size();
        let whole = torn_at.is_none_or(|at| at >= bytes.len());
        std::fs::create_dir_all(dir.join(snapshots::DIRECTORY)).unwrap();
        let kept = torn_at.unwrap_or(bytes.len()).min(bytes.len());
        std::fs::write(snapshots::path(dir, size), &bytes[..kept]).unwrap();
        if whole {
            let digest = Snapshot::digest(&bytes);
            let body = Body::Log(LogEvent::Snapshot(record::Snapshot { size, digest }));
            let queued = daemon.sequencer.shared.desk().event(Event::Append(body));
            daemon.waiting.extend(queued);
            self.twin.snapshots += 1;
        }
    }

    /// Snapshots may be damaged in any way: a start passes them over.
    fn damage_snapshots(&self, dice: &mut Dice) {
        let dir = &self.config.journal_dir;
        for size in snapshots::list(dir).unwrap() {
            let path = snapshots::path(dir, size);
            let mut bytes = std::fs::read(&path).unwrap();
            match dice.below(6) {
                0 => std::fs::remove_file(&path).unwrap(),
                1 => std::fs::write(&path, &bytes[..dice.below(bytes.len())]).unwrap(),
                2 if !bytes.is_empty() => {
                    let at = dice.below(bytes.len());
                    bytes[at] ^= 1;
                    std::fs::write(&path, bytes).unwrap();
                }
                _ => {}
            }
        }
    }

    /// A clean stop.
    ///
    /// # Errors
    /// How it ended instead.
    fn stop(&mut self) -> Result<(), End> {
        if let Some(daemon) = &mut self.daemon {
            daemon.sequencer.shared.desk().drain("asked");
            self.settle()?;
        }
        self.daemon = None;
        Ok(())
    }

    /// `kill -9` of the daemon: what it wrote is in the page cache.
    fn kill_daemon(&mut self) {
        self.daemon = None;
    }

    /// The machine loses its power and boots again.
    fn lose_power(&mut self, unsynced: Unsynced, dice: &mut Dice) {
        self.daemon = None;
        self.disk.lose_power(unsynced, dice);
        if unsynced == Unsynced::Any {
            self.damage_snapshots(dice);
        }
        let keep = match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Any => dice.one_in(2),
        };
        self.signer.lose_power(keep);
        self.boots += 1;
        let now = crate::clock::Clock::now(&*self.clock);
        self.clock = Arc::new(SetClock::at(Time {
            wall_ms: now.wall_ms + 20_000,
            boot_ms: 5_000,
        }));
    }

    /// Answers that came. Each must be about a record that is durable at this moment.
    fn hear_answers(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let mut came = Vec::new();
        daemon.waiting.retain_mut(|answer| match answer.try_recv() {
            Ok(answer) => {
                came.push(answer);
                false
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Closed) => false,
        });
        if came.is_empty() {
            return;
        }
        let platter = records_of(&self.disk.durable_files());
        for answer in came {
            match answer {
                Ok(committed) => self.answered(committed, &platter),
                Err(refusal) => self.twin.refuse(&refusal),
            }
        }
    }

    fn answered(&mut self, committed: Committed, platter: &[Vec<u8>]) {
        let parts = committed.into_parts();
        let at = usize::try_from(parts.seq).unwrap();
        assert_eq!(
            platter.get(at),
            Some(&parts.record),
            "record {at} was answered and does not lie on the platter"
        );
        if let Some(decided) = parts.decided {
            let receipt = Receipt {
                record: parts.record,
                leaf_index: parts.seq,
                path: parts.path,
                checkpoint: parts.note.to_string(),
                args_salt: decided.args_salt,
            };
            receipt.verify(self.key.origin()).unwrap();
            self.twin.answered += 1;
            if decided.effect == Effect::Permit {
                self.twin.permits.push(parts.seq);
            }
        }
    }

    /// So many records are durable, the daemon believes: they are, and the twin knows them from now on.
    fn became_durable(&mut self, size: u64) {
        let size = usize::try_from(size).unwrap();
        if size == self.twin.records.len() {
            return;
        }
        let mut platter = records_of(&self.disk.durable_files());
        assert!(
            platter.len() >= size,
            "{} of {size} records are durable",
            platter.len()
        );
        platter.truncate(size);
        self.twin.grow(platter);
    }

    /// A start went on from this state: it must be the one of the records that are there, and none may be missing.
    fn went_on(&mut self, state: &State) {
        let mut found = records_of(&self.files());
        found.truncate(usize::try_from(state.next_seq()).unwrap());
        assert_eq!(
            found.len() as u64,
            state.next_seq(),
            "records that are not there"
        );
        assert_eq!(
            *state,
            fold(&self.files(), found.len()),
            "the state is not the fold"
        );
        self.twin.grow(found);
    }

    /// Everything that an auditor can ask, of what readers see now.
    fn everything_holds(&self) {
        let files = self.files();
        let found = records_of(&files);
        assert_eq!(found, self.twin.records, "the journal is the twin's");
        let mut verifier = Verifier::new(Options {
            key: Some(self.key.clone().into()),
            ..Options::default()
        });
        for (name, bytes) in &files {
            verifier.segment(first_of(name), bytes);
        }
        let report = verifier.finish();
        assert_eq!(
            report.self_consistent,
            verify::Answer::Yes,
            "{:?}",
            report.findings
        );
        assert_eq!(report.signed, found.len() as u64);
        let last = self
            .key
            .origin()
            .open::<Checkpoint>(report.last_note.unwrap().as_bytes());
        let leaves: Vec<Hash> = found.iter().map(|record| leaf_hash(record)).collect();
        assert_eq!(
            last.unwrap().head.root,
            root(&leaves),
            "the root of RFC 6962, 2.1"
        );
        if let Some(confirmed) = self.signer.confirmed() {
            assert!(confirmed <= found.len() as u64);
        }
    }

    /// The segments as readers see them, in order.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let dir = &self.config.journal_dir;
        let firsts = segment::list(dir).unwrap();
        firsts
            .into_iter()
            .map(|first| {
                let path = segment::segment_path(dir, first);
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read(path).unwrap())
            })
            .collect()
    }
}

impl Twin {
    fn grow(&mut self, records: Vec<Vec<u8>>) {
        assert!(
            records.starts_with(&self.records),
            "{} records were in the journal, and of them {} are left",
            self.records.len(),
            records
                .iter()
                .zip(&self.records)
                .take_while(|(found, known)| found == known)
                .count()
        );
        self.records = records;
    }

    fn refuse(&mut self, refusal: &Refusal) {
        assert!(!refusal.message.is_empty());
        self.refused += 1;
    }
}

fn first_of(name: &str) -> u64 {
    name.strip_suffix(".seg").unwrap().parse().unwrap()
}

/// The records of segments, by nothing but their frames, as far as they go on from one another.
fn records_of(files: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = Vec::new();
    for (name, bytes) in files {
        if !name.ends_with(".seg") || first_of(name) != records.len() as u64 {
            continue;
        }
        for item in Frames::new(bytes) {
            if let Item::Frame {
                frame: Frame::Record(stored),
                ..
            } = item
            {
                records.push(stored.record.to_vec());
            }
        }
    }
    records
}

/// The state after the first `size` records, from the beginning.
fn fold(files: &[(String, Vec<u8>)], size: usize) -> State {
    let mut state = State::new();
    for (_, bytes) in files {
        for item in Frames::new(bytes) {
            let Item::Frame {
                frame: Frame::Record(stored),
                ..
            } = item
            else {
                continue;
            };
            if state.next_seq() == size as u64 {
                return state;
            }
            let view = record::decode(stored.record).unwrap();
            let beside = Beside {
                detail: stored.detail,
                salt: stored.detail_salt,
            };
            state
                .apply_view(state.next_seq(), view.header.time, &view.body, beside)
                .unwrap();
        }
    }
    state
}

/// RFC 6962, section 2.1, as it is written there.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => faramesh_core::tree::empty_root(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            faramesh_core::tree::node_hash(&root(left), &root(right))
        }
    }
}

/// One agent, whose calls are permitted by odd policies and denied by even ones.
fn policy(number: u64) -> Artifact {
    let effect = if number % 2 == 1 {
        RuleEffect::Permit
    } else {
        RuleEffect::Deny
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

fn config(path: &Path, key: &LogKey) -> Config {
    let uid = rustix::process::getuid().as_raw();
    let at = |name: &str| -> PathBuf { path.join(name) };
    Config {
        stack: STACK.into(),
        origin: key.name().to_string(),
        mode: Mode::Development,
        uid,
        policy_dir: at("policy"),
        policy_pub: at("policy.pub"),
        log_pub: at("log.pub"),
        journal_dir: at("journal"),
        run_dir: at("run"),
        signer_socket: at("signer.sock"),
        signer_uid: uid,
        operators_gid: None,
        default_run_as: None,
        session_cgroup_roots: vec![],
        hidden_paths: vec![],
        segment_bytes: SEGMENT_BYTES,
        warnings: vec![],
        limits: Limits::STANDARD,
        agents: vec![AgentUser {
            user: "me".into(),
            uid,
            gid: uid,
        }],
    }
}
