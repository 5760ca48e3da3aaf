//! What a name means: a fact by its reserved root, a selector that the file declares, or an argument of the call.
//!
//! Invariant: no name is guessed. Below a reserved root every name is known or refused; an argument that a closed schema
//! does not declare is refused.

use super::types::Type;
use super::{Lowering, Scope};
use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::lower::Declares;
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Unit, Word};
use crate::vocabulary::{self, nearest};
use faramesh_core::json;
use faramesh_core::policy::artifact::{self, Field, SessionPart, TimePart};

/// Below `principal`; alone it is `id`.
const PRINCIPAL: &[(&str, Type)] = &[
    ("email", Type::Text),
    ("groups", Type::List),
    ("id", Type::Text),
    ("mfa", Type::Any),
    ("org", Type::Text),
    ("role", Type::Text),
    ("tenant", Type::Text),
    ("tier", Type::Any),
    ("verified", Type::Bool),
];

/// Below `delegation`.
const DELEGATION: &[(&str, Type)] = &[
    ("agent_identity_verified", Type::Bool),
    ("depth", Type::Number(Unit::None)),
    ("origin_agent", Type::Text),
    ("origin_org", Type::Text),
];

/// What starts the name of a variable that is no argument's, and `args`.
const ROOTS: &[&str] = &[
    "action",
    "agent",
    "args",
    "delegation",
    "enforcement",
    "headers",
    "model",
    "principal",
    "query",
    "selectors",
    "session",
    "time",
    "tool",
];

/// The names that start a variable.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    ROOTS.iter().copied()
}

impl Scope<'_> {
    /// Every call that the rule speaks of has this argument, or is none.
    pub(crate) fn is_required(self, path: &[String]) -> bool {
        self.declared.requires(self.pattern, path)
    }
}

impl Lowering<'_> {
    /// The field that a name means, and what it holds.
    pub(super) fn resolve(&mut self, parts: &[Word], span: Span) -> Option<(Field, Type)> {
        let (first, below) = parts.split_first()?;
        match (first.text.as_str(), below) {
            ("tool", []) => Some((Field::Tool, Type::Text)),
            ("agent", []) => Some((Field::Agent, Type::Text)),
            ("action", []) => Some((Field::Action, Type::Text)),
            ("model", []) => Some((Field::Model, Type::Text)),
            ("principal", []) => self.principal("id", Type::Text, span),
            ("tool" | "agent" | "action" | "model", _) => {
                let message = format!("{} has no fields", quoted(&first.text));
                self.unknown(
                    Diagnostic::new(Number::UnknownVariable, message)
                        .at(span, "")
                        .help("an argument of this name is written `args.` and the name"),
                )
            }
            ("args", []) => self.unknown(
                Diagnostic::new(
                    Number::UnknownVariable,
                    "`args` is all arguments, and no single one",
                )
                .at(span, "expected `args.` and a name"),
            ),
            ("args", below) => {
                let found = self.argument(below, span)?;
                self.nearly_declared(below, span);
                Some(found)
            }
            (root @ ("query" | "headers"), [name]) => Some((
                if root == "query" {
                    Field::Query(name.text.clone())
                } else {
                    Field::Header(name.text.to_ascii_lowercase())
                },
                Type::Text,
            )),
            ("time", [name]) => {
                let names = TimePart::ALL.map(TimePart::as_str);
                let part = TimePart::ALL
                    .into_iter()
                    .find(|part| part.as_str() == name.text);
                match part {
                    Some(part) => Some((Field::Time(part), Type::Number(Unit::None))),
                    None => self.unknown_below("time", name, &names),
                }
            }
            ("session", [name]) => self.session(name),
            ("principal", [name]) => match find(PRINCIPAL, &name.text) {
                Some(kind) => self.principal(&name.text, kind, span),
                None => self.unknown_below("principal", name, &names(PRINCIPAL)),
            },
            ("delegation", [name]) => match find(DELEGATION, &name.text) {
                Some(kind) => Some((Field::Delegation(name.text.clone()), kind)),
                None => self.unknown_below("delegation", name, &names(DELEGATION)),
            },
            ("enforcement", below @ [name, ..]) => {
                let layer = joined(below);
                match self.layer(&layer, span) {
                    true => Some((Field::Enforcement(layer), Type::Bool)),
                    false => {
                        let _ = name;
                        None
                    }
                }
            }
            ("selectors", [name, path @ ..]) => self.selector(name, path),
            (
                root @ ("time" | "session" | "principal" | "delegation" | "enforcement" | "query"
                | "headers" | "selectors"),
                _,
            ) => {
                let message = match below {
                    [] => format!("`{root}` alone is no value"),
                    _ => format!("{} is no variable", quoted(&joined(parts))),
                };
                self.unknown(
                    Diagnostic::new(Number::UnknownVariable, message)
                        .at(span, format!("expected `{root}.` and one name"))
                        .help(format!(
                            "if an argument of the call is meant, write `args.{root}`"
                        )),
                )
            }
            (name, path) if self.scope.declared.selectors.contains(name) => {
                Some((selector(name, path), Type::Any))
            }
            _ => self.bare_argument(parts, span),
        }
    }

    fn unknown<T>(&mut self, finding: Diagnostic) -> Option<T> {
        self.report(finding);
        None
    }

    fn unknown_below<T>(&mut self, root: &str, name: &Word, known: &[&str]) -> Option<T> {
        let message = format!(
            "unknown variable {}",
            quoted(&format!("{root}.{}", name.text))
        );
        let near = nearest(&name.text, known.iter().copied());
        let finding = Diagnostic::new(Number::UnknownVariable, message).at(name.span, "");
        self.unknown(match near {
            Some(_) => finding.suggest(near),
            None => finding.help(format!(
                "below `{root}` there is {}",
                alternatives(known.iter().copied())
            )),
        })
    }

    fn session(&mut self, name: &Word) -> Option<(Field, Type)> {
        if name.text == "denials" {
            return Some((Field::Denials { window_ms: None }, Type::Number(Unit::None)));
        }
        let known = SessionPart::ALL
            .into_iter()
            .find(|part| part.as_str() == name.text);
        match known {
            Some(part) => Some((Field::Session(part), Type::of_session(part))),
            None => {
                let mut names = SessionPart::ALL.map(SessionPart::as_str).to_vec();
                names.push("denials");
                self.unknown_below("session", name, &names)
            }
        }
    }

    fn principal(&mut self, name: &str, kind: Type, span: Span) -> Option<(Field, Type)> {
        if self.scope.declared.identity {
            return Some((Field::Principal(name.to_string()), kind));
        }
        self.unknown(
            Diagnostic::new(
                Number::VariableNotSupported,
                format!("no door of this policy can supply `principal.{name}`"),
            )
            .at(
                span,
                "the file has no `identity` block, so nobody vouches for a principal",
            )
            .help("declare the provider: `identity \"name\" { type oidc … }`")
            .help("if an argument of the call is meant, write `args.principal`"),
        )
    }

    fn selector(&mut self, name: &Word, path: &[Word]) -> Option<(Field, Type)> {
        if self.scope.declared.selectors.contains(&name.text) {
            return Some((selector(&name.text, path), Type::Any));
        }
        let declared = self.scope.declared;
        let near = nearest(&name.text, declared.selectors.iter().map(String::as_str));
        let message = format!(
            "no door of this policy can supply {}",
            quoted(&format!("selectors.{}", name.text))
        );
        self.unknown(
            Diagnostic::new(Number::VariableNotSupported, message)
                .at(name.span, "the agent declares no such selector")
                .suggest(near)
                .help("declare it in the agent: `selector NAME { source \"https://…\" … }`"),
        )
    }

    /// Whether a layer is one that launches measure.
    fn layer(&mut self, layer: &str, span: Span) -> bool {
        match crate::lower::layer_fault(layer, span) {
            None => true,
            Some(finding) => {
                self.report(*finding);
                false
            }
        }
    }

    /// A bare name of one word that no schema of the rule's tools has.
    pub(super) fn undeclared<'w>(&self, parts: &'w [Word]) -> Option<&'w Word> {
        let [only] = parts else { return None };
        let fact = matches!(
            only.text.as_str(),
            "tool" | "agent" | "action" | "model" | "principal"
        ) || self.scope.declared.selectors.contains(&only.text);
        (!fact && !self.is_declared(parts)).then_some(only)
    }

    fn is_declared(&self, parts: &[Word]) -> bool {
        let path: Vec<String> = parts.iter().map(|part| part.text.clone()).collect();
        self.scope.declared.names(self.scope.pattern, &path)
    }

    /// `amount == null`: what other languages have, and what is an argument of the caller's here.
    fn foreign(&mut self, parts: &[Word], span: Span) -> Option<()> {
        let [only] = parts else { return Some(()) };
        let instead = match only.text.to_ascii_lowercase().as_str() {
            _ if self.is_declared(parts) => return Some(()),
            "null" | "nil" | "none" | "undefined" | "nan" => {
                "write `not has x` for an argument that is missing"
            }
            "true" | "yes" | "on" => "write `true`; text stands in quotes",
            "false" | "no" | "off" => "write `false`; text stands in quotes",
            _ => return Some(()),
        };
        let message = format!("{} is no value of this language", quoted(&only.text));
        self.unknown(
            Diagnostic::new(Number::ForeignWord, message)
                .at(
                    span,
                    "as a bare name it would be an argument that the caller sets",
                )
                .help(instead)
                .help(format!(
                    "if the argument is meant, write `args.{}`",
                    only.text
                )),
        )
    }

    fn bare_argument(&mut self, parts: &[Word], span: Span) -> Option<(Field, Type)> {
        self.foreign(parts, span)?;
        let (field, kind) = self.argument(parts, span)?;
        if let [only] = parts
            && matches!(only.text.as_str(), "host" | "method")
        {
            self.claimed.push(only.clone());
        }
        if !self.is_declared(parts) {
            self.doubtful(parts, span);
        }
        Some((field, kind))
    }

    /// `args.a.b`, as the schemas of the rule's tools know it.
    fn argument(&mut self, parts: &[Word], span: Span) -> Option<(Field, Type)> {
        let path: Vec<String> = parts.iter().map(|part| part.text.clone()).collect();
        if path.len() > json::DEPTH_MAX
            || path
                .iter()
                .any(|part| part.len() > artifact::TEXT_BYTES_MAX)
        {
            return self.unknown(
                Diagnostic::new(
                    Number::UnknownVariable,
                    "no argument is nested or named like this",
                )
                .at(span, "too deep or too long"),
            );
        }
        let declared = self.scope.declared;
        match declared.argument(self.scope.pattern, &path) {
            Declares::Kind(kind) => Some((Field::Args(path), Type::of_kind(kind))),
            Declares::Object => Some((Field::Args(path), Type::Object)),
            Declares::Nothing => Some((Field::Args(path), Type::Any)),
            Declares::Scalar { above, kind } => self.unknown(
                Diagnostic::new(
                    Number::TypeMismatch,
                    format!(
                        "{} is {} and has no fields",
                        quoted(&above),
                        Type::of_kind(kind).noun()
                    ),
                )
                .at(span, "no call could have this argument")
                .help("the `tool` block declares it so: change it there or here"),
            ),
            Declares::Closed { schema } => {
                let name = path.join(".");
                let known = declared.argument_names(self.scope.pattern);
                let near = nearest(&name, known.iter().map(String::as_str));
                self.unknown(
                    Diagnostic::new(
                        Number::UndeclaredArgument,
                        format!("tool {} has no argument {}", quoted(&schema), quoted(&name)),
                    )
                    .at(span, "its schema is closed, so no call can have it")
                    .suggest(near)
                    .help(format!(
                        "declare it: `arg {name}: text` in `tool \"{schema}\"`"
                    )),
                )
            }
        }
    }

    /// `args.amout` of a tool whose schema, which is open, has `amount`.
    fn nearly_declared(&mut self, parts: &[Word], span: Span) {
        let path: Vec<String> = parts.iter().map(|part| part.text.clone()).collect();
        let declared = self.scope.declared;
        if declared.names(self.scope.pattern, &path) {
            return;
        }
        let name = joined(parts);
        let known = declared.argument_names(self.scope.pattern);
        let Some(near) = nearest(&name, known.iter().map(String::as_str)) else {
            return;
        };
        let message = format!(
            "the tool declares no {}, and nearly the same {}",
            quoted(&format!("args.{name}")),
            quoted(near)
        );
        self.report(
            Diagnostic::new(Number::DoubtfulName, message)
                .at(span, "")
                .suggest(Some(near))
                .help(format!("if it is meant, declare it: `arg {name}: any`")),
        );
    }

    /// A bare name that is nearly a variable, or nearly an argument that the schema has.
    fn doubtful(&mut self, parts: &[Word], span: Span) {
        let Some(first) = parts.first() else {
            return;
        };
        let name = joined(parts);
        let known = self.scope.declared.argument_names(self.scope.pattern);
        let declared = self.scope.declared;
        let near_var = || nearest(&name, declared.vars.iter().map(String::as_str));
        let (near, what) = match nearest(&name, known.iter().map(String::as_str)) {
            Some(near) => (near, "the argument"),
            None => match (near_var(), vocabulary::near_variable(&first.text)) {
                (Some(near), _) => (near, "the `var`"),
                (None, Some(near)) => (near, "the variable"),
                (None, None) => return,
            },
        };
        self.report(
            Diagnostic::new(
                Number::DoubtfulName,
                format!(
                    "{} is an argument, and nearly {what} {}",
                    quoted(&name),
                    quoted(near)
                ),
            )
            .at(span, "")
            .suggest(Some(near))
            .help(format!("if the argument is meant, write `args.{name}`")),
        );
    }
}

fn find(known: &[(&str, Type)], name: &str) -> Option<Type> {
    known
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| *kind)
}

fn names(known: &[(&'static str, Type)]) -> Vec<&'static str> {
    known.iter().map(|(name, _)| *name).collect()
}

fn selector(name: &str, path: &[Word]) -> Field {
    let path = path.iter().map(|part| part.text.clone()).collect();
    Field::Selector(name.to_string(), path)
}

fn joined(parts: &[Word]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    parts.join(".")
}
