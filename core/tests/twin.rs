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
use faramesh_core::json;
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
    /// Text that is canonical already.
    Raw(String),
}

impl Json {
    /// Canonical text; keys and strings are plain ASCII words here.
    fn canonical(&self) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Hundredths(n) => hundredths(*n),
            Json::Raw(text) => text.clone(),
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
    now_ms: u64,
}

#[derive(Debug, PartialEq)]
struct Answer {
    effect: Effect,
    would: Option<Effect>,
    code: Option<Code>,
    rule: Option<u32>,
    missing: BTreeSet<String>,
    notify: BTreeSet<String>,
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

/// What a field is made of: itself, or the fields that it is calculated from.
fn parts(agent: &AgentPolicy, field: u32) -> Vec<u32> {
    match &agent.fields[field as usize] {
        Field::Calculated(steps) => steps
            .iter()
            .filter_map(|step| match step {
                Step::Field(part) => Some(*part),
                _ => None,
            })
            .collect(),
        _ => vec![field],
    }
}

fn at_path(args: &Json, path: &[String]) -> Option<Json> {
    let mut value = args.clone();
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

/// The path of the argument that a field reads, if it reads one.
fn path_of(field: &Field) -> Option<Vec<String>> {
    match field {
        Field::Args(path) | Field::Length(path) => Some(path.clone()),
        Field::Purpose => Some(vec!["purpose".to_owned()]),
        _ => None,
    }
}

fn twin_value(field: &Field, question: &Asked<'_>) -> Option<Json> {
    let whole = |n: u64| Some(Json::Hundredths(n as i64 * 100));
    let seconds = question.now_ms / 1_000;
    match field {
        Field::Tool => Some(Json::Text(question.tool.to_owned())),
        Field::Action => {
            let action = question
                .tool
                .rsplit_once('/')
                .map_or(question.tool, |it| it.1);
            Some(Json::Text(action.to_owned()))
        }
        Field::Agent => Some(Json::Text(question.agent.to_owned())),
        Field::Door => Some(Json::Text("govern".to_owned())),
        Field::Model => None,
        Field::Time(TimePart::Hour) => whole(seconds / 3_600 % 24),
        Field::Time(TimePart::Weekday) => whole((seconds / 86_400 + 3) % 7 + 1),
        Field::Args(_) | Field::Purpose => at_path(question.args, &path_of(field).unwrap()),
        Field::Length(path) => match at_path(question.args, path)? {
            Json::Text(text) => whole(text.chars().count() as u64),
            Json::List(items) => whole(items.len() as u64),
            Json::Map(map) => whole(map.len() as u64),
            _ => None,
        },
        other => unreachable!("{other} is not generated"),
    }
}

/// The value of a field of any kind. What the generator calculates is within every limit.
fn twin_find(agent: &AgentPolicy, field: u32, question: &Asked<'_>) -> Option<Json> {
    let Field::Calculated(steps) = &agent.fields[field as usize] else {
        return twin_value(&agent.fields[field as usize], question);
    };
    let mut stack: Vec<Option<i64>> = Vec::new();
    for step in steps {
        let value = match step {
            Step::Number(number) => Some(to_hundredths(number)),
            Step::Field(part) => match twin_find(agent, *part, question) {
                Some(Json::Hundredths(n)) => Some(n),
                _ => None,
            },
            operator => {
                let (b, a) = (stack.pop().unwrap(), stack.pop().unwrap());
                a.zip(b).map(|(a, b)| match operator {
                    Step::Add => a + b,
                    Step::Subtract => a - b,
                    // One of them is whole.
                    _ => a * b / 100,
                })
            }
        };
        stack.push(value);
    }
    stack.pop().unwrap().map(Json::Hundredths)
}

/// Whether a closed schema of the tool does not know of an argument that the field reads.
fn twin_undeclared(agent: &AgentPolicy, field: u32, question: &Asked<'_>) -> bool {
    let is_undeclared = |part: &u32| {
        path_of(&agent.fields[*part as usize])
            .is_some_and(|path| undeclared(agent, question.tool, &path))
    };
    parts(agent, field).iter().any(is_undeclared)
}

fn undeclared(agent: &AgentPolicy, tool: &str, path: &[String]) -> bool {
    let of_tool = |schema: &&ToolSchema| schema.closed && twin_matches(&schema.pattern, tool);
    agent.schemas.iter().filter(of_tool).any(|schema| {
        !schema
            .arguments
            .iter()
            .any(|argument| argument.path.starts_with(path) || path.starts_with(&argument.path))
    })
}

/// Characters one by one, every split tried; none is enough for a star.
fn twin_glob(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=text.len()).any(|n| twin_glob(rest, &text[n..])),
        ([a, rest @ ..], [b, others @ ..]) => a == b && twin_glob(rest, others),
        _ => false,
    }
}

fn twin_text_glob(pattern: &str, text: &str) -> bool {
    let characters = |text: &str| text.chars().collect::<Vec<_>>();
    twin_glob(&characters(pattern), &characters(text))
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
        (Ask::StartsWith(head), Json::Text(text)) => Some(text.strip_prefix(&**head).is_some()),
        (Ask::EndsWith(tail), Json::Text(text)) => Some(text.strip_suffix(&**tail).is_some()),
        (Ask::Glob(Glob::Text, glob), Json::Text(text)) => Some(twin_text_glob(glob, text)),
        (Ask::Glob(Glob::Path, glob), Json::Text(text)) => Some(twin_matches(glob, text)),
        (Ask::AnyGlob(glob), Json::List(items)) => any_of(items.iter().map(|item| match item {
            Json::Text(text) => Some(twin_text_glob(glob, text)),
            _ => None,
        })),
        (Ask::IsTrue, Json::Bool(value)) => Some(*value),
        _ => None,
    }
}

fn twin_relation(relation: Relation, a: &Json, b: &Json) -> Kleene {
    match (relation, a, b) {
        (Relation::Equal, ..) => twin_equal(a, b),
        (Relation::Order(order), ..) => twin_order(order, a, b),
        (Relation::Contains, Json::List(items), _) => {
            any_of(items.iter().map(|item| twin_equal(item, b)))
        }
        (Relation::Contains, Json::Text(a), Json::Text(b)) => Some(a.contains(b.as_str())),
        (Relation::StartsWith, Json::Text(a), Json::Text(b)) => Some(a.starts_with(b.as_str())),
        (Relation::EndsWith, Json::Text(a), Json::Text(b)) => Some(a.ends_with(b.as_str())),
        _ => None,
    }
}

/// One test, with the names of the fields at fault where it is *maybe*.
fn twin_put(
    agent: &AgentPolicy,
    test: &Test,
    question: &Asked<'_>,
    at_fault: &mut BTreeSet<String>,
) -> Kleene {
    let other = match &test.ask {
        Ask::CompareField(_, other) => Some(*other),
        _ => None,
    };
    let sides: Vec<u32> = [Some(test.field), other].into_iter().flatten().collect();
    if sides
        .iter()
        .any(|side| twin_undeclared(agent, *side, question))
    {
        return Some(false);
    }
    let value = twin_find(agent, test.field, question);
    let other = other.map(|other| twin_find(agent, other, question));
    let truth = match (&test.ask, &value, &other) {
        (Ask::CompareField(relation, _), Some(a), Some(Some(b))) => twin_relation(*relation, a, b),
        (Ask::CompareField(..), ..) => None,
        (ask, ..) => twin_test(ask, value.clone()),
    };
    if truth.is_none() {
        let values = [Some(value), other];
        let unfit = |place: &usize| match (&values[*place], &test.ask) {
            (Some(Some(value)), Ask::CompareField(relation, _)) => {
                !twin_fits(*relation, *place == 0, value)
            }
            (value, _) => *value == Some(None),
        };
        let mut blamed: Vec<usize> = (0..sides.len()).filter(unfit).collect();
        if blamed.is_empty() {
            blamed = (0..sides.len()).collect();
        }
        for place in blamed {
            let parts = parts(agent, sides[place]);
            // Of a calculation that has no value, what is no number.
            let guilty = |part: &&u32| {
                values[place] != Some(None)
                    || !matches!(
                        twin_find(agent, **part, question),
                        Some(Json::Hundredths(_))
                    )
            };
            let guilty: Vec<u32> = parts.iter().filter(guilty).copied().collect();
            at_fault.extend(
                guilty
                    .iter()
                    .map(|part| agent.fields[*part as usize].to_string()),
            );
        }
    }
    truth
}

/// Whether the relation can be about such a value at all.
fn twin_fits(relation: Relation, left: bool, value: &Json) -> bool {
    match relation {
        Relation::Equal => true,
        Relation::Order(_) => matches!(value, Json::Hundredths(_)),
        Relation::Contains => !left || matches!(value, Json::Text(_) | Json::List(_)),
        Relation::StartsWith | Relation::EndsWith => matches!(value, Json::Text(_)),
    }
}

fn twin_condition(
    agent: &AgentPolicy,
    rule: &Rule,
    question: &Asked<'_>,
    at_fault: &mut BTreeSet<String>,
) -> Kleene {
    let mut stack = Vec::new();
    for op in &rule.condition {
        let value = match op {
            Op::Test(test) => twin_put(agent, &agent.tests[*test as usize], question, at_fault),
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
    };
    let numbered = || agent.rules.iter().enumerate();
    let hard = numbered().filter(|(_, rule)| rule.effect == RuleEffect::DenyHard);
    let others = numbered().filter(|(_, rule)| rule.effect != RuleEffect::DenyHard);
    let (mut best, mut base, mut possible) = (None, None, Vec::new());
    for (number, rule) in hard
        .chain(others)
        .filter(|(_, rule)| twin_matches(&rule.pattern, question.tool))
    {
        let mut at_fault = BTreeSet::new();
        match twin_condition(agent, rule, question, &mut at_fault) {
            Some(false) => continue,
            None => {
                answer.missing.extend(at_fault);
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
        (Field::Action, Kind::Text),
        (Field::Agent, Kind::Text),
        (Field::Model, Kind::Text),
        (Field::Purpose, Kind::Text),
        (Field::Door, Kind::Text),
        (Field::Time(TimePart::Hour), Kind::Number),
        (Field::Time(TimePart::Weekday), Kind::Number),
        (Field::Length(vec!["cmd".to_owned()]), Kind::Number),
        (Field::Length(vec!["tags".to_owned()]), Kind::Number),
        // amount + limit
        (
            Field::Calculated(vec![Step::Field(0), Step::Field(3), Step::Add]),
            Kind::Number,
        ),
        // amount - 2 * len(tags)
        (
            Field::Calculated(vec![
                Step::Field(0),
                Step::Number(decimal(200)),
                Step::Field(16),
                Step::Multiply,
                Step::Subtract,
            ]),
            Kind::Number,
        ),
    ]
}

const GLOBS: [&str; 5] = ["*", "a*", "*b", "*a*b*", "8*0"];
const MOMENTS: [u64; 3] = [0, 1_800_000_000_000, 1_769_904_000_000];
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
        (Kind::Texts, 0) => Ask::AnyGlob(chance.pick(&GLOBS).to_owned()),
        (Kind::Texts, 1) => Ask::CompareField(Relation::Contains, 1),
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
            let relation = match kind {
                Kind::Number if chance.one_in(2) => Relation::Order(order),
                Kind::Text => chance.pick(&[
                    Relation::Equal,
                    Relation::Contains,
                    Relation::StartsWith,
                    Relation::EndsWith,
                ]),
                _ => Relation::Equal,
            };
            Ask::CompareField(relation, chance.pick(&others) as u32)
        }
        (Kind::Number, _) => Ask::Compare(order, decimal(chance.pick(&NUMBERS))),
        (Kind::Bool, _) => Ask::IsTrue,
        (Kind::Text, _) if chance.one_in(2) => match chance.below(5) {
            0 => Ask::Contains(literal_of(kind, chance)),
            1 => Ask::StartsWith(chance.pick(&WORDS).to_owned()),
            2 => Ask::EndsWith(chance.pick(&WORDS).to_owned()),
            3 => Ask::Glob(Glob::Text, chance.pick(&GLOBS).to_owned()),
            _ => Ask::Glob(Glob::Path, chance.pick(&PATTERNS).to_owned()),
        },
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

/// One test, or a few that must all hold.
fn conjunction(tests: usize, chance: &mut Chance) -> Vec<Op> {
    let mut ops = vec![Op::Test(chance.below(tests) as u32)];
    for _ in 0..chance.below(3) {
        condition(tests, usize::from(chance.one_in(4)), chance, &mut ops);
        ops.push(Op::And);
    }
    ops
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

fn schemas(chance: &mut Chance) -> Vec<ToolSchema> {
    let mut schemas: Vec<ToolSchema> = Vec::new();
    for _ in 0..chance.below(3) {
        let paths = fields().into_iter().filter_map(|(field, _)| match field {
            Field::Args(_) | Field::Purpose => path_of(&field),
            _ => None,
        });
        let mut arguments: Vec<Argument> = paths
            .filter(|_| !chance.one_in(3))
            .map(|path| Argument {
                path,
                kind: faramesh_core::policy::artifact::Kind::Any,
                required: false,
            })
            .collect();
        arguments.sort();
        let schema = ToolSchema {
            pattern: chance.pick(&PATTERNS).to_owned(),
            arguments,
            closed: !chance.one_in(3),
        };
        if !schemas.iter().any(|other| other.pattern == schema.pattern) {
            schemas.push(schema);
        }
    }
    schemas.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    schemas
}

fn artifact(shape: Shape, patterns: &[&str], chance: &mut Chance) -> Artifact {
    // Now and then so many rules for one tool that they are found by their values.
    let crowded = chance.one_in(4);
    let mut tests: Vec<Test> = Vec::new();
    for _ in 0..if crowded { 40 } else { 6 } {
        let test = test(shape, chance);
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    let rules = if crowded {
        let patterns = [chance.pick(patterns), chance.pick(patterns)];
        (0..20 + chance.below(40))
            .map(|_| Rule {
                condition: conjunction(tests.len(), chance),
                ..rule(tests.len(), &patterns, chance)
            })
            .collect()
    } else {
        (0..chance.below(9))
            .map(|_| rule(tests.len(), patterns, chance))
            .collect()
    };
    let agent = AgentPolicy {
        name: "bot".to_owned(),
        run_as: None,
        default: chance.pick(&[Effect::Permit, Effect::Defer, Effect::Deny]),
        metadata: Vec::new(),
        rules,
        fields: fields().into_iter().map(|(field, _)| field).collect(),
        tests,
        schemas: schemas(chance),
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
            // `anchor` stays out: it looks at the journal's age and at nothing of a call, and the twin keeps no journal.
            // tests/pipeline.rs has its cases.
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

/// Arguments that the tool's schemas allow.
fn arguments(shape: Shape, artifact: &Artifact, tool: &str, chance: &mut Chance) -> Json {
    let mut args = Json::Map(BTreeMap::new());
    for (field, kind) in fields() {
        let (Field::Args(_) | Field::Purpose, Some(path)) = (&field, path_of(&field)) else {
            continue;
        };
        if chance.one_in(3) || undeclared(&artifact.agents[0], tool, &path) {
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

fn chance_call(
    shape: Shape,
    artifact: &Artifact,
    chance: &mut Chance,
) -> (&'static str, Json, u64) {
    let tool = chance.pick(&TOOLS);
    let args = arguments(shape, artifact, tool, chance);
    (tool, args, chance.pick(&MOMENTS))
}

// ---- asking the real one ------------------------------------------------------------------------------------------

fn call(tool: &str, args: &Json) -> Attested {
    let call = accept(tool, "bot", args.canonical().as_bytes()).unwrap();
    assert_eq!(call.arguments_text(), args.canonical());
    attest(call, Caller::Unattested { uid: 1 }).unwrap()
}

fn ask(policy: &Policy, tool: &str, args: &Json, now_ms: u64) -> Decision {
    decide(
        &Question {
            attested: &call(tool, args),
            door: Door::Govern,
            now: Time {
                wall_ms: now_ms,
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
    }
}

/// What was read has the values that the twin finds, and stands there in order, once.
fn check_inputs(decision: &Decision, agent: &AgentPolicy, asked: &Asked<'_>) {
    let inputs = &decision.inputs;
    assert!(inputs.windows(2).all(|pair| pair[0].field < pair[1].field));
    let by_name = |name: &str| agent.fields.iter().find(|field| field.to_string() == name);
    for input in inputs {
        let value = twin_value(by_name(&input.field).unwrap(), asked);
        assert_eq!(
            input.value,
            value.as_ref().map(Json::canonical),
            "{}",
            input.field
        );
    }
}

/// The call again, of nothing but what a decision says that it read.
fn again(policy: &Policy, agent: &AgentPolicy, tool: &str, decision: &Decision) -> Decision {
    let mut supposed = Supposed::nothing();
    let mut text = Json::Map(BTreeMap::new());
    for field in &agent.fields {
        let name = field.to_string();
        let Some(input) = decision.inputs.iter().find(|input| input.field == name) else {
            continue;
        };
        let value = input.value.as_deref().unwrap_or("null");
        match field {
            Field::Args(_) if input.value.is_none() => {}
            Field::Args(path) => put(&mut text, path, Json::Raw(value.to_owned())),
            _ => supposed.suppose(field.clone(), json::parse(value.as_bytes()).unwrap()),
        }
    }
    let attested = attest(
        accept(tool, "bot", text.canonical().as_bytes()).unwrap(),
        Caller::Unattested { uid: 1 },
    );
    decide(
        &Question {
            attested: &attested.unwrap(),
            door: Door::Govern,
            now: Time {
                wall_ms: 77,
                boot_ms: 0,
            },
            supposed: &supposed,
        },
        policy,
        &State::new(),
    )
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
            let (tool, args, now_ms) = chance_call(ANYTHING, &artifact, &mut chance);
            let decision = ask(&policy, tool, &args, now_ms);
            let asked = Asked {
                tool,
                agent: "bot",
                args: &args,
                now_ms,
            };
            let (expected, _) = twin(&artifact, &asked);
            assert_eq!(
                as_answer(&decision),
                expected,
                "{tool} {} {artifact:#?}",
                args.canonical()
            );
            assert!(sorted_once(&decision.missing) && sorted_once(&decision.notify));
            check_inputs(&decision, &artifact.agents[0], &asked);
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
fn what_a_decision_says_that_it_read_is_enough_to_make_it_again() {
    let mut chance = Chance::new("inputs");
    for _ in 0..POLICIES {
        let artifact = artifact(ANYTHING, &PATTERNS, &mut chance);
        let policy = Policy::of(&artifact).unwrap();
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args, now_ms) = chance_call(ANYTHING, &artifact, &mut chance);
            let decision = ask(&policy, tool, &args, now_ms);
            assert_eq!(
                again(&policy, &artifact.agents[0], tool, &decision),
                decision,
                "{tool} {} {artifact:#?}",
                args.canonical()
            );
        }
    }
}

#[test]
fn law_1_without_a_maybe_the_result_is_first_match_and_law_2_it_is_never_below_it() {
    let mut chance = Chance::new("laws 1 and 2");
    for _ in 0..POLICIES {
        let artifact = artifact(ANYTHING, &PATTERNS, &mut chance);
        let policy = Policy::of(&artifact).unwrap();
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args, now_ms) = chance_call(ANYTHING, &artifact, &mut chance);
            let decision = ask(&policy, tool, &args, now_ms);
            let (_, base) = twin(
                &artifact,
                &Asked {
                    tool,
                    agent: "bot",
                    args: &args,
                    now_ms,
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
            let (tool, args, now_ms) = chance_call(MONOTONE, &artifact, &mut chance);
            let without = ask(&policy, tool, &args, now_ms);
            for (field, kind) in fields() {
                let Field::Args(path) = &field else { continue };
                if undeclared(&artifact.agents[0], tool, path) {
                    continue;
                }
                if twin_value(
                    &field,
                    &Asked {
                        tool,
                        agent: "bot",
                        args: &args,
                        now_ms,
                    },
                )
                .is_some()
                {
                    continue;
                }
                let mut more = args.clone();
                put(&mut more, path, value_of(kind, &mut chance));
                let with = ask(&policy, tool, &more, now_ms);
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
            let (tool, args, now_ms) = chance_call(ANYTHING, &artifact, &mut chance);
            let (before, after) = (
                ask(&before, tool, &args, now_ms),
                ask(&after, tool, &args, now_ms),
            );
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
            let (tool, args, now_ms) = chance_call(ANYTHING, &artifact, &mut chance);
            assert_eq!(ask(&a, tool, &args, now_ms), ask(&b, tool, &args, now_ms));
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
        let of_left = left.clone();
        let (left, shuffled) = (Policy::of(&left).unwrap(), Policy::of(&shuffled).unwrap());
        for _ in 0..CALLS_PER_POLICY {
            let (tool, args, now_ms) = chance_call(ANYTHING, &of_left, &mut chance);
            let place_aside = |decision| Decision {
                rule: None,
                ..decision
            };
            assert_eq!(
                place_aside(ask(&left, tool, &args, now_ms)),
                place_aside(ask(&shuffled, tool, &args, now_ms))
            );
        }
    }
}
