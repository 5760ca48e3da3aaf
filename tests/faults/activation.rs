//! Policies that somebody tampered with, and an apply that dies half way: the old policy decides.

use crate::{admin, development_policy, runtime};
use faramesh_proto::v1::{ActivateReply, ActivateRequest};
use faramesh_tests::World;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

/// What the second policy of these tests permits and the first does not.
const NEW: &str = "crm/delete";

fn wider() -> String {
    development_policy().replace("permit crm/lookup", "permit crm/*")
}

/// Asks the running daemon for this number, as `apply` does in its last step.
fn activate(world: &World, number: u64) -> ActivateReply {
    runtime().block_on(async {
        let mut admin = admin(&world.admin_socket()).await;
        admin
            .activate(ActivateRequest { number })
            .await
            .unwrap()
            .into_inner()
    })
}

/// A running stack with policy 1, beside which policy 2 lies complete and not activated.
fn with_waiting_policy() -> World {
    let world = World::development(&development_policy());
    die_after(&world, "next");
    world
}

fn die_after(world: &World, step: &str) {
    world.write_policy(&wider());
    let output = world
        .command(&["apply", "--development"])
        .env("FARAMESH_TEST_STOP_AFTER", step)
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(9), "{step}: {output:?}");
}

#[track_caller]
fn is_refused(world: &World, number: u64, why: &str) {
    let before = world.status();
    let reply = activate(world, number);
    assert!(!reply.activated && reply.message.contains(why), "{reply:?}");
    assert_eq!(world.status()["policy_digest"], before["policy_digest"]);
    assert_eq!(world.govern("bot", NEW, "{}").effect, "deny");
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_manifest_with_one_byte_changed_does_not_come_into_force() {
    let world = with_waiting_policy();
    let next = world.state("policy/next");
    let whole = fs::read(&next).unwrap();
    // In the digest's line, in the number's, and in the signature.
    let text = String::from_utf8(whole.clone()).unwrap();
    for at in [
        text.find("sha256").unwrap_or(40) + 8,
        whole.len() / 2,
        whole.len() - 8,
    ] {
        flip(&next, at);
        is_refused(&world, 2, "is refused");
        fs::write(&next, &whole).unwrap();
    }
    // Put back as it was, it counts.
    assert!(activate(&world, 2).activated);
    assert_eq!(world.govern("bot", NEW, "{}").effect, "permit");
}

#[test]
fn an_artifact_with_one_byte_changed_does_not_come_into_force() {
    let world = with_waiting_policy();
    let digest = world.status()["policy_digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let waiting = fs::read_dir(world.state("policy/artifacts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_none() && !path.ends_with(&digest))
        .unwrap();
    let whole = fs::read(&waiting).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        flip(&waiting, at);
        is_refused(&world, 2, "changed");
        fs::write(&waiting, &whole).unwrap();
    }
    assert!(activate(&world, 2).activated);
}

#[test]
fn a_manifest_of_another_stacks_key_does_not_come_into_force() {
    let world = with_waiting_policy();
    let other = with_waiting_policy();
    fs::copy(other.state("policy/next"), world.state("policy/next")).unwrap();
    is_refused(&world, 2, "is not signed by");
}

#[test]
fn a_manifest_with_a_lower_or_the_same_number_does_not_come_into_force() {
    let world = World::development(&wider());
    let first = fs::read(world.state("policy/next")).unwrap();
    world.write_policy(&development_policy());
    world.apply().unwrap();
    assert_eq!(world.govern("bot", NEW, "{}").effect, "deny");
    fs::write(world.state("policy/next"), first).unwrap();
    is_refused(&world, 1, "does not come after manifest 2");
    // And not under another number than its own.
    is_refused(&world, 3, "holds manifest 1");
}

#[test]
fn an_apply_that_dies_between_any_two_steps_leaves_the_running_daemon_deciding_by_the_old_policy() {
    for (step, pending) in [
        ("compile", false),
        ("capabilities", false),
        ("users", false),
        ("directories", false),
        ("keys", false),
        ("configuration", false),
        ("launcher", false),
        ("guard", false),
        ("artifact", false),
        ("artifact-note", false),
        ("manifest", false),
        ("next", true),
    ] {
        let mut world = World::development(&development_policy());
        die_after(&world, step);
        assert_eq!(world.govern("bot", NEW, "{}").effect, "deny", "{step}");
        assert_eq!(
            world.govern("bot", "crm/lookup", "{}").effect,
            "permit",
            "{step}"
        );
        let status = world.status();
        assert_eq!(status["policy_number"], 1, "{step}");
        let waiting = if pending {
            2.into()
        } else {
            serde_json::Value::Null
        };
        assert_eq!(status["pending_number"], waiting, "{step}");
        // The next start activates what is pending, and nothing else.
        world.stop();
        world.tune(&[]);
        world.start();
        let effect = if pending { "permit" } else { "deny" };
        assert_eq!(world.govern("bot", NEW, "{}").effect, effect, "{step}");
        assert_eq!(world.verify().0, 0, "{step}");
    }
}

#[test]
fn an_apply_that_dies_after_the_activation_has_changed_the_policy() {
    let world = World::development(&development_policy());
    die_after(&world, "activate");
    assert_eq!(world.govern("bot", NEW, "{}").effect, "permit");
    assert_eq!(world.status()["pending_number"], serde_json::Value::Null);
}
