//! Blocks that are declared: read by the table of [`blocks`], kept as data that no layout and no dialect shows in.
//!
//! Invariant: each setting is in the declaration or a finding; settings are sorted by key, declarations by their data.

use super::Lowering;
use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::settings::typed::{self, text_of};
use crate::source::Span;
use crate::syntax::{Block, Item, Setting, Value, ValueKind};
use crate::vocabulary::blocks::{self, Key, Label, Type};
use crate::vocabulary::nearest;
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{
    Datum, Declaration, LIST_MAX, Setting as Declared, TEXT_BYTES_MAX, Unit as DatumUnit,
};
use std::collections::BTreeMap;

/// Declarations of one agent, or of the stack, while they are read: each with its place, to find the second of a kind.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    of: BTreeMap<Declaration, Span>,
    /// Keyword and labels of those that stand once.
    once: BTreeMap<(String, Vec<Datum>), Span>,
}

impl Declarations {
    pub(super) fn finish(self) -> Vec<Declaration> {
        self.of.into_keys().collect()
    }
}

impl Lowering<'_> {
    /// Reads a block of the table.
    pub(super) fn declare(
        &mut self,
        block: &Block,
        spec: &'static blocks::Block,
        declarations: &mut Declarations,
    ) {
        let before = self.diagnostics.errors();
        let mut settings = self.declared(block, spec);
        let sound = self.diagnostics.errors() == before;
        let labels = self.label(block, spec, &mut settings);
        // What was refused in part is compared with nothing.
        let (Some(labels), true) = (labels, sound) else {
            return;
        };
        let declaration = Declaration {
            keyword: spec.word.to_string(),
            labels,
            settings: settings
                .into_iter()
                .map(|(key, (_, values))| Declared { key, values })
                .collect(),
            inner: Vec::new(),
        };
        self.keep(
            declaration,
            block.head,
            spec.label == Label::Many,
            declarations,
        );
    }

    /// Puts a declaration to the others; the second of one name is a finding.
    pub(super) fn keep(
        &mut self,
        declaration: Declaration,
        span: Span,
        repeats: bool,
        declarations: &mut Declarations,
    ) {
        let name = (declaration.keyword.clone(), declaration.labels.clone());
        let twice = if repeats {
            declarations.of.get(&declaration).copied()
        } else {
            declarations.once.insert(name, span)
        };
        if let Some(first) = twice {
            let message = format!("{} stands twice", quoted(&declaration.keyword));
            self.report(
                Diagnostic::new(Number::DuplicateBlock, message)
                    .at(span, "again here")
                    .at(first, "first here")
                    .help(if repeats || declaration.keyword == "key" {
                        "remove one"
                    } else {
                        "join the two"
                    }),
            );
            return;
        }
        declarations.of.insert(declaration, span);
    }

    fn label(
        &mut self,
        block: &Block,
        spec: &blocks::Block,
        settings: &mut Settings,
    ) -> Option<Vec<Datum>> {
        let wanted = |text: String| Diagnostic::new(Number::BadName, text).at(block.head, "");
        let keyword = quoted(spec.word);
        let as_key = match spec.label {
            Label::OrKey(key) => settings.remove(key),
            _ => None,
        };
        match (spec.label, block.labels.as_slice(), as_key) {
            (Label::None | Label::Many | Label::Maybe, [], _) => Some(Vec::new()),
            (Label::OrKey(_), [], Some((_, named))) => Some(named),
            (Label::OrKey(key), [label, ..], Some((again, _))) => {
                let message = format!("{keyword} is named twice");
                self.report(
                    Diagnostic::new(Number::BadName, message)
                        .at(again, "again here")
                        .at(label.span, "first here")
                        .help(format!("remove `{key}`")),
                );
                None
            }
            (Label::Name | Label::Maybe | Label::OrKey(_), [label], None) => {
                self.name(label, spec.word).map(|name| vec![name])
            }
            (Label::None | Label::Many, [label, ..], _) => {
                let message = format!("{keyword} has no name");
                self.report(
                    Diagnostic::new(Number::BadName, message).at(label.span, "remove this"),
                );
                None
            }
            (Label::Name | Label::OrKey(_), [], _) => {
                let finding = wanted(format!("{keyword} has a name"));
                self.report(finding.help(format!("write `{} name {{ … }}`", spec.word)));
                None
            }
            _ => {
                let finding = wanted(format!("{keyword} has one name"));
                self.report(finding.help("put a name of several words into quotes"));
                None
            }
        }
    }

    /// A name in front of a brace.
    pub(super) fn name(&mut self, label: &Value, what: &str) -> Option<Datum> {
        match text_of(label) {
            Some(text) if !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX => {
                Some(Datum::Text(text.to_string()))
            }
            _ => {
                let message = format!("this is no name for {}", quoted(what));
                self.report(
                    Diagnostic::new(Number::BadName, message)
                        .at(label.span, "expected a word, or text in quotes"),
                );
                None
            }
        }
    }

    /// The settings of a block: every one known, of its type, and none missing.
    fn declared(&mut self, block: &Block, spec: &'static blocks::Block) -> Settings {
        let variant = self.variant(block, spec);
        // Without a sound `type`, which is reported, no key is known to be wrong.
        let undecided = !spec.variants.is_empty() && variant.is_none();
        let mut settings = Settings::new();
        for item in &block.items {
            let Item::Setting(setting) = item else {
                self.unknown_key(item, spec, variant);
                continue;
            };
            let word = setting.key.text.as_str();
            let of_variant = variant.iter().flat_map(|(_, keys)| *keys);
            let known = spec
                .keys
                .iter()
                .chain(of_variant)
                .find(|key| key.word == word);
            let free = spec.free.map(|of| Key {
                word: "",
                of,
                required: false,
                kept_as: None,
            });
            match (known, free) {
                (Some(key), _) => {
                    self.setting(key, key.kept_as.unwrap_or(key.word), setting, &mut settings)
                }
                (None, Some(free)) => self.setting(&free, word, setting, &mut settings),
                (None, None) if undecided && spec.all_keys().any(|key| key.word == word) => {}
                (None, None) => self.unknown_key(item, spec, variant),
            }
        }
        self.missing(block, spec, variant, &settings);
        settings
    }

    /// Which keys the block has by its `type`.
    fn variant(
        &mut self,
        block: &Block,
        spec: &blocks::Block,
    ) -> Option<(&'static str, &'static [Key])> {
        let named = block.items.iter().find_map(|item| match item {
            Item::Setting(setting) if setting.key.text == "type" => setting.values.first(),
            _ => None,
        });
        let named = named.and_then(text_of)?;
        spec.variants
            .iter()
            .copied()
            .find(|(variant, _)| *variant == named)
    }

    pub(super) fn setting(
        &mut self,
        key: &Key,
        kept_as: &str,
        setting: &Setting,
        settings: &mut Settings,
    ) {
        if setting.values.iter().any(is_bad) {
            return;
        }
        let Some(values) = self.take(typed::data(key, setting)) else {
            return;
        };
        if key.of == Type::Secret {
            self.in_clear(setting, &values);
        }
        let span = setting.key.span;
        let repeats = key.of == Type::Requirements;
        match settings.entry(kept_as.to_string()) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert((span, values));
            }
            std::collections::btree_map::Entry::Occupied(mut taken) if repeats => {
                taken.get_mut().1.extend(values);
            }
            std::collections::btree_map::Entry::Occupied(taken) => {
                let first = taken.get().0;
                self.given_twice(&setting.key.text, span, first);
            }
        }
        if repeats && let Some((_, all)) = settings.get_mut(kept_as) {
            all.sort();
            let distinct = all.windows(2).all(|pair| pair.first() != pair.last());
            if !distinct || all.len() > LIST_MAX {
                let expected = format!("each requirement once, at most {LIST_MAX}");
                let finding = crate::settings::wrong::<()>(setting, setting.span, &expected);
                self.take(finding);
            }
        }
    }

    fn in_clear(&mut self, setting: &Setting, values: &[Datum]) {
        if let ([Datum::Text(_)], Some(value)) = (values, setting.values.first()) {
            let key = &setting.key.text;
            let name = key.to_ascii_uppercase();
            self.report(
                Diagnostic::new(
                    Number::SecretInClear,
                    format!("{} is a secret in clear", quoted(key)),
                )
                .at(value.span, "everybody who reads the policy reads this")
                .help(format!(
                    "write `{key} = env(\"{name}\")`: the process that needs it looks it up"
                )),
            );
        }
    }

    fn missing(
        &mut self,
        block: &Block,
        spec: &blocks::Block,
        variant: Option<(&str, &'static [Key])>,
        settings: &Settings,
    ) {
        // A setting that was refused is not missing too.
        let given = |word: &str| {
            settings.contains_key(word) || block.items.iter().any(|item| item.word().text == word)
        };
        let of_variant = variant.iter().flat_map(|(_, keys)| *keys);
        let needed: Vec<&str> = spec
            .keys
            .iter()
            .chain(of_variant)
            .filter(|key| key.required && !given(key.word))
            .map(|key| key.word)
            .collect();
        let missing = if let [first, ..] = needed.as_slice() {
            Some((
                format!("{} has no {}", quoted(spec.word), quoted(first)),
                alternatives(needed.iter().copied()).replace(" or ", " and "),
            ))
        } else if !spec.some_of.is_empty() && !spec.some_of.iter().any(|word| given(word)) {
            Some((
                format!("{} says nothing", quoted(spec.word)),
                alternatives(spec.some_of.iter().copied()),
            ))
        } else {
            None
        };
        if let Some((message, expected)) = missing {
            self.report(
                Diagnostic::new(Number::MissingSetting, message)
                    .at(block.head, format!("expected {expected} in it")),
            );
        }
    }

    fn unknown_key(
        &mut self,
        item: &Item,
        spec: &blocks::Block,
        variant: Option<(&'static str, &'static [Key])>,
    ) {
        let word = item.word();
        let of_variant = variant.iter().flat_map(|(_, keys)| *keys);
        let known: Vec<&'static str> = spec
            .keys
            .iter()
            .chain(of_variant)
            .map(|key| key.word)
            .collect();
        let place = match variant {
            Some((variant, _)) => format!("{} of type {}", quoted(spec.word), quoted(variant)),
            None => quoted(spec.word),
        };
        let mut finding = Diagnostic::new(
            Number::UnknownWord,
            format!("unknown word {} in {place}", quoted(&word.text)),
        )
        .at(word.span, "");
        let near = nearest(&word.text, known.iter().copied());
        let others = spec
            .variants
            .iter()
            .filter(|(_, keys)| keys.iter().any(|key| key.word == word.text));
        let others: Vec<&str> = others.map(|(variant, _)| *variant).collect();
        if near.is_some() || others.is_empty() {
            finding = finding.suggest(near);
        } else {
            finding = finding.help(format!(
                "{} belongs to the type {}",
                quoted(&word.text),
                alternatives(others)
            ));
        }
        self.report(finding.note(format!(
            "{place} takes {}",
            alternatives(known).replace(" or ", " and ")
        )));
    }
}

/// By key: where, and what.
pub(super) type Settings = BTreeMap<String, (Span, Vec<Datum>)>;

/// `rate_limit`, `manifest`, `trust`: statements with an order of words of their own.
impl Lowering<'_> {
    /// `rate_limit "stripe/*": 10 per minute`.
    pub(super) fn rate_limit(&mut self, setting: &Setting, declarations: &mut Declarations) {
        const WINDOWS: [(&str, i64); 4] = [
            ("second", 1),
            ("minute", 60),
            ("hour", 3_600),
            ("day", 86_400),
        ];
        let (pattern, rest) = match setting.values.split_first() {
            Some((pattern, rest)) => (self.tool_pattern(pattern), rest),
            None => (None, [].as_slice()),
        };
        let shown = setting
            .values
            .first()
            .and_then(text_of)
            .map_or_else(String::new, |text| format!(" {}", quoted(text)));
        let wrong = |span: Span, expected: &str| {
            Diagnostic::new(
                Number::BadValue,
                format!("`rate_limit`{shown} is not complete"),
            )
            .at(span, format!("expected {expected}"))
            .help("write `rate_limit \"stripe/*\": 10 per minute`")
        };
        let end = setting.span.after();
        let count = match rest.first() {
            Some(value) => count(value).ok_or(wrong(value.span, "a number of calls")),
            None => Err(wrong(end, "a number of calls")),
        };
        let per = match rest.get(1) {
            Some(value) if text_of(value) == Some("per") => Ok(()),
            Some(value) => Err(wrong(value.span, "`per` and a window")),
            None => Err(wrong(end, "`per` and a window")),
        };
        let words = || WINDOWS.iter().map(|(word, _)| *word);
        let window = match rest.get(2) {
            Some(value) => {
                let word = text_of(value).unwrap_or_default();
                let known = WINDOWS.iter().find(|(known, _)| *known == word);
                known.map(|(_, seconds)| *seconds).ok_or_else(|| {
                    wrong(value.span, &alternatives(words())).suggest(nearest(word, words()))
                })
            }
            None => Err(wrong(end, &alternatives(words()))),
        };
        let more = match rest.get(3) {
            Some(value) => Err(wrong(value.span, "nothing more")),
            None => Ok(()),
        };
        let read = count.and_then(|count| {
            per.and(window)
                .and_then(|window| more.map(|()| (count, window)))
        });
        let read = match read {
            Ok(read) => Some(read),
            Err(finding) => {
                self.report(finding);
                None
            }
        };
        let (Some(pattern), Some((calls, seconds))) = (pattern, read) else {
            return;
        };
        let declaration = Declaration {
            keyword: String::from("rate_limit"),
            labels: vec![Datum::Text(pattern), number(seconds, DatumUnit::Seconds)],
            settings: vec![Declared {
                key: String::from("calls"),
                values: vec![number(calls, DatumUnit::None)],
            }],
            inner: Vec::new(),
        };
        self.keep(declaration, setting.span, false, declarations);
    }

    /// `manifest orchestrator ID [agents…] [undeclared deny]`, `manifest grant A to B [max N] [approval]`.
    pub(super) fn manifest(&mut self, setting: &Setting, declarations: &mut Declarations) {
        let words: Vec<&str> = setting
            .values
            .iter()
            .map(|value| text_of(value).unwrap_or_default())
            .collect();
        let read = match words.as_slice() {
            ["orchestrator", id, rest @ ..] if !id.is_empty() => {
                self.orchestrator(setting, id, rest)
            }
            ["grant", from, "to", to, rest @ ..] if !from.is_empty() && !to.is_empty() => {
                self.grant(setting, from, to, rest)
            }
            _ => {
                self.manifest_wrong(setting.span, "a manifest of either form");
                None
            }
        };
        if let Some((labels, settings)) = read {
            let declaration = Declaration {
                keyword: String::from("manifest"),
                labels: labels
                    .into_iter()
                    .map(|label| Datum::Text(label.to_string()))
                    .collect(),
                settings: settings
                    .into_iter()
                    .map(|(key, values)| Declared {
                        key: key.to_string(),
                        values,
                    })
                    .collect(),
                inner: Vec::new(),
            };
            self.keep(declaration, setting.span, false, declarations);
        }
    }

    fn orchestrator<'w>(
        &mut self,
        setting: &Setting,
        id: &'w str,
        rest: &[&'w str],
    ) -> Option<ManifestRead<'w>> {
        let at = rest.iter().position(|word| *word == "undeclared");
        let (agents, undeclared) = rest.split_at(at.unwrap_or(rest.len()));
        let mut settings = BTreeMap::new();
        match undeclared {
            [] => {}
            [_, effect @ ("deny" | "defer")] => {
                settings.insert("undeclared", vec![Datum::Text((*effect).to_string())]);
            }
            _ => {
                let span = setting
                    .values
                    .get(agents.len() + 3)
                    .map_or(setting.span, |value| value.span);
                self.manifest_wrong(span, "`deny` or `defer` behind `undeclared`");
                return None;
            }
        }
        let mut sorted: Vec<Datum> = agents
            .iter()
            .map(|agent| Datum::Text((*agent).to_string()))
            .collect();
        sorted.sort();
        let distinct = sorted.windows(2).all(|pair| pair.first() != pair.last());
        if !distinct || agents.contains(&"") || sorted.len() > LIST_MAX {
            self.manifest_wrong(setting.span, "names of agents, each once");
            return None;
        }
        if !sorted.is_empty() {
            settings.insert("agents", vec![Datum::List(sorted)]);
        }
        if settings.is_empty() {
            self.manifest_wrong(setting.span, "`undeclared` or names of agents");
            return None;
        }
        Some((vec!["orchestrator", id], settings))
    }

    fn grant<'w>(
        &mut self,
        setting: &Setting,
        from: &'w str,
        to: &'w str,
        rest: &[&str],
    ) -> Option<ManifestRead<'w>> {
        let mut settings = BTreeMap::new();
        let rest = match rest {
            ["max", _, rest @ ..] => {
                let calls = setting.values.get(5).and_then(count);
                let Some(calls) = calls else {
                    let span = setting
                        .values
                        .get(5)
                        .map_or(setting.span, |value| value.span);
                    self.manifest_wrong(span, "a number of calls behind `max`");
                    return None;
                };
                settings.insert("max", vec![number(calls, DatumUnit::None)]);
                rest
            }
            rest => rest,
        };
        match rest {
            [] => {}
            ["approval"] => {
                settings.insert("approval", vec![Datum::Bool(true)]);
            }
            _ => {
                let at = setting.values.len() - rest.len();
                let span = setting
                    .values
                    .get(at)
                    .map_or(setting.span, |value| value.span);
                self.manifest_wrong(span, "`max N`, `approval` or the end");
                return None;
            }
        }
        Some((vec!["grant", from, to], settings))
    }

    fn manifest_wrong(&mut self, span: Span, expected: &str) {
        self.report(
            Diagnostic::new(Number::BadValue, "this is no `manifest`")
                .at(span, format!("expected {expected}"))
                .help("write `manifest orchestrator ID undeclared deny` or `manifest grant A to B max N`, perhaps with `approval` behind it"),
        );
    }

    /// `trust { key "host/path" ed25519:… }`.
    pub(super) fn trust(&mut self, block: &Block, declarations: &mut Declarations) {
        if let Some(label) = block.labels.first() {
            let finding = Diagnostic::new(Number::BadName, "`trust` has no name");
            self.report(finding.at(label.span, "remove this"));
        }
        let mut inner = Declarations::default();
        for item in &block.items {
            match item {
                Item::Setting(setting) if setting.key.text == "key" => {
                    self.trusted_key(setting, &mut inner);
                }
                Item::Setting(setting) if setting.key.text == "spiffe_federated" => {
                    self.federated(setting, &mut inner);
                }
                other => {
                    self.unknown_word(other.word(), crate::vocabulary::Place::Settings("trust"))
                }
            }
        }
        let declaration = Declaration {
            keyword: String::from("trust"),
            labels: Vec::new(),
            settings: Vec::new(),
            inner: inner.finish(),
        };
        self.keep(declaration, block.head, false, declarations);
    }

    fn trusted_key(&mut self, setting: &Setting, inner: &mut Declarations) {
        let read = match setting.values.as_slice() {
            [name, key] => text_of(name).zip(text_of(key)),
            _ => None,
        };
        let checked = read.map(|(name, key)| super::imports::trusted_key(name, key));
        match (read, checked) {
            (Some((name, key)), Some(Ok(_))) => {
                let declaration = Declaration {
                    keyword: String::from("key"),
                    labels: vec![Datum::Text(name.to_string()), Datum::Text(key.to_string())],
                    settings: Vec::new(),
                    inner: Vec::new(),
                };
                self.keep(declaration, setting.span, false, inner);
            }
            (_, refused) => {
                let why = match refused {
                    Some(Err(why)) => why,
                    _ => "expected a path and a key",
                };
                self.report(
                    Diagnostic::new(Number::BadValue, "this is no `key` to trust")
                        .at(setting.span, why)
                        .help(
                            "write `key \"host/path\" ed25519:` and the key's 32 bytes in base64",
                        ),
                );
            }
        }
    }

    fn federated(&mut self, setting: &Setting, inner: &mut Declarations) {
        let read = match setting.values.as_slice() {
            [domain, word, url] if text_of(word) == Some("bundle_url") => {
                let url = match &url.kind {
                    ValueKind::Env(name) => Some(Datum::Env(name.clone())),
                    _ => text_of(url)
                        .filter(|url| url.contains("://") && url.len() <= TEXT_BYTES_MAX)
                        .map(|url| Datum::Text(url.to_string())),
                };
                text_of(domain)
                    .filter(|domain| {
                        domain.starts_with("spiffe://") && domain.len() <= TEXT_BYTES_MAX
                    })
                    .zip(url)
            }
            _ => None,
        };
        let Some((domain, url)) = read else {
            self.report(
                Diagnostic::new(Number::BadValue, "this is no `spiffe_federated`")
                    .at(setting.span, "expected a trust domain and `bundle_url`")
                    .help("write `spiffe_federated \"spiffe://example.org\" bundle_url = \"https://…\"`"),
            );
            return;
        };
        let declaration = Declaration {
            keyword: String::from("spiffe_federated"),
            labels: vec![Datum::Text(domain.to_string())],
            settings: vec![Declared {
                key: String::from("bundle_url"),
                values: vec![url],
            }],
            inner: Vec::new(),
        };
        self.keep(declaration, setting.span, false, inner);
    }
}

type ManifestRead<'w> = (Vec<&'w str>, BTreeMap<&'static str, Vec<Datum>>);

/// Whether a value was reported already.
fn is_bad(value: &Value) -> bool {
    match &value.kind {
        ValueKind::Bad => true,
        ValueKind::List(parts) => parts.iter().any(is_bad),
        _ => false,
    }
}

fn number(value: i64, unit: DatumUnit) -> Datum {
    Datum::Number(Decimal::from(value), unit)
}

/// A whole number that is not negative.
fn count(value: &Value) -> Option<i64> {
    let ValueKind::Number(quantity) = &value.kind else {
        return None;
    };
    let whole = Decimal::parse(&quantity.value).ok()?.to_i64()?;
    (quantity.unit == crate::syntax::Unit::None && whole >= 0).then_some(whole)
}
