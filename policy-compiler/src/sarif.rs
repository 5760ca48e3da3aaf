//! Findings in SARIF 2.1.0, the form in which code hosts and editors take what an analysis found.
//!
//! Built from the same [`DiagnosticReport`] that `--format json` prints, so that no two forms say different things.
//! Columns count characters from 1 and an end is exclusive, as there; places are named by relative URIs, so that the
//! log means the same on every machine.

use crate::diagnostic::{DiagnosticReport, LabelReport, Severity};
use crate::number::Number;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The schema that the log names; it is never fetched.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The base that relative URIs are resolved against: the working directory of the run.
const BASE: &str = "SRCROOT";

/// A whole log: one run of one tool.
#[derive(Debug, Serialize)]
pub struct Sarif {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    column_kind: &'static str,
    artifacts: Vec<Artifact>,
    results: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    name: String,
    short_description: Message,
    full_description: Message,
    help: Message,
    default_configuration: Configuration,
}

#[derive(Debug, Serialize)]
struct Configuration {
    level: Severity,
}

#[derive(Debug, Serialize)]
struct Message {
    text: String,
}

#[derive(Debug, Serialize)]
struct Artifact {
    location: ArtifactLocation,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri_base_id: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: &'static str,
    rule_index: usize,
    level: Severity,
    message: Message,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

/// The log of a run over these files; a file without findings is named too. `version` is the tool's.
pub fn sarif(version: &'static str, files: &[String], reports: &[DiagnosticReport]) -> Sarif {
    let numbers: Vec<Number> = reports
        .iter()
        .filter_map(|report| Number::of(report.number))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut named: Vec<&str> = files.iter().map(String::as_str).collect();
    named.extend(reports.iter().map(|report| report.file.as_str()));
    named.sort_unstable();
    named.dedup();
    Sarif {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "faramesh",
                    version,
                    rules: numbers.iter().copied().map(rule).collect(),
                },
            },
            column_kind: "unicodeCodePoints",
            artifacts: named
                .into_iter()
                .map(|file| Artifact {
                    location: artifact(file),
                })
                .collect(),
            results: reports
                .iter()
                .map(|report| finding(report, &numbers))
                .collect(),
        }],
    }
}

fn rule(number: Number) -> Rule {
    let text = |text: &str| Message {
        text: text.to_owned(),
    };
    Rule {
        id: number.as_str(),
        name: format!("{number:?}"),
        short_description: text(number.title()),
        full_description: text(number.page()),
        help: Message {
            text: format!(
                "{}\n\n`faramesh explain {}` prints this page.",
                number.page(),
                number.as_str()
            ),
        },
        default_configuration: Configuration {
            level: number.severity(),
        },
    }
}

fn finding(report: &DiagnosticReport, numbers: &[Number]) -> Finding {
    let index = numbers
        .iter()
        .position(|number| number.as_str() == report.number);
    let mut text = report.message.clone();
    for (word, lines) in [("note", &report.notes), ("help", &report.help)] {
        for line in lines {
            let _ = write!(text, "\n{word}: {line}");
        }
    }
    let place = |id: Option<usize>, label: &LabelReport| Location {
        id,
        physical_location: PhysicalLocation {
            artifact_location: artifact(&report.file),
            region: Some(region(label)),
        },
        message: (!label.text.is_empty()).then(|| Message {
            text: label.text.clone(),
        }),
    };
    let first = report.labels.first().map_or_else(
        || Location {
            id: None,
            physical_location: PhysicalLocation {
                artifact_location: artifact(&report.file),
                region: None,
            },
            message: None,
        },
        |label| place(None, label),
    );
    Finding {
        rule_id: report.number,
        rule_index: index.unwrap_or_default(),
        level: report.severity,
        message: Message { text },
        locations: vec![first],
        related_locations: (0..)
            .zip(report.labels.iter().skip(1))
            .map(|(id, label)| place(Some(id), label))
            .collect(),
    }
}

fn region(label: &LabelReport) -> Region {
    Region {
        start_line: label.line,
        start_column: label.column,
        end_line: label.end_line,
        end_column: label.end_column,
    }
}

/// A path as a URI: relative to the working directory where it lies below it, else absolute.
fn artifact(file: &str) -> ArtifactLocation {
    let mut uri = String::new();
    if file.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    ArtifactLocation {
        uri_base_id: (!file.starts_with('/')).then_some(BASE),
        uri,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri_that_cannot_be_read_as_another() {
        let uri = |file| artifact(file).uri;
        assert_eq!(uri("a b/ü#?.fms"), "a%20b/%C3%BC%23%3F.fms");
        assert_eq!(uri("/srv/x:y.fms"), "file:///srv/x%3Ay.fms");
        assert_eq!(artifact("/srv/x").uri_base_id, None);
        assert_eq!(artifact("x").uri_base_id, Some(BASE));
    }
}
