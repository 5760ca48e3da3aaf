//! The text of a policy file, and places in it.
//!
//! Invariant: a [`Span`] that leaves this crate lies on character boundaries of the text that it was made for.

use std::ops::Range;

/// A policy file's size, bytes: 100,000 rules of usual length fit, ten times what the corpus' largest needs.
pub const SOURCE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One policy file as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What diagnostics call it: a path relative to the stack.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

impl SourceFile {
    /// A file from text that is already at hand.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        SourceFile {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// A range of bytes in a file's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to and without `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    /// From the start of this one to the end of the other.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span {
            start: self.start,
            end: other.end.max(self.end),
        }
    }

    /// The place just behind it.
    #[must_use]
    pub const fn after(self) -> Span {
        Span {
            start: self.end,
            end: self.end,
        }
    }

    pub(crate) const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A place as people count: from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Where the lines of a text start.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Lines { text, starts }
    }

    /// Index from 0 of the line that holds this byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1)
    }

    /// The bytes of a line, without its end.
    pub(crate) fn range(&self, line: usize) -> Range<usize> {
        let start = self.starts.get(line).copied().unwrap_or(self.text.len());
        let end = self
            .starts
            .get(line + 1)
            .map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }

    pub(crate) fn position(&self, at: usize) -> Position {
        let line = self.line(at);
        let start = self.range(line).start;
        let before = self.text.get(start..at.min(self.text.len())).unwrap_or("");
        Position {
            line: line + 1,
            column: before.chars().count() + 1,
        }
    }
}

/// Where rules stand in their source: what an artifact does not say, so that layout is no part of its digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceMap {
    /// By agent, the 1-based line of each of its rules, in their order.
    pub agents: std::collections::BTreeMap<String, Vec<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let lines = Lines::new("ab\näöü x\n");
        assert_eq!(lines.position(0), Position { line: 1, column: 1 });
        assert_eq!(
            lines.position("ab\näöü ".len()),
            Position { line: 2, column: 5 }
        );
        assert_eq!(lines.range(1), 3.."ab\näöü x".len());
        assert_eq!(lines.position(1000).line, 3);
    }
}
