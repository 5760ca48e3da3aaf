//! The grammar for editors, put to work: its own expressions tokenise a policy, and every word of the language is known.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "tests"
)]

use regex::{Captures, Regex};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A rule of the grammar as an editor runs it.
enum Rule {
    Match {
        regex: Regex,
        name: Option<String>,
        captures: BTreeMap<usize, String>,
    },
    /// From one expression to another, on one line.
    Span {
        begin: Regex,
        end: Regex,
        name: String,
        inner: Vec<Rule>,
    },
}

fn grammar() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/editors/faramesh.tmLanguage.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rules(grammar: &Value, patterns: &Value) -> Vec<Rule> {
    let mut all = Vec::new();
    for pattern in patterns.as_array().unwrap() {
        all.extend(rule(grammar, pattern));
    }
    all
}

fn rule(grammar: &Value, pattern: &Value) -> Vec<Rule> {
    let regex = |key: &str| {
        Regex::new(pattern[key].as_str().unwrap()).unwrap_or_else(|e| panic!("{pattern}: {e}"))
    };
    if let Some(name) = pattern["include"].as_str() {
        let found = &grammar["repository"][name.trim_start_matches('#')];
        assert!(found.is_object(), "no `{name}`");
        return rule(grammar, found);
    }
    let name = pattern["name"].as_str().map(str::to_owned);
    if pattern["match"].is_string() {
        let captures = pattern["captures"].as_object().into_iter().flatten();
        return vec![Rule::Match {
            regex: regex("match"),
            name,
            captures: captures
                .map(|(index, scope)| {
                    (
                        index.parse().unwrap(),
                        scope["name"].as_str().unwrap().to_owned(),
                    )
                })
                .collect(),
        }];
    }
    if pattern["begin"].is_string() {
        return vec![Rule::Span {
            begin: regex("begin"),
            end: regex("end"),
            name: name.unwrap(),
            inner: rules(grammar, &pattern["patterns"]),
        }];
    }
    rules(grammar, &pattern["patterns"])
}

/// The leftmost match, and of several the first rule's: as editors do it.
fn leftmost<'r, 't>(
    rules: &'r [Rule],
    line: &'t str,
    at: usize,
) -> Option<(&'r Rule, Captures<'t>)> {
    let mut best: Option<(usize, &Rule, Captures<'_>)> = None;
    for rule in rules {
        let (Rule::Match { regex, .. } | Rule::Span { begin: regex, .. }) = rule;
        if let Some(found) = regex.captures_at(line, at) {
            let start = found.get(0).unwrap().start();
            if best.as_ref().is_none_or(|(first, ..)| start < *first) {
                best = Some((start, rule, found));
            }
        }
    }
    best.map(|(_, rule, found)| (rule, found))
}

/// `(text, scope)` of every token of a line; what no rule takes has no scope.
fn tokens(rules: &[Rule], line: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let Some((rule, found)) = leftmost(rules, line, at) else {
            break;
        };
        let whole = found.get(0).unwrap();
        at = whole.end().max(at + 1);
        match rule {
            Rule::Match { name, captures, .. } => {
                out.extend(
                    name.iter()
                        .map(|scope| (whole.as_str().to_owned(), scope.clone())),
                );
                for (index, scope) in captures {
                    out.extend(
                        found
                            .get(*index)
                            .map(|part| (part.as_str().trim().to_owned(), scope.clone())),
                    );
                }
            }
            Rule::Span {
                end, name, inner, ..
            } => {
                let start = whole.start();
                loop {
                    let close = end.find_at(line, at).unwrap();
                    match leftmost(inner, line, at) {
                        Some((Rule::Match { name, .. }, found))
                            if found.get(0).unwrap().start() < close.start() =>
                        {
                            let part = found.get(0).unwrap();
                            out.push((part.as_str().to_owned(), name.clone().unwrap()));
                            at = part.end();
                        }
                        _ => {
                            at = close.end();
                            break;
                        }
                    }
                }
                out.push((line[start..at].to_owned(), name.clone()));
            }
        }
    }
    out
}

#[test]
fn the_grammar_tells_the_parts_of_a_policy_apart() {
    let grammar = grammar();
    let rules = rules(&grammar, &grammar["patterns"]);
    let sample = [
        (
            "# a \"comment\" permit",
            "# a \"comment\" permit",
            "comment.line",
        ),
        ("agent \"support-bot\" {", "agent", "storage.type.block"),
        (
            "agent \"support-bot\" {",
            "\"support-bot\"",
            "entity.name.section",
        ),
        ("default deny", "deny", "keyword.control.effect"),
        (
            "default = \"deny\"",
            "default",
            "support.type.property-name",
        ),
        (
            "deny! shell/* reason \"a \\\"b\\\" \\s\"",
            "!",
            "keyword.control.effect.hard",
        ),
        (
            "deny! shell/* reason \"a \\\"b\\\" \\s\"",
            "shell/*",
            "entity.name.function.tool",
        ),
        (
            "deny! shell/* reason \"a \\\"b\\\" \\s\"",
            "\\\"",
            "constant.character.escape.faramesh",
        ),
        (
            "deny! shell/* reason \"a \\\"b\\\" \\s\"",
            "\\s",
            "constant.character.escape.regexp",
        ),
        (
            "deny! shell/* reason \"a # b\"",
            "\"a # b\"",
            "string.quoted.double",
        ),
        ("permit *", "*", "entity.name.function.tool"),
        (
            "permit pay if amount <= $500 and x in [1, 2]",
            "if",
            "keyword.control.clause",
        ),
        (
            "permit pay if amount <= $500 and x in [1, 2]",
            "amount",
            "variable.other",
        ),
        (
            "permit pay if amount <= $500 and x in [1, 2]",
            "<=",
            "keyword.operator.comparison",
        ),
        (
            "permit pay if amount <= $500 and x in [1, 2]",
            "$500",
            "constant.numeric.money",
        ),
        (
            "permit pay if amount <= $500 and x in [1, 2]",
            "and",
            "keyword.operator.word",
        ),
        (
            "permit pay when not has args.to.domain",
            ".to.domain",
            "variable.other.member",
        ),
        (
            "permit pay if session.sum(pay.amount, window=1h) < 5",
            "session.sum",
            "support.function",
        ),
        (
            "permit pay if session.sum(pay.amount, window=1h) < 5",
            "h",
            "keyword.other.unit",
        ),
        (
            "rate_limit \"stripe/*\": 5 per minute",
            "per",
            "keyword.other.item",
        ),
        (
            "rate_limit \"stripe/*\": 5 per minute",
            "minute",
            "constant.language.period",
        ),
        (
            "redact crm/* args: [\"email\"]",
            "crm/*",
            "entity.name.function.tool",
        ),
        (
            "budget daily { max $500 on_exceed defer }",
            "daily",
            "entity.name.section",
        ),
        (
            "budget daily { max $500 on_exceed defer }",
            "defer",
            "keyword.control.effect",
        ),
        (
            "egress { allow = [\"*.example.com\"] }",
            "allow",
            "support.type.property-name",
        ),
        ("arg amount: money required", "money", "storage.type.kind"),
        ("dsn = env(\"PG_DSN\")", "env", "support.function"),
        (
            "import \"frameworks/x@1.2.3\" as x",
            "import",
            "keyword.control.import",
        ),
        ("max_data_volume 10mb", "mb", "keyword.other.unit"),
        (
            "host: api.openai.com port: 443 method: POST",
            "POST",
            "constant.language.method",
        ),
        (
            "read_exclude = [\"a\"]",
            "read_exclude",
            "support.type.property-name",
        ),
        (
            "require enforcement landlock",
            "require",
            "keyword.other.item",
        ),
    ];
    for (line, text, scope) in sample {
        let found = tokens(&rules, line);
        let fits = |(part, name): &(String, String)| part == text && name.starts_with(scope);
        assert!(
            found.iter().any(fits),
            "`{text}` is no {scope} in `{line}`: {found:?}"
        );
    }
}

/// Whether some rule knows the word where it may stand: as more than any name.
fn is_known(rules: &[Rule], word: &str) -> bool {
    let places = [
        format!("  {word} x"),
        format!("  {word} x {{"),
        format!("permit a/b {word} x"),
        format!("permit a/b if {word}(x) > 1"),
        format!("permit a/b if {word}.x == 1"),
        format!("permit a/b if {word} == 1"),
        format!("permit a/b if x {word} y"),
        format!("arg x: text {word}"),
    ];
    places.iter().any(|line| {
        tokens(rules, line).iter().any(|(part, scope)| {
            part == word.trim_end_matches('!')
                && [
                    "keyword.",
                    "storage.",
                    "support.",
                    "constant.",
                    "variable.language",
                ]
                .iter()
                .any(|start| scope.starts_with(start))
        })
    })
}

#[test]
fn every_word_of_the_language_is_known_to_editors_and_no_other_word_is() {
    let grammar = grammar();
    let rules = rules(&grammar, &grammar["patterns"]);
    let words = faramesh_policy_compiler::words();
    assert!(words.len() > 150, "{}", words.len());
    let unknown: Vec<&&str> = words
        .iter()
        .filter(|word| !is_known(&rules, word))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for other in ["wibble", "permitted", "session_of", "amount"] {
        assert!(!is_known(&rules, other), "{other}");
    }
}

#[test]
fn a_string_ends_where_its_line_ends_and_colours_nothing_behind_it() {
    let grammar = grammar();
    let rules = rules(&grammar, &grammar["patterns"]);
    let found = tokens(&rules, "deny x reason \"open");
    assert_eq!(found.last().unwrap().0, "\"open");
    let found = tokens(&rules, "permit y");
    assert!(found.iter().any(|(part, _)| part == "permit"));
}

#[test]
fn every_policy_of_the_corpus_is_tokenised_to_its_last_word() {
    let grammar = grammar();
    let rules = rules(&grammar, &grammar["patterns"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/accept");
    let mut lines = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "fms") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            lines += 1;
            let covered: usize = tokens(&rules, line)
                .iter()
                .map(|(part, _)| part.len())
                .sum();
            let written = line.chars().filter(|c| c.is_ascii_alphabetic()).count();
            assert!(covered >= written.min(1), "{}: `{line}`", path.display());
        }
    }
    assert!(lines > 100, "{lines}");
}
