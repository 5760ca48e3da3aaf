//! Stopping, tracing, starving the daemon.

use crate::{POLICY, inside_prints, python};
use faramesh_tests::World;
use faramesh_tests::skip::root_or_skip;

#[test]
fn agent_kills_the_daemon() {
    if !root_or_skip("agent_kills_the_daemon") {
        return;
    }
    let world = World::enforced(POLICY);
    let script = format!(
        "import os, signal\nfor pid in ({}, {}):\n    for number in (0, signal.SIGTERM, signal.SIGKILL):\n        try:\n            os.kill(pid, number); print('sent')\n        except PermissionError:\n            print('EPERM', end=' ')",
        world.daemon_pid(),
        world.signer_pid()
    );
    inside_prints(&world, &script, "EPERM EPERM EPERM EPERM EPERM EPERM");
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

#[test]
fn agent_kills_everything_it_can_reach() {
    if !root_or_skip("agent_kills_everything_it_can_reach") {
        return;
    }
    let world = World::enforced(POLICY);
    let before = world.daemon_pid();
    let inside = python(
        &world,
        "import os\ntry:\n    os.kill(-1, 9); print('sent')\nexcept PermissionError:\n    print('EPERM')",
    );
    assert_eq!(inside.stdout.trim(), "EPERM", "{inside:?}");
    assert_eq!(world.daemon_pid(), before);
}

#[test]
fn agent_kills_the_daemon_from_an_orphan_of_an_orphan() {
    if !root_or_skip("agent_kills_the_daemon_from_an_orphan_of_an_orphan") {
        return;
    }
    let world = World::enforced(POLICY);
    let script = format!(
        r"
import os, signal
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        try:
            os.kill({}, signal.SIGKILL); os.write(w, b'sent')
        except PermissionError:
            os.write(w, b'EPERM')
    os._exit(0)
os.wait()
print(os.read(r, 10).decode())
",
        world.daemon_pid()
    );
    inside_prints(&world, &script, "EPERM");
}

#[test]
fn agent_traces_the_daemon_and_reads_its_memory() {
    if !root_or_skip("agent_traces_the_daemon_and_reads_its_memory") {
        return;
    }
    let world = World::enforced(POLICY);
    let script = format!(
        r"
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
results = []
for name, number, args in (('ptrace', 101, (16, {pid}, 0, 0)), ('process_vm_readv', 310, ({pid}, 0, 0, 0, 0, 0)), ('pidfd_getfd', 438, (0, 0, 0))):
    result = libc.syscall(number, *args)
    results.append(errno.errorcode[ctypes.get_errno()] if result < 0 else 'allowed')
for file in ('mem', 'environ', 'maps', 'fd'):
    try:
        (__import__('os').listdir if file == 'fd' else open)('/proc/{pid}/' + file); results.append('opened ' + file)
    except OSError:
        results.append('refused')
print(*results)
",
        pid = world.daemon_pid()
    );
    inside_prints(
        &world,
        &script,
        "EPERM EPERM EPERM refused refused refused refused",
    );
}

#[test]
fn agent_floods_while_another_is_served() {
    if !root_or_skip("agent_floods_while_another_is_served") {
        return;
    }
    let world = World::enforced(POLICY);
    let helper = world.binary("faramesh-test-ask").display().to_string();
    let mut flooder = world
        .launcher(
            Some("bot"),
            &[&helper, "flood", "crm/lookup", "{}", "20000", "8"],
        )
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..5 {
        let answer = world.ask_as(Some("admin-bot"), &["govern", "crm/delete", "{}"]);
        assert_eq!(answer.effect, "permit", "{answer:?}");
    }
    assert!(
        flooder.try_wait().unwrap().is_none(),
        "the flood ended before the others were served: make it longer"
    );
    let output = {
        let _ = flooder.kill();
        flooder.wait_with_output().unwrap()
    };
    let _ = output;
    assert_eq!(world.verify().0, 0);
}

#[test]
fn agent_holds_idle_connections_while_another_is_served() {
    if !root_or_skip("agent_holds_idle_connections_while_another_is_served") {
        return;
    }
    let world = World::enforced(POLICY);
    let script = r"
import os, socket, sys, time
held = []
for _ in range(300):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(os.environ['FARAMESH_SOCKET']); held.append(s)
    except OSError as e:
        print('refused', e); break
print(len(held), flush=True)
sys.stdin.read()
";
    let mut holder = world
        .launcher(Some("bot"), &["/usr/bin/python3", "-I", "-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(holder.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    assert_eq!(line.trim(), "300");
    assert_eq!(
        world
            .ask_as(Some("admin-bot"), &["govern", "crm/delete", "{}"])
            .effect,
        "permit"
    );
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[test]
fn agent_holds_the_lock_that_the_next_serve_needs() {
    if !root_or_skip("agent_holds_the_lock_that_the_next_serve_needs") {
        return;
    }
    let world = World::enforced(POLICY);
    let script = format!(
        "import os\ntry:\n    os.open({:?}, os.O_RDONLY); print('opened')\nexcept PermissionError:\n    print('EACCES')",
        world.state("etc").join("serve.lock").display().to_string()
    );
    inside_prints(&world, &script, "EACCES");
}

#[test]
fn agent_fills_the_daemons_memory_with_calls_of_brackets() {
    if !root_or_skip("agent_fills_the_daemons_memory_with_calls_of_brackets") {
        return;
    }
    let world = World::enforced(POLICY);
    // Each takes some 70 MiB once it is parsed; a lane would hold eight of its text.
    let brackets = format!("{}0{}", "[".repeat(30), "]".repeat(30));
    let file = world.dir.join("tools/brackets.json");
    std::fs::write(
        &file,
        format!("{{\"a\":[{}]}}", vec![brackets; 16_000].join(",")),
    )
    .unwrap();
    let helper = world.binary("faramesh-test-ask").display().to_string();
    let argument = format!("@{}", file.display());
    let flooder = world
        .launcher(
            Some("bot"),
            &[&helper, "flood", "crm/lookup", &argument, "200", "64"],
        )
        .output()
        .unwrap();
    assert!(flooder.status.success(), "{flooder:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.daemon_pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .unwrap();
    assert!(peak < 384 * 1024, "the daemon took {peak} kB at its peak");
    assert_eq!(world.verify().0, 0);
}

#[test]
fn agent_makes_the_journal_broken_by_an_outcome_of_a_record_that_is_yet_to_come() {
    if !root_or_skip("agent_makes_the_journal_broken_by_an_outcome_of_a_record_that_is_yet_to_come")
    {
        return;
    }
    let world = World::enforced(POLICY);
    for leaf in ["1000000", "9007199254740992", "18446744073709551615"] {
        let answer = world.ask_as(Some("bot"), &["report", leaf]);
        assert_eq!(answer.code, "CALL_INVALID", "{leaf}: {answer:?}");
    }
    // The first record is the start: no permit of anybody.
    assert_eq!(
        world.ask_as(Some("bot"), &["report", "0"]).code,
        "CALL_INVALID"
    );
    let (exit, report) = world.verify();
    assert_eq!(exit, 0, "{report}");
}
