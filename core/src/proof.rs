//! Proof bundles: one record, or the growth of a log, with everything that somebody needs who has nothing but a pinned key.
//!
//! An inclusion bundle is a [C2SP tlog-proof](https://c2sp.org/tlog-proof) whose `extra` is the record as it lies in a
//! segment (`docs/journal-format.md`, sections 2 and 10). A growth bundle has the same form with the kept checkpoint in
//! the place of the record.
//!
//! Invariants:
//! - [`Bundle::parse`] accepts exactly what [`Bundle::text`] writes: one bundle has one text.
//! - A [`Proven`] or [`Grown`] is made by `verify` alone, with the pinned origin key: the record is canonical, is the leaf
//!   that the bundle says, of a tree whose root that key signed, in the stack that the key belongs to.

use crate::checkpoint::{self, Checkpoint, NOTE_BYTES_MAX, PublicKey, Statement, Verified};
use crate::frame::PAYLOAD_MAX;
use crate::record::{self, BodyView, Malformed, RecordView};
use crate::tree::{self, Hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The first line of an inclusion bundle, as C2SP has it.
const INCLUSION: &str = "c2sp.org/tlog-proof@v1";
/// The first line of a growth bundle: C2SP has no file for it, so the form is ours.
const GROWTH: &str = "faramesh/growth-proof@v1";

/// An inclusion path has at most one hash a level, a consistency proof one more.
const HASHES_MAX: usize = 64;

/// The longest bundle: a frame's payload in base64, hashes of 45 characters, a note, and the words between.
pub const BUNDLE_BYTES_MAX: usize = PAYLOAD_MAX / 3 * 4 + HASHES_MAX * 45 + NOTE_BYTES_MAX + 1024;

/// Why a text is no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a proof bundle: {0}")]
pub struct NotABundle(&'static str);

/// Why a bundle proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The record.
    #[error(transparent)]
    Record(#[from] Malformed),
    /// A checkpoint.
    #[error("{which} checkpoint: {why}")]
    Checkpoint {
        /// Of two the one that is meant.
        which: &'static str,
        /// What is wrong with it.
        why: checkpoint::Error,
    },
    /// The path.
    #[error("the record is not in the signed tree: {0}")]
    Inclusion(tree::Error),
    /// The consistency proof.
    #[error("the newer tree does not begin with the kept one: {0}")]
    Growth(tree::Error),
    /// Another leaf's number.
    #[error("the record says that it is number {said}, the proof {index}")]
    Index {
        /// The record's `seq`.
        said: u64,
        /// The bundle's index.
        index: u64,
    },
    /// Another stack's record.
    #[error("the record is another stack's")]
    Stack,
    /// What lies beside the record is not what it commits to.
    #[error("{0}")]
    Beside(&'static str),
}

/// A bundle as it came: worth nothing before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bundle {
    /// That a record is in a log.
    Inclusion(Inclusion),
    /// That a log begins with what it was at an earlier checkpoint.
    Growth(Growth),
}

/// See [`Bundle::Inclusion`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// The record's index in the tree, counted from 0.
    pub index: u64,
    /// Its canonical bytes: the Merkle leaf.
    pub record: Vec<u8>,
    /// Salts and detail where they are shown; nothing where they were left out, or where the kind has none.
    pub beside: Option<Beside>,
    /// RFC 6962 inclusion path, leaf to root.
    pub path: Vec<Hash>,
    /// The checkpoint, a signed note with every signature that it has.
    pub note: String,
}

/// What a decision commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The salt of the arguments.
    pub args_salt: [u8; 16],
    /// The salt of the detail.
    pub detail_salt: [u8; 16],
    /// Canonical detail.
    pub detail: Vec<u8>,
}

/// See [`Bundle::Growth`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The checkpoint that somebody kept.
    pub kept: String,
    /// RFC 6962 consistency proof.
    pub proof: Vec<Hash>,
    /// The newer checkpoint.
    pub note: String,
}

impl Bundle {
    /// Reads a bundle; nothing of it is believed.
    ///
    /// # Errors
    /// [`NotABundle`].
    pub fn parse(bytes: &[u8]) -> Result<Bundle, NotABundle> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(NotABundle("too long"));
        }
        let text = str::from_utf8(bytes).map_err(|_| NotABundle("not UTF-8"))?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(NotABundle("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let bundle = match lines.next() {
            Some(INCLUSION) => {
                let payload = base64(word(lines.next(), "extra ")?)?;
                let index = word(lines.next(), "index ")?
                    .parse()
                    .map_err(|_| NotABundle("the index is not a number"))?;
                Bundle::Inclusion(Inclusion::new(index, &payload, hashes(lines)?, note)?)
            }
            Some(GROWTH) => Bundle::Growth(Growth {
                kept: String::from_utf8(base64(word(lines.next(), "kept ")?)?)
                    .map_err(|_| NotABundle("the kept checkpoint is not UTF-8"))?,
                proof: hashes(lines)?,
                note: note.to_owned(),
            }),
            _ => return Err(NotABundle("the first line is that of no proof")),
        };
        let notes = match &bundle {
            Bundle::Inclusion(proof) => [&proof.note, &proof.note],
            Bundle::Growth(proof) => [&proof.kept, &proof.note],
        };
        for note in notes {
            checkpoint::unverified_text(note.as_bytes())
                .ok()
                .and_then(|text| Checkpoint::parse(text).ok())
                .ok_or(NotABundle("a checkpoint is malformed"))?;
        }
        match bundle.text() == text {
            true => Ok(bundle),
            false => Err(NotABundle("not in its canonical form")),
        }
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let (mut text, hashes, note) = match self {
            Bundle::Inclusion(proof) => {
                let payload = BASE64.encode(proof.payload());
                let head = format!("{INCLUSION}\nextra {payload}\nindex {}\n", proof.index);
                (head, &proof.path, &proof.note)
            }
            Bundle::Growth(proof) => {
                let head = format!("{GROWTH}\nkept {}\n", BASE64.encode(&proof.kept));
                (head, &proof.proof, &proof.note)
            }
        };
        for hash in hashes {
            text.push_str(&BASE64.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(note);
        text
    }

    /// The checkpoint that the proof leads to.
    #[must_use]
    pub fn note(&self) -> &str {
        match self {
            Bundle::Inclusion(proof) => &proof.note,
            Bundle::Growth(proof) => &proof.note,
        }
    }
}

fn word<'a>(line: Option<&'a str>, word: &'static str) -> Result<&'a str, NotABundle> {
    line.and_then(|line| line.strip_prefix(word))
        .ok_or(NotABundle("a line is missing or not in its place"))
}

fn base64(text: &str) -> Result<Vec<u8>, NotABundle> {
    BASE64.decode(text).map_err(|_| NotABundle("not base64"))
}

fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, NotABundle> {
    let mut hashes = Vec::new();
    for line in lines {
        if hashes.len() == HASHES_MAX {
            return Err(NotABundle("too many hashes"));
        }
        let hash = base64(line)?;
        hashes.push(
            hash.try_into()
                .map_err(|_| NotABundle("a hash has 32 bytes"))?,
        );
    }
    Ok(hashes)
}

impl Inclusion {
    /// From the payload of a record's frame.
    fn new(index: u64, payload: &[u8], path: Vec<Hash>, note: &str) -> Result<Self, NotABundle> {
        const WHY: NotABundle = NotABundle("the extra line is not a record's payload");
        let (length, rest) = payload.split_first_chunk::<4>().ok_or(WHY)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| WHY)?;
        let (record, rest) = rest.split_at_checked(length).ok_or(WHY)?;
        let (args_salt, rest) = rest.split_first_chunk::<16>().ok_or(WHY)?;
        let (detail_salt, detail) = rest.split_first_chunk::<16>().ok_or(WHY)?;
        let beside = Beside {
            args_salt: *args_salt,
            detail_salt: *detail_salt,
            detail: detail.to_vec(),
        };
        Ok(Inclusion {
            index,
            record: record.to_vec(),
            beside: (beside != Beside::NOTHING).then_some(beside),
            path,
            note: note.to_owned(),
        })
    }

    fn payload(&self) -> Vec<u8> {
        let nothing = Beside::NOTHING;
        let beside = self.beside.as_ref().unwrap_or(&nothing);
        let length = u32::try_from(self.record.len()).unwrap_or(u32::MAX);
        let mut payload = length.to_be_bytes().to_vec();
        payload.extend_from_slice(&self.record);
        payload.extend_from_slice(&beside.args_salt);
        payload.extend_from_slice(&beside.detail_salt);
        payload.extend_from_slice(&beside.detail);
        payload
    }

    /// Checks the signature of the pinned key, the path, the record and what lies beside it.
    ///
    /// # Errors
    /// Where any of it does not hold.
    pub fn verify(&self, origin: &PublicKey) -> Result<Proven, Error> {
        let checkpoint = open(origin, &self.note, "the")?;
        let leaf = tree::leaf_hash(&self.record);
        let head = &checkpoint.head;
        tree::verify_inclusion(&leaf, self.index, head.size, &self.path, &head.root)
            .map_err(Error::Inclusion)?;
        let view = record::decode(&self.record)?;
        if view.header.seq != self.index {
            return Err(Error::Index {
                said: view.header.seq,
                index: self.index,
            });
        }
        if origin.name().stack() != Some(view.header.stack.as_str()) {
            return Err(Error::Stack);
        }
        if let Some(beside) = &self.beside {
            beside.verify(&view.body)?;
        }
        Ok(Proven {
            view,
            leaf,
            checkpoint,
        })
    }
}

impl Beside {
    const NOTHING: Beside = Beside {
        args_salt: [0; 16],
        detail_salt: [0; 16],
        detail: Vec::new(),
    };

    fn verify(&self, body: &BodyView) -> Result<(), Error> {
        let BodyView::Decision(decision) = body else {
            return Err(Error::Beside(
                "something lies beside a record that commits to nothing",
            ));
        };
        if record::commitment(&self.detail_salt, &self.detail) != decision.detail {
            return Err(Error::Beside(
                "the detail is not the one that the record commits to",
            ));
        }
        match record::detail_arguments(&self.detail) {
            Some(arguments)
                if record::commitment(&self.args_salt, arguments.as_bytes()) != decision.args =>
            {
                Err(Error::Beside(
                    "the arguments are not those that the record commits to",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A record that the log of a pinned key holds.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The record, read.
    pub view: RecordView,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The checkpoint whose tree has it.
    pub checkpoint: Verified<Checkpoint>,
}

impl Growth {
    /// Checks both signatures of the pinned key, and that the newer tree begins with the kept one.
    ///
    /// # Errors
    /// Where any of it does not hold.
    pub fn verify(&self, origin: &PublicKey) -> Result<Grown, Error> {
        let kept = open(origin, &self.kept, "the kept")?;
        let newer = open(origin, &self.note, "the newer")?;
        tree::verify_consistency(&kept.head, &newer.head, &self.proof).map_err(Error::Growth)?;
        Ok(Grown { kept, newer })
    }
}

/// Two checkpoints of a pinned key, of which the newer continues the kept one.
#[derive(Debug, Clone)]
pub struct Grown {
    /// The earlier.
    pub kept: Verified<Checkpoint>,
    /// The later.
    pub newer: Verified<Checkpoint>,
}

fn open(
    origin: &PublicKey,
    note: &str,
    which: &'static str,
) -> Result<Verified<Checkpoint>, Error> {
    origin
        .open::<Checkpoint>(note.as_bytes())
        .map_err(|why| Error::Checkpoint { which, why })
}
