//! Every block of the language's manual is compiled: ```` ```fms ```` without a finding, `in agent` inside an agent,
//! `warns W…` and `rejected E…` with exactly that finding.

use faramesh_policy_compiler::{Options, SourceFile, Style, compile, render};
use std::path::Path;

/// The info string and the text of each fenced block.
fn blocks(manual: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in manual.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info.to_string(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of the manual is not closed");
    blocks
}

/// The form of a block is its first word.
fn manual_name(info: &str) -> String {
    let form = info.split_whitespace().next().unwrap_or_default();
    format!("manual.{form}")
}

#[test]
fn every_block_of_the_manual_compiles_as_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let manual = std::fs::read_to_string(path).expect("the manual is read");
    let blocks = blocks(&manual);
    assert!(blocks.len() >= 10, "the manual has {} blocks", blocks.len());
    // A fence without a word shows a file of another kind.
    for (info, text) in blocks.into_iter().filter(|(info, _)| !info.is_empty()) {
        let expected: Vec<&str> = match info.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["fms"] | ["fms", "in", "agent"] | ["yaml" | "json"] => Vec::new(),
            ["fms" | "yaml" | "json", "warns" | "rejected", number] => vec![number],
            _ => panic!("`{info}` is no kind of block"),
        };
        let text = if info.ends_with("agent") {
            format!("agent \"a\" {{\n{text}}}\n")
        } else {
            text.clone()
        };
        let source = SourceFile::new(manual_name(&info), text);
        let outcome = compile(&source, &Options::default());
        let shown = render(&source, &outcome.diagnostics, Style::Plain);
        let expected_numbers: Vec<String> =
            expected.iter().map(|number| number.to_string()).collect();
        let found: Vec<String> = outcome
            .diagnostics
            .iter()
            .map(|finding| finding.number.as_str().to_string())
            .collect();
        assert_eq!(found, expected_numbers, "{info}:\n{}\n{shown}", source.text);
        assert_eq!(
            outcome.artifact.is_none(),
            info.contains("rejected"),
            "{shown}"
        );
    }
}
