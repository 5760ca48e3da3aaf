//! The policy key, and what it signs: artifacts and manifests.
//!
//! Invariants: the secret is made here, lies in a file of mode 0600 (root's when enforced), is read only to sign, and is
//! wiped from memory afterwards; it has no `Debug`, stands in no message and on no command line. A key file that others
//! may read is not used. The public half is written before anything is signed, because the daemon pins it.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::files::{self, Owner};
use crate::layout::Layout;
use ed25519_dalek::{Signer, SigningKey};
use faramesh_core::checkpoint::{KeyName, LogKey, PublicKey, Statement, hex, unhex};
use nix::unistd::{Gid, Uid};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Begins a key file; the digit is the format's version.
const KEY_FILE_PREFIX: &str = "faramesh policy key 1 ";
/// A key file is one line of prefix, 64 hex digits and a newline.
const KEY_FILE_BYTES_MAX: u64 = 128;
/// A public key's line, by far.
pub const VKEY_BYTES_MAX: u64 = 1024;

/// The secret with its public half.
pub struct PolicyKey {
    secret: SigningKey,
    public: PublicKey,
}

impl PolicyKey {
    /// The stack's key, made where there is none. Tells whether it was made.
    ///
    /// # Errors
    /// The file is not a key, others may read it, or it cannot be written.
    pub fn ensure(layout: &Layout) -> Result<(PolicyKey, bool), Failure> {
        if let Some(key) = PolicyKey::read(layout)? {
            return Ok((key, false));
        }
        if layout.policy_pub().exists() {
            return Err(Failure::configuration(format!(
                "`{}` is gone but `{}` is there",
                layout.policy_key().display(),
                layout.policy_pub().display()
            ))
            .next("put the key back from a backup; to start over with a new key, remove policy.pub: the daemon then refuses every earlier manifest"));
        }
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut())
            .map_err(|e| Failure::internal(format!("no randomness: {e}")))?;
        let line = Zeroizing::new(format!(
            "{KEY_FILE_PREFIX}{}\n",
            Zeroizing::new(hex(seed.as_ref())).as_str()
        ));
        files::write_durably(
            &layout.policy_key(),
            line.as_bytes(),
            0o600,
            root_when_enforced(layout),
        )?;
        Ok((PolicyKey::of(&seed, &layout.stack)?, true))
    }

    /// The stack's key, or `None` where there is none.
    ///
    /// # Errors
    /// The file is not a key, or others may read it.
    pub fn read(layout: &Layout) -> Result<Option<PolicyKey>, Failure> {
        let path = layout.policy_key();
        let Some(bytes) = files::read_limited(&path, KEY_FILE_BYTES_MAX)?.map(Zeroizing::new)
        else {
            return Ok(None);
        };
        private(&path)?;
        let seed = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|line| line.strip_prefix(KEY_FILE_PREFIX)?.strip_suffix('\n'))
            .and_then(unhex)
            .map(Zeroizing::new)
            .ok_or_else(|| {
                Failure::configuration(format!("`{}` is not a policy key", path.display()))
                    .next("put the key back from a backup")
            })?;
        PolicyKey::of(&seed, &layout.stack).map(Some)
    }

    fn of(seed: &[u8; 32], stack: &str) -> Result<PolicyKey, Failure> {
        let secret = SigningKey::from_bytes(seed);
        let public = KeyName::policy(stack)
            .and_then(|name| PublicKey::new(name, secret.verifying_key().as_bytes()))
            .map_err(|e| Failure::internal(format!("the policy key cannot be used: {e}")))?;
        Ok(PolicyKey { secret, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Writes `policy.pub`, or checks the one that is there.
    ///
    /// # Errors
    /// It is another key's, or cannot be written.
    pub fn pin(&self, layout: &Layout) -> Result<(), Failure> {
        let path = layout.policy_pub();
        match public_key(&path)? {
            Some(pinned) if pinned.vkey() == self.public.vkey() => Ok(()),
            Some(_) => Err(Failure::configuration(format!(
                "`{}` is not the public half of `{}`",
                path.display(),
                layout.policy_key().display()
            ))
            .next("put back the file that belongs to the other; nothing was signed")),
            None => files::write_durably(
                &path,
                format!("{}\n", self.public.vkey()).as_bytes(),
                0o644,
                root_when_enforced(layout),
            ),
        }
    }

    /// Signs a statement as a note.
    ///
    /// # Errors
    /// The statement is not one that a verifier would accept.
    pub fn seal<S: Statement>(&self, statement: &S) -> Result<String, Failure> {
        self.public
            .seal(statement, |text| self.secret.sign(text).to_bytes())
            .map_err(|e| Failure::internal(format!("cannot sign the {}: {e}", S::KIND)))
    }
}

/// Reads a pinned public key; `None` where there is no file.
///
/// # Errors
/// It is not one.
pub fn public_key(path: &Path) -> Result<Option<PublicKey>, Failure> {
    let Some(line) = files::read_text(path, VKEY_BYTES_MAX)? else {
        return Ok(None);
    };
    PublicKey::parse_vkey(&line).map(Some).map_err(|e| {
        Failure::configuration(format!("`{}` is not a public key: {e}", path.display()))
            .next("it is one line: name+id+key")
    })
}

/// Reads the pinned keys of a log, as in `log.pub`; `None` where there is no file.
///
/// # Errors
/// It is not two lines that belong together.
pub fn log_key(path: &Path) -> Result<Option<LogKey>, Failure> {
    let Some(text) = files::read_text(path, 2 * VKEY_BYTES_MAX)? else {
        return Ok(None);
    };
    LogKey::parse(&text).map(Some).map_err(|e| {
        Failure::configuration(format!("`{}` does not pin a log: {e}", path.display()))
            .next("it is two lines: the origin's key and the first epoch's, as `faramesh-signer init` prints them")
    })
}

/// Reads the origin key of a log: the first line of a `log.pub`, or a file of that line alone. `None` where there is no
/// file.
///
/// # Errors
/// It is not one.
pub fn origin_key(path: &Path) -> Result<Option<PublicKey>, Failure> {
    let Some(text) = files::read_text(path, VKEY_BYTES_MAX)? else {
        return Ok(None);
    };
    let line = text.lines().next().unwrap_or_default();
    PublicKey::parse_vkey(line).map(Some).map_err(|e| {
        Failure::configuration(format!("`{}` is not a log's key: {e}", path.display()))
            .next("its first line is name+id+key, as in log.pub")
    })
}

/// Root's when enforced; whoever runs the command in development.
pub fn root_when_enforced(layout: &Layout) -> Owner {
    layout
        .is_enforced()
        .then(|| (Uid::from_raw(0), Gid::from_raw(0)))
}

fn private(path: &Path) -> Result<(), Failure> {
    let meta = std::fs::metadata(path).map_err(|e| Failure::io("look at", path, &e))?;
    if meta.mode() & 0o077 == 0 && meta.uid() == Uid::effective().as_raw() {
        return Ok(());
    }
    Err(Failure::permission(format!(
        "the policy key `{}` is readable by others, or not yours",
        path.display()
    ))
    .next(format!(
        "chmod 600 {0} && chown {1} {0}; if others could read it, make a new one",
        path.display(),
        Uid::effective()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::checkpoint::ArtifactStatement;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn world() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::development("bot", dir.path());
        fs::create_dir_all(layout.etc()).unwrap();
        (dir, layout)
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let (_dir, layout) = world();
        let (first, made) = PolicyKey::ensure(&layout).unwrap();
        assert!(made);
        assert_eq!(
            fs::metadata(layout.policy_key()).unwrap().mode() & 0o7777,
            0o600
        );
        let (second, made) = PolicyKey::ensure(&layout).unwrap();
        assert!(!made);
        assert_eq!(first.public().vkey(), second.public().vkey());
    }

    #[test]
    fn what_it_signs_opens_with_the_pinned_half_alone() {
        let (_dir, layout) = world();
        let (key, _) = PolicyKey::ensure(&layout).unwrap();
        key.pin(&layout).unwrap();
        let statement = ArtifactStatement {
            stack: "bot".into(),
            digest: [7; 32],
        };
        let note = key.seal(&statement).unwrap();
        let pinned = public_key(&layout.policy_pub()).unwrap().unwrap();
        assert_eq!(
            *pinned.open::<ArtifactStatement>(note.as_bytes()).unwrap(),
            statement
        );
        fs::remove_file(layout.policy_key()).unwrap();
        fs::remove_file(layout.policy_pub()).unwrap();
        let (other, _) = PolicyKey::ensure(&layout).unwrap();
        assert!(
            other
                .public()
                .open::<ArtifactStatement>(note.as_bytes())
                .is_err()
        );
    }

    #[test]
    fn a_key_that_others_may_read_is_not_used() {
        let (_dir, layout) = world();
        PolicyKey::ensure(&layout).unwrap();
        fs::set_permissions(layout.policy_key(), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(PolicyKey::ensure(&layout).err().unwrap().exit, 77);
    }

    #[test]
    fn a_lost_key_is_not_silently_replaced() {
        let (_dir, layout) = world();
        let (key, _) = PolicyKey::ensure(&layout).unwrap();
        key.pin(&layout).unwrap();
        fs::remove_file(layout.policy_key()).unwrap();
        assert_eq!(PolicyKey::ensure(&layout).err().unwrap().exit, 78);
    }

    #[test]
    fn a_pin_of_another_key_stops_everything() {
        let (_dir, layout) = world();
        let (key, _) = PolicyKey::ensure(&layout).unwrap();
        key.pin(&layout).unwrap();
        fs::remove_file(layout.policy_key()).unwrap();
        let stolen = fs::read(layout.policy_pub()).unwrap();
        fs::remove_file(layout.policy_pub()).unwrap();
        let (other, _) = PolicyKey::ensure(&layout).unwrap();
        fs::write(layout.policy_pub(), stolen).unwrap();
        assert_eq!(other.pin(&layout).unwrap_err().exit, 78);
    }
}
