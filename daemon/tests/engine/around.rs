//! What stands around the rules, through the engine and into the journal.

use crate::world::{World, policy};
use faramesh_core::call::accept;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::{Code, Effect};
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::policy::artifact::{
    Argument, Artifact, Ask, Field, Kind, Op, Order, Redaction, Rule, RuleEffect, Test, ToolSchema,
    capabilities,
};
use faramesh_core::record::{Body, Door, SessionStart};
use faramesh_daemon::engine::{Engine, Lane};

pub(crate) fn guarded() -> Artifact {
    let mut artifact = policy(Effect::Permit);
    let agent = artifact.agents.first_mut().unwrap();
    let path = |name: &str| vec![name.to_owned()];
    agent.schemas = vec![ToolSchema {
        pattern: "pay".into(),
        arguments: vec![Argument {
            path: path("amount"),
            kind: Kind::Money,
            required: true,
        }],
        closed: false,
    }];
    agent.redactions = vec![Redaction {
        pattern: "*".into(),
        paths: vec![path("card")],
    }];
    agent.fields = vec![Field::Sum {
        pattern: "pay".into(),
        path: path("amount"),
        window_ms: Some(3_600_000),
    }];
    agent.tests = vec![Test {
        field: 0,
        ask: Ask::Compare(Order::GreaterOrEqual, Decimal::from(100)),
    }];
    let limit = Rule {
        effect: RuleEffect::Deny,
        condition: vec![Op::Test(0)],
        ..agent.rules.first().unwrap().clone()
    };
    agent.rules.insert(0, limit);
    artifact.requires = capabilities::of(&artifact);
    artifact
}

pub(crate) fn session() -> Body {
    Body::SessionStart(Box::new(SessionStart {
        session: "s1".into(),
        agent: "bot".into(),
        uid: 1,
        pid: 2,
        start_ticks: 3,
        boot_id: "b".into(),
        workspace: "/work".into(),
        cgroup: String::new(),
        command: vec![],
        stripped_env: vec![],
        probes: vec![],
    }))
}

fn pay(arguments: &str) -> Attested {
    let caller = Caller::Session {
        session: "s1".into(),
        agent: "bot".into(),
        uid: 1,
    };
    attest(accept("pay", "bot", arguments.as_bytes()).unwrap(), caller).unwrap()
}

pub(crate) async fn answer(engine: &Engine, arguments: &str) -> (Effect, Option<Code>) {
    let queued = engine.submit(Lane::session("s1"), pay(arguments), Door::Govern);
    let committed = queued.unwrap().await.unwrap().unwrap();
    let decided = committed.into_parts().decided.unwrap();
    assert!(!decided.message.contains("4111"), "{}", decided.message);
    (decided.effect, decided.code)
}

#[tokio::test]
async fn a_schema_refuses_a_window_limits_before_and_after_recovery_and_no_hidden_byte_is_written()
{
    let world = World::new();
    world.apply(2, &guarded());
    let engine = world.start().await;
    engine.append(session()).unwrap().await.unwrap().unwrap();
    let small = r#"{"amount":60,"card":"4111111111111111"}"#;
    let wrong = r#"{"amount":"60","card":"4111111111111111"}"#;
    let denied = (Effect::Deny, Some(Code::PolicyDeny));
    assert_eq!(
        answer(&engine, wrong).await,
        (Effect::Deny, Some(Code::CallInvalid))
    );
    assert_eq!(answer(&engine, small).await, (Effect::Permit, None));
    assert_eq!(answer(&engine, small).await, (Effect::Permit, None));
    assert_eq!(answer(&engine, small).await, denied);
    engine.drain("test").await;
    drop(engine);
    let engine = world.start().await;
    assert_eq!(answer(&engine, small).await, denied);
    for (path, bytes) in world.journal_bytes() {
        let hidden = bytes.windows(4).any(|window| window == b"4111");
        assert!(!hidden, "{}", path.display());
    }
}
