//! The configuration: every path and every number that the daemon needs, in one file that is read once.
//!
//! Invariants: nothing is read from the environment; an unknown key is an error; a value that decides about security
//! has no default here, so that the file says what holds; [`Config::check`] reports every fault before a socket exists.
//! The daemon knows no layout of the host: whoever writes the file (`faramesh apply`) does.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, bytes: `sun_path` is 108 with its terminating zero (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest stack name, bytes: it stands in paths, unit names and the origin.
pub const STACK_BYTES_MAX: usize = 48;
/// Largest configuration file, bytes: a thousand agent users take under 100 KiB.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// The pinned witnesses' keys, in the directory of `log_pub`.
pub const WITNESSES_PUB: &str = "witnesses.pub";
/// Smallest and largest segment, bytes: below, every batch rolls; above, one preallocation stalls a disk for seconds.
pub const SEGMENT_BYTES: (u64, u64) = (64 * 1024, 4 * 1024 * 1024 * 1024);

/// `daemon.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The stack's name: `[a-z0-9][a-z0-9._-]*`.
    pub stack: String,
    /// The journal's origin, `faramesh/<stack>/<8 hex>`: must be the one that the signer and `log_pub` name.
    pub origin: String,
    /// How the daemon runs.
    pub mode: Mode,
    /// The user that the daemon must find itself running as.
    pub uid: u32,
    /// Artifacts, manifests and `next`; only read.
    pub policy_dir: PathBuf,
    /// The public key that artifacts and manifests are signed with, a C2SP verifier key on one line.
    pub policy_pub: PathBuf,
    /// The public key of the journal's origin, the same form.
    pub log_pub: PathBuf,
    /// Segments and the lock.
    pub journal_dir: PathBuf,
    /// `admin.sock`, `attach.sock`, `agents/<uid>/agent.sock`.
    pub run_dir: PathBuf,
    /// Where `faramesh-signer` listens.
    pub signer_socket: PathBuf,
    /// The user that must answer there.
    pub signer_uid: u32,
    /// The group that may use `admin.sock`; enforced only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operators_gid: Option<u32>,
    /// The user of an agent that names no `run_as`, one of `agents`; enforced only. Without it such an agent cannot start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_run_as: Option<String>,
    /// Cgroups (v2, as in /proc/PID/cgroup) below which a session's own cgroup must lie; enforced only.
    #[serde(default)]
    pub session_cgroup_roots: Vec<String>,
    /// Paths that must be neither readable nor writable from inside a session.
    pub hidden_paths: Vec<PathBuf>,
    /// Size of a journal segment, bytes.
    pub segment_bytes: u64,
    /// What an operator should know of this installation, one sentence each: into `status` and the start record.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Numbers.
    pub limits: Limits,
    /// A socket is made for each; in development exactly one, the daemon's own user.
    pub agents: Vec<AgentUser>,
}

/// How the daemon runs. Never confused: it stands in every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Daemon, signer and agents are different users.
    Enforced,
    /// One user: any process of it can be any agent.
    Development,
}

/// A user that agents run under, resolved by whoever wrote the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentUser {
    /// As in `run_as`.
    pub user: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group's number.
    pub gid: u32,
}

/// Numbers. [`Limits::STANDARD`] is what an installation gets; tests make them small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest time until the artifact's own `cold_start_deny_window` is known, milliseconds.
    pub start_ms_max: u64,
    /// Connections on all agent sockets together.
    pub connections_max: u32,
    /// Connections of one user on the agent sockets: so many idle ones are held, the longest idle gives way to a new one.
    pub connections_per_uid_max: u32,
    /// Calls in flight on one connection.
    pub streams_per_connection_max: u32,
    /// From accept to the end of the HTTP/2 preface, milliseconds.
    pub handshake_ms: u64,
    /// A connection on which nothing arrives for so long, with no call in flight, is closed, milliseconds.
    pub idle_ms: u64,
    /// From the first to the last byte of one request, milliseconds.
    pub request_ms: u64,
    /// One step of the attach protocol, milliseconds.
    pub attach_step_ms: u64,
    /// Sessions bound or sealed at once.
    pub sessions_max: u32,
    /// Calls that wait for the sequencer, per session (or per user outside any).
    pub queue_per_session_max: u32,
    /// Longest time that queued calls may take to finish when draining, milliseconds.
    pub drain_ms: u64,
    /// A journal in which nothing was recorded for so long gets a `heartbeat` record, seconds; 0: never.
    #[serde(default = "heartbeat_standard")]
    pub heartbeat_seconds: u64,
    /// What the records of one session (or of one user outside any) may take of the journal within an hour, bytes. Beyond
    /// it its calls are `OVERLOADED`, and nobody else's. 0: without limit.
    #[serde(default = "journal_standard")]
    pub session_journal_bytes_per_hour: u64,
}

/// The same.
const fn journal_standard() -> u64 {
    Limits::STANDARD.session_journal_bytes_per_hour
}

/// A file that an earlier version wrote has no such line.
const fn heartbeat_standard() -> u64 {
    Limits::STANDARD.heartbeat_seconds
}

impl Limits {
    /// What an installation gets.
    pub const STANDARD: Limits = Limits {
        start_ms_max: 30_000,   // the published default of cold_start_deny_window
        connections_max: 4_096, // 4,096 × about 20 KiB of HTTP/2 state = 80 MiB at the very worst
        connections_per_uid_max: 1_024, // four agent users can fill their share and not each other's
        streams_per_connection_max: 256, // the widest load that was measured
        handshake_ms: 5_000,            // a local client needs under a millisecond
        idle_ms: 60_000,                // a client that sends nothing for a minute is closed
        request_ms: 10_000,             // 1 MiB over a Unix socket takes under ten milliseconds
        attach_step_ms: 10_000,         // probing from inside takes under 100 ms
        sessions_max: 1_024,            // the memory figure is stated for 1,000
        queue_per_session_max: 256, // as streams: a session fills its own queue and nobody else's
        drain_ms: 10_000,           // below systemd's TimeoutStopSec of 90 s
        heartbeat_seconds: 300,     // an idle year is 105,000 records, some 60 MiB
        session_journal_bytes_per_hour: 1 << 30, // about 300 calls a second all day long
    };
}

/// One fault of a configuration: which key, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {fault}")]
pub struct Fault {
    /// The key, dotted.
    pub key: &'static str,
    /// What is wrong with it, and what would be right.
    pub fault: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be one.
    #[error("`{}` is larger than {CONFIG_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// Not TOML, a missing or an unknown key, or a value of the wrong type.
    #[error("cannot parse `{}`: {message}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// With line and column.
        message: String,
    },
    /// It parses but cannot hold; every fault is listed.
    #[error("`{}` cannot hold: {}", path.display(), faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "))]
    Unsound {
        /// Which.
        path: PathBuf,
        /// All of them.
        faults: Vec<Fault>,
    },
}

impl Config {
    /// Reads, parses and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], naming every fault at once.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_path_buf(),
            source,
        };
        if std::fs::metadata(path).map_err(unreadable)?.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge {
                path: path.to_path_buf(),
            });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let config: Config = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_path_buf(),
            message: error.to_string(),
        })?;
        match config.check() {
            faults if faults.is_empty() => Ok(config),
            faults => Err(ConfigError::Unsound {
                path: path.to_path_buf(),
                faults,
            }),
        }
    }

    /// Every fault that can be seen without touching the host; empty when there is none.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.check_names(&mut faults);
        self.check_paths(&mut faults);
        self.check_users(&mut faults);
        self.check_numbers(&mut faults);
        faults
    }

    /// The pinned witnesses' keys, where there are any: beside `log_pub`.
    #[must_use]
    pub fn witnesses_pub(&self) -> PathBuf {
        self.log_pub.with_file_name(WITNESSES_PUB)
    }

    /// The operators' socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.run_dir.join("admin.sock")
    }

    /// The shim's socket.
    #[must_use]
    pub fn attach_socket(&self) -> PathBuf {
        self.run_dir.join("attach.sock")
    }

    /// The socket of the agents that run as `uid`.
    #[must_use]
    pub fn agent_socket(&self, uid: u32) -> PathBuf {
        self.run_dir
            .join("agents")
            .join(uid.to_string())
            .join("agent.sock")
    }

    /// The user that an agent with this `run_as` gets; in development always the daemon's own.
    #[must_use]
    pub fn agent_user(&self, run_as: Option<&str>) -> Option<&AgentUser> {
        match self.mode {
            Mode::Development => self.agents.first(),
            Mode::Enforced => {
                let wanted = run_as.or(self.default_run_as.as_deref())?;
                self.agents.iter().find(|agent| agent.user == wanted)
            }
        }
    }

    fn check_names(&self, faults: &mut Vec<Fault>) {
        if !is_stack_name(&self.stack) {
            fault(
                faults,
                "stack",
                format!(
                    "`{}` is not a name of 1 to {STACK_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-`, with a letter or digit first",
                    self.stack
                ),
            );
        }
        let hash = self
            .origin
            .strip_prefix(&format!("faramesh/{}/", self.stack))
            .unwrap_or_default();
        if hash.len() != 8
            || !hash
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            fault(
                faults,
                "origin",
                format!(
                    "`{}` is not `faramesh/{}/` and 8 hex digits",
                    self.origin, self.stack
                ),
            );
        }
        for root in &self.session_cgroup_roots {
            if !root.starts_with('/')
                || root.len() < 2
                || root.ends_with('/')
                || root.split('/').any(|part| part == "..")
            {
                fault(
                    faults,
                    "session_cgroup_roots",
                    format!("`{root}` is not an absolute path below the cgroup root"),
                );
            }
        }
    }

    fn check_paths(&self, faults: &mut Vec<Fault>) {
        let paths = [
            ("policy_dir", &self.policy_dir),
            ("policy_pub", &self.policy_pub),
            ("log_pub", &self.log_pub),
            ("journal_dir", &self.journal_dir),
            ("run_dir", &self.run_dir),
            ("signer_socket", &self.signer_socket),
        ];
        let hidden = self.hidden_paths.iter().map(|path| ("hidden_paths", path));
        for (key, path) in paths.into_iter().chain(hidden) {
            if !path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
                fault(
                    faults,
                    key,
                    format!("`{}` is not an absolute path without `..`", path.display()),
                );
            }
        }
        let longest = self
            .agents
            .iter()
            .map(|agent| self.agent_socket(agent.uid))
            .max_by_key(|path| path.as_os_str().len());
        for (key, path) in [
            ("run_dir", longest.unwrap_or_else(|| self.attach_socket())),
            ("signer_socket", self.signer_socket.clone()),
        ] {
            if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
                fault(
                    faults,
                    key,
                    format!(
                        "`{}` is longer than the {SOCKET_PATH_BYTES_MAX} bytes that a socket's path can have",
                        path.display()
                    ),
                );
            }
        }
    }

    fn check_users(&self, faults: &mut Vec<Fault>) {
        let mut users = BTreeSet::new();
        let mut uids = BTreeSet::new();
        for agent in &self.agents {
            if !users.insert(&agent.user) {
                fault(
                    faults,
                    "agents",
                    format!("the user `{}` is listed twice", agent.user),
                );
            }
            if !uids.insert(agent.uid) {
                fault(
                    faults,
                    "agents",
                    format!("the uid {} is listed twice", agent.uid),
                );
            }
        }
        match self.mode {
            Mode::Enforced => self.check_enforced_users(faults),
            Mode::Development => {
                if self.agents.len() != 1 || self.agents.iter().any(|agent| agent.uid != self.uid) {
                    fault(
                        faults,
                        "agents",
                        format!("in development there is exactly one, uid {}", self.uid),
                    );
                }
            }
        }
    }

    fn check_enforced_users(&self, faults: &mut Vec<Fault>) {
        for (key, uid) in [("uid", self.uid), ("signer_uid", self.signer_uid)] {
            if uid == 0 {
                fault(faults, key, "root cannot be it when enforced".to_owned());
            }
        }
        if self.uid == self.signer_uid {
            fault(
                faults,
                "signer_uid",
                "the signer's user must not be the daemon's when enforced".to_owned(),
            );
        }
        for agent in &self.agents {
            if [0, self.uid, self.signer_uid].contains(&agent.uid) {
                fault(
                    faults,
                    "agents",
                    format!(
                        "`{}` (uid {}) is root, the daemon or the signer",
                        agent.user, agent.uid
                    ),
                );
            }
            if agent.gid == 0 || Some(agent.gid) == self.operators_gid {
                fault(
                    faults,
                    "agents",
                    format!(
                        "`{}` has root's or the operators' group (gid {})",
                        agent.user, agent.gid
                    ),
                );
            }
        }
        if self.operators_gid.is_none() {
            fault(
                faults,
                "operators_gid",
                "must be given when enforced".to_owned(),
            );
        }
        if self.session_cgroup_roots.is_empty() {
            fault(
                faults,
                "session_cgroup_roots",
                "must name at least one when enforced".to_owned(),
            );
        }
        if let Some(user) = &self.default_run_as
            && !self.agents.iter().any(|agent| agent.user == *user)
        {
            fault(
                faults,
                "default_run_as",
                format!("`{user}` is not one of `agents`"),
            );
        }
    }

    fn check_numbers(&self, faults: &mut Vec<Fault>) {
        let (least, most) = SEGMENT_BYTES;
        if !(least..=most).contains(&self.segment_bytes) {
            fault(
                faults,
                "segment_bytes",
                format!("{} is not between {least} and {most}", self.segment_bytes),
            );
        }
        let limits = &self.limits;
        let numbers = [
            ("limits.start_ms_max", limits.start_ms_max),
            ("limits.connections_max", limits.connections_max.into()),
            (
                "limits.connections_per_uid_max",
                limits.connections_per_uid_max.into(),
            ),
            (
                "limits.streams_per_connection_max",
                limits.streams_per_connection_max.into(),
            ),
            ("limits.handshake_ms", limits.handshake_ms),
            ("limits.idle_ms", limits.idle_ms),
            ("limits.request_ms", limits.request_ms),
            ("limits.attach_step_ms", limits.attach_step_ms),
            ("limits.sessions_max", limits.sessions_max.into()),
            (
                "limits.queue_per_session_max",
                limits.queue_per_session_max.into(),
            ),
            ("limits.drain_ms", limits.drain_ms),
        ];
        for (key, number) in numbers {
            if number == 0 || number > u64::from(u32::MAX) {
                fault(
                    faults,
                    key,
                    format!("{number} is not between 1 and {}", u32::MAX),
                );
            }
        }
        if limits.connections_per_uid_max > limits.connections_max {
            fault(
                faults,
                "limits.connections_per_uid_max",
                "is more than `limits.connections_max`".to_owned(),
            );
        }
    }
}

/// Whether `name` can be a stack's: it stands in paths, unit names and the origin.
#[must_use]
pub fn is_stack_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= STACK_BYTES_MAX
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

fn fault(faults: &mut Vec<Fault>, key: &'static str, fault: String) {
    faults.push(Fault { key, fault });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforced() -> Config {
        Config {
            stack: "support-bot".into(),
            origin: "faramesh/support-bot/0123abcd".into(),
            mode: Mode::Enforced,
            uid: 901,
            policy_dir: "/var/lib/faramesh/support-bot/policy".into(),
            policy_pub: "/etc/faramesh/support-bot/policy.pub".into(),
            log_pub: "/etc/faramesh/support-bot/log.pub".into(),
            journal_dir: "/var/lib/faramesh/support-bot/journal".into(),
            run_dir: "/run/faramesh/support-bot".into(),
            signer_socket: "/run/faramesh/support-bot/signer.sock".into(),
            signer_uid: 902,
            operators_gid: Some(903),
            default_run_as: Some("faramesh-agent".into()),
            session_cgroup_roots: vec!["/faramesh-agents.slice".into()],
            hidden_paths: vec!["/var/lib/faramesh".into()],
            segment_bytes: 64 * 1024 * 1024,
            warnings: vec![],
            limits: Limits::STANDARD,
            agents: vec![AgentUser {
                user: "faramesh-agent".into(),
                uid: 904,
                gid: 904,
            }],
        }
    }

    fn keys(config: &Config) -> Vec<&'static str> {
        config.check().into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn a_sound_configuration_survives_its_own_text() {
        let text = toml::to_string(&enforced()).unwrap();
        let back: Config = toml::from_str(&text).unwrap();
        assert_eq!(back, enforced());
        assert_eq!(back.check(), vec![]);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let text = format!(
            "colour = \"red\"\n{}",
            toml::to_string(&enforced()).unwrap()
        );
        let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
        assert!(error.contains("colour"), "{error}");
    }

    #[test]
    fn a_missing_key_is_an_error() {
        let text = toml::to_string(&enforced())
            .unwrap()
            .replace("signer_uid = 902\n", "");
        let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
        assert!(error.contains("signer_uid"), "{error}");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let mut config = enforced();
        config.stack = "../etc".into();
        config.policy_dir = "policy".into();
        config.operators_gid = None;
        config.segment_bytes = 1;
        config.limits.idle_ms = 0;
        assert_eq!(
            keys(&config),
            [
                "stack",
                "origin",
                "policy_dir",
                "operators_gid",
                "segment_bytes",
                "limits.idle_ms"
            ]
        );
    }

    #[test]
    fn enforced_users_must_be_different_ones() {
        let mut config = enforced();
        config.signer_uid = config.uid;
        config.agents.push(AgentUser {
            user: "daemon-again".into(),
            uid: 901,
            gid: 903,
        });
        assert_eq!(keys(&config), ["signer_uid", "agents", "agents"]);
    }

    #[test]
    fn a_run_directory_too_long_for_a_socket_is_a_fault() {
        let mut config = enforced();
        config.run_dir = format!("/{}", "r".repeat(100)).into();
        assert_eq!(keys(&config), ["run_dir"]);
    }

    #[test]
    fn development_has_one_agent_user_its_own() {
        let mut config = enforced();
        config.mode = Mode::Development;
        assert_eq!(keys(&config), ["agents"]);
        config.uid = 904;
        assert_eq!(keys(&config), Vec::<&str>::new());
    }

    #[test]
    fn an_agent_without_run_as_gets_the_default_user_or_none() {
        let mut config = enforced();
        assert_eq!(config.agent_user(None).map(|agent| agent.uid), Some(904));
        assert_eq!(config.agent_user(Some("nobody")), None);
        config.default_run_as = None;
        assert_eq!(config.agent_user(None), None);
    }
}
