//! What a change means, for people: which calls are answered otherwise, each with one that shows it.
#![forbid(unsafe_code)]

use crate::output::{Output, Paint};
use crate::untrusted::{Untrusted, Written};
use faramesh_core::decision::Effect;
use faramesh_policy_compiler::compare::{
    AgentComparison, Comparison, Finding, Presence, Reach, Remark,
};
use std::borrow::Cow;

/// Findings of one agent that people are shown; programs get every one that was kept.
const FINDINGS_SHOWN: usize = 20;
/// Characters of a value that people are shown: some lines of a terminal.
const SHOWN_MAX: usize = 400;

/// Prints it; where nothing changes, that.
pub(super) fn print(comparison: &Comparison, output: &Output) {
    let every = [
        Reach::Wider,
        Reach::Undecided,
        Reach::Narrower,
        Reach::Neutral,
    ];
    if every.iter().all(|reach| comparison.count(*reach) == 0) {
        output.line("no call is answered otherwise");
        return;
    }
    output.line("what it means");
    for remark in &comparison.stack {
        output.line(format!("  {}", remark_line(remark, output)));
    }
    for agent in &comparison.agents {
        print_agent(agent, output);
    }
    let count = |reach| comparison.count(reach);
    output.line(format!(
        "{} wider, {} that cannot be decided, {} narrower",
        count(Reach::Wider),
        count(Reach::Undecided),
        count(Reach::Narrower)
    ));
}

fn print_agent(agent: &AgentComparison, output: &Output) {
    let name = match agent.name.as_str() {
        "" => "  every agent".to_owned(),
        name => format!("  agent \"{}\"", Untrusted(name)),
    };
    let word = match agent.change {
        Presence::Added => " (new: it had no calls before)",
        Presence::Removed => " (removed: every call of it is refused)",
        Presence::Stays => "",
    };
    output.line(format!("{name}{word}"));
    for remark in &agent.remarks {
        output.line(format!("    {}", remark_line(remark, output)));
    }
    for finding in agent.findings.iter().take(FINDINGS_SHOWN) {
        output.line(format!("    {}", finding_line(finding, output)));
    }
    let hidden = agent.findings.len().saturating_sub(FINDINGS_SHOWN) + agent.findings_left_out;
    if hidden > 0 {
        output.line(format!("    and {hidden} more; --format json has them"));
    }
}

fn remark_line(remark: &Remark, output: &Output) -> String {
    format!("{} {}", mark(remark.reach, output), Written(&remark.text))
}

fn mark(reach: Reach, output: &Output) -> String {
    match reach {
        Reach::Wider => output.paint(Paint::Bad, "wider:"),
        Reach::Undecided => output.paint(Paint::Caution, "cannot decide:"),
        Reach::Narrower => output.paint(Paint::Good, "narrower:"),
        Reach::Neutral => output.paint(Paint::Faint, "beside:"),
    }
}

fn finding_line(finding: &Finding, output: &Output) -> String {
    let mark = mark(finding.reach, output);
    let would = if finding.would { "would be " } else { "" };
    let Some(witness) = &finding.witness else {
        let why = finding.why.as_deref().unwrap_or_default();
        return format!(
            "{mark} {}: whether what was {} is now {would}{}: {}",
            Untrusted(&finding.tools),
            past(finding.before),
            past(finding.after),
            Written(why)
        );
    };
    let among = if finding.tools == witness.tool {
        String::new()
    } else {
        format!(" (one of {})", Untrusted(&finding.tools))
    };
    let given = witness
        .given
        .iter()
        .enumerate()
        .map(|(index, (field, value))| {
            let word = if index > 0 { "and" } else { "when" };
            match value.as_str() {
                "null" => format!(" {word} {} is absent", Written(field)),
                value => format!(
                    " {word} {} = {}",
                    Written(field),
                    Written(&shortened(value))
                ),
            }
        });
    format!(
        "{mark} now {would}{} (was {}): {} {}{}{among}",
        past(finding.after),
        past(finding.before),
        Untrusted(&witness.tool),
        Written(&shortened(&witness.arguments)),
        given.collect::<String>()
    )
}

/// A long value by its two ends: what makes a text too long to search is of no interest itself. JSON has it whole.
fn shortened(text: &str) -> Cow<'_, str> {
    let characters = text.chars().count();
    if characters <= SHOWN_MAX {
        return Cow::Borrowed(text);
    }
    let end = SHOWN_MAX / 4;
    let head: String = text.chars().take(SHOWN_MAX - end).collect();
    let tail: String = text.chars().skip(characters - end).collect();
    let left_out = characters - SHOWN_MAX;
    Cow::Owned(format!("{head} …{left_out} more… {tail}"))
}

const fn past(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permitted",
        Effect::Defer => "deferred",
        Effect::Deny => "denied",
    }
}
