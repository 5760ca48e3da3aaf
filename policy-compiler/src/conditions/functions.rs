//! Functions: each to a field of the core's, or to one test of it.

use super::Lowering;
use super::types::Type;
use crate::diagnostic::{Diagnostic, quoted};
use crate::lower::Declares;
use crate::number::Number;
use crate::quantity;
use crate::source::Span;
use crate::syntax::{CallArgument, Expr, ExprKind, Unit, Word};
use crate::vocabulary::nearest;
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{Ask, Field, LONG_TEXT_BYTES_MAX, Literal, Order};
use faramesh_core::policy::pattern;

/// Every function, with how it is called. The older names are kept as published.
const FUNCTIONS: &[(&str, &str)] = &[
    (
        "args_array_any_match",
        "args_array_any_match(args.list, \"glob\")",
    ),
    (
        "args_array_contains",
        "args_array_contains(args.list, \"value\")",
    ),
    ("args_array_len", "args_array_len(args.list)"),
    ("contains", "contains(args.list, \"value\")"),
    ("deny_count_within", "deny_count_within(3600)"),
    ("history.within", "history.within(tool/name, 1h)"),
    (
        "history_contains_within",
        "history_contains_within(tool/name, 3600)",
    ),
    ("history_sequence", "history_sequence(…)"),
    ("history_tool_count", "history_tool_count(tool/name)"),
    ("len", "len(args.list)"),
    ("purpose", "purpose(\"refund\")"),
    ("session.count", "session.count(tool/name, window=1h)"),
    ("session.denials", "session.denials(window=1h)"),
    ("session.sum", "session.sum(tool/name.argument, window=1h)"),
];

/// Readings of one tool and argument that a message shows.
const READINGS_SHOWN: usize = 4;

/// The functions' names.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

/// What a call of a function stands for.
pub(super) enum Called {
    /// A number.
    Value(Field, Type),
    /// True or false.
    Condition(Field, Ask),
}

/// Arguments as they were given: by place, and `window`.
struct Given<'e> {
    by_place: Vec<&'e Expr>,
    window: Option<&'e Expr>,
}

impl Lowering<'_> {
    pub(super) fn call_as_condition(
        &mut self,
        name: &Word,
        arguments: &[CallArgument],
        span: Span,
    ) -> Option<()> {
        match self.call(name, arguments, span)? {
            Called::Condition(field, ask) => {
                self.test(field, ask);
                Some(())
            }
            Called::Value(..) => {
                let message = format!("{} is a number, neither true nor false", quoted(&name.text));
                self.report(
                    Diagnostic::new(Number::NotACondition, message)
                        .at(span, "expected a comparison")
                        .help("compare it: `… > 0`"),
                );
                None
            }
        }
    }

    pub(super) fn call(
        &mut self,
        name: &Word,
        arguments: &[CallArgument],
        span: Span,
    ) -> Option<Called> {
        let known = FUNCTIONS.iter().find(|(known, _)| *known == name.text);
        let Some((_, form)) = known else {
            self.unknown_function(name);
            return None;
        };
        let given = self.given(name, arguments, form)?;
        let number = |field| Called::Value(field, Type::Number(Unit::None));
        let count = given.by_place.len();
        let timed = matches!(
            name.text.as_str(),
            "session.sum" | "session.count" | "session.denials"
        );
        if given.window.is_some() && !timed {
            return self.called_wrongly(span, "it takes no `window`", form);
        }
        match (name.text.as_str(), given.by_place.as_slice()) {
            ("purpose", [text]) => {
                let text = self.text(text, form)?;
                Some(Called::Condition(
                    Field::Purpose,
                    Ask::Equals(Literal::String(text)),
                ))
            }
            ("session.sum", [what]) => self.sum(what, given.window, form),
            ("session.count", [tools]) => {
                let pattern = self.tools(tools, form)?;
                let window_ms = self.window(given.window)?;
                Some(number(Field::Count { pattern, window_ms }))
            }
            ("session.denials", []) => {
                let window_ms = self.window(given.window)?;
                Some(number(Field::Denials { window_ms }))
            }
            ("history.within", [tools, back]) => {
                let pattern = self.tools(tools, form)?;
                let window_ms = self.window(Some(back))?;
                Some(some_of(Field::Count { pattern, window_ms }))
            }
            ("history_contains_within", [tools, back]) => {
                let pattern = self.tools(tools, form)?;
                let window_ms = Some(self.seconds(back)?);
                Some(some_of(Field::Count { pattern, window_ms }))
            }
            ("history_tool_count", [tools]) => {
                let pattern = self.tools(tools, form)?;
                Some(number(Field::Count {
                    pattern,
                    window_ms: None,
                }))
            }
            ("deny_count_within", [back]) => {
                let window_ms = Some(self.seconds(back)?);
                Some(number(Field::Denials { window_ms }))
            }
            ("history_sequence", _) => {
                self.report(
                    Diagnostic::new(
                        Number::FunctionNotSupported,
                        "`history_sequence` is not part of the language here",
                    )
                    .at(span, "an order of calls is not kept, only which were permitted and when")
                    .help("say how recently each must have been: `history.within(a, 1h) and history.within(b, 10m)`"),
                );
                None
            }
            ("len" | "args_array_len", [of]) => {
                let (path, kind) = self.path(of, form)?;
                if !kind.may_be(&[Type::List, Type::Text, Type::Object]) {
                    return self.wrong_kind(
                        "only lists, texts and objects have a length",
                        of,
                        kind,
                    );
                }
                Some(number(Field::Length(path)))
            }
            ("args_array_contains" | "contains", [list, value]) => {
                let (path, kind) = self.path(list, form)?;
                if !kind.may_be(&[Type::List, Type::Text]) {
                    return self.wrong_kind("only lists and texts contain", list, kind);
                }
                let Some((literal, _)) = self.literal(value)? else {
                    return self.called_wrongly(value.span, "expected a value", form);
                };
                Some(Called::Condition(Field::Args(path), Ask::Contains(literal)))
            }
            ("args_array_any_match", [list, glob]) => {
                let (path, kind) = self.path(list, form)?;
                if !kind.may_be(&[Type::List]) {
                    return self.wrong_kind("only lists have elements", list, kind);
                }
                let glob = self.text(glob, form)?;
                Some(Called::Condition(Field::Args(path), Ask::AnyGlob(glob)))
            }
            _ => {
                let things = if count == 1 { "thing" } else { "things" };
                self.called_wrongly(span, &format!("it is given {count} {things}"), form)
            }
        }
    }

    fn unknown_function(&mut self, name: &Word) {
        let near = nearest(&name.text, FUNCTIONS.iter().map(|(known, _)| *known));
        let message = format!("unknown function {}", quoted(&name.text));
        let instead = match name.text.to_ascii_lowercase().as_str() {
            "is_null" | "isnull" | "is_none" | "missing" | "is_empty" => "write `not has x`",
            "exists" | "defined" | "is_set" | "isset" | "is_defined" | "has_key" => "write `has x`",
            "regex" | "match" | "matches" | "regex_match" | "re_match" => "write `x matches \"…\"`",
            "startswith" | "starts_with" => "write `x starts_with \"…\"`",
            "endswith" | "ends_with" => "write `x ends_with \"…\"`",
            "length" | "size" | "count" => "write `len(args.x)`",
            "includes" => "write `x contains \"…\"`",
            "between" => "write `x >= 1 and x <= 5`",
            _ => "",
        };
        let finding = Diagnostic::new(Number::UnknownFunction, message).at(name.span, "");
        self.report(match instead {
            "" => finding.suggest(near),
            instead => finding.help(instead),
        });
    }

    fn called_wrongly<T>(&mut self, span: Span, why: &str, form: &str) -> Option<T> {
        self.report(
            Diagnostic::new(Number::BadCall, "a function is called in another way")
                .at(span, why)
                .help(format!("it is written `{form}`")),
        );
        None
    }

    fn wrong_kind<T>(&mut self, message: &str, side: &Expr, kind: Type) -> Option<T> {
        self.report(
            Diagnostic::new(Number::TypeMismatch, message)
                .at(side.span, format!("this is {}", kind.noun())),
        );
        None
    }

    fn given<'e>(
        &mut self,
        function: &Word,
        arguments: &'e [CallArgument],
        form: &str,
    ) -> Option<Given<'e>> {
        let mut given = Given {
            by_place: Vec::new(),
            window: None,
        };
        for argument in arguments {
            if matches!(argument.value.kind, ExprKind::Bad) {
                return None;
            }
            match &argument.name {
                None => given.by_place.push(&argument.value),
                Some(name) if name.text == "window" && given.window.is_none() => {
                    given.window = Some(&argument.value);
                }
                Some(name) if name.text == "window" => {
                    return self.called_wrongly(name.span, "`window` is given twice", form);
                }
                Some(name) => {
                    let message =
                        format!("{} takes no {}", quoted(&function.text), quoted(&name.text));
                    self.report(
                        Diagnostic::new(Number::BadCall, message)
                            .at(name.span, "")
                            .suggest(nearest(&name.text, ["window"].into_iter()))
                            .help(format!("it is written `{form}`")),
                    );
                    return None;
                }
            }
        }
        Some(given)
    }

    fn sum(&mut self, what: &Expr, window: Option<&Expr>, form: &str) -> Option<Called> {
        let Some(text) = tool_text(what) else {
            return self.called_wrongly(
                what.span,
                "expected a tool and one of its arguments",
                form,
            );
        };
        let (pattern, path) = self.tool_and_argument(&text, what.span, form)?;
        let pattern = self.checked_tools(pattern, what.span)?;
        let kind = match self.scope.declared.argument(&pattern, &path) {
            Declares::Kind(kind) => Type::of_kind(kind),
            Declares::Object => Type::Object,
            Declares::Nothing => Type::Any,
            Declares::Scalar { .. } | Declares::Closed { .. } => {
                let known = self.scope.declared.argument_names(&pattern);
                let near = nearest(&path.join("."), known.iter().map(String::as_str));
                self.report(
                    Diagnostic::new(
                        Number::UndeclaredArgument,
                        format!(
                            "{} has no argument {}",
                            quoted(&pattern),
                            quoted(&path.join("."))
                        ),
                    )
                    .at(what.span, "the tool's schema does not allow it")
                    .suggest(near)
                    .help("declare the argument in the `tool` block"),
                );
                return None;
            }
        };
        let unit = match kind {
            Type::Number(unit) => unit,
            Type::Any => Unit::None,
            other => return self.wrong_kind("only numbers are summed up", what, other),
        };
        let window_ms = self.window(window)?;
        Some(Called::Value(
            Field::Sum {
                pattern,
                path,
                window_ms,
            },
            Type::Number(unit),
        ))
    }

    /// The two parts of `stripe/refund.amount`. A tool's name may have points too: where its end is not marked by quotes,
    /// the agent's rules and schemas say which tool there is.
    fn tool_and_argument(
        &mut self,
        text: &str,
        span: Span,
        form: &str,
    ) -> Option<(String, Vec<String>)> {
        let parted = |pattern: &str, path: &str| {
            let path: Vec<String> = path.split('.').map(String::from).collect();
            (pattern.to_string(), path)
        };
        let quoted_tool = text
            .strip_prefix('"')
            .and_then(|text| text.rsplit_once("\"."));
        let readings: Vec<(String, Vec<String>)> = match quoted_tool {
            Some((pattern, path)) => vec![parted(pattern, path)],
            None => {
                let from = text.rfind('/').map_or(0, |at| at + 1);
                let points = text.match_indices('.').filter(|(at, _)| *at >= from);
                points
                    .filter_map(|(at, _)| Some(parted(text.get(..at)?, text.get(at + 1..)?)))
                    .collect()
            }
        };
        if readings
            .iter()
            .any(|(_, path)| path.iter().any(String::is_empty))
        {
            return self.called_wrongly(span, "the argument has no name", form);
        }
        let tools = &self.scope.declared.tools;
        let among = |is: &dyn Fn(&str) -> bool| -> Vec<(String, Vec<String>)> {
            let those = readings.iter().filter(|(pattern, _)| is(pattern));
            those.cloned().collect()
        };
        let mut named = among(&|pattern| tools.has(pattern));
        if named.is_empty() {
            named = among(&|pattern| tools.may_mean(pattern));
        }
        match (readings.as_slice(), named.as_slice()) {
            ([], _) => self.called_wrongly(span, "it names no argument that is summed up", form),
            ([only], _) | (_, [only]) => Some(only.clone()),
            (_, named) => {
                let left = if named.is_empty() { &readings } else { named };
                self.ambiguous_tool(text, left, span)
            }
        }
    }

    fn ambiguous_tool<T>(
        &mut self,
        text: &str,
        readings: &[(String, Vec<String>)],
        span: Span,
    ) -> Option<T> {
        let shown = readings.iter().take(READINGS_SHOWN).map(|(pattern, path)| {
            format!("{} of tool {}", quoted(&path.join(".")), quoted(pattern))
        });
        let shown: Vec<String> = shown.collect();
        let example = readings.last().map_or_else(String::new, |(pattern, path)| {
            format!("\"{pattern}\".{}", path.join("."))
        });
        let message = format!("which tool {} speaks of is not clear", quoted(text));
        self.report(
            Diagnostic::new(Number::AmbiguousTool, message)
                .at(span, format!("this may be {}", shown.join(", or ")))
                .help(format!("put the tool in quotes: `{example}`")),
        );
        None
    }

    /// A sum or a count of what is never permitted is always nothing.
    fn is_permitted(&mut self, pattern: &str, span: Span) {
        if !self.scope.declared.permitted.may_mean(pattern) {
            let message = format!("no rule of this agent permits {}", quoted(pattern));
            self.report(
                Diagnostic::new(Number::NeverCounted, message)
                    .at(span, "only permitted calls count, so this is always 0")
                    .help("write the tool as the rule that permits it does"),
            );
        }
    }

    /// A tool or a pattern.
    fn tools(&mut self, expr: &Expr, form: &str) -> Option<String> {
        match tool_text(expr) {
            Some(text) => self.checked_tools(text, expr.span),
            None => self.called_wrongly(expr.span, "expected a tool or a pattern", form),
        }
    }

    fn checked_tools(&mut self, text: String, span: Span) -> Option<String> {
        match pattern::check(&text) {
            Ok(()) => {
                self.is_permitted(&text, span);
                Some(text)
            }
            Err(why) => {
                let message = format!("{} is no tool and no pattern", quoted(&text));
                self.report(Diagnostic::new(Number::BadPattern, message).at(span, why.to_string()));
                None
            }
        }
    }

    fn text(&mut self, expr: &Expr, form: &str) -> Option<String> {
        match &expr.kind {
            ExprKind::Text(text) if text.len() <= LONG_TEXT_BYTES_MAX => Some(text.clone()),
            _ => self.called_wrongly(expr.span, "expected text in quotes", form),
        }
    }

    /// An argument of the call, by its name; older files write it in quotes.
    fn path(&mut self, expr: &Expr, form: &str) -> Option<(Vec<String>, Type)> {
        let (field, kind) = match &expr.kind {
            ExprKind::Name(parts) => self.resolve(parts, expr.span)?,
            ExprKind::Text(text) if !text.is_empty() => {
                let parts: Vec<Word> = text
                    .split('.')
                    .map(|part| Word {
                        text: part.to_string(),
                        span: expr.span,
                    })
                    .collect();
                self.resolve(&parts, expr.span)?
            }
            _ => return self.called_wrongly(expr.span, "expected the name of an argument", form),
        };
        match field {
            Field::Args(path) => Some((path, kind)),
            _ => self.called_wrongly(expr.span, "expected an argument of the call", form),
        }
    }

    /// How far back, milliseconds; without one, as far as the session goes. The outer `None` is a reported fault.
    #[expect(
        clippy::option_option,
        reason = "a reported fault and no window are different answers"
    )]
    fn window(&mut self, expr: Option<&Expr>) -> Option<Option<u64>> {
        let Some(expr) = expr else {
            return Some(None);
        };
        let fault = match &expr.kind {
            ExprKind::Bad => return None,
            ExprKind::Number(quantity) if quantity.unit == Unit::Duration => {
                match quantity::milliseconds(quantity) {
                    Some(milliseconds) if milliseconds > 0 => return Some(Some(milliseconds)),
                    _ => "expected a duration of more than nothing, whole in milliseconds",
                }
            }
            ExprKind::Text(text) => match quantity::parse(text, expr.span) {
                Ok(quantity) if quantity.unit == Unit::Duration => {
                    match quantity::milliseconds(&quantity) {
                        Some(milliseconds) if milliseconds > 0 => return Some(Some(milliseconds)),
                        _ => "expected a duration of more than nothing, whole in milliseconds",
                    }
                }
                _ => "expected a duration with its unit, such as `1h`",
            },
            _ => "expected a duration with its unit, such as `1h`",
        };
        self.report(
            Diagnostic::new(Number::BadCall, "a window is a duration").at(expr.span, fault),
        );
        None
    }

    /// The older functions count seconds without a unit.
    fn seconds(&mut self, expr: &Expr) -> Option<u64> {
        if let ExprKind::Number(quantity) = &expr.kind
            && quantity.unit == Unit::None
        {
            let number = self.number(quantity, expr.span)?;
            let milliseconds = number
                .times(&Decimal::from(1_000))
                .and_then(|number| number.to_i64())
                .and_then(|number| u64::try_from(number).ok());
            return match milliseconds {
                Some(milliseconds) if milliseconds > 0 => Some(milliseconds),
                _ => {
                    self.report(
                        Diagnostic::new(Number::BadCall, "a window is a number of seconds")
                            .at(expr.span, "expected a number of more than nothing"),
                    );
                    None
                }
            };
        }
        self.window(Some(expr)).flatten()
    }
}

/// There is at least one.
fn some_of(field: Field) -> Called {
    Called::Condition(field, Ask::Compare(Order::Greater, Decimal::ZERO))
}

/// A tool as an argument: as written, in quotes, or a plain name. Quotes around a tool before its argument are kept.
fn tool_text(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::ToolPath(text) | ExprKind::Text(text) => Some(text.clone()),
        ExprKind::Name(parts) => {
            let parts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            Some(parts.join("."))
        }
        _ => None,
    }
}
