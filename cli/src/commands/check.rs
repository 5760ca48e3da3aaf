//! `faramesh check`: compile, say what is wrong, write nothing.
#![forbid(unsafe_code)]

use crate::args::{CheckArgs, Global};
use crate::constructs::{self, Lacking};
use crate::failure::Failure;
use crate::layout;
use crate::output::{Output, Paint};
use crate::policies::digest_text;
use crate::source::{self, Compiled, Findings};
use crate::untrusted::Untrusted;
use faramesh_policy_compiler::sarif;
use serde::Serialize;

/// Exit statuses of this command.
mod code {
    pub(super) const VALID: u8 = 0;
    pub(super) const ERRORS: u8 = 1;
    pub(super) const UNREACHABLE: u8 = 2;
    pub(super) const STRICT: u8 = 3;
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    valid: bool,
    file: &'a str,
    digest: Option<String>,
    rules: Option<usize>,
    agents: Option<Vec<&'a str>>,
    requires: Option<&'a [String]>,
    unenforced: Option<Vec<String>>,
    diagnostics: &'a [faramesh_policy_compiler::DiagnosticReport],
}

/// Compiles the file and prints every finding.
///
/// # Errors
/// The file cannot be read. A policy with errors is an answer.
pub fn run(global: &Global, args: &CheckArgs, output: &Output) -> Result<u8, Failure> {
    let outcome = match &args.file {
        Some(file) => source::compile_file(file, args.registry.as_deref())?,
        None => source::compile(&layout::source(&global.dir), args.registry.as_deref())?,
    };
    let findings = outcome.findings();
    source::print(findings, output);
    let strict = args.strict && findings.warnings > 0;
    let compiled = outcome.compiled();
    output.json(&report(findings, compiled));
    output.sarif(&sarif(
        env!("CARGO_PKG_VERSION"),
        std::slice::from_ref(&findings.file),
        &findings.reports,
    ));
    Ok(match compiled {
        None => {
            output.line(format!(
                "{} {}: {}",
                output.paint(Paint::Bad, "✗"),
                findings.file,
                count(findings.errors, "error")
            ));
            match findings.only_unreachable() {
                true => code::UNREACHABLE,
                false => code::ERRORS,
            }
        }
        Some(compiled) => {
            let mark = if strict {
                output.paint(Paint::Caution, "!")
            } else {
                output.paint(Paint::Good, "✓")
            };
            output.line(format!(
                "{mark} {} valid: {}",
                findings.file,
                summary(compiled, findings)
            ));
            output.line(format!(
                "  {}",
                output.paint(Paint::Faint, &digest_text(&compiled.stored.digest))
            ));
            unenforced(&lacking(compiled), output);
            if strict { code::STRICT } else { code::VALID }
        }
    })
}

/// What the daemon of this version would refuse the policy for.
fn lacking(compiled: &Compiled) -> Vec<Lacking> {
    let Compiled {
        artifact, places, ..
    } = compiled;
    constructs::lacking(artifact, constructs::OF_THIS_VERSION, places)
}

/// Says what stands between a valid policy and an `apply` that takes it.
pub fn unenforced(lacking: &[Lacking], output: &Output) {
    if lacking.is_empty() {
        return;
    }
    output.line(format!(
        "{} farameshd {} does not enforce all of it, so `apply` refuses it; it needs",
        output.paint(Paint::Caution, "!"),
        env!("CARGO_PKG_VERSION")
    ));
    for one in lacking {
        output.line(format!("  {}", Untrusted(&one.placed())));
    }
}

fn summary(compiled: &Compiled, findings: &Findings) -> String {
    let agents = compiled.artifact.agents.len();
    let mut text = format!(
        "{}, {}",
        count(agents, "agent"),
        count(compiled.rules(), "rule")
    );
    if findings.warnings > 0 {
        text.push_str(&format!(", {}", count(findings.warnings, "warning")));
    }
    text
}

fn report<'a>(findings: &'a Findings, compiled: Option<&'a Compiled>) -> Report<'a> {
    Report {
        valid: compiled.is_some(),
        file: &findings.file,
        digest: compiled.map(|c| digest_text(&c.stored.digest)),
        rules: compiled.map(Compiled::rules),
        agents: compiled.map(|c| {
            c.artifact
                .agents
                .iter()
                .map(|agent| agent.name.as_str())
                .collect()
        }),
        requires: compiled.map(|c| c.artifact.requires.as_slice()),
        unenforced: compiled.map(|c| lacking(c).iter().map(Lacking::placed).collect()),
        diagnostics: &findings.reports,
    }
}

/// `1 rule`, `2 rules`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
