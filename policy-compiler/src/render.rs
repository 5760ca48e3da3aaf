//! Syntax back to text, in one form: what `fmt` writes and what an artifact keeps of a rule.
//!
//! Invariant: what is rendered parses to the same meaning. Spelling that says nothing is not kept: `when`, `&&`,
//! aliases of effects, parentheses that change nothing, the colon behind a clause's word. Numbers stay as written.

mod declared;

use crate::conditions::flatten;
use crate::syntax::{ClauseBody, Expr, ExprKind, Operator, Rule, Value, ValueKind};
use crate::vocabulary;
use faramesh_core::policy::artifact::{
    AgentPolicy, Artifact, Mode, Op, Profile, RuleEffect, Runtime,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A policy as a file in one form: compiling it gives the same policy again, but for the lines of its rules. Comments
/// are not in an artifact, and so not in this.
pub fn policy(artifact: &Artifact) -> String {
    let mut out = String::new();
    runtime(&artifact.runtime, &mut out);
    for of in &artifact.declarations {
        declared::declaration(of, "", &mut out);
    }
    for agent in &artifact.agents {
        if !out.is_empty() {
            out.push('\n');
        }
        if agent.name.is_empty() {
            agent_items(agent, "", &mut out);
        } else {
            out.push_str("agent ");
            text(&agent.name, &mut out);
            out.push_str(" {\n");
            agent_items(agent, "  ", &mut out);
            out.push_str("}\n");
        }
    }
    out
}

/// The block says all that differs from what holds without it.
fn runtime(runtime: &Runtime, out: &mut String) {
    let mut lines = Vec::new();
    if runtime.mode == Mode::Shadow {
        lines.push(String::from("mode = \"shadow\""));
    }
    if runtime.cold_start_deny_window_ms != Runtime::default().cold_start_deny_window_ms {
        let (seconds, rest) = (
            runtime.cold_start_deny_window_ms / 1_000,
            runtime.cold_start_deny_window_ms % 1_000,
        );
        lines.push(format!("cold_start_deny_window = {seconds}.{rest:03}s"));
    }
    if let Some(reveal) = runtime.reveal_rule {
        lines.push(format!(
            "reveal = \"{}\"",
            if reveal { "rule" } else { "nothing" }
        ));
    }
    if runtime.profile == Profile::Minimal {
        lines.push(String::from("agent_enforce_profile = \"minimal\""));
    }
    for (key, values) in [
        ("keep_env", &runtime.keep_env),
        ("allowed_sockets", &runtime.allowed_sockets),
    ] {
        if !values.is_empty() {
            let mut line = format!("{key} = [");
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    line.push_str(", ");
                }
                text(value, &mut line);
            }
            line.push(']');
            lines.push(line);
        }
    }
    if runtime.zone.name != "UTC" {
        let mut line = String::from("timezone = ");
        text(&runtime.zone.name, &mut line);
        lines.push(line);
    }
    for setting in &runtime.declared {
        let mut line = String::new();
        declared::setting(setting, "", &mut line);
        lines.push(line.trim_end().to_string());
    }
    if !lines.is_empty() {
        out.push_str("runtime {\n");
        for line in lines {
            out.push_str("  ");
            out.push_str(&line);
            out.push('\n');
        }
        out.push_str("}\n");
    }
}

fn agent_items(agent: &AgentPolicy, indent: &str, out: &mut String) {
    let mut line = |key: &str, value: &str| {
        out.push_str(indent);
        out.push_str(key);
        out.push_str(" = ");
        text(value, out);
        out.push('\n');
    };
    line("default", agent.default.as_str());
    if let Some(user) = &agent.run_as {
        line("run_as", user);
    }
    for (key, value) in &agent.metadata {
        line(key, value);
    }
    for layer in &agent.demands {
        out.push_str(indent);
        out.push_str("require enforcement ");
        out.push_str(layer);
        out.push('\n');
    }
    for of in &agent.redactions {
        declared::redaction(of, indent, out);
    }
    for of in &agent.declarations {
        declared::declaration(of, indent, out);
    }
    for of in &agent.phases {
        declared::phase(of, indent, out);
    }
    for rule in &agent.rules {
        out.push_str(indent);
        out.push_str(&rule.text);
        out.push('\n');
    }
}

/// A rule in one line.
pub(crate) fn rule(rule: &Rule) -> String {
    let mut out = String::from(effect(&rule.effect.text));
    if let Some(tool) = &rule.tool {
        out.push(' ');
        out.push_str(&pattern(&tool.text));
    }
    for word in ["door", "method", "host", "port", "path", "query", "header"] {
        request(rule, word, &mut out);
    }
    let condition = rule.clauses.iter().find_map(|clause| match &clause.body {
        ClauseBody::Condition(condition) => Some(condition),
        ClauseBody::Value(_) | ClauseBody::Pair { .. } => None,
    });
    if let Some(condition) = condition {
        out.push_str(" if ");
        expression(condition, Binding::Or, &mut out);
    }
    for word in ["reason", "notify"] {
        for value in each_once(rule, word, |value| in_quotes(&shown(value))) {
            let _ = write!(out, " {word} {value}");
        }
    }
    if each_once(rule, "reeval", shown).contains("true") {
        out.push_str(" reeval true");
    }
    out
}

/// The values of a clause's word, sorted, each once: their order in the file says nothing.
fn each_once(rule: &Rule, word: &str, write: impl Fn(&Value) -> String) -> BTreeSet<String> {
    let of_word = rule
        .clauses
        .iter()
        .filter(|clause| clause.keyword.text == word);
    of_word
        .filter_map(|clause| match &clause.body {
            ClauseBody::Value(value) => Some(write(value)),
            _ => None,
        })
        .collect()
}

/// A clause about the request that is really sent, or the door.
fn request(rule: &Rule, word: &str, out: &mut String) {
    let mut pairs = BTreeSet::new();
    for clause in &rule.clauses {
        if let ClauseBody::Pair { key, value } = &clause.body {
            let header = clause.keyword.text != "query";
            if header == (word == "header") && matches!(word, "query" | "header") {
                let mut pair = String::from(word);
                pair.push(' ');
                let key = if header {
                    key.text.to_ascii_lowercase()
                } else {
                    key.text.clone()
                };
                text(&key, &mut pair);
                pair.push('=');
                text(&shown(value), &mut pair);
                pairs.insert(pair);
            }
        }
    }
    for pair in pairs {
        out.push(' ');
        out.push_str(&pair);
    }
    for value in each_once(rule, word, |value| match (&value.kind, word) {
        (ValueKind::List(methods), _) => {
            let methods: BTreeSet<String> = methods
                .iter()
                .map(|method| shown(method).to_ascii_uppercase())
                .collect();
            let methods: Vec<String> = methods.into_iter().collect();
            format!("[{}]", methods.join(", "))
        }
        (_, "method") => shown(value).to_ascii_uppercase(),
        (_, "port" | "door") => shown(value),
        (_, "host") => in_quotes(&shown(value).to_ascii_lowercase()),
        _ => in_quotes(&shown(value)),
    }) {
        let _ = write!(out, " {word} {value}");
    }
}

fn in_quotes(value: &str) -> String {
    let mut quoted = String::new();
    text(value, &mut quoted);
    quoted
}

pub(crate) fn effect(word: &str) -> &str {
    match vocabulary::effect(word) {
        Some(RuleEffect::Permit) => "permit",
        Some(RuleEffect::Defer) => "defer",
        Some(RuleEffect::Deny) => "deny",
        Some(RuleEffect::DenyHard) => "deny!",
        None => word,
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::Bare(text) | ValueKind::Text(text) => text.clone(),
        ValueKind::Number(quantity) => quantity.shown.clone(),
        ValueKind::List(_) | ValueKind::Object(_) | ValueKind::Env(_) | ValueKind::Bad => {
            String::new()
        }
    }
}

/// Bare where the parser would read it as one word, else in quotes.
fn pattern(tool: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./*:".contains(&byte);
    let bare = !tool.is_empty()
        && tool.bytes().all(plain)
        && !tool.ends_with(':')
        && vocabulary::clause(tool).is_none()
        && vocabulary::effect(tool).is_none();
    if bare {
        return tool.to_string();
    }
    let mut quoted = String::new();
    text(tool, &mut quoted);
    quoted
}

/// In quotes, escaped.
pub(crate) fn text(value: &str, out: &mut String) {
    out.push('"');
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// A condition in one line.
pub(crate) fn condition(condition: &Expr) -> String {
    let mut out = String::new();
    expression(condition, Binding::Or, &mut out);
    out
}

/// How tightly a place binds; what binds less tightly stands in parentheses there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Operand,
}

fn expression(expr: &Expr, place: Binding, out: &mut String) {
    let own = binding(&expr.kind);
    let parenthesised = own < place;
    if parenthesised {
        out.push('(');
    }
    match &expr.kind {
        ExprKind::Or(parts) => chain(parts, Op::Or, " or ", Binding::And, out),
        ExprKind::And(parts) => chain(parts, Op::And, " and ", Binding::Not, out),
        ExprKind::Not(inner) => {
            out.push_str("not ");
            expression(inner, Binding::Not, out);
        }
        ExprKind::Has(inner) => {
            out.push_str("has ");
            expression(inner, Binding::Operand, out);
        }
        ExprKind::Binary {
            operator,
            left,
            right,
            ..
        } => {
            expression(left, next(own), out);
            out.push(' ');
            out.push_str(operator.as_str());
            out.push(' ');
            expression(right, next(own), out);
        }
        ExprKind::Name(parts) => {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push('.');
                }
                out.push_str(&part.text);
            }
        }
        ExprKind::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        ExprKind::Number(quantity) => out.push_str(&quantity.shown),
        ExprKind::Text(value) => text(value, out),
        ExprKind::List(parts) => {
            out.push('[');
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                expression(part, Binding::Operand, out);
            }
            out.push(']');
        }
        ExprKind::Call { name, arguments } => {
            out.push_str(&name.text);
            out.push('(');
            for (index, argument) in arguments.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                if let Some(name) = &argument.name {
                    out.push_str(&name.text);
                    out.push('=');
                }
                expression(&argument.value, Binding::Sum, out);
            }
            out.push(')');
        }
        ExprKind::ToolPath(path) => out.push_str(path),
        ExprKind::Bad => out.push('…'),
    }
    if parenthesised {
        out.push(')');
    }
}

fn chain(parts: &[Expr], op: Op, joint: &str, place: Binding, out: &mut String) {
    let mut flat = Vec::new();
    flatten(parts, op, &mut flat);
    for (index, part) in flat.into_iter().enumerate() {
        if index > 0 {
            out.push_str(joint);
        }
        expression(part, place, out);
    }
}

const fn binding(kind: &ExprKind) -> Binding {
    match kind {
        ExprKind::Or(_) => Binding::Or,
        ExprKind::And(_) => Binding::And,
        ExprKind::Not(_) => Binding::Not,
        ExprKind::Binary {
            operator: Operator::Add | Operator::Subtract,
            ..
        } => Binding::Sum,
        ExprKind::Binary {
            operator: Operator::Multiply,
            ..
        } => Binding::Product,
        ExprKind::Binary { .. } => Binding::Comparison,
        _ => Binding::Operand,
    }
}

const fn next(binding: Binding) -> Binding {
    match binding {
        Binding::Or => Binding::And,
        Binding::And => Binding::Not,
        Binding::Not => Binding::Comparison,
        Binding::Comparison => Binding::Sum,
        Binding::Sum => Binding::Product,
        Binding::Product | Binding::Operand => Binding::Operand,
    }
}
