//! JSON, a record a line: the journal's own bytes, in pure ASCII.
//!
//! A line is `{"seq", "leaf_hash", "signed", "erased", "record", "detail", "detail_salt"}`; the last one is `{"export"}` with
//! the checkpoint and the counts, so a file that was cut off shows it. Records and details are not read and written
//! again: what is not ASCII becomes `\u` escapes, which mean the same, and RFC 8785 gives the hashed bytes back. The
//! salt of the arguments stays in the journal: with it somebody could guess what redaction hides.
#![forbid(unsafe_code)]

use super::{Form, Row, Summary};
use crate::output::{ascii_escaped, ascii_json};
use faramesh_core::checkpoint::hex;
use serde::Serialize;
use std::io::{self, Write};

pub(super) struct Jsonl {
    out: Box<dyn Write>,
    line: String,
}

#[derive(Serialize)]
struct End<'a> {
    export: &'a Summary<'a>,
}

impl Jsonl {
    pub(super) fn new(out: Box<dyn Write>) -> Jsonl {
        Jsonl {
            out,
            line: String::new(),
        }
    }
}

impl Form for Jsonl {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let line = &mut self.line;
        line.clear();
        line.push_str(&format!(
            "{{\"seq\":{},\"leaf_hash\":\"{}\",\"signed\":{},\"erased\":{},\"record\":",
            row.seq,
            hex(&row.leaf),
            row.signed,
            row.is_erased()
        ));
        json(row.stored.record, line)?;
        line.push_str(",\"detail\":");
        if row.stored.detail.is_empty() {
            line.push_str("null,\"detail_salt\":null}\n");
        } else {
            json(row.stored.detail, line)?;
            line.push_str(&format!(
                ",\"detail_salt\":\"{}\"}}\n",
                hex(row.stored.detail_salt)
            ));
        }
        self.out.write_all(line.as_bytes())
    }

    fn end(&mut self, summary: &Summary<'_>) -> io::Result<()> {
        writeln!(self.out, "{}", ascii_json(&End { export: summary }))?;
        self.out.flush()
    }
}

/// JSON that stood in the journal: a record is canonical, because it was decoded; a detail is checked here, so that
/// bytes that are none never make a line that is no JSON.
fn json(bytes: &[u8], line: &mut String) -> io::Result<()> {
    let none =
        |why: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, why.to_string());
    let text = std::str::from_utf8(bytes).map_err(|e| none(&e))?;
    serde_json::from_str::<&serde_json::value::RawValue>(text).map_err(|e| none(&e))?;
    ascii_escaped(text, line);
    Ok(())
}
