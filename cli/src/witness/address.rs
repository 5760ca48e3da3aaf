//! Where a witness listens, and where it is asked.
//!
//! A witness has no TLS and asks nobody who he is: the checkpoint's signature is what it checks. So it is reached over a
//! Unix socket or a loopback address only, and there is no flag against that. On another host it is reached through ssh
//! (`docs/witness.md`), which knows who is who.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A witness's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:/path`.
    Unix(PathBuf),
    /// `http://127.0.0.1:PORT` or `http://[::1]:PORT`; a path may follow where one asks, the submission prefix.
    Loopback(SocketAddr, String),
}

impl Address {
    /// Reads an address; `http://` may be left out.
    ///
    /// # Errors
    /// It is none, or lies outside this host.
    pub fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true => Ok(Address::Unix(path)),
                false => Err("the socket's path is not absolute".to_owned()),
            };
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        if rest.starts_with("https:") {
            return Err(OUTSIDE.to_owned());
        }
        let (host, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let address: SocketAddr = host.parse().map_err(|_| {
            format!("it is neither `unix:/PATH` nor `http://127.0.0.1:PORT`; {OUTSIDE}")
        })?;
        if !address.ip().is_loopback() {
            return Err(OUTSIDE.to_owned());
        }
        let prefix = prefix.trim_end_matches('/');
        let sane = prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
        match sane {
            true => Ok(Address::Loopback(address, prefix.to_owned())),
            false => Err(
                "the path has other characters than letters, digits, `/`, `-`, `_`, `.` and `~`"
                    .to_owned(),
            ),
        }
    }

    /// What stands before `/add-checkpoint`.
    pub fn prefix(&self) -> &str {
        match self {
            Address::Unix(_) => "",
            Address::Loopback(_, prefix) => prefix,
        }
    }

    /// For the `Host` header.
    pub fn host(&self) -> String {
        match self {
            Address::Unix(_) => "localhost".to_owned(),
            Address::Loopback(address, _) => address.to_string(),
        }
    }
}

const OUTSIDE: &str = "a witness is reached over a Unix socket or a loopback address; forward one with ssh where it is on another host";

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Loopback(address, prefix) => write!(f, "http://{address}{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_or_a_loopback_address_is_one_and_nothing_outside_this_host() {
        for (text, shown) in [
            ("unix:/run/w.sock", "unix:/run/w.sock"),
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://127.0.0.1:80/", "http://127.0.0.1:80"),
            ("http://[::1]:80/a/b", "http://[::1]:80/a/b"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "unix:w.sock",
            "0.0.0.0:80",
            "[::]:80",
            "http://192.0.2.1:80",
            "http://witness.example:80",
            "https://127.0.0.1:80",
            "localhost:80",
            "127.0.0.1",
            "http://127.0.0.1:80/a b",
            "http://127.0.0.1:80/\r\nX: y",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }
}
