//! Bytes to a call: parsed and bounded at the door. Behind it nobody sees raw bytes from an agent.
//!
//! Names are ASCII on purpose: a name that looks like another one, is normalised in another way, or turns the reading
//! direction around would slip past a rule that a person wrote.

use crate::json::{self, JsonInvalid, Object, Value};
use std::fmt;

/// Bytes of a tool's name: longer than any in use, short enough to print.
pub const TOOL_BYTES_MAX: usize = 256;
/// Bytes of an agent's name.
pub const AGENT_BYTES_MAX: usize = 128;

/// One tool call as claimed: tool, agent, arguments. Only [`accept`] makes it.
///
/// Its `Debug` does not show the arguments: they may hold what no log should.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    tool: Box<str>,
    agent_claim: Box<str>,
    arguments: Object,
    text: String,
    held_bytes: usize,
}

/// Why bytes are no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallInvalid {
    /// The tool's name.
    #[error("tool name: {0}")]
    Tool(#[source] NameInvalid),
    /// The agent that the caller says it is.
    #[error("agent name: {0}")]
    Agent(#[source] NameInvalid),
    /// The arguments are no JSON document for us.
    #[error("arguments: {0}")]
    Arguments(#[source] JsonInvalid),
    /// A document, but no object.
    #[error("arguments: not a JSON object")]
    NotAnObject,
    /// Beyond [`json::BYTES_MAX`] once they are in the form in which they go on, where `1e20` has 21 digits.
    #[error(
        "arguments: {bytes} bytes in canonical form, more than {}",
        json::BYTES_MAX
    )]
    TooLong {
        /// How many.
        bytes: usize,
    },
}

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameInvalid {
    /// Nothing there.
    #[error("empty")]
    Empty,
    /// Too long.
    #[error("{bytes} bytes, more than {max}")]
    TooLong {
        /// How many.
        bytes: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Controls, spaces, `*`, letters beyond ASCII, direction marks, characters without width: all refused.
    #[error("{} at byte {at}: only letters a-z A-Z, digits and `{allowed}` may stand there", named(*.character))]
    Character {
        /// The first one.
        character: char,
        /// Where.
        at: usize,
        /// Beside letters and digits.
        allowed: &'static str,
    },
    /// `//`, or `/` at an end.
    #[error("empty part beside a `/`")]
    EmptySegment,
    /// `.` or `..`: something that turns names into paths would climb.
    #[error("`.` or `..` between slashes")]
    DotSegment,
}

/// A character as a message may show it: one that is seen stands for itself, any other by its number, which no terminal
/// obeys and which needs no escape of its own wherever the message goes.
fn named(character: char) -> String {
    match character {
        ' '..='~' => format!("`{character}`"),
        _ => format!("U+{:04X}", u32::from(character)),
    }
}

/// Makes a call of what came in.
///
/// # Errors
/// A name or a document that is not as described in [`NameInvalid`] and [`json::Problem`].
pub fn accept(tool: &str, agent_claim: &str, arguments: &[u8]) -> Result<Call, CallInvalid> {
    check_tool_name(tool).map_err(CallInvalid::Tool)?;
    if !agent_claim.is_empty() {
        check_agent_name(agent_claim).map_err(CallInvalid::Agent)?;
    }
    let Value::Object(object) = json::parse(arguments).map_err(CallInvalid::Arguments)? else {
        return Err(CallInvalid::NotAnObject);
    };
    let mut text = String::with_capacity(arguments.len());
    object.write_canonical(&mut text);
    if text.len() > json::BYTES_MAX {
        return Err(CallInvalid::TooLong { bytes: text.len() });
    }
    Ok(Call {
        tool: tool.into(),
        agent_claim: agent_claim.into(),
        held_bytes: object.held_bytes() + text.len(),
        arguments: object,
        text,
    })
}

impl Call {
    /// The tool's name.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The agent that the caller says it is; empty where it says nothing.
    pub fn agent_claim(&self) -> &str {
        &self.agent_claim
    }

    /// The arguments.
    pub const fn arguments(&self) -> &Object {
        &self.arguments
    }

    /// Memory that the arguments take while the call waits: for whoever bounds what waits.
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The arguments' canonical text: the only form in which they go on.
    pub fn arguments_text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = format_args!("{} bytes", self.text.len());
        let mut debug = f.debug_struct("Call");
        debug
            .field("tool", &self.tool)
            .field("agent_claim", &self.agent_claim);
        debug.field("arguments", &arguments).finish()
    }
}

/// A tool's name: parts of letters, digits and `_ - . :`, separated by `/`.
///
/// # Errors
/// See [`NameInvalid`].
pub fn check_tool_name(name: &str) -> Result<(), NameInvalid> {
    check_name(name, TOOL_BYTES_MAX, "_-.:/")?;
    check_segments(name)
}

/// An agent's name: letters, digits and `_ - . :`.
///
/// # Errors
/// See [`NameInvalid`].
pub fn check_agent_name(name: &str) -> Result<(), NameInvalid> {
    check_name(name, AGENT_BYTES_MAX, "_-.:")
}

pub(crate) fn check_name(name: &str, max: usize, allowed: &'static str) -> Result<(), NameInvalid> {
    if name.is_empty() {
        return Err(NameInvalid::Empty);
    }
    if name.len() > max {
        return Err(NameInvalid::TooLong {
            bytes: name.len(),
            max,
        });
    }
    let refused =
        |character: char| !character.is_ascii_alphanumeric() && !allowed.contains(character);
    match name
        .char_indices()
        .find(|(_, character)| refused(*character))
    {
        Some((at, character)) => Err(NameInvalid::Character {
            character,
            at,
            allowed,
        }),
        None => Ok(()),
    }
}

pub(crate) fn check_segments(name: &str) -> Result<(), NameInvalid> {
    for segment in name.split('/') {
        match segment {
            "" => return Err(NameInvalid::EmptySegment),
            "." | ".." => return Err(NameInvalid::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Problem;

    #[test]
    fn a_call_goes_on_as_canonical_text() {
        let call = accept("stripe/refund", "support-bot", br#"{ "b": 1.0, "a": "x" }"#).unwrap();
        assert_eq!(call.arguments_text(), r#"{"a":"x","b":1}"#);
        assert_eq!(
            (call.tool(), call.agent_claim()),
            ("stripe/refund", "support-bot")
        );
    }

    #[test]
    fn a_call_of_brackets_says_how_much_more_than_its_text_it_holds() {
        let brackets = format!("{}0{}", "[".repeat(30), "]".repeat(30));
        let text = format!("{{\"a\":[{}]}}", vec![brackets; 1_000].join(","));
        let held = accept("t", "", text.as_bytes()).unwrap().held_bytes();
        assert!(held > 10 * text.len(), "{held} of {}", text.len());
        let plain = accept("t", "", br#"{"amount":80,"customer":"c-17"}"#).unwrap();
        assert!(plain.held_bytes() < 1_024, "{}", plain.held_bytes());
    }

    #[test]
    fn a_calls_debug_text_does_not_show_its_arguments() {
        let shown = format!(
            "{:?}",
            accept("vault/read", "", br#"{"token":"hunter2"}"#).unwrap()
        );
        assert!(
            shown.contains("vault/read") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn arguments_that_are_no_object_are_refused() {
        for text in ["[]", "1", "null", "\"{}\""] {
            assert_eq!(
                accept("t", "", text.as_bytes()),
                Err(CallInvalid::NotAnObject),
                "{text}"
            );
        }
        let empty = JsonInvalid {
            at: 0,
            problem: Problem::End,
        };
        assert_eq!(accept("t", "", b""), Err(CallInvalid::Arguments(empty)));
    }

    #[test]
    fn arguments_that_grow_beyond_the_limit_in_canonical_form_are_refused() {
        let numbers = |count: usize| format!("{{\"a\":[{}]}}", vec!["1e20"; count].join(","));
        assert!(accept("t", "", numbers(40_000).as_bytes()).is_ok());
        let long = numbers(200_000);
        assert!(long.len() < json::BYTES_MAX);
        assert!(matches!(
            accept("t", "", long.as_bytes()),
            Err(CallInvalid::TooLong { bytes }) if bytes > 4 * 1024 * 1024
        ));
    }

    #[test]
    fn tool_names_of_the_wild_are_accepted() {
        for name in [
            "x",
            "stripe/refund",
            "mcp:server.tool-1",
            "a/b/c_D",
            "fs/.hidden",
            "0",
        ] {
            assert_eq!(check_tool_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_tool_name(&"x".repeat(TOOL_BYTES_MAX)), Ok(()));
    }

    #[test]
    fn tool_names_that_could_deceive_a_rule_or_a_person_are_refused() {
        use NameInvalid::{Character, DotSegment, Empty, EmptySegment, TooLong};
        assert_eq!(check_tool_name(""), Err(Empty));
        assert!(matches!(
            check_tool_name(&"x".repeat(TOOL_BYTES_MAX + 1)),
            Err(TooLong { .. })
        ));
        for name in ["/", "a/", "/a", "a//b"] {
            assert_eq!(check_tool_name(name), Err(EmptySegment), "{name}");
        }
        for name in ["..", "a/../b", "a/.", "./a"] {
            assert_eq!(check_tool_name(name), Err(DotSegment), "{name}");
        }
        let deceptive = [
            "stripe/*",
            "a b",
            "a\0",
            "a\n",
            "a\u{202e}b",
            "a\u{200b}",
            "a\u{feff}",
            "аdmin",
            "ｄel",
            "e\u{301}",
            "a\u{1b}[0m",
        ];
        for name in deceptive {
            assert!(
                matches!(check_tool_name(name), Err(Character { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_refused_character_is_shown_escaped() {
        let message = accept("pay\u{202e}", "", b"{}").unwrap_err().to_string();
        assert_eq!(
            message,
            "tool name: U+202E at byte 3: only letters a-z A-Z, digits and `_-.:/` may stand there"
        );
        let message = accept("pay now", "", b"{}").unwrap_err().to_string();
        assert!(message.starts_with("tool name: ` ` at byte 3"), "{message}");
    }

    #[test]
    fn an_agent_claim_is_empty_or_a_name() {
        assert!(accept("t", "", b"{}").is_ok());
        for claim in [
            "a/b",
            "a b",
            "bot\u{200d}",
            &"x".repeat(AGENT_BYTES_MAX + 1),
        ] {
            assert!(
                matches!(accept("t", claim, b"{}"), Err(CallInvalid::Agent(_))),
                "{claim:?}"
            );
        }
    }
}
