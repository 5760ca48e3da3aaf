//! Strict decoding: a message is accepted only if encoding it again takes exactly as many bytes as were read.
//!
//! A decoder of protocol buffers is made to be lenient: it skips what it does not know and lets the last of several
//! values win. Two readers of one byte string can then see two different calls. The comparison of lengths closes
//! that for the messages of this crate. For them the canonical encoding is the shortest one that gives the message,
//! so every deviation that makes a reader skip or overwrite bytes makes the input longer than `encoded_len()`:
//!
//! | deviation | why the input is longer |
//! |---|---|
//! | unknown field, at any depth, also as a group | it is dropped: at least two bytes are missing from the encoding |
//! | a singular scalar, string or bytes field twice | the first is overwritten: its tag and value are missing |
//! | an embedded message twice | they are merged: one tag is missing, and one length is never longer than two |
//! | two members of a `oneof` | the first is overwritten |
//! | a default value written out (`false`, `0`, `""`) | it is not encoded at all |
//! | a tag, length or number as a varint with needless bytes | the shortest varint is encoded |
//! | bytes after the message | they would be a field: unknown, known twice, or malformed |
//!
//! The argument needs that no deviation makes the input *shorter*, or one could pay for another. Only packed
//! repeated numbers could (one element unpacked is a byte shorter); the messages have none, and a test holds that.
//!
//! What is **not** refused, because no byte is ignored: fields in another order; a `bool` written as 2 to 127; a
//! `uint32` varint of five bytes whose bits above the 32nd are cut off; enum numbers that nobody has named (they
//! arrive as numbers, and their reader must refuse them). None of these lets two readers that use this crate disagree.

use prost::Message;
use prost::bytes::Buf;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// Not protocol buffers of this message at all.
    Undecodable(prost::DecodeError),
    /// Decoded, but not every byte counts: an unknown field, a value given twice, a default or number written long.
    Surplus {
        /// Bytes that came.
        given: usize,
        /// Bytes that the decoded message needs.
        needed: usize,
    },
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Undecodable(cause) => write!(f, "not a message of this kind: {cause}"),
            Self::Surplus { given, needed } => write!(
                f,
                "the message has {given} bytes where {needed} say everything: an unknown field, a field given twice, or a needlessly long form"
            ),
        }
    }
}

impl std::error::Error for Malformed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Undecodable(cause) => Some(cause),
            Self::Surplus { .. } => None,
        }
    }
}

/// Decodes all of `input`, accepting only what the module's table lets through.
///
/// # Errors
/// [`Malformed`], whose text names no byte of the input.
pub fn decode_strict<M: Message + Default>(input: impl Buf) -> Result<M, Malformed> {
    let given = input.remaining();
    let message = M::decode(input).map_err(Malformed::Undecodable)?;
    let needed = message.encoded_len();
    if needed != given {
        return Err(Malformed::Surplus { given, needed });
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{
        AttachMessage, GovernRequest, Hello, OutcomeRequest, Resolution, attach_message,
    };

    fn call() -> Vec<u8> {
        GovernRequest {
            agent: "a".into(),
            tool: "x/y".into(),
            arguments: b"{}".to_vec(),
        }
        .encode_to_vec()
    }

    #[track_caller]
    fn refused<M: Message + Default>(bytes: &[u8]) {
        assert!(
            matches!(decode_strict::<M>(bytes), Err(Malformed::Surplus { .. })),
            "{bytes:02x?}"
        );
    }

    #[test]
    fn a_canonical_message_is_accepted() {
        let message: GovernRequest = decode_strict(call().as_slice()).unwrap();
        assert_eq!(message.tool, "x/y");
        assert_eq!(
            decode_strict::<GovernRequest>(&[][..]).unwrap(),
            GovernRequest::default()
        );
    }

    #[test]
    fn an_unknown_field_is_refused() {
        refused::<GovernRequest>(&[call(), vec![0x78, 0x01]].concat());
        refused::<GovernRequest>(&[call(), vec![0x7a, 0x00]].concat());
    }

    #[test]
    fn an_unknown_group_is_refused() {
        refused::<GovernRequest>(&[call(), vec![0x7b, 0x7c]].concat());
    }

    #[test]
    fn an_unknown_field_in_an_embedded_message_is_refused() {
        // AttachMessage { hello: Hello { field 15 = 1 } }
        refused::<AttachMessage>(&[0x0a, 0x02, 0x78, 0x01]);
    }

    #[test]
    fn a_scalar_given_twice_is_refused_even_with_equal_values() {
        refused::<GovernRequest>(&[call(), vec![0x12, 0x03, b'x', b'/', b'y']].concat());
        refused::<GovernRequest>(&[call(), vec![0x12, 0x03, b'z', b'/', b'y']].concat());
    }

    #[test]
    fn an_embedded_message_given_twice_is_refused() {
        let hello = Hello {
            protocol: 1,
            ..Hello::default()
        };
        let one = AttachMessage {
            kind: Some(attach_message::Kind::Hello(hello)),
        }
        .encode_to_vec();
        refused::<AttachMessage>(&[one.clone(), one].concat());
    }

    #[test]
    fn two_members_of_a_oneof_are_refused() {
        refused::<Resolution>(&[0x10, 0x01, 0x18, 0x05]);
    }

    #[test]
    fn a_default_value_written_out_is_refused() {
        refused::<GovernRequest>(&[0x0a, 0x00]);
        refused::<OutcomeRequest>(&[0x08, 0x00]);
    }

    #[test]
    fn a_needlessly_long_number_is_refused() {
        refused::<OutcomeRequest>(&[0x08, 0x81, 0x00]);
        refused::<GovernRequest>(&[0x0a, 0x81, 0x00, b'a']);
    }

    #[test]
    fn half_a_message_is_refused() {
        let call = call();
        assert!(matches!(
            decode_strict::<GovernRequest>(&call[..call.len() - 1]),
            Err(Malformed::Undecodable(_))
        ));
    }
}
