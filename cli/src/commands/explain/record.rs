//! `faramesh explain 17`: how a recorded call came to be decided as it was.
//!
//! Everything that is said was read from the journal: the record, what it commits to beside it, and the records that it
//! belongs with. The index only makes finding those fast; where none runs, the journal is read from its beginning.
#![forbid(unsafe_code)]

use crate::args::Global;
use crate::commands::audit::trace::{self, Traced};
use crate::commands::audit::{line, tail_raw, time};
use crate::failure::{Failure, exit};
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::policies::{self, digest_text};
use crate::search::Found;
use crate::stack;
use crate::untrusted::{Untrusted, Written};
use faramesh_core::checkpoint::hex;
use faramesh_core::decision::{Code, Effect, REDACTED};
use faramesh_core::policy::artifact::AgentPolicy;
use faramesh_core::record::{self, BodyView, DecisionView, RunMode};
use faramesh_core::tree;
use faramesh_proto::v1::TraceRole;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The field's name is no more than this wide in the table of inputs.
const FIELD_CHARS: usize = 24;

#[derive(Debug, Serialize)]
struct Explained<'a> {
    seq: u64,
    leaf_hash: String,
    time: String,
    mode: &'static str,
    agent: &'a str,
    tool: &'a str,
    session: Option<&'a str>,
    door: &'static str,
    attested: bool,
    effect: &'static str,
    would: Option<&'static str>,
    code: Option<&'static str>,
    policy: String,
    rule: Option<Rule>,
    /// `as_recorded`, `not_as_recorded`, or `gone`: what lay beside the record was erased.
    detail: &'static str,
    message: Option<String>,
    missing: Vec<String>,
    redacted: Vec<String>,
    notify: Vec<String>,
    args: Option<String>,
    inputs: Value,
    effects: Value,
    in_force: Option<Related>,
    session_start: Option<Related>,
    outcome: Option<Related>,
    session_end: Option<Related>,
    /// `index` or `scan`: where the related records were found.
    source: &'static str,
}

#[derive(Debug, Serialize)]
struct Rule {
    /// From 1, as everywhere that a person sees it.
    number: u32,
    /// Where it stood when its policy was last applied, as far as that is known.
    source: Option<String>,
    /// As the policy has it, where this user may read the policy.
    text: Option<String>,
}

#[derive(Debug, Serialize)]
struct Related {
    seq: u64,
    record: Box<RawValue>,
}

/// What lies beside a decision.
struct Detail {
    state: &'static str,
    value: Value,
}

/// Explains a recorded decision, or the one that an outcome is about.
///
/// # Errors
/// The journal cannot be read, or has no such record, or it is no decision's.
pub fn run(global: &Global, seq: u64, output: &Output) -> Result<u8, Failure> {
    let layout = stack::applied(global)?;
    let (traced, indexed) = trace::about(&layout, seq, output)?;
    let decided = traced
        .iter()
        .find(|one| one.role == TraceRole::Decision)
        .ok_or_else(|| no_decision(seq, &traced))?;
    let BodyView::Decision(decision) = &decided.found.view.body else {
        return Err(no_decision(seq, &traced));
    };
    let detail = detail(&decided.found, decision);
    let rule = rule(&layout, decision, &detail);
    people(
        &decided.found,
        decision,
        &detail,
        rule.as_ref(),
        &traced,
        output,
    );
    if output.is_json() {
        let printed = printed(&decided.found, decision, &detail, rule, &traced, indexed)?;
        output.json(&printed);
    }
    Ok(exit::OK)
}

fn no_decision(seq: u64, traced: &[Traced]) -> Failure {
    let kind = traced
        .iter()
        .find(|one| one.found.entry.seq == seq)
        .map_or("no decision's", |one| {
            crate::search::kind(&one.found.view.body)
        });
    Failure::data(format!("record {seq} is no decision, it is `{kind}`"))
        .next(format!("`faramesh audit show {seq}` prints it"))
}

fn detail(found: &Found, decision: &DecisionView) -> Detail {
    let bytes = &found.entry.detail;
    let state = if bytes.is_empty() {
        "gone"
    } else if record::commitment(&found.entry.detail_salt, bytes) == decision.detail {
        "as_recorded"
    } else {
        "not_as_recorded"
    };
    // What the record does not commit to explains nothing.
    let value = match state {
        "as_recorded" => serde_json::from_slice(bytes).unwrap_or_default(),
        _ => Value::Null,
    };
    Detail { state, value }
}

impl Detail {
    fn text(&self, key: &str) -> Option<String> {
        self.value.get(key)?.as_str().map(str::to_owned)
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let all = self.value.get(key).and_then(Value::as_array);
        all.into_iter()
            .flatten()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    }

    fn rows(&self, key: &str) -> &[Value] {
        self.value
            .get(key)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }
}

/// The rule that decided, as far as this user may know of it.
fn rule(layout: &Layout, decision: &DecisionView, detail: &Detail) -> Option<Rule> {
    let number = u32::try_from(detail.value.get("rule")?.as_u64()?).ok()?;
    let index = number.checked_sub(1)?;
    let policy = agent_policy(layout, decision);
    Some(Rule {
        number,
        source: policies::lines(layout, &decision.policy).place(&decision.agent, index),
        text: policy.and_then(|policy| Some(policy.rules.get(index as usize)?.text.clone())),
    })
}

/// The agent's part of the policy that decided, where this user may read it.
fn agent_policy(layout: &Layout, decision: &DecisionView) -> Option<AgentPolicy> {
    let artifact = policies::artifact(layout, &decision.policy).ok()?;
    let mut agents = artifact.agents.into_iter();
    agents.find(|agent| agent.name == decision.agent || agent.name.is_empty())
}

fn part(traced: &[Traced], role: TraceRole) -> Option<&Found> {
    traced
        .iter()
        .find(|one| one.role == role)
        .map(|one| &one.found)
}

fn printed<'a>(
    found: &Found,
    decision: &'a DecisionView,
    detail: &Detail,
    rule: Option<Rule>,
    traced: &[Traced],
    indexed: bool,
) -> Result<Explained<'a>, Failure> {
    let related = |role| -> Result<Option<Related>, Failure> {
        let Some(found) = part(traced, role) else {
            return Ok(None);
        };
        Ok(Some(Related {
            seq: found.entry.seq,
            record: tail_raw(&found.entry.record, found.entry.seq)?,
        }))
    };
    let rows = |key: &str| detail.value.get(key).cloned().unwrap_or_default();
    Ok(Explained {
        seq: found.entry.seq,
        leaf_hash: hex(&tree::leaf_hash(&found.entry.record)),
        time: time(found.view.header.time.wall_ms),
        mode: RunMode::as_str(found.view.header.mode),
        agent: &decision.agent,
        tool: &decision.tool,
        session: decision.session.as_deref(),
        door: decision.door.as_str(),
        attested: decision.attested,
        effect: decision.effect.as_str(),
        would: decision.would.map(Effect::as_str),
        code: decision.code.map(Code::as_str),
        policy: digest_text(&decision.policy),
        rule,
        detail: detail.state,
        message: detail.text("message"),
        missing: detail.texts("missing"),
        redacted: detail.texts("redacted"),
        notify: detail.texts("notify"),
        args: detail.text("args"),
        inputs: rows("inputs"),
        effects: rows("effects"),
        in_force: related(TraceRole::InForce)?,
        session_start: related(TraceRole::SessionStart)?,
        outcome: related(TraceRole::Outcome)?,
        session_end: related(TraceRole::SessionEnd)?,
        source: if indexed { "index" } else { "scan" },
    })
}

fn people(
    found: &Found,
    decision: &DecisionView,
    detail: &Detail,
    rule: Option<&Rule>,
    traced: &[Traced],
    output: &Output,
) {
    output.line(line(found.entry.seq, &found.view, output));
    let say = |word: &str, text: &str| output.line(format!("  {word:<9} {text}"));
    match detail.state {
        "gone" => say(
            "detail",
            "was erased: rule, inputs and message are not known any more",
        ),
        "not_as_recorded" => say(
            "detail",
            &output.paint(
                Paint::Bad,
                "is NOT what the record commits to: run `faramesh audit verify`",
            ),
        ),
        _ => told(decision, detail, rule, &say, output),
    }
    say(
        "policy",
        &match part(traced, TraceRole::InForce).map(|found| &found.view.body) {
            Some(BodyView::Activation(activation)) if activation.digest == decision.policy => {
                format!(
                    "{} {}, {}",
                    activation.number,
                    digest_text(&decision.policy),
                    Untrusted(&activation.policy_mode)
                )
            }
            _ => format!(
                "{} (no activation record of it was found before)",
                digest_text(&decision.policy)
            ),
        },
    );
    for (word, role) in [
        ("session", TraceRole::SessionStart),
        ("outcome", TraceRole::Outcome),
        ("ended", TraceRole::SessionEnd),
    ] {
        if let Some(found) = part(traced, role) {
            say(
                word,
                line(found.entry.seq, &found.view, output).trim_start(),
            );
        }
    }
    if part(traced, TraceRole::Outcome).is_none() && decision.effect == Effect::Permit {
        say("outcome", "none was reported");
    }
}

/// What the detail says.
fn told(
    decision: &DecisionView,
    detail: &Detail,
    rule: Option<&Rule>,
    say: &dyn Fn(&str, &str),
    output: &Output,
) {
    if let Some(message) = detail.text("message").filter(|text| !text.is_empty()) {
        say("message", &Untrusted(&message).to_string());
    }
    match rule {
        None => say(
            "decided",
            "by no rule: the default, or what comes before rules",
        ),
        Some(rule) => {
            let place = match &rule.source {
                Some(place) => format!("by rule {}, {}", rule.number, Untrusted(place)),
                None => format!(
                    "by rule {} of `{}`",
                    rule.number,
                    Untrusted(&decision.agent)
                ),
            };
            say("decided", &place);
            if let Some(text) = &rule.text {
                say("", &Written(text).to_string());
            }
        }
    }
    for (word, key) in [("missing", "missing"), ("told", "notify")] {
        let all = detail.texts(key);
        if !all.is_empty() {
            say(word, &Untrusted(&all.join(", ")).to_string());
        }
    }
    if let Some(args) = detail.text("args") {
        say("arguments", &Written(&args).to_string());
    }
    let redacted = detail.texts("redacted");
    if !redacted.is_empty() {
        say("redacted", &Untrusted(&redacted.join(", ")).to_string());
    }
    for (index, input) in detail.rows("inputs").iter().enumerate() {
        let word = if index == 0 { "read" } else { "" };
        say(word, &input_line(input));
    }
    for (index, effect) in detail.rows("effects").iter().enumerate() {
        let text = |key: &str| effect.get(key).and_then(Value::as_str).unwrap_or("nothing");
        let word = if index == 0 { "counted" } else { "" };
        let counted = format!("{} in {}", text("add"), text("counter"));
        say(word, &Untrusted(&counted).to_string());
    }
    let _ = output;
}

/// One value that rules read, and of a hidden one what the tests of it came out as.
fn input_line(input: &Value) -> String {
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    let value = match text("value") {
        None => "absent".to_owned(),
        Some(REDACTED) => {
            let results = input.get("results").and_then(Value::as_array);
            let results: Vec<String> = results
                .into_iter()
                .flatten()
                .filter_map(|one| {
                    let test = one.get("test")?.as_u64()?;
                    Some(format!("test {test}: {}", one.get("result")?.as_str()?))
                })
                .collect();
            format!("hidden; {}", results.join(", "))
        }
        Some(value) => Written(value).to_string(),
    };
    let field = Written(text("field").unwrap_or_default()).to_string();
    let source = Untrusted(text("source").unwrap_or_default()).to_string();
    format!("{field:<FIELD_CHARS$}  {value}  ({source})")
}
