//! Answers, from the store as it was at one moment.
//!
//! Invariants: every answer is bounded in size and work; a record stands in an answer only when all of its entry fits
//! what was asked, whatever list it was found in; what was removed is in none.

use crate::entry::{self, Entry, Facets, KINDS};
use crate::store::{Error, HOUR_MS, View, ZONE, letter, name_prefix, outcome_prefix, word_prefix};
use faramesh_core::policy::pattern;
use faramesh_proto::v1::{
    Count, Filter, ListRequest, Place, StatsReply, StatsRequest, TracePlace, TraceRequest,
    TraceRole, trace_request,
};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

/// Records on a page, where nothing is said.
const PAGE_RECORDS: u32 = 100;
/// The most on one page: a reply of a hundred kilobytes.
pub const PAGE_RECORDS_MAX: u32 = 1_000;
/// Entries that one page looks at, at most: some tens of milliseconds. The next page goes on there.
const EXAMINED_MAX: u32 = 50_000;
/// Names of each sort in statistics, where nothing is said, and at most.
const TOP: u32 = 10;
/// See above.
const TOP_MAX: u32 = 1_000;
/// Different names that statistics tell apart. An agent that makes up tools must not fill the memory.
const NAMES_MAX: usize = 200_000;
/// Activations in a trace's span that are named.
const ACTIVATIONS_MAX: usize = 1_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The question is none.
    #[error("{0}")]
    Question(String),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A page of places and where the next one goes on.
pub type Page<T> = (Vec<T>, Option<u64>);

/// What is searched for.
#[derive(Debug)]
struct Wanted<'a> {
    agent: Option<&'a str>,
    tool: Option<&'a str>,
    effect: Option<u8>,
    code: Option<&'a str>,
    session: Option<&'a str>,
    kind: Option<u8>,
    since: u64,
    until: u64,
}

impl<'a> Wanted<'a> {
    fn of(filter: &'a Filter) -> Result<Wanted<'a>, Refusal> {
        let named = |text: &'a str| (!text.is_empty()).then_some(text);
        let unknown = |what: &str, word: &str| {
            Refusal::Question(format!("`{}` is no {what}", word.escape_debug()))
        };
        let kind = match named(&filter.kind) {
            None => None,
            Some(word) if KINDS.contains(&word) => Some(entry::kind_number(word)),
            Some(word) => return Err(unknown("kind of record", word)),
        };
        let effect = match named(&filter.effect) {
            None => None,
            Some(word) => Some(entry::effect_number(word).ok_or_else(|| unknown("effect", word))?),
        };
        Ok(Wanted {
            agent: named(&filter.agent),
            tool: named(&filter.tool),
            effect,
            code: named(&filter.code),
            session: named(&filter.session),
            kind,
            since: filter.since_ms.unwrap_or(0),
            until: filter.until_ms.unwrap_or(u64::MAX),
        })
    }

    fn fits(&self, entry: &Entry) -> bool {
        let of_a_decision = match &entry.facets {
            Facets::Decision {
                tool, effect, code, ..
            } => {
                self.tool
                    .is_none_or(|wanted| pattern::matches(wanted, tool))
                    && self.effect.is_none_or(|wanted| wanted == *effect)
                    && self
                        .code
                        .is_none_or(|wanted| code.as_deref() == Some(wanted))
            }
            _ => self.tool.is_none() && self.effect.is_none() && self.code.is_none(),
        };
        of_a_decision
            && self
                .agent
                .is_none_or(|wanted| entry.agent() == Some(wanted))
            && self
                .session
                .is_none_or(|wanted| entry.session() == Some(wanted))
            && self.kind.is_none_or(|wanted| entry.kind == wanted)
            && (self.since..self.until).contains(&entry.wall_ms)
    }

    /// The shortest list in which everything that is wanted stands.
    fn list(&self) -> Vec<u8> {
        let exact_tool = self.tool.filter(|tool| !tool.contains('*'));
        let other_kind = self
            .kind
            .filter(|kind| *kind != entry::kind_number("decision"));
        if let Some(session) = self.session {
            name_prefix(letter::SESSION, session)
        } else if let Some(kind) = other_kind {
            word_prefix(letter::KIND, kind).to_vec()
        } else if let Some(code) = self.code {
            name_prefix(letter::CODE, code)
        } else if let Some(tool) = exact_tool {
            name_prefix(letter::TOOL, tool)
        } else if let Some(agent) = self.agent {
            name_prefix(letter::AGENT, agent)
        } else if let Some(effect) = self.effect {
            word_prefix(letter::EFFECT, effect).to_vec()
        } else {
            vec![letter::SEQ]
        }
    }
}

/// One page of what fits a filter.
///
/// # Errors
/// [`Refusal`].
pub fn list(view: &View<'_>, request: &ListRequest) -> Result<Page<Place>, Refusal> {
    let none = Filter::default();
    let wanted = Wanted::of(request.filter.as_ref().unwrap_or(&none))?;
    let (entries, next) = page(
        view,
        &wanted,
        !request.oldest_first,
        page_records(request.limit)?,
        request.page,
    )?;
    let places = entries.iter().map(|(seq, entry)| place(*seq, entry));
    Ok((places.collect(), next))
}

fn page_records(limit: u32) -> Result<usize, Refusal> {
    match limit {
        0 => Ok(PAGE_RECORDS as usize),
        1..=PAGE_RECORDS_MAX => Ok(limit as usize),
        _ => Err(Refusal::Question(format!(
            "a page holds at most {PAGE_RECORDS_MAX} records, not {limit}"
        ))),
    }
}

/// The page token is the number at which the next page begins: forwards the first that it looks at, backwards the first
/// that it does not look at any more. So it stays right while records are added.
fn page(
    view: &View<'_>,
    wanted: &Wanted<'_>,
    backwards: bool,
    records: usize,
    token: Option<u64>,
) -> Result<Page<(u64, Entry)>, Refusal> {
    let mut range = span(view, wanted.since, wanted.until)?;
    match (token, backwards) {
        (Some(token), true) => range.end = range.end.min(token),
        (Some(token), false) => range.start = range.start.max(token),
        (None, _) => {}
    }
    let mut found = Vec::new();
    let (mut examined, mut next) = (0, None);
    view.numbers(&wanted.list(), range, backwards, |seq| {
        if found.len() == records || examined == EXAMINED_MAX {
            // This one was not looked at: backwards the page ends above it, forwards it begins with it.
            next = Some(if backwards { seq + 1 } else { seq });
            return Ok(ControlFlow::Break(()));
        }
        examined += 1;
        if let Some(entry) = view.entry(seq)?
            && wanted.fits(&entry)
        {
            found.push((seq, entry));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((found, next))
}

/// The records among which all of a time span are, and others perhaps: clocks jump, so records are not in their order.
fn span(view: &View<'_>, since: u64, until: u64) -> Result<Range<u64>, Error> {
    let all = view.position.removed..view.position.size();
    if since == 0 && until == u64::MAX {
        return Ok(all);
    }
    let mut zones: Option<(u64, u64)> = None;
    view.zones(|zone, (earliest, latest)| {
        if earliest < until && latest >= since {
            zones = Some((zones.map_or(zone, |(first, _)| first), zone));
        }
        Ok(())
    })?;
    Ok(match zones {
        None => all.start..all.start,
        Some((first, last)) => {
            all.start.max(first * ZONE)..all.end.min((last + 1).saturating_mul(ZONE))
        }
    })
}

/// Where a record lies, where it is indexed and not removed.
///
/// # Errors
/// The store's.
pub fn get(view: &View<'_>, seq: u64) -> Result<Option<Place>, Error> {
    Ok(view.entry(seq)?.map(|entry| place(seq, &entry)))
}

fn place(seq: u64, entry: &Entry) -> Place {
    Place {
        seq,
        segment: entry.segment,
        offset: entry.offset,
        leaf: entry.leaf.to_vec(),
    }
}

/// Counts over a time span. The coverage is left to the caller.
///
/// # Errors
/// [`Refusal`].
pub fn stats(view: &View<'_>, request: &StatsRequest) -> Result<StatsReply, Refusal> {
    let top = match request.top {
        0 => TOP,
        1..=TOP_MAX => request.top,
        more => {
            return Err(Refusal::Question(format!(
                "at most {TOP_MAX} names of each sort, not {more}"
            )));
        }
    };
    let since = request.since_ms.unwrap_or(0);
    let until = request.until_ms.unwrap_or(u64::MAX);
    let mut tally = Tally::default();
    let hours = since.div_ceil(HOUR_MS)..until / HOUR_MS;
    if until <= since {
        return Ok(tally.reply(top));
    }
    if hours.start >= hours.end && until != u64::MAX {
        tally.exactly(view, since..until)?;
        return Ok(tally.reply(top));
    }
    // Removed records that are not forgotten yet must not be counted: then every record is looked at.
    if view.forgetting {
        tally.exactly(view, since..until)?;
        return Ok(tally.reply(top));
    }
    let last_hour = if until == u64::MAX {
        u64::MAX
    } else {
        hours.end
    };
    view.counts(hours.start, last_hour, |sort, count| {
        tally.add(&sort, count);
        Ok(())
    })?;
    if since < hours.start.saturating_mul(HOUR_MS) {
        tally.exactly(view, since..hours.start.saturating_mul(HOUR_MS))?;
    }
    if until != u64::MAX && hours.end * HOUR_MS < until {
        tally.exactly(view, hours.end * HOUR_MS..until)?;
    }
    Ok(tally.reply(top))
}

/// Counts while they are added up.
#[derive(Default)]
struct Tally {
    records: u64,
    decisions: u64,
    probes: u64,
    kinds: BTreeMap<String, u64>,
    effects: BTreeMap<String, u64>,
    codes: BTreeMap<String, u64>,
    tools: BTreeMap<String, u64>,
    agents: BTreeMap<String, u64>,
}

impl Tally {
    fn exactly(&mut self, view: &View<'_>, times: Range<u64>) -> Result<(), Error> {
        let range = span(view, times.start, times.end)?;
        view.numbers(&[letter::SEQ], range, false, |seq| {
            if let Some(entry) = view.entry(seq)?
                && times.contains(&entry.wall_ms)
            {
                self.add(&crate::store::sort(&entry), 1);
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn add(&mut self, sort: &crate::store::Sort, count: u64) {
        self.records += count;
        let kind = KINDS
            .get(usize::from(sort.kind))
            .copied()
            .unwrap_or("other");
        more(&mut self.kinds, kind, count);
        if let Some(verdict) = &sort.decision {
            self.decisions += count;
            self.probes += if verdict.probe { count } else { 0 };
            more(&mut self.effects, entry::effect_word(verdict.effect), count);
            if let Some(code) = &verdict.code {
                more(&mut self.codes, code, count);
            }
            more(&mut self.tools, &verdict.tool, count);
            more(&mut self.agents, &verdict.agent, count);
        }
    }

    fn reply(&self, top: u32) -> StatsReply {
        let all = u32::MAX;
        StatsReply {
            coverage: None,
            records: self.records,
            decisions: self.decisions,
            probes: self.probes,
            kinds: largest(&self.kinds, all),
            effects: largest(&self.effects, all),
            codes: largest(&self.codes, all),
            tools: largest(&self.tools, top),
            agents: largest(&self.agents, top),
            tool_names: self.tools.len() as u64,
            agent_names: self.agents.len() as u64,
        }
    }
}

/// Adds to a name's count. Beyond the limit a new name is not told apart: it counts in the totals alone.
fn more(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if let Some(before) = counts.get_mut(name) {
        *before += count;
    } else if counts.len() < NAMES_MAX {
        counts.insert(name.to_owned(), count);
    }
}

fn largest(counts: &BTreeMap<String, u64>, top: u32) -> Vec<Count> {
    let mut all: Vec<(&String, &u64)> = counts.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    all.into_iter()
        .take(top as usize)
        .map(|(name, count)| Count {
            name: name.clone(),
            count: *count,
        })
        .collect()
}

/// What belongs together.
///
/// # Errors
/// [`Refusal`].
pub fn trace(view: &View<'_>, request: &TraceRequest) -> Result<Page<TracePlace>, Refusal> {
    match &request.of {
        Some(trace_request::Of::Session(session)) => {
            let records = page_records(request.limit)?;
            trace_session(view, session, records, request.page)
        }
        Some(trace_request::Of::Seq(seq)) => Ok((trace_call(view, *seq)?, None)),
        None => Err(Refusal::Question(
            "name a session or a record's number".to_owned(),
        )),
    }
}

fn trace_session(
    view: &View<'_>,
    session: &str,
    records: usize,
    token: Option<u64>,
) -> Result<Page<TracePlace>, Refusal> {
    let filter = Filter {
        session: session.to_owned(),
        ..Filter::default()
    };
    if session.is_empty() {
        return Err(Refusal::Question("a session has a name".to_owned()));
    }
    let (entries, next) = page(view, &Wanted::of(&filter)?, false, records, token)?;
    let mut all: Vec<(u64, TracePlace)> = Vec::new();
    if let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) {
        if token.is_none()
            && let Some(in_force) = in_force(view, *first)?
        {
            all.push(in_force);
        }
        // From the page's beginning to the next one's, so that none is named twice.
        let from = token.unwrap_or(*first);
        for seq in activations(view, from..next.unwrap_or(*last))? {
            all.extend(traced(view, seq, TraceRole::Activation)?);
        }
    }
    all.extend(entries.iter().map(|(seq, entry)| {
        let role = role(entry);
        (*seq, traced_place(*seq, entry, role))
    }));
    all.sort_by_key(|(seq, _)| *seq);
    Ok((all.into_iter().map(|(_, place)| place).collect(), next))
}

fn trace_call(view: &View<'_>, seq: u64) -> Result<Vec<TracePlace>, Refusal> {
    let Some(asked) = view.entry(seq)? else {
        return Ok(Vec::new());
    };
    let decision = match &asked.facets {
        Facets::Outcome { of, .. } => *of,
        _ => seq,
    };
    let mut all = Vec::new();
    all.extend(in_force(view, decision)?);
    if let Some(session) = asked.session() {
        all.extend(session_ends(view, session)?);
    }
    if decision != seq
        && let Some(entry) = view.entry(decision)?
    {
        all.push((decision, traced_place(decision, &entry, role(&entry))));
    }
    let mut outcome = None;
    view.numbers(&outcome_prefix(decision), 0..u64::MAX, false, |seq| {
        outcome = Some(seq);
        Ok(ControlFlow::Break(()))
    })?;
    if let Some(outcome) = outcome {
        all.extend(traced(view, outcome, TraceRole::Outcome)?);
    }
    all.push((seq, traced_place(seq, &asked, role(&asked))));
    all.sort_by_key(|(seq, place)| (*seq, place.role));
    all.dedup_by_key(|(seq, _)| *seq);
    Ok(all.into_iter().map(|(_, place)| place).collect())
}

/// A session's start and end: the first and the last of its records, where they are that.
fn session_ends(view: &View<'_>, session: &str) -> Result<Vec<(u64, TracePlace)>, Error> {
    let mut ends = Vec::new();
    for (backwards, kind) in [(false, "session_start"), (true, "session_end")] {
        view.numbers(
            &name_prefix(letter::SESSION, session),
            0..u64::MAX,
            backwards,
            |seq| {
                if let Some(entry) = view.entry(seq)?
                    && entry.kind() == kind
                    && entry.session() == Some(session)
                {
                    ends.push((seq, traced_place(seq, &entry, role(&entry))));
                }
                Ok(ControlFlow::Break(()))
            },
        )?;
    }
    Ok(ends)
}

/// The last activation before a record.
fn in_force(view: &View<'_>, seq: u64) -> Result<Option<(u64, TracePlace)>, Error> {
    let mut last = None;
    let prefix = word_prefix(letter::KIND, entry::kind_number("activation"));
    view.numbers(&prefix, view.position.removed..seq, true, |seq| {
        last = Some(seq);
        Ok(ControlFlow::Break(()))
    })?;
    match last {
        Some(seq) => traced(view, seq, TraceRole::InForce),
        None => Ok(None),
    }
}

fn activations(view: &View<'_>, range: Range<u64>) -> Result<Vec<u64>, Error> {
    let mut all = Vec::new();
    let prefix = word_prefix(letter::KIND, entry::kind_number("activation"));
    view.numbers(&prefix, range, false, |seq| {
        all.push(seq);
        Ok(match all.len() {
            ACTIVATIONS_MAX => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    })?;
    Ok(all)
}

fn traced(view: &View<'_>, seq: u64, role: TraceRole) -> Result<Option<(u64, TracePlace)>, Error> {
    let entry = view.entry(seq)?;
    Ok(entry.map(|entry| (seq, traced_place(seq, &entry, role))))
}

fn traced_place(seq: u64, entry: &Entry, role: TraceRole) -> TracePlace {
    TracePlace {
        role: role.into(),
        place: Some(place(seq, entry)),
    }
}

fn role(entry: &Entry) -> TraceRole {
    match entry.kind() {
        "decision" => TraceRole::Decision,
        "outcome" => TraceRole::Outcome,
        "session_start" => TraceRole::SessionStart,
        "session_end" => TraceRole::SessionEnd,
        "activation" => TraceRole::Activation,
        _ => TraceRole::Record,
    }
}
