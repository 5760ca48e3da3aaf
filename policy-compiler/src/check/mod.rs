//! What a policy probably does not mean: checks over a whole agent. Warnings only; an error under `--strict`.
//!
//! Invariant: at most [`WIDE_RULES_MAX`] times the number of rules, so that a hundred thousand do not stop the compiler.

mod absent;
mod bounds;
mod names;
mod reach;
mod trust;
mod truths;

use crate::conditions::Tables;
use crate::diagnostic::Findings;
use crate::lower::{Declared, LoweredRule};
use crate::source::Span;
use faramesh_core::decision::Effect;

/// Unconditional rules over several tools that are remembered, and pairs that are looked at: bounds the work on a
/// hostile file.
const WIDE_RULES_MAX: usize = 256;

/// An agent after its rules were lowered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agent<'a> {
    pub(crate) rules: &'a [LoweredRule],
    pub(crate) tables: &'a Tables,
    pub(crate) declared: &'a Declared,
    pub(crate) default: Effect,
    /// What `redact` hides: of which tools, which argument, and where that stands.
    pub(crate) redacted: &'a [(String, Vec<String>, Span)],
    /// Its `paths` block.
    pub(crate) paths: Option<Span>,
}

/// All checks of one agent's rules.
pub(crate) fn agent(agent: &Agent<'_>, diagnostics: &mut Findings) {
    // A rule with a fault left a hole: what stands around it would be misjudged.
    if diagnostics.has_errors() {
        return;
    }
    reach::never_applies(agent, diagnostics);
    names::nearly_the_same(agent, diagnostics);
    absent::absent_field_denies(agent, diagnostics);
    absent::cover_hole(agent, diagnostics);
    absent::unknown_at_door(agent, diagnostics);
    bounds::unbounded_below(agent, diagnostics);
    bounds::paths_by_name(agent, diagnostics);
    trust::claimed(agent, diagnostics);
    trust::name_for_text(agent, diagnostics);
    trust::redacted_deferral(agent, diagnostics);
}
