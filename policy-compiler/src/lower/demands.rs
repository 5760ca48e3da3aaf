//! `require enforcement LAYER`, and the names of layers in conditions.

use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::vocabulary::nearest;

/// Why a layer is none that a launch measures.
pub(crate) fn layer_fault(layer: &str, span: Span) -> Option<Box<Diagnostic>> {
    let known = ["landlock.fs.read"];
    if known.contains(&layer) {
        return None;
    }
    Some(Box::new(
        Diagnostic::new(
            Number::UnknownLayer,
            format!("unknown enforcement layer {}", quoted(layer)),
        )
        .at(span, "no launch measures it")
        .suggest(nearest(layer, known.iter().copied())),
    ))
}
