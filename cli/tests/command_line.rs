//! What can be typed, what is said of it, and with what status it ends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use clap::{Command, CommandFactory, Parser};
use common::{World, faramesh};
use faramesh_cli::args::Cli;

fn commands() -> Vec<(Vec<String>, Command)> {
    fn walk(path: &[String], command: &Command, all: &mut Vec<(Vec<String>, Command)>) {
        for sub in command.get_subcommands() {
            let mut path = path.to_vec();
            path.push(sub.get_name().to_owned());
            all.push((path.clone(), sub.clone()));
            walk(&path, sub, all);
        }
    }
    let mut all = Vec::new();
    let mut root = Cli::command();
    root.build();
    walk(&[], &root, &mut all);
    all
}

#[test]
fn the_help_of_every_command_has_an_example() {
    let all = commands();
    assert!(all.len() >= 16, "{}", all.len());
    for (path, _) in all {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let answer = faramesh(&args).exits(0);
        assert!(
            answer.stdout.contains("Example:\n  "),
            "{path:?}:\n{}",
            answer.stdout
        );
        assert!(answer.stdout.contains("faramesh "), "{path:?}");
        assert_eq!(answer.stderr, "");
    }
}

#[test]
fn every_example_of_the_help_can_be_typed() {
    for (path, command) in commands() {
        let help = command.get_after_help().unwrap().to_string();
        let example = help.lines().nth(1).unwrap().trim();
        let typed = example.trim_start_matches("sudo ");
        let typed = typed.split(" > ").next().unwrap();
        let parsed = Cli::try_parse_from(words(typed));
        assert!(
            parsed.is_ok(),
            "{path:?}: `{example}`: {}",
            parsed.unwrap_err()
        );
    }
}

#[test]
fn the_help_says_what_it_said() {
    let mut all = faramesh(&["--help"]).exits(0).stdout;
    for (path, _) in commands() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        all.push_str(&format!("\n=== {}\n\n", path.join(" ")));
        all.push_str(&faramesh(&args).exits(0).stdout);
    }
    insta::assert_snapshot!("help", all);
}

/// Words as a shell splits them, as far as the examples need it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

#[test]
fn a_wrong_command_line_exits_64() {
    faramesh(&["frobnicate"]).exits(64);
    faramesh(&["check", "--frobnicate"]).exits(64);
    faramesh(&["govern", "--agent", "a"]).exits(64);
    faramesh(&["run"]).exits(64);
    faramesh(&["audit", "show", "minus-one"]).exits(64);
    faramesh(&[]).exits(64);
}

#[test]
fn version_and_help_exit_0() {
    faramesh(&["--version"])
        .exits(0)
        .says(&["faramesh ", env!("CARGO_PKG_VERSION")]);
    faramesh(&["--help"])
        .exits(0)
        .says(&["init", "audit", "Example:"]);
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        faramesh(&["completions", shell]).exits(0).says(&["govern"]);
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    faramesh(&["man", dir.path().to_str().unwrap()]).exits(0);
    for (path, _) in commands() {
        let page = dir.path().join(format!("faramesh-{}.1", path.join("-")));
        assert!(page.is_file(), "{}", page.display());
    }
    assert!(dir.path().join("faramesh.1").is_file());
    assert!(dir.path().join("completions/faramesh.bash").is_file());
}

#[test]
fn an_error_is_json_where_a_program_reads() {
    let world = World::new();
    let answer = world.faramesh(&["apply", "--format", "json"]).exits(65);
    assert_eq!(answer.stdout, "");
    let last = answer.stderr.lines().last().unwrap();
    let error: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(error["error"]["exit"], 65);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("governance.fms")
    );
    assert!(
        error["error"]["next"]
            .as_str()
            .unwrap()
            .contains("faramesh init")
    );
}

#[test]
fn no_colour_reaches_a_pipe() {
    let world = World::with("agent \"a\" {\n  default deny\n  frobnicate\n}\n");
    let answer = world.faramesh(&["check"]).exits(1);
    assert!(!answer.stderr.contains('\u{1b}') && !answer.stdout.contains('\u{1b}'));
}
