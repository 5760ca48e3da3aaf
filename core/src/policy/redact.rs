//! `redact TOOL args: […]`: what records do not keep.
//!
//! Invariant: it comes after the decision and changes nothing of it but what is written down. The record still commits to
//! the whole arguments; the text beside it, and the values that the rules read, go without what is hidden.

use crate::decision::{Decision, REDACTED, Redacted, TestResult};
use crate::json::{Object, Value, write_string};
use crate::pipeline::Question;
use crate::policy::artifact::{AgentPolicy, Artifact, Ask, Field, Redaction, Step, Test};
use crate::policy::{Policy, Verdict, pattern};
use std::collections::{BTreeMap, BTreeSet};

/// Results of tests on hidden values that one record keeps: four rules as large as a rule can be.
const RESULTS_MAX: usize = 4_096;

/// Says what records keep in place of the arguments. An agent that the policy does not know is held to what it hides of
/// any: nobody can say which would have been meant.
pub(crate) fn arguments(
    mut decision: Decision,
    question: &Question<'_>,
    policy: &Policy,
) -> Decision {
    let call = question.attested.call();
    let paths = match policy.agent(question.attested.agent()) {
        Some(agent) => hidden(&agent.redactions, call.tool()),
        None => hidden_of_any(policy.artifact(), call.tool()),
    };
    if !paths.is_empty() {
        decision.redacted = redacted(call.arguments(), &paths).map(Box::new);
    }
    decision
}

/// Puts in the place of each hidden value that was read what the tests on it came out as.
pub(crate) fn inputs(mut decision: Decision, verdict: &Verdict<'_, '_>) -> Decision {
    let (agent, tool) = (verdict.agent(), verdict.tool());
    let hidden = hidden(&agent.redactions, tool);
    if hidden.is_empty() {
        return decision;
    }
    let read = verdict
        .read()
        .filter(|read| is_hidden(read.field, agent, &hidden));
    let read: BTreeMap<&str, u32> = read.map(|read| (read.name, read.number)).collect();
    let mut results = results_of(read.values().copied(), verdict);
    let mut left = RESULTS_MAX;
    for input in &mut decision.inputs {
        let field = read.get(input.field.as_str());
        // A path that a call names is an input too, and need not be a field of any test.
        if field.is_none() && !hidden.iter().any(|path| is_named(&input.field, path)) {
            continue;
        }
        if input.value.is_some() {
            input.value = Some(REDACTED.to_owned());
        }
        if let Some(results) = field.and_then(|field| results.get_mut(field)) {
            results.truncate(left);
            left -= results.len();
            input.results.clone_from(results);
        }
    }
    decision
}

/// Of each of these fields the tests whose outcome rests on it, in the order of their numbers, and what they came out as.
fn results_of(
    fields: impl Iterator<Item = u32>,
    verdict: &Verdict<'_, '_>,
) -> BTreeMap<u32, Vec<(u32, TestResult)>> {
    let mut results: BTreeMap<u32, Vec<(u32, TestResult)>> =
        fields.map(|field| (field, Vec::new())).collect();
    if results.is_empty() {
        return results;
    }
    for (number, test, result) in verdict.results() {
        for field in read_by(test, verdict.agent()) {
            if let Some(results) = results.get_mut(&field)
                && results.last() != Some(&(number, result))
            {
                results.push((number, result));
            }
        }
    }
    results
}

/// The fields that a test's outcome rests on: its own, the one that it is compared with, and what they are calculated
/// from.
fn read_by(test: &Test, agent: &AgentPolicy) -> Vec<u32> {
    let mut fields = vec![test.field];
    if let Ask::CompareField(_, other) = test.ask {
        fields.push(other);
    }
    for at in 0..fields.len() {
        let field = fields
            .get(at)
            .and_then(|field| agent.fields.get(*field as usize));
        if let Some(Field::Calculated(steps)) = field {
            fields.extend(steps.iter().filter_map(|step| match step {
                Step::Field(part) => Some(*part),
                _ => None,
            }));
        }
    }
    fields
}

/// The paths that are hidden of a tool's arguments.
fn hidden<'p>(redactions: &'p [Redaction], tool: &str) -> Vec<&'p [String]> {
    let of_tool = redactions
        .iter()
        .filter(|redaction| pattern::matches(&redaction.pattern, tool));
    let paths: BTreeSet<&[String]> = of_tool
        .flat_map(|redaction| redaction.paths.iter().map(Vec::as_slice))
        .collect();
    paths.into_iter().collect()
}

fn hidden_of_any<'p>(artifact: &'p Artifact, tool: &str) -> Vec<&'p [String]> {
    let of_agents = artifact
        .agents
        .iter()
        .flat_map(|agent| hidden(&agent.redactions, tool));
    let paths: BTreeSet<&[String]> = of_agents.collect();
    paths.into_iter().collect()
}

/// The arguments without what is hidden; `None` where nothing of it is there.
fn redacted(arguments: &Object, paths: &[&[String]]) -> Option<Redacted> {
    let mut names = BTreeSet::new();
    let mut text = String::new();
    let paths: Vec<Rest<'_>> = paths.iter().map(|path| Rest { path, rest: path }).collect();
    write_object(arguments, &paths, &mut text, &mut names);
    (!names.is_empty()).then(|| Redacted {
        arguments: text,
        names: names.into_iter().collect(),
    })
}

/// A hidden path, and what is left of it at some depth.
#[derive(Clone, Copy)]
struct Rest<'p> {
    path: &'p [String],
    rest: &'p [String],
}

fn write_object(
    object: &Object,
    paths: &[Rest<'_>],
    out: &mut String,
    names: &mut BTreeSet<String>,
) {
    out.push('{');
    for (index, (name, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        let below: Vec<Rest<'_>> = paths.iter().flat_map(|path| path.below(name)).collect();
        write_value(value, &below, out, names);
    }
    out.push('}');
}

/// A list stands for each of its elements.
fn write_value(value: &Value, paths: &[Rest<'_>], out: &mut String, names: &mut BTreeSet<String>) {
    if let Some(hidden) = paths.iter().find(|path| path.rest.is_empty()) {
        names.insert(shown(hidden.path));
        write_string(REDACTED, out);
        return;
    }
    match value {
        _ if paths.is_empty() => value.write_canonical(out),
        Value::Object(object) => write_object(object, paths, out, names),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, paths, out, names);
            }
            out.push(']');
        }
        _ => value.write_canonical(out),
    }
}

impl<'p> Rest<'p> {
    /// What is left below a member. Names are the same in either case and whatever white space is around them, and one
    /// member's name may be several joined by dots: to hide too much costs nothing but text.
    fn below(&self, name: &str) -> Vec<Rest<'p>> {
        let (mut name, mut rest, path) = (name.trim(), self.rest, self.path);
        let mut below = Vec::new();
        while let Some((first, behind)) = rest.split_first() {
            let first = first.trim();
            let Some((head, tail)) = name.split_at_checked(first.len()) else {
                break;
            };
            if !head.eq_ignore_ascii_case(first) {
                break;
            }
            let tail = tail.trim_start();
            if tail.is_empty() {
                below.push(Rest { path, rest: behind });
            }
            let Some(tail) = tail.strip_prefix('.') else {
                break;
            };
            (name, rest) = (tail.trim_start(), behind);
        }
        below
    }
}

/// As a policy writes it.
fn shown(path: &[String]) -> String {
    let name = Field::Args(path.to_vec()).to_string();
    name.strip_prefix("args.").unwrap_or(&name).to_owned()
}

/// Whether what is read there is hidden, is part of it, or has it as a part.
fn touches(path: &[String], hidden: &[&[String]]) -> bool {
    let path = path.join(".");
    hidden
        .iter()
        .any(|hidden| overlap(&path, &hidden.join(".")))
}

/// Whether of two arguments, each written as `card.number`, one is the other or lies in it, in whatever spelling.
pub fn overlap(a: &str, b: &str) -> bool {
    let mut both = spelled(a).into_iter().zip(spelled(b));
    both.all(|(a, b)| a == b)
}

/// The names of a path in one spelling: `Card. number`, `card.number` and `"card.number"` are the same.
fn spelled(path: &str) -> Vec<String> {
    let is_around = |letter: char| letter == '"' || letter.is_whitespace();
    path.split('.')
        .map(|name| name.trim_matches(is_around).to_ascii_lowercase())
        .collect()
}

/// Whether one path lies in the other.
pub(crate) fn is_part_of(path: &[String], hidden: &[String]) -> bool {
    touches(path, &[hidden])
}

/// Whether a field's value shows something that is hidden.
fn is_hidden(field: &Field, agent: &AgentPolicy, hidden: &[&[String]]) -> bool {
    match field {
        Field::Args(path) | Field::Length(path) => touches(path, hidden),
        Field::Purpose => touches(&["purpose".to_owned()], hidden),
        Field::Calculated(steps) => steps.iter().any(|step| match step {
            Step::Field(part) => agent
                .fields
                .get(*part as usize)
                .is_some_and(|part| is_hidden(part, agent, hidden)),
            _ => false,
        }),
        _ => false,
    }
}

/// Whether an input that no field stands for shows a hidden argument.
fn is_named(input: &str, hidden: &[String]) -> bool {
    let (input, hidden) = (spelled(input), spelled(&hidden.join(".")));
    let (root, names) = input
        .split_first()
        .map_or(("", &[][..]), |(root, names)| (root, names));
    root == "args" && names.starts_with(&hidden)
}
