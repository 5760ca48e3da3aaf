//! A side of a test: a variable, a function's number, a literal, a list, or a calculation over them.

use super::types::{Type, joint_unit};
use super::{Lowering, functions::Called};
use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Operator, Quantity, Unit};
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{Field, LONG_TEXT_BYTES_MAX, Literal, Step};

/// Steps of one calculation: what a person still reads, and what bounds the cost of a test.
const CALCULATION_STEPS_MAX: usize = 64;

/// A side of a test.
pub(super) enum Operand<'e> {
    /// A variable, or what is worked out of some.
    Field(u32, Type),
    Literal(Literal, Unit),
    List(&'e [Expr]),
}

impl Operand<'_> {
    pub(super) const fn kind(&self) -> Type {
        match self {
            Operand::Field(_, kind) => *kind,
            Operand::Literal(literal, unit) => Type::of_literal(literal, *unit),
            Operand::List(_) => Type::List,
        }
    }
}

/// A part of a calculation.
enum Part {
    Constant(Decimal, Unit),
    Steps(Vec<Step>, Unit),
}

impl Part {
    const fn unit(&self) -> Unit {
        match self {
            Part::Constant(_, unit) | Part::Steps(_, unit) => *unit,
        }
    }

    fn steps(self) -> Vec<Step> {
        match self {
            Part::Constant(number, _) => vec![Step::Number(number)],
            Part::Steps(steps, _) => steps,
        }
    }
}

impl Lowering<'_> {
    pub(super) fn operand<'e>(&mut self, expr: &'e Expr) -> Option<Operand<'e>> {
        match &expr.kind {
            ExprKind::Name(parts) => {
                let (field, kind) = self.resolve(parts, expr.span)?;
                Some(Operand::Field(self.tables.field(field), kind))
            }
            ExprKind::List(parts) => Some(Operand::List(parts)),
            ExprKind::Call { name, arguments } => match self.call(name, arguments, expr.span)? {
                Called::Value(field, kind) => Some(Operand::Field(self.tables.field(field), kind)),
                Called::Condition(..) => {
                    let message = format!("{} is itself true or false", quoted(&name.text));
                    self.report(
                        Diagnostic::new(Number::BadOperand, message)
                            .at(expr.span, "remove the comparison"),
                    );
                    None
                }
            },
            ExprKind::Binary {
                operator: Operator::Add | Operator::Subtract | Operator::Multiply,
                ..
            } => match self.calculation(expr)? {
                Part::Constant(number, unit) => {
                    Some(Operand::Literal(Literal::Number(number), unit))
                }
                Part::Steps(steps, _) if steps.len() > CALCULATION_STEPS_MAX => {
                    let message =
                        format!("a calculation of more than {CALCULATION_STEPS_MAX} steps");
                    self.report(Diagnostic::new(Number::TooManyTests, message).at(expr.span, ""));
                    None
                }
                Part::Steps(steps, unit) => {
                    let field = self.tables.field(Field::Calculated(steps));
                    Some(Operand::Field(field, Type::Number(unit)))
                }
            },
            _ => match self.literal(expr)? {
                Some((literal, unit)) => Some(Operand::Literal(literal, unit)),
                None => {
                    self.report(
                        Diagnostic::new(
                            Number::BadOperand,
                            "a condition stands where a value belongs",
                        )
                        .at(expr.span, "expected a name or a value"),
                    );
                    None
                }
            },
        }
    }

    /// A calculation in postfix form; what has only constants is worked out here, exactly.
    fn calculation(&mut self, expr: &Expr) -> Option<Part> {
        if let ExprKind::Binary {
            operator: operator @ (Operator::Add | Operator::Subtract | Operator::Multiply),
            sign,
            left,
            right,
        } = &expr.kind
        {
            let left_part = self.calculation(left);
            let right_part = self.calculation(right);
            let (left_part, right_part) = (left_part?, right_part?);
            let unit = self.unit_of(*operator, &left_part, &right_part, left, right)?;
            return self.calculated(*operator, *sign, left_part, right_part, unit);
        }
        match self.operand(expr)? {
            Operand::Literal(Literal::Number(number), unit) => Some(Part::Constant(number, unit)),
            Operand::Field(field, Type::Number(unit)) => {
                Some(Part::Steps(vec![Step::Field(field)], unit))
            }
            Operand::Field(field, Type::Any) => {
                Some(Part::Steps(vec![Step::Field(field)], Unit::None))
            }
            other => {
                let what = other.kind().noun();
                self.report(
                    Diagnostic::new(Number::TypeMismatch, format!("a calculation with {what}"))
                        .at(expr.span, "expected a number"),
                );
                None
            }
        }
    }

    /// What the result counts.
    fn unit_of(
        &mut self,
        operator: Operator,
        left: &Part,
        right: &Part,
        left_expr: &Expr,
        right_expr: &Expr,
    ) -> Option<Unit> {
        match joint_unit(left.unit(), right.unit()) {
            _ if operator == Operator::Multiply
                && left.unit() != Unit::None
                && right.unit() != Unit::None =>
            {
                Some(Unit::None)
            }
            Some(unit) => Some(unit),
            None => {
                let message = format!(
                    "a calculation with {} and {}",
                    left.unit().noun(),
                    right.unit().noun()
                );
                self.report(
                    Diagnostic::new(Number::TypeMismatch, message)
                        .at(right_expr.span, right.unit().noun())
                        .at(left_expr.span, left.unit().noun()),
                );
                None
            }
        }
    }

    fn calculated(
        &mut self,
        operator: Operator,
        sign: Span,
        left: Part,
        right: Part,
        unit: Unit,
    ) -> Option<Part> {
        let (step, result) = match (&left, &right) {
            (Part::Constant(a, _), Part::Constant(b, _)) => {
                let result = match operator {
                    Operator::Add => a.plus(b),
                    Operator::Subtract => a.minus(b),
                    _ => a.times(b),
                };
                (None, Some(result))
            }
            _ => match operator {
                Operator::Add => (Some(Step::Add), None),
                Operator::Subtract => (Some(Step::Subtract), None),
                _ => (Some(Step::Multiply), None),
            },
        };
        match (step, result) {
            (_, Some(Some(number))) => Some(Part::Constant(number, unit)),
            (_, Some(None)) => {
                let message = "the result has too many digits";
                self.report(
                    Diagnostic::new(Number::BadNumber, message)
                        .at(sign, "at most 1,000 digits and exponents within ±1,000"),
                );
                None
            }
            (step, None) => {
                let mut steps = left.steps();
                steps.extend(right.steps());
                steps.extend(step);
                Some(Part::Steps(steps, unit))
            }
        }
    }

    /// A constant; the outer `None` is a reported fault, the inner one something that is no constant.
    #[expect(
        clippy::option_option,
        reason = "a reported fault and no constant are different answers"
    )]
    pub(super) fn literal(&mut self, expr: &Expr) -> Option<Option<(Literal, Unit)>> {
        Some(match &expr.kind {
            ExprKind::Bool(value) => Some((Literal::Bool(*value), Unit::None)),
            ExprKind::Text(text) => {
                if text.len() > LONG_TEXT_BYTES_MAX {
                    self.report(
                        Diagnostic::new(
                            Number::StringTooLong,
                            format!("a string of more than {LONG_TEXT_BYTES_MAX} bytes"),
                        )
                        .at(expr.span, ""),
                    );
                    return None;
                }
                Some((Literal::String(text.clone()), Unit::None))
            }
            ExprKind::Number(quantity) => Some((
                Literal::Number(self.number(quantity, expr.span)?),
                quantity.unit,
            )),
            ExprKind::Bad => return None,
            _ => None,
        })
    }

    pub(super) fn number(&mut self, quantity: &Quantity, span: Span) -> Option<Decimal> {
        match Decimal::parse(&quantity.value) {
            Ok(number) => Some(number),
            Err(why) => {
                let message = format!(
                    "{} is not a number that can be compared",
                    quoted(&quantity.shown)
                );
                self.report(Diagnostic::new(Number::BadNumber, message).at(span, why.to_string()));
                None
            }
        }
    }
}
