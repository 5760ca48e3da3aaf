//! Regular expressions, ready to search, and what a search costs.
//!
//! Small ones are worked out to a table of states, in which each byte of a text is one look-up, whatever the text. The
//! others are searched by the engine state by state: what a byte costs there is bounded by how many places of the
//! expression can be reached at once, which are counted.
//!
//! Invariant: what an expression becomes, and what it costs, is a function of its source alone: no time is measured and
//! nothing is kept from one search that another one's cost depends on.

use super::{EXPRESSION_COMPILED_BYTES_MAX, EXPRESSION_TABLE_BYTES_MAX, SEARCHED_BYTES_MAX};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{Compiler, Config, NFA, WhichCaptures};
use regex_automata::{Input, meta};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Steps that a byte costs for each place of an expression: 32 ns for each was the most that was found.
const STEPS_PER_PLACE: usize = 16;
/// Places that a class counts for: one in which a letter is one byte, and one of letters of several bytes.
const BYTE_CLASS_PLACES: usize = 1;
const LETTER_CLASS_PLACES: usize = 4;
/// States of an automaton beyond which no table is tried: it would be in vain, and cost time at load.
const TABLE_STATES_MAX: usize = 256;
/// Memory in which the engine keeps states that it has met, bytes: several of the largest that there are.
const STATES_BYTES_MAX: usize = 256 * 1024;
/// Up to this size an expression weighs 1, beyond it [`LARGE_WEIGHT`].
const LIGHT_BYTES_MAX: usize = 8 * 1024;
const LARGE_WEIGHT: usize = 4;

/// Why an expression is none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExpressionInvalid {
    /// It cannot be read; the parser's words.
    #[error("{0}")]
    Syntax(String),
    /// It is beyond [`EXPRESSION_COMPILED_BYTES_MAX`].
    #[error("compiled regex exceeds size limit of {EXPRESSION_COMPILED_BYTES_MAX} bytes.")]
    TooLarge,
    /// The engine has no way to search it; its words.
    #[error("{0}")]
    Unsupported(String),
}

/// A regular expression that is ready to search.
#[derive(Debug, Clone)]
pub struct Expression {
    engine: Engine,
    steps_per_byte: usize,
    weight: usize,
}

#[derive(Debug, Clone)]
enum Engine {
    Table(Box<dense::DFA<Vec<u32>>>),
    States(Box<meta::Regex>),
}

impl Expression {
    pub(super) fn new(source: &str) -> Result<Expression, ExpressionInvalid> {
        let hir = regex_syntax::parse(source)
            .map_err(|error| ExpressionInvalid::Syntax(error.to_string()))?;
        let config = Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(EXPRESSION_COMPILED_BYTES_MAX));
        let compiled = Compiler::new().configure(config).build_from_hir(&hir);
        let automaton = compiled.map_err(|error| match error.size_limit() {
            Some(_) => ExpressionInvalid::TooLarge,
            None => ExpressionInvalid::Unsupported(error.to_string()),
        })?;
        let weight_of = |bytes: usize| {
            if bytes <= LIGHT_BYTES_MAX {
                1
            } else {
                LARGE_WEIGHT
            }
        };
        if let Some(table) = table(&automaton) {
            return Ok(Expression {
                weight: weight_of(table.memory_usage()),
                steps_per_byte: 1,
                engine: Engine::Table(Box::new(table)),
            });
        }
        let engine = meta::Regex::builder()
            .configure(states_config())
            .build_from_hir(&hir)
            .map_err(|error| ExpressionInvalid::Unsupported(error.to_string()))?;
        Ok(Expression {
            engine: Engine::States(Box::new(engine)),
            steps_per_byte: places(&hir).saturating_mul(STEPS_PER_PLACE),
            weight: weight_of(automaton.memory_usage()),
        })
    }

    /// Whether it is found in a text; `None`: that cannot be told, because the text is too long.
    pub fn is_match(&self, text: &str) -> Option<bool> {
        if text.len() > SEARCHED_BYTES_MAX {
            return None;
        }
        match &self.engine {
            // A table gives up only at bytes that it was told to, and none was; then the answer would be *maybe*.
            Engine::Table(table) => table
                .try_search_fwd(&Input::new(text).earliest(true))
                .map_or(None, |found| Some(found.is_some())),
            Engine::States(engine) => Some(engine.is_match(text)),
        }
    }

    /// What a search in the text takes of a decision's budget; `None`: the text is too long.
    pub fn steps(&self, text: &str) -> Option<usize> {
        let bytes = text.len() + 1;
        (text.len() <= SEARCHED_BYTES_MAX).then(|| bytes.saturating_mul(self.steps_per_byte))
    }

    /// What it counts towards [`super::EXPRESSION_WEIGHT_MAX`].
    pub const fn weight(&self) -> usize {
        self.weight
    }
}

/// The automaton worked out to a table, where that is small; one that asks for the borders of words has none.
fn table(automaton: &NFA) -> Option<dense::DFA<Vec<u32>>> {
    if automaton.states().len() > TABLE_STATES_MAX {
        return None;
    }
    let config = dense::Config::new()
        .start_kind(StartKind::Unanchored)
        .accelerate(false)
        .unicode_word_boundary(false)
        .dfa_size_limit(Some(EXPRESSION_TABLE_BYTES_MAX))
        .determinize_size_limit(Some(EXPRESSION_TABLE_BYTES_MAX));
    dense::Builder::new()
        .configure(config)
        .build_from_nfa(automaton)
        .ok()
}

/// Every choice is made here, so that another crate's choice of features changes nothing.
fn states_config() -> meta::Config {
    meta::Config::new()
        .which_captures(WhichCaptures::Implicit)
        .nfa_size_limit(None)
        .onepass(false)
        .dfa(false)
        .hybrid(true)
        .hybrid_cache_capacity(STATES_BYTES_MAX)
        .backtrack(true)
}

/// How many places of an expression a search may stand at, at once, at most.
fn places(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(class) if is_of_bytes(class) => BYTE_CLASS_PLACES,
        HirKind::Class(_) => LETTER_CLASS_PLACES,
        HirKind::Capture(capture) => places(&capture.sub),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            let times = usize::try_from(times).unwrap_or(usize::MAX);
            places(&repetition.sub)
                .saturating_add(1)
                .saturating_mul(times)
        }
        HirKind::Concat(parts) => parts.iter().map(places).fold(0, usize::saturating_add),
        HirKind::Alternation(parts) => parts
            .iter()
            .map(|part| places(part).saturating_add(1))
            .fold(0, usize::saturating_add),
    }
}

fn is_of_bytes(class: &Class) -> bool {
    match class {
        Class::Bytes(_) => true,
        Class::Unicode(class) => class.ranges().iter().all(|range| range.end().is_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Expressions of letters of one byte and of several, classes, anchors, and everything that combines them.
    fn source() -> impl Strategy<Value = String> {
        let leaves = [
            "a", "b", "ä", "[ab]", "[^a]", ".", "^", "$", "", r"\s", "(?m:^)", r"\b", "(?i)Ä",
            r"\w",
        ];
        let leaf = prop::sample::select(leaves.to_vec()).prop_map(str::to_owned);
        leaf.prop_recursive(4, 12, 2, |inner| {
            let two = (inner.clone(), inner.clone());
            prop_oneof![
                two.clone().prop_map(|(a, b)| format!("{a}{b}")),
                two.prop_map(|(a, b)| format!("(?:{a}|{b})")),
                (
                    inner,
                    prop::sample::select(vec!["*", "+", "?", "{2}", "{0,3}", "*?"])
                )
                    .prop_map(|(a, times)| format!("(?:{a}){times}")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn an_expression_finds_what_the_regex_crate_finds(
            source in source(),
            texts in prop::collection::vec("[abäÄ \n]{0,8}", 8),
        ) {
            let ours = Expression::new(&source).unwrap();
            let plain = regex::Regex::new(&source).unwrap();
            for text in texts {
                prop_assert_eq!(ours.is_match(&text), Some(plain.is_match(&text)), "{:?}", text);
            }
        }
    }
}
