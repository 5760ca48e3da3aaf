//! `Govern` over gRPC, durable, beside its floors, in alternating slices of one run.
//!
//! Floors, each a process of its own like the daemon: `echo`, a tonic server on a current-thread runtime that answers the
//! same message without looking at it, and `echo+sync`, the same that does one fdatasync into a preallocated file
//! before each answer, in turn. The machine drifts, so only ratios within a round count: each figure is the median of
//! the rounds' ratios.
//!
//! Run by `tests/bench/run.sh`, which builds the binaries in release first.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench that cannot set itself up has nothing to report"
)]

use faramesh_proto::v1::agent_client::AgentClient;
use faramesh_proto::v1::agent_server::{Agent, AgentServer};
use faramesh_proto::v1::{
    Effect, GovernReply, GovernRequest, OutcomeReply, OutcomeRequest, Receipt,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// What one caller sends: the shape of the demo's refund.
const ARGUMENTS: &[u8] =
    br#"{"amount":80,"currency":"USD","customer":"c-1042","order":"o-77","reason":"damaged in transit, photo attached"}"#;
/// Long enough for some thousand calls, short enough that the machine's drift falls between slices.
const SLICE: Duration = Duration::from_millis(450);
/// (callers, connections): those that a target is set for, and the curve between them.
const SHAPES: [(usize, usize); 6] = [(1, 1), (16, 1), (64, 1), (64, 4), (64, 64), (256, 4)];
/// Records at which a growing journal is looked at; `FARAMESH_BENCH_RECORDS` ends it earlier.
const GROWN: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The echo server: the wire's floor, with one fdatasync before each answer if there is a file.
struct Echo {
    disk: Option<(File, std::sync::atomic::AtomicU64)>,
    reply: GovernReply,
}

#[tonic::async_trait]
impl Agent for Echo {
    async fn govern(&self, _: Request<GovernRequest>) -> Result<Response<GovernReply>, Status> {
        if let Some((file, at)) = &self.disk {
            let at = at.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 60_000 * 1024;
            file.write_all_at(&[7; 900], at).unwrap();
            file.sync_data().unwrap();
        }
        Ok(Response::new(self.reply.clone()))
    }
    async fn can(&self, request: Request<GovernRequest>) -> Result<Response<GovernReply>, Status> {
        self.govern(request).await
    }
    async fn report_outcome(
        &self,
        _: Request<OutcomeRequest>,
    ) -> Result<Response<OutcomeReply>, Status> {
        Ok(Response::new(OutcomeReply::default()))
    }
}

/// A reply of the size of the real one, so that the floor pays for the same bytes.
fn reply() -> GovernReply {
    GovernReply {
        effect: Effect::Permit.into(),
        receipt: Some(Receipt {
            record: vec![b'x'; 420],
            leaf_index: 100_000,
            path: vec![vec![1; 32]; 17],
            checkpoint: "x".repeat(190),
            args_salt: vec![2; 16],
        }),
        ..GovernReply::default()
    }
}

fn serve_echo(socket: &Path, disk: Option<&Path>) {
    let disk = disk.map(|path| {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        for block in 0..64 {
            file.write_all_at(&vec![0; 1 << 20], block << 20).unwrap();
        }
        file.sync_all().unwrap();
        (file, std::sync::atomic::AtomicU64::new(0))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let service = AgentServer::new(Echo {
            disk,
            reply: reply(),
        });
        Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .unwrap();
    });
}

/// A process of ours, killed when it goes out of scope.
struct Server_(Child);
impl Drop for Server_ {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn connect(socket: &Path) -> Channel {
    let uri = format!("unix:{}", socket.display());
    for _ in 0..400 {
        if let Ok(channel) = Endpoint::from_shared(uri.clone()).unwrap().connect().await {
            return channel;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nothing answers on {}", socket.display());
}

/// One slice of load: sorted latencies in nanoseconds, and calls per second.
async fn slice(channels: &[Channel], callers: usize) -> (Vec<u64>, f64) {
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|n| {
            let mut client = AgentClient::new(channels[n % channels.len()].clone());
            tokio::spawn(async move {
                let mut seen = Vec::with_capacity(4096);
                while began.elapsed() < SLICE {
                    let at = Instant::now();
                    let request = GovernRequest {
                        agent: "bench".into(),
                        tool: "stripe/refund".into(),
                        arguments: ARGUMENTS.to_vec(),
                    };
                    let reply = client
                        .govern(request)
                        .await
                        .expect("an answer")
                        .into_inner();
                    assert_eq!(
                        reply.effect(),
                        Effect::Permit,
                        "{}: {}",
                        reply.code,
                        reply.message
                    );
                    seen.push(u64::try_from(at.elapsed().as_nanos()).unwrap());
                }
                seen
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    all.sort_unstable();
    (all, rate)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn microseconds(sorted: &[u64], quantile: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * quantile) as usize] as f64 / 1_000.0
}

/// Rounds of alternating slices over `servers`; prints a line each and returns the medians of the p50s' and rates' ratios
/// to the first server.
async fn measure(
    servers: &[(&str, &Path)],
    callers: usize,
    connections: usize,
    rounds: usize,
) -> Vec<(f64, f64)> {
    let mut channels = Vec::new();
    for (_, socket) in servers {
        let mut set = Vec::new();
        for _ in 0..connections {
            set.push(connect(socket).await);
        }
        channels.push(set);
    }
    let mut p50 = vec![Vec::new(); servers.len()];
    let mut p99 = vec![Vec::new(); servers.len()];
    let mut rate = vec![Vec::new(); servers.len()];
    for round in 0..=rounds {
        for (n, set) in channels.iter().enumerate() {
            let (latencies, per_second) = slice(set, callers).await;
            // The first round warms caches and connections.
            if round > 0 {
                p50[n].push(microseconds(&latencies, 0.5));
                p99[n].push(microseconds(&latencies, 0.99));
                rate[n].push(per_second);
            }
        }
    }
    let ratios = |set: &[Vec<f64>], n: usize| {
        median(set[n].iter().zip(&set[0]).map(|(a, b)| a / b).collect())
    };
    let mut result = Vec::new();
    for (n, (name, _)) in servers.iter().enumerate() {
        let pair = (ratios(&p50, n), ratios(&rate, n));
        println!(
            "| {callers}:{connections} | {name} | {:.0} | {:.0} | {:.1} | {:.2} | {:.0} % |",
            median(p50[n].clone()),
            median(p99[n].clone()),
            median(rate[n].clone()) / 1_000.0,
            pair.0,
            pair.1 * 100.0
        );
        result.push(pair);
    }
    result
}

/// Fills the journal to each size and looks at the wire there: the figures must not depend on what was written before.
/// A line of JSON for each size on standard output.
async fn grow(echo: &Path, govern: &Path, most: u64) {
    const CALLERS: usize = 64;
    const CONNECTIONS: usize = 4;
    let mut channels = Vec::new();
    for socket in [echo, govern] {
        let mut set = Vec::new();
        for _ in 0..CONNECTIONS {
            set.push(connect(socket).await);
        }
        channels.push(set);
    }
    let mut written = 0;
    for size in GROWN.into_iter().filter(|size| *size <= most) {
        while written < size {
            written += slice(&channels[1], CALLERS).await.0.len() as u64;
        }
        let (mut p50, mut p99, mut rate, mut ratio) = (vec![], vec![], vec![], vec![]);
        for _ in 0..7 {
            let (_, floor) = slice(&channels[0], CALLERS).await;
            let (latencies, per_second) = slice(&channels[1], CALLERS).await;
            written += latencies.len() as u64;
            p50.push(microseconds(&latencies, 0.5));
            p99.push(microseconds(&latencies, 0.99));
            rate.push(per_second);
            ratio.push(per_second / floor);
        }
        println!(
            "{{\"records\":{written},\"p50_us\":{:.0},\"p99_us\":{:.0},\"per_second\":{:.0},\"of_echo\":{:.3}}}",
            median(p50),
            median(p99),
            median(rate),
            median(ratio)
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match args.first().map(String::as_str) {
        Some("echo") => return serve_echo(Path::new(&args[1]), None),
        Some("echo-sync") => return serve_echo(Path::new(&args[1]), Some(Path::new(&args[2]))),
        _ => {}
    }
    let govern = PathBuf::from(
        std::env::var_os("FARAMESH_BENCH_SOCKET").expect("FARAMESH_BENCH_SOCKET: see run.sh"),
    );
    let scratch = PathBuf::from(
        std::env::var_os("FARAMESH_BENCH_DIR").expect("FARAMESH_BENCH_DIR: see run.sh"),
    );
    let (echo, sync) = (scratch.join("echo.sock"), scratch.join("sync.sock"));
    let me = std::env::current_exe().unwrap();
    let _servers = [
        Server_(Command::new(&me).arg("echo").arg(&echo).spawn().unwrap()),
        Server_(
            Command::new(&me)
                .arg("echo-sync")
                .arg(&sync)
                .arg(scratch.join("floor"))
                .spawn()
                .unwrap(),
        ),
    ];
    let rounds = std::env::var("FARAMESH_BENCH_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(7);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if let Some(most) = std::env::var_os("FARAMESH_BENCH_RECORDS") {
        let most = most.to_str().and_then(|most| most.parse().ok());
        let most = most.expect("FARAMESH_BENCH_RECORDS is a number");
        return runtime.block_on(grow(&echo, &govern, most));
    }
    println!(
        "| callers:connections | server | p50 µs | p99 µs | thousand/s | p50 ratio | rate ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    runtime.block_on(async {
        let mut verdicts = Vec::new();
        for (callers, connections) in SHAPES {
            if callers == 1 {
                let pairs = [
                    ("echo, then its own fdatasync", sync.as_path()),
                    ("Govern, durable", govern.as_path()),
                ];
                let ratios = measure(&pairs, 1, 1, rounds).await;
                verdicts.push(("Govern p50, one client", ratios[1].0, 1.4, true));
            } else {
                let pairs = [
                    ("echo", echo.as_path()),
                    ("Govern, durable", govern.as_path()),
                ];
                let ratios = measure(&pairs, callers, connections, rounds).await;
                let (name, target) = match (callers, connections) {
                    (64, 1) => ("Govern rate, 64 callers on 1 connection", 0.75),
                    (64, 4) => ("Govern rate, 64 callers on 4 connections", 0.45),
                    (64, 64) => ("Govern rate, 64 callers on 64 connections", 0.50),
                    _ => continue,
                };
                verdicts.push((name, ratios[1].1, target, false));
            }
        }
        println!();
        for (name, measured, target, at_most) in verdicts {
            let (met, sign) = if at_most {
                (measured <= target, "≤")
            } else {
                (measured >= target, "≥")
            };
            let word = if met { "met" } else { "MISSED" };
            println!("- {name}: {measured:.2} × the floor, target {sign} {target}: {word}");
        }
    });
}
