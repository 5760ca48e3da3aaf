//! The command line. Parsed by hand: this binary starts as root, and has eight flags.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: faramesh-agent --attach SOCKET --workspace DIR [options] -- COMMAND [ARGUMENT...]

  --attach SOCKET    the daemon's attach socket
  --workspace DIR    the directory that the agent may write
  --agent NAME       the agent's name, where the policy has several
  --read PATH        a file or directory that the agent may read and execute; again for more
  --chdir DIR        the agent's working directory (default: the present one)
  --cgroup DIR       make the session's cgroup below this directory (default: where cgroup v2 is mounted)
  --keeper USER      the user of the processes that stay, by name or number (default: faramesh-shim)
";

/// The user that the staying processes run as, unless `--keeper` says otherwise.
pub const KEEPER: &str = "faramesh-shim";

/// What was asked for.
#[derive(Debug)]
pub enum Asked {
    /// Print [`USAGE`].
    Help,
    /// Start an agent.
    Run(Options),
}

/// The checked command line.
#[derive(Debug)]
pub struct Options {
    /// The daemon's attach socket.
    pub attach: PathBuf,
    /// The directory that the agent may write.
    pub workspace: PathBuf,
    /// The agent's name, or empty.
    pub agent: String,
    /// What the agent may read and execute besides the system.
    pub read: Vec<PathBuf>,
    /// The agent's working directory.
    pub chdir: Option<PathBuf>,
    /// Where to make the session's cgroup.
    pub cgroup: Option<PathBuf>,
    /// User name or number of the staying processes.
    pub keeper: String,
    /// What to execute; never empty.
    pub command: Vec<OsString>,
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Misused {
    /// No such flag.
    #[error("unknown argument `{0}`; the command comes after `--`")]
    Unknown(String),
    /// A flag at the end.
    #[error("`{0}` needs a value")]
    NoValue(&'static str),
    /// Given twice, or not UTF-8 where that is needed.
    #[error("`{0}` cannot be given twice")]
    Twice(&'static str),
    /// A name that is not UTF-8.
    #[error("the value of `{0}` is not UTF-8")]
    NotUtf8(&'static str),
    /// A flag that must be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// [`Misused`]: exit status 64.
pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Asked, Misused> {
    let (mut attach, mut workspace, mut agent, mut chdir, mut cgroup, mut keeper) =
        (None, None, None, None, None, None);
    let (mut read, mut command) = (Vec::new(), Vec::new());
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--help" | "-h") => return Ok(Asked::Help),
            Some("--") => {
                command.extend(args.by_ref());
            }
            Some("--attach") => once("--attach", &mut attach, args.next())?,
            Some("--workspace") => once("--workspace", &mut workspace, args.next())?,
            Some("--agent") => once("--agent", &mut agent, args.next())?,
            Some("--chdir") => once("--chdir", &mut chdir, args.next())?,
            Some("--cgroup") => once("--cgroup", &mut cgroup, args.next())?,
            Some("--keeper") => once("--keeper", &mut keeper, args.next())?,
            Some("--read") => read.push(args.next().ok_or(Misused::NoValue("--read"))?.into()),
            _ => return Err(Misused::Unknown(arg.to_string_lossy().into_owned())),
        }
    }
    if command.is_empty() {
        return Err(Misused::Missing("-- COMMAND"));
    }
    Ok(Asked::Run(Options {
        attach: attach.ok_or(Misused::Missing("--attach"))?.into(),
        workspace: workspace.ok_or(Misused::Missing("--workspace"))?.into(),
        agent: text("--agent", agent)?.unwrap_or_default(),
        read,
        chdir: chdir.map(PathBuf::from),
        cgroup: cgroup.map(PathBuf::from),
        keeper: text("--keeper", keeper)?.unwrap_or_else(|| KEEPER.to_owned()),
        command,
    }))
}

fn once(
    flag: &'static str,
    slot: &mut Option<OsString>,
    value: Option<OsString>,
) -> Result<(), Misused> {
    let value = value.ok_or(Misused::NoValue(flag))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Misused::Twice(flag)),
    }
}

fn text(flag: &'static str, value: Option<OsString>) -> Result<Option<String>, Misused> {
    value
        .map(|value| value.into_string().map_err(|_| Misused::NotUtf8(flag)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, Misused> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn everything_after_the_two_dashes_is_the_command() {
        let Ok(Asked::Run(options)) =
            parsed("--attach a --workspace w --read x --read y -- cmd --attach -- b")
        else {
            panic!("refused");
        };
        assert_eq!(options.command, ["cmd", "--attach", "--", "b"]);
        assert_eq!(options.read, [PathBuf::from("x"), PathBuf::from("y")]);
        assert_eq!(options.keeper, KEEPER);
    }

    #[test]
    fn a_wrong_command_line_is_refused_with_the_word_that_is_wrong() {
        for (line, wrong) in [
            ("--attach a --workspace w", Misused::Missing("-- COMMAND")),
            ("--attach a -- cmd", Misused::Missing("--workspace")),
            ("--workspace w -- cmd", Misused::Missing("--attach")),
            (
                "--attach a --attach b --workspace w -- cmd",
                Misused::Twice("--attach"),
            ),
            (
                "--attach a --workspace w cmd",
                Misused::Unknown("cmd".into()),
            ),
            ("--attach a --workspace", Misused::NoValue("--workspace")),
        ] {
            assert_eq!(parsed(line).err(), Some(wrong), "{line}");
        }
    }
}
