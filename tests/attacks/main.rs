//! Attacks, each named after itself and run as the attacker: from inside the sandbox of a real enforced stack, or as
//! another user of the host. All need root, to make the users that they run as.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails; which of these a file needs changes with its tests"
)]

mod bypass;
mod disturb;
mod impersonate;

use faramesh_tests::World;

const POLICY: &str = r#"
agent "bot" {
  RUN_AS
  default deny
  permit crm/lookup
}
agent "admin-bot" {
  RUN_AS
  default deny
  permit crm/lookup
  permit crm/delete
}
"#;

/// Python with nothing of the user's, as the agent.
fn python(world: &World, script: &str) -> faramesh_tests::Inside {
    world.agent_named(Some("bot"), &["/usr/bin/python3", "-I", "-c", script])
}

/// Runs a script that must print exactly `expected`.
#[track_caller]
fn inside_prints(world: &World, script: &str, expected: &str) {
    let inside = python(world, script);
    assert_eq!(
        inside.stdout.trim(),
        expected,
        "{}\n{}",
        inside.stderr,
        world.log()
    );
}
