//! The secret halves of the log's keys.
//!
//! Invariant: a [`Pair`]'s public half is that of its secret: it was computed from it, or a signature was tried with it.
#![forbid(unsafe_code)]

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{self, KeyName, PublicKey};
use zeroize::Zeroizing;

/// A key could not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` cannot sign: {why}")]
pub struct CannotSign {
    /// The key's name.
    pub key: String,
    /// Why not.
    pub why: String,
}

/// A key with both halves. It has no `Debug`.
pub struct Pair {
    public: PublicKey,
    /// Boxed, so that its page can be kept out of swap and never moves; wiped when it is dropped.
    secret: Box<SigningKey>,
}

impl Pair {
    /// From a seed, under a name that may depend on the public half.
    ///
    /// # Errors
    /// Where there is no such name.
    pub fn of_seed(
        seed: &[u8; 32],
        name: impl FnOnce(&[u8; 32]) -> Result<KeyName, checkpoint::Error>,
    ) -> Result<Pair, checkpoint::Error> {
        let secret = Box::new(SigningKey::from_bytes(seed));
        let bytes = secret.verifying_key().to_bytes();
        let public = PublicKey::new(name(&bytes)?, &bytes)?;
        Ok(Pair { public, secret })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs.
    ///
    /// # Errors
    /// [`CannotSign`] where the key is out of reach.
    pub fn sign(&self, text: &[u8]) -> Result<[u8; 64], CannotSign> {
        Ok(self.secret.sign(text).to_bytes())
    }

    /// Keeps the secret's page out of swap, and says so where that is not possible.
    pub fn lock_in_memory(&self) {
        if let Err(error) = crate::sys::lock_in_memory(&*self.secret) {
            tracing::warn!(
                "the page of `{}` may be swapped out: {error}; raise RLIMIT_MEMLOCK",
                self.public.name()
            );
        }
    }
}

/// A new seed.
///
/// # Errors
/// Where the kernel gives no randomness.
pub fn new_seed() -> std::io::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(seed)
}
