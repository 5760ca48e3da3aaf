//! What a file declares beside its rules, as far as rules rest on it: read before any rule is.

use crate::syntax::{Block, Item, ValueKind};
use crate::vocabulary;
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::{Kind, ToolSchema};
use faramesh_core::policy::pattern;
use std::collections::BTreeSet;

/// Patterns with a star that are looked through for one name, and names for one pattern. Beyond them a tool counts as
/// named: bounds the work on a hostile file.
const TOOLS_MAX: usize = 1_024;

/// Tools and patterns of an agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tools {
    exact: BTreeSet<String>,
    wide: BTreeSet<String>,
}

impl Tools {
    fn add(&mut self, tool: &str) {
        let of = if tool.contains('*') {
            &mut self.wide
        } else {
            &mut self.exact
        };
        of.insert(tool.to_owned());
    }

    /// Whether this very name or pattern stands there.
    pub(crate) fn has(&self, tool: &str) -> bool {
        self.exact.contains(tool) || self.wide.contains(tool)
    }

    /// Whether something there may speak of such a tool.
    pub(crate) fn may_mean(&self, tool: &str) -> bool {
        if self.has(tool) || self.wide.len() > TOOLS_MAX {
            return true;
        }
        let wide = self.wide.iter().any(|wide| pattern::may_meet(wide, tool));
        wide || (tool.contains('*')
            && (self.exact.len() > TOOLS_MAX
                || self.exact.iter().any(|exact| pattern::matches(tool, exact))))
    }
}

/// What rules of one agent may rest on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared {
    /// An `identity` block stands in the file.
    pub(crate) identity: bool,
    /// `selector NAME { … }` of the agent.
    pub(crate) selectors: BTreeSet<String>,
    /// `var NAME …` that the agent's rules may write. They are put in before rules are lowered; a name that is nearly one
    /// of them is none.
    pub(crate) vars: BTreeSet<String>,
    /// `tool "x" { … }` of the agent, sorted by pattern.
    pub(crate) schemas: Vec<ToolSchema>,
    /// What its rules and schemas speak of.
    pub(crate) tools: Tools,
    /// What its permits and deferrals speak of; everything, where the default is one.
    pub(crate) permitted: Tools,
}

/// What the schemas that hold for all of a rule's tools say of an argument.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Declares {
    /// It is declared.
    Kind(Kind),
    /// Arguments below it are declared.
    Object,
    /// One above it is declared as something that has no fields.
    Scalar { above: String, kind: Kind },
    /// A closed schema does not have it.
    Closed { schema: String },
    /// Nobody says anything of it.
    Nothing,
}

impl Declared {
    /// Whether an `identity` block stands in the file.
    pub(crate) fn has_identity(file: &[Item]) -> bool {
        let is =
            |item: &Item| matches!(item, Item::Block(block) if block.keyword.text == "identity");
        file.iter().any(is)
    }

    /// The agent's selectors and tools; schemas are lowered on their own.
    pub(crate) fn of(identity: bool, agent: &[Item]) -> Declared {
        let mut declared = Declared {
            identity,
            ..Declared::default()
        };
        for item in agent {
            declared.take(item);
        }
        declared
    }

    fn take(&mut self, item: &Item) {
        match item {
            Item::Rule(rule) => {
                let Some(tool) = &rule.tool else { return };
                self.tools.add(&tool.text);
                if vocabulary::effect(&rule.effect.text)
                    .is_some_and(|effect| effect.effect() != Effect::Deny)
                {
                    self.permitted.add(&tool.text);
                }
            }
            Item::Block(block) => match block.keyword.text.as_str() {
                "rules" | "phase" => block.items.iter().for_each(|item| self.take(item)),
                "selector" => self.selectors.extend(label(block)),
                "tool" => {
                    if let Some(tool) = label(block) {
                        self.tools.add(&tool);
                    }
                }
                _ => {}
            },
            Item::Setting(setting) if setting.key.text == "default" => {
                let word = match setting.values.as_slice() {
                    [value] => match &value.kind {
                        ValueKind::Bare(word) | ValueKind::Text(word) => vocabulary::effect(word),
                        _ => None,
                    },
                    _ => None,
                };
                if word.is_some_and(|effect| effect.effect() != Effect::Deny) {
                    self.permitted.add("*");
                }
            }
            Item::Setting(_) | Item::Example(_) => {}
        }
    }

    /// Schemas of every tool that the pattern speaks of. The pattern is read as a tool's name: its stars then match
    /// exactly where a wider star stands.
    fn over<'d>(&'d self, tools: &'d str) -> impl Iterator<Item = &'d ToolSchema> {
        self.schemas
            .iter()
            .filter(move |schema| pattern::matches(&schema.pattern, tools))
    }

    pub(crate) fn argument(&self, tools: &str, path: &[String]) -> Declares {
        let mut found = Declares::Nothing;
        for schema in self.over(tools) {
            match of_schema(schema, path) {
                Declares::Nothing => {}
                // Two that disagree leave it open: a call passes both or is none.
                Declares::Kind(kind) => {
                    found = match found {
                        Declares::Kind(other) if other != kind => Declares::Kind(Kind::Any),
                        _ => Declares::Kind(kind),
                    }
                }
                Declares::Object if !matches!(found, Declares::Nothing) => {}
                other @ Declares::Object => found = other,
                impossible => return impossible,
            }
        }
        found
    }

    pub(crate) fn requires(&self, tools: &str, path: &[String]) -> bool {
        self.over(tools).any(|schema| {
            schema
                .arguments
                .iter()
                .any(|argument| argument.required && argument.path.starts_with(path))
        })
    }

    /// Whether a schema that speaks of some of the tools has an argument of this name.
    pub(crate) fn names(&self, tools: &str, path: &[String]) -> bool {
        self.beside(tools).any(|schema| {
            schema
                .arguments
                .iter()
                .any(|argument| argument.path.starts_with(path) || path.starts_with(&argument.path))
        })
    }

    /// Names of all arguments of schemas that speak of some of the tools.
    pub(crate) fn argument_names(&self, tools: &str) -> Vec<String> {
        self.beside(tools)
            .flat_map(|schema| &schema.arguments)
            .map(|argument| argument.path.join("."))
            .collect()
    }

    fn beside<'d>(&'d self, tools: &'d str) -> impl Iterator<Item = &'d ToolSchema> {
        self.schemas.iter().filter(move |schema| {
            pattern::matches(&schema.pattern, tools) || pattern::matches(tools, &schema.pattern)
        })
    }
}

fn label(block: &Block) -> Option<String> {
    match &block.labels.first()?.kind {
        ValueKind::Bare(name) | ValueKind::Text(name) => Some(name.clone()),
        _ => None,
    }
}

fn of_schema(schema: &ToolSchema, path: &[String]) -> Declares {
    let mut below = false;
    for argument in &schema.arguments {
        if argument.path == path {
            return Declares::Kind(argument.kind);
        }
        below |= argument.path.starts_with(path);
    }
    if below {
        return Declares::Object;
    }
    let above = schema
        .arguments
        .iter()
        .filter(|argument| path.starts_with(&argument.path))
        .max_by_key(|argument| argument.path.len());
    match above {
        Some(argument) if matches!(argument.kind, Kind::Any | Kind::Object) => Declares::Nothing,
        Some(argument) => Declares::Scalar {
            above: argument.path.join("."),
            kind: argument.kind,
        },
        None if schema.closed => Declares::Closed {
            schema: schema.pattern.clone(),
        },
        None => Declares::Nothing,
    }
}
