//! `faramesh audit abandon --head`: the way out where the journal lacks what the signer has confirmed.
//!
//! The daemon does not start on such a journal, because nobody but an operator may say that records are lost. What is left
//! is everything up to the last checkpoint before the first place that cannot be read. The order, which can be begun anew
//! after a crash at any point: what is given up is written where the next start finds it and the daemon cannot take it
//! away; the remains are copied aside and cut; the signer goes back to the last checkpoint. The next start records a
//! `gap` before anything else, and `audit verify` reports it for ever.
//!
//! Invariants: nothing is changed while a daemon or a signer runs, nor without the exact number of records that are lost;
//! what was changed, rather than lost, is never given up here.
#![forbid(unsafe_code)]

use crate::args::{AbandonArgs, Global};
use crate::commands::check::count;
use crate::failure::{Failure, exit};
use crate::files;
use crate::journal::{self, SegmentFile};
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::siblings::{self, Sibling};
use crate::sign;
use crate::stack;
use crate::supervise;
use crate::sys::{self, Birth};
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::{LogKey, hex, unhex};
use faramesh_core::record::Gap;
use faramesh_core::recover::{Halt, Salvage, Segment, Walk};
use faramesh_core::state::{Point, Snapshot};
use faramesh_core::tree::Head;
use faramesh_daemon::journal::recover::Lock;
use faramesh_daemon::journal::{abandoned, snapshots};
use indicatif::{ProgressBar, ProgressStyle};
use nix::unistd::Uid;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the remains are kept, below the journal's directory; nobody but whoever runs this reads there.
const REMAINS: &str = "abandoned";
/// Zeros are written in blocks of this size, bytes.
const ZERO_BYTES: usize = 64 * 1024;

#[derive(Debug, Serialize)]
struct Printed {
    stack: String,
    /// Records that are left.
    kept: u64,
    /// Records that were signed or confirmed.
    confirmed: u64,
    lost: u64,
    /// Why the journal cannot be read on; null where it simply ends.
    ended: Option<String>,
    /// Whether it was done, or only shown.
    abandoned: bool,
}

/// Shows what would be given up, and with the right number gives it up.
///
/// # Errors
/// A daemon or a signer runs; the journal or the signer's state cannot be read; the number is not the right one.
pub fn run(global: &Global, args: &AbandonArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    if layout.is_enforced() && !Uid::effective().is_root() {
        return Err(Failure::permission(
            "only root may give up records of an enforced stack",
        ));
    }
    let key = sign::log_key(&layout.log_pub())?.ok_or_else(|| {
        Failure::configuration(format!("there is no `{}`", layout.log_pub().display()))
    })?;
    let _lock = Lock::take(layout.journal()).map_err(|error| {
        Failure::unavailable(error.to_string()).next("stop the daemon: `faramesh stop`")
    })?;
    let files = journal::segments(layout.journal())?;
    let left = salvage(&layout, &files, &key, output)?;
    let signer = ask_signer(&layout, None)?;
    let loss = Loss::of(&left, signer);
    show(&layout, &left, &loss, output);
    let mut printed = printed(&layout, &left, &loss);
    if loss.records() == 0 {
        output.note("nothing that was confirmed is lost: start the daemon");
        output.json(&printed);
        return Ok(exit::OK);
    }
    let Some(number) = args.yes_lose else {
        output.json(&printed);
        return Err(Failure::usage("nothing was changed").next(format!(
            "bring the missing part back if there is a copy anywhere; else `faramesh audit abandon --head --yes-lose {} \
             --reason '…'`",
            loss.records()
        )));
    };
    if number != loss.records() {
        return Err(Failure::usage(format!(
            "{} would be lost and not {number}; nothing was changed",
            count(size(loss.records()), "record")
        )));
    }
    give_up(&layout, &files, &left, &loss, args)?;
    printed.abandoned = true;
    output.note(format!(
        "the journal goes on behind {}; the next start records the gap",
        count(size(loss.kept), "record")
    ));
    output.json(&printed);
    Ok(exit::OK)
}

/// What is lost.
struct Loss {
    kept: u64,
    /// What the signer has confirmed, or the largest checkpoint that lies behind the damage, whichever is larger.
    confirmed: Head,
    /// Whether the signer has to go back.
    signer_goes_back: bool,
}

impl Loss {
    fn of(left: &Salvage, signer: Head) -> Loss {
        let kept = left.point.frontier.size();
        let later = left.later.filter(|later| later.size > signer.size);
        Loss {
            kept,
            confirmed: later.unwrap_or(signer),
            signer_goes_back: signer.size > kept,
        }
    }

    fn records(&self) -> u64 {
        self.confirmed.size.saturating_sub(self.kept)
    }
}

/// What is left of the journal.
fn salvage(
    layout: &Layout,
    files: &[SegmentFile],
    key: &LogKey,
    output: &Output,
) -> Result<Salvage, Failure> {
    let changed = |halt: Halt| {
        Failure::data(format!("this is not a loss: {halt}"))
            .next("run `faramesh audit verify`; `abandon` gives up only what cannot be read")
    };
    let point = beginning(layout, files)?;
    let mut walk = Walk::to_salvage(point, key).map_err(changed)?;
    let progress = progress(files.len() as u64, output);
    for file in files {
        let bytes = journal::read(file)?;
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        walk.segment(&Segment {
            name: &name,
            first: file.first,
            bytes: &bytes,
        })
        .map_err(changed)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(walk.salvaged())
}

/// Where the journal's first segment begins: at nothing, or where bodies were removed, at a snapshot.
fn beginning(layout: &Layout, files: &[SegmentFile]) -> Result<Point, Failure> {
    let first = files.first().map_or(0, |file| file.first);
    if first == 0 {
        return Ok(Point::default());
    }
    let read = snapshots::read(layout.journal(), first)
        .map_err(|error| error.to_string())
        .and_then(|bytes| Snapshot::decode(&bytes).map_err(|error| error.to_string()));
    match read {
        Ok(snapshot) if snapshot.point.frontier.size() == first => Ok(snapshot.point),
        Ok(_) => Err("it is of another place".to_owned()),
        Err(why) => Err(why),
    }
    .map_err(|why| {
        Failure::data(format!(
            "the journal begins with record {first}, and the snapshot of what was before cannot be read: {why}"
        ))
        .next("restore `snapshots/` or the first segments from a copy")
    })
}

/// The signer's confirmed head; `back` is where it goes before it answers.
fn ask_signer(layout: &Layout, back: Option<&Salvage>) -> Result<Head, Failure> {
    let program = siblings::find(Sibling::Signer)?;
    let mut command = Command::new(&program);
    command
        .args(["abandon", "--state"])
        .arg(layout.signer())
        .args(["--stack", &layout.stack]);
    if let Some(left) = back {
        let epoch = left.point.state.epoch().to_string();
        command.args(["--back", "--epoch", &epoch]);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    supervise::scrub_environment(&mut command);
    let identity = supervise::signer_identity(layout)?;
    sys::arrange(
        &mut command,
        Birth {
            identity,
            ..Birth::default()
        },
    );
    let failed = |e| Failure::unavailable(format!("cannot run `{}`: {e}", program.display()));
    let mut child = command.spawn().map_err(failed)?;
    if let (Some(mut stdin), Some(left)) = (child.stdin.take(), back) {
        let frontier = left.point.frontier.to_bytes();
        let note = left.note.as_deref().unwrap_or_default();
        // A signer that refuses early has closed its end; what it says is told below.
        let _ = stdin.write_all(format!("{}\n{note}", hex(&frontier)).as_bytes());
    }
    let out = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&out.stdout);
    let head = said.trim_end().split_once(' ').and_then(|(size, root)| {
        Some(Head {
            size: size.parse().ok()?,
            root: unhex(root)?,
        })
    });
    match head {
        Some(head) if out.status.success() => Ok(head),
        _ => {
            let code = out.status.code().and_then(|code| u8::try_from(code).ok());
            let said = String::from_utf8_lossy(&out.stderr);
            Err(Failure::new(
                code.unwrap_or(exit::INTERNAL),
                format!("the signer's state: {}", Untrusted(said.trim())),
            )
            .next("the signer must be stopped while its head is read and moved"))
        }
    }
}

fn give_up(
    layout: &Layout,
    files: &[SegmentFile],
    left: &Salvage,
    loss: &Loss,
    args: &AbandonArgs,
) -> Result<(), Failure> {
    let gap = told_before(layout, left, loss, args)?;
    let owner = match layout.is_enforced() {
        true => Some(files::owner("root", crate::accounts::DAEMON)?),
        false => None,
    };
    let path = abandoned::path(layout.policy());
    files::write_durably(&path, abandoned::text(&gap).as_bytes(), 0o640, owner)?;
    cut(layout, files, left)?;
    if loss.signer_goes_back {
        ask_signer(layout, Some(left))?;
    }
    Ok(())
}

/// What the next start records. Where something was given up before and no start came in between, both are one gap.
fn told_before(
    layout: &Layout,
    left: &Salvage,
    loss: &Loss,
    args: &AbandonArgs,
) -> Result<Gap, Failure> {
    let gap = Gap {
        confirmed: loss.confirmed.size,
        root: loss.confirmed.root,
        kept: loss.kept,
        uid: Uid::current().as_raw(),
        reason: args.reason.clone().unwrap_or_default(),
    };
    let before = abandoned::read(layout.policy()).map_err(Failure::data)?;
    Ok(match before {
        Some(before)
            if !left.point.state.has_given_up(&before)
                && before.confirmed > gap.confirmed
                && before.kept >= gap.kept =>
        {
            Gap {
                confirmed: before.confirmed,
                root: before.root,
                ..gap
            }
        }
        _ => gap,
    })
}

/// Copies every file that is touched aside, then makes what lies behind the last checkpoint zeros, from the last byte to
/// the first: a crash in between leaves less of it and never a hole.
fn cut(layout: &Layout, files: &[SegmentFile], left: &Salvage) -> Result<(), Failure> {
    let keep = left.keep.unwrap_or_default();
    let aside = layout
        .journal()
        .join(REMAINS)
        .join(left.point.frontier.size().to_string());
    let written = files.iter().zip(&left.written).enumerate();
    for (index, (file, to)) in written.skip(keep.segment).rev() {
        let from = if index == keep.segment {
            keep.offset
        } else {
            0
        };
        if *to > from {
            copy_aside(&file.path, &aside)?;
            zero(&file.path, from, *to).map_err(|error| Failure::io("cut", &file.path, &error))?;
        }
    }
    Ok(())
}

/// One that lies there already is the copy of an attempt before this one, of when there was more.
fn copy_aside(path: &Path, aside: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(aside);
    made.map_err(|error| Failure::io("make", aside, &error))?;
    let copy = aside.join(path.file_name().unwrap_or_default());
    if copy.exists() {
        return Ok(());
    }
    let unfinished = copy.with_extension("tmp");
    let copied = fs::copy(path, &unfinished)
        .and_then(|_| File::open(&unfinished)?.sync_all())
        .and_then(|()| fs::rename(&unfinished, &copy))
        .and_then(|()| File::open(aside)?.sync_all());
    copied.map_err(|error| Failure::io("copy what is cut to", &copy, &error))
}

fn zero(path: &Path, from: usize, to: usize) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let zeros = vec![0; ZERO_BYTES];
    let mut end = to;
    while end > from {
        let begin = end.saturating_sub(ZERO_BYTES).max(from);
        file.write_all_at(zeros.get(..end - begin).unwrap_or(&zeros), begin as u64)?;
        end = begin;
    }
    file.sync_data()
}

fn show(layout: &Layout, left: &Salvage, loss: &Loss, output: &Output) {
    output.line(format!(
        "the journal of `{}` is whole up to a checkpoint of {}",
        layout.stack,
        count(size(loss.kept), "record")
    ));
    if let Some((place, why)) = &left.ended {
        output.line(format!("  behind it: {why}, {place}"));
    }
    output.line(format!(
        "  signed or confirmed by the signer: {}",
        count(size(loss.confirmed.size), "record")
    ));
    let paint = match loss.records() {
        0 => Paint::Good,
        _ => Paint::Bad,
    };
    output.line(output.paint(
        paint,
        &format!("  lost: {}", count(size(loss.records()), "record")),
    ));
    if loss.records() > 0 {
        output.line(
            "  calls among them may have been answered. A witness or an auditor who has seen more than is left will say of \
             this journal from here on that it does not extend what they saw.",
        );
    }
}

fn printed(layout: &Layout, left: &Salvage, loss: &Loss) -> Printed {
    Printed {
        stack: layout.stack.clone(),
        kept: loss.kept,
        confirmed: loss.confirmed.size,
        lost: loss.records(),
        ended: left
            .ended
            .as_ref()
            .map(|(place, why)| format!("{why}, {place}")),
        abandoned: false,
    }
}

fn progress(segments: u64, output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("reading segments {bar:40} {pos}/{len} {eta}");
    ProgressBar::new(segments).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
