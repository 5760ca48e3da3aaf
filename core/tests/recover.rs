//! What recovery keeps, cuts and refuses.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that goes wrong may say so in any way"
)]

mod world;

use faramesh_core::decision::Effect;
use faramesh_core::frame;
use faramesh_core::recover::{Halt, Position, Recovery, kept_records, recover};
use faramesh_core::tree::{self, Head};
use world::{Files, Journal};

const NOTHING: Head = Head {
    size: 0,
    root: [0; 32],
};

fn empty() -> Head {
    Head {
        root: tree::empty_root(),
        ..NOTHING
    }
}

/// The heads that a signer could have confirmed: none, and each note's.
fn heads(journal: &Journal) -> Vec<Head> {
    let mut heads = vec![empty()];
    heads.extend(journal.notes.iter().map(|(_, _, head)| *head));
    heads
}

fn end_of_note(journal: &Journal, index: usize) -> Position {
    let (segment, range, _) = &journal.notes[index];
    Position {
        segment: *segment,
        offset: range.end,
    }
}

/// The last note that ends at or before a position, as an index and its size.
fn last_note_before(journal: &Journal, at: Position) -> Option<usize> {
    (0..journal.notes.len())
        .rev()
        .find(|index| end_of_note(journal, *index) <= at)
}

fn size_of(journal: &Journal, note: Option<usize>) -> u64 {
    note.map_or(0, |index| journal.notes[index].2.size)
}

#[test]
fn a_whole_journal_is_kept_whatever_the_signer_confirmed_last() {
    let journal = Journal::shop();
    let files = journal.files();
    for head in heads(&journal) {
        let recovery = recover(&files.segments(), &head, &journal.public).unwrap();
        assert_eq!(recovery.keep, Some(end_of_note(&journal, 3)));
        assert_eq!(recovery.frontier, journal.frontier);
        assert_eq!(recovery.last_leaf, journal.prev);
        assert_eq!((recovery.cut_bytes, recovery.torn), (0, None));
        let adopt = recovery.adopt.clone();
        assert_eq!(adopt.is_some(), head.size < journal.head().size);
        if let Some(adopt) = adopt {
            assert_eq!(adopt.from_size, head.size);
            assert_eq!(Some(adopt.note), recovery.note);
            assert_eq!(adopt.leaf_hashes.last(), Some(&journal.prev));
            assert_eq!(
                adopt.leaf_hashes.len() as u64,
                journal.head().size - head.size
            );
        }
        let kept: Vec<_> = kept_records(&files.segments(), recovery.keep)
            .map(|stored| stored.record.to_vec())
            .collect();
        assert_eq!(
            kept,
            journal
                .encoded
                .iter()
                .map(|encoded| encoded.record.clone())
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn records_after_the_last_note_are_cut_because_nobody_was_answered() {
    let mut journal = Journal::shop();
    let (size, end) = (journal.head().size, end_of_note(&journal, 3));
    journal
        .add(&world::start())
        .add(&world::decision(Effect::Permit, 9));
    let files = journal.files();
    let head = journal.notes[3].2;
    let recovery = recover(&files.segments(), &head, &journal.public).unwrap();
    assert_eq!(
        (recovery.keep, recovery.frontier.size(), recovery.adopt),
        (Some(end), size, None)
    );
    assert_eq!(
        recovery.cut_bytes as usize,
        journal.segments[1].1.len() - end.offset
    );
    assert_eq!(
        kept_records(&files.segments(), recovery.keep).count() as u64,
        size
    );
}

#[test]
fn a_first_batch_without_a_note_leaves_an_empty_journal() {
    let mut journal = Journal::new();
    journal.add(&world::start()).add(&world::activation(1));
    let recovery = recover(&journal.files().segments(), &empty(), &journal.public).unwrap();
    assert_eq!(
        (recovery.keep, recovery.frontier.size(), recovery.last_leaf),
        (None, 0, [0; 32])
    );
    // A record without a detail ends in its salts, which are zero: what is cut counts up to the last byte that is not.
    assert_eq!(
        recovery.cut_bytes as usize,
        frame::written_len(&journal.segments[0].1)
    );
    assert_eq!(
        kept_records(&journal.files().segments(), recovery.keep).count(),
        0
    );
}

#[test]
fn every_truncation_is_kept_cut_or_refused_as_the_signers_head_demands() {
    let mut journal = Journal::shop();
    journal.add(&world::start());
    let boundaries = |segment: usize| {
        let records = journal
            .records
            .iter()
            .filter(move |(s, _)| *s == segment)
            .map(|(_, range)| range.end);
        let notes = journal
            .notes
            .iter()
            .filter(move |(s, _, _)| *s == segment)
            .map(|(_, range, _)| range.end);
        records.chain(notes).chain([0])
    };
    for segment in 0..2 {
        for offset in 0..=journal.segments[segment].1.len() {
            let mut files = journal.files();
            files.0[segment].2[offset..].fill(0);
            files.0.truncate(segment + 1);
            let note = last_note_before(&journal, Position { segment, offset });
            for head in heads(&journal) {
                let found = recover(&files.segments(), &head, &journal.public);
                let at = format!("segment {segment} cut at {offset}, head {}", head.size);
                if size_of(&journal, note) < head.size {
                    assert!(
                        matches!(
                            found,
                            Err(Halt::NewJournal { .. }
                                | Halt::LacksHead { .. }
                                | Halt::DamageBelowHead { .. })
                        ),
                        "{at}: {found:?}"
                    );
                    continue;
                }
                let recovery = found.unwrap_or_else(|halt| panic!("{at}: {halt}"));
                assert_eq!(
                    recovery.keep,
                    note.map(|index| end_of_note(&journal, index)),
                    "{at}"
                );
                assert_eq!(recovery.frontier.size(), size_of(&journal, note), "{at}");
                let whole = boundaries(segment).any(|end| end == offset);
                assert!(recovery.torn.is_none() || !whole, "{at}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_at_or_below_the_head_or_before_a_note_halts_and_any_other_is_a_torn_tail() {
    let mut journal = Journal::shop();
    journal.add(&world::start());
    let good = journal.files();
    let last = end_of_note(&journal, 3);
    let last_note_begins = Position {
        offset: journal.notes[3].1.start,
        ..last
    };
    // The signer confirmed everything, or everything but the last batch.
    for head in [journal.notes[3].2, journal.notes[2].2] {
        for segment in 0..good.0.len() {
            for bit in 0..good.0[segment].2.len() * 8 {
                let at = Position {
                    segment,
                    offset: bit / 8,
                };
                // The signatures make it slow: every bit where the rule changes, every seventh elsewhere.
                if at < last_note_begins && bit % 7 != 0 {
                    continue;
                }
                let mut files = good.clone();
                files.0[segment].2[bit / 8] ^= 1 << (bit % 8);
                let found = recover(&files.segments(), &head, &journal.public);
                let what = format!("bit {bit} of segment {segment}, head {}", head.size);
                if at >= last {
                    let recovery = found.unwrap_or_else(|halt| panic!("{what}: {halt}"));
                    assert_eq!(recovery.keep, Some(last), "{what}");
                    assert!(recovery.torn.is_some(), "{what}");
                } else if at >= last_note_begins && head.size < journal.notes[3].2.size {
                    let recovery = found.unwrap_or_else(|halt| panic!("{what}: {halt}"));
                    assert_eq!(recovery.keep, Some(end_of_note(&journal, 2)), "{what}");
                    assert!(recovery.torn.is_some() && recovery.cut_bytes > 0, "{what}");
                } else {
                    assert!(
                        matches!(
                            found,
                            Err(Halt::DamageBelowHead { .. } | Halt::DamageBeforeNote { .. })
                        ),
                        "{what}: {found:?}"
                    );
                }
            }
        }
    }
}

fn halt_of(files: &Files, head: &Head, journal: &Journal) -> Halt {
    match recover(&files.segments(), head, &journal.public) {
        Err(halt) => halt,
        Ok(Recovery { keep, .. }) => panic!("kept up to {keep:?}"),
    }
}

#[test]
fn a_new_journal_beside_an_existing_signer_state_is_refused() {
    let journal = Journal::shop();
    for files in [Files(Vec::new()), Journal::new().files()] {
        assert!(matches!(
            halt_of(&files, &journal.head(), &journal),
            Halt::NewJournal { head: 10 }
        ));
    }
    let recovery = recover(&[], &empty(), &journal.public).unwrap();
    assert_eq!((recovery.keep, recovery.cut_bytes), (None, 0));
}

#[test]
fn a_journal_beside_a_new_signer_state_is_refused() {
    let (journal, fresh) = (Journal::shop(), Journal::with_key(2));
    assert!(matches!(
        halt_of(&journal.files(), &empty(), &fresh),
        Halt::ForeignNote { .. }
    ));
}

#[test]
fn another_journal_of_the_same_signer_is_refused() {
    let journal = Journal::shop();
    let head = Head {
        root: [1; 32],
        ..journal.notes[1].2
    };
    assert_eq!(
        halt_of(&journal.files(), &head, &journal),
        Halt::OtherTree { head: head.size }
    );
    assert_eq!(
        halt_of(&journal.files(), &NOTHING, &journal),
        Halt::OtherTree { head: 0 }
    );
}

#[test]
fn a_missing_and_a_swapped_segment_are_refused() {
    let journal = Journal::shop();
    for head in [journal.head(), empty()] {
        let mut files = journal.files();
        files.0.remove(0);
        assert!(matches!(
            halt_of(&files, &head, &journal),
            Halt::Inconsistent { .. }
        ));
        let mut files = journal.files();
        files.0.reverse();
        assert!(matches!(
            halt_of(&files, &head, &journal),
            Halt::Inconsistent { .. }
        ));
    }
    let mut files = journal.files();
    files.0.pop();
    assert!(matches!(
        halt_of(&files, &journal.head(), &journal),
        Halt::LacksHead {
            signed: 5,
            head: 10
        }
    ));
}

#[test]
fn a_whole_record_that_does_not_continue_the_chain_is_refused_even_at_the_tail() {
    let mut journal = Journal::shop();
    journal.prev = [9; 32];
    journal.add(&world::start());
    let head = journal.notes[3].2;
    assert!(matches!(
        halt_of(&journal.files(), &head, &journal),
        Halt::Inconsistent { .. }
    ));
}

#[test]
fn a_segment_that_was_made_ahead_and_never_written_is_no_obstacle() {
    let mut files = Journal::shop().files();
    let journal = Journal::shop();
    files
        .0
        .push((12, "00000000000000000012.seg".into(), vec![0; 4096]));
    let recovery = recover(&files.segments(), &journal.head(), &journal.public).unwrap();
    assert_eq!(
        (recovery.keep, recovery.cut_bytes),
        (Some(end_of_note(&journal, 3)), 0)
    );
}
