//! A policy's file, compiled: the only place that calls the compiler.
#![forbid(unsafe_code)]

use crate::constructs::Places;
use crate::failure::{Failure, exit};
use crate::files;
use crate::layout::POLICY_FILES;
use crate::output::Output;
use crate::policies::Stored;
use faramesh_core::checkpoint::NOTE_BYTES_MAX;
use faramesh_core::policy::artifact::{self, Artifact};
use faramesh_policy_compiler::registry::PACK_BYTES_MAX;
use faramesh_policy_compiler::{
    DiagnosticReport, Number, Options, Pack, Registry, SOURCE_BYTES_MAX, Severity, SourceFile,
    SourceMap, Style, Unreachable, compile_bytes_with, render, report,
};
use std::path::{Path, PathBuf};

/// Packs beside a policy.
const REGISTRY: &str = "registry";

/// A folder of packs: `HOST/PATH/VERSION/pack.fms`, its signed note `pack.note` beside it. Nothing in it is trusted: the
/// compiler verifies each note.
struct Folder(PathBuf);

impl Registry for Folder {
    fn fetch(&self, name: &str, version: &str) -> Result<Pack, Unreachable> {
        let unreachable = |why: String| Unreachable { why };
        let climbs = |part: &str| matches!(part, "" | "." | "..");
        if name.split('/').chain([version]).any(climbs) || version.contains('/') {
            return Err(unreachable("its name leaves the registry".to_owned()));
        }
        let folder = self.0.join(name).join(version);
        let read = |file: &str, bytes_max: usize| {
            let path = folder.join(file);
            files::read_limited(&path, bytes_max as u64)
                .map_err(|failure| unreachable(failure.message))?
                .ok_or_else(|| unreachable(format!("there is no `{}`", path.display())))
        };
        let text = read("pack.fms", PACK_BYTES_MAX)?;
        Ok(Pack {
            text: String::from_utf8(text)
                .map_err(|_| unreachable("`pack.fms` is not UTF-8".to_owned()))?,
            note: read("pack.note", NOTE_BYTES_MAX)?,
        })
    }
}

/// What the compiler found.
#[derive(Debug)]
pub struct Findings {
    /// The file as it was named.
    pub file: String,
    /// How many are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// For programs.
    pub reports: Vec<DiagnosticReport>,
    /// For people, plain and in colour.
    shown: [String; 2],
}

impl Findings {
    /// Whether every error is a pack that cannot be had: that says nothing of the policy.
    pub fn only_unreachable(&self) -> bool {
        let mut errors = self
            .reports
            .iter()
            .filter(|report| report.severity == Severity::Error)
            .peekable();
        errors.peek().is_some()
            && errors.all(|report| report.number == Number::RegistryUnreachable.as_str())
    }
}

/// A policy that compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What it says.
    pub artifact: Artifact,
    /// What is signed.
    pub stored: Stored,
    /// Where its rules stand in the file; nothing where it came from elsewhere.
    pub map: SourceMap,
    /// Where its constructs stand in the file; nothing where it came from elsewhere.
    pub places: Places,
}

impl Compiled {
    /// Rules of all agents.
    pub fn rules(&self) -> usize {
        self.artifact
            .agents
            .iter()
            .map(|agent| agent.rules.len())
            .sum()
    }
}

/// What came of compiling.
#[derive(Debug)]
pub struct Outcome {
    findings: Findings,
    compiled: Option<Compiled>,
}

impl Outcome {
    /// What was found.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The policy, where there are no errors.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.compiled.as_ref()
    }
}

/// Compiles a stack's policy. A policy with errors is an outcome and no failure.
///
/// # Errors
/// The file cannot be read, or the stack has a second one: nobody could tell which of them holds.
pub fn compile(file: &Path, registry: Option<&Path>) -> Result<Outcome, Failure> {
    // A file of another name, as `check` and `plan --against` may be given, is no second policy of the stack.
    let is_stacks = POLICY_FILES
        .iter()
        .any(|name| file.file_name().is_some_and(|own| own == *name));
    let other = POLICY_FILES.iter().find(|name| {
        let path = file.with_file_name(name);
        is_stacks && path != file && path.symlink_metadata().is_ok()
    });
    if let Some(other) = other {
        return Err(Failure::data(format!(
            "the stack has two policies: `{}` and `{other}`",
            file.display()
        ))
        .next("keep one of them: nobody could tell which one holds"));
    }
    compile_file(file, registry)
}

/// Compiles one file, whatever lies beside it; packs come from `registry`, else from the folder `registry` beside it.
///
/// # Errors
/// The file cannot be read.
pub fn compile_file(file: &Path, registry: Option<&Path>) -> Result<Outcome, Failure> {
    // One byte more than the limit, so that it is the compiler that says which one.
    let bytes = files::read_limited(file, SOURCE_BYTES_MAX as u64 + 1)?.ok_or_else(|| {
        Failure::data(format!("there is no policy `{}`", file.display()))
            .next("`faramesh init` writes a first one; --dir names another stack")
    })?;
    let name = shown_name(file);
    let registry = Folder(match registry {
        Some(folder) => folder.to_owned(),
        None => file.with_file_name(REGISTRY),
    });
    let (source, outcome) = compile_bytes_with(&name, &bytes, &Options::default(), &registry);
    let count = |severity| {
        outcome
            .diagnostics
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let findings = Findings {
        file: name,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        reports: report(&source, &outcome.diagnostics),
        shown: [Style::Plain, Style::Colour]
            .map(|style| render(&source, &outcome.diagnostics, style)),
    };
    let map = outcome.map;
    let compiled = outcome
        .artifact
        .map(|artifact| emit(artifact, map, &source))
        .transpose()?;
    Ok(Outcome { findings, compiled })
}

/// Compiles a policy that has to be valid, and prints what is said of it.
///
/// # Errors
/// The file cannot be read, or the policy has errors (65).
pub fn compile_valid(file: &Path, output: &Output) -> Result<(Compiled, Findings), Failure> {
    let Outcome { findings, compiled } = compile(file, None)?;
    print(&findings, output);
    match compiled {
        Some(compiled) => Ok((compiled, findings)),
        None => Err(Failure::new(
            exit::DATA,
            format!("`{}` has errors, nothing was changed", findings.file),
        )
        .next("mend what stands above; `faramesh check` says whether it is")),
    }
}

/// Shows the findings on stderr; programs get them in the result.
pub fn print(findings: &Findings, output: &Output) {
    let [plain, colour] = &findings.shown;
    let text = if output.is_coloured() { colour } else { plain };
    if !output.is_json() && !text.is_empty() {
        output.diagnostics(text);
    }
}

fn emit(artifact: Artifact, map: SourceMap, source: &SourceFile) -> Result<Compiled, Failure> {
    let bytes = artifact::encode(&artifact)
        .map_err(|e| Failure::internal(format!("the policy cannot be written down: {e}")))?;
    Ok(Compiled {
        artifact,
        stored: Stored::new(bytes),
        places: Places::of(source, &map),
        map,
    })
}

/// Short where that is clear: the file as it lies below the working directory.
pub fn shown_name(file: &Path) -> String {
    let file = file.strip_prefix(".").unwrap_or(file);
    let here = std::env::current_dir().ok();
    let short = here
        .as_deref()
        .and_then(|here| file.strip_prefix(here).ok())
        .unwrap_or(file);
    short.display().to_string()
}
