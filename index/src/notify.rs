//! What systemd is told: `READY=1` with a line of status, and `STOPPING=1`. Without systemd every call does nothing.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to systemd, or nowhere.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
}

impl Notify {
    /// Connects to `$NOTIFY_SOCKET`; where there is none, or it does not answer, nothing is told to anybody.
    pub fn from_environment() -> Notify {
        let address = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        Notify {
            socket: connected(&address),
        }
    }

    /// Questions are answered from here on.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// Something to show in `systemctl status`.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={status}"));
    }

    /// No more questions are answered.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, words: &str) {
        // A manager that does not listen is not our failure.
        if let Some(socket) = &self.socket {
            let _ = socket.send(words.as_bytes());
        }
    }
}

fn connected(address: &str) -> Option<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None if address.starts_with('/') => SocketAddr::from_pathname(address).ok()?,
        None => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect_addr(&address).ok()?;
    Some(socket)
}
