//! `examples { … }`: calls and what must come out.

use super::{Draft, Lowering};
use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::syntax::Block;

impl Lowering<'_> {
    pub(super) fn examples(&mut self, block: &Block, draft: &mut Draft) {
        let _ = draft;
        let message = format!(
            "{} is not supported by this version",
            quoted(&block.keyword.text)
        );
        self.report(Diagnostic::new(Number::BlockNotSupported, message).at(block.head, ""));
    }
}
