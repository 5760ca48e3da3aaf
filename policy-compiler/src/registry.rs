//! Where packs come from. The compiler does no I/O: whoever calls it brings a [`Registry`].

use faramesh_core::checkpoint::{KeyName, Statement, hex, unhex};

/// A pack's size, bytes: as a policy file's.
pub const PACK_BYTES_MAX: usize = crate::SOURCE_BYTES_MAX;

const PACK_DOMAIN: &str = "faramesh pack v1";

/// A pack as it lies in a registry, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// The file `pack.fms`.
    pub text: String,
    /// The signed note beside it: a [`PackStatement`].
    pub note: Vec<u8>,
}

/// Why a pack could not be had. It says nothing about whether the pack is good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreachable {
    /// In a few words: `no such folder`.
    pub why: String,
}

/// A source of packs by name and exact version. What it returns is not trusted: the compiler verifies the note.
pub trait Registry {
    /// The pack of this name and version.
    ///
    /// # Errors
    /// It cannot be had now; another try may have it.
    fn fetch(&self, name: &str, version: &str) -> Result<Pack, Unreachable>;
}

/// The registry of who has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRegistry;

impl Registry for NoRegistry {
    fn fetch(&self, _: &str, _: &str) -> Result<Pack, Unreachable> {
        Err(Unreachable {
            why: String::from("no registry is set up"),
        })
    }
}

/// That a text is a pack of this name and version: what its publisher signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackStatement {
    /// `host/path`.
    pub name: String,
    /// `1.2.3`.
    pub version: String,
    /// SHA-256 of the pack's text.
    pub digest: [u8; 32],
}

impl PackStatement {
    /// Whether a key of this name may speak for a pack: its own path, and every one below.
    pub fn is_below(pack: &str, key: &KeyName) -> bool {
        pack.strip_prefix(key.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Statement for PackStatement {
    const KIND: &'static str = "pack signature";

    fn text(&self) -> String {
        format!(
            "{PACK_DOMAIN}\n{}\n{}\nsha256:{}\n",
            self.name,
            self.version,
            hex(&self.digest)
        )
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let [domain, name, version, digest] = lines.as_slice() else {
            return Err("the number of lines is wrong");
        };
        if *domain != PACK_DOMAIN {
            return Err("the first line is not `faramesh pack v1`");
        }
        let digest = digest
            .strip_prefix("sha256:")
            .and_then(unhex)
            .ok_or("the digest is not `sha256:` and 64 lower-case hex digits")?;
        Ok(PackStatement {
            name: (*name).to_string(),
            version: (*version).to_string(),
            digest,
        })
    }

    fn belongs_to(&self, name: &KeyName) -> bool {
        PackStatement::is_below(&self.name, name)
    }
}
