//! What an NBD URI names: a server and one of its exports.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::error::NbdError;

/// The port that IANA gave to NBD.
const PORT: u16 = 10809;
/// The longest name of an export, by the protocol.
pub(super) const LONGEST_NAME: usize = 4096;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// A host's name or address, and a port.
    Tcp(String, u16),
    /// A socket in the file system, or one of the abstract namespace (its name begins with NUL).
    Unix(PathBuf),
}

/// A server and one of its exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub server: Server,
    /// The export's name; empty for the server's default.
    pub export: String,
}

impl Address {
    /// Reads an NBD URI (the document `uri.md` of the NBD project).
    pub(super) fn parse(uri: &str) -> Result<Self, NbdError> {
        let wrong = |what: &str| NbdError::Address { what: what.to_owned() };
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| wrong("it has no `://`"))?;
        let unix = match scheme.to_ascii_lowercase().as_str() {
            "nbd" => false,
            "nbd+unix" => true,
            "nbds" | "nbds+unix" => return Err(NbdError::TlsAsked),
            _ => return Err(wrong("only nbd:// and nbd+unix:// are NBD locations")),
        };
        if rest.contains('#') {
            return Err(wrong("a `#` must be written %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let export = text(path).ok_or_else(|| wrong("the export's name is not UTF-8 text without NUL"))?;
        if export.len() > LONGEST_NAME {
            return Err(wrong("the export's name has more than 4096 bytes"));
        }
        let mut socket = None;
        for (name, value) in query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
        {
            match name {
                "socket" => socket = Some(bytes(value).ok_or_else(|| wrong("a `%` in it begins no %XX"))?),
                _ if name.starts_with("tls-") => return Err(NbdError::TlsAsked),
                _ => {
                    return Err(NbdError::Address {
                        what: format!("it has a parameter `{name}` that NBD does not know"),
                    });
                }
            }
        }
        let server = match (unix, socket) {
            (true, Some(socket)) if !authority.is_empty() => {
                drop(socket);
                return Err(wrong("a Unix socket has no host: nbd+unix:///EXPORT?socket=PATH"));
            }
            (true, Some(socket)) if !socket.is_empty() => Server::Unix(OsString::from_vec(socket).into()),
            (true, _) => return Err(wrong("it names no socket: nbd+unix:///EXPORT?socket=PATH")),
            (false, Some(_)) => return Err(wrong("only nbd+unix:// takes a socket")),
            (false, None) => host(authority)?,
        };
        Ok(Self { server, export })
    }
}

/// A URI's authority without what stands before an `@`: that is for TLS only.
fn host(authority: &str) -> Result<Server, NbdError> {
    let wrong = |what: &str| NbdError::Address { what: what.to_owned() };
    if authority.contains('@') {
        return Err(NbdError::TlsAsked);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(|| wrong("its `[` has no `]`"))?;
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let host = text(host).filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
    let port = match port {
        "" => PORT,
        digits => digits.parse().map_err(|_| wrong("its port is not a number from 0 to 65535"))?,
    };
    Ok(Server::Tcp(host, port))
}

/// A part of a URI with its %XX decoded.
fn bytes(part: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = rest.get(2..)?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                is_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()?
            }
            other => *other,
        });
    }
    Some(decoded)
}

fn text(part: &str) -> Option<String> {
    String::from_utf8(bytes(part)?).ok().filter(|text| !text.contains('\0'))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export: String = self.export.chars().flat_map(char::escape_debug).collect();
        match &self.server {
            Server::Tcp(host, port) if host.contains(':') => write!(f, "nbd://[{host}]:{port}/{export}"),
            Server::Tcp(host, port) => write!(f, "nbd://{host}:{port}/{export}"),
            Server::Unix(path) => {
                write!(f, "nbd+unix:///{export}?socket={}", path.to_string_lossy().replace('\0', "%00"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, export: &str) -> Address {
        Address { server: Server::Tcp(host.to_owned(), port), export: export.to_owned() }
    }

    #[test]
    fn the_specifications_examples() {
        for (uri, expected) in [
            ("nbd://example.com/disk", tcp("example.com", 10809, "disk")),
            ("nbd://example.com/", tcp("example.com", 10809, "")),
            ("nbd://example.com", tcp("example.com", 10809, "")),
            ("nbd://example.com//disk", tcp("example.com", 10809, "/disk")),
            ("nbd://example.com/hello%20world", tcp("example.com", 10809, "hello world")),
            ("NBD://[::1]:99/a/b", tcp("::1", 99, "a/b")),
            ("nbd://[fe80::1]/", tcp("fe80::1", 10809, "")),
        ] {
            assert_eq!(Address::parse(uri).unwrap(), expected, "{uri}");
        }
        let unix = Address::parse("nbd+unix:///disk?socket=/tmp/a%20b").unwrap();
        assert_eq!(unix.server, Server::Unix("/tmp/a b".into()));
        assert_eq!(
            (unix.export.as_str(), unix.to_string().as_str()),
            ("disk", "nbd+unix:///disk?socket=/tmp/a b")
        );
        assert_eq!(Address::parse("nbd+unix://?socket=s").unwrap().server, Server::Unix("s".into()));
        let hidden = Address::parse("nbd+unix:///?socket=%00/x").unwrap();
        assert_eq!(hidden.server, Server::Unix("\0/x".into()));
        assert!(!hidden.to_string().contains('\0'));
    }

    #[test]
    fn tls_is_refused_by_its_name() {
        for uri in ["nbds://h/", "nbds+unix:///?socket=s", "nbd://user@h/", "nbd://h/?tls-type=psk"] {
            assert!(matches!(Address::parse(uri), Err(NbdError::TlsAsked)), "{uri}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("nbd://h/{}", "x".repeat(5000));
        for uri in [
            "nbd:/x",
            "http://h/",
            "nbd://",
            "nbd:///x",
            "nbd://h:99999/",
            "nbd://h:x/",
            "nbd://[::1/",
            "nbd://h/%zz",
            "nbd://h/%f",
            "nbd://h/%+1",
            "nbd://h/%00",
            "nbd://h/%ff",
            "nbd://h/?socket=s",
            "nbd+unix:///",
            "nbd+unix:///?socket=",
            "nbd+unix://h/?socket=s",
            "nbd://h/?x=1",
            "nbd://h/#f",
            &long,
        ] {
            assert!(matches!(Address::parse(uri), Err(NbdError::Address { .. })), "{uri}");
        }
    }
}
