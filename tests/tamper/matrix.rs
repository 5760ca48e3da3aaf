//! One test for each tampering: what the adversary holds, where it is found, and what is not found without a head or a
//! witness. The genuine journal is always the same shop's: two segments, two epochs, ten records.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use faramesh_core::checkpoint::KeyName;
use faramesh_core::cosign::{WitnessKey, Witnesses};
use faramesh_core::decision::Effect;
use faramesh_core::record::{
    Attestation, Body, Encoded, Erasure, Gap, LogEvent, Removal, Snapshot,
};
use faramesh_core::tree::{self, Hash};
use faramesh_core::verify::{
    Answer, Fault, Finding, Level, Options, Quorum, Report, SpanKind, Verifier,
};

use crate::journal::{
    Entry, Files, Journal, Keys, POLICY, Piece, activation, decision, decision_under, entry, files,
    log, places, start, stop,
};

const KEYS: Keys = Keys::of("shop", 1);

/// The genuine journal's last note that witnesses signed, counted from 0.
const ATTESTED: usize = 2;

/// Records 0 and 1, 2 and 3, 4 and 5 (the epoch's), then in the second segment 6 and 7, 8 and 9.
fn shop() -> Vec<Entry> {
    vec![
        start(),
        activation(1, POLICY, "enforce"),
        Entry::Note,
        decision(Effect::Permit, 2),
        decision(Effect::Deny, 3),
        Entry::Note,
        decision(Effect::Permit, 4),
        Entry::Epoch,
        Entry::Note,
        Entry::Roll,
        decision(Effect::Permit, 6),
        decision(Effect::Permit, 7),
        Entry::Note,
        decision(Effect::Defer, 8),
        stop(),
        Entry::Note,
    ]
}

fn genuine() -> Journal {
    Journal::genuine(&shop(), &KEYS)
}

/// Written anew, after some change, by who holds the origin's key and that of the present epoch.
fn forged(change: impl Fn(&mut Vec<Entry>)) -> Journal {
    let mut entries = shop();
    change(&mut entries);
    Journal::write(&entries, &KEYS, 2)
}

/// The same by the log's rightful owner, or by who held every key from the beginning.
fn signed(change: impl Fn(&mut Vec<Entry>)) -> Journal {
    let mut entries = shop();
    change(&mut entries);
    Journal::genuine(&entries, &KEYS)
}

/// The frames changed by who holds no key: checksums are right again.
fn tampered(change: impl Fn(&mut Vec<Piece>)) -> Vec<Piece> {
    let mut pieces = genuine().pieces;
    change(&mut pieces);
    pieces
}

fn verify(files: &Files, change: impl Fn(&mut Options)) -> Report {
    let mut options = Options {
        key: Some(KEYS.pinned().into()),
        ..Options::default()
    };
    change(&mut options);
    let mut verifier = Verifier::new(options);
    for (first, bytes) in files {
        verifier.segment(*first, bytes);
    }
    verifier.finish()
}

/// What each level says of a journal that was tampered with.
struct Levels {
    /// The journal and the pinned key alone.
    alone: Report,
    /// And the head of the genuine journal, which the auditor saw before.
    with_head: Report,
    /// And a checkpoint that witnesses signed.
    with_witness: Report,
}

fn levels(files: &Files) -> Levels {
    let genuine = genuine();
    let levels = Levels {
        alone: verify(files, |_| {}),
        with_head: verify(files, |options| options.trusted = vec![genuine.head()]),
        with_witness: verify(files, |options| {
            options.attested = vec![genuine.heads[ATTESTED]]
        }),
    };
    let head = KEYS.note(genuine.head(), 2);
    agrees(files, &[], &levels.alone);
    agrees(files, &[("--trusted", head)], &levels.with_head);
    levels
}

/// The verifier that knows the format's page alone comes to the same verdict.
#[track_caller]
fn agrees(files: &Files, given: &[(&str, String)], report: &Report) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tamper-{number}"));
    drop(fs::remove_dir_all(&scratch));
    let journal = scratch.join("journal");
    fs::create_dir_all(&journal).unwrap();
    for (first, bytes) in files {
        fs::write(journal.join(format!("{first:020}.seg")), bytes).unwrap();
    }
    let mut command = Command::new("python3");
    command.arg(VERIFIER).arg(&journal);
    let key = [("--key", KEYS.pinned().to_string())];
    for (index, (flag, text)) in key.iter().chain(given).enumerate() {
        let path = scratch.join(index.to_string());
        fs::write(&path, text).unwrap();
        command.arg(flag).arg(path);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(!faults.contains("Traceback"), "{faults}");
    let code = output.status.code();
    assert_eq!(
        code,
        Some(report.exit_code().into()),
        "{said}{faults}{report:#?}"
    );
    fs::remove_dir_all(&scratch).unwrap();
}

const VERIFIER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/verifier/verify_journal.py"
);

impl Levels {
    /// The journal contradicts itself, and the first place that is named is this one.
    #[track_caller]
    fn found_alone(&self, pieces: &[Piece], fault: Fault, seq: u64, piece: usize) {
        let found = first_broken(&self.alone);
        assert_eq!((found.fault, found.seq), (fault, seq), "{:#?}", self.alone);
        let place = places(pieces)[&piece].clone();
        assert_eq!((found.segment.clone(), found.offset), place, "{found:?}");
        assert_eq!(
            (self.alone.exit_code(), self.alone.self_consistent),
            (1, Answer::No)
        );
        assert_eq!(self.with_head.exit_code(), 1);
    }

    /// Nothing in the journal contradicts it.
    #[track_caller]
    fn not_found_alone(&self) {
        assert_eq!(self.alone.exit_code(), 0, "{:#?}", self.alone);
        assert_eq!(self.alone.self_consistent, Answer::Yes);
    }

    /// It is found by the head that was trusted before, and is not mixed with the first statement.
    #[track_caller]
    fn found_by_the_head(&self) {
        assert_eq!(
            self.with_head.extends_trusted,
            Answer::No,
            "{:#?}",
            self.with_head
        );
        assert_eq!(self.with_head.exit_code(), 1);
        assert_eq!(self.with_head.self_consistent, self.alone.self_consistent);
        assert_eq!(
            first_broken_of(&self.with_head, Fault::Trusted).fault,
            Fault::Trusted
        );
    }

    #[track_caller]
    fn found_by_witnesses(&self) {
        assert_eq!(
            self.with_witness.holds_attested,
            Answer::No,
            "{:#?}",
            self.with_witness
        );
        assert_eq!(
            (self.with_witness.exit_code(), self.with_witness.attested),
            (1, None)
        );
    }

    /// What witnesses signed is still there: they signed less.
    #[track_caller]
    fn not_found_by_witnesses(&self) {
        assert_eq!(
            self.with_witness.holds_attested,
            Answer::Yes,
            "{:#?}",
            self.with_witness
        );
    }
}

#[track_caller]
fn first_broken(report: &Report) -> &Finding {
    let mut broken = report.findings.iter().filter(|f| f.level == Level::Broken);
    broken
        .next()
        .unwrap_or_else(|| panic!("nothing broken in {report:#?}"))
}

#[track_caller]
fn first_broken_of(report: &Report, fault: Fault) -> &Finding {
    let mut broken = report
        .findings
        .iter()
        .filter(|f| f.level == Level::Broken && f.fault == fault);
    broken
        .next()
        .unwrap_or_else(|| panic!("no {fault:?} in {report:#?}"))
}

/// The index of the record with this number among the pieces.
fn at(pieces: &[Piece], seq: usize) -> usize {
    let mut records = (0..pieces.len()).filter(|index| matches!(pieces[*index], Piece::Record(_)));
    records.nth(seq).unwrap()
}

fn note_at(pieces: &[Piece], number: usize) -> usize {
    let mut notes = (0..pieces.len()).filter(|index| matches!(pieces[*index], Piece::Note(_)));
    notes.nth(number).unwrap()
}

fn record(pieces: &mut [Piece], seq: usize) -> &mut Encoded {
    let index = at(pieces, seq);
    match &mut pieces[index] {
        Piece::Record(encoded) => encoded,
        _ => panic!("not a record"),
    }
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let place = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    let place = place.unwrap();
    bytes.splice(place..place + from.len(), to.bytes());
}

/// The same, in a journal that goes on after its stop.
fn goes_on(entries: &mut Vec<Entry>, more: Vec<Entry>) {
    entries.push(start());
    entries.extend(more);
    entries.push(Entry::Note);
}

#[test]
fn the_genuine_journal_holds_at_every_level() {
    let genuine = genuine();
    let levels = levels(&genuine.files());
    levels.not_found_alone();
    assert_eq!(levels.with_head.extends_trusted, Answer::Yes);
    assert_eq!(levels.with_head.exit_code(), 0);
    levels.not_found_by_witnesses();
    assert_eq!(levels.with_witness.attested, Some(6));
    assert_eq!(
        (
            levels.alone.records,
            levels.alone.signed,
            levels.alone.notes
        ),
        (10, 10, 5)
    );
}

#[test]
fn an_edited_record_is_found_in_the_journal_alone() {
    let edited = |seq: usize, from: &str, to: &str| {
        tampered(|pieces| replace(&mut record(pieces, seq).record, from, to))
    };
    let pieces = edited(2, "\"permit\"", "\"defer\"");
    levels(&files(&pieces)).found_alone(&pieces, Fault::Link, 2, at(&pieces, 2));
    // Behind the last of a batch comes its checkpoint: the change lies in one of the records that it covers first.
    let pieces = edited(3, "\"deny\"", "\"defer\"");
    levels(&files(&pieces)).found_alone(&pieces, Fault::Root, 2, at(&pieces, 2));
    // Nothing comes after the last record but its checkpoint.
    let pieces = tampered(|pieces| replace(&mut record(pieces, 9).record, "drain", "dream"));
    levels(&files(&pieces)).found_alone(&pieces, Fault::Root, 8, at(&pieces, 8));
}

#[test]
fn an_edited_argument_or_salt_is_found_in_the_journal_alone() {
    let pieces = tampered(|pieces| replace(&mut record(pieces, 3).detail, "80", "90"));
    levels(&files(&pieces)).found_alone(&pieces, Fault::Detail, 3, at(&pieces, 3));
    let pieces = tampered(|pieces| record(pieces, 3).salts[0] = [9; 16]);
    levels(&files(&pieces)).found_alone(&pieces, Fault::Detail, 3, at(&pieces, 3));
}

#[test]
fn an_inserted_record_is_found_in_the_journal_alone() {
    let pieces = tampered(|pieces| {
        let mut copy = record(pieces, 3).clone();
        replace(&mut copy.record, "\"deny\"", "\"defer\"");
        let index = at(pieces, 3);
        pieces.insert(index, Piece::Record(copy));
    });
    levels(&files(&pieces)).found_alone(&pieces, Fault::Number, 4, at(&pieces, 4));
}

#[test]
fn a_record_taken_out_of_the_middle_is_found_in_the_journal_alone() {
    let pieces = tampered(|pieces| {
        let index = at(pieces, 2);
        pieces.remove(index);
    });
    levels(&files(&pieces)).found_alone(&pieces, Fault::Number, 2, at(&pieces, 2));
    // And a whole segment.
    let mut files = genuine().files();
    files.remove(0);
    let report = verify(&files, |_| {});
    let found = first_broken(&report);
    assert_eq!(
        (found.fault, found.seq, found.offset),
        (Fault::Removal, 0, 0)
    );
}

#[test]
fn records_that_changed_places_are_found_in_the_journal_alone() {
    let pieces = tampered(|pieces| {
        let (one, other) = (at(pieces, 2), at(pieces, 3));
        pieces.swap(one, other);
    });
    levels(&files(&pieces)).found_alone(&pieces, Fault::Number, 2, at(&pieces, 2));
}

#[test]
fn a_tail_cut_at_a_checkpoint_is_found_by_a_head_or_a_witness_alone() {
    let pieces = tampered(|pieces| pieces.truncate(note_at(pieces, 3) + 1));
    let levels = levels(&files(&pieces));
    levels.not_found_alone();
    levels.found_by_the_head();
    levels.not_found_by_witnesses();
    let pieces = tampered(|pieces| pieces.truncate(note_at(pieces, 1) + 1));
    self::levels(&files(&pieces)).found_by_witnesses();
}

#[test]
fn a_tail_cut_amid_a_batch_leaves_records_that_are_said_to_be_unsigned() {
    let pieces = tampered(|pieces| pieces.truncate(note_at(pieces, 4)));
    let levels = levels(&files(&pieces));
    levels.not_found_alone();
    let unsigned: Vec<_> = (levels.alone.findings.iter())
        .filter(|finding| finding.fault == Fault::Unsigned)
        .collect();
    assert_eq!((levels.alone.unsigned_tail, unsigned.len()), (2, 1));
    assert_eq!((unsigned[0].level, unsigned[0].seq), (Level::Warning, 8));
    assert_eq!(
        (unsigned[0].segment.clone(), unsigned[0].offset),
        places(&pieces)[&at(&pieces, 8)]
    );
    levels.found_by_the_head();
}

#[test]
fn a_journal_that_is_gone_is_found_by_a_head_or_a_witness() {
    let levels = levels(&Vec::new());
    assert_eq!((levels.alone.records, levels.alone.exit_code()), (0, 0));
    levels.found_by_the_head();
    levels.found_by_witnesses();
}

#[test]
fn a_suffix_written_anew_in_the_same_length_is_found_alone_without_the_key() {
    let other = forged(|entries| {
        entries[10] = decision(Effect::Permit, 9);
        entries[11] = decision(Effect::Permit, 1);
    });
    // Records and chain are whole; the notes are the genuine ones, because no others can be made.
    let pieces = tampered(|pieces| {
        for (index, piece) in other.pieces.iter().enumerate() {
            if let Piece::Record(_) = piece {
                pieces[index] = piece.clone();
            }
        }
    });
    assert_eq!(pieces.len(), genuine().pieces.len());
    levels(&files(&pieces)).found_alone(&pieces, Fault::Root, 6, at(&pieces, 6));
}

#[test]
fn a_suffix_of_the_present_epoch_signed_anew_is_found_by_the_head_alone() {
    let forged = forged(|entries| entries[10] = decision(Effect::Deny, 6));
    let levels = levels(&forged.files());
    // The first three notes were made by the first epoch's key, which is gone; here they are the genuine ones.
    let mut pieces = genuine().pieces;
    pieces.truncate(10);
    pieces.extend(forged.pieces.iter().skip(10).cloned());
    let levels_of_the_splice = self::levels(&files(&pieces));
    levels_of_the_splice.not_found_alone();
    levels_of_the_splice.found_by_the_head();
    levels_of_the_splice.not_found_by_witnesses();
    // Without them it is found at once: see the next test.
    assert_eq!(levels.alone.exit_code(), 1);
}

#[test]
fn what_an_earlier_epoch_signed_cannot_be_signed_anew_with_the_keys_of_today() {
    let forged = forged(|entries| entries[3] = decision(Effect::Deny, 2));
    let levels = levels(&forged.files());
    let first = note_at(&forged.pieces, 2);
    levels.found_alone(&forged.pieces, Fault::Epoch, 6, first);
    levels.found_by_witnesses();
    // Who pins the origin's key alone does not see it.
    let report = verify(&forged.files(), |options| {
        options.key = Some(KEYS.origin().into());
    });
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn history_signed_anew_with_every_key_from_the_beginning_is_found_by_a_head_or_a_witness_alone() {
    let levels = levels(&signed(|entries| entries[3] = decision(Effect::Deny, 2)).files());
    levels.not_found_alone();
    levels.found_by_the_head();
    levels.found_by_witnesses();
}

#[test]
fn an_old_copy_in_the_journals_place_is_found_by_a_head_or_a_witness_alone() {
    let old = Journal::genuine(&shop()[..6], &KEYS);
    let levels = levels(&old.files());
    levels.not_found_alone();
    levels.found_by_the_head();
    levels.found_by_witnesses();
}

#[test]
fn each_branch_of_a_fork_holds_alone_and_contradicts_the_other_ones_head() {
    let branch = signed(|entries| {
        entries[10] = decision(Effect::Deny, 6);
        goes_on(entries, vec![decision(Effect::Permit, 1)]);
    });
    let levels = levels(&branch.files());
    levels.not_found_alone();
    levels.found_by_the_head();
    levels.not_found_by_witnesses();
    let other = verify(&genuine().files(), |options| {
        options.trusted = vec![branch.heads[3]]
    });
    assert_eq!(other.extends_trusted, Answer::No);
}

#[test]
fn another_stacks_records_are_found_in_the_journal_alone() {
    let other = Journal::genuine(&shop(), &Keys::of("bank", 7));
    let pieces = tampered(|pieces| {
        pieces.truncate(10);
        pieces.extend(other.pieces.iter().skip(10).cloned());
    });
    let levels = levels(&files(&pieces));
    assert_eq!(first_broken_of(&levels.alone, Fault::Stack).seq, 6);
    levels.found_alone(&pieces, Fault::Link, 5, at(&pieces, 5));
}

#[test]
fn a_record_behind_the_stop_is_found_in_the_journal_alone() {
    let forged = signed(|entries| {
        entries.push(decision(Effect::Permit, 9));
        entries.push(Entry::Note);
    });
    let index = at(&forged.pieces, 10);
    levels(&forged.files()).found_alone_by_head_too(&forged.pieces, Fault::Story, 10, index);
}

impl Levels {
    /// The journal contradicts itself, and holds what was trusted.
    #[track_caller]
    fn found_alone_by_head_too(&self, pieces: &[Piece], fault: Fault, seq: u64, piece: usize) {
        assert_eq!(self.with_head.extends_trusted, Answer::Yes);
        self.found_alone(pieces, fault, seq, piece);
    }
}

#[test]
fn a_policy_that_no_activation_explains_is_found_in_the_journal_alone() {
    let forged = signed(|entries| {
        goes_on(entries, vec![decision_under(Effect::Permit, 1, [9; 32])]);
    });
    let index = at(&forged.pieces, 11);
    levels(&forged.files()).found_alone(&forged.pieces, Fault::Policy, 11, index);
    // So is one that was replaced before.
    let forged = signed(|entries| {
        goes_on(
            entries,
            vec![
                activation(2, [9; 32], "enforce"),
                decision_under(Effect::Permit, 1, POLICY),
            ],
        );
    });
    let index = at(&forged.pieces, 12);
    levels(&forged.files()).found_alone(&forged.pieces, Fault::Policy, 12, index);
}

#[test]
fn an_older_activation_put_in_force_again_is_found_in_the_journal_alone() {
    let forged = signed(|entries| goes_on(entries, vec![activation(1, POLICY, "enforce")]));
    let index = at(&forged.pieces, 11);
    levels(&forged.files()).found_alone(&forged.pieces, Fault::Policy, 11, index);
}

#[test]
fn clocks_that_run_back_are_named_and_the_evidence_holds() {
    let journal = signed(|entries| {
        let Entry::Record { body, .. } = decision(Effect::Permit, 1) else {
            panic!("a record")
        };
        goes_on(
            entries,
            vec![Entry::Record {
                body,
                step_ms: -60_000,
            }],
        );
    });
    let report = verify(&journal.files(), |_| {});
    assert_eq!(report.exit_code(), 0);
    let clock: Vec<_> = (report.findings.iter())
        .filter(|finding| finding.fault == Fault::Clock)
        .collect();
    assert_eq!(
        (clock.len(), clock[0].level, clock[0].seq),
        (1, Level::Warning, 11)
    );
    assert_eq!(
        (clock[0].segment.clone(), clock[0].offset),
        places(&journal.pieces)[&at(&journal.pieces, 11)]
    );
}

#[test]
fn spans_that_were_not_enforcing_are_named() {
    let journal = signed(|entries| {
        goes_on(
            entries,
            vec![
                activation(2, POLICY, "shadow"),
                decision(Effect::Permit, 1),
                activation(3, POLICY, "enforce"),
            ],
        );
    });
    let report = verify(&journal.files(), |_| {});
    assert_eq!(report.exit_code(), 0);
    let spans: Vec<_> = (report.spans.iter())
        .map(|span| (span.kind, span.from, span.to))
        .collect();
    assert_eq!(spans, [(SpanKind::NotEnforcing, 11, 12)]);
}

#[test]
fn a_gap_and_dropped_calls_are_reported_for_ever() {
    let journal = signed(|entries| {
        let gap = LogEvent::Gap(Gap {
            confirmed: 12,
            root: [4; 32],
            kept: 10,
            uid: 0,
            reason: "the disk is lost".into(),
        });
        let dropped = Body::Dropped {
            counts: vec![("s-1".into(), "CALL_INVALID".into(), 3)],
        };
        goes_on(entries, vec![log(gap), entry(dropped)]);
        goes_on(entries, vec![decision(Effect::Permit, 1)]);
    });
    let report = verify(&journal.files(), |_| {});
    assert_eq!((report.exit_code(), report.dropped_calls), (0, 3));
    for (fault, level, seq) in [
        (Fault::Gap, Level::Warning, 11),
        (Fault::Dropped, Level::Info, 12),
    ] {
        assert!(
            (report.findings.iter()).any(|f| (f.fault, f.level, f.seq) == (fault, level, seq)),
            "{fault:?} in {report:#?}"
        );
    }
}

#[test]
fn a_checkpoint_moved_repeated_or_of_another_key_is_found_in_the_journal_alone() {
    let pieces = tampered(|pieces| {
        let (one, other) = (note_at(pieces, 0), note_at(pieces, 1));
        pieces.swap(one, other);
    });
    levels(&files(&pieces)).found_alone(&pieces, Fault::Checkpoint, 2, note_at(&pieces, 0));
    let pieces = tampered(|pieces| {
        let index = note_at(pieces, 4);
        let again = pieces[index].clone();
        pieces.push(again);
    });
    levels(&files(&pieces)).found_alone(&pieces, Fault::Checkpoint, 10, note_at(&pieces, 5));
    let stranger = Journal::genuine(&shop(), &Keys::of("shop", 9));
    let pieces = tampered(|pieces| {
        let index = note_at(pieces, 4);
        pieces[index] = stranger.pieces[index].clone();
    });
    levels(&files(&pieces)).found_alone(&pieces, Fault::Signature, 10, note_at(&pieces, 4));
}

#[test]
fn a_checkpoint_taken_out_of_the_middle_changes_nothing_that_is_proven() {
    let pieces = tampered(|pieces| {
        let index = note_at(pieces, 1);
        pieces.remove(index);
    });
    let levels = levels(&files(&pieces));
    levels.not_found_alone();
    assert_eq!(levels.with_head.exit_code(), 0);
    assert_eq!((levels.alone.records, levels.alone.signed), (10, 10));
}

#[test]
fn an_epoch_that_its_predecessor_did_not_vouch_for_is_found_in_the_journal_alone() {
    // The note that covers the epoch's record is made anew with the new epoch's key and the origin's.
    let forged = forged(|_| {});
    let pieces = tampered(|pieces| {
        let index = note_at(pieces, 2);
        pieces[index] = forged.pieces[index].clone();
    });
    levels(&files(&pieces)).found_alone(&pieces, Fault::Epoch, 6, note_at(&pieces, 2));
}

#[test]
fn torn_and_damaged_bytes_are_told_apart_by_the_checkpoint_behind_them() {
    let genuine = genuine();
    let mut files = genuine.files();
    let place = places(&genuine.pieces)[&at(&genuine.pieces, 3)].1;
    files[0].1[place + 40] ^= 1;
    let report = verify(&files, |_| {});
    let found = first_broken(&report);
    assert_eq!(
        (found.fault, found.seq, found.offset),
        (Fault::Frame, 3, place)
    );
    let mut files = genuine.files();
    let place = places(&genuine.pieces)[&note_at(&genuine.pieces, 4)].1;
    files[1].1[place + 40] ^= 1;
    let report = verify(&files, |_| {});
    assert_eq!((report.exit_code(), report.signed), (2, 8));
}

// ---- what is gone ---------------------------------------------------------------------------------------------------

/// The second segment and what a start behind it says.
fn after_removal(to: u64, in_force: Option<(u64, Hash)>) -> Journal {
    signed(move |entries| {
        let removal = LogEvent::Removal(Removal {
            from: 0,
            to,
            in_force,
            reason: "retention: 180 days".into(),
        });
        goes_on(entries, vec![log(removal)]);
    })
}

/// The first segment gone, with so many of its hashes.
fn without_the_first(journal: &Journal, hashes: usize) -> Report {
    let mut verifier = Verifier::new(Options {
        key: Some(KEYS.pinned().into()),
        trusted: vec![journal.heads[1]],
        ..Options::default()
    });
    for leaf in journal.leaves.iter().take(hashes) {
        verifier.removed_leaf(*leaf);
    }
    for (first, bytes) in journal.files().iter().skip(1) {
        verifier.segment(*first, bytes);
    }
    verifier.finish()
}

#[test]
fn bodies_that_a_removal_names_are_proven_by_their_hashes_and_unexplained_ones_are_broken() {
    let journal = after_removal(6, Some((1, POLICY)));
    let report = without_the_first(&journal, 6);
    assert_eq!((report.exit_code(), report.removed), (0, 6), "{report:#?}");
    assert_eq!(report.extends_trusted, Answer::Yes);
    // Without their hashes nothing can be computed again.
    let report = without_the_first(&journal, 0);
    assert_eq!(
        (report.exit_code(), report.self_consistent),
        (2, Answer::CannotTell)
    );
    let kept = KEYS.note(journal.heads[1], 1);
    agrees(
        &journal.files()[1..].to_vec(),
        &[("--trusted", kept)],
        &report,
    );
    // With others the next root is another.
    let mut other = journal.clone();
    other.leaves[2] = [7; 32];
    assert_eq!(without_the_first(&other, 6).self_consistent, Answer::No);
    // No record, a record of fewer, or one that names another policy.
    for wrong in [
        genuine(),
        after_removal(4, Some((1, POLICY))),
        after_removal(6, Some((1, [9; 32]))),
    ] {
        let report = without_the_first(&wrong, 6);
        assert_eq!(report.self_consistent, Answer::No, "{report:#?}");
    }
}

#[test]
fn a_detail_that_an_erasure_names_may_be_gone_and_no_other() {
    let erasure = |spans: Vec<(u64, u64)>| {
        signed(move |entries| {
            let erasure = LogEvent::Erasure(Erasure {
                spans: spans.clone(),
                uid: 0,
                reason: "subject 4711".into(),
            });
            goes_on(entries, vec![log(erasure)]);
        })
    };
    let emptied = |journal: &Journal, seqs: &[usize]| {
        let mut pieces = journal.pieces.clone();
        for seq in seqs {
            let record = record(&mut pieces, *seq);
            record.detail.clear();
            record.salts = [[0; 16]; 2];
        }
        let report = verify(&files(&pieces), |_| {});
        agrees(&files(&pieces), &[], &report);
        (pieces, report)
    };
    assert_eq!(emptied(&erasure(vec![(2, 4)]), &[2, 3, 4]).1.exit_code(), 0);
    assert_eq!(
        emptied(&erasure(vec![(2, 2), (4, 4), (6, 8)]), &[2, 4, 7])
            .1
            .exit_code(),
        0
    );
    // Named and still there.
    assert_eq!(emptied(&erasure(vec![(2, 4)]), &[]).1.exit_code(), 0);
    for (spans, seqs, first) in [
        (vec![(2, 3)], vec![2, 3, 4], 4),
        (vec![(3, 4)], vec![2, 3, 4], 2),
        (vec![(2, 2), (4, 4)], vec![2, 3, 4], 3),
        (vec![(6, 6)], vec![2], 2),
    ] {
        let (pieces, report) = emptied(&erasure(spans), &seqs);
        let found = first_broken(&report);
        assert_eq!(
            (found.fault, found.seq),
            (Fault::Erasure, first),
            "{report:#?}"
        );
        let place = places(&pieces)[&at(&pieces, first as usize)].clone();
        assert_eq!((found.segment.clone(), found.offset), place);
    }
    // A detail taken away with its salts left is not an erasure.
    let pieces = tampered(|pieces| record(pieces, 3).detail.clear());
    levels(&files(&pieces)).found_alone(&pieces, Fault::Detail, 3, at(&pieces, 3));
}

#[test]
fn a_record_of_what_is_yet_to_come_is_found_in_the_journal_alone() {
    let forward: [(LogEvent, Fault); 4] = [
        (
            LogEvent::Gap(Gap {
                confirmed: 60,
                root: [0; 32],
                kept: 50,
                uid: 0,
                reason: String::new(),
            }),
            Fault::Gap,
        ),
        (
            LogEvent::Erasure(Erasure {
                spans: vec![(50, 60)],
                uid: 0,
                reason: String::new(),
            }),
            Fault::Erasure,
        ),
        (
            LogEvent::Removal(Removal {
                from: 0,
                to: 50,
                in_force: None,
                reason: String::new(),
            }),
            Fault::Removal,
        ),
        (
            LogEvent::Snapshot(Snapshot {
                size: 50,
                digest: [0; 32],
            }),
            Fault::Story,
        ),
    ];
    for (event, fault) in forward {
        let forged = signed(|entries| goes_on(entries, vec![log(event.clone())]));
        let index = at(&forged.pieces, 11);
        levels(&forged.files()).found_alone(&forged.pieces, fault, 11, index);
    }
}

// ---- witnesses ------------------------------------------------------------------------------------------------------

struct Witness {
    secret: ed25519_dalek::SigningKey,
    key: WitnessKey,
}

impl Witness {
    fn new(seed: u8, name: &str) -> Witness {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let bytes = secret.verifying_key().to_bytes();
        let key = WitnessKey::new(KeyName::new(name).unwrap(), &bytes).unwrap();
        Witness { secret, key }
    }

    /// The note with this witness's line.
    fn cosign(&self, note: &str) -> String {
        use ed25519_dalek::Signer as _;
        let opened = KEYS.origin().open(note.as_bytes()).unwrap();
        let line = self
            .key
            .cosign(&opened, 1_790_000_000, |text| {
                self.secret.sign(text).to_bytes()
            })
            .unwrap();
        format!("{note}{line}")
    }
}

/// The genuine journal goes on with a record that says who signed its note.
fn attested(note: &str, head: tree::Head) -> Journal {
    let event = LogEvent::Attestation(Attestation {
        size: head.size,
        root: head.root,
        witnesses: vec!["w1.example/a".into()],
        note: note.to_owned(),
    });
    signed(|entries| goes_on(entries, vec![log(event.clone())]))
}

#[test]
fn an_attestation_counts_with_pinned_keys_and_a_forged_one_is_broken() {
    let (one, other) = (
        Witness::new(21, "w1.example/a"),
        Witness::new(22, "w2.example/b"),
    );
    let genuine = genuine();
    let Piece::Note(note) = &genuine.pieces[note_at(&genuine.pieces, 3)] else {
        panic!("a note")
    };
    let head = genuine.heads[3];
    let pinned = |count| {
        let keys = vec![one.key.clone(), other.key.clone()];
        move |options: &mut Options| {
            options.quorum = Some(Quorum {
                witnesses: Witnesses::new(keys.clone()).unwrap(),
                count,
            });
        }
    };
    let single = attested(&one.cosign(note), head).files();
    let report = verify(&single, pinned(1));
    assert_eq!(
        (report.exit_code(), report.attested),
        (0, Some(8)),
        "{report:#?}"
    );
    let keys = format!("{}\n{}\n", one.key.vkey(), other.key.vkey());
    agrees(&single, &[("--witness", keys)], &report);
    // Two are needed and one signed; nobody is pinned.
    assert_eq!(verify(&single, pinned(2)).attested, None);
    assert_eq!(verify(&single, |_| {}).attested, None);
    let both = attested(&other.cosign(&one.cosign(note)), head).files();
    assert_eq!(verify(&both, pinned(2)).attested, Some(8));
    // The record claims what nobody signed, or another root than the journal's.
    let claimed = attested(note, head).files();
    assert_eq!(verify(&claimed, pinned(1)).attested, None);
    let mallory = Witness::new(66, "w1.example/a");
    let forged = attested(&mallory.cosign(note), head).files();
    assert_eq!(verify(&forged, pinned(1)).attested, None);
    let other_root = tree::Head {
        root: [8; 32],
        ..head
    };
    let report = verify(&attested(&one.cosign(note), other_root).files(), pinned(1));
    assert_eq!(first_broken(&report).fault, Fault::Attested);
    assert_eq!(report.attested, None);
}
