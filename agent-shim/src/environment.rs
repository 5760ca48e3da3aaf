//! Which environment variables an agent gets: the few that this file names, those that policy keeps, and what the
//! shim sets. The environment is where ambient credentials live; a list of what to remove is never complete, so this
//! is a list of what to keep.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Kept without policy's saying so: the terminal, the language, the search path. Nothing that loads code
/// (`LD_*`, `PYTHONPATH`, `NODE_OPTIONS`) and nothing that points at an agent of another kind (`SSH_AUTH_SOCK`).
const KEPT: [&str; 12] = [
    "PATH",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "LANG",
    "LANGUAGE",
    "TZ",
    "SHELL",
    "USER",
    "LOGNAME",
];

/// Kept by beginning.
const KEPT_PREFIX: &[u8] = b"LC_";

/// A removed name that contains one of these is called a credential in what is printed.
const CREDENTIAL_WORDS: [&str; 10] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASS",
    "CREDENTIAL",
    "AUTH",
    "COOKIE",
    "SESSION",
    "PRIVATE",
    "DSN",
];

/// At most this many removed names travel to the daemon: its message is bounded.
const NAMES_MAX: usize = 512;

/// At most this many bytes of one name.
const NAME_BYTES_MAX: usize = 64;

/// The search path where none was given.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// The starter's variables, sorted into those that pass and those that do not.
#[derive(Debug)]
pub struct Sorted {
    kept: Vec<(OsString, OsString)>,
    removed: Vec<(OsString, OsString)>,
}

/// Sorts by the lists above; policy has not spoken yet.
pub fn sort(variables: impl Iterator<Item = (OsString, OsString)>) -> Sorted {
    let (kept, mut removed): (Vec<_>, Vec<_>) = variables.partition(|(name, _)| {
        KEPT.iter().any(|kept| name == kept) || name.as_bytes().starts_with(KEPT_PREFIX)
    });
    removed.sort();
    Sorted { kept, removed }
}

/// What the agent gets, and what it does not.
#[derive(Debug)]
pub struct Granted {
    /// The environment, complete.
    pub variables: Vec<(OsString, OsString)>,
    /// Names that were removed, sorted; safe to print.
    pub removed: Vec<String>,
    /// Of those, the ones that look like credentials.
    pub credentials: Vec<String>,
    /// Names that look like credentials and that policy keeps.
    pub exposed: Vec<String>,
}

impl Sorted {
    /// The names that this file removes, for the daemon's record; policy may still keep some.
    pub fn removed_names(&self) -> Vec<String> {
        self.removed
            .iter()
            .take(NAMES_MAX)
            .map(|(name, _)| printable(name))
            .collect()
    }

    /// Applies policy's `keep_env` (exact names), then sets what the shim decides.
    pub fn grant(self, keep: &[String], set: &[(&str, &OsStr)]) -> Granted {
        let (passed, removed): (Vec<_>, Vec<_>) = self
            .removed
            .into_iter()
            .partition(|(name, _)| keep.iter().any(|keep| name == keep.as_str()));
        let exposed = passed
            .iter()
            .map(|(name, _)| printable(name))
            .filter(|name| looks_like_credential(name))
            .collect();
        let removed: Vec<String> = removed.iter().map(|(name, _)| printable(name)).collect();
        let credentials = removed
            .iter()
            .filter(|name| looks_like_credential(name))
            .cloned()
            .collect();
        let mut variables: Vec<_> = self.kept.into_iter().chain(passed).collect();
        if !variables.iter().any(|(name, _)| name == "PATH") {
            variables.push(("PATH".into(), PATH_DEFAULT.into()));
        }
        variables.retain(|(name, _)| !set.iter().any(|(ours, _)| name == ours));
        variables.extend(
            set.iter()
                .map(|(name, value)| (OsString::from(name), OsString::from(value))),
        );
        Granted {
            variables,
            removed,
            credentials,
            exposed,
        }
    }
}

fn looks_like_credential(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    CREDENTIAL_WORDS.iter().any(|word| name.contains(word))
}

/// A name as text: bounded, and without control characters. Never a value.
fn printable(name: &OsStr) -> String {
    let text: String = name
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let mut cut = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    text.get(..cut).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(pairs: &[(&str, &str)], keep: &[&str]) -> Granted {
        let sorted = sort(
            pairs
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let keep: Vec<String> = keep.iter().map(|name| (*name).to_owned()).collect();
        sorted.grant(&keep, &[("HOME", OsStr::new("/w"))])
    }

    fn names(granted: &Granted) -> Vec<String> {
        granted
            .variables
            .iter()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn only_named_variables_pass_and_the_rest_is_listed() {
        let granted = granted(
            &[
                ("PATH", "/bin"),
                ("LC_ALL", "C"),
                ("AWS_SECRET_ACCESS_KEY", "x"),
                ("LD_PRELOAD", "y"),
                ("HOME", "/root"),
            ],
            &[],
        );
        assert_eq!(names(&granted), ["PATH", "LC_ALL", "HOME"]);
        assert_eq!(
            granted.removed,
            ["AWS_SECRET_ACCESS_KEY", "HOME", "LD_PRELOAD"]
        );
        assert_eq!(granted.credentials, ["AWS_SECRET_ACCESS_KEY"]);
    }

    #[test]
    fn policy_keeps_a_variable_by_its_exact_name_and_a_credential_among_them_is_named() {
        let granted = granted(
            &[("API_TOKEN", "x"), ("API_TOKEN_2", "y"), ("MODE", "z")],
            &["API_TOKEN", "MODE"],
        );
        assert_eq!(names(&granted), ["API_TOKEN", "MODE", "PATH", "HOME"]);
        assert_eq!(granted.removed, ["API_TOKEN_2"]);
        assert_eq!(granted.exposed, ["API_TOKEN"]);
    }

    #[test]
    fn what_the_shim_sets_wins_over_what_policy_keeps() {
        let granted = granted(&[("HOME", "/root")], &["HOME"]);
        assert_eq!(
            granted.variables,
            [
                ("PATH".into(), PATH_DEFAULT.into()),
                ("HOME".into(), OsString::from("/w"))
            ]
        );
    }

    #[test]
    fn a_name_is_bounded_and_cannot_write_to_the_terminal() {
        assert_eq!(printable(OsStr::new("A\x1b[2J")), "A?[2J");
        assert_eq!(printable(OsStr::new(&"é".repeat(40))), "é".repeat(32));
    }
}
