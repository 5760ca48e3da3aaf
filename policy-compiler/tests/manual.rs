//! Every block of the language's manual is compiled: ```` ```fms ```` without a finding, `in agent` inside an agent,
//! `warns W…` and `rejected E…` with exactly that finding; `imports` with the manual's packs (`pack`), which the key that it
//! trusts has signed.
#![expect(
    clippy::expect_used,
    reason = "a key and a note that cannot be made fail the test"
)]

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{KeyName, PublicKey};
use faramesh_core::policy::artifact::digest;
use faramesh_policy_compiler::{
    Options, Pack, PackStatement, Registry, SourceFile, Style, Unreachable, compile_with, render,
};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the manual's packs come from, and whose key signs them.
const PUBLISHER: &str = "registry.example/policies";

/// The manual's packs, by name and version.
struct Packs(BTreeMap<String, Pack>);

impl Registry for Packs {
    fn fetch(&self, name: &str, version: &str) -> Result<Pack, Unreachable> {
        let pack = self.0.get(&format!("{name}@{version}")).cloned();
        pack.ok_or(Unreachable {
            why: String::from("the manual shows no such pack"),
        })
    }
}

impl Packs {
    fn of(blocks: &[(String, String)]) -> Packs {
        let packs = blocks.iter().filter(|(info, _)| info == "fms pack");
        Packs(packs.map(|(_, text)| signed(text)).collect())
    }
}

/// A pack under its name and version, with a note by the key that the manual trusts: an example's, whose secret is zeros.
fn signed(text: &str) -> (String, Pack) {
    let quoted = |word: &str| {
        let rest = text.split_once(word).map_or("", |(_, rest)| rest);
        rest.split('"').nth(1).unwrap_or_default().to_string()
    };
    let (name, version) = (
        format!("{PUBLISHER}/{}", quoted("pack ")),
        quoted("version"),
    );
    let key = SigningKey::from_bytes(&[0; 32]);
    let publisher = KeyName::new(PUBLISHER).expect("a key's name");
    let public = PublicKey::new(publisher, key.verifying_key().as_bytes()).expect("a key");
    let statement = PackStatement {
        name: name.clone(),
        version: version.clone(),
        digest: digest(text.as_bytes()),
    };
    let note = public
        .seal(&statement, |bytes| key.sign(bytes).to_bytes())
        .expect("a note");
    let pack = Pack {
        text: text.to_string(),
        note: note.into_bytes(),
    };
    (format!("{name}@{version}"), pack)
}

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
    let packs = Packs::of(&blocks);
    assert_eq!(packs.0.len(), 1, "the manual shows one pack");
    assert!(blocks.iter().any(|(info, _)| info == "fms imports"));
    // A fence without a word shows a file of another kind; a pack is compiled where it is imported.
    for (info, text) in blocks
        .into_iter()
        .filter(|(info, _)| !info.is_empty() && info != "fms pack")
    {
        let expected: Vec<&str> = match info.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["fms"] | ["fms", "imports"] | ["fms", "in", "agent"] | ["yaml" | "json"] => Vec::new(),
            ["fms" | "yaml" | "json", "warns" | "rejected", number] => vec![number],
            _ => panic!("`{info}` is no kind of block"),
        };
        let text = if info.ends_with("agent") {
            format!("agent \"a\" {{\n{text}}}\n")
        } else {
            text.clone()
        };
        let source = SourceFile::new(manual_name(&info), text);
        let outcome = compile_with(&source, &Options::default(), &packs);
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
