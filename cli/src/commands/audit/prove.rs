//! `faramesh audit prove` and `audit verify-proof`: one file that proves one record, or that the log only grew, to
//! somebody who has nothing but the public key.
#![forbid(unsafe_code)]

use super::{line, verify};
use crate::args::{Global, ProveArgs, VerifyProofArgs};
use crate::failure::Failure;
use crate::files;
use crate::journal;
use crate::output::{Output, Paint};
use crate::proofs::{Log, Noted, Proof, Source};
use crate::sign;
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::{Checkpoint, NOTE_BYTES_MAX, PublicKey, Verified, hex};
use faramesh_core::cosign::{Cosignature, WITNESSES_BYTES_MAX, Witnesses};
use faramesh_core::proof::{
    BUNDLE_BYTES_MAX, Beside, Bundle, Error, Grown, Growth, Inclusion, Proven,
};
use faramesh_core::record::BodyView;
use faramesh_core::tree::tiles::Plan;
use faramesh_core::tree::{self, leaf_hash};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A bundle shows nothing that the journal's readers may not show others.
const BUNDLE_MODE: u32 = 0o644;

#[derive(Debug, Serialize)]
struct Made<'a> {
    kind: &'static str,
    log: String,
    record: Option<u64>,
    from: Option<u64>,
    size: u64,
    hashes: usize,
    tiles: Option<usize>,
    records_read: u64,
    file: Option<&'a Path>,
    bundle: Option<&'a str>,
}

/// Makes a bundle and checks it before it leaves.
///
/// # Errors
/// The journal or the key cannot be read, or the journal does not lead to the checkpoint.
pub fn prove(global: &Global, args: &ProveArgs, output: &Output) -> Result<u8, Failure> {
    let (dir, key) = subject(global, args)?;
    let log = Log::open(&dir)?;
    let newest = match &args.checkpoint {
        Some(file) => note(file)?,
        None => log.newest()?,
    };
    let (bundle, proof) = match (args.seq, &args.since) {
        (Some(seq), _) => inclusion(&log, &dir, seq, newest, args.with_detail, output)?,
        (None, Some(since)) => growth(&log, note(since)?, newest, output)?,
        (None, None) => {
            return Err(Failure::usage(
                "name a record's number, or a kept checkpoint with --since",
            ));
        }
    };
    let text = bundle.text();
    match &key {
        Some(key) => check(&bundle, key).map_err(|error| {
            Failure::data(format!(
                "the proof does not hold with the pinned key: {error}"
            ))
            .next("run `faramesh audit verify`")
        })?,
        None => output
            .warn("no key is pinned: whether the checkpoint's signature holds was not looked at"),
    }
    match &args.out {
        Some(file) => files::write_durably(file, text.as_bytes(), BUNDLE_MODE, None)?,
        None if output.is_json() => {}
        None => output.text(text.trim_end_matches('\n')),
    }
    said(args, &bundle, &proof, &text, output);
    Ok(0)
}

/// Which journal, and which key is pinned for it.
fn subject(global: &Global, args: &ProveArgs) -> Result<(PathBuf, Option<PublicKey>), Failure> {
    let given = args.key.as_deref().map(pinned).transpose()?;
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

fn pinned(file: &Path) -> Result<PublicKey, Failure> {
    sign::origin_key(file)?
        .ok_or_else(|| Failure::data(format!("there is no key `{}`", file.display())))
}

/// A checkpoint that somebody kept.
fn note(file: &Path) -> Result<Noted, Failure> {
    let bytes = files::read_limited(file, NOTE_BYTES_MAX as u64)?
        .ok_or_else(|| Failure::data(format!("there is no note `{}`", file.display())))?;
    Noted::parse(&verify::as_kept(bytes)).map_err(|why| {
        Failure::data(format!("`{}` is not a checkpoint: {why}", file.display()))
            .next("give the note as it was kept")
    })
}

fn inclusion(
    log: &Log,
    dir: &Path,
    seq: u64,
    newest: Noted,
    with_detail: bool,
    output: &Output,
) -> Result<(Bundle, Proof), Failure> {
    let head = newest.head;
    let plan = Plan::inclusion(seq, head.size).map_err(|_| {
        Failure::data(format!(
            "record {seq} is not under the checkpoint, which is over {} records",
            head.size
        ))
        .next("`faramesh audit tail` shows the last ones")
    })?;
    if seq < log.first() {
        return Err(Failure::data(format!(
            "the body of record {seq} was removed: the journal has those from {} on, and of earlier ones their hashes",
            log.first()
        )));
    }
    let entry = journal::one(dir, seq)?;
    let leaf = leaf_hash(&entry.record);
    let holds = |path: &[tree::Hash]| {
        tree::verify_inclusion(&leaf, seq, head.size, path, &head.root).is_ok()
    };
    let proof = log.prove(&plan, &head, holds, output)?;
    let shown = with_detail && !entry.detail.is_empty();
    if with_detail && !shown {
        output.warn(format!(
            "nothing lies beside record {seq}: its kind has no detail, or it was erased"
        ));
    }
    let bundle = Bundle::Inclusion(Inclusion {
        index: seq,
        record: entry.record,
        beside: shown.then_some(Beside {
            args_salt: entry.args_salt,
            detail_salt: entry.detail_salt,
            detail: entry.detail,
        }),
        path: proof.hashes.clone(),
        note: newest.note,
    });
    Ok((bundle, proof))
}

fn growth(
    log: &Log,
    kept: Noted,
    newest: Noted,
    output: &Output,
) -> Result<(Bundle, Proof), Failure> {
    let head = newest.head;
    let plan = Plan::consistency(kept.head.size, head.size).map_err(|_| {
        Failure::data(format!(
            "the kept checkpoint is over {} records and the journal's over {}: it was cut, or is another one",
            kept.head.size, head.size
        ))
        .next("run `faramesh audit verify --head` with the note that you kept")
    })?;
    let holds = |hashes: &[tree::Hash]| tree::verify_consistency(&kept.head, &head, hashes).is_ok();
    let proof = log.prove(&plan, &head, holds, output).map_err(|failure| {
        failure.next("if `faramesh audit verify` holds without --head, the log was forked: keep both checkpoints")
    })?;
    let bundle = Bundle::Growth(Growth {
        kept: kept.note,
        proof: proof.hashes.clone(),
        note: newest.note,
    });
    Ok((bundle, proof))
}

fn check(bundle: &Bundle, key: &PublicKey) -> Result<(), Error> {
    match bundle {
        Bundle::Inclusion(proof) => proof.verify(key).map(drop),
        Bundle::Growth(proof) => proof.verify(key).map(drop),
    }
}

fn said(args: &ProveArgs, bundle: &Bundle, proof: &Proof, text: &str, output: &Output) {
    let newest = Noted::parse(bundle.note().as_bytes());
    let size = newest.map_or(0, |noted| noted.head.size);
    let log = bundle.note().lines().next().unwrap_or_default();
    let (kind, record, from) = match bundle {
        Bundle::Inclusion(inclusion) => ("inclusion", Some(inclusion.index), None),
        Bundle::Growth(growth) => {
            let kept = Noted::parse(growth.kept.as_bytes());
            ("growth", None, kept.ok().map(|noted| noted.head.size))
        }
    };
    let (tiles, records_read) = match proof.source {
        Source::Tiles { tiles, records } => (Some(tiles), records),
        Source::Segments { .. } => (None, size),
    };
    if let Source::Segments { why } = proof.source {
        output.warn(format!("{why}: all {size} records were read"));
    }
    if let Some(file) = &args.out {
        let what = match (record, from) {
            (Some(record), _) => format!("record {record} among the first {size}"),
            (_, from) => format!("growth from {} records to {size}", from.unwrap_or(0)),
        };
        output.line(format!(
            "wrote `{}`: {what} of {}, {} hashes",
            file.display(),
            Untrusted(log),
            proof.hashes.len()
        ));
        output.note("check it anywhere with: faramesh audit verify-proof FILE --key log.pub");
    }
    output.json(&Made {
        kind,
        log: log.to_owned(),
        record,
        from,
        size,
        hashes: proof.hashes.len(),
        tiles,
        records_read,
        file: args.out.as_deref(),
        bundle: args.out.is_none().then_some(text),
    });
}

#[derive(Debug, Serialize, Default)]
struct Checked {
    result: &'static str,
    kind: &'static str,
    log: String,
    why: Option<String>,
    record: Option<u64>,
    from: Option<u64>,
    size: Option<u64>,
    root: Option<String>,
    leaf: Option<String>,
    detail_shown: Option<bool>,
    witnesses: Vec<String>,
    quorum: Option<usize>,
}

/// Checks a bundle with a pinned key, without a journal.
///
/// # Errors
/// The bundle, the key or the witnesses cannot be read. What the bundle says is an answer: 0 proven, 1 it proves nothing,
/// 2 fewer witnesses than were asked for.
pub fn verify_proof(
    global: &Global,
    args: &VerifyProofArgs,
    output: &Output,
) -> Result<u8, Failure> {
    let key = match &args.key {
        Some(file) => pinned(file)?,
        None => {
            let layout = stack::applied(global)?;
            sign::origin_key(&layout.log_pub())?.ok_or_else(|| {
                Failure::configuration(format!(
                    "no key is pinned in `{}`",
                    layout.log_pub().display()
                ))
                .next("give the log's public key with --key")
            })?
        }
    };
    let witnesses = args.witness.as_deref().map(witnesses).transpose()?;
    let bytes = files::read_limited(&args.file, BUNDLE_BYTES_MAX as u64)?
        .ok_or_else(|| Failure::data(format!("there is no `{}`", args.file.display())))?;
    let base = Checked {
        log: key.name().to_string(),
        quorum: witnesses.as_ref().map(|_| args.quorum),
        ..Checked::default()
    };
    let bundle = match Bundle::parse(&bytes) {
        Ok(bundle) => bundle,
        Err(why) => return Ok(refused(base, &why.to_string(), output)),
    };
    let attested = match cosigned(&bundle, &key, witnesses.as_ref()) {
        Ok(by) => by,
        Err(why) => return Ok(refused(base, &why, output)),
    };
    let base = Checked {
        witnesses: attested.iter().map(|by| by.witness.to_string()).collect(),
        ..base
    };
    let proven = match &bundle {
        Bundle::Inclusion(proof) => match proof.verify(&key) {
            Ok(proven) => record_proven(proof, &proven, base, output),
            Err(error) => return Ok(refused(base, &error.to_string(), output)),
        },
        Bundle::Growth(proof) => match proof.verify(&key) {
            Ok(grown) => growth_proven(&grown, base, output),
            Err(error) => return Ok(refused(base, &error.to_string(), output)),
        },
    };
    Ok(conclude(proven, &attested, witnesses.is_some(), output))
}

fn witnesses(file: &Path) -> Result<Witnesses, Failure> {
    let text = files::read_text(file, WITNESSES_BYTES_MAX as u64)?
        .ok_or_else(|| Failure::data(format!("there is no `{}`", file.display())))?;
    Witnesses::parse(&text).map_err(|error| {
        Failure::data(format!("`{}`: {error}", file.display()))
            .next("it holds one public key line of a witness on each line")
    })
}

fn cosigned(
    bundle: &Bundle,
    key: &PublicKey,
    witnesses: Option<&Witnesses>,
) -> Result<Vec<Cosignature>, String> {
    let Some(witnesses) = witnesses else {
        return Ok(Vec::new());
    };
    let opened = witnesses.open(bundle.note().as_bytes(), key);
    opened
        .map(|cosigned| cosigned.by().to_vec())
        .map_err(|error| error.to_string())
}

fn refused(base: Checked, why: &str, output: &Output) -> u8 {
    output.line(format!(
        "{}  {}",
        output.paint(Paint::Bad, "PROVES NOTHING"),
        Untrusted(why)
    ));
    output.line(format!("  pinned key   {}", Untrusted(&base.log)));
    output.json(&Checked {
        result: "broken",
        why: Some(why.to_owned()),
        ..base
    });
    1
}

fn record_proven(proof: &Inclusion, proven: &Proven, base: Checked, output: &Output) -> Checked {
    let head = proven.checkpoint.head;
    output.line(format!(
        "{}  record {} is in the log {}",
        output.paint(Paint::Good, "PROVEN"),
        proof.index,
        Untrusted(&base.log)
    ));
    output.line(format!("  {}", line(proof.index, &proven.view, output)));
    signed(&proven.checkpoint, output);
    output.line(match (&proven.view.body, &proof.beside) {
        (_, Some(_)) => "  detail       shown, and it is what the record commits to",
        (BodyView::Decision(_), None) => {
            "  detail       not shown; the record commits to it (made with --with-detail it is)"
        }
        (_, None) => "  detail       this kind of record has none",
    });
    output.note(
        "  This proves that the log's key holder recorded exactly these bytes under this number, and cannot take them back \
         without being caught by anybody who keeps this file. It proves nothing about other records.",
    );
    Checked {
        kind: "inclusion",
        record: Some(proof.index),
        size: Some(head.size),
        root: Some(hex(&head.root)),
        leaf: Some(hex(&proven.leaf)),
        detail_shown: Some(proof.beside.is_some()),
        ..base
    }
}

fn growth_proven(grown: &Grown, base: Checked, output: &Output) -> Checked {
    let (kept, newer) = (grown.kept.head, grown.newer.head);
    output.line(format!(
        "{}  the log {} only grew from {} to {} records",
        output.paint(Paint::Good, "PROVEN"),
        Untrusted(&base.log),
        kept.size,
        newer.size
    ));
    signed(&grown.newer, output);
    output.note(
        "  This proves that the first records are the same in both: none of them was changed, removed or inserted in \
         between. It proves nothing about what they say.",
    );
    Checked {
        kind: "growth",
        from: Some(kept.size),
        size: Some(newer.size),
        root: Some(hex(&newer.root)),
        ..base
    }
}

fn signed(checkpoint: &Verified<Checkpoint>, output: &Output) {
    output.line(format!(
        "  signed       by the pinned key, over {} records",
        checkpoint.head.size
    ));
}

/// What witnesses say, and the exit status.
fn conclude(proven: Checked, by: &[Cosignature], asked: bool, output: &Output) -> u8 {
    let enough = !asked || by.len() >= proven.quorum.unwrap_or(1).max(1);
    let words = match (asked, by) {
        (false, _) => "not asked; give their keys with --witness".to_owned(),
        (true, []) => "none of the pinned ones".to_owned(),
        (true, _) => proven.witnesses.join(", "),
    };
    output.line(format!("  witnesses    {}", Untrusted(&words)));
    if !enough {
        output.line(format!(
            "{}  fewer witnesses than the {} that were asked for",
            output.paint(Paint::Caution, "CANNOT TELL"),
            proven.quorum.unwrap_or(1)
        ));
    } else if by.is_empty() {
        output.note("  Without witnesses the key's holder may have shown others another log.");
    }
    let (result, exit) = match enough {
        true => ("proven", 0),
        false => ("cannot tell", 2),
    };
    output.json(&Checked { result, ..proven });
    exit
}
