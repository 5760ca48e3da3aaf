//! A journal in memory, made as the daemon and the signer make one, with the places of its frames remembered.
#![expect(
    clippy::unwrap_used,
    reason = "a world that cannot be built is a failed test"
)]
#![allow(
    clippy::indexing_slicing,
    reason = "an index that is wrong is a failed test"
)]
#![allow(dead_code, reason = "each test file uses its part of the world")]

use std::ops::Range;

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{self, Checkpoint, KeyName, LogKey, PublicKey};
use faramesh_core::decision::{Code, Decision, Effect, Input, Resolution};
use faramesh_core::frame::{self, Frame, Frames, Item, StoredRecord};
use faramesh_core::record::{
    self, Activation, Body, DecisionRecord, Door, Encoded, Epoch, Header, LogEvent, Outcome,
    RunMode, SessionStart, Start, Time,
};
use faramesh_core::recover::{Position, Segment};
use faramesh_core::tree::{self, Frontier, Hash, Head};

/// Zeros after the data of each segment.
pub(crate) const SLACK: usize = 300;

pub(crate) struct Journal {
    pub(crate) key: SigningKey,
    pub(crate) public: PublicKey,
    /// What is pinned of it.
    pub(crate) pinned: LogKey,
    /// The epoch whose key signs the next note.
    pub(crate) epoch: u64,
    /// A record since the last note begins the next one.
    pub(crate) epoch_begins: bool,
    pub(crate) frontier: Frontier,
    pub(crate) prev: Hash,
    pub(crate) segments: Vec<(u64, Vec<u8>)>,
    /// Where each record's frame lies: segment and bytes.
    pub(crate) records: Vec<(usize, Range<usize>)>,
    /// Where each note's frame lies, and the head that it signs.
    pub(crate) notes: Vec<(usize, Range<usize>, Head)>,
    pub(crate) encoded: Vec<Encoded>,
    pub(crate) mode: RunMode,
    pub(crate) wall_ms: u64,
    pub(crate) boot_ms: u64,
}

pub(crate) const POLICY: Hash = [2; 32];

/// The key of an epoch of this origin.
pub(crate) fn epoch_key(origin: &PublicKey, number: u64) -> (SigningKey, PublicKey) {
    let mut seed = *origin.as_bytes();
    seed[0] ^= u8::try_from(number).unwrap();
    let secret = SigningKey::from_bytes(&seed);
    let name = KeyName::epoch(origin.name(), number).unwrap();
    let public = PublicKey::new(name, secret.verifying_key().as_bytes()).unwrap();
    (secret, public)
}

impl Journal {
    pub(crate) fn new() -> Self {
        Journal::with_key(1)
    }

    pub(crate) fn with_key(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let bytes = key.verifying_key().to_bytes();
        let public = PublicKey::new(KeyName::origin("shop", &bytes).unwrap(), &bytes).unwrap();
        let genesis = epoch_key(&public, 1).1;
        Journal {
            key,
            pinned: LogKey::new(public.clone(), genesis).unwrap(),
            epoch: 1,
            epoch_begins: false,
            public,
            frontier: Frontier::new(),
            prev: [0; 32],
            segments: vec![(0, Vec::new())],
            records: Vec::new(),
            notes: Vec::new(),
            encoded: Vec::new(),
            mode: RunMode::Enforced,
            wall_ms: 1_790_000_000_000,
            boot_ms: 1_000,
        }
    }

    /// A day of a small shop: three batches and a last one that stops, in two segments.
    pub(crate) fn shop() -> Self {
        let mut journal = Journal::new();
        journal.add(&start()).add(&activation(1)).note();
        journal
            .add(&session_start())
            .add(&decision(Effect::Permit, 0))
            .add(&decision(Effect::Deny, 1))
            .note();
        journal.roll();
        journal.add(&decision(Effect::Defer, 2)).note();
        journal
            .add(&outcome(3))
            .add(&dropped())
            .add(&session_end())
            .add(&stop())
            .note();
        journal
    }

    pub(crate) fn add(&mut self, body: &Body) -> &mut Self {
        let header = Header {
            seq: self.frontier.size(),
            prev: self.prev,
            stack: "shop".into(),
            mode: self.mode,
            time: Time {
                wall_ms: self.wall_ms,
                boot_ms: self.boot_ms,
            },
        };
        self.wall_ms += 10;
        self.boot_ms += 10;
        let encoded = record::encode(&header, body).unwrap();
        self.add_encoded(encoded)
    }

    pub(crate) fn add_encoded(&mut self, encoded: Encoded) -> &mut Self {
        let index = self.segments.len() - 1;
        let bytes = &mut self.segments.last_mut().unwrap().1;
        let begin = bytes.len();
        frame::write_record(bytes, &encoded).unwrap();
        self.records.push((index, begin..bytes.len()));
        self.prev = tree::leaf_hash(&encoded.record);
        self.frontier.push(self.prev).unwrap();
        self.encoded.push(encoded);
        self
    }

    pub(crate) fn head(&self) -> Head {
        Head {
            size: self.frontier.size(),
            root: self.frontier.root(),
        }
    }

    pub(crate) fn sign(&self, head: Head) -> String {
        let checkpoint = Checkpoint {
            origin: self.public.name().clone(),
            head,
        };
        let (secret, public) = epoch_key(&self.public, self.epoch);
        checkpoint::compose(
            &checkpoint,
            &[
                (&self.public, &|text| self.key.sign(text).to_bytes()),
                (&public, &|text| secret.sign(text).to_bytes()),
            ],
        )
    }

    /// Adds the record that begins the next epoch: behind the next note its key signs.
    pub(crate) fn begin_epoch(&mut self) -> &mut Self {
        let number = self.epoch + 1;
        let key = epoch_key(&self.public, number).1.vkey();
        self.epoch_begins = true;
        self.add(&Body::Log(LogEvent::Epoch(Epoch { number, key })))
    }

    pub(crate) fn note(&mut self) -> &mut Self {
        let head = self.head();
        let note = self.sign(head);
        let index = self.segments.len() - 1;
        let bytes = &mut self.segments.last_mut().unwrap().1;
        let begin = bytes.len();
        frame::write_note(bytes, &note).unwrap();
        self.notes.push((index, begin..bytes.len(), head));
        if std::mem::take(&mut self.epoch_begins) {
            self.epoch += 1;
        }
        self
    }

    pub(crate) fn roll(&mut self) -> &mut Self {
        self.segments.push((self.frontier.size(), Vec::new()));
        self
    }

    /// The files: each with zeros to its end.
    pub(crate) fn files(&self) -> Files {
        let padded = self.segments.iter().map(|(first, bytes)| {
            let mut bytes = bytes.clone();
            bytes.resize(bytes.len() + SLACK, 0);
            (*first, format!("{first:020}.seg"), bytes)
        });
        Files(padded.collect())
    }
}

/// First leaf, name, bytes.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) Vec<(u64, String, Vec<u8>)>);

impl Files {
    pub(crate) fn segments(&self) -> Vec<Segment<'_>> {
        self.0
            .iter()
            .map(|(first, name, bytes)| Segment {
                name,
                first: *first,
                bytes,
            })
            .collect()
    }
}

/// The records before `keep`, in order.
pub(crate) fn kept_records<'a>(
    segments: &[Segment<'a>],
    keep: Option<Position>,
) -> Vec<StoredRecord<'a>> {
    let until = keep.unwrap_or_default();
    let mut kept = Vec::new();
    for (index, segment) in segments.iter().enumerate().take(until.segment + 1) {
        let end = match index == until.segment {
            true => until.offset,
            false => segment.bytes.len(),
        };
        for item in Frames::new(&segment.bytes[..end]) {
            if let Item::Frame {
                frame: Frame::Record(stored),
                ..
            } = item
            {
                kept.push(stored);
            }
        }
    }
    kept
}

pub(crate) fn start() -> Body {
    Body::Start(Start {
        version: "0.1.0".into(),
        boot_id: "3f0e".into(),
        uid: 998,
        pid: 12,
        cut_bytes: 0,
        warnings: Vec::new(),
    })
}

pub(crate) fn stop() -> Body {
    Body::Stop {
        reason: "drain".into(),
    }
}

pub(crate) fn activation(number: u64) -> Body {
    Body::Activation(Activation {
        number,
        digest: POLICY,
        manifest: [3; 32],
        policy_mode: "enforce".into(),
        windows: Vec::new(),
    })
}

pub(crate) fn shadow(number: u64) -> Body {
    Body::Activation(Activation {
        number,
        digest: POLICY,
        manifest: [3; 32],
        policy_mode: "shadow".into(),
        windows: vec!["sum stripe/refund amount".into()],
    })
}

pub(crate) fn session_start() -> Body {
    Body::SessionStart(Box::new(SessionStart {
        session: "s-1".into(),
        agent: "support-bot".into(),
        uid: 61001,
        pid: 4711,
        start_ticks: 99,
        boot_id: "3f0e".into(),
        workspace: "/srv/shop/workspace".into(),
        cgroup: "/faramesh/s-1".into(),
        command: vec!["python3".into(), "agent.py".into()],
        stripped_env: vec!["AWS_SECRET_ACCESS_KEY".into()],
        probes: vec![("seccomp.ptrace".into(), true, "EPERM".into())],
    }))
}

pub(crate) fn session_end() -> Body {
    Body::SessionEnd {
        session: "s-1".into(),
        reason: "exit".into(),
        calls: 3,
    }
}

pub(crate) fn outcome(of: u64) -> Body {
    Body::Outcome(Outcome {
        session: Some("s-1".into()),
        of,
        status: "succeeded".into(),
        result_digest: Some([8; 32]),
        detail: "done \"well\"\n".into(),
    })
}

pub(crate) fn dropped() -> Body {
    Body::Dropped {
        counts: vec![("s-1".into(), "CALL_INVALID".into(), 2)],
    }
}

pub(crate) fn decision(effect: Effect, nonce: u8) -> Body {
    decide(effect, nonce, POLICY)
}

pub(crate) fn decision_under(policy: Hash) -> Body {
    decide(Effect::Deny, 0, policy)
}

fn decide(effect: Effect, nonce: u8, policy: Hash) -> Body {
    let code = match effect {
        Effect::Permit => None,
        Effect::Defer => Some(Code::PolicyDefer),
        Effect::Deny => Some(Code::PolicyDeny),
    };
    Body::Decision(Box::new(DecisionRecord {
        session: Some("s-1".into()),
        agent: "support-bot".into(),
        attested: true,
        uid: 61001,
        door: Door::Govern,
        tool: "stripe/refund".into(),
        policy,
        decision: Decision {
            effect,
            would: None,
            code,
            rule: Some(1),
            message: "because".into(),
            resolution: Resolution::None,
            missing: Vec::new(),
            notify: vec!["finance".into()],
            inputs: vec![Input {
                field: "args.amount".into(),
                source: "claimed",
                value: Some("80".into()),
                results: Vec::new(),
            }],
            redacted: None,
        },
        effects: vec![("session.calls".into(), Some(1.into()))],
        arguments: format!("{{\"amount\":80,\"note\":\"é \\\"{nonce}\\\" \\u0001\"}}"),
        args_salt: [nonce; 16],
        detail_salt: [nonce ^ 0xff; 16],
    }))
}
