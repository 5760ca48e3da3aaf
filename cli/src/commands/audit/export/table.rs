//! A table: RFC 4180, with a first line of names, CRLF at the end of each.
//!
//! Spreadsheets run what begins with `=`, `+`, `-`, `@`, a tab or a carriage return; such a cell gets an apostrophe in
//! front. Control characters and what reorders text are written as escapes, so a record is one line and nothing acts on
//! a terminal. The arguments are canonical JSON, in which a backslash is an escape already.
#![forbid(unsafe_code)]

use super::signed::Covering;
use super::{Form, Row, Summary};
use crate::untrusted::whole;
use faramesh_core::checkpoint::hex;
use faramesh_core::record::{BodyView, Door};
use std::borrow::Cow;
use std::io::{self, Write};

/// The columns. They are only added to, at the end.
const COLUMNS: &[&str] = &[
    "seq",
    "time",
    "kind",
    "agent",
    "tool",
    "effect",
    "code",
    "would",
    "door",
    "session",
    "uid",
    "attested",
    "mode",
    "rule",
    "message",
    "arguments",
    "text",
    "policy",
    "boot_ms",
    "leaf_hash",
    "prev_leaf_hash",
    "signed",
    "erased",
    "checkpoint_size",
    "checkpoint_root",
];

pub(super) struct Table {
    out: csv::Writer<Box<dyn Write>>,
    head: [String; 2],
    begun: bool,
}

impl Table {
    pub(super) fn new(out: Box<dyn Write>, head: Option<&Covering>) -> Table {
        Table {
            out: csv::WriterBuilder::new()
                .terminator(csv::Terminator::CRLF)
                .from_writer(out),
            head: head.map_or_else(Default::default, |covering| {
                [covering.head.size.to_string(), hex(&covering.head.root)]
            }),
            begun: false,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.out.write_record(COLUMNS)?;
        }
        Ok(())
    }
}

impl Form for Table {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.begin()?;
        let header = &row.view.header;
        let detail = row.detail();
        let rule = detail.as_ref().and_then(|detail| detail.rule);
        let [size, root] = &self.head;
        let covered = |text: &String| {
            if row.signed {
                text.clone()
            } else {
                String::new()
            }
        };
        let mut cells: Vec<Cow<'_, str>> = vec![
            row.seq.to_string().into(),
            super::super::time(header.time.wall_ms).into(),
            super::super::kind(&row.view.body).into(),
        ];
        match &row.view.body {
            BodyView::Decision(d) => cells.extend([
                d.agent.as_str().into(),
                d.tool.as_str().into(),
                d.effect.as_str().into(),
                d.code.map_or("", |code| code.as_str()).into(),
                d.would.map_or("", |would| would.as_str()).into(),
                door(d.door).into(),
                d.session.as_deref().unwrap_or_default().into(),
                d.uid.to_string().into(),
                d.attested.to_string().into(),
            ]),
            BodyView::SessionStart(s) => cells.extend([
                s.agent.as_str().into(),
                "".into(),
                "".into(),
                "".into(),
                "".into(),
                "".into(),
                s.session.as_str().into(),
                s.uid.to_string().into(),
                "".into(),
            ]),
            _ => cells.extend(std::iter::repeat_n(Cow::Borrowed(""), 9)),
        }
        cells.push(header.mode.as_str().into());
        cells.push(
            rule.map_or_else(String::new, |rule| rule.to_string())
                .into(),
        );
        let mut cells: Vec<Cow<'_, str>> = cells.iter().map(|cell| safe(cell, false)).collect();
        let text =
            |of: fn(&super::Detail<'_>) -> String| detail.as_ref().map_or_else(String::new, of);
        cells.push(
            safe(&text(|d| d.message.to_string()), false)
                .into_owned()
                .into(),
        );
        cells.push(
            safe(&text(|d| d.args.to_string()), true)
                .into_owned()
                .into(),
        );
        cells.push(safe(&row.text, true));
        cells.extend([
            match &row.view.body {
                BodyView::Decision(d) => crate::policies::digest_text(&d.policy).into(),
                BodyView::Activation(a) => crate::policies::digest_text(&a.digest).into(),
                _ => "".into(),
            },
            header.time.boot_ms.to_string().into(),
            hex(&row.leaf).into(),
            hex(&header.prev).into(),
            row.signed.to_string().into(),
            row.is_erased().to_string().into(),
            covered(size).into(),
            covered(root).into(),
        ]);
        Ok(self
            .out
            .write_record(cells.iter().map(|cell| cell.as_bytes()))?)
    }

    fn end(&mut self, _: &Summary<'_>) -> io::Result<()> {
        self.begin()?;
        self.out.flush()
    }
}

const fn door(door: Door) -> &'static str {
    door.as_str()
}

/// A cell that no spreadsheet runs and no terminal obeys. A width that only East Asian fonts know makes an equals sign
/// of some spreadsheets too.
fn safe(cell: &str, written: bool) -> Cow<'_, str> {
    const RUNS: &[char] = &['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];
    let harmless = whole(cell, written);
    if cell.trim_start_matches(' ').starts_with(RUNS) {
        return format!("'{harmless}").into();
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_a_formula_and_none_holds_a_control_character() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"] {
            assert!(safe(formula, false).starts_with('\''), "{formula:?}");
        }
        assert_eq!(safe("a=b", false), "a=b");
        let hostile = safe("x\u{1b}[2J\r\n\u{202e}\u{9b}", false);
        assert_eq!(hostile, "x\\u{1b}[2J\\r\\n\\u{202e}\\u{9b}");
    }
}
