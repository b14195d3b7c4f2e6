//! What can be wrong with one request.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::super::backing::Fault;
use super::super::error::ImageError;

/// What is wrong with one request, or with all attempts at it. Never with an URL in it: that may
/// hold credentials.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// No byte came for so many seconds.
    Stalled(u64),
    /// The connection failed or ended early.
    Lost(io::ErrorKind, String),
    /// The server asks to come back later, perhaps says when.
    Busy(String, Option<Duration>),
    /// It is another version of the file.
    Changed(String),
    /// There is no such file.
    Absent,
    /// The server wants other credentials.
    Denied(String),
    /// The server gives whole files only.
    NoRanges,
    /// The server answers what cannot be used.
    Refused(String),
}

impl Trouble {
    /// A connection that failed in this way.
    pub(super) fn lost(error: reqwest::Error) -> Self {
        let kind = if error.is_timeout() {
            io::ErrorKind::TimedOut
        } else if error.is_connect() {
            io::ErrorKind::NotConnected
        } else {
            io::ErrorKind::ConnectionAborted
        };
        let is_redirect = error.is_redirect();
        let text = chain(&error.without_url());
        if is_redirect { Self::Refused(text) } else { Self::Lost(kind, text) }
    }

    /// Whether asking again can help.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Stalled(_) | Self::Lost(..) | Self::Busy(..))
    }

    /// As a fault of a file that is open; `attempts`: how often it was tried.
    pub(super) fn fault(self, attempts: u32) -> Fault {
        let lost =
            |kind: io::ErrorKind, text: String| Fault::Lost { attempts, source: io::Error::new(kind, text) };
        match self {
            Self::Stalled(seconds) => Fault::Stalled { seconds, attempts },
            Self::Lost(kind, text) => lost(kind, text),
            Self::Busy(text, _) => lost(io::ErrorKind::ResourceBusy, text),
            Self::Changed(what) => Fault::Changed(what),
            Self::Absent => Fault::Gone,
            Self::Denied(what) => Fault::Denied(what),
            Self::NoRanges => lost(
                io::ErrorKind::Unsupported,
                "the server gave the whole file instead of a range".to_owned(),
            ),
            Self::Refused(text) => lost(io::ErrorKind::InvalidData, text),
        }
    }

    /// As an error of opening.
    pub(super) fn opening(self, file: &Path, attempts: u32) -> ImageError {
        let file = file.to_owned();
        match self {
            Self::Absent => ImageError::Absent { file },
            Self::NoRanges => ImageError::NoRanges { file },
            Self::Refused(what) => ImageError::BadAnswer { file, what },
            other => ImageError::Source(other.fault(attempts).at(&file, 0)),
        }
    }
}

/// An error and what lies below it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let said = cause.to_string();
        // Some libraries repeat what lies below.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        below = cause.source();
    }
    text
}
