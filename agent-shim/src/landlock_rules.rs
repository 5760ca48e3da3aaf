//! Landlock: an allow-list of files, no TCP, and signals and abstract sockets within the session only.
//!
//! Every right of the host's ABI is demanded outright; one that the ABI lacks is not asked for and is reported absent
//! by name. Nothing is left to best effort. Landlock cannot subtract, so a directory with something hidden below it is
//! granted entry by entry.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// What every program needs to run: read and execute. Missing ones are passed over.
const SYSTEM: [&str; 9] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt",
];

/// Read only: what runtimes ask the kernel. `/proc` shows other processes' names, not their memory or environment.
const KERNEL: [&str; 2] = ["/proc", "/sys/devices/system/cpu"];

/// Devices that hold nothing.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// A hidden path this many levels below a granted one at most is cut out; beyond it, refuse.
const DEPTH_MAX: usize = 16;

/// Why there is no ruleset.
#[derive(Debug, thiserror::Error)]
pub enum Unruled {
    /// A path that was asked for.
    #[error("cannot grant `{path}` to the agent: {cause}")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// It is, contains, or lies in what must stay hidden.
    #[error("cannot grant `{path}` to the agent: `{hidden}` must stay hidden")]
    Hidden {
        /// What was asked for.
        path: PathBuf,
        /// What it collides with.
        hidden: PathBuf,
    },
    /// The kernel.
    #[error("Landlock: {0}")]
    Kernel(String),
}

/// What the agent may reach.
#[derive(Debug)]
pub struct Reach<'a> {
    /// Read, write, execute.
    pub workspace: &'a Path,
    /// Read and execute.
    pub read: &'a [PathBuf],
    /// Neither, wherever it lies.
    pub hidden: &'a [PathBuf],
    /// Unix sockets to connect to, where the ABI can tell.
    pub sockets: &'a [PathBuf],
}

/// The rights of this host's ABI.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// As the kernel says; 0 is none.
    pub abi: i32,
}

impl Rights {
    /// Asks the kernel.
    pub fn of_this_host() -> Self {
        Self {
            abi: crate::sys::landlock_abi(),
        }
    }

    fn known(self) -> ABI {
        ABI::from(self.abi)
    }

    /// TCP connect and bind.
    pub fn tcp(self) -> bool {
        self.abi >= 4
    }

    /// Signals and abstract sockets.
    pub fn scopes(self) -> bool {
        self.abi >= 6
    }

    /// Path sockets.
    pub fn unix(self) -> bool {
        self.abi >= 9
    }

    /// Rights over files beyond the first ABI: name, and the ABI that has it.
    pub const LATER_FILE_RIGHTS: [(&'static str, i32); 3] = [
        ("landlock.fs.refer", 2),
        ("landlock.fs.truncate", 3),
        ("landlock.fs.ioctl_dev", 5),
    ];
}

/// Confines the calling process, which must have one thread.
///
/// # Errors
/// [`Unruled`]; nothing is in force then, or not all of it: the caller must not go on.
pub fn restrict(rights: Rights, reach: &Reach<'_>) -> Result<(), Unruled> {
    let abi = rights.known();
    let all = AccessFs::from_all(abi);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .map_err(kernel)?;
    if rights.tcp() {
        ruleset = ruleset
            .handle_access(AccessNet::from_all(abi))
            .map_err(kernel)?;
    }
    if rights.scopes() {
        ruleset = ruleset
            .scope(Scope::Signal | Scope::AbstractUnixSocket)
            .map_err(kernel)?;
    }
    let mut rules = Rules {
        created: ruleset.create().map_err(kernel)?,
        abi,
    };
    for path in SYSTEM {
        rules.grant_around(
            Path::new(path),
            AccessFs::from_read(abi),
            reach.hidden,
            Missing::PassedOver,
        )?;
    }
    for path in KERNEL {
        rules.grant_around(
            Path::new(path),
            AccessFs::ReadFile | AccessFs::ReadDir,
            reach.hidden,
            Missing::PassedOver,
        )?;
    }
    for path in DEVICES.iter().map(PathBuf::from).chain(own_terminal()) {
        rules.grant(&path, device_rights(abi), Missing::PassedOver)?;
    }
    for path in reach.read {
        rules.grant_around(path, AccessFs::from_read(abi), reach.hidden, Missing::Fails)?;
    }
    if let Some(hidden) = reach
        .hidden
        .iter()
        .find(|hidden| hidden.starts_with(reach.workspace))
    {
        return Err(Unruled::Hidden {
            path: reach.workspace.to_owned(),
            hidden: hidden.clone(),
        });
    }
    rules.grant_around(
        reach.workspace,
        workspace_rights(abi),
        reach.hidden,
        Missing::Fails,
    )?;
    if rights.unix() {
        for path in reach.sockets {
            rules.grant(path, AccessFs::ResolveUnix.into(), Missing::PassedOver)?;
        }
    }
    let status = rules.created.restrict_self().map_err(kernel)?;
    if status.ruleset == RulesetStatus::FullyEnforced && status.no_new_privs {
        return Ok(());
    }
    Err(Unruled::Kernel(format!(
        "the ruleset is {:?}",
        status.ruleset
    )))
}

/// Whether a path that is not there is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    PassedOver,
    Fails,
}

struct Rules {
    created: RulesetCreated,
    abi: ABI,
}

impl Rules {
    /// Grants `path` and what is below it, but nothing hidden: where something hidden is below, entry by entry.
    fn grant_around(
        &mut self,
        path: &Path,
        access: BitFlags<AccessFs>,
        hidden: &[PathBuf],
        missing: Missing,
    ) -> Result<(), Unruled> {
        // Where a symbolic link is granted, what is opened in the end is the target: compare that.
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(cause) => return passed_over(path, &cause, missing),
        };
        if let Some(hidden) = hidden.iter().find(|hidden| real.starts_with(hidden)) {
            return match missing {
                Missing::PassedOver => Ok(()),
                Missing::Fails => Err(Unruled::Hidden {
                    path: path.to_owned(),
                    hidden: hidden.clone(),
                }),
            };
        }
        self.walk(&real, access, hidden, missing, DEPTH_MAX)
    }

    fn walk(
        &mut self,
        path: &Path,
        access: BitFlags<AccessFs>,
        hidden: &[PathBuf],
        missing: Missing,
        depth: usize,
    ) -> Result<(), Unruled> {
        if hidden.iter().any(|hidden| path.starts_with(hidden)) {
            return Ok(());
        }
        let Some(below) = hidden.iter().find(|hidden| hidden.starts_with(path)) else {
            return self.grant(path, access, missing);
        };
        if depth == 0 {
            return Err(Unruled::Hidden {
                path: path.to_owned(),
                hidden: below.clone(),
            });
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(cause) => return passed_over(path, &cause, missing),
        };
        for entry in entries {
            let entry = entry.map_err(|cause| Unruled::Path {
                path: path.to_owned(),
                cause: cause.to_string(),
            })?;
            // A link's target is granted if it lies in another grant; following it could grant what is hidden.
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                continue;
            }
            self.walk(
                &entry.path(),
                access,
                hidden,
                Missing::PassedOver,
                depth - 1,
            )?;
        }
        Ok(())
    }

    fn grant(
        &mut self,
        path: &Path,
        access: BitFlags<AccessFs>,
        missing: Missing,
    ) -> Result<(), Unruled> {
        let opened = match PathFd::new(path) {
            Ok(opened) => opened,
            Err(landlock::PathFdError::OpenCall { source, .. }) => {
                return passed_over(path, &source, missing);
            }
            Err(other) => {
                return Err(Unruled::Path {
                    path: path.to_owned(),
                    cause: other.to_string(),
                });
            }
        };
        // A rule for a file may only name rights over files.
        let directory = fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let access = if directory {
            access
        } else {
            access & AccessFs::from_file(self.abi)
        };
        (&mut self.created)
            .add_rule(PathBeneath::new(opened, access))
            .map(drop)
            .map_err(|cause| Unruled::Path {
                path: path.to_owned(),
                cause: cause.to_string(),
            })
    }
}

fn passed_over(path: &Path, cause: &io::Error, missing: Missing) -> Result<(), Unruled> {
    match missing {
        Missing::PassedOver => Ok(()),
        Missing::Fails => Err(Unruled::Path {
            path: path.to_owned(),
            cause: cause.to_string(),
        }),
    }
}

/// Everything but making device files.
fn workspace_rights(abi: ABI) -> BitFlags<AccessFs> {
    AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}

fn device_rights(abi: ABI) -> BitFlags<AccessFs> {
    (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate)
        & AccessFs::from_all(abi)
}

/// The terminal that the agent was started on, so that a program may open it again by its name.
fn own_terminal() -> Option<PathBuf> {
    let terminal = fs::read_link("/proc/self/fd/0").ok()?;
    terminal.starts_with("/dev/pts").then_some(terminal)
}

fn kernel(cause: landlock::RulesetError) -> Unruled {
    Unruled::Kernel(cause.to_string())
}
