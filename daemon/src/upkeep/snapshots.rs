//! Snapshots: the state at the beginning of the newest segment, written behind the journal's back.
//!
//! The state comes from the sequencer, which hands a copy out when a batch begins a segment: the copy shares its sessions
//! with the live state, so it costs a count for each, and each session that goes on meanwhile is copied once. What a crash
//! leaves between the steps is said in [`crate::journal::snapshots`].

use super::files::Files;
use super::{Context, Failed};
use crate::journal::snapshots::{self, Due};
use faramesh_core::record::{Body, LogEvent, Snapshot as Recorded};
use faramesh_core::state::Snapshot;

/// Writes the snapshot that is due, records its digest, removes older ones.
pub(super) fn make(context: &Context<'_>, due: &Due) -> Result<(), Failed> {
    let Some(snapshot) = due.take() else {
        return Ok(());
    };
    let size = snapshot.point.frontier.size();
    if let Err(failed) = write(context, &snapshot, size) {
        due.put_back(snapshot);
        return Err(failed);
    }
    let beginning = context.segments.first().copied().unwrap_or(0);
    let pruned = snapshots::prune(context.dir, size, &due.bad, beginning);
    pruned.map_err(Failed::at(&context.dir.join(snapshots::DIRECTORY)))
}

fn write(context: &Context<'_>, snapshot: &Snapshot, size: u64) -> Result<(), Failed> {
    let bytes = snapshot
        .encode()
        .map_err(|why| Failed::Data(why.to_string()))?;
    let mut files = Files::new(context.dir);
    files.write(&snapshots::name(size), &bytes)?;
    files.finish()?;
    let digest = Snapshot::digest(&bytes);
    let recorded = Recorded { size, digest };
    context
        .append(Body::Log(LogEvent::Snapshot(recorded)))
        .map(drop)
}
