//! The policy directory, read: bytes become a [`Policy`] only through every check here.
//!
//! The directory belongs to whoever applies; the daemon can only read it and believes nothing in it. A manifest counts
//! when the pinned policy key signed it for this stack; an artifact when its bytes have the digest that it is named by
//! and the same key signed that digest. The artifact in force is read once at start and a candidate once when it is
//! activated; nothing else is ever read again.
#![forbid(unsafe_code)]

use faramesh_core::checkpoint::{
    self, ArtifactStatement, KeyName, Manifest, NOTE_BYTES_MAX, PublicKey, Verified, hex,
};
use faramesh_core::policy::Policy;
use faramesh_core::policy::artifact::{
    self, ARTIFACT_BYTES_MAX, ArtifactInvalid, Mode, capabilities,
};
use faramesh_core::record::Activation;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What this daemon enforces, sorted: an artifact that requires more is refused.
pub const CAPABILITIES: &[&str] = &[
    capabilities::PATHS,
    capabilities::REDACT,
    capabilities::REQUIRE_ENFORCEMENT,
    capabilities::RUN_AS,
    capabilities::SCHEMAS,
    capabilities::CONDITIONS_ENFORCEMENT,
    capabilities::CONDITIONS_SESSION,
    capabilities::CONDITIONS_TIME,
    capabilities::DOOR_GOVERN,
    capabilities::DOOR_PROBE,
    capabilities::NOTIFY_RECORDED,
    capabilities::RULES,
    capabilities::PROFILE_MINIMAL,
    capabilities::ALLOWED_SOCKETS,
    capabilities::ANCHOR,
    capabilities::KEEP_ENV,
    capabilities::MODE_SHADOW,
    capabilities::REVEAL,
    capabilities::WAL_RETENTION,
];

/// The policy directory of one stack.
#[derive(Debug, Clone)]
pub struct PolicyStore {
    dir: PathBuf,
    key: PublicKey,
}

/// A manifest that may come into force, with everything behind it read and verified.
#[derive(Debug)]
pub struct Candidate {
    /// The manifest's number.
    pub number: u64,
    /// SHA-256 of the manifest's bytes.
    pub manifest: [u8; 32],
    /// The policy that it names.
    pub policy: Arc<Policy>,
}

/// Why something in the policy directory does not count.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// Not there, or not to be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Larger than such a file can be.
    #[error("`{}` is larger than {max} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// A note that the pinned policy key did not sign, or that says something else.
    #[error("`{}` is refused: {source}", path.display())]
    Note {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: checkpoint::Error,
    },
    /// The pinned policy key belongs to another stack.
    #[error("the pinned policy key is `{found}`, where this stack's is `{expected}`")]
    KeyOfAnotherStack {
        /// The pinned key's name.
        found: String,
        /// What it would have to be.
        expected: String,
    },
    /// `next` is not the manifest that was asked for.
    #[error("`next` holds manifest {found}, where {asked} was to be activated")]
    AnotherNumber {
        /// What lies there.
        found: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A number that does not rise: an old manifest, replayed.
    #[error(
        "manifest {found} does not come after manifest {in_force}, which is in force: to go back, apply the older policy again"
    )]
    NotRising {
        /// What was offered.
        found: u64,
        /// What decides.
        in_force: u64,
    },
    /// The artifact's bytes are not the ones that were signed.
    #[error("`{}` has the digest sha256:{}: it was changed", path.display(), hex(found))]
    Changed {
        /// Which file.
        path: PathBuf,
        /// What its bytes hash to.
        found: [u8; 32],
    },
    /// The artifact's signature is about another artifact.
    #[error("`{}` signs the artifact sha256:{}, which is another one", path.display(), hex(signed))]
    SignsAnother {
        /// Which file.
        path: PathBuf,
        /// What it signs.
        signed: [u8; 32],
    },
    /// Signed, but no artifact for this daemon.
    #[error("artifact sha256:{}: {source}", hex(digest))]
    Artifact {
        /// Which.
        digest: [u8; 32],
        /// Why.
        source: Box<ArtifactInvalid>,
    },
    /// It demands what this daemon does not enforce.
    #[error("artifact sha256:{} requires what this daemon does not enforce: {}; use a daemon that does", hex(digest), missing.join(", "))]
    Requires {
        /// Which.
        digest: [u8; 32],
        /// What is missing, sorted.
        missing: Vec<String>,
    },
}

impl PolicyStore {
    /// The directory of `stack`, with the key that its policies are signed with.
    ///
    /// # Errors
    /// The key belongs to another stack.
    pub fn new(dir: &Path, key: PublicKey, stack: &str) -> Result<PolicyStore, NotAccepted> {
        let expected = KeyName::policy(stack).map(|name| name.as_str().to_owned());
        match expected {
            Ok(expected) if key.name().as_str() == expected => Ok(PolicyStore {
                dir: dir.to_path_buf(),
                key,
            }),
            Ok(expected) => Err(NotAccepted::KeyOfAnotherStack {
                found: key.name().to_string(),
                expected,
            }),
            Err(source) => Err(NotAccepted::Note {
                path: dir.to_path_buf(),
                source,
            }),
        }
    }

    /// The number of the manifest in `next`; `None` where nothing lies there.
    ///
    /// # Errors
    /// Something lies there that the policy key did not sign.
    pub fn next_number(&self) -> Result<Option<u64>, NotAccepted> {
        match self.next() {
            Ok((_, manifest)) => Ok(Some(manifest.number)),
            Err(NotAccepted::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(refused) => Err(refused),
        }
    }

    /// Reads and verifies `next` and the artifact that it names. `asked`: the number that must lie there; `in_force`: the
    /// number that it must exceed.
    ///
    /// # Errors
    /// Any [`NotAccepted`].
    pub fn next_candidate(
        &self,
        asked: u64,
        in_force: Option<u64>,
    ) -> Result<Candidate, NotAccepted> {
        let (bytes, manifest) = self.next()?;
        let found = manifest.number;
        if found != asked {
            return Err(NotAccepted::AnotherNumber { found, asked });
        }
        if let Some(in_force) = in_force.filter(|in_force| *in_force >= found) {
            return Err(NotAccepted::NotRising { found, in_force });
        }
        Ok(Candidate {
            number: found,
            manifest: artifact::digest(&bytes),
            policy: Arc::new(self.policy(&manifest.digest)?),
        })
    }

    /// Reads and verifies an artifact by its digest.
    ///
    /// # Errors
    /// Any [`NotAccepted`].
    pub fn policy(&self, digest: &[u8; 32]) -> Result<Policy, NotAccepted> {
        let path = self.dir.join("artifacts").join(hex(digest));
        let bytes = read(&path, ARTIFACT_BYTES_MAX)?;
        let found = artifact::digest(&bytes);
        if found != *digest {
            return Err(NotAccepted::Changed { path, found });
        }
        let path = path.with_extension("note");
        let statement: Verified<ArtifactStatement> = self.open(&path)?.1;
        if statement.digest != *digest {
            let signed = statement.digest;
            return Err(NotAccepted::SignsAnother { path, signed });
        }
        let policy = Policy::load(&bytes).map_err(|source| NotAccepted::Artifact {
            digest: *digest,
            source: Box::new(source),
        })?;
        let requires = policy.artifact().requires.iter();
        let missing: Vec<String> = requires
            .filter(|name| !CAPABILITIES.contains(&name.as_str()))
            .cloned()
            .collect();
        if missing.is_empty() {
            Ok(policy)
        } else {
            Err(NotAccepted::Requires {
                digest: *digest,
                missing,
            })
        }
    }

    fn next(&self) -> Result<(Vec<u8>, Verified<Manifest>), NotAccepted> {
        self.open(&self.dir.join("next"))
    }

    fn open<S: checkpoint::Statement>(
        &self,
        path: &Path,
    ) -> Result<(Vec<u8>, Verified<S>), NotAccepted> {
        let bytes = read(path, NOTE_BYTES_MAX)?;
        match self.key.open(&bytes) {
            Ok(statement) => Ok((bytes, statement)),
            Err(source) => Err(NotAccepted::Note {
                path: path.to_path_buf(),
                source,
            }),
        }
    }
}

impl Candidate {
    /// What is recorded of its coming into force.
    #[must_use]
    pub fn activation(&self) -> Activation {
        Activation {
            number: self.number,
            digest: *self.policy.digest(),
            manifest: self.manifest,
            policy_mode: mode_word(self.policy.artifact().runtime.mode).to_owned(),
            windows: self.policy.windows().names(),
        }
    }
}

/// The word for a policy's mode in records and in `status`.
#[must_use]
pub const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    }
}

/// A whole file of at most `max` bytes. A link is not followed: what is signed lies here and nowhere else.
fn read(path: &Path, max: usize) -> Result<Vec<u8>, NotAccepted> {
    let unreadable = |source| NotAccepted::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    // O_NONBLOCK: a FIFO in the place of a file must not hold us.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > max {
        return Err(NotAccepted::TooLarge {
            path: path.to_path_buf(),
            max,
        });
    }
    Ok(bytes)
}
