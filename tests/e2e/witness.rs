//! Witnesses: a real daemon, a real witness, a real anchor.

use crate::development_policy;
use faramesh_tests::World;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest time that anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running witness; killed when it goes out of scope.
struct Witness {
    home: tempfile::TempDir,
    process: Option<Child>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Witness {
    /// For one journal, serving.
    fn of(world: &World) -> Witness {
        let mut witness = Witness {
            home: tempfile::tempdir().unwrap(),
            process: None,
        };
        let init = program(world, &["witness", "init", "--name", "audit.example/w"])
            .arg("--state")
            .arg(witness.state())
            .output()
            .unwrap();
        assert!(init.status.success(), "{init:?}");
        let pin = witness.state().join("logs/stack.pub");
        std::fs::copy(world.state("etc").join("log.pub"), pin).unwrap();
        witness.serve(world);
        witness
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn key(&self) -> PathBuf {
        self.state().join("witness.pub")
    }

    fn address(&self) -> String {
        format!("unix:{}", self.home.path().join("w.sock").display())
    }

    fn serve(&mut self, world: &World) {
        let mut process = program(world, &["witness", "serve", "--listen", &self.address()])
            .arg("--state")
            .arg(self.state())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first line is printed when it listens.
        let mut first = String::new();
        let stdout = process.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut first).unwrap();
        assert!(first.contains("listens on"), "{first}");
        self.process = Some(process);
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

fn program(world: &World, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.stdin(Stdio::null());
    command
}

/// One round of `faramesh anchor`: its exit status, and what it printed.
fn anchor(world: &World, witness: &Witness, more: &[&str]) -> (i32, Value, String) {
    let output: Output = program(world, &["anchor", "--once", "--format", "json"])
        .args(["--witness", &witness.address()])
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap_or(-1), json, said)
}

/// `policy` with a witness that is pinned, running.
fn witnessed(policy: &str) -> (World, Witness) {
    let mut world = World::development(policy);
    let witness = Witness::of(&world);
    let key = witness.key();
    let apply = program(&world, &["apply", "--development"])
        .arg("--witnesses")
        .arg(key)
        .output()
        .unwrap();
    assert!(apply.status.success(), "{apply:?}");
    world.stop();
    world.start();
    (world, witness)
}

#[test]
fn what_a_witness_cosigned_becomes_a_record_and_what_it_saw_is_remembered() {
    let (world, witness) = witnessed(&development_policy());
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
    let notes = witness.home.path().join("anchor.notes");
    let file = ["--anchor-file", notes.to_str().unwrap()];
    let (exit, anchored, said) = anchor(&world, &witness, &file);
    assert_eq!(exit, 0, "{anchored} {said}");
    let record = world.record(anchored["record"].as_u64().unwrap());
    let record = &record["record"];
    assert_eq!(record["kind"], "attestation");
    assert_eq!(record["size"], anchored["size"]);
    assert_eq!(record["witnesses"], serde_json::json!(["audit.example/w"]));
    let kept = std::fs::read_to_string(&notes).unwrap();
    assert_eq!(kept.trim_end(), record["note"].as_str().unwrap().trim_end());

    // Again: the attestation is a record too, so there is one more to see; and the daemon takes it.
    let (exit, again, said) = anchor(&world, &witness, &file);
    assert_eq!(exit, 0, "{again} {said}");
    assert!(again["size"].as_u64() > anchored["size"].as_u64());
    let (code, report) = world.verify();
    assert_eq!(code, 0, "{report}");
    unprotect(&notes);
}

/// Root sets `chattr +a`; the directory is to be removed.
fn unprotect(path: &Path) {
    drop(Command::new("chattr").arg("-a").arg(path).output());
}

#[test]
fn a_journal_that_was_set_back_to_an_old_copy_gets_no_cosignature_and_raises_an_alarm() {
    let (mut world, witness) = witnessed(&development_policy());
    drop(world.govern("bot", "crm/lookup", "{}"));
    let key = world.state("etc").join("log.pub");
    let copy = tempfile::tempdir().unwrap();
    world.stop();
    copy_dir(&world.state("journal"), copy.path());
    world.start();
    drop(world.govern("bot", "crm/lookup", "{}"));
    let (exit, anchored, said) = anchor(&world, &witness, &[]);
    assert_eq!(exit, 0, "{anchored} {said}");
    let pinned = witness.key();
    let old = [
        copy.path().to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
        "--witnesses",
        pinned.to_str().unwrap(),
    ];
    let (exit, refused, said) = anchor(&world, &witness, &old);
    assert_eq!(exit, 1, "{refused} {said}");
    assert_eq!(refused["event"], "alarm");
    assert_eq!(refused["troubles"][0]["what"], "rollback");
    assert!(said.contains("ALARM"), "{said}");
    // The genuine one goes on.
    assert_eq!(anchor(&world, &witness, &[]).0, 0);
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn calls_are_refused_while_no_witness_attests_the_journal_and_permitted_again_after() {
    let policy = format!(
        "runtime {{\n  anchor_max_lag = 10s\n  anchor_on_lag = \"deny\"\n}}\n{}",
        development_policy()
    );
    let (world, mut witness) = {
        let (world, witness) = witnessed(&development_policy());
        std::fs::write(world.dir.join("governance.fms"), policy).unwrap();
        let apply = program(&world, &["apply", "--development"])
            .output()
            .unwrap();
        assert!(apply.status.success(), "{apply:?}");
        (world, witness)
    };
    assert_eq!(anchor(&world, &witness, &[]).0, 0);
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
    witness.stop();
    let (exit, short, _) = anchor(&world, &witness, &[]);
    assert_eq!(exit, 69, "{short}");
    let refused = until(|| {
        let answer = world.govern("bot", "crm/lookup", "{}");
        (answer.effect == "deny").then_some(answer)
    });
    assert_eq!(refused.code, "JOURNAL_UNAVAILABLE");
    assert!(
        refused.message.contains("no witness has attested"),
        "{}",
        refused.message
    );
    witness.serve(&world);
    let (exit, anchored, said) = anchor(&world, &witness, &[]);
    assert_eq!(exit, 0, "{anchored} {said}");
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

/// Asks until there is an answer.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not happen");
    }
}

#[test]
fn a_policy_that_wants_more_witnesses_than_are_pinned_is_not_applied() {
    let (world, _witness) = witnessed(&development_policy());
    let policy = format!("runtime {{ anchor_quorum = 2 }}\n{}", development_policy());
    std::fs::write(world.dir.join("governance.fms"), policy).unwrap();
    let apply = program(&world, &["apply", "--development"])
        .output()
        .unwrap();
    assert_eq!(apply.status.code(), Some(78), "{apply:?}");
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

#[test]
fn the_daemon_takes_no_note_that_nobody_pinned_cosigned() {
    let world = World::development(&development_policy());
    let witness = Witness::of(&world);
    let key = witness.key();
    let (exit, refused, said) = anchor(&world, &witness, &["--witnesses", key.to_str().unwrap()]);
    assert_eq!(exit, 69, "{refused} {said}");
    assert!(
        refused["daemon"]
            .as_str()
            .unwrap()
            .contains("no witness is pinned"),
        "{refused}"
    );
}
