//! The real pipeline: source text through the compiler into the core, and its answer in the twin's words.

use crate::chance::Chance;
use crate::decide::Answer;
use crate::facts::{Moment, Question};
use crate::print;
use crate::tree;
use crate::windows::Session;
use faramesh_core::call::accept;
use faramesh_core::decision::{Decision, Input};
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::json::{self, Value};
use faramesh_core::pipeline;
use faramesh_core::policy::artifact::Field;
use faramesh_core::policy::{Policy, Supposed};
use faramesh_core::record::{
    self, Activation, Body, DecisionRecord, Door, Header, RunMode, SessionStart, Start, Time,
};
use faramesh_core::state::State;
use faramesh_policy_compiler::{Options, Severity, SourceFile, compile};

/// The one session of a test.
pub(crate) const SESSION: &str = "s-1";

/// Compiles a file's text, or says what is wrong with it.
pub(crate) fn load(name: &str, text: &str) -> Result<Policy, String> {
    let outcome = compile(&SourceFile::new(name, text), &Options::default());
    let Some(artifact) = outcome.artifact else {
        let first = outcome
            .diagnostics
            .iter()
            .find(|finding| finding.severity == Severity::Error)
            .unwrap();
        return Err(format!("{}: {}", first.number.as_str(), first.message));
    };
    Ok(Policy::of(&artifact).expect("what compiles loads"))
}

/// A policy that compiles, as its tree, its text and the real thing.
pub(crate) struct Compiled {
    pub(crate) tree: tree::Policy,
    pub(crate) text: String,
    pub(crate) policy: Policy,
    /// Why parts were left out that the compiler refuses: what is made by chance may be of types that do not fit.
    pub(crate) refused: Vec<String>,
}

/// Parts of a policy that can be left out.
const PARTS: [fn(&mut tree::Policy); 5] = [
    |policy| policy.zone = "UTC".to_owned(),
    |policy| policy.agents[0].vars.clear(),
    |policy| policy.agents[0].demands.clear(),
    |policy| policy.agents[0].schemas.clear(),
    |policy| policy.agents[0].paths = None,
];

pub(crate) fn compiled(mut tree: tree::Policy, chance: &mut Chance) -> Compiled {
    let mut refused = Vec::new();
    loop {
        let text = print::fpl(&tree, chance);
        match load("governance.fms", &text) {
            Ok(policy) => {
                return Compiled {
                    tree,
                    text,
                    policy,
                    refused,
                };
            }
            Err(why) => {
                assert!(refused.len() < 20, "nothing of it compiles: {why}\n{text}");
                refused.push(why);
                leave_out(&mut tree, chance);
            }
        }
    }
}

/// Leaves out what does not compile by itself.
fn leave_out(tree: &mut tree::Policy, chance: &mut Chance) {
    let compiles = |tree: &tree::Policy, chance: &mut Chance| {
        load("governance.fms", &print::fpl(tree, chance)).is_ok()
    };
    let rules = std::mem::take(&mut tree.agents[0].rules);
    for part in PARTS {
        if !compiles(tree, chance) {
            part(tree);
        }
    }
    let before = rules.len();
    let mut kept = Vec::new();
    for rule in rules {
        tree.agents[0].rules = vec![rule.clone()];
        if compiles(tree, chance) {
            kept.push(rule);
        }
    }
    if kept.len() == before {
        // Each by itself compiles, and all together do not.
        kept.pop();
    }
    tree.agents[0].rules = kept;
}

/// The journal's state with the one session, and the number of records in it.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) state: State,
}

impl Journal {
    /// The session begins.
    pub(crate) fn new(agent: &str, policy: &Policy, session: &Session, now: Moment) -> Journal {
        let mut journal = Journal {
            state: State::new(),
        };
        let start = Start {
            version: String::new(),
            boot_id: String::new(),
            uid: 1,
            pid: 1,
            cut_bytes: 0,
            warnings: Vec::new(),
        };
        journal.apply(&Body::Start(start), now);
        // What the policy asks to be counted is counted from here on.
        let activation = Activation {
            number: 1,
            digest: *policy.digest(),
            manifest: [0; 32],
            policy_mode: "enforce".to_owned(),
            windows: policy.windows().names(),
        };
        journal.apply(&Body::Activation(activation), now);
        let start = SessionStart {
            session: SESSION.to_owned(),
            agent: agent.to_owned(),
            uid: 1001,
            pid: 2,
            start_ticks: 3,
            boot_id: String::new(),
            workspace: session.workspace.clone().unwrap_or_default(),
            cgroup: String::new(),
            command: Vec::new(),
            stripped_env: Vec::new(),
            probes: session
                .measured
                .iter()
                .map(|(layer, holds)| (layer.clone(), *holds, String::new()))
                .collect(),
        };
        journal.apply(&Body::SessionStart(Box::new(start)), now);
        journal
    }

    fn apply(&mut self, body: &Body, now: Moment) {
        let seq = self.state.next_seq();
        self.state.apply(seq, time(now), body).unwrap();
    }

    /// A decision is written down, and what it changes holds for the next.
    pub(crate) fn record(
        &mut self,
        policy: &Policy,
        asked: &Attested,
        decision: Decision,
        now: Moment,
    ) {
        self.apply(&body(policy, asked, decision), now);
    }
}

/// A decision as the sequencer writes it down.
pub(crate) fn body(policy: &Policy, asked: &Attested, decision: Decision) -> Body {
    let effects = policy.windows().effects(asked, Door::Govern, &decision);
    Body::Decision(Box::new(DecisionRecord {
        session: asked.session().map(str::to_owned),
        agent: asked.agent().to_owned(),
        attested: asked.is_attested(),
        uid: 1001,
        door: Door::Govern,
        tool: asked.call().tool().to_owned(),
        policy: *policy.digest(),
        decision,
        effects,
        arguments: asked.call().arguments_text().to_owned(),
        args_salt: [1; 16],
        detail_salt: [2; 16],
    }))
}

/// The bytes of the next record and of its detail.
pub(crate) fn record(journal: &Journal, body: Body, now: Moment) -> (Vec<u8>, Vec<u8>) {
    let header = Header {
        seq: journal.state.next_seq(),
        prev: [3; 32],
        stack: "s".to_owned(),
        mode: RunMode::Enforced,
        time: time(now),
    };
    let encoded = record::encode(&header, &body).unwrap();
    (encoded.record, encoded.detail)
}

fn time(now: Moment) -> Time {
    Time {
        wall_ms: now.wall_ms,
        boot_ms: now.boot_ms,
    }
}

/// The call as the daemon would make it of the caller's bytes.
pub(crate) fn attested(question: &Question<'_>) -> Attested {
    let call = accept(
        question.tool,
        question.agent,
        question.args.written().as_bytes(),
    )
    .expect("generated calls are calls");
    let caller = match question.session.attested {
        true => Caller::Session {
            session: SESSION.into(),
            agent: question.agent.into(),
            uid: 1001,
        },
        false => Caller::Unattested { uid: 1001 },
    };
    attest(call, caller).unwrap()
}

pub(crate) fn ask(policy: &Policy, question: &Question<'_>, journal: &Journal) -> Decision {
    put(policy, &attested(question), question, journal)
}

pub(crate) fn put(
    policy: &Policy,
    asked: &Attested,
    question: &Question<'_>,
    journal: &Journal,
) -> Decision {
    let mut supposed = Supposed::nothing();
    for (name, value) in question.supposed {
        let value = json::parse(value.written().as_bytes()).unwrap();
        suppose(policy, name, value, &mut supposed);
    }
    decided(policy, asked, question, journal, &supposed)
}

/// Decides with nothing but what another decision says that it read.
pub(crate) fn put_supposing(
    policy: &Policy,
    asked: &Attested,
    question: &Question<'_>,
    journal: &Journal,
    inputs: &[Input],
) -> Decision {
    let mut supposed = Supposed::nothing();
    for input in inputs {
        let text = input.value.as_deref().unwrap_or("null");
        let value = json::parse(text.as_bytes()).unwrap();
        suppose(policy, &input.field, value, &mut supposed);
    }
    decided(policy, asked, question, journal, &supposed)
}

/// The field of that name, among those that the policy reads or demands.
fn suppose(policy: &Policy, name: &str, value: Value, supposed: &mut Supposed) {
    if let Some(layer) = name.strip_prefix("enforcement.") {
        supposed.suppose(Field::Enforcement(layer.to_owned()), value);
        return;
    }
    let agents = &policy.artifact().agents;
    let mut fields = agents.iter().flat_map(|agent| &agent.fields);
    if let Some(field) = fields.find(|field| field.to_string() == name) {
        supposed.suppose(field.clone(), value);
    }
}

fn decided(
    policy: &Policy,
    asked: &Attested,
    question: &Question<'_>,
    journal: &Journal,
    supposed: &Supposed,
) -> Decision {
    let question = pipeline::Question {
        attested: asked,
        door: Door::Govern,
        now: time(question.now),
        supposed,
    };
    pipeline::decide(&question, policy, &journal.state)
}

/// What is compared of a decision.
pub(crate) fn answer(decision: &Decision) -> Answer {
    Answer {
        effect: decision.effect,
        would: decision.would,
        code: decision.code,
        rule: decision.rule.map(|number| number as usize),
        missing: decision.missing.iter().cloned().collect(),
        notify: decision.notify.iter().cloned().collect(),
    }
}
