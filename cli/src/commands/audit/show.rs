//! `faramesh audit show`: one record, with everything that lies beside it.
#![forbid(unsafe_code)]

use super::{line, tail};
use crate::args::{Global, ShowArgs};
use crate::failure::{Failure, exit};
use crate::journal::{self, Entry};
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::policies;
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::hex;
use faramesh_core::record::{self, BodyView};
use faramesh_core::tree;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Serialize)]
struct Shown<'a> {
    seq: u64,
    leaf_hash: String,
    record: &'a serde_json::value::RawValue,
    detail: Option<&'a serde_json::value::RawValue>,
    args_salt: Option<String>,
    detail_salt: Option<String>,
    detail_matches: Option<bool>,
    /// Where the rule that decided stood when its policy was last applied.
    rule_source: Option<String>,
}

/// Prints the record.
///
/// # Errors
/// The journal cannot be read, or has no such record.
pub fn run(global: &Global, args: &ShowArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let entry = journal::one(layout.journal(), args.seq)?;
    let view = record::decode(&entry.record).map_err(|e| tail::damaged(entry.seq, &e))?;
    let committed = match &view.body {
        BodyView::Decision(decision) => Some(decision.detail),
        _ => None,
    };
    let matches = committed
        .map(|committed| record::commitment(&entry.detail_salt, &entry.detail) == committed);
    let place = decided_at(&layout, &entry, &view.body);
    output.line(line(entry.seq, &view, output));
    if let Some(place) = &place {
        output.line(format!(
            "{}  decided by {}",
            output.paint(Paint::Strong, "rule  "),
            Untrusted(place)
        ));
    }
    people(&entry, matches, output)?;
    if output.is_json() {
        let raw = tail::raw(&entry.record, entry.seq)?;
        let detail = if entry.detail.is_empty() {
            None
        } else {
            Some(tail::raw(&entry.detail, entry.seq)?)
        };
        output.json(&Shown {
            seq: entry.seq,
            leaf_hash: hex(&tree::leaf_hash(&entry.record)),
            record: &raw,
            detail: detail.as_deref(),
            args_salt: committed.map(|_| hex(&entry.args_salt)),
            detail_salt: committed.map(|_| hex(&entry.detail_salt)),
            detail_matches: matches,
            rule_source: place,
        });
    }
    Ok(exit::OK)
}

/// Of a decision, where the rule stands that made it: as far as its detail is kept and the policy's directory says.
fn decided_at(layout: &Layout, entry: &Entry, body: &BodyView) -> Option<String> {
    let BodyView::Decision(decision) = body else {
        return None;
    };
    let detail: Value = serde_json::from_slice(&entry.detail).ok()?;
    let number = u32::try_from(detail.get("rule")?.as_u64()?).ok()?;
    policies::lines(layout, &decision.policy).place(&decision.agent, number.checked_sub(1)?)
}

fn people(entry: &Entry, matches: Option<bool>, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(());
    }
    output.line(format!(
        "{}  leaf {}",
        output.paint(Paint::Strong, "record"),
        hex(&tree::leaf_hash(&entry.record))
    ));
    fields(&entry.record, entry.seq, output)?;
    if entry.detail.is_empty() {
        return Ok(());
    }
    let word = match matches {
        Some(true) => output.paint(Paint::Good, "as committed to by the record"),
        Some(false) => output.paint(Paint::Bad, "NOT what the record commits to"),
        None => String::new(),
    };
    output.line(format!("{}  {word}", output.paint(Paint::Strong, "detail")));
    fields(&entry.detail, entry.seq, output)
}

/// The fields of a canonical object, one a line; nested ones as JSON.
fn fields(bytes: &[u8], seq: u64, output: &Output) -> Result<(), Failure> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| tail::damaged(seq, &e))?;
    let Value::Object(map) = value else {
        return Err(tail::damaged(seq, &"not an object"));
    };
    for (key, value) in &map {
        if let Some(rows) = probes(key, value) {
            output.line(format!("  {}", Untrusted(key)));
            rows.for_each(|row| output.line(row));
            continue;
        }
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        output.line(format!(
            "  {:<14} {}",
            Untrusted(key).to_string(),
            Untrusted(&text)
        ));
    }
    Ok(())
}

/// A session's measured rows, one a line: together they are longer than a text may be, and none may be cut off.
fn probes<'a>(key: &str, value: &'a Value) -> Option<impl Iterator<Item = String> + 'a> {
    let rows = value.as_array().filter(|_| key == "probes")?;
    Some(rows.iter().map(|row| {
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        let word = match row.get("enforced").and_then(Value::as_bool) {
            Some(true) => "enforced",
            _ => "-",
        };
        format!(
            "    {word:<8}  {:<32}  {}",
            Untrusted(text("layer")).to_string(),
            Untrusted(text("measured"))
        )
    }))
}
