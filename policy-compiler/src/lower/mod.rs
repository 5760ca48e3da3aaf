//! The syntax tree to the artifact, construct by construct, and every construct that this version does not hold by name.
//!
//! Invariant: every item of the tree is lowered or becomes a finding; there is no arm that skips.

mod clauses;
mod declare;
mod declared;
mod demands;
mod examples;
mod imports;
mod paths;
mod rules;
mod schemas;
mod vars;

pub(crate) use declared::{Declared, Declares};
pub(crate) use demands::layer_fault;

use crate::check;
use crate::conditions::{Compared, Tables};
use crate::diagnostic::{Diagnostic, Findings, alternatives, quoted};
use crate::number::Number;
use crate::registry::Registry;
use crate::settings::typed::text_of;
use crate::settings::{self, Read};
use crate::source::{Lines, SourceMap, Span};
use crate::syntax::{Block, File, Item, Setting, Value, ValueKind, Word};
use crate::trials::Places;
use crate::vocabulary::blocks::{self, PHASE_KEYS, RUNTIME_KEYS};
use crate::vocabulary::{EFFECTS, Place, nearest};
use declare::{Declarations, Settings};
use faramesh_core::decision::Effect;
use faramesh_core::json;
use faramesh_core::policy::artifact::{
    AGENTS_MAX, AgentPolicy, Artifact, Datum, Example, LIST_MAX, PathRules, Phase, Redaction, Rule,
    Runtime, Setting as Kept, TEXT_BYTES_MAX, WAL_RETENTION, capabilities,
};
use std::collections::{BTreeMap, BTreeSet};

/// A lowered rule with what the checks over a whole agent need of it.
#[derive(Debug)]
pub(crate) struct LoweredRule {
    /// 1-based line in the source.
    pub(crate) line: u32,
    pub(crate) rule: Rule,
    pub(crate) head: Span,
    pub(crate) condition: Option<Span>,
    /// The first clause about the request or the door.
    pub(crate) request: Option<Span>,
    pub(crate) claimed: Vec<Word>,
    /// Arguments that are compared with bare names.
    pub(crate) compared: Vec<Compared>,
}

/// A lowered file.
pub(crate) struct Lowered {
    pub(crate) artifact: Artifact,
    pub(crate) map: SourceMap,
    pub(crate) examples: Places,
}

/// Lowers a file. What it returns is worth something only if no error was found.
pub(crate) fn lower(
    text: &str,
    mut file: File,
    registry: &dyn Registry,
    diagnostics: &mut Findings,
) -> Lowered {
    // The file's own names first: what a pack brings was signed as it is, and no name of whoever takes it in reaches it.
    let vars = vars::expand(&mut file, diagnostics);
    imports::expand(&mut file, registry, diagnostics);
    let mut lowering = Lowering {
        lines: Lines::new(text),
        diagnostics,
        map: SourceMap::default(),
        places: Places::new(),
        vars,
    };
    let artifact = lowering.file(&file);
    Lowered {
        artifact,
        map: lowering.map,
        examples: lowering.places,
    }
}

/// The agent that is one too many, where there is one.
fn too_many_agents(file: &File) -> Option<Span> {
    let mut agents = file.items.iter().filter_map(|item| match item {
        Item::Block(block) if block.keyword.text == "agent" => Some(block.head),
        _ => None,
    });
    agents.nth(AGENTS_MAX)
}

struct Lowering<'a> {
    lines: Lines<'a>,
    diagnostics: &'a mut Findings,
    map: SourceMap,
    /// Where examples stand.
    places: Places,
    vars: vars::Names,
}

/// Settings that were given, to find the second of a kind.
#[derive(Default)]
struct Given(BTreeMap<String, Span>);

/// An agent while its items are read.
#[derive(Default)]
struct Draft {
    default: Option<Effect>,
    run_as: Option<String>,
    metadata: BTreeMap<String, String>,
    rules: Vec<LoweredRule>,
    rules_seen: usize,
    tables: Tables,
    declared: Declared,
    redacted: Vec<(String, Vec<String>, Span)>,
    given: Given,
    demands: BTreeMap<String, Span>,
    paths: Option<PathRules>,
    paths_at: Option<Span>,
    redactions: BTreeMap<String, BTreeSet<Vec<String>>>,
    examples: Vec<(Span, Example)>,
    phases: Vec<(Span, Phase)>,
    /// Where each phase says which one is next.
    nexts: BTreeMap<String, Span>,
    declarations: Declarations,
}

impl Lowering<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The value, or its finding.
    fn take<T>(&mut self, read: Read<T>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(finding) => {
                self.report(*finding);
                None
            }
        }
    }

    fn file(&mut self, file: &File) -> Artifact {
        let mut runtime = Runtime::default();
        let mut runtime_given = Given::default();
        let mut agents: Vec<(Span, AgentPolicy)> = Vec::new();
        if let Some(beyond) = too_many_agents(file) {
            let message = format!("a policy with more than {AGENTS_MAX} agents");
            self.report(
                Diagnostic::new(Number::TooManyAgents, message)
                    .at(beyond, "the first that is too many")
                    .help("divide them into several stacks"),
            );
            return Artifact {
                requires: Vec::new(),
                runtime,
                agents: Vec::new(),
                declarations: Vec::new(),
            };
        }
        let identity = Declared::has_identity(&file.items);
        let mut flat = self.draft(identity, &file.items, None);
        let mut flat_item = None;
        let mut stack = Declarations::default();
        for item in &file.items {
            match item {
                Item::Block(block) if block.keyword.text == "agent" => {
                    agents.extend(self.agent(block, identity))
                }
                Item::Block(block) if block.keyword.text == "runtime" => {
                    self.runtime(block, &mut runtime, &mut runtime_given);
                }
                Item::Block(block) if block.keyword.text == "trust" => {
                    self.trust(block, &mut stack);
                }
                Item::Setting(setting) if setting.key.text == "manifest" => {
                    self.manifest(setting, &mut stack);
                }
                Item::Block(block) if block.keyword.text == "pack" => {
                    self.report(
                        Diagnostic::new(Number::BadPack, "a pack is no policy")
                            .at(block.head, "a policy describes agents")
                            .help("put it into a registry, and import it"),
                    );
                }
                Item::Block(block) if blocks::Block::of_stack(&block.keyword.text).is_some() => {
                    if let Some(spec) = blocks::Block::of_stack(&block.keyword.text) {
                        self.declare(block, spec, &mut stack);
                    }
                }
                other => {
                    if self.agent_item(other, Place::Top, &mut flat) {
                        flat_item.get_or_insert(other.span());
                    }
                }
            }
        }
        self.finish_runtime(&mut runtime, &runtime_given);
        if let Some(span) = flat_item {
            let named = file
                .items
                .iter()
                .any(|item| matches!(item, Item::Block(block) if block.keyword.text == "agent"));
            if named {
                self.report(
                    Diagnostic::new(Number::MixedAgents, "this belongs to no agent")
                        .at(span, "outside every agent, in a file that names agents")
                        .help("move it into the agent that it is for"),
                );
            } else {
                agents.push((span, self.finish(String::new(), flat)));
            }
        }
        let any_agent = file
            .items
            .iter()
            .any(|item| matches!(item, Item::Block(block) if block.keyword.text == "agent"));
        let faults = self.diagnostics.has_errors();
        if agents.is_empty() && !any_agent && flat_item.is_none() && !faults {
            self.report(
                Diagnostic::new(Number::NoAgent, "the file describes no agent")
                    .help("write `agent \"name\" { default deny  rules { permit tool/name } }`"),
            );
        }
        let agents = self.distinct(agents);
        let mut artifact = Artifact {
            requires: Vec::new(),
            runtime,
            agents,
            declarations: stack.finish(),
        };
        artifact.requires = capabilities::of(&artifact);
        artifact
    }

    /// Sorted by name; the second of a name is a finding.
    fn distinct(&mut self, mut agents: Vec<(Span, AgentPolicy)>) -> Vec<AgentPolicy> {
        agents.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        for pair in agents.windows(2) {
            if let [(first, a), (second, b)] = pair
                && a.name == b.name
            {
                self.diagnostics.push(
                    Diagnostic::new(
                        Number::DuplicateAgent,
                        format!("agent {} stands twice", quoted(&a.name)),
                    )
                    .at(*second, "again here")
                    .at(*first, "first here")
                    .help("join the two blocks"),
                );
            }
        }
        agents.into_iter().map(|(_, agent)| agent).collect()
    }

    fn agent(&mut self, block: &Block, identity: bool) -> Option<(Span, AgentPolicy)> {
        let named = self.take(settings::agent_name(&block.labels, block.head));
        let mut draft = self.draft(identity, &block.items, Some(block.head.start));
        for item in &block.items {
            self.agent_item(item, Place::Agent, &mut draft);
        }
        let (name, span) = named?;
        Some((span, self.finish(name, draft)))
    }

    /// An agent of which what rules rest on is known.
    fn draft(&mut self, identity: bool, items: &[Item], at: Option<usize>) -> Draft {
        let mut declared = Declared::of(identity, items);
        let names = [None, at].map(|of| self.vars.get(&of));
        declared.vars = names.into_iter().flatten().flatten().cloned().collect();
        declared.schemas = self.schemas(items);
        Draft {
            declared,
            ..Draft::default()
        }
    }

    /// One item of an agent, or of the nameless agent of a flat file. Whether this version holds it.
    fn agent_item(&mut self, item: &Item, place: Place, draft: &mut Draft) -> bool {
        match item {
            Item::Rule(rule) => {
                self.rule(rule, draft);
                true
            }
            Item::Block(block) if block.keyword.text == "rules" => {
                self.rules(block, draft);
                true
            }
            Item::Block(block) => self.agent_block(block, place, draft),
            Item::Setting(setting) => self.agent_setting(setting, place, draft),
            Item::Example(example) => {
                self.unknown_word(&example.effect, place);
                false
            }
        }
    }

    fn rules(&mut self, block: &Block, draft: &mut Draft) {
        if let Some(label) = block.labels.first() {
            let finding = Diagnostic::new(Number::BadName, "`rules` has no name");
            self.report(finding.at(label.span, "remove this"));
        }
        for item in &block.items {
            match item {
                Item::Rule(rule) => self.rule(rule, draft),
                other => self.unknown_word(other.word(), Place::Rules),
            }
        }
    }

    fn agent_block(&mut self, block: &Block, place: Place, draft: &mut Draft) -> bool {
        let keyword = block.keyword.text.as_str();
        if place.shape(keyword).is_none() {
            self.unknown_word(&block.keyword, place);
            return false;
        }
        match (keyword, blocks::Block::of(keyword)) {
            (_, Some(spec)) => self.declare(block, spec, &mut draft.declarations),
            ("phase", _) => self.phase(block, draft),
            // Was lowered before the rules, which are checked by it.
            ("tool", _) => {}
            ("paths", _) => self.paths(block, draft),
            ("examples", _) => self.examples(block, draft),
            _ => {
                self.unknown_word(&block.keyword, place);
                return false;
            }
        }
        true
    }

    fn agent_setting(&mut self, setting: &Setting, place: Place, draft: &mut Draft) -> bool {
        let key = setting.key.text.as_str();
        if place.shape(key).is_none() {
            self.unknown_word(&setting.key, place);
            return false;
        }
        match key {
            "rate_limit" => {
                self.rate_limit(setting, &mut draft.declarations);
                return true;
            }
            "redact" => {
                self.redact(setting, draft);
                return true;
            }
            "require" => {
                self.require(setting, draft);
                return true;
            }
            _ => self.once(&mut draft.given, setting),
        }
        match key {
            "default" => draft.default = self.take(settings::default(setting)),
            "run_as" => draft.run_as = self.take(settings::run_as(setting)),
            "model" | "framework" | "version" => {
                if let Some(value) = self.take(settings::description(setting)) {
                    draft.metadata.insert(key.to_string(), value);
                }
                if key == "model" {
                    self.report(
                        Diagnostic::new(
                            Number::ModelNotEnforced,
                            "`model` describes and does not bind",
                        )
                        .at(
                            setting.span,
                            "which model is really used is not checked by this version",
                        ),
                    );
                }
            }
            _ => {
                self.unknown_word(&setting.key, place);
                return false;
            }
        }
        true
    }

    /// A tool or a pattern in a setting.
    fn tool_pattern(&mut self, value: &Value) -> Option<String> {
        let Some(text) = text_of(value) else {
            self.report(
                Diagnostic::new(Number::BadPattern, "this is no tool and no pattern").at(
                    value.span,
                    "expected a tool, such as `stripe/refund` or `stripe/*`",
                ),
            );
            return None;
        };
        let tool = Word {
            text: text.to_string(),
            span: value.span,
        };
        self.pattern(&tool)
    }

    /// `redact stripe/* args: ["card", "to.address"]`.
    fn redact(&mut self, setting: &Setting, draft: &mut Draft) {
        let [tool, word, list] = setting.values.as_slice() else {
            return self.redact_wrong(setting.span, "expected a tool, `args` and a list");
        };
        if text_of(word) != Some("args") {
            return self.redact_wrong(word.span, "expected `args`");
        }
        let parts = match &list.kind {
            ValueKind::List(parts) => parts.as_slice(),
            _ => std::slice::from_ref(list),
        };
        let pattern = self.tool_pattern(tool);
        let mut paths = BTreeSet::new();
        for part in parts {
            let path: Option<Vec<String>> =
                text_of(part).map(|text| text.split('.').map(str::to_string).collect());
            let Some(path) = path.filter(|path| {
                path.len() <= json::DEPTH_MAX
                    && path
                        .iter()
                        .all(|name| !name.is_empty() && name.len() <= TEXT_BYTES_MAX)
            }) else {
                return self.redact_wrong(
                    part.span,
                    "expected the name of an argument, such as `\"to.address\"`",
                );
            };
            if path.len() > 1 && path.first().is_some_and(|root| root == "args") {
                return self
                    .redact_wrong(part.span, "names start below `args`: leave `args.` away");
            }
            if let Some(pattern) = &pattern {
                self.redacted_is_declared(pattern, &path, part.span, draft);
                draft
                    .redacted
                    .push((pattern.clone(), path.clone(), part.span));
            }
            if !paths.insert(path) {
                return self.redact_wrong(part.span, "expected each argument once");
            }
        }
        if paths.is_empty() || paths.len() > LIST_MAX {
            return self.redact_wrong(list.span, &format!("expected 1 to {LIST_MAX} arguments"));
        }
        let Some(pattern) = pattern else { return };
        let before = draft.redactions.entry(pattern).or_default();
        let again = paths.iter().any(|path| before.contains(path));
        before.extend(paths);
        if again {
            self.redact_wrong(setting.span, "an argument of these tools is redacted twice");
        }
    }

    /// A closed schema without the argument leaves nothing to redact: another one is meant.
    fn redacted_is_declared(&mut self, tools: &str, path: &[String], span: Span, draft: &Draft) {
        let Declares::Closed { schema } = draft.declared.argument(tools, path) else {
            return;
        };
        let known = draft.declared.argument_names(tools);
        let name = path.join(".");
        self.report(
            Diagnostic::new(
                Number::UndeclaredArgument,
                format!("tool {} has no argument {}", quoted(&schema), quoted(&name)),
            )
            .at(span, "its schema is closed, so there is nothing to redact")
            .suggest(nearest(&name, known.iter().map(String::as_str))),
        );
    }

    fn redact_wrong(&mut self, span: Span, why: &str) {
        self.report(
            Diagnostic::new(Number::BadValue, "this is no `redact`")
                .at(span, why)
                .help("write `redact stripe/* args: [\"card\", \"to.address\"]`"),
        );
    }

    /// `require enforcement landlock`.
    fn require(&mut self, setting: &Setting, draft: &mut Draft) {
        let words: Vec<&str> = setting
            .values
            .iter()
            .map(|value| text_of(value).unwrap_or_default())
            .collect();
        let ["enforcement", layers @ ..] = words.as_slice() else {
            let near = words
                .first()
                .and_then(|word| nearest(word, ["enforcement"].into_iter()));
            self.report(
                Diagnostic::new(Number::BadValue, "only enforcement can be required")
                    .at(setting.span, "expected `require enforcement` and a layer")
                    .suggest(near),
            );
            return;
        };
        if layers.is_empty() {
            self.report(
                Diagnostic::new(Number::BadValue, "`require enforcement` names no layer").at(
                    setting.span.after(),
                    format!(
                        "expected {}, or a part of one",
                        alternatives(demands::LAYERS)
                    ),
                ),
            );
        }
        for (layer, value) in layers.iter().zip(setting.values.iter().skip(1)) {
            if let Some(fault) = layer_fault(layer, value.span) {
                self.report(*fault);
                continue;
            }
            if let Some(first) = draft.demands.insert((*layer).to_string(), value.span) {
                self.given_twice(layer, value.span, first);
            }
        }
    }

    /// `phase x { … }`.
    fn phase(&mut self, block: &Block, draft: &mut Draft) {
        let name = match block.labels.as_slice() {
            [label] => match self.name(label, "phase") {
                Some(Datum::Text(name)) => Some(name),
                _ => None,
            },
            _ => {
                self.report(
                    Diagnostic::new(Number::BadName, "a phase has one name")
                        .at(block.head, "expected `phase name {`"),
                );
                None
            }
        };
        let outer = std::mem::take(&mut draft.rules);
        let mut settings = Settings::new();
        for item in &block.items {
            match item {
                Item::Rule(rule) => self.rule(rule, draft),
                Item::Block(rules) if rules.keyword.text == "rules" => self.rules(rules, draft),
                Item::Setting(setting) => {
                    match PHASE_KEYS.iter().find(|key| key.word == setting.key.text) {
                        Some(key) => self.setting(key, key.word, setting, &mut settings),
                        None => self.unknown_word(&setting.key, Place::Phase),
                    }
                }
                other => self.unknown_word(other.word(), Place::Phase),
            }
        }
        let rules = std::mem::replace(&mut draft.rules, outer);
        let Some(name) = name else { return };
        if let Some((first, _)) = draft.phases.iter().find(|(_, phase)| phase.name == name) {
            let message = format!("phase {} stands twice", quoted(&name));
            let first = *first;
            self.report(
                Diagnostic::new(Number::DuplicateBlock, message)
                    .at(block.head, "again here")
                    .at(first, "first here")
                    .help("join the two"),
            );
            return;
        }
        if let Some((at, _)) = settings.get("next") {
            draft.nexts.insert(name.clone(), *at);
        }
        let phase = Phase {
            name,
            settings: settings
                .into_iter()
                .map(|(key, (_, values))| Kept { key, values })
                .collect(),
            rules: rules.into_iter().map(|lowered| lowered.rule).collect(),
        };
        draft.phases.push((block.head, phase));
    }

    /// `next` leads to a phase that is there, or to `enforce`: out of the phases.
    fn check_phases(&mut self, phases: &[(Span, Phase)], nexts: &BTreeMap<String, Span>) {
        for (span, phase) in phases {
            let next = phase.settings.iter().find(|setting| setting.key == "next");
            let Some([Datum::Text(next)]) = next.map(|next| next.values.as_slice()) else {
                continue;
            };
            let known = phases.iter().map(|(_, phase)| phase.name.as_str());
            if next != "enforce" && !known.clone().any(|name| name == next) {
                let message = format!(
                    "phase {} leads to {}, which does not exist",
                    quoted(&phase.name),
                    quoted(next)
                );
                let near = known
                    .clone()
                    .find(|name| strsim::osa_distance(name, next) <= 2);
                self.report(
                    Diagnostic::new(Number::BadValue, message)
                        .at(
                            nexts.get(&phase.name).copied().unwrap_or(*span),
                            format!("expected {}", alternatives(known.chain(["enforce"]))),
                        )
                        .suggest(near),
                );
            }
        }
    }

    fn given_twice(&mut self, what: &str, again: Span, first: Span) {
        self.report(
            Diagnostic::new(
                Number::DuplicateSetting,
                format!("{} is given twice", quoted(what)),
            )
            .at(again, "again here")
            .at(first, "first here")
            .help("remove one"),
        );
    }

    fn once(&mut self, given: &mut Given, setting: &Setting) {
        if let Some(first) = given.0.insert(setting.key.text.clone(), setting.key.span) {
            self.given_twice(&setting.key.text, setting.key.span, first);
        }
    }

    fn runtime(&mut self, block: &Block, runtime: &mut Runtime, given: &mut Given) {
        if let Some(label) = block.labels.first() {
            self.report(
                Diagnostic::new(Number::BadName, "`runtime` has no name")
                    .at(label.span, "remove this"),
            );
        }
        for item in &block.items {
            match item {
                Item::Setting(setting) => {
                    self.runtime_setting(setting, runtime, given);
                }
                other => self.unknown_word(other.word(), Place::Settings("runtime")),
            }
        }
    }

    fn runtime_setting(
        &mut self,
        setting: &Setting,
        runtime: &mut Runtime,
        given: &mut Given,
    ) -> Option<()> {
        let place = Place::Settings("runtime");
        let word = setting.key.text.as_str();
        if place.shape(word).is_none() {
            self.unknown_word(&setting.key, place);
            return None;
        }
        self.once(given, setting);
        match word {
            "mode" => runtime.mode = self.take(settings::mode(setting))?,
            "cold_start_deny_window" => {
                runtime.cold_start_deny_window_ms = self.take(settings::cold_start(setting))?
            }
            "reveal" => runtime.reveal_rule = self.take(settings::reveal(setting)),
            "keep_env" => runtime.keep_env = self.take(settings::keep_env(setting))?,
            "agent_enforce_profile" => match self.take(settings::profile(setting))? {
                Some(profile) => runtime.profile = profile,
                None => runtime.declared.push(Kept {
                    key: word.to_string(),
                    values: vec![Datum::Text(String::from("off"))],
                }),
            },
            "allowed_sockets" => {
                runtime.allowed_sockets = self.take(settings::allowed_sockets(setting))?
            }
            "timezone" => runtime.zone = self.take(settings::timezone(setting))?,
            "anchor_quorum" => {
                let quorum = self.take(settings::anchor_quorum(setting))?;
                runtime.anchor.get_or_insert_default().quorum = quorum;
            }
            "anchor_max_lag" => {
                let max_lag_ms = self.take(settings::anchor_max_lag(setting))?;
                runtime.anchor.get_or_insert_default().max_lag_ms = max_lag_ms;
            }
            "anchor_on_lag" => {
                let on_lag = self.take(settings::anchor_on_lag(setting))?;
                runtime.anchor.get_or_insert_default().on_lag = on_lag;
            }
            _ => {
                if word == WAL_RETENTION {
                    self.take(settings::retention(setting))?;
                }
                let key = RUNTIME_KEYS.iter().find(|key| key.word == word)?;
                let mut settings = Settings::new();
                self.setting(key, key.word, setting, &mut settings);
                let declared = settings
                    .into_iter()
                    .map(|(key, (_, values))| Kept { key, values });
                runtime.declared.extend(declared);
            }
        }
        Some(())
    }

    /// Settings in their order, and what is so without them.
    fn finish_runtime(&mut self, runtime: &mut Runtime, given: &Given) {
        runtime.declared.sort();
        runtime.declared.dedup_by(|a, b| a.key == b.key);
        for setting in &runtime.declared {
            if capabilities::always_so(runtime, setting) {
                let message = format!("{} is always so", quoted(&setting.key));
                let at = given.0.get(&setting.key).copied().unwrap_or_default();
                self.diagnostics.push(
                    Diagnostic::new(Number::AlwaysSo, message)
                        .at(at, "it holds without being asked for")
                        .help("it may be removed"),
                );
            }
        }
    }

    fn unknown_word(&mut self, word: &Word, place: Place) {
        let effects = match place {
            Place::Examples | Place::Rules => EFFECTS,
            _ => &[],
        };
        let words = place.words().chain(effects.iter().map(|(word, _)| *word));
        let near = nearest(&word.text, words);
        let message = format!("unknown word {} in {}", quoted(&word.text), place.noun());
        let finding = Diagnostic::new(Number::UnknownWord, message).at(word.span, "");
        self.report(place.advise(finding, &word.text, near));
    }

    fn finish(&mut self, name: String, mut draft: Draft) -> AgentPolicy {
        let default = draft.default.unwrap_or(Effect::Deny);
        self.check_phases(&draft.phases, &draft.nexts);
        let checked = check::Agent {
            rules: &draft.rules,
            tables: &draft.tables,
            declared: &draft.declared,
            default,
            redacted: &draft.redacted,
            paths: draft.paths_at,
        };
        check::agent(&checked, self.diagnostics);
        let (fields, tests) = draft.tables.finish();
        let lines = draft.rules.iter().map(|lowered| lowered.line).collect();
        self.map.agents.insert(name.clone(), lines);
        let places = draft.examples.iter().map(|(span, _)| *span).collect();
        self.places.insert(name.clone(), places);
        AgentPolicy {
            name,
            run_as: draft.run_as.take(),
            default,
            metadata: draft.metadata.into_iter().collect(),
            rules: draft
                .rules
                .into_iter()
                .map(|lowered| lowered.rule)
                .collect(),
            fields,
            tests,
            demands: draft.demands.into_keys().collect(),
            schemas: draft.declared.schemas,
            paths: draft.paths,
            redactions: draft
                .redactions
                .into_iter()
                .map(|(pattern, paths)| Redaction {
                    pattern,
                    paths: paths.into_iter().collect(),
                })
                .collect(),
            examples: draft
                .examples
                .into_iter()
                .map(|(_, example)| example)
                .collect(),
            phases: draft.phases.into_iter().map(|(_, phase)| phase).collect(),
            declarations: draft.declarations.finish(),
        }
    }
}
