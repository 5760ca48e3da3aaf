//! `apply` without a daemon: what it writes, and what it leaves when it dies.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{POLICY, POLICY_2, World, need_siblings};
use faramesh_cli::commands::apply::Step;
use faramesh_core::checkpoint::{ArtifactStatement, Manifest, PublicKey, hex};
use std::fs;
use std::os::unix::fs::MetadataExt;

fn policy_key(world: &World) -> PublicKey {
    PublicKey::parse_vkey(&fs::read_to_string(world.state("etc/policy.pub")).unwrap()).unwrap()
}

fn next(world: &World) -> Manifest {
    let note = fs::read(world.state("policy/next")).unwrap();
    policy_key(world)
        .open::<Manifest>(&note)
        .unwrap()
        .into_inner()
}

#[test]
fn what_is_applied_is_signed_numbered_and_pending() {
    need_siblings();
    let world = World::with(POLICY);
    let report = world
        .faramesh(&["apply", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&report["outcome"], &report["number"]),
        (&"pending".into(), &1.into())
    );
    let manifest = next(&world);
    assert_eq!((manifest.number, manifest.stack.as_str()), (1, "bot"));
    assert_eq!(
        report["digest"],
        format!("sha256:{}", hex(&manifest.digest))
    );
    let name = hex(&manifest.digest);
    let bytes = fs::read(world.state("policy/artifacts").join(&name)).unwrap();
    assert_eq!(
        faramesh_core::policy::artifact::digest(&bytes),
        manifest.digest
    );
    let note = fs::read(world.state("policy/artifacts").join(format!("{name}.note"))).unwrap();
    assert_eq!(
        policy_key(&world)
            .open::<ArtifactStatement>(&note)
            .unwrap()
            .digest,
        manifest.digest
    );
}

#[test]
fn development_is_said_loudly_and_written_into_the_configuration() {
    need_siblings();
    let world = World::with(POLICY);
    world
        .faramesh(&["apply", "--quiet"])
        .exits(0)
        .says(&["warning:", "DEVELOPMENT", "any agent"]);
    let config = faramesh_daemon::config::Config::load(&world.state("etc/daemon.toml")).unwrap();
    assert_eq!(config.mode, faramesh_daemon::config::Mode::Development);
    assert!(config.warnings[0].contains("nothing here stands against this user"));
}

#[test]
fn the_keys_are_made_once_and_for_their_owner_alone() {
    need_siblings();
    let world = World::with(POLICY);
    world
        .faramesh(&["apply"])
        .exits(0)
        .says(&["made", "policy.key"]);
    let first = fs::read(world.state("etc/policy.key")).unwrap();
    let pins = ["etc/policy.pub", "etc/log.pub"].map(|name| fs::read(world.state(name)).unwrap());
    assert_eq!(
        fs::metadata(world.state("etc/policy.key")).unwrap().mode() & 0o7777,
        0o600
    );
    world.write("governance.fms", POLICY_2);
    world.faramesh(&["apply"]).exits(0);
    assert_eq!(fs::read(world.state("etc/policy.key")).unwrap(), first);
    assert_eq!(
        ["etc/policy.pub", "etc/log.pub"].map(|name| fs::read(world.state(name)).unwrap()),
        pins
    );
}

#[test]
fn numbers_rise_with_each_apply() {
    need_siblings();
    let world = World::with(POLICY);
    for (number, policy) in [(1, POLICY), (2, POLICY_2), (3, POLICY)] {
        world.write("governance.fms", policy);
        world
            .faramesh(&["apply"])
            .exits(0)
            .says(&[&format!("next {number} pending")]);
        assert_eq!(next(&world).number, number);
    }
    assert_eq!(world.manifests(), [1, 2, 3]);
}

#[test]
fn an_apply_that_changes_nothing_says_so_and_signs_nothing() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    let before = world.snapshot();
    let report = world
        .faramesh(&["apply", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(report["outcome"], "unchanged");
    world
        .faramesh(&["apply"])
        .exits(0)
        .says(&["nothing changed"]);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_policy_with_errors_changes_nothing() {
    need_siblings();
    let world = World::with("agent \"bot\" { default maybe }");
    world
        .faramesh(&["apply"])
        .exits(65)
        .says(&["has errors, nothing was changed"]);
    assert!(!world.dir.join(".faramesh").exists());
    world.write("governance.fms", POLICY);
    world.faramesh(&["apply"]).exits(0);
    let before = world.snapshot();
    world.write("governance.fms", "agent \"bot\" { default maybe }");
    world.faramesh(&["apply"]).exits(65);
    let after = world.snapshot();
    let state = |files: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| -> Vec<_> {
        files
            .iter()
            .filter(|(path, _)| path.starts_with(world.dir.join(".faramesh")))
            .map(|(p, b)| (p.clone(), b.clone()))
            .collect()
    };
    assert_eq!(state(&before), state(&after));
}

#[test]
fn death_between_two_steps_leaves_the_old_policy_until_next_is_written() {
    need_siblings();
    for step in Step::ALL {
        let world = World::with(POLICY);
        world.faramesh(&["apply"]).exits(0);
        let old = fs::read(world.state("policy/next")).unwrap();
        world.write("governance.fms", POLICY_2);
        world.killed_after(step.name()).exits(-9);
        let now = fs::read(world.state("policy/next")).unwrap();
        let written = matches!(step, Step::Next | Step::Activate);
        assert_eq!(now != old, written, "{}", step.name());
        assert_eq!(
            next(&world).number,
            if written { 2 } else { 1 },
            "{}",
            step.name()
        );
        // Whatever it left does not stand in the way of the next one, and no number is used twice.
        let report = world
            .faramesh(&["apply", "--format", "json"])
            .exits(0)
            .json();
        let used = world.manifests();
        assert_eq!(
            next(&world).number,
            *used.last().unwrap(),
            "{}",
            step.name()
        );
        let expected = match step {
            Step::Next | Step::Activate => ("unchanged", 2),
            Step::Manifest => ("pending", 3),
            _ => ("pending", 2),
        };
        assert_eq!(
            (
                report["outcome"].as_str().unwrap(),
                report["number"].as_u64().unwrap()
            ),
            expected,
            "{}",
            step.name()
        );
    }
}

#[test]
fn death_in_the_very_first_apply_leaves_nothing_that_is_in_force() {
    need_siblings();
    for step in Step::ALL {
        let world = World::with(POLICY);
        world.killed_after(step.name()).exits(-9);
        let written = matches!(step, Step::Next | Step::Activate);
        assert_eq!(
            world.state("policy/next").exists(),
            written,
            "{}",
            step.name()
        );
        world.faramesh(&["apply"]).exits(0);
        assert_eq!(next(&world).number, *world.manifests().last().unwrap());
    }
}

#[test]
fn a_policy_that_the_daemon_cannot_enforce_is_refused_before_anything_is_written() {
    need_siblings();
    let world = World::with(POLICY).with_siblings(&[("farameshd", "echo something.else")]);
    world.faramesh(&["apply"]).exits(69).says(&[
        "any rule is not enforced by this daemon",
        "nothing was changed",
    ]);
    assert!(!world.dir.join(".faramesh").exists());
}

#[test]
fn a_daemon_that_is_not_installed_is_named() {
    let world = World::with(POLICY).with_siblings(&[("farameshd", "exit 3")]);
    world
        .faramesh(&["apply"])
        .exits(69)
        .says(&["farameshd", "--capabilities"]);
}

#[test]
fn a_replaced_log_key_stops_the_apply() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    let other = World::with(POLICY);
    other.faramesh(&["apply"]).exits(0);
    fs::copy(other.state("etc/log.pub"), world.state("etc/log.pub")).unwrap();
    world.write("governance.fms", POLICY_2);
    world
        .faramesh(&["apply"])
        .exits(78)
        .says(&["log.pub", "replaced"]);
    assert_eq!(next(&world).number, 1);
}

#[test]
fn a_manifest_that_somebody_changed_is_not_believed() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    let path = world.state("policy/next");
    let changed = fs::read_to_string(&path)
        .unwrap()
        .replacen("\n1\n", "\n9\n", 1);
    fs::write(&path, changed).unwrap();
    world
        .faramesh(&["plan"])
        .exits(65)
        .says(&["is not a manifest of this stack"]);
}

#[test]
fn an_artifact_with_one_byte_changed_is_not_believed() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    let path = world
        .state("policy/artifacts")
        .join(hex(&next(&world).digest));
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    world
        .faramesh(&["plan"])
        .exits(65)
        .says(&["cannot be trusted"]);
}

#[test]
fn a_directory_keeps_the_name_under_which_it_was_applied() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply", "--name", "one"]).exits(0);
    world
        .faramesh(&["apply", "--name", "two"])
        .exits(78)
        .says(&["already the stack `one`"]);
    world.faramesh(&["apply"]).exits(0).says(&["one"]);
}

#[test]
fn a_name_that_is_none_is_refused() {
    let world = World::with(POLICY);
    world
        .faramesh(&["apply", "--name", "../etc"])
        .exits(64)
        .says(&["not a stack's name"]);
}

#[test]
fn the_launcher_is_a_script_that_hands_over_to_the_shim() {
    need_siblings();
    let world = World::with(POLICY)
        .with_siblings(&[("faramesh-agent", "for a in \"$@\"; do echo \"<$a>\"; done")]);
    world.write("it's here.py", "");
    world.faramesh(&["apply"]).exits(0);
    let launcher = world.dir.join(".faramesh/bin/agent");
    let run = |args: &[&str]| {
        std::process::Command::new(&launcher)
            .args(args)
            .output()
            .unwrap()
    };
    let out = run(&[
        "--agent", "bot", "--read", "/opt/a b", "--", "python", "agent.py", "--read", "x y",
    ]);
    let text = String::from_utf8(out.stdout).unwrap();
    let words: Vec<&str> = text.lines().collect();
    let dir = world.dir.canonicalize().unwrap();
    let at = |word: &str| {
        words
            .iter()
            .position(|w| *w == word)
            .unwrap_or_else(|| panic!("{word} not in {text}"))
    };
    assert!(at("<--attach>") < at("<-->"));
    assert_eq!(words[at("<--agent>") + 1], "<bot>");
    assert_eq!(
        words[at("<--workspace>") + 1],
        format!("<{}>", dir.join("workspace").display())
    );
    assert!(at(&format!("<{}>", dir.join("it's here.py").display())) < at("<-->"));
    assert!(at("</opt/a b>") < at("<-->"));
    assert!(
        !text.contains(&format!("<{}>", dir.join(".faramesh").display())),
        "{text}"
    );
    assert_eq!(
        &words[at("<-->") + 1..],
        ["<python>", "<agent.py>", "<--read>", "<x y>"]
    );
    assert_eq!(run(&["python"]).status.code(), Some(64));
    assert_eq!(run(&[]).status.code(), Some(64));
}

#[test]
fn what_the_daemon_does_not_enforce_is_named_in_the_words_of_the_policy() {
    need_siblings();
    let world = World::with(
        "runtime { mode = \"shadow\" }\nagent \"x\" {\n  run_as nobody\n  permit a notify \"ops\"\n}\n",
    )
    .with_siblings(&[("farameshd", "echo rules")]);
    world.faramesh(&["apply"]).exits(69).says(&[
        "`run_as` in agent `x` is not enforced by this daemon",
        "`notify` in agent `x` is not enforced by this daemon",
        "`mode \"shadow\"` in `runtime` is not enforced by this daemon",
        "nothing was changed",
    ]);
    assert!(!world.dir.join(".faramesh").exists());
}

#[test]
fn programs_are_told_of_shadow_mode_too() {
    need_siblings();
    let world = World::with("runtime { mode = \"shadow\" }\npermit a\n");
    let report = world
        .faramesh(&["apply", "--format", "json"])
        .exits(0)
        .json();
    let warnings = report["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.as_str().unwrap().starts_with("SHADOW")),
        "{report}"
    );
}
