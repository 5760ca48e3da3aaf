//! The laws of `docs/semantics.md`, from source text to answer. Law 3 leaves `has` aside, which asks for absence itself.

use crate::chance::Chance;
use crate::decide::{self, Answer};
use crate::generate::{self, ANYTHING, ARGUMENTS, Shape, TOOLS};
use crate::json::Json;
use crate::real::{self, Compiled};
use crate::tree::{Policy, Rule, Verb};
use crate::world::World;
use faramesh_core::decision::{Code, Decision};
use faramesh_policy_compiler::{
    SourceFile, format, parse, render_json, render_policy, render_yaml, yaml,
};

const POLICIES: u64 = 1_000;
const CALLS_PER_POLICY: u64 = 20;

/// Rules alone: nothing before or after them refuses.
const RULES: Shape = Shape {
    around: false,
    ..ANYTHING
};
/// Tests of the type that their arguments have, and none that asks for absence.
const MONOTONE: Shape = Shape {
    mixed: false,
    has: false,
    ..RULES
};

/// Makes policies, and puts calls to each in a session that goes on.
fn each_policy(law: &str, shape: Shape, mut check: impl FnMut(Compiled, World, &mut Chance)) {
    let seed = Chance::seed(law);
    for round in 0..POLICIES {
        let mut chance = Chance::of(seed, round);
        let compiled = real::compiled(generate::policy(shape, &mut chance), &mut chance);
        let world = World::new(&compiled.policy, &mut chance);
        check(compiled, world, &mut chance);
    }
}

/// The calls of one policy.
fn each_call(
    compiled: &Compiled,
    mut world: World,
    mixed: bool,
    chance: &mut Chance,
    mut check: impl FnMut(&World, &str, &Json, bool, &mut Chance),
) {
    for _ in 0..CALLS_PER_POLICY {
        world.time_goes_by(chance);
        let (tool, args) = (chance.pick(TOOLS), generate::arguments(mixed, chance));
        let in_session = chance.below(4) > 0;
        check(&world, tool, &args, in_session, chance);
        world.remember(compiled, tool, args, in_session);
    }
}

fn decided(compiled: &Compiled, world: &World, tool: &str, args: &Json, inside: bool) -> Decision {
    let question = world.question(tool, args, inside);
    real::ask(&compiled.policy, &question, &world.journal)
}

fn answered(compiled: &Compiled, world: &World, tool: &str, args: &Json, inside: bool) -> Answer {
    real::answer(&decided(compiled, world, tool, args, inside))
}

/// A tree that is a change of one that compiled: it compiles, or chance made what the compiler refuses.
fn changed(tree: Policy, chance: &mut Chance) -> Option<Compiled> {
    let text = crate::print::fpl(&tree, chance);
    let policy = real::load("governance.fms", &text).ok()?;
    Some(Compiled {
        tree,
        text,
        policy,
        refused: Vec::new(),
    })
}

#[test]
fn law_1_without_a_maybe_the_result_is_first_match_and_law_2_it_is_never_milder() {
    let (mut sure, mut unsure) = (0, 0);
    each_policy("laws 1 and 2", RULES, |compiled, world, chance| {
        each_call(
            &compiled,
            world,
            true,
            chance,
            |world, tool, args, inside, _| {
                let answer = answered(&compiled, world, tool, args, inside);
                let question = world.question(tool, args, inside);
                let base = decide::first_match(&compiled.tree, &question);
                let shown = || format!("{tool} {}\n{}", args.written(), compiled.text);
                assert!(answer.verdict() >= base, "{}", shown());
                if answer.missing.is_empty() {
                    assert_eq!(answer.verdict(), base, "{}", shown());
                    assert_ne!(answer.code, Some(Code::Indeterminate), "{}", shown());
                    sure += 1;
                } else {
                    unsure += 1;
                }
            },
        );
    });
    assert!(sure > 1_000 && unsure > 1_000, "{sure} {unsure}");
}

#[test]
fn law_3_a_value_in_place_of_an_absent_one_never_makes_the_answer_stricter() {
    let mut filled = 0;
    each_policy("law 3", MONOTONE, |compiled, world, chance| {
        each_call(
            &compiled,
            world,
            false,
            chance,
            |world, tool, args, inside, chance| {
                let without = answered(&compiled, world, tool, args, inside);
                for (name, kind) in ARGUMENTS {
                    let path = generate::path(name);
                    if args.at(&path).is_some() {
                        continue;
                    }
                    let mut more = args.clone();
                    more.put(&path, generate::value_of(*kind, chance));
                    let with = answered(&compiled, world, tool, &more, inside);
                    assert!(
                        with.effect <= without.effect && with.verdict() <= without.verdict(),
                        "{tool} {} then {}\n{}",
                        args.written(),
                        more.written(),
                        compiled.text
                    );
                    filled += 1;
                }
            },
        );
    });
    assert!(filled > 10_000, "{filled}");
}

#[test]
fn law_4_another_hard_denial_never_makes_the_answer_milder() {
    let mut stricter = 0;
    each_policy("law 4", ANYTHING, |compiled, world, chance| {
        let mut harder = compiled.tree.clone();
        let agent = &mut harder.agents[0];
        let added = Rule {
            verb: Verb::DenyHard,
            ..generate::rule(generate::PATTERNS, ANYTHING, &agent.vars, chance)
        };
        let place = chance.below(agent.rules.len() + 1);
        agent.rules.insert(place, added);
        let Some(harder) = changed(harder, chance) else {
            return;
        };
        each_call(
            &compiled,
            world,
            true,
            chance,
            |world, tool, args, inside, _| {
                let before = answered(&compiled, world, tool, args, inside);
                let after = answered(&harder, world, tool, args, inside);
                assert!(
                    after.effect >= before.effect && after.verdict() >= before.verdict(),
                    "{tool} {}\n{}\n{}",
                    args.written(),
                    compiled.text,
                    harder.text
                );
                stricter += usize::from(after.verdict() > before.verdict());
            },
        );
    });
    assert!(stricter > 500, "{stricter}");
}

#[test]
fn law_5_the_same_policy_and_the_same_past_make_the_same_bytes_of_record() {
    each_policy("law 5", ANYTHING, |compiled, world, chance| {
        // The same tree in other words, and the same bytes loaded twice.
        let again = changed(compiled.tree.clone(), chance).expect("it compiled before");
        assert_eq!(
            compiled.policy.digest(),
            again.policy.digest(),
            "{}\n{}",
            compiled.text,
            again.text
        );
        each_call(
            &compiled,
            world,
            true,
            chance,
            |world, tool, args, inside, _| {
                let question = world.question(tool, args, inside);
                let asked = real::attested(&question);
                let bytes = |compiled: &Compiled| {
                    let decision = real::put(&compiled.policy, &asked, &question, &world.journal);
                    let body = real::body(&compiled.policy, &asked, decision);
                    real::record(&world.journal, body, question.now)
                };
                assert_eq!(bytes(&compiled), bytes(&again));
            },
        );
    });
}

#[test]
fn every_form_of_a_policy_has_the_digest_of_the_others() {
    each_policy("forms", ANYTHING, |compiled, _, chance| {
        let source = SourceFile::new("governance.fms", compiled.text.as_str());
        let (file, _) = parse(&source);
        let artifact = compiled.policy.artifact();
        let mut forms = vec![
            ("formatted.fms", format(&source).unwrap()),
            ("rendered.fms", render_policy(artifact)),
            ("tree.yaml", yaml::tree_as_yaml(&file)),
            ("tree.json", yaml::tree_as_json(&file)),
            ("rendered.yaml", render_yaml(artifact)),
            ("rendered.json", render_json(artifact)),
        ];
        // JSON is YAML too.
        if let Some(own) = crate::print::json(&compiled.tree, chance) {
            forms.extend([("own.json", own.clone()), ("own.yaml", own)]);
        }
        for (name, text) in forms {
            let again = real::load(name, &text)
                .unwrap_or_else(|why| panic!("{name}: {why}\n{text}\n{}", compiled.text));
            assert_eq!(
                again.digest(),
                compiled.policy.digest(),
                "{name}\n{text}\n{}",
                compiled.text
            );
        }
    });
}

#[test]
fn law_6_rules_for_disjoint_tools_may_be_reordered() {
    const LEFT: &[&str] = &["stripe/*", "stripe/refund", "stripe/*e"];
    const RIGHT: &[&str] = &["db/*", "db/*_read", "x", "a/*/c/*"];
    each_policy("law 6", ANYTHING, |compiled, world, chance| {
        let vars = compiled.tree.agents[0].vars.clone();
        let make = |patterns, chance: &mut Chance| {
            chance.some(5, |chance| {
                generate::rule(patterns, ANYTHING, &vars, chance)
            })
        };
        let (left, right) = (make(LEFT, chance), make(RIGHT, chance));
        // One file has the right rules behind the left ones, the other has them strewn among them, in order.
        let mut tree = compiled.tree.clone();
        tree.agents[0].rules = [left.clone(), right.clone()].concat();
        let mut shuffled = tree.clone();
        let mut strewn = left;
        let mut place = 0;
        for rule in right {
            place += chance.below(strewn.len() + 1 - place);
            strewn.insert(place, rule);
            place += 1;
        }
        shuffled.agents[0].rules = strewn;
        let (Some(tree), Some(shuffled)) = (changed(tree, chance), changed(shuffled, chance))
        else {
            return;
        };
        each_call(
            &tree,
            world,
            true,
            chance,
            |world, tool, args, inside, _| {
                let numberless = |compiled: &Compiled| Answer {
                    rule: None,
                    ..answered(compiled, world, tool, args, inside)
                };
                assert_eq!(
                    numberless(&tree),
                    numberless(&shuffled),
                    "{tool} {}\n{}\n{}",
                    args.written(),
                    tree.text,
                    shuffled.text
                );
            },
        );
    });
}

#[test]
fn law_7_redaction_never_changes_a_decision() {
    each_policy("law 7", ANYTHING, |compiled, world, chance| {
        let mut redacting = compiled.tree.clone();
        for pattern in ["*", "stripe/*", "db/write"] {
            let fields: Vec<String> = ARGUMENTS
                .iter()
                .filter(|_| chance.one_in(3))
                .map(|(name, _)| (*name).to_owned())
                .collect();
            if !fields.is_empty() {
                redacting.agents[0]
                    .redactions
                    .push((pattern.to_owned(), fields));
            }
        }
        let Some(redacting) = changed(redacting, chance) else {
            return;
        };
        each_call(
            &compiled,
            world,
            true,
            chance,
            |world, tool, args, inside, _| {
                assert_eq!(
                    answered(&compiled, world, tool, args, inside),
                    answered(&redacting, world, tool, args, inside),
                    "{tool} {}\n{}",
                    args.written(),
                    redacting.text
                );
            },
        );
    });
}

#[test]
fn what_a_decision_says_that_it_read_is_enough_to_decide_again() {
    each_policy("inputs", RULES, |compiled, world, chance| {
        each_call(
            &compiled,
            world,
            true,
            chance,
            |world, tool, args, inside, _| {
                let decision = decided(&compiled, world, tool, args, inside);
                // A call with no arguments in a fresh session, and nothing but what the record says.
                let mut bare = world.clone();
                bare.inside.past.clear();
                bare.now.wall_ms = 0;
                let nothing = Json::empty();
                let mut question = bare.question(tool, &nothing, inside);
                question.agent = crate::world::AGENT;
                let asked = real::attested(&question);
                let again = real::put_supposing(
                    &compiled.policy,
                    &asked,
                    &question,
                    &bare.journal,
                    &decision.inputs,
                );
                assert_eq!(
                    real::answer(&again),
                    real::answer(&decision),
                    "{tool} {}\n{}",
                    args.written(),
                    compiled.text
                );
            },
        );
    });
}
