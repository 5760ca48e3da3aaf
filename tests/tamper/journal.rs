//! Genuine journals, and others: entries are written down by whoever holds the keys that are given.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{self, Checkpoint, KeyName, LogKey, PublicKey};
use faramesh_core::decision::{Code, Decision, Effect, Input, Resolution};
use faramesh_core::frame;
use faramesh_core::record::{
    self, Activation, Body, DecisionRecord, Door, Encoded, Epoch, Header, LogEvent, RunMode, Start,
    Time,
};
use faramesh_core::tree::{self, Frontier, Hash, Head};

pub(crate) const POLICY: Hash = [2; 32];

/// Zeros behind the data of each segment.
const SLACK: usize = 64;

/// One thing in a journal, before it has a number, a place and a signature.
#[derive(Clone)]
pub(crate) enum Entry {
    Record {
        body: Body,
        step_ms: i64,
    },
    /// The record that begins the next epoch.
    Epoch,
    Note,
    /// The segment ends.
    Roll,
}

/// The keys of a log: the origin's, and of its epochs from the first on.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) stack: &'static str,
    seed: u8,
}

impl Keys {
    pub(crate) const fn of(stack: &'static str, seed: u8) -> Self {
        Keys { stack, seed }
    }

    fn origin_secret(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.seed; 32])
    }

    pub(crate) fn origin(&self) -> PublicKey {
        let bytes = self.origin_secret().verifying_key().to_bytes();
        PublicKey::new(KeyName::origin(self.stack, &bytes).unwrap(), &bytes).unwrap()
    }

    fn epoch_secret(&self, number: u64) -> SigningKey {
        let mut seed = [self.seed ^ 0xff; 32];
        seed[0] = u8::try_from(number).unwrap();
        SigningKey::from_bytes(&seed)
    }

    pub(crate) fn epoch(&self, number: u64) -> PublicKey {
        let name = KeyName::epoch(self.origin().name(), number).unwrap();
        PublicKey::new(name, self.epoch_secret(number).verifying_key().as_bytes()).unwrap()
    }

    pub(crate) fn pinned(&self) -> LogKey {
        LogKey::new(self.origin(), self.epoch(1)).unwrap()
    }

    /// A note with the signatures of the origin and of that epoch.
    pub(crate) fn note(&self, head: Head, epoch: u64) -> String {
        let checkpoint = Checkpoint {
            origin: self.origin().name().clone(),
            head,
        };
        let (origin, secret) = (self.origin_secret(), self.epoch_secret(epoch));
        checkpoint::compose(
            &checkpoint,
            &[
                (&self.origin(), &|text| origin.sign(text).to_bytes()),
                (&self.epoch(epoch), &|text| secret.sign(text).to_bytes()),
            ],
        )
    }
}

/// A frame's content, with its segment.
#[derive(Clone, PartialEq)]
pub(crate) enum Piece {
    Record(Encoded),
    Note(String),
    /// Everything after it lies in the segment with this first record.
    Roll(u64),
}

/// A journal as its frames.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) pieces: Vec<Piece>,
    /// The heads of its notes, in order.
    pub(crate) heads: Vec<Head>,
    pub(crate) leaves: Vec<Hash>,
}

/// First record and bytes of each segment.
pub(crate) type Files = Vec<(u64, Vec<u8>)>;

impl Journal {
    /// Writes the entries down with these keys. `oldest` is the oldest epoch whose key is still there: what lies in an
    /// earlier one is signed with it.
    pub(crate) fn write(entries: &[Entry], keys: &Keys, oldest: u64) -> Journal {
        let mut journal = Journal {
            pieces: Vec::new(),
            heads: Vec::new(),
            leaves: Vec::new(),
        };
        let (mut frontier, mut prev) = (Frontier::new(), [0; 32]);
        let (mut epoch, mut announced) = (1, false);
        let mut wall_ms: i64 = 1_790_000_000_000;
        let mut boot_ms: i64 = 1_000_000;
        for entry in entries {
            let (body, step_ms) = match entry {
                Entry::Record { body, step_ms } => (body.clone(), *step_ms),
                Entry::Epoch => {
                    announced = true;
                    let number = epoch + 1;
                    let key = keys.epoch(number).vkey();
                    (Body::Log(LogEvent::Epoch(Epoch { number, key })), 10)
                }
                Entry::Note => {
                    let head = Head {
                        size: frontier.size(),
                        root: frontier.root(),
                    };
                    let note = keys.note(head, epoch.max(oldest));
                    journal.pieces.push(Piece::Note(note));
                    journal.heads.push(head);
                    epoch += u64::from(std::mem::take(&mut announced));
                    continue;
                }
                Entry::Roll => {
                    journal.pieces.push(Piece::Roll(frontier.size()));
                    continue;
                }
            };
            wall_ms += step_ms;
            boot_ms += step_ms.max(1);
            let header = Header {
                seq: frontier.size(),
                prev,
                stack: keys.stack.into(),
                mode: RunMode::Enforced,
                time: Time {
                    wall_ms: u64::try_from(wall_ms).unwrap(),
                    boot_ms: u64::try_from(boot_ms).unwrap(),
                },
            };
            let encoded = record::encode(&header, &body).unwrap();
            prev = tree::leaf_hash(&encoded.record);
            frontier.push(prev).unwrap();
            journal.leaves.push(prev);
            journal.pieces.push(Piece::Record(encoded));
        }
        journal
    }

    pub(crate) fn genuine(entries: &[Entry], keys: &Keys) -> Journal {
        Journal::write(entries, keys, 1)
    }

    pub(crate) fn files(&self) -> Files {
        files(&self.pieces)
    }

    pub(crate) fn head(&self) -> Head {
        *self.heads.last().unwrap()
    }
}

/// The segments that these pieces make.
pub(crate) fn files(pieces: &[Piece]) -> Files {
    let mut files: Files = vec![(0, Vec::new())];
    for piece in pieces {
        let bytes = &mut files.last_mut().unwrap().1;
        match piece {
            Piece::Record(encoded) => frame::write_record(bytes, encoded).unwrap(),
            Piece::Note(note) => frame::write_note(bytes, note).unwrap(),
            Piece::Roll(first) => files.push((*first, Vec::new())),
        }
    }
    for (_, bytes) in &mut files {
        bytes.resize(bytes.len() + SLACK, 0);
    }
    files
}

/// The place of a piece among others: that of its frame, by its index.
pub(crate) fn places(pieces: &[Piece]) -> BTreeMap<usize, (String, usize)> {
    let (mut segment, mut offset) = (0, 0);
    let mut places = BTreeMap::new();
    for (index, piece) in pieces.iter().enumerate() {
        let mut bytes = Vec::new();
        match piece {
            Piece::Record(encoded) => frame::write_record(&mut bytes, encoded).unwrap(),
            Piece::Note(note) => frame::write_note(&mut bytes, note).unwrap(),
            Piece::Roll(first) => {
                (segment, offset) = (*first, 0);
                continue;
            }
        }
        places.insert(index, (format!("{segment:020}.seg"), offset));
        offset += bytes.len();
    }
    places
}

pub(crate) fn entry(body: Body) -> Entry {
    Entry::Record { body, step_ms: 10 }
}

pub(crate) fn start() -> Entry {
    entry(Body::Start(Start {
        version: "0.1.0".into(),
        boot_id: "3f0e".into(),
        uid: 998,
        pid: 12,
        cut_bytes: 0,
        warnings: Vec::new(),
    }))
}

pub(crate) fn stop() -> Entry {
    entry(Body::Stop {
        reason: "drain".into(),
    })
}

pub(crate) fn activation(number: u64, policy: Hash, mode: &str) -> Entry {
    entry(Body::Activation(Activation {
        number,
        digest: policy,
        manifest: [3; 32],
        policy_mode: mode.into(),
        windows: Vec::new(),
    }))
}

pub(crate) fn log(event: LogEvent) -> Entry {
    entry(Body::Log(event))
}

pub(crate) fn decision(effect: Effect, nonce: u8) -> Entry {
    decision_under(effect, nonce, POLICY)
}

pub(crate) fn decision_under(effect: Effect, nonce: u8, policy: Hash) -> Entry {
    let code = match effect {
        Effect::Permit => None,
        Effect::Defer => Some(Code::PolicyDefer),
        Effect::Deny => Some(Code::PolicyDeny),
    };
    entry(Body::Decision(Box::new(DecisionRecord {
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
            notify: Vec::new(),
            inputs: vec![Input {
                field: "args.amount".into(),
                source: "claimed",
                value: Some("80".into()),
                results: Vec::new(),
            }],
            redacted: None,
        },
        effects: vec![("session.calls".into(), Some(1.into()))],
        arguments: format!("{{\"amount\":80,\"note\":\"{nonce}\"}}"),
        args_salt: [nonce.max(1); 16],
        detail_salt: [nonce ^ 0xff; 16],
    })))
}
