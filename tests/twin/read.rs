//! The compiler's syntax tree as a tree of the twin: words become what they stand for, and nothing more.

use crate::number::Number;
use crate::tree::{
    Agent, Argument, Clause, Expr, Paths, Policy, Relation, Rule, Schema, Sign, Unit, Verb,
};
use faramesh_core::decision::Effect;
use faramesh_policy_compiler::SourceFile;
use faramesh_policy_compiler::syntax::{
    self, Block, CallArgument, ClauseBody, ExprKind, Item, Operator, Quantity, Setting, Value,
    ValueKind,
};

/// Reads a file's text, which must parse.
pub(crate) fn file(name: &str, text: &str) -> Policy {
    let (file, findings) = faramesh_policy_compiler::parse(&SourceFile::new(name, text));
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity == faramesh_policy_compiler::Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    policy(&file)
}

/// Gives a tree its words.
pub(crate) fn policy(file: &syntax::File) -> Policy {
    let mut policy = Policy {
        shadow: false,
        zone: "UTC".to_owned(),
        agents: Vec::new(),
    };
    let mut flat = empty_agent("");
    let mut flat_items = false;
    for item in &file.items {
        match item {
            Item::Block(block) if block.keyword.text == "runtime" => runtime(block, &mut policy),
            Item::Block(block) if block.keyword.text == "agent" => {
                let mut agent = empty_agent(&text(&block.labels[0]));
                body(&block.items, &mut agent);
                policy.agents.push(agent);
            }
            // What the twin does not decide by: `provider`, `identity`, …
            Item::Block(block) if block.keyword.text != "rules" && !is_agents(block) => {}
            other => {
                flat_items = true;
                body(std::slice::from_ref(other), &mut flat);
            }
        }
    }
    if flat_items {
        policy.agents.push(flat);
    }
    policy
}

fn is_agents(block: &Block) -> bool {
    matches!(block.keyword.text.as_str(), "tool" | "paths" | "selector")
}

fn empty_agent(name: &str) -> Agent {
    Agent {
        name: name.to_owned(),
        default: Effect::Deny,
        vars: Vec::new(),
        rules: Vec::new(),
        schemas: Vec::new(),
        demands: Vec::new(),
        paths: None,
        redactions: Vec::new(),
        selectors: Vec::new(),
    }
}

fn runtime(block: &Block, policy: &mut Policy) {
    for item in &block.items {
        let Item::Setting(setting) = item else {
            continue;
        };
        match (setting.key.text.as_str(), text(&setting.values[0])) {
            ("mode", mode) => policy.shadow = mode == "shadow" || mode == "audit",
            ("timezone", zone) => policy.zone = zone,
            _ => {}
        }
    }
}

fn body(items: &[Item], agent: &mut Agent) {
    for item in items {
        match item {
            Item::Rule(rule) => agent.rules.push(self::rule(rule)),
            Item::Setting(setting) => self::setting(setting, agent),
            Item::Block(block) => match block.keyword.text.as_str() {
                "rules" => body(&block.items, agent),
                "tool" => agent.schemas.push(schema(block)),
                "paths" => agent.paths = Some(paths(block)),
                "selector" => agent.selectors.push(text(&block.labels[0])),
                _ => {}
            },
            Item::Example(_) => {}
        }
    }
}

fn setting(setting: &Setting, agent: &mut Agent) {
    let values = &setting.values;
    match setting.key.text.as_str() {
        "default" => agent.default = verb(&text(&values[0])).effect(),
        "var" => agent.vars.push((text(&values[0]), constant(&values[1]))),
        "require" => agent.demands.push(text(&values[1])),
        "redact" => agent
            .redactions
            .push((text(&values[0]), texts(values.last().unwrap()))),
        _ => {}
    }
}

fn schema(block: &Block) -> Schema {
    let mut schema = Schema {
        tool: text(&block.labels[0]),
        arguments: Vec::new(),
        closed: false,
    };
    for item in &block.items {
        let Item::Setting(setting) = item else {
            continue;
        };
        match (setting.key.text.as_str(), setting.values.as_slice()) {
            ("closed", _) => schema.closed = true,
            (_, [name, kind, rest @ ..]) => schema.arguments.push(Argument {
                path: dotted(&text(name)),
                kind: text(kind),
                required: rest.iter().any(|word| text(word) == "required"),
            }),
            (_, other) => unreachable!("{other:?}"),
        }
    }
    schema
}

fn paths(block: &Block) -> Paths {
    let mut paths = Paths::default();
    for item in &block.items {
        let Item::Setting(setting) = item else {
            continue;
        };
        let globs = texts(&setting.values[0]);
        match setting.key.text.as_str() {
            "read_exclude" => paths.read_exclude = globs,
            "edit_deny" => paths.edit_deny = globs,
            "edit_protected" => paths.edit_protected = globs,
            "edit_allow" => paths.edit_allow = globs,
            other => unreachable!("{other}"),
        }
    }
    paths
}

fn rule(rule: &syntax::Rule) -> Rule {
    let mut read = Rule {
        verb: verb(&rule.effect.text),
        tool: rule.tool.as_ref().unwrap().text.clone(),
        clauses: Vec::new(),
        reason: None,
        notify: Vec::new(),
    };
    for clause in &rule.clauses {
        let word = clause.keyword.text.as_str();
        match &clause.body {
            ClauseBody::Condition(expr) => read.clauses.push(Clause::If(expression(expr))),
            ClauseBody::Pair { key, value } => {
                let (key, value) = (key.text.clone(), text(value));
                read.clauses.push(match word {
                    "query" => Clause::Query(key, value),
                    _ => Clause::Header(key, value),
                });
            }
            ClauseBody::Value(value) => match word {
                "reason" => read.reason = Some(text(value)),
                "notify" => read.notify.push(text(value)),
                "reeval" => {}
                "door" => read.clauses.push(Clause::Door(text(value))),
                "method" => read.clauses.push(Clause::Method(text(value))),
                "host" => read.clauses.push(Clause::Host(text(value))),
                "port" => read
                    .clauses
                    .push(Clause::Port(text(value).parse().unwrap())),
                "path" => read.clauses.push(Clause::Path(text(value))),
                other => unreachable!("clause {other}"),
            },
        }
    }
    read
}

fn verb(word: &str) -> Verb {
    match word {
        "permit" | "allow" | "approve" => Verb::Permit,
        "defer" => Verb::Defer,
        "deny" | "block" | "reject" => Verb::Deny,
        "deny!" => Verb::DenyHard,
        other => unreachable!("effect {other}"),
    }
}

fn expression(expr: &syntax::Expr) -> Expr {
    let each = |parts: &[syntax::Expr]| parts.iter().map(expression).collect();
    match &expr.kind {
        ExprKind::Or(parts) => Expr::Or(each(parts)),
        ExprKind::And(parts) => Expr::And(each(parts)),
        ExprKind::Not(inner) => Expr::Not(Box::new(expression(inner))),
        ExprKind::Has(inner) => Expr::Has(Box::new(expression(inner))),
        ExprKind::Binary {
            operator,
            left,
            right,
            ..
        } => binary(*operator, expression(left), expression(right)),
        ExprKind::Name(parts) => Expr::Name(parts.iter().map(|part| part.text.clone()).collect()),
        ExprKind::Bool(value) => Expr::Bool(*value),
        ExprKind::Number(quantity) => number(quantity),
        ExprKind::Text(text) => Expr::Text(text.clone()),
        ExprKind::List(parts) => Expr::List(each(parts)),
        ExprKind::Call { name, arguments } => call(&name.text, arguments),
        ExprKind::ToolPath(path) => Expr::Text(path.clone()),
        ExprKind::Bad => unreachable!("a file with an error was read"),
    }
}

fn binary(operator: Operator, left: Expr, right: Expr) -> Expr {
    let (left, right) = (Box::new(left), Box::new(right));
    let relation = match operator {
        Operator::Add => return Expr::Calculation(Sign::Plus, left, right),
        Operator::Subtract => return Expr::Calculation(Sign::Minus, left, right),
        Operator::Multiply => return Expr::Calculation(Sign::Times, left, right),
        Operator::Equal => Relation::Equal,
        Operator::NotEqual => Relation::NotEqual,
        Operator::Less => Relation::Less,
        Operator::LessOrEqual => Relation::LessOrEqual,
        Operator::Greater => Relation::Greater,
        Operator::GreaterOrEqual => Relation::GreaterOrEqual,
        Operator::In => Relation::In,
        Operator::Matches => Relation::Matches,
        Operator::Contains => Relation::Contains,
        Operator::StartsWith => Relation::StartsWith,
        Operator::EndsWith => Relation::EndsWith,
    };
    Expr::Test(relation, left, right)
}

fn call(name: &str, arguments: &[CallArgument]) -> Expr {
    let named = |wanted: &str| {
        arguments.iter().find(|argument| {
            argument
                .name
                .as_ref()
                .is_some_and(|name| name.text == wanted)
        })
    };
    let plain: Vec<&syntax::Expr> = arguments
        .iter()
        .filter(|argument| argument.name.is_none())
        .map(|argument| &argument.value)
        .collect();
    let window_ms = named("window").map(|argument| milliseconds(&argument.value));
    match name {
        "purpose" => Expr::Purpose(as_text(plain[0])),
        "len" | "args_array_len" => Expr::Length(argument_path(plain[0])),
        "session.count" => Expr::Count {
            tool: as_text(plain[0]),
            window_ms,
        },
        "session.denials" => Expr::Denials { window_ms },
        "session.sum" => {
            let whole = as_text(plain[0]);
            // The field stands behind the first point of the tool's last part.
            let last_part = whole.rfind('/').map_or(0, |slash| slash + 1);
            let point = last_part + whole[last_part..].find('.').unwrap();
            Expr::Sum {
                tool: whole[..point].to_owned(),
                path: dotted(&whole[point + 1..]),
                window_ms,
            }
        }
        "history.within" => Expr::Within {
            tool: as_text(plain[0]),
            window_ms: milliseconds(plain[1]),
        },
        "args_array_any_match" => Expr::AnyMatch(argument_path(plain[0]), as_text(plain[1])),
        other => unreachable!("function {other}"),
    }
}

fn argument_path(expr: &syntax::Expr) -> Vec<String> {
    let path = dotted(&as_text(expr));
    match path.split_first() {
        Some((first, rest)) if first == "args" => rest.to_vec(),
        _ => path,
    }
}

/// A name, a tool or a text, as it was written.
fn as_text(expr: &syntax::Expr) -> String {
    match &expr.kind {
        ExprKind::Text(text) | ExprKind::ToolPath(text) => text.clone(),
        ExprKind::Name(parts) => {
            let parts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            parts.join(".")
        }
        other => unreachable!("{other:?}"),
    }
}

fn milliseconds(expr: &syntax::Expr) -> u64 {
    match &expr.kind {
        ExprKind::Number(quantity) => quantity.value.parse::<u64>().unwrap() * 1_000,
        other => unreachable!("{other:?}"),
    }
}

fn number(quantity: &Quantity) -> Expr {
    let unit = match quantity.unit {
        syntax::Unit::None => Unit::None,
        syntax::Unit::Money => Unit::Money,
        syntax::Unit::Duration => Unit::Duration,
        syntax::Unit::Size => Unit::Size,
    };
    Expr::Number(Number::parse(&quantity.value).unwrap(), unit)
}

/// The value of a `var`.
fn constant(value: &Value) -> Expr {
    match &value.kind {
        ValueKind::Bare(word) if word == "true" || word == "false" => Expr::Bool(word == "true"),
        ValueKind::Bare(text) | ValueKind::Text(text) => Expr::Text(text.clone()),
        ValueKind::Number(quantity) => number(quantity),
        ValueKind::List(items) => Expr::List(items.iter().map(constant).collect()),
        other => unreachable!("{other:?}"),
    }
}

fn text(value: &Value) -> String {
    match &value.kind {
        ValueKind::Bare(text) | ValueKind::Text(text) => text.clone(),
        ValueKind::Number(quantity) => quantity.shown.clone(),
        other => unreachable!("{other:?}"),
    }
}

fn texts(value: &Value) -> Vec<String> {
    match &value.kind {
        ValueKind::List(items) => items.iter().map(text).collect(),
        _ => vec![text(value)],
    }
}

fn dotted(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}
