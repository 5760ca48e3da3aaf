//! Journals made up at random, as a daemon and a signer would write them, and a plain scan that knows nothing of the index.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses its part"
)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what cannot be built is a failed test"
)]

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{Checkpoint, KeyName, PublicKey};
use faramesh_core::decision::{Code, Decision, Effect, Resolution};
use faramesh_core::frame;
use faramesh_core::record::{
    self, Activation, Body, BodyView, DecisionRecord, Door, Header, LogEvent, Outcome, RecordView,
    Removal, RunMode, SessionStart, Start, Time,
};
use faramesh_core::tree::tiles::TileId;
use faramesh_core::tree::{self, Frontier, Hash, Head};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Names that agents could make up to be misunderstood: as control sequences, as other names' beginnings, as patterns.
pub const HOSTILE: [&str; 9] = [
    "stripe/refund",
    "stripe/refunds",
    "stripe",
    "crm/lookup",
    "\u{1b}[2J\u{1b}[31mok",
    "a\u{202e}b/\"c\\",
    "stripe/*",
    "x\u{0}y",
    "é/ü\n17  PERMIT",
];

/// Small numbers that a seed decides: xorshift64*.
pub struct Chance(u64);

impl Chance {
    /// `FARAMESH_SEED`, or a fresh one; printed, so that a failure can be replayed.
    pub fn of(test: &str) -> Chance {
        let fresh = || {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
            since.as_nanos() as u64 | 1
        };
        let seed =
            std::env::var("FARAMESH_SEED").map_or_else(|_| fresh(), |text| text.parse().unwrap());
        println!("{test}: FARAMESH_SEED={seed}");
        Chance(seed | 1)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    /// One of a list.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// Writes a journal.
pub struct Maker {
    pub dir: PathBuf,
    pub key: PublicKey,
    secret: SigningKey,
    stack: String,
    pub frontier: Frontier,
    prev: Hash,
    segment: u64,
    offset: u64,
    pub wall_ms: u64,
    boot_ms: u64,
}

/// Bytes of a segment.
const SEGMENT: u64 = 64 * 1024;

impl Maker {
    pub fn new(dir: &Path, stack: &str, seed: u8) -> Maker {
        std::fs::create_dir_all(dir).unwrap();
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let bytes = secret.verifying_key().to_bytes();
        let key = PublicKey::new(KeyName::origin(stack, &bytes).unwrap(), &bytes).unwrap();
        let maker = Maker {
            dir: dir.to_owned(),
            key,
            secret,
            stack: stack.to_owned(),
            frontier: Frontier::new(),
            prev: [0; 32],
            segment: 0,
            offset: 0,
            wall_ms: 1_790_000_000_000,
            boot_ms: 1_000,
        };
        maker.make_segment();
        maker
    }

    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub fn segment_path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}.seg"))
    }

    fn make_segment(&self) {
        let file = std::fs::File::create(self.segment_path(self.segment)).unwrap();
        file.set_len(SEGMENT).unwrap();
    }

    /// The next segment.
    pub fn roll(&mut self) {
        self.segment = self.size();
        self.offset = 0;
        self.make_segment();
    }

    fn write(&mut self, bytes: &[u8]) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.segment_path(self.segment))
            .unwrap();
        file.write_all_at(bytes, self.offset).unwrap();
        self.offset += bytes.len() as u64;
    }

    pub fn add(&mut self, body: &Body) -> u64 {
        let seq = self.size();
        let header = Header {
            seq,
            prev: self.prev,
            stack: self.stack.clone(),
            mode: RunMode::Development,
            time: Time {
                wall_ms: self.wall_ms,
                boot_ms: self.boot_ms,
            },
        };
        self.boot_ms += 10;
        let encoded = record::encode(&header, body).unwrap();
        let mut bytes = Vec::new();
        frame::write_record(&mut bytes, &encoded).unwrap();
        self.write(&bytes);
        self.prev = tree::leaf_hash(&encoded.record);
        self.frontier.push(self.prev).unwrap();
        seq
    }

    /// Signs what is there; a full segment is followed by another.
    pub fn note(&mut self) {
        let head = Head {
            size: self.size(),
            root: self.frontier.root(),
        };
        self.note_of(head);
    }

    /// A note of a head that need not be the journal's.
    pub fn note_of(&mut self, head: Head) {
        let checkpoint = Checkpoint {
            origin: self.key.name().clone(),
            head,
        };
        let note = self
            .key
            .seal(&checkpoint, |text| self.secret.sign(text).to_bytes())
            .unwrap();
        let mut bytes = Vec::new();
        frame::write_note(&mut bytes, &note).unwrap();
        self.write(&bytes);
        if self.offset > SEGMENT - 24 * 1024 {
            self.roll();
        }
    }

    /// A start and an activation.
    pub fn begin(&mut self) {
        self.add(&Body::Start(Start {
            version: "0.1.0".into(),
            boot_id: "3f0e".into(),
            uid: 998,
            pid: 12,
            cut_bytes: 0,
            warnings: Vec::new(),
        }));
        self.add(&activation(1));
        self.note();
    }

    /// So many records of a busy day, in batches of some, with a clock that sometimes jumps.
    pub fn random(&mut self, chance: &mut Chance, records: u64) {
        let until = self.size() + records;
        let mut sessions = vec!["s-0".to_owned()];
        let mut number = 1;
        while self.size() < until {
            for _ in 0..=chance.below(8) {
                self.wall_ms = match chance.below(40) {
                    0 => self.wall_ms.saturating_sub(chance.below(10_000_000)),
                    1 => self.wall_ms + chance.below(10_000_000),
                    _ => self.wall_ms + chance.below(60_000),
                };
                let session = chance.one_of(&sessions).clone();
                let body = match chance.below(24) {
                    0 => {
                        number += 1;
                        activation(number)
                    }
                    1 => {
                        let new = format!("s-{}", self.size());
                        sessions.push(new.clone());
                        session_start(&new, chance.one_of::<&str>(&HOSTILE))
                    }
                    2 => Body::SessionEnd {
                        session,
                        reason: "exit".into(),
                        calls: 3,
                    },
                    3 => Body::Dropped {
                        counts: vec![(session, "CALL_INVALID".into(), 2)],
                    },
                    4 => Body::Log(LogEvent::Heartbeat),
                    5..=8 if self.size() > 0 => outcome(Some(session), chance.below(self.size())),
                    _ => {
                        let session = (chance.below(5) > 0).then_some(session);
                        let effect = *chance.one_of(&[Effect::Permit, Effect::Defer, Effect::Deny]);
                        let agent = *chance.one_of(&HOSTILE);
                        let tool = *chance.one_of(&HOSTILE);
                        decision(session, agent, tool, effect, chance.below(7) == 0)
                    }
                };
                self.add(&body);
            }
            self.note();
        }
    }

    /// Says that records are removed.
    pub fn remove_below(&mut self, to: u64) {
        self.add(&Body::Log(LogEvent::Removal(Removal {
            from: 0,
            to,
            in_force: None,
            reason: "retention".into(),
        })));
        self.note();
    }

    /// Erases everything that lies beside records of a segment, as an erasure does: in a new file under the old name.
    pub fn rewrite(&self, first: u64) {
        let path = self.segment_path(first);
        let bytes = std::fs::read(&path).unwrap();
        let mut anew = Vec::new();
        for item in frame::Frames::new(&bytes) {
            match item {
                frame::Item::Frame {
                    frame: frame::Frame::Record(stored),
                    ..
                } => frame::write_record(
                    &mut anew,
                    &record::Encoded {
                        record: stored.record.to_vec(),
                        detail: Vec::new(),
                        salts: [[0; 16]; 2],
                    },
                )
                .unwrap(),
                frame::Item::Frame {
                    frame: frame::Frame::Note(note),
                    ..
                } => frame::write_note(&mut anew, std::str::from_utf8(note).unwrap()).unwrap(),
                _ => {}
            }
        }
        let staged = path.with_extension("new");
        std::fs::write(&staged, anew).unwrap();
        std::fs::rename(staged, path).unwrap();
    }

    /// The full tiles of the lowest level.
    pub fn write_tiles(&self) {
        let mut leaves = Vec::new();
        for first in self.firsts() {
            let bytes = std::fs::read(self.segment_path(first)).unwrap();
            for item in frame::Frames::new(&bytes) {
                if let frame::Item::Frame {
                    frame: frame::Frame::Record(stored),
                    ..
                } = item
                {
                    leaves.push(tree::leaf_hash(stored.record));
                }
            }
        }
        for (index, tile) in leaves.chunks_exact(256).enumerate() {
            let id = TileId::new(0, index as u64).unwrap();
            let path = self.dir.join(id.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, tile.concat()).unwrap();
        }
    }

    /// The segments' first records, in order.
    pub fn firsts(&self) -> Vec<u64> {
        let mut all: Vec<u64> = std::fs::read_dir(&self.dir)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".seg")?.parse().ok()
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// Every record, read plainly.
    pub fn scan(&self) -> Vec<RecordView> {
        let mut all = Vec::new();
        for first in self.firsts() {
            let bytes = std::fs::read(self.segment_path(first)).unwrap();
            for item in frame::Frames::new(&bytes) {
                if let frame::Item::Frame {
                    frame: frame::Frame::Record(stored),
                    ..
                } = item
                {
                    all.push(record::decode(stored.record).unwrap());
                }
            }
        }
        all
    }

    /// Writes the pinned key.
    pub fn write_key(&self, path: &Path) {
        std::fs::write(path, format!("{}\n", self.key.vkey())).unwrap();
    }
}

pub fn activation(number: u64) -> Body {
    Body::Activation(Activation {
        number,
        digest: [2; 32],
        manifest: [3; 32],
        policy_mode: "enforce".into(),
        windows: Vec::new(),
    })
}

pub fn session_start(session: &str, agent: &str) -> Body {
    Body::SessionStart(Box::new(SessionStart {
        session: session.into(),
        agent: agent.into(),
        uid: 61001,
        pid: 4711,
        start_ticks: 99,
        boot_id: "3f0e".into(),
        workspace: "/srv/shop/workspace".into(),
        cgroup: String::new(),
        command: vec!["python3".into()],
        stripped_env: Vec::new(),
        probes: Vec::new(),
    }))
}

pub fn outcome(session: Option<String>, of: u64) -> Body {
    Body::Outcome(Outcome {
        session,
        of,
        status: "succeeded".into(),
        result_digest: None,
        detail: "done".into(),
    })
}

pub fn decision(
    session: Option<String>,
    agent: &str,
    tool: &str,
    effect: Effect,
    probe: bool,
) -> Body {
    let code = match effect {
        Effect::Permit => None,
        Effect::Defer => Some(Code::PolicyDefer),
        Effect::Deny => Some(Code::PolicyDeny),
    };
    Body::Decision(Box::new(DecisionRecord {
        session,
        agent: agent.into(),
        attested: true,
        uid: 61001,
        door: if probe { Door::Probe } else { Door::Govern },
        tool: tool.into(),
        policy: [2; 32],
        decision: Decision {
            effect,
            would: None,
            code,
            rule: Some(0),
            message: "because".into(),
            resolution: Resolution::None,
            missing: Vec::new(),
            notify: Vec::new(),
            inputs: Vec::new(),
            redacted: None,
        },
        effects: Vec::new(),
        arguments: "{\"card\":\"4242\"}".into(),
        args_salt: [1; 16],
        detail_salt: [2; 16],
    }))
}

/// What a plain scan finds, by its own reading of what a filter means.
pub fn session_of(body: &BodyView) -> Option<&str> {
    match body {
        BodyView::Decision(decision) => decision.session.as_deref(),
        BodyView::Outcome(outcome) => outcome.session.as_deref(),
        BodyView::SessionStart(start) => Some(&start.session),
        BodyView::SessionEnd { session, .. } => Some(session),
        _ => None,
    }
}
