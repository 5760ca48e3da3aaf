//! The doors under hostile clients: the real accept loop, limits and HTTP/2, with a service behind them that answers at
//! once (or never, for a tool that is named so). What is behind the doors otherwise is tested with the whole daemon.
//!
//! Waiting is for events (a reply, an end of file), never for time to pass: a deadline that does not hold makes a test
//! hang until its runner ends it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is the test's"
)]

use faramesh_core::decision::Code;
use faramesh_daemon::config::Limits;
use faramesh_daemon::listen::{self, Admitted, Connections, MESSAGE_BYTES_MAX};
use faramesh_proto::v1::agent_client::AgentClient;
use faramesh_proto::v1::agent_server::{Agent, AgentServer};
use faramesh_proto::v1::{Effect, GovernReply, GovernRequest, OutcomeReply, OutcomeRequest};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Named so, a tool is never answered.
const NEVER: &str = "never/answers";
/// The HTTP/2 preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// A deadline that a test waits for.
const SHORT_MS: u64 = 150;
/// One that it does not.
const LONG_MS: u64 = 600_000;

struct Behind;

#[tonic::async_trait]
impl Agent for Behind {
    async fn govern(
        &self,
        request: Request<GovernRequest>,
    ) -> Result<Response<GovernReply>, Status> {
        listen::arrived(&request);
        if request.get_ref().tool == NEVER {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(GovernReply {
            effect: Effect::Deny.into(),
            ..GovernReply::default()
        }))
    }

    async fn can(&self, request: Request<GovernRequest>) -> Result<Response<GovernReply>, Status> {
        self.govern(request).await
    }

    async fn report_outcome(
        &self,
        _: Request<OutcomeRequest>,
    ) -> Result<Response<OutcomeReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// Refusals as they were counted: session and code.
type Dropped = Arc<Mutex<Vec<(Option<String>, Code)>>>;

/// A door in a directory of its own.
struct World {
    directory: TempDir,
    connections: Connections,
    dropped: Dropped,
}

impl World {
    fn new(change: impl FnOnce(&mut Limits)) -> World {
        let mut limits = Limits {
            handshake_ms: LONG_MS,
            idle_ms: LONG_MS,
            request_ms: LONG_MS,
            ..Limits::STANDARD
        };
        change(&mut limits);
        let directory = TempDir::new().unwrap();
        let dropped: Dropped = Arc::default();
        let counted = dropped.clone();
        let connections = Connections::new(
            limits,
            Arc::new(move |session: Option<&str>, code| {
                counted
                    .lock()
                    .unwrap()
                    .push((session.map(str::to_owned), code))
            }),
        );
        let world = World {
            directory,
            connections,
            dropped,
        };
        let listener = listen::bind(&world.socket(), 0o600, None).unwrap();
        tokio::spawn(world.connections.clone().serve(listener, |stream| {
            let server = AgentServer::new(Behind).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let uid = stream.peer_cred().unwrap().uid();
            Some(Admitted {
                uid,
                session: Some("s1".to_owned()),
                routes: Routes::new(server),
            })
        }));
        tokio::spawn(world.connections.clone().sweep());
        world
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    async fn raw(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    async fn client(&self) -> AgentClient<Channel> {
        let path = self.socket();
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move {
                Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(
                    UnixStream::connect(path).await?,
                ))
            }
        });
        let channel = Endpoint::from_static("http://faramesh")
            .connect_with_connector(connector)
            .await
            .unwrap();
        AgentClient::new(channel)
    }

    fn dropped(&self) -> Vec<(Option<String>, Code)> {
        self.dropped.lock().unwrap().clone()
    }
}

fn call(tool: &str, bytes: usize) -> GovernRequest {
    GovernRequest {
        agent: String::new(),
        tool: tool.to_owned(),
        arguments: vec![b' '; bytes],
    }
}

async fn is_closed(stream: &mut UnixStream) {
    let mut rest = Vec::new();
    // Whatever the server says first (settings, a goodbye): then there is an end, or a reset.
    let _ = stream.read_to_end(&mut rest).await;
}

/// A frame as HTTP/2 has it, with the length that it claims.
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

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const END_HEADERS: u8 = 4;

fn open_stream(id: u32) -> Vec<u8> {
    let block = headers();
    frame(
        u32::try_from(block.len()).unwrap(),
        HEADERS,
        END_HEADERS,
        id,
        &block,
    )
}

fn deny() -> i32 {
    Effect::Deny.into()
}

#[tokio::test]
async fn a_call_of_a_mebibyte_is_answered() {
    let world = World::new(|_| {});
    let reply = world
        .client()
        .await
        .govern(call("x/y", 1024 * 1024))
        .await
        .unwrap();
    assert_eq!(reply.get_ref().effect, deny());
    assert!(world.dropped().is_empty());
}

#[tokio::test]
async fn a_two_mebibyte_call_is_refused_and_counted_and_the_connection_lives() {
    let world = World::new(|_| {});
    let mut client = world.client().await;
    let refused = client
        .govern(call("x/y", 2 * 1024 * 1024))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
    assert_eq!(
        world.dropped(),
        [(Some("s1".to_owned()), Code::CallInvalid)]
    );
    assert_eq!(
        client
            .govern(call("x/y", 0))
            .await
            .unwrap()
            .get_ref()
            .effect,
        deny()
    );
}

#[tokio::test]
async fn a_client_that_never_speaks_is_closed() {
    let world = World::new(|limits| limits.handshake_ms = SHORT_MS);
    is_closed(&mut world.raw().await).await;
}

#[tokio::test]
async fn a_client_that_only_greets_is_closed_after_the_idle_time() {
    let world = World::new(|limits| limits.idle_ms = SHORT_MS);
    let mut client = world.raw().await;
    client.write_all(PREFACE).await.unwrap();
    is_closed(&mut client).await;
}

#[tokio::test]
async fn half_a_frame_does_not_hold_a_connection() {
    let world = World::new(|limits| limits.idle_ms = SHORT_MS);
    let mut client = world.raw().await;
    client.write_all(PREFACE).await.unwrap();
    client
        .write_all(&frame(100, HEADERS, END_HEADERS, 1, &headers()[..10]))
        .await
        .unwrap();
    is_closed(&mut client).await;
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_connection() {
    let world = World::new(|limits| limits.idle_ms = SHORT_MS);
    let client = world.raw().await;
    let (mut read, mut write) = client.into_split();
    write.write_all(PREFACE).await.unwrap();
    let pinging = tokio::spawn(async move {
        while write.write_all(&frame(8, 6, 0, 0, &[7; 8])).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let _ = read.read_to_end(&mut Vec::new()).await;
    pinging.await.unwrap();
}

#[tokio::test]
async fn a_request_that_stops_half_way_is_ended_and_counted() {
    let world = World::new(|limits| limits.request_ms = SHORT_MS);
    let mut client = world.raw().await;
    client.write_all(PREFACE).await.unwrap();
    client.write_all(&open_stream(1)).await.unwrap();
    // A gRPC message of 100 bytes of which ten come.
    client
        .write_all(&frame(15, DATA, 0, 1, b"\x00\x00\x00\x00\x64half a mes"))
        .await
        .unwrap();
    let mut heard = Vec::new();
    while world.dropped().is_empty() {
        assert_ne!(
            client.read_buf(&mut heard).await.unwrap(),
            0,
            "closed before it was counted"
        );
    }
    assert_eq!(
        world.dropped(),
        [(Some("s1".to_owned()), Code::CallInvalid)]
    );
}

#[tokio::test]
async fn a_call_that_waits_for_its_answer_is_not_idle() {
    let world = World::new(|limits| limits.idle_ms = SHORT_MS);
    let mut waiting = world.client().await;
    let mut idle = world.raw().await;
    idle.write_all(PREFACE).await.unwrap();
    let answer = tokio::spawn(async move { waiting.govern(call(NEVER, 0)).await });
    // The idle one is closed by the sweep that also looked at the other.
    is_closed(&mut idle).await;
    let mut second = world.raw().await;
    second.write_all(PREFACE).await.unwrap();
    is_closed(&mut second).await;
    assert!(!answer.is_finished());
    answer.abort();
}

#[tokio::test]
async fn rapid_resets_end_the_connection_and_nobody_elses() {
    let world = World::new(|_| {});
    let mut honest = world.client().await;
    honest.govern(call("x/y", 0)).await.unwrap();
    let attacker = world.raw().await;
    let (mut read, mut write) = attacker.into_split();
    write.write_all(PREFACE).await.unwrap();
    let resetting = tokio::spawn(async move {
        let mut id = 1;
        loop {
            let mut burst = open_stream(id);
            burst.extend(frame(4, RST_STREAM, 0, id, &[0, 0, 0, 8]));
            if write.write_all(&burst).await.is_err() {
                break;
            }
            id += 2;
        }
    });
    let _ = read.read_to_end(&mut Vec::new()).await;
    resetting.await.unwrap();
    assert_eq!(
        honest
            .govern(call("x/y", 0))
            .await
            .unwrap()
            .get_ref()
            .effect,
        deny()
    );
}

#[tokio::test]
async fn calls_that_are_given_up_again_and_again_end_the_connection_and_are_counted() {
    let world = World::new(|_| {});
    let attacker = world.raw().await;
    let (mut read, mut write) = attacker.into_split();
    write.write_all(PREFACE).await.unwrap();
    let body = [&[0, 0, 0, 0, 15, 0x12, 13][..], NEVER.as_bytes()].concat();
    let abandoning = tokio::spawn(async move {
        for id in (1..).step_by(2) {
            let mut asked = open_stream(id);
            asked.extend(frame(
                u32::try_from(body.len()).unwrap(),
                DATA,
                1,
                id,
                &body,
            ));
            if write.write_all(&asked).await.is_err() {
                break;
            }
            // The handler has it before it is given up.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            if write
                .write_all(&frame(4, RST_STREAM, 0, id, &[0, 0, 0, 8]))
                .await
                .is_err()
            {
                break;
            }
        }
    });
    let _ = read.read_to_end(&mut Vec::new()).await;
    abandoning.await.unwrap();
    assert_eq!(world.dropped(), [(Some("s1".to_owned()), Code::Overloaded)]);
}

#[tokio::test]
async fn three_hundred_idle_connections_do_not_stop_a_real_client() {
    let world = World::new(|limits| limits.connections_per_uid_max = 64);
    let mut idle = Vec::new();
    for _ in 0..300 {
        let mut stream = world.raw().await;
        stream.write_all(PREFACE).await.unwrap();
        idle.push(stream);
    }
    let mut client = world.client().await;
    assert_eq!(
        client
            .govern(call("x/y", 0))
            .await
            .unwrap()
            .get_ref()
            .effect,
        deny()
    );
    // The longest idle gave way, the youngest did not.
    is_closed(idle.first_mut().unwrap()).await;
    assert!(world.connections.count() <= 300);
}

#[tokio::test]
async fn a_full_house_of_busy_connections_refuses_the_next_and_counts_it() {
    let world = World::new(|limits| limits.connections_per_uid_max = 2);
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = world.client().await;
        client.govern(call("x/y", 0)).await.unwrap();
        busy.push(tokio::spawn(
            async move { client.govern(call(NEVER, 0)).await },
        ));
    }
    // Both calls are in flight once a third connection is refused; until then it makes an idle one give way.
    while world.dropped().is_empty() {
        let mut next = world.raw().await;
        let _ = next.write_all(PREFACE).await;
        tokio::task::yield_now().await;
        drop(next);
    }
    assert!(
        world
            .dropped()
            .iter()
            .all(|dropped| *dropped == (Some("s1".to_owned()), Code::Overloaded))
    );
    busy.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_end_of_a_session_closes_its_connections_at_once() {
    let world = World::new(|_| {});
    let mut client = world.client().await;
    client.govern(call("x/y", 0)).await.unwrap();
    let mut waiting = client.clone();
    let answer = tokio::spawn(async move { waiting.govern(call(NEVER, 0)).await });
    tokio::task::yield_now().await;
    world.connections.close_session("another");
    assert_eq!(
        client
            .govern(call("x/y", 0))
            .await
            .unwrap()
            .get_ref()
            .effect,
        deny()
    );
    world.connections.close_session("s1");
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn a_socket_of_a_live_process_is_not_taken_and_one_of_a_dead_process_is_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("agent.sock");
    let live = listen::bind(&path, 0o600, None).unwrap();
    assert!(matches!(
        listen::bind(&path, 0o600, None),
        Err(listen::SocketError::Taken(_))
    ));
    drop(live);
    assert!(path.exists(), "the dead process left it behind");
    listen::bind(&path, 0o600, None).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("agent.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        listen::bind(&path, 0o600, None),
        Err(listen::SocketError::NotASocket(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_has_its_mode_when_it_appears() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("admin.sock");
    let _listener = listen::bind(&path, 0o660, None).unwrap();
    assert_eq!(
        std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777,
        0o660
    );
}
