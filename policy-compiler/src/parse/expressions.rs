//! Conditions: `or` binds least, then `and`, `not`, comparisons, `+ -`, `*`.

use super::Parser;
use crate::diagnostic::{Diagnostic, quoted};
use crate::lex::Kind;
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{CallArgument, Expr, ExprKind, Operator, Word};
use crate::vocabulary::{self, CONNECTIVES};

impl Parser<'_> {
    pub(super) fn or(&mut self) -> Expr {
        self.chain(Self::and, &["or"], "||", ExprKind::Or)
    }

    pub(super) fn and(&mut self) -> Expr {
        self.chain(Self::not, &["and"], "&&", ExprKind::And)
    }

    pub(super) fn chain(
        &mut self,
        part: fn(&mut Self) -> Expr,
        words: &[&str],
        sign: &str,
        make: fn(Vec<Expr>) -> ExprKind,
    ) -> Expr {
        let first = part(self);
        let mut parts = vec![first];
        while words.contains(&self.word()) || self.is_sign(sign) {
            self.bump();
            let next = part(self);
            let fault = matches!(next.kind, ExprKind::Bad);
            parts.push(next);
            if fault {
                break;
            }
        }
        match (parts.len(), parts.pop()) {
            (1, Some(only)) => only,
            (_, Some(last)) => {
                let span = parts
                    .first()
                    .map_or(last.span, |first| first.span.to(last.span));
                parts.push(last);
                Expr {
                    kind: make(parts),
                    span,
                }
            }
            (_, None) => Expr {
                kind: ExprKind::Bad,
                span: self.peek().span,
            },
        }
    }

    pub(super) fn not(&mut self) -> Expr {
        let start = self.peek().span;
        if !(self.take_word("not") || self.take_sign("!")) {
            return self.comparison();
        }
        self.nested(start, |parser| {
            let inner = parser.not();
            let span = start.to(inner.span);
            Expr {
                kind: ExprKind::Not(Box::new(inner)),
                span,
            }
        })
    }

    /// Runs `inner` one level deeper, or reports that it is too deep.
    pub(super) fn nested(&mut self, at: Span, inner: impl FnOnce(&mut Self) -> Expr) -> Expr {
        self.depth += 1;
        let expr = if self.too_deep(at) {
            Expr {
                kind: ExprKind::Bad,
                span: at,
            }
        } else {
            inner(self)
        };
        self.depth -= 1;
        expr
    }

    pub(super) fn comparison(&mut self) -> Expr {
        let left = self.sum();
        let negated = self.word() == "not" && self.text_of(self.peek_at(1).span) == "in";
        if negated {
            let span = self.bump().span;
            self.report(
                Diagnostic::new(Number::UnexpectedToken, "`not` stands before the test")
                    .at(span, "")
                    .help("write `not x in […]`"),
            );
        }
        let Some(operator) = self.comparison_operator() else {
            return left;
        };
        let expr = self.binary(left, operator, Self::sum);
        if let Some(second) = self.comparison_operator() {
            let span = self.peek().span;
            self.report(
                Diagnostic::new(
                    Number::ChainedComparison,
                    format!("{} follows a comparison", quoted(second.as_str())),
                )
                .at(span, "")
                .help("write two comparisons and join them with `and`"),
            );
            return Expr {
                kind: ExprKind::Bad,
                span: expr.span,
            };
        }
        expr
    }

    pub(super) fn binary(
        &mut self,
        left: Expr,
        operator: Operator,
        right: fn(&mut Self) -> Expr,
    ) -> Expr {
        let sign = self.bump().span;
        let open = self.peek().span;
        if operator == Operator::In && self.is_sign("(") {
            self.report(
                Diagnostic::new(Number::UnexpectedToken, "a list stands in brackets")
                    .at(open, "expected `[`")
                    .help("write `x in [\"a\", \"b\"]`"),
            );
            return Expr {
                kind: ExprKind::Bad,
                span: open,
            };
        }
        let right = right(self);
        let span = left.span.to(right.span);
        Expr {
            kind: ExprKind::Binary {
                operator,
                sign,
                left: Box::new(left),
                right: Box::new(right),
            },
            span,
        }
    }

    pub(super) fn comparison_operator(&self) -> Option<Operator> {
        Some(match &self.peek().kind {
            Kind::Sign("==") => Operator::Equal,
            Kind::Sign("!=") => Operator::NotEqual,
            Kind::Sign("<") => Operator::Less,
            Kind::Sign("<=") => Operator::LessOrEqual,
            Kind::Sign(">") => Operator::Greater,
            Kind::Sign(">=") => Operator::GreaterOrEqual,
            Kind::Word => match self.word() {
                "in" => Operator::In,
                "matches" => Operator::Matches,
                "contains" => Operator::Contains,
                "starts_with" | "startsWith" => Operator::StartsWith,
                "ends_with" | "endsWith" => Operator::EndsWith,
                _ => return None,
            },
            _ => return None,
        })
    }

    pub(super) fn sum(&mut self) -> Expr {
        self.arithmetic(
            Self::product,
            &[("+", Operator::Add), ("-", Operator::Subtract)],
        )
    }

    pub(super) fn product(&mut self) -> Expr {
        self.arithmetic(Self::operand, &[("*", Operator::Multiply)])
    }

    pub(super) fn arithmetic(
        &mut self,
        part: fn(&mut Self) -> Expr,
        signs: &[(&str, Operator)],
    ) -> Expr {
        let mut left = part(self);
        let depth = self.depth;
        while let Some((_, operator)) = signs.iter().find(|(sign, _)| self.is_sign(sign)) {
            self.depth += 1;
            if self.too_deep(self.peek().span) {
                left = Expr {
                    kind: ExprKind::Bad,
                    span: left.span,
                };
                break;
            }
            left = self.binary(left, *operator, part);
        }
        self.depth = depth;
        left
    }

    pub(super) fn operand(&mut self) -> Expr {
        let token = self.peek();
        let bad = Expr {
            kind: ExprKind::Bad,
            span: token.span,
        };
        match &token.kind {
            Kind::Sign("(") => self.parenthesised(),
            Kind::Sign("[") => self.list(),
            Kind::Sign("-") if matches!(self.peek_at(1).kind, Kind::Number) => {
                self.bump();
                let number = self.bump().span;
                let span = token.span.to(number);
                self.quantity(number).map_or(bad, |quantity| Expr {
                    kind: ExprKind::Number(quantity.negated()),
                    span,
                })
            }
            Kind::Number => {
                self.bump();
                let quantity = self.quantity(token.span);
                quantity.map_or(bad, |quantity| Expr {
                    kind: ExprKind::Number(quantity),
                    span: token.span,
                })
            }
            Kind::Text(index) => {
                self.bump();
                let text = self.tokens.strings.get(*index).cloned().unwrap_or_default();
                Expr {
                    kind: ExprKind::Text(text),
                    span: token.span,
                }
            }
            Kind::Word if !is_keyword(self.word()) => self.name(),
            Kind::Word if self.word() == "has" => self.has(),
            Kind::Word
                if matches!(self.peek_at(1).kind, Kind::Sign("(")) && self.word() == "contains" =>
            {
                self.contains_call()
            }
            _ => {
                self.unexpected("a condition: a name, a value or `(`");
                bad
            }
        }
    }

    pub(super) fn parenthesised(&mut self) -> Expr {
        let open = self.bump().span;
        self.nested(open, |parser| {
            let inner = parser.or();
            if has_fault(&inner) {
                return Expr {
                    kind: ExprKind::Bad,
                    span: open,
                };
            }
            let close = parser.peek().span;
            if !parser.take_sign(")") {
                parser.unclosed(open, ")");
                return Expr {
                    kind: ExprKind::Bad,
                    span: open,
                };
            }
            Expr {
                kind: inner.kind,
                span: open.to(close),
            }
        })
    }

    pub(super) fn unclosed(&mut self, open: Span, sign: &str) {
        let token = self.peek();
        if token.kind != Kind::Bad {
            let found = if token.kind == Kind::End {
                String::from("the file ends")
            } else {
                quoted(self.text_of(token.span))
            };
            self.report(
                Diagnostic::new(
                    Number::UnclosedBlock,
                    format!("expected `{sign}`, found {found}"),
                )
                .at(token.span, format!("expected an operator or `{sign}`"))
                .at(open, "opened here")
                .help(format!("write the missing `{sign}`")),
            );
        }
    }

    pub(super) fn list(&mut self) -> Expr {
        let open = self.bump().span;
        self.nested(open, |parser| {
            let mut parts = Vec::new();
            while !parser.is_sign("]") {
                let part = parser.operand();
                if has_fault(&part) {
                    return Expr {
                        kind: ExprKind::Bad,
                        span: open,
                    };
                }
                parts.push(part);
                if !parser.take_sign(",") && !parser.is_sign("]") {
                    parser.unclosed(open, "]");
                    return Expr {
                        kind: ExprKind::Bad,
                        span: open,
                    };
                }
            }
            let close = parser.bump().span;
            Expr {
                kind: ExprKind::List(parts),
                span: open.to(close),
            }
        })
    }

    pub(super) fn has(&mut self) -> Expr {
        let start = self.bump().span;
        let inner = self.operand();
        let span = start.to(inner.span);
        Expr {
            kind: ExprKind::Has(Box::new(inner)),
            span,
        }
    }

    /// The older spelling `contains(list, "x")`.
    pub(super) fn contains_call(&mut self) -> Expr {
        let sign = self.bump().span;
        let open = self.bump().span;
        self.nested(open, |parser| {
            let bad = Expr {
                kind: ExprKind::Bad,
                span: open,
            };
            let left = parser.operand();
            if has_fault(&left) {
                return bad;
            }
            if !parser.take_sign(",") {
                parser.unexpected("`,`");
                return bad;
            }
            let right = parser.operand();
            let close = parser.peek().span;
            if has_fault(&right) {
                return bad;
            }
            if !parser.take_sign(")") {
                parser.unclosed(open, ")");
                return bad;
            }
            let (left, right) = (Box::new(left), Box::new(right));
            Expr {
                kind: ExprKind::Binary {
                    operator: Operator::Contains,
                    sign,
                    left,
                    right,
                },
                span: sign.to(close),
            }
        })
    }

    /// `purpose("x")`, `session.sum(stripe/refund.amount, window=1h)`: from the parenthesis behind the name.
    fn call(&mut self, name: Word) -> Expr {
        let open = self.bump().span;
        self.nested(open, |parser| {
            let bad = Expr {
                kind: ExprKind::Bad,
                span: name.span,
            };
            let mut arguments = Vec::new();
            while !parser.is_sign(")") {
                let argument = parser.call_argument();
                if has_fault(&argument.value) {
                    return bad;
                }
                arguments.push(argument);
                if !parser.take_sign(",") && !parser.is_sign(")") {
                    parser.unclosed(open, ")");
                    return bad;
                }
            }
            let span = name.span.to(parser.bump().span);
            Expr {
                kind: ExprKind::Call { name, arguments },
                span,
            }
        })
    }

    fn call_argument(&mut self) -> CallArgument {
        let named = self.peek().kind == Kind::Word && self.peek_at(1).kind == Kind::Sign("=");
        let name = named.then(|| {
            let name = self.bump_word();
            self.bump();
            name
        });
        let value = match self.tool_path() {
            Some(path) => path,
            None => self.sum(),
        };
        CallArgument { name, value }
    }

    /// `stripe/refund.amount`, `shell/*`, `*`; `None` where the tokens at hand are something else.
    fn tool_path(&mut self) -> Option<Expr> {
        let start = self.at;
        if matches!(self.peek().kind, Kind::Text(_)) {
            return self.quoted_tool();
        }
        if !matches!(self.peek().kind, Kind::Word | Kind::Sign("*")) {
            return None;
        }
        let word = self.glue();
        if word.text.contains(['/', ':']) || word.text.ends_with('*') {
            return Some(Expr {
                span: word.span,
                kind: ExprKind::ToolPath(word.text),
            });
        }
        self.at = start;
        None
    }

    /// `"stripe.refund".amount`; `None` where the text at hand stands alone.
    fn quoted_tool(&mut self) -> Option<Expr> {
        let (tool, point, argument) = (self.peek(), self.peek_at(1), self.peek_at(2));
        let joined = tool.span.end == point.span.start && point.span.end == argument.span.start;
        if !joined || point.kind != Kind::Sign(".") || argument.kind != Kind::Word {
            return None;
        }
        let Kind::Text(index) = &tool.kind else {
            return None;
        };
        let text = self.tokens.strings.get(*index).cloned().unwrap_or_default();
        let span = self.bump().span;
        self.bump();
        let path = self.glue();
        Some(Expr {
            kind: ExprKind::ToolPath(format!("\"{text}\".{}", path.text)),
            span: span.to(path.span),
        })
    }

    /// `true`, `amount`, `args.to.domain`, `purpose("x")`.
    pub(super) fn name(&mut self) -> Expr {
        let first = self.bump_word();
        let mut span = first.span;
        if matches!(first.text.as_str(), "true" | "false") {
            return Expr {
                kind: ExprKind::Bool(first.text == "true"),
                span,
            };
        }
        let mut parts = vec![first];
        loop {
            if let Some(part) = self.quoted_part() {
                span = span.to(self.before());
                parts.push(part);
                continue;
            }
            if !(self.is_sign(".") && self.touches()) {
                break;
            }
            self.bump();
            let token = self.peek();
            if token.kind != Kind::Word || !self.touches() {
                let finding = Diagnostic::new(Number::UnexpectedToken, "a name ends with a point")
                    .at(span.to(token.span), "expected a word behind `.`");
                self.report(if token.kind == Kind::Number {
                    finding.help("elements of a list have no names: use `contains`")
                } else {
                    finding
                });
                return Expr {
                    kind: ExprKind::Bad,
                    span,
                };
            }
            let part = self.bump_word();
            span = span.to(part.span);
            parts.push(part);
        }
        if self.is_sign("(") && self.touches() {
            let text = self.text_of(span).to_string();
            return self.call(Word { text, span });
        }
        if self.is_sign("[") && self.touches() {
            let bracket = self.peek().span;
            self.report(
                Diagnostic::new(
                    Number::UnexpectedToken,
                    "elements of a list cannot be named",
                )
                .at(bracket, "")
                .help("fields are written `args.a.b`; use `contains` for lists"),
            );
            return Expr {
                kind: ExprKind::Bad,
                span,
            };
        }
        Expr {
            kind: ExprKind::Name(parts),
            span,
        }
    }
}

// Names.
impl Parser<'_> {
    /// `["cmd"]` behind a name: the same as `.cmd`. What stands in the quotes is one name, with its points.
    fn quoted_part(&mut self) -> Option<Word> {
        let text = match (&self.peek_at(1).kind, &self.peek_at(2).kind) {
            (Kind::Text(index), Kind::Sign("]")) if self.is_sign("[") && self.touches() => {
                self.tokens.strings.get(*index)?
            }
            _ => return None,
        };
        if text.is_empty() {
            return None;
        }
        self.bump();
        let span = self.bump().span;
        self.bump();
        Some(Word {
            text: text.clone(),
            span,
        })
    }
}

/// Whether a part of it was reported.
pub(super) fn has_fault(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Bad => true,
        ExprKind::Or(parts) | ExprKind::And(parts) | ExprKind::List(parts) => {
            parts.iter().any(has_fault)
        }
        ExprKind::Not(inner) | ExprKind::Has(inner) => has_fault(inner),
        ExprKind::Binary { left, right, .. } => has_fault(left) || has_fault(right),
        ExprKind::Call { arguments, .. } => {
            arguments.iter().any(|argument| has_fault(&argument.value))
        }
        _ => false,
    }
}

/// Words that are no operand.
fn is_keyword(word: &str) -> bool {
    // `host`, `method` and `path` start clauses too, but inside a condition they are arguments.
    CONNECTIVES.contains(&word)
        || vocabulary::effect(word).is_some()
        || matches!(word, "if" | "when" | "reason" | "notify" | "reeval")
}
