//! Why a command stopped: an exit status for programs, a message and a next step for people.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;

/// Exit statuses that every command shares (`sysexits.h`).
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// Input is wrong: a policy, a note, a journal.
    pub const DATA: u8 = 65;
    /// Something that must answer does not: the daemon, a program that is not installed.
    pub const UNAVAILABLE: u8 = 69;
    /// Our own fault.
    pub const INTERNAL: u8 = 70;
    /// Not allowed to this user, or to anybody in this state.
    pub const PERMISSION: u8 = 77;
    /// The set-up is wrong: owners, modes, names, pins.
    pub const CONFIGURATION: u8 = 78;
}

/// A command's failure. `message` is lower case, names its input in backticks and ends with the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit status: one of [`exit`].
    pub exit: u8,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub next: Option<String>,
}

impl Failure {
    /// A failure without a next step.
    pub fn new(exit: u8, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
            next: None,
        }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(exit::USAGE, message)
    }

    /// Input is wrong.
    pub fn data(message: impl Into<String>) -> Failure {
        Failure::new(exit::DATA, message)
    }

    /// A service or a program is not there.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new(exit::UNAVAILABLE, message)
    }

    /// Our own fault.
    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(exit::INTERNAL, message)
    }

    /// Not allowed.
    pub fn permission(message: impl Into<String>) -> Failure {
        Failure::new(exit::PERMISSION, message)
    }

    /// The set-up is wrong.
    pub fn configuration(message: impl Into<String>) -> Failure {
        Failure::new(exit::CONFIGURATION, message)
    }

    /// An I/O error on a path: a refused one exits 77, a missing or broken one 65.
    pub fn io(what: &str, path: &Path, error: &std::io::Error) -> Failure {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => exit::PERMISSION,
            _ => exit::DATA,
        };
        Failure::new(exit, format!("cannot {what} `{}`: {error}", path.display()))
    }

    /// The same failure with what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Failure {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
