//! Starting an agent, and what is said when it is not started.

use crate::{POLICY, development_policy};
use faramesh_tests::World;
use faramesh_tests::skip::{root_or_skip, skipped};
use serde_json::Value;
use std::process::{Command, Stdio};

const TWO_AGENTS: &str = r#"
agent "reader" { default deny  permit crm/lookup }
agent "writer" { default deny  permit crm/update }
"#;

#[test]
fn of_several_agents_the_one_that_starts_has_to_be_named() {
    let world = World::development(TWO_AGENTS);
    for (agent, why) in [
        (
            None,
            "the policy has several agents, say which: `reader`, `writer`",
        ),
        (
            Some("stranger"),
            "the policy has no agent `stranger`, only `reader`, `writer`",
        ),
    ] {
        let refused = world.agent_named(agent, &["/bin/echo", "it ran"]);
        assert!(
            refused.exit != 0 && refused.stdout.is_empty(),
            "{refused:?}"
        );
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    let named = world.ask_as(Some("writer"), &["govern", "crm/update", "{}"]);
    assert_eq!(named.effect, "permit");
    // Who is asking is the session, whatever the call names.
    let claimed = world.ask_as(Some("writer"), &["govern", "crm/lookup", "{}", "reader"]);
    assert_eq!(claimed.code, "IDENTITY_UNVERIFIED");
}

#[test]
fn an_ordinary_user_without_systemd_is_told_why_no_agent_starts() {
    let test = "an_ordinary_user_without_systemd_is_told_why_no_agent_starts";
    if !root_or_skip(test) {
        return;
    }
    if std::path::Path::new("/run/systemd/system").is_dir() {
        return skipped(test, "systemd runs here, and would be asked");
    }
    let world = World::enforced(POLICY);
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(world.dir.join(".faramesh/bin/agent"))
        .args(["--", "/bin/echo", "it ran"])
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(output.stdout.is_empty());
    assert!(
        said.contains("only root") && said.contains("no systemd runs here"),
        "{said}"
    );
}

#[test]
fn what_was_taken_from_the_environment_is_printed_and_recorded_by_name_and_never_by_value() {
    let world = World::development(&development_policy());
    let output = world
        .launcher(None, &["/usr/bin/env"])
        .env("GITHUB_TOKEN", "do-not-show")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let inside = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("removed from the environment") && said.contains("GITHUB_TOKEN"),
        "{said}"
    );
    assert!(
        !said.contains("do-not-show") && !inside.contains("GITHUB_TOKEN"),
        "{said}{inside}"
    );
    let start = session_start(&world);
    let stripped = start["record"]["stripped_env"].as_array().unwrap();
    assert!(stripped.contains(&"GITHUB_TOKEN".into()), "{start}");
    assert!(!start.to_string().contains("do-not-show"), "{start}");
}

#[test]
fn what_development_gives_up_stands_in_status_and_in_the_start_record() {
    let world = World::development(&development_policy());
    let start = world
        .records(20)
        .into_iter()
        .find(|r| r["record"]["kind"] == "start")
        .unwrap();
    for warnings in [&start["record"]["warnings"], &world.status()["warnings"]] {
        for part in [
            "any process of this user can be any agent",
            "it can replace the policy",
        ] {
            assert!(warnings.to_string().contains(part), "{warnings}");
        }
    }
}

fn session_start(world: &World) -> Value {
    world
        .records(50)
        .into_iter()
        .rfind(|r| r["record"]["kind"] == "session_start")
        .unwrap()
}
