//! What an operator gave up with `faramesh audit abandon --head`: the next start records it, before anything else.
//!
//! The file lies in the policy directory, which the daemon cannot write: a gap that an operator made cannot be hidden by
//! whoever holds the daemon's user, except by never starting again. It stays there; the fold says whether it is recorded.
#![forbid(unsafe_code)]

use faramesh_core::checkpoint::{hex, unhex};
use faramesh_core::record::Gap;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file's name in the policy directory.
const NAME: &str = "abandoned.toml";
/// Larger than any: four short values and a sentence.
const BYTES_MAX: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    confirmed: u64,
    root: String,
    kept: u64,
    uid: u32,
    reason: String,
}

/// Where it lies.
#[must_use]
pub fn path(policy_dir: &Path) -> PathBuf {
    policy_dir.join(NAME)
}

/// What the file holds.
#[must_use]
pub fn text(gap: &Gap) -> String {
    let written = Written {
        confirmed: gap.confirmed,
        root: hex(&gap.root),
        kept: gap.kept,
        uid: gap.uid,
        reason: gap.reason.clone(),
    };
    // Nothing in it can fail to be written: numbers and strings.
    toml::to_string(&written).unwrap_or_default()
}

/// What was given up last; `None` where nothing ever was.
///
/// # Errors
/// The file is there and cannot be read: what it says must not be passed over.
pub fn read(policy_dir: &Path) -> Result<Option<Gap>, String> {
    let path = path(policy_dir);
    let failed = |why: String| format!("`{}`: {why}", path.display());
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
        Ok(meta) if meta.len() > BYTES_MAX => return Err(failed("too large".to_owned())),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let written: Written =
        toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))?;
    let root = unhex(&written.root).ok_or_else(|| failed("`root` is no hash".to_owned()))?;
    Ok(Some(Gap {
        confirmed: written.confirmed,
        root,
        kept: written.kept,
        uid: written.uid,
        reason: written.reason,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_anything_else_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Ok(None));
        let gap = Gap {
            confirmed: 9,
            root: [7; 32],
            kept: 4,
            uid: 0,
            reason: "the \"disk\" died\n".into(),
        };
        std::fs::write(path(dir.path()), text(&gap)).unwrap();
        assert_eq!(read(dir.path()), Ok(Some(gap)));
        for wrong in ["", "confirmed = 9", "what = 1"] {
            std::fs::write(path(dir.path()), wrong).unwrap();
            assert!(read(dir.path()).is_err(), "{wrong}");
        }
    }
}
