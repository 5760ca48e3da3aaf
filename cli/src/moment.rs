//! Moments as people give them on a command line.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::untrusted::Untrusted;
use jiff::{SignedDuration, Timestamp};

/// `2026-11-20T10:00:00Z`, with any offset, or how long ago: `24h`, `90m`, `3d`, or `@` and milliseconds since the Unix
/// epoch, as records have them. In those.
///
/// # Errors
/// It is neither.
pub fn parse(given: &str, now_ms: u64) -> Result<u64, Failure> {
    if let Some(exact) = given.strip_prefix('@').and_then(|ms| ms.parse().ok()) {
        return Ok(exact);
    }
    if let Some(ago) = ago(given) {
        return Ok(now_ms.saturating_sub(ago));
    }
    let moment: Option<Timestamp> = given.parse().ok();
    moment
        .and_then(|moment| u64::try_from(moment.as_millisecond()).ok())
        .ok_or_else(|| {
            Failure::usage(format!("`{}` is no moment", Untrusted(given)))
                .next("write `2026-11-20T10:00:00Z`, or how long ago: `24h`")
        })
}

/// Now, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// A duration in milliseconds; nothing where it is none or is negative.
fn ago(given: &str) -> Option<u64> {
    // Days are no exact unit elsewhere; of an audit they are 24 hours.
    let days = given
        .strip_suffix('d')
        .and_then(|days| days.parse::<u64>().ok());
    if let Some(days) = days {
        return days.checked_mul(24 * 60 * 60 * 1_000);
    }
    let duration: SignedDuration = given.parse().ok()?;
    u64::try_from(duration.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_stamp_or_how_long_ago() {
        let now = 1_800_000_000_000;
        for (given, ms) in [
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01T01:00:01+01:00", 1_000),
            ("@1700000000123", 1_700_000_000_123),
            ("24h", now - 86_400_000),
            ("1d", now - 86_400_000),
            ("90m", now - 5_400_000),
        ] {
            assert_eq!(parse(given, now).ok(), Some(ms), "{given}");
        }
        for given in [
            "",
            "yesterday",
            "12",
            "-3h",
            "2026-11-20",
            "2026-11-20T10:00",
        ] {
            assert!(parse(given, now).is_err(), "{given}");
        }
    }
}
