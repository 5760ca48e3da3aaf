//! A disk that is full where the journal lies: the real daemon on a small tmpfs, and on a small ext4 on a loop device, in
//! a mount namespace of the test's own.

use crate::POLICY;
use faramesh_tests::World;
use faramesh_tests::skip::{root_or_skip, skipped};
use nix::mount::{MsFlags, mount};
use nix::unistd::{Group, User};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Set in the process that the test starts in its mount namespace.
const INSIDE: &str = "FARAMESH_TEST_IN_MOUNT_NAMESPACE";
/// Room for two segments and not for a third.
const SEGMENT_BYTES: u64 = 64 * 1024;
/// A batch of one call takes about 1.2 KiB of a segment: two segments hold more than so many.
const PERMITTED_MIN: u64 = 50;

#[test]
fn a_full_disk_refuses_every_call_until_there_is_space_and_loses_nothing_that_was_permitted() {
    let name =
        "a_full_disk_refuses_every_call_until_there_is_space_and_loses_nothing_that_was_permitted";
    if !inside(name) {
        return;
    }
    let mut world = World::applied(POLICY);
    world.tune(&[("segment_bytes", SEGMENT_BYTES)]);
    tmpfs(&world.state("journal"), "160k", MsFlags::empty());
    fills_and_goes_on(&mut world, |journal| {
        tmpfs(journal, "8m", MsFlags::MS_REMOUNT);
    });
}

#[test]
fn a_full_ext4_refuses_every_call_until_there_is_space_and_loses_nothing_that_was_permitted() {
    let name =
        "a_full_ext4_refuses_every_call_until_there_is_space_and_loses_nothing_that_was_permitted";
    if !inside(name) {
        return;
    }
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(8 * 1024 * 1024).unwrap();
    let run = |program: &str, args: &[&str]| Command::new(program).args(args).output().unwrap();
    let path = image.path().to_str().unwrap();
    // Nothing reserved for root: the daemon's user has all of it.
    let made = run("mkfs.ext4", &["-q", "-F", "-b", "1024", "-m", "0", path]);
    assert!(made.status.success(), "{made:?}");
    let mut world = World::applied(POLICY);
    world.tune(&[("segment_bytes", SEGMENT_BYTES)]);
    let journal = world.state("journal");
    let mounted = run("mount", &["-o", "loop", path, journal.to_str().unwrap()]);
    if !mounted.status.success() {
        return skipped(name, "needs a loop device");
    }
    std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(0o2750)).unwrap();
    let (uid, gid) = owner();
    std::os::unix::fs::chown(&journal, Some(uid), Some(gid)).unwrap();
    // What is left beside the ballast holds two segments and not a third.
    let ballast = journal.join("ballast");
    let free = free_bytes(&journal);
    std::fs::write(
        &ballast,
        vec![1; usize::try_from(free - 170 * 1024).unwrap()],
    )
    .unwrap();
    fills_and_goes_on(&mut world, |_| std::fs::remove_file(&ballast).unwrap());
}

/// Whether this is the process in its own mount namespace. If not, that one is started, and has passed afterwards.
fn inside(name: &str) -> bool {
    if !root_or_skip(name) {
        return false;
    }
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("full_disk::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

fn fills_and_goes_on(world: &mut World, make_space: impl FnOnce(&Path)) {
    world.start();
    // Only a daemon with its second segment prepared has room for the calls that it must answer before the disk is full.
    let journal = world.state("journal");
    world.until("a segment is prepared", || {
        journal.join("prepared.tmp").exists()
    });
    // One session, far more calls than there is room for: another one's start could not be recorded any more.
    let (mut permitted, refused) = flood(world);
    assert!(
        permitted > PERMITTED_MIN && refused > 0,
        "{permitted}, {refused}"
    );
    assert_eq!(world.faramesh(&["status"]).status.code(), Some(3));
    assert_eq!(permits_in_the_journal(world), permitted);

    make_space(&journal);
    world.until("it decides again", || {
        world.faramesh(&["status"]).status.code() == Some(0)
    });
    assert_eq!(world.ask("crm/lookup", "{}").effect, "permit");
    let (more, refused) = flood(world);
    assert_eq!(refused, 0);
    permitted += 1 + more;
    assert_eq!(permits_in_the_journal(world), permitted);
    assert_eq!(world.verify().0, 0);
    // A restart finds all of it.
    world.stop();
    world.start();
    assert_eq!(permits_in_the_journal(world), permitted);
    world.stop();
    nix::mount::umount(&journal).unwrap();
}

/// The daemon's user and the auditors' group.
fn owner() -> (u32, u32) {
    let uid = User::from_name("faramesh").unwrap().unwrap().uid;
    let gid = Group::from_name("faramesh-audit").unwrap().unwrap().gid;
    (uid.as_raw(), gid.as_raw())
}

fn free_bytes(at: &Path) -> u64 {
    let space = nix::sys::statvfs::statvfs(at).unwrap();
    space.blocks_available() * space.fragment_size()
}

fn tmpfs(at: &Path, size: &str, again: MsFlags) {
    let (uid, gid) = owner();
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
