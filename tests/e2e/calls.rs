//! What an agent is answered.

use crate::{POLICY, development_policy};
use faramesh_tests::World;
use faramesh_tests::skip::root_or_skip;
use serde_json::{Value, json};

#[test]
fn a_permitted_call_is_answered_after_its_record_is_in_the_journal() {
    if !root_or_skip("a_permitted_call_is_answered_after_its_record_is_in_the_journal") {
        return;
    }
    let world = World::enforced(POLICY);
    let answer = world.ask("crm/lookup", r#"{"id":"c-1"}"#);
    assert_eq!(
        (answer.effect.as_str(), answer.code.as_str()),
        ("permit", "")
    );
    let sealed: Value = serde_json::from_str(answer.json["record"].as_str().unwrap()).unwrap();
    let found = world.record(answer.json["leaf_index"].as_u64().unwrap());
    assert_eq!(found["record"], sealed);
    assert_eq!(
        (&sealed["agent"], &sealed["attested"], &sealed["mode"]),
        (&json!("bot"), &json!(true), &json!("enforced"))
    );
    assert_eq!(world.verify().0, 0);
}

#[test]
fn a_deferred_call_says_that_a_person_has_to_look() {
    if !root_or_skip("a_deferred_call_says_that_a_person_has_to_look") {
        return;
    }
    let world = World::enforced(POLICY);
    let answer = world.ask("stripe/refund", r#"{"amount":250}"#);
    assert_eq!(
        (answer.effect.as_str(), answer.code.as_str(), answer.exit),
        ("defer", "POLICY_DEFER", 10)
    );
    assert_eq!(answer.message, "a person looks at refunds of $100 and more");
    assert_eq!(answer.json["resolution"], "manual_audit");
}

#[test]
fn a_denied_call_says_why_and_an_enforced_policy_shows_no_rule() {
    if !root_or_skip("a_denied_call_says_why_and_an_enforced_policy_shows_no_rule") {
        return;
    }
    let world = World::enforced(POLICY);
    let answer = world.ask("mail/send", r#"{"to":"eve@evil.test"}"#);
    assert_eq!(
        (answer.effect.as_str(), answer.code.as_str(), answer.exit),
        ("deny", "POLICY_DENY", 11)
    );
    assert_eq!(answer.message, "mail goes to example.com only");
    assert_eq!(answer.json["rule"], Value::Null);
    let record = answer.json["record"].as_str().unwrap();
    assert!(
        !record.contains("matches") && !record.contains("eve@evil.test"),
        "{record}"
    );
}

#[test]
fn a_call_that_no_rule_speaks_of_gets_the_default() {
    let world = World::development(&development_policy());
    let answer = world.govern("bot", "db/drop", "{}");
    assert_eq!(
        (answer.effect.as_str(), answer.code.as_str(), answer.exit),
        ("deny", "POLICY_DENY", 11)
    );
}

#[test]
fn a_field_that_is_missing_never_helps_the_agent() {
    let world = World::development(&development_policy());
    let missing = world.govern("bot", "stripe/refund", "{}");
    assert_eq!(
        missing.effect, "deny",
        "the default decides, and no permit is possible: {missing:?}"
    );
    let quoted = world.govern("bot", "stripe/refund", r#"{"amount":"80"}"#);
    assert_ne!(quoted.effect, "permit");
    assert_eq!(quoted.json["missing"], json!(["args.amount"]));
}

#[test]
fn a_malformed_call_is_refused_with_a_reason_and_counted_in_a_dropped_record() {
    let world = World::development(&development_policy());
    for (args, why) in [
        (r#"{"a":1,"a":2}"#, "a key twice"),
        (r#"{"a":"\ud800"}"#, "a lone surrogate"),
        (
            &format!("{}1{}", "[".repeat(40), "]".repeat(40)),
            "an array, and too deep",
        ),
        (
            &format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40)),
            "too deep",
        ),
        (
            &format!("{{\"a\":1{}}}", "0".repeat(1_001)),
            "too many digits",
        ),
        (r#"{"a":1e1001}"#, "too large an exponent"),
        (r#"{"a":1} x"#, "something after it"),
        ("", "nothing"),
    ] {
        let answer = world.govern("bot", "crm/lookup", args);
        assert_eq!(
            (answer.effect.as_str(), answer.code.as_str()),
            ("deny", "CALL_INVALID"),
            "{why}: {answer:?}"
        );
        assert!(!answer.message.is_empty(), "{why}");
    }
    // The next record makes the batch that carries the counts.
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
    let dropped: u64 = world
        .records(50)
        .iter()
        .filter(|r| r["record"]["kind"] == "dropped")
        .flat_map(|r| r["record"]["counts"].as_array().unwrap().clone())
        .filter(|count| count.to_string().contains("CALL_INVALID"))
        .map(|count| {
            count
                .as_array()
                .map_or_else(|| count["count"].as_u64(), |c| c.last().unwrap().as_u64())
                .unwrap()
        })
        .sum();
    assert_eq!(dropped, 8);
}

#[test]
fn development_is_said_in_every_record_and_by_status() {
    let world = World::development(&development_policy());
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
    let records = world.records(50);
    assert!(records.len() >= 3, "{records:?}");
    assert!(
        records.iter().all(|r| r["record"]["mode"] == "development"),
        "{records:?}"
    );
    let decision = records
        .iter()
        .rfind(|r| r["record"]["kind"] == "decision")
        .unwrap();
    assert_eq!(decision["record"]["attested"], false);
    assert_eq!(world.status()["mode"], "development");
    assert!(
        world
            .log()
            .contains("Any process of this user can be any agent"),
        "{}",
        world.log()
    );
}

#[test]
fn each_agent_of_a_file_has_its_own_rules() {
    let world = World::development(
        r#"
        agent "reader" { default deny  permit crm/lookup }
        agent "writer" { default deny  permit crm/update }
        "#,
    );
    for (agent, tool, effect) in [
        ("reader", "crm/lookup", "permit"),
        ("reader", "crm/update", "deny"),
        ("writer", "crm/lookup", "deny"),
        ("writer", "crm/update", "permit"),
    ] {
        assert_eq!(
            world.govern(agent, tool, "{}").effect,
            effect,
            "{agent} {tool}"
        );
    }
    assert_eq!(
        world.govern("nobody", "crm/lookup", "{}").code,
        "IDENTITY_UNVERIFIED"
    );
}

#[test]
fn shadow_mode_lets_a_denial_pass_says_so_and_never_shadows_deny_with_a_bang() {
    let policy = format!("runtime {{ mode = \"shadow\" }}\n{}", development_policy());
    let world = World::development(&policy);
    let shadowed = world.govern("bot", "db/drop", "{}");
    assert_eq!((shadowed.effect.as_str(), shadowed.exit), ("permit", 0));
    assert_eq!(world.govern("bot", "shell/exec", "{}").effect, "deny");
    let decision = world
        .records(20)
        .into_iter()
        .rfind(|r| r["record"]["would"] == "deny")
        .expect("a record with would");
    assert_eq!(decision["record"]["effect"], "permit");
    let (_, report) = world.verify();
    assert!(
        report.to_string().contains("not enforcing"),
        "verify names the span: {report}"
    );
}

#[test]
fn an_operators_question_in_the_enforced_set_up_is_recorded_as_a_probe() {
    if !root_or_skip("an_operators_question_in_the_enforced_set_up_is_recorded_as_a_probe") {
        return;
    }
    let world = World::enforced(POLICY);
    let answer = world.govern("bot", "crm/lookup", "{}");
    assert_eq!((answer.effect.as_str(), answer.exit), ("permit", 0));
    let record = world.records(1).remove(0);
    assert_eq!(
        (&record["record"]["kind"], &record["record"]["door"]),
        (&json!("decision"), &json!("probe"))
    );
}

#[test]
fn a_redacted_argument_stands_in_no_file_of_the_stack_and_decides_all_the_same() {
    const SECRET: &str = "4929-1775-9923-0016";
    let policy = r#"
agent "bot" {
  default deny
  permit pay if card starts_with "4929" and amount < 100
  redact pay args: ["card", "to.iban"]
}
"#;
    let mut world = World::development(policy);
    let args = |card: &str| json!({"amount": 5, "card": card, "to": {"iban": SECRET}}).to_string();
    let permitted = world.govern("bot", "pay", &args(SECRET));
    assert_eq!(permitted.effect, "permit", "{permitted:?}");
    assert_eq!(world.govern("bot", "pay", &args("5")).effect, "deny");
    let seq = permitted.json["receipt"]["leaf_index"].as_u64().unwrap();
    let shown = world.record(seq).to_string();
    assert!(
        shown.contains("[redacted]") && !shown.contains(SECRET),
        "{shown}"
    );
    assert_eq!(world.verify().0, 0);
    world.stop();
    // All of a development stack's state lies in its directory.
    let files = search(&world.dir, SECRET.as_bytes());
    assert!(files >= 10, "only {files} files were searched");
    assert!(!world.log().contains(SECRET), "{}", world.log());
}

/// Searches every file below a directory, and says how many there were.
#[track_caller]
fn search(place: &std::path::Path, wanted: &[u8]) -> usize {
    let Ok(entries) = std::fs::read_dir(place) else {
        return 0;
    };
    let mut files = 0;
    for entry in entries {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files += search(&path, wanted);
        } else if kind.is_file() {
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(wanted.len()).any(|part| part == wanted);
            assert!(!found, "it stands in {}", path.display());
        }
    }
    files
}
