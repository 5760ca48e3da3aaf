//! Kleene's three values, as tables.

/// What a test or a condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    No,
    Maybe,
    Yes,
}

use Truth::{Maybe, No, Yes};

impl Truth {
    pub(crate) fn of(yes: bool) -> Truth {
        if yes { Yes } else { No }
    }

    pub(crate) fn not(self) -> Truth {
        match self {
            No => Yes,
            Maybe => Maybe,
            Yes => No,
        }
    }

    /// No if either is no; yes if both are yes; else maybe.
    pub(crate) fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (No, _) | (_, No) => No,
            (Yes, Yes) => Yes,
            _ => Maybe,
        }
    }

    /// Yes if either is yes; no if both are no; else maybe.
    pub(crate) fn or(self, other: Truth) -> Truth {
        match (self, other) {
            (Yes, _) | (_, Yes) => Yes,
            (No, No) => No,
            _ => Maybe,
        }
    }

    /// Whether all are yes.
    pub(crate) fn all(truths: impl IntoIterator<Item = Truth>) -> Truth {
        truths.into_iter().fold(Yes, Truth::and)
    }

    /// Whether one is yes.
    pub(crate) fn any(truths: impl IntoIterator<Item = Truth>) -> Truth {
        truths.into_iter().fold(No, Truth::or)
    }
}
