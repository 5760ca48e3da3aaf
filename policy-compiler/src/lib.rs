//! `governance.fms` to an artifact: lex, parse, lower, check, emit. Outside the trusted core: whatever this crate makes,
//! `faramesh_core::policy` checks again before it decides by it.
//!
//! Invariants: nothing written is ever dropped — every word is in the artifact or in a finding; a file with an error
//! yields no artifact; no input panics, overflows the stack or takes more than linear time. No I/O.
//!
//! The modules are listed in the order of the flow, which is the order to read them in.
#![forbid(unsafe_code)]

mod check;
pub mod compare;
mod conditions;
pub mod diagnostic;
pub mod example;
mod format;
mod lex;
mod lower;
pub mod number;
mod parse;
mod quantity;
pub mod registry;
mod render;
pub mod sarif;
mod settings;
pub mod source;
pub mod syntax;
mod trials;
mod vocabulary;
pub mod yaml;
mod zone;

pub use diagnostic::{
    Diagnostic, DiagnosticReport, Label, LabelReport, Severity, Style, render, report,
};
pub use faramesh_core::policy::artifact::Artifact;
pub use number::Number;
pub use source::{Position, SOURCE_BYTES_MAX, SourceFile, SourceMap, Span};

pub use format::format;
pub use render::policy as render_policy;
pub use render::{datum as render_datum, kind_word as render_kind, window as render_window};
pub use sarif::sarif;
pub use yaml::{Form, render_json, render_yaml};

pub use registry::{NoRegistry, Pack, PackStatement, Registry, Unreachable};

use diagnostic::Findings;
use faramesh_core::policy::artifact::{self, Field};

/// Findings that are shown; a file with more is not read to the end by anybody.
const DIAGNOSTICS_MAX: usize = 100;

/// A fact's name is a few words.
const FACT_BYTES_MAX: usize = 4096;

/// How to compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Warnings refuse the artifact too.
    pub warnings: Warnings,
}

/// What a warning does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Warnings {
    /// It is said, and the policy compiles.
    #[default]
    Say,
    /// `--strict`: there is no artifact.
    Refuse,
}

/// What came of a file.
#[derive(Debug, Clone)]
#[must_use]
pub struct Outcome {
    /// The policy; absent where an error was found (or, if so asked, a warning).
    pub artifact: Option<Artifact>,
    /// Where the artifact's rules stand in the file.
    pub map: SourceMap,
    /// In the order of the file. Empty: there is nothing to say.
    pub diagnostics: Vec<Diagnostic>,
}

impl Outcome {
    /// Whether an error was found.
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether a warning was found.
    pub fn has_warnings(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Warning)
    }
}

/// The syntax tree of a policy file, and what is wrong with its text. Nothing is looked up and nothing is checked that
/// [`compile`] checks after parsing; a tree that comes with an error has holes.
pub fn parse(source: &SourceFile) -> (syntax::File, Vec<Diagnostic>) {
    let mut diagnostics = Findings::default();
    if source.text.len() > SOURCE_BYTES_MAX {
        diagnostics.push(too_large(source.text.len()));
        return (syntax::File::default(), diagnostics.into_vec());
    }
    let file = tree(source, &mut diagnostics);
    let mut found = diagnostics.into_vec();
    diagnostic::sort(&mut found);
    (file, found)
}

/// The tree of a file of whichever form its name says; empty where it is none of that form, which was said.
fn tree(source: &SourceFile, diagnostics: &mut Findings) -> syntax::File {
    let text = &source.text;
    let form = Form::of(&source.name);
    if let Some(other) = yaml::other_form(text, form) {
        diagnostics.push(other);
        return syntax::File::default();
    }
    if form != Form::Fms {
        return yaml::parse(text, form, diagnostics).unwrap_or_default();
    }
    let tokens = lex::lex(text, diagnostics);
    parse::parse(text, &tokens, diagnostics)
}

/// A condition that stands in a text of its own.
fn condition(text: &str, diagnostics: &mut Findings) -> syntax::Expr {
    let tokens = lex::lex(text, diagnostics);
    parse::condition(text, &tokens, diagnostics)
}

/// The fact that a text names, as in `given { … }`: `time.hour`, `session.sum(stripe/refund.amount, window=1h)`. `None`
/// where it names none. What a policy must declare first is named without it.
pub fn fact(text: &str) -> Option<Field> {
    if text.len() > FACT_BYTES_MAX {
        return None;
    }
    let mut diagnostics = Findings::default();
    let expr = condition(text, &mut diagnostics);
    let declared = lower::Declared {
        identity: true,
        ..lower::Declared::default()
    };
    let scope = conditions::Scope {
        declared: &declared,
        pattern: "*",
    };
    let mut tables = conditions::Tables::default();
    let (field, _) = conditions::fact(&expr, scope, &mut tables, &mut diagnostics)?;
    (!diagnostics.has_errors()).then_some(field)
}

/// Every word of the language: what may start an item or a clause, every setting, effect, function, connective, and the
/// variables that are not arguments. Sorted. For editors and for tests of them.
pub fn words() -> Vec<&'static str> {
    let mut words = vocabulary::all_words();
    words.extend(conditions::words());
    words.sort_unstable();
    words.dedup();
    words
}

fn too_large(bytes: usize) -> Diagnostic {
    let message = format!("the file has {bytes} bytes, more than {SOURCE_BYTES_MAX}");
    Diagnostic::new(Number::SourceTooLarge, message)
}

/// Compiles one policy file that imports nothing.
pub fn compile(source: &SourceFile, options: &Options) -> Outcome {
    compile_with(source, options, &NoRegistry)
}

/// Compiles one policy file; what it imports comes from `registry`, and is verified here.
pub fn compile_with(source: &SourceFile, options: &Options, registry: &dyn Registry) -> Outcome {
    if source.text.len() > SOURCE_BYTES_MAX {
        return refused(too_large(source.text.len()));
    }
    let mut diagnostics = Findings::default();
    let file = tree(source, &mut diagnostics);
    let lowered = lower::lower(&source.text, file, registry, &mut diagnostics);
    let (policy, map) = (lowered.artifact, lowered.map);
    let mut artifact = None;
    if !diagnostics.has_errors() {
        // The core's own checks: the compiler cannot emit what no daemon would load.
        match artifact::encode(&policy) {
            Ok(_) => {
                trials::run(&policy, &map, &lowered.examples, &mut diagnostics);
                artifact = (!diagnostics.has_errors()).then_some(policy);
            }
            Err(why) => {
                let message = format!("the policy cannot be an artifact: {why}");
                diagnostics.push(Diagnostic::new(Number::ArtifactRefused, message));
            }
        }
    }
    let found = diagnostics.count();
    let mut outcome = Outcome {
        artifact,
        map,
        diagnostics: diagnostics.into_vec(),
    };
    if options.warnings == Warnings::Refuse && outcome.has_warnings() {
        outcome.artifact = None;
    }
    diagnostic::sort(&mut outcome.diagnostics);
    cut(&mut outcome.diagnostics, found);
    outcome
}

/// Compiles a file as it lies on disk; what is not UTF-8 is a finding like any other. The source is returned for
/// [`render`]; bytes that are not UTF-8 are replaced in it.
pub fn compile_bytes(name: &str, bytes: &[u8], options: &Options) -> (SourceFile, Outcome) {
    compile_bytes_with(name, bytes, options, &NoRegistry)
}

/// As [`compile_bytes`], with what the file imports.
pub fn compile_bytes_with(
    name: &str,
    bytes: &[u8],
    options: &Options,
    registry: &dyn Registry,
) -> (SourceFile, Outcome) {
    if bytes.len() > SOURCE_BYTES_MAX {
        return (SourceFile::new(name, ""), refused(too_large(bytes.len())));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let source = SourceFile::new(name, text);
            let outcome = compile_with(&source, options, registry);
            (source, outcome)
        }
        Err(error) => {
            let at = error.valid_up_to();
            let source = SourceFile::new(name, String::from_utf8_lossy(bytes));
            let finding = Diagnostic::new(Number::NotUtf8, format!("byte {at} is not UTF-8"))
                .at(
                    Span::new(at, at + '\u{fffd}'.len_utf8()),
                    "the first that is not",
                )
                .help("save the file as UTF-8");
            (source, refused(finding))
        }
    }
}

fn refused(diagnostic: Diagnostic) -> Outcome {
    Outcome {
        artifact: None,
        map: SourceMap::default(),
        diagnostics: vec![diagnostic],
    }
}

/// Keeps errors rather than warnings where there are too many, and says that there were more.
fn cut(diagnostics: &mut Vec<Diagnostic>, all: usize) {
    if all <= DIAGNOSTICS_MAX {
        return;
    }
    let errors = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .count();
    let mut warnings_left = DIAGNOSTICS_MAX.saturating_sub(errors);
    diagnostics.retain(|diagnostic| {
        let kept = diagnostic.severity == Severity::Error || warnings_left > 0;
        if diagnostic.severity == Severity::Warning {
            warnings_left = warnings_left.saturating_sub(1);
        }
        kept
    });
    diagnostics.truncate(DIAGNOSTICS_MAX);
    let message = format!("{} more findings are not shown", all - diagnostics.len());
    let number = if errors > 0 {
        Number::TooManyErrors
    } else {
        Number::TooManyWarnings
    };
    diagnostics.push(Diagnostic::new(number, message).help("mend the ones above and run it again"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::policy::artifact::{Op, RuleEffect};

    fn accepted(text: &str) -> Artifact {
        let source = SourceFile::new("governance.fms", text);
        let outcome = compile(&source, &Options::default());
        let shown = render(&source, &outcome.diagnostics, Style::Plain);
        outcome.artifact.unwrap_or_else(|| panic!("{shown}"))
    }

    #[test]
    fn both_dialects_compile_to_the_same_rules() {
        let docs = accepted(
            "agent \"a\" {\n  default = \"deny\"\n  rules {\n    permit stripe/refund if amount < $500 reason \"small\"\n  }\n}\n",
        );
        let spec = accepted(
            "agent a {\n  default deny\n\n  allow stripe/refund when args.amount < 500 reason: \"small\"\n}\n",
        );
        assert_eq!(docs.agents[0].tests, spec.agents[0].tests);
        assert_eq!(
            docs.agents[0].rules[0].condition,
            spec.agents[0].rules[0].condition
        );
        assert_eq!(
            spec.agents[0].rules[0].text,
            "permit stripe/refund if args.amount < 500 reason \"small\""
        );
    }

    #[test]
    fn a_condition_is_a_program_and_not_equal_is_the_negation_of_equal() {
        let policy = accepted("deny! x if a != 1 and (b or not has c)\n");
        let agent = &policy.agents[0];
        assert_eq!(agent.name, "");
        assert_eq!(agent.rules[0].effect, RuleEffect::DenyHard);
        assert_eq!(
            agent.rules[0].condition,
            [
                Op::Test(0),
                Op::Not,
                Op::Test(1),
                Op::Test(2),
                Op::Not,
                Op::Or,
                Op::And
            ]
        );
    }
}
