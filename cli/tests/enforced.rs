//! The enforced set-up, as root: users, owners, modes, refusals, and a daemon under its own user.
//!
//! Every stack has a name of its own; what a test made is removed with it. Without root each test says that it could
//! not run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{Answer, POLICY, need_siblings};
use nix::unistd::{Uid, User};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A stack of its own below /etc, /var and /run, and an agent's user of its own.
struct Host {
    temp: tempfile::TempDir,
    dir: PathBuf,
    stack: String,
    user: String,
    serve: Option<Child>,
}

impl Host {
    /// `None`, loudly, without root.
    fn new() -> Option<Host> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !Uid::effective().is_root() {
            skipped("needs root");
            return None;
        }
        need_siblings();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let stack = format!("fct-{}-{number}", std::process::id());
        let temp = tempfile::Builder::new()
            .prefix("faramesh-enforced-")
            .tempdir()
            .unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let dir = temp.path().join("stack");
        fs::create_dir(&dir).unwrap();
        // The daemon's and the signer's users execute theirs, and may not be able to reach the checkout.
        let bin = temp.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for name in ["faramesh", "farameshd", "faramesh-signer", "faramesh-agent"] {
            let from = PathBuf::from(env!("CARGO_BIN_EXE_faramesh")).with_file_name(name);
            if fs::hard_link(&from, bin.join(name)).is_err() {
                fs::copy(&from, bin.join(name)).unwrap();
            }
        }
        let host = Host {
            temp,
            dir,
            user: format!("{stack}-a"),
            stack,
            serve: None,
        };
        host.policy(&POLICY.replacen(
            "default deny",
            &format!("default deny\n  run_as \"{}\"", host.user),
            1,
        ));
        Some(host)
    }

    fn policy(&self, text: &str) {
        fs::write(self.dir.join("governance.fms"), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.temp.path().join("bin/faramesh"));
        command
            .args(args)
            .arg("--dir")
            .arg(&self.dir)
            .env("XDG_STATE_HOME", self.temp.path().join("auditor"))
            .stdin(Stdio::null());
        command
    }

    fn faramesh(&self, args: &[&str]) -> Answer {
        Answer::of(self.command(args).output().unwrap())
    }

    fn apply(&self) -> Answer {
        self.faramesh(&["apply", "--name", &self.stack])
    }

    fn serve(&mut self) {
        let log = fs::File::create(self.temp.path().join("serve.log")).unwrap();
        self.serve = Some(
            self.command(&["serve"])
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        );
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while self.faramesh(&["status"]).code != 0 {
            let log = fs::read_to_string(self.temp.path().join("serve.log")).unwrap();
            assert!(std::time::Instant::now() < deadline, "{log}");
            assert_eq!(
                self.serve.as_mut().unwrap().try_wait().unwrap(),
                None,
                "{log}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn places(&self) -> [PathBuf; 5] {
        [
            "/etc/faramesh",
            "/var/lib/faramesh",
            "/var/lib/faramesh-signer",
            "/run/faramesh",
            "/var/lib/faramesh-index",
        ]
        .map(|root| Path::new(root).join(&self.stack))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut serve) = self.serve.take() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(serve.id()).unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = serve.wait();
        }
        for place in self.places() {
            let _ = fs::remove_dir_all(place);
        }
        let _ = Command::new("userdel")
            .arg(&self.user)
            .stderr(Stdio::null())
            .status();
    }
}

/// Says that a test did not run, where the runner counts it.
fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("SKIPPED {name}: {why}");
    if let Some(log) = std::env::var_os("FARAMESH_SKIP_LOG") {
        use std::io::Write;
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        writeln!(file, "{name}: {why}").unwrap();
    }
}

fn owned(path: &Path) -> (String, String, u32) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let user = User::from_uid(Uid::from_raw(meta.uid()))
        .unwrap()
        .map_or_else(|| meta.uid().to_string(), |user| user.name);
    let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(meta.gid())).unwrap();
    (
        user,
        group.map_or_else(|| meta.gid().to_string(), |group| group.name),
        meta.mode() & 0o7777,
    )
}

#[test]
fn root_makes_the_users_and_the_owners_and_modes_that_the_manual_names() {
    let Some(host) = Host::new() else { return };
    let made = format!("made the user `{}`", host.user);
    host.apply()
        .exits(0)
        .says(&[&made, "policy.key", "next 1 pending"]);
    let [etc, var, signer, _, index] = host.places();
    let user = host.user.as_str();
    for (path, owner, group, mode) in [
        (etc.clone(), "root", "root", 0o755),
        (etc.join("daemon.toml"), "root", "root", 0o644),
        (etc.join("policy.pub"), "root", "root", 0o644),
        (etc.join("log.pub"), "root", "root", 0o644),
        (etc.join("policy.key"), "root", "root", 0o600),
        (var.join("policy"), "root", "faramesh", 0o750),
        (var.join("policy/next"), "root", "faramesh", 0o640),
        (var.join("journal"), "faramesh", "faramesh-audit", 0o2750),
        (signer, "faramesh-signer", "faramesh-signer", 0o700),
        (index, "faramesh-index", "faramesh-index", 0o700),
        (host.dir.join(".faramesh/bin/agent"), "root", "root", 0o755),
        (host.dir.join("workspace"), user, user, 0o770),
    ] {
        assert_eq!(
            owned(&path),
            (owner.into(), group.into(), mode),
            "{}",
            path.display()
        );
    }
    let config = faramesh_daemon::config::Config::load(&etc.join("daemon.toml")).unwrap();
    assert_eq!(config.mode, faramesh_daemon::config::Mode::Enforced);
    assert_eq!(
        config
            .agents
            .iter()
            .map(|agent| agent.user.as_str())
            .collect::<Vec<_>>(),
        [user]
    );
}

#[test]
fn a_second_directory_with_a_taken_name_is_refused() {
    let Some(host) = Host::new() else { return };
    host.apply().exits(0);
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("governance.fms"), POLICY).unwrap();
    let args = [
        "apply",
        "--name",
        &host.stack,
        "--dir",
        other.path().to_str().unwrap(),
    ];
    common::faramesh(&args).exits(78).says(&[
        "is taken",
        host.dir.canonicalize().unwrap().to_str().unwrap(),
        "--name",
    ]);
    assert!(!other.path().join(".faramesh").exists());
}

#[test]
fn a_directory_that_the_agent_can_write_is_refused_with_the_command_that_mends_it() {
    let Some(host) = Host::new() else { return };
    fs::set_permissions(&host.dir, fs::Permissions::from_mode(0o777)).unwrap();
    let mend = format!("chmod o-w {}", host.dir.canonicalize().unwrap().display());
    host.apply()
        .exits(78)
        .says(&[&host.user, "everybody may write", &mend]);
    assert!(!host.places()[1].join("policy/next").exists());
    fs::set_permissions(&host.dir, fs::Permissions::from_mode(0o755)).unwrap();
    host.apply().exits(0);
}

#[test]
fn root_writes_nothing_below_a_stack_that_the_agent_can_write() {
    let Some(host) = Host::new() else { return };
    host.apply().exits(0);
    let uid = User::from_name(&host.user).unwrap().unwrap().uid;
    fs::remove_dir_all(host.dir.join(".faramesh")).unwrap();
    std::os::unix::fs::chown(&host.dir, Some(uid.as_raw()), None).unwrap();
    host.apply().exits(78).says(&["owns it", "chown root:root"]);
    assert!(!host.dir.join(".faramesh").exists(), "it was written there");
}

#[test]
fn nobody_else_can_hold_the_lock_that_serve_needs() {
    let Some(mut host) = Host::new() else { return };
    host.apply().exits(0);
    let lock = host.places()[0].join("serve.lock");
    // As an earlier version made it.
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    host.serve();
    assert_eq!(owned(&lock), ("root".into(), "root".into(), 0o600));
}

#[test]
fn a_policy_that_the_agent_owns_is_refused() {
    let Some(host) = Host::new() else { return };
    host.apply().exits(0);
    let uid = User::from_name(&host.user).unwrap().unwrap().uid;
    std::os::unix::fs::chown(host.dir.join("governance.fms"), Some(uid.as_raw()), None).unwrap();
    host.apply()
        .exits(78)
        .says(&["governance.fms", "owns it", "chown root:root"]);
}

#[test]
fn no_agent_runs_as_root_or_as_one_of_ours() {
    let Some(host) = Host::new() else { return };
    for user in [
        "root",
        "faramesh",
        "faramesh-signer",
        "faramesh-shim",
        "faramesh-index",
    ] {
        host.policy(&POLICY.replacen(
            "default deny",
            &format!("default deny\n  run_as \"{user}\""),
            1,
        ));
        host.apply().exits(65).says(&["run_as", user]);
    }
    assert!(!host.places()[1].exists());
}

#[test]
fn daemon_and_signer_run_under_their_own_users_and_answer_probes() {
    let Some(mut host) = Host::new() else { return };
    host.apply().exits(0);
    host.faramesh(&["status"])
        .exits(1)
        .says(&["not running", "(enforced)"]);
    host.serve();
    let [_, _, _, run, _] = host.places();
    assert_eq!(owned(&run), ("faramesh".into(), "faramesh".into(), 0o711));
    assert_eq!(
        owned(&run.join("admin.sock")),
        ("faramesh".into(), "faramesh-operators".into(), 0o660)
    );
    let agents = run.join("agents").join(
        User::from_name(&host.user)
            .unwrap()
            .unwrap()
            .uid
            .to_string(),
    );
    assert_eq!(
        owned(&agents),
        ("faramesh".into(), host.user.clone(), 0o2750)
    );
    assert_eq!(
        owned(&agents.join("agent.sock")),
        ("faramesh".into(), host.user.clone(), 0o660)
    );
    let status = host
        .faramesh(&["status", "--format", "json"])
        .exits(0)
        .json();
    let pid = status["daemon"]["pid"].as_u64().unwrap();
    assert_eq!(owned(Path::new(&format!("/proc/{pid}"))).0, "faramesh");
    let ask = host.faramesh(&[
        "govern",
        "--agent",
        "bot",
        "--tool",
        "stripe/refund",
        "--args",
        "{\"amount\": 80}",
    ]);
    ask.exits(0).says(&["PERMIT", "nothing is performed"]);
    host.faramesh(&["audit", "tail", "-n", "1"])
        .exits(0)
        .says(&["probe"]);
    host.faramesh(&["audit", "verify"])
        .exits(0)
        .says(&["HOLDS"]);
    host.faramesh(&["stop"]).exits(0).says(&["stopped"]);
    assert_eq!(host.serve.take().unwrap().wait().unwrap().code(), Some(0));
    host.faramesh(&["status"]).exits(1);
}

#[test]
fn a_daemon_that_wants_a_person_is_not_started_again() {
    let Some(host) = Host::new() else { return };
    host.apply().exits(0);
    let path = host.places()[0].join("policy.pub");
    fs::write(&path, "nonsense\n").unwrap();
    let answer = host.faramesh(&["serve"]);
    assert!(
        [65, 78].contains(&answer.code),
        "{}: {}",
        answer.code,
        answer.stderr
    );
    assert_eq!(
        answer.stderr.matches("started farameshd").count(),
        1,
        "{}",
        answer.stderr
    );
    answer.says(&["is not restarted"]);
}

#[test]
fn root_executes_nothing_that_others_could_have_put_there() {
    let Some(host) = Host::new() else { return };
    let bin = host.temp.path().join("bin");
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o777)).unwrap();
    let apply = |program: &Path| {
        let mut command = Command::new(program);
        Answer::of(
            command
                .args(["apply", "--name", &host.stack])
                .arg("--dir")
                .arg(&host.dir)
                .output()
                .unwrap(),
        )
    };
    apply(&bin.join("faramesh"))
        .exits(77)
        .says(&["root does not execute", "others than root may write"]);
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
    apply(&bin.join("faramesh")).exits(0);
}

#[test]
fn an_ordinary_user_can_neither_serve_nor_read_the_key_but_can_try_it_out() {
    let Some(host) = Host::new() else { return };
    host.apply().exits(0);
    let bin = host.temp.path().join("bin");
    let own = host.temp.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("governance.fms"), POLICY).unwrap();
    std::os::unix::fs::chown(&own, Some(65_534), Some(65_534)).unwrap();
    let as_nobody = |args: &[&str], dir: &Path| {
        let mut command = Command::new(bin.join("faramesh"));
        command
            .args(args)
            .arg("--dir")
            .arg(dir)
            .uid(65_534)
            .gid(65_534)
            .stdin(Stdio::null());
        Answer::of(command.output().unwrap())
    };
    as_nobody(&["serve"], &host.dir)
        .exits(77)
        .says(&["may not serve"]);
    as_nobody(&["status"], &host.dir)
        .exits(1)
        .says(&["(enforced)"]);
    as_nobody(&["audit", "tail"], &host.dir)
        .exits(77)
        .says(&["faramesh-audit"]);
    as_nobody(&["apply"], &own)
        .exits(0)
        .says(&["DEVELOPMENT", "next 1 pending"]);
    let config =
        faramesh_daemon::config::Config::load(&own.join(".faramesh/state/etc/daemon.toml"))
            .unwrap();
    assert_eq!(config.uid, 65_534);
}
