//! What a decision says, in cases that a person can check by reading `docs/semantics.md`.
#![expect(
    clippy::unwrap_used,
    reason = "a world that cannot be built fails the test"
)]

use faramesh_core::call::accept;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::{Code, Decision, Effect, Input, Resolution};
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::*;
use faramesh_core::policy::trace::{TracedFact, trace};
use faramesh_core::policy::{Policy, SEARCH_STEPS_MAX, Supposed, Truth};
use faramesh_core::record::{
    Attestation, Body, DecisionRecord, Door, LogEvent, SessionStart, Time,
};
use faramesh_core::state::State;

/// A policy of one agent, `bot`, over `args.amount`, `args.path` and `agent`.
struct World {
    artifact: Artifact,
    state: State,
}

/// `amount < 500`
const SMALL: u32 = 0;
/// `path matches "^/etc"`
const ETC: u32 = 1;
/// `has path`
const HAS_PATH: u32 = 2;
/// `agent == "bot"`
const AT: Time = Time {
    wall_ms: 0,
    boot_ms: 0,
};
const IS_BOT: u32 = 3;

fn world() -> World {
    let args = |name: &str| Field::Args(vec![name.to_owned()]);
    let test = |field, ask| Test { field, ask };
    let agent = AgentPolicy {
        name: "bot".to_owned(),
        run_as: None,
        default: Effect::Deny,
        metadata: Vec::new(),
        rules: Vec::new(),
        fields: vec![args("amount"), args("path"), Field::Agent],
        tests: vec![
            test(0, Ask::Compare(Order::Less, Decimal::from(500))),
            test(1, Ask::Matches("^/etc".to_owned())),
            test(1, Ask::Has),
            test(2, Ask::Equals(Literal::String("bot".to_owned()))),
        ],
        ..AgentPolicy::default()
    };
    let runtime = Runtime {
        mode: Mode::Enforce,
        cold_start_deny_window_ms: 30_000,
        reveal_rule: None,
        ..Runtime::default()
    };
    let artifact = Artifact {
        requires: Vec::new(),
        declarations: Vec::new(),
        runtime,
        agents: vec![agent],
    };
    World {
        artifact,
        state: State::new(),
    }
}

impl World {
    fn rule(mut self, effect: RuleEffect, pattern: &str, condition: &[Op]) -> World {
        let rule = Rule {
            effect,
            pattern: pattern.to_owned(),
            condition: condition.to_vec(),
            reason: None,
            notify: Vec::new(),
            reeval: false,
            text: String::new(),
        };
        self.artifact.agents.first_mut().unwrap().rules.push(rule);
        self
    }

    /// Of the last rule.
    fn telling(mut self, reason: &str, team: &str) -> World {
        let rule = self
            .artifact
            .agents
            .first_mut()
            .unwrap()
            .rules
            .last_mut()
            .unwrap();
        rule.reason = Some(reason.to_owned());
        rule.notify = vec![team.to_owned()];
        self
    }

    fn shadow(mut self) -> World {
        self.artifact.runtime.mode = Mode::Shadow;
        self
    }

    fn ask(&self, tool: &str, args: &str) -> Decision {
        self.ask_as(
            &attest(
                accept(tool, "bot", args.as_bytes()).unwrap(),
                Caller::Unattested { uid: 1 },
            )
            .unwrap(),
        )
    }

    fn ask_as(&self, attested: &Attested) -> Decision {
        let mut artifact = self.artifact.clone();
        artifact.requires = capabilities::of(&artifact);
        let policy = Policy::of(&artifact).unwrap();
        decide(
            &Question {
                attested,
                door: Door::Govern,
                now: Time {
                    wall_ms: 0,
                    boot_ms: 0,
                },
                supposed: &Supposed::nothing(),
            },
            &policy,
            &self.state,
        )
    }
}

fn in_session(agent: &str) -> Attested {
    let caller = Caller::Session {
        session: "s1".into(),
        agent: agent.into(),
        uid: 7,
    };
    attest(accept("x", "", b"{}").unwrap(), caller).unwrap()
}

fn session_start(agent: &str) -> Body {
    Body::SessionStart(Box::new(SessionStart {
        session: "s1".to_owned(),
        agent: agent.to_owned(),
        uid: 7,
        pid: 2,
        start_ticks: 3,
        boot_id: String::new(),
        workspace: String::new(),
        cgroup: String::new(),
        command: Vec::new(),
        stripped_env: Vec::new(),
        probes: Vec::new(),
    }))
}

#[test]
fn a_rule_that_applies_permits() {
    let decision = world()
        .rule(RuleEffect::Permit, "pay", &[Op::Test(SMALL)])
        .ask("pay", r#"{"amount":80.0}"#);
    assert_eq!(
        (decision.effect, decision.code, decision.rule),
        (Effect::Permit, None, Some(0))
    );
    assert_eq!(decision.message, "a rule permits `pay`");
    let amount = Input {
        field: "args.amount".to_owned(),
        source: "claimed",
        value: Some("80".to_owned()),
        results: Vec::new(),
    };
    assert_eq!(decision.inputs, [amount]);
}

#[test]
fn where_no_rule_decides_the_default_does_and_says_so() {
    let decision = world().ask("pay", "{}");
    assert_eq!(
        (decision.effect, decision.code, decision.rule),
        (Effect::Deny, Some(Code::PolicyDeny), None)
    );
    assert_eq!(
        decision.message,
        "no rule decides `pay`, and the default is deny"
    );
    assert_eq!(decision.resolution, Resolution::RuleBlock);
}

#[test]
fn a_deferral_waits_for_a_person() {
    let decision = world().rule(RuleEffect::Defer, "pay", &[]).ask("pay", "{}");
    assert_eq!(
        (decision.effect, decision.code),
        (Effect::Defer, Some(Code::PolicyDefer))
    );
    assert_eq!(decision.resolution, Resolution::ManualAudit);
}

#[test]
fn leaving_out_what_a_deny_tests_does_not_help() {
    let world = world()
        .rule(RuleEffect::Deny, "fs/*", &[Op::Test(ETC)])
        .telling("system files", "sec")
        .rule(RuleEffect::Permit, "fs/*", &[]);
    assert_eq!(
        world.ask("fs/read", r#"{"path":"/home"}"#).effect,
        Effect::Permit
    );
    for args in ["{}", r#"{"path":null}"#, r#"{"path":["/etc"]}"#] {
        let decision = world.ask("fs/read", args);
        assert_eq!(
            (decision.effect, decision.code),
            (Effect::Deny, Some(Code::Indeterminate)),
            "{args}"
        );
        assert_eq!(decision.missing, ["args.path"]);
        assert_eq!(decision.notify, ["sec"]);
        assert_eq!(
            decision.message,
            "cannot tell whether a rule applies: `args.path` absent or of another type (system files)"
        );
    }
}

#[test]
fn quoting_a_number_does_not_slip_past_a_comparison() {
    let world = world().rule(RuleEffect::Permit, "pay", &[Op::Test(SMALL)]);
    let decision = world.ask("pay", r#"{"amount":"80"}"#);
    assert_eq!((decision.effect, decision.rule), (Effect::Deny, None));
    assert_eq!(decision.missing, ["args.amount"]);
}

#[test]
fn has_guards_a_test_of_what_may_be_absent_and_nothing_is_missing_then() {
    let guarded = [Op::Test(HAS_PATH), Op::Test(ETC), Op::And];
    let decision = world()
        .rule(RuleEffect::DenyHard, "*", &guarded)
        .rule(RuleEffect::Permit, "x", &[])
        .ask("x", "{}");
    assert_eq!((decision.effect, decision.code), (Effect::Permit, None));
    assert!(decision.missing.is_empty());
}

#[test]
fn deny_hard_beats_a_permit_that_stands_before_it() {
    let decision = world()
        .rule(RuleEffect::Permit, "*", &[])
        .rule(RuleEffect::DenyHard, "rm", &[])
        .ask("rm", "{}");
    assert_eq!((decision.effect, decision.rule), (Effect::Deny, Some(1)));
}

#[test]
fn rules_behind_the_first_that_applies_are_neither_read_nor_told() {
    let world = world()
        .rule(RuleEffect::Permit, "x", &[Op::Test(SMALL)])
        .telling("small", "pay")
        .rule(RuleEffect::Permit, "x", &[Op::Test(ETC)])
        .telling("etc", "sec");
    let decision = world.ask("x", r#"{"amount":1}"#);
    assert_eq!(decision.notify, ["pay"]);
    assert_eq!(decision.inputs.len(), 1);
    assert!(decision.missing.is_empty());
}

#[test]
fn everyone_is_told_whose_rule_of_the_winning_effect_may_apply() {
    let world = world()
        .rule(RuleEffect::Deny, "x", &[Op::Test(SMALL)])
        .telling("a", "pay")
        .rule(RuleEffect::Defer, "x", &[Op::Test(SMALL)])
        .telling("b", "ops")
        .rule(RuleEffect::Deny, "x", &[Op::Test(ETC)])
        .telling("c", "sec");
    assert_eq!(world.ask("x", "{}").notify, ["pay", "sec"]);
}

#[test]
fn shadow_mode_lets_pass_and_says_what_it_would_have_answered() {
    let decision = world()
        .rule(RuleEffect::Deny, "rm", &[])
        .shadow()
        .ask("rm", "{}");
    assert_eq!(
        (decision.effect, decision.would),
        (Effect::Permit, Some(Effect::Deny))
    );
    assert_eq!(decision.code, Some(Code::PolicyDeny));
    assert_eq!(decision.resolution, Resolution::None);
    assert_eq!(
        decision.message,
        "shadow mode: would deny: a rule denies `rm`"
    );
    let permitted = world()
        .rule(RuleEffect::Permit, "ls", &[])
        .shadow()
        .ask("ls", "{}");
    assert_eq!((permitted.effect, permitted.would), (Effect::Permit, None));
}

#[test]
fn shadow_mode_never_shadows_deny_hard_whether_it_applies_or_may() {
    let applies = world()
        .rule(RuleEffect::DenyHard, "rm", &[])
        .shadow()
        .ask("rm", "{}");
    assert_eq!((applies.effect, applies.would), (Effect::Deny, None));
    let may = world()
        .rule(RuleEffect::DenyHard, "rm", &[Op::Test(ETC)])
        .rule(RuleEffect::Deny, "rm", &[])
        .shadow();
    assert_eq!(may.ask("rm", "{}").effect, Effect::Deny);
    assert_eq!(may.ask("rm", r#"{"path":"/home"}"#).effect, Effect::Permit);
}

#[test]
fn an_agent_that_the_policy_does_not_know_is_refused_even_in_shadow_mode() {
    let world = world().rule(RuleEffect::Permit, "*", &[]).shadow();
    for claim in ["", "another"] {
        let attested = attest(
            accept("x", claim, b"{}").unwrap(),
            Caller::Unattested { uid: 1 },
        )
        .unwrap();
        let decision = world.ask_as(&attested);
        assert_eq!(
            (decision.effect, decision.code),
            (Effect::Deny, Some(Code::IdentityUnverified))
        );
    }
}

#[test]
fn a_session_decides_only_while_the_journal_knows_it_as_that_agent() {
    let mut world = world().rule(RuleEffect::Permit, "*", &[]);
    assert_eq!(
        world.ask_as(&in_session("bot")).code,
        Some(Code::IdentityUnverified)
    );
    world.state.apply(0, AT, &session_start("bot")).unwrap();
    assert_eq!(world.ask_as(&in_session("bot")).effect, Effect::Permit);
    assert_eq!(
        world.ask_as(&in_session("other")).code,
        Some(Code::IdentityUnverified)
    );
    world
        .state
        .apply(
            1,
            AT,
            &Body::SessionEnd {
                session: "s1".to_owned(),
                reason: String::new(),
                calls: 1,
            },
        )
        .unwrap();
    assert_eq!(
        world.ask_as(&in_session("bot")).code,
        Some(Code::IdentityUnverified)
    );
}

#[test]
fn a_session_counts_the_decisions_it_was_given() {
    let mut world = world().rule(RuleEffect::Permit, "*", &[]);
    world.state.apply(0, AT, &session_start("bot")).unwrap();
    let record = DecisionRecord {
        session: Some("s1".to_owned()),
        agent: "bot".to_owned(),
        attested: true,
        uid: 7,
        door: Door::Govern,
        tool: "x".to_owned(),
        policy: [0; 32],
        decision: world.ask_as(&in_session("bot")),
        effects: Vec::new(),
        arguments: "{}".to_owned(),
        args_salt: [0; 16],
        detail_salt: [0; 16],
    };
    world
        .state
        .apply(1, AT, &Body::Decision(Box::new(record)))
        .unwrap();
    assert_eq!(
        world.state.session("s1").map(|session| session.calls()),
        Some(1)
    );
}

#[test]
fn the_agents_name_is_a_fact_in_a_session_and_a_claim_outside() {
    let mut world = world().rule(RuleEffect::Permit, "*", &[Op::Test(IS_BOT)]);
    world.state.apply(0, AT, &session_start("bot")).unwrap();
    let source = |decision: &Decision| decision.inputs.first().map(|input| input.source);
    assert_eq!(source(&world.ask_as(&in_session("bot"))), Some("daemon"));
    assert_eq!(source(&world.ask("x", "{}")), Some("claimed"));
}

/// The attack: a long text and an expression that takes long on it would keep everybody waiting.
#[test]
fn a_text_that_is_too_long_to_search_helps_nobody() {
    let path = |length: usize| format!(r#"{{"path":"/home/{}"}}"#, "a".repeat(length - 6));
    let permits = world().rule(RuleEffect::Permit, "*", &[Op::Test(ETC), Op::Not]);
    assert_eq!(permits.ask("x", &path(32_768)).effect, Effect::Permit);
    let long = permits.ask("x", &path(32_769));
    assert_eq!(
        (long.effect, long.missing),
        (Effect::Deny, vec!["args.path".to_owned()])
    );
    let denies = world()
        .rule(RuleEffect::DenyHard, "*", &[Op::Test(ETC)])
        .rule(RuleEffect::Permit, "*", &[]);
    assert_eq!(denies.ask("x", &path(32_768)).effect, Effect::Permit);
    assert_eq!(
        denies.ask("x", &path(32_769)).code,
        Some(Code::Indeterminate)
    );
}

/// A policy of one tool whose rules ask one argument, each something else.
fn asking(effect: RuleEffect, asks: impl Iterator<Item = Ask>) -> Policy {
    let tests: Vec<Test> = asks.map(|ask| Test { field: 0, ask }).collect();
    let rule = |test: u32| Rule {
        effect,
        pattern: "x".to_owned(),
        condition: vec![Op::Test(test)],
        reason: None,
        notify: Vec::new(),
        reeval: false,
        text: String::new(),
    };
    let mut artifact = Artifact {
        requires: Vec::new(),
        runtime: Runtime::default(),
        agents: vec![AgentPolicy {
            rules: (0..).zip(&tests).map(|(test, _)| rule(test)).collect(),
            fields: vec![Field::Args(vec!["path".to_owned()])],
            tests,
            default: Effect::Permit,
            ..AgentPolicy::default()
        }],
        declarations: Vec::new(),
    };
    artifact.requires = capabilities::of(&artifact);
    Policy::of(&artifact).unwrap()
}

/// The decision, and how many tests of how many came out as anything but *maybe*.
fn searched(policy: &Policy, path: &str) -> (Decision, usize) {
    let arguments = format!(r#"{{"path":{path}}}"#);
    let attested = attest(
        accept("x", "", arguments.as_bytes()).unwrap(),
        Caller::Unattested { uid: 1 },
    )
    .unwrap();
    let (state, nothing) = (State::new(), Supposed::nothing());
    let question = Question {
        attested: &attested,
        door: Door::Govern,
        now: AT,
        supposed: &nothing,
    };
    let decision = decide(&question, policy, &state);
    let told = trace(&question, policy, &state)
        .unwrap()
        .iter()
        .filter(|rule| rule.truth != Some(Truth::Maybe))
        .count();
    (decision, told)
}

/// The attack: as many of the slowest expressions as an agent may have, and a text as long as is searched.
#[test]
fn a_decision_searches_no_more_than_its_budget_and_cannot_tell_the_rest() {
    let source = |n: usize| format!("[ab]*a[ab]{{20}}c{n}");
    let text = format!("\"{}\"", "ab".repeat(SEARCHED_BYTES_MAX / 2));
    let steps = compile_expression("", &source(100))
        .unwrap()
        .steps(text.trim_matches('"'))
        .unwrap();
    let fit = usize::try_from(SEARCH_STEPS_MAX).unwrap() / steps;
    assert_eq!(fit, 2);
    let of = |count: usize| {
        let asks = (100..100 + count).map(|n| Ask::Matches(source(n)));
        asking(RuleEffect::Deny, asks)
    };
    let (decision, told) = searched(&of(fit), &text);
    assert_eq!((decision.effect, told), (Effect::Permit, fit));
    let many = of(899);
    let (decision, told) = searched(&many, &text);
    assert_eq!((decision.code, told), (Some(Code::Indeterminate), fit));
    assert_eq!(decision.missing, ["args.path"]);
    // The same bytes come to the same decision; and a permit beyond the budget is none.
    assert_eq!(searched(&many, &text).0, decision);
    let asks = (100..200).map(|n| Ask::Matches(source(n)));
    let mut permits = asking(RuleEffect::Permit, asks).artifact().clone();
    permits.agents.first_mut().unwrap().default = Effect::Deny;
    let (decision, _) = searched(&Policy::of(&permits).unwrap(), &text);
    assert_eq!(decision.effect, Effect::Deny);
}

#[test]
fn a_hundred_small_expressions_search_the_longest_text() {
    let asks = (0..1_000).map(|n| Ask::Matches(format!("^rm -rf (/etc|/home/[a-z]+/{n})$")));
    let policy = asking(RuleEffect::Deny, asks);
    let text = format!("\"{}\"", "ab".repeat(SEARCHED_BYTES_MAX / 2));
    assert_eq!(searched(&policy, &text).1, 1_000);
}

/// A name, a value, what is asked of it, and how often that fits.
type Kind<'a> = (&'a str, &'a str, fn(usize) -> Ask, usize);

/// Each kind of test whose work grows with the value ends where the budget does, and what is left serves the shorter.
#[test]
fn every_walk_through_a_long_value_is_taken_from_the_budget() {
    let text = |n: usize| Literal::String(format!("no {n}"));
    let long = format!("\"{}\"", "ab".repeat(500_000));
    let list = format!("[{}1]", "\"ab\",".repeat(200_000));
    let kinds: [Kind<'_>; 5] = [
        (
            "contains",
            &long,
            |n| Ask::Contains(Literal::String(format!("no {n}"))),
            49,
        ),
        (
            "glob",
            &long,
            |n| Ask::Glob(Glob::Text, format!("*no {n}*")),
            49,
        ),
        (
            "path",
            &long,
            |n| Ask::Glob(Glob::Path, format!("no/{n}/*")),
            49,
        ),
        (
            "starts",
            &long,
            |n| Ask::StartsWith(format!("no {n}")),
            1_000,
        ),
        (
            "in",
            &long,
            |n| Ask::In(vec![Literal::String(format!("no {n}"))]),
            1_000,
        ),
    ];
    for (name, value, ask, fit) in kinds {
        let policy = asking(RuleEffect::Deny, (0..1_000).map(ask));
        let (decision, told) = searched(&policy, value);
        assert_eq!(told, fit, "{name}");
        let indeterminate = (fit < 1_000).then_some(Code::Indeterminate);
        assert_eq!(decision.code, indeterminate, "{name}");
    }
    // Of a list each element is a step, and its bytes: the last one, a number, makes each test maybe in any case.
    let policy = asking(RuleEffect::Deny, (0..1_000).map(|n| Ask::Contains(text(n))));
    assert_eq!(searched(&policy, &list).0.code, Some(Code::Indeterminate));
    let short = searched(&policy, "[\"ab\"]");
    assert_eq!((short.0.effect, short.1), (Effect::Permit, 1_000));
}

/// The attack: globs of stars only, put to very many short texts, took a search for each star and one step for each text;
/// members of large objects took one for each letter.
#[test]
fn globs_of_many_stars_and_members_of_large_objects_are_counted_at_what_they_take() {
    let list = format!("[{}\"\"]", "\"\",".repeat(200_000));
    let asks = (0..100).map(|n| Ask::AnyGlob(format!("{}x{n}", "*".repeat(1_000))));
    let (decision, told) = searched(&asking(RuleEffect::Deny, asks), &list);
    assert_eq!((decision.code, told), (Some(Code::Indeterminate), 0));
    let text = format!("\"{}\"", "z".repeat(20_000));
    let asks = (0..1_000).map(|n| Ask::Glob(Glob::Text, format!("{}x{n}", "*z".repeat(1_500))));
    let (decision, told) = searched(&asking(RuleEffect::Deny, asks), &text);
    assert_eq!(decision.code, Some(Code::Indeterminate));
    assert!(told < 1_000, "{told}");
    // Short globs on short texts are as many as there are.
    let asks = (0..1_000).map(|n| Ask::Glob(Glob::Text, format!("*/x{n}/*.rs")));
    assert_eq!(
        searched(&asking(RuleEffect::Deny, asks), "\"src/a.rs\"").1,
        1_000
    );
}

/// The attack: what else a policy looks at was told to the agent.
#[test]
fn an_agent_is_told_of_missing_fields_only_where_they_are_its_own_arguments() {
    use faramesh_core::pipeline::shown_to_agent;
    let message = "cannot tell whether a rule applies: `args.a`, `enforcement.landlock` absent or of another type (why)";
    let missing = ["args.a".to_owned(), "enforcement.landlock".to_owned()];
    let (shown, own) = shown_to_agent(message, &missing);
    assert_eq!(own, ["args.a"]);
    assert_eq!(
        shown,
        "cannot tell whether a rule applies: `args.a` absent or of another type (why)"
    );
    let message =
        "cannot tell whether a rule applies: `enforcement.landlock` absent or of another type";
    let (shown, own) = shown_to_agent(message, &missing[1..]);
    assert!(own.is_empty() && !shown.contains("landlock"), "{shown}");
}

/// The law behind the journal: what a decision read is what it rests on, the budget included.
#[test]
fn a_decision_beyond_its_budget_is_made_again_from_its_inputs_alone() {
    let asks = (100..200).map(|n| Ask::Matches(format!("[ab]*a[ab]{{20}}c{n}")));
    let policy = asking(RuleEffect::Deny, asks);
    let text = format!("\"{}\"", "ab".repeat(SEARCHED_BYTES_MAX / 2));
    let (decision, _) = searched(&policy, &text);
    let input = decision.inputs.first().unwrap();
    assert_eq!((decision.inputs.len(), &*input.field), (1, "args.path"));
    let (again, _) = searched(&policy, input.value.as_deref().unwrap());
    assert_eq!(again, decision);
}

#[test]
fn a_trace_says_of_every_rule_why_it_did_or_did_not_decide() {
    let world = world()
        .rule(RuleEffect::Permit, "pay", &[Op::Test(SMALL)])
        .rule(RuleEffect::Permit, "fs/*", &[])
        .rule(
            RuleEffect::DenyHard,
            "*",
            &[Op::Test(HAS_PATH), Op::Test(ETC), Op::And],
        )
        .rule(RuleEffect::Deny, "*", &[]);
    let mut artifact = world.artifact.clone();
    artifact.requires = capabilities::of(&artifact);
    let policy = Policy::of(&artifact).unwrap();
    let call = accept("pay", "bot", br#"{"amount":80.0}"#).unwrap();
    let question = Question {
        attested: &attest(call, Caller::Unattested { uid: 1 }).unwrap(),
        door: Door::Govern,
        now: Time {
            wall_ms: 0,
            boot_ms: 0,
        },
        supposed: &Supposed::nothing(),
    };
    let traced = trace(&question, &policy, &world.state).unwrap();
    let told: Vec<_> = traced
        .iter()
        .map(|it| {
            (
                it.number,
                it.speaks,
                it.truth,
                it.passed_over,
                it.tests.len(),
            )
        })
        .collect();
    let expected = [
        (2, true, Some(Truth::No), false, 2),
        (0, true, Some(Truth::Yes), false, 1),
        (1, false, None, true, 0),
        (3, true, Some(Truth::Yes), true, 0),
    ];
    assert_eq!(told, expected);
    let amount = TracedFact {
        field: "args.amount".to_owned(),
        source: "claimed",
        value: Some("80".to_owned()),
        undeclared: false,
    };
    let of_permit = traced.get(1).and_then(|rule| rule.tests.first()).unwrap();
    assert_eq!(
        (of_permit.truth, &of_permit.facts),
        (Truth::Yes, &vec![amount])
    );
    let etc = traced.first().and_then(|rule| rule.tests.get(1)).unwrap();
    assert_eq!(etc.truth, Truth::Maybe);
    assert_eq!(etc.facts.first().and_then(|fact| fact.value.clone()), None);
}

/// A world whose first record was written at 1,000 ms, with a policy that lets it wait for a minute.
fn waiting(on_lag: OnLag, attested: bool) -> World {
    let mut world =
        world()
            .rule(RuleEffect::Permit, "crm/read", &[])
            .rule(RuleEffect::Defer, "crm/write", &[]);
    world.artifact.runtime.anchor = Some(Anchor {
        quorum: 1,
        max_lag_ms: 60_000,
        on_lag,
    });
    let at = |boot_ms| Time {
        wall_ms: 0,
        boot_ms,
    };
    let heartbeat = Body::Log(LogEvent::Heartbeat);
    world.state.apply(0, at(1_000), &heartbeat).unwrap();
    if attested {
        let attestation = Body::Log(LogEvent::Attestation(Attestation {
            size: 1,
            root: [0; 32],
            witnesses: Vec::new(),
            note: String::new(),
        }));
        world.state.apply(1, at(2_000), &attestation).unwrap();
    }
    world
}

impl World {
    fn ask_at(&self, tool: &str, boot_ms: u64) -> Decision {
        let mut artifact = self.artifact.clone();
        artifact.requires = capabilities::of(&artifact);
        let call = accept(tool, "bot", b"{}").unwrap();
        let question = Question {
            attested: &attest(call, Caller::Unattested { uid: 1 }).unwrap(),
            door: Door::Govern,
            now: Time {
                wall_ms: 0,
                boot_ms,
            },
            supposed: &Supposed::nothing(),
        };
        decide(&question, &Policy::of(&artifact).unwrap(), &self.state)
    }
}

#[test]
fn while_the_journal_waits_too_long_for_its_witnesses_every_call_is_refused() {
    let world = waiting(OnLag::Deny, false);
    assert_eq!(world.ask_at("crm/read", 61_000).effect, Effect::Permit);
    for tool in ["crm/read", "crm/write", "other/tool"] {
        let decision = world.ask_at(tool, 61_001);
        assert_eq!(decision.effect, Effect::Deny, "{tool}");
        assert_eq!(decision.code, Some(Code::JournalUnavailable), "{tool}");
        assert!(
            decision.message.contains("for 60 s"),
            "{}",
            decision.message
        );
    }
    assert_eq!(
        world.shadow().ask_at("crm/read", 61_001).effect,
        Effect::Deny,
        "shadow mode is no way around it"
    );
}

#[test]
fn with_defer_a_permit_waits_and_nothing_becomes_milder() {
    let world = waiting(OnLag::Defer, false);
    let decision = world.ask_at("crm/read", 61_001);
    assert_eq!(decision.effect, Effect::Defer);
    assert_eq!(decision.code, Some(Code::JournalUnavailable));
    let written = world.ask_at("crm/write", 61_001);
    assert_eq!(written.code, Some(Code::PolicyDefer));
    assert_eq!(world.ask_at("other/tool", 61_001).effect, Effect::Deny);
}

#[test]
fn what_is_attested_waits_for_nobody_and_a_warning_stops_nothing() {
    for on_lag in [OnLag::Deny, OnLag::Defer] {
        let decision = waiting(on_lag, true).ask_at("crm/read", 9_000_000);
        assert_eq!(decision.effect, Effect::Permit, "{on_lag:?}");
    }
    let decision = waiting(OnLag::Warn, false).ask_at("crm/read", 9_000_000);
    assert_eq!(decision.effect, Effect::Permit);
    let mut unasked = waiting(OnLag::Deny, false);
    unasked.artifact.runtime.anchor = None;
    assert_eq!(unasked.ask_at("crm/read", 9_000_000).effect, Effect::Permit);
}
