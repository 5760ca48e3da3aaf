//! The hashes of records whose bodies were removed: from the full tiles, and the last ones from a snapshot.
//!
//! Invariant: nothing here is believed. What is wrong in it leads to another root than the next checkpoint's.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::files;
use faramesh_core::state::{SNAPSHOT_BYTES_MAX, Snapshot};
use faramesh_core::tree::tiles::{TILE_BYTES, Tile, TileId, WIDTH};
use faramesh_core::verify::Verifier;
use faramesh_daemon::journal::snapshots;
use std::path::Path;

/// Gives the verifier the hashes of the records before `first`, as far as they are there.
///
/// # Errors
/// Something is there and cannot be read.
pub(super) fn hashes(dir: &Path, first: u64, verifier: &mut Verifier) -> Result<(), Failure> {
    let mut given = 0;
    while given < first {
        let id = TileId::new(0, given / WIDTH as u64);
        let tile = match id {
            Some(id) => files::read_limited(&dir.join(id.path()), TILE_BYTES as u64)?,
            None => None,
        };
        let Some(tile) = tile.and_then(|bytes| Tile::from_bytes(&bytes)) else {
            break;
        };
        let wanted = usize::try_from(first - given).unwrap_or(WIDTH);
        for hash in tile.hashes().iter().take(wanted) {
            verifier.removed_leaf(*hash);
            given += 1;
        }
    }
    if given < first && first - given < WIDTH as u64 {
        from_snapshot(dir, first, verifier)?;
    }
    Ok(())
}

fn from_snapshot(dir: &Path, first: u64, verifier: &mut Verifier) -> Result<(), Failure> {
    let path = dir.join(snapshots::name(first));
    let bytes = files::read_limited(&path, SNAPSHOT_BYTES_MAX as u64)?;
    let snapshot = bytes.and_then(|bytes| Snapshot::decode(&bytes).ok());
    if let Some(snapshot) = snapshot.filter(|found| found.point.frontier.size() == first) {
        verifier.removed_end(&snapshot.point.frontier, snapshot.point.last_leaf);
    }
    Ok(())
}
