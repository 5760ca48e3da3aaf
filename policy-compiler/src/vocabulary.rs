//! The words of the language: where each may stand, how what follows it is read, and whether this version holds it.
//!
//! Invariant: every word of the published language is here. A word that this version does not hold says why, and the
//! compiler refuses it by name; a word that is not here is unknown, and refused with the nearest one that is.

pub(crate) mod blocks;

use crate::diagnostic::{Diagnostic, quoted};
use blocks::{AGENT_BLOCKS, Block, RUNTIME_KEYS, STACK_BLOCKS, Type};
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
    /// Labels, and a block of items or none.
    MaybeBlock(Place),
}

const fn settings(word: &'static str) -> Shape {
    Shape::Block(Place::Settings(word))
}

/// A known word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) word: &'static str,
    pub(crate) shape: Shape,
}

const fn entry(word: &'static str, shape: Shape) -> Entry {
    Entry { word, shape }
}

const TOP: &[Entry] = &[
    entry("agent", Shape::Block(Place::Agent)),
    entry("default", Shape::Value),
    entry("identity", settings("identity")),
    entry("import", Shape::Line),
    entry("manifest", Shape::Line),
    entry("pack", Shape::Block(Place::Pack)),
    entry("provider", settings("provider")),
    entry("rules", Shape::Block(Place::Rules)),
    entry("run_as", Shape::Value),
    entry("runtime", settings("runtime")),
    entry("system", settings("system")),
    entry("trust", settings("trust")),
    entry("var", Shape::Line),
];

const AGENT: &[Entry] = &[
    entry("alert", settings("alert")),
    entry("ambient", settings("ambient")),
    entry("budget", settings("budget")),
    entry("completion_gate", settings("completion_gate")),
    entry("credential", settings("credential")),
    entry("default", Shape::Value),
    entry("delegate", settings("delegate")),
    entry("egress", settings("egress")),
    entry("enforcement", settings("enforcement")),
    entry("examples", Shape::Block(Place::Examples)),
    entry("framework", Shape::Value),
    entry("model", Shape::Value),
    entry("model_policy", settings("model_policy")),
    entry("paths", settings("paths")),
    entry("phase", Shape::Block(Place::Phase)),
    entry("rate_limit", Shape::Line),
    entry("redact", Shape::Line),
    entry("require", Shape::Line),
    entry("rules", Shape::Block(Place::Rules)),
    entry("run_as", Shape::Value),
    entry("selector", settings("selector")),
    entry("session", settings("session")),
    entry("spawn", settings("spawn")),
    entry("tool", Shape::Block(Place::Tool)),
    entry("use", Shape::MaybeBlock(Place::Settings("use"))),
    entry("var", Shape::Line),
    entry("version", Shape::Value),
];

const PHASE: &[Entry] = &[
    entry("duration", Shape::Value),
    entry("next", Shape::Value),
    entry("rules", Shape::Block(Place::Rules)),
    entry("tools", Shape::Value),
];

const TOOL: &[Entry] = &[entry("arg", Shape::Line), entry("closed", Shape::Line)];

const PACK: &[Entry] = &[
    entry("egress", settings("egress")),
    entry("parameter", Shape::Line),
    entry("redact", Shape::Line),
    entry("rules", Shape::Block(Place::Rules)),
    entry("version", Shape::Value),
];

/// What this version decides by; the others stand in [`RUNTIME_KEYS`].
const RUNTIME: &[Entry] = &[
    entry("agent_enforce_profile", Shape::Value),
    entry("allowed_sockets", Shape::Value),
    entry("anchor_max_lag", Shape::Value),
    entry("anchor_on_lag", Shape::Value),
    entry("anchor_quorum", Shape::Value),
    entry("cold_start_deny_window", Shape::Value),
    entry("keep_env", Shape::Value),
    entry("mode", Shape::Value),
    entry("reveal", Shape::Value),
    entry("timezone", Shape::Value),
];

const PATHS: &[Entry] = &[
    entry("edit_allow", Shape::Value),
    entry("edit_deny", Shape::Value),
    entry("edit_protected", Shape::Value),
    entry("read_exclude", Shape::Value),
];

const TRUST: &[Entry] = &[
    entry("key", Shape::Line),
    entry("spiffe_federated", Shape::Line),
];

impl Place {
    /// The words that may start an item here, beside the effects of rules.
    const fn entries(self) -> &'static [Entry] {
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
                b"trust" => TRUST,
                _ => &[],
            },
        }
    }

    /// What an agent may have besides, where a flat file is one without a name.
    fn flat_entries(self) -> impl Iterator<Item = &'static Entry> {
        let agent = if self == Place::Top { AGENT } else { &[] };
        let known = |entry: &&Entry| TOP.iter().any(|top| top.word == entry.word);
        agent.iter().filter(move |entry| !known(entry))
    }

    /// Whether a word starts a block that can only stand at the top of a file; or `rules`.
    pub(crate) fn starts_stack_block(word: &str) -> bool {
        TOP.iter()
            .any(|entry| entry.word == word && matches!(entry.shape, Shape::Block(_)))
    }

    /// The words that may start an item here, for suggestions.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        let entries = self.entries().iter().chain(self.flat_entries());
        let entries = entries.map(|entry| entry.word);
        let block = match self {
            Place::Settings(keyword) => Block::of(keyword),
            _ => None,
        };
        let keys = block.into_iter().flat_map(Block::all_keys);
        let runtime = if self == Place::Settings("runtime") {
            RUNTIME_KEYS
        } else {
            &[]
        };
        entries
            .chain(keys.map(|key| key.word))
            .chain(runtime.iter().map(|key| key.word))
    }

    /// Whether rules may stand here.
    pub(crate) const fn holds_rules(self) -> bool {
        !matches!(self, Place::Settings(_) | Place::Examples | Place::Tool)
    }

    /// What is known of a word that may start an item here.
    pub(crate) fn entry(self, word: &str) -> Option<Entry> {
        let mut entries = self.entries().iter().chain(self.flat_entries());
        if let Some(entry) = entries.find(|entry| entry.word == word) {
            return Some(*entry);
        }
        let Place::Settings(keyword) = self else {
            return None;
        };
        let key = if keyword == "runtime" {
            RUNTIME_KEYS.iter().find(|key| key.word == word)?
        } else {
            Block::of(keyword)?
                .all_keys()
                .find(|key| key.word == word)?
        };
        let shape = match key.of {
            Type::Line => Shape::Line,
            _ => Shape::Value,
        };
        Some(entry(key.word, shape))
    }

    /// How what follows a word is read, if the word is known here.
    pub(crate) fn shape(self, word: &str) -> Option<Shape> {
        self.entry(word).map(|entry| entry.shape)
    }

    /// For messages: `an agent`.
    pub(crate) fn noun(self) -> String {
        match self {
            Place::Top => String::from("the file"),
            Place::Agent => String::from("an agent"),
            Place::Rules => String::from("`rules`"),
            Place::Phase => String::from("a phase"),
            Place::Examples => String::from("`examples`"),
            Place::Tool => String::from("a tool's schema"),
            Place::Pack => String::from("a pack"),
            Place::Settings("") => String::from("this block"),
            Place::Settings(keyword) => format!("`{keyword}`"),
        }
    }

    /// For help: `into an agent`.
    pub(crate) fn where_to(self) -> String {
        match self {
            Place::Top => String::from("at the top of the file, outside every agent"),
            other => format!("into {}", other.noun()),
        }
    }

    /// Where else a word may stand: for `runtime` inside an agent.
    pub(crate) fn elsewhere(self, word: &str) -> Option<Place> {
        [
            Place::Agent,
            Place::Top,
            Place::Settings("runtime"),
            Place::Settings("trust"),
            Place::Settings("paths"),
        ]
        .into_iter()
        .find(|place| *place != self && place.shape(word).is_some())
    }
}

impl Place {
    /// What to do about a word that is unknown here: where it belongs, or what it nearly is.
    pub(crate) fn advise(self, finding: Diagnostic, word: &str, near: Option<&str>) -> Diagnostic {
        let place = match (self.elsewhere(word), near) {
            (Some(place), _) => place,
            (None, Some(near)) => return finding.suggest(Some(near)),
            (None, None) => match self.below(word) {
                Some(place) => place,
                None => return finding,
            },
        };
        finding.help(format!("{} belongs {}", quoted(word), place.where_to()))
    }

    /// The block that a word is a setting of, for one that stands outside it: `max` of `budget`.
    fn below(self, word: &str) -> Option<Place> {
        let fixed = [Place::Tool, Place::Phase, Place::Pack];
        let blocks = AGENT_BLOCKS.iter().chain(STACK_BLOCKS);
        let blocks = blocks.map(|block| Place::Settings(block.word));
        fixed
            .into_iter()
            .chain(blocks)
            .find(|place| *place != self && place.shape(word).is_some())
    }
}

/// Every word that starts an item or a clause, every setting, effect, variable and connective.
pub(crate) fn all_words() -> Vec<&'static str> {
    let keyed = AGENT_BLOCKS.iter().chain(STACK_BLOCKS);
    let mut words: Vec<&'static str> = [
        Place::Top,
        Place::Agent,
        Place::Phase,
        Place::Tool,
        Place::Pack,
        Place::Settings("runtime"),
        Place::Settings("paths"),
        Place::Settings("trust"),
    ]
    .into_iter()
    .flat_map(Place::words)
    .collect();
    for block in keyed {
        words.push(block.word);
        words.extend(block.all_keys().map(|key| key.word));
    }
    words.extend(EFFECTS.iter().map(|(word, _)| *word));
    words.extend(CLAUSES);
    words.extend(CONNECTIVES);
    words.extend(["starts_with", "ends_with"]);
    words
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

/// Those of [`CLAUSES`] that messages name: one for each meaning.
pub(crate) const CLAUSES_SHOWN: [&str; 11] = [
    "if", "reason", "notify", "reeval", "door", "method", "host", "port", "path", "query", "header",
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
            let mut words: Vec<_> = place.words().collect();
            words.sort_unstable();
            let all = words.len();
            words.dedup();
            assert_eq!(words.len(), all, "{place:?}");
        }
    }
}
