//! The block server gives up what it does not need: root, names of files, networks, system calls.

use crate::sandbox::jail::confine::{self, ConfineError};
use crate::sandbox::jail::filter::{self, FilterError};

/// Why the server is not confined; it then serves nothing.
#[derive(Debug, thiserror::Error)]
pub enum LockdownError {
    /// A step into confinement failed.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The filter is not in place.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Confines this process for ever. What it has open stays usable.
///
/// # Errors
/// When any step fails.
pub fn lock_down(parent: i32) -> Result<(), LockdownError> {
    confine::drop_root(parent)?;
    confine::enter_namespaces()?;
    confine::enter_empty_root::<ConfineError>(4096, || Ok(()))?;
    confine::drop_capabilities()?;
    filter::apply(&filter::server()?)?;
    Ok(())
}
