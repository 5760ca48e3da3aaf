//! The words of the language: where each may stand, how what follows it is read, and whether this version holds it.
//!
//! Invariant: every word of the published language is here. A word that this version does not hold says why, and the
//! compiler refuses it by name; a word that is not here is unknown, and refused with the nearest one that is.

use faramesh_core::policy::artifact::RuleEffect;

/// Longer words are near to nothing; keeps the search cheap.
const NEAR_BYTES_MAX: usize = 40;

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Top,
    Agent,
    /// `rules { … }`.
    Rules,
    /// `phase x { … }`.
    Phase,
    /// A block of settings, by its keyword.
    Settings(&'static str),
    /// `examples { … }`: calls and what must come out.
    Examples,
    /// `tool "x" { … }`: what a call looks like.
    Tool,
    /// `pack "x" { … }`.
    Pack,
}

/// How what follows a word is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value.
    Value,
    /// All values up to the next setting or the line's end.
    Line,
    /// Labels and a block of items.
    Block(Place),
}

/// A known word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) word: &'static str,
    pub(crate) shape: Shape,
    /// Why this version does not hold it; `None`: it does.
    pub(crate) absent: Option<&'static str>,
}

const fn held(word: &'static str, shape: Shape) -> Entry {
    Entry {
        word,
        shape,
        absent: None,
    }
}

const fn absent(word: &'static str, shape: Shape, why: &'static str) -> Entry {
    Entry {
        word,
        shape,
        absent: Some(why),
    }
}

const fn settings(word: &'static str) -> Shape {
    Shape::Block(Place::Settings(word))
}

const TOP: &[Entry] = &[
    held("agent", Shape::Block(Place::Agent)),
    held("default", Shape::Value),
    held("run_as", Shape::Value),
    held("rules", Shape::Block(Place::Rules)),
    held("runtime", settings("runtime")),
    absent(
        "identity",
        settings("identity"),
        "agents are identified by the kernel alone",
    ),
    absent("import", Shape::Line, "a policy stands in one file"),
    absent(
        "manifest",
        Shape::Line,
        "calls between agents are not governed",
    ),
    absent(
        "pack",
        Shape::Block(Place::Pack),
        "a policy stands in one file",
    ),
    absent(
        "provider",
        settings("provider"),
        "no credentials are brokered",
    ),
    absent(
        "system",
        settings("system"),
        "a stack has no settings beside `runtime`",
    ),
    absent(
        "trust",
        settings("trust"),
        "nothing is imported, so no key is trusted",
    ),
    absent("var", Shape::Line, "values have no names"),
];

const AGENT: &[Entry] = &[
    held("default", Shape::Value),
    held("framework", Shape::Value),
    held("model", Shape::Value),
    held("rules", Shape::Block(Place::Rules)),
    held("run_as", Shape::Value),
    held("version", Shape::Value),
    absent(
        "alert",
        settings("alert"),
        "nobody is notified; `notify` in a rule is recorded",
    ),
    absent(
        "ambient",
        settings("ambient"),
        "nothing is counted across calls",
    ),
    absent(
        "budget",
        settings("budget"),
        "spending and calls are not counted",
    ),
    absent(
        "completion_gate",
        settings("completion_gate"),
        "the end of a task is not governed",
    ),
    absent(
        "credential",
        settings("credential"),
        "no credentials are brokered",
    ),
    absent(
        "delegate",
        settings("delegate"),
        "calls between agents are not governed",
    ),
    absent(
        "egress",
        settings("egress"),
        "no broker decides network connections",
    ),
    absent(
        "enforcement",
        settings("enforcement"),
        "doors are not configured by policy",
    ),
    absent(
        "examples",
        Shape::Block(Place::Examples),
        "examples are not run by the compiler",
    ),
    absent(
        "model_policy",
        settings("model_policy"),
        "no door sees which model is used",
    ),
    absent(
        "paths",
        settings("paths"),
        "paths are not normalised; compare `args.path` in a rule",
    ),
    absent("phase", Shape::Block(Place::Phase), "agents have no phases"),
    absent("rate_limit", Shape::Line, "calls are not counted over time"),
    absent("redact", Shape::Line, "records keep arguments as they are"),
    absent(
        "require",
        Shape::Line,
        "rules cannot rest on measured enforcement",
    ),
    absent(
        "selector",
        settings("selector"),
        "no outside source of facts is asked",
    ),
    absent("session", settings("session"), "sessions are not limited"),
    absent("spawn", settings("spawn"), "child agents are not governed"),
    absent("tool", Shape::Block(Place::Tool), "tools have no schemas"),
    absent("use", settings("use"), "a policy stands in one file"),
    absent("var", Shape::Line, "values have no names"),
];

const PHASE: &[Entry] = &[
    held("duration", Shape::Value),
    held("next", Shape::Value),
    held("rules", Shape::Block(Place::Rules)),
    held("tools", Shape::Value),
];

const TOOL: &[Entry] = &[held("arg", Shape::Line), held("closed", Shape::Line)];

const PATHS: &[Entry] = &[
    held("edit_allow", Shape::Value),
    held("edit_deny", Shape::Value),
    held("edit_protected", Shape::Value),
    held("read_exclude", Shape::Value),
];

const PACK: &[Entry] = &[
    held("parameter", Shape::Line),
    held("version", Shape::Value),
    held("rules", Shape::Block(Place::Rules)),
    held("redact", Shape::Line),
    held("egress", settings("egress")),
];

const FROM_THE_COMMAND_LINE: &str = "how the daemon is run is not part of the policy";
const NO_NETWORK: &str = "the daemon opens no network socket";

const RUNTIME: &[Entry] = &[
    held("agent_enforce_profile", Shape::Value),
    held("allowed_sockets", Shape::Value),
    held("cold_start_deny_window", Shape::Value),
    held("keep_env", Shape::Value),
    held("mode", Shape::Value),
    held("reveal", Shape::Value),
    absent(
        "approval_ttl",
        Shape::Value,
        "a deferral cannot be approved",
    ),
    absent("backend", Shape::Value, FROM_THE_COMMAND_LINE),
    absent(
        "budget_backend",
        Shape::Value,
        "spending and calls are not counted",
    ),
    absent("dsn", Shape::Value, FROM_THE_COMMAND_LINE),
    absent("grpc_port", Shape::Value, NO_NETWORK),
    absent("http_listen", Shape::Value, NO_NETWORK),
    absent("http_upstream", Shape::Value, NO_NETWORK),
    absent(
        "immutable_config",
        Shape::Value,
        "the running policy is always the signed artifact, never this file",
    ),
    absent("log_level", Shape::Value, FROM_THE_COMMAND_LINE),
    absent("mcp_proxy_port", Shape::Value, NO_NETWORK),
    absent("network", Shape::Value, NO_NETWORK),
    absent(
        "os_tier",
        Shape::Value,
        "what a host can enforce is measured; see `agent_enforce_profile`",
    ),
    absent("postgres_url", Shape::Value, FROM_THE_COMMAND_LINE),
    absent(
        "signing_required",
        Shape::Value,
        "policies are always signed",
    ),
    absent(
        "signing_warning_acknowledged",
        Shape::Value,
        "policies are always signed",
    ),
    absent("socket", Shape::Value, FROM_THE_COMMAND_LINE),
    absent(
        "strip_ambient_credentials",
        Shape::Value,
        "they are always stripped; see `keep_env`",
    ),
    absent(
        "strip_env",
        Shape::Value,
        "what looks like a credential is always stripped; see `keep_env`",
    ),
    absent(
        "supervised_command",
        Shape::Value,
        "an agent's command stands behind `.faramesh/bin/agent --`",
    ),
    absent("tls_cert_file", Shape::Value, NO_NETWORK),
    absent("tls_key_file", Shape::Value, NO_NETWORK),
    absent("wal_dir", Shape::Value, FROM_THE_COMMAND_LINE),
    absent(
        "wal_retention",
        Shape::Value,
        "the journal keeps everything",
    ),
];

/// Settings of blocks that this version does not hold: only those whose reading differs from one value.
const CREDENTIAL: &[Entry] = &[
    held("backend", Shape::Value),
    held("path", Shape::Value),
    held("scope", Shape::Line),
    held("max_scope", Shape::Value),
    held("ttl", Shape::Value),
];
const COMPLETION_GATE: &[Entry] = &[held("require", Shape::Value)];
const TRUST: &[Entry] = &[
    held("key", Shape::Line),
    held("spiffe_federated", Shape::Line),
];

impl Place {
    /// The words that may start an item here; for most blocks of settings, none is listed.
    pub(crate) const fn entries(self) -> &'static [Entry] {
        match self {
            Place::Top => TOP,
            Place::Agent => AGENT,
            Place::Rules | Place::Examples => &[],
            Place::Tool => TOOL,
            Place::Pack => PACK,
            Place::Phase => PHASE,
            Place::Settings(keyword) => match keyword.as_bytes() {
                b"runtime" => RUNTIME,
                b"paths" => PATHS,
                b"completion_gate" => COMPLETION_GATE,
                b"credential" => CREDENTIAL,
                b"trust" => TRUST,
                _ => &[],
            },
        }
    }

    /// Whether rules may stand here.
    pub(crate) const fn holds_rules(self) -> bool {
        !matches!(self, Place::Settings(_) | Place::Examples | Place::Tool)
    }

    pub(crate) fn entry(self, word: &str) -> Option<&'static Entry> {
        self.entries().iter().find(|entry| entry.word == word)
    }

    /// For messages: `an agent`.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Place::Top => "the file",
            Place::Agent => "an agent",
            Place::Rules => "`rules`",
            Place::Phase => "a phase",
            Place::Settings("runtime") => "`runtime`",
            Place::Examples => "`examples`",
            Place::Tool => "a tool's schema",
            Place::Pack => "a pack",
            Place::Settings(_) => "this block",
        }
    }

    /// Where else a word may stand: for `budget` outside an agent.
    pub(crate) fn elsewhere(self, word: &str) -> Option<Place> {
        [Place::Agent, Place::Top, Place::Settings("runtime")]
            .into_iter()
            .find(|place| *place != self && place.entry(word).is_some())
    }
}

/// Words that start a rule.
pub(crate) const EFFECTS: &[(&str, RuleEffect)] = &[
    ("permit", RuleEffect::Permit),
    ("defer", RuleEffect::Defer),
    ("deny", RuleEffect::Deny),
    ("deny!", RuleEffect::DenyHard),
    ("allow", RuleEffect::Permit),
    ("approve", RuleEffect::Permit),
    ("block", RuleEffect::Deny),
    ("reject", RuleEffect::Deny),
];

pub(crate) fn effect(word: &str) -> Option<RuleEffect> {
    EFFECTS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, effect)| *effect)
}

/// Words that start a clause of a rule.
pub(crate) const CLAUSES: &[&str] = &[
    "if", "when", "reason", "notify", "reeval", "method", "host", "port", "path", "query",
    "header", "headers", "door",
];

pub(crate) fn clause(word: &str) -> Option<&'static str> {
    CLAUSES.iter().copied().find(|clause| *clause == word)
}

/// Bare names that published policies use for arguments: never taken for a misspelt variable.
pub(crate) const SHORTHANDS: &[&str] = &[
    "amount",
    "channel",
    "cmd",
    "currency",
    "domain",
    "host",
    "method",
    "path",
    "priority",
    "recipients",
    "size_mb",
    "statement",
    "tool_name",
    "cost",
    "tags",
    "team",
    "post",
    "user",
    "name",
    "type",
    "mode",
];

/// What a bare name may be a misspelling of.
const VARIABLES: &[&str] = &[
    "tool",
    "agent",
    "args",
    "action",
    "delegation",
    "enforcement",
    "headers",
    "model",
    "principal",
    "query",
    "selectors",
    "session",
    "time",
    "amount",
    "recipients",
    "tool_name",
];

/// The variable that a bare name nearly is: within two edits, and one in three letters.
pub(crate) fn near_variable(name: &str) -> Option<&'static str> {
    if SHORTHANDS.contains(&name) {
        return None;
    }
    nearest(name, VARIABLES.iter().copied())
}

/// Words that connect conditions.
pub(crate) const CONNECTIVES: &[&str] = &["and", "or", "not", "in", "matches", "contains", "has"];

/// The candidate that differs least, if it differs little: at most two edits, and one in three letters.
pub(crate) fn nearest<'w>(
    word: &str,
    candidates: impl Iterator<Item = &'w str>,
) -> Option<&'w str> {
    if word.len() > NEAR_BYTES_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let mut best: Option<(usize, &'w str)> = None;
    for candidate in candidates.filter(|candidate| *candidate != word) {
        let most = (candidate.len().min(word.len()) / 3).min(2);
        if candidate.len().abs_diff(word.len()) > most {
            continue;
        }
        let distance = strsim::osa_distance(&lower, candidate);
        if distance <= most && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_find_their_neighbour_and_other_words_find_none() {
        let effects = || EFFECTS.iter().map(|(word, _)| *word);
        assert_eq!(nearest("permti", effects()), Some("permit"));
        assert_eq!(nearest("Deny", effects()), Some("deny"));
        assert_eq!(nearest("dney", effects()), Some("deny"));
        assert_eq!(nearest("quux", effects()), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), effects()), None);
        assert_eq!(near_variable("tol"), Some("tool"));
        assert_eq!(near_variable("amout"), Some("amount"));
        for published in [
            "to",
            "customer",
            "tables",
            "currency",
            "statement",
            "domain",
            "priority",
            "urgent",
        ] {
            assert_eq!(near_variable(published), None, "{published}");
        }
    }

    #[test]
    fn no_word_stands_twice_in_one_place() {
        for place in [
            Place::Top,
            Place::Agent,
            Place::Phase,
            Place::Settings("runtime"),
        ] {
            let mut words: Vec<_> = place.entries().iter().map(|entry| entry.word).collect();
            words.sort_unstable();
            let all = words.len();
            words.dedup();
            assert_eq!(words.len(), all, "{place:?}");
        }
    }
}
