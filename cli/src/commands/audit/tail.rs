//! `faramesh audit tail`: the last records, and those to come.
//!
//! What lies in the files is read from the files, without the daemon. What is to come is the daemon's to tell, as it
//! becomes durable.
#![forbid(unsafe_code)]

use super::line;
use crate::args::{Global, TailArgs};
use crate::client;
use crate::failure::{Failure, exit};
use crate::journal::{self, Entry};
use crate::layout::Layout;
use crate::output::Output;
use crate::stack;
use faramesh_core::record;
use faramesh_proto::v1::TailRequest;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Printed<'a> {
    seq: u64,
    record: &'a serde_json::value::RawValue,
    detail: Option<&'a serde_json::value::RawValue>,
}

/// Prints records until there are no more, or for ever.
///
/// # Errors
/// The journal cannot be read, or with `--follow` no daemon runs.
pub fn run(global: &Global, args: &TailArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let entries = journal::last(layout.journal(), args.lines)?;
    for entry in &entries {
        print(entry.seq, &entry.record, &entry.detail, output)?;
    }
    if args.follow {
        client::block_on(follow(&layout, &entries, output))?;
    }
    Ok(exit::OK)
}

async fn follow(layout: &Layout, shown: &[Entry], output: &Output) -> Result<(), Failure> {
    let mut admin = client::admin(&layout.admin_socket())
        .await
        .map_err(client::NoConnection::into_failure)?;
    let from = match shown.last() {
        Some(entry) => entry.seq + 1,
        None => {
            client::reply(admin.status(faramesh_proto::v1::StatusRequest {}))
                .await?
                .journal_size
        }
    };
    let request = TailRequest { from, follow: true };
    let mut stream = client::reply(admin.tail(request)).await?;
    loop {
        match stream.message().await {
            Ok(Some(record)) => print(record.seq, &record.record, &record.detail, output)?,
            Ok(None) => return Ok(()),
            Err(status) => return Err(client::refusal(&status)),
        }
    }
}

/// One record: a line for people, or one JSON value a line.
fn print(seq: u64, record: &[u8], detail: &[u8], output: &Output) -> Result<(), Failure> {
    let view = record::decode(record).map_err(|e| damaged(seq, &e))?;
    output.line(line(seq, &view, output));
    if output.is_json() {
        let record = raw(record, seq)?;
        let detail = if detail.is_empty() {
            None
        } else {
            Some(raw(detail, seq)?)
        };
        output.json(&Printed {
            seq,
            record: &record,
            detail: detail.as_deref(),
        });
    }
    Ok(())
}

/// Canonical JSON as it stands in the journal: not one number is read and written again.
pub(in crate::commands) fn raw(
    bytes: &[u8],
    seq: u64,
) -> Result<Box<serde_json::value::RawValue>, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|e| damaged(seq, &e))?;
    serde_json::value::RawValue::from_string(text.to_owned()).map_err(|e| damaged(seq, &e))
}

pub(super) fn damaged(seq: u64, why: &dyn std::fmt::Display) -> Failure {
    Failure::data(format!("record {seq} is no record: {why}")).next("run `faramesh audit verify`")
}
