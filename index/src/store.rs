//! The projection: RocksDB, written by one thread, read by many.
//!
//! Keys begin with a letter; numbers in them are big-endian, so that their order is the records'; a name in a key has
//! its length in front, so that no name is another's beginning.
//!
//! | key | value |
//! |---|---|
//! | `p` | the position: version, origin, tree, places |
//! | `s` seq | the [`Entry`] |
//! | `a` agent seq, `t` tool seq, `n` session seq, `x` effect seq, `c` code seq, `k` kind seq | nothing: these have it |
//! | `o` of seq | nothing: outcome `seq` is about decision `of` |
//! | `z` zone | the earliest and latest time of [`ZONE`] records |
//! | `h` hour, what | how many records of that sort that hour has |
//! | `f` segment | which file it was when its records' places were taken down |
//!
//! Invariants: records come in, and removed ones go, together with the position in one write; so a process that is
//! killed at any moment finds a store that is right for its position.

use crate::entry::{Entry, Facets, KINDS};
use crate::follow::{Batch, Last, Position};
use crate::journal::{Journal, Place};
use faramesh_core::checkpoint::PublicKey;
use faramesh_core::tree::{Frontier, Hash};
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, Snapshot, WriteBatch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of keys and values. Another one's store is made anew.
const VERSION: u32 = 1;
/// Records that share their earliest and latest time: a search over ten million looks at ten thousand of them.
pub const ZONE: u64 = 1_024;
/// Milliseconds of an hour, for which records are counted.
pub const HOUR_MS: u64 = 3_600_000;
/// Removed records that are forgotten in one write.
const FORGOTTEN_AT_ONCE: u64 = 4_096;
/// What RocksDB gathers before it writes a file, twice.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Blocks that RocksDB keeps at hand, bytes.
const CACHE_BYTES: usize = 32 << 20;
/// Files that RocksDB keeps open: of 64 MiB each they are sixteen gigabytes.
const OPEN_FILES_MAX: i32 = 256;
/// Larger than any key: none begins with such a byte.
const BEHIND_ALL: [u8; 1] = [0xff];

/// First letters of keys.
pub mod letter {
    /// The position.
    pub const POSITION: u8 = b'p';
    /// Entries by number.
    pub const SEQ: u8 = b's';
    /// By agent.
    pub const AGENT: u8 = b'a';
    /// By tool.
    pub const TOOL: u8 = b't';
    /// By session.
    pub const SESSION: u8 = b'n';
    /// By effect.
    pub const EFFECT: u8 = b'x';
    /// By code.
    pub const CODE: u8 = b'c';
    /// By kind; decisions are not among them.
    pub const KIND: u8 = b'k';
    /// Outcomes by what they are about.
    pub const OUTCOME: u8 = b'o';
    /// Times.
    pub const ZONE: u8 = b'z';
    /// Counts.
    pub const HOUR: u8 = b'h';
    /// Segments' files.
    pub const FILE: u8 = b'f';
}

/// Why the store does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB says so.
    #[error("the store `{}` does not work: {source}", path.display())]
    Rocks {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rocksdb::Error,
    },
    /// A value is not what this version writes.
    #[error("the store holds something that this version does not write: {0}")]
    Form(&'static str),
    /// A directory does not work.
    #[error("`{}` does not work: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Error {
        Error::Directory {
            path: PathBuf::from("journal"),
            source,
        }
    }
}

/// The projection of one journal.
pub struct Store {
    db: DB,
    path: PathBuf,
}

/// The store as it was at one moment, with the position that it had then.
pub struct View<'s> {
    snapshot: Snapshot<'s>,
    path: &'s Path,
    /// Up to where it goes.
    pub position: Position,
    /// Whether there are removed records that are not forgotten yet: counts still have them.
    pub forgetting: bool,
}

/// What an hour's records are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sort {
    /// Index in [`KINDS`].
    pub kind: u8,
    /// Of a decision.
    pub decision: Option<Verdict>,
}

/// What a decision is counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Verdict {
    /// As stored in an entry.
    pub effect: u8,
    /// Its code.
    pub code: Option<String>,
    /// Asked without acting.
    pub probe: bool,
    /// Its tool.
    pub tool: String,
    /// Its agent.
    pub agent: String,
}

/// The position as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    origin: String,
    frontier: Vec<u8>,
    last: Option<(u64, u64, Hash)>,
    next: Option<(u64, u64)>,
    removed: u64,
    /// Up to where removed records are forgotten already.
    forgotten: u64,
}

/// What became of the store that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It goes on.
    Kept,
    /// There was none.
    New,
    /// It was of no use: why. It is empty now.
    Discarded(String),
}

impl Store {
    /// Opens the store of a journal whose notes this key signs, or makes one. What is damaged or another journal's is
    /// thrown away. The caller holds a lock that keeps others from doing the same.
    ///
    /// # Errors
    /// No store can be made there.
    pub fn open(path: &Path, key: &PublicKey) -> Result<(Store, Opened), Error> {
        let was_there = path.exists();
        let (store, damaged) = match Store::try_open(path) {
            Ok(store) => (store, None),
            Err(damage) if was_there => {
                Store::remove(path)?;
                (Store::try_open(path)?, Some(damage.to_string()))
            }
            Err(error) => return Err(error),
        };
        let unusable = match (damaged, store.stored()) {
            (Some(damage), _) => Some(damage),
            (None, Err(error)) => Some(error.to_string()),
            (None, Ok(None)) if !was_there => None,
            (None, Ok(None)) => Some("it says nothing of its position".to_owned()),
            (None, Ok(Some(stored))) => unusable(&stored, key),
        };
        let opened = match unusable {
            Some(why) => Opened::Discarded(why),
            None if was_there => return Ok((store, Opened::Kept)),
            None => Opened::New,
        };
        store.clear(key)?;
        Ok((store, opened))
    }

    fn try_open(path: &Path) -> Result<Store, Error> {
        let db = DB::open(&options(), path).map_err(|source| Error::Rocks {
            path: path.to_owned(),
            source,
        })?;
        Ok(Store {
            db,
            path: path.to_owned(),
        })
    }

    fn remove(path: &Path) -> Result<(), Error> {
        std::fs::remove_dir_all(path).map_err(|source| Error::Directory {
            path: path.to_owned(),
            source,
        })
    }

    /// Forgets everything, in one write.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn clear(&self, key: &PublicKey) -> Result<(), Error> {
        let mut write = WriteBatch::default();
        write.delete_range([].as_slice(), BEHIND_ALL.as_slice());
        let stored = stored(&Position::start(), key.name().as_str(), 0);
        write.put([letter::POSITION], encode(&stored)?);
        self.write(write)
    }

    /// How far the store goes.
    ///
    /// # Errors
    /// RocksDB's, or it says nothing.
    pub fn position(&self) -> Result<Position, Error> {
        position(&self.stored()?.ok_or(Error::Form("no position"))?)
    }

    /// Adds a batch, which must be the one behind the position.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn add(&self, batch: &Batch) -> Result<(), Error> {
        let before = self.stored()?.ok_or(Error::Form("no position"))?;
        let mut write = WriteBatch::default();
        let mut counts: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let mut zones: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (seq, entry) in (batch.first..).zip(&batch.entries) {
            write.put(seq_key(seq), encode(entry)?);
            for key in places(seq, entry) {
                write.put(key, []);
            }
            *counts.entry(hour_key(entry)?).or_default() += 1;
            let zone = match zones.entry(seq / ZONE) {
                std::collections::btree_map::Entry::Occupied(zone) => zone.into_mut(),
                std::collections::btree_map::Entry::Vacant(zone) => {
                    let known = self.zone(seq / ZONE)?;
                    zone.insert(known.unwrap_or((u64::MAX, 0)))
                }
            };
            *zone = (zone.0.min(entry.wall_ms), zone.1.max(entry.wall_ms));
        }
        for (zone, times) in zones {
            write.put(number_key(letter::ZONE, zone), encode(&times)?);
        }
        self.count(&mut write, counts)?;
        let stored = stored(&batch.after, &before.origin, before.forgotten);
        write.put([letter::POSITION], encode(&stored)?);
        self.write(write)
    }

    /// Goes on from another place with the same records.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn move_to(&self, position: &Position) -> Result<(), Error> {
        let before = self.stored()?.ok_or(Error::Form("no position"))?;
        let mut write = WriteBatch::default();
        let stored = stored(position, &before.origin, before.forgotten);
        write.put([letter::POSITION], encode(&stored)?);
        self.write(write)
    }

    /// Looks whether sealed segments were written anew since they were looked at last, and takes down where their records
    /// stand now. Where a record is not the one that was indexed nothing is taken down: a reader finds that out.
    ///
    /// # Errors
    /// RocksDB's, or the journal cannot be read.
    pub fn follow_rewritten(&self, journal: &Journal) -> Result<(), Error> {
        let position = self.position()?;
        let open = position.next.map_or(0, |next| next.segment);
        let unreadable = |source| Error::Directory {
            path: journal.dir().to_owned(),
            source,
        };
        for first in journal.segments().map_err(unreadable)? {
            let key = number_key(letter::FILE, first);
            let Some(now) = journal.identity(first).filter(|_| first < open) else {
                continue;
            };
            let known = self.get(&key)?;
            let known: Option<(u64, u64)> = known.map(|bytes| decode(&bytes)).transpose()?;
            if known == Some(now) {
                continue;
            }
            self.take_down_places(journal, first)?;
            let mut write = WriteBatch::default();
            write.put(key, encode(&now)?);
            self.write(write)?;
        }
        Ok(())
    }

    fn take_down_places(&self, journal: &Journal, first: u64) -> Result<(), Error> {
        let mut write = WriteBatch::default();
        journal.places(first, |seq, place, leaf| -> Result<(), Error> {
            let key = seq_key(seq);
            let Some(bytes) = self.get(&key)? else {
                return Ok(());
            };
            let mut entry: Entry = decode(&bytes)?;
            if entry.leaf == leaf && entry.offset != place.offset {
                entry.offset = place.offset;
                write.put(key, encode(&entry)?);
            }
            Ok(())
        })?;
        self.write(write)
    }

    /// Forgets some of the records whose removal is recorded; whether there are more.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn forget_removed(&self) -> Result<bool, Error> {
        let mut now = self.stored()?.ok_or(Error::Form("no position"))?;
        if now.forgotten >= now.removed {
            return Ok(false);
        }
        let to = now.removed.min(now.forgotten + FORGOTTEN_AT_ONCE);
        let mut write = WriteBatch::default();
        let mut counts: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for seq in now.forgotten..to {
            let key = seq_key(seq);
            let Some(entry) = self.get(&key)? else {
                continue;
            };
            let entry: Entry = decode(&entry)?;
            for key in places(seq, &entry) {
                write.delete(key);
            }
            *counts.entry(hour_key(&entry)?).or_default() -= 1;
            write.delete(key);
        }
        // A zone of which records stay keeps its times: a search looks there once too often.
        write.delete_range(
            number_key(letter::ZONE, now.forgotten / ZONE),
            number_key(letter::ZONE, to / ZONE),
        );
        self.count(&mut write, counts)?;
        now.forgotten = to;
        write.put([letter::POSITION], encode(&now)?);
        self.write(write)?;
        Ok(now.forgotten < now.removed)
    }

    /// The store as it is now. What is written later is not in it.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn view(&self) -> Result<View<'_>, Error> {
        let snapshot = self.db.snapshot();
        let bytes = snapshot
            .get([letter::POSITION])
            .map_err(|source| self.error(source))?
            .ok_or(Error::Form("no position"))?;
        let stored: Stored = decode(&bytes)?;
        Ok(View {
            position: position(&stored)?,
            forgetting: stored.forgotten < stored.removed,
            snapshot,
            path: &self.path,
        })
    }

    fn count(&self, write: &mut WriteBatch, counts: BTreeMap<Vec<u8>, i64>) -> Result<(), Error> {
        for (key, change) in counts {
            let before = match self.get(&key)? {
                Some(bytes) => decode::<u64>(&bytes)?,
                None => 0,
            };
            match before.saturating_add_signed(change) {
                0 => write.delete(key),
                now => write.put(key, encode(&now)?),
            }
        }
        Ok(())
    }

    fn zone(&self, zone: u64) -> Result<Option<(u64, u64)>, Error> {
        let found = self.get(&number_key(letter::ZONE, zone))?;
        found.map(|bytes| decode(&bytes)).transpose()
    }

    fn stored(&self) -> Result<Option<Stored>, Error> {
        let found = self.get(&[letter::POSITION])?;
        found.map(|bytes| decode(&bytes)).transpose()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get(key).map_err(|source| self.error(source))
    }

    fn write(&self, write: WriteBatch) -> Result<(), Error> {
        // Not synced: what a power failure takes is read from the journal again.
        self.db.write(write).map_err(|source| self.error(source))
    }

    fn error(&self, source: rocksdb::Error) -> Error {
        Error::Rocks {
            path: self.path.clone(),
            source,
        }
    }
}

impl View<'_> {
    /// The entry of a record, where it is indexed and not removed.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn entry(&self, seq: u64) -> Result<Option<Entry>, Error> {
        if seq < self.position.removed || seq >= self.position.size() {
            return Ok(None);
        }
        let found = self
            .snapshot
            .get(seq_key(seq))
            .map_err(|source| self.error(source))?;
        found.map(|bytes| decode(&bytes)).transpose()
    }

    /// The numbers at the end of the keys that begin with `prefix`, from `range.start` to before `range.end`, in order
    /// or the other way round, until the callback says to stop.
    ///
    /// # Errors
    /// RocksDB's, or the callback's.
    pub fn numbers(
        &self,
        prefix: &[u8],
        range: std::ops::Range<u64>,
        backwards: bool,
        mut each: impl FnMut(u64) -> Result<std::ops::ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let key = |number: u64| [prefix, &number.to_be_bytes()].concat();
        self.each(
            key(range.start),
            key(range.end),
            backwards,
            |key, _| match key.last_chunk::<8>() {
                Some(number) => each(u64::from_be_bytes(*number)),
                None => Err(Error::Form("a key without a number")),
            },
        )
    }

    /// Zones and their times, of records `from..to`, in order.
    ///
    /// # Errors
    /// RocksDB's, or the callback's.
    pub fn zones(
        &self,
        mut each: impl FnMut(u64, (u64, u64)) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (from, to) = (
            number_key(letter::ZONE, 0),
            number_key(letter::ZONE, u64::MAX),
        );
        self.each(from, to, false, |key, value| {
            let number = key.last_chunk::<8>().ok_or(Error::Form("a zone's key"))?;
            each(u64::from_be_bytes(*number), decode(value)?)?;
            Ok(std::ops::ControlFlow::Continue(()))
        })
    }

    /// How many records there are of each sort in the hours from `from` to before `to`.
    ///
    /// # Errors
    /// RocksDB's, or the callback's.
    pub fn counts(
        &self,
        from: u64,
        to: u64,
        mut each: impl FnMut(Sort, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (from, to) = (number_key(letter::HOUR, from), number_key(letter::HOUR, to));
        self.each(from, to, false, |key, value| {
            let sort = key.get(1 + 8..).ok_or(Error::Form("a count's key"))?;
            each(decode(sort)?, decode(value)?)?;
            Ok(std::ops::ControlFlow::Continue(()))
        })
    }

    fn each(
        &self,
        from: Vec<u8>,
        to: Vec<u8>,
        backwards: bool,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<std::ops::ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(from.clone());
        read.set_iterate_upper_bound(to.clone());
        let mode = match backwards {
            true => IteratorMode::From(&to, Direction::Reverse),
            false => IteratorMode::From(&from, Direction::Forward),
        };
        for item in self.snapshot.iterator_opt(mode, read) {
            let (key, value) = item.map_err(|source| self.error(source))?;
            if each(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn error(&self, source: rocksdb::Error) -> Error {
        Error::Rocks {
            path: self.path.to_owned(),
            source,
        }
    }
}

fn options() -> Options {
    let mut table = rocksdb::BlockBasedOptions::default();
    table.set_block_cache(&rocksdb::Cache::new_lru_cache(CACHE_BYTES));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_keep_log_file_num(2);
    options.set_max_background_jobs(2);
    options.set_block_based_table_factory(&table);
    options
}

/// Why a store that says this is of no use for the journal of this key.
fn unusable(stored: &Stored, key: &PublicKey) -> Option<String> {
    if stored.version != VERSION {
        return Some(format!(
            "it is of version {}, not {VERSION}",
            stored.version
        ));
    }
    if stored.origin != key.name().as_str() {
        return Some("it is of another journal".to_owned());
    }
    position(stored).err().map(|error| error.to_string())
}

fn stored(position: &Position, origin: &str, forgotten: u64) -> Stored {
    Stored {
        version: VERSION,
        origin: origin.to_owned(),
        frontier: position.frontier.to_bytes(),
        last: position
            .last
            .map(|last| (last.place.segment, last.place.offset, last.leaf)),
        next: position.next.map(|next| (next.segment, next.offset)),
        removed: position.removed,
        forgotten,
    }
}

fn position(stored: &Stored) -> Result<Position, Error> {
    let place = |segment, offset| Place { segment, offset };
    Ok(Position {
        frontier: Frontier::from_bytes(&stored.frontier).map_err(|_| Error::Form("a tree"))?,
        last: stored.last.map(|(segment, offset, leaf)| Last {
            place: place(segment, offset),
            leaf,
        }),
        next: stored.next.map(|(segment, offset)| place(segment, offset)),
        removed: stored.removed,
    })
}

fn number_key(letter: u8, number: u64) -> Vec<u8> {
    [[letter].as_slice(), &number.to_be_bytes()].concat()
}

fn seq_key(seq: u64) -> Vec<u8> {
    number_key(letter::SEQ, seq)
}

/// The beginning of the keys under which records with this name lie.
pub fn name_prefix(letter: u8, name: &str) -> Vec<u8> {
    // Names are far below 64 KiB; one that is not would only share its list with others, and entries are compared.
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    [[letter].as_slice(), &length.to_be_bytes(), name.as_bytes()].concat()
}

/// The beginning of the keys of an effect or a kind.
pub const fn word_prefix(letter: u8, number: u8) -> [u8; 2] {
    [letter, number]
}

/// The beginning of the keys of outcomes about a decision.
pub fn outcome_prefix(of: u64) -> Vec<u8> {
    number_key(letter::OUTCOME, of)
}

/// Every key under which a record can be found, besides its number.
fn places(seq: u64, entry: &Entry) -> Vec<Vec<u8>> {
    let behind = |prefix: &[u8]| [prefix, &seq.to_be_bytes()].concat();
    let mut keys = Vec::new();
    if let Some(session) = entry.session() {
        keys.push(behind(&name_prefix(letter::SESSION, session)));
    }
    if let Some(agent) = entry.agent() {
        keys.push(behind(&name_prefix(letter::AGENT, agent)));
    }
    match &entry.facets {
        Facets::Decision {
            tool, effect, code, ..
        } => {
            keys.push(behind(&name_prefix(letter::TOOL, tool)));
            keys.push(behind(&word_prefix(letter::EFFECT, *effect)));
            if let Some(code) = code {
                keys.push(behind(&name_prefix(letter::CODE, code)));
            }
        }
        Facets::Outcome { of, .. } => {
            keys.push(behind(&outcome_prefix(*of)));
            keys.push(behind(&word_prefix(letter::KIND, entry.kind)));
        }
        _ => keys.push(behind(&word_prefix(letter::KIND, entry.kind))),
    }
    keys
}

/// The key of the count to which a record belongs.
fn hour_key(entry: &Entry) -> Result<Vec<u8>, Error> {
    let mut key = number_key(letter::HOUR, entry.wall_ms / HOUR_MS);
    key.extend(encode(&sort(entry))?);
    Ok(key)
}

/// What a record is counted by.
pub fn sort(entry: &Entry) -> Sort {
    let decision = match &entry.facets {
        Facets::Decision {
            agent,
            tool,
            effect,
            code,
            probe,
            ..
        } => Some(Verdict {
            effect: *effect,
            code: code.clone(),
            probe: *probe,
            tool: tool.clone(),
            agent: agent.clone(),
        }),
        _ => None,
    };
    Sort {
        kind: entry.kind.min(u8::try_from(KINDS.len()).unwrap_or(u8::MAX)),
        decision,
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(value).map_err(|_| Error::Form("a value that cannot be written"))
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Error::Form("a value of another form")),
    }
}
