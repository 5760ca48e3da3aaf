//! `faramesh audit stats`: how many records there are of what, over a time span.
#![forbid(unsafe_code)]

use super::ls::Source;
use crate::args::{Global, StatsArgs};
use crate::client;
use crate::failure::{Failure, exit};
use crate::indexed;
use crate::layout::Layout;
use crate::moment;
use crate::output::{Output, Paint};
use crate::search;
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::decision::{Code, Effect};
use faramesh_core::record::{BodyView, Door};
use faramesh_proto::v1::{self, StatsReply, StatsRequest};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The longest name in a table; the rest is cut off there and stands in JSON.
const NAME_CHARS: usize = 60;

#[derive(Debug, Serialize)]
struct Printed {
    source: &'static str,
    indexed: Option<u64>,
    records: u64,
    decisions: u64,
    probes: u64,
    kinds: Vec<Counted>,
    effects: Vec<Counted>,
    codes: Vec<Counted>,
    tools: Vec<Counted>,
    agents: Vec<Counted>,
    tool_names: u64,
    agent_names: u64,
}

#[derive(Debug, Serialize)]
struct Counted {
    name: String,
    count: u64,
}

/// Counts.
///
/// # Errors
/// A time is none, or no index runs.
pub fn run(global: &Global, args: &StatsArgs, output: &Output) -> Result<u8, Failure> {
    let now = moment::now_ms();
    let moment = |given: &Option<String>| given.as_deref().map(|given| moment::parse(given, now));
    let request = StatsRequest {
        since_ms: moment(&args.since).transpose()?,
        until_ms: moment(&args.until).transpose()?,
        top: args.top,
    };
    let layout = stack::applied(global)?;
    let (reply, source) = if args.scan {
        (scan(&layout, &request, output)?, Source::SCAN)
    } else {
        client::block_on(ask(&layout, request, output))?
    };
    people(&reply, output);
    output.json(&Printed {
        source: source.name,
        indexed: source.indexed,
        records: reply.records,
        decisions: reply.decisions,
        probes: reply.probes,
        kinds: counted(reply.kinds),
        effects: counted(reply.effects),
        codes: counted(reply.codes),
        tools: counted(reply.tools),
        agents: counted(reply.agents),
        tool_names: reply.tool_names,
        agent_names: reply.agent_names,
    });
    Ok(exit::OK)
}

async fn ask(
    layout: &Layout,
    request: StatsRequest,
    output: &Output,
) -> Result<(StatsReply, Source), Failure> {
    let mut index = indexed::connect(layout).await?;
    let mut reply = client::reply_of("index", index.stats(request)).await?;
    let coverage = indexed::coverage(layout, reply.coverage.take())?;
    Ok((reply, Source::index(&coverage, output)))
}

/// The same, counted here.
fn scan(layout: &Layout, request: &StatsRequest, output: &Output) -> Result<StatsReply, Failure> {
    let since = request.since_ms.unwrap_or(0);
    let until = request.until_ms.unwrap_or(u64::MAX);
    let mut reply = StatsReply::default();
    let mut counts: [BTreeMap<String, u64>; 5] = Default::default();
    search::every(layout.journal(), output, |_, view| {
        if !(since..until).contains(&view.header.time.wall_ms) {
            return Ok(ControlFlow::Continue(()));
        }
        let [kinds, effects, codes, tools, agents] = &mut counts;
        reply.records += 1;
        one_more(kinds, search::kind(&view.body));
        if let BodyView::Decision(decision) = &view.body {
            reply.decisions += 1;
            reply.probes += u64::from(decision.door == Door::Probe);
            one_more(effects, Effect::as_str(decision.effect));
            if let Some(code) = decision.code.map(Code::as_str) {
                one_more(codes, code);
            }
            one_more(tools, &decision.tool);
            one_more(agents, &decision.agent);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let [kinds, effects, codes, tools, agents] = &counts;
    reply.kinds = largest(kinds, u32::MAX);
    reply.effects = largest(effects, u32::MAX);
    reply.codes = largest(codes, u32::MAX);
    reply.tools = largest(tools, request.top);
    reply.agents = largest(agents, request.top);
    reply.tool_names = tools.len() as u64;
    reply.agent_names = agents.len() as u64;
    Ok(reply)
}

fn one_more(counts: &mut BTreeMap<String, u64>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

fn largest(counts: &BTreeMap<String, u64>, top: u32) -> Vec<v1::Count> {
    let mut all: Vec<v1::Count> = counts
        .iter()
        .map(|(name, count)| v1::Count {
            name: name.clone(),
            count: *count,
        })
        .collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    all.truncate(top as usize);
    all
}

fn counted(counts: Vec<v1::Count>) -> Vec<Counted> {
    let counts = counts.into_iter();
    counts
        .map(|count| Counted {
            name: count.name,
            count: count.count,
        })
        .collect()
}

fn people(reply: &StatsReply, output: &Output) {
    let probes = match reply.probes {
        0 => String::new(),
        probes => format!(", {probes} of them probes: nothing was performed"),
    };
    output.line(format!(
        "{} records, {} decisions{probes}",
        reply.records, reply.decisions
    ));
    table("effect", &reply.effects, 0, output);
    table("code", &reply.codes, 0, output);
    table("tool", &reply.tools, reply.tool_names, output);
    table("agent", &reply.agents, reply.agent_names, output);
    table("kind of record", &reply.kinds, 0, output);
}

fn table(title: &str, counts: &[v1::Count], names: u64, output: &Output) {
    if counts.is_empty() {
        return;
    }
    output.line("");
    output.line(output.paint(Paint::Strong, title));
    for count in counts {
        let name: String = Untrusted(&count.name).to_string();
        let short: String = name.chars().take(NAME_CHARS).collect();
        let cut = if short.len() < name.len() { "…" } else { "" };
        output.line(format!("{:>10}  {short}{cut}", count.count));
    }
    let shown = counts.len() as u64;
    if names > shown {
        output.line(format!("{:>10}  of {names} names are shown", shown));
    }
}
