//! What the repository says of itself is true.

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn python(script: &str) {
    let output = Command::new("python3")
        .arg(root().join(script))
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_promise_in_security_md_names_a_test_that_exists() {
    python("tests/promises.py");
}

#[test]
fn the_trusted_base_in_architecture_md_is_the_one_in_the_tree() {
    python("tests/tcb.py");
}

#[test]
fn every_denial_code_has_its_page() {
    let page = std::fs::read_to_string(root().join("docs/codes.md")).unwrap();
    for code in faramesh_core::decision::Code::ALL {
        assert!(
            page.contains(&format!("## {}", code.as_str())),
            "docs/codes.md has no page for {}",
            code.as_str()
        );
    }
}

/// INTERNAL is our own fault: no input reaches it, and a unit test of the daemon does.
#[test]
fn every_denial_code_has_a_test_of_its_name() {
    let tests = std::fs::read_to_string(root().join("tests/e2e/codes.rs")).unwrap();
    for code in faramesh_core::decision::Code::ALL {
        let name = format!("fn {}()", code.as_str().to_lowercase());
        assert!(
            tests.contains(&name) || code == faramesh_core::decision::Code::Internal,
            "tests/e2e/codes.rs has no {name}"
        );
    }
}
