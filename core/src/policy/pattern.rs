//! Which tools a pattern speaks of.
//!
//! A lone `*` is every tool. Otherwise `*` stands for one or more characters within a segment, and a trailing `/*` for
//! everything below. The same everywhere that a policy names tools.

use crate::call::{NameInvalid, TOOL_BYTES_MAX, check_name, check_segments};

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternInvalid {
    /// It could match no tool's name.
    #[error("pattern `{pattern}`: {source}")]
    Name {
        /// The pattern.
        pattern: String,
        /// What is wrong with it as a name.
        source: NameInvalid,
    },
    /// `**`.
    #[error("pattern `{pattern}`: `**` has no meaning; a trailing `/*` is everything below")]
    DoubleStar {
        /// The pattern.
        pattern: String,
    },
}

/// Checks a pattern: a tool's name in which `*` may stand.
///
/// # Errors
/// See [`PatternInvalid`].
pub fn check(pattern: &str) -> Result<(), PatternInvalid> {
    check_name(pattern, TOOL_BYTES_MAX, "_-.:/*")
        .and_then(|()| check_segments(pattern))
        .map_err(|source| PatternInvalid::Name {
            pattern: pattern.to_owned(),
            source,
        })?;
    if pattern.contains("**") {
        return Err(PatternInvalid::DoubleStar {
            pattern: pattern.to_owned(),
        });
    }
    Ok(())
}

/// Whether the pattern, which was checked, speaks of the tool. A path of a request is matched in the same way.
pub fn matches(pattern: &str, tool: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut asked = pattern.split('/').peekable();
    let mut given = tool.split('/');
    while let Some(segment) = asked.next() {
        match given.next() {
            None => return false,
            Some(name) if segment == "*" && asked.peek().is_none() => {
                return !name.is_empty() || given.next().is_some();
            }
            Some(name) if !segment_matches(segment, name) => return false,
            Some(_) => {}
        }
    }
    given.next().is_none()
}

/// Each part between stars is found as early as it can be, which leaves the most for those behind it.
fn segment_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        // The star before the part takes one character at least.
        let mut characters = rest.chars();
        let Some((_, after)) = characters
            .next()
            .and_then(|_| characters.as_str().split_once(part))
        else {
            return false;
        };
        rest = after;
    }
    rest.len() > last.len() && rest.ends_with(last)
}

/// Whether some tool may be spoken of by both patterns. It may say yes where there is none, and never no where there is.
pub fn may_meet(a: &str, b: &str) -> bool {
    if a == "*" || b == "*" {
        return true;
    }
    let below = |rest: &[&str]| rest == ["*"];
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('/').collect(), b.split('/').collect());
    let (mut a, mut b) = (a.as_slice(), b.as_slice());
    loop {
        match (a.split_first(), b.split_first()) {
            (None, None) => return true,
            (Some(_), Some(_)) if below(a) || below(b) => return true,
            (Some((first, rest)), Some((other, behind))) if segments_may_meet(first, other) => {
                (a, b) = (rest, behind);
            }
            _ => return false,
        }
    }
}

/// What stands before the first star of each, and behind the last, can be of one name.
fn segments_may_meet(a: &str, b: &str) -> bool {
    let ends = |text: &str| {
        let head = text.split('*').next().unwrap_or_default().to_owned();
        let tail = text.rsplit('*').next().unwrap_or_default().to_owned();
        (head, tail)
    };
    match (a.contains('*'), b.contains('*')) {
        (false, false) => a == b,
        (false, true) => segment_matches(b, a),
        (true, false) => segment_matches(a, b),
        (true, true) => {
            let ((a_head, a_tail), (b_head, b_tail)) = (ends(a), ends(b));
            let heads = a_head.starts_with(&b_head) || b_head.starts_with(&a_head);
            heads && (a_tail.ends_with(&b_tail) || b_tail.ends_with(&a_tail))
        }
    }
}

/// The segments at the head of a pattern that hold no star, if the pattern has one: every tool that it speaks of is
/// below them. `None`: the pattern is one tool's name.
pub(crate) fn literal_head(pattern: &str) -> Option<&str> {
    let star = pattern.find('*')?;
    let (head, _) = pattern.split_at_checked(star)?;
    Some(head.rsplit_once('/').map_or("", |(head, _)| head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_star_is_every_tool() {
        assert!(matches("*", "x") && matches("*", "a/b/c"));
    }

    #[test]
    fn a_trailing_star_segment_is_everything_below_and_not_the_thing_itself() {
        assert!(matches("stripe/*", "stripe/refund") && matches("stripe/*", "stripe/refund/now"));
        assert!(!matches("stripe/*", "stripe") && !matches("stripe/*", "stripes/refund"));
        assert!(matches("*/*", "a/b/c") && !matches("*/*", "a"));
    }

    #[test]
    fn a_star_within_a_segment_takes_one_character_or_more_and_no_slash() {
        assert!(matches("db/*_read", "db/user_read") && !matches("db/*_read", "db/_read"));
        assert!(
            !matches("db/*_read", "db/a/b_read")
                && !matches("db*", "db")
                && !matches("db*", "db/x")
        );
        assert!(
            matches("a/*/c", "a/b/c") && !matches("a/*/c", "a/b/b/c") && !matches("a/*/c", "a/c")
        );
        assert!(matches("*a*a", "xaxa") && matches("*a*a", "aaaa") && !matches("*a*a", "aaa"));
    }

    #[test]
    fn patterns_that_could_match_no_name_are_refused() {
        for pattern in [
            "",
            "/",
            "a//b",
            "a/",
            "a/**",
            "a b",
            "ä",
            "a/../*",
            "a\u{202e}",
        ] {
            assert!(check(pattern).is_err(), "{pattern:?}");
        }
        for pattern in ["*", "a/*", "*_read", "a/*/b", "mcp:x.y/z-1"] {
            assert_eq!(check(pattern), Ok(()), "{pattern:?}");
        }
    }

    #[test]
    fn patterns_meet_where_some_tool_is_spoken_of_by_both() {
        for (a, b) in [
            ("*", "a/b"),
            ("a/*", "a/b/c"),
            ("a/*", "*/b"),
            ("a/x*", "a/*y"),
            ("a/b", "a/b"),
            ("db/*_read", "db/user*"),
        ] {
            assert!(may_meet(a, b) && may_meet(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("a", "a/*"),
            ("a/b", "a/c"),
            ("a/x*", "a/y*"),
            ("a/*/c", "a/b"),
        ] {
            assert!(!may_meet(a, b) && !may_meet(b, a), "{a} {b}");
        }
    }

    #[test]
    fn the_literal_head_ends_before_the_first_starred_segment() {
        assert_eq!(literal_head("a/b"), None);
        assert_eq!(literal_head("*"), Some(""));
        assert_eq!(literal_head("a*/b"), Some(""));
        assert_eq!(literal_head("a/b/*"), Some("a/b"));
        assert_eq!(literal_head("a/b/c*d/e"), Some("a/b"));
    }
}
