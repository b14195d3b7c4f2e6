//! Files on web servers. An URL may hold credentials: a user's name and password, a signature in
//! its query. They are kept apart, and only who asks the server gets them.

use std::fmt;

use super::error::ParseLocationError;

const FORM: &str = "Write `https://host/path/to/disk.vmdk`.";

/// Parameters that say which file is meant and give no rights. Any other may: there are more names for signatures,
/// tokens and keys than a list can hold.
const HARMLESS: [&str; 9] =
    ["download", "file", "filename", "format", "name", "path", "snapshot", "version", "versionId"];

/// A file on a web server.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpLocation {
    shown: String,
    /// The whole URL, when it is not fit to be shown.
    secret: Option<String>,
    /// Where the URL's path begins and ends in `shown`.
    path: (usize, usize),
}

impl HttpLocation {
    /// Reads an URL; `scheme` is `http` or `https`, `rest` what stands behind `://`.
    pub(super) fn parse(scheme: &str, rest: &str) -> Result<Self, ParseLocationError> {
        let bad = |what: &str| Err(ParseLocationError::new(what, FORM));
        if rest.contains('#') {
            return bad("an URL of an image has no `#` part");
        }
        if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(ParseLocationError::new(
                "an URL holds no blanks or control characters",
                "Write a blank as `%20`.",
            ));
        }
        let (before, query) = match rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = before.find('/').map_or((before, ""), |at| before.split_at(at));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if !is_host(host) {
            return bad("an URL names a server behind `://`");
        }
        if path.len() < 2 || path.ends_with('/') {
            return bad("an URL of an image names a file, not a server or a directory");
        }
        let harmless = |parameter: &str| {
            HARMLESS.contains(&parameter.split_once('=').map_or(parameter, |(name, _)| name))
        };
        let keeps_query = query.is_none_or(|query| query.split('&').all(harmless));
        let mut shown = format!("{scheme}://{}{host}", if user.is_some() { "…@" } else { "" });
        let start = shown.len();
        shown.push_str(path);
        let end = shown.len();
        match (query, keeps_query) {
            (Some(query), true) => shown.push_str(&format!("?{query}")),
            (Some(_), false) => shown.push_str("?…"),
            (None, _) => {}
        }
        let is_secret = user.is_some() || !keeps_query;
        let secret = is_secret.then(|| format!("{scheme}://{rest}"));
        Ok(Self { shown, secret, path: (start, end) })
    }

    /// The URL as the server needs it. It may hold credentials: it must not be shown or stored.
    #[must_use]
    pub fn url(&self) -> &str {
        self.secret.as_deref().unwrap_or(&self.shown)
    }

    /// Whether the URL holds (or may hold) credentials.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// The URL's path, as it was written.
    #[must_use]
    pub fn path(&self) -> &str {
        self.shown.get(self.path.0..self.path.1).unwrap_or_default()
    }

    /// A file whose URL has the same beginning up to its path's last slash, then these (plain) names, and no query. A
    /// user's name and password stay.
    #[must_use]
    pub fn beside(&self, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| super::percent::encode(name)).collect();
        let names = names.join("/");
        let up_to = |text: &str| {
            let before = text.split_once('?').map_or(text, |(before, _)| before);
            before.rfind('/').map_or(0, |at| at + 1)
        };
        let join = |text: &str| format!("{}{names}", &text[..up_to(text)]);
        let shown = join(&self.shown);
        let secret = self.secret.as_deref().map(join).filter(|url| *url != shown);
        Self { path: (self.path.0, shown.len()), shown, secret }
    }
}

/// `name`, `name:80`, `192.0.2.1:80`, `[2001:db8::1]:80`.
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let named = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    named && port.is_none_or(is_port)
}

impl fmt::Display for HttpLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for HttpLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpLocation").field(&self.shown).finish()
    }
}
