//! `faramesh index`: runs the index of a stack that was applied, where no systemd does.
#![forbid(unsafe_code)]

use crate::accounts::{self, AUDIT, INDEX};
use crate::args::{Global, IndexArgs};
use crate::failure::Failure;
use crate::files;
use crate::layout::Layout;
use crate::output::Output;
use crate::siblings::{self, Sibling};
use crate::stack;
use crate::supervise;
use crate::sys::{self, Birth, Identity};
use nix::unistd::{Gid, Uid};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Becomes the index; as root, under its own user.
///
/// # Errors
/// Nothing was applied, it is not installed, or this user may not.
pub fn run(global: &Global, args: &IndexArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let program = siblings::find(Sibling::Index).map_err(|failure| {
        failure.next("it is built apart, because it takes a C++ compiler: see docs/index.md; `--scan` does without it")
    })?;
    let identity = prepare(&layout)?;
    let mut command = Command::new(&program);
    command
        .arg("--journal")
        .arg(layout.journal())
        .arg("--key")
        .arg(layout.log_pub())
        .arg("--state")
        .arg(layout.index())
        .arg("--socket")
        .arg(layout.index_socket());
    if layout.is_enforced() {
        command.arg("--group");
    }
    if args.rebuild {
        command.arg("--rebuild");
    }
    supervise::scrub_environment(&mut command);
    sys::arrange(
        &mut command,
        Birth {
            identity,
            ..Birth::default()
        },
    );
    output.aside(format!("faramesh: becoming {}", Sibling::Index.name()));
    let error = command.exec();
    Err(Failure::unavailable(format!(
        "cannot run `{}`: {error}",
        program.display()
    )))
}

/// The directories, and who the index shall be. Its group is the auditors', to whom it gives its socket.
fn prepare(layout: &Layout) -> Result<Option<Identity>, Failure> {
    if !layout.is_enforced() {
        files::ensure_dir(layout.run_index(), 0o700, None)?;
        return Ok(None);
    }
    if !Uid::effective().is_root() {
        return Err(Failure::permission(format!(
            "this user may not run the index of `{}`",
            layout.stack
        ))
        .next("run it as root: it changes to the user `faramesh-index`"));
    }
    let user = accounts::existing_user(INDEX)?;
    let audit = accounts::existing_group(AUDIT)?;
    let root = Some((Uid::from_raw(0), Gid::from_raw(0)));
    for (dir, mode, owner) in [
        (above(layout.index()), 0o711, root),
        (layout.index(), 0o700, Some((user.uid, user.gid))),
        (above(layout.run_index()), 0o755, root),
        (layout.run_index(), 0o750, Some((user.uid, audit))),
    ] {
        files::ensure_dir(dir, mode, owner)?;
    }
    Ok(Some(Identity {
        uid: user.uid,
        gid: audit,
        groups: Vec::new(),
    }))
}

fn above(dir: &Path) -> &Path {
    dir.parent().unwrap_or(dir)
}
