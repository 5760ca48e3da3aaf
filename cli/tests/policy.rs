//! `init`, `check` and `plan`: from an empty directory to a policy that says what it means.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{POLICY, POLICY_2, World, need_siblings};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn the_first_policy_is_valid_and_has_each_effect() {
    let world = World::new();
    world.faramesh(&["init"]).exits(0).says(&[
        "written",
        "governance.fms",
        "workspace",
        ".gitignore",
    ]);
    world
        .faramesh(&["check", "--strict"])
        .exits(0)
        .says(&["valid", "1 agent"]);
    let text = fs::read_to_string(world.dir.join("governance.fms")).unwrap();
    for word in ["permit ", "defer ", "deny! ", "default deny"] {
        assert!(text.contains(word), "{word}");
    }
    assert!(world.dir.join("workspace").is_dir());
}

#[test]
fn init_never_touches_a_policy_that_is_there() {
    let world = World::with("mine\n");
    world
        .faramesh(&["init"])
        .exits(65)
        .says(&["was not touched", "next:"]);
    assert_eq!(
        fs::read_to_string(world.dir.join("governance.fms")).unwrap(),
        "mine\n"
    );
}

#[test]
fn a_policy_in_another_form_is_found_by_every_command_and_no_second_one_is_written() {
    let yaml = "agent:\n  - id: bot\n    default: deny\n    rules:\n      - effect: permit\n        tool: crm/read\n";
    for (name, text) in [
        ("governance.yaml", yaml.to_owned()),
        ("governance.yml", yaml.to_owned()),
        ("governance.fms.yaml", yaml.to_owned()),
    ] {
        let world = World::new();
        world.write(name, &text);
        world.faramesh(&["check"]).exits(0).says(&[name, "1 rule"]);
        world
            .faramesh(&["plan"])
            .exits(0)
            .says(&["+ permit crm/read"]);
        world
            .faramesh(&["fmt"])
            .exits(65)
            .says(&[name, "is not formatted here"]);
        world
            .faramesh(&["explain", "call", "--agent", "bot", "--tool", "crm/read"])
            .exits(0)
            .says(&["PERMIT"]);
        let before = world.snapshot();
        world
            .faramesh(&["init"])
            .exits(65)
            .says(&[name, "was not touched"]);
        assert_eq!(world.snapshot(), before);
        world.write("governance.fms", POLICY);
        world
            .faramesh(&["check"])
            .exits(65)
            .says(&["two policies", name]);
    }
}

#[test]
fn check_and_plan_say_what_apply_would_refuse_and_where_it_stands() {
    let policy = "agent bot {\n  permit crm/read if principal.role == \"ops\"\n  budget d { max $5 }\n  egress { allow [\"a.example\"] }\n}\nidentity corp { type oidc issuer \"https://id.example.com\" }\n";
    let world = World::with(policy);
    let check = world.faramesh(&["check"]);
    check.exits(0).says(&[
        "`apply` refuses it",
        "`budget` in agent `bot` (",
        "governance.fms:3)",
        "governance.fms:2)",
        "sha256:",
    ]);
    let report = world
        .faramesh(&["check", "--format", "json"])
        .exits(0)
        .json();
    assert!(
        report["unenforced"].as_array().unwrap().len() >= 3,
        "{report}"
    );
    let plan = world.faramesh(&["plan"]).exits(0);
    assert!(!plan.stdout.contains("`faramesh apply` does it"));
    plan.says(&["`apply` refuses it", "`egress` in agent `bot` ("]);
    need_siblings();
    let refused = world.faramesh(&["apply"]).exits(69);
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert!(
        lines.iter().any(|line| line
            .ends_with("governance.fms:3: `budget` in agent `bot` is not enforced by this daemon")),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_rules_text_is_shown_as_it_is_written() {
    let rule = r#"permit crm/read if q matches "^a\\.b\"\\d$""#;
    let world = World::with(&format!("agent bot {{\n  default deny\n  {rule}\n}}\n"));
    world
        .faramesh(&["plan"])
        .exits(0)
        .says(&[&format!("+ {rule}\n")]);
    world
        .faramesh(&[
            "explain",
            "call",
            "--agent",
            "bot",
            "--tool",
            "crm/read",
            "--args",
            r#"{"q":"x\\y\u001b"}"#,
        ])
        .exits(0)
        .says(&[
            &format!("  {rule}\n"),
            r#"args.q matches "^a\\.b\"\\d$": args.q is "x\\y"#,
        ]);
}

#[test]
fn applying_the_same_policy_again_is_in_force_only_where_a_daemon_decides() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    let again = world.faramesh(&["apply"]).exits(0);
    assert!(!again.stdout.contains("in force"), "{}", again.stdout);
    again.says(&["nothing changed", "no daemon runs", "faramesh dev"]);
    let _daemon = world.serve();
    world
        .faramesh(&["apply"])
        .exits(0)
        .says(&["is in force already"]);
}

#[test]
fn init_keeps_what_gitignore_says_and_adds_the_state_once() {
    let world = World::new();
    world.write(".gitignore", "target");
    world.faramesh(&["init"]).exits(0);
    fs::remove_file(world.dir.join("governance.fms")).unwrap();
    world.faramesh(&["init"]).exits(0);
    assert_eq!(
        fs::read_to_string(world.dir.join(".gitignore")).unwrap(),
        "target\n/.faramesh/\n"
    );
}

#[test]
fn check_names_the_file_and_the_line_of_an_error() {
    let world =
        World::with("agent \"a\" {\n  default deny\n  rules {\n    frobnicate x/y\n  }\n}\n");
    let answer = world.faramesh(&["check"]).exits(1);
    answer.says(&["governance.fms:4", "frobnicate", "1 error"]);
}

#[test]
fn check_reports_to_programs_what_it_reports_to_people() {
    let world =
        World::with("agent \"a\" {\n  default deny\n  rules {\n    frobnicate x/y\n  }\n}\n");
    let report = world
        .faramesh(&["check", "--format", "json"])
        .exits(1)
        .json();
    assert_eq!(report["valid"], false);
    assert_eq!(report["digest"], serde_json::Value::Null);
    let finding = &report["diagnostics"][0];
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["labels"][0]["line"], 4);
    let world = World::with(POLICY);
    let report = world
        .faramesh(&["check", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(report["valid"], true);
    assert_eq!(report["rules"], 3);
    assert_eq!(report["agents"], serde_json::json!(["bot"]));
    assert!(report["digest"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn every_malformed_policy_is_an_error_and_no_crash() {
    for (policy, word) in [
        ("", ""),
        ("agent \"a\" {", ""),
        (
            "agent \"a\" { default deny rules { permit x if amount matches \"(\" } }",
            "(",
        ),
        (
            "agent \"a\" { default deny }\nagent \"a\" { default deny }",
            "a",
        ),
        (
            "agent \"a\" { default deny rules { permit x if principal.frob == 1 } }",
            "principal.frob",
        ),
        (
            "agent \"a\" { default deny budget daily { maxx $5 } }",
            "budget",
        ),
        ("agent \"a\" { default perhaps }", "perhaps"),
    ] {
        let world = World::with(policy);
        let answer = world.faramesh(&["check"]);
        assert_eq!(
            answer.code, 1,
            "`{policy}`: {}{}",
            answer.stdout, answer.stderr
        );
        answer.says(&[word]);
    }
}

#[test]
fn a_policy_that_is_not_text_is_an_error_with_the_byte() {
    let world = World::new();
    fs::write(world.dir.join("governance.fms"), b"agent \"a\xff\" {}").unwrap();
    world.faramesh(&["check"]).exits(1).says(&["UTF-8"]);
}

#[test]
fn a_policy_that_is_missing_or_no_file_says_what_to_do() {
    let world = World::new();
    world
        .faramesh(&["check"])
        .exits(65)
        .says(&["governance.fms", "faramesh init"]);
    fs::create_dir(world.dir.join("governance.fms")).unwrap();
    world
        .faramesh(&["check"])
        .exits(65)
        .says(&["governance.fms"]);
}

#[test]
fn a_policy_that_may_not_be_read_exits_77() {
    if nix::unistd::Uid::effective().is_root() {
        // Root reads everything: the same open is refused where a file system says so.
        let world = World::new();
        std::os::unix::fs::symlink("/proc/1/mem", world.dir.join("governance.fms")).unwrap();
        assert_ne!(world.faramesh(&["check"]).code, 0);
        return;
    }
    let world = World::with(POLICY);
    let path = world.dir.join("governance.fms");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    world
        .faramesh(&["check"])
        .exits(77)
        .says(&["governance.fms"]);
}

#[test]
fn warnings_pass_unless_strict() {
    // The second rule can never apply.
    let world = World::with(
        "agent \"a\" {\n  default deny\n  rules {\n    permit *\n    deny x/y\n  }\n}\n",
    );
    world.faramesh(&["check"]).exits(0).says(&["warning"]);
    world.faramesh(&["check", "--strict"]).exits(3);
}

#[test]
fn hostile_text_in_a_policy_does_not_act_on_the_terminal() {
    let world = World::with("agent \"a\" {\n  default deny\n  \u{1b}[2J\u{202e}evil\n}\n");
    let answer = world.faramesh(&["check"]).exits(1);
    let all = format!("{}{}", answer.stdout, answer.stderr);
    assert!(
        !all.contains('\u{1b}') && !all.contains('\u{202e}'),
        "{all:?}"
    );
}

#[test]
fn plan_shows_the_rules_that_differ_and_writes_nothing() {
    need_siblings();
    let world = World::with(POLICY);
    let before = world.snapshot();
    world.faramesh(&["plan"]).exits(0).says(&[
        "nothing is in force yet",
        "+ permit stripe/refund",
        "3 to add",
    ]);
    assert_eq!(world.snapshot(), before);
    world.faramesh(&["apply"]).exits(0);
    world.write("governance.fms", POLICY_2);
    let before = world.snapshot();
    let answer = world.faramesh(&["plan"]).exits(0);
    assert!(!answer.stdout.contains("- "), "{}", answer.stdout);
    answer.says(&["+ permit crm/read", "1 to add, 0 to change, 0 to remove"]);
    let plan = world
        .faramesh(&["plan", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(plan["changed"], true);
    assert_eq!(plan["in_force"]["number"], 1);
    assert_eq!(plan["changes"]["agents"][0]["rules"][0]["change"], "added");
    assert_eq!(world.snapshot(), before);
}

#[test]
fn the_words_of_check_and_plan_are_those_that_they_were() {
    need_siblings();
    let world = World::with(
        "agent \"bot\" {\n  default deny\n  rules {\n    permitt stripe/refund\n  }\n}\n",
    );
    let mut text = String::new();
    let mut run = |title: &str, args: &[&str]| {
        let answer = world.faramesh(args);
        let said = format!("{}{}", answer.stdout, answer.stderr)
            .replace(world.dir.to_str().unwrap(), "DIR");
        text.push_str(&format!(
            "=== {title}: exits {}\n{}\n",
            answer.code,
            without_digests(&said)
        ));
    };
    run("check of a misspelt rule", &["check"]);
    world.write("governance.fms", POLICY);
    run("check", &["check"]);
    run("plan of the first policy", &["plan"]);
    run("apply", &["apply", "--quiet"]);
    world.write("governance.fms", POLICY_2);
    run("plan of a change", &["plan"]);
    insta::assert_snapshot!("words", text);
}

fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| all + "sha256:DIGEST" + &part[64..])
}

#[test]
fn plan_says_when_nothing_would_change() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    world
        .faramesh(&["plan"])
        .exits(0)
        .says(&["nothing would change"]);
    assert_eq!(
        world.faramesh(&["plan", "--format", "json"]).json()["changed"],
        false
    );
}

#[test]
fn plan_shows_a_call_that_is_newly_permitted_and_fails_on_it_where_asked() {
    let world = World::with(&POLICY.replace("<= 100", "<= 500").replace("> 100", "> 500"));
    world.write("before.fms", POLICY);
    let before = world.dir.join("before.fms");
    let against = ["plan", "--against", before.to_str().unwrap()];
    world.faramesh(&against).exits(0).says(&[
        "wider: now permitted (was deferred): stripe/refund {\"amount\":",
        "1 wider, 0 that cannot be decided, 0 narrower",
    ]);
    world
        .faramesh(&[&against[..], &["--fail-on-wider"]].concat())
        .exits(2)
        .says(&["1 wider"]);
    let plan = world
        .faramesh(&[&against[..], &["--format", "json"]].concat())
        .exits(0)
        .json();
    let finding = &plan["comparison"]["agents"][0]["findings"][0];
    assert_eq!(finding["reach"], "wider");
    assert_eq!(finding["before"], "defer");
    assert_eq!(finding["after"], "permit");
    assert_eq!(finding["witness"]["tool"], "stripe/refund");
    world.write("governance.fms", POLICY);
    world.write(
        "before.fms",
        &POLICY.replace("<= 100", "<= 500").replace("> 100", "> 500"),
    );
    world
        .faramesh(&[&against[..], &["--fail-on-wider"]].concat())
        .exits(0)
        .says(&["narrower: now deferred (was permitted)"]);
    world
        .faramesh(&["plan", "--against", "no-such.fms"])
        .exits(65)
        .says(&["there is no policy `no-such.fms` to compare with"]);
}

#[test]
fn plan_says_loudly_that_shadow_mode_lets_everything_pass() {
    let world = World::with(&format!("runtime {{ mode = \"shadow\" }}\n{POLICY}"));
    world.write("before.fms", POLICY);
    let before = world.dir.join("before.fms");
    world
        .faramesh(&[
            "plan",
            "--against",
            before.to_str().unwrap(),
            "--fail-on-wider",
        ])
        .exits(2)
        .says(&[
            "mode becomes shadow: every call proceeds, except what `deny!` refuses",
            "now permitted (was denied)",
        ]);
}

#[test]
fn plan_of_a_policy_with_errors_exits_65() {
    let world = World::with("agent");
    world.faramesh(&["plan"]).exits(65);
}
