//! The corpus of decisions: `tests/corpus/NAME.fms` is compiled, and each line of `NAME.cases` is put to it:
//! `{"agent": …, "tool": …, "args": {…}, "effect": …, "code": …, "rule": line or null, "missing": […]}`.
//! Only `tool`, `args` and `effect` must be there; what is there must hold.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot read its corpus has failed"
)]

use faramesh_core::call::accept;
use faramesh_core::decision::Decision;
use faramesh_core::identity::{Caller, attest};
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::encode;
use faramesh_core::policy::{Policy, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use faramesh_policy_compiler::{Options, SourceMap, Style, compile_bytes, render};
use serde_json::{Value, json};
use std::path::Path;

fn put(policy: &Policy, case: &Value) -> Decision {
    let text = |key: &str| case.get(key).and_then(Value::as_str).unwrap_or_default();
    // The arguments are cut out as they are written: a parser between would change numbers.
    let arguments = case.get("args_text").and_then(Value::as_str).map_or_else(
        || case.get("args").unwrap_or(&json!({})).to_string(),
        String::from,
    );
    let call = accept(text("tool"), text("agent"), arguments.as_bytes()).expect("a call");
    let attested = attest(call, Caller::Unattested { uid: 1000 }).expect("nobody else is claimed");
    decide(
        &Question {
            attested: &attested,
            door: Door::Govern,
            now: Time {
                wall_ms: 0,
                boot_ms: 0,
            },
            supposed: &Supposed::nothing(),
        },
        policy,
        &State::new(),
    )
}

fn fault(policy: &Policy, map: &SourceMap, case: &Value) -> Option<String> {
    let decision = put(policy, case);
    let agent = case
        .get("agent")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let lines = map.agents.get(agent).or_else(|| map.agents.get(""));
    let line = decision.rule.and_then(|index| lines?.get(index as usize));
    let found = json!({
        "effect": decision.effect.as_str(),
        "would": decision.would.map(|effect| effect.as_str()),
        "code": decision.code.map(|code| code.as_str()),
        "rule": line,
        "missing": decision.missing,
        "notify": decision.notify,
    });
    let differs = ["effect", "would", "code", "rule", "missing", "notify"]
        .into_iter()
        .any(|key| {
            case.get(key)
                .is_some_and(|expected| Some(expected) != found.get(key))
        });
    differs.then(|| format!("{case}\n    found {found}"))
}

#[test]
fn every_case_of_the_corpus_is_decided_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut cases_run = 0;
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "fms") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("the policy is read");
        let (source, outcome) = compile_bytes("governance.fms", &bytes, &Options::default());
        let shown = render(&source, &outcome.diagnostics, Style::Plain);
        let Some(artifact) = outcome.artifact else {
            panic!("{}:\n{shown}", path.display())
        };
        let policy = Policy::load(&encode(&artifact).expect("it encodes")).expect("it loads");
        let cases =
            std::fs::read_to_string(path.with_extension("cases")).expect("its cases are there");
        for (index, line) in cases
            .lines()
            .enumerate()
            .filter(|(_, line)| line.starts_with('{'))
        {
            let case: Value = serde_json::from_str(line).expect("a case is JSON");
            assert!(
                case.get("tool").is_some() && case.get("effect").is_some(),
                "{line}"
            );
            cases_run += 1;
            if let Some(fault) = fault(&policy, &outcome.map, &case) {
                faults.push(format!(
                    "{}:{}: {fault}",
                    path.with_extension("cases").display(),
                    index + 1
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(cases_run >= 60, "the corpus shrank to {cases_run} cases");
}

#[test]
fn every_policy_of_the_examples_compiles_without_a_finding() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found = 0;
    for entry in std::fs::read_dir(examples).expect("the examples are there") {
        let path = entry.expect("an entry").path().join("governance.fms");
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        found += 1;
        let (source, outcome) = compile_bytes("governance.fms", &bytes, &Options::default());
        assert!(
            outcome.diagnostics.is_empty(),
            "{}",
            render(&source, &outcome.diagnostics, Style::Plain)
        );
    }
    assert!(found > 0, "no example has a policy");
}
