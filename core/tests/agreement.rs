//! Two verifiers that share nothing but `docs/journal-format.md` come to the same verdict on the same journals.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test that goes wrong may say so in any way"
)]

mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use faramesh_core::checkpoint::PublicKey;
use faramesh_core::decision::Effect;
use faramesh_core::frame::{self, Frame, Frames, Item};
use faramesh_core::record::Encoded;
use faramesh_core::tree::Head;
use faramesh_core::verify::{Options, Verifier};
use world::{Files, Journal};

/// In the shop's journal.
const FIRST_DECISION: usize = 3;

/// A journal's frames, to be taken apart and put together with correct checksums.
type Pieces = Vec<(u64, Vec<Piece>)>;

#[derive(Clone)]
enum Piece {
    Record(Encoded),
    Note(String),
}

/// What an auditor is given, and the exit code that the journal deserves.
struct Case {
    name: &'static str,
    files: Files,
    key: Option<PublicKey>,
    trusted: Option<(Head, String)>,
    exit: u8,
}

#[test]
fn both_verifiers_agree_on_good_and_on_tampered_journals() {
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("agreement");
    for case in cases() {
        assert_eq!(ours(&case), case.exit, "our verdict on: {}", case.name);
        let (exit, said) = theirs(&case, &scratch.join(case.name));
        assert_eq!(
            exit, case.exit,
            "the independent verdict on: {}\n{said}",
            case.name
        );
    }
}

fn cases() -> Vec<Case> {
    let shop = Journal::shop();
    let mut cases = Vec::new();
    let mut add = |name, files: Files, exit| {
        cases.push(Case {
            name,
            files,
            key: Some(shop.public.clone()),
            trusted: None,
            exit,
        });
    };
    add("a whole journal", shop.files(), 0);
    add(
        "a tail without a note",
        with(|journal| {
            journal.add(&world::start());
        }),
        0,
    );
    add("cut at a note", without_last_segment(), 0);
    add("a flipped bit", flipped(0, 700), 1);
    add(
        "a flipped bit in the last note",
        flipped(1, last_data(&shop) - 20),
        2,
    );
    add(
        "something after the end",
        flipped(1, last_data(&shop) + 50),
        2,
    );
    add(
        "a record taken out",
        tampered(|pieces| drop(records_of(pieces).remove(1))),
        1,
    );
    add(
        "two records swapped",
        tampered(|pieces| records_of(pieces).swap(0, 1)),
        1,
    );
    add(
        "a record put in twice",
        tampered(|pieces| {
            let r = records_of(pieces);
            let again = r[1].clone();
            r.insert(1, again);
        }),
        1,
    );
    add(
        "a verdict changed",
        edited(FIRST_DECISION, |e| {
            replace(&mut e.record, b"\"permit\"", b"\"defer\"")
        }),
        1,
    );
    add(
        "a detail changed",
        edited(FIRST_DECISION, |e| {
            replace(&mut e.detail, b"because", b"becauze")
        }),
        1,
    );
    add(
        "a detail taken away",
        edited(FIRST_DECISION, |e| e.detail.clear()),
        1,
    );
    add(
        "a salt changed",
        edited(FIRST_DECISION, |e| e.salts = [[9; 16], e.salts[1]]),
        1,
    );
    add(
        "something beside a start",
        edited(0, |e| e.detail = b"{}".to_vec()),
        1,
    );
    add(
        "a note twice",
        tampered(|pieces| {
            let r = records_of(pieces);
            let again = r[r.len() - 1].clone();
            r.push(again);
        }),
        1,
    );
    add("notes exchanged", tampered(exchange_notes), 1);
    add(
        "the first segment missing",
        Files(shop.files().0.into_iter().skip(1).collect()),
        1,
    );
    add("segments exchanged", renamed(), 1);
    add("signed by another key", with_foreign_note(), 1);
    add(
        "not canonical, but signed",
        signed_anew(|record| replace(record, b",\"kind\"", b", \"kind\"")),
        1,
    );
    add(
        "an unknown key, but signed",
        signed_anew(|record| replace(record, b",\"kind\"", b",\"extra\":1,\"kind\"")),
        1,
    );
    add(
        "a decision after the stop",
        with(|j| {
            j.add(&world::decision(Effect::Permit, 7)).note();
        }),
        1,
    );
    add(
        "a policy that was never activated",
        with(|j| {
            j.add(&world::start())
                .add(&world::decision_under([9; 32]))
                .note();
        }),
        1,
    );
    add(
        "an older activation again",
        with(|j| {
            j.add(&world::activation(1)).note();
        }),
        1,
    );
    add("nothing at all", Files(Vec::new()), 0);
    let trusted = |journal: &Journal, index: usize| {
        journal
            .notes
            .get(index)
            .map(|(_, _, head)| (*head, journal.sign(*head)))
    };
    let given = |name, files, key: Option<&Journal>, trusted, exit| Case {
        name,
        files,
        key: key.map(|journal| journal.public.clone()),
        trusted,
        exit,
    };
    let other = Journal::with_key(2);
    cases.push(given("no key", shop.files(), None, None, 2));
    cases.push(given(
        "another key pinned",
        shop.files(),
        Some(&other),
        None,
        1,
    ));
    cases.push(given(
        "extends what was trusted",
        shop.files(),
        Some(&shop),
        trusted(&shop, 1),
        0,
    ));
    cases.push(given(
        "is what was trusted",
        shop.files(),
        Some(&shop),
        trusted(&shop, 3),
        0,
    ));
    cases.push(given(
        "ends before what was trusted",
        without_last_segment(),
        Some(&shop),
        trusted(&shop, 3),
        1,
    ));
    cases.push(given(
        "written anew with the key",
        rewritten(),
        Some(&shop),
        trusted(&shop, 1),
        1,
    ));
    cases.push(given(
        "written anew and nothing was trusted",
        rewritten(),
        Some(&shop),
        None,
        0,
    ));
    cases
}

fn ours(case: &Case) -> u8 {
    let trusted = case.trusted.iter().map(|(head, _)| *head).collect();
    let mut verifier = Verifier::new(Options {
        key: case.key.clone().map(Into::into),
        trusted,
        ..Options::default()
    });
    for (first, _, bytes) in &case.files.0 {
        verifier.segment(*first, bytes);
    }
    verifier.finish().exit_code()
}

fn theirs(case: &Case, scratch: &Path) -> (u8, String) {
    let journal = scratch.join("journal");
    drop(std::fs::remove_dir_all(scratch));
    std::fs::create_dir_all(&journal).expect("scratch");
    for (_, name, bytes) in &case.files.0 {
        std::fs::write(journal.join(name), bytes).expect("segment");
    }
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/verifier/verify_journal.py"
    );
    let mut command = Command::new("python3");
    command.arg(script).arg(&journal);
    for (flag, text) in [
        (
            "--key",
            case.key.as_ref().map(|key| format!("{}\n", key.vkey())),
        ),
        (
            "--trusted",
            case.trusted.as_ref().map(|(_, note)| note.clone()),
        ),
    ] {
        if let Some(text) = text {
            let path = scratch.join(flag);
            std::fs::write(&path, text).expect("option");
            command.arg(flag).arg(path);
        }
    }
    let output = command.output().expect("this test needs python3");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    match output
        .status
        .code()
        .and_then(|code| u8::try_from(code).ok())
    {
        Some(code) if !said.contains("Traceback") => (code, said),
        _ => panic!("{}: {said}", case.name),
    }
}

fn with(more: impl Fn(&mut Journal)) -> Files {
    let mut journal = Journal::shop();
    more(&mut journal);
    journal.files()
}

fn without_last_segment() -> Files {
    Files(Journal::shop().files().0.into_iter().take(1).collect())
}

/// Where the data of the second segment ends.
fn last_data(journal: &Journal) -> usize {
    journal.segments[1].1.len()
}

fn flipped(segment: usize, byte: usize) -> Files {
    let mut files = Journal::shop().files();
    files.0[segment].2[byte] ^= 4;
    files
}

fn pieces(journal: &Journal) -> Pieces {
    let segments = journal.segments.iter().map(|(first, bytes)| {
        let pieces = Frames::new(bytes).filter_map(|item| match item {
            Item::Frame {
                frame: Frame::Record(stored),
                ..
            } => Some(Piece::Record(Encoded {
                record: stored.record.to_vec(),
                detail: stored.detail.to_vec(),
                salts: [*stored.args_salt, *stored.detail_salt],
            })),
            Item::Frame {
                frame: Frame::Note(note),
                ..
            } => Some(Piece::Note(String::from_utf8_lossy(note).into_owned())),
            _ => None,
        });
        (*first, pieces.collect())
    });
    segments.collect()
}

/// Taken apart, changed, put together with correct checksums.
fn tampered(change: impl Fn(&mut Pieces)) -> Files {
    let mut pieces = pieces(&Journal::shop());
    change(&mut pieces);
    let files = pieces.into_iter().map(|(first, pieces)| {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Record(encoded) => frame::write_record(&mut bytes, &encoded),
                Piece::Note(note) => frame::write_note(&mut bytes, &note),
            }
            .expect("it was a frame before");
        }
        bytes.resize(bytes.len() + world::SLACK, 0);
        (first, format!("{first:020}.seg"), bytes)
    });
    Files(files.collect())
}

/// The pieces of the first segment.
fn records_of(pieces: &mut Pieces) -> &mut Vec<Piece> {
    &mut pieces[0].1
}

/// One of the first segment's records changed.
fn edited(index: usize, change: impl Fn(&mut Encoded)) -> Files {
    tampered(|pieces| {
        let mut records = records_of(pieces)
            .iter_mut()
            .filter_map(|piece| match piece {
                Piece::Record(encoded) => Some(encoded),
                Piece::Note(_) => None,
            });
        change(records.nth(index).expect("a record"));
    })
}

fn replace(bytes: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("it is there");
    bytes.splice(at..at + from.len(), to.iter().copied());
}

fn exchange_notes(pieces: &mut Pieces) {
    let records = records_of(pieces);
    let notes: Vec<usize> = records
        .iter()
        .enumerate()
        .filter(|(_, piece)| matches!(piece, Piece::Note(_)))
        .map(|(index, _)| index)
        .collect();
    records.swap(notes[0], notes[1]);
}

fn renamed() -> Files {
    let mut files = Journal::shop().files();
    let bytes = std::mem::take(&mut files.0[0].2);
    files.0[0].2 = std::mem::replace(&mut files.0[1].2, bytes);
    files
}

fn with_foreign_note() -> Files {
    let mut journal = Journal::shop();
    journal.add(&world::start());
    let (mut forger, ours) = (Journal::with_key(2), journal.head());
    forger.segments = journal.segments.clone();
    forger.frontier = journal.frontier.clone();
    forger.note();
    assert_eq!(forger.head(), ours);
    forger.files()
}

/// A start that is spelt differently, under a note that the right key signed.
fn signed_anew(spell: impl Fn(&mut Vec<u8>)) -> Files {
    let mut journal = Journal::shop();
    let mut other = Journal::shop();
    other.add(&world::start());
    let mut encoded = other.encoded.pop().expect("a start");
    spell(&mut encoded.record);
    journal.add_encoded(encoded).note();
    journal.files()
}

fn rewritten() -> Files {
    let mut journal = Journal::new();
    journal
        .add(&world::start())
        .add(&world::activation(1))
        .note();
    journal
        .add(&world::session_start())
        .add(&world::decision(Effect::Permit, 0));
    journal.add(&world::decision(Effect::Permit, 1)).note();
    journal.add(&world::stop()).note();
    journal.files()
}
