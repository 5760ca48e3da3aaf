//! The wall time in a zone, in the proleptic Gregorian calendar. No database of zones: the artifact holds the table.

use crate::policy::artifact::{TimePart, Zone};

const DAY_SECONDS: i64 = 86_400;
/// Years after which the calendar repeats, and the days in them.
const CYCLE_YEARS: i64 = 400;
const CYCLE_DAYS: i64 = 146_097;
/// 1 January 1970 was a Thursday, the fourth day of its week.
const FIRST_WEEKDAY: i64 = 4;

/// One part of a moment's wall time.
pub(crate) fn part(part: TimePart, wall_ms: u64, zone: &Zone) -> i64 {
    // A u64 of milliseconds is an i64 of seconds.
    let seconds = i64::try_from(wall_ms / 1_000).unwrap_or(i64::MAX);
    let local = seconds.saturating_add(i64::from(offset(zone, seconds)));
    let (days, in_day) = (local.div_euclid(DAY_SECONDS), local.rem_euclid(DAY_SECONDS));
    match part {
        TimePart::Now => seconds,
        TimePart::Hour => in_day / 3_600,
        TimePart::Minute => in_day / 60 % 60,
        TimePart::Weekday => (days + FIRST_WEEKDAY - 1).rem_euclid(7) + 1,
        TimePart::Day => Date::of(days).day,
        TimePart::Month => Date::of(days).month,
        TimePart::Year => Date::of(days).year,
    }
}

/// Seconds east of UTC at that moment: what the last transition up to it says.
fn offset(zone: &Zone, seconds: i64) -> i32 {
    let passed = zone
        .transitions
        .partition_point(|(from, _)| *from <= seconds);
    let last = passed
        .checked_sub(1)
        .and_then(|last| zone.transitions.get(last));
    last.map_or(zone.offset, |(_, offset)| *offset)
}

struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date of a day, counted from 1 January 1970.
    fn of(days: i64) -> Date {
        let (cycle, mut rest) = (days.div_euclid(CYCLE_DAYS), days.rem_euclid(CYCLE_DAYS));
        // Too late by none or by one: leap days before it may not fill up a year.
        let mut year = rest / 365;
        if days_before(year) > rest {
            year -= 1;
        }
        rest -= days_before(year);
        let year = 1970 + cycle * CYCLE_YEARS + year;
        let mut month = 1;
        while rest >= month_days(year, month) {
            rest -= month_days(year, month);
            month += 1;
        }
        Date {
            year,
            month,
            day: rest + 1,
        }
    }
}

/// Days in that many years from 1970 on.
const fn days_before(years: i64) -> i64 {
    // Leap years from year 1 to the one before.
    const fn leaps(before: i64) -> i64 {
        let years = before - 1;
        years / 4 - years / 100 + years / 400
    }
    years * 365 + leaps(1970 + years) - leaps(1970)
}

const fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Zone {
        Zone {
            name: "Europe/Berlin".to_owned(),
            offset: 3_600,
            transitions: vec![(1_774_746_000, 7_200), (1_792_890_000, 3_600)],
        }
    }

    fn shown(seconds: u64, zone: &Zone) -> String {
        let of = |asked| part(asked, seconds * 1_000 + 999, zone);
        format!(
            "{}-{:02}-{:02} {:02}:{:02} day {}",
            of(TimePart::Year),
            of(TimePart::Month),
            of(TimePart::Day),
            of(TimePart::Hour),
            of(TimePart::Minute),
            of(TimePart::Weekday)
        )
    }

    #[test]
    fn days_that_everybody_knows_have_their_dates() {
        let utc = Zone::utc();
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 day 4"),
            (951_782_400, "2000-02-29 00:00 day 2"),
            (951_868_800, "2000-03-01 00:00 day 3"),
            (1_709_164_800, "2024-02-29 00:00 day 4"),
            (1_735_689_599, "2024-12-31 23:59 day 2"),
            (4_107_542_400, "2100-03-01 00:00 day 1"),
        ] {
            assert_eq!(shown(seconds, &utc), expected);
        }
        assert_eq!(part(TimePart::Now, 1_234_567, &utc), 1_234);
    }

    #[test]
    fn summer_begins_and_ends_at_its_second() {
        let zone = berlin();
        assert_eq!(shown(1_774_745_999, &zone), "2026-03-29 01:59 day 7");
        assert_eq!(shown(1_774_746_000, &zone), "2026-03-29 03:00 day 7");
        assert_eq!(shown(1_792_889_999, &zone), "2026-10-25 02:59 day 7");
        assert_eq!(shown(1_792_890_000, &zone), "2026-10-25 02:00 day 7");
    }

    #[test]
    fn every_day_of_five_centuries_follows_the_one_before() {
        let mut before = Date::of(-1);
        assert_eq!((before.year, before.month, before.day), (1969, 12, 31));
        for days in 0..182_622 {
            let date = Date::of(days);
            let next_day =
                (date.year, date.month, date.day) == (before.year, before.month, before.day + 1);
            let ended = before.day == month_days(before.year, before.month);
            let next_month =
                (date.year, date.month, date.day) == (before.year, before.month + 1, 1);
            let next_year =
                before.month == 12 && (date.year, date.month, date.day) == (before.year + 1, 1, 1);
            assert!(
                if ended {
                    next_month || next_year
                } else {
                    next_day
                },
                "day {days}"
            );
            before = date;
        }
    }

    #[test]
    fn the_last_moment_that_a_clock_can_show_has_a_date() {
        let zone = berlin();
        for asked in TimePart::ALL {
            assert!(part(asked, u64::MAX, &zone) >= 0);
        }
    }
}
