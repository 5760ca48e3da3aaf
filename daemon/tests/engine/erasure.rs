//! What is erased is gone, and nothing else is.

use super::world::{World, ask};
use faramesh_core::frame::{Frame, Frames, Item};
use faramesh_core::record::Erasure;
use faramesh_core::tree::{Hash, leaf_hash};
use faramesh_daemon::engine::Engine;
use std::collections::BTreeSet;

/// Enough for three segments.
const CALLS: u64 = 200;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(work)
}

/// What a journal is, besides the details: leaves and notes in order; and which decisions have none.
#[derive(Debug, PartialEq)]
struct Story {
    leaves: Vec<Hash>,
    notes: Vec<Vec<u8>>,
    bare: BTreeSet<u64>,
    lengths: Vec<usize>,
}

fn story(world: &World) -> Story {
    let mut story = Story {
        leaves: vec![],
        notes: vec![],
        bare: BTreeSet::new(),
        lengths: vec![],
    };
    for (_, bytes) in world.journal_bytes() {
        story.lengths.push(bytes.len());
        for item in Frames::new(&bytes) {
            match item {
                Item::Frame {
                    frame: Frame::Record(stored),
                    ..
                } => {
                    let decision = stored
                        .record
                        .windows(17)
                        .any(|at| at == b"\"kind\":\"decision\"".as_slice());
                    if decision && stored.detail.is_empty() {
                        assert_eq!((stored.args_salt, stored.detail_salt), (&[0; 16], &[0; 16]));
                        story.bare.insert(story.leaves.len() as u64);
                    }
                    story.leaves.push(leaf_hash(stored.record));
                }
                Item::Frame {
                    frame: Frame::Note(note),
                    ..
                } => story.notes.push(note.to_vec()),
                Item::End { .. } => {}
                bad @ Item::Bad { .. } => assert_eq!(bad, Item::End { offset: 0 }),
            }
        }
    }
    story
}

async fn calls(engine: &Engine) {
    for _ in 0..CALLS {
        ask(engine).await;
    }
}

fn order(spans: &[(u64, u64)]) -> Erasure {
    Erasure {
        spans: spans.to_vec(),
        uid: 0,
        reason: "request 4711".into(),
    }
}

#[test]
fn details_go_when_their_segment_is_sealed_and_records_notes_and_lengths_stay() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        calls(&engine).await;
        engine.keep_up_now().await;
        let last = ask(&engine).await.seq();
        let before = story(&world);
        let recorded = engine
            .erase(order(&[(10, 12), (last, last)]))
            .await
            .unwrap();
        assert_eq!(recorded, last + 1);
        engine.keep_up_now().await;
        let after = story(&world);
        assert_eq!(after.bare, BTreeSet::from([10, 11, 12]));
        assert_eq!(after.leaves[..before.leaves.len()], before.leaves[..]);
        assert_eq!(after.notes[..before.notes.len()], before.notes[..]);
        assert_eq!(after.lengths, before.lengths);
        calls(&engine).await;
        engine.keep_up_now().await;
        assert_eq!(story(&world).bare, BTreeSet::from([10, 11, 12, last]));
        assert_eq!(engine.status().warnings, [""; 0]);
        engine.drain("test").await;
    });
    // A start folds what is left, and goes on.
    run(async {
        let engine = world.start().await;
        ask(&engine).await;
        engine.drain("test").await;
    });
}

#[test]
fn an_order_that_a_crash_left_half_is_carried_out_by_the_next_start() {
    let world = World::new();
    let dir = world.config.journal_dir.clone();
    let (before, after) = run(async {
        let engine = world.start().await;
        calls(&engine).await;
        engine.keep_up_now().await;
        let before = world.journal_bytes();
        engine.erase(order(&[(10, 12), (100, 100)])).await.unwrap();
        engine.keep_up_now().await;
        engine.drain("test").await;
        (before, story(&world))
    });
    assert_eq!(after.bare, BTreeSet::from([10, 11, 12, 100]));
    let todo = dir.join("erasure.todo");
    let restart = || {
        run(async {
            let engine = world.start().await;
            engine.keep_up_now().await;
            assert_eq!(engine.status().warnings, [""; 0]);
            engine.drain("test").await;
        });
        let again = story(&world);
        assert_eq!(again.bare, after.bare);
        assert_eq!(again.leaves[..after.leaves.len()], after.leaves[..]);
        assert!(!dir.join("erasing.tmp").exists());
    };
    // Before anything was rewritten; half of a segment was; between two segments; with a list that is not whole.
    std::fs::remove_file(&todo).unwrap();
    for (path, bytes) in &before[..2] {
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(dir.join("erasing.tmp"), &before[0].1[..1_000]).unwrap();
    restart();
    std::fs::remove_file(&todo).unwrap();
    std::fs::write(&before[1].0, &before[1].1).unwrap();
    restart();
    let list = std::fs::read_to_string(&todo).unwrap();
    std::fs::write(&todo, &list[..list.len() - 3]).unwrap();
    std::fs::write(&before[0].0, &before[0].1).unwrap();
    restart();
}

#[test]
fn a_segment_that_cannot_be_rewritten_is_a_warning_and_stays_whole() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        calls(&engine).await;
        engine.keep_up_now().await;
        let before = story(&world);
        // What is in the way is no file.
        let blocked = world.config.journal_dir.join("erasing.tmp");
        std::fs::create_dir(&blocked).unwrap();
        engine.erase(order(&[(10, 10)])).await.unwrap();
        engine.keep_up_now().await;
        let warnings = engine.status().warnings;
        assert!(
            warnings.iter().any(|w| w.contains("erasure")),
            "{warnings:?}"
        );
        assert_eq!(story(&world).bare, before.bare);
        ask(&engine).await;
        std::fs::remove_dir(&blocked).unwrap();
        engine.keep_up_now().await;
        assert_eq!(story(&world).bare, BTreeSet::from([10]));
        assert_eq!(engine.status().warnings, [""; 0]);
        engine.drain("test").await;
    });
}
