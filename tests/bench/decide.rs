//! The core's figures with criterion, each beside SHA-256 of 512 bytes measured in the same run: the unit of CPU.
//!
//! After criterion has measured, its medians are read back and printed as ratios with the targets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot set itself up has nothing to report"
)]

use criterion::{BenchmarkId, Criterion, criterion_group};
use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::call::accept;
use faramesh_core::frame;
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::{Policy, Scratch, Supposed};
use faramesh_core::record::{self, Body, DecisionRecord, Door, Header, RunMode, Time};
use faramesh_core::state::State;
use faramesh_core::tree::{self, Frontier};
use faramesh_tests::policy::compile;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::hint::black_box;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const ARGUMENTS: &[u8] =
    br#"{"amount":80,"currency":"USD","customer":"c-1042","order":"o-77","reason":"damaged in transit, photo attached"}"#;
const NOW: Time = Time {
    wall_ms: 1_800_000_000_000,
    boot_ms: 5_000_000,
};

/// `rules` rules over as many tools, a tenth of them with an expression, one `deny!` pattern and a pattern rule in between.
fn policy(rules: usize) -> Policy {
    let mut text = String::from(
        "agent \"bench\" {\n  default deny\n  rules {\n    deny! shell/*\n    deny vault/*\n",
    );
    for n in 0..rules.saturating_sub(3) {
        let condition = match n % 10 {
            0 => "if currency matches \"^(USD|EUR)$\"",
            1 => "if has order and amount <= $900",
            _ => "if amount < $500 and currency in [\"USD\", \"EUR\"]",
        };
        writeln!(text, "    permit area{}/tool{n} {condition}", n % 97).unwrap();
    }
    text.push_str(
        "    permit stripe/refund if amount < $500 and currency in [\"USD\", \"EUR\"]\n  }\n}\n",
    );
    Policy::load(&compile(&text)).unwrap()
}

fn call() -> Attested {
    let call = accept("stripe/refund", "bench", ARGUMENTS).unwrap();
    attest(call, Caller::Unattested { uid: 1_000 }).unwrap()
}

static NOTHING: Supposed = Supposed::nothing();

fn question(attested: &Attested) -> Question<'_> {
    Question {
        attested,
        door: Door::Govern,
        now: NOW,
        supposed: &NOTHING,
    }
}

fn unit(c: &mut Criterion) {
    let block = [7_u8; 512];
    c.bench_function("sha256-512B", |b| {
        b.iter(|| Sha256::digest(black_box(&block)))
    });
}

/// A policy of so many rules.
type Shape = fn(usize) -> Policy;

/// The evaluation alone, in memory that is used again: rules for as many tools, and rules for one tool that differ by the
/// customer or by the amount that they ask for.
fn evaluation(c: &mut Criterion) {
    let (call, state, mut scratch) = (call(), State::new(), Scratch::default());
    let shapes: [(&str, Shape); 3] = [
        ("evaluate", policy),
        ("evaluate-customers", |rules| {
            one_tool(rules, |n| {
                format!("customer == \"c-{n}\" and amount < $500")
            })
        }),
        ("evaluate-bands", |rules| {
            one_tool(rules, |n| format!("amount >= {n} and amount < {n}.5"))
        }),
    ];
    for (name, policy) in shapes {
        let mut group = c.benchmark_group(name);
        for size in SIZES {
            let policy = policy(size);
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| {
                    let verdict = policy.judge(&question(black_box(&call)), &state, &mut scratch);
                    verdict.map(|verdict| verdict.effect)
                });
            });
        }
        group.finish();
    }
}

/// `rules` rules for one tool.
fn one_tool(rules: usize, condition: impl Fn(usize) -> String) -> Policy {
    let mut text = String::from("agent \"bench\" {\n  default deny\n  rules {\n");
    for n in 0..rules {
        writeln!(text, "    permit stripe/refund if {}", condition(n)).unwrap();
    }
    text.push_str("  }\n}\n");
    Policy::load(&compile(&text)).unwrap()
}

fn acceptance(c: &mut Criterion) {
    c.bench_function("accept-115B", |b| {
        b.iter(|| accept("stripe/refund", "bench", black_box(ARGUMENTS)).unwrap())
    });
}

fn record_of(attested: &Attested, policy: &Policy, state: &State) -> Body {
    Body::Decision(Box::new(DecisionRecord {
        session: None,
        agent: attested.agent().to_owned(),
        attested: false,
        uid: attested.uid(),
        door: Door::Govern,
        tool: attested.call().tool().to_owned(),
        policy: *policy.digest(),
        decision: decide(&question(attested), policy, state),
        arguments: attested.call().arguments_text().to_owned(),
        effects: Vec::new(),
        args_salt: [1; 16],
        detail_salt: [2; 16],
    }))
}

fn header(seq: u64, prev: [u8; 32]) -> Header {
    Header {
        seq,
        prev,
        stack: "bench".into(),
        mode: RunMode::Enforced,
        time: NOW,
    }
}

/// Decide, write the record, hash the leaf, grow the tree: everything but the disk and the signature.
fn pipeline(c: &mut Criterion) {
    let (call, state, policy) = (call(), State::new(), policy(1_000));
    let (mut seq, mut prev, mut frontier) = (0, [0; 32], Frontier::default());
    c.bench_function("decide-record-hash", |b| {
        b.iter(|| {
            let encoded =
                record::encode(&header(seq, prev), &record_of(&call, &policy, &state)).unwrap();
            prev = tree::leaf_hash(&encoded.record);
            frontier.push(prev).unwrap();
            seq += 1;
        });
    });
    let encoded = record::encode(&header(0, prev), &record_of(&call, &policy, &state)).unwrap();
    let bytes = [encoded.record, encoded.detail].concat();
    c.bench_function("sha256-of-that-record", |b| {
        b.iter(|| Sha256::digest(black_box(&bytes)))
    });
}

/// What a batch of 64 costs without the disk: decided, encoded, framed, hashed, put into the tree, signed twice (by the
/// origin key and by the epoch's).
fn batch(c: &mut Criterion) {
    let (call, state, policy) = (call(), State::new(), policy(1_000));
    let keys = [
        SigningKey::from_bytes(&[1; 32]),
        SigningKey::from_bytes(&[2; 32]),
    ];
    let (mut seq, mut prev, mut frontier) = (0, [0; 32], Frontier::default());
    let mut frames = Vec::new();
    c.bench_function("batch-of-64", |b| {
        b.iter(|| {
            frames.clear();
            let mut leaves = Vec::with_capacity(64);
            for _ in 0..64 {
                let body = record_of(&call, &policy, &state);
                let encoded = record::encode(&header(seq, prev), &body).unwrap();
                frame::write_record(&mut frames, &encoded).unwrap();
                prev = tree::leaf_hash(&encoded.record);
                leaves.push(prev);
                seq += 1;
            }
            let grown = tree::Batch::append(&frontier, &leaves).unwrap();
            frontier = grown.frontier().clone();
            let root = grown.root();
            keys.each_ref().map(|key| key.sign(&root).to_bytes())
        });
    });
}

fn loading(c: &mut Criterion) {
    let bytes = faramesh_core::policy::artifact::encode(policy(10_000).artifact()).unwrap();
    let mut group = c.benchmark_group("load");
    group.sample_size(10);
    group.bench_function("10000-rules", |b| {
        b.iter(|| Policy::load(black_box(&bytes)).unwrap())
    });
    group.finish();
}

criterion_group!(
    benches, unit, evaluation, acceptance, pipeline, batch, loading
);

fn median_ns(name: &str) -> f64 {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        std::path::PathBuf::from,
    );
    let text = std::fs::read_to_string(
        target
            .join("criterion")
            .join(name)
            .join("new/estimates.json"),
    )
    .expect("criterion measured it");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value
        .pointer("/median/point_estimate")
        .and_then(serde_json::Value::as_f64)
        .unwrap()
}

fn print(name: &str, measured: f64, target: f64) {
    let word = if measured <= target { "met" } else { "MISSED" };
    println!("- {name}: {measured:.2}, target ≤ {target}: {word}");
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    let unit = median_ns("sha256-512B");
    println!(
        "\nSHA-256 of 512 B: {unit:.0} ns; strict parse of 115 B: {:.0} ns",
        median_ns("accept-115B")
    );
    for shape in ["evaluate", "evaluate-customers", "evaluate-bands"] {
        for size in SIZES {
            println!(
                "{shape}, {size} rules: {:.0} ns",
                median_ns(&format!("{shape}/{size}"))
            );
        }
        let at = |size: usize| median_ns(&format!("{shape}/{size}"));
        print(
            &format!("{shape}, at 10,000 rules / SHA-256 of 512 B"),
            at(10_000) / unit,
            2.0,
        );
        print(
            &format!("{shape}, at 10,000 rules / at 10 rules"),
            at(10_000) / at(10),
            1.6,
        );
    }
    let record = median_ns("sha256-of-that-record");
    print(
        "decide + record + hash / SHA-256 of the same record",
        median_ns("decide-record-hash") / record,
        5.0,
    );
    let each = median_ns("batch-of-64") / 64.0;
    println!(
        "a record of a batch of 64, decided, framed, in the tree and signed twice: {each:.0} ns, {:.2} × SHA-256 of it",
        each / record
    );
    print(
        "artifact load, 10,000 rules of which a tenth has an expression, ms",
        median_ns("load/10000-rules") / 1e6,
        5.0,
    );
}
