//! What a call can bring, as far as the tests can tell it apart.
//!
//! A *variable* is something of a call that has a value of its own: an argument with its length, or a fact. Its
//! *classes* are the combinations of answers that the tests on it can have together, each with a value that gives it.
//! Where the classes are all that there are, the variable is *complete*:
//!
//! - numbers: every bound that a test names, and a number in each gap between them and beyond;
//! - texts: every combination that the product of the tests' automata reaches, regular expressions included;
//! - lists: the answers of one element each, joined as often as that changes anything;
//! - booleans, objects, absence; facts within the range that they have.
//!
//! The answers themselves come from the real evaluator ([`super::oracle`]), so a value can be in a wrong class only if it
//! was never tried: a text that the automata and the evaluator answer differently for makes the variable incomplete.
//! Parts of a date are no free choice beside each other, so a class of them keeps everything that it stands for.

use super::Limits;
use super::automaton::{self, Alphabet, Found, Shape, Tests};
use super::dates;
use super::oracle::{Asked, Probe, UNKNOWN, YES};
use faramesh_core::decimal::Decimal;
use faramesh_core::json;
use faramesh_core::policy::artifact::{Ask, Field, Glob, Literal, SessionPart, TimePart};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Lists of up to this many elements are tried; longer ones repeat an element.
const ELEMENTS_MAX: usize = 6;
/// Combinations of answers that lists are joined to.
const LISTS_MAX: usize = 256;
/// Lengths up to here are told apart one by one.
const LENGTH_MAX: u32 = 48;
/// A text longer than what an expression searches; a test of it is maybe.
const LONG_TEXT_BYTES: usize = 33 * 1024;
/// Values that a variable keeps beside its classes for tests between variables.
const RAW_MAX: usize = 24;

/// What has a value of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Argument(Vec<String>),
    Fact(Field),
    /// The answer to a test that is left open, by the test's number.
    Open(u32),
}

impl Key {
    /// What a field is about; `None` for the tool and the agent, which stand fast in a class of calls.
    pub(super) fn of(field: &Field) -> Option<Key> {
        Some(match field {
            Field::Args(path) | Field::Length(path) => Key::Argument(path.clone()),
            Field::Purpose => Key::Argument(vec!["purpose".to_owned()]),
            Field::Tool | Field::Action | Field::Agent | Field::Calculated(_) => return None,
            fact => Key::Fact(fact.clone()),
        })
    }
}

/// Where a value stands in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Absent,
    Object,
    Other,
}

/// One combination of answers.
#[derive(Debug, Clone)]
pub(super) struct Class {
    /// For each of the variable's tests, which answers are possible.
    pub(super) answers: Vec<u8>,
    /// A value; `None` with [`Form::Absent`]: it is not there.
    pub(super) value: Option<String>,
    pub(super) form: Form,
    /// Of a part of a date: everything that it stands for. Else nothing.
    pub(super) members: Vec<i64>,
}

/// Something of a call that has a value of its own.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub(super) key: Key,
    /// Global numbers of its tests.
    pub(super) tests: Vec<u32>,
    pub(super) classes: Vec<Class>,
    /// Whether there are no other combinations; else why not.
    pub(super) incomplete: Option<&'static str>,
}

/// A value to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    value: Option<String>,
    form: Form,
}

impl Candidate {
    pub(super) fn of(value: impl Into<String>) -> Candidate {
        let value = value.into();
        Candidate {
            form: if value.starts_with('{') {
                Form::Object
            } else {
                Form::Other
            },
            value: Some(value),
        }
    }

    const ABSENT: Candidate = Candidate {
        value: None,
        form: Form::Absent,
    };
}

/// Builds a variable of its tests.
pub(super) struct Builder<'b> {
    pub(super) key: &'b Key,
    /// Global number and probe of each test on it alone.
    pub(super) tests: &'b [(u32, &'b Probe)],
    /// Asks of tests that it shares with other variables: their constants are worth trying.
    pub(super) shared: &'b [&'b Probe],
    /// Texts that are worth trying beside: paths.
    pub(super) texts: &'b [String],
    /// Further arguments are below it.
    pub(super) has_parts: bool,
    pub(super) limits: &'b Limits,
}

impl Builder<'_> {
    pub(super) fn build(&self) -> Variable {
        let mut incomplete = None;
        let mut candidates = self.candidates(&mut incomplete);
        if self.has_parts
            && self
                .asks()
                .any(|(field, _)| matches!(field, Field::Length(_)))
        {
            incomplete = Some("the length of an object whose parts are asked for");
        }
        candidates.dedup();
        let mut classes: Vec<Class> = Vec::new();
        let mut seen = HashSet::new();
        let mut raw = 0;
        for candidate in candidates {
            let answers: Vec<u8> = self
                .tests
                .iter()
                .map(|(_, probe)| probe.answer(&self.asked(&candidate)))
                .collect();
            let new = seen.insert((answers.clone(), candidate.form));
            // Tests between variables tell apart what the tests on this one do not.
            let keep = !self.shared.is_empty() && raw < RAW_MAX;
            if new || keep {
                raw += usize::from(!new);
                classes.push(Class {
                    answers: answers.clone(),
                    value: candidate.value.clone(),
                    form: candidate.form,
                    members: Vec::new(),
                });
            }
            if let Some((part, number)) = self.part_of_date(&candidate) {
                // The one that was just added, or the last that is the same.
                let own = classes.iter_mut().rev().find(|c| c.answers == answers);
                if let Some(class) = own {
                    dates::add(part, &mut class.members, number);
                }
            }
        }
        Variable {
            key: self.key.clone(),
            tests: self.tests.iter().map(|(number, _)| *number).collect(),
            classes,
            incomplete,
        }
    }

    fn part_of_date(&self, candidate: &Candidate) -> Option<(TimePart, i64)> {
        match self.key {
            Key::Fact(Field::Time(part)) if dates::PARTS.contains(part) => {
                Some((*part, candidate.value.as_ref()?.parse().ok()?))
            }
            _ => None,
        }
    }

    fn asked(&self, candidate: &Candidate) -> Asked {
        let values = [(self.key.clone(), candidate.value.clone())];
        asked(
            super::oracle::PROBED_TOOL,
            "x",
            values.iter().map(|(key, value)| (key, value.as_deref())),
        )
    }

    fn asks(&self) -> impl Iterator<Item = (&Field, &Ask)> {
        let own = self.tests.iter().map(|(_, probe)| *probe);
        own.filter_map(|probe| Some((probe.fields.first()?, probe.ask.as_ref()?)))
    }

    fn candidates(&self, incomplete: &mut Option<&'static str>) -> Vec<Candidate> {
        let numbers = self.numbers(incomplete);
        let Key::Fact(field) = self.key else {
            return self.of_any_type(numbers, incomplete);
        };
        let mut facts: Vec<Candidate> = match field {
            Field::Time(part) => return self.times(*part, numbers),
            Field::Session(_) | Field::Count { .. } | Field::Denials { .. } | Field::Sum { .. } => {
                self.in_range(numbers, session_range(field))
            }
            Field::Port => self.in_range(numbers, (1, 65_535, true)),
            Field::Enforcement(_) => ["true", "false"].map(Candidate::of).to_vec(),
            Field::Model | Field::Host | Field::Method | Field::Path | Field::Door => {
                self.strings(incomplete)
            }
            Field::Query(_) | Field::Header(_) => self.strings(incomplete),
            _ => return self.of_any_type(numbers, incomplete),
        };
        facts.push(Candidate::ABSENT);
        facts
    }

    fn of_any_type(
        &self,
        numbers: Vec<String>,
        incomplete: &mut Option<&'static str>,
    ) -> Vec<Candidate> {
        let numbers = numbers.into_iter().map(Candidate::of);
        let texts = self.strings(incomplete);
        let lists = self.lists(incomplete);
        let booleans = ["true", "false"].map(Candidate::of);
        let objects = self.lengths().into_iter().map(object_of).map(Candidate::of);
        // What the tests are about comes first, so that a witness is a call that somebody would make.
        let mut all: Vec<Candidate> = Vec::new();
        let about = |wanted: fn(&Ask) -> bool| self.asks().any(|(_, ask)| wanted(ask));
        if about(|ask| matches!(ask, Ask::IsTrue | Ask::Equals(Literal::Bool(_)))) {
            all.extend(booleans.clone());
        }
        let text_first = about(|ask| {
            !matches!(
                ask,
                Ask::Has | Ask::Compare(..) | Ask::Equals(Literal::Number(_)) | Ask::IsTrue
            )
        });
        let text_first = text_first || self.tests.iter().any(|(_, probe)| probe.is_of_paths());
        let (long, short): (Vec<_>, Vec<_>) = texts.into_iter().partition(|text| {
            text.value
                .as_ref()
                .is_some_and(|v| v.len() > LONG_TEXT_BYTES)
        });
        if text_first {
            all.extend(short.clone());
        }
        all.extend(numbers);
        if about(|ask| matches!(ask, Ask::Has)) {
            all.extend(short.first().cloned());
        }
        all.push(Candidate::ABSENT);
        all.extend(short);
        all.extend(booleans);
        all.extend(lists);
        all.extend(objects);
        all.extend(long);
        unique(all)
    }

    /// Every bound that is asked for, and numbers between and beyond.
    fn numbers(&self, incomplete: &mut Option<&'static str>) -> Vec<String> {
        let mut bounds: BTreeSet<Decimal> = BTreeSet::new();
        let shared = self.shared.iter().filter_map(|probe| probe.ask.as_ref());
        for ask in self
            .asks()
            .filter(|(field, _)| !matches!(field, Field::Length(_)))
            .map(|(_, ask)| ask)
            .chain(shared)
        {
            match ask {
                Ask::Equals(Literal::Number(number)) | Ask::Compare(_, number) => {
                    bounds.insert(number.clone());
                }
                Ask::In(list) => bounds.extend(list.iter().filter_map(|item| match item {
                    Literal::Number(number) => Some(number.clone()),
                    _ => None,
                })),
                _ => {}
            }
        }
        let mut found = Vec::new();
        match gaps(&bounds) {
            Some(gaps) => found.extend(gaps),
            None => *incomplete = Some("numbers with many digits"),
        }
        found.extend(bounds.iter().map(Decimal::to_string));
        // For schemas, whose kinds may bound a number.
        found.extend(["1", "0", "-1", "0.5"].map(str::to_owned));
        found
    }

    /// A number that is a whole one of a range, and absence where that can be.
    fn in_range(
        &self,
        numbers: Vec<String>,
        (least, most, whole): (i64, i64, bool),
    ) -> Vec<Candidate> {
        let mut found: Vec<String> = Vec::new();
        for text in numbers.iter().map(String::as_str).chain(["0", "1"]) {
            if !whole {
                found.push(text.to_owned());
                continue;
            }
            let before_point = text.split(['.', 'e']).next().unwrap_or(text);
            let Ok(number) = before_point.parse::<i64>() else {
                continue;
            };
            found.extend((-1..=1).map(|by| number.saturating_add(by).to_string()));
        }
        let fits = |text: &String| {
            let number = Decimal::parse(text).ok();
            let bound = |value: i64| Decimal::parse(&value.to_string()).ok();
            number >= bound(least) && number <= bound(most)
        };
        found.retain(fits);
        unique(found.into_iter().map(Candidate::of).collect())
    }

    /// A part of the time is always there, and within its range.
    fn times(&self, part: TimePart, numbers: Vec<String>) -> Vec<Candidate> {
        let all = |from: i64, to: i64| (from..=to).map(|n| Candidate::of(n.to_string())).collect();
        match part {
            TimePart::Hour => all(0, 23),
            TimePart::Minute => all(0, 59),
            TimePart::Weekday => all(1, 7),
            TimePart::Day => all(1, 31),
            TimePart::Month => all(1, 12),
            TimePart::Year => dates::years(
                numbers
                    .iter()
                    .filter_map(|text| text.split('.').next()?.parse().ok()),
            ),
            TimePart::Now => {
                let mut now: Vec<Candidate> = all(1_800_000_000, 1_800_000_000);
                now.extend(self.in_range(numbers, (0, i64::MAX, true)));
                now
            }
        }
    }

    /// Every combination of answers that a text can give.
    fn strings(&self, incomplete: &mut Option<&'static str>) -> Vec<Candidate> {
        let mut tests = Tests::default();
        let mut expressions = false;
        for (number, (field, ask)) in (0..).zip(self.asks()) {
            if matches!(field, Field::Length(_)) {
                continue;
            }
            expressions |= matches!(ask, Ask::Matches(_));
            add_text_test(&mut tests, number, ask, incomplete, false);
        }
        tests.count_to = self.longest(incomplete);
        let walk = automaton::walk(tests, Alphabet::Text, self.limits);
        if !walk.complete {
            *incomplete = Some(if expressions {
                "a regular expression that is too large to follow"
            } else {
                "too many combinations of texts"
            });
        }
        if walk.found.iter().any(|found| self.is_otherwise(found)) {
            *incomplete = Some("texts that the evaluator tells apart otherwise");
        }
        let mut texts: Vec<String> = walk.found.into_iter().map(|found| found.text).collect();
        texts.extend(self.texts.iter().cloned());
        for probe in self.shared {
            texts.extend(probe.ask.iter().flat_map(text_of).map(str::to_owned));
        }
        if expressions {
            texts.extend(self.long_texts(&texts));
        }
        texts.sort_by_key(|text| text.is_empty() || text.len() > LONG_TEXT_BYTES);
        texts
            .into_iter()
            .map(|text| Candidate::of(quoted(&text)))
            .collect()
    }

    /// Whether the evaluator gives a text other answers than the automata.
    fn is_otherwise(&self, found: &Found) -> bool {
        let asked = self.asked(&Candidate::of(quoted(&found.text)));
        let put = self.tests.iter().map(|(_, probe)| *probe);
        let put = put.filter(|probe| !probe.fields.is_empty() && probe.ask.is_some());
        (0..).zip(put).any(|(number, probe)| {
            let is_walked = probe.ask.as_ref().is_some_and(is_of_texts)
                && !matches!(probe.fields.first(), Some(Field::Length(_)));
            // A list of numbers is *maybe* for every text; only *yes* is told apart.
            is_walked
                && probe
                    .answer_of_rule(&asked)
                    .is_some_and(|answer| (answer == YES) != found.yes.contains(&number))
        })
    }

    /// What an expression does not search: found texts, made long at each place.
    fn long_texts(&self, texts: &[String]) -> Vec<String> {
        let padding = "x".repeat(LONG_TEXT_BYTES);
        let mut long = vec![padding.clone()];
        for text in texts.iter().take(RAW_MAX) {
            for at in [0, text.len() / 2, text.len()] {
                if let Some((head, tail)) = text.split_at_checked(at) {
                    long.push(format!("{head}{padding}{tail}"));
                }
            }
        }
        long
    }

    /// The longest length that a test names, and two more; 0 where none does.
    fn longest(&self, incomplete: &mut Option<&'static str>) -> u32 {
        let mut longest = 0;
        for (field, ask) in self.asks() {
            if !matches!(field, Field::Length(_)) {
                continue;
            }
            for number in numbers_of(ask) {
                let text = number.to_string();
                let whole = text.split('.').next().unwrap_or("0");
                match whole.parse::<i64>() {
                    Ok(length) if length <= i64::from(LENGTH_MAX) => {
                        longest = longest.max(u32::try_from(length.max(0)).unwrap_or(0) + 2);
                    }
                    _ => {
                        *incomplete = Some("a length beyond what is tried");
                        longest = LENGTH_MAX;
                    }
                }
            }
        }
        longest
    }

    fn lengths(&self) -> Vec<usize> {
        let longest = self.longest(&mut None) as usize;
        let mut lengths: Vec<usize> = (0..=longest).collect();
        if longest == 0 {
            lengths.push(1);
        }
        lengths
    }

    /// Every combination of answers that a list can give: those of single elements, joined.
    fn lists(&self, incomplete: &mut Option<&'static str>) -> Vec<Candidate> {
        let mut elements: Vec<String> = Vec::new();
        let mut tests = Tests::default();
        let mut about_lists = false;
        for (number, (_, ask)) in (0..).zip(self.asks()) {
            match ask {
                Ask::Contains(Literal::String(text)) => {
                    about_lists = true;
                    tests.shape(number, Shape::default().text(text));
                }
                Ask::Contains(Literal::Number(wanted)) => {
                    about_lists = true;
                    elements.push(wanted.to_string());
                }
                Ask::Contains(Literal::Bool(_)) => about_lists = true,
                Ask::AnyGlob(glob) => {
                    about_lists = true;
                    tests.shape(number, Shape::glob(glob));
                }
                _ => {}
            }
        }
        let lengths = self.lengths();
        if !about_lists {
            return lengths
                .into_iter()
                .map(|n| list_of(&vec!["0"; n]))
                .collect();
        }
        let walk = automaton::walk(tests, Alphabet::Text, self.limits);
        if !walk.complete {
            *incomplete = Some("too many combinations of elements");
        }
        elements.splice(0..0, walk.found.iter().map(|found| quoted(&found.text)));
        elements.extend(["7001", "true", "false", "null", "[]", "{}"].map(str::to_owned));
        self.joined(&elements, &lengths, incomplete)
    }

    fn joined(
        &self,
        elements: &[String],
        lengths: &[usize],
        incomplete: &mut Option<&'static str>,
    ) -> Vec<Candidate> {
        let answers = |list: &[&str]| -> Vec<u8> {
            let asked = self.asked(&list_of(list));
            let asks = self.tests.iter();
            asks.map(|(_, probe)| match probe.fields.first() {
                Some(Field::Length(_)) => 0,
                _ => probe.answer(&asked),
            })
            .collect()
        };
        let mut singles: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
        for element in elements {
            singles.entry(answers(&[element])).or_insert(element);
        }
        let mut known: BTreeMap<Vec<u8>, Vec<&str>> = BTreeMap::new();
        let mut newest: Vec<Vec<&str>> = vec![Vec::new()];
        let mut candidates = vec![Candidate::of("[]")];
        for _ in 0..ELEMENTS_MAX {
            let mut next = Vec::new();
            for list in &newest {
                for element in singles.values() {
                    let mut longer = list.clone();
                    longer.push(element);
                    let of_longer = answers(&longer);
                    if !known.contains_key(&of_longer) && known.len() < LISTS_MAX {
                        known.insert(of_longer, longer.clone());
                        next.push(longer);
                    } else if known.len() >= LISTS_MAX {
                        *incomplete = Some("too many combinations of elements");
                    }
                }
            }
            newest = next;
        }
        if !newest.is_empty() {
            *incomplete = Some("too many combinations of elements");
        }
        for list in known.values() {
            let last = list.last().copied().unwrap_or("0");
            let mut lengths: Vec<usize> = lengths.to_vec();
            lengths.push(list.len());
            for length in lengths.into_iter().filter(|length| *length >= list.len()) {
                let mut long = list.clone();
                long.resize(length, last);
                candidates.push(list_of(&long));
            }
        }
        unique(candidates)
    }
}

/// Adds a test of a text to a walk. `last` where it is about a name's last part.
pub(super) fn add_text_test(
    tests: &mut Tests,
    number: u32,
    ask: &Ask,
    incomplete: &mut Option<&'static str>,
    last: bool,
) {
    let mut shape = |shape: Shape| {
        if last {
            tests.shape_of_last(number, shape);
        } else {
            tests.shape(number, shape);
        }
    };
    let plain = Shape::default;
    match ask {
        Ask::Equals(Literal::String(text)) => shape(plain().text(text)),
        Ask::In(list) => {
            for item in list {
                if let Literal::String(text) = item {
                    shape(plain().text(text));
                }
            }
        }
        Ask::Contains(Literal::String(text)) => shape(plain().any().text(text).any()),
        Ask::StartsWith(text) => shape(plain().text(text).any()),
        Ask::EndsWith(text) => shape(plain().any().text(text)),
        Ask::Glob(Glob::Text, glob) => shape(Shape::glob(glob)),
        Ask::Glob(Glob::Path, glob) => shape(Shape::pattern(glob)),
        Ask::Glob(Glob::Host, glob) if glob == "*" => shape(plain().any()),
        Ask::Glob(Glob::Host, glob) => match glob.strip_prefix("*.") {
            Some(domain) => tests.expression(number, &below(domain), last),
            None => shape(plain().folded(glob)),
        },
        Ask::Matches(source) => tests.expression(number, source, last),
        Ask::CompareField(..) => *incomplete = Some("a field against a field"),
        Ask::Equals(_)
        | Ask::Contains(_)
        | Ask::Compare(..)
        | Ask::AnyGlob(_)
        | Ask::Has
        | Ask::IsTrue => {}
    }
}

/// Whether an automaton answers it for a text.
const fn is_of_texts(ask: &Ask) -> bool {
    matches!(
        ask,
        Ask::Equals(Literal::String(_))
            | Ask::In(_)
            | Ask::Contains(Literal::String(_))
            | Ask::StartsWith(_)
            | Ask::EndsWith(_)
            | Ask::Glob(..)
            | Ask::Matches(_)
    )
}

/// Labels below a domain, in letters of either case, as a regular expression.
fn below(domain: &str) -> String {
    let mut expression = String::from(r"^(?:[^.]+\.)+");
    for letter in domain.chars() {
        if letter.is_ascii_alphabetic() {
            let (small, large) = (letter.to_ascii_lowercase(), letter.to_ascii_uppercase());
            expression.extend(['[', small, large, ']']);
        } else {
            expression.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
        }
    }
    expression.push('$');
    expression
}

/// A call of values; facts are supposed.
pub(super) fn asked<'a>(
    tool: &str,
    agent: &str,
    values: impl Iterator<Item = (&'a Key, Option<&'a str>)>,
) -> Asked {
    let mut tree = Tree::default();
    let mut facts = Vec::new();
    for (key, value) in values {
        match (key, value) {
            (Key::Argument(path), Some(value)) => tree.put(path, value),
            (Key::Argument(_), None) | (Key::Open(_), _) => {}
            (Key::Fact(field), value) => {
                facts.push((field.clone(), value.unwrap_or("null").to_owned()));
            }
        }
    }
    let mut arguments = String::new();
    tree.write(&mut arguments);
    Asked {
        tool: tool.to_owned(),
        agent: agent.to_owned(),
        arguments,
        facts,
    }
}

/// Arguments under construction.
#[derive(Debug, Default)]
struct Tree {
    own: Option<String>,
    parts: BTreeMap<String, Tree>,
}

impl Tree {
    fn put(&mut self, path: &[String], value: &str) {
        match path.split_first() {
            None => self.own = Some(value.to_owned()),
            Some((first, rest)) => self
                .parts
                .entry(first.clone())
                .or_default()
                .put(rest, value),
        }
    }

    /// An object with parts is written by its parts.
    fn write(&self, out: &mut String) {
        if let (Some(own), true) = (&self.own, self.parts.is_empty()) {
            out.push_str(own);
            return;
        }
        out.push('{');
        for (index, (name, part)) in self.parts.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            json::write_string(name, out);
            out.push(':');
            part.write(out);
        }
        out.push('}');
    }
}

fn session_range(field: &Field) -> (i64, i64, bool) {
    match field {
        Field::Session(SessionPart::CallCount) | Field::Count { .. } | Field::Denials { .. } => {
            (0, i64::MAX, true)
        }
        Field::Session(_) => (0, i64::MAX, false),
        _ => (i64::MIN, i64::MAX, false),
    }
}

fn numbers_of(ask: &Ask) -> Vec<&Decimal> {
    match ask {
        Ask::Equals(Literal::Number(number)) | Ask::Compare(_, number) => vec![number],
        Ask::In(list) => list
            .iter()
            .filter_map(|item| match item {
                Literal::Number(number) => Some(number),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn text_of(ask: &Ask) -> Option<&str> {
    match ask {
        Ask::Equals(Literal::String(text))
        | Ask::Contains(Literal::String(text))
        | Ask::StartsWith(text)
        | Ask::EndsWith(text) => Some(text),
        _ => None,
    }
}

fn unique(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut seen = HashSet::new();
    candidates
        .into_iter()
        .filter(|candidate| seen.insert(candidate.value.clone()))
        .collect()
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    json::write_string(text, &mut out);
    out
}

fn list_of(elements: &[&str]) -> Candidate {
    Candidate::of(format!("[{}]", elements.join(",")))
}

fn object_of(members: usize) -> String {
    let members: Vec<String> = (0..members).map(|n| format!("\"member{n}\":0")).collect();
    format!("{{{}}}", members.join(","))
}

/// A number below the least bound, one above the greatest, and one in each gap; a whole one where there is one.
/// `None` where they have too many digits to calculate with.
fn gaps(bounds: &BTreeSet<Decimal>) -> Option<Vec<String>> {
    if bounds.is_empty() {
        return Some(Vec::new());
    }
    let texts: Vec<String> = bounds.iter().map(Decimal::to_string).collect();
    let places = texts
        .iter()
        .map(|text| {
            text.split_once('.')
                .map_or(0, |(_, fraction)| fraction.len())
        })
        .max()?;
    // One more place, so that between two neighbours there is always something.
    let places = u32::try_from(places).ok()? + 1;
    let one = 10_i128.checked_pow(places)?;
    let scaled = texts
        .iter()
        .map(|text| scale(text, places))
        .collect::<Option<Vec<i128>>>()?;
    let mut found = Vec::new();
    for pair in scaled.windows(2) {
        let [low, high] = pair else { continue };
        let middle = low + (high - low) / 2;
        let whole = middle - middle.rem_euclid(one);
        let chosen = [whole, whole + one]
            .into_iter()
            .find(|number| low < number && number < high)
            .unwrap_or(middle);
        found.push(unscale(chosen, places));
    }
    let (least, most) = (scaled.first()?, scaled.last()?);
    let down = least - least.rem_euclid(one);
    found.push(unscale(most - most.rem_euclid(one) + one, places));
    found.push(unscale(
        if down < *least { down } else { down - one },
        places,
    ));
    Some(found)
}

fn scale(text: &str, places: u32) -> Option<i128> {
    if text.contains('e') || text.len() > 28 {
        return None;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let width = places as usize;
    format!("{whole}{fraction:0<width$}").parse().ok()
}

fn unscale(number: i128, places: u32) -> String {
    let one = 10_i128.pow(places);
    let sign = if number < 0 { "-" } else { "" };
    let (whole, fraction) = (number.abs() / one, number.abs() % one);
    let width = places as usize;
    let fraction = format!("{fraction:0>width$}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

impl Variable {
    /// The class of everything that was not tried.
    pub(super) fn unknown(&self, probes: &[Probe]) -> Class {
        let has = |number: &u32| {
            let probe = probes.get(*number as usize);
            matches!(probe.and_then(|probe| probe.ask.as_ref()), Some(Ask::Has))
        };
        Class {
            answers: self
                .tests
                .iter()
                .map(|number| if has(number) { YES } else { UNKNOWN })
                .collect(),
            value: None,
            form: Form::Other,
            members: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(texts: &[&str]) -> BTreeSet<Decimal> {
        texts
            .iter()
            .map(|text| Decimal::parse(text).unwrap())
            .collect()
    }

    #[test]
    fn gaps_have_a_whole_number_where_there_is_one() {
        assert_eq!(
            gaps(&bounds(&["100", "500"])).unwrap(),
            ["300", "501", "99"]
        );
        assert_eq!(gaps(&bounds(&["1", "2"])).unwrap(), ["1.5", "3", "0"]);
        assert_eq!(
            gaps(&bounds(&["0.1", "0.11"])).unwrap(),
            ["0.105", "1", "0"]
        );
        assert_eq!(gaps(&bounds(&["-3.5"])).unwrap(), ["-3", "-4"]);
        assert_eq!(gaps(&bounds(&["1e+300"])), None);
    }
}
