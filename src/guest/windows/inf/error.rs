//! What can be wrong with a setup information file.

/// A setup information file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfError {
    /// Larger than any driver's.
    #[error("{size} bytes are too many for a setup information file (at most {most})")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The most that are read.
        most: usize,
    },
    /// More of something than any driver has.
    #[error("it has more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most that are kept.
        most: usize,
    },
    /// Text that belongs to no section.
    #[error("line {line} stands before the first section")]
    NoSection {
        /// The line, from 1.
        line: u32,
    },
    /// `[name` without its end, or a name that is too long.
    #[error("line {line} is no section's name")]
    Header {
        /// The line, from 1.
        line: u32,
    },
    /// A value beyond Microsoft's limit of 4,096 characters.
    #[error("line {line} has a value of more than 4095 characters")]
    Long {
        /// The line, from 1.
        line: u32,
    },
    /// A section that must be there is not.
    #[error("it has no section [{name}]")]
    Section {
        /// Its name.
        name: String,
    },
    /// An entry that must be there is not, or says nothing that Windows takes.
    #[error("[{section}] has no valid {entry}")]
    Entry {
        /// The section.
        section: String,
        /// The entry.
        entry: &'static str,
    },
    /// Sections need each other in a circle, or too many of them.
    #[error("the sections that [{name}] needs do not end")]
    Needs {
        /// The section that was asked for.
        name: String,
    },
}
