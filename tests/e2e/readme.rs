//! The first screen of the README does what it says.

use std::path::Path;
use std::process::Command;

/// Runs the commands of the first `console` block in a directory of its own, and holds the lines that the page shows
/// against what was printed. The two lines that build are the test runner's business.
#[test]
fn the_first_screen_of_the_readme_works_as_it_is_printed() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let block = page
        .split("```console\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a console block");
    let commands: Vec<&str> = block
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .filter(|command| !command.starts_with("make ") && !command.starts_with("export "))
        .collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let promised: Vec<&str> = block
        .lines()
        .filter(|line| !line.starts_with("$ ") && !line.trim().is_empty() && line.trim() != "…")
        .collect();
    assert!(
        promised.iter().any(|line| line.starts_with("PERMIT"))
            && promised.iter().any(|line| line.starts_with("DENY")),
        "the page shows one of each: {promised:?}"
    );

    let dir = tempfile::tempdir().unwrap();
    let binaries = std::env::current_exe().unwrap();
    let binaries = binaries.parent().and_then(Path::parent).unwrap();
    let path = format!(
        "{}:{}",
        binaries.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    // A denial's exit status is part of what is shown, not a failure of the page.
    let output = Command::new("bash")
        .args(["-c", &commands.join("\n")])
        .current_dir(dir.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    for line in promised {
        assert!(
            printed.lines().any(|printed| is_shown_by(printed, line)),
            "the page shows `{line}`, and printed was:\n{printed}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// `…` on the page stands for what differs from one machine to the next, and figures do: everything around them counts.
fn is_shown_by(printed: &str, line: &str) -> bool {
    let words = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    let (printed, line) = (words(printed.trim_end()), words(line.trim_end()));
    match line.split_once('…') {
        Some((before, after)) => printed.starts_with(before) && printed.ends_with(after),
        None => printed == line,
    }
}
