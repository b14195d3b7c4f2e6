//! What cannot be made a first boot's step.

/// Why a first boot cannot be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirstBootError {
    /// No program's command line can hold it.
    #[error("{0:?} holds a control character, which no command line can hold")]
    Control(String),
    /// A path of a staged file leaves the directory, or is none that Windows has.
    #[error("{0:?} is no path below the first boot's directory")]
    Path(String),
    /// Windows takes 32,767 characters.
    #[error("a command line of {0} characters is longer than Windows takes")]
    TooLong(usize),
    /// The list's reader takes so many steps.
    #[error("{0} steps are more than a first boot has")]
    TooMany(usize),
    /// A script does not say what runs it.
    #[error("the script's first line is none of {}", super::script::FIRST_LINES.join(", "))]
    Language,
}
