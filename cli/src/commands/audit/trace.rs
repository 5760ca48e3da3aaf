//! `faramesh audit trace`: everything of one session, or everything about one call.
#![forbid(unsafe_code)]

use super::line;
use super::ls::{Row, Source};
use crate::args::{Global, TraceArgs};
use crate::client;
use crate::failure::{Failure, exit};
use crate::indexed;
use crate::journal;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::search::{self, Found};
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::record::BodyView;
use faramesh_proto::v1::{TraceRequest, TraceRole, trace_request::Of};
use serde::Serialize;
use std::ops::ControlFlow;

/// The most that the index puts on one page.
const INDEX_PAGE: u32 = 1_000;

#[derive(Debug, Serialize)]
struct Printed {
    source: &'static str,
    indexed: Option<u64>,
    records: Vec<Row>,
    next: Option<u64>,
}

/// A record and what it is to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// Its part.
    pub role: TraceRole,
    /// The record.
    pub found: Found,
}

/// Traces.
///
/// # Errors
/// There is nothing of that name, no index runs, or it and the journal disagree.
pub fn run(global: &Global, args: &TraceArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let of = subject(&args.of);
    let (traced, next, source) = if args.scan {
        let (traced, next) = scan(&layout, &of, args, output)?;
        (traced, next, Source::SCAN)
    } else {
        client::block_on(ask(&layout, of.clone(), args, output))?
    };
    if traced.is_empty() && args.page.is_none() {
        return Err(nothing(&of));
    }
    for one in &traced {
        let text = line(one.found.entry.seq, &one.found.view, output);
        output.line(match one.role {
            TraceRole::InForce => format!(
                "{text}  {}",
                output.paint(Paint::Faint, "(in force before the others)")
            ),
            _ => text,
        });
    }
    if let Some(next) = next {
        output.note(format!("there are more: --page {next}"));
    }
    let rows: Result<Vec<Row>, Failure> = traced
        .iter()
        .map(|one| Row::of(&one.found, Some(word(one.role))))
        .collect();
    output.json(&Printed {
        source: source.name,
        indexed: source.indexed,
        records: rows?,
        next,
    });
    Ok(exit::OK)
}

/// A number is a record's; everything else is a session's name.
fn subject(given: &str) -> Of {
    match given.parse() {
        Ok(seq) => Of::Seq(seq),
        Err(_) => Of::Session(given.to_owned()),
    }
}

fn nothing(of: &Of) -> Failure {
    match of {
        Of::Seq(seq) => Failure::data(format!("there is no record {seq}, or none any more"))
            .next("`faramesh audit tail` shows the last ones"),
        Of::Session(session) => {
            Failure::data(format!("there is no session `{}`", Untrusted(session)))
                .next("`faramesh audit ls --kind session_start` lists them")
        }
    }
}

const fn word(role: TraceRole) -> &'static str {
    match role {
        TraceRole::InForce => "in_force",
        TraceRole::Activation => "activation",
        TraceRole::SessionStart => "session_start",
        TraceRole::Decision => "decision",
        TraceRole::Outcome => "outcome",
        TraceRole::SessionEnd => "session_end",
        TraceRole::Record | TraceRole::Unspecified => "record",
    }
}

async fn ask(
    layout: &Layout,
    of: Of,
    args: &TraceArgs,
    output: &Output,
) -> Result<(Vec<Traced>, Option<u64>, Source), Failure> {
    let mut index = indexed::connect(layout).await?;
    let (mut all, mut next, limit) = (Vec::new(), args.page, args.lines.get());
    let mut records = 0;
    loop {
        let room = u32::try_from(limit.saturating_sub(records)).unwrap_or(u32::MAX);
        let request = TraceRequest {
            of: Some(of.clone()),
            limit: room.clamp(1, INDEX_PAGE),
            page: next,
        };
        let reply = client::reply_of("index", index.trace(request)).await?;
        let coverage = indexed::coverage(layout, reply.coverage)?;
        for traced in &reply.places {
            let Some(place) = &traced.place else {
                continue;
            };
            if let Some(found) = indexed::read(layout.journal(), place)? {
                if !belongs(&of, traced.role(), &found) {
                    return Err(indexed::wrong(place));
                }
                let around = matches!(traced.role(), TraceRole::InForce | TraceRole::Activation);
                records += usize::from(!around);
                all.push(Traced {
                    role: traced.role(),
                    found,
                });
            }
        }
        next = reply.next;
        if next.is_none() || records >= limit {
            return Ok((all, next, Source::index(&coverage, output)));
        }
    }
}

/// Whether a record can have the part that the index gave it.
fn belongs(of: &Of, role: TraceRole, found: &Found) -> bool {
    let right_kind = match role {
        TraceRole::InForce => search::kind(&found.view.body) == "activation",
        TraceRole::Record => true,
        role => search::kind(&found.view.body) == word(role),
    };
    let right_session = match (of, role) {
        (Of::Session(_), TraceRole::InForce | TraceRole::Activation) | (Of::Seq(_), _) => true,
        (Of::Session(session), _) => search::session(&found.view.body) == Some(session),
    };
    right_kind && right_session
}

/// The same, by reading everything.
fn scan(
    layout: &Layout,
    of: &Of,
    args: &TraceArgs,
    output: &Output,
) -> Result<(Vec<Traced>, Option<u64>), Failure> {
    match of {
        Of::Seq(seq) => Ok((call(layout, *seq, output)?, None)),
        Of::Session(session) => scan_session(layout, session, args, output),
    }
}

fn scan_session(
    layout: &Layout,
    session: &str,
    args: &TraceArgs,
    output: &Output,
) -> Result<(Vec<Traced>, Option<u64>), Failure> {
    let (from, limit) = (args.page.unwrap_or(0), args.lines.get());
    let (mut all, mut next): (Vec<Traced>, Option<u64>) = (Vec::new(), None);
    let (mut in_force, mut switched): (Option<Traced>, Vec<Traced>) = (None, Vec::new());
    let mut records = 0;
    search::every(layout.journal(), output, |entry, view| {
        let ours = search::session(&view.body) == Some(session);
        let role = role(&view.body);
        let found = Found { entry, view };
        let seq = found.entry.seq;
        let one = Traced { role, found };
        if role == TraceRole::Activation {
            if records > 0 || (args.page.is_some() && seq >= from) {
                switched.push(one);
            } else {
                in_force = Some(Traced {
                    role: TraceRole::InForce,
                    ..one
                });
            }
        } else if ours && seq >= from {
            if records == 0 && args.page.is_none() {
                all.extend(in_force.take());
            }
            all.append(&mut switched);
            if records == limit {
                next = Some(seq);
                return Ok(ControlFlow::Break(()));
            }
            records += 1;
            all.push(one);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((all, next))
}

/// Everything about one call, by reading everything: what was in force, the session's ends, decision, outcome.
///
/// # Errors
/// The journal cannot be read, or has no such record.
pub fn call(layout: &Layout, seq: u64, output: &Output) -> Result<Vec<Traced>, Failure> {
    let asked = Found::of(journal::one(layout.journal(), seq)?)?;
    let decision = match &asked.view.body {
        BodyView::Outcome(outcome) => outcome.of,
        _ => seq,
    };
    let session = search::session(&asked.view.body).map(str::to_owned);
    let mut all: Vec<Traced> = Vec::new();
    let (mut in_force, mut outcome): (Option<Found>, Option<Found>) = (None, None);
    let (mut first, mut last): (Option<Found>, Option<Found>) = (None, None);
    search::every(layout.journal(), output, |entry, view| {
        let number = entry.seq;
        let found = Found { entry, view };
        let body = &found.view.body;
        if matches!(body, BodyView::Activation(_)) && number < decision {
            in_force = Some(found);
        } else {
            let about = matches!(body, BodyView::Outcome(outcome) if outcome.of == decision);
            if about && outcome.is_none() {
                outcome = Some(found.clone());
            }
            if number == decision && number != seq {
                all.push(Traced {
                    role: role(body),
                    found: found.clone(),
                });
            }
            if session.is_some() && search::session(body) == session.as_deref() {
                first.get_or_insert_with(|| found.clone());
                last = Some(found);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let part = |found: Option<Found>, role: TraceRole| found.map(|found| Traced { role, found });
    let is = |kind: &'static str| move |found: &Found| search::kind(&found.view.body) == kind;
    all.extend(part(in_force, TraceRole::InForce));
    all.extend(part(
        first.filter(is("session_start")),
        TraceRole::SessionStart,
    ));
    all.extend(part(last.filter(is("session_end")), TraceRole::SessionEnd));
    all.extend(part(outcome, TraceRole::Outcome));
    all.push(Traced {
        role: role(&asked.view.body),
        found: asked,
    });
    all.sort_by_key(|one| (one.found.entry.seq, one.role as i32));
    all.dedup_by_key(|one| one.found.entry.seq);
    Ok(all)
}

/// Everything about one call: from the index where one runs, else by reading everything. Whether the index answered.
///
/// # Errors
/// The journal cannot be read, or it and the index disagree.
pub fn about(layout: &Layout, seq: u64, output: &Output) -> Result<(Vec<Traced>, bool), Failure> {
    let args = TraceArgs {
        of: seq.to_string(),
        lines: std::num::NonZeroUsize::MIN,
        page: None,
        scan: false,
    };
    match client::block_on(ask(layout, Of::Seq(seq), &args, output)) {
        Ok((traced, _, _)) if !traced.is_empty() => Ok((traced, true)),
        // What is not indexed yet is read; so is everything where nobody may or can be asked.
        Ok(_) => Ok((call(layout, seq, output)?, false)),
        Err(failure) if matches!(failure.exit, exit::UNAVAILABLE | exit::PERMISSION) => {
            Ok((call(layout, seq, output)?, false))
        }
        Err(failure) => Err(failure),
    }
}

const fn role(body: &BodyView) -> TraceRole {
    match body {
        BodyView::Decision(_) => TraceRole::Decision,
        BodyView::Outcome(_) => TraceRole::Outcome,
        BodyView::SessionStart(_) => TraceRole::SessionStart,
        BodyView::SessionEnd { .. } => TraceRole::SessionEnd,
        BodyView::Activation(_) => TraceRole::Activation,
        _ => TraceRole::Record,
    }
}
