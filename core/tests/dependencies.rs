//! The trusted core's dependencies are a golden list: a new one is a decision, never an accident.
#![expect(
    clippy::unwrap_used,
    reason = "cargo that does not answer fails the test"
)]

use std::collections::BTreeSet;
use std::process::Command;

const GOLDEN: &str = include_str!("../dependencies.golden");
const HOW: &str = "if the change is wanted, argue it in the commit and write the list above to core/dependencies.golden";

/// The part of the golden file under a heading, without comments.
fn golden(heading: &str) -> String {
    let part = GOLDEN
        .split("[")
        .find_map(|part| part.strip_prefix(heading))
        .unwrap();
    let lines = part.trim_start_matches(']').lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Names of the crates that core is built from, on every target, down to that depth.
fn tree(depth: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--package",
            "faramesh-core",
            "--edges",
            "normal",
        ])
        .args([
            "--target", "all", "--prefix", "none", "--format", "{p}", "--depth", depth,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let names: BTreeSet<&str> = names.filter(|name| *name != "faramesh-core").collect();
    names.into_iter().collect::<Vec<_>>().join("\n")
}

#[test]
fn core_names_exactly_the_dependencies_of_the_golden_list() {
    let found = tree("1");
    assert!(found == golden("direct"), "[direct]\n{found}\n\n{HOW}");
}

#[test]
fn core_is_built_from_exactly_the_crates_of_the_golden_list() {
    let found = tree("99");
    assert!(found == golden("all"), "[all]\n{found}\n\n{HOW}");
}
