//! `var name value`: names for values, put in before anything is lowered, so that nothing behind this knows of them.
//!
//! Invariants: a name is replaced as a whole operand, list element or clause value and never inside text; a name that the
//! language reads otherwise cannot be given away; each `var` is used or reported.

use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{
    ClauseBody, Expr, ExprKind, File, Item, Rule, Setting, Value, ValueKind, Word,
};
use crate::vocabulary;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Names that conditions read otherwise.
const TAKEN: &[&str] = &[
    "action",
    "agent",
    "amount",
    "args",
    "cmd",
    "delegation",
    "enforcement",
    "env",
    "false",
    "headers",
    "history",
    "host",
    "method",
    "model",
    "null",
    "or",
    "path",
    "principal",
    "purpose",
    "query",
    "recipients",
    "selectors",
    "session",
    "time",
    "tool",
    "tool_name",
    "true",
    "vars",
];

/// Names and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Scope {
    of: BTreeMap<String, Named>,
}

#[derive(Debug)]
struct Named {
    value: Value,
    at: Span,
    used: Cell<bool>,
}

impl Scope {
    pub(super) fn insert(&mut self, name: String, value: Value, at: Span) {
        let used = Cell::new(false);
        self.of.insert(name, Named { value, at, used });
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let named = self.of.get(name)?;
        named.used.set(true);
        Some(&named.value)
    }
}

/// The names that each agent's rules may write, by where its block starts; those of the whole file are at `None`.
pub(super) type Names = BTreeMap<Option<usize>, BTreeSet<String>>;

/// Puts values in for names in the whole file, and takes the `var`s out.
pub(super) fn expand(file: &mut File, diagnostics: &mut Findings) -> Names {
    let mut names = Names::new();
    let mut stack = Scope::default();
    take(&mut file.items, &mut stack, None, diagnostics);
    for item in &mut file.items {
        match item {
            Item::Block(block) if block.keyword.text == "agent" => {
                let mut own = Scope::default();
                take(&mut block.items, &mut own, Some(&stack), diagnostics);
                items(&mut block.items, &[&own, &stack], diagnostics);
                unused(&own, diagnostics);
                names.insert(Some(block.head.start), own.of.into_keys().collect());
            }
            other => items(std::slice::from_mut(other), &[&stack], diagnostics),
        }
    }
    unused(&stack, diagnostics);
    names.insert(None, stack.of.into_keys().collect());
    names
}

fn unused(scope: &Scope, diagnostics: &mut Findings) {
    for (name, named) in scope.of.iter().filter(|(_, named)| !named.used.get()) {
        let message = format!("nothing uses {}", quoted(name));
        diagnostics.push(
            Diagnostic::new(Number::UnusedVar, message)
                .at(named.at, "")
                .help("remove it, or write its name, without quotes, in a condition, a list or a clause"),
        );
    }
}

/// Takes the `var`s of a block out of its items.
fn take(
    items: &mut Vec<Item>,
    scope: &mut Scope,
    outer: Option<&Scope>,
    diagnostics: &mut Findings,
) {
    items.retain(|item| {
        let Item::Setting(setting) = item else {
            return true;
        };
        if setting.key.text != "var" {
            return true;
        }
        match declared(setting) {
            Ok((name, value)) => {
                let first = [Some(&*scope), outer]
                    .into_iter()
                    .flatten()
                    .find_map(|scope| scope.of.get(&name.text));
                match first.map(|first| first.at) {
                    Some(first) => diagnostics.push(
                        Diagnostic::new(
                            Number::DuplicateSetting,
                            format!("{} is given twice", quoted(&name.text)),
                        )
                        .at(name.span, "again here")
                        .at(first, "first here")
                        .help("remove one, or give it another name"),
                    ),
                    None => scope.insert(name.text, value, name.span),
                }
            }
            Err(finding) => diagnostics.push(*finding),
        }
        false
    });
}

fn declared(setting: &Setting) -> Result<(Word, Value), Box<Diagnostic>> {
    let refused = |span: Span, why: &str| {
        let message = "this is no `var`";
        Box::new(
            Diagnostic::new(Number::BadVar, message)
                .at(span, why)
                .help("write `var name value`, such as `var limit $500`"),
        )
    };
    let [name, value] = setting.values.as_slice() else {
        return Err(refused(setting.span, "expected a name and one value"));
    };
    let (ValueKind::Bare(text) | ValueKind::Text(text)) = &name.kind else {
        return Err(refused(name.span, "expected a name"));
    };
    if !is_plain(text) {
        return Err(refused(name.span, NO_PLAIN_NAME));
    }
    if is_taken(text) {
        let message = format!("{} is a word of the language", quoted(text));
        return Err(Box::new(
            Diagnostic::new(Number::BadVar, message)
                .at(
                    name.span,
                    "a condition that reads it would mean something else",
                )
                .help(format!("give it another name, such as `my_{text}`")),
        ));
    }
    let constant = |value: &Value| {
        matches!(
            value.kind,
            ValueKind::Bare(_) | ValueKind::Text(_) | ValueKind::Number(_)
        )
    };
    let holds = match &value.kind {
        ValueKind::List(parts) => parts.iter().all(constant),
        _ => constant(value),
    };
    if !holds {
        return Err(refused(
            value.span,
            "expected a text, a number, true, false or a list of them",
        ));
    }
    let name = Word {
        text: text.clone(),
        span: name.span,
    };
    Ok((name, value.clone()))
}

const NO_PLAIN_NAME: &str = "expected a name of letters, digits, `_` and `-`";

fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Why nothing can stand for a value under this name.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    if !is_plain(name) {
        return Some(NO_PLAIN_NAME);
    }
    is_taken(name).then_some("it is a word of the language")
}

fn is_taken(name: &str) -> bool {
    TAKEN.contains(&name)
        || vocabulary::effect(name).is_some()
        || vocabulary::clause(name).is_some()
        || vocabulary::CONNECTIVES.contains(&name)
}

/// Puts values in for names in these items.
pub(super) fn items(items: &mut [Item], scopes: &[&Scope], diagnostics: &mut Findings) {
    Put {
        scopes,
        diagnostics,
    }
    .items(items);
}

struct Put<'a> {
    /// The nearest first.
    scopes: &'a [&'a Scope],
    diagnostics: &'a mut Findings,
}

impl Put<'_> {
    fn find(&self, name: &str) -> Option<Value> {
        self.scopes
            .iter()
            .find_map(|scope| scope.get(name))
            .cloned()
    }

    fn items(&mut self, items: &mut [Item]) {
        for item in items {
            match item {
                Item::Rule(rule) => self.rule(rule),
                Item::Setting(setting) => {
                    setting.values.iter_mut().for_each(|value| self.list(value))
                }
                Item::Block(block) => self.items(&mut block.items),
                Item::Example(_) => {}
            }
        }
    }

    fn rule(&mut self, rule: &mut Rule) {
        for clause in &mut rule.clauses {
            match &mut clause.body {
                ClauseBody::Condition(expr) => self.expr(expr),
                ClauseBody::Value(value) | ClauseBody::Pair { value, .. } => {
                    let request =
                        !matches!(clause.keyword.text.as_str(), "reason" | "notify" | "reeval");
                    if let ValueKind::Bare(name) = &value.kind
                        && request
                        && let Some(found) = self.find(name)
                    {
                        value.kind = found.kind;
                    }
                }
            }
        }
    }

    /// Names among the elements of a list; a list in place of one is spread.
    fn list(&mut self, value: &mut Value) {
        let ValueKind::List(parts) = &mut value.kind else {
            return;
        };
        let named = |part: &Value| matches!(part.kind, ValueKind::Bare(_));
        if !parts.iter().any(named) {
            return;
        }
        for mut part in std::mem::take(parts) {
            let found = match &part.kind {
                ValueKind::Bare(name) => self.find(name),
                _ => None,
            };
            match found.map(|found| found.kind) {
                Some(ValueKind::List(spread)) => parts.extend(spread),
                Some(kind) => {
                    part.kind = kind;
                    parts.push(part);
                }
                None => parts.push(part),
            }
        }
    }

    fn expr(&mut self, expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::Or(parts) | ExprKind::And(parts) => {
                parts.iter_mut().for_each(|part| self.expr(part));
            }
            ExprKind::Not(inner) | ExprKind::Has(inner) => self.expr(inner),
            ExprKind::Binary { left, right, .. } => {
                self.expr(left);
                self.expr(right);
            }
            ExprKind::Call { arguments, .. } => {
                for argument in arguments {
                    self.expr(&mut argument.value);
                }
            }
            ExprKind::List(parts) => {
                for mut part in std::mem::take(parts) {
                    let name = matches!(part.kind, ExprKind::Name(_));
                    self.expr(&mut part);
                    match part.kind {
                        ExprKind::List(spread) if name => parts.extend(spread),
                        _ => parts.push(part),
                    }
                }
            }
            ExprKind::Name(parts) => {
                if let Some(kind) = self.named(parts, expr.span) {
                    expr.kind = kind;
                }
            }
            ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::Text(_)
            | ExprKind::ToolPath(_)
            | ExprKind::Bad => {}
        }
    }

    /// `limit`, `vars.limit`.
    fn named(&mut self, parts: &[Word], span: Span) -> Option<ExprKind> {
        match parts {
            [only] => Some(literal(self.find(&only.text)?, span)),
            [root, name] if root.text == "vars" => match self.find(&name.text) {
                Some(value) => Some(literal(value, span)),
                None => {
                    let known: Vec<&String> = self
                        .scopes
                        .iter()
                        .flat_map(|scope| scope.of.keys())
                        .collect();
                    let near = known
                        .into_iter()
                        .find(|known| strsim::osa_distance(known, &name.text) <= 2);
                    let message = format!("no `var` is called {}", quoted(&name.text));
                    self.diagnostics.push(
                        Diagnostic::new(Number::UnknownVariable, message)
                            .at(span, "")
                            .suggest(near.map(String::as_str))
                            .help("an argument of this name is written `args.vars.` and the name"),
                    );
                    Some(ExprKind::Bad)
                }
            },
            _ => None,
        }
    }
}

fn literal(value: Value, span: Span) -> ExprKind {
    match value.kind {
        ValueKind::Bare(text) if text == "true" || text == "false" => {
            ExprKind::Bool(text == "true")
        }
        ValueKind::Bare(text) | ValueKind::Text(text) => ExprKind::Text(text),
        ValueKind::Number(quantity) => ExprKind::Number(quantity),
        ValueKind::List(parts) => ExprKind::List(
            parts
                .into_iter()
                .map(|part| Expr {
                    kind: literal(part, span),
                    span,
                })
                .collect(),
        ),
        ValueKind::Object(_) | ValueKind::Env(_) | ValueKind::Bad => ExprKind::Bad,
    }
}
