//! `faramesh run -- CMD`: the whole of Faramesh around one command, in development mode.
#![forbid(unsafe_code)]

use crate::args::{Global, RunArgs};
use crate::client;
use crate::commands::dev;
use crate::commands::serve::Asked;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::Output;
use crate::supervise::{self, Ended, Supervisor, Voice};
use faramesh_daemon::config::Config;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// The status of a shell's command that Ctrl-C ended: the end came before the agent was there to decide what it means.
const INTERRUPTED: u8 = 130;

/// Runs the command as an agent and exits with its status.
///
/// # Errors
/// The policy, the daemon or the shim stood in the way. The command's own failure is an answer.
pub fn run(global: &Global, args: &RunArgs, output: &Output) -> Result<u8, Failure> {
    let (layout, config) = dev::prepare(global, args.name.as_deref(), output)?;
    client::block_on(around(&layout, &config, args, output))
}

async fn around(
    layout: &Layout,
    config: &Config,
    args: &RunArgs,
    output: &Output,
) -> Result<u8, Failure> {
    let mut asked = Asked::listen()?;
    let mut supervisor = Supervisor::start(layout, config, Voice::File, output).await?;
    let ready = tokio::select! {
        ready = supervisor.ready(output) => ready,
        () = asked.to_stop() => Ok(None),
    };
    let ended = match ready {
        Ok(Some(_)) => agent(layout, args, &mut supervisor, &mut asked, output).await,
        Ok(None) => Ok(INTERRUPTED),
        Err(failure) => Err(failure),
    };
    supervisor.stop().await;
    ended
}

async fn agent(
    layout: &Layout,
    args: &RunArgs,
    supervisor: &mut Supervisor,
    asked: &mut Asked,
    output: &Output,
) -> Result<u8, Failure> {
    // The agent keeps the terminal, and our environment: the shim says which variables it takes away.
    let mut child = launch(layout, args)?;
    let pid = i32::try_from(child.id()).map(Pid::from_raw).ok();
    let mut sigchld = signal(SignalKind::child())
        .map_err(|e| Failure::internal(format!("cannot watch children: {e}")))?;
    let mut keeps = true;
    loop {
        if let Some(status) = child
            .try_wait()
            .map_err(|e| Failure::internal(format!("cannot wait for the agent: {e}")))?
        {
            return Ok(supervise::exit_code(status));
        }
        tokio::select! {
            _ = sigchld.recv() => {}
            // Ctrl-C reaches the agent by the terminal that it shares with us, and it decides what that means.
            () = asked.to_stop_alone() => { let _ = pid.map(|pid| kill(pid, Signal::SIGTERM)); }
            ended = supervisor.keep(output), if keeps => {
                keeps = false;
                let _ = pid.map(|pid| kill(pid, Signal::SIGTERM));
                if let Ended::Refused { name, exit } = ended? {
                    output.failure(&supervisor.refused(name, exit));
                }
            }
        }
    }
}

fn launch(layout: &Layout, args: &RunArgs) -> Result<Child, Failure> {
    let launcher = layout.launcher();
    let mut command = Command::new(&launcher);
    if let Some(agent) = &args.agent {
        command.arg("--agent").arg(agent);
    }
    if let Some(workspace) = &args.workspace {
        let workspace = std::fs::canonicalize(workspace)
            .map_err(|e| Failure::io("find the workspace", workspace, &e))?;
        command.arg("--workspace").arg(workspace);
    }
    // This program too, wherever it was built or copied to: an agent's command may ask with it.
    let own = std::env::current_exe().and_then(std::fs::canonicalize);
    for path in own.ok().iter().chain(&args.read) {
        let path = std::fs::canonicalize(path)
            .map_err(|e| Failure::io("find what the agent may read", path, &e))?;
        command.arg("--read").arg(path);
    }
    command.arg("--").args(&args.command);
    command
        .spawn()
        .map_err(|e| Failure::unavailable(format!("cannot start `{}`: {e}", launcher.display())))
}
