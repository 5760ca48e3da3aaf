//! Text to tokens.
//!
//! Invariants: every byte of the text is in a token, in white space or in a comment; tokens are in order and do not
//! overlap; the last is always [`Kind::End`]. Words are cut small (`stripe/*` is three tokens) and glued together by the
//! parser where the grammar wants a pattern, because the same signs mean other things in conditions.

use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;

/// Forbidden characters that are named one by one; a binary file would fill the screen.
const FORBIDDEN_NAMED_MAX: usize = 10;

/// Signs, longest first.
const SIGNS: [&str; 29] = [
    "==", "!=", "<=", ">=", "&&", "||", "{", "}", "(", ")", "[", "]", ",", ":", ".", "/", "*", "+",
    "-", "!", "=", "<", ">", "@", "%", "\\", "?", "~", ";",
];

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Letter or `_`, then letters, digits, `_`, `-`.
    Word,
    /// Digits, perhaps with point, exponent and unit, perhaps behind `$`: cut apart by the parser.
    Number,
    /// Index into [`Tokens::strings`].
    Text(usize),
    /// One of [`SIGNS`].
    Sign(&'static str),
    /// What no rule of the language takes; it has been reported.
    Bad,
    /// Behind the last.
    End,
}

/// One token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// First on its line.
    pub(crate) first: bool,
}

/// A file, cut.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) tokens: Vec<Token>,
    /// The values of the strings, escapes resolved.
    pub(crate) strings: Vec<String>,
}

/// Cuts a text; findings go to `diagnostics`, and what follows them is cut all the same.
pub(crate) fn lex(text: &str, diagnostics: &mut Findings) -> Tokens {
    refuse_forbidden(text, diagnostics);
    let mut lexer = Lexer {
        text,
        at: 0,
        first: true,
        out: Tokens::default(),
        diagnostics,
    };
    if text.starts_with('\u{feff}') {
        lexer.at = '\u{feff}'.len_utf8();
    }
    while lexer.step() {}
    lexer.out
}

/// Zero-width characters and those that change the direction of text.
pub(crate) const fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Reports what must not stand in a policy of any form.
pub(crate) fn refuse_forbidden(text: &str, diagnostics: &mut Findings) {
    let mut found = 0_usize;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let forbidden = match character {
            '\n' | '\t' => false,
            '\r' => !matches!(characters.peek(), Some((_, '\n'))),
            '\u{feff}' => at != 0,
            _ => character.is_control() || is_invisible(character),
        };
        if forbidden {
            found += 1;
            if found <= FORBIDDEN_NAMED_MAX {
                let what = if character.is_control() {
                    "a control character"
                } else {
                    "an invisible character"
                };
                diagnostics.push(
                    Diagnostic::new(
                        Number::ForbiddenCharacter,
                        format!("{what}: U+{:04X}", u32::from(character)),
                    )
                    .at(Span::new(at, at + character.len_utf8()), "remove it")
                    .note("what cannot be seen must not stand in a policy, not even in comments"),
                );
            }
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    first: bool,
    out: Tokens,
    diagnostics: &'a mut Findings,
}

impl Lexer<'_> {
    /// Takes one token, space or comment; `false` at the end.
    fn step(&mut self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or("");
        let Some(character) = rest.chars().next() else {
            self.push(Kind::End, 0);
            return false;
        };
        match character {
            '\n' => {
                self.first = true;
                self.at += 1;
            }
            '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => self.string(rest, character),
            '$' => self.number(rest, 1),
            '0'..='9' => self.number(rest, 0),
            'a'..='z' | 'A'..='Z' | '_' => self.push(Kind::Word, word_bytes(rest)),
            // What follows on the next line stands on this one.
            '\\' if line_ends(rest.get(1..).unwrap_or("")) => {
                self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            }
            _ if character.is_whitespace() || character.is_control() || is_invisible(character) => {
                self.at += character.len_utf8();
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => self.push(Kind::Sign(sign), sign.len()),
                None => self.unknown(rest),
            },
        }
        true
    }

    fn push(&mut self, kind: Kind, bytes: usize) {
        let span = Span::new(self.at, self.at + bytes);
        self.out.tokens.push(Token {
            kind,
            span,
            first: self.first,
        });
        self.first = false;
        self.at += bytes;
    }

    fn number(&mut self, rest: &str, sign_bytes: usize) {
        let bytes = sign_bytes + number_bytes(rest.get(sign_bytes..).unwrap_or(""));
        self.push(Kind::Number, bytes);
    }

    fn string(&mut self, rest: &str, quote: char) {
        let mut value = String::new();
        let mut characters = rest.char_indices().skip(1).peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '\n' => break,
                '\\' => {
                    let escaped = characters.peek().map(|(_, escaped)| *escaped);
                    match escaped {
                        Some('\\') => value.push('\\'),
                        Some('n') => value.push('\n'),
                        Some('t') => value.push('\t'),
                        Some(same @ ('"' | '\'')) => value.push(same),
                        Some('\n' | '\r') | None => break,
                        Some(other) => {
                            value.push('\\');
                            value.push(other);
                            self.unknown_escape(at, other);
                        }
                    }
                    characters.next();
                }
                _ if character == quote => {
                    self.text_token(value, at + 1);
                    return;
                }
                _ => value.push(character),
            }
        }
        let bytes = rest.find('\n').unwrap_or(rest.len());
        let bytes = rest.get(..bytes).unwrap_or("").trim_end().len();
        self.diagnostics.push(
            Diagnostic::new(Number::UnterminatedString, "a string without an end")
                .at(
                    Span::new(self.at, self.at + bytes),
                    format!("no {quote} on this line"),
                )
                .help("close it on the same line; write a line break inside a string as `\\n`"),
        );
        self.text_token(value, bytes);
    }

    fn text_token(&mut self, value: String, bytes: usize) {
        let index = self.out.strings.len();
        self.out.strings.push(value);
        self.push(Kind::Text(index), bytes);
    }

    fn unknown_escape(&mut self, at: usize, escaped: char) {
        let start = self.at + at;
        let shown: String = ['\\', escaped].iter().collect();
        self.diagnostics.push(
            Diagnostic::new(
                Number::UnknownEscape,
                format!("unknown escape {} in a string", quoted(&shown)),
            )
            .at(
                Span::new(start, start + 1 + escaped.len_utf8()),
                "both characters are kept",
            )
            .help(format!("write {} to say so", quoted(&format!("\\{shown}")))),
        );
    }

    fn unknown(&mut self, rest: &str) {
        let known = |character: char| {
            character.is_ascii_alphanumeric()
                || character.is_whitespace()
                || character.is_control()
                || is_invisible(character)
                || "\"'#$_".contains(character)
        };
        let bytes = rest
            .char_indices()
            .find(|(at, character)| {
                known(*character)
                    || SIGNS
                        .iter()
                        .any(|sign| rest.get(*at..).is_some_and(|rest| rest.starts_with(sign)))
            })
            .map_or(rest.len(), |(at, _)| at)
            .max(1);
        let shown = rest.get(..bytes).unwrap_or("");
        let finding = Diagnostic::new(
            Number::UnexpectedCharacter,
            format!("unexpected {}", quoted(shown)),
        )
        .at(Span::new(self.at, self.at + bytes), "");
        self.diagnostics.push(match shown {
            "&" => finding.help("write `and`"),
            "|" => finding.help("write `or`"),
            _ if shown.starts_with(['“', '”', '„', '«', '»', '‟']) => {
                finding.help("quotes of a word processor are not quotes here: write `\"`")
            }
            _ if shown.starts_with(['‘', '’', '‚', '‹', '›', '‛', '´']) => {
                finding.help("quotes of a word processor are not quotes here: write `'` or `\"`")
            }
            _ if shown.starts_with(['€', '£', '¥', '₹', '¢']) => finding
                .help("amounts are written `$500` or `500`: a policy knows no currencies")
                .help("to test the currency of a call, compare its own argument: `currency == \"EUR\"`"),
            _ if shown.chars().any(char::is_alphabetic) => {
                finding.help("bare words have only the letters a to z: put other words into quotes")
            }
            _ => finding,
        });
        self.push(Kind::Bad, bytes);
    }
}

fn line_ends(rest: &str) -> bool {
    matches!(
        rest.trim_start_matches([' ', '\t', '\r']).chars().next(),
        Some('\n')
    )
}

fn word_bytes(rest: &str) -> usize {
    rest.bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        .count()
}

/// Digits, point, exponent and whatever letters follow: the parser says what is wrong with them.
fn number_bytes(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits_from = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut end = digits_from(0);
    if end > 0 && bytes.get(end) == Some(&b'.') && digits_from(end + 1) > 0 {
        end += 1 + digits_from(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let digits = digits_from(end + 1 + sign);
        if digits > 0 {
            end += 1 + sign + digits;
        }
    }
    end + bytes
        .iter()
        .skip(end)
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> (Vec<String>, Vec<Diagnostic>) {
        let mut diagnostics = Findings::default();
        let tokens = lex(text, &mut diagnostics);
        let shown = tokens
            .tokens
            .iter()
            .map(|token| text[token.span.range()].to_string())
            .collect();
        (shown, diagnostics.into_vec())
    }

    #[test]
    fn patterns_amounts_and_durations_are_cut_where_the_parser_can_glue_them() {
        let (shown, diagnostics) = cut("permit a_b/v1/* if amount<=$500.50 and t!=15m # why\n");
        assert_eq!(
            shown,
            [
                "permit", "a_b", "/", "v1", "/", "*", "if", "amount", "<=", "$500.50", "and", "t",
                "!=", "15m", ""
            ]
        );
        assert!(diagnostics.is_empty());
    }

    #[test]
    fn an_unknown_escape_keeps_both_characters_and_warns() {
        let mut diagnostics = Findings::default();
        let tokens = lex(r#""^(go|npm)\s\\.\"""#, &mut diagnostics);
        assert_eq!(tokens.strings, [r#"^(go|npm)\s\.""#]);
        let diagnostics = diagnostics.into_vec();
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(diagnostics[0].number, Number::UnknownEscape);
    }

    #[test]
    fn a_string_ends_with_its_line_and_the_rest_of_the_file_is_still_read() {
        let (shown, diagnostics) = cut("reason \"oops\nnext 'x");
        assert_eq!(shown, ["reason", "\"oops", "next", "'x", ""]);
        assert_eq!(diagnostics.len(), 2);
    }

    #[test]
    fn windows_line_ends_and_a_leading_byte_order_mark_are_white_space_and_nothing_else_is() {
        assert!(cut("\u{feff}deny *\r\n").1.is_empty());
        for text in [
            "deny\r*",
            "a\u{0}",
            "# \u{202e}",
            "\"\u{200b}\"",
            "a \u{feff}",
            "\u{7f}",
        ] {
            assert_eq!(cut(text).1.len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_backslash_at_the_end_of_a_line_continues_it() {
        assert_eq!(cut("a \\\r\n b").0, ["a", "b", ""]);
        assert_eq!(cut("a \\ b").0, ["a", "\\", "b", ""]);
    }
}
