//! A disk that is full where the journal lies: the real daemon on a small tmpfs, in a mount namespace of the test's own.

use crate::POLICY;
use faramesh_tests::World;
use faramesh_tests::skip::root_or_skip;
use nix::mount::{MsFlags, mount};
use nix::unistd::{Group, User};
use std::path::Path;
use std::process::Command;

/// Set in the process that the test starts in its mount namespace.
const INSIDE: &str = "FARAMESH_TEST_IN_MOUNT_NAMESPACE";
const NAME: &str =
    "a_full_disk_refuses_every_call_until_there_is_space_and_loses_nothing_that_was_permitted";

#[test]
fn a_full_disk_refuses_every_call_until_there_is_space_and_loses_nothing_that_was_permitted() {
    if !root_or_skip(NAME) {
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("full_disk::{NAME}"), "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let mut world = World::applied(POLICY);
    // Room for two segments and not for a third.
    world.tune(&[("segment_bytes", 64 * 1024)]);
    tmpfs(&world.state("journal"), "160k", MsFlags::empty());
    world.start();
    let mut permitted = flood(&world);
    world.until("the disk is full", || {
        permitted += flood(&world);
        world.faramesh(&["status"]).status.code() == Some(3)
    });
    let refused = world.ask("crm/lookup", "{}");
    assert_eq!(
        (refused.effect.as_str(), refused.code.as_str()),
        ("deny", "JOURNAL_UNAVAILABLE")
    );
    assert_eq!(refused.json["resolution"]["retry_after_seconds"], 2);
    assert_eq!(permits_in_the_journal(&world), permitted);

    tmpfs(&world.state("journal"), "8m", MsFlags::MS_REMOUNT);
    world.until("it decides again", || {
        world.faramesh(&["status"]).status.code() == Some(0)
    });
    assert_eq!(world.ask("crm/lookup", "{}").effect, "permit");
    permitted += 1 + flood(&world);
    assert_eq!(permits_in_the_journal(&world), permitted);
    assert_eq!(world.verify().0, 0);
    // A restart finds all of it.
    world.stop();
    world.start();
    assert_eq!(permits_in_the_journal(&world), permitted);
    world.stop();
    nix::mount::umount(&world.state("journal")).unwrap();
}

fn tmpfs(at: &Path, size: &str, again: MsFlags) {
    let uid = User::from_name("faramesh").unwrap().unwrap().uid;
    let gid = Group::from_name("faramesh-audit").unwrap().unwrap().gid;
    let options = format!("size={size},mode=2750,uid={uid},gid={gid}");
    mount(
        Some("tmpfs"),
        at,
        Some("tmpfs"),
        again,
        Some(options.as_str()),
    )
    .unwrap();
}

/// Two hundred calls of an agent; how many were permitted.
fn flood(world: &World) -> u64 {
    let answer = world.ask_as(None, &["flood", "crm/lookup", "{}", "200", "1"]);
    let counts = answer.json["counts"].as_object().unwrap();
    let known = ["permit", "JOURNAL_UNAVAILABLE"];
    assert!(
        counts.keys().all(|code| known.contains(&code.as_str())),
        "{counts:?}"
    );
    counts
        .get("permit")
        .map_or(0, |count| count.as_u64().unwrap())
}

fn permits_in_the_journal(world: &World) -> u64 {
    let records = world.records(1_000_000);
    let permits = records.iter().filter(|r| r["record"]["effect"] == "permit");
    permits.count() as u64
}
