//! A disagreement made small: rules, conditions and arguments are taken away as long as it stays one.

use crate::chance::Chance;
use crate::json::Json;
use crate::print;
use crate::real::{self, Compiled};
use crate::tree::{Clause, Expr, Policy};
use crate::world::World;

/// The smallest case that was found, as text.
pub(crate) fn smallest(
    compiled: &Compiled,
    world: &World,
    tool: &str,
    args: &Json,
    in_session: bool,
) -> String {
    // Parentheses and words as few as they can be: the same seed each time.
    let text = |tree: &Policy| print::fpl(tree, &mut Chance::of(0, 0));
    let disagree = |tree: &Policy, args: &Json| {
        let text = text(tree);
        let Ok(policy) = real::load("governance.fms", &text) else {
            return false;
        };
        let compiled = Compiled {
            tree: tree.clone(),
            text,
            policy,
            refused: Vec::new(),
        };
        let (real, twin) = world.ask(&compiled, tool, args, in_session);
        real != twin
    };
    let (mut tree, mut args) = (compiled.tree.clone(), args.clone());
    while let Some((less_tree, less_args)) = smaller(&tree, &args)
        .into_iter()
        .find(|(tree, args)| disagree(tree, args))
    {
        (tree, args) = (less_tree, less_args);
    }
    format!("{tool} {}\n{}", args.written(), text(&tree))
}

/// Everything that is a step smaller.
fn smaller(tree: &Policy, args: &Json) -> Vec<(Policy, Json)> {
    let mut steps = Vec::new();
    let mut push = |change: &dyn Fn(&mut Policy)| {
        let mut less = tree.clone();
        change(&mut less);
        if less != *tree {
            steps.push((less, args.clone()));
        }
    };
    push(&|policy| policy.shadow = false);
    push(&|policy| policy.zone = "UTC".to_owned());
    push(&|policy| policy.agents[0].demands.clear());
    push(&|policy| policy.agents[0].schemas.clear());
    push(&|policy| policy.agents[0].paths = None);
    push(&|policy| policy.agents[0].redactions.clear());
    for (number, rule) in tree.agents[0].rules.iter().enumerate() {
        push(&|policy| {
            policy.agents[0].rules.remove(number);
        });
        push(&|policy| policy.agents[0].rules[number].notify.clear());
        for (at, clause) in rule.clauses.iter().enumerate() {
            push(&|policy| {
                policy.agents[0].rules[number].clauses.remove(at);
            });
            if let Clause::If(expr) = clause {
                for part in parts(expr) {
                    push(&|policy| {
                        policy.agents[0].rules[number].clauses[at] = Clause::If(part.clone());
                    });
                }
            }
        }
    }
    if let Json::Map(members) = args {
        for key in members.keys() {
            let mut less = members.clone();
            less.remove(key);
            steps.push((tree.clone(), Json::Map(less)));
        }
    }
    steps
}

/// Conditions that are a step smaller.
fn parts(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => {
            let mut smaller = parts.clone();
            for at in 0..parts.len() {
                for part in self::parts(&parts[at]) {
                    let mut changed = parts.clone();
                    changed[at] = part;
                    smaller.push(match expr {
                        Expr::And(_) => Expr::And(changed),
                        _ => Expr::Or(changed),
                    });
                }
            }
            smaller
        }
        Expr::Not(inner) => {
            let mut smaller = vec![(**inner).clone()];
            smaller.extend(
                self::parts(inner)
                    .into_iter()
                    .map(|part| Expr::Not(Box::new(part))),
            );
            smaller
        }
        _ => Vec::new(),
    }
}
