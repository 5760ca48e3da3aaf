//! What a start found is made durable before anybody is told of it.
//!
//! A reader sees the page cache, and a process that was killed, or a sync that failed, leaves there what is not on the
//! disk: a segment's name without the fsync of its directory, frames and notes without their fdatasync, and, worst, pages
//! that the kernel marked clean although it could not write them, for which another fdatasync succeeds and means nothing.
//! Everything at or below the signer's head was synced before it was confirmed. So at a start the names are synced, and
//! what is to be adopted is written again, which makes its pages dirty again, and synced; only then the signer adopts it.
//! Otherwise a loss of power in between would leave a signer that has confirmed what no disk holds.
#![forbid(unsafe_code)]

use super::segment::{self, Disk};
use faramesh_core::frame::{self, Frame, Frames, Item};
use std::io;
use std::path::Path;

/// Makes the records from `from_size` on durable, up to byte `end` of the segment that begins with leaf `last`.
///
/// # Errors
/// As the disk says; nothing was changed that a reader could see.
pub(super) fn settle(
    dir: &Path,
    disk: &dyn Disk,
    from_size: u64,
    last: u64,
    end: usize,
) -> io::Result<()> {
    let firsts = segment::list(dir)?;
    let mut next = firsts.iter().skip(1);
    for first in firsts.iter().take_while(|first| **first <= last) {
        // The next segment begins where this one's records end.
        if next
            .next()
            .is_some_and(|next| *next <= from_size && *next <= last)
        {
            continue;
        }
        let bytes = std::fs::read(segment::segment_path(dir, *first))?;
        let from = begin_of(&bytes, *first, from_size);
        let to = if *first == last {
            end
        } else {
            frame::written_len(&bytes)
        };
        if let Some(unsettled) = bytes.get(from..to) {
            let file = disk.open(*first)?;
            file.write_at(unsettled, from as u64)?;
            file.sync()?;
        }
    }
    Ok(())
}

/// Where the frame of record `seq` begins, in a segment whose first record is `first`.
fn begin_of(bytes: &[u8], first: u64, seq: u64) -> usize {
    let mut due = first;
    for item in Frames::new(bytes) {
        if let Item::Frame {
            at,
            frame: Frame::Record(_),
        } = item
        {
            if due >= seq {
                return at.start;
            }
            due += 1;
        }
    }
    0
}
