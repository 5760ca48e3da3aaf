//! Records by what they say: what a filter means, and the plain way to find them, which is to read the whole journal.
//!
//! Invariant: what is shown was read from the journal and fits the filter by what the record itself says, also where the
//! index named the place: see `indexed`.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::journal::{self, Entry, SegmentFile};
use crate::output::Output;
use faramesh_core::decision::{Code, Effect};
use faramesh_core::frame::{Frame, Frames, Item};
use faramesh_core::policy::pattern;
use faramesh_core::record::{self, BodyView, RecordView};
use faramesh_proto::v1;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;

/// The words that `--kind` takes: as records have them.
pub const KINDS: [&str; 16] = [
    "activation",
    "attestation",
    "clock_step",
    "decision",
    "dropped",
    "epoch",
    "erasure",
    "gap",
    "heartbeat",
    "outcome",
    "removal",
    "session_end",
    "session_start",
    "snapshot",
    "start",
    "stop",
];

/// What is searched for: all of it has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of a decision or of a session's start.
    pub agent: Option<String>,
    /// Of a decision: a name, or a pattern as policies write them.
    pub tool: Option<String>,
    /// Of a decision.
    pub effect: Option<Effect>,
    /// Of a decision.
    pub code: Option<Code>,
    /// Of a decision, an outcome, a session's start or end.
    pub session: Option<String>,
    /// One of [`KINDS`].
    pub kind: Option<String>,
    /// From this moment on, milliseconds since the Unix epoch, by the host's wall clock.
    pub since_ms: Option<u64>,
    /// Before this moment.
    pub until_ms: Option<u64>,
}

impl Filter {
    /// Whether a record is one of those.
    pub fn fits(&self, view: &RecordView) -> bool {
        let wall_ms = view.header.time.wall_ms;
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.session, session(&view.body))
            && is(&self.agent, agent(&view.body))
            && is(&self.kind, Some(kind(&view.body)))
            && self.since_ms.is_none_or(|since| wall_ms >= since)
            && self.until_ms.is_none_or(|until| wall_ms < until)
            && self.fits_verdict(&view.body)
    }

    fn fits_verdict(&self, body: &BodyView) -> bool {
        let BodyView::Decision(decision) = body else {
            return self.tool.is_none() && self.effect.is_none() && self.code.is_none();
        };
        self.effect.is_none_or(|wanted| decision.effect == wanted)
            && self.code.is_none_or(|wanted| decision.code == Some(wanted))
            && self
                .tool
                .as_deref()
                .is_none_or(|wanted| pattern::matches(wanted, &decision.tool))
    }

    /// As the index is asked.
    pub fn wire(&self) -> v1::Filter {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        v1::Filter {
            agent: text(&self.agent),
            tool: text(&self.tool),
            effect: self.effect.map(Effect::as_str).unwrap_or_default().into(),
            code: self.code.map(Code::as_str).unwrap_or_default().into(),
            session: text(&self.session),
            kind: text(&self.kind),
            since_ms: self.since_ms,
            until_ms: self.until_ms,
        }
    }
}

/// The word of a record's kind.
pub const fn kind(body: &BodyView) -> &'static str {
    match body {
        BodyView::Start(_) => "start",
        BodyView::Stop { .. } => "stop",
        BodyView::Activation(_) => "activation",
        BodyView::Decision(_) => "decision",
        BodyView::Outcome(_) => "outcome",
        BodyView::SessionStart(_) => "session_start",
        BodyView::SessionEnd { .. } => "session_end",
        BodyView::Dropped { .. } => "dropped",
        BodyView::ClockStep { .. } => "clock_step",
        BodyView::Log(event) => event.kind(),
    }
}

/// The session that a record belongs to.
pub fn session(body: &BodyView) -> Option<&str> {
    match body {
        BodyView::Decision(decision) => decision.session.as_deref(),
        BodyView::Outcome(outcome) => outcome.session.as_deref(),
        BodyView::SessionStart(start) => Some(&start.session),
        BodyView::SessionEnd { session, .. } => Some(session),
        _ => None,
    }
}

/// The agent that a record is about.
pub fn agent(body: &BodyView) -> Option<&str> {
    match body {
        BodyView::Decision(decision) => Some(&decision.agent),
        BodyView::SessionStart(start) => Some(&start.agent),
        _ => None,
    }
}

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its bytes and what lies beside them.
    pub entry: Entry,
    /// What it says.
    pub view: RecordView,
}

impl Found {
    /// Reads what an entry says.
    ///
    /// # Errors
    /// It is no record.
    pub fn of(entry: Entry) -> Result<Found, Failure> {
        match record::decode(&entry.record) {
            Ok(view) => Ok(Found { entry, view }),
            Err(why) => Err(no_record(entry.seq, &why)),
        }
    }
}

fn no_record(seq: u64, why: &dyn std::fmt::Display) -> Failure {
    Failure::data(format!("record {seq} is no record: {why}")).next("run `faramesh audit verify`")
}

/// Calls back for every record that a note follows, oldest first, a segment in memory at a time.
///
/// # Errors
/// The journal cannot be read, or is damaged where a note follows.
pub fn every(
    dir: &Path,
    output: &Output,
    mut each: impl FnMut(Entry, RecordView) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let segments = journal::segments(dir)?;
    let bar = progress(&segments, output);
    for segment in &segments {
        if visit(segment, &bar, &mut each)?.is_break() {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A page of what fits, found by reading: newest or oldest first, from a page's token on; the next one's token with it.
///
/// # Errors
/// The same.
pub fn page(
    dir: &Path,
    filter: &Filter,
    oldest_first: bool,
    limit: usize,
    from: Option<u64>,
    output: &Output,
) -> Result<(Vec<Found>, Option<u64>), Failure> {
    if oldest_first {
        return first_page(dir, filter, limit, from.unwrap_or(0), output);
    }
    let segments = journal::segments(dir)?;
    let bar = progress(&segments, output);
    let end = from.unwrap_or(u64::MAX);
    let mut page: Vec<Found> = Vec::new();
    for segment in segments.iter().rev().filter(|segment| segment.first < end) {
        // The last ones of this segment, and one more to know that there are more.
        let room = limit + 1 - page.len();
        let mut last: VecDeque<Found> = VecDeque::new();
        let _ = visit(segment, &bar, &mut |entry, view| {
            if entry.seq < end && filter.fits(&view) {
                last.push_back(Found { entry, view });
                if last.len() > room {
                    last.pop_front();
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        page.extend(last.into_iter().rev());
        if page.len() > limit {
            break;
        }
    }
    bar.finish_and_clear();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|found| found.entry.seq);
    Ok((page, next))
}

fn first_page(
    dir: &Path,
    filter: &Filter,
    limit: usize,
    from: u64,
    output: &Output,
) -> Result<(Vec<Found>, Option<u64>), Failure> {
    let (mut page, mut next) = (Vec::new(), None);
    every(dir, output, |entry, view| {
        if entry.seq < from || !filter.fits(&view) {
            return Ok(ControlFlow::Continue(()));
        }
        if page.len() == limit {
            next = Some(entry.seq);
            return Ok(ControlFlow::Break(()));
        }
        page.push(Found { entry, view });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((page, next))
}

/// Every record of a segment that a note follows. What is behind the last note was answered to nobody, and may be what
/// the daemon is writing.
fn visit(
    segment: &SegmentFile,
    bar: &ProgressBar,
    each: &mut impl FnMut(Entry, RecordView) -> Result<ControlFlow<()>, Failure>,
) -> Result<ControlFlow<()>, Failure> {
    let bytes = journal::read(segment)?;
    let mut noted = 0;
    for item in Frames::new(&bytes) {
        if let Item::Frame {
            at,
            frame: Frame::Note(_),
        } = item
        {
            noted = at.end;
        }
    }
    let mut stopped = None;
    let noted = bytes.get(..noted).unwrap_or_default();
    let _ = journal::records(segment.first, noted, |seq, stored| {
        let entry = Entry::of(seq, stored);
        let told = record::decode(&entry.record)
            .map_err(|why| no_record(seq, &why))
            .and_then(|view| each(entry, view));
        match told {
            Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
            other => {
                stopped = Some(other);
                ControlFlow::Break(())
            }
        }
    });
    bar.inc(bytes.len() as u64);
    stopped.unwrap_or(Ok(ControlFlow::Continue(())))
}

fn progress(segments: &[SegmentFile], output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let total = segments
        .iter()
        .filter_map(|segment| std::fs::metadata(&segment.path).ok())
        .map(|meta| meta.len())
        .sum();
    let style = ProgressStyle::with_template("reading {bar:40} {bytes}/{total_bytes}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}
