//! A stack in a directory of its own, and the real binary to put to it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
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
    fn of(out: Output) -> Answer {
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
            .args(args)
            .arg("--dir")
            .arg(&self.dir)
            .arg("--development")
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

/// Runs the binary without a stack.
pub fn faramesh(args: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faramesh"));
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
