//! `paths { read_exclude […] edit_deny […] edit_protected […] edit_allow […] }`.

use super::{Draft, Lowering};
use crate::diagnostic::{Diagnostic, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Block, Item, Setting, Value, ValueKind};
use crate::vocabulary::Place;
use faramesh_core::policy::artifact::{LIST_MAX, PathRules};
use faramesh_core::policy::paths::check_glob;
use std::collections::BTreeMap;

impl Lowering<'_> {
    pub(super) fn paths(&mut self, block: &Block, draft: &mut Draft) {
        if let Some(first) = draft.paths_at.replace(block.head) {
            self.report(
                Diagnostic::new(Number::DuplicateSetting, "`paths` is given twice")
                    .at(block.head, "again here")
                    .at(first, "first here")
                    .help("join the two blocks"),
            );
        }
        if let Some(label) = block.labels.first() {
            self.report(
                Diagnostic::new(Number::BadName, "`paths` has no name")
                    .at(label.span, "remove this"),
            );
        }
        let mut rules = PathRules {
            read_exclude: Vec::new(),
            edit_deny: Vec::new(),
            edit_protected: Vec::new(),
            edit_allow: Vec::new(),
        };
        let mut given: BTreeMap<&str, Span> = BTreeMap::new();
        for item in &block.items {
            let Item::Setting(setting) = item else {
                self.unknown_word(item.word(), Place::Settings("paths"));
                continue;
            };
            let list = match setting.key.text.as_str() {
                "read_exclude" => &mut rules.read_exclude,
                "edit_deny" => &mut rules.edit_deny,
                "edit_protected" => &mut rules.edit_protected,
                "edit_allow" => &mut rules.edit_allow,
                _ => {
                    self.unknown_word(&setting.key, Place::Settings("paths"));
                    continue;
                }
            };
            if let Some(first) = given.insert(&setting.key.text, setting.key.span) {
                let message = format!("{} is given twice", quoted(&setting.key.text));
                self.report(
                    Diagnostic::new(Number::DuplicateSetting, message)
                        .at(setting.key.span, "again here")
                        .at(first, "first here")
                        .help("join the two lists"),
                );
            }
            *list = self.globs(setting);
        }
        draft.paths = Some(rules);
    }

    /// One glob or a list of them, sorted, each once.
    fn globs(&mut self, setting: &Setting) -> Vec<String> {
        let values: &[Value] = match setting.values.as_slice() {
            [
                Value {
                    kind: ValueKind::List(list),
                    ..
                },
            ] => list,
            other => other,
        };
        let mut globs = Vec::new();
        for value in values {
            match &value.kind {
                ValueKind::Text(text) | ValueKind::Bare(text) => match check_glob(text) {
                    Ok(()) if globs.contains(text) => {
                        self.bad_glob(value.span, text, "it stands there twice")
                    }
                    Ok(()) => globs.push(text.clone()),
                    Err(why) => self.bad_glob(value.span, text, why),
                },
                ValueKind::Bad => {}
                _ => self.report(
                    Diagnostic::new(Number::BadPathRule, "a path rule is a list of globs")
                        .at(value.span, "expected text in quotes"),
                ),
            }
        }
        if globs.len() > LIST_MAX {
            let message = format!("more than {LIST_MAX} globs");
            self.report(Diagnostic::new(Number::BadPathRule, message).at(setting.span, ""));
        }
        globs.sort();
        globs
    }

    fn bad_glob(&mut self, span: Span, glob: &str, why: &str) {
        let message = format!("{} is no glob for paths", quoted(glob));
        self.report(Diagnostic::new(Number::BadPathRule, message).at(span, why));
    }
}
