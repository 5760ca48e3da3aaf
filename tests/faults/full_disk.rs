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
    // One session, far more calls than there is room for: another one's start could not be recorded any more.
    let (mut permitted, refused) = flood(&world);
    assert!(permitted > 0 && refused > 0, "{permitted}, {refused}");
    assert_eq!(world.faramesh(&["status"]).status.code(), Some(3));
    assert_eq!(permits_in_the_journal(&world), permitted);

    tmpfs(&world.state("journal"), "8m", MsFlags::MS_REMOUNT);
    world.until("it decides again", || {
        world.faramesh(&["status"]).status.code() == Some(0)
    });
    assert_eq!(world.ask("crm/lookup", "{}").effect, "permit");
    let (more, refused) = flood(&world);
    assert_eq!(refused, 0);
    permitted += 1 + more;
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

/// A thousand calls of one agent, of which each is answered: how many were permitted, and how many had no place.
fn flood(world: &World) -> (u64, u64) {
    let answer = world.ask_as(None, &["flood", "crm/lookup", "{}", "1000", "1"]);
    let count = |code: &str| answer.json["counts"][code].as_u64().unwrap_or(0);
    let (permitted, refused) = (count("permit"), count("JOURNAL_UNAVAILABLE"));
    let overloaded = count("OVERLOADED");
    assert_eq!(permitted + refused + overloaded, 1_000, "{}", answer.json);
    (permitted, refused)
}

fn permits_in_the_journal(world: &World) -> u64 {
    let records = world.records(1_000_000);
    let permits = records.iter().filter(|r| r["record"]["effect"] == "permit");
    permits.count() as u64
}
