//! Changes that a search can miss: each pair of policies answers some call otherwise, and `compare` says so, or that it
//! cannot tell. That nothing is said would be the claim that there is no such call.
#![expect(
    clippy::panic,
    reason = "a test that cannot make its policies has failed"
)]

use faramesh_core::policy::artifact::Artifact;
use faramesh_policy_compiler::compare::{Comparison, Limits, Reach, compare};
use faramesh_policy_compiler::{Options, compile_bytes};

/// Without the calls that are drawn at random: what the search alone finds.
const SEARCH_ALONE: Limits = Limits {
    calls_of_agent: 0,
    ..Limits::DEFAULT
};

fn compiled(text: &str) -> Artifact {
    let (_, outcome) = compile_bytes("governance.fms", text.as_bytes(), &Options::default());
    outcome
        .artifact
        .unwrap_or_else(|| panic!("{text}: {:?}", outcome.diagnostics))
}

fn compared(before: &str, after: &str) -> Comparison {
    compare(Some(&compiled(before)), &compiled(after), &SEARCH_ALONE)
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

#[test]
fn days_are_told_apart_by_every_date_that_a_condition_leaves() {
    let policy = |rule: &str| agent(&format!("default permit {rule}"));
    for rule in [
        "deny x if time.month != 1 and time.day >= 30",
        "deny x if time.year >= 2020 and time.month == 2 and time.day == 29",
        "deny x if time.year >= 2020 and time.month == 11 and time.day == 20 and time.weekday == 6",
        "deny x if time.year > 2096 and time.year < 2105 and time.month == 2 and time.day == 29",
    ] {
        for shown in widens(&policy(rule), &policy("")) {
            println!("{shown}");
        }
    }
    let later = |day: u32| {
        policy(&format!(
            "deny x if time.month >= 2 and time.day > {day} and time.weekday == 6"
        ))
    };
    widens(&later(29), &later(30));
    // And a day that there is not widens nothing.
    let none = compared(
        &policy("deny x if time.month == 2 and time.day >= 30"),
        &policy(""),
    );
    assert_eq!(none.agents, []);
    let no_leap_year = compared(
        &policy("deny x if time.year == 2100 and time.month == 2 and time.day == 29"),
        &policy(""),
    );
    assert_eq!(no_leap_year.agents, []);
}

#[test]
fn agents_are_told_apart_by_every_test_of_their_name() {
    let policy = |rule: &str| format!("default permit\n{rule}\n");
    let shown = widens(
        &policy("deny * if agent starts_with \"admin\""),
        &policy(""),
    );
    assert!(
        shown.iter().all(|call| call.starts_with("admin")),
        "{shown:?}"
    );
    widens(
        &policy("deny * if agent matches \"^admin\""),
        &policy("deny * if agent matches \"^root\""),
    );
    widens(&policy("deny * if agent ends_with \"-ci\""), &policy(""));
    widens(
        &policy("deny * if not (agent starts_with \"s\")"),
        &policy(""),
    );
}

#[test]
fn work_that_goes_beyond_a_decision_s_budget_is_named_where_it_changes() {
    let rules = |count: usize| -> String {
        let rule = |n: usize| format!("deny x if c contains \"{n}\"\n");
        let rules: String = (0..count).map(rule).collect();
        agent(&format!("default permit {rules}"))
    };
    // Little is searched: this is about the remark.
    let limits = Limits {
        states: 1_000,
        steps_of_class: 1_000,
        ..SEARCH_ALONE
    };
    let [before, after] = [80, 79].map(|count| compiled(&rules(count)));
    let comparison = compare(Some(&before), &after, &limits);
    let remarks = comparison.agents.iter().flat_map(|agent| &agent.remarks);
    assert!(
        remarks
            .into_iter()
            .any(|remark| remark.text.contains("budget")),
        "{comparison:#?}"
    );
    let small = compared(&rules(3), &rules(2));
    assert!(small.agents.iter().all(|agent| agent.remarks.is_empty()));
}

#[test]
fn a_call_that_is_drawn_shows_what_a_search_without_steps_does_not() {
    let limits = Limits {
        steps_of_class: 0,
        ..Limits::DEFAULT
    };
    let before = agent("default permit deny x if n > 300 and c starts_with \"rm\"");
    let comparison = compare(
        Some(&compiled(&before)),
        &compiled(&agent("default permit")),
        &limits,
    );
    assert!(
        !witnesses(&comparison, Reach::Wider).is_empty(),
        "{comparison:#?}"
    );
}
