//! Reading, writing and going around.

use crate::{POLICY, inside_prints, python};
use faramesh_tests::World;
use faramesh_tests::skip::root_or_skip;

/// A script that tries to open each path in each mode and prints what was possible.
fn open_all(paths: &[String]) -> String {
    format!(
        r"
import os
opened = []
for path in {paths:?}:
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDONLY | os.O_DIRECTORY):
        try:
            os.close(os.open(path, flags)); opened.append((path, flags))
        except OSError:
            pass
    for change in (os.unlink, lambda p: os.rename(p, p + '.x'), lambda p: os.chmod(p, 0o777), lambda p: os.truncate(p, 0)):
        try:
            change(path); opened.append((path, 'changed'))
        except OSError:
            pass
print(opened)
"
    )
}

#[test]
fn agent_reads_the_signers_key() {
    if !root_or_skip("agent_reads_the_signers_key") {
        return;
    }
    let world = World::enforced(POLICY);
    let signer = world.state("signer");
    let key = signer.join("log.key");
    assert!(key.exists(), "the key is where the manual says");
    let paths = [
        key,
        signer.join("head"),
        signer.clone(),
        world.state("etc").join("policy.key"),
    ];
    let script = open_all(&paths.map(|p| p.display().to_string()));
    inside_prints(&world, &script, "[]");
}

#[test]
fn agent_edits_the_policy() {
    if !root_or_skip("agent_edits_the_policy") {
        return;
    }
    let world = World::enforced(POLICY);
    let source = world.dir.join("governance.fms");
    let before = std::fs::read(&source).unwrap();
    let script = format!(
        r"
import os
changed = []
for path in {paths:?}:
    for flags in (os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
        try:
            os.close(os.open(path, flags)); changed.append(path)
        except OSError:
            pass
    for change in (os.unlink, lambda p: os.rename(p, p + '.x'), lambda p: os.chmod(p, 0o777)):
        try:
            change(path); changed.append(path)
        except OSError:
            pass
for folder in {folders:?}:
    try:
        open(os.path.join(folder, 'planted'), 'w'); changed.append(folder)
    except OSError:
        pass
print(changed)
",
        paths = [
            source.display().to_string(),
            world.dir.join(".faramesh/bin/agent").display().to_string(),
            world.state("etc").join("daemon.toml").display().to_string(),
            world.state("etc").join("policy.pub").display().to_string(),
            world.state("policy").join("next").display().to_string(),
        ],
        folders = [
            world.dir.display().to_string(),
            world.dir.join(".faramesh").display().to_string(),
            world.state("policy").display().to_string(),
            world
                .state("policy")
                .join("manifests")
                .display()
                .to_string(),
        ],
    );
    inside_prints(&world, &script, "[]");
    assert_eq!(std::fs::read(&source).unwrap(), before);
}

#[test]
fn agent_edits_or_reads_the_journal() {
    if !root_or_skip("agent_edits_or_reads_the_journal") {
        return;
    }
    let world = World::enforced(POLICY);
    let mut paths = vec![world.state("journal").display().to_string()];
    for entry in std::fs::read_dir(world.state("journal")).unwrap() {
        paths.push(entry.unwrap().path().display().to_string());
    }
    inside_prints(&world, &open_all(&paths), "[]");
    assert_eq!(world.verify().0, 0);
}

#[test]
fn agent_reaches_the_operators_the_shims_and_the_signers_sockets() {
    if !root_or_skip("agent_reaches_the_operators_the_shims_and_the_signers_sockets") {
        return;
    }
    let world = World::enforced(POLICY);
    let run = world.state("run");
    let sockets = ["admin.sock", "attach.sock", "signer.sock"]
        .map(|name| run.join(name).display().to_string());
    let script = format!(
        r"
import socket
for path in {sockets:?}:
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(path); print('connected', path)
    except OSError:
        print('refused', end=' ')
"
    );
    inside_prints(&world, &script, "refused refused refused");
}

#[test]
fn agent_leaves_through_the_network() {
    if !root_or_skip("agent_leaves_through_the_network") {
        return;
    }
    let world = World::enforced(POLICY);
    // Loopback only: a listener of the test's own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        r"
import socket
results = []
for family, kind, protocol in ((2, 1, 0), (10, 1, 0), (2, 2, 0), (2, 1, 262), (2, 3, 6), (17, 3, 0), (16, 3, 0), (40, 1, 0)):
    try:
        s = socket.socket(family, kind, protocol)
        try:
            s.connect(('127.0.0.1', {port})); results.append('connected')
        except Exception as e:
            results.append('socket, then ' + type(e).__name__)
    except OSError:
        results.append('no')
print(*results)
"
    );
    inside_prints(&world, &script, "no no no no no no no no");
}

#[test]
fn agent_leaves_through_a_connection_that_its_launcher_had_open() {
    if !root_or_skip("agent_leaves_through_a_connection_that_its_launcher_had_open") {
        return;
    }
    let world = World::enforced(POLICY);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let output = world
        .launcher(Some("bot"), &["/usr/bin/sh", "-c", "echo out >&0"])
        .stdin(std::os::fd::OwnedFd::from(connection))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let mut got = String::new();
    let (mut outside, _) = listener.accept().unwrap();
    std::io::Read::read_to_string(&mut outside, &mut got).unwrap();
    assert_eq!(got, "");
}

#[test]
fn agent_loosens_its_own_sandbox() {
    if !root_or_skip("agent_loosens_its_own_sandbox") {
        return;
    }
    let world = World::enforced(POLICY);
    let script = r"
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
calls = {
    'unshare(NEWUSER)': (272, 0x10000000), 'setns': (308, 0, 0), 'mount': (165, 0, 0, 0, 0, 0), 'bpf': (321, 0, 0, 0),
    'io_uring_setup': (425, 1, 0), 'userfaultfd': (323, 0), 'perf_event_open': (298, 0, 0, -1, -1, 0), 'keyctl': (250, 0, 0),
    'kexec_load': (246, 0, 0, 0, 0), 'init_module': (175, 0, 0, 0), 'open_by_handle_at': (304, 0, 0, 0), 'setuid(0)': (105, 0),
}
allowed = []
for name, (number, *args) in calls.items():
    if libc.syscall(number, *args) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        allowed.append((name, ctypes.get_errno()))
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
for key, wanted in (('CapEff', '0000000000000000'), ('CapBnd', '0000000000000000'), ('NoNewPrivs', '1'), ('Seccomp', '2'), ('Groups', '')):
    if status[key].strip() != wanted:
        allowed.append((key, status[key].strip()))
print(allowed)
";
    inside_prints(&world, script, "[]");
}

#[test]
fn agent_hides_a_program_in_the_x32_abi() {
    if !root_or_skip("agent_hides_a_program_in_the_x32_abi") {
        return;
    }
    let world = World::enforced(POLICY);
    let inside = python(
        &world,
        "import ctypes\nctypes.CDLL(None).syscall(0x40000000 | 39)\nprint('survived')",
    );
    assert!(!inside.stdout.contains("survived"), "{inside:?}");
    assert_ne!(inside.exit, 0);
}

#[test]
fn agent_inherits_a_secret_from_its_launchers_environment() {
    if !root_or_skip("agent_inherits_a_secret_from_its_launchers_environment") {
        return;
    }
    let world = World::enforced(POLICY);
    let output = world
        .launcher(Some("bot"), &["/usr/bin/env"])
        .env("AWS_SECRET_ACCESS_KEY", "do-not-show")
        .env("OPENAI_API_KEY", "do-not-show")
        .env("LD_PRELOAD", "/tmp/evil.so")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        !stdout.contains("do-not-show") && !stdout.contains("evil.so"),
        "{stdout}"
    );
    assert!(
        stderr.contains("AWS_SECRET_ACCESS_KEY") && !stderr.contains("do-not-show"),
        "{stderr}"
    );
}

#[test]
fn agent_survives_its_launcher() {
    if !root_or_skip("agent_survives_its_launcher") {
        return;
    }
    let world = World::enforced(POLICY);
    let script = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        print(os.getpid(), flush=True)\n        time.sleep(600)\n    os._exit(0)\ntime.sleep(600)";
    let mut launched = world
        .launcher(Some("bot"), &["/usr/bin/python3", "-I", "-u", "-c", script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(launched.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let orphan: u32 = line
        .trim()
        .parse()
        .unwrap_or_else(|e| panic!("{e}: {line:?}"));
    launched.kill().unwrap();
    launched.wait().unwrap();
    let began = std::time::Instant::now();
    while std::path::Path::new(&format!("/proc/{orphan}")).exists() {
        assert!(
            began.elapsed().as_secs() < 20,
            "the orphan {orphan} lives on without its launcher"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
