//! `faramesh test`: fixtures put to the compiled policy.
//!
//! What is run is the artifact that `apply` would sign, by the evaluator that the daemon runs. No clock, no history:
//! each case is the first call of a session, and what else it does not suppose is absent, so that a fixture says the same
//! tomorrow.
#![forbid(unsafe_code)]

mod junit;

use crate::args::{Global, TestArgs};
use crate::commands::check::count;
use crate::failure::Failure;
use crate::files;
use crate::fixtures::{self, Case, Expect, Fixture, RuleRef};
use crate::layout;
use crate::names;
use crate::output::{Output, Paint};
use crate::source::{self, Compiled};
use crate::trial::{Clock, Trial};
use crate::untrusted::Untrusted;
use faramesh_core::decision::{Code, Decision};
use faramesh_core::policy::Policy;
use faramesh_policy_compiler::{Style, render};
use serde::Serialize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a stack's fixtures lie.
const FOLDER: &str = "tests";
/// How a fixture's name ends.
const ENDS: &[&str] = &[".fmtest.json", ".fmtest.yaml", ".fmtest.yml"];

/// How published fixtures name a rule: `rule-3` is the third.
const PUBLISHED: &str = "rule-";

/// Exit statuses of this command.
mod code {
    pub(super) const HOLD: u8 = 0;
    pub(super) const FAILED: u8 = 1;
}

/// What came of a case.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    fixture: String,
    file: String,
    line: usize,
    name: String,
    passed: bool,
    /// Where `--update` wrote what is decided.
    updated: bool,
    expected: Expect,
    found: Expect,
    message: String,
    differs: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    policy: &'a str,
    passed: usize,
    failed: usize,
    updated: usize,
    not_considered: &'a [String],
    cases: &'a [Outcome],
}

/// Runs every fixture that is meant.
///
/// # Errors
/// The policy has errors, or a fixture cannot be read (65): then nothing was run.
pub fn run(global: &Global, args: &TestArgs, output: &Output) -> Result<u8, Failure> {
    let (compiled, findings) = source::compile_valid(&layout::source(&global.dir), output)?;
    let policy = Policy::of(&compiled.artifact)
        .map_err(|e| Failure::internal(format!("the policy does not load: {e}")))?;
    let files = match args.files.is_empty() {
        true => found(&global.dir.join(FOLDER))?,
        false => args.files.clone(),
    };
    let fixtures = read(&files, output)?;
    // What cannot be put is said before anything is written, and also where `--fail-fast` would not come to it.
    let mut all = Vec::new();
    for fixture in &fixtures {
        let cases = fixture.cases.iter();
        let own: Result<Vec<Outcome>, Failure> = cases
            .map(|case| put(&policy, &compiled, fixture, case))
            .collect();
        all.push(own?);
    }
    let mut outcomes = Vec::new();
    for ((path, fixture), mut own) in files.iter().zip(&fixtures).zip(all) {
        let failed = own.iter().position(|outcome| !outcome.passed);
        let stop = failed.filter(|_| args.fail_fast);
        if let Some(at) = stop {
            own.truncate(at + 1);
        }
        if args.update {
            update(path, fixture, &mut own)?;
        }
        outcomes.extend(own);
        if stop.is_some() {
            break;
        }
    }
    outcomes.iter().for_each(|outcome| show(outcome, output));
    if let Some(path) = &args.junit {
        let report = junit::report(&outcomes)?;
        files::write_durably(path, &report, 0o644, None)?;
    }
    let not_considered = names::not_considered(&compiled.artifact);
    Ok(sum(&outcomes, &findings.file, &not_considered, output))
}

fn sum(outcomes: &[Outcome], policy: &str, not_considered: &[String], output: &Output) -> u8 {
    let passed = outcomes.iter().filter(|outcome| outcome.passed).count();
    let updated = outcomes.iter().filter(|outcome| outcome.updated).count();
    let failed = outcomes.len() - passed - updated;
    let mark = match failed {
        0 => output.paint(Paint::Good, "✓"),
        _ => output.paint(Paint::Bad, "✗"),
    };
    let mut text = format!("{mark} {}: {passed} hold", count(outcomes.len(), "case"));
    for (number, what) in [(failed, "do not"), (updated, "rewritten")] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    output.line(text);
    if !not_considered.is_empty() {
        output.line(format!(
            "  not considered: {}",
            Untrusted(&not_considered.join(", "))
        ));
    }
    output.json(&Report {
        policy,
        passed,
        failed,
        updated,
        not_considered,
        cases: outcomes,
    });
    if failed == 0 {
        code::HOLD
    } else {
        code::FAILED
    }
}

/// Every fixture of a folder, by name.
fn found(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let first = || {
        format!(
            "write `{}/policy.fmtest.json`; docs/cli.md shows one",
            folder.display()
        )
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::data(format!(
                "there are no fixtures: no folder `{}`",
                folder.display()
            ))
            .next(first()));
        }
        Err(e) => return Err(Failure::io("read", folder, &e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Failure::io("read", folder, &e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if ENDS.iter().any(|end| name.ends_with(end)) {
            files.push(path);
        }
    }
    files.sort_unstable();
    if files.is_empty() {
        return Err(Failure::data(format!(
            "there are no fixtures: `{}` holds no *.fmtest.json and no *.fmtest.yaml",
            folder.display()
        ))
        .next(first()));
    }
    Ok(files)
}

/// Reads all of them before anything is run; the findings of every one are shown.
fn read(files: &[PathBuf], output: &Output) -> Result<Vec<Fixture>, Failure> {
    let mut read = Vec::new();
    let mut bad = 0;
    for path in files {
        let name = source::shown_name(path);
        match fixtures::read(path, &name)? {
            Ok(fixture) => read.push(fixture),
            Err((source, findings)) => {
                bad += 1;
                let style = match output.is_coloured() {
                    true => Style::Colour,
                    false => Style::Plain,
                };
                output.diagnostics(&render(&source, &findings, style));
            }
        }
    }
    if bad == 0 {
        return Ok(read);
    }
    Err(Failure::data(format!(
        "{} cannot be read, nothing was run",
        count(bad, "fixture")
    ))
    .next("mend what stands above"))
}

fn put(
    policy: &Policy,
    compiled: &Compiled,
    fixture: &Fixture,
    case: &Case,
) -> Result<Outcome, Failure> {
    let place = || format!("`{}:{}`, `{}`", fixture.source.name, case.line, case.name);
    let refused = case.expect.code.as_deref() == Some(Code::IdentityUnverified.as_str());
    if let (Some(why), false) = (
        names::unknown_agent(&compiled.artifact, &case.agent),
        refused,
    ) {
        let failure = Failure::data(Untrusted(&format!("{}: {why}", place())).to_string());
        return Err(failure.next(
            "a call of no agent is refused by any policy; a case that means one expects `code` IDENTITY_UNVERIFIED",
        ));
    }
    let trial = Trial::new(
        policy,
        &case.agent,
        &case.tool,
        case.arguments.as_bytes(),
        &case.suppose,
        Clock::Stopped,
    )
    .map_err(|why| Failure::data(Untrusted(&format!("{}: {why}", place())).to_string()))?;
    let decision = trial.decide(policy);
    let (found, differs) = compare(&case.expect, &decision, compiled, &case.agent);
    Ok(Outcome {
        fixture: fixture.name.clone(),
        file: fixture.source.name.clone(),
        line: case.line,
        name: case.name.clone(),
        passed: differs.is_empty(),
        updated: false,
        expected: case.expect.clone(),
        found,
        message: decision.message,
        differs,
    })
}

/// What was found, in the words of what was expected, and which of them differ.
fn compare(
    expect: &Expect,
    decision: &Decision,
    compiled: &Compiled,
    agent: &str,
) -> (Expect, Vec<&'static str>) {
    // In shadow mode the rules' own answer is what a fixture asks for.
    let effect = decision.would.unwrap_or(decision.effect);
    let names = RuleNames::of(compiled, agent, decision.rule);
    let found = Expect {
        effect: effect.as_str().to_owned(),
        rule_ref: names.like(expect.rule_ref.as_ref()),
        code: decision.code.map(|code| code.as_str().to_owned()),
        missing: Some(decision.missing.clone()),
    };
    let mut differs = Vec::new();
    if expect.effect != found.effect {
        differs.push("effect");
    }
    if let Some(rule) = &expect.rule_ref
        && !names.is(rule)
    {
        differs.push("rule_ref");
    }
    if expect.code.is_some() && expect.code != found.code {
        differs.push("code");
    }
    if expect.missing.is_some() && expect.missing != found.missing {
        differs.push("missing");
    }
    (found, differs)
}

/// How the deciding rule may be named.
struct RuleNames<'a> {
    /// From 1.
    number: Option<u32>,
    line: Option<u32>,
    text: Option<&'a str>,
}

impl<'a> RuleNames<'a> {
    fn of(compiled: &'a Compiled, agent: &str, rule: Option<u32>) -> RuleNames<'a> {
        let agents = &compiled.artifact.agents;
        let policy = agents
            .iter()
            .find(|policy| policy.name == agent)
            .or_else(|| agents.iter().find(|policy| policy.name.is_empty()));
        let lines = policy.and_then(|policy| compiled.map.agents.get(&policy.name));
        let at = |number: u32| policy?.rules.get(number as usize);
        RuleNames {
            number: rule.map(|number| number + 1),
            line: rule.and_then(|number| lines?.get(number as usize).copied()),
            text: rule.and_then(at).map(|rule| rule.text.as_str()),
        }
    }

    /// Whether a fixture means this rule. Where no rule decided, `default` is its name.
    fn is(&self, named: &RuleRef) -> bool {
        match named {
            RuleRef::Number(number) => self.number == Some(*number),
            RuleRef::Text(text) if text == "default" => self.number.is_none(),
            RuleRef::Text(text) if published(text).is_some() => published(text) == self.number,
            RuleRef::Text(text) => {
                self.text == Some(text.as_str())
                    || text.rsplit_once(':').is_some_and(|(_, line)| {
                        line.parse().ok() == self.line && self.line.is_some()
                    })
            }
        }
    }

    /// This rule's name in the way that the fixture names it.
    fn like(&self, named: Option<&RuleRef>) -> Option<RuleRef> {
        let number = self.number?;
        let by_line = |file: &str| {
            self.line
                .map(|line| RuleRef::Text(format!("{file}:{line}")))
        };
        match named {
            Some(RuleRef::Text(text)) if published(text).is_some() => {
                Some(RuleRef::Text(format!("{PUBLISHED}{number}")))
            }
            Some(RuleRef::Text(text)) => match text.rsplit_once(':') {
                Some((file, line)) if line.parse::<u32>().is_ok() => by_line(file),
                _ => self.text.map(|text| RuleRef::Text(text.to_owned())),
            },
            Some(RuleRef::Number(_)) | None => Some(RuleRef::Number(number)),
        }
    }
}

/// The number in `rule-3`.
fn published(text: &str) -> Option<u32> {
    text.strip_prefix(PUBLISHED)?.parse().ok()
}

/// Writes what is decided into the expectations that do not hold: the keys that they have, and no other byte.
fn update(path: &Path, fixture: &Fixture, outcomes: &mut [Outcome]) -> Result<(), Failure> {
    let mut changes = Vec::new();
    for (place, outcome) in outcomes.iter_mut().enumerate() {
        if outcome.passed {
            continue;
        }
        outcome.updated = true;
        changes.push((place, wanted(&outcome.expected, &outcome.found)));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let mode = std::fs::metadata(path)
        .map_err(|e| Failure::io("look at", path, &e))?
        .permissions()
        .mode();
    files::write_durably(
        path,
        fixture.rewritten(&changes).as_bytes(),
        mode & 0o7777,
        None,
    )
}

fn wanted(expected: &Expect, found: &Expect) -> Expect {
    let rule_ref = expected.rule_ref.as_ref().map(|_| {
        let default = || RuleRef::Text("default".to_owned());
        found.rule_ref.clone().unwrap_or_else(default)
    });
    Expect {
        effect: found.effect.clone(),
        rule_ref,
        code: expected.code.as_ref().and(found.code.clone()),
        missing: expected.missing.as_ref().and(found.missing.clone()),
    }
}

fn show(outcome: &Outcome, output: &Output) {
    let (word, paint) = match outcome {
        Outcome { passed: true, .. } => ("holds", Paint::Good),
        Outcome { updated: true, .. } => ("rewritten", Paint::Caution),
        _ => ("FAILED", Paint::Bad),
    };
    let line = format!(
        "{}  {}: {}",
        output.paint(paint, &format!("{word:9}")),
        Untrusted(&outcome.fixture),
        Untrusted(&outcome.name)
    );
    if outcome.passed {
        output.note(line);
        return;
    }
    output.line(line);
    output.line(format!(
        "           {}:{}",
        Untrusted(&outcome.file),
        outcome.line
    ));
    for difference in differences(outcome) {
        output.line(format!("           {difference}"));
    }
    output.line(format!(
        "           because: {}",
        Untrusted(&outcome.message)
    ));
}

/// One sentence for each expectation that does not hold.
pub(super) fn differences(outcome: &Outcome) -> Vec<String> {
    let text = |value: Option<String>| {
        value.map_or("nothing".to_owned(), |value| Untrusted(&value).to_string())
    };
    let rule = |value: &Option<RuleRef>| {
        text(value.as_ref().map(|rule| match rule {
            RuleRef::Number(number) => format!("rule {number}"),
            RuleRef::Text(text) => text.clone(),
        }))
    };
    let list = |value: &Option<Vec<String>>| {
        text(
            value
                .as_ref()
                .map(|names| format!("[{}]", names.join(", "))),
        )
    };
    let (expected, found) = (&outcome.expected, &outcome.found);
    outcome
        .differs
        .iter()
        .map(|key| {
            let (wanted, got) = match *key {
                "effect" => (
                    text(Some(expected.effect.clone())),
                    text(Some(found.effect.clone())),
                ),
                "rule_ref" => (rule(&expected.rule_ref), rule(&found.rule_ref)),
                "code" => (text(expected.code.clone()), text(found.code.clone())),
                _ => (list(&expected.missing), list(&found.missing)),
            };
            format!("{key}: expected {wanted}, found {got}")
        })
        .collect()
}
