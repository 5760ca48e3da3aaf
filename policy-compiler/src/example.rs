//! What is wrong and what is right, for the numbers whose page is clearer with it: `faramesh explain E0103`.
//!
//! Invariant, held by a test: each wrong policy has a finding of its number and each right one has not, and the right
//! one compiles. Numbers stand here as text, because the catalogue is the compiler's and this is a guide to it.

use crate::number::Number;

/// A policy with the finding and the same one without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// Has the finding.
    pub wrong: &'static str,
    /// Says what was meant.
    pub right: &'static str,
}

/// The example of a number, where there is one.
pub fn of(number: Number) -> Option<Example> {
    EXAMPLES
        .iter()
        .find(|(name, ..)| *name == number.as_str())
        .map(|(_, wrong, right)| Example { wrong, right })
}

/// By number: wrong, right.
const EXAMPLES: &[(&str, &str, &str)] = &[
    (
        "E0004",
        "deny files/delete reason \"kept\n",
        "deny files/delete reason \"kept\"\n",
    ),
    (
        "E0006",
        "permit pay if amount < 0500\n",
        "permit pay if amount < 500\n",
    ),
    (
        "E0007",
        "permit run if timeout < 5min\n",
        "permit run if timeout < 5m\n",
    ),
    (
        "W0001",
        "permit run if cmd matches \"^ls\\s\"\n",
        "permit run if cmd matches \"^ls\\\\s\"\n",
    ),
    (
        "E0102",
        "agent \"bot\" {\n  permit search\n",
        "agent \"bot\" {\n  permit search\n}\n",
    ),
    ("E0103", "permti stripe/refund\n", "permit stripe/refund\n"),
    (
        "E0104",
        "agent \"bot\" {\n  defualt deny\n}\n",
        "agent \"bot\" {\n  default deny\n}\n",
    ),
    (
        "E0106",
        "permit if amount < 500\n",
        "permit stripe/refund if amount < 500\n",
    ),
    ("E0107", "permit db/**\n", "permit db/*\n"),
    (
        "E0201",
        "agent \"bot\" { permit a }\nagent \"bot\" { permit b }\n",
        "agent \"bot\" { permit a  permit b }\n",
    ),
    (
        "E0202",
        "default deny\ndefault permit\npermit a\n",
        "default deny\npermit a\n",
    ),
    (
        "E0205",
        "permit search\nagent \"bot\" { permit mail }\n",
        "agent \"bot\" { permit search  permit mail }\n",
    ),
    (
        "E0304",
        "permit run if cmd matches \"(ls\"\n",
        "permit run if cmd matches \"^ls$\"\n",
    ),
    (
        "E0305",
        "permit pay if currency in []\n",
        "permit pay if currency in [\"EUR\"]\n",
    ),
    (
        "E0306",
        "permit pay if 1 < amount < 5\n",
        "permit pay if amount > 1 and amount < 5\n",
    ),
    (
        "E0307",
        "permit pay if amount < 5 if currency == \"EUR\"\n",
        "permit pay if amount < 5 and currency == \"EUR\"\n",
    ),
    (
        "W0302",
        "permit files/*\ndeny files/delete\n",
        "deny files/delete\npermit files/*\n",
    ),
    (
        "W0303",
        "deny! * if path matches \"^/etc/\"\npermit search\n",
        "deny! * if has path and path matches \"^/etc/\"\npermit search\n",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, SourceFile, Style, compile, render};

    #[test]
    fn each_wrong_example_has_its_finding_and_each_right_one_compiles_without() {
        let mut faults = String::new();
        for (name, wrong, right) in EXAMPLES {
            let number = Number::of(name).unwrap_or_else(|| panic!("{name} is no number"));
            for (text, expected) in [(wrong, true), (right, false)] {
                let source = SourceFile::new("governance.fms", *text);
                let outcome = compile(&source, &Options::default());
                let found = outcome.diagnostics.iter().any(|one| one.number == number);
                let shown = render(&source, &outcome.diagnostics, Style::Plain);
                if found != expected || !(expected || outcome.artifact.is_some()) {
                    faults.push_str(&format!("{name}: {text}\n{shown}\n"));
                }
            }
        }
        assert!(faults.is_empty(), "{faults}");
    }
}
