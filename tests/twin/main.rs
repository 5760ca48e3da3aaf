//! The proof of meaning: a slow interpreter written from `docs/semantics.md` beside the compiler and the core, and
//! everything that compares the two.
//!
//! `chance number json` are tools. The interpreter is `tree` (a policy as a person wrote it), `read` (out of the syntax
//! tree), `facts logic conditions patterns schemas paths time windows decide`, each beside one part of the page. It knows
//! nothing of the compiler's lowering and takes from the core only the words of a verdict. `generate` and `print` make
//! policies and calls, `real` asks the real pipeline, `world` is what both sides know. The tests are in `differential`, `exhaustive`, `laws` and `state`.
//!
//! Replay a failure with `FARAMESH_SEED=<seed> cargo test -p faramesh-tests --test twin <test>`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails; which of these a file needs changes with its tests"
)]

mod chance;
mod json;
mod number;

mod read;
mod tree;

mod conditions;
mod decide;
mod facts;
mod letters;
mod logic;
mod paths;
mod patterns;
mod schemas;
mod time;
mod windows;

mod generate;
mod print;
mod real;
mod shrink;
mod world;

mod differential;
mod exhaustive;
mod laws;
mod state;
