//! What the engine promises, with a real journal on a real disk and a signer on a thread.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a failed step is a failed test"
)]

mod activation;
mod around;
mod durability;
mod epochs;
mod erasure;
mod order;
mod retention;
mod snapshots;
mod upkeep;
mod world;
