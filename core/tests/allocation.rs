//! What deciding asks of the allocator: nothing, once its memory has grown.
//!
//! One test in a process of its own, because the count is the process's.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one counts and passes on"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a world that cannot be built fails the test"
)]

use faramesh_core::call::accept;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::Effect;
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::pipeline::Question;
use faramesh_core::policy::artifact::*;
use faramesh_core::policy::{Policy, Scratch, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Gone while the thread ends: nobody counts then.
    let _ = ALLOCATED.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait demands of the caller; nothing is asked of it besides.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(memory, layout) }
    }

    // SAFETY: as the trait demands of the caller; nothing is asked of it besides.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A thousand rules for one tool, by customer and by amount, with every kind of test that a call can be put to.
fn policy() -> Policy {
    let args = |name: &str| Field::Args(vec![name.to_owned()]);
    let text = |text: &str| Literal::String(text.to_owned());
    let number = |n: i64| Decimal::from(n);
    // In the order that an artifact wants.
    let fields = vec![
        args("amount"),
        args("customer"),
        args("path"),
        args("tags"),
        Field::Tool,
        Field::Action,
        Field::Purpose,
        Field::Door,
        Field::Time(TimePart::Hour),
        Field::Length(vec!["tags".to_owned()]),
    ];
    let mut tests = vec![
        (2, Ask::Matches("^/etc/(passwd|shadow)$".to_owned())),
        (2, Ask::StartsWith("/var/".to_owned())),
        (2, Ask::EndsWith(".key".to_owned())),
        (2, Ask::Glob(Glob::Text, "*secret*".to_owned())),
        (2, Ask::Glob(Glob::Path, "/root/*".to_owned())),
        (3, Ask::AnyGlob("drop*".to_owned())),
        (3, Ask::Contains(text("dangerous"))),
        (4, Ask::Equals(text("other"))),
        (5, Ask::In(vec![text("drop"), text("wipe")])),
        (6, Ask::Equals(text("exfiltration"))),
        (7, Ask::Equals(text("egress"))),
        (8, Ask::Compare(Order::Greater, number(24))),
        (9, Ask::Compare(Order::Greater, number(9))),
        (2, Ask::CompareField(Relation::Equal, 1)),
        (1, Ask::CompareField(Relation::Contains, 5)),
        (0, Ask::CompareField(Relation::Order(Order::Less), 9)),
    ];
    let first_key = u32::try_from(tests.len()).unwrap();
    for n in 0..500 {
        tests.push((1, Ask::Equals(text(&format!("c-{n}")))));
        tests.push((0, Ask::Compare(Order::Less, number(n * 10))));
    }
    let rule = |effect, condition| Rule {
        effect,
        pattern: "stripe/refund".to_owned(),
        condition,
        reason: None,
        notify: Vec::new(),
        reeval: false,
        text: String::new(),
    };
    let each = (0..first_key).map(|test| rule(RuleEffect::Deny, vec![Op::Test(test)]));
    let keyed = (0..1_000).map(|n| {
        let effect = if n % 2 == 0 {
            RuleEffect::Permit
        } else {
            RuleEffect::Defer
        };
        rule(effect, vec![Op::Test(first_key + n)])
    });
    let agent = AgentPolicy {
        name: "bot".to_owned(),
        rules: each.chain(keyed).collect(),
        fields,
        tests: tests
            .into_iter()
            .map(|(field, ask)| Test { field, ask })
            .collect(),
        ..AgentPolicy::default()
    };
    let mut artifact = Artifact {
        requires: Vec::new(),
        runtime: Runtime::default(),
        agents: vec![agent],
        declarations: Vec::new(),
    };
    artifact.requires = capabilities::of(&artifact);
    Policy::of(&artifact).unwrap()
}

fn call(customer: &str, amount: u32) -> Attested {
    let arguments = format!(
        r#"{{"amount":{amount},"customer":"{customer}","path":"/home/x","purpose":"support","tags":["a","b"]}}"#
    );
    let call = accept("stripe/refund", "bot", arguments.as_bytes()).unwrap();
    attest(call, Caller::Unattested { uid: 1 }).unwrap()
}

#[test]
fn a_permit_and_a_plain_denial_allocate_nothing_once_the_memory_has_grown() {
    let (policy, state, nothing) = (policy(), State::new(), Supposed::nothing());
    let mut scratch = Scratch::default();
    let calls = [
        (call("c-17", 9_000), Effect::Permit),
        (call("c-499", 9_000), Effect::Permit),
        (call("nobody", 9_000), Effect::Deny),
        (call("nobody", 17), Effect::Defer),
    ];
    let mut judge = |attested: &Attested| {
        let question = Question {
            attested,
            door: Door::Govern,
            now: Time {
                wall_ms: 1_800_000_000_000,
                boot_ms: 0,
            },
            supposed: &nothing,
        };
        let verdict = policy.judge(&question, &state, &mut scratch).unwrap();
        (verdict.effect, verdict.indeterminate)
    };
    for (call, _) in &calls {
        let _ = judge(call);
    }
    for (call, effect) in &calls {
        let before = ALLOCATED.get();
        let verdict = judge(call);
        let allocated = ALLOCATED.get() - before;
        assert_eq!((verdict, allocated), ((*effect, false), 0));
    }
}
