//! Bytes to a call: parsed and bounded at the door. Behind it nobody sees raw bytes from an agent.
//!
//! Names are ASCII on purpose: a name that looks like another one, is normalised in another way, or turns the reading
//! direction around would slip past a rule that a person wrote.

use crate::json::{self, JsonInvalid, Object, Value};

/// Bytes of a tool's name: longer than any in use, short enough to print.
pub const TOOL_BYTES_MAX: usize = 256;
/// Bytes of an agent's name.
pub const AGENT_BYTES_MAX: usize = 128;

/// One tool call as claimed: tool, agent, arguments. Only [`accept`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    tool: Box<str>,
    agent_claim: Box<str>,
    arguments: Object,
    text: String,
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
    #[error("`{}` at byte {at}: only letters a-z A-Z, digits and `{allowed}` may stand there", .character.escape_unicode())]
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
    Ok(Call {
        tool: tool.into(),
        agent_claim: agent_claim.into(),
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

    /// The arguments' canonical text: the only form in which they go on.
    pub fn arguments_text(&self) -> &str {
        &self.text
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
