//! Proof bundles from a daemon that runs, checked by the command and by an implementation that knows the format page alone.

use crate::development_policy;
use faramesh_tests::World;
use std::fs;
use std::path::Path;
use std::process::Command;

fn python(key: &Path, bundle: &Path) -> (Option<i32>, String) {
    let output = Command::new("python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/verifier/verify_proof.py"
        ))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("--key")
        .arg(key)
        .arg(bundle)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("Traceback"), "{said}");
    (output.status.code(), said)
}

/// Both verifiers, which must agree.
fn verified(world: &World, key: &Path, bundle: &Path) -> i32 {
    let ours = world.faramesh(&[
        "audit",
        "verify-proof",
        bundle.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&ours.stdout).into_owned();
    let (theirs, they_said) = python(key, bundle);
    assert_eq!(ours.status.code(), theirs, "{said}\n{they_said}");
    ours.status.code().unwrap()
}

#[test]
fn a_live_journal_proves_its_records_and_its_growth_to_two_verifiers() {
    let mut world = World::tuned(&development_policy(), &[("segment_bytes", 64 * 1024)]);
    world.start();
    let key = world.dir.join("pinned.pub");
    fs::copy(world.state("etc").join("log.pub"), &key).unwrap();
    let prove = |world: &World, args: &[&str], name: &str| {
        let file = world.dir.join(name);
        let mut command = vec![
            "audit",
            "prove",
            "--format",
            "json",
            "--out",
            file.to_str().unwrap(),
        ];
        command.extend(args);
        let output = world.faramesh(&command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}{errors}");
        let said: serde_json::Value = serde_json::from_str(&text).unwrap();
        (file, said)
    };
    for n in 0..40 {
        let _ = world.govern("bot", "crm/lookup", &format!(r#"{{"n":{n}}}"#));
    }
    let (first, said) = prove(&world, &["7", "--with-detail"], "first.tlog-proof");
    assert_eq!(verified(&world, &key, &first), 0);
    assert_eq!(
        (&said["kind"], &said["record"]),
        (&"inclusion".into(), &7.into())
    );
    // What the note of that proof says is kept, and the log grows until tiles are made.
    let text = fs::read_to_string(&first).unwrap();
    let kept = world.dir.join("kept.note");
    fs::write(&kept, text.split_once("\n\n").unwrap().1).unwrap();
    for n in 0..400 {
        let _ = world.govern("bot", "crm/lookup", &format!(r#"{{"n":{n}}}"#));
    }
    let (grown, said) = prove(&world, &["--since", kept.to_str().unwrap()], "grown.proof");
    assert_eq!(verified(&world, &key, &grown), 0);
    assert_eq!(said["kind"], "growth");
    let tile = world.state("journal").join("tile/0/000");
    world.until("the first 256 records have a hash tile", || tile.exists());
    let (tiled, said) = prove(&world, &["7"], "tiled.tlog-proof");
    assert!(said["tiles"].as_u64().is_some(), "{said}");
    assert_eq!(verified(&world, &key, &tiled), 0);
    // Against the checkpoint that was kept.
    let (old, said) = prove(
        &world,
        &["7", "--checkpoint", kept.to_str().unwrap()],
        "old.tlog-proof",
    );
    assert_eq!(verified(&world, &key, &old), 0);
    assert_eq!(
        fs::read_to_string(&old)
            .unwrap()
            .split_once("\n\n")
            .unwrap()
            .1,
        fs::read_to_string(&kept).unwrap()
    );
    assert!(said["size"].as_u64().unwrap() < 50);
    world.stop();
    assert_eq!(world.verify().0, 0);

    // What was changed proves nothing, to both.
    let whole = fs::read_to_string(&first).unwrap();
    for (what, changed) in [
        (
            "another number",
            whole.replace("\nindex 7\n", "\nindex 8\n"),
        ),
        ("a size", whole.replace("\n4", "\n5")),
        ("a hash less", {
            let mut lines: Vec<&str> = whole.split('\n').collect();
            lines.remove(3);
            lines.join("\n")
        }),
        ("another record", {
            let other =
                fs::read_to_string(prove(&world, &["8", "--with-detail"], "other").0).unwrap();
            let extra = other.split('\n').nth(1).unwrap().to_owned();
            whole.replace(whole.split('\n').nth(1).unwrap(), &extra)
        }),
        (
            "no signature",
            whole.split_once("\u{2014}").unwrap().0.to_owned(),
        ),
        (
            "another form",
            whole.replace("tlog-proof@v1", "tlog-proof@v2"),
        ),
    ] {
        let file = world.dir.join("changed");
        assert_ne!(changed, whole, "{what}");
        fs::write(&file, changed).unwrap();
        assert_eq!(verified(&world, &key, &file), 1, "{what}");
    }
    // Another stack's key.
    let other = World::development(&development_policy());
    let stranger = other.state("etc").join("log.pub");
    assert_eq!(verified(&world, &stranger, &first), 1);
}
