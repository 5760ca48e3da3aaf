//! Two rules of the same tool that spell an argument differently.

use super::Agent;
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::vocabulary::{near_variable, nearest};
use faramesh_core::policy::artifact::{Field, Op, Rule};
use std::collections::BTreeMap;

/// Arguments of one tool whose names are compared with each other: more are no longer a person's.
const NAMES_MAX: usize = 64;

/// `permit pay if args.amount < 5` and `deny pay if args.amout > 9`: one of them is never asked of a real call.
pub(super) fn nearly_the_same(agent: &Agent<'_>, diagnostics: &mut Findings) {
    let mut by_tool: BTreeMap<&str, BTreeMap<String, Span>> = BTreeMap::new();
    for lowered in agent.rules {
        let own: BTreeMap<String, Span> = arguments(agent, &lowered.rule.condition)
            .map(|name| (name, lowered.condition.unwrap_or(lowered.head)))
            .collect();
        let known = by_tool.entry(&lowered.rule.pattern).or_default();
        for (name, span) in &own {
            if known.len() > NAMES_MAX || known.contains_key(name) {
                continue;
            }
            // Who asks for both in one rule means both.
            let others = known.keys().filter(|other| !own.contains_key(*other));
            if let Some(near) = nearest(name, others.map(String::as_str))
                && doubtful(agent, &lowered.rule, name, near)
                && let Some(first) = known.get(near)
            {
                diagnostics.push(finding(&lowered.rule.pattern, name, near, *span, *first));
            }
        }
        known.extend(own);
    }
}

/// Names of the arguments that a condition reads.
fn arguments<'a>(agent: &'a Agent<'_>, condition: &'a [Op]) -> impl Iterator<Item = String> + 'a {
    let read = condition.iter().flat_map(|op| match op {
        Op::Test(test) => agent.tables.read_by(*test),
        _ => Vec::new(),
    });
    read.filter_map(|field| match field {
        Field::Args(path) | Field::Length(path) => Some(path.join(".")),
        _ => None,
    })
}

/// Declared names are meant; so are numbered ones, and one and several. A bare name that is nearly a variable was said
/// already.
fn doubtful(agent: &Agent<'_>, rule: &Rule, name: &str, near: &str) -> bool {
    let declared = agent.declared.argument_names(&rule.pattern);
    let said = near_variable(name) == Some(near) && !rule.text.contains(&format!("args.{name}"));
    let stem = |name: &str| {
        let letters: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
        letters.trim_end_matches('s').to_owned()
    };
    !declared.iter().any(|known| known == name)
        && nearest(name, declared.iter().map(String::as_str)).is_none()
        && !said
        && stem(name) != stem(near)
}

fn finding(tool: &str, name: &str, near: &str, span: Span, first: Span) -> Diagnostic {
    let [name, near] = [name, near].map(|name| format!("args.{name}"));
    let message = format!(
        "{} and {} are nearly the same argument of {}",
        quoted(&name),
        quoted(&near),
        quoted(tool)
    );
    Diagnostic::new(Number::DoubtfulName, message)
        .at(span, format!("reads {}", quoted(&name)))
        .at(first, format!("reads {}", quoted(&near)))
        .suggest(Some(&near))
        .help("if both are meant, declare them in the tool's `tool` block")
}
