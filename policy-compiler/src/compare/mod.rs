//! What a change of policy changes: for each agent and each kind of tool, whether a call is answered milder or stricter
//! than before, with a call that shows it.
//!
//! # What is claimed, and why it holds
//!
//! *Wider* and *narrower* are claims about one call, the witness. Each is made only after the real evaluator
//! ([`faramesh_core::pipeline::decide`]) has decided that call by both policies, and differently. Nothing else in this
//! module has to be right for such a claim to be true.
//!
//! The absence of a finding is the claim that no call exists. It rests on four steps, each of which may only ever keep
//! too much:
//!
//! 1. *Tools.* Every name of a tool falls into the class of those patterns (and tests of `tool` and `action`) that speak
//!    of it. The classes are the reachable states of the patterns' automata run side by side ([`automaton`]), so each
//!    class that has a member is found, with a shortest member. Two tools of a class differ in no rule that speaks of
//!    them and in no test of their name, so one of them stands for all.
//! 2. *Values.* A result depends on a value only through the answers of the tests on it. [`values`] finds every
//!    combination of answers; where it cannot be sure, the variable gets one more class in which every answer is open.
//! 3. *Combinations.* Different variables are chosen freely (an argument and one below it: only as JSON allows), which
//!    keeps every combination that calls can have. A test between two fields, a calculation, and what `paths` say are
//!    answered by the evaluator for the values that are tried; for the claim of absence they are left open, each as one
//!    free answer — the same answer wherever both policies put the same test, because it is the same call.
//! 4. *Search.* [`search`] walks the combinations with sets of possible truths, and leaves a branch only where its
//!    results are the same on both sides or known already.
//!
//! Beside the search, some thousand calls are drawn at random near what both policies name ([`drawn`]) and put to both. A
//! difference among them that the search did not find is a finding like any other.
//!
//! So a class of calls has three outcomes: a difference with its witness, none, or *cannot decide*: the walk with open
//! answers sees a difference, and no value that was tried shows it; or a limit was reached. It is never silence.
//!
//! Facts that doors supply (the time, the host, counts of a session) are variables like arguments. A witness names them.
//! Each is supposed within its range; that the parts of a date fit together is checked, and that other facts can come
//! together is not: a witness may suppose a session that nobody has had.
//!
//! What is no matter of a single call — the mode, a layer that is no longer demanded, what records keep, blocks that
//! this version does not decide by — is a [`Remark`].

mod automaton;
mod dates;
mod drawn;
mod oracle;
mod search;
mod stack;
mod values;

use crate::compare::automaton::{Alphabet, Found, Shape, Tests};
use crate::compare::drawn::Drawn;
use crate::compare::oracle::{Asked, MAYBE, NO, Probe, UNKNOWN, YES};
use crate::compare::search::{Chosen, Entry, Lens, Outcome, Search, Side, Step, VARIABLES_MAX};
use crate::compare::values::{Builder, Class, Form, Key, Variable};
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::{
    AgentPolicy, Artifact, Ask, Field, Kind, Mode, Op, PathRules, Rule, RuleEffect, Test,
    ToolSchema, digest, encode,
};
use faramesh_core::policy::paths::{PATH_NAME_ENDS, PATH_NAMES};
use faramesh_core::policy::{Policy, pattern};
use serde::{Serialize, Serializer};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Bounds of a comparison, in steps and not in time, so that the same two policies always get the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// States of automata that one walk may reach.
    pub states: usize,
    /// Steps of conditions in one class of calls: some seconds.
    pub steps_of_class: u64,
    /// Steps of conditions in all: some minutes.
    pub steps: u64,
    /// Findings of one agent that are kept; further ones are counted.
    pub findings: usize,
    /// Calls that are drawn at random for one agent.
    pub calls_of_agent: usize,
    /// Such calls in all: a second or two of decisions.
    pub calls: usize,
}

impl Limits {
    /// Those of `plan`.
    pub const DEFAULT: Limits = Limits {
        states: 100_000,
        steps_of_class: 20_000_000,
        steps: 1_000_000_000,
        findings: 1_000,
        calls_of_agent: 3_000,
        calls: 60_000,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// What a change changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Comparison {
    /// What concerns the whole stack.
    pub stack: Vec<Remark>,
    /// Agents with something to say of, by name.
    pub agents: Vec<AgentComparison>,
}

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Something is permitted, or milder, that was not.
    Wider,
    /// It cannot be told.
    Undecided,
    /// Something is refused, or stricter, that was not.
    Narrower,
    /// It is another matter than what is permitted.
    Neutral,
}

/// Something that is no matter of a single call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// Which way.
    pub reach: Reach,
    /// What, as a sentence.
    pub text: String,
}

/// What changes for one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentComparison {
    /// Its name; empty: every agent that is not named otherwise.
    pub name: String,
    /// Whether it is new, gone, or there before and after.
    pub change: Presence,
    /// What concerns no single call.
    pub remarks: Vec<Remark>,
    /// Wider first, then what cannot be decided, then narrower.
    pub findings: Vec<Finding>,
    /// Findings beyond [`Limits::findings`].
    pub findings_left_out: usize,
}

/// Whether an agent is new, gone, or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Presence {
    Added,
    Removed,
    Stays,
}

/// One difference for one class of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which way.
    pub reach: Reach,
    /// The tools: a name, or a pattern of which the witness's tool is one.
    pub tools: String,
    /// What was answered.
    #[serde(serialize_with = "as_word")]
    pub before: Effect,
    /// What is answered now.
    #[serde(serialize_with = "as_word")]
    pub after: Effect,
    /// Both policies are in shadow mode: what they would answer.
    pub would: bool,
    /// The call that shows it; none where it cannot be decided.
    pub witness: Option<Witness>,
    /// Why it cannot be decided.
    pub why: Option<String>,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// The tool.
    pub tool: String,
    /// The agent that calls.
    pub agent: String,
    /// Its arguments, a JSON object.
    pub arguments: String,
    /// Facts that are supposed: (field, JSON).
    pub given: Vec<(String, String)>,
}

fn as_word<S: Serializer>(effect: &Effect, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(effect.as_str())
}

impl Comparison {
    /// Everything that goes one way, counted.
    pub fn count(&self, reach: Reach) -> usize {
        let of_agents = self.agents.iter().map(|agent| {
            let findings = agent.findings.iter().map(|finding| finding.reach);
            let remarks = agent.remarks.iter().map(|remark| remark.reach);
            findings.chain(remarks).filter(|one| *one == reach).count()
        });
        let of_stack = self.stack.iter().filter(|remark| remark.reach == reach);
        of_agents.sum::<usize>() + of_stack.count()
    }

    /// Whether something is wider, or may be. What cannot be decided counts unless all that it can be is stricter.
    pub fn may_be_wider(&self) -> bool {
        let of_agents = self.agents.iter().flat_map(|agent| &agent.remarks);
        let may = |remark: &Remark| matches!(remark.reach, Reach::Wider | Reach::Undecided);
        let mut findings = self.agents.iter().flat_map(|agent| &agent.findings);
        self.stack.iter().chain(of_agents).any(may)
            || findings.any(|finding| match finding.reach {
                Reach::Wider => true,
                Reach::Undecided => finding.after < finding.before,
                Reach::Narrower | Reach::Neutral => false,
            })
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.stack.is_empty() && self.agents.is_empty()
    }
}

/// Compares two policies; with nothing before, everything was refused.
pub fn compare(before: Option<&Artifact>, after: &Artifact, limits: &Limits) -> Comparison {
    compare_watched(before, after, limits, &mut |_, _| {})
}

/// The same, telling `watch` how many of how many agents are done.
pub fn compare_watched(
    before: Option<&Artifact>,
    after: &Artifact,
    limits: &Limits,
    watch: &mut dyn FnMut(usize, usize),
) -> Comparison {
    let loaded = |artifact: &Artifact| Policy::of(artifact).ok();
    let policies = [before.and_then(loaded), loaded(after)];
    let (names, complete) = agents(before, after, limits);
    let encoded = before
        .into_iter()
        .chain([after])
        .filter_map(|artifact| encode(artifact).ok());
    let digests: Vec<u8> = encoded.flat_map(|bytes| digest(&bytes)).collect();
    let calls = (limits.calls / names.len().max(1)).min(limits.calls_of_agent);
    let mut steps_left = limits.steps;
    let mut comparison = Comparison {
        stack: stack::remarks(before, after),
        agents: Vec::new(),
    };
    if (before.is_some() && policies[0].is_none()) || policies[1].is_none() {
        comparison.stack.push(Remark {
            reach: Reach::Undecided,
            text: "a policy that is beyond the limits of an artifact is not compared".to_owned(),
        });
        return comparison;
    }
    if !complete {
        comparison.stack.push(Remark {
            reach: Reach::Undecided,
            text: "what rules ask of `agent` tells more kinds of agents apart than are compared"
                .to_owned(),
        });
    }
    for (done, (shown, name)) in names.iter().enumerate() {
        watch(done, names.len());
        let parts = policies
            .each_ref()
            .map(|policy| policy.as_ref().and_then(|policy| policy.agent(name)));
        let shadow = [before.map(|a| a.runtime.mode), Some(after.runtime.mode)]
            .map(|mode| mode == Some(Mode::Shadow));
        let mut pair = Pair::new(name, parts, shadow, &policies, limits);
        pair.steps_left = steps_left;
        pair.seed = drawn::seed_of(digests.iter().chain(name.as_bytes()));
        pair.calls = calls;
        let (findings, left_out) = pair.findings();
        steps_left = pair.steps_left;
        let compared = AgentComparison {
            name: shown.clone(),
            change: match parts {
                [None, _] => Presence::Added,
                [_, None] => Presence::Removed,
                _ => Presence::Stays,
            },
            remarks: stack::agent_remarks(parts),
            findings,
            findings_left_out: left_out,
        };
        let says = compared.change != Presence::Stays
            || !compared.remarks.is_empty()
            || !compared.findings.is_empty();
        if says {
            comparison.agents.push(compared);
        }
    }
    comparison
}

/// The agents to compare: (name to show, name to ask by), and whether these are all kinds of them. A file of flat rules
/// speaks of every agent: it is asked for those that either policy names, and for one of each kind that its tests tell
/// apart.
fn agents(
    before: Option<&Artifact>,
    after: &Artifact,
    limits: &Limits,
) -> (Vec<(String, String)>, bool) {
    let all = || before.into_iter().chain([after]).flat_map(|a| &a.agents);
    let named = all().filter(|agent| !agent.name.is_empty());
    let mut names: BTreeSet<String> = named.map(|agent| agent.name.clone()).collect();
    let mut fresh = None;
    let mut complete = true;
    if all().any(|agent| agent.name.is_empty()) {
        let kinds = agent_kinds(all().filter(|agent| agent.name.is_empty()), &names, limits);
        complete = kinds.complete;
        fresh = kinds.other;
        names.extend(kinds.told_apart);
    }
    let mut list = Vec::new();
    list.extend(fresh.map(|fresh| (String::new(), fresh)));
    list.extend(names.into_iter().map(|name| (name.clone(), name)));
    (list, complete)
}

/// One agent of each kind.
struct AgentKinds {
    /// For which some test holds.
    told_apart: Vec<String>,
    /// One of which nothing is said.
    other: Option<String>,
    complete: bool,
}

fn agent_kinds<'a>(
    flat: impl Iterator<Item = &'a AgentPolicy>,
    names: &BTreeSet<String>,
    limits: &Limits,
) -> AgentKinds {
    let mut tests = Tests::default();
    let mut probes: Vec<(u32, Probe)> = Vec::new();
    let mut number = 0;
    for agent in flat {
        let is_asked = |test: &&Test| {
            agent.fields.get(test.field as usize) == Some(&Field::Agent)
                && !matches!(test.ask, Ask::CompareField(..))
        };
        for test in agent.tests.iter().filter(is_asked) {
            values::add_text_test(&mut tests, number, &test.ask, &mut None, false);
            probes.extend(Probe::test(agent, test, &[]).map(|probe| (number, probe)));
            number += 1;
        }
    }
    let holds = |name: &str| -> Vec<u32> {
        let asked = values::asked(oracle::PROBED_TOOL, name, std::iter::empty());
        let yes = probes
            .iter()
            .filter(|(_, probe)| probe.answer(&asked) == YES);
        yes.map(|(number, _)| *number).collect()
    };
    let mut kinds = AgentKinds {
        told_apart: Vec::new(),
        other: None,
        complete: true,
    };
    let is_other = |name: &String| !names.contains(name) && holds(name).is_empty();
    let plain = ["some-agent", "some-agent-", "another", "someone", "nobody"].map(str::to_owned);
    kinds.other = plain.into_iter().find(is_other);
    if probes.is_empty() && kinds.other.is_some() {
        return kinds;
    }
    // Those that have a policy of their own are not among the others.
    for name in names {
        tests.shape(number, Shape::default().text(name));
        number += 1;
    }
    let walk = automaton::walk(tests, Alphabet::AgentName, limits);
    kinds.complete = walk.complete;
    let named = number - u32::try_from(names.len()).unwrap_or(number);
    for found in walk.found {
        if faramesh_core::call::check_agent_name(&found.text).is_err() {
            continue;
        }
        let said: Vec<u32> = found
            .yes
            .iter()
            .copied()
            .filter(|yes| *yes < named)
            .collect();
        kinds.complete &= said == holds(&found.text);
        if !found.yes.is_empty() {
            kinds.told_apart.push(found.text);
        } else if kinds.other.is_none() {
            kinds.other = Some(found.text);
        }
    }
    kinds
}

/// What a class of tools is told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Predicate {
    Pattern(String),
    /// A test of the name, or of its last part.
    Name {
        last: bool,
        ask: Ask,
    },
}

/// One agent's two policies.
struct Pair<'p> {
    agent: &'p str,
    parts: [Option<&'p AgentPolicy>; 2],
    shadow: [bool; 2],
    policies: &'p [Option<Policy>; 2],
    limits: &'p Limits,
    steps_left: u64,
    /// Where calls that are drawn begin, and how many there are.
    seed: u64,
    calls: usize,
    probes: Vec<Probe>,
    probe_numbers: HashMap<String, u32>,
    test_numbers: HashMap<(usize, u32, String), Option<u32>>,
    programs: HashMap<Vec<(u8, u32)>, u32>,
    variables: HashMap<(Key, Vec<u32>, Vec<u32>), Variable>,
}

/// Differences that are found: (class of tools, whether it is about what would be answered, before, after).
type Known = HashSet<(usize, bool, Effect, Effect)>;

/// A class of calls, ready to be searched.
struct Prepared {
    sides: [Side; 2],
    variables: Vec<Variable>,
    variables_of: Vec<Vec<usize>>,
    is_joint: Vec<bool>,
    fixed: Vec<(u32, u8)>,
    tool: String,
}

impl<'p> Pair<'p> {
    fn new(
        agent: &'p str,
        parts: [Option<&'p AgentPolicy>; 2],
        shadow: [bool; 2],
        policies: &'p [Option<Policy>; 2],
        limits: &'p Limits,
    ) -> Pair<'p> {
        Pair {
            agent,
            parts,
            shadow,
            policies,
            limits,
            steps_left: limits.steps,
            seed: 0,
            calls: 0,
            probes: Vec::new(),
            probe_numbers: HashMap::new(),
            test_numbers: HashMap::new(),
            programs: HashMap::new(),
            variables: HashMap::new(),
        }
    }

    fn findings(&mut self) -> (Vec<Finding>, usize) {
        let [before, after] = self.parts;
        if before == after && self.shadow[0] == self.shadow[1] {
            return (Vec::new(), 0);
        }
        let predicates = self.predicates();
        let walk = automaton::walk(name_tests(&predicates), Alphabet::ToolName, self.limits);
        let mut findings = Vec::new();
        if !walk.complete {
            findings.push(undecided("*", "too many kinds of tools".to_owned()));
        }
        let mut known = Known::new();
        for (number, class) in walk.found.iter().enumerate() {
            if is_otherwise(class, &predicates) {
                let why = "names that the evaluator tells apart otherwise".to_owned();
                findings.push(undecided(&class.text, why));
            }
            let before = findings.len();
            self.class(class, &predicates, &mut findings);
            let new = findings.iter().skip(before);
            known.extend(
                new.filter(|finding| finding.witness.is_some())
                    .map(|finding| (number, finding.would, finding.before, finding.after)),
            );
        }
        self.drawn(&walk.found, &predicates, &mut known, &mut findings);
        findings.sort_by_key(|finding| (finding.reach, finding.before < finding.after));
        let left_out = findings.len().saturating_sub(self.limits.findings);
        findings.truncate(self.limits.findings);
        (findings, left_out)
    }

    /// Puts calls to both policies that the search did not choose; a difference that it did not find is one.
    fn drawn(
        &self,
        classes: &[Found],
        predicates: &[Predicate],
        known: &mut Known,
        findings: &mut Vec<Finding>,
    ) {
        let mut variables: Vec<_> = self.variables.iter().collect();
        variables.sort_by_key(|(place, _)| *place);
        let mut drawn = Drawn::new(
            self.seed,
            self.parts,
            variables.into_iter().map(|(_, variable)| variable),
            &stack::path_texts(self.parts),
        );
        for _ in 0..self.calls {
            let number = drawn.below(classes.len());
            let Some(class) = classes.get(number) else {
                return;
            };
            let asked = drawn.call(&class.text, self.agent);
            for lens in self.lenses() {
                let Some((step, witness)) = self.answered(asked.clone(), *lens) else {
                    continue;
                };
                if known.insert((number, *lens == Lens::Verdict, step.0, step.1)) {
                    let tools = tools_of(&class.text, &matched(class, predicates));
                    findings.push(found(&tools, step, *lens, witness));
                }
            }
        }
    }

    /// What is compared: where both sides are in shadow mode, what they would answer, too.
    const fn lenses(&self) -> &'static [Lens] {
        match self.shadow {
            [true, true] => &[Lens::Answer, Lens::Verdict],
            _ => &[Lens::Answer],
        }
    }

    /// Everything that tells one tool from another, each once.
    fn predicates(&self) -> Vec<Predicate> {
        let mut all: Vec<Predicate> = Vec::new();
        for agent in self.parts.into_iter().flatten() {
            let rules = agent.rules.iter().map(|rule| &rule.pattern);
            let schemas = agent.schemas.iter().map(|schema| &schema.pattern);
            all.extend(rules.chain(schemas).cloned().map(Predicate::Pattern));
            for test in &agent.tests {
                let last = match agent.fields.get(test.field as usize) {
                    Some(Field::Tool) => false,
                    Some(Field::Action) => true,
                    _ => continue,
                };
                let ask = test.ask.clone();
                all.push(Predicate::Name { last, ask });
            }
        }
        let mut seen = HashSet::new();
        all.retain(|predicate| seen.insert(predicate.clone()));
        all
    }

    /// One class of tools.
    fn class(&mut self, class: &Found, predicates: &[Predicate], findings: &mut Vec<Finding>) {
        let tools = tools_of(&class.text, &matched(class, predicates));
        if self.steps_left == 0 {
            findings.push(undecided(
                &tools,
                "the steps of this comparison are used up".to_owned(),
            ));
            return;
        }
        let Some(prepared) = self.prepare(&class.text) else {
            return;
        };
        if prepared.variables.len() > VARIABLES_MAX {
            let why = format!("the rules read more than {VARIABLES_MAX} fields");
            findings.push(undecided(&tools, why));
            return;
        }
        for lens in self.lenses() {
            self.search_class(&prepared, *lens, &tools, findings);
        }
    }

    fn search_class(
        &mut self,
        prepared: &Prepared,
        lens: Lens,
        tools: &str,
        findings: &mut Vec<Finding>,
    ) {
        let concrete = self.search(prepared, lens);
        self.steps_left = self.steps_left.saturating_sub(concrete.steps);
        let mut shown: BTreeSet<Step> = BTreeSet::new();
        for (step, chosen) in &concrete.found {
            match self.verified(prepared, chosen, lens) {
                Some((real, witness)) => {
                    if shown.insert(real) {
                        let witness = self.bare(prepared, chosen, lens, real).unwrap_or(witness);
                        findings.push(found(tools, real, lens, witness));
                    }
                }
                None => findings.push(Finding {
                    before: step.0,
                    after: step.1,
                    ..undecided(
                        tools,
                        "the evaluator does not confirm the call that was found".to_owned(),
                    )
                }),
            }
        }
        if !concrete.finished {
            findings.push(undecided(
                tools,
                "too many combinations of conditions".to_owned(),
            ));
            return;
        }
        let opened = self.opened(prepared);
        let Some(opened) = opened else { return };
        let open = self.search(&opened, lens);
        self.steps_left = self.steps_left.saturating_sub(open.steps);
        if !open.finished {
            findings.push(undecided(
                tools,
                "too many combinations of conditions".to_owned(),
            ));
            return;
        }
        let mut reaches = BTreeSet::new();
        // The mildest result first, as that is what somebody has to look at.
        let mut steps: Vec<_> = open.found.iter().collect();
        steps.sort_by_key(|(step, _)| (step.1, std::cmp::Reverse(step.0)));
        for (step, chosen) in steps {
            if !shown.contains(step) && reaches.insert(step.1 < step.0) {
                findings.push(Finding {
                    before: step.0,
                    after: step.1,
                    would: lens == Lens::Verdict,
                    ..undecided(tools, self.why(&opened, chosen))
                });
            }
        }
    }

    fn search(&self, prepared: &Prepared, lens: Lens) -> Outcome {
        let mut known: HashMap<(u32, Vec<Option<usize>>), u8> = HashMap::new();
        let mut joint = |test: u32, chosen: &Chosen| {
            let needs = prepared.variables_of.get(test as usize);
            let of_these: Vec<Option<usize>> = needs
                .into_iter()
                .flatten()
                .map(|need| chosen.get(*need).copied().flatten())
                .collect();
            *known.entry((test, of_these)).or_insert_with(|| {
                let needed = |number: &usize| needs.is_some_and(|needs| needs.contains(number));
                let only: Chosen = chosen
                    .iter()
                    .enumerate()
                    .map(|(number, class)| class.filter(|_| needed(&number)))
                    .collect();
                let asked = self.call(prepared, &only);
                self.probes
                    .get(test as usize)
                    .map_or(UNKNOWN, |probe| probe.answer(&asked))
            })
        };
        let dates: RefCell<HashMap<ChosenParts, bool>> = RefCell::default();
        let possible = |chosen: &Chosen| {
            let parts = parts_of_date(prepared, chosen);
            let mut known = dates.borrow_mut();
            *known
                .entry(parts)
                .or_insert_with(|| day_of(prepared, &parts).is_some())
        };
        Search {
            sides: &prepared.sides,
            variables: &prepared.variables,
            variables_of: &prepared.variables_of,
            is_joint: &prepared.is_joint,
            joint: &mut joint,
            possible: &possible,
            lens,
            steps_max: self.limits.steps_of_class.min(self.steps_left),
        }
        .run(&prepared.fixed)
    }

    /// The call that a choice of classes is.
    fn call(&self, prepared: &Prepared, chosen: &Chosen) -> Asked {
        let day = day_of(prepared, &parts_of_date(prepared, chosen)).map(|day| {
            let spelled = day.map(|number| number.to_string());
            dates::PARTS
                .map(|part| Key::Fact(Field::Time(part)))
                .into_iter()
                .zip(spelled)
                .collect::<HashMap<Key, String>>()
        });
        let of_day = |key: &Key| day.as_ref()?.get(key).map(String::as_str);
        let values = prepared
            .variables
            .iter()
            .zip(chosen)
            .filter_map(|(variable, class)| {
                let class = variable.classes.get((*class)?)?;
                let value = of_day(&variable.key).or(class.value.as_deref());
                Some((&variable.key, value))
            });
        values::asked(&prepared.tool, self.agent, values)
    }

    /// What the evaluator says of a call, by both policies.
    fn verified(
        &self,
        prepared: &Prepared,
        chosen: &Chosen,
        lens: Lens,
    ) -> Option<(Step, Witness)> {
        self.answered(self.call(prepared, chosen), lens)
    }

    /// What both policies say of a call, where they differ.
    fn answered(&self, asked: Asked, lens: Lens) -> Option<(Step, Witness)> {
        let effects = self.policies.each_ref().map(|policy| match policy {
            None => Some(Effect::Deny),
            Some(policy) => oracle::ask(policy, &asked).map(|decision| match lens {
                Lens::Answer => decision.effect,
                Lens::Verdict => decision.would.unwrap_or(decision.effect),
            }),
        });
        let [Some(before), Some(after)] = effects else {
            return None;
        };
        let given = asked
            .facts
            .iter()
            .map(|(field, value)| (field.to_string(), value.clone()))
            .collect();
        let witness = Witness {
            tool: asked.tool,
            agent: asked.agent,
            arguments: asked.arguments,
            given,
        };
        (before != after).then_some(((before, after), witness))
    }

    /// The witness without arguments that the difference does not need. Each that is left away is asked for anew.
    fn bare(
        &self,
        prepared: &Prepared,
        chosen: &Chosen,
        lens: Lens,
        step: Step,
    ) -> Option<Witness> {
        let mut needed = chosen.clone();
        let mut last = None;
        for (number, variable) in prepared.variables.iter().enumerate() {
            let Key::Argument(_) = variable.key else {
                continue;
            };
            let there = |chosen: &Chosen| {
                let class = variable
                    .classes
                    .get(chosen.get(number).copied().flatten()?)?;
                class.value.as_ref().map(|_| ())
            };
            if there(&needed).is_none() {
                continue;
            }
            let mut fewer = needed.clone();
            if let Some(slot) = fewer.get_mut(number) {
                *slot = None;
            }
            match self.verified(prepared, &fewer, lens) {
                Some((same, witness)) if same == step => {
                    needed = fewer;
                    last = Some(witness);
                }
                _ => {}
            }
        }
        last
    }

    /// The same class with everything open that could not be told; `None` where everything could.
    fn opened(&self, prepared: &Prepared) -> Option<Prepared> {
        let paths: BTreeSet<u32> = prepared
            .sides
            .iter()
            .flat_map(|side| side.paths.clone())
            .collect();
        let joint: BTreeSet<u32> = (0_u32..)
            .zip(&prepared.is_joint)
            .filter(|(_, joint)| **joint)
            .map(|(test, _)| test)
            .collect();
        let complete = prepared
            .variables
            .iter()
            .all(|variable| variable.incomplete.is_none());
        if complete && joint.is_empty() && paths.is_empty() {
            return None;
        }
        let mut variables: Vec<Variable> = Vec::new();
        for variable in &prepared.variables {
            let mut open = variable.clone();
            if variable.incomplete.is_some() {
                open.classes.push(variable.unknown(&self.probes));
            }
            let kept: Vec<bool> = open
                .tests
                .iter()
                .map(|test| !paths.contains(test))
                .collect();
            let keep = |list: &[u8]| -> Vec<u8> {
                let both = list.iter().zip(&kept);
                both.filter(|(_, keep)| **keep)
                    .map(|(item, _)| *item)
                    .collect()
            };
            for class in &mut open.classes {
                class.answers = keep(&class.answers);
            }
            open.tests.retain(|test| !paths.contains(test));
            variables.push(open);
        }
        let protects = self
            .parts
            .iter()
            .flatten()
            .filter_map(|agent| agent.paths.as_ref())
            .any(|paths| !paths.edit_protected.is_empty());
        let pairs = self.path_pairs(prepared);
        for (before, after, order) in &pairs {
            variables.push(one_stricter(*before, *after, *order, protects));
        }
        let paired = |test: &u32| pairs.iter().any(|(a, b, _)| a == test || b == test);
        let alone = paths.iter().filter(|test| !paired(test));
        for test in alone.chain(&joint) {
            let maybe = protects || joint.contains(test);
            let answers = [YES, NO, MAYBE]
                .into_iter()
                .filter(|a| *a != MAYBE || maybe);
            variables.push(Variable {
                key: Key::Open(*test),
                tests: vec![*test],
                classes: answers
                    .map(|answer| Class {
                        answers: vec![answer],
                        value: None,
                        form: Form::Other,
                        members: Vec::new(),
                    })
                    .collect(),
                incomplete: None,
            });
        }
        let mut variables_of = vec![Vec::new(); prepared.variables_of.len()];
        for (number, variable) in variables.iter().enumerate() {
            for test in &variable.tests {
                if let Some(slot) = variables_of.get_mut(*test as usize) {
                    slot.push(number);
                }
            }
        }
        Some(Prepared {
            sides: prepared.sides.clone(),
            is_joint: vec![false; variables_of.len()],
            variables,
            variables_of,
            fixed: prepared.fixed.clone(),
            tool: prepared.tool.clone(),
        })
    }

    /// What path rules say of one argument before and after, where one of the two refuses whatever the other does: the
    /// test of before, that of after, and how the truth of before stands to that of after.
    fn path_pairs(&self, prepared: &Prepared) -> Vec<(u32, u32, Ordering)> {
        let [before, after] = &prepared.sides;
        let only = |own: &Side, other: &Side| -> Vec<u32> {
            let tests = own.paths.iter().copied();
            tests.filter(|test| !other.paths.contains(test)).collect()
        };
        let theirs = only(after, before);
        let mut pairs = Vec::new();
        for old in only(before, after) {
            let found = theirs.iter().find_map(|new| {
                let probe = |test: u32| self.probes.get(test as usize);
                let order = probe(old)?.strictness(probe(*new)?)?;
                Some((old, *new, order))
            });
            pairs.extend(found);
        }
        pairs
    }

    /// Why a difference that is possible was not shown.
    fn why(&self, opened: &Prepared, chosen: &Chosen) -> String {
        let mut reasons = BTreeSet::new();
        for (variable, class) in opened.variables.iter().zip(chosen) {
            let Some(class) = class.and_then(|class| variable.classes.get(class)) else {
                continue;
            };
            match &variable.key {
                Key::Open(test) => {
                    reasons.extend(self.probes.get(*test as usize).map(reason_of));
                }
                key if class.answers.contains(&UNKNOWN) => {
                    let why = variable.incomplete.unwrap_or("values that were not tried");
                    reasons.insert(format!("{}: {why}", name_of(key)));
                }
                _ => {}
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        if reasons.is_empty() {
            reasons.insert("no call that was tried shows what is possible".to_owned());
        }
        reasons.into_iter().collect::<Vec<_>>().join("; ")
    }

    /// Sides and variables of a class; `None` where both sides are the same.
    fn prepare(&mut self, tool: &str) -> Option<Prepared> {
        let mut sides = [Side::default(), Side::default()];
        let mut keys: BTreeSet<Key> = BTreeSet::new();
        for schema in self
            .parts
            .into_iter()
            .flatten()
            .flat_map(|agent| schemas(agent, tool))
        {
            for argument in &schema.arguments {
                let prefixes = (1..=argument.path.len()).filter_map(|n| argument.path.get(..n));
                keys.extend(prefixes.map(|path| Key::Argument(path.to_vec())));
            }
        }
        for (number, side) in sides.iter_mut().enumerate() {
            self.rules_of(number, tool, side);
        }
        let tests: BTreeSet<u32> = sides
            .iter()
            .flat_map(|side| &side.entries)
            .flat_map(|entry| &entry.program)
            .filter_map(|op| match op {
                Op::Test(test) => Some(*test),
                _ => None,
            })
            .collect();
        for test in &tests {
            let fields = self
                .probes
                .get(*test as usize)
                .map(|probe| probe.fields.as_slice());
            keys.extend(fields.into_iter().flatten().filter_map(Key::of));
        }
        keys.extend(self.undeclared_of(tool, &keys));
        for (number, side) in sides.iter_mut().enumerate() {
            self.checks_of(number, tool, &keys, side);
        }
        let same = |a: &Side, b: &Side| {
            let effects = |side: &Side| -> Vec<(Effect, bool, u32)> {
                let each = side.entries.iter();
                each.map(|entry| (entry.effect, entry.hard, entry.id))
                    .collect()
            };
            effects(a) == effects(b)
                && a.default == b.default
                && a.paths == b.paths
                && a.shadow == b.shadow
        };
        let [before, after] = &sides;
        if same(before, after) {
            return None;
        }
        Some(self.with_variables(sides, tool))
    }

    /// Arguments that nothing names and something may refuse: an unknown one beside those of a closed schema, and one
    /// that `paths` take for a path by its name.
    fn undeclared_of(&self, tool: &str, keys: &BTreeSet<Key>) -> Vec<Key> {
        let parts = || self.parts.into_iter().flatten();
        let all = || parts().flat_map(|agent| schemas(agent, tool));
        let arguments = || all().flat_map(|schema| &schema.arguments);
        let mut fresh = "undeclared".to_owned();
        while keys
            .iter()
            .any(|key| matches!(key, Key::Argument(path) if path.contains(&fresh)))
        {
            fresh.push('_');
        }
        let mut added = Vec::new();
        if all().any(|schema| schema.closed) {
            // Beside each part that is declared, and at the top.
            added.push(vec![fresh.clone()]);
            for argument in arguments() {
                let above = (1..argument.path.len()).filter_map(|n| argument.path.get(..n));
                added.extend(above.map(|above| [above, std::slice::from_ref(&fresh)].concat()));
            }
        }
        if parts().any(|agent| agent.paths.is_some()) {
            let name = ["path", "file"]
                .into_iter()
                .chain(PATH_NAME_ENDS.iter().chain(PATH_NAMES).copied());
            let mut free = name.filter(|name| !arguments().any(|known| known.path == [*name]));
            match free.next() {
                Some(name) => added.push(vec![name.to_owned()]),
                None => added.push(vec![fresh, "path".to_owned()]),
            }
            // A closed schema says nothing of what stands below an argument that it declares.
            let holds = |kind| matches!(kind, Kind::Any | Kind::Object);
            let holding = arguments().filter(|argument| holds(argument.kind));
            added.extend(holding.map(|argument| {
                let mut path = argument.path.clone();
                path.push("path".to_owned());
                path
            }));
        }
        added.into_iter().map(Key::Argument).collect()
    }

    /// The rules that speak of a tool, in the order of evaluation.
    fn rules_of(&mut self, number: usize, tool: &str, side: &mut Side) {
        side.shadow = self.shadow.get(number).copied().unwrap_or(false);
        let Some(agent) = self.parts.get(number).copied().flatten() else {
            side.entries
                .push(self.entry(Effect::Deny, true, Vec::new()));
            return;
        };
        side.default = Some(agent.default);
        let speaks = |rule: &&Rule| pattern::matches(&rule.pattern, tool);
        let (hard, soft): (Vec<&Rule>, Vec<&Rule>) = agent
            .rules
            .iter()
            .filter(speaks)
            .partition(|rule| rule.effect == RuleEffect::DenyHard);
        let closed: Vec<ToolSchema> = schemas(agent, tool).filter(|s| s.closed).cloned().collect();
        for rule in hard.into_iter().chain(soft) {
            let program = rule
                .condition
                .iter()
                .map(|op| match op {
                    Op::Test(test) => self.test(number, agent, *test, &closed),
                    other => *other,
                })
                .collect();
            let hard = rule.effect == RuleEffect::DenyHard;
            side.entries
                .push(self.entry(rule.effect.effect(), hard, program));
        }
    }

    /// What refuses a call before any rule, and what paths refuse.
    fn checks_of(&mut self, number: usize, tool: &str, keys: &BTreeSet<Key>, side: &mut Side) {
        let Some(agent) = self.parts.get(number).copied().flatten() else {
            return;
        };
        let mut checks: Vec<Option<u32>> = Vec::new();
        for schema in schemas(agent, tool) {
            for argument in &schema.arguments {
                let key = format!("argument {argument:?}");
                checks.push(self.probe(key, || Probe::argument(argument)));
            }
            let paths = keys.iter().filter_map(|key| match key {
                Key::Argument(path) if schema.closed => Some(path),
                _ => None,
            });
            for path in paths {
                if !schema
                    .arguments
                    .iter()
                    .any(|argument| argument.path == *path)
                {
                    let key = format!("declared {:?} {path:?}", schema.arguments);
                    checks.push(self.probe(key, || Probe::declared(schema, path)));
                }
            }
        }
        for layer in &agent.demands {
            checks.push(self.probe(format!("demand {layer}"), || Probe::demand(layer)));
        }
        checks.sort_unstable();
        checks.dedup();
        let refusals: Vec<Entry> = checks
            .into_iter()
            .flatten()
            .map(|check| self.entry(Effect::Deny, true, vec![Op::Test(check), Op::Not]))
            .collect();
        side.entries.splice(0..0, refusals);
        if let Some(rules) = &agent.paths {
            side.paths = self.paths_of(agent, rules, tool, keys);
        }
    }

    fn paths_of(
        &mut self,
        agent: &AgentPolicy,
        rules: &PathRules,
        tool: &str,
        keys: &BTreeSet<Key>,
    ) -> Vec<u32> {
        let declared: Vec<(Vec<String>, Kind)> = schemas(agent, tool)
            .flat_map(|schema| &schema.arguments)
            .map(|argument| (argument.path.clone(), argument.kind))
            .collect();
        let undeclared = keys.iter().filter_map(|key| match key {
            Key::Argument(path) if !declared.iter().any(|(known, _)| known == path) => {
                Some((path.clone(), None))
            }
            _ => None,
        });
        let asked: Vec<(Vec<String>, Option<Kind>)> = declared
            .iter()
            .filter(|(_, kind)| matches!(kind, Kind::Path(_)))
            .map(|(path, kind)| (path.clone(), Some(*kind)))
            .chain(undeclared)
            .collect();
        let mut tests: Vec<u32> = asked
            .into_iter()
            .filter_map(|(path, kind)| {
                let key = format!("paths {rules:?} {path:?} {kind:?}");
                self.probe(key, || Probe::paths(rules, &path, kind))
            })
            .collect();
        tests.sort_unstable();
        tests
    }

    fn entry(&mut self, effect: Effect, hard: bool, program: Vec<Op>) -> Entry {
        let spelled: Vec<(u8, u32)> = program
            .iter()
            .map(|op| match op {
                Op::Test(test) => (0, *test),
                Op::Const(value) => (1, u32::from(*value)),
                Op::And => (2, 0),
                Op::Or => (3, 0),
                Op::Not => (4, 0),
            })
            .collect();
        let next = u32::try_from(self.programs.len()).unwrap_or(u32::MAX);
        let id = *self.programs.entry(spelled).or_insert(next);
        Entry {
            effect,
            hard,
            program,
            id,
        }
    }

    /// A test of one side as a test that both sides know.
    fn test(&mut self, side: usize, agent: &AgentPolicy, test: u32, closed: &[ToolSchema]) -> Op {
        let context = format!("{closed:?}");
        let place = (side, test, context);
        let known = match self.test_numbers.get(&place) {
            Some(known) => *known,
            None => {
                let number = agent.tests.get(test as usize).and_then(|test| {
                    let probe = Probe::test(agent, test, closed)?;
                    let shapes: Vec<_> = closed.iter().map(|schema| &schema.arguments).collect();
                    let key = format!("test {:?} {:?} {shapes:?}", probe.fields, probe.spelled());
                    self.probe(key, || Some(probe))
                });
                self.test_numbers.insert(place, number);
                number
            }
        };
        // A test that cannot be put is maybe wherever it stands: that of a test which does not exist.
        Op::Test(known.unwrap_or(u32::MAX))
    }

    fn probe(&mut self, key: String, make: impl FnOnce() -> Option<Probe>) -> Option<u32> {
        if let Some(known) = self.probe_numbers.get(&key) {
            return Some(*known);
        }
        let number = u32::try_from(self.probes.len()).ok()?;
        self.probes.push(make()?);
        self.probe_numbers.insert(key, number);
        Some(number)
    }

    fn with_variables(&mut self, sides: [Side; 2], tool: &str) -> Prepared {
        let mut tests: BTreeSet<u32> = sides.iter().flat_map(|side| side.paths.clone()).collect();
        for entry in sides.iter().flat_map(|side| &side.entries) {
            tests.extend(entry.program.iter().filter_map(|op| match op {
                Op::Test(test) => Some(*test),
                _ => None,
            }));
        }
        let mut prepared = Prepared {
            sides,
            variables: Vec::new(),
            variables_of: vec![Vec::new(); self.probes.len()],
            is_joint: vec![false; self.probes.len()],
            fixed: Vec::new(),
            tool: tool.to_owned(),
        };
        let mut of_key: BTreeMap<Key, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
        for test in tests {
            let Some(probe) = self.probes.get(test as usize) else {
                continue;
            };
            let mut keys: Vec<Key> = probe.fields.iter().filter_map(Key::of).collect();
            keys.sort();
            keys.dedup();
            if keys.is_empty() {
                let asked = values::asked(tool, self.agent, std::iter::empty());
                prepared.fixed.push((test, probe.answer(&asked)));
            }
            let joint = probe.is_joint() && !keys.is_empty();
            if let Some(slot) = prepared.is_joint.get_mut(test as usize) {
                *slot = joint;
            }
            for key in keys {
                let (own, shared) = of_key.entry(key).or_default();
                if joint { shared } else { own }.push(test);
            }
        }
        let keys: Vec<Key> = of_key.keys().cloned().collect();
        let number_of: HashMap<&Key, usize> = keys.iter().zip(0..).collect();
        for (key, (own, shared)) in &of_key {
            let variable = self.variable(key, own, shared, &keys);
            for test in own.iter().chain(shared) {
                if let (Some(slot), Some(number)) = (
                    prepared.variables_of.get_mut(*test as usize),
                    number_of.get(key),
                ) {
                    slot.push(*number);
                }
            }
            prepared.variables.push(variable);
        }
        prepared
    }

    fn variable(&mut self, key: &Key, own: &[u32], shared: &[u32], all: &[Key]) -> Variable {
        let place = (key.clone(), own.to_vec(), shared.to_vec());
        if let Some(known) = self.variables.get(&place) {
            return known.clone();
        }
        // Tests between fields compare with the constants that are asked of either, or with each other's values.
        let of_shared: Vec<Key> = shared
            .iter()
            .filter_map(|test| self.probes.get(*test as usize))
            .flat_map(|probe| probe.fields.iter().filter_map(Key::of))
            .collect();
        let related = self.probes.iter().filter(|probe| {
            !shared.is_empty()
                && probe
                    .fields
                    .iter()
                    .filter_map(Key::of)
                    .any(|key| of_shared.contains(&key))
        });
        let tests: Vec<(u32, &Probe)> = own
            .iter()
            .filter_map(|test| Some((*test, self.probes.get(*test as usize)?)))
            .collect();
        let has_parts = all.iter().any(|other| match (key, other) {
            (Key::Argument(outer), Key::Argument(inner)) => {
                inner.len() > outer.len() && inner.starts_with(outer)
            }
            _ => false,
        });
        let variable = Builder {
            key,
            tests: &tests,
            shared: &related.collect::<Vec<_>>(),
            texts: &stack::path_texts(self.parts),
            has_parts,
            limits: self.limits,
        }
        .build();
        self.variables.insert(place, variable.clone());
        variable
    }
}

/// The schemas that speak of a tool.
fn schemas<'a>(agent: &'a AgentPolicy, tool: &'a str) -> impl Iterator<Item = &'a ToolSchema> {
    agent
        .schemas
        .iter()
        .filter(move |schema| pattern::matches(&schema.pattern, tool))
}

fn name_tests(predicates: &[Predicate]) -> Tests {
    let mut tests = Tests::default();
    for (number, predicate) in (0..).zip(predicates) {
        match predicate {
            Predicate::Pattern(pattern) => tests.shape(number, Shape::pattern(pattern)),
            Predicate::Name { last, ask } => {
                values::add_text_test(&mut tests, number, ask, &mut None, *last);
            }
        }
    }
    tests
}

/// The patterns that speak of the tools of a class.
fn matched<'p>(class: &Found, predicates: &'p [Predicate]) -> Vec<&'p str> {
    class
        .yes
        .iter()
        .filter_map(|number| match predicates.get(*number as usize)? {
            Predicate::Pattern(pattern) => Some(pattern.as_str()),
            Predicate::Name { .. } => None,
        })
        .collect()
}

/// Whether the evaluator says otherwise than the automata which patterns speak of a tool.
fn is_otherwise(class: &Found, predicates: &[Predicate]) -> bool {
    (0..)
        .zip(predicates)
        .any(|(number, predicate)| match predicate {
            Predicate::Pattern(pattern) => {
                pattern::matches(pattern, &class.text) != class.yes.contains(&number)
            }
            Predicate::Name { .. } => false,
        })
}

/// How a class of tools is called: by its name where a pattern is just that, else by the closest pattern.
fn tools_of(tool: &str, matched: &[&str]) -> String {
    if matched.contains(&tool) {
        return tool.to_owned();
    }
    let closest = matched.iter().max_by_key(|pattern| pattern.len());
    closest.map_or("*", |pattern| pattern).to_owned()
}

fn undecided(tools: &str, why: String) -> Finding {
    Finding {
        reach: Reach::Undecided,
        tools: tools.to_owned(),
        before: Effect::Deny,
        after: Effect::Permit,
        would: false,
        witness: None,
        why: Some(why),
    }
}

fn found(tools: &str, (before, after): Step, lens: Lens, witness: Witness) -> Finding {
    Finding {
        reach: if after < before {
            Reach::Wider
        } else {
            Reach::Narrower
        },
        tools: tools.to_owned(),
        before,
        after,
        would: lens == Lens::Verdict,
        witness: Some(witness),
        why: None,
    }
}

/// Two answers that are open, one never milder than the other: `order` is how that of `before` stands to that of
/// `after`, and *yes* refuses nothing.
fn one_stricter(before: u32, after: u32, order: Ordering, maybe: bool) -> Variable {
    let answers = [YES, NO, MAYBE]
        .into_iter()
        .filter(|a| *a != MAYBE || maybe);
    let pairs = answers
        .clone()
        .flat_map(|a| answers.clone().map(move |b| (a, b)));
    Variable {
        key: Key::Open(before),
        tests: vec![before, after],
        classes: pairs
            .filter(|(old, new)| old == new || old.cmp(new) == order)
            .map(|(old, new)| Class {
                answers: vec![old, new],
                value: None,
                form: Form::Other,
                members: Vec::new(),
            })
            .collect(),
        incomplete: None,
    }
}

fn name_of(key: &Key) -> String {
    match key {
        Key::Argument(path) => format!("`{}`", Field::Args(path.clone())),
        Key::Fact(field) => format!("`{field}`"),
        Key::Open(_) => String::new(),
    }
}

fn reason_of(probe: &Probe) -> String {
    let names: Vec<String> = probe
        .fields
        .iter()
        .filter_map(Key::of)
        .map(|key| name_of(&key))
        .collect();
    let names = names.join(", ");
    let calculates = probe
        .fields
        .iter()
        .any(|field| matches!(field, Field::Calculated(_)));
    match &probe.ask {
        _ if calculates => format!("{names}: arithmetic"),
        Some(_) => format!("{names}: a field against a field"),
        None => format!("{names}: not every path was tried against `paths`"),
    }
}

/// Which class each part of a date was given, in the order of [`dates::PARTS`].
type ChosenParts = [Option<(usize, usize)>; 4];

fn parts_of_date(prepared: &Prepared, chosen: &Chosen) -> ChosenParts {
    dates::PARTS.map(|part| {
        let key = Key::Fact(Field::Time(part));
        let mut variables = prepared.variables.iter();
        let at = variables.position(|variable| variable.key == key)?;
        Some((at, (*chosen.get(at)?)?))
    })
}

/// A day that has these parts, as far as they are chosen; `None`: there is none.
fn day_of(prepared: &Prepared, parts: &ChosenParts) -> Option<dates::Day> {
    let members = parts.map(|part| {
        let (variable, class) = part?;
        let class = prepared.variables.get(variable)?.classes.get(class)?;
        Some(class.members.as_slice())
    });
    dates::some_day(members)
}
