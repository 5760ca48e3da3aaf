//! `paths { … }`: globs over paths in calls.

use super::{Draft, Lowering};
use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::syntax::Block;

impl Lowering<'_> {
    pub(super) fn paths(&mut self, block: &Block, draft: &mut Draft) {
        let _ = draft;
        let message = format!(
            "{} is not supported by this version",
            quoted(&block.keyword.text)
        );
        self.report(Diagnostic::new(Number::BlockNotSupported, message).at(block.head, ""));
    }
}
