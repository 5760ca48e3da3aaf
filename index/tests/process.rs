//! The real process, asked by the real command: against a plain scan, under kills, beside a real daemon.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that goes wrong may say so in any way"
)]

mod common;

use common::{Chance, HOSTILE, Maker};
use faramesh_tests::World;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest time that anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A development stack whose journal was made up, without a daemon.
struct Stack {
    /// Removed with it.
    _temp: tempfile::TempDir,
    dir: PathBuf,
    maker: Maker,
}

impl Stack {
    fn new(seed: u8) -> Stack {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        let state = dir.join(".faramesh/state");
        std::fs::create_dir_all(state.join("etc")).unwrap();
        std::fs::create_dir_all(state.join("run")).unwrap();
        let stack = format!("stack = \"shop\"\ndir = {:?}\n", dir.display().to_string());
        std::fs::write(state.join("etc/stack.toml"), stack).unwrap();
        let maker = Maker::new(&state.join("journal"), "shop", seed);
        maker.write_key(&state.join("etc/log.pub"));
        Stack {
            _temp: temp,
            dir,
            maker,
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.join(".faramesh/state")
    }

    fn index(&self) -> Index {
        Index::start(&self.state(), &[])
    }

    fn faramesh(&self, args: &[&str]) -> Output {
        Command::new(built("faramesh"))
            .args(args)
            .arg("--dir")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
        let output = self.faramesh(&args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Both ways; they must answer alike, but for where the answer came from.
    fn both(&self, args: &[&str]) -> Value {
        let scan: Vec<&str> = args.iter().copied().chain(["--scan"]).collect();
        let (mut asked, mut read) = (self.json(args), self.json(&scan));
        assert_eq!(asked["source"], "index");
        assert_eq!(read["source"], "scan");
        for value in [&mut asked, &mut read] {
            let map = value.as_object_mut().unwrap();
            map.remove("source");
            map.remove("indexed");
            // The index may say that there is more where nothing more fits.
            map.remove("next");
        }
        assert_eq!(asked, read, "{args:?}");
        asked
    }

    fn wait_for(&self, size: u64) {
        let began = Instant::now();
        loop {
            let output = self.faramesh(&["audit", "stats", "--format", "json"]);
            let indexed = serde_json::from_slice::<Value>(&output.stdout)
                .ok()
                .and_then(|value| value["indexed"].as_u64());
            if indexed == Some(size) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{size}: {output:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A program of the other packages, which `cargo build` makes.
fn built(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_faramesh-index")).with_file_name(name);
    assert!(path.exists(), "`{}`: `cargo build` first", path.display());
    path
}

/// A running index.
struct Index {
    child: Child,
}

impl Index {
    fn start(state: &Path, more: &[&str]) -> Index {
        let child = Command::new(env!("CARGO_BIN_EXE_faramesh-index"))
            .arg("--journal")
            .arg(state.join("journal"))
            .arg("--key")
            .arg(state.join("etc/log.pub"))
            .arg("--state")
            .arg(state.join("index"))
            .arg("--socket")
            .arg(state.join("run").canonicalize().unwrap().join("index.sock"))
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Index { child }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_index_and_a_plain_scan_answer_alike() {
    let mut chance = Chance::of("the_index_and_a_plain_scan_answer_alike");
    let mut stack = Stack::new(1);
    stack.maker.begin();
    stack.maker.random(&mut chance, 3_000);
    let _index = stack.index();
    stack.wait_for(stack.maker.size());
    let all = stack.both(&["audit", "stats", "--top", "1000"]);
    assert_eq!(all["records"].as_u64(), Some(stack.maker.size()));
    let records = stack.maker.scan();
    for _ in 0..25 {
        let at = |chance: &mut Chance| {
            let ms = chance.one_of(&records).header.time.wall_ms;
            // A time stamp has the milliseconds behind a point.
            let seconds = i64::try_from(ms / 1_000).unwrap();
            format!("{}.{:03}Z", utc(seconds), ms % 1_000)
        };
        let (since, until) = (at(&mut chance), at(&mut chance));
        stack.both(&["audit", "stats", "--since", &since, "--top", "5"]);
        stack.both(&["audit", "stats", "--since", &since, "--until", &until]);
        let limit = (1 + chance.below(200)).to_string();
        // An argument of a command cannot hold a zero byte.
        let names: Vec<&str> = HOSTILE.into_iter().filter(|n| !n.contains('\0')).collect();
        let agent = *chance.one_of(&names);
        let mut args = vec!["audit", "ls", "-n", &limit, "--agent", agent];
        if chance.below(2) == 0 {
            args.extend(["--effect", "deny"]);
        }
        if chance.below(2) == 0 {
            args.extend(["--tool", "stripe/*"]);
        }
        if chance.below(2) == 0 {
            args.extend(["--since", &since]);
        }
        if chance.below(2) == 0 {
            args.push("--oldest-first");
        }
        stack.both(&args);
        let seq = chance.below(stack.maker.size()).to_string();
        stack.both(&["audit", "trace", &seq]);
    }
    for session in records
        .iter()
        .filter_map(|view| common::session_of(&view.body))
        .take(12)
    {
        stack.both(&["audit", "trace", session, "-n", "17"]);
    }
}

/// `1970-01-01T00:00:00` of seconds since then: days by the civil calendar.
fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (mut year, mut day) = (1970, days);
    let length = |year: i64| {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        365 + i64::from(leap)
    };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let months = [
        31,
        length(year) - 337,
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for days in months {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}",
        day + 1,
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[test]
fn killed_while_it_reads_it_goes_on_and_answers_as_if_nothing_had_been() {
    let mut chance = Chance::of("killed_while_it_reads");
    let mut stack = Stack::new(1);
    stack.maker.begin();
    for _ in 0..8 {
        let index = stack.index();
        stack.maker.random(&mut chance, 600);
        // Killed somewhere: at its start, while it opens the store, while it reads.
        std::thread::sleep(Duration::from_millis(chance.below(120)));
        index.kill();
    }
    let _index = stack.index();
    stack.wait_for(stack.maker.size());
    stack.both(&["audit", "stats", "--top", "1000"]);
    stack.both(&["audit", "ls", "-n", "100000"]);
}

#[test]
fn a_store_that_is_damaged_or_another_journals_is_made_anew() {
    let mut chance = Chance::of("a_store_that_is_damaged");
    let mut stack = Stack::new(1);
    stack.maker.begin();
    stack.maker.random(&mut chance, 400);
    let index = stack.index();
    stack.wait_for(stack.maker.size());
    index.kill();
    let db = stack.state().join("index/db");
    for entry in std::fs::read_dir(&db).unwrap() {
        let path = entry.unwrap().path();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::write(
            &path,
            vec![0xa5; usize::try_from(length).unwrap().min(1 << 20)],
        )
        .unwrap();
    }
    let index = stack.index();
    stack.wait_for(stack.maker.size());
    stack.both(&["audit", "stats", "--top", "1000"]);
    index.kill();
    // Another stack's store in the place of this one's.
    let mut other = Stack::new(2);
    other.maker.begin();
    let index = other.index();
    other.wait_for(2);
    index.kill();
    std::fs::remove_dir_all(&db).unwrap();
    std::fs::rename(other.state().join("index/db"), &db).unwrap();
    let _index = stack.index();
    stack.wait_for(stack.maker.size());
    stack.both(&["audit", "ls", "-n", "100000"]);
}

#[test]
fn paging_while_records_come_in_meets_every_record_once() {
    let mut chance = Chance::of("paging_while_records_come_in");
    let mut stack = Stack::new(1);
    stack.maker.begin();
    stack.maker.random(&mut chance, 500);
    let _index = stack.index();
    stack.wait_for(stack.maker.size());
    let before = stack.maker.size();
    let (mut seen, mut page): (Vec<u64>, Option<String>) = (Vec::new(), None);
    loop {
        let mut args = vec!["audit", "ls", "-n", "83"];
        if let Some(page) = &page {
            args.extend(["--page", page.as_str()]);
        }
        let answer = stack.json(&args);
        let records = answer["records"].as_array().unwrap();
        seen.extend(records.iter().map(|record| record["seq"].as_u64().unwrap()));
        stack.maker.random(&mut chance, 30);
        stack.wait_for(stack.maker.size());
        match answer["next"].as_u64() {
            Some(next) => page = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!(seen, (0..before).rev().collect::<Vec<u64>>());
}

#[test]
fn without_an_index_the_commands_say_how_to_start_it() {
    let mut stack = Stack::new(1);
    stack.maker.begin();
    for args in [
        vec!["audit", "ls"],
        vec!["audit", "stats"],
        vec!["audit", "trace", "1"],
    ] {
        let output = stack.faramesh(&args);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        let said = text(&output);
        assert!(
            said.contains("faramesh index") && said.contains("--scan"),
            "{said}"
        );
        let scan: Vec<&str> = args.into_iter().chain(["--scan"]).collect();
        assert!(stack.faramesh(&scan).status.success());
    }
}

#[test]
fn an_index_that_lies_about_a_record_is_found_out() {
    let mut chance = Chance::of("an_index_that_lies");
    let mut stack = Stack::new(1);
    stack.maker.begin();
    stack.maker.random(&mut chance, 100);
    let _index = stack.index();
    stack.wait_for(stack.maker.size());
    // A bit of a record changes behind the index's back: what it names there is not what lies there.
    let path = stack.maker.segment_path(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let wall = b"\"wall_ms\":1";
    let at = bytes.windows(wall.len()).position(|w| w == wall).unwrap();
    bytes[at + wall.len()] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let output = stack.faramesh(&["audit", "ls", "--oldest-first", "-n", "5"]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(
        text(&output).contains("disagree about record 0"),
        "{output:?}"
    );
}

#[test]
fn hostile_names_reach_no_terminal_and_find_only_themselves() {
    use faramesh_core::decision::Effect;
    let mut stack = Stack::new(1);
    stack.maker.begin();
    for name in HOSTILE {
        let body = common::decision(Some("s".into()), name, name, Effect::Deny, false);
        stack.maker.add(&body);
    }
    stack.maker.note();
    let _index = stack.index();
    stack.wait_for(stack.maker.size());
    for args in [
        vec!["audit", "ls"],
        vec!["audit", "stats"],
        vec!["audit", "trace", "s"],
        vec!["explain", "6"],
    ] {
        let output = stack.faramesh(&args);
        assert!(output.status.success(), "{output:?}");
        let said = text(&output);
        assert!(
            said.chars().all(|c| c == '\n' || !c.is_control()) && !said.contains('\u{202e}'),
            "{said:?}"
        );
    }
    for (number, name) in HOSTILE
        .iter()
        .enumerate()
        .filter(|(_, name)| !name.contains('\0'))
    {
        let answer = stack.both(&["audit", "ls", "--agent", name]);
        let records = answer["records"].as_array().unwrap();
        assert_eq!(records.len(), 1, "{name:?}");
        assert_eq!(records[0]["seq"].as_u64(), Some(2 + number as u64));
    }
}

#[test]
fn a_second_index_of_the_same_stack_ends_and_says_why() {
    let mut stack = Stack::new(1);
    stack.maker.begin();
    let _index = stack.index();
    stack.wait_for(2);
    let mut second = stack.index();
    assert_eq!(second.child.wait().unwrap().code(), Some(69));
    stack.both(&["audit", "ls"]);
}

const POLICY: &str = r#"agent "bot" {
  default deny
  redact pay/* args: ["card"]
  rules {
    permit crm/lookup
    defer pay/refund if amount > 100 reason "a person has to look"
    permit pay/refund
  }
}
"#;

#[test]
fn a_real_daemons_records_are_found_as_they_become_durable() {
    let world = World::development(POLICY);
    let _index = Index::start(&world.state(""), &[]);
    let ask = |tool: &str, args: &str| world.govern("bot", tool, args);
    assert_eq!(ask("crm/lookup", "{}").effect, "permit");
    assert_eq!(
        ask("pay/refund", r#"{"amount": 500, "card": "4242"}"#).effect,
        "defer"
    );
    assert_eq!(
        ask("shell/exec", r#"{"command": "\u001b[2J"}"#).effect,
        "deny"
    );
    let json = |args: &[&str]| -> Value {
        let output = world.faramesh(&[args, &["--format", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    world.until("three decisions are indexed", || {
        json(&["audit", "stats"])["decisions"] == 3
    });
    let listed = json(&["audit", "ls", "--effect", "defer"]);
    let seq = listed["records"][0]["seq"]
        .as_u64()
        .expect("a deferred call");
    let explained = json(&["explain", &seq.to_string()]);
    assert_eq!(explained["source"], "index");
    assert_eq!(explained["detail"], "as_recorded");
    assert_eq!(explained["message"], "a person has to look");
    assert_eq!(explained["rule"]["number"], 2);
    assert_eq!(explained["rule"]["source"], "governance.fms:6");
    assert!(
        explained["rule"]["text"]
            .as_str()
            .unwrap()
            .contains("defer pay/refund")
    );
    assert_eq!(explained["redacted"][0], "card");
    assert!(!explained.to_string().contains("4242"), "{explained}");
    assert_eq!(explained["in_force"]["record"]["number"], 1);
    let people = String::from_utf8(world.faramesh(&["explain", &seq.to_string()]).stdout).unwrap();
    for word in [
        "governance.fms:6",
        "a person has to look",
        "amount",
        "500",
        "card",
    ] {
        assert!(people.contains(word), "{word}: {people}");
    }
    // An outcome's explanation is its decision's.
    let traced = json(&["audit", "trace", &seq.to_string()]);
    let roles: Vec<&str> = traced["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|record| record["role"].as_str())
        .collect();
    assert_eq!(roles, ["in_force", "decision"]);
    // The same without the index.
    drop(_index);
    let again = json(&["explain", &seq.to_string()]);
    assert_eq!(again["source"], "scan");
    for key in ["rule", "message", "inputs", "in_force", "leaf_hash"] {
        assert_eq!(again[key], explained[key], "{key}");
    }
    let start = world.faramesh(&["explain", "0"]);
    assert_eq!(start.status.code(), Some(65));
}
