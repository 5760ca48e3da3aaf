//! Compiled policy and twin on the same policies and calls, made by chance: no disagreement.

use crate::chance::Chance;
use crate::decide::Answer;
use crate::generate;
use crate::real;
use crate::world::World;
use faramesh_core::decision::Code;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const CALLS_PER_POLICY: u64 = 20;
const POLICIES: u64 = 5_000;
const POLICIES_LONG: u64 = 500_000;

/// What a run came across, so that a generator which no longer reaches its corners is noticed.
#[derive(Debug, Default)]
struct Seen {
    cases: u64,
    rules: u64,
    refused: BTreeMap<String, u64>,
    codes: BTreeMap<&'static str, u64>,
    shadowed: u64,
    decided_by_rule: u64,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.cases += other.cases;
        self.rules += other.rules;
        self.shadowed += other.shadowed;
        self.decided_by_rule += other.decided_by_rule;
        for (why, count) in other.refused {
            *self.refused.entry(why).or_default() += count;
        }
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }

    fn note(&mut self, answer: &Answer) {
        self.cases += 1;
        self.shadowed += u64::from(answer.would.is_some());
        self.decided_by_rule += u64::from(answer.rule.is_some());
        let code = answer.code.map_or("none", Code::as_str);
        *self.codes.entry(code).or_default() += 1;
    }
}

#[test]
fn compiled_policies_and_their_twin_agree_on_generated_policies_and_calls() {
    let seed = Chance::seed("differential");
    let long = std::env::var_os("FARAMESH_TEST_LONG").is_some();
    let policies = if long { POLICIES_LONG } else { POLICIES };
    let seen = in_parallel(policies, |round| one_policy(seed, round));
    println!("{seen:#?}");
    assert_eq!(seen.cases, policies * CALLS_PER_POLICY);
    // The generator reaches the corners that it is there for.
    let refused: u64 = seen.refused.values().sum();
    assert!(
        refused * 10 < seen.rules,
        "most rules must compile: {:#?}",
        seen.refused
    );
    for code in [
        "none",
        "POLICY_DENY",
        "POLICY_DEFER",
        "INDETERMINATE",
        "CALL_INVALID",
        "ENFORCEMENT_MISSING",
        "PATH_DENIED",
    ] {
        let count = seen.codes.get(code).copied().unwrap_or(0);
        assert!(
            count * 200 > seen.cases,
            "{code}: {count} of {}",
            seen.cases
        );
    }
    assert!(seen.shadowed * 100 > seen.cases && seen.decided_by_rule * 4 > seen.cases);
}

/// Runs the rounds on every core, each by itself, and says now and then how far it is.
fn in_parallel(rounds: u64, one: impl Fn(u64) -> Seen + Sync) -> Seen {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Seen::default();
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        break;
                    }
                    mine.add(one(round));
                    if round > 0 && round.is_multiple_of(25_000) {
                        println!("{} of {rounds} policies", round);
                    }
                }
                seen.lock().unwrap().add(mine);
            });
        }
    });
    seen.into_inner().unwrap()
}

/// A policy, and a session in which calls are put to it one after the other while the clocks move.
fn one_policy(seed: u64, round: u64) -> Seen {
    let mut chance = Chance::of(seed, round);
    let tree = generate::policy(generate::ANYTHING, &mut chance);
    let rules = tree.agents[0].rules.len() as u64;
    let compiled = real::compiled(tree, &mut chance);
    let mut seen = Seen {
        rules,
        ..Seen::default()
    };
    for why in &compiled.refused {
        *seen.refused.entry(why.clone()).or_default() += 1;
    }
    // The tree that the parser read is the one that was printed.
    let read = crate::read::file("governance.fms", &compiled.text);
    assert_eq!(
        read, compiled.tree,
        "FARAMESH_SEED={seed}, policy {round}: another tree was read\n{}",
        compiled.text
    );
    let mut world = World::new(&compiled.policy, &mut chance);
    for number in 0..CALLS_PER_POLICY {
        world.time_goes_by(&mut chance);
        world.supposed = generate::supposed(&mut chance);
        let tool = chance.pick(generate::TOOLS);
        let args = generate::arguments(true, &mut chance);
        let in_session = chance.below(4) > 0;
        let (real, twin) = world.ask(&compiled, tool, &args, in_session);
        if real != twin {
            let small = crate::shrink::smallest(&compiled, &world, tool, &args, in_session);
            panic!(
                "FARAMESH_SEED={seed}, policy {round}, call {number}: the compiled policy and its twin disagree on\n\
                 {tool} {}\n{}\ncompiled: {real:#?}\ntwin: {twin:#?}\nsmaller:\n{small}\n{}",
                args.written(),
                compiled.text,
                world.shown(),
            );
        }
        seen.note(&twin);
        world.remember(&compiled, tool, args, in_session);
    }
    seen
}
