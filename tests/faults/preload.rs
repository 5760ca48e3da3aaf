//! The real daemon, whose C library fails or ends it at one file operation of its journal: in the middle of work, and in
//! every phase of a start.
//!
//! The operations are replaced by a small library that is loaded before the C library (`preload.c`); the program is the
//! one that is installed, and no option of it is involved: what starts it here is a script of the test's own.

use crate::{agent, development_policy, lookup, runtime};
use faramesh_proto::v1::Effect;
use faramesh_tests::World;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Calls that are asked for in one go: more than any plan here needs until it strikes.
const CALLS: usize = 120;

/// A world whose daemon is started with faults.
struct Faulty {
    world: World,
    dir: tempfile::TempDir,
    permits: Vec<u64>,
}

impl Faulty {
    /// A stack that was started once and stopped.
    fn new() -> Faulty {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        let mut world = World::tuned(&development_policy(), &[("segment_bytes", 64 * 1024)]);
        world.start();
        world.stop();
        fs::rename(world.binary("farameshd"), world.binary("farameshd.real")).unwrap();
        Faulty {
            world,
            dir,
            permits: Vec::new(),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("met")
    }

    /// The calls of the C library since the plan was made, one a line; a fault that was met begins with `met`.
    fn calls(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// From the next start on: one fault for each process in turn.
    fn plan(&self, faults: &[&str]) {
        let _ = fs::remove_file(self.log_path());
        let script = format!(
            "#!/bin/sh\nexec env LD_PRELOAD='{}' FARAMESH_TEST_FAULTS='{}' FARAMESH_TEST_FAULTS_LOG='{}' '{}' \"$@\"\n",
            self.dir.path().join("preload.so").display(),
            faults.join(","),
            self.log_path().display(),
            self.world.binary("farameshd.real").display()
        );
        let program = self.world.binary("farameshd");
        // Another file, because the one before may be executed still.
        let _ = fs::remove_file(&program);
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// How many faults were met.
    fn met(&self) -> usize {
        self.calls()
            .lines()
            .filter(|line| line.starts_with("met "))
            .count()
    }

    /// Calls one after the other, until the connection breaks or there were enough of them.
    fn work(&mut self) {
        let socket = self.world.agent_socket();
        runtime().block_on(async {
            let mut client = agent(&socket).await;
            for _ in 0..CALLS {
                let Ok(reply) = lookup(&mut client).await else {
                    break;
                };
                if reply.effect() == Effect::Permit {
                    self.permits.push(reply.receipt.unwrap().leaf_index);
                }
            }
        });
    }

    /// Without a fault: it serves, every permit is in the journal, and the journal verifies.
    #[track_caller]
    fn serves_and_has_lost_nothing(&mut self) {
        let permit = self.world.govern("bot", "crm/lookup", "{}");
        assert_eq!(permit.effect, "permit", "{}", self.world.log());
        let (exit, report) = self.world.verify();
        assert_eq!(exit, 0, "{report}");
        let records = self.world.records(1_000_000);
        for seq in &self.permits {
            let at = usize::try_from(*seq).unwrap();
            assert_eq!(records[at]["record"]["effect"], "permit", "record {seq}");
        }
    }

    /// Starts under these faults and works until the daemon comes to its end and says `why`; then starts without.
    #[track_caller]
    fn ends_with(&mut self, fault: &str, exit: i32, why: &str) {
        self.plan(&[fault]);
        let before = self.world.log().len();
        self.world.start();
        self.work();
        assert_eq!(self.world.wait_ended(), exit, "{fault}");
        let said = self.world.log().split_off(before);
        assert!(said.contains(why), "{fault}: {said}");
        assert_eq!(self.met(), 1, "{fault}");
    }

    /// Starts without any fault.
    #[track_caller]
    fn recovers(&mut self) {
        self.plan(&["none:none:0:eio"]);
        self.world.start();
        self.serves_and_has_lost_nothing();
        self.world.stop();
    }

    /// Starts and works under these faults, each in the process after the one before, all of which are started again by
    /// their parent; in the end it serves.
    #[track_caller]
    fn survives(&mut self, faults: &[&str]) {
        self.plan(faults);
        self.world.spawn();
        for _ in faults {
            self.world.wait_ready();
            self.work();
        }
        self.world.wait_ready();
        assert_eq!(self.met(), faults.len(), "{faults:?}: {}", self.calls());
        self.serves_and_has_lost_nothing();
        self.world.stop();
    }
}

fn build(into: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/preload.c");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(into.join("preload.so"))
        .arg(source)
        .output()
        .expect("a C compiler");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_fdatasync_that_fails_ends_the_daemon_for_good_is_not_tried_again_and_nothing_is_lost() {
    let mut faulty = Faulty::new();
    for how in ["eio", "eio-done"] {
        faulty.ends_with(
            &format!("fdatasync:.seg:9:{how}"),
            65,
            "the disk did not make records",
        );
        let calls = faulty.calls();
        let (_, after) = calls.split_once("met fdatasync").unwrap();
        assert!(
            !after.contains("fdatasync") && !after.contains("pwrite64 0"),
            "something was tried after it: {after}"
        );
        faulty.recovers();
    }
    assert!(faulty.permits.len() >= 10, "{:?}", faulty.permits);
}

#[test]
fn a_segment_that_cannot_be_begun_ends_the_daemon_for_good_and_nothing_is_lost() {
    let mut faulty = Faulty::new();
    for fault in [
        "rename:.seg:1:eio",
        "rename:.seg:1:eio-done",
        "fsync:journal:2:eio",
    ] {
        faulty.ends_with(fault, 65, "cannot begin segment");
        faulty.recovers();
    }
    assert!(faulty.permits.len() >= 50, "{:?}", faulty.permits);
}

#[test]
fn a_write_that_fails_whole_half_or_after_all_is_followed_by_another_daemon_and_nothing_is_lost() {
    let mut faulty = Faulty::new();
    // Frames (odd) and notes (even).
    faulty.survives(&["pwrite64:.seg:9:eio", "pwrite64:.seg:6:eio-part"]);
    faulty.survives(&["pwrite64:.seg:9:eio-part", "pwrite64:.seg:3:eio-done"]);
    assert!(!faulty.permits.is_empty());
}

#[test]
fn a_segment_that_cannot_be_prepared_is_tried_again_and_no_call_is_lost() {
    let mut faulty = Faulty::new();
    faulty.survives(&["fsync:preparing.tmp:1:eio"]);
    faulty.survives(&["pwrite64:preparing.tmp:1:eio-part"]);
    faulty.survives(&["rename:prepared.tmp:1:eio"]);
    assert!(faulty.permits.len() >= 100, "{}", faulty.permits.len());
}

#[test]
fn a_daemon_that_is_killed_in_every_phase_of_a_start_is_followed_by_one_that_has_lost_nothing() {
    let mut faulty = Faulty::new();
    // A note that no signer confirmed: recover, make durable, adopt, first batch.
    faulty.survives(&[
        "fdatasync:.seg:9:end-before",
        "fsync:journal:1:end-before",
        "pwrite64:.seg:1:end-part",
        "fdatasync:.seg:1:end-before",
    ]);
    faulty.survives(&[
        "fdatasync:.seg:9:end-before",
        "fdatasync:.seg:1:end-after",
        "pwrite64:.seg:1:end-part",
    ]);
    // A torn batch: recover, cut, first batch.
    faulty.survives(&[
        "pwrite64:.seg:9:end-part",
        "pwrite64:.seg:1:end-before",
        "pwrite64:.seg:1:end-part",
        "fdatasync:.seg:1:end-before",
    ]);
    faulty.survives(&[
        "pwrite64:.seg:10:end-part",
        "fdatasync:.seg:1:end-after",
        "fdatasync:.seg:1:end-before",
        "fdatasync:.seg:1:end-after",
    ]);
}
