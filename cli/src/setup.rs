//! What `apply` writes beside the policy: directories, pins, `daemon.toml`, the launcher, pointers.
//!
//! Invariants: every file is written durably and is the same when nothing changed; a user's number is resolved here and
//! nowhere later; the launcher is a script that a person can read.
#![forbid(unsafe_code)]

use crate::accounts::{self, Account, Made};
use crate::failure::Failure;
use crate::files;
use crate::layout::{DOT, Layout, WORKSPACE};
use crate::siblings::{self, Sibling};
use crate::sign::{self, root_when_enforced};
use crate::stack::StackFile;
use crate::supervise;
use crate::sys::{self, Birth};
use faramesh_core::checkpoint::LogKey;
use faramesh_core::cosign::{WITNESSES_BYTES_MAX, Witnesses};
use faramesh_core::policy::artifact::Artifact;
use faramesh_daemon::config::{AgentUser, Config, Limits};
use nix::unistd::{Gid, Uid, User};
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user of an agent that names no `run_as`.
pub const DEFAULT_AGENT_USER: &str = "faramesh-agent";
/// A journal segment, bytes: some 50,000 records, made in a fraction of a second.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The same in development, where nobody wants to wait for zeros.
const SEGMENT_BYTES_DEVELOPMENT: u64 = 4 * 1024 * 1024;

/// Makes Faramesh's own users and the agents' where they are missing. Development has none.
///
/// # Errors
/// An agent would run as root or as one of ours, or a user cannot be made.
pub fn ensure_users(layout: &Layout, artifact: &Artifact) -> Result<(Vec<Account>, Made), Failure> {
    if !layout.is_enforced() {
        return Ok((Vec::new(), Made::new()));
    }
    for agent in &artifact.agents {
        let user = run_as(agent.run_as.as_deref());
        let is_ours = |ours: &[&str]| ours.contains(&user);
        if user == "root" || is_ours(&accounts::OWN_USERS) || is_ours(&accounts::OTHER_USERS) {
            return Err(Failure::data(format!(
                "agent `{}`: `run_as` is `{user}`, and no agent may be that user",
                agent.name
            ))
            .next("name a user that exists for this agent alone; it is made where it is missing"));
        }
    }
    let mut made = accounts::ensure_own()?;
    let mut users: Vec<Account> = Vec::new();
    for agent in &artifact.agents {
        let account = accounts::ensure_agent(run_as(agent.run_as.as_deref()), &mut made)?;
        fit_for_an_agent(&account)?;
        if !users.contains(&account) {
            users.push(account);
        }
    }
    Ok((users, made))
}

fn run_as(named: Option<&str>) -> &str {
    named.unwrap_or(DEFAULT_AGENT_USER)
}

/// A user that an agent may have: not root by number, and in none of our groups.
fn fit_for_an_agent(account: &Account) -> Result<(), Failure> {
    let refuse = |why: String| {
        Err(
            Failure::configuration(format!("no agent may run as `{}`: {why}", account.name))
                .next("name another user with `run_as`, or take it out of that group"),
        )
    };
    if account.uid.is_root() || account.gid.as_raw() == 0 {
        return refuse("it is root, or has root's group".to_owned());
    }
    let groups = accounts::groups_of(account);
    for name in accounts::OWN_GROUPS {
        if accounts::group(name)?.is_some_and(|gid| groups.contains(&gid)) {
            return refuse(format!("it is in the group `{name}`"));
        }
    }
    Ok(())
}

/// Makes the directories of state, with their owners and modes.
///
/// # Errors
/// One cannot be made.
pub fn ensure_directories(layout: &mut Layout) -> Result<(), Failure> {
    if !layout.is_enforced() {
        files::ensure_plain_dir(&layout.dot())?;
    }
    for place in layout.places() {
        files::ensure_place(&place, layout.is_enforced())?;
    }
    for dir in [layout.dot(), layout.dot().join("bin")] {
        files::ensure_dir(&dir, 0o755, root_when_enforced(layout))?;
    }
    supervise::settle_run_dir(layout)
}

/// Makes the workspace where it is missing; when enforced it is the agent's own, also where `init` made it as root.
/// With several agent users nobody can say whose it is: each is then given one of its own with --workspace.
///
/// # Errors
/// It cannot be made.
pub fn ensure_workspace(layout: &Layout, users: &[Account]) -> Result<Made, Failure> {
    let path = layout.workspace();
    let meta = std::fs::symlink_metadata(&path).ok();
    if !layout.is_enforced() {
        if meta.is_none() {
            files::ensure_dir(&path, 0o755, None)?;
        }
        return Ok(Made::new());
    }
    match (users, meta) {
        ([only], None) => {
            files::ensure_dir(&path, 0o770, Some((only.uid, only.gid)))?;
            Ok(vec![format!(
                "made {} for the user `{}`",
                path.display(),
                only.name
            )])
        }
        ([only], Some(meta)) if meta.is_dir() && meta.uid() == 0 => {
            files::ensure_dir(&path, 0o770, Some((only.uid, only.gid)))?;
            Ok(vec![format!(
                "gave {} to the user `{}`",
                path.display(),
                only.name
            )])
        }
        _ => Ok(Made::new()),
    }
}

/// Says which directory this stack is.
///
/// # Errors
/// It cannot be written.
pub fn write_stack_file(layout: &Layout) -> Result<(), Failure> {
    let file = StackFile {
        stack: layout.stack.clone(),
        dir: layout.dir.clone(),
    };
    let text = toml::to_string(&file)
        .map_err(|e| Failure::internal(format!("cannot write stack.toml: {e}")))?;
    write(layout, &layout.stack_toml(), &text, 0o644)
}

/// Lets the signer make its keys where it has none, and pins the public halves.
///
/// # Errors
/// The signer is missing or refuses, or its key is not the pinned one.
pub fn pin_log_key(layout: &Layout) -> Result<LogKey, Failure> {
    let lines = signer_vkeys(layout)?;
    let key = LogKey::parse(&lines).map_err(|e| {
        Failure::internal(format!(
            "`faramesh-signer init` printed no public keys: {e}"
        ))
    })?;
    match sign::log_key(&layout.log_pub())? {
        Some(pinned) if pinned == key => {}
        Some(_) => {
            return Err(Failure::configuration(format!(
                "the signer's keys are not those that `{}` pins",
                layout.log_pub().display()
            ))
            .next("somebody replaced one of them: put back the file that belongs to the journal"));
        }
        None => write(layout, &layout.log_pub(), &key.to_string(), 0o644)?,
    }
    Ok(key)
}

/// The witnesses in a file: a public key line each.
///
/// # Errors
/// It cannot be read, a line is no witness's key, or one stands there twice.
pub fn witnesses(path: &Path) -> Result<Witnesses, Failure> {
    let text = files::read_text(path, WITNESSES_BYTES_MAX as u64)?.ok_or_else(|| {
        Failure::configuration(format!("no witnesses are pinned: there is no `{}`", path.display()))
            .next("put a line of each witness's witness.pub into a file, and `faramesh apply --witnesses FILE`")
    })?;
    Witnesses::parse(&text).map_err(|e| {
        Failure::configuration(format!("`{}`: {e}", path.display()))
            .next("each line is one witness's public key, as `faramesh witness init` prints it")
    })
}

/// Whether as many witnesses are pinned, or are about to be, as the policy asks for.
///
/// # Errors
/// They are fewer (78): calls would be refused for ever. Nothing was changed.
pub fn enough_witnesses(
    layout: &Layout,
    artifact: &Artifact,
    given: Option<&Witnesses>,
) -> Result<(), Failure> {
    let Some(anchor) = &artifact.runtime.anchor else {
        return Ok(());
    };
    let path = layout.witnesses_pub();
    let pinned = match given {
        Some(given) => given.len(),
        None if path.exists() => witnesses(&path)?.len(),
        None => 0,
    };
    if u64::try_from(pinned).is_ok_and(|pinned| pinned >= u64::from(anchor.quorum)) {
        return Ok(());
    }
    Err(Failure::configuration(format!(
        "the policy wants {} of the pinned witnesses to attest the journal (`anchor_quorum`), and {pinned} are pinned",
        anchor.quorum
    ))
    .next("pin them: `faramesh apply --witnesses FILE` with a line of each witness's witness.pub; nothing was changed"))
}

/// Pins witnesses; tells whether others were pinned before, or none.
///
/// # Errors
/// The file cannot be written.
pub fn pin_witnesses(layout: &Layout, witnesses: &Witnesses) -> Result<bool, Failure> {
    let text: String = witnesses.iter().map(|key| key.vkey() + "\n").collect();
    let path = layout.witnesses_pub();
    if files::read_text(&path, WITNESSES_BYTES_MAX as u64)?.is_some_and(|before| before == text) {
        return Ok(false);
    }
    write(layout, &path, &text, 0o644)?;
    Ok(true)
}

fn signer_vkeys(layout: &Layout) -> Result<String, Failure> {
    let program = siblings::find(Sibling::Signer)?;
    let mut command = Command::new(&program);
    command
        .arg("init")
        .arg("--state")
        .arg(layout.signer())
        .arg("--stack")
        .arg(&layout.stack);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    supervise::scrub_environment(&mut command);
    sys::arrange(
        &mut command,
        Birth {
            identity: supervise::signer_identity(layout)?,
            ..Birth::default()
        },
    );
    let out = command
        .output()
        .map_err(|e| Failure::unavailable(format!("cannot run `{}`: {e}", program.display())))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let code = out
        .status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(crate::failure::exit::INTERNAL);
    Err(Failure::new(
        code,
        format!(
            "`faramesh-signer init` failed: {}",
            crate::untrusted::Untrusted(said.trim())
        ),
    ))
}

/// The daemon's configuration for a policy.
///
/// # Errors
/// A user or group is missing.
pub fn config(
    layout: &Layout,
    artifact: &Artifact,
    users: &[Account],
    log: &LogKey,
    warnings: Vec<String>,
) -> Result<Config, Failure> {
    let enforced = layout.is_enforced();
    let own = Uid::effective();
    let (uid, signer_uid) = match enforced {
        true => (
            accounts::existing_user(accounts::DAEMON)?.uid,
            accounts::existing_user(accounts::SIGNER)?.uid,
        ),
        false => (own, own),
    };
    let defaulted = artifact.agents.iter().any(|agent| agent.run_as.is_none());
    Ok(Config {
        stack: layout.stack.clone(),
        origin: log.name().as_str().to_owned(),
        mode: layout.mode,
        uid: uid.as_raw(),
        policy_dir: layout.policy().to_owned(),
        policy_pub: layout.policy_pub(),
        log_pub: layout.log_pub(),
        journal_dir: layout.journal().to_owned(),
        run_dir: layout.run().to_owned(),
        signer_socket: layout.signer_socket(),
        signer_uid: signer_uid.as_raw(),
        operators_gid: match enforced {
            true => Some(accounts::existing_group(accounts::OPERATORS)?.as_raw()),
            false => None,
        },
        default_run_as: (enforced && defaulted).then(|| DEFAULT_AGENT_USER.to_owned()),
        session_cgroup_roots: if enforced {
            cgroup_roots(layout)
        } else {
            Vec::new()
        },
        hidden_paths: layout.hidden(),
        segment_bytes: if enforced {
            SEGMENT_BYTES
        } else {
            SEGMENT_BYTES_DEVELOPMENT
        },
        warnings,
        limits: match enforced {
            true => Limits::STANDARD,
            // One user has one disk: nobody is kept from filling it by filling it for others.
            false => Limits {
                session_journal_bytes_per_hour: 0,
                ..Limits::STANDARD
            },
        },
        agents: match enforced {
            true => users
                .iter()
                .map(|user| AgentUser {
                    user: user.name.clone(),
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                })
                .collect(),
            false => vec![this_user(own)],
        },
    })
}

fn this_user(uid: Uid) -> AgentUser {
    let user = User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name);
    AgentUser {
        user,
        uid: uid.as_raw(),
        gid: Gid::effective().as_raw(),
    }
}

/// Where `faramesh-agent` makes a session's cgroup, as the kernel shows it: below the mount of cgroup v2, which in a
/// container may itself be somewhere below the host's root.
fn cgroup_roots(layout: &Layout) -> Vec<String> {
    let ours = format!("/faramesh/{}", layout.stack);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .find_map(|line| line.split(' ').nth(3));
    match root {
        Some(root) if root != "/" && !root.contains("..") => {
            vec![format!("{}{ours}", root.trim_end_matches('/')), ours]
        }
        _ => vec![ours],
    }
}

/// Checks the configuration as the daemon will, and writes it with everything that stands beside it.
///
/// # Errors
/// It cannot hold, or cannot be written.
pub fn write_config(layout: &Layout, config: &Config) -> Result<(), Failure> {
    let faults = config.check();
    if let Some(first) = faults.first() {
        return Err(Failure::configuration(format!(
            "the daemon could not run with this set-up: {first}"
        )));
    }
    let text = toml::to_string(config)
        .map_err(|e| Failure::internal(format!("cannot write daemon.toml: {e}")))?;
    let text = format!(
        "# Written by `faramesh apply`, which overwrites it. The daemon reads it once, at start.\n{text}"
    );
    write(layout, &layout.daemon_toml(), &text, 0o644)?;
    if layout.is_enforced() {
        write(
            layout,
            &layout.tmpfiles_conf(),
            &tmpfiles(layout, config),
            0o644,
        )?;
    }
    Ok(())
}

/// The run directories, for systemd-tmpfiles(8): the same as `Supervisor::start` makes.
fn tmpfiles(layout: &Layout, config: &Config) -> String {
    let mut text =
        String::from("# Written by `faramesh apply`: the directories of this stack's sockets.\n");
    for place in layout.run_places() {
        text.push_str(&format!(
            "d {} {:04o} {} {} -\n",
            place.path.display(),
            place.mode,
            place.user,
            place.group
        ));
    }
    for agent in &config.agents {
        let dir = layout.agents().join(agent.uid.to_string());
        text.push_str(&format!(
            "d {} 2750 {} {} -\n",
            dir.display(),
            accounts::DAEMON,
            agent.gid
        ));
    }
    text
}

/// Writes the launcher and the pointer into the stack.
///
/// # Errors
/// They cannot be written.
pub fn write_launcher(layout: &Layout, config: &Config) -> Result<(), Failure> {
    let agent = siblings::find(Sibling::Agent)
        .unwrap_or_else(|_| PathBuf::from("/usr/bin").join(Sibling::Agent.name()));
    write(layout, &layout.launcher(), &launcher(layout, &agent), 0o755)?;
    #[derive(Serialize)]
    struct Pointer<'a> {
        stack: &'a str,
        mode: &'a str,
        daemon_toml: PathBuf,
        log_pub: PathBuf,
        admin_socket: PathBuf,
        agent_sockets: Vec<PathBuf>,
    }
    let pointer = Pointer {
        stack: &layout.stack,
        mode: crate::commands::status::mode(layout),
        daemon_toml: layout.daemon_toml(),
        log_pub: layout.log_pub(),
        admin_socket: layout.admin_socket(),
        agent_sockets: config
            .agents
            .iter()
            .map(|agent| layout.agent_socket(Uid::from_raw(agent.uid)))
            .collect(),
    };
    let text = serde_json::to_string_pretty(&pointer)
        .map_err(|e| Failure::internal(format!("cannot write a pointer: {e}")))?;
    write(layout, &layout.pointer(), &format!("{text}\n"), 0o644)
}

const LAUNCHER: &str = include_str!("launcher.sh");

fn launcher(layout: &Layout, agent: &Path) -> String {
    LAUNCHER
        .replace("@MODE@", crate::commands::status::mode(layout))
        .replace("@STACK@", &quoted(&layout.dir))
        .replace("@AGENT@", &quoted(agent))
        .replace("@ATTACH@", &quoted(&layout.attach_socket()))
        .replace("@DOT@", DOT)
        .replace("@WORKSPACE@", WORKSPACE)
}

/// A path as one word of a shell script.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn write(layout: &Layout, path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    if files::read_text(path, u64::MAX - 1)
        .ok()
        .flatten()
        .as_deref()
        == Some(text)
    {
        return Ok(());
    }
    files::write_durably(path, text.as_bytes(), mode, root_when_enforced(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_quote_is_one_word_of_the_launcher() {
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }

    #[test]
    fn the_launcher_has_no_placeholder_left() {
        let layout = Layout::enforced("bot", Path::new("/srv/bot"));
        let script = launcher(&layout, Path::new("/usr/bin/faramesh-agent"));
        assert!(
            !script.contains('@') || script.matches('@').count() == script.matches("$@").count(),
            "{script}"
        );
        assert!(script.starts_with("#!/bin/sh\n"));
    }
}
