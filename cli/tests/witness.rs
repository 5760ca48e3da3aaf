//! A witness and who asks it: what is cosigned, what is refused, and what a fault or a crash leaves.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set itself up must fail"
)]

use ed25519_dalek::{Signer, SigningKey};
use faramesh_cli::anchor::ask::{self, Asked, Trouble};
use faramesh_cli::anchor::file::{self, AnchorFile, Protection};
use faramesh_cli::anchor::follow::{self, Follower};
use faramesh_cli::anchor::round;
use faramesh_cli::args::{Format, Global};
use faramesh_cli::output::Output;
use faramesh_cli::witness::address::Address;
use faramesh_cli::witness::keeper::{Heads, Keeper, Sign, Verdict};
use faramesh_cli::witness::serve::{self, Door};
use faramesh_cli::witness::wire::Submission;
use faramesh_core::checkpoint::{Checkpoint, KeyName, PublicKey};
use faramesh_core::cosign::{WitnessKey, Witnesses};
use faramesh_core::frame;
use faramesh_core::record::Encoded;
use faramesh_core::tree::tiles::{Gather, Plan};
use faramesh_core::tree::{self, Frontier, Hash, Head, leaf_hash};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

const NOW_S: u64 = 1_769_851_800;

fn private(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn log(seed: u8) -> PublicKey {
    let bytes = private(seed).verifying_key().to_bytes();
    PublicKey::new(KeyName::origin("shop", &bytes).unwrap(), &bytes).unwrap()
}

struct Key(u8);

impl Sign for Key {
    fn public(&self) -> &WitnessKey {
        static KEYS: std::sync::OnceLock<Vec<WitnessKey>> = std::sync::OnceLock::new();
        let keys = KEYS.get_or_init(|| (0..10).map(witness).collect());
        &keys[usize::from(self.0)]
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        private(self.0).sign(message).to_bytes()
    }
}

fn witness(seed: u8) -> WitnessKey {
    let bytes = private(seed).verifying_key().to_bytes();
    WitnessKey::new(
        KeyName::new(&format!("witness.example/w{seed}")).unwrap(),
        &bytes,
    )
    .unwrap()
}

fn pinned(seeds: &[u8]) -> Witnesses {
    Witnesses::new(seeds.iter().map(|seed| witness(*seed)).collect()).unwrap()
}

/// Record `i` of the history with this letter; histories share their first `common` records.
fn record(history: u8, common: usize, i: usize) -> Vec<u8> {
    let letter = if i < common { b'=' } else { history };
    format!("{}-{i}", char::from(letter)).into_bytes()
}

fn head(leaves: &[Hash]) -> Head {
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf).unwrap());
    Head {
        size: frontier.size(),
        root: frontier.root(),
    }
}

fn note(seed: u8, head: Head) -> String {
    let checkpoint = Checkpoint {
        origin: log(seed).name().clone(),
        head,
    };
    log(seed)
        .seal(&checkpoint, |message| {
            private(seed).sign(message).to_bytes()
        })
        .unwrap()
}

/// A history on disk: one record a batch, each with its note.
fn journal(dir: &Path, history: u8, common: usize, size: usize) -> Vec<Hash> {
    let mut bytes = Vec::new();
    let mut leaves = Vec::new();
    for i in 0..size {
        let record = record(history, common, i);
        leaves.push(leaf_hash(&record));
        let encoded = Encoded {
            record,
            salts: [[0; 16]; 2],
            detail: Vec::new(),
        };
        frame::write_record(&mut bytes, &encoded).unwrap();
        frame::write_note(&mut bytes, &note(1, head(&leaves))).unwrap();
    }
    bytes.resize(bytes.len() + 4_096, 0);
    std::fs::write(dir.join(format!("{:020}.seg", 0)), bytes).unwrap();
    leaves
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Fine,
    Fails,
    FailsButHappens,
}

/// Two statements that do not fit each other.
type Shown = (Vec<u8>, Vec<u8>);

/// Heads that outlive their keeper, as files do.
#[derive(Clone)]
struct Shelf {
    heads: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    evidence: Rc<RefCell<Vec<Shown>>>,
    disk: Rc<RefCell<Disk>>,
}

impl Shelf {
    fn new() -> Shelf {
        Shelf {
            heads: Rc::default(),
            evidence: Rc::default(),
            disk: Rc::new(RefCell::new(Disk::Fine)),
        }
    }

    fn keeper(&self) -> Keeper<Shelf, Key> {
        Keeper::new(vec![log(1)], self.clone(), Key(2))
            .map_err(|_| ())
            .unwrap()
    }
}

impl Heads for Shelf {
    fn read(&self, origin: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.heads.borrow().get(origin).cloned())
    }

    fn write(&mut self, origin: &str, note: &[u8]) -> io::Result<()> {
        let disk = *self.disk.borrow();
        if disk != Disk::Fails {
            let note = note.to_vec();
            self.heads.borrow_mut().insert(origin.to_owned(), note);
        }
        match disk {
            Disk::Fine => Ok(()),
            _ => Err(io::Error::other("the disk failed")),
        }
    }

    fn evidence(&mut self, _: &str, cosigned: &[u8], other: &[u8]) -> io::Result<()> {
        let pair = (cosigned.to_vec(), other.to_vec());
        self.evidence.borrow_mut().push(pair);
        Ok(())
    }
}

fn proof(old: u64, leaves: &[Hash]) -> Vec<Hash> {
    let new = leaves.len() as u64;
    if old == 0 || old == new {
        return Vec::new();
    }
    let plan = Plan::consistency(old, new).unwrap();
    let mut gather = Gather::new(Frontier::new(), plan.nodes());
    leaves.iter().for_each(|leaf| gather.push(*leaf).unwrap());
    plan.hashes(|node| gather.node(node)).unwrap()
}

/// Says nothing.
fn quiet() -> Output {
    Output::new(&Global {
        dir: ".".into(),
        format: Format::Text,
        no_color: true,
        quiet: true,
        development: true,
    })
}

/// A question about the first `size` of these leaves, from the first `old` of them.
fn body(seed: u8, leaves: &[Hash], old: usize, size: usize) -> Vec<u8> {
    let head = head(&leaves[..size]);
    Submission {
        old: old as u64,
        proof: proof(old as u64, &leaves[..size]),
        note: note(seed, head).into_bytes(),
    }
    .body()
}

fn leaves(history: u8, common: usize, size: usize) -> Vec<Hash> {
    (0..size)
        .map(|i| leaf_hash(&record(history, common, i)))
        .collect()
}

fn cosigned_size(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Cosigned { size, .. } => Some(*size),
        _ => None,
    }
}

#[test]
fn a_witness_cosigns_what_extends_the_head_that_it_knows() {
    let all = leaves(b'a', 0, 40);
    let mut keeper = Shelf::new().keeper();
    let mut old = 0;
    for size in [1, 2, 7, 8, 8, 31, 32, 33, 40] {
        let verdict = keeper.submit(&body(1, &all, old, size), NOW_S);
        assert_eq!(
            cosigned_size(&verdict),
            Some(size as u64),
            "{old} to {size}: {verdict:?}"
        );
        let Verdict::Cosigned { line, .. } = verdict else {
            panic!("not cosigned")
        };
        let note = note(1, head(&all[..size])) + &line;
        let opened = pinned(&[2]).open(note.as_bytes(), &log(1)).unwrap();
        assert_eq!(opened.by().len(), 1);
        old = size;
    }
}

#[test]
fn every_refusal_has_the_status_of_the_specification() {
    let all = leaves(b'a', 0, 20);
    let fork = leaves(b'b', 5, 20);
    let mut keeper = Shelf::new().keeper();
    assert_eq!(keeper.submit(&body(1, &all, 0, 10), NOW_S).status(), 200);
    let mut asked = |body: &[u8]| keeper.submit(body, NOW_S);

    // Not the size that it knows, below and above: it says which.
    assert_eq!(asked(&body(1, &all, 0, 12)), Verdict::Known { size: 10 });
    assert_eq!(asked(&body(1, &all, 11, 12)), Verdict::Known { size: 10 });
    // A rollback: the old size cannot be above the checkpoint's, and any lower one is not what it knows.
    assert_eq!(asked(&body(1, &all, 8, 8)), Verdict::Known { size: 10 });
    let behind = Submission {
        old: 10,
        proof: vec![],
        note: note(1, head(&all[..8])).into_bytes(),
    };
    assert_eq!(asked(&behind.body()).status(), 400);
    // The same size with another root, and a longer tree that does not extend.
    assert_eq!(asked(&body(1, &fork, 10, 10)).status(), 409);
    assert_eq!(asked(&body(1, &fork, 10, 12)).status(), 422);
    // A proof too much, and one that is too short.
    let mut padded = Submission::parse(&body(1, &all, 10, 12)).unwrap();
    padded.proof.push([0; 32]);
    assert_eq!(asked(&padded.body()).status(), 422);
    padded.proof.clear();
    assert_eq!(asked(&padded.body()).status(), 422);
    // Another log's key: under its own origin, and under this one's.
    assert_eq!(asked(&body(3, &all, 0, 12)).status(), 404);
    let forged = String::from_utf8(body(3, &all, 10, 12)).unwrap();
    let forged = forged.replace(log(3).name().as_str(), log(1).name().as_str());
    assert_eq!(asked(forged.as_bytes()).status(), 403);
    // Nothing of a question at all.
    for body in [
        &b""[..],
        b"old 10\n\n",
        b"old 10\n\nhello\n",
        b"\xff\xff\n\n",
    ] {
        assert_eq!(asked(body).status(), 400, "{body:?}");
    }
    // And after all that it still goes on from where it was.
    assert_eq!(asked(&body(1, &all, 10, 20)).status(), 200);
}

#[test]
fn two_trees_of_one_size_are_kept_as_evidence_whatever_was_asked() {
    let (all, fork) = (leaves(b'a', 0, 10), leaves(b'b', 5, 10));
    let shelf = Shelf::new();
    let mut keeper = shelf.keeper();
    keeper.submit(&body(1, &all, 0, 10), NOW_S);
    for old in [10, 0, 5] {
        let verdict = keeper.submit(&body(1, &fork, old, 10), NOW_S);
        let kept = Verdict::Fork {
            origin: log(1).name().to_string(),
            size: 10,
            kept: true,
        };
        assert_eq!(verdict, kept, "asked from {old}");
    }
    let evidence = shelf.evidence.borrow();
    let (cosigned, other) = evidence.first().unwrap();
    assert_eq!(cosigned, note(1, head(&all)).as_bytes());
    assert_eq!(other, note(1, head(&fork)).as_bytes());
}

/// Failed, failed and happened all the same, and a crash right after: whichever, the witness then cosigns one history.
#[test]
fn a_write_that_fails_gives_no_cosignature_and_asking_again_gives_one_whether_or_not_it_happened() {
    let (all, fork) = (leaves(b'a', 0, 12), leaves(b'b', 5, 12));
    for disk in [Disk::Fails, Disk::FailsButHappens] {
        for crash in [false, true] {
            let shelf = Shelf::new();
            let mut keeper = shelf.keeper();
            assert_eq!(keeper.submit(&body(1, &all, 0, 8), NOW_S).status(), 200);
            *shelf.disk.borrow_mut() = disk;
            let failed = keeper.submit(&body(1, &all, 8, 12), NOW_S);
            assert_eq!(failed.status(), 500, "{disk:?}");
            *shelf.disk.borrow_mut() = Disk::Fine;
            if crash {
                keeper = shelf.keeper();
            }
            let happened = disk == Disk::FailsButHappens;
            let again = keeper.submit(&body(1, &all, 8, 12), NOW_S);
            let expected = if happened { 409 } else { 200 };
            assert_eq!(again.status(), expected, "{disk:?}, crash: {crash}");
            if let Verdict::Known { size } = again {
                assert_eq!(size, 12);
                assert_eq!(keeper.submit(&body(1, &all, 12, 12), NOW_S).status(), 200);
            }
            let forked = keeper.submit(&body(1, &fork, 12, 12), NOW_S);
            assert_eq!(forked.status(), 409, "{disk:?}, crash: {crash}");
        }
    }
}

#[test]
fn a_witness_that_crashed_between_its_disk_and_its_answer_answers_the_same_question_again() {
    let all = leaves(b'a', 0, 12);
    let shelf = Shelf::new();
    // The answer is lost with the process; the head is not.
    drop(shelf.keeper().submit(&body(1, &all, 0, 8), NOW_S));
    let mut keeper = shelf.keeper();
    assert_eq!(
        keeper.submit(&body(1, &all, 0, 8), NOW_S),
        Verdict::Known { size: 8 }
    );
    let again = keeper.submit(&body(1, &all, 8, 8), NOW_S + 60);
    assert_eq!(cosigned_size(&again), Some(8));
}

#[test]
fn a_damaged_head_is_never_taken_for_an_empty_log() {
    let all = leaves(b'a', 0, 12);
    let shelf = Shelf::new();
    let mut keeper = shelf.keeper();
    keeper.submit(&body(1, &all, 0, 8), NOW_S);
    for damaged in [
        Vec::new(),
        b"half a no".to_vec(),
        note(3, head(&all[..2])).into_bytes(),
    ] {
        let origin = log(1).name().to_string();
        shelf.heads.borrow_mut().insert(origin, damaged);
        assert_eq!(keeper.submit(&body(1, &all, 0, 12), NOW_S).status(), 500);
        assert!(Keeper::new(vec![log(1)], shelf.clone(), Key(2)).is_err());
    }
}

/// Whatever is asked in whatever order, what is cosigned is one history, and its sizes only rise.
#[test]
fn of_histories_that_fork_a_witness_cosigns_one() {
    let seed = faramesh_tests_seed();
    let mut random = Random(seed);
    for round in 0..40 {
        let common = random.below(12);
        let histories = [leaves(b'a', common, 24), leaves(b'b', common, 24)];
        let shelf = Shelf::new();
        let mut keeper = shelf.keeper();
        let mut cosigned: Vec<Head> = Vec::new();
        for _ in 0..60 {
            if random.below(10) == 0 {
                keeper = shelf.keeper();
            }
            *shelf.disk.borrow_mut() = match random.below(8) {
                0 => Disk::Fails,
                1 => Disk::FailsButHappens,
                _ => Disk::Fine,
            };
            let history = &histories[random.below(2)];
            let size = 1 + random.below(24);
            let old = match random.below(3) {
                0 => random.below(size + 1),
                _ => cosigned
                    .last()
                    .map_or(0, |head| head.size as usize)
                    .min(size),
            };
            let verdict = keeper.submit(&body(1, history, old, size), NOW_S);
            if let Some(size) = cosigned_size(&verdict) {
                cosigned.push(head(&history[..size as usize]));
            }
        }
        for pair in cosigned.windows(2) {
            assert!(pair[0].size <= pair[1].size, "seed {seed}, round {round}");
        }
        let one = histories.iter().any(|history| {
            cosigned
                .iter()
                .all(|known| head(&history[..known.size as usize]) == *known)
        });
        assert!(
            one,
            "seed {seed}, round {round}: two histories were cosigned"
        );
    }
}

fn faramesh_tests_seed() -> u64 {
    let given = std::env::var("FARAMESH_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |since| u64::from(since.subsec_nanos()) + 1)
    });
    eprintln!("FARAMESH_SEED={seed}");
    seed
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap_or(0)
    }
}

#[test]
fn a_proof_from_the_files_holds_for_every_pair_of_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let all = journal(dir.path(), b'a', 0, 33);
    let new = head(&all);
    for old in 0..=33 {
        let (before, proof) = follow::consistency(dir.path(), old, &new, &quiet()).unwrap();
        assert_eq!(before, head(&all[..old as usize]));
        tree::verify_consistency(&before, &new, &proof).unwrap();
    }
    let another = Head {
        root: [9; 32],
        ..new
    };
    assert!(follow::consistency(dir.path(), 7, &another, &quiet()).is_err());
}

/// Heads that several threads may hold.
struct Shared(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Heads for Shared {
    fn read(&self, origin: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(origin).cloned())
    }

    fn write(&mut self, origin: &str, note: &[u8]) -> io::Result<()> {
        self.0
            .lock()
            .unwrap()
            .insert(origin.to_owned(), note.to_vec());
        Ok(())
    }

    fn evidence(&mut self, _: &str, _: &[u8], _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// A witness with this key behind a real door, for as long as the runtime lives.
async fn behind(door: Door, seed: u8) -> Address {
    let address = door.address().unwrap();
    let heads = Shared(Arc::default());
    let keeper = Keeper::new(vec![log(1)], heads, Key(seed))
        .map_err(|_| ())
        .unwrap();
    let told: serve::Told = Arc::new(|_| {});
    tokio::spawn(serve::serve(door, keeper, told, std::future::pending()));
    address
}

async fn loopback(seed: u8) -> Address {
    let any = Address::parse("127.0.0.1:0").unwrap();
    behind(Door::open(&any).await.unwrap(), seed).await
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test)
}

#[test]
fn an_anchor_gets_the_cosignatures_of_two_doors_and_keeps_them_joined() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let socket = Address::Unix(dir.path().join("w.sock"));
        let mut witnesses = [
            Asked::new(loopback(2).await),
            Asked::new(behind(Door::open(&socket).await.unwrap(), 3).await),
            Asked::new(Address::Unix(dir.path().join("nobody.sock"))),
        ];
        let mut follower = Follower::new(dir.path(), log(1));
        assert_eq!(follower.newest().unwrap(), None);
        let path = dir.path().join("anchor.notes");
        let (mut anchor, _) = AnchorFile::open(&path).unwrap();
        for size in [3, 3, 9, 20] {
            journal(dir.path(), b'a', 0, size);
            let newest = follower.newest().unwrap().unwrap();
            assert_eq!(newest.head().size, size as u64);
            let round = round::round(
                &mut follower,
                &newest,
                &mut witnesses,
                &pinned(&[2, 3]),
                quiet(),
            )
            .await
            .unwrap();
            assert_eq!(round.names(), ["witness.example/w2", "witness.example/w3"]);
            assert!(matches!(
                round.troubles.as_slice(),
                [(_, Trouble::Unreachable(_))]
            ));
            assert!(!round.is_alarm());
            anchor.append(&round.note).unwrap();
            let last = file::last(&path, &log(1), &pinned(&[2, 3]))
                .unwrap()
                .unwrap();
            assert_eq!(last, round.cosigned);
        }
        unprotect(&path);
    });
}

/// Takes the append-only attribute away, so that a test can damage the file and remove it. Tells whether it was there.
fn unprotect(path: &Path) -> bool {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let file = std::fs::File::open(path).unwrap();
    let Ok(flags) = ioctl_getflags(&file) else {
        return false;
    };
    if flags.contains(IFlags::APPEND) {
        ioctl_setflags(&file, flags - IFlags::APPEND).unwrap();
    }
    flags.contains(IFlags::APPEND)
}

#[test]
fn what_is_said_to_be_append_only_cannot_be_written_over_cut_or_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("anchor.notes");
    let (mut anchor, protection) = AnchorFile::open(&path).unwrap();
    anchor.append("a note\n").unwrap();
    if protection == Protection::AppendOnly {
        assert!(std::fs::write(&path, "other").is_err());
        assert!(std::fs::OpenOptions::new().write(true).open(&path).is_err());
        assert!(std::fs::remove_file(&path).is_err());
        assert!(std::fs::rename(&path, dir.path().join("away")).is_err());
    }
    anchor.append("another\n").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "a note\n\nanother\n\n");
    assert_eq!(unprotect(&path), protection == Protection::AppendOnly);
}

async fn asked_about(dir: &Path, asked: &mut Asked) -> Result<ask::Lines, Trouble> {
    let newest = Follower::new(dir, log(1)).newest().unwrap().unwrap();
    ask::cosignature(asked, dir, &newest, &pinned(&[2]), quiet()).await
}

#[test]
fn a_journal_that_was_cut_rewritten_or_forked_is_an_alarm_and_gets_no_cosignature() {
    run(async {
        let mut asked = Asked::new(loopback(2).await);
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), b'a', 0, 10);
        asked_about(dir.path(), &mut asked).await.unwrap();
        let fork = Trouble::Fork { known: 10 };
        let rollback = Trouble::Rollback { known: 10, size: 8 };
        // An anchor that has just started knows nothing yet; one that goes on knows the ten.
        for fresh in [false, true] {
            let now = || match fresh {
                true => Asked::new(asked.address.clone()),
                false => asked.clone(),
            };
            journal(dir.path(), b'b', 5, 10);
            let refused = asked_about(dir.path(), &mut now()).await;
            assert_eq!(refused, Err(fork.clone()), "rewritten, fresh: {fresh}");
            journal(dir.path(), b'b', 5, 30);
            let refused = asked_about(dir.path(), &mut now()).await;
            assert_eq!(
                refused,
                Err(fork.clone()),
                "forked and longer, fresh: {fresh}"
            );
            journal(dir.path(), b'a', 0, 8);
            let refused = asked_about(dir.path(), &mut now()).await;
            assert_eq!(refused, Err(rollback.clone()), "cut, fresh: {fresh}");
        }
        assert!(fork.is_alarm() && rollback.is_alarm());
        journal(dir.path(), b'a', 0, 11);
        asked_about(dir.path(), &mut asked).await.unwrap();
    });
}

#[test]
fn the_anchor_file_alone_remembers_what_was_seen() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let all = journal(dir.path(), b'a', 0, 10);
        let path = dir.path().join("anchor.notes");
        let (mut anchor, _) = AnchorFile::open(&path).unwrap();
        let checkpoint = note(1, head(&all));
        let opened = log(1).open::<Checkpoint>(checkpoint.as_bytes()).unwrap();
        let line = witness(2).cosign(&opened, NOW_S, |m| private(2).sign(m).to_bytes());
        anchor.append(&(checkpoint + &line.unwrap())).unwrap();
        unprotect(&path);
        // A crash in the middle of the next one.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice("faramesh/shop/0a1b2c3d\n11\nhal".as_bytes());
        std::fs::write(&path, bytes).unwrap();
        let last = file::last(&path, &log(1), &pinned(&[2])).unwrap().unwrap();
        assert_eq!(last.checkpoint().head.size, 10);
        let held = |history, common, size| {
            journal(dir.path(), history, common, size);
            let mut follower = Follower::new(dir.path(), log(1));
            let newest = follower.newest().unwrap().unwrap();
            round::extends(&follower, &newest, &last, &quiet())
        };
        assert_eq!(held(b'a', 0, 12), Ok(()));
        assert_eq!(held(b'b', 9, 12), Err(Trouble::Fork { known: 10 }));
        assert_eq!(
            held(b'a', 0, 9),
            Err(Trouble::Rollback { known: 10, size: 9 })
        );
        assert_eq!(file::last(&path, &log(1), &pinned(&[3])).unwrap(), None);
    });
}

#[test]
fn what_is_no_question_at_the_door_is_refused_with_its_status() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    run(async {
        let Address::Loopback(at, _) = loopback(2).await else {
            panic!("a loopback address")
        };
        let long = "x".repeat(40_000);
        for (request, status) in [
            (
                "GET /add-checkpoint HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
                "405",
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
                "404",
            ),
            (
                "POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
                    .to_owned(),
                "400",
            ),
            (
                format!(
                    "POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n{long}"
                ),
                "413",
            ),
            (
                format!("POST /add-checkpoint HTTP/1.1\r\nHost: {long}\r\n\r\n"),
                "431",
            ),
            ("nonsense\r\n\r\n".to_owned(), "400"),
        ] {
            let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
            // The far end may stop reading before all is written.
            drop(stream.write_all(request.as_bytes()).await);
            let mut answer = vec![0; 16];
            stream.read_exact(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.contains(status), "{status}: {answer}");
        }
    });
}
