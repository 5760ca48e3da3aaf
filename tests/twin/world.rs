//! Everything around a call, told to both sides: clocks, what was measured, what was decided before.

use crate::chance::Chance;
use crate::decide::{self, Answer};
use crate::facts::{Moment, Question};
use crate::generate;
use crate::json::Json;
use crate::real::{self, Compiled, Journal};
use crate::windows::{Past, Session};
use faramesh_core::policy::Policy;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The agent that calls.
pub(crate) const AGENT: &str = "bot";

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) now: Moment,
    /// The one session that lives.
    pub(crate) inside: Session,
    /// Everybody outside any session.
    pub(crate) outside: Session,
    pub(crate) supposed: BTreeMap<String, Json>,
    pub(crate) journal: Journal,
}

impl World {
    /// A session that begins under this policy, whose windows are counted from here on.
    pub(crate) fn new(policy: &Policy, chance: &mut Chance) -> World {
        // Some second between 2020 and 2033.
        let now = Moment {
            wall_ms: 1_577_836_800_000 + chance.below(410_000_000) as u64 * 1_000,
            boot_ms: 10_000_000,
        };
        let inside = Session {
            attested: true,
            began: now,
            past: Vec::new(),
            measured: generate::measured(chance),
            workspace: Some("/home/bot/work".to_owned()),
        };
        World {
            now,
            journal: Journal::new(AGENT, policy, &inside, now),
            inside,
            outside: Session {
                attested: false,
                began: now,
                past: Vec::new(),
                measured: BTreeMap::new(),
                workspace: None,
            },
            supposed: BTreeMap::new(),
        }
    }

    /// Around the windows' edges: nothing, a step of theirs, or a little beside it.
    pub(crate) fn time_goes_by(&mut self, chance: &mut Chance) {
        let step = chance.pick(&[
            0, 1, 500, 999, 1_000, 1_001, 4_000, 5_000, 60_000, 3_600_000,
        ]);
        self.now.boot_ms += step;
        self.now.wall_ms += step;
    }

    pub(crate) fn question<'a>(
        &'a self,
        tool: &'a str,
        args: &'a Json,
        in_session: bool,
    ) -> Question<'a> {
        Question {
            agent: AGENT,
            tool,
            args,
            session: if in_session {
                &self.inside
            } else {
                &self.outside
            },
            now: self.now,
            supposed: &self.supposed,
        }
    }

    /// As a person reads it.
    pub(crate) fn shown(&self) -> String {
        let mut out = format!(
            "now {:?}, measured {:?}, supposed {:?}\n",
            self.now, self.inside.measured, self.supposed
        );
        for (who, session) in [("inside", &self.inside), ("outside", &self.outside)] {
            for past in &session.past {
                let (at, effect) = (past.at.boot_ms, past.effect.as_str());
                let args = past.args.written();
                let _ = writeln!(out, "{who} at {at}: {effect} {} {args}", past.tool);
            }
        }
        out
    }

    /// Both answers.
    pub(crate) fn ask(
        &self,
        compiled: &Compiled,
        tool: &str,
        args: &Json,
        in_session: bool,
    ) -> (Answer, Answer) {
        let question = self.question(tool, args, in_session);
        let decision = real::ask(&compiled.policy, &question, &self.journal);
        (
            real::answer(&decision),
            decide::decide(&compiled.tree, &question),
        )
    }

    /// What was answered is part of what comes next.
    pub(crate) fn remember(
        &mut self,
        compiled: &Compiled,
        tool: &str,
        args: Json,
        in_session: bool,
    ) {
        let question = self.question(tool, &args, in_session);
        let asked = real::attested(&question);
        let decision = real::put(&compiled.policy, &asked, &question, &self.journal);
        let effect = decision.effect;
        let now = self.now;
        self.journal.record(&compiled.policy, &asked, decision, now);
        let session = match in_session {
            true => &mut self.inside,
            false => &mut self.outside,
        };
        session.past.push(Past {
            at: now,
            tool: tool.to_owned(),
            args,
            effect,
        });
    }
}
