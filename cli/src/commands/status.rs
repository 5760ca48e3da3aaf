//! `faramesh status`: whether the daemon decides, from which policy, and what somebody should look at.
#![forbid(unsafe_code)]

use crate::args::Global;
use crate::client::{self, NoConnection};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_proto::v1::{Phase, StatusReply, StatusRequest};
use serde::Serialize;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// What `apply` and `status` say of a policy that does not enforce.
pub const SHADOW: &str = "SHADOW: calls proceed whatever the rules say, and only `deny!` denies; the journal says what would have been";

/// Exit statuses of this command.
mod code {
    pub(super) const READY: u8 = 0;
    pub(super) const NOT_RUNNING: u8 = 1;
    pub(super) const STARTING: u8 = 2;
    pub(super) const DEGRADED: u8 = 3;
}

#[derive(Debug, Serialize)]
struct Report {
    state: &'static str,
    stack: Option<String>,
    mode: Option<&'static str>,
    /// Development only: where this user's agents ask.
    agent_socket: Option<PathBuf>,
    daemon: Option<Daemon>,
}

#[derive(Debug, Serialize)]
struct Daemon {
    version: String,
    pid: u32,
    uptime_ms: u64,
    origin: String,
    policy_digest: String,
    policy_number: u64,
    policy_mode: String,
    pending_number: Option<u64>,
    journal_size: u64,
    sessions: u64,
    refusing: Option<String>,
    capabilities: Vec<String>,
    warnings: Vec<String>,
}

/// Asks the daemon and prints what it says.
///
/// # Errors
/// The stack does not exist, or this user may not ask. A daemon that does not run is an answer.
pub fn run(global: &Global, output: &Output) -> Result<u8, Failure> {
    stack::directory(global)?;
    let layout = match stack::applied(global) {
        Ok(layout) => layout,
        Err(failure) if failure.exit == crate::failure::exit::UNAVAILABLE => {
            output.line(format!(
                "{}: {}",
                output.paint(Paint::Bad, "not running"),
                failure.message
            ));
            output.json(&Report {
                state: "not_running",
                stack: None,
                mode: None,
                agent_socket: None,
                daemon: None,
            });
            return Ok(code::NOT_RUNNING);
        }
        Err(failure) => return Err(failure),
    };
    match client::block_on(ask(&layout))? {
        Some(reply) => Ok(running(&layout, &reply, output)),
        None => Ok(silent(&layout, output)),
    }
}

/// The daemon's status, or `None` where none answers.
///
/// # Errors
/// This user may not ask, or the daemon refused.
pub async fn ask(layout: &Layout) -> Result<Option<StatusReply>, Failure> {
    match client::admin(&layout.admin_socket()).await {
        Ok(mut admin) => client::reply(admin.status(StatusRequest {}))
            .await
            .map(Some),
        Err(NoConnection::NotRunning) => Ok(None),
        Err(NoConnection::Refused(failure)) => Err(failure),
    }
}

fn running(layout: &Layout, reply: &StatusReply, output: &Output) -> u8 {
    let (state, exit, paint) = match reply.phase() {
        Phase::Ready if reply.refusing.is_empty() => ("ready", code::READY, Paint::Good),
        Phase::Ready => ("degraded", code::DEGRADED, Paint::Caution),
        Phase::Draining => ("draining", code::DEGRADED, Paint::Caution),
        Phase::Starting | Phase::Initializing => ("starting", code::STARTING, Paint::Caution),
        Phase::Halt | Phase::Unspecified => ("halted", code::DEGRADED, Paint::Bad),
    };
    let pending = (reply.pending_number != 0).then_some(reply.pending_number);
    let text = |line: String| output.line(line);
    text(format!(
        "{}  {} ({})",
        output.paint(paint, &state.to_uppercase()),
        layout.stack,
        mode(layout)
    ));
    text(format!(
        "  policy    {} {} ({})",
        reply.policy_number,
        Untrusted(&reply.policy_digest),
        Untrusted(&reply.policy_mode)
    ));
    if let Some(number) = pending {
        text(format!(
            "  pending   next {number} is not in force; `faramesh apply` activates it, and so does a restart"
        ));
    }
    text(format!(
        "  journal   {} records, {}",
        reply.journal_size,
        Untrusted(&reply.origin)
    ));
    text(format!("  sessions  {}", reply.sessions));
    text(format!(
        "  daemon    {}, pid {}, up {}",
        Untrusted(&reply.version),
        reply.pid,
        span(reply.uptime_ms)
    ));
    text(format!(
        "  enforces  {}",
        Untrusted(&reply.capabilities.join(", "))
    ));
    if !reply.refusing.is_empty() {
        text(format!(
            "  refusing  every call: {}",
            Untrusted(&reply.refusing)
        ));
    }
    let shadow = (reply.policy_mode == "shadow").then_some(SHADOW);
    for warning in reply.warnings.iter().map(String::as_str).chain(shadow) {
        text(format!(
            "{} {}",
            output.paint(Paint::Caution, "warning:"),
            Untrusted(warning)
        ));
    }
    output.json(&Report {
        state,
        stack: Some(layout.stack.clone()),
        mode: Some(mode(layout)),
        agent_socket: agent_socket(layout),
        daemon: Some(Daemon {
            version: reply.version.clone(),
            pid: reply.pid,
            uptime_ms: reply.uptime_ms,
            origin: reply.origin.clone(),
            policy_digest: reply.policy_digest.clone(),
            policy_number: reply.policy_number,
            policy_mode: reply.policy_mode.clone(),
            pending_number: pending,
            journal_size: reply.journal_size,
            sessions: reply.sessions,
            refusing: Some(reply.refusing.clone()).filter(|why| !why.is_empty()),
            capabilities: reply.capabilities.clone(),
            warnings: reply.warnings.clone(),
        }),
    });
    exit
}

/// No socket answers: a daemon that holds the journal's lock is on its way, otherwise there is none.
fn silent(layout: &Layout, output: &Output) -> u8 {
    let starting = crate::files::journal_is_held(layout.journal());
    let (state, exit) = if starting {
        ("starting", code::STARTING)
    } else {
        ("not_running", code::NOT_RUNNING)
    };
    let words = if starting { "STARTING" } else { "not running" };
    output.line(format!(
        "{}  {} ({})",
        output.paint(Paint::Bad, words),
        layout.stack,
        mode(layout)
    ));
    if !starting {
        let left = std::fs::symlink_metadata(layout.admin_socket())
            .is_ok_and(|meta| meta.file_type().is_socket());
        if left {
            output.line("  a dead daemon left its socket; the next one replaces it");
        }
        output.line(format!("  next: {}", start_hint(layout)));
    }
    output.json(&Report {
        state,
        stack: Some(layout.stack.clone()),
        mode: Some(mode(layout)),
        agent_socket: agent_socket(layout),
        daemon: None,
    });
    exit
}

/// How a stack's daemon is started here.
pub fn start_hint(layout: &Layout) -> String {
    if !layout.is_enforced() {
        return format!("faramesh dev --dir {}", layout.dir.display());
    }
    if std::path::Path::new("/run/systemd/system").is_dir() {
        return format!("systemctl enable --now faramesh@{}", layout.stack);
    }
    format!("faramesh serve --dir {}", layout.dir.display())
}

/// In development there is one, this user's; enforced, each agent is told its own by the launcher.
fn agent_socket(layout: &Layout) -> Option<PathBuf> {
    (!layout.is_enforced()).then(|| layout.agent_socket(nix::unistd::Uid::effective()))
}

/// The word for a set-up.
pub fn mode(layout: &Layout) -> &'static str {
    if layout.is_enforced() {
        "enforced"
    } else {
        "development"
    }
}

fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}
