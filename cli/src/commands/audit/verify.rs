//! `faramesh audit verify`: what the journal's bytes prove, in three statements that are never confused.
//!
//! *Self-consistent*: nothing in it contradicts anything in it, and the pinned key signed it. *Extends the head that you
//! trusted before*: nothing that you once saw was taken back. *Externally attested*: somebody outside saw it; there are
//! no witnesses yet, so this is never claimed.
#![forbid(unsafe_code)]

use crate::args::{Global, VerifyArgs};
use crate::commands::check::count;
use crate::failure::Failure;
use crate::files;
use crate::journal;
use crate::output::{Output, Paint};
use crate::sign;
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::{self, Checkpoint, NOTE_BYTES_MAX, PublicKey, Statement};
use faramesh_core::frame::{self, Frame, Item};
use faramesh_core::tree::Head;
use faramesh_core::verify::{Answer, Finding, Level, Options, Report, Verifier};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Findings that are printed for people; programs get every one that was kept.
const FINDINGS_SHOWN: usize = 20;
/// The same where the key is another one: then every checkpoint has the same fault.
const FINDINGS_OF_ANOTHER_KEY: usize = 2;

#[derive(Debug, Serialize)]
struct Printed<'a> {
    result: &'static str,
    journal: &'a Path,
    key: Option<String>,
    self_consistent: &'static str,
    extends_trusted: &'static str,
    externally_attested_to: Option<u64>,
    records: u64,
    signed: u64,
    unsigned_tail: u64,
    notes: u64,
    dropped_calls: u64,
    findings: Vec<PrintedFinding<'a>>,
    findings_left_out: u64,
    spans: Vec<PrintedSpan>,
    spans_left_out: u64,
    checkpoint: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct PrintedFinding<'a> {
    level: &'static str,
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
/// The journal, the key or the head cannot be read. What they say is an answer: 0 holds, 1 broken, 2 cannot tell.
pub fn run(global: &Global, args: &VerifyArgs, output: &Output) -> Result<u8, Failure> {
    let (dir, key) = subject(global, args)?;
    let trusted = args
        .head
        .as_deref()
        .map(|file| head(file, key.as_ref()))
        .transpose()?;
    let options = Options {
        key: key.clone(),
        trusted,
    };
    let report = verify(&dir, options, output)?;
    people(&dir, key.as_ref(), &report, output);
    output.json(&printed(&dir, key.as_ref(), &report));
    Ok(report.exit_code())
}

/// Which journal, and which key is pinned for it: the stack's own has one, any other only what was given.
fn subject(global: &Global, args: &VerifyArgs) -> Result<(PathBuf, Option<PublicKey>), Failure> {
    let given = args.key.as_deref().map(pinned).transpose()?;
    if let Some(dir) = &args.journal {
        return Ok((dir.clone(), given));
    }
    let layout = stack::applied(global)?;
    let key = match given {
        Some(key) => Some(key),
        None => sign::public_key(&layout.log_pub())?,
    };
    Ok((layout.journal().to_owned(), key))
}

fn pinned(file: &Path) -> Result<PublicKey, Failure> {
    sign::public_key(file)?
        .ok_or_else(|| Failure::data(format!("there is no key `{}`", file.display())))
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

fn verify(dir: &Path, options: Options, output: &Output) -> Result<Report, Failure> {
    let segments = journal::segments(dir)?;
    if segments.is_empty() {
        return Err(
            Failure::data(format!("there is no journal in `{}`", dir.display()))
                .next("name its directory, or start the daemon once"),
        );
    }
    let live = files::journal_is_held(dir);
    let total = segments
        .iter()
        .filter_map(|s| std::fs::metadata(&s.path).ok())
        .map(|meta| meta.len())
        .sum();
    let progress = progress(total, output);
    let mut verifier = Verifier::new(options);
    for (index, segment) in segments.iter().enumerate() {
        let mut bytes = journal::read(segment)?;
        progress.inc(bytes.len() as u64);
        if live && index + 1 == segments.len() {
            bytes.truncate(settled_len(&bytes));
        }
        let name = segment
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        verifier.segment(&name, segment.first, &bytes);
    }
    progress.finish_and_clear();
    Ok(verifier.finish())
}

/// How much of a segment that is being written is finished: up to its last note. Where something stands behind
/// damage, that is no write under way, and nothing is left out.
fn settled_len(bytes: &[u8]) -> usize {
    let (mut offset, mut settled) = (0, 0);
    loop {
        match frame::read(bytes, offset) {
            Item::Frame { at, frame } => {
                offset = at.end;
                if let Frame::Note(_) = frame {
                    settled = offset;
                }
            }
            Item::End { .. } => return settled,
            Item::Bad { offset, .. } => {
                return if frame::resync(bytes, offset).is_some() {
                    bytes.len()
                } else {
                    settled
                };
            }
        }
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

fn people(dir: &Path, key: Option<&PublicKey>, report: &Report, output: &Output) {
    let (word, paint) = result(report);
    output.line(format!(
        "{}  {} in {}",
        output.paint(paint, &word.to_uppercase()),
        count(size(report.records), "record"),
        dir.display()
    ));
    output.line(format!(
        "  self-consistent      {}",
        answer(report.self_consistent, output)
    ));
    match report.extends_trusted {
        Answer::NotAsked => {
            output.line("  extends your head    not asked; give one that you kept with --head")
        }
        extends => output.line(format!(
            "  extends your head    {}",
            answer(extends, output)
        )),
    }
    match report.attested {
        Some(to) => output.line(format!("  externally attested  up to record {to}")),
        None => output.line("  externally attested  no: there are no witnesses"),
    }
    match key {
        Some(key) => output.line(format!("  pinned key           {}", Untrusted(key.name().as_str()))),
        None => output.line("  pinned key           none: anybody could have signed this journal; give the stack's log.pub with --key"),
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

/// Not one checkpoint is the pinned key's: that is about the key or the whole journal, and not about a record.
fn is_of_another_key(key: Option<&PublicKey>, report: &Report) -> bool {
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

fn printed<'a>(dir: &'a Path, key: Option<&PublicKey>, report: &'a Report) -> Printed<'a> {
    Printed {
        result: result(report).0,
        journal: dir,
        key: key.map(PublicKey::vkey),
        self_consistent: report.self_consistent.as_str(),
        extends_trusted: report.extends_trusted.as_str(),
        externally_attested_to: report.attested,
        records: report.records,
        signed: report.signed,
        unsigned_tail: report.unsigned_tail,
        notes: report.notes,
        dropped_calls: report.dropped_calls,
        findings: report
            .findings
            .iter()
            .map(|f| PrintedFinding {
                level: f.level.as_str(),
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
