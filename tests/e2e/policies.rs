//! How a policy comes into force, and how it does not.

use crate::{POLICY, development_policy};
use faramesh_tests::World;
use faramesh_tests::skip::root_or_skip;
use std::fs;
use std::path::PathBuf;

#[test]
fn a_new_policy_decides_the_next_call_and_its_activation_is_a_record() {
    let world = World::development(&development_policy());
    assert_eq!(world.govern("bot", "db/read", "{}").effect, "deny");
    world.write_policy(
        &development_policy().replace("permit crm/lookup", "permit crm/lookup\n    permit db/read"),
    );
    world.apply().unwrap();
    assert_eq!(world.govern("bot", "db/read", "{}").effect, "permit");
    let activations: Vec<_> = world
        .records(50)
        .into_iter()
        .filter(|r| r["record"]["kind"] == "activation")
        .collect();
    assert_eq!(activations.len(), 2);
    assert_eq!(activations[1]["record"]["number"], 2);
}

#[test]
fn an_apply_that_fails_leaves_the_old_policy_deciding() {
    let world = World::development(&development_policy());
    let before = world.status();
    for broken in [
        "agent \"bot\" { permti crm/lookup }",
        "agent \"bot\" { default maybe }",
        "agent \"bot\" { permit a/b if amount matches \"(\" }",
        "agent \"bot\" { default deny }\nagent \"bot\" { default permit }",
        "agent \"bot\" { budget daily { mux $500 } }",
        "agent \"bot\" { permit a/b if session.sum(a.b, 1h) > \"3\" }",
        "",
        "\u{0}",
    ] {
        world.write_policy(broken);
        let error = world.apply().expect_err(broken);
        assert!(error.contains("governance.fms"), "{broken}: {error}");
    }
    let after = world.status();
    assert_eq!(after["policy_digest"], before["policy_digest"]);
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

#[test]
fn what_no_daemon_enforces_is_refused_by_name_with_a_daemon_and_without_one() {
    let budget = "default deny\n  budget daily { max $500 }";
    let policy = development_policy().replace("default deny", budget);
    let refused = |world: &World| {
        let before = snapshot(world);
        world.write_policy(&policy);
        let error = world.apply().expect_err("a budget");
        assert!(
            error.contains("`budget` in agent `bot` is not enforced by this daemon"),
            "{error}"
        );
        assert!(error.contains("nothing was changed"), "{error}");
        assert_eq!(snapshot(world), before);
    };
    let mut world = World::development(&development_policy());
    refused(&world);
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
    world.stop();
    refused(&world);
}

#[test]
fn an_artifact_with_one_byte_changed_stops_the_start() {
    if !root_or_skip("an_artifact_with_one_byte_changed_stops_the_start") {
        return;
    }
    let mut world = World::enforced(POLICY);
    world.stop();
    let artifact = only_artifact(&world);
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&artifact, bytes).unwrap();
    world.spawn();
    let code = world.wait_ended();
    assert!([65, 78].contains(&code), "exit {code}: {}", world.log());
}

#[test]
fn a_manifest_of_another_key_is_refused_and_deleted_from_next() {
    if !root_or_skip("a_manifest_of_another_key_is_refused_and_deleted_from_next") {
        return;
    }
    let (world, other) = (World::enforced(POLICY), World::enforced(POLICY));
    let before = world.status();
    // The other stack's key signs this stack's next policy.
    fs::copy(
        other.state("etc").join("policy.key"),
        world.state("etc").join("policy.key"),
    )
    .unwrap();
    world.write_policy(&POLICY.replace("permit crm/lookup", "permit crm/*"));
    let error = world.apply().expect_err("signed by another key");
    assert!(error.contains("key") || error.contains("sign"), "{error}");
    assert_eq!(world.status()["policy_digest"], before["policy_digest"]);
    assert_eq!(world.govern("bot", "crm/delete", "{}").effect, "deny");
}

#[test]
fn an_older_manifest_put_in_place_of_next_does_not_bring_the_old_policy_back() {
    if !root_or_skip("an_older_manifest_put_in_place_of_next_does_not_bring_the_old_policy_back") {
        return;
    }
    let mut world = World::enforced(POLICY);
    let first = fs::read(world.state("policy").join("next")).unwrap();
    world.write_policy(&POLICY.replace("permit crm/lookup", "deny crm/lookup"));
    world.apply().unwrap();
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "deny");
    world.stop();
    fs::write(world.state("policy").join("next"), first).unwrap();
    world.start();
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "deny");
}

#[test]
fn plan_shows_the_rules_that_change_and_writes_nothing() {
    let world = World::development(&development_policy());
    world.write_policy(&development_policy().replace("permit crm/lookup", "permit crm/*"));
    let before = snapshot(&world);
    let output = world.faramesh(&["plan", "--development"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("crm/lookup") && text.contains("crm/*"),
        "{text}"
    );
    assert_eq!(snapshot(&world), before);
}

fn only_artifact(world: &World) -> PathBuf {
    fs::read_dir(world.state("policy").join("artifacts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_none())
        .unwrap()
}

/// Every file of the policy directory with its bytes.
fn snapshot(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for place in ["policy", "policy/artifacts", "policy/manifests"] {
        for entry in fs::read_dir(world.state(place)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                all.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}
