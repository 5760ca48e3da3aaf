//! What is taken away, what is copied, and what comes back: on a real journal with real processes.

use crate::development_policy;
use faramesh_tests::World;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A few calls of the padded kind fill one segment.
const SMALL_SEGMENTS: &[(&str, u64)] = &[("segment_bytes", 64 * 1024)];

fn padded(world: &World) {
    let args = json!({ "pad": "x".repeat(8_000) }).to_string();
    assert_eq!(
        world.govern("bot", "crm/lookup", &args).json["effect"],
        "permit"
    );
}

fn segments_hold(journal: &Path, text: &str) -> bool {
    fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .any(|path| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(text.len()).any(|at| at == text.as_bytes())
        })
}

#[test]
fn an_erased_argument_is_nowhere_in_the_journal_and_the_journal_holds() {
    const WHO: &str = "zoe@example.com";
    let mut world = World::tuned(&development_policy(), SMALL_SEGMENTS);
    world.start();
    let journal = world.state("journal");
    let sent = world.govern("bot", "mail/send", &json!({ "to": WHO }).to_string());
    assert_eq!(sent.json["effect"], "permit", "{}", sent.json);
    let kept = world.govern("bot", "mail/send", r#"{"to":"ada@example.com"}"#);
    assert_eq!(kept.json["effect"], "permit");
    while fs::read_dir(&journal)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".seg")
        })
        .count()
        < 2
    {
        padded(&world);
    }
    let erase = |more: &[&str]| {
        let mut args = vec![
            "audit",
            "erase",
            "--where",
            "args.to=zoe@example.com",
            "--reason",
        ];
        args.push("request 4711");
        args.extend(more);
        world.faramesh(&args)
    };
    assert_eq!(erase(&["--dry-run"]).status.code(), Some(0));
    assert_eq!(erase(&[]).status.code(), Some(64), "nobody can be asked");
    assert!(segments_hold(&journal, WHO));
    let ordered = erase(&["--yes", "--format", "json"]);
    assert_eq!(ordered.status.code(), Some(0), "{ordered:?}");
    let ordered: Value = serde_json::from_slice(&ordered.stdout).unwrap();
    assert_eq!(
        (&ordered["records"], &ordered["later"]),
        (&1.into(), &0.into())
    );
    world.until("the details are gone", || !segments_hold(&journal, WHO));
    assert!(segments_hold(&journal, "ada@example.com"));
    assert_eq!(world.verify().0, 0, "{}", world.verify().1);
    assert_eq!(erase(&["--yes"]).status.code(), Some(65), "it is done");
    let seq = ordered["ordered_by"][0].as_u64().unwrap();
    let record = world.record(seq);
    assert_eq!(record["record"]["kind"], "erasure");
    assert_eq!(record["record"]["reason"], "request 4711");
    let exported = world.faramesh(&["audit", "export", "--as", "jsonl", "--tool", "mail/send"]);
    assert_eq!(exported.status.code(), Some(0), "{exported:?}");
    let erased: Vec<bool> = String::from_utf8(exported.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["erased"].as_bool())
        .collect();
    assert_eq!(erased, [true, false]);
    // What is left is gone on from.
    world.stop();
    world.start();
    padded(&world);
    assert_eq!(world.verify().0, 0, "{}", world.verify().1);
}

#[test]
fn a_copy_of_the_running_journal_holds_and_an_older_one_is_refused_beside_the_signer() {
    let mut world = World::tuned(&development_policy(), SMALL_SEGMENTS);
    world.start();
    let (journal, key) = (world.state("journal"), world.state("etc").join("log.pub"));
    let copies: Vec<_> = (0..3).map(|n| world.dir.join(format!("copy{n}"))).collect();
    for copy in &copies {
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let args = json!({ "pad": "x".repeat(8_000) }).to_string();
                let call = [
                    "govern",
                    "--agent",
                    "bot",
                    "--tool",
                    "crm/lookup",
                    "--args",
                    &args,
                ];
                let mut asker = world.command(&call);
                std::thread::spawn(move || asker.output().unwrap())
            })
            .collect();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&journal)
            .arg(copy)
            .status();
        assert!(copied.unwrap().success());
        for call in calls {
            assert_eq!(call.join().unwrap().status.code(), Some(0));
        }
        for _ in 0..6 {
            padded(&world);
        }
    }
    for copy in &copies {
        let args = [
            "audit",
            "verify",
            "--from-start",
            "--format",
            "json",
            "--key",
            key.to_str().unwrap(),
            copy.to_str().unwrap(),
        ];
        let output = world.faramesh(&args);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        // A write that was under way is a torn tail: everything before it holds.
        assert!(matches!(output.status.code(), Some(0 | 2)), "{report}");
        assert!(report["signed"].as_u64().unwrap() > 0, "{report}");
    }
    world.stop();
    let newest = world.dir.join("newest");
    fs::rename(&journal, &newest).unwrap();
    let restored = Command::new("cp")
        .arg("-a")
        .arg(&copies[0])
        .arg(&journal)
        .status();
    assert!(restored.unwrap().success());
    world.spawn();
    assert_eq!(world.wait_ended(), 65, "{}", world.log());
    assert!(
        world.log().contains("lacks the signer's head"),
        "{}",
        world.log()
    );
    fs::remove_dir_all(&journal).unwrap();
    fs::rename(&newest, &journal).unwrap();
    world.start();
    padded(&world);
    assert_eq!(world.verify().0, 0, "{}", world.verify().1);
}
