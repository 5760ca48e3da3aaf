//! The lines of the language that are no `key value`, as mappings: `rate_limit "x": 10 per minute` is
//! `{pattern: x, limit: 10, window: minute}`. Both directions read this table. A line that is not here is a list of its
//! words in either direction.

/// One piece of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// A value; the member is called by the first of these names, and read by each.
    Value(&'static [&'static str]),
    /// `word value`; the member is called by the first of these names. May be missing.
    Pair(&'static str, &'static [&'static str]),
    /// A word that stands there or does not: `true` or `false`.
    Flag(&'static str),
    /// As [`Part::Pair`], the value a list, always.
    Listed(&'static str, &'static [&'static str]),
}

impl Part {
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Part::Value(names) | Part::Pair(_, names) | Part::Listed(_, names) => names,
            Part::Flag(_) => &[],
        }
    }

    /// The name that is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Flag(word) => word,
            _ => self.names().first().copied().unwrap_or(""),
        }
    }

    pub(super) fn is_called(self, name: &str) -> bool {
        match self {
            Part::Flag(word) => word == name,
            _ => self.names().contains(&name),
        }
    }
}

/// A line's pieces in their order, and whether a mapping `{first: second}` stands for several of them.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) word: &'static str,
    pub(super) parts: &'static [Part],
    pub(super) keyed: bool,
}

const ROWS: &[Row] = &[
    row(
        "rate_limit",
        &[
            Part::Value(&["pattern", "tool"]),
            Part::Value(&["limit"]),
            Part::Pair("per", &["window", "per"]),
        ],
    ),
    row(
        "redact",
        &[
            Part::Value(&["tool", "pattern"]),
            Part::Listed("args", &["paths", "args"]),
        ],
    ),
    row(
        "import",
        &[Part::Value(&["path"]), Part::Pair("as", &["as"])],
    ),
    row(
        "manifest",
        &[
            Part::Pair("orchestrator", &["orchestrator"]),
            Part::Pair("undeclared", &["undeclared"]),
            Part::Pair("grant", &["grant", "from"]),
            Part::Pair("to", &["to"]),
            Part::Pair("max", &["max"]),
            Part::Flag("approval"),
        ],
    ),
    row("require", &[Part::Pair("enforcement", &["enforcement"])]),
    row(
        "spiffe_federated",
        &[
            Part::Value(&["id"]),
            Part::Pair("bundle_url", &["bundle_url"]),
        ],
    ),
    Row {
        word: "key",
        parts: &[Part::Value(&["id"]), Part::Value(&["key"])],
        keyed: true,
    },
    Row {
        word: "arg",
        parts: &[
            Part::Value(&["name"]),
            Part::Value(&["kind", "type"]),
            Part::Flag("required"),
        ],
        keyed: true,
    },
    Row {
        word: "var",
        parts: &[Part::Value(&["name"]), Part::Value(&["value"])],
        keyed: true,
    },
];

const fn row(word: &'static str, parts: &'static [Part]) -> Row {
    Row {
        word,
        parts,
        keyed: false,
    }
}

pub(super) fn of(word: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.word == word)
}

/// Plurals that are not made with an `s`.
const PLURALS: &[(&str, &str)] = &[("redact", "redactions"), ("arg", "args")];

/// The key under which a list of these stands.
pub(super) fn plural(word: &str) -> String {
    if let Some((_, plural)) = PLURALS.iter().find(|(singular, _)| *singular == word) {
        return (*plural).to_string();
    }
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ => format!("{word}s"),
    }
}
