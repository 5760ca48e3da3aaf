//! The decision against its slow, obvious twin: a linear interpreter written from `docs/semantics.md` alone, on
//! generated policies and calls; and the laws of that page on the same ground.
//!
//! Replay a failure with `FARAMESH_SEED=<seed> cargo test -p faramesh-core --test twin`.
#![expect(
    clippy::unwrap_used,
    reason = "what the generator makes is valid by construction; else the test must fail"
)]
#![expect(clippy::indexing_slicing, reason = "the same")]

use faramesh_core::call::accept;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::{Code, Decision, Effect};
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::*;
use faramesh_core::policy::{Policy, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use std::collections::{BTreeMap, BTreeSet};

const POLICIES: usize = 1_250;
const CALLS_PER_POLICY: usize = 20;

// ---- chance -----------------------------------------------------------------------------------------------------

/// SplitMix64: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn new(test: &str) -> Chance {
        let fresh = || {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(32)
        };
        let seed =
            std::env::var("FARAMESH_SEED").map_or_else(|_| fresh(), |text| text.parse().unwrap());
        println!("{test}: FARAMESH_SEED={seed}");
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

// ---- values: the twin's own ---------------------------------------------------------------------------------------

/// A JSON value as the twin sees it. Numbers are hundredths.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Hundredths(i64),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

impl Json {
    /// Canonical text; keys and strings are plain ASCII words here.
    fn canonical(&self) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Hundredths(n) => hundredths(*n),
            Json::Text(text) => format!("\"{text}\""),
            Json::List(items) => format!(
                "[{}]",
                items
                    .iter()
                    .map(Json::canonical)
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            Json::Map(map) => {
                let member =
                    |(key, value): (&String, &Json)| format!("\"{key}\":{}", value.canonical());
                format!(
                    "{{{}}}",
                    map.iter().map(member).collect::<Vec<_>>().join(",")
                )
            }
        }
    }
}

fn hundredths(n: i64) -> String {
    let sign = if n < 0 { "-" } else { "" };
    let (whole, rest) = (n.abs() / 100, n.abs() % 100);
    match (rest, rest % 10) {
        (0, _) => format!("{sign}{whole}"),
        (_, 0) => format!("{sign}{whole}.{}", rest / 10),
        _ => format!("{sign}{whole}.{rest:02}"),
    }
}

fn decimal(n: i64) -> Decimal {
    Decimal::parse(&hundredths(n)).unwrap()
}

// ---- the twin -----------------------------------------------------------------------------------------------------

type Kleene = Option<bool>;

fn and(a: Kleene, b: Kleene) -> Kleene {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn not(a: Kleene) -> Kleene {
    a.map(|a| !a)
}

fn or(a: Kleene, b: Kleene) -> Kleene {
    not(and(not(a), not(b)))
}

fn any_of(items: impl Iterator<Item = Kleene>) -> Kleene {
    let mut result = Some(false);
    for item in items {
        result = or(result, item);
    }
    result
}

struct Asked<'a> {
    tool: &'a str,
    agent: &'a str,
    args: &'a Json,
}

#[derive(Debug, PartialEq)]
struct Answer {
    effect: Effect,
    would: Option<Effect>,
    code: Option<Code>,
    rule: Option<u32>,
    missing: BTreeSet<String>,
    notify: BTreeSet<String>,
    inputs: BTreeMap<String, Option<String>>,
}

/// Characters one by one, every split tried.
fn twin_matches(pattern: &str, tool: &str) -> bool {
    fn go(p: &[char], t: &[char]) -> bool {
        match (p, t) {
            ([], []) => true,
            (['*'], [_, ..]) if !t.contains(&'/') => true,
            (['*', rest @ ..], [c, ..]) => {
                *c != '/'
                    && (1..=t.len())
                        .take_while(|n| t[n - 1] != '/')
                        .any(|n| go(rest, &t[n..]))
            }
            ([a, rest @ ..], [b, others @ ..]) => a == b && go(rest, others),
            _ => false,
        }
    }
    if pattern == "*" {
        return true;
    }
    let tool: Vec<char> = tool.chars().collect();
    if let Some(head) = pattern.strip_suffix("/*") {
        let head: Vec<char> = head.chars().collect();
        let slashes = tool
            .iter()
            .enumerate()
            .filter(|(_, c)| **c == '/')
            .map(|(at, _)| at);
        return slashes
            .into_iter()
            .any(|at| at + 1 < tool.len() && go(&head, &tool[..at]));
    }
    go(&pattern.chars().collect::<Vec<_>>(), &tool)
}

fn field_name(field: &Field) -> String {
    match field {
        Field::Args(path) => format!("args.{}", path.join(".")),
        Field::Tool => "tool".to_owned(),
        Field::Agent => "agent".to_owned(),
        other => unreachable!("{other} is not generated"),
    }
}

fn twin_value(field: &Field, question: &Asked<'_>) -> Option<Json> {
    let path = match field {
        Field::Tool => return Some(Json::Text(question.tool.to_owned())),
        Field::Agent => return Some(Json::Text(question.agent.to_owned())),
        Field::Args(path) => path,
        other => unreachable!("{other} is not generated"),
    };
    let mut value = question.args.clone();
    for name in path {
        let Json::Map(map) = value else { return None };
        value = map.get(name)?.clone();
    }
    if value == Json::Null {
        None
    } else {
        Some(value)
    }
}

fn literal(literal: &Literal) -> Json {
    match literal {
        Literal::Bool(value) => Json::Bool(*value),
        Literal::Number(number) => Json::Hundredths(to_hundredths(number)),
        Literal::String(text) => Json::Text(text.clone()),
    }
}

fn to_hundredths(number: &Decimal) -> i64 {
    (number.to_string().parse::<f64>().unwrap() * 100.0).round() as i64
}

fn twin_equal(a: &Json, b: &Json) -> Kleene {
    match (a, b) {
        (Json::Null, _) | (_, Json::Null) => None,
        (Json::List(a), Json::List(b)) => {
            let mut pairs: Vec<Kleene> = a.iter().zip(b).map(|(a, b)| twin_equal(a, b)).collect();
            pairs.push(Some(a.len() == b.len()));
            twin_all(&pairs)
        }
        (Json::Map(a), Json::Map(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let member = |map: &BTreeMap<String, Json>, key| map.get(key).cloned();
            let pairs: Vec<Kleene> = keys
                .into_iter()
                .map(|key| twin_equal(&member(a, key)?, &member(b, key)?))
                .collect();
            twin_all(&pairs)
        }
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Some(a == b),
        _ => None,
    }
}

/// Whether all are yes: a no decides, else a maybe.
fn twin_all(pairs: &[Kleene]) -> Kleene {
    if pairs.contains(&Some(false)) {
        Some(false)
    } else if pairs.contains(&None) {
        None
    } else {
        Some(true)
    }
}

fn twin_order(order: Order, a: &Json, b: &Json) -> Kleene {
    let (Json::Hundredths(a), Json::Hundredths(b)) = (a, b) else {
        return None;
    };
    Some(match order {
        Order::Less => a < b,
        Order::LessOrEqual => a <= b,
        Order::Greater => a > b,
        Order::GreaterOrEqual => a >= b,
    })
}

fn twin_test(ask: &Ask, value: Option<Json>) -> Kleene {
    if *ask == Ask::Has {
        return Some(value.is_some());
    }
    let value = value?;
    match (ask, &value) {
        (Ask::Equals(asked), _) => twin_equal(&value, &literal(asked)),
        (Ask::Compare(order, bound), _) => {
            twin_order(*order, &value, &Json::Hundredths(to_hundredths(bound)))
        }
        (Ask::In(list), _) => any_of(list.iter().map(|item| twin_equal(&value, &literal(item)))),
        (Ask::Matches(source), Json::Text(text)) => {
            (text.len() <= 32_768).then(|| regex::Regex::new(source).unwrap().is_match(text))
        }
        (Ask::Contains(Literal::String(part)), Json::Text(text)) => Some(text.contains(part)),
        (Ask::Contains(part), Json::List(items)) => {
            any_of(items.iter().map(|item| twin_equal(item, &literal(part))))
        }
        (Ask::IsTrue, Json::Bool(value)) => Some(*value),
        _ => None,
    }
}

/// One test, with the names of the fields at fault where it is *maybe*.
fn twin_put(agent: &AgentPolicy, test: &Test, question: &Asked<'_>, answer: &mut Answer) -> Kleene {
    let mut read = |field: u32| {
        let field = &agent.fields[field as usize];
        let value = twin_value(field, question);
        answer
            .inputs
            .insert(field_name(field), value.as_ref().map(Json::canonical));
        (field_name(field), value)
    };
    let (name, value) = read(test.field);
    let Ask::CompareField(relation, other) = &test.ask else {
        let truth = twin_test(&test.ask, value);
        if truth.is_none() {
            answer.missing.insert(name);
        }
        return truth;
    };
    let (other_name, other) = read(*other);
    let unfit = |value: &Option<Json>| match relation {
        Relation::Equal => value.is_none(),
        _ => !matches!(value, Some(Json::Hundredths(_))),
    };
    let truth = match (relation, &value, &other) {
        (Relation::Equal, Some(a), Some(b)) => twin_equal(a, b),
        (Relation::Order(order), Some(a), Some(b)) => twin_order(*order, a, b),
        _ => None,
    };
    if truth.is_none() {
        let both = !unfit(&value) && !unfit(&other);
        answer
            .missing
            .extend((both || unfit(&value)).then_some(name));
        answer
            .missing
            .extend((both || unfit(&other)).then_some(other_name));
    }
    truth
}

fn twin_condition(
    agent: &AgentPolicy,
    rule: &Rule,
    question: &Asked<'_>,
    answer: &mut Answer,
) -> Kleene {
    let mut stack = Vec::new();
    for op in &rule.condition {
        let value = match op {
            Op::Test(test) => twin_put(agent, &agent.tests[*test as usize], question, answer),
            Op::Const(value) => Some(*value),
            Op::Not => not(stack.pop().unwrap()),
            Op::And => {
                let (b, a) = (stack.pop().unwrap(), stack.pop().unwrap());
                and(a, b)
            }
            Op::Or => {
                let (b, a) = (stack.pop().unwrap(), stack.pop().unwrap());
                or(a, b)
            }
        };
        stack.push(value);
    }
    stack.pop().unwrap_or(Some(true))
}

/// The page's loop, word for word; also what first match alone would have said.
fn twin(artifact: &Artifact, question: &Asked<'_>) -> (Answer, Effect) {
    let agent = artifact
        .agents
        .iter()
        .find(|agent| agent.name == question.agent)
        .unwrap();
    let mut answer = Answer {
        effect: agent.default,
        would: None,
        code: None,
        rule: None,
        missing: BTreeSet::new(),
        notify: BTreeSet::new(),
        inputs: BTreeMap::new(),
    };
    let numbered = || agent.rules.iter().enumerate();
    let hard = numbered().filter(|(_, rule)| rule.effect == RuleEffect::DenyHard);
    let others = numbered().filter(|(_, rule)| rule.effect != RuleEffect::DenyHard);
    let (mut best, mut base, mut possible) = (None, None, Vec::new());
    for (number, rule) in hard
        .chain(others)
        .filter(|(_, rule)| twin_matches(&rule.pattern, question.tool))
    {
        match twin_condition(agent, rule, question, &mut answer) {
            Some(false) => continue,
            None => {
                possible.push(rule);
                if best.is_none_or(|(_, best): (usize, &Rule)| {
                    rule.effect.effect() > best.effect.effect()
                }) {
                    best = Some((number, rule));
                }
            }
            Some(true) => {
                possible.push(rule);
                base = Some((number, rule));
                break;
            }
        }
    }
    let base_effect = base.map_or(agent.default, |(_, rule)| rule.effect.effect());
    let best = best.filter(|(_, rule)| rule.effect.effect() > base_effect);
    let rule = best.or(base);
    answer.rule = rule.map(|(number, _)| number as u32);
    answer.effect = best.map_or(base_effect, |(_, rule)| rule.effect.effect());
    answer.code = match answer.effect {
        _ if best.is_some() => Some(Code::Indeterminate),
        Effect::Permit => None,
        Effect::Defer => Some(Code::PolicyDefer),
        Effect::Deny => Some(Code::PolicyDeny),
    };
    for rule in possible
        .iter()
        .filter(|rule| rule.effect.effect() == answer.effect)
    {
        answer.notify.extend(rule.notify.iter().cloned());
    }
    let hard = possible
        .iter()
        .any(|rule| rule.effect == RuleEffect::DenyHard);
    if artifact.runtime.mode == Mode::Shadow && !hard && answer.effect != Effect::Permit {
        answer.would = Some(answer.effect);
        answer.effect = Effect::Permit;
    }
    (answer, base_effect)
}

// ---- generated policies and calls -----------------------------------------------------------------------------------

/// What a generated policy may hold.
#[derive(Clone, Copy)]
struct Shape {
    /// Tests may be of another type than their field's.
    mixed_types: bool,
    /// `has` may stand in conditions.
    has: bool,
}

const ANYTHING: Shape = Shape {
    mixed_types: true,
    has: true,
};
const MONOTONE: Shape = Shape {
    mixed_types: false,
    has: false,
};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    Text,
    Bool,
    Texts,
}

/// Sorted as the artifact wants its fields.
fn fields() -> Vec<(Field, Kind)> {
    let args = |path: &[&str]| Field::Args(path.iter().map(|name| (*name).to_owned()).collect());
    vec![
        (args(&["amount"]), Kind::Number),
        (args(&["cmd"]), Kind::Text),
        (args(&["flag"]), Kind::Bool),
        (args(&["limit"]), Kind::Number),
        (args(&["tags"]), Kind::Texts),
        (args(&["to", "domain"]), Kind::Text),
        (args(&["to", "size"]), Kind::Number),
        (Field::Tool, Kind::Text),
        (Field::Agent, Kind::Text),
    ]
}

const WORDS: [&str; 6] = ["a", "ab", "b", "80", "rm", "x.example"];
const NUMBERS: [i64; 6] = [0, 8000, 8001, 50_000, -250, 10];
const TOOLS: [&str; 10] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "a/b/c/d",
    "ab/b",
    "b/ab",
    "a/ab",
    "ab/ba/ab",
    "1/2/3/4/5/6/7/8",
];
const PATTERNS: [&str; 20] = [
    "*",
    "a",
    "b",
    "a/b",
    "a/*",
    "a/b/*",
    "*/b",
    "a*/b",
    "a/*/c",
    "*b/*",
    "a/*b",
    "b/*",
    "a/b/c",
    "ab/*a/*b",
    "*/*",
    "a/b*",
    "1/2/3/4/5/6/7/*",
    "1/2/3/4/5/6/*",
    "a*",
    "1/*/3/*",
];

fn literal_of(kind: Kind, chance: &mut Chance) -> Literal {
    match kind {
        Kind::Number => Literal::Number(decimal(chance.pick(&NUMBERS))),
        Kind::Bool => Literal::Bool(chance.one_in(2)),
        Kind::Text | Kind::Texts => Literal::String(chance.pick(&WORDS).to_owned()),
    }
}

fn test(shape: Shape, chance: &mut Chance) -> Test {
    let fields = fields();
    let field = chance.below(fields.len());
    let mut kind = fields[field].1;
    if shape.mixed_types && chance.one_in(4) {
        kind = chance.pick(&[Kind::Number, Kind::Text, Kind::Bool, Kind::Texts]);
    }
    let order = chance.pick(&[
        Order::Less,
        Order::LessOrEqual,
        Order::Greater,
        Order::GreaterOrEqual,
    ]);
    let ask = match (kind, chance.below(4)) {
        _ if shape.has && chance.one_in(6) => Ask::Has,
        (Kind::Texts, _) => Ask::Contains(literal_of(Kind::Text, chance)),
        (_, 0) => Ask::Equals(literal_of(kind, chance)),
        (_, 1) => {
            let list: BTreeSet<Literal> = (0..=chance.below(4))
                .map(|_| literal_of(kind, chance))
                .collect();
            Ask::In(list.into_iter().collect())
        }
        (_, 2) => {
            let like = |other: &usize| {
                fields[*other].1 == kind || (shape.mixed_types && other.is_multiple_of(2))
            };
            let others: Vec<usize> = (0..fields.len()).filter(like).collect();
            let relation = if kind == Kind::Number && chance.one_in(2) {
                Relation::Order(order)
            } else {
                Relation::Equal
            };
            Ask::CompareField(relation, chance.pick(&others) as u32)
        }
        (Kind::Number, _) => Ask::Compare(order, decimal(chance.pick(&NUMBERS))),
        (Kind::Bool, _) => Ask::IsTrue,
        (Kind::Text, _) if chance.one_in(2) => Ask::Contains(literal_of(kind, chance)),
        (Kind::Text, _) => {
            Ask::Matches(chance.pick(&["^a", "b$", "^(rm|80)$", "[0-9]+"]).to_owned())
        }
    };
    Test {
        field: field as u32,
        ask,
    }
}

fn condition(tests: usize, depth: usize, chance: &mut Chance, out: &mut Vec<Op>) {
    match chance.below(if depth == 0 { 2 } else { 6 }) {
        0 if chance.one_in(8) => out.push(Op::Const(chance.one_in(2))),
        0 | 1 => out.push(Op::Test(chance.below(tests) as u32)),
        2 => {
            condition(tests, depth - 1, chance, out);
            out.push(Op::Not);
        }
        _ => {
            condition(tests, depth - 1, chance, out);
            condition(tests, depth - 1, chance, out);
            out.push(chance.pick(&[Op::And, Op::Or]));
        }
    }
}

fn rule(tests: usize, patterns: &[&str], chance: &mut Chance) -> Rule {
    let mut ops = Vec::new();
    if !chance.one_in(4) {
        condition(tests, 3, chance, &mut ops);
    }
    let teams = ["ops", "pay", "sec"];
    Rule {
        effect: chance.pick(&[
            RuleEffect::Permit,
            RuleEffect::Permit,
            RuleEffect::Defer,
            RuleEffect::Deny,
            RuleEffect::DenyHard,
        ]),
        pattern: chance.pick(patterns).to_owned(),
        condition: ops,
        reason: chance.one_in(3).then(|| "because".to_owned()),
        notify: teams
            .iter()
            .filter(|_| chance.one_in(3))
            .map(|team| (*team).to_owned())
            .collect(),
        reeval: false,
        text: String::new(),
    }
}

fn artifact(shape: Shape, patterns: &[&str], chance: &mut Chance) -> Artifact {
    let mut tests: Vec<Test> = Vec::new();
    for _ in 0..6 {
        let test = test(shape, chance);
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    let rules = (0..chance.below(9))
        .map(|_| rule(tests.len(), patterns, chance))
        .collect();
    let agent = AgentPolicy {
        name: "bot".to_owned(),
        run_as: None,
        default: chance.pick(&[Effect::Permit, Effect::Defer, Effect::Deny]),
        metadata: Vec::new(),
        rules,
        fields: fields().into_iter().map(|(field, _)| field).collect(),
        tests,
        ..AgentPolicy::default()
    };
    let mut artifact = Artifact {
        requires: Vec::new(),
        declarations: Vec::new(),
        runtime: Runtime {
            mode: if chance.one_in(3) {
                Mode::Shadow
            } else {
                Mode::Enforce
            },
            cold_start_deny_window_ms: 1,
            ..Runtime::default()
        },
        agents: vec![agent],
    };
    artifact.requires = capabilities::of(&artifact);
    artifact
}

fn value_of(kind: Kind, chance: &mut Chance) -> Json {
    let word = |chance: &mut Chance| Json::Text(chance.pick(&WORDS).to_owned());
    match kind {
        Kind::Number => Json::Hundredths(chance.pick(&NUMBERS)),
        Kind::Bool => Json::Bool(chance.one_in(2)),
        Kind::Text => word(chance),
        Kind::Texts => Json::List((0..chance.below(3)).map(|_| word(chance)).collect()),
    }
}

fn any_value(chance: &mut Chance) -> Json {
    match chance.below(4) {
        0 => Json::Null,
        1 => {
            let items = [
                Json::Null,
                Json::Hundredths(8000),
                Json::Text("80".to_owned()),
            ];
            Json::List(items.into_iter().filter(|_| chance.one_in(2)).collect())
        }
        2 => Json::Map(BTreeMap::from([("domain".to_owned(), Json::Bool(true))])),
        _ => {
            let kind = chance.pick(&[Kind::Number, Kind::Text, Kind::Bool, Kind::Texts]);
            value_of(kind, chance)
        }
    }
}

/// Puts a value at a path; whatever stood on the way and is no map is replaced.
fn put(args: &mut Json, path: &[String], value: Json) {
    if !matches!(args, Json::Map(_)) {
        *args = Json::Map(BTreeMap::new());
    }
    let Json::Map(map) = args else { return };
    match path {
        [] => {}
        [name] => {
            map.insert(name.clone(), value);
        }
        [name, rest @ ..] => put(map.entry(name.clone()).or_insert(Json::Null), rest, value),
    }
}

fn arguments(shape: Shape, chance: &mut Chance) -> Json {
    let mut args = Json::Map(BTreeMap::new());
    for (field, kind) in fields() {
        let Field::Args(path) = field else { continue };
        if chance.one_in(3) {
            continue;
        }
        let value = if shape.mixed_types && chance.one_in(4) {
            any_value(chance)
        } else {
            value_of(kind, chance)
        };
        put(&mut args, &path, value);
    }
    args
}

// ---- asking the real one ------------------------------------------------------------------------------------------

fn call(tool: &str, args: &Json) -> Attested {
    let call = accept(tool, "bot", args.canonical().as_bytes()).unwrap();
    assert_eq!(call.arguments_text(), args.canonical());
    attest(call, Caller::Unattested { uid: 1 }).unwrap()
}

fn ask(policy: &Policy, tool: &str, args: &Json) -> Decision {
    decide(
        &Question {
            attested: &call(tool, args),
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

/// What the policy itself says, whether or not it is shadowed.
fn verdict(decision: &Decision) -> Effect {
    decision.would.unwrap_or(decision.effect)
}

fn as_answer(decision: &Decision) -> Answer {
    Answer {
        effect: decision.effect,
        would: decision.would,
        code: decision.code,
        rule: decision.rule,
        missing: decision.missing.iter().cloned().collect(),
        notify: decision.notify.iter().cloned().collect(),
        inputs: decision
            .inputs
            .iter()
            .map(|input| (input.field.clone(), input.value.clone()))
            .collect(),
    }
}

fn sorted_once<T: Ord>(items: &[T]) -> bool {
    items.windows(2).all(|pair| pair[0] < pair[1])
}

// ---- the tests ------------------------------------------------------------------------------------------------------

#[test]
fn decision_and_twin_agree_on_generated_policies_and_calls() {
    let mut chance = Chance::new("twin");
    let (mut indeterminate, mut shadowed) = (0, 0);
    for _ in 0..POLICIES {
        let artifact = artifact(ANYTHING, &PATTERNS, &mut chance);
        let policy = Policy::of(&artifact).unwrap();
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args) = (chance.pick(&TOOLS), arguments(ANYTHING, &mut chance));
            let decision = ask(&policy, tool, &args);
            let (expected, _) = twin(
                &artifact,
                &Asked {
                    tool,
                    agent: "bot",
                    args: &args,
                },
            );
            assert_eq!(
                as_answer(&decision),
                expected,
                "{tool} {} {artifact:#?}",
                args.canonical()
            );
            assert!(sorted_once(&decision.missing) && sorted_once(&decision.notify));
            assert!(
                decision
                    .inputs
                    .windows(2)
                    .all(|pair| pair[0].field < pair[1].field)
            );
            indeterminate += usize::from(decision.code == Some(Code::Indeterminate));
            shadowed += usize::from(decision.would.is_some());
        }
    }
    // The generator reaches the corners it is there for.
    assert!(
        indeterminate > POLICIES && shadowed > POLICIES,
        "{indeterminate} {shadowed}"
    );
}

#[test]
fn law_1_without_a_maybe_the_result_is_first_match_and_law_2_it_is_never_below_it() {
    let mut chance = Chance::new("laws 1 and 2");
    for _ in 0..POLICIES {
        let artifact = artifact(ANYTHING, &PATTERNS, &mut chance);
        let policy = Policy::of(&artifact).unwrap();
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args) = (chance.pick(&TOOLS), arguments(ANYTHING, &mut chance));
            let decision = ask(&policy, tool, &args);
            let (_, base) = twin(
                &artifact,
                &Asked {
                    tool,
                    agent: "bot",
                    args: &args,
                },
            );
            assert!(verdict(&decision) >= base);
            if decision.missing.is_empty() {
                assert_eq!(verdict(&decision), base);
                assert_ne!(decision.code, Some(Code::Indeterminate));
            }
        }
    }
}

#[test]
fn law_3_a_value_in_place_of_an_absent_one_never_makes_the_answer_stricter() {
    let mut chance = Chance::new("law 3");
    let mut filled = 0;
    for _ in 0..POLICIES {
        let artifact = artifact(MONOTONE, &PATTERNS, &mut chance);
        let policy = Policy::of(&artifact).unwrap();
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args) = (chance.pick(&TOOLS), arguments(MONOTONE, &mut chance));
            let without = ask(&policy, tool, &args);
            for (field, kind) in fields() {
                let Field::Args(path) = &field else { continue };
                if twin_value(
                    &field,
                    &Asked {
                        tool,
                        agent: "bot",
                        args: &args,
                    },
                )
                .is_some()
                {
                    continue;
                }
                let mut more = args.clone();
                put(&mut more, path, value_of(kind, &mut chance));
                let with = ask(&policy, tool, &more);
                assert!(
                    with.effect <= without.effect && verdict(&with) <= verdict(&without),
                    "{tool} {args:?} {more:?} {artifact:#?}"
                );
                filled += 1;
            }
        }
    }
    assert!(filled > POLICIES);
}

#[test]
fn law_4_another_deny_hard_never_makes_the_answer_milder() {
    let mut chance = Chance::new("law 4");
    for _ in 0..POLICIES {
        let artifact = artifact(ANYTHING, &PATTERNS, &mut chance);
        let mut harder = artifact.clone();
        let agent = &mut harder.agents[0];
        let place = chance.below(agent.rules.len() + 1);
        let added = Rule {
            effect: RuleEffect::DenyHard,
            ..rule(agent.tests.len(), &PATTERNS, &mut chance)
        };
        agent.rules.insert(place, added);
        harder.requires = capabilities::of(&harder);
        let (before, after) = (Policy::of(&artifact).unwrap(), Policy::of(&harder).unwrap());
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args) = (chance.pick(&TOOLS), arguments(ANYTHING, &mut chance));
            let (before, after) = (ask(&before, tool, &args), ask(&after, tool, &args));
            assert!(after.effect >= before.effect && verdict(&after) >= verdict(&before));
        }
    }
}

#[test]
fn law_5_the_same_artifact_and_call_make_the_same_decision() {
    let mut chance = Chance::new("law 5");
    for _ in 0..POLICIES / 4 {
        let artifact = artifact(ANYTHING, &PATTERNS, &mut chance);
        let bytes = encode(&artifact).unwrap();
        let (a, b) = (Policy::load(&bytes).unwrap(), Policy::load(&bytes).unwrap());
        assert_eq!(a.digest(), b.digest());
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args) = (chance.pick(&TOOLS), arguments(ANYTHING, &mut chance));
            assert_eq!(ask(&a, tool, &args), ask(&b, tool, &args));
        }
    }
}

#[test]
fn law_6_rules_for_disjoint_tools_may_be_reordered() {
    const LEFT: [&str; 4] = ["a", "a/*", "a/b", "a/*b"];
    const RIGHT: [&str; 4] = ["b", "b/*", "b/ab", "b/a*"];
    let mut chance = Chance::new("law 6");
    for _ in 0..POLICIES {
        let mut left = artifact(ANYTHING, &LEFT, &mut chance);
        let tests = left.agents[0].tests.len();
        let right: Vec<Rule> = (0..chance.below(6))
            .map(|_| rule(tests, &RIGHT, &mut chance))
            .collect();
        let mut shuffled = left.clone();
        // One file has the right rules behind the left ones, the other has them strewn among them, in order.
        let mut place = 0;
        for rule in &right {
            place += chance.below(shuffled.agents[0].rules.len() + 1 - place);
            shuffled.agents[0].rules.insert(place, rule.clone());
            place += 1;
        }
        left.agents[0].rules.extend(right);
        for changed in [&mut left, &mut shuffled] {
            changed.requires = capabilities::of(changed);
        }
        let (left, shuffled) = (Policy::of(&left).unwrap(), Policy::of(&shuffled).unwrap());
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args) = (chance.pick(&TOOLS), arguments(ANYTHING, &mut chance));
            let place_aside = |decision| Decision {
                rule: None,
                ..decision
            };
            assert_eq!(
                place_aside(ask(&left, tool, &args)),
                place_aside(ask(&shuffled, tool, &args))
            );
        }
    }
}
