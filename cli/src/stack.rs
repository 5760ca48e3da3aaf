//! Which stack a command means, and in which set-up.
//!
//! Invariants: what is believed about an enforced stack stands in `/etc/faramesh`, never in the stack's directory; one
//! name belongs to one directory.
#![forbid(unsafe_code)]

use crate::args::Global;
use crate::failure::Failure;
use crate::files;
use crate::layout::{self, Layout};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `stack.toml`: a few hundred bytes.
const STACK_TOML_BYTES_MAX: u64 = 64 * 1024;

/// `stack.toml`: which directory a stack is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackFile {
    /// The stack's name.
    pub stack: String,
    /// Its directory, real and absolute.
    pub dir: PathBuf,
}

/// The stack's directory, real and absolute.
///
/// # Errors
/// There is none.
pub fn directory(global: &Global) -> Result<PathBuf, Failure> {
    let dir = std::fs::canonicalize(&global.dir)
        .map_err(|e| Failure::io("find the stack", &global.dir, &e))?;
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(
        Failure::data(format!("`{}` is not a directory", dir.display()))
            .next("name the stack with --dir"),
    )
}

/// The stack that a command asks about: it was applied before.
///
/// # Errors
/// It was not, in any set-up that was asked for.
pub fn applied(global: &Global) -> Result<Layout, Failure> {
    let dir = directory(global)?;
    if !global.development
        && let Some(layout) = enforced(&dir)?
    {
        return Ok(layout);
    }
    if let Some(layout) = development(&dir)? {
        return Ok(layout);
    }
    let what = if global.development {
        "in development"
    } else {
        "yet"
    };
    Err(Failure::unavailable(format!(
        "no policy of `{}` was applied {what}",
        dir.display()
    ))
    .next("run `faramesh apply`, or `faramesh dev` to try it out"))
}

/// The stack that a command is about to apply: as root the enforced set-up, else the development one.
///
/// # Errors
/// The name is none, or belongs to another directory, or the directory has another name.
pub fn to_apply(global: &Global, name: Option<&str>) -> Result<Layout, Failure> {
    if Uid::effective().is_root() && !global.development {
        return enforced_to_apply(&directory(global)?, name);
    }
    development_to_apply(global, name)
}

/// The same for commands that only know the development set-up.
///
/// # Errors
/// The same.
pub fn development_to_apply(global: &Global, name: Option<&str>) -> Result<Layout, Failure> {
    let dir = directory(global)?;
    let before = development(&dir)?;
    let name = choose_name(&dir, name, before.as_ref())?;
    Ok(Layout::development(&name, &dir))
}

fn enforced_to_apply(dir: &Path, name: Option<&str>) -> Result<Layout, Failure> {
    let before = enforced(dir)?;
    let name = choose_name(dir, name, before.as_ref())?;
    let layout = Layout::enforced(&name, dir);
    match read_stack_file(&layout)? {
        Some(file) if file.dir != dir => Err(Failure::configuration(format!(
            "the name `{name}` is taken: it is the stack in `{}`",
            file.dir.display()
        ))
        .next("choose another with --name")),
        _ => Ok(layout),
    }
}

fn choose_name(
    dir: &Path,
    asked: Option<&str>,
    before: Option<&Layout>,
) -> Result<String, Failure> {
    match (asked, before) {
        (Some(asked), Some(before)) if asked != before.stack => {
            Err(Failure::configuration(format!(
                "`{}` is already the stack `{}`: its journal bears that name",
                dir.display(),
                before.stack
            ))
            .next("leave --name out, or copy the policy to another directory"))
        }
        (Some(asked), _) => layout::stack_name(asked),
        (None, Some(before)) => Ok(before.stack.clone()),
        (None, None) => layout::stack_name(&dir.file_name().unwrap_or_default().to_string_lossy()),
    }
}

/// The enforced set-up of a directory, where there is one.
///
/// # Errors
/// Its file cannot be read.
pub fn enforced(dir: &Path) -> Result<Option<Layout>, Failure> {
    for name in layout::enforced_stacks() {
        let layout = Layout::enforced(&name, dir);
        if read_stack_file(&layout)?.is_some_and(|file| file.dir == dir && file.stack == name) {
            return Ok(Some(layout));
        }
    }
    Ok(None)
}

fn development(dir: &Path) -> Result<Option<Layout>, Failure> {
    // The name is not needed to find the file that holds it.
    let nameless = Layout::development("", dir);
    let Some(file) = read_stack_file(&nameless)? else {
        return Ok(None);
    };
    layout::stack_name(&file.stack)?;
    Ok(Some(Layout::development(&file.stack, dir)))
}

fn read_stack_file(layout: &Layout) -> Result<Option<StackFile>, Failure> {
    let path = layout.stack_toml();
    let Some(text) = files::read_text(&path, STACK_TOML_BYTES_MAX)? else {
        return Ok(None);
    };
    toml::from_str(&text).map(Some).map_err(|e| {
        Failure::configuration(format!("`{}` cannot be read: {e}", path.display()))
            .next("remove it and run `faramesh apply` again")
    })
}
