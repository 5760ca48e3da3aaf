//! Artifacts and manifests on disk: the policy directory.
//!
//! Invariants: an artifact lies under its own digest and is never changed; a manifest's number is one more than any
//! number that was ever written, also where its activation was refused or never came; `next` is written last. What is
//! read back is believed only with the pinned key's signature. Only a source map is not signed: it is shown to people, and
//! nothing is decided by it.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::files::{self, Owner};
use crate::layout::Layout;
use crate::sign::{self, PolicyKey};
use faramesh_core::checkpoint::{ArtifactStatement, Manifest, NOTE_BYTES_MAX, PublicKey, hex};
use faramesh_core::policy::artifact::{self, ARTIFACT_BYTES_MAX, Artifact};
use faramesh_policy_compiler::SourceMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A line is at most seven digits and a comma, and an artifact has fewer rules than it has bytes.
const MAP_BYTES_MAX: u64 = ARTIFACT_BYTES_MAX as u64;

/// A compiled policy as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

impl Stored {
    /// Names bytes by their digest.
    pub fn new(bytes: Vec<u8>) -> Stored {
        Stored {
            digest: Sha256::digest(&bytes).into(),
            bytes,
        }
    }
}

/// `sha256:HEX`.
pub fn digest_text(digest: &[u8; 32]) -> String {
    format!("sha256:{}", hex(digest))
}

/// Writes the artifact where it is not there yet.
///
/// # Errors
/// It cannot be written.
pub fn write_artifact(layout: &Layout, stored: &Stored) -> Result<(), Failure> {
    let path = layout.artifacts().join(hex(&stored.digest));
    files::write_durably(&path, &stored.bytes, 0o640, policy_owner(layout)?)
}

/// Where an artifact's rules stood in the file that it was last applied from: what it does not say itself, so that layout
/// is no part of its digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// The file's name, without its directory.
    pub file: String,
    /// By agent, the lines of its rules.
    #[serde(flatten)]
    pub map: SourceMap,
}

impl Lines {
    /// `governance.fms:4` for a rule of an agent, counted from 0; a file without agents has one without a name.
    pub fn place(&self, agent: &str, rule: u32) -> Option<String> {
        let agents = &self.map.agents;
        let lines = agents.get(agent).or_else(|| agents.get(""))?;
        let line = lines.get(rule as usize)?;
        Some(format!("{}:{line}", self.file))
    }
}

/// Writes beside an artifact where its rules stand. Nothing where that is not known: what was written before still holds.
///
/// # Errors
/// It cannot be written.
pub fn write_map(layout: &Layout, digest: &[u8; 32], map: &SourceMap) -> Result<(), Failure> {
    if map.agents.is_empty() {
        return Ok(());
    }
    let source = layout.source();
    let name = source.file_name().unwrap_or_default();
    let lines = Lines {
        file: name.to_string_lossy().into_owned(),
        map: map.clone(),
    };
    let text = serde_json::to_vec(&lines)
        .map_err(|e| Failure::internal(format!("the source map cannot be written down: {e}")))?;
    let path = map_path(layout, digest);
    files::write_durably(&path, &text, 0o640, policy_owner(layout)?)
}

/// Where the rules of an artifact stand, as far as that is known to who asks; the journal's readers need not be able to
/// read the policy.
pub fn lines(layout: &Layout, digest: &[u8; 32]) -> Lines {
    files::read_limited(&map_path(layout, digest), MAP_BYTES_MAX)
        .ok()
        .flatten()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn map_path(layout: &Layout, digest: &[u8; 32]) -> std::path::PathBuf {
    layout.artifacts().join(format!("{}.map", hex(digest)))
}

/// Signs the artifact.
///
/// # Errors
/// It cannot be signed or written.
pub fn write_artifact_note(
    layout: &Layout,
    key: &PolicyKey,
    stored: &Stored,
) -> Result<(), Failure> {
    let note = key.seal(&ArtifactStatement {
        stack: layout.stack.clone(),
        digest: stored.digest,
    })?;
    let path = layout
        .artifacts()
        .join(format!("{}.note", hex(&stored.digest)));
    files::write_durably(&path, note.as_bytes(), 0o640, policy_owner(layout)?)
}

/// Signs and writes the manifest that puts an artifact in force, under the next number. It is not in force yet.
///
/// # Errors
/// It cannot be signed or written.
pub fn write_manifest(
    layout: &Layout,
    key: &PolicyKey,
    digest: [u8; 32],
) -> Result<(Manifest, String), Failure> {
    let number = highest_number(layout)?
        .checked_add(1)
        .ok_or_else(|| Failure::internal("the manifests' numbers are used up"))?;
    let manifest = Manifest {
        stack: layout.stack.clone(),
        number,
        digest,
        time: now(),
        signed_by: signer(),
    };
    let note = key.seal(&manifest)?;
    let path = layout.manifests().join(format!("{number:020}.note"));
    files::write_durably(&path, note.as_bytes(), 0o640, policy_owner(layout)?)?;
    Ok((manifest, note))
}

/// Puts a manifest up for activation.
///
/// # Errors
/// It cannot be written; the old one is there.
pub fn write_next(layout: &Layout, note: &str) -> Result<(), Failure> {
    files::write_durably(
        &layout.next(),
        note.as_bytes(),
        0o640,
        policy_owner(layout)?,
    )
}

/// The manifest in `next`, verified; `None` where there is none.
///
/// # Errors
/// It is not one of this stack's, or no key is pinned.
pub fn next(layout: &Layout) -> Result<Option<Manifest>, Failure> {
    let path = layout.next();
    let Some(note) = files::read_limited(&path, NOTE_BYTES_MAX as u64)? else {
        return Ok(None);
    };
    let manifest = pinned(layout)?.open::<Manifest>(&note).map_err(|e| {
        Failure::data(format!(
            "`{}` is not a manifest of this stack: {e}",
            path.display()
        ))
        .next("somebody changed it; `faramesh apply` writes it anew")
    })?;
    Ok(Some(manifest.into_inner()))
}

/// Reads an artifact back: signature, digest and form are checked.
///
/// # Errors
/// It is missing, changed, or not signed by the pinned key.
pub fn artifact(layout: &Layout, digest: &[u8; 32]) -> Result<Artifact, Failure> {
    stored(layout, digest).map(|(artifact, _)| artifact)
}

/// The same with its bytes.
///
/// # Errors
/// The same.
pub fn stored(layout: &Layout, digest: &[u8; 32]) -> Result<(Artifact, Stored), Failure> {
    let name = hex(digest);
    let path = layout.artifacts().join(&name);
    let missing = || {
        Failure::data(format!("the artifact `{}` is missing", path.display()))
            .next("apply the policy again")
    };
    let bytes = files::read_limited(&path, ARTIFACT_BYTES_MAX as u64)?.ok_or_else(missing)?;
    let note = files::read_limited(
        &layout.artifacts().join(format!("{name}.note")),
        NOTE_BYTES_MAX as u64,
    )?
    .ok_or_else(missing)?;
    let changed = |why: String| {
        Failure::data(format!(
            "the artifact `{}` cannot be trusted: {why}",
            path.display()
        ))
        .next("apply the policy again")
    };
    let statement = pinned(layout)?
        .open::<ArtifactStatement>(&note)
        .map_err(|e| changed(e.to_string()))?;
    let stored = Stored::new(bytes);
    if statement.digest != *digest || stored.digest != *digest {
        return Err(changed("its digest is another one".to_owned()));
    }
    let artifact = artifact::decode(&stored.bytes).map_err(|e| changed(e.to_string()))?;
    Ok((artifact, stored))
}

/// Every manifest that was written, the newest first.
///
/// # Errors
/// The directory cannot be read, or no key is pinned. A manifest that cannot be trusted is in the list as such.
pub fn manifests(layout: &Layout) -> Result<Vec<Written>, Failure> {
    let mut numbers = numbers(layout)?;
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let key = pinned(layout)?;
    numbers
        .into_iter()
        .map(|number| written(layout, &key, number))
        .collect()
}

/// A manifest's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The number that its file bears.
    pub number: u64,
    /// What it says; `Err`: why it cannot be trusted.
    pub manifest: Result<Manifest, String>,
    /// Why the daemon refused it, where it did.
    pub refused: Option<String>,
}

fn written(layout: &Layout, key: &PublicKey, number: u64) -> Result<Written, Failure> {
    let path = layout.manifests().join(format!("{number:020}.note"));
    let note = files::read_limited(&path, NOTE_BYTES_MAX as u64)?.unwrap_or_default();
    let manifest = match key.open::<Manifest>(&note).map(|m| m.into_inner()) {
        Ok(manifest) if manifest.number == number && manifest.stack == layout.stack => Ok(manifest),
        Ok(_) => Err("it is another one's".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let refused = files::read_text(&refusal_path(layout, number), NOTE_BYTES_MAX as u64)?
        .map(|why| why.trim_end().to_owned());
    Ok(Written {
        number,
        manifest,
        refused,
    })
}

/// Writes down why the daemon refused a number: for people who look at the list. Nothing is decided by it.
///
/// # Errors
/// It cannot be written.
pub fn write_refusal(layout: &Layout, number: u64, why: &str) -> Result<(), Failure> {
    let path = refusal_path(layout, number);
    files::write_durably(&path, why.as_bytes(), 0o640, policy_owner(layout)?)
}

fn refusal_path(layout: &Layout, number: u64) -> std::path::PathBuf {
    layout.manifests().join(format!("{number:020}.refused"))
}

fn pinned(layout: &Layout) -> Result<PublicKey, Failure> {
    let path = layout.policy_pub();
    sign::public_key(&path)?.ok_or_else(|| {
        Failure::configuration(format!(
            "no policy key is pinned: `{}` is missing",
            path.display()
        ))
        .next("run `faramesh apply`")
    })
}

/// The highest number that was ever written, 0 for none: the files are never removed.
///
/// # Errors
/// The directory cannot be read.
pub fn highest_number(layout: &Layout) -> Result<u64, Failure> {
    Ok(numbers(layout)?.into_iter().max().unwrap_or(0))
}

fn numbers(layout: &Layout) -> Result<Vec<u64>, Failure> {
    let dir = layout.manifests();
    let entries = std::fs::read_dir(&dir).map_err(|e| Failure::io("read", &dir, &e))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|e| Failure::io("read", &dir, &e))?
            .file_name();
        numbers.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(".note")?.parse::<u64>().ok()),
        );
    }
    Ok(numbers)
}

/// `root:faramesh`, so that the daemon reads and cannot write.
fn policy_owner(layout: &Layout) -> Result<Owner, Failure> {
    match layout.is_enforced() {
        true => Ok(Some(files::owner("root", crate::accounts::DAEMON)?)),
        false => Ok(None),
    }
}

/// Now, to the second, as a manifest says it.
fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// Who signs: the user that ran sudo where there is one, because `root(0)` says nothing.
fn signer() -> String {
    let uid = nix::unistd::Uid::effective();
    let own = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name);
    let own = format!("{own}({uid})");
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| {
        uid.is_root()
            && name.len() <= 32
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    });
    match (
        sudo,
        std::env::var("SUDO_UID")
            .ok()
            .and_then(|uid| uid.parse::<u32>().ok()),
    ) {
        (Some(name), Some(uid)) => format!("{name}({uid}) as {own}"),
        _ => own,
    }
}
