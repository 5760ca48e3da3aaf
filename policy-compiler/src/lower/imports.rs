//! `import "host/path@1.2.3" as x` and `use x { … }`: packs from a registry, put into the agents that take them in before
//! anything is lowered.
//!
//! Invariants: a pack is taken in only when a key that the policy trusts for its path signed exactly this name, version and
//! text; a pack brings rules, redactions and egress, never an agent; what it brings stands at its `use`. Places in a pack
//! are no places in the policy, and its names are its own: only its parameters stand for values in it. Findings about it stand at the `import` or the `use` and name the pack's line.

use super::vars::{self, Scope};
use crate::diagnostic::{Diagnostic, Findings, Severity, alternatives, quoted};
use crate::number::Number;
use crate::registry::{PACK_BYTES_MAX, PackStatement, Registry};
use crate::source::{Lines, Span};
use crate::syntax::{
    Block, ClauseBody, Expr, ExprKind, File, Item, Rule, Setting, Unit, Value, ValueKind, Word,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use faramesh_core::checkpoint::{KeyName, PublicKey};
use faramesh_core::policy::artifact::{self, RULES_MAX};
use std::collections::BTreeMap;

/// Packs of one policy: nobody reviews more.
const IMPORTS_MAX: usize = 64;
/// Findings of one pack that are repeated in the policy's.
const SHOWN_MAX: usize = 5;
/// Items that all `use` of one policy bring: as many as one agent may have rules.
const ITEMS_MAX: usize = RULES_MAX;

/// A key of `trust`, or what is wrong with it.
pub(super) fn trusted_key(name: &str, key: &str) -> Result<PublicKey, &'static str> {
    if !is_path(name) {
        return Err("expected a host and a path, such as `registry.example/policies`");
    }
    let bytes = key
        .strip_prefix("ed25519:")
        .ok_or("expected a key that starts with `ed25519:`")?;
    let bytes = BASE64.decode(bytes).map_err(|_| "the key is not base64")?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| "a key has 32 bytes")?;
    let name = KeyName::new(name).map_err(|_| "this cannot be a key's name")?;
    PublicKey::new(name, &bytes).map_err(|_| "these bytes are no usable Ed25519 key")
}

/// `host/path`, `host`: segments of lower-case letters, digits, `.`, `_`, `-`.
fn is_path(path: &str) -> bool {
    let segment = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            })
    };
    path.len() <= 200 && path.split('/').all(segment)
}

/// A whole version: `1.2.3`, `1.2.3-rc.1`.
fn is_version(version: &str) -> bool {
    let (numbers, rest) = match version.find(['-', '+']) {
        Some(at) => version.split_at(at),
        None => (version, ""),
    };
    let number = |text: &str| {
        (text == "0" || !text.starts_with('0'))
            && (1..=9).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let numbers: Vec<&str> = numbers.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && version.len() <= 64
        && rest.len() != 1
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte))
}

/// One `import` as it is written.
struct Import {
    name: String,
    version: String,
    alias: String,
    span: Span,
}

/// A pack that was verified and read.
struct Pack {
    shown: String,
    parameters: BTreeMap<String, Parameter>,
    items: Vec<Item>,
}

struct Parameter {
    kind: &'static str,
    default: Option<Value>,
}

/// What a parameter may hold.
const KINDS: &[&str] = &[
    "bool", "duration", "list", "money", "number", "size", "text",
];

/// Takes packs in: afterwards the file has neither `import` nor `use`.
pub(super) fn expand(file: &mut File, registry: &dyn Registry, diagnostics: &mut Findings) {
    let keys = trusted(file);
    let mut imports: BTreeMap<String, (Import, Option<Pack>, bool)> = BTreeMap::new();
    let mut seen = 0_usize;
    file.items.retain(|item| {
        let Item::Setting(setting) = item else {
            return true;
        };
        if setting.key.text != "import" {
            return true;
        }
        seen += 1;
        if let Some(import) = read(setting, diagnostics).filter(|_| seen <= IMPORTS_MAX) {
            if let Some((first, ..)) = imports.get(&import.alias) {
                diagnostics.push(twice(&import, first.span));
                return false;
            }
            let pack = fetch(&import, &keys, registry, diagnostics);
            imports.insert(import.alias.clone(), (import, pack, false));
        } else if seen == IMPORTS_MAX + 1 {
            let message = format!("more than {IMPORTS_MAX} imports");
            diagnostics.push(Diagnostic::new(Number::BadImport, message).at(setting.span, ""));
        }
        false
    });
    let mut budget = ITEMS_MAX;
    // A flat file is an agent itself.
    uses(&mut file.items, &mut imports, &mut budget, diagnostics);
    for item in &mut file.items {
        if let Item::Block(block) = item
            && block.keyword.text == "agent"
        {
            uses(&mut block.items, &mut imports, &mut budget, diagnostics);
        }
    }
    for (import, _, _) in imports.values().filter(|(_, _, used)| !used) {
        let message = format!("no agent uses {}", quoted(&import.alias));
        diagnostics.push(
            Diagnostic::new(Number::UnusedImport, message)
                .at(import.span, "this pack has no effect")
                .help(format!(
                    "write `use {}` in an agent, or remove it",
                    import.alias
                )),
        );
    }
}

fn twice(import: &Import, first: Span) -> Diagnostic {
    let message = format!("two imports are called {}", quoted(&import.alias));
    Diagnostic::new(Number::BadImport, message)
        .at(import.span, "again here")
        .at(first, "first here")
        .help("give one another name with `as`")
}

/// The keys of `trust` that are sound; the others are reported where the block is lowered.
fn trusted(file: &File) -> Vec<PublicKey> {
    let trusts = file.items.iter().filter_map(|item| match item {
        Item::Block(block) if block.keyword.text == "trust" => Some(&block.items),
        _ => None,
    });
    trusts
        .flatten()
        .filter_map(|item| match item {
            Item::Setting(setting) if setting.key.text == "key" => {
                let [name, key] = setting.values.as_slice() else {
                    return None;
                };
                let (name, key) = (word(name)?, word(key)?);
                trusted_key(name, key).ok()
            }
            _ => None,
        })
        .collect()
}

fn word(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::Bare(text) | ValueKind::Text(text) => Some(text),
        _ => None,
    }
}

fn read(setting: &Setting, diagnostics: &mut Findings) -> Option<Import> {
    let words: Vec<&str> = setting
        .values
        .iter()
        .map(|value| word(value).unwrap_or_default())
        .collect();
    let (what, alias) = match words.as_slice() {
        [what] => (*what, None),
        [what, "as", alias] => (*what, Some(*alias)),
        _ => ("", None),
    };
    let mut refuse = |why: String| {
        diagnostics.push(
            Diagnostic::new(Number::BadImport, "this is no `import`")
                .at(setting.span, why)
                .help("write `import \"host/path@1.2.3\" as name`"),
        );
        None
    };
    let (name, version) = what.split_once('@').unwrap_or((what, ""));
    if !is_path(name) || !name.contains('/') {
        return refuse(String::from("expected a host, a path and a version"));
    }
    if version.is_empty() {
        return refuse(String::from("expected `@` and a version"));
    }
    if !is_version(version) {
        return refuse(format!(
            "{} is not one version: what is compiled must not change by itself",
            quoted(version)
        ));
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    let alias = alias.unwrap_or(last);
    let plain = alias.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && alias.len() <= 64
        && alias
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !plain {
        return refuse(format!(
            "{} cannot be its name: add `as` and a name",
            quoted(alias)
        ));
    }
    Some(Import {
        name: name.to_string(),
        version: version.to_string(),
        alias: alias.to_string(),
        span: setting.span,
    })
}

fn fetch(
    import: &Import,
    keys: &[PublicKey],
    registry: &dyn Registry,
    diagnostics: &mut Findings,
) -> Option<Pack> {
    let shown = format!("{}@{}", import.name, import.version);
    let mut refuse = |number: Number, message: String, why: String, help: &str| {
        diagnostics.push(
            Diagnostic::new(number, message)
                .at(import.span, why)
                .help(help),
        );
        None
    };
    let covers = |key: &&PublicKey| PackStatement::is_below(&import.name, key.name());
    let Some(key) = keys
        .iter()
        .filter(covers)
        .max_by_key(|key| key.name().as_str().len())
    else {
        let message = format!("no key is trusted for {}", quoted(&import.name));
        return refuse(
            Number::PackUntrusted,
            message,
            String::from("a pack is taken in only when a trusted key signed it"),
            "write `trust { key \"host/path\" ed25519:… }` with the publisher's key",
        );
    };
    let pack = match registry.fetch(&import.name, &import.version) {
        Ok(pack) => pack,
        Err(unreachable) => {
            let message = format!("{} cannot be had", quoted(&shown));
            return refuse(
                Number::RegistryUnreachable,
                message,
                unreachable.to_string(),
                "put the pack into the registry's folder, below its name and version",
            );
        }
    };
    if pack.text.len() > PACK_BYTES_MAX {
        let message = format!("{} has more than {PACK_BYTES_MAX} bytes", quoted(&shown));
        return refuse(Number::BadPack, message, String::new(), "split the pack");
    }
    let said = match key.open::<PackStatement>(&pack.note) {
        Ok(said) => said,
        Err(why) => {
            let message = format!("the signature of {} does not hold", quoted(&shown));
            return refuse(
                Number::PackSignature,
                message,
                why.to_string(),
                "fetch the pack again, or ask its publisher",
            );
        }
    };
    let digest = artifact::digest(pack.text.as_bytes());
    if said.name != import.name || said.version != import.version || said.digest != digest {
        let why = if said.digest == digest {
            format!(
                "it was signed as {}",
                quoted(&format!("{}@{}", said.name, said.version))
            )
        } else {
            String::from("the text is not the one that was signed")
        };
        let message = format!(
            "the signature of {} is about something else",
            quoted(&shown)
        );
        return refuse(
            Number::PackSignature,
            message,
            why,
            "fetch the pack again, or ask its publisher",
        );
    }
    parse(import, &shown, &pack.text, diagnostics)
}

fn parse(import: &Import, shown: &str, text: &str, diagnostics: &mut Findings) -> Option<Pack> {
    let mut found = Findings::default();
    let tokens = crate::lex::lex(text, &mut found);
    let file = crate::parse::parse(text, &tokens, &mut found);
    let mut pack = Pack {
        shown: shown.to_string(),
        parameters: BTreeMap::new(),
        items: Vec::new(),
    };
    let refuse = |found: &mut Findings, message: String, span: Span| {
        found.push(Diagnostic::new(Number::BadPack, message).at(span, ""));
    };
    match file.items.as_slice() {
        [Item::Block(block)] if block.keyword.text == "pack" => {
            for item in &block.items {
                match item {
                    Item::Setting(setting) if setting.key.text == "parameter" => {
                        if let Some((name, parameter)) = parameter(setting, &mut found)
                            && pack
                                .parameters
                                .insert(name.text.clone(), parameter)
                                .is_some()
                        {
                            let message = format!("parameter {} stands twice", quoted(&name.text));
                            refuse(&mut found, message, name.span);
                        }
                    }
                    Item::Setting(setting) if setting.key.text == "version" => {
                        let said = setting.values.first().and_then(word).unwrap_or_default();
                        if said != import.version {
                            let message =
                                format!("the pack says that it is version {}", quoted(said));
                            refuse(&mut found, message, setting.span);
                        }
                    }
                    Item::Setting(setting) if setting.key.text == "var" => {
                        let message = String::from("a pack has parameters, and no `var`");
                        refuse(&mut found, message, setting.span);
                    }
                    other => pack.items.push(other.clone()),
                }
            }
        }
        items => {
            let span = items.iter().find_map(|item| match item {
                Item::Block(block) if block.keyword.text == "pack" => None,
                other => Some(other.span()),
            });
            let message = String::from("a pack file is one `pack \"name\" { … }` and nothing else");
            refuse(&mut found, message, span.unwrap_or_default());
        }
    }
    let sound = !found.has_errors();
    repeat(import, shown, text, found, diagnostics);
    sound.then_some(pack)
}

/// The errors of a pack, in words, at its import.
fn repeat(import: &Import, shown: &str, text: &str, found: Findings, diagnostics: &mut Findings) {
    let lines = Lines::new(text);
    let errors = found
        .into_vec()
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error);
    for finding in errors.take(SHOWN_MAX) {
        let line = finding
            .labels
            .first()
            .map_or(1, |label| lines.position(label.span.start).line);
        let message = format!("pack {}, line {line}: {}", quoted(shown), finding.message);
        diagnostics.push(
            Diagnostic::new(Number::BadPack, message)
                .at(import.span, "imported here")
                .help("import another version, or ask its publisher"),
        );
    }
}

/// `parameter max: money = $500`.
fn parameter(setting: &Setting, found: &mut Findings) -> Option<(Word, Parameter)> {
    let (name, kind, default) = match setting.values.as_slice() {
        [name, kind] => (name, kind, None),
        [name, kind, default] => (name, kind, Some(default.clone())),
        _ => {
            found.push(
                Diagnostic::new(Number::BadPack, "a parameter has a name and a type")
                    .at(setting.span, ""),
            );
            return None;
        }
    };
    let known = word(kind).and_then(|kind| KINDS.iter().find(|known| **known == kind));
    let (Some(text), Some(kind)) = (word(name), known) else {
        let message = format!(
            "a parameter's type is {}",
            alternatives(KINDS.iter().copied())
        );
        found.push(Diagnostic::new(Number::BadPack, message).at(kind.span, ""));
        return None;
    };
    if let Some(value) = &default
        && !holds(kind, value)
    {
        let message = format!("the default of parameter {} is no {kind}", quoted(text));
        found.push(Diagnostic::new(Number::BadPack, message).at(value.span, ""));
        return None;
    }
    if let Some(why) = vars::name_fault(text) {
        let message = format!("{} is no name of a parameter: {why}", quoted(text));
        found.push(Diagnostic::new(Number::BadPack, message).at(name.span, ""));
        return None;
    }
    let name = Word {
        text: text.to_string(),
        span: name.span,
    };
    Some((name, Parameter { kind, default }))
}

fn holds(kind: &str, value: &Value) -> bool {
    let unit = match &value.kind {
        ValueKind::Number(quantity) => Some(quantity.unit),
        _ => None,
    };
    match kind {
        "bool" => matches!(&value.kind, ValueKind::Bare(word) if word == "true" || word == "false"),
        "money" => matches!(unit, Some(Unit::Money | Unit::None)),
        "number" => unit == Some(Unit::None),
        "duration" => unit == Some(Unit::Duration),
        "size" => unit == Some(Unit::Size),
        "list" => matches!(value.kind, ValueKind::List(_)),
        _ => matches!(value.kind, ValueKind::Bare(_) | ValueKind::Text(_)),
    }
}

/// Replaces each `use` of an agent by what its pack brings.
fn uses(
    items: &mut Vec<Item>,
    imports: &mut BTreeMap<String, (Import, Option<Pack>, bool)>,
    budget: &mut usize,
    diagnostics: &mut Findings,
) {
    let is_use = |item: &Item| matches!(item, Item::Block(block) if block.keyword.text == "use");
    if !items.iter().any(is_use) {
        return;
    }
    for item in std::mem::take(items) {
        match item {
            Item::Block(block) if block.keyword.text == "use" => {
                let alias = match block.labels.as_slice() {
                    [label] => word(label).unwrap_or_default(),
                    _ => "",
                };
                let Some((_, pack, used)) = imports.get_mut(alias) else {
                    let message = format!("nothing is imported as {}", quoted(alias));
                    let near = imports
                        .keys()
                        .find(|known| strsim::osa_distance(known, alias) <= 2);
                    diagnostics.push(
                        Diagnostic::new(Number::BadImport, message)
                            .at(block.head, "")
                            .suggest(near.map(String::as_str))
                            .help(
                                "write `import \"host/path@1.2.3\" as name` at the top of the file",
                            ),
                    );
                    continue;
                };
                *used = true;
                if let Some(pack) = pack {
                    items.extend(taken_in(pack, &block, budget, diagnostics));
                }
            }
            other => items.push(other),
        }
    }
}

fn taken_in(
    pack: &Pack,
    block: &Block,
    budget: &mut usize,
    diagnostics: &mut Findings,
) -> Vec<Item> {
    let Some(scope) = arguments(pack, block, diagnostics) else {
        return Vec::new();
    };
    let count: usize = pack.items.iter().map(size).sum();
    if count > *budget {
        let message = format!("the packs that are used bring more than {ITEMS_MAX} items");
        diagnostics.push(Diagnostic::new(Number::TooManyRules, message).at(block.head, ""));
        return Vec::new();
    }
    *budget -= count;
    let mut items = pack.items.clone();
    items.iter_mut().for_each(|item| place(item, block.head));
    vars::items(&mut items, &[&scope], diagnostics);
    items
}

fn size(item: &Item) -> usize {
    match item {
        Item::Block(block) => 1 + block.items.iter().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// The values of a pack's parameters at one `use`.
fn arguments(pack: &Pack, block: &Block, diagnostics: &mut Findings) -> Option<Scope> {
    let mut given: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut sound = true;
    let mut refuse = |message: String, span: Span, help: String| {
        sound = false;
        diagnostics.push(Diagnostic::new(Number::PackParameter, message).at(span, help));
    };
    for item in &block.items {
        let word = item.word();
        let value = match item {
            Item::Setting(setting) => match setting.values.as_slice() {
                [value] => Some(value),
                _ => None,
            },
            _ => None,
        };
        let name = word.text.as_str();
        let (Some(value), Some(parameter)) = (value, pack.parameters.get(name)) else {
            let known = alternatives(pack.parameters.keys().map(String::as_str));
            let message = format!("{} has no parameter {}", quoted(&pack.shown), quoted(name));
            let help = if pack.parameters.is_empty() {
                String::from("it has none")
            } else {
                format!("expected {known}")
            };
            refuse(message, word.span, help);
            continue;
        };
        if !holds(parameter.kind, value) {
            let message = format!("parameter {} is a {}", quoted(name), parameter.kind);
            refuse(message, value.span, String::from("and this is none"));
        }
        if given.insert(name, value).is_some() {
            refuse(
                format!("{} is given twice", quoted(name)),
                word.span,
                String::new(),
            );
        }
    }
    let mut scope = Scope::default();
    for (name, parameter) in &pack.parameters {
        match given
            .get(name.as_str())
            .copied()
            .or(parameter.default.as_ref())
        {
            Some(value) => scope.insert(name.clone(), value.clone(), block.head),
            None => {
                let message = format!(
                    "{} needs its parameter {}",
                    quoted(&pack.shown),
                    quoted(name)
                );
                refuse(
                    message,
                    block.head,
                    format!("expected a {} of this name", parameter.kind),
                );
            }
        }
    }
    sound.then_some(scope)
}

/// Moves everything in an item to one place: what a pack brings stands at its `use`.
fn place(item: &mut Item, at: Span) {
    match item {
        Item::Rule(rule) => place_rule(rule, at),
        Item::Setting(setting) => {
            setting.key.span = at;
            setting.span = at;
            setting
                .values
                .iter_mut()
                .for_each(|value| place_value(value, at));
        }
        Item::Block(block) => {
            block.keyword.span = at;
            block.head = at;
            block
                .labels
                .iter_mut()
                .for_each(|value| place_value(value, at));
            block.items.iter_mut().for_each(|item| place(item, at));
        }
        Item::Example(example) => {
            example.effect.span = at;
            example.span = at;
        }
    }
}

fn place_rule(rule: &mut Rule, at: Span) {
    rule.span = at;
    rule.effect.span = at;
    if let Some(tool) = &mut rule.tool {
        tool.span = at;
    }
    for clause in &mut rule.clauses {
        clause.keyword.span = at;
        match &mut clause.body {
            ClauseBody::Condition(expr) => place_expr(expr, at),
            ClauseBody::Value(value) => place_value(value, at),
            ClauseBody::Pair { key, value } => {
                key.span = at;
                place_value(value, at);
            }
        }
    }
}

fn place_value(value: &mut Value, at: Span) {
    value.span = at;
    match &mut value.kind {
        ValueKind::List(parts) => parts.iter_mut().for_each(|part| place_value(part, at)),
        ValueKind::Object(members) => {
            for member in members {
                member.key.iter_mut().for_each(|part| part.span = at);
                place_value(&mut member.value, at);
            }
        }
        ValueKind::Bare(_)
        | ValueKind::Text(_)
        | ValueKind::Number(_)
        | ValueKind::Env(_)
        | ValueKind::Bad => {}
    }
}

fn place_expr(expr: &mut Expr, at: Span) {
    expr.span = at;
    match &mut expr.kind {
        ExprKind::Or(parts) | ExprKind::And(parts) | ExprKind::List(parts) => {
            parts.iter_mut().for_each(|part| place_expr(part, at));
        }
        ExprKind::Not(inner) | ExprKind::Has(inner) => place_expr(inner, at),
        ExprKind::Binary {
            sign, left, right, ..
        } => {
            *sign = at;
            place_expr(left, at);
            place_expr(right, at);
        }
        ExprKind::Name(parts) => parts.iter_mut().for_each(|part| part.span = at),
        ExprKind::Call { name, arguments } => {
            name.span = at;
            for argument in arguments {
                if let Some(name) = &mut argument.name {
                    name.span = at;
                }
                place_expr(&mut argument.value, at);
            }
        }
        ExprKind::Bool(_)
        | ExprKind::Number(_)
        | ExprKind::Text(_)
        | ExprKind::ToolPath(_)
        | ExprKind::Bad => {}
    }
}
