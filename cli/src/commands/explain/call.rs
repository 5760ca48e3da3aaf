//! `faramesh explain call`: rule by rule, why a call is decided as it is. Asks no daemon and performs nothing.
#![forbid(unsafe_code)]

use crate::args::{ExplainCallArgs, Global};
use crate::commands::govern;
use crate::commands::policy::Known;
use crate::failure::{Failure, exit};
use crate::layout;
use crate::names;
use crate::output::{Output, Paint};
use crate::policies;
use crate::source;
use crate::stack;
use crate::trial::{Clock, Supposition, Trial};
use crate::untrusted::{Untrusted, Written};
use faramesh_core::decision::{Decision, Effect};
use faramesh_core::policy::artifact::{Artifact, Ask, Literal, Order, Relation};
use faramesh_core::policy::trace::{TracedFact, TracedRule, TracedTest};
use faramesh_core::policy::{Policy, Truth};
use faramesh_policy_compiler::SourceMap;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Explained<'a> {
    agent: &'a str,
    tool: &'a str,
    args: Option<&'a str>,
    policy: &'a str,
    effect: &'static str,
    would: Option<&'static str>,
    code: Option<&'static str>,
    message: &'a str,
    missing: &'a [String],
    rule: Option<Place>,
    default: bool,
    not_considered: &'a [String],
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
struct Place {
    /// From 1, as everywhere that a person sees it.
    number: u32,
    line: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Rule {
    number: u32,
    line: Option<u32>,
    text: String,
    outcome: &'static str,
    condition: Option<&'static str>,
    tests: Vec<Test>,
}

#[derive(Debug, Serialize)]
struct Test {
    test: String,
    result: &'static str,
    facts: Vec<Fact>,
}

#[derive(Debug, Serialize)]
struct Fact {
    field: String,
    source: &'static str,
    value: Option<String>,
    undeclared: bool,
}

/// What is said beside the decision.
struct Beside {
    /// Why the agent is none of the policy's.
    agent: Option<String>,
    /// What the decision does not look at.
    not_considered: Vec<String>,
}

/// What became of a rule.
const OUTSIDE: &str = "other tools";
const PASSED_OVER: &str = "not asked";
const NO: &str = "no";
const MAYBE: &str = "maybe";
const APPLIES: &str = "applies";
const DECIDES: &str = "decides";

/// Explains one call.
///
/// # Errors
/// The policy cannot be read or has errors, or what is supposed is no fact of it.
pub fn run(global: &Global, args: &ExplainCallArgs, output: &Output) -> Result<u8, Failure> {
    let (artifact, map, name) = policy(global, args, output)?;
    let policy = Policy::of(&artifact)
        .map_err(|e| Failure::internal(format!("the policy does not load: {e}")))?;
    let suppositions = args
        .suppose
        .iter()
        .map(|given| supposition(given))
        .collect::<Result<Vec<_>, _>>()?;
    let arguments = govern::arguments(&args.args)?;
    // A key that stands twice is JSON: that it is no call is the answer.
    if let Err(why) = serde_json::from_slice::<serde::de::IgnoredAny>(&arguments) {
        return Err(Failure::usage(format!("the arguments are not JSON: {why}"))
            .next("write an object with its names in quotes: `--args '{\"to\": 1}'`"));
    }
    let beside = Beside {
        agent: names::unknown_agent(&artifact, &args.agent),
        not_considered: names::not_considered(&artifact),
    };
    let trial = Trial::new(
        &policy,
        &args.agent,
        &args.tool,
        &arguments,
        &suppositions,
        Clock::Live,
    )
    .map_err(|why| Failure::usage(Untrusted(&why).to_string()))?;
    let decision = trial.decide(&policy);
    let lines = map.agents.get(&args.agent).or_else(|| map.agents.get(""));
    let line = |number: u32| lines.and_then(|lines| lines.get(number as usize)).copied();
    let rules: Vec<Rule> = trial
        .trace(&policy)
        .iter()
        .map(|traced| rule(traced, line(traced.number), &decision))
        .collect();
    people(&name, &decision, &rules, line, args, &beside, output);
    output.json(&Explained {
        agent: &args.agent,
        tool: &args.tool,
        args: trial.arguments(),
        policy: &name,
        effect: decision.effect.as_str(),
        would: decision.would.map(Effect::as_str),
        code: decision.code.map(|code| code.as_str()),
        message: &decision.message,
        missing: &decision.missing,
        rule: decision.rule.map(|number| Place {
            number: number + 1,
            line: line(number),
        }),
        default: decision.rule.is_none(),
        not_considered: &beside.not_considered,
        rules,
    });
    Ok(exit::OK)
}

/// The policy of the stack's file, or with `--applied` the one in force.
fn policy(
    global: &Global,
    args: &ExplainCallArgs,
    output: &Output,
) -> Result<(Artifact, SourceMap, String), Failure> {
    if !args.applied {
        let (compiled, findings) = source::compile_valid(&layout::source(&global.dir), output)?;
        return Ok((compiled.artifact, compiled.map, findings.file));
    }
    let layout = stack::applied(global)?;
    let known = Known::of(&layout)?;
    let named = known
        .in_force()
        .ok_or_else(|| Failure::data("nothing is in force").next("leave --applied out"))?;
    let artifact = policies::artifact(&layout, &named.digest)?;
    let lines = policies::lines(&layout, &named.digest);
    let name = match lines.file.as_str() {
        "" => format!("{} {}", layout.stack, named.number),
        file => file.to_owned(),
    };
    Ok((artifact, lines.map, name))
}

/// `time.hour=3`: what is no JSON is text.
fn supposition(given: &str) -> Result<Supposition, Failure> {
    // A function has a `=` of its own: `session.sum(stripe/refund.amount, window=1h)=900`.
    let behind = match (given.find('('), given.find('=')) {
        (Some(open), Some(equals)) if open < equals => given.find(')').unwrap_or_default(),
        _ => 0,
    };
    let sign = given.get(behind..).and_then(|rest| rest.find('='));
    let (name, value) = sign
        .and_then(|at| Some((given.get(..behind + at)?, given.get(behind + at + 1..)?)))
        .ok_or_else(|| {
            Failure::usage(format!("`{}` supposes nothing", Untrusted(given)))
                .next("write a fact and its value: `--suppose time.hour=3`")
        })?;
    let value = match faramesh_core::json::parse(value.as_bytes()) {
        Ok(_) => value.to_owned(),
        Err(_) => serde_json::Value::from(value).to_string(),
    };
    Ok(Supposition {
        name: name.trim().to_owned(),
        value,
    })
}

fn rule(traced: &TracedRule<'_>, line: Option<u32>, decision: &Decision) -> Rule {
    let outcome = match traced.truth {
        _ if decision.rule == Some(traced.number) => DECIDES,
        None => OUTSIDE,
        Some(_) if traced.passed_over => PASSED_OVER,
        Some(Truth::No) => NO,
        Some(Truth::Maybe) => MAYBE,
        Some(Truth::Yes) => APPLIES,
    };
    Rule {
        number: traced.number + 1,
        line,
        text: traced.rule.text.clone(),
        outcome,
        // What nobody asks for has no answer.
        condition: traced.truth.filter(|_| outcome != PASSED_OVER).map(word),
        tests: match outcome {
            PASSED_OVER => Vec::new(),
            _ => traced.tests.iter().map(test).collect(),
        },
    }
}

fn test(traced: &TracedTest<'_>) -> Test {
    Test {
        test: asked(traced),
        result: word(traced.truth),
        facts: traced.facts.iter().map(fact).collect(),
    }
}

fn fact(traced: &TracedFact) -> Fact {
    Fact {
        field: traced.field.clone(),
        source: traced.source,
        value: traced.value.clone(),
        undeclared: traced.undeclared,
    }
}

const fn word(truth: Truth) -> &'static str {
    match truth {
        Truth::No => "no",
        Truth::Maybe => "maybe",
        Truth::Yes => "yes",
    }
}

/// A test as the policy writes it, as far as one line holds it.
fn asked(test: &TracedTest<'_>) -> String {
    let mut fields = test.facts.iter().map(|fact| fact.field.as_str());
    let left = fields.next().unwrap_or("a calculation");
    let right = fields.next().unwrap_or("a calculation");
    match test.ask {
        Ask::Equals(value) => format!("{left} == {}", literal(value)),
        Ask::Compare(order, number) => format!("{left} {} {number}", sign(*order)),
        Ask::CompareField(relation, _) => match relation {
            Relation::Equal => format!("{left} == {right}"),
            Relation::Order(order) => format!("{left} {} {right}", sign(*order)),
            Relation::Contains => format!("{left} contains {right}"),
            Relation::StartsWith => format!("{left} starts_with {right}"),
            Relation::EndsWith => format!("{left} ends_with {right}"),
        },
        Ask::In(values) => {
            let values: Vec<String> = values.iter().map(literal).collect();
            format!("{left} in [{}]", values.join(", "))
        }
        Ask::Matches(expression) => format!("{left} matches {expression:?}"),
        Ask::Contains(value) => format!("{left} contains {}", literal(value)),
        Ask::StartsWith(text) => format!("{left} starts_with {text:?}"),
        Ask::EndsWith(text) => format!("{left} ends_with {text:?}"),
        Ask::Glob(_, glob) => format!("{left} is like {glob:?}"),
        Ask::AnyGlob(glob) => format!("{left} has one like {glob:?}"),
        Ask::Has => format!("has {left}"),
        Ask::IsTrue => left.to_owned(),
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Bool(value) => value.to_string(),
        Literal::Number(number) => number.to_string(),
        Literal::String(text) => format!("{text:?}"),
    }
}

const fn sign(order: Order) -> &'static str {
    match order {
        Order::Less => "<",
        Order::LessOrEqual => "<=",
        Order::Greater => ">",
        Order::GreaterOrEqual => ">=",
    }
}

fn people(
    name: &str,
    decision: &Decision,
    rules: &[Rule],
    line: impl Fn(u32) -> Option<u32>,
    args: &ExplainCallArgs,
    beside: &Beside,
    output: &Output,
) {
    let place = |number: u32, line: Option<u32>| match line {
        Some(line) => format!("{name}:{line}"),
        None => format!("{name}, rule {number}"),
    };
    let paint = match decision.effect {
        Effect::Permit => Paint::Good,
        Effect::Defer => Paint::Caution,
        Effect::Deny => Paint::Bad,
    };
    let code = decision.code.map_or("", |code| code.as_str());
    let effect = output.paint(paint, &decision.effect.as_str().to_uppercase());
    output.line(format!("{effect}  {code}").trim_end());
    output.line(format!("  message   {}", Untrusted(&decision.message)));
    if let Some(would) = decision.would {
        output.line(format!("  would     {} (shadow mode)", would.as_str()));
    }
    output.line(match decision.rule {
        Some(number) => format!(
            "  decided   by {}",
            Untrusted(&place(number + 1, line(number)))
        ),
        None => "  decided   by no rule".to_owned(),
    });
    if !decision.missing.is_empty() {
        output.line(format!(
            "  missing   {}",
            Untrusted(&decision.missing.join(", "))
        ));
    }
    if let Some(why) = &beside.agent {
        output.line(format!("  agent     {}", Untrusted(why)));
    }
    if !beside.not_considered.is_empty() {
        output.line(format!(
            "  beside    not considered: {}",
            Untrusted(&beside.not_considered.join(", "))
        ));
    }
    let (others, met): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| rule.outcome == OUTSIDE);
    for rule in met {
        let paint = match rule.outcome {
            DECIDES => Paint::Strong,
            MAYBE => Paint::Caution,
            _ => Paint::Faint,
        };
        output.line("");
        output.line(format!(
            "{}  {}",
            output.paint(paint, &format!("{:9}", rule.outcome)),
            Written(&rule.text)
        ));
        output.line(format!(
            "           {}",
            Untrusted(&place(rule.number, rule.line))
        ));
        rule.tests.iter().for_each(|test| show(test, output));
    }
    if !others.is_empty() {
        output.line("");
        output.line(format!(
            "{} for other tools than `{}`",
            crate::commands::check::count(others.len(), "rule"),
            Untrusted(&args.tool)
        ));
    }
}

fn show(test: &Test, output: &Output) {
    let facts: Vec<String> = test
        .facts
        .iter()
        .map(|fact| {
            let value = match &fact.value {
                Some(value) => Written(value).to_string(),
                None if fact.undeclared => "not declared by its closed tool".to_owned(),
                None => "absent".to_owned(),
            };
            format!("{} is {value} ({})", Written(&fact.field), fact.source)
        })
        .collect();
    output.line(format!(
        "           {:5}  {}: {}",
        test.result,
        Written(&test.test),
        facts.join(", ")
    ));
}
