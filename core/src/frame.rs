//! Frames: how records and notes lie in a segment.
//!
//! ```text
//! offset  bytes  what
//!      0      4  magic "FMJ1"
//!      4      1  kind: 1 record, 2 note
//!      5      4  payload length, big-endian
//!      9      4  CRC-32C over kind, length and payload, big-endian
//!     13      …  payload
//! ```
//!
//! A record's payload is a 4-byte big-endian length, that many bytes of record, the two 16-byte salts (arguments, then
//! detail), and the detail to the end. A note's payload is the note's text. A segment is zero-filled beforehand: where
//! a frame would begin and only zeros follow, the written data ends. No frame crosses a segment.
//!
//! Invariant: a frame that [`Frames`] yields has a valid CRC and a bounded length; nothing else is said of it.

use std::ops::Range;

use memchr::memmem;

use crate::record::Encoded;

/// Begins each frame. No byte of it is zero, so that a frame never looks like the end.
pub const MAGIC: [u8; 4] = *b"FMJ1";

/// Magic, kind, length, CRC.
pub const HEADER_LEN: usize = 13;

/// A decision's arguments are at most 1 MiB, its detail quotes them (at most twice as long) beside the inputs; the
/// rest is slack. A longer length is damage, not a frame.
pub const PAYLOAD_MAX: usize = 4 << 20;

const KIND_RECORD: u8 = 1;
const KIND_NOTE: u8 = 2;

/// Before the detail: the record's length and the salts.
const RECORD_OVERHEAD: usize = 4 + 32;

/// Why a payload cannot become a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`PAYLOAD_MAX`].
    #[error("a frame carries at most {PAYLOAD_MAX} bytes, not {0}")]
    TooLong(usize),
}

/// A frame's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A record and what lies beside it.
    Record(StoredRecord<'a>),
    /// A signed note, not yet verified.
    Note(&'a [u8]),
}

/// A record as it lies in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRecord<'a> {
    /// Canonical bytes: the Merkle leaf.
    pub record: &'a [u8],
    /// The salt of the arguments; zero where the kind has none.
    pub args_salt: &'a [u8; 16],
    /// The salt of the detail; zero where the kind has none.
    pub detail_salt: &'a [u8; 16],
    /// Canonical detail bytes; empty where the kind has none, or where they were erased.
    pub detail: &'a [u8],
}

/// What stands at an offset of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A frame, and the bytes of the segment that it takes.
    Frame {
        /// From its magic to the end of its payload.
        at: Range<usize>,
        /// Its content.
        frame: Frame<'a>,
    },
    /// Only zeros, or nothing, from here to the segment's end.
    End {
        /// Where the written data ends.
        offset: usize,
    },
    /// Neither a frame nor the end.
    Bad {
        /// Where.
        offset: usize,
        /// Why.
        why: Damage,
    },
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Zeros where a frame would begin, and something after them.
    #[error("zeros are followed by data")]
    Hole,
    /// Not the magic.
    #[error("no frame begins here")]
    Magic,
    /// Neither record nor note.
    #[error("the frame's kind is unknown")]
    Kind,
    /// Longer than a frame may be, or than the segment.
    #[error("the frame's length is impossible")]
    Length,
    /// The checksum does not match.
    #[error("the frame's checksum does not match")]
    Checksum,
    /// The checksum holds but the payload is not of its kind's form.
    #[error("the frame's payload is malformed")]
    Payload,
}

/// Appends a record's frame to `out`.
///
/// # Errors
/// Where it is too long.
pub fn write_record(out: &mut Vec<u8>, encoded: &Encoded) -> Result<(), Error> {
    let len = RECORD_OVERHEAD + encoded.record.len() + encoded.detail.len();
    let record_len = u32::try_from(encoded.record.len()).map_err(|_| Error::TooLong(len))?;
    let [args_salt, detail_salt] = &encoded.salts;
    write(
        out,
        KIND_RECORD,
        &[
            &record_len.to_be_bytes(),
            &encoded.record,
            args_salt,
            detail_salt,
            &encoded.detail,
        ],
    )
}

/// Appends a note's frame to `out`.
///
/// # Errors
/// Where it is too long.
pub fn write_note(out: &mut Vec<u8>, note: &str) -> Result<(), Error> {
    write(out, KIND_NOTE, &[note.as_bytes()])
}

/// The number of bytes that [`write_record`] appends.
pub const fn record_frame_len(encoded: &Encoded) -> usize {
    HEADER_LEN + RECORD_OVERHEAD + encoded.record.len() + encoded.detail.len()
}

fn write(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) -> Result<(), Error> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let payload_len = u32::try_from(len)
        .ok()
        .filter(|_| len <= PAYLOAD_MAX)
        .ok_or(Error::TooLong(len))?;
    let mut crc = checksum_head(kind, payload_len);
    for part in parts {
        crc = crc32c::crc32c_append(crc, part);
    }
    out.reserve(HEADER_LEN + len);
    out.extend_from_slice(&MAGIC);
    out.push(kind);
    out.extend_from_slice(&payload_len.to_be_bytes());
    out.extend_from_slice(&crc.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

fn checksum_head(kind: u8, payload_len: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), &payload_len.to_be_bytes())
}

/// Walks a segment's bytes. Yields frames up to the first [`Item::End`] or [`Item::Bad`], which is the last item.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    segment: &'a [u8],
    offset: usize,
    done: bool,
}

impl<'a> Frames<'a> {
    /// From the segment's first byte.
    pub const fn new(segment: &'a [u8]) -> Self {
        Frames::from(segment, 0)
    }

    /// From an offset at which a frame ended.
    pub const fn from(segment: &'a [u8], offset: usize) -> Self {
        Frames {
            segment,
            offset,
            done: false,
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.done {
            return None;
        }
        let item = read(self.segment, self.offset);
        match &item {
            Item::Frame { at, .. } => self.offset = at.end,
            Item::End { .. } | Item::Bad { .. } => self.done = true,
        }
        Some(item)
    }
}

/// After damage at `offset`: the first later offset at which a whole frame with a valid checksum stands.
pub fn resync(segment: &[u8], offset: usize) -> Option<usize> {
    let from = offset.checked_add(1)?;
    let rest = segment.get(from..)?;
    memmem::find_iter(rest, &MAGIC)
        .map(|found| from + found)
        .find(|at| matches!(read(segment, *at), Item::Frame { .. }))
}

/// What stands at `offset`.
pub fn read(segment: &[u8], offset: usize) -> Item<'_> {
    let rest = segment.get(offset..).unwrap_or_default();
    let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() else {
        return if is_zero(rest) {
            Item::End { offset }
        } else {
            Item::Bad {
                offset,
                why: Damage::Magic,
            }
        };
    };
    let [m0, m1, m2, m3, kind, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return match (m0, is_zero(rest)) {
            (_, true) => Item::End { offset },
            (0, false) => Item::Bad {
                offset,
                why: Damage::Hole,
            },
            _ => Item::Bad {
                offset,
                why: Damage::Magic,
            },
        };
    }
    let payload_len = u32::from_be_bytes([l0, l1, l2, l3]);
    let Some(payload) = usize::try_from(payload_len)
        .ok()
        .filter(|len| *len <= PAYLOAD_MAX)
        .and_then(|len| after.get(..len))
    else {
        return Item::Bad {
            offset,
            why: Damage::Length,
        };
    };
    if crc32c::crc32c_append(checksum_head(kind, payload_len), payload)
        != u32::from_be_bytes([c0, c1, c2, c3])
    {
        return Item::Bad {
            offset,
            why: Damage::Checksum,
        };
    }
    let frame = match kind {
        KIND_RECORD => match stored_record(payload) {
            Some(stored) => Frame::Record(stored),
            None => {
                return Item::Bad {
                    offset,
                    why: Damage::Payload,
                };
            }
        },
        KIND_NOTE => Frame::Note(payload),
        _ => {
            return Item::Bad {
                offset,
                why: Damage::Kind,
            };
        }
    };
    Item::Frame {
        at: offset..offset + HEADER_LEN + payload.len(),
        frame,
    }
}

fn stored_record(payload: &[u8]) -> Option<StoredRecord<'_>> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    let (args_salt, rest) = rest.split_first_chunk::<16>()?;
    let (detail_salt, detail) = rest.split_first_chunk::<16>()?;
    Some(StoredRecord {
        record,
        args_salt,
        detail_salt,
        detail,
    })
}

/// The offset after the last byte that is not zero.
pub fn written_len(segment: &[u8]) -> usize {
    // Preallocated segments are mostly zeros: whole blocks first, then the block that holds the last data.
    const BLOCK: usize = 4096;
    let mut end = segment.len();
    while end >= BLOCK && segment.get(end - BLOCK..end).is_some_and(is_zero) {
        end -= BLOCK;
    }
    segment
        .get(..end)
        .and_then(|head| head.iter().rposition(|byte| *byte != 0))
        .map_or(0, |last| last + 1)
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(record: &[u8], detail: &[u8]) -> Encoded {
        Encoded {
            record: record.to_vec(),
            detail: detail.to_vec(),
            salts: [[7; 16], [9; 16]],
        }
    }

    fn segment() -> Vec<u8> {
        let mut out = Vec::new();
        write_record(&mut out, &encoded(b"{\"a\":1}", b"{}")).unwrap();
        write_note(&mut out, "a note\n").unwrap();
        write_record(&mut out, &encoded(b"{\"b\":2}", b"")).unwrap();
        out.resize(out.len() + 5000, 0);
        out
    }

    #[test]
    fn what_is_written_is_read_and_zeros_end_it() {
        let segment = segment();
        let items: Vec<_> = Frames::new(&segment).collect();
        assert_eq!(items.len(), 4);
        let Item::Frame {
            frame: Frame::Record(first),
            at,
        } = &items[0]
        else {
            panic!("{items:?}")
        };
        assert_eq!(
            (first.record, first.detail),
            (&b"{\"a\":1}"[..], &b"{}"[..])
        );
        assert_eq!((first.args_salt, first.detail_salt), (&[7; 16], &[9; 16]));
        assert_eq!(at.len(), record_frame_len(&encoded(b"{\"a\":1}", b"{}")));
        assert!(matches!(
            &items[1],
            Item::Frame {
                frame: Frame::Note(b"a note\n"),
                ..
            }
        ));
        assert_eq!(
            items[3],
            Item::End {
                offset: segment.len() - 5000
            }
        );
        assert_eq!(written_len(&segment), segment.len() - 5000);
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_damage_and_the_next_frame_is_found_again() {
        let good = segment();
        let Some(Item::Frame { at, .. }) = Frames::new(&good).next() else {
            panic!()
        };
        for bit in 0..at.end * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(read(&bad, 0), Item::Bad { offset: 0, .. }),
                "bit {bit}"
            );
            assert_eq!(resync(&bad, 0), Some(at.end), "bit {bit}");
        }
    }

    #[test]
    fn data_after_zeros_is_a_hole_and_not_the_end() {
        let mut bad = segment();
        let last = bad.len() - 1;
        bad[last] = 1;
        let item = Frames::new(&bad).last();
        assert!(
            matches!(
                item,
                Some(Item::Bad {
                    why: Damage::Hole,
                    ..
                })
            ),
            "{item:?}"
        );
        assert_eq!(written_len(&bad), bad.len());
        assert_eq!(written_len(&[0; 10_000]), 0);
    }

    #[test]
    fn every_truncation_is_the_end_or_damage_and_never_a_shorter_frame() {
        let good = segment();
        let whole: Vec<_> = Frames::new(&good).collect();
        for len in 0..good.len() - 5000 {
            for item in Frames::new(&good[..len]) {
                if matches!(item, Item::Frame { .. }) {
                    assert!(whole.contains(&item), "cut at {len}");
                }
            }
        }
    }

    #[test]
    fn a_payload_beyond_the_bound_is_neither_written_nor_read() {
        let mut out = Vec::new();
        let long = "x".repeat(PAYLOAD_MAX + 1);
        assert_eq!(
            write_note(&mut out, &long),
            Err(Error::TooLong(PAYLOAD_MAX + 1))
        );
        assert!(out.is_empty());
        let mut forged = MAGIC.to_vec();
        forged.push(KIND_NOTE);
        forged.extend_from_slice(&(PAYLOAD_MAX as u32 + 1).to_be_bytes());
        forged.resize(HEADER_LEN + PAYLOAD_MAX + 1, 1);
        assert_eq!(
            read(&forged, 0),
            Item::Bad {
                offset: 0,
                why: Damage::Length
            }
        );
    }
}
