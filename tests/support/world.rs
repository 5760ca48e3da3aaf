//! A stack of its own, with its daemon running: made in a line, gone when it goes out of scope.
//!
//! Enforced worlds lie below /srv, because an agent's user cannot read below root's home, and their name holds the test's
//! process id, so that no two runs meet. What a world made it removes; what it did not make it leaves.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The user that agents of enforced test worlds run under; made by `apply` where it is missing.
const AGENT_USER: &str = "ft-agent";
/// The helper that asks from inside.
const ASK: &str = "faramesh-test-ask";
/// Longest time that anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running stack.
pub struct World {
    /// Where `governance.fms` lies.
    pub dir: PathBuf,
    /// Its name.
    pub stack: String,
    /// Whether users are separate.
    pub enforced: bool,
    home: PathBuf,
    /// The configuration was edited, so `dev`, which would write it anew, is not what starts it.
    tuned: bool,
    serve: Option<Child>,
}

/// What `faramesh govern --format json` or a call from inside printed.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `permit`, `defer` or `deny`.
    pub effect: String,
    /// Empty on a plain permit.
    pub code: String,
    /// For people.
    pub message: String,
    /// All of it.
    pub json: Value,
    /// The command's exit code.
    pub exit: i32,
}

/// What a command inside the sandbox did.
#[derive(Debug)]
pub struct Inside {
    /// Exit code, or 128 + signal.
    pub exit: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error, with the launcher's own words.
    pub stderr: String,
}

impl World {
    /// A development world: one user, `faramesh dev`.
    ///
    /// # Panics
    /// It does not become READY: with the daemon's words.
    #[must_use]
    pub fn development(policy: &str) -> World {
        let mut world = World::new(false, policy);
        world.start();
        world
    }

    /// A development world whose `daemon.toml` holds these numbers, applied and not started.
    ///
    /// # Panics
    /// `apply` fails, or the file has no such key.
    #[must_use]
    pub fn tuned(policy: &str, numbers: &[(&str, u64)]) -> World {
        let mut world = World::new(false, policy);
        world.apply().expect("the first apply");
        world.tune(numbers);
        world
    }

    /// Puts numbers into `daemon.toml`, which the next start reads. An `apply` would write the file anew.
    ///
    /// # Panics
    /// The file has no such key.
    pub fn tune(&mut self, numbers: &[(&str, u64)]) {
        let path = self.state("etc").join("daemon.toml");
        let mut text = std::fs::read_to_string(&path).expect("a configuration");
        for (key, number) in numbers {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{key} = ")));
            let line = line
                .unwrap_or_else(|| panic!("no `{key}` in {text}"))
                .to_owned();
            text = text.replace(&line, &format!("{key} = {number}"));
        }
        std::fs::write(&path, text).expect("the configuration can be written");
        self.tuned = true;
    }

    /// An enforced world: separate users, `faramesh apply` and `faramesh serve`. `run_as` is put into each agent of the
    /// policy as `RUN_AS`.
    ///
    /// # Panics
    /// As above, or not root.
    #[must_use]
    pub fn enforced(policy: &str) -> World {
        let mut world = World::applied(policy);
        world.start();
        world
    }

    /// An enforced world that was applied and not started.
    ///
    /// # Panics
    /// `apply` fails.
    #[must_use]
    pub fn applied(policy: &str) -> World {
        let world = World::new(
            true,
            &policy.replace("RUN_AS", &format!("run_as \"{AGENT_USER}\"")),
        );
        world.apply().expect("the first apply");
        world
    }

    fn new(enforced: bool, policy: &str) -> World {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let stack = format!(
            "ft-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let home = Path::new(if enforced { "/srv" } else { "/tmp" }).join(&stack);
        let dir = home.join("stack");
        std::fs::create_dir_all(dir.join("workspace")).expect("a directory for the world");
        std::fs::create_dir(home.join("bin")).expect("a directory for binaries");
        // What agents execute lies in the stack, whose entries they may read.
        std::fs::create_dir(dir.join("tools")).expect("a directory for the agents' tools");
        for name in [
            "faramesh",
            "farameshd",
            "faramesh-signer",
            "faramesh-agent",
            ASK,
        ] {
            let folder = if name == ASK {
                dir.join("tools")
            } else {
                home.join("bin")
            };
            let (from, to) = (target_dir().join(name), folder.join(name));
            // A link costs nothing; another file system needs the copy.
            if std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(&from, &to).unwrap_or_else(|e| {
                    panic!("{}: {e}: `cargo build --workspace` first", from.display())
                });
            }
        }
        let world = World {
            dir,
            stack,
            enforced,
            home,
            tuned: false,
            serve: None,
        };
        world.write_policy(policy);
        world
    }

    /// Replaces `governance.fms`.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write_policy(&self, policy: &str) {
        let policy = policy.replace("RUN_AS", &format!("run_as \"{AGENT_USER}\""));
        std::fs::write(self.dir.join("governance.fms"), policy).expect("the policy can be written");
    }

    /// `faramesh ARGS --dir STACK`, finished.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn faramesh(&self, args: &[&str]) -> Output {
        self.command(args)
            .stdin(Stdio::null())
            .output()
            .expect("faramesh can be started")
    }

    /// The same, not yet started.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binary("faramesh"));
        command
            .args(args)
            .arg("--dir")
            .arg(&self.dir)
            .env("XDG_STATE_HOME", self.dir.join("auditor"))
            .env_remove("NO_COLOR");
        command
    }

    /// A binary that agents can execute.
    #[must_use]
    pub fn binary(&self, name: &str) -> PathBuf {
        let folder = if name == ASK {
            self.dir.join("tools")
        } else {
            self.home.join("bin")
        };
        folder.join(name)
    }

    /// Compiles, signs and activates what `governance.fms` says now.
    ///
    /// # Errors
    /// What `apply` printed.
    pub fn apply(&self) -> Result<(), String> {
        let args: &[&str] = if self.enforced {
            &["apply", "--name", &self.stack]
        } else {
            &["apply", "--development", "--name", &self.stack]
        };
        let output = self.faramesh(args);
        if output.status.success() {
            return Ok(());
        }
        Err(format!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Starts the daemon and waits for READY.
    ///
    /// # Panics
    /// It does not become READY.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts the daemon and does not wait.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn spawn(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log");
        let args: &[&str] = if self.enforced {
            &["serve"]
        } else if self.tuned {
            &["serve", "--development"]
        } else {
            &["dev", "--name", &self.stack]
        };
        let child = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the daemon can be started");
        self.serve = Some(child);
    }

    /// Waits until `faramesh status` says READY.
    ///
    /// # Panics
    /// It does not within a minute, or the parent ended.
    pub fn wait_ready(&mut self) {
        let began = Instant::now();
        while self.faramesh(&["status", "--quiet"]).status.code() != Some(0) {
            let ended = self
                .serve
                .as_mut()
                .and_then(|child| child.try_wait().expect("a child of ours"));
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "not READY ({ended:?}):\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the parent of signer and daemon to end by itself.
    ///
    /// # Panics
    /// It does not within a minute.
    pub fn wait_ended(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            let child = self.serve.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("a child of ours") {
                self.serve = None;
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < PATIENCE, "still running:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Drains and stops.
    ///
    /// # Panics
    /// It does not stop.
    pub fn stop(&mut self) {
        if self.serve.is_some() {
            let output = self.faramesh(&["stop"]);
            assert!(
                output.status.success(),
                "stop: {}\n{}",
                String::from_utf8_lossy(&output.stderr),
                self.log()
            );
            self.wait_ended();
        }
    }

    /// `status --format json`, with what the daemon says in one object with what the command says.
    ///
    /// # Panics
    /// It is not JSON.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json(&self.faramesh(&["status", "--format", "json"]));
        if let Some(Value::Object(daemon)) =
            status.as_object_mut().and_then(|all| all.remove("daemon"))
        {
            status.as_object_mut().expect("an object").extend(daemon);
        }
        status
    }

    /// The daemon's own process.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn daemon_pid(&self) -> i32 {
        i32::try_from(self.status()["pid"].as_u64().expect("a pid in status")).expect("a pid")
    }

    /// Whether a signer runs.
    #[must_use]
    pub fn has_signer(&self) -> bool {
        self.signer().is_some()
    }

    /// The signer's process: the other child of the daemon's parent.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn signer_pid(&self) -> i32 {
        self.signer().expect("a signer")
    }

    fn signer(&self) -> Option<i32> {
        let parent = self.serve.as_ref()?.id();
        children(parent).into_iter().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm.trim() == "faramesh-signer")
        })
    }

    /// `kill -9` of one of our own processes.
    ///
    /// # Panics
    /// It is gone already.
    pub fn kill(&self, pid: i32) {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("it was alive");
    }

    /// Asks as an operator would: in development a call of this user, when enforced a probe.
    ///
    /// # Panics
    /// The answer is not JSON.
    #[must_use]
    pub fn govern(&self, agent: &str, tool: &str, args: &str) -> Answer {
        let output = self.faramesh(&[
            "govern", "--agent", agent, "--tool", tool, "--args", args, "--format", "json",
        ]);
        Answer::of(json(&output), output.status.code().unwrap_or(-1))
    }

    /// Runs a command as the agent, through `.faramesh/bin/agent`.
    ///
    /// # Panics
    /// The launcher is not there.
    #[must_use]
    pub fn agent(&self, command: &[&str]) -> Inside {
        self.agent_named(None, command)
    }

    /// The same for a policy with several agents.
    ///
    /// # Panics
    /// The launcher is not there.
    #[must_use]
    pub fn agent_named(&self, agent: Option<&str>, command: &[&str]) -> Inside {
        let output = self
            .launcher(agent, command)
            .output()
            .expect("the launcher can be started");
        let exit = std::os::unix::process::ExitStatusExt::signal(&output.status)
            .map_or_else(|| output.status.code().unwrap_or(-1), |signal| 128 + signal);
        Inside {
            exit,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The launcher with its arguments, not yet started.
    #[must_use]
    pub fn launcher(&self, agent: Option<&str>, command: &[&str]) -> Command {
        let mut launcher = Command::new(self.dir.join(".faramesh/bin/agent"));
        if let Some(agent) = agent {
            launcher.args(["--agent", agent]);
        }
        launcher
            .arg("--")
            .args(command)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        launcher
    }

    /// Asks from inside the sandbox, over the agent's own socket.
    ///
    /// # Panics
    /// Nothing that is JSON came back.
    #[must_use]
    pub fn ask(&self, tool: &str, args: &str) -> Answer {
        self.ask_as(None, &["govern", tool, args])
    }

    /// Runs the asking helper inside the sandbox of `agent` with these arguments.
    ///
    /// # Panics
    /// Nothing that is JSON came back.
    #[must_use]
    pub fn ask_as(&self, agent: Option<&str>, args: &[&str]) -> Answer {
        let helper = self.binary("faramesh-test-ask").display().to_string();
        let command: Vec<&str> = std::iter::once(helper.as_str())
            .chain(args.iter().copied())
            .collect();
        let inside = self.agent_named(agent, &command);
        let json = serde_json::from_str(&inside.stdout)
            .unwrap_or_else(|e| panic!("no answer from inside: {e}: {inside:?}\n{}", self.log()));
        Answer::of(json, inside.exit)
    }

    /// `audit verify --from-start --format json`, with its exit code: tests damage what was verified before.
    ///
    /// # Panics
    /// It is not JSON.
    #[must_use]
    pub fn verify(&self) -> (i32, Value) {
        let output = self.faramesh(&["audit", "verify", "--from-start", "--format", "json"]);
        (output.status.code().unwrap_or(-1), json(&output))
    }

    /// `audit show SEQ --format json`.
    ///
    /// # Panics
    /// It is not JSON.
    #[must_use]
    pub fn record(&self, seq: u64) -> Value {
        json(&self.faramesh(&["audit", "show", &seq.to_string(), "--format", "json"]))
    }

    /// The last `n` records, oldest first.
    ///
    /// # Panics
    /// It is not JSON.
    #[must_use]
    pub fn records(&self, n: usize) -> Vec<Value> {
        let output = self.faramesh(&["audit", "tail", "-n", &n.to_string(), "--format", "json"]);
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// The operators' socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.state("run").join("admin.sock")
    }

    /// The one agent socket of a development world.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        let status = self.status();
        status["agent_socket"]
            .as_str()
            .expect("development has one")
            .into()
    }

    /// Waits until `holds`; what it waits for is a state that stays.
    ///
    /// # Panics
    /// It does not hold within a minute.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(
                began.elapsed() < PATIENCE,
                "{what}: not within a minute\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal to one of our own processes.
    ///
    /// # Panics
    /// It is gone.
    pub fn signal(&self, pid: i32, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it is alive");
    }

    /// A path of this stack's state, by the name of its place.
    #[must_use]
    pub fn state(&self, place: &str) -> PathBuf {
        if !self.enforced {
            return self.dir.join(".faramesh/state").join(place);
        }
        match place {
            "etc" => Path::new("/etc/faramesh").join(&self.stack),
            "signer" => Path::new("/var/lib/faramesh-signer").join(&self.stack),
            "run" => Path::new("/run/faramesh").join(&self.stack),
            "index" => Path::new("/var/lib/faramesh-index").join(&self.stack),
            _ => Path::new("/var/lib/faramesh").join(&self.stack).join(place),
        }
    }

    /// What daemon, signer and their parent printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("daemon.log")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut parent) = self.serve.take() {
            // SIGTERM lets it stop its children; a parent that does not is ended, and they see it go.
            let pid = nix::unistd::Pid::from_raw(i32::try_from(parent.id()).unwrap_or(0));
            let orphans = children(parent.id());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let began = Instant::now();
            while parent.try_wait().is_ok_and(|status| status.is_none()) {
                if began.elapsed() > Duration::from_secs(15) {
                    let _ = parent.kill();
                    for child in &orphans {
                        let _ = nix::sys::signal::kill(
                            nix::unistd::Pid::from_raw(*child),
                            nix::sys::signal::Signal::SIGKILL,
                        );
                    }
                    let _ = parent.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon of {}:\n{}", self.stack, self.log());
        }
        if self.enforced {
            for place in ["etc", "signer", "run", "index"] {
                let _ = std::fs::remove_dir_all(self.state(place));
            }
            let _ = std::fs::remove_dir_all(Path::new("/var/lib/faramesh").join(&self.stack));
            let _ = std::fs::remove_dir_all(Path::new("/run/faramesh-index").join(&self.stack));
            // Empty by now: the sessions' own cgroups went with them.
            for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
                let _ = std::fs::remove_dir(Path::new(mount).join("faramesh").join(&self.stack));
            }
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Answer {
    fn of(json: Value, exit: i32) -> Answer {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        Answer {
            effect: text("effect"),
            code: text("code"),
            message: text("message"),
            json,
            exit,
        }
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!(
            "{e}: {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn children(parent: u32) -> Vec<i32> {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    read(format!("/proc/{parent}/task/{parent}/children"))
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Where cargo put the binaries: two levels above the test's own.
fn target_dir() -> PathBuf {
    let me = std::env::current_exe().expect("a test has a path");
    me.parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/NAME")
        .to_owned()
}
