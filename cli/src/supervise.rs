//! The parent of signer and daemon where no systemd is.
//!
//! Invariants:
//! - The signer gets a listening socket that this process made, and never the path: neither user can pose as the
//!   other's end. Both children die by SIGTERM when this process dies, however it dies.
//! - One supervisor a stack: it holds the lock `serve.lock` beside the configuration for as long as it lives.
//! - A child that exits 65 or 78 said that a person has to look: nothing is restarted, and we exit with its status. A
//!   daemon that exits 0 was drained: everything stops. Any other end is restarted, after a pause that doubles.
//! - To stop: SIGTERM to the daemon, wait for it, then the signer, so that the last batch still finds its signer.
#![forbid(unsafe_code)]

use crate::accounts;
use crate::client::{self, NoConnection};
use crate::failure::{Failure, exit};
use crate::files;
use crate::layout::{self, Layout};
use crate::output::Output;
use crate::siblings::{self, Sibling};
use crate::sys::{self, Birth, Identity};
use faramesh_daemon::config::Config;
use faramesh_proto::v1::{Phase, StatusReply, StatusRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};
use std::fs::{File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

/// First pause before a restart, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A child that ran so long was healthy: its next pause is the first one again.
const HEALTHY: Duration = Duration::from_secs(10);
/// How often a daemon that starts is asked whether it is READY.
const READY_POLL: Duration = Duration::from_millis(20);
/// Longer than the daemon's own limits for starting and draining, after which it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Both children of a stack, kept alive.
#[derive(Debug)]
pub struct Supervisor {
    children: [Kept; 2],
    sigchld: SignalStream,
    drain: Duration,
    start: Duration,
    admin: PathBuf,
    /// Where the children's messages are, as half a sentence.
    said: String,
    /// Takes descriptor 3, or one above it where 3 is taken: a child's 3 is then never the pipe on which the standard
    /// library reports that exec failed.
    _occupant: File,
    _lock: nix::fcntl::Flock<File>,
}

/// Where the messages of signer and daemon go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Our own stderr.
    Stderr,
    /// A file in the state, where a command of the user's has the terminal.
    File,
}

/// Why the supervisor stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The daemon was drained over its admin socket.
    Drained,
    /// A child wants a person to look.
    Refused {
        /// Which program.
        name: &'static str,
        /// Its status: 65 or 78.
        exit: u8,
    },
}

#[derive(Debug)]
struct Kept {
    what: Sibling,
    program: PathBuf,
    args: Vec<std::ffi::OsString>,
    identity: Option<Identity>,
    listener: Option<UnixListener>,
    log: Option<File>,
    child: Option<Child>,
    began: Instant,
    pause: Duration,
    due: Option<Instant>,
}

impl Supervisor {
    /// Makes the run directories and the signer's socket, and starts both programs. Must be called on a runtime.
    ///
    /// # Errors
    /// Another supervisor or daemon of this stack lives, a program is missing, or the host refuses.
    pub async fn start(
        layout: &Layout,
        config: &Config,
        voice: Voice,
        output: &Output,
    ) -> Result<Supervisor, Failure> {
        let occupant = occupy_descriptor_3()?;
        let lock = lock(layout)?;
        if !matches!(
            client::admin(&layout.admin_socket()).await,
            Err(NoConnection::NotRunning)
        ) {
            return Err(already_running(layout));
        }
        ensure_run_dirs(layout, config)?;
        let listener = bind_signer_socket(layout, config)?;
        let log = match voice {
            Voice::Stderr => None,
            Voice::File => Some(open_log(layout)?),
        };
        let mut supervisor = Supervisor {
            children: [signer(layout, config, listener)?, daemon(layout, config)?],
            sigchld: signal(SignalKind::child())
                .map_err(|e| Failure::internal(format!("cannot watch children: {e}")))?,
            drain: Duration::from_millis(config.limits.drain_ms) + GRACE,
            start: Duration::from_millis(config.limits.start_ms_max) + GRACE,
            admin: layout.admin_socket(),
            said: match &log {
                None => "stand above".to_owned(),
                Some((path, _)) => format!("are in {}", path.display()),
            },
            _occupant: occupant,
            _lock: lock,
        };
        for kept in &mut supervisor.children {
            kept.log = log
                .as_ref()
                .map(|log| log.1.try_clone())
                .transpose()
                .map_err(no_copy)?;
            kept.spawn(output)?;
        }
        Ok(supervisor)
    }

    /// Keeps both alive until the stack ends by itself.
    ///
    /// # Errors
    /// A child cannot be started again.
    pub async fn keep(&mut self, output: &Output) -> Result<Ended, Failure> {
        loop {
            for kept in &mut self.children {
                if let Some(ended) = kept.look(output)? {
                    return Ok(ended);
                }
            }
            let due = self.children.iter().filter_map(|kept| kept.due).min();
            let until = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                _ = self.sigchld.recv() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Waits until the daemon decides, keeping both alive meanwhile. `None`: somebody drained it first.
    ///
    /// # Errors
    /// It ended, or is not READY in the time that it gives itself.
    pub async fn ready(&mut self, output: &Output) -> Result<Option<StatusReply>, Failure> {
        let (admin, limit, said) = (self.admin.clone(), self.start, self.said.clone());
        tokio::select! {
            ended = self.keep(output) => match ended? {
                Ended::Drained => Ok(None),
                Ended::Refused { name, exit } => Err(refused(name, exit, &said)),
            },
            () = tokio::time::sleep(limit) => {
                Err(Failure::unavailable(format!("the daemon is not READY after {} s", limit.as_secs()))
                    .next(format!("its messages {said}")))
            }
            status = until_ready(&admin) => Ok(Some(status)),
        }
    }

    /// The failure that a child's refusal is.
    pub fn refused(&self, name: &str, code: u8) -> Failure {
        refused(name, code, &self.said)
    }

    /// Stops the daemon, then the signer.
    pub async fn stop(&mut self) {
        let limit = self.drain;
        let [signer, daemon] = &mut self.children;
        daemon.stop(&mut self.sigchld, limit).await;
        signer.stop(&mut self.sigchld, GRACE).await;
    }
}

/// See [`Supervisor::refused`].
fn refused(name: &str, code: u8, said: &str) -> Failure {
    let failure = Failure::new(
        code,
        format!("`{name}` stopped with status {code} and is not restarted: its messages {said}"),
    );
    match code {
        exit::DATA => failure.next("see `faramesh audit verify`; nothing on disk was changed"),
        _ => failure.next("mend the set-up, or run `faramesh apply` again"),
    }
}

/// The failure that a second daemon is.
pub fn already_running(layout: &Layout) -> Failure {
    Failure::unavailable(format!("the daemon of `{}` runs already", layout.stack))
        .next("see `faramesh status`; `faramesh stop` ends it")
}

async fn until_ready(admin: &Path) -> StatusReply {
    loop {
        if let Ok(mut client) = client::admin(admin).await
            && let Ok(reply) = client::reply(client.status(StatusRequest {})).await
            && reply.phase() == Phase::Ready
        {
            return reply;
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

impl Kept {
    fn spawn(&mut self, output: &Output) -> Result<(), Failure> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        scrub_environment(&mut command);
        if let Some(log) = &self.log {
            command.stderr(log.try_clone().map_err(no_copy)?);
        }
        let mut birth = Birth {
            identity: self.identity.clone(),
            listener: None,
            dies_with_us: true,
        };
        if let Some(listener) = &self.listener {
            let copy = listener
                .try_clone()
                .map_err(|e| Failure::internal(format!("cannot copy a descriptor: {e}")))?;
            birth.listener = Some(OwnedFd::from(copy));
            command.env("LISTEN_FDS", "1");
        }
        sys::arrange(&mut command, birth);
        let child = command.spawn().map_err(|e| {
            Failure::unavailable(format!("cannot start `{}`: {e}", self.program.display()))
        })?;
        output.aside(format!(
            "faramesh: started {}, pid {}",
            self.what.name(),
            child.id()
        ));
        self.child = Some(child);
        self.began = Instant::now();
        self.due = None;
        Ok(())
    }

    fn look(&mut self, output: &Output) -> Result<Option<Ended>, Failure> {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.child = None;
            if let Some(ended) = self.verdict(status) {
                return Ok(Some(ended));
            }
            if self.began.elapsed() >= HEALTHY {
                self.pause = PAUSE.0;
            }
            self.due = Some(Instant::now() + self.pause);
            output.warn(format!(
                "{} ended ({status}); started again in {} ms",
                self.what.name(),
                self.pause.as_millis()
            ));
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.spawn(output)?;
        }
        Ok(None)
    }

    fn verdict(&self, status: ExitStatus) -> Option<Ended> {
        match (self.what, status.code()) {
            (Sibling::Daemon, Some(0)) => Some(Ended::Drained),
            (_, Some(65)) => Some(Ended::Refused {
                name: self.what.name(),
                exit: exit::DATA,
            }),
            (_, Some(78)) => Some(Ended::Refused {
                name: self.what.name(),
                exit: exit::CONFIGURATION,
            }),
            _ => None,
        }
    }

    async fn stop(&mut self, sigchld: &mut SignalStream, limit: Duration) {
        self.due = None;
        let Some(child) = &mut self.child else { return };
        let pid = i32::try_from(child.id()).map(Pid::from_raw);
        // Our own child that was not waited for: the number cannot be another process's.
        let _ = pid.map(|pid| kill(pid, Signal::SIGTERM));
        let deadline = Instant::now() + limit;
        while matches!(child.try_wait(), Ok(None)) {
            let late = tokio::time::timeout_at(deadline.into(), sigchld.recv())
                .await
                .is_err();
            if late {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        self.child = None;
    }
}

fn signer(layout: &Layout, config: &Config, listener: UnixListener) -> Result<Kept, Failure> {
    let args: Vec<std::ffi::OsString> = vec![
        "--state".into(),
        layout.signer().into(),
        "--stack".into(),
        layout.stack.clone().into(),
        "--peer-uid".into(),
        config.uid.to_string().into(),
    ];
    let mut kept = Kept::new(
        Sibling::Signer,
        args,
        identity(layout, accounts::SIGNER, &[])?,
    )?;
    kept.listener = Some(listener);
    Ok(kept)
}

fn daemon(layout: &Layout, _config: &Config) -> Result<Kept, Failure> {
    let args = vec!["--config".into(), layout.daemon_toml().into()];
    Kept::new(Sibling::Daemon, args, daemon_identity(layout)?)
}

/// Who the daemon runs as; `None` in development.
///
/// # Errors
/// A user or group is missing.
pub(crate) fn daemon_identity(layout: &Layout) -> Result<Option<Identity>, Failure> {
    identity(
        layout,
        accounts::DAEMON,
        &[accounts::OPERATORS, accounts::AUDIT],
    )
}

/// Who the signer runs as; `None` in development.
///
/// # Errors
/// A user or group is missing.
pub(crate) fn signer_identity(layout: &Layout) -> Result<Option<Identity>, Failure> {
    identity(layout, accounts::SIGNER, &[])
}

fn identity(layout: &Layout, user: &str, groups: &[&str]) -> Result<Option<Identity>, Failure> {
    if !layout.is_enforced() {
        return Ok(None);
    }
    let account = accounts::existing_user(user)?;
    let gid = accounts::existing_group(user)?;
    let groups: Result<Vec<Gid>, Failure> = groups
        .iter()
        .map(|name| accounts::existing_group(name))
        .collect();
    Ok(Some(Identity {
        uid: account.uid,
        gid,
        groups: groups?,
    }))
}

impl Kept {
    fn new(
        what: Sibling,
        args: Vec<std::ffi::OsString>,
        identity: Option<Identity>,
    ) -> Result<Kept, Failure> {
        let program = siblings::find(what)?;
        Ok(Kept {
            what,
            program,
            args,
            identity,
            listener: None,
            log: None,
            child: None,
            began: Instant::now(),
            pause: PAUSE.0,
            due: None,
        })
    }
}

/// Leaves a child of ours the few variables that it has a use for: no credential of the operator's reaches it.
pub(crate) fn scrub_environment(command: &mut Command) {
    command.env_clear();
    for name in ["RUST_LOG", "RUST_BACKTRACE", "LANG", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

fn no_copy(error: std::io::Error) -> Failure {
    Failure::internal(format!("cannot copy a descriptor: {error}"))
}

/// Starts a log of its own for one run: what an earlier one said is of no use to this one.
fn open_log(layout: &Layout) -> Result<(PathBuf, File), Failure> {
    let path = layout.daemon_log();
    let file = File::create(&path).map_err(|e| Failure::io("write", &path, &e))?;
    Ok((path, file))
}

fn occupy_descriptor_3() -> Result<File, Failure> {
    let null =
        File::open("/dev/null").map_err(|e| Failure::io("open", Path::new("/dev/null"), &e))?;
    let copy = rustix::io::fcntl_dupfd_cloexec(&null, 3)
        .map_err(|e| Failure::internal(format!("cannot copy a descriptor: {e}")))?;
    Ok(File::from(copy))
}

/// Whether no supervisor of this stack lives.
///
/// # Errors
/// The lock's file cannot be opened.
pub fn is_free(layout: &Layout) -> Result<bool, Failure> {
    match lock(layout) {
        Ok(_) => Ok(true),
        Err(failure) if failure == already_running(layout) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn lock(layout: &Layout) -> Result<nix::fcntl::Flock<File>, Failure> {
    let path = layout.serve_lock();
    // A lock needs no right but to open: whoever may read the file could hold it and keep the daemon from starting.
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(|file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok(file)
        })
        .map_err(|e| Failure::io("open", &path, &e))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(
        |(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => already_running(layout),
            errno => Failure::unavailable(format!("cannot lock `{}`: {errno}", path.display())),
        },
    )
}

/// Makes the run directories with their owners: they do not outlive a boot.
///
/// # Errors
/// One cannot be made.
pub fn ensure_run_dirs(layout: &Layout, config: &Config) -> Result<(), Failure> {
    let enforced = layout.is_enforced();
    for place in layout.run_places() {
        files::ensure_place(&place, enforced)?;
    }
    for agent in &config.agents {
        let dir = layout.agents().join(agent.uid.to_string());
        // The socket gets the agent's group from the directory.
        let owner = enforced.then(|| (Uid::from_raw(config.uid), Gid::from_raw(agent.gid)));
        files::ensure_dir(&dir, if enforced { 0o2750 } else { 0o700 }, owner)?;
    }
    Ok(())
}

/// Gives a development stack a run directory in which sockets fit: the one in its state, or a short one elsewhere that
/// only this user may write, to which the state then points.
///
/// # Errors
/// None can be made, or somebody else owns it.
pub fn settle_run_dir(layout: &mut Layout) -> Result<(), Failure> {
    if layout.is_enforced() {
        return Ok(());
    }
    let uid = Uid::effective();
    let own = layout.dot().join("state").join("run");
    if layout::fits(&own) {
        return files::ensure_dir(&own, 0o700, None);
    }
    // A place outside the stack may have been cleaned away, and made again by somebody else: it is looked at each time.
    let settled = layout.run() != own
        && layout
            .run()
            .parent()
            .is_some_and(|parent| private_dir(parent, uid));
    if settled && private_dir(layout.run(), uid) {
        return Ok(());
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir());
    for candidate in layout::short_run_candidates(&layout.dir, uid, runtime_dir.as_deref()) {
        if private_dir(candidate.parent().unwrap_or(&candidate), uid)
            && private_dir(&candidate, uid)
        {
            let _ = std::fs::remove_file(&own);
            std::os::unix::fs::symlink(&candidate, &own)
                .map_err(|e| Failure::io("link", &own, &e))?;
            *layout = Layout::development(&layout.stack, &layout.dir);
            return Ok(());
        }
    }
    Err(Failure::configuration(format!(
        "the path of `{}` is too long for sockets, and no shorter place is private",
        own.display()
    ))
    .next("move the stack to a directory with a shorter path"))
}

/// Whether a directory is there, is ours, and nobody else may enter it. Made where missing.
fn private_dir(path: &Path, uid: Uid) -> bool {
    let _ = files::ensure_dir(path, 0o700, None);
    std::fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == uid.as_raw() && meta.mode() & 0o077 == 0)
}

fn bind_signer_socket(layout: &Layout, config: &Config) -> Result<UnixListener, Failure> {
    let path = layout.signer_socket();
    // We hold the lock: whoever made this one is dead.
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::io("remove", &path, &e));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(&path).map_err(|e| Failure::io("make the socket", &path, &e))?;
    if layout.is_enforced() {
        std::os::unix::fs::lchown(&path, Some(config.uid), Some(0))
            .map_err(|e| Failure::io("change the owner of", &path, &e))?;
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| Failure::io("change the mode of", &path, &e))?;
    Ok(listener)
}

/// The status with which a command that ran a child ends: its own, or 128 and the signal that killed it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(i32::from(exit::INTERNAL));
    u8::try_from(code & 0xff).unwrap_or(exit::INTERNAL)
}
