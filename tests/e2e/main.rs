//! The promises kept, as sentences: each test is one, on a stack of its own with real processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails; which of these a file needs changes with its tests"
)]

mod calls;
mod codes;
mod journal;
mod keeping;
mod launch;
mod lifecycle;
mod policies;
mod proofs;
mod readme;
mod repository;
mod systemd;
mod witness;

/// A policy with each verdict, for agents that the world runs.
const POLICY: &str = r#"
agent "bot" {
  RUN_AS
  default deny
  rules {
    deny! shell/*
    permit crm/lookup
    permit stripe/refund if amount < $100
    defer stripe/refund if amount >= $100 reason "a person looks at refunds of $100 and more" notify "finance"
    deny mail/send if not (to matches "@example\\.com$") reason "mail goes to example.com only"
    permit mail/send
  }
}
"#;

/// The same for a development world, where `run_as` has no one to name.
fn development_policy() -> String {
    POLICY.replace("  RUN_AS\n", "")
}
