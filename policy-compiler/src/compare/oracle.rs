//! The real evaluator, asked about one test, or about one call.
//!
//! Nothing here knows what a test means: a test is put into a policy of its own, `deny! * if TEST` with `default permit`,
//! and the core's decision says *no* (permit), *maybe* (`INDETERMINATE`) or *yes*. So there is no second definition of
//! the tests that could differ from the first. The same is done with what stands around the rules.

use faramesh_core::call::accept;
use faramesh_core::decision::{Code, Decision, Effect};
use faramesh_core::identity::{Caller, attest};
use faramesh_core::json;
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::{
    AgentPolicy, Argument, Artifact, Ask, Field, Kind, Op, PathRules, Rule, RuleEffect, Runtime,
    Step, Test, ToolSchema, capabilities,
};
use faramesh_core::policy::{Policy, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use std::cmp::Ordering;

/// A truth as a bit, so that several can be possible at once.
pub(super) const NO: u8 = 1;
pub(super) const MAYBE: u8 = 2;
pub(super) const YES: u8 = 4;
pub(super) const UNKNOWN: u8 = NO | MAYBE | YES;

/// A call with what is supposed beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) tool: String,
    pub(super) agent: String,
    /// A JSON object.
    pub(super) arguments: String,
    /// Facts that doors supply, as JSON.
    pub(super) facts: Vec<(Field, String)>,
}

/// What the evaluator decides; `None` where this is no call at all, for any policy.
pub(super) fn ask(policy: &Policy, asked: &Asked) -> Option<Decision> {
    let call = accept(&asked.tool, &asked.agent, asked.arguments.as_bytes()).ok()?;
    let attested = attest(call, Caller::Unattested { uid: 0 }).ok()?;
    let mut supposed = policy
        .agent(&asked.agent)
        .map_or(Supposed::nothing(), Supposed::first_call);
    let facts = asked.facts.iter();
    supposed.extend(
        facts.filter_map(|(field, text)| Some((field.clone(), json::parse(text.as_bytes()).ok()?))),
    );
    let question = Question {
        attested: &attested,
        door: Door::Govern,
        now: Time {
            wall_ms: 0,
            boot_ms: 0,
        },
        supposed: &supposed,
    };
    Some(decide(&question, policy, &State::new()))
}

/// Something that has one of three answers for a call.
#[derive(Debug)]
pub(super) struct Probe {
    policy: Policy,
    what: What,
    /// The fields that it depends on.
    pub(super) fields: Vec<Field>,
    /// What is asked, where it is a test of a rule.
    pub(super) ask: Option<Ask>,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// A test of a rule.
    Test,
    /// Yes: the call gets through; no: it is refused before any rule.
    Check,
    /// Yes: no path refuses; maybe: one defers; no: one denies.
    Paths,
}

impl Probe {
    /// A test of an agent's rule, for tools that these closed schemas speak of.
    pub(super) fn test(agent: &AgentPolicy, test: &Test, closed: &[ToolSchema]) -> Option<Probe> {
        let (fields, test) = alone(agent, test)?;
        let policy = AgentPolicy {
            default: Effect::Permit,
            rules: vec![Rule {
                effect: RuleEffect::DenyHard,
                pattern: "*".to_owned(),
                condition: vec![Op::Test(0)],
                reason: None,
                notify: Vec::new(),
                reeval: false,
                text: String::new(),
            }],
            fields: fields.clone(),
            tests: vec![test.clone()],
            schemas: joined(closed),
            ..AgentPolicy::default()
        };
        Probe::new(policy, What::Test, fields, Some(test.ask))
    }

    /// Whether one argument is as a schema wants it.
    pub(super) fn argument(argument: &Argument) -> Option<Probe> {
        let field = Field::Args(argument.path.clone());
        let schema = ToolSchema {
            pattern: "*".to_owned(),
            arguments: vec![argument.clone()],
            closed: false,
        };
        let policy = AgentPolicy {
            default: Effect::Permit,
            schemas: vec![schema],
            ..AgentPolicy::default()
        };
        Probe::new(policy, What::Check, vec![field], None)
    }

    /// Whether a closed schema lets an argument stand there at all.
    pub(super) fn declared(schema: &ToolSchema, path: &[String]) -> Option<Probe> {
        let policy = AgentPolicy {
            default: Effect::Permit,
            schemas: joined(std::slice::from_ref(schema)),
            ..AgentPolicy::default()
        };
        Probe::new(policy, What::Check, vec![Field::Args(path.to_vec())], None)
    }

    /// Whether a demanded layer holds.
    pub(super) fn demand(layer: &str) -> Option<Probe> {
        let policy = AgentPolicy {
            default: Effect::Permit,
            demands: vec![layer.to_owned()],
            ..AgentPolicy::default()
        };
        let field = Field::Enforcement(layer.to_owned());
        Probe::new(policy, What::Check, vec![field], None)
    }

    /// What path rules say of one argument.
    pub(super) fn paths(
        rules: &PathRules,
        path: &[String],
        declared: Option<Kind>,
    ) -> Option<Probe> {
        let schema = |kind| ToolSchema {
            pattern: "*".to_owned(),
            arguments: vec![Argument {
                path: path.to_vec(),
                kind,
                required: false,
            }],
            closed: false,
        };
        let policy = AgentPolicy {
            default: Effect::Permit,
            paths: Some(rules.clone()),
            schemas: declared.map(schema).into_iter().collect(),
            ..AgentPolicy::default()
        };
        Probe::new(policy, What::Paths, vec![Field::Args(path.to_vec())], None)
    }

    /// What it says of paths, where it does.
    fn path_rules(&self) -> Option<(&PathRules, &[ToolSchema])> {
        let agent = self.policy.artifact().agents.first()?;
        let rules = agent.paths.as_ref()?;
        Some((rules, agent.schemas.as_slice()))
    }

    /// Whether it asks what path rules say.
    pub(super) fn is_of_paths(&self) -> bool {
        matches!(self.what, What::Paths)
    }

    /// How the truth of this stands to that of the other, for every call, where both are about the paths of one
    /// argument and one list of rules contains the other: more globs that refuse, and fewer that allow, never refuse
    /// less. `edit_allow` without a glob allows all.
    pub(super) fn strictness(&self, other: &Probe) -> Option<Ordering> {
        let ((old, read_as), (new, other_as)) = (self.path_rules()?, other.path_rules()?);
        if self.fields != other.fields || read_as != other_as {
            return None;
        }
        if refuses_what_the_other_does(new, old) {
            Some(Ordering::Greater)
        } else if refuses_what_the_other_does(old, new) {
            Some(Ordering::Less)
        } else {
            None
        }
    }

    fn new(policy: AgentPolicy, what: What, fields: Vec<Field>, ask: Option<Ask>) -> Option<Probe> {
        let mut artifact = Artifact {
            requires: Vec::new(),
            runtime: Runtime::default(),
            agents: vec![policy],
            declarations: Vec::new(),
        };
        artifact.requires = capabilities::of(&artifact);
        Some(Probe {
            policy: Policy::of(&artifact).ok()?,
            what,
            fields,
            ask,
        })
    }

    /// What is asked, spelled out: the same for the same test.
    pub(super) fn spelled(&self) -> String {
        let tests = self
            .policy
            .artifact()
            .agents
            .first()
            .map(|agent| &agent.tests);
        format!("{tests:?}")
    }

    /// Its answer to a test, where the test is put at all: no schema refuses the call before.
    pub(super) fn answer_of_rule(&self, asked: &Asked) -> Option<u8> {
        let decision = ask(&self.policy, asked)?;
        (decision.code != Some(Code::CallInvalid)).then(|| self.answer(asked))
    }

    /// Its answer for a call. A call that is none has no answer that matters.
    pub(super) fn answer(&self, asked: &Asked) -> u8 {
        let Some(decision) = ask(&self.policy, asked) else {
            return MAYBE;
        };
        match (self.what, decision.effect, decision.code) {
            (What::Test, Effect::Permit, _) => NO,
            (What::Test, _, Some(Code::Indeterminate)) => MAYBE,
            (What::Test, _, Some(Code::PolicyDeny)) => YES,
            // A closed schema refused the call: the rules are not asked.
            (What::Test, ..) => NO,
            (What::Check, Effect::Permit, _) => YES,
            (What::Check, ..) => NO,
            (What::Paths, Effect::Permit, _) => YES,
            (What::Paths, Effect::Defer, _) => MAYBE,
            (What::Paths, Effect::Deny, Some(Code::CallInvalid)) => YES,
            (What::Paths, Effect::Deny, _) => NO,
        }
    }

    /// Whether it depends on more than one field, or calculates.
    pub(super) fn is_joint(&self) -> bool {
        self.fields.len() > 1 || matches!(self.fields.first(), Some(Field::Calculated(_)))
    }
}

fn refuses_what_the_other_does(strict: &PathRules, other: &PathRules) -> bool {
    let within = |few: &[String], many: &[String]| few.iter().all(|glob| many.contains(glob));
    within(&other.read_exclude, &strict.read_exclude)
        && within(&other.edit_deny, &strict.edit_deny)
        && within(&other.edit_protected, &strict.edit_protected)
        && (other.edit_allow.is_empty()
            || (!strict.edit_allow.is_empty() && within(&strict.edit_allow, &other.edit_allow)))
}

/// Closed schemas that only say which arguments there are.
fn joined(closed: &[ToolSchema]) -> Vec<ToolSchema> {
    // Each pattern stands once in an artifact; these are for every tool, and told apart by nothing else than depth.
    let patterns = ["*", "p/*", "p/p/*", "p/p/p/*"];
    let lax = |argument: &Argument| Argument {
        kind: Kind::Any,
        required: false,
        ..argument.clone()
    };
    patterns
        .iter()
        .zip(closed)
        .map(|(pattern, schema)| ToolSchema {
            pattern: (*pattern).to_owned(),
            arguments: schema.arguments.iter().map(lax).collect(),
            closed: true,
        })
        .collect()
}

/// A tool that every schema of a probe speaks of.
pub(super) const PROBED_TOOL: &str = "p/p/p/p";

/// A test with just the fields that it needs.
fn alone(agent: &AgentPolicy, test: &Test) -> Option<(Vec<Field>, Test)> {
    let field = |index: u32| agent.fields.get(index as usize);
    let mut old = vec![test.field];
    if let Ask::CompareField(_, other) = &test.ask {
        old.push(*other);
    }
    for index in old.clone() {
        if let Field::Calculated(steps) = field(index)? {
            old.extend(steps.iter().filter_map(|step| match step {
                Step::Field(part) => Some(*part),
                _ => None,
            }));
        }
    }
    old.sort_unstable();
    old.dedup();
    let place = |index: u32| {
        old.iter()
            .position(|known| *known == index)
            .and_then(|at| u32::try_from(at).ok())
            .unwrap_or(u32::MAX)
    };
    let fields = old
        .iter()
        .map(|index| {
            Some(match field(*index)? {
                Field::Calculated(steps) => Field::Calculated(
                    steps
                        .iter()
                        .map(|step| match step {
                            Step::Field(part) => Step::Field(place(*part)),
                            other => other.clone(),
                        })
                        .collect(),
                ),
                plain => plain.clone(),
            })
        })
        .collect::<Option<Vec<Field>>>()?;
    let ask = match &test.ask {
        Ask::CompareField(relation, other) => Ask::CompareField(*relation, place(*other)),
        other => other.clone(),
    };
    Some((
        fields,
        Test {
            field: place(test.field),
            ask,
        },
    ))
}
