//! `faramesh apply`: from a file to a policy in force.
//!
//! [`apply`] is the page to read: its steps stand in order, each is a function, and between any two of them the process
//! may die. Until `next` is written nothing that the daemon reads has changed its meaning; from then on the manifest is
//! signed, complete and pending, and the next start (or the next apply) puts it in force. An activation that is refused
//! withdraws `next`: the old policy keeps deciding.
#![forbid(unsafe_code)]

use crate::accounts::Account;
use crate::args::{ApplyArgs, Global};
use crate::client::{self, NoConnection};
use crate::commands::plan::{self, InForce};
use crate::commands::{check, status};
use crate::constructs::{self, Places};
use crate::failure::{Failure, exit};
use crate::files;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::policies::{self, digest_text};
use crate::setup;
use crate::siblings::{self, Sibling};
use crate::sign::PolicyKey;
use crate::source::{self, Compiled};
use crate::stack;
use crate::trust::{self, Weakness};
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::Manifest;
use faramesh_core::cosign::Witnesses;
use faramesh_core::policy::artifact::{Artifact, Mode};
use faramesh_daemon::config::Config;
use faramesh_proto::v1::ActivateRequest;
use serde::Serialize;
use std::path::PathBuf;
use std::process::Command;

/// Constructs that a refusal names; a policy that asks for more is mended in several goes.
const CONSTRUCTS_SHOWN_MAX: usize = 30;

/// The steps, in order. A debug build dies after the one that `FARAMESH_TEST_STOP_AFTER` names: docs/cli.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the functions")]
pub enum Step {
    Compile,
    Capabilities,
    Users,
    Directories,
    Keys,
    Configuration,
    Launcher,
    Guard,
    Artifact,
    ArtifactNote,
    Manifest,
    Next,
    Activate,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Step; 13] = [
        Step::Compile,
        Step::Capabilities,
        Step::Users,
        Step::Directories,
        Step::Keys,
        Step::Configuration,
        Step::Launcher,
        Step::Guard,
        Step::Artifact,
        Step::ArtifactNote,
        Step::Manifest,
        Step::Next,
        Step::Activate,
    ];

    /// Its name for `FARAMESH_TEST_STOP_AFTER`.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Compile => "compile",
            Step::Capabilities => "capabilities",
            Step::Users => "users",
            Step::Directories => "directories",
            Step::Keys => "keys",
            Step::Configuration => "configuration",
            Step::Launcher => "launcher",
            Step::Guard => "guard",
            Step::Artifact => "artifact",
            Step::ArtifactNote => "artifact-note",
            Step::Manifest => "manifest",
            Step::Next => "next",
            Step::Activate => "activate",
        }
    }
}

/// What came of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It decides.
    Activated(Manifest),
    /// It will, from the next start.
    Pending(Manifest),
    /// The policy that decides, or will from the next start, is the same already; nothing was signed.
    Unchanged {
        /// Its number.
        number: u64,
        /// Whether no daemon runs, so that nothing decides by it yet.
        pending: bool,
    },
}

#[derive(Debug, Serialize)]
struct Report {
    stack: String,
    mode: &'static str,
    outcome: &'static str,
    number: u64,
    digest: String,
    made: Vec<String>,
    warnings: Vec<String>,
}

/// What was done besides.
#[derive(Debug, Default)]
pub struct Applied {
    /// Users and groups that were made, one sentence each.
    pub made: Vec<String>,
    /// What somebody should look at, one sentence each.
    pub warnings: Vec<String>,
}

/// Applies the stack's policy in the set-up that this user can make.
///
/// # Errors
/// Any step failed; the old policy keeps deciding.
pub fn run(global: &Global, args: &ApplyArgs, output: &Output) -> Result<u8, Failure> {
    let mut layout = stack::to_apply(global, args.name.as_deref())?;
    if !layout.is_enforced() {
        loud(&layout, output);
    }
    let (compiled, _) = source::compile_valid(&layout.source(), output)?;
    let witnesses = args
        .witnesses
        .as_deref()
        .map(setup::witnesses)
        .transpose()?;
    let (outcome, applied) = apply(&mut layout, &compiled, witnesses.as_ref(), output)?;
    report(&layout, &compiled, &outcome, applied, output);
    Ok(exit::OK)
}

/// The steps.
///
/// # Errors
/// Any step failed; the old policy keeps deciding.
pub fn apply(
    layout: &mut Layout,
    compiled: &Compiled,
    witnesses: Option<&Witnesses>,
    output: &Output,
) -> Result<(Outcome, Applied), Failure> {
    passed(Step::Compile);
    setup::enough_witnesses(layout, &compiled.artifact, witnesses)?;
    capabilities(layout, &compiled.artifact, &compiled.places)?;
    passed(Step::Capabilities);
    let mut applied = Applied::default();
    let (users, made) = setup::ensure_users(layout, &compiled.artifact)?;
    applied.made = made;
    passed(Step::Users);
    // Before root writes below the stack: whoever may write there could make a link of what it goes through.
    guard(&[layout.source()], &users)?;
    if layout.is_enforced() {
        trust::only_root_may_write(&layout.dir)?;
    }
    setup::ensure_directories(layout)?;
    setup::write_stack_file(layout)?;
    passed(Step::Directories);
    let key = keys(layout, output)?;
    let log = setup::pin_log_key(layout)?;
    let other_witnesses = match witnesses {
        Some(witnesses) => setup::pin_witnesses(layout, witnesses)?,
        None => false,
    };
    passed(Step::Keys);
    applied.warnings = installation_warnings(layout);
    let config = setup::config(
        layout,
        &compiled.artifact,
        &users,
        &log,
        applied.warnings.clone(),
    )?;
    let restart = configure(layout, &config)? || other_witnesses;
    passed(Step::Configuration);
    setup::write_launcher(layout, &config)?;
    passed(Step::Launcher);
    guard(&layout.guarded(), &users)?;
    // Only now: nobody else can put a link where it stands.
    applied
        .made
        .extend(setup::ensure_workspace(layout, &users)?);
    applied.made.iter().for_each(|line| output.note(line));
    passed(Step::Guard);
    if let Some(outcome) = unchanged(layout, compiled)? {
        // The same rules may stand on other lines now.
        policies::write_map(layout, &compiled.stored.digest, &compiled.map)?;
        return Ok((outcome, applied));
    }
    policies::write_artifact(layout, &compiled.stored)?;
    policies::write_map(layout, &compiled.stored.digest, &compiled.map)?;
    passed(Step::Artifact);
    policies::write_artifact_note(layout, &key, &compiled.stored)?;
    passed(Step::ArtifactNote);
    let (manifest, note) = policies::write_manifest(layout, &key, compiled.stored.digest)?;
    passed(Step::Manifest);
    policies::write_next(layout, &note)?;
    passed(Step::Next);
    let active = client::block_on(activate(layout, &manifest))?;
    passed(Step::Activate);
    if active && restart {
        applied.warnings.push(
            "the set-up changed (users, limits or witnesses): restart the daemon to use it"
                .to_owned(),
        );
    }
    Ok((
        if active {
            Outcome::Activated(manifest)
        } else {
            Outcome::Pending(manifest)
        },
        applied,
    ))
}

/// A running daemon says what it enforces; without one the program does, which is what the next start will run.
///
/// # Errors
/// The policy asks for more (69), construct by construct; nothing was changed.
pub fn capabilities(layout: &Layout, artifact: &Artifact, places: &Places) -> Result<(), Failure> {
    // What will be needed and is missing is said before anything is made.
    siblings::find(Sibling::Signer)?;
    let lacking = constructs::lacking(artifact, &enforced(layout)?, places);
    if lacking.is_empty() {
        return Ok(());
    }
    let mut sentences: Vec<String> = lacking
        .iter()
        .take(CONSTRUCTS_SHOWN_MAX)
        .map(|construct| Untrusted(&construct.sentence()).to_string())
        .collect();
    if lacking.len() > sentences.len() {
        sentences.push(format!("and {} more", lacking.len() - sentences.len()));
    }
    Err(Failure::unavailable(sentences.join("\n  ")).next(
        "take these out of the policy, or install a farameshd that enforces them; nothing was changed",
    ))
}

/// What the running daemon of a stack enforces, else the installed one.
///
/// # Errors
/// None runs, and none is installed or it does not answer.
pub fn enforced(layout: &Layout) -> Result<Vec<String>, Failure> {
    let asked = match layout.stack_toml().exists() {
        true => client::block_on(status::ask(layout))?.map(|reply| reply.capabilities),
        false => None,
    };
    match asked {
        Some(capabilities) => Ok(capabilities),
        None => installed_capabilities(),
    }
}

fn installed_capabilities() -> Result<Vec<String>, Failure> {
    let program = siblings::find(Sibling::Daemon)?;
    let out = Command::new(&program)
        .arg("--capabilities")
        .env_clear()
        .output()
        .map_err(|e| Failure::unavailable(format!("cannot run `{}`: {e}", program.display())))?;
    if !out.status.success() {
        return Err(Failure::unavailable(format!(
            "`{} --capabilities` failed: {}",
            program.display(),
            out.status
        )));
    }
    Ok(String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect())
}

fn keys(layout: &Layout, output: &Output) -> Result<PolicyKey, Failure> {
    let (key, made) = PolicyKey::ensure(layout)?;
    key.pin(layout)?;
    if made {
        output.note(format!(
            "{} the policy key {}: keep a copy offline",
            output.paint(Paint::Good, "made"),
            layout.policy_key().display()
        ));
    }
    Ok(key)
}

/// Writes the configuration; tells whether a running daemon has another one.
fn configure(layout: &Layout, config: &Config) -> Result<bool, Failure> {
    let before = Config::load(&layout.daemon_toml()).ok();
    setup::write_config(layout, config)?;
    Ok(before.is_some_and(|before| before != *config))
}

/// What `status` and the start record say of this installation for as long as it is in use.
fn installation_warnings(layout: &Layout) -> Vec<String> {
    if layout.is_enforced() {
        return Vec::new();
    }
    vec!["nothing here stands against this user: it can replace the policy, its key, the log key and the journal".to_owned()]
}

/// Refuses where an agent's user could replace what governs it.
fn guard(paths: &[PathBuf], users: &[Account]) -> Result<(), Failure> {
    let mut weak: Vec<Weakness> = Vec::new();
    for path in paths {
        for weakness in trust::weaknesses(path, users)? {
            if !weak.contains(&weakness) {
                weak.push(weakness);
            }
        }
    }
    let Some(first) = weak.first() else {
        return Ok(());
    };
    let more = if weak.len() > 1 {
        format!(" (and {} more places)", weak.len() - 1)
    } else {
        String::new()
    };
    let mends: Vec<&str> = weak.iter().map(|weakness| weakness.mend.as_str()).collect();
    Err(Failure::configuration(format!("{}{more}", first.sentence())).next(mends.join("; ")))
}

/// The same artifact is in force already, or will be from the next start.
fn unchanged(layout: &Layout, compiled: &Compiled) -> Result<Option<Outcome>, Failure> {
    let (in_force, pending) = plan::in_force(layout)?;
    let same = |named: &plan::Named| named.digest == compiled.stored.digest;
    Ok(match &in_force {
        // A pending manifest would replace it at the next start, so that one has to be written again.
        InForce::Decides(named) if same(named) && pending.is_none() => Some(Outcome::Unchanged {
            number: named.number,
            pending: false,
        }),
        InForce::AtNextStart(named) if same(named) => Some(Outcome::Unchanged {
            number: named.number,
            pending: true,
        }),
        _ => None,
    })
}

/// Asks a running daemon to put `next` in force. `false`: none runs. A refusal withdraws `next`.
async fn activate(layout: &Layout, manifest: &Manifest) -> Result<bool, Failure> {
    let mut admin = match client::admin(&layout.admin_socket()).await {
        Ok(admin) => admin,
        Err(NoConnection::NotRunning) => return Ok(false),
        Err(NoConnection::Refused(failure)) => {
            return Err(failure.next(format!("next {} is pending", manifest.number)));
        }
    };
    let reply = client::reply(admin.activate(ActivateRequest {
        number: manifest.number,
    }))
    .await
    .map_err(|failure| {
        // Nobody knows whether it was recorded, so `next` stays: whatever holds, a restart makes it so.
        let message = format!(
            "{}; next {} may be in force or pending",
            failure.message, manifest.number
        );
        Failure::new(failure.exit, message).next("see `faramesh status`")
    })?;
    if reply.activated {
        return Ok(true);
    }
    files::remove_durably(&layout.next())?;
    policies::write_refusal(layout, manifest.number, &reply.message)?;
    Err(Failure::data(format!(
        "the daemon refused the policy: {}",
        Untrusted(&reply.message)
    ))
    .next(format!(
        "the old policy keeps deciding; number {} is used up",
        manifest.number
    )))
}

/// Said loudly wherever development is what happens.
pub fn loud(layout: &Layout, output: &Output) {
    output.warn(format!(
        "DEVELOPMENT: `{}` is governed without separate users. Any process of this user can be any agent, read the keys \
         and change the policy. Every record says so. For the enforced set-up run `faramesh apply` as root.",
        layout.stack
    ));
}

/// Says what came of it.
pub fn report(
    layout: &Layout,
    compiled: &Compiled,
    outcome: &Outcome,
    mut applied: Applied,
    output: &Output,
) {
    let (word, number) = match outcome {
        Outcome::Activated(manifest) => ("activated", manifest.number),
        Outcome::Pending(manifest) => ("pending", manifest.number),
        Outcome::Unchanged { number, .. } => ("unchanged", *number),
    };
    let digest = digest_text(&compiled.stored.digest);
    for warning in applied.warnings.iter().filter(|_| layout.is_enforced()) {
        output.warn(warning);
    }
    if compiled.artifact.runtime.mode == Mode::Shadow {
        if !output.is_json() {
            output.warn(status::SHADOW);
        }
        applied.warnings.push(status::SHADOW.to_owned());
    }
    let what = format!(
        "{} {number} {digest} ({})",
        layout.stack,
        check::count(compiled.rules(), "rule")
    );
    match outcome {
        Outcome::Activated(_) => output.line(format!(
            "{} {what}: it decides from now on",
            output.paint(Paint::Good, "applied")
        )),
        Outcome::Pending(_) => output.line(format!(
            "{} {what}: next {number} pending; start with `{}`",
            output.paint(Paint::Good, "applied"),
            status::start_hint(layout)
        )),
        Outcome::Unchanged { pending: false, .. } => output.line(format!(
            "nothing changed: {what} is in force already, nothing was signed"
        )),
        Outcome::Unchanged { pending: true, .. } => output.line(format!(
            "nothing changed: {what} lies ready already, nothing was signed; no daemon runs: start with `{}`",
            status::start_hint(layout)
        )),
    }
    output.json(&Report {
        stack: layout.stack.clone(),
        mode: status::mode(layout),
        outcome: word,
        number,
        digest,
        made: applied.made,
        warnings: applied.warnings,
    });
}

/// A failpoint for tests: dies here as a machine would that lost power. Release builds have none.
fn passed(step: Step) {
    if cfg!(debug_assertions)
        && std::env::var("FARAMESH_TEST_STOP_AFTER").is_ok_and(|name| name == step.name())
    {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
