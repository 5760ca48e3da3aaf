//! Policies and calls made by chance, so that every construct that decides comes up, and calls lie near the constants.

use crate::chance::Chance;
use crate::json::Json;
use crate::number::Number;
use crate::tree::*;
use faramesh_core::decision::Effect;
use std::collections::BTreeMap;

/// What an argument usually holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Text,
    Bool,
    Texts,
    Numbers,
    Object,
}

/// Every argument that policies ask for, by name.
pub(crate) const ARGUMENTS: &[(&str, Kind)] = &[
    ("amount", Kind::Number),
    ("fee", Kind::Number),
    ("to.domain", Kind::Text),
    ("currency", Kind::Text),
    ("purpose", Kind::Text),
    ("urgent", Kind::Bool),
    ("tags", Kind::Texts),
    ("sizes", Kind::Numbers),
    ("meta", Kind::Object),
    ("path", Kind::Text),
    ("host", Kind::Text),
];

pub(crate) const TOOLS: &[&str] = &[
    "stripe/refund",
    "stripe/refund/now",
    "stripe/charge",
    "db/user_read",
    "db/_read",
    "db/write",
    "fs/edit",
    "x",
    "a/b/c/d",
];

pub(crate) const PATTERNS: &[&str] = &[
    "*",
    "stripe/*",
    "stripe/refund",
    "stripe/refund/*",
    "*/refund",
    "db/*_read",
    "db/*",
    "db/write",
    "fs/*",
    "fs/edit",
    "x",
    "a/*/c/*",
    "a/b/c/d",
    "*x",
];

const NUMBERS: &[&str] = &[
    "0", "1", "2", "3", "79.99", "80", "80.01", "500", "-1", "1e3", "0.1",
];
/// For calls only: big, tiny, long.
const FAR_NUMBERS: &[&str] = &[
    "1e999",
    "-1e999",
    "1e-999",
    "123456789012345678901234567890.000000000000000000000001",
    "80.0000000000000000000000000000000000000001",
    "9007199254740993",
];
const WORDS: &[&str] = &[
    "",
    "a",
    "ab",
    "eur",
    "EUR",
    "example.com",
    "ops",
    "80",
    "true",
    "a/b",
    "ü",
    "日本",
];
const EXPRESSIONS: &[&str] = &["^a", "b$", "^(eur|usd)$", "[0-9]+", "^$", "x", "(?i)eur"];
const GLOBS: &[&str] = &["*", "a*", "*b", "e*r", "80", "*.com", "a*/*b"];
const PATH_GLOBS: &[&str] = &[
    "src/**",
    "docs/*",
    "*.md",
    "**/build/*",
    "/etc/**",
    "/home/bot/work/src/*",
    "src/*/gen",
    "lock*",
    "**",
];
/// What calls name: inside and outside of the workspace, plain, dressed up, and meant to deceive.
const PATHS: &[&str] = &[
    "src/a.rs",
    "src/x/gen",
    "docs/a.md",
    "docs/deep/a.md",
    "SRC/A.RS",
    "./src//a.rs",
    "src/../docs/a.md",
    "../up",
    "/etc/passwd",
    "/home/bot/work/src/a.rs",
    "/home/bot/work/../other/src/a.rs",
    "/home/bot/workshop/src/a",
    ".env",
    "a/.ENV.local",
    "a/%2eenv",
    "a/%252eenv",
    "src%2fa.rs",
    "src\\a.rs",
    "%zz",
    "%ff",
    "key.pem",
    "key.pem.",
    "key.pem:stream",
    "secrets/a",
    "x/secrets",
    ".git/config",
    "~/x",
    "C:/src/a.rs",
    "C:src",
    "file:///etc/passwd",
    "file://localhost/src/a",
    "file://other/src/a",
    "FILE:/etc/passwd",
    "lock",
    "locks/a",
    "a/build/b",
    "build/b",
    "/",
    ".",
    "a\u{200b}b",
    "se\u{200b}crets/x",
    "a\nb",
    "",
];
const LAYERS: &[&str] = &["seccomp", "landlock"];

/// What a generated policy may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Tests may be of another type than their argument.
    pub(crate) mixed: bool,
    /// `has` may stand in conditions.
    pub(crate) has: bool,
    /// Schemas, demands, paths.
    pub(crate) around: bool,
    /// Clocks and sessions.
    pub(crate) state: bool,
}

pub(crate) const ANYTHING: Shape = Shape {
    mixed: true,
    has: true,
    around: true,
    state: true,
};

pub(crate) fn policy(shape: Shape, chance: &mut Chance) -> Policy {
    let name = if chance.one_in(4) { "" } else { "bot" };
    // A file of flat rules holds rules and no blocks of an agent.
    let shape = Shape {
        around: shape.around && !name.is_empty(),
        ..shape
    };
    Policy {
        shadow: chance.one_in(4),
        zone: chance.pick(&["UTC", "Europe/Berlin"]).to_owned(),
        agents: vec![agent(name, shape, chance)],
    }
}

fn agent(name: &str, shape: Shape, chance: &mut Chance) -> Agent {
    let mut vars = Vec::new();
    if chance.one_in(3) {
        vars.push(("ceiling".to_owned(), number(chance)));
    }
    if chance.one_in(4) {
        vars.push(("home".to_owned(), Expr::Text(chance.pick(WORDS).to_owned())));
    }
    let mut agent = Agent {
        name: name.to_owned(),
        default: chance.pick(&[Effect::Permit, Effect::Defer, Effect::Deny]),
        vars,
        rules: Vec::new(),
        schemas: Vec::new(),
        demands: Vec::new(),
        paths: None,
        redactions: Vec::new(),
        selectors: Vec::new(),
    };
    if shape.around && chance.one_in(3) {
        agent.schemas = schemas(chance);
    }
    if shape.around && chance.one_in(12) {
        agent.demands = vec![chance.pick(LAYERS).to_owned()];
    }
    if shape.around && chance.one_in(4) {
        agent.paths = Some(paths(chance));
    }
    agent.rules = chance.some(8, |chance| rule(PATTERNS, shape, &agent.vars, chance));
    agent
}

fn schemas(chance: &mut Chance) -> Vec<Schema> {
    let mut schemas: Vec<Schema> = Vec::new();
    for schema in chance.some(2, schema) {
        if schemas.iter().all(|other| other.tool != schema.tool) {
            schemas.push(schema);
        }
    }
    schemas
}

fn paths(chance: &mut Chance) -> Paths {
    let globs = |most, chance: &mut Chance| -> Vec<String> {
        let mut globs = chance.some(most, |chance| chance.pick(PATH_GLOBS).to_owned());
        globs.sort();
        globs.dedup();
        globs
    };
    Paths {
        read_exclude: globs(2, chance),
        edit_deny: globs(2, chance),
        edit_protected: globs(2, chance),
        edit_allow: if chance.one_in(3) {
            globs(3, chance)
        } else {
            Vec::new()
        },
    }
}

fn schema(chance: &mut Chance) -> Schema {
    let mut arguments = Vec::new();
    for (name, kind) in ARGUMENTS {
        if chance.one_in(3) {
            continue;
        }
        let word = match kind {
            _ if chance.one_in(6) => "any",
            Kind::Number => chance.pick(&["number", "money", "duration", "size"]),
            Kind::Text if *name == "path" => chance.pick(&["path", "path.read", "path.edit"]),
            Kind::Text => "text",
            Kind::Bool => "bool",
            Kind::Texts | Kind::Numbers => "list",
            Kind::Object => "object",
        };
        arguments.push(Argument {
            path: path(name),
            kind: word.to_owned(),
            required: chance.one_in(4),
        });
    }
    Schema {
        tool: chance.pick(PATTERNS).to_owned(),
        arguments,
        closed: chance.one_in(2),
    }
}

pub(crate) fn rule(
    patterns: &[&str],
    shape: Shape,
    vars: &[(String, Expr)],
    chance: &mut Chance,
) -> Rule {
    let mut clauses = Vec::new();
    if !chance.one_in(4) {
        clauses.push(Clause::If(condition(3, shape, vars, chance)));
    }
    if chance.one_in(12) {
        clauses.push(clause(chance));
    }
    Rule {
        verb: chance.pick(&[
            Verb::Permit,
            Verb::Permit,
            Verb::Defer,
            Verb::Deny,
            Verb::DenyHard,
        ]),
        tool: chance.pick(patterns).to_owned(),
        clauses,
        reason: chance.one_in(4).then(|| "because".to_owned()),
        notify: ["ops", "pay", "sec"]
            .iter()
            .filter(|_| chance.one_in(4))
            .map(|team| (*team).to_owned())
            .collect(),
    }
}

/// A clause about the request or the door.
fn clause(chance: &mut Chance) -> Clause {
    match chance.below(7) {
        0 => Clause::Method(chance.pick(&["GET", "DELETE"]).to_owned()),
        1 => Clause::Host(
            chance
                .pick(&["api.example.com", "*.example.com", "*"])
                .to_owned(),
        ),
        2 => Clause::Port(443),
        3 => Clause::Path("/v1/*".to_owned()),
        4 => Clause::Query("k".to_owned(), "v".to_owned()),
        5 => Clause::Header("X-Kind".to_owned(), "v".to_owned()),
        _ => Clause::Door(chance.pick(&["govern", "govern", "egress"]).to_owned()),
    }
}

pub(crate) fn condition(
    depth: usize,
    shape: Shape,
    vars: &[(String, Expr)],
    chance: &mut Chance,
) -> Expr {
    let two_or_three = |chance: &mut Chance| {
        let count = 2 + chance.below(2);
        (0..count)
            .map(|_| condition(depth - 1, shape, vars, chance))
            .collect()
    };
    match chance.below(8) {
        0 | 1 if depth > 0 => Expr::And(two_or_three(chance)),
        2 if depth > 0 => Expr::Or(two_or_three(chance)),
        3 if depth > 0 => Expr::Not(Box::new(condition(depth - 1, shape, vars, chance))),
        _ => test(shape, vars, chance),
    }
}

/// One test, of any kind.
fn test(shape: Shape, vars: &[(String, Expr)], chance: &mut Chance) -> Expr {
    let (mut argument, kind) = chance.pick(ARGUMENTS);
    if argument == "host" && !chance.one_in(4) {
        argument = "currency";
    }
    let kind = if shape.mixed && chance.one_in(30) {
        chance.pick(&[Kind::Number, Kind::Text, Kind::Bool])
    } else {
        kind
    };
    let field = Box::new(name(argument, chance));
    match chance.below(16) {
        0 if shape.has => return Expr::Has(field),
        1 if shape.state => return of_state(chance),
        2 => return of_time(chance),
        3 => return of_call(chance),
        4 => return Expr::Purpose(chance.pick(WORDS).to_owned()),
        5 => return of_unknown(chance),
        _ => {}
    }
    use Relation::*;
    let var = |of: &str| vars.iter().any(|(name, _)| name == of);
    match kind {
        Kind::Number => {
            let relation = chance.pick(&[
                Equal,
                NotEqual,
                Less,
                LessOrEqual,
                Greater,
                GreaterOrEqual,
                Less,
                In,
            ]);
            if relation == In {
                return Expr::Test(In, field, Box::new(numbers(chance)));
            }
            let right = match chance.below(8) {
                0 if var("ceiling") => Expr::Name(vec!["ceiling".to_owned()]),
                1 => name("fee", chance),
                2 => calculation(chance),
                _ => number(chance),
            };
            let left = match chance.below(8) {
                0 => Box::new(calculation(chance)),
                _ => field,
            };
            // A constant may stand on the left, a calculation or a field only where the other side is no constant.
            if chance.one_in(6) {
                Expr::Test(relation, Box::new(right), left)
            } else {
                Expr::Test(relation, left, Box::new(right))
            }
        }
        Kind::Text => match chance.below(8) {
            0 => Expr::Test(In, field, Box::new(words(chance))),
            1 => Expr::Test(
                Matches,
                field,
                Box::new(Expr::Text(chance.pick(EXPRESSIONS).to_owned())),
            ),
            2 | 3 => {
                let relation = chance.pick(&[Contains, StartsWith, EndsWith]);
                Expr::Test(relation, field, Box::new(word(chance)))
            }
            4 => {
                let relation = chance.pick(&[Equal, NotEqual, Contains, StartsWith, EndsWith]);
                Expr::Test(relation, field, Box::new(name("to.domain", chance)))
            }
            5 if var("home") => {
                Expr::Test(Equal, field, Box::new(Expr::Name(vec!["home".to_owned()])))
            }
            _ => Expr::Test(
                chance.pick(&[Equal, NotEqual]),
                field,
                Box::new(word(chance)),
            ),
        },
        Kind::Bool => match chance.below(3) {
            0 => Expr::Test(
                chance.pick(&[Equal, NotEqual]),
                field,
                Box::new(Expr::Bool(chance.one_in(2))),
            ),
            _ => *field,
        },
        Kind::Texts => match chance.below(5) {
            0 => Expr::Test(Contains, field, Box::new(name("currency", chance))),
            1 => length(argument, chance),
            2 => Expr::AnyMatch(path(argument), chance.pick(GLOBS).to_owned()),
            _ => Expr::Test(Contains, field, Box::new(word(chance))),
        },
        Kind::Numbers => match chance.below(3) {
            0 => length(argument, chance),
            _ => Expr::Test(Contains, field, Box::new(number(chance))),
        },
        Kind::Object => match chance.below(2) {
            0 => length(argument, chance),
            _ => Expr::Test(Equal, field, Box::new(name("meta.inner", chance))),
        },
    }
}

fn length(argument: &str, chance: &mut Chance) -> Expr {
    let relation = chance.pick(&[Relation::Less, Relation::Equal, Relation::GreaterOrEqual]);
    Expr::Test(
        relation,
        Box::new(Expr::Length(path(argument))),
        Box::new(Expr::Number(
            Number::whole(chance.below(4) as i64),
            Unit::None,
        )),
    )
}

/// `tool`, `action`, `agent`, `door`.
fn of_call(chance: &mut Chance) -> Expr {
    let (name, value) = match chance.below(4) {
        0 => ("tool", chance.pick(TOOLS)),
        1 => (
            "action",
            chance.pick(&["refund", "user_read", "d", "nothing"]),
        ),
        2 => ("agent", chance.pick(&["bot", "other"])),
        _ => ("tool", "stripe"),
    };
    let name = Box::new(Expr::Name(vec![name.to_owned()]));
    let value = Box::new(Expr::Text(value.to_owned()));
    let relation = chance.pick(&[Relation::Equal, Relation::NotEqual, Relation::StartsWith]);
    Expr::Test(relation, name, value)
}

/// Facts that no door of this version supplies.
fn of_unknown(chance: &mut Chance) -> Expr {
    let (name, value) = chance.pick(&[
        ("query.page", "2"),
        ("headers.authorization", "x"),
        ("model", "small"),
    ]);
    Expr::Test(
        Relation::Equal,
        Box::new(Expr::Name(path(name))),
        Box::new(Expr::Text(value.to_owned())),
    )
}

fn of_time(chance: &mut Chance) -> Expr {
    let (name, most) = chance.pick(&[
        ("hour", 24),
        ("minute", 60),
        ("weekday", 8),
        ("day", 32),
        ("month", 13),
    ]);
    let relation = chance.pick(&[Relation::Less, Relation::GreaterOrEqual, Relation::Equal]);
    Expr::Test(
        relation,
        Box::new(Expr::Name(vec!["time".to_owned(), name.to_owned()])),
        Box::new(Expr::Number(
            Number::whole(chance.below(most) as i64),
            Unit::None,
        )),
    )
}

/// What the session remembers, and what was measured.
pub(crate) fn of_state(chance: &mut Chance) -> Expr {
    let window_ms = chance.pick(&[
        None,
        Some(1_000),
        Some(5_000),
        Some(60_000),
        Some(3_600_000),
    ]);
    let tool = chance
        .pick(&["*", "stripe/*", "stripe/refund", "db/*_read"])
        .to_owned();
    let left = match chance.below(6) {
        0 => Expr::Name(path("session.call_count")),
        1 => Expr::Name(path("session.duration")),
        2 => Expr::Sum {
            tool: chance
                .pick(&["stripe/*", "stripe/refund", "db/*_read"])
                .to_owned(),
            path: path("amount"),
            window_ms,
        },
        3 => Expr::Count { tool, window_ms },
        4 => Expr::Denials { window_ms },
        _ => {
            return Expr::Within {
                tool,
                window_ms: window_ms.unwrap_or(2_000),
            };
        }
    };
    let relation = chance.pick(&[Relation::Less, Relation::GreaterOrEqual, Relation::Equal]);
    let right = Expr::Number(
        Number::whole(chance.pick(&[0, 1, 2, 3, 80, 160])),
        Unit::None,
    );
    Expr::Test(relation, Box::new(left), Box::new(right))
}

fn calculation(chance: &mut Chance) -> Expr {
    let sign = chance.pick(&[Sign::Plus, Sign::Minus, Sign::Times]);
    let left = name(chance.pick(&["amount", "fee"]), chance);
    let right = match chance.below(3) {
        0 => name("fee", chance),
        1 => Expr::Calculation(
            Sign::Times,
            Box::new(name("fee", chance)),
            Box::new(number(chance)),
        ),
        _ => number(chance),
    };
    Expr::Calculation(sign, Box::new(left), Box::new(right))
}

/// An argument: bare, or below `args`.
fn name(dotted: &str, chance: &mut Chance) -> Expr {
    let bare = path(dotted);
    // A bare `host` or `purpose` is an argument too, but is said to be doubtful.
    if chance.one_in(2) {
        return Expr::Name(bare);
    }
    let mut full = vec!["args".to_owned()];
    full.extend(bare);
    Expr::Name(full)
}

pub(crate) fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

fn number(chance: &mut Chance) -> Expr {
    let number = Number::parse(chance.pick(NUMBERS)).unwrap();
    Expr::Number(number, Unit::None)
}

fn numbers(chance: &mut Chance) -> Expr {
    let count = 1 + chance.below(4);
    Expr::List((0..count).map(|_| number(chance)).collect())
}

fn word(chance: &mut Chance) -> Expr {
    Expr::Text(chance.pick(WORDS).to_owned())
}

fn words(chance: &mut Chance) -> Expr {
    let count = 1 + chance.below(4);
    Expr::List((0..count).map(|_| word(chance)).collect())
}

// ---- calls ----------------------------------------------------------------------------------------------------------

/// Arguments of a call: mostly of the kind that policies expect, sometimes quoted, null, absent, far out or nested.
pub(crate) fn arguments(mixed: bool, chance: &mut Chance) -> Json {
    let mut args = Json::empty();
    for (name, kind) in ARGUMENTS {
        if chance.one_in(3) {
            continue;
        }
        let value = if *name == "path" && chance.one_in(2) {
            path_value(chance)
        } else if mixed && chance.one_in(5) {
            anything(chance)
        } else {
            value_of(*kind, chance)
        };
        args.put(&path(name), value);
    }
    args
}

/// One path, or some.
fn path_value(chance: &mut Chance) -> Json {
    let one = |chance: &mut Chance| Json::text(chance.pick(PATHS));
    match chance.below(5) {
        0 => Json::List(chance.some(3, one)),
        1 => Json::Map(BTreeMap::from([("file".to_owned(), one(chance))])),
        _ => one(chance),
    }
}

/// A value of that kind.
pub(crate) fn value_of(kind: Kind, chance: &mut Chance) -> Json {
    let number = |chance: &mut Chance| Json::Number(Number::parse(chance.pick(NUMBERS)).unwrap());
    let word = |chance: &mut Chance| Json::text(chance.pick(WORDS));
    match kind {
        Kind::Number => number(chance),
        Kind::Text => word(chance),
        Kind::Bool => Json::Bool(chance.one_in(2)),
        Kind::Texts => Json::List(chance.some(3, word)),
        Kind::Numbers => Json::List(chance.some(3, number)),
        Kind::Object => {
            let mut members = BTreeMap::from([("a".to_owned(), number(chance))]);
            if chance.one_in(2) {
                members.insert(
                    "inner".to_owned(),
                    Json::Map(BTreeMap::from([("a".to_owned(), number(chance))])),
                );
            }
            Json::Map(members)
        }
    }
}

fn anything(chance: &mut Chance) -> Json {
    match chance.below(8) {
        0 => Json::Null,
        1 => Json::text(chance.pick(NUMBERS)),
        2 => Json::Number(Number::parse(chance.pick(FAR_NUMBERS)).unwrap()),
        3 => Json::List(vec![
            Json::Null,
            Json::text("80"),
            Json::Number(Number::whole(80)),
        ]),
        4 => Json::List(vec![Json::List(vec![]), Json::Bool(true)]),
        5 => Json::Map(BTreeMap::from([("domain".to_owned(), Json::Bool(true))])),
        6 => Json::text("a\u{301}\n\u{1f600}"),
        _ => {
            let kind = chance.pick(&[
                Kind::Number,
                Kind::Text,
                Kind::Bool,
                Kind::Texts,
                Kind::Object,
            ]);
            value_of(kind, chance)
        }
    }
}

/// Which layers were measured, and whether they hold.
pub(crate) fn measured(chance: &mut Chance) -> BTreeMap<String, bool> {
    LAYERS
        .iter()
        .filter_map(|layer| match chance.below(4) {
            0 => None,
            1 => Some(((*layer).to_owned(), false)),
            _ => Some(((*layer).to_owned(), true)),
        })
        .collect()
}

/// Facts in place of the live ones: of the clock, of the session, and of doors that are not here.
pub(crate) fn supposed(chance: &mut Chance) -> BTreeMap<String, Json> {
    let mut supposed = BTreeMap::new();
    if !chance.one_in(4) {
        return supposed;
    }
    for (name, kind) in [
        ("time.hour", Kind::Number),
        ("time.weekday", Kind::Number),
        ("session.call_count", Kind::Number),
        ("session.duration", Kind::Text),
        ("model", Kind::Text),
        ("headers.authorization", Kind::Text),
        ("host", Kind::Text),
        ("enforcement.seccomp", Kind::Bool),
    ] {
        if chance.one_in(4) {
            let value = if chance.one_in(5) {
                Json::Null
            } else {
                value_of(kind, chance)
            };
            supposed.insert(name.to_owned(), value);
        }
    }
    supposed
}
