//! Every sequence of a few moves on small journals.
//!
//! The adversary without a key cuts, takes out, puts in twice, swaps, replaces checkpoints by others, edits records and what
//! lies beside them, and writes records of his own. Whatever still verifies with the pinned key is a prefix of the genuine
//! journal, and what stays unnoticed is exactly this: the journal cut at a checkpoint; checkpoints missing that a later one
//! covers; and behind the last checkpoint, records that chain and are said to be no evidence.
//!
//! With the keys he can write any story anew: then a head that was kept is what holds, for the records that it covers.

use std::collections::HashSet;

use faramesh_core::decision::Effect;
use faramesh_core::tree::Head;
use faramesh_core::verify::{Answer, Options, Report, Verifier};

use crate::journal::{
    Entry, Journal, Keys, POLICY, Piece, activation, decision, files, start, stop,
};

const KEYS: Keys = Keys::of("shop", 1);

/// A journal of so many records, with a checkpoint behind each of these sizes.
fn entries(records: usize, noted: &[usize]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for index in 0..records {
        entries.push(match index {
            0 => start(),
            1 => activation(1, POLICY, "enforce"),
            index if index + 1 == records && records > 3 => stop(),
            index => decision(Effect::Permit, index as u8),
        });
        if noted.contains(&(index + 1)) {
            entries.push(Entry::Note);
        }
    }
    entries
}

/// What a piece of a tampered journal is: the genuine one with that index, or something made of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Made {
    Genuine(u8),
    /// A record with other content and the same number and link.
    Edited(u8),
    /// A decision with another detail beside it.
    Beside(u8),
}

type State = Vec<Made>;

/// Every piece that there can be.
struct Stock {
    genuine: Vec<Piece>,
    edited: Vec<Option<Piece>>,
    beside: Vec<Option<Piece>>,
}

impl Stock {
    fn new(journal: &Journal) -> Stock {
        let edit = |piece: &Piece| match piece {
            Piece::Record(encoded) => {
                let mut encoded = encoded.clone();
                // A millisecond later or earlier: the record stays canonical.
                let key = b"\"wall_ms\":";
                let at = encoded
                    .record
                    .windows(key.len())
                    .position(|window| window == key);
                let digit = at.unwrap() + key.len() + 12;
                encoded.record[digit] = b'0' + (encoded.record[digit] - b'0' + 1) % 10;
                Some(Piece::Record(encoded))
            }
            _ => None,
        };
        let beside = |piece: &Piece| match piece {
            Piece::Record(encoded) if !encoded.detail.is_empty() => {
                let mut encoded = encoded.clone();
                encoded.salts[1][0] ^= 1;
                Some(Piece::Record(encoded))
            }
            _ => None,
        };
        Stock {
            edited: journal.pieces.iter().map(edit).collect(),
            beside: journal.pieces.iter().map(beside).collect(),
            genuine: journal.pieces.clone(),
        }
    }

    fn piece(&self, made: Made) -> Option<&Piece> {
        match made {
            Made::Genuine(index) => self.genuine.get(usize::from(index)),
            Made::Edited(index) => self.edited[usize::from(index)].as_ref(),
            Made::Beside(index) => self.beside[usize::from(index)].as_ref(),
        }
    }

    fn is_note(&self, made: Made) -> bool {
        matches!(self.piece(made), Some(Piece::Note(_)))
    }

    /// All that one move makes of a journal.
    fn moves(&self, state: &State) -> Vec<State> {
        let mut after = Vec::new();
        let mut changed = |change: &dyn Fn(&mut State)| {
            let mut next = state.clone();
            change(&mut next);
            after.push(next);
        };
        for at in 0..state.len() {
            changed(&|next| next.truncate(at));
            changed(&|next| {
                next.remove(at);
            });
            for other in at + 1..state.len() {
                changed(&|next| next.swap(at, other));
            }
            if let Made::Genuine(index) = state[at] {
                for made in [Made::Edited(index), Made::Beside(index)] {
                    if self.piece(made).is_some() {
                        changed(&|next| next[at] = made);
                    }
                }
            }
        }
        // Anything genuine or edited, put in anywhere, or in a checkpoint's place.
        for index in 0..self.genuine.len() as u8 {
            for made in [Made::Genuine(index), Made::Edited(index)] {
                if self.piece(made).is_none() {
                    continue;
                }
                for at in 0..=state.len() {
                    changed(&|next| next.insert(at, made));
                    if self.is_note(made) && state.get(at).is_some_and(|old| self.is_note(*old)) {
                        changed(&|next| next[at] = made);
                    }
                }
            }
        }
        after
    }

    /// The list: what nobody can notice who has the key alone.
    fn is_unnoticed(&self, state: &State) -> bool {
        let last_note = state.iter().rposition(|made| self.is_note(*made));
        let (covered, tail) = state.split_at(last_note.map_or(0, |at| at + 1));
        let mut records = 0;
        let genuine_records: Vec<u8> = (0..self.genuine.len() as u8)
            .filter(|index| !self.is_note(Made::Genuine(*index)))
            .collect();
        for made in covered {
            let Made::Genuine(index) = made else {
                return false;
            };
            if self.is_note(*made) {
                // In its own place, and once: its size is the number of records before it.
                let before = genuine_records
                    .iter()
                    .filter(|record| *record < index)
                    .count();
                if before != records {
                    return false;
                }
            } else if genuine_records.get(records) != Some(index) {
                return false;
            } else {
                records += 1;
            }
        }
        let notes: HashSet<_> = covered.iter().filter(|made| self.is_note(**made)).collect();
        if notes.len() != covered.len() - records {
            return false;
        }
        // Behind the last checkpoint records follow each other, and an edited one has no successor that names it.
        for (offset, made) in tail.iter().enumerate() {
            let expected = genuine_records.get(records + offset);
            let last = offset + 1 == tail.len();
            match made {
                Made::Genuine(index) if Some(index) == expected => {}
                Made::Edited(index) if Some(index) == expected && last => {}
                _ => return false,
            }
        }
        true
    }

    fn verify(&self, state: &State, keyed: bool) -> Report {
        let pieces: Vec<Piece> = (state.iter())
            .filter_map(|made| self.piece(*made).cloned())
            .collect();
        let mut verifier = Verifier::new(Options {
            key: keyed.then(|| KEYS.pinned().into()),
            ..Options::default()
        });
        for (first, bytes) in files(&pieces) {
            verifier.segment(first, &bytes);
        }
        verifier.finish()
    }
}

/// Every state that so many moves lead to, each once.
fn reached(stock: &Stock, begin: State, moves: usize) -> HashSet<State> {
    let mut all: HashSet<State> = HashSet::from([begin.clone()]);
    let mut last = vec![begin];
    for _ in 0..moves {
        let mut fresh = Vec::new();
        for state in &last {
            for next in stock.moves(state) {
                if all.insert(next.clone()) {
                    fresh.push(next);
                }
            }
        }
        last = fresh;
    }
    all
}

/// The records up to the last note are the genuine ones, and what verifies is exactly what is on the list.
fn whatever_verifies_is_a_prefix(records: usize, noted: &[usize], moves: usize) -> usize {
    let journal = Journal::genuine(&entries(records, noted), &KEYS);
    let stock = Stock::new(&journal);
    let begin = (0..journal.pieces.len() as u8).map(Made::Genuine).collect();
    let states = reached(&stock, begin, moves);
    let mut unnoticed = 0;
    for state in &states {
        // What contradicts itself without a key does with one: signatures are slow.
        let alone = stock.verify(state, false);
        let holds = alone.exit_code() != 1 && stock.verify(state, true).exit_code() == 0;
        assert_eq!(
            holds,
            stock.is_unnoticed(state),
            "{state:?} of {records} records with checkpoints behind {noted:?}"
        );
        if holds {
            let report = stock.verify(state, true);
            let covered = noted.contains(&(report.signed as usize)) || report.signed == 0;
            assert!(covered, "{state:?}");
            unnoticed += 1;
        }
    }
    println!(
        "{records} records, checkpoints behind {noted:?}, up to {moves} moves: {} journals, {unnoticed} unnoticed",
        states.len()
    );
    unnoticed
}

#[test]
fn whatever_verifies_after_two_moves_on_six_records_is_a_prefix_of_the_genuine_journal() {
    for noted in [&[6][..], &[2, 4, 6], &[1, 3, 6]] {
        assert!(whatever_verifies_is_a_prefix(6, noted, 2) > 1);
    }
}

#[test]
fn whatever_verifies_after_three_moves_on_three_records_is_a_prefix_of_the_genuine_journal() {
    for noted in [&[1, 3][..], &[2], &[3]] {
        assert!(whatever_verifies_is_a_prefix(3, noted, 3) > 1);
    }
}

/// Who holds every key: records are dropped, repeated, exchanged and replaced, and all is numbered and signed anew.
fn written_anew(entries: &[Entry]) -> Vec<Vec<Entry>> {
    let mut after = Vec::new();
    for at in 0..entries.len() {
        let mut shorter = entries.to_vec();
        shorter.remove(at);
        after.push(shorter);
        after.push(entries[..at].to_vec());
        for other in at + 1..entries.len() {
            let mut swapped = entries.to_vec();
            swapped.swap(at, other);
            after.push(swapped);
        }
        for other in [decision(Effect::Deny, 200), start(), Entry::Note] {
            let mut longer = entries.to_vec();
            longer.insert(at, other.clone());
            after.push(longer);
            let mut replaced = entries.to_vec();
            replaced[at] = other;
            after.push(replaced);
        }
    }
    after
}

#[test]
fn with_every_key_in_hand_a_kept_head_still_fixes_the_records_that_it_covers() {
    let genuine = entries(6, &[2, 4, 6]);
    let journal = Journal::genuine(&genuine, &KEYS);
    let kept: Head = journal.heads[1];
    let (mut holds_alone, mut extends) = (0, 0);
    let mut all = written_anew(&genuine);
    for once in all.clone() {
        // Of the second moves every fifth: signatures are slow.
        all.extend(written_anew(&once).into_iter().step_by(5));
    }
    for entries in &all {
        let forged = Journal::genuine(entries, &KEYS);
        let mut verifier = Verifier::new(Options {
            key: Some(KEYS.pinned().into()),
            trusted: vec![kept],
            ..Options::default()
        });
        for (first, bytes) in forged.files() {
            verifier.segment(first, &bytes);
        }
        let report = verifier.finish();
        let covered = usize::try_from(kept.size).unwrap();
        let same = forged.leaves.get(..covered) == journal.leaves.get(..covered);
        let signed = forged.heads.iter().any(|head| head.size >= kept.size);
        assert_eq!(report.extends_trusted == Answer::Yes, same && signed);
        holds_alone += usize::from(report.self_consistent == Answer::Yes);
        extends += usize::from(report.exit_code() == 0);
    }
    println!(
        "{} stories, {holds_alone} hold alone, {extends} extend the head",
        all.len()
    );
    assert!(0 < extends && extends < holds_alone);
}
