//! Packs: taken in when a trusted key signed exactly this name, version and text, and in no other case.
#![expect(clippy::expect_used, reason = "a world that is not built has failed")]

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{KeyName, PublicKey};
use faramesh_core::policy::artifact::{Artifact, digest};
use faramesh_policy_compiler::{
    Diagnostic, Options, Pack, PackStatement, Registry, SourceFile, Style, Unreachable, compile,
    compile_with, render,
};
use std::collections::BTreeMap;

const NAME: &str = "registry.example/policies/refunds";
const PACK: &str = r#"pack "refunds" {
  version = "1.2.0"
  parameter max: money = $50
  parameter teams: list
  permit stripe/refund if amount <= max and team in teams
  rules { deny! stripe/payout reason "never max" }
  redact stripe/* args: ["card"]
  egress { allow = ["api.stripe.com"] }
}
"#;

/// A folder of packs, in memory.
#[derive(Default)]
struct Folder(BTreeMap<String, Pack>);

impl Registry for Folder {
    fn fetch(&self, name: &str, version: &str) -> Result<Pack, Unreachable> {
        let pack = self.0.get(&format!("{name}@{version}")).cloned();
        pack.ok_or(Unreachable {
            why: String::from("no such folder"),
        })
    }
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key_name: &str, seed: u8) -> PublicKey {
    let name = KeyName::new(key_name).expect("a key's name");
    PublicKey::new(name, signer(seed).verifying_key().as_bytes()).expect("a key")
}

/// `trust` of keys by name and seed.
fn trust(keys: &[(&str, u8)]) -> String {
    let keys: String = keys
        .iter()
        .map(|(name, seed)| {
            let vkey = public(name, *seed).vkey();
            let base64 = vkey.rsplit('+').next().unwrap_or_default();
            format!("  key \"{name}\" ed25519:{}\n", without_algorithm(base64))
        })
        .collect();
    format!("trust {{\n{keys}}}\n")
}

/// A key's line has one byte before the 32.
fn without_algorithm(base64: &str) -> String {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let bytes = engine.decode(base64).expect("base64");
    engine.encode(bytes.get(1..).unwrap_or_default())
}

fn signed(text: &str, name: &str, version: &str, key_name: &str, seed: u8) -> Pack {
    let statement = PackStatement {
        name: name.to_string(),
        version: version.to_string(),
        digest: digest(text.as_bytes()),
    };
    let note = public(key_name, seed)
        .seal(&statement, |bytes| signer(seed).sign(bytes).to_bytes())
        .expect("a note");
    Pack {
        text: text.to_string(),
        note: note.into_bytes(),
    }
}

/// The registry with the pack, signed by the key of its host and path.
fn folder() -> Folder {
    let pack = signed(PACK, NAME, "1.2.0", "registry.example/policies", 1);
    Folder(BTreeMap::from([(format!("{NAME}@1.2.0"), pack)]))
}

fn policy(body: &str) -> String {
    format!(
        "{}import \"{NAME}@1.2.0\" as refunds\nagent \"bot\" {{\n{body}\n}}\n",
        trust(&[("registry.example/policies", 1)])
    )
}

fn compiled(text: &str, registry: &dyn Registry) -> (Option<Artifact>, Vec<Diagnostic>, String) {
    let source = SourceFile::new("governance.fms", text);
    let outcome = compile_with(&source, &Options::default(), registry);
    let shown = render(&source, &outcome.diagnostics, Style::Plain);
    (outcome.artifact, outcome.diagnostics, shown)
}

fn numbers(text: &str, registry: &dyn Registry) -> Vec<&'static str> {
    let (artifact, found, shown) = compiled(text, registry);
    assert!(artifact.is_none(), "{shown}");
    found.iter().map(|found| found.number.as_str()).collect()
}

#[test]
fn a_pack_is_the_policy_that_would_stand_in_its_place() {
    let used = policy("  permit a\n  use refunds { max = $100 teams = [\"x\"] }\n  deny z");
    let (artifact, _, shown) = compiled(&used, &folder());
    let artifact = artifact.unwrap_or_else(|| panic!("{shown}"));
    let by_hand = format!(
        "{}agent \"bot\" {{\n  permit a\n  permit stripe/refund if amount <= $100 and team in [\"x\"]\n  deny! stripe/payout reason \"never max\"\n  redact stripe/* args: [\"card\"]\n  egress {{ allow = [\"api.stripe.com\"] }}\n  deny z\n}}\n",
        trust(&[("registry.example/policies", 1)])
    );
    let source = SourceFile::new("governance.fms", by_hand);
    let by_hand = compile(&source, &Options::default()).artifact;
    assert_eq!(Some(artifact), by_hand);
}

#[test]
fn a_parameter_that_is_left_out_has_its_default() {
    let (artifact, _, shown) = compiled(&policy("  use refunds { teams = [\"x\"] }"), &folder());
    let artifact = artifact.unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(
        artifact.agents[0].rules[0].text,
        "permit stripe/refund if amount <= $50 and team in [\"x\"]"
    );
    // Keys that only decide what is imported ask nothing of a daemon.
    assert_eq!(artifact.requires, ["agent.egress", "agent.redact", "rules"]);
}

#[test]
fn parameters_that_are_missing_unknown_or_of_another_type_are_refused() {
    for body in [
        "  use refunds",
        "  use refunds { max = $5 }",
        "  use refunds { teams = [\"x\"] maxx = $5 }",
        "  use refunds { teams = \"x\" }",
        "  use refunds { teams = [\"x\"] max = 10mb }",
        "  use refunds { teams = [\"x\"] teams = [\"y\"] }",
    ] {
        assert_eq!(numbers(&policy(body), &folder()), ["E0706"], "{body}");
    }
}

#[test]
fn a_pack_that_nobody_uses_is_a_warning_and_one_that_is_not_there_an_error() {
    let (artifact, found, _) = compiled(&policy("  permit a"), &folder());
    assert!(artifact.is_some());
    assert_eq!(found[0].number.as_str(), "W0701");
    let unused = policy("  use refund { teams = [] }");
    assert_eq!(numbers(&unused, &folder()), ["W0701", "E0701"]);
    let used = policy("  use refunds { teams = [\"x\"] }");
    assert_eq!(numbers(&used, &Folder::default()), ["E0702"]);
}

#[test]
fn every_other_signature_name_version_or_text_is_refused() {
    let key = "registry.example/policies";
    let other_name = "registry.example/policies/other";
    for pack in [
        signed(PACK, NAME, "1.2.0", key, 2),
        signed(PACK, NAME, "1.2.1", key, 1),
        signed(PACK, other_name, "1.2.0", key, 1),
        signed(PACK, NAME, "1.2.0", "registry.example", 1),
        Pack {
            text: format!("{PACK} "),
            ..signed(PACK, NAME, "1.2.0", key, 1)
        },
        Pack {
            note: Vec::new(),
            ..signed(PACK, NAME, "1.2.0", key, 1)
        },
    ] {
        let folder = Folder(BTreeMap::from([(format!("{NAME}@1.2.0"), pack)]));
        let used = policy("  use refunds { teams = [\"x\"] }");
        assert_eq!(numbers(&used, &folder), ["E0704"]);
    }
}

#[test]
fn the_key_of_the_longest_path_speaks_for_a_pack_and_others_do_not() {
    let body = "import \"registry.example/policies/refunds@1.2.0\" as r\nagent a { use r { teams = [\"x\"] } }\n";
    let with = |keys: &[(&str, u8)]| format!("{}{body}", trust(keys));
    let sound = [("registry.example", 2), ("registry.example/policies", 1)];
    assert!(compiled(&with(&sound), &folder()).0.is_some());
    // The host's own key does not help where the path has another.
    let swapped = [("registry.example", 1), ("registry.example/policies", 2)];
    assert_eq!(numbers(&with(&swapped), &folder()), ["E0704"]);
    for stranger in [
        "registry.example/policies/refunds-2",
        "registry.example/pol",
        "other.example",
    ] {
        assert_eq!(
            numbers(&with(&[(stranger, 1)]), &folder()),
            ["E0703"],
            "{stranger}"
        );
    }
}

#[test]
fn a_pack_brings_no_agents_and_nothing_that_is_not_a_packs() {
    for text in [
        "agent a { permit x }\n",
        "pack \"x\" { version = \"1.2.0\" }\nagent a { permit x }\n",
        "pack \"x\" { version = \"1.2.1\" }\n",
        "pack \"x\" { version = \"1.2.0\" runtime { mode shadow } }\n",
        "pack \"x\" { version = \"1.2.0\" default permit }\n",
        "pack \"x\" { version = \"1.2.0\" permti x }\n",
        "pack \"x\" { version = \"1.2.0\" parameter p: colour }\n",
        "pack \"x\" { version = \"1.2.0\" parameter amount: money = $5 }\n",
        "pack \"x\" { version = \"1.2.0\" var home \"EUR\" permit x if cur == home }\n",
        "pack \"x\" { version = \"1.2.0\" parameter p: money = \"x\" }\n",
        "",
    ] {
        let pack = signed(text, NAME, "1.2.0", "registry.example/policies", 1);
        let folder = Folder(BTreeMap::from([(format!("{NAME}@1.2.0"), pack)]));
        let found = numbers(&policy("  use refunds"), &folder);
        assert!(
            found.iter().all(|number| *number == "E0705"),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn no_name_of_the_consumer_reaches_into_a_signed_pack() {
    let text = "pack \"x\" { version = \"1.2.0\" deny! pay if cur == home permit pay if cur in [\"USD\"] }\n";
    let pack = signed(text, NAME, "1.2.0", "registry.example/policies", 1);
    let folder = Folder(BTreeMap::from([(format!("{NAME}@1.2.0"), pack)]));
    let agents = |body: &str| {
        let (artifact, _, shown) = compiled(&policy(body), &folder);
        artifact.unwrap_or_else(|| panic!("{shown}")).agents
    };
    let plain = agents("  use refunds\n  deny own if cur == \"EUR\"");
    let captured = agents("  var home \"EUR\"\n  use refunds\n  deny own if cur == home");
    assert_eq!(plain[0].fields, captured[0].fields);
    assert_eq!(plain[0].tests, captured[0].tests);
    assert_eq!(plain[0].rules[0], captured[0].rules[0]);
}

#[test]
fn a_fault_in_what_a_pack_brings_stands_at_its_use() {
    let text =
        "pack \"x\" { version = \"1.2.0\"\n\n\n\n\n\n\n\n\n\n\n\n  permit x if tool < 5\n}\n";
    let pack = signed(text, NAME, "1.2.0", "registry.example/policies", 1);
    let folder = Folder(BTreeMap::from([(format!("{NAME}@1.2.0"), pack)]));
    let used = policy("  use refunds");
    let (artifact, found, shown) = compiled(&used, &folder);
    assert!(artifact.is_none(), "{shown}");
    for label in found.iter().flat_map(|found| &found.labels) {
        assert_eq!(
            used.get(label.span.start..label.span.end),
            Some("use refunds"),
            "{shown}"
        );
    }
}

#[test]
fn packs_that_are_used_often_are_bounded() {
    let rules = "  permit x\n".repeat(1_000);
    let text = format!("pack \"x\" {{ version = \"1.2.0\"\n{rules}}}\n");
    let pack = signed(&text, NAME, "1.2.0", "registry.example/policies", 1);
    let folder = Folder(BTreeMap::from([(format!("{NAME}@1.2.0"), pack)]));
    let used = policy(&"  use refunds\n".repeat(101));
    assert!(numbers(&used, &folder).contains(&"E0501"));
}
