//! The report that build servers read.
//!
//! Invariant: names and messages come from files that strangers may have written; the writer escapes what is markup, and
//! what XML cannot hold or a reader would not see is written out before.
#![forbid(unsafe_code)]

use super::{Outcome, differences};
use crate::failure::Failure;
use crate::untrusted::Untrusted;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use std::io;

/// The bytes of a report: a suite for each fixture, a case for each case.
///
/// # Errors
/// Never in practice: it is written to memory.
pub(super) fn report(outcomes: &[Outcome]) -> Result<Vec<u8>, Failure> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    suites(&mut writer, outcomes)
        .map_err(|e| Failure::internal(format!("the report cannot be written: {e}")))?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn suites(writer: &mut Writer<Vec<u8>>, outcomes: &[Outcome]) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let mut all = BytesStart::new("testsuites");
    counted(&mut all, "faramesh test", outcomes);
    writer.write_event(Event::Start(all))?;
    for suite in outcomes.chunk_by(|a, b| a.file == b.file) {
        let name = suite.first().map_or("", |outcome| outcome.fixture.as_str());
        let mut start = BytesStart::new("testsuite");
        counted(&mut start, name, suite);
        writer.write_event(Event::Start(start))?;
        for outcome in suite {
            case(writer, outcome)?;
        }
        writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))
}

fn counted(element: &mut BytesStart<'_>, name: &str, outcomes: &[Outcome]) {
    let failures = outcomes.iter().filter(|outcome| !outcome.passed).count();
    push(element, "name", name);
    push(element, "tests", &outcomes.len().to_string());
    push(element, "failures", &failures.to_string());
    push(element, "errors", "0");
}

fn case(writer: &mut Writer<Vec<u8>>, outcome: &Outcome) -> io::Result<()> {
    let mut start = BytesStart::new("testcase");
    push(&mut start, "name", &outcome.name);
    push(&mut start, "classname", &outcome.fixture);
    push(&mut start, "file", &outcome.file);
    push(&mut start, "line", &outcome.line.to_string());
    if outcome.passed {
        return writer.write_event(Event::Empty(start));
    }
    writer.write_event(Event::Start(start))?;
    let differences = differences(outcome);
    let mut failure = BytesStart::new("failure");
    // Already written out for a terminal: not again.
    failure.push_attribute(("message", differences.join("; ").as_str()));
    failure.push_attribute(("type", "expectation"));
    writer.write_event(Event::Start(failure))?;
    let because = Untrusted(&outcome.message).to_string();
    writer.write_event(Event::Text(BytesText::new(&because)))?;
    writer.write_event(Event::End(BytesEnd::new("failure")))?;
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

fn push(element: &mut BytesStart<'_>, key: &str, value: &str) {
    element.push_attribute((key, Untrusted(value).to_string().as_str()));
}
