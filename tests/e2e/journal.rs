//! What is on disk after the worst moments.

use crate::{POLICY, development_policy};
use faramesh_core::frame::{Frame, Frames, Item};
use faramesh_tests::World;
use faramesh_tests::skip::root_or_skip;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

/// Each round kills while calls are in flight; what was answered must be there.
#[test]
fn every_answered_call_is_in_the_journal_after_kill_9_of_the_daemon() {
    answered_calls_survive(|world| world.kill(world.daemon_pid()));
}

#[test]
fn every_answered_call_is_in_the_journal_after_kill_9_of_the_signer() {
    answered_calls_survive(|world| world.kill(world.signer_pid()));
}

fn answered_calls_survive(kill: impl Fn(&World)) {
    let mut world = World::development(&development_policy());
    let mut answered = Vec::new();
    for round in 0..3 {
        let askers: Vec<_> = (0..4)
            .map(|n| {
                let args = format!(r#"{{"id":"r{round}-{n}"}}"#);
                let mut asker = world.command(&[
                    "govern",
                    "--agent",
                    "bot",
                    "--tool",
                    "crm/lookup",
                    "--format",
                    "json",
                    "--args",
                    &args,
                ]);
                std::thread::spawn(move || asker.output().unwrap())
            })
            .collect();
        kill(&world);
        for asker in askers {
            let output = asker.join().unwrap();
            // An answer with a receipt is an answer; a client that found nobody has none.
            if let Ok(json) = serde_json::from_slice::<serde_json::Value>(&output.stdout)
                && json["effect"] == "permit"
            {
                answered.push(json);
            }
        }
        world.wait_ready();
        answered.push(world.govern("bot", "crm/lookup", "{}").json);
    }
    assert!(answered.len() >= 3);
    for answer in &answered {
        let seq = leaf_index(answer);
        assert_eq!(
            world.record(seq)["record"]["kind"],
            "decision",
            "record {seq}"
        );
    }
    let (code, report) = world.verify();
    assert_eq!(code, 0, "{report}");
}

fn leaf_index(answer: &serde_json::Value) -> u64 {
    answer["leaf_index"]
        .as_u64()
        .or_else(|| answer["receipt"]["leaf_index"].as_u64())
        .unwrap_or_else(|| panic!("no leaf index in {answer}"))
}

#[test]
fn a_flipped_byte_stops_the_daemon_and_changes_nothing_on_disk() {
    let mut world = World::development(&development_policy());
    for _ in 0..3 {
        assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
    }
    world.stop();
    let segment = segment(&world);
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&segment)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], 300).unwrap();
    let before = fs::read(&segment).unwrap();
    world.spawn();
    assert_eq!(world.wait_ended(), 65, "{}", world.log());
    assert!(
        fs::read(&segment).unwrap() == before,
        "the journal was touched"
    );
    let (code, report) = world.verify();
    assert_eq!(code, 1, "{report}");
}

#[test]
fn a_journal_that_was_deleted_beside_its_signer_is_noticed_at_start() {
    let mut world = World::development(&development_policy());
    world.stop();
    fs::remove_file(segment(&world)).unwrap();
    world.spawn();
    assert_eq!(world.wait_ended(), 65, "{}", world.log());
}

/// The way out of a journal that lacks what the signer confirmed: an operator says the exact number, and it is said for ever.
#[test]
fn an_operator_gives_up_what_is_lost_by_its_exact_number_and_the_journal_says_so_for_ever() {
    gives_up(World::development(&development_policy()));
}

#[test]
fn root_gives_up_what_is_lost_of_an_enforced_stack() {
    if root_or_skip("giving up records of an enforced stack") {
        gives_up(World::enforced(POLICY));
    }
}

fn gives_up(mut world: World) {
    for _ in 0..2 {
        drop(world.govern("bot", "crm/lookup", "{}"));
        world.stop();
        world.start();
    }
    world.stop();
    let abandon = |world: &World, more: &[&str]| {
        let args = [&["audit", "abandon", "--head", "--format", "json"], more].concat();
        let output = world.faramesh(&args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
        (output.status.code(), json, said)
    };
    let (code, shown, said) = abandon(&world, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&shown["lost"], &shown["abandoned"]),
        (&json!(0), &json!(false))
    );
    // The disk loses everything behind the third checkpoint.
    let segment = segment(&world);
    let whole = fs::read(&segment).unwrap();
    let (kept, end) = checkpoint_ends(&whole)[2];
    let signed = checkpoint_ends(&whole).last().unwrap().0;
    let mut torn = whole.clone();
    torn[end..].fill(0);
    fs::write(&segment, &torn).unwrap();
    world.spawn();
    assert_eq!(world.wait_ended(), 65, "{}", world.log());
    let lost = signed - kept;
    for wrong in [lost - 1, lost + 1] {
        let wrong = wrong.to_string();
        let (code, _, said) = abandon(&world, &["--yes-lose", &wrong, "--reason", "why"]);
        assert_eq!(code, Some(64), "{said}");
    }
    let (code, shown, said) = abandon(&world, &[]);
    assert_eq!((code, &shown["lost"]), (Some(64), &json!(lost)), "{said}");
    assert!(said.contains(&format!("--yes-lose {lost}")), "{said}");
    assert!(fs::read(&segment).unwrap() == torn, "nothing was changed");
    let number = lost.to_string();
    let yes = ["--yes-lose", &number, "--reason", "the disk died"];
    let (code, done, said) = abandon(&world, &yes);
    assert_eq!(
        (code, &done["abandoned"]),
        (Some(0), &json!(true)),
        "{said}"
    );
    world.start();
    let gap = &world.record(kept)["record"];
    assert_eq!(
        (
            &gap["kind"],
            &gap["confirmed"],
            &gap["kept"],
            &gap["reason"]
        ),
        (
            &json!("gap"),
            &json!(signed),
            &json!(kept),
            &json!("the disk died")
        )
    );
    assert_eq!(world.record(kept + 1)["record"]["kind"], "start");
    drop(world.govern("bot", "crm/lookup", "{}"));
    world.stop();
    let records = |world: &World| {
        let all = world.records(100);
        let gaps = all.iter().filter(|one| one["record"]["kind"] == "gap");
        gaps.count()
    };
    world.start();
    assert_eq!(records(&world), 1, "it is recorded once");
    let (_, _, said) = abandon(&world, &[]);
    assert!(said.contains("farameshd runs"), "{said}");
}

#[test]
fn a_power_cut_that_kept_a_checkpoint_and_tore_its_record_is_given_up_and_kept_aside() {
    let mut world = World::development(&development_policy());
    for _ in 0..4 {
        drop(world.govern("bot", "crm/lookup", "{}"));
    }
    world.stop();
    let segment = segment(&world);
    let mut bytes = fs::read(&segment).unwrap();
    let ends = checkpoint_ends(&bytes);
    let (kept, end) = ends[ends.len() - 3];
    bytes[end + 40] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    world.spawn();
    assert_eq!(world.wait_ended(), 65, "{}", world.log());
    let lost = (ends.last().unwrap().0 - kept).to_string();
    let output = world.faramesh(&[
        "audit",
        "abandon",
        "--head",
        "--yes-lose",
        &lost,
        "--reason",
        "power",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let aside = world
        .state("journal")
        .join("abandoned")
        .join(kept.to_string());
    let aside = aside.join(segment.file_name().unwrap());
    assert!(fs::read(aside).unwrap() == bytes, "the remains are kept");
    world.start();
    assert_eq!(world.record(kept)["record"]["kind"], "gap");
}

/// Of every checkpoint of a segment: how many records it covers, and where its frame ends.
fn checkpoint_ends(bytes: &[u8]) -> Vec<(u64, usize)> {
    let (mut records, mut ends) = (0, Vec::new());
    for item in Frames::new(bytes) {
        if let Item::Frame { at, frame } = item {
            match frame {
                Frame::Record(_) => records += 1,
                Frame::Note(_) => ends.push((records, at.end)),
            }
        }
    }
    ends
}

#[test]
fn an_independent_verifier_that_knows_only_the_format_page_agrees() {
    let mut world = World::development(&development_policy());
    for n in 0..20 {
        let _ = world.govern(
            "bot",
            "stripe/refund",
            &format!(r#"{{"amount":{}}}"#, n * 10),
        );
    }
    world.stop();
    let python = |world: &World| {
        Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/verifier/verify_journal.py"
            ))
            .arg(world.state("journal"))
            .arg("--key")
            .arg(world.state("etc").join("log.pub"))
            .output()
            .unwrap()
    };
    let genuine = python(&world);
    assert_eq!(
        genuine.status.code(),
        Some(0),
        "{}{}",
        String::from_utf8_lossy(&genuine.stdout),
        String::from_utf8_lossy(&genuine.stderr)
    );
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(segment(&world))
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1_000).unwrap();
    assert_eq!(python(&world).status.code(), Some(1));
    assert_eq!(world.verify().0, 1);
}

#[test]
fn without_a_pinned_key_verify_says_that_it_cannot_tell() {
    let mut world = World::development(&development_policy());
    world.stop();
    let copy = world.dir.join("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(
        segment(&world),
        copy.join(segment(&world).file_name().unwrap()),
    )
    .unwrap();
    let output = world.faramesh(&["audit", "verify", copy.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("key not pinned"), "{text}");
}

#[test]
fn the_state_has_the_owners_and_modes_that_the_manual_names() {
    if !root_or_skip("the_state_has_the_owners_and_modes_that_the_manual_names") {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let world = World::enforced(POLICY);
    let name = |uid: u32| {
        nix::unistd::User::from_uid(uid.into())
            .unwrap()
            .unwrap()
            .name
    };
    let group = |gid: u32| {
        nix::unistd::Group::from_gid(gid.into())
            .unwrap()
            .unwrap()
            .name
    };
    let look = |path: PathBuf| {
        let meta = fs::metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        format!(
            "{}:{} {:o}",
            name(meta.uid()),
            group(meta.gid()),
            meta.mode() & 0o7777
        )
    };
    let uid = nix::unistd::User::from_name("ft-agent")
        .unwrap()
        .unwrap()
        .uid;
    let run = world.state("run");
    for (path, expected) in [
        (world.state("etc").join("daemon.toml"), "root:root 644"),
        (world.state("etc").join("policy.pub"), "root:root 644"),
        (world.state("etc").join("log.pub"), "root:root 644"),
        (world.state("etc").join("policy.key"), "root:root 600"),
        (world.state("policy"), "root:faramesh 750"),
        (world.state("signer"), "faramesh-signer:faramesh-signer 700"),
        (run.clone(), "faramesh:faramesh 711"),
        (run.join("admin.sock"), "faramesh:faramesh-operators 660"),
        (run.join(format!("agents/{uid}")), "faramesh:ft-agent 2750"),
        (
            run.join(format!("agents/{uid}/agent.sock")),
            "faramesh:ft-agent 660",
        ),
    ] {
        assert_eq!(look(path.clone()), expected, "{}", path.display());
    }
    let journal = look(world.state("journal"));
    assert!(
        journal.starts_with("faramesh:faramesh-audit ") && journal.ends_with("750"),
        "{journal}"
    );
    let attach = look(run.join("attach.sock"));
    assert!(attach.ends_with(" 600"), "{attach}");
}

fn segment(world: &World) -> PathBuf {
    let mut all: Vec<PathBuf> = fs::read_dir(world.state("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    all.sort();
    all.remove(0)
}

/// Also law: what lies beside a decision suffices to make it again.
#[test]
fn every_recorded_call_is_decided_again_and_another_policy_says_which_would_change() {
    let policy = r#"
agent "bot" {
  default deny
  permit pay if amount < 100 and session.count(pay) < 3
  defer pay if amount >= 100
  deny! wire if args.iban starts_with "XX"
  permit wire if note == "ok"
  redact wire args: ["iban"]
  redact log args: ["text"]
  permit log
}
"#;
    let world = World::development(policy);
    let asked = [
        ("pay", r#"{"amount":5}"#),
        ("pay", r#"{"amount":500}"#),
        ("pay", r#"{"amount":6}"#),
        ("pay", r#"{"amount":7}"#),
        ("pay", r#"{}"#),
        ("wire", r#"{"iban":"DE1","note":"ok"}"#),
        ("log", r#"{"text":"private"}"#),
        ("other", r#"{"a":[1,2.50,{"b":null}]}"#),
    ];
    for (tool, args) in asked {
        drop(world.govern("bot", tool, args));
    }
    let (code, same) = replayed(&world, &[]);
    assert_eq!(
        (&same["replayed"], &same["changed"]),
        (&8.into(), &0.into()),
        "{same}"
    );
    assert_eq!(
        same["not_replayable"],
        json!({"args.iban redacted": 1}),
        "{same}"
    );
    // The one that is left cannot be told; all others came out the same in every word.
    assert_eq!((code, &same["same"]), (Some(2), &7.into()), "{same}");

    let stricter = policy
        .replace("amount < 100", "amount < 6")
        .replace("permit log", "deny log");
    let file = world.dir.join("stricter.fms");
    std::fs::write(&file, stricter).unwrap();
    let (code, other) = replayed(&world, &["--policy", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{other}");
    let changes = json!([
        {"from": "permit", "to": "deny", "calls": 3},
    ]);
    assert_eq!(other["changes"], changes, "{other}");
    let changed: Vec<&Value> = other["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| &call["tool"])
        .collect();
    assert_eq!(changed, ["pay", "pay", "log"], "{other}");

    // What was not counted then cannot be asked now, and is named.
    let counting = policy.replace("session.count(pay) < 3", "session.count(log) < 1");
    std::fs::write(&file, counting).unwrap();
    let (_, counted) = replayed(&world, &["--policy", file.to_str().unwrap()]);
    let why = counted["not_replayable"].as_object().unwrap();
    assert!(
        why.keys()
            .any(|why| why.contains("session.count(log)") && why.contains("not counted")),
        "{counted}"
    );

    // `plan` says it of the file that is about to be applied.
    world.write_policy(&policy.replace("permit log", "deny log"));
    let plan = world.faramesh(&["--development", "plan", "--format", "json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(
        (&plan["recorded"]["decisions"], &plan["recorded"]["changed"]),
        (&8.into(), &1.into()),
        "{plan}"
    );
}

/// What the calls before add up to is then the snapshot's, and a record says that it is the daemon's.
#[test]
fn a_replay_of_the_last_calls_begins_at_a_snapshot_and_decides_the_same() {
    let policy = r#"
agent "bot" {
  default deny
  permit pay if session.count(pay) < 85
}
"#;
    let mut world = World::tuned(policy, &[("segment_bytes", 64 * 1024)]);
    world.start();
    let note = "x".repeat(500);
    let pay = || world.govern("bot", "pay", &json!({"note": note}).to_string());
    let snapshots = world.state("journal").join("snapshots");
    let mut asked = 0;
    while fs::read_dir(&snapshots).map_or(0, Iterator::count) < 2 {
        let answer = pay();
        assert_eq!(answer.effect, "permit", "{asked}: {answer:?}");
        asked += 1;
        assert!(asked < 84, "no snapshot was written");
    }
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let since = format!("@{}", since.as_millis());
    for n in asked..92 {
        assert_eq!(pay().effect, if n < 85 { "permit" } else { "deny" }, "{n}");
    }
    let (code, table) = replayed(&world, &["--since", &since]);
    assert_eq!(code, Some(0), "{table}");
    assert_eq!(table["same"], 92 - asked, "{table}");
    let there: Vec<_> = fs::read_dir(&snapshots)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        table["begins_with"].as_u64().unwrap() > 0,
        "{there:?}: {table}"
    );
    let (code, whole) = replayed(&world, &[]);
    assert_eq!(
        (code, &whole["same"], &whole["begins_with"]),
        (Some(0), &92.into(), &0.into()),
        "{whole}"
    );
}

fn replayed(world: &World, more: &[&str]) -> (Option<i32>, Value) {
    let args = [&["audit", "replay", "--format", "json"], more].concat();
    let output = world.faramesh(&args);
    let table = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        table.unwrap_or_else(|e| panic!("{e}: {output:?}")),
    )
}
