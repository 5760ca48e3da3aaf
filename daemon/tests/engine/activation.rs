//! Which policy decides: only a newer one that the policy key signed, from its record on.

use crate::world::{World, ask, kinds, policy, submit};
use faramesh_core::checkpoint::hex;
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::{self, Artifact};
use faramesh_core::record::{Body, SessionStart};
use faramesh_daemon::journal::Committed;

fn effect(committed: Committed) -> Effect {
    committed.into_parts().decided.unwrap().effect
}

#[tokio::test]
async fn calls_before_the_activation_keep_the_old_policy_and_calls_after_it_have_the_new() {
    let world = World::new();
    let engine = world.start().await;
    world.apply(2, &policy(Effect::Deny));
    assert_eq!(effect(ask(&engine).await), Effect::Permit);
    let activated = engine.activate(2).await.unwrap();
    assert_eq!(activated.number, 2);
    assert_eq!(engine.status().policy_digest, activated.digest);
    assert_eq!(effect(ask(&engine).await), Effect::Deny);
    assert_eq!(
        kinds(&engine).await,
        ["start", "activation", "decision", "activation", "decision"]
    );
}

#[tokio::test]
async fn numbers_may_have_gaps_and_the_old_artifact_may_come_back_under_a_new_number() {
    let world = World::new();
    let engine = world.start().await;
    world.apply(7, &policy(Effect::Deny));
    engine.activate(7).await.unwrap();
    world.apply(9, &policy(Effect::Permit));
    engine.activate(9).await.unwrap();
    assert_eq!(effect(ask(&engine).await), Effect::Permit);
    assert_eq!(engine.status().policy_number, 9);
}

/// What is done to what lies in the policy directory, and the words that refuse it.
type Row = (&'static str, fn(&World), &'static str);

#[tokio::test]
async fn a_manifest_or_artifact_that_was_tampered_with_never_decides() {
    let digest = |effect| {
        hex(&artifact::digest(
            &artifact::encode(&policy(effect)).unwrap(),
        ))
    };
    let denying = digest(Effect::Deny);
    let _ = denying;
    let rows: [Row; 9] = [
        (
            "nothing lies in next",
            |w| std::fs::remove_file(w.config.policy_dir.join("next")).unwrap(),
            "cannot read",
        ),
        (
            "one byte of the manifest",
            |w| flip(w, "next", 40),
            "next` is refused",
        ),
        (
            "a manifest by another key",
            |w| w.apply_signed_by(2, &policy(Effect::Deny), &w.strangers_key()),
            "not signed by",
        ),
        (
            "the number in force again",
            |w| w.apply(1, &policy(Effect::Deny)),
            "holds manifest 1",
        ),
        (
            "one byte of the artifact",
            |w| flip(w, &artifact_of(Effect::Deny), 30),
            "it was changed",
        ),
        (
            "one byte of its note",
            |w| flip(w, &format!("{}.note", artifact_of(Effect::Deny)), 60),
            "is refused",
        ),
        ("the note of another artifact", swap_notes, "is another one"),
        (
            "no artifact",
            |w| std::fs::remove_file(w.config.policy_dir.join(artifact_of(Effect::Deny))).unwrap(),
            "cannot read",
        ),
        (
            "needs what nobody enforces",
            |w| w.apply(2, &demanding()),
            "requires what this daemon does not enforce: rules.reeval",
        ),
    ];
    for (what, tamper, words) in rows {
        let world = World::new();
        let engine = world.start().await;
        world.apply(2, &policy(Effect::Deny));
        tamper(&world);
        let refused = engine.activate(2).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{what}: {refused}");
        assert_eq!(effect(ask(&engine).await), Effect::Permit, "{what}");
        assert_eq!(engine.status().policy_number, 1, "{what}");
    }
}

#[tokio::test]
async fn an_older_manifest_never_comes_back() {
    let world = World::new();
    world.apply(5, &policy(Effect::Deny));
    let engine = world.start().await;
    for number in [4, 5] {
        world.apply(number, &policy(Effect::Permit));
        let refused = engine.activate(number).await.unwrap_err().to_string();
        assert!(
            refused.contains("does not come after manifest 5"),
            "{refused}"
        );
    }
    assert_eq!(effect(ask(&engine).await), Effect::Deny);
}

#[tokio::test]
async fn two_activations_of_one_manifest_make_one_record() {
    let world = World::new();
    let engine = world.start().await;
    world.apply(2, &policy(Effect::Deny));
    let (first, second) = tokio::join!(engine.activate(2), engine.activate(2));
    assert_ne!(first.is_ok(), second.is_ok());
    assert_eq!(kinds(&engine).await, ["start", "activation", "activation"]);
}

#[test]
fn a_stack_without_a_policy_does_not_start() {
    let world = World::new();
    std::fs::remove_file(world.config.policy_dir.join("next")).unwrap();
    let refused = world.open().err().unwrap();
    assert_eq!(refused.exit_code(), 78);
    assert!(refused.to_string().contains("faramesh apply"), "{refused}");
}

#[tokio::test]
async fn at_start_the_last_activation_decides_and_a_waiting_manifest_is_activated() {
    let world = World::new();
    stop(&world).await;
    let engine = world.start().await;
    assert_eq!(engine.status().policy_number, 1);
    engine.drain("test").await;
    drop(engine);
    tokio::task::yield_now().await;
    world.apply(3, &policy(Effect::Deny));
    let engine = world.start().await;
    assert_eq!(engine.status().policy_number, 3);
    assert_eq!(effect(ask(&engine).await), Effect::Deny);
}

#[tokio::test]
async fn an_artifact_in_force_that_is_missing_or_changed_refuses_the_start_until_one_is_applied() {
    let world = World::new();
    stop(&world).await;
    flip(&world, &artifact_of(Effect::Permit), 30);
    let refused = world.open().err().unwrap();
    assert_eq!(refused.exit_code(), 78);
    assert!(refused.to_string().contains("it was changed"), "{refused}");
    world.apply(2, &policy(Effect::Deny));
    let engine = world.start().await;
    assert_eq!(effect(ask(&engine).await), Effect::Deny);
}

#[tokio::test]
async fn a_forged_next_at_start_is_a_warning_and_the_old_policy_decides() {
    let world = World::new();
    stop(&world).await;
    world.apply_signed_by(2, &policy(Effect::Deny), &world.strangers_key());
    let engine = world.start().await;
    assert_eq!(effect(ask(&engine).await), Effect::Permit);
    let warnings = engine.status().warnings.join("\n");
    assert!(warnings.contains("not signed by"), "{warnings}");
}

#[tokio::test]
async fn a_waiting_manifest_that_needs_more_than_is_enforced_refuses_the_start() {
    let world = World::new();
    stop(&world).await;
    world.apply(2, &demanding());
    let refused = world.open().err().unwrap();
    assert_eq!(refused.exit_code(), 78);
    assert!(refused.to_string().contains("rules.reeval"), "{refused}");
}

#[tokio::test]
async fn sessions_are_a_fold_over_the_journal_and_are_found_again_after_a_crash() {
    let world = World::new();
    let engine = world.start().await;
    for session in ["a", "b"] {
        let start = Body::SessionStart(Box::new(session_start(session)));
        engine.append(start).unwrap().await.unwrap().unwrap();
    }
    let end = Body::SessionEnd {
        session: "a".into(),
        reason: "exit".into(),
        calls: 0,
    };
    engine.append(end.clone()).unwrap().await.unwrap().unwrap();
    let again = engine.append(end).unwrap().await.unwrap().unwrap_err();
    assert!(again.message.contains("not alive"), "{again}");
    engine.drain("test").await;
    drop(engine);
    tokio::task::yield_now().await;
    let engine = world.start().await;
    let left: Vec<_> = engine.left_over().iter().collect();
    assert_eq!(left, [(&"b".to_owned(), &0)]);
    submit(&engine, "s").unwrap().await.unwrap().unwrap();
}

async fn stop(world: &World) {
    let engine = world.start().await;
    engine.drain("test").await;
    drop(engine);
    // The sequencer's task holds the journal's lock until it has returned.
    tokio::task::yield_now().await;
}

fn artifact_of(effect: Effect) -> String {
    let digest = artifact::digest(&artifact::encode(&policy(effect)).unwrap());
    format!("artifacts/{}", hex(&digest))
}

fn demanding() -> Artifact {
    let mut artifact = policy(Effect::Deny);
    let agent = artifact.agents.first_mut().unwrap();
    agent.rules.first_mut().unwrap().reeval = true;
    artifact.requires = vec!["rules".into(), "rules.reeval".into()];
    artifact
}

fn flip(world: &World, file: &str, at: usize) {
    let path = world.config.policy_dir.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn swap_notes(world: &World) {
    let note = |effect| {
        world
            .config
            .policy_dir
            .join(format!("{}.note", artifact_of(effect)))
    };
    std::fs::copy(note(Effect::Permit), note(Effect::Deny)).unwrap();
}

fn session_start(session: &str) -> SessionStart {
    SessionStart {
        session: session.into(),
        agent: "bot".into(),
        uid: 1001,
        pid: 4242,
        start_ticks: 77,
        boot_id: "b".into(),
        workspace: "/w".into(),
        cgroup: String::new(),
        command: vec!["python3".into()],
        stripped_env: vec![],
        probes: vec![],
    }
}
