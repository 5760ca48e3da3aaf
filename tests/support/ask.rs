//! `faramesh-test-ask`: what a test sends from inside the sandbox. Prints one JSON object; exits like `faramesh govern`.
//!
//! `ask govern TOOL JSON [AGENT]`, `ask report LEAF`, `ask flood TOOL JSON CALLS CONNECTIONS`, `ask outcome TOOL JSON
//! [RECORD]`: asks, and reports the outcome of what was permitted twice, or of that record instead.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "it runs as the test"
)]

use faramesh_proto::v1::agent_client::AgentClient;
use faramesh_proto::v1::{
    Effect, GovernReply, GovernRequest, OutcomeRequest, OutcomeStatus, resolution,
};
use serde_json::json;
use std::collections::BTreeMap;
use tonic::transport::{Channel, Endpoint};

fn main() {
    // `@FILE` stands for what the file holds: an argument of a program is at most 128 KiB long.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .map(|arg| match arg.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file).unwrap(),
            None => arg,
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let exit = runtime.block_on(async {
        match args[0].as_str() {
            "govern" => govern(&args[1], &args[2], args.get(3).map_or("", String::as_str)).await,
            "report" => report(args[1].parse().unwrap()).await,
            "flood" => {
                flood(
                    &args[1],
                    &args[2],
                    args[3].parse().unwrap(),
                    args[4].parse().unwrap(),
                )
                .await
            }
            "outcome" => outcome(&args[1], &args[2], args.get(3).map(|n| n.parse().unwrap())).await,
            other => panic!("unknown: {other}"),
        }
    });
    std::process::exit(exit);
}

async fn connect() -> Result<AgentClient<Channel>, tonic::transport::Error> {
    let socket = std::env::var("FARAMESH_SOCKET").expect("FARAMESH_SOCKET");
    Ok(AgentClient::new(
        Endpoint::from_shared(format!("unix:{socket}"))
            .unwrap()
            .connect()
            .await?,
    ))
}

async fn govern(tool: &str, args: &str, agent: &str) -> i32 {
    let request = GovernRequest {
        agent: agent.into(),
        tool: tool.into(),
        arguments: args.as_bytes().to_vec(),
    };
    let mut client = match connect().await {
        Ok(client) => client,
        Err(error) => {
            println!(
                "{}",
                json!({"effect": "deny", "code": "DAEMON_NOT_READY", "message": format!("{error:?}")})
            );
            return 12;
        }
    };
    match client.govern(request).await {
        Ok(reply) => {
            let reply = reply.into_inner();
            let effect = reply.effect();
            println!("{}", as_json(&reply));
            [11, 0, 10, 11][effect as usize]
        }
        Err(status) => {
            println!(
                "{}",
                json!({"effect": "deny", "code": "TRANSPORT", "message": status.to_string()})
            );
            11
        }
    }
}

async fn outcome(tool: &str, args: &str, record: Option<u64>) -> i32 {
    let mut client = connect().await.unwrap();
    let request = GovernRequest {
        agent: String::new(),
        tool: tool.into(),
        arguments: args.as_bytes().to_vec(),
    };
    let reply = client.govern(request).await.unwrap().into_inner();
    let own = reply.receipt.as_ref().unwrap().leaf_index;
    let mut codes = Vec::new();
    for _ in 0..2 {
        let report = OutcomeRequest {
            leaf_index: record.unwrap_or(own),
            status: OutcomeStatus::Succeeded.into(),
            ..OutcomeRequest::default()
        };
        codes.push(
            client
                .report_outcome(report)
                .await
                .unwrap()
                .into_inner()
                .code,
        );
    }
    println!(
        "{}",
        json!({"effect": "", "leaf_index": own, "codes": codes})
    );
    0
}

/// Says of a record, whose ever it is, that its call succeeded.
async fn report(leaf_index: u64) -> i32 {
    let request = OutcomeRequest {
        leaf_index,
        status: OutcomeStatus::Succeeded.into(),
        result_digest: vec![],
        detail: String::new(),
    };
    let mut client = connect().await.unwrap();
    let reply = client.report_outcome(request).await.unwrap().into_inner();
    println!(
        "{}",
        json!({"effect": "", "code": reply.code, "message": reply.message})
    );
    0
}

fn as_json(reply: &GovernReply) -> serde_json::Value {
    let effect = match reply.effect() {
        Effect::Permit => "permit",
        Effect::Defer => "defer",
        Effect::Deny | Effect::Unspecified => "deny",
    };
    let resolution =
        reply
            .resolution
            .as_ref()
            .and_then(|r| r.kind.as_ref())
            .map(|kind| match kind {
                resolution::Kind::RuleBlock(id) => json!({"rule_block": id}),
                resolution::Kind::ManualAudit(_) => json!("manual_audit"),
                resolution::Kind::RetryAfterSeconds(s) => json!({"retry_after_seconds": s}),
            });
    json!({
        "effect": effect,
        "code": reply.code,
        "message": reply.message,
        "missing": reply.missing,
        "resolution": resolution,
        "rule": reply.rule.as_ref().map(|r| r.text.clone()),
        "would": reply.would,
        "leaf_index": reply.receipt.as_ref().map(|r| r.leaf_index),
        "record": reply.receipt.as_ref().map(|r| String::from_utf8_lossy(&r.record).into_owned()),
        "checkpoint": reply.receipt.as_ref().map(|r| r.checkpoint.clone()),
    })
}

/// Many calls at once; prints how often each code came.
async fn flood(tool: &str, args: &str, calls: usize, connections: usize) -> i32 {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.extend(connect().await.ok());
    }
    let mut tasks = Vec::new();
    for n in 0..calls {
        let Some(client) = clients.get(n % clients.len().max(1)) else {
            break;
        };
        let mut client = client.clone();
        let request = GovernRequest {
            agent: String::new(),
            tool: tool.into(),
            arguments: args.as_bytes().to_vec(),
        };
        tasks.push(tokio::spawn(async move {
            match client.govern(request).await {
                Ok(reply) => {
                    let reply = reply.into_inner();
                    if reply.effect() == Effect::Permit {
                        "permit".to_owned()
                    } else {
                        reply.code
                    }
                }
                Err(status) => format!("TRANSPORT {:?}", status.code()),
            }
        }));
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks {
        *counts.entry(task.await.unwrap()).or_default() += 1;
    }
    println!(
        "{}",
        json!({"effect": "", "connections": clients.len(), "counts": counts})
    );
    0
}
