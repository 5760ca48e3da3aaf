//! `faramesh fmt`: policies in the one form, and with `--to` one policy in another.
//!
//! Invariants: every file is read and formatted before the first is written, so that one which does not parse leaves all
//! as they were; a file is replaced whole and keeps its mode; one that is in the form already is not touched.
#![forbid(unsafe_code)]

use crate::args::{FmtArgs, Global, To};
use crate::failure::{Failure, exit};
use crate::files;
use crate::layout;
use crate::output::{Output, Paint};
use crate::source::{self, shown_name};
use crate::untrusted::{Untrusted, Written};
use faramesh_policy_compiler::{
    Options, SOURCE_BYTES_MAX, SourceFile, Style, compile, format, render, render_json,
    render_policy, render_yaml,
};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Exit statuses of this command.
mod code {
    pub(super) const DIFFERS: u8 = 1;
}

#[derive(Debug, Serialize)]
struct Report {
    checked: bool,
    files: Vec<Formatted>,
}

#[derive(Debug, Serialize)]
struct Formatted {
    file: String,
    changed: bool,
}

/// Formats, or with `--check` says what would change.
///
/// # Errors
/// A file cannot be read or written, or does not parse (65): then none is written.
pub fn run(global: &Global, args: &FmtArgs, output: &Output) -> Result<u8, Failure> {
    if let Some(to) = args.to {
        return convert(global, args, to, output);
    }
    if args.stdin {
        return stdin(args, output);
    }
    let files = match args.files.is_empty() {
        true => vec![layout::source(&global.dir)],
        false => args.files.clone(),
    };
    let mut fresh = Vec::new();
    for path in &files {
        let text = files::read_text(path, SOURCE_BYTES_MAX as u64)?
            .ok_or_else(|| Failure::data(format!("there is no policy `{}`", path.display())))?;
        let source = SourceFile::new(shown_name(path), text);
        fresh.push((path, formatted(&source, output), source));
    }
    let mut report = Report {
        checked: args.check,
        files: Vec::new(),
    };
    if fresh.iter().any(|(_, text, _)| text.is_none()) {
        return Err(unparsed());
    }
    for (path, text, source) in fresh {
        let text = text.unwrap_or_default();
        let changed = text != source.text;
        match changed {
            true if args.check => diff(&source, &text, output),
            true => write(path, &text, &source, output)?,
            false => {}
        }
        report.files.push(Formatted {
            file: source.name,
            changed,
        });
    }
    let differs = report.files.iter().any(|file| file.changed);
    output.json(&report);
    Ok(match differs && args.check {
        true => code::DIFFERS,
        false => exit::OK,
    })
}

/// Prints one policy in another form. It is compiled again first: what does not come out with the same digest is not
/// printed.
fn convert(global: &Global, args: &FmtArgs, to: To, output: &Output) -> Result<u8, Failure> {
    let path = match args.files.as_slice() {
        [] => layout::source(&global.dir),
        [one] => one.clone(),
        _ => return Err(Failure::usage("`--to` takes one policy").next("name one file")),
    };
    let outcome = source::compile_file(&path, None)?;
    source::print(outcome.findings(), output);
    let compiled = outcome.compiled().ok_or_else(|| {
        Failure::data(format!("`{}` has errors", outcome.findings().file))
            .next("mend what stands above: only a valid policy has other forms")
    })?;
    let (name, text) = match to {
        To::Fms => ("policy.fms", render_policy(&compiled.artifact)),
        To::Yaml => ("policy.yaml", render_yaml(&compiled.artifact)),
        To::Json => ("policy.json", render_json(&compiled.artifact)),
    };
    let again = compile(&SourceFile::new(name, text.as_str()), &Options::default());
    if again.artifact.as_ref() != Some(&compiled.artifact) {
        return Err(Failure::internal(
            "the policy in that form would not mean the same, so it is not printed",
        ));
    }
    // A reader that went away is not our failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(exit::OK)
}

fn stdin(args: &FmtArgs, output: &Output) -> Result<u8, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(SOURCE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|e| Failure::data(format!("cannot read standard input: {e}")))?;
    let source = SourceFile::new("standard input", text);
    let fresh = formatted(&source, output).ok_or_else(unparsed)?;
    let changed = fresh != source.text;
    if args.check {
        if changed {
            diff(&source, &fresh, output);
        }
        return Ok(if changed { code::DIFFERS } else { exit::OK });
    }
    // A reader that went away is not our failure.
    let _ = std::io::stdout().lock().write_all(fresh.as_bytes());
    Ok(exit::OK)
}

/// The file in the one form; `None`: it does not parse, which was said.
fn formatted(source: &SourceFile, output: &Output) -> Option<String> {
    match format(source) {
        Ok(text) => Some(text),
        Err(findings) => {
            let style = match output.is_coloured() {
                true => Style::Colour,
                false => Style::Plain,
            };
            output.diagnostics(&render(source, &findings, style));
            None
        }
    }
}

fn unparsed() -> Failure {
    Failure::data("a policy does not parse, nothing was written").next("mend what stands above")
}

fn write(path: &Path, text: &str, source: &SourceFile, output: &Output) -> Result<(), Failure> {
    // What a link leads to is replaced, and not the link.
    let real: PathBuf = std::fs::canonicalize(path).map_err(|e| Failure::io("find", path, &e))?;
    let mode = std::fs::metadata(&real)
        .map_err(|e| Failure::io("look at", path, &e))?
        .permissions()
        .mode();
    files::write_durably(&real, text.as_bytes(), mode & 0o7777, None)?;
    output.note(format!("formatted {}", Untrusted(&source.name)));
    Ok(())
}

/// What would change, as `diff -u` shows it.
fn diff(source: &SourceFile, fresh: &str, output: &Output) {
    let diff = TextDiff::from_lines(source.text.as_str(), fresh);
    output.line(format!("--- {}", Untrusted(&source.name)));
    output.line(format!("+++ {} (formatted)", Untrusted(&source.name)));
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        output.line(hunk.header().to_string());
        for change in hunk.iter_changes() {
            let line = Written(change.value().trim_end_matches(['\n', '\r'])).to_string();
            output.line(match change.tag() {
                ChangeTag::Delete => output.paint(Paint::Bad, &format!("-{line}")),
                ChangeTag::Insert => output.paint(Paint::Good, &format!("+{line}")),
                ChangeTag::Equal => format!(" {line}"),
            });
        }
    }
}
