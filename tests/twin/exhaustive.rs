//! A small world, all of it: two arguments that are absent, `null`, of another type or one of four values; every
//! condition of up to two tests on them, and every policy of up to three rules over a set of conditions in which each
//! way of joining stands. The compiled policy says what the twin says, on every call.

use crate::chance::Chance;
use crate::conditions::{self, Missing};
use crate::decide;
use crate::facts::Words;
use crate::json::Json;
use crate::logic::Truth;
use crate::number::Number;
use crate::print;
use crate::real;
use crate::tree::{Agent, Clause, Expr, Policy, Relation, Rule, Unit, Verb};
use crate::world::World;
use faramesh_core::decision::Effect;

/// Policies are compiled as agents of one file, as many as an artifact may have.
const AGENTS_PER_FILE: usize = 1_000;
const VERBS: [Verb; 4] = [Verb::Permit, Verb::Defer, Verb::Deny, Verb::DenyHard];
const DEFAULTS: [Effect; 3] = [Effect::Permit, Effect::Defer, Effect::Deny];

fn number(value: i64) -> Json {
    Json::Number(Number::whole(value))
}

/// Both arguments in each of their seven states.
fn calls() -> Vec<Json> {
    let states = [
        None,
        Some(Json::Null),
        Some(Json::text("2")),
        Some(number(1)),
        Some(number(2)),
        Some(number(3)),
        Some(number(4)),
    ];
    let mut calls = Vec::new();
    for a in &states {
        for b in &states {
            let mut args = Json::empty();
            for (name, state) in [("a", a), ("b", b)] {
                if let Some(value) = state {
                    args.put(&[name.to_owned()], value.clone());
                }
            }
            calls.push(args);
        }
    }
    calls
}

fn field(name: &str) -> Box<Expr> {
    Box::new(Expr::Name(vec!["args".to_owned(), name.to_owned()]))
}

fn literal(value: i64) -> Expr {
    Expr::Number(Number::whole(value), Unit::None)
}

fn test(name: &str, relation: Relation, value: i64) -> Expr {
    Expr::Test(relation, field(name), Box::new(literal(value)))
}

fn is_one_of(name: &str, values: &[i64]) -> Expr {
    let values = values.iter().map(|value| literal(*value)).collect();
    Expr::Test(Relation::In, field(name), Box::new(Expr::List(values)))
}

fn not(expr: Expr) -> Expr {
    Expr::Not(Box::new(expr))
}

/// Every kind of test on a number, on both arguments and between them.
fn tests() -> Vec<Expr> {
    use Relation::*;
    let mut tests = Vec::new();
    for name in ["a", "b"] {
        tests.extend([
            test(name, Equal, 2),
            test(name, NotEqual, 3),
            test(name, Less, 3),
            test(name, LessOrEqual, 2),
            test(name, Greater, 2),
            test(name, GreaterOrEqual, 3),
            is_one_of(name, &[1, 4]),
            Expr::Has(field(name)),
        ]);
    }
    for relation in [Equal, Less, GreaterOrEqual] {
        tests.push(Expr::Test(relation, field("a"), field("b")));
    }
    tests
}

/// None, tests of either argument, each connective, and one between the arguments.
fn conditions_of_rules() -> Vec<Option<Expr>> {
    use Relation::*;
    vec![
        None,
        Some(test("a", Equal, 2)),
        Some(test("a", Less, 3)),
        Some(Expr::Has(field("a"))),
        Some(not(is_one_of("b", &[1, 3]))),
        Some(Expr::And(vec![
            test("a", GreaterOrEqual, 2),
            test("b", LessOrEqual, 3),
        ])),
        Some(Expr::Or(vec![
            test("a", Less, 2),
            not(Expr::Has(field("b"))),
        ])),
        Some(Expr::Test(Less, field("a"), field("b"))),
    ]
}

fn rule(verb: Verb, condition: Option<&Expr>) -> Rule {
    Rule {
        verb,
        tool: "*".to_owned(),
        clauses: condition.cloned().map(Clause::If).into_iter().collect(),
        reason: None,
        notify: Vec::new(),
    }
}

/// A small policy: the verbs and the places of the conditions of its rules.
type Small = (Effect, Vec<(Verb, usize)>);

/// Every call, for the twin and as the daemon would have it.
struct Calls {
    args: Vec<Json>,
    world: World,
}

/// What each condition says of each call: worked out once, since it does not depend on the rule.
fn table(conditions: &[Option<Expr>], calls: &Calls) -> Vec<Vec<(Truth, Missing)>> {
    let agent = agent("x".to_owned(), Effect::Deny, Vec::new());
    let words = Words {
        agent: &agent,
        zone: "UTC",
    };
    let say = |condition: &Option<Expr>, args: &Json| {
        let mut missing = Missing::new();
        let question = calls.world.question("t", args, false);
        let truth = condition.as_ref().map_or(Truth::Yes, |expr| {
            conditions::condition(expr, words, &question, &mut missing)
        });
        (truth, missing)
    };
    conditions
        .iter()
        .map(|condition| calls.args.iter().map(|args| say(condition, args)).collect())
        .collect()
}

fn agent(name: String, default: Effect, rules: Vec<Rule>) -> Agent {
    Agent {
        name,
        default,
        vars: Vec::new(),
        rules,
        schemas: Vec::new(),
        demands: Vec::new(),
        paths: None,
        redactions: Vec::new(),
        selectors: Vec::new(),
    }
}

/// Compiles the policies as agents of one file and compares every call; the number of cases.
fn compare(
    policies: &[Small],
    conditions: &[Option<Expr>],
    table: &[Vec<(Truth, Missing)>],
    calls: &Calls,
) -> usize {
    let made: Vec<Rule> = VERBS
        .iter()
        .flat_map(|verb| conditions.iter().map(|c| rule(*verb, c.as_ref())))
        .collect();
    let place = |(verb, condition): &(Verb, usize)| {
        VERBS.iter().position(|v| v == verb).unwrap() * conditions.len() + condition
    };
    let file = Policy {
        shadow: false,
        zone: "UTC".to_owned(),
        agents: policies
            .iter()
            .enumerate()
            .map(|(at, (default, rules))| {
                let rules = rules.iter().map(|rule| made[place(rule)].clone()).collect();
                agent(format!("p{at}"), *default, rules)
            })
            .collect(),
    };
    let text = print::fpl(&file, &mut Chance::of(0, 0));
    let policy = real::load("governance.fms", &text).unwrap();
    let mut cases = 0;
    for (at, (default, rules)) in policies.iter().enumerate() {
        let agent = &file.agents[at];
        for (number, args) in calls.args.iter().enumerate() {
            let mut question = calls.world.question("t", args, false);
            question.agent = &agent.name;
            let real = real::answer(&real::ask(&policy, &question, &calls.world.journal));
            let hard = |rule: &(Verb, usize)| rule.0 == Verb::DenyHard;
            let order = (rules.iter().enumerate().filter(|(_, r)| hard(r)))
                .chain(rules.iter().enumerate().filter(|(_, r)| !hard(r)));
            let mut said = order
                .clone()
                .map(|(_, (_, condition))| table[*condition][number].clone());
            let in_order = order.map(|(at, _)| (at, &agent.rules[at]));
            let (twin, _) = decide::judge(*default, in_order, |_| said.next().unwrap());
            assert_eq!(real, twin, "{}\n{agent:#?}", args.written());
            cases += 1;
        }
    }
    cases
}

fn all_calls() -> Calls {
    Calls {
        args: calls(),
        world: World::new(
            &real::load("governance.fms", "deny *").unwrap(),
            &mut Chance::of(0, 0),
        ),
    }
}

#[test]
fn every_condition_of_two_tests_says_what_the_twin_says() {
    let mut literals = Vec::new();
    for test in tests() {
        literals.extend([not(test.clone()), test]);
    }
    let mut conditions: Vec<Option<Expr>> = literals.iter().cloned().map(Some).collect();
    for left in &literals {
        for right in &literals {
            let both = || vec![left.clone(), right.clone()];
            let joined = [Expr::And(both()), Expr::Or(both()), not(Expr::Or(both()))];
            conditions.extend(joined.map(Some));
        }
    }
    let calls = all_calls();
    let table = table(&conditions, &calls);
    // A denial before a permit: no, maybe and yes are three different answers.
    let policies: Vec<Small> = (0..conditions.len())
        .map(|condition| (Effect::Permit, vec![(Verb::Deny, condition)]))
        .collect();
    let cases: usize = policies
        .chunks(AGENTS_PER_FILE)
        .map(|chunk| compare(chunk, &conditions, &table, &calls))
        .sum();
    println!("{} conditions, {cases} cases", conditions.len());
    assert_eq!(cases, (38 + 3 * 38 * 38) * 49);
}

#[test]
fn every_policy_of_up_to_three_rules_says_what_the_twin_says() {
    let conditions = conditions_of_rules();
    let calls = all_calls();
    let table = table(&conditions, &calls);
    let mut rules = Vec::new();
    for verb in VERBS {
        rules.extend((0..conditions.len()).map(|condition| (verb, condition)));
    }
    let mut lists: Vec<Vec<(Verb, usize)>> = vec![Vec::new()];
    let mut longest = lists.clone();
    for _ in 0..3 {
        longest = longest
            .iter()
            .flat_map(|list| {
                rules
                    .iter()
                    .map(|rule| [list.as_slice(), &[*rule]].concat())
            })
            .collect();
        lists.extend(longest.clone());
    }
    let mut policies: Vec<Small> = Vec::new();
    for default in DEFAULTS {
        policies.extend(lists.iter().map(|rules| (default, rules.clone())));
    }
    let cases: usize = policies
        .chunks(AGENTS_PER_FILE)
        .map(|chunk| compare(chunk, &conditions, &table, &calls))
        .sum();
    println!("{} policies, {cases} cases", policies.len());
    assert_eq!(policies.len(), 3 * (1 + 32 + 32 * 32 + 32 * 32 * 32));
    assert_eq!(cases, policies.len() * 49);
}
