//! Open Cybersecurity Schema Framework 1.9.0, an event a line, in pure ASCII.
//!
//! A decision is an API Activity (6003), the daemon's start and stop an Application Lifecycle (6002), everything else a
//! Base Event. The profile `record_integrity` carries what the journal proves: `attestation.fingerprint` is the RFC 6962
//! leaf hash of `raw_data`, which is the record in its canonical bytes, `prev_event` the one before, `chain_uid` the
//! journal's origin, and `signatures` names the tree head whose checkpoint covers the event. A test validates every kind
//! against the published schema.
#![forbid(unsafe_code)]

use super::signed::Covering;
use super::{Form, Row, Summary};
use crate::output::ascii_json;
use faramesh_core::checkpoint::hex;
use faramesh_core::decision::Effect;
use faramesh_core::record::{BodyView, DecisionView, Door};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// Of the schema.
const VERSION: &str = "1.9.0";
/// `algorithm_id` where the schema has no number for it.
const OTHER: u8 = 99;
/// `algorithm_id` of SHA-256.
const SHA_256: u8 = 3;

pub(super) struct Ocsf {
    out: Box<dyn Write>,
    head: Option<(String, u64, String)>,
}

impl Ocsf {
    pub(super) fn new(out: Box<dyn Write>, head: Option<&Covering>) -> Ocsf {
        Ocsf {
            out,
            head: head.map(|covering| {
                let head = covering.head;
                (covering.origin.clone(), head.size, hex(&head.root))
            }),
        }
    }

    fn event(&self, row: &Row<'_>) -> Value {
        let mut event = match &row.view.body {
            BodyView::Decision(decision) => decided(row, decision),
            BodyView::Start(_) => lifecycle(3, "Start"),
            BodyView::Stop { .. } => lifecycle(4, "Stop"),
            _ => base(row),
        };
        let header = &row.view.header;
        let mut profiles = vec!["record_integrity"];
        if event.contains_key("api") {
            profiles.extend(["ai_operation", "security_control"]);
        }
        let raw = String::from_utf8_lossy(row.stored.record);
        event.insert("time".into(), json!(header.time.wall_ms));
        event.insert("message".into(), json!(row.text));
        event.insert(
            "metadata".into(),
            json!({
                "version": VERSION,
                "profiles": profiles,
                "product": product("Faramesh"),
                "uid": self.uid(row, row.seq),
                "sequence": row.seq,
                "event_code": super::super::kind(&row.view.body),
                "log_name": self.chain(row),
                "original_time": super::super::time(header.time.wall_ms),
            }),
        );
        event.insert("attestation_list".into(), json!([self.attestation(row)]));
        event.insert(
            "raw_data_hash".into(),
            json!({
                "algorithm_id": SHA_256,
                "algorithm": "SHA-256",
                "value": hex(&Sha256::digest(row.stored.record)),
            }),
        );
        event.insert("raw_data_size".into(), json!(row.stored.record.len()));
        event.insert("raw_data".into(), json!(raw));
        event.insert("unmapped".into(), self.unmapped(row));
        Value::Object(event)
    }

    /// The journal's origin; without a pinned key only the stack's name is known.
    fn chain<'a>(&'a self, row: &'a Row<'_>) -> &'a str {
        match &self.head {
            Some((origin, _, _)) => origin,
            None => &row.view.header.stack,
        }
    }

    fn uid(&self, row: &Row<'_>, seq: u64) -> String {
        format!("{}/{seq}", self.chain(row))
    }

    fn attestation(&self, row: &Row<'_>) -> Value {
        let leaf = |value: &[u8; 32]| {
            json!({
                "algorithm_id": OTHER,
                "algorithm": "SHA-256, RFC 6962 leaf hash of raw_data",
                "value": hex(value),
            })
        };
        let mut attestation = json!({
            "uid": self.uid(row, row.seq),
            "chain_uid": self.chain(row),
            "authority_uid": self.chain(row),
            "fingerprint": leaf(&row.leaf),
        });
        if let Some(before) = row.seq.checked_sub(1) {
            set(
                &mut attestation,
                "prev_event",
                json!({
                    "uid": self.uid(row, before),
                    "fingerprint": leaf(&row.view.header.prev),
                }),
            );
        }
        if let (Some((_, size, root)), true) = (&self.head, row.signed) {
            set(
                &mut attestation,
                "signatures",
                json!([{
                    "algorithm_id": OTHER,
                    "algorithm": "Ed25519 over a C2SP tlog-checkpoint",
                    "digest": {
                        "algorithm_id": OTHER,
                        "algorithm": format!("SHA-256, RFC 6962 root of {size} records"),
                        "value": root,
                    },
                }]),
            );
        }
        attestation
    }

    fn unmapped(&self, row: &Row<'_>) -> Value {
        let header = &row.view.header;
        let mut unmapped = json!({
            "seq": row.seq,
            "stack": header.stack,
            "mode": header.mode.as_str(),
            "boot_ms": header.time.boot_ms,
            "signed": row.signed,
            "erased": row.is_erased(),
        });
        if let (Some((_, size, root)), true) = (&self.head, row.signed) {
            set(
                &mut unmapped,
                "checkpoint",
                json!({ "size": size, "root": root }),
            );
        }
        if let BodyView::Decision(decision) = &row.view.body {
            set(&mut unmapped, "door", json!(decision.door.as_str()));
            set(&mut unmapped, "attested", json!(decision.attested));
            set(
                &mut unmapped,
                "would",
                json!(decision.would.map(Effect::as_str)),
            );
            set(
                &mut unmapped,
                "rule",
                json!(row.detail().and_then(|detail| detail.rule)),
            );
        }
        unmapped
    }
}

impl Form for Ocsf {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        writeln!(self.out, "{}", ascii_json(&self.event(row)))
    }

    fn end(&mut self, _: &Summary<'_>) -> io::Result<()> {
        self.out.flush()
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn product(name: &str) -> Value {
    json!({ "name": name, "vendor_name": "Faramesh", "version": env!("CARGO_PKG_VERSION") })
}

/// What every class has: its numbers and words, which belong together.
fn class(
    (class_uid, class_name): (u32, &str),
    (category_uid, category_name): (u32, &str),
    (activity_id, activity_name, type_name): (u32, &str, &str),
    (severity_id, severity): (u32, &str),
) -> Map<String, Value> {
    let event = json!({
        "activity_id": activity_id,
        "activity_name": activity_name,
        "category_uid": category_uid,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "type_uid": class_uid * 100 + activity_id,
        "type_name": type_name,
        "severity_id": severity_id,
        "severity": severity,
    });
    match event {
        Value::Object(event) => event,
        _ => Map::new(),
    }
}

fn decided(row: &Row<'_>, decision: &DecisionView) -> Map<String, Value> {
    let severity = match decision.effect {
        Effect::Permit => (1, "Informational"),
        Effect::Defer => (2, "Low"),
        Effect::Deny => (3, "Medium"),
    };
    let mut event = class(
        (6003, "API Activity"),
        (6, "Application Activity"),
        (99, "Tool Call", "API Activity: Other"),
        severity,
    );
    // A probe performs nothing, and in shadow mode what would have been is only watched.
    let watched = decision.door == Door::Probe || decision.would.is_some();
    let (action_id, action, disposition_id, disposition) = match decision.effect {
        Effect::Permit if watched => (3, "Observed", 1, "Allowed"),
        Effect::Permit => (1, "Allowed", 1, "Allowed"),
        Effect::Defer => (99, "Deferred", 99, "Deferred"),
        Effect::Deny => (2, "Denied", 2, "Blocked"),
    };
    let session = decision.session.as_deref();
    let mut request = json!({ "uid": row.seq.to_string() });
    let detail = row.detail();
    if let Some(detail) = &detail {
        // A string: other readers would round the numbers in it.
        set(&mut request, "data", json!(detail.args));
    }
    let mut actor = json!({
        "app_name": decision.agent,
        "user": { "uid": decision.uid.to_string() },
    });
    let mut agent = json!({ "uid": decision.agent, "name": decision.agent });
    if let Some(session) = session {
        set(&mut actor, "session", json!({ "uid": session }));
        set(&mut agent, "instance_uid", json!(session));
    }
    for (key, value) in [
        ("action_id", json!(action_id)),
        ("action", json!(action)),
        ("disposition_id", json!(disposition_id)),
        ("disposition", json!(disposition)),
        ("actor", actor),
        ("ai_agent", agent),
        (
            "api",
            json!({ "operation": decision.tool, "request": request }),
        ),
        // The caller came by a socket of this host, in this stack.
        ("src_endpoint", json!({ "name": row.view.header.stack })),
        (
            "policy",
            json!({ "uid": crate::policies::digest_text(&decision.policy), "is_applied": true }),
        ),
    ] {
        event.insert(key.into(), value);
    }
    if let Some(code) = decision.code {
        event.insert("status_code".into(), json!(code.as_str()));
    }
    if let Some(detail) = detail.filter(|detail| !detail.message.is_empty()) {
        event.insert("status_detail".into(), json!(detail.message));
    }
    event
}

fn lifecycle(activity_id: u32, activity: &str) -> Map<String, Value> {
    let mut event = class(
        (6002, "Application Lifecycle"),
        (6, "Application Activity"),
        (
            activity_id,
            activity,
            &format!("Application Lifecycle: {activity}"),
        ),
        (1, "Informational"),
    );
    event.insert("app".into(), product("farameshd"));
    event
}

fn base(row: &Row<'_>) -> Map<String, Value> {
    class(
        (0, "Base Event"),
        (0, "Uncategorized"),
        (99, super::super::kind(&row.view.body), "Base Event: Other"),
        (1, "Informational"),
    )
}
