//! The units under a real systemd, and what systemd thinks of them.

use faramesh_tests::skip::{root_or_skip, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd");

fn binaries() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned()
}

fn have(test: &str, command: &str) -> bool {
    let found = Command::new(command)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !found {
        skipped(test, &format!("needs {command}"));
    }
    found
}

#[test]
fn systemd_verifies_the_units_without_a_word() {
    if !have(
        "systemd_verifies_the_units_without_a_word",
        "systemd-analyze",
    ) {
        return;
    }
    // The units name installed binaries; verify wants to see them.
    let copy = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(UNITS).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|e| ["service", "socket", "slice"].contains(&e.to_str().unwrap()))
        {
            let text = std::fs::read_to_string(&path).unwrap();
            // The index is built apart; its own tests run it.
            let text = text.replace("/usr/bin/faramesh-index", "/bin/true");
            let text = text.replace(
                "/usr/bin/faramesh",
                &format!("{}/faramesh", binaries().display()),
            );
            let to = copy.path().join(path.file_name().unwrap());
            std::fs::write(&to, text).unwrap();
            units.push(to);
        }
    }
    assert_eq!(units.len(), 7);
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.is_empty(), "{text}");
}

/// A golden figure: a unit that loses a protection fails here. Newer versions of systemd weigh a little differently.
#[test]
fn the_exposure_of_each_unit_is_not_above_its_golden_score() {
    if !have(
        "the_exposure_of_each_unit_is_not_above_its_golden_score",
        "systemd-analyze",
    ) {
        return;
    }
    let golden = std::fs::read_to_string(Path::new(UNITS).join("exposure.golden")).unwrap();
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let (unit, score) = line.split_once(' ').unwrap();
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(Path::new(UNITS).join(unit))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let measured = text
            .lines()
            .last()
            .and_then(|l| l.split(": ").nth(1))
            .and_then(|l| l.split(' ').next())
            .unwrap_or("?");
        assert_eq!(
            measured,
            score,
            "{unit}: {}",
            text.lines().last().unwrap_or_default()
        );
    }
}

#[test]
fn under_a_real_systemd_the_units_start_survive_kills_and_obey_no_agent() {
    let name = "under_a_real_systemd_the_units_start_survive_kills_and_obey_no_agent";
    if !root_or_skip(name) || !have(name, "/lib/systemd/systemd") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/boot.sh");
    let output = Command::new("bash")
        .arg(script)
        .arg(binaries())
        .arg("180")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("ok ") && *line != "done")
        .collect();
    assert!(
        failed.is_empty() && text.lines().last() == Some("done") && text.lines().count() > 25,
        "{}\n---\n{text}{}",
        failed.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
}
