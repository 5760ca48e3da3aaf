//! `faramesh audit`: read and prove the journal.
#![forbid(unsafe_code)]

pub mod verify;

pub mod tail;

pub mod show;

pub mod prove;

pub mod replay;

pub mod export;

pub mod erase;

pub mod ls;

pub mod stats;

pub mod trace;

pub mod abandon;

pub(in crate::commands) use tail::raw as tail_raw;

use crate::output::{Output, Paint};
use crate::untrusted::Untrusted;
use faramesh_core::decision::Effect;
use faramesh_core::record::{BodyView, DecisionView, Door, LogEvent, RecordView, RunMode};

/// One record in one line, for people. Everything in it that an agent may have written is escaped.
pub(in crate::commands) fn line(seq: u64, view: &RecordView, output: &Output) -> String {
    let time = time(view.header.time.wall_ms);
    let mode = match view.header.mode {
        RunMode::Enforced => "",
        RunMode::Development => " [development]",
    };
    format!("{seq:>8}  {time}{mode}  {}", what(&view.body, output))
}

fn what(body: &BodyView, output: &Output) -> String {
    match body {
        BodyView::Decision(decision) => verdict(decision, output),
        BodyView::Start(start) => format!("start {} pid {}", Untrusted(&start.version), start.pid),
        BodyView::Stop { reason } => format!("stop: {}", Untrusted(reason)),
        BodyView::Activation(a) => {
            format!(
                "activation {} {} {}",
                a.number,
                crate::policies::digest_text(&a.digest),
                Untrusted(&a.policy_mode)
            )
        }
        BodyView::Outcome(outcome) => format!(
            "outcome of {}: {} {}",
            outcome.of,
            Untrusted(&outcome.status),
            Untrusted(&outcome.detail)
        ),
        BodyView::SessionStart(session) => {
            let command = session.command.join(" ");
            format!(
                "session {} of {} uid {}: {}",
                Untrusted(&session.session),
                Untrusted(&session.agent),
                session.uid,
                Untrusted(&command)
            )
        }
        BodyView::SessionEnd {
            session,
            reason,
            calls,
        } => {
            format!(
                "session {} ended after {calls} calls: {}",
                Untrusted(session),
                Untrusted(reason)
            )
        }
        BodyView::Dropped { counts } => {
            let text: Vec<String> = counts
                .iter()
                .map(|(session, code, n)| dropped(session, code, n.to_string()))
                .collect();
            text.join("; ")
        }
        BodyView::ClockStep { step_ms } => format!("the clock was set by {step_ms} ms"),
        BodyView::Log(event) => about_the_log(event),
    }
}

/// What happened, without colour, for forms that are no terminal. Escaped like the line for people.
pub(super) fn plain(body: &BodyView, output: &Output) -> String {
    what(body, &output.without_colour())
}

/// The word that a record has as its `kind`.
pub(super) const fn kind(body: &BodyView) -> &'static str {
    match body {
        BodyView::Start(_) => "start",
        BodyView::Stop { .. } => "stop",
        BodyView::Activation(_) => "activation",
        BodyView::Decision(_) => "decision",
        BodyView::Outcome(_) => "outcome",
        BodyView::SessionStart(_) => "session_start",
        BodyView::SessionEnd { .. } => "session_end",
        BodyView::Dropped { .. } => "dropped",
        BodyView::ClockStep { .. } => "clock_step",
        BodyView::Log(event) => event.kind(),
    }
}

fn about_the_log(event: &LogEvent) -> String {
    match event {
        LogEvent::Heartbeat => "nothing happened".to_owned(),
        LogEvent::Epoch(epoch) => format!("epoch {} of the log key begins", epoch.number),
        LogEvent::Snapshot(snapshot) => {
            format!(
                "the state after {} records was written to a file",
                snapshot.size
            )
        }
        LogEvent::Removal(removal) => format!(
            "records {} to {} are removed, their hashes stay: {}",
            removal.from,
            removal.to.saturating_sub(1),
            Untrusted(&removal.reason)
        ),
        LogEvent::Erasure(erasure) => {
            let records = erasure.spans.iter().map(|(first, last)| last - first + 1);
            format!(
                "the details of {} records are erased by uid {}: {}",
                records.sum::<u64>(),
                erasure.uid,
                Untrusted(&erasure.reason)
            )
        }
        LogEvent::Attestation(attestation) => format!(
            "{} records are attested by {}",
            attestation.size,
            Untrusted(&attestation.witnesses.join(", "))
        ),
        LogEvent::Gap(gap) => format!(
            "{} records that the signer had confirmed are lost, by uid {}: {}",
            gap.confirmed.saturating_sub(gap.kept),
            gap.uid,
            Untrusted(&gap.reason)
        ),
    }
}

/// Calls that were refused before a decision, and only counted.
fn dropped(session: &str, code: &str, calls: String) -> String {
    let calls = match calls.as_str() {
        "1" => "1 call".to_owned(),
        _ => format!("{calls} calls"),
    };
    let whose = match session {
        "" | "-" => "without a session".to_owned(),
        session => format!("of session {}", Untrusted(session)),
    };
    format!(
        "{calls} {whose} refused before a decision: {}",
        Untrusted(code)
    )
}

fn verdict(decision: &DecisionView, output: &Output) -> String {
    let paint = match decision.effect {
        Effect::Permit => Paint::Good,
        Effect::Defer => Paint::Caution,
        Effect::Deny => Paint::Bad,
    };
    let mut text = format!(
        "{} {} {}",
        output.paint(
            paint,
            &format!("{:6}", decision.effect.as_str().to_uppercase())
        ),
        Untrusted(&decision.agent),
        Untrusted(&decision.tool)
    );
    if let Some(code) = decision.code {
        text.push_str(&format!(" {}", code.as_str()));
    }
    if let Some(would) = decision.would {
        text.push_str(&format!(" (enforcing: {})", would.as_str()));
    }
    if decision.door == Door::Probe {
        text.push_str(" (probe: nothing performed)");
    }
    if !decision.attested {
        text.push_str(" (not attested)");
    }
    text
}

/// Wall time as people and programs read it: UTC, to the millisecond.
pub(in crate::commands) fn time(wall_ms: u64) -> String {
    i64::try_from(wall_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || format!("{wall_ms} ms"),
            |time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        )
}
