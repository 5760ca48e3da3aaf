//! What a session remembers: the whole list of what was decided, gone through each time.

use crate::facts::Moment;
use crate::json::Json;
use crate::number::Number;
use crate::patterns;
use crate::tree::Expr;
use faramesh_core::decision::Effect;
use std::collections::BTreeMap;

/// Bytes of a summand in plain form: a longer one, or one that needs an exponent, is as good as absent.
const SUMMAND_BYTES_MAX: usize = 64;

/// A session with everything that happened in it; or all callers outside any session, who count as one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    /// Whether it is one; the others began with the daemon.
    pub(crate) attested: bool,
    pub(crate) began: Moment,
    pub(crate) past: Vec<Past>,
    /// Layers that were measured at its launch, and whether they hold.
    pub(crate) measured: BTreeMap<String, bool>,
    /// Where relative paths start.
    pub(crate) workspace: Option<String>,
}

/// A call that was decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Past {
    pub(crate) at: Moment,
    pub(crate) tool: String,
    pub(crate) args: Json,
    /// What was answered: a shadowed denial is a permit.
    pub(crate) effect: Effect,
}

impl Session {
    /// `session.call_count` and the like.
    pub(crate) fn part(&self, name: &str, now: Moment) -> Option<Json> {
        let number = |value: u64| Some(Json::Number(Number::whole(value as i64)));
        match name {
            "call_count" => number(self.past.len() as u64),
            "duration" => number(now.boot_ms.saturating_sub(self.began.boot_ms) / 1_000),
            // Nothing of this version reports what a call costs.
            _ => None,
        }
    }

    /// Whether a layer holds: every part of it that was measured does, and some was.
    pub(crate) fn holds(&self, layer: &str) -> Option<bool> {
        let below = format!("{layer}.");
        let mut parts = self
            .measured
            .iter()
            .filter(|(name, _)| *name == layer || name.starts_with(&below))
            .map(|(_, holds)| *holds)
            .peekable();
        parts.peek()?;
        Some(parts.all(|holds| holds))
    }

    /// What lies in [now − window, now) by the boot clock; all of it, where no window is given.
    fn within(&self, window_ms: Option<u64>, now: Moment) -> impl Iterator<Item = &Past> {
        self.past.iter().filter(move |past| match window_ms {
            None => true,
            Some(window) => past.at.boot_ms + window >= now.boot_ms,
        })
    }

    fn permits(&self, tool: &str, window_ms: Option<u64>, now: Moment) -> Vec<&Past> {
        self.within(window_ms, now)
            .filter(|past| past.effect == Effect::Permit && patterns::tool(tool, &past.tool))
            .collect()
    }
}

/// The value of a sum or a count.
pub(crate) fn value(session: &Session, expr: &Expr, now: Moment) -> Option<Number> {
    match expr {
        Expr::Count { tool, window_ms } => {
            let count = session.permits(tool, *window_ms, now).len();
            Some(Number::whole(count as i64))
        }
        Expr::Denials { window_ms } => {
            let denials = session
                .within(*window_ms, now)
                .filter(|past| past.effect == Effect::Deny);
            Some(Number::whole(denials.count() as i64))
        }
        Expr::Sum {
            tool,
            path,
            window_ms,
        } => {
            // A contribution that was absent, no number or below zero makes the whole unknown.
            let mut sum = Number::whole(0);
            for past in session.permits(tool, *window_ms, now) {
                let Some(Json::Number(number)) = past.args.at(path) else {
                    return None;
                };
                if number
                    .plain()
                    .is_none_or(|text| text.len() > SUMMAND_BYTES_MAX || text.starts_with('-'))
                {
                    return None;
                }
                sum = sum.plus(number);
            }
            sum.within_limits().then_some(sum)
        }
        _ => None,
    }
}
