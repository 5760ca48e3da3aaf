//! Processes that die or stand still at the worst moment.

use crate::{agent, development_policy, lookup, runtime};
use faramesh_proto::v1::{Effect, GovernRequest};
use faramesh_tests::World;
use nix::sys::signal::Signal;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

/// Permits that one client was given, one after the other, until the connection breaks; told over a channel as they come.
fn permits_until_it_breaks(world: &World, after: usize, strike: impl FnOnce(&World)) -> Vec<u64> {
    let socket = world.agent_socket();
    let (tell, told) = std::sync::mpsc::channel();
    let caller = std::thread::spawn(move || {
        runtime().block_on(async {
            let mut client = agent(&socket).await;
            while let Ok(reply) = lookup(&mut client).await {
                assert_eq!(reply.effect(), Effect::Permit);
                if tell.send(reply.receipt.unwrap().leaf_index).is_err() {
                    break;
                }
            }
        });
    });
    let mut permits: Vec<u64> = told.iter().take(after).collect();
    strike(world);
    permits.extend(told);
    caller.join().unwrap();
    permits
}

fn every_permit_is_there(world: &World, permits: &[u64]) {
    for seq in permits {
        let record = world.record(*seq);
        assert_eq!(record["record"]["effect"], "permit", "record {seq}");
    }
    assert_eq!(world.verify().0, 0);
}

#[test]
fn every_permit_that_was_answered_is_there_when_the_daemon_is_killed_amid_calls() {
    let mut world = World::development(&development_policy());
    for after in [1, 7, 50] {
        let permits =
            permits_until_it_breaks(&world, after, |world| world.kill(world.daemon_pid()));
        assert!(permits.len() >= after);
        world.wait_ready();
        every_permit_is_there(&world, &permits);
    }
}

#[test]
fn every_permit_that_was_answered_is_there_when_the_signer_is_killed_amid_calls() {
    let mut world = World::development(&development_policy());
    for after in [1, 7, 50] {
        let daemon = world.daemon_pid();
        let permits =
            permits_until_it_breaks(&world, after, |world| world.kill(world.signer_pid()));
        assert!(permits.len() >= after);
        // No reply without a signer: the daemon ends and both come back.
        world.until("another daemon", || {
            let status = world.faramesh(&["status", "--format", "json"]);
            status.status.code() == Some(0) && world.daemon_pid() != daemon
        });
        world.wait_ready();
        every_permit_is_there(&world, &permits);
    }
}

/// The parent starts both again, and each time the signer goes in another phase of the daemon's start.
#[test]
fn a_signer_that_is_killed_while_the_daemon_starts_is_followed_by_one_beside_which_it_serves() {
    let world = World::development(&development_policy());
    let permits = permits_until_it_breaks(&world, 20, |world| world.kill(world.daemon_pid()));
    let mut gone = 0;
    for _ in 0..3 {
        // Whichever is first: the daemon that starts, or we.
        let signer = world.signer_pid();
        world.kill(signer);
        gone = signer;
        world.until("another signer", || {
            world.has_signer() && world.signer_pid() != gone
        });
    }
    assert_ne!(gone, 0);
    // A daemon that was ready beside the last signer that went ends when it notices, and another one follows.
    world.until("a permit", || {
        world.govern("bot", "crm/lookup", "{}").effect == "permit"
    });
    every_permit_is_there(&world, &permits);
}

#[test]
fn no_answer_leaves_while_the_signer_stands_still_and_a_drain_refuses_new_calls_meanwhile() {
    let mut world = World::development(&development_policy());
    let (socket, daemon, signer) = (world.agent_socket(), world.daemon_pid(), world.signer_pid());
    runtime().block_on(async {
        let mut first = agent(&socket).await;
        let mut second = agent(&socket).await;
        lookup(&mut first).await.unwrap();
        lookup(&mut second).await.unwrap();
        world.signal(signer, Signal::SIGSTOP);
        let mut same_connection = first.clone();
        let waiting = tokio::spawn(async move { lookup(&mut first).await });
        tokio::task::yield_now().await;
        // Refused at the door, behind it on the same connection: so the first is queued by now.
        let invalid = GovernRequest {
            arguments: b"no json".to_vec(),
            ..GovernRequest::default()
        };
        let refused = same_connection.govern(invalid).await.unwrap();
        assert_eq!(refused.get_ref().code, "CALL_INVALID");
        world.signal(daemon, Signal::SIGTERM);
        world.until("draining", || {
            world.faramesh(&["status"]).status.code() == Some(3)
        });
        let refused = lookup(&mut second).await.unwrap();
        assert_eq!(
            (refused.effect(), refused.code.as_str()),
            (Effect::Deny, "DAEMON_NOT_READY")
        );
        assert!(!waiting.is_finished());
        world.signal(signer, Signal::SIGCONT);
        let answered = waiting.await.unwrap().unwrap();
        assert_eq!(answered.effect(), Effect::Permit);
    });
    world.wait_ended();
    assert_eq!(world.verify().0, 0);
}

/// A signer that accepts and never answers holds the daemon between its lock and its sockets.
#[test]
fn a_daemon_that_does_not_become_ready_in_time_says_so_and_exits_69() {
    let mut world = World::tuned(&development_policy(), &[("start_ms_max", 2_000)]);
    world.start();
    world.stop();
    let signer = world.state("run").join("signer.sock");
    let _ = std::fs::remove_file(&signer);
    let _silent = UnixListener::bind(&signer).unwrap();
    let daemon = Command::new(world.binary("farameshd"))
        .arg("--config")
        .arg(world.state("etc").join("daemon.toml"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    world.until("starting", || {
        world.faramesh(&["status"]).status.code() == Some(2)
    });
    assert_eq!(
        world.govern("bot", "crm/lookup", "{}").code,
        "DAEMON_NOT_READY"
    );
    let output = daemon.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("not READY within"), "{said}");
    assert_eq!(world.faramesh(&["status"]).status.code(), Some(1));
}

/// Somebody else's process on the daemon's socket is neither replaced nor talked to.
#[test]
fn a_socket_that_a_live_process_holds_is_not_taken() {
    let mut world = World::development(&development_policy());
    let socket = world.agent_socket();
    world.stop();
    let holder = UnixListener::bind(&socket).unwrap();
    world.spawn();
    world.until("the refusal in the log", || {
        world.log().contains("is taken by a live process")
    });
    assert_ne!(world.faramesh(&["status"]).status.code(), Some(0));
    // As soon as the other lets go, the next start replaces what it left.
    drop(holder);
    world.wait_ready();
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}
