//! How a launched process tree becomes a session: the daemon's side of HELLO → BOUND → PROBES → SEALED.
//!
//! Invariants:
//! - Nothing that the shim says is believed where the kernel can be asked: user, groups, capabilities, filter, threads,
//!   cgroup and descent of the confined process are read below /proc while a pidfd holds it.
//! - SEALED is sent after the session's start record is durable, never before; until then its calls are unverified.
//! - The attach connection is the session's life: when it closes, for whatever reason, the session is over, its
//!   connections are closed, and a record says so.
//! - A session does not outlive its daemon. The connection dies with the daemon, the shim then ends its tree, and the
//!   next start writes the missing end records. Re-binding a live tree would mean trusting what nobody watched.
#![forbid(unsafe_code)]

use crate::agent_service::Intake;
use crate::clock::Clock;
use crate::config::{AgentUser, Config, Mode};
use crate::engine::{Engine, Refusal};
use crate::listen::Connections;
use crate::peers::{self, Peer, Process, Unverified};
use crate::sessions::{Sealed, Session, Sessions};
use faramesh_core::call::check_agent_name;
use faramesh_core::decision::Code;
use faramesh_core::policy::artifact::{AgentPolicy, Profile};
use faramesh_core::record::{Body, SessionStart};
use faramesh_proto::frame::{self, ATTACH_BYTES_MAX, PREFIX_BYTES};
use faramesh_proto::v1::attach_message::Kind;
use faramesh_proto::{ATTACH_PROTOCOL, v1};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Attachments on their way to SEALED at once: only root (or, in development, the same user) can make one.
const HANDSHAKES_MAX: usize = 64;
/// Command line in the record, bytes: as the wire says.
const COMMAND_BYTES_MAX: usize = 4 * 1024;
/// Names of removed environment variables in the record, bytes.
const STRIPPED_BYTES_MAX: usize = 16 * 1024;
/// Probes of one session: the shim sends under a hundred.
const PROBES_MAX: usize = 512;
/// Bytes of one probe's layer and answer together.
const PROBE_BYTES_MAX: usize = 1_024;
/// What a layer that could not be had begins its answer with.
const ABSENT: &str = "absent: ";

/// Layers without which no agent starts. A name that ends in a dot stands for every layer below it.
const REQUIRED: [&str; 3] = ["seccomp.", "base.no_new_privs", "base.descriptors"];
/// Required too, except where `agent_enforce_profile = "minimal"` lets Landlock be absent.
const REQUIRED_IN_FULL: [&str; 2] = ["landlock.fs.read", "landlock.fs.write"];
/// Required when enforced: membership is identity.
const REQUIRED_ENFORCED: &str = "cgroup.membership";
/// What was tried here and let through refuses in every profile; a right that this kernel's Landlock lacks does not.
const ABSENT_OR_ENFORCED: &str = "landlock.fs.";

/// The shim's door.
#[derive(Clone)]
pub struct Attach {
    /// Users, paths, limits.
    pub config: Arc<Config>,
    /// Records, and the policy in force.
    pub engine: Engine,
    /// What is live.
    pub sessions: Sessions,
    /// What is closed with a session.
    pub connections: Connections,
    /// Whether anything is taken at all.
    pub intake: Intake,
    /// For `started`.
    pub clock: Arc<dyn Clock>,
    /// Where the v2 hierarchy is mounted.
    pub cgroup2: Option<PathBuf>,
}

impl Attach {
    /// Accepts for ever.
    pub async fn serve(self, listener: UnixListener) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let Ok(place) = handshakes.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let attach = self.clone();
                    tokio::spawn(async move { attach.one(stream, place).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a shim");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Ends a session: its connections close, a record says so. The second time nothing happens.
    pub async fn end(&self, id: &str, reason: &str) {
        let Some(session) = self.sessions.end(id) else {
            return;
        };
        self.connections.close_session(id);
        // A session that was never sealed has no start record, and no end.
        if session.sealed.is_none() {
            return;
        }
        let body = Body::SessionEnd {
            session: id.to_owned(),
            reason: reason.to_owned(),
            calls: session.calls.load(Ordering::Relaxed),
        };
        if let Err(refusal) = self.record(body).await {
            tracing::warn!(session = id, %refusal, "the end of a session is not recorded");
        }
    }

    /// Writes the end of sessions that an earlier run left open: their attach connections died with it.
    pub async fn end_left_over(&self) {
        for (session, calls) in self.engine.left_over() {
            let body = Body::SessionEnd {
                session: session.clone(),
                reason: "daemon restart".to_owned(),
                calls: *calls,
            };
            if let Err(refusal) = self.record(body).await {
                tracing::warn!(session, %refusal, "the end of a session of the last run is not recorded");
            }
        }
    }

    /// One shim, from its first byte to the end of its session.
    async fn one(self, mut stream: UnixStream, place: tokio::sync::OwnedSemaphorePermit) {
        let mut bound = None;
        let sealed = self.handshake(&mut stream, &mut bound).await;
        drop(place);
        let reason = match sealed {
            Ok(()) => until_closed(&mut stream).await,
            Err(refusal) => {
                tracing::info!(%refusal, "a shim was refused");
                let words = v1::Refused {
                    code: refusal.code.as_str().to_owned(),
                    message: refusal.message,
                };
                // It may be gone already; then nobody waits for the words.
                let _ = self.send(&mut stream, Kind::Refused(words)).await;
                "refused"
            }
        };
        if let Some(id) = bound {
            self.end(&id, reason).await;
        }
    }

    async fn handshake(
        &self,
        stream: &mut UnixStream,
        bound: &mut Option<Arc<str>>,
    ) -> Result<(), Refusal> {
        let shim = self.admit(stream)?;
        let Kind::Hello(hello) = self.receive(stream).await? else {
            return Err(out_of_turn("HELLO"));
        };
        let (session, words) = self.bind(&hello, &shim)?;
        *bound = Some(session.id.clone());
        let minimal = words.profile == profile_word(Profile::Minimal);
        self.send(stream, Kind::Bound(words)).await?;
        let Kind::Probes(probes) = self.receive(stream).await? else {
            return Err(out_of_turn("PROBES"));
        };
        let sealed = self.inspect(&session, &shim, probes, minimal)?;
        let confined =
            peers::open_by_number(sealed.process.pid).map_err(|error| unverified(&error))?;
        self.record(Body::SessionStart(Box::new(
            self.start(&session, &hello, &sealed),
        )))
        .await?;
        // The record is durable; the session begins only if both processes lived to see it.
        shim.still_there()
            .and_then(|()| peers::still_there(&confined))
            .map_err(|error| unverified(&error))?;
        self.sessions.seal(&session.id, sealed);
        self.send(stream, Kind::Sealed(v1::Sealed {})).await
    }

    /// Who may attach at all: root when enforced, the same user in development, alone in its process, in no session.
    fn admit(&self, stream: &UnixStream) -> Result<Peer, Refusal> {
        if self.intake.is_closed() {
            return Err(Refusal::new(
                Code::DaemonNotReady,
                "the daemon is draining and starts no more agents",
            ));
        }
        let shim = Peer::of(stream).map_err(|error| unverified(&error))?;
        let allowed = match self.config.mode {
            Mode::Enforced => 0,
            Mode::Development => self.config.uid,
        };
        if shim.uid != allowed {
            return Err(identity(format!(
                "uid {} may not attach, only uid {allowed}",
                shim.uid
            )));
        }
        if self
            .sessions
            .is_inside(&shim)
            .map_err(|error| unverified(&error))?
        {
            return Err(identity(
                "an agent cannot be started from inside a session".to_owned(),
            ));
        }
        if !shim
            .is_single_threaded()
            .map_err(|error| unverified(&error))?
        {
            return Err(identity(
                "the shim has more than one thread: what it confines would not be all of it"
                    .to_owned(),
            ));
        }
        Ok(shim)
    }

    fn bind(&self, hello: &v1::Hello, shim: &Peer) -> Result<(Session, v1::Bound), Refusal> {
        check_hello(hello)?;
        let artifact = self.engine.artifact();
        let agent = find_agent(&artifact.agents, &hello.agent)?;
        let user = self.run_as(agent)?;
        self.check_cgroup(&hello.cgroup, shim)?;
        let session = Session {
            id: new_id()?.into(),
            agent: agent.name.as_str().into(),
            uid: user.uid,
            shim: shim.process,
            cgroup: hello.cgroup.clone(),
            started_wall_ms: self.clock.now().wall_ms,
            sealed: None,
            calls: Arc::default(),
        };
        self.sessions
            .bind(session.clone())
            .map_err(|refused| Refusal::new(Code::Overloaded, refused.to_string()))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let bound = v1::Bound {
            session: session.id.to_string(),
            agent: agent.name.clone(),
            run_as_uid: user.uid,
            run_as_gid: user.gid,
            agent_socket: text(&self.config.agent_socket(user.uid)),
            profile: profile_word(artifact.runtime.profile).to_owned(),
            keep_env: artifact.runtime.keep_env.clone(),
            allowed_sockets: artifact.runtime.allowed_sockets.clone(),
            hidden_paths: self
                .config
                .hidden_paths
                .iter()
                .map(|path| text(path))
                .collect(),
            daemon_pid: std::process::id(),
        };
        Ok((session, bound))
    }

    fn run_as(&self, agent: &AgentPolicy) -> Result<&AgentUser, Refusal> {
        self.config.agent_user(agent.run_as.as_deref()).ok_or_else(|| {
            let user = agent.run_as.as_deref().unwrap_or("(none)");
            identity(format!(
                "agent `{}` runs as `{user}`, which this daemon was not started with: run `faramesh apply`, then restart it",
                agent.name
            ))
        })
    }

    /// The claimed cgroup exists, lies where sessions' cgroups are made, and nobody is in it but the shim.
    fn check_cgroup(&self, cgroup: &str, shim: &Peer) -> Result<(), Refusal> {
        if cgroup.is_empty() {
            return match self.config.mode {
                Mode::Development => Ok(()),
                Mode::Enforced => Err(missing(
                    "the session has no cgroup (v2) of its own: mount cgroup2 on this host"
                        .to_owned(),
                )),
            };
        }
        let path = Path::new(cgroup);
        let plain = path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let below = |root: &String| path.starts_with(root) && path != Path::new(root);
        let allowed = self.config.mode == Mode::Development
            || self.config.session_cgroup_roots.iter().any(below);
        if !plain || !path.is_absolute() || path == Path::new("/") || !allowed {
            return Err(identity(format!(
                "`{}` is not where sessions' cgroups are made",
                cgroup.escape_debug()
            )));
        }
        let others = self
            .cgroup_members(cgroup)?
            .into_iter()
            .filter(|pid| *pid != shim.process.pid)
            .count();
        if others != 0 {
            return Err(identity(format!(
                "{others} processes are in the session's cgroup before it begins"
            )));
        }
        Ok(())
    }

    fn cgroup_members(&self, cgroup: &str) -> Result<Vec<u32>, Refusal> {
        let mount = self
            .cgroup2
            .as_deref()
            .ok_or_else(|| missing("cgroup2 is not mounted on this host".to_owned()))?;
        peers::cgroup_members(mount, cgroup).map_err(|error| unverified(&error))
    }

    /// Compares what the shim says of the confined process with what the kernel says.
    fn inspect(
        &self,
        session: &Session,
        shim: &Peer,
        probes: v1::Probes,
        minimal: bool,
    ) -> Result<Sealed, Refusal> {
        let says = |error: Unverified| unverified(&error);
        let pid = probes.pid;
        let held = peers::open_by_number(pid).map_err(says)?;
        let lineage = peers::lineage(pid).map_err(says)?;
        let status = peers::status(pid).map_err(says)?;
        let threads = peers::threads(pid).map_err(says)?;
        let cgroup = peers::cgroup_of(pid).map_err(says)?.unwrap_or_default();
        peers::still_there(&held).map_err(says)?;
        let process = *lineage
            .first()
            .ok_or_else(|| identity("the confined process has no place".to_owned()))?;
        if process == shim.process || !lineage.contains(&shim.process) {
            return Err(identity(
                "the confined process is not a descendant of the shim".to_owned(),
            ));
        }
        if !session.cgroup.is_empty() {
            if cgroup != session.cgroup {
                return Err(missing(
                    "the confined process is not in the session's cgroup".to_owned(),
                ));
            }
            let family: Vec<u32> = lineage.iter().map(|ancestor| ancestor.pid).collect();
            if self
                .cgroup_members(&session.cgroup)?
                .iter()
                .any(|member| !family.contains(member))
            {
                return Err(identity("a stranger is in the session's cgroup".to_owned()));
            }
        }
        let user = self.user_of(session.uid)?;
        if let Some(wrong) = unconfined(&status, threads, user, self.config.mode) {
            return Err(missing(format!(
                "the kernel shows that the agent's process {wrong}"
            )));
        }
        let probes = check_probes(probes.probes, minimal, self.config.mode)?;
        Ok(Sealed { process, probes })
    }

    fn user_of(&self, uid: u32) -> Result<&AgentUser, Refusal> {
        let user = self.config.agents.iter().find(|user| user.uid == uid);
        user.ok_or_else(|| Refusal::internal("a session runs under a user that is not configured"))
    }

    fn start(&self, session: &Session, hello: &v1::Hello, sealed: &Sealed) -> SessionStart {
        let probes = sealed
            .probes
            .iter()
            .map(|probe| (probe.layer.clone(), probe.enforced, probe.measured.clone()));
        SessionStart {
            session: session.id.to_string(),
            agent: session.agent.to_string(),
            uid: session.uid,
            pid: sealed.process.pid,
            start_ticks: sealed.process.start_ticks,
            boot_id: peers::boot_id(),
            workspace: hello.workspace.clone(),
            cgroup: session.cgroup.clone(),
            command: hello.command.clone(),
            stripped_env: hello.stripped_env.clone(),
            probes: probes.collect(),
        }
    }

    /// Returns when the record is durable.
    async fn record(&self, body: Body) -> Result<(), Refusal> {
        let answer = self.engine.append(body)?;
        let lost = || {
            Err(Refusal::internal(
                "the record was lost before it was durable",
            ))
        };
        answer.await.unwrap_or_else(|_| lost()).map(|_committed| ())
    }

    async fn receive(&self, stream: &mut UnixStream) -> Result<Kind, Refusal> {
        let step = Duration::from_millis(self.config.limits.attach_step_ms);
        let message = tokio::time::timeout(step, read_message(stream)).await;
        message
            .map_err(|_| protocol("the shim's next message did not arrive in time".to_owned()))?
    }

    async fn send(&self, stream: &mut UnixStream, kind: Kind) -> Result<(), Refusal> {
        let message = v1::AttachMessage { kind: Some(kind) };
        let bytes = frame::encode(&message, ATTACH_BYTES_MAX)
            .map_err(|error| Refusal::internal(error.to_string()))?;
        let step = Duration::from_millis(self.config.limits.attach_step_ms);
        match tokio::time::timeout(step, stream.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(protocol(format!("the shim is gone: {error}"))),
            Err(_) => Err(protocol("the shim does not read".to_owned())),
        }
    }
}

async fn read_message(stream: &mut UnixStream) -> Result<Kind, Refusal> {
    let gone = |error: std::io::Error| protocol(format!("the shim is gone: {error}"));
    let broken = |error: frame::Broken| protocol(error.to_string());
    let mut prefix = [0; PREFIX_BYTES];
    stream.read_exact(&mut prefix).await.map_err(gone)?;
    let mut body = vec![0; frame::length(prefix, ATTACH_BYTES_MAX).map_err(broken)?];
    stream.read_exact(&mut body).await.map_err(gone)?;
    let message: v1::AttachMessage = frame::decode(&body).map_err(broken)?;
    message
        .kind
        .ok_or_else(|| protocol("the shim sent an empty message".to_owned()))
}

/// The rest of a session's life. The shim has nothing more to say: a byte is a violation and ends the session too.
async fn until_closed(stream: &mut UnixStream) -> &'static str {
    match stream.read(&mut [0; 1]).await {
        Ok(0) | Err(_) => "attach connection closed",
        Ok(_) => "attach protocol violated",
    }
}

fn check_hello(hello: &v1::Hello) -> Result<(), Refusal> {
    if hello.protocol != ATTACH_PROTOCOL {
        return Err(protocol(format!(
            "the shim speaks protocol {}, this daemon {ATTACH_PROTOCOL}: install both from one release",
            hello.protocol
        )));
    }
    if !hello.agent.is_empty() {
        check_agent_name(&hello.agent).map_err(|error| protocol(format!("agent name: {error}")))?;
    }
    if !Path::new(&hello.workspace).is_absolute() {
        return Err(protocol("the workspace is not an absolute path".to_owned()));
    }
    let command: usize = hello.command.iter().map(|word| word.len() + 1).sum();
    // One byte a word is the separator that a limit on "all of it" forgets.
    if command > COMMAND_BYTES_MAX * 2 {
        return Err(protocol(
            "the command line is longer than what is recorded".to_owned(),
        ));
    }
    let stripped: usize = hello.stripped_env.iter().map(String::len).sum();
    if stripped > STRIPPED_BYTES_MAX {
        return Err(protocol(
            "the names of removed variables are longer than what is recorded".to_owned(),
        ));
    }
    Ok(())
}

/// The named agent; where none is named, the only one.
fn find_agent<'a>(agents: &'a [AgentPolicy], name: &str) -> Result<&'a AgentPolicy, Refusal> {
    if let Some(agent) = agents.iter().find(|agent| agent.name == name) {
        return Ok(agent);
    }
    let known = agents
        .iter()
        .map(|agent| agent.name.as_str())
        .collect::<Vec<_>>()
        .join("`, `");
    match (agents, name) {
        ([only], "") => Ok(only),
        (_, "") => Err(identity(format!(
            "the policy has several agents, say which: `{known}`"
        ))),
        _ => Err(identity(format!(
            "the policy has no agent `{name}`, only `{known}`"
        ))),
    }
}

/// What is wrong with a process that should be confined. In development one user is everything, so that groups and
/// capabilities are not looked at: nothing is claimed of them.
fn unconfined(
    status: &peers::Status,
    threads: usize,
    user: &AgentUser,
    mode: Mode,
) -> Option<String> {
    if status.uids != [user.uid; 4] {
        return Some(format!("runs as {:?} and not as {}", status.uids, user.uid));
    }
    if !status.no_new_privs {
        return Some("may gain privileges".to_owned());
    }
    if status.seccomp != 2 {
        return Some("has no system-call filter".to_owned());
    }
    if threads != 1 || status.threads != 1 {
        return Some(format!("has {threads} threads"));
    }
    if mode == Mode::Development {
        return None;
    }
    if status.gids != [user.gid; 4] {
        return Some(format!(
            "has the groups {:?} and not {}",
            status.gids, user.gid
        ));
    }
    if !status.groups.is_empty() && status.groups != [user.gid] {
        return Some(format!("has the supplementary groups {:?}", status.groups));
    }
    if status.capabilities != [0; 5] {
        return Some(format!(
            "has capabilities (inheritable, permitted, effective, bounding, ambient): {:x?}",
            status.capabilities
        ));
    }
    None
}

/// Required layers were refused what they should be refused; the list is sorted, each layer once.
fn check_probes(
    mut probes: Vec<v1::Probe>,
    minimal: bool,
    mode: Mode,
) -> Result<Vec<v1::Probe>, Refusal> {
    if probes.len() > PROBES_MAX
        || probes
            .iter()
            .any(|probe| probe.layer.len() + probe.measured.len() > PROBE_BYTES_MAX)
    {
        return Err(protocol(
            "the probes are longer than what is recorded".to_owned(),
        ));
    }
    for layer in NOT_BUILT {
        if !probes.iter().any(|probe| probe.layer == layer) {
            probes.push(v1::Probe {
                layer: layer.to_owned(),
                enforced: false,
                measured: format!("{ABSENT}not built yet"),
            });
        }
    }
    probes.sort_by(|left, right| left.layer.cmp(&right.layer));
    if let Some([twice, _]) = probes
        .array_windows()
        .find(|[left, right]| left.layer == right.layer)
    {
        return Err(protocol(format!(
            "the layer `{}` is reported twice",
            twice.layer.escape_debug()
        )));
    }
    for layer in REQUIRED {
        require(&probes, layer)?;
    }
    if !minimal {
        REQUIRED_IN_FULL
            .into_iter()
            .try_for_each(|layer| require(&probes, layer))?;
    }
    if mode == Mode::Enforced {
        require(&probes, REQUIRED_ENFORCED)?;
    }
    let fails = |probe: &&v1::Probe| {
        probe.layer.starts_with(ABSENT_OR_ENFORCED)
            && !probe.enforced
            && !probe.measured.starts_with(ABSENT)
    };
    match probes.iter().find(fails) {
        Some(probe) => Err(not_enforced(probe)),
        None => Ok(probes),
    }
}

/// Tiers that no part of this program provides yet: recorded, so that nobody takes silence for enforcement.
const NOT_BUILT: [&str; 3] = ["namespaces", "listener", "egress"];

fn require(probes: &[v1::Probe], layer: &str) -> Result<(), Refusal> {
    let named = |probe: &&v1::Probe| {
        probe.layer == layer || (layer.ends_with('.') && probe.layer.starts_with(layer))
    };
    let mut of_layer = probes.iter().filter(named).peekable();
    if of_layer.peek().is_none() {
        return Err(missing(format!("`{layer}` was not probed")));
    }
    match of_layer.find(|probe| !probe.enforced) {
        None => Ok(()),
        Some(probe) => Err(not_enforced(probe)),
    }
}

fn not_enforced(probe: &v1::Probe) -> Refusal {
    missing(format!(
        "`{}` is not enforced: {}",
        probe.layer.escape_debug(),
        probe.measured.escape_debug()
    ))
}

const fn profile_word(profile: Profile) -> &'static str {
    match profile {
        Profile::Full => "full",
        Profile::Minimal => "minimal",
    }
}

/// 64 random bits: enough that a thousand sessions a day never meet, short enough to read aloud.
fn new_id() -> Result<String, Refusal> {
    let random =
        getrandom::u64().map_err(|error| Refusal::internal(format!("no randomness: {error}")))?;
    Ok(format!("s{random:016x}"))
}

fn protocol(message: String) -> Refusal {
    Refusal::new(Code::CallInvalid, message)
}

fn out_of_turn(expected: &str) -> Refusal {
    protocol(format!(
        "the shim sent another message where {expected} was its turn"
    ))
}

fn identity(message: String) -> Refusal {
    Refusal::new(Code::IdentityUnverified, message)
}

fn missing(message: String) -> Refusal {
    Refusal::new(Code::EnforcementMissing, message)
}

fn unverified(error: &Unverified) -> Refusal {
    identity(error.to_string())
}

/// The identity of a process, for messages.
impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "process {} (started at tick {})",
            self.pid, self.start_ticks
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> AgentUser {
        AgentUser {
            user: "agent".into(),
            uid: 904,
            gid: 905,
        }
    }

    fn confined() -> peers::Status {
        peers::Status {
            uids: [904; 4],
            gids: [905; 4],
            groups: vec![],
            capabilities: [0; 5],
            no_new_privs: true,
            seccomp: 2,
            threads: 1,
        }
    }

    fn probe(layer: &str, enforced: bool, measured: &str) -> v1::Probe {
        v1::Probe {
            layer: layer.into(),
            enforced,
            measured: measured.into(),
        }
    }

    fn good() -> Vec<v1::Probe> {
        vec![
            probe("base.descriptors", true, "none"),
            probe("base.no_new_privs", true, "1"),
            probe("cgroup.membership", true, "EACCES"),
            probe(
                "landlock.fs.ioctl_dev",
                false,
                "absent: Landlock ABI 4 lacks it",
            ),
            probe("landlock.fs.read", true, "EACCES"),
            probe("landlock.fs.write", true, "EACCES"),
            probe("seccomp.ptrace", true, "EPERM"),
        ]
    }

    fn with(layer: &str, enforced: bool, measured: &str) -> Vec<v1::Probe> {
        let others = good().into_iter().filter(|probe| probe.layer != layer);
        others.chain([probe(layer, enforced, measured)]).collect()
    }

    #[test]
    fn a_confined_process_passes() {
        assert_eq!(unconfined(&confined(), 1, &user(), Mode::Enforced), None);
    }

    #[test]
    fn each_thing_that_the_kernel_shows_wrong_refuses() {
        let cases = [
            peers::Status {
                uids: [904, 904, 0, 904],
                ..confined()
            },
            peers::Status {
                gids: [905, 0, 905, 905],
                ..confined()
            },
            peers::Status {
                groups: vec![27],
                ..confined()
            },
            peers::Status {
                capabilities: [0, 0, 0, 1, 0],
                ..confined()
            },
            peers::Status {
                no_new_privs: false,
                ..confined()
            },
            peers::Status {
                seccomp: 0,
                ..confined()
            },
            peers::Status {
                threads: 2,
                ..confined()
            },
        ];
        for status in cases {
            assert!(
                unconfined(&status, 1, &user(), Mode::Enforced).is_some(),
                "{status:?}"
            );
        }
        assert!(unconfined(&confined(), 2, &user(), Mode::Enforced).is_some());
    }

    #[test]
    fn probes_are_sorted_and_what_is_not_built_is_said_to_be_absent() {
        let probes = check_probes(good(), false, Mode::Enforced).unwrap();
        assert!(probes.is_sorted_by(|left, right| left.layer < right.layer));
        for layer in NOT_BUILT {
            let probe = probes.iter().find(|probe| probe.layer == layer).unwrap();
            assert_eq!(
                (probe.enforced, probe.measured.as_str()),
                (false, "absent: not built yet")
            );
        }
    }

    #[test]
    fn a_required_layer_that_was_not_probed_or_let_something_through_refuses() {
        for layer in [
            "seccomp.ptrace",
            "landlock.fs.read",
            "cgroup.membership",
            "base.descriptors",
        ] {
            let unprobed: Vec<_> = good()
                .into_iter()
                .filter(|probe| probe.layer != layer)
                .collect();
            let refused = check_probes(unprobed, false, Mode::Enforced).unwrap_err();
            assert_eq!(refused.code, Code::EnforcementMissing, "{layer}");
            for minimal in [false, true] {
                let refused = check_probes(with(layer, false, "allowed"), minimal, Mode::Enforced)
                    .unwrap_err();
                assert_eq!(refused.code, Code::EnforcementMissing, "{layer}");
            }
        }
    }

    #[test]
    fn minimal_lets_landlock_be_absent_and_nothing_else() {
        let absent = with(
            "landlock.fs.read",
            false,
            "absent: this kernel has no Landlock",
        );
        assert!(check_probes(absent.clone(), true, Mode::Enforced).is_ok());
        assert!(check_probes(absent, false, Mode::Enforced).is_err());
        assert!(
            check_probes(
                with("seccomp.ptrace", false, "absent: no seccomp"),
                true,
                Mode::Enforced
            )
            .is_err()
        );
    }

    #[test]
    fn one_answer_of_a_filter_that_let_something_through_spoils_all_of_it() {
        let mut probes = good();
        probes.push(probe("seccomp.bpf", false, "allowed"));
        assert!(check_probes(probes, false, Mode::Enforced).is_err());
    }

    #[test]
    fn a_layer_reported_twice_is_refused() {
        let mut twice = good();
        twice.push(probe("seccomp.ptrace", false, "allowed"));
        assert_eq!(
            check_probes(twice, false, Mode::Enforced).unwrap_err().code,
            Code::CallInvalid
        );
    }

    #[test]
    fn a_hello_of_another_protocol_or_with_a_relative_workspace_is_refused() {
        let hello = v1::Hello {
            protocol: ATTACH_PROTOCOL,
            workspace: "/w".into(),
            ..v1::Hello::default()
        };
        assert!(check_hello(&hello).is_ok());
        assert!(
            check_hello(&v1::Hello {
                protocol: 2,
                ..hello.clone()
            })
            .is_err()
        );
        assert!(
            check_hello(&v1::Hello {
                workspace: "w".into(),
                ..hello.clone()
            })
            .is_err()
        );
        assert!(
            check_hello(&v1::Hello {
                agent: "a\u{202e}b".into(),
                ..hello
            })
            .is_err()
        );
    }
}
