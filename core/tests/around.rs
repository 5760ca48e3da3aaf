//! What stands around the rules: schemas, layers, paths, redaction, and what is counted.
#![expect(clippy::unwrap_used, reason = "tests: a failed step is a failed test")]

use faramesh_core::call::accept;
use faramesh_core::decimal::Decimal;
use faramesh_core::decision::{Code, Decision, Effect};
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::{
    Access, AgentPolicy, Argument, Artifact, Ask, Field, Kind, Literal, Mode, Op, Order, PathRules,
    Redaction, Rule, RuleEffect, Runtime, Test, ToolSchema, capabilities,
};
use faramesh_core::policy::paths::{self, PathInvalid};
use faramesh_core::policy::{Policy, Supposed, windows};
use faramesh_core::record::{
    self, Activation, Body, DecisionRecord, Door, Header, LAYERS, RunMode, SessionStart, Start,
    Time, is_layer,
};
use faramesh_core::state::{Beside, CALLERS_CONTRIBUTIONS_MAX, CONTRIBUTIONS_MAX, State};
use proptest::prelude::*;

fn names(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn rule(effect: RuleEffect, condition: &[Op]) -> Rule {
    Rule {
        effect,
        pattern: "*".to_owned(),
        condition: condition.to_vec(),
        reason: None,
        notify: Vec::new(),
        reeval: false,
        text: String::new(),
    }
}

/// An agent that may do everything but what `change` says.
fn policy(mode: Mode, change: impl FnOnce(&mut AgentPolicy)) -> Policy {
    let mut agent = AgentPolicy {
        name: "bot".to_owned(),
        rules: vec![rule(RuleEffect::Permit, &[])],
        ..AgentPolicy::default()
    };
    change(&mut agent);
    let mut artifact = Artifact {
        requires: Vec::new(),
        runtime: Runtime {
            mode,
            ..Runtime::default()
        },
        agents: vec![agent],
        declarations: Vec::new(),
    };
    artifact.requires = capabilities::of(&artifact);
    Policy::of(&artifact).unwrap()
}

fn call(session: Option<&str>, tool: &str, args: &str) -> Attested {
    let caller = match session {
        Some(session) => Caller::Session {
            session: session.into(),
            agent: "bot".into(),
            uid: 7,
        },
        None => Caller::Unattested { uid: 7 },
    };
    attest(accept(tool, "bot", args.as_bytes()).unwrap(), caller).unwrap()
}

fn at(boot_ms: u64) -> Time {
    Time {
        wall_ms: 1_000_000 + boot_ms,
        boot_ms,
    }
}

fn ask_at(policy: &Policy, state: &State, asked: &Attested, now: Time) -> Decision {
    let question = Question {
        attested: asked,
        door: Door::Govern,
        now,
        supposed: &Supposed::nothing(),
    };
    decide(&question, policy, state)
}

fn ask(policy: &Policy, tool: &str, args: &str) -> Decision {
    ask_at(policy, &State::new(), &call(None, tool, args), at(0))
}

fn session(workspace: &str, probes: &[(&str, bool)]) -> Body {
    Body::SessionStart(Box::new(SessionStart {
        session: "s1".to_owned(),
        agent: "bot".to_owned(),
        uid: 7,
        pid: 2,
        start_ticks: 3,
        boot_id: String::new(),
        workspace: workspace.to_owned(),
        cgroup: String::new(),
        command: Vec::new(),
        stripped_env: Vec::new(),
        probes: probes
            .iter()
            .map(|(layer, holds)| ((*layer).to_owned(), *holds, String::new()))
            .collect(),
    }))
}

fn in_session(workspace: &str, probes: &[(&str, bool)]) -> State {
    let mut state = State::new();
    state.apply(0, at(0), &session(workspace, probes)).unwrap();
    state
}

fn argument(path: &str, kind: Kind, required: bool) -> Argument {
    Argument {
        path: names(path),
        kind,
        required,
    }
}

// ---- doors -----------------------------------------------------------------------------------------------------------

#[test]
fn a_rule_about_a_door_demands_that_door() {
    let demands = |ask: Ask| {
        let policy = policy(Mode::Enforce, |agent| {
            agent.fields = vec![Field::Door];
            agent.tests = vec![Test { field: 0, ask }];
            agent
                .rules
                .insert(0, rule(RuleEffect::DenyHard, &[Op::Test(0)]));
        });
        let doors = policy.artifact().requires.iter();
        let doors = doors.filter(|name| name.starts_with("door."));
        doors.cloned().collect::<Vec<_>>()
    };
    let text = |text: &str| Literal::String(text.to_owned());
    assert_eq!(demands(Ask::Equals(text("egress"))), ["door.egress"]);
    assert_eq!(demands(Ask::Equals(text("govern"))), ["door.govern"]);
    assert_eq!(
        demands(Ask::In(vec![text("hook"), text("mcp")])),
        ["door.hook", "door.mcp"]
    );
    assert_eq!(demands(Ask::StartsWith("e".to_owned())), ["door.any"]);
    assert!(demands(Ask::Has).is_empty());
}

// ---- schemas --------------------------------------------------------------------------------------------------------

#[test]
fn a_call_that_is_not_as_its_schema_says_is_no_call_and_the_argument_is_named() {
    let schema = ToolSchema {
        pattern: "stripe/*".to_owned(),
        arguments: vec![
            argument("amount", Kind::Money, true),
            argument("bytes", Kind::Size, false),
            argument("file", Kind::Path(Access::Read), false),
            argument("shift", Kind::Number, false),
            argument("to.domain", Kind::Text, false),
            argument("wait", Kind::Duration, false),
        ],
        closed: true,
    };
    for mode in [Mode::Enforce, Mode::Shadow] {
        let policy = policy(mode, |agent| agent.schemas = vec![schema.clone()]);
        for (args, named) in [
            ("{}", "`args.amount` is required"),
            (r#"{"amount":null}"#, "`args.amount` is required"),
            (r#"{"amount":"80"}"#, "`args.amount` is text"),
            (r#"{"amount":1,"file":7}"#, "`args.file` is a number"),
            (r#"{"amount":-100000}"#, "`args.amount` is below zero"),
            (r#"{"amount":-1e-9}"#, "`args.amount` is below zero"),
            (r#"{"amount":1,"wait":-1}"#, "`args.wait` is below zero"),
            (r#"{"amount":1,"bytes":-1}"#, "`args.bytes` is below zero"),
            (
                r#"{"amount":1,"to":{"domain":[]}}"#,
                "`args.to.domain` is a list",
            ),
            (r#"{"amount":1,"to":{"x":1}}"#, "`args.to.x` is no argument"),
            (r#"{"amount":1,"to":5}"#, "`args.to` is no argument"),
            (r#"{"amount":1,"note":""}"#, "`args.note` is no argument"),
        ] {
            let decision = ask(&policy, "stripe/refund", args);
            assert_eq!(decision.code, Some(Code::CallInvalid), "{args}");
            assert_eq!(decision.effect, Effect::Deny, "{args}");
            assert!(
                decision.message.contains(named),
                "{args}: {}",
                decision.message
            );
        }
        for args in [
            r#"{"amount":80}"#,
            r#"{"amount":-0,"shift":-5}"#,
            r#"{"amount":0,"to":{"domain":"x"},"note":null}"#,
        ] {
            assert_eq!(
                ask(&policy, "stripe/refund", args).effect,
                Effect::Permit,
                "{args}"
            );
        }
        assert_eq!(ask(&policy, "other/tool", "{}").effect, Effect::Permit);
    }
}

// ---- layers ---------------------------------------------------------------------------------------------------------

#[test]
fn a_required_layer_that_was_not_measured_as_holding_refuses_and_is_never_shadowed() {
    let asked = call(Some("s1"), "x", "{}");
    for mode in [Mode::Enforce, Mode::Shadow] {
        let policy = policy(mode, |agent| agent.demands = strings(&["landlock"]));
        let outside = ask(&policy, "x", "{}");
        assert_eq!(outside.code, Some(Code::EnforcementMissing));
        for (probes, holds) in [
            (&[][..], false),
            (&[("landlock", false)][..], false),
            (
                &[("landlock.fs.read", true), ("landlock.net.bind", false)][..],
                false,
            ),
            (&[("landlocked", true)][..], false),
            (
                &[("landlock.fs.read", true), ("seccomp.mode", false)][..],
                true,
            ),
        ] {
            let decision = ask_at(&policy, &in_session("", probes), &asked, at(1));
            assert_eq!(decision.effect == Effect::Permit, holds, "{probes:?}");
            let code = (!holds).then_some(Code::EnforcementMissing);
            assert_eq!(decision.code, code, "{probes:?}");
        }
    }
}

#[test]
fn the_known_layers_are_sorted_each_once_and_every_tier_of_one_is_known() {
    assert!(LAYERS.windows(2).all(|pair| pair[0] < pair[1]));
    for layer in LAYERS {
        if let Some((tier, _)) = layer.rsplit_once('.') {
            assert!(is_layer(tier), "{tier}");
        }
    }
}

// ---- paths ----------------------------------------------------------------------------------------------------------

fn path_policy(change: impl FnOnce(&mut PathRules)) -> Policy {
    let mut rules = PathRules {
        read_exclude: Vec::new(),
        edit_deny: Vec::new(),
        edit_protected: Vec::new(),
        edit_allow: Vec::new(),
    };
    change(&mut rules);
    policy(Mode::Enforce, |agent| {
        agent.paths = Some(rules);
        agent.schemas = vec![ToolSchema {
            pattern: "read".to_owned(),
            arguments: vec![argument("target", Kind::Path(Access::Read), false)],
            closed: false,
        }];
    })
}

fn answer(policy: &Policy, state: &State, session: Option<&str>, args: &str) -> (Effect, bool) {
    let decision = ask_at(policy, state, &call(session, "edit", args), at(1));
    (decision.effect, decision.code == Some(Code::PathDenied))
}

fn edit(policy: &Policy, path: &str) -> Effect {
    let mut args = String::from(r#"{"path":"#);
    faramesh_core::json::write_string(path, &mut args);
    args.push('}');
    answer(policy, &State::new(), None, &args).0
}

#[test]
fn what_is_always_excluded_is_so_in_every_spelling_and_at_every_depth() {
    let policy = path_policy(|_| {});
    for path in [
        ".env",
        "a/.env.local",
        "a/.ENV",
        "a/b/key.PEM",
        "x.key",
        "a/x.p12",
        "x.pfx",
        "x.jks",
        ".git",
        ".git/config",
        "a/.Git/hooks/x",
        "secrets/a/b",
        "a/node_modules/x/y.js",
        "./a/../.env",
        "a//.env",
        "a/%2eenv",
        "a/%252eenv",
        "a%2f.env",
        "a\\.env",
        "a%5c.env",
        ".env.",
        ".env ",
        ".e\u{200b}nv",
        ".env::$DATA",
        ".env/inner",
        "file:///srv/.env",
        "FILE://localhost/srv/.env",
        "C:\\x\\.env",
        "/srv/.env",
    ] {
        assert_eq!(edit(&policy, path), Effect::Deny, "{path}");
    }
    for path in [
        "env", "a/b.txt", "pem", "git/x", "secret/x", "100%", "a%zz", "C:/x/y", "/",
    ] {
        assert_eq!(edit(&policy, path), Effect::Permit, "{path}");
    }
}

/// The attacks: the name behind a `:` was cut off before anybody judged it, a URL's query belonged to the last name, and
/// letters that a file system folds or leaves out were others to us.
#[test]
fn an_exclusion_holds_for_names_with_a_colon_a_query_or_letters_that_are_other_spellings() {
    let policy = path_policy(|rules| rules.edit_deny = strings(&["pass*"]));
    for path in [
        "certs/prod:server.pem",
        "d/:x.pem",
        "d/a:x.pem",
        "d/secrets:x/y",
        "d/x.pem:stream",
        "d/x.pem .:stream",
        "file:///srv/server.key?x=1",
        "file:///srv/server.key#x",
        " file:///srv/server.key?x",
        "file:///srv/server.key%3fx",
        "\u{17f}ecrets/x",
        "s\u{34f}ecrets/x",
        "s\u{e0041}ecrets/x",
        "x.\u{212a}ey",
        "x.\u{ff50}em",
        "x.\u{24c5}em",
        "x.\u{1d429}em",
        "x\u{ff0e}pem",
        "a\u{2025}/x",
        "a/.\u{200b}./x",
        "x.pem\u{a0}",
        "pa\u{df}word",
        ".g\u{131}t/config",
    ] {
        assert_eq!(edit(&policy, path), Effect::Deny, "{path:?}");
    }
    for path in [
        "ab:c",
        "d/a:b.txt",
        "straße/größe.txt",
        "naïve/日本語.txt",
        "\u{2764}\u{fe0f}.md",
        "at 1.00\u{202f}PM.png",
        "what?.md",
        "c#/x.cs",
    ] {
        assert_eq!(edit(&policy, path), Effect::Permit, "{path:?}");
    }
}

/// The attack: a call with as many paths as it may name, each as long and as deep as it may be, against full lists of
/// globs with as many stars and depths as one may have. It is refused before the work is done.
#[test]
fn paths_that_take_too_much_work_to_judge_are_refused() {
    let glob = |n: usize| format!("{}x{n:03}", "**/*a*a*a*a/".repeat(20));
    let policy = path_policy(|rules| {
        rules.read_exclude = (0..128).map(glob).collect();
        rules.edit_protected = (128..256).map(glob).collect();
    });
    let path = format!("\"{}\"", vec!["a".repeat(60); 60].join("/"));
    let args = format!("{{\"paths\":[{}]}}", vec![path; 256].join(","));
    let decision = ask(&policy, "edit", &args);
    assert_eq!(
        (decision.effect, decision.code),
        (Effect::Deny, Some(Code::PathDenied))
    );
    assert!(
        decision.message.contains("more work"),
        "{}",
        decision.message
    );
    // Many paths of a usual kind, and many globs, are no such thing.
    let policy = path_policy(|rules| {
        rules.read_exclude = (0..128).map(|n| format!("data/**/*.{n:03}")).collect();
        rules.edit_deny = (0..128).map(|n| format!("data/**/x{n:03}")).collect();
    });
    let args = format!(
        "{{\"paths\":[{}]}}",
        vec!["\"src/main/java/com/example/app/Main.java\""; 256].join(",")
    );
    assert_eq!(ask(&policy, "edit", &args).effect, Effect::Permit);
}

/// The attack: each of the call's arguments was looked for in each of the policy's schemas.
#[test]
fn arguments_are_looked_up_among_the_declared_ones_however_many_a_call_has() {
    let policy = policy(Mode::Enforce, |agent| {
        agent.paths = Some(PathRules {
            read_exclude: Vec::new(),
            edit_deny: Vec::new(),
            edit_protected: Vec::new(),
            edit_allow: Vec::new(),
        });
        agent.schemas = (0..4_096)
            .map(|n: usize| ToolSchema {
                pattern: if n == 0 {
                    "edit".to_owned()
                } else {
                    format!("x{n:04}/*")
                },
                arguments: vec![argument(
                    &format!("a{n:04}"),
                    Kind::Path(Access::Edit),
                    false,
                )],
                closed: false,
            })
            .collect();
    });
    let members: Vec<String> = (0..60_000).map(|n| format!("\"b{n}\":1")).collect();
    let args = format!("{{{},\"a0000\":\".env\"}}", members.join(","));
    assert_eq!(ask(&policy, "edit", &args).code, Some(Code::PathDenied));
}

#[test]
fn a_path_that_has_no_one_meaning_is_refused() {
    for (path, why) in [
        ("", PathInvalid::Empty),
        ("a\0b", PathInvalid::Control),
        ("a%00b", PathInvalid::Control),
        ("a\nb", PathInvalid::Control),
        ("%ff", PathInvalid::Encoding),
        ("%25252525252541", PathInvalid::Encoding),
        ("..", PathInvalid::Climbs),
        ("a/../../b", PathInvalid::Climbs),
        ("a%2f..%2f..", PathInvalid::Climbs),
        ("..\\x", PathInvalid::Climbs),
        ("~", PathInvalid::Start),
        ("~root/x", PathInvalid::Start),
        ("C:x", PathInvalid::Start),
        ("C:/../x", PathInvalid::Start),
        ("file://host/x", PathInvalid::Start),
        ("file:x", PathInvalid::Start),
        ("\\\\?\\C:\\x", PathInvalid::Start),
        (&"a/".repeat(65), PathInvalid::TooLong),
        (&"a".repeat(5_000), PathInvalid::TooLong),
    ] {
        assert_eq!(paths::normalise(path), Err(why), "{path:?}");
    }
    assert_eq!(edit(&path_policy(|_| {}), "a/../../b"), Effect::Deny);
}

proptest! {
    #[test]
    fn every_text_is_refused_or_read_without_dots_and_separators(text in "[a-zA-Z.%/\\\\:~25eEfF ]{0,24}") {
        if let Ok(readings) = paths::normalise(&text) {
            for reading in readings {
                for name in &reading.names {
                    prop_assert!(!name.is_empty() && name != "." && name != ".." && !name.contains('/'));
                }
            }
        }
    }
}

#[test]
fn the_lists_of_a_paths_block_deny_defer_and_allow() {
    let policy = path_policy(|rules| {
        rules.read_exclude = strings(&["/etc/**", "private"]);
        rules.edit_deny = strings(&["*.lock"]);
        rules.edit_protected = strings(&["deploy/**"]);
        rules.edit_allow = strings(&["/tmp/x/**", "deploy/**", "src/**"]);
    });
    let state = in_session("/work", &[]);
    for (path, expected) in [
        ("src/a.rs", Effect::Permit),
        ("/work/src/a.rs", Effect::Permit),
        ("/tmp/x/a", Effect::Permit),
        ("deploy/prod.yml", Effect::Defer),
        ("src/Deploy/prod.yml", Effect::Defer),
        ("src/Cargo.LOCK", Effect::Deny),
        ("src/private/x", Effect::Deny),
        ("other/a.rs", Effect::Deny),
        ("SRC/a.rs", Effect::Deny),
        ("/src/a.rs", Effect::Deny),
        ("src%2f..%2fa", Effect::Deny),
        ("src/%2e%2e/a", Effect::Deny),
        ("x%2f..%2fsrc/a", Effect::Deny),
        ("/etc/passwd", Effect::Deny),
    ] {
        let args = format!(r#"{{"path":"{path}"}}"#);
        let (effect, by_path) = answer(&policy, &state, Some("s1"), &args);
        assert_eq!(effect, expected, "{path}");
        assert_eq!(by_path, effect != Effect::Permit, "{path}");
    }
    // Where nobody knows where a relative path starts, it may lie below `/etc`.
    assert_eq!(edit(&policy, "src/a.rs"), Effect::Deny);
}

/// Texts of the tool `edit`.
fn with_schema(texts: &[&str]) -> Policy {
    policy(Mode::Enforce, |agent| {
        agent.paths = Some(PathRules {
            read_exclude: Vec::new(),
            edit_deny: strings(&["locked"]),
            edit_protected: Vec::new(),
            edit_allow: Vec::new(),
        });
        let arguments = texts.iter().map(|name| argument(name, Kind::Text, false));
        agent.schemas = vec![ToolSchema {
            pattern: "edit".to_owned(),
            arguments: arguments.collect(),
            closed: false,
        }];
    })
}

#[test]
fn arguments_are_paths_by_their_schema_or_by_their_name_at_any_depth() {
    let policy = path_policy(|rules| rules.edit_deny = strings(&["locked"]));
    let state = State::new();
    for (args, effect) in [
        (r#"{"files":["a","locked"]}"#, Effect::Deny),
        (r#"{"options":[{"Destination":"x/locked"}]}"#, Effect::Deny),
        (r#"{"target_file":"locked"}"#, Effect::Deny),
        (r#"{"newPath":"locked"}"#, Effect::Deny),
        (r#"{"notebook_path":"locked"}"#, Effect::Deny),
        (r#"{"pathname":"locked"}"#, Effect::Deny),
        (r#"{"cwd":"locked"}"#, Effect::Deny),
        (r#"{"resourceUri":"file:///w/locked"}"#, Effect::Deny),
        (r#"{"file":{"name":"locked"}}"#, Effect::Deny),
        (r#"{"files":[{"to":[{"at":["locked"]}]}]}"#, Effect::Deny),
        (r#"{"profile":"locked"}"#, Effect::Permit),
        (r#"{"filed":"locked"}"#, Effect::Permit),
        (r#"{"text":"locked"}"#, Effect::Permit),
        (r#"{"path":7}"#, Effect::Permit),
    ] {
        assert_eq!(answer(&policy, &state, None, args).0, effect, "{args}");
    }
    // Read only: a list that speaks of changes does not hold.
    assert_eq!(
        ask(&policy, "read", r#"{"target":"locked"}"#).effect,
        Effect::Permit
    );
    assert_eq!(
        ask(&policy, "read", r#"{"target":".env"}"#).code,
        Some(Code::PathDenied)
    );
    // What a schema declares in a path by its name is what it says there.
    let declared = with_schema(&["file.mode"]);
    let args = r#"{"file":{"mode":"locked"}}"#;
    assert_eq!(answer(&declared, &state, None, args).0, Effect::Permit);
    let many = format!(r#"{{"paths":[{}]}}"#, vec!["\"a\""; 257].join(","));
    assert_eq!(answer(&policy, &state, None, &many), (Effect::Deny, true));
}

// ---- redaction ------------------------------------------------------------------------------------------------------

/// The attack: `card.number` was hidden, and stood in the record under a key that has the dot in it.
#[test]
fn a_redacted_argument_is_hidden_under_its_joined_name_and_with_white_space_around_it() {
    let policy = policy(Mode::Enforce, |agent| {
        agent.redactions = vec![Redaction {
            pattern: "*".to_owned(),
            paths: vec![names("card.number"), names("secret")],
        }];
        let field = |path: &[&str]| Field::Args(strings(path));
        agent.fields = vec![
            field(&["card.number"]),
            field(&["card", " number"]),
            field(&["secret "]),
        ];
        agent.fields.sort_unstable();
        agent.tests = (0..3)
            .map(|field| Test {
                field,
                ask: Ask::Has,
            })
            .collect();
        agent.rules = vec![rule(
            RuleEffect::Permit,
            &[Op::Test(0), Op::Test(1), Op::And, Op::Test(2), Op::And],
        )];
    });
    let args = format!(
        r#"{{"card.number":"{SECRET}","card . Number":"{SECRET}","card":{{" number":"{SECRET}"}},"secret ":"{SECRET}","card.name":"x"}}"#
    );
    let decision = ask(&policy, "pay", &args);
    assert_eq!(decision.effect, Effect::Permit);
    let shown = &decision.redacted.as_ref().unwrap().arguments;
    assert!(
        !shown.contains(SECRET) && shown.contains("\"x\""),
        "{shown}"
    );
    assert!(!format!("{:?}", decision.inputs).contains(SECRET));
}

const SECRET: &str = "hunter2";

fn redacting(agent: &mut AgentPolicy) {
    agent.redactions = vec![Redaction {
        pattern: "vault/*".to_owned(),
        paths: vec![names("amount"), names("deep.token"), names("path")],
    }];
}

fn tested(agent: &mut AgentPolicy) {
    agent.fields = vec![
        Field::Args(names("amount")),
        Field::Args(names("deep")),
        Field::Args(names("deep.token")),
    ];
    agent.tests = vec![
        Test {
            field: 2,
            ask: Ask::Equals(Literal::String("other".to_owned())),
        },
        Test {
            field: 1,
            ask: Ask::Has,
        },
        Test {
            field: 0,
            ask: Ask::Compare(Order::Less, Decimal::from(500)),
        },
    ];
    agent.rules = vec![
        rule(RuleEffect::Deny, &[Op::Test(0)]),
        rule(RuleEffect::Defer, &[Op::Test(1), Op::Not]),
        rule(RuleEffect::Permit, &[Op::Test(2)]),
    ];
    agent.paths = Some(PathRules {
        read_exclude: Vec::new(),
        edit_deny: strings(&["locked"]),
        edit_protected: Vec::new(),
        edit_allow: Vec::new(),
    });
}

fn body(asked: &Attested, decision: Decision, policy: &Policy) -> Body {
    let effects = policy.windows().effects(asked, Door::Govern, &decision);
    Body::Decision(Box::new(DecisionRecord {
        session: asked.session().map(str::to_owned),
        agent: "bot".to_owned(),
        attested: asked.is_attested(),
        uid: 7,
        door: Door::Govern,
        tool: asked.call().tool().to_owned(),
        policy: *policy.digest(),
        decision,
        effects,
        arguments: asked.call().arguments_text().to_owned(),
        args_salt: [1; 16],
        detail_salt: [2; 16],
    }))
}

fn header(seq: u64, time: Time) -> Header {
    Header {
        seq,
        prev: [0; 32],
        stack: "s".to_owned(),
        mode: RunMode::Enforced,
        time,
    }
}

#[test]
fn a_redacted_value_is_nowhere_in_a_record_which_commits_to_it_all_the_same() {
    let policy = policy(Mode::Enforce, |agent| {
        tested(agent);
        redacting(agent);
    });
    for args in [
        r#"{"amount":80,"deep":{"token":"hunter2","x":1},"path":"a/hunter2"}"#,
        r#"{"amount":900,"deep":{"TOKEN":"hunter2"}}"#,
        r#"{"amount":"hunter2","deep":[{"token":["hunter2"]}]}"#,
        r#"{"amount":1,"deep":{"token":{"hunter2":"hunter2"}},"path":"hunter2/locked"}"#,
    ] {
        let asked = call(None, "vault/read", args);
        let decision = ask_at(&policy, &State::new(), &asked, at(0));
        assert!(!decision.message.contains(SECRET), "{}", decision.message);
        let encoded = record::encode(&header(0, at(0)), &body(&asked, decision, &policy)).unwrap();
        let detail = String::from_utf8(encoded.detail).unwrap();
        assert!(!detail.contains(SECRET), "{detail}");
        assert!(
            detail.contains("[redacted]") && detail.contains("\"redacted\":[\""),
            "{detail}"
        );
        assert_eq!(record::detail_arguments(detail.as_bytes()), None);
        let record = String::from_utf8(encoded.record).unwrap();
        let committed = record::commitment(&[1; 16], asked.call().arguments_text().as_bytes());
        let hex: String = committed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(record.contains(&hex) && !record.contains(SECRET));
    }
}

#[test]
fn in_the_place_of_a_hidden_input_stand_the_results_of_its_tests() {
    let policy = policy(Mode::Enforce, |agent| {
        tested(agent);
        redacting(agent);
    });
    let decision = ask(
        &policy,
        "vault/read",
        r#"{"amount":80,"deep":{"token":"hunter2"}}"#,
    );
    assert_eq!(decision.effect, Effect::Permit);
    let shown: Vec<String> = decision
        .inputs
        .iter()
        .map(|input| {
            let results = input.results.iter();
            let results: Vec<String> = results
                .map(|(test, result)| format!("{test} {}", result.as_str()))
                .collect();
            let value = input.value.as_deref().unwrap_or("-");
            format!("{} {value} {}", input.field, results.join(","))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "args.amount [redacted] 2 yes",
            "args.deep [redacted] 1 yes",
            "args.deep.token [redacted] 0 no",
        ]
    );
}

#[test]
fn a_call_for_an_unknown_agent_shows_nothing_that_any_agent_hides() {
    let policy = policy(Mode::Enforce, redacting);
    let accepted = accept("vault/read", "typo", br#"{"amount":"hunter2"}"#).unwrap();
    let asked = attest(accepted, Caller::Unattested { uid: 7 }).unwrap();
    let decision = ask_at(&policy, &State::new(), &asked, at(0));
    assert_eq!(decision.code, Some(Code::IdentityUnverified));
    assert_eq!(
        decision.redacted.unwrap().arguments,
        r#"{"amount":"[redacted]"}"#
    );
}

proptest! {
    #[test]
    fn law_7_redaction_never_changes_a_decision(
        amount in prop_oneof![Just("null"), Just("80"), Just("900"), Just("\"80\"")],
        token in prop_oneof![Just("null"), Just("\"other\""), Just("\"hunter2\""), Just("7")],
        path in prop_oneof![Just("null"), Just("\"a/locked\""), Just("\"b\""), Just("\"..\"")],
        shadow: bool,
    ) {
        let mode = if shadow { Mode::Shadow } else { Mode::Enforce };
        let args = format!(r#"{{"amount":{amount},"deep":{{"token":{token}}},"path":{path}}}"#);
        let open = ask(&policy(mode, tested), "vault/read", &args);
        let redacted = policy(mode, |agent| {
            tested(agent);
            redacting(agent);
        });
        let closed = ask(&redacted, "vault/read", &args);
        let verdict = |d: &Decision| {
            (d.effect, d.would, d.code, d.rule, d.message.clone(), d.missing.clone(), d.inputs.len())
        };
        prop_assert_eq!(verdict(&open), verdict(&closed));
    }
}

// ---- windows --------------------------------------------------------------------------------------------------------

const SUM: &str = "sum pay/* amount";

fn counting(agent: &mut AgentPolicy) {
    let pattern = "pay/*".to_owned();
    agent.fields = vec![
        Field::Sum {
            pattern: pattern.clone(),
            path: names("amount"),
            window_ms: Some(1_000),
        },
        Field::Count {
            pattern,
            window_ms: None,
        },
        Field::Denials { window_ms: None },
    ];
    agent.tests = vec![Test {
        field: 0,
        ask: Ask::Compare(Order::GreaterOrEqual, Decimal::from(100)),
    }];
    agent
        .rules
        .insert(0, rule(RuleEffect::Deny, &[Op::Test(0)]));
}

fn activation(policy: &Policy, number: u64) -> Body {
    Body::Activation(Activation {
        number,
        digest: *policy.digest(),
        manifest: [0; 32],
        policy_mode: "enforce".to_owned(),
        windows: policy.windows().names(),
    })
}

fn start() -> Body {
    Body::Start(Start {
        version: String::new(),
        boot_id: String::new(),
        uid: 0,
        pid: 1,
        cut_bytes: 0,
        warnings: Vec::new(),
    })
}

/// A journal, live and read back from its bytes at once.
struct Journal {
    live: State,
    read: State,
}

impl Journal {
    fn new() -> Journal {
        Journal {
            live: State::new(),
            read: State::new(),
        }
    }

    fn take(&mut self, time: Time, body: &Body) {
        let seq = self.live.next_seq();
        let encoded = record::encode(&header(seq, time), body).unwrap();
        self.live.apply(seq, time, body).unwrap();
        let view = record::decode(&encoded.record).unwrap();
        let beside = Beside {
            detail: &encoded.detail,
            salt: &encoded.salts[1],
        };
        let read = self
            .read
            .apply_view(seq, view.header.time, &view.body, beside);
        read.unwrap();
        assert_eq!(self.live, self.read);
    }

    fn call(&mut self, policy: &Policy, asked: &Attested, now: Time) -> Decision {
        let decision = ask_at(policy, &self.live, asked, now);
        self.take(now, &body(asked, decision.clone(), policy));
        decision
    }

    fn permitted(&mut self, policy: &Policy, asked: &Attested, now: Time) {
        assert_eq!(self.call(policy, asked, now).effect, Effect::Permit);
    }
}

#[test]
fn a_window_limits_what_was_permitted_in_it_and_forgets_what_lies_before() {
    let policy = policy(Mode::Enforce, counting);
    for caller in [None, Some("s1")] {
        let mut journal = Journal::new();
        journal.take(at(0), &start());
        journal.take(at(0), &activation(&policy, 1));
        journal.take(at(0), &session("", &[]));
        let pay = |amount: &str| call(caller, "pay/x", &format!(r#"{{"amount":{amount}}}"#));
        assert_eq!(
            journal.call(&policy, &pay("60"), at(10)).effect,
            Effect::Permit
        );
        // The call itself does not count, and one of the same millisecond before it does.
        assert_eq!(
            journal.call(&policy, &pay("60"), at(10)).effect,
            Effect::Permit
        );
        let refused = journal.call(&policy, &pay("1"), at(1_010));
        assert_eq!(refused.code, Some(Code::PolicyDeny));
        assert_eq!(
            journal.call(&policy, &pay("1"), at(1_011)).effect,
            Effect::Permit
        );
        let counted = |name, window| journal.live.counted(caller, name, window, at(1_012));
        assert_eq!(counted("count pay/*", None), Some(3.into()));
        assert_eq!(counted("denials", None), Some(1.into()));
        assert_eq!(counted(SUM, None), Some(121.into()));
        assert_eq!(counted(SUM, Some(1_000)), Some(1.into()));
        assert_eq!(counted("sum other amount", None), None);
    }
}

#[test]
fn an_absent_summand_makes_the_sum_maybe_for_as_long_as_it_lies_in_the_window() {
    let policy = policy(Mode::Enforce, counting);
    for args in [
        "{}",
        r#"{"amount":"5"}"#,
        r#"{"amount":1e21}"#,
        r#"{"amount":1e-9}"#,
        r#"{"amount":-100000}"#,
    ] {
        let mut journal = Journal::new();
        journal.take(at(0), &activation(&policy, 1));
        journal.take(at(0), &session("", &[]));
        journal.permitted(&policy, &call(Some("s1"), "pay/x", args), at(5));
        let small = call(Some("s1"), "pay/x", r#"{"amount":1}"#);
        let decision = journal.call(&policy, &small, at(6));
        assert_eq!(decision.code, Some(Code::Indeterminate), "{args}");
        assert_eq!(
            journal.call(&policy, &small, at(1_006)).effect,
            Effect::Permit
        );
    }
}

#[test]
fn a_negative_amount_in_an_older_record_makes_no_room_in_a_sum() {
    let policy = policy(Mode::Enforce, counting);
    let mut journal = Journal::new();
    journal.take(at(0), &activation(&policy, 1));
    journal.take(at(0), &session("", &[]));
    let asked = call(Some("s1"), "pay/x", r#"{"amount":-100000}"#);
    let decision = ask_at(&policy, &journal.live, &asked, at(5));
    let mut recorded = body(&asked, decision, &policy);
    if let Body::Decision(recorded) = &mut recorded {
        recorded.effects.retain(|(name, _)| name != SUM);
        recorded
            .effects
            .push((SUM.to_owned(), Some(Decimal::from(-100_000))));
        recorded.effects.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    journal.take(at(5), &recorded);
    let counted = journal.live.counted(Some("s1"), SUM, None, at(6));
    assert_eq!(counted, None);
}

#[test]
fn what_a_later_policy_counts_is_unknown_for_callers_that_came_before_it() {
    let without = policy(Mode::Enforce, |_| {});
    let with = policy(Mode::Enforce, counting);
    let mut journal = Journal::new();
    journal.take(at(0), &activation(&without, 1));
    journal.take(at(0), &session("", &[]));
    let pay = call(Some("s1"), "pay/x", r#"{"amount":60}"#);
    journal.permitted(&without, &pay, at(10));
    journal.take(at(20), &activation(&with, 2));
    let sum =
        |journal: &Journal, window, now| journal.live.counted(Some("s1"), SUM, window, at(now));
    assert_eq!(sum(&journal, None, 30), None);
    assert_eq!(sum(&journal, Some(1_000), 1_020), None);
    assert_eq!(sum(&journal, Some(1_000), 1_021), Some(0.into()));
    // The same again is counted on, and what nobody asks for any more is forgotten.
    journal.permitted(&with, &pay, at(1_030));
    journal.take(at(1_040), &activation(&with, 3));
    assert_eq!(sum(&journal, Some(1_000), 1_050), Some(60.into()));
    journal.take(at(1_060), &activation(&without, 4));
    assert_eq!(sum(&journal, Some(1_000), 1_060), None);
}

#[test]
fn a_start_of_the_daemon_forgets_what_callers_outside_any_session_did() {
    let policy = policy(Mode::Enforce, counting);
    let mut journal = Journal::new();
    journal.take(at(0), &start());
    journal.take(at(0), &activation(&policy, 1));
    journal.take(at(0), &session("", &[]));
    for caller in [None, Some("s1")] {
        journal.permitted(&policy, &call(caller, "pay/x", r#"{"amount":60}"#), at(1));
    }
    journal.take(at(2), &start());
    assert_eq!(journal.live.counted(None, SUM, None, at(3)), Some(0.into()));
    assert_eq!(
        journal.live.counted(Some("s1"), SUM, None, at(3)),
        Some(60.into())
    );
    assert_eq!(journal.live.duration_ms(None, at(5)), Some(3));
    assert_eq!(journal.live.call_count(None), Some(0));
}

#[test]
fn what_was_erased_or_changed_beside_a_record_makes_windows_over_it_maybe() {
    let policy = policy(Mode::Enforce, counting);
    let asked = call(None, "pay/x", r#"{"amount":60}"#);
    for detail in [&b""[..], br#"{"args":"{}","effects":[]}"#] {
        let mut state = State::new();
        state.apply(0, at(0), &activation(&policy, 1)).unwrap();
        let decision = ask_at(&policy, &state, &asked, at(5));
        let body = body(&asked, decision, &policy);
        let encoded = record::encode(&header(1, at(5)), &body).unwrap();
        let view = record::decode(&encoded.record).unwrap();
        let salt = &encoded.salts[1];
        state
            .apply_view(1, at(5), &view.body, Beside { detail, salt })
            .unwrap();
        assert_eq!(state.counted(None, SUM, None, at(6)), None);
        assert_eq!(state.counted(None, SUM, Some(1), at(6)), None);
        assert_eq!(state.counted(None, SUM, Some(1), at(7)), Some(0.into()));
    }
}

#[test]
fn more_contributions_than_are_remembered_make_a_window_over_them_maybe_and_a_total_not() {
    let policy = policy(Mode::Enforce, |agent| {
        counting(agent);
        agent.rules.remove(0);
        agent.tests.clear();
    });
    let asked = call(None, "pay/x", r#"{"amount":1}"#);
    let mut state = State::new();
    state.apply(0, at(0), &activation(&policy, 1)).unwrap();
    let many = u64::try_from(CONTRIBUTIONS_MAX).unwrap() + 10;
    for seq in 1..=many {
        let decision = ask_at(&policy, &state, &asked, at(seq));
        state
            .apply(seq, at(seq), &body(&asked, decision, &policy))
            .unwrap();
    }
    let total = Some(Decimal::from(i64::try_from(many).unwrap()));
    assert_eq!(state.counted(None, SUM, None, at(many)), total);
    assert_eq!(state.counted(None, SUM, Some(many - 10), at(many)), None);
    assert_eq!(
        state.counted(None, SUM, Some(many - 11), at(many)),
        Some(Decimal::from(i64::try_from(many - 10).unwrap()))
    );
}

/// Many windows, all fed by each call, and one that was fed before them.
#[test]
fn a_caller_that_feeds_many_windows_is_remembered_for_less_long_in_each_and_what_is_rare_stays() {
    const WINDOWS: usize = 16;
    let names: Vec<String> = (0..WINDOWS).map(|n| format!("sum pay/* a{n}")).collect();
    let rare = "sum rare amount".to_owned();
    let mut state = State::new();
    let mut counted = names.clone();
    counted.push(rare.clone());
    let activation = Body::Activation(Activation {
        number: 1,
        digest: [0; 32],
        manifest: [0; 32],
        policy_mode: "enforce".to_owned(),
        windows: counted,
    });
    state.apply(0, at(0), &activation).unwrap();
    let policy = policy(Mode::Enforce, |_| {});
    let asked = call(None, "pay/x", "{}");
    let decision = ask_at(&policy, &state, &asked, at(1));
    let Body::Decision(plain) = body(&asked, decision, &policy) else {
        panic!("a decision")
    };
    let mut feed = |seq: u64, names: &[String]| {
        let mut record = plain.clone();
        let one = |name: &String| (name.clone(), Some(Decimal::from(1)));
        record.effects = names.iter().map(one).collect();
        state.apply(seq, at(seq), &Body::Decision(record)).unwrap();
    };
    feed(1, std::slice::from_ref(&rare));
    let each = u64::try_from(CALLERS_CONTRIBUTIONS_MAX / WINDOWS).unwrap();
    let many = 2 * each;
    for seq in 2..=many {
        feed(seq, &names);
    }
    let back = |calls: u64| Some(calls - 1);
    let sum = |name: &str, window| state.counted(None, name, window, at(many));
    for name in &names {
        assert_eq!(
            sum(name, None),
            Some(Decimal::from(i64::try_from(many - 1).unwrap()))
        );
        assert_eq!(sum(name, back(each + 1)), None, "{name} forgot nothing");
        let kept = each - 1;
        assert_eq!(
            sum(name, back(kept)),
            Some(Decimal::from(i64::try_from(kept).unwrap()))
        );
    }
    assert_eq!(sum(&rare, Some(many)), Some(Decimal::from(1)));
}

/// What one caller did: (when, argument, answer).
type Past = Vec<(u64, Option<i64>, Effect)>;

/// The slow way: the whole list, gone through each time.
fn slow(past: &Past, name: &str, window_ms: Option<u64>, now: u64) -> Option<i64> {
    let from = window_ms.map_or(0, |window| now.saturating_sub(window));
    let within = past.iter().filter(|(when, ..)| *when >= from);
    let mut sum = 0;
    for (_, amount, effect) in within {
        sum += match (name, effect) {
            (SUM, Effect::Permit) => (*amount).filter(|amount| *amount >= 0)?,
            ("count pay/*", Effect::Permit) | ("denials", Effect::Deny) => 1,
            _ => 0,
        };
    }
    Some(sum)
}

proptest! {
    #[test]
    fn windows_agree_with_the_whole_list(
        steps in proptest::collection::vec(
            (0_u64..400, prop_oneof![9 => (-50_i64..100).prop_map(Some), 1 => Just(None)], any::<bool>()),
            0..60,
        ),
        window in prop_oneof![Just(None), (1_u64..3_000).prop_map(Some)],
    ) {
        let policy = policy(Mode::Enforce, counting);
        let mut journal = Journal::new();
        journal.take(at(0), &activation(&policy, 1));
        journal.take(at(0), &session("", &[]));
        let (mut now, mut inside, mut outside) = (0, Past::new(), Past::new());
        for (passed, amount, is_inside) in steps {
            now += passed;
            let (caller, past) = if is_inside { (Some("s1"), &mut inside) } else { (None, &mut outside) };
            let args = amount.map_or("{}".to_owned(), |amount| format!(r#"{{"amount":{amount}}}"#));
            let decision = journal.call(&policy, &call(caller, "pay/x", &args), at(now));
            past.push((now, amount, decision.effect));
            for name in [SUM, "count pay/*", "denials"] {
                let counted = journal.live.counted(caller, name, window, at(now));
                let expected = slow(past, name, window, now).map(Decimal::from);
                prop_assert_eq!(counted, expected, "{} {:?} at {}", name, window, now);
            }
        }
    }
}

#[test]
fn a_window_has_one_name_whatever_it_looks_back_over() {
    let sum = |path: &[&str], window_ms| Field::Sum {
        pattern: "a/*".to_owned(),
        path: strings(path),
        window_ms,
    };
    let name = windows::name_of(&sum(&["b", "c d"], None));
    assert_eq!(name.as_deref(), Some(r#"sum a/* b."c d""#));
    assert_eq!(name, windows::name_of(&sum(&["b", "c d"], Some(5))));
    assert_eq!(windows::name_of(&Field::Tool), None);
}
