//! Syntax and artifacts back to text, in one style: what `fmt` writes, what an artifact keeps of a rule, and a whole
//! artifact as a file.
//!
//! Invariant: what is rendered parses to the same meaning. Spelling that says nothing is not kept: `when`, `&&`,
//! aliases of effects, parentheses that change nothing, the order of clauses, the colon behind a clause's word. Numbers
//! in conditions stay as written.

mod artifact;

pub use artifact::{kind_word, policy, value as datum, window};

use crate::conditions::flatten;
use crate::source::Span;
use crate::syntax::{
    Clause, ClauseBody, Example, Expr, ExprKind, Member, Operator, Rule, Setting, Value, ValueKind,
};
use crate::vocabulary;
use faramesh_core::policy::artifact::{Op, RuleEffect};

/// Columns of a line that is broken where it is longer: two files beside each other on a screen.
pub(crate) const WIDTH_MAX: usize = 100;

/// A rule in one line, as an artifact keeps it: two that say the same are the same text.
pub(crate) fn rule(rule: &Rule) -> String {
    let mut out = rule_head(rule);
    let mut clauses: Vec<(u8, String)> = rule
        .clauses
        .iter()
        .filter_map(|one| plain_clause(one).map(|text| (rank(one), text)))
        .collect();
    clauses.sort();
    clauses.dedup();
    for (_, text) in clauses {
        out.push(' ');
        out.push_str(&text);
    }
    out
}

/// `permit stripe/*`.
pub(crate) fn rule_head(rule: &Rule) -> String {
    let mut out = String::from(effect(&rule.effect.text));
    if let Some(tool) = &rule.tool {
        out.push(' ');
        out.push_str(&pattern(&tool.text));
    }
    out
}

/// A rule in one line, or broken at its clauses where that is too long for what is left beside the indent. Lines behind
/// the first are indented by the caller.
pub(crate) fn rule_lines(rule: &Rule, indent: usize) -> Vec<String> {
    let mut clauses: Vec<&Clause> = rule.clauses.iter().collect();
    clauses.sort_by_key(|clause| rank(clause));
    let mut first = rule_head(rule);
    let texts: Vec<String> = clauses.iter().map(|one| clause(one)).collect();
    let columns = |text: &str| indent + text.chars().count();
    if columns(&first)
        + texts
            .iter()
            .map(|text| text.chars().count() + 1)
            .sum::<usize>()
        <= WIDTH_MAX
    {
        for text in texts {
            first.push(' ');
            first.push_str(&text);
        }
        return vec![first];
    }
    let mut rest = Vec::new();
    for (one, text) in clauses.iter().zip(texts) {
        let joins = rank(one) <= RANK_CONDITION
            && rest.is_empty()
            && columns(&first) + text.chars().count() < WIDTH_MAX;
        if joins {
            first.push(' ');
            first.push_str(&text);
            continue;
        }
        match &one.body {
            ClauseBody::Condition(condition) if columns(&text) + 2 > WIDTH_MAX => {
                rest.extend(broken(condition));
            }
            _ => rest.push(text),
        }
    }
    rest.insert(0, first);
    rest
}

/// A long condition, broken before its outermost `and` or `or`.
fn broken(condition: &Expr) -> Vec<String> {
    let (parts, op, joint, place) = match &condition.kind {
        ExprKind::Or(parts) => (parts, Op::Or, "or", Binding::And),
        ExprKind::And(parts) => (parts, Op::And, "and", Binding::Not),
        _ => return vec![format!("if {}", self::condition(condition))],
    };
    let mut flat = Vec::new();
    flatten(parts, op, &mut flat);
    let mut lines = Vec::new();
    for (index, part) in flat.into_iter().enumerate() {
        let mut line = match index {
            0 => String::from("if "),
            _ => format!("  {joint} "),
        };
        expression(part, place, &mut line);
        lines.push(line);
    }
    lines
}

const RANK_CONDITION: u8 = 7;

/// The order of clauses: what the request is, the condition, what follows from it.
pub(crate) fn rank(clause: &Clause) -> u8 {
    match clause.keyword.text.as_str() {
        "door" => 0,
        "method" => 1,
        "host" => 2,
        "port" => 3,
        "path" => 4,
        "query" => 5,
        "header" | "headers" => 6,
        "if" | "when" => RANK_CONDITION,
        "reason" => 8,
        "notify" => 9,
        _ => 10,
    }
}

/// Where a clause ends in the source.
pub(crate) fn clause_end(clause: &Clause) -> usize {
    let span: Span = match &clause.body {
        ClauseBody::Condition(condition) => condition.span,
        ClauseBody::Value(value) | ClauseBody::Pair { value, .. } => value.span,
    };
    span.end
}

/// A clause as the formatter writes it: bare words stay bare, they may be the names of values.
pub(crate) fn clause(clause: &Clause) -> String {
    let keyword = clause.keyword.text.as_str();
    let mut out = String::new();
    match &clause.body {
        ClauseBody::Condition(condition) => {
            out.push_str("if ");
            expression(condition, Binding::Or, &mut out);
        }
        ClauseBody::Value(one) => {
            out.push_str(keyword);
            out.push(' ');
            value(one, &mut out);
        }
        ClauseBody::Pair { key, value: one } => {
            out.push_str(singular(keyword));
            out.push(' ');
            word(&key.text, &mut out);
            out.push('=');
            value(one, &mut out);
        }
    }
    out
}

/// A clause in the one spelling of its meaning, names of values replaced; `None`: it says what holds without it.
fn plain_clause(clause: &Clause) -> Option<String> {
    let keyword = clause.keyword.text.as_str();
    let one = match &clause.body {
        ClauseBody::Condition(_) => return Some(self::clause(clause)),
        ClauseBody::Pair { key, value } => {
            let name = match keyword {
                "query" => key.text.clone(),
                _ => key.text.to_ascii_lowercase(),
            };
            let mut out = String::from(singular(keyword));
            out.push(' ');
            text(&name, &mut out);
            out.push('=');
            text(&shown(value), &mut out);
            return Some(out);
        }
        ClauseBody::Value(value) => value,
    };
    let mut out = format!("{keyword} ");
    match (keyword, &one.kind) {
        ("method", ValueKind::List(values)) => {
            let mut methods: Vec<String> = values
                .iter()
                .map(|value| shown(value).to_ascii_uppercase())
                .collect();
            methods.sort();
            methods.dedup();
            out.push('[');
            out.push_str(&methods.join(", "));
            out.push(']');
        }
        ("method", _) => out.push_str(&shown(one).to_ascii_uppercase()),
        ("door", _) => out.push_str(&shown(one)),
        ("host", ValueKind::Bare(name) | ValueKind::Text(name)) => {
            text(&name.to_ascii_lowercase(), &mut out);
        }
        ("reeval", _) if shown(one) != "true" => return None,
        ("reeval", _) => return Some(String::from("reeval true")),
        (_, ValueKind::Bare(text) | ValueKind::Text(text)) => self::text(text, &mut out),
        _ => value(one, &mut out),
    }
    Some(out)
}

/// `headers` is `header`.
pub(crate) fn singular(keyword: &str) -> &str {
    match keyword {
        "headers" => "header",
        other => other,
    }
}

/// `permit`, `deny!`: the effect's own word.
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

/// `key = value`, or a line of its words.
pub(crate) fn setting(setting: &Setting, line: bool) -> String {
    let mut out = before_last(setting, line);
    if let Some(last) = setting.values.last() {
        value(last, &mut out);
    }
    out
}

/// A setting up to its last value.
pub(crate) fn before_last(setting: &Setting, line: bool) -> String {
    let mut out = setting.key.text.clone();
    let Some((last, before)) = setting.values.split_last() else {
        return out;
    };
    let only_list = before.is_empty() && matches!(last.kind, ValueKind::List(_));
    if !line || only_list {
        out.push_str(" = ");
        return out;
    }
    let word = setting.key.text.as_str();
    for (index, one) in before.iter().enumerate() {
        out.push(' ');
        value(one, &mut out);
        match (word, index) {
            ("rate_limit" | "arg", 0) | ("redact", 1) => out.push(':'),
            ("var", 0) => out.push_str(" ="),
            _ => {}
        }
    }
    out.push(' ');
    out
}

/// `permit stripe/refund { amount: 80 } code X given { time.hour: 3 }`.
pub(crate) fn example(example: &Example) -> String {
    let mut out = String::from(effect(&example.effect.text));
    if let Some(tool) = &example.tool {
        out.push(' ');
        out.push_str(&pattern(&tool.text));
    }
    if !example.arguments.is_empty() {
        out.push(' ');
        object(&example.arguments, &mut out);
    }
    if let Some(code) = &example.code {
        out.push_str(" code ");
        out.push_str(&code.text);
    }
    if !example.given.is_empty() {
        out.push_str(" given ");
        object(&example.given, &mut out);
    }
    out
}

fn object(members: &[Member], out: &mut String) {
    if members.is_empty() {
        out.push_str("{}");
        return;
    }
    out.push_str("{ ");
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        match member.key.as_slice() {
            [only] => word(&only.text, out),
            parts => {
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        out.push('.');
                    }
                    out.push_str(&part.text);
                }
            }
        }
        out.push_str(": ");
        value(&member.value, out);
    }
    out.push_str(" }");
}

/// A value as it was written, bare or in quotes.
pub(crate) fn value(one: &Value, out: &mut String) {
    match &one.kind {
        ValueKind::Bare(word) => out.push_str(word),
        ValueKind::Text(value) => text(value, out),
        ValueKind::Number(quantity) => out.push_str(&quantity.shown),
        ValueKind::List(values) => {
            out.push('[');
            for (index, one) in values.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                value(one, out);
            }
            out.push(']');
        }
        ValueKind::Object(members) => object(members, out),
        ValueKind::Env(name) => {
            out.push_str("env(");
            text(name, out);
            out.push(')');
        }
        ValueKind::Bad => out.push('…'),
    }
}

/// Bare where it is one word, else in quotes.
pub(crate) fn word(value: &str, out: &mut String) {
    if is_bare(value) {
        out.push_str(value);
    } else {
        text(value, out);
    }
}

fn is_bare(value: &str) -> bool {
    value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Bare where the parser would read it as one word, else in quotes.
pub(crate) fn pattern(tool: &str) -> String {
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
                if index == 0 {
                    out.push_str(&part.text);
                } else if is_bare(&part.text) {
                    out.push('.');
                    out.push_str(&part.text);
                } else {
                    out.push('[');
                    text(&part.text, out);
                    out.push(']');
                }
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
