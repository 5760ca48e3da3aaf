//! The core's evaluator beside Cedar and regorus: the same policies, the same calls, one run. The unit is SHA-256 of 512
//! bytes in the same run. Prints the rows of the table in `docs/performance.md`.
//!
//! Each engine decides as its users would have it decide many calls: the policy is loaded before, and the request is
//! built before. All must come to the same answer.

use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request};
use faramesh_core::call::accept;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::Effect;
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::pipeline::{Question, decide_in};
use faramesh_core::policy::artifact::{
    self, AgentPolicy, Artifact, Ask, Field, Literal, Op, Order, Rule, RuleEffect, Runtime, Test,
    capabilities,
};
use faramesh_core::policy::{Policy, Scratch, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Time of one sample, and how many there are; an engine that needs longer for one decision gets fewer.
const SAMPLE: Duration = Duration::from_millis(4);
const SAMPLES: usize = 51;
/// Rules in one file for regorus.
const REGO_RULES_MAX: usize = 1_000;
const SAMPLES_LONGEST: Duration = Duration::from_secs(2);

/// A shape of policy: one permit rule for each n.
struct Shape {
    name: &'static str,
    rule: fn(usize) -> Written,
    /// The call that is put, at that many rules.
    call: fn(usize) -> Call,
}

/// A rule, once for each engine.
struct Written {
    tool: String,
    tests: Vec<(u32, Ask)>,
    cedar: String,
    rego: String,
}

struct Call {
    tool: String,
    amount: usize,
    customer: String,
}

fn main() -> Result<()> {
    let unit = median(|| {
        black_box(Sha256::digest(black_box(&[7_u8; 512])));
    });
    println!("SHA-256 of 512 B: {:.0} ns\n", unit * 1e9);
    if std::env::args().any(|argument| argument == "--short") {
        loading()?;
        return worst();
    }
    println!("| policy | rules | evaluation | with the record's texts | Cedar | regorus |");
    println!("|---|---|---|---|---|---|");
    for shape in &SHAPES {
        for size in SIZES {
            let cells = [
                ours(shape, size)?,
                cedar(shape, size)?,
                regorus(shape, size)?,
            ]
            .concat();
            let mut line = format!("| {} | {size} |", shape.name);
            for seconds in cells {
                write!(line, " {} = {:.2} × |", shown(seconds), seconds / unit)?;
            }
            println!("{line}");
        }
    }
    loading()?;
    worst()
}

/// An artifact of 10,000 rules for as many tools, of which each twentieth has an expression of its own.
fn loading() -> Result<()> {
    let mut built = Built::default();
    for n in 0..10_000 {
        let mut tests = vec![
            (AMOUNT, Ask::Compare(Order::Less, decimal(500 + n % 100))),
            (CURRENCY, Ask::In(vec![text("EUR"), text("USD")])),
        ];
        if n % 20 == 0 {
            tests.push((CUSTOMER, Ask::Matches(format!("^(c-{n}|d-[0-9]+)$"))));
        }
        built.rule(RuleEffect::Permit, &tool(n), tests);
    }
    let bytes = artifact::encode(&built.artifact())?;
    let seconds = median(|| {
        let _ = black_box(Policy::load(black_box(&bytes)));
    });
    println!(
        "\nload of 10,000 rules, 500 expressions among them, {} KiB: {}",
        bytes.len() / 1024,
        shown(seconds)
    );
    let without = built.without_expressions();
    let bytes = artifact::encode(&without.artifact())?;
    let seconds = median(|| {
        let _ = black_box(Policy::load(black_box(&bytes)));
    });
    println!("the same without the expressions: {}", shown(seconds));
    Ok(())
}

/// What the limits of an artifact admit at worst, one limit at a time; each call is the longest that hurts.
fn worst() -> Result<()> {
    let long = "ab".repeat(500_000);
    let mut steps = Built::default();
    for _ in 0..artifact::OPS_MAX / artifact::OPS_PER_RULE_MAX {
        // Nothing decides early: each step is taken.
        let ask = Ask::Compare(Order::Less, decimal(0));
        steps.rule(RuleEffect::Permit, "t", vec![(AMOUNT, ask)]);
        steps.negate_last(artifact::OPS_PER_RULE_MAX / 2 * 2 - 2);
    }
    put_once("every step of conditions", &steps, "t", r#"{"amount":1}"#)?;
    let mut walks = Built::default();
    for n in 0..artifact::WALKS_MAX {
        let part = format!("{}{n}", "ab".repeat(8));
        walks.rule(
            RuleEffect::Permit,
            "t",
            vec![(CUSTOMER, Ask::Contains(text(&part)))],
        );
    }
    let arguments = format!(r#"{{"customer":"{long}"}}"#);
    put_once(
        "every test that walks a text of 1 MB",
        &walks,
        "t",
        &arguments,
    )?;
    let mut patterns = Built::default();
    for n in 0..artifact::RULES_MAX {
        patterns.rule(RuleEffect::Permit, &format!("*a*a*a*{n}x*"), Vec::new());
    }
    put_once("every pattern that fits", &patterns, &"a".repeat(256), "{}")?;
    // As many expressions as an agent may have, of each kind: the decision's budget ends their searches.
    let expressions: [(&str, &str, &str); 6] = [
        ("a table", "N[ab]*c", "ab"),
        ("20 repetitions", "[ab]*a[ab]{20}cN", "ab"),
        ("900 repetitions", "[ab]*a[ab]{900}cN", "ab"),
        ("the longest of letters", r"(?:ä?ö?){940}\dN", "äö"),
        ("stars in stars", r"(?:a?){100}(?:(?:a*)*)*\byN", "aé"),
        ("words of any script", r"\w+@\w+N", "aé"),
    ];
    for (name, shape, letters) in expressions {
        for bytes in [32 * 1024, 1_024] {
            let text = scrambled(letters, bytes);
            let mut built = Built::default();
            let weight = artifact::compile_expression("", shape)?.weight();
            for n in 0..(artifact::EXPRESSION_WEIGHT_MAX / weight).min(1_000) {
                let source = shape.replace('N', &format!("{n}"));
                built.rule(RuleEffect::Deny, "t", vec![(CUSTOMER, Ask::Matches(source))]);
            }
            let arguments = format!(r#"{{"customer":"{text}"}}"#);
            let name = format!("every expression, {name}, on {bytes} bytes");
            put_once(&name, &built, "t", &arguments)?;
        }
    }
    Ok(())
}

/// Letters in no pattern, so that no state that was met before helps.
fn scrambled(letters: &str, bytes: usize) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let (mut x, mut text) = (1_u64, String::new());
    loop {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let next = letters[(x % letters.len() as u64) as usize];
        if text.len() + next.len_utf8() > bytes {
            return text;
        }
        text.push(next);
    }
}

/// One decision, and what it took: the shortest of three.
fn put_once(name: &str, built: &Built, tool: &str, arguments: &str) -> Result<()> {
    let policy = Policy::of(&built.artifact())?;
    let accepted = accept(tool, "bench", arguments.as_bytes())?;
    let attested = attest(accepted, Caller::Unattested { uid: 1_000 })?;
    let (state, nothing, mut scratch) = (State::new(), Supposed::nothing(), Scratch::default());
    let (mut seconds, mut first) = (f64::MAX, None);
    for _ in 0..3 {
        let began = Instant::now();
        black_box(
            policy
                .judge(&question(&attested, &nothing), &state, &mut scratch)
                .map(|it| it.effect),
        );
        let took = began.elapsed().as_secs_f64();
        first.get_or_insert(took);
        seconds = seconds.min(took);
    }
    let first = first.unwrap_or_default();
    println!("worst: {name}: {}, the first time {}", shown(seconds), shown(first));
    Ok(())
}

fn question<'q>(attested: &'q Attested, supposed: &'q Supposed) -> Question<'q> {
    Question {
        attested,
        door: Door::Govern,
        now: Time {
            wall_ms: 1_800_000_000_000,
            boot_ms: 5_000_000,
        },
        supposed,
    }
}

/// An agent's policy over three arguments, rule by rule.
#[derive(Default)]
struct Built {
    rules: Vec<Rule>,
    tests: Vec<Test>,
    known: HashMap<Test, u32>,
}

const NAMES: [&str; 3] = ["amount", "currency", "customer"];
const AMOUNT: u32 = 0;
const CURRENCY: u32 = 1;
const CUSTOMER: u32 = 2;

impl Built {
    fn rule(&mut self, effect: RuleEffect, tool: &str, tests: Vec<(u32, Ask)>) {
        let mut condition = Vec::new();
        for (place, (field, ask)) in tests.into_iter().enumerate() {
            let test = Test { field, ask };
            let number = *self.known.entry(test.clone()).or_insert_with(|| {
                self.tests.push(test);
                self.tests.len() as u32 - 1
            });
            condition.push(Op::Test(number));
            if place > 0 {
                condition.push(Op::And);
            }
        }
        self.rules.push(Rule {
            effect,
            pattern: tool.to_owned(),
            condition,
            reason: None,
            notify: Vec::new(),
            reeval: false,
            text: String::new(),
        });
    }

    fn negate_last(&mut self, times: usize) {
        if let Some(rule) = self.rules.last_mut() {
            rule.condition.extend(vec![Op::Not; times]);
        }
    }

    /// The same rules, where expressions are texts to compare with.
    fn without_expressions(&self) -> Built {
        let tests = self.tests.iter().map(|test| Test {
            field: test.field,
            ask: match &test.ask {
                Ask::Matches(source) => Ask::Equals(text(source)),
                other => other.clone(),
            },
        });
        Built {
            rules: self.rules.clone(),
            tests: tests.collect(),
            known: HashMap::new(),
        }
    }

    fn artifact(&self) -> Artifact {
        let agent = AgentPolicy {
            name: "bench".into(),
            fields: NAMES
                .map(|name| Field::Args(vec![name.to_owned()]))
                .to_vec(),
            rules: self.rules.clone(),
            tests: self.tests.clone(),
            ..AgentPolicy::default()
        };
        let mut artifact = Artifact {
            requires: Vec::new(),
            runtime: Runtime::default(),
            agents: vec![agent],
            declarations: Vec::new(),
        };
        artifact.requires = capabilities::of(&artifact);
        artifact
    }
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "many tools",
        rule: |n| {
            let tool = tool(n);
            Written {
                tests: vec![
                    (AMOUNT, Ask::Compare(Order::Less, Decimal::from(500))),
                    (CURRENCY, Ask::In(vec![text("EUR"), text("USD")])),
                ],
                cedar: "context.amount < 500 && [\"USD\", \"EUR\"].contains(context.currency)"
                    .into(),
                rego: "input.args.amount < 500; input.args.currency in {\"USD\", \"EUR\"}".into(),
                tool,
            }
        },
        call: |rules| Call {
            tool: tool(rules - 1),
            amount: 80,
            customer: "c-1".into(),
        },
    },
    Shape {
        name: "one tool, by customer",
        rule: |n| Written {
            tool: "stripe/refund".into(),
            tests: vec![
                (CUSTOMER, Ask::Equals(text(&format!("c-{n}")))),
                (AMOUNT, Ask::Compare(Order::Less, Decimal::from(500))),
            ],
            cedar: format!("context.customer == \"c-{n}\" && context.amount < 500"),
            rego: format!("input.args.customer == \"c-{n}\"; input.args.amount < 500"),
        },
        call: |rules| Call {
            tool: "stripe/refund".into(),
            amount: 80,
            customer: format!("c-{}", rules / 2),
        },
    },
    Shape {
        name: "one tool, by bands of an amount",
        rule: |n| {
            let (from, to) = (n * 10, n * 10 + 10);
            Written {
                tool: "stripe/refund".into(),
                tests: vec![
                    (AMOUNT, Ask::Compare(Order::GreaterOrEqual, decimal(from))),
                    (AMOUNT, Ask::Compare(Order::Less, decimal(to))),
                ],
                cedar: format!("context.amount >= {from} && context.amount < {to}"),
                rego: format!("input.args.amount >= {from}; input.args.amount < {to}"),
            }
        },
        call: |rules| Call {
            tool: "stripe/refund".into(),
            amount: rules / 2 * 10 + 5,
            customer: "c-1".into(),
        },
    },
];

fn tool(n: usize) -> String {
    format!("area{}/tool{n}", n % 97)
}

fn text(text: &str) -> Literal {
    Literal::String(text.to_owned())
}

fn decimal(n: usize) -> Decimal {
    Decimal::from(n as i64)
}

impl Call {
    fn arguments(&self) -> String {
        format!(
            r#"{{"amount":{},"currency":"USD","customer":"{}","order":"o-77"}}"#,
            self.amount, self.customer
        )
    }
}

/// The evaluation alone, in memory that is used again; and the whole decision with its texts.
fn ours(shape: &Shape, rules: usize) -> Result<Vec<f64>> {
    let policy = policy(shape, rules)?;
    let call = (shape.call)(rules);
    let attested = attested(&call)?;
    let (state, nothing, mut scratch) = (State::new(), Supposed::nothing(), Scratch::default());
    let question = question(&attested, &nothing);
    assert_eq!(
        decide_in(&mut scratch, &question, &policy, &state).effect,
        Effect::Permit
    );
    let evaluation = median(|| {
        black_box(
            policy
                .judge(black_box(&question), &state, &mut scratch)
                .map(|it| it.effect),
        );
    });
    let decision = median(|| {
        let _ = black_box(decide_in(
            &mut scratch,
            black_box(&question),
            &policy,
            &state,
        ));
    });
    Ok(vec![evaluation, decision])
}

fn attested(call: &Call) -> Result<Attested> {
    let accepted = accept(&call.tool, "bench", call.arguments().as_bytes())?;
    Ok(attest(accepted, Caller::Unattested { uid: 1_000 })?)
}

fn policy(shape: &Shape, rules: usize) -> Result<Policy> {
    let mut built = Built::default();
    for n in 0..rules {
        let written = (shape.rule)(n);
        built.rule(RuleEffect::Permit, &written.tool, written.tests);
    }
    Ok(Policy::of(&built.artifact())?)
}

fn cedar(shape: &Shape, rules: usize) -> Result<Vec<f64>> {
    let mut source = String::new();
    for n in 0..rules {
        let written = (shape.rule)(n);
        writeln!(
            source,
            "permit(principal, action == Action::\"{}\", resource) when {{ {} }};",
            written.tool, written.cedar
        )?;
    }
    let policies: PolicySet = source.parse()?;
    let call = (shape.call)(rules);
    let uid = |text: String| text.parse::<EntityUid>();
    let request = Request::new(
        uid("Agent::\"bench\"".into())?,
        uid(format!("Action::\"{}\"", call.tool))?,
        uid("Tools::\"all\"".into())?,
        Context::from_json_value(serde_json::from_str(&call.arguments())?, None)?,
        None,
    )?;
    let (authorizer, entities) = (Authorizer::new(), Entities::empty());
    let decide = || authorizer.is_authorized(&request, &policies, &entities);
    assert_eq!(decide().decision(), cedar_policy::Decision::Allow);
    Ok(vec![median(|| {
        black_box(decide());
    })])
}

fn regorus(shape: &Shape, rules: usize) -> Result<Vec<f64>> {
    let mut engine = regorus::Engine::new();
    // It takes files of up to a mebibyte; a package may have many.
    for file in 0..rules.div_ceil(REGO_RULES_MAX) {
        let mut source = String::from("package bench\nimport rego.v1\n");
        if file == 0 {
            source.push_str("default allow := false\n");
        }
        let numbers = file * REGO_RULES_MAX..rules.min((file + 1) * REGO_RULES_MAX);
        for n in numbers {
            let written = (shape.rule)(n);
            writeln!(
                source,
                "allow if {{ input.tool == \"{}\"; {} }}",
                written.tool, written.rego
            )?;
        }
        engine.add_policy(format!("bench{file}.rego"), source)?;
    }
    let call = (shape.call)(rules);
    let input = format!(r#"{{"tool":"{}","args":{}}}"#, call.tool, call.arguments());
    let input = regorus::Value::from_json_str(&input)?;
    let mut decide = || {
        engine.set_input(input.clone());
        engine.eval_rule("data.bench.allow".into())
    };
    assert_eq!(decide()?, regorus::Value::from(true));
    Ok(vec![median(|| {
        let _ = black_box(decide());
    })])
}

/// The median time of one run, in seconds.
fn median(mut run: impl FnMut()) -> f64 {
    let began = Instant::now();
    run();
    let once = began.elapsed().max(Duration::from_nanos(20));
    let mut runs = (SAMPLE.as_nanos() / once.as_nanos()).max(1) as u32;
    // Once more, warm: the first run is the slowest.
    let began = Instant::now();
    for _ in 0..runs {
        run();
    }
    let each = (began.elapsed() / runs).max(Duration::from_nanos(1));
    runs = (SAMPLE.as_nanos() / each.as_nanos()).max(1) as u32;
    let began = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < SAMPLES && (samples.len() < 3 || began.elapsed() < SAMPLES_LONGEST) {
        let began = Instant::now();
        for _ in 0..runs {
            run();
        }
        samples.push(began.elapsed().as_secs_f64() / f64::from(runs));
    }
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn shown(seconds: f64) -> String {
    match seconds * 1e9 {
        ns if ns < 10_000.0 => format!("{ns:.0} ns"),
        ns if ns < 10_000_000.0 => format!("{:.0} µs", ns / 1e3),
        ns => format!("{:.0} ms", ns / 1e6),
    }
}
