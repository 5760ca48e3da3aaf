//! Policies for tests and benches.

use faramesh_policy_compiler::{Options, SourceFile, compile as compile_source};

/// Compiles a policy to artifact bytes.
///
/// # Panics
/// It does not compile: with the diagnostics.
#[must_use]
pub fn compile(text: &str) -> Vec<u8> {
    let outcome = compile_source(
        &SourceFile::new("governance.fms", text),
        &Options::default(),
    );
    let Some(artifact) = outcome.artifact else {
        panic!("the policy does not compile: {:?}", outcome.diagnostics)
    };
    faramesh_core::policy::artifact::encode(&artifact).expect("what compiles can be encoded")
}
