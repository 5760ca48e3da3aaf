//! What a policy is once it is compiled, and how a call is put to it. Its meaning is defined in `docs/semantics.md`.

pub mod artifact;
