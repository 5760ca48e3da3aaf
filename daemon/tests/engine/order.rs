//! One order: lanes in turn, time that may jump, refusals that are counted.

use crate::world::{World, ask, journal, kinds, submit};
use faramesh_core::decision::{Code, Resolution};
use faramesh_core::record::Outcome;
use faramesh_daemon::engine::Lane;

#[tokio::test]
async fn one_lane_that_floods_does_not_hold_up_another() {
    let world = World::new();
    let engine = world.start().await;
    let flood: Vec<_> = (0..200)
        .map(|_| submit(&engine, "flood").unwrap())
        .collect();
    let other = submit(&engine, "other").unwrap();
    let served = other.await.unwrap().unwrap().seq();
    // Start, activation, one of the flood, then it.
    assert_eq!(served, 3);
    for answer in flood {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_lane_is_overloaded_alone_and_what_it_lost_is_counted_in_the_journal() {
    let world = World::new();
    let engine = world.start().await;
    let waiting: Vec<_> = std::iter::from_fn(|| submit(&engine, "flood").ok()).collect();
    assert_eq!(waiting.len(), 256);
    assert_eq!(submit(&engine, "flood").unwrap_err().code, Code::Overloaded);
    let other = submit(&engine, "other").unwrap();
    other.await.unwrap().unwrap();
    let records = journal(&engine).await;
    let dropped: Vec<_> = records
        .iter()
        .filter(|(record, _)| record.contains(r#""kind":"dropped""#))
        .collect();
    assert_eq!(dropped.len(), 1);
    let record = &dropped[0].0;
    assert!(
        record.contains("OVERLOADED") && record.contains("flood"),
        "{record}"
    );
    for answer in waiting {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn refusals_at_the_door_are_in_the_journal_within_a_second_though_nobody_asks() {
    let world = World::new();
    let engine = world.start().await;
    let mut tail = engine.tail(2, true).unwrap();
    for _ in 0..3 {
        engine.dropped(Some("s1"), Code::CallInvalid);
    }
    engine.dropped(None, Code::IdentityUnverified);
    let record = String::from_utf8(tail.recv().await.unwrap().record).unwrap();
    assert!(record.contains(r#""kind":"dropped""#), "{record}");
    for part in ["CALL_INVALID", "IDENTITY_UNVERIFIED", "s1"] {
        assert!(record.contains(part), "{record}");
    }
}

#[tokio::test]
async fn calls_that_wait_are_finished_by_a_drain_and_later_ones_are_refused() {
    let world = World::new();
    let engine = world.start().await;
    let waiting: Vec<_> = (0..100).map(|_| submit(&engine, "s").unwrap()).collect();
    let (refused, ()) = tokio::join!(
        async {
            tokio::task::yield_now().await;
            submit(&engine, "s").unwrap_err().code
        },
        engine.drain("test"),
    );
    assert_eq!(refused, Code::DaemonNotReady);
    for answer in waiting {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_and_forth_is_recorded_and_breaks_no_order() {
    let world = World::new();
    let engine = world.start().await;
    ask(&engine).await;
    world.clock.step(-86_400_000);
    ask(&engine).await;
    world.clock.advance(1_000);
    ask(&engine).await;
    world.clock.step(86_400_000);
    ask(&engine).await;
    let kinds = kinds(&engine).await;
    assert_eq!(
        kinds[2..],
        [
            "decision",
            "clock_step",
            "decision",
            "decision",
            "clock_step",
            "decision"
        ]
    );
    let records = journal(&engine).await;
    assert!(records[3].0.contains("-86400000"), "{}", records[3].0);
}

#[tokio::test]
async fn a_clock_that_was_set_while_nobody_ran_is_recorded_at_the_next_start() {
    let world = World::new();
    let engine = world.start().await;
    engine.drain("test").await;
    drop(engine);
    tokio::task::yield_now().await;
    world.clock.step(3_600_000);
    let engine = world.start().await;
    assert_eq!(
        kinds(&engine).await,
        ["start", "activation", "stop", "clock_step", "start"]
    );
}

#[tokio::test]
async fn an_outcome_is_recorded_once_and_only_for_a_permit_of_the_same_caller() {
    let world = World::new();
    let engine = world.start().await;
    let permit = ask(&engine).await;
    let report = |session: Option<&str>, of: u64| {
        let outcome = Outcome {
            session: session.map(str::to_owned),
            of,
            status: "succeeded".to_owned(),
            result_digest: None,
            detail: String::new(),
        };
        engine.report(Lane::session("s"), outcome).unwrap()
    };
    // Somebody else's, and records that are no permit: the start, and one that is not written yet.
    for (session, of) in [
        (Some("s2"), permit.seq()),
        (None, 0),
        (None, permit.seq() + 1),
    ] {
        let refused = report(session, of).await.unwrap().unwrap_err();
        assert_eq!(refused.code, Code::CallInvalid, "{refused}");
    }
    report(None, permit.seq()).await.unwrap().unwrap();
    let again = report(None, permit.seq()).await.unwrap().unwrap_err();
    assert_eq!(again.code, Code::CallInvalid);
    engine.drain("test").await;
    drop(engine);
    // The fold over the journal knows it too.
    let engine = world.start().await;
    let outcomes = kinds(&engine)
        .await
        .into_iter()
        .filter(|kind| *kind == "outcome");
    assert_eq!(outcomes.count(), 1);
}

#[tokio::test]
async fn an_idle_journal_gets_a_heartbeat_and_one_in_use_does_not() {
    let world = World::new();
    let engine = world.start().await;
    let interval_ms = world.config.limits.heartbeat_seconds * 1_000;
    let begun = ["start", "activation"];
    world.clock.advance(interval_ms - 1);
    ask(&engine).await;
    // Had one been due it would lie before the decision.
    assert_eq!(kinds(&engine).await, [&begun[..], &["decision"]].concat());
    let mut tail = engine.tail(3, true).unwrap();
    for beat in 0..3 {
        world.clock.advance(interval_ms);
        let record = tail.recv().await.unwrap();
        assert_eq!(record.seq, 3 + beat);
        let text = String::from_utf8(record.record).unwrap();
        assert!(text.contains(r#""kind":"heartbeat""#), "{text}");
    }
    world.clock.advance(interval_ms - 1);
    ask(&engine).await;
    let beats = ["heartbeat", "heartbeat", "heartbeat", "decision"];
    let expected = [&begun[..], &["decision"], &beats].concat();
    assert_eq!(kinds(&engine).await, expected);
}

#[tokio::test]
async fn where_heartbeats_are_switched_off_an_idle_journal_stays_as_it_is() {
    let mut world = World::new();
    world.config.limits.heartbeat_seconds = 0;
    let engine = world.start().await;
    world.clock.advance(86_400_000);
    ask(&engine).await;
    world.clock.advance(86_400_000);
    engine.drain("test").await;
    let expected = ["start", "activation", "decision", "stop"];
    assert_eq!(kinds(&engine).await, expected);
}

#[tokio::test]
async fn a_caller_that_fills_the_journal_is_overloaded_for_an_hour_and_others_are_served() {
    let mut world = World::new();
    world.config.limits.session_journal_bytes_per_hour = 20_000;
    let engine = world.start().await;
    let mut permits = 0;
    let refusal = loop {
        match submit(&engine, "flood").unwrap().await.unwrap() {
            Ok(_) => permits += 1,
            Err(refusal) => break refusal,
        }
        assert!(permits < 100, "it is never refused");
    };
    assert!(permits > 5, "{permits}");
    assert_eq!(refusal.code, Code::Overloaded);
    assert_eq!(refusal.resolution(), Resolution::RetryAfterSeconds(3_600));
    submit(&engine, "other").unwrap().await.unwrap().unwrap();
    world.clock.advance(3_600_000);
    submit(&engine, "flood").unwrap().await.unwrap().unwrap();
    let dropped = journal(&engine).await;
    let dropped = dropped
        .iter()
        .find(|(record, _)| record.contains("OVERLOADED"));
    assert!(dropped.unwrap().0.contains(r#""session":"flood""#));
}
