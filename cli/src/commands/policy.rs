//! `faramesh policy list` and `policy show`: what was signed, and what it says.
//!
//! Nothing is shown that the pinned key did not sign: a manifest that cannot be trusted is listed as that, and an
//! artifact is printed only after its signature, its digest and its form were checked.
#![forbid(unsafe_code)]

use crate::args::{Format, Global, ShowPolicyArgs};
use crate::commands::plan::{self, InForce};
use crate::commands::status;
use crate::failure::{Failure, exit};
use crate::journal;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::policies::{self, Lines, Written, digest_text};
use crate::stack;
use crate::untrusted::{Untrusted, is_deceptive};
use faramesh_core::checkpoint::{Manifest, hex, unhex};
use faramesh_core::policy::artifact::Artifact;
use faramesh_policy_compiler::{render_policy, render_yaml};
use serde::Serialize;
use std::collections::BTreeSet;

/// Hex digits of a digest that name it: two policies of one stack that share them are not met.
const DIGEST_DIGITS_MIN: usize = 8;
/// Hex digits of a whole digest.
const DIGEST_DIGITS: usize = 64;

/// What became of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It decides.
    InForce,
    /// No daemon runs; it decides from the next start.
    NextStart,
    /// It lies in `next`, and another one decides.
    Pending,
    /// The daemon refused it, and the number is used up.
    Refused,
    /// It was in force before; where the journal cannot be searched, also one that may not have been.
    Earlier,
    /// It was never in force and is not put up: its apply did not get so far, or another came before a daemon ran.
    Unused,
}

impl State {
    const fn words(self) -> (&'static str, Paint) {
        match self {
            State::InForce => ("in force", Paint::Good),
            State::NextStart => ("from the next start", Paint::Good),
            State::Pending => ("pending", Paint::Caution),
            State::Refused => ("refused", Paint::Bad),
            State::Earlier => ("earlier", Paint::Faint),
            State::Unused => ("never in force", Paint::Faint),
        }
    }
}

#[derive(Debug, Serialize)]
struct List<'a> {
    stack: &'a str,
    mode: &'static str,
    policies: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    number: u64,
    state: State,
    digest: Option<String>,
    time: Option<&'a str>,
    signed_by: Option<&'a str>,
    refused: Option<&'a str>,
    untrusted: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    stack: &'a str,
    number: Option<u64>,
    digest: String,
    time: Option<&'a str>,
    signed_by: Option<&'a str>,
    requires: &'a [String],
    /// Where its rules stood in the file that it was last applied from.
    source: Option<&'a Lines>,
    policy: &'a str,
}

/// What is known of a stack's policies.
pub(super) struct Known {
    /// Every manifest, the newest first.
    pub(super) written: Vec<Written>,
    in_force: InForce,
    pending: Option<u64>,
    /// The numbers that ever came into force, where the journal says.
    activated: Option<BTreeSet<u64>>,
}

impl Known {
    /// # Errors
    /// The directory cannot be read, or the daemon refuses to say what is in force.
    pub(super) fn of(layout: &Layout) -> Result<Known, Failure> {
        let (in_force, pending) = plan::in_force(layout)?;
        Ok(Known {
            written: policies::manifests(layout)?,
            in_force,
            pending,
            activated: journal::activated(layout.journal()),
        })
    }

    /// The policy in force, or from the next start.
    pub(super) fn in_force(&self) -> Option<&plan::Named> {
        self.in_force.named()
    }

    pub(super) fn state(&self, written: &Written) -> State {
        if written.refused.is_some() {
            return State::Refused;
        }
        if self.pending == Some(written.number) {
            return State::Pending;
        }
        let was = self.activated.as_ref();
        let before = match was.is_none_or(|numbers| numbers.contains(&written.number)) {
            true => State::Earlier,
            false => State::Unused,
        };
        let Some(named) = self.in_force() else {
            return before;
        };
        match (written.number.cmp(&named.number), &self.in_force) {
            (std::cmp::Ordering::Less, _) => before,
            (std::cmp::Ordering::Equal, InForce::AtNextStart(_)) => State::NextStart,
            (std::cmp::Ordering::Equal, _) => State::InForce,
            (std::cmp::Ordering::Greater, _) => State::Unused,
        }
    }

    /// The manifest of a number, if it can be trusted.
    ///
    /// # Errors
    /// There is none, or it cannot.
    pub(super) fn manifest(&self, number: u64) -> Result<&Manifest, Failure> {
        let see = "`faramesh policy list` shows every one";
        let written = self
            .written
            .iter()
            .find(|written| written.number == number)
            .ok_or_else(|| {
                Failure::data(format!("no policy was signed under number {number}")).next(see)
            })?;
        written.manifest.as_ref().map_err(|why| {
            Failure::data(format!("manifest {number} cannot be trusted: {why}")).next(see)
        })
    }
}

/// Prints every policy that was signed, the newest first.
///
/// # Errors
/// Nothing was ever applied, or the directory cannot be read.
pub fn list(global: &Global, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let known = Known::of(&layout)?;
    output.line(output.paint(
        Paint::Faint,
        &format!(
            "{:>6}  {:71}  {:20}  signed by, state",
            "number", "digest", "time"
        ),
    ));
    for written in &known.written {
        output.line(line(written, known.state(written), output));
    }
    let policies = known
        .written
        .iter()
        .map(|written| entry(written, known.state(written)))
        .collect();
    output.json(&List {
        stack: &layout.stack,
        mode: status::mode(&layout),
        policies,
    });
    Ok(exit::OK)
}

fn line(written: &Written, state: State, output: &Output) -> String {
    let (word, paint) = state.words();
    let state = output.paint(paint, word);
    let number = written.number;
    let mut text = match &written.manifest {
        Ok(manifest) => format!(
            "{number:>6}  {}  {}  {}  {state}",
            digest_text(&manifest.digest),
            Untrusted(&manifest.time),
            Untrusted(&manifest.signed_by)
        ),
        Err(why) => format!(
            "{number:>6}  {} {}",
            output.paint(Paint::Bad, "cannot be trusted:"),
            Untrusted(why)
        ),
    };
    if let Some(why) = &written.refused {
        text.push_str(&format!(": {}", Untrusted(why)));
    }
    text
}

fn entry(written: &Written, state: State) -> Entry<'_> {
    let manifest = written.manifest.as_ref().ok();
    Entry {
        number: written.number,
        state,
        digest: manifest.map(|manifest| digest_text(&manifest.digest)),
        time: manifest.map(|manifest| manifest.time.as_str()),
        signed_by: manifest.map(|manifest| manifest.signed_by.as_str()),
        refused: written.refused.as_deref(),
        untrusted: written.manifest.as_ref().err().map(String::as_str),
    }
}

/// Prints one stored policy as a file that compiles to it again.
///
/// # Errors
/// There is no such policy, or it cannot be trusted.
pub fn show(global: &Global, args: &ShowPolicyArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let known = Known::of(&layout)?;
    let (digest, manifest) = which(&known, args.which.as_deref())?;
    let artifact = policies::artifact(&layout, &digest)?;
    let text = render_policy(&artifact);
    let lines = policies::lines(&layout, &digest);
    if output.format() == Format::Text {
        if let Some(manifest) = manifest {
            output.line(format!(
                "# {} {}, signed {} by {}",
                layout.stack,
                manifest.number,
                Untrusted(&manifest.time),
                Untrusted(&manifest.signed_by)
            ));
        }
        output.line(format!("# {}", digest_text(&digest)));
        stood(&artifact, &lines).for_each(|line| output.line(line));
        output.line(harmless(text.trim_end_matches('\n')));
    }
    if output.format() == Format::Yaml {
        output.text(harmless(render_yaml(&artifact).trim_end_matches('\n')));
    }
    output.json(&Shown {
        stack: &layout.stack,
        number: manifest.map(|manifest| manifest.number),
        digest: digest_text(&digest),
        time: manifest.map(|manifest| manifest.time.as_str()),
        signed_by: manifest.map(|manifest| manifest.signed_by.as_str()),
        requires: &artifact.requires,
        source: (!lines.file.is_empty()).then_some(&lines),
        policy: &text,
    });
    Ok(exit::OK)
}

/// From where to where the rules of each agent stood, as comments.
fn stood<'a>(artifact: &'a Artifact, lines: &'a Lines) -> impl Iterator<Item = String> + 'a {
    artifact.agents.iter().filter_map(|agent| {
        let last = u32::try_from(agent.rules.len()).ok()?.checked_sub(1)?;
        let (first, last) = (
            lines.place(&agent.name, 0)?,
            lines.place(&agent.name, last)?,
        );
        let whose = match agent.name.as_str() {
            "" => "rules".to_owned(),
            name => format!("rules of {}", Untrusted(name)),
        };
        Some(match first == last {
            true => format!("# {whose}: {}", Untrusted(&first)),
            false => format!("# {whose}: {} to {}", Untrusted(&first), Untrusted(&last)),
        })
    })
}

/// The digest that is meant, with its newest manifest.
pub(super) fn which<'k>(
    known: &'k Known,
    asked: Option<&str>,
) -> Result<([u8; 32], Option<&'k Manifest>), Failure> {
    let Some(asked) = asked else {
        let named = known.in_force().ok_or_else(|| {
            Failure::data("nothing is in force")
                .next("name one: `faramesh policy list` shows every one")
        })?;
        return known
            .manifest(named.number)
            .map(|manifest| (manifest.digest, Some(manifest)));
    };
    let digits = asked.strip_prefix("sha256:").unwrap_or(asked);
    // Numbers are short and digests are long: eight digits are a digest.
    if digits.len() < DIGEST_DIGITS_MIN
        && let Ok(number) = asked.parse::<u64>()
    {
        return known
            .manifest(number)
            .map(|manifest| (manifest.digest, Some(manifest)));
    }
    let named = |manifest: &&Manifest| {
        digits.len() >= DIGEST_DIGITS_MIN && hex(&manifest.digest).starts_with(digits)
    };
    let found: Vec<&Manifest> = known
        .written
        .iter()
        .filter_map(|written| written.manifest.as_ref().ok())
        .filter(named)
        .collect();
    let see = "`faramesh policy list` shows every one";
    match found.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other.digest == first.digest) => {
            Ok((first.digest, Some(*first)))
        }
        Some(_) => Err(Failure::usage(format!(
            "several policies begin with `{}`",
            Untrusted(asked)
        ))
        .next("write more digits")),
        None if digits.len() == DIGEST_DIGITS => unhex(digits)
            .map(|digest| (digest, None))
            .ok_or_else(|| Failure::usage("a digest has 64 lower-case hex digits").next(see)),
        None => Err(
            Failure::data(format!("no policy was signed under `{}`", Untrusted(asked))).next(see),
        ),
    }
}

/// A policy's text for a terminal: line breaks stay, and nothing else that acts or hides does.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_deceptive(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
