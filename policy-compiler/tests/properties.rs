//! What holds for every input: no panic, findings that lie inside the text, and nothing written that is dropped.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its corpus has failed"
)]

use faramesh_core::policy::artifact::encode;
use faramesh_policy_compiler::{
    Artifact, Options, SourceFile, Style, compile, compile_bytes, format, render, render_json,
    render_policy, render_yaml, report,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::path::Path;

fn corpus(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(kind);
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "fms"))
        .map(|path| {
            (
                path.display().to_string(),
                std::fs::read(&path).expect("the file is read"),
            )
        })
        .collect();
    files.sort();
    files
}

/// Compiles, and checks what must hold of any outcome.
fn compiled(bytes: &[u8]) -> Option<Artifact> {
    compiled_as("governance.fms", bytes)
}

fn compiled_as(name: &str, bytes: &[u8]) -> Option<Artifact> {
    let (source, outcome) = compile_bytes(name, bytes, &Options::default());
    assert_eq!(
        outcome.artifact.is_none(),
        outcome.has_errors(),
        "an error and only an error refuses"
    );
    for diagnostic in &outcome.diagnostics {
        for label in &diagnostic.labels {
            let (start, end) = (label.span.start, label.span.end);
            assert!(
                source.text.get(start..end).is_some(),
                "{diagnostic:?} lies outside the text"
            );
        }
        assert!(
            !diagnostic.message.contains(['\u{1b}', '\u{202e}', '\n']),
            "{diagnostic:?}"
        );
    }
    let shown = render(&source, &outcome.diagnostics, Style::Plain);
    let visible = |character: char| {
        character == '\n'
            || !(character.is_control() || character == '\u{202e}' || character == '\u{200b}')
    };
    assert!(shown.chars().all(visible), "{shown:?}");
    assert_eq!(
        report(&source, &outcome.diagnostics).len(),
        outcome.diagnostics.len()
    );
    outcome.artifact
}

/// The policy that a file of this name gives, or a panic that shows why it gives none.
fn policy_of(name: &str, text: &str, what: &str) -> Artifact {
    let source = SourceFile::new(name, text);
    let outcome = compile(&source, &Options::default());
    let shown = render(&source, &outcome.diagnostics, Style::Plain);
    outcome
        .artifact
        .unwrap_or_else(|| panic!("{what} does not compile as {name}:\n{text}\n{shown}"))
}

fn is_the_same_in_every_form(artifact: &Artifact, what: &str) {
    for (name, text) in [
        ("rendered.fms", render_policy(artifact)),
        ("rendered.yaml", render_yaml(artifact)),
        ("rendered.json", render_json(artifact)),
    ] {
        assert_eq!(&policy_of(name, &text, what), artifact, "{what}:\n{text}");
    }
}

/// The comments of a file, in their order.
fn comments(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut rest = text.char_indices();
    while let Some((at, character)) = rest.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                rest.next();
            }
            (Some(open), _) if character == open || character == '\n' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '#') => {
                let line = text[at..].lines().next().unwrap_or_default();
                found.push(line.trim_end().to_string());
                for _ in line.chars().skip(1) {
                    rest.next();
                }
            }
            _ => {}
        }
    }
    found
}

/// Formats, and checks what must hold of a formatted file.
fn formatted(text: &str, what: &str) -> String {
    let source = SourceFile::new("governance.fms", text);
    let once = format(&source).unwrap_or_else(|found| {
        panic!(
            "{what} is not formatted:\n{text}\n{}",
            render(&source, &found, Style::Plain)
        )
    });
    let again = format(&SourceFile::new("governance.fms", once.clone()))
        .unwrap_or_else(|_| panic!("{what} is not formatted again:\n{once}"));
    assert_eq!(
        once, again,
        "{what}: formatting it again changes it\n{text}"
    );
    assert_eq!(comments(text), comments(&once), "{what}:\n{text}\n{once}");
    once
}

fn is_the_same_policy_when_it_is_formatted(text: &str, artifact: &Artifact, what: &str) {
    let once = formatted(text, what);
    assert_eq!(
        &policy_of("governance.fms", &once, what),
        artifact,
        "{what}:\n{text}\n{once}"
    );
}

#[test]
fn formatting_keeps_the_policy_and_the_comments_and_is_done_after_once() {
    for (name, bytes) in corpus("accept") {
        let artifact = compiled(&bytes).unwrap_or_else(|| panic!("{name} compiles"));
        let text = String::from_utf8(bytes).expect("text");
        is_the_same_policy_when_it_is_formatted(&text, &artifact, &name);
    }
}

#[test]
fn comments_survive_wherever_they_stand() {
    for (name, bytes) in corpus("accept") {
        let text = String::from_utf8(bytes).expect("text");
        let artifact = compiled(text.as_bytes()).unwrap_or_else(|| panic!("{name} compiles"));
        for word in words(&text) {
            for place in [word.start, word.end] {
                // Inside a pattern or a number a comment would cut it apart.
                let mut more = text.clone();
                more.insert_str(place, " # here\n");
                if compiled(more.as_bytes()).as_ref() == Some(&artifact) {
                    is_the_same_policy_when_it_is_formatted(&more, &artifact, &name);
                }
            }
        }
    }
}

#[test]
fn a_file_that_does_not_parse_and_files_in_other_forms_are_not_formatted() {
    for (name, text, number) in [
        ("governance.fms", "permti x\n", "E0103"),
        ("governance.fms.yaml", "agent: {id: a}\n", "E0614"),
        ("governance.fms.json", "{}\n", "E0614"),
        ("governance.fms", "agent:\n  - id: a\n", "E0613"),
    ] {
        let found = format(&SourceFile::new(name, text)).expect_err(text);
        assert_eq!(found[0].number.as_str(), number, "{text}");
    }
}

#[test]
fn every_block_says_the_same_in_yaml_and_in_the_policy_language() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/accept");
        std::fs::read_to_string(path.join(name)).expect("the file is read")
    };
    let yaml = read("yaml_blocks.yaml");
    let fms = read("yaml_blocks_same_as.fms");
    assert_eq!(
        policy_of("governance.fms.yaml", &yaml, "the YAML"),
        policy_of("governance.fms", &fms, "the policy language")
    );
}

#[test]
fn a_policy_is_the_same_in_every_form() {
    for (name, bytes) in corpus("accept") {
        let artifact = compiled(&bytes).unwrap_or_else(|| panic!("{name} compiles"));
        is_the_same_in_every_form(&artifact, &name);
    }
}

fn renders_to_itself(artifact: Artifact, what: &str) {
    let text = render_policy(&artifact);
    let source = SourceFile::new("rendered", text.clone());
    let outcome = compile(&source, &Options::default());
    let shown = render(&source, &outcome.diagnostics, Style::Plain);
    let Some(again) = outcome.artifact else {
        panic!("{what}: its rendering does not compile:\n{text}\n{shown}")
    };
    assert_eq!(render_policy(&again), text, "{what}");
    assert_eq!(again, artifact, "{what}: {text}");
}

#[test]
fn a_policy_compiles_from_its_own_rendering_to_the_same_policy() {
    for (name, bytes) in corpus("accept") {
        let artifact = compiled(&bytes).unwrap_or_else(|| panic!("{name} compiles"));
        encode(&artifact).expect("the core takes it");
        renders_to_itself(artifact, &name);
    }
}

/// Words, strings and numbers of a file, outside comments.
fn words(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, character)) = rest.next() {
        match character {
            '#' => while rest.next_if(|(_, next)| *next != '\n').is_some() {},
            '"' | '\'' => {
                let mut end = start;
                let mut escaped = false;
                for (at, next) in rest.by_ref() {
                    end = at;
                    if next == character && !escaped {
                        break;
                    }
                    escaped = next == '\\' && !escaped;
                }
                found.push(start..end + 1);
            }
            _ if character.is_alphanumeric() || character == '$' => {
                let mut end = start + character.len_utf8();
                while let Some((at, next)) =
                    rest.next_if(|(_, next)| next.is_alphanumeric() || "_-$".contains(*next))
                {
                    end = at + next.len_utf8();
                }
                found.push(start..end);
            }
            _ => {}
        }
    }
    found
}

#[test]
fn no_word_can_be_taken_out_of_a_policy_without_an_error_or_another_policy() {
    for (name, bytes) in corpus("accept") {
        let text = String::from_utf8(bytes).expect("text");
        let whole = compiled(text.as_bytes()).expect("it compiles");
        for word in words(&text) {
            let mut less = text.clone();
            less.replace_range(word.clone(), "");
            let (source, outcome) =
                compile_bytes("governance.fms", less.as_bytes(), &Options::default());
            if let Some(artifact) = outcome.artifact {
                let shown = render(&source, &outcome.diagnostics, Style::Plain);
                assert_ne!(
                    artifact,
                    whole,
                    "{name}: `{}` at {word:?} was dropped\n{shown}",
                    &text[word.clone()]
                );
            }
        }
    }
}

#[test]
fn a_file_beyond_the_limit_is_refused_by_its_size_and_not_read() {
    let text = "permit a\n".repeat(1_000_000);
    let (_, outcome) = compile_bytes("governance.fms", text.as_bytes(), &Options::default());
    assert!(outcome.artifact.is_none());
    assert_eq!(outcome.diagnostics[0].number.as_str(), "E0001");
}

#[test]
fn a_hundred_thousand_rules_compile_and_one_more_is_refused() {
    let mut text = String::from("agent \"a\" {\n");
    for index in 0..100_000 {
        text.push_str(&format!("permit t/{index} if a == {index}\n"));
    }
    let (_, outcome) = compile_bytes(
        "governance.fms",
        format!("{text}}}\n").as_bytes(),
        &Options::default(),
    );
    assert_eq!(
        outcome.artifact.expect("it compiles").agents[0].rules.len(),
        100_000
    );
    let (_, outcome) = compile_bytes(
        "governance.fms",
        format!("{text}deny x\n}}\n").as_bytes(),
        &Options::default(),
    );
    assert!(outcome.artifact.is_none());
    assert_eq!(outcome.diagnostics[0].number.as_str(), "E0501");
}

#[test]
fn a_condition_with_more_tests_than_the_limit_is_refused() {
    let tests: Vec<String> = (0..1_025).map(|index| format!("a == {index}")).collect();
    let most = format!("permit x if {}\n", tests[1..].join(" or "));
    let more = format!("permit x if {}\n", tests.join(" or "));
    assert!(compiled(most.as_bytes()).is_some());
    let (_, outcome) = compile_bytes("governance.fms", more.as_bytes(), &Options::default());
    assert_eq!(outcome.diagnostics[0].number.as_str(), "E0502");
}

#[test]
fn no_more_than_a_hundred_findings_are_shown_and_errors_before_warnings() {
    let text = format!(
        "{}{}",
        "permit x if tol == 1\n".repeat(200),
        "permti y\n".repeat(50)
    );
    let (_, outcome) = compile_bytes("governance.fms", text.as_bytes(), &Options::default());
    assert_eq!(outcome.diagnostics.len(), 101);
    let errors = outcome
        .diagnostics
        .iter()
        .filter(|finding| finding.number.as_str() == "E0103")
        .count();
    assert_eq!(errors, 50);
}

#[test]
fn places_that_are_far_apart_are_named_by_their_line_and_the_file_between_is_not_drawn() {
    let text = format!(
        "agent a {{ }}\n{}agent a {{ }}\n",
        "# filler\n".repeat(500_000)
    );
    let (source, outcome) = compile_bytes("governance.fms", text.as_bytes(), &Options::default());
    let shown = render(&source, &outcome.diagnostics, Style::Plain);
    assert!(
        shown.contains("governance.fms:500002:7") && shown.contains("first here: line 1"),
        "{shown}"
    );
}

#[test]
fn a_file_of_nothing_but_faults_is_refused_and_counted() {
    let text = "permti a\n".repeat(90_000);
    let (_, outcome) = compile_bytes("governance.fms", text.as_bytes(), &Options::default());
    let last = outcome.diagnostics.last().expect("findings");
    assert_eq!(
        (outcome.diagnostics.len(), last.message.as_str()),
        (101, "89900 more findings are not shown")
    );
}

/// So many cases from a seed that is printed, and shown with a failure: `FARAMESH_SEED=…` replays it.
fn cases(cases: u32) -> ProptestConfig {
    let seed: u64 = std::env::var("FARAMESH_SEED").map_or_else(
        |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), cases),
        |seed| seed.parse().expect("FARAMESH_SEED is a number"),
    );
    println!("FARAMESH_SEED={seed}");
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

/// Pieces that policies are made of, well and badly.
fn soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "permit",
        "deny!",
        "deny",
        "defer",
        "allow",
        "agent",
        "runtime",
        "rules",
        "default",
        "if",
        "when",
        "and",
        "or",
        "not",
        "has",
        "in",
        "matches",
        "contains",
        "reason",
        "notify",
        "budget",
        "phase",
        "import",
        "stripe/*",
        "*",
        "/",
        "a",
        "args.x",
        "tool",
        "amount",
        "500",
        "$5.5",
        "15m",
        "10kb",
        "\"x\"",
        "'y",
        "\"(\"",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        "==",
        "!=",
        "<=",
        ">",
        "=",
        ":",
        ",",
        ".",
        "!",
        "&&",
        "||",
        "#",
        "\n",
        "\\",
        "mode",
        "session.x",
        "f(",
        "-",
        "+",
        "env(",
        "method",
        "GET",
        "\u{202e}",
        "é",
        "&",
        "host",
    ]);
    let joint = prop::sample::select(vec![" ", " ", " ", "", "\n"]);
    prop::collection::vec((pieces, joint), 0..60).prop_map(|parts| {
        parts
            .into_iter()
            .map(|(piece, joint)| format!("{piece}{joint}"))
            .collect()
    })
}

/// Pieces that documents are made of, well and badly.
fn documents() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "agent:",
        "agent: ",
        "- id: a",
        "id: b",
        "rules:",
        "rules: [",
        "- effect: permit",
        "effect: deny!",
        "tool: x/*",
        "tool: \"*\"",
        "condition: a == 1",
        "condition: 'x contains \"y'",
        "reason: |",
        "notify: [a, b]",
        "{effect: permit, tool: x}",
        "default: deny",
        "runtime: {mode: shadow}",
        "&a",
        "*a",
        "<<: *a",
        "!!str",
        "!x",
        "---",
        "...",
        "%YAML 1.2",
        "? a",
        ": b",
        "yes",
        "0x1",
        "\t",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "#",
        "|",
        ">-",
        "\u{feff}",
        "é",
        "\r\n",
        "\"\\u202e\"",
        "~",
        "null",
        "if: \"a == 1 } permit *\"",
        "tools: [{id: x, args: {a: money}, closed: true}]",
        "examples: [{effect: deny, tool: x, args: {a: 1}}]",
    ]);
    let joint = prop::sample::select(vec![" ", "\n", "\n  ", "\n    ", "\n      ", ""]);
    prop::collection::vec((pieces, joint), 0..20).prop_map(|parts| {
        parts
            .into_iter()
            .map(|(piece, joint)| format!("{piece}{joint}"))
            .collect()
    })
}

/// Conditions that compile, of bounded depth.
fn condition() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "args.b.c", "amount", "x-y", "tags"]);
    let number = prop::sample::select(vec!["0", "$10.50", "15m", "10mb", "-3", "1e3", "0.1"]);
    let leaf = prop_oneof![
        (
            name.clone(),
            prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]),
            number.clone()
        )
            .prop_map(|(name, sign, number)| format!("{name} {sign} {number}")),
        (number, name.clone()).prop_map(|(number, name)| format!("{number} >= {name}")),
        (name.clone(), "[ -~äß\\t\\n]{0,12}").prop_map(|(name, text)| {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
                .replace('\t', "\\t");
            format!("{name} == \"{text}\"")
        }),
        name.clone().prop_map(|name| format!("has {name}")),
        name.clone()
            .prop_map(|name| format!("{name} in [\"x\", 'y']")),
        name.clone().prop_map(|name| format!("contains({name}, 5)")),
        name.clone()
            .prop_map(|name| format!("{name} matches \"^a|b$\"")),
        Just(String::from("tool != \"t\"")),
        name.prop_map(String::from),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} || ({b})")),
            inner.clone().prop_map(|a| format!("not ({a})")),
            inner.prop_map(|a| format!("({a})")),
        ]
    })
}

fn policy() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec![
        "permit", "allow", "defer", "deny", "block", "deny!", "reject",
    ]);
    let tool = prop::sample::select(vec![
        "*",
        "a/*",
        "a/b",
        "\"a/b_*\"",
        "x:y.z",
        "deny/x",
        "\"if\"",
    ]);
    let clause = prop_oneof![
        Just(String::new()),
        condition()
            .prop_map(|condition| format!(" if {condition} reason 'it\\'s \"so\"' notify ops")),
        condition().prop_map(|condition| format!(" reason: \"r\"\n    when {condition}")),
    ];
    prop::collection::vec((effect, tool, clause), 0..8).prop_map(|rules| {
        let rules: String = rules
            .into_iter()
            .map(|(effect, tool, clause)| format!("  {effect} {tool}{clause}\n"))
            .collect();
        format!("agent g {{\n  default defer\n{rules}}}\n")
    })
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn any_text_is_compiled_or_refused_without_a_panic(text in any::<String>()) {
        let _ = compiled(text.as_bytes());
    }

    #[test]
    fn any_text_is_compiled_or_refused_as_yaml_and_json_without_a_panic(text in prop_oneof![any::<String>(), documents()]) {
        for name in ["governance.fms.yaml", "governance.fms.json"] {
            if let Some(artifact) = compiled_as(name, text.as_bytes()) {
                is_the_same_in_every_form(&artifact, &text);
            }
        }
    }

    #[test]
    fn any_bytes_are_compiled_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = compiled(&bytes);
    }

    #[test]
    fn any_row_of_words_is_compiled_or_refused_and_what_compiles_renders_to_itself(text in soup()) {
        if let Some(artifact) = compiled(text.as_bytes()) {
            is_the_same_policy_when_it_is_formatted(&text, &artifact, "a row of words");
            is_the_same_in_every_form(&artifact, &text);
            renders_to_itself(artifact, &text);
        }
    }

    #[test]
    fn a_policy_with_a_piece_cut_out_doubled_or_overwritten_is_compiled_or_refused(
        (file, at, length, other) in (0_usize..1_000, any::<prop::sample::Index>(), 0_usize..40, soup()),
        what in 0_u8..3,
    ) {
        let mut files = corpus("accept");
        files.extend(corpus("reject").into_iter().filter(|(_, bytes)| bytes.len() < 4_000));
        let index = file % files.len();
        let mut bytes = files.swap_remove(index).1;
        let at = at.index(bytes.len() + 1);
        let end = (at + length).min(bytes.len());
        let piece = match what {
            0 => Vec::new(),
            1 => bytes.get(at..end).unwrap_or_default().repeat(2),
            _ => other.into_bytes(),
        };
        bytes.splice(at..end, piece);
        if let Some(artifact) = compiled(&bytes) {
            renders_to_itself(artifact, "a mutation");
        }
    }

    #[test]
    fn a_generated_policy_compiles_and_renders_to_itself(text in policy()) {
        let source = SourceFile::new("generated", text.clone());
        let outcome = compile(&source, &Options::default());
        let shown = render(&source, &outcome.diagnostics, Style::Plain);
        let Some(artifact) = outcome.artifact else { panic!("{text}\n{shown}") };
        is_the_same_policy_when_it_is_formatted(&text, &artifact, "a generated policy");
        is_the_same_in_every_form(&artifact, &text);
        renders_to_itself(artifact, &text);
    }
}
