//! Every limit and every order of an artifact.

use super::*;
use crate::call;
use crate::decision::Code;
use crate::policy::{paths, pattern, windows};
use std::collections::{BTreeSet, HashSet};

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
    check_windows(artifact).map_err(at("artifact"))?;
    check_declarations(&artifact.declarations, 0).map_err(at("artifact"))?;
    for agent in &artifact.agents {
        check_agent(agent).map_err(at(&place_of(&agent.name)))?;
        let place = place_of(&agent.name);
        check_rules(&agent.rules, agent.tests.len(), &place)?;
        for phase in &agent.phases {
            let place = format!("{place}, phase `{}`", phase.name);
            check_phase(phase).map_err(at(&place))?;
            check_rules(&phase.rules, agent.tests.len(), &place)?;
        }
    }
    Ok(())
}

fn check_rules(rules: &[Rule], tests: usize, place: &str) -> Result<(), ArtifactInvalid> {
    for (number, rule) in (1_usize..).zip(rules) {
        check_rule(rule, tests).map_err(|fault| ArtifactInvalid::Content {
            place: format!("{place}, rule {number}"),
            fault,
        })?;
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
    if let Some(anchor) = &runtime.anchor {
        if !(1..=ANCHOR_QUORUM_MAX).contains(&anchor.quorum) {
            return Err(Fault::OutOfRange("quorum of witnesses"));
        }
        if !(ANCHOR_LAG_MS.0..=ANCHOR_LAG_MS.1).contains(&anchor.max_lag_ms) {
            return Err(Fault::OutOfRange("lag behind the witnesses"));
        }
    }
    check_zone(&runtime.zone)?;
    at_most("settings", runtime.declared.len(), LIST_MAX)?;
    let keys = runtime.declared.iter().map(|setting| &setting.key);
    ascending("settings", keys)?;
    runtime.declared.iter().try_for_each(check_setting)
}

fn check_zone(zone: &Zone) -> Result<(), Fault> {
    check_text("name of a time zone", &zone.name)?;
    at_most(
        "transitions of a time zone",
        zone.transitions.len(),
        TRANSITIONS_MAX,
    )?;
    ascending(
        "transitions of a time zone",
        zone.transitions.iter().map(|(from, _)| from),
    )?;
    let mut offsets = zone.transitions.iter().map(|(_, offset)| *offset);
    if offsets
        .by_ref()
        .chain([zone.offset])
        .any(|offset| offset.unsigned_abs() > ZONE_OFFSET_SECONDS_MAX)
    {
        return Err(Fault::OutOfRange("offset of a time zone"));
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
    let in_phases = agent.phases.iter().map(|phase| phase.rules.len());
    let rules = in_phases.fold(agent.rules.len(), usize::saturating_add);
    at_most("rules", rules, RULES_MAX)?;
    check_list("required layers", &agent.demands)?;
    check_schemas(&agent.schemas)?;
    agent.paths.iter().try_for_each(check_paths)?;
    check_redactions(agent)?;
    at_most("examples", agent.examples.len(), EXAMPLES_MAX)?;
    agent.examples.iter().try_for_each(check_example)?;
    at_most("phases", agent.phases.len(), LIST_MAX)?;
    let phases: BTreeSet<&String> = agent.phases.iter().map(|phase| &phase.name).collect();
    if phases.len() != agent.phases.len() {
        return Err(Fault::Twice("phase"));
    }
    check_declarations(&agent.declarations, 0)?;
    at_most("fields", agent.fields.len(), FIELDS_MAX)?;
    ascending("fields", agent.fields.iter())?;
    for field in &agent.fields {
        check_field(field)?;
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
    match field {
        Field::Args(path) | Field::Length(path) => check_path(path),
        Field::Query(name)
        | Field::Principal(name)
        | Field::Delegation(name)
        | Field::Enforcement(name) => check_text("name of a field", name),
        Field::Header(name) => {
            check_text("name of a header", name)?;
            if name.chars().any(|letter| letter.is_ascii_uppercase()) {
                return Err(Fault::OutOfRange(
                    "name of a header, which is in lower case,",
                ));
            }
            Ok(())
        }
        Field::Selector(name, path) => {
            check_text("name of a selector", name)?;
            // Without a path it is the selector's own value: `user_role == "ops"`.
            if path.is_empty() {
                return Ok(());
            }
            check_path(path)
        }
        Field::Sum {
            pattern,
            path,
            window_ms,
        } => {
            pattern::check(pattern)?;
            check_path(path)?;
            check_window(*window_ms)
        }
        Field::Count { pattern, window_ms } => {
            pattern::check(pattern)?;
            check_window(*window_ms)
        }
        Field::Denials { window_ms } => check_window(*window_ms),
        Field::Calculated(_)
        | Field::Tool
        | Field::Action
        | Field::Agent
        | Field::Model
        | Field::Purpose
        | Field::Door
        | Field::Host
        | Field::Port
        | Field::Method
        | Field::Path
        | Field::Time(_)
        | Field::Session(_) => Ok(()),
    }
}

fn check_path(path: &[String]) -> Result<(), Fault> {
    if path.is_empty() {
        return Err(Fault::Empty("path of an argument"));
    }
    at_most("levels of an argument", path.len(), json::DEPTH_MAX)?;
    path.iter()
        .try_for_each(|name| check_text("name of an argument", name))
}

const fn check_window(window_ms: Option<u64>) -> Result<(), Fault> {
    match window_ms {
        Some(window_ms) if window_ms == 0 || window_ms > WINDOW_MS_MAX => {
            Err(Fault::OutOfRange("window"))
        }
        _ => Ok(()),
    }
}

/// Names of windows go into records, which never cut them.
fn check_windows(artifact: &Artifact) -> Result<(), Fault> {
    let names = windows::Windows::of(artifact).names();
    at_most("different sums and counts", names.len(), WINDOWS_MAX)?;
    names
        .iter()
        .try_for_each(|name| at_most("bytes of a sum or count", name.len(), WINDOW_BYTES_MAX))
}

/// Runs the stack without values, as for a condition; and nothing calculated is calculated with.
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

fn check_schemas(schemas: &[ToolSchema]) -> Result<(), Fault> {
    at_most("schemas of tools", schemas.len(), SCHEMAS_MAX)?;
    let patterns = schemas.iter().map(|schema| &schema.pattern);
    ascending("schemas of tools", patterns)?;
    for schema in schemas {
        pattern::check(&schema.pattern)?;
        let arguments = &schema.arguments;
        at_most("arguments of a schema", arguments.len(), ARGUMENTS_MAX)?;
        let paths = arguments.iter().map(|argument| &argument.path);
        ascending("arguments of a schema", paths.clone())?;
        paths
            .into_iter()
            .try_for_each(|path| check_path(path.as_slice()))?;
    }
    Ok(())
}

fn check_paths(rules: &PathRules) -> Result<(), Fault> {
    let lists = [
        ("globs of `read_exclude`", &rules.read_exclude),
        ("globs of `edit_deny`", &rules.edit_deny),
        ("globs of `edit_protected`", &rules.edit_protected),
        ("globs of `edit_allow`", &rules.edit_allow),
    ];
    for (what, globs) in lists {
        at_most(what, globs.len(), PATH_GLOBS_MAX)?;
        ascending(what, globs.iter())?;
        for glob in globs {
            let refused = |why| Fault::Glob {
                glob: glob.clone(),
                why,
            };
            paths::check_glob(glob).map_err(refused)?;
        }
    }
    Ok(())
}

/// What is summed has to be in the journal, which sums are made of again; what is redacted is not.
fn check_redactions(agent: &AgentPolicy) -> Result<(), Fault> {
    let redactions = &agent.redactions;
    at_most("redactions", redactions.len(), SCHEMAS_MAX)?;
    let patterns = redactions.iter().map(|redaction| &redaction.pattern);
    ascending("redactions", patterns)?;
    for redaction in redactions {
        pattern::check(&redaction.pattern)?;
        if redaction.paths.is_empty() {
            return Err(Fault::Empty("list of redacted arguments"));
        }
        at_most("redacted arguments", redaction.paths.len(), ARGUMENTS_MAX)?;
        ascending("redacted arguments", redaction.paths.iter())?;
        redaction
            .paths
            .iter()
            .try_for_each(|path| check_path(path.as_slice()))?;
    }
    for field in &agent.fields {
        let Field::Sum { pattern, path, .. } = field else {
            continue;
        };
        let is_redacted = redactions.iter().any(|redaction| {
            let mut paths = redaction.paths.iter();
            paths.any(|hidden| crate::policy::redact::is_part_of(path, hidden))
                && pattern::may_meet(&redaction.pattern, pattern)
        });
        if is_redacted {
            return Err(Fault::SumOfRedacted(field.to_string()));
        }
    }
    Ok(())
}

fn check_example(example: &Example) -> Result<(), Fault> {
    call::check_tool_name(&example.tool).map_err(|source| Fault::Name {
        what: "tool of an example",
        source,
    })?;
    let known = |code: &String| Code::ALL.iter().any(|known| known.as_str() == code);
    if !example.code.iter().all(known) {
        return Err(Fault::NoSuch("example with a code"));
    }
    match json::parse(example.arguments.as_bytes()) {
        Ok(json::Value::Object(object)) if is_canonical(&object, &example.arguments) => {}
        _ => {
            return Err(Fault::OutOfRange(
                "canonical text of an example's arguments",
            ));
        }
    }
    at_most("facts of an example", example.given.len(), LIST_MAX)?;
    ascending(
        "facts of an example",
        example.given.iter().map(|(field, _)| field),
    )?;
    for (field, value) in &example.given {
        check_field(field)?;
        if matches!(field, Field::Calculated(_)) {
            return Err(Fault::NoSuch("example with a fact"));
        }
        let parsed = json::parse(value.as_bytes());
        if !parsed.is_ok_and(|parsed| parsed.canonical() == *value) {
            return Err(Fault::OutOfRange("canonical text of an example's fact"));
        }
    }
    Ok(())
}

fn is_canonical(object: &json::Object, text: &str) -> bool {
    let mut canonical = String::with_capacity(text.len());
    object.write_canonical(&mut canonical);
    canonical == text
}

fn check_phase(phase: &Phase) -> Result<(), Fault> {
    check_text("name of a phase", &phase.name)?;
    check_settings(&phase.settings)
}

fn check_declarations(declarations: &[Declaration], depth: usize) -> Result<(), Fault> {
    at_most("levels of blocks", depth, DECLARATION_DEPTH_MAX)?;
    at_most("blocks", declarations.len(), DECLARATIONS_MAX)?;
    sorted("blocks", declarations.iter())?;
    for declaration in declarations {
        check_text("keyword of a block", &declaration.keyword)?;
        at_most("labels of a block", declaration.labels.len(), LIST_MAX)?;
        declaration
            .labels
            .iter()
            .try_for_each(|label| check_datum(label, 0))?;
        check_settings(&declaration.settings)?;
        check_declarations(&declaration.inner, depth + 1)?;
    }
    Ok(())
}

/// Some keys may stand several times.
fn check_settings(settings: &[Setting]) -> Result<(), Fault> {
    at_most("settings", settings.len(), LIST_MAX)?;
    sorted("settings", settings.iter().map(|setting| &setting.key))?;
    settings.iter().try_for_each(check_setting)
}

fn check_setting(setting: &Setting) -> Result<(), Fault> {
    check_text("key of a setting", &setting.key)?;
    at_most("values of a setting", setting.values.len(), LIST_MAX)?;
    setting
        .values
        .iter()
        .try_for_each(|value| check_datum(value, 0))
}

fn check_datum(datum: &Datum, depth: usize) -> Result<(), Fault> {
    at_most("levels of a list", depth, DECLARATION_DEPTH_MAX)?;
    match datum {
        Datum::Bool(_) | Datum::Number(..) => Ok(()),
        Datum::Text(text) => at_most("bytes of a text", text.len(), TEXT_BYTES_MAX),
        Datum::Env(name) => check_text("name of a variable", name),
        Datum::List(items) => {
            at_most("values of a list", items.len(), IN_MAX)?;
            items
                .iter()
                .try_for_each(|item| check_datum(item, depth + 1))
        }
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
        Ask::StartsWith(text) | Ask::EndsWith(text) => {
            at_most("bytes of a string", text.len(), LONG_TEXT_BYTES_MAX)
        }
        Ask::Glob(_, text) | Ask::AnyGlob(text) => check_text("glob", text),
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

fn sorted<T: Ord>(what: &'static str, items: impl Iterator<Item = T> + Clone) -> Result<(), Fault> {
    let next = items.clone().skip(1);
    if items.zip(next).all(|(a, b)| a <= b) {
        Ok(())
    } else {
        Err(Fault::Unsorted(what))
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
