//! `faramesh audit replay`: every recorded call decided again, by the policy of its own time or by another one.
#![forbid(unsafe_code)]

use super::time;
use crate::args::{Global, ReplayArgs};
use crate::commands::check::count;
use crate::commands::plan;
use crate::failure::{Failure, exit};
use crate::journal;
use crate::layout::Layout;
use crate::moment;
use crate::output::{Output, Paint};
use crate::policies::{self, digest_text};
use crate::replay::{Again, Replay, Replayed, Verdict};
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::policy::Policy;
use faramesh_core::record::{self, BodyView, DecisionView, LogEvent, RecordView};
use faramesh_core::state::{Snapshot, State};
use faramesh_daemon::journal::snapshots;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Changed calls that people are shown.
const SHOWN: usize = 20;
/// Some record could not be decided again, though none was decided otherwise.
const CANNOT_TELL: u8 = 2;
/// By the policy of its own time a record is decided otherwise.
const DIFFERS: u8 = 1;

/// What was asked for.
pub struct Asked {
    /// In place of the policies that decided then; its digest need not have been in force ever.
    pub policy: Option<Arc<Policy>>,
    /// Decisions from this moment on, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Decisions before this moment.
    pub until_ms: Option<u64>,
    /// Changed calls that are kept one by one.
    pub limit: usize,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Table {
    /// The record that it begins with: those before it were removed, or came before what was asked for.
    pub begins_with: u64,
    /// Decisions that were put to a policy again.
    pub replayed: u64,
    /// Decided as it was, in the same words.
    pub same: u64,
    /// Decided as it was, in other words, by which words differ.
    pub other_words: BTreeMap<String, u64>,
    /// Decided otherwise: (effect then, effect now) and how often.
    pub changed: BTreeMap<(&'static str, &'static str), u64>,
    /// Why some could not be decided again, and how many.
    pub not_replayable: BTreeMap<String, u64>,
    /// The changed calls, one by one, as far as they were kept.
    pub calls: Vec<Replayed>,
    /// Those that were not kept.
    pub left_out: u64,
}

#[derive(Debug, Serialize)]
struct Printed<'a> {
    policy: Option<String>,
    begins_with: u64,
    replayed: u64,
    same: u64,
    other_words: &'a BTreeMap<String, u64>,
    changed: u64,
    changes: Vec<PrintedChange>,
    not_replayable: &'a BTreeMap<String, u64>,
    calls: Vec<PrintedCall<'a>>,
    calls_left_out: u64,
}

#[derive(Debug, Serialize)]
struct PrintedChange {
    from: &'static str,
    to: &'static str,
    calls: u64,
}

#[derive(Debug, Serialize)]
struct PrintedCall<'a> {
    record: u64,
    time: String,
    agent: &'a str,
    tool: &'a str,
    then: Option<&'a Verdict>,
    now: Option<&'a Verdict>,
}

/// Decides again.
///
/// # Errors
/// The journal or the policy cannot be read, or the records do not follow one another.
pub fn run(global: &Global, args: &ReplayArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let now = moment::now_ms();
    let moment = |given: &Option<String>| given.as_deref().map(|given| moment::parse(given, now));
    let other = match &args.policy {
        Some(asked) => Some(Arc::new(named(global, &layout, asked, output)?)),
        None => None,
    };
    let asked = Asked {
        policy: other.clone(),
        since_ms: moment(&args.since).transpose()?,
        until_ms: moment(&args.until).transpose()?,
        limit: args.limit,
    };
    let table = replay(&layout, &asked, output)?;
    people(&table, other.is_some(), output);
    output.json(&table.printed(other.as_deref()));
    Ok(
        match (
            other,
            table.changed.is_empty(),
            table.not_replayable.is_empty(),
        ) {
            // A question about another policy has no wrong answer.
            (Some(_), ..) => exit::OK,
            (None, false, _) => DIFFERS,
            (None, true, false) => CANNOT_TELL,
            (None, true, true) => exit::OK,
        },
    )
}

fn named(
    global: &Global,
    layout: &Layout,
    asked: &str,
    output: &Output,
) -> Result<Policy, Failure> {
    let against = plan::named_against(global, layout, asked, output)?;
    let artifact = against
        .artifact
        .ok_or_else(|| Failure::data("nothing to decide by").next("name a policy with --policy"))?;
    Policy::of(&artifact).map_err(|e| Failure::internal(format!("the policy does not load: {e}")))
}

/// Goes through the stack's journal.
///
/// # Errors
/// It cannot be read, or its records do not follow one another.
pub fn replay(layout: &Layout, asked: &Asked, output: &Output) -> Result<Table, Failure> {
    let dir = layout.journal();
    let segments = journal::segments(dir)?;
    let progress = progress(&segments, output);
    let mut policies = Policies::default();
    let mut table = Table::default();
    let beginning = beginning(dir, &segments, asked);
    let mut vouched_for = beginning.is_none();
    let mut replay = Replay::default();
    if let Some(beginning) = &beginning {
        table.begins_with = beginning.size;
        replay = Replay::from(beginning.state.clone());
    }
    let first = table.begins_with;
    for segment in segments.iter().filter(|segment| segment.first >= first) {
        if segment.first != replay.next_seq() {
            return Err(Failure::data(format!(
                "record {} is not there: what was recorded before `{}` cannot be decided again",
                replay.next_seq(),
                segment.path.display()
            ))
            .next("run `faramesh audit verify`"));
        }
        let bytes = journal::read(segment)?;
        let mut unfit = None;
        // A frame that is not whole yet ends the last segment while the daemon writes.
        let _ = journal::records(segment.first, &bytes, |_, stored| {
            vouched_for |= beginning
                .as_ref()
                .is_some_and(|beginning| beginning.is_named_by(stored.record));
            let policy = |view: &RecordView, decision: &DecisionView| {
                if !asked.covers(view) {
                    return Ok(None);
                }
                match &asked.policy {
                    Some(policy) => Ok(Some(Arc::clone(policy))),
                    None => policies.of(layout, &decision.policy).map(Some),
                }
            };
            match replay.take(&stored, policy) {
                Ok(Some(replayed)) => table.add(replayed, asked.limit),
                Ok(None) => {}
                Err(why) => {
                    unfit = Some(why);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        if let Some(why) = unfit {
            return Err(Failure::data(why.to_string()).next("run `faramesh audit verify`"));
        }
        progress.inc(bytes.len() as u64);
    }
    progress.finish_and_clear();
    match vouched_for {
        true => Ok(table),
        // What the calls before it came to would be anybody's word.
        false => Err(Failure::data(format!(
            "no record says that the snapshot of the first {} records is the daemon's",
            table.begins_with
        ))
        .next("run `faramesh audit verify`")),
    }
}

/// A snapshot to begin at.
struct Beginning {
    size: u64,
    digest: [u8; 32],
    state: State,
}

impl Beginning {
    /// Whether a record is the one that gives this snapshot's digest.
    fn is_named_by(&self, record: &[u8]) -> bool {
        // Cheap for all others: the kind stands in the record's first hundred bytes.
        let head = record.get(..128.min(record.len())).unwrap_or_default();
        let kind = b"\"kind\":\"snapshot\"";
        head.windows(kind.len()).any(|at| at == kind)
            && record::decode(record).is_ok_and(|view| {
                let BodyView::Log(LogEvent::Snapshot(snapshot)) = view.body else {
                    return false;
                };
                (snapshot.size, snapshot.digest) == (self.size, self.digest)
            })
    }
}

/// Where to begin: at the newest snapshot of everything before what is asked for; where records were removed, at the
/// oldest behind them; else before the first record. One that cannot be read is passed over, as a start does.
fn beginning(dir: &Path, segments: &[journal::SegmentFile], asked: &Asked) -> Option<Beginning> {
    let sizes = snapshots::list(dir).ok()?;
    let begins = |size: &u64| segments.iter().any(|segment| segment.first == *size);
    let open = |size: u64| {
        let bytes = snapshots::read(dir, size).ok()?;
        let snapshot = Snapshot::decode(&bytes).ok()?;
        Some((snapshot, Snapshot::digest(&bytes)))
    };
    let mut oldest = None;
    for size in sizes.into_iter().filter(begins).rev() {
        let Some((snapshot, digest)) = open(size) else {
            continue;
        };
        let is_before = |since| {
            let last = snapshot.point.last.as_ref();
            last.is_some_and(|(time, _)| time.wall_ms < since)
        };
        let enough = asked.since_ms.is_some_and(is_before);
        oldest = Some(Beginning {
            size,
            digest,
            state: snapshot.point.state,
        });
        if enough {
            return oldest;
        }
    }
    let removed = segments.first().is_some_and(|segment| segment.first > 0);
    oldest.filter(|_| removed)
}

impl Asked {
    fn covers(&self, view: &RecordView) -> bool {
        let wall_ms = view.header.time.wall_ms;
        self.since_ms.is_none_or(|since| wall_ms >= since)
            && self.until_ms.is_none_or(|until| wall_ms < until)
    }
}

/// Each policy that decided something, read once.
#[derive(Default)]
struct Policies(BTreeMap<[u8; 32], Result<Arc<Policy>, String>>);

impl Policies {
    fn of(&mut self, layout: &Layout, digest: &[u8; 32]) -> Result<Arc<Policy>, String> {
        let read = || {
            let unread = |why: String| format!("its policy {}: {why}", digest_text(digest));
            let artifact = policies::artifact(layout, digest).map_err(|e| unread(e.message))?;
            let policy = Policy::of(&artifact).map_err(|e| unread(e.to_string()))?;
            Ok(Arc::new(policy))
        };
        self.0.entry(*digest).or_insert_with(read).clone()
    }
}

impl Table {
    fn add(&mut self, replayed: Replayed, limit: usize) {
        self.replayed += 1;
        match &replayed.again {
            Again::Same => self.same += 1,
            Again::OtherWords(words) => *self.other_words.entry(words.clone()).or_default() += 1,
            Again::NotReplayable(why) => {
                *self.not_replayable.entry(why.clone()).or_default() += 1;
            }
            Again::Changed(now) => {
                let then = replayed.recorded.as_ref().map_or("?", |then| then.effect);
                *self.changed.entry((then, now.effect)).or_default() += 1;
                if self.calls.len() < limit {
                    self.calls.push(replayed);
                } else {
                    self.left_out += 1;
                }
            }
        }
    }

    /// Decided otherwise.
    pub fn changed(&self) -> u64 {
        self.changed.values().sum()
    }

    /// Could not be decided again.
    pub fn not_replayable(&self) -> u64 {
        self.not_replayable.values().sum()
    }

    fn printed(&self, policy: Option<&Policy>) -> Printed<'_> {
        let changes = self
            .changed
            .iter()
            .map(|((from, to), calls)| PrintedChange {
                from,
                to,
                calls: *calls,
            });
        let calls = self.calls.iter().map(|call| PrintedCall {
            record: call.seq,
            time: time(call.time.wall_ms),
            agent: &call.agent,
            tool: &call.tool,
            then: call.recorded.as_ref(),
            now: match &call.again {
                Again::Changed(now) => Some(now),
                _ => None,
            },
        });
        Printed {
            policy: policy.map(|policy| digest_text(policy.digest())),
            begins_with: self.begins_with,
            replayed: self.replayed,
            same: self.same,
            other_words: &self.other_words,
            changed: self.changed(),
            changes: changes.collect(),
            not_replayable: &self.not_replayable,
            calls: calls.collect(),
            calls_left_out: self.left_out,
        }
    }
}

fn progress(segments: &[journal::SegmentFile], output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let sizes = segments
        .iter()
        .filter_map(|segment| std::fs::metadata(&segment.path).ok());
    let total = sizes.map(|found| found.len()).sum();
    let style = ProgressStyle::with_template("replaying {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn people(table: &Table, is_other: bool, output: &Output) {
    let decided = count(
        usize::try_from(table.replayed).unwrap_or(usize::MAX),
        "decision",
    );
    let (word, paint) = match (table.changed(), table.not_replayable()) {
        (0, 0) => ("the same".to_owned(), Paint::Good),
        (0, _) => (
            "the same as far as they can be decided again".to_owned(),
            Paint::Caution,
        ),
        (changed, _) => (format!("{changed} decided otherwise"), Paint::Bad),
    };
    let paint = if is_other { Paint::Strong } else { paint };
    output.line(format!(
        "{decided} put to {}: {}",
        match is_other {
            true => "that policy",
            false => "the policies of their time",
        },
        output.paint(paint, &word)
    ));
    if table.begins_with > 0 {
        output.line(format!("  begins with record {}", table.begins_with));
    }
    print(table, output);
}

/// The table, for people: what changed, what could not be decided again, and the first calls.
pub fn print(table: &Table, output: &Output) {
    for ((then, now), calls) in &table.changed {
        output.line(format!("  {then} → {now}  {calls}"));
    }
    for (words, calls) in &table.other_words {
        output.line(format!("  the same with another {words}  {calls}"));
    }
    for (why, calls) in &table.not_replayable {
        output.line(format!("  not replayable: {}  {calls}", Untrusted(why)));
    }
    for call in table.calls.iter().take(SHOWN) {
        let Again::Changed(now) = &call.again else {
            continue;
        };
        output.line(format!(
            "{:>8}  {}  {}  {}  {} → {}",
            call.seq,
            time(call.time.wall_ms),
            Untrusted(&call.agent),
            Untrusted(&call.tool),
            call.recorded.as_ref().map_or("?".to_owned(), shown),
            shown(now)
        ));
    }
    let more = table.calls.len().saturating_sub(SHOWN) as u64 + table.left_out;
    if more > 0 {
        output.line(format!("  and {more} more; --format json has them"));
    }
}

fn shown(verdict: &Verdict) -> String {
    let by = match (verdict.rule, verdict.code) {
        (Some(rule), _) => format!(" by rule {rule}"),
        (None, Some(code)) => format!(" {code}"),
        (None, None) => " by default".to_owned(),
    };
    let effect = match verdict.would {
        Some(would) => format!("would {would}"),
        None => verdict.effect.to_owned(),
    };
    effect + &by
}
