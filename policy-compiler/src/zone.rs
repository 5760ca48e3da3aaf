//! Time zones to tables of transitions, from the database that is built in: the same on every host, and a decision needs
//! no database.

use faramesh_core::policy::artifact::Zone;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// 2020-01-01T00:00:00Z: no decision lies before.
const FIRST: i64 = 1_577_836_800;
/// 2050-01-01T00:00:00Z. Rules beyond are a guess, and a policy is compiled more often than that.
const LAST: i64 = 2_524_608_000;
/// Names farther away than this are no misspelling.
const EDITS_MAX: usize = 3;

/// The table of a zone by its name in the IANA database, in any case; `None`: there is none.
pub(crate) fn of(name: &str) -> Option<Zone> {
    if name == "UTC" {
        return Some(Zone::utc());
    }
    // The empty name and `Etc/Unknown` are words of the library, not zones.
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    let iana = zone
        .iana_name()
        .filter(|iana| iana.eq_ignore_ascii_case(name))?;
    let start = Timestamp::from_second(FIRST).ok()?;
    let offset = zone.to_offset(start).seconds();
    Some(Zone {
        name: iana.to_string(),
        offset,
        transitions: transitions(&zone, start, offset),
    })
}

fn transitions(zone: &TimeZone, start: Timestamp, offset: i32) -> Vec<(i64, i32)> {
    let mut last = offset;
    let mut transitions = Vec::new();
    for transition in zone.following(start) {
        let (at, offset) = (
            transition.timestamp().as_second(),
            transition.offset().seconds(),
        );
        if at >= LAST {
            break;
        }
        // Some change only the name of the time.
        if offset != last {
            transitions.push((at, offset));
            last = offset;
        }
    }
    transitions
}

/// The zone that a name nearly is, or whose city it is.
pub(crate) fn near(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase().replace(' ', "_");
    let database = TimeZoneDatabase::bundled();
    let distance = |known: &str| {
        let known = known.to_ascii_lowercase();
        let city = known.rsplit('/').next().unwrap_or(&known);
        strsim::osa_distance(&lower, &known).min(strsim::osa_distance(&lower, city))
    };
    if lower.len() > 64 {
        return None;
    }
    let mut names: Vec<String> = database
        .available()
        .map(|known| known.as_str().to_string())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|known| (distance(&known), known))
        .filter(|(edits, _)| *edits <= EDITS_MAX.min(lower.len() / 3))
        .min_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_the_transitions_that_change_its_offset() {
        let berlin = of("Europe/Berlin").unwrap();
        assert_eq!(
            (berlin.name.as_str(), berlin.offset),
            ("Europe/Berlin", 3_600)
        );
        // Two a year, thirty years; the first is 2020-03-29T01:00:00Z.
        assert_eq!(berlin.transitions.len(), 60);
        assert_eq!(berlin.transitions[0], (1_585_443_600, 7_200));
        assert!(berlin.transitions.is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(of("europe/BERLIN"), Some(berlin));
    }

    #[test]
    fn a_zone_without_summer_time_has_an_offset_and_no_transitions() {
        let kolkata = of("Asia/Kolkata").unwrap();
        assert_eq!((kolkata.offset, kolkata.transitions.len()), (19_800, 0));
        assert_eq!(of("UTC"), Some(Zone::utc()));
    }

    #[test]
    fn what_is_no_zone_is_none_and_a_misspelt_one_finds_its_neighbour() {
        for name in ["", "Europe/Berlim", "Berlin", "Etc/Unknown", "+02:00", "x"] {
            assert_eq!(of(name), None, "{name}");
        }
        assert_eq!(near("Europe/Berlim").as_deref(), Some("Europe/Berlin"));
        assert_eq!(near("berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(
            near("America/New York").as_deref(),
            Some("America/New_York")
        );
        assert_eq!(near("quux"), None);
    }
}
