//! `paths { … }`: where a call may read and change files. Each text that is a path is read in every way in which a tool
//! may read it; what refuses reaches widely, what allows reaches narrowly.

use crate::decide::Answer;
use crate::facts::Question;
use crate::json::Json;
use crate::letters::{UNSEEN, VARIANTS, is_in};
use crate::schemas;
use crate::tree::{Agent, Paths};
use faramesh_core::decision::{Code, Effect};

/// What no call may name wherever a `paths` block stands.
const ALWAYS: &[&str] = &[
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

/// Whether an argument is a path by its name, and counts as changed, where no schema says what it is.
fn by_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "cwd" | "dest" | "destination" | "dst" | "source" | "src" => return true,
        _ => {}
    }
    let singular = name.strip_suffix('s').unwrap_or(&name);
    if singular.ends_with("profile") || name.ends_with("jsonpath") || name.ends_with("xpath") {
        return false;
    }
    let one = ["path", "file", "dir", "uri", "filename", "pathname"];
    one.iter().any(|end| singular.ends_with(end))
        || name.ends_with("directory")
        || name.ends_with("directories")
}

/// Bytes and names of a path, paths in a call, rounds of decoding.
const BYTES_MAX: usize = 4_096;
const NAMES_MAX: usize = 64;
const PATHS_MAX: usize = 256;
const ROUNDS_MAX: usize = 4;

/// After the rules: a path that is kept from the call refuses what the rules would let pass.
pub(crate) fn judge(agent: &Agent, question: &Question<'_>, answer: &mut Answer) {
    let Some(rules) = &agent.paths else {
        return;
    };
    let mut named = Vec::new();
    collect(
        agent,
        question.tool,
        &mut Vec::new(),
        question.args,
        false,
        &mut named,
    );
    let workspace = question.workspace();
    let verdicts = named
        .iter()
        .map(|(text, edited)| verdict(rules, text, *edited, workspace.as_deref()));
    let strictest = if named.len() > PATHS_MAX {
        Effect::Deny
    } else {
        verdicts.max().unwrap_or(Effect::Permit)
    };
    if strictest > answer.effect {
        answer.effect = strictest;
        answer.code = Some(Code::PathDenied);
        answer.rule = None;
        answer.notify.clear();
    }
}

/// Every text that is a path, and whether the tool changes what is there. `inside`: of an argument that is one by its name.
fn collect(
    agent: &Agent,
    tool: &str,
    at: &mut Vec<String>,
    value: &Json,
    inside: bool,
    found: &mut Vec<(String, bool)>,
) {
    match value {
        Json::List(items) => {
            for item in items {
                collect(agent, tool, at, item, inside, found);
            }
        }
        Json::Map(members) => {
            for (name, value) in members {
                at.push(name.clone());
                let kinds = schemas::kinds(agent, tool, at);
                let known = inside || by_name(name);
                let edited = match kinds.as_slice() {
                    [] => known.then_some(true),
                    kinds
                        if kinds
                            .iter()
                            .any(|kind| kind == "path" || kind == "path.edit") =>
                    {
                        Some(true)
                    }
                    kinds => kinds.contains(&"path.read".to_owned()).then_some(false),
                };
                if let Some(edited) = edited {
                    texts(value, edited, found);
                }
                let inside = kinds.is_empty() && known;
                collect(agent, tool, at, value, inside, found);
                at.pop();
            }
        }
        _ => {}
    }
}

fn texts(value: &Json, edited: bool, found: &mut Vec<(String, bool)>) {
    match value {
        Json::Text(text) => found.push((text.clone(), edited)),
        Json::List(items) => items.iter().for_each(|item| texts(item, edited, found)),
        _ => {}
    }
}

/// What one path comes to.
fn verdict(rules: &Paths, text: &str, edited: bool, workspace: Option<&[String]>) -> Effect {
    let Some(readings) = readings(text) else {
        return Effect::Deny;
    };
    let hit = |globs: &[String]| {
        readings
            .iter()
            .any(|path| globs.iter().any(|glob| refuses(glob, path, workspace)))
    };
    let always: Vec<String> = ALWAYS.iter().map(|glob| (*glob).to_owned()).collect();
    if hit(&always) || hit(&rules.read_exclude) {
        return Effect::Deny;
    }
    if !edited {
        return Effect::Permit;
    }
    let allowed = rules.edit_allow.is_empty()
        || readings.iter().all(|path| {
            let mut globs = rules.edit_allow.iter();
            globs.any(|glob| allows(glob, path, workspace))
        });
    if hit(&rules.edit_deny) || !allowed {
        return Effect::Deny;
    }
    if hit(&rules.edit_protected) {
        return Effect::Defer;
    }
    Effect::Permit
}

/// A path without `.`, `..` and empty names: where it starts, and its names.
#[derive(Debug, Clone, PartialEq)]
struct Path {
    absolute: bool,
    names: Vec<String>,
}

/// Every way in which a tool may read the text: decoded any number of times, with `\` as a letter or as a separator.
/// `None`: one of them is no path.
fn readings(text: &str) -> Option<Vec<Path>> {
    let mut all = Vec::new();
    let mut text = text.to_owned();
    if text.len() > BYTES_MAX {
        return None;
    }
    for _ in 0..=ROUNDS_MAX {
        // With a drive before it, `\` is a separator for sure.
        if drive(&text).is_none() {
            all.push(plain(&text)?);
        }
        all.push(plain(&text.replace('\\', "/"))?);
        let decoded = decoded(&text)?;
        if decoded == text {
            return Some(all);
        }
        text = decoded;
    }
    None
}

/// `%41` is `A`; a `%` without two digits behind it is itself.
fn decoded(text: &str) -> Option<String> {
    fn go(bytes: &[u8], out: &mut Vec<u8>) {
        let digit = |byte: &u8| (*byte as char).to_digit(16);
        match bytes {
            [] => {}
            [b'%', high, low, rest @ ..] if digit(high).is_some() && digit(low).is_some() => {
                out.push((digit(high).unwrap() * 16 + digit(low).unwrap()) as u8);
                go(rest, out);
            }
            [first, rest @ ..] => {
                out.push(*first);
                go(rest, out);
            }
        }
    }
    let mut out = Vec::new();
    go(text.as_bytes(), &mut out);
    String::from_utf8(out).ok()
}

/// `C:`, and whether nothing but a separator or the end follows it.
fn drive(text: &str) -> Option<bool> {
    let characters: Vec<char> = text.chars().take(3).collect();
    match characters.as_slice() {
        [letter, ':', rest @ ..] if letter.is_ascii_alphabetic() => {
            Some(matches!(rest, [] | ['/'] | ['\\']))
        }
        _ => None,
    }
}

fn plain(text: &str) -> Option<Path> {
    let is_refused = |letter: char| letter.is_control() || is_in(VARIANTS, letter);
    if text.is_empty() || text.chars().any(is_refused) {
        return None;
    }
    let text = without_scheme(text)?;
    if text.starts_with('~') || text.starts_with("//?/") || text.starts_with("//./") {
        return None;
    }
    let absolute = text.starts_with('/');
    let mut names: Vec<String> = Vec::new();
    for name in text.split('/') {
        let seen: String = name
            .chars()
            .filter(|letter| !is_in(UNSEEN, *letter))
            .collect();
        if seen.len() < name.len() && ["", ".", ".."].contains(&seen.as_str()) {
            return None;
        }
        if name == ".." {
            if names.pop().is_none() && !absolute {
                return None;
            }
        } else if !name.is_empty() && name != "." {
            names.push(name.to_owned());
        }
        if names.len() > NAMES_MAX {
            return None;
        }
    }
    match drive(text) {
        None => Some(Path { absolute, names }),
        Some(true) if names.first().is_some_and(|first| drive(first).is_some()) => Some(Path {
            absolute: true,
            names,
        }),
        Some(_) => None,
    }
}

/// `file:/x`, `file:///x` and `file://localhost/x` are `/x`; other hosts' files, and what
/// is asked of one, are nowhere here.
fn without_scheme(text: &str) -> Option<&str> {
    let without_space = text.trim_start();
    let is_url = without_space
        .get(..5)
        .is_some_and(|head| head.eq_ignore_ascii_case("file:"));
    if !is_url {
        return Some(text);
    }
    let rest = &without_space[5..];
    if rest.contains('?') || rest.contains('#') {
        return None;
    }
    let Some(authority) = rest.strip_prefix("//") else {
        return rest.starts_with('/').then_some(rest);
    };
    let slash = authority.find('/')?;
    let host = &authority[..slash];
    (host.is_empty() || host.eq_ignore_ascii_case("localhost")).then_some(&authority[slash..])
}

/// A name as a forgiving file system takes it, and once more without what a `:` cuts off.
fn folded(name: &str) -> Vec<String> {
    let mut all = vec![lowered(name)];
    if drive(name) != Some(true)
        && let Some(colon) = name.find(':')
        && colon > 0
    {
        all.push(lowered(&name[..colon]));
    }
    all
}

fn lowered(name: &str) -> String {
    let seen = name.chars().filter(|letter| !is_in(UNSEEN, *letter));
    let plain: String = seen.collect::<String>().replace(['ß', 'ẞ'], "ss");
    let lower: String = plain
        .replace('ı', "i")
        .chars()
        .flat_map(char::to_lowercase)
        .collect();
    match lower.trim_end_matches(|letter: char| letter == '.' || letter.is_whitespace()) {
        "" => lower,
        kept => kept.to_owned(),
    }
}

/// Globs that refuse: in either case, at any depth unless they start at the root, and what lies below. Where nobody
/// knows where a relative path starts, it may start anywhere.
fn refuses(glob: &str, path: &Path, workspace: Option<&[String]>) -> bool {
    let fold = |names: &[String]| names.iter().map(|name| folded(name)).collect::<Vec<_>>();
    let mut parts: Vec<String> = parts(glob).iter().map(|part| lowered(part)).collect();
    parts.push("**".to_owned());
    if is_absolute(glob) {
        return match (path.absolute, workspace) {
            (true, _) => fits(&parts, &fold(&path.names)),
            (false, Some(workspace)) => {
                fits(&parts, &fold(&[workspace, path.names.as_slice()].concat()))
            }
            (false, None) => true,
        };
    }
    parts.insert(0, "**".to_owned());
    let local = match workspace {
        Some(workspace) if path.absolute && path.names.starts_with(workspace) => {
            &path.names[workspace.len()..]
        }
        _ => path.names.as_slice(),
    };
    fits(&parts, &fold(local))
}

/// Globs that allow: exactly, from the root or from the workspace.
fn allows(glob: &str, path: &Path, workspace: Option<&[String]>) -> bool {
    let names = match (is_absolute(glob), path.absolute, workspace) {
        (true, true, _) | (false, false, _) => path.names.clone(),
        (true, false, Some(workspace)) => [workspace, path.names.as_slice()].concat(),
        (false, true, Some(workspace)) if path.names.starts_with(workspace) => {
            path.names[workspace.len()..].to_vec()
        }
        _ => return false,
    };
    let exact: Vec<Vec<String>> = names.into_iter().map(|name| vec![name]).collect();
    fits(&parts(glob), &exact)
}

fn is_absolute(glob: &str) -> bool {
    glob.starts_with('/') || drive(glob).is_some()
}

fn parts(glob: &str) -> Vec<String> {
    let glob = glob.strip_prefix('/').unwrap_or(glob);
    glob.split('/').map(str::to_owned).collect()
}

/// `**` stands for any names, none too; `*` in a name for any letters, none too. Of a name one reading is enough.
fn fits(glob: &[String], names: &[Vec<String>]) -> bool {
    match (glob, names) {
        ([], []) => true,
        ([part, rest @ ..], _) if part == "**" => {
            fits(rest, names)
                || names
                    .split_first()
                    .is_some_and(|(_, behind)| fits(glob, behind))
        }
        ([part, rest @ ..], [name, behind @ ..]) => {
            name.iter().any(|name| crate::patterns::text(part, name)) && fits(rest, behind)
        }
        _ => false,
    }
}

/// The names of an absolute path, where it is one.
pub(crate) fn absolute_names(text: &str) -> Option<Vec<String>> {
    plain(text)
        .filter(|path| path.absolute)
        .map(|path| path.names)
}
