//! Text that an agent (or anybody else) may have written, made safe for a terminal.
//!
//! Invariant: this is the only way such text is printed, and it goes through here once. What comes out holds no control character, no escape
//! sequence, nothing that reorders or hides what stands beside it, no line break; and two different texts never look
//! alike, because the backslash that marks an escape is itself escaped.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

/// Characters printed before the rest is counted and left out: a screen's worth.
pub const UNTRUSTED_CHARS_MAX: usize = 2_000;

/// Renders hostile text for a terminal by its `Display`. It has no other way out.
#[derive(Clone, Copy)]
pub struct Untrusted<'a>(pub &'a str);

/// The same for text in which a backslash is an escape already, such as a rule or JSON: it is shown as it is written.
/// Nothing is escaped twice, and still no two different texts look alike.
#[derive(Clone, Copy)]
pub struct Written<'a>(pub &'a str);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        harmless(self.0, "\\\\", f)
    }
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        harmless(self.0, "\\", f)
    }
}

fn harmless(text: &str, backslash: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    let mut chars = text.chars();
    for c in chars.by_ref().take(UNTRUSTED_CHARS_MAX) {
        match c {
            '\\' => f.write_str(backslash)?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if is_deceptive(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    match chars.count() {
        0 => Ok(()),
        rest => write!(f, "…(+{rest} characters)"),
    }
}

/// Hostile text for a file of ours that a person or another program opens: as [`Untrusted`], but whole, because what is
/// exported is evidence. `written` is for text in which a backslash is an escape already, as in [`Written`].
pub fn whole(text: &str, written: bool) -> Cow<'_, str> {
    if !text
        .chars()
        .any(|c| (c == '\\' && !written) || is_deceptive(c))
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\\' if !written => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_deceptive(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Whether a character acts on the terminal, reorders text, or takes up no room that a reader could see.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()                                      // C0, DEL, C1: ESC and CSI among them
        || matches!(c,
            '\u{00ad}'                                  // soft hyphen
            | '\u{034f}'                                // combining grapheme joiner
            | '\u{061c}' | '\u{200e}' | '\u{200f}'      // bidi marks
            | '\u{202a}'..='\u{202e}'                   // bidi embeddings and overrides
            | '\u{2066}'..='\u{2069}'                   // bidi isolates
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // fillers that look like nothing
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' // zero width
            | '\u{2028}' | '\u{2029}'                   // line and paragraph separators
            | '\u{2800}'                                // an empty braille cell
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'                 // tags and variation selectors: a hidden alphabet
            | '\u{e000}'..='\u{f8ff}'                   // private use: whatever a font makes of it
            | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Untrusted(text).to_string()
    }

    #[test]
    fn plain_text_of_any_language_is_shown_as_it_is() {
        assert_eq!(
            shown("refund of 80 € für Zoë, 退款"),
            "refund of 80 € für Zoë, 退款"
        );
    }

    #[test]
    fn an_escape_sequence_does_not_reach_the_terminal() {
        assert_eq!(
            shown("\u{1b}[2Jcleared\u{9b}31m"),
            "\\u{1b}[2Jcleared\\u{9b}31m"
        );
        assert_eq!(shown("\u{1b}]0;title\u{7}"), "\\u{1b}]0;title\\u{7}");
    }

    #[test]
    fn a_line_break_cannot_forge_a_line_of_our_own() {
        assert_eq!(
            shown("x\nPERMIT all\r\u{2028}y"),
            "x\\nPERMIT all\\r\\u{2028}y"
        );
    }

    #[test]
    fn reordered_and_invisible_characters_are_named() {
        assert_eq!(
            shown("exe\u{202e}txt.\u{200b}x\u{feff}\u{e0041}"),
            "exe\\u{202e}txt.\\u{200b}x\\u{feff}\\u{e0041}"
        );
    }

    #[test]
    fn a_written_escape_is_told_from_an_escaped_character() {
        assert_ne!(shown("\\u{1b}"), shown("\u{1b}"));
    }

    #[test]
    fn a_rule_is_shown_as_it_is_written_and_still_harmless() {
        let rule = r#"permit x if q matches "^a\\.b\"\\d$""#;
        assert_eq!(Written(rule).to_string(), rule);
        assert_eq!(
            Written("\"\u{1b}[2J\\u{1b}\"\n\u{202e}").to_string(),
            "\"\\u{1b}[2J\\u{1b}\"\\n\\u{202e}"
        );
    }

    #[test]
    fn exported_text_is_as_harmless_and_never_cut() {
        let hostile = "a\\b\n\u{1b}[2J\u{202e}\u{9b}x\t";
        assert_eq!(whole(hostile, false), shown(hostile));
        assert_eq!(whole(hostile, true), Written(hostile).to_string());
        let long = "é".repeat(UNTRUSTED_CHARS_MAX * 2);
        assert_eq!(whole(&long, false), long);
    }

    #[test]
    fn endless_text_is_cut_and_says_so() {
        let long = "a".repeat(UNTRUSTED_CHARS_MAX + 7);
        assert!(
            shown(&long).ends_with("(+7 characters)"),
            "{}",
            shown(&long)
        );
    }
}
