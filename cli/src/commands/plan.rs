//! `faramesh plan`: what `apply` would change, rule by rule. Writes nothing and needs no daemon.
#![forbid(unsafe_code)]

use crate::args::{Global, NameArgs};
use crate::changes::{self, Changes, Kind, RuleChange, Setting};
use crate::client;
use crate::commands::{check, status};
use crate::failure::{Failure, exit};
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::policies::{self, digest_text};
use crate::source;
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::unhex;
use faramesh_core::policy::artifact::Artifact;
use serde::Serialize;

/// Which policy decides now, as far as it can be known from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InForce {
    /// Nothing was ever applied.
    Nothing,
    /// A running daemon says so.
    Decides(Named),
    /// No daemon runs; this is what the next start puts in force.
    AtNextStart(Named),
    /// No daemon runs and `next` was withdrawn: only the journal knows.
    Unknown,
}

/// A policy by number and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its manifest's number.
    pub number: u64,
    /// Its artifact's SHA-256.
    #[serde(serialize_with = "as_digest_text")]
    pub digest: [u8; 32],
}

fn as_digest_text<S: serde::Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&digest_text(digest))
}

impl InForce {
    /// The policy, where it is known.
    pub fn named(&self) -> Option<&Named> {
        match self {
            InForce::Decides(named) | InForce::AtNextStart(named) => Some(named),
            InForce::Nothing | InForce::Unknown => None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Plan<'a> {
    stack: &'a str,
    mode: &'static str,
    in_force: Option<&'a Named>,
    pending_number: Option<u64>,
    digest: String,
    changed: bool,
    changes: &'a Changes,
    diagnostics: &'a [faramesh_policy_compiler::DiagnosticReport],
}

/// Compiles and compares.
///
/// # Errors
/// The policy has errors (65), or the one in force cannot be read.
pub fn run(global: &Global, args: &NameArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::to_apply(global, args.name.as_deref())?;
    let (compiled, findings) = source::compile_valid(&layout.source(), output)?;
    let (in_force, pending) = in_force(&layout)?;
    let before = before(&layout, &in_force)?;
    let changes = changes::between(before.as_ref(), &compiled.artifact);
    let unchanged = in_force
        .named()
        .is_some_and(|named| named.digest == compiled.stored.digest);
    people(&layout, &in_force, pending, &changes, unchanged, output);
    output.json(&Plan {
        stack: &layout.stack,
        mode: status::mode(&layout),
        in_force: in_force.named(),
        pending_number: pending,
        digest: digest_text(&compiled.stored.digest),
        changed: !unchanged,
        changes: &changes,
        diagnostics: &findings.reports,
    });
    Ok(exit::OK)
}

/// What decides now, and the number of a `next` that does not yet.
///
/// # Errors
/// The daemon refuses to say, or `next` was tampered with.
pub fn in_force(layout: &Layout) -> Result<(InForce, Option<u64>), Failure> {
    if !layout.stack_toml().exists() {
        return Ok((InForce::Nothing, None));
    }
    if let Some(reply) = client::block_on(status::ask(layout))? {
        let pending = (reply.pending_number != 0).then_some(reply.pending_number);
        let digest = reply.policy_digest.strip_prefix("sha256:").and_then(unhex);
        return Ok((
            digest.map_or(InForce::Unknown, |digest| {
                InForce::Decides(Named {
                    number: reply.policy_number,
                    digest,
                })
            }),
            pending,
        ));
    }
    let next = policies::next(layout)?;
    Ok(match next {
        Some(manifest) => (
            InForce::AtNextStart(Named {
                number: manifest.number,
                digest: manifest.digest,
            }),
            None,
        ),
        None if policies::highest_number(layout)? == 0 => (InForce::Nothing, None),
        None => (InForce::Unknown, None),
    })
}

fn before(layout: &Layout, in_force: &InForce) -> Result<Option<Artifact>, Failure> {
    in_force
        .named()
        .map(|named| policies::artifact(layout, &named.digest))
        .transpose()
}

fn people(
    layout: &Layout,
    in_force: &InForce,
    pending: Option<u64>,
    changes: &Changes,
    unchanged: bool,
    output: &Output,
) {
    let from = match in_force {
        InForce::Nothing => "nothing is in force yet".to_owned(),
        InForce::Decides(named) => {
            format!("{} {} decides", named.number, digest_text(&named.digest))
        }
        InForce::AtNextStart(named) => format!(
            "no daemon runs; {} {} decides from the next start",
            named.number,
            digest_text(&named.digest)
        ),
        InForce::Unknown => {
            "no daemon runs, and an activation was refused: compared with nothing".to_owned()
        }
    };
    output.line(format!(
        "{} ({}): {from}",
        layout.stack,
        status::mode(layout)
    ));
    if let Some(number) = pending {
        output.line(format!("  next {number} lies pending; `apply` replaces it"));
    }
    if unchanged {
        output.line("nothing would change");
        return;
    }
    print(changes, output);
    let (added, removed, changed) = changes.rule_counts();
    let settings = match changes.settings_changed() {
        0 => String::new(),
        some => format!(", {} to change", check::count(some, "setting")),
    };
    output.line(format!(
        "{added} to add, {changed} to change, {removed} to remove{settings}; `faramesh apply` does it"
    ));
    if changes.is_empty() {
        output.line("only the place or the reason of rules differs");
    }
}

/// The changes, one line each.
pub fn print(changes: &Changes, output: &Output) {
    if !changes.runtime.is_empty() {
        output.line("runtime");
        changes
            .runtime
            .iter()
            .for_each(|setting| print_setting(setting, output));
    }
    for agent in &changes.agents {
        let word = match agent.change {
            Kind::Added => format!(" {}", output.paint(Paint::Good, "(new)")),
            Kind::Removed => format!(" {}", output.paint(Paint::Bad, "(removed)")),
            Kind::Changed => String::new(),
        };
        output.line(format!("agent \"{}\"{word}", Untrusted(&agent.name)));
        agent
            .settings
            .iter()
            .for_each(|setting| print_setting(setting, output));
        agent.rules.iter().for_each(|rule| print_rule(rule, output));
    }
}

fn print_setting(setting: &Setting, output: &Output) {
    let show = |value: &Option<String>| {
        value
            .as_deref()
            .map_or("nothing".to_owned(), |v| Untrusted(v).to_string())
    };
    let line = match (&setting.before, &setting.after) {
        (None, Some(after)) => format!(
            "  {} {} {}",
            output.paint(Paint::Good, "+"),
            Untrusted(&setting.key),
            Untrusted(after)
        ),
        (before, after) => format!(
            "  {} {} {} → {}",
            output.paint(Paint::Caution, "~"),
            Untrusted(&setting.key),
            show(before),
            show(after)
        ),
    };
    output.line(line);
}

fn print_rule(rule: &RuleChange, output: &Output) {
    if let Some(before) = &rule.before {
        output.line(format!(
            "  {} {}",
            output.paint(Paint::Bad, "-"),
            Untrusted(before)
        ));
    }
    if let Some(after) = &rule.after {
        output.line(format!(
            "  {} {}",
            output.paint(Paint::Good, "+"),
            Untrusted(after)
        ));
    }
}
