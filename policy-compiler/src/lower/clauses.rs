//! Clauses about the request that is really sent, and the door: each to one test, and-ed before the rule's condition.
//!
//! Invariant: the tests stand in one order whatever the clauses' order is, so that layout is no part of a digest.

use super::Lowering;
use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Unit, Value, ValueKind, Word};
use crate::vocabulary::nearest;
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{Ask, Field, Glob, IN_MAX, Literal, TEXT_BYTES_MAX};

/// Of HTTP and of WebDAV: a misspelt one would match no request.
const METHODS: [&str; 17] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "QUERY",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "UNLOCK",
];
/// The ways in, by their names in records.
const DOORS: [&str; 4] = ["govern", "hook", "mcp", "egress"];
/// Bytes of a host's name, as DNS has it.
const HOST_BYTES_MAX: usize = 253;

/// A test that a clause became.
#[derive(Debug)]
pub(super) struct ClauseTest {
    pub(super) field: Field,
    pub(super) ask: Ask,
    /// Of the clause's word.
    pub(super) at: Span,
}

impl ClauseTest {
    /// The order in which clauses are written and tested.
    pub(super) const fn rank(&self) -> u8 {
        match self.field {
            Field::Door => 0,
            Field::Method => 1,
            Field::Host => 2,
            Field::Port => 3,
            Field::Path => 4,
            Field::Query(_) => 5,
            _ => 6,
        }
    }
}

impl Lowering<'_> {
    /// `method GET`, `host "…"`, `port 443`, `path /v1/*`, `door egress`; `None` where a finding says why not.
    pub(super) fn request_clause(&mut self, keyword: &Word, value: &Value) -> Option<ClauseTest> {
        let (field, ask) = match keyword.text.as_str() {
            "method" => (Field::Method, self.method(keyword, value)?),
            "host" => (Field::Host, self.host(keyword, value)?),
            "port" => (Field::Port, self.port(keyword, value)?),
            "path" => (Field::Path, self.request_path(keyword, value)?),
            _ => (Field::Door, self.door(keyword, value)?),
        };
        Some(ClauseTest {
            field,
            ask,
            at: keyword.span,
        })
    }

    /// `query k=v`, `header k=v`.
    pub(super) fn pair_clause(
        &mut self,
        keyword: &Word,
        key: &Word,
        value: &Value,
    ) -> Option<ClauseTest> {
        let header = keyword.text != "query";
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if key.text.is_empty()
            || key.text.len() > TEXT_BYTES_MAX
            || (header && !key.text.bytes().all(plain))
        {
            return self.bad_clause(keyword, key.span, "this is no name of one");
        }
        let text = match &value.kind {
            ValueKind::Bare(text) | ValueKind::Text(text) => text.clone(),
            ValueKind::Number(quantity) => quantity.shown.clone(),
            ValueKind::Bad => return None,
            _ => return self.bad_clause(keyword, value.span, "expected text"),
        };
        if text.len() > TEXT_BYTES_MAX {
            return self.bad_clause(keyword, value.span, "this is too long");
        }
        let name = key.text.to_ascii_lowercase();
        if text.contains('*') {
            let (root, name) = if header {
                ("headers", name)
            } else {
                ("query", key.text.clone())
            };
            self.report(
                Diagnostic::new(
                    Number::BadClause,
                    format!(
                        "{} is compared whole, and `*` is no pattern in it",
                        quoted(&keyword.text)
                    ),
                )
                .at(value.span, "")
                .help(format!(
                    "write a condition: `if {root}.{name} matches \"…\"`"
                )),
            );
            return None;
        }
        Some(ClauseTest {
            field: if header {
                Field::Header(name)
            } else {
                Field::Query(key.text.clone())
            },
            ask: Ask::Equals(Literal::String(text)),
            at: keyword.span,
        })
    }

    /// `reeval: true`.
    pub(super) fn reeval(&mut self, keyword: &Word, value: &Value) -> Option<bool> {
        match &value.kind {
            ValueKind::Bare(text) | ValueKind::Text(text) if text == "true" => Some(true),
            ValueKind::Bare(text) | ValueKind::Text(text) if text == "false" => Some(false),
            _ => self.bad_clause(keyword, value.span, "expected `true` or `false`"),
        }
    }

    fn bad_clause<T>(&mut self, keyword: &Word, span: Span, why: &str) -> Option<T> {
        let message = format!("{} takes another value", quoted(&keyword.text));
        self.report(Diagnostic::new(Number::BadClause, message).at(span, why));
        None
    }

    /// One, or a list of several.
    fn method(&mut self, keyword: &Word, value: &Value) -> Option<Ask> {
        let one = |lowering: &mut Self, value: &Value| {
            let (ValueKind::Bare(text) | ValueKind::Text(text)) = &value.kind else {
                return lowering.bad_clause(
                    keyword,
                    value.span,
                    "expected a method, such as `GET`",
                );
            };
            let upper = text.to_ascii_uppercase();
            if METHODS.contains(&upper.as_str()) {
                return Some(Literal::String(upper));
            }
            let near = METHODS
                .iter()
                .map(|method| (strsim::osa_distance(&upper, method), *method))
                .filter(|(distance, _)| *distance <= 2)
                .min();
            lowering.report(
                Diagnostic::new(
                    Number::BadClause,
                    format!("{} is no method of HTTP", quoted(text)),
                )
                .at(value.span, "no request would have it")
                .suggest(near.map(|(_, method)| method)),
            );
            None
        };
        let ValueKind::List(values) = &value.kind else {
            return one(self, value).map(Ask::Equals);
        };
        let found: Vec<Option<Literal>> = values.iter().map(|value| one(self, value)).collect();
        let mut methods = found.into_iter().collect::<Option<Vec<_>>>()?;
        methods.sort();
        methods.dedup();
        if methods.is_empty() || methods.len() > IN_MAX {
            return self.bad_clause(keyword, value.span, "expected at least one method");
        }
        Some(Ask::In(methods))
    }

    fn host(&mut self, keyword: &Word, value: &Value) -> Option<Ask> {
        let (ValueKind::Bare(text) | ValueKind::Text(text)) = &value.kind else {
            return self.bad_clause(
                keyword,
                value.span,
                "expected a host, such as `api.example.com`",
            );
        };
        match host_fault(text) {
            None => Some(Ask::Glob(Glob::Host, text.to_ascii_lowercase())),
            Some((why, help)) => {
                let finding =
                    Diagnostic::new(Number::BadClause, format!("{} is no host", quoted(text)))
                        .at(value.span, why);
                self.report(match help {
                    Some(help) => finding.help(help),
                    None => finding,
                });
                None
            }
        }
    }

    fn port(&mut self, keyword: &Word, value: &Value) -> Option<Ask> {
        let port = match &value.kind {
            ValueKind::Number(quantity) if quantity.unit == Unit::None => {
                Decimal::parse(&quantity.value).ok()
            }
            _ => None,
        };
        match port.as_ref().and_then(Decimal::to_i64) {
            Some(number @ 1..=65_535) => Some(Ask::Equals(Literal::Number(Decimal::from(number)))),
            _ => self.bad_clause(keyword, value.span, "expected a number from 1 to 65535"),
        }
    }

    fn request_path(&mut self, keyword: &Word, value: &Value) -> Option<Ask> {
        let (ValueKind::Bare(text) | ValueKind::Text(text)) = &value.kind else {
            return self.bad_clause(keyword, value.span, "expected a path, such as `/v1/*`");
        };
        if text.contains('?') {
            return self.bad_clause(
                keyword,
                value.span,
                "what stands behind `?` is the query: write `query k=v`",
            );
        }
        if !text.starts_with('/') || text.len() > TEXT_BYTES_MAX {
            return self.bad_clause(keyword, value.span, "a path starts with `/`");
        }
        if text.contains("**") {
            return self.bad_clause(
                keyword,
                value.span,
                "`**` does not exist; a trailing `/*` is everything below",
            );
        }
        if text.split('/').any(|segment| matches!(segment, "." | "..")) {
            return self.bad_clause(
                keyword,
                value.span,
                "no request has `.` or `..` in its path",
            );
        }
        Some(Ask::Glob(Glob::Path, text.clone()))
    }

    fn door(&mut self, keyword: &Word, value: &Value) -> Option<Ask> {
        let (ValueKind::Bare(text) | ValueKind::Text(text)) = &value.kind else {
            return self.bad_clause(keyword, value.span, "expected a door, such as `egress`");
        };
        if DOORS.contains(&text.as_str()) {
            return Some(Ask::Equals(Literal::String(text.clone())));
        }
        self.report(
            Diagnostic::new(Number::BadClause, format!("unknown door {}", quoted(text)))
                .at(value.span, "")
                .suggest(nearest(text, DOORS.into_iter()))
                .note(format!("doors are {}", alternatives(DOORS))),
        );
        None
    }
}

/// Why a text is no host, and what to write instead.
fn host_fault(text: &str) -> Option<(&'static str, Option<&'static str>)> {
    if text == "*" {
        return None;
    }
    if text.contains("://") || text.contains('/') {
        return Some((
            "a host is a name alone, without a scheme and without a path",
            Some("the path has a clause of its own: `path /v1/*`"),
        ));
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && !text.starts_with('[')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some((
            "a host is a name alone, without a port",
            Some("the port has a clause of its own: `port 443`"),
        ));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Some((
            "`*` stands alone, or as `*.` before a name",
            Some("`*.example.com` is every name below `example.com`"),
        ));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if is_v6(text) || (name.len() <= HOST_BYTES_MAX && name.split('.').all(label)) {
        return None;
    }
    Some((
        "hosts are labels of letters, digits and `-`, joined by points",
        Some("names of other letters are written in their ASCII form, `xn--…`"),
    ))
}

/// `[::1]`.
fn is_v6(name: &str) -> bool {
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}
