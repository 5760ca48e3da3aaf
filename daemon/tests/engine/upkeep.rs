//! What is made of the journal behind its back, and that nobody notices when it cannot be made.

use super::world::{World, ask, kinds};
use faramesh_core::checkpoint::Checkpoint;
use faramesh_core::frame::{self, Frame, Frames, Item};
use faramesh_core::record::Encoded;
use faramesh_core::tree::tiles::{Tile, TileId, Tiles};
use faramesh_core::tree::{Frontier, Head, leaf_hash};
use std::path::PathBuf;

/// Enough for a few segments and two full tiles.
const CALLS: u64 = 600;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(work)
}

fn tile_path(world: &World, level: u32, index: u64) -> PathBuf {
    let id = TileId::new(level, index).unwrap();
    world.config.journal_dir.join(id.path())
}

/// The journal's leaf hashes, and the head of every note, from the bytes of its segments.
fn tree(world: &World) -> (Vec<[u8; 32]>, Vec<Head>) {
    let (mut leaves, mut heads) = (Vec::new(), Vec::new());
    for (_, bytes) in world.journal_bytes() {
        for item in Frames::new(&bytes) {
            match item {
                Item::Frame {
                    frame: Frame::Record(stored),
                    ..
                } => leaves.push(leaf_hash(stored.record)),
                Item::Frame {
                    frame: Frame::Note(note),
                    ..
                } => {
                    let opened = world.log_key().open::<Checkpoint>(note).unwrap();
                    heads.push(opened.into_inner().head);
                }
                Item::End { .. } => {}
                bad @ Item::Bad { .. } => assert_eq!(bad, Item::End { offset: 0 }),
            }
        }
    }
    (leaves, heads)
}

#[test]
fn what_is_sealed_gets_tiles_that_lead_to_a_signed_root() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        for _ in 0..CALLS {
            ask(&engine).await;
        }
        engine.keep_up_now().await;
        assert_eq!(engine.status().warnings, [""; 0]);
        engine.drain("test").await;
    });
    let (leaves, heads) = tree(&world);
    for index in 0..2 {
        let bytes = std::fs::read(tile_path(&world, 0, index)).unwrap();
        let from = 256 * index as usize;
        assert_eq!(
            Tile::from_bytes(&bytes).unwrap().hashes(),
            &leaves[from..from + 256]
        );
    }
    let dir = &world.config.journal_dir;
    let mut tiles =
        Tiles::new(|id: TileId| Tile::from_bytes(&std::fs::read(dir.join(id.path())).ok()?));
    let mut frontier = Frontier::new();
    for leaf in &leaves {
        frontier.push(*leaf).unwrap();
        let signed = heads.iter().find(|head| head.size == frontier.size());
        assert!(signed.is_none_or(|head| head.root == frontier.root()));
        if frontier.size() == 512 {
            assert_eq!(tiles.frontier(512).unwrap(), frontier);
        }
    }
    assert!(frontier.size() > 512);
}

#[test]
fn a_start_makes_the_tiles_that_an_earlier_run_left_undone_or_somebody_removed() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        for _ in 0..CALLS {
            ask(&engine).await;
        }
        engine.keep_up_now().await;
        engine.drain("test").await;
    });
    let whole = std::fs::read(tile_path(&world, 0, 1)).unwrap();
    let changed = tile_path(&world, 0, 0);
    let first = std::fs::read(&changed).unwrap();
    let start = || {
        run(async {
            let engine = world.start().await;
            engine.keep_up_now().await;
            assert_eq!(engine.status().warnings, [""; 0]);
            engine.drain("test").await;
        });
        assert_eq!(std::fs::read(tile_path(&world, 0, 1)).unwrap(), whole);
        assert_eq!(std::fs::read(&changed).unwrap(), first);
    };
    std::fs::remove_file(tile_path(&world, 0, 1)).unwrap();
    start();
    // Torn by a power failure on a file system that lies, and a name that a killed run left.
    std::fs::write(tile_path(&world, 0, 1), &whole[..4_096]).unwrap();
    std::fs::write(world.config.journal_dir.join("tile/0/001.tmp"), b"half").unwrap();
    start();
    assert!(!world.config.journal_dir.join("tile/0/001.tmp").exists());
    // One that is wrong, below one that is missing: the note's root says so, and all are made again.
    let mut wrong = first.clone();
    wrong[77] ^= 1;
    std::fs::write(&changed, &wrong).unwrap();
    std::fs::remove_file(tile_path(&world, 0, 1)).unwrap();
    start();
}

#[test]
fn tiles_that_cannot_be_written_are_a_warning_until_they_can_and_never_a_refusal() {
    let world = World::new();
    let in_the_way = world.config.journal_dir.join("tile");
    std::fs::write(&in_the_way, b"not a directory").unwrap();
    run(async {
        let engine = world.start().await;
        for _ in 0..CALLS {
            ask(&engine).await;
        }
        engine.keep_up_now().await;
        let status = engine.status();
        assert!(
            matches!(&*status.warnings, [one] if one.starts_with("upkeep: hash tiles: ")),
            "{:?}",
            status.warnings
        );
        assert_eq!(status.refusing, None);
        ask(&engine).await;
        std::fs::remove_file(&in_the_way).unwrap();
        engine.keep_up_now().await;
        assert_eq!(engine.status().warnings, [""; 0]);
        assert!(tile_path(&world, 0, 1).exists());
        assert!(kinds(&engine).await.iter().all(|kind| kind != "gap"));
        engine.drain("test").await;
    });
}

#[test]
fn records_that_do_not_lead_to_their_note_get_no_tiles() {
    let world = World::new();
    let in_the_way = world.config.journal_dir.join("tile");
    std::fs::write(&in_the_way, b"not a directory").unwrap();
    run(async {
        let engine = world.start().await;
        for _ in 0..CALLS {
            ask(&engine).await;
        }
        engine.keep_up_now().await;
        // The first record of what is sealed becomes another one, in a frame that is whole.
        world.change_segment(0, |bytes| {
            let first = Frames::new(bytes).next();
            let Some(Item::Frame {
                at,
                frame: Frame::Record(stored),
            }) = first
            else {
                unreachable!("{first:?}");
            };
            let encoded = Encoded {
                record: stored.record.iter().rev().copied().collect(),
                detail: stored.detail.to_vec(),
                salts: [*stored.args_salt, *stored.detail_salt],
            };
            let mut other = Vec::new();
            frame::write_record(&mut other, &encoded).unwrap();
            bytes.splice(at, other);
        });
        std::fs::remove_file(&in_the_way).unwrap();
        engine.keep_up_now().await;
        let warnings = engine.status().warnings;
        assert!(
            matches!(&*warnings, [one] if one.contains("do not lead to the root")),
            "{warnings:?}"
        );
        assert!(!tile_path(&world, 0, 0).exists());
        assert!(!world.config.journal_dir.join("tile/0/000.tmp").exists());
        engine.drain("test").await;
    });
}
