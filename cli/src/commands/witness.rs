//! `faramesh witness`: makes a witness's key, and cosigns for the journals that it was given.
#![forbid(unsafe_code)]

use crate::args::{Global, WitnessInitArgs, WitnessServeArgs};
use crate::client;
use crate::failure::{Failure, exit};
use crate::output::{Output, Paint};
use crate::untrusted::Untrusted;
use crate::witness::address::Address;
use crate::witness::keeper::{Keeper, Verdict};
use crate::witness::serve::{self, Door};
use crate::witness::state::{self, State};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Serialize)]
struct Made<'a> {
    state: &'a Path,
    name: &'a str,
    key: String,
}

/// Makes the key, or shows the one that is there.
///
/// # Errors
/// See [`state::init`].
pub fn init(_: &Global, args: &WitnessInitArgs, output: &Output) -> Result<u8, Failure> {
    let key = state::init(&args.state, &args.name)?;
    output.line(key.vkey());
    output.aside(format!(
        "pin this line where the journal is: put it into a file and `faramesh apply --witnesses FILE`; put the \
         journal's log.pub into `{}` as NAME.pub",
        args.state.join("logs").display()
    ));
    output.json(&Made {
        state: &args.state,
        name: key.name().as_str(),
        key: key.vkey(),
    });
    Ok(exit::OK)
}

/// What is printed of each question, one JSON value a line.
#[derive(Debug, Serialize)]
struct Answered<'a> {
    event: &'static str,
    status: u16,
    origin: Option<&'a str>,
    size: Option<u64>,
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listening {
    event: &'static str,
    address: String,
    key: String,
    logs: Vec<String>,
}

/// Cosigns until it is stopped.
///
/// # Errors
/// The key, a log's key, a head or the address cannot be used.
pub fn run(_: &Global, args: &WitnessServeArgs, output: &Output) -> Result<u8, Failure> {
    let address = Address::parse(&args.listen).map_err(|why| {
        Failure::usage(format!(
            "`{}` is no place to listen: {why}",
            Untrusted(&args.listen)
        ))
    })?;
    let (state, secret) = State::open(&args.state)?;
    let logs = state.logs()?;
    let key = crate::witness::keeper::Sign::public(&secret).vkey();
    let keeper = Keeper::new(logs, state, secret).map_err(|why| {
        Failure::data(why).next(
            "put the file back as it was; without it this witness would forget what it has seen, so begin a new one",
        )
    })?;
    let output = *output;
    client::block_on(async move {
        let door = Door::open(&address).await?;
        listening(&door, &key, &keeper, &output)?;
        let stop = stopped()?;
        let told: serve::Told = Arc::new(move |verdict| say(verdict, &output));
        serve::serve(door, keeper, told, stop).await;
        if let Address::Unix(path) = &address {
            drop(std::fs::remove_file(path));
        }
        Ok(exit::OK)
    })
}

fn listening<H, S>(
    door: &Door,
    key: &str,
    keeper: &Keeper<H, S>,
    output: &Output,
) -> Result<(), Failure>
where
    H: crate::witness::keeper::Heads,
    S: crate::witness::keeper::Sign,
{
    let address = door.address()?.to_string();
    let logs: Vec<String> = keeper
        .logs()
        .map(|(log, size)| match size {
            Ok(size) => format!("{} at {size}", log.name()),
            Err(why) => why,
        })
        .collect();
    output.line(format!("witness {key} listens on {address}"));
    logs.iter().for_each(|log| output.line(format!("  {log}")));
    output.json(&Listening {
        event: "listening",
        address,
        key: key.to_owned(),
        logs,
    });
    Ok(())
}

fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let no_signal = |e: std::io::Error| Failure::internal(format!("cannot wait for a signal: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn say(verdict: &Verdict, output: &Output) {
    let (event, origin, size, why) = match verdict {
        Verdict::Cosigned { origin, size, .. } => {
            output.note(format!(
                "{}  {} up to {size}",
                output.paint(Paint::Good, "cosigned"),
                Untrusted(origin)
            ));
            ("cosigned", Some(origin.as_str()), Some(*size), None)
        }
        Verdict::Known { size } => ("asked", None, Some(*size), None),
        Verdict::Fork { origin, size, kept } => {
            output.warn(format!(
                "FORK: `{}` signed two trees of {size} records; this one was not cosigned{}",
                Untrusted(origin),
                if *kept {
                    ", and both are in evidence/"
                } else {
                    "; it could not be kept"
                }
            ));
            ("fork", Some(origin.as_str()), Some(*size), None)
        }
        Verdict::NotConsistent {
            origin,
            known,
            size,
            why,
        } => {
            output.warn(format!(
                "NOT COSIGNED: {size} records of `{}` do not extend the {known} that were cosigned: {why}",
                Untrusted(origin)
            ));
            (
                "not_consistent",
                Some(origin.as_str()),
                Some(*size),
                Some(why.to_string()),
            )
        }
        Verdict::UnknownLog { origin } => {
            output.warn(format!(
                "nobody pinned the log `{}` here",
                Untrusted(origin)
            ));
            ("unknown_log", Some(origin.as_str()), None, None)
        }
        Verdict::NotSigned { why } => {
            output.warn(format!("refused: {}", Untrusted(&why.to_string())));
            ("not_signed", None, None, Some(why.to_string()))
        }
        Verdict::Malformed(why) => {
            output.warn(format!("refused: {why}"));
            ("malformed", None, None, Some((*why).to_owned()))
        }
        Verdict::Trouble(why) => {
            output.warn(Untrusted(why).to_string());
            ("trouble", None, None, Some(why.clone()))
        }
    };
    output.json(&Answered {
        event,
        status: verdict.status(),
        origin,
        size,
        why,
    });
}
