//! The index, from outside, and how far it is trusted: it names places, and everything that is shown of a record is read
//! from the journal there.
//!
//! Invariant: a place is believed only where a record of its number lies in the journal with the leaf hash that the index
//! named, and it is shown only where it fits what was asked. So an index that is wrong, stale or somebody else's can leave
//! records out, and cannot add or change one. Counts (`audit stats`) are the index's own words, and are said to be.
#![forbid(unsafe_code)]

use crate::client::{self, NoConnection};
use crate::failure::Failure;
use crate::journal::{self, Entry, SegmentFile};
use crate::layout::Layout;
use crate::search::Found;
use crate::untrusted::Untrusted;
use faramesh_core::frame::{self, Frame, Frames, HEADER_LEN, Item, PAYLOAD_MAX};
use faramesh_core::tree;
use faramesh_proto::v1::index_client::IndexClient;
use faramesh_proto::v1::{Coverage, Place};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tonic::transport::Channel;

/// Connects to the stack's index.
///
/// # Errors
/// None runs (69), or this user may not ask (77).
pub async fn connect(layout: &Layout) -> Result<IndexClient<Channel>, Failure> {
    match client::index(&layout.index_socket()).await {
        Ok(client) => Ok(client),
        Err(NoConnection::Refused(failure)) => Err(failure),
        Err(NoConnection::NotRunning) => Err(not_running(layout)),
    }
}

fn not_running(layout: &Layout) -> Failure {
    let start = if layout.is_enforced() {
        format!("`systemctl start faramesh-index@{}`", layout.stack)
    } else {
        "`faramesh index`".to_owned()
    };
    Failure::unavailable(format!("the index of `{}` does not run", layout.stack)).next(format!(
        "start it with {start}; or read the whole journal with --scan"
    ))
}

/// What the index said of itself, once it is known to speak of this stack's journal.
///
/// # Errors
/// It speaks of another.
pub fn coverage(layout: &Layout, said: Option<Coverage>) -> Result<Coverage, Failure> {
    let said = said.ok_or_else(|| Failure::data("the index does not say what it rests on"))?;
    let pinned = origin(layout);
    if said.stack == layout.stack && pinned.is_none_or(|pinned| pinned == said.origin) {
        return Ok(said);
    }
    Err(Failure::data(format!(
        "the index is of another journal: `{}`",
        Untrusted(&said.origin)
    ))
    .next("start the one of this stack"))
}

/// The origin that is pinned, as far as this user can read it.
fn origin(layout: &Layout) -> Option<String> {
    let text = std::fs::read_to_string(layout.log_pub()).ok()?;
    let (name, _) = text.lines().next()?.split_once('+')?;
    Some(name.to_owned())
}

/// Reads the record at a place; `None` where its body was removed since.
///
/// # Errors
/// Another record lies there, or none.
pub fn read(journal: &Path, place: &Place) -> Result<Option<Found>, Failure> {
    let path = journal.join(format!("{:020}.seg", place.segment));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io("read", &path, &error)),
    };
    let mut bytes = frame_at(&file, place.offset).map_err(|e| Failure::io("read", &path, &e))?;
    if !is_there(&bytes, place) {
        // An erasure writes a segment anew, and the index sees it some seconds later: then it stands elsewhere in it.
        bytes = elsewhere(&path, place)?;
    }
    let Item::Frame {
        frame: Frame::Record(stored),
        ..
    } = frame::read(&bytes, 0)
    else {
        return Err(wrong(place));
    };
    let found = Found::of(Entry::of(place.seq, stored))?;
    if found.view.header.seq == place.seq {
        Ok(Some(found))
    } else {
        Err(wrong(place))
    }
}

fn is_there(bytes: &[u8], place: &Place) -> bool {
    matches!(
        frame::read(bytes, 0),
        Item::Frame { frame: Frame::Record(stored), .. }
            if tree::leaf_hash(stored.record).as_slice() == place.leaf
    )
}

/// The frame of the record, wherever it stands in its segment.
fn elsewhere(path: &Path, place: &Place) -> Result<Vec<u8>, Failure> {
    let segment = SegmentFile {
        first: place.segment,
        path: path.to_owned(),
    };
    let bytes = journal::read(&segment)?;
    let mut number = place.segment;
    for item in Frames::new(&bytes) {
        if let Item::Frame {
            at,
            frame: Frame::Record(_),
        } = item
        {
            if number == place.seq {
                let found = bytes.get(at).unwrap_or_default();
                return match is_there(found, place) {
                    true => Ok(found.to_vec()),
                    false => Err(wrong(place)),
                };
            }
            number += 1;
        }
    }
    Err(wrong(place))
}

/// The failure that an index is which names a record that is not what it says.
pub fn wrong(place: &Place) -> Failure {
    Failure::data(format!(
        "the index and the journal disagree about record {}",
        place.seq
    ))
    .next("make the index anew: `faramesh index --rebuild`, see docs/index.md; `--scan` does without it")
}

/// The bytes of the frame that begins here; fewer where it is none.
fn frame_at(file: &File, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER_LEN];
    fill(file, &mut bytes, offset)?;
    let length = bytes
        .get(5..9)
        .and_then(|length| length.try_into().ok())
        .map_or(0, u32::from_be_bytes) as usize;
    if length > PAYLOAD_MAX {
        return Ok(bytes);
    }
    bytes.resize(HEADER_LEN + length, 0);
    fill(file, &mut bytes, offset)?;
    Ok(bytes)
}

fn fill(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    match file.read_exact_at(bytes, offset) {
        // What is missing stays zero, and is no frame.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        other => other,
    }
}
