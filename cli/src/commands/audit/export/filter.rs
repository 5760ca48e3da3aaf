//! Which records are asked for.
#![forbid(unsafe_code)]

use crate::args::{ExportArgs, ExportEffect};
use crate::failure::Failure;
use faramesh_core::decision::Effect;
use faramesh_core::policy::pattern;
use faramesh_core::record::{BodyView, RecordView};
use jiff::{SignedDuration, Timestamp};

/// A question about records. Time is the wall clock's of each record; the journal's order stays what it is.
pub(super) struct Filter {
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    from: u64,
    to: u64,
    agent: Option<String>,
    tool: Option<String>,
    effect: Option<Effect>,
}

impl Filter {
    /// As it was typed.
    pub(super) fn of(args: &ExportArgs) -> Result<Filter, Failure> {
        if let Some(tool) = &args.tool {
            pattern::check(tool).map_err(|e| Failure::usage(format!("--tool: {e}")))?;
        }
        let now = Timestamp::now();
        let moment = |flag: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| moment(flag, text, now))
                .transpose()
        };
        Ok(Filter {
            since_ms: moment("--since", &args.since)?,
            until_ms: moment("--until", &args.until)?,
            from: args.from.unwrap_or(0),
            to: args.to.unwrap_or(u64::MAX),
            agent: args.agent.clone(),
            tool: args.tool.clone(),
            effect: args.effect.map(|effect| match effect {
                ExportEffect::Permit => Effect::Permit,
                ExportEffect::Defer => Effect::Defer,
                ExportEffect::Deny => Effect::Deny,
            }),
        })
    }

    /// Whether the number alone does not rule it out.
    pub(super) const fn wants_number(&self, seq: u64) -> bool {
        self.from <= seq && seq <= self.to
    }

    /// Whether the record is asked for.
    pub(super) fn wants(&self, view: &RecordView) -> bool {
        let wall_ms = view.header.time.wall_ms;
        if self.since_ms.is_some_and(|since| wall_ms < since)
            || self.until_ms.is_some_and(|until| wall_ms >= until)
        {
            return false;
        }
        let agent = |name: &str| self.agent.as_deref().is_none_or(|asked| asked == name);
        match &view.body {
            BodyView::Decision(decision) => {
                agent(&decision.agent)
                    && self.effect.is_none_or(|effect| effect == decision.effect)
                    && self
                        .tool
                        .as_deref()
                        .is_none_or(|tool| pattern::matches(tool, &decision.tool))
            }
            BodyView::SessionStart(session) => {
                agent(&session.agent) && self.effect.is_none() && self.tool.is_none()
            }
            _ => self.agent.is_none() && self.effect.is_none() && self.tool.is_none(),
        }
    }
}

/// A moment in milliseconds since the Unix epoch: RFC 3339, a date in UTC, or a number of m, h, d or w ago.
fn moment(flag: &str, text: &str, now: Timestamp) -> Result<u64, Failure> {
    let time = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            // A text with a time and no zone is no date: it would be read as something that nobody wrote.
            let whole = text.len() == "2026-11-20".len();
            let midnight = date.to_datetime(jiff::civil::Time::midnight());
            whole.then(|| jiff::tz::Offset::UTC.to_timestamp(midnight).ok())?
        })
        .or_else(|| now.checked_sub(ago(text)?).ok());
    time.and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .ok_or_else(|| {
            Failure::usage(format!("{flag}: `{text}` is no moment")).next(
                "write 2026-11-20T08:00:00Z (or with another offset), 2026-11-20, or 24h, 7d, 4w for so long ago",
            )
        })
}

fn ago(text: &str) -> Option<SignedDuration> {
    let seconds = match text.chars().next_back()? {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number: i64 = text.get(..text.len() - 1)?.parse().ok()?;
    let whole = number.checked_mul(seconds)?;
    (number >= 0).then(|| SignedDuration::from_secs(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<u64, Failure> {
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        moment("--since", text, now)
    }

    #[test]
    fn a_moment_is_written_in_three_ways_and_a_time_without_zone_is_refused() {
        let noon = 1_795_176_000_000;
        assert_eq!(at("2026-11-20T12:00:00Z"), Ok(noon));
        assert_eq!(at("2026-11-20T13:00:00.000+01:00"), Ok(noon));
        assert_eq!(at("2026-11-20"), Ok(noon - 12 * 3_600_000));
        assert_eq!(at("24h"), Ok(noon - 24 * 3_600_000));
        assert_eq!(at("1d"), at("24h"));
        assert_eq!(at("2w"), at("14d"));
        for wrong in [
            "",
            "soon",
            "2026-11-20T12:00:00",
            "-1d",
            "1y",
            "99999999999999999d",
            "d",
        ] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
