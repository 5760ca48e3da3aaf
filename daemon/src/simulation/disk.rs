//! A disk that forgets: what is written is seen at once, and survives a loss of power only as far as it was synced.
//!
//! For each file there are the bytes that a reader sees and the bytes that are on the platter, with the writes between
//! the two in order; for the directory the same of names. A loss of power keeps any subset of those writes, each whole,
//! torn at a byte, or by sectors, and any subset of the changes of names. A sync that fails leaves its writes visible
//! and out of the queue: no later sync makes them durable, as Linux does since pages are marked clean after an error.
//! What readers see also lies in a real directory, because recovery and auditors read by path.

use super::steps::{Dice, Fault, Step, Steps};
use crate::journal::segment::{Files, SegmentFile};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a write that is interrupted is torn by, besides bytes.
const SECTOR: usize = 512;

/// How a loss of power treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsynced {
    /// Nothing of it is there.
    Lost,
    /// All of it is there.
    Kept,
    /// Any part of it, as the dice fall.
    Any,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Not durable yet, in order.
    queue: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String),
}

struct State {
    dir: PathBuf,
    inodes: Vec<Inode>,
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    queue: Vec<NameChange>,
    available: u64,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
    steps: Steps,
}

struct Handle {
    disk: Disk,
    inode: usize,
    path: PathBuf,
}

impl Disk {
    /// An empty directory, which must exist in the real file system.
    pub(super) fn new(dir: &Path, steps: Steps) -> Disk {
        let state = State {
            dir: dir.to_path_buf(),
            inodes: Vec::new(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            queue: Vec::new(),
            available: u64::MAX,
        };
        Disk {
            state: Arc::new(Mutex::new(state)),
            steps,
        }
    }

    /// So many bytes are free from now on.
    pub(super) fn set_available(&self, bytes: u64) {
        self.lock().available = bytes;
    }

    /// The power fails and comes back: what readers see is what survived.
    pub(super) fn lose_power(&self, unsynced: Unsynced, dice: &mut Dice) {
        let mut state = self.lock();
        state.see_removals();
        let State {
            inodes,
            durable,
            queue,
            ..
        } = &mut *state;
        for inode in inodes {
            for (at, bytes) in std::mem::take(&mut inode.queue) {
                inode.survive(at, &bytes, unsynced, dice);
            }
            inode.seen.clone_from(&inode.durable);
        }
        for change in std::mem::take(queue) {
            let kept = match unsynced {
                Unsynced::Lost => false,
                Unsynced::Kept => true,
                Unsynced::Any => dice.one_in(2),
            };
            if kept {
                change.apply(durable);
            }
        }
        state.seen = state.durable.clone();
        state.materialise();
    }

    /// The journal's bytes as they would be if nothing unsynced survived, by name.
    pub(super) fn durable_files(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.lock();
        let files = state.durable.iter();
        files
            .map(|(name, inode)| (name.clone(), state.inodes[*inode].durable.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What was removed by path, past the port, is a change of names like any other.
    fn see_removals(&mut self) {
        let gone: Vec<String> = self
            .seen
            .keys()
            .filter(|name| !self.dir.join(name).exists())
            .cloned()
            .collect();
        for name in gone {
            self.seen.remove(&name);
            self.queue.push(NameChange::Unlink(name));
        }
    }

    fn materialise(&self) {
        for entry in std::fs::read_dir(&self.dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        for (name, inode) in &self.seen {
            std::fs::write(self.dir.join(name), &self.inodes[*inode].seen).unwrap();
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.seen);
        self.queue.push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
            NameChange::Unlink(name) => drop(names.remove(name)),
            NameChange::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl Inode {
    fn survive(&mut self, at: usize, bytes: &[u8], unsynced: Unsynced, dice: &mut Dice) {
        match unsynced {
            Unsynced::Lost => {}
            Unsynced::Kept => put(&mut self.durable, at, bytes),
            Unsynced::Any => match dice.below(4) {
                0 => {}
                1 => put(&mut self.durable, at, bytes),
                2 => put(&mut self.durable, at, &bytes[..dice.below(bytes.len() + 1)]),
                _ => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if dice.one_in(2) {
                            put(&mut self.durable, at + number * SECTOR, sector);
                        }
                    }
                }
            },
        }
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Files for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let make = || {
            let mut state = self.lock();
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.change(NameChange::Link(name_of(path), inode));
            std::fs::File::create_new(path).unwrap();
        };
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.steps.take(Step::Create, make, |_| {})?;
        self.open(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.lock();
        state.see_removals();
        let inode = state.seen.get(&name_of(path)).copied();
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle {
            disk: self.clone(),
            inode,
            path: path.to_path_buf(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.lock().seen.get(&name_of(from)).copied();
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        let rename = || {
            let change = NameChange::Rename(name_of(from), name_of(to), inode);
            self.lock().change(change);
            std::fs::rename(from, to).unwrap();
        };
        self.steps.take(Step::Rename, rename, |_| {})
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let remove = || {
            self.lock().change(NameChange::Unlink(name_of(path)));
            std::fs::remove_file(path).unwrap();
        };
        self.steps.take(Step::Remove, remove, |_| {})
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let sync = || {
            let mut state = self.lock();
            state.see_removals();
            let queue = std::mem::take(&mut state.queue);
            for change in queue {
                change.apply(&mut state.durable);
            }
        };
        self.steps.take(Step::SyncDir, sync, |_| {})
    }

    fn available(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.lock().available)
    }
}

impl Handle {
    fn put(&self, bytes: &[u8], at: usize) {
        let mut state = self.disk.lock();
        let inode = &mut state.inodes[self.inode];
        put(&mut inode.seen, at, bytes);
        inode.queue.push((at, bytes.to_vec()));
        let file = std::fs::File::options()
            .write(true)
            .open(&self.path)
            .unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
    }

    fn sync_as(&self, step: Step) -> io::Result<()> {
        let sync = |writes: usize| {
            let mut state = self.disk.lock();
            let inode = &mut state.inodes[self.inode];
            for (at, bytes) in std::mem::take(&mut inode.queue).into_iter().take(writes) {
                put(&mut inode.durable, at, &bytes);
            }
        };
        let done = self.disk.steps.take(step, || sync(usize::MAX), sync);
        if done.is_err() {
            // The kernel forgets what it could not write: a second sync would say that all is well.
            sync(0);
        }
        done
    }
}

impl SegmentFile for Handle {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let whole = || self.put(bytes, at);
        let part = |count: usize| self.put(&bytes[..count.min(bytes.len())], at);
        self.disk.steps.take(Step::Write(bytes.len()), whole, part)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_as(Step::SyncData)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.inode].seen.len() as u64)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_as(Step::SyncFile)
    }
}

#[test]
fn a_disk_keeps_what_was_synced_and_any_part_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path(), Steps::default());
    let path = dir.path().join("file");
    let file = disk.create(&path).unwrap();
    file.write_at(b"synced", 0).unwrap();
    file.sync_all().unwrap();
    disk.lose_power(Unsynced::Lost, &mut Dice::of(1));
    assert!(!path.exists(), "its name was not synced");

    let file = disk.create(&path).unwrap();
    disk.sync_dir(dir.path()).unwrap();
    file.write_at(b"synced", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"later", 6).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"syncedlater");
    assert_eq!(disk.durable_files(), [("file".into(), b"synced".to_vec())]);
    disk.lose_power(Unsynced::Lost, &mut Dice::of(1));
    assert_eq!(std::fs::read(&path).unwrap(), b"synced");
}

#[test]
fn a_sync_that_failed_is_followed_by_one_that_lies() {
    let dir = tempfile::tempdir().unwrap();
    let steps = Steps::default();
    let disk = Disk::new(dir.path(), steps.clone());
    let path = dir.path().join("file");
    let file = disk.create(&path).unwrap();
    disk.sync_dir(dir.path()).unwrap();
    file.write_at(b"never", 0).unwrap();
    steps.arm(0, Fault::Fails);
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"never");
    disk.lose_power(Unsynced::Kept, &mut Dice::of(1));
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}
