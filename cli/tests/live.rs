//! A daemon that runs: `dev`, `run`, `status`, `govern`, `audit`, `stop`, with the real programs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{Daemon, POLICY, POLICY_2, World, need_siblings};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

fn started(policy: &str) -> (World, Daemon) {
    need_siblings();
    let world = World::with(policy);
    let daemon = world.dev();
    (world, daemon)
}

const PERMITTED: [&str; 7] = [
    "govern",
    "--agent",
    "bot",
    "--tool",
    "stripe/refund",
    "--args",
    "{\"amount\": 80}",
];

#[test]
fn status_says_in_its_exit_what_the_daemon_does() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["status"]).exits(1).says(&["not running"]);
    let daemon = world.dev();
    let answer = world.faramesh(&["status"]).exits(0);
    answer.says(&[
        "READY",
        "bot (development)",
        "any process of this user can be any agent",
    ]);
    let status = world
        .faramesh(&["status", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&status["state"], &status["mode"]),
        (&"ready".into(), &"development".into())
    );
    assert_eq!(status["daemon"]["policy_number"], 1);
    assert_eq!(status["daemon"]["pending_number"], serde_json::Value::Null);
    world.faramesh(&["stop"]).exits(0).says(&["stopped"]);
    daemon.ended().exits(0);
    world.faramesh(&["status"]).exits(1);
    world
        .faramesh(&["stop"])
        .exits(0)
        .says(&["was not running"]);
}

#[test]
fn govern_answers_by_its_exit_and_names_the_record() {
    let (world, _daemon) = started(POLICY);
    world
        .faramesh(&PERMITTED)
        .exits(0)
        .says(&["PERMIT", "record"]);
    let ask = |tool: &str, args: &str| {
        world.faramesh(&["govern", "--agent", "bot", "--tool", tool, "--args", args])
    };
    ask("stripe/refund", "{\"amount\": 800}").exits(10).says(&[
        "DEFER",
        "POLICY_DEFER",
        "a person has to look",
    ]);
    ask("shell/run", "{}")
        .exits(11)
        .says(&["DENY", "POLICY_DENY"]);
    ask("stripe/refund", "{\"amount\": 1, \"amount\": 2}")
        .exits(11)
        .says(&["CALL_INVALID"]);
    ask("stripe/refund", "not json")
        .exits(11)
        .says(&["CALL_INVALID"]);
    let answer = world
        .faramesh(&[
            "govern", "--agent", "stranger", "--tool", "x/y", "--format", "json",
        ])
        .exits(11)
        .json();
    assert_eq!(answer["code"], "IDENTITY_UNVERIFIED");
}

#[test]
fn govern_reads_arguments_from_a_file_and_from_standard_input() {
    let (world, _daemon) = started(POLICY);
    world.write("call.json", "{\"amount\": 80}");
    let file = format!("@{}", world.dir.join("call.json").display());
    world
        .faramesh(&[
            "govern",
            "--agent",
            "bot",
            "--tool",
            "stripe/refund",
            "--args",
            &file,
        ])
        .exits(0);
    let mut command = world.command(&[
        "govern",
        "--agent",
        "bot",
        "--tool",
        "stripe/refund",
        "--args",
        "-",
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"{\"amount\": 800}")
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(10));
    world
        .faramesh(&[
            "govern",
            "--agent",
            "bot",
            "--tool",
            "x/y",
            "--args",
            "@/nowhere",
        ])
        .exits(65)
        .says(&["/nowhere"]);
}

#[test]
fn without_a_daemon_every_call_is_refused_as_not_ready() {
    need_siblings();
    let world = World::with(POLICY);
    world
        .faramesh(&PERMITTED)
        .exits(69)
        .says(&["faramesh apply"]);
    world.faramesh(&["apply"]).exits(0);
    world
        .faramesh(&PERMITTED)
        .exits(12)
        .says(&["DENY", "DAEMON_NOT_READY", "faramesh dev"]);
}

#[test]
fn a_running_daemon_takes_a_new_policy_as_an_event() {
    let (world, _daemon) = started(POLICY);
    let read = ["govern", "--agent", "bot", "--tool", "crm/read"];
    world.faramesh(&read).exits(11);
    world.write("governance.fms", POLICY_2);
    let report = world
        .faramesh(&["apply", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&report["outcome"], &report["number"]),
        (&"activated".into(), &2.into())
    );
    world.faramesh(&read).exits(0);
    world
        .faramesh(&["audit", "tail"])
        .exits(0)
        .says(&["activation 1 ", "activation 2 "]);
    world
        .faramesh(&["apply"])
        .exits(0)
        .says(&["nothing changed"]);
    assert_eq!(world.manifests(), [1, 2]);
}

#[test]
fn an_apply_that_dies_before_the_activation_stays_pending_until_a_restart() {
    let (world, daemon) = started(POLICY);
    world.write("governance.fms", POLICY_2);
    world.killed_after("next").exits(-9);
    let read = ["govern", "--agent", "bot", "--tool", "crm/read"];
    world.faramesh(&read).exits(11);
    world
        .faramesh(&["status"])
        .exits(0)
        .says(&["next 2 is not in force"]);
    world.faramesh(&["stop"]).exits(0);
    daemon.ended().exits(0);
    let _again = world.serve();
    world.faramesh(&read).exits(0);
    assert_eq!(
        world.faramesh(&["status", "--format", "json"]).json()["daemon"]["policy_number"],
        2
    );
}

#[test]
fn a_refused_activation_withdraws_next_and_burns_its_number() {
    let (world, _daemon) = started(POLICY);
    // What the daemon reads is not what was signed: another key's public half is what it pinned at start.
    let other = World::with(POLICY_2);
    other.faramesh(&["apply"]).exits(0);
    for name in ["policy.key", "policy.pub"] {
        fs::copy(other.state("etc").join(name), world.state("etc").join(name)).unwrap();
    }
    world.write("governance.fms", POLICY_2);
    world.faramesh(&["apply"]).exits(65).says(&[
        "refused",
        "the old policy keeps deciding",
        "number 2 is used up",
    ]);
    assert!(!world.state("policy/next").exists());
    world.faramesh(&PERMITTED).exits(0);
    world
        .faramesh(&["govern", "--agent", "bot", "--tool", "crm/read"])
        .exits(11);
    assert_eq!(world.manifests(), [1, 2]);
}

#[test]
fn a_second_daemon_of_the_same_stack_is_refused() {
    let (world, _daemon) = started(POLICY);
    world.faramesh(&["dev"]).exits(69).says(&["runs already"]);
    world.faramesh(&["serve"]).exits(69).says(&["runs already"]);
    world.faramesh(&PERMITTED).exits(0);
}

#[test]
fn a_daemon_that_is_killed_comes_back_and_still_decides() {
    let (world, _daemon) = started(POLICY);
    world.faramesh(&PERMITTED).exits(0);
    for _ in 0..2 {
        let pid = world.faramesh(&["status", "--format", "json"]).json()["daemon"]["pid"]
            .as_i64()
            .unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        world.until("the daemon is back", || {
            let status = world.faramesh(&["status", "--format", "json"]);
            status.code == 0 && status.json()["daemon"]["pid"] != pid.as_raw()
        });
        world.faramesh(&PERMITTED).exits(0);
    }
    world
        .faramesh(&["audit", "verify"])
        .exits(0)
        .says(&["HOLDS"]);
}

#[test]
fn after_stop_the_next_one_can_start_at_once() {
    let (world, first) = started(POLICY);
    world.faramesh(&["stop"]).exits(0);
    let _second = world.serve();
    first.ended().exits(0);
    world.faramesh(&PERMITTED).exits(0);
}

#[test]
fn a_signal_to_serve_stops_daemon_and_signer() {
    let (world, daemon) = started(POLICY);
    let pid = world.faramesh(&["status", "--format", "json"]).json()["daemon"]["pid"]
        .as_i64()
        .unwrap();
    daemon.terminate();
    daemon.ended().exits(0);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    world.faramesh(&["status"]).exits(1);
    world.faramesh(&["audit", "verify"]).exits(0);
}

#[test]
fn verify_holds_breaks_and_cannot_tell() {
    let (world, daemon) = started(POLICY);
    world.faramesh(&PERMITTED).exits(0);
    let report = world
        .faramesh(&["audit", "verify", "--format", "json"])
        .exits(0)
        .json();
    let head = world.dir.join("head.note");
    fs::write(&head, report["checkpoint"].as_str().unwrap()).unwrap();
    world.faramesh(&PERMITTED).exits(0);
    let with_head = ["audit", "verify", "--head", head.to_str().unwrap()];
    // As somebody keeps it who copies it from the text: with its margin, and a line too many.
    let copied: String = report["checkpoint"]
        .as_str()
        .unwrap()
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    fs::write(&head, copied + "\n").unwrap();
    world.faramesh(&with_head).exits(0);
    fs::write(&head, report["checkpoint"].as_str().unwrap()).unwrap();
    world.faramesh(&with_head).exits(0).says(&[
        "self-consistent",
        "extends your head",
        "externally attested",
        "no witnesses",
    ]);
    world.faramesh(&["stop"]).exits(0);
    daemon.ended().exits(0);
    let journal = world.state("journal");
    let unpinned = common::faramesh(&["audit", "verify", journal.to_str().unwrap()]).exits(2);
    unpinned.says(&["CANNOT TELL", "--key"]);
    let key = world.state("etc/log.pub");
    common::faramesh(&[
        "audit",
        "verify",
        "--key",
        key.to_str().unwrap(),
        journal.to_str().unwrap(),
    ])
    .exits(0);
    let segment = journal.join("00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes
        .windows(9)
        .position(|window| window == b"\"permit\",")
        .unwrap()
        + 1;
    bytes[at] = b'P';
    fs::write(&segment, bytes).unwrap();
    // It lies below what was verified before, and that is not read again.
    world
        .faramesh(&["audit", "verify"])
        .exits(0)
        .says(&["not read again", "--from-start"]);
    world
        .faramesh(&["audit", "verify", "--from-start"])
        .exits(1)
        .says(&["BROKEN", "record", "at byte"]);
    world
        .faramesh(&[&with_head[..], &["--from-start"]].concat())
        .exits(1);
}

#[test]
fn the_second_verification_reads_what_is_new_and_holds_the_journal_to_the_first() {
    let (world, daemon) = started(POLICY);
    world.faramesh(&PERMITTED).exits(0);
    let json = ["audit", "verify", "--format", "json"];
    let first = world.faramesh(&json).exits(0).json();
    assert_eq!(first["not_read_again"], serde_json::Value::Null);
    assert_eq!(first["extends_trusted"], "not asked");
    let journal = world.state("journal");
    let old = world.dir.join("old");
    copy(&journal, &old);
    world.faramesh(&PERMITTED).exits(0);
    let second = world.faramesh(&json).exits(0).json();
    assert_eq!(second["not_read_again"]["records"], first["signed"]);
    assert_eq!(second["extends_trusted"], "yes");
    assert!(second["records"].as_u64() > first["records"].as_u64());
    let memory = world.dir.join("auditor/faramesh/verified");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = fs::read_dir(&memory)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!((mode(&memory), mode(&file)), (0o700, 0o600));
    world.faramesh(&["stop"]).exits(0);
    daemon.ended().exits(0);
    // An old copy in the journal's place agrees with itself, and lacks what was seen.
    fs::remove_dir_all(&journal).unwrap();
    copy(&old, &journal);
    let rolled_back = world.faramesh(&json).exits(1).json();
    assert_eq!(rolled_back["self_consistent"], "yes");
    assert_eq!(rolled_back["extends_trusted"], "no");
    // So does no journal at all.
    fs::remove_dir_all(&journal).unwrap();
    let gone = world.faramesh(&json).exits(1).json();
    assert_eq!(gone["extends_trusted"], "no");
    // What is remembered is not believed where somebody changed it.
    copy(&old, &journal);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    world
        .faramesh(&json)
        .exits(65)
        .says(&["what was remembered in", "checksum"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn a_head_of_another_journal_is_not_taken_for_one_of_this() {
    let (world, _daemon) = started(POLICY);
    let note = world.dir.join("head.note");
    fs::write(&note, "hello\n").unwrap();
    world
        .faramesh(&["audit", "verify", "--head", note.to_str().unwrap()])
        .exits(65)
        .says(&["is not a checkpoint of this journal"]);
}

#[test]
fn a_record_is_shown_with_what_it_commits_to() {
    let (world, _daemon) = started(POLICY);
    let reply = world
        .faramesh(&[&PERMITTED[..], &["--format", "json"]].concat())
        .exits(0)
        .json();
    let seq = reply["receipt"]["leaf_index"].as_u64().unwrap().to_string();
    let shown = world
        .faramesh(&["audit", "show", &seq, "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(shown["record"]["effect"], "permit");
    assert_eq!(shown["record"]["mode"], "development");
    assert_eq!(shown["record"]["attested"], false);
    assert_eq!(shown["detail_matches"], true);
    assert_eq!(shown["record"].to_string(), {
        let record: serde_json::Value =
            serde_json::from_str(reply["receipt"]["record"].as_str().unwrap()).unwrap();
        record.to_string()
    });
    world.faramesh(&["audit", "show", &seq]).exits(0).says(&[
        "PERMIT",
        "detail",
        "as committed to",
    ]);
    world
        .faramesh(&["audit", "show", "4711"])
        .exits(65)
        .says(&["no record 4711"]);
}

#[test]
fn hostile_names_do_not_act_on_the_terminal_of_an_auditor() {
    let (world, _daemon) = started(POLICY);
    world
        .faramesh(&[
            "govern",
            "--agent",
            "bot",
            "--tool",
            "evil/\u{1b}[2J\u{202e}x\nPERMIT bot y",
        ])
        .exits(11);
    for args in [
        &["audit", "tail"][..],
        &["audit", "tail", "--format", "json"],
    ] {
        let text = world.faramesh(args).exits(0).stdout;
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text:?}"
        );
        assert!(
            !text.lines().any(|line| line.starts_with("PERMIT")),
            "{text}"
        );
    }
}

#[test]
fn without_an_index_the_journal_itself_is_searched() {
    let (world, _daemon) = started(POLICY);
    world.faramesh(&PERMITTED).exits(0);
    let ask = |args: &str| {
        let tool = "stripe/refund";
        world.faramesh(&["govern", "--agent", "bot", "--tool", tool, "--args", args])
    };
    ask("{\"amount\": 800}").exits(10);
    ask("{\"amount\": 900}").exits(10);
    for args in [
        ["ls", "--oldest-first"],
        ["stats", "--quiet"],
        ["trace", "2"],
    ] {
        world
            .faramesh(&[&["audit"], args.as_slice()].concat())
            .exits(69)
            .says(&[
                "the index of `bot` does not run",
                "faramesh index",
                "--scan",
            ]);
    }
    let json = |args: &[&str]| {
        let args = [args, &["--format", "json"]].concat();
        world.faramesh(&args).exits(0).json()
    };
    let deferred = json(&["audit", "ls", "--scan", "--effect", "defer", "-n", "1"]);
    let newest = deferred["records"][0]["seq"].as_u64().unwrap();
    assert_eq!(deferred["next"], newest);
    let page = newest.to_string();
    let ls = [
        "audit", "ls", "--scan", "--effect", "defer", "--page", &page,
    ];
    let rest = json(&ls);
    assert_eq!(rest["records"].as_array().unwrap().len(), 1);
    assert_eq!(rest["next"], serde_json::Value::Null);
    let stats = json(&["audit", "stats", "--scan"]);
    assert_eq!(stats["decisions"], 3);
    assert_eq!(stats["effects"][0]["name"], "defer");
    assert_eq!(stats["effects"][0]["count"], 2);
    let trace = json(&["audit", "trace", "--scan", &page]);
    assert_eq!(trace["records"][0]["role"], "in_force");
    let explained = json(&["explain", &page]);
    assert_eq!(
        (&explained["source"], &explained["rule"]["source"]),
        (&"scan".into(), &"governance.fms:5".into())
    );
    world.faramesh(&["explain", &page]).exits(0).says(&[
        "DEFER",
        "a person has to look",
        "governance.fms:5",
        "defer stripe/refund",
        "amount",
        "900",
    ]);
    world
        .faramesh(&["explain", "0"])
        .exits(65)
        .says(&["start", "audit show 0"]);
    world
        .faramesh(&["explain", "4711"])
        .exits(65)
        .says(&["no record 4711"]);
}

#[test]
fn tail_prints_as_many_as_asked_and_follows() {
    let (world, _daemon) = started(POLICY);
    for _ in 0..3 {
        world.faramesh(&PERMITTED).exits(0);
    }
    let text = world
        .faramesh(&["audit", "tail", "-n", "2"])
        .exits(0)
        .stdout;
    assert_eq!(text.lines().count(), 2, "{text}");
    let mut follow = world
        .command(&["audit", "tail", "-n", "1", "--follow", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().unwrap()));
    let seq = |line: String| {
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["seq"]
            .as_u64()
            .unwrap()
    };
    let first = seq(lines.next().unwrap().unwrap());
    world.faramesh(&PERMITTED).exits(0);
    assert_eq!(seq(lines.next().unwrap().unwrap()), first + 1);
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn run_is_one_command_with_the_exit_status_of_the_agent() {
    need_siblings();
    let world = World::with(POLICY);
    let answer = world.faramesh(&[
        "run",
        "--",
        "sh",
        "-c",
        "echo from inside; test -S \"$FARAMESH_SOCKET\" || exit 3; exit 7",
    ]);
    answer.exits(7).says(&["from inside", "DEVELOPMENT"]);
    world.faramesh(&["status"]).exits(1);
    world
        .faramesh(&["audit", "tail"])
        .exits(0)
        .says(&["session", "ended", "stop"]);
    // Every measured row, however many there are.
    world.faramesh(&["audit", "show", "2"]).exits(0).says(&[
        "base.uid",
        "landlock.fs.write",
        "seccomp.bpf",
    ]);
    world
        .faramesh(&["audit", "verify"])
        .exits(0)
        .says(&["development"]);
    world
        .faramesh(&["run", "--", "sh", "-c", "kill -TERM $$"])
        .exits(128 + 15);
}

#[test]
fn run_lets_its_command_be_this_program_and_what_read_names() {
    need_siblings();
    let world = World::with(POLICY);
    // Neither lies where every agent may read.
    let own = env!("CARGO_BIN_EXE_faramesh");
    let mut asked = vec!["run", "--", own];
    asked.extend(PERMITTED);
    world.faramesh(&asked).exits(0).says(&["PERMIT"]);
    let tool = world.temp.path().join("tool");
    fs::copy("/bin/true", &tool).unwrap();
    let tool = tool.to_str().unwrap();
    world
        .faramesh(&["run", "--", tool])
        .exits(126)
        .says(&["--read"]);
    world
        .faramesh(&["run", "--read", tool, "--", tool])
        .exits(0);
}

#[test]
fn run_refuses_a_policy_with_errors_before_anything_starts() {
    let world = World::with("agent");
    let answer = world
        .faramesh(&["run", "--", "sh", "-c", "touch ran"])
        .exits(65);
    assert!(!answer.stderr.contains("started"));
    assert!(!world.dir.join("ran").exists());
}

#[test]
fn a_stack_with_a_path_too_long_for_sockets_still_runs() {
    need_siblings();
    let mut world = World::new();
    world.dir = world.temp.path().join("d".repeat(90)).join("bot");
    fs::create_dir_all(&world.dir).unwrap();
    world.write("governance.fms", POLICY);
    let daemon = world.dev();
    world.faramesh(&PERMITTED).exits(0);
    let run = fs::read_link(world.state("run")).unwrap();
    daemon.terminate();
    daemon.ended().exits(0);
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn the_line_of_a_rule_is_named_wherever_its_policy_is_shown_and_follows_the_file() {
    let (world, _daemon) = started(POLICY);
    world.faramesh(&PERMITTED).exits(0);
    let tail = world.faramesh(&["audit", "tail", "-n", "1", "--format", "json"]);
    let seq = tail.exits(0).json()["seq"].to_string();
    let shown = |place: &str| {
        let show = ["audit", "show", &seq];
        world.faramesh(&show).exits(0).says(&[place]);
        let json = world
            .faramesh(&["audit", "show", &seq, "--format", "json"])
            .exits(0)
            .json();
        assert_eq!(json["rule_source"], place);
        let explain = [
            "explain",
            "call",
            "--applied",
            "--agent",
            "bot",
            "--tool",
            "stripe/refund",
            "--args",
            "{\"amount\": 80}",
        ];
        world.faramesh(&explain).exits(0).says(&[place]);
        world.faramesh(&["policy", "show"]).exits(0).says(&[place]);
    };
    shown("governance.fms:4");
    // The same policy on other lines: nothing is signed.
    world.write("governance.fms", &format!("# moved\n{POLICY}"));
    let before = world.manifests();
    world
        .faramesh(&["apply"])
        .exits(0)
        .says(&["nothing changed"]);
    assert_eq!(world.manifests(), before);
    shown("governance.fms:5");
    // A newer policy and back: the lines are those that the older one had.
    world.write("governance.fms", POLICY_2);
    world.faramesh(&["apply"]).exits(0);
    world.faramesh(&["rollback", "--yes"]).exits(0);
    shown("governance.fms:5");
    // Whatever stands in a map, nothing is decided by it; without one nothing is claimed.
    let artifacts = world.state("policy/artifacts");
    for entry in fs::read_dir(&artifacts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "map") {
            fs::write(path, "{\"file\": 7").unwrap();
        }
    }
    world.faramesh(&PERMITTED).exits(0);
    let json = world
        .faramesh(&["audit", "show", &seq, "--format", "json"])
        .exits(0)
        .json();
    assert!(json["rule_source"].is_null(), "{json}");
}
