//! What can go wrong with a state, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::format::v1::IntentId;
use super::lock::Holder;
use crate::diagnostic::{Diagnostic, Span};
use crate::model::Bytes;

/// Why a state could not be read, locked or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written, fsynced, renamed or removed.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a pipe or a device has the file's name.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// A symbolic link has the file's name; following it could write anywhere.
    #[error("{} is a symbolic link", path.display())]
    SymbolicLink {
        /// Which.
        path: PathBuf,
    },
    /// A file is larger than any of its kind can be.
    #[error("{} is too large: {}, at most {}", path.display(), Bytes(*size), Bytes(*limit))]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Another process holds the lock.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// Who holds it, when the file says so.
        holder: Option<Box<Holder>>,
    },
    /// The filesystem refuses to lock.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lock that was given belongs to another state.
    #[error("the lock {} belongs to another state", path.display())]
    OtherLock {
        /// The lock's file.
        path: PathBuf,
    },
    /// There is a state of another lineage already.
    #[error("{} has the lineage {lineage} already", path.display())]
    HasLineage {
        /// The state.
        path: PathBuf,
        /// Its lineage.
        lineage: String,
    },
    /// The state is no JSON, or lacks something, or has too much.
    #[error("{} is damaged: {message}", path.display())]
    Syntax {
        /// The state.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// Where.
        span: Option<Box<Span>>,
    },
    /// A file has a version that this Replant does not know.
    #[error("{} has format version {found}", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// Which Replant wrote it, when it says so.
        writer: Option<String>,
    },
    /// Something in a file or a change can never be true.
    #[error("{}: {why}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What.
        why: String,
    },
    /// A line of the journal is damaged, and it is not the torn end that a crash leaves.
    #[error("line {line} of {} is damaged: {why}", path.display())]
    JournalDamaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The journal belongs to a state of another lineage.
    #[error("{} belongs to another state", journal.display())]
    OtherLineage {
        /// The journal.
        journal: PathBuf,
        /// Its lineage.
        journal_lineage: String,
        /// The state's lineage.
        state_lineage: String,
    },
    /// The state is not one that the journal continues.
    #[error("{} does not continue {}", journal.display(), state.display())]
    StateMoved {
        /// The state.
        state: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// The serial that the journal continues.
        journal_serial: u64,
        /// The state's serial, when there is a state.
        state_serial: Option<u64>,
    },
    /// Somebody changed the state while a run held its lock.
    #[error("{} was changed by somebody else during this run", path.display())]
    ChangedUnderneath {
        /// The state.
        path: PathBuf,
    },
    /// An intent that was never begun.
    #[error("intent {} was never begun", .0.0)]
    UnknownIntent(IntentId),
    /// An intent that has already finished or failed.
    #[error("intent {} has already ended", .0.0)]
    IntentEnded(IntentId),
    /// A record is larger than any reader would take.
    #[error("a record of {} is too large for the journal, at most {}", Bytes(*size), Bytes(*limit))]
    RecordTooLarge {
        /// Its bytes.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// An earlier write of the journal failed; nothing can be recorded any more in this run.
    #[error("the journal could not be written: {why}")]
    JournalFailed {
        /// The first failure.
        why: String,
    },
    /// Something cannot be put into JSON.
    #[error("cannot encode a record")]
    Encode(#[source] serde_json::Error),
    /// The system gives no random bytes.
    #[error("cannot make a lineage")]
    Random(#[source] getrandom::Error),
}

/// An error and all that lies below it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(": ");
        text.push_str(&error.to_string());
        below = error.source();
    }
    text
}

fn move_away(path: &Path) -> String {
    format!("mv {0} {0}.damaged", path.display())
}

impl StateError {
    /// Whether the same call can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// The error as a person should read it.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let detail = chain(self);
        match self {
            Self::Open { .. } | Self::Read { .. } => {
                Diagnostic::error("state::unreadable", "a file of the state cannot be read").detail(detail)
            }
            Self::Write { path, .. } => {
                Diagnostic::error("state::unwritable", "a file of the state cannot be written")
                    .detail(detail)
                    .help(format!(
                        "make room and give this user the right to write in {}; what was journalled is safe, and the next apply goes on from it",
                        path.parent().unwrap_or(Path::new(".")).display()
                    ))
            }
            Self::NotAFile { path } => {
                Diagnostic::error("state::not_a_file", "a file of the state is no regular file")
                    .detail(detail)
                    .help(format!("move it away:\n{}", move_away(path)))
            }
            Self::SymbolicLink { path } => {
                Diagnostic::error("state::symbolic_link", "a file of the state is a symbolic link")
                    .detail(format!("{detail}. Replant follows no links here: the state is replaced by a rename, which would leave the link's target behind."))
                    .help(format!(
                        "put the file itself in {}, or run in the directory that holds it with `-C DIR`",
                        path.parent().unwrap_or(Path::new(".")).display()
                    ))
            }
            Self::TooLarge { path, .. } => {
                Diagnostic::error("state::too_large", "a file of the state is too large to be one")
                    .detail(detail)
                    .help(format!("move it away and put a good copy in its place:\n{}", move_away(path)))
            }
            Self::Locked { path, holder } => locked(path, holder.as_deref()),
            Self::Lock { .. } => {
                Diagnostic::error("state::cannot_lock", "the state cannot be locked")
                    .detail(detail)
                    .help("keep the state on a filesystem that supports flock")
            }
            Self::OtherLock { .. } => Diagnostic::error("state::other_lock", "the lock is of another state").detail(detail),
            Self::HasLineage { path, .. } => Diagnostic::error("state::has_lineage", "there is a state of another lineage")
                .detail(detail)
                .help("to complete this state, leave --lineage out:\nreplant state rebuild")
                .help(format!("to get at what the other one has, move this one away, and put it back afterwards:\nmv {0} {0}.own", path.display())),
            Self::Syntax { path, span, .. } => {
                Diagnostic::error("state::damaged", "the state is damaged")
                    .detail(detail)
                    .at(span.as_deref().cloned())
                    .help(format!(
                        "put back the copy from before the last change, then look at what `replant plan` says:\ncp {0}.backup {0}",
                        path.display()
                    ))
            }
            Self::Version { found, writer, .. } => {
                let by = writer.as_ref().map(|writer| format!(", written by Replant {writer}")).unwrap_or_default();
                Diagnostic::error("state::newer_version", "the state has a version that this Replant does not know")
                    .detail(format!("{detail}{by}; this Replant {} reads version {}.", env!("CARGO_PKG_VERSION"), super::format::v1::VERSION))
                    .help(if *found > u64::from(super::format::v1::VERSION) {
                        "use the Replant that wrote it, or a newer one"
                    } else {
                        "put back a state that Replant wrote"
                    })
            }
            Self::Invalid { .. } => {
                Diagnostic::error("state::invalid", "the state says something that cannot be")
                    .detail(detail)
                    .help("put back the file as Replant wrote it; it is not meant to be edited by hand")
            }
            Self::JournalDamaged { path, .. } => {
                Diagnostic::error("state::journal_damaged", "the state's journal is damaged")
                    .detail(format!("{detail}. It is not the torn last line that a crash leaves, which would be mended by itself. What was recorded from that line on is not known, so going on could make things twice."))
                    .help("put back the journal from a copy of this directory")
                    .help(format!(
                        "or, when what the last run made has been looked through in the provider and is in the state or deleted, move the journal away:\n{}",
                        move_away(path)
                    ))
            }
            Self::OtherLineage { journal, journal_lineage, state_lineage } => {
                Diagnostic::error("state::other_lineage", "the journal belongs to another state")
                    .detail(format!("{detail}: the journal's lineage is {journal_lineage}, the state's is {state_lineage}. One of the two files was copied from elsewhere."))
                    .help("put the state back that the journal belongs to")
                    .help(format!("or move the journal to where it came from:\n{}", move_away(journal)))
            }
            Self::StateMoved { state, journal, journal_serial, state_serial } => {
                let now = state_serial.map_or_else(
                    || format!("{} does not exist", state.display()),
                    |serial| format!("{} has serial {serial} or other content", state.display()),
                );
                Diagnostic::error("state::moved", "the journal does not continue this state")
                    .detail(format!("{}, left by a run that did not end well, continues the state of serial {journal_serial}, but {now}. The state was edited, restored or removed since.", journal.display()))
                    .help(format!("put back {} as it was at serial {journal_serial}", state.display()))
                    .help(format!(
                        "or, when what the last run made has been looked through in the provider and is in the state or deleted, move the journal away:\n{}",
                        move_away(journal)
                    ))
            }
            Self::ChangedUnderneath { .. } => {
                Diagnostic::error("state::changed_underneath", "the state was changed during this run")
                    .detail(format!("{detail}. What this run did is in the journal and nothing of it is lost."))
                    .help("put back the state as it was when the run began, then run it again")
            }
            Self::UnknownIntent(_) | Self::IntentEnded(_) | Self::RecordTooLarge { .. } | Self::Encode(_) => {
                Diagnostic::error("state::illegal_record", "this cannot be recorded").detail(detail)
            }
            Self::JournalFailed { .. } => {
                Diagnostic::error("state::journal_failed", "the journal could not be written")
                    .detail(format!("{detail}. Nothing more is begun in this run; what was begun is found again by the next."))
                    .help("make room on the filesystem of the state, then run it again")
            }
            Self::Random(_) => Diagnostic::error("state::no_random", "the system gives no random bytes").detail(detail),
        }
    }
}

fn locked(path: &Path, holder: Option<&Holder>) -> Diagnostic {
    let who = holder.map_or_else(
        || format!("{} does not say by whom.", path.display()),
        |holder| {
            format!(
                "`replant {}` of {}, process {} on {}, holds it since {}.",
                holder.command, holder.user, holder.pid, holder.host, holder.since
            )
        },
    );
    Diagnostic::error("state::locked", "another run is changing this state").detail(who).help(
        "wait until it has ended; the lock ends with its process, and there is nothing to unlock by hand",
    )
}

impl From<&StateError> for Diagnostic {
    fn from(error: &StateError) -> Self {
        error.diagnostic()
    }
}

impl From<StateError> for Diagnostic {
    fn from(error: StateError) -> Self {
        error.diagnostic()
    }
}
