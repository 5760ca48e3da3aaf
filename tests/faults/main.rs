//! What goes wrong around the daemon, on stacks of their own with the real processes: tampered policies, an apply that
//! dies, hostile clients, a signer that stands still, a full disk, a disk that fails, processes that are killed anywhere.
//!
//! Waiting is for events (a reply, an end of file, a state that stays), never for time to pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails; which of these a file needs changes with its tests"
)]

mod activation;
mod clients;
mod crashes;
mod full_disk;
mod preload;

use faramesh_proto::v1::admin_client::AdminClient;
use faramesh_proto::v1::agent_client::AgentClient;
use faramesh_proto::v1::{GovernReply, GovernRequest};
use faramesh_tests::World;
use std::path::Path;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

const POLICY: &str = r#"
agent "bot" {
  RUN_AS
  default deny
  permit crm/lookup
}
"#;

/// The same for a development world.
fn development_policy() -> String {
    POLICY.replace("  RUN_AS\n", "")
}

/// A runtime for the clients of one test.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn channel(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix:{}", socket.display()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn agent(socket: &Path) -> AgentClient<Channel> {
    AgentClient::new(channel(socket).await)
}

async fn admin(socket: &Path) -> AdminClient<Channel> {
    AdminClient::new(channel(socket).await)
}

/// A call that the policy permits.
async fn lookup(client: &mut AgentClient<Channel>) -> Result<GovernReply, Status> {
    let request = GovernRequest {
        agent: "bot".into(),
        tool: "crm/lookup".into(),
        arguments: b"{}".to_vec(),
    };
    client
        .govern(request)
        .await
        .map(tonic::Response::into_inner)
}

/// How many calls of a code the `dropped` records count.
fn dropped(world: &World, code: &str) -> u64 {
    world
        .records(1_000_000)
        .iter()
        .filter(|r| r["record"]["kind"] == "dropped")
        .flat_map(|r| r["record"]["counts"].as_array().unwrap().clone())
        .filter(|count| count.to_string().contains(code))
        .map(|count| {
            count
                .as_array()
                .map_or_else(|| count["count"].as_u64(), |c| c.last().unwrap().as_u64())
                .unwrap()
        })
        .sum()
}
