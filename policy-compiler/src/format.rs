//! `faramesh fmt`: a policy file in the one style, with every comment that stood in it.
//!
//! Invariants: comments come out in their order, each before or behind what it stood before or behind; what is written
//! parses to the same tree (checked before it is handed out) and formatting it again changes nothing.

use crate::diagnostic::{Diagnostic, Findings, Severity};
use crate::lex::{self, Kind, Tokens};
use crate::number::Number;
use crate::parse;
use crate::render::{self, WIDTH_MAX};
use crate::source::{SOURCE_BYTES_MAX, SourceFile};
use crate::syntax::{Block, File, Item, Rule, Setting, Value, ValueKind};
use crate::vocabulary::{Place, Shape};
use crate::yaml::{Form, block_place, shape, tree_as_json};
use std::collections::HashMap;

/// Formats a file in the policy language.
///
/// # Errors
/// What is wrong with its text, or that it is YAML or JSON, which have formatters of their own.
pub fn format(source: &SourceFile) -> Result<String, Vec<Diagnostic>> {
    let form = Form::of(&source.name);
    if form != Form::Fms {
        let message = format!("{} is not formatted here", form.as_str());
        return Err(vec![
            Diagnostic::new(Number::NotFormatted, message)
                .help("use a formatter for it, or `faramesh policy show` to see the policy in the policy language"),
        ]);
    }
    if let Some(other) = crate::yaml::other_form(&source.text, form) {
        return Err(vec![other]);
    }
    if source.text.len() > SOURCE_BYTES_MAX {
        return Err(vec![crate::too_large(source.text.len())]);
    }
    let (tokens, file) = read(&source.text)?;
    let mut formatter = Formatter {
        text: &source.text,
        comments: comments(&source.text, &tokens),
        next: 0,
        closes: closes(&tokens),
        done: 0,
        out: String::new(),
    };
    formatter.items(Place::Top, &file.items, 0, source.text.len());
    let out = formatter.out;
    let said = formatter.comments;
    match read(&out) {
        Ok((again_tokens, again))
            if tree_as_json(&again) == tree_as_json(&file)
                && same_comments(&source.text, &said, &out, &again_tokens) =>
        {
            Ok(out)
        }
        _ => Err(vec![
            Diagnostic::new(
                Number::NotFormatted,
                "formatting would change this file: it is left as it is",
            )
            .note("this is a fault of the formatter: please report it"),
        ]),
    }
}

fn read(text: &str) -> Result<(Tokens, File), Vec<Diagnostic>> {
    let mut diagnostics = Findings::default();
    let tokens = lex::lex(text, &mut diagnostics);
    let file = parse::parse(text, &tokens, &mut diagnostics);
    if diagnostics.has_errors() {
        let mut found = diagnostics.into_vec();
        found.retain(|finding| finding.severity == Severity::Error);
        crate::diagnostic::sort(&mut found);
        return Err(found);
    }
    Ok((tokens, file))
}

/// A comment from its `#` to the end of what it says.
#[derive(Debug, Clone, Copy)]
struct Comment {
    start: usize,
    end: usize,
}

/// What stands between the tokens.
fn comments(text: &str, tokens: &Tokens) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut from = 0;
    for token in &tokens.tokens {
        let gap = text.get(from..token.span.start).unwrap_or("");
        let mut at = from;
        for line in gap.split_inclusive('\n') {
            if let Some(hash) = line.find('#') {
                let said = line.get(hash..).unwrap_or("").trim_end();
                found.push(Comment {
                    start: at + hash,
                    end: at + hash + said.len(),
                });
            }
            at += line.len();
        }
        from = token.span.end;
    }
    found
}

fn same_comments(text: &str, said: &[Comment], out: &str, tokens: &Tokens) -> bool {
    let again = comments(out, tokens);
    said.len() == again.len()
        && said
            .iter()
            .zip(&again)
            .all(|(a, b)| text.get(a.start..a.end) == out.get(b.start..b.end))
}

/// By the place of each `{`, the place behind its `}`.
fn closes(tokens: &Tokens) -> HashMap<usize, usize> {
    let mut open = Vec::new();
    let mut closes = HashMap::new();
    for token in &tokens.tokens {
        match token.kind {
            Kind::Sign("{") => open.push(token.span.start),
            Kind::Sign("}") => {
                if let Some(start) = open.pop() {
                    closes.insert(start, token.span.end);
                }
            }
            _ => {}
        }
    }
    closes
}

struct Formatter<'a> {
    text: &'a str,
    comments: Vec<Comment>,
    /// The first comment that is not written yet.
    next: usize,
    closes: HashMap<usize, usize>,
    /// How far the source is written.
    done: usize,
    out: String,
}

// Lines.
impl Formatter<'_> {
    fn line(&mut self, depth: usize, line: &str) {
        for _ in 0..depth {
            self.out.push_str("  ");
        }
        self.out.push_str(line);
        self.out.push('\n');
    }

    /// Whether the source leaves a line empty between what is written and this place.
    fn gap(&self, start: usize) -> bool {
        let between = self.text.get(self.done..start).unwrap_or("");
        between.matches('\n').count() > 1
    }

    /// An empty line, unless a block or the file has just started.
    fn space(&mut self) {
        let starts = self.out.is_empty() || self.out.ends_with("{\n") || self.out.ends_with("\n\n");
        if !starts {
            self.out.push('\n');
        }
    }

    fn comment_before(&self, end: usize) -> Option<Comment> {
        let comment = self.comments.get(self.next).copied()?;
        (comment.start < end).then_some(comment)
    }

    /// Writes the comments before this place, each on its line. `space`: the first is set apart.
    fn leading(&mut self, depth: usize, end: usize, mut space: bool) -> bool {
        let mut any = false;
        while let Some(comment) = self.comment_before(end) {
            if std::mem::take(&mut space) || self.gap(comment.start) {
                self.space();
            }
            let said = self
                .text
                .get(comment.start..comment.end)
                .unwrap_or("")
                .to_string();
            self.line(depth, &said);
            self.done = comment.end;
            self.next += 1;
            any = true;
        }
        any
    }

    /// Writes the comment on the line of what was written last behind it, if there is one before `end`.
    fn trailing(&mut self, end: usize) {
        let Some(comment) = self.comment_before(end) else {
            return;
        };
        let between = self.text.get(self.done..comment.start).unwrap_or("");
        let same = between
            .chars()
            .all(|character| matches!(character, ' ' | '\t' | ',' | ';'));
        if !same {
            return;
        }
        if self.out.ends_with('\n') {
            self.out.pop();
        }
        self.out.push_str("  ");
        let said = self.text.get(comment.start..comment.end).unwrap_or("");
        self.out.push_str(said);
        self.out.push('\n');
        self.done = comment.end;
        self.next += 1;
    }
}

// Items.
impl Formatter<'_> {
    /// The items of a block that ends before `end`, and the comments behind the last.
    fn items(&mut self, place: Place, items: &[Item], depth: usize, end: usize) {
        for (index, item) in items.iter().enumerate() {
            let start = item.span().start;
            let apart = index > 0 && depth == 0 && matches!(item, Item::Block(_));
            let first = self.comment_before(start).is_some();
            self.leading(depth, start, apart);
            if (apart && !first) || self.gap(start) {
                self.space();
            }
            let until = items.get(index + 1).map_or(end, |next| next.span().start);
            match item {
                Item::Rule(rule) => self.rule(rule, depth),
                Item::Setting(setting) => self.setting(place, setting, depth),
                Item::Block(block) => self.block(place, block, depth),
                Item::Example(example) => {
                    self.leading(depth, example.span.end, false);
                    self.line(depth, &render::example(example));
                    self.done = example.span.end;
                }
            }
            self.trailing(until);
        }
        self.leading(depth, end, false);
    }

    fn block(&mut self, place: Place, block: &Block, depth: usize) {
        let open = block.head.end;
        let close = self
            .closes
            .get(&open.saturating_sub(1))
            .copied()
            .unwrap_or(open);
        self.leading(depth, open, false);
        let mut head = block.keyword.text.clone();
        for label in &block.labels {
            head.push(' ');
            match &label.kind {
                ValueKind::Bare(name) if block.keyword.text == "agent" => {
                    render::text(name, &mut head);
                }
                _ => render::value(label, &mut head),
            }
        }
        self.done = open;
        let sign = self.text.get(open.saturating_sub(1)..open);
        if sign != Some("{") {
            self.line(depth, &head);
            return;
        }
        head.push_str(" {");
        if block.items.is_empty() && self.comment_before(close).is_none() {
            head.push('}');
            self.line(depth, &head);
        } else {
            self.line(depth, &head);
            let first = block.items.first().map_or(close, |item| item.span().start);
            self.trailing(first);
            let inner = block_place(place, &block.keyword.text);
            self.items(inner, &block.items, depth + 1, close.saturating_sub(1));
            self.line(depth, "}");
        }
        self.done = close;
    }

    fn setting(&mut self, place: Place, setting: &Setting, depth: usize) {
        let line = matches!(shape(place, &setting.key.text), Some(Shape::Line));
        let end = setting.span.end;
        let short = render::setting(setting, line);
        let list = setting.values.last().and_then(|value| match &value.kind {
            ValueKind::List(values) if !values.is_empty() => Some((value, values)),
            _ => None,
        });
        let fits = 2 * depth + short.chars().count() <= WIDTH_MAX;
        let inside = |comment: Comment, value: &Value| comment.start > value.span.start;
        match list {
            Some((value, values)) => {
                self.leading(depth, value.span.start, false);
                let within = self
                    .comment_before(end)
                    .is_some_and(|comment| inside(comment, value));
                if within || !fits {
                    let head = render::before_last(setting, line);
                    self.list(&head, value, values, depth);
                    return;
                }
            }
            None => {
                self.leading(depth, end, false);
            }
        }
        self.line(depth, &short);
        self.done = end;
    }

    /// `key = [`, an element a line, `]`.
    fn list(&mut self, head: &str, list: &Value, values: &[Value], depth: usize) {
        self.line(depth, &format!("{head}["));
        self.done = list.span.start + 1;
        let first = values
            .first()
            .map_or(list.span.end, |value| value.span.start);
        self.trailing(first);
        for (index, value) in values.iter().enumerate() {
            self.leading(depth + 1, value.span.end, false);
            let mut line = String::new();
            render::value(value, &mut line);
            line.push(',');
            self.line(depth + 1, &line);
            self.done = value.span.end;
            let until = values
                .get(index + 1)
                .map_or(list.span.end, |next| next.span.start);
            self.trailing(until);
        }
        self.leading(depth + 1, list.span.end, false);
        self.line(depth, "]");
        self.done = list.span.end;
    }
}

// Rules.
impl Formatter<'_> {
    fn rule(&mut self, rule: &Rule, depth: usize) {
        let tool_end = rule
            .tool
            .as_ref()
            .map_or(rule.effect.span.end, |tool| tool.span.end);
        self.leading(depth, tool_end, false);
        if self.comment_before(rule.span.end).is_some() {
            self.commented_rule(rule, tool_end, depth);
        } else {
            for (index, line) in render::rule_lines(rule, 2 * depth).iter().enumerate() {
                let deeper = usize::from(index > 0);
                self.line(depth + deeper, line);
            }
        }
        self.done = rule.span.end;
    }

    /// With comments between its clauses: a clause a line, in the order of the file.
    fn commented_rule(&mut self, rule: &Rule, tool_end: usize, depth: usize) {
        self.line(depth, &render::rule_head(rule));
        self.done = tool_end;
        for clause in &rule.clauses {
            let start = clause.keyword.span.start;
            self.trailing(start);
            let end = render::clause_end(clause);
            self.leading(depth + 1, end, false);
            self.line(depth + 1, &render::clause(clause));
            self.done = end;
        }
    }
}
