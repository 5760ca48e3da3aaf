//! Erasure: what lies beside records goes, the records stay.
//!
//! The `erasure` record is the order, and it is durable before this begins. So the to-do list is the journal itself: it is
//! read once, from where the last run was, and what is still open lies in `erasure.todo`, a small file that can be lost
//! (then the journal is read from its beginning again). A segment is rewritten as a whole, and only when it is sealed: what
//! lies in the one that is being written waits.
//!
//! Invariants:
//! - No record that is not durable is believed, and no detail goes that a durable `erasure` record does not name.
//! - A rewritten segment holds the same records and notes as before, byte by byte, and is as long; this is compared on disk
//!   before it gets the name. A crash leaves the old one or the new one.
//! - Doing it twice changes nothing.
#![forbid(unsafe_code)]

use super::files::Files;
use super::leaves::Segment;
use super::{Context, Failed};
use crate::journal::segment::segment_path;
use faramesh_core::frame::{self, Frame};
use faramesh_core::record::{self, BodyView, Encoded, LogEvent};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// What is still open, below the journal's directory.
const TODO: &str = "erasure.todo";
/// Its first line.
const TODO_FORM: &str = "faramesh erasure 1";
/// A list that is longer is none of ours: thousands of spans take tens of bytes each.
const TODO_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A segment that is being rewritten; nobody reads a file of this name.
const TEMPORARY: &str = "erasing.tmp";
/// Segments are read by the auditors' group, written by the daemon alone.
const SEGMENT_MODE: u32 = 0o640;
/// Written at once, bytes.
const BUFFER_BYTES: usize = 1024 * 1024;
/// In the canonical bytes of an erasure's record, and, because quotes inside strings are escaped, of no other.
const KIND: &[u8] = b"\"kind\":\"erasure\"";

/// (first, last), both inclusive.
type Span = (u64, u64);

/// How far this run is. Nothing where it has not begun: then the disk is asked.
#[derive(Default)]
pub(super) struct Memory {
    todo: Option<Todo>,
    /// As it was written last.
    written: Option<Todo>,
    reader: Option<Segment>,
}

/// Every `erasure` record below `read_to` was carried out, but for these spans.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Todo {
    read_to: u64,
    open: Vec<Span>,
}

/// Finds orders, carries out what can be, keeps the rest.
pub(super) fn make(context: &Context<'_>, memory: &mut Memory) -> Result<(), Failed> {
    let mut todo = match memory.todo.take() {
        Some(todo) => todo,
        None => {
            let todo = read_todo(context.dir);
            memory.written.clone_from(&todo);
            todo.unwrap_or_default()
        }
    };
    let done = carry_out(context, &mut todo, memory);
    // Also where something failed: what was found is still to be done.
    memory.todo = Some(todo);
    done
}

fn carry_out(context: &Context<'_>, todo: &mut Todo, memory: &mut Memory) -> Result<(), Failed> {
    if todo.read_to > context.durable() {
        // The list is of another journal, or this one was put back from an older copy.
        *todo = Todo::default();
        memory.reader = None;
    }
    let first = context.segments.first().copied().unwrap_or(0);
    todo.read_to = todo.read_to.max(first);
    find(context, todo, &mut memory.reader)?;
    let sealed = context.sealed();
    for (index, first) in context.segments.iter().enumerate() {
        let Some(end) = context.segments.get(index + 1) else {
            break;
        };
        context.go_on()?;
        let within: Vec<Span> = todo
            .open
            .iter()
            .copied()
            .filter(|(from, to)| from < end && to >= first)
            .collect();
        if !within.is_empty() {
            rewrite(context, *first, *end, &within)?;
        }
    }
    todo.open = std::mem::take(&mut todo.open)
        .into_iter()
        .filter(|(_, last)| *last >= sealed)
        .map(|(from, to)| (from.max(sealed), to))
        .collect();
    // The list is written when it says something else; that nothing is open up to here is worth a write a segment.
    let before = memory.written.as_ref();
    let moved = before.is_none_or(|before| before.read_to < sealed);
    if before.is_none_or(|before| before.open != todo.open) || moved {
        write_todo(context.dir, todo)?;
        memory.written = Some(todo.clone());
    }
    Ok(())
}

/// Reads on to the last durable record.
fn find(context: &Context<'_>, todo: &mut Todo, kept: &mut Option<Segment>) -> Result<(), Failed> {
    let durable = context.durable();
    let mut reader = kept.take();
    while todo.read_to < durable {
        let mut segment = match reader.take() {
            Some(segment) => segment,
            None => {
                let holds = context
                    .segments
                    .iter()
                    .rfind(|first| **first <= todo.read_to);
                Segment::open(context.dir, *holds.unwrap_or(&0))?
            }
        };
        let mut ended = true;
        while let Some((seq, frame)) = segment.next_frame()? {
            let Frame::Record(stored) = frame else {
                continue;
            };
            if seq >= todo.read_to {
                todo.open.extend(ordered(stored.record));
                todo.read_to = seq + 1;
            }
            if todo.read_to >= durable {
                ended = false;
                break;
            }
            if seq % 4_096 == 0 {
                context.go_on()?;
            }
        }
        if !ended {
            reader = Some(segment);
        } else if !context.segments.contains(&todo.read_to) {
            return Err(Failed::Data(format!(
                "record {} is durable and cannot be read: run `faramesh audit verify`",
                todo.read_to
            )));
        }
    }
    *kept = reader;
    Ok(())
}

/// The spans of an erasure's record; of any other none.
fn ordered(record: &[u8]) -> Vec<Span> {
    if memchr::memmem::find(record, KIND).is_none() {
        return Vec::new();
    }
    match record::decode(record).map(|view| view.body) {
        Ok(BodyView::Log(LogEvent::Erasure(erasure))) => erasure.spans,
        _ => Vec::new(),
    }
}

/// Whether a record's detail is to go and is still there.
fn is_due(seq: u64, stored: &frame::StoredRecord<'_>, spans: &[Span]) -> bool {
    let there =
        !stored.detail.is_empty() || *stored.args_salt != [0; 16] || *stored.detail_salt != [0; 16];
    there
        && spans
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&seq))
}

/// The segment anew, without the details of these records.
fn rewrite(context: &Context<'_>, first: u64, end: u64, spans: &[Span]) -> Result<(), Failed> {
    let mut segment = Segment::open(context.dir, first)?;
    let mut due = false;
    while let Some((seq, frame)) = segment.next_frame()? {
        if let Frame::Record(stored) = frame {
            due |= is_due(seq, &stored, spans);
        }
    }
    if !due {
        return Ok(());
    }
    let path = segment_path(context.dir, first);
    let temporary = context.dir.join(TEMPORARY);
    let length = std::fs::metadata(&path).map_err(Failed::at(&path))?.len();
    let written = write(context, first, spans, &temporary, length)
        .and_then(|()| same(context, first, end, &temporary));
    if let Err(failed) = written {
        // Half a segment would hold space that the rest of the host may need.
        drop(std::fs::remove_file(&temporary));
        return Err(failed);
    }
    std::fs::rename(&temporary, &path).map_err(Failed::at(&path))?;
    File::open(context.dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Failed::at(context.dir))?;
    tracing::info!(segment = first, "details were erased");
    Ok(())
}

fn write(
    context: &Context<'_>,
    first: u64,
    spans: &[Span],
    temporary: &Path,
    length: u64,
) -> Result<(), Failed> {
    let at = Failed::at(temporary);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(SEGMENT_MODE)
        .custom_flags(libc::O_NOFOLLOW)
        .open(temporary)
        .map_err(&at)?;
    // The process's umask takes the group's right away.
    file.set_permissions(Permissions::from_mode(SEGMENT_MODE))
        .map_err(&at)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut segment = Segment::open(context.dir, first)?;
    let mut bytes = Vec::new();
    while let Some((seq, found)) = segment.next_frame()? {
        bytes.clear();
        let framed = match found {
            Frame::Note(note) => match std::str::from_utf8(note) {
                Ok(note) => frame::write_note(&mut bytes, note).map_err(|e| e.to_string()),
                Err(why) => Err(why.to_string()),
            },
            Frame::Record(stored) => {
                let erased = is_due(seq, &stored, spans);
                let encoded = Encoded {
                    record: stored.record.to_vec(),
                    detail: match erased {
                        true => Vec::new(),
                        false => stored.detail.to_vec(),
                    },
                    salts: match erased {
                        true => [[0; 16]; 2],
                        false => [*stored.args_salt, *stored.detail_salt],
                    },
                };
                frame::write_record(&mut bytes, &encoded).map_err(|e| e.to_string())
            }
        };
        framed.map_err(|why| Failed::Data(format!("record {seq}: {why}")))?;
        out.write_all(&bytes).map_err(&at)?;
    }
    let file = out.into_inner().map_err(|error| at(error.into_error()))?;
    // Zeros up to where the old one ended: a start misses what is shorter than it was.
    file.set_len(length).map_err(&at)?;
    file.sync_all().map_err(&at)
}

/// The same records and notes in the same order.
fn same(context: &Context<'_>, first: u64, end: u64, temporary: &Path) -> Result<(), Failed> {
    let mut before = Segment::open(context.dir, first)?;
    let mut after = Segment::open_file(temporary, first)?;
    let mut records = first;
    loop {
        let (left, right) = (before.next_frame()?, after.next_frame()?);
        match (left, right) {
            (None, None) if records == end => return Ok(()),
            (Some((_, Frame::Note(left))), Some((_, Frame::Note(right)))) if left == right => {}
            (Some((_, Frame::Record(left))), Some((_, Frame::Record(right))))
                if left.record == right.record =>
            {
                records += 1;
            }
            _ => {
                return Err(Failed::Data(format!(
                    "record {records} in `{}` is not what was written",
                    temporary.display()
                )));
            }
        }
    }
}

/// The list as it was written, where it can be read.
fn read_todo(dir: &Path) -> Option<Todo> {
    let path = dir.join(TODO);
    let short = std::fs::symlink_metadata(&path)
        .is_ok_and(|found| found.is_file() && found.len() <= TODO_BYTES_MAX);
    parse(&std::fs::read_to_string(&path).ok().filter(|_| short)?)
}

/// `None` for anything but the whole of what [`write_todo`] writes.
fn parse(text: &str) -> Option<Todo> {
    let mut lines = text.strip_suffix("end\n")?.lines();
    if lines.next()? != TODO_FORM {
        return None;
    }
    let read_to = lines.next()?.parse().ok()?;
    let span = |line: &str| {
        let (first, last) = line.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let open = lines.map(span).collect::<Option<Vec<Span>>>()?;
    Some(Todo { read_to, open })
}

fn write_todo(dir: &Path, todo: &Todo) -> Result<(), Failed> {
    let mut text = format!("{TODO_FORM}\n{}\n", todo.read_to);
    for (first, last) in &todo.open {
        text.push_str(&format!("{first}-{last}\n"));
    }
    text.push_str("end\n");
    let mut files = Files::new(dir);
    files.write(TODO, text.as_bytes())?;
    files.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_not_whole_is_none_and_costs_a_second_reading_only() {
        let dir = tempfile::tempdir().unwrap();
        let todo = Todo {
            read_to: 70,
            open: vec![(3, 3), (60, 99)],
        };
        write_todo(dir.path(), &todo).unwrap();
        assert_eq!(read_todo(dir.path()), Some(todo));
        let text = std::fs::read_to_string(dir.path().join(TODO)).unwrap();
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None, "{end}");
        }
        assert_eq!(parse(&text.replace("60-99", "60")), None);
    }
}
