//! Whole sessions: the real shim, a small daemon that speaks the attach protocol, and things tried from inside.
//!
//! As root the sessions are enforced ones (users 61001 and 61003, a cgroup); the development ones then run as user
//! 61004. As an ordinary user all are development ones, and what only root can have is skipped aloud.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper that fails fails its test"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use faramesh_proto::frame::{self, ATTACH_BYTES_MAX};
use faramesh_proto::v1::attach_message::Kind;
use faramesh_proto::v1::{AttachMessage, Bound, Hello, Probe, Refused, Sealed};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

const AGENT_UID: u32 = 61001;
const KEEPER_UID: u32 = 61003;
const DEVELOPER_UID: u32 = 61004;

/// Long enough for any machine; reached only by a test that fails.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

fn am_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// True, and said aloud, where a test cannot run.
fn skipped(cannot: bool, why: &str) -> bool {
    if cannot {
        eprintln!("SKIPPED: {why}");
    }
    cannot
}

// ---- a world: directories, a daemon, the shim -------------------------------------------------------------------

/// What the daemon says, and when.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Daemon {
    Seals,
    RefusesHello,
    RefusesProbes,
    ClosesInsteadOfSealing,
}

struct World {
    directory: tempfile::TempDir,
    daemon: Daemon,
    uid: u32,
    /// Below the world's directory.
    workspace: &'static str,
    /// What becomes the shim.
    prefix: &'static [&'static str],
    /// The user who starts the shim, where that is not the one who runs the tests.
    starter: Option<u32>,
    keep_env: Vec<String>,
    read: Vec<PathBuf>,
    environment: Vec<(String, String)>,
}

/// A session that runs.
struct Session {
    shim: Child,
    stdout: BufReader<ChildStdout>,
    hang_up: Sender<()>,
    seen: Receiver<(Hello, u32, Vec<Probe>)>,
    thread: JoinHandle<()>,
}

/// A session that has ended.
struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
    hello: Option<Hello>,
    probes: Vec<Probe>,
}

impl World {
    /// Enforced as root, else development.
    fn new() -> Self {
        if am_root() {
            Self::of(AGENT_UID, None)
        } else {
            Self::of(nix::unistd::Uid::current().as_raw(), None)
        }
    }

    /// Development, whoever runs the tests.
    fn development() -> Self {
        if am_root() {
            Self::of(DEVELOPER_UID, Some(DEVELOPER_UID))
        } else {
            Self::new()
        }
    }

    fn of(uid: u32, starter: Option<u32>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("faramesh-shim-")
            .tempdir()
            .unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self {
            directory,
            daemon: Daemon::Seals,
            uid,
            workspace: "workspace",
            prefix: &[],
            starter,
            keep_env: vec![],
            read: vec![],
            environment: vec![],
        };
        for name in ["workspace", "state"] {
            fs::create_dir(world.path(name)).unwrap();
            // The state is the agent's own user's here: only Landlock can keep it away.
            chown(world.path(name), Some(uid), Some(uid)).unwrap();
        }
        fs::write(world.path("state/key"), "the key").unwrap();
        chown(world.path("state/key"), Some(uid), Some(uid)).unwrap();
        // By another process: a descriptor open for writing, inherited by a fork meanwhile, makes it "busy".
        let copied = Command::new("cp")
            .args([
                env!("CARGO_BIN_EXE_faramesh-agent").into(),
                world.path("faramesh-agent"),
            ])
            .status();
        assert!(copied.unwrap().success());
        world
    }

    fn daemon(mut self, daemon: Daemon) -> Self {
        self.daemon = daemon;
        self
    }

    fn keep_env(mut self, name: &str) -> Self {
        self.keep_env.push(name.to_owned());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn read(mut self, path: &str) -> Self {
        self.read.push(self.path(path));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn shell(&self, script: &str) -> Ended {
        self.run(&["/bin/bash", "-c", script])
    }

    fn run(&self, command: &[&str]) -> Ended {
        self.start(command).end()
    }

    fn start(&self, command: &[&str]) -> Session {
        let listener = UnixListener::bind(self.path("attach.sock")).unwrap();
        fs::set_permissions(self.path("attach.sock"), fs::Permissions::from_mode(0o666)).unwrap();
        let (hang_up, hung_up) = channel();
        let (saw, seen) = channel();
        let bound = Bound {
            session: "s-1".into(),
            agent: "bot".into(),
            run_as_uid: self.uid,
            run_as_gid: self.uid,
            agent_socket: self.path("agent.sock").to_str().unwrap().into(),
            profile: "full".into(),
            keep_env: self.keep_env.clone(),
            allowed_sockets: vec![],
            hidden_paths: ["state", "state/key"]
                .map(|name| self.path(name).to_str().unwrap().to_owned())
                .to_vec(),
            daemon_pid: std::process::id(),
        };
        let daemon = self.daemon;
        let thread = std::thread::spawn(move || serve(&listener, daemon, bound, &saw, &hung_up));
        let mut shim = self.command(command);
        let mut shim = shim
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(shim.stdout.take().unwrap());
        Session {
            shim,
            stdout,
            hang_up,
            seen,
            thread,
        }
    }

    fn command(&self, command: &[&str]) -> Command {
        let starter = self
            .starter
            .map(|uid| format!("setpriv --reuid={uid} --regid={uid} --clear-groups"));
        let mut words: Vec<std::ffi::OsString> = self.prefix.iter().map(Into::into).collect();
        words.extend(
            starter
                .iter()
                .flat_map(|line| line.split(' '))
                .map(Into::into),
        );
        words.push(self.path("faramesh-agent").into());
        let (first, rest) = words.split_first().unwrap();
        let mut shim = Command::new(first);
        shim.args(rest);
        shim.arg("--attach").arg(self.path("attach.sock"));
        shim.arg("--workspace").arg(self.path(self.workspace));
        shim.args(["--keeper", &KEEPER_UID.to_string()]);
        for path in &self.read {
            shim.arg("--read").arg(path);
        }
        shim.arg("--")
            .args(command)
            .current_dir(self.directory.path());
        shim.envs(self.environment.iter().map(|(name, value)| (name, value)));
        shim
    }

    /// Compiles tests/attack.c into the workspace: any machine that builds this crate has `cc`.
    fn with_attacks(self) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attack.c");
        let built = Command::new("cc")
            .arg("-O1")
            .arg("-o")
            .arg(self.path("workspace/attack"))
            .arg(source)
            .arg("-lpthread")
            .output();
        let built = built.expect("cc, which links this crate, is there");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        self
    }
}

fn serve(
    listener: &UnixListener,
    daemon: Daemon,
    bound: Bound,
    saw: &Sender<(Hello, u32, Vec<Probe>)>,
    hung_up: &Receiver<()>,
) {
    let Ok((mut shim, _)) = listener.accept() else {
        return;
    };
    let refusal = || {
        Kind::Refused(Refused {
            code: "ENFORCEMENT_MISSING".into(),
            message: "not today".into(),
        })
    };
    let Some(Kind::Hello(hello)) = receive(&mut shim) else {
        return;
    };
    if daemon == Daemon::RefusesHello {
        return send(&mut shim, refusal());
    }
    send(&mut shim, Kind::Bound(bound));
    let Some(Kind::Probes(probes)) = receive(&mut shim) else {
        return;
    };
    let _ = saw.send((hello, probes.pid, probes.probes));
    match daemon {
        Daemon::RefusesProbes => return send(&mut shim, refusal()),
        Daemon::ClosesInsteadOfSealing => return,
        _ => send(&mut shim, Kind::Sealed(Sealed {})),
    }
    let _ = hung_up.recv();
}

fn send(shim: &mut UnixStream, kind: Kind) {
    let _ = frame::write(shim, &AttachMessage { kind: Some(kind) }, ATTACH_BYTES_MAX);
}

fn receive(shim: &mut UnixStream) -> Option<Kind> {
    frame::read::<AttachMessage>(shim, ATTACH_BYTES_MAX)
        .ok()?
        .kind
}

impl Session {
    /// The next line that the agent prints: the only way in which these tests wait for it.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn pid_line(&mut self) -> Pid {
        let line = self.line();
        Pid::from_raw(
            line.parse()
                .unwrap_or_else(|_| panic!("`{line}` is no pid; {}", self.complaint())),
        )
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        self.shim
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    fn shim_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.shim.id()).unwrap())
    }

    fn end(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.shim
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        let status = self.shim.wait().unwrap().code();
        let _ = self.hang_up.send(());
        let seen = self.seen.try_recv().ok();
        // A shim that never connected leaves the daemon waiting: the thread is then left behind.
        if seen.is_some() {
            self.thread.join().unwrap();
        }
        let (hello, _, probes) = seen.map_or((None, 0, vec![]), |(hello, pid, probes)| {
            (Some(hello), pid, probes)
        });
        Ended {
            status,
            stdout,
            stderr,
            hello,
            probes,
        }
    }
}

impl Ended {
    #[track_caller]
    fn succeeded(self) -> Self {
        assert_eq!(
            self.status,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    fn probe(&self, layer: &str) -> &Probe {
        self.probes
            .iter()
            .find(|probe| probe.layer == layer)
            .unwrap_or_else(|| panic!("no row `{layer}`: {}", self.stderr))
    }
}

/// Waits until the process is no more.
fn await_end(pid: Pid) -> bool {
    let Ok(fd) = pidfd_open(
        rustix::process::Pid::from_raw(pid.as_raw()).unwrap(),
        PidfdFlags::empty(),
    ) else {
        return true;
    };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&PATIENCE)).unwrap() == 1
}

// ---- what the agent is ------------------------------------------------------------------------------------------

#[test]
fn an_agent_has_no_capability_no_foreign_group_and_no_new_privileges() {
    let world = World::new();
    let ended = world.shell("cat /proc/self/status; id -u").succeeded();
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
    assert!(ended.stdout.ends_with(&format!("{}\n", world.uid)));
    if am_root() {
        assert!(
            ended.stdout.contains("CapBnd:\t0000000000000000")
                && ended.stdout.contains("Groups:\t \n"),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn descriptors_that_the_starter_left_open_do_not_reach_the_agent() {
    let world = World {
        prefix: &[
            "bash",
            "-c",
            "exec 7</etc/passwd 23</etc/hosts; exec \"$@\"",
            "bash",
        ],
        ..World::new()
    };
    let ended = world.shell("echo /proc/$$/fd/*").succeeded();
    assert!(ended.stdout.contains("/fd/0"), "{}", ended.stdout);
    assert!(
        !ended.stdout.contains("/fd/7") && !ended.stdout.contains("/fd/23"),
        "{}",
        ended.stdout
    );
}

#[test]
fn only_listed_variables_and_those_that_policy_keeps_reach_the_agent() {
    let ended = World::new()
        .env("AWS_SECRET_ACCESS_KEY", "hunter2")
        .env("LD_PRELOAD_X", "y")
        .env("MODE", "kept")
        .keep_env("MODE")
        .shell("env")
        .succeeded();
    assert!(
        ended.stdout.contains("MODE=kept\n") && ended.stdout.contains("FARAMESH_AGENT_ID=bot\n"),
        "{}",
        ended.stdout
    );
    assert!(
        !ended.stdout.contains("hunter2") && !ended.stdout.contains("LD_PRELOAD_X"),
        "{}",
        ended.stdout
    );
    assert!(
        ended
            .stderr
            .contains("look like credentials: AWS_SECRET_ACCESS_KEY"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("hunter2"));
    let hello = ended.hello.unwrap();
    assert!(
        hello
            .stripped_env
            .contains(&"AWS_SECRET_ACCESS_KEY".to_owned())
    );
}

#[test]
fn the_agents_exit_status_is_the_shims() {
    assert_eq!(World::new().shell("exit 7").status, Some(7));
    assert_eq!(World::new().shell("kill -KILL $$").status, Some(128 + 9));
    let ended = World::new().run(&["/nowhere/at-all"]);
    assert_eq!(ended.status, Some(127), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cannot execute `/nowhere/at-all`"),
        "{}",
        ended.stderr
    );
}

#[test]
fn ordinary_programs_work() {
    let world = World::new().with_attacks();
    let script = "set -e; cd \"$HOME\"; \
        sleep 1000 & kill $!; wait $! || test $? = 143; \
        echo a | sort | tr a b | grep -q b; \
        mkdir d; echo x > d/f; mv d/f g; ln g h; ln -s g i; cat i; chmod 600 g; touch -d yesterday g; rm -r d g h i; \
        mktemp >/dev/null; ./attack thread";
    let ended = world.shell(script).succeeded();
    assert_eq!(ended.stdout, "x\nok\n");
}

#[test]
fn python_runs_with_threads_processes_and_local_sockets() {
    if skipped(
        !Path::new("/usr/bin/python3").exists(),
        "the system has no /usr/bin/python3",
    ) {
        return;
    }
    let script = "
import asyncio, os, socket, subprocess, sys, tempfile, threading
t = threading.Thread(target=lambda: None); t.start(); t.join()
assert subprocess.run(['/bin/sh', '-c', 'exit 3']).returncode == 3
p = subprocess.Popen(['sleep', '1000']); p.kill(); assert p.wait() == -9
with tempfile.TemporaryFile() as f: f.write(b'x')
a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'
asyncio.run(asyncio.sleep(0))
try: socket.create_connection(('127.0.0.1', 1)); sys.exit('connected')
except OSError as e: print(type(e).__name__)
";
    let ended = World::new()
        .run(&["/usr/bin/python3", "-c", script])
        .succeeded();
    assert_eq!(ended.stdout, "PermissionError\n");
}

#[test]
fn git_works_in_the_workspace() {
    if skipped(
        !Path::new("/usr/bin/git").exists(),
        "the system has no /usr/bin/git",
    ) {
        return;
    }
    let script = "set -e; cd \"$HOME\"; mkdir r; cd r; export GIT_CONFIG_NOSYSTEM=1; /usr/bin/git init -q .; echo x > f; /usr/bin/git add f; \
        /usr/bin/git -c user.name=a -c user.email=a@b commit -q -m m; /usr/bin/git log --oneline | wc -l";
    assert_eq!(World::new().shell(script).succeeded().stdout.trim(), "1");
}

// ---- what it cannot do ------------------------------------------------------------------------------------------

#[test]
fn each_named_call_is_refused_with_eperm() {
    let world = World::new().with_attacks();
    let names = "ptrace process_vm_readv bpf mount umount chroot unshare clone setns io_uring keyctl userfaultfd perf \
        pidfd_getfd tiocsti tiocsti_high_bits f_setown f_setsig kill_all inet inet6 netlink packet socketpair_inet \
        prlimit personality";
    let ended = world
        .shell(&format!(
            "for n in {names}; do echo $n $($HOME/attack $n); done"
        ))
        .succeeded();
    let answers: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(answers.len(), names.split_whitespace().count());
    for answer in answers {
        assert!(
            answer.ends_with(&format!(" {}", Errno::EPERM as i32)),
            "{answer}"
        );
    }
}

#[test]
fn a_number_that_nobody_listed_and_clone3_answer_enosys() {
    let world = World::new().with_attacks();
    let ended = world
        .shell("for n in clone3 unlisted unknown; do $HOME/attack $n; done")
        .succeeded();
    assert_eq!(
        ended.stdout,
        format!("{0}\n{0}\n{0}\n", Errno::ENOSYS as i32)
    );
}

#[test]
fn a_call_of_a_foreign_abi_kills_the_caller() {
    if skipped(
        !cfg!(target_arch = "x86_64"),
        "only x86_64 has foreign entries",
    ) {
        return;
    }
    let world = World::new().with_attacks();
    let ended = world.shell("for n in x32 x32_high i386; do $HOME/attack $n; echo $?; done");
    let killed = (128 + Signal::SIGSYS as i32).to_string();
    assert_eq!(
        ended.stdout.lines().collect::<Vec<_>>(),
        [killed.as_str(); 3],
        "{}",
        ended.stderr
    );
}

#[test]
fn state_is_neither_readable_nor_writable_though_it_belongs_to_the_agents_user() {
    let world = World::new();
    let state = world.path("state").display().to_string();
    let attempts = "cat STATE/key;echo x > STATE/key;echo x > STATE/new;rm STATE/key;mv STATE/key $HOME/;ln STATE/key $HOME/;ls STATE";
    let script: String = attempts
        .replace("STATE", &state)
        .split(';')
        .map(|one| format!("({one}) 2>/dev/null && echo '{one}';"))
        .collect();
    assert_eq!(
        world.shell(&format!("{script} true")).succeeded().stdout,
        ""
    );
    assert_eq!(
        fs::read_to_string(world.path("state/key")).unwrap(),
        "the key"
    );
}

#[test]
fn what_is_granted_to_read_is_not_writable_and_what_is_hidden_below_it_stays_hidden() {
    let world = World::new();
    fs::create_dir(world.path("stack")).unwrap();
    fs::write(world.path("stack/agent.txt"), "code").unwrap();
    fs::write(world.path("other"), "not granted").unwrap();
    chown(
        world.path("stack/agent.txt"),
        Some(world.uid),
        Some(world.uid),
    )
    .unwrap();
    // The whole directory is granted, and the state lies in it.
    let world = world.read("stack").read(".");
    fs::write(world.path("state/unnamed"), "hidden with its directory").unwrap();
    let script = "cat stack/agent.txt && ! echo x >> stack/agent.txt && ! cat state/key \
        && ! cat state/unnamed && ! ls state";
    let ended = world.shell(script).succeeded();
    assert_eq!(ended.stdout, "code");
}

#[test]
fn nothing_outside_the_grants_is_readable_or_writable() {
    let world = World::new();
    fs::write(world.path("other"), "not granted").unwrap();
    let script = "for f in other /root/.profile / /tmp /home /var/lib; do ls $f/ >/dev/null 2>&1 && echo lists $f; cat $f 2>/dev/null; done; \
        for f in /tmp/x /dev/shm/x other stray; do (echo x > $f) 2>/dev/null && echo writes $f; done; true";
    assert_eq!(world.shell(script).succeeded().stdout, "");
}

#[test]
fn a_process_of_the_same_user_outside_the_session_cannot_be_signalled() {
    let world = World::new().with_attacks();
    let mut outside = Command::new("sleep");
    outside.arg("1000");
    if am_root() {
        use std::os::unix::process::CommandExt;
        outside.uid(world.uid).gid(world.uid);
    }
    let mut outside = outside.spawn().unwrap();
    let ended = world.shell(&format!("$HOME/attack kill {}", outside.id()));
    outside.kill().unwrap();
    outside.wait().unwrap();
    let scopes = ended.probe("landlock.scope.signal");
    if skipped(
        scopes.measured.starts_with("absent"),
        "this kernel's Landlock has no signal scope",
    ) {
        return;
    }
    assert_eq!(ended.stdout, format!("{}\n", Errno::EPERM as i32));
}

#[test]
fn an_abstract_socket_outside_the_session_cannot_be_reached() {
    let world = World::new().with_attacks();
    let name = format!("faramesh-test-{}", std::process::id());
    let _listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let ended = world.shell(&format!("$HOME/attack abstract {name}"));
    if skipped(
        ended
            .probe("landlock.scope.abstract_unix")
            .measured
            .starts_with("absent"),
        "this kernel's Landlock has no socket scope",
    ) {
        return;
    }
    assert_eq!(ended.stdout, format!("{}\n", Errno::EPERM as i32));
}

#[test]
fn an_agent_cannot_leave_its_cgroup_or_raise_its_limits() {
    if skipped(!am_root(), "only root makes cgroups") {
        return;
    }
    let world = World::new();
    let script = "own=$(sed -n 's/^0:://p' /proc/self/cgroup); mount=$(awk '$(NF-2)==\"cgroup2\" {print $5}' /proc/self/mountinfo | head -1); \
        echo $own; (echo $$ > $mount/cgroup.procs) 2>/dev/null && echo left; \
        (echo 1 > $mount$own/cgroup.kill) 2>/dev/null && echo killed; (mkdir $mount$own/x) 2>/dev/null && echo made; true";
    let ended = world.shell(script).succeeded();
    let own = ended.stdout.trim().to_owned();
    assert_eq!(own, ended.hello.unwrap().cgroup);
    let mount = Command::new("sh")
        .args([
            "-c",
            "awk '$(NF-2)==\"cgroup2\" {print $5}' /proc/self/mountinfo | head -1",
        ])
        .output()
        .unwrap();
    let mount = String::from_utf8(mount.stdout).unwrap();
    assert!(
        !Path::new(&format!("{}{own}", mount.trim())).exists(),
        "the session's cgroup is still there"
    );
}

// ---- what is reported -------------------------------------------------------------------------------------------

#[test]
fn every_layer_that_is_claimed_was_refused_and_every_other_says_why_it_is_absent() {
    let ended = World::new().shell("true").succeeded();
    assert!(
        ended
            .probes
            .iter()
            .filter(|probe| probe.layer.starts_with("seccomp."))
            .count()
            > 30
    );
    for probe in &ended.probes {
        let only_root = ["base.capabilities.bounding", "base.groups", "signal.daemon"]
            .contains(&probe.layer.as_str())
            && !am_root();
        assert!(
            probe.enforced || probe.measured.starts_with("absent: ") || only_root,
            "{}: {}",
            probe.layer,
            probe.measured
        );
    }
    for layer in ["namespaces", "egress", "listener", "bpf_lsm"] {
        assert!(!ended.probe(layer).enforced, "{layer} does not exist yet");
    }
    assert!(ended.probe("landlock.fs.read").enforced && ended.probe("landlock.fs.write").enforced);
}

#[test]
fn a_developers_session_says_that_there_is_no_cgroup_and_is_otherwise_confined() {
    let ended = World::development().shell("true").succeeded();
    assert!(ended.stderr.contains("development: "), "{}", ended.stderr);
    assert_eq!(
        ended.probe("cgroup.membership").measured,
        "absent: only root can make one that the agent cannot leave"
    );
    assert_eq!(ended.hello.as_ref().unwrap().cgroup, "");
    for layer in [
        "landlock.fs.read",
        "seccomp.mode",
        "base.no_new_privs",
        "base.descriptors",
    ] {
        assert!(ended.probe(layer).enforced, "{layer}");
    }
}

// ---- when there is no session -----------------------------------------------------------------------------------

#[test]
fn nothing_is_executed_when_the_daemon_refuses_or_goes_away() {
    for (daemon, status, words) in [
        (Daemon::RefusesHello, 77, "ENFORCEMENT_MISSING: not today"),
        (Daemon::RefusesProbes, 77, "ENFORCEMENT_MISSING: not today"),
        (Daemon::ClosesInsteadOfSealing, 69, "DAEMON_NOT_READY"),
    ] {
        let world = World::new().daemon(daemon);
        let ended = world.shell("touch $HOME/ran");
        assert_eq!(ended.status, Some(status), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!world.path("workspace/ran").exists());
    }
}

#[test]
fn without_a_daemon_the_shim_says_so_and_exits_69() {
    let world = World::new();
    let output: Output = world.command(&["true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("DAEMON_NOT_READY"));
}

#[test]
fn an_ordinary_user_cannot_start_an_agent_of_another_user() {
    let world = World {
        uid: AGENT_UID + 1,
        ..World::development()
    };
    let ended = world.shell("touch $HOME/ran");
    assert_eq!(ended.status, Some(77), "{}", ended.stderr);
    assert!(!world.path("workspace/ran").exists());
}

#[test]
fn a_workspace_that_contains_the_state_is_refused() {
    let world = World {
        workspace: ".",
        ..World::new()
    };
    let ended = world.shell("touch $HOME/ran");
    assert_eq!(ended.status, Some(78), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("must stay hidden"),
        "{}",
        ended.stderr
    );
    assert!(!world.path("ran").exists());
}

// ---- how it ends ------------------------------------------------------------------------------------------------

/// Prints its own pid and that of an orphan in a session of its own, which outlives its parents; then sleeps.
const TREE: &str = "echo $$; (setsid bash -c 'trap \"\" TERM HUP INT; echo $$; exec >/dev/null 2>&1; while :; do sleep 1000; done' &); sleep 1000";

fn started(world: &World) -> (Session, Pid, Pid) {
    let mut session = world.start(&["/bin/bash", "-c", TREE]);
    let (first, second) = (session.pid_line(), session.pid_line());
    (session, first, second)
}

fn both_worlds() -> Vec<World> {
    if am_root() {
        vec![World::new(), World::development()]
    } else {
        vec![World::new()]
    }
}

#[test]
fn when_the_daemon_closes_the_connection_the_whole_tree_is_ended() {
    for world in both_worlds() {
        let (session, agent, orphan) = started(&world);
        session.hang_up.send(()).unwrap();
        assert!(await_end(agent) && await_end(orphan));
        let ended = session.end();
        assert_eq!(ended.status, Some(69), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("the daemon closed the session"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn when_the_shim_is_killed_the_whole_tree_is_ended() {
    for world in both_worlds() {
        let (mut session, agent, orphan) = started(&world);
        kill(session.shim_pid(), Signal::SIGKILL).unwrap();
        session.shim.wait().unwrap();
        assert!(await_end(agent) && await_end(orphan));
    }
}

#[test]
fn when_the_keeper_is_killed_the_whole_tree_is_ended() {
    for world in both_worlds() {
        let (session, agent, orphan) = started(&world);
        kill(parent_of(agent), Signal::SIGKILL).unwrap();
        assert!(await_end(agent) && await_end(orphan));
        assert_eq!(session.end().status, Some(70));
    }
}

#[test]
fn when_the_agent_ends_what_it_left_in_the_background_is_ended() {
    for world in both_worlds() {
        let (session, agent, orphan) = started(&world);
        kill(agent, Signal::SIGKILL).unwrap();
        assert!(await_end(orphan));
        assert_eq!(session.end().status, Some(128 + 9));
    }
}

#[test]
fn a_signal_that_is_sent_to_the_shim_reaches_the_agent() {
    for world in both_worlds() {
        let world = world.with_attacks();
        let mut session = world.start(&[
            world.path("workspace/attack").to_str().unwrap(),
            "await_term",
        ]);
        assert_eq!(session.line(), "ready");
        kill(session.shim_pid(), Signal::SIGTERM).unwrap();
        assert_eq!(session.line(), "terminated");
        assert_eq!(session.end().status, Some(5));
    }
}

#[test]
fn the_staying_processes_hold_one_capability_and_another_user_than_the_agent() {
    if skipped(!am_root(), "only root can give them a user of their own") {
        return;
    }
    let world = World::new();
    let (session, agent, _) = started(&world);
    for pid in [session.shim_pid(), parent_of(agent)] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains(&format!(
                "Uid:\t{KEEPER_UID}\t{KEEPER_UID}\t{KEEPER_UID}\t{KEEPER_UID}\n"
            )),
            "{status}"
        );
        assert!(
            status.contains("CapPrm:\t0000000000000020\n")
                && status.contains("CapBnd:\t0000000000000000\n"),
            "{status}"
        );
        assert!(
            status.contains("NoNewPrivs:\t1\n") && status.contains("Groups:\t \n"),
            "{status}"
        );
    }
    session.hang_up.send(()).unwrap();
    session.end();
}

fn parent_of(pid: Pid) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    Pid::from_raw(parent.trim().parse().unwrap())
}
