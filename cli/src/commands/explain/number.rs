//! `faramesh explain E0103`: the page of a number. `faramesh explain --list`: every number.
#![forbid(unsafe_code)]

use crate::failure::{Failure, exit};
use crate::output::{Output, Paint};
use crate::untrusted::Untrusted;
use faramesh_policy_compiler::{Number, Severity, example};
use serde::Serialize;

/// Characters of a line of prose: what reads well in any terminal.
const LINE_CHARS_MAX: usize = 88;
/// A number farther away than this is not meant.
const NEAR_MAX: usize = 2;

#[derive(Debug, Serialize)]
struct Page {
    number: &'static str,
    severity: Severity,
    title: &'static str,
    page: &'static str,
    example: Option<Example>,
}

#[derive(Debug, Serialize)]
struct Example {
    wrong: &'static str,
    right: &'static str,
}

#[derive(Debug, Serialize)]
struct List {
    numbers: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    number: &'static str,
    severity: Severity,
    title: &'static str,
}

/// Prints one number's page.
///
/// # Errors
/// It is no number (64); the nearest one is named.
pub fn page(name: &str, output: &Output) -> Result<u8, Failure> {
    let number = Number::of(name).ok_or_else(|| unknown(name))?;
    let example = example::of(number);
    let paint = match number.severity() {
        Severity::Error => Paint::Bad,
        Severity::Warning => Paint::Caution,
    };
    let kind = format!("{}[{}]", number.severity(), number.as_str());
    output.line(format!(
        "{}: {}",
        output.paint(paint, &kind),
        number.title()
    ));
    output.line("");
    wrapped(number.page())
        .iter()
        .for_each(|line| output.line(line));
    if let Some(example) = &example {
        show("wrong", Paint::Bad, example.wrong, output);
        show("right", Paint::Good, example.right, output);
    }
    output.json(&Page {
        number: number.as_str(),
        severity: number.severity(),
        title: number.title(),
        page: number.page(),
        example: example.map(|example| Example {
            wrong: example.wrong,
            right: example.right,
        }),
    });
    Ok(exit::OK)
}

/// Prints every number with its title.
pub fn list(output: &Output) -> u8 {
    for number in Number::ALL {
        output.line(format!("{}  {}", number.as_str(), number.title()));
    }
    output.json(&List {
        numbers: Number::ALL
            .iter()
            .map(|number| Entry {
                number: number.as_str(),
                severity: number.severity(),
                title: number.title(),
            })
            .collect(),
    });
    exit::OK
}

fn show(word: &str, paint: Paint, policy: &str, output: &Output) {
    output.line("");
    output.line(format!("{}:", output.paint(paint, word)));
    policy
        .lines()
        .for_each(|line| output.line(format!("    {line}")));
}

fn unknown(name: &str) -> Failure {
    let failure = Failure::usage(format!("there is no number `{}`", Untrusted(name)));
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return failure.next(format!(
            "`faramesh audit show {name}` shows a record; numbers of findings are written `E0103`"
        ));
    }
    match nearest(name) {
        Some(near) => failure.next(format!(
            "did you mean `{}`, {}? `faramesh explain --list` shows every one",
            near.as_str(),
            near.title()
        )),
        None => failure.next("`faramesh explain --list` shows every one"),
    }
}

/// The number that differs in the fewest characters, the first of several.
fn nearest(name: &str) -> Option<Number> {
    let asked = name.to_ascii_uppercase();
    Number::ALL
        .iter()
        .copied()
        .map(|number| (strsim::osa_distance(&asked, number.as_str()), number))
        .filter(|(distance, _)| *distance <= NEAR_MAX)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, number)| number)
}

/// Prose in lines, two spaces before each.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::from(" ")];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 2 && last + 1 + word.chars().count() > LINE_CHARS_MAX {
            lines.push(String::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_page_is_longer_than_a_terminal() {
        for number in Number::ALL {
            for line in wrapped(number.page()) {
                let words = line.split_whitespace().count();
                assert!(
                    line.chars().count() <= LINE_CHARS_MAX || words == 1,
                    "{line}"
                );
            }
            let joined = wrapped(number.page()).join(" ");
            let words = |text: &str| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(words(&joined), words(number.page()));
        }
    }

    #[test]
    fn a_mistyped_number_has_a_nearest_one_and_nonsense_has_none() {
        assert_eq!(nearest("e103"), Some(Number::UnknownEffect));
        assert_eq!(nearest("frobnicate"), None);
    }
}
