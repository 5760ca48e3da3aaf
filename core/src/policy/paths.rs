//! `paths { … }`: which files a call may name.
//!
//! Checked for calls, and for what a call *names*: a tool that opens something else, or a link that leads elsewhere, is
//! held by the sandbox alone (`docs/sandbox.md`).
//!
//! Invariants:
//! - Pure and total: every text is a path in one or several readings, or is refused. A tool may decode what it is given
//!   or take it as it stands, so every reading is checked, and one that is refused refuses the call.
//! - What refuses reaches widely (any depth, either case), what allows reaches narrowly (from the workspace, exact).

use crate::json::{Object, Value};
use crate::policy::artifact::{Access, Field, Kind, PathRules, ToolSchema};
use crate::policy::schema;
use std::borrow::Cow;

/// Bytes of a path in a call: what Linux takes.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Names in a path: deeper trees than any project's, and a bound on the work of one.
pub const PATH_NAMES_MAX: usize = 64;
/// Paths in one call: a tool that moves a folder's files names a few hundred. Bounds the work of one call.
pub const PATHS_PER_CALL_MAX: usize = 256;
/// Rounds of percent-decoding: a path that still changes after them was made to deceive.
const DECODE_ROUNDS_MAX: usize = 4;

/// What no call may name wherever a policy has a `paths` block, at any depth and in either case: secrets, keys, and
/// what runs later without anybody looking.
pub const ALWAYS_EXCLUDED: &[&str] = &[
    ".env*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    ".git/**",
    "secrets/**",
    "node_modules/**",
];

/// Names of arguments that hold paths of tools whose arguments no schema declares; they count as changed.
pub const PATH_ARGUMENTS: &[&str] = &[
    "dest",
    "destination",
    "dir",
    "directory",
    "dst",
    "file",
    "file_path",
    "filename",
    "filepath",
    "files",
    "path",
    "paths",
    "source",
    "src",
];

/// A path in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// Where it stands: `args.path`.
    pub argument: Vec<String>,
    /// As given.
    pub text: &'a str,
    /// What the tool does with it.
    pub access: Access,
}

/// What is wrong with the paths of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// A change of a protected path: a person decides. Else: denied.
    pub defer: bool,
    /// In words for the caller; never the path itself.
    pub message: String,
}

/// Why a text is no path that can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathInvalid {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Beyond [`PATH_BYTES_MAX`] or [`PATH_NAMES_MAX`].
    #[error("is longer than a path can be")]
    TooLong,
    /// NUL or another control character.
    #[error("has a control character")]
    Control,
    /// Percent-encoded bytes that are no UTF-8, or encoding upon encoding.
    #[error("is encoded in a way that has no one meaning")]
    Encoding,
    /// `..` beyond where it starts.
    #[error("climbs above where it starts")]
    Climbs,
    /// `~`, `C:x`, `file://host/…`, `\\?\…`: where it starts is not known here.
    #[error("starts at a place that is not known here")]
    Start,
}

/// A normalised path: where it starts, and its names; no `.`, no `..`, none empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Normal {
    /// From the root; else from wherever the tool runs.
    pub absolute: bool,
    /// Its names.
    pub names: Vec<String>,
}

/// Every reading of a path, each once: as it stands and decoded, with `\` as a letter and as a separator.
///
/// # Errors
/// Any reading that is none.
pub fn normalise(text: &str) -> Result<Vec<Normal>, PathInvalid> {
    if text.len() > PATH_BYTES_MAX {
        return Err(PathInvalid::TooLong);
    }
    let mut readings = Vec::new();
    let mut text = text.to_owned();
    for _ in 0..=DECODE_ROUNDS_MAX {
        let slashes = text.replace('\\', "/");
        let letters = (drive_of(&text).is_none()).then_some(&text);
        for reading in letters.into_iter().chain([&slashes]) {
            let reading = read(reading)?;
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
        let decoded = decode(&text)?;
        if decoded == text {
            return Ok(readings);
        }
        text = decoded;
    }
    Err(PathInvalid::Encoding)
}

/// One round of percent-decoding; a `%` without two hex digits behind it is a letter.
fn decode(text: &str) -> Result<String, PathInvalid> {
    let bytes = text.as_bytes();
    let hex = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| PathInvalid::Encoding)
}

/// One reading, without decoding.
fn read(text: &str) -> Result<Normal, PathInvalid> {
    if text.is_empty() {
        return Err(PathInvalid::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(PathInvalid::Control);
    }
    let text = without_scheme(text)?;
    if text.starts_with('~') || text.starts_with("//?/") || text.starts_with("//./") {
        return Err(PathInvalid::Start);
    }
    let mut absolute = text.starts_with('/');
    let mut names: Vec<String> = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                // Above the root is the root; above anywhere else is not known here.
                if names.pop().is_none() && !absolute {
                    return Err(PathInvalid::Climbs);
                }
            }
            name => names.push(name.to_owned()),
        }
        if names.len() > PATH_NAMES_MAX {
            return Err(PathInvalid::TooLong);
        }
    }
    if let Some(drive) = drive_of(text) {
        // `C:/x` starts at the root of a drive; `C:x`, or a drive that `..` took away, starts somewhere.
        let kept = names.first().is_some_and(|first| drive_of(first).is_some());
        if !drive || !kept {
            return Err(PathInvalid::Start);
        }
        absolute = true;
    }
    Ok(Normal { absolute, names })
}

/// Whether a text starts with a drive's letter; and if so, whether nothing but a separator, or the end, follows.
fn drive_of(text: &str) -> Option<bool> {
    let mut chars = text.chars();
    let letter = chars.next()?;
    if !letter.is_ascii_alphabetic() || chars.next()? != ':' {
        return None;
    }
    Some(chars.next().is_none_or(|next| matches!(next, '/' | '\\')))
}

/// `file:` URLs of this host name a path; those of another one name nothing here.
fn without_scheme(text: &str) -> Result<&str, PathInvalid> {
    let Some((scheme, rest)) = text.split_at_checked(5) else {
        return Ok(text);
    };
    if !scheme.eq_ignore_ascii_case("file:") {
        return Ok(text);
    }
    match rest.strip_prefix("//") {
        None if rest.starts_with('/') => Ok(rest),
        None => Err(PathInvalid::Start),
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
            let local = host.is_empty() || host.eq_ignore_ascii_case("localhost");
            local
                .then(|| rest.get(host.len()..))
                .flatten()
                .filter(|path| !path.is_empty())
                .ok_or(PathInvalid::Start)
        }
    }
}

/// Checks a glob: names between slashes, in which `*` stands for any letters, `**` for any names. With a leading `/` it
/// starts at the root.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn check_glob(glob: &str) -> Result<(), &'static str> {
    if glob.is_empty() {
        return Err("is empty");
    }
    if glob.len() > PATH_BYTES_MAX {
        return Err("is longer than a path can be");
    }
    if glob.contains('\\') || glob.chars().any(char::is_control) {
        return Err("has a backslash or a control character");
    }
    if glob.contains(['?', '[', ']', '{', '}']) {
        return Err("has a sign of another kind of glob; only `*` and `**` have a meaning");
    }
    if glob.starts_with('~') {
        return Err("starts at a home directory, which is not known here");
    }
    let names = glob.strip_prefix('/').unwrap_or(glob);
    if names.split('/').count() > PATH_NAMES_MAX {
        return Err("is deeper than a path can be");
    }
    for name in names.split('/') {
        match name {
            "" => return Err("has an empty part beside a `/`"),
            "." | ".." => return Err("has `.` or `..` between slashes"),
            "**" => {}
            name if name.contains("**") => return Err("has `**` within a name"),
            _ => {}
        }
    }
    Ok(())
}

/// The paths in a call's arguments: what a schema declares as one, and where no schema declares an argument, texts and
/// lists of texts under one of [`PATH_ARGUMENTS`] at any depth.
///
/// # Errors
/// There are more than [`PATHS_PER_CALL_MAX`].
pub fn named<'a>(
    schemas: &[ToolSchema],
    tool: &str,
    arguments: &'a Object,
) -> Result<Vec<Named<'a>>, Refused> {
    let mut found = Vec::new();
    let mut path = Vec::new();
    collect(schemas, tool, arguments, &mut path, &mut found).map_err(|TooMany| Refused {
        defer: false,
        message: format!("the call names more than {PATHS_PER_CALL_MAX} paths"),
    })?;
    Ok(found)
}

/// More than [`PATHS_PER_CALL_MAX`].
struct TooMany;

fn collect<'a>(
    schemas: &[ToolSchema],
    tool: &str,
    object: &'a Object,
    path: &mut Vec<String>,
    found: &mut Vec<Named<'a>>,
) -> Result<(), TooMany> {
    for (name, value) in object.iter() {
        path.push(name.to_owned());
        let kinds: Vec<Kind> = schema::kinds(schemas, tool, path).collect();
        let declared = kinds.iter().filter_map(|kind| match kind {
            Kind::Path(access) => Some(*access),
            _ => None,
        });
        let by_name = PATH_ARGUMENTS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name));
        let access = match declared.max() {
            Some(access) => Some(access),
            None => (kinds.is_empty() && by_name).then_some(Access::Edit),
        };
        if let Some(access) = access {
            texts(value, &mut |text| add(path, text, access, found))?;
        }
        below(schemas, tool, value, path, found)?;
        path.pop();
    }
    Ok(())
}

/// Objects in a value, those in lists too.
fn below<'a>(
    schemas: &[ToolSchema],
    tool: &str,
    value: &'a Value,
    path: &mut Vec<String>,
    found: &mut Vec<Named<'a>>,
) -> Result<(), TooMany> {
    match value {
        Value::Object(inner) => collect(schemas, tool, inner, path, found),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| below(schemas, tool, item, path, found)),
        _ => Ok(()),
    }
}

/// The value's text, or the texts in its lists.
fn texts<'a>(
    value: &'a Value,
    take: &mut impl FnMut(&'a str) -> Result<(), TooMany>,
) -> Result<(), TooMany> {
    match value {
        Value::String(text) => take(text),
        Value::Array(items) => items.iter().try_for_each(|item| texts(item, take)),
        _ => Ok(()),
    }
}

fn add<'a>(
    path: &[String],
    text: &'a str,
    access: Access,
    found: &mut Vec<Named<'a>>,
) -> Result<(), TooMany> {
    if found.len() >= PATHS_PER_CALL_MAX {
        return Err(TooMany);
    }
    found.push(Named {
        argument: path.to_vec(),
        text,
        access,
    });
    Ok(())
}

/// Puts a call's paths to a policy's rules; a denial comes before a deferral. `workspace`: where relative paths start;
/// `None` where it is not known.
pub fn refused(rules: &PathRules, named: &[Named<'_>], workspace: Option<&str>) -> Option<Refused> {
    let lists = Lists::of(rules, workspace);
    let mut deferred = None;
    for path in named {
        match lists.refused(path) {
            Some(refused) if refused.defer => deferred = deferred.or(Some(refused)),
            Some(refused) => return Some(refused),
            None => {}
        }
    }
    deferred
}

/// A `paths` block with its globs taken apart.
struct Lists<'p> {
    always: Vec<Glob<'p>>,
    read_exclude: Vec<Glob<'p>>,
    edit_deny: Vec<Glob<'p>>,
    edit_protected: Vec<Glob<'p>>,
    edit_allow: Vec<Glob<'p>>,
    workspace: Option<Vec<String>>,
}

struct Glob<'p> {
    absolute: bool,
    names: Vec<Cow<'p, str>>,
}

impl<'p> Lists<'p> {
    fn of(rules: &'p PathRules, workspace: Option<&str>) -> Lists<'p> {
        let wide = |globs: &'p [String]| globs.iter().map(|glob| Glob::wide(glob)).collect();
        let workspace = workspace.and_then(|text| read(text).ok());
        Lists {
            always: ALWAYS_EXCLUDED
                .iter()
                .map(|glob| Glob::wide(glob))
                .collect(),
            read_exclude: wide(&rules.read_exclude),
            edit_deny: wide(&rules.edit_deny),
            edit_protected: wide(&rules.edit_protected),
            edit_allow: rules.edit_allow.iter().map(|glob| Glob::of(glob)).collect(),
            workspace: workspace
                .filter(|workspace| workspace.absolute)
                .map(|workspace| workspace.names),
        }
    }

    fn refused(&self, path: &Named<'_>) -> Option<Refused> {
        let argument = Field::Args(path.argument.clone());
        let deny = |why: &str| Refused {
            defer: false,
            message: format!("`{argument}` {why}"),
        };
        let readings = match normalise(path.text) {
            Ok(readings) => readings,
            Err(invalid) => return Some(deny(&invalid.to_string())),
        };
        let judged: Vec<Judged> = readings.iter().map(|path| self.judged(path)).collect();
        let hit = |globs: &[Glob<'_>]| judged.iter().any(|path| path.is_hit(globs));
        if hit(&self.always) {
            return Some(deny("names what no call may touch"));
        }
        if hit(&self.read_exclude) {
            return Some(deny("names what `read_exclude` excludes"));
        }
        if path.access == Access::Read {
            return None;
        }
        if hit(&self.edit_deny) {
            return Some(deny("names what `edit_deny` keeps from changes"));
        }
        let allowed = |path: &Normal| self.allows(path);
        if !self.edit_allow.is_empty() && !readings.iter().all(allowed) {
            return Some(deny("names what lies outside of `edit_allow`"));
        }
        hit(&self.edit_protected).then(|| Refused {
            defer: true,
            message: format!("`{argument}` names what `edit_protected` leaves to a person"),
        })
    }

    fn judged(&self, path: &Normal) -> Judged {
        let fold_all = |names: &[String]| names.iter().map(|name| fold(name)).collect();
        let workspace = self.workspace.as_deref();
        let names = path.names.as_slice();
        Judged {
            from_root: match (path.absolute, workspace) {
                (true, _) => Some(fold_all(names)),
                (false, Some(workspace)) => Some(fold_all(&[workspace, names].concat())),
                (false, None) => None,
            },
            local: fold_all(match workspace {
                Some(workspace) if path.absolute => names.strip_prefix(workspace).unwrap_or(names),
                _ => names,
            }),
        }
    }

    fn allows(&self, path: &Normal) -> bool {
        self.edit_allow.iter().any(|glob| {
            let names = match (glob.absolute, path.absolute, &self.workspace) {
                (true, true, _) | (false, false, _) => Some(path.names.clone()),
                (true, false, Some(workspace)) => {
                    Some(workspace.iter().chain(&path.names).cloned().collect())
                }
                (false, true, Some(workspace)) => path
                    .names
                    .strip_prefix(workspace.as_slice())
                    .map(<[String]>::to_vec),
                (_, _, None) => None,
            };
            names.is_some_and(|names| matches(&glob.names, &names))
        })
    }
}

/// A reading of a path as the refusing lists see it, folded.
struct Judged {
    /// Where that is known.
    from_root: Option<Vec<String>>,
    /// Below the workspace, where it lies there.
    local: Vec<String>,
}

impl Judged {
    /// A glob that starts at the root speaks of a relative path where it is known to start there; where nobody knows, it
    /// may.
    fn is_hit(&self, globs: &[Glob<'_>]) -> bool {
        globs
            .iter()
            .any(|glob| match (&self.from_root, glob.absolute) {
                (_, false) => matches(&glob.names, &self.local),
                (Some(names), true) => matches(&glob.names, names),
                (None, true) => true,
            })
    }
}

impl<'p> Glob<'p> {
    fn of(glob: &'p str) -> Glob<'p> {
        let names = glob.strip_prefix('/').unwrap_or(glob);
        Glob {
            absolute: glob.starts_with('/') || drive_of(glob).is_some(),
            names: names.split('/').map(Into::into).collect(),
        }
    }

    /// As one that refuses: at any depth unless it starts at the root, and what lies below.
    fn wide(glob: &'p str) -> Glob<'p> {
        let glob = Glob::of(glob);
        let any = Cow::Borrowed("**");
        let above = (!glob.absolute).then(|| any.clone());
        let names = glob.names.iter().map(|name| Cow::Owned(fold(name)));
        Glob {
            names: above.into_iter().chain(names).chain([any]).collect(),
            ..glob
        }
    }
}

/// A name as a forgiving file system takes it: in either case, without what it drops: dots and spaces at the end, what
/// follows a `:`, letters that are not shown.
fn fold(name: &str) -> String {
    let unseen = |letter: &char| !matches!(*letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let name = match drive_of(name) {
        Some(_) => name,
        None => name.split(':').next().unwrap_or(name),
    };
    let folded: String = name
        .chars()
        .filter(unseen)
        .flat_map(char::to_lowercase)
        .collect();
    let kept = folded.trim_end_matches(['.', ' ']);
    if kept.is_empty() {
        folded
    } else {
        kept.to_owned()
    }
}

/// Whether all of the names are what the glob says. `**` at its end stands for what is below and for the thing itself.
fn matches(glob: &[Cow<'_, str>], names: &[String]) -> bool {
    // The last `**` that was seen, and the names that it has taken so far: going back to an earlier one gains nothing.
    let (mut at, mut name) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (glob.get(at), names.get(name)) {
            (None, None) => return true,
            (Some(part), _) if part == "**" => {
                back = Some((at, name));
                at += 1;
                continue;
            }
            (Some(part), Some(found)) if name_matches(part, found) => {
                at += 1;
                name += 1;
                continue;
            }
            _ => {}
        }
        match back {
            Some((star, taken)) if taken < names.len() => {
                back = Some((star, taken + 1));
                at = star + 1;
                name = taken + 1;
            }
            _ => return false,
        }
    }
}

/// `*` stands for any letters, none too. Each part between stars is found as early as it can be.
fn name_matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}
