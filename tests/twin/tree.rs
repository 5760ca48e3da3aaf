//! A policy as the twin knows it: what a person wrote, word for word, with nothing worked out.
//!
//! The generator makes such trees and prints them; `read.rs` reads them out of the compiler's syntax tree. Both must be
//! the same, which also checks the parser.

use crate::number::Number;
use faramesh_core::decision::Effect;

/// A file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    /// `runtime { mode = "shadow" }`.
    pub(crate) shadow: bool,
    /// `runtime { timezone = "Europe/Berlin" }`.
    pub(crate) zone: String,
    pub(crate) agents: Vec<Agent>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Agent {
    /// Empty in a file of flat rules, where it holds for every agent.
    pub(crate) name: String,
    pub(crate) default: Effect,
    /// `var name value`.
    pub(crate) vars: Vec<(String, Expr)>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) schemas: Vec<Schema>,
    /// `require enforcement LAYER`.
    pub(crate) demands: Vec<String>,
    pub(crate) paths: Option<Paths>,
    /// `redact TOOL args: […]`.
    pub(crate) redactions: Vec<(String, Vec<String>)>,
    /// Whether `identity`, and which selectors, stand in the file, so that their facts have a door.
    pub(crate) selectors: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Permit,
    Defer,
    Deny,
    DenyHard,
}

impl Verb {
    pub(crate) fn effect(self) -> Effect {
        match self {
            Verb::Permit => Effect::Permit,
            Verb::Defer => Effect::Defer,
            Verb::Deny | Verb::DenyHard => Effect::Deny,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) verb: Verb,
    pub(crate) tool: String,
    pub(crate) clauses: Vec<Clause>,
    pub(crate) reason: Option<String>,
    pub(crate) notify: Vec<String>,
}

/// What narrows a rule; all of them together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Clause {
    If(Expr),
    Door(String),
    Method(String),
    Host(String),
    Port(u16),
    Path(String),
    Query(String, String),
    Header(String, String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Has(Box<Expr>),
    Test(Relation, Box<Expr>, Box<Expr>),
    Calculation(Sign, Box<Expr>, Box<Expr>),
    /// `a.b.c`, whatever it means.
    Name(Vec<String>),
    Bool(bool),
    Number(Number, Unit),
    Text(String),
    List(Vec<Expr>),
    /// `purpose("x")`.
    Purpose(String),
    /// `args_array_any_match(args.a, "x*")`: a condition.
    AnyMatch(Vec<String>, String),
    /// `len(args.a)`.
    Length(Vec<String>),
    /// `session.sum(stripe/refund.amount, window=1h)`.
    Sum {
        tool: String,
        path: Vec<String>,
        window_ms: Option<u64>,
    },
    /// `session.count(stripe/refund, window=1h)`.
    Count {
        tool: String,
        window_ms: Option<u64>,
    },
    /// `history.within(stripe/refund, 1h)`: a condition.
    Within {
        tool: String,
        window_ms: u64,
    },
    /// `session.denials(window=1h)`.
    Denials {
        window_ms: Option<u64>,
    },
}

/// How a number was written; it is the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    None,
    Money,
    Duration,
    Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
}

impl Relation {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Relation::Equal => "==",
            Relation::NotEqual => "!=",
            Relation::Less => "<",
            Relation::LessOrEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterOrEqual => ">=",
            Relation::In => "in",
            Relation::Matches => "matches",
            Relation::Contains => "contains",
            Relation::StartsWith => "starts_with",
            Relation::EndsWith => "ends_with",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
    Times,
}

/// `tool "x" { arg amount: money required  closed }`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schema {
    pub(crate) tool: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) closed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    pub(crate) path: Vec<String>,
    /// The word: `money`, `text`, `path.read`, …
    pub(crate) kind: String,
    pub(crate) required: bool,
}

/// `paths { … }`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Paths {
    pub(crate) read_exclude: Vec<String>,
    pub(crate) edit_deny: Vec<String>,
    pub(crate) edit_protected: Vec<String>,
    pub(crate) edit_allow: Vec<String>,
}
