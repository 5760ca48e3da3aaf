//! `faramesh audit export`: records for other programs, one a line, in the form that they read.
//!
//! Invariants:
//! - Nothing of the journal is written out before a checkpoint of the pinned key covers it; what none covers is written
//!   on demand only, and marked in every form.
//! - Memory is bounded by one segment, whatever the journal's length.
//! - What an agent wrote reaches a file only through its form's own escaping; no form carries a control character.
//! - A file appears under its name when it is whole. Nothing is left out silently: the counts at the end add up.
#![forbid(unsafe_code)]

mod cef;
mod filter;
mod jsonl;
mod ocsf;
mod signed;
mod table;

use crate::args::{ExportArgs, ExportForm, Global};
use crate::commands::check::count;
use crate::failure::{Failure, exit};
use crate::journal;
use crate::output::Output;
use crate::sign;
use crate::stack;
use faramesh_core::checkpoint::{PublicKey, hex};
use faramesh_core::frame::StoredRecord;
use faramesh_core::record::{BodyView, RecordView};
use faramesh_core::tree::Hash;
use filter::Filter;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use signed::{Covering, Walker};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Written at once, bytes.
const BUFFER_BYTES: usize = 256 * 1024;
/// What is exported is as confidential as the journal.
const FILE_MODE: u32 = 0o600;

/// One record, as a form sees it.
struct Row<'a> {
    seq: u64,
    leaf: Hash,
    view: &'a RecordView,
    stored: StoredRecord<'a>,
    /// What happened in one line, harmless already.
    text: String,
    /// A checkpoint of the pinned key covers it.
    signed: bool,
}

impl Row<'_> {
    /// Its detail was taken away: an `erasure` record says so, which `audit verify` checks.
    fn is_erased(&self) -> bool {
        matches!(self.view.body, BodyView::Decision(_)) && self.stored.detail.is_empty()
    }

    /// What lies beside a decision and was not erased.
    fn detail(&self) -> Option<Detail<'_>> {
        serde_json::from_slice(self.stored.detail).ok()
    }
}

/// The part of a detail that the flat forms show.
#[derive(serde::Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    args: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    message: std::borrow::Cow<'a, str>,
    rule: Option<u64>,
}

/// A form: how rows become bytes. Each owns what it writes to.
trait Form {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()>;
    /// Everything is out.
    fn end(&mut self, summary: &Summary<'_>) -> io::Result<()>;
}

/// What was done, for people and programs.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    journal: &'a Path,
    origin: Option<String>,
    /// The head that the export belongs to.
    checkpoint: Option<PrintedHead<'a>>,
    /// Records that were looked at.
    read: u64,
    written: u64,
    /// Of those written, the ones that no valid checkpoint covers.
    written_unsigned: u64,
    /// Of those written, decisions whose detail is erased.
    written_erased: u64,
    /// Records that were not asked for.
    filtered: u64,
    /// Records behind the checkpoint that were met, left out.
    unsigned: u64,
}

#[derive(Debug, Serialize)]
struct PrintedHead<'a> {
    size: u64,
    root: String,
    note: &'a str,
}

/// Writes the records out.
///
/// # Errors
/// The journal cannot be read, or does not hold: then what was written before ends where it does not. The file cannot be
/// written.
pub fn run(global: &Global, args: &ExportArgs, output: &Output) -> Result<u8, Failure> {
    let filter = Filter::of(args)?;
    let (dir, key) = subject(global, args)?;
    if key.is_none() && !args.unsigned {
        return Err(
            Failure::usage("no key is pinned, so no record can be told to be signed").next(
                "give the stack's log.pub with --key, or take unproven records with --unsigned",
            ),
        );
    }
    let head = signed::head(&dir, key.as_ref())?;
    if head.is_none() && !args.unsigned {
        return Err(Failure::data(format!(
            "no checkpoint in `{}` is of the pinned key",
            dir.display()
        ))
        .next("run `faramesh audit verify`; --unsigned exports what nobody vouches for"));
    }
    let target = Target::open(args.out.as_deref())?;
    let written = target.writer()?;
    let mut form: Box<dyn Form> = match args.form {
        ExportForm::Jsonl => Box::new(jsonl::Jsonl::new(written)),
        ExportForm::Csv => Box::new(table::Table::new(written, head.as_ref())),
        ExportForm::Ocsf => Box::new(ocsf::Ocsf::new(written, head.as_ref())),
        ExportForm::Cef => Box::new(cef::Cef::new(written, head.as_ref())),
    };
    let mut summary = Summary {
        journal: &dir,
        origin: head.as_ref().map(|head| head.origin.clone()),
        checkpoint: head.as_ref().map(|head| PrintedHead {
            size: head.head.size,
            root: hex(&head.head.root),
            note: &head.note,
        }),
        read: 0,
        written: 0,
        written_unsigned: 0,
        written_erased: 0,
        filtered: 0,
        unsigned: 0,
    };
    let mut export = Export {
        filter: &filter,
        unsigned: args.unsigned,
        form: &mut *form,
        output,
        gone: false,
    };
    let walked = export.walk(&dir, key.as_ref(), head.as_ref(), &mut summary);
    let gone = export.gone;
    // What stands before damage stands: it is flushed, and the damage is the answer.
    match form.end(&summary) {
        Err(error) if !gone && error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(target.failed(&error));
        }
        _ => drop(form),
    }
    walked?;
    target.finish(summary.checkpoint.as_ref().map(|head| head.note))?;
    say(&summary, args.out.as_deref(), output);
    Ok(exit::OK)
}

/// Which journal, and which key is pinned for it: the stack's own has one, any other only what was given.
fn subject(global: &Global, args: &ExportArgs) -> Result<(PathBuf, Option<PublicKey>), Failure> {
    let given = match &args.key {
        Some(file) => Some(
            sign::origin_key(file)?
                .ok_or_else(|| Failure::data(format!("there is no key `{}`", file.display())))?,
        ),
        None => None,
    };
    if let Some(dir) = &args.journal {
        return Ok((dir.clone(), given));
    }
    let layout = stack::applied(global)?;
    let key = match given {
        Some(key) => Some(key),
        None => sign::origin_key(&layout.log_pub())?,
    };
    Ok((layout.journal().to_owned(), key))
}

struct Export<'a> {
    filter: &'a Filter,
    unsigned: bool,
    form: &'a mut dyn Form,
    output: &'a Output,
    /// The reader went away: nothing more is written, and that is no error.
    gone: bool,
}

impl Export<'_> {
    fn walk(
        &mut self,
        dir: &Path,
        key: Option<&PublicKey>,
        head: Option<&Covering>,
        summary: &mut Summary<'_>,
    ) -> Result<(), Failure> {
        let segments = journal::segments(dir)?;
        let total = segments
            .iter()
            .filter_map(|segment| std::fs::metadata(&segment.path).ok())
            .map(|meta| meta.len())
            .sum();
        let progress = progress(total, self.output);
        let mut walker = Walker::new(dir, key, head, segments.first().map(|s| s.first))?;
        for segment in &segments {
            let bytes = journal::read(segment)?;
            let block = walker.segment(segment, &bytes)?;
            for (seq, leaf, stored) in block.records() {
                if self.gone {
                    return Ok(());
                }
                let signed = seq < block.signed_to;
                self.record(seq, leaf, stored, signed, summary)?;
            }
            progress.inc(bytes.len() as u64);
            if let Some(stopped) = block.stopped {
                return Err(stopped);
            }
            if block.is_last {
                break;
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn record(
        &mut self,
        seq: u64,
        leaf: Hash,
        stored: StoredRecord<'_>,
        signed: bool,
        summary: &mut Summary<'_>,
    ) -> Result<(), Failure> {
        summary.read += 1;
        if !signed && !self.unsigned {
            summary.unsigned += 1;
            return Ok(());
        }
        if !self.filter.wants_number(seq) {
            summary.filtered += 1;
            return Ok(());
        }
        let view = faramesh_core::record::decode(stored.record)
            .map_err(|e| super::tail::damaged(seq, &e))?;
        if !self.filter.wants(&view) {
            summary.filtered += 1;
            return Ok(());
        }
        let row = Row {
            seq,
            leaf,
            text: super::plain(&view.body, self.output),
            view: &view,
            stored,
            signed,
        };
        summary.written += 1;
        summary.written_unsigned += u64::from(!signed);
        summary.written_erased += u64::from(row.is_erased());
        match self.form.row(&row) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            Err(error) => Err(Failure::data(format!(
                "the export cannot be written: {error}"
            ))),
        }
    }
}

fn progress(total: u64, output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("exporting {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The counts, on stderr, because stdout may be the export itself; as JSON on stdout only beside a file.
fn say(summary: &Summary<'_>, file: Option<&Path>, output: &Output) {
    if file.is_some() {
        output.json(summary);
    }
    if output.is_json() {
        return;
    }
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut text = format!(
        "exported {} of {}",
        count(size(summary.written), "record"),
        summary.read
    );
    for (number, what) in [
        (summary.filtered, "not asked for"),
        (summary.unsigned, "behind the checkpoint and left out"),
        (
            summary.written_unsigned,
            "written though under no checkpoint",
        ),
        (summary.written_erased, "without their erased details"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    output.aside(text);
    match &summary.checkpoint {
        Some(head) => output.aside(format!(
            "under the checkpoint of {} with root {}",
            count(size(head.size), "record"),
            head.root
        )),
        None => output.aside("under no checkpoint: nobody vouches for any of it"),
    }
}

/// Where the export goes.
struct Target {
    /// (the file that it becomes, what it is called until it is whole)
    file: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn open(out: Option<&Path>) -> Result<Target, Failure> {
        let Some(path) = out else {
            return Ok(Target { file: None });
        };
        if path.symlink_metadata().is_ok() {
            return Err(
                Failure::data(format!("`{}` exists already", path.display()))
                    .next("name a new file, or remove that one"),
            );
        }
        Ok(Target {
            file: Some((path.to_owned(), beside(path, ".partial"))),
        })
    }

    fn writer(&self) -> Result<Box<dyn Write>, Failure> {
        let Some((_, partial)) = &self.file else {
            return Ok(Box::new(BufWriter::with_capacity(
                BUFFER_BYTES,
                io::stdout().lock(),
            )));
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(partial)
            .map_err(|e| Failure::io("write", partial, &e))?;
        Ok(Box::new(BufWriter::with_capacity(BUFFER_BYTES, file)))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        match &self.file {
            Some((_, partial)) => Failure::io("write", partial, error),
            None => Failure::data(format!("the export cannot be written: {error}")),
        }
    }

    /// The file gets its name, and the checkpoint a file beside it.
    fn finish(&self, note: Option<&str>) -> Result<(), Failure> {
        let Some((path, partial)) = &self.file else {
            return Ok(());
        };
        let failed = |e: io::Error| Failure::io("write", path, &e);
        File::open(partial)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(partial, path))
            .map_err(failed)?;
        match note {
            Some(note) => std::fs::write(beside(path, ".note"), note).map_err(failed),
            None => Ok(()),
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
