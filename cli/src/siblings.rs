//! Where the other programs of Faramesh are.
//!
//! They lie beside this one, in `/usr/libexec/faramesh`, or on the PATH, in this order. As root the PATH is not asked,
//! and nothing is executed from a place that others than root may write.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::trust;
use nix::unistd::Uid;
use std::path::{Path, PathBuf};

/// Where packages put them.
const LIBEXEC: &str = "/usr/libexec/faramesh";

/// Another program of Faramesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sibling {
    /// The daemon.
    Daemon,
    /// The signer.
    Signer,
    /// The shim.
    Agent,
    /// The index, which need not be installed.
    Index,
}

impl Sibling {
    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Sibling::Daemon => "farameshd",
            Sibling::Signer => "faramesh-signer",
            Sibling::Agent => "faramesh-agent",
            Sibling::Index => "faramesh-index",
        }
    }
}

/// Finds a program.
///
/// # Errors
/// It is not installed (69), or root would execute a file that others may write (77).
pub fn find(sibling: Sibling) -> Result<PathBuf, Failure> {
    let name = sibling.name();
    let root = Uid::effective().is_root();
    let here = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.canonicalize().ok());
    let beside = here
        .as_deref()
        .and_then(Path::parent)
        .map(|dir| dir.join(name));
    let packaged = Some(Path::new(LIBEXEC).join(name));
    let on_path = if root { None } else { search_path(name) };
    let found = [beside, packaged, on_path]
        .into_iter()
        .flatten()
        .find(|path| path.is_file());
    let Some(path) = found else {
        return Err(Failure::unavailable(format!(
            "`{name}` is not installed: looked beside `faramesh` and in `{LIBEXEC}`"
        ))
        .next(format!("put `{name}` beside `faramesh`")));
    };
    if root {
        trust::root_may_execute(&path)?;
    }
    Ok(path)
}

fn search_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}
