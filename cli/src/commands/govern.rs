//! `faramesh govern`: one question about one tool call, for people, scripts and tests.
#![forbid(unsafe_code)]

use crate::args::{Global, GovernArgs};
use crate::client::{self, NoConnection};
use crate::failure::Failure;
use crate::files;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::stack;
use crate::untrusted::{Untrusted, Written};
use faramesh_proto::v1::resolution::Kind;
use faramesh_proto::v1::{Effect, GovernReply, GovernRequest};
use nix::unistd::Uid;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What is read from a file or standard input: more than the daemon takes, so that it is the daemon that refuses.
const ARGUMENTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What the launcher tells an agent, and SDKs read.
const SOCKET_VARIABLE: &str = "FARAMESH_SOCKET";

/// Exit statuses of this command.
mod code {
    pub(super) const PERMIT: u8 = 0;
    pub(super) const DEFER: u8 = 10;
    pub(super) const DENY: u8 = 11;
    pub(super) const NOT_READY: u8 = 12;
}

#[derive(Debug, Serialize)]
struct Answer {
    effect: &'static str,
    code: Option<String>,
    message: String,
    probe: bool,
    would: Option<&'static str>,
    missing: Vec<String>,
    resolution: Option<Resolution>,
    rule: Option<Rule>,
    receipt: Option<Receipt>,
}

#[derive(Debug, Serialize)]
struct Resolution {
    kind: &'static str,
    rule_id: Option<String>,
    retry_after_seconds: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Rule {
    number: u32,
    text: String,
}

#[derive(Debug, Serialize)]
struct Receipt {
    leaf_index: u64,
    record: String,
    checkpoint: String,
}

/// Asks, prints the reply, and exits by its effect.
///
/// # Errors
/// The question cannot be put. A "no" is an answer.
pub fn run(global: &Global, args: &GovernArgs, output: &Output) -> Result<u8, Failure> {
    let door = Door::find(global)?;
    let arguments = arguments(&args.args)?;
    let request = GovernRequest {
        agent: args.agent.clone(),
        tool: args.tool.clone(),
        arguments,
    };
    match client::block_on(ask(&door, request))? {
        Some(reply) => Ok(print(&door, &reply, output)),
        None => Ok(not_ready(&door, output)),
    }
}

/// Where the question goes.
enum Door {
    /// The socket that the launcher named: the asker is a process of an agent.
    Session(PathBuf),
    /// The stack's own: development the agent's socket, enforced the operators'.
    Stack(Layout),
}

impl Door {
    /// `FARAMESH_SOCKET` comes first: inside a session nothing of the stack can be read.
    fn find(global: &Global) -> Result<Door, Failure> {
        match std::env::var_os(SOCKET_VARIABLE) {
            Some(socket) if !socket.is_empty() => Ok(Door::Session(socket.into())),
            _ => stack::applied(global).map(Door::Stack),
        }
    }

    /// Whether nothing is performed on the answer.
    fn is_probe(&self) -> bool {
        matches!(self, Door::Stack(layout) if layout.is_enforced())
    }
}

/// The text itself, `@FILE`, or `-` for standard input. What it says is the daemon's to judge.
///
/// # Errors
/// It cannot be read.
pub fn arguments(given: &str) -> Result<Vec<u8>, Failure> {
    if given == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .take(ARGUMENTS_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::data(format!("cannot read standard input: {e}")))?;
        return Ok(bytes);
    }
    let Some(file) = given.strip_prefix('@') else {
        return Ok(given.as_bytes().to_vec());
    };
    files::read_limited(Path::new(file), ARGUMENTS_BYTES_MAX)?
        .ok_or_else(|| Failure::data(format!("there is no file `{}`", Untrusted(file))))
}

/// In development the agent's own socket: any process of this user can be any agent, and the record says so. Enforced,
/// a probe on the operators' socket. Inside a session the session's socket.
async fn ask(door: &Door, request: GovernRequest) -> Result<Option<GovernReply>, Failure> {
    let agent = match door {
        Door::Session(socket) => client::agent(socket).await,
        Door::Stack(layout) if layout.is_enforced() => {
            return match client::admin(&layout.admin_socket()).await {
                Ok(mut admin) => client::reply(admin.dry_run(request)).await.map(Some),
                Err(NoConnection::NotRunning) => Ok(None),
                Err(NoConnection::Refused(failure)) => Err(failure),
            };
        }
        Door::Stack(layout) => client::agent(&layout.agent_socket(Uid::effective())).await,
    };
    match agent {
        Ok(mut agent) => client::reply(agent.govern(request)).await.map(Some),
        Err(NoConnection::NotRunning) => Ok(None),
        Err(NoConnection::Refused(failure)) => Err(failure),
    }
}

fn print(door: &Door, reply: &GovernReply, output: &Output) -> u8 {
    let (effect, exit) = match reply.effect() {
        Effect::Permit => ("permit", code::PERMIT),
        Effect::Defer => ("defer", code::DEFER),
        Effect::Deny | Effect::Unspecified if reply.code == "DAEMON_NOT_READY" => {
            ("deny", code::NOT_READY)
        }
        // An effect that we do not know is no permit.
        Effect::Deny | Effect::Unspecified => ("deny", code::DENY),
    };
    let probe = door.is_probe();
    people(effect, reply, probe, output);
    output.json(&Answer {
        effect,
        code: filled(&reply.code),
        message: reply.message.clone(),
        probe,
        would: word(reply.would()),
        missing: reply.missing.clone(),
        resolution: reply
            .resolution
            .as_ref()
            .and_then(|r| r.kind.as_ref())
            .map(resolution),
        rule: reply.rule.as_ref().map(|rule| Rule {
            number: rule.number,
            text: rule.text.clone(),
        }),
        receipt: reply.receipt.as_ref().map(|receipt| Receipt {
            leaf_index: receipt.leaf_index,
            record: String::from_utf8_lossy(&receipt.record).into_owned(),
            checkpoint: receipt.checkpoint.clone(),
        }),
    });
    exit
}

fn people(effect: &str, reply: &GovernReply, probe: bool, output: &Output) {
    let paint = match effect {
        "permit" => Paint::Good,
        "defer" => Paint::Caution,
        _ => Paint::Bad,
    };
    let code = filled(&reply.code)
        .map(|code| format!("  {}", Untrusted(&code)))
        .unwrap_or_default();
    output.line(format!(
        "{}{code}",
        output.paint(paint, &effect.to_uppercase())
    ));
    if probe {
        output.line("  probe     nothing is performed: an operator asked what would be answered");
    }
    if let Some(message) = filled(&reply.message) {
        output.line(format!("  message   {}", Untrusted(&message)));
    }
    if !reply.missing.is_empty() {
        output.line(format!(
            "  missing   {}",
            Untrusted(&reply.missing.join(", "))
        ));
    }
    if let Some(would) = word(reply.would()) {
        output.line(format!("  shadow    enforcing would have answered {would}"));
    }
    if let Some(rule) = &reply.rule {
        output.line(format!(
            "  rule      rule {}: {}",
            rule.number,
            Written(&rule.text)
        ));
    }
    match &reply.receipt {
        Some(receipt) => output.line(format!(
            "  record    {}; `faramesh audit show {0}` tells everything",
            receipt.leaf_index
        )),
        None => {
            output.line("  record    none of its own: refused before the decision, and counted")
        }
    }
}

fn not_ready(door: &Door, output: &Output) -> u8 {
    let message = match door {
        Door::Stack(_) => {
            "the daemon of this stack does not run, so every call is refused".to_owned()
        }
        Door::Session(socket) => format!(
            "no daemon listens on `{}`, which {SOCKET_VARIABLE} names, so every call is refused",
            Untrusted(&socket.to_string_lossy())
        ),
    };
    output.line(format!(
        "{}  DAEMON_NOT_READY",
        output.paint(Paint::Bad, "DENY")
    ));
    output.line(format!("  message   {message}"));
    if let Door::Stack(layout) = door {
        output.line(format!(
            "  next      {}",
            crate::commands::status::start_hint(layout)
        ));
    }
    output.json(&Answer {
        effect: "deny",
        code: Some("DAEMON_NOT_READY".to_owned()),
        message,
        probe: door.is_probe(),
        would: None,
        missing: Vec::new(),
        resolution: None,
        rule: None,
        receipt: None,
    });
    code::NOT_READY
}

fn resolution(kind: &Kind) -> Resolution {
    let nothing = Resolution {
        kind: "manual_audit",
        rule_id: None,
        retry_after_seconds: None,
    };
    match kind {
        Kind::RuleBlock(id) => Resolution {
            kind: "rule_block",
            rule_id: filled(id),
            ..nothing
        },
        Kind::ManualAudit(_) => nothing,
        Kind::RetryAfterSeconds(seconds) => Resolution {
            kind: "retry_after",
            retry_after_seconds: Some(*seconds),
            ..nothing
        },
    }
}

fn word(effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::Unspecified => None,
        Effect::Permit => Some("permit"),
        Effect::Defer => Some("defer"),
        Effect::Deny => Some("deny"),
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
