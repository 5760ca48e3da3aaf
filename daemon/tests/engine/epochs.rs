//! Epochs of the log's key: who signs before, in and behind the batch that begins one, and what a start makes of a crash.

use super::world::{Mood, World};
use faramesh_core::checkpoint::EpochKeys;
use faramesh_core::frame::{Frame, Frames, Item};
use faramesh_core::record;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(work)
}

/// The epochs that the notes of the journal are by, in order. Fails where one is not by the keys that are due.
fn epochs_of_notes(world: &World) -> Vec<u64> {
    let mut names: Vec<_> = std::fs::read_dir(&world.config.journal_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    names.sort();
    let mut keys = EpochKeys::begin(&world.signer.pinned);
    let mut epochs = Vec::new();
    for name in names {
        let bytes = std::fs::read(name).unwrap();
        for item in Frames::new(&bytes) {
            match item {
                Item::Frame {
                    frame: Frame::Record(stored),
                    ..
                } => keys
                    .record(&record::decode(stored.record).unwrap().body)
                    .unwrap(),
                Item::Frame {
                    frame: Frame::Note(note),
                    ..
                } => epochs.push(keys.note(note).unwrap().epoch()),
                _ => {}
            }
        }
    }
    epochs
}

#[tokio::test]
async fn exactly_the_notes_behind_the_one_that_covers_the_record_are_by_the_new_key() {
    let world = World::new();
    let engine = world.start().await;
    for number in 2..5 {
        let (epoch, _) = engine.new_epoch().await.unwrap();
        assert_eq!(epoch.number, number);
    }
    engine.drain("test").await;
    assert_eq!(world.signer.epoch(), 4);
    let epochs = epochs_of_notes(&world);
    assert!(epochs.is_sorted());
    assert_eq!(epochs.last(), Some(&4));
    for number in 1..4 {
        assert!(epochs.contains(&number), "{epochs:?}");
    }
}

#[test]
fn a_signer_that_was_killed_before_the_switch_is_told_at_the_next_start() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        world.signer.set(Mood::LeavesBeforeTheSwitch);
        engine.new_epoch().await.unwrap();
        engine.fatal().await;
        assert_eq!(world.signer.epoch(), 1);
    });
    world.signer.set(Mood::Honest);
    run(async {
        let engine = world.start().await;
        assert_eq!(world.signer.epoch(), 2);
        engine.drain("test").await;
    });
    assert_eq!(epochs_of_notes(&world).last(), Some(&2));
}

#[tokio::test]
async fn a_signer_of_another_epoch_than_the_journals_is_refused() {
    let world = World::new();
    let engine = world.start().await;
    engine.new_epoch().await.unwrap();
    engine.drain("test").await;
    drop(engine);
    world.signer.go_to_epoch(7);
    let refused = world.open().err().unwrap();
    assert_eq!(refused.exit_code(), 65, "{refused}");
}

#[tokio::test]
async fn a_signer_that_signs_with_one_key_alone_stops_the_daemon() {
    let world = World::new();
    let engine = world.start().await;
    world.signer.set(Mood::SignsOnce);
    drop(engine.new_epoch().await);
    let fatal = engine.fatal().await;
    assert_eq!(fatal.exit_code(), 65, "{fatal}");
}
