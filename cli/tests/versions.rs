//! `policy list`, `policy show` and `rollback`: what was signed, what it says, and how to go back to it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{POLICY, POLICY_2, World, need_siblings};
use serde_json::Value;
use std::fs;

/// Two policies, applied in turn.
fn twice() -> World {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    world.write("governance.fms", POLICY_2);
    world.faramesh(&["apply"]).exits(0);
    world
}

fn list(world: &World) -> Vec<Value> {
    let report = world
        .faramesh(&["policy", "list", "--format", "json"])
        .exits(0)
        .json();
    let policies = report.get("policies").unwrap();
    policies.as_array().unwrap().clone()
}

fn states(world: &World) -> Vec<(u64, String)> {
    list(world)
        .iter()
        .map(|one| {
            let state = one["state"].as_str().unwrap().to_owned();
            (one["number"].as_u64().unwrap(), state)
        })
        .collect()
}

fn state(number: u64, state: &str) -> (u64, String) {
    (number, state.to_owned())
}

#[test]
fn every_policy_that_was_signed_is_listed_with_what_became_of_it() {
    let world = twice();
    assert_eq!(states(&world), [state(2, "next_start"), state(1, "unused")]);
    let newest = &list(&world)[0];
    assert!(newest["digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(newest["time"].as_str().unwrap().ends_with('Z'));
    assert!(newest["signed_by"].as_str().unwrap().contains('('));
    world.faramesh(&["policy", "list"]).exits(0).says(&[
        "number  digest",
        "from the next start",
        "never in force",
    ]);
    let daemon = world.serve();
    assert_eq!(
        states(&world),
        [state(2, "in_force"), state(1, "unused")],
        "no daemon ever decided by 1"
    );
    world.write("governance.fms", POLICY);
    world.faramesh(&["apply"]).exits(0);
    assert_eq!(states(&world)[1], state(2, "earlier"));
    drop(daemon);
}

#[test]
fn a_manifest_that_was_changed_is_listed_as_one_that_cannot_be_trusted_and_never_gone_back_to() {
    let world = twice();
    let first = world.state("policy/manifests/00000000000000000001.note");
    let text = fs::read_to_string(&first).unwrap();
    fs::write(&first, text.replace("bot", "bat")).unwrap();
    let before = world.manifests();
    let listed = list(&world);
    assert!(listed[1]["untrusted"].is_string(), "{listed:?}");
    assert!(listed[1]["digest"].is_null());
    world
        .faramesh(&["rollback", "--to", "1", "--yes"])
        .exits(65)
        .says(&["cannot be trusted"]);
    world.faramesh(&["rollback", "--yes"]).exits(65);
    world.faramesh(&["policy", "show", "1"]).exits(65);
    assert_eq!(world.manifests(), before);
}

#[test]
fn a_stored_policy_is_shown_as_a_file_that_compiles_to_it() {
    let world = twice();
    for (which, policy) in [(Some("1"), POLICY), (None, POLICY_2)] {
        let mut args = vec!["policy", "show"];
        args.extend(which);
        let shown = world.faramesh(&args).exits(0).stdout;
        let other = World::with(&shown);
        let source = World::with(policy);
        let digest = |world: &World| {
            world
                .faramesh(&["check", "--format", "json"])
                .exits(0)
                .json()["digest"]
                .clone()
        };
        assert_eq!(digest(&other), digest(&source), "{shown}");
        assert!(shown.contains(digest(&source).as_str().unwrap()), "{shown}");
    }
}

#[test]
fn a_stored_policy_is_named_by_number_or_by_the_start_of_its_digest() {
    let world = twice();
    let digest = list(&world)[1]["digest"].as_str().unwrap().to_owned();
    let hex = digest.strip_prefix("sha256:").unwrap();
    for which in ["1", &digest, hex, &hex[..8]] {
        let shown = world
            .faramesh(&["policy", "show", which, "--format", "json"])
            .exits(0)
            .json();
        assert_eq!(
            (&shown["number"], &shown["digest"]),
            (&1.into(), &digest.clone().into())
        );
        assert!(
            shown["policy"]
                .as_str()
                .unwrap()
                .contains("permit stripe/refund")
        );
    }
    for which in ["9", "0", "ffffffff", "1ab", "\u{1b}[2J"] {
        let answer = world.faramesh(&["policy", "show", which]).exits(65);
        assert!(!answer.stderr.contains('\u{1b}'), "{:?}", answer.stderr);
    }
}

#[test]
fn an_artifact_that_was_changed_is_not_shown_and_not_gone_back_to() {
    let world = twice();
    let digest = list(&world)[1]["digest"].as_str().unwrap().to_owned();
    let path = world
        .state("policy/artifacts")
        .join(digest.strip_prefix("sha256:").unwrap());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let before = world.manifests();
    world
        .faramesh(&["policy", "show", "1"])
        .exits(65)
        .says(&["cannot be trusted"]);
    world
        .faramesh(&["rollback", "--yes"])
        .exits(65)
        .says(&["cannot be trusted"]);
    assert_eq!(world.manifests(), before);
}

#[test]
fn rollback_puts_the_older_policy_in_force_under_a_higher_number() {
    let world = twice();
    let first = list(&world)[1]["digest"].clone();
    let _daemon = world.serve();
    let answer = world.faramesh(&["rollback", "--yes"]).exits(0);
    answer.says(&[
        "back to 1",
        "- permit crm/read",
        "what it means",
        "narrower: now denied (was permitted): crm/read {}",
        "applied bot 3",
    ]);
    assert_eq!(
        states(&world),
        [
            state(3, "in_force"),
            state(2, "earlier"),
            state(1, "unused")
        ]
    );
    let status = world
        .faramesh(&["status", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(status["daemon"]["policy_number"], 3);
    assert_eq!(status["daemon"]["policy_digest"], first);
    // And forward again: the one before it that says another thing.
    let report = world
        .faramesh(&["rollback", "--yes", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&report["number"], &report["outcome"]),
        (&4.into(), &"activated".into())
    );
    world
        .faramesh(&["govern", "--agent", "bot", "--tool", "crm/read"])
        .exits(0);
}

#[test]
fn rollback_asks_and_without_an_answer_changes_nothing() {
    let world = twice();
    let before = world.snapshot();
    world.faramesh(&["rollback"]).exits(64).says(&[
        "- permit crm/read",
        "--yes",
        "nothing was changed",
    ]);
    world.faramesh(&["rollback", "--format", "json"]).exits(64);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn rollback_goes_to_nothing_that_is_in_force_or_was_never_signed() {
    let world = twice();
    let before = world.snapshot();
    world
        .faramesh(&["rollback", "--to", "2", "--yes"])
        .exits(65)
        .says(&["2 is the policy in force"]);
    world
        .faramesh(&["rollback", "--to", "7", "--yes"])
        .exits(65)
        .says(&["number 7", "policy list"]);
    assert_eq!(world.snapshot(), before);
    let world = World::with(POLICY);
    world
        .faramesh(&["rollback", "--yes"])
        .exits(69)
        .says(&["faramesh apply"]);
    need_siblings();
    world.faramesh(&["apply"]).exits(0);
    world
        .faramesh(&["rollback", "--yes"])
        .exits(65)
        .says(&["no other policy"]);
}

#[test]
fn rollback_to_what_the_daemon_cannot_enforce_is_refused_construct_by_construct() {
    let world = twice();
    let world = world.with_siblings(&[("farameshd", "echo notify.recorded")]);
    let before = world.manifests();
    world.faramesh(&["rollback", "--yes"]).exits(69).says(&[
        "any rule is not enforced by this daemon",
        "nothing was changed",
    ]);
    assert_eq!(world.manifests(), before);
}

#[test]
fn an_activation_that_the_daemon_refuses_is_listed_with_its_reason_and_its_number_is_used_up() {
    let world = twice();
    let _daemon = world.serve();
    // The pinned key in the daemon's memory is the old one; a manifest by another key is refused by it.
    for name in ["etc/policy.key", "etc/policy.pub"] {
        fs::remove_file(world.state(name)).unwrap();
    }
    world.write("governance.fms", POLICY);
    world
        .faramesh(&["apply"])
        .exits(65)
        .says(&["refused the policy", "number 3 is used up"]);
    let listed = list(&world);
    assert_eq!(listed[0]["number"], 3);
    assert_eq!(listed[0]["state"], "refused");
    assert!(listed[0]["refused"].as_str().unwrap().len() > 10);
    assert!(!world.state("policy/next").exists());
}
