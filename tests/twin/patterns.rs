//! Patterns, character by character, every split tried.

/// Which tools a pattern speaks of: a lone `*` is every tool; otherwise `*` stands for one or more characters within a
/// segment, and a trailing `/*` for everything below.
pub(crate) fn tool(pattern: &str, name: &str) -> bool {
    pattern == "*" || path(pattern, name)
}

/// The same for paths of requests, where a lone `*` is one segment like any other star.
pub(crate) fn path(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    if let Some(head) = pattern.strip_suffix("/*") {
        let head: Vec<char> = head.chars().collect();
        // Everything below: some slash, the head before it, something behind it.
        return (0..name.len())
            .any(|at| name[at] == '/' && at + 1 < name.len() && one_or_more(&head, &name[..at]));
    }
    one_or_more(&pattern.chars().collect::<Vec<_>>(), &name)
}

fn one_or_more(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            // One character that is no slash, then one more for this star or what follows it.
            let Some((first, behind)) = text.split_first() else {
                return false;
            };
            *first != '/' && (one_or_more(rest, behind) || one_or_more(pattern, behind))
        }
        ([p, rest @ ..], [t, behind @ ..]) => p == t && one_or_more(rest, behind),
        _ => false,
    }
}

/// Hosts: `*.example.com` is one or more labels below `example.com`; letters of either case are the same; a lone `*` is
/// every host.
pub(crate) fn host(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    let labels = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (wanted, found) = (labels(&pattern), labels(&host));
    match wanted.split_first() {
        _ if pattern == "*" => true,
        Some((first, domain)) if first == "*" => {
            found.len() > domain.len()
                && found.ends_with(domain)
                && found[..found.len() - domain.len()]
                    .iter()
                    .all(|label| !label.is_empty())
        }
        _ => pattern == host,
    }
}

/// Any characters, none too.
pub(crate) fn text(pattern: &str, text: &str) -> bool {
    fn go(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                go(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(_, text)| go(pattern, text))
            }
            ([p, rest @ ..], [t, behind @ ..]) => p == t && go(rest, behind),
            _ => false,
        }
    }
    go(
        &pattern.chars().collect::<Vec<_>>(),
        &text.chars().collect::<Vec<_>>(),
    )
}

#[test]
fn the_twins_patterns_read_as_the_page_says() {
    for (pattern, name, speaks) in [
        ("*", "stripe/refund/now", true),
        ("stripe/*", "stripe/refund", true),
        ("stripe/*", "stripe/refund/now", true),
        ("stripe/*", "stripe", false),
        ("db/*_read", "db/user_read", true),
        ("db/*_read", "db/_read", false),
        ("db/*_read", "db/a/b_read", false),
        ("*/refund", "stripe/refund", true),
        ("*/refund", "refund", false),
        ("a*b*c", "abbc", false),
        ("a*b*c", "axbxc", true),
    ] {
        assert_eq!(tool(pattern, name), speaks, "{pattern} {name}");
    }
    assert!(text("*", "") && text("a*c", "ac") && text("a*c", "a/b/c") && !text("a*c", "acd"));
}
