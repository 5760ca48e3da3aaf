//! A condition's tree to its postfix program over the agent's fields and tests.
//!
//! Invariants: a condition with a fault yields no program at all, never a weaker one; what a program tests is in the
//! tables, each once.
//!
//! `and`, `or`, `not`, `has` and bare names are here; what stands beneath them is in the modules, in reading order.

mod comparisons;
mod expressions;
mod functions;
mod operands;
mod tables;
mod types;
mod variables;

pub(crate) use comparisons::is_shouted;
pub(crate) use tables::Tables;
pub(crate) use types::{Type, time_expected, time_literal};

use functions::Called;

use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::lower::Declared;
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Word};
use faramesh_core::policy::artifact::{
    Ask, CONDITION_DEPTH_MAX, Field, OPS_PER_RULE_MAX, Op, TESTS_PER_RULE_MAX,
};

/// What a condition may read: what its file declares, and of which tools it speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) declared: &'a Declared,
    /// The rule's pattern; a lone `*` where it had a fault.
    pub(crate) pattern: &'a str,
}

/// What a condition became, and what a person should know of it.
#[derive(Debug, Default)]
pub(crate) struct Lowered {
    pub(crate) program: Vec<Op>,
    /// Bare names of facts that a stronger door would know: `host`, `method`.
    pub(crate) claimed: Vec<Word>,
    pub(crate) compared: Vec<Compared>,
}

/// Two arguments that are compared, one at least by a bare name that no schema has.
#[derive(Debug)]
pub(crate) struct Compared {
    /// Such names, the side that is likelier meant as text first.
    pub(crate) names: Vec<Word>,
    /// Less and greater: text cannot be meant.
    pub(crate) ordered: bool,
}

/// Lowers a condition; `None` where a finding says why not.
pub(crate) fn lower(
    expr: &Expr,
    scope: Scope<'_>,
    tables: &mut Tables,
    diagnostics: &mut Findings,
) -> Option<Lowered> {
    let mut lowering = Lowering {
        scope,
        tables,
        diagnostics,
        program: Vec::new(),
        claimed: Vec::new(),
        compared: Vec::new(),
    };
    lowering.condition(expr)?;
    let Lowering {
        program,
        claimed,
        compared,
        ..
    } = lowering;
    Some(Lowered {
        program,
        claimed,
        compared,
    })
}

/// The field and the type of what `given { … }` supposes: a variable, or a function's number.
pub(crate) fn fact(
    expr: &Expr,
    scope: Scope<'_>,
    tables: &mut Tables,
    diagnostics: &mut Findings,
) -> Option<(Field, Type)> {
    let mut lowering = Lowering {
        scope,
        tables,
        diagnostics,
        program: Vec::new(),
        claimed: Vec::new(),
        compared: Vec::new(),
    };
    match &expr.kind {
        ExprKind::Name(parts) => lowering.resolve(parts, expr.span),
        ExprKind::Call { name, arguments } => {
            match lowering.call(name, arguments, expr.span)? {
                Called::Value(field, kind) => Some((field, kind)),
                Called::Condition(..) => {
                    let message = format!("{} is no fact of its own", quoted(&name.text));
                    lowering.report(
                        Diagnostic::new(Number::BadOperand, message)
                            .at(expr.span, "it asks something of one")
                            .help("name what it asks of, such as `session.count(tool/name, window=1h)`"),
                    );
                    None
                }
            }
        }
        ExprKind::Bad => None,
        _ => {
            lowering.report(Diagnostic::new(Number::BadOperand, "this is no fact").at(
                expr.span,
                "expected a variable, such as `time.hour`, or a function's number",
            ));
            None
        }
    }
}

/// Functions, and the variables that are no arguments.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    functions::words().chain(variables::words())
}

/// Why a program is too large for an artifact.
pub(crate) fn limit(program: &[Op]) -> Option<(Number, String)> {
    let tests = program
        .iter()
        .filter(|op| matches!(op, Op::Test(_)))
        .count();
    if tests > TESTS_PER_RULE_MAX || program.len() > OPS_PER_RULE_MAX {
        return Some((
            Number::TooManyTests,
            format!("a condition with more than {TESTS_PER_RULE_MAX} tests"),
        ));
    }
    let mut waiting = 0_usize;
    let mut deepest = 0;
    for op in program {
        match op {
            Op::Test(_) | Op::Const(_) => waiting += 1,
            Op::And | Op::Or => waiting = waiting.saturating_sub(1),
            Op::Not => {}
        }
        deepest = deepest.max(waiting);
    }
    (deepest > CONDITION_DEPTH_MAX).then(|| {
        (
            Number::TooDeep,
            format!("a condition nested more than {CONDITION_DEPTH_MAX} deep"),
        )
    })
}

struct Lowering<'a> {
    scope: Scope<'a>,
    tables: &'a mut Tables,
    diagnostics: &'a mut Findings,
    program: Vec<Op>,
    claimed: Vec<Word>,
    compared: Vec<Compared>,
}

impl Lowering<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn test(&mut self, field: Field, ask: Ask) {
        let field = self.tables.field(field);
        let op = self.tables.ask(field, ask);
        self.program.push(op);
    }

    /// Appends the program of a condition. Goes on after a fault, to name the next one too.
    fn condition(&mut self, expr: &Expr) -> Option<()> {
        match &expr.kind {
            ExprKind::Or(parts) => self.join(parts, Op::Or),
            ExprKind::And(parts) => self.join(parts, Op::And),
            ExprKind::Not(inner) => {
                self.condition(inner)?;
                self.program.push(Op::Not);
                Some(())
            }
            ExprKind::Has(inner) => self.has(inner),
            ExprKind::Name(parts) => self.bare(parts, expr.span),
            ExprKind::Bool(value) => {
                self.constant(expr.span, *value, "");
                Some(())
            }
            ExprKind::Binary {
                operator,
                sign,
                left,
                right,
            } => self.comparison(*operator, *sign, left, right),
            ExprKind::Call { name, arguments } => {
                self.call_as_condition(name, arguments, expr.span)
            }
            ExprKind::Number(_) | ExprKind::Text(_) | ExprKind::List(_) | ExprKind::ToolPath(_) => {
                let what = "a value alone is neither true nor false";
                self.report(
                    Diagnostic::new(Number::NotACondition, what)
                        .at(expr.span, "expected a comparison")
                        .help("for one of several values write `x in [\"a\", \"b\"]`"),
                );
                None
            }
            ExprKind::Bad => None,
        }
    }

    fn join(&mut self, parts: &[Expr], op: Op) -> Option<()> {
        let mut sound = Some(());
        let mut flat = Vec::new();
        flatten(parts, op, &mut flat);
        for (index, part) in flat.into_iter().enumerate() {
            sound = self.condition(part).and(sound);
            if index > 0 {
                self.program.push(op);
            }
        }
        sound
    }

    fn constant(&mut self, span: Span, value: bool, why: &str) {
        self.report(
            Diagnostic::new(Number::ConstantCondition, format!("this is always {value}"))
                .at(span, why)
                .help("remove it, or name the argument that decides"),
        );
        self.program.push(Op::Const(value));
    }

    fn has(&mut self, inner: &Expr) -> Option<()> {
        let ExprKind::Name(parts) = &inner.kind else {
            if !matches!(inner.kind, ExprKind::Bad) {
                self.report(
                    Diagnostic::new(Number::BadOperand, "`has` asks for an argument by its name")
                        .at(inner.span, "expected a name, such as `args.path`"),
                );
            }
            return None;
        };
        let (field, _) = self.resolve(parts, inner.span)?;
        match &field {
            Field::Tool | Field::Agent | Field::Action | Field::Time(_) => {
                self.constant(inner.span, true, "every call has it");
            }
            Field::Args(path) if self.scope.is_required(path) => {
                self.constant(inner.span, true, "its tool's schema requires it");
            }
            _ => self.test(field, Ask::Has),
        }
        Some(())
    }

    fn bare(&mut self, parts: &[Word], span: Span) -> Option<()> {
        let (field, kind) = self.resolve(parts, span)?;
        if !kind.may_be(&[Type::Bool]) {
            let name: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            let name = name.join(".");
            self.report(
                Diagnostic::new(
                    Number::NotACondition,
                    format!(
                        "{} is {}, neither true nor false",
                        quoted(&name),
                        kind.noun()
                    ),
                )
                .at(span, "")
                .help(match kind {
                    Type::Text => format!("compare it: `{name} == \"…\"`"),
                    Type::Number(_) => format!("compare it: `{name} > 0`"),
                    _ => format!("ask whether it is there: `has {name}`"),
                }),
            );
            return None;
        }
        self.test(field, Ask::IsTrue);
        Some(())
    }
}

/// `(a and b) and c` is `a and b and c`: grouping that changes nothing is not kept.
pub(crate) fn flatten<'e>(parts: &'e [Expr], op: Op, flat: &mut Vec<&'e Expr>) {
    for part in parts {
        match (&part.kind, op) {
            (ExprKind::And(inner), Op::And) | (ExprKind::Or(inner), Op::Or) => {
                flatten(inner, op, flat)
            }
            _ => flat.push(part),
        }
    }
}
