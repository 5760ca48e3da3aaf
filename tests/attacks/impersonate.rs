//! Being somebody else.

use crate::POLICY;
use faramesh_tests::World;
use faramesh_tests::skip::root_or_skip;
use std::process::Command;

#[test]
fn agent_claims_to_be_another_agent() {
    if !root_or_skip("agent_claims_to_be_another_agent") {
        return;
    }
    let world = World::enforced(POLICY);
    let honest = world.ask_as(Some("bot"), &["govern", "crm/lookup", "{}", "bot"]);
    assert_eq!(honest.effect, "permit");
    let claimed = world.ask_as(Some("bot"), &["govern", "crm/delete", "{}", "admin-bot"]);
    assert_eq!(
        (claimed.effect.as_str(), claimed.code.as_str()),
        ("deny", "IDENTITY_UNVERIFIED")
    );
}

/// The agent's own user, but not launched by the shim: it reaches the socket and gets nothing.
#[test]
fn a_process_of_the_agents_user_outside_any_session_asks() {
    if !root_or_skip("a_process_of_the_agents_user_outside_any_session_asks") {
        return;
    }
    let world = World::enforced(POLICY);
    let user = nix::unistd::User::from_name("ft-agent").unwrap().unwrap();
    let socket = world
        .state("run")
        .join(format!("agents/{}/agent.sock", user.uid));
    let output = Command::new("setpriv")
        .args([
            &format!("--reuid={}", user.uid),
            &format!("--regid={}", user.gid),
            "--clear-groups",
            "--",
        ])
        .arg(world.binary("faramesh-test-ask"))
        .args(["govern", "crm/lookup", "{}", "bot"])
        .env("FARAMESH_SOCKET", &socket)
        .output()
        .unwrap();
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(
        (&answer["effect"], &answer["code"]),
        (&"deny".into(), &"IDENTITY_UNVERIFIED".into()),
        "{answer}"
    );
}

#[test]
fn another_user_of_the_host_reaches_no_socket() {
    if !root_or_skip("another_user_of_the_host_reaches_no_socket") {
        return;
    }
    let world = World::enforced(POLICY);
    let run = world.state("run");
    let user = nix::unistd::User::from_name("ft-agent").unwrap().unwrap();
    for socket in [
        "admin.sock",
        "attach.sock",
        "signer.sock",
        &format!("agents/{}/agent.sock", user.uid),
    ] {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(world.binary("faramesh-test-ask"))
            .args(["govern", "crm/lookup", "{}", "bot"])
            .env("FARAMESH_SOCKET", run.join(socket))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("DAEMON_NOT_READY"), "{socket}: {text}");
    }
}

#[test]
fn agent_attaches_again_from_inside_its_session() {
    if !root_or_skip("agent_attaches_again_from_inside_its_session") {
        return;
    }
    let world = World::enforced(POLICY);
    let shim = world.binary("faramesh-agent").display().to_string();
    let attach = world.state("run").join("attach.sock").display().to_string();
    let workspace = world.dir.join("workspace").display().to_string();
    let inside = world.agent_named(
        Some("bot"),
        &[
            &shim,
            "--attach",
            &attach,
            "--workspace",
            &workspace,
            "--agent",
            "admin-bot",
            "--",
            "/bin/echo",
            "attached",
        ],
    );
    assert!(!inside.stdout.contains("attached"), "{inside:?}");
    assert_ne!(inside.exit, 0);
}

#[test]
fn daemons_user_cannot_read_either_key() {
    if !root_or_skip("daemons_user_cannot_read_either_key") {
        return;
    }
    let world = World::enforced(POLICY);
    for key in [
        world.state("signer").join("log.key"),
        world.state("etc").join("policy.key"),
    ] {
        assert!(key.exists(), "{}", key.display());
        let status = Command::new("setpriv")
            .args([
                "--reuid=faramesh",
                "--regid=faramesh",
                "--init-groups",
                "--",
                "cat",
            ])
            .arg(&key)
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success(), "{}", key.display());
    }
}

/// What became of a call is said by the session that was permitted it, and once.
#[test]
fn agent_reports_the_outcome_of_another_sessions_call() {
    if !root_or_skip("agent_reports_the_outcome_of_another_sessions_call") {
        return;
    }
    let world = World::enforced(POLICY);
    let honest = world.ask_as(Some("bot"), &["outcome", "crm/lookup", "{}"]);
    assert_eq!(
        honest.json["codes"],
        serde_json::json!(["", "CALL_INVALID"])
    );
    let others = world.ask_as(Some("admin-bot"), &["govern", "crm/lookup", "{}"]);
    let record = others.json["leaf_index"].to_string();
    for record in ["0", &record] {
        let forged = world.ask_as(Some("bot"), &["outcome", "crm/lookup", "{}", record]);
        let refused = serde_json::json!(["CALL_INVALID", "CALL_INVALID"]);
        assert_eq!(forged.json["codes"], refused, "record {record}");
    }
    let records = world.records(1_000);
    let outcomes = records.iter().filter(|r| r["record"]["kind"] == "outcome");
    assert_eq!(outcomes.count(), 1);
}
