//! The syntax tree to the artifact, construct by construct, and every construct that this version does not hold by name.
//!
//! Invariant: every item of the tree is lowered or becomes a finding; there is no arm that skips.

mod clauses;
mod declared;
mod demands;
mod rules;

pub(crate) use declared::{Declared, Declares};
pub(crate) use demands::layer_fault;

use crate::check;
use crate::conditions::Tables;
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::settings::{self, Read};
use crate::source::{Lines, SourceMap, Span};
use crate::syntax::{Block, File, Item, Setting, Word};
use crate::vocabulary::{Place, nearest};
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::{AgentPolicy, Artifact, Rule, Runtime, capabilities};
use std::collections::BTreeMap;

/// A lowered rule with what the checks over a whole agent need of it.
#[derive(Debug)]
pub(crate) struct LoweredRule {
    /// 1-based line in the source.
    pub(crate) line: u32,
    pub(crate) rule: Rule,
    pub(crate) head: Span,
    pub(crate) condition: Option<Span>,
    #[expect(dead_code, reason = "the checks that use it come next")]
    /// The first clause about the request or the door.
    pub(crate) request: Option<Span>,
    pub(crate) claimed: Vec<Word>,
}

/// Lowers a file. What it returns is worth something only if no error was found.
pub(crate) fn lower(text: &str, file: &File, diagnostics: &mut Findings) -> (Artifact, SourceMap) {
    let mut lowering = Lowering {
        lines: Lines::new(text),
        diagnostics,
        map: SourceMap::default(),
    };
    let artifact = lowering.file(file);
    (artifact, lowering.map)
}

struct Lowering<'a> {
    lines: Lines<'a>,
    diagnostics: &'a mut Findings,
    map: SourceMap,
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
    given: Given,
}

impl Draft {
    fn over(declared: Declared) -> Draft {
        Draft {
            declared,
            ..Draft::default()
        }
    }
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
        let mut flat = Draft::over(Declared::of(&file.items, &file.items));
        let mut flat_item = None;
        for item in &file.items {
            match item {
                Item::Block(block) if block.keyword.text == "agent" => {
                    agents.extend(self.agent(block, &file.items))
                }
                Item::Block(block) if block.keyword.text == "runtime" => {
                    self.runtime(block, &mut runtime, &mut runtime_given);
                }
                other => {
                    if self.agent_item(other, Place::Top, &mut flat) {
                        flat_item.get_or_insert(other.span());
                    }
                }
            }
        }
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
            declarations: Vec::new(),
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

    fn agent(&mut self, block: &Block, file: &[Item]) -> Option<(Span, AgentPolicy)> {
        let named = self.take(settings::agent_name(&block.labels, block.head));
        let mut draft = Draft::over(Declared::of(file, &block.items));
        for item in &block.items {
            self.agent_item(item, Place::Agent, &mut draft);
        }
        let (name, span) = named?;
        Some((span, self.finish(name, draft)))
    }

    /// One item of an agent, or of the nameless agent of a flat file. Whether this version holds it.
    fn agent_item(&mut self, item: &Item, place: Place, draft: &mut Draft) -> bool {
        match item {
            Item::Rule(rule) => {
                self.rule(rule, draft);
                true
            }
            Item::Block(block) if block.keyword.text == "rules" => {
                for item in &block.items {
                    match item {
                        Item::Rule(rule) => self.rule(rule, draft),
                        other => self.unknown_word(other.word(), Place::Rules),
                    }
                }
                true
            }
            Item::Block(block) => {
                self.not_supported(&block.keyword, block.head, place);
                false
            }
            Item::Setting(setting) => self.agent_setting(setting, place, draft),
            Item::Example(example) => {
                self.unknown_word(&example.effect, place);
                false
            }
        }
    }

    fn agent_setting(&mut self, setting: &Setting, place: Place, draft: &mut Draft) -> bool {
        let key = setting.key.text.as_str();
        let held = place.entry(key).is_some_and(|entry| entry.absent.is_none());
        if !held {
            self.not_supported(&setting.key, setting.span, place);
            return false;
        }
        self.once(&mut draft.given, setting);
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
            _ => self.not_supported(&setting.key, setting.span, place),
        }
        true
    }

    fn once(&mut self, given: &mut Given, setting: &Setting) {
        if let Some(first) = given.0.insert(setting.key.text.clone(), setting.key.span) {
            self.report(
                Diagnostic::new(
                    Number::DuplicateSetting,
                    format!("{} is given twice", quoted(&setting.key.text)),
                )
                .at(setting.key.span, "again here")
                .at(first, "first here")
                .help("remove one"),
            );
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
        match place.entry(&setting.key.text) {
            Some(entry) if entry.absent.is_none() => self.once(given, setting),
            Some(_) => {
                self.not_supported(&setting.key, setting.span, place);
                return None;
            }
            None => {
                self.unknown_word(&setting.key, place);
                return None;
            }
        }
        match setting.key.text.as_str() {
            "mode" => runtime.mode = self.take(settings::mode(setting))?,
            "cold_start_deny_window" => {
                runtime.cold_start_deny_window_ms = self.take(settings::cold_start(setting))?
            }
            "reveal" => runtime.reveal_rule = self.take(settings::reveal(setting)),
            "keep_env" => runtime.keep_env = self.take(settings::keep_env(setting))?,
            "agent_enforce_profile" => runtime.profile = self.take(settings::profile(setting))?,
            "allowed_sockets" => {
                runtime.allowed_sockets = self.take(settings::allowed_sockets(setting))?
            }
            _ => self.not_supported(&setting.key, setting.span, place),
        }
        Some(())
    }

    fn not_supported(&mut self, word: &Word, span: Span, place: Place) {
        let Some(entry) = place.entry(&word.text) else {
            self.unknown_word(word, place);
            return;
        };
        self.report(
            Diagnostic::new(
                Number::BlockNotSupported,
                format!("{} is not supported by this version", quoted(&word.text)),
            )
            .at(span, entry.absent.unwrap_or("not here"))
            .help("remove it, and know that what it asks for does not hold"),
        );
    }

    fn unknown_word(&mut self, word: &Word, place: Place) {
        let near = nearest(&word.text, place.entries().iter().map(|entry| entry.word));
        let message = format!("unknown word {} in {}", quoted(&word.text), place.noun());
        let finding = Diagnostic::new(Number::UnknownWord, message).at(word.span, "");
        self.report(match place.elsewhere(&word.text) {
            Some(other) => finding.help(format!(
                "{} belongs into {}",
                quoted(&word.text),
                other.noun()
            )),
            None => finding.suggest(near),
        });
    }

    fn finish(&mut self, name: String, mut draft: Draft) -> AgentPolicy {
        let default = draft.default.unwrap_or(Effect::Deny);
        check::agent(&draft.rules, &draft.tables, default, self.diagnostics);
        let (fields, tests) = draft.tables.finish();
        let lines = draft.rules.iter().map(|lowered| lowered.line).collect();
        self.map.agents.insert(name.clone(), lines);
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
            ..AgentPolicy::default()
        }
    }
}
