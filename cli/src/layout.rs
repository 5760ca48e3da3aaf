//! Where things lie: the only place that knows.
//!
//! Invariants: a [`Layout`] names paths and touches nothing, except that a development run directory is looked up where
//! it was put (a symbolic link, because a socket's path has a limit) and the policy in the form that is there; every path is absolute and without `..`; the
//! enforced and the development tree have the same shape, so that nothing else in this crate asks which one it is to
//! find a file. The owners and modes of the enforced tree stand in [`Layout::places`], once.
#![forbid(unsafe_code)]

use crate::accounts::{AUDIT, DAEMON, INDEX, SIGNER};
use crate::failure::Failure;
use faramesh_daemon::config::{
    Mode, SOCKET_PATH_BYTES_MAX, STACK_BYTES_MAX, WITNESSES_PUB, is_stack_name,
};
use nix::unistd::Uid;
use std::path::{Path, PathBuf};

/// The policy's file in a stack.
pub const POLICY_FILE: &str = "governance.fms";
/// Every name that a stack's policy may have; a stack has one of them.
pub const POLICY_FILES: [&str; 7] = [
    POLICY_FILE,
    "governance.yaml",
    "governance.yml",
    "governance.json",
    "governance.fms.yaml",
    "governance.fms.yml",
    "governance.fms.json",
];
/// What the agent may write, in a stack.
pub const WORKSPACE: &str = "workspace";
/// Launcher, pointers and development state, in a stack.
pub const DOT: &str = ".faramesh";

const ETC: &str = "/etc/faramesh";
const VAR: &str = "/var/lib/faramesh";
const VAR_SIGNER: &str = "/var/lib/faramesh-signer";
const VAR_INDEX: &str = "/var/lib/faramesh-index";
const RUN: &str = "/run/faramesh";
const RUN_INDEX: &str = "/run/faramesh-index";

/// The longest part of a socket's path below the run directory: `/agents/4294967295/agent.sock`.
const LONGEST_SOCKET_BYTES: usize = "/agents/4294967295/agent.sock".len();

/// Where one stack's things lie, in one of the two set-ups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Which set-up.
    pub mode: Mode,
    /// The stack's name.
    pub stack: String,
    /// The stack's directory, real and absolute.
    pub dir: PathBuf,
    etc: PathBuf,
    policy: PathBuf,
    journal: PathBuf,
    signer: PathBuf,
    run: PathBuf,
    index: PathBuf,
    run_index: PathBuf,
}

/// A directory of the tree, who owns it and what others may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub path: PathBuf,
    /// Its owner, by name.
    pub user: &'static str,
    /// Its group, by name.
    pub group: &'static str,
    /// Permission bits, with set-group-ID where what lies in it shall have its group.
    pub mode: u32,
}

/// A directory's policy: the one form of it that is there, `governance.fms` where there is none.
pub fn source(dir: &Path) -> PathBuf {
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    POLICY_FILES
        .iter()
        .map(|name| dir.join(name))
        .find(is_there)
        .unwrap_or_else(|| dir.join(POLICY_FILE))
}

impl Layout {
    /// The enforced tree of a stack: DESIGN's table of files, sockets and users.
    pub fn enforced(stack: &str, dir: &Path) -> Layout {
        Layout {
            mode: Mode::Enforced,
            stack: stack.to_owned(),
            dir: dir.to_owned(),
            etc: Path::new(ETC).join(stack),
            policy: Path::new(VAR).join(stack).join("policy"),
            journal: Path::new(VAR).join(stack).join("journal"),
            signer: Path::new(VAR_SIGNER).join(stack),
            run: Path::new(RUN).join(stack),
            index: Path::new(VAR_INDEX).join(stack),
            run_index: Path::new(RUN_INDEX).join(stack),
        }
    }

    /// The same tree below `.faramesh/state`.
    pub fn development(stack: &str, dir: &Path) -> Layout {
        let state = dir.join(DOT).join("state");
        let run = std::fs::read_link(state.join("run")).unwrap_or_else(|_| state.join("run"));
        Layout {
            mode: Mode::Development,
            stack: stack.to_owned(),
            dir: dir.to_owned(),
            etc: state.join("etc"),
            policy: state.join("policy"),
            journal: state.join("journal"),
            signer: state.join("signer"),
            index: state.join("index"),
            run_index: run.clone(),
            run,
        }
    }

    /// Whether users are separate.
    pub fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforced
    }

    /// The source of the policy.
    pub fn source(&self) -> PathBuf {
        source(&self.dir)
    }

    /// What the agent may write.
    pub fn workspace(&self) -> PathBuf {
        self.dir.join(WORKSPACE)
    }

    /// Launcher and pointers.
    pub fn dot(&self) -> PathBuf {
        self.dir.join(DOT)
    }

    /// What starts an agent.
    pub fn launcher(&self) -> PathBuf {
        self.dot().join("bin").join("agent")
    }

    /// What tells people and SDKs which stack this is and where its sockets are. Nothing of ours trusts it.
    pub fn pointer(&self) -> PathBuf {
        self.dot().join("stack.json")
    }

    /// Pins and keys.
    pub fn etc(&self) -> &Path {
        &self.etc
    }

    /// The daemon's configuration.
    pub fn daemon_toml(&self) -> PathBuf {
        self.etc.join("daemon.toml")
    }

    /// What signer and daemon said while a command of the user's had the terminal.
    pub fn daemon_log(&self) -> PathBuf {
        self.etc.with_file_name("daemon.log")
    }

    /// Held by the parent of signer and daemon.
    pub fn serve_lock(&self) -> PathBuf {
        self.etc.join("serve.lock")
    }

    /// Which directory this stack is.
    pub fn stack_toml(&self) -> PathBuf {
        self.etc.join("stack.toml")
    }

    /// Directories that systemd makes before the daemon starts.
    pub fn tmpfiles_conf(&self) -> PathBuf {
        self.etc.join("tmpfiles.conf")
    }

    /// The secret key that artifacts and manifests are signed with.
    pub fn policy_key(&self) -> PathBuf {
        self.etc.join("policy.key")
    }

    /// Its public half.
    pub fn policy_pub(&self) -> PathBuf {
        self.etc.join("policy.pub")
    }

    /// The public half of the log key.
    pub fn log_pub(&self) -> PathBuf {
        self.etc.join("log.pub")
    }

    /// The keys of the witnesses that are pinned.
    pub fn witnesses_pub(&self) -> PathBuf {
        self.etc.join(WITNESSES_PUB)
    }

    /// Artifacts and manifests.
    pub fn policy(&self) -> &Path {
        &self.policy
    }

    /// Artifacts, by digest.
    pub fn artifacts(&self) -> PathBuf {
        self.policy.join("artifacts")
    }

    /// Manifests, by number.
    pub fn manifests(&self) -> PathBuf {
        self.policy.join("manifests")
    }

    /// The manifest that is to come into force, or that last did.
    pub fn next(&self) -> PathBuf {
        self.policy.join("next")
    }

    /// Segments.
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// Log key and head.
    pub fn signer(&self) -> &Path {
        &self.signer
    }

    /// Sockets.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The operators' socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }

    /// The shim's socket.
    pub fn attach_socket(&self) -> PathBuf {
        self.run.join("attach.sock")
    }

    /// The signer's socket.
    pub fn signer_socket(&self) -> PathBuf {
        self.run.join("signer.sock")
    }

    /// What the index made of the journal.
    pub fn index(&self) -> &Path {
        &self.index
    }

    /// The directory of the index's socket: when enforced one of its own, which the index's user may write.
    pub fn run_index(&self) -> &Path {
        &self.run_index
    }

    /// The auditors' socket.
    pub fn index_socket(&self) -> PathBuf {
        self.run_index.join("index.sock")
    }

    /// The directories of the agents' sockets.
    pub fn agents(&self) -> PathBuf {
        self.run.join("agents")
    }

    /// The socket of the agents that run as `uid`.
    pub fn agent_socket(&self, uid: Uid) -> PathBuf {
        self.agents().join(uid.to_string()).join("agent.sock")
    }

    /// What a session must neither read nor write.
    pub fn hidden(&self) -> Vec<PathBuf> {
        vec![
            self.policy_key(),
            self.policy.clone(),
            self.journal.clone(),
            self.signer.clone(),
            self.index.clone(),
        ]
    }

    /// What must not be replaceable by an agent: see `trust`.
    pub fn guarded(&self) -> Vec<PathBuf> {
        vec![
            self.source(),
            self.launcher(),
            self.etc.clone(),
            self.policy.clone(),
        ]
    }

    /// The directories of state that outlives a boot, parents first.
    pub fn places(&self) -> Vec<Place> {
        let place = |path: &Path, user, group, mode| Place {
            path: path.to_owned(),
            user,
            group,
            mode,
        };
        let (artifacts, manifests) = (self.artifacts(), self.manifests());
        let parent = |path: &Path| path.parent().unwrap_or(path).to_owned();
        let mut all = Vec::new();
        match self.mode {
            Mode::Enforced => {
                all.push(place(Path::new(ETC), "root", "root", 0o755));
                all.push(place(Path::new(VAR), "root", "root", 0o755));
                all.push(place(Path::new(VAR_SIGNER), "root", "root", 0o711));
                all.push(place(Path::new(VAR_INDEX), "root", "root", 0o711));
                all.push(place(&parent(&self.policy), "root", "root", 0o755));
            }
            Mode::Development => {
                all.push(place(&parent(&self.policy), "root", "root", 0o700));
            }
        }
        all.push(place(&self.etc, "root", "root", 0o755));
        all.push(place(&self.policy, "root", DAEMON, 0o750));
        all.push(place(&artifacts, "root", DAEMON, 0o750));
        all.push(place(&manifests, "root", DAEMON, 0o750));
        // Segments get the auditors' group, because the directory hands it on.
        all.push(place(&self.journal, DAEMON, AUDIT, 0o2750));
        all.push(place(&self.signer, SIGNER, SIGNER, 0o700));
        all.push(place(&self.index, INDEX, INDEX, 0o700));
        all
    }

    /// The directories of a running stack, parents first; those of single agents are made from the configuration.
    pub fn run_places(&self) -> Vec<Place> {
        let mut all = Vec::new();
        if self.is_enforced() {
            all.push(Place {
                path: RUN.into(),
                user: "root",
                group: "root",
                mode: 0o755,
            });
        }
        // In development it may lie in a directory that everybody can write.
        let mode = if self.is_enforced() { 0o711 } else { 0o700 };
        all.push(Place {
            path: self.run.clone(),
            user: DAEMON,
            group: DAEMON,
            mode,
        });
        // The daemon's like the one above it: what lies in a user's directory is that user's to replace, and
        // systemd-tmpfiles refuses to pretend otherwise.
        all.push(Place {
            path: self.agents(),
            user: DAEMON,
            group: DAEMON,
            mode: 0o755,
        });
        all
    }
}

/// Every enforced stack's name, sorted: those that have a directory below `/etc/faramesh`.
pub fn enforced_stacks() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(ETC) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_stack_name(name))
        .collect();
    names.sort();
    names
}

/// Checks a stack's name, or says what one looks like.
///
/// # Errors
/// It is not one.
pub fn stack_name(name: &str) -> Result<String, Failure> {
    if is_stack_name(name) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(format!(
        "`{}` is not a stack's name: 1 to {STACK_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-`, with a letter or digit first",
        crate::untrusted::Untrusted(name)
    ))
    .next("give one with --name"))
}

/// Where a development run directory goes when the one in the stack has too long a path for sockets: candidates, best
/// first. Each is below a directory that only this user may write.
pub fn short_run_candidates(dir: &Path, uid: Uid, runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(dir.as_os_str().as_encoded_bytes());
    let hash: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let xdg = runtime_dir
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("faramesh").join(&hash));
    let tmp = PathBuf::from(format!("/tmp/faramesh-{uid}")).join(&hash);
    xdg.into_iter()
        .chain([tmp])
        .filter(|path| fits(path))
        .collect()
}

/// Whether every socket below a run directory has a path that the kernel takes.
pub fn fits(run: &Path) -> bool {
    run.as_os_str().len() + LONGEST_SOCKET_BYTES <= SOCKET_PATH_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_enforced_tree_is_the_one_that_the_manual_names() {
        let layout = Layout::enforced("bot", Path::new("/srv/bot"));
        assert_eq!(
            layout.daemon_toml(),
            Path::new("/etc/faramesh/bot/daemon.toml")
        );
        assert_eq!(
            layout.policy_key(),
            Path::new("/etc/faramesh/bot/policy.key")
        );
        assert_eq!(
            layout.next(),
            Path::new("/var/lib/faramesh/bot/policy/next")
        );
        assert_eq!(layout.journal(), Path::new("/var/lib/faramesh/bot/journal"));
        assert_eq!(layout.signer(), Path::new("/var/lib/faramesh-signer/bot"));
        assert_eq!(
            layout.agent_socket(Uid::from_raw(7)),
            Path::new("/run/faramesh/bot/agents/7/agent.sock")
        );
        assert_eq!(layout.launcher(), Path::new("/srv/bot/.faramesh/bin/agent"));
    }

    #[test]
    fn both_trees_have_the_same_shape() {
        let dir = Path::new("/srv/bot");
        let [enforced, development] = [
            Layout::enforced("bot", dir),
            Layout::development("bot", dir),
        ];
        let tails = |layout: &Layout| -> Vec<String> {
            layout
                .hidden()
                .iter()
                .filter_map(|p| Some(p.file_name()?.to_str()?.to_owned()))
                .take(3)
                .collect()
        };
        assert_eq!(tails(&enforced), tails(&development));
        assert!(
            development
                .places()
                .iter()
                .all(|place| place.path.starts_with("/srv/bot/.faramesh/state"))
        );
    }

    #[test]
    fn names_that_would_leave_the_tree_are_refused() {
        for name in [
            "",
            "..",
            ".hidden",
            "a/b",
            "A",
            "a b",
            "-x",
            &"x".repeat(49),
        ] {
            assert_eq!(stack_name(name).unwrap_err().exit, 64, "{name}");
        }
        assert_eq!(stack_name("support-bot.2").unwrap(), "support-bot.2");
    }

    #[test]
    fn a_deep_stack_gets_a_run_directory_that_sockets_fit_into() {
        let deep = Path::new("/home").join("d".repeat(120));
        let layout = Layout::development("bot", &deep);
        assert!(!fits(layout.run()));
        let found = short_run_candidates(
            &deep,
            Uid::from_raw(1000),
            Some(Path::new("/run/user/1000")),
        );
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|path| fits(path)));
        assert!(
            found
                .first()
                .unwrap()
                .starts_with("/run/user/1000/faramesh")
        );
        assert!(found.last().unwrap().starts_with("/tmp/faramesh-1000"));
    }
}
