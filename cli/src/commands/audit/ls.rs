//! `faramesh audit ls`: the records that fit a filter, a page at a time.
#![forbid(unsafe_code)]

use super::{line, tail};
use crate::args::{Global, LsArgs};
use crate::client;
use crate::failure::{Failure, exit};
use crate::indexed;
use crate::layout::Layout;
use crate::moment;
use crate::output::Output;
use crate::search::{self, Filter, Found, KINDS};
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::hex;
use faramesh_core::decision::{Code, Effect};
use faramesh_core::tree;
use faramesh_proto::v1::{Coverage, ListRequest};
use serde::Serialize;
use serde_json::value::RawValue;

/// The most that the index puts on one page; a longer list is several of its pages.
const INDEX_PAGE: usize = 1_000;

#[derive(Debug, Serialize)]
struct Listed {
    source: &'static str,
    /// How many records the index knew, where it answered.
    indexed: Option<u64>,
    records: Vec<Row>,
    /// What `--page` takes for the rest, where there is one.
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    seq: u64,
    leaf_hash: String,
    record: Box<RawValue>,
}

impl Row {
    /// A record for programs: its bytes as they stand in the journal.
    pub(super) fn of(found: &Found, role: Option<&'static str>) -> Result<Row, Failure> {
        Ok(Row {
            role,
            seq: found.entry.seq,
            leaf_hash: hex(&tree::leaf_hash(&found.entry.record)),
            record: tail::raw(&found.entry.record, found.entry.seq)?,
        })
    }
}

/// Where answers come from.
pub(super) struct Source {
    pub(super) name: &'static str,
    pub(super) indexed: Option<u64>,
}

impl Source {
    pub(super) const SCAN: Source = Source {
        name: "scan",
        indexed: None,
    };

    /// The index; says where it does not know everything.
    pub(super) fn index(coverage: &Coverage, output: &Output) -> Source {
        warn(coverage, output);
        Source {
            name: "index",
            indexed: Some(coverage.size),
        }
    }
}

/// Lists.
///
/// # Errors
/// The filter is none, no index runs, or it and the journal disagree.
pub fn run(global: &Global, args: &LsArgs, output: &Output) -> Result<u8, Failure> {
    let filter = filter(args)?;
    let layout = stack::applied(global)?;
    let limit = args.lines.get();
    let (found, next, source) = if args.scan {
        let (found, next) = search::page(
            layout.journal(),
            &filter,
            args.oldest_first,
            limit,
            args.page,
            output,
        )?;
        (found, next, Source::SCAN)
    } else {
        client::block_on(ask(&layout, &filter, args, output))?
    };
    for one in &found {
        output.line(line(one.entry.seq, &one.view, output));
    }
    if let Some(next) = next {
        output.note(format!("there are more: --page {next}"));
    }
    let rows: Result<Vec<Row>, Failure> = found.iter().map(|one| Row::of(one, None)).collect();
    output.json(&Listed {
        source: source.name,
        indexed: source.indexed,
        records: rows?,
        next,
    });
    Ok(exit::OK)
}

async fn ask(
    layout: &Layout,
    filter: &Filter,
    args: &LsArgs,
    output: &Output,
) -> Result<(Vec<Found>, Option<u64>, Source), Failure> {
    let mut index = indexed::connect(layout).await?;
    let (mut all, mut next, limit) = (Vec::new(), args.page, args.lines.get());
    loop {
        let request = ListRequest {
            filter: Some(filter.wire()),
            oldest_first: args.oldest_first,
            limit: u32::try_from((limit - all.len()).min(INDEX_PAGE)).unwrap_or(1),
            page: next,
        };
        let reply = client::reply_of("index", index.list(request)).await?;
        let coverage = indexed::coverage(layout, reply.coverage)?;
        for place in &reply.places {
            // What is gone was removed in this moment, and the index will know it.
            if let Some(found) = indexed::read(layout.journal(), place)? {
                if !filter.fits(&found.view) {
                    return Err(indexed::wrong(place));
                }
                all.push(found);
            }
        }
        next = reply.next;
        if next.is_none() || all.len() >= limit {
            return Ok((all, next, Source::index(&coverage, output)));
        }
    }
}

/// Says where an index does not know everything.
fn warn(coverage: &Coverage, output: &Output) {
    if !coverage.trouble.is_empty() {
        output.warn(Untrusted(&coverage.trouble).to_string());
    } else if coverage.catching_up {
        output.warn(format!(
            "the index is still reading: it knows {} records so far",
            coverage.size
        ));
    }
}

fn filter(args: &LsArgs) -> Result<Filter, Failure> {
    let now = moment::now_ms();
    let moment = |given: &Option<String>| given.as_deref().map(|given| moment::parse(given, now));
    let code = match &args.code {
        None => None,
        Some(word) => Some(
            Code::ALL
                .into_iter()
                .find(|code| code.as_str().eq_ignore_ascii_case(word))
                .ok_or_else(|| unknown("code", word, "see docs/codes.md"))?,
        ),
    };
    if let Some(word) = &args.kind
        && !KINDS.contains(&word.as_str())
    {
        return Err(unknown(
            "kind of record",
            word,
            &format!("kinds are {}", KINDS.join(", ")),
        ));
    }
    Ok(Filter {
        agent: args.agent.clone(),
        tool: args.tool.clone(),
        effect: args.effect.map(|effect| match effect {
            crate::args::EffectWord::Permit => Effect::Permit,
            crate::args::EffectWord::Defer => Effect::Defer,
            crate::args::EffectWord::Deny => Effect::Deny,
        }),
        code,
        session: args.session.clone(),
        kind: args.kind.clone(),
        since_ms: moment(&args.since).transpose()?,
        until_ms: moment(&args.until).transpose()?,
    })
}

fn unknown(what: &str, word: &str, next: &str) -> Failure {
    Failure::usage(format!("`{}` is no {what}", Untrusted(word))).next(next)
}
