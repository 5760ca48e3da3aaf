//! What is fuzzed, once: the stable driver (`stable.rs`, part of `make test`) and the coverage-guided one
//! (`coverage/`, `make fuzz`) both call these. Each says in its name what must hold, beyond "no panic".

use faramesh_core::call::accept;
use faramesh_core::checkpoint::{Checkpoint, KeyName, Manifest, PublicKey};
use faramesh_core::decision::Code;
use faramesh_core::frame::{self, Frames};
use faramesh_core::identity::{Caller, attest};
use faramesh_core::json;
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::{Policy, Supposed, artifact};
use faramesh_core::record::{self, Door, Time};
use faramesh_core::state::State;
use faramesh_policy_compiler::{
    Form, Number, Options, SourceFile, Style, compile, compile_bytes, format, render, render_json,
    render_policy, render_yaml, report, sarif, yaml,
};
use faramesh_proto::v1::{AttachMessage, GovernRequest, SignerRequest};
use prost::Message;
use std::path::Path;
use std::sync::LazyLock;

/// A target.
pub(crate) struct Target {
    /// What must hold, beyond "no panic".
    pub(crate) name: &'static str,
    /// Puts an input to it.
    pub(crate) run: fn(&[u8]),
    /// Inputs to start from.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Memory that it may take for each byte of its input, beside what every run may take.
    pub(crate) bytes_per_byte: usize,
}

/// All of them.
pub(crate) const ALL: &[Target] = &[
    Target {
        name: "call_canonical_text_is_a_fixpoint",
        run: call_canonical_text_is_a_fixpoint,
        seeds: || owned(CALLS),
        bytes_per_byte: 256,
    },
    Target {
        name: "call_is_decided_and_written_down",
        run: call_is_decided_and_written_down,
        seeds: || owned(CALLS),
        bytes_per_byte: 1_024,
    },
    Target {
        name: "policy_compiles_or_says_why_and_what_compiles_decodes",
        run: |data| policy_compiles_or_says_why_and_what_compiles_decodes("governance.fms", data),
        seeds: || [owned(POLICIES), files(&[".fms"])].concat(),
        bytes_per_byte: POLICY_BYTES_PER_BYTE,
    },
    Target {
        name: "yaml_compiles_or_says_why_and_what_compiles_decodes",
        run: |data| {
            policy_compiles_or_says_why_and_what_compiles_decodes("governance.fms.yaml", data);
        },
        seeds: || [owned(DOCUMENTS), files(&[".yaml", ".yml"])].concat(),
        bytes_per_byte: POLICY_BYTES_PER_BYTE,
    },
    Target {
        name: "json_compiles_or_says_why_and_what_compiles_decodes",
        run: |data| {
            policy_compiles_or_says_why_and_what_compiles_decodes("governance.fms.json", data);
        },
        seeds: || [owned(DOCUMENTS), files(&[".json"])].concat(),
        bytes_per_byte: POLICY_BYTES_PER_BYTE,
    },
    Target {
        name: "what_compiles_is_the_same_policy_in_every_form",
        run: what_compiles_is_the_same_policy_in_every_form,
        seeds: || [owned(POLICIES), files(&[".fms"])].concat(),
        bytes_per_byte: 4 * POLICY_BYTES_PER_BYTE,
    },
    Target {
        name: "a_formatted_file_is_the_same_policy_and_stays_as_it_is",
        run: a_formatted_file_is_the_same_policy_and_stays_as_it_is,
        seeds: || [owned(POLICIES), files(&[".fms"])].concat(),
        bytes_per_byte: 4 * POLICY_BYTES_PER_BYTE,
    },
    Target {
        name: "documents_are_read_or_refused_with_a_reason",
        run: documents_are_read_or_refused_with_a_reason,
        seeds: || [owned(DOCUMENTS), files(&[".yaml", ".yml", ".json"])].concat(),
        bytes_per_byte: 1_024,
    },
    Target {
        name: "artifact_decodes_only_its_own_encoding",
        run: artifact_decodes_only_its_own_encoding,
        seeds: artifacts,
        bytes_per_byte: POLICY_BYTES_PER_BYTE,
    },
    Target {
        name: "frames_end_and_stay_inside_the_segment",
        run: frames_end_and_stay_inside_the_segment,
        seeds: || vec![vec![0; 4]],
        bytes_per_byte: 64,
    },
    Target {
        name: "record_decodes_only_canonical_bytes",
        run: record_decodes_only_canonical_bytes,
        seeds: || owned(RECORDS),
        bytes_per_byte: 256,
    },
    Target {
        name: "notes_without_a_signature_never_open",
        run: notes_without_a_signature_never_open,
        seeds: || owned(NOTES),
        bytes_per_byte: 256,
    },
    Target {
        name: "messages_decode_strictly",
        run: messages_decode_strictly,
        seeds: || owned(&[b"\x0a\x03bot\x12\x0acrm/lookup\x1a\x02{}"]),
        bytes_per_byte: 256,
    },
];

/// A short expression compiles to some ten kilobytes: `matches "a"` is eleven bytes of a policy.
const POLICY_BYTES_PER_BYTE: usize = 8 * 1_024;

fn owned(seeds: &[&[u8]]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.to_vec()).collect()
}

/// The corpora's files with such a name, where the source tree is at hand; small ones, since mutations of large ones
/// find little.
fn files(ends: &[&str]) -> Vec<Vec<u8>> {
    const BYTES_MAX: u64 = 8 * 1_024;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root
        .ancestors()
        .find(|above| above.join("policy-compiler/testdata").is_dir());
    let mut found = Vec::new();
    for folder in [
        "policy-compiler/testdata/accept",
        "policy-compiler/testdata/reject",
        "tests/corpus",
    ] {
        let Some(entries) = root.and_then(|root| root.join(folder).read_dir().ok()) else {
            continue;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let fits = |path: &&std::path::PathBuf| {
            let name = path.to_string_lossy();
            ends.iter().any(|end| name.ends_with(end))
                && path.metadata().is_ok_and(|file| file.len() <= BYTES_MAX)
        };
        found.extend(
            paths
                .iter()
                .filter(fits)
                .filter_map(|path| std::fs::read(path).ok()),
        );
    }
    found
}

/// Artifacts of the policies that compile.
fn artifacts() -> Vec<Vec<u8>> {
    let mut found = vec![artifact::ARTIFACT_MAGIC.to_vec()];
    for text in [owned(POLICIES), files(&[".fms"])].concat() {
        let source = SourceFile::new("governance.fms", String::from_utf8_lossy(&text));
        if let Some(compiled) = compile(&source, &Options::default()).artifact
            && let Ok(bytes) = artifact::encode(&compiled)
        {
            found.push(bytes);
        }
    }
    found
}

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

const DOCUMENTS: &[&[u8]] = &[
    b"agent:\n  - id: bot\n    default: deny\n    rules:\n      - {effect: permit, tool: \"a/*\", condition: 'amount < 5'}\n",
    br#"{"runtime":{"mode":"shadow"},"agent":[{"id":"bot","rules":[{"effect":"deny!","tool":"*","condition":"has x"}]}]}"#,
    b"a: &a [x]\nb: *a\n",
    br#"{"fixture":"governance.fms","agent_id":"bot","cases":[{"name":"n","tool":"a/b","args":{"amount":80},"expect":{"effect":"permit"}}]}"#,
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

fn call_is_decided_and_written_down(data: &[u8]) {
    static POLICY: LazyLock<Vec<Policy>> = LazyLock::new(|| {
        artifacts()
            .iter()
            .filter_map(|bytes| Policy::load(bytes).ok())
            .collect()
    });
    let state = State::new();
    let now = Time {
        wall_ms: data.len() as u64 * 86_400_000,
        boot_ms: 1,
    };
    for policy in POLICY.iter() {
        let agent = policy
            .artifact()
            .agents
            .first()
            .map_or("", |agent| &agent.name);
        let Ok(call) = accept("stripe/refund", agent, data) else {
            return;
        };
        let Ok(asked) = attest(call, Caller::Unattested { uid: 1 }) else {
            return;
        };
        let question = Question {
            attested: &asked,
            door: Door::Govern,
            now,
            supposed: &Supposed::nothing(),
        };
        let decision = decide(&question, policy, &state);
        // What is missing is told, and what is read is canonical.
        assert!(decision.code != Some(Code::Indeterminate) || !decision.missing.is_empty());
        for value in decision
            .inputs
            .iter()
            .filter_map(|input| input.value.as_deref())
        {
            let read = json::parse(value.as_bytes()).expect("inputs are JSON");
            assert_eq!(read.canonical(), value);
        }
    }
}

fn policy_compiles_or_says_why_and_what_compiles_decodes(name: &str, data: &[u8]) {
    let (source, outcome) = compile_bytes(name, data, &Options::default());
    match &outcome.artifact {
        Some(compiled) => {
            let bytes = artifact::encode(compiled).expect("what compiles can be encoded");
            assert_eq!(&artifact::decode(&bytes).expect("and decoded"), compiled);
        }
        None => assert!(!outcome.diagnostics.is_empty(), "refused without a word"),
    }
    let _ = render(&source, &outcome.diagnostics, Style::Plain);
    let reports = report(&source, &outcome.diagnostics);
    let _ = sarif("0", std::slice::from_ref(&source.name), &reports);
}

/// Written down again, in each of its forms, it is the same policy.
fn what_compiles_is_the_same_policy_in_every_form(data: &[u8]) {
    let source = SourceFile::new("governance.fms", String::from_utf8_lossy(data));
    let Some(compiled) = compile(&source, &Options::default()).artifact else {
        return;
    };
    for (name, text) in [
        ("governance.fms", render_policy(&compiled)),
        ("governance.fms.yaml", render_yaml(&compiled)),
        ("governance.fms.json", render_json(&compiled)),
    ] {
        let again = compile(&SourceFile::new(name, text.as_str()), &Options::default());
        assert_eq!(
            again.artifact.as_ref(),
            Some(&compiled),
            "{name}\n{text}\n{:?}",
            again.diagnostics
        );
    }
}

fn a_formatted_file_is_the_same_policy_and_stays_as_it_is(data: &[u8]) {
    let source = SourceFile::new("governance.fms", String::from_utf8_lossy(data));
    let formatted = match format(&source) {
        Ok(text) => SourceFile::new("governance.fms", text),
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a word");
            let fault = findings
                .iter()
                .any(|finding| finding.number == Number::NotFormatted);
            // Of what no policy can be made, a file may be left as it is.
            let compiles = || compile(&source, &Options::default()).artifact.is_some();
            assert!(!fault || !compiles(), "the formatter would change it");
            return;
        }
    };
    assert_eq!(
        format(&formatted).expect("it was formatted"),
        formatted.text
    );
    let artifact = |source| compile(source, &Options::default()).artifact;
    assert_eq!(
        artifact(&formatted),
        artifact(&source),
        "{}",
        formatted.text
    );
}

/// Fixtures and other documents beside a policy.
fn documents_are_read_or_refused_with_a_reason(data: &[u8]) {
    let source = SourceFile::new("x", String::from_utf8_lossy(data));
    for form in [Form::Yaml, Form::Json] {
        if let Err(findings) = yaml::document(&source, form) {
            assert!(!findings.is_empty(), "refused without a word");
        }
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
