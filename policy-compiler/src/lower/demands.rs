//! `require enforcement LAYER`, and the names of layers in conditions.

use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::vocabulary::nearest;

/// Layers that a launch probes, by the first part of their names.
pub(super) const LAYERS: [&str; 7] = [
    "base",
    "cgroup",
    "egress",
    "landlock",
    "listener",
    "namespaces",
    "seccomp",
];
/// Bytes of a layer's name: more than any has.
const LAYER_BYTES_MAX: usize = 128;

/// Why a layer, or a part of one, is none that a launch measures. Which parts a kernel has is known at the launch alone.
pub(crate) fn layer_fault(layer: &str, span: Span) -> Option<Box<Diagnostic>> {
    let root = layer.split('.').next().unwrap_or_default();
    let plain = layer.split('.').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    });
    if plain && layer.len() <= LAYER_BYTES_MAX && LAYERS.contains(&root) {
        return None;
    }
    Some(Box::new(
        Diagnostic::new(
            Number::UnknownLayer,
            format!("unknown enforcement layer {}", quoted(layer)),
        )
        .at(
            span,
            format!("expected {}, or a part of one", alternatives(LAYERS)),
        )
        .suggest(nearest(root, LAYERS.into_iter())),
    ))
}
