//! `require enforcement LAYER`, and the names of layers in conditions.

use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::vocabulary::nearest;
use faramesh_core::record::{self, is_layer};

/// The first words of the layers that a policy is for: of those that no launch has yet, those that are planned.
pub(super) const LAYERS: [&str; 7] = [
    "base",
    "cgroup",
    "egress",
    "landlock",
    "listener",
    "namespaces",
    "seccomp",
];

/// Why a layer, or a part of one, is none that a launch measures. Which parts a kernel has is known at the launch alone.
pub(crate) fn layer_fault(layer: &str, span: Span) -> Option<Box<Diagnostic>> {
    if is_layer(layer) {
        return None;
    }
    let root = layer.split('.').next().unwrap_or_default();
    let near = match LAYERS.contains(&root) {
        true => nearest(layer, record::LAYERS.iter().copied()),
        false => nearest(root, LAYERS.into_iter()),
    };
    Some(Box::new(
        Diagnostic::new(
            Number::UnknownLayer,
            format!("unknown enforcement layer {}", quoted(layer)),
        )
        .at(
            span,
            format!("expected {}, or a part of one", alternatives(LAYERS)),
        )
        .suggest(near),
    ))
}
