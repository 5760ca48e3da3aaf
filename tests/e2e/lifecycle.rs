//! Starting, running, stopping.

use crate::development_policy;
use faramesh_tests::World;
use std::os::unix::net::UnixListener;

#[test]
fn status_says_0_when_ready_and_1_when_not_running() {
    let mut world = World::development(&development_policy());
    assert_eq!(world.faramesh(&["status"]).status.code(), Some(0));
    world.stop();
    assert_eq!(world.faramesh(&["status"]).status.code(), Some(1));
}

#[test]
fn a_call_to_a_daemon_that_is_gone_is_daemon_not_ready_and_never_a_permit() {
    let mut world = World::development(&development_policy());
    world.stop();
    let answer = world.govern("bot", "crm/lookup", "{}");
    assert_eq!(
        (answer.effect.as_str(), answer.code.as_str(), answer.exit),
        ("deny", "DAEMON_NOT_READY", 12)
    );
}

#[test]
fn stop_drains_writes_a_stop_record_and_removes_the_sockets() {
    let mut world = World::development(&development_policy());
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
    let admin = world.status()["admin_socket"]
        .as_str()
        .map(std::path::PathBuf::from);
    world.stop();
    assert_eq!(world.records(1)[0]["record"]["kind"], "stop");
    assert_eq!(world.verify().0, 0);
    if let Some(admin) = admin {
        assert!(!admin.exists(), "{}", admin.display());
    }
}

#[test]
fn a_second_daemon_of_one_stack_is_refused_and_the_first_goes_on() {
    let world = World::development(&development_policy());
    let output = world.faramesh(&["dev"]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

#[test]
fn a_socket_that_a_dead_daemon_left_is_replaced() {
    let mut world = World::development(&development_policy());
    let socket = world.status()["agent_socket"].as_str().unwrap().to_owned();
    world.stop();
    // Bound and dropped: the file stays, nobody listens.
    std::fs::create_dir_all(std::path::Path::new(&socket).parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    world.start();
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

#[test]
fn run_is_one_command_from_a_policy_to_a_confined_agent() {
    let mut world = World::development(&development_policy());
    world.stop();
    let helper = world.binary("faramesh-test-ask");
    let output = world
        .command(&["run"])
        .arg("--")
        .arg(&helper)
        .args(["govern", "crm/lookup", "{}"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains(r#""effect":"permit""#), "{text}");
    assert_eq!(
        world.faramesh(&["status"]).status.code(),
        Some(1),
        "the daemon went with it"
    );
    // The agent's own exit status is the command's.
    let output = world
        .command(&["run"])
        .args(["--", "/bin/sh", "-c", "exit 7"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
}
