//! `faramesh-agent`: confines itself and becomes the agent.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    faramesh_agent_shim::run(std::env::args_os().skip(1), std::env::vars_os())
}
