//! faramesh-index: one stack's journal, made searchable.
#![forbid(unsafe_code)]

use clap::Parser;
use faramesh_core::checkpoint::PublicKey;
use faramesh_index::follow::Follower;
use faramesh_index::journal::Journal;
use faramesh_index::notify::Notify;
use faramesh_index::serve::{self, Shared, SocketError, Watcher};
use faramesh_index::store::{self, Opened, Store};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Where nobody watches a bar, a line so often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A public key file is two short lines.
const KEY_BYTES_MAX: usize = 16 << 10;

/// Follows one stack's journal and answers where in it something is. What it writes is derived and can be deleted.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  faramesh-index --journal /var/lib/faramesh/bot/journal --key /etc/faramesh/bot/log.pub --state /var/lib/faramesh-index/bot --socket /run/faramesh-index/bot/index.sock"
)]
struct Args {
    /// The journal's directory; it is only read
    #[arg(long, value_name = "DIR")]
    journal: PathBuf,
    /// The pinned public log key: the first line of log.pub
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the index lies; made where missing, mode 0700
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Where questions are answered; without it nobody is answered, and --once makes sense
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Let the group of this process ask too, not this user alone
    #[arg(long)]
    group: bool,
    /// Throw away what is there and make it anew
    #[arg(long)]
    rebuild: bool,
    /// End when the journal's end is reached
    #[arg(long, conflicts_with = "socket")]
    once: bool,
}

/// Everything that ends the process, each with its exit status.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read the key `{}`: {why}", path.display())]
    Key { path: PathBuf, why: String },
    #[error("cannot use `{}`: {source}", path.display())]
    State {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("another index works in `{}`", .0.display())]
    Taken(PathBuf),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("{0}")]
    Internal(String),
}

impl Error {
    const fn exit(&self) -> u8 {
        match self {
            Error::Key { .. } => 78,
            Error::State { .. } | Error::Socket(_) => 77,
            Error::Taken(_) => 69,
            Error::Store(_) | Error::Internal(_) => 70,
        }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit())
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let key = key(&args.key)?;
    let _lock = own(&args.state)?;
    let (store, opened) = Store::open(&args.state.join("db"), &key)?;
    match opened {
        Opened::Kept => {}
        Opened::New => tracing::info!("a new index"),
        Opened::Discarded(why) => tracing::warn!("what was there is of no use: {why}; made anew"),
    }
    if args.rebuild {
        store.clear(&key)?;
    }
    let shared = Shared::new(store, Follower::new(Journal::new(&args.journal), key));
    if args.once {
        let until_the_end = shared.clone();
        let mut bar = Bar::new(move || until_the_end.stop());
        return Ok(shared.follow(&mut bar)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(|e| Error::Internal(format!("cannot start a runtime: {e}")))?;
    let notify = Notify::from_environment();
    let listener = args
        .socket
        .as_deref()
        .map(|path| serve::bind(path, if args.group { 0o660 } else { 0o600 }))
        .transpose()?;
    let follower = shared.clone();
    let (failed, failure) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("follow".to_owned())
        .spawn(move || {
            let done = follower.follow(&mut Bar::new(|| {}));
            let _ = failed.send(());
            done
        })
        .map_err(|e| Error::Internal(format!("cannot start a thread: {e}")))?;
    notify.ready("answering");
    tracing::info!(size = shared_size(&shared)?, "answering");
    let served = runtime.block_on(async {
        let until = stopped(failure)?;
        match listener {
            Some(listener) => serve::serve(shared.clone(), listener, until)
                .await
                .map_err(|e| Error::Internal(e.to_string())),
            None => {
                until.await;
                Ok(())
            }
        }
    });
    notify.stopping();
    shared.stop();
    if let Some(path) = &args.socket {
        let _ = std::fs::remove_file(path);
    }
    let followed = thread
        .join()
        .map_err(|_| Error::Internal("the follower panicked".to_owned()))?;
    served?;
    Ok(followed?)
}

fn shared_size(shared: &Shared) -> Result<u64, Error> {
    Ok(shared.size()?)
}

/// A signal, or the follower's end.
fn stopped(failure: tokio::sync::oneshot::Receiver<()>) -> Result<impl Future<Output = ()>, Error> {
    let listen =
        |kind| signal(kind).map_err(|e| Error::Internal(format!("cannot wait for signals: {e}")));
    let (mut term, mut int) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = failure => {}
        }
    })
}

/// The origin's key: the first line of `log.pub`.
fn key(path: &Path) -> Result<PublicKey, Error> {
    let wrong = |why: String| Error::Key {
        path: path.to_owned(),
        why,
    };
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    if text.len() > KEY_BYTES_MAX {
        return Err(wrong("too long for a public key".to_owned()));
    }
    let text = String::from_utf8(text).map_err(|e| wrong(e.to_string()))?;
    PublicKey::parse_vkey(text.lines().next().unwrap_or_default()).map_err(|e| wrong(e.to_string()))
}

/// Makes the state directory and takes its lock, which lasts as long as the file is open.
fn own(state: &Path) -> Result<File, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let system = |source| Error::State {
        path: state.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(system)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state.join("lock"))
        .map_err(system)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Taken(state.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(system(error)),
    }
}

/// A bar for who watches a terminal, a line now and then for who does not.
struct Bar<F> {
    bar: Option<ProgressBar>,
    began: Instant,
    said: Instant,
    arrived: F,
}

impl<F: FnMut() + Send> Bar<F> {
    fn new(arrived: F) -> Bar<F> {
        Bar {
            bar: None,
            began: Instant::now(),
            said: Instant::now(),
            arrived,
        }
    }
}

impl<F: FnMut() + Send> Watcher for Bar<F> {
    fn progress(&mut self, bytes: u64, of: u64, records: u64) {
        if !std::io::stderr().is_terminal() {
            if self.said.elapsed() >= LINE_EVERY {
                self.said = Instant::now();
                tracing::info!(records, "reading the journal: {bytes} of {of} bytes");
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("indexing {bar:40} {bytes}/{total_bytes} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(of).with_style(style)
        });
        bar.set_length(of);
        bar.set_position(bytes);
        bar.set_message(format!("{records} records"));
    }

    fn arrived(&mut self, records: u64) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        tracing::info!(
            records,
            "up to date after {} ms",
            self.began.elapsed().as_millis()
        );
        (self.arrived)();
    }
}
