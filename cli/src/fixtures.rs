//! Fixtures: calls with what a policy must say of them, in `tests/*.fmtest.json` and `.fmtest.yaml`.
//!
//! `{ fixture, agent_id, cases: [{ name, tool, args, suppose, expect: { effect, rule_ref, code, missing } }] }`.
//! Invariants: a key that is not known is an error, because what it was meant to check would not be checked; numbers
//! reach the policy as they were written; an expectation that is rewritten changes no other byte of its file.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::files;
use crate::trial::Supposition;
use faramesh_policy_compiler::yaml::{Key, Node, NodeKind, document};
use faramesh_policy_compiler::{Diagnostic, Form, Number, SOURCE_BYTES_MAX, SourceFile, Span};
use serde::Serialize;
use std::path::Path;

/// A fixture's file, read.
#[derive(Debug)]
pub struct Fixture {
    /// The file and its text.
    pub source: SourceFile,
    /// How it is written.
    pub form: Form,
    /// What it is called: its `fixture`, else its file.
    pub name: String,
    /// In the order of the file.
    pub cases: Vec<Case>,
}

/// One call and what must be said of it.
#[derive(Debug)]
pub struct Case {
    /// Its name, else its place in the list.
    pub name: String,
    /// For which agent.
    pub agent: String,
    /// Which tool.
    pub tool: String,
    /// The arguments as JSON, numbers as written.
    pub arguments: String,
    /// Facts beside the arguments.
    pub suppose: Vec<Supposition>,
    /// What must come out.
    pub expect: Expect,
    /// Line, from 1.
    pub line: usize,
    /// Where the expectation's values stand, by key.
    spans: Vec<(String, Span)>,
}

/// What must come out; what is not given is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expect {
    /// `permit`, `defer`, `deny`.
    pub effect: String,
    /// The deciding rule: its number from 1, `governance.fms:12`, or its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_ref: Option<RuleRef>,
    /// `POLICY_DENY`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Facts that were absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
}

/// How a rule is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RuleRef {
    /// Its number among its agent's rules, from 1.
    Number(u32),
    /// `governance.fms:12`, its text, or the published `rule-3`.
    Text(String),
}

/// Reads a fixture.
///
/// # Errors
/// The file cannot be read. What is wrong with what it says comes as findings.
pub fn read(
    path: &Path,
    name: &str,
) -> Result<Result<Fixture, (SourceFile, Vec<Diagnostic>)>, Failure> {
    let text = files::read_text(path, SOURCE_BYTES_MAX as u64)?
        .ok_or_else(|| Failure::data(format!("there is no fixture `{}`", path.display())))?;
    let source = SourceFile::new(name, text);
    let form = Form::of(name);
    let node = match document(&source, form) {
        Ok(node) => node,
        Err(findings) => return Ok(Err((source, findings))),
    };
    let mut reader = Reader {
        source: &source,
        findings: Vec::new(),
    };
    let fixture = reader.fixture(&node);
    let findings = reader.findings;
    Ok(match fixture {
        Some((title, cases)) if findings.is_empty() => Ok(Fixture {
            name: title.unwrap_or_else(|| name.to_owned()),
            source,
            form,
            cases,
        }),
        _ => Err((source, findings)),
    })
}

struct Reader<'a> {
    source: &'a SourceFile,
    findings: Vec<Diagnostic>,
}

const FIXTURE_KEYS: &[&str] = &["fixture", "agent_id", "cases"];
const CASE_KEYS: &[&str] = &["name", "agent_id", "tool", "args", "suppose", "expect"];
const EXPECT_KEYS: &[&str] = &["effect", "rule_ref", "code", "missing"];
const EFFECTS: &[&str] = &["permit", "defer", "deny"];

impl Reader<'_> {
    fn fixture(&mut self, node: &Node) -> Option<(Option<String>, Vec<Case>)> {
        let members = self.members(node, "a fixture", FIXTURE_KEYS)?;
        let name = member(members, "fixture").and_then(|node| self.text(node, "`fixture`"));
        let agent = member(members, "agent_id")
            .and_then(|node| self.text(node, "`agent_id`"))
            .unwrap_or_default();
        let Some(list) = member(members, "cases") else {
            self.fault(node.span, "a fixture without `cases`", "add `cases: [...]`");
            return None;
        };
        let NodeKind::List(nodes) = &list.kind else {
            self.wrong(list, "`cases`", "a list");
            return None;
        };
        if nodes.is_empty() {
            self.fault(
                list.span,
                "a fixture without a case",
                "add one, or remove the file",
            );
        }
        let cases = (1..)
            .zip(nodes)
            .filter_map(|(place, node)| self.case(node, place, &agent));
        Some((name, cases.collect()))
    }

    fn case(&mut self, node: &Node, place: usize, agent: &str) -> Option<Case> {
        let members = self.members(node, "a case", CASE_KEYS)?;
        let name = member(members, "name").and_then(|node| self.text(node, "`name`"));
        let agent_id = member(members, "agent_id").and_then(|node| self.text(node, "`agent_id`"));
        let tool = match member(members, "tool") {
            Some(node) => self.text(node, "`tool`"),
            None => {
                self.fault(
                    node.span,
                    "a case without `tool`",
                    "name the tool that is called",
                );
                None
            }
        };
        let arguments = member(members, "args").map_or_else(|| "{}".to_owned(), json);
        let suppose = member(members, "suppose").map_or_else(Vec::new, |node| self.suppose(node));
        let Some(expected) = member(members, "expect") else {
            self.fault(
                node.span,
                "a case without `expect`",
                "add `expect: { effect: deny }`",
            );
            return None;
        };
        Some(Case {
            name: name.unwrap_or_else(|| format!("case {place}")),
            agent: agent_id.unwrap_or_else(|| agent.to_owned()),
            tool: tool?,
            arguments,
            suppose,
            expect: self.expect(expected)?,
            line: line(&self.source.text, node.span.start),
            spans: spans(expected),
        })
    }

    fn suppose(&mut self, node: &Node) -> Vec<Supposition> {
        let NodeKind::Map(members) = &node.kind else {
            self.wrong(node, "`suppose`", "a mapping of facts to values");
            return Vec::new();
        };
        members
            .iter()
            .map(|(key, value)| Supposition {
                name: key.text.clone(),
                value: json(value),
            })
            .collect()
    }

    fn expect(&mut self, node: &Node) -> Option<Expect> {
        let members = self.members(node, "an expectation", EXPECT_KEYS)?;
        let Some(effect) = member(members, "effect") else {
            self.fault(
                node.span,
                "an expectation without `effect`",
                "write permit, defer or deny",
            );
            return None;
        };
        let word = self.text(effect, "`effect`")?;
        if !EFFECTS.contains(&word.as_str()) {
            self.fault(
                effect.span,
                &format!("unknown effect {word:?}"),
                "write permit, defer or deny",
            );
            return None;
        }
        let rule_ref = member(members, "rule_ref").and_then(|node| match &node.kind {
            NodeKind::Null => None,
            NodeKind::Number(number) if number.parse::<u32>().is_ok() => {
                number.parse().ok().map(RuleRef::Number)
            }
            _ => self.text(node, "`rule_ref`").map(RuleRef::Text),
        });
        let code = member(members, "code")
            .filter(|node| !matches!(node.kind, NodeKind::Null))
            .and_then(|node| self.text(node, "`code`"));
        let missing = member(members, "missing").and_then(|node| self.texts(node));
        Some(Expect {
            effect: word,
            rule_ref,
            code,
            missing,
        })
    }

    fn members<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
    ) -> Option<&'n [(Key, Node)]> {
        let NodeKind::Map(members) = &node.kind else {
            self.wrong(node, what, "a mapping");
            return None;
        };
        for (key, _) in members {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            let near = known
                .iter()
                .filter(|word| strsim::osa_distance(word, &key.text) <= 2)
                .min_by_key(|word| strsim::osa_distance(word, &key.text));
            let help = match near {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("{what} has `{}`", known.join("`, `")),
            };
            self.fault(
                key.span,
                &format!("unknown key {:?} in {what}", key.text),
                &help,
            );
        }
        Some(members)
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.kind {
            NodeKind::Text(text) => Some(text.clone()),
            _ => {
                self.wrong(node, what, "text");
                None
            }
        }
    }

    fn texts(&mut self, node: &Node) -> Option<Vec<String>> {
        let NodeKind::List(nodes) = &node.kind else {
            self.wrong(node, "`missing`", "a list of names");
            return None;
        };
        let mut texts: Vec<String> = nodes
            .iter()
            .filter_map(|node| self.text(node, "a name"))
            .collect();
        texts.sort_unstable();
        Some(texts)
    }

    fn wrong(&mut self, node: &Node, what: &str, wanted: &str) {
        let message = format!("{what} is {wanted}, and here stands {}", node.kind.noun());
        self.fault(
            node.span,
            &message,
            "`faramesh explain E0901` shows the form",
        );
    }

    fn fault(&mut self, span: Span, message: &str, help: &str) {
        // Whatever of the file stands in the message was written by `Debug`, which escapes it.
        self.findings.push(
            Diagnostic::new(Number::BadFixture, message)
                .at(span, "")
                .help(help),
        );
    }
}

fn member<'n>(members: &'n [(Key, Node)], name: &str) -> Option<&'n Node> {
    members
        .iter()
        .find(|(key, _)| key.text == name)
        .map(|(_, node)| node)
}

/// A value as JSON text, numbers as they were written.
fn json(node: &Node) -> String {
    let string = |text: &str| serde_json::Value::from(text).to_string();
    match &node.kind {
        NodeKind::Null | NodeKind::Bad => "null".to_owned(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Number(number) => number.clone(),
        NodeKind::Text(text) => string(text),
        NodeKind::List(nodes) => {
            let items: Vec<String> = nodes.iter().map(json).collect();
            format!("[{}]", items.join(","))
        }
        NodeKind::Map(members) => {
            let items: Vec<String> = members
                .iter()
                .map(|(key, node)| format!("{}:{}", string(&key.text), json(node)))
                .collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

fn line(text: &str, at: usize) -> usize {
    text.get(..at)
        .map_or(1, |before| before.matches('\n').count() + 1)
}

fn spans(expected: &Node) -> Vec<(String, Span)> {
    let NodeKind::Map(members) = &expected.kind else {
        return Vec::new();
    };
    members
        .iter()
        .map(|(key, node)| (key.text.clone(), node.span))
        .collect()
}

impl Fixture {
    /// The file's text with other values in place of those of these cases' expectations that differ; nothing else of it
    /// changes.
    pub fn rewritten(&self, changes: &[(usize, Expect)]) -> String {
        let mut text = self.source.text.clone();
        let mut fresh: Vec<(Span, String)> = Vec::new();
        for (place, expect) in changes {
            let Some(case) = self.cases.get(*place) else {
                continue;
            };
            for (key, span) in &case.spans {
                let span = trimmed(&text, *span);
                let before = text.get(span.start..span.end).unwrap_or_default();
                let value = self.value(key, &case.expect, expect, before);
                fresh.extend(value.map(|value| (span, value)));
            }
        }
        // From the end, so that the places before stay where they are.
        fresh.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        for (span, value) in fresh {
            if text.get(span.start..span.end).is_some() {
                text.replace_range(span.start..span.end, &value);
            }
        }
        text
    }

    /// A key's value as the file writes it; nothing where it is the same.
    fn value(&self, key: &str, old: &Expect, new: &Expect, before: &str) -> Option<String> {
        let text = |text: &str| self.text(text, before);
        let or_null = |value: &Option<String>| value.as_deref().map_or("null".to_owned(), text);
        match key {
            "effect" if old.effect != new.effect => Some(text(&new.effect)),
            "rule_ref" if old.rule_ref != new.rule_ref => Some(match &new.rule_ref {
                Some(RuleRef::Number(number)) => number.to_string(),
                Some(RuleRef::Text(rule)) => text(rule),
                None => "null".to_owned(),
            }),
            "code" if old.code != new.code => Some(or_null(&new.code)),
            "missing" if old.missing != new.missing => {
                let names = new.missing.iter().flatten();
                let names: Vec<String> = names.map(|name| quoted(name)).collect();
                Some(format!("[{}]", names.join(", ")))
            }
            _ => None,
        }
    }

    /// Bare where YAML had it bare and takes it so: words of letters, digits and underscores.
    fn text(&self, text: &str, before: &str) -> String {
        let bare = self.form != Form::Json
            && !before.starts_with(['"', '\''])
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match bare {
            true => text.to_owned(),
            false => quoted(text),
        }
    }
}

/// As JSON, which is YAML too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Without the line ends and comments that a mapping of YAML takes with it at its end.
fn trimmed(text: &str, span: Span) -> Span {
    let mut end = span.end;
    loop {
        let inside = text.get(span.start..end).unwrap_or("");
        let kept = inside.trim_end();
        let last = kept.rfind('\n').map_or(0, |at| at + 1);
        let comment = kept
            .get(last..)
            .is_some_and(|line| line.trim_start().starts_with('#'));
        end = span.start + kept.len();
        if !comment || last == 0 {
            return Span::new(span.start, end);
        }
        end = span.start + last;
    }
}
