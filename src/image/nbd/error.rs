//! What can go wrong with an NBD server.

use std::io;

/// Why an export cannot be opened or read. Messages go on after the location, which whoever shows
/// them puts in front.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The server insists on TLS.
    #[error("the server demands TLS, which Replant does not speak with NBD servers")]
    TlsDemanded,
    /// Nobody answers there.
    #[error("no connection to the server")]
    Connect {
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the server broke {doing}")]
    Lost {
        /// At what, as in "while it was greeted".
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The connection is open, but nothing comes.
    #[error("the server sent nothing {doing} for {seconds} seconds")]
    Stalled {
        /// At what.
        doing: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What it sent is not what the protocol allows.
    #[error("the server breaks the NBD protocol: {what}")]
    Protocol {
        /// In what.
        what: String,
    },
    /// It has no such export.
    #[error("the server has no export `{export}`{}", list(exports))]
    UnknownExport {
        /// What was asked for.
        export: String,
        /// What there is, when the server says so.
        exports: Vec<String>,
    },
    /// The server does not let us.
    #[error("the server denies access to it{}", said(message))]
    Denied {
        /// What it said.
        message: String,
    },
    /// The server refused something that the handshake needs.
    #[error("the server refused {what}{}", said(message))]
    Refused {
        /// What.
        what: &'static str,
        /// What it said.
        message: String,
    },
    /// The server could not read.
    #[error("the server answered {name}{}", said(message))]
    Answer {
        /// The error's name in the protocol.
        name: String,
        /// What it said.
        message: String,
    },
    /// It is short of something or going down for the moment.
    #[error("the server is not able to answer now ({name}){}", said(message))]
    Busy {
        /// The error's name in the protocol.
        name: String,
        /// What it said.
        message: String,
    },
    /// The export is not what it was.
    #[error("the export changed: {what}")]
    Changed {
        /// In what.
        what: String,
    },
    /// The export has no such bitmap.
    #[error("the export has no dirty bitmap `{bitmap}`{}", list(bitmaps))]
    NoBitmap {
        /// What was asked for.
        bitmap: String,
        /// What there is.
        bitmaps: Vec<String>,
    },
}

impl NbdError {
    /// Whether a new connection, or the same question a little later, can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { source } => !matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ),
            Self::Lost { .. } | Self::Stalled { .. } | Self::Busy { .. } => true,
            _ => false,
        }
    }

    /// The same error for another thread that it meets too.
    pub(super) fn again(&self) -> Self {
        let io = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::TlsDemanded => Self::TlsDemanded,
            Self::Connect { source } => Self::Connect { source: io(source) },
            Self::Lost { doing, source } => Self::Lost { doing, source: io(source) },
            Self::Stalled { doing, seconds } => Self::Stalled { doing, seconds: *seconds },
            Self::Protocol { what } => Self::Protocol { what: what.clone() },
            Self::UnknownExport { export, exports } => {
                Self::UnknownExport { export: export.clone(), exports: exports.clone() }
            }
            Self::Denied { message } => Self::Denied { message: message.clone() },
            Self::Refused { what, message } => Self::Refused { what, message: message.clone() },
            Self::Answer { name, message } => Self::Answer { name: name.clone(), message: message.clone() },
            Self::Busy { name, message } => Self::Busy { name: name.clone(), message: message.clone() },
            Self::Changed { what } => Self::Changed { what: what.clone() },
            Self::NoBitmap { bitmap, bitmaps } => {
                Self::NoBitmap { bitmap: bitmap.clone(), bitmaps: bitmaps.clone() }
            }
        }
    }

    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TlsDemanded => "image::nbd_tls",
            Self::Connect { .. } => "image::nbd_connect",
            Self::Lost { .. } | Self::Busy { .. } => "image::nbd_lost",
            Self::Stalled { .. } => "image::nbd_stalled",
            Self::Protocol { .. } => "image::nbd_protocol",
            Self::UnknownExport { .. } => "image::nbd_no_export",
            Self::Denied { .. } => "image::nbd_denied",
            Self::Refused { .. } => "image::nbd_refused",
            Self::Answer { .. } => "image::nbd_answer",
            Self::Changed { .. } => "image::changed",
            Self::NoBitmap { .. } => "image::nbd_no_bitmap",
        }
    }

    /// What it comes to, in a few words.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        match self {
            Self::TlsDemanded => "the NBD server needs TLS",
            Self::Connect { .. } => "the NBD server cannot be reached",
            Self::Lost { .. } | Self::Busy { .. } => "the NBD server went away",
            Self::Stalled { .. } => "the NBD server stays silent",
            Self::Protocol { .. } => "the NBD server breaks the protocol",
            Self::UnknownExport { .. } => "the NBD server has no such export",
            Self::Denied { .. } => "the NBD server denies access",
            Self::Refused { .. } => "the NBD server refuses the handshake",
            Self::Answer { .. } => "the NBD server cannot read the export",
            Self::Changed { .. } => "the image changed",
            Self::NoBitmap { .. } => "the NBD export has no such dirty bitmap",
        }
    }

    /// How to fix it.
    #[must_use]
    pub fn help(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Self::TlsDemanded => vec![
                "Let nbdkit speak TLS on this machine, and read from its socket:".to_owned(),
                "nbdkit --unix /run/plain.sock nbd uri=nbds://HOST/EXPORT".to_owned(),
                "Then name nbd+unix:///?socket=/run/plain.sock.".to_owned(),
            ],
            Self::Connect { .. } => vec![
                "Check that the server runs and that the address is right:".to_owned(),
                "nbdinfo --list LOCATION".to_owned(),
                "qemu-nbd ends with its first client unless it is started with --persistent.".to_owned(),
            ],
            Self::Lost { .. } | Self::Stalled { .. } | Self::Busy { .. } => one(
                "See what the server says (its log, or its terminal), start it again if need be, and run the same command again.",
            ),
            Self::Protocol { .. } => {
                one("Check that it is an NBD server of a current version, with `nbdinfo`.")
            }
            Self::UnknownExport { exports, .. } if !exports.is_empty() => {
                vec![format!("Name one of them after the location's `/`: {}.", exports.join(", "))]
            }
            Self::UnknownExport { .. } => {
                one("Name the export after the location's `/`, or none for the server's default.")
            }
            Self::Denied { .. } => one("Let the server admit this machine and this export."),
            Self::Refused { .. } => one("See the server's log for the reason."),
            Self::Answer { .. } => {
                one("See the server's log: it is the server that cannot read its source there.")
            }
            Self::Changed { .. } => one("Serve a snapshot, which nothing writes to, and plan again."),
            Self::NoBitmap { bitmaps, .. } if !bitmaps.is_empty() => {
                vec![format!("Name one of: {}.", bitmaps.join(", "))]
            }
            Self::NoBitmap { .. } => one(
                "Export the bitmap with the disk: `qemu-nbd --bitmap NAME`. Without --dirty-bitmap the whole disk is compared.",
            ),
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; it has: {}", names.join(", ")),
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" and says: {message}") }
}

/// The most characters of a server's text that are shown.
const LONGEST_TEXT: usize = 200;

/// A server's text as it may be shown: no control characters, and not endless.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect();
    if text.chars().count() > LONGEST_TEXT {
        shown.push('…');
    }
    shown
}

/// A server's error number as the error it is.
pub(super) fn answer(number: u32, message: &[u8]) -> NbdError {
    let message = shown(message);
    let name = match number {
        1 => "EPERM: not permitted",
        5 => "EIO: an input/output error",
        12 => "ENOMEM: out of memory",
        22 => "EINVAL: invalid",
        28 => "ENOSPC: beyond the end",
        75 => "EOVERFLOW: too large",
        95 => "ENOTSUP: not supported",
        108 => "ESHUTDOWN: going down",
        other => return NbdError::Answer { name: format!("error {other}"), message },
    };
    let name = name.to_owned();
    match number {
        1 => NbdError::Denied { message },
        12 | 108 => NbdError::Busy { name, message },
        _ => NbdError::Answer { name, message },
    }
}
