use super::*;
use crate::checkpoint::hex;
use crate::decision::{Code, Decision, Effect};
use crate::record::{
    Activation, Attestation, Body, DecisionRecord, Door, Epoch, Gap, LogEvent, Outcome, Removal,
    SessionStart, Start,
};
use crate::tree::leaf_hash;
use proptest::prelude::*;

const SESSIONS: [&str; 3] = ["s-a", "s-b", "s-c"];
const WINDOWS: [&str; 3] = ["session.calls", "count a/*", "sum a/b amount"];

/// What a generated record is about; what cannot follow is left out of the sequence.
#[derive(Debug, Clone)]
struct Step {
    kind: u8,
    session: usize,
    /// Which of what there is: windows, an earlier record, an amount.
    which: u64,
    passes_ms: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u8..16, 0_usize..4, 0_u64..200, 0_u64..5_000).prop_map(
        |(kind, session, which, passes_ms)| Step {
            kind,
            session,
            which,
            passes_ms,
        },
    );
    prop::collection::vec(step, 1..120)
}

fn body(step: &Step, seq: u64) -> Body {
    let session = SESSIONS.get(step.session).map(|id| (*id).to_owned());
    let id = session.clone().unwrap_or_else(|| "s-a".to_owned());
    let earlier = step.which.min(seq.saturating_sub(1));
    match step.kind {
        0 => Body::Start(Start {
            version: String::new(),
            boot_id: format!("boot {}", step.which),
            uid: 1,
            pid: 1,
            cut_bytes: 0,
            warnings: Vec::new(),
        }),
        1 => Body::Activation(Activation {
            number: seq + 1,
            digest: [7; 32],
            manifest: [8; 32],
            policy_mode: "enforce".into(),
            windows: (0..3)
                .filter(|bit| step.which & (1 << bit) != 0)
                .filter_map(|bit| WINDOWS.get(bit).map(|name| (*name).to_owned()))
                .collect(),
        }),
        2 => Body::SessionStart(Box::new(SessionStart {
            session: id,
            agent: "bot".into(),
            uid: 1001,
            pid: 2,
            start_ticks: 3,
            boot_id: String::new(),
            workspace: "/srv/w".into(),
            cgroup: String::new(),
            command: Vec::new(),
            stripped_env: Vec::new(),
            probes: vec![
                (
                    "landlock.fs".into(),
                    step.which.is_multiple_of(2),
                    "EACCES".into(),
                ),
                ("seccomp".into(), true, "EPERM".into()),
            ],
        })),
        3 => Body::SessionEnd {
            session: id,
            reason: "exit".into(),
            calls: 0,
        },
        4 | 5 => Body::Outcome(Outcome {
            session,
            of: earlier,
            status: "succeeded".into(),
            result_digest: None,
            detail: String::new(),
        }),
        6 => Body::Log(LogEvent::Epoch(Epoch {
            number: 2 + step.which % 3,
            key: format!("key {}", step.which),
        })),
        7 => Body::Log(LogEvent::Attestation(Attestation {
            size: earlier,
            root: [0; 32],
            witnesses: Vec::new(),
            note: String::new(),
        })),
        8 => Body::Log(LogEvent::Removal(Removal {
            from: step.which / 2,
            to: earlier,
            in_force: None,
            reason: "retention".into(),
        })),
        9 if step.which > 150 => Body::Log(LogEvent::Gap(Gap {
            confirmed: seq + step.which,
            root: [5; 32],
            kept: seq,
            uid: 0,
            reason: String::new(),
        })),
        9 => Body::Log(LogEvent::Heartbeat),
        _ => decision(step, session),
    }
}

fn decision(step: &Step, session: Option<String>) -> Body {
    let mut decision = Decision::refused(Code::PolicyDeny, "");
    if step.kind > 11 {
        decision.effect = Effect::Permit;
    }
    let amount = match step.which % 5 {
        0 => None,
        1 => "123456789012345678901234567890.5".parse().ok(),
        _ => Some((step.which as i64 - 20).into()),
    };
    let effects = vec![
        ("session.calls".into(), Some(1.into())),
        ("count a/*".into(), Some(1.into())),
        ("sum a/b amount".into(), amount),
    ];
    Body::Decision(Box::new(DecisionRecord {
        attested: session.is_some(),
        session,
        agent: "bot".into(),
        uid: 1001,
        door: Door::Govern,
        tool: "a/b".into(),
        policy: [7; 32],
        decision,
        effects,
        arguments: "{}".into(),
        args_salt: [0; 16],
        detail_salt: [0; 16],
    }))
}

/// The records of the steps that can follow one another, with their times.
fn records(steps: &[Step]) -> Vec<(Time, Body)> {
    let mut state = State::new();
    let mut records = Vec::new();
    let mut boot_ms = 1_000;
    for step in steps {
        boot_ms += step.passes_ms;
        let time = Time {
            wall_ms: boot_ms + 5,
            boot_ms,
        };
        let body = body(step, state.next_seq());
        if state.apply(state.next_seq(), time, &body).is_ok() {
            records.push((time, body));
        }
    }
    records
}

fn fold(point: &mut Point, records: &[(Time, Body)]) {
    for (time, body) in records {
        let seq = point.state.next_seq();
        point.state.apply(seq, *time, body).unwrap();
        point.last_leaf = leaf_hash(&seq.to_be_bytes());
        point.frontier.push(point.last_leaf).unwrap();
        let boot_id = match body {
            Body::Start(start) => start.boot_id.clone(),
            _ => point
                .last
                .take()
                .map_or_else(String::new, |(_, boot_id)| boot_id),
        };
        point.last = Some((*time, boot_id));
    }
}

fn snapshot(point: Point) -> Snapshot {
    let size = point.frontier.size();
    let segments = (0..size.min(3)).map(|first| SealedSegment {
        first,
        bytes: 64 << 10,
    });
    Snapshot {
        origin: "faramesh/shop/0a1b2c3d".into(),
        segments: segments.collect(),
        point,
    }
}

proptest! {
    #[test]
    fn a_snapshot_anywhere_and_the_fold_of_the_rest_are_the_fold_of_everything(steps in steps(), cut in any::<prop::sample::Index>()) {
        let records = records(&steps);
        let cut = cut.index(records.len() + 1);
        let mut whole = Point::default();
        fold(&mut whole, &records);
        let mut begun = Point::default();
        fold(&mut begun, &records[..cut]);
        let bytes = snapshot(begun.clone()).encode().unwrap();
        let mut resumed = Snapshot::decode(&bytes).unwrap().point;
        prop_assert_eq!(&resumed, &begun);
        fold(&mut resumed, &records[cut..]);
        prop_assert_eq!(resumed, whole);
    }

    #[test]
    fn changed_bytes_are_refused_or_are_another_snapshots_own(steps in steps(), at in any::<prop::sample::Index>(), byte in any::<u8>(), length in any::<prop::sample::Index>()) {
        let mut point = Point::default();
        fold(&mut point, &records(&steps));
        let mut bytes = snapshot(point).encode().unwrap();
        prop_assert!(Snapshot::decode(&bytes[..length.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(other) = Snapshot::decode(&bytes) {
            prop_assert_eq!(other.encode().unwrap(), bytes);
        }
    }
}

/// One of everything, so that a change of any part's form is seen.
#[test]
fn the_bytes_change_only_with_the_version() {
    let step = |kind, session, which| Step {
        kind,
        session,
        which,
        passes_ms: 7,
    };
    let steps = [
        step(0, 3, 4),
        step(1, 3, 7),
        step(2, 0, 1),
        step(2, 1, 0),
        step(15, 0, 90),
        step(15, 1, 1),
        step(15, 3, 0),
        step(15, 0, 3),
        step(10, 0, 5),
        step(4, 1, 5),
        step(6, 3, 0),
        step(7, 3, 8),
        step(8, 3, 0),
        step(9, 3, 151),
        step(3, 2, 0),
    ];
    let records = records(&steps);
    assert_eq!(
        records.len(),
        steps.len() - 2,
        "no outcome of 4, no end of `s-c`"
    );
    let mut point = Point::default();
    fold(&mut point, &records);
    let bytes = snapshot(point).encode().unwrap();
    let digest = hex(&Snapshot::digest(&bytes));
    assert_eq!(
        (bytes.len(), digest.as_str()),
        (
            732,
            "1aa78460bfcaefb595cf04df77ee7427a81a9257792265cdf73fc60ce7ffd92a"
        )
    );
}

#[test]
fn what_lies_behind_a_snapshots_end_makes_it_none() {
    let mut bytes = snapshot(Point::default()).encode().unwrap();
    bytes.push(0);
    assert_eq!(Snapshot::decode(&bytes), Err(SnapshotInvalid::Bytes));
    assert_eq!(Snapshot::decode(b""), Err(SnapshotInvalid::Form));
}

#[test]
fn parts_of_different_places_are_no_snapshot() {
    let step = Step {
        kind: 9,
        session: 3,
        which: 0,
        passes_ms: 1,
    };
    let mut point = Point::default();
    fold(&mut point, &records(&[step.clone(), step]));
    type Change = fn(&mut Snapshot);
    let rows: [(&str, Change); 4] = [
        ("tree", |snapshot| snapshot.point.frontier = Frontier::new()),
        ("last", |snapshot| snapshot.point.last = None),
        ("segments", |snapshot| snapshot.segments.reverse()),
        ("removed", |snapshot| snapshot.point.state.removed = 3),
    ];
    for (what, change) in rows {
        let mut wrong = snapshot(point.clone());
        change(&mut wrong);
        let decoded = Snapshot::decode(&wrong.encode().unwrap());
        assert!(
            matches!(decoded, Err(SnapshotInvalid::Unsound(_))),
            "{what}: {decoded:?}"
        );
    }
}
