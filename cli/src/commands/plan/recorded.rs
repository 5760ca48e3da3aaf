//! What the file would have changed of the calls that were recorded lately.
#![forbid(unsafe_code)]

use crate::commands::audit::replay::{self, Asked, Table};
use crate::commands::check::count;
use crate::failure::Failure;
use crate::journal;
use crate::layout::Layout;
use crate::moment;
use crate::output::Output;
use crate::untrusted::Untrusted;
use faramesh_core::policy::Policy;
use faramesh_core::policy::artifact::Artifact;
use serde::Serialize;
use std::sync::Arc;

/// Changed calls that programs get one by one; `audit replay` has them all.
const KEPT: usize = 100;
/// A longer journal is not gone through while somebody waits for a plan: it takes some seconds a gigabyte.
const REPLAYED_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What `plan` says of recorded calls.
#[derive(Debug, Default, Serialize)]
pub(super) struct Recorded {
    /// Since when, milliseconds since the Unix epoch.
    since_ms: u64,
    /// Why nothing was replayed, where nothing was.
    unread: Option<String>,
    decisions: u64,
    changed: u64,
    not_replayable: u64,
}

/// Puts the calls since then to the compiled policy. That a journal cannot be read is no reason against a plan, and is
/// said.
///
/// # Errors
/// The moment is none.
pub(super) fn replay(
    layout: &Layout,
    since: &str,
    artifact: &Artifact,
    output: &Output,
) -> Result<Recorded, Failure> {
    if since == "0" {
        return Ok(Recorded {
            unread: Some("not asked for".to_owned()),
            ..Recorded::default()
        });
    }
    let since_ms = moment::parse(since, moment::now_ms())?;
    let policy = Policy::of(artifact)
        .map_err(|e| Failure::internal(format!("the policy does not load: {e}")))?;
    let asked = Asked {
        policy: Some(Arc::new(policy)),
        since_ms: Some(since_ms),
        until_ms: None,
        limit: KEPT,
    };
    let table = match nothing_to_read(layout) {
        Some(why) => Err(why),
        None => replay::replay(layout, &asked, output).map_err(|failure| failure.message),
    };
    Ok(match table {
        Ok(table) => {
            people(&table, since, output);
            Recorded {
                since_ms,
                unread: None,
                decisions: table.replayed,
                changed: table.changed(),
                not_replayable: table.not_replayable(),
            }
        }
        Err(why) => {
            output.line(format!(
                "recorded calls were not looked at: {}",
                Untrusted(&why)
            ));
            Recorded {
                since_ms,
                unread: Some(why),
                ..Recorded::default()
            }
        }
    })
}

fn nothing_to_read(layout: &Layout) -> Option<String> {
    let dir = layout.journal();
    if !dir.exists() {
        return Some("nothing was recorded yet".to_owned());
    }
    let segments = match journal::segments(dir) {
        Ok(segments) => segments,
        Err(failure) => return Some(failure.message),
    };
    let sizes = segments
        .iter()
        .filter_map(|segment| std::fs::metadata(&segment.path).ok());
    let bytes: u64 = sizes.map(|found| found.len()).sum();
    (bytes > REPLAYED_BYTES_MAX).then(|| {
        "the journal is longer than 1 GiB: run `faramesh audit replay --policy governance.fms --since 24h`".to_owned()
    })
}

fn people(table: &Table, since: &str, output: &Output) {
    let decisions = count(
        usize::try_from(table.replayed).unwrap_or(usize::MAX),
        "decision",
    );
    let word = match table.changed() {
        0 => "none would be another".to_owned(),
        changed => format!("{changed} would be another"),
    };
    output.line(format!(
        "{decisions} recorded since {}: {word}",
        Untrusted(since)
    ));
    replay::print(table, output);
}
