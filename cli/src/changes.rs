//! What differs between two policies, rule by rule, as a person reads it: by the rules' own text.
//!
//! Pure. Order counts: a rule that moved is removed and added, because the first match decides.
#![forbid(unsafe_code)]

use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{
    AgentPolicy, Artifact, Datum, Declaration, Mode, Profile, Rule, Runtime, Setting as Declared,
    Unit,
};
use faramesh_policy_compiler::{render_datum, render_kind, render_window};
use serde::Serialize;
use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Everything that differs. Empty lists: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Stack-wide settings.
    pub runtime: Vec<Setting>,
    /// Agents that differ, by name.
    pub agents: Vec<AgentChange>,
}

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name in the policy.
    pub key: String,
    /// What it was; `None` where there was nothing.
    pub before: Option<String>,
    /// What it becomes; `None` where nothing is left.
    pub after: Option<String>,
}

/// One agent that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentChange {
    /// Its name; empty for the anonymous agent of a file of flat rules.
    pub name: String,
    /// Whether the agent itself is new, gone, or just different.
    pub change: Kind,
    /// `default`, `run_as`, metadata.
    pub settings: Vec<Setting>,
    /// Its rules that differ, in the order of the new file.
    pub rules: Vec<RuleChange>,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

/// One rule that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleChange {
    /// What became of it.
    pub change: Kind,
    /// Its text before.
    pub before: Option<String>,
    /// Its text after.
    pub after: Option<String>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.runtime.is_empty() && self.agents.is_empty()
    }

    /// Settings and blocks added, removed, changed: each that [`between`] found, of new and gone agents too.
    pub fn setting_counts(&self) -> (usize, usize, usize) {
        let agents = self.agents.iter().flat_map(|agent| &agent.settings);
        let all = self.runtime.iter().chain(agents);
        all.fold((0, 0, 0), |(added, removed, changed), setting| {
            match (&setting.before, &setting.after) {
                (None, _) => (added + 1, removed, changed),
                (_, None) => (added, removed + 1, changed),
                _ => (added, removed, changed + 1),
            }
        })
    }

    /// Rules added, removed, changed.
    pub fn rule_counts(&self) -> (usize, usize, usize) {
        let count = |kind| {
            self.agents
                .iter()
                .flat_map(|agent| &agent.rules)
                .filter(|rule| rule.change == kind)
                .count()
        };
        (
            count(Kind::Added),
            count(Kind::Removed),
            count(Kind::Changed),
        )
    }
}

/// What becomes different when `after` follows `before`; with nothing before, everything is added.
pub fn between(before: Option<&Artifact>, after: &Artifact) -> Changes {
    let mut runtime = settings(&before.map(of_stack).unwrap_or_default(), &of_stack(after));
    if runtime.is_empty() && before.is_some_and(|before| before.runtime != after.runtime) {
        runtime.push(unnamed("runtime"));
    }
    let old = before.map(|a| a.agents.as_slice()).unwrap_or_default();
    let named =
        |agents: &'_ [AgentPolicy], name: &str| agents.iter().position(|agent| agent.name == name);
    let mut agents = Vec::new();
    for agent in &after.agents {
        let was = named(old, &agent.name).and_then(|at| old.get(at));
        agents.extend(compare(was, Some(agent)));
    }
    for agent in old
        .iter()
        .filter(|agent| named(&after.agents, &agent.name).is_none())
    {
        agents.extend(compare(Some(agent), None));
    }
    Changes { runtime, agents }
}

fn compare(before: Option<&AgentPolicy>, after: Option<&AgentPolicy>) -> Option<AgentChange> {
    let name = after.or(before)?.name.clone();
    let change = match (before, after) {
        (None, _) => Kind::Added,
        (_, None) => Kind::Removed,
        _ => Kind::Changed,
    };
    let mut settings = settings(
        &before.map(facts).unwrap_or_default(),
        &after.map(facts).unwrap_or_default(),
    );
    let rules = rules(
        before.map(|a| a.rules.as_slice()).unwrap_or_default(),
        after.map(|a| a.rules.as_slice()).unwrap_or_default(),
    );
    if settings.is_empty() && rules.is_empty() && before != after {
        settings.push(unnamed("what rules read"));
    }
    let same = change == Kind::Changed && settings.is_empty() && rules.is_empty();
    (!same).then_some(AgentChange {
        name,
        change,
        settings,
        rules,
    })
}

fn rules(before: &[Rule], after: &[Rule]) -> Vec<RuleChange> {
    let texts = |rules: &[Rule]| {
        rules
            .iter()
            .map(|rule| rule.text.clone())
            .collect::<Vec<_>>()
    };
    let mut changes = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &texts(before), &texts(after)) {
        let gone = before.get(op.old_range()).unwrap_or_default();
        let come = after.get(op.new_range()).unwrap_or_default();
        if !matches!(op, DiffOp::Equal { .. }) {
            changes.extend(pair(gone, come));
        }
    }
    changes
}

/// Within one stretch of differences, a rule that went and one that came for the same tools are one that changed.
fn pair(gone: &[Rule], come: &[Rule]) -> Vec<RuleChange> {
    let mut left: Vec<Option<&Rule>> = gone.iter().map(Some).collect();
    let mut changes = Vec::new();
    for rule in come {
        let twin = left
            .iter_mut()
            .find(|old| old.is_some_and(|old| old.pattern == rule.pattern))
            .and_then(Option::take);
        changes.push(RuleChange {
            change: if twin.is_some() {
                Kind::Changed
            } else {
                Kind::Added
            },
            before: twin.map(|old| old.text.clone()),
            after: Some(rule.text.clone()),
        });
    }
    let removed = left.into_iter().flatten().map(|old| RuleChange {
        change: Kind::Removed,
        before: Some(old.text.clone()),
        after: None,
    });
    removed.chain(changes).collect()
}

fn settings(before: &[(String, String)], after: &[(String, String)]) -> Vec<Setting> {
    let value = |list: &[(String, String)], key: &str| {
        list.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone())
    };
    let mut keys: Vec<&String> = before.iter().chain(after).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|key| Setting {
            key: key.clone(),
            before: value(before, key),
            after: value(after, key),
        })
        .filter(|setting| setting.before != setting.after)
        .collect()
}

/// A difference that no line above shows: it is said all the same.
fn unnamed(what: &str) -> Setting {
    Setting {
        key: what.to_owned(),
        before: Some("as it was".to_owned()),
        after: Some("otherwise, in a way that its text does not show".to_owned()),
    }
}

/// The runtime's settings, and the stack's blocks.
fn of_stack(artifact: &Artifact) -> Vec<(String, String)> {
    let mut facts = runtime(&artifact.runtime);
    facts.extend(artifact.declarations.iter().map(declared));
    told_apart(facts)
}

fn runtime(runtime: &Runtime) -> Vec<(String, String)> {
    let Runtime {
        mode,
        cold_start_deny_window_ms,
        reveal_rule,
        keep_env,
        profile,
        allowed_sockets,
        zone,
        declared,
        anchor,
    } = runtime;
    let mut facts = vec![
        (
            "mode",
            if *mode == Mode::Enforce {
                "enforce"
            } else {
                "shadow"
            }
            .to_owned(),
        ),
        (
            "cold_start_deny_window",
            milliseconds(*cold_start_deny_window_ms),
        ),
        (
            "agent_enforce_profile",
            if *profile == Profile::Full {
                "full"
            } else {
                "minimal"
            }
            .to_owned(),
        ),
    ];
    facts.extend(
        reveal_rule.map(|shown| ("reveal", if shown { "rule" } else { "nothing" }.to_owned())),
    );
    facts.extend(filled(keep_env).map(|list| ("keep_env", list)));
    facts.extend(filled(allowed_sockets).map(|list| ("allowed_sockets", list)));
    facts.push(("timezone", zone.name.clone()));
    if let Some(anchor) = anchor {
        facts.push(("anchor_quorum", anchor.quorum.to_string()));
        facts.push(("anchor_max_lag", milliseconds(anchor.max_lag_ms)));
        facts.push(("anchor_on_lag", anchor.on_lag.as_str().to_owned()));
    }
    let mut facts = owned(facts);
    facts.extend(
        declared
            .iter()
            .map(|setting| (setting.key.clone(), data(&setting.values))),
    );
    facts
}

fn facts(agent: &AgentPolicy) -> Vec<(String, String)> {
    let mut facts = vec![("default", agent.default.as_str().to_owned())];
    facts.extend(agent.run_as.clone().map(|user| ("run_as", user)));
    let mut facts = owned(facts);
    facts.extend(agent.metadata.iter().cloned());
    let mut add = |key: String, value: String| facts.push((key, value));
    for layer in &agent.demands {
        add(
            format!("require enforcement {layer}"),
            "demanded".to_owned(),
        );
    }
    for schema in &agent.schemas {
        let argument = |argument: &faramesh_core::policy::artifact::Argument| {
            let required = if argument.required { " required" } else { "" };
            format!(
                "{}: {}{required}",
                argument.path.join("."),
                render_kind(argument.kind)
            )
        };
        let mut parts: Vec<String> = schema.arguments.iter().map(argument).collect();
        parts.extend(schema.closed.then(|| "closed".to_owned()));
        add(format!("tool {}", schema.pattern), parts.join(", "));
    }
    if let Some(paths) = &agent.paths {
        add("paths".to_owned(), "always-on exclusions".to_owned());
        for (key, list) in [
            ("read_exclude", &paths.read_exclude),
            ("edit_deny", &paths.edit_deny),
            ("edit_protected", &paths.edit_protected),
            ("edit_allow", &paths.edit_allow),
        ] {
            if let Some(list) = filled(list) {
                add(format!("paths.{key}"), list);
            }
        }
    }
    for redaction in &agent.redactions {
        let paths: Vec<String> = redaction.paths.iter().map(|path| path.join(".")).collect();
        add(format!("redact {}", redaction.pattern), paths.join(", "));
    }
    for example in &agent.examples {
        let given = example
            .given
            .iter()
            .map(|(field, value)| format!(" given {field} = {value}"));
        let code = example.code.iter().map(|code| format!(" code {code}"));
        let key = format!(
            "example {} {} {}{}{}",
            example.effect.as_str(),
            example.tool,
            example.arguments,
            code.collect::<String>(),
            given.collect::<String>()
        );
        add(key, "runs at compile time".to_owned());
    }
    for phase in &agent.phases {
        let mut parts: Vec<String> = phase.settings.iter().map(setting).collect();
        parts.extend(phase.rules.iter().map(|rule| rule.text.clone()));
        add(format!("phase {}", phase.name), parts.join("; "));
    }
    facts.extend(agent.declarations.iter().map(declared));
    told_apart(facts)
}

/// Several things of one name are numbered, so that each is compared.
fn told_apart(facts: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    facts
        .into_iter()
        .map(|(key, value)| {
            let count = seen.entry(key.clone()).or_default();
            *count += 1;
            match *count {
                1 => (key, value),
                more => (format!("{key} ({more})"), value),
            }
        })
        .collect()
}

/// A block as one line.
fn declared(block: &Declaration) -> (String, String) {
    if let ("rate_limit", [pattern, window]) = (block.keyword.as_str(), block.labels.as_slice()) {
        let calls: Vec<String> = block.settings.iter().map(|one| data(&one.values)).collect();
        return (
            format!("rate_limit {}", render_datum(pattern)),
            format!("{} per {}", calls.join(" "), render_window(window)),
        );
    }
    let key = match data(&block.labels) {
        labels if labels.is_empty() => block.keyword.clone(),
        labels => format!("{} {labels}", block.keyword),
    };
    let mut parts: Vec<String> = block.settings.iter().map(setting).collect();
    parts.extend(block.inner.iter().map(|inner| {
        let (key, value) = declared(inner);
        format!("{key} {{ {value} }}")
    }));
    (key, parts.join("; "))
}

fn setting(setting: &Declared) -> String {
    format!("{} {}", setting.key, data(&setting.values))
}

fn data(values: &[Datum]) -> String {
    values
        .iter()
        .map(render_datum)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A time as a policy writes it.
fn milliseconds(milliseconds: u64) -> String {
    match (milliseconds / 1_000, milliseconds % 1_000) {
        (seconds, 0) => match i64::try_from(seconds) {
            Ok(seconds) => render_datum(&Datum::Number(Decimal::from(seconds), Unit::Seconds)),
            Err(_) => format!("{seconds}s"),
        },
        (seconds, rest) => format!("{seconds}.{rest:03}s"),
    }
}

fn filled(list: &[String]) -> Option<String> {
    (!list.is_empty()).then(|| list.join(", "))
}

fn owned(facts: Vec<(&str, String)>) -> Vec<(String, String)> {
    facts
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::decision::Effect;
    use faramesh_core::policy::artifact::RuleEffect;

    fn rule(pattern: &str, text: &str) -> Rule {
        Rule {
            effect: RuleEffect::Permit,
            pattern: pattern.into(),
            condition: vec![],
            reason: None,
            notify: vec![],
            reeval: false,
            text: text.into(),
        }
    }

    fn policy(agents: &[(&str, &[(&str, &str)])]) -> Artifact {
        Artifact {
            requires: vec![],
            runtime: Runtime {
                ..Runtime::default()
            },
            declarations: vec![],
            agents: agents
                .iter()
                .map(|(name, rules)| AgentPolicy {
                    name: (*name).into(),
                    run_as: None,
                    default: Effect::Deny,
                    metadata: vec![],
                    rules: rules
                        .iter()
                        .map(|(pattern, text)| rule(pattern, text))
                        .collect(),
                    ..AgentPolicy::default()
                })
                .collect(),
        }
    }

    #[test]
    fn the_same_policy_has_no_changes() {
        let one = policy(&[("a", &[("x", "permit x")])]);
        assert!(between(Some(&one), &one).is_empty());
    }

    #[test]
    fn a_rule_for_the_same_tools_is_changed_and_not_removed_and_added() {
        let before = policy(&[("a", &[("x", "permit x"), ("y", "permit y")])]);
        let after = policy(&[("a", &[("x", "permit x if amount < $5"), ("z", "permit z")])]);
        let changes = between(Some(&before), &after);
        assert_eq!(changes.rule_counts(), (1, 1, 1));
        let changed = changes.agents[0]
            .rules
            .iter()
            .find(|rule| rule.change == Kind::Changed)
            .unwrap();
        assert_eq!(changed.before.as_deref(), Some("permit x"));
        assert_eq!(changed.after.as_deref(), Some("permit x if amount < $5"));
    }

    #[test]
    fn a_rule_that_moved_is_a_change_because_the_first_match_decides() {
        let before = policy(&[("a", &[("x", "permit x"), ("*", "deny *")])]);
        let after = policy(&[("a", &[("*", "deny *"), ("x", "permit x")])]);
        assert!(!between(Some(&before), &after).is_empty());
    }

    #[test]
    fn a_new_and_a_gone_agent_are_named_with_their_rules() {
        let before = policy(&[("old", &[("x", "permit x")])]);
        let after = policy(&[("new", &[("y", "permit y")])]);
        let changes = between(Some(&before), &after);
        let kinds: Vec<_> = changes
            .agents
            .iter()
            .map(|agent| (agent.name.as_str(), agent.change))
            .collect();
        assert_eq!(kinds, [("new", Kind::Added), ("old", Kind::Removed)]);
        assert_eq!(changes.rule_counts(), (1, 1, 0));
    }

    #[test]
    fn blocks_are_counted_and_shown_in_the_units_that_a_policy_is_written_in() {
        let of = |text: &str| {
            let text = format!("agent a {{\n  permit x\n{text}}}\n");
            let source = faramesh_policy_compiler::SourceFile::new("p.fms", text);
            let outcome = faramesh_policy_compiler::compile(&source, &Default::default());
            outcome.artifact.unwrap()
        };
        let after = of(
            "budget d { max $5 }\n  rate_limit \"email/*\": 5 per hour\n  session { idle_timeout 5m }\n",
        );
        let changes = between(Some(&of("")), &after);
        assert_eq!(changes.setting_counts(), (3, 0, 0));
        assert_eq!(changes.rule_counts(), (0, 0, 0));
        let lines: Vec<String> = changes.agents[0]
            .settings
            .iter()
            .map(|setting| format!("{} {}", setting.key, setting.after.as_deref().unwrap()))
            .collect();
        assert_eq!(
            lines,
            [
                "budget \"d\" max $5",
                "rate_limit \"email/*\" 5 per hour",
                "session idle_timeout 5m",
            ]
        );
        assert_eq!(
            [30_000, 300_000, 1_500].map(milliseconds),
            ["30s", "5m", "1.500s"]
        );
    }

    #[test]
    fn a_weaker_mode_is_shown() {
        let before = policy(&[("a", &[])]);
        let mut after = before.clone();
        after.runtime.mode = Mode::Shadow;
        let changes = between(Some(&before), &after);
        assert_eq!(
            changes.runtime,
            [Setting {
                key: "mode".into(),
                before: Some("enforce".into()),
                after: Some("shadow".into())
            }]
        );
        assert_eq!(changes.setting_counts(), (0, 0, 1));
    }
}
