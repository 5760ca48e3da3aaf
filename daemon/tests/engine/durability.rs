//! What was answered is in the journal, whatever happens; what is not in the journal was not answered.

use crate::world::{Fault, Mood, World, ask, call, journal, kinds, submit};
use faramesh_core::decision::{Code, Effect};
use faramesh_core::receipt::Receipt;
use faramesh_core::record::Door;
use faramesh_daemon::engine::{Engine, Lane, StartFailure};
use faramesh_daemon::journal::recover::NotRecovered;
use faramesh_daemon::reply::{self, Audience};
use tokio::sync::oneshot::error::TryRecvError;

#[tokio::test]
async fn a_permit_carries_a_receipt_that_a_third_party_can_check() {
    let world = World::new();
    let engine = world.start().await;
    let committed = ask(&engine).await;
    let parts = committed.clone().into_parts();
    let decided = parts.decided.unwrap();
    assert_eq!(decided.effect, Effect::Permit);
    let receipt = Receipt {
        record: parts.record,
        leaf_index: parts.seq,
        path: parts.path,
        checkpoint: parts.note.to_string(),
        args_salt: decided.args_salt,
    };
    let verified = receipt.verify(&world.log_key()).unwrap();
    assert_eq!(verified.effect, Effect::Permit);
    assert_eq!(verified.tool, "shop/refund");
    assert!(verified.is_about(r#"{"amount":80,"order":"A-1"}"#));
    assert!(!verified.is_about(r#"{"amount":81,"order":"A-1"}"#));
    let wire = reply::committed(committed, Audience::Agent);
    assert_eq!(wire.effect(), faramesh_proto::v1::Effect::Permit);
    assert_eq!(wire.receipt.unwrap().record, receipt.record);
}

#[tokio::test]
async fn a_run_begins_with_start_and_ends_with_stop_and_the_next_goes_on_from_there() {
    let world = World::new();
    let engine = world.start().await;
    ask(&engine).await;
    engine.drain("test").await;
    drop(engine);
    let engine = world.start().await;
    ask(&engine).await;
    let kinds = kinds(&engine).await;
    assert_eq!(
        kinds,
        [
            "start",
            "activation",
            "decision",
            "stop",
            "start",
            "decision"
        ]
    );
}

/// Every step of a batch (two writes, one sync), every way to fail at it, with calls before and after.
#[test]
fn every_call_that_was_answered_is_in_the_journal_whatever_the_disk_does() {
    let faults = [
        Fault::Fails,
        Fault::FailsButPersists,
        Fault::FailsHalfWritten,
        Fault::KilledBefore,
        Fault::KilledHalfway,
        Fault::KilledAfter,
    ];
    for step in 0..9 {
        for fault in faults {
            eprintln!("step {step}, {fault:?}");
            answered_calls_survive(step, fault);
        }
    }
}

fn answered_calls_survive(step: usize, fault: Fault) {
    let world = World::new();
    let mut answered = Vec::new();
    run(async {
        let engine = world.start().await;
        answered.push(ask(&engine).await);
        world.disk.plan(step, fault);
        // One batch each: three steps of the disk.
        for _ in 0..step / 3 {
            answered.push(ask(&engine).await);
        }
        let mut unlucky = submit(&engine, "s").unwrap();
        world.disk.fault().await;
        // The killed thread released nothing, the failed one never will.
        if !matches!(
            fault,
            Fault::KilledBefore | Fault::KilledHalfway | Fault::KilledAfter
        ) {
            engine.fatal().await;
            assert_eq!(
                submit(&engine, "s").unwrap_err().code,
                Code::JournalUnavailable
            );
        }
        assert_eq!(unlucky.try_recv(), Err(TryRecvError::Empty));
    });
    world.disk.heal();
    run(async {
        let engine = world.start().await;
        let records = journal(&engine).await;
        for committed in answered {
            let parts = committed.into_parts();
            let at = usize::try_from(parts.seq).unwrap();
            assert_eq!(records[at].0.as_bytes(), parts.record);
        }
        ask(&engine).await;
    });
}

/// One runtime, as one process: what it holds is gone afterwards.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

#[tokio::test]
async fn a_failed_sync_halts_for_good_and_a_failed_write_may_be_restarted() {
    for (step, exit_code) in [(0, 69), (1, 69), (2, 65)] {
        let world = World::new();
        let engine = world.start().await;
        world.disk.plan(step, Fault::Fails);
        let _silent = submit(&engine, "s").unwrap();
        let fatal = engine.fatal().await;
        assert_eq!(fatal.exit_code(), exit_code, "{fatal}");
    }
}

#[tokio::test]
async fn no_answer_leaves_when_the_signer_is_gone_refuses_or_signs_another_tree() {
    let rows = [
        (Mood::Leaves, 69, "gone"),
        (Mood::Refuses, 65, "I do not like this tree"),
        (Mood::SignsAnotherTree, 65, "not for our tree"),
    ];
    for (mood, exit_code, words) in rows {
        let world = World::new();
        let engine = world.start().await;
        world.signer.set(mood);
        let mut answer = submit(&engine, "s").unwrap();
        let fatal = engine.fatal().await;
        assert_eq!(fatal.exit_code(), exit_code, "{fatal}");
        assert!(fatal.to_string().contains(words), "{fatal}");
        assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    }
}

#[tokio::test]
async fn a_signer_that_goes_away_is_noticed_while_nobody_asks() {
    let world = World::new();
    let engine = world.start().await;
    world.signer.set(Mood::Gone);
    assert_eq!(engine.fatal().await.exit_code(), 69);
}

#[test]
fn a_batch_that_was_answered_survives_a_signer_that_never_heard_of_it() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        while world.signer.confirmed() < 2 {
            tokio::task::yield_now().await;
        }
        world.signer.set(Mood::LeavesAfterTheNote);
        let answered = ask(&engine).await;
        assert_eq!(answered.seq(), 2);
        assert_eq!(engine.fatal().await.exit_code(), 69);
    });
    world.signer.set(Mood::Honest);
    assert_eq!(world.signer.confirmed(), 2);
    run(async {
        let engine = world.start().await;
        assert_eq!(
            kinds(&engine).await,
            ["start", "activation", "decision", "start"]
        );
    });
}

#[test]
fn a_signer_whose_head_is_older_than_the_journal_adopts_its_own_note() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        ask(&engine).await;
        engine.drain("test").await;
    });
    world.signer.forget_everything_confirmed();
    run(async {
        let engine = world.start().await;
        assert_eq!(ask(&engine).await.seq(), 5);
    });
}

#[test]
fn a_torn_tail_is_cut_and_the_start_record_says_how_much() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        ask(&engine).await;
        engine.drain("test").await;
    });
    let mut clean = Vec::new();
    world.change_segment(0, |bytes| {
        clean.clone_from(bytes);
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[end..end + 7].copy_from_slice(b"FMJ1\x01\0\x07");
    });
    run(async {
        let engine = world.start().await;
        let records = journal(&engine).await;
        assert!(
            records[4].0.contains(r#""cut_bytes":7"#),
            "{}",
            records[4].0
        );
        ask(&engine).await;
    });
}

#[test]
fn a_flipped_bit_below_the_head_stops_the_start_and_changes_nothing() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        ask(&engine).await;
        engine.drain("test").await;
    });
    world.change_segment(0, |bytes| bytes[200] ^= 4);
    let before = world.journal_bytes();
    let refused = world.open().err().unwrap();
    assert_eq!(refused.exit_code(), 65, "{refused}");
    assert!(refused.to_string().contains("damaged"), "{refused}");
    assert_eq!(world.journal_bytes(), before);
}

#[test]
fn a_new_journal_beside_a_signer_that_has_signed_is_refused() {
    let world = World::new();
    run(async {
        let engine = world.start().await;
        engine.drain("test").await;
    });
    for (path, _) in world.journal_bytes() {
        std::fs::remove_file(path).unwrap();
    }
    let refused = world.open().err().unwrap();
    assert_eq!(refused.exit_code(), 65, "{refused}");
    assert_eq!(world.journal_bytes(), []);
}

#[tokio::test]
async fn a_second_daemon_on_one_journal_is_refused() {
    let world = World::new();
    let _engine = world.start().await;
    let refused = world.open().err().unwrap();
    assert!(
        matches!(&refused, StartFailure::Journal(NotRecovered::Locked { .. })),
        "{refused}"
    );
}

#[test]
fn the_journal_goes_on_over_many_segments_and_a_reader_sees_one_journal() {
    let world = World::new();
    let mut records = 0;
    run(async {
        let engine = world.start().await;
        for _ in 0..300 {
            ask(&engine).await;
        }
        engine.keep_up_now().await;
        let kinds = kinds(&engine).await;
        let decisions = kinds.iter().filter(|kind| *kind == "decision").count();
        assert_eq!(decisions, 300);
        records = kinds.len();
        engine.drain("test").await;
    });
    assert!(world.journal_bytes().len() > 2);
    run(async {
        let engine = world.start().await;
        let seq = ask(&engine).await.seq() as usize;
        assert!(seq >= records + 2, "a stop and a start follow");
        assert_eq!(journal(&engine).await.len(), seq + 1);
    });
}

#[tokio::test]
async fn a_reader_that_follows_is_sent_what_becomes_durable() {
    let world = World::new();
    let engine = world.start().await;
    let mut tail = engine.tail(2, true).unwrap();
    let committed = ask(&engine).await;
    let record = tail.recv().await.unwrap();
    assert_eq!(record.seq, 2);
    assert_eq!(record.record, committed.into_parts().record);
    engine.drain("test").await;
    assert_eq!(tail.recv().await.unwrap().seq, 3);
    assert_eq!(tail.recv().await, None);
}

#[tokio::test]
async fn a_call_larger_than_a_segment_is_refused_and_the_next_is_served() {
    let world = World::new();
    let engine = world.start().await;
    let large = call(&format!(r#"{{"text":"{}"}}"#, "x".repeat(100_000)));
    let answer = engine.submit(Lane::session("s"), large, Door::Govern);
    let refusal = answer.unwrap().await.unwrap().unwrap_err();
    assert_eq!(refusal.code, Code::CallInvalid);
    ask(&engine).await;
}

#[tokio::test]
async fn a_full_disk_refuses_every_call_until_there_is_space_and_loses_nothing() {
    let world = World::new();
    let engine = world.start().await;
    // The first segment is in use; with the second one prepared, a batch of one call each fits more than fifty times.
    world.disk.prepared(2).await;
    world.disk.full(true);
    let mut answered = 0;
    let refusal = loop {
        match submit(&engine, "s") {
            Err(refusal) => break refusal,
            Ok(answer) => match answer.await.unwrap() {
                Ok(_) => answered += 1,
                Err(refusal) => break refusal,
            },
        }
    };
    assert_eq!(refusal.code, Code::JournalUnavailable);
    assert!(answered > 50, "{answered} calls before the disk was full");
    assert_eq!(
        engine.status().refusing.unwrap().code,
        Code::JournalUnavailable
    );
    world.disk.full(false);
    serves_again(&engine).await;
    for _ in 0..100 {
        ask(&engine).await;
        answered += 1;
    }
    let kinds = kinds(&engine).await;
    let decisions = kinds.iter().filter(|kind| *kind == "decision").count();
    assert_eq!(decisions, answered);
}

/// Set in the process that this test starts in a mount namespace of its own.
const INSIDE: &str = "FARAMESH_TEST_IN_MOUNT_NAMESPACE";

#[test]
fn a_full_file_system_refuses_every_call_until_there_is_space_and_loses_nothing() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a full file system needs root: it mounts a tmpfs");
    }
    if std::env::var_os(INSIDE).is_none() {
        let status = std::process::Command::new("unshare")
            .args(["--mount", "--"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "durability::a_full_file_system_refuses_every_call_until_there_is_space_and_loses_nothing",
                "--nocapture",
            ])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let mounted = tempfile::tempdir().unwrap();
    mount(mounted.path(), "size=160k", false);
    let world = World::with_journal_in(Some(mounted.path()));
    run(async {
        let engine = world.start().await;
        let mut answered = 0;
        let refusal = loop {
            match submit(&engine, "s") {
                Err(refusal) => break refusal,
                Ok(answer) => match answer.await.unwrap() {
                    Ok(_) => answered += 1,
                    Err(refusal) => break refusal,
                },
            }
        };
        assert_eq!(refusal.code, Code::JournalUnavailable);
        mount(mounted.path(), "size=4m", true);
        serves_again(&engine).await;
        for _ in 0..200 {
            ask(&engine).await;
            answered += 1;
        }
        let kinds = kinds(&engine).await;
        let decisions = kinds.iter().filter(|kind| *kind == "decision").count();
        assert_eq!(decisions, answered);
    });
}

/// Returns when a segment is there. That it was made is known only once the engine says so: there is no earlier event.
async fn serves_again(engine: &Engine) {
    while engine.status().refusing.is_some() {
        tokio::task::yield_now().await;
    }
}

fn mount(at: &std::path::Path, options: &str, again: bool) {
    use nix::mount::{MsFlags, mount};
    let flags = if again {
        MsFlags::MS_REMOUNT
    } else {
        MsFlags::empty()
    };
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).unwrap();
}

/// Said aloud, and written where the test runner counts it.
fn skipped(why: &str) {
    use std::io::Write as _;
    eprintln!("SKIPPED: {why}");
    if let Some(log) = std::env::var_os("FARAMESH_SKIP_LOG") {
        let mut log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        writeln!(log, "{why}").unwrap();
    }
}
