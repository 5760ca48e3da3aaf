//! What recovery keeps, cuts and refuses.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that goes wrong may say so in any way"
)]

mod world;

use faramesh_core::decision::Effect;
use faramesh_core::frame;
use faramesh_core::recover::{Halt, Position, Recovery, Walk, recover};
use faramesh_core::state::Point;
use faramesh_core::tree::{self, Head};
use world::{Files, Journal, kept_records};

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
        let recovery = recover(&files.segments(), &head, &journal.pinned).unwrap();
        assert_eq!(recovery.keep, Some(end_of_note(&journal, 3)));
        assert_eq!(recovery.point.frontier, journal.frontier);
        assert_eq!(recovery.point.last_leaf, journal.prev);
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
            .iter()
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
    let recovery = recover(&files.segments(), &head, &journal.pinned).unwrap();
    assert_eq!(
        (
            recovery.keep,
            recovery.point.frontier.size(),
            recovery.adopt
        ),
        (Some(end), size, None)
    );
    assert_eq!(
        recovery.cut_bytes as usize,
        journal.segments[1].1.len() - end.offset
    );
    assert_eq!(
        kept_records(&files.segments(), recovery.keep).len() as u64,
        size
    );
}

#[test]
fn a_first_batch_without_a_note_leaves_an_empty_journal() {
    let mut journal = Journal::new();
    journal.add(&world::start()).add(&world::activation(1));
    let recovery = recover(&journal.files().segments(), &empty(), &journal.pinned).unwrap();
    assert_eq!(
        (
            recovery.keep,
            recovery.point.frontier.size(),
            recovery.point.last_leaf
        ),
        (None, 0, [0; 32])
    );
    // A record without a detail ends in its salts, which are zero: what is cut counts up to the last byte that is not.
    assert_eq!(
        recovery.cut_bytes as usize,
        frame::written_len(&journal.segments[0].1)
    );
    assert_eq!(
        kept_records(&journal.files().segments(), recovery.keep).len(),
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
                let found = recover(&files.segments(), &head, &journal.pinned);
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
                assert_eq!(
                    recovery.point.frontier.size(),
                    size_of(&journal, note),
                    "{at}"
                );
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
                let found = recover(&files.segments(), &head, &journal.pinned);
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
    match recover(&files.segments(), head, &journal.pinned) {
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
    let recovery = recover(&[], &empty(), &journal.pinned).unwrap();
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
    let recovery = recover(&files.segments(), &journal.head(), &journal.pinned).unwrap();
    assert_eq!(
        (recovery.keep, recovery.cut_bytes),
        (Some(end_of_note(&journal, 3)), 0)
    );
}

/// A walk over the segments from the one that begins at `point` on.
fn walk(files: &Files, point: Point, journal: &Journal, head: &Head) -> Result<Recovery, Halt> {
    let first = point.frontier.size();
    let mut walk = Walk::from(point, *head, &journal.pinned)?;
    for segment in files.segments() {
        if segment.first >= first {
            walk.segment(&segment)?;
        }
    }
    walk.finish()
}

#[test]
fn a_walk_from_a_segments_beginning_comes_to_what_the_whole_walk_comes_to() {
    let mut journal = Journal::shop();
    journal.roll();
    journal
        .add(&world::start())
        .add(&world::activation(2))
        .note();
    journal.add(&world::session_start());
    let files = journal.files();
    let mut from = Point::default();
    for (segments, expected) in [(1, None), (2, Some(5)), (3, Some(10))] {
        let whole = recover(&files.segments()[..segments], &empty(), &journal.pinned).unwrap();
        let beginning = whole.last_beginning.clone();
        assert_eq!(
            beginning.as_ref().map(|point| point.frontier.size()),
            expected
        );
        let Some(point) = beginning else { continue };
        from = point;
        let head = journal.notes[3].2;
        let rest = walk(&files, from.clone(), &journal, &head).unwrap();
        let whole = recover(&files.segments(), &head, &journal.pinned).unwrap();
        assert_eq!(rest.point, whole.point);
        assert_eq!(rest.adopt, whole.adopt);
        assert_eq!(rest.cut_bytes, whole.cut_bytes);
        assert_eq!(rest.note, whole.note);
    }
    assert_eq!(from.frontier.size(), 10);
}

#[test]
fn a_walk_from_a_wrong_point_is_refused_and_says_that_the_point_may_be_wrong() {
    let journal = Journal::shop();
    let files = journal.files();
    let whole = recover(&files.segments(), &empty(), &journal.pinned).unwrap();
    let right = whole.last_beginning.unwrap();
    let mut other_tree = right.clone();
    other_tree.frontier = tree::Frontier::new();
    for leaf in 0..5 {
        other_tree.frontier.push([leaf; 32]).unwrap();
    }
    let mut other_leaf = right.clone();
    other_leaf.last_leaf = [9; 32];
    let mut other_state = right.clone();
    other_state.state = faramesh_core::state::State::new();
    for (what, point) in [
        ("tree", other_tree),
        ("leaf", other_leaf),
        ("state", other_state),
    ] {
        let mut walk = Walk::from(point, journal.notes[2].2, &journal.pinned).unwrap();
        let halt = walk.segment(&files.segments()[1]).unwrap_err();
        assert!(walk.may_be_the_points_fault(&halt), "{what}: {halt}");
    }
    let confirmed = journal.notes[1].2;
    let forged = Head {
        root: [1; 32],
        ..confirmed
    };
    assert!(matches!(
        walk(&files, right, &journal, &forged),
        Err(Halt::OtherTree { head: 5 })
    ));
}

/// The shop with a second epoch: its record is covered by the fifth note, and one note more is by the new key.
fn two_epochs() -> Journal {
    let mut journal = Journal::shop();
    journal.add(&world::start()).begin_epoch().note();
    journal.add(&world::stop()).note();
    journal
}

#[test]
fn the_notes_behind_an_epochs_record_are_by_its_key_and_the_tail_may_hold_both() {
    let journal = two_epochs();
    for head in [journal.notes[2].2, journal.notes[4].2, journal.head()] {
        let recovery = recover(&journal.files().segments(), &head, &journal.pinned).unwrap();
        assert_eq!(recovery.keep, Some(end_of_note(&journal, 5)));
        assert_eq!(recovery.keys.number(), 2);
    }
}

#[test]
fn an_epoch_whose_record_was_never_covered_has_not_begun() {
    let mut journal = Journal::shop();
    journal.begin_epoch();
    let head = journal.notes[3].2;
    let recovery = recover(&journal.files().segments(), &head, &journal.pinned).unwrap();
    assert_eq!(recovery.keep, Some(end_of_note(&journal, 3)));
    assert_eq!(recovery.keys.number(), 1);
    assert_eq!(recovery.keys.current(), journal.pinned.genesis());
}

#[test]
fn a_note_by_the_key_of_another_epoch_than_its_places_is_refused() {
    // By the new key already, where the old one is due.
    let mut early = Journal::shop();
    early.begin_epoch();
    early.epoch = 2;
    early.epoch_begins = false;
    early.note();
    // Still by the old key, where the new one is due.
    let mut late = Journal::shop();
    late.begin_epoch().note();
    late.epoch = 1;
    late.add(&world::start()).note();
    for journal in [early, late] {
        let head = journal.notes[3].2;
        assert!(matches!(
            halt_of(&journal.files(), &head, &journal),
            Halt::ForeignNote { .. }
        ));
    }
}

#[test]
fn whoever_has_the_keys_of_today_cannot_write_the_epoch_before_anew() {
    // Stolen: the origin key and the key of epoch 2. The thief writes epoch 1 anew and lets the record of epoch 2 follow.
    let mut forged = Journal::new();
    forged.add(&world::start()).add(&world::activation(7));
    forged.epoch = 2;
    forged.note();
    forged.epoch = 1;
    forged.begin_epoch();
    forged.epoch = 2;
    forged.epoch_begins = false;
    forged.note();
    assert!(matches!(
        halt_of(&forged.files(), &empty(), &forged),
        Halt::ForeignNote { .. }
    ));
}
