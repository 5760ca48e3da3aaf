//! `faramesh audit erase`: what lies beside decisions goes, the decisions stay.
//!
//! The command reads the journal's files to find what is meant, shows it and asks; the daemon records the order before
//! anything goes, and carries it out. Nothing here writes into the journal.
#![forbid(unsafe_code)]

use super::{line, tail};
use crate::args::{EraseArgs, Global};
use crate::client;
use crate::commands::check::count;
use crate::failure::{Failure, exit};
use crate::journal;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::stack;
use faramesh_core::frame::StoredRecord;
use faramesh_core::record::{self, BodyView, DecisionView, ERASED_SPANS_MAX};
use faramesh_proto::v1::{EraseRequest, Span};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;

/// Records that are shown for people; the rest is counted.
const SHOWN: usize = 20;

#[derive(Debug, Default, Serialize)]
struct Found {
    /// Decisions whose details go.
    records: u64,
    /// The same as (first, last), both inclusive.
    spans: Vec<(u64, u64)>,
    /// Decisions of these numbers or this session whose details are erased already.
    erased_already: u64,
    /// Of `records`, those in the segment that is being written: they go when it is sealed.
    later: u64,
    dry_run: bool,
    /// The numbers of the records that order it.
    ordered_by: Vec<u64>,
}

/// Finds, shows, asks, orders.
///
/// # Errors
/// The journal cannot be read, nothing is meant, nobody confirmed, or the daemon did not take the order.
pub fn run(global: &Global, args: &EraseArgs, output: &Output) -> Result<u8, Failure> {
    let which = Which::of(args)?;
    if args.reason.trim().is_empty() || args.reason.chars().any(char::is_control) {
        return Err(Failure::usage("--reason: say why, in one line"));
    }
    if which
        .with
        .iter()
        .any(|one| args.reason.contains(&one.value))
    {
        return Err(
            Failure::usage("the reason names what is erased, and it is recorded for ever")
                .next("name a request or a case instead"),
        );
    }
    let layout = stack::applied(global)?;
    let mut found = find(&layout, &which, output)?;
    found.dry_run = args.dry_run;
    if found.records == 0 {
        return Err(Failure::data(match found.erased_already {
            0 => "no decision in the journal is meant".to_owned(),
            erased => format!("the details of all {erased} are erased already"),
        })
        .next("what redaction hid cannot be searched for; `faramesh audit tail` shows the last records"));
    }
    output.line(format!(
        "{} lose their arguments and how they came about{}",
        count(size(found.records), "decision"),
        match found.later {
            0 => String::new(),
            later => format!("; {later} of them when the segment that is being written is sealed"),
        }
    ));
    if args.dry_run {
        output.line("nothing was changed: --dry-run");
    } else {
        confirmed(args, output)?;
        found.ordered_by = client::block_on(order(&layout, &found.spans, &args.reason))?;
        output.line(format!(
            "{} recorded as {}; backups, exports and snapshots of the file system have theirs",
            output.paint(Paint::Good, "ordered:"),
            found
                .ordered_by
                .iter()
                .map(|seq| format!("record {seq}"))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    output.json(&found);
    Ok(exit::OK)
}

/// What is meant: every part that was given must hold.
struct Which {
    records: Option<Vec<(u64, u64)>>,
    session: Option<String>,
    with: Vec<With>,
}

/// An argument and its value, as they were typed.
struct With {
    path: Vec<String>,
    value: String,
}

impl Which {
    fn of(args: &EraseArgs) -> Result<Which, Failure> {
        let records = args.records.as_deref().map(spans).transpose()?;
        let with = args.with.iter().map(|text| with(text));
        Ok(Which {
            records,
            session: args.session.clone(),
            with: with.collect::<Result<_, _>>()?,
        })
    }

    fn numbers(&self, seq: u64) -> bool {
        let within = |spans: &Vec<(u64, u64)>| {
            spans
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&seq))
        };
        self.records.as_ref().is_none_or(within)
    }

    fn means(&self, decision: &DecisionView, detail: &[u8]) -> bool {
        if self
            .session
            .as_ref()
            .is_some_and(|session| decision.session.as_ref() != Some(session))
        {
            return false;
        }
        if self.with.is_empty() {
            return true;
        }
        #[derive(serde::Deserialize)]
        struct Arguments<'a> {
            #[serde(borrow)]
            args: Cow<'a, str>,
        }
        serde_json::from_slice::<Arguments<'_>>(detail).is_ok_and(|detail| {
            self.with
                .iter()
                .all(|with| holds(&detail.args, &with.path, &with.value))
        })
    }
}

fn spans(text: &str) -> Result<Vec<(u64, u64)>, Failure> {
    let one = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some((first, last))
    };
    text.split(',')
        .map(one)
        .collect::<Option<_>>()
        .ok_or_else(|| {
            Failure::usage(format!("--records: `{text}` names no records"))
                .next("write numbers and spans of them, such as 17-20,42")
        })
}

fn with(text: &str) -> Result<With, Failure> {
    let parsed = text.split_once('=').and_then(|(path, value)| {
        let path: Vec<String> = path
            .strip_prefix("args.")?
            .split('.')
            .map(str::to_owned)
            .collect();
        let whole = path.iter().all(|part| !part.is_empty()) && !value.is_empty();
        whole.then(|| With {
            path,
            value: value.to_owned(),
        })
    });
    parsed.ok_or_else(|| {
        Failure::usage(format!(
            "--where: `{text}` is not of the form args.PATH=VALUE"
        ))
        .next("write args.customer.email=zoe@example.com; a number as the journal has it")
    })
}

/// Whether canonical JSON has this text at this path: of a string its content, of anything else its text. In a list any
/// entry may have it.
fn holds(json: &str, path: &[String], value: &str) -> bool {
    if json.starts_with('[') {
        return serde_json::from_str::<Vec<&RawValue>>(json)
            .is_ok_and(|list| list.iter().any(|entry| holds(entry.get(), path, value)));
    }
    match path.split_first() {
        None if json.starts_with('"') => {
            serde_json::from_str::<String>(json).is_ok_and(|text| text == value)
        }
        None => json == value,
        Some((key, rest)) => serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(json)
            .is_ok_and(|object| {
                object
                    .get(key.as_str())
                    .is_some_and(|inner| holds(inner.get(), rest, value))
            }),
    }
}

fn find(layout: &Layout, which: &Which, output: &Output) -> Result<Found, Failure> {
    let segments = journal::segments(layout.journal())?;
    let open = segments.last().map_or(0, |segment| segment.first);
    let progress = progress(segments.len(), output);
    let mut found = Found::default();
    for segment in &segments {
        let bytes = journal::read(segment)?;
        let mut failed = None;
        // A frame that is not whole ends the last segment while the daemon writes; what came before it counts.
        let _ = journal::records(segment.first, &bytes, |seq, stored| {
            match look(seq, stored, which, &mut found, output) {
                Ok(true) => {
                    found.later += u64::from(seq >= open);
                    ControlFlow::Continue(())
                }
                Ok(false) => ControlFlow::Continue(()),
                Err(failure) => {
                    failed = Some(failure);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if found.records > SHOWN as u64 {
        output.line(format!(
            "  and {} more; --format json has their numbers",
            found.records - SHOWN as u64
        ));
    }
    Ok(found)
}

/// Whether this record is one.
fn look(
    seq: u64,
    stored: StoredRecord<'_>,
    which: &Which,
    found: &mut Found,
    output: &Output,
) -> Result<bool, Failure> {
    if !which.numbers(seq) {
        return Ok(false);
    }
    let view = record::decode(stored.record).map_err(|e| tail::damaged(seq, &e))?;
    let BodyView::Decision(decision) = &view.body else {
        return Ok(false);
    };
    if !which.means(decision, stored.detail) {
        return Ok(false);
    }
    if stored.detail.is_empty() {
        found.erased_already += 1;
        return Ok(false);
    }
    if found.records < SHOWN as u64 {
        output.line(line(seq, &view, output));
    }
    found.records += 1;
    match found.spans.last_mut() {
        Some((_, last)) if *last + 1 == seq => *last = seq,
        _ => found.spans.push((seq, seq)),
    }
    Ok(true)
}

async fn order(layout: &Layout, spans: &[(u64, u64)], reason: &str) -> Result<Vec<u64>, Failure> {
    let mut admin = client::admin(&layout.admin_socket())
        .await
        .map_err(client::NoConnection::into_failure)?;
    let mut records = Vec::new();
    for part in spans.chunks(ERASED_SPANS_MAX) {
        let spans = part.iter().map(|(first, last)| Span {
            first: *first,
            last: *last,
        });
        let request = EraseRequest {
            spans: spans.collect(),
            reason: reason.to_owned(),
        };
        records.push(client::reply(admin.erase(request)).await?.record);
    }
    Ok(records)
}

/// A person at a terminal is asked; anybody else has said `--yes`.
fn confirmed(args: &EraseArgs, output: &Output) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if output.is_json() || !stdin.is_terminal() {
        return Err(
            Failure::usage("nobody can be asked here, so nothing was erased")
                .next("say --yes to erase without being asked"),
        );
    }
    // The question is no part of the result.
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "erase for ever? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::usage("not confirmed, so nothing was erased")),
    }
}

fn progress(segments: usize, output: &Output) -> ProgressBar {
    if !output.shows_progress() || segments < 2 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("searching {bar:40} {pos}/{len} segments {eta}");
    ProgressBar::new(segments as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_found_by_its_path_and_exact_value() {
        let json = r#"{"a":{"b":[{"c":"x=y"},{"c":"é"}]},"n":80.0000000000000000001,"t":true}"#;
        let holds_at = |text: &str| {
            let with = with(text).unwrap();
            holds(json, &with.path, &with.value)
        };
        assert!(holds_at("args.a.b.c=x=y"));
        assert!(holds_at("args.a.b.c=é"));
        assert!(holds_at("args.n=80.0000000000000000001"));
        assert!(holds_at("args.t=true"));
        for not in [
            "args.n=80",
            "args.a.c=x=y",
            "args.a.b.c=x",
            "args.t.u=true",
            "args.a={}",
        ] {
            assert!(!holds_at(not), "{not}");
        }
        for wrong in ["email=x", "args.=x", "args.a", "args.a=", "args..a=1"] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        assert_eq!(spans("1-3,7").unwrap(), [(1, 3), (7, 7)]);
        assert!(spans("3-1").is_err() && spans("x").is_err() && spans("").is_err());
    }
}
