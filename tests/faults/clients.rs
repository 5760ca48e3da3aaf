//! Clients that misbehave at the real daemon's door, while a real one is served.

use crate::{agent, development_policy, dropped, lookup, runtime};
use faramesh_proto::v1::agent_client::AgentClient;
use faramesh_proto::v1::{Effect, GovernRequest};
use faramesh_tests::World;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tonic::transport::Channel;

/// The HTTP/2 preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const END_HEADERS: u8 = 4;
/// A deadline that a test waits for.
const SHORT_MS: u64 = 200;
/// Longest wait for the daemon to do what it must; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn raw(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whatever the daemon says first (settings, a goodbye): then there is an end, or a reset.
#[track_caller]
fn is_closed(mut stream: UnixStream) {
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
}

fn frame(claimed: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = claimed.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The headers of a call, spelled out without a table: each is a literal that is not indexed (RFC 7541, 6.2.2).
fn headers() -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/faramesh.v1.Agent/Govern"),
        (":authority", "faramesh"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    block
}

fn open_stream(id: u32) -> Vec<u8> {
    let block = headers();
    let length = u32::try_from(block.len()).unwrap();
    frame(length, HEADERS, END_HEADERS, id, &block)
}

#[track_caller]
fn is_served(world: &World) {
    assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
}

#[test]
fn a_two_mebibyte_call_is_refused_and_counted_and_its_connection_lives() {
    let world = World::development(&development_policy());
    runtime().block_on(async {
        let mut client = agent(&world.agent_socket()).await;
        let request = GovernRequest {
            agent: "bot".into(),
            tool: "crm/lookup".into(),
            arguments: vec![b' '; 2 * 1024 * 1024],
        };
        assert!(client.govern(request).await.is_err());
        assert_eq!(lookup(&mut client).await.unwrap().effect(), Effect::Permit);
    });
    assert_eq!(dropped(&world, "CALL_INVALID"), 1);
}

#[test]
fn a_client_that_never_speaks_only_greets_or_sends_half_a_frame_is_closed() {
    let mut world = World::tuned(
        &development_policy(),
        &[("handshake_ms", SHORT_MS), ("idle_ms", SHORT_MS)],
    );
    world.start();
    let socket = world.agent_socket();
    let half = frame(100, HEADERS, END_HEADERS, 1, &headers()[..10]);
    for said in [
        &b""[..],
        &PREFACE[..10],
        PREFACE,
        &[PREFACE, &half].concat(),
    ] {
        let mut client = raw(&socket);
        client.write_all(said).unwrap();
        is_served(&world);
        is_closed(client);
    }
    is_served(&world);
}

#[test]
fn a_request_that_stops_half_way_is_ended_counted_and_never_a_call() {
    let mut world = World::tuned(&development_policy(), &[("request_ms", SHORT_MS)]);
    world.start();
    let mut client = raw(&world.agent_socket());
    client.write_all(PREFACE).unwrap();
    client.write_all(&open_stream(1)).unwrap();
    // A gRPC message of 100 bytes of which ten come.
    let half = frame(15, DATA, 0, 1, b"\x00\x00\x00\x00\x64half a mes");
    client.write_all(&half).unwrap();
    world.until("it is counted", || dropped(&world, "CALL_INVALID") == 1);
    is_served(&world);
}

#[test]
fn a_client_that_resets_its_calls_again_and_again_is_closed_and_nobody_else() {
    let world = World::development(&development_policy());
    let socket = world.agent_socket();
    runtime().block_on(async {
        let mut real = agent(&socket).await;
        lookup(&mut real).await.unwrap();
        let mut client = raw(&socket);
        client.write_all(PREFACE).unwrap();
        // Until the daemon has had enough of it: then a write fails.
        for id in (1..2_000_001).step_by(2) {
            let mut bytes = open_stream(id);
            bytes.extend(frame(4, RST_STREAM, 0, id, &[0, 0, 0, 8]));
            if client.write_all(&bytes).is_err() {
                break;
            }
            assert!(id < 1_000_001, "half a million resets and nobody minds");
        }
        is_closed(client);
        assert_eq!(lookup(&mut real).await.unwrap().effect(), Effect::Permit);
    });
}

#[test]
fn three_hundred_idle_connections_do_not_stop_a_real_client() {
    let world = World::development(&development_policy());
    let socket = world.agent_socket();
    let idle: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = raw(&socket);
            stream.write_all(PREFACE).unwrap();
            stream
        })
        .collect();
    for _ in 0..3 {
        is_served(&world);
    }
    drop(idle);
}

/// In development one lane is one user's: what is refused is refused at once, counted, and never a permit.
#[test]
fn a_flood_is_overloaded_beyond_its_queue_and_every_call_is_answered_and_accounted_for() {
    let mut world = World::tuned(&development_policy(), &[("queue_per_session_max", 4)]);
    world.start();
    let socket = world.agent_socket();
    let (permits, refused) = runtime().block_on(async {
        let mut clients: Vec<AgentClient<Channel>> = Vec::new();
        for _ in 0..4 {
            clients.push(agent(&socket).await);
        }
        let calls: Vec<_> = (0..4_000)
            .map(|n| {
                let mut client = clients[n % clients.len()].clone();
                tokio::spawn(async move { lookup(&mut client).await.unwrap() })
            })
            .collect();
        let (mut permits, mut refused) = (0_u64, 0_u64);
        for call in calls {
            let reply = call.await.unwrap();
            match (reply.effect(), reply.code.as_str()) {
                (Effect::Permit, _) => permits += 1,
                (Effect::Deny, "OVERLOADED") => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        (permits, refused)
    });
    assert!(
        permits > 0 && refused > 0,
        "{permits} permits, {refused} refused"
    );
    world.stop();
    let recorded = world
        .records(1_000_000)
        .iter()
        .filter(|r| r["record"]["kind"] == "decision")
        .count();
    assert_eq!(recorded as u64, permits);
    assert_eq!(dropped(&world, "OVERLOADED"), refused);
    assert_eq!(world.verify().0, 0);
}
