//! Why components cannot be put in.

use crate::guest::windows::components::ComponentError;
use crate::guest::windows::firstboot::FirstBootError;

/// Why components cannot be put into a guest. Retrying gives the same.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The user's folder cannot be read.
    #[error("the components cannot be read")]
    Component(#[from] ComponentError),
    /// What the first boot would do cannot be written down.
    #[error("the first boot cannot be described")]
    FirstBoot(#[from] FirstBootError),
    /// A name in a setup information file that the registry cannot hold.
    #[error("{place}: {name:?} is no name for a key of the registry")]
    Name {
        /// The setup information file, below the folder.
        place: String,
        /// The name.
        name: String,
    },
    /// Its service has the name of one that the guest has.
    #[error("{place}: the guest has a service {name:?} already, of another driver")]
    Taken {
        /// The setup information file, below the folder.
        place: String,
        /// The service.
        name: String,
    },
    /// It names no device that Windows could boot from, or no service for it.
    #[error("{place}: it names no disk controller of EC2, or no service for it")]
    NoDevice {
        /// The setup information file, below the folder.
        place: String,
    },
}
