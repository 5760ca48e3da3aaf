use proptest::prelude::*;

use super::*;
use crate::decision::Resolution;
use crate::json;

fn header() -> Header {
    Header {
        seq: 7,
        prev: [0xab; 32],
        stack: "shop".into(),
        mode: RunMode::Enforced,
        time: Time {
            wall_ms: 1_790_000_000_000,
            boot_ms: 12_345,
        },
    }
}

fn decision() -> DecisionRecord {
    DecisionRecord {
        session: Some("s-1".into()),
        agent: "support-bot".into(),
        attested: true,
        uid: 61001,
        door: Door::Govern,
        tool: "stripe/refund".into(),
        policy: [2; 32],
        decision: Decision {
            effect: Effect::Deny,
            would: None,
            code: Some(Code::PolicyDeny),
            rule: Some(3),
            message: "refunds above \"$500\" need a person".into(),
            resolution: Resolution::RuleBlock,
            missing: vec!["args.reason".into()],
            notify: vec!["finance".into()],
            inputs: vec![Input {
                field: "args.amount".into(),
                source: "claimed",
                value: Some("800".into()),
                results: Vec::new(),
            }],
            redacted: None,
        },
        effects: vec![
            ("count stripe/*".into(), Some(Decimal::from(1))),
            ("sum stripe/refund amount".into(), None),
        ],
        arguments: r#"{"amount":800,"note":"a \"b\"\n"}"#.into(),
        args_salt: [4; 16],
        detail_salt: [5; 16],
    }
}

fn session_start() -> SessionStart {
    SessionStart {
        session: "s-1".into(),
        agent: "support-bot".into(),
        uid: 61001,
        pid: 4711,
        start_ticks: 99,
        boot_id: "b-1".into(),
        workspace: "/srv/shop/workspace".into(),
        cgroup: "/faramesh/s-1".into(),
        command: vec!["python3".into(), "agent.py".into()],
        stripped_env: vec!["AWS_SECRET_ACCESS_KEY".into()],
        probes: vec![("seccomp.ptrace".into(), true, "EPERM".into())],
    }
}

/// One of each kind.
fn bodies() -> Vec<Body> {
    vec![
        Body::Start(Start {
            version: "0.1.0".into(),
            boot_id: "b-1".into(),
            uid: 998,
            pid: 12,
            cut_bytes: 0,
            warnings: vec!["one".into(), "two".into()],
        }),
        Body::Stop {
            reason: "drain".into(),
        },
        Body::Activation(Activation {
            number: 1,
            digest: [2; 32],
            manifest: [3; 32],
            policy_mode: "enforce".into(),
            windows: vec!["count stripe/*".into(), "denials".into()],
        }),
        Body::Decision(Box::new(decision())),
        Body::Outcome(Outcome {
            session: None,
            of: 3,
            status: "succeeded".into(),
            result_digest: Some([9; 32]),
            detail: "fine\u{1}\u{1f}\u{7f}\u{2028}".into(),
        }),
        Body::SessionStart(Box::new(session_start())),
        Body::SessionEnd {
            session: "s-1".into(),
            reason: "exit".into(),
            calls: 4,
        },
        Body::Dropped {
            counts: vec![
                ("-".into(), "CALL_INVALID".into(), 2),
                ("s-1".into(), "OVERLOADED".into(), 1),
            ],
        },
        Body::ClockStep { step_ms: -6_000 },
    ]
    .into_iter()
    .chain(events().into_iter().map(Body::Log))
    .collect()
}

fn events() -> Vec<LogEvent> {
    let removal = |in_force| Removal {
        from: 0,
        to: 900,
        in_force,
        reason: "retention: 180 days".into(),
    };
    vec![
        LogEvent::Heartbeat,
        LogEvent::Epoch(Epoch {
            number: 2,
            key: "faramesh/shop/00000000/epoch-2+00000000+AQ==".into(),
        }),
        LogEvent::Snapshot(Snapshot {
            size: 7,
            digest: [1; 32],
        }),
        LogEvent::Removal(removal(Some((3, [2; 32])))),
        LogEvent::Removal(removal(None)),
        LogEvent::Erasure(Erasure {
            spans: vec![(1, 1), (3, 9)],
            uid: 1000,
            reason: "asked for on \"paper\"".into(),
        }),
        LogEvent::Attestation(Attestation {
            size: 9,
            root: [4; 32],
            witnesses: vec!["witness.example/w1".into()],
            note: "faramesh/shop/00000000\n9\nBAQ=\n\n— w x\n".into(),
        }),
        LogEvent::Gap(Gap {
            confirmed: 9,
            root: [5; 32],
            kept: 4,
            uid: 0,
            reason: "the disk died".into(),
        }),
    ]
}

#[test]
fn spans_of_an_erasure_that_overlap_or_fall_are_no_record() {
    for spans in [vec![(3, 9), (9, 9)], vec![(5, 4)], vec![(5, 5), (1, 1)]] {
        let body = Body::Log(LogEvent::Erasure(Erasure {
            spans,
            uid: 0,
            reason: String::new(),
        }));
        let encoded = encode(&header(), &body).unwrap();
        assert!(decode(&encoded.record).is_err(), "{body:?}");
    }
}

/// What must come back.
fn view_of(body: &Body) -> BodyView {
    match body.clone() {
        Body::Start(start) => BodyView::Start(start),
        Body::Stop { reason } => BodyView::Stop { reason },
        Body::Activation(activation) => BodyView::Activation(activation),
        Body::Decision(d) => {
            let encoded = encode(&header(), body).unwrap();
            BodyView::Decision(Box::new(DecisionView {
                session: d.session,
                agent: d.agent,
                attested: d.attested,
                uid: d.uid,
                door: d.door,
                tool: d.tool,
                effect: d.decision.effect,
                would: d.decision.would,
                code: d.decision.code,
                policy: d.policy,
                args: commitment(&d.args_salt, d.arguments.as_bytes()),
                detail: commitment(&d.detail_salt, &encoded.detail),
            }))
        }
        Body::Outcome(outcome) => BodyView::Outcome(outcome),
        Body::SessionStart(session) => BodyView::SessionStart(session),
        Body::SessionEnd {
            session,
            reason,
            calls,
        } => BodyView::SessionEnd {
            session,
            reason,
            calls,
        },
        Body::Dropped { counts } => BodyView::Dropped { counts },
        Body::ClockStep { step_ms } => BodyView::ClockStep { step_ms },
        Body::Log(event) => BodyView::Log(event),
    }
}

/// The same bytes by way of the strict parser and the canonical writer of another module.
fn canonical_twin(bytes: &[u8]) -> Option<String> {
    match json::parse(bytes) {
        Ok(json::Value::Object(object)) => {
            let mut text = String::new();
            object.write_canonical(&mut text);
            Some(text)
        }
        _ => None,
    }
}

#[test]
fn every_kind_comes_back_as_it_was_and_is_canonical() {
    for body in bodies() {
        let encoded = encode(&header(), &body).unwrap();
        let text = String::from_utf8(encoded.record.clone()).unwrap();
        assert_eq!(canonical_twin(&encoded.record).as_ref(), Some(&text));
        if !encoded.detail.is_empty() {
            let detail = String::from_utf8(encoded.detail.clone()).unwrap();
            assert_eq!(canonical_twin(&encoded.detail), Some(detail));
        }
        let view = decode(&encoded.record).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(
            view,
            RecordView {
                header: header(),
                body: view_of(&body)
            }
        );
    }
}

#[test]
fn a_decision_shows_the_verdict_and_hides_rule_and_arguments() {
    let encoded = encode(&header(), &Body::Decision(Box::new(decision()))).unwrap();
    let record = String::from_utf8(encoded.record).unwrap();
    for hidden in [
        "500", "800", "amount", "finance", "\"rule\"", "reason", "count",
    ] {
        assert!(!record.contains(hidden), "{hidden} in {record}");
    }
    let detail = String::from_utf8(encoded.detail.clone()).unwrap();
    for kept in [
        "refunds above",
        "\"rule\":4",
        "args.reason",
        "finance",
        "args.amount",
        "{\"add\":\"1\",\"counter\":\"count stripe/*\"}",
        "{\"add\":null,\"counter\":\"sum stripe/refund amount\"}",
    ] {
        assert!(detail.contains(kept), "{kept} not in {detail}");
    }
    assert_eq!(
        detail_arguments(&encoded.detail),
        Some(decision().arguments)
    );
    assert_eq!(encoded.salts, [[4; 16], [5; 16]]);
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused_or_still_canonical() {
    for body in bodies() {
        let record = encode(&header(), &body).unwrap().record;
        for len in 0..record.len() {
            assert!(decode(&record[..len]).is_err());
        }
        for bit in 0..record.len() * 8 {
            let mut other = record.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            if decode(&other).is_ok() {
                assert_eq!(
                    canonical_twin(&other).map(String::into_bytes),
                    Some(other),
                    "bit {bit}"
                );
            }
        }
    }
}

#[test]
fn other_spellings_of_the_same_record_are_refused() {
    let record = String::from_utf8(encode(&header(), &bodies()[0]).unwrap().record).unwrap();
    for (from, to) in [
        ("\"seq\":7", "\"seq\": 7"),
        ("\"seq\":7", "\"seq\":07"),
        ("\"seq\":7", "\"seq\":7.0"),
        ("\"seq\":7", "\"seq\":7e0"),
        ("\"seq\":7", "\"seq\":9007199254740992"),
        ("\"v\":1", "\"v\":2"),
        ("\"pid\":12", "\"pid\":4294967296"),
        ("\"stack\":\"shop\"", "\"stack\":\"sho\\u0070\""),
        ("\"stack\":\"shop\"", "\"stack\":\"sho\\/\""),
        ("\"prev\":\"ab", "\"prev\":\"AB"),
        ("\"mode\":\"enforced\"", "\"mode\":\"Enforced\""),
        ("\"kind\":\"start\"", "\"kind\":\"stop\""),
        ("\"kind\":\"start\"", "\"kind\":\"begin\""),
        ("{\"boot_id\"", " {\"boot_id\""),
        (",\"kind\"", ",\"extra\":1,\"kind\""),
        (
            "\"warnings\":[\"one\",\"two\"]}",
            "\"warnings\":[\"one\",\"two\"]}\n",
        ),
        (
            "\"warnings\":[\"one\",\"two\"]}",
            "\"warnings\":[\"one\",\"two\",]}",
        ),
    ] {
        let other = record.replacen(from, to, 1);
        assert_ne!(other, record, "{from}");
        assert!(decode(other.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn texts_are_cut_at_a_character_and_names_never() {
    let mut stop = Body::Stop {
        reason: "é".repeat(2_000),
    };
    let record = encode(&header(), &stop).unwrap().record;
    let BodyView::Stop { reason } = decode(&record).unwrap().body else {
        panic!()
    };
    assert!(
        reason.len() <= SENTENCE_BYTES_MAX && reason.ends_with("é…"),
        "{reason}"
    );
    stop = Body::SessionEnd {
        session: "s".repeat(200),
        reason: String::new(),
        calls: 0,
    };
    assert!(matches!(
        encode(&header(), &stop),
        Err(Error::NameTooLong {
            field: "session",
            ..
        })
    ));
    let mut long = session_start();
    long.stripped_env = (0..600).map(|i| format!("V{i}")).collect();
    let record = encode(&header(), &Body::SessionStart(Box::new(long)))
        .unwrap()
        .record;
    let BodyView::SessionStart(session) = decode(&record).unwrap().body else {
        panic!()
    };
    assert_eq!(session.stripped_env.len(), STRIPPED_MAX);
    assert_eq!(
        session.stripped_env.last().map(String::as_str),
        Some("… and 89 more")
    );
}

#[test]
fn counts_that_do_not_fit_are_summed_and_never_lost() {
    let counts = (0..300)
        .map(|i| (format!("s-{i:03}"), "OVERLOADED".to_owned(), 2))
        .collect();
    let record = encode(&header(), &Body::Dropped { counts }).unwrap().record;
    let BodyView::Dropped { counts } = decode(&record).unwrap().body else {
        panic!()
    };
    assert_eq!(counts.iter().map(|(_, _, count)| count).sum::<u64>(), 600);
    assert_eq!(counts.last(), Some(&("-".into(), "-".into(), 88)));
}

#[test]
fn a_long_input_is_named_by_its_digest_and_a_huge_argument_still_fits() {
    let mut d = decision();
    d.decision.inputs[0].value = Some(format!("\"{}\"", "x".repeat(5_000)));
    d.arguments = format!("{{\"q\":\"{}\"}}", "\\\"".repeat(500_000));
    let encoded = encode(&header(), &Body::Decision(Box::new(d.clone()))).unwrap();
    let detail = String::from_utf8(encoded.detail.clone()).unwrap();
    assert!(detail.contains("\"value\":\"sha256:"));
    assert_eq!(detail_arguments(&encoded.detail), Some(d.arguments));
    let mut frame = Vec::new();
    crate::frame::write_record(&mut frame, &encoded).unwrap();
}

#[test]
fn integers_that_other_languages_round_are_refused() {
    let body = Body::ClockStep {
        step_ms: -(1 << 53),
    };
    assert_eq!(
        encode(&header(), &body),
        Err(Error::NumberTooBig { field: "step_ms" })
    );
    let late = Header {
        seq: 1 << 53,
        ..header()
    };
    assert_eq!(
        encode(&late, &bodies()[1]),
        Err(Error::NumberTooBig { field: "seq" })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_round_trips(reason in any::<String>(), stack in "[a-z][a-z0-9-]{0,20}", seq in 0..=canon::INTEGER_MAX) {
        let header = Header { seq, stack, ..header() };
        let reason = cut(&reason, 500).into_owned();
        let record = encode(&header, &Body::Stop { reason: reason.clone() }).unwrap().record;
        let twin = canonical_twin(&record).map(String::into_bytes);
        prop_assert_eq!(twin, Some(record.clone()));
        prop_assert_eq!(decode(&record).unwrap(), RecordView { header, body: BodyView::Stop { reason } });
    }

    #[test]
    fn an_edited_record_is_refused_or_still_canonical(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, prop::sample::select(&b"\"\\{}[],:0-9aunb \n\x00\xff"[..])), 1..4)
    ) {
        let mut record = encode(&header(), which.get(&bodies())).unwrap().record;
        for (at, how, byte) in edits {
            let at = at.index(record.len());
            match how {
                0 => record[at] = byte,
                1 => record.insert(at, byte),
                _ => { record.remove(at); }
            }
        }
        if decode(&record).is_ok() {
            prop_assert_eq!(canonical_twin(&record).map(String::into_bytes), Some(record));
        }
    }
}
