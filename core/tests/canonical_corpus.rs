//! Canonical text is one for every language: this core and the SDKs are held to the same vectors.

use std::path::Path;

use faramesh_core::json;
use serde_json::Value;

#[test]
fn every_vector_of_the_corpus_has_its_canonical_text_or_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/canonical.json");
    let corpus: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let valid = corpus["valid"].as_array().unwrap();
    let invalid = corpus["invalid"].as_array().unwrap();
    assert!(valid.len() > 40 && invalid.len() > 40);
    for vector in valid {
        let text = canonical(&given(vector));
        assert_eq!(
            text.as_deref(),
            vector["canonical"].as_str(),
            "{}",
            vector["about"]
        );
        let again = canonical(text.clone().unwrap().as_bytes());
        assert_eq!(again, text, "{}", vector["about"]);
    }
    for vector in invalid {
        assert_eq!(canonical(&given(vector)), None, "{}", vector["about"]);
    }
}

/// A call's arguments: an object, or nothing.
fn canonical(document: &[u8]) -> Option<String> {
    match json::parse(document) {
        Ok(value @ json::Value::Object(_)) => Some(value.canonical()),
        _ => None,
    }
}

fn given(vector: &Value) -> Vec<u8> {
    if let Some(text) = vector["given"].as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = vector["hex"].as_str().unwrap_or_default();
    (0..hex.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}
