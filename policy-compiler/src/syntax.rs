//! The syntax tree: what stands in the file, not yet what it means.
//!
//! Structure is uniform on purpose: a file is items; an item is a rule, a setting, a block of items or an example. Which
//! words may stand where is data (the compiler's vocabulary), so every construct is parsed like any other and named whole.
//! The tree is made by [`crate::parse`] and by the readers of the other forms; it is public for whoever wants to give it a
//! meaning of their own, such as a second evaluator.
//!
//! Invariant: a tree that came with an error has holes ([`ExprKind::Bad`], [`ValueKind::Bad`], items left out) and means
//! nothing.

use crate::source::Span;

/// A policy file.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// In the order of the file.
    pub items: Vec<Item>,
}

/// What stands at the top of a file or in a block.
#[derive(Debug, Clone)]
pub enum Item {
    /// `permit stripe/* if …`.
    Rule(Rule),
    /// `default deny`, `rate_limit "x": 10 per minute`.
    Setting(Setting),
    /// `budget daily { … }`.
    Block(Block),
    /// A line of `examples { … }`.
    Example(Example),
}

impl Item {
    /// Where it stands; of a block, its head.
    pub const fn span(&self) -> Span {
        match self {
            Item::Rule(rule) => rule.span,
            Item::Setting(setting) => setting.span,
            Item::Block(block) => block.head,
            Item::Example(example) => example.span,
        }
    }

    /// The word that it starts with.
    pub const fn word(&self) -> &Word {
        match self {
            Item::Rule(rule) => &rule.effect,
            Item::Setting(setting) => &setting.key,
            Item::Block(block) => &block.keyword,
            Item::Example(example) => &example.effect,
        }
    }
}

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without quotes, escapes resolved.
    pub text: String,
    /// With its quotes, where it has some.
    pub span: Span,
}

/// `key value…`. The signs between them (`=`, `:`, `,`) say nothing and are not kept.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The word that it starts with.
    pub key: Word,
    /// One; several where the key takes a line; none for a word that stands alone, such as `closed`.
    pub values: Vec<Value>,
    /// From the key to the last value.
    pub span: Span,
}

/// `keyword label… { items }`.
#[derive(Debug, Clone)]
pub struct Block {
    /// The word that it starts with.
    pub keyword: Word,
    /// What stands between the keyword and the brace.
    pub labels: Vec<Value>,
    /// In the order of the file.
    pub items: Vec<Item>,
    /// From the keyword to the opening brace.
    pub head: Span,
}

/// A value in a setting, a clause or an example.
#[derive(Debug, Clone)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// Where it stands.
    pub span: Span,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum ValueKind {
    /// Bare: a word, a pattern, a host; `true`, `false` and `null` too.
    Bare(String),
    /// In quotes, escapes resolved.
    Text(String),
    /// A number with what it counts.
    Number(Quantity),
    /// `[…]`.
    List(Vec<Value>),
    /// `{ a: 1, "b.c": [2] }`.
    Object(Vec<Member>),
    /// `env("NAME")`: the name.
    Env(String),
    /// Was reported.
    Bad,
}

/// `key: value` in an object.
#[derive(Debug, Clone)]
pub struct Member {
    /// A key in quotes is one part, whatever it holds; a bare `to.domain` is two.
    pub key: Vec<Word>,
    /// What it holds.
    pub value: Value,
}

/// A number with what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    /// In base units (seconds, bytes), decimal text.
    pub value: String,
    /// What it counts.
    pub unit: Unit,
    /// As written: `$500`, `15m`.
    pub shown: String,
}

impl Quantity {
    /// Its negative, in value and as shown.
    pub(crate) fn negated(self) -> Quantity {
        Quantity {
            value: format!("-{}", self.value),
            shown: format!("-{}", self.shown),
            unit: self.unit,
        }
    }
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `42`.
    None,
    /// `$500`: the same as the number in conditions.
    Money,
    /// `15m`, in seconds.
    Duration,
    /// `10mb`, in bytes.
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
#[derive(Debug, Clone)]
pub struct Rule {
    /// As written, with the `!` of `deny!`; reported already where it is unknown.
    pub effect: Word,
    /// Bare or in quotes; absent where it was reported.
    pub tool: Option<Word>,
    /// In the order of the file.
    pub clauses: Vec<Clause>,
    /// From the effect to the end of the last clause.
    pub span: Span,
}

/// A part of a rule behind its tool.
#[derive(Debug, Clone)]
pub struct Clause {
    /// `if`, `reason`, `method`, …
    pub keyword: Word,
    /// What follows it.
    pub body: ClauseBody,
}

/// What follows a clause's word.
#[derive(Debug, Clone)]
pub enum ClauseBody {
    /// `if EXPR`, `when EXPR`.
    Condition(Expr),
    /// `reason "…"`, `method GET`, `port 443`, `reeval: true`.
    Value(Value),
    /// `query k=v`, `header k=v`.
    Pair {
        /// `k`.
        key: Word,
        /// `v`.
        value: Value,
    },
}

/// `EFFECT TOOL { arguments } code WORD given { … }` in `examples`.
#[derive(Debug, Clone)]
pub struct Example {
    /// The effect that must come out, as written.
    pub effect: Word,
    /// The tool; absent where it was reported.
    pub tool: Option<Word>,
    /// The arguments of the call; empty where none stand there.
    pub arguments: Vec<Member>,
    /// `code INDETERMINATE`.
    pub code: Option<Word>,
    /// `given { time.hour: 3 }`: what is supposed beside the arguments.
    pub given: Vec<Member>,
    /// From the effect to the end.
    pub span: Span,
}

/// A condition or an operand in one.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// With its parentheses, where it has some.
    pub span: Span,
}

/// What an expression is. Parentheses are not kept: the tree is their meaning.
#[derive(Debug, Clone)]
pub enum ExprKind {
    /// `or`, `||`: two or more.
    Or(Vec<Expr>),
    /// `and`, `&&`: two or more.
    And(Vec<Expr>),
    /// `not`, `!`.
    Not(Box<Expr>),
    /// `has args.x`.
    Has(Box<Expr>),
    /// Two operands and what stands between them.
    Binary {
        /// What stands between them.
        operator: Operator,
        /// Where it stands.
        sign: Span,
        /// Before it.
        left: Box<Expr>,
        /// Behind it.
        right: Box<Expr>,
    },
    /// `a.b.c`.
    Name(Vec<Word>),
    /// `true`, `false`.
    Bool(bool),
    /// `$500`; `-3` is one number.
    Number(Quantity),
    /// In quotes, escapes resolved.
    Text(String),
    /// `[…]`.
    List(Vec<Expr>),
    /// `purpose("x")`, `session.sum(stripe/refund.amount, window=1h)`. `contains(list, x)` is [`ExprKind::Binary`].
    Call {
        /// With its points: `session.sum`.
        name: Word,
        /// In the order of the file.
        arguments: Vec<CallArgument>,
    },
    /// A tool, a pattern, or a tool and a field behind it, as written: `stripe/refund.amount`, `shell/*`, `*`. Stands only
    /// as an argument of a call, with the quotes in `"stripe.refund".amount`. A tool that has none of `/ : *` reads as a [`ExprKind::Name`]: the function knows.
    ToolPath(String),
    /// Was reported.
    Bad,
}

/// One argument of a call.
#[derive(Debug, Clone)]
pub struct CallArgument {
    /// `window` in `window=1h`.
    pub name: Option<Word>,
    /// What is given.
    pub value: Expr,
}

/// What stands between two operands. All bind alike but `+ -`, which bind tighter, and `*`, which binds tightest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the operators")]
pub enum Operator {
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
    /// In the form that the formatter writes.
    pub const fn as_str(self) -> &'static str {
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
