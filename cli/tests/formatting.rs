//! `fmt`: policies in the one form.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{World, faramesh};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Spelt in another way, with a comment.
const LOOSE: &str = "# mine\nagent bot {\n default deny\n   allow   x when a&&b\n}\n";

#[test]
fn a_policy_is_written_in_the_one_form_and_keeps_its_comments_mode_and_digest() {
    let world = World::with(LOOSE);
    let path = world.dir.join("governance.fms");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let digest = || {
        let report = world
            .faramesh(&["check", "--format", "json"])
            .exits(0)
            .json();
        report.get("digest").unwrap().clone()
    };
    let before = digest();
    world.faramesh(&["fmt"]).exits(0).says(&["formatted"]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("# mine") && text.contains("permit x if a and b"),
        "{text}"
    );
    assert_eq!(digest(), before);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    world.faramesh(&["fmt", "--check"]).exits(0);
    let answer = world.faramesh(&["fmt"]).exits(0);
    assert_eq!(answer.stdout, "");
}

#[test]
fn check_shows_what_would_change_and_writes_nothing() {
    let world = World::with(LOOSE);
    let before = world.snapshot();
    world.faramesh(&["fmt", "--check"]).exits(1).says(&[
        "-   allow   x when a&&b",
        "+",
        "permit x if a and b",
    ]);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_file_that_does_not_parse_leaves_every_file_as_it_was() {
    let world = World::with(LOOSE);
    world.write("broken.fms", "agent \"a\" {");
    let before = world.snapshot();
    let path = |name: &str| world.dir.join(name).to_str().unwrap().to_owned();
    faramesh(&["fmt", &path("governance.fms"), &path("broken.fms")])
        .exits(65)
        .says(&["broken.fms:1", "nothing was written"]);
    assert_eq!(world.snapshot(), before);
    faramesh(&["fmt", &path("missing.fms")]).exits(65);
}

#[test]
fn a_policy_in_another_form_is_the_same_policy_and_no_file_is_written() {
    let world = World::with(LOOSE);
    let before = world.snapshot();
    let digest = |world: &World| {
        world
            .faramesh(&["check"])
            .exits(0)
            .stdout
            .lines()
            .nth(1)
            .map(str::to_owned)
    };
    for (form, name) in [
        ("yaml", "governance.yaml"),
        ("json", "governance.json"),
        ("fms", "governance.fms"),
    ] {
        let text = world.faramesh(&["fmt", "--to", form]).exits(0).stdout;
        let other = World::new();
        other.write(name, &text);
        assert!(digest(&world).unwrap().contains("sha256:"));
        assert_eq!(digest(&other), digest(&world), "{text}");
        let back = other.faramesh(&["fmt", "--to", "fms"]).exits(0).stdout;
        assert!(back.contains("permit x if a and b"), "{back}");
    }
    assert_eq!(world.snapshot(), before);
    world.faramesh(&["fmt", "--to", "toml"]).exits(64);
    world
        .faramesh(&["fmt", "--to", "yaml", "--check"])
        .exits(64);
    world.write("governance.fms", "permitt x");
    let answer = world.faramesh(&["fmt", "--to", "yaml"]).exits(65);
    assert_eq!(answer.stdout, "");
}

#[test]
fn an_import_that_cannot_be_had_exits_2_and_says_nothing_of_the_policy() {
    let world = World::with(
        "trust { key \"registry.example/policies\" ed25519:O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik= }\nimport \"registry.example/policies/refunds@1.2.0\" as refunds\nagent bot { use refunds  permit x }\n",
    );
    world.faramesh(&["check"]).exits(2).says(&["E0702"]);
    world
        .faramesh(&["check", "--offline", "--registry", "/nowhere"])
        .exits(2);
}
