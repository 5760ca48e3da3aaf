//! The syntax tree that other programs build on: each construct in it as written.

#![expect(clippy::panic, reason = "a test whose tree is another one has failed")]

use faramesh_policy_compiler::syntax::{
    ClauseBody, Expr, ExprKind, File, Item, Member, Value, ValueKind,
};
use faramesh_policy_compiler::{SourceFile, Style, parse, render};

fn tree(text: &str) -> File {
    let source = SourceFile::new("governance.fms", text);
    let (file, found) = parse(&source);
    assert!(
        found.is_empty(),
        "{}",
        render(&source, &found, Style::Plain)
    );
    file
}

fn shown(expr: &Expr) -> String {
    let all = |parts: &[Expr]| parts.iter().map(shown).collect::<Vec<_>>().join(" ");
    match &expr.kind {
        ExprKind::Or(parts) => format!("(or {})", all(parts)),
        ExprKind::And(parts) => format!("(and {})", all(parts)),
        ExprKind::Not(inner) => format!("(not {})", shown(inner)),
        ExprKind::Has(inner) => format!("(has {})", shown(inner)),
        ExprKind::Binary {
            operator,
            left,
            right,
            ..
        } => format!("({} {} {})", operator.as_str(), shown(left), shown(right)),
        ExprKind::Name(parts) => parts
            .iter()
            .map(|part| part.text.as_str())
            .collect::<Vec<_>>()
            .join("."),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Number(quantity) => quantity.shown.clone(),
        ExprKind::Text(text) => format!("{text:?}"),
        ExprKind::List(parts) => format!("[{}]", all(parts)),
        ExprKind::Call { name, arguments } => {
            let arguments: Vec<String> = arguments
                .iter()
                .map(|argument| match &argument.name {
                    Some(name) => format!("{}={}", name.text, shown(&argument.value)),
                    None => shown(&argument.value),
                })
                .collect();
            format!("{}({})", name.text, arguments.join(", "))
        }
        ExprKind::ToolPath(path) => format!("<{path}>"),
        ExprKind::Bad => String::from("bad"),
    }
}

fn condition(text: &str) -> String {
    let file = tree(&format!("permit x if {text}\n"));
    let Some(Item::Rule(rule)) = file.items.first() else {
        panic!("{text} is a rule")
    };
    match rule.clauses.first().map(|clause| &clause.body) {
        Some(ClauseBody::Condition(expr)) => shown(expr),
        other => panic!("{other:?}"),
    }
}

fn members(members: &[Member]) -> String {
    let shown: Vec<String> = members
        .iter()
        .map(|member| {
            let key: Vec<&str> = member.key.iter().map(|part| part.text.as_str()).collect();
            format!("{key:?}: {}", value(&member.value))
        })
        .collect();
    shown.join(", ")
}

fn value(of: &Value) -> String {
    match &of.kind {
        ValueKind::Bare(text) => text.clone(),
        ValueKind::Text(text) => format!("{text:?}"),
        ValueKind::Number(quantity) => quantity.shown.clone(),
        ValueKind::List(values) => {
            format!(
                "[{}]",
                values.iter().map(value).collect::<Vec<_>>().join(" ")
            )
        }
        ValueKind::Object(inner) => format!("{{{}}}", members(inner)),
        ValueKind::Env(name) => format!("env {name}"),
        ValueKind::Bad => String::from("bad"),
    }
}

#[test]
fn operators_bind_as_the_manual_says() {
    for (text, tree) in [
        ("a or b and not c", "(or a (and b (not c)))"),
        ("a || b && !c", "(or a (and b (not c)))"),
        ("a + b * 2 < c - 1", "(< (+ a (* b 2)) (- c 1))"),
        ("(a + b) * 2 == -3", "(== (* (+ a b) 2) -3)"),
        ("a - b - c > 0", "(> (- (- a b) c) 0)"),
        (
            "p startsWith \"x\" and p ends_with \"y\"",
            "(and (starts_with p \"x\") (ends_with p \"y\"))",
        ),
        ("(a or b) and has c.d", "(and (or a b) (has c.d))"),
        ("contains(tags, \"x\")", "(contains tags \"x\")"),
    ] {
        assert_eq!(condition(text), tree, "{text}");
    }
}

#[test]
fn calls_keep_their_names_and_their_arguments() {
    for (text, tree) in [
        ("purpose(\"refund\")", "purpose(\"refund\")"),
        (
            "session.sum(stripe/refund.amount, window=1h) + amount <= $2000",
            "(<= (+ session.sum(<stripe/refund.amount>, window=1h) amount) $2000)",
        ),
        (
            "history.within(shell/*, 10m)",
            "history.within(<shell/*>, 10m)",
        ),
        ("session.count(*) > 3", "(> session.count(<*>) 3)"),
        (
            "session.count(refund, window = 1h) > 3",
            "(> session.count(refund, window=1h) 3)",
        ),
        (
            "session.sum(refund.amount) > 3",
            "(> session.sum(refund.amount) 3)",
        ),
        (
            "session.count(mcp:db*) > 3",
            "(> session.count(<mcp:db*>) 3)",
        ),
        (
            "len(args.to) * 2 > len(cc)",
            "(> (* len(args.to) 2) len(cc))",
        ),
        ("len(a*2) > 1", "(> len((* a 2)) 1)"),
        (
            "args_array_any_match(to, \"*@x.org\")",
            "args_array_any_match(to, \"*@x.org\")",
        ),
    ] {
        assert_eq!(condition(text), tree, "{text}");
    }
}

#[test]
fn clauses_of_a_request_keep_their_names_and_values() {
    let text = "permit api\n  host: api.openai.com port: 443 method: POST path: /v1/chat/*\n  query k=v header \"X-A\" = \"b\" headers \"c=d\" reeval: true\n";
    let file = tree(text);
    let Some(Item::Rule(rule)) = file.items.first() else {
        panic!("a rule")
    };
    let clauses: Vec<String> = rule
        .clauses
        .iter()
        .map(|clause| {
            let keyword = &clause.keyword.text;
            match &clause.body {
                ClauseBody::Value(of) => format!("{keyword} {}", value(of)),
                ClauseBody::Pair { key, value: of } => {
                    format!("{keyword} {} = {}", key.text, value(of))
                }
                ClauseBody::Condition(expr) => shown(expr),
            }
        })
        .collect();
    assert_eq!(
        clauses,
        [
            "host api.openai.com",
            "port 443",
            "method POST",
            "path /v1/chat/*",
            "query k = v",
            "header X-A = \"b\"",
            "headers c = \"d\"",
            "reeval true",
        ]
    );
}

#[test]
fn examples_have_arguments_a_code_and_what_is_given() {
    let text = "agent a {\n  examples {\n    permit stripe/refund { amount: 80, \"b.c\": [1, -2], to.domain: \"x\", in: { deep: null } }\n    deny! x\n    deny y { } code INDETERMINATE given { time.hour: 3 }\n  }\n}\n";
    let file = tree(text);
    let Some(Item::Block(agent)) = file.items.first() else {
        panic!("an agent")
    };
    let Some(Item::Block(block)) = agent.items.first() else {
        panic!("examples")
    };
    let examples: Vec<String> = block
        .items
        .iter()
        .map(|item| match item {
            Item::Example(example) => format!(
                "{} {} {{{}}} {:?} {{{}}}",
                example.effect.text,
                example.tool.as_ref().map_or("", |tool| tool.text.as_str()),
                members(&example.arguments),
                example.code.as_ref().map(|code| code.text.as_str()),
                members(&example.given),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        examples,
        [
            "permit stripe/refund {[\"amount\"]: 80, [\"b.c\"]: [1 -2], [\"to\", \"domain\"]: \"x\", [\"in\"]: {[\"deep\"]: null}} None {}",
            "deny! x {} None {}",
            "deny y {} Some(\"INDETERMINATE\") {[\"time\", \"hour\"]: 3}",
        ]
    );
}

#[test]
fn a_backslash_at_the_end_of_a_line_goes_on_with_the_next_and_base64_keeps_its_padding() {
    let text = "trust {\n  key \"h/p\" \\\n    ed25519:AbC+/d==\n  spiffe_federated \"spiffe://x\" \\\r\n bundle_url = env(\"URL\")\n}\n";
    let file = tree(text);
    let Some(Item::Block(trust)) = file.items.first() else {
        panic!("trust")
    };
    let settings: Vec<Vec<String>> = trust
        .items
        .iter()
        .map(|item| match item {
            Item::Setting(setting) => setting.values.iter().map(value).collect(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        settings,
        [
            vec!["\"h/p\"", "ed25519:AbC+/d=="],
            vec!["\"spiffe://x\"", "bundle_url", "env URL"],
        ]
    );
}
