//! Two sides and what stands between them, to one test.

use super::operands::Operand;
use super::types::{self, Type};
use super::{Compared, Lowering, expressions};
use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Operator, Unit, Word};
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{
    Ask, Field, IN_MAX, LONG_TEXT_BYTES_MAX, Literal, Op, Order, Relation, TimePart,
};

impl Lowering<'_> {
    pub(super) fn comparison(
        &mut self,
        operator: Operator,
        sign: Span,
        left: &Expr,
        right: &Expr,
    ) -> Option<()> {
        self.test_of(operator, sign, left, right)?;
        self.compared(operator, left, right);
        Some(())
    }

    fn test_of(&mut self, operator: Operator, sign: Span, left: &Expr, right: &Expr) -> Option<()> {
        match operator {
            Operator::Equal | Operator::NotEqual => self.equal(operator, left, right),
            Operator::Less => self.order(Order::Less, sign, left, right),
            Operator::LessOrEqual => self.order(Order::LessOrEqual, sign, left, right),
            Operator::Greater => self.order(Order::Greater, sign, left, right),
            Operator::GreaterOrEqual => self.order(Order::GreaterOrEqual, sign, left, right),
            Operator::In => self.is_in(left, right),
            Operator::Matches => self.matches(left, right),
            Operator::Contains => self.contains(left, right),
            Operator::StartsWith | Operator::EndsWith => self.affix(operator, left, right),
            Operator::Add | Operator::Subtract | Operator::Multiply => {
                self.report(
                    Diagnostic::new(
                        Number::NotACondition,
                        "a number alone is neither true nor false",
                    )
                    .at(left.span.to(right.span), "expected a comparison"),
                );
                None
            }
        }
    }

    /// Notes `currency == USD`: both sides are arguments, so that both are the caller's.
    fn compared(&mut self, operator: Operator, left: &Expr, right: &Expr) {
        let (ExprKind::Name(left), ExprKind::Name(right)) = (&left.kind, &right.kind) else {
            return;
        };
        // Beside `args.limit`, whoever writes knows that the name in front is an argument.
        let explicit = matches!(right.as_slice(), [root, ..] if root.text == "args");
        let mut names: Vec<Word> = [right, left]
            .into_iter()
            .filter_map(|side| self.undeclared(side).cloned())
            .filter(|name| !explicit || is_shouted(&name.text))
            .collect();
        names.sort_by_key(|name| !is_shouted(&name.text));
        let shouted = names.first().is_some_and(|name| is_shouted(&name.text));
        if names.is_empty() || !(shouted || self.compares_arguments()) {
            return;
        }
        let ordered = matches!(
            operator,
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual
        );
        self.compared.push(Compared { names, ordered });
    }

    /// Whether the test that stands last compares two arguments, and no fact that others than the caller supply.
    fn compares_arguments(&self) -> bool {
        let last = self.program.iter().rev().find_map(|op| match op {
            Op::Test(test) => self.tables.test(*test),
            _ => None,
        });
        match last {
            Some((Field::Args(_), Ask::CompareField(_, other))) => {
                matches!(self.tables.of(*other), Some(Field::Args(_)))
            }
            _ => false,
        }
    }

    /// The sides of a comparison; both are looked at before either fault ends the rule. One at least is a field.
    fn sides<'e>(&mut self, left: &'e Expr, right: &'e Expr) -> Option<(Operand<'e>, Operand<'e>)> {
        let left_side = self.operand(left);
        let right_side = self.operand(right);
        let (left_side, right_side) = (left_side?, right_side?);
        if !matches!(left_side, Operand::Field(..)) && !matches!(right_side, Operand::Field(..)) {
            self.report(
                Diagnostic::new(Number::BadOperand, "two constants are compared")
                    .at(left.span.to(right.span), "no argument of the call is asked"),
            );
            return None;
        }
        let right_side = self.timed(&left_side, right_side, right.span)?;
        let left_side = self.timed(&right_side, left_side, left.span)?;
        Some((left_side, right_side))
    }

    /// A text beside a part of the time is the number that it means.
    fn timed<'e>(
        &mut self,
        beside: &Operand<'_>,
        side: Operand<'e>,
        span: Span,
    ) -> Option<Operand<'e>> {
        match (self.time_part(beside), side) {
            (Some(part), Operand::Literal(Literal::String(text), _)) => {
                let number = self.time_number(part, &text, span)?;
                Some(Operand::Literal(Literal::Number(number), Unit::None))
            }
            (_, side) => Some(side),
        }
    }

    fn time_part(&self, side: &Operand<'_>) -> Option<TimePart> {
        match side {
            Operand::Field(field, _) => match self.tables.of(*field) {
                Some(Field::Time(part)) => Some(*part),
                _ => None,
            },
            _ => None,
        }
    }

    fn time_number(&mut self, part: TimePart, text: &str, span: Span) -> Option<Decimal> {
        match types::time_literal(part, text) {
            Ok(number) => Some(number),
            Err(near) => {
                let name = part.as_str();
                let expected = types::time_expected(part);
                let message = format!("{} is no value of `time.{name}`", quoted(text));
                self.report(
                    Diagnostic::new(Number::BadTime, message)
                        .at(span, expected)
                        .suggest(near),
                );
                None
            }
        }
    }

    /// The types of the sides may be the same.
    fn meeting(&mut self, left: (Type, &Expr), right: (Type, &Expr)) -> Option<()> {
        if left.0.meets(right.0) {
            return Some(());
        }
        let message = format!("{} is compared with {}", left.0.noun(), right.0.noun());
        let finding = Diagnostic::new(Number::TypeMismatch, message)
            .at(right.1.span, right.0.noun())
            .at(left.1.span, left.0.noun());
        let number = [left.1, right.1]
            .into_iter()
            .find_map(|side| match &side.kind {
                ExprKind::Text(text) if Decimal::parse(text.trim_start_matches('$')).is_ok() => {
                    Some(text)
                }
                _ => None,
            });
        let other_is_number =
            matches!(left.0, Type::Number(_)) || matches!(right.0, Type::Number(_));
        self.report(match number {
            Some(text) if other_is_number => {
                finding.help(format!("write it without quotes: `{text}`"))
            }
            _ => finding
                .note("no call could make this true or false")
                .help("compare it with a value of the same kind"),
        });
        None
    }

    fn push(&mut self, field: u32, ask: Ask) -> Option<()> {
        let op = self.tables.ask(field, ask);
        self.program.push(op);
        Some(())
    }

    fn equal(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Option<()> {
        let (left_side, right_side) = self.sides(left, right)?;
        if matches!(left_side, Operand::List(_)) || matches!(right_side, Operand::List(_)) {
            self.report(
                Diagnostic::new(Number::BadOperand, "a list is compared with `==`")
                    .at(left.span.to(right.span), "")
                    .help("write `x in […]` for one of several values"),
            );
            return None;
        }
        self.meeting((left_side.kind(), left), (right_side.kind(), right))?;
        match (left_side, right_side) {
            (Operand::Field(field, _), Operand::Field(other, _)) => {
                self.push(field, Ask::CompareField(Relation::Equal, other))?;
            }
            (Operand::Field(field, _), Operand::Literal(literal, _))
            | (Operand::Literal(literal, _), Operand::Field(field, _)) => {
                self.push(field, Ask::Equals(literal))?;
            }
            _ => return None,
        }
        if operator == Operator::NotEqual {
            self.program.push(Op::Not);
        }
        Some(())
    }

    fn order(&mut self, order: Order, sign: Span, left: &Expr, right: &Expr) -> Option<()> {
        let (left_side, right_side) = self.sides(left, right)?;
        for (side, expr) in [(&left_side, left), (&right_side, right)] {
            if !side.kind().may_be(&[Type::Number(Unit::None)]) {
                self.not_a_number(side, expr, sign);
                return None;
            }
        }
        self.meeting((left_side.kind(), left), (right_side.kind(), right))?;
        match (left_side, right_side) {
            (Operand::Field(field, _), Operand::Field(other, _)) => {
                self.push(field, Ask::CompareField(Relation::Order(order), other))
            }
            (Operand::Field(field, _), Operand::Literal(Literal::Number(number), _)) => {
                self.push(field, Ask::Compare(order, number))
            }
            (Operand::Literal(Literal::Number(number), _), Operand::Field(field, _)) => {
                self.push(field, Ask::Compare(mirrored(order), number))
            }
            _ => None,
        }
    }

    fn not_a_number(&mut self, side: &Operand<'_>, expr: &Expr, sign: Span) {
        let finding = match side {
            Operand::Field(..) => {
                Diagnostic::new(Number::TypeMismatch, "less and greater compare numbers")
                    .at(expr.span, format!("this is {}", side.kind().noun()))
            }
            _ => Diagnostic::new(Number::BadOperand, "less and greater compare numbers")
                .at(expr.span, "this is no number")
                .at(sign, ""),
        };
        let finding = match side {
            Operand::Literal(Literal::String(text), _)
                if Decimal::parse(text.trim_start_matches('$')).is_ok() =>
            {
                finding.help(format!("write it without quotes: `{text}`"))
            }
            _ => finding,
        };
        self.report(finding);
    }

    fn is_in(&mut self, left: &Expr, right: &Expr) -> Option<()> {
        let left_side = self.operand(left);
        let right_side = self.operand(right);
        match (left_side?, right_side?) {
            (side @ Operand::Field(field, kind), Operand::List(parts)) => {
                let part = self.time_part(&side);
                let (literals, of) = self.members(parts, right.span, part)?;
                self.meeting((kind, left), (of, right))?;
                self.push(field, Ask::In(literals))
            }
            (_, Operand::Field(..)) => {
                self.report(
                    Diagnostic::new(
                        Number::BadOperand,
                        "`in` takes an argument on the left, a list on the right",
                    )
                    .at(left.span.to(right.span), "")
                    .help("to look into a list that the call brings, write `list contains value`"),
                );
                None
            }
            _ => {
                self.report(
                    Diagnostic::new(
                        Number::BadOperand,
                        "`in` takes an argument on the left, a list on the right",
                    )
                    .at(right.span, "expected a list: `[\"a\", \"b\"]`"),
                );
                None
            }
        }
    }

    /// The elements of a list: one type, sorted, each once. Beside a part of the time, texts are the numbers they mean.
    fn members(
        &mut self,
        parts: &[Expr],
        span: Span,
        time: Option<TimePart>,
    ) -> Option<(Vec<Literal>, Type)> {
        let mut literals = Vec::new();
        let mut first: Option<Type> = None;
        for part in parts {
            let Some((mut literal, unit)) = self.element(part)? else {
                let message = "a list in a condition has only values";
                let finding = Diagnostic::new(Number::BadList, message)
                    .at(part.span, "expected text or a number");
                self.report(match &part.kind {
                    ExprKind::Name(parts) => {
                        let name: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
                        finding.help(format!("text stands in quotes: `\"{}\"`", name.join(".")))
                    }
                    _ => finding,
                });
                return None;
            };
            if let (Some(time), Literal::String(text)) = (time, &literal) {
                literal = Literal::Number(self.time_number(time, text, part.span)?);
            }
            let kind = Type::of_literal(&literal, unit);
            match first {
                Some(other) if other != kind => {
                    let message =
                        format!("a list that mixes {} and {}", in_list(other), in_list(kind));
                    self.report(
                        Diagnostic::new(Number::BadList, message)
                            .at(part.span, "not like the elements before it"),
                    );
                    return None;
                }
                _ => first = Some(kind),
            }
            literals.push(literal);
        }
        literals.sort();
        literals.dedup();
        match first {
            Some(kind) if literals.len() <= IN_MAX => Some((literals, kind)),
            _ => {
                let message = if literals.is_empty() {
                    "an empty list".into()
                } else {
                    format!("a list of more than {IN_MAX} values")
                };
                self.report(Diagnostic::new(Number::BadList, message).at(span, ""));
                None
            }
        }
    }

    /// As [`Lowering::literal`], and a calculation of constants too.
    #[expect(
        clippy::option_option,
        reason = "a reported fault and no constant are different answers"
    )]
    fn element(&mut self, part: &Expr) -> Option<Option<(Literal, Unit)>> {
        if matches!(part.kind, ExprKind::Binary { .. })
            && let Operand::Literal(literal, unit) = self.operand(part)?
        {
            return Some(Some((literal, unit)));
        }
        self.literal(part)
    }

    fn matches(&mut self, left: &Expr, right: &Expr) -> Option<()> {
        let left_side = self.operand(left);
        let ExprKind::Text(pattern) = &right.kind else {
            if !matches!(right.kind, ExprKind::Bad) {
                self.report(
                    Diagnostic::new(
                        Number::BadOperand,
                        "`matches` takes a regular expression in quotes",
                    )
                    .at(right.span, "expected `\"…\"`"),
                );
            }
            return None;
        };
        if let Some(why) = expressions::fault(pattern) {
            self.report(
                Diagnostic::new(Number::BadRegex, "a regular expression that does not compile")
                    .at(right.span, why)
                    .note("the syntax is that of the Rust `regex` crate: no look-around, no back-references"),
            );
            return None;
        }
        if let Some(why) = expressions::emptiness(pattern) {
            self.report(
                Diagnostic::new(
                    Number::EmptyExpression,
                    "a regular expression that matches no text",
                )
                .at(right.span, why)
                .help(match why.starts_with("it has a class") {
                    true => "write a class that holds a character, such as `[ab]`",
                    false => "a `^` or `$` that is meant as itself has two backslashes before it in a string: `\\\\^`, `\\\\$`",
                }),
            );
            return None;
        }
        if expressions::is_everywhere(pattern) {
            self.report(
                Diagnostic::new(Number::ConstantCondition, "this is true of every text")
                    .at(right.span, "it matches nothing at all too, and that is in every text")
                    .help("an `|` with nothing on one side, or a `*`, is often why; `has` asks only whether it is there"),
            );
        }
        match left_side {
            Some(Operand::Field(field, kind)) if kind.may_be(&[Type::Text]) => {
                self.push(field, Ask::Matches(pattern.clone()))
            }
            Some(Operand::Field(_, kind)) => self.wrong_side("`matches` searches text", left, kind),
            Some(_) => {
                let message = "`matches` searches an argument";
                self.report(
                    Diagnostic::new(Number::BadOperand, message).at(left.span, "expected a name"),
                );
                None
            }
            None => None,
        }
    }

    fn wrong_side(&mut self, message: &str, side: &Expr, kind: Type) -> Option<()> {
        self.report(
            Diagnostic::new(Number::TypeMismatch, message)
                .at(side.span, format!("this is {}", kind.noun()))
                .note("no call could make this true or false"),
        );
        None
    }

    fn contains(&mut self, left: &Expr, right: &Expr) -> Option<()> {
        let left_side = self.operand(left);
        let right_side = self.operand(right);
        match (left_side?, right_side?) {
            (Operand::Field(_, kind), _) if !kind.may_be(&[Type::List, Type::Text]) => {
                self.wrong_side("`contains` looks into a list or a text", left, kind)
            }
            (Operand::Field(_, Type::Text), other) if !other.kind().may_be(&[Type::Text]) => {
                self.wrong_side("a text contains only text", right, other.kind())
            }
            (Operand::Field(field, _), Operand::Literal(literal, _)) => {
                self.push(field, Ask::Contains(literal))
            }
            (Operand::Field(field, _), Operand::Field(other, _)) => {
                self.push(field, Ask::CompareField(Relation::Contains, other))
            }
            (Operand::List(_), Operand::Field(..)) => {
                self.report(
                    Diagnostic::new(Number::BadOperand, "`contains` looks into an argument")
                        .at(left.span, "")
                        .help("write `x in […]`"),
                );
                None
            }
            _ => {
                self.report(
                    Diagnostic::new(
                        Number::BadOperand,
                        "`contains` takes an argument on the left, a value on the right",
                    )
                    .at(left.span.to(right.span), ""),
                );
                None
            }
        }
    }

    fn affix(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Option<()> {
        let left_side = self.operand(left);
        let right_side = self.operand(right);
        let name = operator.as_str();
        match (left_side?, right_side?) {
            (Operand::Field(_, kind), _) if !kind.may_be(&[Type::Text]) => {
                self.wrong_side(&format!("`{name}` looks at text"), left, kind)
            }
            (Operand::Field(..), other) if !other.kind().may_be(&[Type::Text]) => {
                self.wrong_side(&format!("`{name}` takes text"), right, other.kind())
            }
            (Operand::Field(field, _), Operand::Literal(Literal::String(text), _))
                if text.len() <= LONG_TEXT_BYTES_MAX =>
            {
                if text.is_empty() {
                    self.report(
                        Diagnostic::new(Number::ConstantCondition, "this is true of every text")
                            .at(right.span, "every text has an empty one at its ends"),
                    );
                }
                self.push(
                    field,
                    match operator {
                        Operator::StartsWith => Ask::StartsWith(text),
                        _ => Ask::EndsWith(text),
                    },
                )
            }
            (Operand::Field(field, _), Operand::Field(other, _)) => {
                let relation = match operator {
                    Operator::StartsWith => Relation::StartsWith,
                    _ => Relation::EndsWith,
                };
                self.push(field, Ask::CompareField(relation, other))
            }
            _ => {
                self.report(
                    Diagnostic::new(
                        Number::BadOperand,
                        format!("`{name}` takes an argument on the left, text on the right"),
                    )
                    .at(left.span.to(right.span), ""),
                );
                None
            }
        }
    }
}

/// `USD`, `PROD_EU`: nobody names an argument so.
pub(crate) fn is_shouted(name: &str) -> bool {
    name.len() > 1
        && name.bytes().any(|byte| byte.is_ascii_uppercase())
        && !name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// For messages about lists.
const fn in_list(kind: Type) -> &'static str {
    match kind {
        Type::Bool => "true/false",
        other => other.noun(),
    }
}

const fn mirrored(order: Order) -> Order {
    match order {
        Order::Less => Order::Greater,
        Order::LessOrEqual => Order::GreaterOrEqual,
        Order::Greater => Order::Less,
        Order::GreaterOrEqual => Order::LessOrEqual,
    }
}
