//! Long sessions: rules that count, sum and look back, while the clocks stand still, step onto the edges of windows and
//! go past them. The twin keeps the whole list of what happened and goes through it each time.

use crate::chance::Chance;
use crate::generate::{self, ANYTHING};
use crate::json::Json;
use crate::real;
use crate::tree::{Clause, Expr, Rule};
use crate::world::World;

const POLICIES: u64 = 60;
const CALLS_PER_POLICY: usize = 300;

#[test]
fn what_sessions_remember_is_what_the_whole_list_of_their_calls_says() {
    let seed = Chance::seed("state");
    let mut cases = 0;
    for round in 0..POLICIES {
        let mut chance = Chance::of(seed, round);
        let mut tree = generate::policy(ANYTHING, &mut chance);
        let agent = &mut tree.agents[0];
        agent.demands.clear();
        agent.schemas.clear();
        agent.paths = None;
        agent.rules = (0..6)
            .map(|_| Rule {
                clauses: vec![Clause::If(of_two(&mut chance))],
                ..generate::rule(generate::PATTERNS, ANYTHING, &[], &mut chance)
            })
            .collect();
        let compiled = real::compiled(tree, &mut chance);
        assert!(
            compiled.refused.is_empty(),
            "{:?}\n{}",
            compiled.refused,
            compiled.text
        );
        let mut world = World::new(&compiled.policy, &mut chance);
        for _ in 0..CALLS_PER_POLICY {
            world.time_goes_by(&mut chance);
            let tool = chance.pick(generate::TOOLS);
            let mut args = Json::empty();
            if !chance.one_in(8) {
                let amount = generate::value_of(generate::Kind::Number, &mut chance);
                args.put(&generate::path("amount"), amount);
            }
            let inside = !chance.one_in(4);
            let (real, twin) = world.ask(&compiled, tool, &args, inside);
            assert_eq!(
                real,
                twin,
                "FARAMESH_SEED={seed}, policy {round}: {tool} {}\n{}\n{}",
                args.written(),
                compiled.text,
                world.shown()
            );
            world.remember(&compiled, tool, args, inside);
            cases += 1;
        }
    }
    println!("{cases} cases");
}

/// Two facts of the session, joined in some way.
fn of_two(chance: &mut Chance) -> Expr {
    let parts = vec![generate::of_state(chance), generate::of_state(chance)];
    match chance.below(3) {
        0 => Expr::And(parts),
        1 => Expr::Or(parts),
        _ => Expr::Not(Box::new(Expr::And(parts))),
    }
}
