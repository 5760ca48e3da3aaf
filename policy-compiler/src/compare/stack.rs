//! What changes without being a matter of a single call.

use super::{Reach, Remark};
use faramesh_core::policy::artifact::{
    AgentPolicy, Artifact, Declaration, Field, Mode, PathRules, Profile, Redaction, Runtime,
};
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
    redactions(&mut all, &old.redactions, &new.redactions);
    if old.phases != new.phases {
        all.push(not_decided_by("block `phase`"));
    }
    declarations(&mut all, &old.declarations, &new.declarations);
    all
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

/// Whether some day has these parts, as far as they are given. Weekday 1 is Monday.
pub(super) fn is_some_day(
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    weekday: Option<i64>,
) -> bool {
    let years: Vec<i64> = match year {
        Some(year) => vec![year],
        // Every way in which leap years and weekdays can meet.
        None => (2000..2028).collect(),
    };
    let months: Vec<i64> = month.map_or((1..=12).collect(), |month| vec![month]);
    let days: Vec<i64> = day.map_or((1..=31).collect(), |day| vec![day]);
    years.iter().any(|year| {
        months.iter().any(|month| {
            days.iter().any(|day| {
                *day <= days_of(*year, *month)
                    && weekday.is_none_or(|weekday| weekday == weekday_of(*year, *month, *day))
            })
        })
    })
}

const fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since Monday, 1 January 1, by counting leap days; then the place in the week, Monday 1.
fn weekday_of(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let of_years = before * 365 + before / 4 - before / 100 + before / 400;
    let of_months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    (of_years + of_months + day - 1).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_no_calendar_has_is_none() {
        assert!(is_some_day(None, Some(2), Some(29), None));
        assert!(!is_some_day(Some(2026), Some(2), Some(29), None));
        assert!(!is_some_day(None, Some(2), Some(30), None));
        // 20 November 2026 is a Friday.
        assert!(is_some_day(Some(2026), Some(11), Some(20), Some(5)));
        assert!(!is_some_day(Some(2026), Some(11), Some(20), Some(6)));
        assert!(is_some_day(None, Some(11), Some(20), Some(6)));
    }
}
