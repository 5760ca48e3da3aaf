//! A message on a stream: four bytes of length, big-endian, then that many bytes of protocol buffers.
//!
//! [`encode`] and [`length`] are pure, so that a reader with another kind of I/O (the daemon's is asynchronous) uses
//! the same framing; [`write`] and [`read`] are the blocking form. The limit is checked before anything is allocated.

use std::io::{self, Read, Write};

use prost::Message;

use crate::strict::{Malformed, decode_strict};

/// Bytes in front of each message.
pub const PREFIX_BYTES: usize = 4;

/// The longest message on attach.sock. A command line of 4 KiB, some names, some two hundred paths fit well.
pub const ATTACH_BYTES_MAX: usize = 64 * 1024;

/// The longest message between daemon and signer: a batch of 131,071 leaf hashes of 32 bytes.
pub const SIGNER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a message could not be read or written.
#[derive(Debug)]
pub enum Broken {
    /// The stream ended between two messages: the peer has closed it.
    Closed,
    /// The stream failed, or ended inside a message.
    Io(io::Error),
    /// Longer than the limit.
    TooLong {
        /// Bytes announced or to be sent.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not a message, or not a strict one.
    Malformed(Malformed),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => write!(f, "the peer closed the connection"),
            Self::Io(cause) => write!(f, "the connection failed: {cause}"),
            Self::TooLong { bytes, max } => {
                write!(f, "a message of {bytes} bytes, where {max} is the limit")
            }
            Self::Malformed(cause) => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(cause) => Some(cause),
            Self::Malformed(cause) => Some(cause),
            Self::Closed | Self::TooLong { .. } => None,
        }
    }
}

/// The whole frame of `message`: length and bytes.
///
/// # Errors
/// [`Broken::TooLong`] beyond `max` bytes.
pub fn encode<M: Message>(message: &M, max: usize) -> Result<Vec<u8>, Broken> {
    let bytes = message.encoded_len();
    let too_long = Broken::TooLong { bytes, max };
    let prefix = match u32::try_from(bytes) {
        Ok(prefix) if bytes <= max => prefix,
        _ => return Err(too_long),
    };
    let mut frame = Vec::with_capacity(PREFIX_BYTES + bytes);
    frame.extend_from_slice(&prefix.to_be_bytes());
    frame.extend_from_slice(&message.encode_to_vec());
    Ok(frame)
}

/// The length that `prefix` announces.
///
/// # Errors
/// [`Broken::TooLong`] beyond `max` bytes.
pub fn length(prefix: [u8; PREFIX_BYTES], max: usize) -> Result<usize, Broken> {
    match usize::try_from(u32::from_be_bytes(prefix)) {
        Ok(bytes) if bytes <= max => Ok(bytes),
        Ok(bytes) => Err(Broken::TooLong { bytes, max }),
        Err(_) => Err(Broken::TooLong {
            bytes: usize::MAX,
            max,
        }),
    }
}

/// The message in `body`, the bytes that followed the prefix.
///
/// # Errors
/// [`Broken::Malformed`].
pub fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Broken> {
    decode_strict(body).map_err(Broken::Malformed)
}

/// Writes one message and flushes.
///
/// # Errors
/// [`Broken::TooLong`] before a byte is written; [`Broken::Io`].
pub fn write<M: Message>(to: &mut impl Write, message: &M, max: usize) -> Result<(), Broken> {
    let frame = encode(message, max)?;
    to.write_all(&frame)
        .and_then(|()| to.flush())
        .map_err(Broken::Io)
}

/// Reads one message, blocking until all of it is there.
///
/// # Errors
/// [`Broken::Closed`] where the stream ends before the first byte; else as the variants say.
pub fn read<M: Message + Default>(from: &mut impl Read, max: usize) -> Result<M, Broken> {
    let mut prefix = [0; PREFIX_BYTES];
    let (first, rest) = prefix.split_at_mut(1);
    loop {
        match from.read(first) {
            Ok(0) => return Err(Broken::Closed),
            Ok(_) => break,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(Broken::Io(cause)),
        }
    }
    from.read_exact(rest).map_err(Broken::Io)?;
    let mut body = vec![0; length(prefix, max)?];
    from.read_exact(&mut body).map_err(Broken::Io)?;
    decode(&body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Hello, Refused};

    fn refusal() -> Refused {
        Refused {
            code: "X".into(),
            message: "y".into(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_then_the_stream_is_closed() {
        let mut stream = Vec::new();
        write(&mut stream, &refusal(), ATTACH_BYTES_MAX).unwrap();
        write(&mut stream, &Refused::default(), ATTACH_BYTES_MAX).unwrap();
        let mut stream = stream.as_slice();
        assert_eq!(
            read::<Refused>(&mut stream, ATTACH_BYTES_MAX).unwrap(),
            refusal()
        );
        assert_eq!(
            read::<Refused>(&mut stream, ATTACH_BYTES_MAX).unwrap(),
            Refused::default()
        );
        assert!(matches!(
            read::<Refused>(&mut stream, ATTACH_BYTES_MAX),
            Err(Broken::Closed)
        ));
    }

    #[test]
    fn half_a_frame_is_an_error_and_not_an_end() {
        let frame = encode(&refusal(), ATTACH_BYTES_MAX).unwrap();
        for cut in 1..frame.len() {
            let mut stream = &frame[..cut];
            assert!(
                matches!(
                    read::<Refused>(&mut stream, ATTACH_BYTES_MAX),
                    Err(Broken::Io(_))
                ),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_the_body_is_read() {
        let mut stream = &[0xff, 0xff, 0xff, 0xff][..];
        assert!(matches!(
            read::<Refused>(&mut stream, 64),
            Err(Broken::TooLong { max: 64, .. })
        ));
        let long = Hello {
            agent: "x".repeat(65),
            ..Hello::default()
        };
        assert!(matches!(
            encode(&long, 64),
            Err(Broken::TooLong { max: 64, .. })
        ));
        let fits = Refused {
            code: "x".repeat(62),
            ..Refused::default()
        };
        assert_eq!(encode(&fits, 64).unwrap().len(), PREFIX_BYTES + 64);
        assert_eq!(length([0, 0, 0, 64], 64).unwrap(), 64);
    }

    #[test]
    fn a_body_with_an_unknown_field_is_refused() {
        let mut stream = &[0, 0, 0, 2, 0x78, 0x01][..];
        assert!(matches!(
            read::<Refused>(&mut stream, 64),
            Err(Broken::Malformed(_))
        ));
    }
}
