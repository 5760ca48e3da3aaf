//! What a command prints: text for people on a terminal, JSON for programs, nothing more than asked for.
//!
//! Invariants: stdout carries the result and stderr everything else; colour appears only on a terminal and never with
//! `--no-color` or `NO_COLOR`; JSON is one value on one line in pure ASCII, so that no agent's text can act on a
//! terminal through it. A write that fails because the reader went away is not an error of the command.
#![forbid(unsafe_code)]

use crate::args::{Format, Global};
use crate::failure::Failure;
use crate::untrusted::is_deceptive;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Where a command's text goes, and in which dress.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    quiet: bool,
    colour_stdout: bool,
    colour_stderr: bool,
}

/// A meaning, not a colour: what it looks like is decided here alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// It holds, it is permitted.
    Good,
    /// Somebody should look.
    Caution,
    /// It is refused or broken.
    Bad,
    /// Less important than the rest.
    Faint,
    /// More important than the rest.
    Strong,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Paint::Good => "32",
            Paint::Caution => "33",
            Paint::Bad => "31",
            Paint::Faint => "2",
            Paint::Strong => "1",
        }
    }
}

impl Output {
    /// As the global flags and the environment want it.
    pub fn new(global: &Global) -> Output {
        let colour = !global.no_color && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Output {
            format: global.format,
            quiet: global.quiet,
            colour_stdout: colour && global.format == Format::Text && io::stdout().is_terminal(),
            colour_stderr: colour && io::stderr().is_terminal(),
        }
    }

    /// Whether a program reads: then stdout carries one value and nothing for people.
    pub fn is_json(&self) -> bool {
        self.format != Format::Text
    }

    /// The same without colour on stdout: for text that goes into a file.
    #[must_use]
    pub const fn without_colour(mut self) -> Output {
        self.colour_stdout = false;
        self
    }

    /// The form that was asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether progress may be drawn: a person watches stderr and did not ask for silence.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.is_json() && io::stderr().is_terminal()
    }

    /// A word of our own in its colour, for stdout.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        dress(self.colour_stdout, paint, text)
    }

    /// A line of the result, for people. Nothing in JSON.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.is_json() {
            to_stdout(text.as_ref());
        }
    }

    /// A line that is good to know but not the result. Nothing in JSON or with `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.is_json() && !self.quiet {
            to_stdout(text.as_ref());
        }
    }

    /// The result, for programs. Nothing in other forms.
    pub fn json<T: Serialize>(&self, value: &T) {
        if self.format == Format::Json {
            to_stdout(&ascii_json(value));
        }
    }

    /// The result in a form of its own, whatever was asked for.
    pub fn text(&self, text: impl AsRef<str>) {
        to_stdout(text.as_ref());
    }

    /// The result as SARIF. Nothing in other forms.
    pub fn sarif<T: Serialize>(&self, value: &T) {
        if self.format == Format::Sarif {
            to_stdout(&ascii_json(value));
        }
    }

    /// Whether stderr shows colour: findings about a policy are drawn in it.
    pub fn is_coloured(&self) -> bool {
        self.colour_stderr
    }

    /// Findings that the compiler rendered, on stderr.
    pub fn diagnostics(&self, text: &str) {
        to_stderr(text.trim_end_matches('\n'));
    }

    /// A line on stderr, kept under `--quiet`: somebody should look.
    pub fn warn(&self, text: impl AsRef<str>) {
        to_stderr(&format!(
            "{} {}",
            dress(self.colour_stderr, Paint::Caution, "warning:"),
            calm(text.as_ref())
        ));
    }

    /// A line on stderr that is only good to know.
    pub fn aside(&self, text: impl AsRef<str>) {
        if !self.quiet {
            to_stderr(text.as_ref());
        }
    }

    /// Why the command stopped, on stderr, in the dress that the reader asked for.
    pub fn failure(&self, failure: &Failure) {
        if self.is_json() {
            #[derive(Serialize)]
            struct Error<'a> {
                exit: u8,
                message: &'a str,
                next: Option<&'a str>,
            }
            #[derive(Serialize)]
            struct Outer<'a> {
                error: Error<'a>,
            }
            let error = Error {
                exit: failure.exit,
                message: &failure.message,
                next: failure.next.as_deref(),
            };
            to_stderr(&ascii_json(&Outer { error }));
            return;
        }
        to_stderr(&format!(
            "{} {}",
            dress(self.colour_stderr, Paint::Bad, "faramesh:"),
            calm(&failure.message)
        ));
        if let Some(next) = &failure.next {
            to_stderr(&format!(
                "  {} {}",
                dress(self.colour_stderr, Paint::Strong, "next:"),
                calm(next)
            ));
        }
    }
}

/// Our own words with names of files in them, which may hold anything: nothing that acts on a terminal gets through, and
/// lines of ours stay lines.
fn calm(text: &str) -> String {
    let mut calm = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_deceptive(c) {
            calm.extend(c.escape_unicode());
        } else {
            calm.push(c);
        }
    }
    calm
}

fn dress(colour: bool, paint: Paint, text: &str) -> String {
    if colour {
        format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code())
    } else {
        text.to_owned()
    }
}

fn to_stdout(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn to_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// One line of JSON in pure ASCII. Our own types always serialise: a map with other keys than strings is a bug.
pub fn ascii_json<T: Serialize>(value: &T) -> String {
    let text = match serde_json::to_string(value) {
        Ok(text) => text,
        Err(error) => {
            return format!(
                "{{\"error\":{{\"exit\":70,\"message\":\"not serialisable: {error}\",\"next\":null}}}}"
            );
        }
    };
    let mut out = String::with_capacity(text.len());
    ascii_escaped(&text, &mut out);
    out
}

/// Appends JSON in pure ASCII. Only a string can hold any other character, so an escape means the same.
pub fn ascii_escaped(json: &str, out: &mut String) {
    if json.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return out.push_str(json);
    }
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                use std::fmt::Write as _;
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let hostile = "a\u{202e}b\u{7f}\u{9b}\u{1b}[0m 😀 €";
        let text = ascii_json(&hostile);
        assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }

    #[test]
    fn a_files_name_cannot_act_on_the_terminal() {
        assert_eq!(
            calm("cannot read `\u{1b}[2Jx\u{202e}`\nnext line"),
            "cannot read `\\u{1b}[2Jx\\u{202e}`\nnext line"
        );
    }

    #[test]
    fn colour_is_put_on_only_where_it_is_wanted() {
        assert_eq!(dress(false, Paint::Bad, "x"), "x");
        assert_eq!(dress(true, Paint::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
