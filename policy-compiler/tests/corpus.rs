//! The corpora: every file in `testdata/reject` gives exactly the findings beside it and no policy, every file in
//! `testdata/accept` compiles to the rendering beside it. `FARAMESH_BLESS=1` writes the expectations anew.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot read its corpus has failed"
)]

use faramesh_core::policy::artifact::{Datum, Declaration, Runtime, Setting};
use faramesh_policy_compiler::{Artifact, Options, Style, compile_bytes, render};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn corpus(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(kind);
    let entries = std::fs::read_dir(folder).expect("the corpus is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("fms" | "yaml" | "yml" | "json"))
        })
        .collect();
    files.sort();
    files
}

fn expect(path: &Path, found: &str, different: &mut Vec<String>) {
    let golden = path.with_extension("expected");
    if std::env::var_os("FARAMESH_BLESS").is_some() {
        std::fs::write(&golden, found).expect("the expectation is written");
        return;
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if expected != found {
        different.push(format!(
            "{}\n--- expected\n{expected}\n--- found\n{found}",
            path.display()
        ));
    }
}

fn compiled(path: &Path) -> (Option<Artifact>, String) {
    let bytes = std::fs::read(path).expect("the file is read");
    let name = match path.extension().and_then(|extension| extension.to_str()) {
        Some(form @ ("yaml" | "yml" | "json")) => format!("governance.fms.{form}"),
        _ => String::from("governance.fms"),
    };
    let (source, outcome) = compile_bytes(&name, &bytes, &Options::default());
    let shown = render(&source, &outcome.diagnostics, Style::Plain);
    (outcome.artifact, shown)
}

#[test]
fn every_rejected_file_gives_exactly_its_findings_and_no_policy() {
    let mut different = Vec::new();
    let files = corpus("reject");
    assert!(files.len() >= 60, "the corpus shrank to {}", files.len());
    for path in files {
        let (artifact, shown) = compiled(&path);
        assert!(artifact.is_none(), "{} compiles", path.display());
        expect(&path, &shown, &mut different);
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[test]
fn every_accepted_file_compiles_to_its_rendering() {
    let mut different = Vec::new();
    for path in corpus("accept") {
        let (artifact, shown) = compiled(&path);
        let Some(artifact) = artifact else {
            panic!("{} does not compile:\n{shown}", path.display())
        };
        let mut found = policy(&artifact);
        if !shown.is_empty() {
            let _ = write!(found, "\n{shown}");
        }
        expect(&path, &found, &mut different);
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

fn shown(of: &Declaration) -> String {
    let labels: Vec<String> = of.labels.iter().map(datum).collect();
    let inner: Vec<String> = of.inner.iter().map(shown).collect();
    format!(
        "{} ({}) {} {}",
        of.keyword,
        labels.join(" "),
        settings(&of.settings),
        inner.join("; ")
    )
}

fn settings(of: &[Setting]) -> String {
    let settings: Vec<String> = of
        .iter()
        .map(|setting| {
            let values: Vec<String> = setting.values.iter().map(datum).collect();
            format!("{}={}", setting.key, values.join(","))
        })
        .collect();
    settings.join(" ")
}

fn datum(of: &Datum) -> String {
    match of {
        Datum::Bool(value) => value.to_string(),
        Datum::Number(number, unit) => format!("{number} {unit:?}"),
        Datum::Text(text) => format!("{text:?}"),
        Datum::List(parts) => format!("{:?}", parts.iter().map(datum).collect::<Vec<_>>()),
        Datum::Env(name) => format!("env {name}"),
    }
}

/// A policy as a reviewer wants to see it change.
fn policy(artifact: &Artifact) -> String {
    let mut out = format!(
        "requires {}\n{:?}\n",
        artifact.requires.join(" "),
        Runtime {
            declared: Vec::new(),
            ..artifact.runtime.clone()
        }
    );
    if !artifact.runtime.declared.is_empty() {
        let _ = writeln!(out, "runtime {}", settings(&artifact.runtime.declared));
    }
    for declaration in &artifact.declarations {
        let _ = writeln!(out, "{}", shown(declaration));
    }
    for agent in &artifact.agents {
        let _ = writeln!(
            out,
            "agent {:?} default {} run_as {:?} {:?}",
            agent.name,
            agent.default.as_str(),
            agent.run_as,
            agent.metadata
        );
        for (index, test) in agent.tests.iter().enumerate() {
            let field = agent.fields.get(test.field as usize);
            let _ = writeln!(out, "  test {index}: {field:?} {:?}", test.ask);
        }
        for declaration in &agent.declarations {
            let _ = writeln!(out, "  {}", shown(declaration));
        }
        for redaction in &agent.redactions {
            let _ = writeln!(out, "  redact {} {:?}", redaction.pattern, redaction.paths);
        }
        if !agent.demands.is_empty() {
            let _ = writeln!(out, "  demands {}", agent.demands.join(" "));
        }
        for phase in &agent.phases {
            let _ = writeln!(
                out,
                "  phase {:?} {}",
                phase.name,
                settings(&phase.settings)
            );
            for rule in &phase.rules {
                let _ = writeln!(out, "    {} {:?}", rule.text, rule.condition);
            }
        }
        for (number, rule) in (1..).zip(&agent.rules) {
            let _ = writeln!(out, "  {number}: {}", rule.text);
            let _ = writeln!(
                out,
                "     {:?} {} {:?} {:?} {:?}",
                rule.effect, rule.pattern, rule.condition, rule.reason, rule.notify
            );
        }
    }
    out
}
