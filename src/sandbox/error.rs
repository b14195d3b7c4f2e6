//! Why a sandbox gave nothing.

use std::io;
use std::path::PathBuf;

use super::blocks::handover::HandoverError;
use super::initrd::InitrdError;
use super::parcel::ParcelError;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::chain;
use crate::guest::exchange::ExchangeError;
use crate::image::ImageError;
use crate::image::format::ParseFormatError;

/// Why a sandbox gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// User-mode Linux is not installed.
    #[error("user-mode Linux is not installed (looked for {})", looked.display())]
    NoEngine {
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// Its modules are not installed.
    #[error("user-mode Linux has no modules at {}", looked.display())]
    NoModules {
        /// Where they were looked for.
        looked: PathBuf,
    },
    /// One of Replant's own programs is missing.
    #[error("Replant's program {name} is not at {}", looked.display())]
    NoProgram {
        /// Its name.
        name: &'static str,
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// The image cannot be used.
    #[error("an image cannot be used")]
    Image(#[source] Box<ImageError>),
    /// The folder of components cannot be used.
    #[error("the folder of components cannot be used")]
    Components(#[from] ParcelError),
    /// A pinned format does not exist.
    #[error(transparent)]
    Format(#[from] ParseFormatError),
    /// There are no disks, or too many.
    #[error("a sandbox takes 1 to {most} disks, not {count}")]
    Disks {
        /// How many were given.
        count: usize,
        /// How many it takes.
        most: usize,
    },
    /// The initial filesystem cannot be built.
    #[error("cannot build the sandbox's initial filesystem")]
    Initrd(#[from] InitrdError),
    /// A helper process cannot be started or spoken to.
    #[error("cannot {step}")]
    Start {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Namespaces are forbidden on this machine.
    #[error("this machine does not let the sandbox have namespaces of its own: {0}")]
    Forbidden(String),
    /// The jail cannot be built.
    #[error("the sandbox's jail cannot be built: {0}")]
    Jail(String),
    /// It did not finish in time and was ended.
    #[error("the sandbox did not finish within {seconds} seconds and was ended")]
    TimedOut {
        /// Its limit.
        seconds: u32,
        /// The end of its console.
        console: String,
    },
    /// The block server failed.
    #[error("the sandbox's disks could not be served")]
    Blocks(#[from] HandoverError),
    /// It ended without a valid report.
    #[error("the sandbox ended without a valid report")]
    NoReport {
        /// The program's exit code.
        code: i32,
        /// The end of its console.
        console: String,
        /// What is wrong with the report.
        source: ExchangeError,
    },
    /// The report is of another version.
    #[error("replant-guest speaks version {found} of the protocol, this is {expected}")]
    Protocol {
        /// The report's.
        found: u32,
        /// Ours.
        expected: u32,
    },
}

impl SandboxError {
    /// Whether the same request can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Components(error) => error.is_retryable(),
            Self::Start { source, .. } => {
                matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            }
            _ => false,
        }
    }

    /// What to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let detail = chain(self);
        match self {
            Self::NoEngine { .. } | Self::NoModules { .. } => {
                Diagnostic::error("sandbox::no_engine", "The guest sandbox needs user-mode Linux")
                    .detail(detail)
                    .help("Install it:\napt-get install user-mode-linux")
                    .help("Restore without preparation, when the guest boots on EC2 as it is: `guest { drivers = \"none\" }`")
            }
            Self::NoProgram { .. } => {
                Diagnostic::error("sandbox::no_guest_program", "Replant's installation is not complete")
                    .detail(detail)
                    .help("Put `replant` and `replant-guest` of the same build into one directory:\ncargo build --release --bins")
            }
            Self::Image(error) => error.diagnostic(),
            Self::Components(error) => error.diagnostic(),
            Self::Format(_) => {
                Diagnostic::error("sandbox::image_format", "The image format does not exist").detail(detail)
            }
            Self::Disks { .. } => {
                Diagnostic::error("sandbox::disks", "The machine has a number of disks that cannot be inspected")
                    .detail(detail)
            }
            Self::Forbidden(_) => {
                Diagnostic::error("sandbox::namespaces_forbidden", "The guest sandbox may not have namespaces")
                    .detail(detail)
                    .help("Debian: allow user namespaces:\nsysctl -w kernel.unprivileged_userns_clone=1")
                    .help("Ubuntu: let AppArmor allow them:\nsysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
                    .help("In a container: run it with a security profile that allows user namespaces and mounts in them.")
            }
            Self::TimedOut { console, .. } => {
                Diagnostic::error("sandbox::timed_out", "The guest sandbox took too long")
                    .detail(with_console(detail, console))
            }
            Self::NoReport { console, code, .. } => {
                Diagnostic::error("sandbox::no_report", "The guest sandbox gave no report")
                    .detail(with_console(format!("{detail} (exit code {code})"), console))
                    .help("The image may be damaged, or the guest larger than the sandbox's memory. See whether all of it can be read:\nreplant check IMAGE")
            }
            Self::Initrd(_)
            | Self::Start { .. }
            | Self::Jail(_)
            | Self::Blocks(_)
            | Self::Protocol { .. } => {
                Diagnostic::error("sandbox::failed", "The guest sandbox failed").detail(detail)
            }
        }
    }
}

/// The console is the guest's text: control characters are left out.
fn with_console(detail: String, console: &str) -> String {
    let clean: String = console.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let lines: Vec<&str> = clean.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(8)..].join("\n");
    if last.is_empty() { detail } else { format!("{detail}\nIts console ended with:\n{last}") }
}
