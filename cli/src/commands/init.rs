//! `faramesh init`: a first policy that shows one permit, one defer and one deny, and a workspace.
#![forbid(unsafe_code)]

use crate::args::Global;
use crate::failure::{Failure, exit};
use crate::layout::{self, DOT, POLICY_FILE, WORKSPACE};
use crate::output::{Output, Paint};
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a newcomer starts from. A test compiles it and asks it for each effect.
pub const FIRST_POLICY: &str = include_str!("first_policy.fms");

#[derive(Debug, Serialize)]
struct Initialised {
    stack: PathBuf,
    written: Vec<PathBuf>,
}

/// Writes the files that are not there; never one that is.
///
/// # Errors
/// There is a policy already, or the directory cannot be written.
pub fn run(global: &Global, output: &Output) -> Result<u8, Failure> {
    fs::create_dir_all(&global.dir)
        .map_err(|e| Failure::io("make the directory", &global.dir, &e))?;
    let dir = fs::canonicalize(&global.dir).map_err(|e| Failure::io("find", &global.dir, &e))?;
    let mut written = vec![write_policy(&dir)?];
    let workspace = dir.join(WORKSPACE);
    if !workspace.exists() {
        fs::create_dir(&workspace)
            .map_err(|e| Failure::io("make the directory", &workspace, &e))?;
        written.push(workspace);
    }
    written.extend(ignore_state(&dir)?);
    for path in &written {
        output.note(format!(
            "{} {}",
            output.paint(Paint::Good, "written"),
            path.display()
        ));
    }
    output.note("");
    output
        .note("next: read governance.fms, start `faramesh dev`, and ask it from another terminal:");
    output.note("  faramesh govern --agent assistant --tool stripe/refund --args '{\"amount\": 80}'       # permit");
    output.note("  faramesh govern --agent assistant --tool stripe/refund --args '{\"amount\": 900}'      # defer");
    output.note("  faramesh govern --agent assistant --tool shell/run --args '{\"cmd\": \"rm -rf /\"}'      # deny");
    output.json(&Initialised {
        stack: dir,
        written,
    });
    Ok(exit::OK)
}

fn write_policy(dir: &Path) -> Result<PathBuf, Failure> {
    // A policy in another form is the stack's policy too, and a second one would leave nobody sure which holds.
    let there = layout::source(dir);
    if there.symlink_metadata().is_ok() {
        return Err(untouched(&there));
    }
    let path = dir.join(POLICY_FILE);
    let created = fs::File::options().write(true).create_new(true).open(&path);
    match created.and_then(|mut file| file.write_all(FIRST_POLICY.as_bytes())) {
        Ok(()) => Ok(path),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(untouched(&path)),
        Err(e) => Err(Failure::io("write", &path, &e)),
    }
}

fn untouched(path: &Path) -> Failure {
    Failure::data(format!(
        "`{}` is there already and was not touched",
        path.display()
    ))
    .next("edit it, or name another directory with --dir")
}

/// State and keys do not belong into version control.
fn ignore_state(dir: &Path) -> Result<Option<PathBuf>, Failure> {
    let path = dir.join(".gitignore");
    let entry = format!("/{DOT}/");
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Failure::io("read", &path, &e)),
    };
    if before.lines().any(|line| line.trim() == entry) {
        return Ok(None);
    }
    let gap = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    fs::write(&path, format!("{before}{gap}{entry}\n"))
        .map_err(|e| Failure::io("write", &path, &e))?;
    Ok(Some(path))
}
