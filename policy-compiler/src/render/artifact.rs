//! A whole artifact as a policy file.
//!
//! Invariant: compiling the file gives the artifact again, whatever compiled to it; what equals its default is not written.

use super::{effect, pattern, text, word};
use crate::yaml;
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{
    Access, AgentPolicy, Argument, Artifact, Datum, Declaration, Example, Kind, Mode, PathRules,
    Phase, Profile, Redaction, Runtime, Setting, ToolSchema, Unit,
};

/// A policy as a file in one form: compiling it gives the same policy again. Comments are not in an artifact, and so not
/// in this.
pub fn policy(artifact: &Artifact) -> String {
    let mut page = Page::default();
    page.runtime(&artifact.runtime);
    for one in &artifact.declarations {
        page.apart();
        page.declaration(one);
    }
    for agent in &artifact.agents {
        page.apart();
        if agent.name.is_empty() {
            page.agent(agent);
        } else {
            page.block("agent", Some(&agent.name), |page| page.agent(agent));
        }
    }
    page.out
}

/// A value as a policy writes it: `$5`, `5m`, `"a"`, `[1, 2]`.
pub fn value(datum: &Datum) -> String {
    let mut out = String::new();
    self::datum(datum, &mut out);
    out
}

/// The word of a `rate_limit`'s window: `hour` of `5 per hour`.
pub fn window(window: &Datum) -> &'static str {
    per(window)
}

/// The word of an argument's kind: `path.read`.
pub const fn kind_word(kind: Kind) -> &'static str {
    self::kind(kind)
}

/// Text that grows by lines.
#[derive(Default)]
struct Page {
    out: String,
    depth: usize,
}

// Lines.
impl Page {
    fn line(&mut self, line: &str) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn apart(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("{\n") {
            self.out.push('\n');
        }
    }

    fn block(&mut self, keyword: &str, label: Option<&str>, inside: impl FnOnce(&mut Page)) {
        let mut head = String::from(keyword);
        if let Some(label) = label {
            head.push(' ');
            text(label, &mut head);
        }
        self.open(&head, inside);
    }

    fn open(&mut self, head: &str, inside: impl FnOnce(&mut Page)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.line("}");
    }

    fn texts<'t>(&mut self, key: &str, values: impl IntoIterator<Item = &'t String>) {
        let mut line = format!("{key} = ");
        list(values, &mut line);
        self.line(&line);
    }
}

// The stack.
impl Page {
    fn runtime(&mut self, runtime: &Runtime) {
        let none = Runtime::default();
        if *runtime == none {
            return;
        }
        self.open("runtime", |page| {
            if runtime.mode == Mode::Shadow {
                page.line("mode = \"shadow\"");
            }
            let mut duration = |key: &str, milliseconds: u64| {
                let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
                page.line(&format!("{key} = {seconds}.{rest:03}s"));
            };
            if runtime.cold_start_deny_window_ms != none.cold_start_deny_window_ms {
                duration("cold_start_deny_window", runtime.cold_start_deny_window_ms);
            }
            if let Some(anchor) = &runtime.anchor {
                duration("anchor_max_lag", anchor.max_lag_ms);
                page.line(&format!("anchor_on_lag = \"{}\"", anchor.on_lag.as_str()));
                page.line(&format!("anchor_quorum = {}", anchor.quorum));
            }
            if let Some(reveal) = runtime.reveal_rule {
                let word = if reveal { "rule" } else { "nothing" };
                page.line(&format!("reveal = \"{word}\""));
            }
            if runtime.profile == Profile::Minimal {
                page.line("agent_enforce_profile = \"minimal\"");
            }
            for (key, values) in [
                ("keep_env", &runtime.keep_env),
                ("allowed_sockets", &runtime.allowed_sockets),
            ] {
                if !values.is_empty() {
                    page.texts(key, values);
                }
            }
            if runtime.zone != none.zone {
                let mut line = String::from("timezone = ");
                text(&runtime.zone.name, &mut line);
                page.line(&line);
            }
            for one in &runtime.declared {
                page.setting(one);
            }
        });
    }
}

// An agent.
impl Page {
    fn agent(&mut self, agent: &AgentPolicy) {
        let mut given = vec![("default", agent.default.as_str())];
        given.extend(agent.run_as.iter().map(|user| ("run_as", user.as_str())));
        let described = agent.metadata.iter();
        given.extend(described.map(|(key, value)| (key.as_str(), value.as_str())));
        for (key, value) in given {
            let mut line = format!("{key} = ");
            text(value, &mut line);
            self.line(&line);
        }
        for layer in &agent.demands {
            self.line(&format!("require enforcement {layer}"));
        }
        for one in &agent.schemas {
            self.schema(one);
        }
        if let Some(paths) = &agent.paths {
            self.paths(paths);
        }
        for one in &agent.redactions {
            self.redaction(one);
        }
        for rule in &agent.rules {
            self.line(&rule.text);
        }
        for one in &agent.phases {
            self.phase(one);
        }
        if !agent.examples.is_empty() {
            self.open("examples", |page| {
                agent.examples.iter().for_each(|one| page.example(one));
            });
        }
        for one in &agent.declarations {
            self.declaration(one);
        }
    }

    fn schema(&mut self, schema: &ToolSchema) {
        self.block("tool", Some(&schema.pattern), |page| {
            for one in &schema.arguments {
                page.argument(one);
            }
            if schema.closed {
                page.line("closed");
            }
        });
    }

    fn argument(&mut self, argument: &Argument) {
        let mut line = String::from("arg ");
        match argument.path.as_slice() {
            [only] => word(only, &mut line),
            parts => line.push_str(&parts.join(".")),
        }
        line.push_str(": ");
        line.push_str(kind(argument.kind));
        if argument.required {
            line.push_str(" required");
        }
        self.line(&line);
    }

    fn paths(&mut self, paths: &PathRules) {
        self.block("paths", None, |page| {
            for (key, globs) in [
                ("read_exclude", &paths.read_exclude),
                ("edit_deny", &paths.edit_deny),
                ("edit_protected", &paths.edit_protected),
                ("edit_allow", &paths.edit_allow),
            ] {
                if !globs.is_empty() {
                    page.texts(key, globs);
                }
            }
        });
    }

    fn redaction(&mut self, redaction: &Redaction) {
        let mut line = format!("redact {} args: ", quoted(&redaction.pattern));
        let paths: Vec<String> = redaction.paths.iter().map(|path| path.join(".")).collect();
        list(&paths, &mut line);
        self.line(&line);
    }

    fn phase(&mut self, phase: &Phase) {
        self.block("phase", Some(&phase.name), |page| {
            for one in &phase.settings {
                page.setting(one);
            }
            for rule in &phase.rules {
                page.line(&rule.text);
            }
        });
    }

    fn example(&mut self, example: &Example) {
        let mut line = format!(
            "{} {}",
            effect(example.effect.as_str()),
            pattern(&example.tool)
        );
        if example.arguments != "{}" {
            line.push(' ');
            yaml::json_as_object(&example.arguments, &mut line);
        }
        if let Some(code) = &example.code {
            line.push_str(" code ");
            line.push_str(code);
        }
        if !example.given.is_empty() {
            line.push_str(" given { ");
            for (index, (field, value)) in example.given.iter().enumerate() {
                if index > 0 {
                    line.push_str(", ");
                }
                line.push_str(&field.to_string());
                line.push_str(": ");
                yaml::json_as_object(value, &mut line);
            }
            line.push_str(" }");
        }
        self.line(&line);
    }
}

// Blocks that nothing here decides by.
impl Page {
    fn declaration(&mut self, one: &Declaration) {
        match (one.keyword.as_str(), one.labels.as_slice()) {
            ("rate_limit", [pattern, window]) => {
                let mut line = String::from("rate_limit ");
                datum(pattern, &mut line);
                line.push_str(": ");
                for setting in &one.settings {
                    setting
                        .values
                        .iter()
                        .for_each(|value| datum(value, &mut line));
                }
                line.push_str(" per ");
                line.push_str(per(window));
                self.line(&line);
            }
            ("manifest", _) => self.manifest(one),
            ("key" | "spiffe_federated", _) => self.one_line(one),
            _ => {
                let mut head = one.keyword.clone();
                for label in &one.labels {
                    head.push(' ');
                    datum(label, &mut head);
                }
                self.open(&head, |page| {
                    for setting in &one.settings {
                        page.setting(setting);
                    }
                    for inner in &one.inner {
                        page.declaration(inner);
                    }
                });
            }
        }
    }

    fn one_line(&mut self, one: &Declaration) {
        let mut line = one.keyword.clone();
        for label in &one.labels {
            line.push(' ');
            datum(label, &mut line);
        }
        for setting in &one.settings {
            line.push(' ');
            line.push_str(&setting.key);
            line.push_str(" =");
            for value in &setting.values {
                line.push(' ');
                datum(value, &mut line);
            }
        }
        self.line(&line);
    }

    /// `manifest grant A to B max N approval`, `manifest orchestrator ID agents… undeclared deny`.
    fn manifest(&mut self, one: &Declaration) {
        let mut line = String::from("manifest");
        for (index, label) in one.labels.iter().enumerate() {
            line.push(' ');
            if index == 2 {
                line.push_str("to ");
            }
            match label {
                Datum::Text(name) if index == 0 => line.push_str(name),
                other => datum(other, &mut line),
            }
        }
        for key in ["agents", "undeclared", "max", "approval"] {
            let Some(setting) = one.settings.iter().find(|setting| setting.key == key) else {
                continue;
            };
            match setting.values.as_slice() {
                [Datum::List(agents)] => {
                    for agent in agents {
                        line.push(' ');
                        datum(agent, &mut line);
                    }
                }
                [Datum::Bool(_)] => {
                    line.push(' ');
                    line.push_str(key);
                }
                values => {
                    line.push(' ');
                    line.push_str(key);
                    for value in values {
                        line.push(' ');
                        datum(value, &mut line);
                    }
                }
            }
        }
        self.line(&line);
    }

    fn setting(&mut self, setting: &Setting) {
        let mut line = format!("{} = ", setting.key);
        match setting.values.as_slice() {
            [one] => datum(one, &mut line),
            several => datum_list(several, &mut line),
        }
        self.line(&line);
    }
}

fn quoted(value: &str) -> String {
    let mut out = String::new();
    text(value, &mut out);
    out
}

fn list<'t>(values: impl IntoIterator<Item = &'t String>, out: &mut String) {
    out.push('[');
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        text(value, out);
    }
    out.push(']');
}

fn datum_list(data: &[Datum], out: &mut String) {
    out.push('[');
    for (index, one) in data.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        datum(one, out);
    }
    out.push(']');
}

fn datum(one: &Datum, out: &mut String) {
    match one {
        Datum::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Datum::Number(number, Unit::None) => out.push_str(&number.to_string()),
        Datum::Number(number, Unit::Money) => {
            out.push('$');
            out.push_str(&number.to_string());
        }
        Datum::Number(number, Unit::Seconds) => {
            scaled(
                &number.to_string(),
                &[(86_400, "d"), (3_600, "h"), (60, "m")],
                "s",
                out,
            );
        }
        Datum::Number(number, Unit::Bytes) => bytes(&number.to_string(), out),
        Datum::Text(value) => text(value, out),
        Datum::List(data) => datum_list(data, out),
        Datum::Env(name) => {
            out.push_str("env(");
            text(name, out);
            out.push(')');
        }
    }
}

/// In the largest unit that it is a whole number of.
fn scaled(number: &str, units: &[(u64, &str)], base: &str, out: &mut String) {
    let whole: Option<u64> = number.parse().ok();
    for (factor, unit) in units {
        if let Some(whole) = whole
            && whole > 0
            && whole % factor == 0
        {
            out.push_str(&format!("{}{unit}", whole / factor));
            return;
        }
    }
    out.push_str(number);
    out.push_str(base);
}

/// The language has no unit for single bytes: a part of a thousand is a fraction of `kb`.
fn bytes(number: &str, out: &mut String) {
    match number.parse::<u64>() {
        Ok(whole) if !whole.is_multiple_of(1_000) => {
            out.push_str(&format!("{}.{:03}kb", whole / 1_000, whole % 1_000));
        }
        Ok(0) => out.push_str("0kb"),
        Ok(_) => scaled(
            number,
            &[(1_000_000_000, "gb"), (1_000_000, "mb"), (1_000, "kb")],
            "",
            out,
        ),
        Err(_) => match Decimal::parse(&format!("{number}e-3")) {
            Ok(thousands) => out.push_str(&format!("{thousands}kb")),
            Err(_) => out.push_str(number),
        },
    }
}

/// The window's word.
fn per(window: &Datum) -> &'static str {
    match window {
        Datum::Number(seconds, _) => match seconds.to_i64() {
            Some(1) => "second",
            Some(60) => "minute",
            Some(3_600) => "hour",
            _ => "day",
        },
        _ => "day",
    }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Any => "any",
        Kind::Bool => "bool",
        Kind::Number => "number",
        Kind::Money => "money",
        Kind::Duration => "duration",
        Kind::Size => "size",
        Kind::Text => "text",
        Kind::List => "list",
        Kind::Object => "object",
        Kind::Path(Access::Read) => "path.read",
        Kind::Path(Access::Edit) => "path.edit",
    }
}
