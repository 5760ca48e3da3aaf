//! Which days there are: parts of a date are no free choice beside each other.
//!
//! A class of a part stands for many of its values: all days from 30 on, say. So whether classes fit together is asked of
//! everything that they stand for, and the answer is one day. Of years only their kind counts: leap or not, and the
//! weekday on which it begins.

use super::values::Candidate;
use faramesh_core::policy::artifact::TimePart;

/// The parts that make a date, in the order of [`Day`].
pub(super) const PARTS: [TimePart; 4] = [
    TimePart::Year,
    TimePart::Month,
    TimePart::Day,
    TimePart::Weekday,
];

/// Year, month, day, and weekday with Monday as 1.
pub(super) type Day = [i64; 4];

/// What each part may be; `None`: anything.
pub(super) type Parts<'p> = [Option<&'p [i64]>; 4];

/// Every way in which leap years and weekdays meet lies within each so many years, the years around one that is not
/// leap because its century begins included.
const CYCLE_YEARS: i64 = 60;
/// A whole round of the calendar, and the years that it begins in.
const ROUND: std::ops::RangeInclusive<i64> = 1970..=2400;
/// Years that a clock may show.
const YEARS: std::ops::RangeInclusive<i64> = 1970..=9999;

/// Years that are told apart where a test names these bounds: the present one first.
pub(super) fn years(bounds: impl Iterator<Item = i64>) -> Vec<Candidate> {
    let mut years: Vec<i64> = vec![2026];
    years.extend(ROUND);
    for bound in bounds {
        let around = bound.saturating_sub(CYCLE_YEARS)..=bound.saturating_add(CYCLE_YEARS);
        years.extend(around.filter(|year| YEARS.contains(year)));
    }
    years
        .into_iter()
        .map(|year| Candidate::of(year.to_string()))
        .collect()
}

/// Adds a value to what a class stands for; of years, one of each kind.
pub(super) fn add(part: TimePart, members: &mut Vec<i64>, value: i64) {
    let kind = |value: i64| match part {
        TimePart::Year => (days_of(value, 2), weekday_of(value, 1, 1)),
        _ => (value, 0),
    };
    if !members.iter().any(|known| kind(*known) == kind(value)) {
        members.push(value);
    }
}

/// A day that has these parts.
pub(super) fn some_day([years, months, days, weekdays]: Parts<'_>) -> Option<Day> {
    // Every way in which leap years and weekdays can meet.
    let any_years: Vec<i64> = (2000..2028).collect();
    let any: Vec<i64> = (1..=31).collect();
    let any_months: Vec<i64> = (1..=12).collect();
    for year in years.unwrap_or(&any_years) {
        for month in months.unwrap_or(&any_months) {
            for day in days.unwrap_or(&any) {
                let weekday = weekday_of(*year, *month, *day);
                if *day <= days_of(*year, *month)
                    && weekdays.is_none_or(|weekdays| weekdays.contains(&weekday))
                {
                    return Some([*year, *month, *day, weekday]);
                }
            }
        }
    }
    None
}

pub(super) const fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since Monday, 1 January 1, by counting leap days; then the place in the week, Monday 1.
pub(super) fn weekday_of(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let of_years = before * 365 + before / 4 - before / 100 + before / 400;
    let of_months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    (of_years + of_months + day - 1).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_day(year: Option<i64>, month: i64, day: i64, weekday: Option<i64>) -> bool {
        let one = |value: &Option<i64>| value.map(|value| vec![value]);
        let (year, weekday) = (one(&year), one(&weekday));
        some_day([
            year.as_deref(),
            Some(&[month]),
            Some(&[day]),
            weekday.as_deref(),
        ])
        .is_some()
    }

    #[test]
    fn a_day_that_no_calendar_has_is_none() {
        assert!(is_day(None, 2, 29, None));
        assert!(!is_day(Some(2026), 2, 29, None));
        assert!(!is_day(None, 2, 30, None));
        // 20 November 2026 is a Friday.
        assert!(is_day(Some(2026), 11, 20, Some(5)));
        assert!(!is_day(Some(2026), 11, 20, Some(6)));
        assert!(is_day(None, 11, 20, Some(6)));
    }

    #[test]
    fn parts_that_stand_for_several_values_fit_where_some_of_them_do() {
        let found = some_day([None, Some(&[2, 3]), Some(&[30, 31]), None]);
        assert_eq!(found.map(|[_, month, day, _]| (month, day)), Some((3, 30)));
        assert_eq!(some_day([None, Some(&[2]), Some(&[30, 31]), None]), None);
        let mut kinds = Vec::new();
        for year in ROUND {
            add(TimePart::Year, &mut kinds, year);
        }
        assert_eq!(kinds.len(), 14);
    }
}
