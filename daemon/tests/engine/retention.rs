//! What is old goes, what is needed stays, and a clock that jumps does not take the journal with it.

use super::world::{World, ask};
use faramesh_core::record::{self, BodyView, LogEvent, Removal};
use faramesh_core::tree::tiles::{Tile, TileId, Tiles};
use faramesh_daemon::engine::Engine;

const DAY_MS: u64 = 24 * 3_600_000;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(work)
}

fn segments(world: &World) -> Vec<u64> {
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().parse();
    let files = world.journal_bytes();
    files.iter().map(|(path, _)| name(path).unwrap()).collect()
}

/// Calls, with the upkeep coming along after each share of them: tiles and snapshots are made.
async fn calls(engine: &Engine, count: usize) {
    for call in 0..count {
        ask(engine).await;
        if call % 40 == 39 {
            engine.keep_up_now().await;
        }
    }
    engine.keep_up_now().await;
}

async fn removals(engine: &Engine, from: u64) -> Vec<Removal> {
    let mut tail = engine.tail(from, false).unwrap();
    let mut found = Vec::new();
    while let Some(tailed) = tail.recv().await {
        if let BodyView::Log(LogEvent::Removal(removal)) =
            record::decode(&tailed.record).unwrap().body
        {
            found.push(removal);
        }
    }
    found
}

#[test]
fn old_segments_go_behind_their_record_and_the_rest_starts_and_is_proven_without_them() {
    let world = World::new();
    let dir = world.config.journal_dir.clone();
    let (before, root) = run(async {
        let engine = world.start().await;
        calls(&engine, 900).await;
        let before = segments(&world);
        assert!(before.len() > 5, "{before:?}");
        world.clock.advance(179 * DAY_MS);
        engine.keep_up_now().await;
        assert_eq!(segments(&world), before, "nothing is old enough");
        world.clock.advance(2 * DAY_MS);
        engine.keep_up_now().await;
        assert_eq!(engine.status().warnings, [""; 0]);
        let after = segments(&world);
        assert_eq!(after[0], before[1], "{before:?} {after:?}");
        let recorded = removals(&engine, after[0]).await;
        let [removal] = &recorded[..] else {
            panic!("{recorded:?}")
        };
        assert_eq!((removal.from, removal.to), (0, before[1]));
        assert_eq!(removal.in_force.map(|(number, _)| number), Some(1));
        // The next one is a day away, however old the rest is.
        engine.keep_up_now().await;
        assert_eq!(segments(&world), after);
        world.clock.advance(DAY_MS);
        engine.keep_up_now().await;
        assert_eq!(segments(&world)[0], before[2]);
        // The tree up to the cut, from tiles alone.
        let mut tiles =
            Tiles::new(|id: TileId| Tile::from_bytes(&std::fs::read(dir.join(id.path())).ok()?));
        let frontier = tiles.frontier(before[2]).unwrap();
        engine.drain("test").await;
        (before, frontier.root())
    });
    assert_ne!(root, [0; 32]);
    run(async {
        let engine = world.start().await;
        assert_eq!(engine.status().warnings, [""; 0]);
        ask(&engine).await;
        let recorded = removals(&engine, before[2]).await;
        assert_eq!(recorded.len(), 2);
        assert_eq!((recorded[1].from, recorded[1].to), (before[1], before[2]));
        assert_eq!(recorded[1].in_force, recorded[0].in_force);
        engine.drain("test").await;
    });
}

#[test]
fn what_a_crash_left_behind_a_removal_record_goes_at_the_next_start() {
    let world = World::new();
    let (first, before) = run(async {
        let engine = world.start().await;
        calls(&engine, 900).await;
        let before = segments(&world);
        let first = world.journal_bytes().swap_remove(0);
        world.clock.advance(181 * DAY_MS);
        engine.keep_up_now().await;
        assert_eq!(segments(&world)[0], before[1]);
        engine.drain("test").await;
        (first, before)
    });
    std::fs::write(&first.0, &first.1).unwrap();
    assert_eq!(segments(&world)[0], 0);
    run(async {
        let engine = world.start().await;
        engine.keep_up_now().await;
        assert_eq!(segments(&world)[0], before[1]);
        assert_eq!(removals(&engine, before[1]).await.len(), 1);
        engine.drain("test").await;
    });
}

#[test]
fn nothing_goes_before_tiles_and_snapshots_can_stand_for_it() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        calls(&engine, 900).await;
        let before = segments(&world);
        world.clock.advance(400 * DAY_MS);
        let snapshots = world.config.journal_dir.join("snapshots");
        let kept: Vec<_> = std::fs::read_dir(&snapshots)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect();
        assert!(kept.len() >= 2);
        // All but one are damaged: the last is not enough.
        for (path, bytes) in &kept[1..] {
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
        engine.keep_up_now().await;
        assert_eq!(segments(&world), before);
        for (path, bytes) in &kept {
            std::fs::write(path, bytes).unwrap();
        }
        // A tile of what would go is missing.
        let tile = world.config.journal_dir.join("tile/0/000");
        let hashes = std::fs::read(&tile).unwrap();
        std::fs::remove_file(&tile).unwrap();
        engine.keep_up_now().await;
        assert_eq!(segments(&world), before);
        std::fs::write(&tile, hashes).unwrap();
        engine.keep_up_now().await;
        assert_eq!(segments(&world)[0], before[1]);
        assert_eq!(removals(&engine, before[1]).await.len(), 1);
        engine.drain("test").await;
    });
}
