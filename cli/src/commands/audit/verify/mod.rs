//! `faramesh audit verify`: what the journal's bytes prove, in three statements that are never confused.
//!
//! *Self-consistent*: nothing in it contradicts anything in it, and the pinned key signed it. *Extends the head that you
//! trusted before*: nothing that you once saw was taken back; what was verified the last time is such a head. *Externally
//! attested*: pinned witnesses, outside the host, signed so many of its records.
#![forbid(unsafe_code)]

mod memory;
mod reading;
mod removed;

use crate::anchor::file::entries;
use crate::args::{Global, VerifyArgs};
use crate::commands::check::count;
use crate::failure::Failure;
use crate::files;
use crate::journal::{self, SegmentFile};
use crate::output::{Output, Paint};
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::{self, Checkpoint, NOTE_BYTES_MAX, PublicKey, Statement};
use faramesh_core::cosign::{WITNESSES_BYTES_MAX, Witnesses};
use faramesh_core::tree::Head;
use faramesh_core::verify::{
    Answer, Continuation, Finding, Level, Options, Pinned, Quorum, Report, Signatures, Verifier,
};
use indicatif::{ProgressBar, ProgressStyle};
use memory::{Memory, Remembered};
use reading::Part;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Findings that are printed for people; programs get every one that was kept.
const FINDINGS_SHOWN: usize = 20;
/// The same where the key is another one: then every checkpoint has the same fault.
const FINDINGS_OF_ANOTHER_KEY: usize = 2;

/// Two lines with a name, an id and a key each.
const LOG_KEY_BYTES_MAX: u64 = 2_048;

/// An anchor file: a note of a kilobyte every few seconds, for a month.
const ANCHORS_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, Serialize)]
struct Printed<'a> {
    result: &'static str,
    journal: &'a Path,
    key: Option<String>,
    self_consistent: &'static str,
    extends_trusted: &'static str,
    externally_attested_to: Option<u64>,
    holds_attested: &'static str,
    records: u64,
    removed: u64,
    signed: u64,
    unsigned_tail: u64,
    notes: u64,
    signatures_checked: u64,
    not_read_again: Option<PrintedMemory<'a>>,
    dropped_calls: u64,
    findings: Vec<PrintedFinding<'a>>,
    findings_left_out: u64,
    spans: Vec<PrintedSpan>,
    spans_left_out: u64,
    checkpoint: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct PrintedMemory<'a> {
    records: u64,
    verified: &'a str,
}

#[derive(Debug, Serialize)]
struct PrintedFinding<'a> {
    level: &'static str,
    fault: &'static str,
    what: &'a str,
    record: u64,
    segment: &'a str,
    offset: usize,
}

#[derive(Debug, Serialize)]
struct PrintedSpan {
    kind: &'static str,
    from: u64,
    to: u64,
}

/// Proves or disproves.
///
/// # Errors
/// The journal, the key or a head cannot be read. What they say is an answer: 0 holds, 1 broken, 2 cannot tell.
pub fn run(global: &Global, args: &VerifyArgs, output: &Output) -> Result<u8, Failure> {
    let subject = subject(global, args)?;
    let key = subject.key.as_ref().map(Pinned::origin);
    let given = args
        .head
        .as_deref()
        .map(|file| head(file, key))
        .transpose()?;
    let witnessed = witnesses(args, key)?;
    let memory = key.and_then(|key| Memory::of(args, key, &witnessed.keys));
    let remembered = match &memory {
        Some(memory) => memory.recall()?,
        None => None,
    };
    let trusted = (remembered.iter())
        .map(|remembered| remembered.continuation.head())
        .chain(given)
        .collect();
    let options = Options {
        key: subject.key.clone(),
        signatures: match args.every_signature {
            true => Signatures::Every,
            false => Signatures::Ends,
        },
        trusted,
        quorum: witnessed.quorum,
        attested: witnessed.heads,
    };
    let journal = Journal::open(&subject.dir, &options, output)?;
    let begin = remembered
        .as_ref()
        .filter(|remembered| !args.from_start && !args.every_signature && remembered.same_question)
        .filter(|remembered| journal.can_go_on(remembered, &options));
    let (report, continuation) = journal.verify(begin, &options, output)?;
    if let (Some(memory), Some(continuation)) = (&memory, &continuation)
        && let Err(failure) = memory.keep(continuation)
    {
        output.warn(format!("this verification is not remembered: {failure}"));
    }
    let told = Told {
        dir: &subject.dir,
        key: subject.key.as_ref(),
        report: &report,
        remembered: remembered.as_ref(),
        not_read_again: begin,
        witnessed: options.quorum.is_some(),
    };
    people(&told, output);
    output.json(&printed(&told));
    Ok(report.exit_code())
}

/// What is said of a verification.
struct Told<'a> {
    dir: &'a Path,
    key: Option<&'a Pinned>,
    report: &'a Report,
    /// The verification before, where one is remembered.
    remembered: Option<&'a Remembered>,
    /// The same, where this one went on from it.
    not_read_again: Option<&'a Remembered>,
    /// Whether witnesses are pinned.
    witnessed: bool,
}

struct Subject {
    dir: PathBuf,
    key: Option<Pinned>,
}

/// What is pinned of witnesses.
#[derive(Default)]
struct Witnessed {
    quorum: Option<Quorum>,
    /// Heads that enough of them signed.
    heads: Vec<Head>,
    /// The bytes of their keys' file.
    keys: Vec<u8>,
}

fn witnesses(args: &VerifyArgs, key: Option<&PublicKey>) -> Result<Witnessed, Failure> {
    let Some(file) = &args.witness else {
        return Ok(Witnessed::default());
    };
    let key = key.ok_or_else(|| {
        Failure::data("what witnesses signed says nothing without the log's own key")
            .next("give the stack's log.pub with --key")
    })?;
    let text = files::read_text(file, WITNESSES_BYTES_MAX as u64)?
        .ok_or_else(|| Failure::data(format!("there is no file `{}`", file.display())))?;
    let witnesses =
        Witnesses::parse(&text).map_err(|e| Failure::data(format!("`{}`: {e}", file.display())))?;
    let quorum = Quorum {
        witnesses,
        count: args.quorum,
    };
    let mut heads = Vec::new();
    for file in &args.attested {
        heads.extend(attested(file, key, &quorum)?);
    }
    heads.sort_by_key(|head| head.size);
    heads.dedup();
    // The newest covers the older ones, as long as witnesses saw one history; from the start each is compared.
    if !args.from_start {
        heads.drain(..heads.len().saturating_sub(1));
    }
    Ok(Witnessed {
        quorum: Some(quorum),
        heads,
        keys: text.into_bytes(),
    })
}

/// The checkpoints of a note or of an anchor file that enough of the pinned witnesses signed; there is at least one. What a
/// crash left of an anchor file's last entry is passed over.
fn attested(file: &Path, key: &PublicKey, quorum: &Quorum) -> Result<Vec<Head>, Failure> {
    let bytes = files::read_limited(file, ANCHORS_BYTES_MAX)?
        .ok_or_else(|| Failure::data(format!("there is no note `{}`", file.display())))?;
    let refused = |why: String| {
        Failure::data(format!(
            "`{}` holds no attested checkpoint of this journal: {why}",
            file.display()
        ))
    };
    let text = String::from_utf8(as_kept(bytes)).map_err(|_| refused("not UTF-8".into()))?;
    let mut heads = Vec::new();
    let mut most = 0;
    for (index, note) in entries(&text).iter().enumerate() {
        match quorum.witnesses.open(note.as_bytes(), key) {
            Ok(cosigned) if cosigned.reaches(quorum.count) => {
                heads.push(cosigned.checkpoint().head);
            }
            Ok(cosigned) => most = most.max(cosigned.by().len()),
            Err(checkpoint::Error::NotANote(_)) => {}
            Err(why) => return Err(refused(format!("note {}: {why}", index + 1))),
        }
    }
    if heads.is_empty() {
        let wanted = quorum.count.max(1);
        return Err(refused(format!(
            "at most {most} of the pinned witnesses signed one, and {wanted} are needed"
        )));
    }
    Ok(heads)
}

/// Which journal, and which key is pinned for it: the stack's own has one, any other only what was given.
fn subject(global: &Global, args: &VerifyArgs) -> Result<Subject, Failure> {
    let given = args.key.as_deref().map(pinned).transpose()?;
    if let Some(dir) = &args.journal {
        let (dir, key) = (dir.clone(), given);
        return Ok(Subject { dir, key });
    }
    let layout = stack::applied(global)?;
    let key = match given {
        Some(key) => Some(key),
        None => log_key(&layout.log_pub())?,
    };
    let dir = layout.journal().to_owned();
    Ok(Subject { dir, key })
}

fn pinned(file: &Path) -> Result<Pinned, Failure> {
    log_key(file)?.ok_or_else(|| Failure::data(format!("there is no key `{}`", file.display())))
}

/// A `log.pub`, or its first line; `None` where there is no file.
fn log_key(file: &Path) -> Result<Option<Pinned>, Failure> {
    let Some(text) = files::read_text(file, LOG_KEY_BYTES_MAX)? else {
        return Ok(None);
    };
    Pinned::parse(&text).map(Some).map_err(|e| {
        Failure::configuration(format!("`{}` is not a log's key: {e}", file.display())).next(
            "it is two lines, the origin's key and the first epoch's, as in log.pub; or the first of them",
        )
    })
}

/// A checkpoint that was kept. Where a key is pinned it must be that key's; without one its text is taken as it is, and
/// the answer can be no better than `cannot tell`.
fn head(file: &Path, key: Option<&PublicKey>) -> Result<Head, Failure> {
    let not_one = |why: String| {
        Failure::data(format!(
            "`{}` is not a checkpoint of this journal: {why}",
            file.display()
        ))
        .next("give the note as it was kept, and the key of the same journal")
    };
    let note = files::read_limited(file, NOTE_BYTES_MAX as u64)?
        .ok_or_else(|| Failure::data(format!("there is no note `{}`", file.display())))?;
    let note = as_kept(note);
    match key {
        Some(key) => Ok(key
            .open::<Checkpoint>(&note)
            .map_err(|e| not_one(e.to_string()))?
            .into_inner()
            .head),
        None => {
            let text = checkpoint::unverified_text(&note).map_err(|e| not_one(e.to_string()))?;
            Ok(Checkpoint::parse(text)
                .map_err(|why| not_one(why.to_owned()))?
                .head)
        }
    }
}

/// A note as it was before somebody copied it from this command's own output: without the margin, and with exactly one
/// line break at its end. No line of a note begins or ends with a space, so nothing that is signed is touched.
pub(super) fn as_kept(note: Vec<u8>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&note) else {
        return note;
    };
    let mut lines: Vec<&str> = text.lines().map(|line| line.trim_matches(' ')).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    (lines.join("\n") + "\n").into_bytes()
}

/// The files of a journal.
struct Journal {
    dir: PathBuf,
    segments: Vec<SegmentFile>,
    /// Whether a daemon is writing it.
    live: bool,
}

impl Journal {
    fn open(dir: &Path, options: &Options, output: &Output) -> Result<Journal, Failure> {
        let segments = match dir.exists() {
            true => journal::segments(dir)?,
            false => Vec::new(),
        };
        if segments.is_empty() && options.trusted.is_empty() && options.attested.is_empty() {
            return Err(
                Failure::data(format!("there is no journal in `{}`", dir.display()))
                    .next("name its directory, or start the daemon once"),
            );
        }
        if segments.is_empty() {
            output.warn(format!("there is no journal in `{}`", dir.display()));
        }
        let live = files::journal_is_held(dir);
        Ok(Journal {
            dir: dir.to_owned(),
            segments,
            live,
        })
    }

    /// Whether the journal still has what was read at the place where the verification before ended, and every head that
    /// is asked for lies behind it.
    fn can_go_on(&self, remembered: &Remembered, options: &Options) -> bool {
        let continuation = &remembered.continuation;
        let mut heads = options.trusted.iter().chain(&options.attested);
        let all_behind = heads.all(|head| continuation.can_compare(head));
        let note = self.segment(continuation.segment()).and_then(|index| {
            let segment = self.segments.get(index)?;
            let place = continuation.place();
            reading::bytes_from(&segment.path, place.start).ok()
        });
        let (Some(key), Some(note)) = (&options.key, note) else {
            return false;
        };
        all_behind && continuation.fits(&note, key.origin()).is_ok()
    }

    fn segment(&self, first: u64) -> Option<usize> {
        self.segments
            .iter()
            .position(|segment| segment.first == first)
    }

    fn verify(
        &self,
        begin: Option<&Remembered>,
        options: &Options,
        output: &Output,
    ) -> Result<(Report, Option<Continuation>), Failure> {
        let begin = begin.map(|remembered| &remembered.continuation);
        let skip = begin
            .and_then(|continuation| self.segment(continuation.segment()))
            .unwrap_or(0);
        let mut parts: Vec<Part<'_>> = (self.segments.iter().enumerate())
            .skip(skip)
            .map(|(index, segment)| Part {
                segment,
                from: 0,
                live: self.live && index + 1 == self.segments.len(),
            })
            .collect();
        let mut verifier = match begin {
            Some(continuation) => {
                if let Some(part) = parts.first_mut() {
                    part.from = continuation.place().end;
                }
                Verifier::resume(options.clone(), continuation.clone())
            }
            None => Verifier::new(options.clone()),
        };
        if let (None, Some(first)) = (begin, self.segments.first()) {
            removed::hashes(&self.dir, first.first, &mut verifier)?;
        }
        let total = (parts.iter())
            .filter_map(|part| {
                let meta = std::fs::metadata(&part.segment.path).ok()?;
                Some(meta.len().saturating_sub(part.from))
            })
            .sum();
        let progress = progress(total, output);
        reading::read(&parts, options, &mut verifier, &progress)?;
        progress.finish_and_clear();
        Ok(verifier.finish_and_keep())
    }
}

fn progress(total: u64, output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("verifying {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The words for an exit status.
fn result(report: &Report) -> (&'static str, Paint) {
    match report.exit_code() {
        0 => ("holds", Paint::Good),
        1 => ("broken", Paint::Bad),
        _ => ("cannot tell", Paint::Caution),
    }
}

fn people(told: &Told<'_>, output: &Output) {
    let (key, report) = (told.key, told.report);
    let (word, paint) = result(report);
    output.line(format!(
        "{}  {} in {}",
        output.paint(paint, &word.to_uppercase()),
        count(size(report.records), "record"),
        told.dir.display()
    ));
    output.line(format!(
        "  self-consistent      {}",
        answer(report.self_consistent, output)
    ));
    match (report.extends_trusted, told.remembered) {
        (Answer::NotAsked, _) => {
            output.line("  extends your head    not asked; give one that you kept with --head")
        }
        (extends, None) => output.line(format!(
            "  extends your head    {}",
            answer(extends, output)
        )),
        (extends, Some(remembered)) => output.line(format!(
            "  extends your head    {}: {} on {}",
            answer(extends, output),
            count(size(remembered.continuation.head().size), "record"),
            Untrusted(&remembered.time)
        )),
    }
    attestation(told, output);
    match key {
        Some(key) => {
            let epochs = match key {
                Pinned::Log(_) => "",
                Pinned::Origin(_) => " (the origin's alone: no epoch's signature was checked)",
            };
            output.line(format!(
                "  pinned key           {}{epochs}",
                Untrusted(key.origin().name().as_str())
            ));
        }
        None => output.line("  pinned key           none: anybody could have signed this journal; give the stack's log.pub with --key"),
    }
    if let Some(remembered) = told.not_read_again {
        output.line(format!(
            "  not read again       records 0 to {}, verified on {}: damage to them since then is found with --from-start",
            remembered.continuation.head().size.saturating_sub(1),
            Untrusted(&remembered.time)
        ));
    }
    if report.removed > 0 {
        output.line(format!(
            "  removed              the first {}: their hashes alone are left",
            count(size(report.removed), "record")
        ));
    }
    let unchecked = report.notes.saturating_sub(report.signatures_checked);
    if key.is_some() && unchecked > 0 {
        output.line(format!(
            "  signatures           {} of {} checked; the roots of the others are covered by them (--every-signature checks all)",
            report.signatures_checked,
            count(size(report.notes), "checkpoint")
        ));
    }
    if is_of_another_key(key, report) {
        output.line(format!(
            "  {} this key signed none of the {} here: either it is not the key of this journal (each stack has its own \
             log.pub), or the whole journal was replaced. What follows says no more than that",
            output.paint(Paint::Bad, "another key:"),
            count(size(report.notes), "checkpoint")
        ));
    } else if report.unsigned_tail > 0 {
        output.line(format!(
            "  unsigned tail        {}: nobody was answered on them",
            count(size(report.unsigned_tail), "record")
        ));
    }
    if report.dropped_calls > 0 {
        output.line(format!(
            "  dropped              {} refused before the decision, and counted",
            count(size(report.dropped_calls), "call")
        ));
    }
    for span in &report.spans {
        output.line(format!(
            "  {:<20} records {} to {}",
            span.kind.as_str(),
            span.from,
            span.to
        ));
    }
    let shown = match is_of_another_key(key, report) {
        true => FINDINGS_OF_ANOTHER_KEY,
        false => FINDINGS_SHOWN,
    };
    findings(report, shown, output);
    if let Some(note) = report
        .last_note
        .as_deref()
        .filter(|_| report.exit_code() == 0)
    {
        output.note("  keep this checkpoint elsewhere; the next verification can be held against it with --head:");
        note.lines()
            .for_each(|line| output.note(format!("    {}", Untrusted(line))));
    }
}

fn attestation(told: &Told<'_>, output: &Output) {
    let line = match (
        told.report.attested,
        told.witnessed,
        told.report.holds_attested,
    ) {
        (_, _, Answer::No) => {
            output.paint(Paint::Bad, "no: it does not hold what witnesses signed")
        }
        (Some(to), ..) => format!(
            "{} {}",
            output.paint(Paint::Good, "the first"),
            count(size(to), "record")
        ),
        (None, true, _) => "no: the pinned witnesses attest nothing here".to_owned(),
        (None, false, _) => {
            "not asked: no witnesses are pinned; give their keys with --witness".to_owned()
        }
    };
    output.line(format!("  externally attested  {line}"));
}

/// Not one checkpoint is the pinned key's: that is about the key or the whole journal, and not about a record.
fn is_of_another_key(key: Option<&Pinned>, report: &Report) -> bool {
    key.is_some() && report.notes > 0 && report.signed == 0
}

/// The worst first, and of those the first in the journal: that is where to look.
fn findings(report: &Report, shown: usize, output: &Output) {
    let mut sorted: Vec<&Finding> = report.findings.iter().collect();
    sorted.sort_by_key(|finding| (std::cmp::Reverse(finding.level), finding.seq));
    for finding in sorted.iter().take(shown) {
        let paint = match finding.level {
            Level::Broken => Paint::Bad,
            Level::CannotTell | Level::Warning => Paint::Caution,
            Level::Info => Paint::Faint,
        };
        output.line(format!(
            "{} record {}, {} at byte {}: {}",
            output.paint(paint, &format!("{}:", finding.level.as_str())),
            finding.seq,
            Untrusted(&finding.segment),
            finding.offset,
            Untrusted(&finding.what)
        ));
    }
    let more = sorted.len().saturating_sub(shown) as u64 + report.findings_left_out;
    if more > 0 {
        output.line(format!(
            "  and {more} more findings; --format json has them"
        ));
    }
}

fn answer(answer: Answer, output: &Output) -> String {
    let paint = match answer {
        Answer::Yes => Paint::Good,
        Answer::No => Paint::Bad,
        Answer::CannotTell | Answer::NotAsked => Paint::Caution,
    };
    output.paint(paint, answer.as_str())
}

fn printed<'a>(told: &Told<'a>) -> Printed<'a> {
    let report = told.report;
    Printed {
        result: result(report).0,
        journal: told.dir,
        key: told.key.map(|key| key.origin().vkey()),
        self_consistent: report.self_consistent.as_str(),
        extends_trusted: report.extends_trusted.as_str(),
        externally_attested_to: report.attested,
        holds_attested: report.holds_attested.as_str(),
        records: report.records,
        removed: report.removed,
        signed: report.signed,
        unsigned_tail: report.unsigned_tail,
        notes: report.notes,
        signatures_checked: report.signatures_checked,
        not_read_again: told.not_read_again.map(|remembered| PrintedMemory {
            records: remembered.continuation.head().size,
            verified: &remembered.time,
        }),
        dropped_calls: report.dropped_calls,
        findings: report
            .findings
            .iter()
            .map(|f| PrintedFinding {
                level: f.level.as_str(),
                fault: f.fault.as_str(),
                what: &f.what,
                record: f.seq,
                segment: &f.segment,
                offset: f.offset,
            })
            .collect(),
        findings_left_out: report.findings_left_out,
        spans: report
            .spans
            .iter()
            .map(|span| PrintedSpan {
                kind: span.kind.as_str(),
                from: span.from,
                to: span.to,
            })
            .collect(),
        spans_left_out: report.spans_left_out,
        checkpoint: report.last_note.as_deref(),
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
