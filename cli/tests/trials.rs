//! `test` and `explain call`: calls put to a policy without a daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{Answer, POLICY, POLICY_2, World, need_siblings};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

fn with_fixture(name: &str, text: &str) -> World {
    let world = World::with(POLICY);
    fs::create_dir(world.dir.join("tests")).unwrap();
    world.write(&format!("tests/{name}"), text);
    world
}

/// Three cases, of which the last does not hold.
const CASES: &str = r#"{
  "fixture": "refunds",
  "agent_id": "bot",
  "cases": [
    { "name": "small",   "tool": "stripe/refund", "args": {"amount": 80},
      "expect": { "effect": "permit", "rule_ref": "governance.fms:4" } },

    { "name": "unknown", "tool": "stripe/refund", "expect": {"effect": "deny", "code": "POLICY_DENY", "missing": ["args.amount"]} },
    { "name": "large",   "tool": "stripe/refund", "args": {"amount": 101}, "expect": {"effect": "permit", "rule_ref": 1} }
  ]
}
"#;

#[test]
fn fixtures_are_put_to_the_compiled_policy() {
    let world = with_fixture("refunds.fmtest.json", CASES);
    world.faramesh(&["test"]).exits(1).says(&[
        "FAILED     refunds: large",
        "refunds.fmtest.json:9",
        "effect: expected permit, found defer",
        "rule_ref: expected rule 1, found rule 2",
        "because: a person has to look",
        "✗ 3 cases: 2 hold, 1 do not",
    ]);
    let report = world
        .faramesh(&["test", "--format", "json"])
        .exits(1)
        .json();
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&2.into(), &1.into())
    );
    assert_eq!(report["cases"][2]["differs"], json!(["effect", "rule_ref"]));
    assert_eq!(report["cases"][2]["found"]["code"], "POLICY_DEFER");
}

#[test]
fn a_rule_may_be_named_by_number_by_line_and_by_text() {
    let text = "permit stripe/refund if amount <= 100";
    for (rule, holds) in [
        (json!(1), true),
        (json!(2), false),
        (json!(0), false),
        (json!("rule-1"), true),
        (json!("rule-2"), false),
        (json!("governance.fms:4"), true),
        (json!("governance.fms:5"), false),
        (json!(text), true),
        (json!("default"), false),
    ] {
        let fixture = json!({"agent_id": "bot", "cases": [
            {"tool": "stripe/refund", "args": {"amount": 1}, "expect": {"effect": "permit", "rule_ref": rule}},
        ]});
        let world = with_fixture("a.fmtest.json", &fixture.to_string());
        let answer = world.faramesh(&["test"]);
        assert_eq!(answer.code == 0, holds, "{rule}: {}", answer.stdout);
    }
}

#[test]
fn a_case_that_no_rule_decides_is_the_defaults() {
    let fixture = r#"{"agent_id": "bot", "cases": [{"tool": "x", "expect": {"effect": "deny", "rule_ref": "default"}}]}"#;
    with_fixture("a.fmtest.json", fixture)
        .faramesh(&["test"])
        .exits(0);
}

#[test]
fn update_rewrites_what_does_not_hold_and_no_other_byte() {
    let world = with_fixture("refunds.fmtest.json", CASES);
    let path = world.dir.join("tests/refunds.fmtest.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    world
        .faramesh(&["test", "--update"])
        .exits(0)
        .says(&["rewritten  refunds: large", "1 rewritten"]);
    let expected = CASES.replace(
        r#"{"effect": "permit", "rule_ref": 1}"#,
        r#"{"effect": "defer", "rule_ref": 2}"#,
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    world.faramesh(&["test"]).exits(0);
    world.faramesh(&["test", "--update"]).exits(0);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

const YAML: &str = "# what refunds do
fixture: refunds
agent_id: bot
cases:
  - name: small
    tool: stripe/refund
    args: { amount: 80 }
    expect:
      effect: deny   # this is wrong
      code: POLICY_DENY
    # the next one is right

  - name: large
    tool: stripe/refund
    args: { amount: 100.5 }
    expect: { effect: defer }
";

#[test]
fn yaml_fixtures_are_the_same_and_keep_their_comments() {
    let world = with_fixture("refunds.fmtest.yaml", YAML);
    world
        .faramesh(&["test"])
        .exits(1)
        .says(&["refunds.fmtest.yaml:5", "expected deny, found permit"]);
    world.faramesh(&["test", "--update"]).exits(0);
    let text = fs::read_to_string(world.dir.join("tests/refunds.fmtest.yaml")).unwrap();
    for kept in [
        "# what refunds do",
        "# the next one is right",
        "expect: { effect: defer }\n",
    ] {
        assert!(text.contains(kept), "{text}");
    }
    assert_eq!(
        text,
        YAML.replace("effect: deny ", "effect: permit ")
            .replace("code: POLICY_DENY", "code: null"),
        "only the values that differ"
    );
    world
        .faramesh(&["test"])
        .exits(0)
        .says(&["2 cases: 2 hold"]);
}

#[test]
fn fail_fast_stops_at_the_first_case_that_does_not_hold() {
    let fixture = r#"{"agent_id": "bot", "cases": [
        {"tool": "a", "expect": {"effect": "permit"}}, {"tool": "b", "expect": {"effect": "permit"}}]}"#;
    let world = with_fixture("a.fmtest.json", fixture);
    world.write("tests/b.fmtest.json", fixture);
    let run = |args: &[&str]| {
        let report = world.faramesh(args).exits(1).json();
        report["cases"].as_array().unwrap().len()
    };
    assert_eq!(run(&["test", "--format", "json"]), 4);
    assert_eq!(run(&["test", "--format", "json", "--fail-fast"]), 1);
}

#[test]
fn every_bad_fixture_is_an_error_with_its_line_and_nothing_is_run() {
    for (fixture, line, words) in [
        (
            "{\n\"cases\": [\n{\"tool\": \"a\", \"expcet\": 1, \"expect\": {\"effect\": \"deny\"}}]}",
            3,
            "did you mean `expect`?",
        ),
        (
            "{\n\"fixtures\": 1, \"cases\": []}",
            2,
            "unknown key \"fixtures\"",
        ),
        (
            "{\"cases\": [{\"tool\": \"a\", \"expect\": {\"effect\": \"deny\", \"line\": 3}}]}",
            1,
            "unknown key \"line\"",
        ),
        (
            "{\"cases\": [{\"tool\": \"a\",\n \"expect\": {\"effect\": \"maybe\"}}]}",
            2,
            "unknown effect \"maybe\"",
        ),
        ("{\"cases\": [{\"tool\": \"a\"}]}", 1, "without `expect`"),
        (
            "{\"cases\": [{\"expect\": {\"effect\": \"deny\"}}]}",
            1,
            "without `tool`",
        ),
        (
            "{\"cases\": [{\"tool\": \"a\", \"tool\": \"b\", \"expect\": {\"effect\": \"deny\"}}]}",
            1,
            "stands twice",
        ),
        ("{\"cases\": []}", 1, "without a case"),
        ("{\"cases\": 3}", 1, "is a list"),
        ("[]", 1, "is a mapping"),
        ("{\n\n", 3, ""),
    ] {
        let world = with_fixture("a.fmtest.json", fixture);
        let answer = world.faramesh(&["test"]).exits(65);
        assert!(
            answer.stderr.contains(&format!("a.fmtest.json:{line}")),
            "{fixture}: {}",
            answer.stderr
        );
        answer.says(&[words, "nothing was run"]);
    }
}

#[test]
fn a_stack_without_fixtures_says_so() {
    let world = World::with(POLICY);
    world
        .faramesh(&["test"])
        .exits(65)
        .says(&["no folder", "next:"]);
    fs::create_dir(world.dir.join("tests")).unwrap();
    world.write("tests/readme.md", "");
    world
        .faramesh(&["test"])
        .exits(65)
        .says(&["holds no *.fmtest.json"]);
    world
        .faramesh(&["test", "nowhere.fmtest.json"])
        .exits(65)
        .says(&["no fixture `nowhere.fmtest.json`"]);
}

#[test]
fn the_junit_report_escapes_what_a_stranger_wrote() {
    let hostile = "<b>\"&']]>\u{1b}[2J\u{202e}";
    let fixture = json!({"fixture": hostile, "agent_id": "bot", "cases": [
        {"name": hostile, "tool": "x", "expect": {"effect": "permit", "missing": [hostile]}},
        {"name": "fine", "tool": "x", "expect": {"effect": "deny"}},
    ]});
    let world = with_fixture("a.fmtest.yaml", &fixture.to_string());
    let path = world.dir.join("report.xml");
    world.faramesh(&["test", "--junit", path.to_str().unwrap()]);
    let fixture = fixture
        .to_string()
        .replace('\u{1b}', "")
        .replace("\\u001b", "")
        .replace('\u{202e}', "");
    world.write("tests/a.fmtest.yaml", &fixture);
    world
        .faramesh(&["test", "--junit", path.to_str().unwrap()])
        .exits(1);
    let xml = fs::read_to_string(&path).unwrap();
    assert!(!xml.contains("<b>") && !xml.contains('\u{1b}'), "{xml}");
    let mut reader = quick_xml::Reader::from_str(&xml);
    let (mut cases, mut failures) = (Vec::new(), 0);
    loop {
        use quick_xml::events::Event;
        match reader.read_event().unwrap() {
            Event::Start(element) | Event::Empty(element) => {
                let attribute = |name: &str| {
                    element
                        .try_get_attribute(name)
                        .unwrap()
                        .map(|a| quick_xml::escape::unescape(&a.value).unwrap().into_owned())
                };
                match element.name().as_ref() {
                    "testcase" => cases.push(attribute("name").unwrap()),
                    "failure" => failures += 1,
                    "testsuites" => assert_eq!(attribute("failures").unwrap(), "1"),
                    _ => {}
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(cases, ["<b>\"&']]>[2J", "fine"]);
    assert_eq!(failures, 1);
}

#[test]
fn a_supposed_fact_that_the_policy_does_not_read_is_an_error() {
    let fixture = r#"{"agent_id": "bot", "cases": [
        {"tool": "stripe/refund", "suppose": {"args.amuont": 3}, "expect": {"effect": "deny"}}]}"#;
    with_fixture("a.fmtest.json", fixture)
        .faramesh(&["test"])
        .exits(65)
        .says(&["args.amuont", "did you mean `args.amount`?"]);
}

fn explain(world: &World, args: &[&str]) -> Answer {
    let mut all = vec!["explain", "call", "--agent", "bot"];
    all.extend(args);
    world.faramesh(&all)
}

#[test]
fn a_call_is_explained_rule_by_rule_with_values_and_three_results() {
    let world = World::with(POLICY);
    explain(
        &world,
        &["--tool", "stripe/refund", "--args", "{\"amount\": 450}"],
    )
    .exits(0)
    .says(&[
        "DEFER  POLICY_DEFER",
        "governance.fms:5",
        "no         permit stripe/refund",
        "decides    defer stripe/refund",
        "args.amount <= 100: args.amount is 450 (claimed)",
        "1 rule for other tools than `stripe/refund`",
    ]);
    let report = explain(&world, &["--tool", "stripe/refund", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(report["effect"], "deny");
    assert_eq!(report["missing"], json!(["args.amount"]));
    let outcomes: Vec<&str> = report["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["outcome"].as_str().unwrap())
        .collect();
    assert!(
        outcomes.contains(&"maybe") && outcomes.contains(&"other tools"),
        "{outcomes:?}"
    );
}

#[test]
fn arguments_of_a_call_come_from_standard_input_too() {
    let world = World::with(POLICY);
    let mut child = world
        .command(&[
            "explain",
            "call",
            "--agent",
            "bot",
            "--tool",
            "stripe/refund",
            "--args",
            "-",
            "--format",
            "json",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"{\"amount\": 80}").unwrap();
    let out = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&report["effect"], &report["rule"]["line"]),
        (&"permit".into(), &4.into())
    );
}

#[test]
fn facts_can_be_supposed_and_a_fact_that_is_not_read_is_refused() {
    let world =
        World::with("default deny\npermit jobs/start if time.hour < 6 and not time.weekday == 7\n");
    let run = |args: &[&str]| {
        let mut all = vec![
            "explain",
            "call",
            "--tool",
            "jobs/start",
            "--format",
            "json",
        ];
        all.extend(args);
        world.faramesh(&all)
    };
    let effect = |args: &[&str]| run(args).exits(0).json()["effect"].clone();
    assert_eq!(
        effect(&["--suppose", "time.hour=3", "--suppose", "time.weekday=1"]),
        "permit"
    );
    assert_eq!(
        effect(&["--suppose", "time.hour=9", "--suppose", "time.weekday=1"]),
        "deny"
    );
    // Friday, at three in the morning.
    assert_eq!(
        effect(&["--suppose", "time.now=2026-11-20T03:00:00Z"]),
        "permit"
    );
    assert_eq!(
        effect(&["--suppose", "time.now=2026-11-22T03:00:00Z"]),
        "deny"
    );
    run(&["--suppose", "time.huor=3"])
        .exits(64)
        .says(&["did you mean `time.hour`?"]);
    run(&["--suppose", "time.now=soon"])
        .exits(64)
        .says(&["time.now"]);
    run(&["--suppose", "time.hour"])
        .exits(64)
        .says(&["--suppose time.hour=3"]);
}

const COUNTING: &str = "agent \"bot\" {
  default deny
  defer pay if amount <= 2000 and session.sum(pay.amount, window=1h) < 5000
  permit look if session.call_count < 3
}
";

#[test]
fn a_call_without_a_journal_is_the_first_of_its_session() {
    let world = World::with(COUNTING);
    fs::create_dir(world.dir.join("tests")).unwrap();
    let fixture = json!({"agent_id": "bot", "cases": [
        {"tool": "pay", "args": {"amount": 80}, "expect": {"effect": "defer", "rule_ref": 1, "missing": []}},
        {"tool": "pay", "args": {"amount": 80}, "suppose": {"session.sum(pay.amount, window=60m)": 9000},
         "expect": {"effect": "deny", "rule_ref": "default"}},
        {"tool": "look", "expect": {"effect": "permit", "rule_ref": "rule-2"}},
        {"tool": "look", "suppose": {"session.call_count": 3}, "expect": {"effect": "deny"}},
    ]});
    world.write("tests/a.fmtest.json", &fixture.to_string());
    world.faramesh(&["test"]).exits(0);
    let call = [
        "--tool",
        "pay",
        "--args",
        "{\"amount\": 80}",
        "--format",
        "json",
    ];
    let report = explain(&world, &call).exits(0).json();
    assert_eq!(report["effect"], "defer");
    assert_eq!(report["rule"], json!({"number": 1, "line": 3}));
    assert_eq!(report["rules"][0]["number"], 1);
    let sum = "session.sum(pay.amount, window=1h)=5000";
    let report = explain(&world, &[&call[..], &["--suppose", sum]].concat())
        .exits(0)
        .json();
    assert_eq!(report["effect"], "deny");
}

#[test]
fn what_is_no_call_is_explained_as_one() {
    let world = World::with(POLICY);
    explain(&world, &["--tool", "stripe refund"])
        .exits(0)
        .says(&["DENY  CALL_INVALID", "` ` at byte 6"]);
    explain(
        &world,
        &["--tool", "stripe/refund", "--args", "{\"a\": 1, \"a\": 2}"],
    )
    .exits(0)
    .says(&["CALL_INVALID"]);
    let answer = explain(
        &world,
        &["--tool", "x\u{1b}[2J", "--args", "{\"\u{202e}\": 1}"],
    );
    assert!(!format!("{}{}", answer.stdout, answer.stderr).contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn the_policy_in_force_explains_a_call_when_asked() {
    need_siblings();
    let world = World::with(POLICY);
    world.faramesh(&["apply"]).exits(0);
    world.write("governance.fms", POLICY_2);
    let effect = |args: &[&str]| explain(&world, args).exits(0).json()["effect"].clone();
    assert_eq!(
        effect(&["--tool", "crm/read", "--format", "json"]),
        "permit"
    );
    assert_eq!(
        effect(&["--tool", "crm/read", "--format", "json", "--applied"]),
        "deny"
    );
}

#[test]
fn update_keeps_the_quotes_and_lines_of_an_expectation() {
    let text = "agent_id: bot
cases:
  - tool: stripe/refund
    args: { amount: 80 }
    expect:
      rule_ref: \"default\"   # none?
      effect: 'deny'
      missing:
        - args.x
        - args.y
";
    let world = with_fixture("a.fmtest.yaml", text);
    world.faramesh(&["test", "--update"]).exits(0);
    let after = fs::read_to_string(world.dir.join("tests/a.fmtest.yaml")).unwrap();
    assert!(
        after.contains("   # none?\n      effect: \"permit\"\n"),
        "{after}"
    );
    assert!(after.contains("missing:\n        []\n"), "{after}");
    world.faramesh(&["test"]).exits(0);
}

#[test]
fn a_misspelt_agent_passes_no_case_unless_the_refusal_is_what_is_expected() {
    let fixture = |expect: &str| {
        format!(r#"{{"agent_id": "bott", "cases": [{{"tool": "shell/run", "expect": {expect}}}]}}"#)
    };
    with_fixture("a.fmtest.json", &fixture(r#"{"effect": "deny"}"#))
        .faramesh(&["test"])
        .exits(65)
        .says(&["no agent `bott`", "did you mean `bot`?"]);
    let expect = r#"{"effect": "deny", "code": "IDENTITY_UNVERIFIED"}"#;
    with_fixture("a.fmtest.json", &fixture(expect))
        .faramesh(&["test"])
        .exits(0);
}

#[test]
fn what_no_trial_looks_at_is_said() {
    let policy = "agent bot {\n  default deny\n  permit x\n  budget d { max $5 }\n}\n";
    let world = World::with(policy);
    fs::create_dir(world.dir.join("tests")).unwrap();
    let fixture =
        r#"{"agent_id": "bot", "cases": [{"tool": "x", "expect": {"effect": "permit"}}]}"#;
    world.write("tests/a.fmtest.json", fixture);
    world
        .faramesh(&["test"])
        .exits(0)
        .says(&["not considered: `budget` in agent `bot`"]);
    let call = ["explain", "call", "--agent", "bot", "--tool", "x"];
    world
        .faramesh(&call)
        .exits(0)
        .says(&["not considered: `budget` in agent `bot`"]);
}

#[test]
fn a_call_that_cannot_be_meant_is_not_explained() {
    let world = World::with(
        "agent bot {\n  default deny\n  permit x if time.hour < 6\n  permit x if a == 1\n}\n",
    );
    let call = |more: &[&str]| {
        let args = [&["explain", "call", "--tool", "x"][..], more].concat();
        world.faramesh(&args)
    };
    for hour in ["time.hour=25", "time.hour=abc", "time.hour=-1"] {
        call(&["--agent", "bot", "--suppose", hour])
            .exits(64)
            .says(&["`time.hour` is a whole number from 0 to 23"]);
    }
    call(&["--agent", "bot", "--args", "{to: 1}"])
        .exits(64)
        .says(&["not JSON", "--args '{"]);
    call(&["--agent", "bpt"])
        .exits(0)
        .says(&["DENY", "did you mean `bot`?"]);
    // The second rule is never asked, so that nothing is said of its test.
    let answer = call(&["--agent", "bot", "--suppose", "time.hour=3"]).exits(0);
    let (_, passed_over) = answer.stdout.split_once("not asked").unwrap();
    assert!(!passed_over.contains("args.a"), "{}", answer.stdout);
}

#[test]
fn fail_fast_hides_no_case_that_cannot_be_put() {
    let fixture = r#"{"agent_id": "bot", "cases": [
        {"tool": "x", "expect": {"effect": "permit"}},
        {"tool": "x", "suppose": {"no.fact": 1}, "expect": {"effect": "deny"}}]}"#;
    let world = with_fixture("a.fmtest.json", fixture);
    world.faramesh(&["test", "--fail-fast"]).exits(65);
    world.faramesh(&["test"]).exits(65);
}
