//! Exports of NBD servers, as the NBD URI specification writes them.

use std::fmt;
use std::path::PathBuf;

use super::error::ParseLocationError;
use super::http::is_host;
use super::percent::{decode, encode};

const FORM: &str = "Write `nbd://host/export` (a port other than 10809 as `host:port`), or `nbd+unix:///export?socket=/path/to/socket`. An export without a name is left out.";

/// The port of NBD servers (IANA).
const PORT: u16 = 10_809;

/// Where an NBD server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NbdServer {
    /// On the network.
    Tcp {
        /// Its name or address (an IPv6 address without brackets).
        host: String,
        /// Its port.
        port: u16,
    },
    /// On a socket of this machine.
    Unix {
        /// The socket, an absolute path.
        socket: PathBuf,
    },
}

/// An export of an NBD server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NbdLocation {
    /// Where it listens.
    pub server: NbdServer,
    /// The export's name; empty for the server's default.
    pub export: String,
}

impl NbdLocation {
    /// Reads what stands behind `nbd://`.
    pub(super) fn parse_tcp(rest: &str) -> Result<Self, ParseLocationError> {
        let bad = |what: &str| ParseLocationError::new(what, FORM);
        if rest.contains(['?', '#']) {
            return Err(bad("an NBD location over the network has no parameters"));
        }
        let (authority, export) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(bad("NBD knows no users and passwords"));
        }
        if !is_host(authority) {
            return Err(bad("an NBD location names a server behind `nbd://`"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(PORT)),
            _ => (authority, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { server: NbdServer::Tcp { host, port }, export: export_name(export)? })
    }

    /// Reads what stands behind `nbd+unix://`.
    pub(super) fn parse_unix(rest: &str) -> Result<Self, ParseLocationError> {
        let bad = |what: &str| ParseLocationError::new(what, FORM);
        let (before, query) =
            rest.split_once('?').ok_or_else(|| bad("an NBD location on a socket says which socket"))?;
        let export = match before.split_once('/') {
            Some(("", export)) => export,
            None if before.is_empty() => "",
            _ => return Err(bad("an NBD location on a socket has three slashes, and no server's name")),
        };
        let socket = query.strip_prefix("socket=").filter(|socket| !socket.contains('&')).and_then(decode);
        let socket = socket.map(PathBuf::from).filter(|socket| socket.is_absolute());
        let socket = socket.ok_or_else(|| bad("an NBD socket is an absolute path behind `?socket=`"))?;
        Ok(Self { server: NbdServer::Unix { socket }, export: export_name(export)? })
    }
}

fn export_name(text: &str) -> Result<String, ParseLocationError> {
    decode(text).filter(|name| name.len() <= 4096 && !name.chars().any(char::is_control)).ok_or_else(|| {
        ParseLocationError::new(
            "the name of an NBD export has at most 4096 bytes, and `%` stands before two hexadecimal digits",
            FORM,
        )
    })
}

impl fmt::Display for NbdLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export = encode(&self.export);
        match &self.server {
            NbdServer::Tcp { host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let port = if *port == PORT { String::new() } else { format!(":{port}") };
                write!(f, "nbd://{host}{port}/{export}")
            }
            NbdServer::Unix { socket } => {
                write!(f, "nbd+unix:///{export}?socket={}", encode(&socket.to_string_lossy()))
            }
        }
    }
}
