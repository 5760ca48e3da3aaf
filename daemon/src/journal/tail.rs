//! Reading the journal behind the writer: durable records, in order, as they become so.
//!
//! A reader opens segments read-only and looks at nothing above what is durable. It holds one block of a segment and a
//! few records, whatever it is asked for; who does not take them stops only itself.
#![forbid(unsafe_code)]

use super::handoff::Durable;
use super::segment;
use faramesh_core::frame::{self, Frame, Item};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Read at once, bytes: a hundred records and more.
const BLOCK_BYTES: usize = 256 * 1024;
/// Records that wait for a reader.
pub(crate) const WAITING_MAX: usize = 64;
/// A reader that takes nothing for so long is cut.
const STALL_MAX: Duration = Duration::from_secs(60);

/// One durable record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailed {
    /// Its index in the tree.
    pub seq: u64,
    /// Its canonical bytes.
    pub record: Vec<u8>,
    /// The canonical detail beside it, or empty.
    pub detail: Vec<u8>,
}

/// Sends the records from `from` on, until the end of what is durable, or with `follow` until the journal or the reader
/// ends.
pub(crate) async fn send(
    dir: PathBuf,
    from: u64,
    follow: bool,
    mut durable: watch::Receiver<Durable>,
    to: mpsc::Sender<Tailed>,
) {
    let mut reader = Reader::new(dir, from);
    loop {
        let (size, more) = match &*durable.borrow_and_update() {
            Durable::Size(size) => (*size, follow),
            Durable::Closed(size) => (*size, false),
            Durable::Fatal(_) => return,
        };
        while reader.next < size {
            let block = tokio::task::spawn_blocking(move || {
                let block = reader.block(size);
                (reader, block)
            });
            let records = match block.await {
                Ok((back, Ok(records))) => {
                    reader = back;
                    records
                }
                Ok((_, Err(error))) => {
                    tracing::warn!(%error, "a reader of the journal was cut");
                    return;
                }
                Err(_) => return,
            };
            for record in records {
                match tokio::time::timeout(STALL_MAX, to.send(record)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        }
        if !more {
            return;
        }
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return },
            () = to.closed() => return,
        }
    }
}

/// A place in the journal.
struct Reader {
    dir: PathBuf,
    /// The first record wanted.
    next: u64,
    open: Option<OpenSegment>,
}

struct OpenSegment {
    file: File,
    /// Where the next frame begins, and the index of the next record.
    offset: u64,
    seq: u64,
}

impl Reader {
    fn new(dir: PathBuf, next: u64) -> Reader {
        Reader {
            dir,
            next,
            open: None,
        }
    }

    /// Some of the records from `next` on, all below `size`; at least one where there is one.
    fn block(&mut self, size: u64) -> io::Result<Vec<Tailed>> {
        let mut records = Vec::new();
        let mut wanted = BLOCK_BYTES;
        while records.is_empty() && self.next < size {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.find()?,
            };
            let mut bytes = vec![0; wanted];
            let read = read_at(&open.file, &mut bytes, open.offset)?;
            bytes.truncate(read);
            let mut at = 0;
            while self.next < size {
                let Item::Frame { at: range, frame } = frame::read(&bytes, at) else {
                    break;
                };
                if let Frame::Record(stored) = frame {
                    if open.seq == self.next {
                        records.push(Tailed {
                            seq: open.seq,
                            record: stored.record.to_vec(),
                            detail: stored.detail.to_vec(),
                        });
                        self.next += 1;
                    }
                    open.seq += 1;
                }
                at = range.end;
            }
            if at > 0 {
                open.offset += at as u64;
                self.open = Some(open);
            } else if matches!(frame::read(&bytes, 0), Item::End { .. }) {
                // The segment ends here; the next one begins with the record that is due. `find` opens it.
                if segment::list(&self.dir)?.binary_search(&open.seq).is_err() {
                    return Err(missing(open.seq));
                }
            } else if wanted < frame::HEADER_LEN + frame::PAYLOAD_MAX {
                // A frame that is longer than the block.
                wanted = frame::HEADER_LEN + frame::PAYLOAD_MAX;
                self.open = Some(open);
            } else {
                return Err(missing(open.seq));
            }
        }
        Ok(records)
    }

    /// The segment that holds `next`: the last one that does not begin after it.
    fn find(&self) -> io::Result<OpenSegment> {
        let firsts = segment::list(&self.dir)?;
        let first = firsts.into_iter().rfind(|first| *first <= self.next);
        let first = first.ok_or_else(|| missing(self.next))?;
        Ok(OpenSegment {
            file: File::open(segment::segment_path(&self.dir, first))?,
            offset: 0,
            seq: first,
        })
    }
}

fn missing(seq: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("record {seq} is durable and cannot be read: run `faramesh audit verify`"),
    )
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
