//! The syntax tree: what stands in the file, not yet what it means.
//!
//! Structure is uniform on purpose: a file is items; an item is a rule, a setting or a block of items. Which words may
//! stand where is data ([`crate::vocabulary`]), so that a construct which this version does not hold is parsed like any
//! other and named whole.

use crate::source::Span;

/// A policy file.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) items: Vec<Item>,
}

#[derive(Debug)]
pub(crate) enum Item {
    Rule(Rule),
    Setting(Setting),
    Block(Block),
}

/// A bare word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// `key value…`.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) key: Word,
    pub(crate) values: Vec<Value>,
    pub(crate) span: Span,
}

/// `keyword label… { items }`.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) keyword: Word,
    pub(crate) labels: Vec<Value>,
    pub(crate) items: Vec<Item>,
    /// From the keyword to the opening brace.
    pub(crate) head: Span,
}

/// A value in a setting.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) kind: ValueKind,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) enum ValueKind {
    /// Bare: a word, a pattern, a host.
    Bare(String),
    /// In quotes.
    Text(String),
    Number(Quantity),
    List(Vec<Value>),
    /// `env("NAME")`.
    Env,
    /// Was reported.
    Bad,
}

/// A number with what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// In base units (seconds, bytes), decimal text.
    pub(crate) value: String,
    pub(crate) unit: Unit,
    /// As written: `$500`, `15m`.
    pub(crate) shown: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    None,
    Money,
    Duration,
    Size,
}

impl Unit {
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Unit::None => "a number",
            Unit::Money => "an amount",
            Unit::Duration => "a duration",
            Unit::Size => "a size",
        }
    }
}

/// `EFFECT TOOL clauses`.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As written, with the `!` of `deny!`; reported already where it is unknown.
    pub(crate) effect: Word,
    /// Bare or in quotes; absent where it was reported.
    pub(crate) tool: Option<Word>,
    pub(crate) clauses: Vec<Clause>,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) keyword: Word,
    pub(crate) body: ClauseBody,
}

#[derive(Debug)]
pub(crate) enum ClauseBody {
    /// `if EXPR`, `when EXPR`.
    Condition(Expr),
    /// `reason "…"`, `method GET`, `query k=v`.
    Values(Vec<Value>),
}

/// A condition or an operand in one.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    /// Two or more.
    Or(Vec<Expr>),
    /// Two or more.
    And(Vec<Expr>),
    Not(Box<Expr>),
    Has(Box<Expr>),
    Binary {
        operator: Operator,
        sign: Span,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `a.b.c`.
    Name(Vec<Word>),
    Bool(bool),
    Number(Quantity),
    Text(String),
    List(Vec<Expr>),
    Call {
        name: Word,
    },
    /// Was reported.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
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
    Add,
    Subtract,
    Multiply,
}

impl Operator {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::In => "in",
            Operator::Matches => "matches",
            Operator::Contains => "contains",
            Operator::StartsWith => "starts_with",
            Operator::EndsWith => "ends_with",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
        }
    }
}
