//! Changes that a search can miss: each pair of policies answers some call otherwise, and `compare` says so, or that it
//! cannot tell. That nothing is said would be the claim that there is no such call.
#![expect(
    clippy::panic,
    reason = "a test that cannot make its policies has failed"
)]

use faramesh_core::policy::artifact::Artifact;
use faramesh_policy_compiler::compare::{Comparison, Limits, Reach, compare};
use faramesh_policy_compiler::{Options, compile_bytes};

fn compiled(text: &str) -> Artifact {
    let (_, outcome) = compile_bytes("governance.fms", text.as_bytes(), &Options::default());
    outcome
        .artifact
        .unwrap_or_else(|| panic!("{text}: {:?}", outcome.diagnostics))
}

fn compared(before: &str, after: &str) -> Comparison {
    compare(
        Some(&compiled(before)),
        &compiled(after),
        &Limits::default(),
    )
}

/// Witnesses of one direction.
fn witnesses(comparison: &Comparison, reach: Reach) -> Vec<String> {
    let findings = comparison.agents.iter().flat_map(|agent| &agent.findings);
    findings
        .filter(|finding| finding.reach == reach)
        .filter_map(|finding| finding.witness.as_ref())
        .map(|witness| {
            format!(
                "{} {} {} {:?}",
                witness.agent, witness.tool, witness.arguments, witness.given
            )
        })
        .collect()
}

/// One call is answered milder, and the comparison shows it.
fn widens(before: &str, after: &str) -> Vec<String> {
    let comparison = compared(before, after);
    let shown = witnesses(&comparison, Reach::Wider);
    assert!(!shown.is_empty(), "{before}\n{after}\n{comparison:#?}");
    shown
}

fn agent(policy: &str) -> String {
    format!("agent \"a\" {{ {policy} }}")
}

#[test]
fn a_path_under_a_name_that_an_open_schema_does_not_declare_is_tried() {
    for (schema, gone) in [
        ("tool x { arg path: text }", ""),
        ("tool x { arg p: any }", ""),
        (
            "tool x { arg mode: text }",
            "paths { edit_deny [\"other/**\"] }",
        ),
        ("tool x { arg o: object closed }", ""),
    ] {
        let policy = |paths: &str| agent(&format!("default deny {schema} permit x {paths}"));
        let comparison = compared(&policy("paths { edit_deny [\"v/**\"] }"), &policy(gone));
        assert!(
            !witnesses(&comparison, Reach::Wider).is_empty(),
            "{schema}: {comparison:#?}"
        );
        let remarks = comparison.agents.iter().flat_map(|agent| &agent.remarks);
        assert!(
            remarks
                .into_iter()
                .any(|remark| remark.text.contains("`paths`")),
            "{schema}: {comparison:#?}"
        );
    }
}

#[test]
fn a_request_s_path_needs_something_below_the_slash_of_a_starred_one() {
    for (before, after) in [("/v1/*", "/v2/*"), ("/v1/*", "/v1/a"), ("/v1/*", "/v1/*/z")] {
        let policy = |path: &str| agent(&format!("default permit deny x path {path}"));
        widens(&policy(before), &policy(after));
    }
    // The other way there is something, too: what `/v1/*/z` leaves out is below.
    let policy = |path: &str| agent(&format!("default permit deny x path {path}"));
    let narrower = compared(&policy("/v1/*/z"), &policy("/v1/*"));
    assert!(!witnesses(&narrower, Reach::Narrower).is_empty());
}

#[test]
fn an_argument_of_any_name_is_tried_beside_those_of_a_closed_schema() {
    let policy = |closed: &str| {
        agent(&format!(
            "default deny tool x {{ arg undeclared: text {closed} }} permit x"
        ))
    };
    widens(&policy("closed"), &policy(""));
    let below = |closed: &str| {
        agent(&format!(
            "default deny tool x {{ arg o.undeclared: text required {closed} }} permit x"
        ))
    };
    widens(&below("closed"), &below(""));
}
