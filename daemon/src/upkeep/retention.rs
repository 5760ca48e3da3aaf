//! Retention: bodies of records go when they are old enough; their hashes, and the proof of what went, stay.
//!
//! `runtime { wal_retention = 180d }`. Whole segments go, from the oldest on, when every record in them is older by the wall
//! clock. The `removal` record comes first and is durable before a file is unlinked; a start after a crash in between
//! finishes what it says.
//!
//! What stays possible, and therefore what a removal waits for:
//! - every hash below the cut lies in full tiles that were held against the tree's signed roots when they were made;
//! - the newest snapshots begin at or after the cut, so that a start needs nothing from before it, though one of them is lost;
//! - nothing that an `erasure` record still has to take lies below it (it goes with the rest).
//!
//! A wall clock that jumps ahead makes everything old at once. So a removal takes at most a tenth ([`SHARE`]) of the
//! segments, and the next comes a day ([`PAUSE_MS`]) later on the boot clock, which nobody sets: whoever reads `clock_step` and `removal` records, or
//! `status`, has days to put the clock right. A run that finds that another one removed something waits its own day: what is
//! started more often than that keeps more. The first waits until the host has run for [`SETTLED_MS`], in which time servers are asked.
#![forbid(unsafe_code)]

use super::leaves::Segment;
use super::{Context, Failed, tiles};
use crate::journal::segment::segment_path;
use crate::journal::snapshots;
use faramesh_core::frame::Frame;
use faramesh_core::record::{self, Body, BodyView, LogEvent, Removal};
use faramesh_core::state::Snapshot;
use faramesh_core::tree::Hash;
use std::fs::File;

/// Of the segments that are there, one removal takes this part, and at least one.
const SHARE: usize = 10;
/// Between two removals, on the boot clock, milliseconds: a day.
const PAUSE_MS: u64 = 24 * 3_600_000;
/// Before the first removal of a boot, milliseconds.
const SETTLED_MS: u64 = 15 * 60_000;
/// Snapshots that must begin at or after the cut: the one that a start takes, and one for when that is lost.
const SNAPSHOTS_MIN: usize = 2;

/// How far this run is.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When the last removal of this run was, on the boot clock.
    last_boot_ms: Option<u64>,
    /// Below this number bodies are removed, as far as a record says.
    removed: u64,
    /// The newest wall time in the oldest segments, by their first records.
    newest: Vec<(u64, u64)>,
}

/// Removes what is old, and what an earlier run recorded as removed.
pub(super) fn make(context: &Context<'_>, memory: &mut Memory) -> Result<(), Failed> {
    let (retention_ms, now) = {
        let engine = context.engine()?;
        memory.removed = memory.removed.max(engine.removed_at_start());
        (engine.artifact().runtime.wal_retention_ms(), engine.now())
    };
    unlink(context, memory.removed)?;
    if memory.removed > 0 {
        // When an earlier run removed something is not known: it may have been a moment ago.
        memory.last_boot_ms.get_or_insert(now.boot_ms);
    }
    let ready = match memory.last_boot_ms {
        None => now.boot_ms >= SETTLED_MS,
        Some(last) => now.boot_ms >= last.saturating_add(PAUSE_MS),
    };
    if !ready {
        return Ok(());
    }
    let Some(oldest) = now.wall_ms.checked_sub(retention_ms) else {
        return Ok(());
    };
    let Some(to) = cut(context, oldest, memory)? else {
        return Ok(());
    };
    let from = memory.removed;
    let in_force = in_force_at(context, to)?;
    let days = retention_ms / (24 * 3_600_000);
    context.append(Body::Log(LogEvent::Removal(Removal {
        from,
        to,
        in_force,
        reason: format!("retention: every record is older than {days} days (wal_retention)"),
    })))?;
    memory.removed = to;
    memory.last_boot_ms = Some(now.boot_ms);
    unlink(context, to)
}

/// The first record that stays, where something can go.
fn cut(context: &Context<'_>, oldest_ms: u64, memory: &mut Memory) -> Result<Option<u64>, Failed> {
    let there: Vec<u64> = context
        .segments
        .iter()
        .copied()
        .filter(|first| *first >= memory.removed)
        .collect();
    let at_most = (there.len() / SHARE).max(1);
    memory.newest.retain(|(first, _)| there.contains(first));
    let mut to = None;
    for pair in there.windows(2).take(at_most) {
        let [first, end] = *pair else { break };
        context.go_on()?;
        let known = memory.newest.iter().find(|(of, _)| *of == first);
        let newest = match known {
            Some((_, newest)) => *newest,
            None => {
                let newest = newest_in(context, first)?;
                memory.newest.push((first, newest));
                newest
            }
        };
        if newest >= oldest_ms {
            break;
        }
        to = Some(end);
    }
    let Some(to) = to else { return Ok(None) };
    let covered = there
        .iter()
        .copied()
        .filter(|end| *end <= to && *end > memory.removed)
        .rfind(|end| tiles::stored(context.dir, context.sealed()) >= *end);
    let Some(to) = covered else { return Ok(None) };
    let sizes = snapshots::list(context.dir).map_err(Failed::at(context.dir))?;
    let mut usable = 0;
    for size in sizes.iter().filter(|size| **size >= to) {
        usable += usize::from(is_snapshot(context, *size));
    }
    Ok((usable >= SNAPSHOTS_MIN).then_some(to))
}

/// Whether a start could take it: it is whole, of this place, and a segment begins there. Its digest stands in a record.
fn is_snapshot(context: &Context<'_>, size: u64) -> bool {
    context.segments.contains(&size)
        && snapshots::read(context.dir, size)
            .ok()
            .and_then(|bytes| Snapshot::decode(&bytes).ok())
            .is_some_and(|snapshot| snapshot.point.frontier.size() == size)
}

/// The newest wall time of a segment's records.
fn newest_in(context: &Context<'_>, first: u64) -> Result<u64, Failed> {
    let mut newest = 0;
    records(context, first, |_, view| {
        newest = newest.max(view.header.time.wall_ms);
    })?;
    Ok(newest)
}

/// The activation in force at `to`: the last before it, in what is about to go or in the removal before.
fn in_force_at(context: &Context<'_>, to: u64) -> Result<Option<(u64, Hash)>, Failed> {
    let mut last = None;
    for first in context.segments.iter().filter(|first| **first < to) {
        records(context, *first, |_, view| {
            if let BodyView::Activation(activation) = &view.body {
                last = Some((activation.number, activation.digest));
            }
        })?;
    }
    let first = context.segments.first().copied().unwrap_or(0);
    if last.is_some() || first == 0 {
        return Ok(last);
    }
    for begins in context.segments.iter().filter(|begins| **begins >= to) {
        records(context, *begins, |_, view| {
            if let BodyView::Log(LogEvent::Removal(removal)) = &view.body
                && removal.to <= first
            {
                last = removal.in_force;
            }
        })?;
    }
    Ok(last)
}

fn records(
    context: &Context<'_>,
    first: u64,
    mut each: impl FnMut(u64, &record::RecordView),
) -> Result<(), Failed> {
    let durable = context.durable();
    let mut segment = Segment::open(context.dir, first)?;
    while let Some((seq, frame)) = segment.next_frame()? {
        let Frame::Record(stored) = frame else {
            continue;
        };
        let view = record::decode(stored.record)
            .map_err(|why| Failed::Data(format!("record {seq} is no record: {why}")))?;
        each(seq, &view);
        if seq + 1 >= durable {
            return Ok(());
        }
        if seq % 4_096 == 0 {
            context.go_on()?;
        }
    }
    Ok(())
}

/// Unlinks the segments whose records are all below `removed`, the oldest first: a durable record says so.
fn unlink(context: &Context<'_>, removed: u64) -> Result<(), Failed> {
    let mut any = false;
    for pair in context.segments.windows(2) {
        let [first, end] = *pair else { break };
        if end > removed {
            break;
        }
        let path = segment_path(context.dir, first);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failed::at(&path)(error));
            }
            _ => any = true,
        }
    }
    if any {
        File::open(context.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(Failed::at(context.dir))?;
    }
    Ok(())
}
