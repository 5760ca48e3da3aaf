//! `faramesh stop`: the daemon answers what is queued and ends.
#![forbid(unsafe_code)]

use crate::args::Global;
use crate::client::{self, NoConnection};
use crate::commands::status;
use crate::failure::{Failure, exit};
use crate::files;
use crate::layout::Layout;
use crate::output::Output;
use crate::stack;
use faramesh_proto::v1::DrainRequest;
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The daemon drains for at most ten seconds; then it is gone.
const STOP_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Serialize)]
struct Stopped {
    stack: String,
    stopped: bool,
}

/// Stops it by the way it was started.
///
/// # Errors
/// It cannot be asked, or does not end.
pub fn run(global: &Global, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let stopped = if under_systemd(&layout) {
        systemctl_stop(&layout)?
    } else {
        client::block_on(drain(&layout))?
    };
    let words = if stopped {
        "stopped"
    } else {
        "was not running"
    };
    output.note(format!(
        "{} ({}) {words}",
        layout.stack,
        status::mode(&layout)
    ));
    output.json(&Stopped {
        stack: layout.stack.clone(),
        stopped,
    });
    Ok(exit::OK)
}

/// Whether systemd keeps this stack's daemon: it would start a drained one again.
fn under_systemd(layout: &Layout) -> bool {
    layout.is_enforced()
        && Path::new("/run/systemd/system").is_dir()
        && Command::new("systemctl")
            .args([
                "is-active",
                "--quiet",
                &format!("faramesh@{}.service", layout.stack),
            ])
            .status()
            .is_ok_and(|status| status.success())
}

fn systemctl_stop(layout: &Layout) -> Result<bool, Failure> {
    let unit = |kind: &str| format!("{kind}@{}", layout.stack);
    let done = Command::new("systemctl")
        .args(["stop", &unit("faramesh"), &unit("faramesh-signer")])
        .status()
        .map_err(|e| Failure::unavailable(format!("cannot run `systemctl`: {e}")))?;
    if done.success() {
        return Ok(true);
    }
    Err(Failure::unavailable(format!(
        "`systemctl stop {}` failed: {done}",
        unit("faramesh")
    )))
}

async fn drain(layout: &Layout) -> Result<bool, Failure> {
    let mut admin = match client::admin(&layout.admin_socket()).await {
        Ok(admin) => admin,
        Err(NoConnection::NotRunning) => return Ok(false),
        Err(NoConnection::Refused(failure)) => return Err(failure),
    };
    match client::reply(admin.drain(DrainRequest {})).await {
        // A daemon that is gone before its answer arrived did what it was asked.
        Err(failure) if failure.exit != exit::UNAVAILABLE => return Err(failure),
        _ => {}
    }
    let deadline = Instant::now() + STOP_MAX;
    while Instant::now() < deadline {
        if is_gone(layout).await {
            return Ok(true);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Failure::unavailable(format!(
        "the daemon still runs after {} s",
        STOP_MAX.as_secs()
    ))
    .next("see `faramesh status`"))
}

/// Nobody answers, and neither the daemon nor whoever kept it holds its lock: the next one can start.
async fn is_gone(layout: &Layout) -> bool {
    matches!(
        client::admin(&layout.admin_socket()).await,
        Err(NoConnection::NotRunning)
    ) && !files::journal_is_held(layout.journal())
        && !files::is_locked(&layout.serve_lock())
}
