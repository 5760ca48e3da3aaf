//! The index's answers against a plain scan, on journals that nobody thought of.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that goes wrong may say so in any way"
)]

mod common;

use common::{Chance, HOSTILE, Maker, session_of};
use faramesh_core::frame::Frame;
use faramesh_core::record::{BodyView, RecordView};
use faramesh_core::tree;
use faramesh_index::follow::{Follower, Step};
use faramesh_index::journal::{Found, Journal, Place, Reader};
use faramesh_index::query;
use faramesh_index::store::{Opened, Store};
use faramesh_proto::v1::{
    Filter, ListRequest, StatsRequest, TraceRequest, TraceRole, trace_request,
};
use std::collections::BTreeMap;
use std::path::Path;

/// A store beside a journal.
fn open(maker: &Maker, path: &Path) -> (Store, Follower, Opened) {
    let (store, opened) = Store::open(path, &maker.key).unwrap();
    let follower = Follower::new(Journal::new(&maker.dir), maker.key.clone());
    (store, follower, opened)
}

/// Goes on until nothing is left; what stands behind the last note.
fn catch_up(store: &Store, follower: &Follower) -> Option<String> {
    loop {
        match follower.step(&store.position().unwrap()).unwrap() {
            Step::Batch(batch) => store.add(&batch).unwrap(),
            Step::Nothing(behind) => {
                while store.forget_removed().unwrap() {}
                return behind;
            }
            Step::Moved(position) => store.move_to(&position).unwrap(),
            Step::Foreign(why) => panic!("{why}"),
        }
    }
}

fn all_pages(store: &Store, filter: &Filter, oldest_first: bool, limit: u32) -> Vec<u64> {
    let mut request = ListRequest {
        filter: Some(filter.clone()),
        oldest_first,
        limit,
        page: None,
    };
    let mut all = Vec::new();
    loop {
        let view = store.view().unwrap();
        let (places, next) = query::list(&view, &request).unwrap();
        assert!(places.len() <= limit as usize);
        all.extend(places.iter().map(|place| place.seq));
        match next {
            Some(next) => request.page = Some(next),
            None => return all,
        }
    }
}

/// What a filter means, said a second time.
fn fits(filter: &Filter, view: &RecordView) -> bool {
    let named = |asked: &str, is: Option<&str>| asked.is_empty() || is == Some(asked);
    let decision = match &view.body {
        BodyView::Decision(decision) => Some(decision),
        _ => None,
    };
    let agent = match &view.body {
        BodyView::Decision(decision) => Some(decision.agent.as_str()),
        BodyView::SessionStart(start) => Some(start.agent.as_str()),
        _ => None,
    };
    let tool = filter.tool.is_empty()
        || decision.is_some_and(|d| faramesh_core::policy::pattern::matches(&filter.tool, &d.tool));
    let wall = view.header.time.wall_ms;
    tool && named(&filter.agent, agent)
        && named(&filter.effect, decision.map(|d| d.effect.as_str()))
        && named(
            &filter.code,
            decision.and_then(|d| d.code).map(|c| c.as_str()),
        )
        && named(&filter.session, session_of(&view.body))
        && named(&filter.kind, Some(kind(&view.body)))
        && filter.since_ms.is_none_or(|since| wall >= since)
        && filter.until_ms.is_none_or(|until| wall < until)
}

fn kind(body: &BodyView) -> &'static str {
    match body {
        BodyView::Start(_) => "start",
        BodyView::Stop { .. } => "stop",
        BodyView::Activation(_) => "activation",
        BodyView::Decision(_) => "decision",
        BodyView::Outcome(_) => "outcome",
        BodyView::SessionStart(_) => "session_start",
        BodyView::SessionEnd { .. } => "session_end",
        BodyView::Dropped { .. } => "dropped",
        BodyView::ClockStep { .. } => "clock_step",
        BodyView::Log(event) => event.kind(),
    }
}

fn random_filter(chance: &mut Chance, records: &[RecordView]) -> Filter {
    let mut filter = Filter::default();
    let some = |chance: &mut Chance| chance.below(3) == 0;
    if some(chance) {
        filter.agent = (*chance.one_of(&HOSTILE)).to_owned();
    }
    if some(chance) {
        let patterns = ["stripe/*", "*", "stripe/refund", "crm/look*", "*/*"];
        filter.tool = (*chance.one_of(&patterns)).to_owned();
    }
    if some(chance) {
        filter.effect = (*chance.one_of(&["permit", "defer", "deny"])).to_owned();
    }
    if some(chance) {
        filter.code = (*chance.one_of(&["POLICY_DENY", "POLICY_DEFER", "INTERNAL"])).to_owned();
    }
    if some(chance) {
        let sessions: Vec<&str> = records.iter().filter_map(|v| session_of(&v.body)).collect();
        filter.session = (*chance.one_of(&sessions)).to_owned();
    }
    if some(chance) {
        let kinds = [
            "decision",
            "outcome",
            "activation",
            "session_start",
            "heartbeat",
        ];
        filter.kind = (*chance.one_of(&kinds)).to_owned();
    }
    let time = |chance: &mut Chance| chance.one_of(records).header.time.wall_ms + chance.below(3);
    if some(chance) {
        filter.since_ms = Some(time(chance));
    }
    if some(chance) {
        filter.until_ms = Some(time(chance));
    }
    filter
}

#[test]
fn every_page_of_every_filter_holds_what_a_plain_scan_finds_in_its_order() {
    let mut chance = Chance::of("every_page_of_every_filter");
    for round in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
        maker.begin();
        maker.random(&mut chance, 2_500);
        let (store, follower, _) = open(&maker, &dir.path().join("db"));
        assert_eq!(catch_up(&store, &follower), None);
        assert_eq!(store.position().unwrap().size(), maker.size());
        assert_eq!(store.position().unwrap().frontier, maker.frontier);
        let records = maker.scan();
        for _ in 0..60 {
            let filter = random_filter(&mut chance, &records);
            let mut expected: Vec<u64> = records
                .iter()
                .filter(|view| fits(&filter, view))
                .map(|view| view.header.seq)
                .collect();
            let limit = u32::try_from(1 + chance.below(99)).unwrap();
            let oldest_first = chance.below(2) == 0;
            if !oldest_first {
                expected.reverse();
            }
            assert_eq!(
                all_pages(&store, &filter, oldest_first, limit),
                expected,
                "round {round}, {filter:?}, oldest first {oldest_first}, {limit} a page"
            );
        }
    }
}

/// Kinds, effects, codes, tools and agents, each with its count.
fn counted(records: &[RecordView], since: u64, until: u64) -> [BTreeMap<String, u64>; 5] {
    let mut counts: [BTreeMap<String, u64>; 5] = Default::default();
    for view in records {
        if !(since..until).contains(&view.header.time.wall_ms) {
            continue;
        }
        let mut add = |which: usize, name: &str| {
            *counts[which].entry(name.to_owned()).or_default() += 1;
        };
        add(0, kind(&view.body));
        if let BodyView::Decision(decision) = &view.body {
            add(1, decision.effect.as_str());
            if let Some(code) = decision.code {
                add(2, code.as_str());
            }
            add(3, &decision.tool);
            add(4, &decision.agent);
        }
    }
    counts
}

fn assert_stats(store: &Store, records: &[RecordView], span: (Option<u64>, Option<u64>)) {
    let (since_ms, until_ms) = span;
    let request = StatsRequest {
        since_ms,
        until_ms,
        top: 1_000,
    };
    let reply = query::stats(&store.view().unwrap(), &request).unwrap();
    let expected = counted(records, since_ms.unwrap_or(0), until_ms.unwrap_or(u64::MAX));
    let given = [
        &reply.kinds,
        &reply.effects,
        &reply.codes,
        &reply.tools,
        &reply.agents,
    ];
    for (given, expected) in given.into_iter().zip(&expected) {
        let map: BTreeMap<String, u64> = given.iter().map(|c| (c.name.clone(), c.count)).collect();
        assert_eq!(&map, expected, "{span:?}");
        assert!(
            given.is_sorted_by(|a, b| (b.count, &a.name) < (a.count, &b.name)),
            "the largest first"
        );
    }
    assert_eq!(reply.records, expected[0].values().sum::<u64>());
    assert_eq!(reply.decisions, expected[1].values().sum::<u64>());
}

#[test]
fn statistics_of_any_span_are_those_of_a_plain_scan() {
    let mut chance = Chance::of("statistics_of_any_span");
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    maker.random(&mut chance, 3_000);
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    catch_up(&store, &follower);
    let records = maker.scan();
    assert_stats(&store, &records, (None, None));
    for _ in 0..80 {
        let mut time = || {
            let at = chance.one_of(&records).header.time.wall_ms;
            match chance.below(4) {
                0 => None,
                1 => Some(at / 3_600_000 * 3_600_000),
                _ => Some(at + chance.below(3_600_000)),
            }
        };
        let span = (time(), time());
        assert_stats(&store, &records, span);
    }
}

#[test]
fn while_records_come_in_paging_meets_every_one_exactly_once() {
    let mut chance = Chance::of("while_records_come_in");
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    maker.random(&mut chance, 400);
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    catch_up(&store, &follower);
    for oldest_first in [false, true] {
        let before = maker.size();
        let mut request = ListRequest {
            filter: None,
            oldest_first,
            limit: 37,
            page: None,
        };
        let mut all = Vec::new();
        let mut rounds = 0;
        loop {
            let (places, next) = query::list(&store.view().unwrap(), &request).unwrap();
            all.extend(places.iter().map(|place| place.seq));
            if rounds < 10 {
                maker.random(&mut chance, 20);
                catch_up(&store, &follower);
            }
            rounds += 1;
            match next {
                Some(next) => request.page = Some(next),
                None => break,
            }
        }
        let expected: Vec<u64> = match oldest_first {
            true => (0..all.len() as u64).collect(),
            false => (0..before).rev().collect(),
        };
        assert_eq!(all, expected);
        assert!(all.len() as u64 >= before);
    }
}

#[test]
fn what_no_valid_note_covers_is_not_indexed_until_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    maker.add(&common::activation(2));
    assert_eq!(catch_up(&store, &follower), None);
    assert_eq!(store.position().unwrap().size(), 2);
    maker.note();
    catch_up(&store, &follower);
    assert_eq!(store.position().unwrap().size(), 3);
    // A note of another tree: the records before the one that holds come in, those behind it do not.
    maker.add(&common::activation(3));
    maker.note();
    maker.add(&common::activation(4));
    maker.note_of(faramesh_core::tree::Head {
        size: 5,
        root: [7; 32],
    });
    let behind = catch_up(&store, &follower).unwrap();
    assert!(
        behind.contains("does not sign the records before it"),
        "{behind}"
    );
    assert_eq!(store.position().unwrap().size(), 4);
}

#[test]
fn damage_stops_the_index_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    let at = std::fs::read(maker.segment_path(0)).unwrap();
    let end = faramesh_core::frame::written_len(&at);
    maker.add(&common::activation(2));
    maker.note();
    let mut bytes = std::fs::read(maker.segment_path(0)).unwrap();
    bytes[end + 40] ^= 1;
    std::fs::write(maker.segment_path(0), &bytes).unwrap();
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    let behind = catch_up(&store, &follower).unwrap();
    assert!(behind.contains(&format!("at byte {end}")), "{behind}");
    assert_eq!(store.position().unwrap().size(), 2);
}

#[test]
fn a_store_of_another_journal_or_version_or_a_damaged_one_is_made_anew() {
    let mut chance = Chance::of("a_store_of_another_journal");
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    maker.random(&mut chance, 300);
    {
        let (store, follower, opened) = open(&maker, &db);
        assert_eq!(opened, Opened::New);
        catch_up(&store, &follower);
    }
    {
        let (store, _, opened) = open(&maker, &db);
        assert_eq!(opened, Opened::Kept);
        assert_eq!(store.position().unwrap().size(), maker.size());
    }
    // Another key's.
    let mut other = Maker::new(&dir.path().join("other"), "shop", 2);
    other.begin();
    {
        let (store, follower, opened) = open(&other, &db);
        assert!(matches!(opened, Opened::Discarded(_)), "{opened:?}");
        catch_up(&store, &follower);
        assert_eq!(store.position().unwrap().size(), 2);
        assert_eq!(all_pages(&store, &Filter::default(), true, 10), [0, 1]);
    }
    // Damaged: every file of it is overwritten.
    for entry in std::fs::read_dir(&db).unwrap() {
        std::fs::write(entry.unwrap().path(), b"not a database").unwrap();
    }
    let (store, follower, opened) = open(&maker, &db);
    assert!(matches!(opened, Opened::Discarded(_)), "{opened:?}");
    catch_up(&store, &follower);
    assert_eq!(store.position().unwrap().size(), maker.size());
    assert_stats(&store, &maker.scan(), (None, None));
}

#[test]
fn a_journal_that_is_no_longer_the_one_that_was_read_is_found_out() {
    let mut chance = Chance::of("a_journal_that_is_no_longer");
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    let path = dir.path().join("journal");
    let mut maker = Maker::new(&path, "shop", 1);
    maker.begin();
    maker.random(&mut chance, 200);
    let (store, follower, _) = open(&maker, &db);
    catch_up(&store, &follower);
    // The same key and another history, shorter or longer.
    for records in [20, 400] {
        std::fs::remove_dir_all(&path).unwrap();
        let mut maker = Maker::new(&path, "shop", 1);
        maker.begin();
        maker.wall_ms += records;
        maker.random(&mut chance, records);
        match follower.step(&store.position().unwrap()).unwrap() {
            Step::Foreign(_) => {}
            other => panic!("{other:?}"),
        }
        store.clear(&maker.key).unwrap();
        catch_up(&store, &follower);
        assert_eq!(store.position().unwrap().size(), maker.size());
        assert_stats(&store, &maker.scan(), (None, None));
    }
}

#[test]
fn of_removed_records_nothing_is_known_any_more() {
    let mut chance = Chance::of("of_removed_records");
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    maker.random(&mut chance, 6_000);
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    catch_up(&store, &follower);
    let to = 1 + chance.below(maker.size());
    maker.remove_below(to);
    let kept: Vec<RecordView> = maker.scan().split_off(usize::try_from(to).unwrap());
    // At the moment at which the removal is read, before anything is forgotten.
    match follower.step(&store.position().unwrap()).unwrap() {
        Step::Batch(batch) => store.add(&batch).unwrap(),
        other => panic!("{other:?}"),
    }
    let expected: Vec<u64> = (to..maker.size()).collect();
    assert_eq!(all_pages(&store, &Filter::default(), true, 500), expected);
    assert_eq!(query::get(&store.view().unwrap(), to - 1).unwrap(), None);
    assert_stats(&store, &kept, (None, None));
    // And afterwards.
    assert_eq!(catch_up(&store, &follower), None);
    assert_eq!(all_pages(&store, &Filter::default(), true, 500), expected);
    assert_stats(&store, &kept, (None, None));
    for agent in HOSTILE {
        let filter = Filter {
            agent: agent.to_owned(),
            ..Filter::default()
        };
        let all = all_pages(&store, &filter, true, 500);
        assert!(all.iter().all(|seq| *seq >= to), "{agent:?}: {all:?}");
    }
    assert_eq!(query::get(&store.view().unwrap(), to - 1).unwrap(), None);
}

/// Every record of the index is where the index says.
fn assert_places(store: &Store, maker: &Maker) {
    let view = store.view().unwrap();
    let journal = Journal::new(&maker.dir);
    let mut reader = Reader::new(&journal);
    for seq in view.position.removed..view.position.size() {
        let place = query::get(&view, seq).unwrap().unwrap();
        let at = Place {
            segment: place.segment,
            offset: place.offset,
        };
        match reader.read(at).unwrap() {
            Found::Frame {
                frame: Frame::Record(stored),
                ..
            } => assert_eq!(tree::leaf_hash(stored.record).as_slice(), place.leaf),
            other => panic!("record {seq}: {other:?}"),
        }
    }
}

#[test]
fn after_an_erasure_every_record_is_found_where_it_stands_now() {
    let mut chance = Chance::of("after_an_erasure");
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    maker.random(&mut chance, 1_500);
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    catch_up(&store, &follower);
    store.follow_rewritten(follower.journal()).unwrap();
    assert_places(&store, &maker);
    let last = *maker.firsts().last().unwrap();
    for first in maker.firsts().into_iter().filter(|first| *first != last) {
        maker.rewrite(first);
    }
    store.follow_rewritten(follower.journal()).unwrap();
    assert_places(&store, &maker);
    assert_stats(&store, &maker.scan(), (None, None));
    // The segment in which the index stands was sealed and written anew while it slept.
    maker.roll();
    maker.rewrite(last);
    maker.random(&mut chance, 50);
    assert_eq!(catch_up(&store, &follower), None);
    assert_eq!(store.position().unwrap().size(), maker.size());
    store.follow_rewritten(follower.journal()).unwrap();
    assert_places(&store, &maker);
}

#[test]
fn a_journal_whose_beginning_was_removed_is_indexed_from_its_tiles_on() {
    let mut chance = Chance::of("a_journal_whose_beginning");
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    maker.begin();
    maker.random(&mut chance, 2_000);
    maker.write_tiles();
    let firsts = maker.firsts();
    let to = firsts[firsts.len() / 2];
    maker.remove_below(to);
    for first in firsts.into_iter().filter(|first| *first < to) {
        std::fs::remove_file(maker.segment_path(first)).unwrap();
    }
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    assert_eq!(catch_up(&store, &follower), None);
    let position = store.position().unwrap();
    assert_eq!(
        (position.removed, &position.frontier),
        (to, &maker.frontier)
    );
    assert_stats(&store, &maker.scan(), (None, None));
    assert_places(&store, &maker);
    // Without the tiles nothing leads up to it, and that is said.
    std::fs::remove_dir_all(maker.dir.join("tile")).unwrap();
    store.clear(&maker.key).unwrap();
    let behind = catch_up(&store, &follower).unwrap();
    assert!(
        behind.contains(&format!("begins with record {to}")),
        "{behind}"
    );
}

#[test]
fn a_trace_holds_all_of_a_session_and_what_was_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    use faramesh_core::decision::Effect;
    maker.begin();
    let permit = |session: &str| {
        common::decision(
            Some(session.into()),
            "bot",
            "crm/lookup",
            Effect::Permit,
            false,
        )
    };
    let start = maker.add(&common::session_start("s", "bot"));
    let first = maker.add(&permit("s"));
    let other = maker.add(&permit("other"));
    let switch = maker.add(&common::activation(2));
    let second = maker.add(&permit("s"));
    maker.note();
    let done = maker.add(&common::outcome(Some("s".into()), first));
    let end = maker.add(&faramesh_core::record::Body::SessionEnd {
        session: "s".into(),
        reason: "exit".into(),
        calls: 2,
    });
    maker.add(&permit("s2"));
    maker.note();
    let (store, follower, _) = open(&maker, &dir.path().join("db"));
    catch_up(&store, &follower);
    let view = store.view().unwrap();
    let trace = |of: trace_request::Of, limit: u32| {
        let mut all = Vec::new();
        let mut page = None;
        loop {
            let request = TraceRequest {
                of: Some(of.clone()),
                limit,
                page,
            };
            let (places, next) = query::trace(&view, &request).unwrap();
            all.extend(
                places
                    .iter()
                    .map(|place| (place.role(), place.place.as_ref().unwrap().seq)),
            );
            page = next;
            if page.is_none() {
                return all;
            }
        }
    };
    use TraceRole::{Activation, Decision, InForce, Outcome, SessionEnd, SessionStart};
    let whole = [
        (InForce, 1),
        (SessionStart, start),
        (Decision, first),
        (Activation, switch),
        (Decision, second),
        (Outcome, done),
        (SessionEnd, end),
    ];
    for limit in [1, 2, 3, 100] {
        let found = trace(trace_request::Of::Session("s".into()), limit);
        assert_eq!(found, whole, "{limit} a page");
    }
    let call = [
        (InForce, 1),
        (SessionStart, start),
        (Decision, first),
        (Outcome, done),
        (SessionEnd, end),
    ];
    assert_eq!(trace(trace_request::Of::Seq(first), 0), call);
    assert_eq!(trace(trace_request::Of::Seq(done), 0), call);
    assert_eq!(
        trace(trace_request::Of::Seq(other), 0),
        [(InForce, 1), (Decision, other)]
    );
    assert_eq!(trace(trace_request::Of::Seq(1_000), 0), []);
}

#[test]
fn a_question_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let maker = Maker::new(&dir.path().join("journal"), "shop", 1);
    let (store, _, _) = open(&maker, &dir.path().join("db"));
    let view = store.view().unwrap();
    let list = |filter: Filter, limit: u32| {
        query::list(
            &view,
            &ListRequest {
                filter: Some(filter),
                limit,
                ..ListRequest::default()
            },
        )
    };
    let effect = Filter {
        effect: "allow\u{1b}".into(),
        ..Filter::default()
    };
    let said = list(effect, 1).unwrap_err().to_string();
    assert_eq!(said, "`allow\\u{1b}` is no effect");
    let kind = Filter {
        kind: "decisions".into(),
        ..Filter::default()
    };
    assert!(list(kind, 1).is_err());
    assert!(list(Filter::default(), query::PAGE_RECORDS_MAX + 1).is_err());
    assert!(list(Filter::default(), query::PAGE_RECORDS_MAX).is_ok());
}
