//! The semantic diff against brute force: pairs of small policies, every call of a small domain decided by both.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot make its policies has failed"
)]

use faramesh_core::call::accept;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::Effect;
use faramesh_core::identity::{Caller, attest};
use faramesh_core::json;
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::{
    AgentPolicy, Artifact, Ask, Field, Glob, Literal, Mode, Op, Order, Relation, Rule, RuleEffect,
    Runtime, Test, TimePart, capabilities,
};
use faramesh_core::policy::{Policy, Supposed, pattern};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use faramesh_policy_compiler::compare::{Finding, Limits, Reach, compare};
use faramesh_policy_compiler::{Options, SourceFile, compile};
use std::collections::BTreeSet;

/// Pairs in one run; each decides some thousand calls by brute force.
const PAIRS: u64 = 1_500;

/// Calls that are decided for each pair and tool.
const CALLS_MAX: usize = 300;

/// Without the calls that are drawn at random: what the search alone finds.
const SEARCH_ALONE: Limits = Limits {
    calls_of_agent: 0,
    ..Limits::DEFAULT
};

/// A small generator: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

fn seed() -> u64 {
    let seed = std::env::var("FARAMESH_SEED").ok().map_or_else(
        || u64::from(std::process::id()) ^ 0x5EED_0000,
        |text| text.parse().unwrap(),
    );
    println!("FARAMESH_SEED={seed}");
    seed
}

fn number(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

fn text(text: &str) -> Literal {
    Literal::String(text.to_owned())
}

fn args(path: &[&str]) -> Field {
    Field::Args(path.iter().map(|part| (*part).to_owned()).collect())
}

/// Sorted, as an artifact has them.
fn fields() -> Vec<Field> {
    let mut fields = vec![
        args(&["n"]),
        args(&["s"]),
        args(&["b"]),
        args(&["l"]),
        args(&["o"]),
        args(&["o", "n"]),
        Field::Tool,
        Field::Action,
        Field::Time(TimePart::Hour),
        Field::Length(vec!["l".to_owned()]),
        Field::Length(vec!["s".to_owned()]),
    ];
    fields.sort();
    fields
}

/// Tests that are told apart exactly.
fn asks() -> Vec<(Field, Ask)> {
    let n = args(&["n"]);
    let s = args(&["s"]);
    let l = args(&["l"]);
    vec![
        (n.clone(), Ask::Compare(Order::Less, number("2"))),
        (n.clone(), Ask::Compare(Order::LessOrEqual, number("3"))),
        (n.clone(), Ask::Compare(Order::Greater, number("2"))),
        (n.clone(), Ask::Equals(Literal::Number(number("2")))),
        (n.clone(), Ask::Has),
        (
            n,
            Ask::In(vec![
                Literal::Number(number("1")),
                Literal::Number(number("3")),
            ]),
        ),
        (s.clone(), Ask::Equals(text("ab"))),
        (s.clone(), Ask::In(vec![text("a"), text("ab"), text("b")])),
        (s.clone(), Ask::StartsWith("a".to_owned())),
        (s.clone(), Ask::EndsWith("b".to_owned())),
        (s.clone(), Ask::Contains(text("ba"))),
        (s.clone(), Ask::Matches("^a+b$".to_owned())),
        (s.clone(), Ask::Matches("b".to_owned())),
        (s.clone(), Ask::Glob(Glob::Text, "a*b".to_owned())),
        (s, Ask::Has),
        (args(&["b"]), Ask::IsTrue),
        (args(&["b"]), Ask::Equals(Literal::Bool(false))),
        (l.clone(), Ask::Contains(text("a"))),
        (l.clone(), Ask::Contains(Literal::Number(number("1")))),
        (l, Ask::AnyGlob("a*".to_owned())),
        (args(&["o"]), Ask::Has),
        (args(&["o", "n"]), Ask::Compare(Order::Greater, number("2"))),
        (args(&["o", "n"]), Ask::Has),
        (Field::Tool, Ask::Equals(text("t/a"))),
        (Field::Action, Ask::Equals(text("a"))),
        (Field::Action, Ask::StartsWith("x".to_owned())),
        (
            Field::Time(TimePart::Hour),
            Ask::Compare(Order::Less, number("9")),
        ),
        (
            Field::Length(vec!["l".to_owned()]),
            Ask::Compare(Order::Greater, number("1")),
        ),
        (
            Field::Length(vec!["s".to_owned()]),
            Ask::Compare(Order::Less, number("2")),
        ),
    ]
}

const PATTERNS: [&str; 6] = ["*", "t/*", "t/a", "*/a", "u", "t/x*"];
const TOOLS: [&str; 8] = ["t/a", "t/b", "t/xa", "u", "u/a", "a", "v", "t/c/a"];

fn domain() -> Vec<(&'static str, Vec<&'static str>)> {
    // An empty text is absence.
    vec![
        (
            "n",
            vec!["", "1", "1.5", "2", "2.5", "3", "4", "\"2\"", "null"],
        ),
        (
            "s",
            vec![
                "", "\"\"", "\"a\"", "\"b\"", "\"ab\"", "\"ba\"", "\"aab\"", "\"abab\"", "\"c\"",
                "7", "[\"a\"]",
            ],
        ),
        ("b", vec!["", "true", "false", "\"true\""]),
        (
            "l",
            vec![
                "",
                "[]",
                "[\"a\"]",
                "[\"ab\"]",
                "[1]",
                "[\"c\",1]",
                "[null]",
                "[1,\"a\",7]",
                "\"a\"",
                "[\"c\"]",
                "[\"c\",\"c\"]",
            ],
        ),
        (
            "o",
            vec!["", "{}", "{\"n\":1}", "{\"n\":3}", "{\"n\":\"x\"}", "4"],
        ),
    ]
}

fn program(random: &mut Random, tests: usize) -> Vec<Op> {
    let test = |random: &mut Random| Op::Test(u32::try_from(random.below(tests)).unwrap());
    match random.below(6) {
        0 => vec![],
        1 => vec![test(random)],
        2 => vec![test(random), Op::Not],
        3 => vec![test(random), test(random), Op::And],
        4 => vec![test(random), test(random), Op::Or],
        _ => vec![
            test(random),
            test(random),
            Op::Not,
            Op::And,
            test(random),
            Op::Or,
        ],
    }
}

fn rule(random: &mut Random, tests: usize) -> Rule {
    Rule {
        effect: *random.pick(&[
            RuleEffect::Permit,
            RuleEffect::Permit,
            RuleEffect::Defer,
            RuleEffect::Deny,
            RuleEffect::DenyHard,
        ]),
        pattern: (*random.pick(&PATTERNS)).to_owned(),
        condition: program(random, tests),
        reason: None,
        notify: vec![],
        reeval: false,
        text: String::new(),
    }
}

/// A policy over a few of the tests.
fn policy(random: &mut Random, asks: &[(Field, Ask)]) -> Artifact {
    let fields = fields();
    let place = |field: &Field| {
        let at = fields.iter().position(|known| known == field).unwrap();
        u32::try_from(at).unwrap()
    };
    let mut tests: Vec<Test> = Vec::new();
    for _ in 0..4 {
        let (field, ask) = random.pick(asks);
        let test = Test {
            field: place(field),
            ask: ask.clone(),
        };
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    let rules = (0..1 + random.below(4))
        .map(|_| rule(random, tests.len()))
        .collect();
    artifact(AgentPolicy {
        name: "bot".to_owned(),
        default: *random.pick(&[Effect::Deny, Effect::Deny, Effect::Defer, Effect::Permit]),
        rules,
        fields,
        tests,
        ..AgentPolicy::default()
    })
}

fn artifact(agent: AgentPolicy) -> Artifact {
    let mut artifact = Artifact {
        requires: vec![],
        runtime: Runtime::default(),
        agents: vec![agent],
        declarations: vec![],
    };
    artifact.requires = capabilities::of(&artifact);
    artifact
}

/// A neighbour: one or two things are different.
fn changed(random: &mut Random, before: &Artifact) -> Artifact {
    let mut after = before.clone();
    let agent = &mut after.agents[0];
    for _ in 0..1 + random.below(2) {
        let tests = agent.tests.len();
        let at = random.below(agent.rules.len());
        match random.below(6) {
            0 => agent.rules.insert(at, rule(random, tests)),
            1 if agent.rules.len() > 1 => {
                agent.rules.remove(at);
            }
            2 => agent.rules[at].condition = program(random, tests),
            3 => agent.rules[at].effect = rule(random, tests).effect,
            4 => agent.rules[at].pattern = (*random.pick(&PATTERNS)).to_owned(),
            _ => agent.default = *random.pick(&[Effect::Deny, Effect::Defer, Effect::Permit]),
        }
    }
    if random.below(8) == 0 {
        after.runtime.mode = Mode::Shadow;
    }
    after.requires = capabilities::of(&after);
    after
}

fn answer(policy: &Policy, tool: &str, arguments: &str, given: &[(Field, String)]) -> Effect {
    let call = accept(tool, "bot", arguments.as_bytes()).unwrap();
    let attested = attest(call, Caller::Unattested { uid: 0 }).unwrap();
    let supposed: Supposed = given
        .iter()
        .map(|(field, text)| (field.clone(), json::parse(text.as_bytes()).unwrap()))
        .collect();
    let question = Question {
        attested: &attested,
        door: Door::Govern,
        now: Time {
            wall_ms: 0,
            boot_ms: 0,
        },
        supposed: &supposed,
    };
    decide(&question, policy, &State::new()).effect
}

/// Names of arguments and facts that some test of either policy reads: the others change nothing.
fn read(policies: [&Artifact; 2]) -> BTreeSet<String> {
    policies
        .iter()
        .flat_map(|policy| &policy.agents)
        .flat_map(|agent| {
            agent
                .tests
                .iter()
                .map(|test| match &agent.fields[test.field as usize] {
                    Field::Args(path) | Field::Length(path) => path[0].clone(),
                    other => other.to_string(),
                })
        })
        .collect()
}

/// Every call of the domain over what is read, or some, where there are many.
fn calls(read: &BTreeSet<String>, random: &mut Random) -> Vec<String> {
    let mut calls = vec![String::new()];
    for (name, values) in domain() {
        if !read.contains(name) {
            continue;
        }
        calls = calls
            .iter()
            .flat_map(|call| {
                values.iter().map(move |value| {
                    let comma = if call.is_empty() || value.is_empty() {
                        ""
                    } else {
                        ","
                    };
                    if value.is_empty() {
                        call.clone()
                    } else {
                        format!("{call}{comma}\"{name}\":{value}")
                    }
                })
            })
            .collect();
    }
    while calls.len() > CALLS_MAX {
        calls.swap_remove(random.below(calls.len()));
    }
    calls.iter().map(|call| format!("{{{call}}}")).collect()
}

/// What both policies' patterns and tests of names say of a tool.
fn class_of(policies: [&Artifact; 2], tool: &str) -> Vec<bool> {
    let patterns = policies.iter().flat_map(|policy| &policy.agents[0].rules);
    let mut class: Vec<bool> = patterns
        .map(|rule| pattern::matches(&rule.pattern, tool))
        .collect();
    let last = tool.rsplit('/').next().unwrap();
    let tests = policies.iter().flat_map(|policy| {
        let agent = &policy.agents[0];
        agent
            .tests
            .iter()
            .map(|test| (&agent.fields[test.field as usize], &test.ask))
    });
    class.extend(tests.filter_map(|(field, ask)| match (field, ask) {
        (Field::Tool, Ask::Equals(Literal::String(name))) => Some(tool == name),
        (Field::Action, Ask::Equals(Literal::String(name))) => Some(last == name),
        (Field::Action, Ask::StartsWith(head)) => Some(last.starts_with(head.as_str())),
        _ => None,
    }));
    class
}

/// A policy in a few lines.
fn shown(policy: &Artifact) -> String {
    let agent = &policy.agents[0];
    let rules = agent.rules.iter().map(|rule| {
        let program: Vec<String> = rule
            .condition
            .iter()
            .map(|op| match op {
                Op::Test(test) => {
                    let test = &agent.tests[*test as usize];
                    format!("({} {:?})", agent.fields[test.field as usize], test.ask)
                }
                other => format!("{other:?}"),
            })
            .collect();
        format!(
            "\n  {:?} {} if {}",
            rule.effect,
            rule.pattern,
            program.join(" ")
        )
    });
    let rules: String = rules.collect();
    format!(
        "{:?} default {:?}{rules}",
        policy.runtime.mode, agent.default
    )
}

fn check(before: &Artifact, after: &Artifact, exact: bool, random: &mut Random) -> (usize, usize) {
    let comparison = compare(Some(before), after, &SEARCH_ALONE);
    let none = Vec::new();
    let findings = comparison
        .agents
        .first()
        .map_or(&none, |agent| &agent.findings);
    let policies = [Policy::of(before).unwrap(), Policy::of(after).unwrap()];
    let explain = |what: &str| -> ! {
        panic!(
            "{what}\nbefore: {}\nafter: {}\nfindings: {findings:#?}",
            shown(before),
            shown(after)
        )
    };
    for finding in findings {
        let Some(witness) = &finding.witness else {
            if exact {
                explain("cannot decide, where everything is exact");
            }
            continue;
        };
        let given: Vec<(Field, String)> = witness
            .given
            .iter()
            .map(|(_, value)| (Field::Time(TimePart::Hour), value.clone()))
            .collect();
        let real = policies
            .each_ref()
            .map(|policy| answer(policy, &witness.tool, &witness.arguments, &given));
        if real != [finding.before, finding.after] || real[0] == real[1] {
            explain(&format!("the witness {witness:?} shows {real:?}"));
        }
        if (finding.reach == Reach::Wider) != (finding.after < finding.before) {
            explain("the direction is wrong");
        }
    }
    let read = read([before, after]);
    let calls = calls(&read, random);
    let hours: &[&str] = if read.contains("time.hour") {
        &["3", "12"]
    } else {
        &["3"]
    };
    let mut steps = BTreeSet::new();
    for tool in TOOLS {
        let class = class_of([before, after], tool);
        let covers = |finding: &&Finding| {
            let witness = finding.witness.as_ref();
            witness.is_some_and(|witness| class_of([before, after], &witness.tool) == class)
        };
        let unknown = findings.iter().any(|finding| finding.witness.is_none());
        for call in &calls {
            for hour in hours {
                let given = [(Field::Time(TimePart::Hour), (*hour).to_owned())];
                let [old, new] = policies
                    .each_ref()
                    .map(|policy| answer(policy, tool, call, &given));
                if old == new || unknown {
                    continue;
                }
                steps.insert((class.clone(), old, new));
                let known = findings
                    .iter()
                    .filter(covers)
                    .any(|finding| (finding.before, finding.after) == (old, new));
                if !known {
                    explain(&format!(
                        "{tool} {call} at {hour}: {old:?} becomes {new:?}, and nobody says so"
                    ));
                }
            }
        }
    }
    (findings.len(), steps.len())
}

#[test]
fn compare_finds_a_witness_wherever_brute_force_does() {
    let seed = seed();
    let mut random = Random(seed);
    let asks = asks();
    let mut total = (0, 0);
    for _ in 0..PAIRS {
        let before = policy(&mut random, &asks);
        let after = changed(&mut random, &before);
        let (found, forced) = check(&before, &after, true, &mut random);
        total = (total.0 + found, total.1 + forced);
    }
    println!("{} findings, {} by brute force", total.0, total.1);
    assert!(total.1 > 1_000, "the pairs differ: {total:?}");
}

#[test]
fn where_fields_are_compared_with_fields_compare_says_so_or_shows_a_call() {
    let seed = seed();
    let mut random = Random(seed);
    let mut asks = asks();
    let fields = fields();
    let place = |field: &Field| {
        u32::try_from(fields.iter().position(|known| known == field).unwrap()).unwrap()
    };
    let n = args(&["n"]);
    let inner = args(&["o", "n"]);
    for _ in 0..6 {
        asks.push((n.clone(), Ask::CompareField(Relation::Equal, place(&inner))));
        asks.push((
            n.clone(),
            Ask::CompareField(Relation::Order(Order::Less), place(&inner)),
        ));
        asks.push((
            args(&["s"]),
            Ask::CompareField(Relation::Equal, place(&Field::Tool)),
        ));
    }
    for _ in 0..PAIRS / 3 {
        let before = policy(&mut random, &asks);
        let after = changed(&mut random, &before);
        check(&before, &after, false, &mut random);
    }
}

fn of_text(text: &str) -> Artifact {
    let source = SourceFile::new("governance.fms", text);
    let outcome = compile(&source, &Options::default());
    outcome
        .artifact
        .unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
}

fn with_paths(paths: &str) -> Artifact {
    of_text(&format!(
        "agent \"a\" {{ paths {{ {paths} }} rules {{ permit fs/read permit git/push if branch == \"x\" }} }}"
    ))
}

#[test]
fn path_rules_that_only_refuse_more_are_never_wider_and_the_reverse_may_be() {
    let base = "edit_protected [\"ci/**\"] edit_deny [\"k/**\"] edit_allow [\"src/**\", \"ci/**\"]";
    for stricter in [
        "read_exclude [\"src/hr/**\"] edit_protected [\"ci/**\"] edit_deny [\"k/**\"] edit_allow [\"src/**\", \"ci/**\"]",
        "edit_protected [\"ci/**\", \"src/d/**\"] edit_deny [\"k/**\"] edit_allow [\"src/**\", \"ci/**\"]",
        "edit_protected [\"ci/**\"] edit_deny [\"k/**\", \"src/l/**\"] edit_allow [\"src/**\", \"ci/**\"]",
        "edit_protected [\"ci/**\"] edit_deny [\"k/**\"] edit_allow [\"src/**\"]",
    ] {
        let (old, new) = (with_paths(base), with_paths(stricter));
        let narrower = compare(Some(&old), &new, &Limits::default());
        assert!(!narrower.may_be_wider(), "{stricter}: {narrower:#?}");
        assert!(narrower.count(Reach::Narrower) > 0, "{stricter}");
        let wider = compare(Some(&new), &old, &Limits::default());
        assert!(wider.count(Reach::Wider) > 0, "{stricter}: {wider:#?}");
        let undecided = wider.agents.iter().flat_map(|agent| &agent.findings);
        for finding in undecided.filter(|finding| finding.reach == Reach::Undecided) {
            assert!(finding.after < finding.before, "{finding:?}");
        }
    }
    let (old, other) = (with_paths(base), with_paths("edit_deny [\"l/**\"]"));
    assert!(compare(Some(&old), &other, &Limits::default()).may_be_wider());
}

#[test]
fn a_witness_has_no_argument_that_the_difference_does_not_need() {
    let old = with_paths("read_exclude [\"hr/**\"]");
    let new = of_text(
        "agent \"a\" { paths { read_exclude [\"hr/**\"] } rules { permit fs/read permit git/push } }",
    );
    let compared = compare(Some(&old), &new, &Limits::default());
    let shown: Vec<&str> = compared.agents[0]
        .findings
        .iter()
        .filter_map(|finding| finding.witness.as_ref())
        .map(|witness| witness.arguments.as_str())
        .collect();
    assert_eq!(shown, ["{}"], "{compared:#?}");
    let other = with_paths("read_exclude [\"hr/**\", \"pay/**\"]");
    let compared = compare(Some(&old), &other, &Limits::default());
    for finding in &compared.agents[0].findings {
        let witness = finding.witness.as_ref().unwrap();
        let path = match finding.tools.as_str() {
            "git/push" => r#"{"branch":"x","path":"pay/x"}"#,
            _ => r#"{"path":"pay/x"}"#,
        };
        assert_eq!(witness.arguments, path, "{finding:?}");
    }
}
