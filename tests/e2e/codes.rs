//! Each word of `docs/codes.md` is reached by one test that names it, through the real programs. The page says why
//! INTERNAL is not among them.

use crate::{POLICY, development_policy};
use faramesh_tests::skip::root_or_skip;
use faramesh_tests::{Answer, World};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};

#[track_caller]
fn is(answer: &Answer, effect: &str, code: &str) {
    assert_eq!(
        (answer.effect.as_str(), answer.code.as_str()),
        (effect, code),
        "{answer:?}"
    );
}

#[test]
fn policy_deny() {
    let world = World::development(&development_policy());
    let answer = world.govern("bot", "shell/exec", "{}");
    is(&answer, "deny", "POLICY_DENY");
    assert_eq!(answer.json["resolution"]["kind"], "rule_block");
}

#[test]
fn policy_defer() {
    let world = World::development(&development_policy());
    let answer = world.govern("bot", "stripe/refund", r#"{"amount":100}"#);
    is(&answer, "defer", "POLICY_DEFER");
    assert_eq!(answer.json["resolution"]["kind"], "manual_audit");
}

#[test]
fn indeterminate() {
    let world = World::development(&development_policy());
    let answer = world.govern("bot", "mail/send", "{}");
    is(&answer, "deny", "INDETERMINATE");
    assert_eq!(answer.json["missing"], serde_json::json!(["args.to"]));
}

#[test]
fn call_invalid() {
    let world = World::development(&development_policy());
    let answer = world.govern("bot", "crm/lookup", r#"{"id":1,"id":2}"#);
    is(&answer, "deny", "CALL_INVALID");
    assert!(answer.json["receipt"].is_null(), "it never was a call");
    // One that is no call for the tool was one, and is a record.
    let schema = r#"
agent "bot" {
  default permit
  tool pay { arg amount: money required  arg to: text  closed }
}
"#;
    let world = World::development(schema);
    is(&world.govern("bot", "pay", r#"{"amount":5}"#), "permit", "");
    for (args, named) in [
        ("{}", "amount"),
        (r#"{"amount":"5"}"#, "amount"),
        (r#"{"amount":5,"To":"x"}"#, "To"),
    ] {
        let answer = world.govern("bot", "pay", args);
        is(&answer, "deny", "CALL_INVALID");
        assert!(answer.message.contains(named), "{answer:?}");
        assert!(!answer.json["receipt"].is_null(), "{answer:?}");
    }
}

#[test]
fn path_denied() {
    let policy = r#"
agent "bot" {
  default permit
  tool files/read { arg path: path.read required  closed }
  paths {
    read_exclude   ["private/**"]
    edit_protected ["src/main.rs"]
    edit_allow     ["src/**"]
  }
}
"#;
    let world = World::development(policy);
    let asked = |tool: &str, path: &str| {
        let args = serde_json::json!({ "path": path }).to_string();
        world.govern("bot", tool, &args)
    };
    is(&asked("files/read", "docs/a.md"), "permit", "");
    is(&asked("files/write", "src/lib.rs"), "permit", "");
    for (tool, path) in [
        ("files/read", "private/a"),
        ("files/read", "src/../PRIVATE/a"),
        ("files/read", "%70rivate/a"),
        ("files/read", ".env"),
        ("files/read", "x/.git/config"),
        ("files/read", "~/x"),
        ("files/write", "docs/a.md"),
        ("files/write", "src/../docs/a.md"),
    ] {
        let answer = asked(tool, path);
        is(&answer, "deny", "PATH_DENIED");
        assert!(!answer.message.contains(path), "{path}: {answer:?}");
    }
    let waits = asked("files/write", "./src//main.rs");
    is(&waits, "defer", "PATH_DENIED");
    assert_eq!(waits.json["resolution"]["kind"], "manual_audit");
}

#[test]
fn identity_unverified() {
    let world = World::development(&development_policy());
    let answer = world.govern("nobody", "crm/lookup", "{}");
    is(&answer, "deny", "IDENTITY_UNVERIFIED");
}

/// The launcher in front of a kernel that, as old ones do, does not know Landlock.
const WITHOUT_LANDLOCK: &str = r#"
import ctypes, os, struct, sys
create_ruleset, enosys = 444, 38
program = b"".join([
    struct.pack("HBBI", 0x20, 0, 0, 0),                    # load the call's number
    struct.pack("HBBI", 0x15, 0, 1, create_ruleset),       # is it that one?
    struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | enosys),  # then ENOSYS
    struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000),           # else as ever
])
buffer = ctypes.create_string_buffer(program)
filter = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, filter, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn on_a_kernel_without_landlock(world: &World) -> std::process::Output {
    Command::new("/usr/bin/python3")
        .args(["-I", "-c", WITHOUT_LANDLOCK])
        .arg(world.dir.join(".faramesh/bin/agent"))
        .args(["--", "/bin/echo", "it ran"])
        .current_dir(&world.dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn enforcement_missing() {
    let world = World::development(&development_policy());
    let output = on_a_kernel_without_landlock(&world);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("ENFORCEMENT_MISSING") && said.contains("landlock"),
        "{said}"
    );
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    // What the operator gives up knowingly is measured, and stands in the session's record.
    let minimal = development_policy() + "\nruntime { agent_enforce_profile = \"minimal\" }";
    let world = World::development(&minimal);
    let output = on_a_kernel_without_landlock(&world);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "it ran",
        "{output:?}"
    );
    let start = world
        .records(20)
        .into_iter()
        .find(|r| r["record"]["kind"] == "session_start")
        .unwrap();
    let absent = start["record"]["probes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|probe| probe.to_string().contains("the kernel has no Landlock"));
    assert!(absent.is_some(), "{start}");
}

/// What a launch measured holds for the calls of its session and for nobody else's.
#[test]
fn a_policy_that_requires_a_layer_refuses_each_call_of_who_does_not_have_it() {
    let requires = |layer: &str| {
        let demand = format!("default deny\n  require enforcement {layer}");
        World::development(&development_policy().replace("default deny", &demand))
    };
    let world = requires("seccomp");
    is(&world.ask("crm/lookup", "{}"), "permit", "");
    let outside = world.govern("bot", "crm/lookup", "{}");
    is(&outside, "deny", "ENFORCEMENT_MISSING");
    // Operators read which layer it is; an agent is not told where its sandbox is thin.
    assert!(!outside.json.to_string().contains("seccomp"), "{outside:?}");
    let recorded = world.records(1).remove(0);
    assert_eq!(
        recorded["detail"]["missing"],
        serde_json::json!(["enforcement.seccomp"]),
        "{recorded}"
    );
    // A layer that no launch has yet is never taken for one.
    let world = requires("listener");
    let inside = world.ask("crm/lookup", "{}");
    is(&inside, "deny", "ENFORCEMENT_MISSING");
}

#[test]
fn daemon_not_ready() {
    let mut world = World::development(&development_policy());
    let (daemon, signer) = (world.daemon_pid(), world.signer_pid());
    // A drain that cannot end holds the door open and refuses.
    world.signal(signer, Signal::SIGSTOP);
    world.signal(daemon, Signal::SIGTERM);
    world.until("draining", || {
        world.faramesh(&["status"]).status.code() == Some(3)
    });
    let answer = world.govern("bot", "crm/lookup", "{}");
    is(&answer, "deny", "DAEMON_NOT_READY");
    assert_eq!(
        (
            answer.exit,
            &answer.json["resolution"]["retry_after_seconds"]
        ),
        (12, &2.into())
    );
    world.signal(signer, Signal::SIGCONT);
    world.wait_ended();
    is(
        &world.govern("bot", "crm/lookup", "{}"),
        "deny",
        "DAEMON_NOT_READY",
    );
}

/// Also: tests/faults, for the disk that fills up and is emptied again.
#[test]
fn journal_unavailable() {
    if !root_or_skip("journal_unavailable") {
        return;
    }
    const INSIDE: &str = "FARAMESH_TEST_IN_MOUNT_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "codes::journal_unavailable", "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let mut world = World::tuned(&development_policy(), &[("segment_bytes", 64 * 1024)]);
    let journal = world.state("journal");
    nix::mount::mount(
        Some("tmpfs"),
        &journal,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        // One segment and not another.
        Some("size=96k,mode=0700"),
    )
    .unwrap();
    world.spawn();
    world.until("the next segment cannot be made", || {
        world.faramesh(&["status"]).status.code() == Some(3)
    });
    let answer = world.govern("bot", "crm/lookup", "{}");
    is(&answer, "deny", "JOURNAL_UNAVAILABLE");
    assert_eq!(answer.json["resolution"]["retry_after_seconds"], 2);
    world.stop();
    nix::mount::umount(&journal).unwrap();
}

#[test]
fn overloaded() {
    if !root_or_skip("overloaded") {
        return;
    }
    let mut world = World::applied(POLICY);
    world.tune(&[("queue_per_session_max", 1)]);
    world.start();
    let answer = world.ask_as(None, &["flood", "crm/lookup", "{}", "2000", "4"]);
    let counts = &answer.json["counts"];
    assert!(counts["OVERLOADED"].as_u64() > Some(0), "{counts}");
    assert!(counts["permit"].as_u64() > Some(0), "{counts}");
}
