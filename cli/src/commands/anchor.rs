//! `faramesh anchor`: has witnesses cosign the journal, round by round. `anchor::round` is what a round does.
#![forbid(unsafe_code)]

use crate::anchor::ask::{Asked, Trouble};
use crate::anchor::file::{self, AnchorFile, Protection};
use crate::anchor::follow::{Follower, Newest};
use crate::anchor::round::{self, Round};
use crate::args::{AnchorArgs, Global};
use crate::client;
use crate::commands::check::count;
use crate::failure::{Failure, exit};
use crate::output::{Output, Paint};
use crate::setup;
use crate::stack;
use crate::untrusted::Untrusted;
use crate::witness::address::Address;
use crate::witness::state::log_key;
use backon::{BackoffBuilder, ExponentialBuilder};
use faramesh_core::cosign::Witnesses;
use faramesh_proto::v1::AttestRequest;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The exit status of an alarm: a witness saw another history.
const ALARM: u8 = 1;
/// After a round that came to nothing: longer each time, up to this.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What a round printed, one JSON value a line.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    event: &'static str,
    size: u64,
    witnesses: Vec<String>,
    quorum: usize,
    record: Option<u64>,
    troubles: Vec<PrintedTrouble>,
    daemon: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct PrintedTrouble {
    witness: String,
    what: &'static str,
    why: String,
    alarm: bool,
}

/// Anchors until it is stopped, or once.
///
/// # Errors
/// A key, an address, the journal or the anchor file cannot be used. An alarm is an answer: 1.
pub fn run(global: &Global, args: &AnchorArgs, output: &Output) -> Result<u8, Failure> {
    let mut pusher = Pusher::new(global, args, output)?;
    client::block_on(async move {
        if args.once {
            return match pusher.turn(true).await? {
                Turn::Done | Turn::Idle => Ok(exit::OK),
                Turn::Alarm => Ok(ALARM),
                Turn::Short => Ok(exit::UNAVAILABLE),
            };
        }
        pusher.run(Duration::from_secs(args.every)).await
    })
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing was there that witnesses do not know.
    Idle,
    /// Enough cosigned, and it is kept and recorded.
    Done,
    /// Not enough, or it could not be recorded.
    Short,
    /// A witness saw another history.
    Alarm,
}

struct Pusher {
    follower: Follower,
    pinned: Witnesses,
    witnesses: Vec<Asked>,
    quorum: usize,
    file: Option<(PathBuf, AnchorFile)>,
    /// The operators' socket; another journal than the stack's own has none.
    admin: Option<PathBuf>,
    /// Records that enough witnesses cosigned and the daemon recorded, as far as this process knows.
    anchored: u64,
    /// What the anchor file got last, so that a round that is tried again is not kept again.
    kept: (u64, Vec<String>),
    output: Output,
}

impl Pusher {
    fn new(global: &Global, args: &AnchorArgs, output: &Output) -> Result<Pusher, Failure> {
        let witnesses = addresses(&args.witness)?;
        let (journal, key, pinned, admin) = match &args.journal {
            Some(journal) => (
                journal.clone(),
                args.key.clone(),
                args.witnesses.clone(),
                args.admin.clone(),
            ),
            None => {
                let layout = stack::applied(global)?;
                let key = args.key.clone().unwrap_or_else(|| layout.log_pub());
                let pinned = args
                    .witnesses
                    .clone()
                    .unwrap_or_else(|| layout.witnesses_pub());
                let admin = args.admin.clone().unwrap_or_else(|| layout.admin_socket());
                let admin = Some(admin);
                (layout.journal().to_owned(), Some(key), Some(pinned), admin)
            }
        };
        let (Some(key), Some(pinned)) = (key, pinned) else {
            return Err(Failure::usage(
                "a journal is anchored with --key and --witnesses",
            ));
        };
        let pinned = setup::witnesses(&pinned)?;
        if args.quorum == 0 || args.quorum > pinned.len() {
            return Err(Failure::usage(format!(
                "--quorum {} of {} is not possible",
                args.quorum,
                count(pinned.len(), "pinned witness")
            )));
        }
        let mut pusher = Pusher {
            follower: Follower::new(&journal, log_key(&key)?),
            pinned,
            witnesses: witnesses.into_iter().map(Asked::new).collect(),
            quorum: args.quorum,
            file: None,
            admin,
            anchored: 0,
            kept: (0, Vec::new()),
            output: *output,
        };
        if let Some(path) = &args.anchor_file {
            pusher.open(path)?;
        }
        Ok(pusher)
    }

    fn open(&mut self, path: &Path) -> Result<(), Failure> {
        let (file, protection) = AnchorFile::open(path)?;
        match protection {
            Protection::AppendOnly => self
                .output
                .note(format!("anchor file  {}, append-only", path.display())),
            Protection::None(why) => self.output.note(format!(
                "anchor file  {}, NOT append-only: {why}",
                path.display()
            )),
        }
        self.file = Some((path.to_owned(), file));
        Ok(())
    }

    async fn run(&mut self, every: Duration) -> Result<u8, Failure> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(AGAIN_MAX)
            .with_jitter()
            .without_max_times();
        let mut again = backoff.build();
        loop {
            let wait = match self.turn(false).await {
                Ok(Turn::Alarm) => return Ok(ALARM),
                Ok(Turn::Idle | Turn::Done) => {
                    again = backoff.build();
                    every
                }
                Ok(Turn::Short) => again.next().unwrap_or(AGAIN_MAX),
                Err(failure) => {
                    self.output.failure(&failure);
                    again.next().unwrap_or(AGAIN_MAX)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// `whatever`: ask even where nothing is new.
    async fn turn(&mut self, whatever: bool) -> Result<Turn, Failure> {
        let Some(newest) = self.follower.newest()? else {
            return match whatever {
                true => Err(Failure::data("the journal has no checkpoint yet")
                    .next("start the daemon once")),
                false => Ok(Turn::Idle),
            };
        };
        if let Some(trouble) = self.against_file(&newest)? {
            return Ok(self.refused_by_file(&newest, &trouble));
        }
        if newest.worth <= self.anchored && !whatever {
            return Ok(Turn::Idle);
        }
        let round = round::round(
            &mut self.follower,
            &newest,
            &mut self.witnesses,
            &self.pinned,
            self.output,
        )
        .await?;
        self.keep(&newest, &round)?;
        let told = match round.cosigned.reaches(self.quorum) {
            true => self.tell(&round).await,
            false => Told::No(None),
        };
        Ok(self.report(&newest, &round, &told))
    }

    /// The file remembers what witnesses saw, even where all of them are gone or were made anew.
    fn against_file(&mut self, newest: &Newest) -> Result<Option<Trouble>, Failure> {
        let Some((path, _)) = &self.file else {
            return Ok(None);
        };
        // Once a run: later rounds are held against what this run has seen by the witnesses.
        if self.anchored > 0 || self.kept.0 > 0 {
            return Ok(None);
        }
        let Some(last) = file::last(path, self.follower.key(), &self.pinned)? else {
            return Ok(None);
        };
        match round::extends(&self.follower, newest, &last, &self.output) {
            Ok(()) => {
                let by = last.by().iter().map(|by| by.witness.to_string());
                self.kept = (last.checkpoint().head.size, by.collect());
                Ok(None)
            }
            Err(Trouble::Journal(failure)) => Err(failure),
            Err(trouble) => Ok(Some(trouble)),
        }
    }

    fn refused_by_file(&self, newest: &Newest, trouble: &Trouble) -> Turn {
        let path = self
            .file
            .as_ref()
            .map(|(path, _)| path.display().to_string());
        let path = path.unwrap_or_default();
        self.alarm(&path, trouble);
        self.output.json(&Printed {
            event: "alarm",
            size: newest.head().size,
            witnesses: Vec::new(),
            quorum: self.quorum,
            record: None,
            troubles: vec![PrintedTrouble {
                witness: path,
                what: trouble.word(),
                why: trouble.to_string(),
                alarm: true,
            }],
            daemon: None,
        });
        Turn::Alarm
    }

    /// Any cosignature is kept, also where they are too few.
    fn keep(&mut self, newest: &Newest, round: &Round) -> Result<(), Failure> {
        let Some((_, file)) = &mut self.file else {
            return Ok(());
        };
        let now = (newest.head().size, round.names());
        if now.1.is_empty() || now == self.kept {
            return Ok(());
        }
        file.append(&round.note)?;
        self.kept = now;
        Ok(())
    }

    async fn tell(&self, round: &Round) -> Told {
        let Some(socket) = &self.admin else {
            return Told::Nobody;
        };
        let asked = async {
            let mut admin = client::admin(socket)
                .await
                .map_err(client::NoConnection::into_failure)?;
            let note = round.note.clone();
            client::reply(admin.attest(AttestRequest { note })).await
        };
        match asked.await {
            Ok(reply) if reply.recorded && reply.seq > 0 => Told::Recorded(Some(reply.seq)),
            Ok(reply) if reply.recorded => Told::Recorded(None),
            Ok(reply) => Told::No(Some(reply.message)),
            Err(failure) => Told::No(Some(failure.message)),
        }
    }

    fn report(&mut self, newest: &Newest, round: &Round, told: &Told) -> Turn {
        let size = newest.head().size;
        let names = round.names();
        let enough = round.cosigned.reaches(self.quorum);
        for (address, trouble) in &round.troubles {
            match trouble.is_alarm() {
                true => self.alarm(&address.to_string(), trouble),
                false => self.output.warn(format!("{address}: {trouble}")),
            }
        }
        let by = match names.as_slice() {
            [] => "nobody".to_owned(),
            names => Untrusted(&names.join(", ")).to_string(),
        };
        let (word, paint) = match (enough, told) {
            (true, Told::Recorded(_) | Told::Nobody) => ("anchored", Paint::Good),
            (true, Told::No(_)) => ("not recorded", Paint::Caution),
            (false, _) => ("not anchored", Paint::Caution),
        };
        self.output.line(format!(
            "{}  {} by {by}, {} wanted{}",
            self.output.paint(paint, word),
            count(usize::try_from(size).unwrap_or(usize::MAX), "record"),
            self.quorum,
            match told {
                Told::Recorded(Some(seq)) => format!("; record {seq} says so"),
                _ => String::new(),
            }
        ));
        if let Told::No(Some(why)) = told {
            self.output
                .warn(format!("the daemon did not record it: {}", Untrusted(why)));
        }
        let turn = match (round.is_alarm(), enough, told) {
            (true, _, _) => Turn::Alarm,
            (false, true, Told::Recorded(_) | Told::Nobody) => Turn::Done,
            (false, _, _) => Turn::Short,
        };
        if turn == Turn::Done {
            self.anchored = size;
        }
        self.output.json(&Printed {
            event: match turn {
                Turn::Alarm => "alarm",
                Turn::Done | Turn::Idle => "anchored",
                Turn::Short => "short",
            },
            size,
            witnesses: names,
            quorum: self.quorum,
            record: match told {
                Told::Recorded(seq) => *seq,
                Told::Nobody | Told::No(_) => None,
            },
            troubles: round.troubles.iter().map(printed).collect(),
            daemon: match told {
                Told::No(Some(why)) => Some(why),
                _ => None,
            },
        });
        turn
    }

    fn alarm(&self, who: &str, trouble: &Trouble) {
        self.output.warn(format!("{who}: {trouble}"));
        self.output.warn(
            "ALARM: this journal and what was witnessed contradict each other. Touch nothing: copy the journal, the \
             anchor file and the witness's evidence/, then run `faramesh audit verify`",
        );
    }
}

fn printed((address, trouble): &(Address, Trouble)) -> PrintedTrouble {
    PrintedTrouble {
        witness: address.to_string(),
        what: trouble.word(),
        why: trouble.to_string(),
        alarm: trouble.is_alarm(),
    }
}

/// What the daemon said.
enum Told {
    /// It is recorded, in this record where it was not before.
    Recorded(Option<u64>),
    /// There is no daemon to tell.
    Nobody,
    /// It was not told, or refused.
    No(Option<String>),
}

fn addresses(texts: &[String]) -> Result<Vec<Address>, Failure> {
    let address = |text: &String| {
        Address::parse(text).map_err(|why| {
            Failure::usage(format!(
                "`{}` is no witness's address: {why}",
                Untrusted(text)
            ))
        })
    };
    let addresses = texts.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    for (index, address) in addresses.iter().enumerate() {
        if addresses.iter().take(index).any(|other| other == address) {
            return Err(Failure::usage(format!("`{address}` stands there twice")));
        }
    }
    Ok(addresses)
}
