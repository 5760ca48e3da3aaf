//! The policies of `examples/` are what newcomers copy: they compile, and there is nothing to say about them.

use faramesh_policy_compiler::{Options, Style, compile_bytes, render};
use std::path::Path;

#[test]
fn the_support_bots_policy_compiles_without_a_finding() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/support-bot/governance.fms");
    let bytes = std::fs::read(path).unwrap();
    let (source, outcome) = compile_bytes("governance.fms", &bytes, &Options::default());
    let said = render(&source, &outcome.diagnostics, Style::Plain);
    assert_eq!(said, "");
    assert!(outcome.artifact.is_some());
}
