//! `faramesh serve`: the daemon of a stack that was applied.
//!
//! Under systemd, or as the daemon's own user, it becomes `farameshd`; so it does where somebody else already keeps a
//! signer. As root without systemd, and in development, it is the parent of both: see `supervise`.
#![forbid(unsafe_code)]

use crate::args::Global;
use crate::client;
use crate::commands::{apply, status};
use crate::failure::{Failure, exit};
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::setup;
use crate::siblings::{self, Sibling};
use crate::stack;
use crate::supervise::{self, Ended, Supervisor, Voice};
use crate::sys::{self, Birth};
use faramesh_daemon::config::Config;
use nix::unistd::Uid;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// Serves until it is told to stop.
///
/// # Errors
/// The set-up does not hold, or a program is missing or refuses.
pub fn run(global: &Global, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let config = load(&layout)?;
    if !layout.is_enforced() {
        apply::loud(&layout, output);
        return serve(&layout, &config, output);
    }
    let euid = Uid::effective();
    if euid.as_raw() == config.uid {
        return become_daemon(&layout, None);
    }
    if !euid.is_root() {
        return Err(
            Failure::permission(format!("this user may not serve `{}`", layout.stack))
                .next("run it as root, or try the policy with `faramesh dev --development`"),
        );
    }
    // Root cannot be the peer that the signer answers, so this question disturbs nobody.
    if supervise::is_free(&layout)? && UnixStream::connect(layout.signer_socket()).is_ok() {
        supervise::ensure_run_dirs(&layout, &config)?;
        return become_daemon(&layout, supervise::daemon_identity(&layout)?);
    }
    setup::pin_log_key(&layout)?;
    serve(&layout, &config, output)
}

/// The stack's configuration.
///
/// # Errors
/// It cannot hold, or is not this stack's.
pub fn load(layout: &Layout) -> Result<Config, Failure> {
    let config = Config::load(&layout.daemon_toml()).map_err(|e| {
        Failure::configuration(e.to_string()).next("run `faramesh apply`: it writes the file anew")
    })?;
    if config.stack == layout.stack && config.mode == layout.mode {
        return Ok(config);
    }
    Err(Failure::configuration(format!(
        "`{}` is another stack's",
        layout.daemon_toml().display()
    ))
    .next("run `faramesh apply`: it writes the file anew"))
}

/// Keeps signer and daemon until a signal, a drain or a refusal.
///
/// # Errors
/// They cannot be started, or one of them wants a person to look.
pub fn serve(layout: &Layout, config: &Config, output: &Output) -> Result<u8, Failure> {
    client::block_on(async {
        let mut asked = Asked::listen()?;
        let mut supervisor = Supervisor::start(layout, config, Voice::Stderr, output).await?;
        let ready = tokio::select! {
            ready = supervisor.ready(output) => ready,
            () = asked.to_stop() => Ok(None),
        };
        let ended = match ready {
            Ok(Some(reply)) => {
                banner(layout, &reply, output);
                tokio::select! {
                    ended = supervisor.keep(output) => ended.map(Some),
                    () = asked.to_stop() => Ok(None),
                }
            }
            Ok(None) => Ok(None),
            Err(failure) => Err(failure),
        };
        supervisor.stop().await;
        match ended? {
            Some(Ended::Refused { name, exit }) => Err(supervisor.refused(name, exit)),
            Some(Ended::Drained) | None => {
                output.note(format!(
                    "{} ({}) stopped",
                    layout.stack,
                    status::mode(layout)
                ));
                Ok(exit::OK)
            }
        }
    })
}

fn banner(layout: &Layout, reply: &faramesh_proto::v1::StatusReply, output: &Output) {
    output.note(format!(
        "{}  {} ({}), policy {} {}",
        output.paint(Paint::Good, "READY"),
        layout.stack,
        status::mode(layout),
        reply.policy_number,
        crate::untrusted::Untrusted(&reply.policy_digest)
    ));
}

/// Does not return where it succeeds.
fn become_daemon(layout: &Layout, identity: Option<sys::Identity>) -> Result<u8, Failure> {
    let program = siblings::find(Sibling::Daemon)?;
    let mut command = Command::new(&program);
    command.arg("--config").arg(layout.daemon_toml());
    sys::arrange(
        &mut command,
        Birth {
            identity,
            ..Birth::default()
        },
    );
    let error = command.exec();
    Err(Failure::unavailable(format!(
        "cannot execute `{}`: {error}",
        program.display()
    )))
}

/// The signals by which people and service managers ask for an end.
pub struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Asked {
    /// From here on they no longer kill.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn listen() -> Result<Asked, Failure> {
        let watch = |kind| {
            signal(kind).map_err(|e| Failure::internal(format!("cannot watch signals: {e}")))
        };
        Ok(Asked {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hang_up: watch(SignalKind::hangup())?,
        })
    }

    /// Returns when one of them came that was sent to us alone. A terminal's interrupt reaches the whole foreground.
    pub async fn to_stop_alone(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.hang_up.recv() => return,
                _ = self.interrupt.recv() => {}
            }
        }
    }

    /// Returns when one of them came.
    pub async fn to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
