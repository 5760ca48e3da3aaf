//! A tree as a file: in either dialect, with as many parentheses as chance likes.

use crate::chance::Chance;
use crate::json::quoted;
use crate::number::Number;
use crate::tree::{Agent, Clause, Expr, Policy, Relation, Rule, Schema, Sign, Unit, Verb};
use std::fmt::Write as _;

/// The FPL form.
pub(crate) fn fpl(policy: &Policy, chance: &mut Chance) -> String {
    let mut out = String::new();
    let mut settings = Vec::new();
    if policy.shadow {
        let mode = chance.pick(&["shadow", "audit"]);
        settings.push(setting("mode", mode, chance));
    }
    if policy.zone != "UTC" {
        settings.push(setting("timezone", &quoted(&policy.zone), chance));
    }
    if !settings.is_empty() {
        let _ = writeln!(out, "runtime {{ {} }}", settings.join(" "));
    }
    for agent in &policy.agents {
        print_agent(agent, chance, &mut out);
    }
    out
}

/// `key value`, `key = value` or `key: value`.
fn setting(key: &str, value: &str, chance: &mut Chance) -> String {
    let sign = chance.pick(&[" ", " = ", ": "]);
    format!("{key}{sign}{value}")
}

fn print_agent(agent: &Agent, chance: &mut Chance, out: &mut String) {
    let flat = agent.name.is_empty();
    if !flat {
        let name = if chance.one_in(2) {
            quoted(&agent.name)
        } else {
            agent.name.clone()
        };
        let _ = writeln!(out, "agent {name} {{");
    }
    let _ = writeln!(
        out,
        "  {}",
        setting("default", agent.default.as_str(), chance)
    );
    for (name, value) in &agent.vars {
        let value = operand(value, chance);
        let _ = writeln!(out, "  var {name} {}{value}", chance.pick(&["", "= "]));
    }
    for layer in &agent.demands {
        let _ = writeln!(out, "  require enforcement {layer}");
    }
    for schema in &agent.schemas {
        print_schema(schema, chance, out);
    }
    if let Some(paths) = &agent.paths {
        out.push_str("  paths {\n");
        for (key, globs) in [
            ("read_exclude", &paths.read_exclude),
            ("edit_deny", &paths.edit_deny),
            ("edit_protected", &paths.edit_protected),
            ("edit_allow", &paths.edit_allow),
        ] {
            if !globs.is_empty() {
                let _ = writeln!(out, "    {}", setting(key, &strings(globs), chance));
            }
        }
        out.push_str("  }\n");
    }
    for (tool, fields) in &agent.redactions {
        let _ = writeln!(out, "  redact {tool} args: {}", strings(fields));
    }
    let block = chance.one_in(2);
    if block {
        out.push_str("  rules {\n");
    }
    for rule in &agent.rules {
        print_rule(rule, chance, out);
    }
    if block {
        out.push_str("  }\n");
    }
    if !flat {
        out.push_str("}\n");
    }
}

fn strings(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

fn print_schema(schema: &Schema, chance: &mut Chance, out: &mut String) {
    let _ = writeln!(out, "  tool {} {{", quoted(&schema.tool));
    for argument in &schema.arguments {
        let required = if argument.required { " required" } else { "" };
        let _ = writeln!(
            out,
            "    arg {}: {}{required}",
            argument.path.join("."),
            argument.kind
        );
    }
    if schema.closed {
        out.push_str("    closed\n");
    }
    let _ = chance;
    out.push_str("  }\n");
}

fn print_rule(rule: &Rule, chance: &mut Chance, out: &mut String) {
    let verb = match rule.verb {
        Verb::Permit => chance.pick(&["permit", "allow", "approve"]),
        Verb::Defer => "defer",
        Verb::Deny => chance.pick(&["deny", "block", "reject"]),
        Verb::DenyHard => "deny!",
    };
    let tool = if chance.one_in(4) {
        quoted(&rule.tool)
    } else {
        rule.tool.clone()
    };
    let _ = write!(out, "    {verb} {tool}");
    for clause in &rule.clauses {
        // Clauses may stand on the lines that follow.
        out.push_str(chance.pick(&[" ", " ", "\n      "]));
        let colon = chance.pick(&["", ":"]);
        let _ = match clause {
            Clause::If(expr) => {
                let word = chance.pick(&["if", "when"]);
                write!(out, "{word} {}", condition(expr, chance))
            }
            Clause::Door(door) => write!(out, "door{colon} {door}"),
            Clause::Method(method) => write!(out, "method{colon} {method}"),
            Clause::Host(host) => write!(out, "host{colon} {}", quoted(host)),
            Clause::Port(port) => write!(out, "port{colon} {port}"),
            Clause::Path(path) => write!(out, "path{colon} {}", quoted(path)),
            Clause::Query(key, value) => write!(out, "query {key}={value}"),
            Clause::Header(key, value) => write!(out, "header {key}={value}"),
        };
    }
    let colon = chance.pick(&["", ":"]);
    if let Some(reason) = &rule.reason {
        let _ = write!(out, " reason{colon} {}", quoted(reason));
    }
    for team in &rule.notify {
        let _ = write!(out, " notify{colon} {}", quoted(team));
    }
    out.push('\n');
}

/// The JSON form as published, with conditions as text; of a policy that holds rules and nothing else.
pub(crate) fn json(policy: &Policy, chance: &mut Chance) -> Option<String> {
    let [agent] = policy.agents.as_slice() else {
        return None;
    };
    let bare = agent.vars.is_empty()
        && agent.schemas.is_empty()
        && agent.demands.is_empty()
        && agent.redactions.is_empty()
        && agent.paths.is_none();
    let rules: Option<Vec<String>> = agent
        .rules
        .iter()
        .map(|rule| json_rule(rule, chance))
        .collect();
    let rules = rules.filter(|_| bare && !agent.name.is_empty())?;
    let mode = if policy.shadow { "shadow" } else { "enforce" };
    Some(format!(
        "{{\"runtime\":{{\"mode\":\"{mode}\",\"timezone\":{}}},\"agent\":[{{\"id\":{},\"default\":\"{}\",\"rules\":[{}]}}]}}",
        quoted(&policy.zone),
        quoted(&agent.name),
        agent.default.as_str(),
        rules.join(",\n")
    ))
}

fn json_rule(rule: &Rule, chance: &mut Chance) -> Option<String> {
    let effect = match rule.verb {
        Verb::DenyHard => "deny!",
        verb => verb.effect().as_str(),
    };
    let mut members = vec![("effect", quoted(effect)), ("tool", quoted(&rule.tool))];
    for clause in &rule.clauses {
        members.push(match clause {
            Clause::If(expr) => ("condition", quoted(&condition(expr, chance))),
            Clause::Door(door) => ("door", quoted(door)),
            Clause::Method(method) => ("method", quoted(method)),
            Clause::Host(host) => ("host", quoted(host)),
            Clause::Port(port) => ("port", port.to_string()),
            Clause::Path(path) => ("path", quoted(path)),
            Clause::Query(..) | Clause::Header(..) => return None,
        });
    }
    if let Some(reason) = &rule.reason {
        members.push(("reason", quoted(reason)));
    }
    if !rule.notify.is_empty() {
        members.push(("notify", strings(&rule.notify)));
    }
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{}:{value}", quoted(key)))
        .collect();
    Some(format!("{{{}}}", members.join(",")))
}

/// How tightly an expression binds: `or`, `and`, `not`, a test, `+ -`, `*`, a value.
fn tightness(expr: &Expr) -> u8 {
    match expr {
        Expr::Or(_) => 0,
        Expr::And(_) => 1,
        Expr::Not(_) => 2,
        Expr::Has(_) | Expr::Test(..) => 3,
        Expr::Calculation(Sign::Plus | Sign::Minus, ..) => 4,
        Expr::Calculation(Sign::Times, ..) => 5,
        _ => 6,
    }
}

/// In parentheses where they are needed, and sometimes where they are not.
fn at_least(least: u8, expr: &Expr, chance: &mut Chance) -> String {
    let tight = tightness(expr);
    let text = condition(expr, chance);
    let may = tight < 6 && chance.one_in(8);
    if tight < least || may {
        format!("({text})")
    } else {
        text
    }
}

/// An expression in FPL.
pub(crate) fn condition(expr: &Expr, chance: &mut Chance) -> String {
    let joined = |parts: &[Expr], least: u8, signs: [&str; 2], chance: &mut Chance| {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| at_least(least, part, chance))
            .collect();
        parts.join(chance.pick(&signs))
    };
    match expr {
        Expr::Or(parts) => joined(parts, 1, [" or ", " || "], chance),
        Expr::And(parts) => joined(parts, 2, [" and ", " && "], chance),
        Expr::Not(inner) => format!("not {}", at_least(2, inner, chance)),
        Expr::Has(inner) => format!("has {}", operand(inner, chance)),
        Expr::Test(relation, left, right) => {
            let word = match relation {
                Relation::StartsWith => chance.pick(&["starts_with", "startsWith"]),
                Relation::EndsWith => chance.pick(&["ends_with", "endsWith"]),
                other => other.word(),
            };
            format!(
                "{} {word} {}",
                at_least(4, left, chance),
                at_least(4, right, chance)
            )
        }
        Expr::Calculation(sign, left, right) => {
            let (sign, least) = match sign {
                Sign::Plus => ("+", 4),
                Sign::Minus => ("-", 4),
                Sign::Times => ("*", 5),
            };
            // The right side binds tighter: calculations go from the left.
            format!(
                "{} {sign} {}",
                at_least(least, left, chance),
                at_least(least + 1, right, chance)
            )
        }
        other => operand(other, chance),
    }
}

fn operand(expr: &Expr, chance: &mut Chance) -> String {
    match expr {
        Expr::Name(parts) => parts.join("."),
        Expr::Bool(value) => value.to_string(),
        Expr::Number(number, unit) => written(number, *unit),
        Expr::Text(text) => fpl_text(text),
        Expr::List(items) => {
            let items: Vec<String> = items.iter().map(|item| operand(item, chance)).collect();
            format!("[{}]", items.join(", "))
        }
        Expr::Purpose(text) => format!("purpose({})", fpl_text(text)),
        Expr::AnyMatch(path, glob) => {
            format!(
                "args_array_any_match({}, {})",
                path.join("."),
                fpl_text(glob)
            )
        }
        Expr::Length(path) => {
            // Either way, but always the same: the spelling of a name is part of a rule's text.
            let root = if path[0] == "tags" { "" } else { "args." };
            format!("len({root}{})", path.join("."))
        }
        Expr::Sum {
            tool,
            path,
            window_ms,
        } => {
            let window = named_window(*window_ms);
            format!("session.sum({tool}.{}{window})", path.join("."))
        }
        Expr::Count { tool, window_ms } => {
            format!("session.count({tool}{})", named_window(*window_ms))
        }
        Expr::Within { tool, window_ms } => {
            format!("history.within({tool}, {})", duration(*window_ms))
        }
        Expr::Denials { window_ms } => format!(
            "session.denials({})",
            named_window(*window_ms).trim_start_matches(", ")
        ),
        compound => format!("({})", condition(compound, chance)),
    }
}

fn named_window(window_ms: Option<u64>) -> String {
    window_ms.map_or(String::new(), |ms| format!(", window={}", duration(ms)))
}

fn duration(ms: u64) -> String {
    match ms / 1_000 {
        seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// A number as its unit shows it: durations and sizes in the base unit's own letters where they have some.
fn written(number: &Number, unit: Unit) -> String {
    match unit {
        Unit::None => number.text(),
        Unit::Money => format!("${}", number.text()),
        Unit::Duration => format!("{}s", number.text()),
        // A size has no letter for one byte: the number is a whole number of thousands.
        Unit::Size => format!("{}kb", number.times(&Number::parse("1e-3").unwrap()).text()),
    }
}

/// A string of the language: `\\`, `\"`, `\n`, `\t`, and everything else as it is.
fn fpl_text(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
