//! However the work of verifying is divided — over threads, over runs that remember, over signatures that are checked later —
//! the same is found.
//!
//! Replay a failure with `FARAMESH_SEED=<seed> cargo test -p faramesh-core --test division`.
#![expect(
    clippy::unwrap_used,
    reason = "what the generator makes is valid by construction; else the test must fail"
)]
#![expect(clippy::indexing_slicing, reason = "the same")]

mod world;

use faramesh_core::decision::Effect;
use faramesh_core::frame::{self, Frame, Frames, Item};
use faramesh_core::tree::Head;
use faramesh_core::verify::{
    Continuation, Level, NotTheSame, Options, Piece, Report, Signatures, Verifier, scan,
};
use world::{Files, Journal};

const JOURNALS: usize = 150;

struct Chance(u64);

impl Chance {
    fn new(test: &str) -> Chance {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let fresh = u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(32);
        let seed = std::env::var("FARAMESH_SEED").map_or(fresh, |text| text.parse().unwrap());
        println!("{test}: FARAMESH_SEED={seed}");
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A journal of a few segments, with a tail that no note covers in some.
fn journal(chance: &mut Chance) -> Journal {
    let mut journal = Journal::new();
    journal
        .add(&world::start())
        .add(&world::activation(1))
        .note();
    for _ in 0..chance.below(12) {
        for nonce in 0..=chance.below(3) {
            match chance.below(6) {
                0 => journal.add(&world::dropped()),
                1 => journal.add(&world::outcome(journal.frontier.size() - 1)),
                2 if chance.one_in(4) => journal.add(&world::shadow(journal.frontier.size())),
                3 if chance.one_in(4) => journal.add(&world::start()),
                _ => journal.add(&world::decision(Effect::Permit, nonce as u8)),
            };
            if chance.one_in(9) {
                journal.wall_ms -= 20_000;
            }
        }
        journal.note();
        if chance.one_in(3) {
            journal.roll();
        }
    }
    if chance.one_in(3) {
        journal.add(&world::dropped());
    }
    journal
}

/// Flipped bits, bytes and segments cut out, segments exchanged: nothing, or up to three of them.
fn damage(files: &mut Files, chance: &mut Chance) {
    for _ in 0..chance.below(4) {
        let segment = chance.below(files.0.len());
        let len = files.0[segment].2.len();
        match chance.below(6) {
            0 | 1 => files.0[segment].2[chance.below(len)] ^= 1 << chance.below(8),
            2 => {
                let at = chance.below(len);
                let to = (at + chance.below(900)).min(len);
                drop(files.0[segment].2.drain(at..to));
            }
            3 => exchange(files, segment, chance),
            4 => drop_frame(&mut files.0[segment].2, chance),
            _ if files.0.len() > 1 => drop(files.0.remove(segment)),
            _ => {}
        }
    }
}

fn exchange(files: &mut Files, segment: usize, chance: &mut Chance) {
    let other = chance.below(files.0.len());
    let bytes = files.0[segment].2.clone();
    files.0[segment].2 = std::mem::replace(&mut files.0[other].2, bytes);
}

fn drop_frame(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let frames: Vec<_> = Frames::new(bytes)
        .filter_map(|item| match item {
            Item::Frame { at, .. } => Some(at),
            _ => None,
        })
        .collect();
    if !frames.is_empty() {
        drop(bytes.drain(frames[chance.below(frames.len())].clone()));
    }
}

fn options(journal: &Journal, chance: &mut Chance) -> Options {
    let trusted = match chance.below(3) {
        0 => vec![journal.notes[chance.below(journal.notes.len())].2],
        1 => vec![Head {
            size: 1,
            root: [7; 32],
        }],
        _ => Vec::new(),
    };
    Options {
        key: (!chance.one_in(5)).then(|| journal.public.clone().into()),
        trusted,
        ..Options::default()
    }
}

fn one_by_one(files: &Files, options: &Options) -> Report {
    let mut verifier = Verifier::new(options.clone());
    for (first, _, bytes) in &files.0 {
        verifier.segment(*first, bytes);
    }
    verifier.finish()
}

/// All segments scanned at once, each by a thread of its own.
fn by_threads(files: &Files, options: &Options) -> Report {
    let scans: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (files.0.iter())
            .map(|(_, _, bytes)| scope.spawn(|| scan(bytes, options)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut verifier = Verifier::new(options.clone());
    for ((first, _, bytes), scanned) in files.0.iter().zip(scans) {
        let piece = Piece {
            first: *first,
            from: 0,
            bytes,
        };
        verifier.merge(&piece, scanned);
    }
    verifier.finish()
}

#[test]
fn threads_find_what_one_finds_on_journals_with_random_damage() {
    let mut chance = Chance::new("threads");
    let mut broken = 0;
    for _ in 0..JOURNALS {
        let journal = journal(&mut chance);
        let mut files = journal.files();
        damage(&mut files, &mut chance);
        let options = options(&journal, &mut chance);
        let report = one_by_one(&files, &options);
        assert_eq!(report, by_threads(&files, &options));
        broken += usize::from(report.exit_code() == 1);
    }
    assert!((20..JOURNALS).contains(&broken), "{broken} were broken");
}

#[test]
fn a_run_that_remembers_reports_what_a_whole_run_reports() {
    let mut chance = Chance::new("memory");
    let mut remembered = 0;
    for _ in 0..JOURNALS {
        let journal = journal(&mut chance);
        let files = journal.files();
        let options = Options {
            key: Some(journal.public.clone().into()),
            ..Options::default()
        };
        let until = 1 + chance.below(files.0.len());
        let mut first = Verifier::new(options.clone());
        for (first_leaf, _, bytes) in &files.0[..until] {
            first.segment(*first_leaf, bytes);
        }
        let (_, continuation) = first.finish_and_keep();
        let continuation = Continuation::from_bytes(&continuation.unwrap().to_bytes()).unwrap();
        let place = continuation.place();
        let (begin, end) = (place.start as usize, place.end as usize);
        let at = |first: u64| files.0.iter().position(|(f, ..)| *f == first).unwrap();
        let index = at(continuation.segment());
        let bytes = &files.0[index].2;
        continuation.fits(&bytes[begin..], &journal.public).unwrap();
        let mut second = Verifier::resume(options.clone(), continuation);
        let piece = Piece {
            first: files.0[index].0,
            from: end,
            bytes: &bytes[end..],
        };
        second.merge(&piece, scan(piece.bytes, &options));
        for (first_leaf, _, bytes) in &files.0[index + 1..] {
            second.segment(*first_leaf, bytes);
        }
        let whole = one_by_one(&files, &options);
        let mut again = second.finish();
        // Which signatures are checked depends on where a run ends, and on nothing else.
        assert!(again.signatures_checked >= whole.signatures_checked);
        again.signatures_checked = whole.signatures_checked;
        assert_eq!(whole, again);
        remembered += index;
    }
    assert!(remembered > 50, "some went on from a later segment");
}

#[test]
fn what_is_remembered_is_refused_where_the_journal_is_another() {
    let journal = Journal::shop();
    let files = journal.files();
    let options = Options {
        key: Some(journal.public.clone().into()),
        ..Options::default()
    };
    let mut verifier = Verifier::new(options);
    for (first, _, bytes) in &files.0 {
        verifier.segment(*first, bytes);
    }
    let continuation = verifier.finish_and_keep().1.unwrap();
    let begin = continuation.place().start as usize;
    let bytes = &files.0[1].2;
    continuation.fits(&bytes[begin..], &journal.public).unwrap();
    assert_eq!(
        continuation.fits(bytes, &journal.public),
        Err(NotTheSame::NoNote)
    );
    let mut other = Vec::new();
    frame::write_note(&mut other, &journal.sign(journal.notes[1].2)).unwrap();
    assert_eq!(
        continuation.fits(&other, &journal.public),
        Err(NotTheSame::NoNote)
    );
    let stranger = Journal::with_key(2).public;
    assert!(matches!(
        continuation.fits(&bytes[begin..], &stranger),
        Err(NotTheSame::Note(_))
    ));
    let kept = continuation.to_bytes();
    for bit in 0..kept.len() * 8 {
        let mut bad = kept.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Continuation::from_bytes(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn an_unchecked_signature_is_no_evidence_and_one_that_covers_it_is() {
    let mut journal = Journal::new();
    journal
        .add(&world::start())
        .add(&world::activation(1))
        .note();
    for nonce in 0..4 {
        journal.add(&world::decision(Effect::Permit, nonce)).note();
    }
    let report = |bytes: &[u8], signatures| {
        let mut verifier = Verifier::new(Options {
            key: Some(journal.public.clone().into()),
            signatures,
            ..Options::default()
        });
        verifier.segment(0, bytes);
        verifier.finish()
    };
    let good = journal.files().0[0].2.clone();
    let ends = report(&good, Signatures::Ends);
    assert_eq!(
        (ends.exit_code(), ends.notes, ends.signatures_checked),
        (0, 5, 1)
    );
    assert_eq!(report(&good, Signatures::Every).signatures_checked, 5);
    // The signatures from the third note on are others: with a correct checksum only their check can find it.
    let forge = |notes: std::ops::Range<usize>| {
        let mut bytes = Vec::new();
        let mut seen = 0;
        for item in Frames::new(&good) {
            let Item::Frame { at, frame } = item else {
                break;
            };
            match frame {
                Frame::Note(note) if notes.contains(&seen) => {
                    let note = String::from_utf8_lossy(note);
                    let (text, _) = note.split_once("\n\n").unwrap();
                    let other = journal.sign(journal.notes[(seen + 1) % 5].2);
                    let (_, signature) = other.split_once("\n\n").unwrap();
                    frame::write_note(&mut bytes, &format!("{text}\n\n{signature}")).unwrap();
                }
                _ => bytes.extend_from_slice(&good[at]),
            }
            seen += usize::from(matches!(frame, Frame::Note(_)));
        }
        bytes
    };
    let amid = forge(2..3);
    assert_eq!(report(&amid, Signatures::Ends).exit_code(), 0);
    assert_eq!(report(&amid, Signatures::Every).exit_code(), 1);
    // Where the last does not hold, those before it are looked at until one does; none of the forged ones is evidence.
    let end = report(&forge(3..5), Signatures::Ends);
    assert_eq!(
        (end.exit_code(), end.signed, end.signatures_checked),
        (1, 4, 3)
    );
    let wrong: Vec<_> = (end.findings.iter())
        .filter(|finding| finding.level == Level::Broken)
        .collect();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert_eq!(report(&forge(0..5), Signatures::Ends).signed, 0);
}
