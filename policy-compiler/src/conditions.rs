//! A condition's tree to its postfix program over the agent's fields and tests.
//!
//! Invariants: a condition with a fault yields no program at all, never a weaker one; what a program tests is in the
//! tables, each once.

use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Operator, Quantity, Unit, Word};
use crate::vocabulary;
use faramesh_core::decimal::Decimal;
use faramesh_core::json;
use faramesh_core::policy::artifact::{
    self, Ask, CONDITION_DEPTH_MAX, EXPRESSION_BYTES_MAX, Field, IN_MAX, LONG_TEXT_BYTES_MAX,
    Literal, OPS_PER_RULE_MAX, Op, Order, Relation, TESTS_PER_RULE_MAX, Test,
};
use std::collections::HashMap;

/// An agent's fields and tests while its rules are lowered: in the order of first use.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    fields: Vec<Field>,
    field_index: HashMap<Field, u32>,
    tests: Vec<Test>,
    test_index: HashMap<Test, u32>,
}

impl Tables {
    pub(crate) fn test(&self, index: u32) -> Option<(&Field, &Ask)> {
        let test = self.tests.get(index as usize)?;
        Some((self.fields.get(test.field as usize)?, &test.ask))
    }

    fn field(&mut self, field: Field) -> u32 {
        intern(&mut self.fields, &mut self.field_index, field)
    }

    fn ask(&mut self, field: u32, ask: Ask) -> Op {
        Op::Test(intern(
            &mut self.tests,
            &mut self.test_index,
            Test { field, ask },
        ))
    }

    /// The tables as an artifact has them: fields sorted, tests pointing at their new places.
    pub(crate) fn finish(self) -> (Vec<Field>, Vec<Test>) {
        let mut sorted: Vec<(u32, Field)> = (0..).zip(self.fields).collect();
        sorted.sort_by(|(_, a), (_, b)| a.cmp(b));
        let mut moved = vec![0_u32; sorted.len()];
        for (new, (old, _)) in (0_u32..).zip(&sorted) {
            if let Some(slot) = moved.get_mut(*old as usize) {
                *slot = new;
            }
        }
        let place = |field: u32| moved.get(field as usize).copied().unwrap_or(field);
        let mut tests = self.tests;
        for test in &mut tests {
            test.field = place(test.field);
            if let Ask::CompareField(_, other) = &mut test.ask {
                *other = place(*other);
            }
        }
        (sorted.into_iter().map(|(_, field)| field).collect(), tests)
    }
}

fn intern<T: Clone + Eq + std::hash::Hash>(
    list: &mut Vec<T>,
    index: &mut HashMap<T, u32>,
    item: T,
) -> u32 {
    if let Some(known) = index.get(&item) {
        return *known;
    }
    let next = u32::try_from(list.len()).unwrap_or(u32::MAX);
    list.push(item.clone());
    index.insert(item, next);
    next
}

/// What a condition became, and what a person should know of it.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) program: Vec<Op>,
    /// Bare names of facts that a stronger door would know: `host`, `method`.
    pub(crate) claimed: Vec<Word>,
}

/// Lowers a condition; `None` where a finding says why not.
pub(crate) fn lower(
    expr: &Expr,
    tables: &mut Tables,
    diagnostics: &mut Findings,
) -> Option<Lowered> {
    let mut lowering = Lowering {
        tables,
        diagnostics,
        program: Vec::new(),
        claimed: Vec::new(),
    };
    lowering.condition(expr)?;
    let Lowering {
        program, claimed, ..
    } = lowering;
    match limit(&program) {
        Some((number, message)) => {
            let help =
                "split the condition into several rules; values of one field go into one `in […]`";
            diagnostics.push(
                Diagnostic::new(number, message)
                    .at(expr.span, "")
                    .help(help),
            );
            None
        }
        None => Some(Lowered { program, claimed }),
    }
}

fn limit(program: &[Op]) -> Option<(Number, String)> {
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
    tables: &'a mut Tables,
    diagnostics: &'a mut Findings,
    program: Vec<Op>,
    claimed: Vec<Word>,
}

/// A side of a comparison.
enum Operand<'e> {
    Field(u32),
    Literal(Literal),
    List(&'e [Expr]),
}

impl Lowering<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
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
                self.constant(expr.span, *value);
                Some(())
            }
            ExprKind::Binary {
                operator,
                sign,
                left,
                right,
            } => self.binary(*operator, *sign, left, right),
            ExprKind::Call { name, .. } => self.call(name),
            ExprKind::Number(_) | ExprKind::Text(_) | ExprKind::List(_) | ExprKind::ToolPath(_) => {
                let what = "a value alone is neither true nor false";
                self.report(
                    Diagnostic::new(Number::NotACondition, what)
                        .at(expr.span, "expected a comparison"),
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

    fn constant(&mut self, span: Span, value: bool) {
        self.report(
            Diagnostic::new(Number::ConstantCondition, format!("this is always {value}"))
                .at(span, "")
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
        let field = self.resolve(parts, inner.span)?;
        if matches!(field, Field::Tool | Field::Agent) {
            self.constant(inner.span, true);
            return Some(());
        }
        let field = self.tables.field(field);
        let op = self.tables.ask(field, Ask::Has);
        self.program.push(op);
        Some(())
    }

    fn bare(&mut self, parts: &[Word], span: Span) -> Option<()> {
        let field = self.resolve(parts, span)?;
        if matches!(field, Field::Tool | Field::Agent) {
            let name = parts.first().map_or("", |part| part.text.as_str());
            self.report(
                Diagnostic::new(
                    Number::NotACondition,
                    format!("{} is a name, neither true nor false", quoted(name)),
                )
                .at(span, "")
                .help(format!("compare it: `{name} == \"…\"`")),
            );
            return None;
        }
        let field = self.tables.field(field);
        let op = self.tables.ask(field, Ask::IsTrue);
        self.program.push(op);
        Some(())
    }

    fn call(&mut self, name: &Word) -> Option<()> {
        self.report(
            Diagnostic::new(
                Number::FunctionNotSupported,
                format!(
                    "function {} is not supported by this version",
                    quoted(&name.text)
                ),
            )
            .at(
                name.span,
                "nothing is counted across calls, and lists have only `contains`",
            )
            .help("remove the test; a rule that ignored it would be another rule"),
        );
        None
    }

    /// What a name means. Bare names are arguments, unless they are reserved.
    fn resolve(&mut self, parts: &[Word], span: Span) -> Option<Field> {
        let first = parts.first()?;
        let alone = parts.len() == 1;
        match first.text.as_str() {
            "tool" if alone => return Some(Field::Tool),
            "agent" if alone => return Some(Field::Agent),
            "tool" | "agent" => {
                let message = format!("{} has no fields", quoted(&first.text));
                self.report(
                    Diagnostic::new(Number::UnknownVariable, message)
                        .at(span, "")
                        .help("an argument of this name is written `args.` and the name"),
                );
                return None;
            }
            "args" if alone => {
                let message = "`args` is all arguments, and no single one";
                self.report(
                    Diagnostic::new(Number::UnknownVariable, message)
                        .at(span, "expected `args.` and a name"),
                );
                return None;
            }
            _ => {}
        }
        if let Some(why) = vocabulary::reserved(&first.text) {
            let name: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            self.report(
                Diagnostic::new(
                    Number::VariableNotSupported,
                    format!(
                        "variable {} is not supported by this version",
                        quoted(&name.join("."))
                    ),
                )
                .at(span, why)
                .help(format!(
                    "if an argument of the call is meant, write `args.{}`",
                    first.text
                )),
            );
            return None;
        }
        let explicit = first.text == "args";
        if !explicit {
            self.doubtful(first);
            if alone && matches!(first.text.as_str(), "host" | "method") {
                self.claimed.push(first.clone());
            }
        }
        let path: Vec<String> = parts
            .iter()
            .skip(usize::from(explicit))
            .map(|part| part.text.clone())
            .collect();
        if path.len() > json::DEPTH_MAX
            || path
                .iter()
                .any(|part| part.len() > artifact::TEXT_BYTES_MAX)
        {
            let message = "no argument is nested or named like this";
            self.report(
                Diagnostic::new(Number::UnknownVariable, message).at(span, "too deep or too long"),
            );
            return None;
        }
        Some(Field::Args(path))
    }

    fn doubtful(&mut self, word: &Word) {
        let Some(near) = vocabulary::near_variable(&word.text) else {
            return;
        };
        self.report(
            Diagnostic::new(
                Number::DoubtfulName,
                format!(
                    "{} is an argument, and nearly the variable {}",
                    quoted(&word.text),
                    quoted(near)
                ),
            )
            .at(word.span, "")
            .suggest(Some(near))
            .help(format!(
                "if the argument is meant, write `args.{}`",
                word.text
            )),
        );
    }

    fn binary(&mut self, operator: Operator, sign: Span, left: &Expr, right: &Expr) -> Option<()> {
        match operator {
            Operator::Equal | Operator::NotEqual => self.equal(operator, left, right),
            Operator::Less => self.order(Order::Less, sign, left, right),
            Operator::LessOrEqual => self.order(Order::LessOrEqual, sign, left, right),
            Operator::Greater => self.order(Order::Greater, sign, left, right),
            Operator::GreaterOrEqual => self.order(Order::GreaterOrEqual, sign, left, right),
            Operator::In => self.is_in(left, right),
            Operator::Matches => self.matches(left, right),
            Operator::Contains => self.contains(left, right),
            Operator::StartsWith
            | Operator::EndsWith
            | Operator::Add
            | Operator::Subtract
            | Operator::Multiply => self.unsupported(operator, sign),
        }
    }

    fn unsupported(&mut self, operator: Operator, sign: Span) -> Option<()> {
        let finding = Diagnostic::new(
            Number::OperatorNotSupported,
            format!(
                "operator {} is not supported by this version",
                quoted(operator.as_str())
            ),
        );
        self.report(match operator {
            Operator::StartsWith => finding.at(sign, "").help("write `matches \"^…\"`"),
            Operator::EndsWith => finding.at(sign, "").help("write `matches \"…$\"`"),
            _ => finding
                .at(sign, "conditions do not calculate")
                .help("compare with the result"),
        });
        None
    }

    /// A side of a comparison; both sides are looked at before either fault ends the rule.
    fn sides<'e>(&mut self, left: &'e Expr, right: &'e Expr) -> Option<(Operand<'e>, Operand<'e>)> {
        let left_side = self.operand(left);
        let right_side = self.operand(right);
        match (left_side?, right_side?) {
            (Operand::Field(field), other) | (other, Operand::Field(field))
                if is_same_text_field(self.tables, field, &other) =>
            {
                self.report(
                    Diagnostic::new(
                        Number::BadOperand,
                        "a name is compared with what is not text",
                    )
                    .at(left.span.to(right.span), "`tool` and `agent` are text"),
                );
                None
            }
            sides @ ((Operand::Field(_), _) | (_, Operand::Field(_))) => Some(sides),
            _ => {
                self.report(
                    Diagnostic::new(Number::BadOperand, "two constants are compared")
                        .at(left.span.to(right.span), "no argument of the call is asked"),
                );
                None
            }
        }
    }

    fn operand<'e>(&mut self, expr: &'e Expr) -> Option<Operand<'e>> {
        match &expr.kind {
            ExprKind::Name(parts) => {
                let field = self.resolve(parts, expr.span)?;
                Some(Operand::Field(self.tables.field(field)))
            }
            ExprKind::List(parts) => Some(Operand::List(parts)),
            ExprKind::Call { name, .. } => {
                self.call(name);
                None
            }
            ExprKind::Binary {
                operator: operator @ (Operator::Add | Operator::Subtract | Operator::Multiply),
                sign,
                ..
            } => {
                self.unsupported(*operator, *sign);
                None
            }
            _ => match self.literal(expr)? {
                Some((literal, _)) => Some(Operand::Literal(literal)),
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

    /// A constant; the outer `None` is a reported fault, the inner one something that is no constant.
    #[expect(
        clippy::option_option,
        reason = "a reported fault and no constant are different answers"
    )]
    fn literal(&mut self, expr: &Expr) -> Option<Option<(Literal, Unit)>> {
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

    fn number(&mut self, quantity: &Quantity, span: Span) -> Option<Decimal> {
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

    fn equal(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Option<()> {
        let op = match self.sides(left, right)? {
            (Operand::Field(field), Operand::Field(other)) => self
                .tables
                .ask(field, Ask::CompareField(Relation::Equal, other)),
            (Operand::Field(field), Operand::Literal(literal))
            | (Operand::Literal(literal), Operand::Field(field)) => {
                self.tables.ask(field, Ask::Equals(literal))
            }
            _ => {
                self.report(
                    Diagnostic::new(Number::BadOperand, "a list is compared with `==`")
                        .at(left.span.to(right.span), "")
                        .help("write `x in […]` for one of several values"),
                );
                return None;
            }
        };
        self.program.push(op);
        if operator == Operator::NotEqual {
            self.program.push(Op::Not);
        }
        Some(())
    }

    fn order(&mut self, order: Order, sign: Span, left: &Expr, right: &Expr) -> Option<()> {
        let op = match self.sides(left, right)? {
            (Operand::Field(field), Operand::Field(other)) => self
                .tables
                .ask(field, Ask::CompareField(Relation::Order(order), other)),
            (Operand::Field(field), Operand::Literal(Literal::Number(number))) => {
                self.tables.ask(field, Ask::Compare(order, number))
            }
            (Operand::Literal(Literal::Number(number)), Operand::Field(field)) => self
                .tables
                .ask(field, Ask::Compare(mirrored(order), number)),
            (_, Operand::Literal(literal)) | (Operand::Literal(literal), _) => {
                let wrong = if matches!(right.kind, ExprKind::Name(_)) {
                    left
                } else {
                    right
                };
                self.not_a_number(&literal, wrong.span, sign);
                return None;
            }
            _ => {
                let message = "a list has no order";
                self.report(
                    Diagnostic::new(Number::BadOperand, message)
                        .at(sign, "expected a number on both sides"),
                );
                return None;
            }
        };
        self.program.push(op);
        Some(())
    }

    fn not_a_number(&mut self, literal: &Literal, span: Span, sign: Span) {
        let finding = Diagnostic::new(Number::BadOperand, "less and greater compare numbers")
            .at(span, "this is no number")
            .at(sign, "");
        let finding = match literal {
            Literal::String(text) if Decimal::parse(text.trim_start_matches('$')).is_ok() => {
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
            (Operand::Field(field), Operand::List(parts)) => {
                let literals = self.members(parts, right.span)?;
                let op = self.tables.ask(field, Ask::In(literals));
                self.program.push(op);
                Some(())
            }
            (Operand::Literal(..), Operand::Field(_)) => {
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

    /// The elements of a list: one type, sorted, each once.
    fn members(&mut self, parts: &[Expr], span: Span) -> Option<Vec<Literal>> {
        let mut literals = Vec::new();
        let mut first: Option<(Literal, Unit)> = None;
        for part in parts {
            let Some((literal, unit)) = self.literal(part)? else {
                let message = "a list in a condition has only values";
                self.report(
                    Diagnostic::new(Number::BadList, message)
                        .at(part.span, "expected text or a number"),
                );
                return None;
            };
            if let Some((other, other_unit)) = &first
                && (std::mem::discriminant(other) != std::mem::discriminant(&literal)
                    || *other_unit != unit)
            {
                let message = format!(
                    "a list that mixes {} and {}",
                    noun(other, *other_unit),
                    noun(&literal, unit)
                );
                self.report(
                    Diagnostic::new(Number::BadList, message)
                        .at(part.span, "not like the elements before it"),
                );
                return None;
            }
            first.get_or_insert_with(|| (literal.clone(), unit));
            literals.push(literal);
        }
        literals.sort();
        literals.dedup();
        if literals.is_empty() || literals.len() > IN_MAX {
            let message = if literals.is_empty() {
                "an empty list".into()
            } else {
                format!("a list of more than {IN_MAX} values")
            };
            self.report(Diagnostic::new(Number::BadList, message).at(span, ""));
            return None;
        }
        Some(literals)
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
        if let Some(why) = regex_fault(pattern) {
            self.report(
                Diagnostic::new(Number::BadRegex, "a regular expression that does not compile")
                    .at(right.span, why)
                    .note("the syntax is that of the Rust `regex` crate: no look-around, no back-references"),
            );
            return None;
        }
        let Some(Operand::Field(field)) = left_side else {
            if left_side.is_some() {
                let message = "`matches` searches an argument";
                self.report(
                    Diagnostic::new(Number::BadOperand, message).at(left.span, "expected a name"),
                );
            }
            return None;
        };
        let op = self.tables.ask(field, Ask::Matches(pattern.clone()));
        self.program.push(op);
        Some(())
    }

    fn contains(&mut self, left: &Expr, right: &Expr) -> Option<()> {
        let left_side = self.operand(left);
        let right_side = self.operand(right);
        match (left_side?, right_side?) {
            (Operand::Field(field), Operand::Literal(literal)) => {
                let op = self.tables.ask(field, Ask::Contains(literal));
                self.program.push(op);
                Some(())
            }
            (Operand::List(_), Operand::Field(_)) => {
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

fn is_same_text_field(tables: &Tables, field: u32, other: &Operand<'_>) -> bool {
    matches!(
        tables.fields.get(field as usize),
        Some(Field::Tool | Field::Agent)
    ) && matches!(
        other,
        Operand::Literal(Literal::Number(_) | Literal::Bool(_))
    )
}

const fn mirrored(order: Order) -> Order {
    match order {
        Order::Less => Order::Greater,
        Order::LessOrEqual => Order::GreaterOrEqual,
        Order::Greater => Order::Less,
        Order::GreaterOrEqual => Order::LessOrEqual,
    }
}

const fn noun(literal: &Literal, unit: Unit) -> &'static str {
    match literal {
        Literal::Bool(_) => "true/false",
        Literal::Number(_) => unit.noun(),
        Literal::String(_) => "text",
    }
}

/// The engine's complaint in one line.
fn regex_fault(pattern: &str) -> Option<String> {
    if pattern.len() > EXPRESSION_BYTES_MAX {
        return Some(format!("longer than {EXPRESSION_BYTES_MAX} bytes"));
    }
    match artifact::compile_expression("", pattern) {
        Ok(_) => None,
        Err(artifact::ArtifactInvalid::Content {
            fault: artifact::Fault::Expression { source, .. },
            ..
        }) => {
            let text = source.to_string();
            let last = text
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("");
            Some(
                last.trim()
                    .trim_start_matches("error: ")
                    .to_ascii_lowercase(),
            )
        }
        Err(other) => Some(other.to_string()),
    }
}
