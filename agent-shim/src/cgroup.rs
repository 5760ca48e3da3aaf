//! The session's own cgroup (v2, wherever it is mounted): by it the daemon knows whose a process is, and by it the
//! whole tree is ended at once.
//!
//! `<mount>/faramesh/<stack>/<random>`. All files belong to root, so that nobody inside can move out or raise a limit;
//! only the directory `<stack>` belongs to the keeper, who may remove the empty session from it and write no file.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use faramesh_proto::v1::Probe;

use crate::args::Options;
use crate::family::Starter;

/// Processes and threads of one session. A build with a hundred jobs fits; a fork bomb does not.
const TASKS_MAX: u64 = 4096;

/// Memory of one session, in parts of the machine's: what is left keeps the daemon and the host alive.
const MEMORY_NUMERATOR: u64 = 3;
/// See [`MEMORY_NUMERATOR`].
const MEMORY_DENOMINATOR: u64 = 4;

/// Why there is no cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Not root: the session is known by ancestry instead.
    #[error("only root can make one that the agent cannot leave")]
    NotRoot,
    /// No cgroup v2 here.
    #[error("cgroup v2 is not mounted")]
    NotMounted,
    /// A given directory that is not in the cgroup file system.
    #[error("`{0}` is not below the mount of cgroup v2")]
    Elsewhere(PathBuf),
    /// The kernel said no.
    #[error("cannot {what} `{path}`: {cause}")]
    Failed {
        /// The step.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// A session's cgroup, or why there is none.
#[derive(Debug)]
pub struct Cgroup {
    made: Result<Made, Unavailable>,
}

#[derive(Debug)]
struct Made {
    directory: PathBuf,
    /// As /proc/PID/cgroup shows it.
    name: String,
    /// Opened as root: whoever has it can end the tree.
    kill: File,
    limits: Vec<Probe>,
}

/// Makes the cgroup where the starter is root. Never fails: what is missing is said where it is needed.
pub fn prepare(starter: Starter, options: &Options) -> Cgroup {
    let made = if starter.is_root() {
        make(options)
    } else {
        Err(Unavailable::NotRoot)
    };
    Cgroup { made }
}

impl Cgroup {
    /// As /proc/PID/cgroup shows it, or empty.
    pub fn name(&self) -> &str {
        self.made.as_ref().map_or("", |made| &made.name)
    }

    /// Why there is none.
    pub fn absence(&self) -> Option<&Unavailable> {
        self.made.as_ref().err()
    }

    /// Moves the calling process in, and looks whether it is.
    ///
    /// # Errors
    /// Where the kernel refuses, or shows another cgroup afterwards.
    pub fn join(&self) -> io::Result<()> {
        let Ok(made) = &self.made else { return Ok(()) };
        write_file(&made.directory.join("cgroup.procs"), "0")?;
        let shown = fs::read_to_string("/proc/self/cgroup")?;
        if shown
            .lines()
            .any(|line| line.strip_prefix("0::") == Some(made.name.as_str()))
        {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the kernel does not show `{}` after joining it",
            made.name
        )))
    }

    /// Kills every process in it, where there is one.
    pub fn kill(&self) {
        if let Ok(made) = &self.made {
            let _ = (&made.kill).write_all(b"1");
        }
    }

    /// Lets `keeper` remove the session's directory, and nothing else.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hand_over(&self, keeper: u32) -> io::Result<()> {
        let Ok(made) = &self.made else { return Ok(()) };
        let Some(stack) = made.directory.parent() else {
            return Ok(());
        };
        std::os::unix::fs::chown(stack, Some(keeper), None)
    }

    /// Removes it once it is empty. A leftover is harmless, so a failure is not reported.
    pub fn remove(&self) {
        if let Ok(made) = &self.made {
            let _ = fs::remove_dir(&made.directory);
        }
    }

    /// What is in force, for the record.
    pub fn probes(&self) -> Vec<Probe> {
        match &self.made {
            Ok(made) => {
                let mut probes = made.limits.clone();
                let inside = fs::read_to_string("/proc/self/cgroup").is_ok_and(|shown| {
                    shown
                        .lines()
                        .any(|line| line.strip_prefix("0::") == Some(made.name.as_str()))
                });
                // As the agent's user, after everything: leaving would be writing a pid to another cgroup's file.
                let leaves = OpenOptions::new()
                    .write(true)
                    .open(made.directory.join("cgroup.procs"));
                probes.push(crate::probe::row(
                    "cgroup.membership",
                    inside && leaves.is_err(),
                    match leaves {
                        Ok(_) => "its cgroup.procs is writable from inside".to_owned(),
                        Err(cause) => format!("cgroup.procs: {}", crate::probe::errno_name(&cause)),
                    },
                ));
                probes
            }
            Err(why) => absent_rows(why),
        }
    }
}

pub(crate) fn absent_rows(why: impl std::fmt::Display) -> Vec<Probe> {
    ["cgroup.membership", "cgroup.pids", "cgroup.memory"]
        .map(|layer| crate::probe::absent(layer, &why))
        .to_vec()
}

impl Drop for Made {
    /// A shim that fails before the session leaves nothing behind; a populated cgroup refuses to go.
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

fn make(options: &Options) -> Result<Made, Unavailable> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|cause| failed("read", Path::new("/proc/self/mountinfo"), cause))?;
    let mount = find_mount(&mountinfo).ok_or(Unavailable::NotMounted)?;
    let base = options
        .cgroup
        .clone()
        .unwrap_or_else(|| mount.point.clone());
    if !base.starts_with(&mount.point) || base.components().any(|part| part.as_os_str() == "..") {
        return Err(Unavailable::Elsewhere(base));
    }
    let ours = base.join("faramesh");
    let stack = ours.join(stack_name(&options.attach));
    let directory = stack
        .join(random_name().map_err(|cause| failed("read", Path::new("/dev/urandom"), cause))?);
    fs::create_dir_all(&stack).map_err(|cause| failed("make", &stack, cause))?;
    // Controllers go down one level at a time; one that the host keeps elsewhere is reported as absent below.
    for level in [&base, &ours, &stack] {
        for controller in ["+pids", "+memory"] {
            let _ = write_file(&level.join("cgroup.subtree_control"), controller);
        }
    }
    fs::create_dir(&directory).map_err(|cause| failed("make", &directory, cause))?;
    let kill = directory.join("cgroup.kill");
    let kill = OpenOptions::new()
        .write(true)
        .open(&kill)
        .map_err(|cause| {
            let _ = fs::remove_dir(&directory);
            failed("open", &kill, cause)
        })?;
    let limits = limit(&directory);
    let name = mount.name_of(&directory);
    Ok(Made {
        directory,
        name,
        kill,
        limits,
    })
}

fn failed(what: &'static str, path: &Path, cause: io::Error) -> Unavailable {
    Unavailable::Failed {
        what,
        path: path.to_owned(),
        cause,
    }
}

fn limit(directory: &Path) -> Vec<Probe> {
    let memory = memory_total().map(|total| total / MEMORY_DENOMINATOR * MEMORY_NUMERATOR);
    let _ = write_file(&directory.join("memory.oom.group"), "1");
    [
        ("cgroup.pids", "pids.max", Some(TASKS_MAX)),
        ("cgroup.memory", "memory.max", memory),
    ]
    .into_iter()
    .map(|(layer, file, value)| {
        let path = directory.join(file);
        let set = match value {
            Some(value) => {
                write_file(&path, &value.to_string()).and_then(|()| fs::read_to_string(&path))
            }
            None => Err(io::Error::other("the machine's memory is unknown")),
        };
        match set {
            Ok(shown) if shown.trim() != "max" => {
                crate::probe::row(layer, true, format!("{file} {}", shown.trim()))
            }
            Ok(_) => crate::probe::absent(layer, "the kernel kept it unlimited"),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                crate::probe::absent(layer, "cgroup v2 does not have this controller here")
            }
            Err(cause) => crate::probe::absent(layer, cause),
        }
    })
    .collect()
}

/// Bytes of memory, from /proc/meminfo.
fn memory_total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// cgroup.procs and its like take one write and do not like O_TRUNC or O_CREAT.
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The socket is `/run/faramesh/<stack>/attach.sock`; anything that is not a plain name becomes `stack`.
fn stack_name(attach: &Path) -> String {
    let name = attach
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let usable = plain && !name.is_empty() && !name.starts_with('.') && name.len() <= 64;
    if usable {
        name.to_owned()
    } else {
        "stack".to_owned()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The part of the hierarchy that is mounted: `/`, except in some containers.
    root: String,
    point: PathBuf,
}

impl Mount {
    fn name_of(&self, directory: &Path) -> String {
        let below = directory.strip_prefix(&self.point).unwrap_or(directory);
        format!("{}/{}", self.root.trim_end_matches('/'), below.display())
    }
}

/// The mount of cgroup v2 in /proc/self/mountinfo (proc_pid_mountinfo(5)); one of the whole hierarchy is preferred.
fn find_mount(mountinfo: &str) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let root = fields.next()?.to_owned();
        Some(Mount {
            root,
            point: unescape(fields.next()?),
        })
    });
    mounts.min_by_key(|mount| mount.root != "/")
}

/// Spaces and their like are written as a backslash and three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, byte) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_version_two_is_found_among_those_of_version_one() {
        let text = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    40 31 0:38 /a /else\\040where rw shared:1 - cgroup2 cgroup2 rw\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = find_mount(text).unwrap();
        assert_eq!(
            found,
            Mount {
                root: "/".into(),
                point: "/sys/fs/cgroup/unified".into()
            }
        );
        let part = find_mount(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(
            part.name_of(Path::new("/else where/faramesh/x")),
            "/a/faramesh/x"
        );
        assert!(find_mount(text.lines().next().unwrap()).is_none());
    }

    #[test]
    fn a_stack_is_named_after_its_directory_and_never_by_a_path() {
        assert_eq!(
            stack_name(Path::new("/run/faramesh/shop/attach.sock")),
            "shop"
        );
        for odd in [
            "/attach.sock",
            "/a/../attach.sock",
            "/a/.x/attach.sock",
            "/a/b c/attach.sock",
        ] {
            assert_eq!(stack_name(Path::new(odd)), "stack", "{odd}");
        }
    }
}
