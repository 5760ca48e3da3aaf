//! What changes without being a matter of a single call.

use super::{Reach, Remark};
use faramesh_core::json;
use faramesh_core::policy::SEARCH_STEPS_MAX;
use faramesh_core::policy::artifact::{
    AgentPolicy, Anchor, Artifact, Ask, Declaration, Field, Mode, OnLag, PathRules, Profile,
    Redaction, Runtime, SEARCHED_BYTES_MAX, Test, compile_expression,
};
use std::cmp::Ordering;
use std::collections::BTreeSet;

fn remark(reach: Reach, text: impl Into<String>) -> Remark {
    Remark {
        reach,
        text: text.into(),
    }
}

/// What concerns the whole stack.
pub(super) fn remarks(before: Option<&Artifact>, after: &Artifact) -> Vec<Remark> {
    let default = Runtime::default();
    let old = before.map_or(&default, |artifact| &artifact.runtime);
    let new = &after.runtime;
    let mut all = Vec::new();
    match (old.mode, new.mode) {
        (Mode::Enforce, Mode::Shadow) => all.push(remark(
            Reach::Wider,
            "mode becomes shadow: every call proceeds, except what `deny!` refuses",
        )),
        (Mode::Shadow, Mode::Enforce) => all.push(remark(
            Reach::Narrower,
            "mode becomes enforce: what was only recorded as refused is refused",
        )),
        _ => {}
    }
    match (old.profile, new.profile) {
        (Profile::Full, Profile::Minimal) => all.push(remark(
            Reach::Wider,
            "a launch no longer demands every layer that the host can give",
        )),
        (Profile::Minimal, Profile::Full) => all.push(remark(
            Reach::Narrower,
            "a launch demands every layer that the host can give",
        )),
        _ => {}
    }
    lists(
        &mut all,
        "agents keep the variable",
        &old.keep_env,
        &new.keep_env,
    );
    lists(
        &mut all,
        "agents may connect to the socket",
        &old.allowed_sockets,
        &new.allowed_sockets,
    );
    if old.zone != new.zone {
        let read = before
            .into_iter()
            .chain([after])
            .flat_map(|artifact| &artifact.agents)
            .flat_map(|agent| &agent.fields)
            .any(|field| matches!(field, Field::Time(_)));
        let text = format!(
            "time is read in zone {}, and was in {}",
            new.zone.name, old.zone.name
        );
        all.push(if read {
            remark(
                Reach::Undecided,
                format!("{text}: which hours `time.*` is true for is not compared"),
            )
        } else {
            remark(Reach::Neutral, format!("{text}; no rule reads it"))
        });
    }
    if old.reveal_rule != new.reveal_rule {
        all.push(remark(
            Reach::Neutral,
            "what agents are shown of rules changes",
        ));
    }
    if old.cold_start_deny_window_ms != new.cold_start_deny_window_ms {
        all.push(remark(
            Reach::Neutral,
            "the time within which a start must succeed changes",
        ));
    }
    anchors(&mut all, old.anchor, new.anchor);
    let keys: BTreeSet<&str> = old
        .declared
        .iter()
        .chain(&new.declared)
        .map(|setting| setting.key.as_str())
        .collect();
    for key in keys {
        let of = |runtime: &Runtime| {
            let found = runtime.declared.iter().find(|setting| setting.key == key);
            found.cloned()
        };
        if of(old) != of(new) {
            all.push(not_decided_by(&format!("runtime setting `{key}`")));
        }
    }
    let none = Vec::new();
    let old = before.map_or(&none, |artifact| &artifact.declarations);
    declarations(&mut all, old, &after.declarations);
    all
}

/// Calls wait for witnesses in one of them, or longer, or for more of them.
fn anchors(all: &mut Vec<Remark>, old: Option<Anchor>, new: Option<Anchor>) {
    // The time and the quorum of what only warns change no answer.
    let stops = |anchor: Option<Anchor>| anchor.filter(|anchor| anchor.on_lag != OnLag::Warn);
    match (stops(old), stops(new)) {
        (None, None) => {
            if old != new {
                all.push(remark(Reach::Neutral, "what is said of witnesses changes"));
            }
        }
        (None, Some(_)) => all.push(remark(
            Reach::Narrower,
            "calls wait for witnesses: they are not permitted while the journal is unattested for too long",
        )),
        (Some(_), None) => all.push(remark(
            Reach::Wider,
            "calls no longer wait for witnesses",
        )),
        (Some(old), Some(new)) => {
            let mut changed = |order: Ordering, what: &str| match order {
                Ordering::Less => all.push(remark(Reach::Narrower, format!("{what}: stricter"))),
                Ordering::Greater => all.push(remark(Reach::Wider, format!("{what}: milder"))),
                Ordering::Equal => {}
            };
            changed(
                new.max_lag_ms.cmp(&old.max_lag_ms),
                "how long the journal may be unattested changes",
            );
            changed(
                old.quorum.cmp(&new.quorum),
                "how many witnesses have to attest the journal changes",
            );
            changed(
                old.on_lag.cmp(&new.on_lag),
                "what is answered while the journal is unattested for too long changes",
            );
        }
    }
}

/// What concerns an agent and no single call.
pub(super) fn agent_remarks(parts: [Option<&AgentPolicy>; 2]) -> Vec<Remark> {
    let mut all = Vec::new();
    let default = AgentPolicy::default();
    let [old, new] = parts;
    let Some(new) = new else {
        return all;
    };
    let is_new = old.is_none();
    let old = old.unwrap_or(&default);
    if !is_new && old.run_as != new.run_as {
        let shown = |user: &Option<String>| {
            user.as_ref()
                .map_or("the stack's own user for agents".to_owned(), |user| {
                    format!("`{user}`")
                })
        };
        all.push(remark(
            Reach::Undecided,
            format!(
                "runs as {} and no longer as {}: what that user can reach is not compared",
                shown(&new.run_as),
                shown(&old.run_as)
            ),
        ));
    }
    for layer in old
        .demands
        .iter()
        .filter(|layer| !new.demands.contains(layer))
    {
        all.push(remark(
            Reach::Wider,
            format!("no longer demands that `{layer}` holds"),
        ));
    }
    for layer in new
        .demands
        .iter()
        .filter(|layer| !old.demands.contains(layer))
    {
        all.push(remark(
            Reach::Narrower,
            format!("demands that `{layer}` holds"),
        ));
    }
    if old.paths != new.paths {
        let text = match (&old.paths, &new.paths) {
            (None, _) => "`paths` is new: calls that name a path are checked",
            (_, None) => "`paths` is gone: no call is refused for a path that it names",
            _ => "`paths` changes: other paths are refused",
        };
        all.push(remark(Reach::Neutral, text));
    }
    let work = [old, new].map(work_of);
    if work[0] != work[1] && work.iter().any(|work| *work > SEARCH_STEPS_MAX) {
        all.push(remark(
            Reach::Neutral,
            "the work that tests of long texts take changes: calls for which it goes beyond the budget of a decision \
             are not compared",
        ));
    }
    redactions(&mut all, &old.redactions, &new.redactions);
    if old.phases != new.phases {
        all.push(not_decided_by("block `phase`"));
    }
    declarations(&mut all, &old.declarations, &new.declarations);
    all
}

/// Steps that an agent's tests can take together, at most about.
fn work_of(agent: &AgentPolicy) -> u64 {
    let longest = "x".repeat(SEARCHED_BYTES_MAX);
    let whole = u64::try_from(json::BYTES_MAX).unwrap_or(u64::MAX);
    let of_test = |test: &Test| match &test.ask {
        Ask::Matches(source) => compile_expression(&agent.name, source)
            .ok()
            .and_then(|expression| u64::try_from(expression.steps(&longest)?).ok())
            .unwrap_or(u64::MAX),
        Ask::Contains(_) | Ask::AnyGlob(_) | Ask::CompareField(..) => whole,
        Ask::StartsWith(text) | Ask::EndsWith(text) => u64::try_from(text.len()).unwrap_or(whole),
        _ => 0,
    };
    let of_field = |field: &Field| match field {
        Field::Calculated(_) | Field::Length(_) => whole,
        _ => 0,
    };
    let tests = agent.tests.iter().map(of_test);
    let fields = agent.fields.iter().map(of_field);
    tests.chain(fields).fold(0, u64::saturating_add)
}

fn lists(all: &mut Vec<Remark>, what: &str, old: &[String], new: &[String]) {
    for item in new.iter().filter(|item| !old.contains(item)) {
        all.push(remark(Reach::Wider, format!("{what} `{item}`")));
    }
    for item in old.iter().filter(|item| !new.contains(item)) {
        all.push(remark(
            Reach::Narrower,
            format!("{what} `{item}` no longer"),
        ));
    }
}

fn redactions(all: &mut Vec<Remark>, old: &[Redaction], new: &[Redaction]) {
    let spelled = |list: &[Redaction]| -> BTreeSet<String> {
        list.iter()
            .flat_map(|redaction| {
                redaction.paths.iter().map(|path| {
                    format!("`{}` of `{}`", Field::Args(path.clone()), redaction.pattern)
                })
            })
            .collect()
    };
    let (old, new) = (spelled(old), spelled(new));
    for gone in old.difference(&new) {
        all.push(remark(
            Reach::Neutral,
            format!("records keep more: {gone} is no longer redacted"),
        ));
    }
    for come in new.difference(&old) {
        all.push(remark(
            Reach::Neutral,
            format!("records keep less: {come} is redacted"),
        ));
    }
}

fn declarations(all: &mut Vec<Remark>, old: &[Declaration], new: &[Declaration]) {
    let keywords: BTreeSet<&str> = old
        .iter()
        .chain(new)
        .map(|declaration| declaration.keyword.as_str())
        .collect();
    for keyword in keywords {
        let of = |list: &[Declaration]| -> Vec<Declaration> {
            let own = list
                .iter()
                .filter(|declaration| declaration.keyword == keyword);
            own.cloned().collect()
        };
        if of(old) != of(new) {
            all.push(not_decided_by(&format!("block `{keyword}`")));
        }
    }
}

fn not_decided_by(what: &str) -> Remark {
    remark(
        Reach::Undecided,
        format!("{what} changes: this version does not decide by it, and does not compare it"),
    )
}

/// Paths that the path rules of either side speak of, and some that none does.
pub(super) fn path_texts(parts: [Option<&AgentPolicy>; 2]) -> Vec<String> {
    let rules: Vec<&PathRules> = parts
        .into_iter()
        .flatten()
        .filter_map(|agent| agent.paths.as_ref())
        .collect();
    if rules.is_empty() {
        return Vec::new();
    }
    let fixed = [
        "notes.txt",
        "src/x",
        ".env",
        "x.pem",
        ".git/config",
        "secrets/x",
    ];
    let mut texts: Vec<String> = fixed.map(str::to_owned).to_vec();
    for glob in rules.iter().flat_map(|rules| {
        [
            &rules.read_exclude,
            &rules.edit_deny,
            &rules.edit_protected,
            &rules.edit_allow,
        ]
        .into_iter()
        .flatten()
    }) {
        texts.push(
            glob.replace("**/", "x/")
                .replace("**", "x")
                .replace(['*', '?'], "x"),
        );
        texts.push(
            glob.replace("**/", "")
                .replace("**", "x")
                .replace(['*', '?'], "x"),
        );
    }
    texts
}
