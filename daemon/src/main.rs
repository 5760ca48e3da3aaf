//! `farameshd`: decides tool calls and writes each decision down before it answers.
#![forbid(unsafe_code)]

use faramesh_daemon::{engine, lifecycle};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// `sysexits`: wrong command line.
const USAGE: u8 = 64;
const HELP: &str = "usage: farameshd --config FILE | --capabilities | --version";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .collect();
    match (words.as_slice(), arguments.as_slice()) {
        (["--capabilities"], [_]) => print(&engine::capabilities().join("\n")),
        (["--version"], [_]) => print(concat!("farameshd ", env!("CARGO_PKG_VERSION"))),
        (["--help"], [_]) => print(HELP),
        (["--config", ..], [_, file]) => daemon(PathBuf::from(file)),
        _ => {
            eprintln!("{HELP}");
            ExitCode::from(USAGE)
        }
    }
}

fn daemon(config: PathBuf) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    match lifecycle::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(halt) => {
            eprintln!("farameshd: {halt}");
            ExitCode::from(halt.code)
        }
    }
}

fn print(words: &str) -> ExitCode {
    println!("{words}");
    ExitCode::SUCCESS
}
