//! What is fuzzed, once: the stable driver (`stable.rs`, part of `make test`) and the coverage-guided one
//! (`coverage/`, `make fuzz`) both call these. Each says in its name what must hold, beyond "no panic".

use faramesh_core::call::accept;
use faramesh_core::checkpoint::{Checkpoint, KeyName, Manifest, PublicKey};
use faramesh_core::frame::{self, Frames};
use faramesh_core::json;
use faramesh_core::policy::{Policy, artifact};
use faramesh_core::record;
use faramesh_policy_compiler::{Options, SourceFile, compile};
use faramesh_proto::v1::{AttachMessage, GovernRequest, SignerRequest};
use prost::Message;

/// A target: its name, what it does with the input, and inputs to start from.
pub(crate) type Target = (&'static str, fn(&[u8]), &'static [&'static [u8]]);

/// All of them.
pub(crate) const ALL: &[Target] = &[
    (
        "call_canonical_text_is_a_fixpoint",
        call_canonical_text_is_a_fixpoint,
        CALLS,
    ),
    (
        "policy_compiles_or_says_why_and_what_compiles_decodes",
        policy_compiles_or_says_why_and_what_compiles_decodes,
        POLICIES,
    ),
    (
        "artifact_decodes_only_its_own_encoding",
        artifact_decodes_only_its_own_encoding,
        &[artifact::ARTIFACT_MAGIC],
    ),
    (
        "frames_end_and_stay_inside_the_segment",
        frames_end_and_stay_inside_the_segment,
        &[b"\0\0\0\0"],
    ),
    (
        "record_decodes_only_canonical_bytes",
        record_decodes_only_canonical_bytes,
        RECORDS,
    ),
    (
        "notes_without_a_signature_never_open",
        notes_without_a_signature_never_open,
        NOTES,
    ),
    (
        "messages_decode_strictly",
        messages_decode_strictly,
        &[b"\x0a\x03bot\x12\x0acrm/lookup\x1a\x02{}"],
    ),
];

const CALLS: &[&[u8]] = &[
    br#"{"amount":80,"to":"a@example.com","list":[1,2.50,-0,1e3],"deep":{"a":{"b":null}},"s":"\u00e9\ud83d\ude00\n"}"#,
    br#"{"a":1,"a":2}"#,
    br#"{"a":"\ud800"}"#,
    br#"[[[[[[1]]]]]]"#,
    b"{\"a\":123456789012345678901234567890.000000000000000000001e-300}",
];

const POLICIES: &[&[u8]] = &[
    include_bytes!("../../examples/support-bot/governance.fms"),
    b"agent \"a\" { default deny rules { permit x/* if not (amount < $5.50 or to matches \"^a|b$\") and has q.r reason: \"s\" notify \"t\" } }",
    b"runtime { mode shadow cold_start_deny_window = \"30s\" keep_env = [\"A\", \"B\"] allowed_sockets = [\"/run/x.sock\"] }\npermit *",
    b"agent x { deny! a/b when amount >= 10 && tool in ['a', \"b\"] } # comment\nagent y { }",
];

const RECORDS: &[&[u8]] = &[br#"{"boot_ms":1,"kind":"stop","mode":"enforced","prev":"00","reason":"drain","seq":0,"stack":"s","v":1,"wall_ms":2}"#];

const NOTES: &[&[u8]] = &[
    b"faramesh/s/00000000\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\xe2\x80\x94 faramesh/s/00000000 AAAAAA==\n",
    b"faramesh manifest v1\ns\n1\nsha256:00\n2026-01-01T00:00:00Z\nroot(0)\n\n\xe2\x80\x94 faramesh/s/policy AAAA\n",
];

fn call_canonical_text_is_a_fixpoint(data: &[u8]) {
    if let Ok(value) = json::parse(data) {
        let text = value.canonical();
        let again = json::parse(text.as_bytes()).expect("canonical text parses");
        assert_eq!(again.canonical(), text);
    }
    if let Ok(call) = accept("a/b", "", data) {
        assert_eq!(
            accept("a/b", "", call.arguments_text().as_bytes()).expect("it was a call"),
            call
        );
    }
    if let Ok(name) = std::str::from_utf8(data) {
        let _ = accept(name, name, b"{}");
    }
}

fn policy_compiles_or_says_why_and_what_compiles_decodes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let outcome = compile(
        &SourceFile::new("governance.fms", text),
        &Options::default(),
    );
    match outcome.artifact {
        Some(compiled) => {
            let bytes = artifact::encode(&compiled).expect("what compiles can be encoded");
            assert_eq!(artifact::decode(&bytes).expect("and decoded"), compiled);
        }
        None => assert!(!outcome.diagnostics.is_empty(), "refused without a word"),
    }
}

fn artifact_decodes_only_its_own_encoding(data: &[u8]) {
    for bytes in [data.to_vec(), [artifact::ARTIFACT_MAGIC, data].concat()] {
        if let Ok(decoded) = artifact::decode(&bytes) {
            assert_eq!(artifact::encode(&decoded).expect("it was decoded"), bytes);
        }
        let _ = Policy::load(&bytes);
    }
}

fn frames_end_and_stay_inside_the_segment(data: &[u8]) {
    // Each item is at least a byte long or ends the walk.
    assert!(Frames::new(data).count() <= data.len() + 1);
    if let Some(offset) = frame::resync(data, 0) {
        assert!(offset < data.len());
    }
}

fn record_decodes_only_canonical_bytes(data: &[u8]) {
    if record::decode(data).is_ok() {
        let value = json::parse(data).expect("a record is JSON");
        assert_eq!(value.canonical().as_bytes(), data);
    }
    let _ = record::detail_arguments(data);
}

fn notes_without_a_signature_never_open(data: &[u8]) {
    let name = KeyName::policy("s").expect("a name");
    // The base point: a public key whose secret nobody here uses.
    let mut point = [0x66; 32];
    point[0] = 0x58;
    if let Ok(key) = PublicKey::new(name, &point) {
        assert!(key.open::<Checkpoint>(data).is_err());
        assert!(key.open::<Manifest>(data).is_err());
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = PublicKey::parse_vkey(text)
    {
        assert_eq!(
            PublicKey::parse_vkey(&key.vkey())
                .expect("its own form")
                .vkey(),
            key.vkey()
        );
    }
}

fn messages_decode_strictly(data: &[u8]) {
    let _ = GovernRequest::decode(data);
    let _ = AttachMessage::decode(data);
    let _ = SignerRequest::decode(data);
}
