//! The wall time in a zone, by counting days one by one. Two zones are enough: one without a summer, one with.

/// A part of the wall time: `hour`, `minute`, `weekday`, `day`, `month`, `year`, `now`.
pub(crate) fn part(name: &str, wall_ms: u64, zone: &str) -> i64 {
    let seconds = (wall_ms / 1_000) as i64;
    let local = seconds + offset(zone, seconds);
    let (days, in_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let (year, month, day) = date(days);
    match name {
        "hour" => in_day / 3_600,
        "minute" => in_day / 60 % 60,
        // The first of January 1970 was a Thursday, the fourth day.
        "weekday" => (days + 3).rem_euclid(7) + 1,
        "day" => day,
        "month" => month,
        "year" => year,
        "now" => seconds,
        other => unreachable!("time.{other}"),
    }
}

/// Seconds east of UTC. Summer in Berlin lasts from 01:00 UTC on the last Sunday of March to that hour on the last
/// Sunday of October; true since 1996.
fn offset(zone: &str, seconds: i64) -> i64 {
    match zone {
        "UTC" => 0,
        "Europe/Berlin" => {
            let (year, _, _) = date(seconds.div_euclid(86_400));
            let turn = |month| last_sunday(year, month) * 86_400 + 3_600;
            if (turn(3)..turn(10)).contains(&seconds) {
                7_200
            } else {
                3_600
            }
        }
        other => unreachable!("zone {other}"),
    }
}

fn last_sunday(year: i64, month: i64) -> i64 {
    let mut day = days_before(year) + (1..month).map(|m| month_days(year, m)).sum::<i64>();
    day += month_days(year, month) - 1;
    while (day + 3).rem_euclid(7) + 1 != 7 {
        day -= 1;
    }
    day
}

fn days_before(year: i64) -> i64 {
    (1970..year).map(year_days).sum()
}

fn date(mut days: i64) -> (i64, i64, i64) {
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn year_days(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[test]
fn the_twins_calendar_knows_days_that_others_know() {
    let at = |seconds: u64, zone: &str| {
        ["year", "month", "day", "weekday", "hour", "minute"]
            .map(|name| part(name, seconds * 1_000, zone))
    };
    assert_eq!(at(0, "UTC"), [1970, 1, 1, 4, 0, 0]);
    assert_eq!(at(1_709_164_800, "UTC"), [2024, 2, 29, 4, 0, 0]);
    // One second before and at the start of summer 2026, and at its end.
    assert_eq!(at(1_774_745_999, "Europe/Berlin"), [2026, 3, 29, 7, 1, 59]);
    assert_eq!(at(1_774_746_000, "Europe/Berlin"), [2026, 3, 29, 7, 3, 0]);
    assert_eq!(at(1_792_889_999, "Europe/Berlin"), [2026, 10, 25, 7, 2, 59]);
    assert_eq!(at(1_792_890_000, "Europe/Berlin"), [2026, 10, 25, 7, 2, 0]);
}
