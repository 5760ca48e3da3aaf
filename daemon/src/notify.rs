//! What systemd is told: `READY=1`, `STOPPING=1`, `WATCHDOG=1`, and a line of status.
//!
//! Invariant: the socket is connected before the daemon confines itself, because its own sandbox then keeps it from
//! reaching abstract sockets. Without systemd every call does nothing.
#![forbid(unsafe_code)]

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// The way to systemd, or nowhere.
#[derive(Debug)]
pub struct Notify {
    socket: Option<OwnedFd>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Connects to `$NOTIFY_SOCKET`; where there is none, or it does not answer, nothing is told to anybody.
    #[must_use]
    pub fn from_environment() -> Notify {
        let address = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        let micros = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|value| value.parse().ok());
        let ours =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        Notify {
            socket: connected(&address),
            watchdog: micros.filter(|_| ours).map(Duration::from_micros),
        }
    }

    /// Calls are taken from here on.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// No more calls are taken.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// The sequencer and the journal have made progress.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// How often [`Notify::alive`] is expected: half of the time after which systemd kills us.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    fn say(&self, words: &str) {
        // A manager that does not listen is not our failure: calls are decided all the same.
        if let Some(socket) = &self.socket {
            let _ = send(
                socket.as_raw_fd(),
                words.as_bytes(),
                MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            );
        }
    }
}

fn connected(address: &str) -> Option<OwnedFd> {
    let address = match address.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()).ok()?,
        None if address.starts_with('/') => UnixAddr::new(address).ok()?,
        None => return None,
    };
    let socket = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .ok()?;
    connect(socket.as_raw_fd(), &address).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn systemd_hears_what_is_said() {
        let path = std::env::temp_dir().join(format!("faramesh-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify {
            socket: connected(path.to_str().unwrap()),
            watchdog: None,
        };
        notify.ready("deciding");
        notify.stopping();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=deciding");
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STOPPING=1\nSTATUS=draining");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_systemd_nothing_is_said_and_nothing_fails() {
        Notify {
            socket: connected(""),
            watchdog: None,
        }
        .alive();
    }
}
