//! Every limit and every order of an artifact.

use super::*;
use crate::call;
use crate::policy::pattern;
use std::collections::HashSet;

/// Every limit and every order, except that expressions compile.
pub(super) fn all(artifact: &Artifact) -> Result<(), ArtifactInvalid> {
    let at = |place: &str| {
        let place = place.to_owned();
        move |fault| ArtifactInvalid::Content { place, fault }
    };
    if artifact.requires != capabilities::of(artifact) {
        return Err(at("artifact")(Fault::Demands));
    }
    check_runtime(&artifact.runtime).map_err(at("runtime"))?;
    check_agents(&artifact.agents).map_err(at("agents"))?;
    for agent in &artifact.agents {
        check_agent(agent).map_err(at(&place_of(&agent.name)))?;
        for (number, rule) in (1_usize..).zip(&agent.rules) {
            let place = || format!("{}, rule {}", place_of(&agent.name), number);
            check_rule(rule, agent.tests.len()).map_err(|fault| ArtifactInvalid::Content {
                place: place(),
                fault,
            })?;
        }
    }
    Ok(())
}

fn check_runtime(runtime: &Runtime) -> Result<(), Fault> {
    check_list("kept variables", &runtime.keep_env)?;
    if runtime
        .keep_env
        .iter()
        .any(|name| name.contains(['=', '\0']))
    {
        return Err(Fault::OutOfRange("name of a kept variable"));
    }
    check_list("allowed sockets", &runtime.allowed_sockets)?;
    let is_path = |path: &String| {
        path.starts_with('/') && path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0')
    };
    if !runtime.allowed_sockets.iter().all(is_path) {
        return Err(Fault::OutOfRange("path of an allowed socket"));
    }
    if runtime.cold_start_deny_window_ms == 0
        || runtime.cold_start_deny_window_ms > COLD_START_MS_MAX
    {
        return Err(Fault::OutOfRange("cold start deny window"));
    }
    Ok(())
}

fn check_agents(agents: &[AgentPolicy]) -> Result<(), Fault> {
    at_most("agents", agents.len(), AGENTS_MAX)?;
    ascending("agents", agents.iter().map(|agent| &agent.name))?;
    match agents {
        [] => Err(Fault::Empty("list of agents")),
        [only] if only.name.is_empty() => Ok(()),
        [first, ..] if first.name.is_empty() => Err(Fault::AnonymousBesideOthers),
        all => all.iter().try_for_each(|agent| {
            call::check_agent_name(&agent.name).map_err(|source| Fault::Name {
                what: "agent",
                source,
            })
        }),
    }
}

fn check_agent(agent: &AgentPolicy) -> Result<(), Fault> {
    if let Some(user) = &agent.run_as {
        let named = |source| Fault::Name {
            what: "user of `run_as`",
            source,
        };
        call::check_name(user, USER_BYTES_MAX, "_-.").map_err(named)?;
    }
    at_most("pieces of metadata", agent.metadata.len(), LIST_MAX)?;
    ascending("metadata", agent.metadata.iter().map(|(key, _)| key))?;
    for (key, value) in &agent.metadata {
        check_text("key of metadata", key)?;
        at_most("bytes of metadata", value.len(), TEXT_BYTES_MAX)?;
    }
    at_most("rules", agent.rules.len(), RULES_MAX)?;
    ascending("fields", agent.fields.iter())?;
    agent.fields.iter().try_for_each(check_field)?;
    for field in &agent.fields {
        if let Field::Calculated(steps) = field {
            check_calculation(steps, &agent.fields)?;
        }
    }
    at_most("tests", agent.tests.len(), TESTS_MAX)?;
    let walks = agent.tests.iter().filter(|test| walks(test, &agent.fields));
    at_most("tests that walk through a value", walks.count(), WALKS_MAX)?;
    let ops = agent.rules.iter().map(|rule| rule.condition.len()).sum();
    at_most("steps of conditions", ops, OPS_MAX)?;
    let distinct: HashSet<&Test> = agent.tests.iter().collect();
    if distinct.len() != agent.tests.len() {
        return Err(Fault::Twice("test"));
    }
    agent
        .tests
        .iter()
        .try_for_each(|test| check_test(test, agent.fields.len()))
}

fn check_field(field: &Field) -> Result<(), Fault> {
    let Field::Args(path) = field else {
        return Ok(());
    };
    if path.is_empty() {
        return Err(Fault::Empty("path of an argument"));
    }
    at_most("levels of an argument", path.len(), json::DEPTH_MAX)?;
    path.iter()
        .try_for_each(|name| check_text("name of an argument", name))
}

/// As a condition: it never underflows, never passes its limit, and ends with one number. Its parts are not calculated.
fn check_calculation(steps: &[Step], fields: &[Field]) -> Result<(), Fault> {
    at_most("steps of a calculation", steps.len(), CALCULATION_STEPS_MAX)?;
    let mut waiting = 0_usize;
    for step in steps {
        waiting = match step {
            Step::Field(part) => match fields.get(*part as usize) {
                None | Some(Field::Calculated(_)) => {
                    return Err(Fault::NoSuch("calculation from a field"));
                }
                Some(_) => waiting + 1,
            },
            Step::Number(_) => waiting + 1,
            Step::Add | Step::Subtract | Step::Multiply if waiting < 2 => {
                return Err(Fault::Calculation);
            }
            Step::Add | Step::Subtract | Step::Multiply => waiting - 1,
        };
        at_most("levels of a calculation", waiting, CALCULATION_DEPTH_MAX)?;
    }
    if waiting == 1 {
        Ok(())
    } else {
        Err(Fault::Calculation)
    }
}

/// Whether a test's cost grows with the value. `matches` has a limit of its own.
fn walks(test: &Test, fields: &[Field]) -> bool {
    match test.ask {
        Ask::CompareField(..) | Ask::Contains(_) | Ask::Glob(..) | Ask::AnyGlob(_) => true,
        _ => matches!(
            fields.get(test.field as usize),
            Some(
                Field::Length(_)
                    | Field::Calculated(_)
                    | Field::Sum { .. }
                    | Field::Count { .. }
                    | Field::Denials { .. }
            )
        ),
    }
}

fn check_test(test: &Test, fields: usize) -> Result<(), Fault> {
    let exists = |field: u32| {
        ((field as usize) < fields)
            .then_some(())
            .ok_or(Fault::NoSuch("test of a field"))
    };
    exists(test.field)?;
    match &test.ask {
        Ask::Equals(literal) | Ask::Contains(literal) => check_literal(literal),
        Ask::CompareField(_, other) => exists(*other),
        Ask::In(list) => {
            let first = list.first().ok_or(Fault::Empty("`in` list"))?;
            at_most("values of an `in` list", list.len(), IN_MAX)?;
            if list
                .iter()
                .any(|item| std::mem::discriminant(item) != std::mem::discriminant(first))
            {
                return Err(Fault::MixedTypes);
            }
            ascending("values of an `in` list", list.iter())?;
            list.iter().try_for_each(check_literal)
        }
        Ask::Matches(source) => at_most(
            "bytes of a regular expression",
            source.len(),
            EXPRESSION_BYTES_MAX,
        ),
        Ask::StartsWith(text) | Ask::EndsWith(text) | Ask::Glob(_, text) | Ask::AnyGlob(text) => {
            at_most("bytes of a string", text.len(), LONG_TEXT_BYTES_MAX)
        }
        Ask::Compare(..) | Ask::Has | Ask::IsTrue => Ok(()),
    }
}

fn check_literal(literal: &Literal) -> Result<(), Fault> {
    match literal {
        Literal::String(text) => at_most("bytes of a string", text.len(), LONG_TEXT_BYTES_MAX),
        Literal::Bool(_) | Literal::Number(_) => Ok(()),
    }
}

fn check_rule(rule: &Rule, tests: usize) -> Result<(), Fault> {
    pattern::check(&rule.pattern)?;
    check_condition(&rule.condition, tests)?;
    at_most(
        "bytes of a reason",
        rule.reason.as_ref().map_or(0, String::len),
        TEXT_BYTES_MAX,
    )?;
    check_list("teams to notify", &rule.notify)?;
    at_most("bytes of a rule", rule.text.len(), LONG_TEXT_BYTES_MAX)
}

/// Runs the stack without values: it never underflows, never passes its limit, and ends with one.
fn check_condition(condition: &[Op], tests: usize) -> Result<(), Fault> {
    if condition.is_empty() {
        return Ok(());
    }
    at_most("steps of a condition", condition.len(), OPS_PER_RULE_MAX)?;
    let asked = condition
        .iter()
        .filter(|op| matches!(op, Op::Test(_)))
        .count();
    at_most("tests in a condition", asked, TESTS_PER_RULE_MAX)?;
    let mut waiting = 0_usize;
    for op in condition {
        waiting = match op {
            Op::Test(test) if (*test as usize) >= tests => {
                return Err(Fault::NoSuch("condition has a test"));
            }
            Op::Test(_) | Op::Const(_) => waiting + 1,
            Op::And | Op::Or if waiting < 2 => return Err(Fault::Unbalanced),
            Op::And | Op::Or => waiting - 1,
            Op::Not if waiting < 1 => return Err(Fault::Unbalanced),
            Op::Not => waiting,
        };
        at_most("levels of a condition", waiting, CONDITION_DEPTH_MAX)?;
    }
    if waiting == 1 {
        Ok(())
    } else {
        Err(Fault::Unbalanced)
    }
}

/// A short list of short texts, sorted, each once, none empty.
fn check_list(what: &'static str, list: &[String]) -> Result<(), Fault> {
    at_most(what, list.len(), LIST_MAX)?;
    ascending(what, list.iter())?;
    list.iter().try_for_each(|text| check_text(what, text))
}

fn check_text(what: &'static str, text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::Empty(what));
    }
    at_most("bytes of a text", text.len(), TEXT_BYTES_MAX)
}

const fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), Fault> {
    if count > max {
        Err(Fault::TooMany { what, max })
    } else {
        Ok(())
    }
}

fn ascending<T: Ord>(
    what: &'static str,
    items: impl Iterator<Item = T> + Clone,
) -> Result<(), Fault> {
    let next = items.clone().skip(1);
    if items.zip(next).all(|(a, b)| a < b) {
        Ok(())
    } else {
        Err(Fault::NotSorted(what))
    }
}
