//! What the compiler says: numbered, with places, a cause and a next step.
//!
//! Invariant: nothing from a policy file reaches a message except through [`quoted`], because a policy may come from a
//! stranger and a terminal obeys what it is shown.

use crate::number::Number;
use crate::source::{Lines, SourceFile, Span};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// A source line longer than this is not shown, only named: nobody reads it and drawing it is slow.
const SHOWN_LINE_BYTES_MAX: usize = 1_000;
/// Bytes of source that one finding shows; places farther apart are named by their line.
const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// Findings of one severity that are kept in memory.
const KEPT_MAX: usize = 1_000;
/// Characters of the input that a message repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It compiles, and probably does not mean what was meant; an error under `--strict`.
    Warning,
    /// There is no artifact.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable: `E0101`, `W0003`.
    pub number: Number,
    /// How bad.
    pub severity: Severity,
    /// One line, lower case, its input in backticks.
    pub message: String,
    /// Places; the first is where to look.
    pub labels: Vec<Label>,
    /// Causes and circumstances.
    pub notes: Vec<String>,
    /// Next steps.
    pub help: Vec<String>,
}

/// A place and what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// May be empty.
    pub text: String,
}

impl Diagnostic {
    /// A finding of this number; its severity is the number's.
    pub fn new(number: Number, message: impl Into<String>) -> Self {
        Diagnostic {
            number,
            severity: number.severity(),
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// Adds a place; the first one added is where to look.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds a next step.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Adds `did you mean …?` where something was near.
    #[must_use]
    pub(crate) fn suggest(self, near: Option<&str>) -> Self {
        match near {
            Some(word) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    fn start(&self) -> usize {
        self.labels.first().map_or(0, |label| label.span.start)
    }
}

/// The findings of one run, bounded: a hostile file has a fault a line and millions of lines.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= KEPT_MAX {
            self.kept.push(diagnostic);
        }
    }

    /// Takes the findings of a part, their places changed to those of the whole.
    pub(crate) fn append(&mut self, part: Findings, place: impl Fn(Span) -> Span) {
        self.errors += part.errors;
        self.warnings += part.warnings;
        for mut diagnostic in part.kept {
            if self.kept.len() >= 2 * KEPT_MAX {
                break;
            }
            for label in &mut diagnostic.labels {
                label.span = place(label.span);
            }
            self.kept.push(diagnostic);
        }
    }

    /// Whether a finding of this number that was kept looks at this place.
    pub(crate) fn says(&self, number: Number, span: Span) -> bool {
        let here = |diagnostic: &Diagnostic| {
            diagnostic.number == number
                && diagnostic
                    .labels
                    .first()
                    .is_some_and(|label| label.span == span)
        };
        self.kept.iter().any(here)
    }

    /// How many errors there were, kept or not.
    pub(crate) const fn errors(&self) -> usize {
        self.errors
    }

    pub(crate) const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// No further error is kept: what would only make one readable need not be worked out.
    pub(crate) const fn is_full(&self) -> bool {
        self.errors >= KEPT_MAX
    }

    /// How many there were, kept or not.
    pub(crate) const fn count(&self) -> usize {
        self.errors + self.warnings
    }

    pub(crate) fn into_vec(self) -> Vec<Diagnostic> {
        self.kept
    }
}

/// In the order of the file, errors before warnings at one place.
pub(crate) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        a.start()
            .cmp(&b.start())
            .then(b.severity.cmp(&a.severity))
            .then(a.number.cmp(&b.number))
    });
}

/// Input as a message may repeat it: in backticks, shortened, nothing in it that a terminal obeys or hides.
pub(crate) fn quoted(input: &str) -> String {
    let mut shown = String::from("`");
    for (count, character) in input.chars().enumerate() {
        if count == QUOTED_CHARS_MAX {
            shown.push('…');
            break;
        }
        if character == '`' || character.is_control() || crate::lex::is_invisible(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown.push('`');
    shown
}

/// `a`, `a` or `b`, `a`, `b` or `c`.
pub(crate) fn alternatives<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// Whether rendering may use terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Text only.
    #[default]
    Plain,
    /// ANSI colours: only where a terminal was asked for.
    Colour,
}

/// All findings for people: source lines with carets, causes, next steps; ends in a newline unless there is none.
pub fn render(source: &SourceFile, diagnostics: &[Diagnostic], style: Style) -> String {
    let lines = Lines::new(&source.text);
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&renderer.render(&[group(source, &lines, diagnostic)]));
        text.push_str("\n\n");
    }
    text.pop();
    text
}

fn group<'a>(source: &'a SourceFile, lines: &Lines<'a>, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.number.as_str());
    let shown = window(lines, diagnostic);
    let mut group = match shown {
        Some((first_line, window)) => {
            let snippet = Snippet::source(seen(source.text.get(window.range()).unwrap_or("")))
                .line_start(first_line + 1)
                .path(seen(&source.name))
                .annotations(near(diagnostic, window).enumerate().map(|(index, label)| {
                    let kind = if index == 0 {
                        AnnotationKind::Primary
                    } else {
                        AnnotationKind::Context
                    };
                    let start = label.span.start - window.start;
                    let end = label.span.end - window.start;
                    let text = (!label.text.is_empty()).then_some(label.text.as_str());
                    kind.span(start..end.max(start)).label(text)
                }));
            title.element(snippet)
        }
        None => match diagnostic.labels.first() {
            Some(label) => {
                let position = lines.position(label.span.start);
                title.element(
                    Origin::path(seen(&source.name))
                        .line(position.line)
                        .char_column(position.column),
                )
            }
            None => title.element(Origin::path(seen(&source.name))),
        },
    };
    for label in far(diagnostic, shown) {
        let line = lines.position(label.span.start).line;
        group = group.element(Level::NOTE.message(format!("{}: line {line}", label.text)));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// Places that lie in the lines shown.
fn near(diagnostic: &Diagnostic, window: Span) -> impl Iterator<Item = &Label> {
    let inside =
        move |label: &&Label| label.span.start >= window.start && label.span.end <= window.end;
    diagnostic.labels.iter().filter(inside)
}

/// Places beside the first that do not.
fn far(diagnostic: &Diagnostic, shown: Option<(usize, Span)>) -> impl Iterator<Item = &Label> {
    let outside = move |label: &&Label| {
        shown.is_none_or(|(_, window)| {
            label.span.start < window.start || label.span.end > window.end
        })
    };
    diagnostic.labels.iter().skip(1).filter(outside)
}

/// Text as a terminal may show it: what it obeys or hides becomes a sign of the same number of bytes.
fn seen(text: &str) -> Cow<'_, str> {
    let hidden = |character: char| {
        crate::lex::is_invisible(character) || matches!(character, '\u{80}'..='\u{9f}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let sign = |character: char| match character.len_utf8() {
        _ if !hidden(character) => character,
        2 => '¿',
        3 => '\u{fffd}',
        _ => '\u{1fbc4}',
    };
    Cow::Owned(text.chars().map(sign).collect())
}

/// The lines that a finding shows: only they are handed to the renderer, so that its cost does not grow with the file.
/// `None` where the first place stands in a line that nobody reads.
fn window(lines: &Lines<'_>, diagnostic: &Diagnostic) -> Option<(usize, Span)> {
    let lines_of = |label: &Label| (lines.line(label.span.start), lines.line(label.span.end));
    let shown = |(first, last): (usize, usize)| {
        let sane = |line: usize| lines.range(line).len() <= SHOWN_LINE_BYTES_MAX;
        let span = Span::new(lines.range(first).start, lines.range(last).end);
        (sane(first) && sane(last) && span.end - span.start <= SHOWN_BYTES_MAX).then_some(span)
    };
    let mut reach = lines_of(diagnostic.labels.first()?);
    let mut span = shown(reach)?;
    for label in &diagnostic.labels {
        let (first, last) = lines_of(label);
        let wider = (reach.0.min(first), reach.1.max(last));
        if let Some(wide) = shown(wider) {
            (reach, span) = (wider, wide);
        }
    }
    Some((reach.0, span))
}

/// A finding as a stable value for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiagnosticReport {
    /// `E0101`.
    pub number: &'static str,
    /// `error` or `warning`.
    pub severity: Severity,
    /// As in [`Diagnostic::message`].
    pub message: String,
    /// The file as it was named.
    pub file: String,
    /// Places; the first is where to look.
    pub labels: Vec<LabelReport>,
    /// Causes and circumstances.
    pub notes: Vec<String>,
    /// Next steps.
    pub help: Vec<String>,
}

/// A place as a stable value for programs; lines and columns from 1, columns in characters, the end exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the struct's line says it all")]
pub struct LabelReport {
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
    pub text: String,
}

/// All findings as stable values: what `--format json` prints.
pub fn report(source: &SourceFile, diagnostics: &[Diagnostic]) -> Vec<DiagnosticReport> {
    let lines = Lines::new(&source.text);
    let label = |label: &Label| {
        let (start, end) = (
            lines.position(label.span.start),
            lines.position(label.span.end),
        );
        LabelReport {
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
            text: label.text.clone(),
        }
    };
    diagnostics
        .iter()
        .map(|diagnostic| DiagnosticReport {
            number: diagnostic.number.as_str(),
            severity: diagnostic.severity,
            message: diagnostic.message.clone(),
            file: source.name.clone(),
            labels: diagnostic.labels.iter().map(label).collect(),
            notes: diagnostic.notes.clone(),
            help: diagnostic.help.clone(),
        })
        .collect()
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_repeats_no_character_that_a_terminal_obeys_or_hides() {
        assert_eq!(
            quoted("a\u{1b}[31mb\u{202e}`"),
            r"`a\u{1b}[31mb\u{202e}\u{60}`"
        );
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 60 + 3);
    }

    #[test]
    fn a_place_in_an_endless_line_is_named_and_not_drawn() {
        let source = SourceFile::new("governance.fms", format!("{}oops", " ".repeat(100_000)));
        let diagnostic = Diagnostic::new(Number::UnexpectedToken, "unexpected `oops`")
            .at(Span::new(100_000, 100_004), "");
        let text = render(&source, &[diagnostic], Style::Plain);
        assert!(text.contains("governance.fms:1:100001"), "{text}");
        assert!(text.len() < 500, "{text}");
    }
}
