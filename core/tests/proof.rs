//! What a proof bundle proves, and that nothing else is one.
#![expect(
    clippy::unwrap_used,
    reason = "a test that goes wrong may say so in any way"
)]
mod world;

use faramesh_core::decision::Effect;
use faramesh_core::frame::{Frame, Frames, Item};
use faramesh_core::proof::{BUNDLE_BYTES_MAX, Beside, Bundle, Error, Growth, Inclusion};
use faramesh_core::tree::tiles::{Gather, Plan};
use faramesh_core::tree::{Frontier, Head, leaf_hash};
use proptest::prelude::*;
use world::{Journal, activation, decision, start};

/// A journal of five records under one note, and a note of three of them.
struct World {
    journal: Journal,
    kept: (Head, String),
    note: String,
}

fn world() -> World {
    let mut journal = Journal::new();
    journal.add(&start()).add(&activation(1));
    journal.add(&decision(Effect::Permit, 1));
    let kept = (journal.head(), journal.sign(journal.head()));
    journal.note();
    journal.add(&decision(Effect::Deny, 2));
    journal.add(&decision(Effect::Permit, 3));
    let note = journal.sign(journal.head());
    journal.note();
    World {
        journal,
        kept,
        note,
    }
}

/// A record and what lies beside it, from the journal's bytes.
fn stored(world: &World, seq: u64) -> (Vec<u8>, Beside, Vec<[u8; 32]>) {
    let mut leaves = Vec::new();
    let mut found = None;
    for (_, _, bytes) in &world.journal.files().0 {
        for item in Frames::new(bytes) {
            if let Item::Frame {
                frame: Frame::Record(record),
                ..
            } = item
            {
                if leaves.len() as u64 == seq {
                    let beside = Beside {
                        args_salt: *record.args_salt,
                        detail_salt: *record.detail_salt,
                        detail: record.detail.to_vec(),
                    };
                    found = Some((record.record.to_vec(), beside));
                }
                leaves.push(leaf_hash(record.record));
            }
        }
    }
    let (record, beside) = found.unwrap();
    (record, beside, leaves)
}

fn hashes(plan: &Plan, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let mut gather = Gather::new(Frontier::new(), plan.nodes());
    for leaf in leaves {
        gather.push(*leaf).unwrap();
    }
    plan.hashes(|node| gather.node(node)).unwrap()
}

fn inclusion(world: &World, seq: u64, with_detail: bool) -> Inclusion {
    let (record, beside, leaves) = stored(world, seq);
    Inclusion {
        index: seq,
        record,
        beside: with_detail.then_some(beside),
        path: hashes(&Plan::inclusion(seq, 5).unwrap(), &leaves),
        note: world.note.clone(),
    }
}

fn growth(world: &World) -> Growth {
    let (_, _, leaves) = stored(world, 0);
    Growth {
        kept: world.kept.1.clone(),
        proof: hashes(&Plan::consistency(3, 5).unwrap(), &leaves),
        note: world.note.clone(),
    }
}

#[test]
fn a_record_is_proven_with_its_detail_and_without() {
    let world = world();
    for (seq, with_detail) in [(0, false), (1, false), (2, false), (2, true), (4, true)] {
        let bundle = Bundle::Inclusion(inclusion(&world, seq, with_detail));
        let read = Bundle::parse(bundle.text().as_bytes()).unwrap();
        assert_eq!(read, bundle);
        let Bundle::Inclusion(proof) = read else {
            unreachable!()
        };
        let proven = proof.verify(&world.journal.public).unwrap();
        assert_eq!(proven.view.header.seq, seq);
        assert_eq!(proven.checkpoint.head, world.journal.head());
        assert_eq!(proof.beside.is_some(), with_detail);
    }
}

#[test]
fn a_log_that_only_grew_is_proven() {
    let world = world();
    let bundle = Bundle::Growth(growth(&world));
    assert_eq!(Bundle::parse(bundle.text().as_bytes()).unwrap(), bundle);
    let grown = growth(&world).verify(&world.journal.public).unwrap();
    assert_eq!((grown.kept.head.size, grown.newer.head.size), (3, 5));
    assert_eq!(grown.kept.head, world.kept.0);
    // A kept checkpoint of another root is another log's, whoever signed it.
    let mut forked = world.kept.0;
    forked.root[0] ^= 1;
    let other = Growth {
        kept: world.journal.sign(forked),
        ..growth(&world)
    };
    assert!(matches!(
        other.verify(&world.journal.public),
        Err(Error::Growth(_))
    ));
    let turned = Growth {
        kept: world.note.clone(),
        note: world.kept.1.clone(),
        ..growth(&world)
    };
    assert!(matches!(
        turned.verify(&world.journal.public),
        Err(Error::Growth(_))
    ));
}

#[test]
fn nothing_is_proven_by_another_key_number_record_or_detail() {
    let world = world();
    let whole = inclusion(&world, 2, true);
    let key = &world.journal.public;
    whole.verify(key).unwrap();
    let other_key = Journal::with_key(7).public;
    assert!(matches!(
        whole.verify(&other_key),
        Err(Error::Checkpoint { .. })
    ));
    let moved = Inclusion {
        index: 3,
        ..whole.clone()
    };
    assert!(matches!(moved.verify(key), Err(Error::Inclusion(_))));
    let mut longer = whole.clone();
    longer.path.push([0; 32]);
    assert!(matches!(longer.verify(key), Err(Error::Inclusion(_))));
    let mut changed = whole.clone();
    let at = changed.record.len() / 2;
    changed.record[at] ^= 1;
    assert!(matches!(changed.verify(key), Err(Error::Inclusion(_))));
    let of = |change: &dyn Fn(&mut Beside)| {
        let mut other = whole.clone();
        change(other.beside.as_mut().unwrap());
        other.verify(key)
    };
    assert!(matches!(
        of(&|beside| beside.detail[5] ^= 1),
        Err(Error::Beside(_))
    ));
    assert!(matches!(
        of(&|beside| beside.detail_salt[5] ^= 1),
        Err(Error::Beside(_))
    ));
    assert!(matches!(
        of(&|beside| beside.args_salt[5] ^= 1),
        Err(Error::Beside(_))
    ));
    assert!(matches!(
        of(&|beside| beside.detail.clear()),
        Err(Error::Beside(_))
    ));
    let beside_nothing = Inclusion {
        beside: whole.beside.clone(),
        ..inclusion(&world, 1, false)
    };
    assert!(matches!(beside_nothing.verify(key), Err(Error::Beside(_))));
}

/// A leaf that was signed under this number and is no record, or says another number or stack.
#[test]
fn a_leaf_that_is_no_record_of_this_place_is_not_proven() {
    let world = world();
    let key = &world.journal.public;
    let record = inclusion(&world, 2, false).record;
    let alone = |record: &[u8], index: u64| {
        let leaf = leaf_hash(record);
        let mut frontier = Frontier::new();
        for _ in 0..=index {
            frontier.push(leaf).unwrap();
        }
        let leaves = vec![leaf; index as usize + 1];
        let head = Head {
            size: index + 1,
            root: frontier.root(),
        };
        Inclusion {
            index,
            record: record.to_vec(),
            beside: None,
            path: hashes(&Plan::inclusion(index, index + 1).unwrap(), &leaves),
            note: world.journal.sign(head),
        }
        .verify(key)
    };
    assert!(alone(&record, 2).is_ok());
    assert!(matches!(
        alone(&record, 1),
        Err(Error::Index { said: 2, index: 1 })
    ));
    assert!(matches!(alone(b"{}", 0), Err(Error::Record(_))));
    let text = String::from_utf8(record).unwrap();
    let stack = r#""stack":""#;
    let elsewhere = text.replace(stack, r#""stack":"x"#);
    assert!(matches!(alone(elsewhere.as_bytes(), 2), Err(Error::Stack)));
}

#[test]
fn what_is_not_exactly_a_bundle_is_refused() {
    let world = world();
    let text = Bundle::Inclusion(inclusion(&world, 2, true)).text();
    let refused = |text: &str| assert!(Bundle::parse(text.as_bytes()).is_err(), "{text}");
    refused("");
    refused("\n\n");
    refused(&text.replace("@v1", "@v2"));
    refused(&text.replace("index 2", "index 02"));
    refused(&text.replace("index 2", "index +2"));
    refused(&text.replace("index 2", "index -2"));
    refused(&text.replace("index 2\n", ""));
    refused(&text.replace("extra ", "Extra "));
    refused(&text.replace("\n\nfaramesh", "\nfaramesh"));
    refused(&text.replace("index 2\n", "index 2\n\n"));
    refused(&text.replace("index 2\n", &format!("index 2\n{}\n", "A".repeat(40))));
    refused(&text.replace('\n', "\r\n"));
    refused(&text.replace(
        "index 2\n",
        &format!("index 2\n{}", format!("{}=\n", "A".repeat(43)).repeat(65)),
    ));
    refused(&format!("{text}{}", " ".repeat(BUNDLE_BYTES_MAX)));
    refused("c2sp.org/tlog-proof@v1\nextra AAAA\nindex 0\n\nx\n\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A changed byte is not a bundle, or one that proves nothing, or (in another signer's line) one that proves the same.
    #[test]
    fn a_changed_byte_proves_nothing_else(at in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0..3) {
        let world = world();
        let bundle = match which {
            0 => Bundle::Inclusion(inclusion(&world, 2, true)),
            1 => Bundle::Inclusion(inclusion(&world, 4, false)),
            _ => Bundle::Growth(growth(&world)),
        };
        let mut bytes = bundle.text().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(read) = Bundle::parse(&bytes) {
            prop_assert_ne!(&read, &bundle);
            // A note may carry lines of keys that are not asked: the epoch's, witnesses'.
            let said = |bundle: &Bundle| match bundle {
                Bundle::Inclusion(proof) => proof
                    .verify(&world.journal.public)
                    .map(|proven| format!("{proven:?}")),
                Bundle::Growth(proof) => proof
                    .verify(&world.journal.public)
                    .map(|grown| format!("{grown:?}")),
            };
            if let Ok(now) = said(&read) {
                prop_assert_eq!(now, said(&bundle).unwrap());
            }
        }
    }
}
