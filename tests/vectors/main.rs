//! Conformance: what others published about trees, notes, Ed25519 and canonical JSON, and what we make of it. The facts are
//! in the JSON files beside this one, each with its source.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails"
)]

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use faramesh_core::checkpoint::{
    Checkpoint, Error, KeyName, PublicKey, Statement, compose, hex, unhex, unverified_text,
};
use faramesh_core::cosign::WitnessKey;
use faramesh_core::json;
use faramesh_core::record::{self, Body, Header, RunMode, Time};
use faramesh_core::tree::tiles::{Builder, Gather, Plan, TileId};
use faramesh_core::tree::{
    Frontier, Hash, Head, empty_root, leaf_hash, verify_consistency, verify_inclusion,
};
use serde_json::Value;
use std::process::Command;

fn vectors(name: &str) -> Value {
    let path = format!("{}/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = text(value).as_bytes();
    assert!(digits.len().is_multiple_of(2));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn hash(value: &Value) -> Hash {
    unhex(text(value)).expect("64 hex digits")
}

fn hashes(value: &Value) -> Vec<Hash> {
    list(value).iter().map(hash).collect()
}

/// Leaves of RFC 6962's implementations, and the head over the first so many.
struct Merkle {
    leaves: Vec<Hash>,
    roots: Vec<Hash>,
}

impl Merkle {
    fn read(vectors: &Value) -> Merkle {
        Merkle {
            leaves: list(&vectors["leaves"])
                .iter()
                .map(|leaf| leaf_hash(&bytes(leaf)))
                .collect(),
            roots: hashes(&vectors["roots"]),
        }
    }

    fn head(&self, size: u64) -> Head {
        let before = usize::try_from(size).unwrap().checked_sub(1);
        Head {
            size,
            root: before.map_or_else(empty_root, |at| self.roots[at]),
        }
    }

    /// The proof that we make ourselves.
    fn made(&self, plan: &Plan) -> Vec<Hash> {
        let mut gather = Gather::new(Frontier::new(), plan.nodes());
        for leaf in &self.leaves {
            gather.push(*leaf).unwrap();
        }
        plan.hashes(|node| gather.node(node)).unwrap()
    }
}

#[test]
fn roots_are_those_of_the_published_trees() {
    let vectors = vectors("merkle");
    let merkle = Merkle::read(&vectors);
    assert_eq!(empty_root(), hash(&vectors["empty_root"]));
    let mut frontier = Frontier::new();
    for (leaf, root) in merkle.leaves.iter().zip(&merkle.roots) {
        frontier.push(*leaf).unwrap();
        assert_eq!(frontier.root(), *root, "{} leaves", frontier.size());
    }
}

#[test]
fn published_inclusion_paths_are_ours_and_hold_and_no_other_does() {
    let vectors = vectors("merkle");
    let merkle = Merkle::read(&vectors);
    for case in list(&vectors["inclusion"]) {
        let (index, size) = (
            case["index"].as_u64().unwrap(),
            case["size"].as_u64().unwrap(),
        );
        let path = hashes(&case["path"]);
        let leaf = merkle.leaves[usize::try_from(index).unwrap()];
        let root = merkle.head(size).root;
        assert_eq!(
            merkle.made(&Plan::inclusion(index, size).unwrap()),
            path,
            "{case}"
        );
        verify_inclusion(&leaf, index, size, &path, &root).unwrap();
        // The ways of testdata in which a proof is wrong: index, size, root, leaf, a bit, and more or less of it.
        for (other_index, other_size) in [
            (index + 1, size),
            (index ^ 2, size),
            (index, size * 2),
            (index, size / 2),
            (index, 0),
            (size, size),
        ] {
            assert!(
                verify_inclusion(&leaf, other_index, other_size, &path, &root).is_err(),
                "{case}: {other_index} of {other_size}"
            );
        }
        let mut wrong = vec![vec![leaf], vec![root], vec![[0; 32]]];
        wrong.push([&path[..], &[[0; 32]]].concat());
        wrong.push([&path[..], &[root]].concat());
        wrong.push([&[[0; 32]], &path[..]].concat());
        wrong.push([&[root], &path[..]].concat());
        if let Some((_, rest)) = path.split_first() {
            wrong.extend([rest.to_vec(), path[..path.len() - 1].to_vec(), vec![]]);
            for at in 0..path.len() {
                let mut other = path.clone();
                other[at][0] ^= 8;
                wrong.push(other);
            }
        }
        for other in wrong.iter().filter(|other| **other != path) {
            assert!(
                verify_inclusion(&leaf, index, size, other, &root).is_err(),
                "{case}: {other:?}"
            );
        }
        assert!(
            verify_inclusion(&root, index, size, &path, &leaf).is_err() || size == 1,
            "{case}"
        );
        assert!(
            verify_inclusion(&leaf, index, size, &path, &empty_root()).is_err(),
            "{case}"
        );
    }
}

#[test]
fn published_consistency_proofs_are_ours_and_hold_and_no_other_does() {
    let vectors = vectors("merkle");
    let merkle = Merkle::read(&vectors);
    for case in list(&vectors["consistency"]) {
        let (old, new) = (case["old"].as_u64().unwrap(), case["new"].as_u64().unwrap());
        let proof = hashes(&case["proof"]);
        let (old, new) = (merkle.head(old), merkle.head(new));
        assert_eq!(
            merkle.made(&Plan::consistency(old.size, new.size).unwrap()),
            proof,
            "{case}"
        );
        verify_consistency(&old, &new, &proof).unwrap();
        if old == new {
            assert!(verify_consistency(&old, &new, &[old.root]).is_err());
            continue;
        }
        let size = |head: &Head, size| Head { size, ..*head };
        let root = |head: &Head, root| Head { root, ..*head };
        for (other_old, other_new) in [
            (size(&old, old.size + 1), new),
            (size(&old, old.size ^ 2), new),
            (old, size(&new, new.size * 2)),
            (old, size(&new, new.size / 2)),
            (root(&old, new.root), root(&new, old.root)),
            (root(&old, [7; 32]), new),
            (old, root(&new, [7; 32])),
            (size(&old, 0), new),
        ] {
            assert!(
                verify_consistency(&other_old, &other_new, &proof).is_err(),
                "{case}: {other_old:?} {other_new:?}"
            );
        }
        let mut wrong = vec![
            proof[1..].to_vec(),
            proof[..proof.len() - 1].to_vec(),
            vec![],
        ];
        for more in [[0; 32], old.root, new.root, proof[0]] {
            wrong.push([&proof[..], &[more]].concat());
            wrong.push([&[more], &proof[..]].concat());
        }
        for at in 0..proof.len() {
            let mut other = proof.clone();
            other[at][0] ^= 8;
            wrong.push(other);
        }
        for other in wrong {
            assert!(
                verify_consistency(&old, &new, &other).is_err(),
                "{case}: {other:?}"
            );
        }
    }
}

#[test]
fn tiles_have_the_paths_and_the_numbers_of_the_specification() {
    let tiles = &vectors("notes")["tiles"];
    for case in list(&tiles["paths"]) {
        let level = u32::try_from(case["level"].as_u64().unwrap()).unwrap();
        let id = TileId::new(level, case["index"].as_u64().unwrap()).unwrap();
        assert_eq!(id.path(), text(&case["path"]));
        assert_eq!(TileId::parse(text(&case["path"])), Some(id));
    }
    for case in list(&tiles["full"]) {
        let mut levels = [0_u64; 7];
        let mut builder = Builder::new();
        for leaf in 0..case["size"].as_u64().unwrap() {
            let leaf = leaf_hash(&leaf.to_be_bytes());
            builder
                .push(leaf, |id, _| levels[id.level() as usize] += 1)
                .unwrap();
        }
        let expected: Vec<u64> = list(&case["levels"])
            .iter()
            .map(|n| n.as_u64().unwrap())
            .collect();
        assert_eq!(&levels[..expected.len()], expected, "{case}");
        assert!(levels[expected.len()..].iter().all(|n| *n == 0));
    }
}

/// A note's text, whatever it says.
struct Anything(String);

impl Statement for Anything {
    const KIND: &'static str = "text";

    fn text(&self) -> String {
        self.0.clone()
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        Ok(Anything(text.to_owned()))
    }

    fn belongs_to(&self, _: &KeyName) -> bool {
        true
    }
}

#[test]
fn notes_of_other_implementations_open_and_no_changed_one_does() {
    let vectors = vectors("notes");
    for case in list(&vectors["signed"]) {
        let key = PublicKey::parse_vkey(text(&case["vkey"])).unwrap();
        let note = text(&case["note"]);
        let opened = key.open::<Anything>(note.as_bytes()).unwrap();
        assert!(note.starts_with(&opened.text()));
        for at in 0..note.len() {
            let mut changed = note.as_bytes().to_vec();
            changed[at] ^= 1;
            assert!(key.open::<Anything>(&changed).is_err(), "byte {at}");
        }
        assert_eq!(key.vkey(), text(&case["vkey"]));
    }
    for note in list(&vectors["form_only"]) {
        assert_eq!(
            text(note).rsplit_once("\n\n").unwrap().0.to_owned() + "\n",
            unverified_text(text(note).as_bytes()).unwrap()
        );
    }
    for case in list(&vectors["checkpoints"]) {
        let checkpoint =
            Checkpoint::parse(unverified_text(text(&case["note"]).as_bytes()).unwrap()).unwrap();
        assert_eq!(checkpoint.origin.as_str(), text(&case["origin"]));
        assert_eq!(checkpoint.head.size, case["size"].as_u64().unwrap());
        assert_eq!(checkpoint.head.root, hash(&case["root"]));
        assert!(text(&case["note"]).starts_with(&checkpoint.text()));
    }
}

#[test]
fn key_lines_of_other_implementations_are_read_by_their_type() {
    let vectors = vectors("notes");
    for line in list(&vectors["log_keys"]) {
        assert_eq!(
            PublicKey::parse_vkey(text(line)).unwrap().vkey(),
            text(line)
        );
        assert!(WitnessKey::parse_vkey(text(line)).is_err(), "{line}");
    }
    for line in list(&vectors["witness_keys"]) {
        assert_eq!(
            WitnessKey::parse_vkey(text(line)).unwrap().vkey(),
            text(line)
        );
        assert!(PublicKey::parse_vkey(text(line)).is_err(), "{line}");
    }
}

fn public(key: &[u8; 32]) -> Result<PublicKey, Error> {
    PublicKey::new(KeyName::new("example.com/log").unwrap(), key)
}

/// As [`PublicKey::open`] does it, for messages that are no text.
fn holds(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = Signature::from_slice(signature) else {
        return false;
    };
    public(key).is_ok()
        && VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

#[test]
fn signatures_of_rfc_8032_hold() {
    for case in list(&vectors("ed25519")["rfc8032"]) {
        let secret = SigningKey::from_bytes(&hash(&case["secret"]));
        let message = bytes(&case["message"]);
        assert_eq!(secret.verifying_key().as_bytes(), &hash(&case["key"]));
        assert_eq!(
            secret.sign(&message).to_bytes().to_vec(),
            bytes(&case["signature"])
        );
        assert!(holds(
            &hash(&case["key"]),
            &message,
            &bytes(&case["signature"])
        ));
    }
}

#[test]
fn keys_of_small_order_and_in_other_forms_are_refused() {
    let vectors = vectors("ed25519");
    assert_eq!(list(&vectors["small_order_keys"]).len(), 14);
    for key in list(&vectors["small_order_keys"])
        .iter()
        .chain(list(&vectors["not_keys"]))
    {
        assert!(public(&hash(key)).is_err(), "{key}");
        assert!(
            WitnessKey::new(KeyName::new("w.example").unwrap(), &hash(key)).is_err(),
            "{key}"
        );
    }
}

/// The table says which variant this is; the independent verifier is held to it too.
#[test]
fn the_twelve_edge_cases_have_the_verdicts_that_are_documented() {
    let vectors = vectors("ed25519");
    let cases = list(&vectors["speccheck"]);
    assert_eq!(cases.len(), 12);
    for (number, case) in cases.iter().enumerate() {
        let key = hash(&case["key"]);
        let said = (
            case["key_is_accepted"].as_bool().unwrap(),
            case["holds"].as_bool().unwrap(),
        );
        let found = (
            public(&key).is_ok(),
            holds(&key, &bytes(&case["message"]), &bytes(&case["signature"])),
        );
        assert_eq!(found, said, "case {number}: {}", case["about"]);
    }
    let script = r#"
import json, sys
from verify_journal import ed25519_verify
h = bytes.fromhex
for case in json.load(open(sys.argv[1]))["speccheck"]:
    print(ed25519_verify(h(case["key"]), h(case["message"]), h(case["signature"])) == case["holds"])
"#;
    let output = Command::new("python3")
        .args(["-B", "-c", script])
        .arg(format!(
            "{}/vectors/ed25519.json",
            env!("CARGO_MANIFEST_DIR")
        ))
        .env(
            "PYTHONPATH",
            format!("{}/verifier", env!("CARGO_MANIFEST_DIR")),
        )
        .output()
        .expect("this test needs python3");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said,
        "True\n".repeat(12),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The group's order, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// `s` and the group's order, which is the same scalar in another form.
fn plus_order(s: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let sum = s.iter().zip(L).map(|(a, b)| {
        let sum = u16::from(*a) + u16::from(b) + carry;
        carry = sum >> 8;
        u8::try_from(sum & 0xff).unwrap()
    });
    sum.collect()
}

/// Bad signatures of the kinds that Wycheproof lists, each on a note.
#[test]
fn a_note_with_a_signature_in_any_other_form_does_not_open() {
    let secret = SigningKey::from_bytes(&[5; 32]);
    let key = public(secret.verifying_key().as_bytes()).unwrap();
    let statement = Anything("a text\n".into());
    let genuine = secret.sign(b"a text\n").to_bytes();
    let (r, s) = genuine.split_at(32);
    let with = |r: &[u8], s: &[u8]| {
        let signature: [u8; 64] = [r, s].concat().try_into().unwrap();
        let note = compose(&statement, &[(&key, &|_: &[u8]| signature)]);
        key.open::<Anything>(note.as_bytes()).is_ok()
    };
    assert!(with(r, s));
    let small: Vec<Hash> = list(&vectors("ed25519")["small_order_keys"])
        .iter()
        .map(hash)
        .collect();
    let zero = [0_u8; 32];
    let mut bad: Vec<(String, Vec<u8>, Vec<u8>)> = vec![
        ("S + L".into(), r.to_vec(), plus_order(s)),
        ("S + 2 L".into(), r.to_vec(), plus_order(&plus_order(s))),
        ("S = 0".into(), r.to_vec(), zero.to_vec()),
        ("S = L".into(), r.to_vec(), L.to_vec()),
        ("S of ones".into(), r.to_vec(), vec![0xff; 32]),
        ("R of ones".into(), vec![0xff; 32], s.to_vec()),
        ("turned".into(), s.to_vec(), r.to_vec()),
        ("R is the key".into(), key.as_bytes().to_vec(), s.to_vec()),
        ("nothing".into(), zero.to_vec(), zero.to_vec()),
    ];
    for point in &small {
        bad.push((format!("R {}", hex(point)), point.to_vec(), s.to_vec()));
        bad.push((
            format!("R {} and S = 0", hex(point)),
            point.to_vec(),
            zero.to_vec(),
        ));
    }
    for bit in 0..512 {
        let mut other = genuine;
        other[bit / 8] ^= 1 << (bit % 8);
        bad.push((
            format!("bit {bit}"),
            other[..32].to_vec(),
            other[32..].to_vec(),
        ));
    }
    for (what, r, s) in bad {
        assert!(!with(&r, &s), "{what}");
    }
    // Shorter and longer ones: whole groups of base64 are taken away and put in.
    let note = compose(&statement, &[(&key, &|_: &[u8]| genuine)]);
    let line = note.trim_end();
    for changed in [
        &line[..line.len() - 4],
        &format!("{}AAAA{}", &line[..line.len() - 4], &line[line.len() - 4..]),
    ] {
        assert!(
            key.open::<Anything>(format!("{changed}\n").as_bytes())
                .is_err(),
            "{changed}"
        );
    }
}

#[test]
fn canonical_json_is_that_of_rfc_8785_with_exact_numbers() {
    let vectors = vectors("json");
    for case in list(&vectors["same"]).iter().chain(list(&vectors["exact"])) {
        let parsed = json::parse(text(&case["given"]).as_bytes()).unwrap();
        assert_eq!(
            parsed.canonical(),
            text(&case["canonical"]),
            "{}",
            case["about"]
        );
    }
}

/// A record has one form: what RFC 8785 would write. Any other spelling of the same value is no record.
#[test]
fn a_record_in_any_other_spelling_of_the_same_value_is_none() {
    let header = Header {
        seq: 3,
        prev: [1; 32],
        stack: "shop".into(),
        mode: RunMode::Enforced,
        time: Time {
            wall_ms: 5,
            boot_ms: 6,
        },
    };
    let reason = "\u{20ac}$\u{f}\nA'B\"\\\\\"/".to_owned();
    let encoded = record::encode(&header, &Body::Stop { reason }).unwrap();
    let genuine = String::from_utf8(encoded.record).unwrap();
    let written = r#""€$\u000f\nA'B\"\\\\\"/""#;
    assert!(genuine.contains(written), "{genuine}");
    record::decode(genuine.as_bytes()).unwrap();
    let boot = r#""boot_ms":6,"#;
    for (what, from, to) in [
        ("a space", "{", "{ "),
        ("a space at the end", "}", "} "),
        ("upper case hex", r"\u000f", r"\u000F"),
        ("an escaped solidus", "\"/\"", "\"\\/\""),
        ("an escaped letter", "A'B", r"\u0041'B"),
        ("an escaped euro", "€", r"\u20ac"),
        ("the long form of a newline", r"\n", r"\u000a"),
        ("an exponent", r#""seq":3"#, r#""seq":3e0"#),
        ("a fraction", r#""seq":3"#, r#""seq":3.0"#),
        ("a leading zero", r#""seq":3"#, r#""seq":03"#),
        ("a sign", r#""seq":3"#, r#""seq":-3"#),
        ("a key twice", boot, r#""boot_ms":6,"boot_ms":6,"#),
        ("a key more", boot, r#""boot_ms":6,"c":1,"#),
        ("a key less", boot, ""),
        ("a byte order mark", "{", "\u{feff}{"),
    ] {
        let other = genuine.replacen(from, to, 1);
        assert_ne!(other, genuine, "{what}");
        assert!(record::decode(other.as_bytes()).is_err(), "{what}: {other}");
    }
    let moved = genuine
        .replacen(boot, "", 1)
        .replacen('}', r#","boot_ms":6}"#, 1);
    assert!(record::decode(moved.as_bytes()).is_err(), "{moved}");
}
