//! The daemon's life: STARTING → INITIALIZING → READY → DRAINING → HALT.
//!
//! Invariants:
//! - No socket exists before READY, and none is taken from a live process. Every fault of the configuration is said
//!   before anything is opened.
//! - The process is confined before it reads the journal or starts a thread.
//! - Initialising ends: beyond the window the process exits 69, and whoever started it tries again.
//! - After a fatal error of the engine nothing is answered: the process ends with the code that the error names.
//! - Nothing is reloaded by a signal. SIGTERM and SIGINT drain; SIGHUP is ignored, so that neither a habit nor a closed
//!   terminal stops or changes what is being enforced.
#![forbid(unsafe_code)]

use crate::admin::{Admin, AdminService};
use crate::agent_service::{AgentService, Intake, Who};
use crate::attach::Attach;
use crate::clock::Clock;
use crate::config::{AgentUser, Config, ConfigError, Limits, Mode};
use crate::confine;
use crate::engine::{Engine, Opened, Ports};
use crate::journal::Fatal;
use crate::listen::{self, Admitted, Connections, MESSAGE_BYTES_MAX, SocketError};
use crate::notify::Notify;
use crate::peers::{self, Peer};
use crate::sessions::{Membership, Sessions};
use faramesh_proto::v1;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;

/// Set-group-id on a directory: what is made in it gets its group.
const SETGID: u32 = 0o2000;
/// Time for connections to end by themselves after the drain.
const GOODBYE: Duration = Duration::from_millis(500);

/// Connections on the operators' door: a share of its own, that no agent can fill.
const OPERATOR_CONNECTIONS_MAX: u32 = 128;

/// Why the process ends otherwise than by draining.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Halt {
    /// `sysexits`: 65 data, 69 unavailable (try again), 70 our own fault, 78 configuration.
    pub code: u8,
    /// What happened, and what an operator does next.
    pub message: String,
}

/// 69.
const UNAVAILABLE: u8 = 69;
/// 70.
const INTERNAL: u8 = 70;
/// 78.
const CONFIGURATION: u8 = 78;

impl Halt {
    fn new(code: u8, message: impl Into<String>) -> Halt {
        Halt {
            code,
            message: message.into(),
        }
    }

    fn internal(what: &str, error: &dyn std::fmt::Display) -> Halt {
        Halt::new(INTERNAL, format!("{what}: {error}"))
    }
}

impl From<ConfigError> for Halt {
    fn from(error: ConfigError) -> Halt {
        Halt::new(
            CONFIGURATION,
            format!("{error}; run `faramesh apply` to write it anew"),
        )
    }
}

impl From<SocketError> for Halt {
    fn from(error: SocketError) -> Halt {
        Halt::new(UNAVAILABLE, error.to_string())
    }
}

impl From<Arc<Fatal>> for Halt {
    fn from(fatal: Arc<Fatal>) -> Halt {
        Halt::new(fatal.exit_code(), fatal.to_string())
    }
}

/// Lives, from the configuration to the end.
///
/// # Errors
/// [`Halt`]; its code is the process's.
pub fn run(path: &Path) -> Result<(), Halt> {
    let started = Instant::now();
    abort_on_panic();
    let mut config = Config::load(path)?;
    check_user(&config)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let notify = Notify::from_environment();
    for socket in sockets(&config) {
        listen::refuse_taken(&socket)?;
    }
    confine(&mut config)?;
    let window = Window::open(Duration::from_millis(config.limits.start_ms_max), started);
    tracing::info!(
        stack = config.stack,
        phase = "INITIALIZING",
        "recovering the journal"
    );
    let ports = Ports::real(&config);
    let clock = ports.clock.clone();
    let opened = Opened::open(&config, ports)
        .map_err(|failure| Halt::new(failure.exit_code(), failure.to_string()))?;
    window.set(Duration::from_millis(
        opened.artifact().runtime.cold_start_deny_window_ms,
    ));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Halt::internal("cannot start the runtime", &error))?;
    let ended = runtime.block_on(live(
        Arc::new(config),
        clock,
        opened,
        window,
        &notify,
        started,
    ));
    runtime.shutdown_background();
    ended
}

/// From an engine that can start to one that has stopped.
async fn live(
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    opened: Opened,
    window: Window,
    notify: &Notify,
    started: Instant,
) -> Result<(), Halt> {
    let mut signals = Signals::install()?;
    let engine = opened.start().await?;
    let (phase, watched) = watch::channel(v1::Phase::Initializing);
    let (drain, mut asked) = mpsc::channel(1);
    let doors = Doors::new(
        config.clone(),
        clock,
        engine.clone(),
        Admin {
            config: config.clone(),
            engine: engine.clone(),
            sessions: Sessions::new(config.mode, config.limits.sessions_max),
            phase: watched,
            drain,
            started,
        },
    );
    doors.attach.end_left_over().await;
    doors.open()?;
    window.close();
    phase.send_replace(v1::Phase::Ready);
    notify.ready("deciding");
    tracing::info!(
        stack = config.stack,
        phase = "READY",
        took_ms = started.elapsed().as_millis(),
        "deciding"
    );
    let reason = tokio::select! {
        fatal = engine.fatal() => return Err(fatal.into()),
        reason = signals.stop() => reason,
        reason = asked.recv() => reason.unwrap_or("drain"),
        () = watchdog(&engine, notify) => "watchdog",
    };
    phase.send_replace(v1::Phase::Draining);
    notify.stopping();
    tracing::info!(
        stack = config.stack,
        phase = "DRAINING",
        reason,
        "no more calls are taken"
    );
    doors.drain(reason).await?;
    phase.send_replace(v1::Phase::Halt);
    tracing::info!(stack = config.stack, phase = "HALT", "stopped");
    Ok(())
}

/// What is open to the outside.
struct Doors {
    config: Arc<Config>,
    engine: Engine,
    connections: Connections,
    operators: Connections,
    intake: Intake,
    admin: Admin,
    attach: Attach,
}

impl Doors {
    fn new(config: Arc<Config>, clock: Arc<dyn Clock>, engine: Engine, admin: Admin) -> Doors {
        let counter = engine.clone();
        let dropped: listen::CountDropped =
            Arc::new(move |session, code| counter.dropped(session, code));
        let connections = Connections::new(config.limits.clone(), dropped.clone());
        let share = Limits {
            connections_max: OPERATOR_CONNECTIONS_MAX,
            connections_per_uid_max: OPERATOR_CONNECTIONS_MAX,
            ..config.limits.clone()
        };
        let operators = Connections::new(share, dropped);
        let intake = Intake::default();
        let attach = Attach {
            config: config.clone(),
            engine: engine.clone(),
            sessions: admin.sessions.clone(),
            connections: connections.clone(),
            intake: intake.clone(),
            clock,
            cgroup2: peers::cgroup2_mount(),
        };
        Doors {
            config,
            engine,
            connections,
            operators,
            intake,
            admin,
            attach,
        }
    }

    /// Makes every socket, then serves them. The last that is made is the operators', whose presence says READY.
    fn open(&self) -> Result<(), Halt> {
        let mut agents = Vec::new();
        for user in &self.config.agents {
            agents.push(self.agent_socket(user)?);
        }
        let attach = listen::bind(&self.config.attach_socket(), 0o600, None)?;
        let (mode, gid) = match self.config.mode {
            Mode::Enforced => (0o660, self.config.operators_gid),
            Mode::Development => (0o600, None),
        };
        let admin = listen::bind(&self.config.admin_socket(), mode, gid)?;
        for listener in agents {
            let gate = AgentGate {
                engine: self.engine.clone(),
                intake: self.intake.clone(),
                sessions: self.admin.sessions.clone(),
                mode: self.config.mode,
                own_uid: self.config.uid,
            };
            tokio::spawn(
                self.connections
                    .clone()
                    .serve(listener, move |stream| Some(gate.admit(stream))),
            );
        }
        tokio::spawn(self.attach.clone().serve(attach));
        tokio::spawn(
            self.operators
                .clone()
                .serve(admin, operator_gate(self.admin.clone())),
        );
        tokio::spawn(self.connections.clone().sweep());
        tokio::spawn(self.operators.clone().sweep());
        Ok(())
    }

    fn agent_socket(&self, user: &AgentUser) -> Result<UnixListener, Halt> {
        let path = self.config.agent_socket(user.uid);
        match self.config.mode {
            Mode::Enforced => {
                check_agent_directory(&path, user)?;
                Ok(listen::bind(&path, 0o660, None)?)
            }
            Mode::Development => {
                let directory = path.parent().unwrap_or(&self.config.run_dir);
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(directory)
                    .map_err(|error| {
                        Halt::new(
                            CONFIGURATION,
                            format!("cannot make `{}`: {error}", directory.display()),
                        )
                    })?;
                Ok(listen::bind(&path, 0o600, None)?)
            }
        }
    }

    /// Calls that arrive are `DAEMON_NOT_READY`; those that are queued are answered; sessions end; the journal ends.
    async fn drain(&self, reason: &str) -> Result<(), Halt> {
        self.intake.close();
        let finished = async {
            self.intake.empty().await;
            for session in self.admin.sessions.list() {
                self.attach.end(&session.id, "daemon stops").await;
            }
            self.engine.drain(reason).await;
        };
        let limit = Duration::from_millis(self.config.limits.drain_ms);
        tokio::select! {
            drained = tokio::time::timeout(limit, finished) => drained.map_err(|_| {
                Halt::new(UNAVAILABLE, format!("what was queued was not durable within {} ms: the disk or the signer stands still", limit.as_millis()))
            })?,
            fatal = self.engine.fatal() => return Err(fatal.into()),
        }
        self.connections.end_all();
        self.operators.end_all();
        let goodbye = async {
            while self.connections.count() + self.operators.count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Whoever does not hear it is cut off by our end.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        for socket in sockets(&self.config) {
            // One that is left behind answers nobody and is replaced by the next start.
            let _ = std::fs::remove_file(socket);
        }
        Ok(())
    }
}

/// Who comes in by an agent's socket. Everybody does: whoever is not vouched for is told so on each call.
struct AgentGate {
    engine: Engine,
    intake: Intake,
    sessions: Sessions,
    mode: Mode,
    own_uid: u32,
}

impl AgentGate {
    fn admit(&self, stream: &UnixStream) -> Admitted {
        let (uid, who) = self.who(stream);
        let session = match &who {
            Who::Member { session, .. } => Some(session.to_string()),
            Who::Unattested { .. } | Who::Unverified(_) => None,
        };
        let service = AgentService::new(self.engine.clone(), self.intake.clone(), who);
        let server = v1::agent_server::AgentServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Admitted {
            uid,
            session,
            routes: Routes::new(server),
        }
    }

    fn who(&self, stream: &UnixStream) -> (u32, Who) {
        // A peer that nobody vouches for shares one place with all others like it.
        let unverified =
            |error: &dyn std::fmt::Display| (u32::MAX, Who::Unverified(error.to_string()));
        let peer = match Peer::of(stream) {
            Ok(peer) => peer,
            Err(error) => return unverified(&error),
        };
        let who = match self.sessions.of(&peer) {
            Err(error) => return unverified(&error),
            Ok(Membership::Member(session)) => Who::member(&session),
            Ok(Membership::Unsealed(id)) => Who::Unverified(format!(
                "session `{id}` is not sealed, or this is not its user"
            )),
            Ok(Membership::Outside)
                if self.mode == Mode::Development && peer.uid == self.own_uid =>
            {
                Who::Unattested { uid: peer.uid }
            }
            Ok(Membership::Outside) => Who::Unverified(
                "the caller is in no session: start it with `.faramesh/bin/agent -- …`".to_owned(),
            ),
        };
        (peer.uid, who)
    }
}

fn operator_gate(admin: Admin) -> impl Fn(&UnixStream) -> Option<Admitted> {
    move |stream| match admin.admit(stream) {
        Ok(uid) => {
            let service = AdminService::new(admin.clone(), uid);
            let server = v1::admin_server::AdminServer::new(service)
                .max_decoding_message_size(MESSAGE_BYTES_MAX);
            Some(Admitted {
                uid,
                session: None,
                routes: Routes::new(server),
            })
        }
        Err(error) => {
            tracing::warn!(%error, "refused at the operators' door");
            None
        }
    }
}

fn sockets(config: &Config) -> Vec<PathBuf> {
    let agents = config
        .agents
        .iter()
        .map(|user| config.agent_socket(user.uid));
    agents
        .chain([config.attach_socket(), config.admin_socket()])
        .collect()
}

/// A wrong user would leave files that the right one cannot open.
fn check_user(config: &Config) -> Result<(), Halt> {
    let uid = rustix::process::geteuid().as_raw();
    if uid == config.uid {
        return Ok(());
    }
    Err(Halt::new(
        CONFIGURATION,
        format!(
            "runs as uid {uid}, `daemon.toml` says {}: start it with `faramesh serve` or its unit",
            config.uid
        ),
    ))
}

/// Root makes it with the agent's group, so that this agent and no other can reach its socket.
fn check_agent_directory(socket: &Path, user: &AgentUser) -> Result<(), Halt> {
    let directory = socket.parent().unwrap_or(socket);
    let wrong = |what: String| {
        Halt::new(
            CONFIGURATION,
            format!(
                "`{}` {what}: `faramesh serve` or `systemd-tmpfiles` makes it as root",
                directory.display()
            ),
        )
    };
    let metadata =
        std::fs::metadata(directory).map_err(|error| wrong(format!("cannot be used: {error}")))?;
    if metadata.gid() != user.gid || metadata.mode() & SETGID == 0 || metadata.mode() & 0o007 != 0 {
        return Err(wrong(format!(
            "is not set-group-id with group {} and closed to others",
            user.gid
        )));
    }
    Ok(())
}

/// Fatal when enforced; in development said loudly, and part of the start record.
fn confine(config: &mut Config) -> Result<(), Halt> {
    if config.mode == Mode::Development
        && !config
            .warnings
            .iter()
            .any(|warning| warning.starts_with("development"))
    {
        config.warnings.insert(
            0,
            "development: any process of this user can be any agent".to_owned(),
        );
    }
    match (confine::enter(config), config.mode) {
        (Ok(()), _) => Ok(()),
        (Err(error), Mode::Enforced) => Err(Halt::new(
            CONFIGURATION,
            format!("the daemon cannot confine itself: {error}"),
        )),
        (Err(error), Mode::Development) => {
            tracing::warn!(%error, "the daemon could not confine itself");
            config
                .warnings
                .push(format!("the daemon is not confined: {error}"));
            Ok(())
        }
    }
}

/// Half of our invariants would be gone after a panic: nothing runs on. What was answered is durable.
fn abort_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}

/// Tells systemd that we are alive, but only while decisions are taken and made durable. Never returns.
async fn watchdog(engine: &Engine, notify: &Notify) {
    let Some(interval) = notify.interval() else {
        return std::future::pending().await;
    };
    loop {
        let progress = engine.progress();
        if progress.sequencer_stuck < interval && progress.journal_stuck < interval {
            notify.alive();
        } else {
            tracing::error!(
                ?progress,
                "no progress: systemd is not told that we are alive"
            );
        }
        tokio::time::sleep(interval / 2).await;
    }
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> Result<Signals, Halt> {
        let install =
            |kind| signal(kind).map_err(|error| Halt::internal("cannot handle signals", &error));
        Ok(Signals {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => tracing::info!("SIGHUP is ignored: a policy comes into force by `faramesh apply` alone"),
            }
        }
    }
}

/// How long the daemon may take until it is READY. Its thread ends the process, because the one that initialises may
/// be stuck in a read.
struct Window(Arc<WindowState>);

struct WindowState {
    started: Instant,
    /// `None`: READY was reached.
    allowed: Mutex<Option<Duration>>,
    changed: Condvar,
}

impl Window {
    fn open(allowed: Duration, started: Instant) -> Window {
        let state = Arc::new(WindowState {
            started,
            allowed: Mutex::new(Some(allowed)),
            changed: Condvar::new(),
        });
        let watched = state.clone();
        std::thread::spawn(move || watched.watch());
        Window(state)
    }

    fn set(&self, allowed: Duration) {
        self.0.change(Some(allowed));
    }

    fn close(self) {
        self.0.change(None);
    }
}

impl WindowState {
    fn change(&self, to: Option<Duration>) {
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }

    fn watch(&self) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(window) = *allowed {
            let Some(left) = window
                .checked_sub(self.started.elapsed())
                .filter(|left| !left.is_zero())
            else {
                let ms = window.as_millis();
                tracing::error!(
                    "not READY within {ms} ms (`cold_start_deny_window`): is the signer running, is the disk slow? exiting to be started again"
                );
                std::process::exit(UNAVAILABLE.into());
            };
            allowed = self
                .changed
                .wait_timeout(allowed, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
