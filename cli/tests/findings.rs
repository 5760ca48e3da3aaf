//! What `check` and `explain` say of findings, to people, programs and code hosts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{POLICY, World, faramesh};
use serde_json::{Value, json};
use std::fs;

/// Two findings: an unknown effect, and an agent that stands there twice.
const BROKEN: &str = "agent \"a\" {\n  permti x\n}\nagent \"a\" {\n  permit y\n}\n";

/// What the published schema of SARIF 2.1.0 requires of the objects that we write, and the words that it lets them have.
const REQUIRED: &[(&str, &[&str])] = &[
    ("", &["runs", "version"]),
    ("/runs/0", &["tool"]),
    ("/runs/0/tool", &["driver"]),
    ("/runs/0/tool/driver", &["name"]),
    ("/runs/0/tool/driver/rules/0", &["id"]),
    ("/runs/0/tool/driver/rules/0/shortDescription", &["text"]),
    ("/runs/0/tool/driver/rules/0/fullDescription", &["text"]),
    ("/runs/0/tool/driver/rules/0/help", &["text"]),
    ("/runs/0/results/0", &["message"]),
    ("/runs/0/results/0/message", &["text"]),
    (
        "/runs/0/results/0/locations/0/physicalLocation",
        &["artifactLocation", "region"],
    ),
];

fn sarif(world: &World, exit: i32) -> Value {
    world
        .faramesh(&["check", "--format", "sarif"])
        .exits(exit)
        .json()
}

#[test]
fn a_sarif_log_has_what_the_published_schema_requires() {
    let log = sarif(&World::with(BROKEN), 1);
    assert_eq!(log["version"], "2.1.0");
    assert!(
        log["$schema"]
            .as_str()
            .unwrap()
            .ends_with("sarif-schema-2.1.0.json")
    );
    for (place, members) in REQUIRED {
        let object = log
            .pointer(place)
            .unwrap_or_else(|| panic!("no `{place}`: {log}"));
        for member in *members {
            assert!(
                !object[member].is_null(),
                "`{place}` has no `{member}`: {log}"
            );
        }
    }
    let run = &log["runs"][0];
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        let place = &result["locations"][0]["physicalLocation"];
        let region = &place["region"];
        for member in ["startLine", "startColumn", "endLine", "endColumn"] {
            assert!(region[member].as_u64().unwrap() >= 1, "{region}");
        }
        assert!(
            place["artifactLocation"]["uri"]
                .as_str()
                .unwrap()
                .ends_with("governance.fms")
        );
    }
}

#[test]
fn a_sarif_log_points_at_the_word_and_at_what_it_contradicts() {
    let log = sarif(&World::with(BROKEN), 1);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let of = |id: &str| {
        results
            .iter()
            .find(|r| r["ruleId"] == id)
            .unwrap_or_else(|| panic!("{log}"))
    };
    assert_eq!(
        of("E0103")["locations"][0]["physicalLocation"]["region"],
        json!({"startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 9})
    );
    assert!(
        of("E0103")["message"]["text"]
            .as_str()
            .unwrap()
            .contains("did you mean `permit`?")
    );
    let related = &of("E0201")["relatedLocations"];
    assert!(
        related[0]["physicalLocation"]["region"]["startLine"].is_u64(),
        "{related}"
    );
}

#[test]
fn a_sarif_log_names_files_relative_to_where_the_command_ran() {
    let world = World::with(BROKEN);
    let out = world
        .command(&["check", "--format", "sarif", "../bot/governance.fms"])
        .current_dir(&world.dir)
        .output()
        .unwrap();
    let log: Value = serde_json::from_slice(&out.stdout).unwrap();
    let place = &log["runs"][0]["artifacts"][0]["location"];
    assert_eq!(place["uri"], "../bot/governance.fms");
    let out = world
        .command(&["check", "--format", "sarif", "governance.fms"])
        .current_dir(&world.dir)
        .output()
        .unwrap();
    let log: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        log["runs"][0]["artifacts"][0]["location"],
        json!({"uri": "governance.fms", "uriBaseId": "SRCROOT"})
    );
}

#[test]
fn a_valid_policy_is_a_sarif_log_without_results() {
    let log = sarif(&World::with("default deny\npermit x\n"), 0);
    assert_eq!(log["runs"][0]["results"], json!([]));
}

#[test]
fn sarif_and_yaml_are_refused_where_they_mean_nothing() {
    let world = World::with(POLICY);
    world
        .faramesh(&["plan", "--format", "sarif"])
        .exits(64)
        .says(&["faramesh check"]);
    world
        .faramesh(&["check", "--format", "yaml"])
        .exits(64)
        .says(&["policy show"]);
}

#[test]
fn a_stack_with_two_policies_is_refused_because_nobody_could_tell_which_one_holds() {
    let world = World::with(POLICY);
    world.write("governance.fms.yaml", "default: deny\n");
    for command in ["check", "plan", "apply"] {
        world.faramesh(&[command]).exits(65).says(&[
            "two policies",
            "governance.fms.yaml",
            "keep one",
        ]);
    }
    // One that is named is read, whatever lies beside it.
    let file = world.dir.join("governance.fms");
    world.faramesh(&["check", file.to_str().unwrap()]).exits(0);
}

#[test]
fn findings_have_no_colour_where_nobody_watches() {
    let answer = World::with(BROKEN).faramesh(&["check"]).exits(1);
    assert!(!answer.stdout.contains('\u{1b}') && !answer.stderr.contains('\u{1b}'));
}

#[test]
fn explain_prints_the_page_of_a_number_with_an_example() {
    faramesh(&["explain", "E0103"]).exits(0).says(&[
        "error[E0103]: an unknown effect",
        "wrong:\n    permti stripe/refund",
        "right:\n    permit stripe/refund",
    ]);
    let page = faramesh(&["explain", "w0302", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(page["number"], "W0302");
    assert_eq!(page["severity"], "warning");
    assert!(page["page"].as_str().unwrap().len() > 40);
    assert!(page["example"]["right"].is_string());
}

#[test]
fn explain_names_the_nearest_number_and_a_record_needs_a_journal() {
    faramesh(&["explain", "E103"])
        .exits(64)
        .says(&["did you mean `E0103`"]);
    faramesh(&["explain", "frob\u{1b}[2J"])
        .exits(64)
        .says(&["\\u{1b}", "--list"]);
    faramesh(&["explain", "17"])
        .exits(69)
        .says(&["no policy", "faramesh apply"]);
}

#[test]
fn explain_lists_every_number_once() {
    let answer = faramesh(&["explain", "--list"]).exits(0);
    let list = faramesh(&["explain", "--list", "--format", "json"])
        .exits(0)
        .json();
    let numbers = list["numbers"].as_array().unwrap();
    assert_eq!(answer.stdout.lines().count(), numbers.len());
    assert!(numbers.len() >= 40);
    for number in numbers {
        let name = number["number"].as_str().unwrap();
        assert_eq!(answer.stdout.matches(name).count(), 1, "{name}");
    }
}

#[test]
fn every_number_that_a_finding_carries_can_be_explained() {
    let world = World::with(BROKEN);
    let report = world
        .faramesh(&["check", "--format", "json"])
        .exits(1)
        .json();
    for finding in report["diagnostics"].as_array().unwrap() {
        faramesh(&["explain", finding["number"].as_str().unwrap()]).exits(0);
    }
    assert!(fs::metadata(world.dir.join("governance.fms")).is_ok());
}
