//! `faramesh plan`: what `apply` would change, rule by rule and by what it means. Writes nothing and needs no daemon.
#![forbid(unsafe_code)]

mod meaning;
mod recorded;

use crate::args::{Global, PlanArgs};
use crate::changes::{self, Changes, Kind, RuleChange, Setting};
use crate::client;
use crate::commands::{apply, check, policy, status};
use crate::constructs::{self, Lacking};
use crate::failure::{Failure, exit};
use crate::files;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::policies::{self, digest_text};
use crate::source::{self, Compiled};
use crate::stack;
use crate::untrusted::{Untrusted, Written};
use faramesh_core::checkpoint::unhex;
use faramesh_core::policy::artifact::{self, ARTIFACT_BYTES_MAX, ARTIFACT_MAGIC, Artifact};
use faramesh_policy_compiler::compare::{self, Comparison, Limits, Reach};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// `--fail-on-wider`: something is wider, or cannot be decided.
const WIDER: u8 = 2;
/// Before this nobody is shown a bar.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// What the file is compared with.
pub struct Against {
    /// Nothing: everything was refused.
    pub artifact: Option<Artifact>,
    digest: Option<[u8; 32]>,
    /// For people.
    words: String,
    /// Why it is not the policy in force, where it should be.
    unread: Option<Failure>,
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
    against: &'a str,
    in_force_unread: Option<&'a str>,
    wider: usize,
    undecided: usize,
    narrower: usize,
    comparison: &'a Comparison,
    recorded: Option<&'a recorded::Recorded>,
    unenforced: Vec<String>,
    diagnostics: &'a [faramesh_policy_compiler::DiagnosticReport],
}

/// Compiles and compares.
///
/// # Errors
/// The policy has errors (65), or the one that it is compared with cannot be read.
pub fn run(global: &Global, args: &PlanArgs, output: &Output) -> Result<u8, Failure> {
    let layout = stack::to_apply(global, args.name.as_deref())?;
    let (compiled, findings) = source::compile_valid(&layout.source(), output)?;
    let (in_force, pending) = in_force(&layout)?;
    let against = match &args.against {
        Some(asked) => named_against(global, &layout, asked, output)?,
        None => in_force_against(global, &layout, &in_force)?,
    };
    if let (Some(failure), true) = (&against.unread, args.fail_on_wider) {
        // A comparison with another policy proves nothing about this one.
        return Err(failure.clone());
    }
    let changes = changes::between(against.artifact.as_ref(), &compiled.artifact);
    let unchanged = against.digest == Some(compiled.stored.digest);
    let comparison = compared(against.artifact.as_ref(), &compiled.artifact, output);
    if let Some(unread) = &against.unread {
        output.warn(&unread.message);
    }
    output.line(format!(
        "{} ({}): {}",
        layout.stack,
        status::mode(&layout),
        against.words
    ));
    if let Some(number) = pending {
        output.line(format!("  next {number} lies pending; `apply` replaces it"));
    }
    let lacking = lacking(&layout, &compiled);
    let recorded = if unchanged {
        output.line("nothing would change");
        None
    } else {
        people(&changes, lacking.is_empty(), output);
        meaning::print(&comparison, output);
        Some(recorded::replay(
            &layout,
            &args.replay,
            &compiled.artifact,
            output,
        )?)
    };
    check::unenforced(&lacking, output);
    let wider = comparison.count(Reach::Wider);
    let undecided = comparison.count(Reach::Undecided);
    output.json(&Plan {
        stack: &layout.stack,
        mode: status::mode(&layout),
        in_force: in_force.named(),
        pending_number: pending,
        digest: digest_text(&compiled.stored.digest),
        changed: !unchanged,
        changes: &changes,
        against: &against.words,
        in_force_unread: against
            .unread
            .as_ref()
            .map(|unread| unread.message.as_str()),
        wider,
        undecided,
        narrower: comparison.count(Reach::Narrower),
        comparison: &comparison,
        recorded: recorded.as_ref(),
        unenforced: lacking.iter().map(Lacking::placed).collect(),
        diagnostics: &findings.reports,
    });
    if args.fail_on_wider && comparison.may_be_wider() {
        output.warn(format!(
            "--fail-on-wider: {wider} wider, {undecided} that cannot be decided"
        ));
        return Ok(WIDER);
    }
    Ok(exit::OK)
}

/// The policy in force. An ordinary user may not read that of an enforced stack; then it is the development one, and that
/// is said.
fn in_force_against(
    global: &Global,
    layout: &Layout,
    in_force: &InForce,
) -> Result<Against, Failure> {
    let artifact = in_force
        .named()
        .map(|named| policies::artifact(layout, &named.digest))
        .transpose()?;
    let unread = match stack::enforced(&stack::directory(global)?)? {
        Some(enforced) if !layout.is_enforced() && !global.development => Some(
            Failure::permission(format!(
                "`{}` is enforced, and its policy is not what this is compared with: `{}` can be read by root and \
                 the daemon only; compared with the development policy",
                enforced.stack,
                enforced.artifacts().display()
            ))
            .next("run `plan` as root, or name the policy with --against"),
        ),
        _ => None,
    };
    Ok(Against {
        digest: in_force.named().map(|named| named.digest),
        words: words(in_force),
        artifact,
        unread,
    })
}

/// A policy that the user names: a file, or one of those that were signed.
///
/// # Errors
/// There is no such policy, or it cannot be read or has errors.
pub fn named_against(
    global: &Global,
    layout: &Layout,
    asked: &str,
    output: &Output,
) -> Result<Against, Failure> {
    let path = Path::new(asked);
    let is_number = asked.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number && path.is_file() {
        let stored = files::read_limited(path, ARTIFACT_BYTES_MAX as u64)?.unwrap_or_default();
        let words = format!("compared with `{}`", Untrusted(asked));
        if stored.starts_with(ARTIFACT_MAGIC) {
            let artifact = artifact::decode(&stored)
                .map_err(|why| Failure::data(format!("`{}`: {why}", Untrusted(asked))))?;
            let digest = Some(artifact::digest(&stored));
            return Ok(Against {
                artifact: Some(artifact),
                digest,
                words,
                unread: None,
            });
        }
        let (compiled, _) = source::compile_valid(path, output)?;
        return Ok(Against {
            digest: Some(compiled.stored.digest),
            artifact: Some(compiled.artifact),
            words,
            unread: None,
        });
    }
    let digits = asked.strip_prefix("sha256:").unwrap_or(asked);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::data(format!(
            "there is no policy `{}` to compare with",
            Untrusted(asked)
        ))
        .next("name a file, or a number or digest of `faramesh policy list`"));
    }
    // Reading needs no more than the policy: the enforced one is looked at where it is there.
    let enforced = stack::enforced(&stack::directory(global)?)?;
    let of = enforced.filter(|_| !global.development);
    let of = of.as_ref().unwrap_or(layout);
    let known = policy::Known::of(of)?;
    let (digest, _) = policy::which(&known, Some(asked))?;
    Ok(Against {
        artifact: Some(policies::artifact(of, &digest)?),
        digest: Some(digest),
        words: format!("compared with {}", digest_text(&digest)),
        unread: None,
    })
}

/// The comparison by meaning, with a bar where it takes its time.
fn compared(before: Option<&Artifact>, after: &Artifact, output: &Output) -> Comparison {
    let bar = ProgressBar::hidden();
    if output.shows_progress() {
        let style = ProgressStyle::with_template("comparing {bar:40} {pos}/{len} agents {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    }
    let started = Instant::now();
    let comparison =
        compare::compare_watched(before, after, &Limits::default(), &mut |done, all| {
            if output.shows_progress() && started.elapsed() >= PATIENCE {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            }
        });
    bar.finish_and_clear();
    comparison
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

fn words(in_force: &InForce) -> String {
    match in_force {
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
    }
}

/// What `apply` would refuse the policy for. Where no daemon can be asked, it is asked of this version.
fn lacking(layout: &Layout, compiled: &Compiled) -> Vec<Lacking> {
    let Compiled {
        artifact, places, ..
    } = compiled;
    match apply::enforced(layout) {
        Ok(has) => constructs::lacking(artifact, &has, places),
        Err(_) => constructs::lacking(artifact, constructs::OF_THIS_VERSION, places),
    }
}

fn people(changes: &Changes, can_be_applied: bool, output: &Output) {
    print(changes, output);
    let (added, removed, changed) = changes.rule_counts();
    let blocks = match changes.setting_counts() {
        (0, 0, 0) => String::new(),
        (added, removed, changed) => {
            format!("; settings and blocks: +{added} ~{changed} -{removed}")
        }
    };
    let does_it = match can_be_applied {
        true => "; `faramesh apply` does it",
        false => "",
    };
    output.line(format!(
        "{added} to add, {changed} to change, {removed} to remove{blocks}{does_it}"
    ));
}

/// What a change means, for people: nothing to programs.
pub fn print_meaning(before: Option<&Artifact>, after: &Artifact, output: &Output) {
    if !output.is_json() {
        meaning::print(&compared(before, after, output), output);
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
        output.line(match agent.name.as_str() {
            "" => format!("every agent{word}"),
            name => format!("agent \"{}\"{word}", Untrusted(name)),
        });
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
            .map_or("nothing".to_owned(), |v| Written(v).to_string())
    };
    let line = match (&setting.before, &setting.after) {
        (None, Some(after)) => format!(
            "  {} {} {}",
            output.paint(Paint::Good, "+"),
            Written(&setting.key),
            Written(after)
        ),
        (before, after) => format!(
            "  {} {} {} → {}",
            output.paint(Paint::Caution, "~"),
            Written(&setting.key),
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
            Written(before)
        ));
    }
    if let Some(after) = &rule.after {
        output.line(format!(
            "  {} {}",
            output.paint(Paint::Good, "+"),
            Written(after)
        ));
    }
}
