//! Random pairs of policies over what a search can miss: schemas, paths, clauses of requests, dates, names of agents and
//! shadow mode. Random calls are put to both policies, and every difference must be named, or be undecided.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot make its policies has failed"
)]

use faramesh_core::call::accept;
use faramesh_core::decision::Effect;
use faramesh_core::identity::{Caller, attest};
use faramesh_core::json;
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::{Artifact, Field, TimePart};
use faramesh_core::policy::{Policy, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use faramesh_policy_compiler::compare::{Limits, Reach, compare};
use faramesh_policy_compiler::{Options, compile_bytes};

/// Pairs in one run, and calls for each.
const PAIRS: usize = 200;
const CALLS: usize = 300;

/// Without the calls that are drawn at random: what the search alone finds.
const SEARCH_ALONE: Limits = Limits {
    calls_of_agent: 0,
    ..Limits::DEFAULT
};

/// `None`: the compiler sees that it cannot be meant, a test of an argument that no call can have, say.
fn compiled(text: &str) -> Option<Artifact> {
    let (_, outcome) = compile_bytes("governance.fms", text.as_bytes(), &Options::default());
    outcome.artifact
}

fn agent(policy: &str) -> String {
    format!("agent \"a\" {{ {policy} }}")
}

/// A small generator: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap_or(0)
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const SCHEMAS: [&str; 7] = [
    "",
    "tool x { arg path: text }",
    "tool x { arg p: any closed }",
    "tool x { arg o: object }",
    "tool x { arg n: number closed }",
    "tool x { arg file: path  arg path: path.read }",
    "tool x { arg undeclared: text required }",
];
const PATHS: [&str; 5] = [
    "",
    "",
    "paths { edit_deny [\"v/**\"] }",
    "paths { read_exclude [\"v/**\"] }",
    "paths { edit_protected [\"v/*\"] }",
];
const RULES: [&str; 15] = [
    "x path /v1/*",
    "x path /v1/*/z",
    "x path /v2/*",
    "* host *.a.com",
    "x host a.com",
    "* if time.day >= 30",
    "x if time.month != 1 and time.day >= 30",
    "* if time.month == 2 and time.day == 29",
    "* if time.weekday == 6",
    "x if path == \"v/a\"",
    "x if n > 3",
    "y/* if p starts_with \"v\"",
    "* if agent starts_with \"admin\"",
    "* if agent matches \"^s\"",
    "y/z",
];
const ARGUMENTS: [&str; 12] = [
    "{}",
    r#"{"path":"v/a"}"#,
    r#"{"file":"v/a"}"#,
    r#"{"p":"v/a"}"#,
    r#"{"p":{"path":"v/a"}}"#,
    r#"{"o":{"file":"v/a"}}"#,
    r#"{"o":{"x":1}}"#,
    r#"{"n":4}"#,
    r#"{"n":"a"}"#,
    r#"{"n":5,"path":"ok"}"#,
    r#"{"undeclared":"x"}"#,
    r#"{"undeclared":"x","file":"v/a"}"#,
];
const DAYS: [[i64; 4]; 6] = [
    [2026, 11, 30, 1],
    [2026, 1, 31, 6],
    [2024, 2, 29, 4],
    [2020, 2, 29, 6],
    [2025, 3, 1, 6],
    [2025, 3, 3, 1],
];

struct Drafted {
    flat: bool,
    shadow: bool,
    default: &'static str,
    schema: &'static str,
    paths: &'static str,
    rules: Vec<(&'static str, &'static str)>,
}

impl Drafted {
    fn draw(random: &mut Random) -> Drafted {
        let mut drafted = Drafted {
            flat: random.below(3) == 0,
            shadow: random.below(6) == 0,
            default: random.pick(&["permit", "deny", "defer"]),
            schema: random.pick(&SCHEMAS),
            paths: random.pick(&PATHS),
            rules: Vec::new(),
        };
        for _ in 0..1 + random.below(3) {
            drafted.rules.push(Drafted::rule(random));
        }
        drafted
    }

    fn rule(random: &mut Random) -> (&'static str, &'static str) {
        let effect = random.pick(&["permit", "permit", "deny", "defer", "deny!"]);
        (effect, random.pick(&RULES))
    }

    fn change(&mut self, random: &mut Random) {
        let at = random.below(self.rules.len());
        match random.below(6) {
            0 => self.schema = random.pick(&SCHEMAS),
            1 => self.paths = random.pick(&PATHS),
            2 => self.rules[at] = Drafted::rule(random),
            3 if self.rules.len() > 1 => {
                self.rules.remove(at);
            }
            4 => self.default = random.pick(&["permit", "deny", "defer"]),
            _ => self.rules.insert(at, Drafted::rule(random)),
        }
    }

    fn text(&self) -> String {
        let mode = if self.shadow {
            "runtime { mode = \"shadow\" }\n"
        } else {
            ""
        };
        let rules: Vec<String> = self
            .rules
            .iter()
            .map(|(effect, rule)| format!("{effect} {rule}"))
            .collect();
        let rules = rules.join("\n");
        if self.flat {
            format!("{mode}default {}\n{rules}\n", self.default)
        } else {
            let body = format!(
                "default {}\n{}\n{rules}\n{}\n",
                self.default, self.schema, self.paths
            );
            format!("{mode}{}", agent(&body))
        }
    }
}

fn answer(policy: &Policy, call: &(&str, &str, &str), given: &Supposed) -> Effect {
    let (tool, agent, arguments) = call;
    let call = accept(tool, agent, arguments.as_bytes()).expect("a call");
    let attested = attest(call, Caller::Unattested { uid: 0 }).expect("nobody else is claimed");
    let question = Question {
        attested: &attested,
        door: Door::Govern,
        now: Time {
            wall_ms: 0,
            boot_ms: 0,
        },
        supposed: given,
    };
    decide(&question, policy, &State::new()).effect
}

fn some_facts(random: &mut Random) -> Supposed {
    let text = |text: &str| json::parse(text.as_bytes()).expect("JSON");
    let mut given = Supposed::nothing();
    given.suppose(
        Field::Path,
        text(random.pick(&["null", "\"/v1/\"", "\"/v1/a\"", "\"/v1/a/z\"", "\"/v2/b\""])),
    );
    given.suppose(
        Field::Host,
        text(random.pick(&["null", "\"a.com\"", "\"b.A.com\""])),
    );
    let parts = [
        TimePart::Year,
        TimePart::Month,
        TimePart::Day,
        TimePart::Weekday,
    ];
    for (part, number) in parts.into_iter().zip(random.pick(&DAYS)) {
        given.suppose(Field::Time(part), text(&number.to_string()));
    }
    given
}

#[test]
fn schemas_paths_requests_days_and_agents_hide_no_difference() {
    let seed = std::env::var("FARAMESH_SEED").ok();
    let seed = seed.map_or_else(
        || u64::from(std::process::id()),
        |text| text.parse().expect("a number"),
    );
    println!("FARAMESH_SEED={seed}");
    let mut random = Random(seed);
    let mut differences = 0;
    for _ in 0..PAIRS {
        let mut drafted = Drafted::draw(&mut random);
        let before = drafted.text();
        drafted.change(&mut random);
        let after = drafted.text();
        let [Some(old), Some(new)] = [&before, &after].map(|text| compiled(text)) else {
            continue;
        };
        let comparison = compare(Some(&old), &new, &SEARCH_ALONE);
        let policies = [&old, &new].map(|artifact| Policy::of(artifact).expect("a policy"));
        for _ in 0..CALLS {
            let agents: &[&str] = if drafted.flat {
                &["a", "admin-x", "s1", "o"]
            } else {
                &["a"]
            };
            let call = (
                random.pick(&["x", "y/z"]),
                random.pick(agents),
                random.pick(&ARGUMENTS),
            );
            let given = some_facts(&mut random);
            let [old, new] = policies
                .each_ref()
                .map(|policy| answer(policy, &call, &given));
            if old == new {
                continue;
            }
            differences += 1;
            let reach = if new < old {
                Reach::Wider
            } else {
                Reach::Narrower
            };
            assert!(
                comparison.count(reach) + comparison.count(Reach::Undecided) > 0,
                "{call:?} {given:?}: {old:?} becomes {new:?}\n{before}\n{after}\n{comparison:#?}"
            );
        }
    }
    assert!(differences > PAIRS, "the pairs differ: {differences}");
}
