//! A stack in a directory of its own, and the real binary to put to it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests"
)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A policy with each effect.
pub const POLICY: &str = r#"agent "bot" {
  default deny
  rules {
    permit stripe/refund if amount <= 100
    defer stripe/refund if amount > 100 reason "a person has to look"
    deny! shell/*
  }
}
"#;

/// The same with one rule more.
pub const POLICY_2: &str = r#"agent "bot" {
  default deny
  rules {
    permit stripe/refund if amount <= 100
    defer stripe/refund if amount > 100 reason "a person has to look"
    permit crm/read
    deny! shell/*
  }
}
"#;

/// A stack in a directory that is removed with it.
pub struct World {
    /// Removed when the world ends.
    pub temp: tempfile::TempDir,
    /// The stack.
    pub dir: PathBuf,
    program: PathBuf,
}

/// What a command answered.
pub struct Answer {
    /// Its exit status.
    pub code: i32,
    /// Its result.
    pub stdout: String,
    /// Everything else that it said.
    pub stderr: String,
}

impl Answer {
    /// What a finished process left.
    pub fn of(out: Output) -> Answer {
        use std::os::unix::process::ExitStatusExt;
        let code = out
            .status
            .code()
            .unwrap_or_else(|| -out.status.signal().unwrap_or(0));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        Answer {
            code,
            stdout: text(out.stdout),
            stderr: text(out.stderr),
        }
    }

    /// The same answer, if it exited so.
    #[track_caller]
    pub fn exits(self, code: i32) -> Answer {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// The same answer, if its text holds all of these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Answer {
        let all = format!("{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(all.contains(word), "`{word}` is not in:\n{all}");
        }
        self
    }

    /// Its result as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }
}

impl World {
    /// An empty stack named `bot`, for the binary as it was built.
    pub fn new() -> World {
        let temp = tempfile::Builder::new()
            .prefix("faramesh-cli-")
            .tempdir()
            .unwrap();
        let dir = temp.path().join("bot");
        fs::create_dir(&dir).unwrap();
        World {
            temp,
            dir,
            program: env!("CARGO_BIN_EXE_faramesh").into(),
        }
    }

    /// A stack with a policy.
    pub fn with(policy: &str) -> World {
        let world = World::new();
        world.write("governance.fms", policy);
        world
    }

    /// Writes a file into the stack.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    /// Uses a copy of the binary beside which these scripts stand in for its siblings.
    pub fn with_siblings(mut self, siblings: &[(&str, &str)]) -> World {
        let bin = self.temp.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let copy = bin.join("faramesh");
        fs::copy(&self.program, &copy).unwrap();
        let real = Path::new(env!("CARGO_BIN_EXE_faramesh")).parent().unwrap();
        for name in ["farameshd", "faramesh-signer", "faramesh-agent"] {
            match siblings.iter().find(|(sibling, _)| *sibling == name) {
                Some((_, script)) => write_script(&bin.join(name), script),
                None => std::os::unix::fs::symlink(real.join(name), bin.join(name)).unwrap(),
            }
        }
        self.program = copy;
        self
    }

    /// A command on this stack, in development also for root.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--dir")
            .arg(&self.dir)
            .arg("--development")
            .args(args)
            .env("XDG_STATE_HOME", self.dir.join("auditor"))
            .env_remove("NO_COLOR");
        command.stdin(Stdio::null());
        command
    }

    /// Runs it.
    pub fn faramesh(&self, args: &[&str]) -> Answer {
        Answer::of(self.command(args).output().unwrap())
    }

    /// Runs it and dies after a step of `apply`.
    pub fn killed_after(&self, step: &str) -> Answer {
        Answer::of(
            self.command(&["apply"])
                .env("FARAMESH_TEST_STOP_AFTER", step)
                .output()
                .unwrap(),
        )
    }

    /// A path below the development state.
    pub fn state(&self, path: &str) -> PathBuf {
        self.dir.join(".faramesh/state").join(path)
    }

    /// Every file of the stack with its bytes: what must not change.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        walk(&self.dir, &mut files);
        files
    }

    /// The numbers of the manifests that were written.
    pub fn manifests(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = fs::read_dir(self.state("policy/manifests"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".note")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

/// A daemon in the foreground of a child of ours; ended with the test.
pub struct Daemon(std::cell::RefCell<Option<std::process::Child>>);

impl Daemon {
    /// Asks it to stop.
    pub fn terminate(&self) {
        let child = self.0.borrow();
        let pid = i32::try_from(child.as_ref().unwrap().id()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
    }

    /// Waits until it has ended.
    pub fn ended(&self) -> Answer {
        Answer::of(
            self.0
                .borrow_mut()
                .take()
                .unwrap()
                .wait_with_output()
                .unwrap(),
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.borrow_mut().take() {
            let pid = i32::try_from(child.id()).unwrap();
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGTERM,
            );
            let _ = child.wait();
        }
    }
}

/// Longer than anything here takes on a busy machine; a failure, never a measure.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

impl World {
    /// Applies and serves, and returns once it decides.
    pub fn dev(&self) -> Daemon {
        self.in_the_background(&["dev"])
    }

    /// Serves what was applied, and returns once it decides.
    pub fn serve(&self) -> Daemon {
        self.in_the_background(&["serve"])
    }

    fn in_the_background(&self, args: &[&str]) -> Daemon {
        let log = fs::File::create(self.temp.path().join("daemon.log")).unwrap();
        let child = self
            .command(args)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Daemon(std::cell::RefCell::new(Some(child)));
        self.until("the daemon is READY", || {
            let ended = daemon.0.borrow_mut().as_mut().unwrap().try_wait().unwrap();
            assert_eq!(
                ended,
                None,
                "{}",
                fs::read_to_string(self.temp.path().join("daemon.log")).unwrap()
            );
            self.faramesh(&["status"]).code == 0
        });
        daemon
    }

    /// Asks again until it holds.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !holds() {
            let log = fs::read_to_string(self.temp.path().join("daemon.log")).unwrap_or_default();
            assert!(
                std::time::Instant::now() < deadline,
                "not in {} s: {what}\n{log}",
                PATIENCE.as_secs()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Runs the binary without a stack.
pub fn faramesh(args: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faramesh"));
    // Nothing is remembered of a journal between two of these.
    command.env_remove("XDG_STATE_HOME").env_remove("HOME");
    Answer::of(command.args(args).stdin(Stdio::null()).output().unwrap())
}

/// Where the other programs were built; the tests that need them say so where they are missing.
#[track_caller]
pub fn need_siblings() {
    let dir = Path::new(env!("CARGO_BIN_EXE_faramesh")).parent().unwrap();
    for name in ["farameshd", "faramesh-signer", "faramesh-agent"] {
        assert!(
            dir.join(name).is_file(),
            "`{name}` is not built: run `cargo build --workspace` before the tests"
        );
    }
}

fn write_script(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn walk(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            walk(&path, files);
        } else if path.is_file() {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}
