//! The places of a tree, led back to where its text came from.

use super::transcribe::Transcript;
use crate::source::Span;
use crate::syntax::{
    Block, ClauseBody, Example, Expr, ExprKind, File, Item, Member, Rule, Setting, Value,
    ValueKind, Word,
};

/// Puts the document's places for the transcript's, and its conditions where their names stand.
pub(super) fn of_file(file: &mut File, transcript: &mut Transcript) {
    for item in &mut file.items {
        of_item(item, transcript);
    }
}

fn of_item(item: &mut Item, transcript: &mut Transcript) {
    match item {
        Item::Rule(rule) => of_rule(rule, transcript),
        Item::Setting(setting) => of_setting(setting, transcript),
        Item::Block(block) => of_block(block, transcript),
        Item::Example(example) => of_example(example, transcript),
    }
}

fn of_block(block: &mut Block, transcript: &mut Transcript) {
    let Block {
        keyword,
        labels,
        items,
        head,
    } = block;
    of_word(keyword, transcript);
    *head = transcript.origin(*head);
    for label in labels {
        of_value(label, transcript);
    }
    for item in items {
        of_item(item, transcript);
    }
}

fn of_setting(setting: &mut Setting, transcript: &Transcript) {
    let Setting { key, values, span } = setting;
    of_word(key, transcript);
    *span = transcript.origin(*span);
    for value in values {
        of_value(value, transcript);
    }
}

fn of_rule(rule: &mut Rule, transcript: &mut Transcript) {
    of_word(&mut rule.effect, transcript);
    if let Some(tool) = &mut rule.tool {
        of_word(tool, transcript);
    }
    rule.span = transcript.origin(rule.span);
    for clause in &mut rule.clauses {
        of_word(&mut clause.keyword, transcript);
        match &mut clause.body {
            ClauseBody::Condition(condition) => {
                if let Some(own) = transcript.condition(condition) {
                    *condition = own;
                }
            }
            ClauseBody::Value(value) => of_value(value, transcript),
            ClauseBody::Pair { key, value } => {
                of_word(key, transcript);
                of_value(value, transcript);
            }
        }
    }
}

fn of_example(example: &mut Example, transcript: &Transcript) {
    of_word(&mut example.effect, transcript);
    for word in [&mut example.tool, &mut example.code].into_iter().flatten() {
        of_word(word, transcript);
    }
    example.span = transcript.origin(example.span);
    for member in example.arguments.iter_mut().chain(&mut example.given) {
        of_member(member, transcript);
    }
}

fn of_member(member: &mut Member, transcript: &Transcript) {
    for word in &mut member.key {
        of_word(word, transcript);
    }
    of_value(&mut member.value, transcript);
}

fn of_value(value: &mut Value, transcript: &Transcript) {
    value.span = transcript.origin(value.span);
    match &mut value.kind {
        ValueKind::List(values) => values
            .iter_mut()
            .for_each(|value| of_value(value, transcript)),
        ValueKind::Object(members) => members
            .iter_mut()
            .for_each(|member| of_member(member, transcript)),
        _ => {}
    }
}

fn of_word(word: &mut Word, transcript: &Transcript) {
    word.span = transcript.origin(word.span);
}

/// Changes each place in a condition.
pub(crate) fn of_expr(expr: &mut Expr, place: &mut impl FnMut(Span) -> Span) {
    expr.span = place(expr.span);
    match &mut expr.kind {
        ExprKind::Or(parts) | ExprKind::And(parts) | ExprKind::List(parts) => {
            parts.iter_mut().for_each(|part| of_expr(part, place));
        }
        ExprKind::Not(inner) | ExprKind::Has(inner) => of_expr(inner, place),
        ExprKind::Binary {
            sign, left, right, ..
        } => {
            *sign = place(*sign);
            of_expr(left, place);
            of_expr(right, place);
        }
        ExprKind::Name(parts) => {
            for part in parts {
                part.span = place(part.span);
            }
        }
        ExprKind::Call { name, arguments } => {
            name.span = place(name.span);
            for argument in arguments {
                if let Some(name) = &mut argument.name {
                    name.span = place(name.span);
                }
                of_expr(&mut argument.value, place);
            }
        }
        ExprKind::Bool(_)
        | ExprKind::Number(_)
        | ExprKind::Text(_)
        | ExprKind::ToolPath(_)
        | ExprKind::Bad => {}
    }
}
