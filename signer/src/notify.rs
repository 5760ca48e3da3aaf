//! What systemd is told: `READY=1` once the log is open, `WATCHDOG=1` while the loop turns, `STOPPING=1` at the end.
//!
//! Invariant: the socket is connected before the process confines itself. Without systemd every call does nothing.
#![forbid(unsafe_code)]

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to systemd, or nowhere.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// From `$NOTIFY_SOCKET` and `$WATCHDOG_USEC`.
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = std::env::var("NOTIFY_SOCKET")
            .ok()
            .and_then(|address| connect(&address));
        let ours =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let micros = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|micros| micros.parse::<u64>().ok());
        // Twice in the interval, as sd_watchdog_enabled(3) recommends.
        let watchdog = micros
            .filter(|micros| ours && *micros > 1)
            .map(|micros| Duration::from_micros(micros / 2));
        Notify { socket, watchdog }
    }

    /// How often [`Notify::alive`] has to be called, if anybody listens.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some())
    }

    /// The log is open and the socket is listened on.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The loop turns.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// A clean stop has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // systemd draws its own conclusions from silence.
            drop(socket.send(text.as_bytes()));
        }
    }
}

fn connect(address: &str) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(address).ok()?,
    };
    socket.connect_addr(&address).ok()?;
    Some(socket)
}
