//! What the agent's process does to itself before it executes the command, in an order that matters:
//!
//! 1. while still root: its cgroup, descriptors, capabilities' bounding set, groups, uid;
//! 2. as the agent's user: `no_new_privs`, death with its keeper, the first round of attempts;
//! 3. Landlock, and a second round for it; seccomp last, because it would refuse the attempts for Landlock;
//! 4. the rows go to the daemon; nothing is executed before its SEALED, nor when a required row is not enforced.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use faramesh_proto::frame::{self, ATTACH_BYTES_MAX};
use faramesh_proto::v1::attach_message::Kind;
use faramesh_proto::v1::{AttachMessage, Bound, Probe, Probes, Refused, Sealed};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid, getpid, getppid, setgroups, setresgid, setresuid, setsid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::args::Options;
use crate::cgroup::Cgroup;
use crate::environment::{Granted, Sorted};
use crate::family::Starter;
use crate::landlock_rules::{self, Reach, Rights};
use crate::probe::{self, Attempts};
use crate::seccomp::Filters;
use crate::{Failure, attach, say, sys};

/// The killer of last resort takes an agent before the daemon: half of the scale above an ordinary process.
const OOM_SCORE: &str = "500";

/// Exit statuses of shells for a command that is not there, and one that cannot be executed.
const NOT_FOUND: u8 = 127;
/// See [`NOT_FOUND`].
const NOT_EXECUTABLE: u8 = 126;

/// How long the daemon's word may take to come through the shim.
const WORD_TIMEOUT: Duration = Duration::from_secs(120);

/// Everything about one session, decided before the first fork.
#[derive(Debug)]
pub struct Plan {
    /// Who started the shim.
    pub starter: Starter,
    /// The session's cgroup, or its absence.
    pub cgroup: Cgroup,
    /// The user of the staying processes; none where they stay as they are.
    pub keeper: Option<(Uid, Gid)>,
    uid: Uid,
    gid: Gid,
    agent: String,
    session: String,
    minimal: bool,
    daemon_pid: u32,
    workspace: PathBuf,
    read: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
    sockets: Vec<PathBuf>,
    chdir: Option<PathBuf>,
    command: Vec<std::ffi::OsString>,
    environment: Granted,
}

impl Plan {
    /// Puts together what was asked for, what the daemon said, and what the host has.
    ///
    /// # Errors
    /// 77 where the daemon wants a user that this starter cannot become; 78 where the host is not set up.
    pub fn new(
        starter: Starter,
        options: Options,
        environment: Sorted,
        cgroup: Cgroup,
        bound: Bound,
    ) -> Result<Self, Failure> {
        let (uid, gid) = (
            Uid::from_raw(bound.run_as_uid),
            Gid::from_raw(bound.run_as_gid),
        );
        if !starter.is_root() && uid != starter.uid {
            return Err(Failure::new(
                Failure::REFUSED,
                format!(
                    "the policy runs this agent as uid {uid}: start it with `.faramesh/bin/agent`, as root or through systemd"
                ),
            ));
        }
        let keeper = if starter.changes_to(uid) {
            Some(keeper(&options.keeper, uid)?)
        } else {
            None
        };
        if let (Some(_), Some(why)) = (keeper, cgroup.absence()) {
            return Err(Failure::new(
                Failure::CONFIGURATION,
                format!("the session needs a cgroup of its own: {why}"),
            ));
        }
        let minimal = match bound.profile.as_str() {
            "full" => false,
            "minimal" => true,
            other => {
                return Err(Failure::new(
                    Failure::INTERNAL,
                    format!("the daemon names an unknown profile `{other}`"),
                ));
            }
        };
        let workspace = fs::canonicalize(&options.workspace).map_err(|cause| {
            let hint = if cause.kind() == io::ErrorKind::NotFound {
                "; make it and give it to the agent's user, or name another with --workspace"
            } else {
                ""
            };
            Failure::new(
                Failure::CONFIGURATION,
                format!(
                    "the workspace `{}` cannot be used: {cause}{hint}",
                    options.workspace.display()
                ),
            )
        })?;
        let temporary = workspace.join(".tmp");
        let set: [(&str, &OsStr); 5] = [
            ("FARAMESH_SOCKET", bound.agent_socket.as_ref()),
            ("FARAMESH_AGENT_ID", bound.agent.as_ref()),
            ("FARAMESH_WORKSPACE", workspace.as_os_str()),
            ("HOME", workspace.as_os_str()),
            ("TMPDIR", temporary.as_os_str()),
        ];
        let environment = environment.grant(&bound.keep_env, &set);
        let real = |path: String| fs::canonicalize(&path).unwrap_or_else(|_| PathBuf::from(path));
        let sockets = bound
            .allowed_sockets
            .into_iter()
            .chain([bound.agent_socket.clone()])
            .map(PathBuf::from)
            .collect();
        Ok(Self {
            starter,
            cgroup,
            keeper,
            uid,
            gid,
            agent: bound.agent,
            session: bound.session,
            minimal,
            daemon_pid: bound.daemon_pid,
            workspace,
            read: options.read,
            hidden: bound.hidden_paths.into_iter().map(real).collect(),
            sockets,
            chdir: options.chdir,
            command: options.command,
            environment,
        })
    }

    /// Tells the person at the terminal what the agent does not get, and what this way of starting cannot do.
    pub fn announce(&self) {
        say(&format!(
            "session {} of agent `{}`",
            self.session, self.agent
        ));
        let removed = self.environment.removed.len();
        if removed > 0 {
            say(&format!(
                "removed from the environment: {removed} variable{}{}; the session's record names each",
                if removed == 1 { "" } else { "s" },
                likely(&self.environment.credentials)
            ));
        }
        if !self.environment.exposed.is_empty() {
            say(&format!(
                "look like credentials and are kept by the policy: {}",
                self.environment.exposed.join(" ")
            ));
        }
        if self.keeper.is_none() {
            say(
                "development: the agent runs as your own user; other processes of this user are not kept from it or it from them by uid",
            );
        }
        if self.uid.is_root() {
            say(
                "development: the agent runs as root, without capabilities; set `run_as` in the policy for a user of its own",
            );
        }
        if self.minimal {
            say("profile `minimal`: the agent may run without Landlock; P2 and P5 are not claimed");
        }
    }
}

/// The few names worth reading among those that were removed.
fn likely(credentials: &[String]) -> String {
    match credentials {
        [] => String::new(),
        [one] => format!(", and {one} looks like a credential"),
        some => format!(", and these look like credentials: {}", some.join(" ")),
    }
}

fn keeper(name: &str, agent: Uid) -> Result<(Uid, Gid), Failure> {
    let found = match name.parse::<u32>() {
        Ok(number) => Some((Uid::from_raw(number), Gid::from_raw(number))),
        Err(_) => nix::unistd::User::from_name(name)
            .ok()
            .flatten()
            .map(|user| (user.uid, user.gid)),
    };
    match found {
        Some((uid, _)) if uid == agent || uid.is_root() => Err(Failure::new(
            Failure::CONFIGURATION,
            format!("the staying processes cannot run as `{name}`: it is the agent's user or root"),
        )),
        Some(found) => Ok(found),
        None => Err(Failure::new(
            Failure::CONFIGURATION,
            format!(
                "the user `{name}` for the staying processes does not exist: `faramesh serve` as root or the package's sysusers file makes it"
            ),
        )),
    }
}

/// The agent's process, from fork to exec. `shim` carries the rows there and the word back; it closes on exec.
pub fn become_agent(plan: &Plan, mut shim: UnixStream, keeper: Pid) -> ! {
    let status =
        match confine(plan, &shim, keeper).and_then(|rows| await_word(plan, &mut shim, rows)) {
            Ok(()) => execute(plan),
            Err(failure) => failure,
        };
    let refused = Refused {
        code: status.status.to_string(),
        message: status.message,
    };
    let _ = frame::write(
        &mut shim,
        &AttachMessage {
            kind: Some(Kind::Refused(refused)),
        },
        ATTACH_BYTES_MAX,
    );
    sys::exit(status.status.into())
}

/// Processes and threads of an agent's user: a build or a browser takes some hundreds.
const PROCESSES_MAX: u64 = 4096;

/// Steps 1 to 3.
fn confine(plan: &Plan, shim: &UnixStream, keeper: Pid) -> Result<Vec<Probe>, Failure> {
    plan.cgroup
        .join()
        .map_err(|cause| broken("join the session's cgroup", cause))?;
    sys::close_all_but(shim.as_raw_fd())
        .map_err(|cause| broken("close inherited descriptors", cause))?;
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|cause| broken("forbid core dumps", cause))?;
    umask(Mode::from_bits_truncate(0o077));
    if fs::File::open("/dev/tty").is_err() {
        // Without a terminal there is nobody's job control to join: signals come through the shim alone.
        setsid().map_err(|cause| broken("start a session", cause))?;
    }
    let filters = Filters::build().map_err(|cause| Failure::new(Failure::INTERNAL, cause))?;
    drop_privileges(plan)?;
    die_with(keeper)?;
    let _ = fs::DirBuilder::new().create(plan.workspace.join(".tmp"));
    if let Some(directory) = &plan.chdir {
        std::env::set_current_dir(directory).map_err(|cause| {
            Failure::new(
                Failure::CONFIGURATION,
                format!("cannot work in `{}`: {cause}", directory.display()),
            )
        })?;
    }

    let outsider = Outsider::fork()?;
    let rights = Rights::of_this_host();
    let attempts = Attempts::prepare(rights, &plan.hidden, plan.daemon_pid, outsider.pid);
    let before = attempts.try_all();
    let files = if rights.abi > 0 {
        let reach = Reach {
            workspace: &plan.workspace,
            read: &plan.read,
            hidden: &plan.hidden,
            sockets: &plan.sockets,
        };
        landlock_rules::restrict(rights, &reach)
            .map_err(|cause| Failure::new(Failure::CONFIGURATION, cause))?;
        Some(attempts.try_files())
    } else {
        None
    };
    filters
        .load()
        .map_err(|cause| Failure::new(Failure::INTERNAL, cause))?;
    let calls = attempts.try_calls();

    let mut rows = attempts.compare(&before, files.as_ref(), &calls);
    drop(attempts);
    outsider.end();
    rows.extend(probe::status_rows(plan.uid.as_raw(), plan.gid.as_raw()));
    rows.push(probe::descriptor_row());
    rows.extend(plan.cgroup.probes());
    rows.extend(probe::absent_rows());
    Ok(rows)
}

/// Step 4: the rows go out, the word comes back.
fn await_word(plan: &Plan, shim: &mut UnixStream, rows: Vec<Probe>) -> Result<(), Failure> {
    let missing = missing_layers(&rows, plan.minimal);
    let pid = u32::try_from(getpid().as_raw()).unwrap_or_default();
    attach::send(shim, Kind::Probes(Probes { pid, probes: rows }))?;
    let timed = shim.set_read_timeout(Some(WORD_TIMEOUT));
    timed.map_err(|cause| broken("set a timeout", cause))?;
    match attach::receive(shim)? {
        Kind::Sealed(Sealed {}) if missing.is_empty() => Ok(()),
        Kind::Sealed(Sealed {}) => Err(Failure::new(
            Failure::REFUSED,
            format!(
                "ENFORCEMENT_MISSING: this host does not enforce {}",
                missing.join(", ")
            ),
        )),
        other => Err(attach::unexpected(&other)),
    }
}

/// The layers without which there is no session, whatever the daemon says.
fn missing_layers(rows: &[Probe], minimal: bool) -> Vec<String> {
    let required = |layer: &str| match layer {
        "base.no_new_privs"
        | "base.descriptors"
        | "base.one_thread"
        | "base.uid"
        | "base.capabilities.permitted" => true,
        "landlock" | "landlock.fs.read" | "landlock.fs.write" => !minimal,
        _ => layer.starts_with("seccomp."),
    };
    let missing = rows
        .iter()
        .filter(|row| !row.enforced && required(&row.layer));
    missing
        .map(|row| format!("{} ({})", row.layer, row.measured))
        .collect()
}

/// Becomes the command. Returns only where it cannot be executed.
fn execute(plan: &Plan) -> Failure {
    let Some((program, arguments)) = plan.command.split_first() else {
        return Failure::new(Failure::INTERNAL, "there is no command");
    };
    // The staying processes block signals for themselves; the agent starts with none blocked.
    let _ = SigSet::empty().thread_set_mask();
    let variables = plan
        .environment
        .variables
        .iter()
        .map(|(name, value)| (name, value));
    let cause = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables)
        .exec();
    let status = if cause.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    };
    let program = Path::new(program).display();
    let hint = if cause.kind() == io::ErrorKind::PermissionDenied {
        "; an agent executes what lies in /usr, /bin, /sbin, /lib*, /etc, /opt, the stack or the workspace, and what --read names"
    } else {
        ""
    };
    Failure::new(status, format!("cannot execute `{program}`: {cause}{hint}"))
}

/// Groups, bounding set, uid, the other capability sets; then nothing can be gained by an exec.
fn drop_privileges(plan: &Plan) -> Result<(), Failure> {
    if plan.starter.is_root() {
        sys::drop_bounding_set()
            .map_err(|cause| broken("empty the capability bounding set", cause))?;
        if plan.uid.as_raw() != 0 {
            // The only bound on a fork bomb where no cgroup controller is. It counts every process of the user, so an
            // agent's user should be the agent's alone.
            setrlimit(Resource::RLIMIT_NPROC, PROCESSES_MAX, PROCESSES_MAX)
                .map_err(|cause| broken("limit the number of processes", cause))?;
        }
        setgroups(&[]).map_err(|cause| broken("drop the supplementary groups", cause))?;
        setresgid(plan.gid, plan.gid, plan.gid)
            .map_err(|cause| broken("take the agent's group", cause))?;
        setresuid(plan.uid, plan.uid, plan.uid)
            .map_err(|cause| broken("take the agent's user", cause))?;
    }
    rustix::thread::clear_ambient_capability_set()
        .map_err(|cause| broken("clear the ambient set", cause))?;
    set_capabilities(CapabilitySet::empty())?;
    nix::sys::prctl::set_no_new_privs().map_err(|cause| broken("set no_new_privs", cause))
}

/// Exactly these capabilities, none of them inheritable.
pub(crate) fn set_capabilities(only: CapabilitySet) -> Result<(), Failure> {
    let sets = CapabilitySets {
        effective: only,
        permitted: only,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
        .map_err(|cause| broken("set the capabilities", cause))
}

/// Asks to be killed when the keeper dies. After the change of user, which clears the wish; and the keeper may have
/// died before it was made.
fn die_with(keeper: Pid) -> Result<(), Failure> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|cause| broken("ask for death with the keeper", cause))?;
    if getppid() == keeper {
        Ok(())
    } else {
        Err(Failure::new(Failure::INTERNAL, "the keeper died"))
    }
}

fn broken(what: &str, cause: impl std::fmt::Display) -> Failure {
    Failure::new(Failure::INTERNAL, format!("cannot {what}: {cause}"))
}

/// A process of the agent's user outside the confinement: somebody to be refused a signal to. Gone before the rows
/// are sent, because it is what no process of this user may be.
struct Outsider {
    pid: Pid,
    leash: io::PipeWriter,
}

impl Outsider {
    fn fork() -> Result<Self, Failure> {
        let (mut held, leash) = io::pipe().map_err(|cause| broken("make a pipe", cause))?;
        match sys::fork().map_err(|cause| broken("fork", cause))? {
            Some(pid) => Ok(Self { pid, leash }),
            None => {
                drop(leash);
                let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
                let _ = held.read(&mut [0]); // returns when the leash is dropped, or its holder dies
                sys::exit(0)
            }
        }
    }

    fn end(self) {
        drop(self.leash);
        let _ = waitpid(self.pid, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(layers: &[(&str, bool)]) -> Vec<Probe> {
        layers
            .iter()
            .map(|(layer, enforced)| probe::row(layer, *enforced, "x"))
            .collect()
    }

    #[test]
    fn a_session_needs_seccomp_whatever_the_profile() {
        for minimal in [true, false] {
            assert_eq!(
                missing_layers(&rows(&[("seccomp.ptrace", false)]), minimal),
                ["seccomp.ptrace (x)"]
            );
        }
    }

    #[test]
    fn only_the_minimal_profile_may_lack_landlock() {
        let without = rows(&[("landlock", false), ("seccomp.mode", true)]);
        assert_eq!(missing_layers(&without, false), ["landlock (x)"]);
        assert!(missing_layers(&without, true).is_empty());
    }

    #[test]
    fn a_layer_that_this_host_cannot_have_is_not_required() {
        let rows = rows(&[
            ("namespaces", false),
            ("landlock.unix.path", false),
            ("cgroup.memory", false),
        ]);
        assert!(missing_layers(&rows, false).is_empty());
    }
}
