//! `paths { … }`: which files a call may name.
//!
//! Checked for calls, and for what a call *names*: a tool that opens something else, or a link that leads elsewhere, is
//! held by the sandbox alone (`docs/sandbox.md`).
//!
//! Invariants:
//! - Pure and total: every text is a path in one or several readings, or is refused. A tool may decode what it is given
//!   or take it as it stands, so every reading is checked, and one that is refused refuses the call.
//! - What refuses reaches widely (any depth, either case, with and without what a `:` cuts off), what allows reaches
//!   narrowly (from the workspace, exact).
//! - The work of one call is counted in steps, as it is done, and what would take more of them is refused.

use crate::json::{Object, Value};
use crate::policy::artifact::{Access, Field, Kind, PathRules, ToolSchema};
use crate::policy::letters;
use crate::policy::schema::{self, Declared};
use std::borrow::Cow;

/// Bytes of a path in a call: what Linux takes.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Names in a path: deeper trees than any project's, and a bound on the work of one.
pub const PATH_NAMES_MAX: usize = 64;
/// Paths in one call: a tool that moves a folder's files names a few hundred. Bounds the work of one call.
pub const PATHS_PER_CALL_MAX: usize = 256;
/// Steps of judging one call's paths, of about two nanoseconds: a few hundred ordinary paths and full lists of globs take
/// a tenth of them.
pub const PATH_STEPS_MAX: u64 = 25_000_000;
/// Steps of reading one byte of a path: it is decoded, taken apart and folded, for each place that it may start at.
const READ_BYTE_STEPS: usize = 16;
/// Steps of putting one name to one part of a glob, and of one search in it.
const NAME_STEPS: usize = 8;
const SEARCH_STEPS: usize = 24;
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

/// Names of arguments that hold paths where no schema declares the argument; they count as changed.
pub const PATH_NAMES: &[&str] = &["cwd", "dest", "destination", "dst", "source", "src"];
/// Ends of such names, in either case: `target_file`, `oldPath`, `subdir`. Each alone is such a name too.
pub const PATH_NAME_ENDS: &[&str] = &[
    "dir",
    "directories",
    "directory",
    "dirs",
    "file",
    "filename",
    "filenames",
    "files",
    "path",
    "pathname",
    "pathnames",
    "paths",
    "uri",
    "uris",
];
/// Words that end so and are none.
const NO_PATH_NAME_ENDS: &[&str] = &["jsonpath", "profile", "profiles", "xpath"];

/// Whether an argument that no schema declares is a path by its name.
pub fn is_path_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    PATH_NAMES.contains(&name.as_str()) || (ends(PATH_NAME_ENDS) && !ends(NO_PATH_NAME_ENDS))
}

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
    /// A letter that is a variant of a plain one, or dots between which letters stand that nobody sees.
    #[error("has a letter that is another spelling of a plain one")]
    Variant,
    /// More than [`PATH_STEPS_MAX`].
    #[error("takes more work to judge than one call may ask for")]
    Work,
    /// `~`, `C:x`, `file://host/…`, `\\?\…`, a URL with more than a path: where it starts is not known here.
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
    readings(text, &mut Work::whole())
}

fn readings(text: &str, work: &mut Work) -> Result<Vec<Normal>, PathInvalid> {
    if text.len() > PATH_BYTES_MAX {
        return Err(PathInvalid::TooLong);
    }
    let mut readings = Vec::new();
    let mut text = text.to_owned();
    for _ in 0..=DECODE_ROUNDS_MAX {
        if !work.take(text.len() * READ_BYTE_STEPS) {
            return Err(PathInvalid::Work);
        }
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
    if text.chars().any(letters::is_variant) {
        return Err(PathInvalid::Variant);
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
            name if is_dots(name) => return Err(PathInvalid::Variant),
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

/// Whether it is `.` or `..` but for letters that are not seen.
fn is_dots(name: &str) -> bool {
    let mut seen = name.chars().filter(|letter| !letters::is_unseen(*letter));
    matches!(
        (seen.next(), seen.next(), seen.next()),
        (None, ..) | (Some('.'), None, _) | (Some('.'), Some('.'), None)
    )
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

/// `file:` URLs of this host name a path; those of another one, or with a query or a fragment behind the path, name
/// nothing here. Who reads a URL leaves out white space before it.
fn without_scheme(text: &str) -> Result<&str, PathInvalid> {
    let Some((scheme, rest)) = text.trim_start().split_at_checked(5) else {
        return Ok(text);
    };
    if !scheme.eq_ignore_ascii_case("file:") {
        return Ok(text);
    }
    if rest.contains(['?', '#']) {
        return Err(PathInvalid::Start);
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

/// The paths in a call's arguments: what a schema declares as one, and where no schema declares an argument, every
/// text in one that is a path by its name ([`is_path_name`]), at any depth.
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
    let declared = schema::declared(schemas, tool);
    collect(&declared, arguments, false, &mut path, &mut found).map_err(|TooMany| Refused {
        defer: false,
        message: format!("the call names more than {PATHS_PER_CALL_MAX} paths"),
    })?;
    Ok(found)
}

/// More than [`PATHS_PER_CALL_MAX`].
struct TooMany;

/// Walks an object. `in_path`: it lies in an argument that is a path by its name, and so is whatever text in it no schema
/// declares.
fn collect<'a>(
    schemas: &Declared<'_>,
    object: &'a Object,
    in_path: bool,
    path: &mut Vec<String>,
    found: &mut Vec<Named<'a>>,
) -> Result<(), TooMany> {
    for (name, value) in object.iter() {
        path.push(name.to_owned());
        let kinds = schemas.get(path.as_slice()).map_or(&[][..], Vec::as_slice);
        let declared = kinds.iter().filter_map(|kind| match kind {
            Kind::Path(access) => Some(*access),
            _ => None,
        });
        let by_name = kinds.is_empty() && (in_path || is_path_name(name));
        let access = declared.max().or(by_name.then_some(Access::Edit));
        if let Some(access) = access {
            texts(value, &mut |text| add(path, text, access, found))?;
        }
        below(schemas, value, by_name, path, found)?;
        path.pop();
    }
    Ok(())
}

/// Objects in a value, those in lists too.
fn below<'a>(
    schemas: &Declared<'_>,
    value: &'a Value,
    in_path: bool,
    path: &mut Vec<String>,
    found: &mut Vec<Named<'a>>,
) -> Result<(), TooMany> {
    match value {
        Value::Object(inner) => collect(schemas, inner, in_path, path, found),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| below(schemas, item, in_path, path, found)),
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
    let mut work = Work::whole();
    for path in named {
        match lists.refused(path, &mut work) {
            Some(refused) if refused.defer => deferred = deferred.or(Some(refused)),
            Some(refused) => return Some(refused),
            None => {}
        }
    }
    deferred
}

/// What judging a call's paths may still take.
struct Work(u64);

impl Work {
    const fn whole() -> Work {
        Work(PATH_STEPS_MAX)
    }

    /// Whether that many steps were left. Once they were not, none are.
    fn take(&mut self, steps: usize) -> bool {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }

    const fn is_spent(&self) -> bool {
        self.0 == 0
    }
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

    fn refused(&self, path: &Named<'_>, work: &mut Work) -> Option<Refused> {
        let argument = Field::Args(path.argument.clone());
        let deny = |why: &str| Refused {
            defer: false,
            message: format!("`{argument}` {why}"),
        };
        let readings = match readings(path.text, work) {
            Ok(readings) => readings,
            Err(invalid) => return Some(deny(&invalid.to_string())),
        };
        let judged: Vec<Judged> = readings.iter().map(|path| self.judged(path)).collect();
        let refused = self.refused_reading(path.access, &readings, &judged, work);
        // What was found where not everything was looked at is not known.
        if work.is_spent() {
            return Some(deny(&PathInvalid::Work.to_string()));
        }
        match refused? {
            Kept::No(why) => Some(deny(why)),
            Kept::Ask => Some(Refused {
                defer: true,
                message: format!("`{argument}` names what `edit_protected` leaves to a person"),
            }),
        }
    }

    fn refused_reading(
        &self,
        access: Access,
        readings: &[Normal],
        judged: &[Judged],
        work: &mut Work,
    ) -> Option<Kept> {
        let mut hit = |globs: &[Glob<'_>]| judged.iter().any(|path| path.is_hit(globs, work));
        if hit(&self.always) {
            return Some(Kept::No("names what no call may touch"));
        }
        if hit(&self.read_exclude) {
            return Some(Kept::No("names what `read_exclude` excludes"));
        }
        if access == Access::Read {
            return None;
        }
        if hit(&self.edit_deny) {
            return Some(Kept::No("names what `edit_deny` keeps from changes"));
        }
        let protected = hit(&self.edit_protected);
        let mut allowed = |path: &Normal| self.allows(path, work);
        if !self.edit_allow.is_empty() && !readings.iter().all(&mut allowed) {
            return Some(Kept::No("names what lies outside of `edit_allow`"));
        }
        protected.then_some(Kept::Ask)
    }

    fn judged(&self, path: &Normal) -> Judged {
        let fold_all = |names: &[String]| names.iter().map(|name| Folded::of(name)).collect();
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

    fn allows(&self, path: &Normal, work: &mut Work) -> bool {
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
            names.is_some_and(|names| matches(&glob.names, &names, work))
        })
    }
}

/// Why a reading is kept from a call.
enum Kept {
    /// Denied, in words.
    No(&'static str),
    /// A person decides.
    Ask,
}

/// A reading of a path as the refusing lists see it, folded.
struct Judged {
    /// Where that is known.
    from_root: Option<Vec<Folded>>,
    /// Below the workspace, where it lies there.
    local: Vec<Folded>,
}

/// A name as a forgiving file system takes it: whole, and without what follows a `:`.
struct Folded {
    whole: String,
    cut: Option<String>,
}

/// A name that a part of a glob may stand for.
trait Name {
    /// Whether it does, in any of its readings.
    fn is_of(&self, part: &str, work: &mut Work) -> bool;
}

impl Name for String {
    fn is_of(&self, part: &str, work: &mut Work) -> bool {
        name_matches(part, self, work)
    }
}

impl Name for Folded {
    fn is_of(&self, part: &str, work: &mut Work) -> bool {
        let cut = self.cut.as_deref();
        name_matches(part, &self.whole, work)
            || cut.is_some_and(|cut| name_matches(part, cut, work))
    }
}

impl Folded {
    fn of(name: &str) -> Folded {
        // A drive alone is not cut: its letter is no name.
        let (cut, _) = match drive_of(name) {
            Some(true) => (name, ""),
            _ => name.split_once(':').unwrap_or((name, "")),
        };
        Folded {
            whole: fold(name),
            cut: (!cut.is_empty() && cut.len() < name.len()).then(|| fold(cut)),
        }
    }
}

impl Judged {
    /// A glob that starts at the root speaks of a relative path where it is known to start there; where nobody knows, it
    /// may.
    fn is_hit(&self, globs: &[Glob<'_>], work: &mut Work) -> bool {
        globs
            .iter()
            .any(|glob| match (&self.from_root, glob.absolute) {
                (_, false) => matches(&glob.names, &self.local, work),
                (Some(names), true) => matches(&glob.names, names, work),
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

/// In either case, without what a forgiving file system drops: dots and white space at the end, letters that are not
/// seen.
fn fold(name: &str) -> String {
    let folded: String = if name.is_ascii() {
        name.to_ascii_lowercase()
    } else {
        let seen = name.chars().filter(|letter| !letters::is_unseen(*letter));
        seen.flat_map(letters::folded).collect()
    };
    let kept = folded.trim_end_matches(|letter: char| letter == '.' || letter.is_whitespace());
    if kept.is_empty() {
        folded
    } else {
        kept.to_owned()
    }
}

/// Whether all of the names are what the glob says. `**` at its end stands for what is below and for the thing itself.
/// Beyond the work that is left the answer is yes, and means nothing.
fn matches(glob: &[Cow<'_, str>], names: &[impl Name], work: &mut Work) -> bool {
    // The last `**` that was seen, and the names that it has taken so far: going back to an earlier one gains nothing.
    let (mut at, mut name) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        if !work.take(1) {
            return true;
        }
        match (glob.get(at), names.get(name)) {
            (None, None) => return true,
            (Some(part), _) if part == "**" => {
                back = Some((at, name));
                at += 1;
                continue;
            }
            (Some(part), Some(found)) if found.is_of(part, work) => {
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
fn name_matches(glob: &str, name: &str, work: &mut Work) -> bool {
    if !work.take(NAME_STEPS) {
        return true;
    }
    let mut parts = glob.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let after = rest.split_once(part).map(|(_, after)| after);
        let looked_at = rest.len() - after.map_or(0, str::len);
        if !work.take(SEARCH_STEPS + looked_at) {
            return true;
        }
        let Some(after) = after else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}
