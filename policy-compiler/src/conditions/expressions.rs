//! Regular expressions: whether one compiles within its limits, and whether any text at all can match it.

use faramesh_core::policy::artifact::{self, EXPRESSION_BYTES_MAX};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Why an expression is refused, in one line: the engine's words, or ours.
pub(super) fn fault(source: &str) -> Option<String> {
    if source.len() > EXPRESSION_BYTES_MAX {
        return Some(format!("longer than {EXPRESSION_BYTES_MAX} bytes"));
    }
    match artifact::compile_expression("", source) {
        Ok(_) => None,
        Err(artifact::ArtifactInvalid::Content {
            fault: artifact::Fault::Expression { source, .. },
            ..
        }) => {
            let text = source.to_string();
            let last = text
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("");
            Some(
                last.trim()
                    .trim_start_matches("error: ")
                    .to_ascii_lowercase(),
            )
        }
        Err(other) => Some(other.to_string()),
    }
}

/// Why no text can match an expression that compiles; `None` where some may.
pub(super) fn emptiness(source: &str) -> Option<&'static str> {
    let hir = regex_syntax::parse(source).ok()?;
    if way(&hir).from(START | WITHIN) != NOWHERE {
        return None;
    }
    let anchors = hir.properties().look_set();
    Some(
        match (anchors.contains(Look::Start), anchors.contains(Look::End)) {
            (true, false) => "`^` is the start of the text, and something stands before it",
            (false, true) => "`$` is the end of the text, and something stands behind it",
            (true, true) => "its `^` and `$` exclude each other",
            (false, false) => "it has a class that holds no character",
        },
    )
}

/// Where in a text a search may stand, as a set of bits: at its start or within it, and whether the text ends here.
type Places = u8;
const NOWHERE: Places = 0;
const START: Places = 1;
const WITHIN: Places = 2;
const START_AND_END: Places = 4;
const END: Places = 8;
const EACH: [Places; 4] = [START, WITHIN, START_AND_END, END];

/// What an expression makes of each place. Worked out once for each part, so that nesting costs nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way([Places; 4]);

impl Way {
    const STAY: Way = Way(EACH);
    const BLOCKED: Way = Way([NOWHERE; 4]);
    /// Over one character: what was told to end has none.
    const ADVANCE: Way = Way([WITHIN, WITHIN, NOWHERE, NOWHERE]);
    const AT_START: Way = Way([START, NOWHERE, START_AND_END, NOWHERE]);
    const AT_END: Way = Way([START_AND_END, END, START_AND_END, END]);

    fn from(self, places: Places) -> Places {
        EACH.iter()
            .zip(self.0)
            .filter(|(one, _)| places & **one != 0)
            .fold(NOWHERE, |all, (_, to)| all | to)
    }

    fn then(self, next: Way) -> Way {
        Way(self.0.map(|places| next.from(places)))
    }

    fn or(mut self, other: Way) -> Way {
        for (places, more) in self.0.iter_mut().zip(other.0) {
            *places |= more;
        }
        self
    }
}

/// The depth of the tree is bounded by the parser of expressions.
fn way(hir: &Hir) -> Way {
    match hir.kind() {
        HirKind::Empty => Way::STAY,
        HirKind::Literal(literal) if literal.0.is_empty() => Way::STAY,
        HirKind::Literal(_) => Way::ADVANCE,
        HirKind::Class(class) if is_empty(class) => Way::BLOCKED,
        HirKind::Class(_) => Way::ADVANCE,
        HirKind::Look(Look::Start) => Way::AT_START,
        HirKind::Look(Look::End) => Way::AT_END,
        // Lines and words: whether they hold depends on the text.
        HirKind::Look(_) => Way::STAY,
        HirKind::Capture(capture) => way(&capture.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .fold(Way::STAY, |before, part| before.then(way(part))),
        HirKind::Alternation(parts) => parts
            .iter()
            .fold(Way::BLOCKED, |others, part| others.or(way(part))),
        HirKind::Repetition(repetition) => {
            // Two rounds reach every place that any number of them reaches: the first leaves the start, the second
            // stays within.
            let once = way(&repetition.sub);
            let twice = once.then(once);
            match (repetition.min, repetition.max) {
                (0, Some(0)) => Way::STAY,
                (0, Some(1)) => Way::STAY.or(once),
                (0, _) => Way::STAY.or(once).or(twice),
                (1, Some(1)) => once,
                (1, _) => once.or(twice),
                (_, _) => twice,
            }
        }
    }
}

fn is_empty(class: &Class) -> bool {
    match class {
        Class::Unicode(class) => class.ranges().is_empty(),
        Class::Bytes(class) => class.ranges().is_empty(),
    }
}

/// Whether an expression that compiles matches the empty text at the start, or at the end, of every text: it then finds
/// something in all of them. It may say no where it does, and never yes where it does not.
pub(super) fn is_everywhere(pattern: &str) -> bool {
    regex_syntax::parse(pattern).is_ok_and(|parsed| {
        is_nothing(&parsed, &[Look::Start, Look::StartLF, Look::StartCRLF])
            || is_nothing(&parsed, &[Look::End, Look::EndLF, Look::EndCRLF])
    })
}

/// Whether it matches the empty text at a place where these looks hold.
fn is_nothing(hir: &Hir, holds: &[Look]) -> bool {
    match hir.kind() {
        HirKind::Empty => true,
        HirKind::Literal(_) | HirKind::Class(_) => false,
        HirKind::Look(look) => holds.contains(look),
        HirKind::Capture(capture) => is_nothing(&capture.sub, holds),
        HirKind::Repetition(repetition) => {
            repetition.min == 0 || is_nothing(&repetition.sub, holds)
        }
        HirKind::Concat(parts) => parts.iter().all(|part| is_nothing(part, holds)),
        HirKind::Alternation(parts) => parts.iter().any(|part| is_nothing(part, holds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_every_text_matches_are_found_and_no_others() {
        for every in [
            "", "a|", "(|a)", ".*", "^", "$", "^.*", "x*$", "(a|b?)", "a|^",
        ] {
            assert!(is_everywhere(every), "{every}");
        }
        for some in ["^$", "a", "a|b", "^a*$", r"\b", ".+", "[^/]*x", "a{1,3}"] {
            assert!(!is_everywhere(some), "{some}");
        }
    }

    #[test]
    fn expressions_that_no_text_matches_are_found() {
        for empty in [
            "a^b", "a$b", "^a^", "$a", "(x|y)^", "[a&&b]", "a{2}^", "x*a^b",
        ] {
            assert!(fault(empty).is_none(), "{empty}");
            assert!(emptiness(empty).is_some(), "{empty}");
        }
    }

    #[test]
    fn expressions_that_some_text_matches_are_not_suspected() {
        for fine in [
            "",
            "^$",
            "^a$",
            "a|b^",
            "x*^a",
            "(^|x)a",
            "a($|b)",
            "a$|b",
            "(?m)a$\nb",
            "^(a|b)*$",
            r"\bx\b",
            "a?^b",
            "$$",
        ] {
            assert!(emptiness(fine).is_none(), "{fine}");
        }
    }
}
