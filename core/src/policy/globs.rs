//! Texts against globs, in the three ways in which a policy reads a `*`.

use crate::policy::artifact::Glob;
use crate::policy::pattern;

/// Whether the glob speaks of the text.
pub(crate) fn matches(glob: Glob, pattern: &str, text: &str) -> bool {
    match glob {
        Glob::Host => host(pattern, text),
        Glob::Path => pattern::matches(pattern, text),
        Glob::Text => self::text(pattern, text),
    }
}

/// How many parts a glob is taken apart into, at stars and slashes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// Those that take something of a text.
    pub(crate) filled: usize,
    /// The others: between two stars.
    pub(crate) empty: usize,
}

/// Counted once for all texts that are put to the glob.
pub(crate) fn parts(pattern: &str) -> Parts {
    let (mut filled, mut empty, mut since) = (0, 0, 0_usize);
    for byte in pattern.bytes() {
        since = match byte {
            b'*' | b'/' if since == 0 => {
                empty += 1;
                0
            }
            b'*' | b'/' => {
                filled += 1;
                0
            }
            _ => since + 1,
        };
    }
    Parts { filled, empty }
}

/// `*.example.com` is everything below `example.com` and not the domain itself; a lone `*` is every host.
fn host(pattern: &str, host: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let Some(domain) = pattern.strip_prefix("*.") else {
        return pattern.eq_ignore_ascii_case(host);
    };
    let below = host
        .len()
        .checked_sub(domain.len())
        .and_then(|at| host.split_at_checked(at));
    let Some((below, end)) = below else {
        return false;
    };
    end.eq_ignore_ascii_case(domain)
        && below
            .strip_suffix('.')
            .is_some_and(|labels| labels.split('.').all(|label| !label.is_empty()))
}

/// A star is any characters, none too: each part between stars is found as early as it can be.
pub(crate) fn text(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starred_host_is_every_host_below_in_letters_of_either_case() {
        for (pattern, asked, speaks) in [
            ("*", "anything", true),
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.Example.COM", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a..example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.ä.com", "é.com", false),
        ] {
            assert_eq!(host(pattern, asked), speaks, "{pattern} {asked}");
        }
    }

    #[test]
    fn a_star_in_a_text_is_any_characters_and_none() {
        for (pattern, asked, speaks) in [
            ("*", "", true),
            ("a*c", "ac", true),
            ("a*c", "a/ü/c", true),
            ("a*c", "acd", false),
            ("aba*ba", "aba", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "ba", false),
            ("plain", "plain", true),
            ("plain", "plainer", false),
        ] {
            assert_eq!(text(pattern, asked), speaks, "{pattern} {asked}");
        }
    }

    #[test]
    fn a_path_is_read_as_a_tool_is_and_its_letters_may_be_any() {
        for (pattern, asked, speaks) in [
            ("/v1/*", "/v1/a/b", true),
            ("/v1/*", "/v1/", false),
            ("/v1/*", "/v1//", true),
            ("/v1/*", "/v1", false),
            ("/v1/*/x", "/v1/ü/x", true),
            ("/v1/*ü", "/v1/ü", false),
            ("/v1/*ü", "/v1/öü", true),
            ("/*é*é", "/éé", false),
            ("/*é*é", "/ééé", false),
            ("/*é*é", "/aéaé", true),
            ("/*é*é", "/éééé", true),
        ] {
            assert_eq!(
                matches(Glob::Path, pattern, asked),
                speaks,
                "{pattern} {asked}"
            );
        }
    }
}
