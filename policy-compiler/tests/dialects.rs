//! Both published dialects say the same: the same policy in each compiles to equal bytes.
#![expect(clippy::panic, reason = "a policy that does not compile has failed")]

use faramesh_core::policy::artifact::encode;
use faramesh_policy_compiler::{Options, SourceFile, Style, compile, render};

fn bytes(text: &str) -> Vec<u8> {
    let source = SourceFile::new("governance.fms", text);
    let outcome = compile(&source, &Options::default());
    let shown = render(&source, &outcome.diagnostics, Style::Plain);
    let artifact = outcome
        .artifact
        .unwrap_or_else(|| panic!("{text}\n{shown}"));
    encode(&artifact).unwrap_or_else(|why| panic!("{why}"))
}

/// In an agent: the docs dialect, the spec dialect.
const AGENT: &[(&str, &str)] = &[
    (
        "budget \"daily\" { max = \"$500\" max_calls = 100 warn_at = 0.80 on_exceed = \"defer\" }",
        "budget daily {\n on_exceed defer\n warn_at 0.8\n max_calls 100\n max $500.00\n}",
    ),
    (
        "session { max_duration = \"30m\" idle_timeout = \"300s\" }",
        "session {\n idle_timeout 5m\n max_duration 0.5h\n}",
    ),
    (
        "rate_limit \"stripe/*\": 10 per minute",
        "rate_limit stripe/* 10 per minute",
    ),
    (
        "redact \"stripe/*\" args: [\"card\", \"to.address\"]",
        "redact stripe/* args [\"to.address\", \"card\"]",
    ),
    (
        "egress { deny = [\"*\"] allow = [\"b.example\", \"a.example\"] }",
        "egress {\n allow [a.example, b.example]\n deny [\"*\"]\n}",
    ),
    (
        "spawn { allow = [\"x\"] max_concurrent = 3 }",
        "spawn { max_concurrent 3 allowed_types [x] }",
    ),
    (
        "completion_gate { require = [\"no_pending_defers\", \"effect:deny\"] }",
        "completion_gate { require effect:deny require no_pending_defers }",
    ),
    (
        "alert { on = \"deny\" notify = \"slack://#x\" }\nalert { on = [\"permit\"] notify = \"email:a@b\" }",
        "alert { notify email:a@b on [permit] } alert { notify \"slack://#x\" on deny }",
    ),
    (
        "delegate { target_agent = \"b\" scope = [\"y\", \"x\"] ttl = \"24h\" ceiling = \"inherited\" }",
        "delegate b { scope x y ttl 1d ceiling inherited }",
    ),
    (
        "ambient { max_data_volume = \"10mb\" on_exceed = \"deny\" }",
        "ambient { on_exceed deny max_data_volume 10000kb }",
    ),
    (
        "selector \"risk\" { source = \"https://x.example\" cache = \"30s\" on_timeout = \"deny\" }",
        "selector risk { source \"https://x.example\" on_timeout deny cache 30s }",
    ),
    (
        "credential \"stripe\" { backend = \"vault\" scope = [\"refund\", \"read\"] ttl = \"30s\" }",
        "credential stripe {\n backend vault\n scope read refund\n ttl 30s }",
    ),
    (
        "phase \"p\" { duration = \"1h\" next = \"enforce\" tools = [\"b\", \"a\"] rules { permit x if n < 5 } }",
        "phase p { permit x when n < 5\n tools [a, b] next enforce duration 60m }",
    ),
    (
        "model_policy { allow = [\"m\"] }\nenforcement { mcp_proxy_port = 8081 }",
        "enforcement { mcp_proxy_port 8081 } model_policy { allow m }",
    ),
    (
        "require enforcement seccomp\nrequire enforcement cgroup",
        "require enforcement cgroup seccomp",
    ),
    (
        "permit x if amount <= 500 reason \"r\"",
        "var limit 500\nallow x when amount <= limit reason: \"r\"",
    ),
];

/// At the top of the file.
const STACK: &[(&str, &str)] = &[
    (
        "runtime { mode = \"audit\" wal_dir = \"/w\" grpc_port = 9000 approval_ttl = \"15m\" timezone = \"Europe/Berlin\" }",
        "runtime { timezone europe/berlin approval_ttl 900s grpc_port 9000 wal_dir \"/w\" mode shadow }",
    ),
    (
        "provider \"v\" { type = \"vault\" addr = \"https://v.example\" token = env(\"T\") }",
        "provider v { token env('T') addr 'https://v.example' type vault }",
    ),
    (
        "identity \"w\" { type = \"spiffe\" socket = \"/s\" trust_domain = \"example.org\" }",
        "identity w { trust_domain example.org socket /s type spiffe }",
    ),
    (
        "system \"main\" { version = \"1.0\" max_output_bytes = 1000 }",
        "system main { max_output_bytes 1kb version 1.0 }",
    ),
    (
        "manifest grant \"a\" to \"b\" max 5 approval\nmanifest orchestrator \"a\" undeclared \"deny\"",
        "manifest orchestrator a undeclared deny manifest grant a to b max 5 approval",
    ),
    (
        "trust { spiffe_federated \"spiffe://b\" bundle_url = \"https://b\" }",
        "trust { spiffe_federated spiffe://b \\\n bundle_url \"https://b\" }",
    ),
];

#[test]
fn each_construct_compiles_to_the_same_bytes_in_both_dialects() {
    for (docs, spec) in AGENT {
        let docs = format!("agent \"a\" {{\n  default = \"deny\"\n{docs}\n}}\n");
        let spec = format!("agent a {{ default deny\n{spec} }}");
        assert_eq!(bytes(&docs), bytes(&spec), "{docs}\n{spec}");
    }
    for (docs, spec) in STACK {
        let docs = format!("{docs}\nagent \"a\" {{\n  default = \"deny\"\n}}\n");
        let spec = format!("agent a {{ default deny }}\n{spec}\n");
        assert_eq!(bytes(&docs), bytes(&spec), "{docs}\n{spec}");
    }
}

#[test]
fn no_two_of_these_constructs_have_the_same_bytes() {
    let mut all: Vec<Vec<u8>> = AGENT
        .iter()
        .map(|(docs, _)| bytes(&format!("agent a {{\n{docs}\n}}\n")))
        .chain(
            STACK
                .iter()
                .map(|(docs, _)| bytes(&format!("{docs}\nagent a {{ }}\n"))),
        )
        .collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}
