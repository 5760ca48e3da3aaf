//! `audit export`: each form is what its readers expect, says only what is signed, and is harmless whatever an agent wrote.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{Answer, faramesh};
use ed25519_dalek::{Signer, SigningKey};
use faramesh_core::checkpoint::{Checkpoint, KeyName, PublicKey};
use faramesh_core::decision::{Code, Decision, Effect, Resolution};
use faramesh_core::frame;
use faramesh_core::record::{
    Activation, Body, DecisionRecord, Door, Erasure, Header, LogEvent, Outcome, RunMode,
    SessionStart, Start, Time, encode,
};
use faramesh_core::tree::{Frontier, Hash, Head, leaf_hash};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const WALL_MS: u64 = 1_795_176_000_000;
/// What an agent may send to hurt whoever reads the export.
const HOSTILE: &str =
    "=cmd|'/c calc'!A1\r\nPERMIT,\"x\"\t\u{1b}[2J\u{9b}31m\u{202e}\u{7f}|act=permit\\";

/// A journal in a directory of its own, written as the daemon writes it.
struct Journal {
    temp: tempfile::TempDir,
    secret: SigningKey,
    public: PublicKey,
    frontier: Frontier,
    prev: Hash,
    first: u64,
    bytes: Vec<u8>,
}

impl Journal {
    fn new() -> Journal {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let bytes = secret.verifying_key().to_bytes();
        let name = KeyName::origin("shop", &bytes).unwrap();
        Journal {
            temp: tempfile::tempdir().unwrap(),
            public: PublicKey::new(name, &bytes).unwrap(),
            secret,
            frontier: Frontier::new(),
            prev: [0; 32],
            first: 0,
            bytes: Vec::new(),
        }
    }

    fn push(&mut self, body: &Body) {
        let seq = self.frontier.size();
        let header = Header {
            seq,
            prev: self.prev,
            stack: "shop".into(),
            mode: RunMode::Enforced,
            time: Time {
                wall_ms: WALL_MS + seq * 1_000,
                boot_ms: seq,
            },
        };
        let encoded = encode(&header, body).unwrap();
        frame::write_record(&mut self.bytes, &encoded).unwrap();
        self.prev = leaf_hash(&encoded.record);
        self.frontier.push(self.prev).unwrap();
    }

    fn note(&mut self) {
        let checkpoint = Checkpoint {
            origin: self.public.name().clone(),
            head: Head {
                size: self.frontier.size(),
                root: self.frontier.root(),
            },
        };
        let note = self
            .public
            .seal(&checkpoint, |text| self.secret.sign(text).to_bytes())
            .unwrap();
        frame::write_note(&mut self.bytes, &note).unwrap();
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("journal")
    }

    fn key(&self) -> PathBuf {
        self.temp.path().join("log.pub")
    }

    /// Ends the segment, with zeros behind it.
    fn segment(&mut self) {
        fs::create_dir_all(self.dir()).unwrap();
        fs::write(self.key(), format!("{}\n", self.public.vkey())).unwrap();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(bytes.len() + 10_000, 0);
        fs::write(self.dir().join(format!("{:020}.seg", self.first)), bytes).unwrap();
        self.first = self.frontier.size();
    }

    fn export(&self, args: &[&str]) -> Answer {
        let (dir, key) = (self.dir(), self.key());
        let mut all = vec!["audit", "export", dir.to_str().unwrap(), "--key"];
        all.push(key.to_str().unwrap());
        all.extend(args);
        faramesh(&all)
    }
}

fn decision(tool: &str, effect: Effect, message: &str, arguments: &str) -> Body {
    Body::Decision(Box::new(DecisionRecord {
        session: Some("s-1".into()),
        agent: "bot".into(),
        attested: true,
        uid: 61_001,
        door: Door::Govern,
        tool: tool.into(),
        policy: [2; 32],
        decision: Decision {
            effect,
            would: None,
            code: (effect == Effect::Deny).then_some(Code::PolicyDeny),
            rule: Some(0),
            message: message.into(),
            resolution: Resolution::RuleBlock,
            missing: Vec::new(),
            notify: Vec::new(),
            inputs: Vec::new(),
            redacted: None,
        },
        effects: Vec::new(),
        arguments: arguments.into(),
        args_salt: [4; 16],
        detail_salt: [5; 16],
    }))
}

/// Two segments, one record of most kinds, hostile text wherever an agent can write some; the last is not signed yet.
fn journal() -> Journal {
    let mut journal = Journal::new();
    journal.push(&Body::Start(Start {
        version: "0.1.0".into(),
        boot_id: "b".into(),
        uid: 998,
        pid: 12,
        cut_bytes: 0,
        warnings: vec![HOSTILE.into()],
    }));
    journal.push(&Body::Activation(Activation {
        number: 1,
        digest: [2; 32],
        manifest: [3; 32],
        policy_mode: "enforce".into(),
        windows: Vec::new(),
    }));
    journal.push(&Body::SessionStart(Box::new(SessionStart {
        session: "s-1".into(),
        agent: "bot".into(),
        uid: 61_001,
        pid: 3,
        start_ticks: 4,
        boot_id: "b".into(),
        workspace: "/w".into(),
        cgroup: String::new(),
        command: vec![HOSTILE.into()],
        stripped_env: Vec::new(),
        probes: Vec::new(),
    })));
    journal.note();
    journal.push(&decision(
        "stripe/refund",
        Effect::Permit,
        "",
        "{\"amount\":80.0000000000000000001}",
    ));
    journal.note();
    journal.segment();
    let quoted = serde_json::to_string(&serde_json::json!({ "=x": HOSTILE })).unwrap();
    journal.push(&decision("crm/read", Effect::Deny, HOSTILE, &quoted));
    journal.push(&decision(
        "stripe/charge",
        Effect::Defer,
        "a person, please",
        "{}",
    ));
    journal.push(&Body::Outcome(Outcome {
        session: Some("s-1".into()),
        of: 3,
        status: "succeeded".into(),
        result_digest: None,
        detail: HOSTILE.into(),
    }));
    journal.push(&Body::Log(LogEvent::Erasure(Erasure {
        spans: vec![(3, 3)],
        uid: 0,
        reason: HOSTILE.into(),
    })));
    journal.push(&Body::Stop {
        reason: "drain".into(),
    });
    journal.note();
    journal.push(&decision("crm/write", Effect::Permit, "", "{}"));
    journal.segment();
    journal
}

/// No byte acts on a terminal, and no line break is one that a text brought along.
#[track_caller]
fn is_harmless(text: &str, lines: usize) {
    for c in text.chars() {
        let acts = c != '\n' && c != '\r' && faramesh_cli::untrusted::is_deceptive(c);
        assert!(!acts, "{c:?} in {text}");
    }
    assert_eq!(text.lines().count(), lines, "{text}");
}

#[test]
fn jsonl_gives_the_hashed_bytes_back_and_ends_with_the_checkpoint() {
    let journal = journal();
    let answer = journal.export(&["--as", "jsonl"]).exits(0);
    is_harmless(&answer.stdout, 9 + 1);
    assert!(answer.stdout.is_ascii());
    let lines: Vec<Value> = answer
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut frontier = Frontier::new();
    for (seq, line) in lines[..9].iter().enumerate() {
        assert_eq!(line["seq"], seq);
        assert_eq!(line["signed"], true);
        assert!(line.get("args_salt").is_none());
        // Canonical JSON has one form: written again it is hashed to the same leaf.
        let record = serde_json::to_string(&line["record"]).unwrap();
        let leaf = leaf_hash(record.as_bytes());
        assert_eq!(
            line["leaf_hash"],
            faramesh_core::checkpoint::hex(&leaf),
            "{record}"
        );
        frontier.push(leaf).unwrap();
    }
    assert_eq!(
        lines[3]["detail"]["args"],
        "{\"amount\":80.0000000000000000001}"
    );
    let end = &lines[9]["export"];
    assert_eq!(end["written"], 9);
    assert_eq!(end["unsigned"], 1);
    assert_eq!(
        end["checkpoint"]["root"],
        faramesh_core::checkpoint::hex(&frontier.root())
    );
    let note = end["checkpoint"]["note"].as_str().unwrap();
    assert!(journal.public.open::<Checkpoint>(note.as_bytes()).is_ok());
    answer.says(&[
        "exported 9 records of 10",
        "1 behind the checkpoint and left out",
    ]);
}

#[test]
fn a_table_is_rfc_4180_and_no_cell_is_a_formula() {
    let journal = journal();
    let answer = journal.export(&["--as", "csv"]).exits(0);
    is_harmless(&answer.stdout, 9 + 1);
    assert!(answer.stdout.ends_with("\r\n"));
    let mut reader = csv::Reader::from_reader(answer.stdout.as_bytes());
    let names: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 9);
    for row in &rows {
        assert_eq!(row.len(), names.len());
        for cell in row {
            assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
        }
    }
    assert_eq!(&rows[4][at("tool")], "crm/read");
    assert_eq!(&rows[4][at("code")], "POLICY_DENY");
    assert_eq!(&rows[4][at("rule")], "1");
    assert!(
        rows[4][at("message")].starts_with("'=cmd|"),
        "{:?}",
        rows[4]
    );
    assert_eq!(&rows[3][at("time")], "2026-11-20T12:00:03.000Z");
    assert_eq!(&rows[3][at("checkpoint_size")], "9");
    assert_eq!(
        &rows[3][at("arguments")],
        "{\"amount\":80.0000000000000000001}"
    );
}

#[test]
fn common_event_format_escapes_what_would_end_a_field() {
    let journal = journal();
    let answer = journal.export(&["--as", "cef"]).exits(0);
    is_harmless(&answer.stdout, 9);
    for line in answer.stdout.lines() {
        assert!(line.starts_with("CEF:0|Faramesh|Faramesh|"), "{line}");
        // Seven bars that end a field of the header, and the eighth part is the extension.
        let header = line.splitn(8, '|').collect::<Vec<_>>();
        assert_eq!(header.len(), 8, "{line}");
        assert!(header[7].starts_with("rt="), "{line}");
    }
    let denied = answer.stdout.lines().nth(4).unwrap();
    assert_eq!(denied.matches(" act=").count(), 1, "{denied}");
    assert!(denied.contains("act\\=permit\\\\"), "{denied}");
    assert!(denied.contains("externalId=4"), "{denied}");
}

#[test]
fn every_event_is_valid_in_the_published_schema_of_ocsf() {
    let schema: Value = serde_json::from_str(include_str!("data/ocsf-1.9.0.json")).unwrap();
    let journal = journal();
    let answer = journal.export(&["--as", "ocsf", "--unsigned"]).exits(0);
    is_harmless(&answer.stdout, 10);
    let mut seen = std::collections::BTreeSet::new();
    for line in answer.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let faults = ocsf::faults(&schema, &event);
        assert!(faults.is_empty(), "{faults:#?}\n{line}");
        seen.insert(event["class_uid"].as_u64().unwrap());
        let raw = event["raw_data"].as_str().unwrap();
        let attestation = &event["attestation_list"][0];
        assert_eq!(
            attestation["fingerprint"]["value"],
            faramesh_core::checkpoint::hex(&leaf_hash(raw.as_bytes()))
        );
        let signed = event["metadata"]["sequence"] != 9;
        assert_eq!(attestation.get("signatures").is_some(), signed);
        assert_eq!(event["unmapped"]["signed"], signed);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 6002, 6003]);
    // The validator itself: each of these breaks one rule of the schema.
    let good: Value = serde_json::from_str(answer.stdout.lines().nth(4).unwrap()).unwrap();
    let broken: [fn(&mut Value); 9] = [
        |e| e["api"] = serde_json::json!({}),
        |e| e["no_such_attribute"] = 1.into(),
        |e| e["severity_id"] = 17.into(),
        |e| e["type_uid"] = 600_301.into(),
        |e| e["time"] = "now".into(),
        |e| e["src_endpoint"] = serde_json::json!({ "port": 1 }),
        |e| e["attestation_list"][0]["fingerprint"] = Value::Null,
        |e| e["attestation_list"] = serde_json::json!({}),
        |e| e["metadata"]["profiles"] = serde_json::json!(["ai_operation", "security_control"]),
    ];
    for (number, breaks) in broken.iter().enumerate() {
        let mut event = good.clone();
        breaks(&mut event);
        assert!(!ocsf::faults(&schema, &event).is_empty(), "{number}");
    }
}

#[test]
fn the_filters_add_up() {
    let journal = journal();
    let seqs = |args: &[&str]| -> Vec<u64> {
        let mut all = vec!["--as", "jsonl"];
        all.extend(args);
        let answer = journal.export(&all).exits(0);
        let lines: Vec<Value> = answer
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let end = &lines[lines.len() - 1]["export"];
        let number = |key: &str| end[key].as_u64().unwrap();
        assert_eq!(
            number("read"),
            number("written") + number("filtered") + number("unsigned"),
            "{end}"
        );
        lines[..lines.len() - 1]
            .iter()
            .map(|line| line["seq"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(seqs(&["--agent", "bot"]), [2, 3, 4, 5]);
    assert_eq!(seqs(&["--tool", "stripe/*"]), [3, 5]);
    assert_eq!(seqs(&["--effect", "deny"]), [4]);
    assert_eq!(seqs(&["--from", "4", "--to", "5"]), [4, 5]);
    assert_eq!(
        seqs(&[
            "--since",
            "2026-11-20T12:00:02Z",
            "--until",
            "2026-11-20T12:00:04Z"
        ]),
        [2, 3]
    );
    assert_eq!(seqs(&["--until", "2026-11-20"]), Vec::<u64>::new());
    assert_eq!(seqs(&["--unsigned", "--tool", "crm/*"]), [4, 9]);
}

#[test]
fn nothing_is_exported_that_the_pinned_key_did_not_sign() {
    let journal = journal();
    let dir = journal.dir();
    faramesh(&["audit", "export", dir.to_str().unwrap(), "--as", "jsonl"])
        .exits(64)
        .says(&["no key is pinned"]);
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
    let name = KeyName::origin("shop", &other).unwrap();
    let other = PublicKey::new(name, &other).unwrap();
    fs::write(journal.key(), other.vkey()).unwrap();
    let answer = journal.export(&["--as", "csv"]).exits(65);
    assert_eq!(answer.stdout, "");

    // An edit in the second segment: the first was proven and stands, nothing of the second does.
    fs::write(journal.key(), journal.public.vkey()).unwrap();
    let second = dir.join(format!("{:020}.seg", 4));
    let good = fs::read(&second).unwrap();
    let at = good.windows(8).position(|w| w == b"crm/read").unwrap();
    let mut bad = good.clone();
    bad[at] = b'd';
    // As an attacker would: with the checksum put right.
    let mut forged = Vec::new();
    for item in frame::Frames::new(&good) {
        let frame::Item::Frame { at: place, frame } = item else {
            break;
        };
        match frame {
            frame::Frame::Record(_) if place.contains(&at) => {
                let len = u32::try_from(place.len() - frame::HEADER_LEN).unwrap();
                let mut payload = vec![1];
                payload.extend(len.to_be_bytes());
                let crc =
                    crc32c(&[&payload, &bad[place.start + frame::HEADER_LEN..place.end]].concat());
                forged.extend(&bad[place.start..place.start + 9]);
                forged.extend(crc.to_be_bytes());
                forged.extend(&bad[place.start + frame::HEADER_LEN..place.end]);
            }
            _ => forged.extend(&good[place]),
        }
    }
    fs::write(&second, forged).unwrap();
    let answer = journal
        .export(&["--as", "csv"])
        .exits(65)
        .says(&["not those that its checkpoint signs"]);
    assert_eq!(answer.stdout.lines().count(), 1 + 4);
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_file_appears_whole_beside_its_checkpoint_and_is_never_overwritten() {
    let journal = journal();
    let file = journal.temp.path().join("out.csv");
    let path = file.to_str().unwrap();
    let answer = journal
        .export(&["--as", "csv", "--out", path, "--format", "json"])
        .exits(0);
    assert_eq!(answer.json()["written"], 9);
    let note = fs::read(journal.temp.path().join("out.csv.note")).unwrap();
    assert_eq!(
        journal.public.open::<Checkpoint>(&note).unwrap().head.size,
        9
    );
    assert!(!journal.temp.path().join("out.csv.partial").exists());
    let before = fs::read(&file).unwrap();
    journal
        .export(&["--as", "jsonl", "--out", path])
        .exits(65)
        .says(&["exists already"]);
    assert_eq!(fs::read(&file).unwrap(), before);

    fs::write(journal.dir().join(format!("{:020}.seg", 4)), b"rubbish").unwrap();
    let torn = journal.temp.path().join("torn.csv");
    journal
        .export(&["--as", "csv", "--out", torn.to_str().unwrap()])
        .exits(0);
    let lost = journal.temp.path().join("lost.csv");
    fs::remove_file(journal.dir().join(format!("{:020}.seg", 0))).unwrap();
    journal
        .export(&["--as", "csv", "--out", lost.to_str().unwrap()])
        .exits(65);
    assert!(!lost.exists());
}

#[test]
fn a_journal_whose_beginning_was_removed_is_proven_by_its_tiles() {
    let mut journal = Journal::new();
    let mut builder = faramesh_core::tree::tiles::Builder::new();
    let dir = journal.dir();
    for seq in 0..300 {
        journal.push(&Body::Stop {
            reason: format!("{seq}"),
        });
        builder
            .push(journal.prev, |id, tile| {
                let path = dir.join(id.path());
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, tile.to_bytes()).unwrap();
            })
            .unwrap();
        if [200, 299].contains(&seq) {
            journal.note();
            journal.segment();
        }
    }
    fs::remove_file(dir.join(format!("{:020}.seg", 0))).unwrap();
    let answer = journal.export(&["--as", "jsonl"]).exits(0);
    assert_eq!(answer.stdout.lines().count(), 99 + 1);
    assert!(answer.stdout.starts_with("{\"seq\":201,"));
    let tile = dir.join("tile/0/000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[5] ^= 1;
    fs::write(&tile, bytes).unwrap();
    journal.export(&["--as", "jsonl"]).exits(65);
    fs::remove_file(&tile).unwrap();
    journal
        .export(&["--as", "jsonl"])
        .exits(65)
        .says(&["hash tiles"]);
}

/// As much of a validator for OCSF as these classes need: no attribute is unknown, required ones are there, values are of
/// their type and enumeration, constraints hold, a profile's attributes come with its name, numbers belong together.
mod ocsf {
    use serde_json::Value;

    pub(super) fn faults(schema: &Value, event: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        let classes = schema["classes"].as_object().unwrap();
        let Some(class) = classes
            .values()
            .find(|class| class["uid"] == event["class_uid"])
        else {
            return vec!["unknown class".into()];
        };
        if event["category_uid"] != class["category_uid"] {
            faults.push("category_uid is another class's".into());
        }
        if event["type_uid"].as_u64()
            != Some(
                class["uid"].as_u64().unwrap() * 100 + event["activity_id"].as_u64().unwrap_or(0),
            )
        {
            faults.push("type_uid is not class_uid * 100 + activity_id".into());
        }
        if event["metadata"]["version"] != schema["version"] {
            faults.push("another version".into());
        }
        let profiles: Vec<&str> = event["metadata"]["profiles"]
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        object(schema, class, event, "event", &profiles, &mut faults);
        faults
    }

    fn object(
        schema: &Value,
        of: &Value,
        value: &Value,
        path: &str,
        profiles: &[&str],
        faults: &mut Vec<String>,
    ) {
        let Some(object) = value.as_object() else {
            return faults.push(format!("{path}: no object"));
        };
        let attributes = of["attributes"].as_object().unwrap();
        for (name, rule) in attributes {
            if rule["requirement"] == "required" && !object.contains_key(name) {
                let asked = rule["profile"]
                    .as_str()
                    .is_none_or(|p| profiles.contains(&p));
                if asked {
                    faults.push(format!("{path}.{name}: required"));
                }
            }
        }
        if let Some(names) = of["constraints"]["at_least_one"].as_array()
            && !names
                .iter()
                .any(|name| object.contains_key(name.as_str().unwrap()))
        {
            faults.push(format!("{path}: at least one of {names:?}"));
        }
        for (name, value) in object {
            let path = format!("{path}.{name}");
            let Some(rule) = attributes.get(name) else {
                faults.push(format!("{path}: unknown"));
                continue;
            };
            if let Some(profile) = rule["profile"].as_str()
                && !profiles.contains(&profile)
            {
                faults.push(format!("{path}: profile {profile} is not named"));
            }
            if rule["is_array"] == true {
                match value.as_array() {
                    Some(list) => list
                        .iter()
                        .for_each(|item| one(schema, rule, item, &path, profiles, faults)),
                    None => faults.push(format!("{path}: no array")),
                }
            } else {
                one(schema, rule, value, &path, profiles, faults);
            }
        }
    }

    fn one(
        schema: &Value,
        rule: &Value,
        value: &Value,
        path: &str,
        profiles: &[&str],
        faults: &mut Vec<String>,
    ) {
        if let Some(members) = rule["enum"].as_array()
            && !members.contains(value)
        {
            faults.push(format!("{path}: {value} is no member"));
        }
        let name = rule["type"].as_str().unwrap();
        if let Some(of) = schema["objects"].get(name) {
            return object(schema, of, value, path, profiles, faults);
        }
        let base = schema["types"][name]["type"].as_str().unwrap_or(name);
        let fits = match base {
            "string_t" => value.is_string(),
            "integer_t" | "long_t" => value.is_i64() || value.is_u64(),
            "boolean_t" => value.is_boolean(),
            // Any JSON; the untyped object is where everything of one's own goes.
            "json_t" => true,
            "object" => value.is_object(),
            _ => false,
        };
        if !fits {
            faults.push(format!("{path}: {value} is no {name}"));
        }
    }
}
