//! What verification proves, finds, and never confuses.
mod world;

use faramesh_core::decision::Effect;
use faramesh_core::record::RunMode;
use faramesh_core::tree::Head;
use faramesh_core::verify::{Answer, Level, Options, Report, Span, SpanKind, Verifier};
use world::{Files, Journal};

fn verify(files: &Files, options: Options) -> Report {
    let mut verifier = Verifier::new(options);
    for (first, _, bytes) in &files.0 {
        verifier.segment(*first, bytes);
    }
    verifier.finish()
}

fn pinned(journal: &Journal) -> Options {
    Options {
        key: Some(journal.public.clone().into()),
        ..Options::default()
    }
}

fn broken(report: &Report) -> Vec<&str> {
    let broken = report
        .findings
        .iter()
        .filter(|finding| finding.level == Level::Broken);
    broken.map(|finding| finding.what.as_str()).collect()
}

#[test]
fn a_whole_journal_holds() {
    let journal = Journal::shop();
    let report = verify(&journal.files(), pinned(&journal));
    assert_eq!(report.exit_code(), 0, "{report:?}");
    assert_eq!(
        (
            report.records,
            report.notes,
            report.signed,
            report.unsigned_tail
        ),
        (10, 4, 10, 0)
    );
    assert_eq!(
        (
            report.self_consistent,
            report.extends_trusted,
            report.attested
        ),
        (Answer::Yes, Answer::NotAsked, None)
    );
    assert_eq!(report.dropped_calls, 2);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.level == Level::Info),
        "{report:?}"
    );
}

#[test]
fn without_a_pinned_key_it_cannot_tell() {
    let journal = Journal::shop();
    let report = verify(&journal.files(), Options::default());
    assert_eq!(
        (report.exit_code(), report.self_consistent),
        (2, Answer::CannotTell)
    );
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.what.starts_with("key not pinned")),
        "{report:?}"
    );
    // A head that was trusted before vouches for what it covers, and for nothing after it.
    let trusting = |head| Options {
        trusted: vec![head],
        ..Options::default()
    };
    assert_eq!(
        verify(&journal.files(), trusting(journal.head())).exit_code(),
        0
    );
    assert_eq!(
        verify(&journal.files(), trusting(journal.notes[1].2)).exit_code(),
        2
    );
}

#[test]
fn another_key_is_not_the_pinned_one() {
    let journal = Journal::shop();
    let report = verify(&journal.files(), pinned(&Journal::with_key(2)));
    assert_eq!(report.exit_code(), 1);
    assert!(
        broken(&report)
            .iter()
            .all(|what| what.contains("not the pinned key's")),
        "{report:?}"
    );
}

#[test]
fn every_flipped_bit_is_found() {
    let mut journal = Journal::shop();
    journal.add(&world::start());
    let good = journal.files();
    let last_note = journal.notes[3].1.start;
    for segment in 0..good.0.len() {
        for bit in 0..good.0[segment].2.len() * 8 {
            let mut files = good.clone();
            files.0[segment].2[bit / 8] ^= 1 << (bit % 8);
            // Signatures are slow: with the key every eleventh, without it every one.
            let key = (bit % 11 == 0).then(|| journal.public.clone().into());
            let report = verify(
                &files,
                Options {
                    key,
                    ..Options::default()
                },
            );
            let damaged = report.findings.iter().any(|finding| {
                finding.level >= Level::CannotTell && !finding.what.starts_with("key not pinned")
            });
            assert!(damaged, "bit {bit} of segment {segment}: {report:?}");
            let tail = segment == 1 && bit / 8 >= last_note;
            assert_eq!(
                report.exit_code(),
                if tail { 2 } else { 1 },
                "bit {bit} of segment {segment}: {report:?}"
            );
        }
    }
}

#[test]
fn what_lies_after_the_last_note_is_no_evidence_and_is_said() {
    let mut journal = Journal::shop();
    journal.add(&world::start());
    let report = verify(&journal.files(), pinned(&journal));
    assert_eq!(
        (report.exit_code(), report.signed, report.unsigned_tail),
        (0, 10, 1)
    );
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.level == Level::Warning)
    );
}

#[test]
fn a_truncated_journal_agrees_with_itself_and_not_with_the_head_that_was_trusted() {
    let journal = Journal::shop();
    let mut files = journal.files();
    files.0.pop();
    let alone = verify(&files, pinned(&journal));
    assert_eq!((alone.exit_code(), alone.self_consistent), (0, Answer::Yes));
    let trusting = |head| Options {
        trusted: vec![head],
        ..pinned(&journal)
    };
    let report = verify(&files, trusting(journal.head()));
    assert_eq!(
        (
            report.exit_code(),
            report.self_consistent,
            report.extends_trusted
        ),
        (1, Answer::Yes, Answer::No)
    );
    let report = verify(&files, trusting(journal.notes[1].2));
    assert_eq!(
        (report.exit_code(), report.extends_trusted),
        (0, Answer::Yes)
    );
    let other = Head {
        root: [7; 32],
        ..journal.notes[1].2
    };
    let report = verify(&files, trusting(other));
    assert_eq!(
        (
            report.exit_code(),
            report.self_consistent,
            report.extends_trusted
        ),
        (1, Answer::Yes, Answer::No)
    );
}

#[test]
fn a_log_signed_again_with_the_stolen_key_agrees_with_itself_and_not_with_the_trusted_head() {
    let (journal, mut forged) = (Journal::shop(), Journal::new());
    forged
        .add(&world::start())
        .add(&world::activation(1))
        .note();
    forged
        .add(&world::session_start())
        .add(&world::decision(Effect::Permit, 0));
    forged.add(&world::decision(Effect::Permit, 1)).note();
    let options = Options {
        trusted: vec![journal.notes[1].2],
        ..pinned(&journal)
    };
    let report = verify(&forged.files(), options);
    assert_eq!(
        (report.self_consistent, report.extends_trusted),
        (Answer::Yes, Answer::No)
    );
}

#[test]
fn development_and_shadow_are_named_as_spans() {
    let mut journal = Journal::new();
    journal
        .add(&world::start())
        .add(&world::shadow(1))
        .add(&world::decision(Effect::Permit, 0));
    journal.add(&world::activation(2)).note();
    journal.mode = RunMode::Development;
    journal
        .add(&world::start())
        .add(&world::decision(Effect::Permit, 1))
        .note();
    let report = verify(&journal.files(), pinned(&journal));
    assert_eq!(report.exit_code(), 0, "{report:?}");
    assert_eq!(
        report.spans,
        [
            Span {
                kind: SpanKind::NotEnforcing,
                from: 1,
                to: 2
            },
            Span {
                kind: SpanKind::Development,
                from: 4,
                to: 5
            },
        ]
    );
}

#[test]
fn a_story_that_cannot_be_true_is_broken() {
    type Tell = fn(&mut Journal);
    let stories: [(&str, Tell); 4] = [
        ("while no daemon ran", |j| {
            j.add(&world::stop())
                .add(&world::decision(Effect::Permit, 1));
        }),
        ("no activation had put in force", |j| {
            j.add(&world::decision_under([9; 32]));
        }),
        ("was activated after manifest", |j| {
            j.add(&world::activation(1));
        }),
        ("about a later record", |j| {
            j.add(&world::outcome(50));
        }),
    ];
    for (what, tell) in stories {
        let mut journal = Journal::new();
        journal.add(&world::start()).add(&world::activation(1));
        tell(&mut journal);
        journal.note();
        let report = verify(&journal.files(), pinned(&journal));
        assert!(
            broken(&report).iter().any(|found| found.contains(what)),
            "{what}: {report:?}"
        );
    }
}

#[test]
fn clocks_that_run_back_are_a_warning() {
    let mut journal = Journal::new();
    journal.add(&world::start()).add(&world::activation(1));
    journal.wall_ms -= 60_000;
    journal.add(&world::session_end());
    journal.boot_ms -= 15;
    journal.add(&world::stop()).note();
    let report = verify(&journal.files(), pinned(&journal));
    assert_eq!(report.exit_code(), 0);
    for what in [
        "the wall clock ran back by 59990 ms",
        "the boot clock ran back",
    ] {
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.what.starts_with(what)),
            "{what}: {report:?}"
        );
    }
}

#[test]
fn findings_beyond_the_limit_are_counted_and_still_count() {
    let mut journal = Journal::new();
    for _ in 0..1_200 {
        journal.add(&world::dropped());
    }
    journal.add(&world::outcome(9_999)).note();
    let report = verify(&journal.files(), pinned(&journal));
    assert_eq!((report.findings.len(), report.exit_code()), (1_000, 1));
    assert!(report.findings_left_out > 200);
}
