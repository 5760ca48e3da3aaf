//! A start from a snapshot comes to what a start from the whole journal comes to, and no snapshot can do harm.

use crate::around::{answer, guarded, session};
use crate::world::{World, ask, kinds};
use faramesh_core::decision::Effect;
use faramesh_core::frame::{Frame, Frames, Item};
use faramesh_core::state::{Point, Snapshot};
use faramesh_daemon::journal::recover::NotRecovered;
use faramesh_daemon::journal::snapshots::{self, DIRECTORY, KEPT};
use std::path::PathBuf;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(work)
}

/// Calls inside and outside a session under a policy that sums, over several segments. The session is left alive, and
/// the last segment holds records behind the one of its snapshot.
fn long_day(world: &World) {
    world.apply(2, &guarded());
    run(async {
        let engine = world.start().await;
        engine.append(session()).unwrap().await.unwrap().unwrap();
        for call in 0..300 {
            ask(&engine).await;
            let paid = answer(&engine, &format!(r#"{{"amount":0.{call:03}}}"#)).await;
            assert_eq!(paid.0, Effect::Permit);
            if call % 20 == 0 {
                engine.keep_up_now().await;
            }
        }
        engine.keep_up_now().await;
        ask(&engine).await;
        engine.drain("test").await;
    });
}

fn directory(world: &World) -> PathBuf {
    world.config.journal_dir.join(DIRECTORY)
}

fn sizes(world: &World) -> Vec<u64> {
    snapshots::list(&world.config.journal_dir).unwrap()
}

fn newest(world: &World) -> u64 {
    *sizes(world).last().unwrap()
}

/// With every snapshot out of the way.
fn without_snapshots<T>(world: &World, work: impl FnOnce(&World) -> T) -> T {
    let away = world.config.run_dir.join("away");
    std::fs::rename(directory(world), &away).unwrap();
    let done = work(world);
    std::fs::rename(&away, directory(world)).unwrap();
    done
}

/// What the whole journal comes to.
fn whole(world: &World) -> Point {
    without_snapshots(world, |world| world.recovered().unwrap().point)
}

#[test]
fn a_start_from_the_newest_snapshot_comes_to_what_the_whole_journal_comes_to() {
    let world = World::new();
    long_day(&world);
    let whole = whole(&world);
    assert_eq!(whole.state.sessions().count(), 1);
    assert_eq!(sizes(&world).len(), KEPT);
    let recovered = world.recovered().unwrap();
    assert_eq!(recovered.point, whole);
    assert_eq!((recovered.due, recovered.bad_snapshots), (None, vec![]));
    assert_eq!(recovered.warnings, [""; 0]);
    // It read one segment: what lies before is not looked into.
    let last = world.journal_bytes().len() - 1;
    for index in 0..last {
        world.change_segment(index, |bytes| bytes[40] ^= 1);
    }
    assert_eq!(world.recovered().unwrap().point, whole);
    assert!(without_snapshots(&world, World::recovered).is_err());
    run(async {
        let engine = world.start().await;
        let left: Vec<_> = engine.left_over().iter().collect();
        assert_eq!(left, [(&"s1".to_owned(), &300)]);
        ask(&engine).await;
    });
}

#[test]
fn a_snapshot_that_is_no_good_is_passed_over_and_the_start_comes_to_the_same() {
    let world = World::new();
    long_day(&world);
    let whole = whole(&world);
    let size = newest(&world);
    let path = snapshots::path(&world.config.journal_dir, size);
    let genuine = std::fs::read(&path).unwrap();
    let older = sizes(&world)[KEPT - 2];
    let older = std::fs::read(snapshots::path(&world.config.journal_dir, older)).unwrap();
    let changed = |change: fn(&mut Snapshot)| {
        let mut snapshot = Snapshot::decode(&genuine).unwrap();
        change(&mut snapshot);
        snapshot.encode().unwrap()
    };
    let mut flipped = genuine.clone();
    flipped[genuine.len() / 2] ^= 1;
    let rows = [
        ("empty", vec![], "not a snapshot"),
        ("truncated", genuine[..genuine.len() - 1].to_vec(), ""),
        ("flipped", flipped, ""),
        ("another place's", older, "another place"),
        (
            "another journal's",
            changed(|snapshot| snapshot.origin.push('x')),
            "another journal",
        ),
        (
            "another leaf",
            changed(|snapshot| snapshot.point.last_leaf = [7; 32]),
            "does not name the one before",
        ),
        (
            "another time",
            changed(|snapshot| snapshot.point.last.as_mut().unwrap().0.boot_ms += 1),
            "not the one that was recorded",
        ),
    ];
    // Whoever reads the whole journal stops here: an older snapshot is used.
    world.change_segment(0, |bytes| bytes[40] ^= 1);
    for (what, bytes, why) in rows {
        std::fs::write(&path, bytes).unwrap();
        let recovered = world.recovered().unwrap();
        assert_eq!(recovered.point, whole, "{what}");
        assert_eq!(recovered.bad_snapshots, [size], "{what}");
        assert!(
            matches!(&*recovered.warnings, [one] if one.contains("passed over") && one.contains(why)),
            "{what}: {:?}",
            recovered.warnings
        );
        // The same place again: that is what is written next.
        assert_eq!(recovered.due.unwrap().encode().unwrap(), genuine, "{what}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(world.recovered().unwrap().point, whole);
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink(world.config.log_pub.clone(), &path).unwrap();
    assert_eq!(world.recovered().unwrap().point, whole);
    // And where none is any good, the whole journal is read.
    world.change_segment(0, |bytes| bytes[40] ^= 1);
    for size in sizes(&world) {
        let path = snapshots::path(&world.config.journal_dir, size);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"rubbish").unwrap();
    }
    let recovered = world.recovered().unwrap();
    assert_eq!(recovered.point, whole);
    assert_eq!(recovered.bad_snapshots.len(), KEPT);
}

#[test]
fn a_kill_between_any_two_steps_of_a_snapshot_leaves_a_start_that_comes_to_the_same() {
    let world = World::new();
    // Nothing can be written: what would have been is a warning, and the records are missing too.
    std::fs::write(directory(&world), b"in the way").unwrap();
    long_day(&world);
    std::fs::remove_file(directory(&world)).unwrap();
    std::fs::create_dir(directory(&world)).unwrap();
    let whole = whole(&world);
    let recovered = world.recovered().unwrap();
    assert_eq!(recovered.point, whole);
    let due = recovered.due.unwrap();
    let size = due.point.frontier.size();
    let bytes = due.encode().unwrap();
    let path = snapshots::path(&world.config.journal_dir, size);
    // Killed while it was written.
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, &bytes[..bytes.len() / 2]).unwrap();
    let recovered = world.recovered().unwrap();
    assert_eq!(
        (recovered.point, recovered.warnings.len()),
        (whole.clone(), 0)
    );
    // Killed when it had its name, before its record was durable.
    std::fs::write(&path, &bytes).unwrap();
    let recovered = world.recovered().unwrap();
    assert_eq!(recovered.point, whole);
    assert!(
        recovered.warnings[0].contains("no record behind it names it"),
        "{:?}",
        recovered.warnings
    );
    // The next run writes it again and records it; what was left over is gone.
    std::fs::write(snapshots::path(&world.config.journal_dir, 1), b"old").unwrap();
    run(async {
        let engine = world.start().await;
        engine.keep_up_now().await;
        let snapshots = kinds(&engine).await;
        let snapshots = snapshots.iter().filter(|kind| *kind == "snapshot");
        assert_eq!(snapshots.count(), 1);
        engine.drain("test").await;
    });
    assert!(!temporary.exists());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let recovered = world.recovered().unwrap();
    assert_eq!(recovered.warnings, [""; 0]);
    assert!(recovered.due.is_none(), "the start began there");
    // Killed before the older ones were removed: a start does not look at them.
    std::fs::write(snapshots::path(&world.config.journal_dir, 1), b"old").unwrap();
    assert_eq!(world.recovered().unwrap().warnings, [""; 0]);
}

#[test]
fn snapshots_that_cannot_be_written_are_a_warning_and_never_a_refusal() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        std::fs::write(directory(&world), b"in the way").unwrap();
        for _ in 0..150 {
            ask(&engine).await;
        }
        engine.keep_up_now().await;
        let status = engine.status();
        assert!(
            matches!(&*status.warnings, [one] if one.starts_with("upkeep: snapshots: ")),
            "{:?}",
            status.warnings
        );
        assert_eq!(status.refusing, None);
        std::fs::remove_file(directory(&world)).unwrap();
        engine.keep_up_now().await;
        assert_eq!(engine.status().warnings, [""; 0]);
        engine.drain("test").await;
    });
    assert_eq!(world.recovered().unwrap().warnings, [""; 0]);
}

#[test]
fn what_stops_a_start_from_the_whole_journal_stops_one_from_a_snapshot() {
    type Break = fn(&World, &[(PathBuf, Vec<u8>)]);
    let rows: [(&str, Break); 7] = [
        ("a flipped bit in the tail", |world, files| {
            world.change_segment(files.len() - 1, |bytes| bytes[40] ^= 1);
        }),
        ("the tail is cut at a note", |world, files| {
            world.change_segment(files.len() - 1, |bytes| {
                let first = first_note_end(bytes);
                bytes[first..].fill(0);
            });
        }),
        ("the last segment is gone", |_, files| {
            std::fs::remove_file(&files[files.len() - 1].0).unwrap();
        }),
        ("the segment before is gone", |_, files| {
            std::fs::remove_file(&files[files.len() - 2].0).unwrap();
        }),
        ("the first segment is gone", |_, files| {
            std::fs::remove_file(&files[0].0).unwrap();
        }),
        ("an older segment is cut", |world, _| {
            world.change_segment(1, |bytes| bytes.truncate(bytes.len() / 2));
        }),
        ("a segment more than there was", |world, files| {
            let (_, bytes) = &files[1];
            let stray = world.config.journal_dir.join(format!("{:020}.seg", 3));
            std::fs::write(stray, bytes).unwrap();
        }),
    ];
    for (what, damage) in rows {
        let world = World::new();
        long_day(&world);
        let files = world.journal_bytes();
        assert!(files.len() > KEPT + 1);
        damage(&world, &files);
        let damaged = world.journal_bytes();
        for snapshots in [true, false] {
            let found = match snapshots {
                true => world.recovered(),
                false => without_snapshots(&world, World::recovered),
            };
            let stopped = found.map(drop).unwrap_err();
            assert_eq!(stopped.exit_code(), 65, "{what}: {stopped}");
            assert_eq!(world.journal_bytes(), damaged, "{what}");
        }
    }
}

fn first_note_end(bytes: &[u8]) -> usize {
    let note = Frames::new(bytes).find_map(|item| match item {
        Item::Frame {
            at,
            frame: Frame::Note(_),
        } => Some(at.end),
        _ => None,
    });
    note.unwrap()
}

#[test]
fn a_signer_that_is_behind_the_newest_snapshot_is_shown_the_leaves_from_further_back() {
    let world = World::new();
    long_day(&world);
    let whole = whole(&world);
    world.signer.forget_everything_confirmed();
    let recovered = world.recovered().unwrap();
    assert_eq!(recovered.point, whole);
    assert_eq!(recovered.bad_snapshots, []);
    assert_eq!(world.signer.confirmed(), whole.frontier.size());
}

#[test]
fn a_journal_without_its_beginning_and_without_a_snapshot_says_what_to_bring_back() {
    let world = World::new();
    long_day(&world);
    std::fs::remove_file(&world.journal_bytes()[0].0).unwrap();
    let found = without_snapshots(&world, World::recovered);
    let stopped = found.map(drop).unwrap_err();
    assert!(
        matches!(stopped, NotRecovered::NoBeginning { .. }),
        "{stopped}"
    );
    let found = world.recovered().map(drop).unwrap_err();
    assert!(
        matches!(found, NotRecovered::Segment { first: 0, .. }),
        "{found}"
    );
}
